// Reading words, names, numbers and strings of the text form, and saying where it goes wrong.
#ifndef CG_IR_TEXT_LEX_H
#define CG_IR_TEXT_LEX_H
#include "ir/ir.h"

enum { CG_TEXT_MAX_NAME = 4096, CG_TEXT_MAX_NESTING = 256 };

typedef struct {
  cg_session *s;
  const char *file;
  const char *text, *end; // *end is 0
  const char *at;
  const cg_span *given;   // the place that messages name; NULL: where the text is wrong
  const char *known;      // a place whose line number is known: known_line begins at known_start
  const char *known_start;
  int known_line;
} cg_lexer;

cg_lexer cg_lexer_new(cg_session *s, const char *file, const char *text, size_t size);
cg_span cg_lex_place(cg_lexer *l, const char *at);
// CIERGE_BAD_MODEL at that place, the line and a caret below.
_Noreturn void cg_lex_fail(cg_lexer *l, const char *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
// "expected WHAT", and what is there instead.
_Noreturn void cg_lex_expected(cg_lexer *l, const char *what);

void cg_lex_blanks(cg_lexer *l);              // blanks and comments
bool cg_lex_take(cg_lexer *l, char c);        // blanks, then this
void cg_lex_need(cg_lexer *l, char c);
char cg_lex_peek(cg_lexer *l);                // the next letter that is no blank
// The word here, letters, digits, '_' and, with `dots`, '.'; not read past. "" where there is none.
const char *cg_lex_peek_word(cg_lexer *l, bool dots);
bool cg_lex_take_word(cg_lexer *l, const char *word);
const char *cg_lex_name(cg_lexer *l, const char *what); // encoder.layer.0.weight, or "any text"
const char *cg_lex_string(cg_lexer *l, size_t *n);      // n NULL: a NUL in it is refused
int64_t cg_lex_int(cg_lexer *l, const char *what);
double cg_lex_float(cg_lexer *l);             // what cg_lex_is_float said is one
bool cg_lex_is_float(cg_lexer *l);            // 1.5, 1e-3, inf, -inf, nan
#endif
