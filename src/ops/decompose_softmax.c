// softmax and its relatives, attention among them, as maximum, difference, exponential, sum: the scheduler puts them into one kernel.
// Half precision is computed in f32 and rounded once, as PyTorch's kernels do.
#include <math.h>

#include "ops/rules.h"

static bool floating(const cg_value *v) { return v && cg_r_plain_float(v->type.dtype); }

static cg_arg dim_list(cg_rewrite *r, int d) { return cg_make_ints(r, 1, &d); }

// The argument in the dtype it is computed in; NULL: not native, or nothing to reduce.
static cg_value *operand(cg_rewrite *r, const cg_node *n, int *dim) {
  cg_value *x = cg_self(n);
  cg_dtype d = n->result[0]->type.dtype;
  if (!x || !cg_r_plain_float(d) || cg_is_complex(x->type.dtype)) return NULL;
  if (cg_r_dim_of(r->m, n, "dim", x->type.rank, dim)) return NULL;
  if (x->type.rank && cg_x_is(x->type.dim[*dim], 0)) return NULL;
  if (!cg_r_is_none(n, "dtype")) x = cg_make_cast(r, x, d); // rounded first where a dtype is asked for
  return cg_make_cast(r, x, cg_r_wide(d));
}

// x - max(x)
static cg_value *shifted(cg_rewrite *r, cg_value *x, int dim) {
  cg_value *most = cg_make(r, "aten::amax", 3, cg_av(x), dim_list(r, dim), cg_a_bool(true));
  return cg_make(r, "aten::sub.Tensor", 2, cg_av(x), cg_av(most));
}

static cg_value *sum(cg_rewrite *r, cg_value *x, int dim) {
  return cg_make(r, "aten::sum.dim_IntList", 3, cg_av(x), dim_list(r, dim), cg_a_bool(true));
}

bool cg_decompose_softmax(cg_module *m, cg_node *n) {
  cg_rewrite r = cg_rewrite_begin(m, n);
  int d;
  cg_value *x = operand(&r, n, &d);
  if (!x) return false;
  cg_value *e = cg_make(&r, "aten::exp", 1, cg_av(shifted(&r, x, d)));
  cg_value *y = cg_make(&r, "aten::div.Tensor", 2, cg_av(e), cg_av(sum(&r, e, d)));
  return cg_rewrite_by(&r, cg_make_cast(&r, y, n->result[0]->type.dtype));
}

bool cg_decompose_log_softmax(cg_module *m, cg_node *n) {
  cg_rewrite r = cg_rewrite_begin(m, n);
  int d;
  cg_value *x = operand(&r, n, &d);
  if (!x) return false;
  cg_value *s = shifted(&r, x, d), *e = cg_make(&r, "aten::exp", 1, cg_av(s));
  cg_value *l = cg_make(&r, "aten::log", 1, cg_av(sum(&r, e, d)));
  cg_value *y = cg_make(&r, "aten::sub.Tensor", 2, cg_av(s), cg_av(l));
  return cg_rewrite_by(&r, cg_make_cast(&r, y, n->result[0]->type.dtype));
}

// Rows that are -inf everywhere give 0, not NaN.
bool cg_decompose_safe_softmax(cg_module *m, cg_node *n) {
  cg_rewrite r = cg_rewrite_begin(m, n);
  int d;
  cg_value *x = operand(&r, n, &d);
  if (!x) return false;
  cg_value *most = cg_make(&r, "aten::amax", 3, cg_av(x), dim_list(&r, d), cg_a_bool(true));
  cg_value *e = cg_make(&r, "aten::exp", 1, cg_av(cg_make(&r, "aten::sub.Tensor", 2, cg_av(x), cg_av(most))));
  cg_value *y = cg_make(&r, "aten::div.Tensor", 2, cg_av(e), cg_av(sum(&r, e, d)));
  cg_value *masked = cg_make(&r, "aten::isneginf", 1, cg_av(most));
  y = cg_make(&r, "aten::masked_fill.Scalar", 3, cg_av(y), cg_av(masked), cg_a_int(m, 0));
  return cg_rewrite_by(&r, cg_make_cast(&r, y, n->result[0]->type.dtype));
}

