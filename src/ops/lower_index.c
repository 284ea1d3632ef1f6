// Gathers: the place of an element is read from an index tensor. Indices are checked where they are used; those of self[i] and take wrap.
#include <string.h>

#include "ops/rules.h"
#include "ops/view.h"

static bool integers(const cg_value *v) { return v && (v->type.dtype == CG_I64 || v->type.dtype == CG_I32); }

// ---------------------------------------------------------------- embedding, index_select, gather, take

static te_expr *embedding_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *w = cg_r_tensor(n, "weight"), *i = cg_r_tensor(n, "indices");
  (void)k;
  te_expr *at[] = {te_index_unwrapped(t, te_at(t, i, idx), te_size(t, w->type.dim[0]), n), idx[i->type.rank]};
  return te_checked(t, te_at(t, w, at), at[0]);
}

const char *cg_lower_embedding(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  return integers(cg_r_tensor(n, "indices")) ? te_map(out, embedding_element) : "indices of this dtype";
}

// index_select: one list of places for all of self; gather: a place for each element.
static te_expr *select_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n), *i = cg_r_tensor(n, "index");
  int d = 0, rank = x->type.rank;
  te_expr *in[CG_MAX_RANK], *first = te_int(t, 0);
  (void)k;
  cg_r_dim_of(te_module(t), n, "dim", rank, &d);
  for (int j = 0; j < rank; j++) in[j] = idx[j];
  te_expr *size = rank ? te_size(t, x->type.dim[d]) : te_int(t, 1);
  te_expr **at = cg_node_is_op(n, "aten::gather") ? idx : rank ? &idx[d] : &first;
  te_expr *place = in[d] = te_index_unwrapped(t, te_at(t, i, at), size, n);
  return te_checked(t, te_at(t, x, in), place);
}

const char *cg_lower_index_select(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  if (!cg_self(n)) return "self is no tensor";
  return integers(cg_r_tensor(n, "index")) ? te_map(out, select_element) : "indices of this dtype";
}

const char *cg_lower_gather(te *t, const cg_node *n, te_compute *out) {
  cg_value *x = cg_self(n), *i = cg_r_tensor(n, "index");
  (void)t;
  if (!x || !i || (x->type.rank && i->type.rank != x->type.rank)) return "an index of another rank";
  return integers(i) ? te_map(out, select_element) : "indices of this dtype";
}

static te_expr *take_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n), *i = cg_r_tensor(n, "index");
  te_expr *in[CG_MAX_RANK];
  (void)k;
  te_expr *flat = te_index(t, te_at(t, i, idx), te_size(t, cg_type_numel(te_module(t), &x->type)), n);
  te_unflat(t, flat, x->type.rank, x->type.dim, in);
  return te_checked(t, te_at(t, x, in), flat);
}

const char *cg_lower_take(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  return cg_self(n) && integers(cg_r_tensor(n, "index")) ? te_map(out, take_element) : "indices of this dtype";
}

// ---------------------------------------------------------------- self[indices]

static te_expr *index_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n), **i;
  int count = cg_r_tensors(te_module(t), n, "indices", &i), first = -1, last = -1, used = 0, rank = 0;
  te_expr *in[CG_MAX_RANK];
  (void)k;
  for (int j = 0; j < count; j++) {
    if (!i[j]) continue;
    first = first < 0 ? j : first, last = j, used++;
    if (i[j]->type.rank > rank) rank = i[j]->type.rank;
  }
  int at = used && last - first + 1 == used ? first : 0, r = 0; // where the index tensors' common shape starts
  for (int j = 0; j < x->type.rank; j++) {
    if (r == at) r += rank;
    if (j < count && i[j]) in[j] = te_index(t, te_at_broadcast(t, i[j], rank, idx + at), te_size(t, x->type.dim[j]), n);
    else in[j] = idx[r++];
  }
  te_expr *e = te_at(t, x, in);
  for (int j = 0; j < count; j++)
    if (i[j]) e = te_checked(t, e, in[j]);
  return e;
}

const char *cg_lower_index(te *t, const cg_node *n, te_compute *out) {
  cg_value **i;
  int count = cg_r_tensors(te_module(t), n, "indices", &i), used = 0;
  for (int j = 0; j < count; j++) {
    used += i[j] != NULL;
    if (i[j] && !integers(i[j])) return "indexing by a mask";
  }
  return cg_self(n) && used ? te_map(out, index_element) : "indexing by nothing";
}

// ---------------------------------------------------------------- slices written over

static te_expr *other(te *t, const cg_node *n, te_expr **in, cg_value *src) { return te_cast(t, te_at(t, src, in), n->result[0]->type.dtype); }

