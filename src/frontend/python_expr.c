// A recursive-descent reader of Python's expressions over integers, and what sympy's and PyTorch's functions mean.
//
// Floats: upsampling computes sizes as trunc(1.5 * float(s0)). A factor that is a short dyadic number (3/2) makes the
// product exact for any size there is, so this is 3*s0 // 2. Longer ones (0.7) round once, as scale(s0, 0.7) does; what rounds
// twice is UNKNOWN.
#include "frontend/python_expr.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { MAX_DEPTH = 200, MAX_POWER = 8 };

typedef cg_py_expr X;
CG_VEC_TYPE(x_vec, X);

typedef struct {
  const cg_py_reader *r;
  cg_session *s;
  cg_expr_pool *pool;
  const char *at;
  int depth;
  const char *bad; // why it does not read
} parser;

// ---------------------------------------------------------------- Values

static X unknown(parser *p, const char *why) { return (X){.kind = CG_PY_UNKNOWN, .why = cg_strdup(p->s, why)}; }
static X integer(const cg_expr *e) { return (X){.kind = CG_PY_INT, .num = e}; }
static X boolean(const cg_expr *e) { return (X){.kind = CG_PY_BOOL, .num = e}; }
static const cg_expr *number(parser *p, int64_t v) { return cg_x_int(p->pool, v); }
static const cg_expr *op2(parser *p, cg_expr_kind kind, const cg_expr *a, const cg_expr *b) {
  return cg_x_op(p->pool, kind, 2, (const cg_expr *[]){a, b});
}
static bool is_int(const X *a) { return a->kind == CG_PY_INT || a->kind == CG_PY_BOOL; }

static bool is_positive(const cg_expr *e) {
  int64_t lo, hi;
  cg_x_range(e, &lo, &hi);
  return lo > 0;
}

static X real(parser *p, const cg_expr *num, const cg_expr *den, int how) {
  if (cg_x_is_int(den) && den->value < 0 && den->value != INT64_MIN) {
    num = cg_x_mul(p->pool, num, number(p, -1));
    den = number(p, -den->value);
  }
  if (!is_positive(den)) return unknown(p, "a division by what may be zero or negative");
  X x = {.kind = CG_PY_REAL, .num = num, .den = den};
  x.real = how;
  return x;
}

static X as_real(parser *p, X a) { return is_int(&a) ? real(p, a.num, number(p, 1), CG_PY_EXACT) : a; }

static X double_value(parser *p, double v) {
  int64_t num, den;
  if (cg_x_dyadic(v, &num, &den)) return real(p, number(p, num), number(p, den), CG_PY_DOUBLE);
  return isfinite(v) ? (X){.kind = CG_PY_SCALED, .num = number(p, 1), .by = v} : unknown(p, "a float that is not finite");
}

static bool is_scaled_number(const X *a) { return a->kind == CG_PY_SCALED && cg_x_is(a->num, 1); }

// The number a is n/d, d a power of two: then v*d and v/d are exact. (Where they are not, v is next to 0 or to infinity.)
static bool over_power_of_two(const X *a, const cg_expr **n, double *d) {
  *n = a->num, *d = 1;
  if (is_int(a)) return true;
  if (a->kind != CG_PY_REAL || !cg_x_is_int(a->den) || (a->den->value & (a->den->value - 1))) return false;
  *d = (double)a->den->value;
  return true;
}

static X mul_scaled(parser *p, X a, X b) { // a is SCALED
  const cg_expr *n;
  double d, e;
  if (is_scaled_number(&a) && is_scaled_number(&b)) return double_value(p, a.by * b.by);
  if (!over_power_of_two(&b, &n, &d)) return unknown(p, "a product of rounded products");
  double by = a.by / d;
  if (by * d != a.by) return unknown(p, "a product with a float next to 0");
  if (cg_x_is_int(n) && is_scaled_number(&a)) return double_value(p, by * (double)n->value);
  if (is_scaled_number(&a)) return (X){.kind = CG_PY_SCALED, .num = n, .by = by};
  int exponent;
  e = cg_x_is_int(n) ? (double)n->value : 0;
  if (fabs(frexp(e, &exponent)) != 0.5 || !isfinite(by * e)) return unknown(p, "a product of rounded products");
  return (X){.kind = CG_PY_SCALED, .num = a.num, .by = by * e};
}

