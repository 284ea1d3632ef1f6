// 3x3 convolutions of stride 1 with fewer multiplications: F(4x4, 3x3) of Winograd (Lavin and Gray, "Fast Algorithms for Convolutional
// Neural Networks", 2016). 36 products of transformed tiles of 6x6 with transformed weights give tiles of 4x4 results: 36 multiplications
// for 16 results where the direct way takes 144.
// The points are 0, ±5/8, ±3/2 and infinity (with the usual 0, ±1, ±2 the error is some three times as large), and sums are short: the
// error is one to three times the direct way's (doc/known-failures.md).
#include <math.h>
#include <string.h>

#include "backend/c/kernel_conv.h"

enum { IN = 6, OUT = 4, ALL = IN * IN, TILES = 24, ROOM = 640 << 10, LONGEST = 16 };

static const double A = 0.625, B = 1.5;

// ---------------------------------------------------------------- whether it pays

bool cg_conv_winograd_fits(const cg_conv *w) {
  if (w->ns != 2 || w->transposed || w->groups != 1 || w->tile.dtype != CG_F32 || w->x.dtype != CG_F32 || !w->to_last || !w->w.constant) return false;
  for (int d = 0; d < 2; d++)
    if (w->kernel[d] != 3 || w->stride[d] != 1 || w->dilation[d] != 1 || w->pad[d] > 2) return false;
  if (!cg_tile_vector(&w->tile)->fma) return false; // the transforms would round twice as often
  if (!cg_x_is(w->x.stride[w->batched], 1) || w->ic % w->tile.lanes || w->ic < 16 || w->oc < 16 || w->ic * ALL * 12 * 4 > ROOM) return false;
  for (int d = 0; d < w->w.rank; d++)
    if (!cg_x_is_int(w->w.stride[d])) return false;
  return true;
}

bool cg_conv_winograd_pays(const cg_conv *w) {
  // In ns of one thread: products at 160 GFLOP/s, meanwhile weights come from memory at 12 GB/s; transforms take about 100 ns for each
  // 16 channels of a tile.
  double n = w->batched ? (double)cg_x_hint(w->batch) : 1, y = (double)cg_x_hint(w->out[0]), x = (double)cg_x_hint(w->out[1]);
  double channels = (double)w->ic * (double)w->oc, tiles = n * (double)(((int64_t)y + OUT - 1) / OUT) * (double)(((int64_t)x + OUT - 1) / OUT);
  double direct = fmax(n * y * x * channels * 18 / 160, channels * 9 * 4 / 12);
  double fast = fmax(tiles * channels * 2 * ALL / 160, channels * ALL * 4 / 12) + tiles * (double)(w->ic + w->oc) / 16 * 100;
  return fast < 0.85 * direct;
}

// ---------------------------------------------------------------- weights

// G * g * transpose(G) for one pair of channels; in f64.
static void transform(const double g[3][3], double u[IN][IN]) {
  double aa = A * A, bb = B * B, row[IN][3], p = 1 / (aa * bb), q = 1 / (2 * aa * (aa - bb)), r = 1 / (2 * bb * (bb - aa)), t[IN][3];
  const double G[IN][3] = {{p, 0, 0}, {q, q * A, q * aa}, {q, -q * A, q * aa}, {r, r * B, r * bb}, {r, -r * B, r * bb}, {0, 0, 1}};
  memcpy(row, G, sizeof row);
  for (int i = 0; i < IN; i++)
    for (int k = 0; k < 3; k++) t[i][k] = row[i][0] * g[0][k] + row[i][1] * g[1][k] + row[i][2] * g[2][k];
  for (int i = 0; i < IN; i++)
    for (int j = 0; j < IN; j++) u[i][j] = t[i][0] * row[j][0] + t[i][1] * row[j][1] + t[i][2] * row[j][2];
}

