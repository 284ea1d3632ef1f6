// Pooling by maximum or mean over a window. With the channels innermost in memory a vector is one pixel's channels; in the model's order
// it is a run of pixels. Only elements inside the image are looked at.
#include "backend/c/kernel_gemm.h"
#include "ops/rule.h"

enum { RUN = 256, BLOCK = 64, BESIDE = 4, SPATIAL = 3 };

typedef struct {
  cg_kernel *k;
  cg_session *s;
  const cg_node *n;
  cg_window w;
  cg_tile tile;
  cg_kernel_input x;
  bool max, padding_counts;
  int64_t divisor;                        // 0: the window's size
  const char *in[SPATIAL], *out[SPATIAL], *index[SPATIAL + 2];
} writer;

static bool is_max(const cg_node *n) { return n->schema->name[6] == 'm'; } // aten::max_pool2d, aten::avg_pool2d

static const char *claim(cg_pipeline *p, const cg_node *n) {
  cg_window w;
  const char *why = cg_r_window(n->fn->module, n, &w);
  (void)p;
  if (why) return why;
  if (w.first < 1 || w.first > 2) return "pooling of an input of this rank";
  return NULL;
}

static const char *stride(writer *w, int d) { return cg_kernel_size(w->k, w->x.stride[d]); }

static const char *product(writer *w, const char *const *dim, int n) {
  const char *t = "1";
  for (int i = 0; i < n; i++) t = i ? cg_format(w->s, "%s * %s", t, dim[i]) : dim[i];
  return t;
}

// The result's indices of the outer spatial dimensions from `line`.
static void split_line(writer *w, cg_str *o) {
  const char *rest = "line";
  for (int d = w->w.spatial - 2; d >= 0; d--) {
    cg_str_addf(o, "      const int64_t %s = %s %% %s;\n", w->index[w->w.first + d], rest, w->out[d]);
    rest = cg_format(w->s, "(%s / %s)", rest, w->out[d]);
  }
}

// Within a loop over t, the taps of the outer dimensions: `at`, where the tap's line begins; taps outside are skipped.
static void outer_tap(writer *w, cg_str *o, const char *indent) {
  int64_t below = 1;
  for (int d = w->w.spatial - 2; d >= 0; d--) {
    cg_str_addf(o, "%sconst int64_t y%d = %s * %lld - %lld + t / %lld %% %lld * %lld;\n%sif (y%d < 0 || y%d >= %s) continue;\n%sat += y%d * (%s);\n", indent, d, w->index[w->w.first + d],
                (long long)w->w.s[d], (long long)w->w.p[d], (long long)below, (long long)w->w.k[d], (long long)w->w.d[d], indent, d, d, w->in[d], indent, d, stride(w, w->w.first + d));
    below *= w->w.k[d];
  }
}

static int64_t lines_of(const writer *w) {
  int64_t n = 1;
  for (int d = 0; d < w->w.spatial - 1; d++) n *= w->w.k[d];
  return n;
}

// How many elements the mean is over, at the place of the result that the indices name.
static void count(writer *w, cg_str *o, const char *indent) {
  if (w->max) return;
  if (w->divisor) {
    cg_str_addf(o, "%sconst %s count = %lld;\n", indent, w->tile.ctype, (long long)w->divisor);
    return;
  }
  cg_str_addf(o, "%sint64_t size = 1;\n", indent);
  for (int d = 0; d < w->w.spatial; d++) {
    long long p = w->w.p[d];
    cg_str_addf(o, "%s{\n%s  const int64_t from = %s * %lld - %lld, past = from + %lld, most = %s + %lld;\n%s  size *= (past < most ? past : most) - %s;\n%s}\n", indent, indent,
                w->index[w->w.first + d], (long long)w->w.s[d], p, (long long)w->w.k[d], w->in[d], w->padding_counts ? p : 0, indent, w->padding_counts ? "from" : "(from < 0 ? 0 : from)", indent);
  }
  cg_str_addf(o, "%sconst %s count = size;\n", indent, w->tile.ctype);
}

