// Losses: of differences, and of classes by a linear layer.
#include <math.h>
#include <string.h>

#include "ops/rules.h"

static bool is(const cg_node *n, const char *name) { return !strcmp(n->schema->name, name); }

// ---------------------------------------------------------------- differences

// reduction: 0 none, 1 mean, 2 sum
static cg_value *reduced(cg_rewrite *r, const cg_node *n, cg_value *v) {
  int64_t how = cg_r_int_or(n, "reduction", 1);
  if (how) v = cg_make(r, how == 1 ? "aten::mean" : "aten::sum", 1, cg_av(v));
  return cg_make_cast(r, v, n->result[0]->type.dtype);
}

bool cg_decompose_difference_loss(cg_module *m, cg_node *n) {
  cg_value *a = cg_r_tensor(n, "self"), *b = cg_r_tensor(n, "target");
  if (!a || !b || !cg_r_plain_float(a->type.dtype) || a->type.dtype != b->type.dtype) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_dtype t = a->type.dtype;
  a = cg_make_cast(&r, a, cg_r_wide(t)), b = cg_make_cast(&r, b, cg_r_wide(t));
  cg_value *d = cg_make(&r, "aten::sub.Tensor", 2, cg_av(a), cg_av(b));
  if (is(n, "aten::mse_loss")) return cg_rewrite_by(&r, reduced(&r, n, cg_make(&r, "aten::square", 1, cg_av(d))));
  cg_value *e = cg_make(&r, "aten::abs", 1, cg_av(d));
  if (is(n, "aten::l1_loss")) return cg_rewrite_by(&r, reduced(&r, n, e));
  // smooth_l1: e < beta ? e*e/(2 beta) : e - beta/2; huber: e <= delta ? e*e/2 : delta*(e - delta/2)
  bool huber = is(n, "aten::huber_loss");
  double at = cg_r_double_or(n, huber ? "delta" : "beta", 1);
  if (at == 0) return cg_rewrite_by(&r, reduced(&r, n, e));
  cg_value *square = cg_make(&r, "aten::mul.Scalar", 2, cg_av(cg_make(&r, "aten::mul.Tensor", 2, cg_av(e), cg_av(e))), cg_a_float(huber ? 0.5 : 0.5 / at));
  cg_value *line = cg_make(&r, "aten::sub.Scalar", 2, cg_av(e), cg_a_float(0.5 * at));
  if (huber) line = cg_make(&r, "aten::mul.Scalar", 2, cg_av(line), cg_a_float(at));
  cg_value *near = cg_make(&r, huber ? "aten::le.Scalar" : "aten::lt.Scalar", 2, cg_av(e), cg_a_float(at));
  return cg_rewrite_by(&r, reduced(&r, n, cg_make(&r, "aten::where.self", 3, cg_av(near), cg_av(square), cg_av(line))));
}

// ---------------------------------------------------------------- torch.nn.functional.linear_cross_entropy in chunks

// It exists in PyTorch's Python alone (torch/nn/modules/linear_cross_entropy.py), and computes its derivatives as it goes: where none is
// wanted, what is left is the loss, which needs no chunks but those of the kernels.
const char *cg_infer_linear_cross_entropy(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input"), *w = cg_r_type(n, "linear_weight"), *target = cg_r_type(n, "target");
  const cg_type *bias = cg_r_type(n, "linear_bias"), *each = cg_r_type(n, "weight");
  if (!x || !w || !target || x->rank != 2 || w->rank != 2 || target->rank != 1 || target->dtype != CG_I64 || x->dtype != w->dtype || !cg_r_plain_float(x->dtype))
    return "linear_cross_entropy: expects rows of floats, a matrix of the same and int64 classes";
  if ((bias && bias->rank != 1) || (each && each->rank != 1)) return "linear_cross_entropy: expects a bias and a weight for each class";
  CG_RULE(cg_r_equal(m, n, x->dim[1], w->dim[1]));
  CG_RULE(cg_r_equal(m, n, x->dim[0], target->dim[0]));
  if (bias) CG_RULE(cg_r_equal(m, n, bias->dim[0], w->dim[0]));
  if (each) CG_RULE(cg_r_equal(m, n, each->dim[0], w->dim[0]));
  const cg_expr *none = cg_xi(m, 0), *nothing[2] = {none, none};
  if (n->nresults == 1) {
    cg_r_set(n, 0, x->dtype, 1, (const cg_expr *[]){x->dim[0]});
    return NULL;
  }
  cg_r_set(n, 0, x->dtype, 0, NULL);
  cg_r_set(n, 1, x->dtype, 2, cg_r_bool(n, "compute_input_grad", false) ? cg_r_copy_dims(m, x) : nothing);
  cg_r_set(n, 2, x->dtype, 2, cg_r_bool(n, "compute_linear_weight_grad", false) ? cg_r_copy_dims(m, w) : nothing);
  cg_r_set(n, 3, x->dtype, 1, cg_r_bool(n, "compute_linear_bias_grad", false) ? (const cg_expr *[]){w->dim[0]} : nothing);
  return NULL;
}

