// Concatenation and padding: which argument an element comes from, by where it is.
#include <string.h>

#include "ops/rules.h"
#include "ops/view.h"

// ---------------------------------------------------------------- cat, stack

enum { FEW = 3 }; // so many pieces are told apart element by element; more have loops of their own

static const char *join(te_compute *out) {
  out->kind = TE_KERNEL;
  out->kernel = "join";
  return NULL;
}

static bool skipped(const cg_type *t) { return t->rank == 1 && cg_x_is(t->dim[0], 0); }

// Piece i covers [start[i], start[i+1]) of dim d; found by halving.
static te_expr *pick(te *t, const cg_node *n, cg_value **x, const cg_expr **start, int lo, int hi, int d, te_expr **idx) {
  cg_dtype dtype = n->result[0]->type.dtype;
  if (hi - lo == 1) {
    te_expr *in[CG_MAX_RANK];
    for (int i = 0; i < x[lo]->type.rank; i++) in[i] = i == d ? te_sub(t, idx[i], te_size(t, start[lo])) : idx[i];
    return te_cast(t, te_at(t, x[lo], in), dtype);
  }
  int mid = (lo + hi) / 2;
  te_expr *before = te_op(t, TE_LT, idx[d], te_size(t, start[mid]));
  return te_select(t, before, pick(t, n, x, start, lo, mid, d, idx), pick(t, n, x, start, mid, hi, d, idx));
}

static te_expr *cat_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_module *m = te_module(t);
  cg_value **x;
  int count = cg_r_tensors(m, n, "tensors", &x), d = 0, used = 0;
  const cg_expr **start = cg_r_new_dims(m, count + 1), *at = cg_xi(m, 0);
  (void)k;
  cg_r_dim_of(m, n, "dim", n->result[0]->type.rank, &d);
  for (int i = 0; i < count; i++) {
    if (skipped(&x[i]->type)) continue;
    start[used] = at;
    at = cg_xadd(m, at, x[i]->type.dim[d]);
    x[used++] = x[i];
  }
  if (!used) return te_integer(t, 0, n->result[0]->type.dtype); // no elements at all
  return pick(t, n, x, start, 0, used, d, idx);
}

const char *cg_lower_cat(te *t, const cg_node *n, te_compute *out) {
  cg_value **x;
  int d, count = cg_r_tensors(te_module(t), n, "tensors", &x);
  CG_RULE(cg_r_dim_of(te_module(t), n, "dim", n->result[0]->type.rank, &d));
  for (int i = 0; i < count; i++)
    if (!x[i]) return "an item of the list is no tensor";
  return count > FEW ? join(out) : te_map(out, cat_element);
}

static te_expr *stack_pick(te *t, const cg_node *n, cg_value **x, int lo, int hi, te_expr *which, te_expr **in) {
  if (hi - lo == 1) return te_cast(t, te_at(t, x[lo], in), n->result[0]->type.dtype);
  int mid = (lo + hi) / 2;
  te_expr *before = te_op(t, TE_LT, which, te_int(t, mid));
  return te_select(t, before, stack_pick(t, n, x, lo, mid, which, in), stack_pick(t, n, x, mid, hi, which, in));
}

static te_expr *stack_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value **x;
  int count = cg_r_tensors(te_module(t), n, "tensors", &x), d = 0, r = 0;
  te_expr *in[CG_MAX_RANK];
  (void)k;
  cg_r_dim_of(te_module(t), n, "dim", n->result[0]->type.rank, &d);
  for (int i = 0; i < n->result[0]->type.rank; i++)
    if (i != d) in[r++] = idx[i];
  return stack_pick(t, n, x, 0, count, idx[d], in);
}

const char *cg_lower_stack(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  return cg_arg_list_len(cg_node_arg(n, "tensors")) > FEW ? join(out) : te_map(out, stack_element);
}

// ---------------------------------------------------------------- padding

static const char *pad_name(const cg_node *n) { return cg_node_arg(n, "pad") ? "pad" : "padding"; }

