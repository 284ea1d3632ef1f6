// Running results along one dimension: cumsum, cumprod, cummax, cummin, logcumsumexp. One pass over the dimension for each row; where
// rows lie side by side in memory (the dimension isn't the last), a block of them at a time.
#include <string.h>

#include "backend/c/kernel_rows.h"

enum { LANES = 64 }; // rows of a block

typedef enum { SUM, PROD, LOGSUMEXP, MAX, MIN } scan_kind;

typedef struct {
  scan_kind kind;
  const char *type, *start; // of the running value
  const char *step;         // statements over running value `r`, element `x`, index `j` (and for extremes: place `at`)
} scan;

static bool is(const cg_node *n, const char *key) { return cg_node_is_op(n, key); }

static scan_kind kind_of(const cg_node *n) {
  return is(n, "aten::cumsum") ? SUM : is(n, "aten::cumprod") ? PROD : is(n, "aten::logcumsumexp") ? LOGSUMEXP : is(n, "aten::cummax") ? MAX : MIN;
}

static const char *claim(cg_pipeline *p, const cg_node *n) {
  const cg_value *x = cg_arg_tensor(cg_node_arg(n, "self"));
  if (!x) return "self is no tensor";
  cg_dtype t = n->result[0]->type.dtype;
  if (cg_rows_dim(n, "dim", x->type.rank ? x->type.rank : 1) < 0) return "a dimension that is not known";
  if (n->result[0]->type.rank != x->type.rank) return "a result of another rank";
  if (kind_of(n) == LOGSUMEXP && !cg_is_float(t)) return "logcumsumexp of integers";
  if (t == CG_BOOL && kind_of(n) != MAX && kind_of(n) != MIN) return cg_format(p->s, "%s as bool", n->schema->name);
  return NULL;
}

// Sums of f32 run in f64 and those of integers wrap, as in PyTorch.
static scan describe(cg_kernel *k, scan_kind kind, cg_dtype t) {
  bool half = t == CG_F16 || t == CG_BF16, f = cg_is_float(t);
  const char *wide = f ? (half ? "float" : "double") : "uint64_t";
  switch (kind) {
  case SUM: return (scan){kind, wide, "0", "r += x;"};
  case PROD: return (scan){kind, wide, "1", "r *= x;"};
  case LOGSUMEXP: {
    cg_kernel_prelude(k, half ? "cg_logaddexp_runf" : "cg_logaddexp_run");
    return (scan){kind, wide, "-INFINITY", half ? "r = cg_logaddexp_runf(x, r);" : "r = cg_logaddexp_run(x, r);"};
  }
  case MAX: return (scan){kind, cg_kernel_computed(t), "0", f ? "if (j == 0 || x != x || (r == r && x >= r)) r = x, at = j;" : "if (j == 0 || x >= r) r = x, at = j;"};
  case MIN: return (scan){kind, cg_kernel_computed(t), "0", f ? "if (j == 0 || x != x || (r == r && x <= r)) r = x, at = j;" : "if (j == 0 || x <= r) r = x, at = j;"};
  }
  return (scan){0};
}

typedef struct {
  cg_kernel *k;
  cg_session *s;
  const cg_node *n;
  cg_kernel_input in;
  scan what;
  cg_dtype t;
  int dim;
  const char *index[CG_MAX_RANK];
} writer;

static const char *element(writer *w) {
  const char *x = cg_rows_cast(w->k, cg_kernel_load(w->k, w->in.dtype, w->in.name, cg_rows_at(w->k, &w->in, w->index)), w->in.dtype, w->t);
  if (w->what.kind >= MAX) return x;
  return cg_format(w->s, cg_is_float(w->t) ? "(%s)(%s)" : "(%s)(int64_t)(%s)", w->what.type, x);
}

static void store(writer *w, cg_str *o, int indent) {
  cg_dtype t = w->t;
  const char *acc = w->what.kind >= MAX ? "r" : cg_format(w->s, "(%s)r", cg_kernel_computed(t));
  cg_str_addf(o, "%*s{\n", indent, "");
  cg_kernel_store(w->k, o, indent + 2, 0, acc, w->index);
  cg_str_addf(o, "%*s}\n", indent, "");
  if (w->what.kind < MAX) return;
  cg_str_addf(o, "%*s{\n", indent, "");
  cg_kernel_store(w->k, o, indent + 2, 1, "at", w->index);
  cg_str_addf(o, "%*s}\n", indent, "");
}

