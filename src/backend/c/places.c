// How the places of an innermost loop are computed: each written out, one by one, or as vectors; and what they know before the first row.
#include <ctype.h>
#include <string.h>

#include "backend/c/loops.h"
#include "backend/c/prelude.h"

enum { VECTOR = 8 }; // elements: shorter loops are written out

// Whether e calls functions that are worth vectors of any length: those of the prelude, not the C library's.
static bool calls(cg_sched *c, const te_expr *e) {
  if (!cg_c_first(c, e)) return false;
  for (const char *p = e->kind == TE_BODY ? e->text : ""; *p;) {
    const char *name = p;
    while (isalnum((unsigned char)*p) || *p == '_') p++;
    const size_t n = (size_t)(p - name);
    const bool call = n && (*p == '(' || (*p == '$' && p[1] == '('));
    if (call && !cg_prelude_library(cg_strndup(c->s, name, n))) return true;
    p += !n;
  }
  for (int i = 0; i < e->nargs; i++)
    if (calls(c, e->arg[i])) return true;
  return false;
}

bool cg_c_calls(cg_loops *l, int level) {
  cg_c_begin(l->c);
  for (int i = 0; i < l->g->member.n; i++) {
    const cg_info *x = l->g->member.at[i];
    const te_expr *e = x->element ? x->element : x->final;
    if (x->level == level && e && calls(l->c, e)) return true;
  }
  return false;
}

// Whether more than addresses is computed from the loop's variable in e.
static bool by_place(cg_sched *c, te_expr *e, te_expr *var) {
  te_sum s;
  if (e == var) return true;
  if (!cg_c_first(c, e) || !te_uses_var(e, var->var)) return false;
  bool load = e->kind == TE_LOAD;
  if (load && !te_sum_of(c->t, cg_c_offset(c, e->value, e->arg), &s)) return true;
  for (int i = 0; i < (load ? s.n : e->nargs); i++)
    if (load ? s.atom[i]->kind != TE_VAR && te_uses_var(s.atom[i], var->var) : by_place(c, e->arg[i], var)) return true;
  return false;
}

// Whether each place of the innermost loop is written out: where they are too few for vectors, or few and computed with.
bool cg_c_unrolls(cg_loops *l, int level) {
  const cg_loop *in = l->inner.n ? &l->inner.at[l->inner.n - 1] : NULL;
  if (!in || l->lanes || !cg_x_is_int(in->extent) || in->extent->value > CG_UNROLLED || in->var->kind != TE_VAR) return false;
  if (l->inner.n == 1 && (l->direct || l->chunked || l->split)) return false;
  if (cg_c_calls(l, level)) return false;
  if (in->extent->value < VECTOR) return true;
  cg_c_begin(l->c);
  for (int i = 0; i < l->g->member.n; i++) {
    const cg_info *x = l->g->member.at[i];
    te_expr *e = x->element ? x->element : x->final;
    if (x->level == level && e && by_place(l->c, e, in->var)) return true;
  }
  return false;
}

// ---------------------------------------------------------------- what depends on the innermost loop alone

// Whether e is computed from the loop's variable alone, by more than comparisons and sums of indices (*work).
static bool from_var_alone(const te_expr *e, const te_expr *var, bool *work) {
  if (e->kind == TE_VAR) return e == var;
  if (e->kind == TE_LOAD || e->kind == TE_SCALAR || e->kind == TE_INDEX || e->kind == TE_CHECKED || te_may_raise(e)) return false;
  *work |= e->kind == TE_BODY || (e->kind == TE_CAST && e->dtype != CG_BOOL);
  for (int i = 0; i < e->nargs; i++)
    if (!from_var_alone(e->arg[i], var, work)) return false;
  return true;
}

// What the columns of a table hold: C type, and e as that.
static const char *column_type(cg_loops *l, te_expr *e) { return cg_print_narrow(&l->p, e) ? "int32_t" : cg_kernel_computed(e->dtype); }

static void add_column(cg_loops *l, const cg_loop *in, te_expr *e) {
  cg_printer *p = &l->p;
  const char *name = cg_kernel_local(l->k, "column"), *type = column_type(l, e), *n = cg_kernel_size(l->k, in->extent);
  cg_str block = cg_str_new(l->c->s);
  int mark = cg_print_mark(p), indent = p->block_indent;
  p->block = &block, p->block_indent = 2;
  cg_print_line(p, 0, "%s[%s] = %s;", name, in->name, cg_print_expr(p, e));
  cg_print_forget(p, mark);
  p->block = NULL, p->block_indent = indent;
  cg_str_addf(&p->text[0], "  %s %s[%s] __attribute__((aligned(64)));\n", type, name, n);
  cg_str_addf(&p->text[0], "  for (int64_t %s = 0; %s < %s; %s++) {\n%s  }\n", in->name, in->name, n, in->name, cg_str_text(&block));
  cg_kept kept = {e, cg_format(l->c->s, e->dtype == CG_I64 ? "(int64_t)%s[%s]" : "%s[%s]", name, in->name)};
  CG_PUSH(l->c->s, &l->kept, kept);
}

