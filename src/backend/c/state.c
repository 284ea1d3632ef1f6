// State and inputs of main that the program writes to, and whose old value nobody reads afterwards, are written where they lie.
//
// Their new value is a chain of writes: each over a part (a slice, a diagonal, a view by strides; views of views as well), to places that
// indices name, or over all of it. What is written over a part becomes a value of its own, `piece`, whose memory is that part; the values
// in between have no kernel: they are the memory as it is by then. Nothing is copied, and what is not written is not touched.
//
// That needs: who reads an old version comes before the write that ends it, in the program and so in its kernels (groups.c); a piece that
// is made of what was there before reads the very element that it writes; and no kernel fails when it has written a part.
#include <string.h>

#include "backend/c/attention.h"
#include "backend/c/schedule.h"
#include "pass/pass.h"

// ---------------------------------------------------------------- one write

typedef struct {
  cg_sched *c;
  cg_fn *f;
  cg_value *below; // where resolving views ends
  te *t;
  cg_node *made[16]; // views that are there to be asked only
  int nmade;
} finder;

static te_expr *resolve(te *t, cg_value *v, te_expr **idx, void *u) { return cg_c_at_below(t, v, idx, ((finder *)u)->below); }

// Element idx of v, as an element of `below`; NULL: it is none.
static te_expr *element(finder *x, cg_value *v, te_expr **idx, cg_value *below) {
  x->below = below;
  te_forget(x->t);
  te_expr *e = te_at(x->t, v, idx);
  return e->kind == TE_LOAD && e->value == below ? e : NULL;
}

static te_expr **anywhere(finder *x, const cg_value *v) { return te_new_vars(x->t, v->type.rank, v->type.dim); }

// Operators that write over what a view shows: the view of the same arguments, `src` left out.
static const char *view_of(const cg_value *v) {
  static const char *const rows[][2] = {{"aten::slice_scatter", "aten::slice.Tensor"}, {"aten::select_scatter", "aten::select.int"},
                                        {"aten::diagonal_scatter", "aten::diagonal"}, {"aten::as_strided_scatter", "aten::as_strided"}};
  for (size_t i = 0; v->def && i < sizeof rows / sizeof *rows; i++)
    if (cg_node_is_op(v->def, rows[i][0])) return rows[i][1];
  return NULL;
}

// What the write that made v shows of its operand; NULL: there is no telling.
static cg_value *shown(finder *x, const cg_value *v) {
  const cg_node *n = v->def;
  cg_arg arg[16];
  if (n->nargs > 16 || x->nmade == sizeof x->made / sizeof *x->made) return NULL;
  arg[0] = n->arg[0];
  memcpy(arg + 1, n->arg + 2, (size_t)(n->nargs - 2) * sizeof *arg);
  const cg_node *last = v->def->prev;
  cg_node *w = cg_node_like(x->f, v->def, n, view_of(v), n->nargs - 1, arg, 1);
  x->made[x->nmade++] = w;
  bool known = w->op && w->op->infer && !w->op->infer(x->c->m, w) && w->result[0]->type.kind == CG_T_TENSOR;
  while (w->prev != last) cg_node_remove(w->prev); // conditions of the view: the program has stated them where it made its own
  return known ? w->result[0] : NULL;
}

static bool same_shape(const cg_type *a, const cg_type *b) {
  if (a->rank != b->rank) return false;
  for (int d = 0; d < a->rank; d++)
    if (a->dim[d] != b->dim[d]) return false;
  return true;
}

// The write that ends in v, which may be a view that turns back what was turned to be written; NULL: there is none.
static cg_value *write_behind(cg_value *v) {
  for (int i = 0; v && i < 4; i++) {
    if (view_of(v)) return v;
    v = cg_c_viewed(v);
  }
  return NULL;
}

// Whether v is p but for what `write` wrote over `part`, a view of p.
static bool is_all_but(finder *x, cg_value *v, cg_value *write, cg_value *part, cg_value *p) {
  te_expr **idx = anywhere(x, part), *e = element(x, part, idx, p);
  te_expr *back = e && cg_type_numel(x->c->m, &v->type) == cg_type_numel(x->c->m, &write->type) ? element(x, v, e->arg, write) : NULL;
  if (!back) return false;
  for (int d = 0; d < part->type.rank; d++)
    if (!cg_x_is(part->type.dim[d], 1) && back->arg[d] != idx[d]) return false;
  return true;
}

