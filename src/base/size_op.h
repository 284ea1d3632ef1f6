// The operators of sizes over int64, which expressions of the IR, plans and programs of LibTorch's regions share. Usable from C++.
#ifndef CG_BASE_SIZE_OP_H
#define CG_BASE_SIZE_OP_H
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

// Plans keep these numbers (artifact/plan.h).
typedef enum {
  CG_X_INT,      // a number
  CG_X_SYM,      // a symbol, or what has its value
  CG_X_ADD, CG_X_MUL,
  CG_X_FLOORDIV, // as Python's //
  CG_X_MOD,      // as Python's %: the sign of the divisor
  CG_X_MAX, CG_X_MIN,
  CG_X_EQ, CG_X_NE, CG_X_LT, CG_X_LE, // 0 or 1
  CG_X_AND, CG_X_OR, CG_X_NOT,
  CG_X_WHERE,    // the first ? the second : the third
  CG_X_SCALE,    // floor(x * c), the product rounded to a double; the second is the bits of c
} cg_expr_kind;
#define CG_X_COUNT (CG_X_SCALE + 1)

// Operands in a postfix program.
static inline int cg_x_operands(cg_expr_kind op) { return op <= CG_X_SYM ? 0 : op == CG_X_NOT ? 1 : op == CG_X_WHERE ? 3 : 2; }

static inline int64_t cg_x_floor_div(int64_t a, int64_t b) { // b > 0, or not (INT64_MIN, -1)
  int64_t q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}
static inline int64_t cg_x_floor_mod(int64_t a, int64_t b) {
  int64_t r = a % b;
  return r && (r < 0) != (b < 0) ? r + b : r;
}

// What PyTorch's trunc(0.7 * s0) is of sizes: computed as a processor does in double. false: it does not fit.
static inline bool cg_scale(int64_t x, int64_t bits_of_c, int64_t *out) {
  double c;
  memcpy(&c, &bits_of_c, sizeof c);
  double r = floor((double)x * c);
  if (!(r >= -0x1p63 && r < 0x1p63)) return false;
  *out = (int64_t)r;
  return true;
}

// An operator of two operands. false: overflow, a division by zero, or no such operator.
static inline bool cg_x_apply(cg_expr_kind op, int64_t a, int64_t b, int64_t *out) {
  switch (op) {
  case CG_X_ADD: return !__builtin_add_overflow(a, b, out);
  case CG_X_MUL: return !__builtin_mul_overflow(a, b, out);
  case CG_X_FLOORDIV:
    if (!b || (b == -1 && a == INT64_MIN)) return false;
    *out = cg_x_floor_div(a, b);
    return true;
  case CG_X_MOD:
    if (!b) return false;
    *out = b == -1 ? 0 : cg_x_floor_mod(a, b);
    return true;
  case CG_X_SCALE: return cg_scale(a, b, out);
  case CG_X_MAX: *out = a > b ? a : b; return true;
  case CG_X_MIN: *out = a < b ? a : b; return true;
  case CG_X_EQ: *out = a == b; return true;
  case CG_X_NE: *out = a != b; return true;
  case CG_X_LT: *out = a < b; return true;
  case CG_X_LE: *out = a <= b; return true;
  case CG_X_AND: *out = a && b; return true;
  case CG_X_OR: *out = a || b; return true;
  default: return false;
  }
}
#endif
