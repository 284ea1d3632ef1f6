// The cost model (cost.h): features of nodes, times the fitted numbers.
#include "pass/cost.h"

#include <string.h>

#include "ops/op.h"
#include "ops/rules.h"

#define NUMBER(field, native, torch) .field = native,
const cg_cost cg_cost_native = {
#include "pass/cost_numbers.def"
};
#undef NUMBER
#define NUMBER(field, native, torch) .field = torch,
const cg_cost cg_cost_torch = {
#include "pass/cost_numbers.def"
};

// ---------------------------------------------------------------- sizes

enum { TYPICAL = 64, MAX_SYMBOLS = 4096 }; // a size that nothing is known of; programs of more symbols are not looked at closely

int64_t cg_cost_typical(const cg_symbol *y) { return y->hint ? y->hint : y->lo > TYPICAL ? y->lo : y->hi < TYPICAL ? y->hi : TYPICAL; }

static double size_of(const cg_module *m, const cg_expr *x) {
  if (cg_x_is_int(x)) return (double)x->value;
  const cg_map *all = &m->exprs.symbols;
  if (all->n > MAX_SYMBOLS) return TYPICAL;
  int64_t at[MAX_SYMBOLS], v;
  for (int i = 0; i < all->n; i++) {
    const cg_symbol *y = all->entries[i].value;
    at[y->index] = cg_cost_typical(y);
  }
  return cg_x_eval(x, at, &v) && v > 0 ? (double)v : 0;
}

static double elements(const cg_module *m, const cg_type *t) {
  if (t->kind != CG_T_TENSOR) return 0;
  double n = 1;
  for (int i = 0; i < t->rank; i++) n *= size_of(m, t->dim[i]);
  return n;
}

double cg_cost_bytes(const cg_module *m, const cg_type *t) {
  return t->kind == CG_T_TENSOR ? elements(m, t) * cg_dtypes[t->dtype].size : 0;
}

// ---------------------------------------------------------------- features of a node

static cg_cost_kind pointwise_kind(const cg_op *op) {
  static const char *const one_by_one[] = {"sin", "cos", "tan", "exp2", "log1p", "expm1", "pow$", "gamma", "fmod$", "hypot$", "erfinv$"}; // asin$, sinh$, … too
  if (!op->body_float || !strchr(op->body_float, '$')) return CG_COST_POINTWISE;
  if (strstr(op->body_float, "tanh$") && !strstr(op->body_float, "atanh$")) return CG_COST_FUNCTION;
  for (size_t i = 0; i < sizeof one_by_one / sizeof *one_by_one; i++)
    if (strstr(op->body_float, one_by_one[i])) return CG_COST_LIBM;
  return CG_COST_FUNCTION;
}

static void count_tensor(cg_value *v, void *u) { *(int *)u += v->type.kind == CG_T_TENSOR; }

cg_cost_kind cg_cost_kind_of(const cg_node *n) {
  unsigned traits = n->op ? n->op->traits : 0;
  int tensors = 0;
  cg_node_each_input(n, count_tensor, &tensors);
  if (traits & CG_OP_VIEW) // a join moves its elements
    return tensors != 1 ? CG_COST_OTHER : n->op->infer == cg_infer_permutation ? CG_COST_TURN : CG_COST_VIEW;
  if (traits & CG_OP_ANCHOR) return cg_node_arg(n, "query") ? CG_COST_ATTENTION : cg_node_arg(n, "stride") ? CG_COST_CONV : CG_COST_PRODUCT;
  if (traits & CG_OP_POINTWISE) return pointwise_kind(n->op);
  if (traits & CG_OP_REDUCTION) return CG_COST_REDUCTION;
  return n->schema && strstr(n->schema->name, "linalg_") ? CG_COST_LINALG : CG_COST_OTHER; // a family that shares its name
}

typedef struct {
  const cg_module *m;
  double in, widest, gathered, limit; // bytes; elements; bytes, none of the inputs counted above `limit`
} reading;

static void read_input(cg_value *v, void *u) {
  reading *r = u;
  double bytes = cg_cost_bytes(r->m, &v->type), n = elements(r->m, &v->type);
  r->in += bytes;
  r->gathered += bytes < r->limit ? bytes : r->limit;
  if (n > r->widest) r->widest = n;
}

