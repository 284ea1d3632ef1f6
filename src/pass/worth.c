// Which native claims are worth their boundary: a local search over what could stay in LibTorch instead.
//
// The cost of a function is that of its nodes where they run, of its regions and of the tensors that cross between them
// (cost.h). An island, nodes of one region that hang together, is tried in LibTorch; where the whole gets clearly cheaper, it
// stays there. So are the views and the small nodes at an island's shore, which also go where they spare a region. --min-region N
// puts a count in the place of the estimate. Programs that need no LibTorch are left alone: loading it costs more than it saves.
#include <string.h>

#include "pass/cost.h"
#include "pass/partition.h"

enum { MAX_BACKENDS = 8, SMALL = 64, ROUNDS = 4 };
enum { EVEN = 500 }; // ns: so much may free nodes lose where they spare a region
static const double margin = 0.25; // the estimates' own error: what gains less stays native

// A value, from who makes it to who reads it.
typedef struct {
  const cg_value *value;
  int def;               // -1: a parameter
  cg_int_vec user;
  bool leaves;           // the function's result
  double in[MAX_BACKENDS], out[MAX_BACKENDS]; // what crossing costs, by backend
} flow;

typedef struct {
  cg_pipeline *p;
  cg_session *s;
  const cg_graph *g;
  const cg_backend **on;
  const cg_backend *torch;
  CG_VEC(flow) flow;
  cg_int_vec *of;                 // by node: the flows that it makes or reads
  double (*ns)[MAX_BACKENDS];     // by node and backend
  int *stamp, stamps;             // by batch: which flow was counted for it last
  signed char *movable;           // by node: 0 not asked yet, 1 LibTorch can run it, -1 it cannot
  long budget;                    // schedules that may still be tried
  double cost;                    // of `on`
  int regions;                    // of `on`
} search;

static int index_of(const cg_pipeline *p, const cg_backend *b) {
  for (int i = 0; p->opt->backends[i] && i < MAX_BACKENDS; i++)
    if (p->opt->backends[i] == b) return i;
  return -1; // the host
}

// ---------------------------------------------------------------- what the whole costs

typedef struct {
  search *s;
  int at;
} flow_reader;

static flow *flow_of(search *s, cg_value *v) {
  const cg_fn *f = s->g->slot[0].node->fn;
  if (v->mark < 0) { // not seen before
    flow x = {.value = v, .def = v->def && v->def->fn == f ? v->def->order : -1};
    for (int i = 0; i < s->g->backends; i++) {
      x.in[i] = cg_cost_crossing_ns(f->module, v, s->p->opt->backends[i], false);
      x.out[i] = cg_cost_crossing_ns(f->module, v, s->p->opt->backends[i], true);
    }
    v->mark = s->flow.n;
    CG_PUSH(s->s, &s->flow, x);
    if (x.def >= 0) CG_PUSH(s->s, &s->of[x.def], v->mark);
  }
  return &s->flow.at[v->mark];
}

static void read_use(cg_value *v, void *u) {
  flow_reader *r = u;
  if (v->constant) return;
  CG_PUSH(r->s->s, &flow_of(r->s, v)->user, r->at);
  CG_PUSH(r->s->s, &r->s->of[r->at], v->mark);
}

static void read_leaving(cg_value *v, void *u) {
  if (!v->constant) flow_of(u, v)->leaves = true;
}

static void forget(cg_value *v, void *u) {
  (void)u;
  v->mark = -1;
}

static void each_leaving(cg_fn *f, void (*call)(cg_value *, void *), void *u) {
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], call, u);
  for (int i = 0; i < f->update.n; i++) call(f->update.at[i].value, u);
}

// What a boundary costs is known; that LibTorch computes an operator faster than the kernel that was made for it is not, whatever
// two estimates say of each other. A claim goes for its boundary alone.
static void no_faster(search *s, int i) {
  int native = index_of(s->p, s->on[i]), torch = s->torch ? index_of(s->p, s->torch) : -1;
  if (native >= 0 && torch >= 0 && s->on[i]->cost && s->ns[i][torch] < s->ns[i][native]) s->ns[i][torch] = s->ns[i][native];
}

static search search_of(cg_pipeline *p, const cg_graph *g, const cg_backend **on) {
  search s = {.p = p, .s = p->s, .g = g, .on = on};
  s.of = CG_NEW_ARRAY(p->s, cg_int_vec, g->n + 1);
  s.ns = cg_alloc_array(p->s, (size_t)g->n + 1, sizeof *s.ns);
  s.stamp = CG_NEW_ARRAY(p->s, int, g->n + 1);
  s.movable = CG_NEW_ARRAY(p->s, signed char, g->n + 1);
  s.budget = 4000000 / (g->n + 1) + 64;
  for (int i = 0; i < g->backends; i++)
    if (!strcmp(p->opt->backends[i]->name, "torch")) s.torch = p->opt->backends[i];
  if (!g->n) return s;
  cg_fn *f = g->slot[0].node->fn;
  for (int i = 0; i < g->n; i++) cg_node_each_input(g->slot[i].node, forget, NULL);
  each_leaving(f, forget, NULL);
  for (int i = 0; i < g->n; i++) {
    for (int k = 0; k < g->backends; k++) s.ns[i][k] = cg_cost_node_ns(g->slot[i].node, p->opt->backends[k]);
    no_faster(&s, i);
    cg_node_each_input(g->slot[i].node, read_use, &(flow_reader){&s, i});
  }
  each_leaving(f, read_leaving, &s);
  return s;
}

