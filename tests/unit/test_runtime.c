// src/runtime: hand-made plans with kernels compiled here, run through the public API.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <pthread.h>

#include "base/alloc.h"
#include "plan_builder.h"
#include "runtime/cpu.h"

// Under the sanitizer as without it: memory that cannot be had is NULL.
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static char folder[256];

static int set_up(void **u) {
  (void)u;
  snprintf(folder, sizeof folder, "%s/cierge-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **u) {
  (void)u;
  char command[400];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

// ---------------------------------------------------------------- kernels

static const char kernels[] =
    "int add(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n" // out[n] = a[n] + b[n]
    "  (void)threads; (void)detail;\n"
    "  float *o = p[0]; const float *a = p[1], *b = p[2];\n"
    "  for (int64_t i = 0; i < s[0]; i++) o[i] = a[i] + b[i];\n"
    "  return 0;\n}\n"
    "int add_row(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n" // (rows, cols) + (cols)
    "  (void)threads; (void)detail;\n"
    "  float *o = p[0]; const float *a = p[1], *b = p[2];\n"
    "  for (int64_t i = 0; i < s[0]; i++) for (int64_t k = 0; k < s[1]; k++) o[i * s[1] + k] = a[i * s[1] + k] + b[k];\n"
    "  return 0;\n}\n"
    "int scale(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n" // out = a * double + int
    "  (void)threads; (void)detail;\n"
    "  float *o = p[0]; const float *a = p[1]; double f = *(double *)p[2]; int64_t n = *(int64_t *)p[3];\n"
    "  for (int64_t i = 0; i < s[0]; i++) o[i] = a[i] * f + n;\n"
    "  return 0;\n}\n"
    "int pick(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n" // out[1] = a[index]
    "  (void)threads;\n"
    "  int64_t i = *(int64_t *)p[2];\n"
    "  if (i < 0 || i >= s[0]) { detail[0] = i; detail[1] = s[0]; return 1; }\n"
    "  *(float *)p[0] = ((float *)p[1])[i];\n"
    "  return 0;\n}\n"
    "int iota(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n"
    "  (void)threads; (void)detail;\n"
    "  for (int64_t i = 0; i < s[0]; i++) ((float *)p[0])[i] = i;\n"
    "  return 0;\n}\n"
    "int less(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n" // bool: a[0] < s[0]
    "  (void)threads; (void)detail;\n"
    "  *(uint8_t *)p[0] = *(float *)p[1] < s[0];\n"
    "  return 0;\n}\n";

// ---------------------------------------------------------------- helpers

typedef void make_plan(builder *b);
typedef struct {
  make_plan *make;
  char path[300];
} job;

static void write_plan(cg_session *s, void *u) {
  job *j = u;
  builder b;
  b_begin(&b, s);
  j->make(&b);
  b_write(&b, j->path, folder);
}

static void good(cierge_status *st) {
  if (st) fail_msg("%s", cierge_status_message(st));
}

static void refused(cierge_status *st, cierge_code code, const char *part) {
  if (cierge_status_code(st) != code || !strstr(cierge_status_message(st), part))
    fail_msg("code %d, '%s' instead of %d, '%s'", cierge_status_code(st), cierge_status_message(st), code, part);
  cierge_status_free(st);
}

static const char *artifact(make_plan *make) {
  static job j;
  static int n;
  j = (job){.make = make};
  snprintf(j.path, sizeof j.path, "%s/%d.cierge", folder, n++);
  cg_session s;
  cg_session_init(&s);
  if (cg_try(&s, write_plan, &j)) fail_msg("%s", s.message);
  cg_session_end(&s);
  return j.path;
}

static cierge_program *program(make_plan *make) {
  cierge_program *p;
  good(cierge_load(artifact(make), NULL, &p));
  return p;
}

static cierge_context *context(const cierge_program *p) {
  cierge_context *c;
  good(cierge_context_new(p, NULL, &c));
  return c;
}

static DLTensor tensor(void *data, int bits, int code, int rank, int64_t *shape) {
  return (DLTensor){.data = data, .device = {kDLCPU, 0}, .ndim = rank, .dtype = {(uint8_t)code, (uint8_t)bits, 1}, .shape = shape};
}
static DLTensor f32(void *data, int rank, int64_t *shape) { return tensor(data, 32, kDLFloat, rank, shape); }

static const DLTensor *output(cierge_context *c, size_t i) {
  const DLTensor *t;
  good(cierge_output_get(c, i, &t));
  return t;
}
static float at(const DLTensor *t, int64_t i) { return ((float *)((char *)t->data + t->byte_offset))[i]; }

// ---------------------------------------------------------------- batches

// x: f32[s0, 4]; y = ((x + x) + w) + (x + x), where w is a constant row.
static void batch_plan(builder *b) {
  b->source = kernels;
  uint32_t s0 = b_symbol(b, "s0", 1, 64), four = b_num(b, 4), dim[2] = {b_sym(b, s0), four}, n = b_times(b, 4, s0);
  float w[4] = {1, 2, 3, 4};
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 2, dim));
  uint32_t c = b_constant(b, "w", CG_F32, CG_ST_CONST, 1, &four, w, sizeof w);
  uint32_t a = b_tensor(b, "a", CG_F32, CG_ST_ARENA, 2, dim), d = b_tensor(b, "d", CG_F32, CG_ST_ARENA, 2, dim), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 2, dim);
  b_kernel(b, "add", B_LIST(x, x), B_LIST(a), B_LIST(n));
  b_kernel(b, "add_row", B_LIST(a, c), B_LIST(d), B_LIST(dim[0], four));
  b_kernel(b, "add", B_LIST(d, a), B_LIST(y), B_LIST(n));
  b_result(b, y);
}

