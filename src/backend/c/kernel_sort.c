// Sorting and selecting along one dimension: sort, argsort, msort, topk, kthvalue, median, mode. Each row becomes an array of keys of
// the same order with their places (rows.def), which is sorted or partitioned; values are then read where they came from.
#include <string.h>

#include "backend/c/kernel_rows.h"

enum { ON_STACK = 512 }; // rows that are this short need no scratch memory

static bool is(const cg_node *n, const char *key) { return cg_node_is_op(n, key); }
static bool flag(const cg_node *n, const char *name) {
  double v;
  return cg_arg_double(cg_node_arg(n, name), &v) && v != 0;
}
static cg_value *self_of(const cg_node *n) { return cg_arg_tensor(cg_node_arg(n, "self")); }
static bool whole(const cg_node *n) { return is(n, "aten::median") || is(n, "aten::nanmedian"); }
static bool sorts(const cg_node *n) { return strstr(n->schema->name, "sort"); }

static int dim_of(const cg_node *n, int rank) { return whole(n) || is(n, "aten::msort") ? 0 : cg_rows_dim(n, "dim", rank); }

static const char *claim(cg_pipeline *p, const cg_node *n) {
  static const char *const flags[] = {"descending", "largest", "sorted", "keepdim", "stable"};
  const cg_value *x = self_of(n);
  double v;
  const cg_expr *k;
  if (!x) return "self is no tensor";
  if (dim_of(n, x->type.rank ? x->type.rank : 1) < 0) return "a dimension that is not known";
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    const cg_arg *a = cg_node_arg(n, flags[i]);
    if (a && a->kind != CG_A_NONE && !cg_arg_double(a, &v)) return cg_format(p->s, "%s is not a literal", flags[i]);
  }
  const cg_arg *a = cg_node_arg(n, "k");
  if (a && !cg_arg_int(a, &k)) return "k is not known";
  return NULL;
}

typedef struct {
  cg_kernel *k;
  cg_session *s;
  const cg_node *n;
  cg_str *o;
  cg_kernel_input in;
  int dim;
  bool all;                 // the whole tensor is one row
  const char *kind;         // "p" or "w": see rows.def
  const char *type;         // of the elements that are sorted
  const char *size;         // of a row
  const char *index[CG_MAX_RANK];
  const char *values, *indices; // results, NULL: nobody reads them
} writer;

static bool wide(cg_dtype t) { return t == CG_F64 || t == CG_I64; }

// ---------------------------------------------------------------- elements

static const char *raw(writer *w, const char *j) {
  if (w->all && w->in.contiguous) return cg_format(w->s, "%s[%s]", w->in.name, j);
  w->index[w->dim] = w->all ? w->index[w->dim] : j;
  return cg_format(w->s, "%s[%s]", w->in.name, cg_rows_at(w->k, &w->in, w->index));
}

// A whole tensor that is not contiguous: the indices of its element number j.
static void locate(writer *w, int indent, const char *j) {
  bool every[CG_MAX_RANK];
  if (!w->all || w->in.contiguous) return;
  memset(every, true, sizeof every);
  cg_rows_decode(w->k, w->o, indent, j, w->in.rank, w->in.dim, every, w->index);
}

// x: of the dtype that is computed with.
static const char *key_of(writer *w, const char *x) {
  switch (w->in.dtype) {
  case CG_F64: return cg_format(w->s, "cg_key_f64(%s)", x);
  case CG_I64: return cg_format(w->s, "cg_key_i64(%s)", x);
  case CG_F32: return cg_format(w->s, "cg_key_f32(%s)", x);
  case CG_BF16: return cg_format(w->s, "cg_key_f32(%s) >> 16", x); // what is below is all 0, or all 1
  case CG_F16: return cg_format(w->s, "cg_key_f32(%s) >> 13", x);
  default: return cg_format(w->s, "cg_key_i32(%s)", x);
  }
}

static const char *key(writer *w, const char *j, bool reversed) {
  const char *x = raw(w, j);
  if (w->in.dtype == CG_F16) x = cg_format(w->s, "cg_from_f16(%s)", x);
  if (w->in.dtype == CG_BF16) x = cg_format(w->s, "cg_from_bf16(%s)", x);
  x = key_of(w, x);
  return reversed ? cg_format(w->s, "~(%s)", x) : x;
}

