// The casts that torch.autocast('cpu') makes, as nodes: what it does to the arguments of which operator is observed from
// PyTorch (autocast_aten.inc, written by tools/gen_autocast.py). Weights may be cast once and kept there; the values are the same.
#include <string.h>

#include "ops/op.h"
#include "pass/alias.h"

typedef enum {
  LOWER,  // all to the region's dtype
  SINGLE, // all to f32
  WIDEST, // all to f32 if one of them is, else they are of the region's dtype
  INSIDE, // operators that it calls inside are cast, which cannot be said from outside
  INSIDE_SINGLE, INSIDE_HALF, // only where it is given f32; only where it is given half precision
} rule;

static const struct {
  const char *key;
  rule how;
} table[] = {
#include "pass/autocast_aten.inc"
};

static int row_of(const char *key) {
  int lo = 0, hi = (int)(sizeof table / sizeof *table) - 1;
  while (lo <= hi) {
    int mid = (lo + hi) / 2, c = strcmp(key, table[mid].key);
    if (!c) return mid;
    if (c < 0) hi = mid - 1;
    else lo = mid + 1;
  }
  return -1;
}

typedef struct {
  cg_module *m;
  cg_node *n;
  cg_dtype lower;
  cg_dtype to;       // what cast_all casts to
  bool single, half, wrong; // some argument is f32, is of the region's dtype, is of neither
} caster;

// Autocast leaves f64, integers and complex numbers alone.
static bool eligible(const caster *c, const cg_value *v) {
  if (v->type.kind == CG_T_UNKNOWN || v->type.kind == CG_T_LATE)
    cg_fail_at(c->m->s, CIERGE_BAD_MODEL, c->n->at, "%s (node %s) is in an autocast region, and the type of its argument %%%s is not known there",
               c->n->schema->key, c->n->name ? c->n->name : "", v->name);
  return v->type.kind == CG_T_TENSOR && cg_is_float(v->type.dtype) && v->type.dtype != CG_F64;
}

static void look(cg_value *v, void *u) {
  caster *c = u;
  if (!eligible(c, v)) return;
  if (v->type.dtype == CG_F32) c->single = true;
  else if (v->type.dtype == c->lower) c->half = true;
  else c->wrong = true;
}

static void cast_all(caster *c, cg_arg *a) {
  if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) cast_all(c, &a->list.at[i]);
  if (a->kind != CG_A_VALUE || !eligible(c, a->value) || a->value->type.dtype == c->to) return;
  cg_node *x = cg_node_like(c->n->fn, c->n, c->n, "aten::_to_copy", 2, (cg_arg[]){*a, cg_a_dtype(c->to)}, 1);
  x->result[0]->type = a->value->type;
  x->result[0]->type.dtype = c->to;
  x->result[0]->type.offset = NULL;
  *a = cg_a_value(x->result[0]);
}

_Noreturn static void fail(const caster *c, cierge_code code, const char *why) {
  cg_fail_at(c->m->s, code, c->n->at, "%s (node %s) is in an autocast region, %s", c->n->schema->key, c->n->name ? c->n->name : "", why);
}

static void cast_node(caster *c) {
  int row = row_of(c->n->schema->key);
  if (row < 0) return;
  cg_node_each_input(c->n, look, c);
  rule how = table[row].how;
  bool inside = how == INSIDE || (how == INSIDE_SINGLE && (c->single || c->wrong)) || (how == INSIDE_HALF && (c->half || c->wrong));
  if (inside && (c->single || c->half || c->wrong))
    fail(c, CIERGE_MISSING, "and casts happen inside of it: save the program after run_decompositions(), which shows them");
  if (how >= INSIDE) return;
  if (how == WIDEST && c->wrong) fail(c, CIERGE_BAD_MODEL, "and mixes its dtype with another of half precision, which PyTorch refuses");
  c->to = how == SINGLE || (how == WIDEST && c->single) ? CG_F32 : c->lower;
  for (int i = 0; i < c->n->nargs; i++) cast_all(c, &c->n->arg[i]);
}

void cg_autocast(cg_module *m, cg_fn *f, cg_dtype lower) {
  for (cg_node *n = f->first; n; n = n->next) {
    if (!n->schema || !strcmp(n->schema->key, "higher_order.wrap_with_autocast")) continue; // a region of its own
    for (int i = 0; i < n->nargs; i++)
      if (n->arg[i].kind == CG_A_FN) cg_autocast(m, n->arg[i].fn, lower);
    caster c = {.m = m, .n = n, .lower = lower};
    cast_node(&c);
    bool known = true;
    for (int i = 0; i < n->nresults; i++) known = known && n->result[i]->type.kind != CG_T_UNKNOWN;
    if (!known && n->op && n->op->infer && !cg_node_late_input(n)) n->op->infer(m, n); // programs of text need not record types; what does not fit, the type rules will say
  }
}
