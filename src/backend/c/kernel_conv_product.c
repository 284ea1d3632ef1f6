// Convolutions as products:
//   result[pixel, oc] = sum over taps of (the input's channels under the tap)[pixel, ic] * weight[tap][ic, oc]
// The input is read where it is (implicit GEMM): its channels lie innermost in memory, and the tile gets, for each tap, a pointer for
// each pixel (Dukhan, "The Indirect Convolution Algorithm", 2019), to zeros where the tap is outside. An input that lies otherwise
// is first copied so, with its padding around it. Or a unit first gathers what its pixels read, one row each (im2col), where the channels
// under a tap are so few that following pointers costs more than that. The phases of a transposed convolution are convolutions with
// some of its taps each.
#include <string.h>

#include "backend/c/kernel_conv.h"

enum { CHUNK = 64, FEW_CHANNELS = 8, SHARE = 768 << 10, LEAST_UNITS = 8, COLUMNS_ROOM = 256 << 10 };

typedef struct {
  cg_conv *w;
  cg_conv_phases p;
  bool in_place, padded;          // padded: taps may be outside of what is read
  int64_t merged;                 // neighbouring taps of a line that lie one behind the other are one run of the depth: how many
  int pixels;                     // of a unit, at most
  bool columns;                   // a unit gathers its operand first
  bool trimmed;                   // a unit leaves out taps at both ends that are outside of the input for all its pixels
  int64_t run, most;              // length of a run in elements; most runs of a phase
  int64_t low[CG_CONV_SPATIAL];   // a copy has so much padding in front, in each dimension
  const char *x, *sample, *along[CG_CONV_SPATIAL]; // what is read, and its strides, C texts
} product;

static const char *number(product *q, int64_t v) { return cg_format(q->w->s, "%lld", (long long)v); }

// ---------------------------------------------------------------- a unit's pixels and taps

// How many taps along the first dimension some of n pixels see: a kernel that is longer than its input hangs out of it everywhere.
static int64_t seen(const product *q, int64_t n) {
  const cg_conv *w = q->w;
  int64_t line = 1, in = cg_x_hint(w->in[0]);
  for (int d = 1; d < w->ns; d++) line *= cg_x_hint(w->out[d]);
  if (w->transposed || !w->pad[0] || in < 1 || line < 1 || (w->ns == 1 && q->merged > 1)) return w->kernel[0];
  int64_t reach = in - 1 + (n - 1) / line * w->stride[0], taps = reach / w->dilation[0] + 1;
  return taps < w->kernel[0] ? taps : w->kernel[0];
}

static void choose_pixels(product *q) {
  static const char *const blocks[] = {"blocks of 96 pixels", "blocks of 48 pixels", "blocks of 192 pixels", "blocks of 24 pixels"};
  static const int sizes[] = {96, 48, 192, 24}, set_up = 4; // what starting a block costs, in pixels
  int64_t all = 1, least = INT64_MAX;
  int best = 0;
  for (int d = 0; d < q->w->ns; d++) all *= cg_x_hint(q->w->out[d]);
  for (int i = 0; i < 4 && seen(q, 24) < q->w->kernel[0]; i++) {
    int64_t n = all < sizes[i] ? all : sizes[i], time = seen(q, n) * (n + set_up) * 1000 / (n > 0 ? n : 1);
    if (time < least) best = i, least = time;
  }
  q->pixels = sizes[cg_kernel_choose(q->w->k, "blocks", 4, blocks, best)];
  q->trimmed = seen(q, q->pixels) < q->w->kernel[0];
}

// ---------------------------------------------------------------- the input

