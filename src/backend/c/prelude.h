// Functions that generated code may use; their C text is added to a file only where it is used (prelude.c).
#ifndef CG_BACKEND_C_PRELUDE_H
#define CG_BACKEND_C_PRELUDE_H
#include "base/str.h"
// Whether there is a function `name` that takes and gives numbers of this C type. The name alone says nothing: tables of helpers for
// sorting, indices and errors name their functions as they like.
bool cg_prelude_computes(const char *name, const char *ctype);
const char *cg_prelude_name(cg_session *s, int i); // of all functions, in every type; NULL behind the last
bool cg_prelude_library(const char *name); // a function of the C library, for double and float
// The text of all prelude functions that `source` uses, directly or through each other.
void cg_prelude_for(cg_str *out, const char *source);
#endif
