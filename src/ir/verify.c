// The verifier: a module's invariants, checked between passes.
#include "ir/verify.h"

#include <string.h>

#include "base/str.h"
#include "ir/control.h"
#include "ir/text.h"

typedef struct {
  cg_module *m;
  const char *after;
  cg_fn *fn;
  cg_node *node;
  cg_map values; // name -> the value that is defined by it, in fn so far
} checker;

static _Noreturn void broken(checker *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static _Noreturn void broken(checker *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *text = cg_vformat(c->m->s, fmt, ap);
  va_end(ap);
  const char *fn = c->fn && c->fn->name ? c->fn->name : "";
  if (!c->node) cg_fail(c->m->s, CIERGE_INTERNAL, "after %s: @%s: %s", c->after, fn, text);
  const char *what = c->node->schema ? c->node->schema->key : c->node->callee ? c->node->callee->name : "a node";
  const char *result = c->node->nresults && c->node->result[0] && c->node->result[0]->name ? c->node->result[0]->name : "";
  cg_fail_at(c->m->s, CIERGE_INTERNAL, c->node->at, "after %s: @%s: %s (%%%s): %s", c->after, fn, what, result, text);
}

// ---------------------------------------------------------------- expressions and types

static void check_expr(checker *c, const cg_expr *e) {
  if (!e) broken(c, "a size is missing");
  if (e->kind == CG_X_SYM && cg_symbol_find(&c->m->exprs, e->symbol->name) != e->symbol)
    broken(c, "symbol %s is not declared", e->symbol->name);
  for (int i = 0; i < e->nargs; i++) check_expr(c, e->arg[i]);
}

static void check_type(checker *c, const cg_type *t, const char *of) {
  if ((unsigned)t->kind > CG_T_LATE) broken(c, "%s has no sensible type", of);
  if (t->value) check_expr(c, t->value);
  if (t->kind != CG_T_TENSOR) return;
  if ((unsigned)t->dtype >= CG_DTYPE_COUNT) broken(c, "%s has no sensible dtype", of);
  if (t->rank < 0 || t->rank > CG_MAX_RANK) broken(c, "%s has %d dimensions", of, t->rank);
  if (t->rank && !t->dim) broken(c, "%s has no sizes", of);
  for (int i = 0; i < t->rank; i++) {
    check_expr(c, t->dim[i]);
    if (t->stride) check_expr(c, t->stride[i]);
    if (cg_x_is_int(t->dim[i]) && t->dim[i]->value < 0) broken(c, "%s has a negative size", of);
  }
  if (t->offset) check_expr(c, t->offset);
}

// ---------------------------------------------------------------- values

static bool in_module(const checker *c, const cg_fn *f) {
  for (int i = 0; i < c->m->fns.n; i++)
    if (c->m->fns.at[i] == f) return true;
  return false;
}

static void define(checker *c, cg_value *v) {
  if (!v || !v->name) broken(c, "a value has no name");
  if (!cg_map_set(c->m->s, &c->values, v->name, v)) broken(c, "two values are called %%%s", v->name);
  check_type(c, &v->type, v->name);
}

static void check_use(cg_value *v, void *u) {
  checker *c = u;
  if (!v) broken(c, "a value is missing");
  if (v->constant) {
    if (cg_map_get(&c->m->constant_by_name, v->constant->name) != v->constant || v->constant->value != v)
      broken(c, "constant @%s is not the module's", v->constant->name);
  } else if (cg_map_get(&c->values, v->name ? v->name : "") != v) {
    broken(c, "%%%s is not defined before this", v->name ? v->name : "");
  }
}

static void check_arg(checker *c, const cg_arg *a) {
  if ((unsigned)a->kind > CG_A_BLOB) broken(c, "an argument of no kind");
  if (a->kind == CG_A_BLOB && (!a->blob || cg_blob_find(c->m, a->blob->name) != a->blob)) broken(c, "a blob that is not in the module");
  if (a->kind == CG_A_VALUE) check_use(a->value, c);
  else if (a->kind == CG_A_INT) check_expr(c, a->i);
  else if (a->kind == CG_A_FN && !in_module(c, a->fn)) broken(c, "a sub-graph that is not in the module");
  else if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) check_arg(c, &a->list.at[i]);
}

// ---------------------------------------------------------------- nodes

static void check_call(checker *c, const cg_node *n) {
  const cg_fn *f = n->callee;
  if (!f || !in_module(c, f)) broken(c, "neither an operator nor a function of the module");
  if (n->nargs != f->param.n || n->nresults != f->result.n)
    broken(c, "@%s has %d parameters and %d results, this call %d and %d", f->name, f->param.n, f->result.n, n->nargs, n->nresults);
  const char *why = NULL;
  for (int i = 0; i < n->nargs; i++)
    if (n->arg[i].kind == CG_A_VALUE && (why = cg_type_misfit(&n->arg[i].value->type, &f->param.at[i]->type)))
      broken(c, "argument %d of @%s: %s than %%%s has", i, f->name, why, f->param.at[i]->name);
  for (int i = 0; i < n->nresults; i++)
    if (f->result.at[i].kind == CG_A_VALUE && (why = cg_type_misfit(&n->result[i]->type, &f->result.at[i].value->type)))
      broken(c, "result %d of @%s: %s than there", i, f->name, why);
}

