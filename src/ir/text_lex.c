// The lexer of the text form. It has no tokens of its own: the parser asks for what may come next.
#include "ir/text_lex.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "ir/text_internal.h"

cg_lexer cg_lexer_new(cg_session *s, const char *file, const char *text, size_t size) {
  const char *copy = cg_strndup(s, text, size); // with a NUL at its end
  return (cg_lexer){.s = s, .file = file, .text = copy, .end = copy + size, .at = copy, .known = copy, .known_start = copy, .known_line = 1};
}

// ---------------------------------------------------------------- places and messages

cg_span cg_lex_place(cg_lexer *l, const char *at) {
  if (l->given) return *l->given;
  if (at < l->known) l->known = l->known_start = l->text, l->known_line = 1;
  for (const char *p = l->known; p < at; p++)
    if (*p == '\n') l->known_line++, l->known_start = p + 1;
  l->known = at;
  return (cg_span){l->file, l->known_line, (int)(at - l->known_start) + 1};
}

// The line around `at`, at most some 150 bytes of it, and a caret below.
static const char *excerpt(cg_lexer *l, const char *at) {
  const char *a = at, *z = at;
  while (a > l->text && a[-1] != '\n' && at - a < 100) a--;
  while (z < l->end && *z != '\n' && *z != '\r' && z - at < 50) z++;
  cg_str b = cg_str_new(l->s);
  cg_str_add(&b, "\n  ");
  int caret = 0;
  for (const char *p = a; p < z; p++) {
    unsigned char c = (unsigned char)*p;
    cg_str_addc(&b, c == '\t' ? ' ' : c < 0x20 || c == 0x7f ? '?' : (char)c);
    if (p < at && (c & 0xc0) != 0x80) caret++;
  }
  cg_str_addf(&b, "\n  %*s^", caret, "");
  return cg_str_text(&b);
}

void cg_lex_fail(cg_lexer *l, const char *at, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *text = cg_vformat(l->s, fmt, ap);
  va_end(ap);
  cg_fail_at(l->s, CIERGE_BAD_MODEL, cg_lex_place(l, at), "%.1000s%s", text, excerpt(l, at));
}

void cg_lex_expected(cg_lexer *l, const char *what) {
  cg_lex_blanks(l);
  if (l->at == l->end) { // the caret goes behind what was there last
    const char *last = l->end;
    while (last > l->text && strchr(" \t\r\n", last[-1])) last--;
    cg_lex_fail(l, last, "expected %s, and the text ends here", what);
  }
  cg_lex_fail(l, l->at, "expected %s", what);
}

// ---------------------------------------------------------------- blanks and letters

void cg_lex_blanks(cg_lexer *l) {
  for (;;) {
    while (*l->at == ' ' || *l->at == '\t' || *l->at == '\r' || *l->at == '\n') l->at++;
    if (l->at[0] != '/' || l->at[1] != '/') return;
    while (l->at < l->end && *l->at != '\n') l->at++;
  }
}

char cg_lex_peek(cg_lexer *l) {
  cg_lex_blanks(l);
  return *l->at;
}

bool cg_lex_take(cg_lexer *l, char c) {
  if (cg_lex_peek(l) != c || l->at == l->end) return false;
  l->at++;
  return true;
}

void cg_lex_need(cg_lexer *l, char c) {
  char what[] = {'\'', c, '\'', 0};
  if (!cg_lex_take(l, c)) cg_lex_expected(l, what);
}

// ---------------------------------------------------------------- words and names

static size_t word_length(const char *p, bool dots) {
  if (*p >= '0' && *p <= '9') return 0;
  size_t n = 0;
  while (cg_text_word_char(p[n]) || (dots && n && p[n] == '.' && cg_text_word_char(p[n + 1]))) n++;
  return n;
}

const char *cg_lex_peek_word(cg_lexer *l, bool dots) {
  cg_lex_blanks(l);
  size_t n = word_length(l->at, dots);
  if (n > CG_TEXT_MAX_NAME) cg_lex_fail(l, l->at, "a name is longer than %d bytes", CG_TEXT_MAX_NAME);
  return n ? cg_strndup(l->s, l->at, n) : "";
}

bool cg_lex_take_word(cg_lexer *l, const char *word) {
  cg_lex_blanks(l);
  size_t n = word_length(l->at, false);
  if (n != strlen(word) || memcmp(l->at, word, n)) return false;
  l->at += n;
  return true;
}

