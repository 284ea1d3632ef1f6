// Depthwise convolutions: every channel by itself. With the channels innermost in memory a vector is one pixel's channels, and a tile
// a few pixels of a line; in the model's order a vector is a run of pixels of one channel.
#include "backend/c/kernel_conv.h"

// ---------------------------------------------------------------- channels innermost

enum { PIXELS = 4, BESIDE = 4, BLOCK = 64, UNROLLED = 8 }; // pixels of a tile, vectors of a single pixel; pixels of a unit; taps of a line

static const char *fma_text(cg_conv *w, const char *acc, const char *a, const char *b) {
  const cg_vector *v = cg_tile_vector(&w->tile);
  if (v->fma) return cg_format(w->s, "%s = %s(%s, %s, %s)", acc, v->fma, a, b, acc);
  return cg_format(w->s, "%s = %s(%s, %s(%s, %s))", acc, v->add, acc, v->mul, a, b);
}

// PIXELS pixels by one vector of channels, all taps of the line inside the image.
static void emit_inside(cg_conv *w, cg_str *o) {
  const cg_vector *v = cg_tile_vector(&w->tile);
  const char *T = w->tile.ctype;
  int64_t kw = w->kernel[w->ns - 1], s = w->stride[w->ns - 1], l = w->dilation[w->ns - 1], channels = w->groups;
  cg_str_addf(o,
              "// sum[pixel][lane]: %d pixels of a line, one vector of channels; row: where each line of taps reads, pixels sx apart.\n"
              "static inline void %s_inside(int64_t lines, const %s *const *row, const %s *const *tap, int64_t x, int64_t c, int64_t sx, %s *sum) {\n  %s f",
              PIXELS, cg_kernel_name(w->k), T, T, T, v->type);
  for (int p = 0; p < PIXELS; p++) cg_str_addf(o, ", s%d = %s()", p, v->zero);
  cg_str_add(o, ";\n  for (int64_t y = 0; y < lines; y++) {\n");
  cg_str_addf(o, "    const %s *r = row[y] + x + c, *t = tap[y] + c;\n", T);
  bool unrolled = kw <= UNROLLED;
  if (!unrolled) cg_str_addf(o, "    for (int64_t k = 0; k < %lld; k++, r += %lld * sx, t += %lld) {\n", (long long)kw, (long long)l, (long long)channels);
  for (int64_t k = 0; k < (unrolled ? kw : 1); k++) {
    cg_str_addf(o, "    f = %s(t + %lld);\n", v->load, (long long)(k * channels));
    for (int p = 0; p < PIXELS; p++)
      cg_str_addf(o, "    %s;\n", fma_text(w, cg_format(w->s, "s%d", p), cg_format(w->s, "%s(r + %lld * sx)", v->load, (long long)(p * s + k * l)), "f"));
  }
  cg_str_addf(o, "%s  }\n", unrolled ? "" : "    }\n");
  for (int p = 0; p < PIXELS; p++) cg_str_addf(o, "  %s(sum + %d, s%d);\n", v->store, p * w->tile.lanes, p);
  cg_str_add(o, "}\n");
}

// One pixel by several vectors of channels, taps k0 … k1-1 of the line.
static void emit_pixel(cg_conv *w, cg_str *o, int vectors) {
  const cg_vector *v = cg_tile_vector(&w->tile);
  const char *T = w->tile.ctype;
  cg_str_addf(o, "static inline void %s_pixel%d(int64_t lines, const %s *const *row, const %s *const *tap, int64_t x, int64_t c, int64_t sx, int64_t k0, int64_t k1, %s *sum) {\n  %s",
              cg_kernel_name(w->k), vectors, T, T, T, v->type);
  for (int j = 0; j < vectors; j++) cg_str_addf(o, "%s s%d = %s()", j ? "," : "", j, v->zero);
  cg_str_addf(o, ";\n  for (int64_t y = 0; y < lines; y++)\n    for (int64_t k = k0; k < k1; k++) {\n      const %s *r = row[y] + x + k * %lld * sx + c, *t = tap[y] + k * %lld + c;\n", T,
              (long long)w->dilation[w->ns - 1], (long long)w->groups);
  for (int j = 0; j < vectors; j++) {
    const char *at = cg_format(w->s, "%d", j * w->tile.lanes);
    cg_str_addf(o, "      %s;\n", fma_text(w, cg_format(w->s, "s%d", j), cg_format(w->s, "%s(r + %s)", v->load, at), cg_format(w->s, "%s(t + %s)", v->load, at)));
  }
  cg_str_add(o, "    }\n");
  for (int j = 0; j < vectors; j++) cg_str_addf(o, "  %s(sum + %d, s%d);\n", v->store, j * w->tile.lanes, j);
  cg_str_add(o, "}\n");
}

