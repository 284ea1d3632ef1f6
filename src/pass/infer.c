// Gives every result a type, in the contract's order: native rules, what the model recorded (checked against the
// rule), LibTorch's Meta kernels, a type that the user declared. Nothing is executed on data.
#include <string.h>

#include "ir/control.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "ops/op.h"
#include "ops/rules.h"
#include "pass/alias.h"
#include "pass/declare.h"

static const char *type_text(cg_session *s, const cg_type *t) {
  cg_str b = cg_str_new(s);
  cg_print_type(&b, t);
  return cg_str_text(&b);
}

// Whether two sizes can be told apart: by their value where both are fixed, else at the symbols' hints.
static bool dims_differ(const cg_expr *a, const cg_expr *b) {
  if (a == b || cg_x_has_unbacked(a) || cg_x_has_unbacked(b)) return false;
  return cg_x_hint(a) != cg_x_hint(b);
}

static bool types_differ(const cg_type *a, const cg_type *b) {
  if (a->kind != b->kind) return true;
  if (a->kind != CG_T_TENSOR) return false;
  if (a->dtype != b->dtype || a->rank != b->rank) return true;
  for (int i = 0; i < a->rank; i++)
    if (dims_differ(a->dim[i], b->dim[i])) return true;
  return false;
}

// A size that the model records as 1 stretches beside others, so it is 1 in every call: what the rule says of it is compared.
static void must_be_one(cg_module *m, cg_node *n, const cg_expr *size) {
  cg_str text = cg_str_new(m->s);
  cg_str_addf(&text, "%s has a size that the model records as 1, and is ", n->schema->name);
  cg_x_print_short(&text, size);
  const cg_expr *holds = cg_x_op(&m->exprs, CG_X_EQ, 2, (const cg_expr *[]){size, cg_x_int(&m->exprs, 1)});
  cg_arg arg[2] = {cg_a_expr(holds), cg_a_str(m, cg_str_text(&text))};
  cg_node_like(n->fn, n, n, "aten::_assert_scalar", 2, arg, 0);
}

// What is recorded holds for the sizes that the export traced with: 2 and more. The rule's sizes hold for 0 and 1 as well; but a size
// that only the run knows has its name from the record.
static void prefer_rule(cg_module *m, cg_node *n, cg_type *recorded, const cg_type *rule) {
  if (recorded->kind != CG_T_TENSOR || rule->kind != CG_T_TENSOR) return;
  const cg_expr **dim = CG_NEW_ARRAY(m->s, const cg_expr *, recorded->rank + 1);
  for (int i = 0; i < recorded->rank; i++) {
    const cg_expr *d = recorded->dim[i];
    bool one = cg_x_is(d, 1), same = d == rule->dim[i];
    if (one && !same) must_be_one(m, n, rule->dim[i]);
    dim[i] = one || cg_x_has_unbacked(d) ? d : rule->dim[i];
  }
  recorded->dim = dim;
}

// Mean and deviation that a normalisation gives beside its result: PyTorch's Python records x's dtype, and its CPU kernels give
// f32 where half precision meets f32 parameters. What is computed of them then has another dtype than recorded, too.
static bool gives_statistics(const cg_node *n) {
  return n->op->infer == cg_infer_batch_norm || n->op->infer == cg_infer_group_norm || n->op->infer == cg_infer_layer_norm;
}

typedef struct {
  const cg_map *corrected; // values by name
  bool found;
} look;

static void see_corrected(cg_value *v, void *u) {
  look *l = u;
  l->found = l->found || cg_map_get(l->corrected, v->name) == v;
}

static void correct_dtype(cg_pipeline *p, cg_value *v, cg_type *recorded, cg_map *corrected) {
  if (recorded->kind != CG_T_TENSOR || v->type.kind != CG_T_TENSOR || recorded->dtype == v->type.dtype) return;
  recorded->dtype = v->type.dtype;
  cg_map_set(p->s, corrected, v->name, v);
}

