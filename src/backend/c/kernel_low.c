// Products whose constant weights are kept in fewer bits and made wide again in registers, as --precision says:
//   bf16          rounded to bfloat16; with AVX512-BF16 the rows of A as well, where there are many
//   int4-weight   q * scale, q from -8 to 7, with a scale for each column of 128 rows (as in GGML's Q4_0)
//   int8-dynamic  q * scale, q from -127 to 127, with a scale for each column; the rows of A as well, by scales found at run time
//                 (Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018)
// Sums are of f32 products in the first two, of integers, and exact, in the last. Without it weights that are half precision in the model
// stay so. Panels of 16 bits are the tile's own (kernel_gemm.c), but for pairs that are multiplied at once.
#include "backend/c/kernel_low.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

enum {
  GROUP = 128,
  DEEPEST = 1 << 16, // sums of so many products of 8-bit numbers fit 32 bits
  MANY = 16          // rows for which B is made wide once, not in each tile; of so few rows, none is rounded to bf16
};

typedef struct {
  const char *name; // of functions
  int bits;
  cg_dtype stored;
  const char *note;
} format;
static const format formats[] = {
  [CG_LOW_DOT] = {"dot", 16, CG_BF16, "bf16"},
  [CG_LOW_INT8] = {"int8", 8, CG_I8, "int8-dynamic"},
  [CG_LOW_INT4] = {"int4", 4, CG_U8, "int4-weight"},
};

const char *cg_low_name(const cg_low *l, const cg_tile *t) { return l->format ? formats[l->format].note : cg_dtypes[t->kept].text; }

static int bytes_of(const cg_tile *t) { return t->lanes * cg_dtypes[t->dtype].size; }

// How vectors of integers are spelt where a tile's of floats have 16, 32 or 64 bytes: intrinsics, the type, all of its bits, and loads of
// a half and a quarter of it.
typedef struct {
  const char *mm, *type, *bits, *load, *half, *quarter;
} integers;

static const integers *integers_of(const cg_tile *t) {
  static const integers all[] = {{"_mm", "__m128i", "si128", "_mm_loadu_si128", "_mm_loadu_si64", "_mm_loadu_si32"},
                                 {"_mm256", "__m256i", "si256", "_mm256_loadu_si256", "_mm_loadu_si128", "_mm_loadu_si64"},
                                 {"_mm512", "__m512i", "si512", "_mm512_loadu_si512", "_mm256_loadu_si256", "_mm_loadu_si128"}};
  return &all[bytes_of(t) / 32];
}

cg_low cg_low_choose(cg_kernel *k, cg_tile *t, cg_dtype out, const cg_expr *rows, int64_t depth) {
  static const char *const ways[] = {"rows f32", "rows bf16"};
  cg_precision asked = cg_kernel_emitter(k)->pipeline->opt->precision;
  cg_low l = {0};
  if (t->lanes == 1 || t->dtype != CG_F32 || !depth) return l;
  if (asked == CG_PRECISION_INT4_WEIGHT) return (cg_low){.format = CG_LOW_INT4, .group = GROUP, .unit = 2};
  if (asked == CG_PRECISION_INT8_DYNAMIC && depth <= DEEPEST) {
    l = (cg_low){.format = CG_LOW_INT8, .group = depth, .unit = cg_kernel_has(k, CG_CPU_VNNI) ? 4 : 2};
    if (l.unit == 4) cg_kernel_needs(k, CG_CPU_VNNI);
    return l;
  }
  bool rounded = asked == CG_PRECISION_BF16 && out != CG_F16; // f16 has 16 bits already
  if (rounded && cg_kernel_has(k, CG_CPU_BF16) && cg_kernel_choose(k, "rows", 2, ways, cg_x_hint(rows) > MANY)) {
    cg_kernel_needs(k, CG_CPU_BF16);
    return (cg_low){.format = CG_LOW_DOT, .group = 2 * t->kc, .unit = 2};
  }
  *t = cg_tile_keep(t, rounded ? CG_BF16 : out);
  return l;
}

