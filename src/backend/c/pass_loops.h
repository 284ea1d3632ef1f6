// The loops of one pass as text, around what is computed in them (pass_loops.c).
#ifndef CG_BACKEND_C_PASS_LOOPS_H
#define CG_BACKEND_C_PASS_LOOPS_H
#include "backend/c/reduction.h"

typedef CG_VEC(cg_reduction) cg_reductions;

typedef struct {
  cg_loops *l;
  cg_reductions red;
  cg_cuts cuts;           // of the innermost loop
  const char *from;       // cuts.from, as C text
  bool unrolled;          // the innermost loop has so few places that each is written out: what depends on the place is a number then
  bool simd, blocked;     // blocked: the innermost loop in blocks of CG_SUM_BLOCK
  int held;               // places of the innermost loop that are computed in registers at a time, half precision converted there; 0: none are
  const char *near, *far; // the innermost body for arguments that are not far (NULL: there is no difference), and what says that some were
  cg_str inner[CG_PRINT_DEPTHS];
} cg_pass_loops;

// Accumulators and what else the loops need before them.
void cg_pass_declare(cg_pass_loops *q, cg_str *out, int in);
// The loops, over what was printed at each depth.
void cg_pass_write(cg_pass_loops *q, cg_str *out, int in);
// How many places of the innermost loop, whose body that is, to hold in registers; 0: none.
int cg_pass_held(const cg_pass_loops *q, const char *body);
// The body for arguments that are not far; NULL: there is no difference. `far`: a name for whether some were.
const char *cg_near_body(cg_session *s, const char *body, const char *far);
// The body of a loop that is not cut after all: comparisons are computed in it.
const char *cg_pass_compared(cg_pass_loops *q, const char *name, const char *body);
void cg_indent(cg_str *b, int n);
#endif
