// Concatenations whose pieces are computed where they lie in them, so that no kernel copies them.
//
// A piece of a stored concatenation that is a stored value itself (or one reader's only, so that it may become one) gets the memory
// of its place there: the strides of the whole, and an alias of it in the plan. Where pieces already lie side by side in another
// whole as this concatenation has them, it is a part of that (the growing concatenations of dense networks).
#include <stdlib.h>

#include "backend/c/schedule.h"

// Bytes of a piece one behind the other, at least. Shorter runs cost more than the copy would: half-written cache lines, pages of which
// little is meant (measured on a U-Net: 64 and 128 bytes lose, 256 gain; in a cache a line is enough). Others that read the piece there
// read as little of each page.
enum { LEAST_RUN = 256, LEAST_RUN_IN_CACHE = 64, LEAST_RUN_OF_MANY = 4096, CACHE = 512 << 10 };

typedef struct {
  cg_info *x;             // whose memory it is
  const cg_expr **stride; // [rank of x], in the memory of the whole
  const cg_expr *start;   // from the beginning of the concatenation
} piece;

typedef struct {
  cg_sched *c;
  bool *rigid; // by index: somebody expects C order of it
  bool *taken; // by index: it is a piece of the concatenation that is looked at
} assembly;

// ---------------------------------------------------------------- who may lie in another's memory

static void expects_order(cg_value *v, void *u) {
  assembly *a = u;
  if (v->type.kind != CG_T_TENSOR) return;
  cg_info *x = cg_c_info(cg_c_through_views(a->c, v, te_new_vars(a->c->t, v->type.rank, v->type.dim))->value);
  if (x) a->rigid[x->index] = true;
}

static void find_rigid(assembly *a) {
  cg_sched *c = a->c;
  for (int i = 0; i < c->info.n; i++) {
    cg_info *x = c->info.at[i], *of = x->alias_of ? cg_c_info(x->alias_of) : NULL;
    if (x->is_result) a->rigid[i] = true;
    if (of) a->rigid[of->index] = true;
    if (x->compute->kind != TE_KERNEL) continue;
    const cg_kernel_template *k = cg_kernel_template_find(x->compute->kernel);
    if (!k->strided && !x->k) cg_node_each_input(x->compute->node, expects_order, a);
    if (!k->epilogue || x->k) a->rigid[i] = true; // written as the template likes
  }
}

// ---------------------------------------------------------------- where pieces lie

// Where operand v of the concatenation, which covers dimension `dim` from `at` on, has its elements. false: not as they are computed.
static bool find_piece(cg_sched *c, const cg_info *cat, cg_value *v, int dim, bool stack, const cg_expr *at, piece *out) {
  te_expr **idx = te_new_vars(c->t, v->type.rank, v->type.dim), *e = cg_c_through_views(c, v, idx);
  cg_info *x = cg_c_info(e->value);
  if (!x) return false;
  const cg_type *t = &x->value->type;
  int used = 0, wanted = 0;
  for (int r = 0; r < v->type.rank; r++) wanted += idx[r]->kind == TE_VAR;
  cg_expr_pool *pool = &c->m->exprs;
  const cg_expr *start = cg_x_mul(pool, at, cg_c_stride(c, cat->value, dim));
  *out = (piece){x, CG_NEW_ARRAY(c->s, const cg_expr *, t->rank + 1), cat->whole ? cg_x_add(pool, cat->start, start) : start};
  for (int k = 0; k < t->rank; k++) {
    out->stride[k] = cg_x_int(pool, 0);
    if (cg_x_is(t->dim[k], 1)) continue;
    int r = 0;
    while (r < v->type.rank && idx[r] != e->arg[k]) r++;
    if (r == v->type.rank || v->type.dim[r] != t->dim[k]) return false; // not all of it, or reshaped
    out->stride[k] = cg_c_stride(c, cat->value, stack && r >= dim ? r + 1 : r);
    used++;
  }
  return used == wanted;
}

// Whether enough of piece x, which covers `extent` of dimension `dim`, lies one behind the other.
static bool long_runs(const cg_info *cat, const cg_info *x, int dim, const cg_expr *extent) {
  const cg_type *t = &cat->value->type;
  double size = (double)cg_dtypes[t->dtype].size, run = size * (double)cg_x_hint(extent), before = 1;
  bool inside = true;
  for (int k = t->rank - 1; k >= 0; k--) {
    int d = cg_c_memory_order(cat->value, k);
    if (d == dim) inside = false;
    else *(inside ? &run : &before) *= (double)cg_x_hint(t->dim[d]);
  }
  bool cached = size * cg_c_numel_hint(t->rank, t->dim) <= CACHE;
  return before <= 1 || run >= (cached ? LEAST_RUN_IN_CACHE : x->uses > 1 ? LEAST_RUN_OF_MANY : LEAST_RUN);
}

