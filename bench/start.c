// Loads an artifact, reads its inputs (raw arrays, a file each), calls it. Prints, for bench/start.py: the monotonic clock at the first
// result in seconds, the median of the later calls in ms, the most memory that the process held (VmHWM) in kB.
//   start MODEL.cierge THREADS CALLS LAZY INPUT.bin…     LAZY 1: weights are not verified
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cierge/cierge.h"

static void check(cierge_status *s) {
  if (!s) return;
  fprintf(stderr, "%s\n", cierge_status_message(s));
  exit(cierge_status_exit_code(s));
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void *read_array(const char *path, const cierge_spec *spec) {
  size_t bytes = (size_t)spec->dl_dtype.bits / 8;
  for (int k = 0; k < spec->rank; k++) bytes *= (size_t)spec->sizes[k];
  void *data = malloc(bytes ? bytes : 1);
  FILE *f = fopen(path, "rb");
  if (!data || !f || fread(data, 1, bytes, f) != bytes) fprintf(stderr, "%s cannot be read\n", path), exit(4);
  fclose(f);
  return data;
}

static long most_memory(void) {
  char line[200];
  long kb = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f)) sscanf(line, "VmHWM: %ld", &kb);
  if (f) fclose(f);
  return kb;
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  int calls = atoi(argv[3]);
  cierge_program *p;
  cierge_context *c;
  check(cierge_load(argv[1], &(cierge_load_options){.size = sizeof(cierge_load_options), .lazy = atoi(argv[4])}, &p));
  check(cierge_context_new(p, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = atoi(argv[2])}, &c));
  for (int i = 0; i + 5 < argc; i++) { // symbolic sizes are not for this program
    const cierge_spec *spec = cierge_input_spec(p, (size_t)i);
    if (!spec) return 2;
    check(cierge_input_set(c, (size_t)i, &(DLTensor){.data = read_array(argv[i + 5], spec), .device = {kDLCPU, 0}, .ndim = spec->rank, .dtype = spec->dl_dtype,
                                                     .shape = (int64_t *)spec->sizes}, CIERGE_READ_ONLY));
  }
  check(cierge_run(c));
  double first = now(), *ms = calloc((size_t)calls + 1, sizeof *ms);
  for (int i = 0; i < calls; i++) {
    double t = now();
    check(cierge_run(c));
    ms[i] = (now() - t) * 1e3;
  }
  qsort(ms, (size_t)calls, sizeof *ms, compare);
  printf("[%.9f, %.6f, %ld]\n", first, ms[calls / 2], most_memory());
}