static double flow_ns(search *s, const flow *f, const cg_schedule *sched, const cg_backend *const *on) {
  int from = f->def < 0 ? -1 : sched->batch_of[f->def], b = f->def < 0 ? -1 : index_of(s->p, on[f->def]);
  bool out = f->leaves;
  double ns = 0;
  s->stamps++;
  for (int i = 0; i < f->user.n; i++) {
    int u = f->user.at[i], to = sched->batch_of[u], k = index_of(s->p, on[u]);
    if (to == from || s->stamp[to] == s->stamps) continue;
    s->stamp[to] = s->stamps;
    out = true;
    if (k >= 0) ns += f->in[k];
  }
  return out && b >= 0 ? ns + f->out[b] : ns;
}

static double total_ns(search *s, const cg_schedule *sched, const cg_backend *const *on) {
  double ns = 0;
  for (int i = 0; i < s->g->n; i++) {
    int node = sched->order[i], k = index_of(s->p, on[node]);
    if (k < 0) continue;
    ns += s->ns[node][k];
    if ((!i || sched->batch[i] != sched->batch[i - 1]) && on[node]->cost) ns += on[node]->cost->region;
  }
  for (int i = 0; i < s->flow.n; i++) ns += flow_ns(s, &s->flow.at[i], sched, on);
  return ns;
}

double cg_cost_of_schedule(cg_pipeline *p, const cg_graph *g, const cg_schedule *sched, const cg_backend *const *on) {
  if (g->backends > MAX_BACKENDS) return 0;
  search s = search_of(p, g, (const cg_backend **)on);
  return total_ns(&s, sched, on);
}

// ---------------------------------------------------------------- candidates

static bool is_native(const search *s, int i) { return s->on[i] != s->torch && index_of(s->p, s->on[i]) >= 0 && s->on[i]->cost; }

static bool can_move(search *s, int i) {
  if (!s->movable[i]) s->movable[i] = s->torch->claim(s->p, s->g->slot[i].node) ? -1 : 1;
  return s->movable[i] > 0;
}

static bool all_move(search *s, const cg_int_vec *set) {
  for (int i = 0; i < set->n; i++)
    if (!can_move(s, set->at[i])) return false;
  return set->n > 0;
}

static double saving(const search *s, const cg_int_vec *set) {
  double ns = 0;
  for (int i = 0; i < set->n; i++) {
    int x = set->at[i];
    ns += s->ns[x][index_of(s->p, s->torch)] - s->ns[x][index_of(s->p, s->on[x])];
  }
  return ns;
}

// No boundary can cost more than this: the regions that may go, and whatever crosses at one of the nodes.
static double most(const search *s, const cg_int_vec *set) {
  double ns = s->on[set->at[0]]->cost->region + 2 * s->torch->cost->region;
  for (int i = 0; i < set->n; i++)
    for (int k = 0; k < s->of[set->at[i]].n; k++) {
      const flow *f = &s->flow.at[s->of[set->at[i]].at[k]];
      for (int b = 0; b < s->g->backends; b++) ns += f->out[b] + f->in[b] * f->user.n;
    }
  return ns;
}

// Views, and nodes of a few elements: what costs about nothing on either side.
static bool is_free(const search *s, int i) {
  const cg_node *n = s->g->slot[i].node;
  cg_cost_kind kind = cg_cost_kind_of(n);
  if (kind == CG_COST_VIEW) return true;
  for (int k = 0; k < n->nresults; k++)
    if (cg_cost_bytes(n->fn->module, &n->result[k]->type) > SMALL) return false;
  return kind <= CG_COST_LIBM;
}

static void move(search *s, const cg_int_vec *set, const char *why) {
  for (int i = 0; i < set->n; i++) {
    s->on[set->at[i]] = s->torch;
    s->g->slot[set->at[i]].node->why_not = why;
  }
}

