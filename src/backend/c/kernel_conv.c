// Convolutions (1, 2 or 3 spatial dimensions, groups, stride, padding, dilation, transposed) as products by the tile of kernel_gemm.h:
//   result[n, oc, pixel] = sum over k = (ic, tap) of weight[oc, k] * B[k, pixel]
// where B, the input under each tap, is made in panels of a few pixels on the stack (implicit GEMM). Depthwise ones have their own loop.
#include <string.h>

#include "backend/c/kernel_gemm.h"

enum { MAX_SPATIAL = 3 };

typedef struct {
  cg_kernel *k;
  cg_session *s;
  cg_module *m;
  const cg_node *n;
  cg_tile tile;
  cg_kernel_input x, w, bias;
  bool has_bias, transposed, batched;
  int ns;                                                                    // spatial dimensions
  int64_t stride[MAX_SPATIAL], pad[MAX_SPATIAL], dilation[MAX_SPATIAL], kernel[MAX_SPATIAL], groups, taps;
  int64_t oc, ic;                                                            // of one group
  const cg_expr *in[MAX_SPATIAL], *out[MAX_SPATIAL], *batch;
  const char *in_text[MAX_SPATIAL], *out_text[MAX_SPATIAL];
  const char *index[MAX_SPATIAL + 2];                                        // of the result
} writer;

// ---------------------------------------------------------------- what the node means

static bool is_conv(const cg_node *n, bool *transposed) {
  static const char *const plain[] = {"aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::conv1d.padding", "aten::conv2d.padding", "aten::conv3d.padding"};
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
static const char *read_node(const cg_node *n, writer *w) {
  if (!is_conv(n, &w->transposed)) return "no native convolution of this form";
  const cg_arg *input = cg_node_arg(n, "input"), *weight = cg_node_arg(n, "weight");
  const cg_value *x = cg_arg_tensor(input), *f = cg_arg_tensor(weight);
  if (!x || !f) return "no native convolution of this form";
  const cg_type *xt = &x->type, *wt = &f->type, *ot = &n->result[0]->type;
  w->ns = wt->rank - 2;
  if (w->ns < 1 || w->ns > MAX_SPATIAL) return "a convolution over more than three dimensions";
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
  return NULL;
}

static const char *claim(cg_pipeline *p, const cg_node *n) {
  writer w = {0};
  (void)p;
  return read_node(n, &w);
}

// ---------------------------------------------------------------- the weight as rows (oc of all groups, depth)

static const char *weight_rows(writer *w, cg_str *o) {
  int64_t depth = w->ic * w->taps, rows = w->oc * w->groups;
  size_t es = cg_dtypes[w->tile.dtype].size, ws = cg_dtypes[w->w.dtype].size;
  bool as_is = !w->transposed && w->w.dtype == w->tile.dtype;
  bool known = w->w.constant != NULL && w->w.contiguous;
  if (as_is) return cg_kernel_read(w->k, w->w.value).name;
  if (known) {
    int64_t idx[CG_MAX_RANK] = {0};
    const char *src = cg_kernel_constant_at(&w->w, idx);
    char *data = cg_alloc(w->s, (size_t)(rows * depth) * es + 1);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < depth; i++) {
        int64_t g = r / w->oc, c = r % w->oc;
        int64_t from = w->transposed ? ((g * w->ic + i / w->taps) * w->oc + c) * w->taps + i % w->taps : r * depth + i;
        cg_tile_convert(&w->tile, w->w.dtype, src + (size_t)from * ws, data + (size_t)(r * depth + i) * es);
      }
    return cg_kernel_constant(w->k, cg_format(w->s, "%s_rows", w->w.constant->name), w->tile.dtype, 1, (int64_t[]){rows * depth}, data, (size_t)(rows * depth) * es);
  }
  cg_kernel_input in = cg_kernel_read(w->k, w->w.value);
  const char *to = cg_kernel_scratch(w->k, w->tile.dtype, cg_x_int(&w->m->exprs, rows * depth));
  const char *from = "at * DEPTH + i";
  if (w->transposed)
    from = cg_format(w->s, "((at / %lld * %lld + i / %lld) * %lld + at %% %lld) * %lld + i %% %lld", (long long)w->oc, (long long)w->ic, (long long)w->taps, (long long)w->oc,
                     (long long)w->oc, (long long)w->taps, (long long)w->taps);
  cg_str_addf(o, "  // The weight as rows of %s\n  for (int64_t at = 0; at < %lld; at++)\n    for (int64_t i = 0; i < DEPTH; i++) %s[at * DEPTH + i] = %s;\n", w->tile.ctype,
              (long long)rows, to, cg_kernel_load(w->k, in.dtype, in.name, from));
  return to;
}

