// A lifted region becomes a program and a step.
#ifndef CG_BACKEND_TORCH_LOWER_H
#define CG_BACKEND_TORCH_LOWER_H
#include "backend/backend.h"
#include "backend/torch/torch.h"
void cg_torch_lower(cg_emitter *e, cg_fn *f);
#endif
