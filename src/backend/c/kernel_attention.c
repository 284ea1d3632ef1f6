// Scaled dot-product attention: softmax(scale * Q K^T + mask) V, for a block of queries at a time. Scores live in a small buffer of
// the thread; keys are taken in blocks, with a running maximum and sum of each row (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).
#include <math.h>
#include <string.h>

#include "backend/c/attention.h"
#include "backend/c/kernel_gemm.h"
#include "backend/c/kernel_rows.h"

enum { KEYS = 512 }; // keys of a block

typedef struct {
  cg_kernel *k;
  cg_session *s;
  cg_module *m;
  const cg_node *n;
  cg_tile tile;
  cg_kernel_input q, key, v;
  struct { cg_scores_step kind; cg_kernel_input mask; const char *fill; double number; } step[CG_SCORES_STEPS];
  int n_steps;
  bool causal, flash, safe; // flash: the operator that also gives the logarithm of the sums; safe: a row that is masked altogether is 0
  const cg_type *out;
  int rank;
  const char *index[CG_MAX_RANK];
  const char *kt, *vp; // packed K; packed V or NULL: read in place
} writer;

static const char *size(writer *w, const cg_expr *e) { return cg_kernel_size(w->k, e); }

// Where the matrix of `in` for the query batch (i0, i1, …) starts. Grouped heads: several of the query's share one of `in`.
static const char *matrix_offset(writer *w, const cg_kernel_input *in, bool own_index) {
  cg_str t = cg_str_new(w->s);
  if (!cg_x_is(in->offset, 0)) cg_str_add(&t, size(w, in->offset));
  for (int d = 0; d < w->rank - 2; d++) {
    if (cg_x_is(in->stride[d], 0) || cg_x_is(in->dim[d], 1)) continue;
    if (t.n) cg_str_add(&t, " + ");
    if (in->dim[d] == w->out->dim[d] || own_index) cg_str_add(&t, w->index[d]);
    else cg_str_addf(&t, "%s / (%s / %s)", w->index[d], size(w, w->out->dim[d]), size(w, in->dim[d]));
    cg_str_addf(&t, " * (%s)", size(w, in->stride[d]));
  }
  if (!t.n) cg_str_add(&t, "0");
  return cg_str_text(&t);
}

// Number of the matrix of `in` that belongs to the query batch, in C order of its own batch dimensions.
static const char *matrix_number(writer *w, const cg_kernel_input *in) {
  const char *t = "0";
  for (int d = 0; d < w->rank - 2; d++) {
    if (cg_x_is(in->dim[d], 1)) continue;
    const char *i = w->index[d];
    if (in->dim[d] != w->out->dim[d]) i = cg_format(w->s, "%s / (%s / %s)", i, size(w, w->out->dim[d]), size(w, in->dim[d]));
    t = !strcmp(t, "0") ? i : cg_format(w->s, "(%s) * (%s) + %s", t, size(w, in->dim[d]), i);
  }
  return t;
}

static const cg_expr *batches_of(writer *w, const cg_expr *const *dim) {
  const cg_expr *e = cg_x_int(&w->m->exprs, 1);
  for (int d = 0; d < w->rank - 2; d++) e = cg_x_mul(&w->m->exprs, e, dim[d]);
  return e;
}

// `const int64_t i0 = …;` from the linear index `of` over dim[0 … rank-3].
static void split_batch(writer *w, cg_str *o, int indent, const char *of, const cg_expr *const *dim) {
  const char *rest = of;
  for (int d = w->rank - 3; d >= 0; d--) {
    const char *n = size(w, dim[d]);
    if (d) cg_str_addf(o, "%*sconst int64_t %s = %s %% (%s), rest%d = %s / (%s);\n", indent, "", w->index[d], rest, n, d, rest, n);
    else cg_str_addf(o, "%*sconst int64_t %s = %s;\n", indent, "", w->index[d], rest);
    cg_str_addf(o, "%*s(void)%s;\n", indent, "", w->index[d]);
    rest = cg_format(w->s, "rest%d", d);
  }
}

