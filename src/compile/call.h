// Running, while something is compiled, what was compiled before: constants are evaluated so, and ways to compute measured.
#ifndef CG_COMPILE_CALL_H
#define CG_COMPILE_CALL_H
#include "compile/compile.h"

// Throws what a status says into the session (NULL: nothing), freeing it.
void cg_check(cg_session *s, cierge_status *status);
// Runs f(own, u) in a session of its own, so that what it allocates (a model's weights) is gone afterwards; throws what it throws into s.
void cg_apart(cg_session *s, void (*f)(cg_session *, void *), void *u);
const char *cg_temporary(cg_session *s, const char *what); // a file that goes with the session
// Loads an artifact, with the LibTorch and the libraries of these options; both go with the session.
void cg_open_artifact(cg_session *s, const cg_options *opt, const char *path, int threads, bool profile, cierge_program **p, cierge_context **c);
#endif