bool cg_decompose_linear_cross_entropy(cg_module *m, cg_node *n) {
  cg_value *x = cg_r_tensor(n, "input"), *w = cg_r_tensor(n, "linear_weight"), *target = cg_r_tensor(n, "target");
  cg_value *bias = cg_r_tensor(n, "linear_bias"), *weight = cg_r_tensor(n, "weight");
  const char *how = n->nresults == 1 ? "none" : cg_r_text(n, "reduction");
  const cg_expr *ignored;
  bool known = !strcmp(how, "none") || !strcmp(how, "sum") || !strcmp(how, "mean");
  if (!x || !w || !target || !known || !cg_r_int(n, "ignore_index", &ignored) || cg_r_double_or(n, "label_smoothing", 0) != 0) return false;
  if (cg_r_bool(n, "compute_input_grad", false) || cg_r_bool(n, "compute_linear_weight_grad", false) || cg_r_bool(n, "compute_linear_bias_grad", false)) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  cg_dtype own = x->type.dtype, t = cg_r_wide(own);
  const cg_expr *classes = w->type.dim[0];
  bool is_class = cg_x_is_int(ignored) && cg_x_is_int(classes) && ignored->value >= 0 && ignored->value < classes->value;
  cg_value *mask = cg_make(&r, "aten::eq.Scalar", 2, cg_av(target), cg_a_expr(ignored));
  if (!is_class) target = cg_make(&r, "aten::masked_fill.Scalar", 3, cg_av(target), cg_av(mask), cg_a_int(m, 0));
  cg_value *logits = cg_make(&r, "aten::linear", 3, cg_av(cg_make_cast(&r, x, t)), cg_av(cg_make_cast(&r, w, t)), cg_av(bias ? cg_make_cast(&r, bias, t) : NULL));
  cg_value *logs = cg_make(&r, "aten::log_softmax.int", 2, cg_av(logits), cg_a_int(m, 1));
  cg_value *at = cg_make(&r, "aten::unsqueeze", 2, cg_av(target), cg_a_int(m, 1));
  cg_value *own_class = cg_make(&r, "aten::squeeze.dim", 2, cg_av(cg_make(&r, "aten::gather", 3, cg_av(logs), cg_a_int(m, 1), cg_av(at))), cg_a_int(m, 1));
  cg_value *each = weight ? cg_make_cast(&r, cg_make(&r, "aten::index_select", 3, cg_av(weight), cg_a_int(m, 0), cg_av(target)), t)
                          : cg_make_cast(&r, cg_make(&r, "aten::logical_not", 1, cg_av(mask)), t);
  if (weight) each = cg_make(&r, "aten::masked_fill.Scalar", 3, cg_av(each), cg_av(mask), cg_a_int(m, 0));
  cg_value *loss = cg_make(&r, "aten::mul.Tensor", 2, cg_av(own_class), cg_av(cg_make(&r, "aten::neg", 1, cg_av(each))));
  if (*how != 'n') loss = cg_make(&r, "aten::sum", 1, cg_av(loss));
  if (*how == 'm') { // of no row, or rows that weigh nothing: NaN
    cg_value *all = cg_make(&r, "aten::sum", 1, cg_av(each)), *empty = cg_make(&r, "aten::eq.Scalar", 2, cg_av(all), cg_a_int(m, 0));
    loss = cg_make(&r, "aten::div.Tensor", 2, cg_av(loss), cg_av(cg_make(&r, "aten::masked_fill.Scalar", 3, cg_av(all), cg_av(empty), cg_a_float(NAN))));
  }
  cg_value *out[4] = {cg_make_cast(&r, loss, own)};
  for (int i = 1; i < n->nresults; i++)
    out[i] = cg_make(&r, "aten::zeros", 2, cg_make_sizes(&r, i == 3 ? 1 : 2, n->result[i]->type.dim), cg_a_dtype(own));
  return cg_rewrite_end(&r, n->nresults, out);
}
