// Scalar operators, with Python's semantics over int64, double and bool.
#include "artifact/scalar.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

const cg_scalar_info cg_scalar_table[CG_SCALAR_OP_COUNT] = {
#define XX(name, key, n) [CG_SCALAR_##name] = {key, n},
    CG_SCALAR_OPS(XX)
#undef XX
};

int cg_scalar_find(const char *key) {
  for (int i = 0; i < CG_SCALAR_OP_COUNT; i++)
    if (!strcmp(cg_scalar_table[i].key, key)) return i;
  return -1;
}

static const char too_big[] = "the integer result does not fit into 64 bits";
static const char no_float[] = "unsupported operand type: float";

static bool is_float(const cg_scalar *a) { return a->kind == CG_SC_FLOAT; }
static double number(const cg_scalar *a) { return is_float(a) ? a->f : (double)a->i; }
static bool truth(const cg_scalar *a) { return is_float(a) ? a->f != 0 : a->i != 0; }

static const char *give_int(cg_scalar *out, int64_t v) {
  *out = (cg_scalar){.kind = CG_SC_INT, .i = v};
  return NULL;
}
static const char *give_bool(cg_scalar *out, bool v) {
  *out = (cg_scalar){.kind = CG_SC_BOOL, .i = v};
  return NULL;
}
static const char *give_float(cg_scalar *out, double v) {
  *out = (cg_scalar){.kind = CG_SC_FLOAT, .f = v};
  return NULL;
}

// A float that was rounded to a whole number, as an int.
static const char *whole(double v, cg_scalar *out) {
  if (isnan(v)) return "cannot convert float NaN to integer";
  if (isinf(v)) return "cannot convert float infinity to integer";
  if (v < -0x1p63 || v >= 0x1p63) return too_big;
  return give_int(out, (int64_t)v);
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

// float // and % as CPython computes them: the remainder is exact, the quotient is made from it.
static void float_divmod(double a, double b, double *quotient, double *remainder) {
  double r = fmod(a, b), q = (a - r) / b;
  if (r != 0) {
    if ((b < 0) != (r < 0)) {
      r += b;
      q -= 1;
    }
  } else {
    r = copysign(0.0, b);
  }
  if (q != 0) {
    double f = floor(q);
    if (q - f > 0.5) f += 1;
    q = f;
  } else {
    q = copysign(0.0, a / b);
  }
  *quotient = q;
  *remainder = r;
}

static const char *float_binary(cg_scalar_op op, double a, double b, cg_scalar *out) {
  double q, r;
  switch (op) {
  case CG_SCALAR_ADD: return give_float(out, a + b);
  case CG_SCALAR_SUB: return give_float(out, a - b);
  case CG_SCALAR_MUL: return give_float(out, a * b);
  case CG_SCALAR_TRUEDIV: return b == 0 ? "float division by zero" : give_float(out, a / b);
  case CG_SCALAR_FLOORDIV:
    if (b == 0) return "float floor division by zero";
    float_divmod(a, b, &q, &r);
    return give_float(out, q);
  case CG_SCALAR_MOD:
    if (b == 0) return "float modulo";
    float_divmod(a, b, &q, &r);
    return give_float(out, r);
  case CG_SCALAR_POW:
    if (a == 0 && b < 0) return "0.0 cannot be raised to a negative power";
    if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b)) return "a negative number to a fractional power is complex";
    q = pow(a, b);
    if (isinf(q) && isfinite(a) && isfinite(b)) return "numerical result out of range";
    return give_float(out, q);
  default: return no_float;
  }
}

static const char *int_pow(int64_t a, int64_t b, cg_scalar *out) {
  if (b < 0) return float_binary(CG_SCALAR_POW, (double)a, (double)b, out);
  int64_t r = 1;
  while (b) {
    if (b & 1 && __builtin_mul_overflow(r, a, &r)) return too_big;
    b >>= 1;
    if (b && __builtin_mul_overflow(a, a, &a)) return too_big;
  }
  return give_int(out, r);
}

static const char *shift(cg_scalar_op op, int64_t a, int64_t b, cg_scalar *out) {
  if (b < 0) return "negative shift count";
  if (op == CG_SCALAR_RSHIFT) return give_int(out, b > 63 ? (a < 0 ? -1 : 0) : a >> b);
  if (a && (b > 62 || a > INT64_MAX >> b || a < INT64_MIN >> b)) return too_big;
  return give_int(out, a ? (int64_t)((uint64_t)a << b) : 0);
}

