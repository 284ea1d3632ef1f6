// A backend in sixty lines, for doc/adding-a-backend.md: it takes aten::relu of f32 tensors whose sizes are numbers, and
// writes a C function of its own for each. It is no part of cierge; tests/python/test_toy_backend.py builds it in.
#include "backend/backend.h"

// ---------------------------------------------------------------- what it takes

static const char *claim(cg_pipeline *p, const cg_node *n) {
  (void)p;
  if (!cg_node_is_op(n, "aten::relu")) return "the toy knows relu only";
  const cg_value *x = cg_arg_tensor(&n->arg[0]);
  if (!x || x->type.kind != CG_T_TENSOR || x->type.dtype != CG_F32) return "the toy knows float32 tensors only";
  if (!cg_type_is_static(&x->type)) return "the toy wants sizes that are numbers";
  if (x->constant) return "the toy does not read constants, which may be strided";
  return NULL;
}

// ---------------------------------------------------------------- how it runs

// The text of a kernel (cg_kernel_fn in artifact/plan.h): p holds the outputs, then the inputs, each in C order.
static const char *kernel_text(cg_emitter *e, const char *symbol, int64_t n) {
  return cg_format(e->s,
                   "__attribute__((visibility(\"default\"))) int %s(void *const *p, const int64_t *s, int threads, int64_t *detail) {\n"
                   "  float *restrict y = p[0];       // (%lld)\n"
                   "  const float *restrict x = p[1]; // (%lld)\n"
                   "  (void)s, (void)threads, (void)detail;\n"
                   "  for (int64_t i = 0; i < %lld; i++) y[i] = x[i] < 0 ? 0 : x[i]; // NaN stays\n"
                   "  return CG_KERNEL_OK;\n"
                   "}\n",
                   symbol, (long long)n, (long long)n, (long long)n);
}

static void lower_node(cg_emitter *e, const cg_node *n) {
  cg_value *x = cg_arg_tensor(&n->arg[0]), *y = n->result[0];
  uint32_t *in = CG_NEW(e->s, uint32_t), *out = CG_NEW(e->s, uint32_t);
  *in = (uint32_t)cg_emit_value(e, x);
  *out = (uint32_t)cg_emit_result(e, y);
  int64_t count = cg_type_numel(e->m, &y->type)->value;
  const char *symbol = cg_format(e->s, "toy%u_relu", e->plan->n_kernels);
  int kernel = cg_emit_kernel(e, symbol, "toy relu", kernel_text(e, symbol, count));
  cg_plan_step *step = cg_emit_step(e, CG_STEP_KERNEL, n);
  step->in = in, step->n_in = 1;
  step->out = out, step->n_out = 1;
  step->kernel = (uint32_t)kernel;
}

static void lower(cg_emitter *e, cg_fn *f) {
  for (cg_node *n = f->first; n; n = n->next) lower_node(e, n);
}

const cg_backend cg_backend_toy = {.name = "toy", .claim = claim, .lower = lower};
