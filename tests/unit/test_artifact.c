// src/artifact: a plan survives being written and read; a damaged file is refused, whatever the damage; scalar operators.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "plan_builder.h"
#define XXH_INLINE_ALL
#include "xxhash/xxhash.h"

// Under the sanitizer as without it: memory that cannot be had is NULL.
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static char folder[256], path[300];

static int set_up(void **u) {
  (void)u;
  snprintf(folder, sizeof folder, "%s/cierge-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/a.cierge", folder);
  return 0;
}

static int tear_down(void **u) {
  (void)u;
  char command[400];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

// x: f32[s0, 4], a constant, a state; two steps, no kernels.
static void small_plan(builder *b) {
  uint32_t s0 = b_symbol(b, "s0", 1, 64), four = b_num(b, 4), dim[2] = {b_sym(b, s0), four};
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 2, dim));
  uint32_t y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 2, dim);
  float w[4] = {1, 2, 3, 4};
  uint32_t c = b_constant(b, "w", CG_F32, CG_ST_CONST, 1, &four, w, sizeof w), st = b_state(b, "s", CG_F32, 1, &four, w, sizeof w);
  uint32_t flag = b_value(b, (cg_plan_value){.kind = CG_V_BOOL, .dtype = CG_BOOL, .offset_expr = -1, .expr = (int32_t)b_num(b, 1)});
  cg_plan_step *s = b_step(b, CG_STEP_COPY, B_LIST(x), B_LIST(y));
  s->site = b_site(b, "aten::clone", "clone", "model.py", 3);
  b_step(b, CG_STEP_ASSERT, B_LIST(flag), 0, (uint32_t[1]){0})->text = "never";
  b_result(b, y);
  b_result(b, c);
  b_result(b, b_int_expr(b, b_times(b, 2, s0)));
  b_update(b, st, c);
}

// Branches, calls, parts, sizes that a step reveals; no kernels either.
static void rich_plan(builder *b) {
  uint32_t s0 = b_symbol(b, "s0", 1, 64), four = b_num(b, 4), dim[2] = {b_sym(b, s0), four}, n = b_times(b, 4, s0);
  uint32_t x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 2, dim)), flat = b_alias(b, x, CG_F32, 1, &n, -1);
  uint32_t first = b_alias(b, x, CG_F32, 0, NULL, (int32_t)b_num(b, 4)), u0 = b_scalar(b, CG_V_INT, "u0"), late = b_sym(b, u0);
  uint32_t part = b_alias(b, x, CG_F32, 1, &late, -1), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &late), z = b_tensor(b, "z", CG_F32, CG_ST_ARENA, 1, &n);
  uint32_t bits = b_tensor(b, "bits", CG_I32, CG_ST_ARENA, 0, NULL), more = b_scalar(b, CG_V_INT, "more"), w = b_tensor(b, "w", CG_F32, CG_ST_ARENA, 1, &n);
  b_step(b, CG_STEP_ITEM, B_LIST(first), B_LIST(u0));
  b_step(b, CG_STEP_COPY, B_LIST(part), B_LIST(y));
  b_step(b, CG_STEP_SCALAR, B_LIST(u0, s0), B_LIST(more))->kernel = CG_SCALAR_ADD;
  b_step(b, CG_STEP_FILL, B_LIST(more), B_LIST(bits));
  b_step(b, CG_STEP_IF, B_LIST(more, flat, s0), B_LIST(z));
  b_step(b, CG_STEP_CALL, B_LIST(z, s0), B_LIST(w));
  b_result(b, y);
  b_result(b, z);
  b_result(b, w);
  b_result(b, bits);
  cg_plan_fn *main_fn = b->fn;
  for (uint32_t k = 0; k < 2; k++) {
    main_fn->step[4].fn[k] = main_fn->step[5].fn[0] = b_fn(b, k ? "no" : "yes");
    uint32_t s = b_scalar(b, CG_V_INT, "s0"), d = b_times(b, 4, s), p = b_param(b, b_tensor(b, "p", CG_F32, CG_ST_PARAM, 1, &d)), q = b_tensor(b, "q", CG_F32, CG_ST_ARENA, 1, &d);
    b_param(b, s);
    b_step(b, CG_STEP_COPY, B_LIST(p), B_LIST(q));
    b_result(b, k ? p : q);
  }
}

