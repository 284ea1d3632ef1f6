// Contexts: all that changes while a program runs.
#include <sched.h>
#include <stddef.h>
#include <string.h>

#include "runtime/runtime.h"

static int processors(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return 1;
  int n = CPU_COUNT(&set);
  return n > 0 ? n : 1;
}

// ---------------------------------------------------------------- one thread at a time

cierge_status *cg_enter(const cierge_context *c, const char *who) {
  if (!c) return cg_status_format(CIERGE_USAGE, "%s: the context is NULL", who);
  if (!atomic_flag_test_and_set_explicit(&((cierge_context *)c)->in_use, memory_order_acquire)) return NULL;
  return cg_status_format(CIERGE_USAGE, "%s: another call is using the context; make one for each thread", who);
}

void cg_leave(const cierge_context *c) { atomic_flag_clear_explicit(&((cierge_context *)c)->in_use, memory_order_release); }

// ---------------------------------------------------------------- state

static void reset(cierge_context *c) {
  for (uint32_t i = 0; i < c->p->plan->n_states; i++) {
    const cg_plan_value *v = c->p->state[i];
    if (v && v->size) memcpy(c->state[i].at, c->p->weights + v->offset, v->size);
  }
}

static bool make_state(cierge_context *c) {
  c->state = cg_pool_alloc(&c->pool, c->p->plan->n_states, sizeof *c->state);
  for (uint32_t i = 0; c->state && i < c->p->plan->n_states; i++)
    if (!cg_buffer_need(&c->state[i], c->p->state[i] ? c->p->state[i]->size : 0)) return false;
  if (c->state) reset(c);
  return c->state;
}

static cierge_status *reset_all(cierge_context *c) {
  reset(c);
  return cg_instances_reset(c);
}

cierge_status *cierge_reset(cierge_context *c) {
  cierge_status *st = cg_enter(c, "cierge_reset");
  if (st) return st;
  st = reset_all(c);
  cg_leave(c);
  return st;
}

// ---------------------------------------------------------------- making and freeing

static bool make_result(cierge_context *c, cg_result *r, const cg_plan_value *v, const cierge_spec *spec) {
  r->shape = cg_pool_alloc(&c->pool, v->rank, sizeof *r->shape);
  r->stride = cg_pool_alloc(&c->pool, v->rank, sizeof *r->stride);
  r->t = (DLTensor){.device = {kDLCPU, 0}, .ndim = (int32_t)v->rank, .dtype = spec->dl_dtype, .shape = r->shape, .strides = r->stride};
  return r->shape && r->stride;
}

static bool make_results(cierge_context *c) {
  const cg_plan *plan = c->p->plan;
  const cg_plan_fn *f = plan->fn[0];
  c->result = cg_pool_alloc(&c->pool, f->n_results, sizeof *c->result);
  c->reshaped = cg_pool_alloc(&c->pool, plan->n_reshaped, sizeof *c->reshaped);
  if (!c->result || !c->reshaped) return false;
  for (uint32_t i = 0; i < f->n_results; i++)
    if (!make_result(c, &c->result[i], &f->value[f->result[i]], &c->p->output[i])) return false;
  for (uint32_t i = 0; i < plan->n_reshaped; i++)
    if (!make_result(c, &c->reshaped[i], &f->value[plan->reshaped[i].value], &c->p->input[plan->reshaped[i].input])) return false;
  return true;
}

static cierge_status *make(cierge_context *c, int profile) {
  const cg_plan *plan = c->p->plan;
  if (profile > 1 && !(c->trace = cg_pool_alloc(&c->pool, 1, sizeof *c->trace))) return cg_no_memory();
  if (!make_state(c) || !make_results(c)) return cg_no_memory();
  cierge_status *torch = cg_torch_runs_make(c);
  if (torch) return torch;
  c->given = cg_pool_alloc(&c->pool, plan->n_inputs, sizeof *c->given);
  c->frame = cg_pool_alloc(&c->pool, plan->n_fns, sizeof *c->frame);
  if (!c->given || !c->frame) return cg_no_memory();
  for (uint32_t i = 0; i < plan->n_fns; i++) {
    cierge_status *st = cg_frame_init(&c->frame[i], c, &c->p->fn[i], profile != 0);
    if (st) return st;
  }
  return NULL;
}

