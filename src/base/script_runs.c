// What runs while LibTorch reads an archive of TorchScript: looked for in its source and its pickles, without running any of it.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/script_check.h"
#include "base/zip.h"

typedef struct {
  cg_session *s;
  const void *bytes;
  size_t size;
  bool (*may)(void *u, const char *name);
  void *u;
  char *name; // what was not allowed
  size_t name_size;
} job;

// Leaves: the name is noted, the message is not used.
static _Noreturn void forbidden(job *j, const char *name) {
  snprintf(j->name, j->name_size, "%s", name);
  cg_fail(j->s, CIERGE_BAD_MODEL, "%s", name);
}

static void ask(job *j, const char *name) {
  if (!j->may(j->u, name)) forbidden(j, name);
}

// ---------------------------------------------------------------- source

// As LibTorch's lexer reads it: brackets join lines, so does a backslash.
enum { END = 0, WORD = 'w', NUMBER = '0', TEXT = '"', NEWLINE = '\n' }; // other tokens are their character; "==" and the like are '~'

// A parser that calls itself follows these; LibTorch's would leave the stack.
enum { DEPTH = 200, CHAIN = 2000, ELIFS = 1000 };

typedef struct {
  job *j;
  const char *member, *at, *end;
  const char *line_at; // where the line begins
  int line, depth, elifs;
  int chain[DEPTH + 1], sum; // operators since the last comma, by depth; of all depths
  int kind;
  const char *word; // [n]
  size_t n;
} lexer;

static _Noreturn void bad(const lexer *l, const char *what) { cg_fail(l->j->s, CIERGE_BAD_MODEL, "%.200s:%d: %s", l->member, l->line, what); }

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

static bool is(const lexer *l, const char *word) { return l->kind == WORD && l->n == strlen(word) && !memcmp(l->word, word, l->n); }

static bool is_operator(const lexer *l) {
  return is(l, "not") || is(l, "and") || is(l, "or") || is(l, "if") || is(l, "in") || is(l, "is") || is(l, "for") || is(l, "lambda");
}

static void text(lexer *l) {
  const char quote = *l->at;
  const bool three = l->end - l->at >= 3 && l->at[1] == quote && l->at[2] == quote;
  for (l->at += three ? 3 : 1; l->at < l->end; l->at++) {
    if (*l->at == '\n') {
      if (!three) bad(l, "a text has no end");
      l->line++;
    }
    if (*l->at == '\\') {
      l->at++;
    } else if (*l->at == quote && (!three || (l->end - l->at >= 3 && l->at[1] == quote && l->at[2] == quote))) {
      l->at += three ? 3 : 1;
      return;
    }
  }
  bad(l, "a text has no end");
}

static void link_on(lexer *l) {
  l->chain[l->depth]++;
  if (++l->sum > CHAIN) bad(l, "an expression of too many parts");
}

static void unlink_all(lexer *l) { l->sum -= l->chain[l->depth], l->chain[l->depth] = 0; }

static int symbol(lexer *l) {
  char c = *l->at++;
  switch (c) {
  case '(': case '[': case '{':
    if (l->depth == DEPTH) bad(l, "brackets in too many brackets");
    l->chain[++l->depth] = 0;
    return c;
  case ')': case ']': case '}':
    unlink_all(l);
    if (l->depth) l->depth--;
    link_on(l);
    return c;
  case ',': unlink_all(l); return c;
  case '=': case '<': case '>': case '!': case '+': case '*': case '/': case '%': case '|': case '&': case '^': case '-':
    link_on(l);
    if (c == '-' && l->at < l->end && *l->at == '>') return l->at++, '~';
    if (l->at < l->end && *l->at == '=') return l->at++, '~';
    return c;
  case '.': link_on(l); return c;
  default: return c;
  }
}