// ---------------------------------------------------------------- packing

static int64_t units(const cg_low *l, int64_t depth) { return (depth + l->unit - 1) / l->unit; }
static int64_t groups(const cg_low *l, int64_t depth) { return (depth + l->group - 1) / l->group; }

// The scale of n numbers that lie `stride` apart: of 8 bits by the greatest magnitude, of 4 so that the greatest number becomes -8.
static float scale_of(const cg_low *l, const float *x, int64_t n, int64_t stride) {
  float most = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(x[i * stride])) return NAN;
    if (fabsf(x[i * stride]) > fabsf(most)) most = x[i * stride];
  }
  return l->format == CG_LOW_INT4 ? most / -8 : fabsf(most) / 127;
}

static int rounded(const cg_low *l, float x, float scale) {
  if (!(scale != 0 && isfinite(scale))) return 0; // NaN: the scale makes the result NaN
  float q = nearbyintf(x / scale);
  return l->format == CG_LOW_INT4 ? (q > 7 ? 7 : (int)q) : (int)q;
}

// One panel: `from` is [depth][width] in f32.
static void pack_panel(const cg_low *l, const float *from, int64_t depth, int64_t width, char *to, float *scale, int32_t *sum) {
  if (formats[l->format].bits == 16) {
    for (int64_t i = 0; i < depth; i++)
      for (int64_t j = 0; j < width; j++)
        ((uint16_t *)to)[(i / l->unit * width + j) * l->unit + i % l->unit] = cg_bf16_of_float(from[i * width + j]);
    return;
  }
  for (int64_t g = 0; g < groups(l, depth); g++)
    for (int64_t j = 0; j < width; j++) {
      int64_t first = g * l->group, last = first + l->group < depth ? first + l->group : depth, total = 0;
      float s = scale[g * width + j] = scale_of(l, from + first * width + j, last - first, width);
      for (int64_t i = first; i < last; i++) {
        int q = rounded(l, from[i * width + j], s);
        int64_t at = (i / l->unit * width + j) * l->unit + i % l->unit;
        total += q;
        if (l->format == CG_LOW_INT4) to[at / 2] = (char)((uint8_t)to[at / 2] | (unsigned)(q & 15) << (i % 2 * 4));
        else to[at] = (char)q;
      }
      if (sum) sum[j] = (int32_t)total * 128;
    }
}

void cg_low_pack(cg_kernel *k, cg_low *l, const cg_tile *t, const char *name, int64_t depth, int64_t cols, const float *panels) {
  cg_session *s = cg_kernel_session(k);
  int64_t all = cg_tile_packed(t, 1, cols), n = units(l, depth) * l->unit * all, n_scales = groups(l, depth) * all;
  bool scaled = formats[l->format].bits < 16, offset = l->unit == 4;
  size_t bytes = (size_t)(n * formats[l->format].bits / 8);
  char *to = cg_alloc(s, bytes);
  float *scale = scaled ? CG_NEW_ARRAY(s, float, n_scales) : NULL;
  int32_t *sum = offset ? CG_NEW_ARRAY(s, int32_t, all) : NULL;
  for (int64_t n0 = 0; n0 < cols; n0 += t->nr) {
    int64_t width = cg_tile_packed(t, 1, cols - n0 < t->nr ? cols - n0 : t->nr);
    pack_panel(l, panels + n0 * depth, depth, width, to + units(l, depth) * l->unit * n0 * formats[l->format].bits / 8, scale ? scale + groups(l, depth) * n0 : NULL,
               sum ? sum + n0 : NULL);
  }
  cg_dtype stored = formats[l->format].stored;
  l->weights = cg_kernel_constant(k, cg_format(s, "%s_%s", name, formats[l->format].name), stored, 1, (int64_t[]){(int64_t)bytes / cg_dtypes[stored].size}, to, bytes);
  if (scaled) l->scales = cg_kernel_constant(k, cg_format(s, "%s_scales", name), CG_F32, 1, (int64_t[]){n_scales}, scale, (size_t)n_scales * 4);
  if (offset) l->sums = cg_kernel_constant(k, cg_format(s, "%s_sums", name), CG_I32, 1, (int64_t[]){all}, sum, (size_t)all * 4);
}

