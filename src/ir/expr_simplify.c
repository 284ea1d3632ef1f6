// Arithmetic on symbolic integers, canonical by construction.
//
// Sums and products are worked on as polynomials: sorted terms, an int64 coefficient times a product of atoms
// (an atom is a symbol or anything that is no sum, product or number). Terms are ordered by degree, then by their
// factors, the constant last. Everything else simplifies where the symbols' ranges prove that it may.
#include <math.h>

#include "ir/expr_internal.h"
#include "ir/expr_scratch.h"

enum { MAX_COMPARED = 64 }; // parts of a maximum that are compared with each other

typedef struct {
  int64_t coef;
  const cg_expr *mono; // product of atoms without coefficient; NULL: the constant
} term;

typedef struct {
  term *at;
  int n;
  bool overflow; // some coefficient does not fit int64: nothing else here counts
} poly;

// An operation whose operands and result are interned: what it takes meanwhile is given back.
#define OPERATION(name, work)                                                                 \
  const cg_expr *name(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {                   \
    cg_x_mark m = cg_x_scratch_begin(p);                                                      \
    const cg_expr *e = work(p, a, b);                                                         \
    cg_x_scratch_end(p, m);                                                                   \
    return e;                                                                                 \
  }

static _Noreturn void fail_overflow(cg_expr_pool *p) {
  cg_fail(p->s, CIERGE_BAD_MODEL, "a size expression overflows 64-bit integers");
}

// ---------------------------------------------------------------- products of atoms

static const cg_expr *const *factors(const cg_expr *const *mono, int *n) {
  *n = !*mono ? 0 : (*mono)->kind == CG_X_MUL ? (*mono)->nargs : 1;
  return *mono && (*mono)->kind == CG_X_MUL ? (*mono)->arg : mono;
}

static const cg_expr *mono_of(cg_expr_pool *p, int n, const cg_expr *const *atom) {
  return !n ? NULL : n == 1 ? atom[0] : cg_x_intern(p, CG_X_MUL, n, atom, 0, NULL);
}

static int mono_compare(const cg_expr *a, const cg_expr *b) {
  int na, nb;
  const cg_expr *const *fa = factors(&a, &na), *const *fb = factors(&b, &nb);
  if (na != nb) return na > nb ? -1 : 1;
  for (int i = 0; i < na; i++) {
    int c = cg_x_compare(fa[i], fb[i]);
    if (c) return c;
  }
  return 0;
}

static const cg_expr *mono_mul(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {
  int na, nb, n = 0;
  const cg_expr *const *fa = factors(&a, &na), *const *fb = factors(&b, &nb);
  const cg_expr **f = SCRATCH(p, const cg_expr *, na + nb + 1);
  for (int i = 0, k = 0; i < na || k < nb;)
    f[n++] = k == nb || (i < na && cg_x_compare(fa[i], fb[k]) <= 0) ? fa[i++] : fb[k++];
  return mono_of(p, n, f);
}

// a / b into *q; false: b's factors are not all among a's.
static bool mono_div(cg_expr_pool *p, const cg_expr *a, const cg_expr *b, const cg_expr **q) {
  int na, nb, n = 0, k = 0;
  const cg_expr *const *fa = factors(&a, &na), *const *fb = factors(&b, &nb);
  const cg_expr **f = SCRATCH(p, const cg_expr *, na + 1);
  for (int i = 0; i < na; i++)
    if (k < nb && fa[i] == fb[k]) k++;
    else f[n++] = fa[i];
  *q = mono_of(p, n, f);
  return k == nb;
}

static cg_x_interval mono_interval(const cg_expr *m) {
  return m ? cg_x_interval_of(m) : (cg_x_interval){1, 1};
}

// ---------------------------------------------------------------- polynomials

static term term_of(cg_expr_pool *p, const cg_expr *e) {
  if (e->kind == CG_X_INT) return (term){e->value, NULL};
  if (e->kind == CG_X_MUL && e->arg[0]->kind == CG_X_INT)
    return (term){e->arg[0]->value, mono_of(p, e->nargs - 1, e->arg + 1)};
  return (term){1, e};
}

static poly poly_of(cg_expr_pool *p, const cg_expr *e) {
  bool sum = e->kind == CG_X_ADD;
  poly r = {.n = sum ? e->nargs : 1};
  r.at = SCRATCH(p, term, r.n);
  for (int i = 0; i < r.n; i++) r.at[i] = term_of(p, sum ? e->arg[i] : e);
  if (r.n == 1 && !r.at[0].coef) r.n = 0;
  return r;
}

static const cg_expr *expr_of(cg_expr_pool *p, poly a) {
  if (a.overflow) fail_overflow(p);
  if (!a.n) return cg_x_int(p, 0);
  const cg_expr **arg = SCRATCH(p, const cg_expr *, a.n);
  for (int i = 0; i < a.n; i++) {
    int n;
    const cg_expr *const *f = factors(&a.at[i].mono, &n);
    if (!n || a.at[i].coef == 1) {
      arg[i] = n ? a.at[i].mono : cg_x_int(p, a.at[i].coef);
      continue;
    }
    const cg_expr **with = SCRATCH(p, const cg_expr *, n + 1);
    with[0] = cg_x_int(p, a.at[i].coef);
    for (int k = 0; k < n; k++) with[k + 1] = f[k];
    arg[i] = cg_x_intern(p, CG_X_MUL, n + 1, with, 0, NULL);
  }
  return a.n == 1 ? arg[0] : cg_x_intern(p, CG_X_ADD, a.n, arg, 0, NULL);
}

// a + scale * b
static poly poly_add(cg_expr_pool *p, poly a, poly b, int64_t scale) {
  poly r = {.at = SCRATCH(p, term, a.n + b.n + 1), .overflow = a.overflow || b.overflow};
  for (int i = 0, k = 0; i < a.n || k < b.n;) {
    int c = i == a.n ? 1 : k == b.n ? -1 : mono_compare(a.at[i].mono, b.at[k].mono);
    term t = c <= 0 ? a.at[i] : (term){0, b.at[k].mono};
    int64_t more = 0;
    if (c >= 0 && __builtin_mul_overflow(b.at[k].coef, scale, &more)) r.overflow = true;
    if (__builtin_add_overflow(t.coef, more, &t.coef)) r.overflow = true;
    if (t.coef) r.at[r.n++] = t;
    i += c <= 0, k += c >= 0;
  }
  return r;
}

static poly poly_times(cg_expr_pool *p, poly a, term t) {
  poly r = {.at = SCRATCH(p, term, a.n + 1), .overflow = a.overflow};
  for (int i = 0; i < a.n; i++) {
    term *out = &r.at[r.n++];
    out->mono = mono_mul(p, a.at[i].mono, t.mono);
    if (__builtin_mul_overflow(a.at[i].coef, t.coef, &out->coef)) r.overflow = true;
  }
  return r; // multiplying by one product keeps the order
}

static poly poly_mul(cg_expr_pool *p, poly a, poly b) {
  if (a.n < b.n) { poly t = a; a = b; b = t; }
  if ((int64_t)a.n * b.n > 64 * 1024) cg_fail(p->s, CIERGE_BAD_MODEL, "a size expression is too large");
  poly r = {0};
  for (int i = 0; i < b.n; i++) {
    r = poly_add(p, r, poly_times(p, a, b.at[i]), 1);
    if (r.n > CG_X_MAX_TERMS) cg_fail(p->s, CIERGE_BAD_MODEL, "a size expression has more than %d terms", CG_X_MAX_TERMS);
  }
  return r;
}

static cg_x_interval poly_interval(poly a) {
  cg_x_interval r = {0, 0};
  for (int i = 0; i < a.n; i++)
    r = cg_x_interval_add(r, cg_x_interval_mul((cg_x_interval){a.at[i].coef, a.at[i].coef}, mono_interval(a.at[i].mono)));
  return a.overflow ? (cg_x_interval){INT64_MIN, INT64_MAX} : r;
}

static poly difference(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {
  return poly_add(p, poly_of(p, a), poly_of(p, b), -1);
}

static uint64_t magnitude(int64_t v) { return v < 0 ? 0 - (uint64_t)v : (uint64_t)v; }

static uint64_t gcd(uint64_t a, uint64_t b) {
  while (b) {
    uint64_t t = a % b;
    a = b, b = t;
  }
  return a;
}

// gcd of all coefficients; `constant` says whether the constant counts. 2^63 becomes 1.
static int64_t content(poly a, bool constant) {
  uint64_t g = 0;
  for (int i = 0; i < a.n; i++)
    if (constant || a.at[i].mono) g = gcd(g, magnitude(a.at[i].coef));
  return g > INT64_MAX ? 1 : (int64_t)g;
}

static int64_t constant_of(poly a) { return a.n && !a.at[a.n - 1].mono ? a.at[a.n - 1].coef : 0; }

static poly without_constant(poly a) {
  if (a.n && !a.at[a.n - 1].mono) a.n--;
  return a;
}

static poly with_constant(poly a, int64_t c) { // a has none, and room for one
  if (c) a.at[a.n++] = (term){c, NULL};
  return a;
}

static poly divide_coefs(cg_expr_pool *p, poly a, int64_t g) { // g divides every coefficient but perhaps the constant's
  poly r = {.at = SCRATCH(p, term, a.n + 1)};
  for (int i = 0; i < a.n; i++) {
    term t = {cg_x_floor_div(a.at[i].coef, g), a.at[i].mono};
    if (t.coef) r.at[r.n++] = t;
  }
  return r;
}

// ---------------------------------------------------------------- sums and products

static const cg_expr *add(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {
  if (cg_x_is(a, 0)) return b;
  if (cg_x_is(b, 0)) return a;
  return expr_of(p, poly_add(p, poly_of(p, a), poly_of(p, b), 1));
}
OPERATION(cg_x_add, add)

static const cg_expr *sub(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {
  return cg_x_is(b, 0) ? a : expr_of(p, difference(p, a, b));
}
OPERATION(cg_x_sub, sub)

static const cg_expr *mul(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {
  if (cg_x_is(a, 1)) return b;
  if (cg_x_is(b, 1)) return a;
  return expr_of(p, poly_mul(p, poly_of(p, a), poly_of(p, b)));
}
OPERATION(cg_x_mul, mul)

// ---------------------------------------------------------------- division

static bool nonzero(const cg_expr *e) {
  cg_x_interval r = cg_x_interval_of(e);
  return r.lo > 0 || r.hi < 0;
}

static const cg_expr *raw2(cg_expr_pool *p, cg_expr_kind kind, const cg_expr *a, const cg_expr *b) {
  const cg_expr *arg[2] = {a, b};
  return cg_x_intern(p, kind, 2, arg, 0, NULL);
}

// a = k*q + r with the terms that k divides in q, and the constant's remainder in [0, k).
static void split_by_int(cg_expr_pool *p, poly a, int64_t k, poly *q, poly *r) {
  *q = (poly){.at = SCRATCH(p, term, a.n + 1)};
  *r = (poly){.at = SCRATCH(p, term, a.n + 1)};
  for (int i = 0; i < a.n; i++) {
    term t = a.at[i];
    if (t.mono && t.coef % k) {
      r->at[r->n++] = t;
      continue;
    }
    if (!t.mono && cg_x_floor_mod(t.coef, k)) r->at[r->n++] = (term){cg_x_floor_mod(t.coef, k), NULL};
    t.coef = cg_x_floor_div(t.coef, k);
    if (t.coef) q->at[q->n++] = t;
  }
}

// x//d + c, c constant, d a positive constant: true, and its parts.
static bool is_nested(poly r, const cg_expr **x, int64_t *d, int64_t *c) {
  poly b = without_constant(r);
  if (b.n != 1 || b.at[0].coef != 1 || b.at[0].mono->kind != CG_X_FLOORDIV) return false;
  const cg_expr *e = b.at[0].mono;
  if (!cg_x_is_int(e->arg[1]) || e->arg[1]->value <= 0) return false;
  *x = e->arg[0], *d = e->arg[1]->value, *c = constant_of(r);
  return true;
}

static const cg_expr *floordiv_int(cg_expr_pool *p, poly a, int64_t k) { // k >= 1
  poly q, r;
  split_by_int(p, a, k, &q, &r);
  int64_t g = (int64_t)gcd((uint64_t)k, (uint64_t)content(r, false));
  if (r.n && g > 1 && r.at[0].mono) r = divide_coefs(p, r, g), k /= g;
  if (k == 1) return expr_of(p, poly_add(p, q, r, 1));
  cg_x_interval i = poly_interval(r);
  if (i.lo >= 0 && i.hi < k) return expr_of(p, q);
  const cg_expr *x, *rest;
  int64_t d, c, cd, dk;
  if (is_nested(r, &x, &d, &c) && !__builtin_mul_overflow(c, d, &cd) && !__builtin_mul_overflow(d, k, &dk))
    rest = cg_x_floordiv(p, cg_x_add(p, x, cg_x_int(p, cd)), cg_x_int(p, dk)); // (x//d + c)//k = (x + c*d)//(d*k)
  else {
    rest = raw2(p, CG_X_FLOORDIV, expr_of(p, r), cg_x_int(p, k));
    cg_x_interval v = cg_x_interval_of(rest);
    if (cg_x_is_point(v)) rest = cg_x_int(p, v.lo);
  }
  return cg_x_add(p, expr_of(p, q), rest);
}

// b is one term: a = b*q + r with every term that b divides in q.
static void split_by_term(cg_expr_pool *p, poly a, term b, poly *q, poly *r) {
  *q = (poly){.at = SCRATCH(p, term, a.n + 1)};
  *r = (poly){.at = SCRATCH(p, term, a.n + 1)};
  for (int i = 0; i < a.n; i++) {
    const cg_expr *m;
    bool by = b.coef != -1 && a.at[i].coef % b.coef == 0 && mono_div(p, a.at[i].mono, b.mono, &m);
    if (by) q->at[q->n++] = (term){a.at[i].coef / b.coef, m};
    else r->at[r->n++] = a.at[i];
  }
}

// Whether b divides a, as polynomials; then *q is the quotient. (Long division by the leading term.)
static bool divides(cg_expr_pool *p, poly a, poly b, poly *q) {
  *q = (poly){.at = SCRATCH(p, term, 1)};
  for (int steps = 0; a.n && steps < 64; steps++) {
    term t;
    if (a.overflow || b.at[0].coef == -1 || a.at[0].coef % b.at[0].coef) return false;
    t.coef = a.at[0].coef / b.at[0].coef;
    if (!mono_div(p, a.at[0].mono, b.at[0].mono, &t.mono)) return false;
    poly one = {.at = &t, .n = 1};
    *q = poly_add(p, *q, one, 1);
    a = poly_add(p, a, poly_times(p, b, t), -1);
  }
  return !a.n && !a.overflow && !q->overflow;
}

// Divides a and b by what all their terms share: positive integer content, and atoms that are never 0. Makes b's leading
// coefficient positive. a//b stays the same; a%b is divided by the integer *scale that this gives.
static int64_t reduce_fraction(cg_expr_pool *p, poly *a, poly *b, bool atoms) {
  int64_t g = (int64_t)gcd((uint64_t)content(*a, true), (uint64_t)content(*b, true)), scale = 1;
  if (b->at[0].coef < 0) {
    poly zero = {0};
    poly na = poly_add(p, zero, *a, -1), nb = poly_add(p, zero, *b, -1);
    if (!na.overflow && !nb.overflow) *a = na, *b = nb, scale = -1;
  }
  if (g > 1) *a = divide_coefs(p, *a, g), *b = divide_coefs(p, *b, g), scale *= g;
  if (!atoms || !a->n) return scale;
  int nf;
  const cg_expr *lead = b->at[b->n - 1].mono; // the term with the fewest factors
  const cg_expr *const *f = factors(&lead, &nf);
  for (int i = 0; i < nf; i++) {
    if (!nonzero(f[i])) continue;
    term by = {1, f[i]};
    poly qa, ra, qb, rb;
    split_by_term(p, *a, by, &qa, &ra);
    split_by_term(p, *b, by, &qb, &rb);
    if (!ra.n && !rb.n) *a = qa, *b = qb;
  }
  return scale;
}

static const cg_expr *floordiv(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {
  if (cg_x_is(b, 1)) return a;
  if (cg_x_is(b, 0)) return raw2(p, CG_X_FLOORDIV, a, b); // no value: whoever evaluates it is told
  poly pa = poly_of(p, a), pb = poly_of(p, b);
  reduce_fraction(p, &pa, &pb, true);
  if (pb.n == 1 && !pb.at[0].mono) {
    if (pb.at[0].coef >= 1) return floordiv_int(p, pa, pb.at[0].coef);
    if (cg_x_is_int(a) && a->value == INT64_MIN && pb.at[0].coef == -1) fail_overflow(p);
    if (cg_x_is_int(a)) return cg_x_int(p, cg_x_floor_div(a->value, b->value));
    return raw2(p, CG_X_FLOORDIV, a, b);
  }
  b = expr_of(p, pb);
  if (nonzero(b)) {
    poly q, r;
    if (pb.n > 1 && divides(p, pa, pb, &q)) return expr_of(p, q);
    if (pb.n == 1) {
      split_by_term(p, pa, pb.at[0], &q, &r);
      if (q.n) return cg_x_add(p, expr_of(p, q), cg_x_floordiv(p, expr_of(p, r), b));
    }
    if (!pa.n) return cg_x_int(p, 0);
  }
  const cg_expr *e = raw2(p, CG_X_FLOORDIV, expr_of(p, pa), b);
  cg_x_interval i = cg_x_interval_of(e);
  return nonzero(b) && cg_x_is_point(i) ? cg_x_int(p, i.lo) : e;
}
OPERATION(cg_x_floordiv, floordiv)

static const cg_expr *mod_int(cg_expr_pool *p, poly a, int64_t k) { // k >= 1
  poly r = {.at = SCRATCH(p, term, a.n + 1)};
  for (int i = 0; i < a.n; i++) {
    int64_t c = cg_x_floor_mod(a.at[i].coef, k);
    if (c) r.at[r.n++] = (term){c, a.at[i].mono};
  }
  for (int way = 0; way < 2; way++) { // coefficients in [0, k); then those nearest to 0, as (-s0) % 8 is written
    for (int i = 0; way && i < r.n; i++)
      if (r.at[i].mono && r.at[i].coef > k / 2) r.at[i].coef -= k;
    cg_x_interval i = poly_interval(r);
    if (i.lo >= 0 && i.hi < k) return expr_of(p, r);
  }
  // (g*x + c) % (g*j) = g*((x + c//g) % j) + c%g
  int64_t g = (int64_t)gcd((uint64_t)k, (uint64_t)content(r, false)), c = constant_of(r);
  if (g > 1) {
    const cg_expr *inner = mod_int(p, divide_coefs(p, r, g), k / g);
    return cg_x_add(p, cg_x_mul(p, cg_x_int(p, g), inner), cg_x_int(p, cg_x_floor_mod(c, g)));
  }
  // (x % (k*j)) % k = x % k
  const cg_expr *e = expr_of(p, r);
  if (e->kind == CG_X_MOD && cg_x_is_int(e->arg[1]) && e->arg[1]->value % k == 0) return mod_int(p, poly_of(p, e->arg[0]), k);
  return raw2(p, CG_X_MOD, e, cg_x_int(p, k));
}

static const cg_expr *mod(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {
  if (cg_x_is(b, 1) || cg_x_is(b, -1)) return cg_x_int(p, 0);
  if (cg_x_is(b, 0)) return raw2(p, CG_X_MOD, a, b);
  poly pa = poly_of(p, a), pb = poly_of(p, b);
  int64_t scale = 1;
  if (cg_x_is_int(b)) {
    if (b->value > 0) return mod_int(p, pa, b->value);
    if (cg_x_is_int(a)) return cg_x_int(p, cg_x_floor_mod(a->value, b->value));
    if (b->value == INT64_MIN) return raw2(p, CG_X_MOD, a, b);
    const cg_expr *zero = cg_x_int(p, 0); // a % -k = -(-a % k)
    return cg_x_sub(p, zero, mod_int(p, poly_of(p, cg_x_sub(p, zero, a)), -b->value));
  }
  scale = reduce_fraction(p, &pa, &pb, false);
  a = expr_of(p, pa), b = expr_of(p, pb);
  const cg_expr *e = NULL;
  if (nonzero(b)) {
    poly q, r = pa;
    if (pb.n == 1) split_by_term(p, pa, pb.at[0], &q, &r);
    else if (divides(p, pa, pb, &q)) r.n = 0;
    a = expr_of(p, r);
    cg_x_interval ra = cg_x_interval_of(a), rb = cg_x_interval_of(b);
    if ((ra.lo >= 0 && ra.hi < rb.lo) || (a->kind == CG_X_MOD && a->arg[1] == b)) e = a;
  }
  if (!e) e = raw2(p, CG_X_MOD, a, b);
  return scale == 1 ? e : cg_x_mul(p, cg_x_int(p, scale), e);
}
OPERATION(cg_x_mod, mod)

// ---------------------------------------------------------------- products with a double

bool cg_x_dyadic(double v, int64_t *num, int64_t *den) {
  enum { MAX_DYADIC = 1 << 20 };
  for (*den = 1; *den < MAX_DYADIC && v != floor(v); v *= 2) *den *= 2;
  if (v != floor(v) || fabs(v) > MAX_DYADIC) return false;
  *num = (int64_t)v;
  return true;
}

static const cg_expr *scale(cg_expr_pool *p, const cg_expr *a, const cg_expr *by) {
  int64_t num, den, value;
  double c;
  if (cg_x_is_int(by)) {
    memcpy(&c, &by->value, sizeof c);
    if (cg_x_dyadic(c, &num, &den)) return cg_x_floordiv(p, cg_x_mul(p, a, cg_x_int(p, num)), cg_x_int(p, den));
    if (cg_x_is_int(a) && cg_scale(a->value, by->value, &value)) return cg_x_int(p, value);
  }
  const cg_expr *e = raw2(p, CG_X_SCALE, a, by);
  cg_x_interval i = cg_x_interval_of(e);
  return cg_x_is_point(i) ? cg_x_int(p, i.lo) : e;
}

const cg_expr *cg_x_scale(cg_expr_pool *p, const cg_expr *a, double by) {
  int64_t bits;
  memcpy(&bits, &by, sizeof bits);
  return cg_x_op(p, CG_X_SCALE, 2, (const cg_expr *[]){a, cg_x_int(p, bits)});
}

// ---------------------------------------------------------------- maximum and minimum

// The arguments of nested nodes of the same kind, sorted, each once; of[i] says of which argument x[i] is a part.
static const cg_expr **flatten(cg_expr_pool *p, cg_expr_kind kind, int n, const cg_expr *const *arg, int *out_n, int **of) {
  int total = 0, m = 0;
  for (int i = 0; i < n; i++) total += arg[i]->kind == kind ? arg[i]->nargs : 1;
  const cg_expr **out = SCRATCH(p, const cg_expr *, total + 1);
  int *from = SCRATCH(p, int, total + 1);
  for (int i = 0; i < n; i++) {
    const cg_expr *const *part = arg[i]->kind == kind ? arg[i]->arg : &arg[i];
    for (int k = 0; k < (arg[i]->kind == kind ? arg[i]->nargs : 1); k++) {
      int at = m;
      while (at > 0 && cg_x_compare(out[at - 1], part[k]) > 0) at--;
      if (at > 0 && out[at - 1] == part[k]) continue;
      if (m == CG_X_MAX_TERMS) cg_fail(p->s, CIERGE_BAD_MODEL, "a size expression has more than %d terms", CG_X_MAX_TERMS);
      for (int j = m; j > at; j--) out[j] = out[j - 1], from[j] = from[j - 1];
      out[at] = part[k], from[at] = i;
      m++;
    }
  }
  *out_n = m;
  if (of) *of = from;
  return out;
}

// Whether a >= b for certain.
static bool at_least(cg_expr_pool *p, const cg_expr *a, const cg_expr *b) {
  cg_x_interval x = cg_x_interval_of(a), y = cg_x_interval_of(b);
  if (x.lo >= y.hi) return y.hi != INT64_MAX;
  cg_x_mark m = cg_x_scratch_begin(p);
  bool yes = poly_interval(difference(p, a, b)).lo >= 0;
  cg_x_scratch_end(p, m);
  return yes;
}

// Parts that another part makes useless are left out. Those of one nested argument were compared when that was made.
static const cg_expr *extreme(cg_expr_pool *p, cg_expr_kind kind, int n, const cg_expr *const *arg) {
  int m, kept = 0, *of;
  const cg_expr **x = flatten(p, kind, n, arg, &m, &of);
  for (int i = 0; i < m && m <= MAX_COMPARED; i++) {
    bool useless = false;
    for (int k = 0; k < m && !useless; k++) {
      if (of[k] == of[i] || !x[k]) continue;
      useless = kind == CG_X_MAX ? at_least(p, x[k], x[i]) : at_least(p, x[i], x[k]);
    }
    if (useless) x[i] = NULL;
  }
  for (int i = 0; i < m; i++)
    if (x[i]) x[kept++] = x[i];
  return kept == 1 ? x[0] : cg_x_intern(p, kind, kept, x, 0, NULL);
}

// ---------------------------------------------------------------- truth

static bool is_boolean(const cg_expr *e) {
  cg_x_interval r = cg_x_interval_of(e);
  return r.lo >= 0 && r.hi <= 1;
}

static const cg_expr *boolean(cg_expr_pool *p, bool b) { return cg_x_int(p, b); }

// The two sides of d ? 0: what is positive on the left, what is negative on the right.
static const cg_expr *compare_sides(cg_expr_pool *p, cg_expr_kind kind, poly d) {
  poly left = {.at = SCRATCH(p, term, d.n + 1)}, right = {.at = SCRATCH(p, term, d.n + 1)};
  for (int i = 0; i < d.n; i++) {
    term t = d.at[i];
    if (t.coef > 0) left.at[left.n++] = t;
    else if (!__builtin_sub_overflow(0, t.coef, &t.coef)) right.at[right.n++] = t;
    else right.overflow = true;
  }
  return raw2(p, kind, expr_of(p, left), expr_of(p, right));
}

static const cg_expr *equal(cg_expr_pool *p, const cg_expr *a, const cg_expr *b, bool yes) {
  poly d = difference(p, a, b);
  cg_x_interval i = poly_interval(d);
  if (i.lo > 0 || i.hi < 0) return boolean(p, !yes);
  cg_expr_kind kind = yes ? CG_X_EQ : CG_X_NE;
  if (d.overflow) return cg_x_compare(a, b) <= 0 ? raw2(p, kind, a, b) : raw2(p, kind, b, a);
  if (!d.n) return boolean(p, yes);
  int64_t g = content(d, false), c = constant_of(d);
  if (g && c % g) return boolean(p, !yes);
  if (g > 1) d = divide_coefs(p, d, g);
  if (d.at[0].coef < 0) {
    poly zero = {0}, n = poly_add(p, zero, d, -1);
    if (!n.overflow) d = n;
  }
  for (int k = 0; k < d.n; k++)
    if (d.at[k].coef == INT64_MIN) return cg_x_compare(a, b) <= 0 ? raw2(p, kind, a, b) : raw2(p, kind, b, a);
  return compare_sides(p, kind, d);
}

// a <= b, or a < b, which is a + 1 <= b.
static const cg_expr *ordered(cg_expr_pool *p, const cg_expr *a, const cg_expr *b, bool strict) {
  poly d = difference(p, a, b);
  cg_x_interval i = poly_interval(d);
  if (i.hi < 0 || (!strict && i.hi == 0)) return boolean(p, true);
  if (i.lo > 0 || (strict && i.lo == 0)) return boolean(p, false);
  cg_expr_kind kind = strict ? CG_X_LT : CG_X_LE;
  int64_t c = constant_of(d), g = content(d, false);
  if (d.overflow || !g || c > INT64_MAX - 2 || c < INT64_MIN + 2) return raw2(p, kind, a, b);
  // g*x + c <= 0 is x + ceil(c/g) <= 0
  c = -cg_x_floor_div(-(c + strict), g);
  poly x = without_constant(d);
  for (int k = 0; k < x.n; k++)
    if (x.at[k].coef == INT64_MIN) return raw2(p, kind, a, b);
  x = divide_coefs(p, x, g);
  return c == 1 ? compare_sides(p, CG_X_LT, x) : compare_sides(p, CG_X_LE, with_constant(x, c));
}

static const cg_expr *truth(cg_expr_pool *p, const cg_expr *e) {
  return is_boolean(e) ? e : equal(p, e, cg_x_int(p, 0), false);
}

static const cg_expr *negation(cg_expr_pool *p, const cg_expr *e) {
  e = truth(p, e);
  cg_x_interval i = cg_x_interval_of(e);
  if (cg_x_is_point(i)) return boolean(p, !i.lo);
  switch (e->kind) {
  case CG_X_NOT: return e->arg[0];
  case CG_X_EQ: return raw2(p, CG_X_NE, e->arg[0], e->arg[1]);
  case CG_X_NE: return raw2(p, CG_X_EQ, e->arg[0], e->arg[1]);
  case CG_X_LT: return ordered(p, e->arg[1], e->arg[0], false);
  case CG_X_LE: return ordered(p, e->arg[1], e->arg[0], true);
  default: return cg_x_intern(p, CG_X_NOT, 1, &e, 0, NULL);
  }
}

static const cg_expr *logic(cg_expr_pool *p, cg_expr_kind kind, int n, const cg_expr *const *arg) {
  const cg_expr **t = SCRATCH(p, const cg_expr *, n + 1);
  bool neutral = kind == CG_X_AND; // what changes nothing; the other value decides
  int m = 0;
  for (int i = 0; i < n; i++) {
    const cg_expr *e = truth(p, arg[i]);
    cg_x_interval r = cg_x_interval_of(e);
    if (cg_x_is_point(r) && r.lo != neutral) return boolean(p, !neutral);
    if (!cg_x_is_point(r)) t[m++] = e;
  }
  if (!m) return boolean(p, neutral);
  const cg_expr **x = flatten(p, kind, m, t, &m, NULL);
  return m == 1 ? x[0] : cg_x_intern(p, kind, m, x, 0, NULL);
}

static const cg_expr *where(cg_expr_pool *p, const cg_expr *c, const cg_expr *a, const cg_expr *b) {
  c = truth(p, c);
  cg_x_interval i = cg_x_interval_of(c);
  if (cg_x_is_point(i)) return i.lo ? a : b;
  if (a == b) return a;
  if (cg_x_is(a, 1) && cg_x_is(b, 0)) return c;
  if (cg_x_is(a, 0) && cg_x_is(b, 1)) return negation(p, c);
  if (c->kind == CG_X_NOT || c->kind == CG_X_NE) {
    const cg_expr *t = a;
    c = negation(p, c), a = b, b = t;
  }
  const cg_expr *arg[3] = {c, a, b};
  return cg_x_intern(p, CG_X_WHERE, 3, arg, 0, NULL);
}

// ---------------------------------------------------------------- any operation

static poly sum_of(cg_expr_pool *p, int n, const cg_expr *const *arg) {
  if (n == 1) return poly_of(p, arg[0]);
  return poly_add(p, sum_of(p, n / 2, arg), sum_of(p, n - n / 2, arg + n / 2), 1);
}

static const cg_expr *operation(cg_expr_pool *p, cg_expr_kind kind, int n, const cg_expr *const *arg) {
  static const struct { int min, max; } count[] = {
      [CG_X_ADD] = {1, CG_X_MAX_TERMS}, [CG_X_MUL] = {1, CG_X_MAX_TERMS}, [CG_X_FLOORDIV] = {2, 2}, [CG_X_MOD] = {2, 2}, [CG_X_SCALE] = {2, 2},
      [CG_X_MAX] = {1, CG_X_MAX_TERMS}, [CG_X_MIN] = {1, CG_X_MAX_TERMS}, [CG_X_EQ] = {2, 2}, [CG_X_NE] = {2, 2},
      [CG_X_LT] = {2, 2}, [CG_X_LE] = {2, 2}, [CG_X_AND] = {1, CG_X_MAX_TERMS}, [CG_X_OR] = {1, CG_X_MAX_TERMS},
      [CG_X_NOT] = {1, 1}, [CG_X_WHERE] = {3, 3}};
  if ((unsigned)kind >= sizeof count / sizeof *count || n < 1 || n < count[kind].min || n > count[kind].max)
    cg_fail(p->s, CIERGE_BAD_MODEL, "a size expression has an operation with %d arguments", n);
  const cg_expr *e = arg[0];
  switch (kind) {
  case CG_X_ADD: return expr_of(p, sum_of(p, n, arg));
  case CG_X_MUL:
    for (int i = 1; i < n; i++) e = cg_x_mul(p, e, arg[i]);
    return e;
  case CG_X_FLOORDIV: return cg_x_floordiv(p, arg[0], arg[1]);
  case CG_X_MOD: return cg_x_mod(p, arg[0], arg[1]);
  case CG_X_SCALE: return scale(p, arg[0], arg[1]);
  case CG_X_EQ: return equal(p, arg[0], arg[1], true);
  case CG_X_NE: return equal(p, arg[0], arg[1], false);
  case CG_X_LT: return ordered(p, arg[0], arg[1], true);
  case CG_X_LE: return ordered(p, arg[0], arg[1], false);
  case CG_X_AND:
  case CG_X_OR: return logic(p, kind, n, arg);
  case CG_X_NOT: return negation(p, arg[0]);
  case CG_X_WHERE: return where(p, arg[0], arg[1], arg[2]);
  default: return extreme(p, kind, n, arg);
  }
}

const cg_expr *cg_x_op(cg_expr_pool *p, cg_expr_kind kind, int n, const cg_expr *const *arg) {
  cg_x_mark m = cg_x_scratch_begin(p);
  const cg_expr *e = operation(p, kind, n, arg);
  cg_x_scratch_end(p, m);
  return e;
}
