// Type rules of views: what their arguments say, read once for rules and lowerings, and the shapes that follow.
#include <string.h>

#include "ops/rules.h"
#include "ops/view.h"

static bool is(const cg_node *n, const char *name) { return n->schema && !strcmp(n->schema->name, name); }

// One of several names.
static bool among(const cg_node *n, int count, const char *const *names) {
  for (int i = 0; i < count; i++)
    if (is(n, names[i])) return true;
  return false;
}
#define AMONG(n, ...) among((n), (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]){__VA_ARGS__})

// ---------------------------------------------------------------- permutations

static void swap(int *map, int a, int b) {
  int x = map[a];
  map[a] = map[b], map[b] = x;
}

static const char *moved(cg_module *m, const cg_node *n, int rank, int *map) {
  const cg_arg *from = cg_node_arg(n, "source"), *to = cg_node_arg(n, "destination");
  int len = cg_arg_list_len(from), source[CG_MAX_RANK];
  bool taken[CG_MAX_RANK] = {0};
  if (len != cg_arg_list_len(to)) return "movedim: source and destination differ in length";
  for (int i = 0; i < rank; i++) source[i] = -1;
  for (int i = 0; i < len; i++) {
    int a, b;
    CG_RULE(cg_r_dim(m, cg_arg_list_at(from, i), rank, &a));
    CG_RULE(cg_r_dim(m, cg_arg_list_at(to, i), rank, &b));
    if (!rank) continue;
    if (source[b] >= 0 || taken[a]) return "movedim: repeated dim";
    source[b] = a, taken[a] = true;
  }
  for (int i = 0, next = 0; i < rank; i++) {
    if (source[i] < 0) {
      while (taken[next]) next++;
      source[i] = next++;
    }
    map[i] = source[i];
  }
  return NULL;
}

const char *cg_v_permutation(cg_module *m, const cg_node *n, int rank, int *map) {
  for (int i = 0; i < rank; i++) map[i] = i;
  if (AMONG(n, "aten::permute", "aten::permute_copy")) {
    if (cg_arg_list_len(&n->arg[1]) != rank) return cg_r_why(m, "permute of %d dims by a list of %d", rank, cg_arg_list_len(&n->arg[1]));
    bool seen[CG_MAX_RANK] = {0};
    for (int i = 0; i < rank; i++) {
      CG_RULE(cg_r_dim(m, cg_arg_list_at(&n->arg[1], i), rank, &map[i]));
      if (seen[map[i]]) return "permute: repeated dim";
      seen[map[i]] = true;
    }
    return NULL;
  }
  if (AMONG(n, "aten::movedim", "aten::moveaxis")) return moved(m, n, rank, map);
  if (AMONG(n, "aten::numpy_T", "aten::matrix_H", "aten::adjoint", "aten::mT", "aten::mH", "aten::t", "aten::t_copy")) {
    if (is(n, "aten::numpy_T"))
      for (int i = 0; i < rank; i++) map[i] = rank - 1 - i;
    else if (rank >= 2) swap(map, rank - 2, rank - 1);
    if (AMONG(n, "aten::t", "aten::t_copy") && rank > 2) return cg_r_why(m, "t() expects a tensor with <= 2 dimensions, but self is %dD", rank);
    return NULL;
  }
  int a, b; // transpose, swapaxes, swapdims
  CG_RULE(cg_r_dim(m, &n->arg[1], rank, &a));
  CG_RULE(cg_r_dim(m, &n->arg[2], rank, &b));
  if (rank) swap(map, a, b);
  return NULL;
}

