// The functions that generated code calls in place of the C library's: how far from the exact result, in units of the last place.
#include <math.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// After these
#include <cmocka.h>

static inline float cg_madd(float a, float b, float c) { return fmaf(a, b, c); }
#ifdef PLAIN // as on targets without fused multiplication: cg_fma rounds twice
static inline double cg_fma(double a, double b, double c) { return a * b + c; }
#else
static inline double cg_fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
#endif
#define PRELUDE(name, ...) __attribute__((unused)) __VA_ARGS__
#include "backend/c/prelude.def"
#include "backend/c/math.def"
#undef PRELUDE

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double gelu(double x) { return x * (isinf(x) ? x > 0 : 0.5 * erfc(-x * 0.70710678118654752)); }
static double erfinv(double y) { return cg_erfinv(y); } // which the functions below hold to erfl
static double digamma(double x) {
  long double r = 0, y = x;
  if (x == 0) return copysign(INFINITY, -x);
  if (isinf(x)) return x > 0 ? x : NAN;
  if (x < 0) {
    long double f = y - roundl(y);
    if (f == 0) return NAN;
    r = -3.14159265358979323846L / tanl(3.14159265358979323846L * f);
    y = 1 - y;
  }
  for (; y < 30; y++) r -= 1 / y;
  long double s = 1 / (y * y);
  return (double)(r + logl(y) - 0.5L / y - s * (1.0L / 12 - s * (1.0L / 120 - s * (1.0L / 252 - s * (1.0L / 240 - s / 132)))));
}
static long double sigmoidl(long double x) { return 1 / (1 + expl(-x)); }
static long double erfinvl(long double y) {
  long double x = cg_erfinv((double)y);
  if (!(fabsl(y) < 1) || y == 0) return x;
  for (int i = 0; i < 2; i++) {
    long double off = fabsl(y) < 0.5L ? erfl(x) - y : y > 0 ? 1 - y - erfcl(x) : erfcl(-x) - (1 + y);
    x -= off * 0.88622692545275801365L * expl(x * x);
  }
  return x;
}

// The most that each may be off, in ulp.
static const struct {
  const char *name;
  float (*ours)(float);
  double (*exact)(double);
  double most;
  bool of_argument; // in ulp of the argument, not of the result
} functions[] = {{"exp", cg_expf, exp, 2, false}, {"log", cg_logf, log, 2, false}, {"tanh", cg_tanhf, tanh, 2.5, false}, {"erf", cg_erff, erf, 2, false},
                 {"sigmoid", cg_sigmoidf, sigmoid, 2.5, false}, {"gelu", cg_geluf, gelu, 2.5, .of_argument = true},
                 {"exp2", cg_exp2f, exp2, 1.5, false}, {"expm1", cg_expm1f, expm1, 2, false}, {"sinh", cg_sinhf, sinh, 0.51, false},
                 {"cosh", cg_coshf, cosh, 0.51, false}, {"log2", cg_log2f, log2, 0.51, false}, {"log10", cg_log10f, log10, 0.51, false},
                 {"log1p", cg_log1pf, log1p, 2, false}, {"asinh", cg_asinhf, asinh, 0.51, false}, {"acosh", cg_acoshf, acosh, 0.51, false},
                 {"atanh", cg_atanhf, atanh, 3, false}, {"sin", cg_sinf, sin, 2.5, false}, {"cos", cg_cosf, cos, 2.5, false},
                 {"tan", cg_tanf, tan, 1.5, false}, {"asin", cg_asinf, asin, 0.6, false}, {"acos", cg_acosf, acos, 0.6, false},
                 {"atan", cg_atanf, atan, 1.5, false}, {"erfc", cg_erfcf, erfc, 0.7, false}, {"erfinv", cg_erfinvf, erfinv, 3, false},
                 {"lgamma", cg_lgammaf, lgamma, 1.5, false}, {"digamma", cg_digammaf, digamma, 1.5, false}};

