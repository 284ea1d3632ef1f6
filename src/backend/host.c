// The host: scalar operators, item(), asserts, cond and while_loop become steps that the runtime does itself.
#include "backend/host.h"

#include <string.h>

#include "artifact/scalar.h"

static bool is_item(const cg_node *n) { return cg_node_is_op(n, "aten::item") || cg_node_is_op(n, "aten::_local_scalar_dense"); }

// item() of a complex or a half-precision tensor is LibTorch's.
static bool item_fits(const cg_node *n) {
  cg_value *x = cg_arg_tensor(&n->arg[0]);
  if (!x || x->type.kind != CG_T_TENSOR) return false;
  cg_dtype t = x->type.dtype;
  return cg_is_integral(t) || t == CG_F32 || t == CG_F64;
}

static bool scalar_arg(const cg_arg *a) {
  if (a->kind == CG_A_VALUE) return a->value->type.kind >= CG_T_INT && a->value->type.kind <= CG_T_BOOL;
  return a->kind == CG_A_INT || a->kind == CG_A_FLOAT || a->kind == CG_A_BOOL;
}

static bool claims(const cg_node *n) {
  if (!n->schema) return false;
  if (cg_scalar_find(n->schema->key) >= 0) {
    for (int i = 0; i < n->nargs; i++)
      if (!scalar_arg(&n->arg[i])) return false;
    return true;
  }
  if (is_item(n)) return item_fits(n);
  if (cg_node_is_op(n, "aten::_assert_scalar")) return true;
  return !strcmp(n->schema->key, "higher_order.cond") || !strcmp(n->schema->key, "higher_order.while_loop");
}

static const char *claim(cg_pipeline *p, const cg_node *n) {
  (void)p;
  return claims(n) ? NULL : "not a scalar, an assert or control flow";
}

const cg_backend cg_backend_host = {.name = "host", .claim = claim};

// ---------------------------------------------------------------- arguments

typedef CG_VEC(uint32_t) u32_vec;

static void operands(cg_emitter *e, const cg_arg *a, u32_vec *out) {
  if (a->kind == CG_A_LIST) {
    for (int i = 0; i < a->list.n; i++) operands(e, &a->list.at[i], out);
  } else if (a->kind != CG_A_NONE) {
    int v = cg_emit_arg(e, a);
    CG_PUSH(e->s, out, (uint32_t)v);
  }
}

static void outputs(cg_emitter *e, const cg_node *n, u32_vec *out) {
  for (int i = 0; i < n->nresults; i++) {
    int v = cg_emit_result(e, n->result[i]);
    CG_PUSH(e->s, out, (uint32_t)v);
  }
}

static cg_plan_step *step(cg_emitter *e, cg_plan_step_kind kind, const cg_node *n, const u32_vec *in, const u32_vec *out) {
  cg_plan_step *s = cg_emit_step(e, kind, n);
  s->in = in->at, s->n_in = (uint32_t)in->n;
  s->out = out->at, s->n_out = (uint32_t)out->n;
  return s;
}

// A condition may be a 0-dim tensor: its element is taken first.
static uint32_t condition(cg_emitter *e, const cg_node *n, const cg_arg *a) {
  if (a->kind != CG_A_VALUE || a->value->type.kind != CG_T_TENSOR) return (uint32_t)cg_emit_arg(e, a);
  cg_value *flag = CG_NEW(e->s, cg_value);
  *flag = (cg_value){.name = "condition", .type = cg_scalar_type(CG_T_BOOL)};
  u32_vec in = {0}, out = {0};
  operands(e, a, &in);
  int v = cg_emit_result(e, flag);
  CG_PUSH(e->s, &out, (uint32_t)v);
  step(e, CG_STEP_ITEM, n, &in, &out);
  return (uint32_t)v;
}

// ---------------------------------------------------------------- control flow

static cg_fn *graph_arg(cg_emitter *e, const cg_node *n, int i) {
  if (i >= n->nargs || n->arg[i].kind != CG_A_FN)
    cg_fail_at(e->s, CIERGE_BAD_MODEL, n->at, "%s: argument %d is not a sub-graph", n->schema->key, i);
  return n->arg[i].fn;
}

static void pass_symbols(cg_emitter *e, const cg_emitted_fn *fn, u32_vec *in) {
  int *values, count = cg_emit_share_symbols(e, fn, 2, &values);
  for (int i = 0; i < count; i++) CG_PUSH(e->s, in, (uint32_t)values[i]);
}

static void lower_cond(cg_emitter *e, const cg_node *n) {
  cg_fn *yes = graph_arg(e, n, 1), *no = graph_arg(e, n, 2);
  u32_vec in = {0}, out = {0};
  CG_PUSH(e->s, &in, condition(e, n, &n->arg[0]));
  for (int i = 3; i < n->nargs; i++) operands(e, &n->arg[i], &in);
  cg_emitted_fn fn[2] = {cg_emit_fn(e, yes), cg_emit_fn(e, no)};
  pass_symbols(e, fn, &in);
  outputs(e, n, &out);
  cg_plan_step *s = step(e, CG_STEP_IF, n, &in, &out);
  s->fn[0] = fn[0].index, s->fn[1] = fn[1].index;
}

static void lower_while(cg_emitter *e, const cg_node *n) {
  cg_fn *test = graph_arg(e, n, 0), *body = graph_arg(e, n, 1);
  u32_vec in = {0}, out = {0};
  if (n->nargs > 2) operands(e, &n->arg[2], &in);
  uint32_t carried = (uint32_t)in.n;
  for (int i = 3; i < n->nargs; i++) operands(e, &n->arg[i], &in);
  cg_emitted_fn fn[2] = {cg_emit_fn(e, test), cg_emit_fn(e, body)};
  pass_symbols(e, fn, &in);
  outputs(e, n, &out);
  cg_plan_step *s = step(e, CG_STEP_WHILE, n, &in, &out);
  s->fn[0] = fn[0].index, s->fn[1] = fn[1].index;
  s->n_carried = carried;
}

void cg_host_lower(cg_emitter *e, const cg_node *n) {
  const char *key = n->schema->key;
  if (!strcmp(key, "higher_order.cond")) {
    lower_cond(e, n);
    return;
  }
  if (!strcmp(key, "higher_order.while_loop")) {
    lower_while(e, n);
    return;
  }
  u32_vec in = {0}, out = {0};
  if (cg_node_is_op(n, "aten::_assert_scalar")) {
    operands(e, &n->arg[0], &in);
    const cg_arg *text = &n->arg[1];
    step(e, CG_STEP_ASSERT, n, &in, &out)->text = text->kind == CG_A_STR ? text->str.text : "an assertion of the model failed";
    return;
  }
  for (int i = 0; i < n->nargs; i++) operands(e, &n->arg[i], &in);
  outputs(e, n, &out);
  if (is_item(n)) step(e, CG_STEP_ITEM, n, &in, &out);
  else step(e, CG_STEP_SCALAR, n, &in, &out)->kernel = (uint32_t)cg_scalar_find(key);
}
