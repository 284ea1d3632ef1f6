// Makes and changes modules, functions, nodes and types, and keeps their lists, counts and names right.
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "ir/ir.h"

// The operator table is above this folder; nodes carry their row of it (ops/op.h declares the same).
const struct cg_op *cg_op_find(const char *key);

cg_module *cg_module_new(cg_session *s) {
  cg_module *m = CG_NEW(s, cg_module);
  m->s = s;
  cg_expr_pool_init(&m->exprs, s);
  return m;
}

// ---------------------------------------------------------------- Names

// Later fresh names are larger than the number that `name` is, or ends in after a '_'.
static void keep_clear_of(cg_module *m, const char *name) {
  const char *end = name + strlen(name), *p = end;
  while (p > name && p[-1] >= '0' && p[-1] <= '9') p--;
  if (p == end || end - p > 8 || (p > name && p[-1] != '_')) return;
  int n = atoi(p);
  if (n >= m->next_id) m->next_id = n + 1;
}

static void look_at_newest(cg_module *m) {
  cg_node *n = m->newest;
  for (int i = 0; n && i < n->nresults; i++)
    if (n->result[i] && n->result[i]->name) keep_clear_of(m, n->result[i]->name);
}

const char *cg_fresh_name(cg_module *m, const char *stem) {
  look_at_newest(m);
  const char *name;
  do name = cg_format(m->s, *stem ? "%s_%d" : "%s%d", stem, m->next_id++);
  while (cg_map_has(&m->constant_by_name, name) || cg_fn_find(m, name) || cg_blob_find(m, name));
  return name;
}

void cg_value_rename(cg_module *m, cg_value *v, const char *name) {
  v->name = cg_strdup(m->s, name);
  keep_clear_of(m, name);
}

// ---------------------------------------------------------------- Functions, parameters, constants

cg_fn *cg_fn_new(cg_module *m, const char *name) {
  cg_fn *f = CG_NEW(m->s, cg_fn);
  f->name = cg_fn_find(m, name) ? cg_fresh_name(m, name) : cg_strdup(m->s, name);
  f->module = m;
  keep_clear_of(m, f->name);
  CG_PUSH(m->s, &m->fns, f);
  cg_map_set(m->s, &m->fn_by_name, f->name, f);
  if (!m->main && !strcmp(name, "main")) m->main = f;
  return f;
}

cg_fn *cg_fn_find(const cg_module *m, const char *name) { return cg_map_get(&m->fn_by_name, name); }

cg_value *cg_param_new(cg_fn *f, const char *name, cg_type type) {
  cg_value *v = CG_NEW(f->module->s, cg_value);
  cg_value_rename(f->module, v, name);
  v->type = type;
  v->index = f->param.n;
  CG_PUSH(f->module->s, &f->param, v);
  return v;
}

cg_constant *cg_constant_new(cg_module *m, const char *name, cg_type type, const uint8_t *data, uint64_t size) {
  if (cg_map_has(&m->constant_by_name, name) || cg_blob_find(m, name)) cg_fail(m->s, CIERGE_BAD_MODEL, "two constants are called '%s'", name);
  cg_constant *c = CG_NEW(m->s, cg_constant);
  *c = (cg_constant){.name = cg_strdup(m->s, name), .type = type, .data = data, .size = size};
  c->value = CG_NEW(m->s, cg_value);
  *c->value = (cg_value){.name = c->name, .type = type, .index = m->constants.n, .constant = c};
  CG_PUSH(m->s, &m->constants, c);
  cg_map_set(m->s, &m->constant_by_name, name, c);
  return c;
}

cg_blob *cg_blob_new(cg_module *m, const char *name, const char *hash, const uint8_t *data, uint64_t size) {
  if (cg_map_has(&m->constant_by_name, name) || cg_blob_find(m, name)) cg_fail(m->s, CIERGE_BAD_MODEL, "two constants are called '%s'", name);
  cg_blob *b = CG_NEW(m->s, cg_blob);
  *b = (cg_blob){.name = cg_strdup(m->s, name), .hash = hash ? cg_strdup(m->s, hash) : NULL, .data = data, .size = size};
  if (data) {
    cg_hash h = cg_hash_of(data, size);
    b->hash = cg_strdup(m->s, h.text);
  }
  CG_PUSH(m->s, &m->blobs, b);
  return b;
}

