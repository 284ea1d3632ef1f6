// src/runtime: the steps: numbers and their errors, sizes that only steps reveal, branches and loops, the arena.
#include "base/alloc.h"
#include "runtime_fixture.h"

// x: f32[3], f: float, i: int -> x * f + (i + 1); x[i]
static void number_plan(builder *b) {
  b->source = kernels;
  uint32_t three = b_num(b, 3), one = b_num(b, 1);
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &three));
  uint32_t f = b_input(b, b_scalar(b, CG_V_FLOAT, "f")), i = b_input(b, b_scalar(b, CG_V_INT, "i"));
  uint32_t next = b_scalar(b, CG_V_INT, "next"), lit = b_int_expr(b, one), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &three);
  uint32_t z = b_tensor(b, "z", CG_F32, CG_ST_ARENA, 0, NULL), filled = b_tensor(b, "filled", CG_I32, CG_ST_ARENA, 0, NULL), back = b_scalar(b, CG_V_INT, "back");
  b_step(b, CG_STEP_SCALAR, B_LIST(i, lit), B_LIST(next))->kernel = CG_SCALAR_ADD;
  b_kernel(b, "scale", B_LIST(x, f, next), B_LIST(y), B_LIST(three));
  cg_plan_step *s = b_kernel(b, "pick", B_LIST(x, i), B_LIST(z), B_LIST(three));
  s->site = b_site(b, "aten::embedding", "embedding_3", "model.py", 12);
  b_step(b, CG_STEP_FILL, B_LIST(next), B_LIST(filled));
  b_step(b, CG_STEP_ITEM, B_LIST(filled), B_LIST(back));
  s = b_step(b, CG_STEP_ASSERT, B_LIST(next), 0, (uint32_t[1]){0});
  s->text = "next is zero";
  s->site = b_site(b, "aten::_assert_scalar", "check", "", 0);
  b_result(b, y);
  b_result(b, z);
  b_result(b, back);
}

static void numbers_and_errors(void **u) {
  (void)u;
  cierge_program *p = program(number_plan);
  cierge_context *c = context(p);
  float x[3] = {1, 2, 3};
  double f = 1.5;
  int64_t i = 1, shape[1] = {3};
  DLTensor tx = f32(x, 1, shape), tf = tensor(&f, 64, kDLFloat, 0, NULL), ti = tensor(&i, 64, kDLInt, 0, NULL);
  good(cierge_input_set(c, 0, &tx, 0));
  refused(cierge_input_set(c, 1, &ti, 0), CIERGE_BAD_INPUT, "input f: expected float64[], found int64[]");
  good(cierge_input_set(c, 1, &tf, 0));
  good(cierge_input_set(c, 2, &ti, 0));
  good(cierge_run(c));
  assert_float_equal(at(output(c, 0), 2), 6.5, 0);
  assert_float_equal(at(output(c, 1), 0), 2, 0);
  assert_int_equal(*(int64_t *)output(c, 2)->data, 2);
  i = 17;
  refused(cierge_run(c), CIERGE_RUN_ERROR, "model.py:12: aten::embedding (node embedding_3): index 17 is out of range for a dimension of size 3");
  const DLTensor *t;
  refused(cierge_output_get(c, 0, &t), CIERGE_USAGE, "no call went well");
  i = INT64_MAX;
  refused(cierge_run(c), CIERGE_RUN_ERROR, "64 bits");
  i = 2;
  good(cierge_run(c));
  assert_float_equal(at(output(c, 1), 0), 3, 0);
  cierge_context_free(c);
  cierge_program_free(p);
}

