// Whether arguments fit a schema, types fit each other, and calls end: what the verifier and the text's parser both ask.
#include <string.h>

#include "ir/verify.h"

static bool is_number(cg_type_kind k) { return k == CG_T_INT || k == CG_T_FLOAT || k == CG_T_BOOL; }

// Values whose type is not known yet, and those of no tensor or number type, may be anything.
static bool value_fits(cg_schema_kind want, const cg_type *t) {
  if (t->kind == CG_T_UNKNOWN || t->kind == CG_T_OTHER) return true;
  if (t->kind == CG_T_LATE) return want != CG_S_STR; // LibTorch makes a number of a tensor of one
  switch (want) {
  case CG_S_TENSOR: return t->kind == CG_T_TENSOR || is_number(t->kind);
  case CG_S_INT: return t->kind == CG_T_INT || t->kind == CG_T_BOOL;
  case CG_S_FLOAT:
  case CG_S_SCALAR: return is_number(t->kind);
  case CG_S_BOOL: return t->kind == CG_T_BOOL;
  case CG_S_STR: return t->kind == CG_T_STR;
  case CG_S_ANY:
  case CG_S_OTHER: return true;
  default: return false;
  }
}

static bool is_truth(const cg_arg *a) {
  if (a->kind != CG_A_INT) return a->kind == CG_A_BOOL;
  int64_t lo, hi;
  cg_x_range(a->i, &lo, &hi);
  return !cg_x_is_int(a->i) && lo >= 0 && hi <= 1; // eq(s0, 1)
}

static bool one_fits(cg_schema_kind want, const cg_arg *a) {
  if (want == CG_S_ANY || want == CG_S_OTHER) return true;
  if (a->kind == CG_A_VALUE) return value_fits(want, &a->value->type);
  bool number = a->kind == CG_A_INT || a->kind == CG_A_FLOAT || a->kind == CG_A_BOOL;
  switch (want) {
  case CG_S_TENSOR: // PyTorch makes 0-dim tensors of Python's numbers
  case CG_S_SCALAR: return number || a->kind == CG_A_COMPLEX;
  case CG_S_INT: return a->kind == CG_A_INT || a->kind == CG_A_BOOL;
  case CG_S_FLOAT: return number;
  case CG_S_BOOL: return is_truth(a);
  case CG_S_STR: return a->kind == CG_A_STR;
  case CG_S_DTYPE: return a->kind == CG_A_DTYPE;
  case CG_S_LAYOUT: return a->kind == CG_A_LAYOUT;
  case CG_S_DEVICE: return a->kind == CG_A_DEVICE;
  case CG_S_MEMORY_FORMAT: return a->kind == CG_A_MEMORY_FORMAT;
  case CG_S_GRAPH: return a->kind == CG_A_FN;
  case CG_S_BLOB: return a->kind == CG_A_BLOB;
  default: return false; // a Generator is none
  }
}

static bool list_fits(const cg_schema_type *t, const cg_arg *a) {
  if (a->kind == CG_A_VALUE) // a list that is one value
    return a->value->type.kind == CG_T_OTHER || a->value->type.kind == CG_T_UNKNOWN || (t->list_size && one_fits(t->kind, a));
  if (a->kind != CG_A_LIST) return t->list_size && one_fits(t->kind, a); // int[2] takes 1
  for (int i = 0; i < a->list.n; i++) {
    const cg_arg *x = &a->list.at[i];
    if (x->kind == CG_A_NONE ? !t->item_optional && t->kind != CG_S_ANY && t->kind != CG_S_OTHER : !one_fits(t->kind, x)) return false;
  }
  return true;
}

const char *cg_arg_misfit(cg_session *s, const cg_schema_arg *of, const cg_arg *a) {
  const cg_schema_type *t = &of->type;
  bool fits;
  if (t->kind == CG_S_ANY || t->kind == CG_S_OTHER) return NULL;
  bool none = a->kind == CG_A_NONE || (a->kind == CG_A_VALUE && a->value->type.kind == CG_T_NONE);
  if (none) fits = t->optional || t->list_optional || (of->default_text && !strcmp(of->default_text, "None"));
  else fits = t->list ? list_fits(t, a) : one_fits(t->kind, a);
  return fits ? NULL : cg_format(s, "`%s` takes %s", of->name, t->text);
}

