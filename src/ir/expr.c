// Symbolic integers: the pool that interns them, and everything that only reads them.
// How they are made canonical is expr_simplify.c; their text is expr_text.c.
#include "ir/expr_internal.h"

#include <string.h>

// ---------------------------------------------------------------- the pool

void cg_expr_pool_init(cg_expr_pool *p, cg_session *s) { *p = (cg_expr_pool){.s = s, .ranges = 1}; }

void cg_expr_pool_limit(cg_expr_pool *p, uint64_t text) {
  const uint64_t some = 8 << 20; // bytes; a node of a model has a few sizes, and takes hundreds of bytes in its file
  p->limit = p->bytes + some + 4 * text;
}

cg_symbol *cg_symbol_find(cg_expr_pool *p, const char *name) { return cg_map_get(&p->symbols, name); }

cg_symbol *cg_symbol_get(cg_expr_pool *p, const char *name) {
  cg_symbol *y = cg_symbol_find(p, name);
  if (y) return y;
  y = CG_NEW(p->s, cg_symbol);
  *y = (cg_symbol){.name = cg_strdup(p->s, name), .hi = INT64_MAX, .unbacked = name[0] == 'u', .index = p->symbols.n};
  cg_map_set(p->s, &p->symbols, name, y);
  y->expr = cg_x_intern(p, CG_X_SYM, 0, NULL, 0, y);
  return y;
}

void cg_symbol_range(cg_symbol *y, int64_t lo, int64_t hi) {
  y->lo = lo, y->hi = hi;
  ((cg_expr_pool *)y->expr->pool)->ranges++;
}

static uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

static uint64_t hash_of(cg_expr_kind kind, int n, const cg_expr *const *arg, int64_t value, const cg_symbol *y) {
  uint64_t h = mix(kind, (uint64_t)value);
  if (y) h = mix(h, (uint64_t)y->index + 1);
  for (int i = 0; i < n; i++) h = mix(h, arg[i]->hash);
  return h;
}

static bool same(const cg_expr *e, uint64_t hash, cg_expr_kind kind, int n, const cg_expr *const *arg, int64_t value,
                 const cg_symbol *y) {
  return e->hash == hash && e->kind == kind && e->nargs == n && e->value == value && e->symbol == y &&
         (!n || !memcmp(e->arg, arg, (size_t)n * sizeof *arg));
}

static void grow(cg_expr_pool *p) {
  int cap = p->cap ? p->cap * 2 : 256;
  const cg_expr **table = CG_NEW_ARRAY(p->s, const cg_expr *, cap);
  for (int i = 0; i < p->cap; i++) {
    if (!p->table[i]) continue;
    uint64_t k = p->table[i]->hash & (uint64_t)(cap - 1);
    while (table[k]) k = (k + 1) & (uint64_t)(cap - 1);
    table[k] = p->table[i];
  }
  p->table = table;
  p->cap = cap;
}

const cg_expr *cg_x_intern(cg_expr_pool *p, cg_expr_kind kind, int n, const cg_expr *const *arg, int64_t value, cg_symbol *y) {
  if (p->n * 2 >= p->cap) grow(p);
  uint64_t hash = hash_of(kind, n, arg, value, y), mask = (uint64_t)(p->cap - 1), k = hash & mask;
  for (; p->table[k]; k = (k + 1) & mask)
    if (same(p->table[k], hash, kind, n, arg, value, y)) return p->table[k];
  int depth = 0, size = 1;
  bool symbol = y, unbacked = y && y->unbacked;
  for (int i = 0; i < n; i++) {
    if (arg[i]->depth >= depth) depth = arg[i]->depth + 1;
    if (size <= CG_X_MAX_SIZE) size += arg[i]->size; // each is at most that large
    symbol |= arg[i]->has_symbol, unbacked |= cg_x_has_unbacked(arg[i]);
  }
  if (depth > CG_X_MAX_DEPTH) cg_fail(p->s, CIERGE_BAD_MODEL, "a size expression is nested deeper than %d", CG_X_MAX_DEPTH);
  if (n > CG_X_MAX_TERMS) cg_fail(p->s, CIERGE_BAD_MODEL, "a size expression has more than %d terms", CG_X_MAX_TERMS);
  if (size > CG_X_MAX_SIZE) cg_fail(p->s, CIERGE_BAD_MODEL, "a size expression has more than %d parts", CG_X_MAX_SIZE);
  p->bytes += sizeof(cg_expr) + (size_t)n * sizeof *arg;
  if (p->limit && p->bytes > p->limit) cg_fail(p->s, CIERGE_BAD_MODEL, "size expressions take more memory than a file of this length may ask for");
  cg_expr *e = CG_NEW(p->s, cg_expr);
  *e = (cg_expr){.kind = kind, .nargs = n, .value = value, .symbol = y, .hash = hash, .id = p->n, .depth = depth, .size = size,
                 .has_symbol = symbol, .has_unbacked = unbacked, .pool = p};
  if (n) e->arg = cg_memdup(p->s, arg, (size_t)n * sizeof *arg);
  p->table[k] = e;
  p->n++;
  return e;
}