// log(sum(exp(x))) around the maximum, which counts as 0 where it is no finite number: infinite, or of no elements.
bool cg_decompose_logsumexp(cg_module *m, cg_node *n) {
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_value *x = cg_self(n);
  cg_dtype to = n->result[0]->type.dtype;
  const cg_type *out = &n->result[0]->type;
  if (!x || !floating(n->result[0]) || cg_is_complex(x->type.dtype)) return false;
  for (int i = 0; i < x->type.rank; i++)
    if (cg_x_is(x->type.dim[i], 0)) return false;
  x = cg_make_cast(&r, x, cg_r_wide(to));
  const cg_arg dims = n->arg[1];
  cg_value *most = cg_make(&r, "aten::amax", 3, cg_av(x), dims, cg_a_bool(true));
  cg_value *none = cg_make(&r, "aten::logical_not", 1, cg_av(cg_make(&r, "aten::isfinite", 1, cg_av(most))));
  most = cg_make(&r, "aten::masked_fill.Scalar", 3, cg_av(most), cg_av(none), cg_a_int(m, 0));
  cg_value *e = cg_make(&r, "aten::exp", 1, cg_av(cg_make(&r, "aten::sub.Tensor", 2, cg_av(x), cg_av(most))));
  cg_value *s = cg_make(&r, "aten::sum.dim_IntList", 3, cg_av(e), dims, cg_a_bool(true));
  cg_value *y = cg_make(&r, "aten::add.Tensor", 2, cg_av(cg_make(&r, "aten::log", 1, cg_av(s))), cg_av(most));
  y = cg_make_reshape(&r, y, out->rank, out->dim);
  return cg_rewrite_by(&r, cg_make_cast(&r, y, to));
}

// ---------------------------------------------------------------- attention that the kernel does not take

// Each matrix of x (batch…, heads of x, S, E) for as many heads of the query as share it.
static cg_value *for_heads(cg_rewrite *r, cg_value *x, const cg_expr *heads) {
  int rank = x->type.rank;
  const cg_expr *dim[CG_MAX_RANK + 1], *one = cg_xi(r->m, 1), *own = rank < 3 ? NULL : x->type.dim[rank - 3];
  if (!own || own == heads || rank == CG_MAX_RANK) return x;
  for (int i = 0; i < rank - 2; i++) dim[i] = x->type.dim[i];
  dim[rank - 2] = one, dim[rank - 1] = x->type.dim[rank - 2], dim[rank] = x->type.dim[rank - 1];
  x = cg_make_reshape(r, x, rank + 1, dim);
  dim[rank - 2] = cg_xdiv(r->m, heads, own);
  x = cg_make(r, "aten::expand", 2, cg_av(x), cg_make_sizes(r, rank + 1, dim));
  dim[rank - 3] = heads, dim[rank - 2] = dim[rank - 1], dim[rank - 1] = dim[rank];
  return cg_make_reshape(r, x, rank, dim);
}

// x * sqrt(scale), and `negative` if so: PyTorch gives each factor of the product its half, so that half precision does not overflow.
static cg_value *scaled(cg_rewrite *r, const cg_node *n, cg_value *x, const cg_expr *width, bool negative) {
  const cg_arg *scale = cg_node_arg(n, "scale");
  double by;
  if (scale && cg_arg_double(scale, &by)) by = by < 0 && negative ? -sqrt(-by) : sqrt(fabs(by));
  else if (cg_x_is_int(width)) by = sqrt(1 / sqrt((double)width->value));
  else { // width^(-1/4)
    cg_value *w = cg_make(r, "aten::full", 3, cg_make_ints(r, 0, NULL), cg_a_expr(width), cg_a_dtype(CG_F64));
    w = cg_make(r, "aten::pow.Tensor_Scalar", 2, cg_av(w), cg_a_float(-0.25));
    return cg_make(r, "aten::mul.Tensor", 2, cg_av(x), cg_av(cg_make_cast(r, w, x->type.dtype)));
  }
  return cg_make(r, "aten::mul.Scalar", 2, cg_av(x), cg_a_float(by));
}