static void choose(product *q) {
  cg_conv *w = q->w;
  int last = w->ns - 1;
  int64_t channels = w->ic * w->groups;
  bool innermost = cg_x_is(w->x.stride[w->batched], 1) || channels == 1;
  q->in_place = w->x.dtype == w->tile.dtype && innermost && (channels >= FEW_CHANNELS || w->taps == 1);
  for (int64_t t = 0; t < w->taps; t++)
    for (int d = 0; d < w->ns; d++)
      if (-q->p.offset[t][d] > q->low[d]) q->low[d] = -q->p.offset[t][d];
  bool beyond = w->transposed; // an ordinary convolution without padding reads nothing outside
  for (int d = 0; d < w->ns; d++) beyond |= w->pad[d] > 0;
  q->padded = q->in_place && beyond;
  bool dense = q->in_place ? cg_x_is(w->x.stride[w->batched + 1 + last], channels) && !q->padded : true;
  q->merged = dense && w->groups == 1 && w->dilation[last] == 1 && !w->transposed ? w->kernel[last] : 1;
  q->run = q->merged * w->ic;
  for (int64_t f = 0; f < q->p.count; f++)
    if (q->p.phase[f].taps / q->merged > q->most) q->most = q->p.phase[f].taps / q->merged;
}

// The last position that is read in dimension d, from the first element on: at least the last one that there is.
static const cg_expr *extent(product *q, int d) {
  cg_conv *w = q->w;
  cg_expr_pool *x = &w->m->exprs;
  int64_t most = 0;
  for (int64_t t = 0; t < w->taps; t++)
    if (q->p.offset[t][d] > most) most = q->p.offset[t][d];
  const cg_expr *count = cg_x_floordiv(x, cg_x_add(x, w->out[d], cg_x_int(x, q->p.out_step[d] - 1)), cg_x_int(x, q->p.out_step[d]));
  const cg_expr *end = cg_x_add(x, cg_x_mul(x, cg_x_add(x, count, cg_x_int(x, -1)), cg_x_int(x, q->p.step[d])), cg_x_int(x, most + 1));
  return cg_x_add(x, cg_x_int(x, q->low[d]), cg_x_op(x, CG_X_MAX, 2, (const cg_expr *[]){w->in[d], end}));
}

// The input with its channels innermost and zeros around: (sample, positions…, channels).
static void emit_copy(product *q, cg_str *o) {
  cg_conv *w = q->w;
  cg_expr_pool *x = &w->m->exprs;
  int last = w->ns - 1;
  long long channels = w->ic * w->groups;
  const cg_expr *size[CG_CONV_SPATIAL], *all = cg_x_int(x, channels);
  const char *text[CG_CONV_SPATIAL], *y[CG_CONV_SPATIAL];
  for (int d = last; d >= 0; d--) {
    size[d] = extent(q, d), text[d] = cg_kernel_size(w->k, size[d]);
    q->along[d] = cg_kernel_size(w->k, all);
    all = cg_x_mul(x, all, size[d]);
    y[d] = cg_format(w->s, "y%d", d);
  }
  q->sample = cg_kernel_size(w->k, all);
  if (w->batched) all = cg_x_mul(x, all, w->batch);
  q->x = cg_kernel_scratch(w->k, w->tile.dtype, all);
  const char *lines = cg_conv_product(w, text, last), *T = w->tile.ctype;
  cg_str_addf(o,
              "  // The input with its channels innermost, and its padding\n"
              "  const int64_t lines = %s%s;\n"
              "  #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && lines * %s * %lld > 50000)\n"
              "  for (int64_t line = 0; line < lines; line++) {\n"
              "    %s *to = %s + line * %s * %lld;\n"
              "    int inside = 1;\n"
              "    int64_t from = %s;\n",
              w->batched ? cg_format(w->s, "%s * ", cg_kernel_size(w->k, w->batch)) : "", lines, text[last], channels, T, q->x, text[last], channels, cg_kernel_size(w->k, w->x.offset));
  if (w->batched) cg_str_addf(o, "    from += line / (%s) * (%s);\n", lines, cg_conv_sample_stride(w));
  if (last) cg_str_addf(o, "    const int64_t rest = line %% (%s);\n", lines), cg_conv_split(w, o, 4, "rest", y, text, last);
  for (int d = 0; d < last; d++)
    cg_str_addf(o, "    inside = inside && y%d >= %lld && y%d - %lld < %s;\n    from += (y%d - %lld) * (%s);\n", d, (long long)q->low[d], d, (long long)q->low[d], w->in_text[d], d,
                (long long)q->low[d], cg_conv_stride(w, d));
  cg_str_addf(o,
              "    if (!inside) {\n"
              "      __builtin_memset(to, 0, %s * %lld * sizeof *to);\n"
              "      continue;\n"
              "    }\n",
              text[last], channels);
  if (q->low[last]) cg_str_addf(o, "    __builtin_memset(to, 0, %lld * sizeof *to);\n", (long long)q->low[last] * channels);
  cg_str_addf(o, "    to += %lld;\n", (long long)q->low[last] * channels);
  const char *sx = cg_conv_stride(w, last), *sc = cg_conv_channel_stride(w);
  if (channels <= FEW_CHANNELS && !cg_x_is(w->x.stride[w->batched], 1)) {
    cg_str_addf(o, "    for (int64_t u = 0; u < %s; u++) {\n", w->in_text[last]);
    for (int64_t c = 0; c < channels; c++)
      cg_str_addf(o, "      to[u * %lld + %lld] = %s;\n", channels, (long long)c, cg_kernel_load(w->k, w->x.dtype, w->x.name, cg_format(w->s, "from + u * (%s) + %lld * (%s)", sx, (long long)c, sc)));
    cg_str_add(o, "    }\n");
  } else
    cg_str_addf(o, "    %s(%s, %lld, %s + from, %s, %s, to, %lld);\n", cg_tile_copy(w->k, w->x.dtype), w->in_text[last], channels, w->x.name, sx, sc, channels);
  cg_str_addf(o, "    __builtin_memset(to + %s * %lld, 0, (%s - %lld - %s) * %lld * sizeof *to);\n  }\n", w->in_text[last], channels, text[last], (long long)q->low[last], w->in_text[last], channels);
}

