// Reads the text form that doc/ir.md specifies: recursive descent, one function for each rule of the grammar.
// What a rule is made of (sizes, types, arguments) is in text_terms.c.
#include <string.h>

#include "base/hash.h"
#include "ir/text_parser.h"
#include "ir/verify.h"

// ---------------------------------------------------------------- provenance

static const char *quoted(cg_text_parser *p) { // ="text"
  cg_lex_need(&p->l, '=');
  return cg_lex_string(&p->l, NULL);
}

static cg_span place(cg_text_parser *p) { // behind loc
  cg_span at = {0};
  cg_lex_need(&p->l, '(');
  if (cg_lex_take(&p->l, ')')) return at;
  at.file = cg_lex_string(&p->l, NULL);
  for (int i = 0; i < 2 && cg_lex_take(&p->l, ':'); i++) {
    int64_t v = cg_lex_int(&p->l, "a number");
    if (v < 0 || v > 1 << 30) cg_lex_fail(&p->l, p->l.at, "no such place");
    *(i ? &at.col : &at.line) = (int)v;
  }
  cg_lex_need(&p->l, ')');
  return at;
}

typedef struct {
  bool has_name, has_at, has_path;
  const char *name, *path, *why_not;
  cg_span at;
  int origin;
} provenance;

static provenance read_provenance(cg_text_parser *p) {
  provenance v = {0};
  for (;;) {
    cg_lex_blanks(&p->l);
    const char *start = p->l.at;
    if (cg_lex_take_word(&p->l, "name")) {
      v.has_name = true;
      cg_lex_need(&p->l, '=');
      v.name = cg_lex_take_word(&p->l, "none") ? NULL : cg_lex_string(&p->l, NULL);
    } else if (cg_lex_take_word(&p->l, "loc")) {
      v.has_at = true;
      v.at = place(p);
    } else if (cg_lex_take_word(&p->l, "in")) {
      v.has_path = true;
      v.path = cg_lex_string(&p->l, NULL);
    } else if (cg_lex_take_word(&p->l, "from")) {
      int64_t n = cg_lex_int(&p->l, "an origin's number");
      if (n < 1 || n > p->m->origins.n) cg_lex_fail(&p->l, start, "there is no origin %lld", (long long)n);
      v.origin = (int)n;
    } else if (cg_lex_take_word(&p->l, "why_not")) {
      v.why_not = quoted(p);
    } else {
      return v;
    }
  }
}

static void set_provenance(cg_text_parser *p, cg_node *n, const provenance *v, const char *at) {
  cg_origin from = {0};
  if (v->origin) from = p->m->origins.at[v->origin - 1];
  n->origin = v->origin;
  n->name = v->has_name ? v->name : from.name;
  n->module_path = v->has_path ? v->path : from.module_path ? from.module_path : "";
  n->at = v->has_at ? v->at : from.at;
  if (!v->has_at && !n->at.file && p->own_places) n->at = cg_lex_place(&p->l, at);
  n->why_not = v->why_not;
}

// ---------------------------------------------------------------- nodes

typedef struct {
  const char *name, *at;
  cg_type type;
} result;
CG_VEC_TYPE(result_vec, result);

typedef struct {
  const char *name, *at; // name NULL: by place
  cg_arg arg;
} given;
CG_VEC_TYPE(given_vec, given);

static result_vec read_results(cg_text_parser *p) {
  result_vec v = {0};
  while (cg_lex_peek(&p->l) == '%') {
    result r = {.at = p->l.at++};
    r.name = cg_lex_name(&p->l, "a value's name");
    if (cg_lex_take(&p->l, ':')) r.type = cg_text_type(p, true);
    CG_PUSH(p->s, &v, r);
    if (cg_lex_take(&p->l, ',')) {
      if (cg_lex_peek(&p->l) != '%') cg_lex_expected(&p->l, "%value");
      continue;
    }
    cg_lex_need(&p->l, '=');
    break;
  }
  return v;
}

// The NAME of `NAME=`, read past; NULL: there is none, and nothing is read.
static const char *argument_name(cg_text_parser *p) {
  const char *word = cg_lex_peek_word(&p->l, false), *start = p->l.at;
  p->l.at += strlen(word);
  if (*word && cg_lex_take(&p->l, '=')) return word;
  p->l.at = start;
  return NULL;
}

