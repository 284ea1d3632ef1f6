// Where the time of a context's calls went: one line a step, the costliest first.
#include <inttypes.h>
#include <string.h>

#include "runtime/runtime.h"

typedef struct {
  const cg_frame *f;
  uint32_t step;
} row;

const char *const cg_step_kinds[CG_STEP_COUNT] = {"kernel", "torch", "scalar", "item", "fill", "copy", "assert", "if", "while", "call", "scan"};

const char *cg_step_name(const cierge_context *c, const cg_plan_step *s) {
  const cg_plan *p = c->p->plan;
  return s->kind == CG_STEP_KERNEL ? p->kernel[s->kernel].note : s->kind == CG_STEP_TORCH ? p->region[s->kernel].name : cg_step_kinds[s->kind];
}

static uint64_t time_of(const row *r) { return r->f->ns[r->step]; }

static void line(cg_text *t, const cierge_context *c, const row *r, uint64_t total) {
  const cg_plan_step *s = &r->f->fn->plan->step[r->step];
  const cg_plan *p = c->p->plan;
  uint64_t calls = r->f->calls[r->step];
  cg_text_add(t, "%10.3f us %8" PRIu64 " calls %5.1f %%  %-6s %s", (double)time_of(r) / 1e3 / (double)calls, calls, total ? 100.0 * (double)time_of(r) / (double)total : 0,
              cg_step_kinds[s->kind], cg_step_name(c, s));
  if (s->site < p->n_sites && *p->site[s->site].op) cg_text_add(t, "  %s", p->site[s->site].op);
  if (s->site < p->n_sites && *p->site[s->site].file) cg_text_add(t, "  %s:%u", p->site[s->site].file, p->site[s->site].line);
  cg_text_add(t, "\n");
}

static bool steps(cg_text *t, const cierge_context *c) {
  uint32_t n = 0;
  uint64_t total = 0;
  for (uint32_t i = 0; i < c->p->plan->n_fns; i++)
    for (uint32_t k = 0; k < c->frame[i].fn->plan->n_steps; k++) {
      n += c->frame[i].calls[k] > 0;
      if (!i) total += c->frame[i].ns[k]; // main's steps hold those of what they call
    }
  row *rows = cg_heap_zalloc(n ? n : 1, sizeof *rows);
  if (!rows) return false;
  n = 0;
  for (uint32_t i = 0; i < c->p->plan->n_fns; i++)
    for (uint32_t k = 0; k < c->frame[i].fn->plan->n_steps; k++) {
      if (!c->frame[i].calls[k]) continue;
      row r = {&c->frame[i], k};
      uint32_t at = n++;
      for (; at && time_of(&rows[at - 1]) < time_of(&r); at--) rows[at] = rows[at - 1];
      rows[at] = r;
    }
  for (uint32_t i = 0; i < n; i++) line(t, c, &rows[i], total);
  cg_heap_free(rows);
  return true;
}

static cierge_status *profile_text(const cierge_context *c, char **text) {
  if (!c->frame[0].ns) return cg_status_new(CIERGE_USAGE, "cierge_profile_text: the context was made without options.profile");
  cg_text t = {0};
  for (uint32_t i = 0; i < c->p->plan->n_fns; i++) {
    const cg_frame *f = &c->frame[i];
    if (f->shaped) cg_text_add(&t, "arena of %s: %" PRIu64 " bytes, at least %" PRIu64 " are needed at once\n", *f->fn->plan->name ? f->fn->plan->name : "main", f->arena_used, f->arena_bound);
  }
  if (!steps(&t, c)) t.failed = true;
  return cg_text_give(&t, text);
}

// ---------------------------------------------------------------- as JSON

void cg_text_quoted(cg_text *t, const char *text) {
  cg_text_add(t, "\"");
  for (const unsigned char *p = (const unsigned char *)text; *p; p++)
    if (*p == '"' || *p == '\\' || *p < 32) cg_text_add(t, "\\u%04x", *p);
    else cg_text_add(t, "%c", *p);
  cg_text_add(t, "\"");
}

static void step_json(cg_text *t, const cierge_context *c, const cg_frame *f, uint32_t i) {
  const cg_plan_step *s = &f->fn->plan->step[i];
  const cg_plan *p = c->p->plan;
  static const cg_plan_site nowhere = {"", "", "", 0, ""};
  const cg_plan_site *at = s->site < p->n_sites ? &p->site[s->site] : &nowhere;
  cg_text_add(t, "%s\n  {\"kind\": \"%s\", \"name\": ", i ? "," : "", cg_step_kinds[s->kind]);
  cg_text_quoted(t, cg_step_name(c, s));
  cg_text_add(t, ", \"op\": ");
  cg_text_quoted(t, at->op);
  cg_text_add(t, ", \"file\": ");
  cg_text_quoted(t, at->file);
  cg_text_add(t, ", \"line\": %u, \"calls\": %" PRIu64 ", \"ns\": %" PRIu64 ", \"estimate_ns\": %.0f}", at->line, f->calls[i], f->ns[i], s->estimate_ns);
}

static cierge_status *profile_json(const cierge_context *c, char **text) {
  if (!c->frame[0].ns) return cg_status_new(CIERGE_USAGE, "cierge_profile_json: the context was made without options.profile");
  cg_text t = {0};
  cg_text_add(&t, "{\"functions\": [");
  for (uint32_t i = 0; i < c->p->plan->n_fns; i++) {
    const cg_frame *f = &c->frame[i];
    cg_text_add(&t, "%s\n {\"name\": ", i ? "," : "");
    cg_text_quoted(&t, *f->fn->plan->name ? f->fn->plan->name : "main");
    cg_text_add(&t, ", \"steps\": [");
    for (uint32_t k = 0; k < f->fn->plan->n_steps; k++) step_json(&t, c, f, k);
    cg_text_add(&t, "]}");
  }
  cg_text_add(&t, "]}\n");
  return cg_text_give(&t, text);
}

// ---------------------------------------------------------------- the API

cierge_status *cg_look(const cierge_context *c, char **text, const char *who, cierge_status *(*look)(const cierge_context *, char **)) {
  if (!c || !text) return cg_status_format(CIERGE_USAGE, "%s: an argument is NULL", who);
  *text = NULL;
  cierge_status *st = cg_enter(c, who);
  if (st) return st;
  st = look(c, text);
  cg_leave(c);
  return st;
}

cierge_status *cierge_profile_text(const cierge_context *c, char **text) { return cg_look(c, text, "cierge_profile_text", profile_text); }
cierge_status *cierge_profile_json(const cierge_context *c, char **text) { return cg_look(c, text, "cierge_profile_json", profile_json); }
