// Type rules: linear algebra and statistics that LibTorch computes.
#include <string.h>

#include "ops/rules.h"

static const char *matrices(const cg_node *n, const cg_type **x) {
  CG_RULE(cg_r_self(n, x));
  return (*x)->rank < 2 ? "a matrix or a batch of them is expected" : NULL;
}

// cov, corrcoef: the variables are rows.
const char *cg_infer_cov(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  if (x->rank > 2) return "two dimensions or fewer are expected";
  const cg_expr **dim = cg_r_new_dims(m, 2);
  if (x->rank == 2) dim[0] = dim[1] = x->dim[0];
  bool one = x->rank < 2 || cg_x_is(x->dim[0], 1); // a single variable gives a number
  if (!one && !cg_x_at_least(m, x->dim[0], cg_xi(m, 2)) && !cg_x_is(x->dim[0], 0)) return NULL;
  cg_r_set(n, 0, cg_r_float(x->dtype), one ? 0 : 2, dim);
  return NULL;
}

const char *cg_infer_trace(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  if (x->rank != 2) return "a matrix is expected";
  cg_r_set(n, 0, cg_is_integral(x->dtype) ? CG_I64 : x->dtype, 0, cg_r_new_dims(m, 0));
  return NULL;
}

const char *cg_infer_addbmm(cg_module *m, cg_node *n) {
  const cg_type *x, *a = cg_r_type(n, "batch1"), *b = cg_r_type(n, "batch2");
  CG_RULE(cg_r_self(n, &x));
  if (!a || !b || a->rank != 3 || b->rank != 3) return "two batches of matrices are expected";
  const cg_expr **dim = cg_r_new_dims(m, 2);
  dim[0] = a->dim[1], dim[1] = b->dim[2];
  cg_r_set(n, 0, a->dtype, 2, dim);
  return NULL;
}

// cdist: the distance of each row of x1 from each of x2, batch by batch.
const char *cg_infer_cdist(cg_module *m, cg_node *n) {
  const cg_type *a = cg_r_type(n, "x1"), *b = cg_r_type(n, "x2");
  if (!a || !b || a->rank < 2 || b->rank < 2) return "matrices or batches of them are expected";
  cg_type z = cg_tensor_type(a->dtype, a->rank - 2, cg_r_copy_dims(m, a)), with = cg_tensor_type(b->dtype, b->rank - 2, cg_r_copy_dims(m, b));
  CG_RULE(cg_broadcast(m, n, &z, &with));
  const cg_expr **dim = cg_r_new_dims(m, z.rank + 2);
  memcpy(dim, z.dim, (size_t)z.rank * sizeof *dim);
  dim[z.rank] = a->dim[a->rank - 2], dim[z.rank + 1] = b->dim[b->rank - 2];
  cg_r_set(n, 0, a->dtype, z.rank + 2, dim);
  return NULL;
}

// pdist: of each two rows.
const char *cg_infer_pdist(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  if (x->rank != 2) return "a matrix is expected";
  const cg_expr **dim = cg_r_new_dims(m, 1);
  dim[0] = cg_xdiv(m, cg_xmul(m, x->dim[0], cg_xsub(m, x->dim[0], cg_xi(m, 1))), cg_xi(m, 2));
  cg_r_set(n, 0, x->dtype, 1, dim);
  return NULL;
}

// geqrf: reflectors like the input, and as many factors as its smaller side has.
const char *cg_infer_geqrf(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(matrices(n, &x));
  cg_r_set_like(n, 0, x, x->dtype);
  const cg_expr **dim = cg_r_copy_dims(m, x);
  dim[x->rank - 2] = cg_xmin(m, x->dim[x->rank - 2], x->dim[x->rank - 1]);
  cg_r_set(n, 1, x->dtype, x->rank - 1, dim);
  return NULL;
}

// linalg_eig, linalg_eigvals: complex values and, in the former, vectors.
const char *cg_infer_eig(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(matrices(n, &x));
  cg_dtype t = cg_r_complex(x->dtype);
  cg_r_set(n, 0, t, x->rank - 1, cg_r_copy_dims(m, x));
  if (n->nresults > 1) cg_r_set_like(n, 1, x, t);
  return NULL;
}

