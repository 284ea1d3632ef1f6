// The builder of tensor expressions: every expression is kept once (equal ones are one pointer), so that what is
// shared between nodes is computed once in the loop they end up in.
#include "ops/te.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "artifact/scalar.h"
#include "ops/op.h"
#include "base/half.h"
#include "ops/te_internal.h"

// ---------------------------------------------------------------- hash-consing

static uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9E3779B97F4A7C15u + (h << 6) + (h >> 2);
  h *= 0xFF51AFD7ED558CCDu;
  return h ^ h >> 32; // what differs high up (numbers do) tells in the low bits, which choose the slot
}

static uint64_t text_hash(const char *p) {
  uint64_t h = 1469598103934665603u;
  for (; p && *p; p++) h = (h ^ (uint8_t)*p) * 1099511628211u;
  return h;
}

static uint64_t bits_of(double v) {
  uint64_t u;
  memcpy(&u, &v, 8);
  return u;
}

static uint64_t hash(const te_expr *e) {
  uint64_t h = mix((uint64_t)e->kind * 64 + (uint64_t)e->dtype, (uint64_t)e->var);
  h = mix(h, (uint64_t)(uintptr_t)e->size);
  h = mix(h, bits_of(e->number));
  h = mix(h, (uint64_t)e->integer);
  h = mix(h, (uint64_t)(uintptr_t)e->value);
  h = mix(h, text_hash(e->text));
  if (e->kind == TE_INDEX) h = mix(h, (uint64_t)(uintptr_t)e->node);
  for (int i = 0; i < e->nargs; i++) h = mix(h, (uint64_t)(uintptr_t)e->arg[i]);
  return h;
}

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

static bool same(const te_expr *a, const te_expr *b) {
  if (a->kind != b->kind || a->dtype != b->dtype || a->nargs != b->nargs || a->var != b->var || a->size != b->size ||
      bits_of(a->number) != bits_of(b->number) || a->integer != b->integer || a->value != b->value || !same_text(a->text, b->text))
    return false;
  if (a->kind == TE_INDEX && a->node != b->node) return false;
  for (int i = 0; i < a->nargs; i++)
    if (a->arg[i] != b->arg[i] || (a->names && !same_text(a->names[i], b->names[i]))) return false;
  return true;
}

static void grow_table(te *t) {
  int cap = t->cap ? 2 * t->cap : 1024;
  te_expr **table = CG_NEW_ARRAY(t->s, te_expr *, cap);
  for (int i = 0; i < t->cap; i++) {
    if (!t->table[i]) continue;
    uint64_t h = hash(t->table[i]);
    while (table[h & (uint64_t)(cap - 1)]) h++;
    table[h & (uint64_t)(cap - 1)] = t->table[i];
  }
  t->table = table;
  t->cap = cap;
}

te_expr *te_intern(te *t, te_expr key) {
  if (2 * t->n >= t->cap) grow_table(t);
  uint64_t h = hash(&key);
  for (;; h++) {
    te_expr **slot = &t->table[h & (uint64_t)(t->cap - 1)];
    if (*slot && same(*slot, &key)) return *slot;
    if (*slot) continue;
    te_expr *e = *slot = cg_memdup(t->s, &key, sizeof key);
    e->id = t->n++;
    e->arg = e->nargs ? cg_memdup(t->s, key.arg, (size_t)e->nargs * sizeof *e->arg) : NULL;
    e->kinds = UINT32_C(1) << e->kind, e->vars = e->kind == TE_VAR ? UINT64_C(1) << e->var % 64 : 0;
    for (int i = 0; i < e->nargs; i++) e->kinds |= e->arg[i]->kinds, e->vars |= e->arg[i]->vars;
    return e;
  }
}

te_expr *te_node(te *t, te_kind kind, cg_dtype dtype, int nargs, te_expr *const *arg) {
  return te_intern(t, (te_expr){.kind = kind, .dtype = dtype, .nargs = nargs, .arg = (te_expr **)arg});
}

