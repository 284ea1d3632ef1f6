// Writing back through a view: given what a view holds now, what its parent holds.
// Views that only rearrange have an inverse rearrangement; views of a part have a *_scatter operator. Any other view of
// recorded geometry is written into a tensor above it with as_strided_scatter.
#include <string.h>

#include "pass/alias.h"

typedef struct {
  cg_aliasing *c;
  const cg_alias *a;      // the view
  cg_value *parent, *value;
  const cg_node *by;
  cg_node *before;
} inverse;

static cg_value *made(inverse *x, const char *key, int nargs, const cg_arg *arg, const cg_type *type) {
  cg_node *n = cg_node_like(x->c->fn, x->before, x->by, key, nargs, arg, 1);
  n->result[0]->type = *type;
  return n->result[0];
}

static const cg_type *parent_type(const inverse *x) { return &x->a->parent->type; }

static cg_arg dims_arg(inverse *x, const cg_type *t) {
  cg_arg_vec v = {0};
  for (int i = 0; i < t->rank; i++) CG_PUSH(x->c->m->s, &v, cg_a_expr(t->dim[i]));
  return cg_a_list(x->c->m, v.n, v.at);
}

static cg_arg arg_named(const inverse *x, const char *name) {
  const cg_arg *a = cg_node_arg(x->a->view, name);
  return a ? *a : cg_a_none();
}

// ---------------------------------------------------------------- Rearrangements

static cg_value *reshape(inverse *x) {
  const cg_type *t = parent_type(x);
  if (t->kind != CG_T_TENSOR) return NULL;
  return made(x, "aten::reshape", 2, (cg_arg[]){cg_a_value(x->value), dims_arg(x, t)}, t);
}

static cg_value *again(inverse *x) { // its own inverse
  const cg_node *v = x->a->view;
  cg_arg *arg = CG_NEW_ARRAY(x->c->m->s, cg_arg, (size_t)v->nargs);
  memcpy(arg, v->arg, (size_t)v->nargs * sizeof *arg);
  arg[x->a->arg] = cg_a_value(x->value);
  return made(x, v->schema->key, v->nargs, arg, parent_type(x));
}

static cg_value *unpermute(inverse *x) {
  const cg_arg *dims = cg_node_arg(x->a->view, "dims");
  int rank = parent_type(x)->rank, n = cg_arg_list_len(dims);
  int64_t to[CG_MAX_RANK];
  cg_arg back[CG_MAX_RANK];
  if (n != rank || rank > CG_MAX_RANK) return NULL;
  for (int i = 0; i < n; i++) {
    if (!cg_arg_int_const(cg_arg_list_at(dims, i), &to[i])) return NULL;
    to[i] += to[i] < 0 ? rank : 0;
    if (to[i] < 0 || to[i] >= rank) return NULL;
    back[to[i]] = cg_a_int(x->c->m, i);
  }
  return made(x, "aten::permute", 2, (cg_arg[]){cg_a_value(x->value), cg_a_list(x->c->m, n, back)}, parent_type(x));
}

static cg_value *unmove(inverse *x) { // movedim(self, source, destination)
  const cg_node *v = x->a->view;
  return made(x, v->schema->key, 3, (cg_arg[]){cg_a_value(x->value), v->arg[2], v->arg[1]}, parent_type(x));
}

static cg_value *unexpand(inverse *x) { // only if nothing was repeated; PyTorch refuses other writes as well
  const cg_type *p = parent_type(x), *t = &x->a->type;
  if (p->kind != CG_T_TENSOR || t->kind != CG_T_TENSOR || t->rank < p->rank) return NULL;
  int more = t->rank - p->rank;
  for (int i = 0; i < t->rank; i++)
    if (i < more ? !cg_x_is(t->dim[i], 1) : t->dim[i] != p->dim[i - more]) return NULL;
  return reshape(x);
}

// ---------------------------------------------------------------- Other element types

static cg_value *unview_dtype(inverse *x) {
  const cg_type *p = parent_type(x);
  return p->kind == CG_T_TENSOR ? made(x, "aten::view.dtype", 2, (cg_arg[]){cg_a_value(x->value), cg_a_dtype(p->dtype)}, p) : NULL;
}

static cg_value *to_complex(inverse *x) { return made(x, "aten::view_as_complex", 1, (cg_arg[]){cg_a_value(x->value)}, parent_type(x)); }
static cg_value *to_real(inverse *x) { return made(x, "aten::view_as_real", 1, (cg_arg[]){cg_a_value(x->value)}, parent_type(x)); }

