// Which values lie channels-last in memory: (N, H, W, C) for what the model calls [N, C, H, W].
//
// Convolutions are fastest that way, so their results lie so, and what is computed from them dimension by dimension (pointwise
// chains, pooling, concatenation, resizing) follows. A value keeps the model's order where it leaves the region, or where somebody
// reads it in another way: a reshape that mixes dimensions, a kernel that expects the model's order.
// Nothing is ever reordered by itself: whoever reads a value reads it through its strides (cg_c_stride).
#include <string.h>

#include "backend/c/schedule.h"

// ---------------------------------------------------------------- how a node reads one of its operands

typedef struct {
  cg_sched *c;
  const cg_value *of;
  te_expr **out;  // the reader's indices
  int rank;       // of the reader
  int reduced;    // further indices, of a reduction
  bool apart;     // each dimension is read by itself
  bool in_place;  // and by the same dimension of the reader
} reading;

static bool uses(const te_expr *e, const te_expr *var) { return var->kind == TE_VAR && te_uses_var(e, var->var); }

// A variable in two dimensions, or two of the reader's in one: reshaped.
static void look_at(reading *r, const te_expr *load) {
  for (int k = 0; k < r->rank + r->reduced; k++) {
    int by = 0;
    for (int d = 0; d < load->nargs; d++) {
      if (!uses(load->arg[d], r->out[k])) continue;
      by++;
      if (d != k && k < r->rank) r->in_place = false;
    }
    if (by > 1) r->apart = false;
  }
  for (int d = 0; d < load->nargs; d++) {
    int vars = 0;
    for (int k = 0; k < r->rank; k++) vars += uses(load->arg[d], r->out[k]);
    if (vars > 1) r->apart = false;
  }
}

static void look(reading *r, const te_expr *e) {
  if (!cg_c_first(r->c, e)) return;
  if (e->kind == TE_LOAD && e->value == r->of) look_at(r, e);
  for (int i = 0; i < e->nargs; i++) look(r, e->arg[i]);
}

static reading read_by(cg_sched *c, cg_info *x, const cg_value *of) {
  te_compute *k = x->compute;
  int rank = x->value->type.rank, n = k->kind == TE_REDUCE ? k->nreduce : 0;
  reading r = {c, of, CG_NEW_ARRAY(c->s, te_expr *, rank + n + 1), rank, n, true, true};
  for (int i = 0; i < rank; i++) r.out[i] = te_new_var(c->t, x->value->type.dim[i]);
  for (int i = 0; i < n; i++) r.out[rank + i] = te_new_var(c->t, k->extent[i]);
  c->tracing = true, c->first_read = NULL;
  te_forget(c->t);
  te_expr *e = k->kind == TE_REDUCE ? k->reduce_element(c->t, k->node, r.out, r.out + rank) : k->element(c->t, k->node, x->k, r.out);
  c->tracing = false;
  te_forget(c->t);
  cg_c_begin(c);
  look(&r, e);
  return r;
}

// ---------------------------------------------------------------- candidates

static bool big(const cg_info *x) {
  const cg_type *t = &x->value->type;
  if (t->kind != CG_T_TENSOR || t->rank < 3 || t->rank > 5 || (t->dtype != CG_F32 && t->dtype != CG_F64)) return false;
  if (cg_x_is(t->dim[1], 1)) return false;
  for (int d = 2; d < t->rank; d++)
    if (!cg_x_is(t->dim[d], 1)) return true;
  return false;
}

typedef struct {
  cg_sched *c;
  cg_info *reader;
  bool follows;  // its result lies as this operand does
  bool *refused; // by index: operands that it cannot read so; NULL: not asked
} survey;

static bool is(const cg_info *x, const char *kernel) { return x->compute->kind == TE_KERNEL && !strcmp(x->compute->kernel, kernel); }

static void operand(cg_value *v, void *u) {
  survey *s = u;
  cg_info *x = cg_c_info(v), *reader = s->reader;
  if (!x || !x->channels_last) return;
  bool takes = true;
  if (is(reader, "conv")) s->follows |= takes = cg_conv_channels_last(reader->compute->node, v);
  else if (is(reader, "pool")) s->follows |= v->type.rank == reader->value->type.rank;
  else if (reader->compute->kind == TE_KERNEL) takes = cg_kernel_template_find(reader->compute->kernel)->strided;
  else {
    reading r = read_by(s->c, reader, v);
    takes = r.apart;
    s->follows |= r.apart && r.in_place && reader->value->type.rank == v->type.rank;
  }
  if (!takes && s->refused) s->refused[x->index] = true;
}

// Convolutions begin; what reads their results dimension by dimension follows.
static bool propose(cg_sched *c, const bool *refused) {
  bool any = false;
  for (int i = 0; i < c->info.n; i++) {
    cg_info *x = c->info.at[i];
    survey s = {c, x, is(x, "conv") && cg_conv_channels_last(x->compute->node, NULL), NULL};
    x->channels_last = false;
    if (refused[i] || x->view || !big(x)) continue;
    if (any) cg_node_each_input(x->compute->node, operand, &s);
    any |= x->channels_last = s.follows;
  }
  return any;
}

void cg_c_layout(cg_sched *c) {
  static const char *const ways[] = {"channels innermost", "as in the model"};
  bool *refused = CG_NEW_ARRAY(c->s, bool, c->info.n + 1), again = true, any = false;
  for (int i = 0; i < c->info.n; i++) refused[i] = c->info.at[i]->is_result;
  while (again && (any = propose(c, refused))) { // until nobody refuses any more
    again = false;
    for (int i = 0; i < c->info.n; i++) {
      survey s = {c, c->info.at[i], false, refused};
      cg_node_each_input(s.reader->compute->node, operand, &s);
    }
    for (int i = 0; i < c->info.n; i++) again |= refused[i] && c->info.at[i]->channels_last;
  }
  if (!any || cg_region_choose(c, "layout", 2, ways, 0) == 0) return;
  for (int i = 0; i < c->info.n; i++) c->info.at[i]->channels_last = false;
}
