// Claims every node for a backend and lifts what a backend runs into functions: regions.
//
// Regions are made by scheduling: run everything that is ready on one backend, then everything that has become
// ready on the next. Each such batch is one region. It is as big as the dependences allow, convex by
// construction (it is an interval of a valid order), and no two regions can need each other.
// Nodes with effects, and those that draw random numbers, keep their order.
#include <string.h>

#include "ops/op.h"
#include "pass/pass.h"

static bool in_list(const char *const *at, int n, const char *key) {
  for (int i = 0; i < n; i++)
    if (!strcmp(at[i], key)) return true;
  return false;
}

// ---------------------------------------------------------------- claims

static bool torch_listed(const cg_pipeline *p) {
  for (int i = 0; p->opt->backends[i]; i++)
    if (!strcmp(p->opt->backends[i]->name, "torch")) return true;
  return false;
}

typedef struct {
  const char *only; // the reason, while it is the only one
  cg_str named;     // "c: no kernel; toy: dtype f64"
  int n;
} reasons;

static const char *add_reason(reasons *r, const cg_backend *b, const char *why) {
  cg_str_addf(&r->named, "%s%s: %s", r->n ? "; " : "", strcmp(b->name, "torch") ? b->name : "LibTorch", why);
  r->only = r->n++ ? NULL : why;
  return r->only ? r->only : cg_str_text(&r->named);
}

static void claim(cg_pipeline *p, cg_node *n) {
  if (!n->schema) return;
  n->why_not = NULL;
  if (!p->host->claim(p, n)) {
    n->backend = p->host;
    return;
  }
  bool forced = in_list(p->opt->torch_ops.at, p->opt->torch_ops.n, n->schema->key);
  reasons all = {.named = cg_str_new(p->s)};
  for (int i = 0; p->opt->backends[i]; i++) {
    const cg_backend *b = p->opt->backends[i];
    bool torch = !strcmp(b->name, "torch");
    const char *why = forced && !torch ? "the user's rule (--torch-ops)" : b->claim(p, n);
    if (!why) {
      n->backend = b;
      if (torch && p->opt->require_native)
        cg_fail_at(p->s, CIERGE_REFUSED, n->at, "%s would stay in LibTorch, and --require-native forbids it: %s",
                   cg_node_text(p->s, n), n->why_not ? n->why_not : "no native backend is enabled");
      return;
    }
    n->why_not = add_reason(&all, b, why);
  }
  bool refused = p->opt->require_native || !torch_listed(p);
  cg_fail_at(p->s, refused ? CIERGE_REFUSED : CIERGE_MISSING, n->at, "no backend can run %s: %s", cg_node_text(p->s, n), n->why_not ? n->why_not : "none is enabled");
}

// ---------------------------------------------------------------- dependences

typedef CG_VEC(int) int_vec;

typedef struct {
  cg_node *node;
  int waits;      // how many nodes must come first and have not yet
  int_vec after;  // which nodes wait for this one
} slot;

typedef struct {
  cg_session *s;
  slot *slot;
  int n, at;      // at: the node whose inputs are being looked at
  int *definer;   // by symbol index: the node that gives an unbacked symbol its value; -1: not seen yet
} graph;

static void depend(graph *g, int before, int after) {
  if (before < 0 || before == after) return;
  CG_PUSH(g->s, &g->slot[before].after, after);
  g->slot[after].waits++;
}

static void input_edge(cg_value *v, void *u) {
  graph *g = u;
  if (v->def && v->def->fn == g->slot[g->at].node->fn) depend(g, v->def->order, g->at);
}

// The first node that shows an unbacked symbol defines it; all others that speak of it wait for that one.
static void symbol_edges(graph *g, const cg_expr *e) {
  if (!e) return;
  if (e->kind == CG_X_SYM && e->symbol->unbacked) {
    int *d = &g->definer[e->symbol->index];
    if (*d < 0) *d = g->at;
    else depend(g, *d, g->at);
  }
  for (int i = 0; i < e->nargs; i++) symbol_edges(g, e->arg[i]);
}

static void symbol_edges_arg(graph *g, const cg_arg *a) {
  if (a->kind == CG_A_INT) symbol_edges(g, a->i);
  else if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) symbol_edges_arg(g, &a->list.at[i]);
}