// ---------------------------------------------------------------- tiles

// Vectors of a tile's floats made of four bits: low_first and low_second of low_pairs. (As intrinsics: gcc makes a mess of
// __builtin_convertvector from bytes.)
static void emit_widening(cg_kernel *k, const cg_tile *t) {
  cg_str *o = cg_kernel_shared(k, "low_pairs");
  if (!o) return;
  const integers *I = integers_of(t);
  const char *F = cg_tile_vector(t)->type, *mm = I->mm;
  cg_str_addf(o, "static inline %s low_pairs(const uint8_t *p) { return %s_cvtepu8_epi32(%s((const void *)p)); }\n", I->type, mm, I->quarter);
  for (int second = 0; second < 2; second++) {
    cg_str_addf(o, "static inline %s low_%s(%s q) { return ", F, second ? "second" : "first", I->type);
    if (bytes_of(t) == 64) // a table of the 16 numbers
      cg_str_addf(o, "_mm512_permutexvar_ps(%s, _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1)); }\n", second ? "_mm512_srli_epi32(q, 4)" : "q");
    else cg_str_addf(o, "%s_cvtepi32_ps(%s_srai_epi32(%s_slli_epi32(q, %d), 28)); }\n", mm, mm, mm, second ? 24 : 28);
  }
}

static void emit_rows(cg_str *o, const cg_vector *v, int rows, int nv, int step) {
  for (int r = 0; r < rows; r++) {
    cg_str_addf(o, "    x = %s(a[%d * lda + i + %d]);\n", v->set, r, step);
    for (int j = 0; j < nv; j++) cg_str_addf(o, "    c%d_%d = low_fma(x, b%d, c%d_%d);\n", r, j, j, r, j);
  }
}

// The accumulators are added to C where that is asked for, and stored.
static void emit_sums(cg_str *o, const cg_vector *v, int rows, int nv, int lanes) {
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < nv; j++) {
      int at = j * lanes;
      cg_str_addf(o, "  %s(c + %d * ldc + %d, add ? %s(%s(c + %d * ldc + %d), c%d_%d) : c%d_%d);\n", v->store, r, at, v->add, v->load, r, at, r, j, r, j);
    }
}

// c[R][nv] (+)= a[R][k] * b[k][nv] * scale[nv]
static void emit_pairs_tile(cg_str *o, const cg_tile *t, int rows, int nv) {
  const cg_vector *v = cg_tile_vector(t);
  int L = t->lanes;
  cg_str_addf(o, "static void low_int4_%dx%d(int64_t k, const float *a, int64_t lda, const uint8_t *b, const float *scale, float *c, int64_t ldc, int add) {\n", rows, nv * L);
  cg_str_addf(o, "  %s x", v->type);
  for (int j = 0; j < nv; j++) cg_str_addf(o, ", b%d", j);
  cg_str_add(o, ";\n");
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < nv; j++) cg_str_addf(o, "  %s c%d_%d = %s();\n", v->type, r, j, v->zero);
  cg_str_addf(o, "  int64_t i = 0;\n  for (; i + 1 < k; i += 2, b += %d) {\n", nv * L);
  for (int j = 0; j < nv; j++) cg_str_addf(o, "    const %s q%d = low_pairs(b + %d);\n    b%d = low_first(q%d);\n", integers_of(t)->type, j, j * L, j, j);
  emit_rows(o, v, rows, nv, 0);
  for (int j = 0; j < nv; j++) cg_str_addf(o, "    b%d = low_second(q%d);\n", j, j);
  emit_rows(o, v, rows, nv, 1);
  cg_str_add(o, "  }\n  if (i < k) {\n");
  for (int j = 0; j < nv; j++) cg_str_addf(o, "    b%d = low_first(low_pairs(b + %d));\n", j, j * L);
  emit_rows(o, v, rows, nv, 0);
  cg_str_add(o, "  }\n");
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < nv; j++) cg_str_addf(o, "  c%d_%d = %s(c%d_%d, %s(scale + %d));\n", r, j, v->mul, r, j, v->load, j * L);
  emit_sums(o, v, rows, nv, L);
  cg_str_add(o, "}\n");
}

