// Type rules of what takes a dimension apart: slices, and what is written over them; pieces.
#include <string.h>

#include "ops/rules.h"
#include "ops/view.h"

static bool is(const cg_node *n, const char *name) { return n->schema && !strcmp(n->schema->name, name); }

// ---------------------------------------------------------------- slices

// A place counted from the end where it is below 0, which only a call may tell: at + size * min(1, max(0, -at)).
static const cg_expr *from_start(cg_module *m, const cg_expr *at, const cg_expr *size) {
  const cg_expr *zero = cg_xi(m, 0), *minus_one = cg_xi(m, -1);
  if (cg_x_at_least(m, at, zero)) return at;
  if (cg_x_at_least(m, minus_one, at)) return cg_xadd(m, at, size);
  return cg_xadd(m, at, cg_xmul(m, size, cg_xmin(m, cg_xi(m, 1), cg_xmax(m, zero, cg_xmul(m, minus_one, at)))));
}

const cg_expr *cg_v_bound(cg_module *m, const cg_expr *at, const cg_expr *size) {
  const cg_expr *zero = cg_xi(m, 0), *short_of = cg_xsub(m, size, at);
  // size - 1 and size - 2 are below 0 only where the size is so small that they are brought to 0 either way.
  if (!cg_x_is(short_of, 1) && !cg_x_is(short_of, 2)) at = from_start(m, at, size);
  return cg_xmin(m, cg_xmax(m, at, zero), size);
}

static const char *range_slice(cg_module *m, const cg_node *n, const cg_expr *size, cg_slice *s) {
  const cg_expr *end;
  s->start = cg_xi(m, 0), end = size, s->step = cg_xi(m, 1);
  if ((!cg_r_is_none(n, "start") && !cg_r_int(n, "start", &s->start)) || (!cg_r_is_none(n, "end") && !cg_r_int(n, "end", &end)) ||
      (!cg_r_is_none(n, "step") && !cg_r_int(n, "step", &s->step)))
    return "a bound of the slice is not known";
  if (cg_x_is_int(s->step) && s->step->value <= 0) return "slice step must be positive";
  bool whole = cg_x_is_int(end) && end->value >= INT64_MAX / 2;
  s->start = cg_v_bound(m, s->start, size);
  end = whole ? size : cg_xmax(m, cg_v_bound(m, end, size), s->start);
  s->length = cg_xsub(m, end, s->start);
  if (!cg_x_is(s->step, 1)) s->length = cg_xdiv(m, cg_xadd(m, s->length, cg_xsub(m, s->step, cg_xi(m, 1))), s->step);
  return NULL;
}

const char *cg_v_slice(cg_module *m, const cg_node *n, const cg_type *x, cg_slice *s) {
  *s = (cg_slice){0};
  if (!x->rank) return "a slice of a 0-dim tensor";
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &s->dim));
  const cg_expr *size = x->dim[s->dim];
  if (cg_node_arg(n, "step")) return range_slice(m, n, size, s);
  s->step = cg_xi(m, 1);
  s->drops = cg_node_arg(n, "index") != NULL; // select
  if (!cg_r_int(n, s->drops ? "index" : "start", &s->start)) return "an index is not known";
  s->start = from_start(m, s->start, size);
  s->length = s->step;
  if (!s->drops && !cg_r_int(n, "length", &s->length)) return "the length is not known";
  const cg_expr *end = cg_xadd(m, s->start, s->length);
  if ((cg_x_is_int(s->start) && s->start->value < 0) || (cg_x_is_int(end) && cg_x_is_int(size) && end->value > size->value))
    return cg_r_why(m, "index out of range for dimension %d of %s", s->dim, cg_r_shape(m, x->rank, x->dim));
  return NULL;
}

// An argument that is not known leaves the type to what the model records.
static bool unknown(const char *why) { return why && (strstr(why, "not known") || strstr(why, "no tensor")); }

