// What commands share that measure programs.
#include "cli/measure.h"

#include <stdlib.h>

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double cg_median(double *at, int n) {
  qsort(at, (size_t)n, sizeof *at, ascending);
  return at[n / 2];
}
