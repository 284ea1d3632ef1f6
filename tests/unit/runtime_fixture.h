// What the tests of the runtime share: kernels, and plans that are written, loaded and run through the public API.
#ifndef CG_TESTS_RUNTIME_FIXTURE_H
#define CG_TESTS_RUNTIME_FIXTURE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_builder.h"

// Under the sanitizer as without it: memory that cannot be had is NULL.
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static char folder[256];

static inline int set_up(void **u) {
  (void)u;
  snprintf(folder, sizeof folder, "%s/cierge-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  return mkdtemp(folder) ? 0 : -1;
}

static inline int tear_down(void **u) {
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
    "int wait(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n" // a[0] = 1: here; until a[1] is set
    "  (void)s; (void)threads; (void)detail;\n"
    "  int *a = p[1];\n"
    "  __atomic_store_n(&a[0], 1, __ATOMIC_SEQ_CST);\n"
    "  while (!__atomic_load_n(&a[1], __ATOMIC_SEQ_CST)) ;\n"
    "  *(float *)p[0] = 7;\n"
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

static inline void write_plan(cg_session *s, void *u) {
  job *j = u;
  builder b;
  b_begin(&b, s);
  j->make(&b);
  b_write(&b, j->path, folder);
}

static inline void good(cierge_status *st) {
  if (st) fail_msg("%s", cierge_status_message(st));
}

static inline void refused(cierge_status *st, cierge_code code, const char *part) {
  if (cierge_status_code(st) != code || !strstr(cierge_status_message(st), part))
    fail_msg("code %d, '%s' instead of %d, '%s'", cierge_status_code(st), cierge_status_message(st), code, part);
  cierge_status_free(st);
}

static inline const char *artifact(make_plan *make) {
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

static inline cierge_program *program(make_plan *make) {
  cierge_program *p;
  good(cierge_load(artifact(make), NULL, &p));
  return p;
}

static inline cierge_context *context(const cierge_program *p) {
  cierge_context *c;
  good(cierge_context_new(p, NULL, &c));
  return c;
}

static inline DLTensor tensor(void *data, int bits, int code, int rank, int64_t *shape) {
  return (DLTensor){.data = data, .device = {kDLCPU, 0}, .ndim = rank, .dtype = {(uint8_t)code, (uint8_t)bits, 1}, .shape = shape};
}
static inline DLTensor f32(void *data, int rank, int64_t *shape) { return tensor(data, 32, kDLFloat, rank, shape); }

static inline const DLTensor *output(cierge_context *c, size_t i) {
  const DLTensor *t;
  good(cierge_output_get(c, i, &t));
  return t;
}
static inline float at(const DLTensor *t, int64_t i) { return ((float *)((char *)t->data + t->byte_offset))[i]; }

// ---------------------------------------------------------------- plans that several tests run

// x: f32[s0, 4]; y = ((x + x) + w) + (x + x), where w is a constant row.
static inline void batch_plan(builder *b) {
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

static inline void check_batch(cierge_context *c, const float *x, int64_t rows, int64_t row_stride) {
  const DLTensor *y = output(c, 0);
  assert_int_equal(y->ndim, 2);
  assert_int_equal(y->shape[0], rows);
  assert_int_equal(y->strides[0], 4);
  for (int64_t i = 0; i < rows; i++)
    for (int k = 0; k < 4; k++) assert_float_equal(at(y, i * 4 + k), 4 * x[i * row_stride + k] + (float)(k + 1), 1e-6);
}

static inline void run_batch(cierge_context *c, float *x, int64_t rows) {
  int64_t shape[2] = {rows, 4};
  DLTensor t = f32(x, 2, shape);
  good(cierge_input_set(c, 0, &t, CIERGE_READ_ONLY));
  good(cierge_run(c));
  check_batch(c, x, rows, 4);
}

// (x, y, flag) f32[s0]: if flag: (x + y, 1) else (y, 2); then while a[0] < 20: (a, b) = (b, a + b)
static inline void control_plan(builder *b) {
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

// A chain of 20 values needs room for two.
static inline void chain_plan(builder *b) {
  b->source = kernels;
  uint32_t n = b_num(b, 1024), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n));
  for (int i = 0; i < 20; i++) {
    uint32_t y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &n);
    b_kernel(b, "add", B_LIST(x, x), B_LIST(y), B_LIST(n));
    x = y;
  }
  b_result(b, x);
}

#endif
