// Units of work, shared among threads: who is done takes some of what others have left (cg_work of prelude.def).
#include <stdlib.h>

#include "backend/c/units.h"

// Little work, whatever the sizes are in a call: no threads, and no code for them, which takes the C compiler longer than all else.
static bool little(const char *work, int least) {
  char *end;
  long long n = strtoll(work, &end, 10);
  return end > work && !*end && n <= least;
}

// In a block of its own: a function may have several.
static void open(cg_str *o, const char *units, const char *work, int least, int most, const char *setup) {
  if (little(work, least)) {
    cg_str_addf(o, "  {\n  {\n    const int64_t units = %s, thread = 0;\n    (void)thread;\n%s    for (int64_t unit = 0; unit < units; unit++) {\n", units, setup);
    return;
  }
  cg_str_addf(o, "  {\n  const int64_t units = %s;\n  int64_t team = threads > 1 && %s > %d ? threads : 1;\n", units, work, least);
  if (most) cg_str_addf(o, "  if (team > %d) team = %d;\n", most, most);
  cg_str_addf(o,
              "  if (team > units) team = units > 1 ? units : 1;\n"
              "  cg_work work[team];\n"
              "  cg_work_shared(work, units, team, 1);\n"
              "  #pragma omp parallel num_threads(team) if (team > 1)\n"
              "  {\n"
              "    const int64_t thread = omp_get_thread_num();\n"
              "%s"
              "    for (int64_t unit = 0, unit_to = 0; unit < unit_to || cg_work_taken(work, team, thread, &unit, &unit_to); unit++) {\n",
              setup);
}

static void end(cg_str *o) { cg_str_add(o, "    }\n  }\n  }\n"); }

enum { LEAST_PRODUCTS = 300000, LEAST_ELEMENTS = 30000 };

void cg_tile_units(cg_str *o, const char *units, const char *work, const char *setup) { open(o, units, work, LEAST_PRODUCTS, 0, setup); }
void cg_tile_units_end(cg_str *o) { end(o); }
void cg_rows_open(cg_str *o, const char *units, const char *work, const char *setup) { open(o, units, work, LEAST_ELEMENTS, CG_ROWS_THREADS, setup); }
void cg_rows_close(cg_str *o) { end(o); }
