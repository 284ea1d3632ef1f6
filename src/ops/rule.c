// Reading arguments, sizes and shapes for type rules, lowerings and decompositions.
#include "ops/rule.h"

#include <ctype.h>
#include <string.h>

// ---------------------------------------------------------------- sizes

bool cg_x_at_least(cg_module *m, const cg_expr *a, const cg_expr *b) {
  int64_t lo, hi;
  if (a == b) return true;
  cg_x_range(cg_xsub(m, a, b), &lo, &hi);
  return lo >= 0;
}

const cg_expr *cg_xmin(cg_module *m, const cg_expr *a, const cg_expr *b) {
  if (cg_x_at_least(m, a, b)) return b;
  if (cg_x_at_least(m, b, a)) return a;
  return cg_x_op(&m->exprs, CG_X_MIN, 2, (const cg_expr *[]){a, b});
}

const cg_expr *cg_xmax(cg_module *m, const cg_expr *a, const cg_expr *b) {
  if (cg_x_at_least(m, a, b)) return a;
  if (cg_x_at_least(m, b, a)) return b;
  return cg_x_op(&m->exprs, CG_X_MAX, 2, (const cg_expr *[]){a, b});
}

const cg_expr *cg_x_product(cg_module *m, int n, const cg_expr *const *dim) {
  const cg_expr *p = cg_xi(m, 1);
  for (int i = 0; i < n; i++) p = cg_xmul(m, p, dim[i]);
  return p;
}

// ---------------------------------------------------------------- arguments

cg_value *cg_r_tensor(const cg_node *n, const char *name) { return cg_arg_tensor(cg_node_arg(n, name)); }

const cg_type *cg_r_type(const cg_node *n, const char *name) {
  cg_value *v = cg_r_tensor(n, name);
  return v ? &v->type : NULL;
}

const char *cg_r_self(const cg_node *n, const cg_type **x) {
  cg_value *v = n->nargs ? cg_self(n) : NULL;
  if (!v) return "the first argument is no tensor";
  *x = &v->type;
  return NULL;
}

bool cg_r_bool(const cg_node *n, const char *name, bool otherwise) {
  const cg_arg *a = cg_node_arg(n, name);
  if (!a || a->kind == CG_A_NONE) return otherwise;
  double v;
  return cg_arg_double(a, &v) ? v != 0 : otherwise;
}

bool cg_r_is_none(const cg_node *n, const char *name) {
  const cg_arg *a = cg_node_arg(n, name);
  return !a || a->kind == CG_A_NONE;
}

const char *cg_r_text(const cg_node *n, const char *name) {
  const cg_arg *a = cg_node_arg(n, name);
  return a && a->kind == CG_A_STR ? a->str.text : "";
}

cg_dtype cg_r_dtype(const cg_node *n, cg_dtype otherwise) {
  const cg_arg *a = cg_node_arg(n, "dtype");
  return a && a->kind == CG_A_DTYPE ? a->dtype : otherwise;
}

bool cg_r_int(const cg_node *n, const char *name, const cg_expr **out) { return cg_arg_int(cg_node_arg(n, name), out); }

int64_t cg_r_int_or(const cg_node *n, const char *name, int64_t otherwise) {
  int64_t v;
  return cg_arg_int_const(cg_node_arg(n, name), &v) ? v : otherwise;
}

double cg_r_double_or(const cg_node *n, const char *name, double otherwise) {
  double v;
  return cg_arg_double(cg_node_arg(n, name), &v) ? v : otherwise;
}

const char *cg_r_sizes(cg_module *m, const cg_node *n, const char *name, int count, const cg_expr **out) {
  const cg_arg *a = cg_node_arg(n, name);
  int len = cg_arg_list_len(a);
  if (len != count && len != 1) return cg_r_why(m, "%s has %d items, not %d", name, len, count);
  for (int i = 0; i < count; i++)
    if (!cg_arg_int(cg_arg_list_at(a, len == 1 ? 0 : i), &out[i])) return cg_r_why(m, "item %d of %s is not a known size", i, name);
  return NULL;
}

const char *cg_r_ints(cg_module *m, const cg_node *n, const char *name, int count, int64_t otherwise, int64_t *out) {
  const cg_arg *a = cg_node_arg(n, name);
  int len = cg_arg_list_len(a);
  if (len && len != count && len != 1) return cg_r_why(m, "%s has %d items, not %d", name, len, count);
  for (int i = 0; i < count; i++) {
    out[i] = otherwise;
    if (len && !cg_arg_int_const(cg_arg_list_at(a, len == 1 ? 0 : i), &out[i])) return cg_r_why(m, "item %d of %s is not a number that is known", i, name);
  }
  return NULL;
}

