// Small composites: dropout at inference, gates, stacks.
#include <string.h>

#include "ops/rules.h"

static bool is(const cg_node *n, const char *name) { return !strcmp(n->schema->name, name); }

// ---------------------------------------------------------------- dropout

// Nothing happens outside of training, or with probability 0.
bool cg_decompose_dropout(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "input");
  if (!x || (cg_r_bool(n, "train", true) && cg_r_double_or(n, "p", 1) != 0)) return false;
  for (int k = 1; k < n->nresults; k++)
    if (cg_result_used(n, k)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_value *out[2] = {x, NULL};
  return cg_rewrite_end(&r, n->nresults, out);
}

// ---------------------------------------------------------------- asserts

// dtype, device and layout are part of the type: an assertion about them that holds needs no run. One that does not stays.
bool cg_decompose_metadata(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "a");
  const cg_arg *size = cg_node_arg(n, "size"), *device = cg_node_arg(n, "device"), *layout = cg_node_arg(n, "layout");
  if (!x || n->nresults || !cg_r_is_none(n, "stride") || cg_r_dtype(n, x->type.dtype) != x->type.dtype) return false;
  if (device && device->kind == CG_A_DEVICE && strncmp(device->str.text, "cpu", 3)) return false;
  if (layout && layout->kind == CG_A_LAYOUT && !strstr(layout->str.text, "strided")) return false;
  if (size && size->kind == CG_A_LIST && size->list.n != x->type.rank) return false;
  for (int i = 0; size && size->kind == CG_A_LIST && i < size->list.n; i++) {
    const cg_expr *e;
    if (!cg_arg_int(&size->list.at[i], &e) || e != x->type.dim[i]) return false;
  }
  cg_rewrite r = cg_rewrite_begin(m, n);
  return cg_rewrite_end(&r, 0, NULL);
}

// ---------------------------------------------------------------- gates

bool cg_decompose_glu(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "self");
  int d;
  if (!x || !cg_r_plain_float(x->type.dtype) || cg_r_dim_of(m, n, "dim", x->type.rank, &d)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  const cg_expr *half = cg_xdiv(m, x->type.dim[d], cg_xi(m, 2));
  cg_arg dim = cg_a_int(m, d), zero = cg_a_int(m, 0), mid = cg_a_expr(half);
  cg_value *a = cg_make(&r, "aten::slice.Tensor", 4, cg_av(x), dim, zero, mid);
  cg_value *b = cg_make(&r, "aten::slice.Tensor", 4, cg_av(x), dim, mid, cg_a_expr(x->type.dim[d]));
  return cg_rewrite_by(&r, cg_make(&r, "aten::mul.Tensor", 2, cg_av(a), cg_av(cg_make(&r, "aten::sigmoid", 1, cg_av(b)))));
}

// ---------------------------------------------------------------- several tensors

// hstack, vstack, dstack, column_stack: cat of tensors with enough dimensions.
bool cg_decompose_stack(cg_module *m, cg_node *n) {
  cg_value **x;
  int count = cg_r_tensors(m, n, "tensors", &x);
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_arg *list = CG_NEW_ARRAY(m->s, cg_arg, (size_t)count + 1);
  int dim = is(n, "aten::vstack") || is(n, "aten::row_stack") ? 0 : is(n, "aten::dstack") ? 2 : 1;
  if (!count || !x[0]) return false;
  if (is(n, "aten::hstack") && x[0]->type.rank < 2) dim = 0;
  for (int i = 0; i < count; i++) {
    if (!x[i]) return false;
    const cg_type *t = &x[i]->type;
    cg_value *v = x[i];
    if (is(n, "aten::hstack")) v = cg_make(&r, "aten::atleast_1d", 1, cg_av(v));
    else if (is(n, "aten::dstack")) v = cg_make(&r, "aten::atleast_3d", 1, cg_av(v));
    else if (is(n, "aten::column_stack") && t->rank < 2) {
      const cg_expr *column[] = {cg_type_numel(m, t), cg_xi(m, 1)};
      v = cg_make_reshape(&r, v, 2, column);
    } else v = cg_make(&r, "aten::atleast_2d", 1, cg_av(v));
    list[i] = cg_av(v);
  }
  return cg_rewrite_by(&r, cg_make(&r, "aten::cat", 2, cg_a_list(m, count, list), cg_a_int(m, dim)));
}

