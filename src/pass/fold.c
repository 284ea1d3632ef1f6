// Makes literals of what is known at compile time: sizes, scalars computed from them, and views of constants
// (which become constants over the same bytes with other strides).
#include <string.h>

#include "artifact/scalar.h"
#include "ops/op.h"
#include "pass/pass.h"

// Sizes asked of a tensor are in its type.
static void size_query(cg_module *m, cg_node *n) {
  if (!n->schema || n->nresults != 1) return;
  cg_value *x = n->nargs ? cg_arg_tensor(&n->arg[0]) : NULL;
  if (!x || x->type.kind != CG_T_TENSOR) return;
  cg_type *r = &n->result[0]->type;
  int64_t d;
  if (cg_node_is_op(n, "aten::sym_size.int") && cg_arg_int_const(&n->arg[1], &d)) {
    if (d < 0) d += x->type.rank;
    if (d < 0 || d >= x->type.rank) return;
    *r = cg_scalar_type(CG_T_INT);
    r->value = x->type.dim[d];
  } else if (cg_node_is_op(n, "aten::sym_numel")) {
    *r = cg_scalar_type(CG_T_INT);
    r->value = cg_type_numel(m, &x->type);
  }
}

static bool to_scalar(const cg_arg *a, cg_scalar *out) {
  switch (a->kind) {
  case CG_A_INT:
    if (!cg_x_is_int(a->i)) return false;
    *out = (cg_scalar){.kind = CG_SC_INT, .i = a->i->value};
    return true;
  case CG_A_FLOAT: *out = (cg_scalar){.kind = CG_SC_FLOAT, .f = a->f}; return true;
  case CG_A_BOOL: *out = (cg_scalar){.kind = CG_SC_BOOL, .i = a->b}; return true;
  default: return false;
  }
}

// The literal that a scalar node's result is, if it is one.
static bool scalar_literal(cg_module *m, const cg_node *n, cg_arg *out) {
  const cg_type *t = &n->result[0]->type;
  if (t->kind == CG_T_INT && t->value) {
    if (cg_x_has_unbacked(t->value)) return false; // the node is what gives it: who uses it must come behind
    *out = cg_a_expr(t->value);
    return true;
  }
  int op = n->schema ? cg_scalar_find(n->schema->key) : -1;
  if (op < 0 || n->nargs > 3) return false;
  cg_scalar arg[3], r;
  for (int i = 0; i < n->nargs; i++)
    if (!to_scalar(&n->arg[i], &arg[i])) return false;
  if (cg_scalar_eval((cg_scalar_op)op, arg, &r)) return false; // raises: left to the run, with its place
  *out = r.kind == CG_SC_INT ? cg_a_int(m, r.i) : r.kind == CG_SC_FLOAT ? cg_a_float(r.f) : cg_a_bool(r.i != 0);
  return true;
}

// ---------------------------------------------------------------- views of constants

static const cg_expr **c_strides(cg_module *m, const cg_type *t) {
  const cg_expr **st = CG_NEW_ARRAY(m->s, const cg_expr *, t->rank ? t->rank : 1);
  const cg_expr *n = cg_x_int(&m->exprs, 1);
  for (int i = t->rank - 1; i >= 0; i--) {
    st[i] = n;
    int64_t d = t->dim[i]->value;
    n = cg_x_mul(&m->exprs, n, cg_x_int(&m->exprs, d ? d : 1));
  }
  return st;
}

