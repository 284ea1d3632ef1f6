// Growable text.
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(cg_str *b, size_t more) {
  if (more >= SIZE_MAX / 4 - b->n) cg_fail(b->s, CIERGE_NO_MEMORY, "out of memory: a text of %zu bytes", more);
  size_t need = b->n + more + 1;
  if (need <= b->cap) return;
  size_t cap = b->cap ? b->cap * 2 : 64;
  if (cap < need) cap = need;
  char *p = cg_alloc(b->s, cap);
  if (b->n) memcpy(p, b->at, b->n);
  b->at = p;
  b->cap = cap;
}

void cg_str_addn(cg_str *b, const char *text, size_t n) {
  reserve(b, n);
  if (n) memcpy(b->at + b->n, text, n);
  b->n += n;
  b->at[b->n] = 0;
}

void cg_str_add(cg_str *b, const char *text) { cg_str_addn(b, text, strlen(text)); }
void cg_str_addc(cg_str *b, char c) { cg_str_addn(b, &c, 1); }

void cg_str_addf(cg_str *b, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  if (n < 0) {
    va_end(again);
    cg_fail(b->s, CIERGE_INTERNAL, "a text cannot be formatted: %s", fmt);
  }
  reserve(b, (size_t)n);
  vsnprintf(b->at + b->n, (size_t)n + 1, fmt, again);
  va_end(again);
  b->n += (size_t)n;
}

const char *cg_str_text(cg_str *b) { return b->n ? b->at : ""; }

void cg_str_add_double(cg_str *b, double v) {
  char text[CG_DOUBLE_TEXT];
  cg_double_text(v, text);
  cg_str_add(b, text);
}

// Length of the well-formed UTF-8 sequence at p, 0 where there is none.
static size_t utf8(const unsigned char *p, size_t n) {
  size_t len = p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
  if (!len || n < len) return 0;
  for (size_t i = 1; i < len; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
             (p[0] == 0xf4 && p[1] >= 0x90); // overlong, surrogates, past U+10FFFF
  return bad ? 0 : len;
}

void cg_str_add_quoted(cg_str *b, const char *text, size_t n) {
  cg_str_addc(b, '"');
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)text[i];
    size_t len = c >= 0x80 ? utf8((const unsigned char *)text + i, n - i) : 0;
    if (len) {
      cg_str_addn(b, text + i, len);
      i += len - 1;
    } else if (c == '"' || c == '\\') {
      cg_str_addc(b, '\\');
      cg_str_addc(b, (char)c);
    } else if (c == '\n') {
      cg_str_add(b, "\\n");
    } else if (c == '\t') {
      cg_str_add(b, "\\t");
    } else if (c == '\r') {
      cg_str_add(b, "\\r");
    } else if (c < 0x20 || c >= 0x7f) {
      cg_str_addf(b, "\\x%02x", c);
    } else {
      cg_str_addc(b, (char)c);
    }
  }
  cg_str_addc(b, '"');
}

void cg_str_add_json(cg_str *b, const char *t) {
  cg_str_addc(b, '"');
  for (const unsigned char *p = (const unsigned char *)(t ? t : ""); *p; p++)
    if (*p == '"' || *p == '\\') cg_str_addf(b, "\\%c", *p);
    else if (*p < 32 || *p == '<') cg_str_addf(b, "\\u%04x", *p);
    else cg_str_addc(b, (char)*p);
  cg_str_addc(b, '"');
}
