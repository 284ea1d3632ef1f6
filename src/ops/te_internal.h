// What te.c and te_index.c share.
#ifndef CG_OPS_TE_INTERNAL_H
#define CG_OPS_TE_INTERNAL_H
#include "ops/te_builder.h"

typedef struct te_memo {
  struct te_memo *next;
  cg_value *value;
  te_expr **idx, *expr;
  int rank;
} te_memo;

struct te {
  cg_session *s;
  cg_module *m;
  te_resolver at;
  void *user;
  te_expr **table; // hash-consed expressions, open addressing
  int n, cap;
  const cg_expr **extent; // of loop variables
  int nvars, vars_cap;
  int *seen, seen_n, stamp; // by id: which search saw it last
  te_memo *memo[512]; // (value, idx) -> expression, as resolved now
};

// The expression with these fields; the same pointer for equal ones. Copies args.
te_expr *te_intern(te *t, te_expr key);
te_expr *te_node(te *t, te_kind kind, cg_dtype dtype, int nargs, te_expr *const *arg);
// Index arithmetic (te_index.c).
te_expr *te_index_op(te *t, te_kind kind, te_expr *a, te_expr *b);
#endif