// (panel, place of the tile, ic, nr)
static const char *pack(cg_conv *w) {
  int64_t idx[CG_MAX_RANK] = {0}, nr = w->tile.nr, n = ALL * cg_tile_packed(&w->tile, w->ic, w->oc);
  float *data = cg_kernel_spare(w->k, (size_t)n * sizeof *data), *to = data;
  const float *src = cg_kernel_constant_at(&w->w, idx);
  int64_t s[4];
  for (int d = 0; d < 4; d++) s[d] = w->w.stride[d]->value;
  for (int64_t n0 = 0; n0 < w->oc; n0 += nr) {
    int64_t cols = w->oc - n0 < nr ? w->oc - n0 : nr, width = cg_tile_packed(&w->tile, 1, cols);
    for (int64_t i = 0; i < w->ic; i++)
      for (int64_t j = 0; j < cols; j++) {
        double g[3][3], u[IN][IN];
        for (int y = 0; y < 3; y++)
          for (int x = 0; x < 3; x++) g[y][x] = src[(n0 + j) * s[0] + i * s[1] + y * s[2] + x * s[3]];
        transform(g, u);
        for (int k = 0; k < ALL; k++) to[(k * w->ic + i) * width + j] = (float)u[k / IN][k % IN];
      }
    to += ALL * w->ic * width;
  }
  return cg_kernel_constant(w->k, cg_format(w->s, "%s_winograd", w->w.constant->name), CG_F32, 1, (int64_t[]){n}, data, (size_t)n * sizeof *data);
}

// ---------------------------------------------------------------- transforms in the object

static void emit_transforms(cg_conv *w) {
  cg_str *o = cg_kernel_shared(w->k, "winograd");
  if (!o) return;
  const cg_vector *v = cg_tile_vector(&w->tile);
  const char *V = v->type, *S = v->set, *L = v->load;
  cg_vector_fma(o, v, "winograd_fma");
  cg_str_addf(o,
              "// One line of a tile of the input: at the points 0, +a, -a, +b, -b, infinity.\n"
              "static inline void winograd_in(%s d0, %s d1, %s d2, %s d3, %s d4, %s d5, %s *t) {\n"
              "  const %s a = %s(%.9gf), b = %s(%.9gf), aa = %s(%.9gf), bb = %s(%.9gf), ab = %s(%.9gf), sum = %s(%.9gf);\n"
              "  const %s ea = winograd_fma(bb, d2, d4), oa = winograd_fma(bb, d1, d3), eb = winograd_fma(aa, d2, d4), ob = winograd_fma(aa, d1, d3);\n"
              "  t[0] = winograd_fma(ab, d0, winograd_fma(sum, d2, d4));\n"
              "  t[1] = winograd_fma(a, oa, ea), t[2] = winograd_fma(-a, oa, ea);\n"
              "  t[3] = winograd_fma(b, ob, eb), t[4] = winograd_fma(-b, ob, eb);\n"
              "  t[5] = winograd_fma(ab, d1, winograd_fma(sum, d3, d5));\n"
              "}\n",
              V, V, V, V, V, V, V, V, S, A, S, B, S, -A * A, S, -B * B, S, A * A * B * B, S, -(A * A + B * B), V);
  cg_str_addf(o,
              "// A tile, one vector of channels: x, rows sy and pixels sx apart -> to[36], step apart.\n"
              "static void winograd_input(const float *x, int64_t sy, int64_t sx, float *to, int64_t step) {\n"
              "  %s t[6][6], u[6];\n"
              "  #pragma GCC unroll 6\n"
              "  for (int k = 0; k < 6; k++) {\n"
              "    const float *c = x + k * sx;\n"
              "    winograd_in(%s(c), %s(c + sy), %s(c + 2 * sy), %s(c + 3 * sy), %s(c + 4 * sy), %s(c + 5 * sy), u);\n"
              "    for (int i = 0; i < 6; i++) t[i][k] = u[i];\n"
              "  }\n"
              "  #pragma GCC unroll 6\n"
              "  for (int i = 0; i < 6; i++) {\n"
              "    winograd_in(t[i][0], t[i][1], t[i][2], t[i][3], t[i][4], t[i][5], u);\n"
              "    for (int k = 0; k < 6; k++) %s(to + (i * 6 + k) * step, u[k]);\n"
              "  }\n"
              "}\n",
              V, L, L, L, L, L, L, v->store);
  cg_str_addf(o,
              "static inline void winograd_out(%s m0, %s m1, %s m2, %s m3, %s m4, %s m5, %s *y) {\n"
              "  const %s a = %s(%.9gf), b = %s(%.9gf), aa = %s(%.9gf), bb = %s(%.9gf), a3 = %s(%.9gf), b3 = %s(%.9gf);\n"
              "  const %s s1 = m1 + m2, d1 = m1 - m2, s2 = m3 + m4, d2 = m3 - m4;\n"
              "  y[0] = m0 + s1 + s2;\n"
              "  y[1] = winograd_fma(a, d1, b * d2);\n"
              "  y[2] = winograd_fma(aa, s1, bb * s2);\n"
              "  y[3] = winograd_fma(a3, d1, winograd_fma(b3, d2, m5));\n"
              "}\n"
              "// m[36], step apart, one vector of channels -> y[16], ld apart.\n"
              "static void winograd_output(const float *m, int64_t step, float *y, int64_t ld) {\n"
              "  %s t[4][6], u[4];\n"
              "  #pragma GCC unroll 6\n"
              "  for (int k = 0; k < 6; k++) {\n"
              "    const float *c = m + k * step;\n"
              "    winograd_out(%s(c), %s(c + 6 * step), %s(c + 12 * step), %s(c + 18 * step), %s(c + 24 * step), %s(c + 30 * step), u);\n"
              "    for (int i = 0; i < 4; i++) t[i][k] = u[i];\n"
              "  }\n"
              "  #pragma GCC unroll 4\n"
              "  for (int i = 0; i < 4; i++) {\n"
              "    winograd_out(t[i][0], t[i][1], t[i][2], t[i][3], t[i][4], t[i][5], u);\n"
              "    for (int k = 0; k < 4; k++) %s(y + (i * 4 + k) * ld, u[k]);\n"
              "  }\n"
              "}\n",
              V, V, V, V, V, V, V, V, S, A, S, B, S, A * A, S, B * B, S, A * A * A, S, B * B * B, V, V, L, L, L, L, L, L, v->store);
}

