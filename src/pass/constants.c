// What depends on constants alone is computed now: the nodes that do become a program of their own, which the compiler runs
// (cg_pipeline.evaluate), and its results become constants. What only they read leaves the artifact.
//
// A value is worth it under these rules, all of them from shapes, so that the same program gives the same artifact:
// - It is no larger than what it is made of; up to EXTRA larger where something dear is saved: a function of libm, a reduction, a gather,
//   or packing for the product that reads it. All such excess together is at most TOTAL.
// - Constants that only change place are copied where the constant itself is not kept for others.
// - What is made of numbers alone (aranges, masks) is cheaper to compute than to read, unless something dear is in it.
// - Computing it is estimated at no more than LONGEST.
// What raises an error stays where it is and raises it in the call.
#include <stdint.h>

#include "ops/op.h"
#include "pass/cost.h"
#include "pass/steer.h"

enum { EXTRA = 4 << 20, TOTAL = 64 << 20 }; // bytes
static const double LONGEST = 1e9;            // ns, of one value

enum { READ = 1, PACKED = 2 }; // bits of value->mark: read by what is computed in the call; by a product or a convolution
static char known[1];          // node->data of nodes that depend on constants alone

typedef CG_VEC(cg_value *) values;
typedef CG_VEC(cg_node *) nodes;

typedef struct {
  cg_pipeline *p;
  cg_module *m;
  cg_fn *f;
  int stamp;       // of what has been walked over
  double excess;   // bytes so far
  values chosen, by; // values, and the constants that they are; NULL: computing it raises an error
} finder;

// ---------------------------------------------------------------- what depends on constants alone

static bool static_tensor(const cg_type *t) { return t->kind == CG_T_TENSOR && cg_type_is_static(t); }

static bool static_layout(const cg_type *t) {
  for (int d = 0; t->stride && d < t->rank; d++)
    if (!cg_x_is_int(t->stride[d]) || t->stride[d]->value < 0) return false;
  return !t->offset || cg_x_is_int(t->offset);
}

static bool known_value(const cg_value *v) {
  const cg_constant *k = v->constant;
  if (k) return !k->mutated && k->data && static_tensor(&v->type) && static_layout(&k->type);
  return v->def && v->def->data == known;
}

static bool known_arg(const cg_arg *a) {
  switch (a->kind) {
  case CG_A_VALUE: return known_value(a->value);
  case CG_A_INT: return cg_x_is_int(a->i);
  case CG_A_LIST:
    for (int i = 0; i < a->list.n; i++)
      if (!known_arg(&a->list.at[i])) return false;
    return true;
  case CG_A_FN: case CG_A_BLOB: return false;
  default: return true;
  }
}

static bool depends_on_constants(const cg_pipeline *p, const cg_node *n) {
  const unsigned never = CG_OP_RANDOM | CG_OP_EFFECT | CG_OP_STRIDE_SENSITIVE | CG_OP_NONDETERMINISTIC_VALUES | CG_OP_CONTROL | CG_OP_SCALAR | CG_OP_OPAQUE;
  if (!n->schema || !n->op || n->op->traits & never || n->schema->mutates || !n->nresults) return false;
  if (cg_node_draws(n) || cg_node_has_effect(n) || cg_steer_rule(p, n)) return false;
  for (int i = 0; i < n->nargs; i++)
    if (!known_arg(&n->arg[i])) return false;
  for (int i = 0; i < n->nresults; i++)
    if (!static_tensor(&n->result[i]->type) || cg_is_complex(n->result[i]->type.dtype)) return false;
  return true;
}

// ---------------------------------------------------------------- what is worth it

typedef struct {
  finder *w;
  nodes stack;
  double from, read, leaves; // bytes: of the node's own operands; of constants below it; of those that nothing else reads
  double ns;
  bool moves, dear;          // only views; something dear
} weighing;

static bool moves_only(const cg_node *n) { return n->op->traits & CG_OP_VIEW; }

static bool is_dear(const cg_node *n) {
  bool reads = false;
  for (int i = 0; i < n->nargs && !reads; i++) reads = cg_arg_tensor(&n->arg[i]) != NULL;
  return reads && cg_cost_kind_of(n) != CG_COST_POINTWISE && !moves_only(n);
}

static void add_bytes(cg_value *v, void *u) {
  weighing *x = u;
  x->from += cg_cost_bytes(x->w->m, &v->type);
}

static void weigh_input(cg_value *v, void *u) {
  weighing *x = u;
  if (v->def && v->def->mark != x->w->stamp) {
    v->def->mark = x->w->stamp;
    CG_PUSH(x->w->m->s, &x->stack, v->def);
  }
  void *stamp = (void *)(uintptr_t)x->w->stamp;
  if (!v->constant || v->data == stamp) return;
  v->data = stamp;
  double bytes = cg_cost_bytes(x->w->m, &v->type);
  x->read += bytes;
  if (!(v->mark & READ)) x->leaves += bytes;
}

