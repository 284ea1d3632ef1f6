// Type rules of pointwise operators: shapes broadcast, dtypes promote.
#include <string.h>

#include "ops/rules.h"

// Tensors that choose between elements take no part in promotion.
static bool chooses(const char *name) { return !strcmp(name, "condition") || !strcmp(name, "mask"); }

// Python numbers that take part: operands, not factors and options.
static bool operand(const char *name) {
  static const char *const names[] = {"self", "other", "exponent", "min", "max", "values"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(name, names[i])) return true;
  return false;
}

// Shape (and dtype, from the first) of all tensor arguments together. NULL tensors are left out.
static const char *broadcast_all(cg_module *m, const cg_node *n, cg_type *out) {
  bool any = false;
  for (int i = 0; i < n->nargs; i++) {
    cg_value *x = cg_arg_tensor(&n->arg[i]);
    if (!x) continue;
    if (any) CG_RULE(cg_broadcast(m, n, out, &x->type));
    else *out = x->type;
    any = true;
  }
  out->stride = NULL, out->offset = NULL;
  return any ? NULL : "no tensor among the arguments";
}

static int promoted(const cg_node *n) {
  cg_promotion p = {-1, -1, -1};
  for (int i = 0; i < n->nargs && i < n->schema->nargs; i++) {
    const cg_schema_arg *a = &n->schema->arg[i];
    if (a->type.list || !a->name) continue;
    if (a->type.kind == CG_S_TENSOR ? !chooses(a->name) : a->type.kind == CG_S_SCALAR && operand(a->name)) cg_promote_add(&p, &n->arg[i]);
  }
  return cg_promote_result(&p);
}

static const char *set(cg_module *m, cg_node *n, int dtype) {
  cg_type t;
  CG_RULE(broadcast_all(m, n, &t));
  cg_r_set_like(n, 0, &t, dtype < 0 ? t.dtype : (cg_dtype)dtype);
  return NULL;
}

const char *cg_infer_same(cg_module *m, cg_node *n) {
  cg_value *x = NULL;
  for (int i = 0; i < n->nargs && !x; i++) x = cg_arg_tensor(&n->arg[i]);
  (void)m;
  if (!x) return "no tensor among the arguments";
  cg_r_set_like(n, 0, &x->type, x->type.dtype);
  return NULL;
}

const char *cg_infer_promote(cg_module *m, cg_node *n) { return set(m, n, promoted(n)); }

// A product of bools is an integer.
const char *cg_infer_square(cg_module *m, cg_node *n) {
  CG_RULE(cg_infer_same(m, n));
  cg_type *t = &n->result[0]->type;
  if (t->dtype == CG_BOOL) t->dtype = CG_I64;
  return NULL;
}

const char *cg_infer_promote_float(cg_module *m, cg_node *n) {
  int t = promoted(n);
  return set(m, n, t < 0 ? t : (int)cg_r_float((cg_dtype)t));
}

const char *cg_infer_compare(cg_module *m, cg_node *n) { return set(m, n, CG_BOOL); }

// dtype of the first tensor, shape of all of them.
const char *cg_infer_self(cg_module *m, cg_node *n) { return set(m, n, -1); }

const char *cg_infer_double(cg_module *m, cg_node *n) {
  int t = promoted(n);
  return set(m, n, t >= 0 && cg_is_complex((cg_dtype)t) ? CG_C128 : CG_F64);
}

const char *cg_infer_abs(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "self");
  if (!x) return "self is no tensor";
  (void)m;
  cg_dtype t = x->dtype == CG_C128 ? CG_F64 : x->dtype == CG_C64 ? CG_F32 : x->dtype == CG_C32 ? CG_F16 : x->dtype;
  cg_r_set_like(n, 0, x, t);
  return NULL;
}

// The element itself, for real tensors (real, conj, …): of complex ones PyTorch's Meta kernels tell.
const char *cg_infer_real(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "self");
  if (x && !cg_is_complex(x->dtype)) return cg_infer_same(m, n);
  return NULL;
}

// div with a rounding mode: without one it is true division.
const char *cg_infer_div_mode(cg_module *m, cg_node *n) {
  return cg_r_is_none(n, "rounding_mode") ? cg_infer_promote_float(m, n) : cg_infer_promote(m, n);
}

// Conversions: the dtype that is asked for, or that of `other`, or self's.
const char *cg_infer_to(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  const cg_type *other = cg_r_type(n, "other");
  (void)m;
  if (!x) return "self is no tensor";
  cg_r_set_like(n, 0, &x->type, cg_r_dtype(n, other ? other->dtype : x->type.dtype));
  return NULL;
}

// One weight a channel, or one for all.
const char *cg_infer_prelu(cg_module *m, cg_node *n) {
  const cg_type *x, *w = cg_r_type(n, "weight");
  CG_RULE(cg_infer_same(m, n));
  CG_RULE(cg_r_self(n, &x));
  if (!w || w->rank != 1 || cg_x_is(w->dim[0], 1)) return NULL;
  return cg_r_equal(m, n, w->dim[0], x->rank > 1 ? x->dim[1] : cg_xi(m, 1));
}

// copy(self, src): self's dtype and shape, which src broadcasts to.
const char *cg_infer_copy(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "self"), *src = cg_r_type(n, "src");
  if (!x) return "self is no tensor";
  if (src) CG_RULE(cg_r_stretches(m, n, src, x->rank, x->dim));
  cg_r_set_like(n, 0, x, x->dtype);
  return NULL;
}

// The type is not told by a rule: what the model records, or LibTorch's Meta kernels, say it.
const char *cg_infer_unknown(cg_module *m, cg_node *n) {
  (void)m, (void)n;
  return NULL;
}

// Losses: the broadcast shape, or one number where they are averaged or summed.
const char *cg_infer_loss(cg_module *m, cg_node *n) {
  CG_RULE(cg_infer_promote(m, n));
  const cg_type *t = &n->result[0]->type;
  int64_t how = cg_r_int_or(n, "reduction", 1); // 0 none, 1 mean, 2 sum
  bool l1 = cg_node_is_op(n, "aten::l1_loss");  // takes integers and complex numbers, too
  cg_dtype d = l1 ? cg_r_real(t->dtype) : t->dtype;
  if (l1 && how == 1 && cg_is_integral(d)) return "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype";
  if (how == 2 && cg_is_integral(d)) d = CG_I64;
  if (how) cg_r_set(n, 0, d, 0, cg_r_new_dims(m, 0));
  else cg_r_set_like(n, 0, t, d);
  return NULL;
}
