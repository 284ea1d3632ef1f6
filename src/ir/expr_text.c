// The text of symbolic integers: Python's infix operators and functions for the rest, e.g. `max(2*s0 - 1, s1//4)`.
#include <math.h>
#include <string.h>

#include "base/number.h"
#include "ir/expr_internal.h"

// ---------------------------------------------------------------- printing

static const struct {
  cg_expr_kind kind;
  const char *name;
  int min, max; // arguments
} functions[] = {
    {CG_X_MAX, "max", 1, CG_X_MAX_TERMS}, {CG_X_MIN, "min", 1, CG_X_MAX_TERMS}, {CG_X_EQ, "eq", 2, 2}, {CG_X_NE, "ne", 2, 2},
    {CG_X_LT, "lt", 2, 2}, {CG_X_LE, "le", 2, 2}, {CG_X_AND, "and", 1, CG_X_MAX_TERMS}, {CG_X_OR, "or", 1, CG_X_MAX_TERMS},
    {CG_X_NOT, "not", 1, 1}, {CG_X_WHERE, "where", 3, 3}, {CG_X_SCALE, "scale", 2, 2},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

static void print_tight(cg_str *b, const cg_expr *e) { // as an operand of * // %
  bool open = e->kind == CG_X_ADD || e->kind == CG_X_MUL || e->kind == CG_X_FLOORDIV || e->kind == CG_X_MOD ||
              (e->kind == CG_X_INT && e->value < 0);
  if (open) cg_str_addc(b, '(');
  cg_x_print(b, e);
  if (open) cg_str_addc(b, ')');
}

static void print_product(cg_str *b, const cg_expr *e, bool drop_sign) {
  for (int i = 0; i < e->nargs; i++) {
    const cg_expr *f = e->arg[i];
    if (i || f->kind != CG_X_INT) {
      print_tight(b, f);
    } else if (f->value == -1) {
      if (!drop_sign) cg_str_addc(b, '-');
      continue;
    } else {
      cg_str_addf(b, "%llu", f->value < 0 && drop_sign ? 0ull - (unsigned long long)f->value : (unsigned long long)f->value);
    }
    if (i + 1 < e->nargs) cg_str_addc(b, '*');
  }
}

static bool negative(const cg_expr *e) {
  const cg_expr *c = e->kind == CG_X_MUL ? e->arg[0] : e;
  return c->kind == CG_X_INT && c->value < 0;
}

static void print_sum(cg_str *b, const cg_expr *e) {
  cg_x_print(b, e->arg[0]);
  for (int i = 1; i < e->nargs; i++) {
    const cg_expr *t = e->arg[i];
    bool minus = negative(t);
    cg_str_add(b, minus ? " - " : " + ");
    if (t->kind == CG_X_MUL) print_product(b, t, minus);
    else if (minus) cg_str_addf(b, "%llu", 0ull - (unsigned long long)t->value);
    else cg_x_print(b, t);
  }
}

static void print_double(cg_str *b, const cg_expr *bits) {
  double v;
  memcpy(&v, &bits->value, sizeof v);
  cg_str_add_double(b, v);
}

void cg_x_print(cg_str *b, const cg_expr *e) {
  switch (e->kind) {
  case CG_X_INT: cg_str_addf(b, "%lld", (long long)e->value); return;
  case CG_X_SYM: cg_str_add(b, e->symbol->name); return;
  case CG_X_ADD: print_sum(b, e); return;
  case CG_X_MUL:
    if (negative(e)) cg_str_addc(b, '-');
    print_product(b, e, true);
    return;
  case CG_X_FLOORDIV:
  case CG_X_MOD:
    if (e->arg[0]->kind == CG_X_ADD) print_tight(b, e->arg[0]);
    else cg_x_print(b, e->arg[0]);
    cg_str_add(b, e->kind == CG_X_MOD ? "%" : "//");
    print_tight(b, e->arg[1]);
    return;
  default: break;
  }
  for (int i = 0; i < FUNCTIONS; i++)
    if (functions[i].kind == e->kind) cg_str_add(b, functions[i].name);
  cg_str_addc(b, '(');
  for (int i = 0; i < e->nargs; i++) {
    if (i) cg_str_add(b, ", ");
    if (i && e->kind == CG_X_SCALE) print_double(b, e->arg[i]);
    else cg_x_print(b, e->arg[i]);
  }
  cg_str_addc(b, ')');
}

void cg_x_print_short(cg_str *b, const cg_expr *e) {
  if (e->size > CG_X_SHORT) cg_str_add(b, "…");
  else cg_x_print(b, e);
}

// ---------------------------------------------------------------- parsing

typedef struct {
  cg_expr_pool *p;
  const char *at;
  const char *why;       // set with the first error; `at` is where it is
  bool in_text, make_unbacked;
  bool divides;          // the operand is a divisor
  int depth;
} reader;

enum { MAX_NESTING = 256 };

static const cg_expr *read_sum(reader *r);

static const cg_expr *wrong(reader *r, const char *why) {
  if (!r->why) r->why = why;
  return NULL;
}

static void skip_blanks(reader *r) {
  while (*r->at && strchr(" \t\r\n", *r->at)) r->at++;
}

// Behind an operand `//` divides; before one it begins a comment, in a module's text.
static void skip_comments(reader *r) {
  skip_blanks(r);
  while (r->in_text && r->at[0] == '/' && r->at[1] == '/') {
    while (*r->at && *r->at != '\n') r->at++;
    skip_blanks(r);
  }
}

static bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool take(reader *r, char c) {
  skip_blanks(r);
  if (*r->at != c) return false;
  r->at++;
  return true;
}

static const cg_expr *read_number(reader *r, bool minus) {
  uint64_t v = 0, limit = (uint64_t)INT64_MAX + minus;
  const char *start = r->at;
  for (; is_digit(*r->at); r->at++) {
    uint64_t digit = (uint64_t)(*r->at - '0');
    if (v > (limit - digit) / 10) {
      r->at = start;
      return wrong(r, "this number does not fit 64 bits");
    }
    v = v * 10 + digit;
  }
  return cg_x_int(r->p, minus ? (int64_t)(0 - v) : (int64_t)v);
}

// The double that a size is scaled by, as the integer that its bits are.
static const cg_expr *read_double(reader *r) {
  skip_comments(r);
  char *end;
  double v = cg_strtod(r->at, &end);
  if (end == r->at || !isfinite(v)) return wrong(r, "expected a finite number");
  r->at = end;
  int64_t bits;
  memcpy(&bits, &v, sizeof bits);
  return cg_x_int(r->p, bits);
}

static const cg_expr *read_call(reader *r, int f) {
  const cg_expr *first[8], **arg = first;
  int n = 0, cap = 8;
  do {
    if (n == functions[f].max) return wrong(r, "too many arguments");
    if (n == cap) {
      const cg_expr **more = CG_NEW_ARRAY(r->p->s, const cg_expr *, cap * 2);
      memcpy(more, arg, (size_t)n * sizeof *arg);
      arg = more, cap *= 2;
    }
    arg[n] = functions[f].kind == CG_X_SCALE && n ? read_double(r) : read_sum(r);
    if (!arg[n++]) return NULL;
  } while (take(r, ','));
  if (n < functions[f].min) return wrong(r, "expected ',' and another argument");
  if (!take(r, ')')) return wrong(r, "expected ')'");
  return cg_x_op(r->p, functions[f].kind, n, arg);
}

static const cg_expr *read_name(reader *r) {
  char name[64];
  const char *start = r->at;
  size_t n = 0;
  while (is_alpha(r->at[n]) || is_digit(r->at[n])) n++;
  if (n >= sizeof name) return wrong(r, "a symbol's name is shorter than 64 bytes");
  memcpy(name, r->at, n);
  name[n] = 0;
  r->at += n;
  skip_blanks(r);
  if (*r->at == '(') {
    for (int i = 0; i < FUNCTIONS; i++)
      if (!strcmp(functions[i].name, name)) {
        r->at++;
        return read_call(r, i);
      }
    r->at = start;
    return wrong(r, "expected one of the functions max, min, where, scale, eq, ne, lt, le, and, or, not");
  }
  cg_symbol *y = cg_symbol_find(r->p, name);
  if (!y && (!r->in_text || (r->make_unbacked && name[0] == 'u'))) y = cg_symbol_get(r->p, name);
  if (y) return y->expr;
  r->at = start;
  bool slash = r->divides;
  return wrong(r, slash ? "this symbol is not declared (behind a size, `//` divides)" : "this symbol is not declared (`sym NAME = LOW..HIGH`)");
}

static const cg_expr *read_factor(reader *r, bool minus) {
  const cg_expr *e = NULL;
  skip_comments(r);
  if (++r->depth > MAX_NESTING) wrong(r, "nested too deeply");
  else if (is_digit(*r->at)) e = read_number(r, minus), minus = false;
  else if (is_alpha(*r->at)) e = read_name(r);
  else if (take(r, '-')) e = read_factor(r, !minus), minus = false;
  else if (take(r, '(')) {
    e = read_sum(r);
    if (e && !take(r, ')')) e = wrong(r, "expected ')'");
  } else wrong(r, "expected a number, a symbol or '('");
  r->depth--;
  return e && minus ? cg_x_sub(r->p, cg_x_int(r->p, 0), e) : e;
}

static const cg_expr *read_product(reader *r, bool minus) {
  const cg_expr *a = read_factor(r, minus);
  while (a) {
    skip_blanks(r);
    const char *op = r->at;
    bool slash = op[0] == '/' && op[1] == '/';
    if (!slash && *op != '*' && *op != '%') break;
    r->at += slash ? 2 : 1;
    r->divides = slash;
    const cg_expr *b = read_factor(r, false);
    r->divides = false;
    if (!b) return NULL;
    a = slash ? cg_x_floordiv(r->p, a, b) : *op == '*' ? cg_x_mul(r->p, a, b) : cg_x_mod(r->p, a, b);
  }
  return a;
}

static const cg_expr *read_sum(reader *r) {
  const cg_expr *a = read_product(r, false);
  while (a) {
    bool minus = take(r, '-');
    if (!minus && !take(r, '+')) break;
    const cg_expr *b = read_product(r, minus);
    if (!b) return NULL;
    a = cg_x_add(r->p, a, b);
  }
  return a;
}

static const cg_expr *read_all(reader *r, const char **end, const char **why) {
  const cg_expr *e = read_sum(r);
  *end = r->at;
  if (why) *why = r->why;
  return e;
}

const cg_expr *cg_x_parse(cg_expr_pool *p, const char *text, const char **end) {
  reader r = {.p = p, .at = text};
  return read_all(&r, end, NULL);
}

const cg_expr *cg_x_parse_in_text(cg_expr_pool *p, const char *text, bool make_unbacked, const char **end, const char **why) {
  reader r = {.p = p, .at = text, .in_text = true, .make_unbacked = make_unbacked};
  return read_all(&r, end, why);
}