// Applies the operator's own rule and checks it against the recorded types, which keep their strides and the names of unbacked sizes.
static bool by_rule(cg_pipeline *p, cg_module *m, cg_node *n, cg_map *corrected, const char **reason) {
  if (!n->op || !n->op->infer) return false;
  cg_type *recorded = CG_NEW_ARRAY(p->s, cg_type, n->nresults ? n->nresults : 1);
  for (int i = 0; i < n->nresults; i++) recorded[i] = n->result[i]->type;
  *reason = n->op->infer(m, n);
  look of = {corrected, false};
  if (corrected->n) cg_node_each_input(n, see_corrected, &of);
  for (int i = 0; i < n->nresults; i++) {
    cg_type *have = &recorded[i], *got = &n->result[i]->type;
    if (have->kind == CG_T_UNKNOWN) continue;
    if (!*reason && (of.found || (i && gives_statistics(n)))) correct_dtype(p, n->result[i], have, corrected);
    if (!*reason && got->kind != CG_T_UNKNOWN && types_differ(have, got))
      cg_fail_at(p->s, CIERGE_BAD_MODEL, n->at, "%s: the model records %s for result %d, but its arguments give %s",
                 cg_node_text(p->s, n), type_text(p->s, have), i, type_text(p->s, got));
    if (!*reason) prefer_rule(m, n, have, got);
    *got = *have;
  }
  return true;
}

static bool all_known(const cg_node *n) {
  for (int i = 0; i < n->nresults; i++)
    if (n->result[i]->type.kind == CG_T_UNKNOWN) return false;
  return true;
}

// What is recorded of the statistics that batch_norm gives comes from PyTorch's Python decomposition or its Meta kernel, which compute half
// precision in f32. Its CPU kernel keeps the dtype of running statistics; those that are saved have the input's, or f32 where the parameters'
// is another (is_mixed_type and param_scalar_type of ATen/native/cpu/mixed_data_type.h).
static void correct_statistics(cg_node *n) {
  bool updates = cg_node_is_op(n, "aten::_batch_norm_with_update_functional") || cg_node_is_op(n, "aten::_batch_norm_with_update");
  if (!updates && !cg_node_is_op(n, "aten::_native_batch_norm_legit_functional")) return;
  static const char *const names[] = {"running_mean", "running_var", "weight", "bias"};
  const cg_value *x = cg_self(n), *given[4];
  bool mixed = false;
  for (int i = 0; i < 4; i++) {
    given[i] = cg_arg_tensor(cg_node_arg(n, names[i]));
    mixed |= given[i] && x && given[i]->type.dtype != x->type.dtype;
  }
  for (int i = 0; i < 2; i++) {
    int running = i + (updates ? 4 : 3);
    if (given[i] && running < n->nresults && n->result[running]->type.kind == CG_T_TENSOR) n->result[running]->type.dtype = given[i]->type.dtype;
    if (updates && x && cg_r_half(x->type.dtype) && n->result[1 + i]->type.kind == CG_T_TENSOR) n->result[1 + i]->type.dtype = mixed ? CG_F32 : x->type.dtype;
  }
}

static int written(const cg_node *n, int i) { return cg_node_writes(n, i) ? cg_arg_list_len(&n->arg[i]) : 0; }

// Behind a node's own results stand the tensors that it writes to (functionalise.c): of the type that they had.
static void by_what_it_writes(cg_node *n) {
  int at = n->nresults;
  for (int i = 0; i < n->nargs; i++) at -= written(n, i);
  if (at < n->schema->nrets || n->schema->variadic_rets) return; // nothing was set behind them, or nobody knows how many are its own
  for (int i = 0; i < n->nargs; i++)
    for (int k = 0; k < written(n, i); k++) {
      const cg_value *v = cg_arg_tensor(cg_arg_list_at(&n->arg[i], k));
      cg_type *t = &n->result[at++]->type;
      if (v && t->kind == CG_T_UNKNOWN) *t = v->type;
    }
}

// What the schema alone says: a tensor, of which the run knows more; what is written to, as it was.
static void by_schema(cg_module *m, cg_node *n) {
  bool size = cg_node_is_op(n, "aten::sym_size.int") || cg_node_is_op(n, "aten::sym_numel");
  for (int i = 0; i < n->nresults; i++) {
    int item;
    cg_type *t = &n->result[i]->type;
    const cg_schema_arg *ret = cg_node_ret(n, i, &item);
    if (!ret || t->kind != CG_T_UNKNOWN) continue;
    for (int k = 0; ret->alias_write && k < n->schema->nargs; k++)
      if (n->schema->arg[k].alias_write && n->schema->arg[k].alias_set == ret->alias_set && n->arg[k].kind == CG_A_VALUE) *t = n->arg[k].value->type;
    if (t->kind != CG_T_UNKNOWN) continue;
    switch (ret->type.kind) {
    case CG_S_TENSOR: *t = cg_scalar_type(CG_T_LATE); break;
    case CG_S_FLOAT: *t = cg_scalar_type(CG_T_FLOAT); break;
    case CG_S_BOOL: *t = cg_scalar_type(CG_T_BOOL); break;
    case CG_S_INT:
      *t = cg_scalar_type(CG_T_INT);
      t->value = cg_unbacked_new(m);
      if (!size) cg_symbol_range(t->value->symbol, INT64_MIN / 4, INT64_MAX / 4);
      break;
    default: break;
    }
  }
}

