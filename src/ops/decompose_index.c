// Type rules and decompositions: differences along a dimension, bags of embeddings of one size, windows as columns.
#include <math.h>

#include "ops/rules.h"

// ---------------------------------------------------------------- diff

const char *cg_infer_diff(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "self"), *more[2] = {cg_r_type(n, "prepend"), cg_r_type(n, "append")};
  int d;
  if (!x || !x->rank) return "diff: a tensor with dimensions is expected";
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  const cg_expr **dim = cg_r_copy_dims(m, x);
  for (int i = 0; i < 2; i++) {
    if (!more[i]) continue;
    if (more[i]->rank != x->rank || more[i]->dtype != x->dtype) return NULL;
    dim[d] = cg_xadd(m, dim[d], more[i]->dim[d]);
  }
  int64_t times = cg_r_int_or(n, "n", -1);
  if (times < 0) return NULL;
  dim[d] = cg_xmax(m, cg_xsub(m, dim[d], cg_xi(m, times)), cg_xi(m, 0));
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

bool cg_decompose_diff(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "self"), *before = cg_r_tensor(n, "prepend"), *after = cg_r_tensor(n, "append");
  int64_t times = cg_r_int_or(n, "n", -1);
  int d;
  if (!x || !x->type.rank || times < 0 || times > 8 || cg_r_dim_of(m, n, "dim", x->type.rank, &d)) return false;
  if ((before && before->type.dtype != x->type.dtype) || (after && after->type.dtype != x->type.dtype)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_arg dim = cg_a_int(m, d), part[3];
  int parts = 0;
  if (before) part[parts++] = cg_av(before);
  part[parts++] = cg_av(x);
  if (after) part[parts++] = cg_av(after);
  if (parts > 1) x = cg_make(&r, "aten::cat", 2, cg_a_list(m, parts, part), dim);
  for (; times && x; times--) {
    const cg_expr *size = x->type.dim[d];
    const cg_expr *last = cg_xmax(m, cg_xsub(m, size, cg_xi(m, 1)), cg_xi(m, 0)); // an empty one stays empty
    cg_value *high = cg_make(&r, "aten::slice.Tensor", 4, cg_av(x), dim, cg_a_int(m, 1), cg_a_expr(size));
    cg_value *low = cg_make(&r, "aten::slice.Tensor", 4, cg_av(x), dim, cg_a_int(m, 0), cg_a_expr(last));
    x = cg_make(&r, x->type.dtype == CG_BOOL ? "aten::logical_xor" : "aten::sub.Tensor", 2, cg_av(high), cg_av(low));
  }
  return cg_rewrite_by(&r, x);
}

// ---------------------------------------------------------------- bags of embeddings

// Offsets that are 0, L, 2L, … as nn.EmbeddingBag makes them for a matrix of indices: *each is L.
static bool even_bags(cg_module *m, const cg_value *offsets, const cg_value *indices, const cg_expr **each) {
  const cg_node *a = offsets->def;
  const cg_expr *start, *end;
  if (!a || !cg_node_is_op(a, "aten::arange.start_step") || offsets->type.rank != 1 || indices->type.rank != 1) return false;
  if (!cg_r_int(a, "start", &start) || !cg_r_int(a, "end", &end) || !cg_r_int(a, "step", each)) return false;
  return cg_x_is(start, 0) && end == indices->type.dim[0] && cg_xmul(m, *each, offsets->type.dim[0]) == end;
}

const char *cg_infer_embedding_bag(cg_module *m, cg_node *n) {
  const cg_type *w = cg_r_type(n, "weight"), *offsets = cg_r_type(n, "offsets");
  if (!w || w->rank != 2) return "embedding_bag: a matrix of weights is expected";
  if (!offsets || offsets->rank != 1) return NULL;
  const cg_expr **dim = cg_r_copy_dims(m, w);
  dim[0] = cg_r_bool(n, "include_last_offset", false) ? cg_xsub(m, offsets->dim[0], cg_xi(m, 1)) : offsets->dim[0];
  cg_r_set(n, 0, w->dtype, 2, dim);
  return NULL;
}