static void emit_store(cg_conv *w, cg_str *o, int indent, int pixels, int lanes) {
  const char *line = w->index[w->batched + w->ns];
  if (pixels > 1) cg_str_addf(o, "%*sfor (int64_t p = 0; p < %d; p++) {\n%*s  const int64_t %s = at + p;\n", indent, "", pixels, indent, "", line);
  else cg_str_addf(o, "%*s{\n%*s  const int64_t %s = at;\n", indent, "", indent, "", line);
  cg_str_addf(o, "%*s  #pragma omp simd\n%*s  for (int64_t j = 0; j < %d; j++) {\n%*s    const int64_t %s = c + j;\n", indent, "", indent, "", lanes, indent, "", w->index[w->batched]);
  cg_conv_store(w, o, indent + 4, pixels > 1 ? cg_format(w->s, "sum[p * %d + j]", lanes) : "sum[j]");
  cg_str_addf(o, "%*s  }\n%*s}\n", indent, "", indent, "");
}

void cg_conv_depthwise_last(cg_conv *w, cg_str *o) {
  const char *T = w->tile.ctype, *name = cg_kernel_name(w->k), *weight = cg_conv_pack_depthwise(w, o);
  int last = w->ns - 1, lanes = w->tile.lanes, first = w->batched + 1;
  long long channels = w->groups, kw = w->kernel[last], s = w->stride[last], p = w->pad[last], l = w->dilation[last], lines = w->taps / kw;
  cg_str *before = cg_kernel_before(w->k);
  emit_inside(w, before);
  emit_pixel(w, before, BESIDE);
  emit_pixel(w, before, 1);
  const char *ow = w->out_text[last], *iw = w->in_text[last];
  cg_str_addf(o,
              "  const int64_t lines = %s, blocks = (%s + %d) / %d, sx = %s;\n"
              "  // In between, all taps of a line are inside.\n"
              "  const int64_t inside = %lld, end = %s + %lld < 0 ? 0 : (%s + %lld) / %lld + 1;\n",
              cg_conv_product(w, w->out_text, last), ow, BLOCK - 1, BLOCK, cg_conv_stride(w, last), (p + s - 1) / s, iw, p - (kw - 1) * l - 1, iw, p - (kw - 1) * l - 1, s);
  cg_tile_units(o, cg_format(w->s, "%s * lines * blocks", w->batched ? cg_kernel_size(w->k, w->batch) : "1"), cg_format(w->s, "units * %d * %lld", BLOCK, channels * w->taps),
                cg_format(w->s, "    %s sum[%d] __attribute__((aligned(64)));\n    const %s *row[%lld], *tap[%lld];\n", T, (PIXELS > BESIDE ? PIXELS : BESIDE) * lanes, T, lines, lines));
  cg_str_addf(o, "      const int64_t block = unit %% blocks, line = unit / blocks %% lines, sample = unit / (blocks * lines);\n      int64_t used = 0;\n      (void)line, (void)sample;\n");
  if (w->batched) cg_str_add(o, "      const int64_t i0 = sample;\n");
  if (last) cg_conv_split(w, o, 6, "line", w->index + first, w->out_text, last);
  cg_str_addf(o, "      for (int64_t t = 0; t < %lld; t++) {\n        int64_t at = %s + sample * (%s);\n", lines, cg_kernel_size(w->k, w->x.offset), cg_conv_sample_stride(w));
  int64_t below = lines;
  for (int d = 0; d < last; d++) {
    below /= w->kernel[d];
    cg_str_addf(o, "        const int64_t y%d = %s * %lld - %lld + t / %lld %% %lld * %lld;\n        if (y%d < 0 || y%d >= %s) continue;\n        at += y%d * (%s);\n", d, w->index[first + d],
                (long long)w->stride[d], (long long)w->pad[d], (long long)below, (long long)w->kernel[d], (long long)w->dilation[d], d, d, w->in_text[d], d, cg_conv_stride(w, d));
  }
  cg_str_addf(o, "        row[used] = %s + at, tap[used++] = %s + t * %lld;\n      }\n", w->x.name, weight, kw * channels);
  cg_str_addf(o,
              "      const int64_t to = (block + 1) * %d < %s ? (block + 1) * %d : %s;\n"
              "      for (int64_t at = block * %d; at < to;) {\n"
              "        const int64_t x = (at * %lld - %lld) * sx;\n"
              "        if (at >= inside && at + %d <= (end < to ? end : to)) {\n"
              "          for (int64_t c0 = 0; c0 < %lld; c0 += %d) {\n"
              "            const int64_t c = c0 + %d <= %lld ? c0 : %lld; // the last vector may overlap the one before it\n"
              "            %s_inside(used, row, tap, x, c, sx, sum);\n",
              BLOCK, ow, BLOCK, ow, BLOCK, s, p, PIXELS, channels, lanes, lanes, channels, channels - lanes, name);
  emit_store(w, o, 12, PIXELS, lanes);
  cg_str_addf(o,
              "          }\n"
              "          at += %d;\n"
              "          continue;\n"
              "        }\n"
              "        int64_t k0 = 0, k1 = %lld, c0 = 0;\n"
              "        while (k0 < k1 && at * %lld - %lld + k0 * %lld < 0) k0++;\n"
              "        while (k1 > k0 && at * %lld - %lld + (k1 - 1) * %lld >= %s) k1--;\n"
              "        for (; c0 + %d <= %lld; c0 += %d) {\n"
              "          const int64_t c = c0;\n"
              "          %s_pixel%d(used, row, tap, x, c, sx, k0, k1, sum);\n",
              PIXELS, kw, s, p, l, s, p, l, iw, BESIDE * lanes, channels, BESIDE * lanes, name, BESIDE);
  emit_store(w, o, 10, 1, BESIDE * lanes);
  cg_str_addf(o,
              "        }\n"
              "        for (; c0 < %lld; c0 += %d) {\n"
              "          const int64_t c = c0 + %d <= %lld ? c0 : %lld;\n"
              "          %s_pixel1(used, row, tap, x, c, sx, k0, k1, sum);\n",
              channels, lanes, lanes, channels, channels - lanes, name);
  emit_store(w, o, 10, 1, lanes);
  cg_str_add(o, "        }\n        at++;\n      }\n");
  cg_tile_units_end(o);
}