static X add(parser *p, X a, X b) {
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (is_scaled_number(&a) && is_scaled_number(&b)) return double_value(p, a.by + b.by);
  if (a.kind == CG_PY_SCALED || b.kind == CG_PY_SCALED) return unknown(p, "a sum of rounded products");
  if (is_int(&a) && is_int(&b)) return integer(cg_x_add(p->pool, a.num, b.num));
  a = as_real(p, a), b = as_real(p, b);
  if (!a.kind || !b.kind || a.real == CG_PY_QUOTIENT || b.real == CG_PY_QUOTIENT) return unknown(p, "a sum of rounded quotients");
  const cg_expr *n = cg_x_add(p->pool, cg_x_mul(p->pool, a.num, b.den), cg_x_mul(p->pool, b.num, a.den));
  return real(p, n, cg_x_mul(p->pool, a.den, b.den), a.real > b.real ? a.real : b.real);
}

static X mul(parser *p, X a, X b) {
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (is_int(&a) && is_int(&b)) return integer(cg_x_mul(p->pool, a.num, b.num));
  if (a.kind == CG_PY_SCALED || b.kind == CG_PY_SCALED) return a.kind == CG_PY_SCALED ? mul_scaled(p, a, b) : mul_scaled(p, b, a);
  a = as_real(p, a), b = as_real(p, b);
  if (!a.kind || !b.kind || a.real == CG_PY_QUOTIENT || b.real == CG_PY_QUOTIENT) return unknown(p, "a product of rounded quotients");
  return real(p, cg_x_mul(p->pool, a.num, b.num), cg_x_mul(p->pool, a.den, b.den), a.real > b.real ? a.real : b.real);
}

static X negated(parser *p, X a) { return mul(p, a, integer(number(p, -1))); }

static X divide(parser *p, X a, X b) { // the double a / b
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (!is_int(&a) || !is_int(&b)) return unknown(p, "a division of floats");
  return real(p, a.num, b.num, CG_PY_QUOTIENT);
}

static X floordiv(parser *p, X a, X b) {
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (!is_int(&a) || !is_int(&b)) return unknown(p, "a floor division of floats");
  if (cg_x_is(b.num, 0)) return unknown(p, "a division by zero");
  return integer(cg_x_floordiv(p->pool, a.num, b.num));
}

static X mod(parser *p, X a, X b) {
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (!is_int(&a) || !is_int(&b)) return unknown(p, "a remainder of floats");
  if (cg_x_is(b.num, 0)) return unknown(p, "a division by zero");
  return integer(cg_x_mod(p->pool, a.num, b.num));
}

static X power(parser *p, X a, X b) {
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (!is_int(&b) || !cg_x_is_int(b.num) || b.num->value < -1 || b.num->value > MAX_POWER) return unknown(p, "a power");
  if (b.num->value == -1) return is_int(&a) ? real(p, number(p, 1), a.num, CG_PY_EXACT) : unknown(p, "a power of a float");
  X r = integer(number(p, 1));
  for (int64_t i = 0; i < b.num->value; i++) r = mul(p, r, a);
  return r;
}

typedef enum { TRUNC, FLOOR, CEIL } rounding;

static X to_int(parser *p, X a, rounding how) {
  if (!a.kind || a.kind == CG_PY_INT) return a;
  if (a.kind == CG_PY_BOOL) return integer(a.num);
  bool scaled = a.kind == CG_PY_SCALED;
  if (scaled && a.by < 0) a.num = cg_x_mul(p->pool, a.num, number(p, -1)), a.by = -a.by;
  const cg_expr *minus = cg_x_mul(p->pool, a.num, number(p, -1));
  const cg_expr *down = scaled ? cg_x_scale(p->pool, a.num, a.by) : cg_x_floordiv(p->pool, a.num, a.den);
  if (how == FLOOR) return integer(down);
  const cg_expr *below = scaled ? cg_x_scale(p->pool, minus, a.by) : cg_x_floordiv(p->pool, minus, a.den);
  const cg_expr *up = cg_x_mul(p->pool, below, number(p, -1));
  if (how == CEIL) return integer(up);
  int64_t lo, hi;
  cg_x_range(a.num, &lo, &hi);
  if (lo >= 0) return integer(down);
  return integer(cg_x_op(p->pool, CG_X_WHERE, 3, (const cg_expr *[]){op2(p, CG_X_LT, a.num, number(p, 0)), up, down}));
}

