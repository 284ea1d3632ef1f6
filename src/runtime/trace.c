// When each step of a context's calls began and how long it took, and each operator inside a LibTorch region: as a Chrome trace.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/runtime.h"

enum { MOST = 1000000 }; // events that are kept: what comes later is counted

static cg_event *begin(cg_trace *t) {
  if (t->n == MOST) return t->dropped++, NULL;
  if (t->n == t->cap) {
    size_t cap = t->cap ? 2 * t->cap : 1024;
    cg_event *at = cg_heap_alloc(cap * sizeof *at);
    if (!at) return t->failed = true, NULL;
    if (t->n) memcpy(at, t->at, t->n * sizeof *at);
    cg_heap_free(t->at);
    t->at = at, t->cap = cap;
  }
  return &t->at[t->n++];
}

size_t cg_trace_begin(cg_trace *t, uint32_t fn, uint32_t step, uint64_t now) {
  t->fn = fn, t->step = step;
  cg_event *e = begin(t);
  if (!e) return SIZE_MAX;
  *e = (cg_event){.fn = fn, .step = step, .op = -1, .start = now};
  return t->n - 1;
}

static uint64_t bytes(const cg_frame *f, const uint32_t *v, uint32_t n) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < n; i++)
    if (f->fn->plan->value[v[i]].kind == CG_V_TENSOR) sum += f->slot[v[i]].bytes;
  return sum;
}

cierge_status *cg_trace_end(cg_trace *t, size_t event, const cg_frame *f, uint64_t now) {
  if (t->failed) return t->failed = false, cg_no_memory();
  if (event == SIZE_MAX) return NULL;
  cg_event *e = &t->at[event];
  e->ns = now - e->start;
  if (!f || e->step == CG_WHOLE_CALL) return NULL;
  const cg_plan_step *s = &f->fn->plan->step[e->step];
  e->bytes_in = bytes(f, s->in, s->n_in), e->bytes_out = bytes(f, s->out, s->n_out);
  return NULL;
}

// The plugin's, for the region whose step began last.
void cg_trace_op(void *u, int op, const char *name, uint64_t start, uint64_t ns) {
  cg_trace *t = u;
  cg_event *e = begin(t);
  if (e) *e = (cg_event){.fn = t->fn, .step = t->step, .op = op, .name = name, .start = start, .ns = ns};
}

// ---------------------------------------------------------------- as JSON

static void us(cg_text *t, const char *name, uint64_t ns) { cg_text_add(t, ", \"%s\": %" PRIu64 ".%03u", name, ns / 1000, (unsigned)(ns % 1000)); }

static void quoted(cg_text *t, const char *name, const char *text) {
  cg_text_add(t, ", \"%s\": ", name);
  cg_text_quoted(t, text);
}

static void place(cg_text *t, const cg_plan *p, uint32_t site) {
  if (site >= p->n_sites) return;
  const cg_plan_site *s = &p->site[site];
  if (*s->op) quoted(t, "op", s->op);
  if (*s->file) {
    quoted(t, "source", s->file);
    if (!t->failed) t->n--; // its quote
    cg_text_add(t, ":%u\"", s->line);
  }
  if (*s->module_path) quoted(t, "module", s->module_path);
}

static void event(cg_text *t, const cierge_context *c, const cg_event *e, uint64_t zero, unsigned call) {
  const cg_plan *p = c->p->plan;
  const cg_plan_step *s = e->step == CG_WHOLE_CALL ? NULL : &p->fn[e->fn]->step[e->step];
  char name[160];
  uint32_t site = s ? s->site : 0;
  if (e->name) snprintf(name, sizeof name, "%s", e->name);
  else if (e->op >= 0) cg_torch_call_at(c->p, s->kernel, e->op, name, sizeof name, &site);
  cg_text_add(t, ",\n{\"ph\": \"X\", \"pid\": 1, \"tid\": 1");
  us(t, "ts", e->start - zero);
  us(t, "dur", e->ns);
  quoted(t, "cat", !s ? "call" : e->op >= 0 ? "op" : cg_step_kinds[s->kind]);
  if (s) quoted(t, "name", e->op >= 0 ? name : cg_step_name(c, s));
  else cg_text_add(t, ", \"name\": \"call %u\"", call);
  cg_text_add(t, ", \"args\": {\"call\": %u", call);
  if (s) place(t, p, site);
  if (s && s->kind == CG_STEP_TORCH) quoted(t, "region", p->region[s->kernel].name), quoted(t, "mode", p->region[s->kernel].mode);
  if (s && e->op < 0) cg_text_add(t, ", \"bytes_in\": %" PRIu64 ", \"bytes_out\": %" PRIu64, e->bytes_in, e->bytes_out);
  cg_text_add(t, "}}");
}

static cierge_status *profile_trace(const cierge_context *c, char **text) {
  const cg_trace *trace = c->trace;
  if (!trace) return cg_status_new(CIERGE_USAGE, "cierge_profile_trace: the context was made without options.profile 2");
  cg_text t = {0};
  cg_text_add(&t, "{\"displayTimeUnit\": \"ns\", \"otherData\": {\"producer\": \"cierge " CIERGE_VERSION "\", \"dropped\": %" PRIu64, trace->dropped);
  cg_text_add(&t, "}, \"traceEvents\": [\n{\"ph\": \"M\", \"pid\": 1, \"tid\": 1, \"name\": \"process_name\", \"args\": {\"name\": ");
  cg_text_quoted(&t, *c->p->plan->model ? c->p->plan->model : "cierge");
  cg_text_add(&t, "}}");
  unsigned call = 0;
  for (size_t i = 0; i < trace->n; i++) {
    call += trace->at[i].step == CG_WHOLE_CALL;
    event(&t, c, &trace->at[i], trace->at[0].start, call);
  }
  cg_text_add(&t, "\n]}\n");
  return cg_text_give(&t, text);
}

cierge_status *cierge_profile_trace(const cierge_context *c, char **text) { return cg_look(c, text, "cierge_profile_trace", profile_trace); }
