// NumPy's archives: members that are given as text (fuzz.h), with the names that carry dtypes.
#include "arrays/arrays.h"
#include "fuzz.h"

static void parse(cg_session *s, void *u) {
  fuzz_input *in = u;
  cg_array_vec all = cg_npz_read(s, in->path);
  volatile uint8_t sum = 0;
  for (int k = 0; k < all.n; k++)
    for (uint64_t i = 0; i < all.at[k].bytes; i++) sum ^= ((const uint8_t *)all.at[k].data)[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_bytes zip = fuzz_zip(data, size);
  fuzz_input in = {.data = zip.at, .size = zip.n};
  int fd = fuzz_file(&in);
  fuzz_try(parse, &in);
  close(fd);
  free(zip.at);
  return 0;
}