// a[j] = key and place, for the whole row.
static void fill(writer *w, bool reversed) {
  cg_str_addf(w->o, "      for (int64_t j = 0; j < %s; j++) {\n", w->size);
  locate(w, 8, "j");
  cg_str_addf(w->o, "        a[j] = cg_pack_%s(%s, j);\n      }\n", w->kind, key(w, "j", reversed));
}

// ---------------------------------------------------------------- rows of results

static const char *result_place(writer *w, int k, const char *j) {
  const cg_type *t = &w->n->result[k]->type;
  const char *at[CG_MAX_RANK];
  if (!t->rank) return "0";
  bool kept = t->rank == w->in.rank;
  for (int d = 0, r = 0; d < w->in.rank; d++)
    if (d != w->dim) at[r++] = w->index[d];
    else if (kept) at[r++] = j;
  return cg_rows_place(w->k, t->rank, t->dim, at);
}

// The first `count` elements of a are the results.
static void write_row(writer *w, const char *count) {
  int indices = w->n->nresults - 1;
  cg_str_addf(w->o, "      for (int64_t j = 0; j < %s; j++) {\n        const int64_t at = cg_at_%s(a[j]);\n", count, w->kind);
  if (w->values) cg_str_addf(w->o, "        %s[%s] = %s;\n", w->values, result_place(w, 0, "j"), raw(w, "at"));
  if (w->indices) cg_str_addf(w->o, "        %s[%s] = at;\n", w->indices, result_place(w, indices, "j"));
  cg_str_add(w->o, "      }\n");
}

// The element at `at` is the result.
static void write_one(writer *w) {
  locate(w, 6, "at");
  const char *zero = w->n->result[0]->type.rank == w->in.rank ? "0" : NULL;
  if (w->values) cg_str_addf(w->o, "      %s[%s] = %s;\n", w->values, result_place(w, 0, zero), raw(w, "at"));
  if (w->indices) cg_str_addf(w->o, "      %s[%s] = at;\n", w->indices, result_place(w, 1, zero));
}

// ---------------------------------------------------------------- what is done with a row

static void sort_row(writer *w) {
  const cg_node *n = w->n;
  cg_dtype t = w->in.dtype;
  bool descending = flag(n, "descending");
  // For large one-dimensional integers PyTorch has a stable sort, even if it is not asked for.
  bool radix = w->in.rank == 1 && cg_is_integral(t) && t != CG_BOOL && !descending && n->result[0]->type.rank;
  fill(w, descending);
  const char *stable = cg_format(w->s, "cg_stable_%s(a, b, %s);", w->kind, w->size), *other = cg_format(w->s, "cg_sort_%s(a, %s);", w->kind, w->size);
  if (flag(n, "stable") || !w->indices || cg_x_is(w->in.stride[w->dim], 0)) cg_str_addf(w->o, "      %s\n", stable);
  else if (!radix) cg_str_addf(w->o, "      (void)b;\n      %s\n", other);
  else cg_str_addf(w->o, "      if (%s < 32768) %s\n      else %s\n", w->size, other, stable);
  write_row(w, w->size);
}

static void topk_row(writer *w) {
  cg_expr_pool *pool = &cg_kernel_module(w->k)->exprs;
  const cg_expr *count = cg_x_int(pool, 1);
  cg_arg_int(cg_node_arg(w->n, "k"), &count);
  const char *k = cg_kernel_size(w->k, count), *S = w->kind;
  fill(w, flag(w->n, "largest"));
  cg_str_addf(w->o, "      if (%s * 64 <= %s) cg_partial_%s(a, %s, %s);\n      else {\n        cg_nth_%s(a, %s - 1, %s);\n", k, w->size, S, k, w->size, S, k, w->size);
  if (flag(w->n, "sorted")) cg_str_addf(w->o, "        cg_sort_%s(a, %s - 1);\n", S, k);
  cg_str_add(w->o, "      }\n");
  write_row(w, k);
}

static void kth_row(writer *w) {
  cg_expr_pool *pool = &cg_kernel_module(w->k)->exprs;
  const cg_expr *k = cg_x_int(pool, 1);
  cg_arg_int(cg_node_arg(w->n, "k"), &k);
  const char *nth = cg_kernel_size(w->k, cg_x_sub(pool, k, cg_x_int(pool, 1)));
  fill(w, false);
  cg_str_addf(w->o, "      cg_kth_%s(a, %s, %s);\n      const int64_t at = cg_at_%s(a[%s]);\n", w->kind, nth, w->size, w->kind, nth);
  write_one(w);
}

