// Generates the register tile: outer products of a column of A and a row of B, accumulated in registers, as plain C with
// vector intrinsics. (The loop order around it is the one of Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication", ACM TOMS 34(3), 2008.)
#include "backend/c/kernel_gemm.h"

#include <string.h>

#include "base/half.h"

enum {
  MANY = 16, // rows for which half precision is made wide once, not in each tile; up to so many, memory is what is waited for
  PIECE = 128, ROOM = 16 << 10 // at least so many rows of B at a time, and more within so many bytes: they stay in the first cache
};

bool cg_tile_takes(cg_dtype t) {
  switch (t) {
  case CG_F16: case CG_BF16: case CG_F32: case CG_F64: case CG_U8: case CG_I8: case CG_I16: case CG_I32: case CG_I64: return true;
  default: return false;
  }
}

// ---------------------------------------------------------------- the text of a tile

static const cg_vector vectors[3][2] = {
  {{"__m128", "_mm_set1_ps", "_mm_loadu_ps", "_mm_storeu_ps", "_mm_setzero_ps", "_mm_add_ps", "_mm_mul_ps", "_mm_max_ps", NULL},
   {"__m128d", "_mm_set1_pd", "_mm_loadu_pd", "_mm_storeu_pd", "_mm_setzero_pd", "_mm_add_pd", "_mm_mul_pd", "_mm_max_pd", NULL}},
  {{"__m256", "_mm256_set1_ps", "_mm256_loadu_ps", "_mm256_storeu_ps", "_mm256_setzero_ps", "_mm256_add_ps", "_mm256_mul_ps", "_mm256_max_ps", "_mm256_fmadd_ps"},
   {"__m256d", "_mm256_set1_pd", "_mm256_loadu_pd", "_mm256_storeu_pd", "_mm256_setzero_pd", "_mm256_add_pd", "_mm256_mul_pd", "_mm256_max_pd", "_mm256_fmadd_pd"}},
  {{"__m512", "_mm512_set1_ps", "_mm512_loadu_ps", "_mm512_storeu_ps", "_mm512_setzero_ps", "_mm512_add_ps", "_mm512_mul_ps", "_mm512_max_ps", "_mm512_fmadd_ps"},
   {"__m512d", "_mm512_set1_pd", "_mm512_loadu_pd", "_mm512_storeu_pd", "_mm512_setzero_pd", "_mm512_add_pd", "_mm512_mul_pd", "_mm512_max_pd", "_mm512_fmadd_pd"}},
};

const cg_vector *cg_tile_vector(const cg_tile *t) {
  int bytes = t->lanes * cg_dtypes[t->dtype].size;
  return &vectors[bytes == 64 ? 2 : bytes == 32][t->dtype == CG_F64];
}

// Vectors of B's elements: panels may be kept in half precision. (As intrinsics: gcc makes a mess of __builtin_convertvector.)
static const char *load_of(cg_kernel *k, const cg_tile *t) {
  if (t->kept == t->dtype) return cg_tile_vector(t)->load;
  static const struct { const char *mm, *bits, *half; } spelt[] = {
    {"_mm", "si128", "_mm_loadu_si64"}, {"_mm256", "si256", "_mm_loadu_si128"}, {"_mm512", "si512", "_mm256_loadu_si256"}};
  int bytes = t->lanes * cg_dtypes[t->dtype].size, i = bytes / 32;
  const char *name = cg_format(cg_kernel_session(k), "load_%s", cg_dtypes[t->kept].text), *mm = spelt[i].mm;
  cg_str *o = cg_kernel_shared(k, name);
  if (!o) return name;
  cg_str_addf(o, "static inline %s %s(const uint16_t *p) { return ", cg_tile_vector(t)->type, name);
  if (t->kept == CG_F16) cg_str_addf(o, "%s_cvtph_ps(%s((const void *)p)); }\n", mm, spelt[i].half);
  else cg_str_addf(o, "%s_cast%s_ps(%s_slli_epi32(%s_cvtepu16_epi32(%s((const void *)p)), 16)); }\n", mm, spelt[i].bits, mm, mm, spelt[i].half);
  return name;
}

