// What templates share that go through tensors row by row (scan, sort, scatter): places as C text, loops.
#ifndef CG_BACKEND_C_KERNEL_ROWS_H
#define CG_BACKEND_C_KERNEL_ROWS_H
#include "backend/c/units.h"

// An argument, with a dimension of size 1 where it has none.
cg_kernel_input cg_rows_read(cg_kernel *k, cg_value *v);
// "4 + i0 * 12 + i2": where the element at index[…] lies; dimensions whose index is NULL are left out, "0" where nothing is left.
const char *cg_rows_at(cg_kernel *k, const cg_kernel_input *in, const char *const *index);
// The same in C order over dim[rank].
const char *cg_rows_place(cg_kernel *k, int rank, const cg_expr *const *dim, const char *const *index);
// C text of the product of dim[i] over those with which[i] (NULL: all).
const cg_expr *cg_rows_product(cg_kernel *k, int rank, const cg_expr *const *dim, const bool *which);
// `const int64_t i0 = …` of every dimension with which[i], from the flat number `unit`.
void cg_rows_decode(cg_kernel *k, cg_str *o, int indent, const char *unit, int rank, const cg_expr *const *dim, const bool *which, const char *const *index);
// Opens `for` over every dimension with which[i], in order; gives how many were opened. close: their brackets.
int cg_rows_loops(cg_kernel *k, cg_str *o, int indent, int rank, const cg_expr *const *dim, const bool *which, const char *const *index);
void cg_rows_loops_close(cg_str *o, int indent, int count);
// C text of a loaded element (type `from`, computation type) as PyTorch converts it to `to`, again in the computation type.
const char *cg_rows_cast(cg_kernel *k, const char *text, cg_dtype from, cg_dtype to);
// The dimension that argument `name` names, wrapped, for a tensor of `rank` (at least 1). -1: not known.
int cg_rows_dim(const cg_node *n, const char *name, int rank);
#endif