// Packs B = (depth, cols) of every batch of `in` as panels: (batch, panel, depth, NR). Of the keys, one of the two, those before `bound`.
static const char *pack(writer *w, cg_str *o, const cg_kernel_input *in, const char *what, const cg_expr *depth, const cg_expr *cols, const cg_expr *stride_depth,
                        const cg_expr *stride_col) {
  bool keys_are_cols = in == &w->key;
  cg_expr_pool *x = &w->m->exprs;
  const cg_expr *nr = cg_x_int(x, w->tile.nr), *batches = batches_of(w, in->dim);
  const cg_expr *panels = cg_x_floordiv(x, cg_x_add(x, cols, cg_x_int(x, w->tile.nr - 1)), nr);
  const char *to = cg_kernel_scratch(w->k, w->tile.dtype, cg_x_mul(x, cg_x_mul(x, batches, panels), cg_x_mul(x, depth, nr)));
  const char *n = size(w, cols), *p = size(w, panels), *dn = size(w, depth);
  cg_str_addf(o, "  // %s as panels (batch, panel, %s, NR)\n", what, dn);
  cg_str_addf(o, "  #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && %s * %s * %s > 50000)\n", size(w, batches), keys_are_cols ? "bound" : n,
              keys_are_cols ? dn : "bound");
  cg_str_addf(o, "  for (int64_t at = 0; at < %s * %s; at++) {\n    const int64_t z = at / %s, n0 = at %% %s * NR, width = %s - n0 < NR ? %s - n0 : NR;\n    (void)z;\n", size(w, batches), p, p, p,
              n, n);
  split_batch(w, o, 4, "z", in->dim);
  if (keys_are_cols) cg_str_add(o, "    if (n0 >= bound) continue;\n");
  cg_str_addf(o, "    %s(%s, width, %s + %s + n0 * (%s), %s, %s, %s + at * %s * NR, width <= NR / 2 ? NR / 2 : NR);\n  }\n", cg_tile_copy(w->k, in->dtype), keys_are_cols ? dn : "bound",
              in->name, matrix_offset(w, in, true), size(w, stride_col), size(w, stride_depth), size(w, stride_col), to, dn);
  return to;
}

// One step over `row`, which holds the scores of keys key0 … key0 + count - 1 of query q0 + i, scaled in the first.
static void emit_step(writer *w, cg_str *o, int step, const char *scores) {
  const char *T = w->tile.ctype, *next;
  const cg_kernel_input *m = &w->step[step].mask;
  int r = w->rank;
  cg_str at = cg_str_new(w->s);
  cg_str_add(&at, size(w, m->offset));
  const char *stride = "0";
  for (int d = 0; d < m->rank; d++) {
    int to = r - m->rank + d; // the dimension of (batch…, query, key)
    if (cg_x_is(m->dim[d], 1) || cg_x_is(m->stride[d], 0)) continue;
    const char *i = to == r - 1 ? "key0" : to == r - 2 ? "(q0 + i)" : w->index[to];
    cg_str_addf(&at, " + %s * (%s)", i, size(w, m->stride[d]));
    if (to == r - 1) stride = size(w, m->stride[d]);
  }
  const char *x = cg_kernel_load(w->k, m->dtype, cg_format(w->s, "mask%d", step), !strcmp(stride, "1") ? "j" : cg_format(w->s, "j * (%s)", stride));
  switch (w->step[step].kind) {
  case CG_SCORES_FILL: next = cg_format(w->s, "%s ? %s : %s", x, w->step[step].fill, scores); break;
  case CG_SCORES_KEEP: next = cg_format(w->s, "%s ? %s : %s", x, scores, w->step[step].fill); break;
  default:
    next = m->dtype == CG_BOOL ? cg_format(w->s, "%s + (%s ? 0 : -(%s)INFINITY)", scores, x, T) : cg_format(w->s, "%s + (%s)%s", scores, T, x);
  }
  cg_str_addf(o,
              "          const %s *mask%d = %s + %s;\n          #pragma omp simd\n"
              "          for (int64_t j = 0; j < count; j++) row[j] = %s;\n",
              cg_kernel_ctype(m->dtype), step, m->name, cg_str_text(&at), next);
}

static void emit_mask(writer *w, cg_str *o) {
  if (!w->n_steps) cg_str_add(o, "          #pragma omp simd\n          for (int64_t j = 0; j < count; j++) row[j] = row[j] * scale;\n");
  for (int i = 0; i < w->n_steps; i++) emit_step(w, o, i, i ? "row[j]" : "row[j] * scale");
  if (w->causal)
    cg_str_addf(o, "          for (int64_t j = q0 + i + 1 > key0 ? q0 + i + 1 - key0 : 0; j < count; j++) row[j] = -(%s)INFINITY;\n", w->tile.ctype);
}

