// The host "backend": scalars, asserts and control flow, which the runtime does itself between kernels and regions.
// Its nodes stay in their function; no region is lifted for them.
#ifndef CG_BACKEND_HOST_H
#define CG_BACKEND_HOST_H
#include "backend/backend.h"
extern const cg_backend cg_backend_host;
void cg_host_lower(cg_emitter *e, const cg_node *n); // appends the step of one node
#endif
