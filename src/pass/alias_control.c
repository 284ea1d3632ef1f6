// What branches, loops, scans and TorchScript give may be what they were given, or lie over it: y = x if c else x.clone(). Which of both
// only the run knows, so a write to the one leaves the other unclear (alias.c). And state that the program writes to is handed to the
// sub-graphs that read it, as any other value: what they read is what was written before.
#include "base/vec.h"
#include "ir/control.h"
#include "pass/alias.h"

// ---------------------------------------------------------------- what a result may lie over

typedef struct {
  cg_session *s;
  const cg_node *node;   // the control node, whose operands are where the search ends
  cg_value_vec *found;   // its operands, constants, and tensors that are made inside
} search;

static void add(const search *x, cg_value *v) {
  for (int i = 0; i < x->found->n; i++)
    if (x->found->at[i] == v) return;
  CG_PUSH(x->s, x->found, v);
}

// The argument that result r of n is, or may lie over; NULL: it is a tensor of its own.
static cg_value *shared_argument(const cg_node *n, int r) {
  int arg, item;
  if (cg_node_shares(n, r, &arg, &item) == CG_NO_ALIAS) {
    const cg_schema_arg *ret = n->schema ? cg_node_ret(n, r, &item) : NULL;
    arg = -1;
    for (int i = 0; ret && ret->alias_write && i < n->schema->nargs; i++)
      if (n->schema->arg[i].alias_set == ret->alias_set) arg = i;
    if (arg < 0) return NULL;
  }
  return cg_arg_tensor(item < 0 ? &n->arg[arg] : cg_arg_list_at(&n->arg[arg], item));
}

static void of_result(const search *x, const cg_node *n, int r, bool *seen);

static void of_value(const search *x, const cg_node *n, const cg_control *c, const cg_fn *f, cg_value *v, bool *seen) {
  while (v->def && !cg_is_control(v->def)) {
    cg_value *up = shared_argument(v->def, v->index);
    if (!up) break;
    v = up;
  }
  if (v->constant) {
    add(x, v);
    return;
  }
  if (v->def && cg_is_control(v->def)) { // one inside: of what it was given, in terms of f
    search in = {x->s, v->def, CG_NEW(x->s, cg_value_vec)};
    of_result(&in, v->def, v->index, NULL);
    for (int i = 0; i < in.found->n; i++) of_value(x, n, c, f, in.found->at[i], seen);
    return;
  }
  const cg_arg_vec *part[] = {&c->carried, &c->scanned, &c->extra};
  int at = 0;
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < part[k]->n; i++, at++) {
      if (f->param.at[at] != v) continue;
      cg_value *given = cg_arg_tensor(&part[k]->at[i]);
      if (k == 0) of_result(x, n, i, seen);
      else if (given) add(x, given);
      return;
    }
  add(x, v);
}

// seen: of what is carried, whose results were looked at.
static void of_result(const search *x, const cg_node *n, int r, bool *seen) {
  cg_control c;
  if (cg_control_read(n, &c)) return; // which the type rules will say
  if (!seen) seen = CG_NEW_ARRAY(x->s, bool, c.carried.n + 1);
  if (r < c.carried.n) {
    cg_value *first = cg_arg_tensor(&c.carried.at[r]);
    if (seen[r]) return;
    seen[r] = true;
    if (first) add(x, first);
  } else if (c.kind == CG_CONTROL_SCAN) return; // one slice behind the other, in memory of its own
  for (int i = c.kind == CG_CONTROL_WHILE; i < c.nfns; i++) {
    const cg_arg *a = &c.fn[i]->result.at[r];
    if (a->kind == CG_A_VALUE && cg_type_may_be_tensor(&a->value->type)) of_value(x, n, &c, c.fn[i], a->value, seen);
  }
}

// LibTorch says with which arguments and returns a script's result may share memory. A result stands for itself here. What a module keeps
// may be anything to it: where there is such, an argument that is written to is taken for a clone, as it runs.
static void of_script(const search *x, const cg_node *n, int r) {
  const cg_script *s = cg_node_script(n);
  bool by_place = s && s->nreturns == n->nresults; // else there are lists among them
  for (int i = 0; s && i < s->nreturns; i++) {
    const bool *with = s->shares + (size_t)i * (size_t)(s->nargs + s->nreturns);
    if (by_place && i != r) continue;
    for (int k = 0; k < s->nargs; k++)
      for (int j = 0; with[k] && !(s->stateful && s->writes[k]) && CG_TORCHOP_INPUTS + k < n->nargs && j < cg_arg_list_len(&n->arg[CG_TORCHOP_INPUTS + k]); j++) {
        cg_value *v = cg_arg_tensor(cg_arg_list_at(&n->arg[CG_TORCHOP_INPUTS + k], j));
        if (v) add(x, v);
      }
    for (int k = 0; k < n->nresults && by_place; k++)
      if (with[s->nargs + k] && k != r) add(x, n->result[k]);
  }
}

cg_value_vec cg_node_lies_over(const cg_node *n, int r) {
  cg_value_vec found = {0};
  if (cg_node_is_torchop(n)) of_script(&(search){n->fn->module->s, n, &found}, n, r);
  else if (cg_is_control(n)) of_result(&(search){n->fn->module->s, n, &found}, n, r, NULL);
  return found;
}

// ---------------------------------------------------------------- state that sub-graphs read

typedef struct {
  cg_value *constant;
  bool found;
} use;

static void see(cg_value *v, void *u) {
  use *x = u;
  x->found |= v == x->constant;
}

static bool speaks_of(const cg_fn *f, cg_value *constant) {
  use x = {constant, false};
  for (const cg_node *n = f->first; n; n = n->next) cg_node_each_input(n, see, &x);
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], see, &x);
  return x.found;
}

static void hand_over(cg_module *m, cg_fn *f, cg_value *constant) {
  for (cg_node *n = f->first; n; n = n->next) {
    cg_control c;
    if (!cg_is_control(n) || cg_control_read(n, &c)) continue;
    bool wanted = false;
    for (int i = 0; i < c.nfns; i++) {
      hand_over(m, c.fn[i], constant);
      wanted |= speaks_of(c.fn[i], constant);
    }
    if (!wanted) continue;
    cg_control_add_operand(n, constant);
    for (int i = 0; i < c.nfns; i++) cg_replace_uses(c.fn[i], constant, cg_param_new(c.fn[i], cg_fresh_name(m, constant->constant->name), constant->type));
  }
}

void cg_hand_over_state(cg_module *m, cg_value *constant) { hand_over(m, m->main, constant); }

bool cg_sub_graphs_speak_of(const cg_module *m, cg_value *constant) {
  for (int i = 0; i < m->fns.n; i++)
    if (m->fns.at[i] != m->main && speaks_of(m->fns.at[i], constant)) return true;
  return false;
}
