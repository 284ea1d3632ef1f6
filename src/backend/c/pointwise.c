// How each node is computed, as tensor expressions: its own lowering, or, for pointwise rows of the operator table,
// the row's body over its broadcast inputs.
#include <ctype.h>
#include <string.h>

#include "backend/c/print.h"

static bool supported(cg_dtype t) {
  switch (t) {
  case CG_BOOL: case CG_U8: case CG_I8: case CG_I16: case CG_I32: case CG_I64:
  case CG_F16: case CG_BF16: case CG_F32: case CG_F64: return true;
  default: return false;
  }
}

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

// The dtype a pointwise node computes in: its result's, or where that is bool, what its operands promote to.
static cg_dtype computation(const cg_node *n) {
  cg_dtype r = n->result[0]->type.dtype;
  if (r != CG_BOOL) return r;
  cg_promotion p = {-1, -1, -1};
  for (int i = 0; i < n->nargs; i++) {
    cg_schema_kind k = n->schema->arg[i].type.kind;
    if (n->arg[i].kind != CG_A_NONE && (k == CG_S_TENSOR || k == CG_S_SCALAR)) cg_promote_add(&p, &n->arg[i]);
  }
  int t = cg_promote_result(&p);
  return t < 0 ? CG_BOOL : (cg_dtype)t;
}

static const char *body(const cg_op *op, cg_dtype t) {
  return t == CG_BOOL ? op->body_bool : cg_is_float(t) ? op->body_float : op->body_int;
}

enum { MAX_NAMES = 16 };

static te_expr *pointwise_element(te *t, const cg_node *n, int k, te_expr **idx) {
  (void)k;
  cg_value *r = n->result[0];
  cg_dtype computed = computation(n);
  const char *text = body(n->op, computed), *name[MAX_NAMES];
  te_expr *arg[MAX_NAMES];
  int nargs = 0;
  for (int i = 0; i < n->nargs && nargs < MAX_NAMES; i++) {
    const char *arg_name = n->schema->arg[i].name;
    if (!mentions(text, arg_name)) continue;
    cg_value *x = cg_arg_tensor(&n->arg[i]);
    bool mask = x && x->type.dtype == CG_BOOL && n->schema->nargs > 2 && (!strcmp(arg_name, "condition") || !strcmp(arg_name, "mask"));
    if (x && x->type.kind == CG_T_TENSOR) {
      arg[nargs] = te_at_broadcast(t, x, r->type.rank, idx);
      if (!mask) arg[nargs] = te_cast(t, arg[nargs], computed);
    } else arg[nargs] = te_at_number(t, n, i, computed);
    name[nargs++] = arg_name;
  }
  const char **names = cg_memdup(te_session(t), name, (size_t)(nargs ? nargs : 1) * sizeof *name);
  return te_cast(t, te_body(t, n, r->type.dtype, text, nargs, names, arg), r->type.dtype);
}

// Whether the row's body can be had for these arguments.
static const char *check_pointwise(cg_session *s, const cg_node *n) {
  if (n->nresults != 1) return "a pointwise node with several results";
  cg_dtype t = computation(n);
  const char *text = supported(t) ? body(n->op, t) : NULL;
  if (!text) return cg_format(s, "no native %s kernel for %s", cg_dtypes[t].text, n->schema->key);
  for (int i = 0; i < n->nargs; i++) {
    if (!mentions(text, n->schema->arg[i].name)) continue;
    cg_arg_kind k = n->arg[i].kind;
    if (k != CG_A_VALUE && k != CG_A_INT && k != CG_A_FLOAT && k != CG_A_BOOL)
      return cg_format(s, "%s: argument %s is no number", n->schema->key, n->schema->arg[i].name);
  }
  return NULL;
}

const char *cg_c_compute(te *t, const cg_node *n, te_compute *out) {
  *out = (te_compute){.node = n};
  if (n->op->lower) {
    const char *why = n->op->lower(t, n, out);
    out->node = n;
    return why;
  }
  if (n->op->body_float || n->op->body_int || n->op->body_bool) {
    out->kind = TE_MAP, out->element = pointwise_element;
    return check_pointwise(te_session(t), n);
  }
  return cg_format(te_session(t), "no native kernel for %s", n->schema->key);
}

// ---------------------------------------------------------------- claims

// The first `name$` of a body that there is no C function for.
static const char *missing_function(cg_session *s, const char *text, cg_dtype t) {
  for (const char *end = text; (end = strchr(end, '$')); end++) {
    const char *p = end;
    while (p > text && (isalnum((unsigned char)p[-1]) || p[-1] == '_' || p[-1] == '.')) p--;
    if (isdigit((unsigned char)*p) || *p == '.') continue;
    const char *name = cg_strndup(s, p, (size_t)(end - p));
    if (!cg_print_function(s, name, t)) return name;
  }
  return NULL;
}

