// Reads the terms of the text form: sizes, types, references to values and functions, arguments.
#include <string.h>

#include "ir/text_parser.h"

void cg_text_enter(cg_text_parser *p) {
  if (++p->depth > CG_TEXT_MAX_NESTING) cg_lex_fail(&p->l, p->l.at, "nested deeper than %d", CG_TEXT_MAX_NESTING);
}

void cg_text_with_place(cg_text_parser *p, const char *at, void (*f)(cg_session *, void *), void *u) {
  cierge_code code = cg_try(p->s, f, u);
  if (code == CIERGE_OK) return;
  if (code != CIERGE_BAD_MODEL) cg_rethrow(p->s);
  const char *text = cg_strndup(p->s, p->s->message, strcspn(p->s->message, "\n"));
  cg_lex_fail(&p->l, at, "%s", text);
}

// ---------------------------------------------------------------- expressions

typedef struct {
  cg_text_parser *p;
  const char *end, *why;
  const cg_expr *e;
} expr_reader;

static void read_expr(cg_session *s, void *u) {
  (void)s;
  expr_reader *r = u;
  r->e = cg_x_parse_in_text(&r->p->m->exprs, r->p->l.at, r->p->make_unbacked, &r->end, &r->why);
}

static const cg_expr *expr(cg_text_parser *p) {
  expr_reader r = {.p = p};
  cg_lex_blanks(&p->l);
  cg_text_with_place(p, p->l.at, read_expr, &r);
  p->l.at = r.end;
  if (!r.e) cg_lex_fail(&p->l, r.end, "%s", r.why);
  return r.e;
}

static int exprs(cg_text_parser *p, const cg_expr **into, char close) {
  int n = 0;
  if (cg_lex_peek(&p->l) == close) return 0;
  do {
    if (n == CG_MAX_RANK) cg_lex_fail(&p->l, p->l.at, "more than %d dimensions", CG_MAX_RANK);
    into[n++] = expr(p);
  } while (cg_lex_take(&p->l, ','));
  return n;
}

// ---------------------------------------------------------------- types

static void tensor_type(cg_text_parser *p, cg_type *t, bool strides) {
  const cg_expr *e[CG_MAX_RANK];
  const char *start = p->l.at;
  cg_lex_need(&p->l, '[');
  t->kind = CG_T_TENSOR;
  t->rank = exprs(p, e, ']');
  t->dim = cg_memdup(p->s, e, (size_t)t->rank * sizeof *e);
  for (int i = 0; i < t->rank; i++)
    if (cg_x_is_int(e[i]) && e[i]->value < 0) cg_lex_fail(&p->l, start, "a size is negative");
  cg_lex_need(&p->l, ']');
  if (!strides || *p->l.at != '{') return; // a brace that follows at once
  start = p->l.at++;
  if (cg_lex_peek(&p->l) != ';') {
    if (exprs(p, e, '}') != t->rank) cg_lex_fail(&p->l, start, "there are %d dimensions, so %d strides", t->rank, t->rank);
    if (t->rank) t->stride = cg_memdup(p->s, e, (size_t)t->rank * sizeof *e);
  }
  if (cg_lex_take(&p->l, ';')) {
    t->offset = expr(p);
    if (cg_x_is(t->offset, 0)) t->offset = NULL;
  }
  cg_lex_need(&p->l, '}');
}

