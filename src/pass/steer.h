// The user's rules about which nodes stay in LibTorch: --torch-ops, --torch-modules.
#ifndef CG_PASS_STEER_H
#define CG_PASS_STEER_H
#include "pass/pass.h"

// The rule that keeps n in LibTorch, as a reason ("the user's rule (--torch-ops aten.relu)"), or NULL. `cierge study` has one of its own.
const char *cg_steer_rule(const cg_pipeline *p, const cg_node *n);
// Notes each rule that no node of the model meets.
void cg_steer_check(cg_pipeline *p, const cg_module *m);
#endif
