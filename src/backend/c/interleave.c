// Several places at a time: the body of a loop, once for each of some equal parts of its range, statement by statement.
// A long chain of operations waits for each of them in turn; processors look too short a way ahead to begin with the next vector
// meanwhile, and the C compiler keeps the order of what it vectorises.
#include <ctype.h>
#include <string.h>

#include "backend/c/loops.h"

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

// The length of a statement of the kind that bodies are made of (one line, no block), 0: it is of another kind.
static size_t statement(const char *line) {
  size_t n = strcspn(line, "\n");
  if (!n || line[n] != '\n' || line[n - 1] != ';') return 0;
  for (size_t i = 0; i < n; i++)
    if (line[i] == '{' || line[i] == '}' || line[i] == '#') return 0;
  return strstr(line, "continue;") && strstr(line, "continue;") < line + n ? 0 : n + 1;
}

// What `const T name = …;` defines; NULL: it is no definition. *plain: of a type that takes as much room as a float.
static const char *defined(cg_session *s, const char *line, size_t n, bool *plain) {
  static const char *const types[] = {"float", "int32_t", "uint32_t", "int"};
  while (n && *line == ' ') line++, n--;
  if (strncmp(line, "const ", 6)) return NULL;
  const char *type = line + 6, *name = type;
  while (in_word(*name)) name++;
  size_t length = (size_t)(name - type);
  *plain = false;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) *plain |= strlen(types[i]) == length && !strncmp(type, types[i], length);
  if (*name++ != ' ') return NULL;
  const char *end = name;
  while (in_word(*end)) end++;
  return cg_strndup(s, name, (size_t)(end - name));
}

int cg_c_lines(const char *body) {
  int n = 0;
  for (; (body = strchr(body, '\n')); body++) n++;
  return n;
}

// How many places a body is worth: many for long chains of plain arithmetic; where functions give it some width of its own, two, and
// more where there are 32 registers.
static int wanted(const char *body, int vector_bytes) {
  int lines = cg_c_lines(body), calls = 0;
  for (const char *p = body; (p = strstr(p, "cg_")); p += 3) calls++;
  for (const char *p = body; (p = strstr(p, "f(")); p += 2) calls += p > body && isalpha((unsigned char)p[-1]); // of the C library
  return calls ? calls + lines / 16 < 3 ? 1 : vector_bytes < 64 ? 2 : 4 : lines >= 32 ? 4 : 1;
}

bool cg_c_plain_statements(const char *body) {
  for (size_t n; *body; body += n)
    if (!(n = statement(body))) return false;
  return true;
}

int cg_c_interleave_copies(cg_session *s, const char *body, int vector_bytes) {
  if (strstr(body, "double") || strstr(body, "int64_t") || strstr(body, "int16_t") || strstr(body, "int8_t")) return 1;
  for (const char *line = body; *line;) {
    size_t n = statement(line);
    bool plain = true;
    if (!n || (defined(s, line, n, &plain) && !plain)) return 1;
    line += n;
  }
  return wanted(body, vector_bytes);
}

const char *const *cg_c_copies(cg_kernel *k, cg_map *own, const char *name, int copies) {
  cg_session *s = cg_kernel_session(k);
  const char **given = CG_NEW_ARRAY(s, const char *, copies);
  for (int i = 0; i < copies; i++) given[i] = cg_kernel_local(k, cg_format(s, "%s_%d", name, i));
  cg_map_set(s, own, name, given);
  return given;
}

// A copy of the text from begin to end.
static void renamed(cg_session *s, cg_str *out, const char *begin, const char *end, const cg_map *own, int copy) {
  for (const char *p = begin; p < end;) {
    size_t n = 1;
    if (in_word(*p))
      while (in_word(p[n])) n++;
    const char *const *given = in_word(*p) && !isdigit((unsigned char)*p) ? cg_map_get(own, cg_strndup(s, p, n)) : NULL;
    if (given) cg_str_add(out, given[copy]);
    else cg_str_addn(out, p, n);
    p += n;
  }
}

const char *cg_c_renamed(cg_session *s, const char *body, int copy, const cg_map *own) {
  cg_str out = cg_str_new(s);
  renamed(s, &out, body, body + strlen(body), own, copy);
  return cg_str_text(&out);
}

void cg_c_copy_defined(cg_kernel *k, const char *body, int copies, cg_map *own) {
  cg_session *s = cg_kernel_session(k);
  for (const char *line = body; *line; line += statement(line)) {
    bool plain;
    const char *name = defined(s, line, statement(line), &plain);
    if (name) cg_c_copies(k, own, name, copies);
  }
}

const char *cg_c_interleave(cg_kernel *k, const char *body, int copies, cg_map *own) {
  cg_session *s = cg_kernel_session(k);
  cg_str out = cg_str_new(s);
  cg_c_copy_defined(k, body, copies, own);
  for (const char *line = body, *next; *line; line = next) {
    next = line + statement(line);
    for (int copy = 0; copy < copies; copy++) renamed(s, &out, line, next, own, copy);
  }
  return cg_str_text(&out);
}
