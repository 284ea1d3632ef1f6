// How far arrays are from others that are held to be right.
#include "arrays/compare.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

// The numbers of an element, one after the other: a complex one is two. 0: the dtype is compared bit by bit.
static int parts(cg_dtype t, cg_dtype *part) {
  switch (t) {
  case CG_F16: case CG_BF16: case CG_F32: case CG_F64: *part = t; return 1;
  case CG_C32: *part = CG_F16; return 2;
  case CG_C64: *part = CG_F32; return 2;
  case CG_C128: *part = CG_F64; return 2;
  default: return 0;
  }
}

static double number(cg_dtype t, const uint8_t *at) {
  uint16_t h;
  float f;
  double d;
  if (t == CG_F64) return memcpy(&d, at, sizeof d), d;
  if (t == CG_F32) return (double)(memcpy(&f, at, sizeof f), f);
  memcpy(&h, at, sizeof h);
  return (double)(t == CG_F16 ? cg_float_of_f16(h) : cg_float_of_bf16(h));
}

double cg_array_distance(const cg_array *a, const cg_array *right) {
  if (a->dtype != right->dtype || a->rank != right->rank || memcmp(a->size, right->size, (size_t)a->rank * sizeof *a->size)) return INFINITY;
  const uint8_t *x = a->data, *y = right->data;
  cg_dtype part;
  int n = parts(a->dtype, &part);
  size_t size = n ? cg_dtypes[part].size : cg_dtypes[a->dtype].size, count = a->bytes / size, differ = 0;
  double off = 0, all = 0;
  for (size_t i = 0; i < count; i++, x += size, y += size) {
    if (!n) {
      differ += memcmp(x, y, size) != 0;
      continue;
    }
    double u = number(part, x), v = number(part, y);
    if (isnan(u) && isnan(v)) continue;
    if (!isfinite(u) || !isfinite(v)) {
      if (u != v) return INFINITY;
      continue;
    }
    off += (u - v) * (u - v), all += v * v;
  }
  if (!n) return count ? (double)differ / (double)count : 0;
  return off > 0 ? sqrt(off / all) : 0;
}