enum { MOST_COLUMNS = 16, LEAST_ROWS = 8 };

static void find_columns(cg_loops *l, const cg_loop *in, te_expr *e, int *budget) {
  bool work = false;
  if (!*budget || !cg_c_first(l->c, e) || !te_uses_var(e, in->var->var)) return;
  if (from_var_alone(e, in->var, &work) && work) {
    for (int i = 0; i < l->kept.n; i++)
      if (l->kept.at[i].e == e) return;
    --*budget;
    add_column(l, in, e);
    return;
  }
  for (int i = 0; i < e->nargs; i++) find_columns(l, in, e->arg[i], budget);
}

// What every row of the loops would compute again becomes a table, before them.
void cg_c_columns(cg_loops *l) {
  const cg_loop *in = l->inner.n ? &l->inner.at[l->inner.n - 1] : NULL;
  int budget = MOST_COLUMNS;
  if (!in || l->lanes || l->direct || l->split || in->var->kind != TE_VAR || !cg_x_is_int(in->extent) || in->extent->value > CG_STACK_ROW) return;
  double rows = 1;
  for (int i = 0; i < l->outer.n; i++) rows *= (double)cg_x_hint(l->outer.at[i].extent);
  for (int i = 0; i + 1 < l->inner.n; i++) rows *= (double)cg_x_hint(l->inner.at[i].extent);
  if (rows < LEAST_ROWS) return;
  cg_c_begin(l->c);
  for (int i = 0; i < l->g->member.n; i++) {
    const cg_info *x = l->g->member.at[i];
    if (x->member == CG_MEMBER_FULL && x->stored) find_columns(l, in, x->final, &budget);
  }
}

// ---------------------------------------------------------------- no loop of vectors

te_expr *cg_c_gathered(cg_sched *c, te_expr *load, const te_expr *var) {
  const cg_expr *last = load->nargs ? load->value->type.dim[load->nargs - 1] : NULL, *least, *most;
  te_expr *at = last ? load->arg[load->nargs - 1] : NULL, *place;
  if ((load->dtype != CG_F16 && load->dtype != CG_BF16) || !at || at == var || !te_uses_var(at, var->var)) return NULL;
  if (te_has(at, TE_LOAD) || te_has(at, TE_INDEX) || !cg_x_is_int(last) || !te_in_range(c->t, at, last)) return NULL;
  te_sum s;
  place = te_op(c->t, TE_SUB, cg_c_offset(c, load->value, load->arg), at);
  te_bounds(c->t, (te_expr *)var, &least, &most);
  if (te_uses_var(place, var->var) || last->value > CG_LONGEST_GATHERED || !most || last->value > 2 * cg_x_hint(most) + 2) return NULL;
  return te_sum_of(c->t, at, &s) && s.n == 1 && s.atom[0] == var ? NULL : at; // strides stay as they are
}

// Whether e reads f16 at places that no vector of them has.
static bool gathers(cg_sched *c, const te_expr *e, const te_expr *var) {
  te_sum s;
  if (!cg_c_first(c, e) || !te_uses_var(e, var->var)) return false;
  if (e->kind == TE_LOAD && e->dtype == CG_F16 && !cg_c_gathered(c, (te_expr *)e, var)) {
    if (!te_sum_of(c->t, cg_c_offset(c, e->value, e->arg), &s)) return true;
    for (int i = 0; i < s.n; i++)
      if (s.atom[i] == var ? !cg_x_is(s.coef[i], 1) : te_uses_var(s.atom[i], var->var)) return true;
  }
  for (int i = 0; i < e->nargs; i++)
    if (gathers(c, e->arg[i], var)) return true;
  return false;
}

bool cg_c_one_by_one(cg_loops *l, int level, const te_expr *var) {
  if (cg_c_calls(l, level)) return false;
  cg_c_begin(l->c);
  for (int i = 0; i < l->g->member.n; i++) {
    const cg_info *x = l->g->member.at[i];
    const te_expr *e = x->element ? x->element : x->final;
    if (x->level == level && e && !te_bits(l->c->t, (te_expr *)e) && gathers(l->c, e, var)) return true;
  }
  return false;
}
