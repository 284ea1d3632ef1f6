// The compiler's driver: options, the way from a model to an artifact, reports.
#ifndef CG_COMPILE_COMPILE_H
#define CG_COMPILE_COMPILE_H
#include "backend/backend.h"

struct cierge_options {
  cg_session s;     // owns the texts
  cg_options opt;
  const char *entry, *weights;
};

// options.c: the table, for usage texts; setting gives CIERGE_OK, or the error that o->s.message says.
typedef struct { const char *name, *argument, *help; } cg_option_row; // argument NULL: a flag
extern const cg_option_row cg_option_rows[];
extern const int cg_option_count;
cierge_code cg_options_init(cierge_options *o);
cierge_code cg_options_set(cierge_options *o, const char *name, const char *value);

void cg_apply_dims(cg_pipeline *p, cg_module *m); // dims.c

// driver.c
typedef struct {
  cg_module *m;
  cg_emitter *e;    // NULL: analysed only
  cg_pipeline *pipeline;
} cg_compilation;
// Reads and compiles a model up to the plan (or, where `analyse_only`, up to partitioning).
cg_compilation cg_compile_model(cg_session *s, cierge_options *o, const char *model, bool analyse_only);
// The same for a module that was read already.
cg_compilation cg_compile_module(cg_pipeline *p, cg_module *m, bool analyse_only);
void cg_write_artifact(cg_compilation *c, const char *path);

// report.c
typedef enum { CG_PLACE_NATIVE, CG_PLACE_TORCH, CG_PLACE_HOST, CG_PLACE_GONE } cg_place;
cg_place *cg_report_places(cg_module *m); // where each imported node ended: [m->origins.n]
void cg_report_counts(cg_module *m, cg_plan *plan);
void cg_report_text(cg_str *b, cg_module *m);
void cg_report_json(cg_str *b, cg_module *m, const char *model);
#endif
