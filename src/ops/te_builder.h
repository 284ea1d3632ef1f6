// The scheduler's side of tensor expressions (te.h): making a builder, its loop variables, and how values are resolved.
#ifndef CG_OPS_TE_BUILDER_H
#define CG_OPS_TE_BUILDER_H
#include "ops/te.h"

// What te_at(t, v, idx) means: a load, or the element of v's own definition inlined.
typedef te_expr *(*te_resolver)(te *t, cg_value *v, te_expr **idx, void *u);

te *te_new(cg_module *m, te_resolver at, void *u);
void te_forget(te *t);                               // forgets how values were resolved (the scheduler's mind has changed)
te_expr *te_new_var(te *t, const cg_expr *extent);   // a loop variable in [0, extent); 0 itself where the extent is 1
te_expr **te_new_vars(te *t, int n, const cg_expr *const *extent); // any place in n dimensions
const cg_expr *te_var_extent(const te *t, int var);
int te_var_count(const te *t);
int te_count(const te *t);                           // ids of expressions are below this
te_expr *te_load(te *t, cg_value *v, te_expr **idx); // v's memory; dims of size 1 are read at 0
te_expr *te_scalar(te *t, cg_value *v);
// The accumulator of tensor value v while it is being reduced: a TE_SCALAR that the printer knows by a variable's name.
te_expr *te_accumulator(te *t, cg_value *v, cg_dtype dtype);

// Index arithmetic as a sum: constant + coef[i] * atom[i], atoms in order of id.
typedef struct {
  int n;
  te_expr *atom[2 * CG_MAX_RANK];
  const cg_expr *coef[2 * CG_MAX_RANK];
  const cg_expr *constant;
} te_sum;
bool te_sum_of(te *t, te_expr *e, te_sum *out);      // false: too many terms
te_expr *te_of_sum(te *t, te_sum *s);                // canonical, simplified
// Bounds from the ranges of loop variables; NULL: not known.
void te_bounds(te *t, te_expr *e, const cg_expr **lo, const cg_expr **hi);
bool te_below_twice(te *t, const te_expr *mod); // a < 2b is known of a % b
bool te_in_range(te *t, te_expr *e, const cg_expr *size); // proven 0 <= e < size
bool te_may_raise(const te_expr *e);                  // this expression itself: an index check, or a body that raises
bool te_has(const te_expr *e, te_kind k);
bool te_uses_var(const te_expr *e, int var);
#endif