const char *cg_r_dim(cg_module *m, const cg_arg *a, int rank, int *out) {
  int64_t d;
  int r = rank ? rank : 1;
  if (!cg_arg_int_const(a, &d)) return "a dimension's number is not known";
  if (d < -r || d >= r)
    return cg_r_why(m, "Dimension out of range (expected to be in range of [%d, %d], but got %lld)", -r, r - 1, (long long)d);
  *out = (int)(d < 0 ? d + r : d);
  return NULL;
}

const char *cg_r_dim_of(cg_module *m, const cg_node *n, const char *name, int rank, int *out) {
  return cg_r_dim(m, cg_node_arg(n, name), rank, out);
}

const char *cg_r_dims_of(cg_module *m, const cg_node *n, const char *name, int rank, bool all, bool *out) {
  const cg_arg *a = cg_node_arg(n, name);
  int len = cg_arg_list_len(a);
  for (int i = 0; i < rank; i++) out[i] = !len && all;
  for (int i = 0; i < len; i++) {
    int d;
    CG_RULE(cg_r_dim(m, cg_arg_list_at(a, i), rank, &d));
    if (d < rank && out[d]) return cg_r_why(m, "dim %d appears multiple times in the list of dims", d);
    if (d < rank) out[d] = true;
  }
  return NULL;
}

int cg_r_tensors(cg_module *m, const cg_node *n, const char *name, cg_value ***out) {
  const cg_arg *a = cg_node_arg(n, name);
  int len = cg_arg_list_len(a);
  *out = CG_NEW_ARRAY(m->s, cg_value *, (size_t)len + 1);
  for (int i = 0; i < len; i++) (*out)[i] = cg_arg_tensor(cg_arg_list_at(a, i));
  return len;
}

// ---------------------------------------------------------------- attention

const char *cg_r_attention(const cg_node *n, cg_attention *a) {
  const cg_arg *p = cg_node_arg(n, "dropout_p"), *is_causal = cg_node_arg(n, "is_causal");
  double dropout = 0, causal = 0;
  *a = (cg_attention){cg_r_tensor(n, "query"), cg_r_tensor(n, "key"), cg_r_tensor(n, "value"), cg_r_tensor(n, "attn_mask"), false};
  if (!a->query || !a->key || !a->value) return "no native attention of this form";
  cg_dtype t = a->query->type.dtype;
  if (!cg_r_plain_float(t)) return "no native attention of this dtype";
  if (a->key->type.dtype != t || a->value->type.dtype != t || n->result[0]->type.dtype != t) return "operands of different dtypes";
  if (p && (!cg_arg_double(p, &dropout) || dropout != 0)) return "attention with dropout";
  if (is_causal && !cg_arg_double(is_causal, &causal)) return "is_causal is not a literal";
  if (a->mask && a->mask->type.dtype != CG_BOOL && !cg_r_plain_float(a->mask->type.dtype)) return "a mask of this dtype";
  a->causal = causal != 0;
  return NULL;
}

// _scaled_dot_product_flash_attention_for_cpu (two results) always shares.
bool cg_r_heads_shared(const cg_node *n) { return n->nresults > 1 || cg_r_bool(n, "enable_gqa", false); }

// ---------------------------------------------------------------- conditions

const char *cg_r_require(cg_module *m, const cg_node *n, cg_expr_kind is, const cg_expr *a, const cg_expr *b, const char *what) {
  if (is == CG_X_EQ && a == b) return NULL;
  const cg_expr *holds = cg_x_op(&m->exprs, is, 2, (const cg_expr *[]){a, b});
  if (cg_x_is_int(holds) && holds->value) return NULL;
  static const char *const signs[] = {[CG_X_EQ] = "==", [CG_X_NE] = "!=", [CG_X_LT] = "<", [CG_X_LE] = "<="};
  cg_str text = cg_str_new(m->s);
  cg_str_addf(&text, "%s expects %s, ", n->schema->name, what);
  cg_x_print(&text, a);
  cg_str_addf(&text, " %s ", signs[is]);
  cg_x_print(&text, b);
  if (cg_x_is_int(holds)) return cg_str_text(&text);
  cg_arg arg[2] = {cg_a_expr(holds), cg_a_str(m, cg_str_text(&text))};
  cg_node_like(n->fn, (cg_node *)n, n, "aten::_assert_scalar", 2, arg, 0);
  return NULL;
}

