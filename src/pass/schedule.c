// Orders a function's nodes so that each backend runs as much as it can at a time.
//
// Run everything that is ready on one backend, then everything that has become ready on the next. Each such batch is one
// region. It is as big as the dependences allow, convex by construction (it is an interval of a valid order), and no two
// regions can need each other. Nodes with effects, and those that draw random numbers, keep their order. A view that only later
// regions of its backend read goes to the first of them: kernels read through it there, and what crosses is in order.
#include <string.h>

#include "ops/op.h"
#include "pass/cost.h"
#include "pass/partition.h"

// ---------------------------------------------------------------- dependences

typedef struct {
  cg_graph g;
  int at;         // the node whose inputs are being looked at
  int *definer;   // by symbol index: the node that gives an unbacked symbol its value; -1: not seen yet
  bool glued;     // some nodes are units
  bool unbacked;  // the node's tensors have sizes that appear at run time
} reader;

static void depend(reader *r, int before, int after) {
  if (before < 0 || before == after) return;
  CG_PUSH(r->g.s, &r->g.slot[before].after, after);
  r->g.slot[after].waits++;
}

static int unit_of(const cg_graph *g, int i) {
  while (g->slot[i].unit != i) i = g->slot[i].unit;
  return i;
}

// The unit of the first node of the two is the unit of both.
static void join(cg_graph *g, int a, int b) {
  a = unit_of(g, a), b = unit_of(g, b);
  if (a < b) g->slot[b].unit = a;
  else g->slot[a].unit = b;
}

static void input_edge(cg_value *v, void *u) {
  reader *r = u;
  r->unbacked |= cg_type_has_unbacked(&v->type);
  if (!v->def || v->def->fn != r->g.slot[r->at].node->fn) return;
  depend(r, v->def->order, r->at);
  if (v->type.kind == CG_T_OTHER || v->type.kind == CG_T_STR) join(&r->g, v->def->order, r->at), r->glued = true;
}

// The first node that shows an unbacked symbol defines it; all others that speak of it wait for that one.
static void symbol_edges(reader *r, const cg_expr *e) {
  if (!e) return;
  if (e->kind == CG_X_SYM && e->symbol->unbacked) {
    int *d = &r->definer[e->symbol->index];
    if (*d < 0) *d = r->at;
    else depend(r, *d, r->at);
  }
  for (int i = 0; i < e->nargs; i++) symbol_edges(r, e->arg[i]);
}

static void symbol_edges_arg(reader *r, const cg_arg *a) {
  if (a->kind == CG_A_INT) symbol_edges(r, a->i);
  else if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) symbol_edges_arg(r, &a->list.at[i]);
}

static void symbol_edges_type(reader *r, const cg_type *t) {
  if (t->kind == CG_T_TENSOR)
    for (int i = 0; i < t->rank; i++) symbol_edges(r, t->dim[i]);
  symbol_edges(r, t->value);
}

// A unit runs in one go, so whatever lies on a way from one of its nodes to another belongs to it.
static bool close_unit(cg_graph *g, int unit) {
  bool *below = CG_NEW_ARRAY(g->s, bool, g->n), *above = CG_NEW_ARRAY(g->s, bool, g->n), grew = false;
  for (int i = 0; i < g->n; i++) {
    bool member = unit_of(g, i) == unit;
    for (int k = 0; (member || below[i]) && k < g->slot[i].after.n; k++) below[g->slot[i].after.at[k]] = true;
  }
  for (int i = g->n - 1; i >= 0; i--)
    for (int k = 0; k < g->slot[i].after.n; k++) {
      int j = g->slot[i].after.at[k];
      above[i] |= above[j] || unit_of(g, j) == unit;
    }
  for (int i = 0; i < g->n; i++)
    if (below[i] && above[i] && unit_of(g, i) != unit) join(g, i, unit), grew = true;
  return grew;
}

static void close_units(cg_graph *g) {
  int *size = CG_NEW_ARRAY(g->s, int, g->n);
  for (bool again = true; again;) {
    again = false;
    memset(size, 0, (size_t)g->n * sizeof *size);
    for (int i = 0; i < g->n; i++) size[unit_of(g, i)]++;
    for (int i = 0; i < g->n; i++)
      if (size[i] > 1 && unit_of(g, i) == i) again |= close_unit(g, i);
  }
}

bool cg_asserts_sizes(const cg_node *n) {
  return cg_node_is_op(n, "aten::_assert_scalar") && n->arg[0].kind == CG_A_INT && !cg_x_has_unbacked(n->arg[0].i);
}

