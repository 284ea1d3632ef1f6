// What is known of each value of a region before anything is decided.
#include <string.h>

#include "backend/c/schedule.h"

cg_info *cg_c_info(const cg_value *v) { return v->constant || !v->def ? NULL : v->data; }

// ---------------------------------------------------------------- resolving values

// The element of a constant with one element, as a number.
static te_expr *literal(te *t, const cg_value *v) {
  const cg_constant *k = v->constant;
  if (!k || k->mutated || !k->data || v->type.rank) return NULL;
  size_t es = cg_dtypes[v->type.dtype].size;
  uint64_t at = k->type.offset && cg_x_is_int(k->type.offset) ? (uint64_t)k->type.offset->value * es : 0;
  if (at + es > k->size) return NULL;
  const uint8_t *p = k->data + at;
  float f;
  double d;
  int64_t i = 0;
  switch (v->type.dtype) {
  case CG_F32: memcpy(&f, p, 4); return te_number(t, f, CG_F32);
  case CG_F64: memcpy(&d, p, 8); return te_number(t, d, CG_F64);
  case CG_BOOL: return te_integer(t, *p != 0, CG_BOOL);
  case CG_U8: return te_integer(t, *p, CG_U8);
  case CG_I8: return te_integer(t, (int8_t)*p, CG_I8);
  case CG_I16: { int16_t x; memcpy(&x, p, 2); return te_integer(t, x, CG_I16); }
  case CG_I32: { int32_t x; memcpy(&x, p, 4); return te_integer(t, x, CG_I32); }
  case CG_I64: memcpy(&i, p, 8); return te_integer(t, i, CG_I64);
  default: return NULL;
  }
}

// In the current group, only what is computed at this very place is known.
static te_expr *known_here(cg_sched *c, cg_info *x, te_expr **idx) {
  bool here = x->final; // NULL: a template's second result, which only its kernel knows
  for (int i = 0; here && i < x->value->type.rank; i++)
    if (!cg_x_is(x->value->type.dim[i], 1) && idx[i] != x->idx[i]) here = false;
  if (here) return x->final;
  c->misfit = true;
  return te_load(c->t, x->value, idx);
}

// Whether a piece of the concatenation is computed in g.
static bool assembled_in(const cg_info *x, const cg_group *g) {
  for (int i = 0; i < x->nparts; i++)
    if (x->part[i]->group == g || assembled_in(x->part[i], g)) return true;
  return false;
}

te_expr *cg_c_resolve(te *t, cg_value *v, te_expr **idx, void *sched) {
  cg_sched *c = sched;
  if (c->tracing) {
    if (!c->first_read && v->type.rank) {
      c->first_read = v;
      c->first_idx = cg_memdup(c->s, idx, (size_t)v->type.rank * sizeof *idx);
    }
    return te_load(t, v, idx);
  }
  cg_info *x = cg_c_info(v);
  te_expr *e = x ? NULL : literal(t, v);
  if (e) return e;
  if (!x) return te_load(t, v, idx);
  if (x->root && x->group && x->group == c->current) return known_here(c, x, idx);
  if (c->current && assembled_in(x, c->current)) c->misfit = true;
  if (x->root && x != c->joining) return te_load(t, v, idx);
  if (x->compute->kind != TE_MAP) return te_load(t, v, idx);
  return x->compute->element(t, x->compute->node, x->k, idx);
}

// ---------------------------------------------------------------- views

te_expr *cg_c_through_views(cg_sched *c, cg_value *v, te_expr **idx) {
  cg_info *x = cg_c_info(v);
  if (!x || x->root || !x->view) return te_load(c->t, v, idx);
  c->tracing = true;
  te_forget(c->t);
  te_expr *e = x->compute->element(c->t, x->compute->node, x->k, idx);
  c->tracing = false;
  te_forget(c->t);
  // A scatter over all of a tensor is a view of its source; at a place of which that is not seen it is a choice again, and read itself.
  return e->kind == TE_LOAD ? cg_c_through_views(c, e->value, e->arg) : te_load(c->t, v, idx);
}

// ---------------------------------------------------------------- memory

int cg_c_memory_order(const cg_value *v, int k) {
  const cg_info *x = cg_c_info(v);
  if (!x || !x->channels_last || !k) return k;
  return k == v->type.rank - 1 ? 1 : k + 1;
}

const cg_expr *cg_c_stride(cg_sched *c, const cg_value *v, int dim) {
  if (v->constant && v->constant->type.stride) return v->constant->type.stride[dim];
  const cg_info *x = cg_c_info(v);
  if (x && x->whole) return x->stride[dim];
  const cg_expr *s = cg_x_int(&c->m->exprs, 1);
  for (int k = v->type.rank - 1; cg_c_memory_order(v, k) != dim; k--) s = cg_x_mul(&c->m->exprs, s, v->type.dim[cg_c_memory_order(v, k)]);
  return s;
}