static void emit_units(writer *w, cg_str *o, const char *scale) {
  const char *T = w->tile.ctype, *N = w->tile.name, *e = w->tile.dtype == CG_F64 ? "exp" : "expf", *log = w->tile.dtype == CG_F64 ? "log" : "logf";
  int r = w->rank, height = 2 * w->tile.mr, D = (int)w->q.dim[r - 1]->value, E = (int)w->v.dim[r - 1]->value;
  int EP = (E + w->tile.nr - 1) / w->tile.nr * w->tile.nr;
  bool copy_q = w->q.dtype != w->tile.dtype || !cg_x_is(w->q.stride[r - 1], 1);
  const char *batches = size(w, batches_of(w, w->out->dim));
  cg_str_addf(o, "  const int64_t queries = %s, blocks = (queries + %d) / %d, key_panels = (keys + NR - 1) / NR;\n  const %s scale = %s;\n", size(w, w->q.dim[r - 2]), height - 1, height, T, scale);
  cg_str setup = cg_str_new(w->s);
  cg_str_addf(&setup,
              "    %s scores[%d * %d] __attribute__((aligned(64))); // (queries of a block, keys of a block)\n"
              "    %s sum[%d * %d] __attribute__((aligned(64))); // (queries of a block, %d)\n"
              "    %s most[%d], total[%d]; // of each row: its largest score, the sum of its exponentials\n",
              T, height, KEYS, T, height, EP, E, T, height, height);
  if (copy_q) cg_str_addf(&setup, "    %s copy[%d * %d] __attribute__((aligned(64))); // (queries of a block, %d)\n", T, height, D ? D : 1, D);
  cg_tile_units(o, cg_format(w->s, "%s * blocks", batches), cg_format(w->s, "%s * queries * bound * %d", batches, D + E), cg_str_text(&setup));
  cg_str_add(o, "      const int64_t z = unit / blocks, block = unit % blocks;\n"
                "      const int64_t q0 = block * queries / blocks, height = (block + 1) * queries / blocks - q0;\n"
                "      (void)z;\n");
  split_batch(w, o, 6, "z", w->out->dim);
  const char *q_at = cg_format(w->s, "%s + %s + q0 * (%s)", w->q.name, matrix_offset(w, &w->q, false), size(w, w->q.stride[r - 2]));
  if (copy_q)
    cg_str_addf(o, "      %s(height, %d, %s, %s, %s, copy, %d);\n      const %s *q = copy;\n      const int64_t ldq = %d;\n", cg_tile_copy(w->k, w->q.dtype), D, q_at,
                size(w, w->q.stride[r - 2]), size(w, w->q.stride[r - 1]), D, T, D);
  else cg_str_addf(o, "      const %s *q = %s;\n      const int64_t ldq = %s;\n", T, q_at, size(w, w->q.stride[r - 2]));
  cg_str_addf(o, "      const %s *kt = %s + (%s) * key_panels * %d * NR;\n", T, w->kt, matrix_number(w, &w->key), D);
  if (w->vp) cg_str_addf(o, "      const %s *v = %s + (%s) * keys * %d;\n", T, w->vp, matrix_number(w, &w->v), EP);
  else cg_str_addf(o, "      const %s *v = %s + %s;\n", T, w->v.name, matrix_offset(w, &w->v, false));
  cg_str_addf(o,
              "      for (int64_t i = 0; i < height; i++) most[i] = -(%s)INFINITY, total[i] = 0;\n"
              "      for (int64_t i = 0; i < height * %d; i++) sum[i] = 0;\n"
              "      const int64_t limit = %s;\n"
              "      for (int64_t key0 = 0; key0 < limit; key0 += %d) {\n"
              "        const int64_t count = limit - key0 < %d ? limit - key0 : %d, padded = (count + %d) / %d * %d;\n"
              "        for (int64_t j = 0; j < count; j += NR) {\n"
              "          const int narrow = keys - key0 - j <= NR / 2;\n"
              "          block_%s(height, narrow, %d, q, ldq, kt + (key0 + j) * %d, narrow ? NR / 2 : NR, scores + j, %d, 0);\n"
              "        }\n",
              T, EP, w->causal ? "q0 + height < keys ? q0 + height : keys" : "bound", KEYS, KEYS, KEYS, w->tile.lanes - 1, w->tile.lanes, w->tile.lanes, N, D, D, KEYS);
  cg_str_addf(o, "        for (int64_t i = 0; i < height; i++) {\n          %s *row = scores + i * %d;\n", T, KEYS);
  emit_mask(w, o);
  cg_str_addf(o,
              "          for (int64_t j = count; j < padded; j++) row[j] = -(%s)INFINITY;\n"
              "          const %s here = row_max_%s(row, padded), next = here > most[i] ? here : most[i];\n"
              "          const %s base = next == -(%s)INFINITY ? 0 : next; // all masked so far: every exponential is 0\n"
              "          const %s here_total = row_exp_%s(row, padded, base), shrink = key0 ? %s(most[i] - base) : 1;\n"
              "          if (shrink != 1)\n"
              "            for (int64_t j = 0; j < %d; j++) sum[i * %d + j] *= shrink;\n"
              "          total[i] = total[i] * shrink + here_total;\n"
              "          most[i] = next;\n"
              "        }\n",
              T, T, N, T, T, T, N, e, EP, EP);
  cg_str_addf(o,
              "        for (int64_t j = 0; j < %d; j += NR) {\n"
              "          const int narrow = %d - j <= NR / 2;\n",
              E, E);
  if (w->vp) cg_str_addf(o, "          const int64_t ldv = narrow ? NR / 2 : NR;\n          block_%s(height, narrow, count, scores, %d, v + j * keys + key0 * ldv, ldv, sum + j, %d, key0 > 0);\n", N, KEYS, EP);
  else cg_str_addf(o, "          block_%s(height, narrow, count, scores, %d, v + key0 * (%s) + j, %s, sum + j, %d, key0 > 0);\n", N, KEYS, size(w, w->v.stride[r - 2]), size(w, w->v.stride[r - 2]), EP);
  cg_str_addf(o,
              "        }\n"
              "      }\n"
              "      for (int64_t i = 0; i < height; i++) {\n"
              "        const int64_t i%d = q0 + i;\n"
              "        const %s by = %s1 / total[i];%s\n",
              r - 2, T, w->safe ? "total[i] == 0 ? 0 : " : "!keys ? 0 : ", w->safe ? " // a row that is masked altogether is 0" : "");
  cg_str_addf(o, "        #pragma omp simd\n        for (int64_t i%d = 0; i%d < %d; i%d++) {\n          const %s acc = sum[i * %d + i%d] * by;\n", r - 1, r - 1, E, r - 1, T, EP, r - 1);
  cg_kernel_store(w->k, o, 10, 0, "acc", w->index);
  cg_str_add(o, "        }\n");
  if (w->flash && w->n->nresults > 1) {
    cg_str_addf(o, "        {\n          const %s acc = most[i] + %s(total[i]);\n", T, log);
    cg_kernel_store(w->k, o, 10, 1, "acc", w->index);
    cg_str_add(o, "        }\n");
  }
  cg_str_add(o, "      }\n");
  cg_tile_units_end(o);
}