// One step of the depth: row i + set of B, column i + set of A, into accumulators c<set>_<row>_<vector>.
// at: A's rows are where the pointers p<row> say; otherwise they lie lda apart.
// packed: B's rows follow each other and are loaded by this function; otherwise (NULL) they lie ldb apart.
static void emit_step(cg_str *o, const cg_tile *t, int rows, int nv, int set, bool at, const char *packed) {
  const cg_vector *v = cg_tile_vector(t);
  for (int j = 0; j < nv; j++) {
    if (packed) cg_str_addf(o, "    b%d = %s(b + %d);\n", j, packed, (set * nv + j) * t->lanes);
    else cg_str_addf(o, "    b%d = %s(b + %d * ldb + %d);\n", j, v->load, set, j * t->lanes);
  }
  for (int r = 0; r < rows; r++) {
    int g = r / 3 * 3; // three rows share a pointer, so that few registers address all of them
    if (at) cg_str_addf(o, "    x = %s(p%d[i + %d]);\n", v->set, r, set);
    else cg_str_addf(o, "    x = %s(a%d[%d * lda + i + %d]);\n", v->set, g, r - g, set);
    for (int j = 0; j < nv; j++) {
      if (v->fma) cg_str_addf(o, "    c%d_%d_%d = %s(x, b%d, c%d_%d_%d);\n", set, r, j, v->fma, j, set, r, j);
      else cg_str_addf(o, "    c%d_%d_%d = %s(c%d_%d_%d, %s(x, b%d));\n", set, r, j, v->add, set, r, j, v->mul, j);
    }
  }
}

// Few rows take several sets of accumulators in turn, to hide the latency of the additions.
static int sets_of(const cg_tile *t, int rows, int nv) {
  int sets = 1, most = t->lanes * cg_dtypes[t->dtype].size == 16 ? 2 : 4;
  while (sets < most && rows * nv * sets < 8) sets *= 2;
  return sets;
}

static void emit_accumulators(cg_str *o, const cg_tile *t, int rows, int nv, int sets) {
  const cg_vector *v = cg_tile_vector(t);
  cg_str_addf(o, "  %s x", v->type);
  for (int j = 0; j < nv; j++) cg_str_addf(o, ", b%d", j);
  cg_str_add(o, ";\n");
  for (int u = 0; u < sets; u++)
    for (int r = 0; r < rows; r++)
      for (int j = 0; j < nv; j++) cg_str_addf(o, "  %s c%d_%d_%d = %s();\n", v->type, u, r, j, v->zero);
}

// The sets become one, which is added to C where that is asked for, and stored.
static void emit_sums(cg_str *o, const cg_tile *t, int rows, int nv, int sets) {
  const cg_vector *v = cg_tile_vector(t);
  for (int half = sets / 2; half; half /= 2)
    for (int u = 0; u < half; u++)
      for (int r = 0; r < rows; r++)
        for (int j = 0; j < nv; j++)
          cg_str_addf(o, "  c%d_%d_%d = %s(c%d_%d_%d, c%d_%d_%d);\n", u, r, j, v->add, u, r, j, u + half, r, j);
  cg_str_add(o, "  if (add) {\n");
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < nv; j++)
      cg_str_addf(o, "    c0_%d_%d = %s(%s(c + %d * ldc + %d), c0_%d_%d);\n", r, j, v->add, v->load, r, j * t->lanes, r, j);
  cg_str_add(o, "  }\n");
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < nv; j++) cg_str_addf(o, "  %s(c + %d * ldc + %d, c0_%d_%d);\n", v->store, r, j * t->lanes, r, j);
  cg_str_add(o, "}\n");
}

// tile_T_RxC: R rows, nv vectors wide.
static void emit_tile_rows(cg_str *o, const cg_tile *t, int rows, int nv) {
  int sets = sets_of(t, rows, nv);
  cg_str_addf(o, "static void tile_%s_%dx%d(int64_t k, const %s *a, int64_t lda, const %s *b, int64_t ldb, %s *c, int64_t ldc, int add) {\n", t->name,
              rows, nv * t->lanes, t->ctype, t->ctype, t->ctype);
  for (int g = 0; g < rows; g += 3) cg_str_addf(o, "  const %s *a%d = a + %d * lda;\n", t->ctype, g, g);
  emit_accumulators(o, t, rows, nv, sets);
  cg_str_add(o, "  int64_t i = 0;\n");
  cg_str_addf(o, "  for (; i + %d < k; i += %d, b += %d * ldb) {\n", sets - 1, sets, sets);
  for (int u = 0; u < sets; u++) emit_step(o, t, rows, nv, u, false, NULL);
  cg_str_add(o, "  }\n");
  if (sets > 1) {
    cg_str_add(o, "  for (; i < k; i++, b += ldb) {\n");
    emit_step(o, t, rows, nv, 0, false, NULL);
    cg_str_add(o, "  }\n");
  }
  emit_sums(o, t, rows, nv, sets);
}