// ---------------------------------------------------------------- the builder

te *te_new(cg_module *m, te_resolver at, void *u) {
  te *t = CG_NEW(m->s, te);
  t->s = m->s, t->m = m, t->at = at, t->user = u;
  return t;
}

void te_forget(te *t) { memset(t->memo, 0, sizeof t->memo); }
cg_module *te_module(te *t) { return t->m; }
cg_session *te_session(te *t) { return t->s; }
int te_count(const te *t) { return t->n; }
int te_var_count(const te *t) { return t->nvars; }
const cg_expr *te_var_extent(const te *t, int var) { return t->extent[var]; }

te_expr *te_new_var(te *t, const cg_expr *extent) {
  if (cg_x_is(extent, 1)) return te_int(t, 0);
  if (t->nvars == t->vars_cap) t->extent = cg_vec_grow(t->s, t->extent, t->nvars, &t->vars_cap, sizeof *t->extent);
  t->extent[t->nvars++] = extent;
  return te_var(t, t->nvars - 1);
}

te_expr **te_new_vars(te *t, int n, const cg_expr *const *extent) {
  te_expr **v = CG_NEW_ARRAY(t->s, te_expr *, n + 1);
  for (int i = 0; i < n; i++) v[i] = te_new_var(t, extent[i]);
  return v;
}

te_expr *te_var(te *t, int var) { return te_intern(t, (te_expr){.kind = TE_VAR, .dtype = CG_I64, .var = var}); }
te_expr *te_size(te *t, const cg_expr *e) { return te_intern(t, (te_expr){.kind = TE_SIZE, .dtype = CG_I64, .size = e}); }
te_expr *te_int(te *t, int64_t v) { return te_size(t, cg_x_int(&t->m->exprs, v)); }

te_expr *te_number(te *t, double v, cg_dtype dtype) {
  if (cg_is_integral(dtype)) return te_integer(t, dtype == CG_BOOL ? v != 0 : cg_int_of_double(v), dtype);
  return te_intern(t, (te_expr){.kind = TE_CONST, .dtype = dtype, .number = v});
}

// v as an integer of that type holds it (wrapped).
static int64_t wrap(int64_t v, cg_dtype dtype) {
  switch (dtype) {
  case CG_BOOL: return v != 0;
  case CG_U8: return (uint8_t)v;
  case CG_I8: return (int8_t)v;
  case CG_I16: return (int16_t)v;
  case CG_I32: return (int32_t)v;
  default: return v;
  }
}

te_expr *te_integer(te *t, int64_t v, cg_dtype dtype) {
  if (cg_is_float(dtype)) return te_number(t, (double)v, dtype);
  return te_intern(t, (te_expr){.kind = TE_CONST, .dtype = dtype, .integer = wrap(v, dtype)});
}

te_expr *te_scalar(te *t, cg_value *v) {
  if (v->type.value) return te_size(t, v->type.value);
  cg_dtype dtype = v->type.kind == CG_T_FLOAT ? CG_F64 : v->type.kind == CG_T_BOOL ? CG_BOOL : CG_I64;
  return te_intern(t, (te_expr){.kind = TE_SCALAR, .dtype = dtype, .value = v});
}

te_expr *te_accumulator(te *t, cg_value *v, cg_dtype dtype) {
  return te_intern(t, (te_expr){.kind = TE_SCALAR, .dtype = dtype, .value = v});
}

te_expr *te_load(te *t, cg_value *v, te_expr **idx) {
  te_expr *at[CG_MAX_RANK];
  for (int i = 0; i < v->type.rank; i++) at[i] = cg_x_is(v->type.dim[i], 1) ? te_int(t, 0) : idx[i];
  return te_intern(t, (te_expr){.kind = TE_LOAD, .dtype = v->type.dtype, .nargs = v->type.rank, .arg = at, .value = v});
}

// ---------------------------------------------------------------- conversions and choices

