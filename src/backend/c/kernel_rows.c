// Places as C text and loops over dimensions, for the templates that go row by row.
#include "backend/c/kernel_rows.h"

#include <string.h>

#include "backend/c/print.h"

static cg_session *session(cg_kernel *k) { return cg_kernel_session(k); }

cg_kernel_input cg_rows_read(cg_kernel *k, cg_value *v) {
  cg_kernel_input in = cg_kernel_read(k, v);
  if (in.rank) return in;
  cg_expr_pool *pool = &cg_kernel_module(k)->exprs;
  const cg_expr *one = cg_x_int(pool, 1), *zero = cg_x_int(pool, 0);
  in.rank = 1;
  in.dim = cg_memdup(session(k), &one, sizeof one);
  in.stride = cg_memdup(session(k), &zero, sizeof zero);
  return in;
}

static void add_term(cg_kernel *k, cg_str *t, const char *index, const cg_expr *stride) {
  if (!index || cg_x_is(stride, 0)) return;
  if (t->n) cg_str_add(t, " + ");
  if (cg_x_is(stride, 1)) cg_str_add(t, index);
  else cg_str_addf(t, "%s * %s", index, cg_kernel_size(k, stride));
}

const char *cg_rows_at(cg_kernel *k, const cg_kernel_input *in, const char *const *index) {
  cg_str t = cg_str_new(session(k));
  if (!cg_x_is(in->offset, 0)) cg_str_add(&t, cg_kernel_size(k, in->offset));
  for (int i = 0; i < in->rank; i++)
    if (!cg_x_is(in->dim[i], 1)) add_term(k, &t, index[i], in->stride[i]);
  return t.n ? cg_str_text(&t) : "0";
}

const char *cg_rows_place(cg_kernel *k, int rank, const cg_expr *const *dim, const char *const *index) {
  cg_str t = cg_str_new(session(k));
  cg_expr_pool *pool = &cg_kernel_module(k)->exprs;
  for (int i = 0; i < rank; i++) {
    const cg_expr *stride = cg_x_int(pool, 1);
    for (int j = i + 1; j < rank; j++) stride = cg_x_mul(pool, stride, dim[j]);
    if (!cg_x_is(dim[i], 1)) add_term(k, &t, index[i], stride);
  }
  return t.n ? cg_str_text(&t) : "0";
}

const cg_expr *cg_rows_product(cg_kernel *k, int rank, const cg_expr *const *dim, const bool *which) {
  cg_expr_pool *pool = &cg_kernel_module(k)->exprs;
  const cg_expr *e = cg_x_int(pool, 1);
  for (int i = 0; i < rank; i++)
    if (!which || which[i]) e = cg_x_mul(pool, e, dim[i]);
  return e;
}

void cg_rows_decode(cg_kernel *k, cg_str *o, int indent, const char *unit, int rank, const cg_expr *const *dim, const bool *which, const char *const *index) {
  cg_expr_pool *pool = &cg_kernel_module(k)->exprs;
  const cg_expr *below = cg_x_int(pool, 1);
  int first = 0;
  while (first < rank && !which[first]) first++;
  for (int i = rank - 1; i >= first; i--) {
    if (!which[i]) continue;
    cg_str_addf(o, "%*sconst int64_t %s = %s", indent, "", index[i], unit);
    if (!cg_x_is(below, 1)) cg_str_addf(o, " / %s", cg_kernel_size(k, below));
    if (i > first) cg_str_addf(o, " %% %s", cg_kernel_size(k, dim[i]));
    cg_str_addf(o, ";\n%*s(void)%s;\n", indent, "", index[i]);
    below = cg_x_mul(pool, below, dim[i]);
  }
}

int cg_rows_loops(cg_kernel *k, cg_str *o, int indent, int rank, const cg_expr *const *dim, const bool *which, const char *const *index) {
  int count = 0;
  for (int i = 0; i < rank; i++) {
    if (which && !which[i]) continue;
    cg_str_addf(o, "%*sfor (int64_t %s = 0; %s < %s; %s++) {\n", indent + 2 * count, "", index[i], index[i], cg_kernel_size(k, dim[i]), index[i]);
    count++;
  }
  return count;
}

void cg_rows_loops_close(cg_str *o, int indent, int count) {
  while (count--) cg_str_addf(o, "%*s}\n", indent + 2 * count, "");
}

const char *cg_rows_cast(cg_kernel *k, const char *text, cg_dtype from, cg_dtype to) {
  cg_session *s = session(k);
  if (from == to) return text;
  if (to == CG_F16 || to == CG_BF16) return cg_format(s, "cg_round_%s((float)(%s))", cg_dtypes[to].text, text);
  return cg_print_cast(s, cg_format(s, "(%s)", text), from, to);
}

int cg_rows_dim(const cg_node *n, const char *name, int rank) {
  int64_t d;
  if (!cg_arg_int_const(cg_node_arg(n, name), &d)) return -1;
  if (d < 0) d += rank;
  return d >= 0 && d < rank ? (int)d : -1;
}