bool cg_decompose_embedding_bag(cg_module *m, cg_node *n) {
  cg_value *w = cg_r_tensor(n, "weight"), *indices = cg_r_tensor(n, "indices"), *offsets = cg_r_tensor(n, "offsets"), *scale = cg_r_tensor(n, "per_sample_weights");
  int64_t mode = cg_r_int_or(n, "mode", -1);
  const cg_expr *each, *dim[2];
  if (!w || !indices || !offsets || !cg_r_plain_float(w->type.dtype) || mode < 0 || mode > 2 || (scale && mode)) return false;
  if (cg_r_bool(n, "include_last_offset", false) || cg_r_int_or(n, "padding_idx", -1) >= 0 || !even_bags(m, offsets, indices, &each)) return false;
  for (int k = 1; k < n->nresults; k++)
    if (cg_result_used(n, k)) return false;
  if (mode == 2 && !cg_x_at_least(m, each, cg_xi(m, 1))) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  dim[0] = offsets->type.dim[0], dim[1] = each;
  cg_value *rows = cg_make(&r, "aten::embedding", 2, cg_av(w), cg_av(cg_make_reshape(&r, indices, 2, dim)));
  if (scale) {
    const cg_expr *wide[3] = {dim[0], each, cg_xi(m, 1)};
    rows = cg_make(&r, "aten::mul.Tensor", 2, cg_av(rows), cg_av(cg_make_reshape(&r, scale, 3, wide)));
  }
  static const char *const reductions[] = {"aten::sum.dim_IntList", "aten::mean.dim", "aten::amax"};
  cg_value *first = NULL;
  if (mode == 2) { // the largest of those that compare: a NaN only stays where it comes first
    first = cg_make(&r, "aten::select.int", 3, cg_av(rows), cg_a_int(m, 1), cg_a_int(m, 0));
    rows = cg_make(&r, "aten::masked_fill.Scalar", 3, cg_av(rows), cg_av(cg_make(&r, "aten::isnan", 1, cg_av(rows))), cg_a_float(-INFINITY));
  }
  cg_value *y = cg_make(&r, reductions[mode], 2, cg_av(rows), cg_make_ints(&r, 1, (const int[]){1}));
  if (first) y = cg_make(&r, "aten::where.self", 3, cg_av(cg_make(&r, "aten::isnan", 1, cg_av(first))), cg_av(first), cg_av(y));
  cg_value *out[4] = {y, NULL, NULL, NULL};
  return cg_rewrite_end(&r, n->nresults, out);
}

// ---------------------------------------------------------------- windows as columns

// [N, C, H, W] or [C, H, W] -> [N, C * kh * kw, places]: the window, and how many places it has along each of the two.
static const char *im2col_places(cg_module *m, const cg_node *n, const cg_type *x, cg_window *w, const cg_expr *place[2]) {
  if (x->rank != 3 && x->rank != 4) return "im2col: a tensor of 3 or 4 dimensions is expected";
  CG_RULE(cg_r_window(m, n, w));
  for (int i = 0; i < 2; i++) {
    if (w->k[i] < 1 || w->d[i] < 1 || w->p[i] < 0 || w->s[i] < 1) return "im2col: windows, dilation and stride are positive";
    place[i] = cg_r_conv_size(m, x->dim[w->first + i], cg_xi(m, w->k[i]), w->s[i], cg_xi(m, 2 * w->p[i]), w->d[i]);
  }
  return NULL;
}

const char *cg_infer_im2col(cg_module *m, cg_node *n) {
  const cg_type *x;
  cg_window w;
  const cg_expr *place[2];
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(im2col_places(m, n, x, &w, place));
  for (int i = x->rank - 3; i < x->rank; i++) CG_RULE(cg_r_not_empty(m, n, x->dim[i]));
  const cg_expr **dim = cg_r_new_dims(m, x->rank - 1);
  if (x->rank == 4) dim[0] = x->dim[0];
  dim[x->rank - 3] = cg_xmul(m, x->dim[x->rank - 3], cg_xi(m, w.k[0] * w.k[1]));
  dim[x->rank - 2] = cg_xmul(m, place[0], place[1]);
  cg_r_set(n, 0, x->dtype, x->rank - 1, dim);
  return NULL;
}