static void emit_source(product *q, cg_str *o) {
  cg_conv *w = q->w;
  if (!q->in_place) {
    emit_copy(q, o);
    return;
  }
  q->x = cg_format(w->s, "(%s + %s)", w->x.name, cg_kernel_size(w->k, w->x.offset));
  q->sample = cg_conv_sample_stride(w);
  for (int d = 0; d < w->ns; d++) q->along[d] = cg_conv_stride(w, d);
}

// ---------------------------------------------------------------- tables

static void emit_tables(product *q, cg_str *o) {
  cg_conv *w = q->w;
  int64_t panels = 0;
  cg_str_addf(o, "  static const int32_t offset[][%d] = {", w->ns);
  for (int64_t t = 0; t < w->taps; t += q->merged) {
    cg_str_add(o, t ? ", {" : "{");
    for (int d = 0; d < w->ns; d++) cg_str_addf(o, "%s%lld", d ? ", " : "", (long long)q->p.offset[t][d]);
    cg_str_addc(o, '}');
  }
  cg_str_addf(o, "}; // of each tap%s\n", q->merged > 1 ? " that begins a line" : "");
  if (q->p.count > 1) {
    cg_str_add(o, "  static const int32_t phase_start[][3] = {");
    for (int64_t f = 0; f < q->p.count; f++)
      cg_str_addf(o, "%s{%lld, %lld, %lld}", f ? ", " : "", (long long)q->p.phase[f].start[0], (long long)q->p.phase[f].start[1], (long long)q->p.phase[f].start[2]);
    cg_str_add(o, "};\n  static const int64_t phase_tap[] = {");
    for (int64_t f = 0; f <= q->p.count; f++) cg_str_addf(o, "%s%lld", f ? ", " : "", (long long)(f < q->p.count ? q->p.phase[f].first : w->taps));
    cg_str_add(o, "}, phase_weight[] = {");
    for (int64_t f = 0; f < q->p.count; f++) {
      cg_str_addf(o, "%s%lld", f ? ", " : "", (long long)panels);
      panels += cg_tile_packed(&w->tile, q->p.phase[f].taps * w->ic, w->oc);
    }
    cg_str_add(o, "};\n");
  }
  cg_str_addf(o, "  int64_t delta[%lld];\n  for (int t = 0; t < %lld; t++) delta[t] = ", (long long)(w->taps / q->merged), (long long)(w->taps / q->merged));
  for (int d = 0; d < w->ns; d++)
    cg_str_addf(o, "%s(offset[t][%d]%s) * (int64_t)(%s)", d ? " + " : "", d, q->in_place ? "" : cg_format(w->s, " + %lld", (long long)q->low[d]), q->along[d]);
  cg_str_add(o, ";\n");
  if (q->padded) cg_str_addf(o, "  static const %s zeros[%lld];\n", w->tile.ctype, (long long)q->run);
}

