// Reads nodes and arguments.
#include <string.h>

#include "ir/ir.h"

void cg_arg_each_value(const cg_arg *a, void (*f)(cg_value *, void *), void *u) {
  if (a->kind == CG_A_VALUE) f(a->value, u);
  if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) cg_arg_each_value(&a->list.at[i], f, u);
}

void cg_node_each_input(const cg_node *n, void (*f)(cg_value *, void *), void *u) {
  for (int i = 0; i < n->nargs; i++) cg_arg_each_value(&n->arg[i], f, u);
}

const char *cg_node_text(cg_session *s, const cg_node *n) {
  int place = 1;
  if (n->name && *n->name) return cg_format(s, "%s (node %s)", n->schema->key, n->name);
  if (!n->fn) return n->schema->key; // it was taken out of its function
  for (const cg_node *before = n->prev; before; before = before->prev) place++;
  return cg_format(s, "%s (node %d of @%s)", n->schema->key, place, n->fn->name);
}

const cg_arg *cg_node_arg(const cg_node *n, const char *name) {
  int i = n->schema ? cg_schema_arg_index(n->schema, name) : -1;
  return i >= 0 && i < n->nargs ? &n->arg[i] : NULL;
}

cg_value *cg_arg_tensor(const cg_arg *a) {
  return a && a->kind == CG_A_VALUE && a->value->type.kind == CG_T_TENSOR ? a->value : NULL;
}

bool cg_arg_int(const cg_arg *a, const cg_expr **out) {
  if (!a) return false;
  const cg_expr *e = a->kind == CG_A_INT ? a->i
                     : a->kind == CG_A_VALUE && a->value->type.kind == CG_T_INT ? a->value->type.value : NULL;
  if (e) *out = e;
  return e;
}

bool cg_arg_int_const(const cg_arg *a, int64_t *out) {
  const cg_expr *e;
  if (!cg_arg_int(a, &e) || !cg_x_is_int(e)) return false;
  *out = e->value;
  return true;
}

bool cg_arg_double(const cg_arg *a, double *out) {
  int64_t i;
  if (!a) return false;
  if (a->kind == CG_A_FLOAT) return *out = a->f, true;
  if (a->kind == CG_A_BOOL) return *out = a->b, true;
  if (!cg_arg_int_const(a, &i)) return false;
  return *out = (double)i, true;
}

int cg_arg_list_len(const cg_arg *a) {
  return !a || a->kind == CG_A_NONE ? 0 : a->kind == CG_A_LIST ? a->list.n : 1;
}

const cg_arg *cg_arg_list_at(const cg_arg *a, int i) { return a->kind == CG_A_LIST ? &a->list.at[i] : a; }

static void unmark(cg_value *v, void *u) {
  (void)u;
  v->mark = 0;
}

static void count(cg_value *v, void *u) {
  (void)u;
  v->mark++;
}

static void each_use(cg_fn *f, void (*g)(cg_value *, void *)) {
  for (cg_node *n = f->first; n; n = n->next) cg_node_each_input(n, g, NULL);
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], g, NULL);
  for (int i = 0; i < f->update.n; i++) g(f->update.at[i].value, NULL);
}

void cg_fn_count_uses(cg_fn *f) {
  for (int i = 0; i < f->module->constants.n; i++) f->module->constants.at[i]->value->mark = 0;
  for (int i = 0; i < f->param.n; i++) f->param.at[i]->mark = 0;
  for (cg_node *n = f->first; n; n = n->next)
    for (int i = 0; i < n->nresults; i++) n->result[i]->mark = 0;
  each_use(f, unmark); // whatever is none of these
  each_use(f, count);
}

bool cg_node_is_op(const cg_node *n, const char *key) { return n->schema && !strcmp(n->schema->key, key); }

bool cg_node_is_torchop(const cg_node *n) { return cg_node_is_op(n, "torchop"); }

const cg_script *cg_node_script(const cg_node *n) {
  if (!cg_node_is_torchop(n) || n->arg[0].kind != CG_A_BLOB || n->arg[1].kind != CG_A_STR) return NULL;
  const cg_blob *b = n->arg[0].blob;
  for (int i = 0; i < b->scripts.n; i++)
    if (!strcmp(b->scripts.at[i].method, n->arg[1].str.text)) return &b->scripts.at[i];
  return NULL;
}

static void find_late(cg_value *v, void *u) {
  if (v->type.kind == CG_T_LATE) *(cg_value **)u = v;
}

cg_value *cg_node_late_input(const cg_node *n) {
  cg_value *found = NULL;
  cg_node_each_input(n, find_late, &found);
  return found;
}

static bool holds_tensors(const cg_arg *a) {
  for (int i = 0; a->kind == CG_A_LIST && i < a->list.n; i++)
    if (!holds_tensors(&a->list.at[i])) return false;
  return a->kind == CG_A_LIST ? a->list.n > 0 : a->kind == CG_A_VALUE && a->value->type.kind != CG_T_UNKNOWN && cg_type_may_be_tensor(&a->value->type);
}

bool cg_script_writes(const cg_node *n, int i) {
  const cg_script *s = cg_node_script(n);
  int k = i - CG_TORCHOP_INPUTS;
  return k >= 0 && holds_tensors(&n->arg[i]) && (!s || (k < s->nargs && s->writes[k]));
}