static void check_batch(cierge_context *c, const float *x, int64_t rows, int64_t row_stride) {
  const DLTensor *y = output(c, 0);
  assert_int_equal(y->ndim, 2);
  assert_int_equal(y->shape[0], rows);
  assert_int_equal(y->strides[0], 4);
  for (int64_t i = 0; i < rows; i++)
    for (int k = 0; k < 4; k++) assert_float_equal(at(y, i * 4 + k), 4 * x[i * row_stride + k] + (float)(k + 1), 1e-6);
}

static void run_batch(cierge_context *c, float *x, int64_t rows) {
  int64_t shape[2] = {rows, 4};
  DLTensor t = f32(x, 2, shape);
  good(cierge_input_set(c, 0, &t, CIERGE_READ_ONLY));
  good(cierge_run(c));
  check_batch(c, x, rows, 4);
}

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
  uint32_t odd = b_expr(b, 5, (cg_plan_expr_item[]){{CG_E_INT, 2}, {CG_E_SYM, s0}, {CG_E_MUL, 0}, {CG_E_INT, 1}, {CG_E_ADD, 0}});
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

// ---------------------------------------------------------------- what is written to

// a, b: f32[2, 2]; they swap; s += a, and the old s is a result.
static void mutating_plan(builder *b) {
  b->source = kernels;
  uint32_t two = b_num(b, 2), four = b_num(b, 4), dim[2] = {two, two};
  float w[4] = {1, 1, 1, 1};
  uint32_t x = b_input(b, b_tensor(b, "a", CG_F32, CG_ST_PARAM, 2, dim)), y = b_input(b, b_tensor(b, "b", CG_F32, CG_ST_PARAM, 2, dim));
  uint32_t s = b_state(b, "s", CG_F32, 2, dim, w, sizeof w), n = b_tensor(b, "n", CG_F32, CG_ST_ARENA, 2, dim);
  b_kernel(b, "add", B_LIST(s, x), B_LIST(n), B_LIST(four));
  b_result(b, s);
  b_update(b, x, y);
  b_update(b, y, x);
  b_update(b, s, n);
}

static void inputs_and_state_are_updated(void **u) {
  (void)u;
  cierge_program *p = program(mutating_plan);
  assert_int_equal(cierge_mutated_count(p), 2);
  assert_int_equal(cierge_mutated_input(p, 1), 1);
  cierge_context *c = context(p);
  float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8};
  int64_t shape[2] = {2, 2}, stride[2] = {1, 2}, zero[2] = {0, 1};
  DLTensor ta = f32(a, 2, shape), tb = f32(b, 2, shape);
  refused(cierge_input_set(c, 0, &ta, CIERGE_READ_ONLY), CIERGE_BAD_INPUT, "input a is read-only");
  ta.strides = zero;
  refused(cierge_input_set(c, 0, &ta, 0), CIERGE_BAD_INPUT, "stride of 0");
  ta.strides = NULL;
  tb.strides = stride; // b is [[5, 7], [6, 8]]
  good(cierge_input_set(c, 0, &ta, 0));
  good(cierge_input_set(c, 1, &tb, 0));
  good(cierge_run(c));
  float want_a[4] = {5, 7, 6, 8}, want_b[4] = {1, 3, 2, 4};
  assert_memory_equal(a, want_a, sizeof a);
  assert_memory_equal(b, want_b, sizeof b);
  assert_float_equal(at(output(c, 0), 3), 1, 0); // the state as it was
  good(cierge_run(c));
  assert_float_equal(at(output(c, 0), 3), 5, 0);
  assert_float_equal(a[1], 2, 0);
  good(cierge_reset(c));
  good(cierge_run(c));
  assert_float_equal(at(output(c, 0), 3), 1, 0);
  cierge_context *d = context(p); // state is each context's own
  good(cierge_input_set(d, 0, &ta, 0));
  good(cierge_input_set(d, 1, &tb, 0));
  good(cierge_run(d));
  assert_float_equal(at(output(d, 0), 3), 1, 0);
  cierge_context_free(d);
  cierge_context_free(c);
  cierge_program_free(p);
}

