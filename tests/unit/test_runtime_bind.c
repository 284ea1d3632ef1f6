// src/runtime: inputs are bound, symbols solved from their sizes, results leave, memory is written to.
#include "base/alloc.h"
#include "runtime_fixture.h"

static void batches_change(void **u) {
  (void)u;
  cierge_program *p = program(batch_plan);
  const cierge_spec *in = cierge_input_spec(p, 0), *out = cierge_output_spec(p, 0);
  assert_string_equal(in->name, "x");
  assert_string_equal(in->dtype, "float32");
  assert_int_equal(in->sizes[0], -1);
  assert_string_equal(in->dims[0], "s0");
  assert_string_equal(out->dims[1], "4");
  assert_null(cierge_input_spec(p, 1));
  cierge_context *c = context(p);
  const DLTensor *none;
  refused(cierge_output_get(c, 0, &none), CIERGE_USAGE, "no call");
  refused(cierge_run(c), CIERGE_BAD_INPUT, "input x is missing");
  float x[64];
  for (int i = 0; i < 64; i++) x[i] = (float)i - 7;
  int64_t sizes[] = {3, 16, 1, 16};
  for (int i = 0; i < 4; i++) run_batch(c, x, sizes[i]);
  cg_heap_fail_at(0, 0);
  run_batch(c, x, 16);
  assert_int_equal(cg_heap_count(), 0); // nothing is allocated in a call of known shapes
  cierge_context_free(c);
  cierge_program_free(p);
}

static void strides_and_alignment(void **u) {
  (void)u;
  cierge_program *p = program(batch_plan);
  cierge_context *c = context(p);
  float x[64];
  for (int i = 0; i < 64; i++) x[i] = (float)i;
  int64_t shape[2] = {3, 4}, stride[2] = {8, 1}, wide[2] = {1, 3};
  DLTensor t = f32(x, 2, shape);
  t.strides = stride;
  t.byte_offset = 2 * sizeof(float);
  good(cierge_input_set(c, 0, &t, 0));
  good(cierge_run(c));
  check_batch(c, x + 2, 3, 8);
  t.strides = wide; // transposed
  t.byte_offset = 0;
  good(cierge_input_set(c, 0, &t, 0));
  good(cierge_run(c));
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 4; k++) assert_float_equal(at(output(c, 0), i * 4 + k), 4 * x[i + 3 * k] + (float)(k + 1), 1e-6);
  stride[0] = -4, stride[1] = 1; // backwards
  t.strides = stride;
  t.byte_offset = 8 * sizeof(float);
  good(cierge_input_set(c, 0, &t, 0));
  good(cierge_run(c));
  check_batch(c, x + 8, 3, -4);
  char raw[16 * sizeof(float) + 1];
  memcpy(raw + 1, x, 12 * sizeof(float));
  t = f32(raw + 1, 2, shape); // not aligned
  good(cierge_input_set(c, 0, &t, 0));
  good(cierge_run(c));
  check_batch(c, x, 3, 4);
  cierge_context_free(c);
  cierge_program_free(p);
}

static void wrong_inputs(void **u) {
  (void)u;
  cierge_program *p = program(batch_plan);
  cierge_context *c = context(p);
  double data[64] = {0};
  int64_t shape[3] = {3, 4, 1};
  DLTensor t = tensor(data, 64, kDLFloat, 2, shape);
  refused(cierge_input_set(c, 0, &t, 0), CIERGE_BAD_INPUT, "input x: expected float32[s0, 4], found float64[3, 4]");
  t = f32(data, 3, shape);
  refused(cierge_input_set(c, 0, &t, 0), CIERGE_BAD_INPUT, "found float32[3, 4, 1]");
  shape[1] = 5;
  t = f32(data, 2, shape);
  refused(cierge_input_set(c, 0, &t, 0), CIERGE_BAD_INPUT, "found float32[3, 5]");
  shape[1] = 4;
  t.data = NULL;
  refused(cierge_input_set(c, 0, &t, 0), CIERGE_BAD_INPUT, "no data");
  t.data = data;
  t.device.device_type = kDLCUDA;
  refused(cierge_input_set(c, 0, &t, 0), CIERGE_BAD_INPUT, "CPU");
  t.device.device_type = kDLCPU;
  refused(cierge_input_set(c, 7, &t, 0), CIERGE_USAGE, "no input 7");
  refused(cierge_input_set(c, 0, &t, 8), CIERGE_USAGE, "flags");
  shape[0] = 0;
  good(cierge_input_set(c, 0, &t, 0));
  refused(cierge_run(c), CIERGE_BAD_INPUT, "s0 from 1 to 64, found 0");
  shape[0] = 65;
  refused(cierge_run(c), CIERGE_BAD_INPUT, "found 65");
  shape[0] = 3;
  good(cierge_run(c)); // still usable
  cierge_context_free(c);
  cierge_program_free(p);
}