// ---------------------------------------------------------------- texts over the spatial dimensions

// Where tap `tap` of output position `at` reads in dimension d: statements that define i<d> and, for the outer dimensions, extend `inside`.
static void emit_outer_tap(writer *w, cg_str *o, int indent, int d, const char *at, const char *tap) {
  long long s = w->stride[d], p = w->pad[d], l = w->dilation[d];
  if (!w->transposed) cg_str_addf(o, "%*sconst int64_t y%d = %s * %lld - %lld + %s * %lld;\n", indent, "", d, at, s, p, tap, l);
  else cg_str_addf(o, "%*sconst int64_t up%d = %s + %lld - %s * %lld, y%d = up%d < 0 || up%d %% %lld ? -1 : up%d / %lld;\n", indent, "", d, at, p, tap, l, d, d, d, s, d, s);
  cg_str_addf(o, "%*sinside = inside && y%d >= 0 && y%d < %s;\n", indent, "", d, d, w->in_text[d]);
}

// `const int64_t tap0 = …, tap1 = …` from the linear tap index `tap`.
static void emit_taps(writer *w, cg_str *o, int indent, const char *tap) {
  int64_t below = w->taps;
  for (int d = 0; d < w->ns; d++) {
    below /= w->kernel[d] ? w->kernel[d] : 1;
    if (d) cg_str_addf(o, "%*sconst int64_t tap%d = %s / %lld %% %lld;\n", indent, "", d, tap, (long long)below, (long long)w->kernel[d]);
    else cg_str_addf(o, "%*sconst int64_t tap%d = %s / %lld;\n", indent, "", d, tap, (long long)below);
  }
}

// The loops over positions u in [from, to) of one run of output pixels along the last dimension, whose first pixel is at `first`, that lie
// inside the input under this tap: `body` with `u` and the input position in `in` (C texts); the others get `outside`.
static void emit_run(writer *w, cg_str *o, int indent, const char *first, const char *count, const char *inside_text, const char *outside) {
  int d = w->ns - 1;
  long long s = w->stride[d], p = w->pad[d], l = w->dilation[d];
  const char *in = w->in_text[d];
  if (!w->transposed) {
    cg_str_addf(o,
                "%*sconst int64_t start = %s * %lld - %lld + tap%d * %lld;\n"
                "%*sint64_t lo = start < 0 ? (-start + %lld) / %lld : 0, hi = start < %s ? (%s - start + %lld) / %lld : 0;\n"
                "%*sif (hi > %s) hi = %s;\n"
                "%*sif (lo > hi) lo = hi;\n",
                indent, "", first, s, p, d, l, indent, "", s - 1, s, in, in, s - 1, s, indent, "", count, count, indent, "");
    if (outside) cg_str_addf(o, "%*sfor (int64_t u = 0; u < lo; u++) %s;\n", indent, "", outside);
    cg_str_addf(o, "%*s#pragma omp simd\n%*sfor (int64_t u = lo; u < hi; u++) {\n%*s  const int64_t at = start + u * %lld;\n%*s  %s;\n%*s}\n", indent, "", indent, "", indent, "", s, indent, "",
                inside_text, indent, "");
    if (outside) cg_str_addf(o, "%*sfor (int64_t u = hi; u < %s; u++) %s;\n", indent, "", count, outside);
    return;
  }
  cg_str_addf(o,
              "%*sfor (int64_t u = 0; u < %s; u++) {\n"
              "%*s  const int64_t up = %s + u + %lld - tap%d * %lld, at = up / %lld;\n"
              "%*s  if (up >= 0 && up %% %lld == 0 && at < %s) %s;\n",
              indent, "", count, indent, "", first, p, d, l, s, indent, "", s, in, inside_text);
  if (outside) cg_str_addf(o, "%*s  else %s;\n", indent, "", outside);
  cg_str_addf(o, "%*s}\n", indent, "");
}