// ---------------------------------------------------------------- channels innermost

// One pixel by several vectors of channels, taps k0 … k1-1 of each line.
static void emit_pixel(writer *w, cg_str *o, int vectors) {
  const char *T = w->tile.ctype, *N = cg_kernel_name(w->k);
  int lanes = w->tile.lanes;
  cg_str_addf(o, "static inline void %s_pixel%d(int64_t lines, const %s *const *row, int64_t x, int64_t c, int64_t sx, int64_t k0, int64_t k1, %s *sum) {\n  %s_vector", N, vectors, T, T, N);
  for (int j = 0; j < vectors; j++) cg_str_addf(o, w->max ? "%s s%d = (%s_vector){0} - (%s)INFINITY" : "%s s%d = {0}", j ? "," : "", j, N, T);
  cg_str_addf(o, ";\n  for (int64_t y = 0; y < lines; y++) {\n    const %s *r = row[y] + x + c + k0 * %lld * sx;\n", T, (long long)w->w.d[w->w.spatial - 1]);
  if (!w->max) {
    cg_str_addf(o, "    %s_vector", N);
    for (int j = 0; j < vectors; j++) cg_str_addf(o, "%s l%d = {0}", j ? "," : "", j);
    cg_str_add(o, "; // sums of a line\n");
  }
  cg_str_addf(o, "    for (int64_t k = k0; k < k1; k++, r += %lld * sx) {\n      %s_vector v;\n", (long long)w->w.d[w->w.spatial - 1], N);
  for (int j = 0; j < vectors; j++) {
    cg_str_addf(o, "      __builtin_memcpy(&v, r + %d, sizeof v);\n", j * lanes);
    if (!w->max) cg_str_addf(o, "      l%d += v;\n", j);
    else cg_str_addf(o, "      const %s_bits m%d = (v > s%d) | (v != v); // NaN stays\n      s%d = (%s_vector)((m%d & (%s_bits)v) | (~m%d & (%s_bits)s%d));\n", N, j, j, j, N, j, N, j, N, j);
  }
  cg_str_add(o, "    }\n");
  for (int j = 0; j < vectors && !w->max; j++) cg_str_addf(o, "    s%d += l%d;\n", j, j);
  cg_str_add(o, "  }\n");
  for (int j = 0; j < vectors; j++) cg_str_addf(o, "  __builtin_memcpy(sum + %d, &s%d, sizeof s%d);\n", j * lanes, j, j);
  cg_str_add(o, "}\n");
}

static void emit_store(writer *w, cg_str *o, int lanes) {
  cg_str_addf(o, "          #pragma omp simd\n          for (int64_t j = 0; j < %d; j++) {\n            const int64_t %s = c + j;\n", lanes, w->index[w->w.first - 1]);
  cg_kernel_store(w->k, o, 12, 0, w->max ? "sum[j]" : "sum[j] / count", w->index);
  cg_str_add(o, "          }\n        }\n");
}