static int next(lexer *l) {
  for (; l->at < l->end; l->at++) {
    char c = *l->at;
    if (c == '\\' && l->end - l->at > 1 && l->at[1] == '\n') l->line++, l->at++;
    else if (c == '#') while (l->at + 1 < l->end && l->at[1] != '\n') l->at++;
    else if (c == '\n' && l->depth) l->line++;
    else if (c != ' ' && c != '\t' && c != '\r' && c != '\f' && c != '\v') break;
  }
  l->word = l->at;
  if (l->at == l->end) return l->kind = END;
  char c = *l->at;
  if (c == '\n' || c == ';') {
    l->at++;
    if (c == '\n') l->line++, l->line_at = l->at;
    unlink_all(l);
    return l->kind = NEWLINE;
  }
  if (c == '"' || c == '\'') return text(l), l->kind = TEXT;
  if ((c >= '0' && c <= '9') || (c == '.' && l->end - l->at > 1 && l->at[1] >= '0' && l->at[1] <= '9')) {
    while (l->at < l->end && (is_word(*l->at) || *l->at == '.' || ((*l->at == '-' || *l->at == '+') && (l->at[-1] == 'e' || l->at[-1] == 'E')))) l->at++;
    return l->kind = NUMBER;
  }
  if (is_word(c)) {
    while (l->at < l->end && is_word(*l->at)) l->at++;
    l->n = (size_t)(l->at - l->word);
    l->kind = WORD;
    if (is_operator(l)) link_on(l);
    return WORD;
  }
  return l->kind = symbol(l);
}

// What stands behind a '=', up to the comma or bracket that ends it (a default), or to the line's end: a literal, as PyTorch writes it.
// Only annotate(TYPE, …), torch.device("…") and float("…") look like calls there.
static void literal(lexer *l, bool line) {
  enum { NOTHING, CALLED, VALUE } before = NOTHING; // what a '(' would mean
  for (int outside = l->depth, was = '='; next(l); was = l->kind) {
    if (l->kind == NEWLINE || (!line && l->kind == ',' && l->depth == outside) || l->depth < outside) {
      if (line == (l->kind == NEWLINE)) return;
      break;
    }
    bool good = l->kind == WORD ? !is_operator(l) : l->kind == '(' ? before != VALUE : l->kind == NUMBER || strchr("\"[]{}),:-.", l->kind);
    if (!good) bad(l, "a value that is computed while the archive is read");
    before = is(l, "annotate") || is(l, "float") || (was == '.' && is(l, "device")) ? CALLED : strchr("w0\")]}", l->kind) ? VALUE : NOTHING;
  }
  if (!line || l->kind) bad(l, "a value that has no end");
}

static void parameters(lexer *l) {
  while (l->kind && l->kind != '(' && l->kind != NEWLINE) next(l);
  if (l->kind != '(') return; // LibTorch will say so
  int inside = l->depth;
  while (l->depth >= inside && next(l))
    if (l->kind == '=' && l->depth == inside) literal(l, false);
}

// A line with a type and a value, "x : int = 1": outside of functions it is a constant of a class.
static void line_of(lexer *l, bool in_function) {
  bool typed = false;
  for (; l->kind && l->kind != NEWLINE; next(l)) {
    if (l->kind == ':' && !l->depth) typed = true;
    if (l->kind == '=' && !l->depth && typed && !in_function) {
      literal(l, true);
      return;
    }
    if (is(l, "__setstate__")) ask(l->j, "__setstate__");
  }
}

// By characters, as LibTorch counts.
static int indentation(const lexer *l) {
  const char *p = l->line_at;
  while (p < l->end && *p && strchr(" \t\r\f\v", *p)) p++;
  return (int)(p - l->line_at);
}

static void source(job *j, const char *member, const char *at, size_t n) {
  lexer l = {.j = j, .member = member, .at = at, .end = at + n, .line_at = at, .line = 1};
  int function = -1; // the indentation of the `def` whose body this is
  while (next(&l)) {
    if (l.kind == NEWLINE) continue;
    int indent = indentation(&l);
    if (indent <= function) function = -1;
    const bool in_function = function >= 0;
    if (is(&l, "elif") && ++l.elifs > ELIFS) bad(&l, "too many branches");
    if (is(&l, "def")) {
      l.elifs = 0;
      if (!in_function) function = indent;
      if (next(&l), is(&l, "__setstate__")) ask(j, "__setstate__");
      parameters(&l);
    }
    line_of(&l, in_function);
  }
}

// ---------------------------------------------------------------- pickles

