// Tensors made from numbers: constants, ranges, identities, triangles.
#include <string.h>

#include "ops/rules.h"

static cg_dtype dtype_of(const cg_node *n) { return n->result[0]->type.dtype; }

static bool is_number(const cg_arg *a) {
  if (!a) return false;
  if (a->kind == CG_A_VALUE) return a->value->type.kind != CG_T_TENSOR || a->value->type.rank == 0;
  return a->kind == CG_A_INT || a->kind == CG_A_FLOAT || a->kind == CG_A_BOOL;
}

// ---------------------------------------------------------------- one number everywhere

static te_expr *zero_element(te *t, const cg_node *n, int k, te_expr **idx) { return (void)k, (void)idx, te_integer(t, 0, dtype_of(n)); }
static te_expr *one_element(te *t, const cg_node *n, int k, te_expr **idx) { return (void)k, (void)idx, te_integer(t, 1, dtype_of(n)); }

static te_expr *number_element(te *t, const cg_node *n, int k, te_expr **idx) {
  const cg_arg *a = cg_node_arg(n, cg_node_arg(n, "fill_value") ? "fill_value" : "s");
  double v;
  (void)k, (void)idx;
  if (cg_arg_double(a, &v) && a->kind == CG_A_FLOAT) return te_cast(t, te_number(t, v, CG_F64), dtype_of(n));
  return te_cast(t, te_at_arg(t, a, NULL, a->kind == CG_A_VALUE && a->value->type.kind == CG_T_FLOAT ? CG_F64 : dtype_of(n)), dtype_of(n));
}

const char *cg_lower_zeros(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, zero_element); }
const char *cg_lower_ones(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, one_element); }

const char *cg_lower_full(te *t, const cg_node *n, te_compute *out) {
  const cg_arg *a = cg_node_arg(n, cg_node_arg(n, "fill_value") ? "fill_value" : "s");
  (void)t;
  return is_number(a) ? te_map(out, number_element) : "it is filled with no real number";
}

// ---------------------------------------------------------------- ranges

static te_expr *number(te *t, const cg_node *n, const char *name, double otherwise, cg_dtype d) {
  const cg_arg *a = cg_node_arg(n, name);
  if (!a || a->kind == CG_A_NONE) return te_cast(t, te_number(t, otherwise, CG_F64), d);
  return a->kind == CG_A_FLOAT ? te_cast(t, te_number(t, a->f, CG_F64), d) : te_at_arg(t, a, NULL, d);
}

// Integers exactly; floating ones in double, as PyTorch does for float.
static te_expr *arange_element(te *t, const cg_node *n, int k, te_expr **idx) {
  static const char *const names[] = {"start", "step", "i"};
  cg_dtype d = dtype_of(n), c = cg_is_integral(d) ? CG_I64 : CG_F64;
  (void)k;
  if (c == CG_I64) {
    const cg_expr *start = cg_xi(te_module(t), 0), *step = cg_xi(te_module(t), 1);
    bool known = (cg_r_is_none(n, "start") || cg_r_int(n, "start", &start)) && (cg_r_is_none(n, "step") || cg_r_int(n, "step", &step));
    if (known) return te_cast(t, te_add(t, te_size(t, start), te_mul(t, idx[0], te_size(t, step))), d);
  }
  te_expr *arg[] = {number(t, n, "start", 0, c), number(t, n, "step", 1, c), te_cast(t, idx[0], c)};
  return te_cast(t, te_body(t, n, c, "start + step * i", 3, names, arg), d);
}

const char *cg_lower_arange(te *t, const cg_node *n, te_compute *out) {
  static const char *const names[] = {"start", "end", "step"};
  (void)t;
  for (int i = 0; i < 3; i++)
    if (!cg_r_is_none(n, names[i]) && !is_number(cg_node_arg(n, names[i]))) return "a bound that is no real number";
  return te_map(out, arange_element);
}

// From both ends towards the middle, so that both are exact.
static te_expr *linspace_element(te *t, const cg_node *n, int k, te_expr **idx) {
  static const char *const names[] = {"start", "end", "steps", "i"};
  cg_dtype d = dtype_of(n), c = cg_r_wide(d);
  (void)k;
  te_expr *arg[] = {number(t, n, "start", 0, c), number(t, n, "end", 0, c), te_cast(t, te_size(t, n->result[0]->type.dim[0]), c), te_cast(t, idx[0], c)};
  const char *text = "steps < 2 ? start : i * 2 < steps ? start + (end - start) / (steps - 1) * i : end - (end - start) / (steps - 1) * (steps - 1 - i)";
  return te_cast(t, te_body(t, n, c, text, 4, names, arg), d);
}

const char *cg_lower_linspace(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  if (!cg_r_plain_float(dtype_of(n))) return "linspace of integers";
  if (!is_number(cg_node_arg(n, "start")) || !is_number(cg_node_arg(n, "end"))) return "a bound that is no real number";
  return te_map(out, linspace_element);
}

// ---------------------------------------------------------------- by place

static te_expr *eye_element(te *t, const cg_node *n, int k, te_expr **idx) { return (void)k, te_cast(t, te_op(t, TE_EQ, idx[0], idx[1]), dtype_of(n)); }
const char *cg_lower_eye(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, eye_element); }

// Whether row i, column j of a matrix is kept: on, below or above the diagonal.
static te_expr *triangle_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  int rank = x->type.rank;
  const cg_expr *d;
  (void)k;
  cg_r_int(n, "diagonal", &d);
  te_expr *edge = te_add(t, idx[rank - 2], te_size(t, d)), *col = idx[rank - 1];
  bool lower = cg_node_is_op(n, "aten::tril");
  te_expr *kept = lower ? te_op(t, TE_LE, col, edge) : te_op(t, TE_LE, edge, col);
  return te_select(t, kept, te_at(t, x, idx), te_integer(t, 0, dtype_of(n)));
}

const char *cg_lower_triangle(te *t, const cg_node *n, te_compute *out) {
  const cg_expr *d;
  cg_value *x = cg_self(n);
  (void)t;
  if (!x || x->type.rank < 2 || !cg_r_int(n, "diagonal", &d)) return "no matrices, or a diagonal that is not known";
  return te_map(out, triangle_element);
}

// one_hot: whether the last index is the class that self holds.
static te_expr *one_hot_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  int rank = n->result[0]->type.rank;
  (void)k;
  te_expr *which = te_index_unwrapped(t, te_at(t, x, idx), te_size(t, n->result[0]->type.dim[rank - 1]), n);
  return te_checked(t, te_cast(t, te_op(t, TE_EQ, which, idx[rank - 1]), CG_I64), which);
}

const char *cg_lower_one_hot(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, one_hot_element); }