// Bodies of an element, as they will be printed.
static const char *missing_in(cg_session *s, const te_expr *e, int depth) {
  const char *why = NULL;
  if (e->kind == TE_BODY) why = missing_function(s, e->text, cg_print_body_type(e));
  for (int i = 0; i < e->nargs && !why && depth < 64; i++) why = missing_in(s, e->arg[i], depth + 1);
  return why;
}

// A trial of each expression of n: what it calls must exist.
static const char *check_functions(te *t, const cg_node *n, const te_compute *k) {
  te_expr **ridx = te_new_vars(t, k->nreduce, k->extent);
  const char *name = NULL;
  for (int r = 0; r < n->nresults && !name; r++) {
    const cg_type *type = &n->result[r]->type;
    te_expr **idx = te_new_vars(t, type->rank, type->dim);
    te_expr *e = k->kind == TE_MAP ? k->element(t, n, r, idx) : k->reduce_element(t, n, idx, ridx);
    name = missing_in(te_session(t), e, 0);
    if (!name && k->kind == TE_REDUCE && k->finish) {
      bool place = k->combine == TE_ARGMAX || k->combine == TE_ARGMIN;
      name = missing_in(te_session(t), k->finish(t, n, idx, te_accumulator(t, n->result[r], place ? CG_I64 : k->accumulate)), 0);
    }
  }
  return name ? cg_format(te_session(t), "no native %s$ for this dtype", name) : NULL;
}

typedef struct { cg_session *s; const char *why; } check;

static void check_type(check *c, const cg_value *v) {
  const cg_type *t = &v->type;
  if (c->why) return;
  if (t->kind == CG_T_TENSOR && !supported(t->dtype)) c->why = cg_format(c->s, "dtype %s", cg_dtypes[t->dtype].torch_name);
  if (t->kind != CG_T_TENSOR && t->kind != CG_T_INT && t->kind != CG_T_FLOAT && t->kind != CG_T_BOOL)
    c->why = cg_format(c->s, "%%%s is %s", v->name,
                       t->kind == CG_T_LATE ? "a tensor whose dtype and sizes only the run knows" : t->note ? t->note : "of no type that native kernels know");
}
static void check_input(cg_value *v, void *u) { check_type(u, v); }

static te_expr *load_only(te *t, cg_value *v, te_expr **idx, void *u) {
  (void)u;
  return te_load(t, v, idx);
}

// Sizes that are known by running only (slice by an item, as recorded) must be spoken of by the arguments: kernels define none.
static bool in_type(const cg_type *t, const cg_symbol *y) {
  for (int i = 0; t->kind == CG_T_TENSOR && i < t->rank; i++)
    if (cg_x_has_symbol(t->dim[i], y)) return true;
  return t->value && cg_x_has_symbol(t->value, y);
}

static bool in_arg(const cg_arg *a, const cg_symbol *y) {
  if (a->kind == CG_A_INT) return cg_x_has_symbol(a->i, y);
  if (a->kind == CG_A_VALUE) return in_type(&a->value->type, y);
  for (int i = 0; a->kind == CG_A_LIST && i < a->list.n; i++)
    if (in_arg(&a->list.at[i], y)) return true;
  return false;
}

static const char *shows_new_size(const cg_node *n) {
  for (int k = 0; k < n->nresults; k++)
    for (int d = 0; d < n->result[k]->type.rank; d++) {
      const cg_expr *x = n->result[k]->type.dim[d];
      if (x->kind != CG_X_SYM || !x->symbol->unbacked) continue;
      bool known = false;
      for (int i = 0; i < n->nargs && !known; i++) known = in_arg(&n->arg[i], x->symbol);
      if (!known) return "a size that is known by running it only";
    }
  return NULL;
}

const char *cg_c_claim(cg_pipeline *p, const cg_node *n) {
  if (!n->op || !(n->op->lower || n->op->body_float || n->op->body_int || n->op->body_bool))
    return cg_format(p->s, "no native kernel for %s", n->schema ? n->schema->key : "a call");
  check c = {p->s, NULL};
  cg_node_each_input(n, check_input, &c);
  for (int i = 0; i < n->nresults; i++) {
    check_type(&c, n->result[i]);
    if (!c.why && n->result[i]->type.kind != CG_T_TENSOR) c.why = "its result is no tensor";
  }
  if (!c.why) c.why = shows_new_size(n);
  if (c.why) return c.why;
  te_compute out;
  te *t = te_new(n->fn->module, load_only, NULL);
  const char *why = cg_c_compute(t, n, &out);
  if (!why && out.kind != TE_KERNEL) return check_functions(t, n, &out);
  if (why) return why;
  const cg_kernel_template *k = cg_kernel_template_find(out.kernel);
  if (!k) return cg_format(p->s, "no kernel template %s yet", out.kernel);
  return k->claim ? k->claim(p, n) : NULL;
}