// With an integer, a float compares as the integer next to it does.
static X compare_scaled(parser *p, cg_expr_kind kind, X a, X b) {
  bool right = b.kind == CG_PY_SCALED;
  X x = right ? b : a;
  const cg_expr *n;
  double d;
  if (!over_power_of_two(right ? &a : &b, &n, &d) || !isfinite(x.by * d)) return unknown(p, "a comparison of rounded products");
  x.by *= d;
  const cg_expr *down = to_int(p, x, FLOOR).num, *up = to_int(p, x, CEIL).num;
  if (kind == CG_X_EQ || kind == CG_X_NE) {
    const cg_expr *both = op2(p, CG_X_AND, op2(p, CG_X_EQ, down, n), op2(p, CG_X_EQ, up, n));
    return boolean(kind == CG_X_EQ ? both : cg_x_op(p->pool, CG_X_NOT, 1, &both));
  }
  if (right) return boolean(op2(p, kind, n, kind == CG_X_LT ? up : down));
  return boolean(op2(p, kind, kind == CG_X_LT ? down : up, n));
}

static X compare(parser *p, cg_expr_kind kind, X a, X b) {
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (is_int(&a) && is_int(&b)) return boolean(op2(p, kind, a.num, b.num));
  if (a.kind == CG_PY_SCALED || b.kind == CG_PY_SCALED) return compare_scaled(p, kind, a, b);
  a = as_real(p, a), b = as_real(p, b);
  if (!a.kind || !b.kind) return unknown(p, "a comparison of floats");
  return boolean(op2(p, kind, cg_x_mul(p->pool, a.num, b.den), cg_x_mul(p->pool, b.num, a.den)));
}

static X choose(parser *p, X c, X a, X b) {
  if (!c.kind) return c;
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (c.kind != CG_PY_BOOL || !is_int(&a) || !is_int(&b)) return unknown(p, "a choice between floats");
  X r = integer(cg_x_op(p->pool, CG_X_WHERE, 3, (const cg_expr *[]){c.num, a.num, b.num}));
  if (a.kind == CG_PY_BOOL && b.kind == CG_PY_BOOL) r.kind = CG_PY_BOOL;
  return r;
}

static X logic(parser *p, cg_expr_kind kind, X a, X b) {
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (a.kind != CG_PY_BOOL || b.kind != CG_PY_BOOL) return unknown(p, "a logical operator on numbers");
  return boolean(op2(p, kind, a.num, b.num));
}

static X opposite(parser *p, X a) {
  if (!a.kind) return a;
  if (a.kind != CG_PY_BOOL) return unknown(p, "'not' of a number");
  return boolean(cg_x_op(p->pool, CG_X_NOT, 1, &a.num));
}

static X extreme(parser *p, cg_expr_kind kind, X a, X b) {
  if (!a.kind) return a;
  if (!b.kind) return b;
  if (!is_int(&a) || !is_int(&b)) return unknown(p, "a maximum or minimum of floats");
  return integer(op2(p, kind, a.num, b.num));
}

// ---------------------------------------------------------------- Functions

typedef enum {
  F_ADD, F_MUL, F_POW, F_FLOORDIV, F_CEILDIV, F_MOD, F_MAX, F_MIN, F_RATIONAL, F_TO_FLOAT, F_TRUNC, F_FLOOR, F_CEIL, F_DIVIDE,
  F_EQ, F_NE, F_LT, F_LE, F_GT, F_GE, F_AND, F_OR, F_NOT, F_CHOOSE, F_MODULAR, F_SAME, F_ABS, F_LSHIFT, F_RSHIFT,
} function;

