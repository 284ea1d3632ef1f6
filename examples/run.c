// Loads an artifact with one float32 input of shape [batch, N] and runs it with two batch sizes from two threads each.
//   cc run.c -I include -L build -lcierge_rt -Wl,-rpath,build -pthread -o run && ./run model.cierge
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "cierge/cierge.h"

static void check(cierge_status *s) {
  if (!s) return;
  fprintf(stderr, "%s\n", cierge_status_message(s));
  exit(cierge_status_exit_code(s));
}

static void *work(void *program) {
  const cierge_spec *in = cierge_input_spec(program, 0);
  cierge_context *c;
  check(cierge_context_new(program, NULL, &c)); // a context for each thread
  for (int64_t batch = 2; batch <= 5; batch += 3) {
    int64_t shape[2] = {batch, in->sizes[1]};
    float *x = calloc((size_t)(shape[0] * shape[1]), sizeof *x); // (batch, N)
    DLTensor t = {.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = shape};
    const DLTensor *y;
    check(cierge_input_set(c, 0, &t, CIERGE_READ_ONLY));
    check(cierge_run(c));
    check(cierge_output_get(c, 0, &y));
    printf("batch %d: output of rank %d, first element %g\n", (int)batch, y->ndim, *(float *)((char *)y->data + y->byte_offset));
    free(x);
  }
  cierge_context_free(c);
  return NULL;
}

int main(int argc, char **argv) {
  cierge_program *p;
  pthread_t thread[2];
  if (argc != 2) return 2;
  check(cierge_load(argv[1], NULL, &p));
  for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, work, p);
  for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
  cierge_program_free(p);
}
