// The table of backends.
#include "backend/backend.h"

#include <string.h>

extern const cg_backend cg_backend_c, cg_backend_torch;

const cg_backend *const cg_backends[] = {&cg_backend_c, &cg_backend_torch, NULL};

const cg_backend *cg_backend_find(const char *name) {
  for (int i = 0; name && cg_backends[i]; i++)
    if (!strcmp(cg_backends[i]->name, name)) return cg_backends[i];
  return NULL;
}
