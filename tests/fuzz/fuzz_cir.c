// Programs in the text form: parsed, printed, read again, compiled.
#include "compile.h"
#include "ir/text.h"

static void compile(cg_session *s, void *u) {
  fuzz_input *in = u;
  cg_pipeline *p = fuzz_pipeline(s);
  cg_compile_module(p, cg_frontend_parse(p, "fuzz.cir", (const char *)in->data, in->size, NULL), false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_try(compile, &(fuzz_input){.data = data, .size = size});
  return 0;
}
