// A growing text in a session's arena. Always NUL-terminated once something was added.
#ifndef CG_BASE_STR_H
#define CG_BASE_STR_H
#include "base/number.h"
#include "base/session.h"

typedef struct {
  cg_session *s;
  char *at;
  size_t n, cap;
} cg_str;

static inline cg_str cg_str_new(cg_session *s) { return (cg_str){.s = s}; }
void cg_str_add(cg_str *b, const char *text);
void cg_str_addn(cg_str *b, const char *text, size_t n);
void cg_str_addc(cg_str *b, char c);
void cg_str_addf(cg_str *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *cg_str_text(cg_str *b); // "" when empty
void cg_str_add_double(cg_str *b, double v); // as cg_double_text
// A double-quoted string with \" \\ \n \t \r \xHH escapes.
void cg_str_add_quoted(cg_str *b, const char *text, size_t n);
// As JSON, NULL as "". "<" is escaped, so that the text can stand inside a page's script element.
void cg_str_add_json(cg_str *b, const char *t);
#endif
