// The functions of generated code: several tables (prelude.def, rows.def, helpers.def) share one namespace.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// After these
#include <cmocka.h>

#include "backend/c/prelude.h"
#include "backend/c/print.h"
#include "ops/op.h"

static cg_session session, *const s = &session;
static int open_session(void **state) { return (void)state, cg_session_init(s), 0; }
static int close_session(void **state) { return (void)state, cg_session_end(s), 0; }

static void test_one_name_one_function(void **state) {
  (void)state;
  cg_map seen = {0};
  for (int i = 0; cg_prelude_name(s, i); i++) {
    const char *name = cg_prelude_name(s, i);
    if (!cg_map_set(s, &seen, name, NULL)) fail_msg("two functions are called %s", name);
    assert_true(!strncmp(name, "cg_", 3)); // clear of the C library's and of a kernel's own names
  }
  static const char *const one_of_each[] = {"cg_from_f16", "cg_expf", "cg_sort_p", "cg_roundto", "cg_gcd_i8", "cg_abs_u8"};
  for (int i = 0; i < 6; i++) assert_true(cg_map_has(&seen, one_of_each[i]));
}

// `name$` in a body means a function of the type computed in, whatever else some table calls so.
static void test_types(void **state) {
  (void)state;
  assert_true(cg_prelude_computes("cg_expf", "float") && cg_prelude_computes("cg_erfinv", "double"));
  assert_true(cg_prelude_computes("cg_gcd_i8", "int8_t") && cg_prelude_computes("cg_truncdiv_u8", "uint8_t"));
  assert_false(cg_prelude_computes("cg_expf", "double") || cg_prelude_computes("cg_truncdiv_u8", "int8_t"));
  assert_false(cg_prelude_computes("cg_levels", "double") || cg_prelude_computes("cg_levels", "int"));  // int from int64_t
  assert_false(cg_prelude_computes("cg_order", "float") || cg_prelude_computes("cg_order", "int32_t")); // int32_t from float
  assert_null(cg_print_function(s, "levels", CG_F64));
  assert_string_equal(cg_print_function(s, "log2", CG_F64), "cg_log2");
  assert_string_equal(cg_print_function(s, "remainder", CG_F64), "cg_remainder");
}

// What a body calls is there in each floating dtype, or in none of them: a row that is native in float32 is so in float64.
static void test_bodies(void **state) {
  (void)state;
  int calls = 0;
  for (size_t i = 0; i < cg_op_count(); i++) {
    const char *text = cg_op_at(i)->body_float;
    for (const char *end = text; end && (end = strchr(end, '$')); end++) {
      const char *p = end;
      while (p > text && strchr("abcdefghijklmnopqrstuvwxyz0123456789_.", p[-1])) p--;
      if (strchr("0123456789.", *p)) continue;
      const char *name = cg_strndup(s, p, (size_t)(end - p));
      if (!cg_print_function(s, name, CG_F32) || !cg_print_function(s, name, CG_F64)) fail_msg("%s: no %s", cg_op_at(i)->key, name);
      calls++;
    }
  }
  assert_true(calls > 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_name_one_function), cmocka_unit_test(test_types), cmocka_unit_test(test_bodies)};
  return cmocka_run_group_tests(tests, open_session, close_session);
}
