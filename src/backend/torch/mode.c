// How LibTorch runs a region: "ops", its calls one by one, or "script", all of them as one TorchScript graph.
//
// Calls one by one are never slower: results lie in memory that is kept, and no interpreter stands between (doc/overhead.md has
// the figures). Graphs are for those who ask for them; PyTorch's optimisations of graphs are not used (plugin/torch/jit.cpp).
#include <string.h>

#include "backend/torch/lower.h"
#include "ops/op.h"

// ---------------------------------------------------------------- what a graph cannot hold

static bool unbacked(const cg_expr *x) {
  if (!x) return false;
  if (x->kind == CG_X_SYM) return x->symbol->unbacked;
  for (int i = 0; i < x->nargs; i++)
    if (unbacked(x->arg[i])) return true;
  return false;
}

static bool unbacked_arg(const cg_arg *a) {
  if (a->kind == CG_A_INT) return unbacked(a->i);
  for (int i = 0; a->kind == CG_A_LIST && i < a->list.n; i++)
    if (unbacked_arg(&a->list.at[i])) return true;
  return a->kind == CG_A_VALUE && a->value->type.kind == CG_T_INT && unbacked(a->value->type.value);
}

// A number is taken for what the schema says only by PyTorch's Python and by cierge's own calls.
static bool other_number(const cg_arg *a, cg_schema_kind want) {
  for (int i = 0; a->kind == CG_A_LIST && i < a->list.n; i++)
    if (other_number(&a->list.at[i], want)) return true;
  if (a->kind == CG_A_BOOL) return want == CG_S_SCALAR; // TorchScript's Scalar is no bool
  if (a->kind == CG_A_INT) return a->i->kind != CG_X_INT && want != CG_S_INT && want != CG_S_SCALAR;
  if (a->kind != CG_A_VALUE) return false;
  switch (a->value->type.kind) {
  case CG_T_TENSOR: return want != CG_S_TENSOR;
  case CG_T_INT: return want != CG_S_INT && want != CG_S_SCALAR;
  case CG_T_FLOAT: return want != CG_S_FLOAT && want != CG_S_SCALAR;
  case CG_T_BOOL: return want != CG_S_BOOL;
  default: return false;
  }
}

static const char *unfit_node(cg_session *s, const cg_node *n) {
  if (cg_node_is_torchop(n)) return "it calls a script of its own";
  if (cg_node_draws(n)) return "it draws random numbers, which graph passes may move";
  if (cg_node_is_op(n, "aten::view.dtype")) return "TorchScript takes no dtype for its argument";
  if (n->op && n->op->traits & CG_OP_EFFECT) return "it has an effect, which graph passes may move";
  if (!n->nresults) return "it is there for its effect";
  if (cg_node_late_input(n)) return "it takes a tensor whose dtype and sizes only the run knows";
  int lists = 0;
  for (int i = 0; i < n->schema->nrets; i++) lists += n->schema->ret[i].type.list;
  if (lists > 1) return "it gives lists whose lengths a graph cannot tell";
  for (int i = 0; i < n->nargs; i++) {
    const cg_arg *a = &n->arg[i];
    if (cg_torch_mutates(n, i)) return "it writes to an argument";
    if (cg_torch_restrides(n, a)) return "it depends on the strides that an argument had in the model";
    if (unbacked_arg(a)) return "it uses a size that appears while the region runs";
    if (i < n->schema->nargs && other_number(a, n->schema->arg[i].type.kind))
      return cg_format(s, "its argument %s is a number of another kind than its schema says", n->schema->arg[i].name);
  }
  for (int i = 0; i < n->nresults; i++) {
    const cg_type *t = &n->result[i]->type;
    if (t->kind == CG_T_TENSOR && cg_is_complex(t->dtype)) return "its result may be one that PyTorch conjugates later";
    if (t->kind == CG_T_OTHER || t->kind == CG_T_UNKNOWN || t->kind == CG_T_STR) return "it gives something that is no tensor and no number";
    if (t->kind == CG_T_LATE) return "it gives a tensor whose dtype and sizes only the run knows";
    if (unbacked(t->value)) return "it gives a number that appears while the region runs";
    for (int d = 0; t->kind == CG_T_TENSOR && d < t->rank; d++)
      if (unbacked(t->dim[d])) return "the size of its result appears while the region runs";
  }
  return NULL;
}

static const char *unfit(cg_session *s, const cg_fn *f) {
  for (const cg_node *n = f->first; n; n = n->next) {
    const char *why = unfit_node(s, n);
    if (why) return cg_format(s, "%s: %s", n->schema->key, why);
  }
  return NULL;
}

// ---------------------------------------------------------------- the choice

void cg_torch_choose_mode(cg_pipeline *p, cg_fn *f) {
  const char *asked = p->opt->torch_mode, *why;
  f->mode = "ops";
  if (!asked) return;
  if (!strcmp(asked, "ops")) f->mode_why = "the user's rule (--torch-mode ops)";
  else if ((why = unfit(p->s, f))) f->mode_why = cg_format(p->s, "a graph cannot hold %s", why);
  else f->mode = "script", f->mode_why = "the user's rule (--torch-mode script)";
}
