// Which roots share a kernel.
//
// A group has one iteration space. A root joins the latest group it can: its space must be the group's (or the part
// of it that is not reduced), and what it reads from the group must be known at the very place it is computed at.
// Pointwise chains, what follows a reduction in the same rows (softmax, layer norm), and what follows a matrix product
// element by element come together by that one rule. Small ones over the same space come together though they share nothing.
#include <string.h>

#include "backend/c/schedule.h"

void cg_c_enter(cg_sched *c, cg_group *g) {
  c->current = g;
  c->misfit = false;
  te_forget(c->t);
}

// ---------------------------------------------------------------- a root's place in a group

static bool clean(te_expr *const *idx, int n) {
  for (int i = 0; i < n; i++)
    if (te_has(idx[i], TE_FLOORDIV) || te_has(idx[i], TE_MOD)) return false;
  return true;
}

static const cg_expr *product(cg_sched *c, int n, const cg_expr *const *dim) {
  const cg_expr *p = cg_x_int(&c->m->exprs, 1);
  for (int i = 0; i < n; i++) p = cg_x_mul(&c->m->exprs, p, dim[i]);
  return p;
}

// The dims of g, or only those that are not reduced, in the model's order, and where they are.
static int part(const cg_group *g, bool all, const cg_expr **dim, te_expr **at) {
  int n = 0;
  for (int i = 0, k = 0; i < g->rank; i++) {
    if (g->channel >= 0 && k == g->channel) k++;
    int d = g->channel >= 0 && i == g->channel_to ? g->channel : k++;
    if (all || !g->reduced[d]) dim[n] = g->dim[d], at[n++] = g->at[d];
  }
  return n;
}

// The same dims but for those of size 1: indices carry over one to one (which also holds where a size is 0).
static bool same_dims(cg_sched *c, int n, const cg_expr *const *dim, te_expr *const *at, int rank, const cg_expr *const *shape, te_expr **idx) {
  int k = 0;
  for (int i = 0; i < rank; i++) {
    idx[i] = te_int(c->t, 0);
    if (cg_x_is(shape[i], 1)) continue;
    if (k == n || dim[k] != shape[i]) return false;
    idx[i] = at[k++];
  }
  return k == n;
}

static te_expr **place(cg_sched *c, int n, const cg_expr *const *dim, te_expr *const *at, int rank, const cg_expr *const *shape) {
  te_expr **idx = CG_NEW_ARRAY(c->s, te_expr *, rank + 1);
  if (same_dims(c, n, dim, at, rank, shape, idx)) return idx;
  te_unflat(c->t, te_flat(c->t, n, dim, at), rank, shape, idx);
  return idx;
}

// A MAP value as a member of every point (full) or of the rows of g. NULL: its shape does not fit.
static te_expr **place_map(cg_sched *c, const cg_group *g, const cg_value *v, cg_member_kind kind) {
  const cg_expr *dim[2 * CG_MAX_RANK];
  te_expr *at[2 * CG_MAX_RANK];
  int n = part(g, kind != CG_MEMBER_ROW, dim, at);
  if (product(c, n, dim) != product(c, v->type.rank, v->type.dim)) return NULL;
  return place(c, n, dim, at, v->type.rank, v->type.dim);
}

static void place_reduce(cg_sched *c, const cg_group *g, cg_info *x) {
  te_expr **at = place(c, g->rank, g->dim, g->at, x->rank, x->dim);
  int rank = x->value->type.rank, nr = x->compute->nreduce;
  x->idx = CG_NEW_ARRAY(c->s, te_expr *, rank + 1);
  x->ridx = CG_NEW_ARRAY(c->s, te_expr *, nr + 1);
  for (int i = 0; i < rank; i++) x->idx[i] = x->at[i] < 0 ? te_int(c->t, 0) : at[x->at[i]];
  for (int i = 0; i < nr; i++) x->ridx[i] = x->rat[i] < 0 ? te_int(c->t, 0) : at[x->rat[i]];
}

