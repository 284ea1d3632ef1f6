// Reductions: which element is at (result index, reduced index), how they combine, what is done at the end.
#include <math.h>
#include <string.h>

#include "ops/reduce.h"
#include "ops/rules.h"

static cg_dtype result_type(const cg_node *n) { return n->result[0]->type.dtype; }

static bool native(cg_dtype t) { return cg_r_plain_float(t) || (cg_is_integral(t) && t != CG_U16 && t != CG_U32 && t != CG_U64); }

// The element of self that the loops are at.
static te_expr *read(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  cg_value *x = cg_self(n);
  cg_reduction r;
  te_expr *at[CG_MAX_RANK];
  if (cg_v_reduction(te_module(t), n, &x->type, &r)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its dims do not read", n->schema->key);
  for (int i = 0, o = 0, k = 0; i < x->type.rank; i++) {
    at[i] = r.reduced[i] ? ridx[k++] : idx[o++];
    if (r.reduced[i] && r.keep) o++;
  }
  return te_at(t, x, at);
}

static const char *reduce(te *t, const cg_node *n, te_compute *out, te_combine how, cg_dtype accumulate,
                          te_expr *(*element)(te *, const cg_node *, te_expr **, te_expr **)) {
  cg_value *x = cg_self(n);
  cg_reduction r;
  if (!x) return "self is no tensor";
  if (!native(x->type.dtype) || !native(result_type(n)))
    return cg_r_why(te_module(t), "no native %s kernel for %s", cg_dtypes[x->type.dtype].text, n->schema->key);
  CG_RULE(cg_v_reduction(te_module(t), n, &x->type, &r));
  out->kind = TE_REDUCE;
  out->combine = how;
  out->accumulate = accumulate;
  out->reduce_element = element;
  for (int i = 0; i < x->type.rank; i++)
    if (r.reduced[i]) out->extent[out->nreduce++] = x->type.dim[i];
  return NULL;
}

static te_expr *body1(te *t, const cg_node *n, cg_dtype d, const char *text, te_expr *x) {
  static const char *const names[] = {"x"};
  return te_body(t, n, d, text, 1, names, &x);
}

static te_expr *body2(te *t, const cg_node *n, cg_dtype d, const char *text, te_expr *x, te_expr *y) {
  static const char *const names[] = {"x", "y"};
  return te_body(t, n, d, text, 2, names, (te_expr *[]){x, y});
}

// ---------------------------------------------------------------- sums

static te_expr *wide_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  cg_dtype d = result_type(n);
  te_expr *e = read(t, n, idx, ridx);
  if (cg_is_integral(d) && cg_is_float(e->dtype)) e = te_cast(t, e, d);
  return te_cast(t, e, cg_r_wide(d));
}

const char *cg_lower_sum(te *t, const cg_node *n, te_compute *out) {
  if (result_type(n) == CG_BOOL) return "a sum as bool";
  return reduce(t, n, out, TE_SUM, cg_r_wide(result_type(n)), wide_element);
}

const char *cg_lower_prod(te *t, const cg_node *n, te_compute *out) {
  if (result_type(n) == CG_BOOL) return "a product as bool";
  return reduce(t, n, out, TE_PROD, cg_r_wide(result_type(n)), wide_element);
}

static te_expr *nan_free_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  te_expr *e = read(t, n, idx, ridx);
  if (!cg_is_float(e->dtype)) return te_cast(t, e, cg_r_wide(result_type(n)));
  e = te_cast(t, e, cg_r_wide(e->dtype));
  return te_cast(t, body1(t, n, e->dtype, "x != x ? 0 : x", e), cg_r_wide(result_type(n)));
}

const char *cg_lower_nansum(te *t, const cg_node *n, te_compute *out) {
  return reduce(t, n, out, TE_SUM, cg_r_wide(result_type(n)), nan_free_element);
}

// ---------------------------------------------------------------- means

static te_expr *mean_finish(te *t, const cg_node *n, te_expr **idx, te_expr *acc) {
  cg_reduction r;
  (void)idx;
  if (cg_v_reduction(te_module(t), n, &cg_self(n)->type, &r)) return acc;
  cg_dtype d = cg_r_wide(result_type(n));
  return body2(t, n, d, "x / y", acc, te_cast(t, te_size(t, r.count), d));
}