// A view that is no smaller than what it reads, which is to cross instead of it.
static bool may_sink(const cg_node *n) {
  cg_cost_kind kind = cg_cost_kind_of(n);
  const cg_value *x = n->nargs ? cg_arg_tensor(&n->arg[0]) : NULL;
  return (kind == CG_COST_VIEW || kind == CG_COST_TURN) && n->nresults == 1 && x &&
         cg_cost_bytes(n->fn->module, &n->result[0]->type) >= cg_cost_bytes(n->fn->module, &x->type);
}

static void stays(cg_value *v, void *u) {
  const cg_graph *g = u;
  if (v->def && v->def->fn == g->slot[0].node->fn) g->slot[v->def->order].sinks = false;
}

cg_graph cg_dependences(cg_pipeline *p, cg_fn *f) {
  cg_session *s = p->s;
  reader r = {.g = {.s = s, .n = cg_fn_number(f)}};
  cg_graph *g = &r.g;
  while (p->opt->backends[g->backends]) g->backends++;
  g->slot = CG_NEW_ARRAY(s, cg_slot, g->n ? g->n : 1);
  for (int i = 0; i < g->n; i++) g->slot[i].unit = i;
  int nsymbols = f->module->exprs.symbols.n;
  r.definer = CG_NEW_ARRAY(s, int, nsymbols + 1);
  for (int i = 0; i < nsymbols; i++) r.definer[i] = -1;
  int last_draw = -1, last_effect = -1, last_assert = -1, last_lifted = -1;
  for (cg_node *n = f->first; n; n = n->next) {
    r.at = n->order;
    g->slot[r.at].node = n;
    r.unbacked = false;
    cg_node_each_input(n, input_edge, &r);
    for (int i = 0; i < n->nargs; i++) symbol_edges_arg(&r, &n->arg[i]);
    for (int i = 0; i < n->nresults; i++) symbol_edges_type(&r, &n->result[i]->type);
    if (cg_node_draws(n)) depend(&r, last_draw, r.at), last_draw = r.at;
    if (cg_node_has_effect(n)) depend(&r, last_effect, r.at), last_effect = r.at;
    // What is asserted of sizes holds before a kernel goes by it.
    for (int i = 0; i < n->nresults; i++) r.unbacked |= cg_type_has_unbacked(&n->result[i]->type);
    if (cg_node_is_op(n, "aten::_assert_scalar")) last_assert = r.at;
    else if (r.unbacked && !cg_node_is_op(n, "aten::sym_size.int")) depend(&r, last_assert, r.at);
    if (r.at == last_lifted + 1 && cg_asserts_sizes(n)) last_lifted = r.at;
    else depend(&r, last_lifted, r.at);
  }
  if (r.glued) close_units(g);
  for (int i = 0; i < g->n; i++) g->slot[i].unit = unit_of(g, i), g->slot[i].sinks = may_sink(g->slot[i].node);
  for (int i = 0; i < g->n; i++)
    if (g->slot[i].unit != i) g->slot[i].sinks = g->slot[g->slot[i].unit].sinks = false;
  for (int i = 0; g->n && i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], stays, g);
  for (int i = 0; g->n && i < f->update.n; i++) stays(f->update.at[i].value, g);
  return r.g;
}

// ---------------------------------------------------------------- scheduling

typedef struct { int *at, n; } heap; // the least first

static void push(heap *h, int x) {
  int i = h->n++;
  for (; i && h->at[(i - 1) / 2] > x; i = (i - 1) / 2) h->at[i] = h->at[(i - 1) / 2];
  h->at[i] = x;
}

static int pop(heap *h) {
  int least = h->at[0], x = h->at[--h->n], i = 0;
  for (int k; (k = 2 * i + 1) < h->n; i = k) {
    if (k + 1 < h->n && h->at[k + 1] < h->at[k]) k++;
    if (h->at[k] >= x) break;
    h->at[i] = h->at[k];
  }
  h->at[i] = x;
  return least;
}

typedef struct {
  const cg_graph *g;
  const cg_pipeline *p;
  const cg_backend *const *on;
  heap *ready;             // [backends + 1]: units; the host's last
  int *waits, *next;       // by unit: what it still waits for; by node: the next one of its unit, -1: none
  cg_schedule out;
} scheduler;

static int queue_of(const scheduler *s, int node) {
  int i = 0;
  while (i < s->g->backends && s->p->opt->backends[i] != s->on[node]) i++;
  return i;
}

static bool is_torch(const scheduler *s, int queue) { return queue < s->g->backends && !strcmp(s->p->opt->backends[queue]->name, "torch"); }