// at_T_RxC: B packed, over several runs of the depth, each of which begins where a pointer for each row says; meanwhile what comes
// after B is fetched from `ahead` on.
static void emit_tile_at(cg_kernel *k, cg_str *o, const cg_tile *t, int rows, int nv) {
  int sets = sets_of(t, rows, nv), line = 64 / cg_dtypes[t->kept].size;
  const char *load = load_of(k, t), *B = cg_kernel_ctype(t->kept);
  cg_str_addf(o,
              "static void at_%s_%dx%d(int64_t runs, int64_t n, const %s *const *at, int64_t ld, int64_t from, const %s *b, const %s *ahead, %s *c, int64_t ldc, int add) {\n",
              cg_dtypes[t->kept].text, rows, nv * t->lanes, t->ctype, B, B, t->ctype);
  emit_accumulators(o, t, rows, nv, sets);
  cg_str_add(o, "  for (; runs > 0; runs--, at += ld) {\n    int64_t i = 0;\n");
  for (int r = 0; r < rows; r++) cg_str_addf(o, "    const %s *p%d = at[%d] + from;\n", t->ctype, r, r);
  cg_str_addf(o, "    for (; i + %d < n; i += %d, b += %d, ahead += %d) {\n", sets - 1, sets, sets * nv * t->lanes, sets * line);
  for (int u = 0; u < sets; u++) {
    cg_str_addf(o, "    __builtin_prefetch(ahead + %d, 0, 2);\n", u * line);
    emit_step(o, t, rows, nv, u, true, load);
  }
  cg_str_add(o, "    }\n");
  if (sets > 1) {
    cg_str_addf(o, "    for (; i < n; i++, b += %d) {\n", nv * t->lanes);
    emit_step(o, t, rows, nv, 0, true, load);
    cg_str_add(o, "    }\n");
  }
  cg_str_add(o, "  }\n");
  emit_sums(o, t, rows, nv, sets);
}

// ahead_T_RxC: with B packed; meanwhile what comes after it is fetched from `ahead` on.
static void emit_tile_ahead(cg_kernel *k, cg_str *o, const cg_tile *t, int rows, int nv) {
  int sets = sets_of(t, rows, nv), line = 64 / cg_dtypes[t->kept].size;
  const char *load = load_of(k, t), *B = cg_kernel_ctype(t->kept);
  cg_str_addf(o, "static void ahead_%s_%dx%d(int64_t k, const %s *a, int64_t lda, const %s *b, const %s *ahead, %s *c, int64_t ldc, int add) {\n",
              cg_dtypes[t->kept].text, rows, nv * t->lanes, t->ctype, B, B, t->ctype);
  for (int g = 0; g < rows; g += 3) cg_str_addf(o, "  const %s *a%d = a + %d * lda;\n", t->ctype, g, g);
  emit_accumulators(o, t, rows, nv, sets);
  cg_str_addf(o, "  int64_t i = 0;\n  for (; i + %d < k; i += %d, b += %d, ahead += %d) {\n", sets - 1, sets, sets * nv * t->lanes, sets * line);
  for (int u = 0; u < sets; u++) {
    cg_str_addf(o, "    __builtin_prefetch(ahead + %d, 0, 2);\n", u * line);
    emit_step(o, t, rows, nv, u, false, load);
  }
  cg_str_add(o, "  }\n");
  if (sets > 1) {
    cg_str_addf(o, "  for (; i < k; i++, b += %d) {\n", nv * t->lanes);
    emit_step(o, t, rows, nv, 0, false, load);
    cg_str_add(o, "  }\n");
  }
  emit_sums(o, t, rows, nv, sets);
}

// How many rows have all their accumulators in registers.
static int most_rows(const cg_tile *t, int nv) {
  int bytes = t->lanes * cg_dtypes[t->dtype].size, most = (bytes == 64 ? 24 : bytes == 32 ? 12 : 8) / nv;
  return most < 12 ? most : 12;
}

// to[n] = from[n] in what is computed in; n a multiple of the vector's lanes.
static const char *emit_wide(cg_kernel *k, const cg_tile *t) {
  const char *name = cg_format(cg_kernel_session(k), "wide_%s", cg_dtypes[t->kept].text), *load = load_of(k, t);
  cg_str *o = cg_kernel_shared(k, name);
  if (o)
    cg_str_addf(o, "static inline void %s(int64_t n, const uint16_t *from, %s *to) {\n  for (int64_t i = 0; i < n; i += %d) %s(to + i, %s(from + i));\n}\n", name, t->ctype,
                t->lanes, cg_tile_vector(t)->store, load);
  return name;
}