// A permutation or an expansion by size-1 dims: which dim of the input each dim of the result is; -1: a new one of size 1.
static bool permutation_of(const cg_node *n, const cg_type *x, int *map) {
  int r = x->rank;
  for (int i = 0; i < r; i++) map[i] = i;
  if (cg_node_is_op(n, "aten::t")) {
    if (r == 2) map[0] = 1, map[1] = 0;
    return r <= 2;
  }
  if (cg_node_is_op(n, "aten::transpose.int")) {
    int64_t a, b;
    if (!cg_arg_int_const(&n->arg[1], &a) || !cg_arg_int_const(&n->arg[2], &b) || !r) return false;
    a += a < 0 ? r : 0, b += b < 0 ? r : 0;
    if (a < 0 || b < 0 || a >= r || b >= r) return false;
    map[a] = (int)b, map[b] = (int)a;
    return true;
  }
  if (cg_node_is_op(n, "aten::permute")) {
    for (int i = 0; i < r; i++) {
      int64_t d;
      if (i >= cg_arg_list_len(&n->arg[1]) || !cg_arg_int_const(cg_arg_list_at(&n->arg[1], i), &d)) return false;
      d += d < 0 ? r : 0;
      if (d < 0 || d >= r) return false;
      map[i] = (int)d;
    }
    return true;
  }
  return false;
}

static bool static_type(const cg_type *t) {
  return t->kind == CG_T_TENSOR && cg_type_is_static(t);
}

static cg_value *view_of_constant(cg_module *m, const cg_node *n) {
  if (n->nresults != 1 || !n->nargs || !n->schema || !n->schema->is_view) return NULL;
  cg_value *x = cg_arg_tensor(&n->arg[0]);
  int map[CG_MAX_RANK];
  if (!x || !x->constant || x->constant->mutated || !static_type(&x->type) || !permutation_of(n, &x->type, map)) return NULL;
  cg_constant *c = x->constant;
  const cg_expr **old = c->type.stride ? c->type.stride : c_strides(m, &c->type);
  cg_type t = n->result[0]->type;
  if (!static_type(&t) || t.rank != x->type.rank) return NULL;
  t.stride = CG_NEW_ARRAY(m->s, const cg_expr *, t.rank ? t.rank : 1);
  for (int i = 0; i < t.rank; i++) t.stride[i] = old[map[i]];
  t.offset = c->type.offset;
  cg_constant *v = cg_constant_new(m, cg_fresh_name(m, c->name), t, c->data, c->size);
  v->kind = c->kind;
  return v->value;
}

// ---------------------------------------------------------------- asserts about types

// _assert_tensor_metadata asks what types say; what they prove is dropped here, the rest stays for the run.
static bool proven_metadata(const cg_node *n) {
  if (!cg_node_is_op(n, "aten::_assert_tensor_metadata")) return false;
  const cg_value *x = cg_arg_tensor(&n->arg[0]);
  const cg_arg *size = cg_node_arg(n, "size"), *stride = cg_node_arg(n, "stride"), *dtype = cg_node_arg(n, "dtype");
  const cg_arg *device = cg_node_arg(n, "device"), *layout = cg_node_arg(n, "layout");
  if (!x || x->type.kind != CG_T_TENSOR || size->kind != CG_A_NONE || stride->kind != CG_A_NONE) return false;
  if (dtype->kind != CG_A_NONE && (dtype->kind != CG_A_DTYPE || dtype->dtype != x->type.dtype)) return false;
  if (device->kind != CG_A_NONE && strcmp(device->str.text, "cpu")) return false;
  return layout->kind == CG_A_NONE || !strcmp(layout->str.text, "strided");
}

void cg_pass_fold(cg_pipeline *p, cg_module *m) {
  (void)p;
  for (int k = 0; k < m->fns.n; k++) {
    cg_fn *f = m->fns.at[k];
    cg_replace_begin(f);
    for (cg_node *n = f->first, *next; n; n = next) {
      next = n->next;
      cg_replace_in(n);
      size_query(m, n);
      if (proven_metadata(n)) {
        cg_node_remove(n);
        continue;
      }
      if (n->nresults != 1) continue;
      cg_arg literal;
      cg_value *c;
      if (scalar_literal(m, n, &literal)) cg_replace(m, n->result[0], literal);
      else if ((c = view_of_constant(m, n))) cg_replace(m, n->result[0], cg_a_value(c));
      else continue;
      cg_node_remove(n);
    }
    cg_replace_end(f);
  }
}