cg_blob *cg_blob_find(const cg_module *m, const char *name) {
  for (int i = 0; i < m->blobs.n; i++)
    if (!strcmp(m->blobs.at[i]->name, name)) return m->blobs.at[i];
  return NULL;
}

// ---------------------------------------------------------------- Nodes

static void link_before(cg_fn *f, cg_node *n, cg_node *before) {
  n->fn = f;
  n->next = before;
  n->prev = before ? before->prev : f->last;
  *(n->prev ? &n->prev->next : &f->first) = n;
  *(before ? &before->prev : &f->last) = n;
  f->nnodes++;
}

static void unlink_node(cg_node *n) {
  cg_fn *f = n->fn;
  *(n->prev ? &n->prev->next : &f->first) = n->next;
  *(n->next ? &n->next->prev : &f->last) = n->prev;
  n->prev = n->next = NULL;
  n->fn = NULL;
  f->nnodes--;
}

cg_node *cg_node_new(cg_fn *f, cg_node *before, const cg_schema *schema, int nargs, int nresults) {
  cg_module *m = f->module;
  cg_node *n = CG_NEW(m->s, cg_node);
  n->schema = schema;
  n->op = schema ? cg_op_find(schema->key) : NULL;
  n->nargs = nargs;
  n->arg = CG_NEW_ARRAY(m->s, cg_arg, (size_t)nargs);
  n->nresults = nresults;
  n->result = CG_NEW_ARRAY(m->s, cg_value *, (size_t)nresults);
  for (int i = 0; i < nresults; i++) {
    cg_value *v = CG_NEW(m->s, cg_value);
    v->name = cg_fresh_name(m, "");
    v->def = n;
    v->index = i;
    n->result[i] = v;
  }
  link_before(f, n, before);
  m->newest = n;
  return n;
}

void cg_node_fill_defaults(cg_node *n, int from) {
  for (int i = from; i < n->nargs; i++)
    n->arg[i] = n->schema && i < n->schema->nargs ? cg_schema_default(n->fn->module, &n->schema->arg[i]) : cg_a_none();
}

cg_node *cg_node_like(cg_fn *f, cg_node *before, const cg_node *like, const char *key, int nargs, const cg_arg *arg, int nresults) {
  cg_session *s = f->module->s;
  const cg_schema *c = cg_schema_find(s, &f->module->schemas, key);
  if (!c) cg_fail(s, CIERGE_INTERNAL, "a node of an unknown operator is made: %s", key);
  if (nargs > c->nargs && !c->variadic_args)
    cg_fail(s, CIERGE_INTERNAL, "a node with %d arguments is made, but there are %d: %s", nargs, c->nargs, c->text);
  for (int i = nargs; i < c->nargs; i++)
    if (!c->arg[i].default_text && !c->arg[i].type.optional)
      cg_fail(s, CIERGE_INTERNAL, "a node without argument '%s' is made: %s", c->arg[i].name, c->text);
  cg_node *n = cg_node_new(f, before, c, nargs > c->nargs ? nargs : c->nargs, nresults);
  if (nargs) memcpy(n->arg, arg, (size_t)nargs * sizeof *arg);
  cg_node_fill_defaults(n, nargs);
  if (like) {
    n->at = like->at;
    n->module_path = like->module_path;
    n->name = like->name;
    n->origin = like->origin;
  }
  return n;
}

void cg_node_remove(cg_node *n) {
  if (n->fn->module->newest == n) look_at_newest(n->fn->module), n->fn->module->newest = NULL;
  unlink_node(n);
}

void cg_node_move(cg_node *n, cg_node *before) {
  cg_fn *f = before ? before->fn : n->fn;
  if (n == before) return;
  unlink_node(n);
  link_before(f, n, before);
}

