// Type rules: recurrent layers and their cells.
#include "ops/rules.h"

// Each result is like its state.
const char *cg_infer_cell(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input");
  cg_value **hx;
  int states = cg_r_tensors(m, n, "hx", &hx);
  if (!x || x->rank != 2) return "an input of 2 dimensions is expected";
  cg_dtype t = cg_node_is_op(n, "aten::rnn_relu_cell") ? x->dtype : cg_r_float(x->dtype); // tanh and sigmoid make integers floating
  if (states != n->nresults) return "hx does not hold the states of this kind of cell";
  for (int i = 0; i < states; i++) {
    if (!hx[i] || hx[i]->type.kind != CG_T_TENSOR || hx[i]->type.rank != 2) return "states of 2 dimensions are expected";
    cg_r_set_like(n, i, &hx[i]->type, t);
  }
  return NULL;
}

// The same for packed sequences, whose steps lie behind each other.
const char *cg_infer_recurrent_packed(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "data");
  cg_value **hx;
  int states = cg_r_tensors(m, n, "hx", &hx);
  if (!x || x->rank != 2) return "packed sequences are expected";
  if (states != n->nresults - 1) return "hx does not hold the states of this kind of layer";
  for (int i = 0; i < states; i++) {
    if (!hx[i] || hx[i]->type.kind != CG_T_TENSOR || hx[i]->type.rank != 3) return "states of 3 dimensions are expected";
    cg_r_set_like(n, i + 1, &hx[i]->type, x->dtype);
  }
  const cg_expr **dim = cg_r_copy_dims(m, x);
  dim[1] = cg_xmul(m, hx[0]->type.dim[2], cg_xi(m, 1 + cg_r_bool(n, "bidirectional", false)));
  cg_r_set(n, 0, x->dtype, 2, dim);
  return NULL;
}

// output, then the last states: like the first ones.
const char *cg_infer_recurrent(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input");
  cg_value **hx;
  int states = cg_r_tensors(m, n, "hx", &hx);
  if (!x || x->rank != 3) return "an input of 3 dimensions is expected";
  if (states != n->nresults - 1) return "hx does not hold the states of this kind of layer";
  for (int i = 0; i < states; i++) {
    if (!hx[i] || hx[i]->type.kind != CG_T_TENSOR || hx[i]->type.rank != 3) return "states of 3 dimensions are expected";
    cg_r_set_like(n, i + 1, &hx[i]->type, x->dtype);
  }
  const cg_expr **dim = cg_r_copy_dims(m, x);
  dim[2] = cg_xmul(m, hx[0]->type.dim[2], cg_xi(m, 1 + cg_r_bool(n, "bidirectional", false)));
  cg_r_set(n, 0, x->dtype, 3, dim);
  return NULL;
}
