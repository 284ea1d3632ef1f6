// Normalisations as mean, difference, mean of squares, scale. Half precision is computed in f32 and rounded once.
#include <float.h>

#include "ops/rules.h"

static bool native(const cg_value *x) { return x && cg_r_plain_float(x->type.dtype); }

// Whether one of the dims from `from` on is 0.
static bool is_empty(const cg_value *x, int from) {
  for (int i = from; i < x->type.rank; i++)
    if (cg_x_is(x->type.dim[i], 0)) return true;
  return false;
}

// 0 … n-1 from `from` on, as a list.
static cg_arg dims_from(cg_rewrite *r, int from, int rank) {
  int d[CG_MAX_RANK];
  for (int i = from; i < rank; i++) d[i - from] = i;
  return cg_make_ints(r, rank - from, d);
}

typedef struct { cg_value *mean, *rstd, *y; } normal;

// (x - mean) / sqrt(variance + eps) over these dims, the variance rounded to `kept`.
static normal normalise(cg_rewrite *r, cg_value *x, cg_arg dims, double eps, cg_dtype kept) {
  normal o;
  cg_arg yes = cg_a_bool(true);
  o.mean = cg_make(r, "aten::mean.dim", 3, cg_av(x), dims, yes);
  cg_value *d = cg_make(r, "aten::sub.Tensor", 2, cg_av(x), cg_av(o.mean));
  cg_value *square = cg_make(r, "aten::mul.Tensor", 2, cg_av(d), cg_av(d));
  cg_value *variance = cg_make(r, "aten::mean.dim", 3, cg_av(square), dims, yes);
  variance = cg_make_cast(r, cg_make_cast(r, variance, kept), x->type.dtype);
  o.rstd = cg_make(r, "aten::rsqrt", 1, cg_av(cg_make(r, "aten::add.Scalar", 2, cg_av(variance), cg_a_float(eps))));
  o.y = cg_make(r, "aten::mul.Tensor", 2, cg_av(d), cg_av(o.rstd));
  return o;
}

// y * weight + bias, both already in a shape that broadcasts; NULL: not there.
static cg_value *affine(cg_rewrite *r, cg_value *y, cg_value *weight, cg_value *bias) {
  cg_dtype t = y->type.dtype;
  if (weight) y = cg_make(r, "aten::mul.Tensor", 2, cg_av(y), cg_av(cg_make_cast(r, weight, t)));
  if (bias) y = cg_make(r, "aten::add.Tensor", 2, cg_av(y), cg_av(cg_make_cast(r, bias, t)));
  return y;
}

// A vector of channels as [C, 1, 1, …] over the dims behind dimension 1.
static cg_value *by_channel(cg_rewrite *r, cg_value *v, int rank) {
  const cg_expr *dim[CG_MAX_RANK];
  if (!v) return NULL;
  dim[0] = v->type.dim[0];
  for (int i = 1; i < rank - 1; i++) dim[i] = cg_xi(r->m, 1);
  return cg_make_reshape(r, v, rank - 1, dim);
}

static double eps_of(const cg_node *n) { return cg_r_double_or(n, "eps", 1e-5); }
static bool eps_known(const cg_node *n) {
  double v;
  return cg_r_is_none(n, "eps") || cg_arg_double(cg_node_arg(n, "eps"), &v);
}

// ---------------------------------------------------------------- layer_norm, rms_norm

bool cg_decompose_layer_norm(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "input");
  if (!native(x) || !eps_known(n)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  int from = x->type.rank - cg_arg_list_len(cg_node_arg(n, "normalized_shape"));
  if (is_empty(x, from)) return false;
  normal o = normalise(&r, cg_make_cast(&r, x, cg_r_wide(x->type.dtype)), dims_from(&r, from, x->type.rank), eps_of(n), cg_r_wide(x->type.dtype));
  cg_value *y = affine(&r, o.y, cg_r_tensor(n, "weight"), cg_r_tensor(n, "bias"));
  cg_value *out[3] = {cg_make_cast(&r, y, x->type.dtype), NULL, NULL};
  for (int k = 1; k < n->nresults; k++)
    if (cg_result_used(n, k)) out[k] = cg_make_cast(&r, k == 1 ? o.mean : o.rstd, n->result[k]->type.dtype);
  return cg_rewrite_end(&r, n->nresults, out);
}

