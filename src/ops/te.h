// Tensor expressions: how an operator computes one element, written once, for whoever schedules and prints it.
//
// An operator's lowering describes each result as
//   MAP     out[i…] = element(i…)                                  pointwise, views, gathers, pads, concatenation
//   REDUCE  out[i…] = finish(reduce over r… of element(i…, r…))    sums, maxima, pooling windows
//   KERNEL  a loop nest of its own, from a template of the backend (matmul, convolution, sort, cumsum, …)
// where `element` is a scalar expression. Inputs are read with te_at(); if the input is itself a MAP that is not
// stored, the expression is inlined there, which is all that fusion of views and pointwise chains is.
// (The idea is Inductor's inner_fn and Halide's inlined stages.)
#ifndef CG_OPS_TE_H
#define CG_OPS_TE_H
#include "ir/ir.h"

typedef struct te te;             // the builder: arena, hash-consing, and how te_at resolves a value
typedef struct te_expr te_expr;

typedef enum {
  TE_VAR,     // a loop variable (int64): var
  TE_SIZE,    // a symbolic or literal integer: size
  TE_CONST,   // a number literal: number, dtype
  TE_SCALAR,  // a scalar value of the graph (INT, FLOAT, BOOL): value
  TE_LOAD,    // value[arg…], one index for each dimension
  TE_BODY,    // the C expression `text` with arg[k] for its k-th parameter (names in `names`)
  TE_CAST,    // arg[0] as dtype, with PyTorch's conversion rules (float to bool: != 0; float to int: C truncation)
  TE_ROUND,   // arg[0] (computed in f32) rounded to dtype f16 or bf16 and back
  TE_SELECT,  // arg[0] ? arg[1] : arg[2], the branch not taken is not evaluated
  TE_ADD, TE_SUB, TE_MUL, TE_FLOORDIV, TE_MOD, TE_MIN, TE_MAX, // index arithmetic (int64)
  TE_LT, TE_LE, TE_EQ, TE_AND, TE_OR, TE_NOT,
  TE_INDEX,   // arg[0] as an index into a dimension of size arg[1]: out of range is a run-time error; negative wraps if `integer` is 1
  TE_CHECKED, // arg[0], of which the index check arg[1] is part although arg[0] does not read there (dims of size 1, broadcast ones)
} te_kind;

struct te_expr {
  te_kind kind;
  cg_dtype dtype;                 // of the result as computed: f16 and bf16 compute in f32
  int nargs;
  te_expr **arg;
  int var;                        // TE_VAR
  const cg_expr *size;            // TE_SIZE
  double number; int64_t integer; // TE_CONST: integer for integral dtypes
  cg_value *value;                // TE_LOAD, TE_SCALAR
  const char *text;               // TE_BODY
  const char *const *names;       // TE_BODY: parameter names
  const cg_node *node;            // whose element this is (for comments and errors)
  int id;                         // hash-consed: equal expressions are one pointer
  uint32_t kinds;                 // bit k: kind k is in it (te_has)
  uint64_t vars;                  // bit v % 64: variable v may be in it (te_uses_var)
  const cg_expr *lo, *hi;         // bounded: what te_bounds found
  bool bounded;
  void *data;                     // scratch of the scheduler
};

typedef enum { TE_SUM, TE_PROD, TE_AMAX, TE_AMIN, TE_ANY, TE_ALL, TE_ARGMAX, TE_ARGMIN } te_combine;

typedef struct te_compute {
  enum { TE_MAP, TE_REDUCE, TE_KERNEL } kind;
  const cg_node *node;
  // MAP: element of result k at idx (one for each dimension of the result).
  te_expr *(*element)(te *t, const cg_node *n, int k, te_expr **idx);
  // REDUCE: the extents of the reduced loops, the element, how it combines, what is done at the end.
  int nreduce;
  const cg_expr *extent[CG_MAX_RANK];
  te_combine combine;
  cg_dtype accumulate;            // type of the accumulator
  te_expr *(*reduce_element)(te *t, const cg_node *n, te_expr **idx, te_expr **ridx);
  te_expr *(*finish)(te *t, const cg_node *n, te_expr **idx, te_expr *acc); // NULL: as it is
  // KERNEL: which template (backend/c/kernel_*.c), by name.
  const char *kernel;
} te_compute;

// The element of v at idx[rank of v]. Scalars: idx NULL. Implemented by whoever schedules.
te_expr *te_at(te *t, cg_value *v, te_expr **idx);
// The same for an argument that may be a number literal or a scalar value; cast to dtype.
te_expr *te_at_arg(te *t, const cg_arg *a, te_expr **idx, cg_dtype dtype);
// The number that is argument i of n, for a computation in that dtype.
te_expr *te_at_number(te *t, const cg_node *n, int i, cg_dtype dtype);
// v broadcast to `rank` dims: idx has `rank` entries; leading ones are dropped, size-1 dims read at 0.
te_expr *te_at_broadcast(te *t, cg_value *v, int rank, te_expr **idx);

te_expr *te_var(te *t, int var);
te_expr *te_size(te *t, const cg_expr *e);
te_expr *te_int(te *t, int64_t v);                       // an index literal
te_expr *te_number(te *t, double v, cg_dtype dtype);
te_expr *te_integer(te *t, int64_t v, cg_dtype dtype);
te_expr *te_cast(te *t, te_expr *e, cg_dtype dtype);     // nothing to do where it is of that dtype
te_expr *te_select(te *t, te_expr *c, te_expr *a, te_expr *b);
te_expr *te_op(te *t, te_kind kind, te_expr *a, te_expr *b); // index arithmetic and comparison, simplified by ranges
// An index read from a tensor: negative ones count from the end (self[i], take), or are errors (gather, index_select, embedding).
te_expr *te_index(te *t, te_expr *i, te_expr *size, const cg_node *n);
te_expr *te_index_unwrapped(te *t, te_expr *i, te_expr *size, const cg_node *n);
// e, which was to be read at `index`: the check stays where e's place no longer depends on it.
te_expr *te_checked(te *t, te_expr *e, te_expr *index);
// e, of half precision, as its bits (i16), where numbers are only moved or change their sign; NULL: some are computed, or e has another dtype.
te_expr *te_bits(te *t, te_expr *e);
// `text` is one C expression over `names`; `$` after a function or number stands for the type's suffix: "exp$(x)"
// is expf(x) in f32, exp(x) in f64; "0.5$" is 0.5f, 0.5; `T` is the C type computed in. Each name is one of arg, of type `dtype`.
te_expr *te_body(te *t, const cg_node *n, cg_dtype result, const char *text, int nargs, const char *const *names, te_expr *const *arg);

// Reshapes: the place of idx in C order over the shape dim[rank], and back: flat as indices into dim[rank].
// Loops that a reshape keeps come out as they were ([i, j] of [s0, 6] -> 6*i + j -> [i, j]).
te_expr *te_flat(te *t, int rank, const cg_expr *const *dim, te_expr *const *idx);
void te_unflat(te *t, te_expr *flat, int rank, const cg_expr *const *dim, te_expr **idx);

cg_module *te_module(te *t);
cg_session *te_session(te *t);
#endif