// to[k][width] = b * scale, for blocks of so many rows that it pays.
static const char *emit_unpacking(cg_kernel *k, const cg_tile *t, int nv) {
  const cg_vector *v = cg_tile_vector(t);
  int L = t->lanes;
  const char *name = cg_format(cg_kernel_session(k), "wide_int4_%d", nv * L);
  cg_str *o = cg_kernel_shared(k, name);
  if (!o) return name;
  cg_str_addf(o, "static void %s(int64_t k, const uint8_t *b, const float *scale, float *to) {\n  for (int64_t i = 0; i < k; i += 2, b += %d, to += %d) {\n", name, nv * L, 2 * nv * L);
  for (int j = 0; j < nv; j++) {
    int at = j * L;
    cg_str_addf(o, "    %s(to + %d, %s(low_first(low_pairs(b + %d)), %s(scale + %d)));\n", v->store, at, v->mul, at, v->load, at);
    cg_str_addf(o, "    %s(to + %d, %s(low_second(low_pairs(b + %d)), %s(scale + %d)));\n", v->store, nv * L + at, v->mul, at, v->load, at);
  }
  cg_str_add(o, "  }\n}\n");
  return name;
}

// c[R][nv] (+)= a[R][n][2] * b[n][nv][2]
static void emit_dot_tile(cg_str *o, const cg_tile *t, int rows, int nv) {
  const cg_vector *v = cg_tile_vector(t);
  const integers *I = integers_of(t);
  int L = t->lanes;
  cg_str_addf(o, "static void low_dot_%dx%d(int64_t n, const uint16_t *a, int64_t lda, const uint16_t *b, float *c, int64_t ldc, int add) {\n  int32_t x;\n  %sbh y", rows, nv * L, v->type);
  for (int j = 0; j < nv; j++) cg_str_addf(o, ", b%d", j);
  cg_str_add(o, ";\n");
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < nv; j++) cg_str_addf(o, "  %s c%d_%d = %s();\n", v->type, r, j, v->zero);
  cg_str_addf(o, "  for (int64_t i = 0; i < n; i++, b += %d) {\n", nv * L * 2);
  for (int j = 0; j < nv; j++) cg_str_addf(o, "    b%d = (%sbh)%s((const void *)(b + %d));\n", j, v->type, I->load, j * L * 2);
  for (int r = 0; r < rows; r++) {
    cg_str_addf(o, "    __builtin_memcpy(&x, a + %d * lda + i * 2, 4);\n    y = (%sbh)%s_set1_epi32(x);\n", r, v->type, I->mm);
    for (int j = 0; j < nv; j++) cg_str_addf(o, "    c%d_%d = %s_dpbf16_ps(c%d_%d, y, b%d);\n", r, j, I->mm, r, j, j);
  }
  cg_str_add(o, "  }\n");
  emit_sums(o, v, rows, nv, L);
  cg_str_add(o, "}\n");
}