// 0 where the mask lets through, -inf elsewhere.
static cg_value *additive(cg_rewrite *r, cg_value *mask, cg_dtype d) {
  if (mask->type.dtype == CG_BOOL) mask = cg_make(r, "aten::where.Scalar", 3, cg_av(mask), cg_a_float(0), cg_a_float(-INFINITY));
  return cg_make_cast(r, mask, d);
}

// As PyTorch composes it: safe_softmax(q k^T + mask) v, half precision in f32; a row that is masked altogether gives 0.
bool cg_decompose_attention(cg_module *m, cg_node *n) {
  const cg_arg *scale = cg_node_arg(n, "scale");
  cg_attention a;
  te_compute out;
  double number;
  if (!cg_lower_attention(NULL, n, &out)) return false; // one kernel is better
  if (cg_r_attention(n, &a) || (n->nresults > 1 && cg_result_used(n, 1))) return false;
  cg_value *q = a.query, *k = a.key, *v = a.value, *mask = a.mask;
  cg_dtype t = q->type.dtype, d = cg_r_wide(t);
  int rank = n->result[0]->type.rank, rq = q->type.rank, rk = k->type.rank;
  if (rq < 2 || rk < 2 || v->type.rank < 2) return false;
  if (scale && scale->kind != CG_A_NONE && !cg_arg_double(scale, &number)) return false;
  // Where PyTorch has one kernel for it, a mask and is_causal may come together; its composition refuses that.
  bool one = rank == 4 && rq == 4 && rk == 4 && v->type.rank == 4 && q->type.dim[0] == k->type.dim[0] && q->type.dim[0] == v->type.dim[0] &&
             q->type.dim[3] == v->type.dim[3];
  if ((mask && a.causal && !one) || cg_x_is(k->type.dim[rk - 2], 0)) return false;
  if (mask && mask->type.rank > (rq > rk ? rq : rk)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  const cg_expr *width = q->type.dim[rq - 1], *shape[] = {q->type.dim[rq - 2], k->type.dim[rk - 2]}; // (queries, keys)
  if (rq >= 3 && cg_r_heads_shared(n)) k = for_heads(&r, k, q->type.dim[rq - 3]), v = for_heads(&r, v, q->type.dim[rq - 3]);
  q = scaled(&r, n, cg_make_cast(&r, q, d), width, true);
  k = scaled(&r, n, cg_make_cast(&r, k, d), width, false);
  k = cg_make(&r, "aten::transpose.int", 3, cg_av(k), cg_a_int(m, -2), cg_a_int(m, -1));
  cg_value *s = cg_make(&r, "aten::matmul", 2, cg_av(q), cg_av(k));
  if (a.causal) { // the kernel overwrites the scores, the composition adds to them: the same but for NaN and inf
    cg_value *lower = cg_make(&r, "aten::tril", 1, cg_av(cg_make(&r, "aten::ones", 2, cg_make_sizes(&r, 2, shape), cg_a_dtype(CG_BOOL))));
    if (one) s = cg_make(&r, "aten::where.ScalarOther", 3, cg_av(lower), cg_av(s), cg_a_float(-INFINITY));
    else s = cg_make(&r, "aten::add.Tensor", 2, cg_av(s), cg_av(additive(&r, lower, d)));
  }
  if (mask) s = cg_make(&r, "aten::add.Tensor", 2, cg_av(s), cg_av(additive(&r, mask, d)));
  s = cg_make(&r, "aten::_safe_softmax", 2, cg_av(s), cg_a_int(m, -1));
  s = cg_make(&r, "aten::matmul", 2, cg_av(s), cg_av(cg_make_cast(&r, v, d)));
  return cg_rewrite_by(&r, cg_make_cast(&r, s, t));
}
