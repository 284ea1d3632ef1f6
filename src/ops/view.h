// What the type rules of views and their lowerings share: one reading of the arguments for both. Inside ops/ only.
#ifndef CG_OPS_VIEW_H
#define CG_OPS_VIEW_H
#include "ops/rule.h"

// map[i]: which dim of self the i-th dim of the result is (transpose, permute, movedim, …).
const char *cg_v_permutation(cg_module *m, const cg_node *n, int rank, int *map);
// slice, narrow, select: first element, step (always positive), how many; `drops`: the dim is not in the result.
typedef struct {
  int dim;
  const cg_expr *start, *step, *length;
  bool drops;
} cg_slice;
const char *cg_v_slice(cg_module *m, const cg_node *n, const cg_type *x, cg_slice *s);
// split and friends: the sizes of the pieces along dim; `drops`: each has size 1 and the dim is not in the results (unbind).
typedef struct {
  int dim, n;
  const cg_expr **size, **start;
  bool drops;
} cg_pieces;
const char *cg_v_pieces(cg_module *m, const cg_node *n, const cg_type *x, cg_pieces *p);
// diagonal: the two dims, and where it starts in each; *length of it.
typedef struct {
  int dim1, dim2;
  const cg_expr *start1, *start2, *length;
} cg_diagonal;
const char *cg_v_diagonal(cg_module *m, const cg_node *n, const cg_type *x, cg_diagonal *d);
// PyTorch's wrapped and clamped bound of a slice over `size` elements.
const cg_expr *cg_v_bound(cg_module *m, const cg_expr *at, const cg_expr *size);
#endif