// ---------------------------------------------------------------- the kernel

static void emit_store(cg_conv *w, cg_str *o, int indent, int64_t width) {
  cg_str_addf(o, "%*s#pragma omp simd\n%*sfor (int64_t j = 0; j < %lld; j++) {\n%*s  const int64_t %s = n0 + j;\n", indent, "", indent, "", (long long)width, indent, "", w->index[w->batched]);
  cg_conv_store(w, o, indent + 2, "y[p * NR + j]");
  cg_str_addf(o, "%*s}\n", indent, "");
}

void cg_conv_winograd(cg_conv *w, cg_str *o) {
  emit_transforms(w);
  const char *weight = pack(w), *n0 = w->batched ? cg_kernel_size(w->k, w->batch) : "1";
  const char *sy = cg_conv_stride(w, 0), *sx = cg_conv_stride(w, 1), *in0 = w->in_text[0], *in1 = w->in_text[1], *row = w->index[w->batched + 1], *line = w->index[w->batched + 2];
  long long ic = w->ic, oc = w->oc, nr = w->tile.nr, tiles = ROOM / (ALL * ic * 4) / 4 * 4, panels = (oc + nr - 1) / nr;
  long long depth = ic; // of one sum: a divisor of ic
  while (depth > LONGEST && depth % 2 == 0) depth /= 2;
  if (tiles > TILES) tiles = TILES;
  // Where one block has all tiles, threads share the panels; each transforms the input for itself.
  double all = (double)((cg_x_hint(w->out[0]) + OUT - 1) / OUT) * (double)((cg_x_hint(w->out[1]) + OUT - 1) / OUT);
  long long parts = all <= (double)tiles && panels > 1 ? 2 : 1;
  long long tail_width = cg_tile_packed(&w->tile, 1, oc % nr);
  cg_stream stream = cg_tile_stream(w->k, &w->tile, oc, false);
  cg_str_addf(o,
              "  enum { NR = %lld, IC = %lld, TILES = %lld, DEPTH = %lld };\n"
              "  const int64_t across = (%s + 3) / 4, tiles = (%s + 3) / 4 * across, least = (tiles + TILES - 1) / TILES; // tiles of 4x4\n"
              "  const int64_t blocks = least + (least > 1 && least %% 2); // for two threads as for one\n"
              "  const int64_t sy = %s, sx = %s;\n",
              nr, ic, tiles, depth, w->out_text[1], w->out_text[0], sy, sx);
  cg_tile_units(o, cg_format(w->s, "%s * blocks * %lld", n0, parts), cg_format(w->s, "units * TILES * %lld", ic * oc * ALL / parts),
                "    float v[36 * TILES * IC] __attribute__((aligned(64))); // (36, tiles, IC)\n"
                "    float m[36 * TILES * NR] __attribute__((aligned(64))); // (36, tiles, NR)\n"
                "    float edge[36 * IC] __attribute__((aligned(64))), y[16 * NR] __attribute__((aligned(64)));\n");
  cg_str_addf(o,
              "      const int64_t part = unit %% %lld, sample = unit / %lld / blocks, block = unit / %lld %% blocks;\n"
              "      const int64_t first = block * tiles / blocks, count = (block + 1) * tiles / blocks - first;\n"
              "%s"
              "      for (int64_t t = 0; t < count; t++) {\n"
              "        const int64_t y0 = (first + t) / across * 4 - %lld, x0 = (first + t) %% across * 4 - %lld;\n"
              "        const float *x = %s + %s + sample * (%s) + y0 * sy + x0 * sx;\n"
              "        if (y0 >= 0 && x0 >= 0 && y0 + 6 <= %s && x0 + 6 <= %s) {\n"
              "          for (int64_t c = 0; c < IC; c += %d) winograd_input(x + c, sy, sx, v + t * IC + c, count * IC);\n"
              "          continue;\n"
              "        }\n"
              "        for (int p = 0; p < 36; p++) {\n"
              "          const int64_t py = p / 6, px = p %% 6;\n"
              "          if (y0 + py >= 0 && y0 + py < %s && x0 + px >= 0 && x0 + px < %s) __builtin_memcpy(edge + p * IC, x + py * sy + px * sx, sizeof(float) * IC);\n"
              "          else __builtin_memset(edge + p * IC, 0, sizeof(float) * IC);\n"
              "        }\n"
              "        for (int64_t c = 0; c < IC; c += %d) winograd_input(edge + c, 6 * IC, IC, v + t * IC + c, count * IC);\n"
              "      }\n",
              parts, parts, parts, w->batched ? "      const int64_t i0 = sample;\n" : "      (void)sample;\n", (long long)w->pad[0], (long long)w->pad[1], w->x.name, cg_kernel_size(w->k, w->x.offset),
              cg_conv_sample_stride(w), in0, in1, w->tile.lanes, in0, in1, w->tile.lanes);
  cg_str_addf(o,
              "      const int64_t from = %lld * part / %lld * NR, to = %lld * (part + 1) / %lld * NR;\n"
              "      const float *b = %s + from * 36 * IC;\n"
              "      for (int64_t n0 = from; n0 < to; n0 += NR) {\n"
              "        const int64_t width = %s;\n"
              "        for (int p = 0; p < 36; p++)\n"
              "          for (int64_t k = 0; k < IC; k += DEPTH, b += width * DEPTH) // short sums err less\n"
              "            %s(count, DEPTH, v + p * count * IC + k, IC, b, m + p * count * NR, NR, k > 0);\n"
              "        for (int64_t t = 0; t < count; t++) {\n"
              "          for (int64_t c = 0; c < width; c += %d) winograd_output(m + t * NR + c, count * NR, y + c, NR);\n"
              "          for (int p = 0; p < 16; p++) {\n"
              "            const int64_t %s = (first + t) / across * 4 + p / 4, %s = (first + t) %% across * 4 + p %% 4;\n"
              "            if (%s >= %s || %s >= %s) continue;\n",
              panels, parts, panels, parts, weight, oc % nr == 0 || oc < nr ? stream.packed : cg_format(w->s, "%lld - n0 < NR ? %lld : NR", oc, tail_width),
              stream.call, w->tile.lanes, row, line, row, w->out_text[0], line, w->out_text[1]);
  if (oc % nr == 0 || oc < nr) emit_store(w, o, 12, oc % nr ? oc : nr);
  else {
    cg_str_addf(o, "            if (n0 + NR <= %lld) {\n", oc);
    emit_store(w, o, 14, nr);
    cg_str_add(o, "            } else {\n");
    emit_store(w, o, 14, oc % nr);
    cg_str_add(o, "            }\n");
  }
  cg_str_add(o, "          }\n        }\n      }\n");
  cg_tile_units_end(o);
}
