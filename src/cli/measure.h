// What commands share that measure programs: bench, explain, study.
#ifndef CG_CLI_MEASURE_H
#define CG_CLI_MEASURE_H
#include "compile/compile.h"

double cg_now_ns(void);
double cg_median(double *at, int n); // sorts them
// A count that the user gave for --NAME of a command, above 0; `otherwise` where it is not given.
int cg_count_option(cg_session *s, const char *command, const char *name, const char *text, int otherwise);
const char *cg_temporary(cg_session *s, const char *command); // a file that goes with the session
// Loads an artifact, with the LibTorch and the libraries of these options; both go with the session.
void cg_open_artifact(cg_session *s, const cg_options *opt, const char *path, int threads, bool profile, cierge_program **p, cierge_context **c);
#endif