static bool is_half(cg_dtype t) { return t == CG_F16 || t == CG_BF16; }

// Half precision is computed in f32: an expression of dtype f16 is an f32 number known to be one of f16's.
te_expr *te_cast(te *t, te_expr *e, cg_dtype dtype) {
  if (e->dtype == dtype) return e;
  if (e->kind == TE_CONST && !is_half(dtype)) {
    if (!cg_is_float(e->dtype)) return te_integer(t, e->integer, dtype);
    if (cg_is_float(dtype)) return te_number(t, dtype == CG_F32 ? (float)e->number : e->number, dtype);
    if (dtype == CG_BOOL) return te_integer(t, e->number != 0, dtype);
    int64_t i = cg_int_of_double(e->number);
    return te_integer(t, cg_dtypes[dtype].size == 8 || dtype == CG_U8 || i == (int32_t)i ? i : INT32_MIN, dtype);
  }
  if (is_half(dtype)) {
    e = te_cast(t, e, CG_F32);
    return te_node(t, TE_ROUND, dtype, 1, &e);
  }
  // Widening and narrowing back changes nothing: f32(x: f64(y: f32)).
  if (e->kind == TE_CAST && e->dtype == CG_F64 && e->arg[0]->dtype == dtype && cg_is_float(dtype)) return e->arg[0];
  return te_node(t, TE_CAST, dtype, 1, &e);
}

// A condition that is known: 0, 1; else -1.
static int known(const te_expr *c) {
  if (c->kind == TE_CONST) return cg_is_float(c->dtype) ? c->number != 0 : c->integer != 0;
  if (c->kind == TE_SIZE && cg_x_is_int(c->size)) return c->size->value != 0;
  return -1;
}

te_expr *te_select(te *t, te_expr *c, te_expr *a, te_expr *b) {
  int k = known(c);
  if (k >= 0) return k ? a : b;
  if (a == b) return a;
  if (c->kind == TE_NOT) return te_select(t, c->arg[0], b, a);
  return te_node(t, TE_SELECT, a->dtype, 3, (te_expr *[]){c, a, b});
}

static te_expr *checked_index(te *t, te_expr *i, te_expr *size, const cg_node *n, bool wraps) {
  i = te_cast(t, i, CG_I64);
  if (size->kind == TE_SIZE && te_in_range(t, i, size->size)) return i;
  return te_intern(t, (te_expr){.kind = TE_INDEX, .dtype = CG_I64, .nargs = 2, .arg = (te_expr *[]){i, size}, .node = n, .integer = wraps});
}

te_expr *te_index(te *t, te_expr *i, te_expr *size, const cg_node *n) { return checked_index(t, i, size, n, true); }
te_expr *te_index_unwrapped(te *t, te_expr *i, te_expr *size, const cg_node *n) { return checked_index(t, i, size, n, false); }

// Whether `part` is in e; what is older than it cannot hold it. Each expression is looked at once.
static bool contains(te *t, const te_expr *e, const te_expr *part) {
  if (e == part) return true;
  if (e->id < part->id || t->seen[e->id] == t->stamp) return false;
  t->seen[e->id] = t->stamp;
  for (int i = 0; i < e->nargs; i++)
    if (contains(t, e->arg[i], part)) return true;
  return false;
}

te_expr *te_checked(te *t, te_expr *e, te_expr *index) {
  if (index->kind != TE_INDEX) return e;
  if (t->n > t->seen_n) {
    t->seen_n = 2 * t->n;
    t->seen = CG_NEW_ARRAY(t->s, int, t->seen_n);
    t->stamp = 0;
  }
  t->stamp++;
  return contains(t, e, index) ? e : te_node(t, TE_CHECKED, e->dtype, 2, (te_expr *[]){e, index});
}

// A number as half precision rounds it: by way of f32, as generated code does.
static int16_t half_bits(double number, cg_dtype half) {
  return (int16_t)(half == CG_BF16 ? cg_bf16_of_float((float)number) : cg_f16_of_float((float)number));
}

