// Every type rule, lowering and decomposition that ops.def names, declared from it.
#ifndef CG_OPS_RULES_H
#define CG_OPS_RULES_H
#include "ops/rule.h"

#define INFER(rule) const char *cg_infer_##rule(cg_module *m, cg_node *n);
#define LOWERING(rule) const char *cg_lower_##rule(te *t, const cg_node *n, te_compute *out);
#define POINTWISE(key, rule, ...) INFER(rule)
#define POINTWISE_OR(key, rule, f, i, b, dec) INFER(rule) bool cg_decompose_##dec(cg_module *m, cg_node *n);
#define WRAPPED(key, rule, ...) INFER(rule)
#define LOWERED(key, traits, rule, low) INFER(rule) LOWERING(low)
#define COMPOSITE(key, traits, rule, dec) INFER(rule) bool cg_decompose_##dec(cg_module *m, cg_node *n);
#define COMPOSITE_OR(key, traits, rule, low, dec) INFER(rule) LOWERING(low) bool cg_decompose_##dec(cg_module *m, cg_node *n);
#define TYPED(key, traits, rule) INFER(rule)
#include "ops/ops.def"
#ifdef CG_EXTRA_OPS // rows from outside the tree, which sort behind all others: doc/adding-an-op.md
#include CG_EXTRA_OPS
#endif
#undef INFER
#undef LOWERING
#undef POINTWISE
#undef POINTWISE_OR
#undef WRAPPED
#undef LOWERED
#undef COMPOSITE
#undef COMPOSITE_OR
#undef TYPED
#endif