// ---------------------------------------------------------------- a unit: some pixels, some panels of the weight

// Where the block's pixels are: of the result in at<d>, of the input in from<d> and base.
static void emit_positions(product *q, cg_str *o) {
  cg_conv *w = q->w;
  const char *j[CG_CONV_SPATIAL], *n[CG_CONV_SPATIAL];
  for (int d = 0; d < w->ns; d++) j[d] = cg_format(w->s, "j%d", d), n[d] = cg_format(w->s, "n%d", d);
  cg_str_add(o, "      {\n");
  const char *start[CG_CONV_SPATIAL];
  for (int d = 0; d < w->ns; d++) start[d] = cg_format(w->s, "first%d", d);
  cg_conv_split(w, o, 8, "p0", start, n, w->ns);
  for (int d = 0; d < w->ns; d++) cg_str_addf(o, "        int64_t j%d = first%d;\n", d, d);
  cg_str_add(o, "        for (int64_t i = 0; i < count; i++) {\n");
  for (int d = 0; d < w->ns; d++) {
    cg_str_addf(o, "          at%d[i] = %s;\n", d, q->p.count > 1 ? cg_format(w->s, "phase_start[phase][%d] + j%d * %lld", d, d, (long long)q->p.out_step[d]) : j[d]);
    if (q->padded) cg_str_addf(o, "          from%d[i] = j%d * %lld;\n", d, d, (long long)q->p.step[d]);
  }
  cg_str_add(o, "          base[i] = ");
  for (int d = 0; d < w->ns; d++) cg_str_addf(o, "%sj%d * %lld * (%s)", d ? " + " : "", d, (long long)q->p.step[d], q->along[d]);
  cg_str_add(o, ";\n          ");
  for (int d = w->ns - 1; d > 0; d--) cg_str_addf(o, "if (++j%d == n%d) { j%d = 0; ", d, d, d);
  cg_str_add(o, "j0++;");
  for (int d = 1; d < w->ns; d++) cg_str_add(o, " }");
  cg_str_add(o, "\n        }\n      }\n");
}

// One pointer for each tap of t0 … t1-1 and pixel.
static void emit_pointers(product *q, cg_str *o, int indent) {
  cg_conv *w = q->w;
  const char *first = q->p.count > 1 ? "phase_tap[phase] + " : "";
  cg_str_addf(o, "%*sfor (int64_t t = t0; t < t1; t++) {\n%*s  const %s **to = px + (t - t0) * %d;\n%*s  const int64_t d = delta[%st];\n", indent, "", indent, "", w->tile.ctype, q->pixels, indent, "", first);
  if (q->padded)
    for (int d = 0; d < w->ns; d++) cg_str_addf(o, "%*s  const int64_t o%d = offset[%st][%d];\n", indent, "", d, first, d);
  cg_str_addf(o, "%*s  for (int64_t i = 0; i < count; i++) to[i] = ", indent, "");
  if (q->padded) {
    for (int d = 0; d < w->ns; d++) cg_str_addf(o, "%s((uint64_t)(from%d[i] + o%d) < (uint64_t)%s)", d ? " & " : "", d, d, w->in_text[d]);
    cg_str_add(o, " ? x + base[i] + d : zeros;\n");
  } else cg_str_add(o, "x + base[i] + d;\n");
  cg_str_addf(o, "%*s}\n", indent, "");
}

// The taps t_lo … t_hi-1 of all are those that any of the unit's pixels sees: by the first dimension, along which pixels and taps are in order.
static void emit_trim(product *q, cg_str *o) {
  cg_conv *w = q->w;
  const char *line = "1";
  for (int d = 1; d < w->ns; d++) line = cg_format(w->s, "%s * n%d", line, d);
  cg_str_add(o, "      int64_t t_lo = 0, t_hi = taps;\n");
  if (!q->trimmed) return;
  cg_str_addf(o,
              "      const int64_t above = p0 / (%s) * %lld, below = (p0 + count - 1) / (%s) * %lld;\n"
              "      while (t_lo < t_hi && below + offset[t_lo][0] < 0) t_lo++;\n"
              "      while (t_hi > t_lo && above + offset[t_hi - 1][0] >= %s) t_hi--;\n",
              line, (long long)q->p.step[0], line, (long long)q->p.step[0], w->in_text[0]);
}

