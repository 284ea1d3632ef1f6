// Runs an artifact that calls myops::shift_split, from C: with the library named, or carried in the artifact.
//   build/examples/custom_op net.cierge [libmyops.so]
#include <stdio.h>
#include <stdlib.h>

#include "cierge/cierge.h"

static void check(cierge_status *s) {
  if (!s) return;
  fprintf(stderr, "%s\n", cierge_status_message(s));
  exit(cierge_status_exit_code(s));
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const char *libraries[] = {argc > 2 ? argv[2] : NULL, NULL};
  cierge_load_options o = {.size = sizeof o, .torch_libraries = libraries};
  cierge_program *p;
  cierge_context *c;
  check(cierge_load(argv[1], &o, &p));
  check(cierge_context_new(p, NULL, &c));
  float x[2][5] = {{1, -2, 3, 4, 5}, {6, 7, -8, 9, 10}}; // (rows, 5)
  int64_t shape[2] = {2, 5};
  DLTensor t = {.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = shape};
  const DLTensor *y, *first;
  check(cierge_input_set(c, 0, &t, CIERGE_READ_ONLY));
  check(cierge_run(c));
  check(cierge_output_get(c, 0, &y));
  check(cierge_output_get(c, 1, &first));
  for (int i = 0; i < 10; i++) printf("%g%c", ((float *)y->data)[i], i % 5 < 4 ? ' ' : '\n'); // C order
  printf("%lld %lld\n", (long long)((int64_t *)first->data)[0], (long long)((int64_t *)first->data)[1]);
  cierge_context_free(c);
  cierge_program_free(p);
}