// Where what is stored in half precision was only moved, or got another sign, it needs no conversion.
static te_expr *bits(te *t, te_expr *e, cg_dtype half, int *budget) {
  if (--*budget < 0) return NULL;
  switch (e->kind) {
  case TE_LOAD: {
    te_expr key = *e;
    if (e->dtype != half) return NULL;
    key.dtype = CG_I16;
    return te_intern(t, key);
  }
  case TE_CONST: return !cg_is_float(e->dtype) ? NULL : te_integer(t, half_bits(e->number, half), CG_I16);
  case TE_CAST: return e->arg[0]->dtype != CG_BOOL ? NULL : te_select(t, e->arg[0], te_integer(t, half_bits(1, half), CG_I16), te_integer(t, 0, CG_I16));
  case TE_ROUND: return (e->arg[0]->kind == TE_CONST || e->arg[0]->kind == TE_CAST) && e->dtype == half ? bits(t, e->arg[0], half, budget) : NULL;
  case TE_CHECKED: {
    te_expr *x = bits(t, e->arg[0], half, budget);
    return x ? te_checked(t, x, e->arg[1]) : NULL;
  }
  case TE_SELECT: {
    te_expr *a = bits(t, e->arg[1], half, budget), *b = a ? bits(t, e->arg[2], half, budget) : NULL;
    return b ? te_select(t, e->arg[0], a, b) : NULL;
  }
  case TE_BODY: {
    static const char *const of_sign[][2] = { // which is a bit
      {"-self", "self ^ -32768"}, {"fabs$(self)", "self & 32767"}, {"copysign$(self, other)", "(self & 32767) | (other & -32768)"}};
    for (size_t i = 0; i < sizeof of_sign / sizeof *of_sign && e->dtype == half; i++) {
      if (strcmp(e->text, of_sign[i][0])) continue;
      te_expr *x[2] = {bits(t, e->arg[0], half, budget), e->nargs > 1 ? bits(t, e->arg[1], half, budget) : NULL};
      return x[0] && (x[1] || e->nargs == 1) ? te_body(t, e->node, CG_I16, of_sign[i][1], e->nargs, e->names, x) : NULL;
    }
    return NULL;
  }
  default: return NULL;
  }
}

te_expr *te_bits(te *t, te_expr *e) {
  int budget = 64;
  return is_half(e->dtype) ? bits(t, e, e->dtype, &budget) : NULL;
}

static double half_number(int16_t bits, cg_dtype half) {
  const uint16_t h = (uint16_t)bits;
  const int e = h >> 10 & 31;
  const double a = e ? ldexp(h % 1024 + 1024, e - 25) : h % 1024 * 0x1p-24;
  const uint32_t u = (uint32_t)h << 16;
  float x;
  memcpy(&x, &u, 4);
  return half == CG_BF16 ? x : h >> 15 ? -a : a;
}

static bool fits_half(double v, cg_dtype half) { return isnan(v) || isinf(v) || half_number(half_bits(v, half), half) == v; }

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_'; }

// The first `c` of [p, end) that is in no brackets; with '?': one that no ':' in front of it belongs to. NULL: there is none.
static const char *outside(const char *p, const char *end, char c) {
  int depth = 0, asked = 0;
  for (; p < end; p++) {
    if (!depth && !asked && *p == c) return p;
    depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
    if (!depth) asked += *p == '?' ? 1 : *p == ':' ? -1 : 0;
  }
  return NULL;
}

