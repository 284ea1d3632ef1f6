// What commands share that measure programs.
#include "cli/measure.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/cli.h"

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double cg_median(double *at, int n) {
  qsort(at, (size_t)n, sizeof *at, ascending);
  return at[n / 2];
}

int cg_count_option(cg_session *s, const char *command, const char *name, const char *text, int otherwise) {
  if (!text) return otherwise;
  char *end;
  errno = 0;
  long v = strtol(text, &end, 10);
  if (errno || end == text || *end || v < 1 || v > 1000000) cg_fail(s, CIERGE_USAGE, "%s: --%s takes a number above 0, not '%s'", command, name, text);
  return (int)v;
}
