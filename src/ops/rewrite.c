// Makes the nodes of a decomposition.
#include <stdarg.h>

#include "ops/rule.h"

// Uses are counted in value->mark (cg_fn_count_uses), new nodes' as well.
static void count(cg_value *v, void *u) {
  (void)u;
  v->mark++;
}

static void uncount(cg_value *v, void *u) {
  (void)u;
  v->mark--;
}

static void remove(cg_node *n) {
  cg_node_each_input(n, uncount, NULL);
  cg_node_remove(n);
}

cg_rewrite cg_rewrite_begin(cg_module *m, cg_node *n) { return (cg_rewrite){.m = m, .of = n, .mark = n->prev}; }

// That a size is not 0 (or 1) is a condition of the user's operator, which the rule of `of` has stated: its pieces give what is right for
// all sizes that this one takes. Sizes that must be equal must be so here too.
static void drop_conditions(cg_node *n, const cg_node *before) {
  for (cg_node *x = n->prev, *prev; x != before; x = prev) {
    prev = x->prev;
    if (cg_node_is_op(x, "aten::_assert_scalar") && x->arg[0].kind == CG_A_INT && x->arg[0].i->kind == CG_X_NE) cg_node_remove(x);
  }
}

cg_node *cg_make_node(cg_rewrite *r, const char *key, int nresults, int nargs, const cg_arg *arg) {
  for (int i = 0; i < nargs && !r->failed; i++)
    if (arg[i].kind == CG_A_VALUE && arg[i].value->type.kind == CG_T_UNKNOWN) r->failed = true;
  cg_node *n = cg_node_like(r->of->fn, r->of, r->of, key, nargs, arg, nresults);
  const cg_node *before = n->prev;
  cg_node_each_input(n, count, NULL);
  if (!r->failed && (!n->op || !n->op->infer || n->op->infer(r->m, n))) r->failed = true;
  drop_conditions(n, before);
  for (int i = 0; i < nresults; i++)
    if (n->result[i]->type.kind == CG_T_UNKNOWN) r->failed = true;
  return n;
}

cg_value *cg_make(cg_rewrite *r, const char *key, int nargs, ...) {
  cg_arg arg[16];
  va_list ap;
  va_start(ap, nargs);
  for (int i = 0; i < nargs; i++) arg[i] = va_arg(ap, cg_arg);
  va_end(ap);
  return cg_make_node(r, key, 1, nargs, arg)->result[0];
}

cg_value *cg_make_cast(cg_rewrite *r, cg_value *v, cg_dtype t) {
  if (v->type.kind == CG_T_TENSOR && v->type.dtype == t) return v;
  return cg_make(r, "aten::_to_copy", 2, cg_av(v), cg_a_dtype(t));
}

cg_arg cg_make_ints(cg_rewrite *r, int n, const int *v) {
  cg_arg at[CG_MAX_RANK];
  for (int i = 0; i < n; i++) at[i] = cg_a_int(r->m, v[i]);
  return cg_a_list(r->m, n, at);
}

cg_arg cg_make_sizes(cg_rewrite *r, int n, const cg_expr *const *v) {
  cg_arg at[CG_MAX_RANK];
  for (int i = 0; i < n; i++) at[i] = cg_a_expr(v[i]);
  return cg_a_list(r->m, n, at);
}

cg_value *cg_make_reshape(cg_rewrite *r, cg_value *v, int rank, const cg_expr *const *dim) {
  bool same = v->type.kind == CG_T_TENSOR && v->type.rank == rank;
  for (int i = 0; i < rank && same; i++) same = v->type.dim[i] == dim[i];
  return same ? v : cg_make(r, "aten::reshape", 2, cg_av(v), cg_make_sizes(r, rank, dim));
}

bool cg_result_used(const cg_node *n, int k) { return n->result[k]->mark > 0; }

static bool made_here(const cg_rewrite *r, const cg_value *v) {
  for (const cg_node *n = r->of->prev; n && n != r->mark; n = n->prev)
    if (v->def == n) return true;
  return false;
}

bool cg_rewrite_end(cg_rewrite *r, int nresults, cg_value *const *v) {
  cg_node *n = r->of;
  for (int i = 0; i < nresults && !r->failed; i++)
    if (v[i] && !cg_type_equal(&v[i]->type, &n->result[i]->type)) {
      // Sizes may be spelled in two ways; dtype and rank must be the same.
      const cg_type *a = &v[i]->type, *b = &n->result[i]->type;
      if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank) r->failed = true;
    }
  if (r->failed) {
    while (n->prev != r->mark) remove(n->prev);
    return false;
  }
  for (int i = 0; i < nresults; i++) {
    if (!v[i]) continue;
    if (made_here(r, v[i])) v[i]->type = n->result[i]->type; // the sizes as the model spells them
    v[i]->mark += n->result[i]->mark;
    cg_replace(r->m, n->result[i], cg_a_value(v[i]));
  }
  remove(n);
  return true;
}