static void outputs_in_the_callers_memory(void **u) {
  (void)u;
  cierge_program *p = program(mutating_plan);
  cierge_context *c = context(p);
  float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8}, out[8] = {0};
  int64_t shape[2] = {2, 2}, stride[2] = {4, 2}, bad[2] = {2, 3};
  DLTensor ta = f32(a, 2, shape), tb = f32(b, 2, shape), to = f32(out, 2, bad);
  good(cierge_input_set(c, 0, &ta, 0));
  good(cierge_input_set(c, 1, &tb, 0));
  refused(cierge_output_set(c, 0, &to), CIERGE_BAD_INPUT, "memory for output_0: expected float32[2, 2], found float32[2, 3]");
  to = f32(out, 2, shape);
  to.strides = stride;
  good(cierge_output_set(c, 0, &to));
  good(cierge_run(c));
  good(cierge_run(c));
  float want[8] = {2, 0, 3, 0, 4, 0, 5, 0};
  assert_memory_equal(out, want, sizeof out);
  assert_ptr_equal(output(c, 0)->data, out);
  DLManagedTensorVersioned *m;
  good(cierge_output_take(c, 0, &m));
  cierge_context_free(c);
  cierge_program_free(p);
  assert_float_equal(at(&m->dl_tensor, 3), 5, 0); // outlives all
  m->deleter(m);
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

// ---------------------------------------------------------------- numbers, errors

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
  uint32_t half = b_expr(b, 3, (cg_plan_expr_item[]){{CG_E_SYM, u0}, {CG_E_INT, 2}, {CG_E_FLOORDIV, 0}});
  uint32_t offset = b_expr(b, 5, (cg_plan_expr_item[]){{CG_E_INT, 4}, {CG_E_SYM, u0}, {CG_E_INT, 2}, {CG_E_FLOORDIV, 0}, {CG_E_MUL, 0}});
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

// ---------------------------------------------------------------- control

