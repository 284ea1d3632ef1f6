// What a reduction keeps while its loops run: of which C type, from which value on, and how pieces of it are put together.
#include "backend/c/reduction.h"

#include <string.h>

static const char *limit(cg_dtype t, bool lowest) {
  switch (t) {
  case CG_U8: return lowest ? "0" : "UINT8_MAX";
  case CG_I8: return lowest ? "INT8_MIN" : "INT8_MAX";
  case CG_I16: return lowest ? "INT16_MIN" : "INT16_MAX";
  case CG_I32: return lowest ? "INT32_MIN" : "INT32_MAX";
  case CG_I64: return lowest ? "INT64_MIN" : "INT64_MAX";
  case CG_BOOL: return lowest ? "0" : "1";
  case CG_F64: return lowest ? "-(double)INFINITY" : "(double)INFINITY";
  default: return lowest ? "-INFINITY" : "INFINITY";
  }
}

bool cg_finds_place(te_combine c) { return c == TE_ARGMAX || c == TE_ARGMIN; }
static bool is_max(te_combine c) { return c == TE_AMAX || c == TE_ARGMAX; }

const char *cg_reduction_initial(const cg_reduction *r) {
  te_compute *k = r->x->compute;
  switch (k->combine) {
  case TE_SUM: case TE_ANY: return "0";
  case TE_PROD: case TE_ALL: return "1";
  default:
    if (r->keyed) return is_max(k->combine) ? "INT64_MIN" : "INT64_MAX";
    if (r->ordered) return is_max(k->combine) ? "-2139095041" : "2139095040"; // cg_order(-INFINITY), cg_order(INFINITY)
    return limit(k->accumulate, is_max(k->combine));
  }
}

const char *cg_reduction_type(const cg_reduction *r) {
  te_compute *k = r->x->compute;
  if (k->combine == TE_ANY || k->combine == TE_ALL) return "int";
  if (r->wide) return "double";
  if (r->keyed) return "int64_t";
  if (r->ordered) return "int32_t";
  return k->accumulate == CG_BOOL ? "int" : cg_kernel_computed(k->accumulate);
}

const char *cg_reduction_part_type(const cg_reduction *r) {
  return r->wide ? "float" : cg_reduction_type(r);
}

// How many elements it is over, if that is known and fits into 31 bits; else 0.
static int64_t few(const cg_reduction *r) {
  int64_t n = 1;
  for (int i = 0; i < r->x->compute->nreduce; i++) {
    const cg_expr *e = r->x->compute->extent[i];
    if (!cg_x_is_int(e) || __builtin_mul_overflow(n, e->value, &n)) return 0;
  }
  return n <= INT32_MAX ? n : 0;
}

const char *cg_reduction_place_type(const cg_reduction *r) { return few(r) ? "int32_t" : "int64_t"; }

bool cg_reduction_keyed(const cg_reduction *r) {
  cg_dtype t = r->x->compute->accumulate;
  return cg_finds_place(r->x->compute->combine) && few(r) && (r->is_float ? t != CG_F64 : cg_dtypes[t].size <= 4);
}

// Equal elements differ by their places, of which the first wins; a NaN is beyond all numbers, and -0 is 0.
const char *cg_reduction_key(cg_session *s, const cg_reduction *r, const char *element, const char *place) {
  bool most = is_max(r->x->compute->combine);
  const char *order = r->is_float ? cg_format(s, "%s != %s ? INT32_M%s : cg_order(%s + 0.0f)", element, element, most ? "AX" : "IN", element) : element;
  const char *early = most ? cg_format(s, "%lld - (%s)", (long long)few(r) - 1, place) : place;
  return cg_format(s, "(int64_t)(%s) * 4294967296 + (%s)", order, early);
}

const char *cg_reduction_place(cg_session *s, const cg_reduction *r) {
  if (!r->keyed) return r->at;
  const char *low = cg_format(s, "(int64_t)(uint32_t)%s", r->acc);
  return is_max(r->x->compute->combine) ? cg_format(s, "%lld - %s", (long long)few(r) - 1, low) : low;
}

const char *cg_reduction_extreme(cg_session *s, const cg_reduction *r) {
  if (r->ordered) return cg_format(s, "%s ? NAN : cg_unorder(%s)", r->nan, r->acc);
  return cg_format(s, "%s ? %s : %s", r->nan, r->x->compute->accumulate == CG_F64 ? "(double)NAN" : "NAN", r->acc);
}

cg_dtype cg_reduction_piece_type(const cg_reduction *r) {
  if (r->wide) return CG_F64;
  const char *t = cg_reduction_type(r);
  if (r->ordered) return CG_F32;
  return !strcmp(t, "int") ? CG_I32 : r->x->compute->accumulate == CG_F16 || r->x->compute->accumulate == CG_BF16 ? CG_F32 : r->x->compute->accumulate;
}

void cg_reduction_combine_pieces(const cg_reduction *r, const char *from, cg_str *out) {
  te_combine c = r->x->compute->combine;
  const char *a = r->acc;
  cg_str_addf(out, "    %s %s = %s;\n", cg_reduction_type(r), a, cg_reduction_initial(r));
  cg_str_addf(out, "    for (int64_t w = 0; w < pieces; w++) {\n      const %s x = %s[row * pieces + w];\n", cg_reduction_type(r), from);
  static const char *const op[] = {[TE_SUM] = "+", [TE_PROD] = "*", [TE_ANY] = "|", [TE_ALL] = "&"};
  if (c == TE_AMAX || c == TE_AMIN)
    cg_str_addf(out, "      %s = x %s %s%s ? x : %s;\n", a, c == TE_AMAX ? ">" : "<", a, r->is_float ? " || x != x" : "", a);
  else cg_str_addf(out, "      %s = %s %s x;\n", a, a, op[c]);
  cg_str_add(out, "    }\n");
}
