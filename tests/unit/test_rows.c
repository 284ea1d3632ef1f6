// The functions of backend/c/rows.def, compiled as C: sorted orders, selections and keys against the plainest ways to get them.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PRELUDE(name, ...) __VA_ARGS__
PRELUDE(cg_bits, static inline uint32_t cg_bits(float x) { uint32_t u; __builtin_memcpy(&u, &x, 4); return u; })
#include "backend/c/rows.def"

static uint64_t state = 1;
static uint64_t next(void) { return state = state * 6364136223846793005u + 1442695040888963407u, state >> 33; }

static int by_key(const void *a, const void *b) {
  const cg_place *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->at < y->at ? -1 : x->at > y->at;
}

// Sizes around every limit of the algorithms; keys with and without ties, rising, falling, all the same.
static const int64_t sizes[] = {0, 1, 2, 3, 4, 5, 15, 16, 17, 18, 31, 32, 33, 100, 1023, 1024, 1025, 2500, 5000};
enum { SIZES = sizeof sizes / sizeof *sizes, KINDS = 5 };

static uint32_t key(int kind, int64_t i, int64_t n) {
  switch (kind) {
  case 0: return (uint32_t)next();
  case 1: return (uint32_t)next() % 7;
  case 2: return (uint32_t)i;
  case 3: return (uint32_t)(n - i);
  default: return 42;
  }
}

// The same elements in both forms, and sorted.
typedef struct {
  int64_t n;
  uint64_t *p, *p2;
  cg_place *w, *w2, *sorted;
} row;

static row make(int kind, int64_t n) {
  size_t size = (size_t)(n ? n : 1);
  row r = {n, malloc(size * 8), malloc(size * 8), malloc(size * 16), malloc(size * 16), malloc(size * 16)};
  for (int64_t i = 0; i < n; i++) {
    uint32_t k = key(kind, i, n);
    r.p[i] = cg_pack_p(k, i);
    r.w[i] = r.sorted[i] = cg_pack_w((uint64_t)k << 20, i);
  }
  qsort(r.sorted, (size_t)n, sizeof *r.sorted, by_key);
  return r;
}

static void drop(row *r) { free(r->p), free(r->p2), free(r->w), free(r->w2), free(r->sorted); }

static uint64_t key_at(const row *r, int64_t i) { return r->sorted[i].key >> 20; }

// Both forms took the same steps, the keys from..to are in order, and no element was lost.
static void check(const row *r, int64_t from, int64_t to) {
  int64_t sum = 0;
  for (int64_t i = 0; i < r->n; i++) {
    assert_int_equal(cg_at_p(r->p[i]), cg_at_w(r->w[i]));
    assert_int_equal(r->p[i] >> 32, r->w[i].key >> 20);
    if (i >= from && i < to) assert_int_equal(r->p[i] >> 32, key_at(r, i));
    sum += cg_at_p(r->p[i]);
  }
  assert_int_equal(sum, r->n * (r->n - 1) / 2);
}

static void test_sorts(void **s) {
  (void)s;
  for (int i = 0; i < SIZES; i++)
    for (int kind = 0; kind < KINDS; kind++) {
      row r = make(kind, sizes[i]);
      cg_sort_p(r.p, r.n), cg_sort_w(r.w, r.n);
      check(&r, 0, r.n);
      drop(&r);
      r = make(kind, sizes[i]);
      cg_stable_p(r.p, r.p2, r.n), cg_stable_w(r.w, r.w2, r.n);
      check(&r, 0, r.n);
      for (int64_t k = 0; k < r.n; k++) assert_int_equal(cg_at_p(r.p[k]), r.sorted[k].at);
      drop(&r);
    }
}

static void test_selections(void **s) {
  (void)s;
  for (int i = 1; i < SIZES; i++)
    for (int kind = 0; kind < KINDS; kind++)
      for (int t = 0; t < 4; t++) {
        int64_t n = sizes[i], k = t == 0 ? 0 : t == 1 ? n - 1 : (int64_t)next() % n;
        row r = make(kind, n);
        cg_nth_p(r.p, k, n), cg_nth_w(r.w, k, n);
        check(&r, k, k + 1);
        for (int64_t j = 0; j < k; j++) assert_false(cg_below_p(r.p[k], r.p[j]));
        drop(&r);
        r = make(kind, n);
        cg_kth_p(r.p, k, n), cg_kth_w(r.w, k, n);
        check(&r, k, k + 1);
        drop(&r);
        r = make(kind, n);
        cg_partial_p(r.p, k + 1, n), cg_partial_w(r.w, k + 1, n);
        check(&r, 0, k + 1);
        drop(&r);
      }
}

static void test_keys(void **s) {
  static const double order[] = {-INFINITY, -1e300, -2, -1.5, -1e-310, 0, 1e-310, 1, 1.25, 1e300, INFINITY};
  (void)s;
  for (size_t i = 0; i + 1 < sizeof order / sizeof *order; i++) {
    assert_true(cg_key_f64(order[i]) < cg_key_f64(order[i + 1]));
    assert_true(cg_key_f32((float)order[i]) <= cg_key_f32((float)order[i + 1]));
  }
  assert_true(cg_key_f32(-0.0f) == cg_key_f32(0.0f) && cg_key_f64(-0.0) == cg_key_f64(0.0));
  assert_true(cg_key_f32(-NAN) > cg_key_f32(INFINITY) && cg_key_f64(-(double)NAN) > cg_key_f64(INFINITY));
  assert_true(cg_key_i32(INT32_MIN) < cg_key_i32(-1) && cg_key_i32(-1) < cg_key_i32(0) && cg_key_i32(0) < cg_key_i32(INT32_MAX));
  assert_true(cg_key_i64(INT64_MIN) < cg_key_i64(-1) && cg_key_i64(-1) < cg_key_i64(0) && cg_key_i64(0) < cg_key_i64(INT64_MAX));
}

static void test_logaddexp(void **s) {
  (void)s;
  assert_true(fabs(cg_logaddexp_run(1, 2) - log(exp(1) + exp(2))) < 1e-15);
  assert_true(cg_logaddexp_run(3, -INFINITY) == 3 && cg_logaddexp_run(-INFINITY, -INFINITY) == -INFINITY);
  assert_true(cg_logaddexp_runf(INFINITY, INFINITY) == INFINITY && cg_logaddexp_runf(INFINITY, 0) == INFINITY);
  assert_true(isnan(cg_logaddexp_run(NAN, 0)) && isnan(cg_logaddexp_run(0, NAN)) && isnan(cg_logaddexp_run(NAN, -INFINITY)));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sorts), cmocka_unit_test(test_selections), cmocka_unit_test(test_keys), cmocka_unit_test(test_logaddexp)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
