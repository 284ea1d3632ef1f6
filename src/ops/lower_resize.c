// Linear interpolation in 1, 2 and 3 dimensions: each result element from the two nearest of every dimension.
#include <string.h>

#include "ops/rules.h"

typedef struct { te_expr *low, *high, *weight; } tap; // weight: of `high`

// Where element i of `to` falls among `size` elements. Corners are aligned, or the pixels' areas are.
static tap find(te *t, const cg_node *n, te_expr *i, const cg_expr *size, const cg_expr *to, double scale, cg_dtype c) {
  static const char *const names[] = {"i", "size", "to", "by"}, *const pair[] = {"x", "y"};
  cg_module *m = te_module(t);
  bool corners = cg_r_bool(n, "align_corners", false);
  te_expr *arg[] = {te_cast(t, i, c), te_cast(t, te_size(t, size), c), te_cast(t, te_size(t, to), c), te_number(t, scale > 0 ? 1 / scale : 0, c)};
  const char *text = corners ? "to > 1 ? i * ((size - 1) / (to - 1)) : 0"
                     : scale > 0 ? "(i + 0.5$) * by - 0.5$ < 0 ? 0 : (i + 0.5$) * by - 0.5$"
                                 : "(i + 0.5$) * (size / to) - 0.5$ < 0 ? 0 : (i + 0.5$) * (size / to) - 0.5$";
  te_expr *at = te_body(t, n, c, text, 4, names, arg), *last = te_size(t, cg_xsub(m, size, cg_xi(m, 1)));
  tap p;
  p.low = te_op(t, TE_MAX, te_op(t, TE_MIN, te_cast(t, at, CG_I64), last), te_int(t, 0));
  p.high = te_op(t, TE_MIN, te_add(t, p.low, te_int(t, 1)), last);
  p.weight = te_body(t, n, c, "x - y > 1 ? 1 : x - y", 2, pair, (te_expr *[]){at, te_cast(t, p.low, c)});
  return p;
}

static te_expr *blend(te *t, const cg_node *n, cg_value *x, const tap *taps, int d, te_expr **in, cg_dtype c) {
  static const char *const names[] = {"a", "b", "w"};
  if (d == x->type.rank) return te_cast(t, te_at(t, x, in), c);
  in[d] = taps[d].low;
  te_expr *a = blend(t, n, x, taps, d + 1, in, c);
  if (taps[d].low == taps[d].high) return a;
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
    if (x->type.dim[i] == to->dim[i] && (cg_r_bool(n, "align_corners", false) || !cg_r_scale(n, i - 2, x->type.rank - 2))) taps[i] = (tap){idx[i], idx[i], NULL};
    else taps[i] = find(t, n, idx[i], x->type.dim[i], to->dim[i], cg_r_scale(n, i - 2, x->type.rank - 2), c);
  }
  return te_cast(t, blend(t, n, x, taps, 2, in, c), to->dtype);
}

const char *cg_lower_linear_resize(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  if (!cg_r_plain_float(n->result[0]->type.dtype)) return "linear interpolation of integers";
  return te_map(out, linear_element);
}