// ---------------------------------------------------------------- pixels innermost
// A unit is a block of lines of one channel's result. What its taps read is first gathered with zeros around; positions that one tap reads
// lie one behind the other there: those of a line by their residue modulo the stride.

enum { LINES = 8, LONGEST = 256, WIDE = 4, ROOM = 512 << 10 }; // lines and pixels of a unit, vectors of a tile, bytes of what is gathered

typedef struct {
  cg_conv *w;
  int64_t lines, run, planes, high, wide;          // of a unit; taps above one another in front of the last two dimensions, in them
  int64_t rows, width;                             // gathered: rows of a plane, elements of one residue of a row
  bool apart;                                      // one line only: rows of taps that lie dilation apart are neighbours
  int64_t stride, pad, dilation, down, above, gap; // along lines, and from line to line
} block;

static int64_t least(int64_t a, const cg_expr *b) { return cg_x_is_int(b) && b->value < a ? b->value > 0 ? b->value : 1 : a; }

// False: a unit would gather too much.
static bool plan(block *b, cg_conv *w, int64_t lines, int64_t run) {
  int last = w->ns - 1;
  *b = (block){.w = w, .planes = 1, .high = 1, .wide = w->kernel[last], .stride = w->stride[last], .pad = w->pad[last], .dilation = w->dilation[last], .down = 1, .gap = 1};
  for (int d = 0; d < last - 1; d++) b->planes *= w->kernel[d];
  if (last) b->high = w->kernel[last - 1], b->down = w->stride[last - 1], b->above = w->pad[last - 1], b->gap = w->dilation[last - 1];
  b->lines = last ? least(lines, w->out[last - 1]) : 1;
  b->run = (least(run, w->out[last]) + w->tile.lanes - 1) / w->tile.lanes * w->tile.lanes;
  b->apart = b->lines == 1;
  b->rows = b->apart ? b->high : (b->lines - 1) * b->down + (b->high - 1) * b->gap + 1;
  b->width = b->run + (b->wide - 1) * b->dilation / b->stride + 1 + WIDE * w->tile.lanes;
  return b->planes * b->rows * b->stride * b->width <= ROOM / cg_dtypes[w->tile.dtype].size;
}