static void symbol_edges_type(graph *g, const cg_type *t) {
  if (t->kind == CG_T_TENSOR)
    for (int i = 0; i < t->rank; i++) symbol_edges(g, t->dim[i]);
  symbol_edges(g, t->value);
}

static graph dependences(cg_session *s, cg_fn *f) {
  graph g = {.s = s, .n = cg_fn_number(f)};
  g.slot = CG_NEW_ARRAY(s, slot, g.n ? g.n : 1);
  int nsymbols = f->module->exprs.symbols.n;
  g.definer = CG_NEW_ARRAY(s, int, nsymbols + 1);
  for (int i = 0; i < nsymbols; i++) g.definer[i] = -1;
  int last_draw = -1, last_effect = -1;
  for (cg_node *n = f->first; n; n = n->next) {
    g.at = n->order;
    g.slot[g.at].node = n;
    cg_node_each_input(n, input_edge, &g);
    for (int i = 0; i < n->nargs; i++) symbol_edges_arg(&g, &n->arg[i]);
    for (int i = 0; i < n->nresults; i++) symbol_edges_type(&g, &n->result[i]->type);
    if (cg_node_draws(n)) depend(&g, last_draw, g.at), last_draw = g.at;
    if ((n->op && n->op->traits & CG_OP_EFFECT) || !n->nresults) depend(&g, last_effect, g.at), last_effect = g.at;
  }
  return g;
}

// ---------------------------------------------------------------- scheduling

typedef struct {
  int *order, *batch; // [n]: nodes in their new order, and which batch each is in
  int n, batches;     // batches: how many are regions of a backend (host batches cost nothing)
} schedule;

// Takes every ready node of `b`, and what becomes ready by that, in the original order.
static int drain(const graph *g, int *waits, bool *done, const cg_backend *b, schedule *out, int batch) {
  int taken = 0;
  for (bool again = true; again;) {
    again = false;
    for (int i = 0; i < g->n; i++) {
      if (done[i] || waits[i] || g->slot[i].node->backend != b) continue;
      done[i] = true;
      out->order[out->n] = i;
      out->batch[out->n++] = batch;
      taken++;
      for (int k = 0; k < g->slot[i].after.n; k++) {
        int j = g->slot[i].after.at[k];
        waits[j]--;
        if (j < i) again = true;
      }
    }
  }
  return taken;
}

static schedule schedule_from(const graph *g, const cg_pipeline *p, int first) {
  const cg_backend *const *backends = p->opt->backends;
  cg_session *s = g->s;
  schedule out = {CG_NEW_ARRAY(s, int, g->n + 1), CG_NEW_ARRAY(s, int, g->n + 1), 0, 0};
  int *waits = CG_NEW_ARRAY(s, int, g->n + 1), count = 0, batch = 0;
  bool *done = CG_NEW_ARRAY(s, bool, g->n + 1);
  for (int i = 0; i < g->n; i++) waits[i] = g->slot[i].waits;
  while (backends[count]) count++;
  for (int turn = first, idle = 0; out.n < g->n; turn = (turn + 1) % count) {
    if (drain(g, waits, done, p->host, &out, batch)) batch++, idle = 0;
    if (drain(g, waits, done, backends[turn], &out, batch)) batch++, out.batches++, idle = 0;
    else if (++idle > count) cg_fail(s, CIERGE_INTERNAL, "partition: the graph has a cycle");
  }
  return out;
}

// ---------------------------------------------------------------- lifting

typedef struct {
  cg_fn *outer, *region;
  cg_node *call;
  cg_map inner; // name of an outer value -> the region's parameter
  CG_VEC(cg_value *) taken;
} lift;

static void collect_inputs(cg_value *v, void *u) {
  lift *l = u;
  cg_session *s = l->outer->module->s;
  if (v->constant || (v->def && v->def->fn == l->region) || cg_map_has(&l->inner, v->name)) return;
  cg_value *p = cg_param_new(l->region, v->name, v->type);
  cg_map_set(s, &l->inner, v->name, p);
  CG_PUSH(s, &l->taken, v);
}

