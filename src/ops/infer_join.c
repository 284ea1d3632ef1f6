// Type rules of what joins, pads and gates tensors.
#include <string.h>

#include "ops/rules.h"

static bool is(const cg_node *n, const char *name) { return n->schema && !strcmp(n->schema->name, name); }

// ---------------------------------------------------------------- joining

// The first tensor's other sizes, the sum along dim; 1-D empty tensors are skipped as PyTorch does.
const char *cg_infer_cat(cg_module *m, cg_node *n) {
  cg_value **x;
  int count = cg_r_tensors(m, n, "tensors", &x), d = -1;
  const cg_type *first = NULL;
  const cg_expr **dim = NULL;
  cg_promotion p = {-1, -1, -1};
  for (int i = 0; i < count; i++) {
    if (!x[i]) return "an item of the list is no tensor";
    cg_arg a = cg_a_value(x[i]);
    cg_promote_add(&p, &a);
    const cg_type *t = &x[i]->type;
    if (t->rank == 1 && cg_x_is(t->dim[0], 0)) continue;
    if (!first) {
      first = t;
      if (!t->rank) return "zero-dimensional tensors cannot be concatenated";
      CG_RULE(cg_r_dim_of(m, n, "dim", t->rank, &d));
      dim = cg_r_copy_dims(m, t);
      continue;
    }
    if (t->rank != first->rank) return "tensors must have the same number of dimensions";
    for (int k = 0; k < t->rank; k++) {
      if (k == d) {
        dim[k] = cg_xadd(m, dim[k], t->dim[k]);
        continue;
      }
      CG_RULE(cg_r_require(m, n, CG_X_EQ, dim[k], t->dim[k], cg_r_why(m, "tensors whose sizes match except in dimension %d", d)));
      if (cg_x_is_int(t->dim[k])) dim[k] = t->dim[k];
    }
  }
  if (!count) return "expected a non-empty list of tensors";
  if (!first) first = &x[0]->type, dim = cg_r_copy_dims(m, first);
  cg_r_set(n, 0, (cg_dtype)cg_promote_result(&p), first->rank, dim);
  return NULL;
}

const char *cg_infer_stack(cg_module *m, cg_node *n) {
  cg_value **x;
  int count = cg_r_tensors(m, n, "tensors", &x), d;
  if (!count) return "stack expects a non-empty list of tensors";
  cg_promotion p = {-1, -1, -1};
  for (int i = 0; i < count; i++) {
    if (!x[i]) return "an item of the list is no tensor";
    if (x[i]->type.rank != x[0]->type.rank) return "stack expects each tensor to be of equal size";
    for (int k = 0; k < x[0]->type.rank; k++) CG_RULE(cg_r_equal(m, n, x[0]->type.dim[k], x[i]->type.dim[k]));
    cg_arg a = cg_a_value(x[i]);
    cg_promote_add(&p, &a);
  }
  const cg_type *t = &x[0]->type;
  CG_RULE(cg_r_dim_of(m, n, "dim", t->rank + 1, &d));
  const cg_expr **dim = cg_r_new_dims(m, t->rank + 1);
  for (int i = 0; i <= t->rank; i++) dim[i] = i < d ? t->dim[i] : i == d ? cg_xi(m, count) : t->dim[i - 1];
  cg_r_set(n, 0, (cg_dtype)cg_promote_result(&p), t->rank + 1, dim);
  return NULL;
}

// ---------------------------------------------------------------- padding

// What a mode reads instead of what is outside has to be there.
static const char *check_edge(cg_module *m, cg_node *n, const char *mode, const cg_expr *size, const cg_expr *by) {
  if (!strcmp(mode, "reflect")) return cg_r_require(m, n, CG_X_LT, by, size, "padding smaller than the dimension");
  if (!strcmp(mode, "circular")) return cg_r_require(m, n, CG_X_LE, by, size, "padding no larger than the dimension");
  return !strcmp(mode, "replicate") && !cg_x_is(by, 0) ? cg_r_require(m, n, CG_X_LT, cg_xi(m, 0), size, "elements to repeat") : NULL;
}

const char *cg_r_pad_mode(const cg_node *n) {
  if (!strncmp(n->schema->name, "aten::reflection", 16)) return "reflect";
  if (!strncmp(n->schema->name, "aten::replication", 17)) return "replicate";
  return cg_node_arg(n, "mode") ? cg_r_text(n, "mode") : "constant";
}

