// Type rules of operators that make tensors from numbers, and of random ones.
#include <math.h>
#include <string.h>

#include "ops/rules.h"

static bool is(const cg_node *n, const char *name) { return n->schema && !strcmp(n->schema->name, name); }

// Another layout than strided is LibTorch's.
static bool strided(const cg_node *n) {
  const cg_arg *a = cg_node_arg(n, "layout");
  return !a || a->kind != CG_A_LAYOUT || strstr(a->str.text, "strided");
}

static const char *of_size(cg_module *m, cg_node *n, cg_dtype dtype) {
  int rank = cg_arg_list_len(cg_node_arg(n, "size"));
  const cg_expr **dim = cg_r_new_dims(m, rank);
  if (!strided(n) || rank > CG_MAX_RANK || cg_r_sizes(m, n, "size", rank, dim)) return NULL;
  for (int i = 0; i < rank; i++)
    if (cg_x_is_int(dim[i]) && dim[i]->value < 0) return cg_r_why(m, "negative size %s", cg_r_shape(m, rank, dim));
  cg_r_set(n, 0, dtype, rank, dim);
  return NULL;
}

// What a Python number makes of a tensor that is given no dtype.
static int number_dtype(const cg_arg *a) {
  cg_promotion p = {-1, -1, -1};
  if (!a || (a->kind == CG_A_VALUE && a->value->type.kind == CG_T_TENSOR)) return -1;
  cg_promote_add(&p, a);
  return p.number_state;
}

// zeros, ones, empty, rand, randn: the default dtype is f32.
const char *cg_infer_sized(cg_module *m, cg_node *n) { return of_size(m, n, cg_r_dtype(n, CG_F32)); }
const char *cg_infer_sized_int(cg_module *m, cg_node *n) { return of_size(m, n, cg_r_dtype(n, CG_I64)); }

const char *cg_infer_full(cg_module *m, cg_node *n) {
  const cg_arg *given = cg_node_arg(n, "dtype");
  int t = given && given->kind == CG_A_DTYPE ? (int)given->dtype : number_dtype(cg_node_arg(n, "fill_value"));
  return t < 0 ? NULL : of_size(m, n, (cg_dtype)t);
}

// zeros_like and the like: shape and dtype of self unless another dtype is given.
const char *cg_infer_like(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "self");
  if (!x) return "self is no tensor";
  (void)m;
  if (strided(n)) cg_r_set_like(n, 0, x, cg_r_dtype(n, x->dtype));
  return NULL;
}

const char *cg_infer_new(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "self");
  if (!x) return "self is no tensor";
  return of_size(m, n, cg_r_dtype(n, x->dtype));
}

const char *cg_infer_scalar_tensor(cg_module *m, cg_node *n) {
  if (strided(n)) cg_r_set(n, 0, cg_r_dtype(n, CG_F32), 0, cg_r_new_dims(m, 0));
  return NULL;
}

const char *cg_infer_eye(cg_module *m, cg_node *n) {
  const cg_expr **dim = cg_r_new_dims(m, 2);
  if (!cg_r_int(n, "n", &dim[0])) return NULL;
  dim[1] = dim[0];
  if (cg_node_arg(n, "m") && !cg_r_int(n, "m", &dim[1])) return NULL;
  cg_r_set(n, 0, cg_r_dtype(n, CG_F32), 2, dim);
  return NULL;
}

// ---------------------------------------------------------------- ranges

