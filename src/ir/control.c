// Which operand of a control node is which parameter of its sub-graphs, and whether they fit.
#include "ir/control.h"

#include <string.h>

#include "ir/verify.h"

static const struct {
  const char *key;
  cg_control_kind kind;
  int fn[2], carried, scanned, extra; // argument numbers; -1: none
} table[] = {
    {"higher_order.cond", CG_CONTROL_COND, {1, 2}, -1, -1, 3},
    {"higher_order.while_loop", CG_CONTROL_WHILE, {0, 1}, 2, -1, 3},
    {"higher_order.scan", CG_CONTROL_SCAN, {0, -1}, 1, 2, 3},
    {"higher_order.map_impl", CG_CONTROL_SCAN, {0, -1}, -1, 1, 2},
};

static int row_of(const cg_node *n) {
  for (int i = 0; n->schema && i < (int)(sizeof table / sizeof *table); i++)
    if (!strcmp(n->schema->key, table[i].key)) return i;
  return -1;
}

bool cg_is_control(const cg_node *n) { return row_of(n) >= 0; }

static void open_list(cg_session *s, const cg_arg *a, cg_arg_vec *out) {
  if (a->kind != CG_A_LIST) CG_PUSH(s, out, *a);
  else
    for (int i = 0; i < a->list.n; i++) open_list(s, &a->list.at[i], out);
}

// Argument `from`, and where the schema ends in "...", those behind it.
static void operands(const cg_node *n, int from, bool rest, cg_arg_vec *out) {
  for (int i = from; from >= 0 && i < n->nargs && (i == from || rest); i++)
    if (n->arg[i].kind != CG_A_NONE) open_list(n->fn->module->s, &n->arg[i], out);
}

void cg_control_add_operand(cg_node *n, cg_value *v) {
  cg_session *s = n->fn->module->s;
  int at = table[row_of(n)].extra;
  cg_arg_vec all = {0};
  operands(n, at, n->schema->variadic_args, &all);
  CG_PUSH(s, &all, cg_a_value(v));
  cg_arg *arg = CG_NEW_ARRAY(s, cg_arg, at + 1);
  memcpy(arg, n->arg, (size_t)(n->nargs < at ? n->nargs : at) * sizeof *arg);
  arg[at] = cg_a_list(n->fn->module, all.n, all.at);
  n->arg = arg, n->nargs = at + 1;
}

// ---------------------------------------------------------------- types

cg_type cg_control_slice(const cg_type *t) {
  cg_type out = *t;
  if (t->kind != CG_T_TENSOR || !t->rank) return out;
  out.rank--;
  out.dim = t->dim + 1;
  out.stride = NULL, out.offset = NULL;
  return out;
}

static cg_type type_of(const cg_arg *a) {
  switch (a->kind) {
  case CG_A_VALUE: return a->value->type;
  case CG_A_INT: return cg_scalar_type(CG_T_INT);
  case CG_A_FLOAT: return cg_scalar_type(CG_T_FLOAT);
  case CG_A_BOOL: return cg_scalar_type(CG_T_BOOL);
  case CG_A_NONE: return cg_scalar_type(CG_T_NONE);
  default: return cg_scalar_type(CG_T_UNKNOWN);
  }
}

static bool is_number(const cg_type *t) { return t->kind == CG_T_INT || t->kind == CG_T_FLOAT || t->kind == CG_T_BOOL; }

static const char *params_fit(const cg_control *c, const cg_fn *f) {
  cg_session *s = f->module->s;
  const cg_arg_vec *part[] = {&c->carried, &c->scanned, &c->extra};
  int at = 0, n = c->carried.n + c->scanned.n + c->extra.n;
  if (f->param.n != n) return cg_format(s, "@%s has %d parameters, not %d", f->name, f->param.n, n);
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < part[k]->n; i++, at++) {
      cg_type t = type_of(&part[k]->at[i]);
      if (k == 1 && t.kind != CG_T_UNKNOWN && (t.kind != CG_T_TENSOR || !t.rank)) return cg_format(s, "operand %d of @%s has no first dimension", at, f->name);
      if (k == 1) t = cg_control_slice(&t);
      if (is_number(&t) && is_number(&f->param.at[at]->type)) continue;
      const char *why = cg_type_misfit(&t, &f->param.at[at]->type);
      if (why) return cg_format(s, "operand %d has %s than %%%s of @%s", at, why, f->param.at[at]->name, f->name);
    }
  return NULL;
}

static const char *results_fit(const cg_control *c, const cg_fn *f, int n) {
  cg_session *s = f->module->s;
  if (f->result.n != n) return cg_format(s, "@%s gives %d results, not %d", f->name, f->result.n, n);
  for (int i = 0; i < c->carried.n; i++) {
    cg_type have = type_of(&f->result.at[i]), want = f->param.at[i]->type;
    if (have.kind == CG_T_UNKNOWN || want.kind == CG_T_UNKNOWN) continue;
    if (is_number(&have) && is_number(&want)) continue;
    if (have.kind != want.kind || (have.kind == CG_T_TENSOR && (have.dtype != want.dtype || have.rank != want.rank)))
      return cg_format(s, "@%s gives a carried value (%d) another type than it has", f->name, i);
  }
  return NULL;
}

const char *cg_control_read(const cg_node *n, cg_control *out) {
  int row = row_of(n);
  cg_session *s = n->fn->module->s;
  *out = (cg_control){.kind = table[row].kind, .pred = &n->arg[0]};
  for (int i = 0; i < 2 && table[row].fn[i] >= 0; i++, out->nfns++) {
    if (n->arg[table[row].fn[i]].kind != CG_A_FN) return cg_format(s, "argument %d is not a sub-graph", table[row].fn[i]);
    out->fn[i] = n->arg[table[row].fn[i]].fn;
  }
  operands(n, table[row].carried, false, &out->carried);
  operands(n, table[row].scanned, false, &out->scanned);
  operands(n, table[row].extra, n->schema->variadic_args, &out->extra);
  if (out->kind == CG_CONTROL_SCAN && !out->scanned.n) return "it goes over no tensor";
  if (n->nresults < out->carried.n) return cg_format(s, "it carries %d values and gives %d", out->carried.n, n->nresults);
  for (int i = 0; i < out->nfns; i++) {
    bool test = out->kind == CG_CONTROL_WHILE && !i;
    const char *why = params_fit(out, out->fn[i]);
    if (!why && test && out->fn[i]->result.n != 1) why = cg_format(s, "@%s gives %d results, not one", out->fn[i]->name, out->fn[i]->result.n);
    if (!why && !test) why = results_fit(out, out->fn[i], n->nresults);
    if (why) return why;
  }
  if (out->kind == CG_CONTROL_WHILE && n->nresults != out->carried.n) return cg_format(s, "it carries %d values and gives %d", out->carried.n, n->nresults);
  return NULL;
}