// Pairs from the last dimension on: constant_pad_nd, pad, reflection and replication pads.
const char *cg_infer_pad(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  const char *name = cg_node_arg(n, "pad") ? "pad" : "padding";
  int count = cg_arg_list_len(cg_node_arg(n, name));
  const cg_expr *by[2 * CG_MAX_RANK];
  if (count % 2 || count / 2 > x->rank) return cg_r_why(m, "%s of %d items for a tensor of %d dimensions", name, count, x->rank);
  if (cg_r_sizes(m, n, name, count, by)) return NULL;
  const cg_expr **dim = cg_r_copy_dims(m, x);
  for (int i = 0; i < count / 2; i++) {
    int d = x->rank - 1 - i;
    for (int side = 0; side < 2; side++) CG_RULE(check_edge(m, n, cg_r_pad_mode(n), x->dim[d], by[2 * i + side]));
    dim[d] = cg_xadd(m, dim[d], cg_xadd(m, by[2 * i], by[2 * i + 1]));
    if (cg_x_is_int(dim[d]) && dim[d]->value < 0) return "padding makes a size negative";
  }
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// hstack and its like: the rule of what they are decomposed into.
const char *cg_infer_stacked(cg_module *m, cg_node *n) {
  cg_value **x;
  int count = cg_r_tensors(m, n, "tensors", &x);
  const cg_type *t = count && x[0] ? &x[0]->type : NULL;
  int least = is(n, "aten::hstack") ? 1 : is(n, "aten::dstack") ? 3 : 2;
  int along = is(n, "aten::vstack") || is(n, "aten::row_stack") ? 0 : is(n, "aten::dstack") ? 2 : t && t->rank > 1 ? 1 : is(n, "aten::column_stack");
  const cg_expr *sum = cg_xi(m, 0), *one = cg_xi(m, 1);
  cg_promotion p = {-1, -1, -1};
  if (!t) return "expected a non-empty list of tensors";
  int rank = t->rank > least ? t->rank : least;
  const cg_expr **dim = cg_r_new_dims(m, rank);
  for (int i = 0; i < count; i++) {
    if (!x[i]) return "an item of the list is no tensor";
    const cg_type *y = &x[i]->type;
    cg_arg a = cg_a_value(x[i]);
    cg_promote_add(&p, &a);
    for (int k = 0; k < rank; k++) dim[k] = k < y->rank ? y->dim[k] : one;
    if (y->rank < 2 && rank > 1) {
      bool column = is(n, "aten::column_stack");
      dim[column ? 0 : 1] = y->rank ? y->dim[0] : one;
      dim[column ? 1 : 0] = one;
    }
    sum = cg_xadd(m, sum, dim[along]);
  }
  dim[along] = sum;
  cg_r_set(n, 0, (cg_dtype)cg_promote_result(&p), rank, dim);
  return NULL;
}

const char *cg_infer_broadcast_tensors(cg_module *m, cg_node *n) {
  cg_value **x;
  int count = cg_r_tensors(m, n, "tensors", &x);
  cg_type all = {0};
  for (int i = 0; i < count; i++) {
    if (!x[i]) return "an item of the list is no tensor";
    if (!i) all = x[i]->type;
    else CG_RULE(cg_broadcast(m, n, &all, &x[i]->type));
  }
  for (int i = 0; i < n->nresults && i < count; i++) cg_r_set(n, i, x[i]->type.dtype, all.rank, all.dim);
  return NULL;
}

const char *cg_infer_meshgrid(cg_module *m, cg_node *n) {
  cg_value **x;
  int count = cg_r_tensors(m, n, "tensors", &x);
  const cg_expr **dim = cg_r_new_dims(m, count);
  for (int i = 0; i < count; i++) {
    if (!x[i] || x[i]->type.rank > 1) return "meshgrid expects 0D or 1D tensors";
    int at = count >= 2 && i < 2 && cg_node_arg(n, "indexing") && !strcmp(cg_r_text(n, "indexing"), "xy") ? 1 - i : i;
    dim[at] = x[i]->type.rank ? x[i]->type.dim[0] : cg_xi(m, 1);
  }
  for (int i = 0; i < n->nresults && i < count; i++) cg_r_set(n, i, x[i]->type.dtype, count, dim);
  return NULL;
}

const char *cg_infer_glu(cg_module *m, cg_node *n) {
  const cg_type *x;
  int d;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  if (!x->rank) return "glu does not support 0-dimensional tensors";
  const cg_expr **dim = cg_r_copy_dims(m, x);
  dim[d] = cg_xdiv(m, dim[d], cg_xi(m, 2));
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}
