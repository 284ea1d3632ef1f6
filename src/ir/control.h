// Control nodes: their sub-graphs, and which operand is which parameter of them. Read by the verifier, the type rule and the host.
//   cond(pred, then, else, operands)                  then(operands) or else(operands)
//   while_loop(test, body, carried, extra)            carried = body(carried, extra) while test(carried, extra)
//   scan(body, carried, scanned, extra)               for i: carried, y[i] = body(carried, scanned[i], extra); gives carried, y
//   map_impl(body, scanned, extra)                    for i: y[i] = body(scanned[i], extra)
#ifndef CG_IR_CONTROL_H
#define CG_IR_CONTROL_H
#include "ir/ir.h"

typedef enum { CG_CONTROL_COND, CG_CONTROL_WHILE, CG_CONTROL_SCAN } cg_control_kind; // map_impl: a scan that carries nothing

typedef struct {
  cg_control_kind kind;
  cg_fn *fn[2];                // cond: then, else; while: test, body; scan: body
  int nfns;
  const cg_arg *pred;          // cond
  cg_arg_vec carried, scanned, extra; // lists opened; cond's operands are extra
} cg_control;

bool cg_is_control(const cg_node *n); // one of the four
// Reads n, one of the four. NULL, or why its sub-graphs do not fit its operands and results.
const char *cg_control_read(const cg_node *n, cg_control *out);
void cg_control_add_operand(cg_node *n, cg_value *v); // behind the others; its sub-graphs need a parameter more
// The type of one slice of a scanned operand.
cg_type cg_control_slice(const cg_type *t);
#endif
