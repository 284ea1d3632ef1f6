// Strides of the tensors of a TorchScript program. Where sizes are open its types tell none (PyTorch's Meta kernels know fixed sizes only), and
// who writes through a view must know where it lies. Views get theirs from what they are views of: by the index that the operator's lowering
// reads at. Where nobody can tell, they are sizes that appear at run time: then the alias analysis says that it cannot tell.
#include <string.h>

#include "frontend/pt.h"
#include "ops/op.h"
#include "ops/te_builder.h"
#include "pass/alias.h"

typedef struct {
  cg_module *m;
  cg_expr_pool *pool;
} layouts;

static const cg_expr **c_order(layouts *x, const cg_type *t) {
  const cg_expr **stride = CG_NEW_ARRAY(x->m->s, const cg_expr *, t->rank + 1), *n = cg_x_int(x->pool, 1);
  for (int i = t->rank; i-- > 0; n = cg_x_mul(x->pool, n, t->dim[i])) stride[i] = n;
  return stride;
}

static void unknown(layouts *x, cg_type *t) {
  t->stride = CG_NEW_ARRAY(x->m->s, const cg_expr *, t->rank + 1);
  for (int i = 0; i < t->rank; i++) t->stride[i] = cg_unbacked_new(x->m);
  t->offset = cg_unbacked_new(x->m);
}

static bool is_known(const cg_type *t) {
  bool known = !t->offset || !cg_x_has_unbacked(t->offset);
  for (int i = 0; t->stride && i < t->rank; i++) known &= !cg_x_has_unbacked(t->stride[i]);
  return known;
}

static bool has(const cg_node *n, const char *name) { return !strcmp(n->schema->name, name); }

// ---------------------------------------------------------------- views

static te_expr *read(te *t, cg_value *v, te_expr **idx, void *u) {
  (void)u;
  return te_load(t, v, idx);
}

// Result r of n, a view of `from`; false: its place is no sum of its indices.
static bool by_index(layouts *x, cg_node *n, int r, cg_value *from) {
  const cg_type *p = &from->type;
  cg_type *to = &n->result[r]->type;
  te *t = te_new(x->m, read, NULL);
  te_compute c = {.node = n};
  if (!n->op || !n->op->lower || n->op->lower(t, n, &c) || c.kind != TE_MAP) return false;
  te_expr **idx = te_new_vars(t, to->rank, to->dim), *e = c.element(t, n, r, idx), *at;
  if (e->kind != TE_LOAD || e->value != from) return false;
  const cg_expr **stride = p->stride ? p->stride : c_order(x, p);
  at = te_int(t, 0);
  for (int i = 0; i < p->rank; i++) at = te_op(t, TE_ADD, at, te_op(t, TE_MUL, e->arg[i], te_size(t, stride[i])));
  te_sum s;
  if (!te_sum_of(t, at, &s)) return false;
  const cg_expr **out = CG_NEW_ARRAY(x->m->s, const cg_expr *, to->rank + 1);
  for (int d = 0; d < to->rank; d++) out[d] = cg_x_int(x->pool, 0);
  for (int i = 0; i < s.n; i++) {
    int d = 0;
    while (d < to->rank && idx[d] != s.atom[i]) d++;
    if (d == to->rank) return false;
    out[d] = s.coef[i];
  }
  to->stride = out;
  to->offset = p->offset ? cg_x_add(x->pool, p->offset, s.constant) : s.constant;
  if (cg_x_is(to->offset, 0)) to->offset = NULL;
  if (cg_type_is_c_order(x->m, to)) to->stride = NULL;
  return true;
}

static bool by_arguments(layouts *x, cg_node *n, const cg_type *p) { // as_strided
  cg_type *t = &n->result[0]->type;
  const cg_arg *stride = cg_node_arg(n, "stride"), *offset = cg_node_arg(n, "storage_offset");
  const cg_expr **out = CG_NEW_ARRAY(x->m->s, const cg_expr *, t->rank + 1), *at = p->offset;
  if (cg_arg_list_len(stride) != t->rank || (offset && offset->kind != CG_A_NONE && !cg_arg_int(offset, &at))) return false;
  for (int i = 0; i < t->rank; i++)
    if (!cg_arg_int(cg_arg_list_at(stride, i), &out[i])) return false;
  t->stride = out, t->offset = at && !cg_x_is(at, 0) ? at : NULL;
  return true;
}

// Whether a tensor of these strides can be seen with other sizes, where the sizes are samples (at::detail::computeStride).
static bool fits_view(layouts *x, const cg_type *p, const cg_type *t) {
  const cg_expr **stride = p->stride ? p->stride : c_order(x, p);
  int k = t->rank - 1;
  int64_t base = p->rank ? cg_x_sample(stride[p->rank - 1]) : 1, have = 1, seen = 1;
  for (int d = p->rank - 1; d >= 0; d--) {
    have *= cg_x_sample(p->dim[d]);
    if (d && (cg_x_sample(p->dim[d - 1]) == 1 || cg_x_sample(stride[d - 1]) == have * base)) continue;
    for (; k >= 0 && (seen < have || cg_x_sample(t->dim[k]) == 1); k--) seen *= cg_x_sample(t->dim[k]);
    if (seen != have) return false;
    if (d) base = cg_x_sample(stride[d - 1]), have = seen = 1;
  }
  return true;
}