static void named(job *j, const char *member, const char *module, const char *class_name) {
  static const char *const known[] = {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor",
                                      "torch._tensor._rebuild_from_type_v2", "torch.Tensor", "torch.device", "collections.OrderedDict", "builtins.complex"};
  static const char classes[] = "__torch__.torch.classes.";
  const char *name = cg_format(j->s, "%s.%s", module, class_name);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(name, known[i])) return;
  if (!strncmp(name, classes, sizeof classes - 1)) ask(j, name + sizeof "__torch__." - 1);
  else if (strncmp(name, "__torch__.", 10) && strncmp(name, "torch.jit._pickle.", 18) && (strcmp(module, "torch") || strchr(class_name, '.')))
    cg_fail(j->s, CIERGE_BAD_MODEL, "%.200s: the pickle asks for %.200s, which no archive of TorchScript has", member, name);
}

// The opcodes that LibTorch's reader knows: it takes nothing else.
static void pickle(job *j, const char *member, const uint8_t *at, size_t n) {
  const uint8_t *end = at + n;
  while (at < end) {
    uint8_t op = *at++;
    size_t skip = 0;
    switch (op) {
    case '.': return;
    case '(': case ')': case ']': case '}': case 'N': case 'a': case 'e': case 'l': case 'd': case 's': case 'u': case 't':
    case 'b': case 'R': case 'Q': case 0x81: case 0x85: case 0x86: case 0x87: case 0x88: case 0x89: case '0': break;
    case 0x80: case 'K': case 'q': case 'h': skip = 1; break;
    case 'M': skip = 2; break;
    case 'J': case 'r': case 'j': skip = 4; break;
    case 'G': skip = 8; break;
    case 0x8a: skip = at < end ? 1 + (size_t)*at : 1; break;
    case 'X': skip = end - at >= 4 ? 4 + (size_t)(at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24) : 4; break;
    case 'c': {
      const uint8_t *a = memchr(at, '\n', (size_t)(end - at)), *b = a ? memchr(a + 1, '\n', (size_t)(end - a - 1)) : NULL;
      if (!b) cg_fail(j->s, CIERGE_BAD_MODEL, "%.200s: the pickle is cut off", member);
      named(j, member, cg_strndup(j->s, (const char *)at, (size_t)(a - at)), cg_strndup(j->s, (const char *)a + 1, (size_t)(b - a - 1)));
      at = b + 1;
      break;
    }
    default: cg_fail(j->s, CIERGE_BAD_MODEL, "%.200s: no archive of TorchScript has a pickle with opcode %d", member, op);
    }
    if (skip > (size_t)(end - at)) cg_fail(j->s, CIERGE_BAD_MODEL, "%.200s: the pickle is cut off", member);
    at += skip;
  }
  cg_fail(j->s, CIERGE_BAD_MODEL, "%.200s: the pickle is cut off", member);
}

// ---------------------------------------------------------------- all of it

// LibTorch finds members whatever their case.
static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && !strcasecmp(text + n - k, end);
}

static void check(cg_session *s, void *u) {
  job *j = u;
  j->s = s;
  cg_file f = {.path = "the archive", .data = j->bytes, .size = j->size};
  cg_zip *z = cg_zip_open(s, &f, CIERGE_BAD_MODEL);
  for (int i = 0; i < cg_zip_count(z); i++) {
    const cg_zip_member *m = cg_zip_at(z, i);
    if (ends_with(m->name, "/model.json"))
      cg_fail(s, CIERGE_BAD_MODEL, "this TorchScript archive was written by a PyTorch older than 1.4; save it again with a newer one");
    if (ends_with(m->name, ".py")) source(j, m->name, (const char *)cg_zip_data(z, m), m->size);
    if (ends_with(m->name, "/data.pkl") || ends_with(m->name, "/constants.pkl") || ends_with(m->name, ".debug_pkl")) pickle(j, m->name, cg_zip_data(z, m), m->size);
  }
}

bool cg_script_runs(const void *bytes, size_t size, bool (*may)(void *u, const char *name), void *u, char *name, size_t name_size, char *why,
                    size_t why_size) {
  *name = *why = 0;
  cg_session *s = cg_heap_zalloc(1, sizeof *s);
  if (!s) {
    snprintf(why, why_size, "out of memory");
    return false;
  }
  cg_session_init(s);
  job j = {NULL, bytes, size, may, u, name, name_size};
  cierge_code code = cg_try(s, check, &j);
  if (code && !*name) snprintf(why, why_size, "%s", s->message);
  cg_session_end(s);
  cg_heap_free(s);
  return code == CIERGE_OK;
}
