// Graphs that torch.no_grad() and the like wrap become part of the function around them: gradients are not recorded here,
// and what such a graph writes to is the function's. Those of torch.autocast get its casts (autocast.c).
#include <string.h>

#include "pass/alias.h"

// Where the wrapped graph is among n's arguments, its inputs right behind it; -1: n wraps nothing.
static int wrapped(const cg_node *n) {
  if (!n->schema) return -1;
  if (!strcmp(n->schema->key, "higher_order.wrap_with_set_grad_enabled")) return 1;
  return strcmp(n->schema->key, "higher_order.wrap_with_autocast") ? -1 : 4;
}

// What n, a wrapper, changes about the nodes of g: the autocast of another device does nothing to tensors here.
static void apply(cg_module *m, const cg_node *n, cg_fn *g) {
  const cg_arg *device = cg_node_arg(n, "device_type"), *dtype = cg_node_arg(n, "dtype"), *enabled = cg_node_arg(n, "enabled");
  if (!device || device->kind != CG_A_STR || device->str.n != 3 || memcmp(device->str.text, "cpu", 3)) return;
  if (enabled->kind != CG_A_BOOL) cg_fail_at(m->s, CIERGE_BAD_MODEL, n->at, "%s: whether it is enabled is not known", n->schema->key);
  cg_dtype lower = dtype->kind == CG_A_DTYPE ? dtype->dtype : CG_BF16;
  if (!enabled->b) return;
  if (lower != CG_BF16 && lower != CG_F16)
    cg_fail_at(m->s, CIERGE_BAD_MODEL, n->at, "%s: the CPU's autocast knows bfloat16 and float16, not %s", n->schema->key, cg_dtypes[lower].torch_name);
  cg_autocast(m, g, lower);
}

static int uses_of(const cg_module *m, const cg_fn *f) {
  int count = 0;
  for (int i = 0; i < m->fns.n; i++)
    for (const cg_node *n = m->fns.at[i]->first; n; n = n->next) {
      count += n->callee == f;
      for (int k = 0; k < n->nargs; k++) count += n->arg[k].kind == CG_A_FN && n->arg[k].fn == f;
    }
  return count;
}

static void substitute(cg_arg *a, const cg_value *from, const cg_arg *to) {
  if (a->kind == CG_A_VALUE && a->value == from) *a = *to;
  else if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) substitute(&a->list.at[i], from, to);
}

static void substitute_all(cg_fn *f, const cg_value *from, const cg_arg *to) {
  for (cg_node *n = f->first; n; n = n->next)
    for (int i = 0; i < n->nargs; i++) substitute(&n->arg[i], from, to);
  for (int i = 0; i < f->result.n; i++) substitute(&f->result.at[i], from, to);
}

static void drop_fn(cg_module *m, const cg_fn *f) {
  int k = 0;
  for (int i = 0; i < m->fns.n; i++)
    if (m->fns.at[i] != f) m->fns.at[k++] = m->fns.at[i];
  m->fns.n = k;
}

// The first of the nodes that took n's place, or the one behind it.
static cg_node *inline_node(cg_module *m, cg_node *n, int at) {
  cg_fn *f = n->fn, *g = n->arg[at].kind == CG_A_FN ? n->arg[at].fn : NULL;
  if (!g || g->param.n != n->nargs - at - 1 || g->result.n != n->nresults || g->update.n || uses_of(m, g) != 1)
    cg_fail_at(m->s, CIERGE_BAD_MODEL, n->at, "%s: its graph does not fit its arguments and results, or is shared", cg_node_text(m->s, n));
  apply(m, n, g);
  for (int i = 0; i < g->param.n; i++) substitute_all(g, g->param.at[i], &n->arg[at + 1 + i]);
  cg_node *first = g->first ? g->first : n->next;
  while (g->first) {
    cg_node *moved = g->first;
    cg_node_move(moved, n);
    for (int i = 0; i < moved->nresults; i++) cg_value_rename(m, moved->result[i], cg_fresh_name(m, moved->result[i]->name));
  }
  for (int i = 0; i < n->nresults; i++) {
    if (g->result.at[i].kind == CG_A_VALUE) cg_replace_uses(f, n->result[i], g->result.at[i].value); // updates too
    else substitute_all(f, n->result[i], &g->result.at[i]);
  }
  cg_node_remove(n);
  drop_fn(m, g);
  return first;
}

void cg_inline_wrappers(cg_module *m) {
  for (int i = 0; i < m->fns.n; i++) {
    cg_fn *f = m->fns.at[i];
    for (cg_node *n = f->first, *next; n; n = next) {
      next = n->next;
      int at = wrapped(n);
      if (at < 0 || at >= n->nargs) continue;
      next = inline_node(m, n, at);
      for (i = 0; m->fns.at[i] != f; i++) {} // the list got shorter
    }
  }
}
