// Doubles and their text, whatever the process's locale says of decimal points. Usable from C++.
#ifndef CG_BASE_NUMBER_H
#define CG_BASE_NUMBER_H
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __cplusplus
extern "C" {
#endif
enum { CG_DOUBLE_TEXT = 40 };
// The shortest decimal text that reads back as the same double ("inf", "-inf", "nan" for those; "1.0" keeps its point).
void cg_double_text(double v, char text[CG_DOUBLE_TEXT]);
// As strtod.
double cg_strtod(const char *text, char **end);
// floor(x * c) as a processor computes it in double: what PyTorch's trunc(0.7 * s0) is of sizes. false: it does not fit.
static inline bool cg_scale(int64_t x, int64_t bits_of_c, int64_t *out) {
  double c;
  memcpy(&c, &bits_of_c, sizeof c);
  double r = floor((double)x * c);
  if (!(r >= -0x1p63 && r < 0x1p63)) return false;
  *out = (int64_t)r;
  return true;
}
#ifdef __cplusplus
}
#endif
#endif