bool cg_decompose_rms_norm(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "input"), *w = cg_r_tensor(n, "weight");
  if (!native(x) || !eps_known(n)) return false;
  cg_dtype t = x->type.dtype;
  cg_rewrite r = cg_rewrite_begin(m, n);
  int from = x->type.rank - cg_arg_list_len(cg_node_arg(n, "normalized_shape"));
  double eps = cg_r_double_or(n, "eps", t == CG_F64 ? DBL_EPSILON : FLT_EPSILON); // of the dtype that is computed with
  cg_value *v = cg_make_cast(&r, x, cg_r_wide(t));
  cg_value *square = cg_make(&r, "aten::mul.Tensor", 2, cg_av(v), cg_av(v));
  cg_value *mean = cg_make(&r, "aten::mean.dim", 3, cg_av(square), dims_from(&r, from, x->type.rank), cg_a_bool(true));
  cg_value *scale = cg_make(&r, "aten::rsqrt", 1, cg_av(cg_make(&r, "aten::add.Scalar", 2, cg_av(mean), cg_a_float(eps))));
  cg_value *y = affine(&r, cg_make(&r, "aten::mul.Tensor", 2, cg_av(v), cg_av(scale)), w, NULL);
  return cg_rewrite_by(&r, cg_make_cast(&r, y, t));
}

// ---------------------------------------------------------------- group_norm, instance_norm

// [N, C, …] as [N, groups, rest], normalised over the rest.
static normal by_group(cg_rewrite *r, cg_value *x, const cg_expr *groups, double eps) {
  cg_module *m = r->m;
  const cg_type *t = &x->type;
  const cg_expr *rest = cg_x_product(m, t->rank - 2, t->dim + 2);
  const cg_expr *dim[] = {t->dim[0], groups, cg_xmul(m, cg_xdiv(m, t->dim[1], groups), rest)};
  normal o = normalise(r, cg_make_reshape(r, x, 3, dim), dims_from(r, 2, 3), eps, t->dtype);
  o.y = cg_make_reshape(r, o.y, t->rank, t->dim);
  return o;
}

bool cg_decompose_group_norm(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "input");
  const cg_expr *groups;
  if (!native(x) || !eps_known(n) || x->type.rank < 2) return false;
  if (!cg_r_int(n, cg_node_arg(n, "group") ? "group" : "num_groups", &groups)) return false;
  if (is_empty(x, 0)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  normal o = by_group(&r, cg_make_cast(&r, x, cg_r_wide(x->type.dtype)), groups, eps_of(n));
  int rank = x->type.rank;
  cg_value *y = affine(&r, o.y, by_channel(&r, cg_r_tensor(n, "weight"), rank), by_channel(&r, cg_r_tensor(n, "bias"), rank));
  cg_value *out[3] = {cg_make_cast(&r, y, x->type.dtype), NULL, NULL};
  for (int k = 1; k < n->nresults; k++) {
    if (!cg_result_used(n, k)) continue;
    const cg_type *t = &n->result[k]->type;
    out[k] = cg_make_cast(&r, cg_make_reshape(&r, k == 1 ? o.mean : o.rstd, t->rank, t->dim), t->dtype);
  }
  return cg_rewrite_end(&r, n->nresults, out);
}

// ---------------------------------------------------------------- batch_norm

// With fixed statistics: x * scale + shift for each channel.
static cg_value *fixed_norm(cg_rewrite *r, const cg_node *n, cg_value *x, cg_value *mean, cg_value *variance) {
  cg_dtype t = cg_r_wide(x->type.dtype);
  cg_value *w = cg_r_tensor(n, "weight"), *b = cg_r_tensor(n, "bias");
  cg_value *wide = cg_make(r, "aten::add.Scalar", 2, cg_av(cg_make_cast(r, variance, t)), cg_a_float(eps_of(n)));
  cg_value *scale = cg_make(r, "aten::rsqrt", 1, cg_av(wide));
  if (w) scale = cg_make(r, "aten::mul.Tensor", 2, cg_av(scale), cg_av(cg_make_cast(r, w, t)));
  cg_value *shift = cg_make(r, "aten::mul.Tensor", 2, cg_av(cg_make_cast(r, mean, t)), cg_av(scale));
  shift = b ? cg_make(r, "aten::sub.Tensor", 2, cg_av(cg_make_cast(r, b, t)), cg_av(shift)) : cg_make(r, "aten::neg", 1, cg_av(shift));
  cg_value *y = affine(r, cg_make_cast(r, x, t), by_channel(r, scale, x->type.rank), by_channel(r, shift, x->type.rank));
  return cg_make_cast(r, y, x->type.dtype);
}