// Whether [p, end) of a body's text, whatever comes of its conditions, is one of the numbers that it is given, or of another sign, or cut
// to an integer: one of half precision's if those are.
static bool moves(const te_expr *body, cg_dtype half, const char *p, const char *end) {
  static const char *const functions[] = {"fabs$(", "copysign$(", "floor$(", "ceil$(", "trunc$(", "nearbyint$("};
  while (p < end && *p == ' ') p++;
  while (end > p && end[-1] == ' ') end--;
  if (p == end) return false;
  const char *yes = outside(p, end, '?'), *no = yes ? outside(yes + 1, end, ':') : NULL;
  if (yes) return no && moves(body, half, yes + 1, no) && moves(body, half, no + 1, end);
  if (*p == '-') return moves(body, half, p + 1, end);
  if (*p == '(') return outside(p + 1, end, ')') == end - 1 && moves(body, half, p + 1, end - 1);
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    const char *from = p + strlen(functions[i]);
    if (from >= end || strncmp(p, functions[i], strlen(functions[i])) || outside(from, end, ')') != end - 1) continue;
    const char *comma = outside(from, end - 1, ',');
    return moves(body, half, from, comma ? comma : end - 1);
  }
  for (const char *q = p; q < end; q++)
    if (!word_char(*q) && *q != '.') return false;
  for (int i = 0; i < body->nargs; i++)
    if (strlen(body->names[i]) == (size_t)(end - p) && !strncmp(p, body->names[i], (size_t)(end - p)))
      return body->arg[i]->kind == TE_CONST && cg_is_float(body->arg[i]->dtype) ? fits_half(body->arg[i]->number, half) : body->arg[i]->dtype == half;
  char *after;
  const double v = strtod(p, &after);
  return after == end && isdigit((unsigned char)*p) && fits_half(v, half);
}

te_expr *te_body(te *t, const cg_node *n, cg_dtype result, const char *text, int nargs, const char *const *names, te_expr *const *arg) {
  te_expr key = {.kind = TE_BODY, .dtype = result, .nargs = nargs, .arg = (te_expr **)arg, .text = text, .names = names, .node = n};
  if (is_half(result) && !moves(&key, result, text, text + strlen(text))) key.dtype = CG_F32;
  return te_cast(t, te_intern(t, key), result);
}

static te_expr *logic(te *t, te_kind kind, te_expr *a, te_expr *b) {
  int ka = known(a), kb = b ? known(b) : -1;
  if (kind == TE_NOT) {
    if (ka >= 0) return te_integer(t, !ka, CG_BOOL);
    if (a->kind == TE_NOT) return a->arg[0];
    return te_node(t, TE_NOT, CG_BOOL, 1, &a);
  }
  int neutral = kind == TE_AND;
  if (ka == neutral || a == b) return b;
  if (kb == neutral) return a;
  if (ka >= 0) return a;
  if (kb >= 0) return b;
  return te_node(t, kind, CG_BOOL, 2, (te_expr *[]){a, b});
}

te_expr *te_op(te *t, te_kind kind, te_expr *a, te_expr *b) {
  if (kind == TE_AND || kind == TE_OR || kind == TE_NOT) return logic(t, kind, a, b);
  if (cg_is_float(a->dtype) || cg_is_float(b->dtype)) // elements, not indices: as it is
    return te_node(t, kind, kind >= TE_LT ? CG_BOOL : a->dtype, 2, (te_expr *[]){a, b});
  return te_index_op(t, kind, te_cast(t, a, CG_I64), te_cast(t, b, CG_I64));
}

// ---------------------------------------------------------------- reading values

te_expr *te_at(te *t, cg_value *v, te_expr **idx) {
  if (v->type.kind != CG_T_TENSOR) return te_scalar(t, v);
  uint64_t h = (uint64_t)(uintptr_t)v;
  int rank = v->type.rank;
  for (int i = 0; i < rank; i++) h = mix(h, (uint64_t)(uintptr_t)idx[i]);
  te_memo **list = &t->memo[h % 512];
  for (te_memo *m = *list; m; m = m->next)
    if (m->value == v && (!rank || !memcmp(m->idx, idx, (size_t)rank * sizeof *idx))) return m->expr;
  te_memo *m = CG_NEW(t->s, te_memo);
  m->value = v, m->rank = rank;
  m->idx = rank ? cg_memdup(t->s, idx, (size_t)rank * sizeof *idx) : NULL;
  m->expr = t->at(t, v, idx, t->user);
  m->next = *list;
  *list = m;
  return m->expr;
}

