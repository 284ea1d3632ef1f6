// Removes what changes nothing: identities, expressions computed twice, and nodes that nobody uses.
// Values are immutable after functionalise, so copies are identities, whatever memory PyTorch would use.
#include <string.h>

#include "ir/text.h"
#include "ops/op.h"
#include "pass/pass.h"

static unsigned traits(const cg_node *n) { return n->op ? n->op->traits : 0; }

// Nodes with an effect beyond their results. An operator that the table does not know is pure unless its schema
// says that it mutates, returns nothing, or may draw random numbers.
static bool has_effect(const cg_node *n) {
  if (!n->schema) return true; // a call
  if (traits(n) & CG_OP_OPAQUE) return cg_node_has_effect(n) || cg_node_draws(n);
  if (traits(n) & CG_OP_EFFECT || cg_node_draws(n)) return true;
  return n->nresults == 0 || n->schema->mutates || !strncmp(n->schema->key, "higher_order.", 13) ||
         strncmp(n->schema->key, "aten::", 6) != 0; // a custom operator may do anything
}

// ---------------------------------------------------------------- identities

// Operators whose first result is their first argument whenever its type is the same.
static const char *const identities[] = {
    "aten::alias", "aten::detach", "aten::clone", "aten::contiguous", "aten::lift_fresh_copy", "aten::lift_fresh",
    "aten::expand", "aten::view", "aten::reshape", "aten::_unsafe_view", "aten::to.dtype", "aten::to.dtype_layout",
    "aten::to.device", "aten::to.other", "aten::to.prim_Device", "aten::_to_copy", "aten::type_as", "aten::expand_as", "aten::view_as", "aten::reshape_as",
    "aten::flatten.using_ints", "aten::squeeze", "aten::squeeze.dim", "aten::squeeze.dims", "aten::detach_copy", "aten::alias_copy",
    "aten::broadcast_to", "aten::positive", "aten::resolve_conj", "aten::resolve_neg", "aten::_conj_physical", "aten::ravel", "aten::permute",
};

static bool is_identity(const cg_node *n) {
  if (n->nresults != 1 || !n->nargs || !n->schema) return false;
  bool listed = false;
  for (size_t i = 0; i < sizeof identities / sizeof *identities && !listed; i++) listed = !strcmp(n->schema->key, identities[i]);
  cg_value *x = listed ? cg_arg_tensor(&n->arg[0]) : NULL;
  if (!x || !cg_type_equal(&x->type, &n->result[0]->type)) return false;
  if (x->type.kind != CG_T_TENSOR) return false;
  if (!strcmp(n->schema->key, "aten::_conj_physical") && cg_is_complex(x->type.dtype)) return false;
  if (!strcmp(n->schema->key, "aten::permute"))
    for (int i = 0; i < x->type.rank; i++) {
      int64_t d;
      if (!cg_arg_int_const(cg_arg_list_at(&n->arg[1], i), &d) || (d != i && d + x->type.rank != i)) return false;
    }
  return true;
}

// Whose recorded layout a stride-sensitive node looks at: values with mark set.
static void mark(cg_value *v, void *u) { v->mark = *(int *)u; }

static void mark_laid_out(cg_fn *f) {
  int is = 0;
  for (cg_node *n = f->first; n; n = n->next) {
    cg_node_each_input(n, mark, &is);
    for (int i = 0; i < n->nresults; i++) n->result[i]->mark = 0;
  }
  is = 1;
  for (cg_node *n = f->first; n; n = n->next)
    if (traits(n) & CG_OP_STRIDE_SENSITIVE) cg_node_each_input(n, mark, &is);
}

static bool same_text(cg_session *s, const cg_type *a, const cg_type *b) {
  cg_str x = cg_str_new(s), y = cg_str_new(s);
  cg_print_type(&x, a), cg_print_type(&y, b);
  return !strcmp(cg_str_text(&x), cg_str_text(&y));
}

static void remove_identities(cg_fn *f) {
  cg_replace_begin(f);
  mark_laid_out(f);
  for (cg_node *n = f->first, *next; n; n = next) {
    next = n->next;
    cg_replace_in(n);
    if (!is_identity(n)) continue;
    if (n->result[0]->mark && !same_text(f->module->s, &n->result[0]->type, &cg_arg_tensor(&n->arg[0])->type)) continue;
    cg_replace(f->module, n->result[0], n->arg[0]);
    cg_node_remove(n);
  }
  cg_replace_end(f);
}

// ---------------------------------------------------------------- common subexpressions

// What two nodes share that compute the same. Sizes are interned: the number of one stands for it, its text may be long.
static void add_size(cg_str *key, const cg_expr *e) { cg_str_addf(key, "#%d", e->id); }

static void add_argument(cg_str *key, const cg_arg *a) {
  if (a->kind == CG_A_INT) add_size(key, a->i);
  else if (a->kind != CG_A_LIST) cg_print_arg(key, a);
  else {
    cg_str_addc(key, '[');
    for (int i = 0; i < a->list.n; i++) add_argument(key, &a->list.at[i]), cg_str_addc(key, ',');
    cg_str_addc(key, ']');
  }
}

