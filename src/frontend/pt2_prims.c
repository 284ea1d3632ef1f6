// Operators of torch._prims that have an exact ATen equivalent: decompositions leave some, and they exist only in Python.
// prims take tensors of one dtype, so ATen's promotion changes nothing. (div of integers, say, has none: prims truncate.)
// Those that are views are not here: PyTorch itself does not export them.
#include <string.h>

#include "frontend/pt2.h"

// args: "theirs=ours", separated by commas; "theirs=" is dropped; others have the same name.
static const struct {
  const char *prim, *aten, *args;
} table[] = {
    {"convert_element_type", "aten::_to_copy", "a=self"},
    {"device_put", "aten::_to_copy", "a=self"},
    {"reshape", "aten::reshape", "a=self"},
    {"rev", "aten::flip", "a=self"},
    {"cat", "aten::cat", ""},
    {"where", "aten::where.self", "pred=condition,a=self,b=other"},
    {"item", "aten::item", "a=self"},
    {"clone", "aten::clone", ""},
    {"as_strided_scatter", "aten::as_strided_scatter", ""},
    {"full", "aten::full", "shape=size,requires_grad="},
    {"full_like", "aten::full_like", "a=self,requires_grad="},
    {"empty", "aten::empty.memory_format", "shape=size,requires_grad="},
    {"scalar_tensor", "aten::scalar_tensor", ""},
    {"sum", "aten::sum.dim_IntList", "inp=self,dims=dim,output_dtype=dtype"},
    {"var", "aten::var.correction", "inp=self,dims=dim"},
    {"frexp", "aten::frexp.Tensor", ""},
    {"igamma", "aten::igamma", ""}, {"igammac", "aten::igammac", ""}, {"erf_inv", "aten::erfinv", ""}, {"erfcx", "aten::special_erfcx", ""},
    {"ndtri", "aten::special_ndtri", ""}, {"zeta", "aten::special_zeta", ""}, {"bessel_i0", "aten::i0", ""},
    {"bessel_i0e", "aten::special_i0e", ""}, {"bessel_i1", "aten::special_i1", ""}, {"bessel_i1e", "aten::special_i1e", ""},
    {"bessel_j0", "aten::special_bessel_j0", ""}, {"bessel_j1", "aten::special_bessel_j1", ""},
    {"spherical_bessel_j0", "aten::special_spherical_bessel_j0", "self=x"}, {"pow", "aten::pow.Tensor_Tensor", "other=exponent"},
    {"shift_left", "aten::bitwise_left_shift.Tensor", ""}, {"shift_right_arithmetic", "aten::bitwise_right_shift.Tensor", ""},
#define SAME(name) {#name, "aten::" #name, ""}
#define TENSOR(name) {#name, "aten::" #name ".Tensor", ""}
    SAME(abs), SAME(acos), SAME(acosh), SAME(asin), SAME(asinh), SAME(atan), SAME(atan2), SAME(atanh), SAME(bitwise_not), SAME(ceil),
    SAME(conj_physical), SAME(cos), SAME(cosh), SAME(digamma), SAME(erf), SAME(erfc), SAME(exp), SAME(exp2), SAME(expm1), SAME(floor),
    SAME(fmax), SAME(fmin), SAME(gcd), SAME(hypot), SAME(isfinite), SAME(lgamma), SAME(log), SAME(log10), SAME(log1p),
    SAME(log2), SAME(maximum), SAME(minimum), SAME(neg), SAME(nextafter), SAME(reciprocal), SAME(round), SAME(rsqrt),
    SAME(sign), SAME(signbit), SAME(sin), SAME(sinh), SAME(sqrt), SAME(tan), SAME(tanh), SAME(trunc),
    TENSOR(add), TENSOR(bitwise_and), TENSOR(bitwise_or), TENSOR(bitwise_xor), TENSOR(eq), TENSOR(fmod), TENSOR(ge), TENSOR(gt),
    TENSOR(le), TENSOR(lt), TENSOR(mul), TENSOR(ne), TENSOR(remainder), TENSOR(sub),
};

// target: "torch.ops.prims.NAME.default".
static int row_of(const char *target) {
  if (strncmp(target, "torch.ops.prims.", 16)) return -1;
  const char *name = target + 16;
  size_t n = strcspn(name, ".");
  for (int i = 0; i < (int)(sizeof table / sizeof *table); i++)
    if (strlen(table[i].prim) == n && !memcmp(name, table[i].prim, n)) return i;
  return -1;
}

const char *cg_pt2_prim(const char *target) {
  int row = row_of(target);
  return row < 0 ? NULL : table[row].aten;
}

const char *cg_pt2_prim_arg(cg_session *s, const char *target, const char *name) {
  int row = row_of(target);
  size_t n = strlen(name);
  for (const char *p = row < 0 ? "" : table[row].args; *p; p += strcspn(p, ","), p += *p == ',')
    if (!strncmp(p, name, n) && p[n] == '=') return cg_strndup(s, p + n + 1, strcspn(p + n + 1, ","));
  return name;
}