static cg_value *part_of_complex(inverse *x, int64_t index) {
  cg_module *m = x->c->m;
  const cg_type *p = parent_type(x);
  if (p->kind != CG_T_TENSOR || !cg_is_complex(p->dtype) || p->rank + 1 > CG_MAX_RANK) return NULL;
  cg_type pairs = *p;
  pairs.dtype = p->dtype == CG_C128 ? CG_F64 : p->dtype == CG_C64 ? CG_F32 : CG_F16;
  pairs.rank = p->rank + 1;
  pairs.stride = NULL, pairs.offset = NULL;
  pairs.dim = CG_NEW_ARRAY(m->s, const cg_expr *, (size_t)pairs.rank);
  for (int i = 0; i < p->rank; i++) pairs.dim[i] = p->dim[i];
  pairs.dim[p->rank] = cg_x_int(&m->exprs, 2);
  cg_value *w = made(x, "aten::view_as_real", 1, (cg_arg[]){cg_a_value(x->parent)}, &pairs);
  w = made(x, "aten::select_scatter", 4, (cg_arg[]){cg_a_value(w), cg_a_value(x->value), cg_a_int(m, -1), cg_a_int(m, index)}, &pairs);
  return made(x, "aten::view_as_complex", 1, (cg_arg[]){cg_a_value(w)}, p);
}

static cg_value *real_part(inverse *x) { return part_of_complex(x, 0); }
static cg_value *imaginary_part(inverse *x) { return part_of_complex(x, 1); }

// ---------------------------------------------------------------- Parts

static cg_value *select(inverse *x) {
  return made(x, "aten::select_scatter", 4, (cg_arg[]){cg_a_value(x->parent), cg_a_value(x->value), arg_named(x, "dim"), arg_named(x, "index")},
              parent_type(x));
}

static cg_value *unbind(inverse *x) {
  return made(x, "aten::select_scatter", 4,
              (cg_arg[]){cg_a_value(x->parent), cg_a_value(x->value), arg_named(x, "dim"), cg_a_int(x->c->m, x->a->result)}, parent_type(x));
}

static cg_value *slice(inverse *x) {
  return made(x, "aten::slice_scatter", 6, (cg_arg[]){cg_a_value(x->parent), cg_a_value(x->value), arg_named(x, "dim"), arg_named(x, "start"),
                                                      arg_named(x, "end"), arg_named(x, "step")}, parent_type(x));
}

static cg_value *sliced(inverse *x, cg_arg dim, const cg_expr *start, const cg_expr *length) {
  cg_arg end = cg_a_expr(cg_x_add(&x->c->m->exprs, start, length));
  return made(x, "aten::slice_scatter", 5, (cg_arg[]){cg_a_value(x->parent), cg_a_value(x->value), dim, cg_a_expr(start), end}, parent_type(x));
}

static cg_value *narrow(inverse *x) {
  cg_arg start = arg_named(x, "start"), length = arg_named(x, "length");
  const cg_expr *a, *b;
  return cg_arg_int(&start, &a) && cg_arg_int(&length, &b) ? sliced(x, arg_named(x, "dim"), a, b) : NULL;
}

// Pieces of one dim, each behind the one before.
static cg_value *piece(inverse *x, int64_t dim) {
  const cg_node *v = x->a->view;
  const cg_expr *start = cg_x_int(&x->c->m->exprs, 0);
  int rank = parent_type(x)->rank;
  if (dim < 0) dim += rank;
  if (dim < 0 || dim >= rank) return NULL;
  for (int i = 0; i < x->a->result; i++) {
    const cg_type *t = &v->result[i]->type;
    if (t->kind != CG_T_TENSOR || dim >= t->rank) return NULL;
    start = cg_x_add(&x->c->m->exprs, start, t->dim[dim]);
  }
  if (x->a->type.kind != CG_T_TENSOR || dim >= x->a->type.rank) return NULL;
  return sliced(x, cg_a_int(x->c->m, dim), start, x->a->type.dim[dim]);
}

static cg_value *split(inverse *x) {
  int64_t dim = 0;
  const cg_arg *a = cg_node_arg(x->a->view, "dim");
  if (a && !cg_arg_int_const(a, &dim)) return NULL;
  return piece(x, dim);
}

static cg_value *hsplit(inverse *x) { return piece(x, parent_type(x)->rank == 1 ? 0 : 1); }
static cg_value *vsplit(inverse *x) { return piece(x, 0); }
static cg_value *dsplit(inverse *x) { return piece(x, 2); }

