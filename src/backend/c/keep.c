// What a later pass of a group's loops needs of an earlier one, and whether it is kept or computed again.
#include <string.h>

#include "backend/c/loops.h"

typedef struct {
  cg_loops *l;
  signed char *pass;   // by expression: in which pass it was computed first; -1: not yet
  signed char *varies; // by expression: depends on an inner loop; -1: not looked at
  int n, current;
  cg_keeps keep;
} keeping;

static bool varies(keeping *q, const te_expr *e) {
  if (q->varies[e->id] >= 0) return q->varies[e->id];
  bool v = false;
  for (int i = 0; i < q->l->inner.n; i++) v |= q->l->inner.at[i].var == e;
  for (int i = 0; i < e->nargs; i++) v |= varies(q, e->arg[i]);
  q->varies[e->id] = v;
  return v;
}

cg_info *cg_c_full_result(const cg_loops *l, const te_expr *e) {
  for (int i = 0; i < l->g->member.n; i++) {
    cg_info *x = l->g->member.at[i];
    if (x->member == CG_MEMBER_FULL && x->stored && x->final == e) return x;
  }
  return NULL;
}

static bool is_kept(const keeping *q, const te_expr *e) {
  for (int i = 0; i < q->keep.n; i++)
    if (q->keep.at[i].e == e) return true;
  return false;
}

// What it costs to compute e once more: what does not vary is there, what is kept is loaded.
static int again(keeping *q, const te_expr *e) {
  if (!cg_c_first(q->l->c, e) || !varies(q, e)) return 0;
  if (is_kept(q, e)) return 1;
  int cost = cg_c_own_cost(e);
  for (int i = 0; i < e->nargs && !cg_c_indexes(e); i++) cost += again(q, e->arg[i]);
  return cost;
}

static int cost_again(keeping *q, const te_expr *e) {
  cg_c_begin(q->l->c);
  return again(q, e);
}

enum { KEEP = 5, KEEP_RESULT = 3, STEP = 2 };

// x of a cheap step from x, like x - mean: to keep it serves whoever else needs x, and the step costs less than a store.
static te_expr *step_from(keeping *q, const te_expr *e) {
  te_expr *x = NULL;
  if (cg_c_indexes(e) || cg_c_own_cost(e) > STEP) return NULL;
  for (int i = 0; i < e->nargs; i++) {
    if (!varies(q, e->arg[i])) continue;
    if (x) return NULL;
    x = e->arg[i];
  }
  return x && q->pass[x->id] >= 0 && (is_kept(q, x) || cost_again(q, x) >= KEEP) ? x : NULL;
}

static void plan_expr(keeping *q, te_expr *e) {
  if (!varies(q, e) || e->kind == TE_VAR) return;
  if (q->pass[e->id] == q->current || is_kept(q, e)) return;
  if (q->pass[e->id] >= 0 && !step_from(q, e)) {
    int cost = cost_again(q, e);
    if (cost >= KEEP || (cost >= KEEP_RESULT && cg_c_full_result(q->l, e))) {
      cg_keep kept = {e, q->pass[e->id]};
      CG_PUSH(q->l->c->s, &q->keep, kept);
      return;
    }
  }
  q->pass[e->id] = (signed char)q->current;
  for (int i = 0; i < e->nargs; i++) plan_expr(q, e->arg[i]);
}

cg_keeps cg_c_keep(cg_loops *l) {
  keeping q = {.l = l, .n = te_count(l->c->t)};
  q.pass = CG_NEW_ARRAY(l->c->s, signed char, q.n);
  q.varies = CG_NEW_ARRAY(l->c->s, signed char, q.n);
  memset(q.pass, -1, (size_t)q.n);
  memset(q.varies, -1, (size_t)q.n);
  for (q.current = 0; q.current < l->levels; q.current++)
    for (int i = 0; i < l->g->member.n; i++) {
      cg_info *x = l->g->member.at[i];
      if (x->level != q.current) continue;
      if (x->member == CG_MEMBER_REDUCE) plan_expr(&q, x->element);
      if (x->member == CG_MEMBER_FULL && x->stored) plan_expr(&q, x->final);
    }
  return q.keep;
}
