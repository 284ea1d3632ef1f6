// as_strided and as_strided_scatter: views by strides over the storage of a tensor whose layout is known. Only where it is proven that
// all they reach are elements of that tensor; what is not stays in LibTorch, which checks it when it runs.
#include <string.h>

#include "ops/rules.h"

typedef struct {
  cg_value *self;
  int order[CG_MAX_RANK];             // dims of self, outermost in memory first
  const cg_expr *step[CG_MAX_RANK];   // of each of them in memory
  int rank;                           // of the view
  const cg_expr *size[CG_MAX_RANK], *stride[CG_MAX_RANK], *offset; // offset: from self's first element
} window;

// Elements of t in memory, one behind the other; false: there are gaps, or nobody knows.
static bool dense(cg_module *m, const cg_type *t, window *w) {
  bool used[CG_MAX_RANK] = {false};
  const cg_expr *extent = cg_xi(m, 1);
  for (int k = t->rank - 1; k >= 0; k--) {
    int at = t->stride ? -1 : k;
    for (int i = t->rank - 1; t->stride && i >= 0; i--) // a size of 1 may have any stride
      if (!used[i] && (cg_x_is(t->dim[i], 1) || (at < 0 && t->stride[i] == extent))) at = i;
    if (at < 0) return false;
    used[at] = true;
    w->order[k] = at, w->step[at] = extent;
    extent = cg_xmul(m, extent, t->dim[at]);
  }
  return true;
}

static bool read_sizes(cg_module *m, const cg_node *n, window *w) {
  const cg_arg *size = cg_node_arg(n, "size"), *stride = cg_node_arg(n, "stride");
  const cg_expr *first = w->self->type.offset ? w->self->type.offset : cg_xi(m, 0);
  w->rank = cg_arg_list_len(size);
  if (w->rank > CG_MAX_RANK || cg_arg_list_len(stride) != w->rank) return false;
  for (int i = 0; i < w->rank; i++)
    if (!cg_arg_int(cg_arg_list_at(size, i), &w->size[i]) || !cg_arg_int(cg_arg_list_at(stride, i), &w->stride[i])) return false;
  w->offset = first;
  if (!cg_r_is_none(n, "storage_offset") && !cg_r_int(n, "storage_offset", &w->offset)) return false;
  w->offset = cg_xsub(m, w->offset, first);
  return true;
}

static const char *read_window(cg_module *m, const cg_node *n, window *w) {
  w->self = cg_self(n);
  if (!w->self || w->self->type.kind != CG_T_TENSOR) return "self is no tensor";
  if (!dense(m, &w->self->type, w)) return "it is over memory of an unknown layout, or with gaps";
  if (!read_sizes(m, n, w)) return "its strides are not known";
  const cg_expr *zero = cg_xi(m, 0), *one = cg_xi(m, 1), *end = cg_xadd(m, w->offset, one);
  bool empty = false, inside = cg_x_at_least(m, w->offset, zero);
  for (int i = 0; i < w->rank; i++) {
    inside = inside && cg_x_at_least(m, w->stride[i], zero);
    end = cg_xadd(m, end, cg_xmul(m, cg_xsub(m, w->size[i], one), w->stride[i]));
    empty = empty || cg_x_is(w->size[i], 0);
  }
  bool fits = inside && (empty || cg_x_at_least(m, cg_x_product(m, w->self->type.rank, w->self->type.dim), end));
  return fits ? NULL : "it may reach beyond its tensor's elements";
}

