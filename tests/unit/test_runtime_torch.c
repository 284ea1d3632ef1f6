// src/runtime: regions of LibTorch, which a small library plays (fake_torch.c).
#include <dlfcn.h>

#include "runtime_fixture.h"

// source: a C file of this folder, NULL: an empty library
static void compile_library(const char *name, const char *source) {
  char command[2000], here[] = __FILE__;
  *strrchr(here, '/') = 0;
  if (source) snprintf(command, sizeof command, "cc -O1 -shared -fPIC -I '%s/../../src' -I '%s/../../include' -o '%s/%s' '%s/%s'", here, here, folder, name, here, source);
  else snprintf(command, sizeof command, "echo 'int nothing;' | cc -shared -x c -o '%s/%s' -", folder, name);
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
static void older_torch(builder *b) {
  wrong_shape(b);
  b->plan.torch_min = "2.10", b->plan.torch_max = "2.12";
}
static void same_torch(builder *b) {
  wrong_shape(b);
  b->plan.torch_min = "2.13", b->plan.torch_max = "2.13"; // 2.13.1 is a 2.13
}
static void python_operator(builder *b) {
  wrong_shape(b);
  b->plan.custom = CG_NEW(b->s, cg_plan_custom);
  b->plan.custom[b->plan.n_custom++] = (cg_plan_custom){"py::f", "py::f(Tensor x) -> Tensor", CG_PYTHON_LIBRARY, ""};
}
static void lost_library(builder *b) {
  python_operator(b);
  b->plan.custom->library = "libmine.so", b->plan.custom->hash = "0123456789abcdef0123456789abcdef";
}

static uint32_t late(builder *b, const char *name) {
  return b_value(b, (cg_plan_value){.kind = CG_V_LATE, .storage = CG_ST_TORCH, .offset_expr = -1, .expr = -1, .name = name});
}

// x: f32[s0] -> rank -> half, both of types that only the call tells; and what is None
static void late_plan(builder *b) {
  uint32_t dim = b_sym(b, b_symbol(b, "s0", 0, 64)), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &dim));
  uint32_t y = late(b, "y"), h = late(b, "h"), none = late(b, "none");
  b_torch(b, "aten::rank", 0, B_LIST(x), B_LIST(y));
  b_torch(b, "aten::half", 0, B_LIST(y), B_LIST(h));
  b_torch(b, "aten::none", 0, B_LIST(x), B_LIST(none));
  b_result(b, h);
  b_result(b, y);
  b_result(b, none);
}

static cierge_program *torch_program(make_plan *make) {
  cierge_program *p;
  good(cierge_load(artifact(make), &(cierge_load_options){.size = sizeof(cierge_load_options), .libtorch = folder}, &p));
  return p;
}

static void late_types(const int *live) {
  cierge_program *p = torch_program(late_plan);
  const cierge_spec *spec = cierge_output_spec(p, 1);
  assert_true(spec->kind == CIERGE_KIND_TENSOR && !spec->dtype && spec->rank == -1);
  cierge_context *c = context(p);
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  int64_t shape[1] = {8};
  DLTensor t = f32(x, 1, shape);
  good(cierge_input_set(c, 0, &t, CIERGE_READ_ONLY));
  refused(cierge_output_set(c, 1, &t), CIERGE_USAGE, "what output_1 is only each call tells");
  DLManagedTensorVersioned *m;
  for (int n = 8; n >= 2; n -= 3) {
    shape[0] = n;
    good(cierge_run(c));
    const DLTensor *y = output(c, 1), *h = output(c, 0), *none;
    assert_true(y->ndim == 2 && y->shape[0] == n && y->shape[1] == 1 && y->strides[0] == 1);
    assert_true(y->dtype.code == kDLFloat && y->dtype.bits == 32);
    assert_true(h->ndim == 1 && h->shape[0] == n / 2);
    assert_float_equal(at(y, n - 1), 2 * n, 0);
    assert_float_equal(at(h, 0), 4, 0);
    good(cierge_output_get(c, 2, &none));
    assert_null(none);
  }
  good(cierge_output_take(c, 1, &m));
  assert_int_equal(*live, 2);
  cierge_context_free(c);
  cierge_program_free(p);
  assert_true(m->dl_tensor.ndim == 2 && m->dl_tensor.shape[0] == 2);
  assert_float_equal(at(&m->dl_tensor, 1), 4, 0);
  m->deleter(m);
  assert_int_equal(*live, 0);
}

static void regions(void **u) {
  (void)u;
  char path[300];
  compile_library("libtorch_cpu.so", NULL);
  compile_library("libc10.so", NULL);
  compile_library("libcierge_torch.so", "fake_torch.c");
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
  late_types(live);
  refused(cierge_load(artifact(newer_torch), NULL, &p), CIERGE_MISSING, "needs LibTorch 2.14 or newer, here is 2.13.1");
  refused(cierge_load(artifact(older_torch), NULL, &p), CIERGE_MISSING, "needs LibTorch 2.10 to 2.12, here is 2.13.1");
  cierge_program_free(torch_program(same_torch));
  refused(cierge_load(artifact(python_operator), NULL, &p), CIERGE_MISSING, "py::f, which is written in Python and not registered in this process");
  refused(cierge_load(artifact(lost_library), NULL, &p), CIERGE_MISSING, "py::f of the library libmine.so (content 0123456789abcdef");
  const char *libraries[] = {"x.so", NULL};
  refused(cierge_load(artifact(wrong_shape), &(cierge_load_options){.size = sizeof(cierge_load_options), .torch_libraries = libraries}, &p), CIERGE_MISSING, "x.so cannot be opened");
  dlclose(h);
  unsetenv("CIERGE_PLUGIN_DIR");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(regions),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
