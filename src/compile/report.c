// The report: where every node of the model ended, and why it stayed in LibTorch.
#include <string.h>

#include "backend/host.h"
#include "compile/compile.h"

cg_place *cg_report_places(cg_module *m) {
  cg_place *place = CG_NEW_ARRAY(m->s, cg_place, m->origins.n + 1);
  for (int i = 0; i <= m->origins.n; i++) place[i] = CG_PLACE_GONE;
  for (int k = 0; k < m->fns.n; k++)
    for (const cg_node *n = m->fns.at[k]->first; n; n = n->next) {
      if (!n->origin || !n->backend || n->callee) continue;
      cg_place *p = &place[n->origin - 1];
      if (!strcmp(n->backend->name, "torch")) *p = CG_PLACE_TORCH; // one piece in LibTorch: the node stayed there
      else if (*p == CG_PLACE_TORCH) continue;
      else if (n->backend == &cg_backend_host) *p = *p == CG_PLACE_NATIVE ? *p : CG_PLACE_HOST;
      else *p = CG_PLACE_NATIVE;
    }
  return place;
}

typedef struct { uint32_t native, torch, host, gone, total; } counts;

static counts count(cg_module *m, const cg_place *place) {
  counts c = {.total = (uint32_t)m->origins.n};
  for (int i = 0; i < m->origins.n; i++) {
    c.native += place[i] == CG_PLACE_NATIVE;
    c.torch += place[i] == CG_PLACE_TORCH;
    c.host += place[i] == CG_PLACE_HOST;
    c.gone += place[i] == CG_PLACE_GONE;
  }
  return c;
}

void cg_report_counts(cg_module *m, cg_plan *plan) {
  counts c = count(m, cg_report_places(m));
  plan->nodes_total = c.total;
  plan->nodes_native = c.native + c.gone; // folded into constants, sizes or the kernels around them
  plan->nodes_torch = c.torch;
  plan->nodes_scalar = c.host;
}

static void place_text(cg_str *b, const cg_node *n) {
  if (n->at.file) cg_str_addf(b, "%s:%d", n->at.file, n->at.line);
  if (n->module_path && *n->module_path) cg_str_addf(b, "%s%s", n->at.file ? ", in " : "in ", n->module_path);
}

// "2 in c, 1 in LibTorch"
static void add_regions(cg_str *b, const cg_module *m) {
  const char *sep = "";
  for (int i = 0; cg_backends[i]; i++) {
    const char *name = cg_backends[i]->name;
    int n = 0;
    for (int k = 0; k < m->fns.n; k++) n += m->fns.at[k]->backend && !strcmp(m->fns.at[k]->backend, name);
    if (n) cg_str_addf(b, "%s%d in %s", sep, n, strcmp(name, "torch") ? name : "LibTorch"), sep = ", ";
  }
  if (!*sep) cg_str_add(b, "none");
}

void cg_report_text(cg_str *b, cg_module *m) {
  counts c = count(m, cg_report_places(m));
  double all = c.total ? c.total : 1;
  cg_str_addf(b, "%u nodes: %u native (%.1f %%), %u left in LibTorch (%.1f %%), %u scalars and control\n", c.total, c.native + c.gone,
              100 * (c.native + c.gone) / all, c.torch, 100 * c.torch / all, c.host);
  cg_str_add(b, "regions: ");
  add_regions(b, m);
  cg_str_addc(b, '\n');
  if (c.total && !(c.native)) cg_str_add(b, "nothing was compiled to native code: the whole program runs in LibTorch\n");
  for (int k = 0; k < m->fns.n; k++) {
    const cg_fn *f = m->fns.at[k];
    if (!f->backend || strcmp(f->backend, "torch")) continue;
    cg_str_addf(b, "\n@%s: %d nodes, %d values in, %d out\n", f->name, f->nnodes, f->param.n, f->result.n);
    for (const cg_node *n = f->first; n; n = n->next) {
      cg_str_addf(b, "  %-36s %s", n->schema->key, n->why_not ? n->why_not : "");
      cg_str_add(b, "  (");
      place_text(b, n);
      cg_str_add(b, ")\n");
    }
  }
}

static void json_text(cg_str *b, const char *t) {
  cg_str_addc(b, '"');
  for (const unsigned char *p = (const unsigned char *)(t ? t : ""); *p; p++)
    if (*p == '"' || *p == '\\') cg_str_addf(b, "\\%c", *p);
    else if (*p < 32) cg_str_addf(b, "\\u%04x", *p);
    else cg_str_addc(b, (char)*p);
  cg_str_addc(b, '"');
}

void cg_report_json(cg_str *b, cg_module *m, const char *model) {
  counts c = count(m, cg_report_places(m));
  cg_str_add(b, "{\n  \"model\": ");
  json_text(b, model);
  cg_str_addf(b, ",\n  \"nodes\": {\"total\": %u, \"native\": %u, \"torch\": %u, \"host\": %u, \"folded\": %u},\n  \"regions\": [", c.total, c.native,
              c.torch, c.host, c.gone);
  bool first = true;
  for (int k = 0; k < m->fns.n; k++) {
    const cg_fn *f = m->fns.at[k];
    if (!f->backend) continue;
    cg_str_addf(b, "%s\n    {\"name\": ", first ? "" : ",");
    json_text(b, f->name);
    cg_str_addf(b, ", \"backend\": \"%s\", \"nodes\": %d, \"inputs\": %d, \"outputs\": %d", f->backend, f->nnodes, f->param.n, f->result.n);
    first = false;
    if (!strcmp(f->backend, "torch")) {
      cg_str_add(b, ", \"left\": [");
      for (const cg_node *n = f->first; n; n = n->next) {
        cg_str_addf(b, "%s\n      {\"op\": ", n == f->first ? "" : ",");
        json_text(b, n->schema->key);
        cg_str_add(b, ", \"reason\": ");
        json_text(b, n->why_not);
        cg_str_add(b, ", \"file\": ");
        json_text(b, n->at.file);
        cg_str_addf(b, ", \"line\": %d, \"module\": ", n->at.line);
        json_text(b, n->module_path);
        cg_str_add(b, "}");
      }
      cg_str_add(b, "]");
    }
    cg_str_add(b, "}");
  }
  cg_str_add(b, "\n  ]\n}\n");
}