// Offset of (outer input position, last = 0) inside one channel of the input.
static const char *row_text(writer *w) {
  const char *t = "0";
  for (int d = 0; d < w->ns - 1; d++) t = d ? cg_format(w->s, "(%s) * %s + y%d", t, w->in_text[d], d) : "y0";
  return w->ns > 1 ? cg_format(w->s, "(%s) * %s", t, w->in_text[w->ns - 1]) : "0";
}

static const char *product_text(writer *w, const char *const *dim, int n) {
  const char *t = "1";
  for (int i = 0; i < n; i++) t = i ? cg_format(w->s, "%s * %s", t, dim[i]) : dim[i];
  return t;
}

static void store(writer *w, cg_str *o, int indent, const char *acc) {
  const char *channel = w->index[w->batched];
  cg_str_addf(o, "%*sconst %s acc = %s", indent, "", w->tile.ctype, acc);
  if (w->has_bias) cg_str_addf(o, " + %s", cg_kernel_load(w->k, w->bias.dtype, w->bias.name, channel));
  cg_str_add(o, ";\n");
  cg_kernel_store(w->k, o, indent, 0, "acc", w->index);
}

// ---------------------------------------------------------------- depthwise: a few results for each input channel

static void emit_depthwise(writer *w, cg_str *o, const char *weight) {
  const char *T = w->tile.ctype, *last = w->out_text[w->ns - 1];
  int first = w->batched + 1;
  enum { RUN = 256 };
  cg_str_addf(o, "  const int64_t lines = %s, runs = (%s + %d) / %d;\n", product_text(w, w->out_text, w->ns - 1), last, RUN - 1, RUN);
  cg_tile_units(o, cg_format(w->s, "%s * %lld * lines * runs", w->batched ? cg_kernel_size(w->k, w->batch) : "1", (long long)(w->oc * w->groups)),
                cg_format(w->s, "units * %s * %lld", last, (long long)w->taps), cg_format(w->s, "    %s sum[%d] __attribute__((aligned(64)));\n", T, RUN));
  cg_str_addf(o, "      const int64_t run = unit %% runs * %d, count = %s - run < %d ? %s - run : %d, line = unit / runs %% lines, plane = unit / runs / lines;\n", RUN, last, RUN, last, RUN);
  cg_str_addf(o, "      const int64_t %s = plane %% %lld;\n      (void)line;\n", w->index[w->batched], (long long)(w->oc * w->groups));
  if (w->batched) cg_str_addf(o, "      const int64_t i0 = plane / %lld;\n", (long long)(w->oc * w->groups));
  const char *rest = "line";
  for (int d = w->ns - 2; d >= 0; d--) {
    cg_str_addf(o, "      const int64_t %s = %s %% %s;\n", w->index[first + d], rest, w->out_text[d]);
    rest = cg_format(w->s, "(%s / %s)", rest, w->out_text[d]);
  }
  cg_str_addf(o, "      const %s *x = %s + (%s%s / %lld) * (%s);\n", cg_kernel_ctype(w->x.dtype), w->x.name,
              w->batched ? cg_format(w->s, "i0 * %lld + ", (long long)(w->groups * w->ic)) : "", w->index[w->batched], (long long)w->oc, product_text(w, w->in_text, w->ns));
  cg_str_addf(o, "      for (int64_t u = 0; u < count; u++) sum[u] = 0;\n      for (int64_t tap = 0; tap < %lld; tap++) {\n        int inside = 1;\n", (long long)w->taps);
  emit_taps(w, o, 8, "tap");
  for (int d = 0; d < w->ns - 1; d++) emit_outer_tap(w, o, 8, d, w->index[first + d], cg_format(w->s, "tap%d", d));
  cg_str_addf(o, "        if (!inside) continue;\n        const %s f = %s[%s * %lld + tap];\n        const %s *row = x + %s;\n", T, weight, w->index[w->batched], (long long)w->taps,
              cg_kernel_ctype(w->x.dtype), row_text(w));
  emit_run(w, o, 8, "run", "count", cg_format(w->s, "sum[u] += f * %s", cg_kernel_load(w->k, w->x.dtype, "row", "at")), NULL);
  cg_str_addf(o, "      }\n      #pragma omp simd\n      for (int64_t u = 0; u < count; u++) {\n        const int64_t %s = run + u;\n", w->index[first + w->ns - 1]);
  store(w, o, 8, "sum[u]");
  cg_str_add(o, "      }\n");
  cg_tile_units_end(o);
}