static void add_type(cg_str *key, const cg_type *t) {
  if (t->kind != CG_T_TENSOR) return cg_print_type(key, t);
  cg_str_addf(key, "%s[", cg_dtypes[t->dtype].text);
  for (int i = 0; i < t->rank; i++) add_size(key, t->dim[i]);
  cg_str_addc(key, '|');
  for (int i = 0; t->stride && i < t->rank; i++) add_size(key, t->stride[i]);
  if (t->offset) cg_str_addc(key, '@'), add_size(key, t->offset);
  cg_str_addc(key, ']');
}

static void merge_equal(cg_pipeline *p, cg_fn *f) {
  cg_map seen = {0};
  cg_replace_begin(f);
  for (cg_node *n = f->first, *next; n; n = next) {
    next = n->next;
    cg_replace_in(n);
    if (has_effect(n) || (traits(n) & (CG_OP_NONDETERMINISTIC_VALUES | CG_OP_OPAQUE))) continue;
    cg_str key = cg_str_new(p->s);
    cg_str_add(&key, n->schema->key);
    for (int i = 0; i < n->nargs; i++) {
      cg_str_addc(&key, '|');
      add_argument(&key, &n->arg[i]);
    }
    for (int i = 0; i < n->nresults; i++) add_type(&key, &n->result[i]->type);
    cg_node *first = cg_map_get(&seen, cg_str_text(&key));
    if (!first) {
      cg_map_set(p->s, &seen, cg_str_text(&key), n);
      continue;
    }
    for (int i = 0; i < n->nresults; i++) cg_replace(f->module, n->result[i], cg_a_value(first->result[i]));
    cg_node_remove(n);
  }
  cg_replace_end(f);
}

// ---------------------------------------------------------------- dead code

static bool speaks_of(const cg_arg *a, const cg_symbol *y) {
  if (a->kind == CG_A_INT) return cg_x_has_symbol(a->i, y);
  for (int i = 0; a->kind == CG_A_LIST && i < a->list.n; i++)
    if (speaks_of(&a->list.at[i], y)) return true;
  return false;
}

static bool is_used(const cg_module *m, const cg_symbol *y) {
  for (int k = 0; k < m->fns.n; k++) {
    const cg_fn *f = m->fns.at[k];
    for (const cg_node *n = f->first; n; n = n->next)
      for (int i = 0; i < n->nargs; i++)
        if (speaks_of(&n->arg[i], y)) return true;
    for (int i = 0; i < f->result.n; i++)
      if (speaks_of(&f->result.at[i], y)) return true;
  }
  return false;
}

static bool shows(const cg_node *n, const cg_symbol *y) {
  for (int i = 0; i < n->nresults; i++) {
    const cg_type *t = &n->result[i]->type;
    if (t->value && cg_x_has_symbol(t->value, y)) return true;
    for (int d = 0; t->kind == CG_T_TENSOR && d < t->rank; d++)
      if (cg_x_has_symbol(t->dim[d], y)) return true;
  }
  return false;
}

static bool defines(const cg_node *n, const cg_expr *x) {
  if (x && x->kind == CG_X_EQ) x = x->arg[x->arg[0]->kind != CG_X_SYM]; // a bool is `u0 == 1`
  if (!x || x->kind != CG_X_SYM || !x->symbol->unbacked || !is_used(n->fn->module, x->symbol)) return false;
  for (const cg_node *before = n->fn->first; before != n; before = before->next)
    if (shows(before, x->symbol)) return false;
  return true;
}

// Nobody uses its results, but a size that it is the first to show: u0 of `nonzero(x)`, in an assertion, say.
static bool defines_used_symbol(const cg_node *n) {
  for (int i = 0; i < n->nresults; i++) {
    const cg_type *t = &n->result[i]->type;
    if (defines(n, t->value)) return true;
    for (int d = 0; t->kind == CG_T_TENSOR && d < t->rank; d++)
      if (defines(n, t->dim[d])) return true;
  }
  return false;
}

static void uncount(cg_value *v, void *u) { (void)u, v->mark--; }

void cg_remove_dead(cg_fn *f) {
  cg_fn_count_uses(f);
  for (cg_node *n = f->last, *prev; n; n = prev) {
    prev = n->prev;
    bool used = has_effect(n);
    for (int i = 0; i < n->nresults && !used; i++) used = n->result[i]->mark > 0;
    if (used || defines_used_symbol(n)) continue;
    cg_node_each_input(n, uncount, NULL);
    cg_node_remove(n);
  }
}

void cg_pass_simplify(cg_pipeline *p, cg_module *m) {
  for (int k = 0; k < m->fns.n; k++) {
    cg_fn *f = m->fns.at[k];
    remove_identities(f);
    merge_equal(p, f);
    cg_remove_dead(f);
  }
}
