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

// ---------------------------------------------------------------- what a small file may ask for

// An alias of an alias of … x, `depth` of them; the last is the result.
static uint32_t depth;
static void parts_plan(builder *b) {
  b->source = kernels;
  uint32_t n = b_num(b, 8), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n)), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &n);
  b_kernel(b, "add", B_LIST(x, x), B_LIST(y), B_LIST(n));
  for (uint32_t i = 0; i < depth; i++) y = b_alias(b, y, CG_F32, 1, &n, -1);
  b_result(b, y);
}

static void parts_of_parts(void **u) {
  (void)u;
  cierge_program *p;
  depth = CG_PLAN_MAX_PARTS;
  good(cierge_load(artifact(parts_plan), NULL, &p));
  cierge_program_free(p);
  depth++;
  refused(cierge_load(artifact(parts_plan), NULL, &p), CIERGE_BAD_ARTIFACT, "is a part of a part, more than 64 deep");
}

// x as a result, n_results times.
static uint32_t n_results;
static void results_plan(builder *b) {
  uint32_t n = b_num(b, 8), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n));
  b->fn->result = cg_alloc_array(b->s, n_results, sizeof *b->fn->result);
  for (uint32_t i = 0; i < n_results; i++) b->fn->result[i] = x;
  b->fn->n_results = n_results;
}

static void very_many_results(void **u) {
  (void)u;
  cierge_program *p;
  n_results = CG_PLAN_MAX_RESULTS;
  good(cierge_load(artifact(results_plan), NULL, &p));
  assert_ptr_equal(cierge_output_spec(p, 0)->dims, cierge_output_spec(p, 7)->dims); // said once
  cierge_program_free(p);
  n_results++;
  refused(cierge_load(artifact(results_plan), NULL, &p), CIERGE_BAD_ARTIFACT, "65537 results, more than 65536");
}

// x: u8[max(s, max(s, …)), …], rank 64, the symbol's name is long.
static void long_sizes_plan(builder *b) {
  char *name = cg_alloc(b->s, 20001);
  memset(name, 'a', 20000);
  uint32_t s = b_symbol(b, name, 1, 8), one = b_sym(b, s), dims[64];
  cg_plan_expr_item item[255] = {{CG_X_SYM, s}};
  for (int k = 1; k < 255; k += 2) item[k] = (cg_plan_expr_item){CG_X_SYM, s}, item[k + 1] = (cg_plan_expr_item){CG_X_MAX, 0};
  uint32_t e = b_expr(b, 255, item);
  for (int k = 0; k < 64; k++) dims[k] = e;
  b_input(b, b_tensor(b, "x", CG_U8, CG_ST_PARAM, 1, &one));
  uint32_t y = b_input(b, b_tensor(b, "y", CG_U8, CG_ST_PARAM, 64, dims));
  for (int r = 0; r < 500; r++) b_result(b, y);
}

static void long_texts_of_sizes(void **u) {
  (void)u;
  const char *path = artifact(long_sizes_plan);
  cierge_program *p;
  good(cierge_load(path, NULL, &p));
  assert_string_equal(cierge_output_spec(p, 499)->dims[63], "?");
  cierge_program_free(p);
  char *text;
  good(cierge_inspect(path, &text));
  assert_true(strlen(text) < 500 * 600);
  cierge_text_free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_share_a_program), cmocka_unit_test(memory_runs_out), cmocka_unit_test(parts_of_parts),
      cmocka_unit_test(very_many_results), cmocka_unit_test(long_texts_of_sizes),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
