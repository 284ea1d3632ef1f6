// Type rules of reductions, sorts and scans.
#include <math.h>
#include <string.h>

#include "ops/reduce.h"
#include "ops/rules.h"

static bool is(const cg_node *n, const char *name) { return n->schema && !strcmp(n->schema->name, name); }

const char *cg_v_reduction(cg_module *m, const cg_node *n, const cg_type *x, cg_reduction *r) {
  *r = (cg_reduction){.keep = cg_r_bool(n, "keepdim", false)};
  const cg_arg *a = cg_node_arg(n, "dim");
  bool none_of_them = a && a->kind == CG_A_LIST && !a->list.n && (is(n, "aten::any") || is(n, "aten::all"));
  CG_RULE(cg_r_dims_of(m, n, "dim", x->rank, !none_of_them, r->reduced));
  r->count = cg_xi(m, 1);
  for (int i = 0; i < x->rank; i++)
    if (r->reduced[i]) r->n++, r->count = cg_xmul(m, r->count, x->dim[i]);
  return NULL;
}

int cg_v_reduced_shape(cg_module *m, const cg_type *x, const cg_reduction *r, const cg_expr **dim) {
  int rank = 0;
  for (int i = 0; i < x->rank; i++) {
    if (!r->reduced[i]) dim[rank++] = x->dim[i];
    else if (r->keep) dim[rank++] = cg_xi(m, 1);
  }
  return rank;
}

static const char *set_reduced(cg_module *m, cg_node *n, int results, const cg_dtype *dtype) {
  const cg_type *x;
  cg_reduction r;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_v_reduction(m, n, x, &r));
  const cg_expr **dim = cg_r_new_dims(m, x->rank);
  int rank = cg_v_reduced_shape(m, x, &r, dim);
  for (int k = 0; k < results; k++) cg_r_set(n, k, dtype[k], rank, dim);
  return NULL;
}

static const char *one(cg_module *m, cg_node *n, cg_dtype t) { return set_reduced(m, n, 1, &t); }

// sum, prod, nansum: integers are summed as int64.
const char *cg_infer_sum(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  return one(m, n, cg_r_dtype(n, cg_is_integral(x->dtype) ? CG_I64 : x->dtype));
}

const char *cg_infer_mean(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  cg_dtype t = cg_r_dtype(n, x->dtype);
  if (cg_is_integral(t)) return "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype";
  return one(m, n, t);
}

// logsumexp, nanmean and the like: integers become floating.
const char *cg_infer_reduce_float(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  return one(m, n, cg_r_dtype(n, cg_r_float(x->dtype)));
}

// The dims of size 0 have no least and no largest element.
static const char *not_empty(cg_module *m, const cg_node *n, const cg_type *x) {
  cg_reduction r;
  CG_RULE(cg_v_reduction(m, n, x, &r));
  for (int i = 0; i < x->rank; i++)
    if (r.reduced[i])
      CG_RULE(cg_r_require(m, n, CG_X_NE, x->dim[i], cg_xi(m, 0), cg_r_why(m, "elements along dimension %d", i)));
  return NULL;
}

// The median of nothing is NaN.
const char *cg_infer_extreme(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  if (!is(n, "aten::median") && !is(n, "aten::nanmedian")) CG_RULE(not_empty(m, n, x));
  return one(m, n, x->dtype);
}

const char *cg_infer_arg_extreme(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(not_empty(m, n, x));
  return one(m, n, CG_I64);
}

// max.dim, min.dim, median.dim, mode, kthvalue: values and where they are.
const char *cg_infer_extreme_dim(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(not_empty(m, n, x));
  return set_reduced(m, n, 2, (cg_dtype[]){x->dtype, CG_I64});
}

const char *cg_infer_aminmax(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(not_empty(m, n, x));
  return set_reduced(m, n, 2, (cg_dtype[]){x->dtype, x->dtype});
}

const char *cg_infer_any(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  return one(m, n, x->dtype == CG_U8 ? CG_U8 : CG_BOOL);
}

const char *cg_infer_count_nonzero(cg_module *m, cg_node *n) { return one(m, n, CG_I64); }

const char *cg_infer_var(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  cg_dtype t = cg_r_real(x->dtype);
  if (cg_is_integral(t)) return "std and var only support floating point and complex dtypes";
  return set_reduced(m, n, 2, (cg_dtype[]){t, x->dtype}); // var_mean, std_mean: the second is the mean
}

const char *cg_infer_norm(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  if (isinf(cg_r_double_or(n, cg_node_arg(n, "ord") ? "ord" : "p", 2))) CG_RULE(not_empty(m, n, x));
  return one(m, n, cg_r_real(cg_r_dtype(n, x->dtype)));
}

// ---------------------------------------------------------------- scans, sorts

const char *cg_infer_cumulate(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  bool sums = is(n, "aten::cumsum") || is(n, "aten::cumprod");
  (void)m;
  cg_r_set_like(n, 0, x, cg_r_dtype(n, sums && cg_is_integral(x->dtype) ? CG_I64 : x->dtype));
  return NULL;
}

// cummax, cummin, sort: values and places, in the shape of the input.
const char *cg_infer_sort(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  (void)m;
  cg_r_set_like(n, 0, x, x->dtype);
  cg_r_set_like(n, 1, x, CG_I64);
  return NULL;
}

const char *cg_infer_argsort(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  (void)m;
  cg_r_set_like(n, 0, x, CG_I64);
  return NULL;
}

const char *cg_infer_topk(cg_module *m, cg_node *n) {
  const cg_type *x;
  const cg_expr *k;
  int d;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  if (!cg_r_int(n, "k", &k)) return NULL;
  const cg_expr **dim = cg_r_copy_dims(m, x);
  if (x->rank) {
    if (cg_x_is_int(k) && (k->value < 0 || (cg_x_is_int(dim[d]) && k->value > dim[d]->value))) return "selected index k out of range";
    dim[d] = k;
  }
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  cg_r_set(n, 1, CG_I64, x->rank, dim);
  return NULL;
}

// _softmax, _log_softmax: f16 may come out as f32.
const char *cg_infer_softmax(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  (void)m;
  cg_r_set_like(n, 0, x, cg_r_bool(n, "half_to_float", false) ? CG_F32 : x->dtype);
  return NULL;
}