// For many rows a piece of B is made wide once.
static void emit_pieces(cg_str *o, const cg_tile *t, int width, bool at, const char *wide, const char *function) {
  int most = ROOM / (width * cg_dtypes[t->dtype].size), piece = most > PIECE ? most : PIECE;
  cg_str_addf(o, "  if (rows > %d) {\n    %s wide[%d * %d] __attribute__((aligned(64)));\n    int64_t i = 0, m;\n", MANY, t->ctype, piece, width);
  if (at)
    cg_str_addf(o,
                "    const int64_t some = n <= %d ? %d / (n ? n : 1) : 1; // runs of a piece, if not a part of one\n"
                "    int64_t run = 0, r;\n"
                "    do {\n"
                "      m = n - i < %d ? n - i : %d, r = runs - run < some ? runs - run : some;\n"
                "      %s(r * m * %d, b, wide);\n"
                "      %s(rows, r, m, at + run * ld, ld, from + i, wide, c, ldc, add);\n"
                "      b += r * m * %d, add = 1, i += m;\n"
                "      if (i == n) i = 0, run += r;\n"
                "    } while (run < runs);\n",
                piece, piece, piece, piece, wide, width, function, width);
  else
    cg_str_addf(o,
                "    do {\n"
                "      m = k - i < %d ? k - i : %d;\n"
                "      %s(m * %d, b + i * %d, wide);\n"
                "      %s(rows, m, a + i, lda, wide, c, ldc, add);\n"
                "      add = 1, i += m;\n"
                "    } while (i < k);\n",
                piece, piece, wide, width, width, function);
  cg_str_add(o, "    return;\n  }\n");
}

// The function over any number of rows. at: rows are where pointers say.
static const char *panel(cg_kernel *k, const cg_tile *t, int cols, bool at) {
  int nv = (cols + t->lanes - 1) / t->lanes, width = nv * t->lanes, most = most_rows(t, nv);
  const char *N = cg_dtypes[t->kept].text, *name = cg_format(cg_kernel_session(k), "stream_%s%s_%d", at ? "at_" : "", N, width);
  const char *T = t->ctype, *B = cg_kernel_ctype(t->kept), *wide = NULL, *function = NULL;
  if (t->kept != t->dtype) {
    cg_tile plain = cg_tile_keep(t, t->dtype);
    wide = emit_wide(k, t), function = panel(k, &plain, cols, at);
  }
  cg_str *o = cg_kernel_shared(k, name);
  if (!o) return name;
  for (int r = 1; r <= most; r++) (at ? emit_tile_at : emit_tile_ahead)(k, o, t, r, nv);
  const char *a = at ? cg_format(o->s, "int64_t runs, int64_t n, const %s *const *at, int64_t ld, int64_t from", T) : cg_format(o->s, "int64_t k, const %s *a, int64_t lda", T);
  cg_str_addf(o,
              "// c[rows][%d] (+)= a[rows][k] * b[k][%d], b packed, in tiles of at most %d rows; each fetches its part of what comes after b.\n%s"
              "static void %s(int64_t rows, %s, const %s *b, %s *c, int64_t ldc, int add) {\n",
              width, width, most, at ? "// Row r of a's run i, n long, is where at[i * ld + r] says.\n" : "", name, a, B, T);
  if (function) emit_pieces(o, t, width, at, wide, function);
  cg_str_addf(o, "  static void (*const tile[])(%s, const %s *b, const %s *ahead, %s *c, int64_t ldc, int add) = {0", a, B, B, T);
  for (int r = 1; r <= most; r++) cg_str_addf(o, ", %s_%s_%dx%d", at ? "at" : "ahead", N, r, width);
  cg_str_addf(o,
              "};\n"
              "  const int64_t strips = (rows + %d) / %d, size = %s * %d;\n"
              "  for (int64_t s = 0; s < strips; s++) {\n"
              "    const int64_t r = s * rows / strips, m = (s + 1) * rows / strips - r;\n"
              "    tile[m](%s, b, b + size + s * size / strips, c + r * ldc, ldc, add);\n"
              "  }\n"
              "}\n",
              most - 1, most, at ? "runs * n" : "k", width, at ? "runs, n, at + r, ld, from" : "k, a + r * lda, lda");
  return name;
}

const char *cg_tile_by_width(cg_session *s, const char *whole, const char *rest) {
  return !rest ? whole : !whole ? rest : cg_format(s, "(width == NR ? %s : %s)", whole, rest);
}

cg_stream cg_tile_stream(cg_kernel *k, const cg_tile *t, int64_t cols, bool at) {
  cg_session *s = cg_kernel_session(k);
  int64_t tail = cols % t->nr;
  const char *whole = cols >= t->nr ? panel(k, t, t->nr, at) : NULL, *rest = tail ? panel(k, t, (int)tail, at) : NULL;
  const char *width = tail ? cg_format(s, "%lld", (long long)cg_tile_packed(t, 1, tail)) : NULL;
  return (cg_stream){cg_tile_by_width(s, whole, rest), cg_tile_by_width(s, whole ? "NR" : NULL, width)};
}