// slice_scatter, select_scatter: src where the slice is, self elsewhere.
static te_expr *slice_scatter_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n), *src = cg_r_tensor(n, "src");
  cg_slice s;
  te_expr *in[CG_MAX_RANK];
  (void)k;
  if (cg_v_slice(te_module(t), n, &x->type, &s)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its bounds do not read", n->schema->key);
  te_expr *from = te_sub(t, idx[s.dim], te_size(t, s.start)), *step = te_size(t, s.step), *piece = te_op(t, TE_FLOORDIV, from, step);
  te_expr *on = te_op(t, TE_AND, te_op(t, TE_LE, te_int(t, 0), from), te_op(t, TE_LT, piece, te_size(t, s.length)));
  if (!cg_x_is(s.step, 1)) on = te_op(t, TE_AND, on, te_op(t, TE_EQ, te_op(t, TE_MOD, from, step), te_int(t, 0)));
  int r = 0;
  for (int i = 0; i < x->type.rank; i++)
    if (i != s.dim) in[r++] = idx[i];
    else if (!s.drops) in[r++] = piece;
  return te_select(t, on, other(t, n, in, src), te_at(t, x, idx));
}

const char *cg_lower_slice_scatter(te *t, const cg_node *n, te_compute *out) {
  cg_slice s;
  if (!cg_self(n) || !cg_r_tensor(n, "src")) return "self is no tensor";
  CG_RULE(cg_v_slice(te_module(t), n, &cg_self(n)->type, &s));
  return te_map(out, slice_scatter_element);
}

static te_expr *diagonal_scatter_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n), *src = cg_r_tensor(n, "src");
  cg_diagonal d;
  te_expr *in[CG_MAX_RANK];
  (void)k;
  if (cg_v_diagonal(te_module(t), n, &x->type, &d)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its dims do not read", n->schema->key);
  int r = 0;
  for (int i = 0; i < x->type.rank; i++)
    if (i != d.dim1 && i != d.dim2) in[r++] = idx[i];
  te_expr *a = te_sub(t, idx[d.dim1], te_size(t, d.start1)), *b = te_sub(t, idx[d.dim2], te_size(t, d.start2));
  in[r] = a;
  te_expr *on = te_op(t, TE_AND, te_op(t, TE_EQ, a, b), te_op(t, TE_LE, te_int(t, 0), a));
  return te_select(t, on, other(t, n, in, src), te_at(t, x, idx));
}

const char *cg_lower_diagonal_scatter(te *t, const cg_node *n, te_compute *out) {
  cg_diagonal d;
  if (!cg_self(n) || !cg_r_tensor(n, "src")) return "self is no tensor";
  CG_RULE(cg_v_diagonal(te_module(t), n, &cg_self(n)->type, &d));
  return te_map(out, diagonal_scatter_element);
}

// Nearest-neighbour resizing: row i of the result is row floor(i * scale) of the input.
static te_expr *nearest(te *t, const cg_node *n, te_expr *i, const cg_expr *in, const cg_expr *out, double scale, bool exact) {
  if (in == out && scale == 0) return i;
  if (scale == 0 && !exact && cg_x_is_int(in) && cg_x_is_int(out) && out->value && in->value && out->value % in->value == 0)
    return te_op(t, TE_FLOORDIV, i, te_int(t, out->value / in->value));
  static const char *const names[] = {"i", "size", "to", "by"};
  te_expr *arg[] = {te_cast(t, i, CG_F32), te_cast(t, te_size(t, in), CG_F32), te_cast(t, te_size(t, out), CG_F32), te_number(t, scale > 0 ? (float)(1 / scale) : 0, CG_F32)};
  const char *text = scale > 0 ? (exact ? "floorf((i + 0.5f) * by)" : "floorf(i * by)") : exact ? "floorf((i + 0.5f) * (size / to))" : "floorf(i * (size / to))";
  te_expr *at = te_cast(t, te_body(t, n, CG_F32, text, 4, names, arg), CG_I64);
  return te_op(t, TE_MAX, te_op(t, TE_MIN, at, te_size(t, cg_xsub(te_module(t), in, cg_xi(te_module(t), 1)))), te_int(t, 0));
}

static te_expr *nearest_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  const cg_type *to = &n->result[0]->type;
  bool exact = strstr(n->schema->name, "exact");
  te_expr *in[CG_MAX_RANK];
  (void)k;
  for (int i = 0; i < x->type.rank; i++)
    in[i] = i < 2 ? idx[i] : nearest(t, n, idx[i], x->type.dim[i], to->dim[i], cg_r_scale(n, i - 2, x->type.rank - 2), exact);
  return te_at(t, x, in);
}

const char *cg_lower_nearest(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, nearest_element); }
