// State and mutated inputs take their new values at the end of a call, all at once: whatever an update or an output still
// reads from memory that an update writes to is copied before the first write.
#include <string.h>

#include "runtime/runtime.h"

static bool in_mutable_memory(const cg_frame *f, uint32_t v) {
  uint8_t storage = f->fn->plan->value[f->fn->value[v].root].storage;
  return storage == CG_ST_PARAM || storage == CG_ST_STATE;
}

// Its value was written where it lies.
static bool is_done(const cg_frame *f, const cg_plan_update *u) { return f->fn->value[u->value].root == u->target; }

cierge_status *cg_save_updates(cg_frame *f) {
  const cg_plan_fn *plan = f->fn->plan;
  for (uint32_t i = 0; i < plan->n_updates; i++) {
    const cg_plan_update *u = &plan->update[i];
    if (is_done(f, u)) continue;
    cg_view v;
    cierge_status *st = cg_view_of(f, u->value, &v);
    if (st) return st;
    if (!cg_same_sizes(v.size, f->slot[u->target].size, v.rank))
      return cg_status_format(CIERGE_RUN_ERROR, "the new value of %s has another shape", plan->value[u->target].name);
    if (!in_mutable_memory(f, u->value)) continue;
    if (!cg_buffer_need(&f->saved[i], v.bytes)) return cg_no_memory();
    if (v.bytes) memcpy(f->saved[i].at, v.data, v.bytes);
  }
  return NULL;
}

// Whether the call has the input's own memory (bind.c), no copy of it.
static bool is_callers(const cg_frame *f, const cg_plan_value *target) {
  const cg_plan *plan = f->c->p->plan;
  return f->slot[plan->fn[0]->param[target->index]].data != f->c->given[plan->input_of[target->index] - plan->input].staging.at;
}

static void write_input(cg_frame *f, const cg_plan_value *target, const void *from) {
  const cg_plan *plan = f->c->p->plan;
  const DLTensor *t = &f->c->given[plan->input_of[target->index] - plan->input].t;
  if (!t->data) return; // empty
  cg_copy_strided((char *)t->data + t->byte_offset, t->strides, from, NULL, t->shape, target->rank, cg_dtypes[target->dtype].size);
}

cierge_status *cg_write_updates(cg_frame *f) {
  const cg_plan_fn *plan = f->fn->plan;
  for (uint32_t i = 0; i < plan->n_updates; i++) {
    const cg_plan_update *u = &plan->update[i];
    const cg_plan_value *target = &plan->value[u->target];
    if (is_done(f, u)) {
      if (target->storage == CG_ST_PARAM && !is_callers(f, target)) write_input(f, target, f->slot[u->target].data);
      continue;
    }
    cg_view v;
    cierge_status *st = cg_view_of(f, u->value, &v);
    if (st) return st;
    const void *from = in_mutable_memory(f, u->value) ? f->saved[i].at : v.data;
    if (target->storage == CG_ST_PARAM) write_input(f, target, from);
    else cg_copy_strided(f->c->state[target->index].at, target->stride, from, NULL, v.size, v.rank, cg_dtypes[target->dtype].size);
  }
  return NULL;
}
