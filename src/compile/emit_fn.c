// Emits a function of the IR as a function of the plan: parameters, the calls of lifted regions, host nodes, results.
#include "backend/host.h"
#include "compile/compile.h"

static void param(cg_emitter *e, cg_value *p, uint32_t index) {
  int i = cg_emit_result(e, p);
  if (p->type.kind == CG_T_TENSOR) {
    e->fn->value[i].storage = CG_ST_PARAM;
    e->fn->value[i].index = index;
  }
  const cg_expr *x = p->type.value; // an int input that the model calls by a symbol
  if (p->type.kind == CG_T_INT && x && x->kind == CG_X_SYM) cg_emit_bind_symbol(e, x->symbol, i);
  e->fn->param[index] = (uint32_t)i;
}

// Numbers first: sizes of the tensors may be made of them.
static void params(cg_emitter *e, const cg_fn *f) {
  e->fn->param = CG_NEW_ARRAY(e->s, uint32_t, f->param.n + 1);
  e->fn->n_params = (uint32_t)f->param.n;
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < f->param.n; i++)
      if ((f->param.at[i]->type.kind == CG_T_TENSOR) == (pass == 1)) param(e, f->param.at[i], (uint32_t)i);
}

static void call(cg_emitter *e, uint32_t index, const cg_node *n) {
  cg_fn *callee = n->callee;
  for (int i = 0; i < n->nargs; i++) cg_emit_bind(e, callee->param.at[i], cg_emit_arg(e, &n->arg[i]));
  const cg_backend *b = cg_backend_find(callee->backend);
  if (!b) cg_fail(e->s, CIERGE_BAD_MODEL, "@%s: there is no backend \"%s\"", callee->name, callee->backend ? callee->backend : "");
  uint32_t first = e->fn->n_steps;
  b->lower(e, callee);
  cg_emit_span span = {index, first, e->fn->n_steps, callee};
  CG_PUSH(e->s, &e->spans, span);
  for (int i = 0; i < n->nresults; i++) cg_emit_bind(e, n->result[i], cg_emit_arg(e, &callee->result.at[i]));
}

bool cg_emit_is_set(const cg_plan_fn *f, uint32_t value) {
  for (uint32_t i = 0; i < f->n_params; i++)
    if (f->param[i] == value) return true;
  for (uint32_t i = 0; i < f->n_steps; i++) {
    const cg_plan_step *s = &f->step[i];
    for (uint32_t k = 0; k < s->n_bind; k++)
      if (s->bind[k].symbol == value) return true;
    for (uint32_t k = 0; k < s->n_out; k++)
      if (s->out[k] == value) return true;
  }
  return false;
}

// Of the symbols that were spoken of, those that nothing in the function gives a value to.
static void keep_unset(cg_emitter *e) {
  int n = 0;
  for (int i = 0; i < e->scope->wanted.n; i++) {
    uint32_t v = (uint32_t)cg_emit_symbol(e, e->scope->wanted.at[i]);
    if (!cg_emit_is_set(e->fn, v)) e->scope->wanted.at[n++] = e->scope->wanted.at[i];
  }
  e->scope->wanted.n = n;
}

static void updates(cg_emitter *e, const cg_fn *f) {
  cg_session *s = e->s;
  cg_plan_update *u = CG_NEW_ARRAY(s, cg_plan_update, f->update.n ? f->update.n : 1);
  uint32_t n = 0;
  for (int i = 0; i < f->update.n; i++) {
    uint32_t target = (uint32_t)cg_emit_value(e, f->update.at[i].target), value = (uint32_t)cg_emit_value(e, f->update.at[i].value);
    if (f->update.at[i].kind != CG_UPDATE_RESHAPE) u[n++] = (cg_plan_update){target, value}; // those are the plan's: driver.c
  }
  e->fn->update = u, e->fn->n_updates = n;
}

cg_emitted_fn cg_emit_fn(cg_emitter *e, cg_fn *f) {
  cg_session *s = e->s;
  cg_plan_fn *outer_fn = e->fn;
  cg_emit_scope *outer_scope = e->scope;
  cg_emitted_fn out = {cg_emit_new_plan_fn(e, f->name), CG_NEW(s, cg_emit_scope)};
  e->fn = e->plan->fn[out.index];
  e->scope = out.scope;

  params(e, f);
  for (int i = 0; i < f->update.n; i++) cg_emit_value(e, f->update.at[i].target); // before what may lie over it
  for (cg_node *n = f->first; n; n = n->next) {
    if (n->callee) call(e, out.index, n);
    else if (n->backend == &cg_backend_host) cg_host_lower(e, n);
    else cg_fail_at(s, CIERGE_INTERNAL, n->at, "%s was not given to a backend", n->schema->key);
  }
  e->fn->result = CG_NEW_ARRAY(s, uint32_t, f->result.n ? f->result.n : 1);
  for (int i = 0; i < f->result.n; i++) e->fn->result[i] = (uint32_t)cg_emit_arg(e, &f->result.at[i]);
  e->fn->n_results = (uint32_t)f->result.n;
  updates(e, f);
  keep_unset(e);

  e->fn = outer_fn;
  e->scope = outer_scope;
  return out;
}

// ---------------------------------------------------------------- symbols across functions

static bool has_symbol(const cg_symbol *const *at, int n, const cg_symbol *y) {
  for (int i = 0; i < n; i++)
    if (at[i] == y) return true;
  return false;
}

static void add_symbol_params(cg_emitter *e, const cg_emitted_fn *f, const cg_symbol *const *at, int n) {
  cg_plan_fn *outer_fn = e->fn;
  cg_emit_scope *outer_scope = e->scope;
  e->fn = e->plan->fn[f->index];
  e->scope = f->scope;
  uint32_t *more = CG_NEW_ARRAY(e->s, uint32_t, e->fn->n_params + (uint32_t)n + 1);
  for (uint32_t i = 0; i < e->fn->n_params; i++) more[i] = e->fn->param[i];
  e->fn->param = more;
  for (int i = 0; i < n; i++) {
    int v = cg_emit_symbol(e, at[i]);
    e->fn->param[e->fn->n_params++] = (uint32_t)v;
  }
  e->fn = outer_fn;
  e->scope = outer_scope;
}

int cg_emit_share_symbols(cg_emitter *e, const cg_emitted_fn *fn, int nfns, int **values) {
  CG_VEC(const cg_symbol *) all = {0};
  for (int k = 0; k < nfns; k++)
    for (int i = 0; i < fn[k].scope->wanted.n; i++)
      if (!has_symbol(all.at, all.n, fn[k].scope->wanted.at[i])) CG_PUSH(e->s, &all, fn[k].scope->wanted.at[i]);
  for (int k = 0; k < nfns; k++) add_symbol_params(e, &fn[k], all.at, all.n);
  *values = CG_NEW_ARRAY(e->s, int, all.n ? all.n : 1);
  for (int i = 0; i < all.n; i++) (*values)[i] = cg_emit_symbol(e, all.at[i]);
  return all.n;
}