// c[R][nv] = a[R][n][unit] * b[n][nv][unit] * row_scale[R] * scale[nv]
static void emit_integer_tile(cg_str *o, const cg_low *l, const cg_tile *t, int rows, int nv) {
  const cg_vector *v = cg_tile_vector(t);
  const integers *I = integers_of(t);
  const char *mm = I->mm;
  int L = t->lanes;
  cg_str_addf(o,
              "static void low_int8_%dx%d(int64_t n, const %s *a, int64_t lda, const int8_t *b, const float *row_scale, const float *scale, const int32_t *sum, float *c, int64_t ldc) {\n"
              "  int32_t x;\n  %s y",
              rows, nv * L, l->unit == 4 ? "uint8_t" : "int16_t", I->type);
  for (int j = 0; j < nv; j++) cg_str_addf(o, ", b%d", j);
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < nv; j++) cg_str_addf(o, ", c%d_%d = %s_setzero_%s()", r, j, mm, I->bits);
  cg_str_addf(o, ";\n  for (int64_t i = 0; i < n; i++, b += %lld) {\n", (long long)(nv * L * l->unit));
  for (int j = 0; j < nv; j++) {
    if (l->unit == 4) cg_str_addf(o, "    b%d = %s((const void *)(b + %d));\n", j, I->load, j * L * 4);
    else cg_str_addf(o, "    b%d = %s_cvtepi8_epi16(%s((const void *)(b + %d)));\n", j, mm, I->half, j * L * 2);
  }
  for (int r = 0; r < rows; r++) {
    cg_str_addf(o, "    __builtin_memcpy(&x, a + %d * lda + i * %lld, 4);\n    y = %s_set1_epi32(x);\n", r, (long long)l->unit, mm);
    for (int j = 0; j < nv; j++) {
      if (l->unit == 4) cg_str_addf(o, "    c%d_%d = %s_dpbusd_epi32(c%d_%d, y, b%d);\n", r, j, mm, r, j, j);
      else cg_str_addf(o, "    c%d_%d = %s_add_epi32(c%d_%d, %s_madd_epi16(y, b%d));\n", r, j, mm, r, j, mm, j);
    }
  }
  cg_str_add(o, "  }\n");
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < nv; j++) {
      if (l->unit == 4) cg_str_addf(o, "  c%d_%d = %s_sub_epi32(c%d_%d, %s((const void *)(sum + %d)));\n", r, j, mm, r, j, I->load, j * L);
      cg_str_addf(o, "  %s(c + %d * ldc + %d, %s(%s_cvtepi32_ps(c%d_%d), %s(%s(row_scale[%d]), %s(scale + %d))));\n", v->store, r, j * L, v->mul, mm, r, j, v->mul, v->set, r,
                  v->load, j * L);
    }
  cg_str_addf(o, "%s}\n", l->unit == 4 ? "" : "  (void)sum;\n");
}

// The function over any number of rows, for panels of `cols` columns.
static int vectors(const cg_tile *t, int64_t cols) { return (int)(cg_tile_packed(t, 1, cols) / t->lanes); }

static const char *panel(cg_kernel *k, const cg_low *l, const cg_tile *t, int64_t cols) {
  int nv = vectors(t, cols), width = nv * t->lanes, bytes = bytes_of(t);
  int most = ((bytes == 64 ? 32 : 16) - nv - 2) / nv;
  if (most > 12) most = 12;
  if (most < 1) most = 1;
  const char *F = formats[l->format].name, *name = cg_format(cg_kernel_session(k), "low_%s_%d", F, width);
  cg_str *o = cg_kernel_shared(k, name);
  if (!o) return name;
  bool integer = l->format == CG_LOW_INT8;
  for (int r = 1; r <= most; r++) {
    if (integer) emit_integer_tile(o, l, t, r, nv);
    else if (l->format == CG_LOW_DOT) emit_dot_tile(o, t, r, nv);
    else emit_pairs_tile(o, t, r, nv);
  }
  const char *head, *arguments;
  if (integer) {
    head = cg_format(o->s, "int64_t n, const %s *a, int64_t lda, const int8_t *b, const float *row_scale, const float *scale, const int32_t *sum, float *c, int64_t ldc",
                     l->unit == 4 ? "uint8_t" : "int16_t");
    arguments = "n, a + r * lda, lda, b, row_scale + r, scale, sum, c + r * ldc, ldc";
  } else if (l->format == CG_LOW_DOT) {
    head = "int64_t n, const uint16_t *a, int64_t lda, const uint16_t *b, float *c, int64_t ldc, int add";
    arguments = "n, a + r * lda, lda, b, c + r * ldc, ldc, add";
  } else {
    head = "int64_t k, const float *a, int64_t lda, const uint8_t *b, const float *scale, float *c, int64_t ldc, int add";
    arguments = "k, a + r * lda, lda, b, scale, c + r * ldc, ldc, add";
  }
  cg_str_addf(o, "// c[rows][%d] %s a[rows] * b, in tiles of at most %d rows.\nstatic void %s(int64_t rows, %s) {\n  static void (*const tile[])(%s) = {0", width,
              integer ? "=" : "(+)=", most, name, head, head);
  for (int r = 1; r <= most; r++) cg_str_addf(o, ", low_%s_%dx%d", F, r, width);
  cg_str_addf(o,
              "};\n  const int64_t strips = (rows + %d) / %d;\n"
              "  for (int64_t s = 0; s < strips; s++) {\n"
              "    const int64_t r = s * rows / strips, m = (s + 1) * rows / strips - r;\n"
              "    tile[m](%s);\n  }\n}\n",
              most - 1, most, arguments);
  return name;
}