static bool worth_it(finder *w, cg_node *n, bool packed) {
  const cg_backend *b = w->p->opt->backends[0];
  weighing x = {.w = w, .moves = true};
  w->stamp++;
  n->mark = w->stamp;
  CG_PUSH(w->m->s, &x.stack, n);
  while (x.stack.n) {
    cg_node *at = x.stack.at[--x.stack.n];
    x.ns += cg_cost_node_ns(at, b);
    x.moves &= moves_only(at);
    x.dear |= is_dear(at);
    cg_node_each_input(at, weigh_input, &x);
  }
  double bytes = 0;
  for (int i = 0; i < n->nresults; i++) bytes += cg_cost_bytes(w->m, &n->result[i]->type);
  cg_node_each_input(n, add_bytes, &x);
  if (x.ns > LONGEST || (moves_only(n) && bytes > x.from)) return false; // an expansion is read through
  double more = bytes - (x.moves ? x.leaves : x.read), allowed = x.moves ? 0 : x.dear || (packed && x.read > 0) ? EXTRA : 0;
  if ((!x.read && !x.dear) || more > allowed || w->excess + (more > 0 ? more : 0) > TOTAL) return false;
  if (more > 0) w->excess += more;
  return true;
}

// ---------------------------------------------------------------- which values the rest of the program reads

static void mark_read(cg_value *v, void *u) { v->mark |= *(int *)u; }

static void unmark(cg_value *v, void *u) { (void)u, v->mark = 0; }

static void choose(finder *w) {
  cg_fn *f = w->f;
  int read = READ;
  for (cg_node *n = f->first; n; n = n->next) {
    cg_node_each_input(n, unmark, NULL);
    for (int i = 0; i < n->nresults; i++) n->result[i]->mark = 0;
  }
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], unmark, NULL);
  for (cg_node *n = f->first; n; n = n->next) {
    n->data = NULL, n->mark = 0;
    if (depends_on_constants(w->p, n)) n->data = known;
  }
  for (int i = 0; i < f->result.n; i++) cg_arg_each_value(&f->result.at[i], mark_read, &read);
  for (int i = 0; i < f->update.n; i++) f->update.at[i].value->mark |= READ;
  for (cg_node *n = f->first; n; n = n->next) {
    int how = n->op && n->op->traits & CG_OP_ANCHOR ? READ | PACKED : READ;
    if (n->data != known) cg_node_each_input(n, mark_read, &how);
  }
  for (cg_node *n = f->last; n; n = n->prev) {
    int uses = 0, how = READ;
    for (int i = 0; n->data == known && i < n->nresults; i++) uses |= n->result[i]->mark;
    if (!uses) continue;
    if (worth_it(w, n, uses & PACKED)) {
      for (int i = 0; i < n->nresults; i++)
        if (n->result[i]->mark) CG_PUSH(w->m->s, &w->chosen, n->result[i]);
      continue;
    }
    if (moves_only(n)) how |= uses;
    n->data = NULL;
    cg_node_each_input(n, mark_read, &how);
  }
}

// ---------------------------------------------------------------- the program that computes them

typedef struct {
  finder *w;
  cg_value **want;
  int n;
  void **out;         // [n] in the module's session
  cg_session own;     // of the small program
  cg_module *small;
  cg_fn *main;
  CG_VEC(const cg_constant *) in;
} small_program;

static cg_type type_in(small_program *x, const cg_type *t) {
  const cg_expr **dim = CG_NEW_ARRAY(&x->own, const cg_expr *, t->rank + 1);
  for (int i = 0; i < t->rank; i++) dim[i] = cg_x_int(&x->small->exprs, t->dim[i]->value);
  return cg_tensor_type(t->dtype, t->rank, dim);
}

static cg_value *value_in(small_program *x, cg_value *v) {
  if (v->data) return v->data;
  cg_value *p = cg_param_new(x->main, cg_format(&x->own, "c%d", x->in.n), type_in(x, &v->type));
  cg_input in = {.name = p->name, .param = p};
  CG_PUSH(&x->own, &x->small->inputs, in);
  CG_PUSH(&x->own, &x->in, v->constant);
  return v->data = p;
}

