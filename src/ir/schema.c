// Reads operator schemas, and finds them by key.
//
// Keys: a dispatcher operator's has '::' and its overload behind a dot ("aten::add.Tensor", "aten::relu" for the
// default overload); cierge's own ones have dots only ("_operator.add", "higher_order.cond") or none ("torchop").
#include "ir/schema.h"

#include <stdlib.h>
#include <string.h>

#include "artifact/scalar.h"
#include "base/vec.h"

// ---------------------------------------------------------------- The tables

// Sorted by key, in strcmp order.
static const char *const aten[] = {
#include "ir/schema_aten.inc"
};

// Keys of those that may draw random numbers, sorted too.
static const char *const random_keys[] = {
#include "ir/random_aten.inc"
};

// Operators that are not the dispatcher's. In a node of a variadic operator the declared arguments come first.
static const char *const own[] = {
#define ARGS_1 "Any a"
#define ARGS_2 "Any a, Any b"
#define ARGS_3 "Any a, Any b, Any c"
#define XX(name, key, n) (key "(" ARGS_##n ") -> Any"),
    CG_SCALAR_OPS(XX)
#undef XX
    "higher_order.cond(Any pred, Graph true_fn, Graph false_fn, Any operands=[], ...) -> ...",
    "higher_order.while_loop(Graph cond_fn, Graph body_fn, Any carried_inputs, Any additional_inputs=[], ...) -> ...",
    "higher_order.scan(Graph combine_fn, Any init, Any xs, Any additional_inputs=[]) -> ...",
    "higher_order.associative_scan(Graph combine_fn, Any xs, Any additional_inputs=[]) -> ...",
    "higher_order.map_impl(Graph f, Any xs, Any pos_args=[]) -> ...",
    "higher_order.wrap_with_set_grad_enabled(bool enable_grad, Graph wrapped_func, ...) -> ...",
    ("higher_order.wrap_with_autocast(str device_type, ScalarType? dtype, bool enabled, bool? cache_enabled, "
     "Graph wrapped_func, ...) -> ..."),
    // of PyTorch's Python alone (torch/nn/modules/linear_cross_entropy.py)
    ("torch_nn::_linear_cross_entropy_batch_chunked(Tensor input, Tensor linear_weight, Tensor target, Tensor? linear_bias, Tensor? weight, str reduction, SymInt ignore_index, "
     "float label_smoothing, SymInt batch_chunk_size, str acc_policy, ScalarType acc_dtype, bool allow_retain_graph, bool compute_input_grad, "
     "bool compute_linear_weight_grad, bool compute_linear_bias_grad) -> (Tensor, Tensor, Tensor, Tensor)"),
    ("torch_nn::_linear_cross_entropy_batch_chunked_no_reduction(Tensor input, Tensor linear_weight, Tensor target, Tensor? linear_bias, Tensor? weight, SymInt ignore_index, "
     "SymInt batch_chunk_size, str acc_policy, ScalarType acc_dtype) -> Tensor"),
    "torchop(*, Blob script, str method=\"forward\", ...) -> ...",
};

enum { N_ATEN = sizeof aten / sizeof *aten, N_OWN = sizeof own / sizeof *own };

// strcmp(key, the text up to its parenthesis)
static int compare_key(const char *key, const char *text) {
  for (; *key && *key == *text; key++, text++) {}
  return (unsigned char)*key - (*text == '(' ? 0 : (unsigned char)*text);
}

static int compare_row(const void *key, const void *row) { return compare_key(key, *(const char *const *)row); }

static const char *find_text(const char *key) {
  const char *const *row = bsearch(key, aten, N_ATEN, sizeof *aten, compare_row);
  if (row) return *row;
  for (int i = 0; i < N_OWN; i++)
    if (!compare_key(key, own[i])) return own[i];
  return NULL;
}

const cg_schema *cg_schema_find(cg_session *s, cg_map *cache, const char *key) {
  const cg_schema *c = cg_map_get(cache, key);
  if (c) return c;
  const char *text = strchr(key, '(') ? NULL : find_text(key);
  if (text) {
    c = cg_schema_parse(s, text);
    cg_map_set(s, cache, key, (void *)c);
    return c;
  }
  size_t n = strlen(key), m = strlen(".default");
  if (n <= m || strcmp(key + n - m, ".default")) return NULL;
  return cg_schema_find(s, cache, cg_strndup(s, key, n - m));
}

int cg_schema_arg_index(const cg_schema *c, const char *name) {
  for (int i = 0; i < c->nargs; i++)
    if (c->arg[i].name && !strcmp(c->arg[i].name, name)) return i;
  return -1;
}