// select takes a place that is there, narrow a range; slice's ends are brought inside.
static const char *inside(cg_module *m, const cg_node *n, const cg_type *x, const cg_slice *s) {
  const cg_expr *zero = cg_xi(m, 0);
  if (cg_node_arg(n, "step")) return NULL;
  CG_RULE(cg_r_require(m, n, CG_X_LE, zero, s->start, s->drops ? "an index in range" : "a range inside the dimension"));
  if (s->drops) return cg_r_require(m, n, CG_X_LT, s->start, x->dim[s->dim], "an index in range");
  return cg_r_require(m, n, CG_X_LE, cg_xadd(m, s->start, s->length), x->dim[s->dim], "a range inside the dimension");
}

const char *cg_infer_slice(cg_module *m, cg_node *n) {
  const cg_type *x;
  cg_slice s;
  CG_RULE(cg_r_self(n, &x));
  const char *why = cg_v_slice(m, n, x, &s);
  if (why) return unknown(why) ? NULL : why;
  CG_RULE(inside(m, n, x, &s));
  const cg_expr **dim = cg_r_new_dims(m, x->rank);
  int r = 0;
  for (int i = 0; i < x->rank; i++)
    if (i != s.dim) dim[r++] = x->dim[i];
    else if (!s.drops) dim[r++] = s.length;
  cg_r_set(n, 0, x->dtype, r, dim);
  return NULL;
}

// slice_scatter, select_scatter: the source is of the slice's sizes.
const char *cg_infer_slice_scatter(cg_module *m, cg_node *n) {
  const cg_type *x, *src = cg_r_type(n, "src");
  cg_slice s;
  CG_RULE(cg_infer_same(m, n));
  CG_RULE(cg_r_self(n, &x));
  if (!src || cg_v_slice(m, n, x, &s) || src->rank != x->rank - s.drops) return NULL;
  for (int i = 0, r = 0; i < x->rank; i++) {
    if (i == s.dim && s.drops) continue;
    CG_RULE(cg_r_equal(m, n, src->dim[r++], i == s.dim ? s.length : x->dim[i]));
  }
  return inside(m, n, x, &s);
}

// ---------------------------------------------------------------- pieces

static const cg_expr *ceil_div(cg_module *m, const cg_expr *a, const cg_expr *b) { return cg_xdiv(m, cg_xadd(m, a, cg_xsub(m, b, cg_xi(m, 1))), b); }

// How long pieces of equal size are; NULL: they are not, or it is not known.
static const cg_expr *each_of(cg_module *m, const cg_node *n, const cg_expr *size) {
  const cg_expr *v;
  if (cg_r_int(n, "chunks", &v)) return cg_xmax(m, ceil_div(m, size, v), cg_xi(m, 0));
  return cg_r_int(n, "split_size", &v) ? v : NULL;
}

// Sizes of pieces of `each`, the last one what is left.
static void equal_pieces(cg_module *m, const cg_expr *size, const cg_expr *each, cg_pieces *p) {
  for (int i = 0; i < p->n; i++) {
    const cg_expr *left = cg_xsub(m, size, cg_xmul(m, each, cg_xi(m, i)));
    p->size[i] = i < p->n - 1 ? each : left;
  }
}

// tensor_split by a number: the first (size % n) pieces are one longer.
static void even_pieces(cg_module *m, const cg_expr *size, cg_pieces *p) {
  const cg_expr *count = cg_xi(m, p->n), *each = cg_xdiv(m, size, count), *longer = cg_x_mod(&m->exprs, size, count);
  for (int i = 0; i < p->n; i++) {
    const cg_expr *extra = cg_xmin(m, cg_xmax(m, cg_xsub(m, longer, cg_xi(m, i)), cg_xi(m, 0)), cg_xi(m, 1));
    p->size[i] = cg_xadd(m, each, extra);
  }
}

