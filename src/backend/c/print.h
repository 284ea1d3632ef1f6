// Prints tensor expressions as C statements (print.c) into a kernel (kernel.h, kernel_internal.h).
#ifndef CG_BACKEND_C_PRINT_H
#define CG_BACKEND_C_PRINT_H
#include "backend/c/schedule.h"

enum { CG_PRINT_DEPTHS = 2 * CG_MAX_RANK + 4 };

// A row of half precision that the innermost loop moves through: converted before it, or after it, by the block.
typedef struct {
  const char *name, *memory; // a block of floats; where the row begins, but for the loop's variable
  const char *convert;       // the prelude's function
  bool stored, direct;       // direct: `name` is memory that is floats already
} cg_print_row;

// What a printer knows of an expression.
typedef struct {
  const char *name;         // its C text where it is known now
  const char *var_name;     // a loop variable's
  int var_depth;
  signed char depth;        // the loop it needs; -1: not looked at
  signed char safe;         // it may be evaluated where its condition does not hold; -1: not looked at
} cg_printed;

// Statements go to the outermost loop they can be in: text[d] is what comes first in the body of loop number d (0: before all loops).
typedef struct cg_printer {
  cg_sched *c;
  cg_kernel *k;
  cg_numbering numbers;     // of the expressions that it met: a kernel has few of a region's
  CG_VEC(cg_printed) known; // by number
  CG_VEC(int) scope;        // numbers of those named, in order, to forget them when their block ends
  cg_str text[CG_PRINT_DEPTHS];
  int indent[CG_PRINT_DEPTHS];
  cg_str *block;            // not NULL: inside a branch, everything goes here
  int block_indent;
  int accumulator_depth;    // where accumulators are known
  int vectors;              // the loop that may become vectors, CG_PRINT_DEPTHS: none may; -1: the kernel knows (one_by_one)
  const char *leave[CG_PRINT_DEPTHS]; // what stops the work on one element in that loop: "continue", "return"
  const char *temp;         // what its variables are called: t0 in loops, e0 in a template's epilogue
  bool checks;              // some statement may leave the loop body early
  te_expr *row_var;         // not NULL: the innermost loop's variable, and rows are wanted
  bool bf16_rows;           // of bf16 too
  const char *row_start;    // where a block of that loop begins; NULL: not named yet
  CG_VEC(cg_print_row) row, gathered; // gathered: of them the loop reads here and there
} cg_printer;

void cg_print_begin(cg_printer *p, cg_sched *c, cg_kernel *k);
void cg_print_var(cg_printer *p, const te_expr *var, const char *name, int depth);
// C text of e (a name, a literal, simple index arithmetic); statements that compute it are added where they belong.
const char *cg_print_expr(cg_printer *p, te_expr *e);
void cg_print_name(cg_printer *p, const te_expr *e, const char *name); // e is known by that name from now on
int cg_print_mark(const cg_printer *p);
void cg_print_forget(cg_printer *p, int mark);                        // names given since the mark
int cg_print_depth(cg_printer *p, const te_expr *e);
bool cg_print_narrow(cg_printer *p, te_expr *e);                      // e is an index that 32 bits hold
// Text of an index expression, e.g. the offset in memory.
void cg_print_line(cg_printer *p, int depth, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
// Element `at` of memory `name`, of dtype t, as a place in such a row: C text; NULL: it is in none.
const char *cg_print_in_row(cg_printer *p, cg_dtype t, const char *name, te_expr *at);
// The statement that stores e there, "": none is needed. NULL: it is in no row.
const char *cg_print_stored_in_row(cg_printer *p, cg_dtype t, const char *name, te_expr *at, te_expr *e);
// C text that stores `text`, e's value, as dtype: conversions of half precision happen once.
const char *cg_print_stored(cg_printer *p, te_expr *e, cg_dtype t, int depth);
cg_dtype cg_print_body_type(const te_expr *body); // the type a body computes in
// What `name$` is called for a type; NULL: there is no such function.
const char *cg_print_function(cg_session *s, const char *name, cg_dtype t);
// C text of `text`, a name or in brackets, converted as PyTorch converts it.
const char *cg_print_cast(cg_session *s, const char *text, cg_dtype from, cg_dtype to);
const char *cg_print_number(cg_session *s, double v, cg_dtype t);
#endif
