// Pooling: a reduction over the window, whose elements outside of the image are neutral. Of f32 and f64, a kernel of its own does it
// (backend/c/kernel_pool.c).
#include <math.h>
#include <string.h>

#include "ops/rules.h"

typedef cg_window window;

static cg_dtype dtype_of(const cg_node *n) { return n->result[0]->type.dtype; }

static int spatial_of(const cg_node *n) {
  const char *name = n->schema->name;
  return strstr(name, "1d") ? 1 : strstr(name, "2d") || strstr(name, "2col") || strstr(name, "2im") ? 2 : 3;
}

const char *cg_r_window(cg_module *m, const cg_node *n, cg_window *w) {
  *w = (window){.spatial = spatial_of(n)};
  w->first = cg_self(n)->type.rank - w->spatial;
  CG_RULE(cg_r_ints(m, n, "kernel_size", w->spatial, 1, w->k));
  CG_RULE(cg_r_ints(m, n, "stride", w->spatial, 1, w->s));
  CG_RULE(cg_r_ints(m, n, "padding", w->spatial, 0, w->p));
  for (int i = 0; i < w->spatial; i++) {
    w->d[i] = 1;
    if (!cg_arg_list_len(cg_node_arg(n, "stride"))) w->s[i] = w->k[i];
  }
  if (cg_node_arg(n, "dilation")) CG_RULE(cg_r_ints(m, n, "dilation", w->spatial, 1, w->d));
  return NULL;
}

static window window_of(te *t, const cg_node *n) {
  window w;
  if (cg_r_window(te_module(t), n, &w)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its window does not read", n->schema->key);
  return w;
}

// The element of the window that ridx is at, or `outside`.
static te_expr *read(te *t, const cg_node *n, const window *w, te_expr **idx, te_expr **ridx, te_expr *outside) {
  cg_value *x = cg_self(n);
  te_expr *at[CG_MAX_RANK], *inside = te_integer(t, 1, CG_BOOL);
  for (int i = 0; i < x->type.rank; i++) at[i] = idx[i];
  for (int i = 0; i < w->spatial; i++) {
    int k = w->first + i;
    te_expr *start = te_add(t, te_mul(t, idx[k], te_int(t, w->s[i])), te_int(t, -w->p[i]));
    at[k] = te_add(t, start, te_mul(t, ridx[i], te_int(t, w->d[i])));
    inside = te_op(t, TE_AND, inside, te_op(t, TE_AND, te_op(t, TE_LE, te_int(t, 0), at[k]), te_op(t, TE_LT, at[k], te_size(t, x->type.dim[k]))));
  }
  te_expr *e = te_at(t, x, at);
  e = te_cast(t, e, cg_r_wide(e->dtype));
  return te_select(t, inside, e, outside);
}

static const char *reduce(te *t, const cg_node *n, te_compute *out, te_combine how, te_expr *(*element)(te *, const cg_node *, te_expr **, te_expr **)) {
  window w;
  if (!cg_self(n)) return "self is no tensor";
  CG_RULE(cg_r_window(te_module(t), n, &w));
  if (dtype_of(n) == CG_F32 || dtype_of(n) == CG_F64) {
    out->kind = TE_KERNEL, out->kernel = "pool";
    return NULL;
  }
  out->kind = TE_REDUCE;
  out->combine = how;
  out->accumulate = cg_r_wide(dtype_of(n));
  out->reduce_element = element;
  out->nreduce = w.spatial;
  for (int i = 0; i < w.spatial; i++) out->extent[i] = cg_xi(te_module(t), w.k[i]);
  return NULL;
}

// ---------------------------------------------------------------- max

static te_expr *least(te *t, cg_dtype d) {
  switch (d) {
  case CG_U8: case CG_BOOL: return te_integer(t, 0, d);
  case CG_I8: return te_integer(t, INT8_MIN, d);
  case CG_I16: return te_integer(t, INT16_MIN, d);
  case CG_I32: return te_integer(t, INT32_MIN, d);
  case CG_I64: return te_integer(t, INT64_MIN, d);
  default: return te_number(t, -INFINITY, d);
  }
}

static te_expr *max_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  window w = window_of(t, n);
  return read(t, n, &w, idx, ridx, least(t, cg_r_wide(dtype_of(n))));
}

const char *cg_lower_max_pool(te *t, const cg_node *n, te_compute *out) { return reduce(t, n, out, TE_AMAX, max_element); }

