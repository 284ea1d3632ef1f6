// Index arithmetic, simplified by what is known of the loop variables' ranges.
//
// Sums are kept canonical: constant + coef * atom + …, with symbolic coefficients. That is what makes chains of views
// cheap: (6*i + j) // 6 is i where 0 <= j < 6, and (x // 6) * 6 + x % 6 is x again.
#include <stdlib.h>
#include <string.h>

#include "ops/te_internal.h"

static cg_expr_pool *pool(te *t) { return &t->m->exprs; }
static const cg_expr *int_expr(te *t, int64_t v) { return cg_x_int(pool(t), v); }

// ---------------------------------------------------------------- sums

enum { MAX_TERMS = 2 * CG_MAX_RANK };

static bool add_term(te *t, te_sum *s, te_expr *atom, const cg_expr *coef) {
  for (int i = 0; i < s->n; i++)
    if (s->atom[i] == atom) {
      s->coef[i] = cg_x_add(pool(t), s->coef[i], coef);
      return true;
    }
  if (s->n == MAX_TERMS) return false;
  s->atom[s->n] = atom;
  s->coef[s->n++] = coef;
  return true;
}

static bool add_expr(te *t, te_sum *s, te_expr *e, const cg_expr *coef) {
  switch (e->kind) {
  case TE_SIZE: s->constant = cg_x_add(pool(t), s->constant, cg_x_mul(pool(t), coef, e->size)); return true;
  case TE_CONST: s->constant = cg_x_add(pool(t), s->constant, cg_x_mul(pool(t), coef, int_expr(t, e->integer))); return true;
  case TE_ADD: return add_expr(t, s, e->arg[0], coef) && add_expr(t, s, e->arg[1], coef);
  case TE_SUB: return add_expr(t, s, e->arg[0], coef) && add_expr(t, s, e->arg[1], cg_x_mul(pool(t), coef, int_expr(t, -1)));
  case TE_MUL:
    if (e->arg[1]->kind == TE_SIZE) return add_expr(t, s, e->arg[0], cg_x_mul(pool(t), coef, e->arg[1]->size));
    return add_term(t, s, e, coef);
  default: return add_term(t, s, e, coef);
  }
}

bool te_sum_of(te *t, te_expr *e, te_sum *out) {
  out->n = 0;
  out->constant = int_expr(t, 0);
  return add_expr(t, out, e, int_expr(t, 1));
}

static void drop(te_sum *s, int i) {
  s->n--;
  memmove(s->atom + i, s->atom + i + 1, (size_t)(s->n - i) * sizeof *s->atom);
  memmove(s->coef + i, s->coef + i + 1, (size_t)(s->n - i) * sizeof *s->coef);
}

// c*d*(x // d) + c*(x % d) is c*x. True if such a pair was found.
static bool recombine(te *t, te_sum *s) {
  for (int i = 0; i < s->n; i++) {
    te_expr *mod = s->atom[i];
    if (mod->kind != TE_MOD || mod->arg[1]->kind != TE_SIZE) continue;
    const cg_expr *d = mod->arg[1]->size, *want = cg_x_mul(pool(t), s->coef[i], d);
    te_expr *x = mod->arg[0], *div = te_index_op(t, TE_FLOORDIV, x, te_size(t, d));
    for (int k = 0; k < s->n; k++) {
      if (s->atom[k] != div || s->coef[k] != want) continue;
      const cg_expr *c = s->coef[i];
      drop(s, i > k ? i : k);
      drop(s, i > k ? k : i);
      return add_expr(t, s, x, c);
    }
  }
  return false;
}

static bool less(const te_sum *s, int i, int k) { return s->atom[i]->id < s->atom[k]->id; }

