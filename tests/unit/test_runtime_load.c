// src/runtime: loading: plans that a compiler would not write, processors, kernels from a file, texts, misuse of the API.
#include "runtime/cpu.h"
#include "runtime_fixture.h"

static void use_before_def(builder *b) {
  uint32_t n = b_num(b, 4), x = b_tensor(b, "x", CG_F32, CG_ST_ARENA, 1, &n), y = b_tensor(b, "y", CG_F32, CG_ST_ARENA, 1, &n);
  b_step(b, CG_STEP_COPY, B_LIST(x), B_LIST(y));
  b_result(b, y);
}
static void unsolvable(builder *b) {
  uint32_t s0 = b_symbol(b, "s0", 1, 8), d = b_expr(b, 3, (cg_plan_expr_item[]){{CG_X_SYM, s0}, {CG_X_SYM, s0}, {CG_X_MUL, 0}});
  b_result(b, b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &d)));
}
static void recursion(builder *b) {
  b_step(b, CG_STEP_CALL, 0, (uint32_t[1]){0}, 0, (uint32_t[1]){0})->fn[0] = 0;
}
static void deep(builder *b) {
  for (uint32_t i = 0; i < 40; i++) {
    b_step(b, CG_STEP_CALL, 0, (uint32_t[1]){0}, 0, (uint32_t[1]){0})->fn[0] = i + 1;
    b_fn(b, "f");
  }
}
static void outside(builder *b) {
  uint32_t n = b_num(b, 4);
  float w[3] = {0};
  b_result(b, b_constant(b, "w", CG_F32, CG_ST_CONST, 1, &n, w, sizeof w));
}
static void alien_alias(builder *b) {
  uint32_t n = b_num(b, 4), m = b_num(b, 5), x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 1, &n));
  b_result(b, b_alias(b, x, CG_F32, 1, &m, -1));
}

// A scan over x by a body (c, slice) -> (c, c), with one thing wrong.
static void scan_plan(builder *b, uint32_t carried, uint32_t scanned, uint32_t slice_rank, uint8_t result) {
  uint32_t n[2] = {b_num(b, 4), b_num(b, 3)}, x = b_input(b, b_tensor(b, "x", CG_F32, CG_ST_PARAM, 2, n)), c = b_input(b, b_tensor(b, "c", CG_F32, CG_ST_PARAM, 1, n + 1));
  uint32_t last = b_tensor(b, "last", CG_F32, CG_ST_ARENA, 1, n + 1), all = b_tensor(b, "all", result, CG_ST_ARENA, 2, n);
  cg_plan_step *s = b_step(b, CG_STEP_SCAN, B_LIST(c, x), B_LIST(last, all));
  s->n_carried = carried, s->n_scanned = scanned, s->fn[0] = 1;
  b_result(b, all);
  b_fn(b, "body");
  uint32_t m = b_num(b, 3), p = b_param(b, b_tensor(b, "p", CG_F32, CG_ST_PARAM, 1, &m));
  uint32_t d[2] = {m, m};
  b_param(b, b_tensor(b, "q", CG_F32, CG_ST_PARAM, slice_rank, d));
  b_result(b, p);
  b_result(b, p);
}
static void scan_right(builder *b) { scan_plan(b, 1, 1, 1, CG_F32); }
static void scan_of_nothing(builder *b) { scan_plan(b, 1, 0, 1, CG_F32); }
static void scan_of_more(builder *b) { scan_plan(b, 1, UINT32_MAX, 1, CG_F32); }
static void scan_carries_more(builder *b) { scan_plan(b, 3, 1, 1, CG_F32); }
static void scan_of_planes(builder *b) { scan_plan(b, 1, 1, 2, CG_F32); }
static void scan_of_another_type(builder *b) { scan_plan(b, 1, 1, 1, CG_F64); }

static void bad_scans_are_refused(void **u) {
  (void)u;
  cierge_program *p;
  cierge_program_free(program(scan_right));
  refused(cierge_load(artifact(scan_of_nothing), NULL, &p), CIERGE_BAD_ARTIFACT, "goes over 0");
  refused(cierge_load(artifact(scan_of_more), NULL, &p), CIERGE_BAD_ARTIFACT, "goes over 4294967295");
  refused(cierge_load(artifact(scan_carries_more), NULL, &p), CIERGE_BAD_ARTIFACT, "carries 3");
  refused(cierge_load(artifact(scan_of_planes), NULL, &p), CIERGE_BAD_ARTIFACT, "argument 1 of function body");
  refused(cierge_load(artifact(scan_of_another_type), NULL, &p), CIERGE_BAD_ARTIFACT, "result 1 of function body");
}