static void check_operator(checker *c, const cg_node *n) {
  const cg_schema *k = n->schema;
  if (n->nargs < k->nargs || (n->nargs > k->nargs && !k->variadic_args)) broken(c, "%d arguments for %s", n->nargs, k->text);
  for (int i = 0; i < k->nargs; i++) {
    const char *why = cg_arg_misfit(c->m->s, &k->arg[i], &n->arg[i]);
    if (!why) continue;
    cg_str b = cg_str_new(c->m->s);
    cg_print_arg(&b, &n->arg[i]);
    broken(c, "%s, and has %s", why, cg_str_text(&b));
  }
  if (!cg_results_fit(k, n->nresults)) broken(c, "%d results for %s", n->nresults, k->text);
}

static void check_node(checker *c, cg_node *n, bool typed) {
  c->node = n;
  if (n->fn != c->fn) broken(c, "the node thinks it is in another function");
  if ((n->prev ? n->prev->next : c->fn->first) != n || (n->next ? n->next->prev : c->fn->last) != n) broken(c, "the list of nodes is broken");
  for (int i = 0; i < n->nargs; i++) check_arg(c, &n->arg[i]);
  if (n->schema) check_operator(c, n);
  else check_call(c, n);
  cg_control control;
  const char *why = typed && cg_is_control(n) ? cg_control_read(n, &control) : NULL;
  if (why) broken(c, "%s", why);
  if (n->origin < 0 || n->origin > c->m->origins.n) broken(c, "origin %d of %d", n->origin, c->m->origins.n);
  for (int i = 0; i < n->nresults; i++) {
    cg_value *v = n->result[i];
    define(c, v);
    if (v->def != n || v->index != i || v->constant) broken(c, "result %d does not know its node", i);
    if (typed && v->type.kind == CG_T_UNKNOWN) broken(c, "%%%s has no type", v->name);
  }
}

// ---------------------------------------------------------------- functions and the module

static void check_update(checker *c, const cg_update *u) {
  check_use(u->value, c);
  if (!u->target) broken(c, "an update of nothing");
  check_use(u->target, c);
  if (u->kind == CG_UPDATE_RESHAPE) {
    const char *why = cg_reshape_misfit(c->fn, u);
    if (why) broken(c, "a reshape of %s: %s", u->target->name, why);
    return;
  }
  if (u->kind == CG_UPDATE_STATE ? !u->target->constant || !u->target->constant->mutated : u->target->constant || u->target->def)
    broken(c, "an update of %s, which is neither state nor a parameter", u->target->name);
}

static void check_fn(checker *c, cg_fn *f, bool typed) {
  c->fn = f, c->node = NULL, c->values = (cg_map){0};
  if (!f || !f->name) broken(c, "a function has no name");
  if (f->module != c->m) broken(c, "the function is of another module");
  for (int i = 0; i < f->param.n; i++) {
    cg_value *v = f->param.at[i];
    define(c, v);
    if (v->def || v->constant || v->index != i) broken(c, "parameter %%%s does not know its place", v->name);
  }
  int count = 0;
  for (cg_node *n = f->first; n; n = n->next, count++) check_node(c, n, typed);
  c->node = NULL;
  if (count != f->nnodes) broken(c, "%d nodes are listed, %d counted", count, f->nnodes);
  for (int i = 0; i < f->result.n; i++) check_arg(c, &f->result.at[i]);
  for (int i = 0; i < f->update.n; i++) check_update(c, &f->update.at[i]);
}

static void check_module(checker *c) {
  cg_module *m = c->m;
  cg_map names = {0};
  for (int i = 0; i < m->constants.n; i++) {
    cg_constant *k = m->constants.at[i];
    if (!k->value || k->value->constant != k) broken(c, "constant @%s has lost its value", k->name);
    if (!cg_map_set(m->s, &names, k->name, k)) broken(c, "two constants are called @%s", k->name);
    check_type(c, &k->type, k->name);
  }
  for (int i = 0; i < m->blobs.n; i++) {
    const cg_blob *b = m->blobs.at[i];
    if (!b->hash) broken(c, "blob @%s has no hash", b->name);
    if (!cg_map_set(m->s, &names, b->name, (void *)b)) broken(c, "two constants are called @%s", b->name);
  }
  names = (cg_map){0};
  bool has_main = false;
  for (int i = 0; i < m->fns.n; i++) {
    if (!cg_map_set(m->s, &names, m->fns.at[i]->name, m->fns.at[i])) broken(c, "two functions are called @%s", m->fns.at[i]->name);
    has_main = has_main || m->fns.at[i] == m->main;
  }
  if (!has_main || strcmp(m->main->name, "main")) broken(c, "there is no function @main");
  for (int i = 0; i < m->inputs.n; i++) {
    const cg_value *v = m->inputs.at[i].param;
    if (v && (v->index < 0 || v->index >= m->main->param.n || m->main->param.at[v->index] != v))
      broken(c, "input %d is no parameter of @main", i);
  }
  const cg_fn *loop = cg_recursive_fn(m);
  if (loop) broken(c, "@%s calls itself", loop->name);
}

void cg_verify(cg_module *m, const char *after, bool typed) {
  checker c = {.m = m, .after = after};
  check_module(&c);
  for (int i = 0; i < m->fns.n; i++) check_fn(&c, m->fns.at[i], typed);
}
