// Convolutions: 1, 2 or 3 spatial dimensions, groups, stride, padding, dilation, transposed. What a node means, and which kernel suits it.
#include "backend/c/kernel_conv.h"

#include <string.h>

// ---------------------------------------------------------------- what the node means

static bool is_conv(const cg_node *n, bool *transposed) {
  static const char *const plain[] = {"aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::conv1d.padding", "aten::conv2d.padding", "aten::conv3d.padding", "aten::_convolution_mode"};
  static const char *const back[] = {"aten::conv_transpose1d", "aten::conv_transpose2d.input", "aten::conv_transpose3d.input"};
  double t = 0;
  *transposed = false;
  if (cg_node_is_op(n, "aten::convolution")) return cg_arg_double(cg_node_arg(n, "transposed"), &t) ? *transposed = t != 0, true : false;
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
    if (cg_node_is_op(n, plain[i])) return true;
  for (size_t i = 0; i < sizeof back / sizeof *back; i++)
    if (cg_node_is_op(n, back[i])) return *transposed = true;
  return false;
}

// A list of one value for each spatial dimension; one value counts for all of them.
static bool read_list(const cg_arg *a, int n, int64_t *out) {
  int have = cg_arg_list_len(a);
  if (have != n && have != 1) return false;
  for (int i = 0; i < n; i++)
    if (!cg_arg_int_const(cg_arg_list_at(a, have == 1 ? 0 : i), &out[i])) return false;
  return true;
}

// Fills what follows from the node alone. NULL, or why it is not native.
static const char *read_node(const cg_node *n, cg_conv *w) {
  if (!is_conv(n, &w->transposed)) return "no native convolution of this form";
  const cg_arg *input = cg_node_arg(n, "input"), *weight = cg_node_arg(n, "weight");
  const cg_value *x = cg_arg_tensor(input), *f = cg_arg_tensor(weight);
  if (!x || !f) return "no native convolution of this form";
  const cg_type *xt = &x->type, *wt = &f->type, *ot = &n->result[0]->type;
  w->ns = wt->rank - 2;
  if (w->ns < 1 || w->ns > CG_CONV_SPATIAL) return "a convolution over more than three dimensions";
  if (xt->rank != w->ns + 2 && xt->rank != w->ns + 1) return "an input of this rank";
  w->batched = xt->rank == w->ns + 2;
  if (ot->rank != xt->rank) return "a result of this rank";
  if (!cg_is_float(ot->dtype) || !cg_tile_takes(ot->dtype)) return "no native convolution of this dtype";
  if (xt->dtype != ot->dtype || wt->dtype != ot->dtype) return "operands of different dtypes";
  for (int d = 0; d < wt->rank; d++)
    if (!cg_x_is_int(wt->dim[d])) return "a weight whose size is not fixed";
  w->taps = 1;
  for (int d = 0; d < w->ns; d++) w->kernel[d] = wt->dim[d + 2]->value, w->taps *= w->kernel[d];
  int64_t groups;
  if (!cg_arg_int_const(cg_node_arg(n, "groups"), &groups) || groups < 1) return "groups that are not fixed";
  w->groups = groups;
  w->oc = w->transposed ? wt->dim[1]->value : wt->dim[0]->value / groups;
  w->ic = w->transposed ? wt->dim[0]->value / groups : wt->dim[1]->value;
  if (!read_list(cg_node_arg(n, "stride"), w->ns, w->stride) || !read_list(cg_node_arg(n, "dilation"), w->ns, w->dilation))
    return "a stride or dilation that is not fixed";
  const cg_arg *padding = cg_node_arg(n, "padding");
  if (padding && padding->kind == CG_A_STR) {
    bool same = padding->str.n == 4 && !memcmp(padding->str.text, "same", 4);
    for (int d = 0; d < w->ns; d++) w->pad[d] = same ? w->dilation[d] * (w->kernel[d] - 1) / 2 : 0;
  } else if (!read_list(padding, w->ns, w->pad)) return "a padding that is not fixed";
  for (int d = 0; d < w->ns; d++) {
    if (w->stride[d] < 1 || w->dilation[d] < 1) return "a stride or dilation below one";
    w->in[d] = xt->dim[xt->rank - w->ns + d], w->out[d] = ot->dim[ot->rank - w->ns + d];
  }
  w->batch = w->batched ? ot->dim[0] : NULL;
  w->depthwise = w->ic == 1 && w->oc <= 4 && w->groups > 1 && !w->transposed;
  return NULL;
}

static const char *claim(cg_pipeline *p, const cg_node *n) {
  cg_conv w = {0};
  (void)p;
  return read_node(n, &w);
}

enum { LEAST_CHANNELS = 8, LEAST_DEPTHWISE = 16 }; // fewer are not worth lying innermost; a vector must be full

bool cg_conv_channels_last(const cg_node *n, const cg_value *operand) {
  cg_conv w = {0};
  if (read_node(n, &w) || !w.batched) return false;
  bool suits = w.depthwise ? w.oc == 1 && w.groups >= LEAST_DEPTHWISE : true;
  if (operand) return suits && operand == cg_arg_tensor(cg_node_arg(n, "input"));
  return !w.depthwise && w.oc * w.groups >= LEAST_CHANNELS;
}