// n: int input -> iota(n), of a size that only the call knows; its second half, as an alias
static void late_plan(builder *b) {
  b->source = kernels;
  uint32_t x = b_input(b, b_tensor(b, "x", CG_I64, CG_ST_PARAM, 0, NULL)), u0 = b_scalar(b, CG_V_INT, "u0"), n = b_sym(b, u0);
  uint32_t y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &n);
  uint32_t half = b_expr(b, 3, (cg_plan_expr_item[]){{CG_X_SYM, u0}, {CG_X_INT, 2}, {CG_X_FLOORDIV, 0}});
  uint32_t offset = b_expr(b, 5, (cg_plan_expr_item[]){{CG_X_INT, 4}, {CG_X_SYM, u0}, {CG_X_INT, 2}, {CG_X_FLOORDIV, 0}, {CG_X_MUL, 0}});
  uint32_t part = b_alias(b, y, CG_F32, 1, &half, (int32_t)offset), z = b_tensor(b, "z", CG_F32, CG_ST_ARENA, 1, &half);
  b_step(b, CG_STEP_ITEM, B_LIST(x), B_LIST(u0));
  b_kernel(b, "iota", 0, (uint32_t[1]){0}, B_LIST(y), B_LIST(n));
  b_kernel(b, "add", B_LIST(part, part), B_LIST(z), B_LIST(half));
  b_result(b, y);
  b_result(b, part);
  b_result(b, z);
}

static void sizes_that_steps_reveal(void **u) {
  (void)u;
  cierge_program *p = program(late_plan);
  assert_string_equal(cierge_output_spec(p, 1)->dims[0], "u0//2");
  cierge_context *c = context(p);
  int64_t n[] = {4, 100, 0, 7};
  for (int i = 0; i < 4; i++) {
    DLTensor t = tensor(&n[i], 64, kDLInt, 0, NULL);
    good(cierge_input_set(c, 0, &t, 0));
    good(cierge_run(c));
    assert_int_equal(output(c, 0)->shape[0], n[i]);
    assert_int_equal(output(c, 1)->shape[0], n[i] / 2);
    if (n[i] > 1) assert_float_equal(at(output(c, 2), n[i] / 2 - 1), (float)(2 * (n[i] / 2 * 2 - 1)), 0);
  }
  int64_t minus = -1, huge = INT64_MAX / 2;
  DLTensor t = tensor(&minus, 64, kDLInt, 0, NULL);
  good(cierge_input_set(c, 0, &t, 0));
  refused(cierge_run(c), CIERGE_RUN_ERROR, "negative");
  t.data = &huge;
  good(cierge_input_set(c, 0, &t, 0));
  refused(cierge_run(c), CIERGE_RUN_ERROR, "too large");
  huge = INT64_MAX / 32;
  refused(cierge_run(c), CIERGE_NO_MEMORY, "memory");
  huge = 2;
  good(cierge_run(c));
  cierge_context_free(c);
  cierge_program_free(p);
}

// (x f32[s0, s1], c f32[s1]): for each row: c = row + c; gives c, and the c of all rows
static void rows_plan(builder *b) {
  b->source = kernels;
  uint32_t s0 = b_symbol(b, "s0", 0, 64), s1 = b_symbol(b, "s1", 1, 64), dim[2] = {b_sym(b, s0), b_sym(b, s1)};
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 2, dim)), c = b_input(b, b_tensor(b, "c", CG_F32, CG_ST_PARAM, 1, dim + 1));
  uint32_t last = b_tensor(b, "last", CG_F32, CG_ST_ARENA, 1, dim + 1), all = b_tensor(b, "all", CG_F32, CG_ST_ARENA, 2, dim);
  cg_plan_step *s = b_step(b, CG_STEP_SCAN, B_LIST(c, x, s1), B_LIST(last, all));
  s->n_carried = 1, s->n_scanned = 1, s->fn[0] = 1;
  b_result(b, last);
  b_result(b, all);
  b_fn(b, "body");
  uint32_t n = b_scalar(b, CG_V_INT, "s1"), d = b_sym(b, n);
  uint32_t p = b_param(b, b_tensor(b, "p", CG_F32, CG_ST_PARAM, 1, &d)), q = b_param(b, b_tensor(b, "q", CG_F32, CG_ST_PARAM, 1, &d));
  uint32_t r = b_tensor(b, "r", CG_F32, CG_ST_ARENA, 1, &d);
  b_param(b, n);
  b_kernel(b, "add", B_LIST(p, q), B_LIST(r), B_LIST(d));
  b_result(b, r);
  b_result(b, r);
}

