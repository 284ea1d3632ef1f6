// Operators that reach beyond tensors (artifact/unsafe.h) are refused before anything else is done with a program.
#include "artifact/unsafe.h"
#include "pass/pass.h"

void cg_pass_safety(cg_pipeline *p, cg_module *m) {
  const cg_text_vec *allow = &p->opt->allow_unsafe;
  for (int k = 0; k < m->fns.n; k++)
    for (const cg_node *n = m->fns.at[k]->first; n; n = n->next) {
      const char *name = n->schema ? n->schema->name : "", *what = cg_unsafe_op(name);
      if (what && !cg_unsafe_allowed(name, allow->at, allow->n)) cg_fail_at(p->s, CIERGE_BAD_MODEL, n->at, CG_UNSAFE_TEXT, name, what, name);
    }
}