const char *cg_infer_permutation(cg_module *m, cg_node *n) {
  const cg_type *x;
  int map[CG_MAX_RANK];
  CG_RULE(cg_r_self(n, &x));
  if (cg_is_complex(x->dtype) && AMONG(n, "aten::mH", "aten::matrix_H", "aten::adjoint")) return NULL;
  CG_RULE(cg_v_permutation(m, n, x->rank, map));
  const cg_expr **dim = cg_r_new_dims(m, x->rank);
  for (int i = 0; i < x->rank; i++) dim[i] = x->dim[map[i]];
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// ---------------------------------------------------------------- reshapes

// a / b, where that is exact and b is not 0: factors that both have are left out first, so that symbols cancel.
static const cg_expr *quotient(cg_module *m, int na, const cg_expr *const *a, int nb, const cg_expr *const *b) {
  bool used[CG_MAX_RANK] = {0};
  const cg_expr *over = cg_xi(m, 1), *under = cg_xi(m, 1);
  for (int i = 0; i < nb; i++) {
    int k = 0;
    while (k < na && (used[k] || a[k] != b[i])) k++;
    if (k < na && !cg_x_is(b[i], 0)) used[k] = true;
    else under = cg_xmul(m, under, b[i]);
  }
  for (int i = 0; i < na; i++)
    if (!used[i]) over = cg_xmul(m, over, a[i]);
  if (cg_x_is(under, 1) || cg_x_is(under, 0)) return cg_x_is(under, 1) ? over : NULL;
  int64_t times = cg_x_hint(under) ? cg_x_hint(over) / cg_x_hint(under) : 0; // 14 s / 7 s
  return cg_xmul(m, under, cg_xi(m, times)) == over ? cg_xi(m, times) : cg_xdiv(m, over, under);
}

// Sizes with at most one -1, which becomes what is left of numel.
static const char *fill_in(cg_module *m, const cg_node *n, const cg_type *x, int rank, const cg_expr **dim) {
  const cg_expr *known[CG_MAX_RANK];
  int free_dim = -1, nknown = 0;
  for (int i = 0; i < rank; i++) {
    if (!cg_x_is(dim[i], -1)) {
      known[nknown++] = dim[i];
      continue;
    }
    if (free_dim >= 0) return "only one dimension can be inferred";
    free_dim = i;
  }
  if (free_dim >= 0 && !(dim[free_dim] = quotient(m, x->rank, x->dim, nknown, known)))
    return cg_r_why(m, "cannot reshape tensor of 0 elements into a shape with -1 beside a 0");
  const cg_expr *have = cg_x_product(m, x->rank, x->dim), *want = cg_x_product(m, rank, dim);
  if (cg_x_is_int(have) && cg_x_is_int(want) && have != want)
    return cg_r_why(m, "a tensor of %lld elements cannot have the shape %s", (long long)have->value, cg_r_shape(m, rank, dim));
  if (free_dim >= 0) CG_RULE(cg_r_not_empty(m, n, cg_x_product(m, nknown, known)));
  return cg_r_equal(m, n, have, want);
}

const char *cg_infer_view(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  const char *name = cg_node_arg(n, "size") ? "size" : "shape";
  if (!cg_node_arg(n, name)) return NULL; // view.dtype
  int rank = cg_arg_list_len(cg_node_arg(n, name));
  const cg_expr **dim = cg_r_new_dims(m, rank);
  if (rank > CG_MAX_RANK || cg_r_sizes(m, n, name, rank, dim)) return NULL;
  CG_RULE(fill_in(m, n, x, rank, dim));
  cg_r_set(n, 0, x->dtype, rank, dim);
  return NULL;
}

// self's elements in other's shape: view_as, reshape_as.
const char *cg_infer_view_as(cg_module *m, cg_node *n) {
  const cg_type *x, *other = cg_r_type(n, "other");
  CG_RULE(cg_r_self(n, &x));
  if (!other) return "other is no tensor";
  CG_RULE(cg_r_equal(m, n, cg_type_numel(m, x), cg_type_numel(m, other)));
  cg_r_set_like(n, 0, other, x->dtype);
  return NULL;
}

const char *cg_infer_flatten(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  int a = 0, b = x->rank - 1;
  if (!is(n, "aten::ravel")) {
    CG_RULE(cg_r_dim_of(m, n, "start_dim", x->rank, &a));
    CG_RULE(cg_r_dim_of(m, n, "end_dim", x->rank, &b));
  }
  if (!x->rank) a = 0, b = -1;
  else if (a > b) return "flatten() has invalid args: start_dim cannot come after end_dim";
  const cg_expr **dim = cg_r_new_dims(m, x->rank + 1);
  int r = 0;
  for (int i = 0; i < a; i++) dim[r++] = x->dim[i];
  dim[r++] = cg_x_product(m, b - a + 1, x->dim + a);
  for (int i = b + 1; i < x->rank; i++) dim[r++] = x->dim[i];
  cg_r_set(n, 0, x->dtype, r, dim);
  return NULL;
}

const char *cg_infer_unflatten(cg_module *m, cg_node *n) {
  const cg_type *x;
  int d, r = 0;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  int count = cg_arg_list_len(cg_node_arg(n, "sizes"));
  const cg_expr **sizes = cg_r_new_dims(m, count);
  if (count + x->rank > CG_MAX_RANK || cg_r_sizes(m, n, "sizes", count, sizes)) return NULL;
  cg_type one = cg_tensor_type(x->dtype, 1, x->dim + d);
  CG_RULE(fill_in(m, n, &one, count, sizes));
  const cg_expr **dim = cg_r_new_dims(m, x->rank + count);
  for (int i = 0; i < d; i++) dim[r++] = x->dim[i];
  for (int i = 0; i < count; i++) dim[r++] = sizes[i];
  for (int i = d + 1; i < x->rank; i++) dim[r++] = x->dim[i];
  cg_r_set(n, 0, x->dtype, r, dim);
  return NULL;
}

const char *cg_infer_squeeze(cg_module *m, cg_node *n) {
  const cg_type *x;
  bool drop[CG_MAX_RANK];
  CG_RULE(cg_r_self(n, &x));
  const cg_arg *a = cg_node_arg(n, "dim");
  if (a && !cg_arg_list_len(a) && x->rank) { // squeeze.dims of no dims
    cg_r_set_like(n, 0, x, x->dtype);
    return NULL;
  }
  CG_RULE(cg_r_dims_of(m, n, "dim", x->rank, true, drop));
  const cg_expr **dim = cg_r_new_dims(m, x->rank);
  const cg_type *recorded = &n->result[0]->type;
  int ones = 0, r = 0;
  for (int i = 0; i < x->rank; i++) ones += drop[i] && cg_x_hint(x->dim[i]) == 1;
  bool guarded = recorded->kind == CG_T_TENSOR && recorded->rank == x->rank - ones; // a symbolic size that the export assumed to be 1
  for (int i = 0; i < x->rank; i++) {
    bool goes = drop[i] && (cg_x_is(x->dim[i], 1) || (guarded && cg_x_hint(x->dim[i]) == 1));
    if (!goes) dim[r++] = x->dim[i];
    if (drop[i]) CG_RULE(cg_r_require(m, n, goes ? CG_X_EQ : CG_X_NE, x->dim[i], cg_xi(m, 1), "the rank that it had when the model was made"));
  }
  cg_r_set(n, 0, x->dtype, r, dim);
  return NULL;
}

const char *cg_infer_unsqueeze(cg_module *m, cg_node *n) {
  const cg_type *x;
  int d;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank + 1, &d));
  const cg_expr **dim = cg_r_new_dims(m, x->rank + 1);
  for (int i = 0; i <= x->rank; i++) dim[i] = i < d ? x->dim[i] : i == d ? cg_xi(m, 1) : x->dim[i - 1];
  cg_r_set(n, 0, x->dtype, x->rank + 1, dim);
  return NULL;
}