static bool drain(scheduler *s, int queue, int batch) {
  heap *h = &s->ready[queue];
  bool any = h->n > 0, alone = s->p->opt->offload.alone && is_torch(s, queue);
  for (bool more = any; more; more = h->n && !alone) {
    for (int i = pop(h); i >= 0; i = s->next[i]) {
      const cg_slot *x = &s->g->slot[i];
      s->out.order[s->out.n] = i;
      s->out.batch[s->out.n++] = s->out.batch_of[i] = batch;
      for (int k = 0; k < x->after.n; k++) {
        int unit = s->g->slot[x->after.at[k]].unit;
        if (unit != x->unit && !--s->waits[unit]) push(&s->ready[queue_of(s, unit)], unit);
      }
    }
  }
  return any;
}

static void start(scheduler *s) {
  const cg_graph *g = s->g;
  int *last = CG_NEW_ARRAY(g->s, int, g->n + 1);
  for (int i = 0; i < g->n; i++) {
    int unit = g->slot[i].unit;
    s->next[i] = -1;
    if (unit != i) s->next[last[unit]] = i;
    last[unit] = i;
    for (int k = 0; k < g->slot[i].after.n; k++) {
      int other = g->slot[g->slot[i].after.at[k]].unit;
      if (other != unit) s->waits[other]++;
    }
  }
  for (int i = 0; i < g->n; i++)
    if (g->slot[i].unit == i && !s->waits[i]) push(&s->ready[queue_of(s, i)], i);
}

// Views to their readers, the last first; then the order anew. `count`: room for a number a batch.
static void sink(scheduler *s, int *count, int *order) {
  const cg_graph *g = s->g;
  cg_schedule *x = &s->out;
  bool any = false;
  for (int k = g->n - 1; k >= 0; k--) {
    int i = x->order[k], to = g->n, reader = -1;
    const cg_slot *v = &g->slot[i];
    for (int j = 0; v->sinks && j < v->after.n; j++)
      if (x->batch_of[v->after.at[j]] < to) reader = v->after.at[j], to = x->batch_of[reader];
    if (reader >= 0 && to > x->batch_of[i] && s->on[reader] == s->on[i] && !is_torch(s, queue_of(s, i))) x->batch_of[i] = to, any = true;
  }
  if (!any) return;
  memset(count, 0, ((size_t)x->batches + 1) * sizeof *count);
  for (int i = 0; i < g->n; i++) count[x->batch_of[i] + 1]++;
  int *number = s->waits, batches = 0; // a batch of views alone is none any more
  x->regions = 0;
  for (int b = 0; b < x->batches; b++) {
    number[b] = batches;
    batches += count[b + 1] > 0;
    count[b + 1] += count[b];
  }
  for (int k = 0; k < g->n; k++) order[count[x->batch_of[x->order[k]]]++] = x->order[k];
  memcpy(x->order, order, (size_t)g->n * sizeof *order);
  for (int k = 0; k < g->n; k++) {
    int i = x->order[k];
    x->batch[k] = x->batch_of[i] = number[x->batch_of[i]];
    if ((!k || x->batch[k] != x->batch[k - 1]) && queue_of(s, i) < g->backends) x->regions++;
  }
  x->batches = batches;
}

static cg_schedule schedule_from(const cg_graph *g, const cg_pipeline *p, const cg_backend *const *on, int first) {
  size_t room = (size_t)g->n + 1;
  int *all = CG_NEW_ARRAY(g->s, int, room * (size_t)(6 + g->backends));
  scheduler s = {.g = g, .p = p, .on = on, .ready = CG_NEW_ARRAY(g->s, heap, g->backends + 1)};
  s.out.order = all, s.out.batch = all + room, s.out.batch_of = all + 2 * room, s.waits = all + 3 * room, s.next = all + 4 * room;
  for (int i = 0; i <= g->backends; i++) s.ready[i].at = all + (5 + (size_t)i) * room;
  start(&s);
  for (int turn = first, idle = 0; s.out.n < g->n; turn = (turn + 1) % g->backends) {
    if (drain(&s, g->backends, s.out.batches)) s.out.batches++, idle = 0;
    if (drain(&s, turn, s.out.batches)) s.out.batches++, s.out.regions++, idle = 0;
    else if (++idle > g->backends) cg_fail(g->s, CIERGE_INTERNAL, "partition: the graph has a cycle");
  }
  sink(&s, s.next, s.ready[0].at);
  return s.out;
}

cg_schedule cg_schedule_nodes(const cg_graph *g, const cg_pipeline *p, const cg_backend *const *on) {
  cg_schedule best = {0};
  for (int i = 0; i < g->backends; i++) {
    cg_schedule s = schedule_from(g, p, on, i);
    if (!i || s.regions < best.regions) best = s;
  }
  return best;
}