static int compare_name(const void *key, const void *row) { return strcmp(key, *(const char *const *)row); }

bool cg_schema_may_draw(const cg_schema *c) {
  return bsearch(c->key, random_keys, sizeof random_keys / sizeof *random_keys, sizeof *random_keys, compare_name) || cg_schema_arg_index(c, "generator") >= 0;
}

size_t cg_schema_count(void) { return N_ATEN + N_OWN; }
const char *cg_schema_text(size_t i) { return i < N_ATEN ? aten[i] : own[i - N_ATEN]; }

// ---------------------------------------------------------------- The parser

typedef struct {
  cg_session *s;
  const char *text, *at;
} parser;

CG_VEC_TYPE(arg_vec, cg_schema_arg);

_Noreturn static void fail(const parser *p, const char *expected) {
  cg_fail(p->s, CIERGE_BAD_MODEL, "operator schema, column %d: expected %s\n  %s\n  %*s^", (int)(p->at - p->text) + 1, expected,
          p->text, (int)(p->at - p->text), "");
}

static void blanks(parser *p) {
  while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n') p->at++;
}

static bool take(parser *p, const char *token) {
  blanks(p);
  size_t n = strlen(token);
  if (strncmp(p->at, token, n)) return false;
  p->at += n;
  return true;
}

static void need(parser *p, const char *token) {
  if (!take(p, token)) fail(p, cg_format(p->s, "'%s'", token));
}

static bool word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// A word of letters, digits, '_' and whatever is in `more`. NULL: none here.
static const char *word(parser *p, const char *more) {
  blanks(p);
  const char *start = p->at;
  while (word_char(*p->at) || (*p->at && strchr(more, *p->at))) p->at++;
  return p->at > start ? cg_strndup(p->s, start, (size_t)(p->at - start)) : NULL;
}

// Behind the bracket that closes the one at p->at.
static void skip_brackets(parser *p) {
  int depth = 0;
  do {
    if (!*p->at) fail(p, "a closing bracket");
    depth += *p->at == '(' || *p->at == '[';
    depth -= *p->at == ')' || *p->at == ']';
    p->at++;
  } while (depth);
}

static const struct {
  const char *word;
  cg_schema_kind kind;
  bool symbolic;
} kinds[] = {
    {"Tensor", CG_S_TENSOR, false}, {"int", CG_S_INT, false}, {"SymInt", CG_S_INT, true}, {"float", CG_S_FLOAT, false},
    {"SymFloat", CG_S_FLOAT, true}, {"bool", CG_S_BOOL, false}, {"SymBool", CG_S_BOOL, true},
    {"Scalar", CG_S_SCALAR, false}, {"number", CG_S_SCALAR, false}, {"str", CG_S_STR, false},
    {"ScalarType", CG_S_DTYPE, false}, {"Layout", CG_S_LAYOUT, false}, {"Device", CG_S_DEVICE, false},
    {"MemoryFormat", CG_S_MEMORY_FORMAT, false}, {"Generator", CG_S_GENERATOR, false}, {"Graph", CG_S_GRAPH, false}, {"Blob", CG_S_BLOB, false},
    {"Any", CG_S_ANY, false},
};

static void base_type(parser *p, cg_schema_type *t) {
  blanks(p);
  t->kind = CG_S_OTHER;
  if (*p->at == '(') { // a tuple as an argument
    skip_brackets(p);
    return;
  }
  const char *w = word(p, ".");
  if (!w) fail(p, "a type");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(w, kinds[i].word)) continue;
    t->kind = kinds[i].kind;
    t->symbolic = kinds[i].symbolic;
  }
  if (t->kind == CG_S_OTHER && *p->at == '(') skip_brackets(p); // Dict(str, Tensor), Future(t)
}

// "(a)", "(a!)", "(a! -> a|b)", "(*)": the set before the arrow counts.
static void alias(parser *p, cg_schema_arg *a) {
  need(p, "(");
  blanks(p);
  if (!word_char(*p->at) && *p->at != '*') fail(p, "an alias set");
  a->alias_set = *p->at;
  while (*p->at && *p->at != ')') {
    if (*p->at == '-') { // what follows the arrow is where it ends up
      p->at += strcspn(p->at, ")");
      break;
    }
    if (*p->at == '!') a->alias_write = true;
    else if (!word_char(*p->at) && *p->at != '*' && *p->at != '|' && *p->at != ' ') fail(p, "an alias set");
    p->at++;
  }
  need(p, ")");
}

