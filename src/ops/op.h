// What the compiler knows of an operator beyond its schema: one row of ops.def (and the files it names).
// Everybody reads this table: type inference, passes, backends, `cierge ops`, docs, tests.
// An operator without a row is still a valid node: LibTorch runs it.
#ifndef CG_OPS_OP_H
#define CG_OPS_OP_H
#include "ir/ir.h"
#include "ops/te.h"

enum {
  CG_OP_POINTWISE = 1 << 0,      // each result element from the (broadcast) input elements at the same place
  CG_OP_REDUCTION = 1 << 1,
  CG_OP_VIEW = 1 << 2,           // elements only change place (PyTorch may alias; cierge's values never do)
  CG_OP_ANCHOR = 1 << 3,         // matmul, convolution, attention: a kernel of its own, others fuse around it
  CG_OP_RANDOM = 1 << 4,         // draws from a generator: never folded, merged, duplicated, moved
  CG_OP_EFFECT = 1 << 5,         // asserts, prints: never removed, keeps its order
  CG_OP_STRIDE_SENSITIVE = 1 << 6, // the result depends on the strides of its inputs (as_strided, …)
  CG_OP_NONDETERMINISTIC_VALUES = 1 << 7, // empty and friends: only shape and dtype are defined
  CG_OP_COMPOSITE = 1 << 8,      // decomposed before partitioning (row has `decompose`)
  CG_OP_CONTROL = 1 << 9,        // has sub-graphs
  CG_OP_SCALAR = 1 << 10,        // int, float, bool in and out: the runtime computes it itself
  CG_OP_WRAPS = 1 << 12,         // its numbers become tensors first, as PyTorch has it: beside half precision they are rounded to it
  CG_OP_PYTHON = 1 << 13,        // exists in PyTorch's Python alone: decomposed whatever the backends are
  CG_OP_OPAQUE = 1 << 11,        // a program of its own: never merged; what it does besides, cg_node_has_effect says
};

typedef struct cg_infer cg_infer;

typedef struct cg_op {
  const char *key;               // "aten::add.Tensor"
  unsigned traits;
  // Type rule: sets the result types of n from its arguments. Returns NULL, or the reason why the arguments do not fit
  // (a text in the session's arena). Never looks at data.
  const char *(*infer)(cg_module *m, cg_node *n);
  // Pointwise: the body as one C expression over the schema's argument names, for each class of computation type.
  // NULL: not native for that class. See te.h for the notation ("exp$(self)").
  const char *body_float, *body_int, *body_bool;
  // Everything else that is native builds its loops itself.
  // Returns NULL and fills *out, or the reason why this node cannot be native.
  const char *(*lower)(te *t, const cg_node *n, te_compute *out);
  // Composite: replaces n by simpler nodes; false: leave it as it is (say, a complex dtype).
  bool (*decompose)(cg_module *m, cg_node *n);
} cg_op;

// NULL: no row. Binary search over the sorted table.
const cg_op *cg_op_find(const char *key);
// Whether this call draws random numbers: dropout does in training alone, attention where its dropout is not 0.
bool cg_node_draws(const cg_node *n);
// Whether it does something besides giving results: such a node is never removed, merged or moved past another one.
bool cg_node_has_effect(const cg_node *n);
size_t cg_op_count(void);
const cg_op *cg_op_at(size_t i); // sorted by key

// PyTorch's type promotion (torch.result_type) over tensors, 0-dim tensors and Python numbers.
typedef struct { int dim_state, zero_state, number_state; } cg_promotion; // -1 or a dtype
void cg_promote_add(cg_promotion *p, const cg_arg *a);
int cg_promote_result(const cg_promotion *p); // -1: nothing given
cg_dtype cg_promote_types(cg_dtype a, cg_dtype b);
// Broadcast of two shapes by n; NULL on success else the reason.
const char *cg_broadcast(cg_module *m, const cg_node *n, cg_type *into, const cg_type *with);
#endif