static te_expr *zero_of(te *t, cg_dtype d) { return te_integer(t, 0, d); }

static te_expr *pad_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  const cg_type *type = &x->type;
  cg_module *m = te_module(t);
  const char *name = pad_name(n);
  int count = cg_arg_list_len(cg_node_arg(n, name)), rank = type->rank;
  const cg_expr *by[2 * CG_MAX_RANK];
  te_expr *in[CG_MAX_RANK], *inside = te_integer(t, 1, CG_BOOL);
  (void)k;
  cg_r_sizes(m, n, name, count, by);
  for (int d = 0; d < rank; d++) {
    int i = rank - 1 - d;
    in[d] = idx[d];
    if (i >= count / 2) continue;
    in[d] = te_sub(t, idx[d], te_size(t, by[2 * i]));
    if (!cg_x_is(by[2 * i], 0)) inside = te_op(t, TE_AND, inside, te_op(t, TE_LE, te_int(t, 0), in[d]));
    if (!cg_x_is(by[2 * i + 1], 0)) inside = te_op(t, TE_AND, inside, te_op(t, TE_LT, in[d], te_size(t, type->dim[d])));
  }
  const cg_arg *value = cg_node_arg(n, "value");
  te_expr *outside = value && value->kind != CG_A_NONE ? te_at_arg(t, value, NULL, type->dtype) : zero_of(t, type->dtype);
  return te_select(t, inside, te_at(t, x, in), te_cast(t, outside, type->dtype));
}

// An index outside of [0, size), brought back as the mode says.
static te_expr *brought_back(te *t, const char *mode, te_expr *i, const cg_expr *size) {
  cg_module *m = te_module(t);
  te_expr *zero = te_int(t, 0), *last = te_size(t, cg_xsub(m, size, cg_xi(m, 1)));
  if (!strcmp(mode, "circular")) return te_op(t, TE_MOD, i, te_size(t, size));
  if (!strcmp(mode, "replicate")) return te_op(t, TE_MIN, te_op(t, TE_MAX, i, zero), last);
  te_expr *front = te_op(t, TE_MAX, i, te_sub(t, zero, i)), *over = te_sub(t, front, last);
  return te_sub(t, last, te_op(t, TE_MAX, over, te_sub(t, zero, over))); // reflect
}

static te_expr *edge_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  const char *name = pad_name(n);
  int count = cg_arg_list_len(cg_node_arg(n, name)), rank = x->type.rank;
  const cg_expr *by[2 * CG_MAX_RANK];
  te_expr *in[CG_MAX_RANK];
  (void)k;
  cg_r_sizes(te_module(t), n, name, count, by);
  for (int d = 0; d < rank; d++) {
    int i = rank - 1 - d;
    in[d] = i < count / 2 ? brought_back(t, cg_r_pad_mode(n), te_sub(t, idx[d], te_size(t, by[2 * i])), x->type.dim[d]) : idx[d];
  }
  return te_at(t, x, in);
}

const char *cg_lower_pad(te *t, const cg_node *n, te_compute *out) {
  const cg_expr *by[2 * CG_MAX_RANK];
  const char *name = pad_name(n), *mode = cg_r_pad_mode(n);
  int count = cg_arg_list_len(cg_node_arg(n, name));
  cg_value *x = cg_self(n);
  if (!x || count > 2 * x->type.rank) return "padding that does not fit";
  CG_RULE(cg_r_sizes(te_module(t), n, name, count, by));
  if (!strcmp(mode, "constant")) return te_map(out, pad_element);
  if (strcmp(mode, "reflect") && strcmp(mode, "replicate") && strcmp(mode, "circular")) return cg_r_why(te_module(t), "padding mode %s", mode);
  for (int i = 0; i < count; i++)
    if (!cg_x_is_int(by[i]) || by[i]->value < 0) return "padding by a number that is not known, or negative";
  return te_map(out, edge_element);
}
