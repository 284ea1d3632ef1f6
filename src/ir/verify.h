// Checks a module's invariants after each pass (in tests and with --verify); throws CIERGE_INTERNAL naming the node.
//   definitions before uses; names unique; arguments fit the schema's types; all defaults present;
//   results and updates defined; calls fit their callee, and no function calls itself; no symbol undeclared;
//   where `typed`: every result has a type, control nodes fit their sub-graphs.
#ifndef CG_IR_VERIFY_H
#define CG_IR_VERIFY_H
#include "ir/ir.h"
void cg_verify(cg_module *m, const char *after, bool typed);

// What the parser of the text form checks as well (ir/fits.c):
// NULL if `a` can stand for the schema's argument `of`, else what was expected ("a Tensor", "an int[]").
const char *cg_arg_misfit(cg_session *s, const cg_schema_arg *of, const cg_arg *a);
// Whether a node of this operator can have n results: lists among them count as any number.
bool cg_results_fit(const cg_schema *c, int n);
// NULL, or why a value of type `have` cannot be where `want` is declared: kind, dtype, rank or a fixed size differs.
const char *cg_type_misfit(const cg_type *have, const cg_type *want);
// NULL, or why f cannot end with this reshape; u: an update of f's, or one that is about to be.
const char *cg_reshape_misfit(const cg_fn *f, const cg_update *u);
// A function that calls itself, directly or not; NULL: none.
const cg_fn *cg_recursive_fn(const cg_module *m);
#endif
