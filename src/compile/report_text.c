// The report as text: what `cierge explain` prints.
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "compile/report.h"
#include "ir/text.h"
#include "pass/cost.h"

static double percent(double part, double all) { return all > 0 ? 100 * part / all : 0; }

static void add_bytes(cg_str *b, double n) {
  if (n < 10e3) cg_str_addf(b, "%.0f bytes", n);
  else if (n < 10e6) cg_str_addf(b, "%.1f kB", n / 1e3);
  else cg_str_addf(b, "%.1f MB", n / 1e6);
}

static void add_place(cg_str *b, const cg_node *n) {
  bool module = n->module_path && *n->module_path;
  if (!n->at.file && !module) return;
  cg_str_add(b, "  (");
  if (n->at.file) cg_str_addf(b, "%s:%d", n->at.file, n->at.line);
  if (module) cg_str_addf(b, "%sin %s", n->at.file ? ", " : "", n->module_path);
  cg_str_add(b, ")");
}

// "2 in c, 1 in LibTorch"
static void add_regions(cg_str *b, const cg_report *r) {
  const char *sep = "";
  for (int i = 0; cg_backends[i]; i++) {
    const char *name = cg_backends[i]->name;
    int n = 0;
    for (int k = 0; k < r->region.n; k++) n += r->region.at[k].fn->backend && !strcmp(r->region.at[k].fn->backend, name);
    if (n) cg_str_addf(b, "%s%d in %s", sep, n, strcmp(name, "torch") ? name : "LibTorch"), sep = ", ";
  }
  if (!*sep) cg_str_add(b, "none");
}

static void add_times(cg_str *b, const cg_report *r) {
  double all = r->native_ns + r->torch_ns + r->boundary_ns;
  cg_str_addf(b, "estimated time: %.1f us: %.1f %% native, %.1f %% in LibTorch, %.1f %% at the regions' boundaries\n", all / 1e3, percent(r->native_ns, all),
              percent(r->torch_ns, all), percent(r->boundary_ns, all));
  if (!r->measured) return;
  double host = r->call_ns - r->measured_native_ns - r->measured_torch_ns;
  cg_str_addf(b, "measured time: %.1f us a call: %.1f %% native, %.1f %% in LibTorch, %.1f %% in the host and the call itself (medians of %d calls)\n",
              r->call_ns / 1e3, percent(r->measured_native_ns, r->call_ns), percent(r->measured_torch_ns, r->call_ns), percent(host, r->call_ns), r->rounds);
}

// How many nodes stayed for which kind of reason, the most frequent first.
static void add_kinds(cg_str *b, const cg_report *r) {
  struct { const char *kind; int n; } all[16];
  int n = 0;
  for (int k = 0; k < r->region.n; k++)
    for (const cg_node *x = r->region.at[k].torch ? r->region.at[k].fn->first : NULL; x; x = x->next) {
      const char *kind = cg_report_kind(x);
      int i = 0;
      while (i < n && strcmp(all[i].kind, kind)) i++;
      if (i == n && n < 16) all[n].kind = kind, all[n++].n = 0;
      all[i].n++;
    }
  if (!n) return;
  cg_str_add(b, "why in LibTorch:");
  for (int left = n; left; left--) {
    int most = 0;
    for (int i = 1; i < n; i++)
      if (all[i].n > all[most].n) most = i;
    cg_str_addf(b, "%s %d × %s", left == n ? "" : ",", all[most].n, all[most].kind);
    all[most].n = -1;
  }
  cg_str_addc(b, '\n');
}