// After how many passes over the inner loops an expression can be computed.
static int level(cg_sched *c, const te_expr *e) {
  if (!cg_c_first(c, e)) return 0;
  int l = 0;
  if (e->kind == TE_SCALAR && e->value->type.kind == CG_T_TENSOR) {
    cg_info *x = cg_c_info(e->value);
    l = x->member == CG_MEMBER_REDUCE ? x->level + 1 : 0;
  }
  for (int i = 0; i < e->nargs; i++) {
    int k = level(c, e->arg[i]);
    if (k > l) l = k;
  }
  return l;
}

static cg_dtype computed(cg_dtype t) { return t == CG_F16 || t == CG_BF16 ? CG_F32 : t; }

// The expressions of one member, from its place.
static void express(cg_sched *c, const cg_group *g, cg_info *x) {
  te_compute *k = x->compute;
  x->final = NULL;
  switch (x->member) {
  case CG_MEMBER_FULL:
  case CG_MEMBER_ROW:
    x->idx = place_map(c, g, x->value, x->member);
    x->final = k->element(c->t, k->node, x->k, x->idx);
    cg_c_begin(c);
    x->level = level(c, x->final);
    return;
  case CG_MEMBER_REDUCE:
    place_reduce(c, g, x);
    x->element = te_cast(c->t, k->reduce_element(c->t, k->node, x->idx, x->ridx), k->accumulate);
    cg_c_begin(c);
    x->level = level(c, x->element);
    bool where = k->combine == TE_ARGMAX || k->combine == TE_ARGMIN;
    te_expr *acc = te_accumulator(c->t, x->value, where ? CG_I64 : k->accumulate);
    x->final = te_cast(c->t, k->finish ? k->finish(c->t, k->node, x->idx, acc) : acc, x->value->type.dtype);
    return;
  case CG_MEMBER_ANCHOR:
    x->idx = place_map(c, g, x->value, CG_MEMBER_FULL);
    x->final = te_cast(c->t, te_accumulator(c->t, x->value, computed(x->value->type.dtype)), x->value->type.dtype);
    return;
  }
}

void cg_c_place_members(cg_sched *c, cg_group *g) {
  cg_c_enter(c, g);
  for (int i = 0; i < g->member.n; i++) g->member.at[i]->final = NULL;
  for (int i = 0; i < g->member.n; i++)
    if (!g->anchor || g->member.at[i]->member != CG_MEMBER_ANCHOR || g->member.at[i]->k == 0) express(c, g, g->member.at[i]);
}

// ---------------------------------------------------------------- what a root reads

static void collect(cg_sched *c, const te_expr *e, cg_reads *r) {
  if (!cg_c_first(c, e)) return;
  if (e->kind == TE_LOAD) {
    cg_info *x = cg_c_info(e->value);
    if (x) CG_PUSH(c->s, &r->roots, x);
    CG_PUSH(c->s, &r->values, e->value);
  }
  if (te_may_raise(e)) r->index_check = true;
  r->work += cg_c_own_cost(e);
  for (int i = 0; i < e->nargs; i++) collect(c, e->arg[i], r);
}

typedef struct { cg_sched *c; cg_reads *r; } input_reads;

void cg_c_template_reads(cg_sched *c, cg_value *v, cg_reads *r) {
  if (v->type.kind != CG_T_TENSOR) return;
  te_expr *e = te_at(c->t, v, te_new_vars(c->t, v->type.rank, v->type.dim));
  cg_c_begin(c);
  collect(c, e, r);
}

static void template_read(cg_value *v, void *u) {
  input_reads *in = u;
  cg_c_template_reads(in->c, v, in->r);
}

enum { REDUCTION = 28 }; // what an accumulator is to the C compiler, in additions: vectors of it, and how they come together