// ---------------------------------------------------------------- around the tiles

void cg_low_prepare(cg_kernel *k, cg_low *l, const cg_expr *rows, const cg_expr *depth, const char *a, const char *row, cg_str *o) {
  if (l->format == CG_LOW_INT4) return;
  bool dot = l->format == CG_LOW_DOT;
  cg_expr_pool *x = &cg_kernel_module(k)->exprs;
  const char *T = l->unit == 4 ? "uint8_t" : "int16_t", *call;
  const cg_expr *unit = cg_x_int(x, l->unit), *ld = cg_x_mul(x, unit, cg_x_floordiv(x, cg_x_add(x, depth, cg_x_int(x, l->unit - 1)), unit));
  l->rows = cg_kernel_scratch(k, dot ? CG_BF16 : l->unit == 4 ? CG_U8 : CG_I16, cg_x_mul(x, rows, ld));
  cg_str *f = cg_kernel_shared(k, dot ? "low_row" : "low_round");
  if (dot) {
    call = "low_row(";
    if (f)
      cg_str_add(f, "// to[ld] = a[n] in bf16, then 0.\n"
                    "static inline void low_row(int64_t n, const float *a, uint16_t *to, int64_t ld) {\n"
                    "  #pragma omp simd\n"
                    "  for (int64_t i = 0; i < n; i++) to[i] = cg_to_bf16(a[i]);\n"
                    "  for (int64_t i = n; i < ld; i++) to[i] = 0;\n}\n");
  } else {
    l->row_scales = cg_kernel_scratch(k, CG_F32, rows);
    call = cg_format(o->s, "%s[row] = low_round(", l->row_scales);
  }
  if (f && !dot)
    cg_str_addf(f,
                "// q[ld] = a[n] / scale, rounded to 8 bits%s, then 0; the scale. What is not finite makes it NaN.\n"
                "static inline float low_round(int64_t n, const float *a, %s *q, int64_t ld) {\n"
                "  float most = 0, bad = 0;\n"
                "  #pragma omp simd reduction(max : most) reduction(+ : bad)\n"
                "  for (int64_t i = 0; i < n; i++) {\n"
                "    const float m = __builtin_fabsf(a[i]);\n    most = m > most ? m : most;\n    bad += a[i] * 0;\n  }\n"
                "  const float by = bad == 0 && most > 0 ? 127 / most : 0;\n"
                "  for (int64_t i = 0; i < n && by < INFINITY; i++) q[i] = (%s)((int32_t)__builtin_rintf((bad == 0 ? a[i] : 0) * by)%s);\n"
                "  for (int64_t i = by < INFINITY ? n : 0; i < ld; i++) q[i] = %s;\n"
                "  return bad == 0 ? most / 127 : NAN;\n}\n",
                l->unit == 4 ? " + 128" : "", T, T, l->unit == 4 ? " + 128" : "", l->unit == 4 ? "128" : "0");
  cg_str_addf(o,
              "  // A's rows in %d bits\n  const int64_t ldq = %s;\n"
              "  #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && rows * depth > 100000)\n"
              "  for (int64_t row = 0; row < rows; row++) %sdepth, %s + row * (%s), %s + row * ldq, ldq);\n",
              formats[l->format].bits, cg_kernel_size(k, ld), call, a, row, l->rows);
}