static given_vec read_given(cg_text_parser *p) {
  given_vec v = {0};
  bool named = false;
  cg_lex_need(&p->l, '(');
  if (cg_lex_take(&p->l, ')')) return v;
  do {
    cg_lex_blanks(&p->l);
    given g = {.at = p->l.at};
    g.name = argument_name(p);
    if (named && !g.name) cg_lex_fail(&p->l, g.at, "arguments by place come before those by name");
    named = named || g.name;
    g.arg = cg_text_argument(p);
    CG_PUSH(p->s, &v, g);
  } while (cg_lex_take(&p->l, ','));
  cg_lex_need(&p->l, ')');
  return v;
}

// Which of the schema's arguments each given one is; those beyond the declared ones count on from there.
static int *assign(cg_text_parser *p, const cg_schema *c, const given_vec *v, int *total) {
  int *to = CG_NEW_ARRAY(p->s, int, v->n + 1), next = 0;
  *total = c->nargs;
  for (int i = 0; i < v->n; i++) {
    const given *g = &v->at[i];
    if (g->name) {
      to[i] = cg_schema_arg_index(c, g->name);
      if (to[i] < 0) cg_lex_fail(&p->l, g->at, "no argument `%s`: %s", g->name, c->text);
    } else {
      while (next < c->nargs && c->arg[next].keyword_only) next++;
      if (next >= c->nargs && !c->variadic_args) cg_lex_fail(&p->l, g->at, "too many arguments: %s", c->text);
      to[i] = next < c->nargs ? next++ : (*total)++;
    }
  }
  return to;
}

static cg_node *new_node(cg_text_parser *p, const cg_schema *schema, int nargs, int nresults) {
  int id = p->m->next_id; // the results' provisional names take no numbers
  cg_node *n = cg_node_new(p->fn, NULL, schema, nargs, nresults);
  p->m->newest = NULL;
  p->m->next_id = id;
  return n;
}

static cg_node *operator_node(cg_text_parser *p, const char *at, const cg_schema *c, const given_vec *v, int nresults) {
  int total;
  int *to = assign(p, c, v, &total);
  if (!cg_results_fit(c, nresults)) cg_lex_fail(&p->l, at, "this does not have %d result%s: %s", nresults, nresults == 1 ? "" : "s", c->text);
  cg_node *n = new_node(p, c, total, nresults);
  bool *set = CG_NEW_ARRAY(p->s, bool, total + 1);
  for (int i = 0; i < v->n; i++) {
    const given *g = &v->at[i];
    if (set[to[i]]) cg_lex_fail(&p->l, g->at, "argument `%s` is given twice", g->name ? g->name : "");
    set[to[i]] = true;
    n->arg[to[i]] = g->arg;
    const char *why = to[i] < c->nargs ? cg_arg_misfit(p->s, &c->arg[to[i]], &g->arg) : NULL;
    if (why) cg_lex_fail(&p->l, g->at, "%s: %s", why, c->text);
  }
  for (int i = 0; i < c->nargs; i++) {
    if (set[i]) continue;
    if (!c->arg[i].default_text) cg_lex_fail(&p->l, at, "argument `%s` is missing: %s", c->arg[i].name, c->text);
    n->arg[i] = cg_schema_default(p->m, &c->arg[i]);
  }
  return n;
}

static cg_node *call_node(cg_text_parser *p, const char *at, cg_text_fn *e, const given_vec *v, int nresults) {
  cg_node *n = new_node(p, NULL, v->n, nresults);
  n->callee = e->fn;
  for (int i = 0; i < v->n; i++) {
    if (v->at[i].name) cg_lex_fail(&p->l, v->at[i].at, "a function's arguments have no names");
    n->arg[i] = v->at[i].arg;
  }
  CG_PUSH(p->s, &p->calls, ((cg_text_call){n, at}));
  return n;
}