// Of equal elements the one whose place is next counts; NaN: the first one, or (nanmedian) none of them.
static void median_row(writer *w) {
  const char *S = w->kind;
  bool f = cg_is_float(w->in.dtype), skip = strstr(w->n->schema->name, "nanmedian");
  fill(w, false);
  cg_str_add(w->o, "      int64_t at = -1, nans = 0;\n");
  if (f) {
    const char *nan = cg_format(w->s, "cg_pack_%s(cg_key_%s(NAN)%s, 0)", S, wide(w->in.dtype) ? "f64" : "f32", w->in.dtype == CG_BF16 ? " >> 16" : w->in.dtype == CG_F16 ? " >> 13" : "");
    cg_str_addf(w->o, "      for (int64_t j = %s - 1; j >= 0; j--)\n        if (!cg_below_%s(a[j], %s)) nans++, at = j;\n", w->size, S, nan);
  }
  if (skip) cg_str_addf(w->o, "      if (nans < %s) at = -1;\n", w->size);
  cg_str_addf(w->o,
              "      if (at < 0) {\n"
              "        const int64_t nth = (%s - nans - 1) / 2;\n"
              "        cg_nth_%s(a, nth, %s);\n"
              "        const %s middle = a[nth];\n"
              "        int64_t next = nth;\n"
              "        for (int64_t j = 0; j < nth; j++) next -= cg_below_%s(a[j], middle);\n"
              "        for (int64_t j = 0; at < 0; j++) {\n",
              w->size, S, w->size, w->type, S);
  locate(w, 10, "j");
  cg_str_addf(w->o,
              "          const %s x = cg_pack_%s(%s, j);\n"
              "          if (!cg_below_%s(x, middle) && !cg_below_%s(middle, x) && next-- == 0) at = j;\n"
              "        }\n"
              "      }\n",
              w->type, S, key(w, "j", false), S, S);
  write_one(w);
}

// The value that is there most often; the smallest of several. A NaN is like no other, and comes last.
static void mode_row(writer *w) {
  const char *S = w->kind;
  bool floats = cg_is_float(w->in.dtype);
  fill(w, false);
  if (floats) cg_str_addf(w->o, "      const %s nan = cg_pack_%s(%s, 0);\n", w->type, S, key_of(w, "NAN"));
  cg_str_addf(w->o,
              "      cg_sort_%s(a, %s);\n"
              "      int64_t at = 0, most = 0, run = 0;\n"
              "      for (int64_t j = 0; j < %s; j++) {\n"
              "        run++;\n"
              "        if (j + 1 < %s && !cg_below_%s(a[j], a[j + 1])%s) continue;\n"
              "        if (run > most) most = run, at = cg_at_%s(a[j]);\n"
              "        run = 0;\n"
              "      }\n",
              S, w->size, w->size, w->size, S, floats ? cg_format(w->s, " && cg_below_%s(a[j], nan)", S) : "", S);
  write_one(w);
}

// ---------------------------------------------------------------- the body

// Arrays a and b of a row's size, for each thread its own.
static const char *arrays(writer *w, const cg_expr *row, bool two) {
  cg_expr_pool *pool = &cg_kernel_module(w->k)->exprs;
  if (cg_x_is_int(row) && row->value <= ON_STACK) {
    long long n = row->value ? row->value : 1;
    return two ? cg_format(w->s, "    %s a[%lld], b[%lld];\n", w->type, n, n) : cg_format(w->s, "    %s a[%lld];\n", w->type, n);
  }
  bool outer[CG_MAX_RANK];
  for (int d = 0; d < w->in.rank; d++) outer[d] = d != w->dim && !w->all;
  const cg_expr *rows = cg_rows_product(w->k, w->in.rank, w->in.dim, outer), *most = cg_x_int(pool, CG_ROWS_THREADS);
  const cg_expr *pieces = cg_x_op(pool, CG_X_MIN, 2, (const cg_expr *[]){rows, most});
  const cg_expr *words = cg_x_mul(pool, row, cg_x_int(pool, (two ? 2 : 1) * (wide(w->in.dtype) ? 2 : 1)));
  const char *scratch = cg_kernel_scratch(w->k, CG_I64, cg_x_mul(pool, pieces, words));
  const char *a = cg_format(w->s, "    %s *const a = (%s *)(%s + thread * %s);\n", w->type, w->type, scratch, cg_kernel_size(w->k, words));
  return two ? cg_format(w->s, "%s    %s *const b = a + %s;\n", a, w->type, w->size) : a;
}

