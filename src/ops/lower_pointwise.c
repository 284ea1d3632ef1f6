// Pointwise operators whose formula depends on an argument (a rounding mode, an optional bound), conversions and copies.
#include <math.h>
#include <string.h>

#include "ops/rules.h"

static cg_dtype dtype_of(const cg_node *n) { return n->result[0]->type.dtype; }

static const char *floats_only(te *t, const cg_node *n) {
  cg_dtype d = dtype_of(n);
  return cg_r_plain_float(d) ? NULL : cg_r_why(te_module(t), "no native %s kernel for %s", cg_dtypes[d].text, n->schema->key);
}

static const char *numbers_only(te *t, const cg_node *n) {
  cg_dtype d = dtype_of(n);
  return d != CG_BOOL && (cg_r_plain_float(d) || cg_is_integral(d)) ? NULL
         : cg_r_why(te_module(t), "no native %s kernel for %s", cg_dtypes[d].text, n->schema->key);
}

// ---------------------------------------------------------------- the text of the formula

static const char *clamp_text(const cg_node *n) {
  bool lo = !cg_r_is_none(n, "min"), hi = !cg_r_is_none(n, "max");
  double a, b;
  if (cg_is_float(dtype_of(n))) {
    bool numbers = lo && hi && cg_arg_double(cg_node_arg(n, "min"), &a) && cg_arg_double(cg_node_arg(n, "max"), &b);
    if (numbers && a <= b) return "self < min ? min : self > max ? max : self"; // NaN passes through
    if (lo && hi) return "self != self ? self : min != min ? min : max != max ? max : (self < min ? min : self) > max ? max : self < min ? min : self";
    return lo ? "self < min || min != min ? min : self" : "self > max || max != max ? max : self";
  }
  if (lo && hi) return "(self > min ? self : min) < max ? (self > min ? self : min) : max";
  return lo ? "self > min ? self : min" : "self < max ? self : max";
}

static const char *gelu_text(const cg_node *n) {
  if (!strcmp(cg_r_text(n, "approximate"), "tanh"))
    return "0.5$ * self * (1 + tanh$(0.7978845608028654$ * (self + 0.044715$ * self * self * self)))";
  return "gelu$(self)";
}

static const char *logit_text(const cg_node *n) {
  if (cg_r_is_none(n, "eps")) return "log$(self / (1 - self))";
  return "self < eps ? log$(eps / (1 - eps)) : self > 1 - eps ? log$((1 - eps) / (1 - (1 - eps))) : log$(self / (1 - self))";
}

// PyTorch's special cases, which are exact where pow is not.
static const char *pow_text(const cg_node *n) {
  double e;
  bool known = cg_arg_double(cg_node_arg(n, "exponent"), &e), f = cg_is_float(dtype_of(n));
  if (!known) return f ? "pow$(self, exponent)" : NULL;
  if (e == 2) return "self * self";
  if (e == 3) return "self * self * self";
  if (e == 1) return "self";
  if (!f) return e >= 0 ? "ipow$(self, exponent)" : NULL;
  if (dtype_of(n) == CG_F16 && (e == 0.5 || e == -0.5)) return "pow$(self, exponent)"; // roots differ at -0 and -inf
  if (e == 0.5) return "sqrt$(self)";
  if (e == -0.5) return "1 / sqrt$(self)";
  if (e == -1) return "1 / self";
  if (e == -2) return "1 / (self * self)";
  return "pow$(self, exponent)";
}

static const char *div_text(const cg_node *n) {
  const char *mode = cg_r_text(n, "rounding_mode");
  bool f = cg_is_float(dtype_of(n));
  if (cg_r_is_none(n, "rounding_mode")) return f ? "self / other" : NULL;
  if (!strcmp(mode, "floor")) return f ? "floordiv$(self, other)" : "floordiv$(self, other, err, site)";
  if (!strcmp(mode, "trunc")) return f ? "trunc$(self / other)" : "truncdiv$(self, other, err, site)";
  return NULL;
}

static const char *isclose_text(const cg_node *n) {
  if (cg_r_bool(n, "equal_nan", false))
    return "self == other || (self != self && other != other) || (fabs$(self - other) < INFINITY && fabs$(self - other) <= atol + fabs$(rtol * other))";
  return "self == other || (fabs$(self - other) < INFINITY && fabs$(self - other) <= atol + fabs$(rtol * other))";
}

// ---------------------------------------------------------------- elements

static te_expr *clamp_element(te *t, const cg_node *n, int k, te_expr **idx) { return (void)k, cg_lower_text(t, n, idx, dtype_of(n), clamp_text(n)); }
static te_expr *gelu_element(te *t, const cg_node *n, int k, te_expr **idx) { return (void)k, cg_lower_text(t, n, idx, dtype_of(n), gelu_text(n)); }
static te_expr *logit_element(te *t, const cg_node *n, int k, te_expr **idx) { return (void)k, cg_lower_text(t, n, idx, dtype_of(n), logit_text(n)); }
static te_expr *pow_element(te *t, const cg_node *n, int k, te_expr **idx) { return (void)k, cg_lower_text(t, n, idx, dtype_of(n), pow_text(n)); }
static te_expr *nextafter_element(te *t, const cg_node *n, int k, te_expr **idx) {
  return (void)k, cg_lower_text(t, n, idx, dtype_of(n), "nextafter$(self, other)");
}

