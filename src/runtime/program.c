// Loads an artifact: maps and checks it, makes its kernels and regions ready. Nothing of it runs before all that is done.
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "runtime/runtime.h"

static bool fail(cg_failure *f, cierge_code code, const char *text) {
  f->code = code;
  snprintf(f->text, sizeof f->text, "%s", text);
  return false;
}

static cierge_status *status_at(const char *path, const cg_failure *f) {
  if (f->code == CIERGE_NO_MEMORY) return cg_no_memory();
  return cg_status_format((cierge_code)f->code, "%s: %s", path, f->text);
}

// ---------------------------------------------------------------- without running anything

static bool same_state(const cg_plan_fn *f, const cg_plan_fn *g, const cg_plan_value *a, const cg_plan_value *b) {
  bool same = a->dtype == b->dtype && a->rank == b->rank && a->offset == b->offset && a->size == b->size && !a->stride == !b->stride;
  for (uint32_t d = 0; same && d < a->rank; d++)
    same = f->expr[a->dim[d]].item[0].arg == g->expr[b->dim[d]].item[0].arg && (!a->stride || a->stride[d] == b->stride[d]);
  return same;
}

// All values that speak of a state must speak of the same one.
static bool find_states(cierge_program *p, cg_failure *f) {
  const cg_plan_fn **owner = cg_pool_alloc(&p->pool, p->plan->n_states, sizeof *owner);
  p->state = cg_pool_alloc(&p->pool, p->plan->n_states, sizeof *p->state);
  if (!p->state || !owner) return fail(f, CIERGE_NO_MEMORY, "out of memory");
  for (uint32_t k = 0; k < p->plan->n_fns; k++) {
    const cg_plan_fn *fn = p->plan->fn[k];
    for (uint32_t i = 0; i < fn->n_values; i++) {
      const cg_plan_value *v = &fn->value[i];
      if (v->kind != CG_V_TENSOR || v->storage != CG_ST_STATE) continue;
      const cg_plan_value *first = p->state[v->index];
      if (first && !same_state(owner[v->index], fn, first, v)) return fail(f, CIERGE_BAD_ARTIFACT, "section plan: functions disagree about a state");
      p->state[v->index] = v;
      owner[v->index] = fn;
    }
  }
  return true;
}

static bool check_plan(cierge_program *p, cg_failure *f) {
  uint64_t size;
  uint32_t regions;
  static const uint8_t no_weights[8];
  p->weights = cg_artifact_section(&p->file, CG_SECTION_WEIGHTS, &p->weights_size);
  if (!p->weights) p->weights = no_weights;
  const uint8_t *plan = cg_artifact_section(&p->file, CG_SECTION_PLAN, &size);
  if (!plan) return fail(f, CIERGE_BAD_ARTIFACT, "there is no section plan");
  if (!cg_torch_section(&p->file, &regions, f)) return false;
  p->plan = cg_plan_read(plan, size, p->weights_size, regions, f);
  if (!p->plan) return false;
  p->fn = cg_plan_check(p->plan, &p->pool, f);
  return p->fn && cg_scripts_check(p, f) && find_states(p, f) && cg_specs_make(p, f) && cg_solutions_make(p, f);
}

cierge_status *cg_program_open(const char *path, bool check_weights, cierge_program **out) {
  cg_failure f = {0};
  cierge_program *p = cg_heap_zalloc(1, sizeof *p);
  if (!p) return cg_no_memory();
  cierge_status *st = NULL;
  if (!cg_artifact_open(&p->file, path, check_weights, &f)) st = cg_status_of(&f);
  else if (!check_plan(p, &f)) st = status_at(path, &f);
  p->file.path = NULL; // the caller's, who may let it go
  if (!st) *out = p;
  else cierge_program_free(p);
  return st;
}

// ---------------------------------------------------------------- kernels

static bool load_kernels(cierge_program *p, cg_failure *f) {
  uint64_t size;
  uint32_t n = p->plan->n_kernels;
  p->kernel = cg_pool_alloc(&p->pool, n, sizeof *p->kernel);
  if (!p->kernel) return fail(f, CIERGE_NO_MEMORY, "out of memory");
  if (!n) return true;
  if (!cg_cpu_fits(p->plan->target, f)) return false;
  const uint8_t *object = cg_artifact_section(&p->file, CG_SECTION_KERNELS, &size);
  if (!object) return fail(f, CIERGE_BAD_ARTIFACT, "there is no section kernels");
  p->kernels = cg_kernels_open(object, size, f);
  if (!p->kernels) return false;
  const cg_team_calls_v1 **team = dlsym(p->kernels, CG_TEAM_SYMBOL);
  if (team) *team = &cg_team_calls;
  for (uint32_t i = 0; i < n; i++) {
    *(void **)&p->kernel[i] = dlsym(p->kernels, p->plan->kernel[i].symbol);
    if (p->kernel[i]) continue;
    f->code = CIERGE_BAD_ARTIFACT;
    snprintf(f->text, sizeof f->text, "section kernels has no function %.200s", p->plan->kernel[i].symbol);
    return false;
  }
  return true;
}

// ---------------------------------------------------------------- the API

// The caller's struct may be of an older version: what it lacks is 0.
static cierge_load_options options_of(const cierge_load_options *o) {
  cierge_load_options all = {0};
  if (o) memcpy(&all, o, o->size < sizeof all ? o->size : sizeof all);
  return all;
}

cierge_status *cierge_load(const char *path, const cierge_load_options *options, cierge_program **out) {
  if (!path || !out) return cg_status_new(CIERGE_USAGE, "cierge_load: an argument is NULL");
  *out = NULL;
  if (options && options->size < offsetof(cierge_load_options, libtorch)) return cg_status_new(CIERGE_USAGE, "cierge_load: options.size is not set");
  cierge_load_options o = options_of(options);
  cierge_program *p;
  cg_failure f = {0};
  cierge_status *st = cg_program_open(path, !o.lazy, &p);
  if (st) return st;
  if (load_kernels(p, &f) && cg_torch_load(p, &o, &f)) {
    *out = p;
    return NULL;
  }
  cierge_program_free(p);
  return status_at(path, &f);
}

void cierge_program_free(cierge_program *p) {
  if (!p || atomic_fetch_sub(&p->contexts, 1) > 0) return; // contexts keep it; the last one ends up here again with 0
  cg_torch_unload(p);
  if (p->kernels) dlclose(p->kernels);
  cg_plan_free(p->plan);
  cg_artifact_close(&p->file);
  cg_pool_free(&p->pool);
  cg_heap_free(p);
}

cierge_status *cierge_verify(const char *path) {
  if (!path) return cg_status_new(CIERGE_USAGE, "cierge_verify: path is NULL");
  cierge_program *p;
  cierge_status *st = cg_program_open(path, true, &p);
  if (!st) cierge_program_free(p);
  return st;
}
