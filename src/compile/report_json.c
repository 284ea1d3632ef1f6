// The report as JSON: what --report writes, and what the page shows.
#include <string.h>

#include "backend/host.h"
#include "compile/report.h"
#include "ir/text.h"
#include "pass/cost.h"

static void add_field(cg_str *b, const char *name, const char *text) {
  cg_str_addf(b, ", \"%s\": ", name);
  cg_str_add_json(b, text);
}

static void add_us(cg_str *b, const char *name, double ns) { cg_str_addf(b, ", \"%s\": %.3f", name, ns / 1e3); }

static void add_place(cg_str *b, const cg_node *n) {
  add_field(b, "file", n->at.file);
  cg_str_addf(b, ", \"line\": %d", n->at.line > 0 ? n->at.line : 0);
  add_field(b, "module", n->module_path);
}

static void add_left(cg_str *b, const cg_report_region *x, const cg_backend *torch) {
  cg_str_add(b, ", \"left\": [");
  for (const cg_node *n = x->fn->first; n; n = n->next) {
    cg_str_addf(b, "%s\n      {\"op\": ", n == x->fn->first ? "" : ",");
    cg_str_add_json(b, n->schema->key);
    add_field(b, "kind", cg_report_kind(n));
    add_field(b, "reason", cg_report_reason(n));
    add_place(b, n);
    add_us(b, "estimate_us", cg_cost_node_ns(n, torch));
    cg_str_addc(b, '}');
  }
  cg_str_addc(b, ']');
}

static void add_values(cg_str *b, const char *name, const cg_report *r, const cg_fn *f, bool results) {
  cg_str_addf(b, ", \"%s\": [", name);
  int n = results ? f->result.n : f->param.n;
  for (int i = 0; i < n; i++) {
    const cg_value *v = results ? cg_arg_tensor(&f->result.at[i]) : f->param.at[i];
    cg_str_addf(b, "%s{\"name\": ", i ? ", " : "");
    cg_str_add_json(b, v ? v->name : "");
    cg_str type = cg_str_new(r->m->s);
    if (v) cg_print_type_short(&type, &v->type);
    add_field(b, "type", cg_str_text(&type));
    cg_str_addf(b, ", \"bytes\": %.0f}", v ? cg_cost_bytes(r->m, &v->type) : 0);
  }
  cg_str_addc(b, ']');
}

static void add_region(cg_str *b, const cg_report *r, const cg_report_region *x, bool graph) {
  const cg_fn *f = x->fn;
  cg_str_add(b, "{\"name\": ");
  cg_str_add_json(b, f->name);
  add_field(b, "backend", f->backend);
  if (f->mode) add_field(b, "mode", f->mode);
  if (f->mode_why) add_field(b, "mode_why", f->mode_why);
  add_field(b, "function", x->caller->name);
  cg_str_addf(b, ", \"nodes\": %d, \"inputs\": %d, \"outputs\": %d, \"bytes_in\": %.0f, \"bytes_out\": %.0f", f->nnodes, f->param.n, f->result.n, x->bytes_in,
              x->bytes_out);
  add_us(b, "estimate_us", x->estimate_ns);
  add_us(b, "boundary_us", x->boundary_ns);
  if (r->measured) add_us(b, "measured_us", x->measured_ns);
  if (graph) add_values(b, "in", r, f, false), add_values(b, "out", r, f, true);
  if (x->torch) add_left(b, x, cg_backend_find("torch"));
  cg_str_addc(b, '}');
}

// ---------------------------------------------------------------- the graph

typedef struct {
  cg_str *b;
  const char *sep;
  int last; // written just now: a value that is read twice is one edge
} edges;

// Nodes are numbered over all functions; a value that a region hands on is its node's.
static int number_of(const cg_value *v) {
  const cg_node *n = v->def;
  if (n && n->callee) {
    const cg_arg *a = &n->callee->result.at[v->index];
    return a->kind == CG_A_VALUE ? number_of(a->value) : -1;
  }
  return n ? n->order : -1;
}

static void add_edge(cg_value *v, void *u) {
  edges *e = u;
  int from = v->constant ? -1 : v->def ? number_of(v) : v->mark; // a region's parameter: what its caller gives
  if (from < 0 || from == e->last) return;
  e->last = from;
  cg_str_addf(e->b, "%s%d", e->sep, from);
  e->sep = ", ";
}

static void number_nodes(cg_module *m) {
  int n = 0;
  for (int k = 0; k < m->fns.n; k++) {
    cg_fn *f = m->fns.at[k];
    for (int i = 0; i < f->param.n; i++) f->param.at[i]->mark = -1;
    for (cg_node *x = f->first; x; x = x->next) x->order = x->callee ? -1 : n++;
  }
  for (int k = 0; k < m->fns.n; k++)
    for (cg_node *x = m->fns.at[k]->first; x; x = x->next)
      for (int i = 0; x->callee && i < x->nargs; i++) {
        cg_value *v = cg_arg_tensor(&x->arg[i]);
        x->callee->param.at[i]->mark = v && v->def ? number_of(v) : -1;
      }
}