// In half precision the quotient by a tensor is rounded before it is truncated.
static te_expr *div_element(te *t, const cg_node *n, int k, te_expr **idx) {
  static const char *const names[] = {"x"};
  cg_dtype d = dtype_of(n);
  (void)k;
  if (!cg_r_half(d) || strcmp(cg_r_text(n, "rounding_mode"), "trunc") || !cg_arg_tensor(cg_node_arg(n, "other"))) return cg_lower_text(t, n, idx, d, div_text(n));
  te_expr *q = cg_lower_text(t, n, idx, d, "self / other");
  return te_body(t, n, d, "trunc$(x)", 1, names, &q);
}

static te_expr *isclose_element(te *t, const cg_node *n, int k, te_expr **idx) {
  (void)k;
  return cg_lower_text(t, n, idx, cg_r_type(n, "self")->dtype, isclose_text(n));
}

// nan, posinf and neginf are replaced by numbers that are given, or 0 and the largest and least of the dtype.
static te_expr *nan_to_num_element(te *t, const cg_node *n, int k, te_expr **idx) {
  static const char *const names[] = {"self", "nan", "high", "low"};
  (void)k;
  cg_dtype d = dtype_of(n), c = cg_r_wide(d);
  te_expr *x = te_at(t, cg_r_tensor(n, "self"), idx);
  if (!cg_is_float(d)) return x;
  double most = d == CG_F64 ? 1.7976931348623157e308 : d == CG_F16 ? 65504 : d == CG_BF16 ? 3.3895313892515355e38 : 3.4028234663852886e38;
  te_expr *arg[] = {x, te_number(t, cg_r_double_or(n, "nan", 0), c), te_number(t, cg_r_double_or(n, "posinf", most), c),
                    te_number(t, cg_r_double_or(n, "neginf", -most), c)};
  return te_body(t, n, d, "self != self ? nan : self == INFINITY ? high : self == -INFINITY ? low : self", 4, names, arg);
}

// A slope for each channel (dimension 1), or one for all; _prelu_kernel's are of shapes that broadcast.
static te_expr *prelu_element(te *t, const cg_node *n, int k, te_expr **idx) {
  static const char *const names[] = {"self", "weight"};
  (void)k;
  cg_value *w = cg_r_tensor(n, "weight");
  int rank = n->result[0]->type.rank;
  te_expr *channel = rank > 1 && w->type.rank && !cg_x_is(w->type.dim[0], 1) ? idx[1] : te_int(t, 0);
  te_expr *slope = cg_node_is_op(n, "aten::prelu") ? te_at(t, w, &channel) : te_at_broadcast(t, w, rank, idx);
  te_expr *arg[] = {te_at(t, cg_r_tensor(n, "self"), idx), te_cast(t, slope, dtype_of(n))};
  return te_body(t, n, dtype_of(n), "self > 0 ? self : weight * self", 2, names, arg);
}

static te_expr *cast_element(te *t, const cg_node *n, int k, te_expr **idx) {
  (void)k;
  return te_cast(t, te_at(t, cg_self(n), idx), dtype_of(n));
}

static te_expr *same_element(te *t, const cg_node *n, int k, te_expr **idx) { return (void)k, te_at(t, cg_self(n), idx); }

static te_expr *copy_element(te *t, const cg_node *n, int k, te_expr **idx) {
  (void)k;
  return te_cast(t, te_at_broadcast(t, cg_r_tensor(n, "src"), n->result[0]->type.rank, idx), dtype_of(n));
}

// ---------------------------------------------------------------- lowerings

const char *cg_lower_clamp(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(numbers_only(t, n));
  if (cg_r_is_none(n, "min") && cg_r_is_none(n, "max")) return "clamp without bounds";
  return te_map(out, clamp_element);
}

const char *cg_lower_gelu(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(floats_only(t, n));
  return te_map(out, gelu_element);
}

const char *cg_lower_logit(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(floats_only(t, n));
  return te_map(out, logit_element);
}

const char *cg_lower_nan_to_num(te *t, const cg_node *n, te_compute *out) {
  static const char *const names[] = {"nan", "posinf", "neginf"};
  double v;
  (void)t;
  for (int i = 0; i < 3; i++)
    if (!cg_r_is_none(n, names[i]) && !cg_arg_double(cg_node_arg(n, names[i]), &v)) return "nan_to_num with numbers that are not literal";
  return te_map(out, nan_to_num_element);
}

const char *cg_lower_prelu(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(floats_only(t, n));
  return te_map(out, prelu_element);
}

const char *cg_lower_pow_number(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(numbers_only(t, n));
  return pow_text(n) ? te_map(out, pow_element) : "an integer to a power that is negative, or not a literal";
}

const char *cg_lower_div_mode(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(numbers_only(t, n));
  return div_text(n) ? te_map(out, div_element) : "an unknown rounding mode";
}

// The next number of half precision is not the next of f32.
const char *cg_lower_nextafter(te *t, const cg_node *n, te_compute *out) {
  CG_RULE(floats_only(t, n));
  return cg_r_half(dtype_of(n)) ? "nextafter in half precision" : te_map(out, nextafter_element);
}

const char *cg_lower_isclose(te *t, const cg_node *n, te_compute *out) {
  const cg_type *a = cg_r_type(n, "self"), *b = cg_r_type(n, "other");
  (void)t;
  if (!a || !b || a->dtype != b->dtype || !cg_r_plain_float(a->dtype)) return "isclose of other than floating numbers";
  return te_map(out, isclose_element);
}

const char *cg_lower_cast(te *t, const cg_node *n, te_compute *out) {
  const cg_arg *device = cg_node_arg(n, "device");
  (void)t;
  if (device && device->kind == CG_A_DEVICE && strncmp(device->str.text, "cpu", 3)) return "another device";
  return te_map(out, cast_element);
}

const char *cg_lower_same(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, same_element); }
const char *cg_lower_copy(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, copy_element); }
