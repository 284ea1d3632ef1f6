// A normalisation with constant statistics behind a convolution or a linear layer with constant weights becomes part of these: each
// output channel's weights times its scale, its bias scaled and shifted. Computed in f64, rounded once.
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

// A node whose output channels are scaled by scaling its weight.
typedef struct {
  cg_arg *weight, *bias;
  int rank, out;         // dimensions of the weight (0: three or more), and which of them is the output channel's
  int64_t groups;
  bool transposed;       // a convolution: the channel is `out` of the group that dimension 0 tells
} layer;

static cg_arg *arg_of(const cg_node *n, const char *name) { return (cg_arg *)cg_node_arg(n, name); }

static bool is_one(const cg_node *n, const char *name) {
  double v;
  return cg_arg_double(cg_node_arg(n, name), &v) && v == 1;
}

static bool read_conv(const cg_node *n, layer *l) {
  const cg_arg *a = cg_node_arg(n, "transposed");
  double t = !strncmp(n->schema->key, "aten::conv_transpose", 20);
  if ((a && !cg_arg_double(a, &t)) || !cg_arg_int_const(cg_node_arg(n, "groups"), &l->groups)) return false;
  l->transposed = t != 0, l->out = l->transposed;
  return l->groups >= 1;
}

static bool read_layer(const cg_node *n, layer *l) {
  if (!n || !n->schema) return false;
  *l = (layer){.weight = arg_of(n, "weight"), .bias = arg_of(n, "bias"), .groups = 1};
  if (!strncmp(n->schema->key, "aten::conv", 10) && cg_node_arg(n, "groups")) return read_conv(n, l);
  if (n->result[0]->type.kind != CG_T_TENSOR || n->result[0]->type.rank != 2) return false; // a norm's channels are dimension 1
  l->rank = 2;
  if (cg_node_is_op(n, "aten::linear")) return true;
  if (!cg_node_is_op(n, "aten::addmm") || !is_one(n, "alpha") || !is_one(n, "beta")) return false;
  l->weight = arg_of(n, "mat2"), l->bias = arg_of(n, "self"), l->out = 1;
  return true;
}

static void fold(cg_module *m, cg_node *norm) {
  cg_value *x = cg_arg_tensor(cg_node_arg(norm, "input"));
  layer l;
  double eps, training = 0;
  if (!x || !read_layer(x->def, &l) || x->mark != 1 || !cg_type_equal(&x->type, &norm->result[0]->type)) return;
  for (int k = 1; k < norm->nresults; k++)
    if (norm->result[k]->mark) return;
  const cg_arg *flag = cg_node_arg(norm, "training");
  if ((flag && (!cg_arg_double(flag, &training) || training != 0)) || !cg_arg_double(cg_node_arg(norm, "eps"), &eps)) return;
  cg_dtype t = x->type.dtype;
  array w, mean, var, scale, shift, bias;
  if (t != CG_F32 && t != CG_F64) return;
  cg_arg *weight = l.weight, *old = l.bias;
  const cg_arg *ws = cg_node_arg(norm, "weight"), *bs = cg_node_arg(norm, "bias");
  bool scaled = cg_arg_tensor(ws) != NULL, shifted = cg_arg_tensor(bs) != NULL, biased = cg_arg_tensor(old) != NULL;
  if (!read_array(weight, t, l.rank, &w) || !read_array(cg_node_arg(norm, "running_mean"), t, 1, &mean) || !read_array(cg_node_arg(norm, "running_var"), t, 1, &var)) return;
  if ((scaled && !read_array(ws, t, 1, &scale)) || (shifted && !read_array(bs, t, 1, &shift)) || (biased && !read_array(old, t, 1, &bias))) return;
  const cg_value *wv = cg_arg_tensor(weight);
  int rank = wv->type.rank;
  int64_t channels = w.dim[l.out] * (l.transposed ? l.groups : 1), n = 1, at[CG_MAX_RANK] = {0};
  if (rank < (l.rank ? l.rank : 3) || mean.dim[0] != channels || var.dim[0] != channels) return;
  if ((scaled && scale.dim[0] != channels) || (shifted && shift.dim[0] != channels) || (biased && bias.dim[0] != channels)) return;
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
    int64_t from = 0, c = at[l.out] + (l.transposed ? at[0] / (w.dim[0] / l.groups) * w.dim[1] : 0);
    for (int d = 0; d < rank; d++) from += at[d] * w.stride[d];
    put(new_weight, t, i, element(&w, from) * factor[c]);
    for (int d = rank - 1; d >= 0 && ++at[d] == w.dim[d]; d--) at[d] = 0;
  }
  *weight = cg_a_value(constant(m, w.k->name, wv->type, new_weight, n));
  *old = cg_a_value(constant(m, cg_format(m->s, "%s_bias", w.k->name), cg_arg_tensor(cg_node_arg(norm, "running_mean"))->type, new_bias, channels));
  cg_replace(m, norm->result[0], cg_a_value(x));
  x->mark = norm->result[0]->mark; // uses
  cg_node_remove(norm);
}

void cg_pass_fold_norm(cg_pipeline *p, cg_module *m) {
  if (!p->opt->native) return; // LibTorch gets the model as it is
  for (int i = 0; i < m->fns.n; i++) {
    cg_fn *f = m->fns.at[i];
    cg_fn_count_uses(f);
    cg_replace_begin(f);
    for (cg_node *n = f->first, *next; n; n = next) {
      next = n->next;
      cg_replace_in(n);
      cg_value *x = is_norm(n) && !cg_steer_rule(p, n) ? cg_arg_tensor(cg_node_arg(n, "input")) : NULL;
      if (x && x->def && !cg_steer_rule(p, x->def)) fold(m, n);
    }
    cg_replace_end(f);
  }
}