static cg_arg arg_in(small_program *x, const cg_arg *a) {
  cg_arg b = *a;
  if (a->kind == CG_A_VALUE) b.value = value_in(x, a->value);
  if (a->kind == CG_A_INT) b.i = cg_x_int(&x->small->exprs, a->i->value);
  if (a->kind == CG_A_LIST) {
    b.list.at = CG_NEW_ARRAY(&x->own, cg_arg, a->list.n + 1);
    for (int i = 0; i < a->list.n; i++) b.list.at[i] = arg_in(x, &a->list.at[i]);
  }
  return b;
}

static void forget(cg_value *v, void *u) { (void)u, v->data = NULL; }

static void need(cg_value *v, void *u) {
  if (v->def) v->def->mark = *(int *)u;
}

// The nodes that the wanted values need, in order.
static void build(small_program *x) {
  finder *w = x->w;
  int stamp = ++w->stamp;
  for (int i = 0; i < x->n; i++) x->want[i]->def->mark = stamp;
  for (cg_node *n = w->f->last; n; n = n->prev)
    if (n->mark == stamp) cg_node_each_input(n, need, &stamp), cg_node_each_input(n, forget, NULL);
  x->small = cg_module_new(&x->own);
  x->small->source = "constants", x->small->producer = w->m->producer;
  x->main = cg_fn_new(x->small, "main");
  for (const cg_node *n = w->f->first; n; n = n->next) {
    if (n->mark != stamp) continue;
    cg_node *c = cg_node_new(x->main, NULL, n->schema, n->nargs, n->nresults);
    for (int i = 0; i < n->nargs; i++) c->arg[i] = arg_in(x, &n->arg[i]);
    for (int i = 0; i < n->nresults; i++) {
      c->result[i]->type = type_in(x, &n->result[i]->type);
      n->result[i]->data = c->result[i];
    }
  }
  for (int i = 0; i < x->n; i++) {
    cg_arg a = cg_a_value(x->want[i]->data);
    CG_PUSH(&x->own, &x->main->result, a);
  }
}

static void compute(cg_session *s, void *u) {
  small_program *x = u;
  (void)s;
  build(x);
  x->w->p->evaluate(x->w->p, x->small, x->in.at, x->out);
}

static cg_value *constant_of(finder *w, const cg_value *v, void *data) {
  cg_type t = v->type;
  t.stride = NULL, t.offset = NULL;
  uint64_t size = (uint64_t)cg_type_numel(w->m, &t)->value * cg_dtypes[t.dtype].size;
  cg_constant *k = cg_constant_new(w->m, cg_fresh_name(w->m, v->name), t, data, size);
  k->kind = CG_CONST_TENSOR;
  return k->value;
}

// chosen[from … from + n - 1]. Where one of them raises an error the others are tried without it.
static void evaluate(finder *w, int from, int n) {
  cg_session *s = w->m->s;
  small_program x = {.w = w, .want = w->chosen.at + from, .n = n, .out = CG_NEW_ARRAY(s, void *, n)};
  for (int i = 0; i < n; i++) {
    const cg_type *t = &x.want[i]->type;
    x.out[i] = cg_alloc(s, (size_t)cg_type_numel(w->m, t)->value * cg_dtypes[t->dtype].size + 1);
  }
  cg_session_init(&x.own);
  cierge_code code = cg_try(&x.own, compute, &x);
  cg_session_end(&x.own);
  if (code == CIERGE_NO_MEMORY) cg_fail(s, code, "out of memory");
  for (int i = 0; code == CIERGE_OK && i < n; i++) w->by.at[from + i] = constant_of(w, x.want[i], x.out[i]);
  if (code == CIERGE_OK || n == 1) return;
  evaluate(w, from, n / 2);
  evaluate(w, from + n / 2, n - n / 2);
}

// ---------------------------------------------------------------- the pass

static void replace(finder *w) {
  cg_fn *f = w->f;
  cg_replace_begin(f);
  for (int i = 0; i < w->chosen.n; i++)
    if (w->by.at[i]) cg_replace(w->m, w->chosen.at[i], cg_a_value(w->by.at[i]));
  for (cg_node *n = f->first; n; n = n->next) cg_replace_in(n);
  cg_replace_end(f);
  cg_remove_dead(f);
}

void cg_pass_constants(cg_pipeline *p, cg_module *m) {
  if (!p->opt->native || !p->evaluate) return; // LibTorch gets the model as it is
  double excess = 0;
  for (int i = 0; i < m->fns.n; i++) {
    finder w = {.p = p, .m = m, .f = m->fns.at[i], .excess = excess};
    choose(&w);
    if (!w.chosen.n) continue;
    for (int k = 0; k < w.chosen.n; k++) CG_PUSH(m->s, &w.by, NULL);
    cg_tell(p->opt, m->s, "computing %d values of constants alone", w.chosen.n);
    evaluate(&w, 0, w.chosen.n);
    replace(&w);
    excess = w.excess;
  }
}
