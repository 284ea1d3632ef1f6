// Decompositions: cells of recurrent layers, one step each. Source: aten/src/ATen/native/RNN.cpp, LSTMCell, GRUCell, SimpleCell.
#include <string.h>

#include "ops/rules.h"

static cg_value *linear(cg_rewrite *r, const cg_node *n, cg_value *x, const char *weight, const char *bias) {
  cg_value *b = cg_r_tensor(n, bias);
  return cg_make(r, "aten::linear", 3, cg_av(x), cg_av(cg_r_tensor(n, weight)), b ? cg_av(b) : cg_a_none());
}

// Columns k * width … of the gates, which lie side by side.
static cg_value *gate(cg_rewrite *r, cg_value *all, const cg_expr *width, int k) {
  cg_module *m = r->m;
  cg_arg from = cg_a_expr(cg_xmul(m, width, cg_xi(m, k))), to = cg_a_expr(cg_xmul(m, width, cg_xi(m, k + 1)));
  return cg_make(r, "aten::slice.Tensor", 4, cg_av(all), cg_a_int(m, 1), from, to);
}

static cg_value *one(cg_rewrite *r, const char *key, cg_value *x) { return cg_make(r, key, 1, cg_av(x)); }
static cg_value *two(cg_rewrite *r, const char *key, cg_value *x, cg_value *y) { return cg_make(r, key, 2, cg_av(x), cg_av(y)); }
static cg_value *add(cg_rewrite *r, cg_value *x, cg_value *y) { return two(r, "aten::add.Tensor", x, y); }
static cg_value *mul(cg_rewrite *r, cg_value *x, cg_value *y) { return two(r, "aten::mul.Tensor", x, y); }

static bool lstm(cg_rewrite *r, cg_node *n, cg_value *x, cg_value *h, cg_value *c) {
  const cg_expr *w = h->type.dim[1];
  cg_value *all = add(r, linear(r, n, x, "w_ih", "b_ih"), linear(r, n, h, "w_hh", "b_hh"));
  cg_value *in = one(r, "aten::sigmoid", gate(r, all, w, 0)), *forget = one(r, "aten::sigmoid", gate(r, all, w, 1));
  cg_value *cell = one(r, "aten::tanh", gate(r, all, w, 2)), *out = one(r, "aten::sigmoid", gate(r, all, w, 3));
  cg_value *next = add(r, mul(r, forget, c), mul(r, in, cell));
  return cg_rewrite_end(r, 2, (cg_value *[]){mul(r, out, one(r, "aten::tanh", next)), next});
}

static bool gru(cg_rewrite *r, cg_node *n, cg_value *x, cg_value *h) {
  const cg_expr *w = h->type.dim[1];
  cg_value *a = linear(r, n, x, "w_ih", "b_ih"), *b = linear(r, n, h, "w_hh", "b_hh");
  cg_value *reset = one(r, "aten::sigmoid", add(r, gate(r, b, w, 0), gate(r, a, w, 0)));
  cg_value *in = one(r, "aten::sigmoid", add(r, gate(r, b, w, 1), gate(r, a, w, 1)));
  cg_value *fresh = one(r, "aten::tanh", add(r, gate(r, a, w, 2), mul(r, gate(r, b, w, 2), reset)));
  return cg_rewrite_by(r, add(r, mul(r, two(r, "aten::sub.Tensor", h, fresh), in), fresh));
}

bool cg_decompose_cell(cg_module *m, cg_node *n) {
  cg_value **state, *x = cg_r_tensor(n, "input");
  int states = cg_r_tensors(m, n, "hx", &state);
  if (!x || x->type.rank != 2 || states != n->nresults) return false;
  for (int i = 0; i < states; i++)
    if (!state[i] || state[i]->type.rank != 2 || state[i]->type.dtype != x->type.dtype) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  if (states == 2) return lstm(&r, n, x, state[0], state[1]);
  if (!strcmp(n->schema->key, "aten::gru_cell")) return gru(&r, n, x, state[0]);
  cg_value *sum = add(&r, linear(&r, n, state[0], "w_hh", "b_hh"), linear(&r, n, x, "w_ih", "b_ih"));
  return cg_rewrite_by(&r, one(&r, strstr(n->schema->key, "relu") ? "aten::relu" : "aten::tanh", sum));
}