static const struct {
  const char *name;
  function f;
  int min, max; // arguments
} functions[] = {
    {"Add", F_ADD, 0, 1 << 16}, {"Mul", F_MUL, 0, 1 << 16}, {"Pow", F_POW, 2, 2}, {"PowByNatural", F_POW, 2, 2}, {"pow", F_POW, 2, 2},
    {"FloorDiv", F_FLOORDIV, 2, 2}, {"CleanDiv", F_FLOORDIV, 2, 2}, {"CeilDiv", F_CEILDIV, 2, 2}, {"Mod", F_MOD, 2, 2},
    {"PythonMod", F_MOD, 2, 2}, {"Max", F_MAX, 1, 1 << 16}, {"max", F_MAX, 1, 1 << 16}, {"sym_max", F_MAX, 2, 2}, {"Min", F_MIN, 1, 1 << 16},
    {"min", F_MIN, 1, 1 << 16}, {"sym_min", F_MIN, 2, 2}, {"Integer", F_SAME, 1, 1}, {"Rational", F_RATIONAL, 2, 2}, {"ToFloat", F_TO_FLOAT, 1, 1},
    {"sym_float", F_TO_FLOAT, 1, 1}, {"float", F_TO_FLOAT, 1, 1}, {"TruncToInt", F_TRUNC, 1, 1}, {"trunc", F_TRUNC, 1, 1},
    {"int", F_TRUNC, 1, 1}, {"sym_int", F_TRUNC, 1, 1}, {"FloorToInt", F_FLOOR, 1, 1}, {"floor", F_FLOOR, 1, 1},
    {"CeilToInt", F_CEIL, 1, 1}, {"ceil", F_CEIL, 1, 1}, {"ceiling", F_CEIL, 1, 1}, {"IntTrueDiv", F_DIVIDE, 2, 2},
    {"FloatTrueDiv", F_DIVIDE, 2, 2}, {"Equality", F_EQ, 2, 2}, {"Eq", F_EQ, 2, 2}, {"Unequality", F_NE, 2, 2}, {"Ne", F_NE, 2, 2},
    {"StrictLessThan", F_LT, 2, 2}, {"LessThan", F_LE, 2, 2}, {"StrictGreaterThan", F_GT, 2, 2}, {"GreaterThan", F_GE, 2, 2},
    {"And", F_AND, 1, 1 << 16}, {"Or", F_OR, 1, 1 << 16}, {"Not", F_NOT, 1, 1}, {"sym_not", F_NOT, 1, 1}, {"ITE", F_CHOOSE, 3, 3},
    {"Where", F_CHOOSE, 3, 3}, {"sym_ite", F_CHOOSE, 3, 3}, {"ModularIndexing", F_MODULAR, 3, 3}, {"Identity", F_SAME, 1, 1},
    {"Abs", F_ABS, 1, 1}, {"abs", F_ABS, 1, 1}, {"LShift", F_LSHIFT, 2, 2}, {"RShift", F_RSHIFT, 2, 2},
};

static X shift_factor(parser *p, X n) {
  if (!is_int(&n) || !cg_x_is_int(n.num) || n.num->value < 0 || n.num->value > 62) return unknown(p, "a shift");
  return integer(number(p, (int64_t)1 << n.num->value));
}

// Integers, a few operands at a time: what is between two steps is interned, and stays.
static X fold_integers(parser *p, cg_expr_kind kind, const X *a, int n) {
  enum { AT_A_TIME = 32 };
  const cg_expr *x[AT_A_TIME + 1] = {a[0].num};
  for (int i = 1; i < n;) {
    int m = 1;
    while (m <= AT_A_TIME && i < n) x[m++] = a[i++].num;
    x[0] = cg_x_op(p->pool, kind, m, x);
  }
  return integer(x[0]);
}

static X fold(parser *p, function f, const X *a, int n) {
  bool integers = n && (f == F_ADD || f == F_MUL || f == F_MAX || f == F_MIN);
  for (int i = 0; i < n; i++) integers &= is_int(&a[i]);
  if (integers) return fold_integers(p, f == F_ADD ? CG_X_ADD : f == F_MUL ? CG_X_MUL : f == F_MAX ? CG_X_MAX : CG_X_MIN, a, n);
  X r = n ? a[0] : integer(number(p, f == F_MUL));
  if ((f == F_MAX || f == F_MIN) && r.kind && !is_int(&r)) return unknown(p, "a maximum or minimum of floats");
  for (int i = 1; i < n; i++)
    r = f == F_ADD ? add(p, r, a[i]) : f == F_MUL ? mul(p, r, a[i]) : f == F_MAX ? extreme(p, CG_X_MAX, r, a[i])
        : f == F_MIN ? extreme(p, CG_X_MIN, r, a[i]) : logic(p, f == F_AND ? CG_X_AND : CG_X_OR, r, a[i]);
  return r;
}

