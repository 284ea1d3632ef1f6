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

void cg_evaluate(cg_pipeline *p, cg_module *m, const cg_constant *const *in, void *const *out); // evaluate.c: cg_pipeline's
void cg_apply_dims(cg_pipeline *p, cg_module *m); // dims.c

// driver.c
typedef struct {
  cg_module *m;
  cg_emitter *e;    // NULL: analysed only
  cg_pipeline *pipeline;
  struct cg_report *report; // report.h
} cg_compilation;
// Reads and compiles a model up to the plan (or, where `analyse_only`, up to partitioning).
cg_compilation cg_compile_model(cg_session *s, cierge_options *o, const char *model, bool analyse_only);
// The same for a text program in memory; path: where it would lie.
cg_compilation cg_compile_text(cg_session *s, cierge_options *o, const char *path, const char *text, size_t size);
// The same for a module that was read already.
cg_compilation cg_compile_module(cg_pipeline *p, cg_module *m, bool analyse_only);
void cg_write_artifact(cg_compilation *c, const char *path);
// Compiles, writes the artifact and whatever else the options ask for (api.c).
cg_compilation cg_compile_to(cg_session *s, cierge_options *o, const char *model, const char *out);
void cg_save_text(cg_session *s, const char *path, const char *text); // api.c; atomically

void cg_blobs_section(cg_emitter *e, cg_str *b); // emit_script.c
#endif
