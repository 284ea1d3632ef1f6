// Type rules of matrix products, convolutions and attention.
#include <string.h>

#include "ops/rules.h"

static bool starts(const cg_node *n, const char *name) { return !strncmp(n->schema->name, name, strlen(name)); }

// Whether two sizes that must be equal never are.
static bool differ(cg_module *m, const cg_node *n, const cg_expr *a, const cg_expr *b) { return cg_r_equal(m, n, a, b) != NULL; }

static const char *mismatch(cg_module *m, const cg_type *a, const cg_type *b) {
  return cg_r_why(m, "shapes %s and %s cannot be multiplied", cg_r_shape(m, a->rank, a->dim), cg_r_shape(m, b->rank, b->dim));
}

// ---------------------------------------------------------------- matrices

static const char *two(cg_module *m, cg_node *n, const cg_type *a, const cg_type *b, int rank) {
  if (!a || !b || a->rank != rank || b->rank != rank) return cg_r_why(m, "matrices of %d dimensions are expected", rank);
  if (differ(m, n, a->dim[rank - 1], b->dim[rank - 2]) || (rank == 3 && differ(m, n, a->dim[0], b->dim[0]))) return mismatch(m, a, b);
  if (a->dtype != b->dtype) return "expected the matrices to have the same dtype";
  const cg_expr **dim = cg_r_copy_dims(m, a);
  dim[rank - 1] = b->dim[rank - 1];
  cg_r_set(n, 0, a->dtype, rank, dim);
  return NULL;
}

// What is added to the product broadcasts to it.
static const char *added(cg_module *m, const cg_node *n, const char *name) {
  const cg_type *x = cg_r_type(n, name), *t = &n->result[0]->type;
  return x ? cg_r_stretches(m, n, x, t->rank, t->dim) : NULL;
}

const char *cg_infer_mm(cg_module *m, cg_node *n) { return two(m, n, cg_r_type(n, "self"), cg_r_type(n, "mat2"), 2); }
const char *cg_infer_bmm(cg_module *m, cg_node *n) { return two(m, n, cg_r_type(n, "self"), cg_r_type(n, "mat2"), 3); }
const char *cg_infer_addmm(cg_module *m, cg_node *n) {
  CG_RULE(two(m, n, cg_r_type(n, "mat1"), cg_r_type(n, "mat2"), 2));
  return added(m, n, "self");
}
const char *cg_infer_baddbmm(cg_module *m, cg_node *n) {
  CG_RULE(two(m, n, cg_r_type(n, "batch1"), cg_r_type(n, "batch2"), 3));
  return added(m, n, "self");
}

const char *cg_infer_mv(cg_module *m, cg_node *n) {
  const cg_type *a = cg_r_type(n, cg_node_arg(n, "mat") ? "mat" : "self"), *b = cg_r_type(n, "vec");
  if (!a || !b || a->rank != 2 || b->rank != 1) return "a matrix and a vector are expected";
  if (differ(m, n, a->dim[1], b->dim[0])) return mismatch(m, a, b);
  cg_r_set(n, 0, a->dtype, 1, cg_r_copy_dims(m, a));
  return cg_node_arg(n, "mat") ? added(m, n, "self") : NULL;
}

const char *cg_infer_dot(cg_module *m, cg_node *n) {
  const cg_type *a = cg_r_type(n, "self"), *b = cg_r_type(n, cg_node_arg(n, "tensor") ? "tensor" : "other");
  if (!a || !b || a->rank != 1 || b->rank != 1) return "1D tensors expected";
  if (differ(m, n, a->dim[0], b->dim[0])) return mismatch(m, a, b);
  cg_r_set(n, 0, a->dtype, 0, cg_r_new_dims(m, 0));
  return NULL;
}