static bool may_move(const assembly *a, const cg_info *x, const cg_info *cat) {
  const cg_type *t = &x->value->type, *whole = &cat->value->type;
  bool alike = t->rank == whole->rank ? x->channels_last == cat->channels_last : !x->channels_last && !cat->channels_last;
  return !x->whole && !x->state && !a->rigid[x->index] && t->dtype == whole->dtype && alike && (x->root || x->compute->kind == TE_MAP);
}

static bool lies_there(const cg_info *cat, const piece *p) {
  if (p->x->whole != cat->whole || p->x->start != p->start) return false;
  for (int k = 0; k < p->x->value->type.rank; k++)
    if (!cg_x_is(p->x->value->type.dim[k], 1) && p->x->stride[k] != p->stride[k]) return false;
  return true;
}

// ---------------------------------------------------------------- one concatenation

static bool fits(const assembly *a, const cg_info *cat, const piece *p, int dim, const cg_expr *extent, bool part) {
  return part ? lies_there(cat, p) : !a->taken[p->x->index] && may_move(a, p->x, cat) && long_runs(cat, p->x, dim, extent);
}

// Its pieces, each computed there or, if it is a part of another whole itself, lying there already. Their number, 0: it is copied.
static int find_pieces(assembly *a, cg_info *cat, bool part, piece *out) {
  cg_sched *c = a->c;
  const cg_node *n = cat->compute->node;
  const cg_expr *at = cg_x_int(&c->m->exprs, 0);
  bool stack = cg_node_is_op(n, "aten::stack"), all = true;
  int count = 0, stored = 0, dim = cg_join_dim(n);
  if (dim < 0) return 0;
  for (int i = 0; i < cg_arg_list_len(cg_node_arg(n, "tensors")); i++) {
    cg_value *v = cg_join_piece(n, i);
    if (!v) continue;
    const cg_expr *extent = stack ? cg_x_int(&c->m->exprs, 1) : v->type.dim[dim];
    piece *p = &out[count];
    all = find_piece(c, cat, v, dim, stack, at, p) && fits(a, cat, p, dim, extent, part);
    if (!all) break;
    a->taken[p->x->index] = true;
    stored += p->x->root;
    count++;
    at = cg_x_add(&c->m->exprs, at, extent);
  }
  for (int i = 0; i < count; i++) a->taken[out[i].x->index] = false;
  return all && stored ? count : 0; // else its kernel computes all of them, and copies none
}

// As a part of the memory in which its first piece lies.
static bool adopt(assembly *a, cg_info *cat) {
  cg_value *first = cg_join_piece(cat->compute->node, 0);
  cg_info *x = first ? cg_c_info(first) : NULL;
  if (!x || !x->whole || a->rigid[cat->index] || x->value->type.rank != cat->value->type.rank) return false;
  for (int k = 0; k < x->value->type.rank; k++)
    if (cg_x_is(x->value->type.dim[k], 1) && !cg_x_is(cat->value->type.dim[k], 1)) return false;
  cat->whole = x->whole, cat->start = x->start, cat->stride = x->stride;
  return true;
}

static void assemble(assembly *a, cg_info *cat) {
  int most = cg_arg_list_len(cg_node_arg(cat->compute->node, "tensors"));
  piece *p = CG_NEW_ARRAY(a->c->s, piece, most + 1);
  bool part = !cat->whole && adopt(a, cat);
  int n = find_pieces(a, cat, part, p);
  if (!n && part) cat->whole = NULL;
  if (!n) return;
  cat->part = CG_NEW_ARRAY(a->c->s, cg_info *, n);
  cat->nparts = n;
  for (int i = 0; i < n; i++) {
    cat->part[i] = p[i].x;
    if (part) continue;
    p[i].x->root = true;
    p[i].x->whole = cat->whole ? cat->whole : cat;
    p[i].x->start = p[i].start, p[i].x->stride = p[i].stride;
  }
}

// The largest first: it gets the pieces that others want as well, and its pieces may be concatenations themselves.
static int by_size(const void *x, const void *y) {
  const cg_info *p = *(cg_info *const *)x, *q = *(cg_info *const *)y;
  double a = cg_c_numel_hint(p->value->type.rank, p->value->type.dim), b = cg_c_numel_hint(q->value->type.rank, q->value->type.dim);
  return a != b ? (a < b) - (a > b) : q->index - p->index;
}

void cg_c_assemble(cg_sched *c) {
  assembly a = {c, CG_NEW_ARRAY(c->s, bool, c->info.n + 1), CG_NEW_ARRAY(c->s, bool, c->info.n + 1)};
  cg_info **todo = CG_NEW_ARRAY(c->s, cg_info *, c->info.n + 1);
  int n = 0;
  for (int i = 0; i < c->info.n; i++) {
    cg_info *x = c->info.at[i];
    if (!cg_node_is_op(x->compute->node, "aten::cat") && !cg_node_is_op(x->compute->node, "aten::stack")) continue;
    todo[n++] = x;
  }
  if (!n) return;
  qsort(todo, (size_t)n, sizeof *todo, by_size);
  find_rigid(&a);
  for (int i = 0; i < n; i++)
    if (todo[i]->root && !todo[i]->state) assemble(&a, todo[i]);
}