static void bad_plans_are_refused(void **u) {
  (void)u;
  cierge_program *p;
  refused(cierge_load(artifact(use_before_def), NULL, &p), CIERGE_BAD_ARTIFACT, "used before it is made");
  refused(cierge_load(artifact(unsolvable), NULL, &p), CIERGE_BAD_ARTIFACT, "no input's size says what s0 is");
  refused(cierge_load(artifact(recursion), NULL, &p), CIERGE_BAD_ARTIFACT, "calls function 0");
  refused(cierge_load(artifact(deep), NULL, &p), CIERGE_BAD_ARTIFACT, "32 deep");
  refused(cierge_load(artifact(outside), NULL, &p), CIERGE_BAD_ARTIFACT, "constant w is larger than its 12 bytes");
  p = program(alien_alias);
  cierge_context *c = context(p);
  float x[4];
  int64_t shape[1] = {4};
  DLTensor t = f32(x, 1, shape);
  good(cierge_input_set(c, 0, &t, 0));
  refused(cierge_run(c), CIERGE_INTERNAL, "outside");
  cierge_context_free(c);
  cierge_program_free(p);
}

static void other_processor(builder *b) {
  batch_plan(b);
  b->plan.target = "x86-64-v9";
}
static void other_extra(builder *b) {
  batch_plan(b);
  b->plan.target = "x86-64-v4+bf17";
}
static void lost_kernel(builder *b) {
  batch_plan(b);
  b->plan.kernel[0].symbol = "gone";
}

static void processors_are_checked(void **u) {
  (void)u;
  cierge_program *p;
  refused(cierge_load(artifact(other_processor), NULL, &p), CIERGE_MISSING, "x86-64-v9");
  refused(cierge_load(artifact(other_extra), NULL, &p), CIERGE_MISSING, "the artifact was built for x86-64-v4+bf17; this machine lacks a processor of that kind");
  refused(cierge_load(artifact(lost_kernel), NULL, &p), CIERGE_BAD_ARTIFACT, "gone");
  cg_cpu old = {.word = {~0u, 0, 0, ~0u}, .xcr0 = ~0ull}, all = {.word = {~0u, ~0u, ~0u, ~0u}, .xcr0 = 7}, plain = {.word = {~0u, ~0u, 0, ~0u}, .xcr0 = ~0ull};
  cg_cpu vnni = {.word = {~0u, ~0u, ~0u, ~0u}, .xcr0 = ~0ull}, both = {.word = {~0u, ~0u, ~0u, ~0u, ~0u}, .xcr0 = ~0ull};
  char missing[512];
  assert_false(cg_cpu_lacks(&old, "x86-64-v2", missing, sizeof missing));
  assert_true(cg_cpu_lacks(&old, "x86-64-v3", missing, sizeof missing));
  assert_string_equal(missing, "BMI1, AVX2, BMI2");
  assert_false(cg_cpu_lacks(&all, "x86-64-v3", missing, sizeof missing));
  assert_true(cg_cpu_lacks(&all, "x86-64-v4", missing, sizeof missing));
  assert_non_null(strstr(missing, "AVX-512 registers"));
  assert_false(cg_cpu_lacks(&plain, "x86-64-v4", missing, sizeof missing));
  assert_true(cg_cpu_lacks(&plain, "x86-64-v4+vnni", missing, sizeof missing));
  assert_string_equal(missing, "AVX512VNNI");
  assert_true(cg_cpu_lacks(&plain, "x86-64-v4+vnni+bf16", missing, sizeof missing));
  assert_string_equal(missing, "AVX512VNNI, AVX512BF16");
  assert_true(cg_cpu_lacks(&vnni, "x86-64-v4+vnni+bf16", missing, sizeof missing));
  assert_string_equal(missing, "AVX512BF16");
  assert_false(cg_cpu_lacks(&vnni, "x86-64-v4+vnni", missing, sizeof missing));
  assert_false(cg_cpu_lacks(&both, "x86-64-v4+bf16+vnni", missing, sizeof missing));
  assert_true(cg_cpu_lacks(&both, "x86-64-v4+bf17", missing, sizeof missing));
  assert_string_equal(missing, "a processor of that kind");
  assert_true(cg_cpu_lacks(&both, "x86-64-v3+bf16", missing, sizeof missing));
}

