// torchop's scripts: what each of them writes to, keeps and draws is asked of LibTorch before anything else, so that all passes know.
#include "ops/op.h"
#include "pass/pass.h"

static void ask(cg_pipeline *p, cg_module *m, const cg_node *n) {
  const cg_blob *b = n->arg[0].blob;
  if (!b->data) cg_fail_at(p->s, CIERGE_BAD_MODEL, n->at, "the bytes of @%s (%s) are not there", b->name, b->hash);
  if (!p->torch)
    cg_fail_at(p->s, CIERGE_MISSING, n->at, "LibTorch is needed to compile a torchop, and is not to be had: what its script writes to and keeps is read there");
  const char *why = p->torch->script(p->torch, m, n);
  if (why) cg_fail_at(p->s, CIERGE_BAD_MODEL, n->at, "@%s: %s", b->name, why);
}

void cg_pass_scripts(cg_pipeline *p, cg_module *m) {
  for (int k = 0; k < m->fns.n; k++)
    for (const cg_node *n = m->fns.at[k]->first; n; n = n->next)
      if (cg_node_is_torchop(n)) ask(p, m, n);
}