// (x, y, flag) f32[s0]: if flag: (x + y, 1) else (y, 2); then while a[0] < 20: (a, b) = (b, a + b)
static void control_plan(builder *b) {
  b->source = kernels;
  uint32_t s0 = b_symbol(b, "s0", 1, 64), dim = b_sym(b, s0);
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &dim)), y = b_input(b, b_tensor(b, "y", CG_F32, CG_ST_PARAM, 1, &dim));
  uint32_t flag = b_input(b, b_scalar(b, CG_V_BOOL, "flag"));
  uint32_t a = b_tensor(b, "a", CG_F32, CG_ST_ARENA, 1, &dim), which = b_scalar(b, CG_V_INT, "which");
  uint32_t p = b_tensor(b, "p", CG_F32, CG_ST_ARENA, 1, &dim), q = b_tensor(b, "q", CG_F32, CG_ST_ARENA, 1, &dim);
  cg_plan_step *branch = b_step(b, CG_STEP_IF, B_LIST(flag, x, y, s0), B_LIST(a, which));
  uint32_t branch_at = b->fn->n_steps - 1;
  b_step(b, CG_STEP_WHILE, B_LIST(a, y, s0), B_LIST(p, q))->n_carried = 2;
  b_result(b, p);
  b_result(b, q);
  b_result(b, which);
  (void)branch;
  cg_plan_fn *main_fn = b->fn;

  main_fn->step[branch_at].fn[0] = b_fn(b, "yes");
  uint32_t n = b_scalar(b, CG_V_INT, "s0"), d = b_sym(b, n);
  uint32_t u = b_param(b, b_tensor(b, "u", CG_F32, CG_ST_PARAM, 1, &d)), v = b_param(b, b_tensor(b, "v", CG_F32, CG_ST_PARAM, 1, &d)), w = b_tensor(b, "w", CG_F32, CG_ST_ARENA, 1, &d);
  b_param(b, n);
  b_kernel(b, "add", B_LIST(u, v), B_LIST(w), B_LIST(d));
  b_result(b, w);
  b_result(b, b_int_expr(b, b_num(b, 1)));

  main_fn->step[branch_at].fn[1] = b_fn(b, "no");
  n = b_scalar(b, CG_V_INT, "s0"), d = b_sym(b, n);
  u = b_param(b, b_tensor(b, "u", CG_F32, CG_ST_PARAM, 1, &d)), v = b_param(b, b_tensor(b, "v", CG_F32, CG_ST_PARAM, 1, &d));
  b_param(b, n);
  b_result(b, v);
  b_result(b, b_int_expr(b, b_num(b, 2)));

  main_fn->step[branch_at + 1].fn[0] = b_fn(b, "test");
  n = b_scalar(b, CG_V_INT, "s0"), d = b_sym(b, n);
  u = b_param(b, b_tensor(b, "u", CG_F32, CG_ST_PARAM, 1, &d)), v = b_param(b, b_tensor(b, "v", CG_F32, CG_ST_PARAM, 1, &d));
  b_param(b, n);
  uint32_t yes = b_tensor(b, "yes", CG_BOOL, CG_ST_ARENA, 0, NULL);
  b_kernel(b, "less", B_LIST(u), B_LIST(yes), B_LIST(b_num(b, 20)));
  b_result(b, yes);

  main_fn->step[branch_at + 1].fn[1] = b_fn(b, "body");
  n = b_scalar(b, CG_V_INT, "s0"), d = b_sym(b, n);
  u = b_param(b, b_tensor(b, "u", CG_F32, CG_ST_PARAM, 1, &d)), v = b_param(b, b_tensor(b, "v", CG_F32, CG_ST_PARAM, 1, &d)), w = b_tensor(b, "w", CG_F32, CG_ST_ARENA, 1, &d);
  b_param(b, n);
  b_kernel(b, "add", B_LIST(u, v), B_LIST(w), B_LIST(d));
  b_result(b, v);
  b_result(b, w);
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

// ---------------------------------------------------------------- memory

// A chain of 20 values needs room for two.
static void chain_plan(builder *b) {
  b->source = kernels;
  uint32_t n = b_num(b, 1024), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n));
  for (int i = 0; i < 20; i++) {
    uint32_t y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &n);
    b_kernel(b, "add", B_LIST(x, x), B_LIST(y), B_LIST(n));
    x = y;
  }
  b_result(b, x);
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
  assert_non_null(strstr(text, "arena of main: 8192 bytes, at least 8192"));
  assert_non_null(strstr(text, "kernel add"));
  cierge_text_free(text);
  cierge_context_free(c);
  cierge_program_free(p);
}

// A constant and a state that are not in C order: kernels get them as they lie, results and branches in C order.
static void strided_plan(builder *b) {
  uint32_t dim[2] = {b_num(b, 2), b_num(b, 3)};
  float w[6] = {0, 1, 2, 3, 4, 5};
  uint32_t k = b_constant(b, "k", CG_F32, CG_ST_CONST, 2, dim, w, sizeof w), s = b_state(b, "s", CG_F32, 2, dim, w, sizeof w);
  int64_t stride[2] = {1, 2};
  b->fn->value[k].stride = cg_memdup(b->s, stride, sizeof stride);
  b->fn->value[s].stride = cg_memdup(b->s, stride, sizeof stride);
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 2, dim)), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 2, dim);
  b_step(b, CG_STEP_COPY, B_LIST(k), B_LIST(y));
  b_result(b, k);
  b_result(b, y);
  b_result(b, s);
  b_update(b, s, x);
}

static void constants_out_of_order(void **u) {
  (void)u;
  cierge_program *p = program(strided_plan);
  cierge_context *c = context(p);
  float x[6] = {9, 8, 7, 6, 5, 4}, want[6] = {0, 2, 4, 1, 3, 5};
  int64_t shape[2] = {2, 3};
  DLTensor t = f32(x, 2, shape);
  good(cierge_input_set(c, 0, &t, CIERGE_READ_ONLY));
  good(cierge_run(c));
  for (size_t i = 0; i < 3; i++) assert_memory_equal(output(c, i)->data, want, sizeof want);
  good(cierge_run(c));
  assert_memory_equal(output(c, 2)->data, x, sizeof x);
  cierge_context_free(c);
  cierge_program_free(p);
}