// cat and stack of very many: of those of a few each, so that no kernel grows with their number. (The pieces are computed in their place
// where they can be: backend/c/assemble.c.)
bool cg_decompose_join(cg_module *m, cg_node *n) {
  enum { MOST = 128, EACH = 64 };
  cg_value **x;
  int count = cg_r_tensors(m, n, "tensors", &x), d;
  const cg_type *t = &n->result[0]->type;
  if (count <= MOST || t->kind != CG_T_TENSOR || cg_r_dim_of(m, n, "dim", t->rank, &d)) return false;
  for (int i = 0; i < count; i++)
    if (!x[i]) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_arg *list = CG_NEW_ARRAY(m->s, cg_arg, count), *part = CG_NEW_ARRAY(m->s, cg_arg, (count + EACH - 1) / EACH);
  int parts = 0;
  for (int i = 0; i < count; i++) list[i] = cg_av(cg_make_cast(&r, x[i], t->dtype));
  for (int i = 0; i < count; i += EACH) {
    cg_arg few = cg_a_list(m, count - i < EACH ? count - i : EACH, list + i);
    part[parts++] = cg_av(cg_make(&r, n->schema->name, 2, few, cg_a_int(m, d)));
  }
  return cg_rewrite_by(&r, cg_make(&r, "aten::cat", 2, cg_a_list(m, parts, part), cg_a_int(m, d)));
}

// broadcast_tensors: each expanded to the common shape.
bool cg_decompose_broadcast_tensors(cg_module *m, cg_node *n) {
  cg_value **x, **out;
  int count = cg_r_tensors(m, n, "tensors", &x);
  if (count != n->nresults) return false;
  out = CG_NEW_ARRAY(m->s, cg_value *, (size_t)count + 1);
  cg_rewrite r = cg_rewrite_begin(m, n);
  for (int i = 0; i < count; i++) {
    const cg_type *t = &n->result[i]->type;
    out[i] = cg_make(&r, "aten::expand", 2, cg_av(x[i]), cg_make_sizes(&r, t->rank, t->dim));
  }
  return cg_rewrite_end(&r, count, out);
}

// meshgrid: each vector along its own dimension (the first two change places for indexing="xy").
bool cg_decompose_meshgrid(cg_module *m, cg_node *n) {
  cg_value **x, **out;
  int count = cg_r_tensors(m, n, "tensors", &x);
  bool xy = !strcmp(cg_r_text(n, "indexing"), "xy") && count >= 2;
  if (count != n->nresults) return false;
  out = CG_NEW_ARRAY(m->s, cg_value *, (size_t)count + 1);
  cg_rewrite r = cg_rewrite_begin(m, n);
  for (int i = 0; i < count; i++) {
    const cg_type *t = &n->result[i]->type;
    const cg_expr *dim[CG_MAX_RANK];
    int at = xy && i < 2 ? 1 - i : i;
    for (int k = 0; k < t->rank; k++) dim[k] = k == at ? t->dim[k] : cg_xi(m, 1);
    out[i] = cg_make(&r, "aten::expand", 2, cg_av(cg_make_reshape(&r, x[i], t->rank, dim)), cg_make_sizes(&r, t->rank, t->dim));
  }
  return cg_rewrite_end(&r, count, out);
}

// ---------------------------------------------------------------- products

bool cg_decompose_outer(cg_module *m, cg_node *n) {
  cg_value *a = cg_r_tensor(n, "self"), *b = cg_r_tensor(n, "vec2");
  if (!a || !b) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_value *column = cg_make(&r, "aten::unsqueeze", 2, cg_av(a), cg_a_int(m, 1));
  return cg_rewrite_by(&r, cg_make(&r, "aten::mul.Tensor", 2, cg_av(column), cg_av(b)));
}

// self * 2^other, the power rounded to its own dtype.
bool cg_decompose_ldexp(cg_module *m, cg_node *n) {
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_value *power = cg_make(&r, "aten::pow.Scalar", 2, cg_a_float(2), n->arg[1]);
  return cg_rewrite_by(&r, cg_make(&r, "aten::mul.Tensor", 2, n->arg[0], cg_av(power)));
}
