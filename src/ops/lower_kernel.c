// Operators with a kernel of their own: which template of the backend computes them.
#include "ops/rules.h"

static const char *kernel(te_compute *out, const char *name) {
  out->kind = TE_KERNEL;
  out->kernel = name;
  return NULL;
}

const char *cg_lower_matmul(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "matmul"); }
const char *cg_lower_conv(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "conv"); }
const char *cg_lower_attention(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "attention"); }
const char *cg_lower_scan(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "scan"); }
const char *cg_lower_sort(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "sort"); }
const char *cg_lower_topk(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "topk"); }
const char *cg_lower_scatter(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, kernel(out, "scatter"); }