static void add_region(cg_str *b, const cg_report *r, const cg_report_region *x) {
  const cg_fn *f = x->fn;
  cg_str_addf(b, "\n@%s: %d node%s in %s", f->name, f->nnodes, f->nnodes == 1 ? "" : "s", x->torch ? "LibTorch" : f->backend);
  if (f->mode) cg_str_addf(b, ", mode %s", f->mode);
  if (f->mode_why) cg_str_addf(b, " (%s)", f->mode_why);
  cg_str_addf(b, "; %d value%s in (", f->param.n, f->param.n == 1 ? "" : "s");
  add_bytes(b, x->bytes_in);
  cg_str_addf(b, "), %d out (", f->result.n);
  add_bytes(b, x->bytes_out);
  cg_str_addf(b, "); estimated %.1f us and %.1f us for its boundary", x->estimate_ns / 1e3, x->boundary_ns / 1e3);
  if (r->measured) cg_str_addf(b, "; measured %.1f us", x->measured_ns / 1e3);
  cg_str_addc(b, '\n');
  for (const cg_node *n = x->torch ? f->first : NULL; n; n = n->next) {
    cg_str_addf(b, "  %-36s %s", n->schema ? n->schema->key : "call", cg_report_reason(n));
    add_place(b, n);
    cg_str_addc(b, '\n');
  }
}

static void add_min_regions(cg_str *b, const cg_report *r) {
  if (!r->p->mixed) return;
  cg_str_addf(b, "\n--min-region   regions: native  LibTorch   nodes: native  LibTorch   estimated time\n");
  for (int i = 0; i < CG_MIN_REGIONS; i++) {
    const cg_min_region *x = &r->p->min_region[i];
    cg_str_addf(b, "%12d %17d %9d %15d %9d %13.1f us%s\n", x->n, x->regions[0], x->regions[1], x->nodes[0], x->nodes[1], x->ns / 1e3,
                x->n == r->p->opt->min_region ? "  (given)" : "");
  }
  if (!r->p->opt->min_region) cg_str_addf(b, "%s: what stays in LibTorch above is what the cost model chose: native work moves there where that gains a quarter of what is at stake\n",
                                          r->p->opt->no_cost_drop ? "--no-cost-drop" : "without --min-region");
}

// "inputs: x f32[s0, 3], mask bool[s0]" and "sizes: s0 from 1 to 64", as --dim calls them.
static void add_inputs(cg_str *b, const cg_report *r) {
  const cg_map *all = &r->m->exprs.symbols;
  int sizes = 0;
  for (int i = 0; i < r->m->inputs.n; i++) {
    const cg_input *in = &r->m->inputs.at[i];
    cg_str_addf(b, "%s%s ", i ? ", " : "inputs: ", in->name);
    if (in->param) cg_print_type_short(b, &in->param->type);
    else cg_print_arg(b, &in->constant);
  }
  if (r->m->inputs.n) cg_str_addc(b, '\n');
  for (int i = 0; i < all->n; i++) {
    const cg_symbol *y = all->entries[i].value;
    if (y->unbacked) continue;
    cg_str_addf(b, "%s%s ", sizes++ ? ", " : "sizes: ", y->name);
    if (y->hi == INT64_MAX) cg_str_addf(b, "at least %lld", (long long)y->lo);
    else cg_str_addf(b, "from %lld to %lld", (long long)y->lo, (long long)y->hi);
  }
  if (sizes) cg_str_addc(b, '\n');
}

void cg_report_text(cg_str *b, const cg_report *r) {
  add_inputs(b, r);
  double all = r->total ? r->total : 1;
  uint32_t native = r->native + r->gone;
  cg_str_addf(b, "%u nodes: %u native (%.1f %%), %u left in LibTorch (%.1f %%), %u scalars and control\n", r->total, native, 100 * native / all, r->torch,
              100 * r->torch / all, r->host);
  cg_str_add(b, "regions: ");
  add_regions(b, r);
  cg_str_addc(b, '\n');
  add_times(b, r);
  if (*cg_report_summary(r)) cg_str_addf(b, "%s\n", cg_report_summary(r));
  add_kinds(b, r);
  for (int i = 0; i < r->p->notes.n; i++) cg_str_addf(b, "note: %s\n", r->p->notes.at[i]);
  for (int i = 0; i < r->region.n; i++)
    if (r->region.at[i].torch || r->p->mixed || r->measured) add_region(b, r, &r->region.at[i]);
  add_min_regions(b, r);
}
