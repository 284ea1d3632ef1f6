// Running the C compiler.
#ifndef CG_BACKEND_C_CC_H
#define CG_BACKEND_C_CC_H
#include "base/session.h"
#include "base/vec.h"

CG_VEC_TYPE(cg_cc_command, const char *); // program and arguments

// What `cc --version` prints.
const char *cg_cc_version(cg_session *s, const char *cc);
// Runs n commands of this compiler, as many at a time as there are processors, and waits for all. Throws CIERGE_MISSING where the compiler
// cannot be run, does not end, is killed, or fails without a word or in `probe` as well: a command that every compiler can do. What it
// says of source that it refuses beyond that is a mistake of cierge's: CIERGE_INTERNAL. Nothing runs on after a throw. folder: where their
// temporary files go.
void cg_cc_run(cg_session *s, const char *folder, int n, cg_cc_command *command, cg_cc_command *probe);
// For a program's handler of signals that would end it. true: a compilation of this process waits for the C compiler, and throws CIERGE_IO
// instead, within a second: no compiler runs on, no file stays. false: none does.
bool cg_cc_stop(void);
#endif