// ---------------------------------------------------------------- plans that a compiler would not write

static void use_before_def(builder *b) {
  uint32_t n = b_num(b, 4), x = b_tensor(b, "x", CG_F32, CG_ST_ARENA, 1, &n), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &n);
  b_step(b, CG_STEP_COPY, B_LIST(x), B_LIST(y));
  b_result(b, y);
}
static void unsolvable(builder *b) {
  uint32_t s0 = b_symbol(b, "s0", 1, 8), d = b_expr(b, 3, (cg_plan_expr_item[]){{CG_E_SYM, s0}, {CG_E_SYM, s0}, {CG_E_MUL, 0}});
  b_result(b, b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &d)));
}
static void recursion(builder *b) {
  b_step(b, CG_STEP_CALL, 0, (uint32_t[1]){0}, 0, (uint32_t[1]){0})->fn[0] = 0;
}
static void deep(builder *b) {
  for (uint32_t i = 0; i < 40; i++) {
    b_step(b, CG_STEP_CALL, 0, (uint32_t[1]){0}, 0, (uint32_t[1]){0})->fn[0] = i + 1;
    b_fn(b, "f");
  }
}
static void outside(builder *b) {
  uint32_t n = b_num(b, 4);
  float w[3] = {0};
  b_result(b, b_constant(b, "w", CG_F32, CG_ST_CONST, 1, &n, w, sizeof w));
}
static void alien_alias(builder *b) {
  uint32_t n = b_num(b, 4), m = b_num(b, 5), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n));
  b_result(b, b_alias(b, x, CG_F32, 1, &m, -1));
}

static void bad_plans_are_refused(void **u) {
  (void)u;
  cierge_program *p;
  refused(cierge_load(artifact(use_before_def), NULL, &p), CIERGE_BAD_ARTIFACT, "used before it is made");
  refused(cierge_load(artifact(unsolvable), NULL, &p), CIERGE_BAD_ARTIFACT, "no input's size says what s0 is");
  refused(cierge_load(artifact(recursion), NULL, &p), CIERGE_BAD_ARTIFACT, "calls function 0");
  refused(cierge_load(artifact(deep), NULL, &p), CIERGE_BAD_ARTIFACT, "32 deep");
  refused(cierge_load(artifact(outside), NULL, &p), CIERGE_BAD_ARTIFACT, "constant w is larger than its 12 bytes");
  p = program(alien_alias);
  cierge_context *c = context(p);
  float x[4];
  int64_t shape[1] = {4};
  DLTensor t = f32(x, 1, shape);
  good(cierge_input_set(c, 0, &t, 0));
  refused(cierge_run(c), CIERGE_INTERNAL, "outside");
  cierge_context_free(c);
  cierge_program_free(p);
}

static void other_processor(builder *b) {
  batch_plan(b);
  b->plan.target = "x86-64-v9";
}
static void lost_kernel(builder *b) {
  batch_plan(b);
  b->plan.kernel[0].symbol = "gone";
}

static void processors_are_checked(void **u) {
  (void)u;
  cierge_program *p;
  refused(cierge_load(artifact(other_processor), NULL, &p), CIERGE_MISSING, "x86-64-v9");
  refused(cierge_load(artifact(lost_kernel), NULL, &p), CIERGE_BAD_ARTIFACT, "gone");
  cg_cpu old = {.word = {~0u, 0, ~0u}, .xcr0 = ~0ull}, all = {.word = {~0u, ~0u, ~0u}, .xcr0 = 7};
  char missing[512];
  assert_false(cg_cpu_lacks(&old, "x86-64-v2", missing, sizeof missing));
  assert_true(cg_cpu_lacks(&old, "x86-64-v3", missing, sizeof missing));
  assert_string_equal(missing, "BMI1, AVX2, BMI2");
  assert_false(cg_cpu_lacks(&all, "x86-64-v3", missing, sizeof missing));
  assert_true(cg_cpu_lacks(&all, "x86-64-v4", missing, sizeof missing));
  assert_non_null(strstr(missing, "AVX-512 registers"));
}