bool cg_results_fit(const cg_schema *c, int n) {
  int lists = 0;
  for (int i = 0; i < c->nrets; i++) lists += c->ret[i].type.list;
  if (c->variadic_rets) return n >= c->nrets - lists;
  // functionalise.c appends what a node wrote to; running statistics are written without a word in the schema
  bool clones = c->mutates || cg_schema_arg_index(c, "running_mean") >= 0;
  return lists || clones ? n >= c->nrets - lists : n == c->nrets;
}

const char *cg_type_misfit(const cg_type *have, const cg_type *want) {
  if (have->kind == CG_T_UNKNOWN || want->kind == CG_T_UNKNOWN) return NULL;
  if (have->kind != want->kind) return "another kind of type";
  if (have->kind != CG_T_TENSOR) return NULL;
  if (have->dtype != want->dtype) return "another dtype";
  if (have->rank != want->rank) return "another number of dimensions";
  for (int i = 0; i < have->rank; i++)
    if (have->dim[i] != want->dim[i] && cg_x_is_int(have->dim[i]) && cg_x_is_int(want->dim[i])) return "another size";
  return NULL;
}

const char *cg_reshape_misfit(const cg_fn *f, const cg_update *u) {
  const cg_type *from = &u->target->type, *to = &u->value->type;
  if (f != f->module->main) return "only @main reshapes what its caller gave";
  if (u->target->constant || u->target->def) return "only parameters can be reshaped";
  for (int i = 0; i < f->update.n; i++) {
    const cg_update *o = &f->update.at[i];
    if (o != u && o->kind == CG_UPDATE_RESHAPE && o->target == u->target) return "this parameter is reshaped already";
  }
  if (from->kind == CG_T_UNKNOWN || to->kind == CG_T_UNKNOWN) return NULL;
  if (from->kind != CG_T_TENSOR || to->kind != CG_T_TENSOR) return "only tensors have a shape";
  return from->dtype == to->dtype ? NULL : "a parameter keeps its dtype";
}

// ---------------------------------------------------------------- recursion

typedef struct {
  const cg_module *m;
  unsigned char *state; // [fns]: 0 not seen, 1 being walked, 2 done
  const cg_fn *found;
} walk;

static int index_of(const cg_module *m, const cg_fn *f) {
  for (int i = 0; i < m->fns.n; i++)
    if (m->fns.at[i] == f) return i;
  return -1;
}

static void walk_fn(walk *w, const cg_fn *f, int depth);

static void walk_arg(walk *w, const cg_arg *a, int depth) {
  if (a->kind == CG_A_FN) walk_fn(w, a->fn, depth);
  else if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) walk_arg(w, &a->list.at[i], depth);
}

// Chains of calls longer than any sane program's count as recursion: everybody who walks calls recurses in C.
static void walk_fn(walk *w, const cg_fn *f, int depth) {
  int i = index_of(w->m, f);
  if (i < 0 || w->found || w->state[i] == 2) return;
  if (w->state[i] == 1 || depth > 256) {
    w->found = f;
    return;
  }
  w->state[i] = 1;
  for (const cg_node *n = f->first; n; n = n->next) {
    if (n->callee) walk_fn(w, n->callee, depth + 1);
    for (int k = 0; k < n->nargs; k++) walk_arg(w, &n->arg[k], depth + 1);
  }
  w->state[i] = 2;
}

const cg_fn *cg_recursive_fn(const cg_module *m) {
  walk w = {.m = m, .state = cg_alloc(m->s, (size_t)m->fns.n + 1)};
  for (int i = 0; i < m->fns.n; i++) walk_fn(&w, m->fns.at[i], 0);
  return w.found;
}