static X apply(parser *p, function f, const X *a, int n) {
  switch (f) {
  case F_ADD: case F_MUL: case F_MAX: case F_MIN: case F_AND: case F_OR: return fold(p, f, a, n);
  case F_POW: return power(p, a[0], a[1]);
  case F_FLOORDIV: return floordiv(p, a[0], a[1]);
  case F_CEILDIV: return negated(p, floordiv(p, negated(p, a[0]), a[1]));
  case F_MOD: return mod(p, a[0], a[1]);
  case F_RATIONAL: return is_int(&a[0]) && is_int(&a[1]) ? real(p, a[0].num, a[1].num, CG_PY_EXACT) : unknown(p, "a rational number");
  case F_TO_FLOAT: return is_int(&a[0]) ? real(p, a[0].num, number(p, 1), CG_PY_DOUBLE) : a[0];
  case F_TRUNC: return to_int(p, a[0], TRUNC);
  case F_FLOOR: return to_int(p, a[0], FLOOR);
  case F_CEIL: return to_int(p, a[0], CEIL);
  case F_DIVIDE: return divide(p, a[0], a[1]);
  case F_EQ: return compare(p, CG_X_EQ, a[0], a[1]);
  case F_NE: return compare(p, CG_X_NE, a[0], a[1]);
  case F_LT: return compare(p, CG_X_LT, a[0], a[1]);
  case F_LE: return compare(p, CG_X_LE, a[0], a[1]);
  case F_GT: return compare(p, CG_X_LT, a[1], a[0]);
  case F_GE: return compare(p, CG_X_LE, a[1], a[0]);
  case F_NOT: return opposite(p, a[0]);
  case F_CHOOSE: return choose(p, a[0], a[1], a[2]);
  case F_MODULAR: return mod(p, floordiv(p, a[0], a[1]), a[2]);
  case F_SAME: return a[0];
  case F_ABS: return extreme(p, CG_X_MAX, a[0], negated(p, a[0]));
  case F_LSHIFT: return mul(p, a[0], shift_factor(p, a[1]));
  case F_RSHIFT: return floordiv(p, a[0], shift_factor(p, a[1]));
  }
  return unknown(p, "a function");
}

// ---------------------------------------------------------------- Reading

static void blanks(parser *p) { p->at += strspn(p->at, " \t\n"); }

static X bad(parser *p, const char *expected) {
  if (!p->bad) p->bad = cg_format(p->s, "%s is expected at '%.40s'", expected, p->at);
  return unknown(p, p->bad);
}

static bool take(parser *p, const char *token) {
  blanks(p);
  size_t n = strlen(token);
  if (strncmp(p->at, token, n)) return false;
  p->at += n;
  return true;
}

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }

static bool take_word(parser *p, const char *word) {
  blanks(p);
  size_t n = strlen(word);
  if (strncmp(p->at, word, n) || letter(p->at[n]) || digit(p->at[n])) return false;
  p->at += n;
  return true;
}

static X expression(parser *p);

// 'text', without escapes; NULL: there is none.
static const char *quoted(parser *p) {
  blanks(p);
  char q = *p->at;
  const char *end = q == '\'' || q == '"' ? strchr(p->at + 1, q) : NULL;
  if (!end) return bad(p, "a quoted text"), NULL;
  const char *text = cg_strndup(p->s, p->at + 1, (size_t)(end - p->at - 1));
  p->at = end + 1;
  return text;
}

// The rest of a call's arguments, up to its ')', skipped.
static void skip_arguments(parser *p) {
  int depth = 1;
  while (*p->at && depth) depth += (*p->at == '(') - (*p->at == ')'), p->at++;
  if (depth) bad(p, "')'");
}