// ---------------------------------------------------------------- mean

static te_expr *avg_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  window w = window_of(t, n);
  return read(t, n, &w, idx, ridx, te_integer(t, 0, cg_r_wide(dtype_of(n))));
}

// How many elements the window has: those inside the image, or inside image and padding, or as is said.
static te_expr *avg_finish(te *t, const cg_node *n, te_expr **idx, te_expr *acc) {
  static const char *const names[] = {"x", "y"};
  window w = window_of(t, n);
  cg_module *m = te_module(t);
  cg_dtype d = cg_r_wide(dtype_of(n));
  bool padding_counts = cg_r_bool(n, "count_include_pad", true);
  te_expr *count = te_int(t, 1), *zero = te_int(t, 0);
  for (int i = 0; i < w.spatial; i++) {
    int k = w.first + i;
    const cg_expr *size = cg_self(n)->type.dim[k];
    te_expr *start = te_add(t, te_mul(t, idx[k], te_int(t, w.s[i])), te_int(t, -w.p[i]));
    te_expr *end = te_op(t, TE_MIN, te_add(t, start, te_int(t, w.k[i])), te_size(t, padding_counts ? cg_xadd(m, size, cg_xi(m, w.p[i])) : size));
    if (!padding_counts) start = te_op(t, TE_MAX, start, zero);
    count = te_mul(t, count, te_sub(t, end, start));
  }
  int64_t fixed = cg_r_int_or(n, "divisor_override", 0);
  if (fixed) count = te_int(t, fixed);
  return te_body(t, n, d, "x / y", 2, names, (te_expr *[]){acc, te_cast(t, count, d)});
}

const char *cg_lower_avg_pool(te *t, const cg_node *n, te_compute *out) {
  if (!cg_r_plain_float(dtype_of(n))) return "a mean of integers";
  CG_RULE(reduce(t, n, out, TE_SUM, avg_element));
  if (out->kind == TE_REDUCE) out->finish = avg_finish;
  return NULL;
}

// ---------------------------------------------------------------- adaptive mean

// Window i of `to` over `size` elements: [floor(i*size/to), ceil((i+1)*size/to))
static te_expr *window_start(te *t, te_expr *i, const cg_expr *size, const cg_expr *to) {
  return te_op(t, TE_FLOORDIV, te_mul(t, i, te_size(t, size)), te_size(t, to));
}

static te_expr *window_end(te *t, te_expr *i, const cg_expr *size, const cg_expr *to) {
  cg_module *m = te_module(t);
  te_expr *past = te_add(t, te_mul(t, i, te_size(t, size)), te_size(t, cg_xadd(m, size, cg_xsub(m, to, cg_xi(m, 1)))));
  return te_op(t, TE_FLOORDIV, past, te_size(t, to));
}

// All windows have one size.
static bool regular(const cg_expr *size, const cg_expr *to) {
  return cg_x_is(to, 1) || size == to || (cg_x_is_int(size) && cg_x_is_int(to) && to->value > 0 && size->value % to->value == 0);
}

static te_expr *adaptive_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  cg_value *x = cg_self(n);
  const cg_type *to = &n->result[0]->type;
  int spatial = spatial_of(n), first = x->type.rank - spatial;
  te_expr *at[CG_MAX_RANK], *inside = te_integer(t, 1, CG_BOOL);
  for (int i = 0; i < first; i++) at[i] = idx[i];
  for (int i = 0; i < spatial; i++) {
    int k = first + i;
    const cg_expr *size = x->type.dim[k], *out = to->dim[k];
    at[k] = te_add(t, window_start(t, idx[k], size, out), ridx[i]);
    if (!regular(size, out)) inside = te_op(t, TE_AND, inside, te_op(t, TE_LT, at[k], window_end(t, idx[k], size, out)));
  }
  te_expr *e = te_at(t, x, at);
  e = te_cast(t, e, cg_r_wide(e->dtype));
  return te_select(t, inside, e, te_integer(t, 0, e->dtype));
}

