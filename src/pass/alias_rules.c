// Whether an operator's result shares memory with an argument. Schemas say where it may (Tensor(a)); for operators that
// copy only if they must (reshape, contiguous, to), the recorded strides tell what they did; some say nothing and share.
#include <string.h>

#include "pass/alias.h"

typedef enum { NO, YES, MAYBE } answer;

// Whether the tensor lies in C order, so that any reshape of it is a view. A size of 1 may have any stride.
// *holds: on what a NO depends (a size of 1 may have any stride).
static answer c_order(const cg_type *t, cg_expr_pool *pool, const cg_expr **holds) {
  if (t->kind != CG_T_TENSOR) return MAYBE;
  if (!t->stride) return YES;
  const cg_expr *n = cg_x_int(pool, 1);
  int64_t hint = 1;
  answer a = YES;
  for (int i = 0; i < t->rank; i++)
    if (cg_x_is(t->dim[i], 0)) return YES;
  for (int i = t->rank - 1; i >= 0; i--) {
    if (!cg_x_is(t->dim[i], 1) && t->stride[i] != n) {
      bool unbacked = cg_x_has_unbacked(t->stride[i]) || cg_x_has_unbacked(n);
      // what differs in the example that was exported was no C order then, and export chose by that
      if (!unbacked && cg_x_sample(t->stride[i]) != hint && cg_x_sample(t->dim[i]) != 1) {
        const cg_expr *differ = cg_x_op(pool, CG_X_NE, 2, (const cg_expr *[]){t->stride[i], n});
        const cg_expr *several = cg_x_op(pool, CG_X_NE, 2, (const cg_expr *[]){t->dim[i], cg_x_int(pool, 1)});
        *holds = cg_x_op(pool, CG_X_AND, 2, (const cg_expr *[]){differ, several});
        return NO;
      }
      a = MAYBE;
    }
    n = cg_x_mul(pool, n, t->dim[i]);
    if (__builtin_mul_overflow(hint, cg_x_sample(t->dim[i]), &hint)) return MAYBE;
  }
  return a;
}

// The same geometry: what copies only if it must did not copy.
static bool same_strides(const cg_type *a, const cg_type *b, cg_expr_pool *pool) {
  if (a->kind != CG_T_TENSOR || b->kind != CG_T_TENSOR || a->rank != b->rank) return false;
  const cg_expr *zero = cg_x_int(pool, 0);
  if ((a->offset ? a->offset : zero) != (b->offset ? b->offset : zero)) return false;
  const cg_expr *n = cg_x_int(pool, 1);
  for (int i = a->rank - 1; i >= 0; i--) {
    const cg_expr *x = a->stride ? a->stride[i] : n, *y = b->stride ? b->stride[i] : n;
    if (x != y && !cg_x_is(a->dim[i], 1)) return false;
    n = cg_x_mul(pool, n, a->dim[i]);
  }
  return true;
}

// ---------------------------------------------------------------- Operators that copy only if they must

static bool flag(const cg_node *n, const char *name, bool otherwise) {
  const cg_arg *a = cg_node_arg(n, name);
  return a && a->kind == CG_A_BOOL ? a->b : otherwise;
}

static cg_sharing reshaped(const cg_type *from, const cg_type *to, cg_expr_pool *pool) {
  const cg_expr *holds;
  answer in = c_order(from, pool, &holds), out = c_order(to, pool, &holds);
  if (in == YES || out == NO || (to->kind == CG_T_TENSOR && to->offset)) return CG_ALIAS; // a copy is in C order, without an offset
  return in == NO && out == YES ? CG_NO_ALIAS : CG_MAYBE_ALIAS;
}

static cg_sharing converted(const cg_node *n, const cg_type *from, const cg_type *to, cg_expr_pool *pool) {
  if (from->kind != CG_T_TENSOR || to->kind != CG_T_TENSOR) return CG_MAYBE_ALIAS;
  const cg_arg *f = cg_node_arg(n, "memory_format");
  if (from->dtype != to->dtype || flag(n, "copy", false)) return CG_NO_ALIAS;
  bool preserve = !f || f->kind != CG_A_MEMORY_FORMAT || f->memory_format == 1;
  return preserve || same_strides(from, to, pool) ? CG_SELF : CG_NO_ALIAS;
}

static cg_sharing raveled(const cg_type *from, cg_expr_pool *pool) {
  const cg_expr *holds;
  answer in = c_order(from, pool, &holds);
  return in == YES ? CG_ALIAS : in == NO ? CG_NO_ALIAS : CG_MAYBE_ALIAS;
}

