// src/base: sessions and errors, memory that runs out, texts, maps, bytes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/bytes_writer.h"
#include "base/map.h"
#include "base/session.h"
#include "base/str.h"
#include "base/vec.h"

// ---------------------------------------------------------------- sessions

static void fail_here(cg_session *s, void *u) {
  (void)u;
  cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){"m.cir", 3, 14}, "what is %s?", "this");
}

static void fail_outside(cg_session *s, void *u) {
  assert_int_equal(cg_try(s, fail_here, u), CIERGE_BAD_MODEL);
  cg_fail(s, CIERGE_MISSING, "wrapped: %s", s->message); // the message is its own argument
}

static void succeed(cg_session *s, void *u) { *(int *)u = cg_try(s, fail_here, NULL); }

static void long_message(cg_session *s, void *u) { cg_fail(s, CIERGE_IO, "%s", (char *)u); }

static void test_errors(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  assert_int_equal(cg_try(&s, fail_here, NULL), CIERGE_BAD_MODEL);
  assert_string_equal(s.message, "m.cir:3:14: what is this?");
  assert_int_equal(cg_try(&s, fail_outside, NULL), CIERGE_MISSING);
  assert_string_equal(s.message, "wrapped: m.cir:3:14: what is this?");
  int inner = -1;
  assert_int_equal(cg_try(&s, succeed, &inner), CIERGE_OK);
  assert_int_equal(inner, CIERGE_BAD_MODEL);
  assert_null(s.catcher);
  char *text = malloc(10000);
  memset(text, 'x', 9999);
  text[9999] = 0;
  assert_int_equal(cg_try(&s, long_message, text), CIERGE_IO);
  assert_int_equal(strlen(s.message), sizeof s.message - 1);
  free(text);
  cg_session_end(&s);
}

static char order[8];
static void note(void *p) { strcat(order, p); }

static void test_cleanups_run_backwards(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  order[0] = 0;
  cg_defer(&s, note, "a");
  cg_defer(&s, note, "b");
  cg_defer(&s, note, "c");
  cg_session_end(&s);
  assert_string_equal(order, "cba");
}

static void test_arena(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  for (size_t size = 0; size < 200000; size = size * 2 + 1) {
    unsigned char *p = cg_alloc(&s, size);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < size; i++) assert_int_equal(p[i], 0);
    memset(p, 0xff, size);
  }
  assert_string_equal(cg_format(&s, "%d-%s", 7, "x"), "7-x");
  assert_string_equal(cg_strndup(&s, "abcdef", 3), "abc");
  CG_VEC(int) v = {0};
  for (int i = 0; i < 1000; i++) CG_PUSH(&s, &v, i);
  for (int i = 0; i < 1000; i++) assert_int_equal(v.at[i], i);
  cg_session_end(&s);
}

static void too_much(cg_session *s, void *u) { cg_alloc_array(s, SIZE_MAX / 4, (size_t)(uintptr_t)u); }
static void all_of_it(cg_session *s, void *u) {
  (void)u;
  cg_alloc(s, SIZE_MAX);
}

static void deferred(cg_session *s, void *u) {
  (void)u;
  cg_heap_fail_at(1, 1);
  for (int i = 0; i < 100000; i++) cg_defer(s, note, "");
}

static void test_memory_runs_out(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  assert_int_equal(cg_try(&s, too_much, (void *)8), CIERGE_NO_MEMORY);
  assert_int_equal(cg_try(&s, all_of_it, NULL), CIERGE_NO_MEMORY);
  order[0] = 0;
  assert_int_equal(cg_try(&s, deferred, NULL), CIERGE_NO_MEMORY);
  assert_int_equal(cg_heap_count(), 1); // the throw allocates nothing
  cg_heap_fail_at(0, 0);
  cg_session_end(&s);
}

static void test_failing_heap(void **state) {
  (void)state;
  cg_heap_fail_at(2, 0);
  void *a = cg_heap_alloc(8), *b = cg_heap_zalloc(1, 8), *c = cg_heap_aligned(64, 100);
  assert_non_null(a);
  assert_null(b);
  assert_non_null(c);
  assert_int_equal((uintptr_t)c % 64, 0);
  assert_int_equal(cg_heap_count(), 3);
  cg_heap_fail_at(1, 1);
  assert_null(cg_heap_realloc(a, 100)); // a stays
  assert_null(cg_heap_alloc(1));
  cg_heap_fail_at(0, 0);
  assert_non_null(a = cg_heap_realloc(a, 100));
  assert_int_equal(cg_heap_count(), 1);
  cg_heap_free(a);
  cg_heap_free(c);
  cg_heap_free(NULL);
}