// What the pixels read, one row each.
static void emit_columns(product *q, cg_str *o) {
  cg_str_addf(o,
              "      for (int64_t i = 0; i < count; i++)\n"
              "        for (int64_t t = 0; t < %lld; t++) __builtin_memcpy(columns + i * %lld + t * %lld, px[t * %d + i], %lld * sizeof *columns);\n",
              (long long)q->most, (long long)(q->most * q->run), (long long)q->run, q->pixels, (long long)q->run);
}

// The panel's results, channels innermost: rows of vectors.
static void emit_rows(product *q, cg_str *o, int indent, const char *width) {
  cg_conv *w = q->w;
  cg_str_addf(o, "%*sfor (int64_t i = 0; i < count; i++) {\n", indent, "");
  for (int d = 0; d < w->ns; d++) cg_str_addf(o, "%*s  const int64_t %s = at%d[i];\n", indent, "", w->index[w->batched + 1 + d], d);
  cg_str_addf(o, "%*s  #pragma omp simd\n%*s  for (int64_t j = 0; j < %s; j++) {\n%*s    const int64_t %s = c0 + j;\n", indent, "", indent, "", width, indent, "", w->index[w->batched]);
  cg_conv_store(w, o, indent + 4, "c[i * NR + j]");
  cg_str_addf(o, "%*s  }\n%*s}\n", indent, "", indent, "");
}

// The same with the pixels innermost: runs of pixels in one line of the result.
static void emit_planes(product *q, cg_str *o, int indent) {
  cg_conv *w = q->w;
  int last = w->ns - 1;
  cg_str_addf(o, "%*s%s(width, count, c, 1, NR, ct, %d);\n", indent, "", cg_tile_copy(w->k, w->tile.dtype), q->pixels);
  cg_str_addf(o, "%*sfor (int64_t j = 0; j < width; j++) {\n%*s  const int64_t %s = c0 + j;\n%*s  for (int64_t i = 0, n; i < count; i += n) {\n", indent, "", indent, "", w->index[w->batched], indent, "");
  for (int d = 0; d < last; d++) cg_str_addf(o, "%*s    const int64_t %s = at%d[i];\n", indent, "", w->index[w->batched + 1 + d], d);
  cg_str_addf(o, "%*s    const int64_t start = at%d[i], left = (%s - start + %lld) / %lld;\n%*s    n = left < count - i ? left : count - i;\n", indent, "", last, w->out_text[last],
              (long long)q->p.out_step[last] - 1, (long long)q->p.out_step[last], indent, "");
  cg_str_addf(o, "%*s    #pragma omp simd\n%*s    for (int64_t u = 0; u < n; u++) {\n%*s      const int64_t %s = start + u * %lld;\n", indent, "", indent, "", indent, "", w->index[w->batched + 1 + last],
              (long long)q->p.out_step[last]);
  cg_conv_store(w, o, indent + 6, cg_format(w->s, "ct[j * %d + i + u]", q->pixels));
  cg_str_addf(o, "%*s    }\n%*s  }\n%*s}\n", indent, "", indent, "", indent, "");
}