cg_type cg_text_type(cg_text_parser *p, bool strides) {
  static const struct { const char *word; cg_type_kind kind; } words[] = {
      {"int", CG_T_INT}, {"float", CG_T_FLOAT}, {"str", CG_T_STR}, {"none", CG_T_NONE}, {"other", CG_T_OTHER}, {"tensor", CG_T_LATE}};
  cg_type t = {0};
  if (cg_lex_take(&p->l, '?')) return t;
  const char *word = cg_lex_peek_word(&p->l, false);
  int dtype = cg_dtype_by_text(word);
  const char *start = p->l.at;
  p->l.at += strlen(word);
  if (dtype >= 0 && (strcmp(word, "bool") || *p->l.at == '[')) {
    t.dtype = (cg_dtype)dtype;
    tensor_type(p, &t, strides);
    return t;
  }
  if (!strcmp(word, "bool")) t.kind = CG_T_BOOL;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (!strcmp(words[i].word, word)) t.kind = words[i].kind;
  if (t.kind == CG_T_UNKNOWN) {
    p->l.at = start;
    cg_lex_expected(&p->l, "a type (f32[2, s0], tensor, int, float, bool, str, none, other(\"…\"), ?)");
  }
  if (*p->l.at != '(') return t;
  if (t.kind == CG_T_OTHER) {
    p->l.at++;
    t.note = cg_lex_string(&p->l, NULL);
    cg_lex_need(&p->l, ')');
  } else if (t.kind == CG_T_INT || t.kind == CG_T_BOOL) {
    p->l.at++;
    t.value = expr(p);
    cg_lex_need(&p->l, ')');
  }
  return t;
}

cg_type cg_parse_type(cg_module *m, const char *text, cg_span at) {
  cg_text_parser p = {.l = cg_lexer_new(m->s, at.file, text, strlen(text)), .s = m->s, .m = m, .make_unbacked = true};
  p.l.given = &at;
  cg_type t = cg_text_type(&p, true);
  if (cg_lex_peek(&p.l) || p.l.at != p.l.end) cg_lex_expected(&p.l, "the type's end");
  return t;
}

// ---------------------------------------------------------------- references

static cg_value *local(cg_text_parser *p) { // behind the %
  const char *start = p->l.at;
  const char *name = cg_lex_name(&p->l, "a value's name");
  cg_value *v = cg_map_get(&p->values, name);
  if (!v) cg_lex_fail(&p->l, start - 1, "no value %%%s is defined before this", name);
  return v;
}

static cg_value *constant_ref(cg_text_parser *p) { // behind the @
  const char *start = p->l.at;
  const char *name = cg_lex_name(&p->l, "a constant's name");
  cg_constant *c = cg_map_get(&p->m->constant_by_name, name);
  if (!c) cg_lex_fail(&p->l, start - 1, "no constant @%s is declared (a sub-graph is `fn @%s`)", name, name);
  return c->value;
}

cg_value *cg_text_value(cg_text_parser *p) {
  if (cg_lex_take(&p->l, '%')) return local(p);
  if (!cg_lex_take(&p->l, '@')) cg_lex_expected(&p->l, "%value or @constant");
  return constant_ref(p);
}

cg_text_fn *cg_text_fn_ref(cg_text_parser *p) { // behind the @
  const char *start = p->l.at - 1;
  const char *name = cg_lex_name(&p->l, "a function's name");
  cg_text_fn *e = cg_map_get(&p->fns, name);
  if (e) return e;
  e = CG_NEW(p->s, cg_text_fn);
  *e = (cg_text_fn){.fn = cg_fn_new(p->m, name), .used = start};
  cg_map_set(p->s, &p->fns, name, e);
  return e;
}

// ---------------------------------------------------------------- arguments

static cg_arg list(cg_text_parser *p) { // behind the [
  cg_arg_vec v = {0};
  cg_text_enter(p);
  if (cg_lex_peek(&p->l) != ']')
    do CG_PUSH(p->s, &v, cg_text_argument(p));
    while (cg_lex_take(&p->l, ','));
  cg_lex_need(&p->l, ']');
  p->depth--;
  cg_arg a = {.kind = CG_A_LIST};
  a.list.at = v.at, a.list.n = v.n;
  return a;
}

static cg_arg string_arg(cg_text_parser *p, cg_arg_kind kind) {
  cg_arg a = {.kind = kind};
  if (kind != CG_A_STR) cg_lex_need(&p->l, '(');
  a.str.text = cg_lex_string(&p->l, &a.str.n);
  if (kind != CG_A_STR) cg_lex_need(&p->l, ')');
  return a;
}

