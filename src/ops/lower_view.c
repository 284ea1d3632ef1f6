// Views as index arithmetic: element idx of the result is element f(idx) of the argument.
#include <string.h>

#include "ops/rules.h"
#include "ops/view.h"

static te_expr *size_of(te *t, const cg_expr *e) { return te_size(t, e); }

// ---------------------------------------------------------------- permutations

static te_expr *permutation_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  int at[CG_MAX_RANK];
  te_expr *in[CG_MAX_RANK];
  (void)k;
  if (cg_v_permutation(te_module(t), n, x->type.rank, at)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its dims do not read", n->schema->key);
  for (int i = 0; i < x->type.rank; i++) in[at[i]] = idx[i];
  return te_at(t, x, in);
}

const char *cg_lower_permutation(te *t, const cg_node *n, te_compute *out) {
  int at[CG_MAX_RANK];
  if (!cg_self(n)) return "self is no tensor";
  CG_RULE(cg_v_permutation(te_module(t), n, cg_self(n)->type.rank, at));
  return te_map(out, permutation_element);
}

// ---------------------------------------------------------------- reshapes

static int skip_ones(const cg_type *t, int i) {
  while (i < t->rank && cg_x_is(t->dim[i], 1)) i++;
  return i;
}

// Dims from..to-1 of `a` have as many elements as those of `b` from its own place on: how many of `b` that takes; -1: no such.
static int same_product(cg_module *m, const cg_type *b, int from, const cg_expr *want) {
  const cg_expr *have = cg_xi(m, 1);
  for (int i = from; i < b->rank; i++) {
    have = cg_xmul(m, have, b->dim[i]);
    if (have == want) return i + 1 - from;
  }
  return -1;
}

// A reshape falls into independent parts wherever sizes multiply up to the same on both sides; dims of size 1 are nowhere.
static te_expr *reshape_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_module *m = te_module(t);
  cg_value *x = cg_self(n);
  const cg_type *a = &x->type, *b = &n->result[0]->type;
  te_expr *in[CG_MAX_RANK];
  (void)k;
  for (int i = 0; i < a->rank; i++) in[i] = te_int(t, 0);
  int i = skip_ones(a, 0), j = skip_ones(b, 0);
  while (i < a->rank && j < b->rank) {
    const cg_expr *pa = cg_xi(m, 1);
    int na = 0, nb = -1;
    while (nb < 0 && i + na < a->rank) {
      pa = cg_xmul(m, pa, a->dim[i + na++]);
      nb = same_product(m, b, j, pa);
    }
    if (nb < 0) na = a->rank - i, nb = b->rank - j; // sizes that are equal but spelled differently
    if (na == 1 && nb == 1) in[i] = idx[j];
    else te_unflat(t, te_flat(t, nb, b->dim + j, idx + j), na, a->dim + i, in + i);
    i = skip_ones(a, i + na), j = skip_ones(b, j + nb);
  }
  return te_at(t, x, in);
}

const char *cg_lower_reshape(te *t, const cg_node *n, te_compute *out) {
  cg_value *x = cg_self(n);
  (void)t;
  if (!x) return "self is no tensor";
  if (x->type.dtype != n->result[0]->type.dtype) return "a view as another dtype";
  return te_map(out, reshape_element);
}

// ---------------------------------------------------------------- expansions

static te_expr *expand_element(te *t, const cg_node *n, int k, te_expr **idx) {
  return (void)k, te_at_broadcast(t, cg_self(n), n->result[0]->type.rank, idx);
}

const char *cg_lower_expand(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, expand_element); }

static te_expr *repeat_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  int skip = n->result[0]->type.rank - x->type.rank;
  te_expr *in[CG_MAX_RANK];
  (void)k;
  for (int i = 0; i < x->type.rank; i++) in[i] = te_op(t, TE_MOD, idx[skip + i], size_of(t, x->type.dim[i]));
  return te_at(t, x, in);
}

// A dim of size 0 has no elements to repeat: no element is ever asked for.
const char *cg_lower_repeat(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, repeat_element); }

