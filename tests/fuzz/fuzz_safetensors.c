// safetensors.
#include "arrays/arrays.h"
#include "fuzz.h"

static void parse(cg_session *s, void *u) {
  fuzz_input *in = u;
  cg_array_vec all = cg_safetensors_read(s, in->path, CIERGE_BAD_INPUT);
  volatile uint8_t sum = 0;
  for (int k = 0; k < all.n; k++)
    for (uint64_t i = 0; i < all.at[k].bytes; i++) sum ^= ((const uint8_t *)all.at[k].data)[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input in = {.data = data, .size = size};
  int fd = fuzz_file(&in);
  fuzz_try(parse, &in);
  close(fd);
  return 0;
}