static cg_value *diagonal(inverse *x) {
  return made(x, "aten::diagonal_scatter", 5, (cg_arg[]){cg_a_value(x->parent), cg_a_value(x->value), arg_named(x, "offset"), arg_named(x, "dim1"),
                                                         arg_named(x, "dim2")}, parent_type(x));
}

// ---------------------------------------------------------------- By geometry

// Whether elements may share memory, as those of unfold() do: then a write to a part of the view changes others of it too.
static bool overlaps(const cg_type *t) {
  int64_t extent = 0; // of the dimensions with smaller strides
  bool done[CG_MAX_RANK] = {0};
  if (t->kind != CG_T_TENSOR || !t->stride) return false;
  for (int i = 0; i < t->rank; i++)
    if (cg_x_has_unbacked(t->stride[i])) return false; // nobody knows
  for (int k = 0; k < t->rank; k++) {
    int next = -1;
    for (int i = 0; i < t->rank; i++)
      if (!done[i] && (next < 0 || cg_x_sample(t->stride[i]) < cg_x_sample(t->stride[next]))) next = i;
    int64_t size = cg_x_sample(t->dim[next]), stride = cg_x_sample(t->stride[next]);
    done[next] = true;
    if (size < 2) continue;
    if (stride <= extent) return true;
    extent += (size - 1) * stride;
  }
  return false;
}

static cg_value *as_strided(inverse *x) {
  if (overlaps(&x->a->type)) return NULL;
  return made(x, "aten::as_strided_scatter", 5, (cg_arg[]){cg_a_value(x->parent), cg_a_value(x->value), arg_named(x, "size"), arg_named(x, "stride"),
                                                           arg_named(x, "storage_offset")}, parent_type(x));
}

// Strides and offset are those of the storage, as are those that are recorded for the parent.
static cg_value *by_geometry(inverse *x) {
  cg_module *m = x->c->m;
  const cg_type *p = parent_type(x), *t = &x->a->type;
  if (overlaps(t)) return NULL;
  cg_arg_vec strides = {0};
  const cg_expr *n = cg_x_int(&m->exprs, 1);
  for (int i = 0; i < t->rank; i++) CG_PUSH(m->s, &strides, t->stride ? cg_a_expr(t->stride[i]) : cg_a_none());
  for (int i = t->rank - 1; !t->stride && i >= 0; i--) {
    strides.at[i] = cg_a_expr(n);
    n = cg_x_mul(&m->exprs, n, t->dim[i]);
  }
  cg_arg offset = t->offset ? cg_a_expr(t->offset) : cg_a_int(m, 0);
  return made(x, "aten::as_strided_scatter", 5,
              (cg_arg[]){cg_a_value(x->parent), cg_a_value(x->value), dims_arg(x, t), cg_a_list(m, strides.n, strides.at), offset}, p);
}

// Windows that share nothing, whatever the parent's layout: places of the parent in C order.
static cg_value *unfold(inverse *x) {
  cg_module *m = x->c->m;
  const cg_type *p = parent_type(x), *t = &x->a->type;
  const cg_expr *n = cg_x_int(&m->exprs, 1), *step;
  cg_arg dimension = arg_named(x, "dimension"), by = arg_named(x, "step"), stride[CG_MAX_RANK];
  int64_t dim;
  if (p->kind != CG_T_TENSOR || t->kind != CG_T_TENSOR || !p->rank || t->rank != p->rank + 1 || t->rank > CG_MAX_RANK) return NULL;
  if (!cg_arg_int_const(&dimension, &dim) || !cg_arg_int(&by, &step)) return NULL;
  dim += dim < 0 ? p->rank : 0;
  for (int i = p->rank - 1; i >= 0; i--) {
    stride[i] = cg_a_expr(i == dim ? cg_x_mul(&m->exprs, n, step) : n);
    if (i == dim) stride[p->rank] = cg_a_expr(n);
    n = cg_x_mul(&m->exprs, n, p->dim[i]);
  }
  cg_type flat = cg_tensor_type(p->dtype, 1, CG_NEW_ARRAY(m->s, const cg_expr *, 1));
  flat.dim[0] = n;
  cg_value *v = made(x, "aten::reshape", 2, (cg_arg[]){cg_a_value(x->parent), dims_arg(x, &flat)}, &flat);
  v = made(x, "aten::as_strided_scatter", 5, (cg_arg[]){cg_a_value(v), cg_a_value(x->value), dims_arg(x, t), cg_a_list(m, t->rank, stride),
                                                        cg_a_none()}, &flat); // from where LibTorch has it
  return made(x, "aten::reshape", 2, (cg_arg[]){cg_a_value(v), dims_arg(x, p)}, p);
}