static const cg_schema *operator_here(cg_text_parser *p) {
  const char *start = p->l.at, *spelling;
  const cg_schema *c;
  if (*start == '"') {
    spelling = cg_lex_string(&p->l, NULL);
    c = cg_schema_find(p->s, &p->m->schemas, spelling);
  } else {
    spelling = cg_lex_peek_word(&p->l, true);
    if (!*spelling) cg_lex_expected(&p->l, "an operator, @function, `update`, `reshape`, `return` or '}'");
    p->l.at += strlen(spelling);
    c = cg_text_schema(p->m, spelling);
  }
  if (!c) cg_lex_fail(&p->l, start, "unknown operator %s: not in the table, and no `schema \"…\"` line declares it", spelling);
  return c;
}

static void define(cg_text_parser *p, cg_value *v, const char *name, const char *at) {
  cg_value_rename(p->m, v, name);
  if (!cg_map_set(p->s, &p->values, name, v)) cg_lex_fail(&p->l, at, "there is a value %%%s already", name);
}

static void node(cg_text_parser *p) {
  const char *start = p->l.at;
  result_vec results = read_results(p);
  cg_lex_blanks(&p->l);
  const char *at = p->l.at;
  cg_node *n;
  if (cg_lex_take(&p->l, '@')) {
    cg_text_fn *e = cg_text_fn_ref(p);
    given_vec v = read_given(p);
    n = call_node(p, at, e, &v, results.n);
  } else {
    const cg_schema *c = operator_here(p);
    given_vec v = read_given(p);
    n = operator_node(p, at, c, &v, results.n);
  }
  for (int i = 0; i < results.n; i++) {
    define(p, n->result[i], results.at[i].name, results.at[i].at);
    n->result[i]->type = results.at[i].type;
  }
  provenance v = read_provenance(p);
  set_provenance(p, n, &v, start);
}

// ---------------------------------------------------------------- functions

// What the signature declares of one result: a type, or a list of such.
typedef struct declared declared;
struct declared {
  const char *at;
  bool is_list;
  cg_type type;
  CG_VEC(declared) items;
};

static declared declared_result(cg_text_parser *p) {
  cg_lex_blanks(&p->l);
  declared d = {.at = p->l.at};
  if (!cg_lex_take(&p->l, '[')) {
    d.type = cg_text_type(p, false);
    return d;
  }
  cg_text_enter(p);
  d.is_list = true;
  if (cg_lex_peek(&p->l) != ']')
    do CG_PUSH(p->s, &d.items, declared_result(p));
    while (cg_lex_take(&p->l, ','));
  cg_lex_need(&p->l, ']');
  p->depth--;
  return d;
}

// true: there is a signature, `-> …`.
static bool signature(cg_text_parser *p, declared *all) {
  cg_lex_blanks(&p->l);
  *all = (declared){.at = p->l.at, .is_list = true};
  if (p->l.at[0] != '-' || p->l.at[1] != '>') return false;
  p->l.at += 2;
  if (cg_lex_take(&p->l, '(')) {
    if (cg_lex_peek(&p->l) != ')')
      do CG_PUSH(p->s, &all->items, declared_result(p));
      while (cg_lex_take(&p->l, ','));
    cg_lex_need(&p->l, ')');
  } else {
    CG_PUSH(p->s, &all->items, declared_result(p));
  }
  return true;
}

static void check_declared(cg_text_parser *p, const declared *d, cg_arg *a) {
  static const cg_type_kind kind_of[] = {[CG_A_INT] = CG_T_INT, [CG_A_FLOAT] = CG_T_FLOAT, [CG_A_BOOL] = CG_T_BOOL, [CG_A_STR] = CG_T_STR,
                                         [CG_A_NONE] = CG_T_NONE};
  if (d->is_list) {
    if (a->kind != CG_A_LIST || a->list.n != d->items.n) cg_lex_fail(&p->l, d->at, "another list is returned than is declared here");
    for (int i = 0; i < d->items.n; i++) check_declared(p, &d->items.at[i], &a->list.at[i]);
    return;
  }
  if (d->type.kind == CG_T_UNKNOWN) return;
  bool fits = a->kind != CG_A_LIST;
  if (a->kind == CG_A_VALUE && a->value->type.kind == CG_T_UNKNOWN) a->value->type = d->type;
  else if (a->kind == CG_A_VALUE) fits = cg_type_equal(&a->value->type, &d->type);
  else if (fits) fits = a->kind <= CG_A_STR && kind_of[a->kind] == d->type.kind;
  if (fits) return;
  cg_str b = cg_str_new(p->s);
  if (a->kind == CG_A_VALUE) cg_print_type(&b, &a->value->type);
  else cg_print_arg(&b, a);
  cg_lex_fail(&p->l, d->at, "declared is something else than what is returned: %s", cg_str_text(&b));
}