static void emit_float_tiles(cg_str *o, const cg_tile *t) {
  for (int nv = 2; nv >= 1; nv--)
    for (int r = 1; r <= t->mr; r++) emit_tile_rows(o, t, r, nv);
  cg_str_addf(o, "// By width (whole, half) and number of rows.\n"
                 "static void (*const tile_%s[2][%d])(int64_t k, const %s *a, int64_t lda, const %s *b, int64_t ldb, %s *c, int64_t ldc, int add) = {\n",
              t->name, t->mr + 1, t->ctype, t->ctype, t->ctype);
  for (int nv = 2; nv >= 1; nv--) {
    cg_str_add(o, "  {0");
    for (int r = 1; r <= t->mr; r++) cg_str_addf(o, ", tile_%s_%dx%d", t->name, r, nv * t->lanes);
    cg_str_add(o, "},\n");
  }
  cg_str_add(o, "};\n");
  cg_str_addf(o,
              "// c[rows][%d] (+)= a[rows][k] * b[k][%d] in tiles of at most %d rows, as even as they come. narrow: half as many columns.\n"
              "static inline void block_%s(int64_t rows, int narrow, int64_t k, const %s *a, int64_t lda, const %s *b, int64_t ldb, %s *c, int64_t ldc, int add) {\n"
              "  const int64_t strips = (rows + %d) / %d;\n"
              "  for (int64_t s = 0; s < strips; s++) {\n"
              "    const int64_t r = s * rows / strips, n = (s + 1) * rows / strips - r;\n"
              "    tile_%s[narrow][n](k, a + r * lda, lda, b, ldb, c + r * ldc, ldc, add);\n"
              "  }\n"
              "}\n",
              t->nr, t->nr, t->mr, t->name, t->ctype, t->ctype, t->ctype, t->mr - 1, t->mr, t->name);
}

// Integers wrap around: computed unsigned.
static void emit_integer_block(cg_str *o, const cg_tile *t) {
  const char *u = cg_dtypes[t->dtype].size == 8 ? "uint64_t" : "uint32_t";
  cg_str_addf(o,
              "// c[rows][%d] (+)= a[rows][k] * b[k][%d], wrapping around. narrow: half as many columns.\n"
              "static inline void block_%s(int64_t rows, int narrow, int64_t k, const %s *a, int64_t lda, const %s *b, int64_t ldb, %s *c, int64_t ldc, int add) {\n"
              "  const int64_t n = narrow ? %d : %d;\n"
              "  for (int64_t r = 0; r < rows; r++) {\n"
              "    if (!add)\n"
              "      for (int64_t j = 0; j < n; j++) c[r * ldc + j] = 0;\n"
              "    for (int64_t i = 0; i < k; i++)\n"
              "      for (int64_t j = 0; j < n; j++)\n"
              "        c[r * ldc + j] = (%s)((%s)c[r * ldc + j] + (%s)a[r * lda + i] * (%s)b[i * ldb + j]);\n"
              "  }\n"
              "}\n",
              t->nr, t->nr, t->name, t->ctype, t->ctype, t->ctype, t->nr / 2, t->nr, t->ctype, u, u, u);
}

// ---------------------------------------------------------------- its helpers

// The product of two vectors, for results of one column.
static void emit_dot(cg_str *o, const cg_tile *t) {
  const char *T = t->ctype, *N = t->name;
  if (t->lanes == 1) {
    const char *u = cg_dtypes[t->dtype].size == 8 ? "uint64_t" : "uint32_t";
    cg_str_addf(o,
                "static inline %s dot_%s(int64_t k, const %s *a, const %s *b) {\n"
                "  %s sum = 0;\n"
                "  for (int64_t i = 0; i < k; i++) sum += (%s)a[i] * (%s)b[i];\n"
                "  return (%s)sum;\n}\n",
                T, N, T, T, u, u, u, T);
    return;
  }
  const cg_vector *v = cg_tile_vector(t);
  int L = t->lanes;
  cg_str_addf(o, "static inline %s dot_%s(int64_t k, const %s *a, const %s *b) {\n  %s s[4] = {%s(), %s(), %s(), %s()};\n  int64_t i = 0;\n", T, N, T, T,
              v->type, v->zero, v->zero, v->zero, v->zero);
  for (int at_once = 4; at_once > 0; at_once -= 3) { // four vectors at a time, then one
    cg_str_addf(o, "  for (; i + %d <= k; i += %d) {\n", at_once * L, at_once * L);
    for (int j = 0; j < at_once; j++) {
      if (v->fma) cg_str_addf(o, "    s[%d] = %s(%s(a + i + %d), %s(b + i + %d), s[%d]);\n", j, v->fma, v->load, j * L, v->load, j * L, j);
      else cg_str_addf(o, "    s[%d] = %s(%s(%s(a + i + %d), %s(b + i + %d)), s[%d]);\n", j, v->add, v->mul, v->load, j * L, v->load, j * L, j);
    }
    cg_str_add(o, "  }\n");
  }
  cg_str_addf(o,
              "  %s part[%d];\n"
              "  %s(part, %s(%s(s[0], s[1]), %s(s[2], s[3])));\n"
              "  for (int64_t j = 0; i + j < k; j++) part[j] += a[i + j] * b[i + j];\n"
              "  for (int n = %d; n; n /= 2)\n"
              "    for (int j = 0; j < n; j++) part[j] += part[j + n];\n"
              "  return part[0];\n}\n",
              T, L, v->store, v->add, v->add, v->add, L / 2);
}