static void kernels_from_a_temporary_file(void **u) {
  (void)u;
  setenv("CIERGE_NO_MEMFD", "1", 1);
  cierge_program *p = program(batch_plan);
  unsetenv("CIERGE_NO_MEMFD");
  cierge_program *q = program(chain_plan); // another object, loaded beside the first
  cierge_program *r = program(batch_plan);
  cierge_context *c = context(p), *d = context(r);
  float x[8] = {1, 2, 3};
  run_batch(c, x, 2);
  run_batch(d, x, 2);
  cierge_context_free(c);
  cierge_context_free(d);
  cierge_program_free(p);
  cierge_program_free(q);
  cierge_program_free(r);
}

// ---------------------------------------------------------------- texts, misuse

static void texts(void **u) {
  (void)u;
  char *text;
  good(cierge_inspect(artifact(batch_plan), &text));
  assert_non_null(strstr(text, "  x: float32[s0, 4]\n"));
  assert_non_null(strstr(text, "  output_0: float32[s0, 4]\n"));
  assert_non_null(strstr(text, "  s0: 1..64\n"));
  assert_non_null(strstr(text, "native kernels: 2"));
  assert_non_null(strstr(text, "LibTorch: no"));
  cierge_text_free(text);
  good(cierge_verify(artifact(batch_plan)));
  assert_string_equal(cierge_version(), CIERGE_VERSION);
}

static void misuse(void **u) {
  (void)u;
  cierge_program *p = program(batch_plan), *q;
  cierge_context *c = context(p), *d;
  char *text;
  const DLTensor *t;
  DLManagedTensorVersioned *m;
  refused(cierge_load(NULL, NULL, &q), CIERGE_USAGE, "NULL");
  refused(cierge_load("/nowhere", NULL, NULL), CIERGE_USAGE, "NULL");
  refused(cierge_load("/nowhere", NULL, &q), CIERGE_IO, "/nowhere");
  refused(cierge_load("/nowhere", &(cierge_load_options){0}, &q), CIERGE_USAGE, "size");
  refused(cierge_context_new(NULL, NULL, &d), CIERGE_USAGE, "NULL");
  refused(cierge_context_new(p, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = -1}, &d), CIERGE_USAGE, "-1");
  refused(cierge_run(NULL), CIERGE_USAGE, "NULL");
  refused(cierge_input_set(NULL, 0, NULL, 0), CIERGE_USAGE, "NULL");
  refused(cierge_output_set(NULL, 0, NULL), CIERGE_USAGE, "NULL");
  refused(cierge_output_get(c, 9, &t), CIERGE_USAGE, "no output 9");
  refused(cierge_output_get(c, 0, NULL), CIERGE_USAGE, "NULL");
  refused(cierge_output_take(c, 0, NULL), CIERGE_USAGE, "NULL");
  refused(cierge_output_take(c, 0, &m), CIERGE_USAGE, "no call");
  refused(cierge_reset(NULL), CIERGE_USAGE, "NULL");
  refused(cierge_seed(NULL, 1), CIERGE_USAGE, "NULL");
  refused(cierge_inspect(NULL, &text), CIERGE_USAGE, "NULL");
  refused(cierge_verify(NULL), CIERGE_USAGE, "NULL");
  refused(cierge_profile_text(c, &text), CIERGE_USAGE, "profile");
  good(cierge_seed(c, 1));
  cierge_context_free(NULL);
  cierge_program_free(NULL);
  cierge_status_free(NULL);
  assert_int_equal(cierge_input_count(NULL), 0);
  assert_null(cierge_output_spec(NULL, 0));
  assert_int_equal(cierge_status_exit_code(NULL), 0);
  cierge_context_free(c);
  cierge_program_free(p);
}

// ---------------------------------------------------------------- LibTorch, played by a small library