static bool try(search *s, const cg_int_vec *set) {
  if (s->budget <= 0 || !all_move(s, set)) return false;
  double saves = saving(s, set);
  if (saves >= most(s, set) + EVEN) return false;
  s->budget--;
  bool free = true;
  double there = 0; // what LibTorch takes for them
  for (int i = 0; i < set->n; i++) free &= is_free(s, set->at[i]), there += s->ns[set->at[i]][index_of(s->p, s->torch)];
  const cg_backend **was = CG_NEW_ARRAY(s->s, const cg_backend *, set->n);
  for (int i = 0; i < set->n; i++) was[i] = s->on[set->at[i]], s->on[set->at[i]] = s->torch;
  cg_schedule sched = cg_schedule_nodes(s->g, s->p, s->on);
  double now = total_ns(s, &sched, s->on), gain = s->cost - now;
  // What is free on both sides joins the region that it touches, even where that is no gain.
  bool even = free && sched.regions < s->regions && gain > -EVEN;
  if (!even && gain <= margin * (there + gain)) {
    for (int i = 0; i < set->n; i++) s->on[set->at[i]] = was[i];
    return false;
  }
  s->cost = now, s->regions = sched.regions;
  move(s, set, even && gain <= 0 ? cg_format(s->s, "not worth a region of its own (saves about what its boundary costs: %.1f us)", saves / 1e3)
               : cg_format(s->s, "not worth its boundary (saves %.1f us, costs %.1f us)", saves / 1e3, (saves + gain) / 1e3));
  return true;
}

// Sets of nodes that hang together, among those for which part[i] is the same number above 0.
typedef struct { cg_int_vec *at; int n; } sets;

static sets connected(const search *s, const int *part) {
  int n = s->g->n, *root = CG_NEW_ARRAY(s->s, int, n + 1), *number = CG_NEW_ARRAY(s->s, int, n + 1);
  for (int i = 0; i < n; i++) root[i] = i;
  for (int i = 0; i < n; i++)
    for (int k = 0; part[i] && k < s->g->slot[i].after.n; k++) {
      int a = i, b = s->g->slot[i].after.at[k];
      if (part[a] != part[b]) continue;
      while (root[a] != a) a = root[a] = root[root[a]];
      while (root[b] != b) b = root[b] = root[root[b]];
      if (a < b) root[b] = a;
      else root[a] = b;
    }
  sets out = {CG_NEW_ARRAY(s->s, cg_int_vec, n + 1), 0};
  for (int i = 0; i < n; i++) {
    if (!part[i]) continue;
    int r = i;
    while (root[r] != r) r = root[r];
    if (r == i) number[i] = out.n++;
    CG_PUSH(s->s, &out.at[number[r]], i);
  }
  return out;
}

// The islands of the present cut.
static sets islands(search *s, bool whole_regions) {
  cg_schedule sched = cg_schedule_nodes(s->g, s->p, s->on);
  int n = s->g->n, *part = CG_NEW_ARRAY(s->s, int, n + 1);
  for (int i = 0; i < n; i++) part[i] = is_native(s, i) ? sched.batch_of[i] + 1 : 0;
  if (!whole_regions) return connected(s, part);
  sets out = {CG_NEW_ARRAY(s->s, cg_int_vec, sched.batches + 1), 0};
  for (int i = 0, batch = -1; i < n; i++) {
    if (!part[sched.order[i]]) continue;
    if (sched.batch[i] != batch) batch = sched.batch[i], out.n++;
    CG_PUSH(s->s, &out.at[out.n - 1], sched.order[i]);
  }
  return out;
}

static sets shores(const search *s) {
  int *part = CG_NEW_ARRAY(s->s, int, s->g->n + 1);
  for (int i = 0; i < s->g->n; i++) part[i] = is_native(s, i) && is_free(s, i);
  return connected(s, part);
}

static bool try_all(search *s, sets x) {
  bool any = false;
  for (int i = 0; i < x.n; i++) any |= try(s, &x.at[i]);
  return any;
}

static bool drop_small(search *s) {
  sets x = islands(s, false);
  bool any = false;
  for (int i = 0; i < x.n; i++) {
    if (x.at[i].n >= s->p->opt->min_region || !all_move(s, &x.at[i])) continue;
    move(s, &x.at[i], cg_format(s->s, "the user's rule (--min-region %d: its island has %d node%s)", s->p->opt->min_region, x.at[i].n, x.at[i].n == 1 ? "" : "s"));
    any = true;
  }
  return any;
}

void cg_drop_claims(cg_pipeline *p, const cg_graph *g, const cg_backend **on) {
  const cg_options *o = p->opt;
  if (!g->n || o->require_native || g->backends > MAX_BACKENDS) return;
  search s = search_of(p, g, on);
  if (!s.torch) return;
  if (o->min_region > 0) {
    while (drop_small(&s)) {}
    return;
  }
  if (o->no_cost_drop || !s.torch->cost) return;
  cg_schedule sched = cg_schedule_nodes(g, p, on);
  s.cost = total_ns(&s, &sched, on), s.regions = sched.regions;
  for (int round = 0; round < ROUNDS; round++) {
    bool any = try_all(&s, islands(&s, true));
    any |= try_all(&s, islands(&s, false));
    any |= try_all(&s, shores(&s));
    if (!any) return;
  }
}