// atleast_1d, _2d, _3d of one tensor.
const char *cg_infer_atleast(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  int want = is(n, "aten::atleast_1d") ? 1 : is(n, "aten::atleast_2d") ? 2 : 3;
  if (x->rank >= want) return cg_infer_same(m, n);
  const cg_expr **dim = cg_r_new_dims(m, want), *one = cg_xi(m, 1);
  for (int i = 0; i < want; i++) dim[i] = one;
  if (x->rank == 1) dim[want == 1 ? 0 : 1] = x->dim[0];
  if (x->rank == 2) dim[0] = x->dim[0], dim[1] = x->dim[1];
  cg_r_set(n, 0, x->dtype, want, dim);
  return NULL;
}

// ---------------------------------------------------------------- expansions

const char *cg_infer_expand(cg_module *m, cg_node *n) {
  const cg_type *x, *other = cg_r_type(n, "other");
  CG_RULE(cg_r_self(n, &x));
  int rank = other ? other->rank : cg_arg_list_len(cg_node_arg(n, "size"));
  const cg_expr **dim = cg_r_new_dims(m, rank);
  if (other) memcpy(dim, other->dim, (size_t)rank * sizeof *dim);
  else if (rank > CG_MAX_RANK || cg_r_sizes(m, n, "size", rank, dim)) return NULL;
  if (rank < x->rank) return cg_r_why(m, "expand: the number of sizes (%d) must be at least the number of dimensions (%d)", rank, x->rank);
  for (int i = 0; i < rank; i++) {
    int k = i - (rank - x->rank);
    if (cg_x_is(dim[i], -1)) {
      if (k < 0) return "expand: -1 is not allowed in a leading dimension that is new";
      dim[i] = x->dim[k];
    }
    if (k >= 0 && !cg_x_is(x->dim[k], 1) && cg_x_is_int(x->dim[k]) && cg_x_is_int(dim[i]) && x->dim[k] != dim[i])
      return cg_r_why(m, "the expanded size of the tensor %s does not match %s", cg_r_shape(m, rank, dim), cg_r_shape(m, x->rank, x->dim));
    if (k >= 0 && !cg_x_is(x->dim[k], 1)) CG_RULE(cg_r_equal(m, n, x->dim[k], dim[i]));
  }
  cg_r_set(n, 0, x->dtype, rank, dim);
  return NULL;
}