static void params(cg_text_parser *p) {
  cg_lex_need(&p->l, '(');
  if (cg_lex_take(&p->l, ')')) return;
  do {
    if (cg_lex_peek(&p->l) != '%') cg_lex_expected(&p->l, "%parameter");
    const char *at = p->l.at++;
    const char *name = cg_lex_name(&p->l, "a parameter's name");
    cg_type t = {0};
    if (cg_lex_take(&p->l, ':')) t = cg_text_type(p, true);
    define(p, cg_param_new(p->fn, name, t), name, at);
  } while (cg_lex_take(&p->l, ','));
  cg_lex_need(&p->l, ')');
}

static void update(cg_text_parser *p) {
  cg_lex_blanks(&p->l);
  const char *at = p->l.at;
  cg_update u = {.target = cg_text_value(p)};
  if (u.target->def) cg_lex_fail(&p->l, at, "only parameters and state can be updated");
  if (u.target->constant && !u.target->constant->mutated) cg_lex_fail(&p->l, at, "this constant is not declared `state`");
  u.kind = u.target->constant ? CG_UPDATE_STATE : CG_UPDATE_INPUT;
  cg_lex_need(&p->l, '=');
  u.value = cg_text_value(p);
  CG_PUSH(p->s, &p->fn->update, u);
}

static void reshape(cg_text_parser *p) {
  cg_lex_blanks(&p->l);
  const char *at = p->l.at;
  cg_update u = {.kind = CG_UPDATE_RESHAPE, .target = cg_text_value(p)};
  cg_lex_need(&p->l, '=');
  u.value = cg_text_value(p);
  const char *why = cg_reshape_misfit(p->fn, &u);
  if (why) cg_lex_fail(&p->l, at, "%s", why);
  CG_PUSH(p->s, &p->fn->update, u);
}

static void returned(cg_text_parser *p) {
  if (cg_lex_peek(&p->l) == '}') return;
  do CG_PUSH(p->s, &p->fn->result, cg_text_argument(p));
  while (cg_lex_take(&p->l, ','));
}

static void body(cg_text_parser *p) {
  cg_lex_need(&p->l, '{');
  while (!cg_lex_take(&p->l, '}')) {
    if (cg_lex_take_word(&p->l, "update")) {
      update(p);
    } else if (cg_lex_take_word(&p->l, "reshape")) {
      reshape(p);
    } else if (cg_lex_take_word(&p->l, "return")) {
      returned(p);
      cg_lex_need(&p->l, '}');
      return;
    } else {
      if (p->fn->update.n) cg_lex_expected(&p->l, "`update`, `reshape`, `return` or '}' after an update");
      node(p);
    }
  }
}

static void function(cg_text_parser *p) { // behind fn
  cg_lex_blanks(&p->l);
  const char *at = p->l.at;
  if (!cg_lex_take(&p->l, '@')) cg_lex_expected(&p->l, "@name");
  cg_text_fn *e = cg_text_fn_ref(p);
  if (e->defined) cg_lex_fail(&p->l, at, "there is a function @%s already", e->fn->name);
  e->defined = true;
  e->used = at;
  p->fn = e->fn;
  p->values = (cg_map){0};
  CG_PUSH(p->s, &p->order, p->fn);
  params(p);
  declared d;
  bool declares = signature(p, &d);
  if (cg_lex_take_word(&p->l, "backend")) p->fn->backend = quoted(p);
  if (cg_lex_take_word(&p->l, "mode")) p->fn->mode = quoted(p);
  body(p);
  if (!declares) return;
  if (d.items.n != p->fn->result.n)
    cg_lex_fail(&p->l, d.at, "%d results are declared, %d returned", d.items.n, p->fn->result.n);
  for (int i = 0; i < d.items.n; i++) check_declared(p, &d.items.at[i], &p->fn->result.at[i]);
}