static void use_params(lift *l, cg_arg *a) {
  if (a->kind == CG_A_VALUE && !a->value->constant && !(a->value->def && a->value->def->fn == l->region))
    a->value = cg_map_get(&l->inner, a->value->name);
  else if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) use_params(l, &a->list.at[i]);
}

static void transfer(cg_node *n, cg_fn *to) {
  cg_fn *from = n->fn;
  if (n->prev) n->prev->next = n->next;
  else from->first = n->next;
  if (n->next) n->next->prev = n->prev;
  else from->last = n->prev;
  from->nnodes--;
  n->prev = to->last, n->next = NULL, n->fn = to;
  if (to->last) to->last->next = n;
  else to->first = n;
  to->last = n;
  to->nnodes++;
}

static void mark_used(cg_value *v, void *u) {
  (void)u;
  v->mark = 1;
}

// The results of the batch that somebody outside it uses: the nodes still in f, its results, its updates.
static cg_value_vec results_used(cg_session *s, cg_fn *f, int n, cg_node **node) {
  cg_value_vec out = {0};
  for (int i = 0; i < n; i++)
    for (int k = 0; k < node[i]->nresults; k++) node[i]->result[k]->mark = 0;
  for (cg_node *x = f->first; x; x = x->next) cg_node_each_input(x, mark_used, NULL);
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], mark_used, NULL);
  for (int i = 0; i < f->update.n; i++) f->update.at[i].value->mark = 1;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < node[i]->nresults; k++)
      if (node[i]->result[k]->mark) CG_PUSH(s, &out, node[i]->result[k]);
  return out;
}

static void lift_batch(cg_pipeline *p, cg_fn *f, int n, cg_node **node) {
  cg_module *m = f->module;
  const cg_backend *b = node[0]->backend;
  lift l = {.outer = f, .region = cg_fn_new(m, cg_fresh_name(m, b->name))};
  l.region->backend = b->name;
  l.region->mode = strcmp(b->name, "torch") ? NULL : "ops";
  for (int i = 0; i < n; i++) transfer(node[i], l.region);
  for (int i = 0; i < n; i++) cg_node_each_input(node[i], collect_inputs, &l);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < node[i]->nargs; k++) use_params(&l, &node[i]->arg[k]);

  cg_value_vec results = results_used(p->s, f, n, node);
  cg_node *call = cg_node_new(f, NULL, NULL, l.taken.n, results.n);
  call->callee = l.region;
  call->backend = b;
  call->module_path = "";
  for (int i = 0; i < l.taken.n; i++) call->arg[i] = cg_a_value(l.taken.at[i]);
  for (int i = 0; i < results.n; i++) {
    cg_value *inner = results.at[i], *outer = call->result[i];
    outer->name = inner->name;
    outer->type = inner->type;
    CG_PUSH(p->s, &l.region->result, cg_a_value(inner));
    cg_replace_uses(f, inner, outer);
  }
}

static void lift_all(cg_pipeline *p, cg_fn *f, const graph *g, const schedule *sched) {
  cg_node **node = CG_NEW_ARRAY(p->s, cg_node *, g->n + 1);
  for (int i = 0; i < g->n; i++) node[i] = g->slot[sched->order[i]].node;
  for (int i = 0, j; i < g->n; i = j) {
    for (j = i; j < g->n && sched->batch[j] == sched->batch[i]; j++) {}
    if (node[i]->backend == p->host)
      for (int k = i; k < j; k++) cg_node_move(node[k], NULL);
    else lift_batch(p, f, j - i, node + i);
  }
}

static void partition_fn(cg_pipeline *p, cg_fn *f) {
  if (!f->first) return;
  for (cg_node *n = f->first; n; n = n->next) claim(p, n);
  graph g = dependences(p->s, f);
  schedule best = {0};
  for (int i = 0; p->opt->backends[i]; i++) {
    schedule s = schedule_from(&g, p, i);
    if (!i || s.batches < best.batches) best = s;
  }
  lift_all(p, f, &g, &best);
}

void cg_pass_partition(cg_pipeline *p, cg_module *m) {
  int n = m->fns.n; // regions are added behind
  for (int i = 0; i < n; i++) partition_fn(p, m->fns.at[i]);
}