// What v was before it was written to: below its views, of its type.
static cg_value *before(finder *x, cg_value *v, cg_value *write) {
  cg_value *part = cg_arg_tensor(&write->def->arg[0]), *p = part;
  for (int i = 0; p && i < 4; i++) {
    if (cg_type_equal(&p->type, &v->type) && is_all_but(x, v, write, part, p)) return p;
    p = cg_c_viewed(p);
  }
  return NULL;
}

// Where the elements of view w of p lie in its memory.
static bool places(finder *x, cg_value *w, cg_value *p, cg_state_write *out) {
  te_expr **idx = anywhere(x, w), *e = element(x, w, idx, p);
  te_sum s;
  if (!e || !te_sum_of(x->t, te_flat(x->t, p->type.rank, p->type.dim, e->arg), &s)) return false;
  out->start = s.constant;
  out->stride = CG_NEW_ARRAY(x->c->s, const cg_expr *, w->type.rank + 1);
  for (int d = 0; d < w->type.rank; d++) out->stride[d] = cg_x_int(&x->c->m->exprs, 0);
  for (int i = 0; i < s.n; i++) {
    int d = 0;
    while (d < w->type.rank && idx[d] != s.atom[i]) d++;
    if (d == w->type.rank) return false;
    out->stride[d] = s.coef[i];
  }
  return true;
}

// v as a write over a part of another value, which is given. *src: what is written.
static cg_value *over_part(finder *x, cg_value *v, cg_state_write *out, cg_value **src) {
  cg_value *write = write_behind(v), *p = write ? before(x, v, write) : NULL, *w = p ? shown(x, write) : NULL;
  if (!w) return NULL;
  for (;;) {
    *src = cg_arg_tensor(&write->def->arg[1]);
    if (!*src || !view_of(*src)) break; // it is written to itself, as a part of this part
    cg_value *self = cg_arg_tensor(&(*src)->def->arg[0]), *deeper;
    te_expr **idx = anywhere(x, w), *a = self && same_shape(&self->type, &w->type) ? element(x, self, idx, p) : NULL;
    if (!a || a != element(x, w, idx, p) || !(deeper = shown(x, *src))) break;
    write = *src, w = deeper;
  }
  if (!*src || (*src)->type.kind != CG_T_TENSOR || !same_shape(&(*src)->type, &w->type) || !places(x, w, p, out)) return NULL;
  out->made = v;
  return p;
}

static bool is_computed(finder *x, const cg_value *v, te_compute *how) { return v->def && !cg_c_compute(x->c->t, v->def, how); }

static bool is_map(finder *x, const cg_value *v) {
  te_compute how = {0};
  return is_computed(x, v, &how) && how.kind == TE_MAP;
}

static bool writes_over_self(finder *x, const cg_value *v) {
  te_compute how = {0};
  if (!is_computed(x, v, &how) || how.kind != TE_KERNEL || !cg_kernel_template_find(how.kernel)->over) return false;
  return cg_type_equal(&cg_arg_tensor(cg_node_arg(v->def, "self"))->type, &v->type);
}

// ---------------------------------------------------------------- all of them

static cg_value *copy(finder *x, cg_node *at, cg_value *v, cg_dtype t) {
  bool same = v->type.dtype == t;
  cg_arg arg[2] = {cg_a_value(v), cg_a_dtype(t)};
  cg_node *n = cg_node_like(x->f, at, at ? at : v->def, same ? "aten::clone" : "aten::_to_copy", same ? 1 : 2, arg, 1);
  n->result[0]->type = cg_tensor_type(t, v->type.rank, v->type.dim);
  return n->result[0];
}

enum { MOST_WRITES = 4096 };

// The writes from the state to v, the last one first. false: v does not come of the state by writes alone; *templates: and some begin
// with a copy of what they write over.
static bool trace(finder *x, cg_state *s, cg_value *v, cg_value **src, bool *templates) {
  while (v != s->target && s->write.n < MOST_WRITES) {
    cg_state_write w = {.made = v};
    cg_value *of = NULL;
    src[s->write.n] = NULL;
    x->nmade = 0;
    if (v->mark || !v->def) return false;
    if (writes_over_self(x, v)) of = cg_arg_tensor(cg_node_arg(v->def, "self")), *templates = true;
    else of = over_part(x, v, &w, &src[s->write.n]);
    for (int i = x->nmade; i-- > 0;) cg_node_remove(x->made[i]);
    if (!of) {
      if (!*templates || !is_map(x, v)) return false;
      CG_PUSH(x->c->s, &s->write, w); // it is made whole, in the state's memory
      return true;
    }
    CG_PUSH(x->c->s, &s->write, w);
    v = of;
  }
  return v == s->target;
}

