// NumPy's archives: members that are given as text (fuzz.h), with the names that carry dtypes.
#include "arrays/arrays.h"
#include "fuzz.h"

static void parse(cg_session *s, void *u) {
  fuzz_input *in = u;
  cg_array_vec all = cg_npz_read(s, in->path);
  for (int k = 0; k < all.n; k++) fuzz_touch(all.at[k].data, all.at[k].bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_try_archive(parse, data, size);
  return 0;
}
