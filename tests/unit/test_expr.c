// src/ir/expr*.c: canonical forms, ranges, text; and thousands of random expressions against plain evaluation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/expr.h"

static cg_session session;
static cg_expr_pool pool;

enum { SYMBOLS = 4 };
static const int64_t low[SYMBOLS] = {0, 1, -3, 2}, high[SYMBOLS] = {6, 7, 4, 5};

static int set_up(void **state) {
  (void)state;
  cg_session_init(&session);
  cg_expr_pool_init(&pool, &session);
  for (int i = 0; i < SYMBOLS; i++) {
    char name[16];
    snprintf(name, sizeof name, "s%d", i);
    cg_symbol *y = cg_symbol_get(&pool, name);
    y->lo = low[i], y->hi = high[i];
  }
  cg_symbol_get(&pool, "n")->lo = 1; // no upper bound
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  cg_session_end(&session);
  return 0;
}

static const cg_expr *read_it(const char *text) {
  const char *end;
  const cg_expr *e = cg_x_parse(&pool, text, &end);
  if (!e || *end) fail_msg("%s does not read at: %s", text, end);
  return e;
}

static const char *text_of(const cg_expr *e) {
  cg_str b = cg_str_new(&session);
  cg_x_print(&b, e);
  return cg_str_text(&b);
}

static void check_canonical(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"s0 + s0", "2*s0"}, {"s1*s0 - s0*s1", "0"}, {"(s0 + 1)*(s0 - 1)", "s0*s0 - 1"}, {"3 - s0", "-s0 + 3"},
      {"(s0*4)//4", "s0"}, {"(3*s1*s3)//s1", "3*s3"}, {"(s1*s0 + s0)//(s1 + 1)", "s0"}, {"(s0 + 3)//2", "(s0 + 1)//2 + 1"},
      {"s0//1", "s0"}, {"s0//2//3", "s0//6"}, {"(6*s0 + 4)//4", "3*s0//2 + 1"}, {"(2*s0)//(2*s1)", "s0//s1"},
      {"s0//7", "0"}, {"s3//s3", "1"}, {"s0//s0", "s0//s0"}, {"5//0", "5//0"}, {"-7//2", "-4"}, {"7//(-2)", "-4"},
      {"(s0*4 + 3)%4", "3"}, {"s0%1", "0"}, {"s0%7", "s0"}, {"-s0%8", "-s0%8"}, {"(9*n + 9)%8", "(n + 1)%8"}, {"(9*s0 + 9)%8", "s0 + 1"}, {"s0%4%2", "s0%2"},
      {"(s1*s3)%s3", "0"}, {"-7%3", "2"}, {"7%(-3)", "-2"}, {"2*s0%6", "2*(s0%3)"},
      {"max(s0, s0 + 1, 3)", "max(s0 + 1, 3)"}, {"max(s0, 6)", "6"}, {"min(s1, s1 + s3)", "s1"}, {"max(n, 1)", "n"},
      {"max(s0, max(s1, s2))", "max(s0, s1, s2)"},
      {"eq(s0 + 1, 3)", "eq(s0, 2)"}, {"eq(2*s0, 3)", "0"}, {"ne(s0, 7)", "1"}, {"lt(s0, 3)", "le(s0, 2)"}, {"lt(s1, s3)", "lt(s1, s3)"},
      {"not(lt(s1, s3))", "le(s3, s1)"}, {"le(s0, 6)", "1"}, {"and(lt(s0, 3), 1)", "le(s0, 2)"}, {"or(s0, 0)", "ne(s0, 0)"},
      {"where(1, s0, s1)", "s0"}, {"where(ne(s0, 1), s1, 2)", "where(eq(s0, 1), 2, s1)"}, {"where(lt(s0, 3), 1, 0)", "le(s0, 2)"},
      {"-9223372036854775808", "-9223372036854775808"}, {"s0 - 9223372036854775808", "s0 - 9223372036854775808"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_string_equal(text_of(read_it(rows[i][0])), rows[i][1]);
}