// linalg_lstsq by a driver whose results' sizes are not in the data. Source: aten/src/ATen/native/BatchLinearAlgebra.cpp.
const char *cg_infer_lstsq(cg_module *m, cg_node *n) {
  const cg_type *a, *b = cg_r_type(n, "b");
  CG_RULE(matrices(n, &a));
  const char *driver = cg_r_text(n, "driver");
  bool gels = !strcmp(driver, "gels"), gelsy = !*driver || !strcmp(driver, "gelsy");
  if (!b || b->rank != a->rank || (!gels && !gelsy)) return NULL;
  int r = a->rank;
  for (int i = 0; i < r - 1; i++)
    if (a->dim[i] != b->dim[i]) return NULL;
  const cg_expr *rows = a->dim[r - 2], *columns = a->dim[r - 1], **none = cg_r_new_dims(m, 1);
  bool more = cg_x_at_least(m, rows, cg_xadd(m, columns, cg_xi(m, 1)));
  if (gels && !more && !cg_x_at_least(m, columns, rows)) return NULL;
  none[0] = cg_xi(m, 0);
  const cg_expr **x = cg_r_copy_dims(m, b), **rest = cg_r_copy_dims(m, b);
  x[r - 2] = columns, rest[r - 2] = b->dim[r - 1];
  cg_r_set(n, 0, a->dtype, r, x);
  cg_r_set(n, 1, a->dtype, gels && more ? r - 1 : 1, gels && more ? rest : none);
  cg_r_set(n, 2, CG_I64, gels ? 1 : r - 2, gels ? none : cg_r_copy_dims(m, a));
  cg_r_set(n, 3, a->dtype, 1, none);
  return NULL;
}

// linalg_matrix_rank and its forms, with tolerances for each matrix or for all.
const char *cg_infer_matrix_rank(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(matrices(n, &x));
  cg_type t = cg_tensor_type(CG_I64, x->rank - 2, cg_r_copy_dims(m, x));
  for (int i = 1; i < n->nargs; i++) {
    const cg_value *tolerance = cg_arg_tensor(&n->arg[i]);
    if (tolerance) CG_RULE(cg_broadcast(m, n, &t, &tolerance->type));
  }
  cg_r_set(n, 0, CG_I64, t.rank, t.dim);
  return NULL;
}

// combinations: r of n elements, in order.
const char *cg_infer_combinations(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  int64_t r = cg_r_int_or(n, "r", 2), count = 1;
  if (x->rank != 1 || r < 0) return "a vector and a number of elements are expected";
  if (!cg_x_is_int(x->dim[0]) || r > 32) return NULL;
  int64_t all = x->dim[0]->value + (cg_r_bool(n, "with_replacement", false) ? r - 1 : 0);
  for (int64_t i = 0; i < r; i++)
    if (__builtin_mul_overflow(count, all - i > 0 ? all - i : 0, &count)) return NULL;
    else count /= i + 1;
  const cg_expr **dim = cg_r_new_dims(m, 2);
  dim[0] = cg_xi(m, r ? count : 0), dim[1] = cg_xi(m, r);
  cg_r_set(n, 0, x->dtype, r ? 2 : 1, dim);
  return NULL;
}

// histogram: counts, and one edge more.
const char *cg_infer_histogram(cg_module *m, cg_node *n) {
  const cg_type *x, *edges = cg_r_type(n, "bins");
  CG_RULE(cg_r_self(n, &x));
  const cg_expr **count = cg_r_new_dims(m, 1), **edge = cg_r_new_dims(m, 1), *bins;
  if (edges && edges->rank == 1) bins = cg_xsub(m, edges->dim[0], cg_xi(m, 1));
  else if (edges || !cg_r_int(n, "bins", &bins)) return "the number of bins is not known";
  count[0] = bins, edge[0] = cg_xadd(m, bins, cg_xi(m, 1));
  cg_r_set(n, 0, x->dtype, 1, count);
  cg_r_set(n, 1, x->dtype, 1, edge);
  return NULL;
}

