// Decides which values are computed once and kept (roots) and which are inlined where they are read.
//
// From the last node to the first: how often each element of a value would be evaluated if it were inlined. It is a
// root if that costs more than keeping it. Views are never roots: reading through them is free.
#include <string.h>

#include "backend/c/schedule.h"

typedef struct {
  cg_sched *c;
  double *evals;  // [node results] by index in c->info: evaluations for each element
  int *cost;      // of one element, with what is certainly inlined
  int *own;       // without what it reads
  int *views;     // the most views, one of another, through which it is read
  bool *force;
} roots;

// ---------------------------------------------------------------- views

// v is another stored value's memory, in C order: sets alias_of and alias_offset.
static bool alias(cg_sched *c, cg_info *x) {
  if (!x->view) return false;
  te_expr **idx = te_new_vars(c->t, x->value->type.rank, x->value->type.dim);
  te_expr *e = cg_c_through_views(c, x->value, idx);
  const cg_value *of = e->value;
  if (of->constant && (of->constant->mutated || !cg_type_is_c_order(c->m, &of->constant->type))) return false; // state changes at the end of the call
  te_expr *d = te_op(c->t, TE_SUB, cg_c_offset(c, of, e->arg), te_flat(c->t, x->value->type.rank, x->value->type.dim, idx));
  if (d->kind != TE_SIZE) return false;
  x->alias_of = of;
  x->alias_offset = d->size;
  return true;
}

// Whether the element is at an affine place of some stored value.
static bool affine(cg_sched *c, cg_value *v, cg_value **base) {
  te_expr **idx = te_new_vars(c->t, v->type.rank, v->type.dim);
  te_expr *e = cg_c_through_views(c, v, idx);
  *base = e->value;
  te_sum s;
  if (!te_sum_of(c->t, cg_c_offset(c, e->value, e->arg), &s)) return false;
  for (int i = 0; i < s.n; i++)
    if (s.atom[i]->kind != TE_VAR) return false;
  return true;
}

// ---------------------------------------------------------------- decisions

static void force(roots *r, const cg_value *v) {
  cg_info *x = v ? cg_c_info(v) : NULL;
  if (x) r->force[x->index] = true;
}

// Memory for x's value: its own, or somebody else's.
static void keep(roots *r, cg_info *x) {
  if (x->compute->kind == TE_MAP && !x->alias_of && alias(r->c, x)) force(r, x->alias_of);
  else if (!x->alias_of) x->root = true;
}

typedef struct { roots *r; const cg_kernel_template *k; } template_inputs;

static void template_input(cg_value *v, void *u) {
  template_inputs *in = u;
  cg_info *x = v->type.kind == CG_T_TENSOR ? cg_c_info(v) : NULL;
  cg_value *base;
  if (!x) return;
  if (x->view && in->k->strided && affine(in->r->c, v, &base)) {
    force(in->r, base);
    return;
  }
  int i = x->index;
  in->r->force[i] = true;
}

typedef struct { roots *r; const cg_node *n; double factor, numel; bool heavy_to_inline; } reader;

static void count_evals(cg_value *v, void *u) {
  reader *d = u;
  cg_info *x = v->type.kind == CG_T_TENSOR ? cg_c_info(v) : NULL;
  if (!x) return;
  int i = x->index;
  double own = cg_c_numel_hint(v->type.rank, v->type.dim);
  double times = own > 0 ? d->numel / own : 1;
  d->r->evals[i] += d->factor * (times > 1 ? times : 1);
  if (d->heavy_to_inline && d->r->cost[i] >= 8 && !x->view) d->r->force[i] = true;
}

// Divisions in a place: a reshape of a permuted value has some, and nothing simplifies them.
static int divisions(cg_sched *c, const te_expr *e) {
  if (!te_has(e, TE_FLOORDIV) && !te_has(e, TE_MOD)) return 0;
  if (!cg_c_first(c, e)) return 0;
  int n = e->kind == TE_FLOORDIV || e->kind == TE_MOD;
  for (int i = 0; i < e->nargs; i++) n += divisions(c, e->arg[i]);
  return n;
}

// What computing an element costs if all that it reads is stored.
static int own_cost(cg_sched *c, cg_info *x, int *tangled) {
  te_expr **idx = te_new_vars(c->t, x->value->type.rank, x->value->type.dim);
  c->tracing = true;
  te_forget(c->t);
  te_expr *e = x->compute->element(c->t, x->compute->node, x->k, idx);
  c->tracing = false;
  te_forget(c->t);
  cg_c_begin(c);
  *tangled = divisions(c, e);
  cg_c_begin(c);
  return cg_c_cost(c, e);
}