static void emit_last(writer *w, cg_str *o) {
  const char *T = w->tile.ctype, *N = cg_kernel_name(w->k);
  int last = w->w.spatial - 1, first = w->w.first, lanes = w->tile.lanes;
  long long channels = w->x.dim[first - 1]->value, s = w->w.s[last], p = w->w.p[last], l = w->w.d[last], lines = lines_of(w);
  cg_str *before = cg_kernel_before(w->k);
  cg_str_addf(before, "typedef %s %s_vector __attribute__((vector_size(%d)));\ntypedef %s %s_bits __attribute__((vector_size(%d)));\n", T, N, lanes * cg_dtypes[w->tile.dtype].size,
              w->tile.dtype == CG_F64 ? "int64_t" : "int32_t", N, lanes * cg_dtypes[w->tile.dtype].size);
  emit_pixel(w, before, BESIDE);
  emit_pixel(w, before, 1);
  cg_str_addf(o, "  const int64_t lines = %s, blocks = (%s + %d) / %d, sx = %s;\n", product(w, w->out, last), w->out[last], BLOCK - 1, BLOCK, stride(w, first + last));
  cg_tile_units(o, cg_format(w->s, "%s * lines * blocks", first > 1 ? cg_kernel_size(w->k, w->x.dim[0]) : "1"), cg_format(w->s, "units * %d * %lld", BLOCK, channels * lines * (long long)w->w.k[last]),
                cg_format(w->s, "    %s sum[%d] __attribute__((aligned(64)));\n    const %s *row[%lld];\n", T, BESIDE * lanes, T, lines));
  cg_str_add(o, "      const int64_t block = unit % blocks, line = unit / blocks % lines, sample = unit / (blocks * lines);\n      int64_t used = 0;\n      (void)line, (void)sample;\n");
  if (first > 1) cg_str_addf(o, "      const int64_t %s = sample;\n", w->index[0]);
  split_line(w, o);
  cg_str_addf(o, "      for (int64_t t = 0; t < %lld; t++) {\n        int64_t at = %s%s;\n", lines, cg_kernel_size(w->k, w->x.offset), first > 1 ? cg_format(w->s, " + sample * (%s)", stride(w, 0)) : "");
  outer_tap(w, o, "        ");
  cg_str_addf(o,
              "        row[used++] = %s + at;\n"
              "      }\n"
              "      const int64_t to = (block + 1) * %d < %s ? (block + 1) * %d : %s;\n"
              "      for (int64_t %s = block * %d; %s < to; %s++) {\n"
              "        const int64_t start = %s * %lld - %lld, x = start * sx;\n"
              "        int64_t k0 = 0, k1 = %lld, c0 = 0;\n"
              "        while (k0 < k1 && start + k0 * %lld < 0) k0++;\n"
              "        while (k1 > k0 && start + (k1 - 1) * %lld >= %s) k1--;\n",
              w->x.name, BLOCK, w->out[last], BLOCK, w->out[last], w->index[first + last], BLOCK, w->index[first + last], w->index[first + last], w->index[first + last], s, p,
              (long long)w->w.k[last], l, l, w->in[last]);
  count(w, o, "        ");
  cg_str_addf(o, "        for (; c0 + %d <= %lld; c0 += %d) {\n          const int64_t c = c0;\n          %s_pixel%d(used, row, x, c, sx, k0, k1, sum);\n", BESIDE * lanes, channels, BESIDE * lanes, N, BESIDE);
  emit_store(w, o, BESIDE * lanes);
  cg_str_addf(o, "        for (; c0 < %lld; c0 += %d) {\n          const int64_t c = c0 + %d <= %lld ? c0 : %lld; // the last vector may overlap the one before it\n          %s_pixel1(used, row, x, c, sx, k0, k1, sum);\n",
              channels, lanes, lanes, channels, channels - lanes, N);
  emit_store(w, o, lanes);
  cg_str_add(o, "      }\n");
  cg_tile_units_end(o);
}

// ---------------------------------------------------------------- pixels innermost