static te_expr *interleave_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  const cg_expr *by;
  te_expr *in[CG_MAX_RANK];
  int d;
  (void)k;
  cg_r_int(n, "repeats", &by);
  if (cg_r_is_none(n, "dim") || cg_r_dim_of(te_module(t), n, "dim", x->type.rank, &d)) {
    te_unflat(t, te_op(t, TE_FLOORDIV, idx[0], size_of(t, by)), x->type.rank, x->type.dim, in);
  } else {
    for (int i = 0; i < x->type.rank; i++) in[i] = i == d ? te_op(t, TE_FLOORDIV, idx[i], size_of(t, by)) : idx[i];
  }
  return te_at(t, x, in);
}

const char *cg_lower_interleave(te *t, const cg_node *n, te_compute *out) {
  const cg_expr *by;
  (void)t;
  return cg_r_int(n, "repeats", &by) ? te_map(out, interleave_element) : "repeats is not known";
}

// ---------------------------------------------------------------- slices and pieces

static te_expr *slice_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  cg_slice s;
  te_expr *in[CG_MAX_RANK];
  (void)k;
  if (cg_v_slice(te_module(t), n, &x->type, &s)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its bounds do not read", n->schema->key);
  for (int i = 0, r = 0; i < x->type.rank; i++) {
    if (i != s.dim) in[i] = idx[r++];
    else if (s.drops) in[i] = size_of(t, s.start);
    else in[i] = te_add(t, size_of(t, s.start), te_mul(t, idx[r++], size_of(t, s.step)));
  }
  return te_at(t, x, in);
}

const char *cg_lower_slice(te *t, const cg_node *n, te_compute *out) {
  cg_slice s;
  if (!cg_self(n)) return "self is no tensor";
  CG_RULE(cg_v_slice(te_module(t), n, &cg_self(n)->type, &s));
  return te_map(out, slice_element);
}

static te_expr *piece_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  cg_pieces p;
  te_expr *in[CG_MAX_RANK];
  if (cg_v_pieces(te_module(t), n, &x->type, &p)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its sizes do not read", n->schema->key);
  for (int i = 0, r = 0; i < x->type.rank; i++) {
    if (i != p.dim) in[i] = idx[r++];
    else in[i] = p.drops ? size_of(t, p.start[k]) : te_add(t, size_of(t, p.start[k]), idx[r++]);
  }
  return te_at(t, x, in);
}

const char *cg_lower_pieces(te *t, const cg_node *n, te_compute *out) {
  cg_pieces p;
  if (!cg_self(n)) return "self is no tensor";
  CG_RULE(cg_v_pieces(te_module(t), n, &cg_self(n)->type, &p));
  return te_map(out, piece_element);
}

// ---------------------------------------------------------------- diagonals and windows

static te_expr *diagonal_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  cg_diagonal d;
  te_expr *in[CG_MAX_RANK], *at = idx[x->type.rank - 2];
  (void)k;
  if (cg_v_diagonal(te_module(t), n, &x->type, &d)) cg_fail(te_session(t), CIERGE_INTERNAL, "%s: its dims do not read", n->schema->key);
  for (int i = 0, r = 0; i < x->type.rank; i++) {
    if (i == d.dim1) in[i] = te_add(t, at, size_of(t, d.start1));
    else if (i == d.dim2) in[i] = te_add(t, at, size_of(t, d.start2));
    else in[i] = idx[r++];
  }
  return te_at(t, x, in);
}

const char *cg_lower_diagonal(te *t, const cg_node *n, te_compute *out) {
  cg_diagonal d;
  if (!cg_self(n)) return "self is no tensor";
  CG_RULE(cg_v_diagonal(te_module(t), n, &cg_self(n)->type, &d));
  return te_map(out, diagonal_element);
}

static te_expr *diag_embed_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  int a = 0, b = 0, rank = x->type.rank + 1;
  int64_t offset = cg_r_int_or(n, "offset", 0);
  te_expr *in[CG_MAX_RANK];
  (void)k;
  cg_r_dim_of(te_module(t), n, "dim1", rank, &a);
  cg_r_dim_of(te_module(t), n, "dim2", rank, &b);
  for (int i = 0, r = 0; i < rank; i++)
    if (i != a && i != b) in[r++] = idx[i];
  in[rank - 2] = offset >= 0 ? idx[a] : idx[b];
  te_expr *on = te_op(t, TE_EQ, te_add(t, idx[a], te_int(t, offset)), idx[b]);
  return te_select(t, on, te_at(t, x, in), te_integer(t, 0, n->result[0]->type.dtype));
}

const char *cg_lower_diag_embed(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, diag_embed_element); }

