// Operators that reach beyond tensors (artifact/unsafe.h) are refused before anything else is done with a program: all of them at once,
// each where it stands first.
#include "artifact/unsafe.h"
#include "base/str.h"
#include "pass/pass.h"

_Noreturn static void refuse(cg_session *s, const cg_map *found) {
  cg_str what = cg_str_new(s), names = cg_str_new(s);
  for (int i = 0; i < found->n; i++) {
    const cg_node *n = found->entries[i].value;
    const char *name = n->schema->name;
    if (i) cg_str_addf(&what, ", %s:%d:%d: ", n->at.file ? n->at.file : "", n->at.line, n->at.col);
    cg_str_addf(&what, "%s %s", name, cg_unsafe_op(name));
    cg_str_addf(&names, "%s%s", i ? "," : "", name);
  }
  const cg_node *first = found->entries[0].value;
  cg_fail_at(s, CIERGE_BAD_MODEL, first->at, CG_UNSAFE_TEXT, cg_str_text(&what), cg_str_text(&names), found->n > 1 ? "them" : "it");
}

void cg_pass_safety(cg_pipeline *p, cg_module *m) {
  const cg_text_vec *allow = &p->opt->allow_unsafe;
  cg_map found = {0};
  for (int k = 0; k < m->fns.n; k++)
    for (cg_node *n = m->fns.at[k]->first; n; n = n->next) {
      const char *name = n->schema ? n->schema->name : "";
      if (cg_unsafe_op(name) && !cg_unsafe_allowed(name, allow->at, allow->n) && !cg_map_has(&found, name)) cg_map_set(p->s, &found, name, n);
    }
  if (found.n) refuse(p->s, &found);
}