te_expr *te_of_sum(te *t, te_sum *s) {
  while (recombine(t, s)) {}
  for (int i = s->n - 1; i >= 0; i--)
    if (cg_x_is(s->coef[i], 0)) drop(s, i);
  for (int i = 1; i < s->n; i++)
    for (int k = i; k > 0 && less(s, k, k - 1); k--) {
      te_expr *a = s->atom[k];
      const cg_expr *c = s->coef[k];
      s->atom[k] = s->atom[k - 1], s->coef[k] = s->coef[k - 1];
      s->atom[k - 1] = a, s->coef[k - 1] = c;
    }
  te_expr *e = NULL;
  for (int i = 0; i < s->n; i++) {
    te_expr *term = s->atom[i];
    if (!cg_x_is(s->coef[i], 1)) term = te_node(t, TE_MUL, CG_I64, 2, (te_expr *[]){term, te_size(t, s->coef[i])});
    e = e ? te_node(t, TE_ADD, CG_I64, 2, (te_expr *[]){e, term}) : term;
  }
  if (!e) return te_size(t, s->constant);
  if (cg_x_is(s->constant, 0)) return e;
  return te_node(t, TE_ADD, CG_I64, 2, (te_expr *[]){e, te_size(t, s->constant)});
}

// ---------------------------------------------------------------- bounds

static bool nonneg(const cg_expr *e) {
  int64_t lo, hi;
  cg_x_range(e, &lo, &hi);
  return lo >= 0;
}
static bool nonpos(const cg_expr *e) {
  int64_t lo, hi;
  cg_x_range(e, &lo, &hi);
  return hi <= 0;
}

static const cg_expr *minus_one(te *t, const cg_expr *e) { return cg_x_sub(pool(t), e, int_expr(t, 1)); }

static void sum_bounds(te *t, const te_sum *s, const cg_expr **lo, const cg_expr **hi) {
  *lo = *hi = s->constant;
  for (int i = 0; i < s->n && (*lo || *hi); i++) {
    const cg_expr *a, *b, *c = s->coef[i];
    te_bounds(t, s->atom[i], &a, &b);
    bool up = nonneg(c), down = !up && nonpos(c);
    const cg_expr *l = up ? a : down ? b : NULL, *h = up ? b : down ? a : NULL;
    *lo = *lo && l ? cg_x_add(pool(t), *lo, cg_x_mul(pool(t), c, l)) : NULL;
    *hi = *hi && h ? cg_x_add(pool(t), *hi, cg_x_mul(pool(t), c, h)) : NULL;
  }
}

// Of two upper bounds that both hold, or of which one holds, the one that is provably smaller (larger).
static const cg_expr *pick(te *t, const cg_expr *a, const cg_expr *b, bool smaller) {
  if (!a || !b) return NULL;
  const cg_expr *d = cg_x_sub(pool(t), b, a); // b - a
  if (nonneg(d)) return smaller ? a : b;
  if (nonpos(d)) return smaller ? b : a;
  return NULL;
}

static void find_bounds(te *t, te_expr *e, const cg_expr **lo, const cg_expr **hi) {
  const cg_expr *zero = int_expr(t, 0), *a, *b, *c, *d;
  *lo = *hi = NULL;
  switch (e->kind) {
  case TE_VAR:
    *lo = zero;
    *hi = minus_one(t, t->extent[e->var]);
    return;
  case TE_SIZE: *lo = *hi = e->size; return;
  case TE_CONST: *lo = *hi = int_expr(t, e->integer); return;
  case TE_INDEX:
    *lo = zero;
    if (e->arg[1]->kind == TE_SIZE) *hi = minus_one(t, e->arg[1]->size);
    return;
  case TE_CHECKED: te_bounds(t, e->arg[0], lo, hi); return;
  case TE_FLOORDIV:
    if (e->arg[1]->kind != TE_SIZE) return;
    te_bounds(t, e->arg[0], &a, &b);
    if (!nonneg(e->arg[1]->size)) return;
    if (a) *lo = cg_x_floordiv(pool(t), a, e->arg[1]->size);
    if (b) *hi = cg_x_floordiv(pool(t), b, e->arg[1]->size);
    return;
  case TE_MOD:
    if (e->arg[1]->kind != TE_SIZE || !nonneg(e->arg[1]->size)) return;
    *lo = zero;
    *hi = minus_one(t, e->arg[1]->size);
    return;
  case TE_MIN:
  case TE_MAX:
    te_bounds(t, e->arg[0], &a, &b);
    te_bounds(t, e->arg[1], &c, &d);
    if (e->kind == TE_MIN) {
      *lo = pick(t, a, c, true);
      *hi = b && d ? pick(t, b, d, true) : b ? b : d;
      if (!*hi) *hi = b;
    } else {
      *lo = a && c ? pick(t, a, c, false) : a ? a : c;
      if (!*lo) *lo = a;
      *hi = pick(t, b, d, false);
    }
    return;
  case TE_SELECT:
    te_bounds(t, e->arg[1], &a, &b);
    te_bounds(t, e->arg[2], &c, &d);
    *lo = pick(t, a, c, true);
    *hi = pick(t, b, d, false);
    return;
  case TE_ADD:
  case TE_SUB:
  case TE_MUL: {
    te_sum s;
    if (!te_sum_of(t, e, &s) || (s.n == 1 && s.atom[0] == e)) return;
    sum_bounds(t, &s, lo, hi);
    return;
  }
  default: return;
  }
}

