// The table of backends.
#include "backend/backend.h"

#include <string.h>

extern const cg_backend cg_backend_c, cg_backend_torch;
#ifdef CG_EXTRA_BACKEND
extern const cg_backend CG_EXTRA_BACKEND;
#endif

const cg_backend *const cg_backends[] = {
    &cg_backend_c,
    &cg_backend_torch,
#ifdef CG_EXTRA_BACKEND // one from outside the tree, by name: doc/adding-a-backend.md
    &CG_EXTRA_BACKEND,
#endif
    NULL,
};

const cg_backend *cg_backend_find(const char *name) {
  for (int i = 0; name && cg_backends[i]; i++)
    if (!strcmp(cg_backends[i]->name, name)) return cg_backends[i];
  return NULL;
}
