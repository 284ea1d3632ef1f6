// Follows writes through views: a write makes new values for the views above it up to the storage; every other tensor
// over that storage is made again from it when it is next used.
#include "pass/alias.h"

#include <string.h>

#include "base/vec.h"
#include "ir/control.h"

static cg_alias *new_alias(cg_aliasing *c, cg_value *v) {
  cg_alias *a = CG_NEW(c->m->s, cg_alias);
  a->type = v->type;
  a->now = v;
  a->item = -1;
  return a;
}

static cg_alias *whole(cg_aliasing *c, cg_value *v) {
  cg_alias *a = new_alias(c, v);
  a->storage = CG_NEW(c->m->s, cg_storage);
  a->storage->whole = a;
  return a;
}

cg_name *cg_name_set(cg_aliasing *c, cg_value *v, cg_alias *a) {
  cg_name *n = CG_NEW(c->m->s, cg_name);
  n->is = a;
  v->data = n;
  return n;
}

cg_name *cg_name_of(cg_aliasing *c, cg_value *v) { return v->data ? v->data : cg_name_set(c, v, whole(c, v)); }

cg_alias *cg_alias_view(cg_aliasing *c, cg_alias *parent, cg_node *view, int arg, int item, int result, cg_value *v) {
  cg_alias *a = new_alias(c, v);
  a->storage = parent->storage;
  a->parent = parent;
  a->view = view;
  a->arg = arg, a->item = item, a->result = result;
  a->generation = a->storage->generation;
  return a;
}

cg_alias *cg_alias_same(cg_aliasing *c, cg_alias *parent, cg_value *v) { return cg_alias_view(c, parent, NULL, 0, -1, 0, v); }

// ---------------------------------------------------------------- Reading

static cg_node *replay(cg_aliasing *c, const cg_alias *a, cg_value *parent, cg_node *before) {
  const cg_node *v = a->view;
  cg_node *n = cg_node_new(c->fn, before, v->schema, v->nargs, v->nresults);
  if (v->nargs) memcpy(n->arg, v->arg, (size_t)v->nargs * sizeof *n->arg);
  if (a->item < 0) {
    n->arg[a->arg] = cg_a_value(parent);
  } else {
    n->arg[a->arg] = cg_a_list(c->m, v->arg[a->arg].list.n, v->arg[a->arg].list.at);
    n->arg[a->arg].list.at[a->item] = cg_a_value(parent);
  }
  for (int i = 0; i < v->nresults; i++) n->result[i]->type = v->result[i]->type;
  n->at = v->at, n->module_path = v->module_path, n->name = v->name, n->origin = v->origin;
  return n;
}

// a: the view of which nobody knows; by: the control node.
_Noreturn static void cannot_tell(cg_aliasing *c, const cg_node *write, const cg_alias *a, const cg_node *by) {
  const cg_node *v = a && a->view ? a->view : by ? by : write;
  if (by && (cg_is_control(by) || cg_node_is_torchop(by)))
    cg_fail_at(c->m->s, CIERGE_BAD_MODEL, write->at,
               "%s writes to memory that %s may give under another name, which only the run decides: write clone() for what a branch or loop gives",
               cg_node_text(c->m->s, write), cg_node_text(c->m->s, by));
  cg_fail_at(c->m->s, CIERGE_BAD_MODEL, write->at,
             "%s writes to memory that %s may share or may have copied, which depends on strides that are "
             "known only while the program runs: write clone() for the one or the other",
             cg_node_text(c->m->s, write), cg_node_text(c->m->s, v));
}

static void assert_apart(cg_aliasing *c, cg_storage *st, cg_node *before) {
  for (int i = 0; i < st->doubts.n; i++) {
    const cg_doubt *d = &st->doubts.at[i];
    cg_str text = cg_str_new(c->m->s);
    cg_str_addf(&text, "%s writes to memory that %s shares unless ", d->write->schema->key, d->kin.by->schema->key);
    cg_x_print_short(&text, d->kin.apart_if);
    cg_node_like(c->fn, before, d->write, "aten::_assert_scalar", 2, (cg_arg[]){cg_a_expr(d->kin.apart_if), cg_a_str(c->m, cg_str_text(&text))}, 0);
  }
  st->doubts.n = 0;
}

cg_value *cg_alias_now(cg_aliasing *c, cg_alias *a, cg_node *before) {
  cg_storage *st = a->storage;
  assert_apart(c, st, before);
  if (a->generation == st->generation) return a->now;
  if (st->unclear) cannot_tell(c, st->unclear, NULL, st->unclear_by);
  CG_VEC(cg_alias *) chain = {0}; // from a up to the first that is up to date
  for (cg_alias *b = a; b->generation != st->generation; b = b->parent) CG_PUSH(c->m->s, &chain, b);
  for (int i = chain.n - 1; i >= 0; i--) {
    cg_alias *b = chain.at[i];
    if (b->uncertain) cannot_tell(c, st->written, b, NULL);
    b->now = b->view ? replay(c, b, b->parent->now, before)->result[b->result] : b->parent->now;
    b->generation = st->generation;
  }
  return a->now;
}

