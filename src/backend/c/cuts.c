// Where an innermost loop is cut: between the places where a comparison of its index with a number comes out one way and those
// where it comes out the other way. In each piece the C compiler knows the answer, and copies without asking.
#include "backend/c/loops.h"
#include "backend/c/print.h"

static void add_cut(cg_cuts *c, int64_t at) {
  int i = c->n;
  for (int k = 0; k < c->n; k++)
    if (c->at[k] == at) return;
  if (c->n++ >= CG_MOST_CUTS) return;
  for (; i && c->at[i - 1] > at; i--) c->at[i] = c->at[i - 1];
  c->at[i] = at;
}

// The first place where a < b + more is not what it was before, a - b being ±var and a number.
static void compared(cg_cuts *c, te *t, te_expr *a, te_expr *b, int64_t more, const te_expr *var) {
  te_sum s;
  if (!te_sum_of(t, te_op(t, TE_SUB, a, b), &s) || s.n != 1 || s.atom[0] != var || !cg_x_is_int(s.constant)) return;
  if (cg_x_is(s.coef[0], 1)) add_cut(c, more - s.constant->value);
  if (cg_x_is(s.coef[0], -1)) add_cut(c, s.constant->value - more + 1);
}

static void look(cg_cuts *c, te *t, const te_expr *e, const te_expr *var, int *budget) {
  if (--*budget < 0) return;
  if (e->kind == TE_LT) compared(c, t, e->arg[0], e->arg[1], 0, var);
  if (e->kind == TE_LE) compared(c, t, e->arg[0], e->arg[1], 1, var);
  if (e->kind == TE_MOD && te_below_twice(t, e)) compared(c, t, e->arg[0], e->arg[1], 0, var);
  for (int i = 0; i < e->nargs; i++) look(c, t, e->arg[i], var, budget);
}

void cg_c_cuts(cg_loops *l, const te_expr *e, const cg_loop *loop, cg_cuts *c) {
  int budget = 500, n = 0;
  look(c, l->c->t, e, loop->var, &budget);
  if (c->n > CG_MOST_CUTS) return;
  for (int i = 0; i < c->n; i++)
    if (c->at[i] > 0 && !(cg_x_is_int(loop->extent) && c->at[i] >= loop->extent->value)) c->at[n++] = c->at[i];
  c->n = n;
}

// ---------------------------------------------------------------- what outer loops know

// The place that e compares the loop's variable with: *up: the variable counts positively in a - b. NULL: none that outer loops know.
static te_expr *compared_with(cg_loops *l, const te_expr *e, te_expr *var, bool *up) {
  te *t = l->c->t;
  te_sum s;
  te_expr *difference = te_op(t, TE_SUB, e->arg[0], e->arg[1]);
  if (!te_sum_of(t, difference, &s) || s.n < 2) return NULL;
  const cg_expr *coef = NULL;
  for (int i = 0; i < s.n; i++) {
    if (s.atom[i]->kind != TE_VAR) return NULL;
    if (s.atom[i] == var) coef = s.coef[i];
    else if (cg_print_depth(&l->p, s.atom[i]) >= l->deepest) return NULL;
  }
  if (!coef || !(cg_x_is(coef, 1) || cg_x_is(coef, -1))) return NULL;
  *up = cg_x_is(coef, 1);
  return *up ? te_op(t, TE_SUB, var, difference) : te_op(t, TE_ADD, var, difference);
}

static void look_by_row(cg_loops *l, cg_cuts *c, const te_expr *e, te_expr *var, int *budget) {
  if (--*budget < 0) return;
  if (e->kind == TE_LT || e->kind == TE_LE || e->kind == TE_EQ) {
    bool up, known = false;
    te_expr *from = compared_with(l, e, var, &up);
    for (int i = 0; i < c->ncompared; i++) known |= c->compared[i].e == e;
    if (!from || known || (c->from && c->from != from) || c->ncompared == CG_MOST_COMPARED) return;
    const int64_t none = e->kind == TE_LE; // a <= b holds at the place itself
    cg_compared x = {(te_expr *)e, cg_kernel_local(l->k, "piece"), INT64_MIN, INT64_MAX};
    if (e->kind == TE_EQ) x.first = 0, x.end = 1;
    else if (up) x.end = none;
    else x.first = 1 - none;
    c->from = from;
    c->compared[c->ncompared++] = x;
    if (x.first != INT64_MIN) add_cut(c, x.first);
    if (x.end != INT64_MAX) add_cut(c, x.end);
    return;
  }
  for (int i = 0; i < e->nargs; i++) look_by_row(l, c, e->arg[i], var, budget);
}

void cg_c_cuts_by_row(cg_loops *l, const te_expr *e, const cg_loop *loop, cg_cuts *c) {
  int budget = 500;
  look_by_row(l, c, e, loop->var, &budget);
}
