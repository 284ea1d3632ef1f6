// What commands share that measure programs: bench, explain, study.
#ifndef CG_CLI_MEASURE_H
#define CG_CLI_MEASURE_H
#include "base/clock.h"
#include "compile/call.h"

double cg_median(double *at, int n); // sorts them
#endif
