// safetensors.
#include "arrays/arrays.h"
#include "fuzz.h"

static void parse(cg_session *s, void *u) {
  fuzz_input *in = u;
  cg_array_vec all = cg_safetensors_read(s, in->path, CIERGE_BAD_INPUT);
  for (int k = 0; k < all.n; k++) fuzz_touch(all.at[k].data, all.at[k].bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_try_file(parse, &(fuzz_input){.data = data, .size = size});
  return 0;
}