// ---------------------------------------------------------------- the general case

// Runs of pixels of this panel that lie in one line of the result: their first column, length and position.
static void emit_runs(writer *w, cg_str *o) {
  int last = w->ns - 1;
  cg_str_add(o, "      int runs = 0;\n      for (int64_t j = 0; j < width;) {\n        const int64_t pixel = n0 + j;\n");
  const char *rest = "pixel";
  for (int d = last; d >= 0; d--) {
    cg_str_addf(o, d ? "        run_at[runs][%d] = %s %% %s;\n" : "        run_at[runs][%d] = %s;\n", d, rest, w->out_text[d]);
    rest = cg_format(w->s, "%s / %s", rest, w->out_text[d]);
  }
  cg_str_addf(o,
              "        const int64_t line = %s - run_at[runs][%d], n = line < width - j ? line : width - j;\n"
              "        run_from[runs] = j, run_size[runs] = n, runs++, j += n;\n"
              "      }\n",
              w->out_text[last], last);
}

static void emit_general(writer *w, cg_str *o, const char *weight) {
  const char *T = w->tile.ctype;
  int first = w->batched + 1, last = w->ns - 1;
  int64_t kc = w->tile.kc, mc = 512, pixels = 1, batch = w->batched ? cg_x_hint(w->batch) : 1;
  for (int d = 0; d < w->ns; d++) pixels *= cg_x_hint(w->out[d]);
  int64_t panels = (pixels + w->tile.nr - 1) / w->tile.nr * w->groups * (batch > 0 ? batch : 1);
  while (mc > 4 * w->tile.mr && (w->oc + mc - 1) / mc * panels < 16) mc /= 2; // enough units to share
  cg_str_addf(o, "  const int64_t pixels = %s, panels = (pixels + NR - 1) / NR, blocks = %lld;\n", product_text(w, w->out_text, w->ns), (long long)((w->oc + mc - 1) / mc));
  cg_str_addf(o, "  const int64_t steps = %lld; // the depth in pieces for the cache\n", (long long)(w->ic * w->taps > kc ? (w->ic * w->taps + kc - 1) / kc : 1));
  cg_tile_units(o, cg_format(w->s, "%s * %lld * blocks * panels", w->batched ? cg_kernel_size(w->k, w->batch) : "1", (long long)w->groups),
                cg_format(w->s, "units * NR * %lld * DEPTH", (long long)(w->oc < mc ? w->oc : mc)),
                cg_format(w->s,
                          "    %s c[%lld * NR] __attribute__((aligned(64))); // (rows of a block, NR)\n"
                          "    %s b[%lld * NR] __attribute__((aligned(64))); // (part of the depth, NR)\n"
                          "    int64_t run_from[NR], run_size[NR], run_at[NR][%d];\n",
                          T, (long long)(w->oc < mc ? w->oc : mc), T, (long long)(w->ic * w->taps < kc ? (w->ic * w->taps > 0 ? w->ic * w->taps : 1) : kc), w->ns));
  cg_str_addf(o,
              "      const int64_t z = unit / (blocks * panels), block = unit / panels %% blocks, panel = unit %% panels;\n"
              "      const int64_t sample = z / %lld, group = z %% %lld;\n"
              "      const int64_t m0 = block * %lld / blocks, height = (block + 1) * %lld / blocks - m0;\n"
              "      const int64_t n0 = panel * NR, width = pixels - n0 < NR ? pixels - n0 : NR;\n"
              "      const int narrow = width <= NR / 2;\n"
              "      const int64_t ldb = narrow ? NR / 2 : NR, plane = %s;\n"
              "      const %s *x = %s + (sample * %lld + group) * %lld * plane;\n"
              "      const %s *a = %s + (group * %lld + m0) * DEPTH;\n",
              (long long)w->groups, (long long)w->groups, (long long)w->oc, (long long)w->oc, product_text(w, w->in_text, w->ns), cg_kernel_ctype(w->x.dtype), w->x.name,
              (long long)w->groups, (long long)w->ic, T, weight, (long long)w->oc);
  emit_runs(w, o);
  cg_str_addf(o,
              "      for (int64_t step = 0; step < steps; step++) {\n"
              "        const int64_t k0 = step * DEPTH / steps, k1 = (step + 1) * DEPTH / steps;\n"
              "        for (int64_t k = k0; k < k1; k++) {\n"
              "          const int64_t channel = k / %lld, tap = k %% %lld;\n"
              "          %s *to = b + (k - k0) * ldb;\n"
              "          (void)tap;\n",
              (long long)w->taps, (long long)w->taps, T);
  emit_taps(w, o, 10, "tap");
  cg_str_add(o, "          for (int r = 0; r < runs; r++) {\n"
                "            int inside = 1;\n");
  for (int d = 0; d < last; d++) emit_outer_tap(w, o, 12, d, cg_format(w->s, "run_at[r][%d]", d), cg_format(w->s, "tap%d", d));
  cg_str_addf(o,
              "            %s *at_run = to + run_from[r];\n"
              "            const int64_t count = run_size[r];\n"
              "            if (!inside) {\n"
              "              for (int64_t u = 0; u < count; u++) at_run[u] = 0;\n"
              "              continue;\n"
              "            }\n"
              "            const %s *row = x + channel * plane + %s;\n",
              T, cg_kernel_ctype(w->x.dtype), row_text(w));
  emit_run(w, o, 12, cg_format(w->s, "run_at[r][%d]", last), "count", cg_format(w->s, "at_run[u] = %s", cg_kernel_load(w->k, w->x.dtype, "row", "at")), "at_run[u] = 0");
  cg_str_addf(o,
              "          }\n"
              "          for (int64_t j = width; j < ldb; j++) to[j] = 0;\n"
              "        }\n"
              "        block_%s(height, narrow, k1 - k0, a + k0, DEPTH, b, ldb, c, NR, step > 0);\n"
              "      }\n"
              "      for (int64_t i = 0; i < height; i++) {\n"
              "        const int64_t %s = group * %lld + m0 + i;\n",
              w->tile.name, w->index[w->batched], (long long)w->oc);
  if (w->batched) cg_str_add(o, "        const int64_t i0 = sample;\n");
  cg_str_add(o, "        for (int r = 0; r < runs; r++) {\n");
  for (int d = 0; d < last; d++) cg_str_addf(o, "          const int64_t %s = run_at[r][%d];\n", w->index[first + d], d);
  cg_str_addf(o,
              "          const %s *line = c + i * NR + run_from[r];\n"
              "          const int64_t count = run_size[r], start = run_at[r][%d];\n"
              "          #pragma omp simd\n"
              "          for (int64_t u = 0; u < count; u++) {\n"
              "            const int64_t %s = start + u;\n",
              T, last, w->index[first + last]);
  store(w, o, 12, "line[u]");
  cg_str_add(o, "          }\n        }\n      }\n");
  cg_tile_units_end(o);
}

