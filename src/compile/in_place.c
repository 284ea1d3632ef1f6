// Which state, and which inputs that the program writes to, a region of main may write where they lie: those whose new value it makes
// and whose old value nobody reads after it. How, the backend decides; a cache of thousands of rows then takes the time of the new row.
#include <math.h>
#include <string.h>

#include "compile/compile.h"
#include "ops/op.h"

// What main does with the target of an update.
typedef struct {
  int last;     // order of the last node of main that reads it
  bool held;    // somebody may keep its memory, or reads it at a time that is not known
} use;

typedef struct {
  use *of;      // by update; value->mark is its number + 1
  int order;    // of the node of main that is looked at, or that calls what is
  bool passing; // who reads it now is done with it afterwards
} uses;

static void read_by(cg_value *v, void *u) {
  uses *x = u;
  if ((!v->constant && v->def) || !v->mark) return;
  use *y = &x->of[v->mark - 1];
  if (y->last < x->order) y->last = x->order;
  y->held |= !x->passing;
}

static void read_in(uses *x, const cg_fn *f);

static void read_by_functions(uses *x, const cg_arg *a) {
  if (a->kind == CG_A_FN) read_in(x, a->fn);
  for (int i = 0; a->kind == CG_A_LIST && i < a->list.n; i++) read_by_functions(x, &a->list.at[i]);
}

static void read_by_node(uses *x, const cg_node *n) {
  cg_node_each_input(n, read_by, x);
  for (int i = 0; i < n->nargs; i++) read_by_functions(x, &n->arg[i]);
  if (n->callee) read_in(x, n->callee);
}

// What a function of main's hands on may be what it was given.
static void read_in(uses *x, const cg_fn *f) {
  for (const cg_node *n = f->first; n; n = n->next) read_by_node(x, n);
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], read_by, x);
}

static void look(cg_fn *main, uses *x) {
  for (int i = 0; i < main->module->constants.n; i++)
    if (main->module->constants.at[i]->value) main->module->constants.at[i]->value->mark = 0;
  for (int f = 0; f < main->module->fns.n; f++)
    for (int i = 0; i < main->module->fns.at[f]->param.n; i++) main->module->fns.at[f]->param.at[i]->mark = 0;
  for (int i = 0; i < main->update.n; i++)
    if (main->update.at[i].kind != CG_UPDATE_RESHAPE) main->update.at[i].target->mark = i + 1;
  for (const cg_node *n = main->first; n; n = n->next) {
    const cg_backend *b = n->callee ? cg_backend_find(n->callee->backend) : n->backend;
    x->order = n->order;
    x->passing = b && strcmp(b->name, "torch") && !(n->op && n->op->traits & CG_OP_CONTROL); // whose views keep its memory
    read_by_node(x, n);
  }
  x->passing = false;
  for (int i = 0; i < main->result.n; i++) cg_arg_each_value(&main->result.at[i], read_by, x);
  for (int i = 0; i < main->update.n; i++) read_by(main->update.at[i].value, x);
}

// What the region knows the target by; NULL: by several names.
static cg_value *inside(const cg_node *call, cg_value *target) {
  cg_value *as = target;
  for (int i = 0; i < call->nargs && !target->constant; i++) {
    if (call->arg[i].kind != CG_A_VALUE || call->arg[i].value != target) continue;
    if (as != target) return NULL;
    as = call->callee->param.at[i];
  }
  return as;
}

static void offer(cg_emitter *e, const cg_update *u, const use *y) {
  const cg_node *n = u->value->def;
  const cg_constant *c = u->target->constant;
  if (u->value->constant || !n || !n->callee || y->held || y->last > n->order || (c && !cg_type_is_c_order(e->m, &c->type))) return;
  cg_emit_over o = {n->callee, u->value->index, inside(n, u->target), u->target};
  for (int i = 0; i < e->over.n; i++)
    if (e->over.at[i].region == o.region && e->over.at[i].result == o.result) return;
  if (o.target) CG_PUSH(e->s, &e->over, o);
}