static bool plan_any(block *b, cg_conv *w) { return plan(b, w, LINES, LONGEST) || plan(b, w, 1, LONGEST) || plan(b, w, 1, 1); }

bool cg_conv_depthwise_fits(cg_conv *w) {
  block b;
  return w->tile.lanes > 1 && plan_any(&b, w);
}

// `vectors` vectors of pixels of a line, all taps; at: where the first tap of the first pixel is.
static void emit_tile(block *b, cg_str *o, int vectors) {
  cg_conv *w = b->w;
  const cg_vector *v = cg_tile_vector(&w->tile);
  const char *T = w->tile.ctype;
  bool unrolled = b->wide <= UNROLLED;
  int64_t row = b->stride * b->width, each = b->apart ? 1 : b->gap;
  cg_str_addf(o, "static inline void %s_tile%d(const %s *at, const %s *f, %s *sum) {\n  %s ", cg_kernel_name(w->k), vectors, T, T, T, v->type);
  for (int j = 0; j < vectors; j++) cg_str_addf(o, "s%d = %s(), ", j, v->zero);
  cg_str_addf(o, "x;\n  for (int64_t z = 0; z < %lld; z++)\n    for (int64_t y = 0; y < %lld; y++, f += %lld) {\n      const %s *r = at + (z * %lld + y * %lld) * %lld;\n", (long long)b->planes,
              (long long)b->high, (long long)b->wide, T, (long long)b->rows, (long long)each, (long long)row);
  if (!unrolled)
    cg_str_addf(o, "      for (int64_t k = 0; k < %lld; k++) {\n        const %s *to = r + k * %lld %% %lld * %lld + k * %lld / %lld;\n        x = %s(f[k]);\n", (long long)b->wide, T,
                (long long)b->dilation, (long long)b->stride, (long long)b->width, (long long)b->dilation, (long long)b->stride, v->set);
  for (int64_t k = 0; k < (unrolled ? b->wide : 1); k++) {
    long long from = k * b->dilation % b->stride * b->width + k * b->dilation / b->stride;
    if (unrolled) cg_str_addf(o, "      x = %s(f[%lld]);\n", v->set, (long long)k);
    for (int j = 0; j < vectors; j++)
      cg_str_addf(o, "      %s%s;\n", unrolled ? "" : "  ",
                  fma_text(w, cg_format(w->s, "s%d", j), cg_format(w->s, "%s(%s + %lld)", v->load, unrolled ? "r" : "to", from + j * w->tile.lanes), "x"));
  }
  cg_str_addf(o, "%s    }\n", unrolled ? "" : "      }\n");
  for (int j = 0; j < vectors; j++) cg_str_addf(o, "  %s(sum + %d, s%d);\n", v->store, j * w->tile.lanes, j);
  cg_str_add(o, "}\n");
}