static te_expr *unfold_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  int d = 0;
  const cg_expr *step;
  te_expr *in[CG_MAX_RANK];
  (void)k;
  cg_r_dim_of(te_module(t), n, "dimension", x->type.rank, &d);
  cg_r_int(n, "step", &step);
  for (int i = 0; i < x->type.rank; i++)
    in[i] = i == d ? te_add(t, te_mul(t, idx[i], size_of(t, step)), idx[x->type.rank]) : idx[i];
  return te_at(t, x, in);
}

const char *cg_lower_unfold(te *t, const cg_node *n, te_compute *out) {
  const cg_expr *step;
  (void)t;
  if (!cg_self(n) || !cg_r_int(n, "step", &step)) return "its step is not known";
  return te_map(out, unfold_element);
}

// ---------------------------------------------------------------- turning round

static te_expr *mirrored(te *t, te_expr *i, const cg_expr *size) { return te_sub(t, te_size(t, cg_xsub(te_module(t), size, cg_xi(te_module(t), 1))), i); }

static void flipped_dims(te *t, const cg_node *n, int rank, bool *out) {
  cg_module *m = te_module(t);
  if (cg_node_is_op(n, "aten::fliplr") || cg_node_is_op(n, "aten::flipud")) {
    for (int i = 0; i < rank; i++) out[i] = i == (cg_node_is_op(n, "aten::fliplr") ? 1 : 0);
  } else if (cg_r_dims_of(m, n, "dims", rank, false, out)) cg_fail(m->s, CIERGE_INTERNAL, "%s: its dims do not read", n->schema->key);
}

static te_expr *flip_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  bool flip[CG_MAX_RANK];
  te_expr *in[CG_MAX_RANK];
  (void)k;
  flipped_dims(t, n, x->type.rank, flip);
  for (int i = 0; i < x->type.rank; i++) in[i] = flip[i] ? mirrored(t, idx[i], x->type.dim[i]) : idx[i];
  return te_at(t, x, in);
}

const char *cg_lower_flip(te *t, const cg_node *n, te_compute *out) {
  bool flip[CG_MAX_RANK];
  if (!cg_self(n)) return "self is no tensor";
  if (cg_node_arg(n, "dims")) CG_RULE(cg_r_dims_of(te_module(t), n, "dims", cg_self(n)->type.rank, false, flip));
  return te_map(out, flip_element);
}

static te_expr *roll_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  cg_module *m = te_module(t);
  const cg_arg *shifts = cg_node_arg(n, "shifts"), *dims = cg_node_arg(n, "dims");
  te_expr *in[CG_MAX_RANK];
  const cg_expr *by;
  int d;
  (void)k;
  for (int i = 0; i < x->type.rank; i++) in[i] = idx[i];
  if (!cg_arg_list_len(dims)) {
    cg_arg_int(cg_arg_list_at(shifts, 0), &by);
    te_expr *flat = te_sub(t, te_flat(t, x->type.rank, x->type.dim, idx), te_size(t, by));
    te_unflat(t, te_op(t, TE_MOD, flat, te_size(t, cg_type_numel(m, &x->type))), x->type.rank, x->type.dim, in);
    return te_at(t, x, in);
  }
  for (int i = 0; i < cg_arg_list_len(dims); i++) {
    if (cg_r_dim(m, cg_arg_list_at(dims, i), x->type.rank, &d) || !cg_arg_int(cg_arg_list_at(shifts, i), &by)) continue;
    if (d < x->type.rank) in[d] = te_op(t, TE_MOD, te_sub(t, in[d], te_size(t, by)), te_size(t, x->type.dim[d]));
  }
  return te_at(t, x, in);
}

const char *cg_lower_roll(te *t, const cg_node *n, te_compute *out) {
  const cg_arg *shifts = cg_node_arg(n, "shifts"), *dims = cg_node_arg(n, "dims");
  const cg_expr *by;
  int d, count = cg_arg_list_len(shifts);
  if (!cg_self(n) || !count || (cg_arg_list_len(dims) && cg_arg_list_len(dims) != count)) return "roll: shifts and dims do not fit";
  if (!cg_arg_list_len(dims) && count != 1) return "roll: several shifts of no dims";
  for (int i = 0; i < count; i++)
    if (!cg_arg_int(cg_arg_list_at(shifts, i), &by)) return "a shift is not known";
  for (int i = 0; i < cg_arg_list_len(dims); i++) CG_RULE(cg_r_dim(te_module(t), cg_arg_list_at(dims, i), cg_self(n)->type.rank, &d));
  return te_map(out, roll_element);
}