// With the statistics of what is there, over these dims. As in PyTorch those of f32 are computed in f64, and kept in f32.
static cg_value *own_norm(cg_rewrite *r, const cg_node *n, cg_value *x, cg_arg dims) {
  int rank = x->type.rank;
  cg_dtype t = x->type.dtype;
  normal o = normalise(r, cg_make_cast(r, x, t == CG_F32 ? CG_F64 : cg_r_wide(t)), dims, eps_of(n), cg_r_wide(t));
  cg_value *y = affine(r, o.y, by_channel(r, cg_r_tensor(n, "weight"), rank), by_channel(r, cg_r_tensor(n, "bias"), rank));
  return cg_make_cast(r, y, t);
}

bool cg_decompose_batch_norm(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "input"), *mean = cg_r_tensor(n, "running_mean"), *variance = cg_r_tensor(n, "running_var");
  bool own = !mean && !variance; // else training changes the running statistics
  if (!native(x) || x->type.rank < 2 || !eps_known(n) || (own ? is_empty(x, 0) : cg_r_bool(n, "training", false) || !mean || !variance)) return false;
  for (int k = 1; k < n->nresults; k++)
    if (cg_result_used(n, k)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  int dims[CG_MAX_RANK];
  for (int i = 0; i < x->type.rank - 1; i++) dims[i] = i ? i + 1 : 0;
  cg_value *out[8] = {own ? own_norm(&r, n, x, cg_make_ints(&r, x->type.rank - 1, dims)) : fixed_norm(&r, n, x, mean, variance)};
  return cg_rewrite_end(&r, n->nresults < 8 ? n->nresults : 8, out);
}

bool cg_decompose_instance_norm(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "input"), *mean = cg_r_tensor(n, "running_mean"), *variance = cg_r_tensor(n, "running_var");
  if (!native(x) || x->type.rank < 3 || !eps_known(n)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  if (!cg_r_bool(n, "use_input_stats", true)) return mean && variance && cg_rewrite_by(&r, fixed_norm(&r, n, x, mean, variance));
  if (mean || variance) return false; // running statistics are updated
  if (is_empty(x, 0)) return false;
  return cg_rewrite_by(&r, own_norm(&r, n, x, dims_from(&r, 2, x->type.rank)));
}

// ---------------------------------------------------------------- weight_norm

// v * (g / |v|), the norm over all dims but one. Convolutions of audio models have constant v and g: it folds away.
bool cg_decompose_weight_norm(cg_module *m, cg_node *n) {
  cg_value *v = cg_r_tensor(n, "v"), *g = cg_r_tensor(n, "g");
  int d, dims[CG_MAX_RANK], count = 0;
  if (!native(v) || !g || g->type.dtype != v->type.dtype || cg_r_half(v->type.dtype) || !v->type.rank || cg_r_dim_of(m, n, "dim", v->type.rank, &d)) return false;
  bool all = cg_r_int_or(n, "dim", 0) == -1;
  for (int i = 0; i < v->type.rank; i++)
    if (i != d || all) dims[count++] = i;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_value *norm = count ? cg_make(&r, "aten::linalg_vector_norm", 4, cg_av(v), cg_a_int(m, 2), cg_make_ints(&r, count, dims), cg_a_bool(true))
                         : cg_make(&r, "aten::abs", 1, cg_av(v));
  cg_value *scale = cg_make(&r, "aten::div.Tensor", 2, cg_av(g), cg_av(norm));
  return cg_rewrite_by(&r, cg_make(&r, "aten::mul.Tensor", 2, cg_av(v), cg_av(scale)));
}