bool cg_decompose_im2col(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "self");
  cg_window w;
  const cg_expr *place[2];
  if (!x || im2col_places(m, n, &x->type, &w, place)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  int rank = x->type.rank, order[6];
  if (w.p[0] || w.p[1]) {
    cg_arg pad[4] = {cg_a_int(m, w.p[1]), cg_a_int(m, w.p[1]), cg_a_int(m, w.p[0]), cg_a_int(m, w.p[0])};
    x = cg_make(&r, "aten::constant_pad_nd", 3, cg_av(x), cg_a_list(m, 4, pad), cg_a_int(m, 0));
  }
  for (int i = 0; i < 2; i++) { // each window behind all that is there, then of its elements those that count
    int64_t reach = w.d[i] * (w.k[i] - 1) + 1;
    x = cg_make(&r, "aten::unfold", 4, cg_av(x), cg_a_int(m, w.first + i), cg_a_int(m, reach), cg_a_int(m, w.s[i]));
    if (w.d[i] > 1) x = cg_make(&r, "aten::slice.Tensor", 5, cg_av(x), cg_a_int(m, rank + i), cg_a_int(m, 0), cg_a_int(m, reach), cg_a_int(m, w.d[i]));
  }
  for (int i = 0; i < rank + 2; i++) order[i] = i < rank - 2 ? i : i < rank ? i + 2 : i - 2;
  x = cg_make(&r, "aten::permute", 2, cg_av(x), cg_make_ints(&r, rank + 2, order));
  return cg_rewrite_by(&r, cg_make_reshape(&r, x, rank - 1, n->result[0]->type.dim));
}

const char *cg_infer_col2im(cg_module *m, cg_node *n) {
  const cg_type *x;
  cg_window w;
  const cg_expr *size[2], *places = cg_xi(m, 1);
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_window(m, n, &w));
  CG_RULE(cg_r_sizes(m, n, "output_size", 2, size));
  if (x->rank != 2 && x->rank != 3) return "col2im: a tensor of 2 or 3 dimensions is expected";
  for (int i = 0; i < 2; i++) {
    if (w.k[i] < 1 || w.d[i] < 1 || w.p[i] < 0 || w.s[i] < 1) return "col2im: windows, dilation and stride are positive";
    places = cg_xmul(m, places, cg_r_conv_size(m, size[i], cg_xi(m, w.k[i]), w.s[i], cg_xi(m, 2 * w.p[i]), w.d[i]));
  }
  CG_RULE(cg_r_divides(m, n, x->dim[x->rank - 2], w.k[0] * w.k[1]));
  CG_RULE(cg_r_equal(m, n, x->dim[x->rank - 1], places));
  const cg_expr **dim = cg_r_new_dims(m, x->rank + 1);
  if (x->rank == 3) dim[0] = x->dim[0];
  dim[x->rank - 2] = cg_xdiv(m, x->dim[x->rank - 2], cg_xi(m, w.k[0] * w.k[1]));
  dim[x->rank - 1] = size[0], dim[x->rank] = size[1];
  cg_r_set(n, 0, x->dtype, x->rank + 1, dim);
  return NULL;
}

// Windows that lie side by side and fill the plane: nothing is summed.
bool cg_decompose_col2im(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "self");
  cg_window w;
  if (!x || (x->type.rank != 2 && x->type.rank != 3) || cg_r_window(m, n, &w)) return false;
  int rank = x->type.rank, lead = rank - 2, order[6];
  const cg_type *out = &n->result[0]->type;
  const cg_expr *dim[6];
  if (lead) dim[0] = x->type.dim[0];
  dim[lead] = out->dim[lead];
  for (int i = 0; i < 2; i++) {
    const cg_expr *k = cg_xi(m, w.k[i]), *places = cg_xdiv(m, out->dim[lead + 1 + i], k);
    if (w.s[i] != w.k[i] || w.p[i] || (w.d[i] != 1 && w.k[i] != 1) || cg_xmul(m, places, k) != out->dim[lead + 1 + i]) return false;
    dim[lead + 1 + i] = k, dim[lead + 3 + i] = places;
  }
  cg_rewrite r = cg_rewrite_begin(m, n);
  for (int i = 0; i <= lead; i++) order[i] = i;
  for (int i = 0; i < 2; i++) order[lead + 1 + 2 * i] = lead + 3 + i, order[lead + 2 + 2 * i] = lead + 1 + i;
  x = cg_make_reshape(&r, x, lead + 5, dim);
  x = cg_make(&r, "aten::permute", 2, cg_av(x), cg_make_ints(&r, lead + 5, order));
  return cg_rewrite_by(&r, cg_make_reshape(&r, x, out->rank, out->dim));
}
