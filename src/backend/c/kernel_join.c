// cat and stack of many tensors: each piece is copied by loops of its own. (Of few, an element is computed where it is needed, by a
// choice between them: ops/lower_join.c. Pieces that can be computed in their place are not copied at all: assemble.c.)
#include <string.h>

#include "backend/c/kernel_rows.h"

typedef struct {
  cg_kernel *k;
  cg_session *s;
  const cg_node *n;
  const cg_type *out;
  bool stack;
  int dim;
  const char *index[CG_MAX_RANK];   // of the result, as loops name them
} writer;

static cg_value *operand(const cg_node *n, int i) { return cg_arg_tensor(cg_arg_list_at(cg_node_arg(n, "tensors"), i)); }

cg_value *cg_join_piece(const cg_node *n, int i) {
  cg_value *v = operand(n, i);
  return !cg_node_is_op(n, "aten::stack") && v->type.rank == 1 && cg_x_is(v->type.dim[0], 0) ? NULL : v;
}

int cg_join_dim(const cg_node *n) { return cg_rows_dim(n, "dim", n->result[0]->type.rank); }

static const char *claim(cg_pipeline *p, const cg_node *n) {
  (void)p;
  if (cg_join_dim(n) < 0) return "a dimension that is not known";
  for (int i = 0; i < cg_arg_list_len(cg_node_arg(n, "tensors")); i++)
    if (!operand(n, i)) return "an item of the list is no tensor";
  return NULL;
}

// Element of a piece at the loops' indices.
static const char *element(writer *w, const cg_kernel_input *in) {
  const char *at[CG_MAX_RANK];
  int r = 0;
  for (int d = 0; d < w->out->rank; d++)
    if (!w->stack || d != w->dim) at[r++] = w->index[d];
  if (!r) at[0] = "0";
  return cg_rows_cast(w->k, cg_kernel_load(w->k, in->dtype, in->name, cg_rows_at(w->k, in, at)), in->dtype, w->out->dtype);
}

// Loops over the piece's dimensions that `open` names, and the store at the place of the result that begins at `start`.
static void copy(writer *w, cg_str *o, int indent, const cg_kernel_input *in, const cg_expr *const *dim, const bool *open, const cg_expr *start) {
  const char *place[CG_MAX_RANK];
  for (int d = 0; d < w->out->rank; d++) place[d] = w->index[d];
  if (w->stack) place[w->dim] = cg_kernel_size(w->k, start);
  else if (!cg_x_is(start, 0)) place[w->dim] = cg_format(w->s, "(%s + %s)", w->index[w->dim], cg_kernel_size(w->k, start));
  int loops = cg_rows_loops(w->k, o, indent, w->out->rank, dim, open, w->index), inside = indent + 2 * loops;
  cg_str_addf(o, "%*s{\n", inside, "");
  cg_kernel_store(w->k, o, inside + 2, 0, element(w, in), place);
  cg_str_addf(o, "%*s}\n", inside, "");
  cg_rows_loops_close(o, indent, loops);
}

static void emit(cg_kernel *k, const cg_node *n) {
  cg_expr_pool *pool = &cg_kernel_module(k)->exprs;
  writer w = {.k = k, .s = cg_kernel_session(k), .n = n, .out = &n->result[0]->type, .stack = cg_node_is_op(n, "aten::stack")};
  cg_str *o = cg_kernel_body(k);
  int rank = w.out->rank, count = cg_arg_list_len(cg_node_arg(n, "tensors"));
  w.dim = cg_join_dim(n);
  bool outer[CG_MAX_RANK], inner[CG_MAX_RANK];
  // Rows in front of the dimension are shared out, each with all pieces; where there are none, each piece's own rows.
  bool rows = w.dim > 0;
  for (int d = 0; d < rank; d++) {
    w.index[d] = cg_format(w.s, "i%d", d);
    outer[d] = rows ? d < w.dim : d < rank - 1;
    inner[d] = !outer[d] && !(w.stack && d == w.dim);
    if (w.stack && d == w.dim) outer[d] = false;
  }
  const cg_expr *start = cg_x_int(pool, 0);
  if (rows) {
    cg_rows_open(o, cg_kernel_size(k, cg_rows_product(k, rank, w.out->dim, outer)), cg_kernel_size(k, cg_rows_product(k, rank, w.out->dim, NULL)), "");
    cg_rows_decode(k, o, 6, "unit", rank, w.out->dim, outer, w.index);
  }
  for (int i = 0; i < count; i++) {
    cg_value *piece = cg_join_piece(n, i);
    if (!piece) continue;
    const cg_expr *dim[CG_MAX_RANK];
    for (int d = 0; d < rank; d++) dim[d] = w.out->dim[d];
    dim[w.dim] = w.stack ? cg_x_int(pool, 1) : piece->type.dim[w.dim];
    cg_kernel_input in = cg_rows_read(k, piece);
    if (!rows) {
      cg_str_add(o, "  {\n");
      cg_rows_open(o, cg_kernel_size(k, cg_rows_product(k, rank, dim, outer)), cg_kernel_size(k, cg_rows_product(k, rank, dim, NULL)), "");
      cg_rows_decode(k, o, 6, "unit", rank, dim, outer, w.index);
    }
    copy(&w, o, 6, &in, dim, inner, start);
    if (!rows) {
      cg_rows_close(o);
      cg_str_add(o, "  }\n");
    }
    start = cg_x_add(pool, start, dim[w.dim]);
  }
  if (rows) cg_rows_close(o);
}

const cg_kernel_template cg_kernel_join = {"join", claim, true, true, emit};
