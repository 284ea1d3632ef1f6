// Replaces composite operators (rows of the op table with `decompose`) by simpler ones, until none is left.
#include <string.h>

#include "ops/op.h"
#include "pass/pass.h"

static bool left_to_torch(const cg_pipeline *p, const cg_node *n) {
  for (int i = 0; i < p->opt->torch_ops.n; i++)
    if (!strcmp(p->opt->torch_ops.at[i], n->schema->key)) return true;
  return false;
}

void cg_pass_decompose(cg_pipeline *p, cg_module *m) {
  if (!p->opt->native) return; // everything stays in LibTorch, which has kernels for the composites themselves
  for (int i = 0; i < m->fns.n; i++) {
    cg_fn *f = m->fns.at[i];
    for (cg_node *n = f->first, *next; n; n = next) {
      next = n->next;
      if (!n->op || !n->op->decompose || left_to_torch(p, n)) continue;
      cg_node *before = n->prev;
      if (!n->op->decompose(m, n)) continue;
      next = before ? before->next : f->first; // what came in its place may be composite too
    }
  }
}
