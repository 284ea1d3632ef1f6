// Type rules of normalisations.
#include <string.h>

#include "ops/rules.h"

// dtype of the statistics that come back beside the result: f32 where half precision meets f32 parameters.
static cg_dtype statistics(const cg_node *n, const cg_type *x) {
  static const char *const parameters[] = {"weight", "bias", "running_mean", "running_var"};
  for (int i = 0; i < 4; i++) {
    const cg_type *t = cg_r_type(n, parameters[i]);
    if (t && cg_r_half(x->dtype) && t->dtype == CG_F32) return CG_F32;
  }
  return x->dtype;
}

const char *cg_infer_rms_norm(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input");
  int count = cg_arg_list_len(cg_node_arg(n, "normalized_shape"));
  if (!x || count < 1 || count > x->rank) return "normalized_shape does not fit the input";
  const cg_expr *shape[CG_MAX_RANK];
  if (!cg_r_sizes(m, n, "normalized_shape", count, shape))
    for (int i = 0; i < count; i++) CG_RULE(cg_r_equal(m, n, shape[i], x->dim[x->rank - count + i]));
  cg_r_set_like(n, 0, x, x->dtype);
  return NULL;
}

const char *cg_infer_layer_norm(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input");
  int count = cg_arg_list_len(cg_node_arg(n, "normalized_shape"));
  CG_RULE(cg_infer_rms_norm(m, n));
  const cg_expr **dim = cg_r_copy_dims(m, x);
  for (int i = x->rank - count; i < x->rank; i++) dim[i] = cg_xi(m, 1);
  cg_r_set(n, 1, statistics(n, x), x->rank, dim);
  cg_r_set(n, 2, statistics(n, x), x->rank, dim);
  return NULL;
}

const char *cg_infer_group_norm(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input");
  if (!x || x->rank < 2) return "group_norm: an input of 2 dimensions or more is expected";
  cg_r_set_like(n, 0, x, x->dtype);
  if (n->nresults < 3) return NULL;
  const cg_expr **dim = cg_r_new_dims(m, 2), *c, *pixels;
  if (!cg_r_int(n, "N", &dim[0]) || !cg_r_int(n, "group", &dim[1]) || !cg_r_int(n, "C", &c) || !cg_r_int(n, "HxW", &pixels)) return NULL;
  CG_RULE(cg_r_equal(m, n, x->dim[0], dim[0]));
  CG_RULE(cg_r_equal(m, n, x->dim[1], c));
  CG_RULE(cg_r_equal(m, n, cg_x_product(m, x->rank - 2, x->dim + 2), pixels));
  cg_r_set(n, 1, statistics(n, x), 2, dim);
  cg_r_set(n, 2, statistics(n, x), 2, dim);
  return NULL;
}

// Mean and 1/deviation of the batch are there in training only.
const char *cg_infer_batch_norm(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input");
  if (!x || x->rank < 2) return "batch_norm: an input of 2 dimensions or more is expected";
  cg_r_set_like(n, 0, x, x->dtype);
  bool training = cg_r_bool(n, "training", false);
  const cg_expr **dim = cg_r_new_dims(m, 1);
  dim[0] = training ? x->dim[1] : cg_xi(m, 0);
  if (n->schema->nrets < 3) return NULL; // what lies behind them is what it writes to
  cg_r_set(n, 1, statistics(n, x), 1, dim);
  cg_r_set(n, 2, statistics(n, x), 1, dim);
  return NULL;
}
