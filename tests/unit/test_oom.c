// Small programs compiled while every allocation of cierge's own code fails in turn: each failure is a status that says
// "out of memory", nothing leaks (the sanitizer run looks), and the artifact is the old one or the new one, never a mix.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cierge/cierge.h"

static const char *const bodies[] = {
    "%r = aten.add.Tensor(%x, %y)",
    "%a = aten.add.Tensor(%x, %y)\n  %b = aten.relu(%a)\n  %r = aten.mul.Tensor(%b, %a)",
    "%r = aten.softmax.int(%x, dim=-1)",
    "%r = aten.log_softmax.int(%x, dim=0)",
    "%a = aten.sum.dim_IntList(%x, dim=[1], keepdim=true)\n  %r = aten.div.Tensor(%x, %a)",
    "%a = aten.transpose.int(%x, dim0=0, dim1=1)\n  %b = aten.mm(%a, %y)\n  %r = aten.mm(%x, %b)",
    "%a = aten.linear(%x, %y)\n  %r = aten.gelu(%a)",
    "%a = aten.view(%x, size=[16])\n  %b = aten.cumsum(%a, dim=0)\n  %r = aten.view(%b, size=[4, 4])",
    "%r = aten.cat([%x, %y], dim=1)",
    "%a: f32[4, 2], %b: f32[4, 2] = aten.split.Tensor(%x, split_size=2, dim=1)\n  %r = aten.add.Tensor(%a, %b)",
    "%a = aten.layer_norm(%x, normalized_shape=[4])\n  %r = aten.tanh(%a)",
    "%a: f32[4, 2], %i: i64[4, 2] = aten.topk(%x, k=2)\n  %r = aten.exp(%a)",
    "%a = aten.gt.Tensor(%x, %y)\n  %r = aten.where.self(%a, %x, %y)",
    "%a: f32[4, 4], %s: f32[4], %b: f32[4, 4] = aten.linalg_svd(%x)\n  %r = aten.mul.Tensor(%s, 2.0)",
    "%a: f32[2, 4]{4, 1; 4} = aten.slice.Tensor(%x, dim=0, start=1, end=3)\n  %b: f32[2, 4]{4, 1; 4} = aten.add_.Tensor(%a, 1.0)\n  %r = aten.mul.Tensor(%x, %y)",
    "%a = aten.clamp(%x, min=0.0, max=1.0)\n  %r = aten._to_copy(%a, dtype=f64)",
    "%a = aten.amax(%x, dim=[0])\n  %b = aten.amin(%y, dim=[0])\n  %r = aten.sub.Tensor(%a, %b)",
    "%a = aten.permute(%x, dims=[1, 0])\n  %b = aten.clone(%a)\n  %r = aten.sigmoid(%b)",
    "%a = aten.var.correction(%x, dim=[1])\n  %r = aten.sqrt(%a)",
    "%a = aten.unsqueeze(%x, dim=0)\n  %b = aten.expand(%a, size=[3, 4, 4])\n  %r = aten.mean.dim(%b, dim=[0])",
};
enum { PROGRAMS = sizeof bodies / sizeof *bodies };

static char folder[] = "/tmp/cierge-oom-XXXXXX";
static char model[64], artifact[64];

static void write_program(int i) {
  FILE *f = fopen(model, "w");
  assert_non_null(f);
  fprintf(f, "fn @main(%%x: f32[4, 4], %%y: f32[4, 4]) {\n  %s\n  return %%r\n}\n", bodies[i]);
  assert_int_equal(fclose(f), 0);
}

static cierge_status *explain(void) {
  char *text = NULL;
  cierge_status *s = cierge_explain(model, NULL, &text);
  cierge_text_free(text);
  return s;
}

static cierge_status *compile(void) {
  cierge_options *o = NULL;
  cierge_status *s = cierge_options_new(&o);
  if (!s) s = cierge_options_add(o, "backends", "torch");
  if (!s) s = cierge_compile(model, artifact, o);
  cierge_options_free(o);
  return s;
}

static cierge_status *load(void) {
  cierge_program *p = NULL;
  cierge_status *s = cierge_verify(artifact);
  char *text = NULL;
  if (!s) s = cierge_inspect(artifact, &text);
  cierge_text_free(text);
  cierge_program_free(p);
  return s;
}

// Fails allocation 1, 2, 3 … of `work`, alone or with all that follow, until it gets through.
static void sweep(cierge_status *(*work)(void), int onwards) {
  for (long n = 1;; n++) {
    assert_true(n < 100000);
    cg_heap_fail_at(n, onwards);
    cierge_status *s = work();
    cg_heap_fail_at(0, 0);
    if (!s) return;
    if (cierge_status_code(s) != CIERGE_NO_MEMORY) fail_msg("allocation %ld: %s", n, cierge_status_message(s));
    cierge_status_free(s);
  }
}

static void each_program(void **u) {
  (void)u;
  for (int i = 0; i < PROGRAMS; i++) {
    write_program(i);
    cierge_status *s = explain();
    if (s) fail_msg("program %d: %s", i, cierge_status_message(s));
    for (int onwards = 0; onwards < 2; onwards++) {
      sweep(explain, onwards);
      sweep(compile, onwards);
      sweep(load, onwards);
    }
  }
}

// A compilation that fails leaves the artifact of the one before it.
static void old_artifact_stays(void **u) {
  (void)u;
  write_program(0);
  assert_null(compile());
  for (long n = 1; n < 40; n++) {
    cg_heap_fail_at(n, 1);
    cierge_status *s = compile();
    cg_heap_fail_at(0, 0);
    cierge_status_free(s);
    assert_null(load());
  }
}

static int set_up(void **u) {
  (void)u;
  setenv("CIERGE_LIBTORCH", "none", 1);
  if (!mkdtemp(folder)) return -1;
  snprintf(model, sizeof model, "%s/m.cir", folder);
  snprintf(artifact, sizeof artifact, "%s/m.cierge", folder);
  return 0;
}

static int tear_down(void **u) {
  (void)u;
  unlink(model);
  unlink(artifact);
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(each_program), cmocka_unit_test(old_artifact_stays)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