cg_reads cg_c_reads_alone(cg_sched *c, cg_info *x) {
  cg_reads r = {0};
  cg_c_enter(c, NULL);
  if (x->compute->kind == TE_KERNEL) {
    input_reads in = {c, &r};
    cg_node_each_input(x->compute->node, template_read, &in);
    return r;
  }
  int n = x->compute->kind == TE_REDUCE ? x->compute->nreduce : 0, rank = x->value->type.rank;
  te_expr **idx = te_new_vars(c->t, rank, x->value->type.dim), **ridx = te_new_vars(c->t, n, x->compute->extent);
  te_expr *e;
  if (x->compute->kind == TE_REDUCE) {
    r.work = REDUCTION;
    e = x->compute->reduce_element(c->t, x->compute->node, idx, ridx);
    if (x->compute->finish) {
      te_expr *f = x->compute->finish(c->t, x->compute->node, idx, te_accumulator(c->t, x->value, x->compute->accumulate));
      cg_c_begin(c);
      collect(c, f, &r);
    }
  } else e = x->compute->element(c->t, x->compute->node, x->k, idx);
  cg_c_begin(c);
  collect(c, e, &r);
  return r;
}

// ---------------------------------------------------------------- joining

enum { LOOK_BACK = 24 }; // groups that a root is tried in

static bool shares(const cg_group *g, const cg_reads *r, cg_sched *c) {
  for (int i = 0; i < r->roots.n; i++)
    if (r->roots.at[i]->group == g) return true;
  if (g->anchor) return false;
  for (int k = 0; k < g->member.n; k++) {
    cg_info *m = g->member.at[k];
    cg_reads other = {0};
    cg_c_begin(c);
    if (m->element) collect(c, m->element, &other);
    if (m->final) collect(c, m->final, &other);
    for (int i = 0; i < r->values.n; i++)
      for (int j = 0; j < other.values.n; j++)
        if (r->values.at[i] == other.values.at[j] && !r->values.at[i]->constant) return true;
  }
  return false;
}

// Few rows, each of them long: such a reduction is split into chunks over the threads, without other members over all points.
static bool splits(int rank, const cg_expr *const *dim, const bool *reduced) {
  double outer = 1, inner = 1;
  for (int i = 0; i < rank; i++) *(reduced[i] ? &inner : &outer) *= (double)cg_x_hint(dim[i]);
  return outer < 16 && inner > 8192;
}

static bool group_splits(const cg_group *g) { return g->reduces && !g->anchor && splits(g->rank, g->dim, g->reduced); }

static bool fits_map(cg_sched *c, cg_group *g, cg_info *x, cg_member_kind kind) {
  te_expr **idx = place_map(c, g, x->value, kind);
  if (!idx || !clean(idx, x->value->type.rank)) return false;
  x->member = kind;
  express(c, g, x);
  return !c->misfit;
}

// The dims of g that x, a reduction, would reduce over. false: its space is not g's.
static bool reduced_dims(cg_sched *c, cg_group *g, cg_info *x, bool *out) {
  if (product(c, g->rank, g->dim) != product(c, x->rank, x->dim)) return false;
  te_expr **at = place(c, g->rank, g->dim, g->at, x->rank, x->dim);
  if (!clean(at, x->rank)) return false;
  for (int i = 0; i < g->rank; i++) {
    bool in_reduced = false, in_outer = false;
    for (int k = 0; k < x->rank; k++)
      if (te_uses_var(at[k], g->at[i]->var)) *(x->reduced[k] ? &in_reduced : &in_outer) = true;
    if (in_reduced == in_outer) return false;
    out[i] = in_reduced;
  }
  return true;
}

static bool fits_reduce(cg_sched *c, cg_group *g, cg_info *x) {
  bool reduced[2 * CG_MAX_RANK];
  if (!reduced_dims(c, g, x, reduced)) return false;
  bool split = splits(g->rank, g->dim, reduced);
  if (g->reduces) {
    if (memcmp(reduced, g->reduced, (size_t)g->rank * sizeof *reduced)) return false;
  } else if (split) return false; // the group has members over all points
  x->member = CG_MEMBER_REDUCE;
  express(c, g, x);
  if (c->misfit || (split && x->level)) return false;
  memcpy(g->reduced, reduced, (size_t)g->rank * sizeof *reduced);
  g->reduces = true;
  return true;
}

static bool empty(int n, const cg_expr *const *dim) {
  for (int i = 0; i < n; i++)
    if (cg_x_is(dim[i], 0)) return true;
  return false;
}

