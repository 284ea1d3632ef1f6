// Type rules of gathers, scatters and what else is addressed by index tensors.
#include <string.h>

#include "ops/rules.h"

const char *cg_infer_embedding(cg_module *m, cg_node *n) {
  const cg_type *w = cg_r_type(n, "weight"), *i = cg_r_type(n, "indices");
  if (!w || !i || w->rank != 2) return "'weight' must be 2-D";
  const cg_expr **dim = cg_r_new_dims(m, i->rank + 1);
  for (int k = 0; k < i->rank; k++) dim[k] = i->dim[k];
  dim[i->rank] = w->dim[1];
  cg_r_set(n, 0, w->dtype, i->rank + 1, dim);
  return NULL;
}

const char *cg_infer_index_select(cg_module *m, cg_node *n) {
  const cg_type *x, *i = cg_r_type(n, "index");
  int d;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  if (!i || i->rank > 1) return "index_select(): Index is supposed to be a vector";
  const cg_expr **dim = cg_r_copy_dims(m, x);
  if (x->rank) dim[d] = i->rank ? i->dim[0] : cg_xi(m, 1);
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// self and mask broadcast together.
const char *cg_infer_masked_scatter(cg_module *m, cg_node *n) {
  const cg_type *x, *mask = cg_r_type(n, "mask");
  CG_RULE(cg_r_self(n, &x));
  if (!mask) return "mask is no tensor";
  cg_type shape = *x;
  CG_RULE(cg_broadcast(m, n, &shape, mask));
  cg_r_set_like(n, 0, &shape, x->dtype);
  return NULL;
}

// A number for each index, whatever the shapes.
const char *cg_infer_put(cg_module *m, cg_node *n) {
  const cg_type *i = cg_r_type(n, "index"), *source = cg_r_type(n, "source");
  if (!i || !source) return "index or source is no tensor";
  if (i->kind == CG_T_TENSOR && source->kind == CG_T_TENSOR) CG_RULE(cg_r_equal(m, n, cg_type_numel(m, source), cg_type_numel(m, i)));
  return cg_infer_same(m, n);
}

// gather, take: the index tensor's shape.
const char *cg_infer_gather(cg_module *m, cg_node *n) {
  const cg_type *x, *i = cg_r_type(n, "index");
  CG_RULE(cg_r_self(n, &x));
  if (!i) return "index is no tensor";
  int d;
  if (cg_node_arg(n, "dim") && x->rank && x->rank == i->rank) {
    CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
    for (int k = 0; k < x->rank; k++)
      if (k != d) CG_RULE(cg_r_require(m, n, CG_X_LE, i->dim[k], x->dim[k], "an index no larger than self but along dim"));
  }
  cg_r_set_like(n, 0, i, x->dtype);
  return NULL;
}

// self[indices]: the index tensors' common shape stands where the first of them does, or in front if there are
// dimensions without index between them. false in *known: how many a mask chooses is known at run time only.
static const char *indexed(cg_module *m, const cg_node *n, cg_type *t, bool *known) {
  const cg_type *x;
  cg_value **i;
  CG_RULE(cg_r_self(n, &x));
  int count = cg_r_tensors(m, n, "indices", &i), first = -1, last = -1, used = 0, r = 0;
  cg_type shape = cg_tensor_type(CG_I64, 0, NULL);
  *known = false;
  if (count > x->rank) return cg_r_why(m, "too many indices for tensor of dimension %d", x->rank);
  for (int k = 0; k < count; k++) {
    if (!i[k]) continue;
    if (i[k]->type.dtype == CG_BOOL || i[k]->type.dtype == CG_U8) return NULL;
    if (cg_is_float(i[k]->type.dtype)) return "tensors used as indices must be long, int, byte or bool tensors";
    CG_RULE(cg_broadcast(m, n, &shape, &i[k]->type));
    first = first < 0 ? k : first, last = k, used++;
  }
  *known = true, *t = cg_tensor_type(x->dtype, x->rank, x->dim);
  if (!used) return NULL;
  int at = last - first + 1 == used ? first : 0;
  const cg_expr **dim = cg_r_new_dims(m, x->rank + shape.rank);
  bool placed = false;
  for (int k = 0; k <= x->rank; k++) {
    if (!placed && (r == at || k == x->rank)) {
      for (int j = 0; j < shape.rank; j++) dim[r++] = shape.dim[j];
      placed = true;
    }
    if (k < x->rank && !(k < count && i[k])) dim[r++] = x->dim[k];
  }
  *t = cg_tensor_type(x->dtype, r, dim);
  return NULL;
}

const char *cg_infer_index(cg_module *m, cg_node *n) {
  cg_type t;
  bool known;
  CG_RULE(indexed(m, n, &t, &known));
  if (known) cg_r_set(n, 0, t.dtype, t.rank, t.dim);
  return NULL;
}

const char *cg_infer_index_put(cg_module *m, cg_node *n) {
  const cg_type *values = cg_r_type(n, "values");
  cg_type t;
  bool known;
  CG_RULE(cg_infer_same(m, n));
  CG_RULE(indexed(m, n, &t, &known));
  return known && values ? cg_r_stretches(m, n, values, t.rank, t.dim) : NULL;
}

// index_copy, index_add, index_reduce: the source is of self's sizes, along dim of as many as there are indices.
const char *cg_infer_index_copy(cg_module *m, cg_node *n) {
  const cg_type *x, *i = cg_r_type(n, "index"), *source = cg_r_type(n, "source");
  int d;
  CG_RULE(cg_infer_same(m, n));
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  if (!i || !source || source->rank != x->rank) return NULL;
  for (int k = 0; k < x->rank; k++) CG_RULE(cg_r_equal(m, n, source->dim[k], k == d ? cg_type_numel(m, i) : x->dim[k]));
  return NULL;
}

// scatter of every kind: an index is no larger than the source, nor but along dim than self.
const char *cg_infer_scatter(cg_module *m, cg_node *n) {
  const cg_type *x, *i = cg_r_type(n, "index"), *src = cg_r_type(n, "src");
  int d;
  CG_RULE(cg_infer_same(m, n));
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  if (!i || i->rank != x->rank || cg_x_is(cg_type_numel(m, i), 0)) return NULL;
  for (int k = 0; k < x->rank; k++) {
    if (src && src->rank == i->rank) CG_RULE(cg_r_require(m, n, CG_X_LE, i->dim[k], src->dim[k], "an index no larger than src"));
    if (k != d) CG_RULE(cg_r_require(m, n, CG_X_LE, i->dim[k], x->dim[k], "an index no larger than self but along dim"));
  }
  return NULL;
}

const char *cg_infer_one_hot(cg_module *m, cg_node *n) {
  const cg_type *x;
  const cg_expr *classes;
  CG_RULE(cg_r_self(n, &x));
  if (!cg_r_int(n, "num_classes", &classes) || (cg_x_is_int(classes) && classes->value < 0)) return NULL;
  const cg_expr **dim = cg_r_new_dims(m, x->rank + 1);
  for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
  dim[x->rank] = classes;
  cg_r_set(n, 0, CG_I64, x->rank + 1, dim);
  return NULL;
}

// bucketize, searchsorted: the shape of what is looked for; rows of sorted numbers are as many as rows of those.
const char *cg_infer_search(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "self"), *sorted = cg_r_type(n, "sorted_sequence");
  if (!x) return NULL;
  for (int d = 0; sorted && sorted->rank == x->rank && d < x->rank - 1; d++) CG_RULE(cg_r_equal(m, n, sorted->dim[d], x->dim[d]));
  cg_r_set_like(n, 0, x, cg_r_bool(n, "out_int32", false) ? CG_I32 : CG_I64);
  return NULL;
}