static void write_rich(cg_session *s, void *u) {
  (void)u;
  builder b;
  b_begin(&b, s);
  rich_plan(&b);
  b_write(&b, path, folder);
}

static void write_small(cg_session *s, void *u) {
  (void)u;
  builder b;
  b_begin(&b, s);
  small_plan(&b);
  b_write(&b, path, folder);
}

typedef struct {
  uint8_t *at;
  size_t n;
} bytes;

static bytes load(const char *p) {
  struct stat st;
  assert_int_equal(stat(p, &st), 0);
  bytes b = {malloc((size_t)st.st_size + 1), (size_t)st.st_size};
  FILE *f = fopen(p, "rb");
  assert_int_equal(fread(b.at, 1, b.n, f), b.n);
  fclose(f);
  return b;
}

static void save(const char *p, const void *at, size_t n) {
  FILE *f = fopen(p, "wb");
  assert_int_equal(fwrite(at, 1, n, f), n);
  fclose(f);
}

static bytes written(void (*write)(cg_session *, void *)) {
  cg_session s;
  cg_session_init(&s);
  cierge_code code = cg_try(&s, write, NULL);
  if (code) fail_msg("%s", s.message);
  cg_session_end(&s);
  return load(path);
}

static bytes small(void) { return written(write_small); }

// ---------------------------------------------------------------- damage

static void every_bit_is_guarded(void **u) {
  (void)u;
  bytes b = small();
  cg_artifact a;
  cg_failure f;
  if (!cg_artifact_open(&a, path, true, &f)) fail_msg("%s", f.text);
  cg_artifact_close(&a);
  char damaged[320];
  snprintf(damaged, sizeof damaged, "%s/damaged", folder);
  save(damaged, b.at, b.n);
  FILE *file = fopen(damaged, "r+b");
  setbuf(file, NULL);
  for (size_t i = 0; i < b.n; i++)
    for (int bit = 0; bit < 8; bit++) {
      uint8_t c = b.at[i] ^ (uint8_t)(1 << bit);
      fseek(file, (long)i, SEEK_SET);
      fwrite(&c, 1, 1, file);
      if (cg_artifact_open(&a, damaged, true, &f)) fail_msg("bit %d of byte %zu of %zu was not missed", bit, i, b.n);
      assert_int_equal(f.code, CIERGE_BAD_ARTIFACT);
      assert_non_null(strstr(f.text, "offset"));
      fseek(file, (long)i, SEEK_SET);
      fwrite(&b.at[i], 1, 1, file);
    }
  fclose(file);
  free(b.at);
}

static void every_truncation_is_refused(void **u) {
  (void)u;
  bytes b = small();
  char damaged[320];
  snprintf(damaged, sizeof damaged, "%s/damaged", folder);
  save(damaged, b.at, b.n);
  cg_artifact a;
  cg_failure f;
  for (size_t n = b.n; n-- > 0;) {
    assert_int_equal(truncate(damaged, (off_t)n), 0);
    assert_false(cg_artifact_open(&a, damaged, true, &f));
    assert_int_equal(f.code, CIERGE_BAD_ARTIFACT);
  }
  b.at[b.n] = 0;
  save(damaged, b.at, b.n + 1);
  assert_false(cg_artifact_open(&a, damaged, true, &f));
  free(b.at);
}

static void weights_may_wait(void **u) {
  (void)u;
  bytes b = small();
  b.at[b.n - 1] ^= 1; // the last byte of the weights
  save(path, b.at, b.n);
  cg_artifact a;
  cg_failure f;
  assert_true(cg_artifact_open(&a, path, false, &f));
  cg_artifact_close(&a);
  assert_false(cg_artifact_open(&a, path, true, &f));
  assert_non_null(strstr(f.text, "section weights"));
  cierge_program *p;
  cierge_status *st = cierge_verify(path);
  assert_int_equal(cierge_status_code(st), CIERGE_BAD_ARTIFACT);
  cierge_status_free(st);
  assert_null(cierge_load(path, &(cierge_load_options){.size = sizeof(cierge_load_options), .lazy = 1}, &p));
  cierge_program_free(p);
  free(b.at);
}