// Of scaled_dot_product_attention, or of attention that was written out (attention.h).
static void read_steps(writer *w, const cg_node *n) {
  const cg_arg *masks = cg_node_arg(n, "masks");
  w->safe = !masks;
  for (int i = 0; masks && i < cg_arg_list_len(masks); i++) {
    int64_t kind = 0;
    cg_arg_int_const(cg_arg_list_at(cg_node_arg(n, "kinds"), i), &kind);
    w->step[w->n_steps].kind = (cg_scores_step)kind;
    cg_arg_double(cg_arg_list_at(cg_node_arg(n, "fills"), i), &w->step[w->n_steps].number);
    w->step[w->n_steps].fill = cg_kernel_scalar(w->k, cg_arg_list_at(cg_node_arg(n, "fills"), i), w->tile.dtype);
    w->step[w->n_steps++].mask = cg_kernel_read(w->k, cg_arg_tensor(cg_arg_list_at(masks, i)));
  }
  if (masks) return;
  cg_value *mask = cg_arg_tensor(cg_node_arg(n, "attn_mask"));
  double causal = 0;
  if (mask) w->step[w->n_steps++].mask = cg_kernel_read(w->k, mask);
  w->causal = cg_arg_double(cg_node_arg(n, "is_causal"), &causal) && causal;
}

// ---------------------------------------------------------------- keys that nobody may read

// Caches are longer than what is in them, and a mask hides the rest: its scores are -inf, their exponentials 0, and 0 times any value
// that is a number adds nothing. So keys behind the last one that the mask lets somebody read need not be looked at, unless NaN, inf or
// numbers so large that products overflow are among them: their 0 * NaN is NaN in PyTorch.

// C text: whether the mask's element at `at` leaves a key readable; NULL: this mask hides no key for certain.
static const char *readable(writer *w, const char *at) {
  const cg_kernel_input *m = &w->step[0].mask;
  const char *x = cg_kernel_load(w->k, m->dtype, m->name, at);
  switch (w->step[0].kind) {
  case CG_SCORES_FILL: return w->step[0].number == -INFINITY ? cg_format(w->s, "!(%s)", x) : NULL;
  case CG_SCORES_KEEP: return w->step[0].number == -INFINITY ? x : NULL;
  case CG_SCORES_ADD: break;
  }
  return m->dtype == CG_BOOL ? x : cg_format(w->s, "(%s) != -INFINITY", x);
}

