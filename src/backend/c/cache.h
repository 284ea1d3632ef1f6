// Where what was compiled and measured is kept from one compilation to the next.
#ifndef CG_BACKEND_C_CACHE_H
#define CG_BACKEND_C_CACHE_H
#include "base/session.h"
const char *cg_cache_folder(cg_session *s); // CIERGE_CACHE, or ~/.cache/cierge; NULL: nothing is kept
#endif