static te_expr *as_strided_element(te *t, const cg_node *n, int k, te_expr **idx) {
  window w;
  (void)k;
  if (read_window(te_module(t), n, &w)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its strides do not read", n->schema->key);
  const cg_type *x = &w.self->type;
  te_expr *place = te_size(t, w.offset), *at[CG_MAX_RANK], *in[CG_MAX_RANK];
  const cg_expr *dim[CG_MAX_RANK];
  for (int i = 0; i < w.rank; i++) place = te_add(t, place, te_mul(t, idx[i], te_size(t, w.stride[i])));
  for (int i = 0; i < x->rank; i++) dim[i] = x->dim[w.order[i]];
  te_unflat(t, place, x->rank, dim, at);
  for (int i = 0; i < x->rank; i++) in[w.order[i]] = at[i];
  return te_at(t, w.self, in);
}

const char *cg_lower_as_strided(te *t, const cg_node *n, te_compute *out) {
  window w;
  CG_RULE(read_window(te_module(t), n, &w));
  return te_map(out, as_strided_element);
}

// ---------------------------------------------------------------- writing

// The view's dims of several elements, those with large strides first, if each steps over all that the ones behind it reach:
// then no two of its elements share a place.
static bool nested(cg_module *m, const window *w, int *order, int *count) {
  const cg_expr *reach = cg_xi(m, 1);
  *count = 0;
  for (int i = 0; i < w->rank; i++) {
    if (cg_x_is(w->size[i], 1)) continue;
    int k = (*count)++;
    for (; k && cg_x_hint(w->stride[order[k - 1]]) < cg_x_hint(w->stride[i]); k--) order[k] = order[k - 1];
    order[k] = i;
  }
  for (int k = *count - 1; k >= 0; k--) {
    int i = order[k];
    if (!cg_x_at_least(m, w->stride[i], reach)) return false;
    reach = cg_xadd(m, reach, cg_xmul(m, cg_xsub(m, w->size[i], cg_xi(m, 1)), w->stride[i]));
  }
  return true;
}

static te_expr *inside(te *t, te_expr *i, const cg_expr *size) {
  return te_op(t, TE_AND, te_op(t, TE_LE, te_int(t, 0), i), te_op(t, TE_LT, i, te_size(t, size)));
}

static te_expr *as_strided_scatter_element(te *t, const cg_node *n, int k, te_expr **idx) {
  window w;
  int order[CG_MAX_RANK], count;
  cg_value *src = cg_r_tensor(n, "src");
  (void)k;
  if (read_window(te_module(t), n, &w) || !nested(te_module(t), &w, order, &count))
    cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its strides do not read", n->schema->key);
  te_expr *rest = te_sub(t, te_int(t, 0), te_size(t, w.offset)), *in[CG_MAX_RANK], *hit = te_integer(t, 1, CG_BOOL);
  for (int i = 0; i < w.self->type.rank; i++) rest = te_add(t, rest, te_mul(t, idx[i], te_size(t, w.step[i])));
  for (int i = 0; i < w.rank; i++) in[i] = te_int(t, 0);
  for (int i = 0; i < count; i++) { // the place, taken apart by the strides
    te_expr *by = te_size(t, cg_xmax(te_module(t), w.stride[order[i]], cg_xi(te_module(t), 1))); // 0: where there are no elements
    in[order[i]] = te_op(t, TE_FLOORDIV, rest, by);
    hit = te_op(t, TE_AND, hit, inside(t, in[order[i]], w.size[order[i]]));
    rest = te_op(t, TE_MOD, rest, by);
  }
  hit = te_op(t, TE_AND, hit, te_op(t, TE_EQ, rest, te_int(t, 0)));
  cg_dtype dtype = n->result[0]->type.dtype;
  return te_select(t, hit, te_cast(t, te_at(t, src, in), dtype), te_at(t, w.self, idx));
}

const char *cg_lower_as_strided_scatter(te *t, const cg_node *n, te_compute *out) {
  window w;
  int order[CG_MAX_RANK], count;
  const cg_type *src = cg_r_type(n, "src");
  CG_RULE(read_window(te_module(t), n, &w));
  if (!nested(te_module(t), &w, order, &count)) return "elements of its view may share memory";
  bool fits = src && src->kind == CG_T_TENSOR && src->rank == w.rank; // the type rule compared the sizes
  return fits ? te_map(out, as_strided_scatter_element) : "src of another rank than its view's";
}