typedef struct {
  const char *name; // operator, or with its overload
  cg_value *(*f)(inverse *x);
  enum { KEPT, CONJUGATED, NEGATED } bits; // what it makes of an element that keeps its dtype
} view_row;

static const view_row inverses[] = {
    {"aten::view.dtype", unview_dtype}, {"aten::view", reshape}, {"aten::reshape", reshape}, {"aten::_reshape_alias", reshape},
    {"aten::flatten", reshape}, {"aten::unflatten", reshape}, {"aten::view_as", reshape}, {"aten::reshape_as", reshape},
    {"aten::ravel", reshape}, {"aten::squeeze", reshape}, {"aten::unsqueeze", reshape}, {"aten::atleast_1d", reshape},
    {"aten::atleast_2d", reshape}, {"aten::atleast_3d", reshape}, {"aten::transpose", again}, {"aten::swapaxes", again},
    {"aten::swapdims", again}, {"aten::t", again}, {"aten::numpy_T", again}, {"aten::mT", again},
    {"aten::mH", again, CONJUGATED}, {"aten::matrix_H", again, CONJUGATED}, {"aten::adjoint", again, CONJUGATED},
    {"aten::_conj", again, CONJUGATED}, {"aten::conj", again, CONJUGATED}, {"aten::_neg_view", again, NEGATED},
    {"aten::permute", unpermute}, {"aten::movedim", unmove}, {"aten::moveaxis", unmove}, {"aten::expand", unexpand},
    {"aten::expand_as", unexpand}, {"aten::broadcast_to", unexpand}, {"aten::broadcast_tensors", unexpand}, {"aten::meshgrid", unexpand},
    {"aten::view_as_real", to_complex}, {"aten::view_as_complex", to_real}, {"aten::real", real_part}, {"aten::imag", imaginary_part},
    {"aten::select.int", select}, {"aten::unbind", unbind}, {"aten::slice", slice}, {"aten::narrow", narrow}, {"aten::split", split},
    {"aten::split_with_sizes", split}, {"aten::chunk", split}, {"aten::tensor_split", split}, {"aten::hsplit", hsplit},
    {"aten::vsplit", vsplit}, {"aten::dsplit", dsplit}, {"aten::diagonal", diagonal}, {"aten::as_strided", as_strided},
    {"aten::unfold", unfold}, {"aten::unsafe_split", split}, {"aten::unsafe_split_with_sizes", split}, {"aten::unsafe_chunk", split},
};

static const view_row *row_of(const cg_node *view) {
  const cg_schema *s = view->schema;
  for (size_t i = 0; i < sizeof inverses / sizeof *inverses; i++)
    if (!strcmp(inverses[i].name, s->key) || !strcmp(inverses[i].name, s->name)) return &inverses[i];
  return NULL;
}

cg_value *cg_view_inverse(cg_aliasing *c, const cg_alias *a, cg_value *parent, cg_value *value, const cg_node *by, cg_node *before) {
  const view_row *row = row_of(a->view);
  return row ? row->f(&(inverse){c, a, parent, value, by, before}) : NULL;
}

bool cg_view_overlaps(const cg_alias *a) { return a->view && overlaps(&a->type); }

// Whether the elements of a view are its parent's, bit for bit as far as the dtype is the same.
static bool keeps_bits(const cg_alias *a) {
  const view_row *row = a->view ? row_of(a->view) : NULL;
  const cg_type *p = &a->parent->type;
  return !row || row->bits == KEPT || (row->bits == CONJUGATED && p->kind == CG_T_TENSOR && !cg_is_complex(p->dtype));
}

cg_alias *cg_view_base(cg_aliasing *c, const cg_alias *a) {
  cg_alias *base = NULL;
  for (const cg_alias *b = a; b->parent && keeps_bits(b); b = b->parent) {
    const cg_type *p = &b->parent->type;
    if (a->type.kind != CG_T_TENSOR || p->kind != CG_T_TENSOR || p->dtype != a->type.dtype || cg_view_overlaps(b->parent)) continue;
    base = b->parent;
    if (cg_type_is_contiguous(c->m, p)) break;
  }
  return base;
}

cg_value *cg_view_into(cg_aliasing *c, const cg_alias *a, const cg_alias *base, cg_value *held, cg_value *value, const cg_node *by,
                       cg_node *before) {
  cg_alias direct = *a;
  direct.parent = (cg_alias *)base;
  return by_geometry(&(inverse){c, &direct, held, value, by, before});
}
