// What commands share that measure programs.
#include "cli/measure.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

static void drop_program(void *p) { cierge_program_free(p); }
static void drop_context(void *c) { cierge_context_free(c); }
static void drop_file(void *path) { unlink(path); }

double cg_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

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

const char *cg_temporary(cg_session *s, const char *command) {
  const char *folder = getenv("TMPDIR");
  char *path = cg_format(s, "%s/cierge-%s-XXXXXX", folder && *folder ? folder : "/tmp", command);
  int fd = mkstemp(path);
  if (fd < 0) cg_fail(s, CIERGE_IO, "%s: no temporary file can be made as %s", command, path);
  close(fd);
  cg_defer(s, drop_file, path);
  return path;
}

void cg_open_artifact(cg_session *s, const cg_options *opt, const char *path, int threads, bool profile, cierge_program **p, cierge_context **c) {
  cg_text_vec libraries = {0};
  for (int i = 0; i < opt->torch_libraries.n; i++) CG_PUSH(s, &libraries, opt->torch_libraries.at[i]);
  CG_PUSH(s, &libraries, NULL);
  cierge_load_options lo = {.size = sizeof lo, .libtorch = opt->libtorch, .torch_libraries = libraries.at};
  cg_check(s, cierge_load(path, &lo, p));
  cg_defer(s, drop_program, *p);
  cierge_context_options co = {.size = sizeof co, .threads = threads, .profile = profile};
  cg_check(s, cierge_context_new(*p, &co, c));
  cg_defer(s, drop_context, *c);
}
