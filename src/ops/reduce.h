// Which dimensions a reduction reduces: read once for type rules and lowerings. Inside ops/ only.
#ifndef CG_OPS_REDUCE_H
#define CG_OPS_REDUCE_H
#include "ops/rule.h"

typedef struct {
  bool reduced[CG_MAX_RANK], keep;
  int n;                       // how many are reduced
  const cg_expr *count;        // elements that become one
} cg_reduction;

const char *cg_v_reduction(cg_module *m, const cg_node *n, const cg_type *x, cg_reduction *r);
// The shape of the result.
int cg_v_reduced_shape(cg_module *m, const cg_type *x, const cg_reduction *r, const cg_expr **dim);
#endif