static const char *arange_length(cg_module *m, const cg_node *n, const cg_expr **out) {
  const cg_arg *args[] = {cg_node_arg(n, "start"), cg_node_arg(n, "end"), cg_node_arg(n, "step")};
  const cg_expr *x[3] = {cg_xi(m, 0), NULL, cg_xi(m, 1)};
  double d[3] = {0, 0, 1};
  bool ints = true;
  for (int i = 0; i < 3; i++) ints = ints && (!args[i] || args[i]->kind == CG_A_NONE || cg_arg_int(args[i], &x[i]));
  if (ints && !cg_x_is_int(x[2])) return NULL;
  if (ints) {
    int64_t step = x[2]->value;
    if (!step) return "step must be nonzero";
    const cg_expr *span = step > 0 ? cg_xsub(m, x[1], x[0]) : cg_xsub(m, x[0], x[1]), *by = cg_xi(m, step > 0 ? step : -step);
    if (cg_x_is_int(span) && span->value < 0) return "upper bound and lower bound inconsistent with step sign";
    *out = step == 1 || step == -1 ? span : cg_xdiv(m, cg_xadd(m, span, cg_xsub(m, by, cg_xi(m, 1))), by);
    return NULL;
  }
  for (int i = 0; i < 3; i++)
    if (args[i] && args[i]->kind != CG_A_NONE && !cg_arg_double(args[i], &d[i])) return NULL;
  if (cg_r_dtype(n, CG_F32) == CG_I64) // whole numbers first, as PyTorch does for this dtype alone
    for (int i = 0; i < 3; i++) d[i] = trunc(d[i]);
  double size = ceil((d[1] - d[0]) / d[2]);
  if (!(size >= 0 && size < 9e15)) return "arange: bounds and step do not fit";
  *out = cg_xi(m, (int64_t)size);
  return NULL;
}

const char *cg_infer_arange(cg_module *m, cg_node *n) {
  static const char *const names[] = {"start", "end", "step"};
  const cg_expr **dim = cg_r_new_dims(m, 1);
  bool floating = false;
  CG_RULE(arange_length(m, n, &dim[0]));
  if (!dim[0]) return NULL;
  for (int i = 0; i < 3; i++) {
    const cg_arg *a = cg_node_arg(n, names[i]);
    if (a) floating = floating || number_dtype(a) == CG_F32;
  }
  cg_r_set(n, 0, cg_r_dtype(n, floating ? CG_F32 : CG_I64), 1, dim);
  return NULL;
}

const char *cg_infer_linspace(cg_module *m, cg_node *n) {
  const cg_expr **dim = cg_r_new_dims(m, 1);
  for (int i = 0; i < 2 && cg_r_is_none(n, "dtype"); i++) {
    const cg_value *end = cg_arg_tensor(&n->arg[i]);
    if (n->arg[i].kind == CG_A_COMPLEX || (end && cg_is_complex(end->type.dtype))) return NULL;
  }
  if (!cg_r_int(n, "steps", &dim[0])) return NULL;
  if (cg_x_is_int(dim[0]) && dim[0]->value < 0) return "number of steps must be non-negative";
  cg_r_set(n, 0, cg_r_dtype(n, CG_F32), 1, dim);
  return NULL;
}

// tril_indices, triu_indices of known sizes are (2, count) int64.
const char *cg_infer_tri_indices(cg_module *m, cg_node *n) {
  int64_t rows = cg_r_int_or(n, "row", -1), cols = cg_r_int_or(n, "col", -1), offset = cg_r_int_or(n, "offset", 0), count = 0;
  if (rows < 0 || cols < 0 || rows > 1 << 20) return NULL;
  for (int64_t i = 0; i < rows; i++) {
    int64_t below = i + offset + 1 < 0 ? 0 : i + offset + 1 > cols ? cols : i + offset + 1; // elements on and left of the diagonal
    if (is(n, "aten::tril_indices")) count += below;
    else {
      int64_t left = i + offset < 0 ? 0 : i + offset > cols ? cols : i + offset;
      count += cols - left;
    }
  }
  const cg_expr **dim = cg_r_new_dims(m, 2);
  dim[0] = cg_xi(m, 2), dim[1] = cg_xi(m, count);
  cg_r_set(n, 0, cg_r_dtype(n, CG_I64), 2, dim);
  return NULL;
}

const char *cg_infer_randperm(cg_module *m, cg_node *n) {
  const cg_expr **dim = cg_r_new_dims(m, 1);
  if (!cg_r_int(n, "n", &dim[0])) return NULL;
  cg_r_set(n, 0, cg_r_dtype(n, CG_I64), 1, dim);
  return NULL;
}

// native_dropout: the values and the mask.
const char *cg_infer_native_dropout(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input");
  if (!x) return "input is no tensor";
  (void)m;
  cg_r_set_like(n, 0, x, x->dtype);
  cg_r_set_like(n, 1, x, CG_BOOL);
  return NULL;
}