const cg_expr *cg_x_int(cg_expr_pool *p, int64_t v) { return cg_x_intern(p, CG_X_INT, 0, NULL, v, NULL); }
const cg_expr *cg_x_sym(cg_expr_pool *p, const char *name) { return cg_symbol_get(p, name)->expr; }

static int rank_of(const cg_expr *e) { return e->kind == CG_X_INT ? 1000 : (int)e->kind; }

int cg_x_compare(const cg_expr *a, const cg_expr *b) {
  if (a == b) return 0;
  if (a->kind != b->kind) return rank_of(a) < rank_of(b) ? -1 : 1;
  if (a->kind == CG_X_INT) return a->value < b->value ? -1 : 1;
  if (a->kind == CG_X_SYM) return a->symbol->index < b->symbol->index ? -1 : 1;
  for (int i = 0; i < a->nargs && i < b->nargs; i++) {
    int c = cg_x_compare(a->arg[i], b->arg[i]);
    if (c) return c;
  }
  return a->nargs < b->nargs ? -1 : 1;
}

// ---------------------------------------------------------------- ranges

static int64_t clamp(__int128 v) { return v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : (int64_t)v; }

cg_x_interval cg_x_interval_add(cg_x_interval a, cg_x_interval b) {
  cg_x_interval r;
  r.lo = a.lo == INT64_MIN || b.lo == INT64_MIN ? INT64_MIN : clamp((__int128)a.lo + b.lo);
  r.hi = a.hi == INT64_MAX || b.hi == INT64_MAX ? INT64_MAX : clamp((__int128)a.hi + b.hi);
  return r;
}

// Products of bounds: an unbounded one times 0 is 0. `inf` says which of the two values stands for infinity.
static __int128 bound_mul(int64_t a, bool a_inf, int64_t b, bool b_inf) {
  if (!a || !b) return 0;
  if (a_inf || b_inf) return (a < 0) == (b < 0) ? (__int128)INT64_MAX : (__int128)INT64_MIN;
  return (__int128)a * b;
}

cg_x_interval cg_x_interval_mul(cg_x_interval a, cg_x_interval b) {
  int64_t av[2] = {a.lo, a.hi}, bv[2] = {b.lo, b.hi};
  bool ai[2] = {a.lo == INT64_MIN, a.hi == INT64_MAX}, bi[2] = {b.lo == INT64_MIN, b.hi == INT64_MAX};
  __int128 lo = 0, hi = 0;
  for (int i = 0; i < 4; i++) {
    __int128 v = bound_mul(av[i & 1], ai[i & 1], bv[i >> 1], bi[i >> 1]);
    if (!i || v < lo) lo = v;
    if (!i || v > hi) hi = v;
  }
  return (cg_x_interval){clamp(lo), clamp(hi)};
}

static cg_x_interval interval_neg(cg_x_interval a) {
  cg_x_interval r;
  r.lo = a.hi == INT64_MAX ? INT64_MIN : a.hi == INT64_MIN ? INT64_MAX : -a.hi;
  r.hi = a.lo == INT64_MIN ? INT64_MAX : -a.lo;
  return r;
}

static int64_t bound_div(int64_t a, bool a_inf, int64_t b) { // b >= 1, INT64_MAX: unbounded
  if (a_inf) return a;
  return b == INT64_MAX ? (a < 0 ? -1 : 0) : cg_x_floor_div(a, b);
}

// The divisor is never 0 where the expression has a value.
static cg_x_interval interval_floordiv(cg_x_interval a, cg_x_interval b) {
  if (b.hi <= 0) a = interval_neg(a), b = interval_neg(b);
  if (b.lo == 0) b.lo = 1;
  if (b.lo < 1 || b.hi < b.lo) return (cg_x_interval){INT64_MIN, INT64_MAX};
  cg_x_interval r;
  r.lo = bound_div(a.lo, a.lo == INT64_MIN, a.lo >= 0 ? b.hi : b.lo);
  r.hi = bound_div(a.hi, a.hi == INT64_MAX, a.hi >= 0 ? b.lo : b.hi);
  return r;
}