// double: out = 2 * in. half: the first half of it, so its size appears only then. fail: an error. Counts live tensors.
static const char plugin[] =
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include \"base/bytes.h\"\n#include \"../plugin/torch/cierge_torch.h\"\n"
    "#define OUT __attribute__((visibility(\"default\")))\n"
    "typedef struct { int64_t size; float *data; } tensor;\n"
    "struct cierge_torch_region { char op; };\n"
    "OUT int live, shared;\n"
    "static int schema(const char *k, char *b, size_t n) { snprintf(b, n, \"%s\", k); return 0; }\n"
    "static int region_new(const void *p, size_t n, cierge_torch_region **out, cierge_torch_error *e) {\n"
    "  (void)e; cg_reader r = {p, (const uint8_t *)p + n, 0};\n"
    "  for (int i = 0; i < 4; i++) cg_read_u32(&r);\n"
    "  *out = malloc(sizeof **out); (*out)->op = cg_read_text(&r, NULL)[6]; return 0; }\n"
    "static void region_free(cierge_torch_region *r) { free(r); }\n"
    "static void tensor_free(cierge_torch_tensor t) { free(((tensor *)t)->data); free(t); live--; }\n"
    "static int region_run(cierge_torch_region *r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads,\n"
    "                      int *call, cierge_torch_error *e) {\n"
    "  (void)n_in; (void)n_out; (void)threads; *call = 0;\n"
    "  int64_t n = in[0].size[0];\n"
    "  const float *x = in[0].handle ? ((tensor *)in[0].handle)->data : in[0].data;\n"
    "  shared += in[0].handle != NULL;\n"
    "  if (r->op == 'f' && x[0] > 100) { snprintf(e->text, e->size, \"it is too much\"); return 1; }\n"
    "  if (r->op == 'h') n /= 2;\n"
    "  tensor *t = malloc(sizeof *t); t->size = n; t->data = malloc(n * 4 + 4); live++;\n"
    "  for (int64_t i = 0; i < n; i++) t->data[i] = 2 * x[i];\n"
    "  memset(out, 0, sizeof *out); out->handle = t; out->data = t->data; out->dtype = 6; out->rank = 1; out->size = &t->size; return 0; }\n"
    "static void seed(uint64_t s) { (void)s; }\n"
    "static int load_library(const char *p, cierge_torch_error *e) { snprintf(e->text, e->size, \"%s is no library\", p); return 1; }\n"
    "OUT const cierge_torch_api_v1 *cierge_torch_api(void) {\n"
    "  static const cierge_torch_api_v1 api = {.abi = CIERGE_TORCH_ABI, .version = \"2.13.1\", .schema = schema, .load_library = load_library,\n"
    "    .region_new = region_new, .region_free = region_free, .region_run = region_run, .tensor_free = tensor_free, .seed = seed};\n"
    "  return &api; }\n";

static void compile_library(const char *name, const char *text) {
  char c[300], command[2000], root[] = __FILE__;
  snprintf(c, sizeof c, "%s/%s.c", folder, name);
  root[sizeof root - sizeof "tests/unit/test_runtime.c"] = 0; // where that was compiled
  FILE *f = fopen(c, "w");
  fputs(text, f);
  fclose(f);
  snprintf(command, sizeof command, "cc -O1 -shared -fPIC -I '%ssrc' -o '%s/%s' '%s'", root, folder, name, c);
  assert_int_equal(system(command), 0);
}

// x: f32[s0] -> double -> half (f32[u0]) -> add to itself -> fail; results: the last and the half
static void torch_plan(builder *b) {
  b->source = kernels;
  uint32_t s0 = b_symbol(b, "s0", 0, 64), dim = b_sym(b, s0), u0 = b_scalar(b, CG_V_INT, "u0"), late = b_sym(b, u0);
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &dim)), y = b_tensor(b, "y", CG_F32, CG_ST_TORCH, 1, &dim);
  uint32_t h = b_tensor(b, "h", CG_F32, CG_ST_TORCH, 1, &late), z = b_tensor(b, "z", CG_F32, CG_ST_ARENA, 1, &late), w = b_tensor(b, "w", CG_F32, CG_ST_TORCH, 1, &late);
  b->plan.torch_min = "2.10";
  b_torch(b, "aten::double", 0, B_LIST(x), B_LIST(y));
  cg_plan_step *s = b_torch(b, "aten::half", 0, B_LIST(y), B_LIST(h));
  s->bind = CG_NEW(b->s, cg_plan_bind);
  s->n_bind = 1;
  s->bind[0] = (cg_plan_bind){0, 0, u0};
  b_kernel(b, "add", B_LIST(h, h), B_LIST(z), B_LIST(late));
  b_torch(b, "aten::fail", b_site(b, "aten::fail", "fail_1", "model.py", 7), B_LIST(z), B_LIST(w));
  b_result(b, w);
  b_result(b, h);
}

static void wrong_shape(builder *b) {
  uint32_t n = b_num(b, 4), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n)), y = b_tensor(b, "y", CG_F32, CG_ST_TORCH, 1, &n);
  b_torch(b, "aten::half", b_site(b, "aten::half", "", "", 0), B_LIST(x), B_LIST(y));
  b_result(b, y);
}
static void newer_torch(builder *b) {
  wrong_shape(b);
  b->plan.torch_min = "2.14";
}

