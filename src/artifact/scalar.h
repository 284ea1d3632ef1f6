// The closed table of scalar operators: one row each, used by the IR's schemas, constant folding and the runtime.
#ifndef CG_ARTIFACT_SCALAR_H
#define CG_ARTIFACT_SCALAR_H
#include <stdbool.h>
#include <stdint.h>

// A double as an integer, cut towards zero, and what does not fit as the smallest: what PyTorch's kernels give on x86.
static inline int64_t cg_int_of_double(double v) { return v > -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN; }

typedef struct {
  enum { CG_SC_INT, CG_SC_FLOAT, CG_SC_BOOL } kind;
  int64_t i; // INT, BOOL
  double f;  // FLOAT
} cg_scalar;

//  NAME, key as torch.export writes it, number of arguments
#define CG_SCALAR_OPS(XX)                                                                                     \
  XX(ADD, "_operator.add", 2) XX(SUB, "_operator.sub", 2) XX(MUL, "_operator.mul", 2)                         \
  XX(FLOORDIV, "_operator.floordiv", 2) XX(TRUEDIV, "_operator.truediv", 2) XX(MOD, "_operator.mod", 2)       \
  XX(POW, "_operator.pow", 2) XX(NEG, "_operator.neg", 1) XX(POS, "_operator.pos", 1)                         \
  XX(AND, "_operator.and_", 2) XX(OR, "_operator.or_", 2)                                                     \
  XX(LSHIFT, "_operator.lshift", 2) XX(RSHIFT, "_operator.rshift", 2)                                         \
  XX(EQ, "_operator.eq", 2) XX(NE, "_operator.ne", 2) XX(LT, "_operator.lt", 2) XX(LE, "_operator.le", 2)     \
  XX(GT, "_operator.gt", 2) XX(GE, "_operator.ge", 2)                                                         \
  XX(TRUNC, "math.trunc", 1) XX(CEIL, "math.ceil", 1) XX(FLOOR, "math.floor", 1) XX(ROUND, "builtins.round", 1) \
  XX(SYM_NOT, "torch.sym_not", 1) XX(SYM_INT, "torch.sym_int", 1) XX(SYM_FLOAT, "torch.sym_float", 1)         \
  XX(SYM_MAX, "torch.sym_max", 2) XX(SYM_MIN, "torch.sym_min", 2) XX(SYM_SQRT, "torch._sym_sqrt", 1)          \
  XX(SYM_ITE, "torch.sym_ite", 3)

typedef enum {
#define XX(name, key, n) CG_SCALAR_##name,
  CG_SCALAR_OPS(XX)
#undef XX
  CG_SCALAR_OP_COUNT
} cg_scalar_op;

typedef struct { const char *key; int nargs; } cg_scalar_info;
extern const cg_scalar_info cg_scalar_table[CG_SCALAR_OP_COUNT];
int cg_scalar_find(const char *key); // -1: none

// Python's semantics: int/int true division gives float, // and % floor, ints overflow -> error.
// NULL on success, else the text of Python's exception ("integer division or modulo by zero").
const char *cg_scalar_eval(cg_scalar_op op, const cg_scalar *arg, cg_scalar *out);
#endif