static const cg_type *tensor_arg(const cg_node *n, const char *name) {
  const cg_arg *a = cg_node_arg(n, name);
  const cg_value *v = a ? cg_arg_tensor(a) : NULL;
  return v && v->type.kind == CG_T_TENSOR ? &v->type : NULL;
}

// The left matrix of a product: addmm calls it mat1, baddbmm batch1, addmv mat; elsewhere it is the first argument.
static const cg_type *left_matrix(const cg_node *n) {
  static const char *const names[] = {"mat1", "batch1", "mat"};
  for (int i = 0; i < 3; i++)
    if (tensor_arg(n, names[i])) return tensor_arg(n, names[i]);
  const cg_value *v = n->nargs ? cg_arg_tensor(&n->arg[0]) : NULL;
  return v && v->type.kind == CG_T_TENSOR ? &v->type : NULL;
}

static double multiply_adds(const cg_node *n, cg_cost_kind kind, double results) {
  const cg_module *m = n->fn->module;
  const cg_type *t;
  if (kind == CG_COST_PRODUCT || kind == CG_COST_LINALG) {
    t = left_matrix(n);
    double k = t && t->rank ? size_of(m, t->dim[t->rank - 1]) : 1;
    return k * (kind == CG_COST_LINALG && t ? elements(m, t) : results);
  }
  if (kind == CG_COST_ATTENTION) {
    const cg_type *q = tensor_arg(n, "query"), *k = tensor_arg(n, "key");
    return q && k && k->rank >= 2 ? 2 * elements(m, q) * size_of(m, k->dim[k->rank - 2]) : results;
  }
  t = tensor_arg(n, "weight"); // each element of the result (transposed: of the input) meets all of a filter
  const cg_arg *turned = cg_node_arg(n, "transposed");
  const cg_type *x = turned && turned->kind == CG_A_BOOL && turned->b ? tensor_arg(n, "input") : NULL;
  double filters = t && t->rank ? size_of(m, t->dim[0]) : 0;
  return filters ? (x ? elements(m, x) : results) * elements(m, t) / filters : results;
}

// Bytes of what a product or a convolution multiplies its input by, as far as no cache keeps them between calls.
static double streamed(const cg_node *n, cg_cost_kind kind, double in) {
  enum { CACHED = 256 << 10 }; // bytes: about half of a core's second cache
  const cg_type *x = kind == CG_COST_PRODUCT ? left_matrix(n) : NULL, *w = kind == CG_COST_CONV ? tensor_arg(n, "weight") : NULL;
  double bytes = x ? in - cg_cost_bytes(n->fn->module, x) : w ? cg_cost_bytes(n->fn->module, w) : 0;
  return bytes > CACHED ? bytes - CACHED : 0;
}

double cg_cost_node_ns(const cg_node *n, const cg_backend *b) {
  if (!b || !b->cost || !n->schema) return 0;
  const cg_module *m = n->fn->module;
  cg_cost_kind kind = cg_cost_kind_of(n);
  double results = 0, out = 0;
  for (int i = 0; i < n->nresults; i++) results += elements(m, &n->result[i]->type), out += cg_cost_bytes(m, &n->result[i]->type);
  reading r = {.m = m, .limit = out};
  cg_node_each_input(n, read_input, &r);
  // A gather reads no more of a table than it gives.
  double bytes = out + (kind == CG_COST_OTHER ? r.gathered : r.in), work = results;
  if (kind == CG_COST_REDUCTION) work = r.widest;
  if (kind >= CG_COST_PRODUCT && kind <= CG_COST_LINALG) work = multiply_adds(n, kind, results);
  double far = streamed(n, kind, r.in), compute = work * b->cost->kind[kind].work, memory = far * b->cost->stream;
  return b->cost->kind[kind].node + (bytes - far) * b->cost->kind[kind].byte + (compute > memory ? compute : memory);
}

double cg_cost_crossing_ns(const cg_module *m, const cg_value *v, const cg_backend *b, bool out) {
  if (!b->cost || v->constant || v->type.kind != CG_T_TENSOR) return 0;
  double bytes = cg_cost_bytes(m, &v->type), ns = b->cost->tensor + bytes * b->cost->byte;
  if (out && v->def && v->def->schema && cg_cost_kind_of(v->def) == CG_COST_TURN) ns += bytes * b->cost->restride;
  return ns;
}