static void emit_panels(product *q, cg_str *o) {
  cg_conv *w = q->w;
  bool chunks = q->most > CHUNK;
  int nr = w->tile.nr;
  cg_stream stream = cg_tile_stream(w->k, &w->tile, w->oc, !q->columns);
  emit_trim(q, o);
  if (!chunks) {
    cg_str_add(o, "      const int64_t t0 = t_lo, t1 = t_hi;\n");
    emit_pointers(q, o, 6);
  }
  if (q->columns) emit_columns(q, o);
  cg_str_addf(o,
              "      for (int64_t panel = panels * part / parts; panel < panels * (part + 1) / parts; panel++) {\n"
              "        const int64_t first = panel * NR, width = %lld - first < NR ? %lld - first : NR, c0 = group * %lld + first;\n"
              "        const %s *b = weight + first * taps * %lld;\n",
              (long long)w->oc, (long long)w->oc, (long long)w->oc, cg_kernel_ctype(w->tile.kept), (long long)q->run);
  if (chunks) {
    cg_str_addf(o, "        for (int64_t t0 = t_lo, t1; t0 < t_hi || t0 == t_lo; t0 += %d) {\n          t1 = t_hi < t0 + %d ? t_hi : t0 + %d;\n", CHUNK, CHUNK, CHUNK);
    emit_pointers(q, o, 10);
    cg_str_addf(o, "          %s(count, t1 - t0, %lld, px, %d, 0, b + t0 * %lld * %s, c, NR, t0 > t_lo);\n        }\n", stream.call, (long long)q->run, q->pixels, (long long)q->run,
                stream.packed);
  } else if (q->columns) cg_str_addf(o, "        %s(count, %lld, columns, %lld, b, c, NR, 0);\n", stream.call, (long long)(q->most * q->run), (long long)(q->most * q->run));
  else cg_str_addf(o, "        %s(count, t1 - t0, %lld, px, %d, 0, b + t0 * %lld * %s, c, NR, 0);\n", stream.call, (long long)q->run, q->pixels, (long long)q->run, stream.packed);
  if (!w->to_last) emit_planes(q, o, 8);
  else if (w->oc % nr == 0) emit_rows(q, o, 8, "NR");
  else if (w->oc < nr) emit_rows(q, o, 8, number(q, w->oc));
  else {
    cg_str_add(o, "        if (width == NR) {\n");
    emit_rows(q, o, 10, "NR");
    cg_str_add(o, "        } else {\n");
    emit_rows(q, o, 10, number(q, w->oc % nr));
    cg_str_add(o, "        }\n");
  }
  cg_str_add(o, "      }\n");
}

// In how many parts the panels go: one part's weights stay in the second-level cache while all pixels pass, and there is work for threads.
static int64_t parts_of(product *q) {
  cg_conv *w = q->w;
  int64_t panels = (w->oc + w->tile.nr - 1) / w->tile.nr, bytes = w->oc * w->ic * w->taps / q->p.count * cg_dtypes[w->tile.kept].size;
  int64_t parts = (bytes + SHARE - 1) / SHARE, units = w->groups * q->p.count;
  int64_t pixels = 1;
  for (int d = 0; d < w->ns; d++) pixels *= cg_x_hint(w->out[d]);
  units *= (pixels / q->p.count + q->pixels - 1) / q->pixels * (w->batched ? cg_x_hint(w->batch) : 1);
  if (parts < 1) parts = 1;
  while (units > 0 && units * parts < LEAST_UNITS && parts < panels) parts *= 2;
  return parts < panels ? parts : panels;
}

static bool gathers(product *q) {
  static const char *const input[] = {"pointers to pixels", "im2col"};
  int64_t bytes = q->most * q->run * q->pixels * cg_dtypes[q->w->tile.dtype].size;
  if (q->p.count > 1 || q->trimmed || q->most < 2 || q->most > CHUNK || bytes > COLUMNS_ROOM) return false;
  return cg_kernel_choose(q->w->k, "input", 2, input, 0) == 1;
}