static void find(finder *x, const cg_emit_over *o) {
  cg_sched *c = x->c;
  cg_arg *result = &x->f->result.at[o->result];
  cg_value *v = result->kind == CG_A_VALUE ? result->value : NULL, **src = CG_NEW_ARRAY(c->s, cg_value *, MOST_WRITES + 1);
  int plan = cg_emit_value(c->e, o->target);
  bool templates = false;
  if (!v || v->constant || v->mark || !cg_type_equal(&v->type, &o->target->type) || cg_emit_lent(c->e, o)) return;
  cg_state *s = CG_NEW(c->s, cg_state);
  *s = (cg_state){.target = o->target, .memory = {.value = o->target, .plan = plan}, .last = -1};
  if (!trace(x, s, v, src, &templates)) {
    s->write.n = 0;
    cg_state_write all = {.made = v};
    if (!v->def || !is_map(x, v)) *result = cg_a_value(all.made = copy(x, NULL, v, v->type.dtype));
    CG_PUSH(c->s, &s->write, all);
    src[0] = NULL;
  }
  for (int i = 0; i < s->write.n; i++) {
    cg_state_write *w = &s->write.at[i];
    if (src[i]) w->piece = copy(x, w->made->def, src[i], w->made->type.dtype);
    w->made->mark = 1;
  }
  s->versions = s->write.n;
  for (int i = 0; i < s->versions / 2; i++) {
    cg_state_write w = s->write.at[i];
    s->write.at[i] = s->write.at[s->versions - 1 - i], s->write.at[s->versions - 1 - i] = w;
  }
  CG_PUSH(c->s, &c->state, s);
}

void cg_c_find_states(cg_sched *c) {
  finder x = {.c = c, .f = c->f};
  bool any = false;
  for (int i = 0; i < c->e->over.n; i++) {
    const cg_emit_over *o = &c->e->over.at[i];
    if (o->region != c->f) continue;
    if (!any) {
      x.t = te_new(c->m, resolve, &x);
      for (cg_node *n = c->f->first; n; n = n->next)
        for (int k = 0; k < n->nresults; k++) n->result[k]->mark = 0;
    }
    any = true;
    find(&x, o);
  }
}

// ---------------------------------------------------------------- what becomes of their values

cg_state *cg_c_state_of_value(const cg_value *v, int *version) {
  *version = 0;
  if (v->constant || !v->def) return v->data;
  const cg_info *x = cg_c_info(v);
  if (x->alias_of) return cg_c_state_of_value(x->alias_of, version);
  *version = x->version;
  return x->state && x->whole != &x->state->memory ? x->state : NULL;
}

void cg_c_note_states(cg_sched *c) {
  for (int i = 0; i < c->state.n; i++) {
    cg_state *s = c->state.at[i];
    s->target->data = s;
    for (int k = 0; k < s->versions; k++) {
      const cg_state_write *w = &s->write.at[k];
      cg_info *made = cg_c_info(w->made), *piece = w->piece ? cg_c_info(w->piece) : NULL;
      made->state = s, made->version = k + 1;
      made->channels_last = false;
      made->writes = !piece;
      if (!piece) continue;
      piece->state = s, piece->version = k + 1;
      piece->channels_last = false;
      piece->writes = true;
      piece->whole = &s->memory, piece->stride = w->stride, piece->start = w->start;
      made->part = CG_NEW_ARRAY(c->s, cg_info *, 2);
      made->part[made->nparts++] = piece;
      if (k) made->part[made->nparts++] = cg_c_info(s->write.at[k - 1].made);
    }
  }
}

static void refuse(cg_state *s) {
  s->refused = true;
  s->target->data = NULL;
  for (int k = 0; k < s->versions; k++) {
    const cg_state_write *w = &s->write.at[k];
    cg_info *made = cg_c_info(w->made), *piece = w->piece ? cg_c_info(w->piece) : NULL;
    made->state = NULL, made->version = 0, made->writes = made->rereads = false;
    made->part = NULL, made->nparts = 0;
    if (!piece) continue;
    piece->state = NULL, piece->version = 0, piece->writes = piece->rereads = false;
    piece->whole = NULL;
    piece->root = false; // the next one inlines it: what is written should not be computed for every element
    cg_info *src = cg_c_info(cg_arg_tensor(&piece->value->def->arg[0]));
    if (src && !src->view && !src->alias_of) src->root = true;
  }
}

// ---------------------------------------------------------------- whether they may

