// Decompositions: tensors that are written slice by slice, and places that are added to in half precision.
//
// A loop that fills a tensor (`y[:, t] = …`) is a chain of slice_scatter or select_scatter, each a new tensor: as many copies as there
// are steps. The chain is one concatenation of what was written and of what the first tensor still has; who reads a slice in between
// reads what was written there.
#include <string.h>

#include "ops/rules.h"
#include "ops/view.h"

enum { LEAST = 4, LONGEST = 1 << 16 }; // writes that are worth it; positions of the dimension

// A slice of fixed places, one behind the other.
typedef struct {
  int dim;
  int64_t start, length, size; // size: of the whole dimension
  bool drops;
} span;

static bool read_span(cg_module *m, const cg_node *n, const cg_type *x, span *out) {
  cg_slice s;
  if (x->kind != CG_T_TENSOR || cg_v_slice(m, n, x, &s) || !cg_x_is(s.step, 1)) return false;
  const cg_expr *size = x->dim[s.dim];
  if (!cg_x_is_int(s.start) || !cg_x_is_int(s.length) || !cg_x_is_int(size) || size->value > LONGEST) return false;
  *out = (span){s.dim, s.start->value, s.length->value, size->value, s.drops};
  return s.start->value >= 0 && s.start->value + s.length->value <= size->value;
}

static bool is_scatter(const cg_node *n) { return cg_node_is_op(n, "aten::select_scatter") || cg_node_is_op(n, "aten::slice_scatter"); }
static bool is_slice(const cg_node *n) { return cg_node_is_op(n, "aten::select.int") || cg_node_is_op(n, "aten::slice.Tensor"); }

// What n writes over a slice of its first argument. false: it does no such thing.
static bool read_write(cg_module *m, const cg_node *n, span *out) {
  cg_value *x = n && is_scatter(n) ? cg_self(n) : NULL, *src = x ? cg_r_tensor(n, "src") : NULL;
  return src && src->type.kind == CG_T_TENSOR && read_span(m, n, &x->type, out);
}

// ---------------------------------------------------------------- reading a slice of what was written

// Whether v is made by writing to what the program updates: that is best read as it is by then, for it may be written where it lies.
static bool is_updated(const cg_fn *f, cg_value *v) {
  while (v->def && is_scatter(v->def) && cg_self(v->def)) v = cg_self(v->def);
  bool found = v->constant && v->constant->mutated;
  for (int i = 0; i < f->update.n && !v->def && !found; i++) found = f->update.at[i].target == v;
  return found;
}

bool cg_decompose_slice(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  span want, have;
  if (!x || !x->def || !is_scatter(x->def) || !read_span(m, n, &x->type, &want)) return false;
  cg_value *from = x;
  while (read_write(m, from->def, &have) && have.dim == want.dim && (have.start + have.length <= want.start || want.start + want.length <= have.start)) from = cg_self(from->def);
  cg_rewrite r = cg_rewrite_begin(m, n);
  if (read_write(m, from->def, &have) && have.dim == want.dim && have.start == want.start && have.length == want.length && have.drops == want.drops)
    return cg_rewrite_by(&r, cg_make_cast(&r, cg_r_tensor(from->def, "src"), x->type.dtype));
  if (from == x || is_updated(n->fn, from)) return false;
  cg_arg arg[8];
  memcpy(arg, n->arg, (size_t)n->nargs * sizeof *arg);
  arg[0] = cg_a_value(from);
  return cg_rewrite_by(&r, cg_make_node(&r, n->schema->key, 1, n->nargs, arg)->result[0]);
}

// ---------------------------------------------------------------- the chain

typedef struct {
  const cg_value *v;
  int writes, others; // who uses v: as what is written over, otherwise
} users;

static void count(cg_value *v, void *u) { ((users *)u)->others += v == ((users *)u)->v; }

// Whether the only one that needs v writes over another slice of it.
static bool goes_on(cg_module *m, const cg_node *n) {
  users u = {n->result[0], 0, 0};
  span mine, other;
  read_span(m, n, &cg_self(n)->type, &mine);
  for (const cg_node *x = n->next; x; x = x->next) {
    int before = u.others;
    cg_node_each_input(x, count, &u);
    if (u.others == before) continue;
    bool first = u.others == before + 1 && cg_self(x) == u.v;
    if (first && read_write(m, x, &other) && other.dim == mine.dim) u.writes++, u.others = before;
    else if (first && is_slice(x) && read_span(m, x, &u.v->type, &other) && other.dim == mine.dim) u.others = before; // cg_decompose_slice will see to it
    else return false;
  }
  for (int i = 0; i < n->fn->result.n; i++) cg_arg_each_value(&n->fn->result.at[i], count, &u);
  for (int i = 0; i < n->fn->update.n; i++) u.others += n->fn->update.at[i].value == u.v;
  return u.writes == 1 && !u.others;
}

// Positions lo … hi - 1 of what write w (NULL: nobody; they are the first tensor's) put there.
static cg_value *piece(cg_rewrite *r, cg_value *base, const cg_node *w, int dim, int64_t lo, int64_t hi) {
  span s = {.length = -1};
  cg_value *v = base;
  if (w) {
    read_write(r->m, w, &s);
    v = cg_make_cast(r, cg_r_tensor(w, "src"), base->type.dtype);
    if (s.drops) return cg_make(r, "aten::unsqueeze", 2, cg_av(v), cg_a_int(r->m, dim));
  }
  if (hi - lo == s.length) return v;
  return cg_make(r, "aten::slice.Tensor", 5, cg_av(v), cg_a_int(r->m, dim), cg_a_int(r->m, lo - s.start), cg_a_int(r->m, hi - s.start), cg_a_int(r->m, 1));
}

