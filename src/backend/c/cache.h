// What was compiled and measured, kept from one compilation to the next, in CIERGE_CACHE or ~/.cache/cierge.
//
// Kernels become native code, so an entry is used only if nobody else can have written it: folder and file belong to the user or to
// root, nobody else may write to them, and neither is a link. It ends in its key and a hash of all of it: one that is damaged, or that
// another key led to, is none.
#ifndef CG_BACKEND_C_CACHE_H
#define CG_BACKEND_C_CACHE_H
#include "base/session.h"

// Whether there is such an entry. name: that of its file; key: all that its content depends on.
bool cg_cache_get(cg_session *s, const char *name, const char *key, const void **data, size_t *size);
void cg_cache_put(cg_session *s, const char *name, const char *key, const void *data, size_t size); // where that is possible
#endif
