// The study as a table for the terminal, and as JSON.
#include <math.h>
#include <string.h>

#include "cli/study.h"

static const char *const what[CG_STUDY_KINDS] = {"native", "whole model", "each alone", "merged", "first ones"};

void cg_study_table(cg_str *b, const cg_study *y) {
  cg_str_addf(b, "%s: %d nodes; medians of %d interleaved rounds, as ratios to the native program's\n\n", y->model, y->total, y->rounds);
  cg_str_addf(b, "%-12s %-7s %6s %8s %8s %11s %24s %8s %11s\n", "offloaded", "mode", "nodes", "regions", "tensors", "us a call", "quartiles", "÷ native", " difference");
  for (int i = 0; i < y->point.n; i++) {
    const cg_study_point *x = &y->point.at[i];
    cg_str_addf(b, "%-12s %-7s %6d %8d %8d %11.2f %11.2f … %10.2f %8.3f %11.1e\n", what[x->kind], x->mode, x->nodes, x->regions, x->tensors, x->median / 1e3, x->low / 1e3,
                x->high / 1e3, x->of_native, x->difference);
  }
  for (int i = 0; i < y->line.n; i++) cg_str_addf(b, "%-45s %11.2f %24s %8.3f\n", y->line.at[i].name, y->line.at[i].of_native * y->point.at[0].median / 1e3, "", y->line.at[i].of_native);
  for (int i = 0; i < y->fit.n; i++) {
    const cg_study_fit *f = &y->fit.at[i];
    cg_str_addf(b, "\n%s: ", f->mode);
    if (!f->terms) cg_str_add(b, "too few points that differ for a fit");
    else {
      static const char *const names[CG_FIT_TERMS] = {"", "region", "node", "tensor"};
      cg_str_addf(b, "us = %.2f", f->cost[0] / 1e3);
      for (int k = 1; k < CG_FIT_TERMS; k++)
        if (f->terms >> k & 1) cg_str_addf(b, " + %.3f (± %.3f) a %s", f->cost[k] / 1e3, f->error[k] / 1e3, names[k]);
      cg_str_addf(b, "   R² %.4f, residuals %.2f us, %d points", f->r2, f->rms / 1e3, f->points);
    }
    if (f->pairs) cg_str_addf(b, "\n%s: the same nodes cut into one region more: %.3f us, its tensors included (%d pairs)", f->mode, f->boundary / 1e3, f->pairs);
  }
  cg_str_add(b, "\n");
}

// ---------------------------------------------------------------- JSON

static void add_fit(cg_str *b, const cg_study_fit *f) {
  static const char *const names[CG_FIT_TERMS] = {"base_us", "region_us", "node_us", "tensor_us"};
  cg_str_addf(b, "{\"mode\": \"%s\", \"points\": %d", f->mode, f->points);
  for (int t = 0; f->terms && t < CG_FIT_TERMS; t++) cg_str_addf(b, ", \"%s\": %.4f, \"%s_error\": %.4f", names[t], f->cost[t] / 1e3, names[t], f->error[t] / 1e3);
  if (f->terms) cg_str_addf(b, ", \"r2\": %.5f, \"residual_us\": %.4f", f->r2, f->rms / 1e3);
  if (f->pairs) cg_str_addf(b, ", \"boundary_us\": %.4f, \"pairs\": %d", f->boundary / 1e3, f->pairs);
  cg_str_addc(b, '}');
}

void cg_study_json(cg_str *b, const cg_study *y) {
  cg_str_add(b, "{\n  \"model\": ");
  cg_str_add_json(b, y->model);
  cg_str_addf(b, ",\n  \"nodes\": %d, \"threads\": %d, \"rounds\": %d,\n  \"points\": [", y->total, y->threads, y->rounds);
  for (int i = 0; i < y->point.n; i++) {
    const cg_study_point *x = &y->point.at[i];
    cg_str_addf(b, "%s\n    {\"kind\": \"%s\", \"mode\": \"%s\", \"asked\": %d, \"nodes\": %d, \"regions\": %d, \"tensors\": %d, \"us\": %.4f, \"low_us\": %.4f, \"high_us\": %.4f, \"of_native\": %.5f, \"difference\": ",
                i ? "," : "", cg_study_kinds[x->kind], x->mode, x->asked, x->nodes, x->regions, x->tensors, x->median / 1e3, x->low / 1e3, x->high / 1e3, x->of_native);
    if (isfinite(x->difference)) cg_str_addf(b, "%.3e}", x->difference);
    else cg_str_add(b, "null}");
  }
  cg_str_add(b, "\n  ],\n  \"lines\": [");
  for (int i = 0; i < y->line.n; i++) {
    cg_str_add(b, i ? ", {\"name\": " : "{\"name\": ");
    cg_str_add_json(b, y->line.at[i].name);
    cg_str_addf(b, ", \"of_native\": %.5f}", y->line.at[i].of_native);
  }
  cg_str_add(b, "],\n  \"fit\": [");
  for (int i = 0; i < y->fit.n; i++) {
    cg_str_add(b, i ? ",\n    " : "\n    ");
    add_fit(b, &y->fit.at[i]);
  }
  cg_str_add(b, "\n  ]\n}\n");
}