void te_bounds(te *t, te_expr *e, const cg_expr **lo, const cg_expr **hi) {
  if (!e->bounded) {
    const cg_expr *least, *most; // an expression may meet itself on the way: not bounded yet
    find_bounds(t, e, &least, &most);
    e->lo = least, e->hi = most, e->bounded = true;
  }
  *lo = e->lo, *hi = e->hi;
}

bool te_below_twice(te *t, const te_expr *mod) {
  const cg_expr *lo, *hi, *least, *most;
  int64_t a, b;
  te_bounds(t, mod->arg[0], &lo, &hi);
  te_bounds(t, mod->arg[1], &least, &most);
  if (!hi || !least) return false;
  cg_x_range(cg_x_sub(pool(t), cg_x_mul(pool(t), int_expr(t, 2), least), hi), &a, &b);
  return a > 0;
}

bool te_in_range(te *t, te_expr *e, const cg_expr *size) {
  const cg_expr *lo, *hi;
  te_bounds(t, e, &lo, &hi);
  return lo && hi && nonneg(lo) && nonneg(minus_one(t, cg_x_sub(pool(t), size, hi)));
}

// ---------------------------------------------------------------- division

// a / b where that is exact by the look of it; else NULL.
static const cg_expr *quotient(te *t, const cg_expr *a, const cg_expr *b) {
  if (a == b) return int_expr(t, 1);
  if (cg_x_is(b, 1)) return a;
  if (cg_x_is(a, 0)) return a;
  if (cg_x_is(b, 0)) return NULL;
  if (cg_x_is_int(a) && cg_x_is_int(b)) return a->value % b->value ? NULL : int_expr(t, a->value / b->value);
  if (a->kind == CG_X_ADD) {
    const cg_expr *sum = int_expr(t, 0);
    for (int i = 0; i < a->nargs; i++) {
      const cg_expr *q = quotient(t, a->arg[i], b);
      if (!q) return NULL;
      sum = cg_x_add(pool(t), sum, q);
    }
    return sum;
  }
  if (b->kind == CG_X_MUL) {
    for (int i = 0; i < b->nargs && a; i++) a = quotient(t, a, b->arg[i]);
    return a;
  }
  if (a->kind != CG_X_MUL) return NULL;
  for (int i = 0; i < a->nargs; i++) {
    const cg_expr *q = quotient(t, a->arg[i], b);
    if (!q) continue;
    for (int k = 0; k < a->nargs; k++)
      if (k != i) q = cg_x_mul(pool(t), q, a->arg[k]);
    return q;
  }
  return NULL;
}

// s = g * whole + rest, with every term that g divides in `whole`.
static void split(te *t, const te_sum *s, const cg_expr *g, te_sum *whole, te_sum *rest) {
  whole->n = rest->n = 0;
  whole->constant = rest->constant = int_expr(t, 0);
  for (int i = 0; i < s->n; i++) {
    const cg_expr *q = quotient(t, s->coef[i], g);
    if (q) add_term(t, whole, s->atom[i], q);
    else add_term(t, rest, s->atom[i], s->coef[i]);
  }
  const cg_expr *q = quotient(t, s->constant, g);
  if (q) whole->constant = q;
  else if (cg_x_is_int(s->constant) && cg_x_is_int(g) && g->value > 0) {
    int64_t m = s->constant->value % g->value;
    if (m < 0) m += g->value;
    rest->constant = int_expr(t, m);
    whole->constant = int_expr(t, (s->constant->value - m) / g->value);
  } else rest->constant = s->constant;
}