static te_expr *adaptive_finish(te *t, const cg_node *n, te_expr **idx, te_expr *acc) {
  static const char *const names[] = {"x", "y"};
  const cg_type *x = &cg_self(n)->type, *to = &n->result[0]->type;
  int spatial = spatial_of(n);
  cg_dtype d = cg_r_wide(dtype_of(n));
  te_expr *count = te_int(t, 1);
  for (int k = x->rank - spatial; k < x->rank; k++)
    count = te_mul(t, count, te_sub(t, window_end(t, idx[k], x->dim[k], to->dim[k]), window_start(t, idx[k], x->dim[k], to->dim[k])));
  return te_body(t, n, d, "x / y", 2, names, (te_expr *[]){acc, te_cast(t, count, d)});
}

const char *cg_lower_adaptive_avg_pool(te *t, const cg_node *n, te_compute *out) {
  cg_module *m = te_module(t);
  if (!cg_self(n) || !cg_r_plain_float(dtype_of(n))) return "a mean of integers";
  const cg_type *x = &cg_self(n)->type, *to = &n->result[0]->type;
  out->kind = TE_REDUCE;
  out->combine = TE_SUM;
  out->accumulate = cg_r_wide(dtype_of(n));
  out->reduce_element = adaptive_element;
  out->finish = adaptive_finish;
  for (int k = x->rank - spatial_of(n); k < x->rank; k++) {
    const cg_expr *size = x->dim[k], *o = to->dim[k];
    if (cg_x_is(o, 0)) return "no windows";
    const cg_expr *most = regular(size, o) ? cg_xdiv(m, size, o) : cg_xadd(m, cg_xdiv(m, cg_xadd(m, size, cg_xsub(m, o, cg_xi(m, 1))), o), cg_xi(m, 1));
    out->extent[out->nreduce++] = most;
  }
  return NULL;
}

// ---------------------------------------------------------------- columns back to an image

// Every element is the sum of what the windows that cover it have for it: for each place in a window, at most one.
static te_expr *col2im_element(te *t, const cg_node *n, te_expr **idx, te_expr **ridx) {
  cg_value *x = cg_self(n);
  cg_module *m = te_module(t);
  const cg_type *to = &n->result[0]->type;
  window w = window_of(t, n);
  int lead = x->type.rank - 2; // 1: there are samples
  te_expr *at[CG_MAX_RANK], *inside = te_integer(t, 1, CG_BOOL), *column = idx[lead], *place = te_int(t, 0);
  for (int i = 0; i < 2; i++) {
    const cg_expr *places = cg_r_conv_size(m, to->dim[lead + 1 + i], cg_xi(m, w.k[i]), w.s[i], cg_xi(m, 2 * w.p[i]), w.d[i]);
    te_expr *from = te_sub(t, te_add(t, idx[lead + 1 + i], te_int(t, w.p[i])), te_mul(t, ridx[i], te_int(t, w.d[i])));
    te_expr *window = te_op(t, TE_FLOORDIV, from, te_int(t, w.s[i]));
    inside = te_op(t, TE_AND, inside, te_op(t, TE_AND, te_op(t, TE_LE, te_int(t, 0), from), te_op(t, TE_LT, window, te_size(t, places))));
    if (w.s[i] > 1) inside = te_op(t, TE_AND, inside, te_op(t, TE_EQ, te_op(t, TE_MOD, from, te_int(t, w.s[i])), te_int(t, 0)));
    column = te_add(t, te_mul(t, column, te_int(t, w.k[i])), ridx[i]);
    place = te_add(t, te_mul(t, place, te_size(t, places)), window);
  }
  if (lead) at[0] = idx[0];
  at[lead] = column, at[lead + 1] = place;
  return te_select(t, inside, te_at(t, x, at), te_integer(t, 0, x->type.dtype));
}

const char *cg_lower_col2im(te *t, const cg_node *n, te_compute *out) {
  window w;
  cg_value *x = cg_self(n);
  if (!x || x->type.rank < 2) return "self is no tensor";
  CG_RULE(cg_r_window(te_module(t), n, &w));
  if (dtype_of(n) != CG_F32 && dtype_of(n) != CG_F64) return "sums that PyTorch rounds one by one";
  for (int i = 0; i < 2; i++)
    if (w.s[i] < 1 || w.k[i] < 1 || w.d[i] < 1 || w.p[i] < 0) return "windows that do not read";
  out->kind = TE_REDUCE;
  out->combine = TE_SUM;
  out->accumulate = dtype_of(n);
  out->reduce_element = col2im_element;
  out->nreduce = 2;
  for (int i = 0; i < 2; i++) out->extent[i] = cg_xi(te_module(t), w.k[i]);
  return NULL;
}
