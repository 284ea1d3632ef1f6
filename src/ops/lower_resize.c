// Interpolation: each result element from the two nearest of every dimension (linear, in 1, 2 and 3 dimensions), or from the four
// nearest (bicubic; Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, with a = -3/4).
#include <string.h>

#include "ops/rules.h"

typedef struct { te_expr *low, *high, *weight; } tap; // weight: of `high`; NULL: the size stays

// Where element i of `to` falls among `size` elements. Corners are aligned, or the pixels' areas are.
static te_expr *place(te *t, const cg_node *n, te_expr *i, const cg_expr *size, const cg_expr *to, double scale, cg_dtype c) {
  static const char *const names[] = {"i", "size", "to", "by"};
  te_expr *arg[] = {te_cast(t, i, c), te_cast(t, te_size(t, size), c), te_cast(t, te_size(t, to), c), te_number(t, scale > 0 ? 1 / scale : 0, c)};
  const char *text = cg_r_bool(n, "align_corners", false) ? "to > 1 ? i * ((size - 1) / (to - 1)) : 0"
                     : scale > 0 ? "(i + 0.5$) * by - 0.5$" : "(i + 0.5$) * (size / to) - 0.5$";
  return te_body(t, n, c, text, 4, names, arg);
}

static tap find(te *t, const cg_node *n, te_expr *i, const cg_expr *size, const cg_expr *to, double scale, cg_dtype c) {
  static const char *const pair[] = {"x", "y"};
  cg_module *m = te_module(t);
  te_expr *at = te_body(t, n, c, "x < 0 ? 0 : x", 1, pair, (te_expr *[]){place(t, n, i, size, to, scale, c)}), *last = te_size(t, cg_xsub(m, size, cg_xi(m, 1)));
  tap p;
  p.low = te_op(t, TE_MAX, te_op(t, TE_MIN, te_cast(t, at, CG_I64), last), te_int(t, 0));
  p.high = te_op(t, TE_MIN, te_add(t, p.low, te_int(t, 1)), last);
  p.weight = te_body(t, n, c, "x - y > 1 ? 1 : x - y", 2, pair, (te_expr *[]){at, te_cast(t, p.low, c)});
  int64_t least, most;
  cg_x_range(cg_xsub(m, to, size), &least, &most);
  if (least <= 0 && most >= 0) { // one may turn out to be the other
    te_expr *same = te_op(t, TE_EQ, te_size(t, size), te_size(t, to));
    p.low = te_select(t, same, i, p.low), p.high = te_select(t, same, i, p.high), p.weight = te_select(t, same, te_number(t, 0, c), p.weight);
  }
  return p;
}

static te_expr *blend(te *t, const cg_node *n, cg_value *x, const tap *taps, int d, te_expr **in, cg_dtype c) {
  static const char *const names[] = {"a", "b", "w"};
  if (d == x->type.rank) return te_cast(t, te_at(t, x, in), c);
  in[d] = taps[d].low;
  te_expr *a = blend(t, n, x, taps, d + 1, in, c);
  if (!taps[d].weight) return te_body(t, n, c, "a + 0 * a", 1, names, &a); // as PyTorch weighs it: what is infinite becomes NaN
  in[d] = taps[d].high;
  te_expr *b = blend(t, n, x, taps, d + 1, in, c);
  return te_body(t, n, c, "(1 - w) * a + w * b", 3, names, (te_expr *[]){a, b, taps[d].weight});
}

static te_expr *linear_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  const cg_type *to = &n->result[0]->type;
  cg_dtype c = cg_r_wide(to->dtype);
  te_expr *in[CG_MAX_RANK];
  tap taps[CG_MAX_RANK];
  (void)k;
  for (int i = 0; i < 2; i++) in[i] = idx[i];
  for (int i = 2; i < x->type.rank; i++) {
    if (x->type.dim[i] == to->dim[i]) taps[i] = (tap){idx[i], idx[i], NULL}; // whatever scale is given
    else taps[i] = find(t, n, idx[i], x->type.dim[i], to->dim[i], cg_r_scale(n, i - 2, x->type.rank - 2), c);
  }
  return te_cast(t, blend(t, n, x, taps, 2, in, c), to->dtype);
}