static void scans(void **u) {
  (void)u;
  cierge_program *p = program(rows_plan);
  cierge_context *k = context(p);
  float x[12], c[4] = {1, 2, 3, 4};
  for (int i = 0; i < 12; i++) x[i] = (float)i;
  static const int64_t shapes[][2] = {{3, 4}, {1, 4}, {0, 4}, {5, 2}, {6, 2}, {6, 2}};
  for (size_t round = 0; round < 6; round++) {
    const int64_t *n = shapes[round];
    int64_t shape[2] = {n[0], n[1]};
    DLTensor tx = f32(x, 2, shape), tc = f32(c, 1, shape + 1);
    good(cierge_input_set(k, 0, &tx, 0));
    good(cierge_input_set(k, 1, &tc, 0));
    if (!n[0]) {
      refused(cierge_run(k), CIERGE_RUN_ERROR, "no elements to go over");
      continue;
    }
    if (round == 5) cg_heap_fail_at(0, 0);
    good(cierge_run(k));
    if (round == 5) assert_int_equal(cg_heap_count(), 0);
    for (int64_t j = 0; j < n[1]; j++) {
      float sum = c[j];
      for (int64_t i = 0; i < n[0]; i++) {
        sum += x[i * n[1] + j];
        assert_float_equal(at(output(k, 1), i * n[1] + j), sum, 0);
      }
      assert_float_equal(at(output(k, 0), j), sum, 0);
    }
  }
  cierge_context_free(k);
  cierge_program_free(p);
}

static void branches_and_loops(void **u) {
  (void)u;
  cierge_program *p = program(control_plan);
  cierge_context *c = context(p);
  float x[5] = {1, 2, 3, 4, 5}, y[5] = {1, 1, 1, 1, 1};
  uint8_t flag = 1;
  int64_t shape[1] = {2};
  DLTensor tx = f32(x, 1, shape), ty = f32(y, 1, shape), tf = tensor(&flag, 8, kDLBool, 0, NULL);
  good(cierge_input_set(c, 0, &tx, 0));
  good(cierge_input_set(c, 1, &ty, 0));
  good(cierge_input_set(c, 2, &tf, 0));
  for (int round = 0; round < 6; round++) {
    flag = round % 2;
    shape[0] = round < 3 ? 2 : 5;
    if (round == 5) cg_heap_fail_at(0, 0);
    good(cierge_run(c));
    if (round == 5) assert_int_equal(cg_heap_count(), 0);
    for (int64_t i = 0; i < shape[0]; i++) {
      float a = flag ? x[i] + y[i] : y[i], b = y[i], a0 = flag ? x[0] + y[0] : y[0], b0 = y[0];
      while (a0 < 20) {
        float t = a + b, t0 = a0 + b0;
        a = b, b = t;
        a0 = b0, b0 = t0;
      }
      assert_float_equal(at(output(c, 0), i), a, 0);
      assert_float_equal(at(output(c, 1), i), b, 0);
    }
    assert_int_equal(*(int64_t *)output(c, 2)->data, flag ? 1 : 2);
  }
  cierge_context_free(c);
  cierge_program_free(p);
}

static void the_arena_is_shared(void **u) {
  (void)u;
  cierge_program *p = program(chain_plan);
  cierge_context *c;
  good(cierge_context_new(p, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = 2, .profile = 1}, &c));
  float x[1024];
  for (int i = 0; i < 1024; i++) x[i] = (float)i / 1048576;
  int64_t shape[1] = {1024};
  DLTensor t = f32(x, 1, shape);
  good(cierge_input_set(c, 0, &t, 0));
  good(cierge_run(c));
  assert_float_equal(at(output(c, 0), 1000), 1000, 0);
  char *text;
  good(cierge_profile_text(c, &text));
#ifdef __SANITIZE_ADDRESS__ // memory.c leaves gaps of 64 bytes
  assert_non_null(strstr(text, "arena of main: 8320 bytes, at least 8320"));
#else
  assert_non_null(strstr(text, "arena of main: 8192 bytes, at least 8192"));
#endif
  assert_non_null(strstr(text, "kernel add"));
  cierge_text_free(text);
  cierge_context_free(c);
  cierge_program_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_and_errors), cmocka_unit_test(sizes_that_steps_reveal), cmocka_unit_test(branches_and_loops), cmocka_unit_test(scans),
      cmocka_unit_test(the_arena_is_shared),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
