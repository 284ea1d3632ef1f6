// The C API of the compiler (cierge.h, "Compiling"): sessions inside, statuses outside.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "compile/report.h"
#include "compile/tune.h"
#include "ir/text.h"
#include "runtime/status.h"

typedef struct {
  cierge_options *o;
  cg_model model;
  const char *out;
  char **text;
} job;

// Runs `work` in a session of its own and makes a status of what it threw.
static cierge_status *in_session(void (*work)(cg_session *, void *), job *j) {
  cg_session *s = cg_heap_zalloc(1, sizeof *s);
  if (!s) return cg_status_new(CIERGE_NO_MEMORY, "out of memory");
  cierge_options *own = NULL;
  cierge_status *status = NULL;
  cg_session_init(s);
  if (!j->o && !(status = cierge_options_new(&own))) j->o = own;
  if (!status && cg_try(s, work, j) != CIERGE_OK) status = cg_status_new(s->code, s->message);
  cg_session_end(s);
  cierge_options_free(own);
  cg_heap_free(s);
  return status;
}

cierge_status *cierge_options_new(cierge_options **out) {
  if (!out) return cg_status_new(CIERGE_USAGE, "cierge_options_new: out is NULL");
  *out = NULL;
  cierge_options *o = cg_heap_zalloc(1, sizeof *o);
  if (!o) return cg_status_new(CIERGE_NO_MEMORY, "out of memory");
  if (cg_options_init(o) != CIERGE_OK) {
    cierge_status *s = cg_status_new(o->s.code, o->s.message);
    cierge_options_free(o);
    return s;
  }
  *out = o;
  return NULL;
}

cierge_status *cierge_options_add(cierge_options *o, const char *name, const char *value) {
  if (!o || !name) return cg_status_new(CIERGE_USAGE, "cierge_options_add: an argument is NULL");
  return cg_options_set(o, name, value) == CIERGE_OK ? NULL : cg_status_new(o->s.code, o->s.message);
}

void cierge_options_free(cierge_options *o) {
  if (!o) return;
  cg_session_end(&o->s);
  cg_heap_free(o);
}

void cg_save_text(cg_session *s, const char *path, const char *text) {
  cg_writer *w = cg_writer_open(s, path);
  cg_writer_add(w, text, strlen(text));
  cg_writer_commit(w);
}

static const char *full_report(cg_compilation *c) {
  cg_str b = cg_str_new(c->m->s);
  cg_report_json(&b, c->report, true);
  return cg_str_text(&b);
}

static cg_compilation write_out(cg_session *s, cierge_options *o, cg_compilation c, const char *out) {
  cg_tell(&o->opt, s, "writing the artifact");
  cg_write_artifact(&c, out);
  cg_file_keep(s, out);
  if (o->opt.report) cg_save_text(s, o->opt.report, full_report(&c));
  if (!o->opt.emit) return c;
  cg_str text = cg_str_new(s);
  if (!strcmp(o->opt.emit, "ir")) cg_print_module(&text, c.m);
  fputs(!strcmp(o->opt.emit, "ir") ? cg_str_text(&text) : cg_str_text(&c.e->kernel_source), stdout);
  return c;
}

cg_compilation cg_compile_to(cg_session *s, const cierge_options *options, const cg_model *model, const char *out) {
  cierge_options *o = cg_memdup(s, options, sizeof *o); // what is measured lives as long as s
  if (o->tune) cg_tune(s, o, model);
  return write_out(s, o, cg_compile_model(s, o, model, false), out);
}

static void compile(cg_session *s, void *u) {
  job *j = u;
  cg_compile_to(s, j->o, &j->model, j->out);
}

cierge_status *cierge_compile(const char *model, const char *out_path, const cierge_options *options) {
  if (!model || !out_path) return cg_status_new(CIERGE_USAGE, "cierge_compile: an argument is NULL");
  return in_session(compile, &(job){.o = (cierge_options *)options, .model = {.path = model}, .out = out_path});
}

cierge_status *cierge_compile_text(const char *text, size_t size, const char *path, const char *out_path, const cierge_options *options) {
  if (!text || !out_path) return cg_status_new(CIERGE_USAGE, "cierge_compile_text: an argument is NULL");
  return in_session(compile, &(job){.o = (cierge_options *)options, .model = {path ? path : "program.cir", text, size}, .out = out_path});
}

static void explain(cg_session *s, void *u) {
  job *j = u;
  cg_compilation c = cg_compile_model(s, j->o, &j->model, true);
  cg_str b = cg_str_new(s);
  cg_report_text(&b, c.report);
  char *copy = cg_heap_alloc(b.n + 1);
  if (!copy) cg_fail(s, CIERGE_NO_MEMORY, "out of memory");
  memcpy(copy, cg_str_text(&b), b.n + 1);
  *j->text = copy;
}

cierge_status *cierge_explain(const char *model, const cierge_options *options, char **text) {
  if (!model || !text) return cg_status_new(CIERGE_USAGE, "cierge_explain: an argument is NULL");
  *text = NULL;
  return in_session(explain, &(job){.o = (cierge_options *)options, .model = {.path = model}, .text = text});
}