cg_symbol *cg_py_symbol(cg_module *m, const char *name) {
  size_t n = strlen(name);
  for (size_t i = 0; i < n; i++)
    if (!letter(name[i]) && !digit(name[i])) return NULL;
  if (!n || n > 64 || !letter(*name)) return NULL;
  if ((!strncmp(name, "zf", 2) && digit(name[2])) || (!strncmp(name, "zuf", 3) && digit(name[3]))) return NULL; // floats
  cg_symbol *y = cg_symbol_get(&m->exprs, name);
  y->unbacked = *name == 'u' && n > 1 && strspn(name + 1, "0123456789") == n - 1;
  return y;
}

static X symbol(parser *p) {
  const char *name = quoted(p);
  skip_arguments(p);
  if (!name || p->bad) return bad(p, "a symbol");
  cg_symbol *y = cg_py_symbol(p->r->m, name);
  return y ? integer(y->expr) : unknown(p, cg_format(p->s, "the symbol %.64s", name));
}

static X literal_float(parser *p) {
  const char *text = quoted(p);
  skip_arguments(p);
  if (!text || p->bad) return bad(p, "a number");
  char *end;
  double v = cg_strtod(text, &end);
  return *text && !*end ? double_value(p, v) : bad(p, "a number");
}

// Piecewise(ExprCondPair(a, c), …, ExprCondPair(b, true))
static X piecewise(parser *p) {
  x_vec value = {0}, when = {0};
  do {
    if (!take(p, "ExprCondPair") || !take(p, "(")) return bad(p, "ExprCondPair");
    X v = expression(p);
    if (!take(p, ",")) return bad(p, "','");
    X c = expression(p);
    if (!take(p, ")")) return bad(p, "')'");
    CG_PUSH(p->s, &value, v);
    CG_PUSH(p->s, &when, c);
  } while (take(p, ","));
  if (!take(p, ")")) return bad(p, "')'");
  X last = when.at[when.n - 1];
  if (last.kind != CG_PY_BOOL || !cg_x_is(last.num, 1)) return unknown(p, "a choice without a last resort");
  X r = value.at[value.n - 1];
  for (int i = value.n - 2; i >= 0; i--) r = choose(p, when.at[i], value.at[i], r);
  return r;
}

static X call(parser *p, const char *name) {
  if (!strcmp(name, "Symbol")) return symbol(p);
  if (!strcmp(name, "Float")) return literal_float(p);
  if (!strcmp(name, "Piecewise")) return piecewise(p);
  x_vec arg = {0};
  if (!take(p, ")")) {
    do {
      X a = expression(p);
      CG_PUSH(p->s, &arg, a);
    } while (!p->bad && take(p, ","));
    if (!take(p, ")")) return bad(p, "')'");
  }
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    if (strcmp(functions[i].name, name)) continue;
    if (arg.n < functions[i].min || arg.n > functions[i].max) return bad(p, "another number of arguments");
    for (int k = 0; k < arg.n; k++)
      if (!arg.at[k].kind) return arg.at[k];
    return apply(p, functions[i].f, arg.at, arg.n);
  }
  return unknown(p, cg_format(p->s, "the function %s", name));
}

static X literal(parser *p) {
  const char *start = p->at;
  char *end;
  errno = 0;
  long long v = strtoll(start, &end, 10);
  if (*end == '.' || *end == 'e' || *end == 'E') {
    double d = cg_strtod(start, &end);
    p->at = end;
    return double_value(p, d);
  }
  if (errno) return bad(p, "an integer of 64 bits");
  p->at = end;
  return integer(number(p, v));
}

static X atom(parser *p) {
  blanks(p);
  if (take(p, "(")) {
    X x = expression(p);
    return take(p, ")") ? x : bad(p, "')'");
  }
  if (digit(*p->at) || *p->at == '.') return literal(p);
  if (p->r->source && p->at[0] == 'L' && p->at[1] == '[') {
    X x = {0};
    const char *start = p->at;
    if (p->r->source(p->r->u, &p->at, &x)) return x;
    p->at = start;
    return bad(p, "an input of the program");
  }
  if (!letter(*p->at)) return bad(p, "a value");
  const char *word = p->at;
  while (letter(*p->at) || digit(*p->at) || *p->at == '.') {
    if (*p->at == '.') word = p->at + 1; // math.floor, torch.sym_max: the last part says what it is
    p->at++;
  }
  if (p->at - word > 64) return bad(p, "a name");
  const char *name = cg_strndup(p->s, word, (size_t)(p->at - word));
  if (!strcmp(name, "true") || !strcmp(name, "True")) return boolean(number(p, 1));
  if (!strcmp(name, "false") || !strcmp(name, "False")) return boolean(number(p, 0));
  return take(p, "(") ? call(p, name) : unknown(p, cg_format(p->s, "the name %s", name));
}