static void check_unread(void **state) {
  (void)state;
  static const struct { const char *text; int at; } rows[] = {
      {"", 0}, {"s0 +", 4}, {"max(s0", 6}, {"foo(1)", 0}, {"(s0", 3}, {"9223372036854775808", 0}, {"lt(s0)", 5}, {"not(1, 2)", 6}, {"1 2", 2},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const char *end;
    const cg_expr *e = cg_x_parse(&pool, rows[i].text, &end);
    assert_true(!e || *end);
    assert_int_equal(end - rows[i].text, rows[i].at);
  }
  char deep[1200];
  memset(deep, '(', sizeof deep - 1);
  deep[sizeof deep - 1] = 0;
  const char *end;
  assert_null(cg_x_parse(&pool, deep, &end));
}

static void parse_job(cg_session *s, void *text) {
  (void)s;
  const char *end;
  cg_x_parse(&pool, text, &end);
}

static void check_overflow(void **state) {
  (void)state;
  static const char *const rows[] = {"9223372036854775807 + 1", "9223372036854775807*s0*2", "-9223372036854775808 - s0 - 1",
                                     "-9223372036854775808//(-1)", "4611686018427387904*2"};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_int_equal(cg_try(&session, parse_job, (void *)rows[i]), CIERGE_BAD_MODEL);
  cg_str chain = cg_str_new(&session); // deep without parentheses
  cg_str_add(&chain, "n");
  for (int i = 0; i < 3000; i++) cg_str_add(&chain, "//u1%u2");
  assert_int_equal(cg_try(&session, parse_job, (void *)cg_str_text(&chain)), CIERGE_BAD_MODEL);
}

static void check_ranges(void **state) {
  (void)state;
  static const struct { const char *text; int64_t lo, hi; } rows[] = {
      {"s0", 0, 6}, {"n", 1, INT64_MAX}, {"-n", INT64_MIN, -1}, {"2*s2 + 1", -5, 9}, {"s0*s2", -18, 24}, {"n*s0", 0, INT64_MAX},
      {"9223372036854775807*n", INT64_MAX, INT64_MAX}, {"n//2", 0, INT64_MAX}, {"n%8", 0, 7}, {"s0//n", 0, 6},
      {"max(n, 5)", 5, INT64_MAX}, {"min(n, 5)", 1, 5}, {"eq(s0, s1)", 0, 1}, {"where(eq(s0, 1), s1, s2)", -3, 7},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int64_t lo, hi;
    cg_x_range(read_it(rows[i].text), &lo, &hi);
    assert_true(lo == rows[i].lo && hi == rows[i].hi);
  }
}

static void check_looking(void **state) {
  (void)state;
  const cg_expr *e = read_it("s0*u7 + 2");
  assert_true(cg_x_has_unbacked(e) && !cg_x_is_static(e) && cg_x_is_static(read_it("3*4")));
  assert_true(cg_x_has_symbol(e, cg_symbol_find(&pool, "s0")) && !cg_x_has_symbol(e, cg_symbol_find(&pool, "s1")));
  assert_false(cg_x_has_unbacked(read_it("s0 + n")));
  cg_symbol_find(&pool, "n")->hint = 10;
  assert_int_equal(cg_x_hint(read_it("n*s1 + 1")), 11);
  const cg_expr *by[16] = {0};
  by[cg_symbol_find(&pool, "s0")->index] = read_it("s1 + 1");
  assert_ptr_equal(cg_x_substitute(&pool, read_it("2*s0 - s1"), by), read_it("s1 + 2"));
  int64_t values[16] = {0}, v;
  assert_false(cg_x_eval(read_it("n//s0"), values, &v));
  values[0] = INT64_MAX;
  assert_false(cg_x_eval(read_it("2*s0"), values, &v));
}

// ---------------------------------------------------------------- random expressions

typedef struct tree tree;
struct tree {
  int op; // -1: number, -2: symbol, else cg_expr_kind
  int64_t v;
  tree *a[3];
};

static uint64_t seed = 88172645463325252u;
static int64_t random_below(int64_t n) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (int64_t)((seed >> 11) % (uint64_t)n);
}