static void replace_in(cg_arg *a, cg_value *from, cg_value *to) {
  if (a->kind == CG_A_VALUE && a->value == from) a->value = to;
  if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) replace_in(&a->list.at[i], from, to);
}

void cg_replace_uses(cg_fn *f, cg_value *from, cg_value *to) {
  for (cg_node *n = f->first; n; n = n->next)
    for (int i = 0; i < n->nargs; i++) replace_in(&n->arg[i], from, to);
  for (int i = 0; i < f->result.n; i++) replace_in(&f->result.at[i], from, to);
  for (int i = 0; i < f->update.n; i++) // the target is a place, not a use
    if (f->update.at[i].value == from) f->update.at[i].value = to;
}

int cg_fn_number(cg_fn *f) {
  int k = 0;
  for (cg_node *n = f->first; n; n = n->next) n->order = k++;
  return k;
}

// ---------------------------------------------------------------- Types and arguments

cg_type cg_tensor_type(cg_dtype t, int rank, const cg_expr **dim) {
  return (cg_type){.kind = CG_T_TENSOR, .dtype = t, .rank = rank, .dim = dim};
}

cg_type cg_scalar_type(cg_type_kind k) { return (cg_type){.kind = k}; }

bool cg_type_equal(const cg_type *a, const cg_type *b) {
  if (a->kind != b->kind) return false;
  if (a->kind == CG_T_OTHER) return !strcmp(a->note ? a->note : "", b->note ? b->note : "");
  if (a->kind != CG_T_TENSOR) return true;
  if (a->dtype != b->dtype || a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i]) return false; // expressions are interned
  return true;
}

bool cg_type_has_unbacked(const cg_type *t) {
  for (int i = 0; t->kind == CG_T_TENSOR && i < t->rank; i++)
    if (cg_x_has_unbacked(t->dim[i])) return true;
  return false;
}

bool cg_type_is_c_order(cg_module *m, const cg_type *t) {
  const cg_expr *n = cg_x_int(&m->exprs, 1);
  for (int i = t->stride ? t->rank : 0; i-- > 0; n = cg_x_mul(&m->exprs, n, t->dim[i]))
    if (!cg_x_is(t->dim[i], 1) && t->stride[i] != n) return false;
  return true;
}

bool cg_type_is_contiguous(cg_module *m, const cg_type *t) { return (!t->offset || cg_x_is(t->offset, 0)) && cg_type_is_c_order(m, t); }

const cg_expr *cg_type_numel(cg_module *m, const cg_type *t) {
  const cg_expr *n = cg_x_int(&m->exprs, 1);
  for (int i = 0; i < t->rank; i++) n = cg_x_mul(&m->exprs, n, t->dim[i]);
  return n;
}

const cg_expr *cg_unbacked_new(cg_module *m) {
  for (;; m->next_unbacked++) {
    const char *name = cg_format(m->s, "u%d", m->next_unbacked);
    if (!cg_symbol_find(&m->exprs, name)) return cg_x_sym(&m->exprs, name);
  }
}

bool cg_type_is_static(const cg_type *t) {
  for (int i = 0; t->kind == CG_T_TENSOR && i < t->rank; i++)
    if (!cg_x_is_static(t->dim[i])) return false;
  return true;
}

cg_arg cg_a_int(cg_module *m, int64_t v) { return cg_a_expr(cg_x_int(&m->exprs, v)); }

cg_arg cg_a_list(cg_module *m, int n, const cg_arg *at) {
  cg_arg a = {.kind = CG_A_LIST};
  a.list.n = n;
  a.list.at = CG_NEW_ARRAY(m->s, cg_arg, (size_t)n);
  if (n) memcpy(a.list.at, at, (size_t)n * sizeof *at);
  return a;
}

cg_arg cg_a_str(cg_module *m, const char *text) {
  cg_arg a = {.kind = CG_A_STR};
  a.str.text = cg_strdup(m->s, text);
  a.str.n = strlen(text);
  return a;
}
