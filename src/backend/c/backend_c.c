// The native backend: tensor expressions, fused by the scheduler, printed as C, compiled by the machine's compiler.
#include <string.h>

#include "backend/c/attention.h"
#include "backend/c/kernel_internal.h"
#include "backend/c/prelude.h"
#include "pass/cost.h"

static int alias(cg_sched *c, cg_value *v, int of, const cg_expr *offset) {
  return cg_emit_alias(c->e, v, of, cg_x_mul(&c->m->exprs, offset, cg_x_int(&c->m->exprs, cg_dtypes[v->type.dtype].size)));
}

int cg_c_plan_result(cg_sched *c, cg_info *x) {
  if (x->plan < 0) x->plan = x->whole ? alias(c, x->value, cg_c_plan_result(c, x->whole), x->start) : cg_emit_result(c->e, x->value);
  return x->plan;
}

int cg_c_plan_value(cg_sched *c, cg_value *v) {
  cg_info *x = cg_c_info(v);
  if (!x) return cg_emit_value(c->e, v);
  if (x->plan >= 0) return x->plan;
  if (x->part) return cg_c_plan_result(c, x);
  if (!x->alias_of) cg_fail(c->s, CIERGE_INTERNAL, "%%%s is read, and no kernel stores it", v->name);
  int of = cg_c_plan_value(c, (cg_value *)x->alias_of);
  x->plan = alias(c, v, of, x->alias_offset);
  return x->plan;
}

static void lower(cg_emitter *e, cg_fn *f) {
  cg_sched *c = CG_NEW(e->s, cg_sched);
  *c = (cg_sched){.s = e->s, .e = e, .m = e->m, .f = f};
  c->t = te_new(e->m, cg_c_resolve, c);
  cg_c_find_attention(f);
  cg_c_share_heads(f);
  cg_c_find_states(c);
  cg_c_infos(c);
  cg_c_note_states(c);
  cg_c_roots(c);
  cg_c_prove_states(c);
  cg_c_assemble(c);
  cg_c_groups(c);
  for (int i = 0; i < c->group.n; i++) {
    if (c->group.at[i]->idle) continue;
    if (c->group.at[i]->anchor) cg_c_emit_template(c, c->group.at[i]);
    else cg_c_emit_group(c, c->group.at[i]);
  }
  for (int i = 0; i < f->result.n; i++)
    if (f->result.at[i].kind == CG_A_VALUE) cg_c_plan_value(c, f->result.at[i].value);
}

const cg_backend cg_backend_c = {.name = "c", .claim = cg_c_claim, .lower = lower, .finish = cg_c_finish, .cost = &cg_cost_native};