// ---------------------------------------------------------------- declarations

static void module_line(cg_text_parser *p) {
  if (cg_lex_take_word(&p->l, "source")) {
    p->m->source = quoted(p);
    p->own_places = false;
  }
  if (cg_lex_take_word(&p->l, "producer")) p->m->producer = quoted(p);
}

static void symbol(cg_text_parser *p) {
  const char *name = cg_lex_peek_word(&p->l, false), *at = p->l.at;
  if (!*name) cg_lex_expected(&p->l, "a symbol's name");
  if (strlen(name) >= 64) cg_lex_fail(&p->l, at, "a symbol's name is shorter than 64 bytes");
  if (cg_text_is_reserved(name)) cg_lex_fail(&p->l, at, "`%s` means something else in arguments and cannot be a symbol", name);
  if (cg_symbol_find(&p->m->exprs, name)) cg_lex_fail(&p->l, at, "there is a symbol %s already", name);
  p->l.at += strlen(name);
  cg_symbol *y = cg_symbol_get(&p->m->exprs, name);
  cg_lex_need(&p->l, '=');
  int64_t lo = cg_lex_int(&p->l, "the lowest value"), hi = y->hi;
  if (cg_lex_peek(&p->l) != '.' || p->l.at[1] != '.') cg_lex_expected(&p->l, "'..'");
  p->l.at += 2;
  char c = cg_lex_peek(&p->l);
  if (c == '-' || (c >= '0' && c <= '9')) hi = cg_lex_int(&p->l, "the highest value");
  cg_symbol_range(y, lo, hi);
  if (y->hi < y->lo) cg_lex_fail(&p->l, at, "%s has no value: %lld..%lld", name, (long long)y->lo, (long long)y->hi);
  if (cg_lex_take_word(&p->l, "hint")) {
    cg_lex_blanks(&p->l);
    at = p->l.at;
    y->hint = cg_lex_int(&p->l, "a typical value");
    if (y->hint && (y->hint < y->lo || y->hint > y->hi)) cg_lex_fail(&p->l, at, "the hint is outside the range");
  }
  if (cg_lex_take_word(&p->l, "unbacked")) y->unbacked = true;
  else if (cg_lex_take_word(&p->l, "backed")) y->unbacked = false;
}

typedef struct {
  cg_text_parser *p;
  const char *text;
  const cg_schema *schema;
} schema_reader;

static void read_schema(cg_session *s, void *u) {
  schema_reader *r = u;
  const cg_schema *c = cg_schema_parse(s, r->text);
  for (int i = 0; i < c->nargs; i++)
    if (c->arg[i].default_text) cg_schema_default(r->p->m, &c->arg[i]); // so that it will do later
  r->schema = c;
}

static void schema(cg_text_parser *p) {
  cg_lex_blanks(&p->l);
  const char *at = p->l.at;
  schema_reader r = {.p = p, .text = cg_lex_string(&p->l, NULL)};
  cg_text_with_place(p, at, read_schema, &r);
  if (cg_map_has(&p->m->schemas, r.schema->key)) cg_lex_fail(&p->l, at, "%s is declared or used already", r.schema->key);
  cg_map_set(p->s, &p->m->schemas, r.schema->key, (void *)r.schema);
}

static void origin(cg_text_parser *p) {
  cg_lex_blanks(&p->l);
  const char *at = p->l.at;
  if (cg_lex_int(&p->l, "a number") != p->m->origins.n + 1) cg_lex_fail(&p->l, at, "origins are numbered from 1, this is number %d", p->m->origins.n + 1);
  cg_lex_need(&p->l, '=');
  cg_origin o = {.key = cg_lex_string(&p->l, NULL), .module_path = ""};
  cg_lex_blanks(&p->l);
  at = p->l.at;
  provenance v = read_provenance(p);
  if (v.origin || v.why_not) cg_lex_fail(&p->l, at, "an origin has name=, loc() and in");
  if (v.has_name) o.name = v.name;
  if (v.has_at) o.at = v.at;
  if (v.has_path) o.module_path = v.path;
  CG_PUSH(p->s, &p->m->origins, o);
}