// matmul: vectors are matrices of one row or column, which go again; leading dims broadcast.
const char *cg_infer_matmul(cg_module *m, cg_node *n) {
  const cg_type *a = cg_r_type(n, "self"), *b = cg_r_type(n, "other");
  if (!a || !b || !a->rank || !b->rank) return "both arguments to matmul need to be at least 1D";
  if (a->dtype != b->dtype) return "expected both arguments to have the same dtype";
  const cg_expr *depth = b->rank == 1 ? b->dim[0] : b->dim[b->rank - 2];
  if (differ(m, n, a->dim[a->rank - 1], depth)) return mismatch(m, a, b);
  cg_type za = cg_tensor_type(a->dtype, a->rank > 2 ? a->rank - 2 : 0, a->dim), zb = cg_tensor_type(b->dtype, b->rank > 2 ? b->rank - 2 : 0, b->dim);
  CG_RULE(cg_broadcast(m, n, &za, &zb));
  const cg_expr **dim = cg_r_new_dims(m, za.rank + 2);
  int r = za.rank;
  memcpy(dim, za.dim, (size_t)r * sizeof *dim);
  if (a->rank > 1) dim[r++] = a->dim[a->rank - 2];
  if (b->rank > 1) dim[r++] = b->dim[b->rank - 1];
  cg_r_set(n, 0, a->dtype, r, dim);
  return NULL;
}

const char *cg_infer_linear(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input"), *w = cg_r_type(n, "weight");
  if (!x || !w || !x->rank || w->rank < 1 || w->rank > 2) return "linear(): input of 1 dimension or more and a weight of 2 are expected";
  if (differ(m, n, x->dim[x->rank - 1], w->dim[w->rank - 1])) return mismatch(m, x, w);
  const cg_expr **dim = cg_r_copy_dims(m, x);
  if (w->rank == 2) dim[x->rank - 1] = w->dim[0];
  cg_r_set(n, 0, x->dtype, w->rank == 2 ? x->rank : x->rank - 1, dim);
  return added(m, n, "bias");
}

// outer(self, vec2)
const char *cg_infer_outer(cg_module *m, cg_node *n) {
  const cg_type *a = cg_r_type(n, "self"), *b = cg_r_type(n, "vec2");
  if (!a || !b || a->rank != 1 || b->rank != 1) return "outer: expected 1-D arguments";
  const cg_expr **dim = cg_r_new_dims(m, 2);
  dim[0] = a->dim[0], dim[1] = b->dim[0];
  cg_r_set(n, 0, cg_promote_types(a->dtype, b->dtype), 2, dim);
  return NULL;
}

// ---------------------------------------------------------------- convolutions

const cg_expr *cg_r_conv_size(cg_module *m, const cg_expr *in, const cg_expr *kernel, int64_t stride, const cg_expr *pad2, int64_t dilation) {
  const cg_expr *one = cg_xi(m, 1), *reach = cg_xadd(m, cg_xmul(m, cg_xi(m, dilation), cg_xsub(m, kernel, one)), one);
  return cg_xadd(m, cg_xdiv(m, cg_xsub(m, cg_xadd(m, in, pad2), reach), cg_xi(m, stride)), one);
}

static const cg_expr *transposed_size(cg_module *m, const cg_expr *in, const cg_expr *kernel, int64_t stride, const cg_expr *pad2, int64_t dilation, int64_t more) {
  const cg_expr *one = cg_xi(m, 1), *body = cg_xmul(m, cg_xsub(m, in, one), cg_xi(m, stride));
  return cg_xadd(m, cg_xsub(m, cg_xadd(m, body, cg_xmul(m, cg_xi(m, dilation), cg_xsub(m, kernel, one))), pad2), cg_xi(m, more + 1));
}

typedef struct {
  int64_t stride[8], pad[8], dilation[8], more[8], groups;
  bool transposed, same;
} window;

static const char *read_window(cg_module *m, const cg_node *n, int spatial, window *w) {
  *w = (window){.groups = cg_r_int_or(n, "groups", 1)};
  w->transposed = starts(n, "aten::conv_transpose") || cg_r_bool(n, "transposed", false);
  const cg_arg *pad = cg_node_arg(n, "padding");
  CG_RULE(cg_r_ints(m, n, "stride", spatial, 1, w->stride));
  CG_RULE(cg_r_ints(m, n, "dilation", spatial, 1, w->dilation));
  CG_RULE(cg_r_ints(m, n, "output_padding", spatial, 0, w->more));
  w->same = pad && pad->kind == CG_A_STR && !strcmp(pad->str.text, "same");
  if (pad && pad->kind != CG_A_STR) CG_RULE(cg_r_ints(m, n, "padding", spatial, 0, w->pad));
  for (int i = 0; i < spatial; i++)
    if (w->stride[i] <= 0 || w->dilation[i] <= 0) return "non-positive stride or dilation is not supported";
  return w->groups > 0 ? NULL : "non-positive groups is not supported";
}

