// What the files of expr*.c share.
#ifndef CG_IR_EXPR_INTERNAL_H
#define CG_IR_EXPR_INTERNAL_H
#include "ir/expr.h"

enum {
  CG_X_MAX_DEPTH = 512,  // nesting of an expression
  CG_X_MAX_TERMS = 1024, // terms of a sum, factors of a product
  CG_X_MAX_SIZE = 131072, // nodes of an expression as a tree; as a graph it may be far smaller (cat([x, x[:3]]) again and again)
  CG_X_SHORT = 64,       // the same, of what people are shown
};

// The one expression with these parts, which must be canonical already.
const cg_expr *cg_x_intern(cg_expr_pool *p, cg_expr_kind kind, int n, const cg_expr *const *arg, int64_t value, cg_symbol *y);
// A total order that depends on structure alone: symbols by index, then compound expressions, numbers last.
int cg_x_compare(const cg_expr *a, const cg_expr *b);

// Intervals; INT64_MIN below and INT64_MAX above mean unbounded.
typedef struct {
  int64_t lo, hi;
} cg_x_interval;
// One value, for certain.
static inline bool cg_x_is_point(cg_x_interval a) { return a.lo == a.hi && a.lo != INT64_MIN && a.hi != INT64_MAX; }
cg_x_interval cg_x_interval_of(const cg_expr *e);
cg_x_interval cg_x_interval_add(cg_x_interval a, cg_x_interval b);
cg_x_interval cg_x_interval_mul(cg_x_interval a, cg_x_interval b);
#endif