te_expr *cg_c_offset(cg_sched *c, const cg_value *v, te_expr *const *idx) {
  te_expr *e = te_int(c->t, 0);
  for (int i = 0; i < v->type.rank; i++)
    if (!cg_x_is(v->type.dim[i], 1)) e = te_op(c->t, TE_ADD, e, te_op(c->t, TE_MUL, idx[i], te_size(c->t, cg_c_stride(c, v, i))));
  return e;
}

// ---------------------------------------------------------------- cost

static int body_cost(const char *text) {
  static const struct { const char *name; int cost; } heavy[] = {
    {"exp", 12}, {"log", 12}, {"erf", 20}, {"tanh", 16}, {"sin", 16}, {"cos", 16}, {"tan", 20}, {"pow", 30}, {"sqrt", 4}, {"gamma", 40},
    {"sigmoid", 14}, {"hypot", 10}, {"fmod", 10}, {"div", 6}, {"gelu", 20}};
  int cost = 1;
  for (size_t i = 0; i < sizeof heavy / sizeof *heavy; i++)
    for (const char *p = text; (p = strstr(p, heavy[i].name)); p++) cost += heavy[i].cost;
  for (const char *p = text; *p; p++) cost += *p == '/' ? 3 : *p == '*' || *p == '?' ? 1 : 0;
  return cost;
}

static void room(cg_sched *c, int n) {
  if (n < c->seen_n) return;
  int *seen = CG_NEW_ARRAY(c->s, int, 2 * (size_t)n + 1024);
  if (c->seen_n) memcpy(seen, c->seen, (size_t)c->seen_n * sizeof *seen);
  c->seen = seen;
  c->seen_n = 2 * n + 1024;
}

void cg_c_begin(cg_sched *c) {
  room(c, te_count(c->t));
  c->stamp++;
}

bool cg_c_first(cg_sched *c, const te_expr *e) {
  room(c, e->id);
  if (c->seen[e->id] == c->stamp) return false;
  c->seen[e->id] = c->stamp;
  return true;
}

int cg_c_own_cost(const te_expr *e) {
  switch (e->kind) {
  case TE_BODY: return body_cost(e->text);
  case TE_INDEX: case TE_SELECT: return 2;
  case TE_ROUND: return 4;
  case TE_ADD: case TE_SUB: case TE_MUL: case TE_VAR: case TE_SIZE: case TE_CONST: case TE_SCALAR: return 0;
  default: return 1;
  }
}

bool cg_c_indexes(const te_expr *e) { return e->kind == TE_LOAD || e->kind == TE_ADD || e->kind == TE_SUB || e->kind == TE_MUL; }

// Of a place: its arithmetic is next to nothing, numbers that are read for it are not.
static int cost_of_place(cg_sched *c, const te_expr *e) {
  if (!te_has(e, TE_INDEX) && !te_has(e, TE_LOAD)) return 0;
  if (e->kind == TE_INDEX || e->kind == TE_LOAD) return cg_c_cost(c, e);
  if (!cg_c_first(c, e)) return 0;
  int cost = 0;
  for (int i = 0; i < e->nargs; i++) cost += cost_of_place(c, e->arg[i]);
  return cost;
}

int cg_c_cost(cg_sched *c, const te_expr *e) {
  if (!cg_c_first(c, e)) return 0;
  int cost = cg_c_own_cost(e);
  for (int i = 0; i < e->nargs; i++) cost += cg_c_indexes(e) ? cost_of_place(c, e->arg[i]) : cg_c_cost(c, e->arg[i]);
  return cost;
}

double cg_c_numel_hint(int rank, const cg_expr *const *dim) {
  double n = 1;
  for (int i = 0; i < rank; i++) n *= (double)cg_x_hint(dim[i]);
  return n;
}

// ---------------------------------------------------------------- the iteration space of a reduction

static int position(te_expr **list, int n, const te_expr *e) {
  for (int i = 0; i < n; i++)
    if (list[i] == e) return i;
  return -1;
}

// If each loop variable indexes one dim of the first operand, the space is the operand's shape, in its order.
static bool space_of_operand(cg_sched *c, cg_info *x, te_expr **out, te_expr **red) {
  te_compute *r = x->compute;
  if (!c->first_read) return false;
  const cg_type *in = &c->first_read->type;
  int found = 0, wanted = 0, rank = x->value->type.rank;
  for (int i = 0; i < rank; i++) wanted += out[i]->kind == TE_VAR;
  for (int i = 0; i < r->nreduce; i++) wanted += red[i]->kind == TE_VAR;
  for (int k = 0; k < in->rank; k++) {
    int d = cg_c_memory_order(c->first_read, k);
    te_expr *e = c->first_idx[d];
    if (e->kind != TE_VAR) {
      if (!cg_x_is(in->dim[d], 1)) return false;
      continue;
    }
    int o = position(out, rank, e), q = position(red, r->nreduce, e);
    if (o < 0 && q < 0) return false;
    if (in->dim[d] != (o < 0 ? r->extent[q] : x->value->type.dim[o])) return false; // a window at the only place that it has
    x->dim[x->rank] = in->dim[d];
    x->reduced[x->rank] = o < 0;
    if (d == 1 && k != 1) x->channel = x->rank;
    if (!d) x->channel_to = 1;
    if (o >= 0) x->at[o] = x->rank;
    else x->rat[q] = x->rank;
    x->rank++;
    found++;
  }
  return found == wanted;
}