const char *cg_lower_mean(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(reduce(t, n, out, TE_SUM, cg_r_wide(result_type(n)), wide_element));
  out->finish = mean_finish;
  return NULL;
}

// ---------------------------------------------------------------- extremes

static te_expr *plain_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  te_expr *e = read(t, n, idx, ridx);
  return te_cast(t, e, cg_r_wide(e->dtype));
}

static bool wants_max(const cg_node *n) { return strstr(n->schema->name, "max") != NULL; }

// A reduction without elements has no extreme: PyTorch raises, which LibTorch does where the size may be 0.
static const char *some_elements(te *t, const cg_node *n) {
  cg_reduction r;
  if (!cg_self(n)) return "self is no tensor";
  CG_RULE(cg_v_reduction(te_module(t), n, &cg_self(n)->type, &r));
  return cg_x_is(r.count, 0) ? "a reduction of no elements" : NULL;
}

const char *cg_lower_extreme(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(some_elements(t, n));
  return reduce(t, n, out, wants_max(n) ? TE_AMAX : TE_AMIN, cg_r_wide(cg_self(n)->type.dtype), plain_element);
}

const char *cg_lower_arg_extreme(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(some_elements(t, n));
  return reduce(t, n, out, wants_max(n) ? TE_ARGMAX : TE_ARGMIN, cg_r_wide(cg_self(n)->type.dtype), plain_element);
}

// ---------------------------------------------------------------- truth

static te_expr *truth_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) { return te_cast(t, read(t, n, idx, ridx), CG_BOOL); }

const char *cg_lower_any(te *t, const cg_node *n, te_compute *out) { return reduce(t, n, out, TE_ANY, CG_BOOL, truth_element); }
const char *cg_lower_all(te *t, const cg_node *n, te_compute *out) { return reduce(t, n, out, TE_ALL, CG_BOOL, truth_element); }

static te_expr *one_if_nonzero(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  return te_cast(t, te_cast(t, read(t, n, idx, ridx), CG_BOOL), CG_I64);
}

const char *cg_lower_count_nonzero(te *t, const cg_node *n, te_compute *out) { return reduce(t, n, out, TE_SUM, CG_I64, one_if_nonzero); }

// ---------------------------------------------------------------- norms

static double order(const cg_node *n) {
  const char *name = cg_node_arg(n, "ord") ? "ord" : "p";
  return cg_r_double_or(n, name, 2);
}

static te_expr *norm_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  cg_dtype d = cg_r_wide(result_type(n));
  te_expr *e = te_cast(t, read(t, n, idx, ridx), d);
  double p = order(n);
  if (p == 2) return body1(t, n, d, "x * x", e);
  if (p == 0) return te_cast(t, te_cast(t, e, CG_BOOL), d);
  e = body1(t, n, d, "fabs$(x)", e);
  return p == 1 || isinf(p) ? e : body2(t, n, d, "pow$(x, y)", e, te_number(t, p, d));
}

static te_expr *norm_finish(te *t, const cg_node *n, te_expr **idx, te_expr *acc) {
  double p = order(n);
  cg_dtype d = cg_r_wide(result_type(n));
  (void)idx;
  if (p == 2) return body1(t, n, d, "sqrt$(x)", acc);
  if (p == 0 || p == 1 || isinf(p)) return acc;
  return body2(t, n, d, "pow$(x, y)", acc, te_number(t, 1 / p, d));
}

const char *cg_lower_norm(te *t, const cg_node *n, te_compute *out) {
  const cg_arg *a = cg_node_arg(n, cg_node_arg(n, "ord") ? "ord" : "p");
  double p = 2;
  if (!cg_is_float(result_type(n))) return "a norm of integers";
  if (a && a->kind != CG_A_NONE && !cg_arg_double(a, &p)) return "a norm whose order is not a literal";
  if (isinf(p)) CG_RULE(some_elements(t, n));
  CG_RULE(reduce(t, n, out, !isinf(p) ? TE_SUM : p > 0 ? TE_AMAX : TE_AMIN, cg_r_wide(result_type(n)), norm_element));
  out->finish = norm_finish;
  return NULL;
}
