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

enum { RUN = 256 };

void cg_conv_depthwise(cg_conv *w, cg_str *o) {
  const char *T = w->tile.ctype, *ow = w->out_text[w->ns - 1], *iw = w->in_text[w->ns - 1], *weight = cg_conv_pack_depthwise(w, o);
  int first = w->batched + 1, last = w->ns - 1;
  long long rows = w->oc * w->groups, s = w->stride[last], p = w->pad[last], l = w->dilation[last];
  cg_str_addf(o, "  const int64_t lines = %s, runs = (%s + %d) / %d;\n", cg_conv_product(w, w->out_text, last), ow, RUN - 1, RUN);
  cg_tile_units(o, cg_format(w->s, "%s * %lld * lines * runs", w->batched ? cg_kernel_size(w->k, w->batch) : "1", rows), cg_format(w->s, "units * %s * %lld", ow, (long long)w->taps),
                cg_format(w->s, "    %s sum[%d] __attribute__((aligned(64)));\n", T, RUN));
  cg_str_addf(o, "      const int64_t run = unit %% runs * %d, count = %s - run < %d ? %s - run : %d, line = unit / runs %% lines, plane = unit / runs / lines;\n", RUN, ow, RUN, ow, RUN);
  cg_str_addf(o, "      const int64_t %s = plane %% %lld;\n      (void)line;\n", w->index[w->batched], rows);
  if (w->batched) cg_str_addf(o, "      const int64_t i0 = plane / %lld;\n", rows);
  if (last) cg_conv_split(w, o, 6, "line", w->index + first, w->out_text, last);
  cg_str_addf(o, "      const %s *x = %s + %s%s + %s / %lld * (%s);\n", cg_kernel_ctype(w->x.dtype), w->x.name, cg_kernel_size(w->k, w->x.offset),
              w->batched ? cg_format(w->s, " + i0 * (%s)", cg_conv_sample_stride(w)) : "", w->index[w->batched], (long long)w->oc, cg_conv_channel_stride(w));
  cg_str_addf(o, "      for (int64_t u = 0; u < count; u++) sum[u] = 0;\n      for (int64_t tap = 0; tap < %lld; tap++) {\n        const %s *row = x;\n", (long long)w->taps, cg_kernel_ctype(w->x.dtype));
  int64_t below = w->taps;
  for (int d = 0; d < last; d++) {
    below /= w->kernel[d];
    cg_str_addf(o, "        const int64_t y%d = %s * %lld - %lld + tap / %lld %% %lld * %lld;\n        if (y%d < 0 || y%d >= %s) continue;\n        row += y%d * (%s);\n", d, w->index[first + d],
                (long long)w->stride[d], (long long)w->pad[d], (long long)below, (long long)w->kernel[d], (long long)w->dilation[d], d, d, w->in_text[d], d, cg_conv_stride(w, d));
  }
  cg_str_addf(o,
              "        const %s f = %s[tap * %lld + %s];\n"
              "        const int64_t start = run * %lld - %lld + tap %% %lld * %lld;\n"
              "        int64_t lo = start < 0 ? (-start + %lld) / %lld : 0, hi = start < %s ? (%s - start + %lld) / %lld : 0;\n"
              "        if (hi > count) hi = count;\n"
              "        #pragma omp simd\n"
              "        for (int64_t u = lo; u < hi; u++) {\n"
              "          const int64_t at = (start + u * %lld) * (%s);\n"
              "          sum[u] += f * %s;\n"
              "        }\n"
              "      }\n",
              T, weight, rows, w->index[w->batched], s, p, (long long)w->kernel[last], l, s - 1, s, iw, iw, s - 1, s, s, cg_conv_stride(w, last),
              cg_kernel_load(w->k, w->x.dtype, "row", "at"));
  cg_str_addf(o, "      #pragma omp simd\n      for (int64_t u = 0; u < count; u++) {\n        const int64_t %s = run + u;\n", w->index[first + last]);
  cg_conv_store(w, o, 8, "sum[u]");
  cg_str_add(o, "      }\n");
  cg_tile_units_end(o);
}
