// A lifted region becomes a program and a step.
#ifndef CG_BACKEND_TORCH_LOWER_H
#define CG_BACKEND_TORCH_LOWER_H
#include "backend/backend.h"
#include "backend/torch/torch.h"
void cg_torch_lower(cg_emitter *e, cg_fn *f);
void cg_torch_choose_mode(cg_pipeline *p, cg_fn *f); // mode.c
// The operator is among what the artifact needs, with the library that defines it (custom.c). Nothing to do for ATen's.
void cg_torch_need(cg_emitter *e, const cg_schema *c);
#endif
