// One array in NumPy's format.
#include "arrays/arrays.h"
#include "fuzz.h"

static void parse(cg_session *s, void *u) {
  fuzz_input *in = u;
  const char *text = NULL;
  cg_array a = cg_npy_parse(s, "fuzz.npy", "x", in->data, in->size, &text);
  if (!text) fuzz_touch(a.data, a.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_try(parse, &(fuzz_input){.data = data, .size = size});
  return 0;
}