const char *cg_lower_linear_resize(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  if (!cg_r_plain_float(n->result[0]->type.dtype)) return "linear interpolation of integers";
  return te_map(out, linear_element);
}

// ---------------------------------------------------------------- bicubic

enum { CUBIC = 4 };
typedef struct { te_expr *at[CUBIC], *weight[CUBIC]; } cubic;

static cubic find_cubic(te *t, const cg_node *n, te_expr *i, const cg_expr *size, const cg_expr *to, double scale, cg_dtype c) {
  static const char *const pair[] = {"x", "y"};
  // Of the neighbours at distances 1 + x, x, 1 - x and 2 - x.
  static const char *const weight[CUBIC] = {
      "((-0.75$ * (x + 1) + 3.75$) * (x + 1) - 6) * (x + 1) + 3", "(1.25$ * x - 2.25$) * x * x + 1",
      "(1.25$ * (1 - x) - 2.25$) * (1 - x) * (1 - x) + 1", "((-0.75$ * (2 - x) + 3.75$) * (2 - x) - 6) * (2 - x) + 3"};
  te_expr *real = place(t, n, i, size, to, scale, c), *last = te_size(t, cg_xsub(te_module(t), size, cg_xi(te_module(t), 1)));
  te_expr *low = te_op(t, TE_MIN, te_cast(t, te_body(t, n, c, "floor$(x)", 1, pair, (te_expr *[]){real}), CG_I64), last);
  te_expr *x = te_body(t, n, c, "x - y < 0 ? 0 : x - y > 1 ? 1 : x - y", 2, pair, (te_expr *[]){real, te_cast(t, low, c)});
  cubic q;
  for (int k = 0; k < CUBIC; k++) {
    q.at[k] = te_op(t, TE_MAX, te_op(t, TE_MIN, te_add(t, low, te_int(t, k - 1)), last), te_int(t, 0));
    q.weight[k] = te_body(t, n, c, weight[k], 1, pair, (te_expr *[]){x});
  }
  return q;
}

static te_expr *mix(te *t, const cg_node *n, te_expr *const *v, te_expr *const *weight, cg_dtype c) {
  static const char *const names[] = {"a", "b", "c", "d", "p", "q", "r", "s"};
  te_expr *arg[2 * CUBIC];
  for (int k = 0; k < CUBIC; k++) arg[k] = v[k], arg[CUBIC + k] = weight[k];
  return te_body(t, n, c, "a * p + b * q + c * r + d * s", 2 * CUBIC, names, arg);
}

static te_expr *cubic_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  const cg_type *to = &n->result[0]->type;
  cg_dtype c = cg_r_wide(to->dtype);
  te_expr *row[CUBIC], *v[CUBIC];
  cubic q[2];
  (void)k;
  for (int i = 0; i < 2; i++) q[i] = find_cubic(t, n, idx[2 + i], x->type.dim[2 + i], to->dim[2 + i], cg_r_scale(n, i, 2), c);
  for (int i = 0; i < CUBIC; i++) {
    for (int j = 0; j < CUBIC; j++) v[j] = te_cast(t, te_at(t, x, (te_expr *[]){idx[0], idx[1], q[0].at[i], q[1].at[j]}), c);
    row[i] = mix(t, n, v, q[1].weight, c);
  }
  return te_cast(t, mix(t, n, row, q[0].weight, c), to->dtype);
}

const char *cg_lower_cubic_resize(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  if (!cg_r_plain_float(n->result[0]->type.dtype)) return "bicubic interpolation of integers";
  return te_map(out, cubic_element);
}
