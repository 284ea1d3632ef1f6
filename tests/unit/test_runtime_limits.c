// src/runtime: many threads share a program; any allocation may fail.
#include <pthread.h>

#include "base/alloc.h"
#include "runtime_fixture.h"

static void *worker(void *u) {
  cierge_context *c;
  float x[64];
  for (int i = 0; i < 64; i++) x[i] = (float)i;
  if (cierge_context_new(u, NULL, &c)) return NULL;
  for (int round = 0; round < 200; round++) {
    int64_t shape[2] = {1 + round % 16, 4};
    DLTensor t = f32(x, 2, shape);
    const DLTensor *y;
    if (cierge_input_set(c, 0, &t, CIERGE_READ_ONLY) || cierge_run(c) || cierge_output_get(c, 0, &y)) return NULL;
    for (int64_t i = 0; i < shape[0] * 4; i++)
      if (at(y, i) != 4 * x[i] + (float)(i % 4 + 1)) return NULL;
  }
  cierge_context_free(c);
  return u;
}

static void threads_share_a_program(void **u) {
  (void)u;
  cierge_program *p = program(batch_plan);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, worker, p), 0);
  for (int i = 0; i < 4; i++) {
    void *r;
    pthread_join(t[i], &r);
    assert_ptr_equal(r, p);
  }
  cierge_program_free(p);
}

// Load, two calls of different sizes, a result taken; any allocation may fail.
static cierge_status *whole_life(const char *path, make_plan *make) {
  cierge_program *p;
  cierge_context *c = NULL;
  DLManagedTensorVersioned *m = NULL;
  float x[64] = {1, 2, 3, 4}, y[64] = {1, 1, 1, 1};
  uint8_t flag = 1;
  int64_t shape[2] = {2, 4}, strides[2] = {1, 2};
  DLTensor tx = f32(x, make == batch_plan ? 2 : 1, shape), ty = f32(y, 1, shape), tf = tensor(&flag, 8, kDLBool, 0, NULL);
  if (make == batch_plan) tx.strides = strides;
  cierge_status *st = cierge_load(path, NULL, &p);
  if (st) return st;
  st = cierge_context_new(p, NULL, &c);
  if (!st) st = cierge_input_set(c, 0, &tx, 0);
  if (!st && make != batch_plan) st = cierge_input_set(c, 1, &ty, 0);
  if (!st && make != batch_plan) st = cierge_input_set(c, 2, &tf, 0);
  for (int round = 0; round < 2 && !st; round++) {
    shape[0] = 2 + 2 * round;
    st = cierge_run(c);
  }
  if (!st) st = cierge_output_take(c, 0, &m);
  if (m) m->deleter(m);
  cierge_context_free(c);
  cierge_program_free(p);
  return st;
}

static void memory_runs_out(void **u) {
  (void)u;
  make_plan *plans[] = {batch_plan, control_plan};
  for (int k = 0; k < 2; k++) {
    char path[300];
    snprintf(path, sizeof path, "%s", artifact(plans[k]));
    for (long n = 1;; n++) {
      cg_heap_fail_at(n, n % 2);
      cierge_status *st = whole_life(path, plans[k]);
      bool reached = cg_heap_count() >= n;
      cg_heap_fail_at(0, 0);
      assert_int_equal(cierge_status_code(st), reached ? CIERGE_NO_MEMORY : CIERGE_OK);
      cierge_status_free(st);
      if (!reached) break;
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_share_a_program), cmocka_unit_test(memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
