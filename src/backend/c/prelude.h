// Functions that generated code may use; their C text is added to a file only where it is used (prelude.c).
#ifndef CG_BACKEND_C_PRELUDE_H
#define CG_BACKEND_C_PRELUDE_H
#include "base/str.h"
bool cg_prelude_has(const char *name);
bool cg_prelude_library(const char *name); // a function of the C library, for double and float
// The text of all prelude functions that `source` uses, directly or through each other.
void cg_prelude_for(cg_str *out, const char *source);
#endif