static cierge_program *torch_program(make_plan *make) {
  cierge_program *p;
  good(cierge_load(artifact(make), &(cierge_load_options){.size = sizeof(cierge_load_options), .libtorch = folder}, &p));
  return p;
}

static void regions(void **u) {
  (void)u;
  char path[300];
  compile_library("libtorch_cpu.so", "int nothing;\n");
  compile_library("libc10.so", "int nothing;\n");
  compile_library("libcierge_torch.so", plugin);
  setenv("CIERGE_PLUGIN_DIR", folder, 1);
  cierge_program *p;
  refused(cierge_load(artifact(torch_plan), &(cierge_load_options){.size = sizeof(cierge_load_options), .libtorch = "none"}, &p), CIERGE_MISSING, "none");
  p = torch_program(torch_plan);
  snprintf(path, sizeof path, "%s/libcierge_torch.so", folder);
  void *h = dlopen(path, RTLD_NOW);
  int *live = dlsym(h, "live"), *shared = dlsym(h, "shared");
  assert_non_null(live);
  cierge_context *c = context(p);
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  int64_t shape[1] = {8};
  DLTensor t = f32(x, 1, shape);
  good(cierge_input_set(c, 0, &t, CIERGE_READ_ONLY));
  good(cierge_run(c));
  assert_int_equal(*live, 2); // the two results; what came between is gone
  assert_int_equal(*shared, 1); // from the first region straight to the second
  assert_int_equal(output(c, 0)->shape[0], 4);
  assert_float_equal(at(output(c, 0), 3), 4 * 2 * 2 * 2 * 2, 0);
  assert_float_equal(at(output(c, 1), 3), 16, 0);
  shape[0] = 5;
  good(cierge_run(c));
  assert_int_equal(output(c, 0)->shape[0], 2);
  DLManagedTensorVersioned *m;
  const DLTensor *gone;
  const void *data = output(c, 0)->data;
  good(cierge_output_take(c, 0, &m));
  assert_ptr_equal(m->dl_tensor.data, data); // handed over, not copied
  refused(cierge_output_get(c, 0, &gone), CIERGE_USAGE, "was taken");
  x[0] = 50;
  refused(cierge_run(c), CIERGE_RUN_ERROR, "model.py:7: aten::fail (node fail_1): it is too much");
  assert_int_equal(*live, 1); // the one that was taken
  x[0] = 1;
  good(cierge_run(c));
  cierge_context_free(c);
  assert_int_equal(*live, 1);
  cierge_program_free(p);
  assert_float_equal(at(&m->dl_tensor, 1), 2 * 16, 0);
  m->deleter(m);
  assert_int_equal(*live, 0);
  p = torch_program(wrong_shape);
  c = context(p);
  shape[0] = 4;
  good(cierge_input_set(c, 0, &t, 0));
  refused(cierge_run(c), CIERGE_RUN_ERROR, "another shape");
  cierge_context_free(c);
  cierge_program_free(p);
  assert_int_equal(*live, 0);
  refused(cierge_load(artifact(newer_torch), NULL, &p), CIERGE_MISSING, "needs LibTorch 2.14 or newer, here is 2.13.1");
  const char *libraries[] = {"x.so", NULL};
  refused(cierge_load(artifact(wrong_shape), &(cierge_load_options){.size = sizeof(cierge_load_options), .torch_libraries = libraries}, &p), CIERGE_MISSING, "x.so is no library");
  dlclose(h);
  unsetenv("CIERGE_PLUGIN_DIR");
}

// ---------------------------------------------------------------- threads, memory that runs out

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
      cmocka_unit_test(batches_change), cmocka_unit_test(strides_and_alignment), cmocka_unit_test(wrong_inputs),
      cmocka_unit_test(symbols_are_solved), cmocka_unit_test(inputs_and_state_are_updated), cmocka_unit_test(outputs_in_the_callers_memory),
      cmocka_unit_test(wrong_output_size), cmocka_unit_test(numbers_and_errors), cmocka_unit_test(sizes_that_steps_reveal),
      cmocka_unit_test(branches_and_loops), cmocka_unit_test(the_arena_is_shared), cmocka_unit_test(constants_out_of_order),
      cmocka_unit_test(bad_plans_are_refused), cmocka_unit_test(processors_are_checked), cmocka_unit_test(kernels_from_a_temporary_file),
      cmocka_unit_test(texts), cmocka_unit_test(misuse), cmocka_unit_test(regions), cmocka_unit_test(threads_share_a_program), cmocka_unit_test(memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