static const char *copy_name(cg_kernel *k, cg_dtype stored, const char *what) { return cg_format(cg_kernel_session(k), "%s_%s", what, cg_dtypes[stored].text); }

// An 8x8 transpose in registers: what packing a matrix whose columns are contiguous spends its time on.
static const char transpose8[] =
  "// dst[j][i] = src[i][j] for an 8x8 block.\n"
  "static inline void transpose8_f32(const float *src, int64_t lds, float *dst, int64_t ldd) {\n"
  "  __m256 r[8], t[8];\n"
  "  for (int i = 0; i < 4; i++) {\n"
  "    r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(src + i * lds)), _mm_loadu_ps(src + (i + 4) * lds), 1);\n"
  "    r[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(src + i * lds + 4)), _mm_loadu_ps(src + (i + 4) * lds + 4), 1);\n"
  "  }\n"
  "  for (int h = 0; h < 8; h += 4) {\n"
  "    t[0] = _mm256_unpacklo_ps(r[h], r[h + 1]), t[1] = _mm256_unpackhi_ps(r[h], r[h + 1]);\n"
  "    t[2] = _mm256_unpacklo_ps(r[h + 2], r[h + 3]), t[3] = _mm256_unpackhi_ps(r[h + 2], r[h + 3]);\n"
  "    _mm256_storeu_ps(dst + h * ldd, _mm256_shuffle_ps(t[0], t[2], 0x44));\n"
  "    _mm256_storeu_ps(dst + (h + 1) * ldd, _mm256_shuffle_ps(t[0], t[2], 0xee));\n"
  "    _mm256_storeu_ps(dst + (h + 2) * ldd, _mm256_shuffle_ps(t[1], t[3], 0x44));\n"
  "    _mm256_storeu_ps(dst + (h + 3) * ldd, _mm256_shuffle_ps(t[1], t[3], 0xee));\n"
  "  }\n"
  "}\n";

static void emit_copy(cg_kernel *k, cg_str *o, const cg_tile *t, cg_dtype stored) {
  bool fast = stored == CG_F32 && cg_kernel_vector_bytes(k) >= 32;
  const char *place = copy_name(k, stored, "place"), *from = cg_kernel_ctype(stored);
  if (fast) cg_str_add(o, transpose8);
  cg_str_addf(o,
              "// dst[rows][width], its rows ld apart: src, element (i, j) at src[i * row + j * col]; columns from cols to width are zeroed.\n"
              "static inline void %s(int64_t rows, int64_t cols, const %s *src, int64_t row, int64_t col, %s *dst, int64_t width, int64_t ld) {\n"
              "  int64_t i0 = 0, j0 = 0;\n",
              place, from, t->ctype);
  if (fast)
    cg_str_add(o, "  if (row == 1 && col != 1)\n"
                  "    for (; i0 + 8 <= rows; i0 += 8)\n"
                  "      for (j0 = 0; j0 + 8 <= cols; j0 += 8) transpose8_f32(src + i0 + j0 * col, col, dst + i0 * ld + j0, ld);\n");
  cg_str_addf(o, "  for (int64_t i = 0; i < rows; i++) {\n"
                 "    int64_t j = i < i0 ? j0 : 0; // up to there it is done\n"
                 "    if (col == 1)\n"
                 "      for (; j < cols; j++) dst[i * ld + j] = %s;\n"
                 "    else\n"
                 "      for (; j < cols; j++) dst[i * ld + j] = %s;\n"
                 "    for (; j < width; j++) dst[i * ld + j] = 0;\n"
                 "  }\n"
                 "}\n"
                 "static inline void %s(int64_t rows, int64_t cols, const %s *src, int64_t row, int64_t col, %s *dst, int64_t ld) { %s(rows, cols, src, row, col, dst, ld, ld); }\n",
              cg_kernel_load(k, stored, "src", "i * row + j"), cg_kernel_load(k, stored, "src", "i * row + j * col"), copy_name(k, stored, "copy"), from, t->ctype, place);
}