// ---------------------------------------------------------------- texts

static const char *stride(cg_conv *w, int d) { return cg_kernel_size(w->k, w->x.stride[d]); }
const char *cg_conv_sample_stride(cg_conv *w) { return w->batched ? stride(w, 0) : "0"; }
const char *cg_conv_channel_stride(cg_conv *w) { return stride(w, w->batched); }
const char *cg_conv_stride(cg_conv *w, int d) { return stride(w, w->batched + 1 + d); }

const char *cg_conv_product(cg_conv *w, const char *const *dim, int n) {
  const char *t = "1";
  for (int i = 0; i < n; i++) t = i ? cg_format(w->s, "%s * %s", t, dim[i]) : dim[i];
  return t;
}

void cg_conv_split(cg_conv *w, cg_str *o, int indent, const char *of, const char *const *names, const char *const *dim, int n) {
  const char *below = "1";
  for (int d = n - 1; d >= 0; d--) {
    cg_str_addf(o, "%*sconst int64_t %s = %s", indent, "", names[d], of);
    if (d < n - 1) cg_str_addf(o, " / (%s)", below);
    if (d) cg_str_addf(o, " %% %s", dim[d]);
    cg_str_add(o, ";\n");
    below = d < n - 1 ? cg_format(w->s, "%s * %s", dim[d], below) : dim[d];
  }
}

void cg_conv_store(cg_conv *w, cg_str *o, int indent, const char *acc) {
  const char *channel = w->index[w->batched];
  cg_str_addf(o, "%*sconst %s acc = %s", indent, "", w->tile.ctype, acc);
  if (w->has_bias) {
    if (!w->bias.contiguous) channel = cg_format(w->s, "%s * (%s) + %s", channel, cg_kernel_size(w->k, w->bias.stride[0]), cg_kernel_size(w->k, w->bias.offset));
    cg_str_addf(o, " + %s", cg_kernel_load(w->k, w->bias.dtype, w->bias.name, channel));
  }
  cg_str_add(o, ";\n");
  cg_kernel_store(w->k, o, indent, 0, "acc", w->index);
}

// ---------------------------------------------------------------- which kernel

static void emit(cg_kernel *k, const cg_node *n) {
  cg_conv w = {.k = k, .s = cg_kernel_session(k), .m = cg_kernel_module(k), .n = n};
  read_node(n, &w);
  w.tile = cg_tile_get(k, n->result[0]->type.dtype);
  w.x = cg_kernel_read(k, cg_arg_tensor(cg_node_arg(n, "input")));
  w.w = cg_kernel_peek(k, cg_arg_tensor(cg_node_arg(n, "weight")));
  if (cg_conv_weight_constant(&w)) w.tile = cg_tile_keep(&w.tile, w.w.dtype);
  cg_value *bias = cg_arg_tensor(cg_node_arg(n, "bias"));
  w.has_bias = bias != NULL;
  if (bias) w.bias = cg_kernel_read(k, bias);
  for (int d = 0; d < w.ns; d++) w.in_text[d] = cg_kernel_size(k, w.in[d]), w.out_text[d] = cg_kernel_size(k, w.out[d]);
  for (int d = 0; d < w.ns + 1 + w.batched; d++) w.index[d] = cg_format(w.s, "i%d", d);
  w.to_last = cg_kernel_channels_last(k);
  if (w.to_last) cg_kernel_note(k, "channels innermost");
  if (w.tile.kept != w.tile.dtype) cg_kernel_note(k, cg_format(w.s, "weights %s", cg_dtypes[w.tile.kept].text));
  const cg_type *t = &n->result[0]->type;
  for (int d = 0; d < t->rank; d++)
    if (cg_x_is(t->dim[d], 0)) return; // nothing to compute
  cg_str *o = cg_kernel_body(k);
  bool last = w.x.dtype == w.tile.dtype && w.oc == 1 && w.groups >= w.tile.lanes && cg_x_is(w.x.stride[w.batched], 1);
  static const char *const ways[] = {"direct", "Winograd"}, *const one_tap[] = {"turned", "by planes"};
  if (cg_conv_winograd_fits(&w) && cg_kernel_choose(k, "way", 2, ways, cg_conv_winograd_pays(&w))) {
    w.tile = cg_tile_wide(k, &w.tile, w.oc);
    cg_conv_winograd(&w, o);
  }
  else if (!w.depthwise && cg_conv_planes_fits(&w) && cg_kernel_choose(k, "way", 2, one_tap, cg_conv_planes_pays(&w))) cg_conv_planes(&w, o);
  else if (w.depthwise && last) cg_conv_depthwise_last(&w, o);
  else if (w.depthwise && cg_conv_depthwise_fits(&w)) cg_conv_depthwise(&w, o);
  else cg_conv_product_kernel(&w, o);
}

const cg_kernel_template cg_kernel_convolution = {"conv", claim, true, true, emit};