// a: f32[2*s0 + 1], b: f32[s0, s1], c: f32[s1]; results: s0, a float, None, c, c again
static void sizes_plan(builder *b) {
  b->source = kernels;
  uint32_t s0 = b_symbol(b, "s0", 0, INT64_MAX), s1 = b_symbol(b, "s1", 2, 9);
  uint32_t odd = b_expr(b, 5, (cg_plan_expr_item[]){{CG_X_INT, 2}, {CG_X_SYM, s0}, {CG_X_MUL, 0}, {CG_X_INT, 1}, {CG_X_ADD, 0}});
  uint32_t dim[2] = {b_sym(b, s0), b_sym(b, s1)};
  double half = 0.5;
  b_input(b, b_tensor(b, "a", CG_F32, CG_ST_PARAM, 1, &odd));
  b_input(b, b_tensor(b, "b", CG_F32, CG_ST_PARAM, 2, dim));
  uint32_t c = b_input(b, b_tensor(b, "c", CG_F32, CG_ST_PARAM, 1, &dim[1]));
  uint32_t number = b_value(b, (cg_plan_value){.kind = CG_V_FLOAT, .dtype = CG_F64, .storage = CG_ST_CONST, .offset_expr = -1, .expr = -1});
  cg_str_addn(&b->weights, (char *)&half, 8);
  b_result(b, b_int_expr(b, dim[0]));
  b_result(b, number);
  b_result(b, b_value(b, (cg_plan_value){.kind = CG_V_NONE, .offset_expr = -1, .expr = -1}));
  b_result(b, c);
  b_result(b, c);
}

static void symbols_are_solved(void **u) {
  (void)u;
  cierge_program *p = program(sizes_plan);
  assert_string_equal(cierge_input_spec(p, 0)->dims[0], "2*s0 + 1");
  cierge_context *c = context(p);
  float x[64] = {5, 6, 7};
  int64_t a[1] = {7}, b[2] = {3, 3}, d[1] = {3};
  DLTensor ta = f32(x, 1, a), tb = f32(x, 2, b), td = f32(x, 1, d);
  good(cierge_input_set(c, 0, &ta, 0));
  good(cierge_input_set(c, 1, &tb, 0));
  good(cierge_input_set(c, 2, &td, 0));
  good(cierge_run(c));
  assert_int_equal(*(int64_t *)output(c, 0)->data, 3);
  assert_int_equal(output(c, 0)->ndim, 0);
  assert_float_equal(*(double *)output(c, 1)->data, 0.5, 0);
  assert_null(output(c, 2));
  assert_float_equal(at(output(c, 3), 2), 7, 0);
  assert_ptr_not_equal(output(c, 3)->data, x); // the caller may change its input after the call
  assert_ptr_not_equal(output(c, 3)->data, output(c, 4)->data);
  a[0] = 8;
  refused(cierge_run(c), CIERGE_BAD_INPUT, "input a");
  a[0] = 9;
  refused(cierge_run(c), CIERGE_BAD_INPUT, "input a: expected float32[2*s0 + 1] with s0 = 3, s1 = 3, found float32[9]");
  a[0] = 7, d[0] = 4;
  refused(cierge_run(c), CIERGE_BAD_INPUT, "input c: expected float32[s1] with s0 = 3, s1 = 3, found float32[4]");
  a[0] = 1, b[0] = 0, d[0] = 3;
  good(cierge_run(c));
  assert_int_equal(*(int64_t *)output(c, 0)->data, 0);
  cierge_context_free(c);
  cierge_program_free(p);
}

// Fixed result; memory of another size than the result's symbolic one.
static void wrong_output_size(void **u) {
  (void)u;
  cierge_program *p = program(batch_plan);
  cierge_context *c = context(p);
  float x[64] = {0}, out[64];
  int64_t in[2] = {3, 4}, shape[2] = {4, 4};
  DLTensor tx = f32(x, 2, in), to = f32(out, 2, shape);
  good(cierge_input_set(c, 0, &tx, 0));
  good(cierge_output_set(c, 0, &to));
  refused(cierge_run(c), CIERGE_BAD_INPUT, "output_0 is float32[3, 4], the memory for it is float32[4, 4]");
  good(cierge_output_set(c, 0, NULL));
  good(cierge_run(c));
  cierge_context_free(c);
  cierge_program_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(batches_change), cmocka_unit_test(strides_and_alignment), cmocka_unit_test(wrong_inputs),
      cmocka_unit_test(symbols_are_solved), cmocka_unit_test(wrong_output_size),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