static const struct {
  const char *name;
  double (*ours)(double);
  long double (*exact)(long double);
  double most, least; // least: what is nearer to a zero or a pole counts as this near
} doubles[] = {{"exp", cg_exp, expl, 1, 0}, {"exp2", cg_exp2, exp2l, 1.5, 0}, {"expm1", cg_expm1, expm1l, 2, 0},
               {"sinh", cg_sinh, sinhl, 2.5, 0}, {"cosh", cg_cosh, coshl, 2, 0}, {"tanh", cg_tanh, tanhl, 2.5, 0},
               {"sigmoid", cg_sigmoid, sigmoidl, 2.5, 0}, {"log", cg_log, logl, 1.5, 0}, {"log2", cg_log2, log2l, 2, 0},
               {"log10", cg_log10, log10l, 2, 0}, {"log1p", cg_log1p, log1pl, 2, 0}, {"asinh", cg_asinh, asinhl, 2.5, 0},
               {"acosh", cg_acosh, acoshl, 2.5, 0}, {"atanh", cg_atanh, atanhl, 2.5, 0}, {"sin", cg_sin, sinl, 2.5, 0x1p-40},
               {"cos", cg_cos, cosl, 2.5, 0x1p-40}, {"tan", cg_tan, tanl, 3.5, 0x1p-40}, {"asin", cg_asin, asinl, 2.5, 0},
               {"acos", cg_acos, acosl, 1.5, 0}, {"atan", cg_atan, atanl, 2.5, 0}, {"erf", cg_erf, erfl, 1.5, 0},
               {"erfc", cg_erfc, erfcl, 5, 0}, {"erfinv", cg_erfinv, erfinvl, 6, 0}};

// In ulp of the exact result or of `of`; what is too small for a normal number is measured by the smallest of these.
static double distance(float got, double want, double of) {
  if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
  if (fabs(want) > 3.4028235677973366e38) return isinf(got) && (got > 0) == (want > 0) ? 0 : INFINITY;
  if (!got && !want && !signbit(got) != !signbit(want)) return INFINITY;
  int e;
  frexp(fabs(of) < 0x1p-126 ? 0x1p-126 : fabs(of), &e);
  return fabs((double)got - want) / (fabs(of) < 0x1p-126 ? 0x1p-126 : ldexp(1, e - 24));
}

static double distance_of_doubles(double got, long double want, double least) {
  if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
  if (fabsl(want) > 1.79769313486231580793e308L) return isinf(got) && (got > 0) == (want > 0) ? 0 : INFINITY;
  if (!got && !want && !signbit(got) != !signbit(want)) return INFINITY;
  int e;
  frexpl(fabsl(want) < least ? least : fabsl(want) * least > 1 ? want * want * least : want, &e);
  return (double)(fabsl(got - want) / (fabsl(want) < 0x1p-1022L ? 0x1p-1022L : ldexpl(1, e - 53)));
}

static double distance_at(size_t i, float x) {
  double want = functions[i].exact((double)x);
  return distance(functions[i].ours(x), want, functions[i].of_argument ? (double)x : want);
}

// Of all signs and exponents, and more of those where something happens.
static double some_double(uint64_t i) {
  uint64_t u = (i + 1) * 0x9e3779b97f4a7c15u;
  u ^= u >> 29, u *= 0xbf58476d1ce4e5b9u, u ^= u >> 32;
  if (i % 4 == 0) return cg_double(u);
  return (i % 2 ? 1.0 : -1.0) * ldexp(1.0 + (double)(u >> 12) * 0x1p-52, (int)(u % 44) - 33);
}