// ---------------------------------------------------------------- texts and maps

static void check_double(cg_session *s, double v, const char *expected) {
  cg_str b = cg_str_new(s);
  cg_str_add_double(&b, v);
  assert_string_equal(cg_str_text(&b), expected);
}

static void test_doubles(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  setlocale(LC_ALL, "de_DE.UTF-8"); // where it is installed: the point must stay a point
  check_double(&s, 1, "1.0");
  check_double(&s, -0.0, "-0.0");
  check_double(&s, 0.1, "0.1");
  check_double(&s, 1e-5, "1e-05");
  check_double(&s, 1e22, "1e+22");
  check_double(&s, 1.0 / 3, "0.3333333333333333");
  check_double(&s, 5e-324, "5e-324");
  check_double(&s, INFINITY, "inf");
  check_double(&s, -INFINITY, "-inf");
  check_double(&s, NAN, "nan");
  uint64_t x = 88172645463325252u;
  for (int i = 0; i < 2000; i++) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    double v;
    memcpy(&v, &x, 8);
    if (!isfinite(v)) continue;
    cg_str b = cg_str_new(&s);
    cg_str_add_double(&b, v);
    char *end;
    double w = cg_strtod(cg_str_text(&b), &end);
    assert_int_equal(*end, 0);
    assert_memory_equal(&v, &w, 8);
  }
  setlocale(LC_ALL, "C");
  cg_session_end(&s);
}

static void test_quoted(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  cg_str b = cg_str_new(&s);
  assert_string_equal(cg_str_text(&b), "");
  const char text[] = "a\"\\\n\t\r\0\x7f\xc3\xa9\xc3.\xed\xa0\x80";
  cg_str_add_quoted(&b, text, sizeof text - 1);
  assert_string_equal(cg_str_text(&b), "\"a\\\"\\\\\\n\\t\\r\\x00\\x7f\xc3\xa9\\xc3.\\xed\\xa0\\x80\"");
  cg_str c = cg_str_new(&s);
  for (int i = 0; i < 1000; i++) cg_str_addf(&c, "%03d", i);
  assert_int_equal(c.n, 3000);
  assert_memory_equal(c.at + 2997, "999", 4);
  cg_session_end(&s);
}

static void test_map(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  cg_map m = {0};
  assert_null(cg_map_get(&m, "x"));
  char key[16];
  for (int i = 0; i < 5000; i++) {
    snprintf(key, sizeof key, "k%d", i);
    assert_true(cg_map_set(&s, &m, key, (void *)(uintptr_t)(i + 1)));
  }
  assert_false(cg_map_set(&s, &m, "k7", NULL));
  assert_true(cg_map_has(&m, "k7"));
  assert_null(cg_map_get(&m, "k7"));
  assert_false(cg_map_has(&m, "k5000"));
  for (int i = 8; i < 5000; i++) {
    snprintf(key, sizeof key, "k%d", i);
    assert_int_equal((uintptr_t)cg_map_get(&m, key), i + 1);
    assert_string_equal(m.entries[i].key, key);
  }
  assert_int_equal(m.n, 5000);
  cg_session_end(&s);
}

static void test_bytes(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  cg_str b = cg_str_new(&s);
  cg_write_u8(&b, 200);
  cg_write_i64(&b, -5);
  cg_write_text(&b, "name");
  cg_write_f64(&b, 0.25);
  cg_reader r = {(const uint8_t *)b.at, (const uint8_t *)b.at + b.n, false};
  assert_int_equal(cg_read_u8(&r), 200);
  assert_int_equal(cg_read_i64(&r), -5);
  assert_string_equal(cg_read_text(&r, NULL), "name");
  assert_true(cg_read_f64(&r) == 0.25);
  assert_false(r.bad);
  assert_int_equal(cg_read_u32(&r), 0);
  assert_true(r.bad);
  cg_session_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_errors), cmocka_unit_test(test_cleanups_run_backwards), cmocka_unit_test(test_arena),
      cmocka_unit_test(test_memory_runs_out), cmocka_unit_test(test_failing_heap), cmocka_unit_test(test_doubles),
      cmocka_unit_test(test_quoted), cmocka_unit_test(test_map), cmocka_unit_test(test_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
