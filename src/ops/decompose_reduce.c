// Reductions with several results, or several steps, as reductions with one.
#include <string.h>

#include "artifact/scalar.h"
#include "ops/reduce.h"
#include "ops/rules.h"

static bool starts(const cg_node *n, const char *name) { return !strncmp(n->schema->name, name, strlen(name)); }

// ---------------------------------------------------------------- var, std, with or without the mean

// What is taken off the count: `correction`, or `unbiased`. false: not a known integer.
static bool correction_of(const cg_node *n, int64_t *out) {
  const cg_arg *a = cg_node_arg(n, "correction");
  double v;
  *out = cg_r_bool(n, "unbiased", true);
  if (!a || a->kind == CG_A_NONE) return true;
  if (!cg_arg_double(a, &v) || v != (double)cg_int_of_double(v)) return false;
  *out = cg_int_of_double(v);
  return true;
}

bool cg_decompose_var(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  cg_reduction red;
  int64_t correction;
  if (!x || !cg_r_plain_float(x->type.dtype) || !correction_of(n, &correction)) return false;
  if (cg_v_reduction(m, n, &x->type, &red)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  int dims[CG_MAX_RANK], nd = 0;
  for (int i = 0; i < x->type.rank; i++)
    if (red.reduced[i]) dims[nd++] = i;
  cg_dtype t = x->type.dtype;
  const cg_type *out = &n->result[0]->type;
  cg_arg over = cg_make_ints(&r, nd, dims), yes = cg_a_bool(true);
  cg_value *v = cg_make_cast(&r, x, t == CG_F32 ? CG_F64 : cg_r_wide(t)); // as PyTorch: 1e20 squared is no f32
  cg_value *mean = cg_make(&r, "aten::mean.dim", 3, cg_av(v), over, yes);
  cg_value *d = cg_make(&r, "aten::sub.Tensor", 2, cg_av(v), cg_av(mean));
  cg_value *sum = cg_make(&r, "aten::sum.dim_IntList", 3, cg_av(cg_make(&r, "aten::mul.Tensor", 2, cg_av(d), cg_av(d))), over, yes);
  const cg_expr *count = cg_xmax(m, cg_xsub(m, red.count, cg_xi(m, correction)), cg_xi(m, 0));
  cg_value *var = cg_make(&r, "aten::div.Scalar", 2, cg_av(sum), cg_a_expr(count));
  if (starts(n, "aten::std")) var = cg_make(&r, "aten::sqrt", 1, cg_av(var));
  cg_value *result[2] = {cg_make_cast(&r, cg_make_reshape(&r, var, out->rank, out->dim), t), NULL};
  if (n->nresults > 1) result[1] = cg_make_cast(&r, cg_make_reshape(&r, mean, out->rank, out->dim), t);
  return cg_rewrite_end(&r, n->nresults, result);
}

// ---------------------------------------------------------------- extremes and where they are

bool cg_decompose_extreme_dim(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  int d;
  if (!x || cg_is_complex(x->type.dtype) || cg_r_dim_of(m, n, "dim", x->type.rank, &d)) return false;
  if (x->type.dtype == CG_BOOL) return false;
  bool most = starts(n, "aten::max");
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_arg keep = cg_a_bool(cg_r_bool(n, "keepdim", false));
  cg_value *out[2] = {NULL, NULL};
  if (cg_result_used(n, 0)) out[0] = cg_make(&r, most ? "aten::amax" : "aten::amin", 3, cg_av(x), cg_make_ints(&r, 1, &d), keep);
  if (cg_result_used(n, 1)) out[1] = cg_make(&r, most ? "aten::argmax" : "aten::argmin", 3, cg_av(x), cg_a_int(m, d), keep);
  return cg_rewrite_end(&r, 2, out);
}

bool cg_decompose_aminmax(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  int d = 0;
  bool all = cg_r_is_none(n, "dim");
  if (!x || cg_is_complex(x->type.dtype) || (!all && cg_r_dim_of(m, n, "dim", x->type.rank, &d))) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_arg keep = cg_a_bool(cg_r_bool(n, "keepdim", false)), dims = cg_make_ints(&r, all ? 0 : 1, &d);
  cg_value *out[2] = {cg_make(&r, "aten::amin", 3, cg_av(x), dims, keep), cg_make(&r, "aten::amax", 3, cg_av(x), dims, keep)};
  return cg_rewrite_end(&r, 2, out);
}

// The places are only worth a kernel of their own if somebody reads them.
bool cg_decompose_max_pool_indices(cg_module *m, cg_node *n) {
  if (n->nresults != 2 || cg_result_used(n, 1)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  const char *key = strstr(n->schema->name, "1d") ? "aten::max_pool1d" : strstr(n->schema->name, "3d") ? "aten::max_pool3d" : "aten::max_pool2d";
  cg_node *p = cg_make_node(&r, key, 1, n->nargs, n->arg);
  return cg_rewrite_end(&r, 1, p->result);
}

// nanmean: the sum of what is a number over how many these are.
bool cg_decompose_nanmean(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  if (!x || !cg_r_plain_float(x->type.dtype) || n->result[0]->type.dtype != x->type.dtype) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_value *v = cg_make_cast(&r, x, cg_r_wide(x->type.dtype));
  cg_value *count = cg_make(&r, "aten::sum.dim_IntList", 3, cg_av(cg_make(&r, "aten::logical_not", 1, cg_av(cg_make(&r, "aten::isnan", 1, cg_av(v))))), n->arg[1], n->arg[2]);
  cg_value *sum = cg_make(&r, "aten::nansum", 3, cg_av(v), n->arg[1], n->arg[2]);
  cg_value *y = cg_make(&r, "aten::div.Tensor", 2, cg_av(sum), cg_av(count));
  return cg_rewrite_by(&r, cg_make_cast(&r, y, x->type.dtype));
}

bool cg_decompose_trace(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  if (!x || x->type.rank != 2) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  return cg_rewrite_by(&r, cg_make(&r, "aten::sum", 1, cg_av(cg_make(&r, "aten::diagonal", 1, cg_av(x)))));
}