static void test_doubles(void **state) {
  (void)state;
  static const double special[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 0.5, -0.5, 2, 709.78, 709.79, 710.47, 710.48, -708.5, -745.1,
    -746, 0x1p-1022, 0x1p-1074, -0x1p-1074, 1.7e308, -1.7e308, 1e22, 1e30, -1e30, 1e300, 0x1p20, 1048577, 3.141592653589793,
    1.5707963267948966, 6.283185307179586, 355, 6381956970095103.0 * 0x1p797, 0.9999999999999999, 26.5, 27.2, 1023.9, -1074.5};
  for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
    double worst = 0, at = 0;
    for (uint64_t k = 0; k < 200000 + sizeof special / sizeof *special; k++) {
      double x = k < 200000 ? some_double(k) : special[k - 200000];
      double d = distance_of_doubles(doubles[i].ours(x), doubles[i].exact((long double)x), doubles[i].least);
      if (!(d <= worst)) worst = d, at = x;
    }
    if (getenv("SHOW")) printf("double %s: %.2f ulp at %a\n", doubles[i].name, worst, at);
    if (!(worst <= doubles[i].most)) fail_msg("%s of doubles is %.2f ulp off at %a", doubles[i].name, worst, at);
  }
}

// Of two arguments: all pairs of special ones, and others.
static void test_pairs(void **state) {
  (void)state;
  static const double special[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 0.5, -2, 3, -3, 0x1p-149, -0x1p-126, 3.4e38, -3.4e38, 1e-30, 7.5};
  enum { SPECIAL = sizeof special / sizeof *special };
  double worst[6] = {0};
  for (uint64_t k = 0; k < 200000 + SPECIAL * SPECIAL; k++) {
    const uint64_t s = k - 200000;
    const double x = k < 200000 ? some_double(k) : special[s / SPECIAL], y = k < 200000 ? some_double(3 * k + 1) : special[s % SPECIAL];
    const float a = (float)x, b = (float)y;
    const double z = k < 200000 ? ((double)k / 100000 - 1) * 740 / log(fabs(x)) : y; // so that powers are numbers
    const double d[6] = {distance_of_doubles(cg_atan2(x, y), atan2l(x, y), 0), distance_of_doubles(cg_hypot(x, y), hypotl(x, y), 0),
      distance(cg_atan2f(a, b), atan2(a, b), atan2(a, b)), distance(cg_hypotf(a, b), hypot(a, b), hypot(a, b)), distance(cg_powf(a, b), pow(a, b), pow(a, b)),
      distance_of_doubles(cg_pow(x, k % 3 ? z : rint(z)), powl(x, k % 3 ? z : rint(z)), 0)};
    static const char *const name[6] = {"atan2 of doubles", "hypot of doubles", "atan2", "hypot", "pow", "pow of doubles"};
    static const double most[6] = {3.5, 1.5, 2, 0.51, 0.6, 1.5};
    for (int i = 0; i < 6; i++) {
      if (!(d[i] <= most[i])) fail_msg("%s of %a, %a is %.2f ulp off", name[i], x, y, d[i]);
      if (d[i] > worst[i]) worst[i] = d[i];
    }
    if (getenv("SHOW") && k + 1 == 200000 + SPECIAL * SPECIAL)
      for (int i = 0; i < 6; i++) printf("%s: %.2f ulp\n", name[i], worst[i]);
  }
}

static void test_distance(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    double worst = 0;
    float at = 0;
    for (uint64_t u = 0; u <= UINT32_MAX; u += 4001) {
      double d = distance_at(i, cg_float((uint32_t)u));
      if (!(d <= worst)) worst = d, at = cg_float((uint32_t)u);
    }
    static const float special[] = {0, -0.0f, 1, -1, INFINITY, -INFINITY, NAN, 88.72283f, 88.72284f, -87.33655f, -88.4f, -103.9f, -104.1f, 0x1p-126f, 0x1p-149f, 3.4e38f, -3.4e38f,
                                    0.5f, -0.5f, 0.99999994f, 1e30f, 16367173 * 0x1p72f, 89.4f, 89.42f, -128.5f, 10.05f, 1e-30f};
    for (size_t k = 0; k < sizeof special / sizeof *special; k++) {
      double d = distance_at(i, special[k]);
      if (!(d <= worst)) worst = d, at = special[k];
    }
    if (getenv("SHOW")) printf("%s: %.2f ulp at %a\n", functions[i].name, worst, (double)at);
    if (!(worst <= functions[i].most)) fail_msg("%s is %.2f ulp off at %a", functions[i].name, worst, (double)at);
  }
}