te_expr *te_at_arg(te *t, const cg_arg *a, te_expr **idx, cg_dtype dtype) {
  cg_dtype computed = is_half(dtype) ? CG_F32 : dtype; // numbers are not rounded to half precision first (PyTorch's opmath)
  switch (a->kind) {
  case CG_A_VALUE:
    if (a->value->type.kind == CG_T_TENSOR) return te_cast(t, te_at(t, a->value, idx), dtype);
    return te_cast(t, te_scalar(t, a->value), computed);
  case CG_A_INT: return cg_x_is_int(a->i) ? te_integer(t, a->i->value, computed) : te_cast(t, te_size(t, a->i), computed);
  case CG_A_FLOAT: return computed == CG_F32 ? te_number(t, (float)a->f, computed) : te_number(t, a->f, computed);
  case CG_A_BOOL: return te_integer(t, a->b, computed);
  default: cg_fail(t->s, CIERGE_INTERNAL, "te: an argument that is no number was asked for as one");
  }
}

te_expr *te_at_number(te *t, const cg_node *n, int i, cg_dtype dtype) {
  te_expr *e = te_at_arg(t, &n->arg[i], NULL, dtype);
  bool wrapped = n->op && n->op->traits & CG_OP_WRAPS && strcmp(n->schema->arg[i].name, "alpha");
  return wrapped ? te_cast(t, e, dtype) : e;
}

te_expr *te_at_broadcast(te *t, cg_value *v, int rank, te_expr **idx) {
  te_expr *at[CG_MAX_RANK];
  int skip = rank - v->type.rank;
  for (int i = 0; i < v->type.rank; i++) at[i] = cg_x_is(v->type.dim[i], 1) ? te_int(t, 0) : idx[skip + i];
  return te_at(t, v, at);
}

// ---------------------------------------------------------------- reshapes

te_expr *te_flat(te *t, int rank, const cg_expr *const *dim, te_expr *const *idx) {
  te_expr *e = te_int(t, 0);
  const cg_expr *stride = cg_x_int(&t->m->exprs, 1);
  for (int i = rank - 1; i >= 0; i--) {
    e = te_op(t, TE_ADD, e, te_op(t, TE_MUL, idx[i], te_size(t, stride)));
    stride = cg_x_mul(&t->m->exprs, stride, dim[i]);
  }
  return e;
}

void te_unflat(te *t, te_expr *flat, int rank, const cg_expr *const *dim, te_expr **idx) {
  const cg_expr *below = cg_x_int(&t->m->exprs, 1); // product of the dims after this one
  bool outermost = true;
  const cg_expr *stride[CG_MAX_RANK];
  for (int i = rank - 1; i >= 0; i--) stride[i] = below, below = cg_x_mul(&t->m->exprs, below, dim[i]);
  for (int i = 0; i < rank; i++) {
    if (cg_x_is(dim[i], 1)) {
      idx[i] = te_int(t, 0);
      continue;
    }
    idx[i] = te_op(t, TE_FLOORDIV, flat, te_size(t, stride[i]));
    if (!outermost) idx[i] = te_op(t, TE_MOD, idx[i], te_size(t, dim[i]));
    outermost = false;
  }
}

// ---------------------------------------------------------------- questions

bool te_has(const te_expr *e, te_kind k) { return e->kinds >> k & 1; }

// Bodies that can raise an error name where it goes: `err`.
bool te_may_raise(const te_expr *e) {
  return e->kind == TE_INDEX || (e->kind == TE_BODY && strstr(e->text, ", err,"));
}

bool te_uses_var(const te_expr *e, int var) {
  if (!(e->vars >> var % 64 & 1)) return false;
  if (e->kind == TE_VAR && e->var == var) return true;
  for (int i = 0; i < e->nargs; i++)
    if (te_uses_var(e->arg[i], var)) return true;
  return false;
}