const char *cg_lex_name(cg_lexer *l, const char *what) {
  const char *start = l->at;
  size_t n = 0;
  if (*l->at == '"') {
    const char *text = cg_lex_string(l, NULL);
    if (strlen(text) > CG_TEXT_MAX_NAME) cg_lex_fail(l, start, "a name is longer than %d bytes", CG_TEXT_MAX_NAME);
    return text;
  }
  while (cg_text_name_char(l->at[n])) n++;
  if (!n) cg_lex_expected(l, what);
  if (n > CG_TEXT_MAX_NAME) cg_lex_fail(l, start, "a name is longer than %d bytes", CG_TEXT_MAX_NAME);
  l->at += n;
  return cg_strndup(l->s, start, n);
}

// ---------------------------------------------------------------- strings

static int hex(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static char escaped(cg_lexer *l) { // l->at is behind the backslash
  static const char from[] = "ntr\"\\", to[] = "\n\t\r\"\\";
  char c = *l->at;
  if (c == 'x' && hex(l->at[1]) >= 0 && hex(l->at[2]) >= 0) {
    l->at += 3;
    return (char)(hex(l->at[-2]) * 16 + hex(l->at[-1]));
  }
  const char *p = c ? strchr(from, c) : NULL;
  if (!p) cg_lex_fail(l, l->at - 1, "an escape is one of \\n \\t \\r \\\" \\\\ \\xHH");
  l->at++;
  return to[p - from];
}

const char *cg_lex_string(cg_lexer *l, size_t *n) {
  cg_lex_blanks(l);
  const char *start = l->at;
  if (*l->at != '"') cg_lex_expected(l, "a string");
  l->at++;
  cg_str b = cg_str_new(l->s);
  while (*l->at != '"') {
    if (l->at == l->end || *l->at == '\n') cg_lex_fail(l, start, "this string does not end on its line");
    if (*l->at == '\\') l->at++, cg_str_addc(&b, escaped(l));
    else cg_str_addc(&b, *l->at++);
  }
  l->at++;
  const char *text = cg_str_text(&b);
  if (!n && b.n != strlen(text)) cg_lex_fail(l, start, "no NUL byte is allowed here");
  if (n) *n = b.n;
  return text;
}

// ---------------------------------------------------------------- numbers

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

int64_t cg_lex_int(cg_lexer *l, const char *what) {
  cg_lex_blanks(l);
  const char *start = l->at;
  bool minus = *l->at == '-';
  const char *p = l->at + minus;
  if (!is_digit(*p)) cg_lex_expected(l, what);
  uint64_t v = 0, limit = (uint64_t)INT64_MAX + minus;
  for (; is_digit(*p); p++) {
    uint64_t d = (uint64_t)(*p - '0');
    if (v > (limit - d) / 10) cg_lex_fail(l, start, "this number does not fit 64 bits");
    v = v * 10 + d;
  }
  l->at = p;
  return minus ? (int64_t)(0 - v) : (int64_t)v;
}

// The end of the float at p, NULL: there is none.
static const char *float_end(const char *p) {
  if (*p == '-') p++;
  if (!strncmp(p, "inf", 3) || !strncmp(p, "nan", 3)) return cg_text_word_char(p[3]) ? NULL : p + 3;
  if (!is_digit(*p)) return NULL;
  while (is_digit(*p)) p++;
  const char *whole = p;
  if (*p == '.' && is_digit(p[1]))
    do p++;
    while (is_digit(*p));
  if (*p == 'e' || *p == 'E') {
    const char *e = p + 1 + (p[1] == '+' || p[1] == '-');
    while (is_digit(*e)) p = ++e;
  }
  return p == whole || cg_text_word_char(*p) ? NULL : p;
}

bool cg_lex_is_float(cg_lexer *l) {
  cg_lex_blanks(l);
  return float_end(l->at) != NULL;
}

double cg_lex_float(cg_lexer *l) {
  cg_lex_blanks(l);
  const char *end = float_end(l->at);
  if (!end) cg_lex_expected(l, "a number");
  char *stop;
  double v = cg_strtod(cg_strndup(l->s, l->at, (size_t)(end - l->at)), &stop);
  l->at = end;
  return v;
}
