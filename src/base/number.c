// Doubles and their text: written and read in the C locale.
#include "base/number.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static locale_t c_locale(void) { return newlocale(LC_ALL_MASK, "C", (locale_t)0); } // a constant of libc, not an allocation

double cg_strtod(const char *text, char **end) {
  locale_t c = c_locale(), old = uselocale(c);
  double v = strtod(text, end);
  uselocale(old);
  freelocale(c);
  return v;
}

void cg_double_text(double v, char text[CG_DOUBLE_TEXT]) {
  if (isnan(v) || isinf(v)) {
    strcpy(text, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
    return;
  }
  locale_t c = c_locale(), old = uselocale(c);
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, CG_DOUBLE_TEXT, "%.*g", digits, v);
    if (strtod(text, NULL) == v) break;
  }
  uselocale(old);
  freelocale(c);
  if (!strpbrk(text, ".e")) strcat(text, ".0");
}