static void list_suffix(parser *p, cg_schema_type *t) {
  if (t->list) { // a list of lists
    t->kind = CG_S_OTHER;
    t->list_optional = false;
  }
  t->item_optional = t->optional;
  t->optional = false;
  t->list = true;
  t->list_size = 0;
  while (*p->at >= '0' && *p->at <= '9') {
    t->list_size = t->list_size * 10 + *p->at++ - '0';
    if (t->list_size > 1000000) fail(p, "a list size");
  }
  need(p, "]");
}

static void type(parser *p, cg_schema_arg *a) {
  blanks(p);
  const char *start = p->at;
  base_type(p, &a->type);
  for (;;) {
    if (*p->at == '(') {
      alias(p, a);
    } else if (*p->at == '[') {
      p->at++;
      list_suffix(p, &a->type);
    } else if (*p->at == '?') {
      p->at++;
      a->type.optional = true;
      a->type.list_optional = a->type.list;
    } else {
      break;
    }
  }
  a->type.text = cg_strndup(p->s, start, (size_t)(p->at - start));
}

static const char *default_text(parser *p) {
  blanks(p);
  const char *start = p->at;
  int depth = 0;
  for (char quote = 0; *p->at; p->at++) {
    char c = *p->at;
    if (quote) {
      if (c == '\\' && p->at[1]) p->at++;
      else if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[' || c == '(') {
      depth++;
    } else if (c == ']' || c == ')' || c == ',') {
      if (!depth) break;
      depth -= c != ',';
    }
  }
  const char *end = p->at;
  while (end > start && end[-1] == ' ') end--;
  if (end == start) fail(p, "a default value");
  return cg_strndup(p->s, start, (size_t)(end - start));
}

static void arguments(parser *p, cg_schema *c) {
  arg_vec v = {0};
  cg_map named = {0};
  bool keyword_only = false;
  need(p, "(");
  if (!take(p, ")")) do {
    if (take(p, "...")) {
      c->variadic_args = true;
      continue;
    }
    if (!keyword_only && take(p, "*")) {
      keyword_only = true;
      continue;
    }
    cg_schema_arg a = {.keyword_only = keyword_only};
    type(p, &a);
    a.name = word(p, "");
    if (!a.name) fail(p, "the argument's name");
    if (!cg_map_set(p->s, &named, a.name, "")) fail(p, cg_format(p->s, "another name: there is a '%s' already", a.name));
    if (take(p, "=")) a.default_text = default_text(p);
    a.is_out = a.alias_write && keyword_only;
    if (a.alias_write) c->mutates = true;
    CG_PUSH(p->s, &v, a);
  } while (take(p, ",") || (need(p, ")"), false));
  c->arg = v.at;
  c->nargs = v.n;
}

static void one_result(parser *p, cg_schema *c, arg_vec *v) {
  if (take(p, "...")) {
    c->variadic_rets = true;
    return;
  }
  cg_schema_arg a = {0};
  type(p, &a);
  a.name = word(p, "");
  if (a.alias_set && !a.alias_write) c->is_view = true;
  CG_PUSH(p->s, v, a);
}

static void results(parser *p, cg_schema *c) {
  arg_vec v = {0};
  need(p, "->");
  if (!take(p, "(")) {
    one_result(p, c, &v);
  } else if (!take(p, ")")) {
    do one_result(p, c, &v);
    while (take(p, ","));
    need(p, ")");
  }
  c->ret = v.at;
  c->nrets = v.n;
}

static void names(parser *p, cg_schema *c) {
  const char *whole = word(p, ":.");
  if (!whole) fail(p, "an operator's name");
  const char *colons = strstr(whole, "::"), *dot = colons ? strchr(colons, '.') : strrchr(whole, '.');
  c->key = whole;
  c->overload = "";
  c->name = whole;
  if (colons) {
    c->ns = cg_strndup(p->s, whole, (size_t)(colons - whole));
    if (dot) {
      c->overload = dot + 1;
      c->name = cg_strndup(p->s, whole, (size_t)(dot - whole));
    }
    if (dot && !strcmp(c->overload, "default")) {
      c->overload = "";
      c->key = c->name;
    }
  } else {
    c->ns = dot ? cg_strndup(p->s, whole, (size_t)(dot - whole)) : "";
  }
}

const cg_schema *cg_schema_parse(cg_session *s, const char *text) {
  cg_schema *c = CG_NEW(s, cg_schema);
  c->text = cg_strdup(s, text);
  parser p = {s, c->text, c->text};
  names(&p, c);
  arguments(&p, c);
  results(&p, c);
  blanks(&p);
  if (*p.at) fail(&p, "the end");
  return c;
}
