// Claims every node for a backend, gives back claims that are not worth their boundary (worth.c), and lifts each run of
// nodes of one backend (schedule.c) into a function: a region.
#include <string.h>

#include "pass/partition.h"
#include "pass/steer.h"

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
  if (!n->schema)
    cg_fail_at(p->s, CIERGE_BAD_MODEL, n->at, "@%s is called here: a program that was partitioned before is not compiled again", n->callee->name);
  const char *told = cg_node_is_torchop(n) ? n->why_not : NULL; // by who made a program of it and left this to TorchScript
  n->why_not = NULL;
  if (!p->host->claim(p, n)) {
    n->backend = p->host;
    return;
  }
  const char *rule = cg_steer_rule(p, n);
  reasons all = {.named = cg_str_new(p->s)};
  for (int i = 0; p->opt->backends[i]; i++) {
    const cg_backend *b = p->opt->backends[i];
    bool torch = !strcmp(b->name, "torch");
    const char *why = rule && !torch ? rule : b->claim(p, n);
    if (!why) {
      n->backend = b;
      if (torch && p->opt->require_native)
        cg_fail_at(p->s, CIERGE_REFUSED, n->at, "%s would stay in LibTorch, and --require-native forbids it: %s",
                   cg_node_text(p->s, n), n->why_not ? n->why_not : "no native backend is enabled");
      return;
    }
    n->why_not = add_reason(&all, b, told ? told : why);
  }
  bool refused = p->opt->require_native || !torch_listed(p);
  cg_fail_at(p->s, refused ? CIERGE_REFUSED : CIERGE_MISSING, n->at, "no backend can run %s: %s", cg_node_text(p->s, n), n->why_not ? n->why_not : "none is enabled");
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

typedef struct {
  const cg_fn *f;
  const int *batch_of; // by node
  int batch;
} use_from;

static void mark_outside(cg_value *v, void *u) {
  const use_from *from = u;
  if (v->def && v->def->fn == from->f && from->batch_of[v->def->order] != from->batch) v->mark = 1;
}

// Uses from another batch than the one that makes it, by results and by updates.
static void find_outside_uses(cg_fn *f, const cg_graph *g, const cg_schedule *sched) {
  for (int i = 0; i < g->n; i++)
    for (int k = 0; k < g->slot[i].node->nresults; k++) g->slot[i].node->result[k]->mark = 0;
  for (int i = 0; i < g->n; i++) {
    use_from from = {f, sched->batch_of, sched->batch_of[i]};
    cg_node_each_input(g->slot[i].node, mark_outside, &from);
  }
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], mark_used, NULL);
  for (int i = 0; i < f->update.n; i++) f->update.at[i].value->mark = 1;
}

// results: those of its values that are used outside.
static void lift_batch(cg_pipeline *p, cg_fn *f, int n, cg_node **node, cg_value_vec results) {
  cg_module *m = f->module;
  const cg_backend *b = node[0]->backend;
  lift l = {.outer = f, .region = cg_fn_new(m, cg_fresh_name(m, b->name))};
  l.region->backend = b->name;
  l.region->mode = strcmp(b->name, "torch") ? NULL : "ops";
  for (int i = 0; i < n; i++) cg_replace_in(node[i]), transfer(node[i], l.region);
  for (int i = 0; i < n; i++) cg_node_each_input(node[i], collect_inputs, &l);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < node[i]->nargs; k++) use_params(&l, &node[i]->arg[k]);

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
    cg_replace(m, inner, cg_a_value(outer));
  }
  if (b->settle) b->settle(p, l.region);
}

static void lift_all(cg_pipeline *p, cg_fn *f, const cg_graph *g, const cg_schedule *sched) {
  cg_node **node = CG_NEW_ARRAY(p->s, cg_node *, g->n + 1);
  cg_value_vec *used = CG_NEW_ARRAY(p->s, cg_value_vec, sched->batches + 1); // by batch
  find_outside_uses(f, g, sched);
  for (int i = 0; i < g->n; i++) {
    node[i] = g->slot[sched->order[i]].node;
    for (int k = 0; k < node[i]->nresults; k++)
      if (node[i]->result[k]->mark) CG_PUSH(p->s, &used[sched->batch[i]], node[i]->result[k]);
  }
  cg_replace_begin(f);
  for (int i = 0, j; i < g->n; i = j) {
    for (j = i; j < g->n && sched->batch[j] == sched->batch[i]; j++) {}
    if (node[i]->backend == p->host)
      for (int k = i; k < j; k++) cg_replace_in(node[k]), cg_node_move(node[k], NULL);
    else lift_batch(p, f, j - i, node + i, used[sched->batch[i]]);
  }
  cg_replace_end(f);
}

// ---------------------------------------------------------------- the pass