static void another_version_says_so(void **u) {
  (void)u;
  bytes b = small();
  b.at[8] = CG_FORMAT_VERSION + 1;
  save(path, b.at, b.n);
  cg_artifact a;
  cg_failure f;
  assert_false(cg_artifact_open(&a, path, true, &f));
  assert_non_null(strstr(f.text, "made by a newer cierge"));
  char reads[32];
  snprintf(reads, sizeof reads, "reads version %u", CG_FORMAT_VERSION);
  assert_non_null(strstr(f.text, reads));
  free(b.at);
  assert_false(cg_artifact_open(&a, "/nowhere/a.cierge", true, &f));
  assert_int_equal(f.code, CIERGE_IO);
  assert_false(cg_artifact_open(&a, folder, true, &f));
}

// ---------------------------------------------------------------- plans

static void a_plan_comes_back(cg_session *s, void *u) {
  (void)u;
  builder b;
  b_begin(&b, s);
  small_plan(&b);
  cg_str one = cg_str_new(s), two = cg_str_new(s);
  cg_plan_write(&one, &b.plan);
  cg_failure f;
  cg_plan *p = cg_plan_read((const uint8_t *)one.at, one.n, b.weights.n, 0, &f);
  if (!p) fail_msg("%s", f.text);
  cg_plan_write(&two, p);
  assert_int_equal(one.n, two.n);
  assert_memory_equal(one.at, two.at, one.n);
  cg_plan_free(p);
  cg_plan_free(NULL);
}

static void round_trip(void **u) {
  (void)u;
  cg_session s;
  cg_session_init(&s);
  if (cg_try(&s, a_plan_comes_back, NULL)) fail_msg("%s", s.message);
  cg_session_end(&s);
}

// Behind the hashes: bytes of the plan changed, the hashes made anew. Whatever is read must be usable or refused.
static void rehash(bytes *b) {
  cg_format_header *h = (cg_format_header *)b->at;
  cg_format_section *t = (cg_format_section *)(b->at + sizeof *h);
  for (uint32_t i = 0; i < h->n_sections; i++) t[i].hash = XXH3_64bits(b->at + t[i].offset, t[i].size);
  h->hash = 0;
  h->hash = XXH3_64bits(b->at, sizeof *h + h->n_sections * sizeof *t);
}

static bool try_to_run(const char *p) {
  cierge_program *program;
  cierge_status *st = cierge_load(p, NULL, &program);
  bool loaded = !st, ran = false;
  if (loaded) {
    cierge_context *c;
    st = cierge_context_new(program, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = 1}, &c);
    if (!st) {
      float x[3][4] = {{0, 3}};
      int64_t shape[2] = {3, 4};
      st = cierge_input_set(c, 0, &(DLTensor){.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = shape}, 0);
      if (!st) st = cierge_run(c);
      ran = !st;
      cierge_context_free(c);
    }
    cierge_program_free(program);
  }
  cierge_status_free(st);
  return ran;
}

static void change_every_byte(bytes b) {
  static const uint8_t values[] = {0, 1, 2, 3, 5, 8, 64, 127, 128, 255};
  const cg_format_section *plan = (const cg_format_section *)(b.at + sizeof(cg_format_header));
  assert_string_equal(plan->kind, "plan");
  assert_true(try_to_run(path));
  for (size_t i = plan->offset; i < plan->offset + plan->size; i++) {
    uint8_t was = b.at[i];
    for (size_t k = 0; k < sizeof values; k++) {
      b.at[i] = values[k];
      rehash(&b);
      save(path, b.at, b.n);
      try_to_run(path);
    }
    b.at[i] = was;
  }
  free(b.at);
}

static void changed_plans_do_no_harm(void **u) {
  (void)u;
  change_every_byte(small());
  change_every_byte(written(write_rich));
}

static void reading_without_memory(void **u) {
  (void)u;
  bytes b = small();
  for (long n = 1;; n++) {
    cierge_program *p;
    cg_heap_fail_at(n, n % 2);
    cierge_status *st = cierge_load(path, NULL, &p);
    bool reached = cg_heap_count() >= n;
    cg_heap_fail_at(0, 0);
    if (!st) cierge_program_free(p);
    else assert_int_equal(cierge_status_code(st), CIERGE_NO_MEMORY);
    cierge_status_free(st);
    if (!reached) break;
  }
  free(b.at);
}