static void emit_planes(writer *w, cg_str *o) {
  const char *T = w->tile.ctype, *A = w->max ? T : "double";
  int last = w->w.spatial - 1, first = w->w.first;
  long long s = w->w.s[last], p = w->w.p[last], l = w->w.d[last], k = w->w.k[last];
  const char *planes = cg_kernel_size(w->k, w->x.dim[first - 1]);
  cg_str_addf(o, "  const int64_t lines = %s, runs = (%s + %d) / %d, planes = %s;\n", product(w, w->out, last), w->out[last], RUN - 1, RUN, planes);
  cg_tile_units(o, cg_format(w->s, "%s * planes * lines * runs", first > 1 ? cg_kernel_size(w->k, w->x.dim[0]) : "1"), cg_format(w->s, "units * %s * %lld", w->out[last], k * lines_of(w)),
                cg_format(w->s, "    %s sum[%d] __attribute__((aligned(64)));\n", A, RUN));
  cg_str_addf(o,
              "      const int64_t run = unit %% runs * %d, length = %s - run < %d ? %s - run : %d, line = unit / runs %% lines, %s = unit / (runs * lines) %% planes;\n"
              "      (void)line;\n",
              RUN, w->out[last], RUN, w->out[last], RUN, w->index[first - 1]);
  if (first > 1) cg_str_addf(o, "      const int64_t %s = unit / (runs * lines * planes);\n", w->index[0]);
  split_line(w, o);
  cg_str_addf(o, "      for (int64_t u = 0; u < length; u++) sum[u] = %s;\n", w->max ? "-INFINITY" : "0");
  cg_str_addf(o, "      for (int64_t t = 0; t < %lld; t++) {\n        int64_t at = %s", (long long)lines_of(w), cg_kernel_size(w->k, w->x.offset));
  for (int d = 0; d < first; d++) cg_str_addf(o, " + %s * (%s)", w->index[d], stride(w, d));
  cg_str_add(o, ";\n");
  outer_tap(w, o, "        ");
  cg_str_addf(o,
              "        for (int64_t k = 0; k < %lld; k++) {\n"
              "          const int64_t start = run * %lld - %lld + k * %lld;\n"
              "          int64_t lo = start < 0 ? (-start + %lld) / %lld : 0, hi = start < %s ? (%s - start + %lld) / %lld : 0;\n"
              "          if (hi > length) hi = length;\n"
              "          #pragma omp simd\n"
              "          for (int64_t u = lo; u < hi; u++) {\n"
              "            const %s v = %s[at + (start + u * %lld) * (%s)];\n"
              "            sum[u] = %s;\n"
              "          }\n"
              "        }\n"
              "      }\n"
              "      #pragma omp simd\n"
              "      for (int64_t u = 0; u < length; u++) {\n"
              "        const int64_t %s = run + u;\n",
              k, s, p, l, s - 1, s, w->in[last], w->in[last], s - 1, s, T, w->x.name, s, stride(w, first + last), w->max ? "(v > sum[u]) | (v != v) ? v : sum[u]" : "sum[u] + v", w->index[first + last]);
  count(w, o, "        ");
  cg_kernel_store(w->k, o, 8, 0, w->max ? "sum[u]" : "sum[u] / count", w->index);
  cg_str_add(o, "      }\n");
  cg_tile_units_end(o);
}

static void emit(cg_kernel *k, const cg_node *n) {
  writer w = {.k = k, .s = cg_kernel_session(k), .n = n, .max = is_max(n), .padding_counts = cg_r_bool(n, "count_include_pad", true), .divisor = cg_r_int_or(n, "divisor_override", 0)};
  cg_r_window(cg_kernel_module(k), n, &w.w);
  w.tile = cg_tile_get(k, n->result[0]->type.dtype);
  w.x = cg_kernel_read(k, cg_arg_tensor(cg_node_arg(n, "self")));
  const cg_type *t = &n->result[0]->type;
  for (int d = 0; d < w.w.spatial; d++) w.in[d] = cg_kernel_size(k, w.x.dim[w.w.first + d]), w.out[d] = cg_kernel_size(k, t->dim[w.w.first + d]);
  for (int d = 0; d < t->rank; d++) {
    w.index[d] = cg_format(w.s, "i%d", d);
    if (cg_x_is(t->dim[d], 0)) return; // nothing to compute
  }
  const cg_expr *channels = w.x.dim[w.w.first - 1];
  if (cg_x_is_int(channels) && channels->value >= w.tile.lanes && cg_x_is(w.x.stride[w.w.first - 1], 1)) emit_last(&w, cg_kernel_body(k));
  else emit_planes(&w, cg_kernel_body(k));
}

const cg_kernel_template cg_kernel_pool = {"pool", claim, true, true, emit};
