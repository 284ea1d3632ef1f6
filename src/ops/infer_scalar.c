// Types of scalar operators (_operator.*, math.*, torch.sym_*), of size queries and of what takes a number out of a
// tensor; known values are carried along as expressions.
#include <string.h>

#include "artifact/scalar.h"
#include "ops/rules.h"

static cg_type_kind kind_of(const cg_arg *a) {
  switch (a->kind) {
  case CG_A_INT: return CG_T_INT;
  case CG_A_FLOAT: return CG_T_FLOAT;
  case CG_A_BOOL: return CG_T_BOOL;
  case CG_A_VALUE: return a->value->type.kind;
  default: return CG_T_UNKNOWN;
  }
}

static void set(cg_node *n, cg_type_kind kind, const cg_expr *value) {
  // What the model records of a number that only the run knows (u0) stays.
  if (!value && n->result[0]->type.kind == kind) return;
  n->result[0]->type = cg_scalar_type(kind);
  n->result[0]->type.value = value;
}

// An INT or BOOL argument's value, where it is known.
static const cg_expr *value_of(cg_module *m, const cg_arg *a) {
  const cg_expr *e;
  if (a->kind == CG_A_BOOL) return cg_xi(m, a->b);
  if (a->kind == CG_A_VALUE && a->value->type.kind == CG_T_BOOL) return a->value->type.value;
  return cg_arg_int(a, &e) ? e : NULL;
}

typedef struct { cg_expr_kind kind; bool swapped; } operation;

// The expression that an operator on integers is; false: none.
static bool as_expression(int op, operation *out) {
  *out = (operation){0};
  switch (op) {
  case CG_SCALAR_ADD: out->kind = CG_X_ADD; return true;
  case CG_SCALAR_MUL: out->kind = CG_X_MUL; return true;
  case CG_SCALAR_FLOORDIV: out->kind = CG_X_FLOORDIV; return true;
  case CG_SCALAR_MOD: out->kind = CG_X_MOD; return true;
  case CG_SCALAR_SYM_MAX: out->kind = CG_X_MAX; return true;
  case CG_SCALAR_SYM_MIN: out->kind = CG_X_MIN; return true;
  case CG_SCALAR_EQ: out->kind = CG_X_EQ; return true;
  case CG_SCALAR_NE: out->kind = CG_X_NE; return true;
  case CG_SCALAR_LT: out->kind = CG_X_LT; return true;
  case CG_SCALAR_LE: out->kind = CG_X_LE; return true;
  case CG_SCALAR_GT: *out = (operation){CG_X_LT, true}; return true;
  case CG_SCALAR_GE: *out = (operation){CG_X_LE, true}; return true;
  default: return false;
  }
}

static const cg_expr *evaluate(cg_module *m, const cg_node *n, int op) {
  const cg_expr *a = n->nargs > 0 ? value_of(m, &n->arg[0]) : NULL, *b = n->nargs > 1 ? value_of(m, &n->arg[1]) : NULL;
  operation o;
  if (!a) return NULL;
  if (op == CG_SCALAR_NEG) return cg_xsub(m, cg_xi(m, 0), a);
  if (op == CG_SCALAR_POS || op == CG_SCALAR_SYM_INT) return a;
  if (op == CG_SCALAR_SYM_NOT) return cg_x_op(&m->exprs, CG_X_NOT, 1, &a);
  if (!b) return NULL;
  if (op == CG_SCALAR_SUB) return cg_xsub(m, a, b);
  bool divides = op == CG_SCALAR_FLOORDIV || op == CG_SCALAR_MOD;
  if ((divides && cg_x_is(b, 0)) || !as_expression(op, &o)) return NULL;
  const cg_expr *both[] = {o.swapped ? b : a, o.swapped ? a : b};
  return cg_x_op(&m->exprs, o.kind, 2, both);
}

const char *cg_infer_scalar(cg_module *m, cg_node *n) {
  int op = cg_scalar_find(n->schema->key);
  bool floating = false, unknown = false, integers = true;
  for (int i = 0; i < n->nargs; i++) {
    cg_type_kind k = kind_of(&n->arg[i]);
    if (k == CG_T_TENSOR || k == CG_T_UNKNOWN || k == CG_T_OTHER) unknown = true;
    floating = floating || k == CG_T_FLOAT;
    integers = integers && (k == CG_T_INT || k == CG_T_BOOL);
  }
  if (unknown || op < 0 || n->nresults != 1) return NULL;
  const cg_expr *value = integers ? evaluate(m, n, op) : NULL;
  switch (op) {
  case CG_SCALAR_EQ: case CG_SCALAR_NE: case CG_SCALAR_LT: case CG_SCALAR_LE: case CG_SCALAR_GT: case CG_SCALAR_GE:
  case CG_SCALAR_SYM_NOT: set(n, CG_T_BOOL, value); break;
  case CG_SCALAR_TRUEDIV: case CG_SCALAR_SYM_FLOAT: case CG_SCALAR_SYM_SQRT: set(n, CG_T_FLOAT, NULL); break;
  case CG_SCALAR_TRUNC: case CG_SCALAR_CEIL: case CG_SCALAR_FLOOR: case CG_SCALAR_ROUND: case CG_SCALAR_SYM_INT: set(n, CG_T_INT, value); break;
  case CG_SCALAR_AND: case CG_SCALAR_OR: set(n, kind_of(&n->arg[0]) == CG_T_BOOL ? CG_T_BOOL : CG_T_INT, NULL); break;
  case CG_SCALAR_SYM_ITE: set(n, kind_of(&n->arg[1]), NULL); break;
  case CG_SCALAR_POW: // int ** int is a float where the exponent is negative
    if (!floating && !cg_r_int(n, "b", &value)) return NULL;
    if (!floating && !cg_x_at_least(m, value, cg_xi(m, 0))) return NULL;
    set(n, floating ? CG_T_FLOAT : CG_T_INT, NULL);
    break;
  default: set(n, floating ? CG_T_FLOAT : CG_T_INT, value);
  }
  return NULL;
}

// ---------------------------------------------------------------- sizes

const char *cg_infer_sym_size(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  int d;
  if (!x) return NULL;
  CG_RULE(cg_r_dim_of(m, n, "dim", x->type.rank, &d));
  if (!x->type.rank) return "a 0-dim tensor has no sizes";
  set(n, CG_T_INT, x->type.dim[d]);
  return NULL;
}

const char *cg_infer_sym_numel(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  if (x) set(n, CG_T_INT, cg_type_numel(m, &x->type));
  return NULL;
}

// item(): its value is known at run time only.
const char *cg_infer_item(cg_module *m, cg_node *n) {
  cg_value *x = cg_self(n);
  (void)m;
  if (!x || cg_is_complex(x->type.dtype)) return NULL;
  cg_dtype t = x->type.dtype;
  set(n, t == CG_BOOL ? CG_T_BOOL : cg_is_float(t) ? CG_T_FLOAT : CG_T_INT, NULL);
  return NULL;
}

// Asserts have no results.
const char *cg_infer_nothing(cg_module *m, cg_node *n) { return (void)m, (void)n, NULL; }