// ---------------------------------------------------------------- scalars

static cg_scalar I(int64_t i) { return (cg_scalar){.kind = CG_SC_INT, .i = i}; }
static cg_scalar F(double f) { return (cg_scalar){.kind = CG_SC_FLOAT, .f = f}; }
static cg_scalar B(bool b) { return (cg_scalar){.kind = CG_SC_BOOL, .i = b}; }

static void gives(const char *key, cg_scalar a, cg_scalar b, cg_scalar want) {
  cg_scalar arg[3] = {a, b}, out;
  int op = cg_scalar_find(key);
  assert_true(op >= 0);
  const char *why = cg_scalar_eval((cg_scalar_op)op, arg, &out);
  if (why) fail_msg("%s: %s", key, why);
  if (out.kind != want.kind) fail_msg("%s gives another kind", key);
  if (out.kind == CG_SC_FLOAT ? out.f != want.f || signbit(out.f) != signbit(want.f) : out.i != want.i) fail_msg("%s gives %lld, %g", key, (long long)out.i, out.f);
}

static void raises(const char *key, cg_scalar a, cg_scalar b) {
  cg_scalar arg[3] = {a, b}, out;
  assert_non_null(cg_scalar_eval((cg_scalar_op)cg_scalar_find(key), arg, &out));
}

static void scalars_are_pythons(void **u) {
  (void)u;
  assert_int_equal(cg_scalar_find("_operator.xor"), -1);
  gives("_operator.add", I(2), B(true), I(3));
  gives("_operator.add", B(true), B(true), I(2));
  gives("_operator.add", I(2), F(0.5), F(2.5));
  gives("_operator.floordiv", I(-7), I(2), I(-4));
  gives("_operator.mod", I(-7), I(2), I(1));
  gives("_operator.mod", I(7), I(-2), I(-1));
  gives("_operator.floordiv", F(-7), I(2), F(-4));
  gives("_operator.mod", F(-7.5), F(2), F(0.5));
  gives("_operator.mod", F(-0.0), F(2), F(0.0));
  gives("_operator.truediv", I(7), I(2), F(3.5));
  gives("_operator.pow", I(3), I(4), I(81));
  gives("_operator.pow", I(2), I(-2), F(0.25));
  gives("_operator.and_", B(true), B(false), B(false));
  gives("_operator.and_", I(6), I(3), I(2));
  gives("_operator.lshift", I(1), I(62), I(1LL << 62));
  gives("_operator.rshift", I(-1), I(100), I(-1));
  gives("_operator.lt", I(INT64_MAX), F(0x1p63), B(true));
  gives("_operator.eq", F(NAN), F(NAN), B(false));
  gives("math.trunc", F(-2.5), I(0), I(-2));
  gives("builtins.round", F(2.5), I(0), I(2));
  gives("math.ceil", F(2.1), I(0), I(3));
  gives("torch.sym_max", I(3), F(2), F(3));
  gives("torch.sym_min", I(3), I(2), I(2));
  gives("torch.sym_not", I(0), I(0), B(true));
  gives("_operator.neg", B(true), I(0), I(-1));
  raises("_operator.add", I(INT64_MAX), I(1));
  raises("_operator.floordiv", I(1), I(0));
  raises("_operator.floordiv", I(INT64_MIN), I(-1));
  gives("_operator.mod", I(INT64_MIN), I(-1), I(0));
  raises("_operator.truediv", F(1), F(0));
  raises("_operator.lshift", I(1), I(63));
  raises("_operator.neg", I(INT64_MIN), I(0));
  raises("math.floor", F(INFINITY), I(0));
  raises("torch._sym_sqrt", F(-1), I(0));
  raises("_operator.pow", I(10), I(19));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_bit_is_guarded), cmocka_unit_test(every_truncation_is_refused), cmocka_unit_test(weights_may_wait),
      cmocka_unit_test(another_version_says_so), cmocka_unit_test(round_trip), cmocka_unit_test(changed_plans_do_no_harm),
      cmocka_unit_test(reading_without_memory), cmocka_unit_test(scalars_are_pythons),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
