// The functions that generated code calls in place of the C library's: how far from the exact result, in units of the last place.
#include <math.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
// After these
#include <cmocka.h>

static inline float cg_madd(float a, float b, float c) { return fmaf(a, b, c); }
static inline float cg_from_f16(uint16_t h) { return h; }
static inline uint16_t cg_to_f16(float x) { return (uint16_t)x; }
#define PRELUDE(name, ...) __attribute__((unused)) __VA_ARGS__
#include "backend/c/prelude.def"
#undef PRELUDE

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double gelu(double x) { return x * (isinf(x) ? x > 0 : 0.5 * erfc(-x * 0.70710678118654752)); }

static const struct {
  const char *name;
  float (*ours)(float);
  double (*exact)(double);
  double most;
  bool of_argument; // in ulp of the argument, not of the result
} functions[] = {{"exp", cg_expf, exp, 2}, {"log", cg_logf, log, 2}, {"tanh", cg_tanhf, tanh, 2.5}, {"erf", cg_erff, erf, 2}, {"sigmoid", cg_sigmoidf, sigmoid, 2.5},
                 {"gelu", cg_geluf, gelu, 2.5, .of_argument = true}};

// In ulp of the exact result or of `of`; what is too small for a normal number is measured by the smallest of these.
static double distance(float got, double want, double of) {
  if (isnan(want)) return isnan(got) ? 0 : INFINITY;
  if (fabs(want) > 3.4028235677973366e38) return isinf(got) && (got > 0) == (want > 0) ? 0 : INFINITY;
  int e;
  frexp(fabs(of) < 0x1p-126 ? 0x1p-126 : fabs(of), &e);
  return fabs((double)got - want) / (fabs(of) < 0x1p-126 ? 0x1p-126 : ldexp(1, e - 24));
}

static double distance_at(size_t i, float x) {
  double want = functions[i].exact((double)x);
  return distance(functions[i].ours(x), want, functions[i].of_argument ? (double)x : want);
}

static void test_distance(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    double worst = 0;
    float at = 0;
    for (uint64_t u = 0; u <= UINT32_MAX; u += 1009) {
      double d = distance_at(i, cg_float((uint32_t)u));
      if (d > worst) worst = d, at = cg_float((uint32_t)u);
    }
    static const float special[] = {0, -0.0f, 1, -1, INFINITY, -INFINITY, NAN, 88.72283f, 88.72284f, -87.33655f, -88.4f, -103.9f, -104.1f, 0x1p-126f, 0x1p-149f, 3.4e38f, -3.4e38f};
    for (size_t k = 0; k < sizeof special / sizeof *special; k++) {
      double d = distance_at(i, special[k]);
      if (d > worst) worst = d, at = special[k];
    }
    if (getenv("SHOW")) printf("%s: %.2f ulp at %a\n", functions[i].name, worst, (double)at);
    if (worst > functions[i].most) fail_msg("%s is %.2f ulp off at %a", functions[i].name, worst, (double)at);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_distance)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
