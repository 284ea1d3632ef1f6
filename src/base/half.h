// Half precision and f32, rounding to nearest even.
#ifndef CG_BASE_HALF_H
#define CG_BASE_HALF_H
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float cg_float_of_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023, bits;
  if (e == 31) bits = sign | 0x7f800000 | m << 13;
  else if (e) bits = sign | (e + 112) << 23 | m << 13;
  else { // subnormal: exact as m * 2^-24
    float f = (float)m * 0x1p-24f;
    memcpy(&bits, &f, 4);
    bits |= sign;
  }
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

static inline uint16_t cg_f16_of_float(float x) {
  uint32_t u, r;
  memcpy(&u, &x, 4);
  const uint32_t a = u & 0x7fffffff;
  if (a > 0x7f800000) r = 0x7e00;
  else if (a >= 0x477ff000) r = 0x7c00;                          // 65520 and more
  else if (a < 0x38800000) r = (uint32_t)nearbyintf(fabsf(x) * 0x1p24f); // the smallest normal number follows the largest subnormal one
  else r = (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;       // a mantissa of 2048 is the next exponent's first
  return (uint16_t)(r | (u >> 16 & 0x8000));
}

static inline float cg_float_of_bf16(uint16_t h) {
  uint32_t bits = (uint32_t)h << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

static inline uint16_t cg_bf16_of_float(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  return (uint16_t)(isnan(x) ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}
#endif
