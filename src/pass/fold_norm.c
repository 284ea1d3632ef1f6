// A normalisation with constant statistics behind a convolution with constant weights becomes part of these: each output channel's
// weights times its scale, its bias scaled and shifted. Computed in f64, rounded once.
#include <math.h>
#include <string.h>

#include "pass/steer.h"

typedef struct {
  const cg_constant *k;
  int64_t stride[CG_MAX_RANK], dim[CG_MAX_RANK], offset;
} array; // a constant as its elements are read

static bool read_array(const cg_arg *a, cg_dtype t, int rank, array *out) {
  const cg_value *v = a ? cg_arg_tensor(a) : NULL;
  const cg_constant *k = v ? v->constant : NULL;
  if (!k || k->mutated || !k->data || v->type.dtype != t || (rank && v->type.rank != rank) || !cg_type_is_static(&v->type)) return false;
  *out = (array){.k = k, .offset = k->type.offset && cg_x_is_int(k->type.offset) ? k->type.offset->value : 0};
  int64_t n = 1;
  for (int d = v->type.rank - 1; d >= 0; n *= out->dim[d--]) {
    out->dim[d] = v->type.dim[d]->value;
    if (k->type.stride && !cg_x_is_int(k->type.stride[d])) return false;
    out->stride[d] = k->type.stride ? k->type.stride[d]->value : n;
  }
  int64_t last = out->offset;
  for (int d = 0; d < v->type.rank; d++) {
    if (out->dim[d] < 1 || out->stride[d] < 0) return false;
    last += (out->dim[d] - 1) * out->stride[d];
  }
  return (uint64_t)(last + 1) * cg_dtypes[t].size <= k->size;
}

static double element(const array *a, int64_t at) {
  const uint8_t *p = a->k->data + (size_t)(a->offset + at) * cg_dtypes[a->k->type.dtype].size;
  float f;
  double d;
  if (a->k->type.dtype == CG_F64) return memcpy(&d, p, 8), d;
  return memcpy(&f, p, 4), (double)f;
}

static void put(void *data, cg_dtype t, int64_t at, double v) {
  if (t == CG_F64) ((double *)data)[at] = v;
  else ((float *)data)[at] = (float)v;
}

static cg_value *constant(cg_module *m, const char *stem, cg_type type, void *data, int64_t n) {
  type.stride = NULL, type.offset = NULL;
  return cg_constant_new(m, cg_fresh_name(m, stem), type, data, (uint64_t)n * cg_dtypes[type.dtype].size)->value;
}