static void emit(cg_kernel *k, const cg_node *n) {
  writer w = {.k = k, .s = cg_kernel_session(k), .m = cg_kernel_module(k), .n = n};
  read_node(n, &w);
  w.tile = cg_tile_get(k, n->result[0]->type.dtype);
  w.x = cg_kernel_read(k, cg_arg_tensor(cg_node_arg(n, "input")));
  w.w = cg_kernel_peek(k, cg_arg_tensor(cg_node_arg(n, "weight")));
  cg_value *bias = cg_arg_tensor(cg_node_arg(n, "bias"));
  w.has_bias = bias != NULL;
  if (bias) w.bias = cg_kernel_read(k, bias);
  for (int d = 0; d < w.ns; d++) w.in_text[d] = cg_kernel_size(k, w.in[d]), w.out_text[d] = cg_kernel_size(k, w.out[d]);
  for (int d = 0; d < w.ns + 1 + w.batched; d++) w.index[d] = cg_format(w.s, "i%d", d);
  const cg_type *t = &n->result[0]->type;
  for (int d = 0; d < t->rank; d++)
    if (cg_x_is(t->dim[d], 0)) return; // nothing to compute
  cg_str *o = cg_kernel_body(k);
  cg_str_addf(o, "  enum { NR = %d, DEPTH = %lld };\n", w.tile.nr, (long long)(w.ic * w.taps));
  const char *weight = weight_rows(&w, o);
  if (w.ic == 1 && w.oc <= 4 && w.groups > 1 && !w.transposed) emit_depthwise(&w, o, weight);
  else emit_general(&w, o, weight);
}

const cg_kernel_template cg_kernel_convolution = {"conv", claim, false, true, emit};
