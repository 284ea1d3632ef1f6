// Operators with a kernel of their own: which template of the backend computes them.
#include "ops/rules.h"

static const char *kernel(te_compute *out, const char *name) {
  out->kind = TE_KERNEL;
  out->kernel = name;
  return NULL;
}

// The product of two vectors of floats is a sum: it has one element, of which a template would make a tile. (Of integers it is one that
// wraps in their own type, which sums do not.)
static te_expr *dot_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  static const char *const names[] = {"x", "y"};
  cg_dtype d = cg_r_wide(n->result[0]->type.dtype);
  te_expr *arg[2];
  (void)idx;
  for (int i = 0; i < 2; i++) arg[i] = te_cast(t, te_at(t, cg_arg_tensor(&n->arg[i]), ridx), d);
  return te_body(t, n, d, "x * y", 2, names, arg);
}

const char *cg_lower_matmul(te *t, const cg_node *n, te_compute *out) {
  const cg_value *a = cg_arg_tensor(&n->arg[0]), *b = n->nargs == 2 ? cg_arg_tensor(&n->arg[1]) : NULL;
  cg_dtype d = n->result[0]->type.dtype;
  (void)t;
  if (!a || !b || a->type.rank != 1 || b->type.rank != 1 || a->type.dtype != d || b->type.dtype != d || !cg_r_plain_float(d)) return kernel(out, "matmul");
  out->kind = TE_REDUCE;
  out->combine = TE_SUM;
  out->accumulate = cg_r_wide(d);
  out->nreduce = 1;
  out->extent[0] = a->type.dim[0];
  out->reduce_element = dot_element;
  return NULL;
}
const char *cg_lower_conv(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "conv"); }
const char *cg_lower_scan(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "scan"); }
const char *cg_lower_sort(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "sort"); }
const char *cg_lower_topk(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "sort"); }
const char *cg_lower_recurrent(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "recurrent"); }
const char *cg_lower_search(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "search"); }
const char *cg_lower_scatter_serial(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "scatter_serial"); }

// ---------------------------------------------------------------- attention

enum { MAX_WIDTH = 1024 }; // widest head

const char *cg_lower_attention(te *t, const cg_node *n, te_compute *out) {
  cg_attention a;
  (void)t;
  CG_RULE(cg_r_attention(n, &a));
  const cg_type *q = &a.query->type, *v = &a.value->type;
  int r = q->rank;
  if (r < 2 || a.key->type.rank != r || v->rank != r || n->result[0]->type.rank != r) return "operands of different ranks";
  const cg_expr *d = q->dim[r - 1], *e = v->dim[r - 1];
  if (!cg_x_is_int(d) || !cg_x_is_int(e) || !d->value || d->value > MAX_WIDTH || e->value > MAX_WIDTH)
    return "attention heads whose width is not fixed, 0, or above 1024";
  if (a.mask && a.causal) return "a mask and is_causal";
  if (a.mask && a.mask->type.rank > r) return "a mask of this rank";
  return kernel(out, "attention");
}

// ---------------------------------------------------------------- self[mask] = one number

// The only index of index_put, where it is a mask; *dim: the first dimension that it covers.
static cg_value *mask_of(te *t, const cg_node *n, int *dim) {
  cg_value **i, *mask = NULL;
  int count = cg_r_tensors(te_module(t), n, "indices", &i);
  for (int d = 0; d < count; d++) {
    if (!i[d]) continue;
    if (mask || i[d]->type.dtype != CG_BOOL) return NULL;
    mask = i[d], *dim = d;
  }
  return mask;
}

static te_expr *masked_put_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_r_tensor(n, "self"), *v = cg_r_tensor(n, "values");
  te_expr *zero[CG_MAX_RANK];
  int dim = 0;
  (void)k;
  for (int i = 0; i < v->type.rank; i++) zero[i] = te_int(t, 0);
  cg_value *mask = mask_of(t, n, &dim);
  return te_select(t, te_at(t, mask, idx + dim), te_cast(t, te_at(t, v, zero), x->type.dtype), te_at(t, x, idx));
}

const char *cg_lower_scatter(te *t, const cg_node *n, te_compute *out) {
  cg_value *x = cg_r_tensor(n, "self"), *v = cg_r_tensor(n, "values");
  int dim = 0;
  cg_value *mask = x && v ? mask_of(t, n, &dim) : NULL;
  if (!mask || !cg_x_is(cg_type_numel(te_module(t), &v->type), 1) || cg_r_bool(n, "accumulate", false)) return kernel(out, "scatter");
  for (int i = 0; i < mask->type.rank; i++)
    if (dim + i >= x->type.rank || mask->type.dim[i] != x->type.dim[dim + i]) return "a mask of another shape";
  return te_map(out, masked_put_element);
}