static void processors_are_told_apart(void **u) {
  (void)u;
  cg_cpu both = {.word = {~0u, ~0u, ~0u, ~0u, ~0u}, .xcr0 = ~0ull}, amx = {.word = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u}, .xcr0 = ~0ull}, all = {.word = {~0u, ~0u, ~0u, ~0u, ~0u}, .xcr0 = 7};
  cg_cpu_target t = cg_cpu_best(&both);
  assert_string_equal(t.level, "x86-64-v4");
  assert_int_equal(t.extras, 1 << CG_CPU_VNNI | 1 << CG_CPU_BF16);
  assert_int_equal(cg_cpu_best(&amx).extras, 1 << CG_CPU_VNNI); // it has AVX512-BF16, but slow
  t = cg_cpu_best(&all);
  assert_string_equal(t.level, "x86-64-v3");
  assert_int_equal(t.extras, 0);
  t = cg_cpu_parse("x86-64-v4+bf16");
  assert_string_equal(t.level, "x86-64-v4");
  assert_int_equal(t.extras, 1 << CG_CPU_BF16);
  assert_null(cg_cpu_parse("x86-64-v4+bf16+").level);
  assert_null(cg_cpu_parse("x86-64-v4-bf16").level);
}

static void kernels_from_a_temporary_file(void **u) {
  (void)u;
  setenv("CIERGE_NO_MEMFD", "1", 1);
  cierge_program *p = program(batch_plan);
  unsetenv("CIERGE_NO_MEMFD");
  cierge_program *q = program(chain_plan); // another object, loaded beside the first
  cierge_program *r = program(batch_plan);
  cierge_context *c = context(p), *d = context(r);
  float x[8] = {1, 2, 3};
  run_batch(c, x, 2);
  run_batch(d, x, 2);
  cierge_context_free(c);
  cierge_context_free(d);
  cierge_program_free(p);
  cierge_program_free(q);
  cierge_program_free(r);
}

static void texts(void **u) {
  (void)u;
  char *text;
  good(cierge_inspect(artifact(batch_plan), &text));
  assert_non_null(strstr(text, "  x: float32[s0, 4]\n"));
  assert_non_null(strstr(text, "  output_0: float32[s0, 4]\n"));
  assert_non_null(strstr(text, "  s0: 1..64\n"));
  assert_non_null(strstr(text, "native kernels: 2"));
  assert_non_null(strstr(text, "LibTorch: no"));
  cierge_text_free(text);
  good(cierge_verify(artifact(batch_plan)));
  assert_string_equal(cierge_version(), CIERGE_VERSION);
}

static void misuse(void **u) {
  (void)u;
  cierge_program *p = program(batch_plan), *q;
  cierge_context *c = context(p), *d;
  char *text;
  const DLTensor *t;
  DLManagedTensorVersioned *m;
  refused(cierge_load(NULL, NULL, &q), CIERGE_USAGE, "NULL");
  refused(cierge_load("/nowhere", NULL, NULL), CIERGE_USAGE, "NULL");
  refused(cierge_load("/nowhere", NULL, &q), CIERGE_IO, "/nowhere");
  refused(cierge_load("/nowhere", &(cierge_load_options){0}, &q), CIERGE_USAGE, "size");
  refused(cierge_context_new(NULL, NULL, &d), CIERGE_USAGE, "NULL");
  refused(cierge_context_new(p, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = -1}, &d), CIERGE_USAGE, "-1");
  refused(cierge_run(NULL), CIERGE_USAGE, "NULL");
  refused(cierge_input_set(NULL, 0, NULL, 0), CIERGE_USAGE, "NULL");
  refused(cierge_output_set(NULL, 0, NULL), CIERGE_USAGE, "NULL");
  refused(cierge_output_get(c, 9, &t), CIERGE_USAGE, "no output 9");
  refused(cierge_output_get(c, 0, NULL), CIERGE_USAGE, "NULL");
  refused(cierge_output_take(c, 0, NULL), CIERGE_USAGE, "NULL");
  refused(cierge_output_take(c, 0, &m), CIERGE_USAGE, "no call");
  refused(cierge_reset(NULL), CIERGE_USAGE, "NULL");
  refused(cierge_seed(NULL, 1), CIERGE_USAGE, "NULL");
  refused(cierge_inspect(NULL, &text), CIERGE_USAGE, "NULL");
  refused(cierge_verify(NULL), CIERGE_USAGE, "NULL");
  refused(cierge_profile_text(c, &text), CIERGE_USAGE, "profile");
  good(cierge_seed(c, 1));
  cierge_context_free(NULL);
  cierge_program_free(NULL);
  cierge_status_free(NULL);
  assert_int_equal(cierge_input_count(NULL), 0);
  assert_null(cierge_output_spec(NULL, 0));
  assert_int_equal(cierge_status_exit_code(NULL), 0);
  cierge_context_free(c);
  cierge_program_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bad_plans_are_refused), cmocka_unit_test(bad_scans_are_refused), cmocka_unit_test(processors_are_checked), cmocka_unit_test(processors_are_told_apart), cmocka_unit_test(kernels_from_a_temporary_file),
      cmocka_unit_test(texts), cmocka_unit_test(misuse),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