// What `function` gives for the panel at hand: the last one may be narrower.
typedef const char *(*for_columns)(cg_kernel *k, const cg_low *l, const cg_tile *t, int64_t cols);

static const char *unpacking(cg_kernel *k, const cg_low *l, const cg_tile *t, int64_t cols) { 
  (void)l;
  return emit_unpacking(k, t, vectors(t, cols));
}

static const char *packed_width(cg_kernel *k, const cg_low *l, const cg_tile *t, int64_t cols) {
  (void)l;
  return cg_format(cg_kernel_session(k), "%lld", (long long)cg_tile_packed(t, 1, cols));
}

static const char *for_panel(cg_kernel *k, const cg_low *l, const cg_tile *t, int64_t cols, for_columns function) {
  int64_t tail = cols % t->nr;
  const char *whole = cols >= t->nr ? function(k, l, t, t->nr) : NULL, *rest = tail ? function(k, l, t, tail) : NULL;
  return cg_tile_by_width(cg_kernel_session(k), whole, rest);
}

void cg_low_block(cg_kernel *k, const cg_low *l, const cg_tile *t, int64_t depth, int64_t cols, const char *row, cg_str *o) {
  if (l->format == CG_LOW_INT4) emit_widening(k, t);
  cg_str *fma = cg_kernel_shared(k, "low_fma");
  if (fma) cg_vector_fma(fma, cg_tile_vector(t), "low_fma");
  const char *call = for_panel(k, l, t, cols, panel);
  long long n = units(l, depth), group = l->group < depth ? l->group : depth;
  if (l->format == CG_LOW_INT8) {
    cg_str_addf(o, "      (void)a;\n      %s(height, %lld, %s + m0 * ldq, ldq, %s + n0 * %lld, %s + m0, %s + n0, %s, c, NR);\n", call, n, l->rows, l->weights,
                n * (long long)l->unit, l->row_scales, l->scales, l->sums ? cg_format(o->s, "%s + n0", l->sums) : "0");
    return;
  }
  if (l->format == CG_LOW_DOT) {
    cg_str_addf(o,
                "      (void)a;\n"
                "      const int64_t ldb = %s;\n"
                "      for (int64_t k0 = 0; k0 < ldq; k0 += %lld) {\n"
                "        const int64_t n = (ldq - k0 < %lld ? ldq - k0 : %lld) / 2;\n"
                "        %s(height, n, %s + m0 * ldq + k0, ldq, %s + n0 * %lld + k0 * ldb, c, NR, k0 > 0);\n"
                "      }\n",
                for_panel(k, l, t, cols, packed_width), (long long)l->group, (long long)l->group, (long long)l->group, call, l->rows, l->weights, n * (long long)l->unit);
    return;
  }
  cg_stream wide = cg_tile_stream(k, t, cols, false);
  cg_str_addf(o,
              "      const int64_t ldb = %s;\n"
              "      float wide[%lld * NR] __attribute__((aligned(64))); // B, where many rows make it worth while\n"
              "      for (int64_t k0 = 0; k0 < depth; k0 += %lld) {\n"
              "        const int64_t n = depth - k0 < %lld ? depth - k0 : %lld;\n"
              "        const uint8_t *b = %s + n0 * %lld + k0 / 2 * ldb;\n"
              "        const float *scale = %s + n0 * %lld + k0 / %lld * ldb;\n",
              wide.packed, group + 1, group, group, group, l->weights, n, l->scales, (long long)groups(l, depth), group);
  cg_str_addf(o,
              "        if (height > %d) {\n"
              "          %s(n, b, scale, wide);\n"
              "          %s(height, n, a + k0, %s, wide, c, NR, k0 > 0);\n"
              "        } else %s(height, n, a + k0, %s, b, scale, c, NR, k0 > 0);\n"
              "      }\n",
              MANY, for_panel(k, l, t, cols, unpacking), wide.call, row, call, row);
}
