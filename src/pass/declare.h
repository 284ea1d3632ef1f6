// Result types that the user declared (--op-type).
#ifndef CG_PASS_DECLARE_H
#define CG_PASS_DECLARE_H
#include "pass/pass.h"

// Throws where an --op-type does not read.
void cg_check_declared(cg_pipeline *p);
// Gives n's results the types that an --op-type says; false: none speaks of this operator.
bool cg_declared_type(cg_pipeline *p, cg_module *m, cg_node *n);
#endif
