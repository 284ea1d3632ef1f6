// The text form of a module (doc/ir.md says it exactly). print and parse are inverse.
#ifndef CG_IR_TEXT_H
#define CG_IR_TEXT_H
#include "ir/ir.h"
void cg_print_module(cg_str *b, const cg_module *m);
void cg_print_fn(cg_str *b, const cg_fn *f);
void cg_print_node(cg_str *b, const cg_node *n); // one line, no newline
void cg_print_type(cg_str *b, const cg_type *t); // "f32[s0, 3]"
void cg_print_type_short(cg_str *b, const cg_type *t); // for people: no strides, long sizes as "…"
void cg_print_arg(cg_str *b, const cg_arg *a);
// Fails the session with CIERGE_BAD_MODEL at FILE:LINE:COL, the offending line and a caret below.
cg_module *cg_parse_module(cg_session *s, const char *file, const char *text, size_t size);
// "f32[s0,4]"; at: for messages
cg_type cg_parse_type(cg_module *m, const char *text, cg_span at);
#endif