static void add_tangled(cg_value *v, void *u) {
  cg_info *x = v->type.kind == CG_T_TENSOR ? cg_c_info(v) : NULL;
  if (x && x->compute->kind == TE_MAP && !x->root) *(int *)u += x->tangled;
}

typedef struct { roots *r; int views; } views_below;

static void add_views(cg_value *v, void *u) {
  views_below *b = u;
  cg_info *x = v->type.kind == CG_T_TENSOR ? cg_c_info(v) : NULL;
  if (x && x->compute->kind == TE_MAP && !x->root && b->r->views[x->index] > b->views) b->views = b->r->views[x->index];
}

static void estimate_costs(roots *r) {
  cg_sched *c = r->c;
  for (int i = 0; i < c->info.n; i++) {
    cg_info *x = c->info.at[i];
    if (x->compute->kind != TE_MAP) continue;
    r->own[i] = own_cost(c, x, &x->tangled);
    cg_node_each_input(x->compute->node, add_tangled, &x->tangled);
    views_below below = {r, 0};
    cg_node_each_input(x->compute->node, add_views, &below);
    r->views[i] = below.views + x->view;
    r->force[i] = x->tangled > CG_WORK_PLACE || r->views[i] > CG_WORK_VIEWS;
    te_expr **idx = te_new_vars(c->t, x->value->type.rank, x->value->type.dim);
    te_expr *e = x->compute->element(c->t, x->compute->node, x->k, idx);
    cg_c_begin(c);
    r->cost[i] = cg_c_cost(c, e);
    // For the estimate of what follows: values of one reader will be inlined, others of some cost will not.
    x->root = r->force[i] || (!x->view && ((x->uses > 1 && r->cost[i] > 3) || r->cost[i] > CG_WORK_VALUE));
  }
  for (int i = 0; i < c->info.n; i++) c->info.at[i]->root = r->force[i]; // places that are too tangled or too far are stored, views or not
  te_forget(c->t);
}

static double space_size(const cg_info *x) {
  if (x->compute->kind == TE_REDUCE) return cg_c_numel_hint(x->rank, x->dim);
  return cg_c_numel_hint(x->value->type.rank, x->value->type.dim);
}

static void decide(roots *r, int i) {
  cg_info *x = r->c->info.at[i];
  if (!x->uses && !x->writes) {
    x->root = false;
    return;
  }
  if (x->root || x->compute->kind != TE_MAP || x->state) x->root = true;
  else if (x->is_result || r->force[i]) keep(r, x);
  else if (!x->view && (r->evals[i] - 1) * r->cost[i] > 4 + r->evals[i]) x->root = true;
}

static void add_inlined(cg_value *v, void *u) {
  cg_info *x = v->type.kind == CG_T_TENSOR ? cg_c_info(v) : NULL;
  if (x && !x->root && !x->alias_of) *(int *)u += x->work;
}

// Long chains are cut: what is inlined in one value stays below a bound, and so does the depth of its expression.
static void cut(roots *r, cg_info *x) {
  x->work = r->own[x->index];
  if (x->compute->kind != TE_MAP || x->root) return;
  cg_node_each_input(x->compute->node, add_inlined, &x->work);
  if (x->work > CG_WORK_VALUE && !x->view) x->root = true;
}

void cg_c_roots(cg_sched *c) {
  int n = c->info.n;
  roots r = {c, CG_NEW_ARRAY(c->s, double, n + 1), CG_NEW_ARRAY(c->s, int, n + 1), CG_NEW_ARRAY(c->s, int, n + 1), CG_NEW_ARRAY(c->s, int, n + 1), CG_NEW_ARRAY(c->s, bool, n + 1)};
  estimate_costs(&r);
  for (int i = n - 1; i >= 0; i--) { // before anybody reads through them
    cg_info *x = c->info.at[i];
    if (x->is_result && x->view && !x->root && !x->state) keep(&r, x);
  }
  for (int i = n - 1; i >= 0; i--) {
    cg_info *x = c->info.at[i];
    decide(&r, i);
    if ((!x->uses && !x->writes) || x->nparts) continue; // parts: others compute it
    if (x->compute->kind == TE_KERNEL) {
      const cg_kernel_template *k = cg_kernel_template_find(x->compute->kernel);
      template_inputs in = {&r, k};
      cg_node_each_input(x->compute->node, template_input, &in);
      continue;
    }
    const cg_op *op = x->compute->node->op;
    reader d = {&r, x->compute->node, x->root ? 1 : r.evals[i], space_size(x), false};
    if (d.factor < 1) d.factor = 1;
    d.heavy_to_inline = x->compute->kind == TE_MAP && !x->view && !(op->traits & CG_OP_POINTWISE);
    cg_node_each_input(x->compute->node, count_evals, &d);
  }
  for (int i = 0; i < n; i++) cut(&r, c->info.at[i]);
}