static const char *int_binary(cg_scalar_op op, int64_t a, int64_t b, bool bools, cg_scalar *out) {
  int64_t r;
  switch (op) {
  case CG_SCALAR_ADD: return __builtin_add_overflow(a, b, &r) ? too_big : give_int(out, r);
  case CG_SCALAR_SUB: return __builtin_sub_overflow(a, b, &r) ? too_big : give_int(out, r);
  case CG_SCALAR_MUL: return __builtin_mul_overflow(a, b, &r) ? too_big : give_int(out, r);
  case CG_SCALAR_TRUEDIV: // long double holds any int64
    return b ? give_float(out, (double)((long double)a / (long double)b)) : "division by zero";
  case CG_SCALAR_FLOORDIV:
  case CG_SCALAR_MOD:
    if (!b) return "integer division or modulo by zero";
    if (b == -1) return op == CG_SCALAR_MOD ? give_int(out, 0) : a == INT64_MIN ? too_big : give_int(out, -a);
    r = floor_div(a, b);
    return give_int(out, op == CG_SCALAR_MOD ? a - r * b : r);
  case CG_SCALAR_POW: return int_pow(a, b, out);
  case CG_SCALAR_AND: return bools ? give_bool(out, a & b) : give_int(out, a & b);
  case CG_SCALAR_OR: return bools ? give_bool(out, a | b) : give_int(out, a | b);
  default: return shift(op, a, b, out);
  }
}

static const char *compare(cg_scalar_op op, const cg_scalar *x, const cg_scalar *y, cg_scalar *out) {
  // long double holds every int64 and every double, so mixed comparisons are exact, as Python's
  long double a = is_float(x) ? (long double)x->f : (long double)x->i, b = is_float(y) ? (long double)y->f : (long double)y->i;
  switch (op) {
  case CG_SCALAR_EQ: return give_bool(out, a == b);
  case CG_SCALAR_NE: return give_bool(out, a != b);
  case CG_SCALAR_LT: return give_bool(out, a < b);
  case CG_SCALAR_LE: return give_bool(out, a <= b);
  case CG_SCALAR_GT: return give_bool(out, a > b);
  default: return give_bool(out, a >= b);
  }
}

// torch.sym_max and sym_min: float as soon as one is.
static const char *extreme(bool max, const cg_scalar *a, const cg_scalar *b, cg_scalar *out) {
  cg_scalar second;
  compare(max ? CG_SCALAR_GT : CG_SCALAR_LT, b, a, &second);
  const cg_scalar *w = second.i ? b : a;
  return is_float(a) || is_float(b) ? give_float(out, number(w)) : give_int(out, w->i);
}

static const char *sign(cg_scalar_op op, const cg_scalar *a, cg_scalar *out) {
  bool negate = op == CG_SCALAR_NEG;
  if (is_float(a)) return give_float(out, negate ? -a->f : a->f);
  if (negate && a->i == INT64_MIN) return too_big;
  return give_int(out, negate ? -a->i : a->i);
}

static double rounded(cg_scalar_op op, double v) {
  switch (op) {
  case CG_SCALAR_CEIL: return ceil(v);
  case CG_SCALAR_FLOOR: return floor(v);
  case CG_SCALAR_ROUND: return nearbyint(v); // half to even, the default mode
  default: return trunc(v);
  }
}

const char *cg_scalar_eval(cg_scalar_op op, const cg_scalar *arg, cg_scalar *out) {
  const cg_scalar *a = &arg[0], *b = &arg[1];
  switch (op) {
  case CG_SCALAR_NEG: case CG_SCALAR_POS: return sign(op, a, out);
  case CG_SCALAR_EQ: case CG_SCALAR_NE: case CG_SCALAR_LT: case CG_SCALAR_LE: case CG_SCALAR_GT: case CG_SCALAR_GE:
    return compare(op, a, b, out);
  case CG_SCALAR_TRUNC: case CG_SCALAR_CEIL: case CG_SCALAR_FLOOR: case CG_SCALAR_ROUND: case CG_SCALAR_SYM_INT:
    return is_float(a) ? whole(rounded(op, a->f), out) : give_int(out, a->i);
  case CG_SCALAR_SYM_NOT: return give_bool(out, !truth(a));
  case CG_SCALAR_SYM_FLOAT: return give_float(out, number(a));
  case CG_SCALAR_SYM_MAX: return extreme(true, a, b, out);
  case CG_SCALAR_SYM_MIN: return extreme(false, a, b, out);
  case CG_SCALAR_SYM_SQRT: return number(a) < 0 ? "math domain error" : give_float(out, sqrt(number(a)));
  case CG_SCALAR_SYM_ITE:
    *out = arg[truth(a) ? 1 : 2];
    return NULL;
  case CG_SCALAR_OP_COUNT: return "no such operator";
  default: break;
  }
  if (is_float(a) || is_float(b)) return float_binary(op, number(a), number(b), out);
  return int_binary(op, a->i, b->i, a->kind == CG_SC_BOOL && b->kind == CG_SC_BOOL, out);
}
