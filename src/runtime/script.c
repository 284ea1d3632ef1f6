// Modules of TorchScript that regions call: loaded once for a program, their state once for each context.
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "runtime/runtime.h"

// Blob `index`; *count: how many there are. NULL: no such blob, or the section is damaged (*count is UINT32_MAX then).
static const uint8_t *blob(const cierge_program *p, uint32_t index, uint64_t *size, uint32_t *count) {
  static const uint8_t none[4];
  uint64_t whole = 0;
  const uint8_t *data = cg_artifact_section(&p->file, CG_SECTION_BLOBS, &whole), *at = NULL;
  if (!data) data = none, whole = sizeof none;
  cg_reader r = {data, data + whole, false};
  *count = cg_read_count(&r, 8);
  for (uint32_t i = 0; i < *count && !r.bad; i++) {
    uint64_t bytes = cg_read_u64(&r);
    const uint8_t *here = cg_read_bytes(&r, bytes);
    if (i == index && !r.bad) at = here, *size = bytes;
  }
  if (r.bad || r.at != r.end) *count = UINT32_MAX, at = NULL;
  return at;
}

const uint8_t *cg_script_bytes(const cierge_program *p, uint32_t i, uint64_t *size) {
  uint32_t count;
  return blob(p, p->plan->script[i].blob, size, &count);
}

static bool bad(cg_failure *f, const char *text, const cg_plan_script *s) {
  f->code = CIERGE_BAD_ARTIFACT;
  if (s) snprintf(f->text, sizeof f->text, "section blobs: %s (script %.200s, %.32s)", text, s->name, s->hash);
  else snprintf(f->text, sizeof f->text, "section blobs: %s", text);
  return false;
}

// Every blob is some script's, and has the content that the script's hash says.
bool cg_scripts_check(const cierge_program *p, cg_failure *f) {
  const cg_plan *plan = p->plan;
  uint64_t size;
  uint32_t count, used = 0;
  blob(p, 0, &size, &count);
  if (count == UINT32_MAX) return bad(f, "its blobs do not fill it", NULL);
  for (uint32_t i = 0; i < plan->n_scripts; i++) {
    const cg_plan_script *s = &plan->script[i];
    if (s->blob > used || s->blob >= count) return bad(f, "the plan speaks of another blob", s);
    if (s->blob < used) continue;
    const uint8_t *at = blob(p, used++, &size, &count);
    if (strcmp(cg_hash_of(at, size).text, s->hash)) return bad(f, "its content is not that of its hash", s);
  }
  return used == count || bad(f, "it holds more than the plan's scripts", NULL);
}

// The script before i that was made of the same blob; i: none.
static uint32_t first_of(const cg_plan *plan, uint32_t i) {
  uint32_t k = 0;
  while (plan->script[k].blob != plan->script[i].blob) k++;
  return k;
}

bool cg_scripts_load(cierge_program *p, cg_failure *f) {
  uint32_t n = p->plan->n_scripts;
  p->script = cg_pool_alloc(&p->pool, n, sizeof *p->script);
  if (!p->script) {
    *f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
    return false;
  }
  for (uint32_t i = 0; i < n; i++) {
    char text[700] = "";
    cierge_torch_error e = {text, sizeof text};
    uint64_t size = 0;
    uint32_t same = first_of(p->plan, i);
    if (same < i) {
      p->script[i] = p->script[same];
      continue;
    }
    const uint8_t *at = cg_script_bytes(p, i, &size);
    if (!p->torch->script_load(at, size, p->allow, p->n_allow, &p->script[i], &e)) continue;
    p->script[i] = NULL;
    return bad(f, text, &p->plan->script[i]);
  }
  return true;
}

void cg_scripts_unload(cierge_program *p) {
  for (uint32_t i = 0; p->script && i < p->plan->n_scripts; i++)
    if (p->script[i] && first_of(p->plan, i) == i) p->torch->script_free(p->script[i]);
}

// ---------------------------------------------------------------- a context

static cierge_status *failed(const cierge_context *c, uint32_t i, const char *text) {
  return cg_status_format(CIERGE_MISSING, "the state of script %.200s cannot be made: %s", c->p->plan->script[i].name, text);
}

cierge_status *cg_instances_make(cierge_context *c) {
  const cierge_program *p = c->p;
  c->instance = cg_pool_alloc(&c->pool, p->plan->n_scripts, sizeof *c->instance);
  if (!c->instance) return cg_no_memory();
  for (uint32_t i = 0; i < p->plan->n_scripts; i++) {
    char text[700] = "";
    cierge_torch_error e = {text, sizeof text};
    if (!p->torch->script_instance(p->script[i], &c->instance[i], &e)) continue;
    c->instance[i] = NULL;
    return failed(c, i, text);
  }
  return NULL;
}

cierge_status *cg_instances_reset(cierge_context *c) {
  for (uint32_t i = 0; i < c->p->plan->n_scripts; i++) {
    char text[700] = "";
    cierge_torch_error e = {text, sizeof text};
    if (c->p->torch->instance_reset(c->instance[i], &e)) return failed(c, i, text);
  }
  return NULL;
}

void cg_instances_free(cierge_context *c) {
  for (uint32_t i = 0; c->instance && i < c->p->plan->n_scripts; i++)
    if (c->instance[i]) c->p->torch->instance_free(c->instance[i]);
}