static void space(cg_sched *c, cg_info *x) {
  te_compute *r = x->compute;
  int rank = x->value->type.rank;
  te_expr **out = te_new_vars(c->t, rank, x->value->type.dim), **red = te_new_vars(c->t, r->nreduce, r->extent);
  int n = rank + r->nreduce + CG_MAX_RANK;
  x->dim = CG_NEW_ARRAY(c->s, const cg_expr *, n);
  x->reduced = CG_NEW_ARRAY(c->s, bool, n);
  x->at = CG_NEW_ARRAY(c->s, int, rank + 1);
  x->rat = CG_NEW_ARRAY(c->s, int, r->nreduce + 1);
  for (int i = 0; i < rank; i++) x->at[i] = -1;
  for (int i = 0; i < r->nreduce; i++) x->rat[i] = -1;
  c->tracing = true, c->first_read = NULL;
  te_forget(c->t);
  r->reduce_element(c->t, r->node, out, red);
  c->tracing = false;
  te_forget(c->t);
  x->channel = -1, x->channel_to = 0;
  if (space_of_operand(c, x, out, red)) return;
  x->rank = 0, x->channel = -1, x->channel_to = 0;
  for (int k = 0; k < rank; k++) {
    int i = cg_c_memory_order(x->value, k);
    x->at[i] = -1;
    if (i == 1 && k != 1 && out[i]->kind == TE_VAR) x->channel = x->rank;
    if (!k && out[i]->kind == TE_VAR) x->channel_to = 1;
    if (out[i]->kind == TE_VAR) x->at[i] = x->rank, x->dim[x->rank] = x->value->type.dim[i], x->reduced[x->rank++] = false;
  }
  for (int i = 0; i < r->nreduce; i++) {
    x->rat[i] = -1;
    if (red[i]->kind == TE_VAR) x->rat[i] = x->rank, x->dim[x->rank] = r->extent[i], x->reduced[x->rank++] = true;
  }
}

// ---------------------------------------------------------------- all values

// Whether an element's place depends on data.
static bool gathers(const te_expr *load) {
  for (int i = 0; i < load->nargs; i++)
    if (te_has(load->arg[i], TE_INDEX) || te_has(load->arg[i], TE_LOAD)) return true;
  return false;
}

static bool is_view(cg_sched *c, cg_info *x) {
  if (x->compute->kind != TE_MAP) return false;
  te_expr **idx = te_new_vars(c->t, x->value->type.rank, x->value->type.dim);
  c->tracing = true, c->first_read = NULL;
  te_forget(c->t);
  te_expr *e = x->compute->element(c->t, x->compute->node, x->k, idx);
  c->tracing = false;
  te_forget(c->t);
  return e->kind == TE_LOAD && e->dtype == x->value->type.dtype && !gathers(e);
}

static void count_use(cg_value *v, void *u) {
  (void)u;
  cg_info *x = cg_c_info(v);
  if (x) x->uses++;
}

static void forget_constant(cg_value *v, void *u) {
  (void)u;
  if (v->constant) v->data = NULL;
}

void cg_c_infos(cg_sched *c) {
  for (int i = 0; i < c->f->param.n; i++) c->f->param.at[i]->data = NULL;
  for (cg_node *n = c->f->first; n; n = n->next) {
    cg_node_each_input(n, forget_constant, NULL);
    te_compute *compute = CG_NEW(c->s, te_compute);
    const char *why = cg_c_compute(c->t, n, compute);
    if (why) cg_fail_at(c->s, CIERGE_INTERNAL, n->at, "%s was claimed by the C backend, which cannot do it: %s", n->schema->key, why);
    for (int k = 0; k < n->nresults; k++) {
      cg_info *x = CG_NEW(c->s, cg_info);
      *x = (cg_info){.value = n->result[k], .compute = compute, .k = k, .plan = -1, .index = c->info.n};
      n->result[k]->data = x;
      CG_PUSH(c->s, &c->info, x);
    }
  }
  for (cg_node *n = c->f->first; n; n = n->next) cg_node_each_input(n, count_use, NULL);
  for (int i = 0; i < c->f->result.n; i++) {
    cg_value *v = c->f->result.at[i].kind == CG_A_VALUE ? c->f->result.at[i].value : NULL;
    cg_info *x = v ? cg_c_info(v) : NULL;
    if (x) x->is_result = true, x->uses++;
  }
  for (int i = 0; i < c->info.n; i++) c->info.at[i]->view = is_view(c, c->info.at[i]);
  cg_c_layout(c);
  for (int i = 0; i < c->info.n; i++)
    if (c->info.at[i]->compute->kind == TE_REDUCE) space(c, c->info.at[i]);
}