const char *cg_tile_copy(cg_kernel *k, cg_dtype stored) { return copy_name(k, stored, "copy"); }
const char *cg_tile_place(cg_kernel *k, cg_dtype stored) { return copy_name(k, stored, "place"); }

void cg_vector_fma(cg_str *o, const cg_vector *v, const char *name) {
  cg_str_addf(o, "// a * b + c\nstatic inline %s %s(%s a, %s b, %s c) { return ", v->type, name, v->type, v->type, v->type);
  if (v->fma) cg_str_addf(o, "%s(a, b, c); }\n", v->fma);
  else cg_str_addf(o, "%s(%s(a, b), c); }\n", v->add, v->mul);
}

// ---------------------------------------------------------------- softmax rows

// e^x for x <= 0 as 2^n * e^r with |r| <= ln(2)/2 and a Taylor polynomial; what underflows is 0, NaN stays NaN.
void cg_tile_softmax(cg_kernel *k, const cg_tile *t) {
  cg_session *s = cg_kernel_session(k);
  cg_str *o = cg_kernel_shared(k, cg_format(s, "softmax_%s", t->name));
  if (!o) return;
  const cg_vector *v = cg_tile_vector(t);
  bool d = t->dtype == CG_F64;
  const char *N = t->name, *T = t->ctype, *f = d ? "" : "f", *max = v->max;
  int degree = d ? 12 : 7, L = t->lanes, width = L * cg_dtypes[t->dtype].size;
  double factorial = 1;
  for (int i = 2; i <= degree; i++) factorial *= i;
  cg_str_addf(o, "typedef %s bits_%s __attribute__((vector_size(%d)));\n", d ? "int64_t" : "int32_t", N, width);
  cg_vector_fma(o, v, cg_format(s, "fma_%s", N));
  cg_str_addf(o,
              "// e^x for x <= 0: 2^n * e^r, |r| <= ln(2)/2. What underflows is 0, NaN stays NaN.\n"
              "static inline %s exp_%s(%s x) {\n"
              "  const %s magic = %s(%s%s); // adding it rounds to an integer\n"
              "  x = %s(%s(%s%s), x);\n"
              "  const %s shifted = fma_%s(x, %s(1.44269504088896341%s), magic), n = shifted - magic;\n",
              v->type, N, v->type, v->type, v->set, d ? "6755399441055744.0" : "12582912.0", f, max, v->set, d ? "-709.0" : "-88.0", f, v->type, N, v->set, f);
  cg_str_addf(o, "  const %s r = fma_%s(n, %s(%s%s), fma_%s(n, %s(%s%s), x));\n", v->type, N, v->set, d ? "-1.90821492927058770002e-10" : "-1.42860677e-6", f, N,
              v->set, d ? "-6.93147180369123816490e-01" : "-0.693145752", f);
  cg_str_addf(o, "  %s p = %s(%.17g%s);\n", v->type, v->set, 1 / factorial, f);
  for (int i = degree; i >= 1; i--) {
    factorial /= i;
    cg_str_addf(o, "  p = fma_%s(p, r, %s(%.17g));\n", N, v->set, 1 / factorial);
  }
  cg_str_addf(o, "  return p * (%s)(((bits_%s)shifted - (bits_%s)magic + %d) << %d);\n}\n", v->type, N, N, d ? 1023 : 127, d ? 52 : 23);
  cg_str_addf(o, "static inline %s row_max_%s(const %s *x, int64_t n) {\n", T, N, T);
  cg_str_addf(o,
              "  %s m = %s(x);\n"
              "  for (int64_t i = %d; i < n; i += %d) m = %s(m, %s(x + i));\n"
              "  %s part[%d];\n"
              "  %s(part, m);\n"
              "  for (int i = 1; i < %d; i++) part[0] = part[i] > part[0] ? part[i] : part[0];\n"
              "  return part[0];\n}\n",
              v->type, v->load, L, L, max, v->load, T, L, v->store, L);
  cg_str_addf(o,
              "// x[i] = e^(x[i] - max); their sum.\n"
              "static inline %s row_exp_%s(%s *x, int64_t n, %s max) {\n"
              "  %s sum = %s();\n"
              "  for (int64_t i = 0; i < n; i += %d) {\n"
              "    const %s e = exp_%s(%s(x + i) - %s(max));\n"
              "    %s(x + i, e);\n"
              "    sum = sum + e;\n"
              "  }\n"
              "  %s part[%d];\n"
              "  %s(part, sum);\n"
              "  for (int i = 1; i < %d; i++) part[0] += part[i];\n"
              "  return part[0];\n}\n",
              T, N, T, T, v->type, v->zero, L, v->type, N, v->load, v->set, v->store, T, L, v->store, L);
}