// What is written to a state is written as a whole, once: nothing beside it may fail half way, and no later pass may look again at what
// was there before.
static bool state_allows(const cg_group *g, const cg_info *x, const cg_reads *r) {
  bool writes = false;
  for (int i = 0; i < g->member.n; i++) writes |= g->member.at[i]->writes;
  if ((x->writes && g->raises) || (writes && r->index_check) || (x->rereads && g->over)) return false;
  return !g->over || !(g->reduces || x->compute->kind == TE_REDUCE);
}

static bool try_join(cg_sched *c, cg_group *g, cg_info *x, const cg_reads *r) {
  if (g->work + r->work > CG_WORK_KERNEL) return false;
  if (empty(g->rank, g->dim) || empty(x->value->type.rank, x->value->type.dim) || empty(x->rank, x->dim)) return false;
  if (!state_allows(g, x, r)) return false;
  cg_c_place_members(c, g);
  c->joining = x;
  bool ok = false;
  if (x->compute->kind == TE_REDUCE) ok = !g->anchor && fits_reduce(c, g, x);
  else if (g->anchor) ok = g->anchor->epilogue && !r->index_check && fits_map(c, g, x, CG_MEMBER_FULL);
  else {
    ok = g->reduces && fits_map(c, g, x, CG_MEMBER_ROW);
    c->misfit = false;
    if (!ok && !group_splits(g)) te_forget(c->t), ok = fits_map(c, g, x, CG_MEMBER_FULL);
  }
  c->joining = NULL;
  cg_c_enter(c, NULL);
  if (!ok) {
    x->idx = NULL, x->final = x->element = NULL;
    return false;
  }
  x->group = g;
  g->work += r->work;
  CG_PUSH(c->s, &g->member, x);
  return true;
}

// x has its group: who writes to the same state later comes after it.
static void note_state(cg_info *x, const cg_reads *r) {
  int last = x->group->index, version;
  x->group->raises |= r->index_check;
  if (x->rereads) x->group->over = x;
  if (x->writes) x->state->last = last;
  for (int i = 0; i < r->values.n; i++) {
    cg_state *s = cg_c_state_of_value(r->values.at[i], &version);
    if (s && s->last < last) s->last = last;
  }
}

// ---------------------------------------------------------------- making groups

static void add_dim(cg_sched *c, cg_group *g, const cg_expr *dim, bool reduced) {
  if (cg_x_is(dim, 1)) return;
  g->dim[g->rank] = dim;
  g->reduced[g->rank] = reduced;
  g->at[g->rank++] = te_new_var(c->t, dim);
}

static cg_group *new_group(cg_sched *c, cg_info *x) {
  cg_group *g = CG_NEW(c->s, cg_group);
  g->index = c->group.n;
  int n = x->rank + x->value->type.rank + 1;
  g->dim = CG_NEW_ARRAY(c->s, const cg_expr *, n);
  g->reduced = CG_NEW_ARRAY(c->s, bool, n);
  g->at = CG_NEW_ARRAY(c->s, te_expr *, n);
  CG_PUSH(c->s, &c->group, g);
  g->channel = -1;
  const cg_type *t = &x->value->type;
  if (x->compute->kind == TE_REDUCE) {
    for (int i = 0; i < x->rank; i++) add_dim(c, g, x->dim[i], x->reduced[i]);
    g->reduces = true;
    x->member = CG_MEMBER_REDUCE;
    g->channel = x->channel, g->channel_to = x->channel_to;
  } else {
    for (int k = 0; k < t->rank; k++) {
      int d = cg_c_memory_order(x->value, k);
      if (d == 1 && k != 1 && !cg_x_is(t->dim[d], 1)) g->channel = g->rank;
      add_dim(c, g, t->dim[d], false);
      if (!k) g->channel_to = g->rank;
    }
    x->member = CG_MEMBER_FULL;
  }
  x->group = g;
  CG_PUSH(c->s, &g->member, x);
  return g;
}

