// Replacing values while a pass walks over a function, in time that is linear in the function: what stands for a value is noted
// where it lies (value->data), and put into a node's arguments when the walk comes to them.
#include "ir/ir.h"

static void forget(cg_value *v, void *u) { (void)u, v->data = NULL; }

void cg_replace_begin(cg_fn *f) {
  for (int i = 0; i < f->param.n; i++) f->param.at[i]->data = NULL;
  for (cg_node *n = f->first; n; n = n->next) {
    cg_node_each_input(n, forget, NULL);
    for (int i = 0; i < n->nresults; i++) n->result[i]->data = NULL;
  }
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], forget, NULL);
  for (int i = 0; i < f->update.n; i++) f->update.at[i].value->data = NULL;
}

void cg_replace(cg_module *m, cg_value *v, cg_arg by) {
  v->data = CG_NEW(m->s, cg_arg);
  *(cg_arg *)v->data = by;
}

static void replace_in(cg_arg *a) {
  while (a->kind == CG_A_VALUE && a->value->data) *a = *(const cg_arg *)a->value->data;
  for (int i = 0; a->kind == CG_A_LIST && i < a->list.n; i++) replace_in(&a->list.at[i]);
}

void cg_replace_in(cg_node *n) {
  for (int i = 0; i < n->nargs; i++) replace_in(&n->arg[i]);
}

void cg_replace_end(cg_fn *f) {
  for (int i = 0; i < f->result.n; i++) replace_in(&f->result.at[i]);
  for (int i = 0; i < f->update.n; i++) { // the target is a place, not a use
    cg_arg a = cg_a_value(f->update.at[i].value);
    replace_in(&a);
    if (a.kind == CG_A_VALUE) f->update.at[i].value = a.value;
  }
}