// 0 <= rest < g, provably.
static bool remainder_of(te *t, const te_sum *rest, const cg_expr *g) {
  const cg_expr *lo, *hi;
  sum_bounds(t, rest, &lo, &hi);
  return lo && hi && nonneg(lo) && nonneg(minus_one(t, cg_x_sub(pool(t), g, hi)));
}

// A common factor g of d and of some terms, the other terms being less than g: x = g*whole + rest, d = g*small.
static bool reduce(te *t, const te_sum *s, const cg_expr *d, te_sum *whole, te_sum *rest, const cg_expr **small) {
  for (int i = 0; i < s->n; i++) {
    const cg_expr *g = s->coef[i];
    if (cg_x_is(g, 1) || !(*small = quotient(t, d, g)) || cg_x_is(*small, 1)) continue;
    split(t, s, g, whole, rest);
    if (remainder_of(t, rest, g)) return true;
  }
  return false;
}

static te_expr *floordiv(te *t, te_expr *a, te_expr *b) {
  if (b->kind != TE_SIZE) return te_node(t, TE_FLOORDIV, CG_I64, 2, (te_expr *[]){a, b});
  const cg_expr *d = b->size, *small;
  if (cg_x_is(d, 1)) return a;
  if (a->kind == TE_SIZE) return te_size(t, cg_x_floordiv(pool(t), a->size, d));
  te_sum s, whole, rest;
  if (!te_sum_of(t, a, &s)) return te_node(t, TE_FLOORDIV, CG_I64, 2, (te_expr *[]){a, b});
  split(t, &s, d, &whole, &rest);
  if (remainder_of(t, &rest, d)) return te_of_sum(t, &whole);
  if (whole.n || !cg_x_is(whole.constant, 0)) {
    te_expr *q = te_of_sum(t, &whole), *r = te_of_sum(t, &rest);
    return te_index_op(t, TE_ADD, q, floordiv(t, r, b));
  }
  if (reduce(t, &s, d, &whole, &rest, &small)) return floordiv(t, te_of_sum(t, &whole), te_size(t, small));
  if (a->kind == TE_FLOORDIV && a->arg[1]->kind == TE_SIZE) return floordiv(t, a->arg[0], te_size(t, cg_x_mul(pool(t), a->arg[1]->size, d)));
  return te_node(t, TE_FLOORDIV, CG_I64, 2, (te_expr *[]){a, b});
}

static te_expr *modulo(te *t, te_expr *a, te_expr *b) {
  if (b->kind != TE_SIZE) return te_node(t, TE_MOD, CG_I64, 2, (te_expr *[]){a, b});
  const cg_expr *d = b->size, *small;
  if (cg_x_is(d, 1)) return te_int(t, 0);
  if (a->kind == TE_SIZE) return te_size(t, cg_x_mod(pool(t), a->size, d));
  te_sum s, whole, rest;
  if (!te_sum_of(t, a, &s)) return te_node(t, TE_MOD, CG_I64, 2, (te_expr *[]){a, b});
  split(t, &s, d, &whole, &rest);
  if (remainder_of(t, &rest, d)) return te_of_sum(t, &rest);
  if (whole.n || !cg_x_is(whole.constant, 0)) return modulo(t, te_of_sum(t, &rest), b);
  if (reduce(t, &s, d, &whole, &rest, &small)) {
    te_expr *m = modulo(t, te_of_sum(t, &whole), te_size(t, small)), *g = te_size(t, quotient(t, d, small));
    return te_index_op(t, TE_ADD, te_index_op(t, TE_MUL, m, g), te_of_sum(t, &rest));
  }
  if (a->kind == TE_MOD && a->arg[1]->kind == TE_SIZE && quotient(t, a->arg[1]->size, d)) return modulo(t, a->arg[0], b);
  return te_node(t, TE_MOD, CG_I64, 2, (te_expr *[]){a, b});
}

// ---------------------------------------------------------------- all of it

static te_expr *truth(te *t, bool v) { return te_integer(t, v, CG_BOOL); }

static te_expr *compare(te *t, te_kind kind, te_expr *a, te_expr *b);