static bool small_scale(const cg_node *n) {
  const cg_arg *scale = cg_node_arg(n, "scale");
  double by = 1;
  return !scale || scale->kind == CG_A_NONE || (cg_arg_double(scale, &by) && fabs(by) <= 100);
}

static bool in_cache(const cg_kernel_input *in) { return cg_c_rows_written(cg_c_behind(in->value)); }

static void loops_over(writer *w, cg_str *o, const cg_kernel_input *in, int rank, const char *stem, const char **index) {
  for (int d = 0; d < rank; d++) {
    index[d] = cg_format(w->s, "%s%d", stem, d);
    cg_str_addf(o, "    for (int64_t %s = 0; %s < %s; %s++)\n", index[d], index[d], size(w, in->dim[d]), index[d]);
  }
}

static void emit_bound(writer *w, cg_str *o) {
  const cg_kernel_input *m = &w->step[0].mask;
  cg_str_addf(o, "  const int64_t keys = %s;\n  int64_t bound = keys; // those behind it are not looked at\n", size(w, w->key.dim[w->rank - 2]));
  bool masked = w->n_steps == 1 && !w->causal && m->rank && m->dim[m->rank - 1] == w->key.dim[w->rank - 2] && readable(w, "0");
  if (!masked || !in_cache(&w->key) || !in_cache(&w->v) || !small_scale(w->n)) return;
  const char *key = cg_kernel_wild(w->k, w->key.name, false), *value = cg_kernel_wild(w->k, w->v.name, false), *index[CG_MAX_RANK];
  cg_str_addf(o, "  if (%s && %s && !*%s && !*%s) { // K and V hold numbers of ordinary size\n    bool tame = true;\n", key, value, key, value);
  loops_over(w, o, &w->q, w->q.rank, "e", index);
  cg_str_addf(o, "      tame &= fabs(%s) <= %g;\n    if (tame) bound = 0;\n", cg_kernel_load(w->k, w->q.dtype, w->q.name, cg_rows_at(w->k, &w->q, index)), CG_EMIT_TAME);
  loops_over(w, o, m, m->rank - 1, "m", index);
  index[m->rank - 1] = "(last - 1)";
  cg_str_addf(o,
              "      for (int64_t last = keys; last > bound; last--)\n"
              "        if (%s) {\n          bound = last;\n          break;\n        }\n  }\n",
              readable(w, cg_rows_at(w->k, m, index)));
}

static void emit(cg_kernel *k, const cg_node *n) {
  writer w = {.k = k, .s = cg_kernel_session(k), .m = cg_kernel_module(k), .n = n, .out = &n->result[0]->type};
  w.rank = w.out->rank;
  w.tile = cg_tile_get(k, w.out->dtype);
  cg_tile_softmax(k, &w.tile);
  for (int d = 0; d < w.rank; d++) w.index[d] = cg_format(w.s, "i%d", d);
  w.q = cg_kernel_read(k, cg_arg_tensor(cg_node_arg(n, "query")));
  w.key = cg_kernel_read(k, cg_arg_tensor(cg_node_arg(n, "key")));
  w.v = cg_kernel_read(k, cg_arg_tensor(cg_node_arg(n, "value")));
  read_steps(&w, n);
  w.flash = n->nresults > 1;
  int r = w.rank;
  cg_str *o = cg_kernel_body(k);
  cg_str_addf(o, "  enum { NR = %d };\n", w.tile.nr);
  emit_bound(&w, o);
  w.kt = pack(&w, o, &w.key, "K transposed", w.key.dim[r - 1], w.key.dim[r - 2], w.key.stride[r - 1], w.key.stride[r - 2]);
  bool in_place = w.v.dtype == w.tile.dtype && cg_x_is(w.v.stride[r - 1], 1) && w.v.dim[r - 1]->value % (w.tile.nr / 2) == 0;
  if (!in_place) w.vp = pack(&w, o, &w.v, "V", w.v.dim[r - 2], w.v.dim[r - 1], w.v.stride[r - 2], w.v.stride[r - 1]);
  const cg_arg *scale = cg_node_arg(n, "scale");
  const char *text;
  if (scale && scale->kind != CG_A_NONE) text = cg_kernel_scalar(k, scale, w.tile.dtype);
  else {
    cg_arg a = cg_a_float(1 / sqrt((double)w.q.dim[r - 1]->value));
    text = cg_kernel_scalar(k, &a, w.tile.dtype);
  }
  emit_units(&w, o, text);
}

const cg_kernel_template cg_kernel_attention = {"attention", NULL, true, true, emit};