const char *cg_infer_conv(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input"), *k = cg_r_type(n, "weight");
  window w;
  if (!x || !k || k->rank < 3 || k->rank > 8) return "convolution: an input and a weight of 3 dimensions or more are expected";
  int spatial = k->rank - 2, first = x->rank - spatial; // 2 with a batch, 1 without
  if (first != 1 && first != 2) return cg_r_why(m, "expected %dD (unbatched) or %dD (batched) input", spatial + 1, spatial + 2);
  CG_RULE(read_window(m, n, spatial, &w));
  const cg_expr *groups = cg_xi(m, w.groups), *channels = w.transposed ? k->dim[0] : cg_xmul(m, k->dim[1], groups);
  if (differ(m, n, x->dim[first - 1], channels)) return cg_r_why(m, "the weight %s does not fit the input %s", cg_r_shape(m, k->rank, k->dim), cg_r_shape(m, x->rank, x->dim));
  if (x->dtype != k->dtype) return "input and weight should have the same dtype";
  const cg_expr *places = cg_xi(m, 1), *none = cg_xi(m, 0); // an image has some, unless there is no image, or no channel of it
  for (int i = 0; i < spatial; i++) places = cg_xmul(m, places, x->dim[first + i]);
  const cg_expr *images = first == 2 ? cg_xmul(m, x->dim[0], x->dim[1]) : x->dim[0];
  const cg_expr *left_out = cg_x_op(&m->exprs, CG_X_EQ, 2, (const cg_expr *[]){images, none});
  CG_RULE(cg_r_require(m, n, CG_X_NE, cg_xadd(m, places, left_out), none, "an image with places"));
  const cg_expr **dim = cg_r_copy_dims(m, x);
  dim[first - 1] = w.transposed ? cg_xmul(m, k->dim[1], groups) : k->dim[0];
  const cg_type *bias = cg_r_type(n, "bias");
  if (bias && bias->rank == 1) CG_RULE(cg_r_equal(m, n, bias->dim[0], dim[first - 1]));
  for (int i = 0; i < spatial; i++) {
    const cg_expr *pad2 = cg_xi(m, 2 * w.pad[i]), *in = x->dim[first + i], *size = k->dim[2 + i];
    if (w.same) continue; // stride 1, padded to the same size
    dim[first + i] = w.transposed ? transposed_size(m, in, size, w.stride[i], pad2, w.dilation[i], w.more[i])
                                  : cg_r_conv_size(m, in, size, w.stride[i], pad2, w.dilation[i]);
    CG_RULE(cg_r_require(m, n, CG_X_LE, cg_xi(m, !w.transposed), dim[first + i], "a kernel no greater than the input"));
  }
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// ---------------------------------------------------------------- attention

const char *cg_infer_attention(cg_module *m, cg_node *n) {
  const cg_type *q = cg_r_type(n, "query"), *k = cg_r_type(n, "key"), *v = cg_r_type(n, "value");
  if (!q || !k || !v || q->rank < 2 || k->rank < 2 || v->rank < 2) return "query, key and value of 2 dimensions or more are expected";
  cg_type batch = *q;
  batch.rank -= 2;
  for (int i = 0; i < 2; i++) {
    cg_type with = i ? *v : *k;
    with.dim = cg_r_copy_dims(m, &with);
    with.rank -= 2;
    if (with.rank && cg_r_heads_shared(n)) with.dim[with.rank - 1] = cg_xi(m, 1); // heads share one of these
    CG_RULE(cg_broadcast(m, n, &batch, &with));
  }
  CG_RULE(cg_r_equal(m, n, q->dim[q->rank - 1], k->dim[k->rank - 1]));
  CG_RULE(cg_r_equal(m, n, k->dim[k->rank - 2], v->dim[v->rank - 2]));
  const cg_expr **dim = cg_r_new_dims(m, batch.rank + 2);
  for (int i = 0; i < batch.rank; i++) dim[i] = batch.dim[i];
  dim[batch.rank] = q->dim[q->rank - 2];
  dim[batch.rank + 1] = v->dim[v->rank - 1];
  cg_r_set(n, 0, q->dtype, batch.rank + 2, dim);
  const cg_type *mask = cg_r_type(n, "attn_mask");
  if (mask) { // beside the scores
    const cg_expr **scores = cg_r_copy_dims(m, &n->result[0]->type);
    scores[batch.rank + 1] = k->dim[k->rank - 2];
    CG_RULE(cg_r_stretches(m, n, mask, batch.rank + 2, scores));
  }
  if (n->nresults > 1) { // _scaled_dot_product_flash_attention_for_cpu: (batch, heads, queries) of logarithms
    const cg_expr **sums = cg_r_new_dims(m, 3);
    if (q->rank != 4) return "4-D query expected";
    CG_RULE(cg_r_equal(m, n, k->dim[1], v->dim[1]));
    CG_RULE(cg_r_equal(m, n, q->dim[3], v->dim[3]));
    for (int i = 0; i < 3; i++) sums[i] = q->dim[i];
    cg_r_set(n, 1, cg_r_wide(q->dtype), 3, sums);
  }
  return NULL;
}

// ---------------------------------------------------------------- pooling, resizing

static int spatial_of(const cg_node *n) {
  for (int d = 1; d <= 3; d++) {
    char text[4] = {(char)('0' + d), 'd', 0};
    if (strstr(n->schema->name, text)) return d;
  }
  return 0;
}

static const cg_expr *pooled(cg_module *m, const cg_expr *in, int64_t k, int64_t s, int64_t p, int64_t d, bool ceil) {
  const cg_expr *one = cg_xi(m, 1), *by = cg_xi(m, s);
  const cg_expr *span = cg_xadd(m, in, cg_xi(m, 2 * p - d * (k - 1) - 1));
  if (!ceil) return cg_xadd(m, cg_xdiv(m, span, by), one);
  const cg_expr *size = cg_xadd(m, cg_xdiv(m, cg_xadd(m, span, cg_xi(m, s - 1)), by), one);
  // The last window must start inside the input or its left padding.
  const cg_expr *start = cg_xmul(m, cg_xsub(m, size, one), by), *limit = cg_xadd(m, in, cg_xi(m, p));
  const cg_expr *outside = cg_x_op(&m->exprs, CG_X_LE, 2, (const cg_expr *[]){limit, start});
  return cg_xsub(m, size, outside);
}

// All sizes but the batch's.
static const char *not_empty_image(cg_module *m, const cg_node *n, const cg_type *x, int spatial) {
  for (int i = x->rank - spatial - 1; i < x->rank; i++) CG_RULE(cg_r_not_empty(m, n, x->dim[i]));
  return NULL;
}

const char *cg_infer_pool(cg_module *m, cg_node *n) {
  cg_value *v = cg_self(n);
  int spatial = spatial_of(n);
  if (!v || !spatial || (v->type.rank != spatial + 1 && v->type.rank != spatial + 2)) return "pooling: a batched or unbatched image is expected";
  const cg_type *x = &v->type;
  int64_t k[3], s[3], p[3], d[3];
  CG_RULE(cg_r_ints(m, n, "kernel_size", spatial, 1, k));
  CG_RULE(cg_r_ints(m, n, "stride", spatial, 0, s));
  CG_RULE(cg_r_ints(m, n, "padding", spatial, 0, p));
  for (int i = 0; i < spatial; i++) d[i] = 1;
  if (cg_node_arg(n, "dilation")) CG_RULE(cg_r_ints(m, n, "dilation", spatial, 1, d));
  const cg_expr **dim = cg_r_copy_dims(m, x);
  for (int i = 0; i < spatial; i++) {
    int at = x->rank - spatial + i;
    if (!cg_arg_list_len(cg_node_arg(n, "stride"))) s[i] = k[i];
    if (k[i] <= 0 || s[i] <= 0 || d[i] <= 0) return "kernel size, stride and dilation should be greater than zero";
    if (p[i] < 0 || 2 * p[i] > d[i] * (k[i] - 1) + 1) return "pad should be at most half of effective kernel size";
    dim[at] = pooled(m, dim[at], k[i], s[i], p[i], d[i], cg_r_bool(n, "ceil_mode", false));
    CG_RULE(cg_r_require(m, n, CG_X_LT, cg_xi(m, 0), dim[at], "a window that fits the input"));
  }
  CG_RULE(not_empty_image(m, n, x, spatial));
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  cg_r_set(n, 1, CG_I64, x->rank, dim);
  return NULL;
}

const char *cg_infer_adaptive_pool(cg_module *m, cg_node *n) {
  cg_value *v = cg_self(n);
  int spatial = spatial_of(n);
  if (!v || !spatial || (v->type.rank != spatial + 1 && v->type.rank != spatial + 2)) return "pooling: a batched or unbatched image is expected";
  const cg_expr **dim = cg_r_copy_dims(m, &v->type), *to[3];
  if (cg_r_sizes(m, n, "output_size", spatial, to)) return NULL;
  bool mean = !strncmp(n->schema->name, "aten::adaptive_avg", strlen("aten::adaptive_avg")); // over all places, of none as well
  for (int i = 0; i < spatial; i++) mean &= cg_x_is(to[i], 1);
  for (int i = 0; i < spatial; i++) {
    if (!mean) CG_RULE(cg_r_not_empty(m, n, dim[v->type.rank - spatial + i]));
    dim[v->type.rank - spatial + i] = to[i];
  }
  cg_r_set(n, 0, v->type.dtype, v->type.rank, dim);
  cg_r_set(n, 1, CG_I64, v->type.rank, dim);
  return NULL;
}

// upsample_*: output_size, or for the .vec overloads factors of the input's size.
const char *cg_infer_upsample(cg_module *m, cg_node *n) {
  cg_value *v = cg_self(n);
  int spatial = spatial_of(n);
  if (!v || v->type.rank != spatial + 2) return "upsample: a batched image is expected";
  const cg_type *x = &v->type;
  const cg_expr **dim = cg_r_copy_dims(m, x), *to[3];
  if (!cg_r_is_none(n, "output_size")) {
    if (cg_r_sizes(m, n, "output_size", spatial, to)) return NULL;
  } else {
    const cg_arg *f = cg_node_arg(n, "scale_factors");
    for (int i = 0; i < spatial; i++) {
      double by;
      if (!f || f->kind != CG_A_LIST || f->list.n != spatial || !cg_arg_double(&f->list.at[i], &by)) return NULL;
      to[i] = cg_x_scale(&m->exprs, x->dim[2 + i], by);
    }
  }
  CG_RULE(not_empty_image(m, n, x, spatial));
  for (int i = 0; i < spatial; i++) dim[2 + i] = to[i];
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// _native_multi_head_attention: the output, and the weights where they are asked for.
const char *cg_infer_native_attention(cg_module *m, cg_node *n) {
  const cg_type *q = cg_r_type(n, "query"), *k = cg_r_type(n, "key");
  if (!q || !k || q->rank != 3 || k->rank != 3) return "query and key of three dimensions are expected";
  cg_r_set(n, 0, q->dtype, 3, cg_r_copy_dims(m, q));
  if (!cg_r_bool(n, "need_weights", true)) return NULL; // nobody says what it is then
  bool average = cg_r_bool(n, "average_attn_weights", true);
  const cg_expr **dim = cg_r_new_dims(m, 4);
  int r = 0;
  dim[r++] = q->dim[0];
  if (!average && !cg_r_int(n, "num_head", &dim[r++])) return NULL;
  dim[r++] = q->dim[1], dim[r++] = k->dim[1];
  cg_r_set(n, 1, q->dtype, r, dim);
  return NULL;
}