// repeat, tile: sizes times repeats.
const char *cg_infer_repeat(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  bool tile = is(n, "aten::tile");
  const char *name = tile ? "dims" : "repeats";
  int count = cg_arg_list_len(cg_node_arg(n, name)), rank = count;
  const cg_expr *by[CG_MAX_RANK];
  if (count > CG_MAX_RANK || cg_r_sizes(m, n, name, count, by)) return NULL;
  if (tile && rank < x->rank) rank = x->rank;
  if (rank < x->rank) return "repeat: fewer repeats than dimensions";
  const cg_expr **dim = cg_r_new_dims(m, rank), *one = cg_xi(m, 1);
  for (int i = 0; i < rank; i++) {
    int k = i - (rank - x->rank), b = i - (rank - count);
    dim[i] = cg_xmul(m, k < 0 ? one : x->dim[k], b < 0 ? one : by[b]);
  }
  cg_r_set(n, 0, x->dtype, rank, dim);
  return NULL;
}

const char *cg_infer_repeat_interleave(cg_module *m, cg_node *n) {
  const cg_type *x;
  const cg_expr *by;
  CG_RULE(cg_r_self(n, &x));
  if (!cg_r_int(n, "repeats", &by)) return NULL;
  if (cg_r_is_none(n, "dim")) {
    const cg_expr **dim = cg_r_new_dims(m, 1);
    dim[0] = cg_xmul(m, cg_type_numel(m, x), by);
    cg_r_set(n, 0, x->dtype, 1, dim);
    return NULL;
  }
  int d;
  CG_RULE(cg_r_dim_of(m, n, "dim", x->rank, &d));
  if (!x->rank) return NULL;
  const cg_expr **dim = cg_r_copy_dims(m, x);
  dim[d] = cg_xmul(m, dim[d], by);
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

// ---------------------------------------------------------------- diagonals, windows

const char *cg_v_diagonal(cg_module *m, const cg_node *n, const cg_type *x, cg_diagonal *d) {
  int64_t offset = cg_r_int_or(n, "offset", 0);
  const cg_expr *zero = cg_xi(m, 0);
  if (is(n, "aten::linalg_diagonal")) {
    if (cg_r_dim_of(m, n, "dim1", x->rank, &d->dim1) || cg_r_dim_of(m, n, "dim2", x->rank, &d->dim2)) return "dimension out of range";
  } else {
    CG_RULE(cg_r_dim_of(m, n, "dim1", x->rank, &d->dim1));
    CG_RULE(cg_r_dim_of(m, n, "dim2", x->rank, &d->dim2));
  }
  if (d->dim1 == d->dim2) return "diagonal dimensions cannot be identical";
  d->start1 = cg_xi(m, offset < 0 ? -offset : 0);
  d->start2 = cg_xi(m, offset > 0 ? offset : 0);
  const cg_expr *a = cg_xsub(m, x->dim[d->dim1], d->start1), *b = cg_xsub(m, x->dim[d->dim2], d->start2);
  d->length = cg_xmax(m, cg_xmin(m, a, b), zero);
  return NULL;
}

const char *cg_infer_diagonal(cg_module *m, cg_node *n) {
  const cg_type *x;
  cg_diagonal d;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_v_diagonal(m, n, x, &d));
  const cg_expr **dim = cg_r_new_dims(m, x->rank);
  int r = 0;
  for (int i = 0; i < x->rank; i++)
    if (i != d.dim1 && i != d.dim2) dim[r++] = x->dim[i];
  dim[r++] = d.length;
  cg_r_set(n, 0, x->dtype, r, dim);
  return NULL;
}