// x // d < n is x < n * d, and n <= x // d is n * d <= x, without a division. NULL: a - b has another form.
static te_expr *compare_quotient(te *t, te_kind kind, te_expr *a, te_expr *b) {
  te_sum s;
  if (!te_sum_of(t, te_index_op(t, TE_SUB, a, b), &s) || s.n != 1 || s.atom[0]->kind != TE_FLOORDIV) return NULL;
  const te_expr *q = s.atom[0];
  const bool below = cg_x_is(s.coef[0], 1); // q + constant < 0, <= 0; else constant - q
  if (q->arg[1]->kind != TE_SIZE || !nonneg(q->arg[1]->size) || (!below && !cg_x_is(s.coef[0], -1))) return NULL;
  const cg_expr *n = below ? cg_x_sub(pool(t), int_expr(t, kind == TE_LE), s.constant) : cg_x_add(pool(t), s.constant, int_expr(t, kind == TE_LT));
  te_expr *at = te_size(t, cg_x_mul(pool(t), n, q->arg[1]->size));
  return below ? compare(t, TE_LT, q->arg[0], at) : compare(t, TE_LE, at, q->arg[0]);
}

// a < b, a <= b, a == b by the bounds of b - a.
static te_expr *compare(te *t, te_kind kind, te_expr *a, te_expr *b) {
  const cg_expr *lo, *hi;
  te_bounds(t, te_index_op(t, TE_SUB, b, a), &lo, &hi);
  const cg_expr *least = lo && kind == TE_LT ? minus_one(t, lo) : lo; // all b - a >= 1, or >= 0
  const cg_expr *most = hi && kind == TE_LE ? cg_x_add(pool(t), hi, int_expr(t, 1)) : hi;
  if (kind == TE_EQ) {
    if (lo && hi && cg_x_is(lo, 0) && cg_x_is(hi, 0)) return truth(t, true);
    if ((lo && nonneg(minus_one(t, lo))) || (hi && nonpos(cg_x_add(pool(t), hi, int_expr(t, 1))))) return truth(t, false);
  } else {
    if (least && nonneg(least)) return truth(t, true);
    if (most && nonpos(most)) return truth(t, false);
    te_expr *simpler = compare_quotient(t, kind, a, b);
    if (simpler) return simpler;
  }
  return te_node(t, kind, CG_BOOL, 2, (te_expr *[]){a, b});
}

static te_expr *extreme(te *t, te_kind kind, te_expr *a, te_expr *b) {
  const cg_expr *lo, *hi;
  te_bounds(t, te_index_op(t, TE_SUB, b, a), &lo, &hi);
  if (lo && nonneg(lo)) return kind == TE_MIN ? a : b;
  if (hi && nonpos(hi)) return kind == TE_MIN ? b : a;
  return te_node(t, kind, CG_I64, 2, (te_expr *[]){a, b});
}

static te_expr *times(te *t, te_expr *a, te_expr *b) {
  if (a->kind == TE_SIZE || a->kind == TE_CONST) {
    te_expr *x = a;
    a = b, b = x;
  }
  te_sum s;
  s.n = 0, s.constant = int_expr(t, 0);
  const cg_expr *c = b->kind == TE_SIZE ? b->size : b->kind == TE_CONST ? int_expr(t, b->integer) : NULL;
  if (c && add_expr(t, &s, a, c)) return te_of_sum(t, &s);
  return te_node(t, TE_MUL, CG_I64, 2, a->id < b->id ? (te_expr *[]){a, b} : (te_expr *[]){b, a});
}

te_expr *te_index_op(te *t, te_kind kind, te_expr *a, te_expr *b) {
  te_sum s;
  switch (kind) {
  case TE_ADD:
  case TE_SUB:
    if (!te_sum_of(t, a, &s) || !add_expr(t, &s, b, int_expr(t, kind == TE_ADD ? 1 : -1)))
      return te_node(t, kind, CG_I64, 2, (te_expr *[]){a, b});
    return te_of_sum(t, &s);
  case TE_MUL: return times(t, a, b);
  case TE_FLOORDIV: return floordiv(t, a, b);
  case TE_MOD: return modulo(t, a, b);
  case TE_MIN:
  case TE_MAX: return extreme(t, kind, a, b);
  case TE_LT:
  case TE_LE:
  case TE_EQ: return compare(t, kind, a, b);
  default: cg_fail(t->s, CIERGE_INTERNAL, "te: not an index operation");
  }
}