// Where NAME_far says no, NAME_near gives what NAME does.
static void test_near(void **state) {
  (void)state;
  static const double special[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 0.3, -0.3, 7.5, 3, -3, 0x1p-149, 3.4e38, 1e-30, 0x1p20, 0x1p28};
  enum { SPECIAL = sizeof special / sizeof *special };
  int near = 0;
  for (uint64_t k = 0; k < 300000 + SPECIAL * SPECIAL; k++) {
    const uint64_t i = k - 300000;
    const double x = k < 300000 ? some_double(k) : special[i / SPECIAL], y = k < 300000 ? some_double(3 * k + 1) : special[i % SPECIAL];
    const float a = (float)x, b = (float)y;
#define SAME(f, of, ...)                                                                                               \
  if (!f##_far(__VA_ARGS__)) {                                                                                         \
    const of got = f##_near(__VA_ARGS__), want = f(__VA_ARGS__);                                                       \
    near++;                                                                                                            \
    if (!(isnan(got) && isnan(want)) && memcmp(&got, &want, sizeof got))                                               \
      fail_msg(#f " of %a, %a is %a, not %a", x, y, (double)got, (double)want);                                        \
  }
    SAME(cg_fmodf, float, a, b) SAME(cg_remainderf, float, a, b) SAME(cg_floordivf, float, a, b)
    SAME(cg_sinf, float, a) SAME(cg_cosf, float, a) SAME(cg_tanf, float, a)
    SAME(cg_sin, double, x) SAME(cg_cos, double, x) SAME(cg_tan, double, x)
#ifdef __FMA__ // no target without has loops that do with it
    SAME(cg_fmod, double, x, y) SAME(cg_remainder, double, x, y) SAME(cg_floordiv, double, x, y)
#endif
#undef SAME
  }
  assert_true(near > 1000000);
}

// Half precision: all halves, and floats between and beside them, by the numbers' definition.
static void test_halves(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 0x10000; h++) {
    const int e = (int)(h >> 10 & 31);
    const double m = e ? 1024 + (h & 1023) : h & 1023, size = ldexp(m, (e ? e : 1) - 25), want = h & 0x8000 ? -size : size;
    const float got = cg_from_f16((uint16_t)h);
    if (e == 31 && h & 1023) {
      assert_true(isnan(got) && isnan(cg_from_f16(cg_to_f16(got))) && isnan(cg_round_f16(got)));
      continue;
    }
    if (e == 31) assert_true(isinf(got) && !signbit(got) == !(h & 0x8000));
    else assert_true((double)got == want && !signbit(got) == !(h & 0x8000));
    assert_int_equal(cg_to_f16(got), h);
    if (e == 31 || h & 0x8000) continue;
    const double next = h == 0x7bff ? 65536 : (double)cg_from_f16((uint16_t)(h + 1)), middle = (size + next) / 2;
    const float at[] = {(float)middle, nextafterf((float)middle, 0), nextafterf((float)middle, INFINITY)};
    const uint32_t to[] = {h + (h & 1), h, h + 1};
    for (int i = 0; i < 3; i++) {
      assert_int_equal(cg_to_f16(at[i]), to[i]);
      assert_int_equal(cg_to_f16(-at[i]), to[i] | 0x8000);
      assert_true(cg_round_f16(at[i]) == cg_from_f16((uint16_t)to[i]));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_distance), cmocka_unit_test(test_doubles), cmocka_unit_test(test_pairs), cmocka_unit_test(test_near),
                                   cmocka_unit_test(test_halves)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