// What is written must have the shape of its place: no broadcasting.
static const char *fits_place(cg_module *m, const cg_node *n, int rank, const cg_expr *const *dim) {
  const cg_type *src = cg_r_type(n, "src");
  if (!src || src->kind != CG_T_TENSOR) return NULL;
  if (src->rank != rank) return cg_r_why(m, "src has shape %s, its place %s", cg_r_shape(m, src->rank, src->dim), cg_r_shape(m, rank, dim));
  for (int i = 0; i < rank; i++) CG_RULE(cg_r_equal(m, n, src->dim[i], dim[i]));
  return NULL;
}

const char *cg_infer_diagonal_scatter(cg_module *m, cg_node *n) {
  cg_node view = *n; // what diagonal gives
  cg_value place = *n->result[0];
  view.result = (cg_value *[]){&place};
  CG_RULE(cg_infer_diagonal(m, &view));
  CG_RULE(fits_place(m, n, place.type.rank, place.type.dim));
  return cg_infer_same(m, n);
}

const char *cg_infer_as_strided_scatter(cg_module *m, cg_node *n) {
  int rank = cg_arg_list_len(cg_node_arg(n, "size"));
  const cg_expr **dim = cg_r_new_dims(m, rank);
  if (rank <= CG_MAX_RANK && !cg_r_sizes(m, n, "size", rank, dim)) CG_RULE(fits_place(m, n, rank, dim));
  return cg_infer_same(m, n);
}

const char *cg_infer_diag_embed(cg_module *m, cg_node *n) {
  const cg_type *x;
  int a, b, k = 0;
  CG_RULE(cg_r_self(n, &x));
  CG_RULE(cg_r_dim_of(m, n, "dim1", x->rank + 1, &a));
  CG_RULE(cg_r_dim_of(m, n, "dim2", x->rank + 1, &b));
  if (!x->rank || a == b) return "diag_embed: bad dimensions";
  int64_t offset = cg_r_int_or(n, "offset", 0);
  const cg_expr *side = cg_xadd(m, x->dim[x->rank - 1], cg_xi(m, offset < 0 ? -offset : offset));
  const cg_expr **dim = cg_r_new_dims(m, x->rank + 1);
  for (int i = 0; i <= x->rank; i++) dim[i] = i == a || i == b ? side : x->dim[k++];
  cg_r_set(n, 0, x->dtype, x->rank + 1, dim);
  return NULL;
}