static void emit_gather(block *b, cg_str *o) {
  cg_conv *w = b->w;
  int first = w->batched + 1, last = w->ns - 1;
  long long row = b->stride * b->width, step = b->apart ? b->gap : 1;
  const char *sx = cg_conv_stride(w, last), *iw = w->in_text[last];
  cg_str_addf(o, "      const int64_t rows = %s, need = (count + %d) / %d * %d + %lld;\n", b->apart ? cg_format(w->s, "%lld", (long long)b->high) : cg_format(w->s, "(height - 1) * %lld + %lld",
              (long long)b->down, (long long)((b->high - 1) * b->gap + 1)), w->tile.lanes - 1, w->tile.lanes, w->tile.lanes, (long long)((b->wide - 1) * b->dilation / b->stride + 1));
  cg_str_addf(o, "      for (int64_t z = 0; z < %lld; z++)\n        for (int64_t y = 0; y < rows; y++) {\n          %s *to = gathered + (z * %lld + y) * %lld;\n          const %s *from = x;\n          int inside = 1;\n",
              (long long)b->planes, w->tile.ctype, (long long)b->rows, row, cg_kernel_ctype(w->x.dtype));
  int64_t below = b->planes;
  for (int d = 0; d < last; d++) {
    bool line = d == last - 1;
    if (line) cg_str_addf(o, "          const int64_t y%d = top * %lld - %lld + y * %lld;\n", d, (long long)b->down, (long long)b->above, step);
    else {
      below /= w->kernel[d];
      cg_str_addf(o, "          const int64_t y%d = %s * %lld - %lld + z / %lld %% %lld * %lld;\n", d, w->index[first + d], (long long)w->stride[d], (long long)w->pad[d], (long long)below,
                  (long long)w->kernel[d], (long long)w->dilation[d]);
    }
    cg_str_addf(o, "          if (y%d < 0 || y%d >= %s) inside = 0;\n          else from += y%d * (%s);\n", d, d, w->in_text[d], d, cg_conv_stride(w, d));
  }
  cg_str_addf(o,
              "          if (!inside) {\n            __builtin_memset(to, 0, %lld * sizeof *to);\n            continue;\n          }\n"
              "          for (int64_t residue = 0; residue < %lld; residue++, to += %lld) {\n"
              "            const int64_t start = left * %lld - %lld + residue; // position j of this residue is start + j * stride of the line\n"
              "            int64_t lo = start < 0 ? (-start + %lld) / %lld : 0, hi = start < %s ? (%s - start + %lld) / %lld : 0;\n"
              "            if (lo > need) lo = need;\n            if (hi > need) hi = need;\n            if (hi < lo) hi = lo;\n"
              "            for (int64_t j = 0; j < lo; j++) to[j] = 0;\n"
              "            %s(1, hi - lo, from + (start + lo * %lld) * (%s), 0, %lld * (%s), to + lo, need - lo);\n"
              "          }\n        }\n",
              row, (long long)b->stride, (long long)b->width, (long long)b->stride, (long long)b->pad, (long long)b->stride - 1, (long long)b->stride, iw, iw, (long long)b->stride - 1,
              (long long)b->stride, cg_tile_copy(w->k, w->x.dtype), (long long)b->stride, sx, (long long)b->stride, sx);
}