static bool is_empty(const cg_type *t) {
  for (int i = 0; i < t->rank; i++)
    if (cg_x_is(t->dim[i], 0)) return true;
  return false;
}

static void lay_out_view(layouts *x, cg_node *n, int r, cg_value *from) {
  static const char *const strict[] = {"aten::view", "aten::view_as", NULL}, *const copying[] = {"aten::reshape", "aten::reshape_as", "aten::flatten", "aten::ravel", "aten::contiguous", NULL};
  const cg_type *p = &from->type;
  cg_type *t = &n->result[r]->type;
  bool must_fit = false, may_copy = false, known = is_known(p);
  for (int i = 0; strict[i]; i++) must_fit |= has(n, strict[i]) && !strcmp(n->schema->overload, "");
  for (int i = 0; copying[i]; i++) may_copy |= has(n, copying[i]);
  if ((must_fit || may_copy) && cg_type_is_c_order(x->m, p)) {
    t->offset = p->offset;
  } else if (has(n, "aten::as_strided")) {
    if (!by_arguments(x, n, p)) unknown(x, t);
  } else if (may_copy && has(n, "aten::contiguous")) {
    if (!known) unknown(x, t), t->offset = NULL;
  } else if (!known || !by_index(x, n, r, from)) {
    bool fits = !known || is_empty(p) || fits_view(x, p, t);
    if (must_fit && !fits)
      cg_fail_at(x->m->s, CIERGE_BAD_MODEL, n->at, "%s: the size is not compatible with its input's size and strides, and PyTorch raises: write reshape()", cg_node_text(x->m->s, n));
    if (may_copy && !fits) return; // a copy, in C order
    unknown(x, t);
    if (may_copy) t->offset = NULL; // which a copy has not
  }
}

// ---------------------------------------------------------------- tensors of their own

// Pointwise operators, and copies, keep the order of the dimensions of what they are given.
static void lay_out_own(layouts *x, cg_node *n, cg_type *t) {
  const cg_value *turned = NULL;
  int tensors = 0;
  for (int i = 0; i < n->nargs; i++)
    for (int k = 0; k < cg_arg_list_len(&n->arg[i]); k++) {
      const cg_value *v = cg_arg_tensor(cg_arg_list_at(&n->arg[i], k));
      if (!v || v->type.kind != CG_T_TENSOR || v->type.rank < 2) continue;
      tensors++;
      if (!cg_type_is_c_order(x->m, &v->type)) turned = v;
    }
  if (!turned) return;
  cg_type whole = turned->type;
  bool transposed = tensors == 1 && is_known(&whole) && whole.rank == 2 && t->rank == 2 && cg_x_is(whole.stride[0], 1) && whole.stride[1] == whole.dim[0];
  unknown(x, t);
  t->offset = NULL;
  if (transposed) memcpy(t->stride, whole.stride, 2 * sizeof *t->stride);
}

static void lay_out(layouts *x, cg_node *n, int r) {
  cg_type *t = &n->result[r]->type;
  int arg = -1, item;
  if (t->kind != CG_T_TENSOR || t->stride || t->offset) return;
  const cg_schema_arg *ret = cg_node_ret(n, r, &item);
  if (ret && ret->alias_write) {
    const cg_value *v = n->nargs && cg_node_writes(n, 0) ? cg_arg_tensor(&n->arg[0]) : NULL;
    if (v && cg_type_equal(&v->type, t)) t->stride = v->type.stride, t->offset = v->type.offset;
    else if (v && !cg_type_is_static(t)) unknown(x, t);
    return;
  }
  cg_sharing how = cg_node_shares(n, r, &arg, &item);
  const cg_arg *a = arg < 0 || arg >= n->nargs ? NULL : item < 0 ? &n->arg[arg] : cg_arg_list_at(&n->arg[arg], item);
  cg_value *from = a ? cg_arg_tensor(a) : NULL;
  if (from && from->type.kind == CG_T_TENSOR && (how == CG_SAME || how == CG_SELF)) t->stride = from->type.stride, t->offset = from->type.offset;
  else if (from && from->type.kind == CG_T_TENSOR && from->type.dtype == t->dtype) lay_out_view(x, n, r, from);
  else if (n->op && (n->op->traits & (CG_OP_POINTWISE | CG_OP_VIEW))) lay_out_own(x, n, t);
}

void cg_pt_lay_out(cg_module *m) {
  layouts x = {m, &m->exprs};
  for (int i = 0; i < m->fns.n; i++)
    for (cg_node *n = m->fns.at[i]->first; n; n = n->next)
      for (int r = 0; n->schema && r < n->nresults; r++) lay_out(&x, n, r);
}