bool cg_decompose_slice_scatter(cg_module *m, cg_node *n) {
  span last, s;
  if (!read_write(m, n, &last) || goes_on(m, n)) return false;
  const cg_node **owner = CG_NEW_ARRAY(m->s, const cg_node *, last.size + 1); // of each position; the last write counts
  cg_value *base = n->result[0];
  int writes = 0, pieces = 0;
  while (read_write(m, base->def, &s) && s.dim == last.dim && (base->def == n || goes_on(m, base->def))) {
    for (int64_t i = s.start; i < s.start + s.length; i++)
      if (!owner[i]) owner[i] = base->def;
    base = cg_self(base->def);
    writes++;
  }
  if (writes < LEAST || base->type.dtype != n->result[0]->type.dtype) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_arg *at = CG_NEW_ARRAY(m->s, cg_arg, last.size + 1);
  for (int64_t lo = 0, hi; lo < last.size; lo = hi) {
    for (hi = lo + 1; hi < last.size && owner[hi] == owner[lo]; hi++) {}
    at[pieces++] = cg_a_value(piece(&r, base, owner[lo], last.dim, lo, hi));
  }
  return cg_rewrite_by(&r, cg_make(&r, "aten::cat", 2, cg_a_list(m, pieces, at), cg_a_int(m, last.dim)));
}

// ---------------------------------------------------------------- sums at places

// In half precision these add and multiply in f32 and round once, as PyTorch does (index_add of vectors, index_put, put and index_reduce
// round each time).
bool cg_decompose_scatter_half(cg_module *m, cg_node *n) {
  cg_value *self = cg_self(n);
  const cg_arg *how = cg_node_arg(n, "reduce");
  if (!self || self->type.kind != CG_T_TENSOR || !cg_r_half(self->type.dtype)) return false;
  if (how && (how->kind != CG_A_STR || !strcmp(how->str.text, "amax") || !strcmp(how->str.text, "amin"))) return false;
  if (cg_node_is_op(n, "aten::index_add") && self->type.rank < 2) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_arg arg[8];
  for (int i = 0; i < n->nargs; i++) {
    cg_value *v = cg_arg_tensor(&n->arg[i]);
    arg[i] = v && v->type.dtype == self->type.dtype ? cg_av(cg_make_cast(&r, v, CG_F32)) : n->arg[i];
  }
  return cg_rewrite_by(&r, cg_make_cast(&r, cg_make_node(&r, n->schema->key, 1, n->nargs, arg)->result[0], self->type.dtype));
}

// ---------------------------------------------------------------- as PyTorch's functional dialect writes select_scatter

// Whether mask is arange(n) == index along one of its dimensions, all others being 1: which.
static bool read_mask(const cg_value *mask, int *dim, int64_t *index) {
  const cg_node *n = mask->def;
  int64_t start = 0, step = 1, size = -1;
  if (!n || !cg_node_is_op(n, "aten::eq.Scalar") || !cg_arg_int_const(&n->arg[1], index)) return false;
  for (int d = 0; d < mask->type.rank; d++) {
    if (cg_x_is(mask->type.dim[d], 1)) continue;
    if (size >= 0 || !cg_x_is_int(mask->type.dim[d])) return false;
    *dim = d, size = mask->type.dim[d]->value;
  }
  if (size < 0) return false;
  n = cg_self(n) ? cg_self(n)->def : NULL;
  while (n && (cg_node_is_op(n, "aten::view") || cg_node_is_op(n, "aten::reshape") || cg_node_is_op(n, "aten::unsqueeze"))) n = cg_self(n) ? cg_self(n)->def : NULL;
  if (!n || strncmp(n->schema->key, "aten::arange", 12) || !cg_x_is(n->result[0]->type.dim[0], size)) return false;
  if (cg_node_arg(n, "start") && !cg_arg_int_const(cg_node_arg(n, "start"), &start)) return false;
  if (cg_node_arg(n, "step") && !cg_arg_int_const(cg_node_arg(n, "step"), &step)) return false;
  return start == 0 && step == 1 && *index >= 0 && *index < size;
}

bool cg_decompose_where(cg_module *m, cg_node *n) {
  cg_value *mask = cg_self(n), *src = cg_arg_tensor(&n->arg[1]), *self = cg_arg_tensor(&n->arg[2]);
  const cg_type *t = &n->result[0]->type;
  int dim = 0;
  int64_t index;
  if (!mask || !src || !self || t->kind != CG_T_TENSOR || !cg_type_equal(&src->type, t) || !cg_type_equal(&self->type, t)) return false;
  if (mask->type.rank != t->rank || !read_mask(mask, &dim, &index) || mask->type.dim[dim] != t->dim[dim]) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_value *row = cg_make(&r, "aten::select.int", 3, cg_av(src), cg_a_int(m, dim), cg_a_int(m, index));
  return cg_rewrite_by(&r, cg_make(&r, "aten::select_scatter", 4, cg_av(self), cg_av(row), cg_a_int(m, dim), cg_a_int(m, index)));
}