static void check_new(cg_text_parser *p, const char *name, const char *at) {
  if (cg_map_has(&p->m->constant_by_name, name)) cg_lex_fail(&p->l, at, "there is a constant @%s already", name);
  if (cg_blob_find(p->m, name)) cg_lex_fail(&p->l, at, "there is a blob @%s already", name);
}

static void blob(cg_text_parser *p) {
  cg_lex_blanks(&p->l);
  const char *at = p->l.at;
  if (!cg_lex_take(&p->l, '@')) cg_lex_expected(&p->l, "@name");
  const char *name = cg_lex_name(&p->l, "a blob's name");
  check_new(p, name, at);
  cg_lex_need(&p->l, '=');
  cg_lex_blanks(&p->l);
  at = p->l.at;
  const char *hash = cg_lex_string(&p->l, NULL);
  if (!cg_hash_is(hash)) cg_lex_fail(&p->l, at, "a blob's hash has %d digits of 0-9 and a-f", CG_HASH_DIGITS);
  if (!cg_lex_take_word(&p->l, "size")) cg_lex_expected(&p->l, "size");
  cg_lex_blanks(&p->l);
  at = p->l.at;
  int64_t size = cg_lex_int(&p->l, "how many bytes it has");
  if (size < 0) cg_lex_fail(&p->l, at, "the size is negative");
  cg_blob_new(p->m, name, hash, NULL, (uint64_t)size);
}

static void constant(cg_text_parser *p, int kind) {
  cg_lex_blanks(&p->l);
  const char *at = p->l.at;
  if (!cg_lex_take(&p->l, '@')) cg_lex_expected(&p->l, "@name");
  const char *name = cg_lex_name(&p->l, "a constant's name");
  check_new(p, name, at);
  cg_lex_need(&p->l, ':');
  cg_type t = cg_text_type(p, true);
  cg_constant *c = cg_constant_new(p->m, name, t, NULL, cg_text_storage_size(&t));
  c->kind = kind;
  c->mutated = cg_lex_take_word(&p->l, "state");
  if (cg_lex_take_word(&p->l, "size")) {
    int64_t size = cg_lex_int(&p->l, "the bytes of its storage");
    if (size < 0) cg_lex_fail(&p->l, at, "the size is negative");
    c->size = (uint64_t)size;
  }
}

static void input(cg_text_parser *p) {
  cg_text_input in = {0};
  cg_lex_blanks(&p->l);
  in.input.name = cg_lex_name(&p->l, "an input's name");
  cg_lex_need(&p->l, '=');
  cg_lex_blanks(&p->l);
  in.at = p->l.at;
  if (cg_lex_take(&p->l, '%')) in.param = cg_lex_name(&p->l, "a parameter of @main");
  else in.input.constant = cg_text_argument(p);
  if (in.input.constant.kind == CG_A_FN) cg_lex_fail(&p->l, in.at, "an input is no function");
  CG_PUSH(p->s, &p->inputs, in);
}

static bool declaration(cg_text_parser *p) {
  static void (*const rule[])(cg_text_parser *) = {module_line, symbol, schema, origin, blob, input, function};
  static const char *const word[] = {"module", "sym", "schema", "origin", "blob", "input", "fn"};
  static const char *const kind[] = {[CG_CONST_PARAM] = "param", [CG_CONST_BUFFER] = "buffer", [CG_CONST_TENSOR] = "const"};
  for (size_t i = 0; i < sizeof rule / sizeof *rule; i++) {
    if (!cg_lex_take_word(&p->l, word[i])) continue;
    rule[i](p);
    return true;
  }
  for (int k = 0; k < 3; k++) {
    if (!cg_lex_take_word(&p->l, kind[k])) continue;
    constant(p, k);
    return true;
  }
  return false;
}

// ---------------------------------------------------------------- what can be said only at the end