// Whether e reads x's state at another place than the one that x is about to write.
static bool reads_elsewhere(cg_sched *c, cg_info *x, const te_expr *e, te_expr *place) {
  int version;
  if (!cg_c_first(c, e)) return false;
  if (e->kind == TE_LOAD && cg_c_state_of_value(e->value, &version) == x->state) {
    x->rereads = true;
    if (cg_c_offset(c, e->value, e->arg) != place) return true;
  }
  for (int i = 0; i < e->nargs; i++)
    if (reads_elsewhere(c, x, e->arg[i], place)) return true;
  return false;
}

static bool rewrites_in_order(cg_sched *c, cg_info *x, const cg_reads *r) {
  if (r->index_check) return false;
  cg_c_enter(c, NULL);
  te_expr **idx = te_new_vars(c->t, x->value->type.rank, x->value->type.dim), *e = x->compute->element(c->t, x->compute->node, x->k, idx);
  te_expr *place = cg_c_offset(c, x->value, idx);
  if (x->whole) place = te_op(c->t, TE_ADD, place, te_size(c->t, x->start));
  x->rereads = false;
  cg_c_begin(c);
  return !reads_elsewhere(c, x, e, place);
}

typedef struct {
  cg_sched *c;
  cg_info *x;
  const cg_value *self;
  int selves;
  bool reads;
} others;

static void look_at_other(cg_value *v, void *u) {
  others *o = u;
  cg_reads r = {0};
  int version;
  if (v == o->self && !o->selves++) return;
  cg_c_enter(o->c, NULL);
  cg_c_template_reads(o->c, v, &r);
  for (int i = 0; i < r.values.n; i++) o->reads |= cg_c_state_of_value(r.values.at[i], &version) == o->x->state;
}

// A template that begins with what is there reads it for nothing else.
static bool only_begins(cg_sched *c, cg_info *x) {
  others o = {c, x, cg_arg_tensor(cg_node_arg(x->compute->node, "self")), 0, false};
  cg_node_each_input(x->compute->node, look_at_other, &o);
  return !o.reads;
}

static int written_at(const cg_state *s, int version) {
  const cg_state_write *w = &s->write.at[version - 1];
  return cg_c_info(w->piece ? w->piece : w->made)->index;
}

// What is written to a part, made beforehand: the piece only copies it. false: that is how it is already.
static bool prepare(cg_info *x) {
  cg_info *src = x->whole ? cg_c_info(cg_arg_tensor(&x->value->def->arg[0])) : NULL;
  if (!src || src->root || src->alias_of) return false;
  return src->root = true;
}

// The state that x, which its kernel computes, would read as another version than is there by then; NULL: there is none.
static cg_state *in_the_way(cg_sched *c, cg_info *x) {
  cg_reads r = cg_c_reads_alone(c, x);
  if (x->writes && !(x->compute->kind == TE_MAP ? rewrites_in_order(c, x, &r) : only_begins(c, x))) return x->state;
  for (int i = 0; i < r.values.n; i++) {
    int version;
    cg_state *s = cg_c_state_of_value(r.values.at[i], &version);
    if (!s || version == s->versions || (x->writes && x->state == s && version == x->version - 1)) continue;
    if (x->index > written_at(s, version + 1)) return s;
  }
  return NULL;
}

// A result of the region that is a version's memory.
static cg_state *given_away(cg_sched *c) {
  for (int i = 0; i < c->f->result.n; i++) {
    cg_value *v = c->f->result.at[i].kind == CG_A_VALUE ? c->f->result.at[i].value : NULL;
    int version;
    cg_state *s = v && v->type.kind == CG_T_TENSOR ? cg_c_state_of_value(v, &version) : NULL;
    if (s && version < s->versions) return s;
  }
  return NULL;
}

void cg_c_prove_states(cg_sched *c) {
  cg_state *s;
  while (c->state.n && (s = given_away(c))) refuse(s);
  for (int i = 0; c->state.n && i < c->info.n; i++) {
    cg_info *x = c->info.at[i];
    if (!x->root || x->nparts || (x->compute->kind == TE_KERNEL && x->k) || !(s = in_the_way(c, x))) continue;
    if (x->state != s || !prepare(x)) refuse(s);
    i = -1; // who reads what, and when, has changed
  }
  for (int i = 0; i < c->state.n; i++)
    for (int k = 0; k < c->state.at[i]->versions && !c->state.at[i]->refused; k++) {
      cg_info *made = cg_c_info(c->state.at[i]->write.at[k].made);
      made->plan = cg_emit_alias(c->e, made->value, c->state.at[i]->memory.plan, NULL);
    }
}