// Only LibTorch's regions and @main's results can hold a tensor of which nothing is known before the run.
_Noreturn static void must_know(cg_pipeline *p, const cg_value *late, const cg_node *at, const char *who) {
  const cg_node *maker = late->def; // parameters are never late
  cg_fail_at(p->s, CIERGE_BAD_MODEL, at ? at->at : maker->at, "%s gives a tensor whose dtype and sizes only the run knows, and %s must know them before: declare them with --op-type '%s=(…) -> (…)'",
             cg_node_text(p->s, maker), who, maker->schema->key);
}

static void infer_node(cg_pipeline *p, cg_module *m, cg_node *n, cg_map *corrected) {
  if (!n->schema) return; // calls got their types when they were made
  const char *reason = NULL;
  const cg_value *late = cg_node_late_input(n);
  if (late && cg_is_control(n)) must_know(p, late, n, cg_node_text(p->s, n));
  correct_statistics(n);
  if (!late) by_rule(p, m, n, corrected, &reason);
  by_what_it_writes(n);
  if (reason) // the arguments do not fit, whatever the model records
    cg_fail_at(p->s, CIERGE_BAD_MODEL, n->at, "%s: %s", cg_node_text(p->s, n), reason);
  if (all_known(n)) return;
  const char *why = "LibTorch is not here";
  if (late) why = cg_format(p->s, "nothing known of %%%s", late->name);
  else if (p->torch && !(why = p->torch->infer(p->torch, m, n)) && all_known(n)) return;
  if (cg_declared_type(p, m, n)) return;
  by_schema(m, n);
  if (all_known(n)) return;
  cg_fail_at(p->s, CIERGE_BAD_MODEL, n->at,
             "no type for the results of %s: no rule of cierge's, nothing recorded in the model, %s; "
             "declare it with --op-type '%s=(…) -> (…)'",
             cg_node_text(p->s, n), why ? why : "no Meta kernel", n->schema->key);
}

// Sub-graphs first: a control node's results are theirs.
static void infer_fn(cg_pipeline *p, cg_module *m, cg_fn *f, cg_map *done) {
  if (!cg_map_set(p->s, done, f->name, f)) return;
  cg_map corrected = {0};
  for (cg_node *n = f->first; n; n = n->next) {
    for (int i = 0; i < n->nargs; i++)
      if (n->arg[i].kind == CG_A_FN) infer_fn(p, m, n->arg[i].fn, done);
    infer_node(p, m, n, &corrected);
  }
  for (int i = 0; f != m->main && i < f->result.n; i++) {
    const cg_value *v = f->result.at[i].kind == CG_A_VALUE ? f->result.at[i].value : NULL;
    if (v && v->type.kind == CG_T_LATE) must_know(p, v, NULL, "the control flow that it is a result of");
  }
  for (int i = 0; i < f->update.n; i++) {
    const cg_update *u = &f->update.at[i];
    if (u->value->type.kind == CG_T_LATE) must_know(p, u->value, NULL, "the state or input that it is written to");
    const char *why = u->kind == CG_UPDATE_RESHAPE ? cg_reshape_misfit(f, u) : NULL;
    if (why) cg_fail(p->s, CIERGE_BAD_MODEL, "reshape of '%s': %s", u->target->name, why);
  }
  for (int i = 0; i < f->param.n; i++)
    if (f->param.at[i]->type.kind == CG_T_LATE)
      cg_fail(p->s, CIERGE_BAD_MODEL, "@%s: parameter %%%s has no dtype and sizes, which only tensors that LibTorch makes may lack", f->name, f->param.at[i]->name);
}

void cg_pass_infer(cg_pipeline *p, cg_module *m) {
  cg_map done = {0};
  for (int i = 0; i < m->fns.n; i++) infer_fn(p, m, m->fns.at[i], &done);
}