static void finish_fns(cg_text_parser *p) {
  for (int i = 0; i < p->fns.n; i++) {
    const cg_text_fn *e = p->fns.entries[i].value;
    if (!e->defined) cg_lex_fail(&p->l, e->used, "there is no function @%s", e->fn->name);
  }
  if (!p->m->main) cg_lex_fail(&p->l, p->l.text, "the text has no function @main");
  p->m->fns = p->order;
  const cg_fn *loop = cg_recursive_fn(p->m);
  if (loop) cg_lex_fail(&p->l, ((cg_text_fn *)cg_map_get(&p->fns, loop->name))->used, "@%s calls itself, or calls are nested too deeply", loop->name);
}

static void finish_call(cg_text_parser *p, const cg_text_call *c) {
  const cg_node *n = c->node;
  const cg_fn *f = n->callee;
  const char *why;
  if (n->nargs != f->param.n) cg_lex_fail(&p->l, c->at, "@%s takes %d, not %d arguments", f->name, f->param.n, n->nargs);
  if (n->nresults != f->result.n) cg_lex_fail(&p->l, c->at, "@%s gives %d, not %d results", f->name, f->result.n, n->nresults);
  for (int i = 0; i < n->nargs; i++)
    if (n->arg[i].kind == CG_A_VALUE && (why = cg_type_misfit(&n->arg[i].value->type, &f->param.at[i]->type)))
      cg_lex_fail(&p->l, c->at, "argument %d has %s than parameter %%%s of @%s", i + 1, why, f->param.at[i]->name, f->name);
  for (int i = 0; i < n->nresults; i++)
    if (f->result.at[i].kind == CG_A_VALUE && (why = cg_type_misfit(&n->result[i]->type, &f->result.at[i].value->type)))
      cg_lex_fail(&p->l, c->at, "result %d has %s than @%s returns", i + 1, why, f->name);
}

static cg_value *main_param(cg_text_parser *p, const cg_text_input *in) {
  cg_fn *f = p->m->main;
  for (int i = 0; i < f->param.n; i++)
    if (!strcmp(f->param.at[i]->name, in->param)) return f->param.at[i];
  cg_lex_fail(&p->l, in->at, "@main has no parameter %%%s", in->param);
}

static void finish_inputs(cg_text_parser *p) {
  cg_module *m = p->m;
  for (int i = 0; i < p->inputs.n; i++) {
    cg_input in = p->inputs.at[i].input;
    if (p->inputs.at[i].param) in.param = main_param(p, &p->inputs.at[i]);
    CG_PUSH(p->s, &m->inputs, in);
  }
  for (int i = 0; !p->inputs.n && i < m->main->param.n; i++)
    CG_PUSH(p->s, &m->inputs, ((cg_input){.name = m->main->param.at[i]->name, .param = m->main->param.at[i]}));
}

cg_module *cg_parse_module(cg_session *s, const char *file, const char *text, size_t size) {
  cg_text_parser p = {.l = cg_lexer_new(s, cg_strdup(s, file), text, size), .s = s, .m = cg_module_new(s), .own_places = true};
  cg_expr_pool_limit(&p.m->exprs, size);
  while (declaration(&p)) {}
  if (cg_lex_peek(&p.l) || p.l.at != p.l.end)
    cg_lex_expected(&p.l, "module, sym, schema, origin, param, buffer, const, blob, input or fn");
  finish_fns(&p);
  for (int i = 0; i < p.calls.n; i++) finish_call(&p, &p.calls.at[i]);
  finish_inputs(&p);
  if (p.own_places) p.m->source = p.l.file;
  return p.m;
}

void cg_text_feed(cg_text_parser *p, const char *line) {
  p->l = cg_lexer_new(p->s, "the imported program", line, strlen(line));
  if (cg_lex_take_word(&p->l, "value")) {
    if (!cg_lex_take(&p->l, '%')) cg_lex_expected(&p->l, "%value");
    const char *at = p->l.at, *name = cg_lex_name(&p->l, "a value's name");
    cg_lex_need(&p->l, ':');
    cg_type t = cg_text_type(p, true);
    define(p, cg_param_new(p->fn, name, t), name, at);
  } else if (!declaration(p)) {
    node(p);
  }
  if (cg_lex_peek(&p->l) || p->l.at != p->l.end) cg_lex_expected(&p->l, "the line's end");
}
