// Grouped queries: models write key and value heads out, repeated for each head of the query (unsqueeze, expand, reshape), before they
// attend. The kernel needs no copies: a head of the query finds its head of key and value by a division.
#include "backend/c/attention.h"
#include "ops/op.h"
#include "ops/te_builder.h"
#include "pass/pass.h"

#include <string.h>

enum { VIEWS = 8 }; // that a model may put between

te_expr *cg_c_at_below(te *t, cg_value *v, te_expr **idx, void *below) {
  const cg_node *n = v->def;
  te_compute how = {0};
  bool view = v != below && n && n->nresults == 1 && n->op && n->op->traits & CG_OP_VIEW && n->op->lower;
  if (!view || n->op->lower(t, n, &how) || how.kind != TE_MAP) return te_load(t, v, idx);
  return how.element(t, n, 0, idx);
}

// Whether v is `below` with each of its heads repeated, all of them in a row.
static bool repeats(cg_module *m, cg_value *v, cg_value *below) {
  te *t = te_new(m, cg_c_at_below, below);
  int rank = v->type.rank;
  if (below->type.rank != rank || rank < 3) return false;
  te_expr **idx = te_new_vars(t, rank, v->type.dim);
  te_expr *e = te_at(t, v, idx);
  if (e->kind != TE_LOAD || e->value != below) return false;
  for (int d = 0; d < rank; d++) {
    const cg_expr *own = below->type.dim[d], *all = v->type.dim[d];
    bool same = own == all && (cg_x_is(own, 1) || e->arg[d] == idx[d]);
    if (same) continue;
    const cg_expr *by = cg_x_floordiv(&m->exprs, all, own);
    bool heads = d == rank - 3 && cg_x_mul(&m->exprs, by, own) == all;
    if (!heads || !(cg_x_is(own, 1) || e->arg[d] == te_op(t, TE_FLOORDIV, idx[d], te_size(t, by)))) return false;
  }
  return true;
}

static cg_value *unrepeated(cg_module *m, cg_value *v) {
  cg_value *x = v;
  for (int i = 0; i < VIEWS && x->def && x->def->nargs; i++) {
    x = cg_arg_tensor(&x->def->arg[0]);
    if (!x) break;
    if (x->type.kind == CG_T_TENSOR && x->type.dtype == v->type.dtype && repeats(m, v, x)) v = x;
  }
  return v;
}

void cg_c_share_heads(cg_fn *f) {
  bool any = false;
  for (cg_node *n = f->first; n; n = n->next) {
    te_compute how = {0};
    if (!cg_node_arg(n, "query") || !n->op || !n->op->lower || n->op->lower(NULL, n, &how) || how.kind != TE_KERNEL) continue;
    static const char *const names[] = {"key", "value"};
    for (int i = 0; i < 2; i++) {
      cg_arg *a = (cg_arg *)(uintptr_t)cg_node_arg(n, names[i]);
      cg_value *v = cg_arg_tensor(a), *less = v ? unrepeated(f->module, v) : NULL;
      if (less == v) continue;
      *a = cg_a_value(less);
      any = true;
    }
  }
  if (any) cg_remove_dead(f);
}

// ---------------------------------------------------------------- caches

cg_value *cg_c_viewed(const cg_value *v) {
  const cg_node *n = v->def;
  return n && n->op && n->op->traits & CG_OP_VIEW && n->nargs ? cg_arg_tensor(&n->arg[0]) : NULL;
}

cg_value *cg_c_behind(cg_value *v) {
  for (;;) {
    cg_value *x = cg_c_viewed(v);
    if (!x || x->type.dtype != v->type.dtype) return v;
    v = x;
  }
}

static bool is_kernel(const cg_node *n, const char *name) {
  te_compute how = {0};
  return n && n->op && n->op->lower && !n->op->lower(NULL, n, &how) && how.kind == TE_KERNEL && !strcmp(how.kernel, name);
}

bool cg_c_rows_written(const cg_value *v) {
  const char *name = v->def && v->def->schema ? v->def->schema->name : "";
  return !strcmp(name, "aten::index_copy") || !strcmp(name, "aten::index_put") || !strcmp(name, "aten::_unsafe_index_put") || !strcmp(name, "aten::scatter");
}

bool cg_c_attended(const cg_value *v) {
  for (const cg_node *n = v->def ? v->def->next : NULL; n; n = n->next) {
    cg_value *key = cg_arg_tensor(cg_node_arg(n, "key")), *value = cg_arg_tensor(cg_node_arg(n, "value"));
    if (key && value && (cg_c_behind(key) == v || cg_c_behind(value) == v) && is_kernel(n, "attention")) return true;
  }
  return false;
}
