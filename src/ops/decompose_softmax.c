// softmax and its relatives as maximum, difference, exponential, sum: the scheduler puts them into one kernel.
// Half precision is computed in f32 and rounded once, as PyTorch's kernels do.
#include "ops/rules.h"

static bool floating(const cg_value *v) { return v && cg_r_plain_float(v->type.dtype); }

static cg_arg dim_list(cg_rewrite *r, int d) { return cg_make_ints(r, 1, &d); }

// The argument in the dtype it is computed in; NULL: not native, or nothing to reduce.
static cg_value *operand(cg_rewrite *r, const cg_node *n, int *dim) {
  cg_value *x = cg_arg_tensor(&n->arg[0]);
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

// log(sum(exp(x))) around the maximum, which counts as 0 where it is infinite.
bool cg_decompose_logsumexp(cg_module *m, cg_node *n) {
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_value *x = cg_arg_tensor(&n->arg[0]);
  cg_dtype to = n->result[0]->type.dtype;
  const cg_type *out = &n->result[0]->type;
  if (!x || !floating(n->result[0]) || cg_is_complex(x->type.dtype)) return false;
  for (int i = 0; i < x->type.rank; i++)
    if (cg_x_is(x->type.dim[i], 0)) return false;
  x = cg_make_cast(&r, x, cg_r_wide(to));
  const cg_arg dims = n->arg[1];
  cg_value *most = cg_make(&r, "aten::amax", 3, cg_av(x), dims, cg_a_bool(true));
  cg_value *infinite = cg_make(&r, "aten::isinf", 1, cg_av(most));
  most = cg_make(&r, "aten::masked_fill.Scalar", 3, cg_av(most), cg_av(infinite), cg_a_int(m, 0));
  cg_value *e = cg_make(&r, "aten::exp", 1, cg_av(cg_make(&r, "aten::sub.Tensor", 2, cg_av(x), cg_av(most))));
  cg_value *s = cg_make(&r, "aten::sum.dim_IntList", 3, cg_av(e), dims, cg_a_bool(true));
  cg_value *y = cg_make(&r, "aten::add.Tensor", 2, cg_av(cg_make(&r, "aten::log", 1, cg_av(s))), cg_av(most));
  y = cg_make_reshape(&r, y, out->rank, out->dim);
  return cg_rewrite_by(&r, cg_make_cast(&r, y, to));
}
