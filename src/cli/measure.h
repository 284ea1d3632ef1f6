// What commands share that measure programs: bench, explain, study.
#ifndef CG_CLI_MEASURE_H
#define CG_CLI_MEASURE_H
#include "base/clock.h"
#include "compile/call.h"

double cg_median(double *at, int n); // sorts them
// A count that the user gave for --NAME of a command, above 0; `otherwise` where it is not given.
int cg_count_option(cg_session *s, const char *command, const char *name, const char *text, int otherwise);
#endif
