// The compiler's driver: options, the way from a model to an artifact, reports.
#ifndef CG_COMPILE_COMPILE_H
#define CG_COMPILE_COMPILE_H
#include "backend/backend.h"

struct cierge_options {
  cg_session s;     // owns the texts
  cg_options opt;
  const char *entry, *weights;
  bool tune;
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
// A model: the file, or a text program in memory that would lie there.
typedef struct {
  const char *path;
  const char *text; // NULL: the file
  size_t size;
} cg_model;
// Reads and compiles a model up to the plan (or, where `analyse_only`, up to partitioning).
cg_compilation cg_compile_model(cg_session *s, cierge_options *o, const cg_model *model, bool analyse_only);
// The same for a module that was read already.
cg_compilation cg_compile_module(cg_pipeline *p, cg_module *m, bool analyse_only);
void cg_write_artifact(cg_compilation *c, const char *path);
// Measures what the options want measured, compiles, writes the artifact and whatever else they ask for (api.c).
cg_compilation cg_compile_to(cg_session *s, const cierge_options *o, const cg_model *model, const char *out);
void cg_save_text(cg_session *s, const char *path, const char *text); // api.c; atomically

void cg_blobs_section(cg_emitter *e, cg_str *b); // emit_script.c
#endif