static const char *sizes_of(cg_module *m, const cg_node *n, const cg_type *x, cg_pieces *p) {
  const cg_expr *size = x->dim[p->dim], *each = each_of(m, n, size), *one = cg_xi(m, 1);
  const char *list = cg_node_arg(n, "split_sizes") ? "split_sizes" : cg_node_arg(n, "split_size") ? "split_size" : "indices";
  const cg_arg *a = cg_node_arg(n, list);
  if (p->drops) {
    if (cg_x_is_int(size) && size->value != p->n) return "unbind: a size that does not fit the number of results";
    for (int i = 0; i < p->n; i++) p->size[i] = one;
  } else if (each) {
    equal_pieces(m, size, each, p);
  } else if (cg_node_arg(n, "sections")) {
    even_pieces(m, size, p);
  } else if (a && a->kind == CG_A_LIST && !strcmp(list, "indices")) {
    const cg_expr *from = cg_xi(m, 0);
    for (int i = 0; i < p->n; i++) {
      const cg_expr *to = size;
      if (i < a->list.n && !cg_arg_int(&a->list.at[i], &to)) return "an index is not known";
      to = cg_xmax(m, cg_v_bound(m, to, size), from);
      p->size[i] = cg_xsub(m, to, from);
      from = to;
    }
  } else if (a && a->kind == CG_A_LIST) {
    if (a->list.n != p->n) return "split: the number of sizes does not fit the number of results";
    for (int i = 0; i < p->n; i++)
      if (!cg_arg_int(&a->list.at[i], &p->size[i])) return "a size is not known";
  } else return "the size of a piece is not known";
  return NULL;
}

const char *cg_v_pieces(cg_module *m, const cg_node *n, const cg_type *x, cg_pieces *p) {
  *p = (cg_pieces){.n = n->nresults, .drops = is(n, "aten::unbind") || is(n, "aten::unbind_copy")};
  if (!x->rank) return "a 0-dim tensor has no pieces";
  if (cg_node_arg(n, "dim")) CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &p->dim));
  else if (is(n, "aten::hsplit")) p->dim = x->rank > 1;
  else if (is(n, "aten::vsplit")) p->dim = 0;
  else if (is(n, "aten::dsplit")) p->dim = 2;
  if (p->dim >= x->rank) return "split: too few dimensions";
  p->size = cg_r_new_dims(m, p->n);
  p->start = cg_r_new_dims(m, p->n);
  CG_RULE(sizes_of(m, n, x, p));
  const cg_expr *at = cg_xi(m, 0);
  for (int i = 0; i < p->n; i++) p->start[i] = at, at = cg_xadd(m, at, p->size[i]);
  return NULL;
}

// The program has as many results as the size gives pieces: the last one is not empty, and no longer than the others.
static const char *as_many(cg_module *m, const cg_node *n, const cg_expr *size, const cg_pieces *p) {
  static const char what[] = "a size that gives this number of pieces";
  const cg_expr *each = each_of(m, n, size), *least = cg_xi(m, cg_node_arg(n, "chunks") != NULL); // nothing in chunks: all are empty
  if (!each) return cg_node_arg(n, "sections") && !is(n, "aten::tensor_split") ? cg_r_divides(m, n, size, p->n) : NULL;
  if (p->n > 1) CG_RULE(cg_r_require(m, n, CG_X_LT, p->start[p->n - 1], cg_xmax(m, size, least), what));
  return cg_r_require(m, n, CG_X_LE, size, cg_xmul(m, each, cg_xi(m, p->n)), what);
}

const char *cg_infer_pieces(cg_module *m, cg_node *n) {
  const cg_type *x;
  cg_pieces p;
  CG_RULE(cg_r_self(n, &x));
  const char *why = cg_v_pieces(m, n, x, &p);
  if (why) return unknown(why) ? NULL : why;
  CG_RULE(as_many(m, n, x->dim[p.dim], &p));
  const cg_expr *sum = cg_xi(m, 0);
  for (int k = 0; k < p.n; k++) sum = cg_xadd(m, sum, p.size[k]);
  CG_RULE(cg_r_require(m, n, CG_X_EQ, sum, x->dim[p.dim], "pieces that make up the whole"));
  for (int k = 0; k < n->nresults; k++) {
    const cg_expr **dim = cg_r_new_dims(m, x->rank);
    int r = 0;
    for (int i = 0; i < x->rank; i++)
      if (i != p.dim) dim[r++] = x->dim[i];
      else if (!p.drops) dim[r++] = p.size[k];
    cg_r_set(n, k, x->dtype, r, dim);
  }
  return NULL;
}
