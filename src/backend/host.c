// The host: scalar operators, sizes, item(), asserts, cond and while_loop become steps that the runtime does itself.
#include "backend/host.h"

#include <string.h>

#include "artifact/scalar.h"
#include "ir/control.h"

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

static bool is_size(const cg_node *n) { return cg_node_is_op(n, "aten::sym_size.int") || cg_node_is_op(n, "aten::sym_numel"); }

// A size that another backend's step has found; LibTorch gives its own beside the tensor, from the same region.
static bool size_fits(const cg_node *n) {
  const cg_value *x = cg_arg_tensor(&n->arg[0]);
  bool torch = x && x->def && x->def->backend && !strcmp(x->def->backend->name, "torch");
  return x && n->result[0]->type.value && !torch;
}

static bool claims(const cg_node *n) {
  if (!n->schema) return false;
  if (cg_scalar_find(n->schema->key) >= 0) {
    for (int i = 0; i < n->nargs; i++)
      if (!scalar_arg(&n->arg[i])) return false;
    return true;
  }
  if (is_item(n)) return item_fits(n);
  if (is_size(n)) return size_fits(n);
  if (cg_node_is_op(n, "aten::_assert_scalar")) return true;
  return cg_is_control(n);
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

static void pass_symbols(cg_emitter *e, const cg_emitted_fn *fn, int nfns, u32_vec *in) {
  int *values, count = cg_emit_share_symbols(e, fn, nfns, &values);
  for (int i = 0; i < count; i++) CG_PUSH(e->s, in, (uint32_t)values[i]);
}

static void emit_args(cg_emitter *e, const cg_arg_vec *args, u32_vec *out) {
  for (int i = 0; i < args->n; i++) {
    int v = cg_emit_arg(e, &args->at[i]);
    CG_PUSH(e->s, out, (uint32_t)v);
  }
}

static bool spoken_of(const cg_emitter *e, const cg_symbol *y, int before) {
  for (int i = 0; i < before; i++)
    if (e->scope->wanted.at[i] == y) return true;
  return false;
}

// A size that the program learns from a result's shape, where the branches of a cond give different ones. The first `outer`
// symbols that the function asked for are known without it.
static void bind_sizes(cg_emitter *e, const cg_node *n, uint32_t step, int outer) {
  CG_VEC(cg_plan_bind) binds = {0};
  for (int i = 0; i < n->nresults; i++) {
    const cg_type *t = &n->result[i]->type;
    for (int d = 0; t->kind == CG_T_TENSOR && d < t->rank; d++) {
      const cg_expr *x = t->dim[d];
      if (x->kind != CG_X_SYM || !x->symbol->unbacked || spoken_of(e, x->symbol, outer)) continue;
      cg_plan_bind b = {(uint32_t)i, (uint32_t)d, (uint32_t)cg_emit_symbol(e, x->symbol)};
      e->fn->step[step].bind = binds.at, e->fn->step[step].n_bind = (uint32_t)binds.n;
      if (!cg_emit_is_set(e->fn, b.symbol)) CG_PUSH(e->s, &binds, b);
    }
  }
  e->fn->step[step].bind = binds.at, e->fn->step[step].n_bind = (uint32_t)binds.n;
}

static void lower_control(cg_emitter *e, const cg_node *n) {
  static const cg_plan_step_kind kinds[] = {[CG_CONTROL_COND] = CG_STEP_IF, [CG_CONTROL_WHILE] = CG_STEP_WHILE, [CG_CONTROL_SCAN] = CG_STEP_SCAN};
  cg_control c;
  u32_vec in = {0}, out = {0};
  cg_emitted_fn fn[2];
  const char *why = cg_control_read(n, &c);
  if (why) cg_fail_at(e->s, CIERGE_BAD_MODEL, n->at, "%s: %s", cg_node_text(e->s, n), why);
  if (c.kind == CG_CONTROL_COND) CG_PUSH(e->s, &in, condition(e, n, c.pred));
  emit_args(e, &c.carried, &in);
  emit_args(e, &c.scanned, &in);
  emit_args(e, &c.extra, &in);
  for (int i = 0; i < c.nfns; i++) fn[i] = cg_emit_fn(e, c.fn[i]);
  pass_symbols(e, fn, c.nfns, &in);
  int outer = e->scope->wanted.n;
  outputs(e, n, &out);
  cg_plan_step *s = step(e, kinds[c.kind], n, &in, &out);
  for (int i = 0; i < c.nfns; i++) s->fn[i] = fn[i].index;
  s->n_carried = (uint32_t)c.carried.n;
  s->n_scanned = (uint32_t)c.scanned.n;
  bind_sizes(e, n, e->fn->n_steps - 1, outer);
}

void cg_host_lower(cg_emitter *e, const cg_node *n) {
  const char *key = n->schema->key;
  if (cg_is_control(n)) {
    lower_control(e, n);
    return;
  }
  if (is_size(n)) {
    cg_arg size = cg_a_expr(n->result[0]->type.value);
    cg_emit_bind(e, n->result[0], cg_emit_arg(e, &size));
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
