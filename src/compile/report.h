// The report: where every node of the model ended and why, what the regions are, and what all of it costs.
#ifndef CG_COMPILE_REPORT_H
#define CG_COMPILE_REPORT_H
#include "compile/compile.h"

typedef enum { CG_PLACE_NATIVE, CG_PLACE_TORCH, CG_PLACE_HOST, CG_PLACE_GONE } cg_place; // GONE: folded into something else

typedef struct {
  const cg_fn *fn, *caller;
  bool torch;
  double estimate_ns;          // of its nodes
  double boundary_ns;          // of entering it, and of the tensors that cross
  double bytes_in, bytes_out;  // of those tensors; constants left out
  double measured_ns;          // where the report is measured: a call's, all of it
} cg_report_region;

typedef struct cg_report {
  cg_pipeline *p;
  cg_module *m;
  const char *model;           // file name
  cg_place *place;             // [m->origins.n]: where each imported node ended
  uint32_t total, native, torch, host, gone;
  CG_VEC(cg_report_region) region;
  double native_ns, torch_ns, boundary_ns; // estimated; the boundary is neither's
  bool measured;
  int rounds;
  double call_ns, measured_native_ns, measured_torch_ns; // medians of one call; the rest is the host's
} cg_report;

cg_report cg_report_make(cg_pipeline *p, cg_module *m, const char *model);
cg_report_region *cg_report_region_of(cg_report *r, const cg_fn *f); // NULL: none
void cg_report_counts(const cg_report *r, cg_plan *plan);
// The regions' steps get their estimates.
void cg_report_estimates(const cg_report *r, cg_emitter *e);

const char *cg_report_kind(const cg_node *n); // why it stayed in LibTorch, in two words: "no native kernel", "dtype", …
const char *cg_report_reason(const cg_node *n);
// One line that is never silent about what was left in LibTorch; "" where all is native.
const char *cg_report_summary(const cg_report *r);

void cg_report_text(cg_str *b, const cg_report *r);               // report_text.c
void cg_report_json(cg_str *b, const cg_report *r, bool graph);   // report_json.c; graph: every node and edge too
void cg_report_html(cg_str *b, const cg_report *r);               // report_html.c: one page that needs nothing else
#endif