cierge_status *cierge_context_new(const cierge_program *p, const cierge_context_options *options, cierge_context **out) {
  if (!p || !out) return cg_status_new(CIERGE_USAGE, "cierge_context_new: an argument is NULL");
  *out = NULL;
  cierge_context_options o = {0};
  if (options && options->size < offsetof(cierge_context_options, threads)) return cg_status_new(CIERGE_USAGE, "cierge_context_new: options.size is not set");
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  if (o.threads < 0) return cg_status_format(CIERGE_USAGE, "cierge_context_new: %d threads", o.threads);
  cierge_context *c = cg_heap_zalloc(1, sizeof *c);
  if (!c) return cg_no_memory();
  c->p = p;
  atomic_flag_clear(&c->in_use);
  atomic_fetch_add(&((cierge_program *)p)->contexts, 1);
  c->threads = o.threads ? o.threads : processors();
  c->team = cg_team_new(cg_kernel_threads(c), p->torch != NULL);
  cierge_status *st = c->team ? make(c, o.profile) : cg_no_memory();
  if (!st) *out = c;
  else cierge_context_free(c);
  return st;
}

void cierge_context_free(cierge_context *c) {
  if (!c) return;
  const cg_plan *plan = c->p->plan;
  for (uint32_t i = 0; c->frame && i < plan->n_fns; i++) cg_frame_free(&c->frame[i]);
  cg_torch_runs_free(c);
  for (uint32_t i = 0; c->given && i < plan->n_inputs; i++) cg_buffer_free(&c->given[i].staging);
  for (uint32_t i = 0; c->result && i < plan->fn[0]->n_results; i++) cg_buffer_free(&c->result[i].copy), cg_buffer_free(&c->result[i].geometry);
  for (uint32_t i = 0; c->reshaped && i < plan->n_reshaped; i++) cg_buffer_free(&c->reshaped[i].copy);
  for (uint32_t i = 0; c->state && i < plan->n_states; i++) cg_buffer_free(&c->state[i]);
  if (c->trace) cg_heap_free(c->trace->at);
  cg_team_free(c->team);
  cg_pool_free(&c->pool);
  cierge_program_free((cierge_program *)c->p);
  cg_heap_free(c);
}

// ---------------------------------------------------------------- a call

static cierge_status *run(cierge_context *c) {
  cg_frame *f = &c->frame[0];
  c->ran = false;
  size_t event = c->trace ? cg_trace_begin(c->trace, 0, CG_WHOLE_CALL, cg_now()) : 0;
  cierge_status *st = cg_bind_inputs(c);
  cg_team *others = cg_team_use(c->team);
  if (!st) st = cg_run_steps(f);
  cg_team_use(others);
  bool updates = f->fn->plan->n_updates;
  if (!st && updates) st = cg_save_updates(f);
  if (!st) st = cg_outputs(c);
  if (!st && updates) st = cg_write_updates(f);
  cierge_status *lost = c->trace ? cg_trace_end(c->trace, event, NULL, cg_now()) : NULL;
  if (st) cierge_status_free(lost);
  else st = lost;
  c->ran = !st;
  for (uint32_t i = 0; st && i < c->p->plan->n_fns; i++) cg_frame_drop_tensors(&c->frame[i]);
  return st;
}

cierge_status *cierge_run(cierge_context *c) {
  cierge_status *st = cg_enter(c, "cierge_run");
  if (st) return st;
  st = run(c);
  cg_leave(c);
  return st;
}

cierge_status *cierge_seed(cierge_context *c, uint64_t seed) {
  cierge_status *st = cg_enter(c, "cierge_seed");
  if (st) return st;
  if (c->p->torch) c->p->torch->seed(seed);
  cg_leave(c);
  return NULL;
}