static cg_x_interval interval_mod(cg_x_interval a, cg_x_interval b) {
  cg_x_interval r = {b.lo >= 0 ? 0 : b.lo == INT64_MIN ? INT64_MIN : b.lo + 1, b.hi <= 0 ? 0 : b.hi == INT64_MAX ? INT64_MAX : b.hi - 1};
  if (b.lo >= 0 && a.lo >= 0 && a.hi < r.hi) r.hi = a.hi;
  return r;
}

static cg_x_interval interval_scale(const cg_expr *e) {
  cg_x_interval a = cg_x_interval_of(e->arg[0]), r = {INT64_MIN, INT64_MAX};
  if (!cg_x_is_int(e->arg[1])) return r;
  bool down = e->arg[1]->value < 0; // the sign of a double is that of its bits
  bool low = (down ? a.hi : a.lo) != (down ? INT64_MAX : INT64_MIN), high = (down ? a.lo : a.hi) != (down ? INT64_MIN : INT64_MAX);
  if (low && !cg_scale(down ? a.hi : a.lo, e->arg[1]->value, &r.lo)) r.lo = INT64_MIN;
  if (high && !cg_scale(down ? a.lo : a.hi, e->arg[1]->value, &r.hi)) r.hi = INT64_MAX;
  return r;
}

static cg_x_interval decided(bool yes, bool no) { return (cg_x_interval){yes, !no}; }

static cg_x_interval interval_logic(const cg_expr *e) {
  bool all_true = true, all_false = true, some_true = false, some_false = false;
  for (int i = 0; i < e->nargs; i++) {
    cg_x_interval a = cg_x_interval_of(e->arg[i]);
    bool t = a.lo > 0 || a.hi < 0, f = a.lo == 0 && a.hi == 0;
    all_true = all_true && t, all_false = all_false && f;
    some_true = some_true || t, some_false = some_false || f;
  }
  if (e->kind == CG_X_AND) return decided(all_true, some_false);
  if (e->kind == CG_X_OR) return decided(some_true, all_false);
  return decided(all_false, all_true);
}

static cg_x_interval interval_compare(const cg_expr *e) {
  cg_x_interval a = cg_x_interval_of(e->arg[0]), b = cg_x_interval_of(e->arg[1]);
  bool below = a.hi < b.lo, above = a.lo > b.hi, point = cg_x_is_point(a) && cg_x_is_point(b) && a.lo == b.lo;
  switch (e->kind) {
  case CG_X_EQ: return decided(point, below || above);
  case CG_X_NE: return decided(below || above, point);
  case CG_X_LT: return decided(below, a.lo >= b.hi && a.lo != INT64_MIN && b.hi != INT64_MAX);
  default: return decided(a.hi <= b.lo && a.hi != INT64_MAX && b.lo != INT64_MIN, above);
  }
}

static cg_x_interval interval_extreme(const cg_expr *e) {
  cg_x_interval r = cg_x_interval_of(e->arg[0]);
  for (int i = 1; i < e->nargs; i++) {
    cg_x_interval a = cg_x_interval_of(e->arg[i]);
    bool max = e->kind == CG_X_MAX;
    if (max ? a.lo > r.lo : a.lo < r.lo) r.lo = a.lo;
    if (max ? a.hi > r.hi : a.hi < r.hi) r.hi = a.hi;
  }
  return r;
}