static cg_sharing contiguous(const cg_node *n, const cg_type *from, const cg_type *to, cg_expr_pool *pool) {
  const cg_arg *f = cg_node_arg(n, "memory_format");
  if (f && f->kind == CG_A_MEMORY_FORMAT && f->memory_format != 0) return same_strides(from, to, pool) ? CG_SELF : CG_NO_ALIAS;
  const cg_expr *holds;
  answer in = c_order(from, pool, &holds);
  return in == YES ? CG_SELF : in == NO ? CG_NO_ALIAS : CG_MAYBE_ALIAS;
}

static cg_sharing of_complex(const cg_type *from, cg_sharing how) { // a real tensor is given back as it is
  if (from->kind != CG_T_TENSOR) return CG_MAYBE_ALIAS;
  return cg_is_complex(from->dtype) ? how : CG_SELF;
}

static bool drops_nothing(const cg_node *n) {
  const cg_arg *p = cg_node_arg(n, "p");
  double v;
  return p && cg_arg_double(p, &v) && v == 0;
}

// Whether an einsum of one operand sums: a letter of it is missing behind the arrow, or where there is none stands twice.
static bool sums(const cg_arg *equation) {
  if (equation->kind != CG_A_STR) return false;
  const char *text = equation->str.text, *arrow = strstr(text, "->");
  for (const char *p = text; *p && p != arrow; p++)
    if (((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')) && (arrow ? !strchr(arrow, *p) : strchr(p + 1, *p) != NULL)) return true;
  return false;
}

static cg_sharing same_sizes(const cg_type *from, const cg_type *to) { // then there is nothing to sum
  if (from->kind != CG_T_TENSOR || to->kind != CG_T_TENSOR) return CG_MAYBE_ALIAS;
  if (from->rank != to->rank) return CG_NO_ALIAS;
  cg_sharing how = CG_SELF;
  for (int i = 0; i < from->rank; i++) {
    if (from->dim[i] == to->dim[i]) continue;
    if (cg_x_is_int(from->dim[i]) && cg_x_is_int(to->dim[i])) return CG_NO_ALIAS;
    how = CG_MAYBE_ALIAS;
  }
  return how;
}

typedef enum { ALWAYS, SAME, SELF, RESHAPE, RAVEL, CONTIGUOUS, CONVERT, IF_COMPLEX, RESOLVE, UNLESS_TRAINING, IF_REAL, SUM_TO, ONE, VIEW_OF_ONE } rule;

static const struct {
  const char *name; // without overload
  rule rule;
  int silent;       // its schema says nothing of sharing: 1 + the argument that it may give back
} rules[] = {
    {"aten::reshape", RESHAPE, 0}, {"aten::reshape_as", RESHAPE, 0}, {"aten::flatten", RESHAPE, 0}, {"aten::ravel", RAVEL, 0},
    {"aten::contiguous", CONTIGUOUS, 0}, {"aten::to", CONVERT, 0}, {"aten::type_as", CONVERT, 1}, {"aten::alias", SAME, 0},
    {"aten::detach", SAME, 0}, {"aten::lift_fresh", SELF, 0}, {"aten::positive", SELF, 0}, {"aten::resolve_conj", RESOLVE, 0},
    {"aten::resolve_neg", RESOLVE, 0}, {"aten::conj", IF_COMPLEX, 0}, {"aten::real", IF_COMPLEX, 0}, {"aten::dropout", UNLESS_TRAINING, 1},
    {"aten::feature_dropout", UNLESS_TRAINING, 1}, {"aten::alpha_dropout", UNLESS_TRAINING, 1},
    {"aten::feature_alpha_dropout", UNLESS_TRAINING, 1}, {"aten::atleast_1d", ALWAYS, 1}, {"aten::atleast_2d", ALWAYS, 1},
    {"aten::atleast_3d", ALWAYS, 1}, {"aten::broadcast_tensors", ALWAYS, 1}, {"aten::meshgrid", ALWAYS, 1},
    {"aten::conj_physical", IF_REAL, 1}, {"aten::sum_to_size", SUM_TO, 1}, {"aten::to_dense", CONVERT, 1}, {"aten::unsafe_split", ALWAYS, 1},
    {"aten::unsafe_split_with_sizes", ALWAYS, 1}, {"aten::unsafe_chunk", ALWAYS, 1}, {"aten::cartesian_prod", ONE, 1}, {"aten::einsum", VIEW_OF_ONE, 2},
};
enum { RULES = sizeof rules / sizeof *rules };

static int find_rule(const char *name) {
  for (int i = 0; i < RULES; i++)
    if (!strcmp(rules[i].name, name)) return i;
  return -1;
}

static cg_sharing apply(rule k, const cg_node *n, const cg_type *from, const cg_type *to) {
  cg_expr_pool *pool = &n->fn->module->exprs;
  switch (k) {
  case ALWAYS: return CG_ALIAS;
  case SAME: return CG_SAME;
  case SELF: return CG_SELF;
  case RESHAPE: return reshaped(from, to, pool);
  case RAVEL: return raveled(from, pool);
  case CONTIGUOUS: return contiguous(n, from, to, pool);
  case CONVERT: return converted(n, from, to, pool);
  case IF_COMPLEX: return of_complex(from, CG_ALIAS);
  case RESOLVE: return of_complex(from, CG_MAYBE_ALIAS);
  case UNLESS_TRAINING: return flag(n, "train", true) && !drops_nothing(n) ? CG_NO_ALIAS : CG_SELF;
  case IF_REAL: return of_complex(from, CG_NO_ALIAS);
  case SUM_TO: return same_sizes(from, to);
  case ONE: return cg_arg_list_len(&n->arg[0]) == 1 ? CG_SELF : CG_NO_ALIAS;
  case VIEW_OF_ONE: return cg_arg_list_len(&n->arg[1]) == 1 && !sums(&n->arg[0]) ? CG_MAYBE_ALIAS : CG_NO_ALIAS;
  }
  return CG_MAYBE_ALIAS;
}

// ---------------------------------------------------------------- Schemas

const cg_schema_arg *cg_node_ret(const cg_node *n, int result, int *item) {
  const cg_schema *c = n->schema;
  int lists = 0, clones_or_items;
  for (int i = 0; i < c->nrets; i++) lists += c->ret[i].type.list;
  clones_or_items = n->nresults - (c->nrets - lists);
  *item = -1;
  for (int i = 0, at = 0; i < c->nrets; i++) {
    int width = c->ret[i].type.list ? (lists == 1 ? clones_or_items : 0) : 1;
    if (result < at + width) {
      if (c->ret[i].type.list) *item = result - at;
      return &c->ret[i];
    }
    at += width;
  }
  return NULL;
}

static int arg_of_set(const cg_schema *c, char set) {
  for (int i = 0; i < c->nargs; i++)
    if (c->arg[i].alias_set == set) return i;
  return -1;
}

cg_sharing cg_node_shares(const cg_node *n, int result, int *arg, int *item) {
  const cg_schema *c = n->schema;
  int at_item;
  *arg = *item = -1;
  if (!c) return CG_NO_ALIAS;
  const cg_schema_arg *r = cg_node_ret(n, result, &at_item);
  int k = find_rule(c->name);
  *arg = r && r->alias_set && !r->alias_write ? arg_of_set(c, r->alias_set) : -1;
  *item = -1;
  if (*arg < 0 && k >= 0 && rules[k].silent) *arg = rules[k].silent - 1;
  if (*arg < 0 || *arg >= n->nargs) return CG_NO_ALIAS;
  const cg_arg *a = &n->arg[*arg];
  if (a->kind == CG_A_LIST) { // the i-th result is a view of the i-th item
    if (result >= a->list.n) return CG_NO_ALIAS;
    *item = result;
    a = &a->list.at[result];
  }
  if (a->kind != CG_A_VALUE) return CG_NO_ALIAS;
  return k < 0 ? CG_ALIAS : apply(rules[k].rule, n, &a->value->type, &n->result[result]->type);
}

const cg_expr *cg_node_copies_if(const cg_node *n, const cg_value *from) {
  int k = find_rule(n->schema->name);
  const cg_expr *holds = NULL;
  if (k < 0 || from->type.kind != CG_T_TENSOR || (rules[k].rule != RESHAPE && rules[k].rule != RAVEL && rules[k].rule != CONTIGUOUS)) return NULL;
  cg_expr_pool *pool = &n->fn->module->exprs;
  const cg_type *t = &from->type;
  if (c_order(t, pool, &holds) != NO) return NULL;
  for (int i = 0; i < t->rank && rules[k].rule != CONTIGUOUS; i++) { // a size of 1 is in no reshape's way
    const cg_expr *several = cg_x_op(pool, CG_X_NE, 2, (const cg_expr *[]){t->dim[i], cg_x_int(pool, 1)});
    if (!cg_x_is(t->dim[i], 1)) holds = cg_x_op(pool, CG_X_AND, 2, (const cg_expr *[]){holds, several});
  }
  if (cg_x_is_int(holds)) return NULL;
  const cg_expr *none = cg_x_op(pool, CG_X_EQ, 2, (const cg_expr *[]){cg_type_numel(n->fn->module, t), cg_x_int(pool, 0)});
  return cg_x_op(pool, CG_X_OR, 2, (const cg_expr *[]){none, holds});
}
