// The report's facts: where every node of the model ended, and what each region costs.
#include "compile/report.h"

#include <string.h>

#include "backend/host.h"
#include "pass/cost.h"

static bool is_torch(const char *backend) { return backend && !strcmp(backend, "torch"); }

static cg_place *places(cg_module *m) {
  cg_place *place = CG_NEW_ARRAY(m->s, cg_place, m->origins.n + 1);
  for (int i = 0; i <= m->origins.n; i++) place[i] = CG_PLACE_GONE;
  for (int k = 0; k < m->fns.n; k++)
    for (const cg_node *n = m->fns.at[k]->first; n; n = n->next) {
      if (!n->origin || !n->backend || n->callee) continue;
      cg_place *p = &place[n->origin - 1];
      if (is_torch(n->backend->name)) *p = CG_PLACE_TORCH; // one piece in LibTorch: the node stayed there
      else if (*p == CG_PLACE_TORCH) continue;
      else if (n->backend == &cg_backend_host) *p = *p == CG_PLACE_NATIVE ? *p : CG_PLACE_HOST;
      else *p = CG_PLACE_NATIVE;
    }
  return place;
}

static void count(cg_report *r) {
  r->place = places(r->m);
  r->total = (uint32_t)r->m->origins.n;
  for (uint32_t i = 0; i < r->total; i++) {
    r->native += r->place[i] == CG_PLACE_NATIVE;
    r->torch += r->place[i] == CG_PLACE_TORCH;
    r->host += r->place[i] == CG_PLACE_HOST;
    r->gone += r->place[i] == CG_PLACE_GONE;
  }
}

static cg_report_region facts(cg_module *m, const cg_fn *caller, const cg_node *call) {
  const cg_fn *f = call->callee;
  cg_report_region x = {.fn = f, .caller = caller, .torch = is_torch(f->backend)};
  const cg_backend *b = call->backend;
  for (const cg_node *n = f->first; n; n = n->next) x.estimate_ns += cg_cost_node_ns(n, b);
  if (b && b->cost) x.boundary_ns = b->cost->region;
  for (int i = 0; i < f->param.n; i++) {
    x.bytes_in += cg_cost_bytes(m, &f->param.at[i]->type);
    if (b) x.boundary_ns += cg_cost_crossing_ns(m, f->param.at[i], b, false);
  }
  for (int i = 0; i < f->result.n; i++) {
    if (f->result.at[i].kind != CG_A_VALUE) continue;
    const cg_value *v = f->result.at[i].value;
    x.bytes_out += cg_cost_bytes(m, &v->type);
    if (b) x.boundary_ns += cg_cost_crossing_ns(m, v, b, true);
  }
  return x;
}

cg_report cg_report_make(cg_pipeline *p, cg_module *m, const char *model) {
  cg_report r = {.p = p, .m = m, .model = model};
  count(&r);
  for (int k = 0; k < m->fns.n; k++)
    for (const cg_node *n = m->fns.at[k]->first; n; n = n->next) {
      if (!n->callee) continue;
      cg_report_region x = facts(m, m->fns.at[k], n);
      *(x.torch ? &r.torch_ns : &r.native_ns) += x.estimate_ns;
      r.boundary_ns += x.boundary_ns;
      CG_PUSH(m->s, &r.region, x);
    }
  return r;
}

cg_report_region *cg_report_region_of(cg_report *r, const cg_fn *f) {
  for (int i = 0; i < r->region.n; i++)
    if (r->region.at[i].fn == f) return &r->region.at[i];
  return NULL;
}

void cg_report_counts(const cg_report *r, cg_plan *plan) {
  plan->nodes_total = r->total;
  plan->nodes_native = r->native + r->gone; // folded into constants, sizes or the kernels around them
  plan->nodes_torch = r->torch;
  plan->nodes_scalar = r->host;
}

// A kernel has an estimate of its own, from its loops.
void cg_report_estimates(const cg_report *r, cg_emitter *e) {
  for (int i = 0; i < e->spans.n; i++) {
    const cg_emit_span *x = &e->spans.at[i];
    const cg_report_region *region = cg_report_region_of((cg_report *)r, x->region);
    for (uint32_t k = x->first; region && k < x->last; k++) {
      cg_plan_step *s = &e->plan->fn[x->fn]->step[k];
      if (s->kind == CG_STEP_TORCH) s->estimate_ns = region->estimate_ns + region->boundary_ns;
    }
  }
}

// ---------------------------------------------------------------- reasons

const char *cg_report_reason(const cg_node *n) { return n->why_not ? n->why_not : "no native backend is enabled"; }

typedef struct {
  const cg_symbol *symbol;
  bool found;
} symbol_search;

static void speaks_of(cg_value *v, void *u) {
  symbol_search *s = u;
  for (int i = 0; v->type.kind == CG_T_TENSOR && i < v->type.rank; i++) s->found |= cg_x_has_symbol(v->type.dim[i], s->symbol);
  s->found |= v->type.value && cg_x_has_symbol(v->type.value, s->symbol);
}

// nonzero and the like: a size of the result is in none of the inputs.
static bool shows_new_size(const cg_node *n) {
  for (int k = 0; k < n->nresults; k++)
    for (int d = 0; n->result[k]->type.kind == CG_T_TENSOR && d < n->result[k]->type.rank; d++) {
      const cg_expr *x = n->result[k]->type.dim[d];
      symbol_search s = {x->symbol, false};
      if (x->kind != CG_X_SYM || !x->symbol->unbacked) continue;
      cg_node_each_input(n, speaks_of, &s);
      if (!s.found) return true;
    }
  return false;
}

const char *cg_report_kind(const cg_node *n) {
  static const struct { const char *text, *kind; } kinds[] = {
      {"the user's rule", "user's rule"}, {"not worth", "not worth it"}, {"by running it", "value-dependent shape"},
      {"dtype", "dtype"}, {"no native", "no native kernel"}, {"no kernel", "no native kernel"}};
  if (!n->why_not) return "no native backend";
  if (cg_node_is_torchop(n)) return "stays TorchScript";
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strstr(n->why_not, kinds[i].text)) return i > 3 && shows_new_size(n) ? "value-dependent shape" : kinds[i].kind;
  return "its arguments";
}

const char *cg_report_summary(const cg_report *r) {
  double time = r->native_ns + r->torch_ns + r->boundary_ns, share = time ? 100 * (time - r->native_ns) / time : 0;
  uint32_t native = r->native + r->gone;
  if (!r->torch) return r->total && !r->native && !r->host && !r->region.n ? "nothing is left to run: every node was folded away" : "";
  const char *how = !r->native                                ? "nothing was compiled to native code: "
                    : native * 5 < r->total || share > 90 ? "little was compiled to native code: "
                                                          : "";
  return cg_format(r->m->s, "%s%u of %u nodes stay in LibTorch (%.0f %% of the estimated time, boundaries included)", how, r->torch, r->total, share);
}
