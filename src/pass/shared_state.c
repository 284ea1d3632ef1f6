// State has memory of its own in a compiled program. Where a buffer that is written to shares its storage with others, the storage is
// one state: the same tensor under another name is that state, others (self.v = self.w[2:]) become views of it, made at the start of
// each call.
#include "pass/alias.h"

void cg_mark_written(cg_module *m) {
  for (int i = 0; i < m->constants.n; i++) {
    m->constants.at[i]->value->data = m->constants.at[i]->value;
    m->constants.at[i]->value->mark = 0;
  }
  for (int i = 0; i < m->main->update.n; i++) m->main->update.at[i].target->mark = 1;
  for (int i = 0; i < m->main->param.n; i++) m->main->param.at[i]->data = NULL;
  for (cg_node *n = m->main->first; n; n = n->next) {
    for (int i = 0; n->schema && i < n->nargs; i++)
      for (int k = 0; cg_node_writes(n, i) && k < cg_arg_list_len(&n->arg[i]); k++) {
        const cg_arg *a = cg_arg_list_at(&n->arg[i], k);
        cg_value *of = a->kind == CG_A_VALUE ? a->value->data : NULL;
        if (of) of->mark = 1;
      }
    for (int r = 0; r < n->nresults; r++) {
      int arg = -1, item = -1;
      n->result[r]->data = NULL;
      if (cg_node_shares(n, r, &arg, &item) == CG_NO_ALIAS) {
        const cg_schema_arg *ret = n->schema ? cg_node_ret(n, r, &item) : NULL;
        arg = -1, item = -1;
        for (int i = 0; ret && ret->alias_write && i < n->schema->nargs; i++)
          if (n->schema->arg[i].alias_set == ret->alias_set) arg = i;
        if (arg < 0) continue;
      }
      const cg_arg *a = item < 0 ? &n->arg[arg] : &n->arg[arg].list.at[item];
      if (a->kind == CG_A_VALUE) n->result[r]->data = a->value->data;
    }
  }
}

// All of its storage, in C order.
static bool covers(const cg_module *m, const cg_constant *c) {
  const cg_type *t = &c->type;
  const cg_expr *n = cg_type_numel((cg_module *)(uintptr_t)m, t);
  return t->kind == CG_T_TENSOR && !t->stride && !t->offset && cg_x_is_int(n) && (uint64_t)n->value * cg_dtypes[t->dtype].size == c->size;
}

// What is made of storages, in front of the program.
typedef struct {
  cg_module *m;
  cg_node *before; // the program's first node
} front;

static cg_value *made(const front *x, const char *key, int nargs, const cg_arg *arg, cg_type t) {
  cg_node *n = cg_node_like(x->m->main, x->before, NULL, key, nargs, arg, 1);
  n->result[0]->type = t;
  return n->result[0];
}

// A flat tensor over all of it, for buffers of which none covers it.
static cg_constant *storage_of(cg_module *m, const cg_constant *c) {
  const char *name = cg_fresh_name(m, cg_format(m->s, "%s.storage", c->name));
  const cg_expr *n = cg_x_int(&m->exprs, (int64_t)(c->size / cg_dtypes[c->type.dtype].size));
  cg_constant *whole = cg_constant_new(m, name, cg_tensor_type(c->type.dtype, 1, cg_memdup(m->s, &n, sizeof n)), c->data, c->size);
  whole->kind = c->kind;
  return whole;
}

static cg_value *view_of(const front *x, const cg_constant *c, const cg_constant *whole) {
  const cg_type *t = &c->type;
  cg_arg size[CG_MAX_RANK], stride[CG_MAX_RANK];
  cg_expr_pool *pool = &x->m->exprs;
  const cg_expr *step = cg_x_int(pool, 1);
  for (int i = t->rank - 1; i >= 0; i--) {
    size[i] = cg_a_expr(t->dim[i]);
    stride[i] = cg_a_expr(t->stride ? t->stride[i] : step);
    step = cg_x_mul(pool, step, t->dim[i]);
  }
  cg_arg arg[4] = {cg_a_value(whole->value), cg_a_list(x->m, t->rank, size), cg_a_list(x->m, t->rank, stride), t->offset ? cg_a_expr(t->offset) : cg_a_int(x->m, 0)};
  return covers(x->m, c) ? made(x, "aten::view", 2, arg, *t) : made(x, "aten::as_strided", 4, arg, *t);
}

static cg_update *update_of(cg_module *m, const cg_constant *c) {
  for (int i = 0; i < m->main->update.n; i++)
    if (m->main->update.at[i].target == c->value) return &m->main->update.at[i];
  return NULL;
}

// c is `whole` under another name: both names say the same from now on.
static void one_state(cg_module *m, cg_constant *c, cg_constant *whole) {
  cg_update *u = update_of(m, c);
  if (u) u->target = whole->value;
  for (int i = 0; i < m->fns.n; i++) cg_replace_uses(m->fns.at[i], c->value, whole->value);
}

static void share(cg_module *m, const cg_constant *written) {
  cg_constant *whole = NULL;
  front x = {m, m->main->first};
  int n = m->constants.n;
  for (int i = 0; i < n && !whole; i++) {
    cg_constant *c = m->constants.at[i];
    if (c->data == written->data && c->type.dtype == written->type.dtype && covers(m, c)) whole = c;
  }
  if (!whole) whole = storage_of(m, written);
  for (int i = 0; i < n; i++) {
    cg_constant *c = m->constants.at[i];
    if (c->data != whole->data || c == whole || c->type.dtype != whole->type.dtype) continue;
    bool same = covers(m, c) && cg_type_equal(&c->type, &whole->type);
    // the functional dialect says what a view holds at the end: that part of the whole; or what both names of one state hold
    if (update_of(m, c) && (!same || update_of(m, whole)))
      cg_fail(m->s, CIERGE_BAD_MODEL, "'%s' is written to and shares its memory with '%s': cierge keeps state in memory of its own", c->name, whole->name);
    if (same) one_state(m, c, whole);
    else cg_replace_uses(m->main, c->value, view_of(&x, c, whole));
  }
}

typedef struct { int constants; bool done; } storage;

void cg_share_state(cg_module *m) {
  int n = m->constants.n;
  cg_map storages = {0}; // by where they lie
  storage **of = CG_NEW_ARRAY(m->s, storage *, n + 1);
  bool shared = false;
  for (int i = 0; i < n; i++) {
    const cg_constant *c = m->constants.at[i];
    if (!c->data || !c->size) continue;
    const char *where = cg_format(m->s, "%p", (const void *)c->data);
    if (!(of[i] = cg_map_get(&storages, where))) cg_map_set(m->s, &storages, where, of[i] = CG_NEW(m->s, storage));
    shared |= of[i]->constants++ > 0;
  }
  if (!shared) return;
  cg_mark_written(m);
  for (int i = 0; i < n; i++) {
    const cg_constant *c = m->constants.at[i];
    if (!of[i] || of[i]->constants == 1 || of[i]->done || !c->value->mark) continue;
    of[i]->done = true;
    share(m, c);
  }
}
