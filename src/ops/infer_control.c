// Type rule of control nodes: their results are what their sub-graphs give, stacked where they are per iteration.
#include "ir/control.h"
#include "ops/rules.h"

static void set(cg_node *n, int i, cg_type t) {
  t.stride = NULL, t.offset = NULL, t.value = NULL;
  n->result[i]->type = t;
}

// Sizes that appear inside a sub-graph mean nothing outside.
static bool told_outside(const cg_type *t) {
  return t->kind != CG_T_UNKNOWN && t->kind != CG_T_OTHER && !cg_type_has_unbacked(t);
}

static cg_type result_type(const cg_fn *f, int i) {
  static const cg_type_kind kinds[] = {[CG_A_NONE] = CG_T_NONE, [CG_A_INT] = CG_T_INT, [CG_A_FLOAT] = CG_T_FLOAT, [CG_A_BOOL] = CG_T_BOOL};
  const cg_arg *a = &f->result.at[i];
  return a->kind == CG_A_VALUE ? a->value->type : cg_scalar_type(a->kind <= CG_A_BOOL ? kinds[a->kind] : CG_T_UNKNOWN);
}

// One value for each iteration.
static cg_type stacked(cg_module *m, const cg_control *c, const cg_type *t) {
  const cg_value *x = cg_arg_tensor(&c->scanned.at[0]);
  if (t->kind == CG_T_NONE) return *t;
  if (!x || x->type.kind != CG_T_TENSOR || t->kind != CG_T_TENSOR || t->rank == CG_MAX_RANK) return cg_scalar_type(CG_T_UNKNOWN);
  cg_type out = cg_tensor_type(t->dtype, t->rank + 1, CG_NEW_ARRAY(m->s, const cg_expr *, t->rank + 1));
  out.dim[0] = x->type.dim[0];
  for (int i = 0; i < t->rank; i++) out.dim[i + 1] = t->dim[i];
  return out;
}

const char *cg_infer_control(cg_module *m, cg_node *n) {
  cg_control c;
  const char *why = cg_control_read(n, &c);
  if (why) return why;
  for (int i = 0; i < n->nresults; i++) {
    cg_type t = result_type(c.fn[c.nfns - 1], i);
    if (!told_outside(&t)) continue;
    if (c.kind == CG_CONTROL_COND) { // where the branches differ, the size appears while the program runs
      cg_type other = result_type(c.fn[0], i);
      if (!cg_type_equal(&t, &other)) continue;
    } else if (i < c.carried.n) { // the same after no iteration
      const cg_value *x = c.carried.at[i].kind == CG_A_VALUE ? c.carried.at[i].value : NULL;
      if (x && t.kind == CG_T_TENSOR && !cg_type_equal(&t, &x->type)) continue;
    } else if (c.kind == CG_CONTROL_SCAN) {
      t = stacked(m, &c, &t);
    }
    if (t.kind != CG_T_UNKNOWN) set(n, i, t);
  }
  return NULL;
}