// ---------------------------------------------------------------- Writing

// Nobody can say whether a shares memory with what it was made from: a goes on alone, and the others fail if they are used.
static void part(cg_aliasing *c, cg_alias *a, cg_value *value, const cg_node *by) {
  a->storage->unclear = by, a->storage->unclear_by = a->view;
  a->storage->generation++;
  a->storage = CG_NEW(c->m->s, cg_storage);
  a->storage->whole = a;
  a->parent = NULL;
  a->now = value;
  a->generation = 0;
}

// The view above which nothing is certain; NULL: all of the chain shares memory.
static cg_alias *first_uncertain(cg_alias *a) {
  for (; a; a = a->parent)
    if (a->uncertain) return a;
  return NULL;
}

_Noreturn static void cannot_write(cg_aliasing *c, const cg_node *by, const cg_alias *view) {
  cg_fail_at(c->m->s, CIERGE_BAD_MODEL, by->at, "%s writes through a view made by %s, which cierge cannot write back", cg_node_text(c->m->s, by),
             cg_node_text(c->m->s, view->view));
}

// What a view above b, *to, holds after v was written to b: its parent by an inverse of b's view; where there is none, or elements of
// the one or the other share memory, a tensor further up by geometry.
static cg_value *write_up(cg_aliasing *c, const cg_alias *b, cg_alias **to, cg_value *v, const cg_node *by, cg_node *before) {
  *to = b->parent;
  if (!b->view) return v;
  bool one_place = !cg_view_overlaps(b) && !cg_view_overlaps(b->parent);
  cg_value *up = one_place ? cg_view_inverse(c, b, cg_alias_now(c, b->parent, before), v, by, before) : NULL;
  if (up) return up;
  *to = cg_view_base(c, b);
  return *to ? cg_view_into(c, b, *to, cg_alias_now(c, *to, before), v, by, before) : NULL;
}

static void link(cg_session *s, cg_storage *a, cg_storage *b, const cg_node *by) {
  if (a == b) return;
  for (int i = 0; i < a->kin.n; i++)
    if (a->kin.at[i].storage == b) return;
  CG_PUSH(s, &a->kin, ((cg_kin){b, by, NULL}));
  CG_PUSH(s, &b->kin, ((cg_kin){a, by, NULL}));
}

void cg_alias_may_meet(cg_aliasing *c, cg_alias *a, cg_alias *b, const cg_node *by) {
  cg_storage *x = a->storage, *y = b->storage;
  int of_x = x->kin.n, of_y = y->kin.n;
  for (int i = 0; i < of_y; i++) link(c->m->s, x, y->kin.at[i].storage, by);
  for (int i = 0; i < of_x; i++) link(c->m->s, y, x->kin.at[i].storage, by);
  link(c->m->s, x, y, by);
}

void cg_alias_copied_if(cg_aliasing *c, cg_alias *a, cg_alias *b, const cg_node *by, const cg_expr *holds) {
  CG_PUSH(c->m->s, &a->storage->kin, ((cg_kin){b->storage, by, holds}));
  CG_PUSH(c->m->s, &b->storage->kin, ((cg_kin){a->storage, by, holds}));
}

// Whether the write reached those that may be the same memory nobody can say: they fail if they are used.
static void leave_unclear(cg_aliasing *c, cg_storage *st, const cg_node *by) {
  for (int i = 0; i < st->kin.n; i++) {
    const cg_kin *k = &st->kin.at[i];
    if (k->apart_if) {
      CG_PUSH(c->m->s, &k->storage->doubts, ((cg_doubt){*k, by}));
      continue;
    }
    k->storage->unclear = by, k->storage->unclear_by = k->by;
    k->storage->generation++;
  }
}

void cg_alias_write(cg_aliasing *c, cg_alias *a, cg_value *value, const cg_node *by, cg_node *before) {
  cg_storage *st = a->storage;
  if (first_uncertain(a)) {
    if (a->uncertain) part(c, a, value, by);
    else cannot_tell(c, by, first_uncertain(a), NULL);
    return;
  }
  int next = st->generation + 1;
  cg_value *v = value;
  for (cg_alias *b = a, *to;; b = to) {
    cg_value *up = b->parent ? write_up(c, b, &to, v, by, before) : NULL;
    if (b->parent && !up) cannot_write(c, by, b);
    b->now = v;
    b->generation = next; // not yet the storage's: views below are still read as they were
    if (!b->parent) break;
    v = up;
  }
  st->generation = next;
  st->written = by;
  leave_unclear(c, st, by);
}