const char *cg_infer_unfold(cg_module *m, cg_node *n) {
  const cg_type *x;
  int d;
  const cg_expr *size, *step;
  CG_RULE(cg_r_self(n, &x));
  if (!cg_r_int(n, "size", &size) || !cg_r_int(n, "step", &step)) return NULL;
  if (cg_x_is(step, 0)) return "unfold: step is 0";
  CG_RULE(cg_r_dim_of(m, n, "dimension", x->rank, &d));
  const cg_expr **dim = cg_r_new_dims(m, x->rank + 1), *whole = x->rank ? x->dim[d] : cg_xi(m, 1);
  CG_RULE(cg_r_require(m, n, CG_X_LE, size, whole, "a window no larger than the dimension"));
  for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
  if (x->rank) dim[d] = cg_xadd(m, cg_xdiv(m, cg_xsub(m, whole, size), step), cg_xi(m, 1));
  dim[x->rank] = size;
  cg_r_set(n, 0, x->dtype, x->rank + 1, dim);
  return NULL;
}

const char *cg_infer_as_strided(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  int rank = cg_arg_list_len(cg_node_arg(n, "size"));
  const cg_expr **dim = cg_r_new_dims(m, rank);
  if (rank > CG_MAX_RANK || cg_r_sizes(m, n, "size", rank, dim)) return NULL;
  cg_r_set(n, 0, x->dtype, rank, dim);
  return NULL;
}

// ---------------------------------------------------------------- channels and space

const char *cg_infer_pixel_shuffle(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  bool up = is(n, "aten::pixel_shuffle");
  int64_t f = cg_r_int_or(n, up ? "upscale_factor" : "downscale_factor", 0);
  if (x->rank < 3 || f <= 0) return "pixel_shuffle: a tensor of 3 dimensions or more and a positive factor are expected";
  const cg_expr **dim = cg_r_copy_dims(m, x), *by = cg_xi(m, f), *square = cg_xi(m, f * f);
  int c = x->rank - 3;
  for (int i = c; i < x->rank; i++)
    if (up == (i == c)) CG_RULE(cg_r_divides(m, n, dim[i], up ? f * f : f));
  dim[c] = up ? cg_xdiv(m, dim[c], square) : cg_xmul(m, dim[c], square);
  for (int i = c + 1; i < x->rank; i++) dim[i] = up ? cg_xmul(m, dim[i], by) : cg_xdiv(m, dim[i], by);
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}

const char *cg_infer_channel_shuffle(cg_module *m, cg_node *n) {
  const cg_type *x;
  int64_t groups = cg_r_int_or(n, "groups", 0);
  CG_RULE(cg_r_self(n, &x));
  if (x->rank < 3 || groups < 1) return "channel_shuffle: a tensor of 3 dimensions or more and a positive number of groups are expected";
  CG_RULE(cg_r_divides(m, n, x->dim[1], groups));
  return cg_infer_same(m, n);
}

// flip, roll, …: the shape stays. rot90 may swap two dims.
const char *cg_infer_rot90(cg_module *m, cg_node *n) {
  const cg_type *x;
  CG_RULE(cg_r_self(n, &x));
  int64_t k = cg_r_int_or(n, "k", 1), at[2];
  CG_RULE(cg_r_ints(m, n, "dims", 2, 0, at));
  const cg_expr **dim = cg_r_copy_dims(m, x);
  for (int i = 0; i < 2; i++) {
    if (at[i] < 0) at[i] += x->rank;
    if (at[i] < 0 || at[i] >= x->rank) return "rot90: dimension out of range";
  }
  if (k & 1) dim[at[0]] = x->dim[at[1]], dim[at[1]] = x->dim[at[0]];
  cg_r_set(n, 0, x->dtype, x->rank, dim);
  return NULL;
}