static bool is_norm(const cg_node *n) {
  static const char *const keys[] = {"aten::batch_norm", "aten::_native_batch_norm_legit_no_training", "aten::native_batch_norm"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (cg_node_is_op(n, keys[i])) return true;
  return false;
}

// Whether n is a convolution; *outputs: the weight's dimension of output channels (of one group).
static bool is_conv(const cg_node *n, bool *transposed) {
  if (!n || !n->schema || strncmp(n->schema->key, "aten::conv", 10) || !cg_node_arg(n, "groups")) return false;
  double t = 0;
  const cg_arg *a = cg_node_arg(n, "transposed");
  if (a && !cg_arg_double(a, &t)) return false;
  *transposed = a ? t != 0 : !strncmp(n->schema->key, "aten::conv_transpose", 20);
  return true;
}

static bool fold(cg_module *m, cg_node *norm) {
  cg_value *x = cg_arg_tensor(cg_node_arg(norm, "input"));
  cg_node *conv = x ? x->def : NULL;
  bool transposed;
  double eps, training = 0;
  int64_t groups;
  if (!is_conv(conv, &transposed) || x->mark != 1 || !cg_type_equal(&x->type, &norm->result[0]->type)) return false;
  for (int k = 1; k < norm->nresults; k++)
    if (norm->result[k]->mark) return false;
  const cg_arg *flag = cg_node_arg(norm, "training");
  if ((flag && (!cg_arg_double(flag, &training) || training != 0)) || !cg_arg_double(cg_node_arg(norm, "eps"), &eps)) return false;
  cg_dtype t = x->type.dtype;
  array w, mean, var, scale, shift, bias;
  if ((t != CG_F32 && t != CG_F64) || !cg_arg_int_const(cg_node_arg(conv, "groups"), &groups) || groups < 1) return false;
  cg_arg *weight = (cg_arg *)cg_node_arg(conv, "weight"), *old = (cg_arg *)cg_node_arg(conv, "bias");
  const cg_arg *ws = cg_node_arg(norm, "weight"), *bs = cg_node_arg(norm, "bias");
  bool scaled = cg_arg_tensor(ws) != NULL, shifted = cg_arg_tensor(bs) != NULL, biased = cg_arg_tensor(old) != NULL;
  if (!read_array(weight, t, 0, &w) || !read_array(cg_node_arg(norm, "running_mean"), t, 1, &mean) || !read_array(cg_node_arg(norm, "running_var"), t, 1, &var)) return false;
  if ((scaled && !read_array(ws, t, 1, &scale)) || (shifted && !read_array(bs, t, 1, &shift)) || (biased && !read_array(old, t, 1, &bias))) return false;
  const cg_value *wv = cg_arg_tensor(weight);
  int rank = wv->type.rank;
  int64_t channels = transposed ? w.dim[1] * groups : w.dim[0], n = 1, at[CG_MAX_RANK] = {0};
  if (rank < 3 || mean.dim[0] != channels || var.dim[0] != channels) return false;
  for (int d = 0; d < rank; d++) n *= w.dim[d];
  double *factor = CG_NEW_ARRAY(m->s, double, channels);
  size_t size = cg_dtypes[t].size;
  void *new_weight = cg_alloc(m->s, (size_t)n * size), *new_bias = cg_alloc(m->s, (size_t)channels * size);
  for (int64_t c = 0; c < channels; c++) {
    factor[c] = (scaled ? element(&scale, c * scale.stride[0]) : 1) / sqrt(element(&var, c * var.stride[0]) + eps);
    double b = (biased ? element(&bias, c * bias.stride[0]) : 0) - element(&mean, c * mean.stride[0]);
    put(new_bias, t, c, b * factor[c] + (shifted ? element(&shift, c * shift.stride[0]) : 0));
  }
  for (int64_t i = 0; i < n; i++) { // at: the element's indices
    int64_t from = 0, c = transposed ? at[0] / (w.dim[0] / groups) * w.dim[1] + at[1] : at[0];
    for (int d = 0; d < rank; d++) from += at[d] * w.stride[d];
    put(new_weight, t, i, element(&w, from) * factor[c]);
    for (int d = rank - 1; d >= 0 && ++at[d] == w.dim[d]; d--) at[d] = 0;
  }
  *weight = cg_a_value(constant(m, w.k->name, wv->type, new_weight, n));
  *old = cg_a_value(constant(m, cg_format(m->s, "%s_bias", w.k->name), cg_arg_tensor(cg_node_arg(norm, "running_mean"))->type, new_bias, channels));
  cg_replace_uses(norm->fn, norm->result[0], x);
  cg_node_remove(norm);
  return true;
}

void cg_pass_fold_norm(cg_pipeline *p, cg_module *m) {
  if (!p->opt->native) return; // LibTorch gets the model as it is
  for (int i = 0; i < m->fns.n; i++) {
    cg_fn *f = m->fns.at[i];
    cg_fn_count_uses(f);
    for (cg_node *n = f->first, *next; n; n = next) {
      next = n->next;
      cg_value *x = is_norm(n) && !cg_steer_rule(p, n) ? cg_arg_tensor(cg_node_arg(n, "input")) : NULL;
      if (x && x->def && !cg_steer_rule(p, x->def) && fold(m, n)) cg_fn_count_uses(f);
    }
  }
}