const char *cg_r_equal(cg_module *m, const cg_node *n, const cg_expr *a, const cg_expr *b) {
  return cg_r_require(m, n, CG_X_EQ, a, b, "equal sizes");
}

const char *cg_r_stretches(cg_module *m, const cg_node *n, const cg_type *x, int rank, const cg_expr *const *dim) {
  int skip = rank - x->rank;
  if (skip < 0) return cg_r_why(m, "shape %s does not broadcast to %s", cg_r_shape(m, x->rank, x->dim), cg_r_shape(m, rank, dim));
  for (int i = 0; i < x->rank; i++)
    if (!cg_x_is(x->dim[i], 1)) CG_RULE(cg_r_equal(m, n, x->dim[i], dim[skip + i]));
  return NULL;
}

const char *cg_r_not_empty(cg_module *m, const cg_node *n, const cg_expr *size) {
  return cg_r_require(m, n, CG_X_NE, size, cg_xi(m, 0), "a size that is not 0");
}

const char *cg_r_divides(cg_module *m, const cg_node *n, const cg_expr *size, int64_t by) {
  return cg_r_require(m, n, CG_X_EQ, cg_x_mod(&m->exprs, size, cg_xi(m, by)), cg_xi(m, 0), "a size that divides evenly");
}

// ---------------------------------------------------------------- results

const cg_expr **cg_r_new_dims(cg_module *m, int rank) { return CG_NEW_ARRAY(m->s, const cg_expr *, (size_t)rank + 1); }

const cg_expr **cg_r_copy_dims(cg_module *m, const cg_type *t) {
  const cg_expr **d = cg_r_new_dims(m, t->rank);
  for (int i = 0; i < t->rank; i++) d[i] = t->dim[i];
  return d;
}

void cg_r_set(cg_node *n, int k, cg_dtype dtype, int rank, const cg_expr **dim) {
  if (k < n->nresults) n->result[k]->type = cg_tensor_type(dtype, rank, dim);
}

void cg_r_set_like(cg_node *n, int k, const cg_type *t, cg_dtype dtype) { cg_r_set(n, k, dtype, t->rank, t->dim); }

const char *cg_r_why(cg_module *m, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *text = cg_vformat(m->s, fmt, ap);
  va_end(ap);
  return text;
}

const char *cg_r_shape(cg_module *m, int rank, const cg_expr *const *dim) {
  cg_str b = cg_str_new(m->s);
  cg_str_addc(&b, '[');
  for (int i = 0; i < rank; i++) {
    if (i) cg_str_add(&b, ", ");
    cg_x_print_short(&b, dim[i]);
  }
  cg_str_addc(&b, ']');
  return cg_str_text(&b);
}

// ---------------------------------------------------------------- lowering

// Whether `name` appears in the text as a whole identifier.
static bool mentions(const char *text, const char *name) {
  size_t n = strlen(name);
  for (const char *p = text; (p = strstr(p, name)); p += n) {
    bool starts = p == text || !(isalnum((unsigned char)p[-1]) || p[-1] == '_');
    bool ends = !(isalnum((unsigned char)p[n]) || p[n] == '_');
    if (starts && ends) return true;
  }
  return false;
}

te_expr *cg_lower_text(te *t, const cg_node *n, te_expr **idx, cg_dtype computed, const char *text) {
  enum { MAX = 16 };
  const char *name[MAX];
  te_expr *arg[MAX];
  int nargs = 0, rank = n->result[0]->type.rank;
  for (int i = 0; i < n->nargs && nargs < MAX; i++) {
    const char *arg_name = n->schema->arg[i].name;
    if (!mentions(text, arg_name)) continue;
    cg_value *x = cg_arg_tensor(&n->arg[i]);
    arg[nargs] = x ? te_cast(t, te_at_broadcast(t, x, rank, idx), computed) : te_at_number(t, n, i, computed);
    name[nargs++] = arg_name;
  }
  const char **names = cg_memdup(te_session(t), name, (size_t)(nargs ? nargs : 1) * sizeof *name);
  return te_body(t, n, n->result[0]->type.dtype, text, nargs, names, arg);
}

double cg_r_scale(const cg_node *n, int i, int spatial) {
  static const char *const names[][3] = {{"scales"}, {"scales_h", "scales_w"}, {"scales_d", "scales_h", "scales_w"}};
  const cg_arg *list = cg_node_arg(n, "scale_factors");
  double v;
  if (list) return list->kind == CG_A_LIST && i < list->list.n && cg_arg_double(&list->list.at[i], &v) ? v : 0;
  return cg_r_double_or(n, names[spatial - 1][i], 0);
}