static cg_group *new_template(cg_sched *c, const cg_node *n) {
  cg_info *first = cg_c_info(n->result[0]);
  cg_group *g = new_group(c, first);
  g->member.n = 0;
  g->node = n;
  g->anchor = cg_kernel_template_find(first->compute->kernel);
  for (int k = 0; k < n->nresults; k++) {
    cg_info *x = cg_c_info(n->result[k]);
    x->group = g, x->member = CG_MEMBER_ANCHOR, x->root = true;
    CG_PUSH(c->s, &g->member, x);
  }
  return g;
}

enum { SMALL = 4096, BESIDE = 32 }; // elements up to which a kernel more costs more than what it computes; members of such a group

// Side by side, having nothing to do with each other: small, and over the same space in the same way.
static bool beside(cg_sched *c, const cg_group *g, const cg_info *x) {
  bool reduce = x->compute->kind == TE_REDUCE;
  te_expr *idx[2 * CG_MAX_RANK + 1];
  return !g->anchor && g->reduces == reduce && g->member.n < BESIDE && cg_c_numel_hint(g->rank, g->dim) <= SMALL &&
         same_dims(c, g->rank, g->dim, g->at, reduce ? x->rank : x->value->type.rank, reduce ? x->dim : x->value->type.dim, idx);
}

// After which group x is known.
static int last_group(const cg_info *x) {
  int last = x->group ? x->group->index : 0;
  for (int i = 0; i < x->nparts; i++) {
    int k = last_group(x->part[i]);
    if (k > last) last = k;
  }
  return last;
}

static void assign(cg_sched *c, cg_info *x) {
  cg_reads r = cg_c_reads_alone(c, x);
  if (x->compute->kind == TE_KERNEL) {
    new_template(c, x->compute->node);
    note_state(x, &r);
    return;
  }
  int least = x->writes ? x->state->last + 1 : 0;
  for (int i = 0; i < r.roots.n; i++) {
    int last = last_group(r.roots.at[i]);
    if (last > least) least = last;
  }
  for (int i = c->group.n - 1, tries = 0; i >= least && tries < LOOK_BACK; i--, tries++)
    if ((shares(c->group.at[i], &r, c) || beside(c, c->group.at[i], x)) && try_join(c, c->group.at[i], x, &r)) {
      note_state(x, &r);
      return;
    }
  new_group(c, x)->work = r.work;
  note_state(x, &r);
}

static void store(cg_info *x) {
  x->stored = true;
  for (int i = 0; i < x->nparts; i++) store(x->part[i]);
}

static void store_what_is_read(cg_group *g, const cg_reads *r) {
  for (int i = 0; i < r->roots.n; i++)
    if (r->roots.at[i]->group != g) store(r->roots.at[i]);
}

static void find_stored(cg_sched *c, cg_group *g) {
  cg_c_place_members(c, g);
  for (int i = 0; i < g->member.n; i++) {
    cg_info *x = g->member.at[i];
    cg_reads r = {0};
    cg_c_begin(c);
    if (x->element) collect(c, x->element, &r);
    if (x->final) collect(c, x->final, &r);
    store_what_is_read(g, &r);
  }
  cg_c_enter(c, NULL);
  if (g->anchor) {
    cg_reads r = {0};
    input_reads in = {c, &r};
    cg_node_each_input(g->node, template_read, &in);
    store_what_is_read(g, &r);
  }
}

static bool stores(const cg_group *g) {
  for (int i = 0; i < g->member.n; i++)
    if (g->member.at[i]->stored) return true;
  return false;
}

void cg_c_groups(cg_sched *c) {
  for (int i = 0; i < c->info.n; i++) {
    cg_info *x = c->info.at[i];
    if (x->root && !x->group && !x->part) assign(c, x);
  }
  for (int i = 0; i < c->info.n; i++) {
    cg_info *x = c->info.at[i], *of = x->alias_of ? cg_c_info(x->alias_of) : NULL;
    if (of) store(of);
    if (x->is_result && x->root) store(x);
  }
  // From the last to the first: what is read by no kernel that stores something, or for its shape alone, is not computed.
  for (int i = c->group.n - 1; i >= 0; i--) {
    c->group.at[i]->idle = !stores(c->group.at[i]);
    if (!c->group.at[i]->idle) find_stored(c, c->group.at[i]);
  }
}