void cg_emit_find_over(cg_emitter *e) {
  cg_fn *main = e->m->main;
  uses x = {.of = CG_NEW_ARRAY(e->s, use, main->update.n + 1)};
  if (!main->update.n) return;
  cg_fn_number(main);
  look(main, &x);
  for (int i = 0; i < main->update.n; i++)
    if (main->update.at[i].kind != CG_UPDATE_RESHAPE) offer(e, &main->update.at[i], &x.of[i]);
}

static uint32_t root(const cg_plan_fn *f, uint32_t v) {
  while (f->value[v].kind == CG_V_TENSOR && f->value[v].storage == CG_ST_ALIAS) v = f->value[v].of;
  return v;
}

// A region that came before may have given an input's memory on as a view of it.
bool cg_emit_lent(cg_emitter *e, const cg_emit_over *o) {
  uint32_t of = (uint32_t)cg_emit_value(e, o->in_main);
  for (const cg_node *n = e->m->main->first; n && n->callee != o->region; n = n->next)
    for (int k = 0; k < n->nresults; k++)
      if (n->result[k]->type.kind == CG_T_TENSOR && root(e->fn, (uint32_t)cg_emit_value(e, n->result[k])) == of) return true;
  return false;
}

// ---------------------------------------------------------------- what may be among its elements

static double element(const cg_constant *c, uint64_t i) {
  float f = 0;
  double d = 0;
  uint16_t h;
  const uint8_t *p = c->data + i * cg_dtypes[c->type.dtype].size;
  switch (c->type.dtype) {
  case CG_F64: memcpy(&d, p, 8); return d;
  case CG_F32: memcpy(&f, p, 4); return f;
  case CG_F16: memcpy(&h, p, 2); return (h & 0x7C00) == 0x7C00 ? INFINITY : 0; // 65504 is the largest
  case CG_BF16: {
    memcpy(&h, p, 2);
    uint32_t bits = (uint32_t)h << 16;
    memcpy(&f, &bits, 4);
    return f;
  }
  default: return 0;
  }
}

static bool may_be_wild(const cg_constant *c) {
  for (uint64_t i = 0; c->data && i < c->size / cg_dtypes[c->type.dtype].size; i++)
    if (!(fabs(element(c, i)) <= CG_EMIT_TAME)) return true;
  return false;
}

// A word of state that says so, kept by the kernels that write to the state; all who asked for it get it.
static void keep_word(cg_emitter *e, cg_plan_fn *f, uint32_t state, const cg_constant *c) {
  bool asked = false;
  for (int i = 0; i < e->wild.n; i++) asked |= e->wild.at[i].fn == f && root(f, e->wild.at[i].of) == state;
  if (!asked) return;
  for (uint32_t i = 0; i < f->n_steps; i++)
    for (uint32_t k = 0; k < f->step[i].n_out; k++) {
      bool kept = root(f, f->step[i].out[k]) != state;
      for (int w = 0; w < e->wild.n; w++) kept |= e->wild.at[w].fn == f && e->wild.at[w].writes && e->wild.at[w].of == f->step[i].out[k];
      if (!kept) return;
    }
  int64_t *word = CG_NEW(e->s, int64_t);
  *word = may_be_wild(c);
  int made_now = cg_emit_constant(e, "", CG_I64, 0, NULL, word, sizeof *word);
  cg_plan_value slot = f->value[made_now];
  slot.storage = CG_ST_STATE, slot.index = e->plan->n_states++;
  for (int i = 0; i < e->wild.n; i++)
    if (e->wild.at[i].fn == f && root(f, e->wild.at[i].of) == state) f->value[e->wild.at[i].flag] = slot;
}

void cg_emit_keep_words(cg_emitter *e, cg_plan_fn *f) {
  const cg_update_vec *all = &e->m->main->update;
  const cg_plan_update *u = f->update; // of those that write
  for (int i = 0; i < all->n; i++) {
    if (all->at[i].kind == CG_UPDATE_RESHAPE) continue;
    const cg_constant *c = all->at[i].target->constant;
    if (c && f->value[u->value].kind == CG_V_TENSOR && root(f, u->value) == u->target) keep_word(e, f, u->target, c);
    u++;
  }
}