// Nodes that share a value which cannot leave LibTorch run there, and so does what lies between them.
static void claim_units(cg_pipeline *p, const cg_graph *g, const cg_backend *torch) {
  int *size = CG_NEW_ARRAY(p->s, int, g->n + 1);
  for (int i = 0; i < g->n; i++) size[g->slot[i].unit]++;
  for (int i = 0; i < g->n; i++) {
    cg_node *n = g->slot[i].node;
    if (size[g->slot[i].unit] == 1 || n->backend == torch) continue;
    const char *why = "it lies between nodes that share a value which cannot leave LibTorch";
    if (p->opt->require_native) cg_fail_at(p->s, CIERGE_REFUSED, n->at, "%s would stay in LibTorch, and --require-native forbids it: %s", cg_node_text(p->s, n), why);
    const char *not = torch ? torch->claim(p, n) : "LibTorch is not among the backends";
    if (not) cg_fail_at(p->s, CIERGE_MISSING, n->at, "%s: %s, and LibTorch cannot run it: %s", cg_node_text(p->s, n), why, not);
    n->backend = torch, n->why_not = why;
  }
}

static const cg_backend *torch_of(const cg_pipeline *p) {
  for (int i = 0; p->opt->backends[i]; i++)
    if (!strcmp(p->opt->backends[i]->name, "torch")) return p->opt->backends[i];
  return NULL;
}

// What other values of --min-region would give, for the report.
static void try_min_regions(cg_pipeline *p, const cg_graph *g, const cg_backend *const *claimed) {
  static const int tries[CG_MIN_REGIONS] = {1, 2, 4, 8, 16, 32, 64, 128};
  cg_options *o = p->opt;
  int given = o->min_region;
  const cg_backend **on = CG_NEW_ARRAY(p->s, const cg_backend *, g->n + 1);
  const char **why = CG_NEW_ARRAY(p->s, const char *, g->n + 1);
  for (int i = 0; i < g->n; i++) why[i] = g->slot[i].node->why_not;
  for (int t = 0; t < CG_MIN_REGIONS; t++) {
    memcpy(on, claimed, (size_t)g->n * sizeof *on);
    o->min_region = tries[t];
    cg_drop_claims(p, g, on);
    cg_schedule s = cg_schedule_nodes(g, p, on);
    cg_min_region *row = &p->min_region[t];
    row->n = tries[t];
    row->ns += cg_cost_of_schedule(p, g, &s, on);
    for (int i = 0; i < g->n; i++) {
      bool torch = !strcmp(on[s.order[i]]->name, "torch");
      if (on[s.order[i]] == p->host) continue;
      row->nodes[torch]++;
      if (!i || s.batch[i] != s.batch[i - 1]) row->regions[torch]++;
    }
  }
  o->min_region = given;
  for (int i = 0; i < g->n; i++) g->slot[i].node->why_not = why[i];
}

static void partition_fn(cg_pipeline *p, cg_fn *f, const cg_graph *g) {
  const cg_backend **on = CG_NEW_ARRAY(p->s, const cg_backend *, g->n + 1);
  for (int i = 0; i < g->n; i++) on[i] = g->slot[i].node->backend;
  if (p->mixed) {
    try_min_regions(p, g, on);
    cg_drop_claims(p, g, on);
  }
  for (int i = 0; i < g->n; i++) g->slot[i].node->backend = on[i];
  cg_schedule best = cg_schedule_nodes(g, p, on);
  lift_all(p, f, g, &best);
}

// What is asserted of sizes that are known from the start is checked first, each once: kernels go by it.
static void lift_asserts(cg_fn *f) {
  cg_node *first = f->first;
  bool *seen = CG_NEW_ARRAY(f->module->s, bool, f->module->exprs.n + 1); // by the expression's number
  for (cg_node *n = first, *next; n; n = next) {
    next = n->next;
    if (!cg_asserts_sizes(n)) continue;
    bool again = seen[n->arg[0].i->id];
    seen[n->arg[0].i->id] = true;
    if (n == first) first = next;
    else if (!again) cg_node_move(n, first);
    if (again) cg_node_remove(n);
  }
}

void cg_pass_partition(cg_pipeline *p, cg_module *m) {
  int n = m->fns.n; // regions are added behind
  cg_graph *graph = CG_NEW_ARRAY(p->s, cg_graph, n);
  const cg_backend *torch = torch_of(p);
  bool needed = false, native = false;
  for (int i = 0; i < n; i++) {
    lift_asserts(m->fns.at[i]);
    for (cg_node *x = m->fns.at[i]->first; x; x = x->next) claim(p, x);
    graph[i] = cg_dependences(p, m->fns.at[i]);
    claim_units(p, &graph[i], torch);
    for (cg_node *x = m->fns.at[i]->first; x; x = x->next) {
      needed |= torch && x->backend == torch;
      native |= x->backend && x->backend != torch && x->backend != p->host;
    }
  }
  p->mixed = needed && native;
  for (int i = 0; i < n; i++)
    if (graph[i].n) partition_fn(p, m->fns.at[i], &graph[i]);
  cg_steer_check(p, m);
}
