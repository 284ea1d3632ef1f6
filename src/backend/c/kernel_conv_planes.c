// Convolutions of one tap whose images lie plane by plane, as in the model: for each sample and group
//   result[oc, pixel] = sum over ic of weight[oc, ic] * input[ic, pixel]
// Rows of the weight are the tile's rows, pixels its columns: neither the input nor the result is turned for it.
#include "backend/c/kernel_conv.h"

enum { PIXELS = 96, ROWS = 48, ROOM = 256 << 10 };

// The pixels of a plane lie one behind the other.
static bool dense(const cg_conv *w) {
  const cg_expr *below = cg_x_int(&w->m->exprs, 1);
  for (int d = w->ns - 1; d >= 0; d--) {
    if (w->x.stride[w->batched + 1 + d] != below) return false;
    below = cg_x_mul(&w->m->exprs, below, w->in[d]);
  }
  return true;
}

bool cg_conv_planes_fits(const cg_conv *w) {
  if (w->taps != 1 || w->transposed || w->to_last || w->ic < 1 || w->tile.lanes < 2 || !dense(w)) return false;
  for (int d = 0; d < w->ns; d++)
    if (w->stride[d] != 1 || w->pad[d]) return false;
  return w->ic * PIXELS * (int64_t)cg_dtypes[w->tile.dtype].size <= ROOM;
}

// Turning input and result costs more than it gives while a weight stays in the cache over all blocks; a few pixels do not fill a vector.
bool cg_conv_planes_pays(const cg_conv *w) {
  int64_t pixels = 1;
  for (int d = 0; d < w->ns; d++) pixels *= cg_x_hint(w->out[d]);
  return pixels >= w->tile.nr && w->oc * w->ic * (int64_t)cg_dtypes[w->tile.dtype].size <= ROOM;
}

// Rows of the weight as the tile reads them, and how far apart they are.
static const char *rows_of(cg_conv *w, const char **apart, cg_str *o) {
  cg_kernel_input in = cg_kernel_read(w->k, w->w.value);
  const char *offset = cg_kernel_size(w->k, in.offset), *along = cg_kernel_size(w->k, in.stride[1]);
  *apart = cg_kernel_size(w->k, in.stride[0]);
  if (in.dtype == w->tile.dtype && (w->ic == 1 || cg_x_is(in.stride[1], 1))) return cg_format(w->s, "%s + %s", in.name, offset);
  long long rows = w->oc * w->groups, ic = w->ic;
  const char *to = cg_kernel_scratch(w->k, w->tile.dtype, cg_x_int(&w->m->exprs, rows * ic));
  cg_str_addf(o, "  %s(%lld, %lld, %s + %s, %s, %s, %s, %lld); // the weight's rows\n", cg_tile_copy(w->k, in.dtype), rows, ic, in.name, offset, *apart, along, to, ic);
  *apart = cg_format(w->s, "%lld", ic);
  return to;
}

// Results of rows r0 … r0+height-1 by lines of the image.
static void emit_store(cg_conv *w, cg_str *o, int columns) {
  int last = w->ns - 1;
  const char *const *at = w->index + w->batched + 1;
  cg_str_addf(o, "        for (int64_t r = 0; r < height; r++) {\n          const int64_t %s = c0 + r0 + r;\n          for (int64_t i = 0, n; i < count; i += n) {\n", w->index[w->batched]);
  cg_str_addf(o, "            const int64_t line = (p0 + i) / %s, start = (p0 + i) %% %s, left = %s - start;\n            n = left < count - i ? left : count - i;\n",
              w->out_text[last], w->out_text[last], w->out_text[last]);
  cg_conv_split(w, o, 12, "line", at, w->out_text, last);
  if (!last) cg_str_add(o, "            (void)line;\n");
  cg_str_addf(o, "            #pragma omp simd\n            for (int64_t u = 0; u < n; u++) {\n              const int64_t %s = start + u;\n", at[last]);
  cg_conv_store(w, o, 14, cg_format(w->s, "c[r * %d + i + u]", columns));
  cg_str_add(o, "            }\n          }\n        }\n");
}

void cg_conv_planes(cg_conv *w, cg_str *o) {
  const char *T = w->tile.ctype, *apart, *rows = rows_of(w, &apart, o);
  int nr = w->tile.nr, columns = (PIXELS + nr - 1) / nr * nr;
  long long oc = w->oc, ic = w->ic, groups = w->groups;
  const char *copy = cg_tile_copy(w->k, w->x.dtype), *channel = cg_conv_channel_stride(w), *sample = cg_conv_sample_stride(w);
  cg_str_addf(o, "  enum { NR = %d };\n  const int64_t pixels = %s, blocks = (pixels + %d) / %d;\n", nr, cg_conv_product(w, w->out_text, w->ns), PIXELS - 1, PIXELS);
  cg_tile_units(o, cg_format(w->s, "%s * %lld * blocks", w->batched ? cg_kernel_size(w->k, w->batch) : "1", groups), cg_format(w->s, "units * %d * %lld", PIXELS, oc * ic),
                cg_format(w->s, "    %s c[%d * %d] __attribute__((aligned(64))), b[%lld * %d] __attribute__((aligned(64))); // (rows, pixels); (panel, channel, NR)\n", T, ROWS,
                          columns, ic, columns));
  cg_str_addf(o,
              "      const int64_t block = unit %% blocks, group = unit / blocks %% %lld, sample = unit / (blocks * %lld), c0 = group * %lld;\n"
              "      const int64_t p0 = block * pixels / blocks, count = (block + 1) * pixels / blocks - p0;\n"
              "      const %s *x = %s + %s + sample * (%s) + group * %lld * (%s) + p0;\n"
              "      const %s *a = %s + c0 * (%s);\n",
              groups, groups, oc, cg_kernel_ctype(w->x.dtype), w->x.name, cg_kernel_size(w->k, w->x.offset), sample, ic, channel, T, rows, apart);
  if (w->batched) cg_str_addf(o, "      const int64_t %s = sample;\n", w->index[0]);
  cg_str_addf(o,
              "      for (int64_t n0 = 0; n0 < count; n0 += NR) {\n"
              "        const int64_t width = count - n0 < NR ? count - n0 : NR;\n"
              "        %s(%lld, width, x + n0, %s, 1, b + n0 * %lld, width <= NR / 2 ? NR / 2 : NR);\n"
              "      }\n"
              "      for (int64_t r0 = 0; r0 < %lld; r0 += %d) {\n"
              "        const int64_t height = %lld - r0 < %d ? %lld - r0 : %d;\n"
              "        for (int64_t n0 = 0; n0 < count; n0 += NR) {\n"
              "          const int narrow = count - n0 <= NR / 2;\n"
              "          block_%s(height, narrow, %lld, a + r0 * (%s), %s, b + n0 * %lld, narrow ? NR / 2 : NR, c + n0, %d, 0);\n"
              "        }\n",
              copy, ic, channel, ic, oc, ROWS, oc, ROWS, oc, ROWS, w->tile.name, ic, apart, apart, ic, columns);
  emit_store(w, o, columns);
  cg_str_add(o, "      }\n");
  cg_tile_units_end(o);
}