// max_unpool2d, max_unpool3d: the last sizes are given.
const char *cg_infer_unpool(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  int count = cg_arg_list_len(cg_node_arg(n, "output_size"));
  if (count < 1 || count >= x->rank) return "output_size does not fit the input";
  const cg_expr **dim = cg_r_copy_dims(m, x);
  CG_RULE(cg_r_sizes(m, n, "output_size", count, dim + x->rank - count));
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// grid_sampler and its kin: the grid's places.
const char *cg_infer_grid_sample(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "input"), *grid = cg_r_type(n, "grid");
  if (!x || !grid || x->rank < 3 || grid->rank != x->rank) return "an input and a grid of as many dimensions are expected";
  const cg_expr **dim = cg_r_copy_dims(m, x);
  for (int i = 2; i < x->rank; i++) dim[i] = grid->dim[i - 1];
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// narrow with a start that appears at run time.
const char *cg_infer_narrow(cg_module *m, cg_node *n) {
  const cg_type *x;
  int d;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  const cg_expr **dim = cg_r_copy_dims(m, x), *length;
  if (!x->rank || !cg_r_int(n, "length", &length)) return "the length is not known";
  dim[d] = length;
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// linalg_vecdot
const char *cg_infer_vecdot(cg_module *m, cg_node *n) {
  const cg_type *x = cg_r_type(n, "x"), *y = cg_r_type(n, "y");
  if (!x || !y || !x->rank || !y->rank || x->dtype != y->dtype) return "two tensors of one dtype are expected";
  cg_type t = *x;
  int d, r = 0;
  CG_RULE(cg_broadcast(m, n, &t, y));
  CG_RULE(cg_r_dim_of(m, n, "dim", t.rank, &d));
  const cg_expr **dim = cg_r_new_dims(m, t.rank);
  for (int i = 0; i < t.rank; i++)
    if (i != d) dim[r++] = t.dim[i];
  cg_r_set(n, 0, t.dtype, r, dim);
  return NULL;
}

// Losses that are reduced to a number; others: what LibTorch says.
const char *cg_infer_reduced_loss(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  if (cg_r_int_or(n, "reduction", 1) == 0) return NULL;
  cg_r_set(n, 0, x->dtype, 0, cg_r_new_dims(m, 0));
  return NULL;
}

const char *cg_infer_ctc_loss(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  bool each = x->rank == 3 && cg_r_int_or(n, "reduction", 1) == 0;
  const cg_expr **dim = cg_r_new_dims(m, 1);
  if (each) dim[0] = x->dim[1];
  cg_r_set(n, 0, x->dtype, each, dim);
  return NULL;
}

const char *cg_infer_loss_with_logits(cg_module *m, cg_node *n) {
  const cg_type *x, *y = cg_r_type(n, "target");
  CG_RULE(cg_r_self(n, &x));
  if (!y || y->dtype != x->dtype) return NULL;
  bool reduced = cg_r_int_or(n, "reduction", 1) != 0;
  cg_r_set(n, 0, x->dtype, reduced ? 0 : x->rank, reduced ? cg_r_new_dims(m, 0) : cg_r_copy_dims(m, x));
  return NULL;
}

// cross_entropy_loss, not reduced: the target's classes, or the input without its classes.
const char *cg_infer_cross_entropy(cg_module *m, cg_node *n) {
  const cg_type *x, *y = cg_r_type(n, "target");
  CG_RULE(cg_r_self(n, &x));
  if (!y || !x->rank) return "an input with classes and a target are expected";
  const cg_expr **dim = cg_r_new_dims(m, x->rank);
  int r = 0, classes = x->rank > 1;
  for (int i = 0; i < x->rank; i++)
    if (i != classes) dim[r++] = x->dim[i];
  if (cg_r_int_or(n, "reduction", 1) != 0) r = 0;
  cg_r_set(n, 0, x->dtype, r, dim);
  return NULL;
}

// nll_loss and its kin: one loss for each target, or a number; nll_loss_forward says what the weights add up to as well.
const char *cg_infer_nll_loss(cg_module *m, cg_node *n) {
  const cg_type *x, *y = cg_r_type(n, "target");
  CG_RULE(cg_r_self(n, &x));
  if (!y || !x->rank) return "an input with classes and a target are expected";
  bool each = cg_r_int_or(n, "reduction", 1) == 0 && x->rank > 1;
  cg_r_set(n, 0, x->dtype, each ? y->rank : 0, each ? cg_r_copy_dims(m, y) : cg_r_new_dims(m, 0));
  if (n->nresults > 1) cg_r_set(n, 1, x->dtype, 0, cg_r_new_dims(m, 0));
  return NULL;
}

// cosine_embedding_loss: a loss for each pair, or a number.
const char *cg_infer_cosine_loss(cg_module *m, cg_node *n) {
  const cg_type *x, *y = cg_r_type(n, "target");
  CG_RULE(cg_r_self(n, &x));
  if (!y) return "a target is expected";
  bool each = cg_r_int_or(n, "reduction", 1) == 0;
  cg_r_set(n, 0, cg_r_float(x->dtype), each ? y->rank : 0, each ? cg_r_copy_dims(m, y) : cg_r_new_dims(m, 0));
  return NULL;
}

// multinomial: places, as many as are drawn from each row.
const char *cg_infer_multinomial(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  if (x->rank != 1 && x->rank != 2) return "one or two dimensions are expected";
  const cg_expr **dim = cg_r_copy_dims(m, x);
  if (!cg_r_int(n, "num_samples", &dim[x->rank - 1])) return NULL;
  cg_r_set(n, 0, CG_I64, x->rank, dim);
  return NULL;
}
