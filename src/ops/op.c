// The operator table, made of ops.def, and how a row is found.
#include "ops/op.h"

#include <string.h>

#include "ops/rules.h"

// The traits by the names that rows use.
enum {
  POINT = CG_OP_POINTWISE, REDUCTION = CG_OP_REDUCTION, VIEW = CG_OP_VIEW, ANCHOR = CG_OP_ANCHOR, RANDOM = CG_OP_RANDOM,
  EFFECT = CG_OP_EFFECT, STRIDES = CG_OP_STRIDE_SENSITIVE, UNDEFINED = CG_OP_NONDETERMINISTIC_VALUES, CONTROL = CG_OP_CONTROL,
  SCALAR = CG_OP_SCALAR, OPAQUE = CG_OP_OPAQUE, WRAPS = CG_OP_WRAPS, PYTHON = CG_OP_PYTHON, NONE = 0,
};

static const cg_op table[] = {
#define POINTWISE(k, rule, f, i, b) {.key = k, .traits = POINT, .infer = cg_infer_##rule, .body_float = f, .body_int = i, .body_bool = b},
#define POINTWISE_OR(k, rule, f, i, b, dec) \
  {.key = k, .traits = POINT | CG_OP_COMPOSITE, .infer = cg_infer_##rule, .body_float = f, .body_int = i, .body_bool = b, .decompose = cg_decompose_##dec},
#define WRAPPED(k, rule, f, i, b) {.key = k, .traits = POINT | CG_OP_WRAPS, .infer = cg_infer_##rule, .body_float = f, .body_int = i, .body_bool = b},
#define LOWERED(k, t, rule, low) {.key = k, .traits = t, .infer = cg_infer_##rule, .lower = cg_lower_##low},
#define COMPOSITE(k, t, rule, dec) {.key = k, .traits = CG_OP_COMPOSITE | (t), .infer = cg_infer_##rule, .decompose = cg_decompose_##dec},
#define COMPOSITE_OR(k, t, rule, low, dec) \
  {.key = k, .traits = CG_OP_COMPOSITE | (t), .infer = cg_infer_##rule, .lower = cg_lower_##low, .decompose = cg_decompose_##dec},
#define TYPED(k, t, rule) {.key = k, .traits = t, .infer = cg_infer_##rule},
#include "ops/ops.def"
#ifdef CG_EXTRA_OPS // rows from outside the tree, which sort behind all others: doc/adding-an-op.md
#include CG_EXTRA_OPS
#endif
};

enum { COUNT = sizeof table / sizeof *table };

const cg_op *cg_op_find(const char *key) {
  int lo = 0, hi = COUNT - 1;
  while (lo <= hi) {
    int mid = (lo + hi) / 2, c = strcmp(key, table[mid].key);
    if (!c) return &table[mid];
    if (c < 0) hi = mid - 1;
    else lo = mid + 1;
  }
  return NULL;
}

size_t cg_op_count(void) { return COUNT; }
const cg_op *cg_op_at(size_t i) { return i < COUNT ? &table[i] : NULL; }

static bool is_off(const cg_node *n, const char *flag) {
  double v;
  return cg_arg_double(cg_node_arg(n, flag), &v) && v == 0;
}

bool cg_node_has_effect(const cg_node *n) {
  const cg_script *s = cg_node_script(n);
  if (n->op && n->op->traits & CG_OP_OPAQUE) return !s || s->stateful || s->effect || !n->nresults;
  return (n->op && n->op->traits & CG_OP_EFFECT) || !n->nresults;
}

bool cg_node_draws(const cg_node *n) {
  if (!n->schema) return false;
  const cg_script *s = cg_node_script(n);
  if (n->op && n->op->traits & CG_OP_OPAQUE) return !s || s->draws;
  if (!(n->op && n->op->traits & CG_OP_RANDOM) && !cg_schema_may_draw(n->schema)) return false;
  return !is_off(n, "train") && !is_off(n, "training") && !is_off(n, "dropout_p");
}
