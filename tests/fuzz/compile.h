// A program through the whole compiler but the C compiler, without LibTorch.
#ifndef CG_TESTS_FUZZ_COMPILE_H
#define CG_TESTS_FUZZ_COMPILE_H
#include "backend/c/cc.h"
#include "backend/host.h"
#include "compile/compile.h"
#include "frontend/frontend.h"
#include "fuzz.h"

// No program is started: what would be compiled is where it ends.
const char *__wrap_cg_cc_version(cg_session *s, const char *cc);
const char *__wrap_cg_cc_version(cg_session *s, const char *cc) { return (void)s, cc; }
_Noreturn void __wrap_cg_cc_run(cg_session *s, int n, cg_cc_command *command, cg_cc_command *probe);
_Noreturn void __wrap_cg_cc_run(cg_session *s, int n, cg_cc_command *command, cg_cc_command *probe) {
  (void)n, (void)command, (void)probe;
  cg_fail(s, CIERGE_MISSING, "no C compiler");
}

static inline void fuzz_drop(void *o) { cg_session_end(&((cierge_options *)o)->s); }

static inline cg_pipeline *fuzz_pipeline(cg_session *s) {
  cierge_options *o = CG_NEW(s, cierge_options);
  if (cg_options_init(o)) abort();
  cg_defer(s, fuzz_drop, o);
  if (cg_options_set(o, "target", "x86-64-v3") || cg_options_set(o, "emit", "c") || cg_options_set(o, "libtorch", "none") || cg_options_set(o, "verify", "")) abort();
  cg_pipeline *p = CG_NEW(s, cg_pipeline);
  *p = (cg_pipeline){.s = s, .opt = &o->opt, .host = &cg_backend_host};
  return p;
}
#endif