static void emit_rows(writer *w, cg_str *o, const bool *outer) {
  const cg_expr *const *dim = w->in.dim;
  bool extreme = w->what.kind >= MAX;
  const char *j = w->index[w->dim];
  cg_kernel_one_by_one(w->k);
  cg_rows_open(o, cg_kernel_size(w->k, cg_rows_product(w->k, w->in.rank, dim, outer)), cg_kernel_size(w->k, cg_rows_product(w->k, w->in.rank, dim, NULL)), "");
  cg_rows_decode(w->k, o, 6, "unit", w->in.rank, dim, outer, w->index);
  cg_str_addf(o, "      %s r = %s;\n%s      for (int64_t %s = 0; %s < %s; %s++) {\n", w->what.type, w->what.start, extreme ? "      int64_t at = 0;\n" : "", j, j,
              cg_kernel_size(w->k, dim[w->dim]), j);
  cg_str_addf(o, "        const %s x = %s;\n        %s\n", w->what.type, element(w), w->what.step);
  store(w, o, 8);
  cg_str_add(o, "      }\n");
  cg_rows_close(o);
}

static void emit_blocks(writer *w, cg_str *o, bool *outer) {
  const cg_expr *const *dim = w->in.dim;
  int last = w->in.rank - 1;
  bool extreme = w->what.kind >= MAX;
  const char *j = w->index[w->dim], *l = w->index[last], *width = cg_kernel_size(w->k, dim[last]);
  if (w->what.kind != LOGSUMEXP) cg_kernel_one_by_one(w->k); // converting is most of the work, else
  outer[last] = false;
  const char *rows = cg_kernel_size(w->k, cg_rows_product(w->k, w->in.rank, dim, outer));
  cg_str_addf(o, "  const int64_t blocks = (%s + %d) / %d;\n", width, LANES - 1, LANES);
  cg_rows_open(o, cg_format(w->s, "%s * blocks", rows), cg_kernel_size(w->k, cg_rows_product(w->k, w->in.rank, dim, NULL)), "");
  cg_str_addf(o, "      const int64_t row = unit / blocks, from = unit %% blocks * %d, to = from + %d < %s ? from + %d : %s;\n      (void)row;\n", LANES, LANES, width, LANES, width);
  cg_rows_decode(w->k, o, 6, "row", w->in.rank, dim, outer, w->index);
  cg_str_addf(o, "      %s running[%d];\n", w->what.type, LANES);
  if (extreme) cg_str_addf(o, "      int64_t place[%d] = {0};\n", LANES);
  cg_str_addf(o, "      for (int i = 0; i < %d; i++) running[i] = %s;\n", LANES, w->what.start);
  cg_str_addf(o, "      for (int64_t %s = 0; %s < %s; %s++) {\n", j, j, cg_kernel_size(w->k, dim[w->dim]), j);
  cg_str_addf(o, "        for (int64_t %s = from; %s < to; %s++) {\n          %s r = running[%s - from];\n", l, l, l, w->what.type, l);
  if (extreme) cg_str_addf(o, "          int64_t at = place[%s - from];\n", l);
  cg_str_addf(o, "          const %s x = %s;\n          %s\n          running[%s - from] = r;\n", w->what.type, element(w), w->what.step, l);
  if (extreme) cg_str_addf(o, "          place[%s - from] = at;\n", l);
  store(w, o, 10);
  cg_str_add(o, "        }\n      }\n");
  cg_rows_close(o);
}

static void emit(cg_kernel *k, const cg_node *n) {
  writer w = {.k = k, .s = cg_kernel_session(k), .n = n, .t = n->result[0]->type.dtype};
  bool outer[CG_MAX_RANK];
  w.in = cg_rows_read(k, cg_arg_tensor(cg_node_arg(n, "self")));
  w.what = describe(k, kind_of(n), w.t);
  w.dim = cg_rows_dim(n, "dim", w.in.rank);
  for (int d = 0; d < w.in.rank; d++) w.index[d] = d == w.dim ? "j" : cg_format(w.s, "i%d", d), outer[d] = d != w.dim;
  cg_str *o = cg_kernel_body(k);
  int last = w.in.rank - 1;
  if (w.dim == last || (cg_x_is_int(w.in.dim[last]) && w.in.dim[last]->value < 4)) emit_rows(&w, o, outer);
  else emit_blocks(&w, o, outer);
}

const cg_kernel_template cg_kernel_scan = {"scan", claim, true, true, emit};