void cg_conv_depthwise(cg_conv *w, cg_str *o) {
  block b;
  plan_any(&b, w);
  int first = w->batched + 1, last = w->ns - 1, lanes = w->tile.lanes;
  const char *T = w->tile.ctype, *name = cg_kernel_name(w->k), *ow = w->out_text[last], *weight = cg_conv_pack_depthwise(w, o);
  long long rows = w->oc * w->groups, run = b.run, lines = b.lines;
  cg_str *before = cg_kernel_before(w->k);
  emit_tile(&b, before, WIDE);
  emit_tile(&b, before, 1);
  cg_str_addf(o, "  const int64_t runs = (%s + %lld) / %lld, blocks = %s, outer = %s;\n", ow, run - 1, run,
              last ? cg_format(w->s, "(%s + %lld) / %lld", w->out_text[last - 1], lines - 1, lines) : "1", cg_conv_product(w, w->out_text, last ? last - 1 : 0));
  cg_tile_units(o, cg_format(w->s, "%s * %lld * outer * blocks * runs", w->batched ? cg_kernel_size(w->k, w->batch) : "1", (long long)w->groups),
                cg_format(w->s, "units * %lld * %lld", lines * run, (long long)(w->oc * w->taps)),
                cg_format(w->s, "    %s gathered[%lld] __attribute__((aligned(64))), sum[%lld] __attribute__((aligned(64))), f[%lld];\n", T, (long long)(b.planes * b.rows * b.stride * b.width),
                          run + (long long)WIDE * lanes, (long long)(w->taps ? w->taps : 1)));
  cg_str_addf(o, "      const int64_t left = unit %% runs * %lld, count = %s - left < %lld ? %s - left : %lld, place = unit / (runs * blocks), group = place / outer %% %lld;\n", run, ow, run, ow, run,
              (long long)w->groups);
  if (w->batched) cg_str_addf(o, "      const int64_t i0 = place / (outer * %lld);\n", (long long)w->groups);
  if (last) cg_str_addf(o, "      const int64_t top = unit / runs %% blocks * %lld, height = %s - top < %lld ? %s - top : %lld;\n", lines, w->out_text[last - 1], lines, w->out_text[last - 1], lines);
  else cg_str_add(o, "      const int64_t height = 1;\n");
  if (last > 1) {
    cg_str_add(o, "      const int64_t at = place % outer;\n");
    cg_conv_split(w, o, 6, "at", w->index + first, w->out_text, last - 1);
  }
  cg_str_addf(o, "      const %s *x = %s + %s%s + group * (%s);\n", cg_kernel_ctype(w->x.dtype), w->x.name, cg_kernel_size(w->k, w->x.offset),
              w->batched ? cg_format(w->s, " + i0 * (%s)", cg_conv_sample_stride(w)) : "", cg_conv_channel_stride(w));
  emit_gather(&b, o);
  cg_str_addf(o,
              "      for (int64_t %s = group * %lld; %s < (group + 1) * %lld; %s++) {\n"
              "        for (int64_t t = 0; t < %lld; t++) f[t] = %s;\n"
              "        for (int64_t line = 0; line < height; line++) {\n",
              w->index[w->batched], (long long)w->oc, w->index[w->batched], (long long)w->oc, w->index[w->batched], (long long)w->taps,
              cg_kernel_load(w->k, w->tile.kept, weight, cg_format(w->s, "t * %lld + %s", rows, w->index[w->batched])));
  if (last) cg_str_addf(o, "          const int64_t %s = top + line;\n", w->index[first + last - 1]);
  cg_str_addf(o,
              "          const %s *from = gathered + line * %lld;\n"
              "          int64_t u = 0;\n"
              "          for (; u + %d < count; u += %d) %s_tile%d(from + u, f, sum + u);\n"
              "          for (; u < count; u += %d) %s_tile1(from + u, f, sum + u);\n"
              "          #pragma omp simd\n          for (int64_t v = 0; v < count; v++) {\n            const int64_t %s = left + v;\n",
              T, (long long)(b.down * b.stride * b.width), (WIDE - 1) * lanes, WIDE * lanes, name, WIDE, lanes, name, w->index[first + last]);
  cg_conv_store(w, o, 12, "sum[v]");
  cg_str_add(o, "          }\n        }\n      }\n");
  cg_tile_units_end(o);
}
