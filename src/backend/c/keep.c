// What a later pass of a group's loops needs of an earlier one, and whether it is kept or computed again.
#include "backend/c/loops.h"

typedef struct {
  signed char pass;   // in which it was computed first; -1: not yet
  signed char varies; // it depends on an inner loop; -1: not looked at
} looked_at;

typedef struct {
  cg_loops *l;
  cg_numbering numbers;
  CG_VEC(looked_at) of; // by number: the expressions of this group
  int current;
  cg_keeps keep;
} keeping;

// Until the next expression is looked at.
static looked_at *look(keeping *q, const te_expr *e) {
  int k = cg_number_of(q->l->c->s, &q->numbers, e->id);
  looked_at not = {-1, -1};
  if (k == q->of.n) CG_PUSH(q->l->c->s, &q->of, not);
  return &q->of.at[k];
}

static bool varies(keeping *q, const te_expr *e) {
  if (look(q, e)->varies >= 0) return look(q, e)->varies;
  bool v = false;
  for (int i = 0; i < q->l->inner.n; i++) v |= q->l->inner.at[i].var == e;
  for (int i = 0; i < e->nargs; i++) v |= varies(q, e->arg[i]);
  look(q, e)->varies = v;
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
  return x && look(q, x)->pass >= 0 && (is_kept(q, x) || cost_again(q, x) >= KEEP) ? x : NULL;
}

static void plan_expr(keeping *q, te_expr *e) {
  if (!varies(q, e) || e->kind == TE_VAR) return;
  if (look(q, e)->pass == q->current || is_kept(q, e)) return;
  if (look(q, e)->pass >= 0 && !step_from(q, e)) {
    int cost = cost_again(q, e);
    if (cost >= KEEP || (cost >= KEEP_RESULT && cg_c_full_result(q->l, e))) {
      cg_keep kept = {e, look(q, e)->pass};
      CG_PUSH(q->l->c->s, &q->keep, kept);
      return;
    }
  }
  look(q, e)->pass = (signed char)q->current;
  for (int i = 0; i < e->nargs; i++) plan_expr(q, e->arg[i]);
}

cg_keeps cg_c_keep(cg_loops *l) {
  keeping q = {.l = l};
  for (q.current = 0; q.current < l->levels; q.current++)
    for (int i = 0; i < l->g->member.n; i++) {
      cg_info *x = l->g->member.at[i];
      if (x->level != q.current) continue;
      if (x->member == CG_MEMBER_REDUCE) plan_expr(&q, x->element);
      if (x->member == CG_MEMBER_FULL && x->stored) plan_expr(&q, x->final);
    }
  return q.keep;
}