static void add_node(cg_str *b, const cg_report *r, const cg_node *n, const cg_fn *caller) {
  cg_str_addf(b, "{\"id\": %d, \"op\": ", n->order);
  cg_str_add_json(b, n->schema ? n->schema->key : "");
  add_field(b, "name", n->nresults ? n->result[0]->name : "");
  add_field(b, "function", caller->name);
  if (n->fn->backend) add_field(b, "region", n->fn->name);
  cg_str type = cg_str_new(r->m->s);
  for (int i = 0; i < n->nresults; i++) {
    if (i) cg_str_add(&type, ", ");
    cg_print_type_short(&type, &n->result[i]->type);
  }
  add_field(b, "type", cg_str_text(&type));
  add_place(b, n);
  if (n->backend && !strcmp(n->backend->name, "torch")) add_field(b, "kind", cg_report_kind(n)), add_field(b, "reason", cg_report_reason(n));
  add_us(b, "estimate_us", cg_cost_node_ns(n, n->backend));
  edges e = {b, "", -1};
  cg_str_add(b, ", \"from\": [");
  cg_node_each_input(n, add_edge, &e);
  cg_str_add(b, "]}");
}

// The nodes as they were imported, by the names of the exported graph, and where each ended.
static void add_imported(cg_str *b, const cg_report *r) {
  static const char *const places[] = {[CG_PLACE_NATIVE] = "native", [CG_PLACE_TORCH] = "torch", [CG_PLACE_HOST] = "host", [CG_PLACE_GONE] = "folded"};
  cg_str_add(b, ",\n  \"imported\": [");
  for (uint32_t i = 0; i < r->total; i++) {
    const cg_origin *o = &r->m->origins.at[i];
    cg_str_addf(b, "%s\n    {\"op\": ", i ? "," : "");
    cg_str_add_json(b, o->key);
    add_field(b, "name", o->name);
    add_field(b, "place", places[r->place[i]]);
    cg_str_addc(b, '}');
  }
  cg_str_add(b, "\n  ]");
}

// In the order in which they run: a region's nodes stand where it is called.
static void add_graph(cg_str *b, const cg_report *r) {
  cg_module *m = r->m;
  number_nodes(m);
  const char *sep = "";
  cg_str_add(b, ",\n  \"graph\": [");
  for (int k = 0; k < m->fns.n; k++) {
    const cg_fn *f = m->fns.at[k];
    for (const cg_node *n = f->backend ? NULL : f->first; n; n = n->next) {
      for (const cg_node *x = n->callee ? n->callee->first : n; x; x = n->callee ? x->next : NULL) {
        cg_str_addf(b, "%s\n    ", sep);
        add_node(b, r, x, f);
        sep = ",";
      }
    }
  }
  cg_str_add(b, "\n  ]");
}

void cg_report_json(cg_str *b, const cg_report *r, bool graph) {
  cg_str_add(b, "{\n  \"model\": ");
  cg_str_add_json(b, r->model);
  cg_str_addf(b, ",\n  \"nodes\": {\"total\": %u, \"native\": %u, \"torch\": %u, \"host\": %u, \"folded\": %u}", r->total, r->native, r->torch, r->host, r->gone);
  add_field(b, "summary", cg_report_summary(r));
  cg_str_addf(b, ",\n  \"estimated\": {\"native_us\": %.3f, \"torch_us\": %.3f, \"boundary_us\": %.3f}", r->native_ns / 1e3, r->torch_ns / 1e3, r->boundary_ns / 1e3);
  if (r->measured)
    cg_str_addf(b, ",\n  \"measured\": {\"call_us\": %.3f, \"native_us\": %.3f, \"torch_us\": %.3f, \"host_us\": %.3f, \"rounds\": %d}", r->call_ns / 1e3,
                r->measured_native_ns / 1e3, r->measured_torch_ns / 1e3, (r->call_ns - r->measured_native_ns - r->measured_torch_ns) / 1e3, r->rounds);
  cg_str_add(b, ",\n  \"notes\": [");
  for (int i = 0; i < r->p->notes.n; i++) {
    if (i) cg_str_add(b, ", ");
    cg_str_add_json(b, r->p->notes.at[i]);
  }
  cg_str_add(b, "],\n  \"regions\": [");
  for (int k = 0; k < r->region.n; k++) {
    cg_str_addf(b, "%s\n    ", k ? "," : "");
    add_region(b, r, &r->region.at[k], graph);
  }
  cg_str_add(b, "\n  ],\n  \"min_region\": [");
  for (int i = 0; r->p->mixed && i < CG_MIN_REGIONS; i++) {
    const cg_min_region *x = &r->p->min_region[i];
    cg_str_addf(b, "%s\n    {\"n\": %d, \"regions\": {\"native\": %d, \"torch\": %d}, \"nodes\": {\"native\": %d, \"torch\": %d}, \"estimate_us\": %.3f}", i ? "," : "",
                x->n, x->regions[0], x->regions[1], x->nodes[0], x->nodes[1], x->ns / 1e3);
  }
  cg_str_add(b, "\n  ]");
  if (graph) add_imported(b, r), add_graph(b, r);
  cg_str_add(b, "\n}\n");
}