static cg_x_interval interval(const cg_expr *e) {
  cg_x_interval r;
  switch (e->kind) {
  case CG_X_INT:
  case CG_X_SYM: break;
  case CG_X_ADD:
  case CG_X_MUL:
    r = cg_x_interval_of(e->arg[0]);
    for (int i = 1; i < e->nargs; i++)
      r = e->kind == CG_X_ADD ? cg_x_interval_add(r, cg_x_interval_of(e->arg[i])) : cg_x_interval_mul(r, cg_x_interval_of(e->arg[i]));
    return r;
  case CG_X_FLOORDIV: return interval_floordiv(cg_x_interval_of(e->arg[0]), cg_x_interval_of(e->arg[1]));
  case CG_X_MOD: return interval_mod(cg_x_interval_of(e->arg[0]), cg_x_interval_of(e->arg[1]));
  case CG_X_SCALE: return interval_scale(e);
  case CG_X_MAX:
  case CG_X_MIN: return interval_extreme(e);
  case CG_X_EQ:
  case CG_X_NE:
  case CG_X_LT:
  case CG_X_LE: return interval_compare(e);
  case CG_X_AND:
  case CG_X_OR:
  case CG_X_NOT: return interval_logic(e);
  case CG_X_WHERE: {
    cg_x_interval a = cg_x_interval_of(e->arg[1]), b = cg_x_interval_of(e->arg[2]);
    return (cg_x_interval){a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
  }
  }
  return (cg_x_interval){INT64_MIN, INT64_MAX};
}

cg_x_interval cg_x_interval_of(const cg_expr *e) {
  if (e->kind == CG_X_INT) return (cg_x_interval){e->value, e->value};
  if (e->kind == CG_X_SYM) return (cg_x_interval){e->symbol->lo, e->symbol->hi};
  if (e->known != e->pool->ranges) {
    cg_x_interval r = interval(e);
    cg_expr *known = (cg_expr *)e;
    known->lo = r.lo, known->hi = r.hi, known->known = e->pool->ranges;
  }
  return (cg_x_interval){e->lo, e->hi};
}

void cg_x_range(const cg_expr *e, int64_t *lo, int64_t *hi) {
  cg_x_interval r = cg_x_interval_of(e);
  *lo = r.lo, *hi = r.hi;
}

// ---------------------------------------------------------------- looking inside

bool cg_x_has_unbacked(const cg_expr *e) { return e->kind == CG_X_SYM ? e->symbol->unbacked : e->has_unbacked; }

bool cg_x_has_symbol(const cg_expr *e, const cg_symbol *y) {
  if (e->kind == CG_X_SYM) return e->symbol == y;
  if (!e->has_symbol || (y->unbacked && !e->has_unbacked)) return false;
  for (int i = 0; i < e->nargs; i++)
    if (cg_x_has_symbol(e->arg[i], y)) return true;
  return false;
}

bool cg_x_is_static(const cg_expr *e) { return !e->has_symbol; }

static int64_t typical(const cg_symbol *y) { return y->hint ? y->hint : y->lo == INT64_MIN ? 0 : y->lo; }

void cg_x_postfix(const cg_expr *e, void (*each)(void *u, cg_expr_kind op, const cg_expr *leaf), void *u) {
  if (e->kind == CG_X_INT || e->kind == CG_X_SYM) {
    each(u, e->kind, e);
    return;
  }
  const int takes = cg_x_operands(e->kind);
  for (int i = 0; i < e->nargs; i++) {
    cg_x_postfix(e->arg[i], each, u);
    if (takes == 2 && i) each(u, e->kind, NULL); // n operands: n - 1 operators
  }
  if (takes != 2) each(u, e->kind, NULL);
}

// No two symbols have the same, nor one that a program is likely to speak of.
static int64_t sample(const cg_symbol *y) {
  static const int primes[] = {7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67};
  int64_t v = primes[y->index % 16] + 68 * (y->index / 16);
  return y->hint ? y->hint : v < y->lo ? y->lo : v > y->hi ? y->hi : v;
}

// values NULL: every symbol at what `at` says.
static bool eval(const cg_expr *e, const int64_t *values, int64_t (*at)(const cg_symbol *), int64_t *out) {
  if (e->kind == CG_X_INT || e->kind == CG_X_SYM) {
    *out = e->kind == CG_X_INT ? e->value : values ? values[e->symbol->index] : at(e->symbol);
    return true;
  }
  int64_t v;
  if (!eval(e->arg[0], values, at, &v)) return false;
  if (e->kind == CG_X_WHERE) return eval(e->arg[v ? 1 : 2], values, at, out);
  if (e->kind == CG_X_NOT) v = !v;
  for (int i = 1; i < e->nargs; i++) {
    int64_t w;
    if (!eval(e->arg[i], values, at, &w) || !cg_x_apply(e->kind, v, w, &v)) return false;
  }
  *out = v;
  return true;
}

bool cg_x_eval(const cg_expr *e, const int64_t *symbol_values, int64_t *out) {
  static const int64_t none[1];
  return eval(e, symbol_values ? symbol_values : none, typical, out);
}

int64_t cg_x_hint(const cg_expr *e) {
  int64_t v;
  return eval(e, NULL, typical, &v) ? v : 0;
}

int64_t cg_x_sample(const cg_expr *e) {
  int64_t v;
  return eval(e, NULL, sample, &v) ? v : 0;
}

const cg_expr *cg_x_substitute(cg_expr_pool *p, const cg_expr *e, const cg_expr *const *by) {
  if (e->kind == CG_X_SYM) return by[e->symbol->index] ? by[e->symbol->index] : e;
  if (e->kind == CG_X_INT) return e;
  const cg_expr **arg = CG_NEW_ARRAY(p->s, const cg_expr *, e->nargs);
  bool changed = false;
  for (int i = 0; i < e->nargs; i++) {
    arg[i] = cg_x_substitute(p, e->arg[i], by);
    changed = changed || arg[i] != e->arg[i];
  }
  return changed ? cg_x_op(p, e->kind, e->nargs, arg) : e;
}
