// Replaces composite operators (rows of the op table with `decompose`) by simpler ones, until none is left.
#include "ops/op.h"
#include "pass/steer.h"

// LibTorch has kernels for the composites themselves: what stays there stays as it is.
static bool wanted(cg_pipeline *p, const cg_node *n) {
  if (!n->op || !n->op->decompose) return false;
  return n->op->traits & CG_OP_PYTHON || (p->opt->native && !cg_steer_rule(p, n) && !cg_node_late_input(n));
}

void cg_pass_decompose(cg_pipeline *p, cg_module *m) {
  for (int i = 0; i < m->fns.n; i++) {
    cg_fn *f = m->fns.at[i];
    cg_replace_begin(f);
    cg_fn_count_uses(f);
    for (cg_node *n = f->first, *next; n; n = next) {
      next = n->next;
      cg_replace_in(n);
      if (!wanted(p, n)) continue;
      cg_node *before = n->prev;
      if (!n->op->decompose(m, n)) continue;
      next = before ? before->next : f->first; // what came in its place may be composite too
    }
    cg_replace_end(f);
  }
}
