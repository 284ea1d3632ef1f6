// Symbolic integers: sizes, strides and whatever is computed from them.
//
// Expressions are immutable, canonical (sums of products with integer coefficients, in a fixed order) and
// interned in a pool: two equal expressions are one pointer. Arithmetic wraps as int64 never silently:
// an overflow of a constant fails the session.
#ifndef CG_IR_EXPR_H
#define CG_IR_EXPR_H
#include "base/session.h"
#include "base/size_op.h"
#include "base/str.h"
#include "base/map.h"

// The kinds are operators of sizes (base/size_op.h), applied to arg[…]: sums and products, maxima and minima, AND and OR to any number of them,
// of which at most one is an INT, in a sum the last, in a product the first. SCALE's arg[1] is an INT (cg_x_scale).
typedef struct cg_expr cg_expr;

// A symbol: `s0`, bound by an input's size; or `u0` (unbacked), bound by the node that makes it.
typedef struct cg_symbol {
  const char *name;
  int64_t lo, hi;    // inclusive range; hi INT64_MAX: no bound. Set by cg_symbol_range
  int64_t hint;      // a typical value, 0: unknown
  bool unbacked;     // its value appears only while the program runs
  int index;         // in the pool
  const cg_expr *expr;
} cg_symbol;

struct cg_expr {
  cg_expr_kind kind;
  int nargs;
  int64_t value;      // CG_X_INT
  cg_symbol *symbol;  // CG_X_SYM
  const cg_expr **arg;
  uint64_t hash;
  int id;             // order of creation
  int depth;          // of nesting, limited so that recursion over expressions is safe
  int size;           // nodes of the tree that it is as text, limited so that whatever walks or prints it is quick
  bool has_symbol, has_unbacked;
  const struct cg_expr_pool *pool;
  int64_t lo, hi;     // its bounds by the symbols' ranges, where `known` is the pool's `ranges`
  int known;
};

typedef struct cg_expr_pool {
  cg_session *s;
  cg_map symbols;     // name -> cg_symbol*, in order of index
  const cg_expr **table;
  int n, cap;
  int ranges;         // changes whenever a symbol's range does
  uint64_t bytes;     // of all expressions
  uint64_t limit;     // of bytes; 0: none. cg_expr_pool_limit
  struct cg_expr_scratch *scratch, *scratch_at; // expr_scratch.h
  size_t scratch_used;
} cg_expr_pool;

void cg_expr_pool_init(cg_expr_pool *p, cg_session *s);
// Expressions that are made from now on may take so much memory as fits a text of that many bytes; more fails the session.
void cg_expr_pool_limit(cg_expr_pool *p, uint64_t text);
cg_symbol *cg_symbol_get(cg_expr_pool *p, const char *name); // made if absent: lo 0, no upper bound; unbacked if it starts with 'u'
cg_symbol *cg_symbol_find(cg_expr_pool *p, const char *name);
void cg_symbol_range(cg_symbol *y, int64_t lo, int64_t hi);

const cg_expr *cg_x_int(cg_expr_pool *p, int64_t v);
const cg_expr *cg_x_sym(cg_expr_pool *p, const char *name);
const cg_expr *cg_x_add(cg_expr_pool *p, const cg_expr *a, const cg_expr *b);
const cg_expr *cg_x_sub(cg_expr_pool *p, const cg_expr *a, const cg_expr *b);
const cg_expr *cg_x_mul(cg_expr_pool *p, const cg_expr *a, const cg_expr *b);
const cg_expr *cg_x_floordiv(cg_expr_pool *p, const cg_expr *a, const cg_expr *b);
const cg_expr *cg_x_mod(cg_expr_pool *p, const cg_expr *a, const cg_expr *b);
const cg_expr *cg_x_scale(cg_expr_pool *p, const cg_expr *a, double by);
const cg_expr *cg_x_op(cg_expr_pool *p, cg_expr_kind kind, int n, const cg_expr *const *arg); // any kind, canonicalised

static inline bool cg_x_is_int(const cg_expr *e) { return e->kind == CG_X_INT; }
static inline bool cg_x_is(const cg_expr *e, int64_t v) { return e->kind == CG_X_INT && e->value == v; }
// Bounds from the symbols' ranges (saturating; INT64_MIN / INT64_MAX: unknown).
void cg_x_range(const cg_expr *e, int64_t *lo, int64_t *hi);
bool cg_x_has_unbacked(const cg_expr *e);
bool cg_x_has_symbol(const cg_expr *e, const cg_symbol *y);
// v = num / den where that is a double of few bits, whose products with sizes are exact.
bool cg_x_dyadic(double v, int64_t *num, int64_t *den);
bool cg_x_is_static(const cg_expr *e); // no symbol in it
// The expression as a postfix program of binary operators: each(u, op, leaf), where leaf is the INT or SYM, else NULL.
void cg_x_postfix(const cg_expr *e, void (*each)(void *u, cg_expr_kind op, const cg_expr *leaf), void *u);
// Value under given symbol values (indexed by symbol index). false: overflow or division by zero.
bool cg_x_eval(const cg_expr *e, const int64_t *symbol_values, int64_t *out);
// The value with every symbol at its hint (or its lower bound where there is none).
int64_t cg_x_hint(const cg_expr *e);
// With every symbol at its hint, or where there is none at a number of its own: what differs there differs for most sizes.
int64_t cg_x_sample(const cg_expr *e);
// e with symbols replaced: by[index] NULL keeps the symbol.
const cg_expr *cg_x_substitute(cg_expr_pool *p, const cg_expr *e, const cg_expr *const *by);

// Text: `2*s0 + 1`, `s0//2`, `s0%4`, `max(s0, 1)`, `scale(s0, 0.7)`, `eq(a, b)` …
void cg_x_print(cg_str *b, const cg_expr *e);
void cg_x_print_short(cg_str *b, const cg_expr *e); // for people: a long one is "…"
// Reads that text; *end is set behind it. NULL (and *end at the offending character) where it does not read.
const cg_expr *cg_x_parse(cg_expr_pool *p, const char *text, const char **end);
// The same inside a module's text: symbols must be declared (but `make_unbacked` makes those that begin with u), comments
// may stand before operands, and *why says what is wrong at *end.
const cg_expr *cg_x_parse_in_text(cg_expr_pool *p, const char *text, bool make_unbacked, const char **end, const char **why);
#endif
