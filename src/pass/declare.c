// Result types that the user declared: --op-type 'ns::op=(f32[s0, 4]) -> (f32[s0])'. The symbols are the declaration's own:
// they stand for the sizes that a node's tensor arguments, in order, have there. One that no argument has appears only
// when the program runs.
#include <string.h>

#include "ir/text.h"
#include "pass/declare.h"

typedef struct {
  cg_pipeline *p;
  cg_module *m;       // the program
  cg_module *own;     // holds the declaration's symbols
  const cg_node *node;
  const char *text;
  const cg_expr **by; // [symbol of own] what it is in the program
} declaration;

static _Noreturn void unreadable(const declaration *d) {
  cg_fail(d->p->s, CIERGE_USAGE, "--op-type '%s': it reads like 'ns::op=(f32[s0, 4]) -> (f32[s0])'", d->text);
}

// Symbols need no declaration here: every word that is s or u and digits.
static void find_symbols(declaration *d) {
  const char *t = d->text;
  while (*t) {
    size_t n = strspn(t, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    if (n > 1 && (t[0] == 's' || t[0] == 'u') && strspn(t + 1, "0123456789") == n - 1) cg_symbol_get(&d->own->exprs, cg_strndup(d->p->s, t, n));
    t += n ? n : 1;
  }
  d->by = CG_NEW_ARRAY(d->p->s, const cg_expr *, d->own->exprs.symbols.n + 1);
}

CG_VEC_TYPE(type_vec, cg_type);

// "(f32[s0, 4], i64[s0])" from *t on; *t is set behind it.
static type_vec types(declaration *d, const char **t) {
  type_vec out = {0};
  const char *at = *t + strspn(*t, " ");
  if (*at++ != '(') unreadable(d);
  while (*(at += strspn(at, " ,")) != ')') {
    const char *end = at;
    for (int depth = 0; *end && (depth || (*end != ',' && *end != ')')); end++) depth += *end == '[' || *end == '(' ? 1 : *end == ']' || *end == ')' ? -1 : 0;
    if (!*end) unreadable(d);
    while (end > at && end[-1] == ' ') end--;
    cg_type x = cg_parse_type(d->own, cg_strndup(d->p->s, at, (size_t)(end - at)), (cg_span){.file = "--op-type"});
    CG_PUSH(d->p->s, &out, x);
    at = end;
  }
  *t = at + 1;
  return out;
}

// An expression of the declaration in the program's symbols.
static const cg_expr *translate(declaration *d, const cg_expr *x) {
  cg_expr_pool *pool = &d->m->exprs;
  if (x->kind == CG_X_INT) return cg_x_int(pool, x->value);
  if (x->kind == CG_X_SYM) {
    const cg_expr **by = &d->by[x->symbol->index];
    if (!*by) *by = cg_unbacked_new(d->m);
    return *by;
  }
  const cg_expr **arg = CG_NEW_ARRAY(d->p->s, const cg_expr *, x->nargs);
  for (int i = 0; i < x->nargs; i++) arg[i] = translate(d, x->arg[i]);
  return cg_x_op(pool, x->kind, x->nargs, arg);
}

static _Noreturn void misfit(const declaration *d, const cg_value *v) {
  cg_str b = cg_str_new(d->p->s);
  cg_print_type(&b, &v->type);
  cg_fail_at(d->p->s, CIERGE_BAD_MODEL, d->node->at, "%s: --op-type '%s' declares other arguments; here is %s", cg_node_text(d->p->s, d->node), d->text, cg_str_text(&b));
}

static void match(declaration *d, const cg_type *want, const cg_value *v) {
  const cg_type *have = &v->type;
  if (want->kind == CG_T_LATE) return; // any tensor
  if (have->kind == CG_T_LATE || want->kind != CG_T_TENSOR || want->dtype != have->dtype || want->rank != have->rank) misfit(d, v);
  for (int i = 0; i < want->rank; i++) {
    const cg_expr *x = want->dim[i];
    if (x->kind == CG_X_SYM && !d->by[x->symbol->index]) d->by[x->symbol->index] = have->dim[i];
    else if (cg_x_is_int(x) && cg_x_is_int(have->dim[i]) && x->value != have->dim[i]->value) misfit(d, v);
  }
}

static void collect(const declaration *d, const cg_arg *a, cg_value_vec *out) {
  if (a->kind == CG_A_VALUE && (a->value->type.kind == CG_T_TENSOR || a->value->type.kind == CG_T_LATE)) CG_PUSH(d->p->s, out, a->value);
  for (int i = 0; a->kind == CG_A_LIST && i < a->list.n; i++) collect(d, &a->list.at[i], out);
}

static void read(declaration *d, type_vec *want, type_vec *results) {
  const char *at = strchr(d->text, '=');
  if (!at++) unreadable(d);
  d->own = cg_module_new(d->p->s);
  find_symbols(d);
  *want = types(d, &at);
  at += strspn(at, " ");
  if (strncmp(at, "->", 2)) unreadable(d);
  at += 2;
  *results = types(d, &at);
  if (at[strspn(at, " ")]) unreadable(d);
}

void cg_check_declared(cg_pipeline *p) {
  for (int i = 0; i < p->opt->op_types.n; i++) {
    declaration d = {.p = p, .text = p->opt->op_types.at[i]};
    type_vec want, results;
    read(&d, &want, &results);
  }
}

static void apply(declaration *d, cg_node *n) {
  type_vec want, results;
  read(d, &want, &results);
  cg_value_vec given = {0};
  for (int i = 0; i < n->nargs; i++) collect(d, &n->arg[i], &given);
  if (want.n != given.n)
    cg_fail_at(d->p->s, CIERGE_USAGE, n->at, "--op-type '%s' declares %d tensor arguments, %s has %d here", d->text, want.n, n->schema->key, given.n);
  if (results.n != n->nresults)
    cg_fail(d->p->s, CIERGE_USAGE, "--op-type '%s' declares %d results, %s has %d", d->text, results.n, n->schema->key, n->nresults);
  for (int i = 0; i < want.n; i++) match(d, &want.at[i], given.at[i]);
  for (int i = 0; i < results.n; i++) {
    cg_type t = results.at[i];
    for (int k = 0; k < t.rank; k++) t.dim[k] = translate(d, t.dim[k]);
    if (t.value) t.value = translate(d, t.value);
    t.stride = NULL, t.offset = NULL;
    n->result[i]->type = t;
  }
}

bool cg_declared_type(cg_pipeline *p, cg_module *m, cg_node *n) {
  for (int i = 0; i < p->opt->op_types.n; i++) {
    declaration d = {.p = p, .m = m, .node = n, .text = p->opt->op_types.at[i]};
    size_t length = strcspn(d.text, "=");
    if (strlen(n->schema->key) != length || strncmp(d.text, n->schema->key, length)) continue;
    apply(&d, n);
    return true;
  }
  return false;
}