void cg_conv_product_kernel(cg_conv *w, cg_str *o) {
  product q = {.w = w, .p = cg_conv_phases_of(w)};
  const char *T = w->tile.ctype;
  bool phases = q.p.count > 1;
  choose(&q);
  choose_pixels(&q);
  q.columns = gathers(&q);
  if (!w->to_last) cg_tile_get(w->k, w->tile.dtype); // its copy function, which turns blocks
  const char *weight = cg_conv_pack(w, &q.p, o);
  int64_t parts = parts_of(&q), table = q.most < CHUNK ? q.most : CHUNK, each = 0;
  for (int64_t f = 0; f < q.p.count; f++) each += cg_tile_packed(&w->tile, q.p.phase[f].taps * w->ic, w->oc);
  cg_str_addf(o, "  enum { NR = %d };\n", w->tile.nr);
  emit_source(&q, o);
  emit_tables(&q, o);
  cg_str setup = cg_str_new(w->s);
  cg_str_addf(&setup, "    %s c[%d * NR] __attribute__((aligned(64))); // (pixels, NR)\n    const %s *px[%lld * %d];\n    int64_t base[%d]", T, q.pixels, T, (long long)(table ? table : 1), q.pixels, q.pixels);
  for (int d = 0; d < w->ns; d++) {
    cg_str_addf(&setup, ", at%d[%d]", d, q.pixels);
    if (q.padded) cg_str_addf(&setup, ", from%d[%d]", d, q.pixels);
  }
  cg_str_add(&setup, ";\n");
  if (q.columns) cg_str_addf(&setup, "    %s columns[%lld] __attribute__((aligned(64))); // (pixels, taps and channels)\n", T, (long long)(q.most * q.run * q.pixels));
  if (!w->to_last) cg_str_addf(&setup, "    %s ct[NR * %d] __attribute__((aligned(64))); // (NR, pixels)\n", T, q.pixels);
  cg_str_addf(o, "  const int64_t panels = %lld, parts = %lld;\n", (long long)((w->oc + w->tile.nr - 1) / w->tile.nr), (long long)parts);
  cg_str_addf(o, "  const int64_t most = %s", phases ? "1" : cg_conv_product(w, w->out_text, w->ns));
  for (int d = 0; phases && d < w->ns; d++) cg_str_addf(o, " * ((%s + %lld) / %lld)", w->out_text[d], (long long)q.p.out_step[d] - 1, (long long)q.p.out_step[d]);
  cg_str_addf(o, ", least = (most + %d) / %d; // pixels%s\n  const int64_t blocks = least + (least > 1 && least %% 2); // for two threads as for one\n", q.pixels - 1, q.pixels,
              phases ? " of a phase" : "");
  cg_tile_units(o, cg_format(w->s, "%s * %lld * parts * blocks", w->batched ? cg_kernel_size(w->k, w->batch) : "1", (long long)(w->groups * q.p.count)),
                cg_format(w->s, "units * %d * %lld", q.pixels, (long long)(w->oc * w->ic * w->taps / q.p.count / parts)), cg_str_text(&setup));
  cg_str_addf(o, "      const int64_t block = unit %% blocks, part = unit / blocks %% parts, z = unit / (blocks * parts);\n      const int64_t sample = z / %lld, group = z / %lld %% %lld;\n",
              (long long)(w->groups * q.p.count), (long long)q.p.count, (long long)w->groups);
  if (w->batched) cg_str_add(o, "      const int64_t i0 = sample;\n");
  if (phases) {
    cg_str_addf(o, "      const int64_t phase = z %% %lld, taps = phase_tap[phase + 1] - phase_tap[phase];\n", (long long)q.p.count);
    for (int d = 0; d < w->ns; d++)
      cg_str_addf(o, "      const int64_t n%d = (%s - phase_start[phase][%d] + %lld) / %lld;\n", d, w->out_text[d], d, (long long)q.p.out_step[d] - 1, (long long)q.p.out_step[d]);
  } else {
    cg_str_addf(o, "      const int64_t taps = %lld;\n", (long long)q.most);
    for (int d = 0; d < w->ns; d++) cg_str_addf(o, "      const int64_t n%d = %s;\n", d, w->out_text[d]);
  }
  cg_str_add(o, "      const int64_t pixels = ");
  for (int d = 0; d < w->ns; d++) cg_str_addf(o, "%sn%d", d ? " * " : "", d);
  cg_str_addf(o,
              ", p0 = block * pixels / blocks, count = (block + 1) * pixels / blocks - p0;\n"
              "      if (!count) continue;\n"
              "      const %s *x = %s + sample * (%s) + group * %lld;\n      const %s *weight = %s + group * %lld%s;\n",
              T, q.x, q.sample, (long long)w->ic, cg_kernel_ctype(w->tile.kept), weight, (long long)each, phases ? " + phase_weight[phase]" : "");
  emit_positions(&q, o);
  emit_panels(&q, o);
  cg_tile_units_end(o);
}
