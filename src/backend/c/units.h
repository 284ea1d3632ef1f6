// Units of work of a template, shared among threads. Each is computed by one thread alone, so results are the same for any number of them.
#ifndef CG_BACKEND_C_UNITS_H
#define CG_BACKEND_C_UNITS_H
#include "backend/c/kernel.h"

enum { CG_ROWS_THREADS = 16 }; // most threads that cg_rows_open lets take units: scratch of each may be large

// Opens the loop over `units` units (C text); text until the matching end sees `unit` and `thread` and is indented by 6; `setup` is
// written once for each thread, before its units, indented by 4.
// `work`: C text of the multiplications in all of them: a few are not worth waking threads for.
void cg_tile_units(cg_str *o, const char *units, const char *work, const char *setup);
void cg_tile_units_end(cg_str *o);
// The same; `work`: C text of the elements touched.
void cg_rows_open(cg_str *o, const char *units, const char *work, const char *setup);
void cg_rows_close(cg_str *o);
#endif