// A quarter turn is a flip and a transposition.
static te_expr *rot90_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  int64_t turns = ((cg_r_int_or(n, "k", 1) % 4) + 4) % 4, at[2] = {0, 1};
  te_expr *in[CG_MAX_RANK];
  (void)k;
  cg_r_ints(te_module(t), n, "dims", 2, 0, at);
  for (int i = 0; i < 2; i++) at[i] += at[i] < 0 ? x->type.rank : 0;
  for (int i = 0; i < x->type.rank; i++) in[i] = idx[i];
  const cg_expr *rows = x->type.dim[at[0]], *cols = x->type.dim[at[1]];
  te_expr *i = idx[at[0]], *j = idx[at[1]];
  if (turns == 1) in[at[0]] = j, in[at[1]] = mirrored(t, i, cols);
  if (turns == 2) in[at[0]] = mirrored(t, i, rows), in[at[1]] = mirrored(t, j, cols);
  if (turns == 3) in[at[0]] = mirrored(t, j, rows), in[at[1]] = i;
  return te_at(t, x, in);
}

const char *cg_lower_rot90(te *t, const cg_node *n, te_compute *out) {
  int64_t turns;
  (void)t;
  return cg_arg_int_const(cg_node_arg(n, "k"), &turns) ? te_map(out, rot90_element) : "k is not known";
}

// ---------------------------------------------------------------- channels and space

static te_expr *pixel_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  bool up = cg_node_is_op(n, "aten::pixel_shuffle");
  int64_t f = cg_r_int_or(n, up ? "upscale_factor" : "downscale_factor", 1);
  te_expr *in[CG_MAX_RANK], *by = te_int(t, f), *square = te_int(t, f * f);
  int c = x->type.rank - 3;
  (void)k;
  for (int i = 0; i < c; i++) in[i] = idx[i];
  te_expr *h = idx[c + 1], *w = idx[c + 2], *ch = idx[c];
  if (up) { // out[c, h, w] = in[c*f*f + h%f*f + w%f, h/f, w/f]
    in[c] = te_add(t, te_mul(t, ch, square), te_add(t, te_mul(t, te_op(t, TE_MOD, h, by), by), te_op(t, TE_MOD, w, by)));
    in[c + 1] = te_op(t, TE_FLOORDIV, h, by);
    in[c + 2] = te_op(t, TE_FLOORDIV, w, by);
  } else { // out[c, h, w] = in[c/(f*f), h*f + c/f%f, w*f + c%f]
    in[c] = te_op(t, TE_FLOORDIV, ch, square);
    in[c + 1] = te_add(t, te_mul(t, h, by), te_op(t, TE_MOD, te_op(t, TE_FLOORDIV, ch, by), by));
    in[c + 2] = te_add(t, te_mul(t, w, by), te_op(t, TE_MOD, ch, by));
  }
  return te_at(t, x, in);
}

const char *cg_lower_pixel_shuffle(te *t, const cg_node *n, te_compute *out) { return (void)t, (void)n, te_map(out, pixel_element); }

// out[b, c] = in[b, c%groups * (C/groups) + c/groups]
static te_expr *channel_element(te *t, const cg_node *n, int k, te_expr **idx) {
  cg_value *x = cg_self(n);
  cg_module *m = te_module(t);
  const cg_expr *groups = cg_xi(m, cg_r_int_or(n, "groups", 1));
  te_expr *in[CG_MAX_RANK], *g = te_size(t, groups);
  (void)k;
  for (int i = 0; i < x->type.rank; i++) in[i] = idx[i];
  te_expr *each = te_size(t, cg_xdiv(m, x->type.dim[1], groups));
  in[1] = te_add(t, te_mul(t, te_op(t, TE_MOD, idx[1], g), each), te_op(t, TE_FLOORDIV, idx[1], g));
  return te_at(t, x, in);
}

const char *cg_lower_channel_shuffle(te *t, const cg_node *n, te_compute *out) {
  (void)t;
  return cg_self(n) && cg_self(n)->type.rank > 2 ? te_map(out, channel_element) : "channel_shuffle of less than 3 dimensions";
}