static void check_k(writer *w) {
  const cg_expr *k;
  int64_t lo, hi;
  cg_expr_pool *pool = &cg_kernel_module(w->k)->exprs;
  if (!cg_arg_int(cg_node_arg(w->n, "k"), &k)) return;
  cg_x_range(cg_x_sub(pool, w->in.dim[w->dim], k), &lo, &hi);
  if (lo >= 0) return;
  const char *text = cg_kernel_size(w->k, k);
  cg_str_addf(w->o, "  if (%s > %s) {\n    detail[0] = %s, detail[1] = %s, detail[2] = %d;\n    return CG_KERNEL_INDEX;\n  }\n", text, w->size, text, w->size,
              cg_kernel_site(w->k));
}

// The median of nothing is NaN, in integers what NaN becomes there.
static void median_of_none(writer *w, const cg_expr *row) {
  cg_dtype t = w->in.dtype;
  int64_t least, most;
  cg_x_range(row, &least, &most);
  if (least > 0 || !w->values) return;
  const char *none = t == CG_I64 ? "INT64_MIN" : t == CG_I32 ? "INT32_MIN" : cg_is_float(t) ? cg_kernel_convert(w->k, t, t == CG_F64 ? "(double)NAN" : "NAN") : "0";
  cg_str_addf(w->o, "  if (%s == 0) {\n    %s[0] = %s;\n    return CG_KERNEL_OK;\n  }\n", w->size, w->values, none);
}

static void emit(cg_kernel *k, const cg_node *n) {
  writer w = {.k = k, .s = cg_kernel_session(k), .n = n, .o = cg_kernel_body(k), .all = whole(n)};
  bool outer[CG_MAX_RANK];
  w.in = cg_rows_read(k, self_of(n));
  w.dim = dim_of(n, w.in.rank);
  for (int d = 0; d < w.in.rank; d++) w.index[d] = cg_format(w.s, "i%d", d), outer[d] = d != w.dim && !w.all;
  w.kind = wide(w.in.dtype) ? "w" : "p", w.type = wide(w.in.dtype) ? "cg_place" : "uint64_t";
  const cg_expr *row = w.all ? cg_rows_product(k, w.in.rank, w.in.dim, NULL) : w.in.dim[w.dim];
  w.size = cg_kernel_size(k, row);
  bool places = n->result[0]->type.dtype == CG_I64 && n->nresults == 1 && strstr(n->schema->name, "argsort");
  if (!places && cg_kernel_result_used(k, 0)) w.values = cg_kernel_output(k, 0);
  if (places) w.indices = cg_kernel_output(k, 0);
  else if (n->nresults > 1 && cg_kernel_result_used(k, 1)) w.indices = cg_kernel_output(k, 1);
  if (!cg_x_is_int(row) && !wide(w.in.dtype)) cg_str_addf(w.o, "  if (%s > UINT32_MAX) return CG_KERNEL_NO_MEMORY;\n", w.size);
  check_k(&w);
  if (w.all) median_of_none(&w, row);
  const char *work = cg_kernel_size(k, cg_rows_product(k, w.in.rank, w.in.dim, NULL)), *setup = arrays(&w, row, sorts(n));
  cg_rows_open(w.o, cg_kernel_size(k, cg_rows_product(k, w.in.rank, w.in.dim, outer)), cg_format(w.s, "8 * %s", work), setup);
  cg_rows_decode(k, w.o, 6, "unit", w.in.rank, w.in.dim, outer, w.index);
  if (sorts(n)) sort_row(&w);
  else if (is(n, "aten::topk")) topk_row(&w);
  else if (is(n, "aten::kthvalue")) kth_row(&w);
  else if (is(n, "aten::mode")) mode_row(&w);
  else median_row(&w);
  cg_rows_close(w.o);
}

const cg_kernel_template cg_kernel_sort = {"sort", claim, true, false, emit};
