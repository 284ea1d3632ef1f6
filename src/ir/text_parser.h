// The parser of the text form: what its files share.
#ifndef CG_IR_TEXT_PARSER_H
#define CG_IR_TEXT_PARSER_H
#include "ir/text_internal.h"
#include "ir/text_lex.h"

typedef struct {
  cg_fn *fn;
  const char *used;      // where it is spoken of first; where it is defined, then
  bool defined;
} cg_text_fn;

typedef struct {
  cg_node *node;
  const char *at;
} cg_text_call;

typedef struct {
  cg_input input;
  const char *param, *at; // the parameter's name, NULL: a constant
} cg_text_input;

typedef struct {
  cg_lexer l;
  cg_session *s;
  cg_module *m;
  bool own_places;        // nodes without loc() are where they stand in this text
  bool make_unbacked;     // symbols u… need no declaration
  int depth;
  cg_fn *fn;
  cg_map values;          // of fn, by name
  cg_map fns;             // name -> cg_text_fn
  cg_fn_vec order;        // functions in the order of their definitions
  CG_VEC(cg_text_call) calls;
  CG_VEC(cg_text_input) inputs;
} cg_text_parser;

// A declaration, a node of p->fn, or `value %x: TYPE`, a parameter of it: for programs that come line by line.
void cg_text_feed(cg_text_parser *p, const char *line);
void cg_text_enter(cg_text_parser *p); // one level deeper; p->depth-- leaves it
// Runs f, which may throw a text without a place: it gets that of `at`. Only its first line is kept.
void cg_text_with_place(cg_text_parser *p, const char *at, void (*f)(cg_session *, void *), void *u);
cg_type cg_text_type(cg_text_parser *p, bool strides);
cg_value *cg_text_value(cg_text_parser *p);   // %value or @constant
cg_text_fn *cg_text_fn_ref(cg_text_parser *p); // the name behind an @; made if it is new
cg_arg cg_text_argument(cg_text_parser *p);
#endif
