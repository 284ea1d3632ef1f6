// Exported programs: an archive that is given as text (fuzz.h), read and compiled.
#include "compile.h"

static void compile(cg_session *s, void *u) {
  fuzz_input *in = u;
  cg_pipeline *p = fuzz_pipeline(s);
  cg_compile_module(p, cg_frontend_pt2(p, in->path, NULL), false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_try_archive(compile, data, size);
  return 0;
}