static double number(cg_text_parser *p) {
  return cg_lex_is_float(&p->l) ? cg_lex_float(&p->l) : (double)cg_lex_int(&p->l, "a number");
}

static cg_arg complex_arg(cg_text_parser *p) {
  cg_arg a = {.kind = CG_A_COMPLEX};
  cg_lex_need(&p->l, '(');
  a.complex_[0] = number(p);
  cg_lex_need(&p->l, ',');
  a.complex_[1] = number(p);
  cg_lex_need(&p->l, ')');
  return a;
}

static cg_arg memory_format_arg(cg_text_parser *p) {
  cg_arg a = {.kind = CG_A_MEMORY_FORMAT, .memory_format = -1};
  cg_lex_need(&p->l, '(');
  const char *word = cg_lex_peek_word(&p->l, false);
  if (!*word) {
    int64_t v = cg_lex_int(&p->l, "a memory format");
    a.memory_format = v >= 0 && v < 128 ? (int)v : -1;
  }
  for (int i = 0; *word && i < CG_TEXT_MEMORY_FORMATS; i++)
    if (!strcmp(cg_text_memory_format[i], word)) a.memory_format = i;
  if (a.memory_format < 0) cg_lex_expected(&p->l, "contiguous, preserve, channels_last or channels_last_3d");
  p->l.at += strlen(word);
  cg_lex_need(&p->l, ')');
  return a;
}

static cg_arg fn_arg(cg_text_parser *p) {
  cg_arg a = {.kind = CG_A_FN};
  if (!cg_lex_take(&p->l, '@')) cg_lex_expected(&p->l, "@function");
  a.fn = cg_text_fn_ref(p)->fn;
  return a;
}

// @name of a blob: true, and *a.
static bool blob_arg(cg_text_parser *p, cg_arg *a) {
  const char *start = p->l.at++;
  cg_blob *b = cg_blob_find(p->m, cg_lex_name(&p->l, "a constant's name"));
  if (b) *a = cg_a_blob(b);
  else p->l.at = start;
  return b;
}

// A word that is no symbol and no function of expressions: true, and *a.
static bool word_arg(cg_text_parser *p, cg_arg *a) {
  const char *word = cg_lex_peek_word(&p->l, false);
  int dtype = cg_text_dtype_find(word);
  const char *start = p->l.at;
  p->l.at += strlen(word);
  if (!*word) return false;
  if (!strcmp(word, "none")) *a = cg_a_none();
  else if (!strcmp(word, "true") || !strcmp(word, "false")) *a = cg_a_bool(*word == 't');
  else if (!strcmp(word, "complex")) *a = complex_arg(p);
  else if (!strcmp(word, "layout")) *a = string_arg(p, CG_A_LAYOUT);
  else if (!strcmp(word, "device")) *a = string_arg(p, CG_A_DEVICE);
  else if (!strcmp(word, "memory_format")) *a = memory_format_arg(p);
  else if (!strcmp(word, "fn")) *a = fn_arg(p);
  else if (dtype >= 0) *a = cg_a_dtype((cg_dtype)dtype);
  else p->l.at = start;
  return p->l.at != start;
}

cg_arg cg_text_argument(cg_text_parser *p) {
  cg_arg a;
  char c = cg_lex_peek(&p->l);
  if (c == '@' && blob_arg(p, &a)) return a;
  if (c == '%' || c == '@') return cg_a_value(cg_text_value(p));
  if (cg_lex_take(&p->l, '[')) return list(p);
  if (c == '"') return string_arg(p, CG_A_STR);
  if (cg_lex_is_float(&p->l)) return cg_a_float(cg_lex_float(&p->l));
  if (word_arg(p, &a)) return a;
  if (!c || strchr("),]}=", c)) cg_lex_expected(&p->l, "an argument");
  return cg_a_expr(expr(p));
}