static X unary(parser *p) {
  if (++p->depth > MAX_DEPTH) return bad(p, "less nesting");
  X x;
  if (take(p, "-")) {
    blanks(p);
    x = !strncmp(p->at, "9223372036854775808", 19) ? (p->at += 19, integer(number(p, INT64_MIN))) : negated(p, unary(p));
  } else if (take(p, "+")) {
    x = unary(p);
  } else {
    x = atom(p);
    if (!p->bad && take(p, "**")) x = power(p, x, unary(p));
  }
  p->depth--;
  return x;
}

static X term(parser *p) {
  X x = unary(p);
  while (!p->bad) {
    if (take(p, "//")) x = floordiv(p, x, unary(p));
    else if (take(p, "*")) x = mul(p, x, unary(p));
    else if (take(p, "/")) x = divide(p, x, unary(p));
    else if (take(p, "%")) x = mod(p, x, unary(p));
    else break;
  }
  return x;
}

static X arithmetic(parser *p) {
  X x = term(p);
  while (!p->bad) {
    if (take(p, "+")) x = add(p, x, term(p));
    else if (take(p, "-")) x = add(p, x, negated(p, term(p)));
    else break;
  }
  return x;
}

static X comparison(parser *p) { // a < b <= c means both
  X left = arithmetic(p), all = {0};
  bool any = false;
  while (!p->bad) {
    function f = take(p, "==") ? F_EQ : take(p, "!=") ? F_NE : take(p, "<=") ? F_LE : take(p, ">=") ? F_GE : take(p, "<") ? F_LT
                 : take(p, ">") ? F_GT : F_ADD;
    if (f == F_ADD) break;
    X pair[2] = {left, arithmetic(p)};
    X one = !pair[0].kind ? pair[0] : !pair[1].kind ? pair[1] : apply(p, f, pair, 2);
    all = any ? logic(p, CG_X_AND, all, one) : one;
    any = true;
    left = pair[1];
  }
  return any ? all : left;
}

static X negation(parser *p) {
  if (++p->depth > MAX_DEPTH) return bad(p, "less nesting");
  X x = take_word(p, "not") ? opposite(p, negation(p)) : comparison(p);
  p->depth--;
  return x;
}

static X conjunction(parser *p) {
  X x = negation(p);
  while (!p->bad && take_word(p, "and")) x = logic(p, CG_X_AND, x, negation(p));
  return x;
}

static X disjunction(parser *p) {
  X x = conjunction(p);
  while (!p->bad && take_word(p, "or")) x = logic(p, CG_X_OR, x, conjunction(p));
  return x;
}

static X expression(parser *p) {
  if (++p->depth > MAX_DEPTH) return bad(p, "less nesting");
  X x = disjunction(p);
  if (!p->bad && take_word(p, "if")) {
    X c = disjunction(p);
    if (!take_word(p, "else")) return bad(p, "'else'");
    x = choose(p, c, x, expression(p));
  }
  p->depth--;
  return x;
}

cg_py_expr cg_py_read(const cg_py_reader *r, const char *text) {
  parser p = {.r = r, .s = r->m->s, .pool = &r->m->exprs, .at = text};
  X x = expression(&p);
  blanks(&p);
  if (!p.bad && *p.at) bad(&p, "the end");
  return p.bad ? unknown(&p, p.bad) : x;
}

const cg_expr *cg_py_integer(const cg_py_reader *r, const cg_py_expr *x, const char **why) {
  if (is_int(x)) return x->num;
  if (x->kind == CG_PY_REAL && x->real == CG_PY_EXACT) return cg_x_floordiv(&r->m->exprs, x->num, x->den);
  *why = x->kind == CG_PY_UNKNOWN ? x->why : "it is no integer";
  return NULL;
}