static tree *grow(int depth) {
  static const int ops[] = {CG_X_ADD, CG_X_MUL, CG_X_FLOORDIV, CG_X_MOD, CG_X_ADD, CG_X_MUL, CG_X_FLOORDIV, CG_X_MOD, CG_X_MAX, CG_X_MIN,
                            CG_X_EQ, CG_X_NE, CG_X_LT, CG_X_LE, CG_X_AND, CG_X_OR, CG_X_NOT, CG_X_WHERE, CG_X_SCALE};
  static const double factors[] = {0.7, 1 / 3., 1.7, -0.1, 1e-3, 1.5, 0, 1e30};
  tree *t = CG_NEW(&session, tree);
  if (!depth || !random_below(4)) {
    t->op = -1 - (int)random_below(2);
    t->v = t->op == -1 ? random_below(13) - 4 : random_below(SYMBOLS);
    return t;
  }
  t->op = ops[random_below(sizeof ops / sizeof *ops)];
  for (int i = 0; i < (t->op == CG_X_NOT ? 1 : t->op == CG_X_WHERE ? 3 : 2); i++) t->a[i] = grow(depth - 1);
  if (t->op == CG_X_SCALE) {
    t->a[1]->op = -1;
    memcpy(&t->a[1]->v, &factors[random_below(8)], 8);
  }
  return t;
}

// Plain evaluation; false where it divides by 0.
static bool value_of(const tree *t, const int64_t *values, int64_t *out) {
  int64_t x, y = 0;
  if (t->op < 0) return *out = t->op == -1 ? t->v : values[t->v], true;
  if (!value_of(t->a[0], values, &x)) return false;
  if (t->op == CG_X_WHERE) return value_of(t->a[x ? 1 : 2], values, out);
  if (t->op == CG_X_SCALE) {
    double c;
    memcpy(&c, &t->a[1]->v, 8);
    c = floor((double)x * c);
    return *out = (int64_t)c, fabs(c) < 1e15;
  }
  if (t->op != CG_X_NOT && !value_of(t->a[1], values, &y)) return false;
  int64_t q = 0;
  if (t->op == CG_X_FLOORDIV || t->op == CG_X_MOD) {
    if (!y) return false;
    q = x / y - (x % y != 0 && (x < 0) != (y < 0));
  }
  switch (t->op) {
  case CG_X_ADD: *out = x + y; break;
  case CG_X_MUL: *out = x * y; break;
  case CG_X_FLOORDIV: *out = q; break;
  case CG_X_MOD: *out = x - q * y; break;
  case CG_X_MAX: *out = x > y ? x : y; break;
  case CG_X_MIN: *out = x < y ? x : y; break;
  case CG_X_EQ: *out = x == y; break;
  case CG_X_NE: *out = x != y; break;
  case CG_X_LT: *out = x < y; break;
  case CG_X_LE: *out = x <= y; break;
  case CG_X_AND: *out = x && y; break;
  case CG_X_OR: *out = x || y; break;
  default: *out = !x;
  }
  return true;
}

static const cg_expr *build(const tree *t) {
  if (t->op == -1) return cg_x_int(&pool, t->v);
  if (t->op == -2) return cg_x_sym(&pool, pool.symbols.entries[t->v].key);
  const cg_expr *arg[3];
  int n = 0;
  for (; n < 3 && t->a[n]; n++) arg[n] = build(t->a[n]);
  return cg_x_op(&pool, (cg_expr_kind)t->op, n, arg);
}

static void check_random(void **state) {
  (void)state;
  for (int k = 0; k < 20000; k++) {
    tree *t = grow(1 + (int)random_below(4));
    const cg_expr *e = build(t);
    assert_ptr_equal(read_it(text_of(e)), e);
    int64_t lo, hi;
    cg_x_range(e, &lo, &hi);
    for (int i = 0; i < 20; i++) {
      int64_t values[SYMBOLS + 8] = {0}, want, got;
      for (int y = 0; y < SYMBOLS; y++) values[y] = low[y] + random_below(high[y] - low[y] + 1);
      if (!value_of(t, values, &want)) continue;
      if (!cg_x_eval(e, values, &got) || got != want || want < lo || want > hi)
        fail_msg("%s at %d %d %d %d is %lld, not %lld, range %lld..%lld", text_of(e), (int)values[0], (int)values[1], (int)values[2],
                 (int)values[3], (long long)want, (long long)got, (long long)lo, (long long)hi);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(check_canonical, set_up, tear_down), cmocka_unit_test_setup_teardown(check_unread, set_up, tear_down),
      cmocka_unit_test_setup_teardown(check_overflow, set_up, tear_down),  cmocka_unit_test_setup_teardown(check_ranges, set_up, tear_down),
      cmocka_unit_test_setup_teardown(check_looking, set_up, tear_down),   cmocka_unit_test_setup_teardown(check_random, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