// ---------------------------------------------------------------- the tile for a type and target

cg_tile cg_tile_get(cg_kernel *k, cg_dtype stored) {
  cg_tile t = {.dtype = stored == CG_F16 || stored == CG_BF16 ? CG_F32 : stored, .lanes = 1, .mr = 8, .nr = 32, .mc = 64, .kc = 256};
  t.ctype = cg_kernel_computed(stored), t.name = cg_dtypes[t.dtype].text, t.kept = t.dtype;
  if (t.dtype == CG_F32 || t.dtype == CG_F64) {
    int bytes = cg_kernel_vector_bytes(k);
    t.lanes = bytes / cg_dtypes[t.dtype].size, t.nr = 2 * t.lanes;
    t.mr = bytes == 64 ? 12 : bytes == 32 ? 6 : 4;
    t.mc = 144, t.kc = t.dtype == CG_F32 ? 384 : 256;
  }
  t.step = t.lanes > 1 ? t.lanes : t.nr / 2;
  cg_session *s = cg_kernel_session(k);
  cg_str *o = cg_kernel_shared(k, "immintrin");
  if (o) cg_str_add(o, "#include <immintrin.h>\n");
  o = cg_kernel_shared(k, cg_format(s, "tile_%s", t.name));
  if (o) {
    if (t.lanes > 1) emit_float_tiles(o, &t);
    else emit_integer_block(o, &t);
    emit_dot(o, &t);
  }
  o = cg_kernel_shared(k, copy_name(k, stored, "copy"));
  if (o) emit_copy(k, o, &t, stored);
  return t;
}

cg_tile cg_tile_keep(const cg_tile *t, cg_dtype weights) {
  cg_tile kept = *t;
  bool fast = t->dtype == CG_F32 && (weights == CG_BF16 ? t->lanes > 1 : weights == CG_F16 && t->lanes * cg_dtypes[t->dtype].size >= 32); // those processors convert f16
  kept.kept = fast ? weights : t->dtype;
  return kept;
}

cg_tile cg_tile_wide(cg_kernel *k, const cg_tile *t, int64_t cols) {
  static const char *const widths[] = {"panels of 1 vector", "panels of 2 vectors", "panels of 3 vectors", "panels of 4 vectors"};
  cg_tile w = *t;
  int bytes = t->lanes * cg_dtypes[t->dtype].size, most = bytes == 64 ? 4 : bytes == 32 ? 3 : 2;
  if (t->lanes == 1) return w;
  w.nr = (1 + cg_kernel_choose(k, "panels", most, widths, most - 1)) * t->lanes;
  if (cols < w.nr) w.nr = (int)cg_tile_packed(&w, 1, cols);
  w.mc = 256, w.kc = bytes == 64 ? 192 : 256;
  return w;
}

// ---------------------------------------------------------------- packing at compile time

int64_t cg_tile_packed(const cg_tile *t, int64_t depth, int64_t n) { return depth * ((n + t->step - 1) / t->step * t->step); }

void cg_tile_convert(const cg_tile *t, cg_dtype from, const void *src, void *dst) {
  if (from == t->kept) {
    memcpy(dst, src, cg_dtypes[from].size);
    return;
  }
  float f;
  uint16_t h;
  if (from == CG_F32) memcpy(&f, src, 4);
  else {
    memcpy(&h, src, 2);
    f = from == CG_BF16 ? cg_float_of_bf16(h) : cg_float_of_f16(h);
  }
  if (t->kept == CG_F32) memcpy(dst, &f, 4);
  else h = t->kept == CG_BF16 ? cg_bf16_of_float(f) : cg_f16_of_float(f), memcpy(dst, &h, 2);
}

void cg_tile_pack(const cg_tile *t, cg_dtype from, const void *src, int64_t stride_k, int64_t stride_n, int64_t depth, int64_t n, void *dst) {
  size_t to_size = cg_dtypes[t->kept].size, from_size = cg_dtypes[from].size;
  for (int64_t n0 = 0; n0 < n; n0 += t->nr) {
    int64_t cols = n - n0 < t->nr ? n - n0 : t->nr, width = (cols + t->step - 1) / t->step * t->step;
    char *panel = (char *)dst + (size_t)(n0 * depth) * to_size; // (depth, width), zeroed by the caller
    for (int64_t j = 0; j < cols; j++)
      for (int64_t i = 0; i < depth; i++)
        cg_tile_convert(t, from, (const char *)src + (i * stride_k + (n0 + j) * stride_n) * (int64_t)from_size, panel + (size_t)(i * width + j) * to_size);
  }
}
