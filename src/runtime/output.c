// Results of main: borrowed where they lie, copied to the caller's memory, or handed over.
#include <string.h>

#include "runtime/runtime.h"

// In memory that is this call's: not the caller's, the program's or about to be updated.
static bool is_own(const cg_frame *f, uint32_t v) {
  uint8_t storage = f->fn->plan->value[f->fn->value[v].root].storage;
  return f->fn->plan->value[v].kind == CG_V_TENSOR && (storage == CG_ST_ARENA || storage == CG_ST_TORCH);
}

static void describe(cg_result *r, const int64_t *size, void *data) {
  uint64_t n = 1; // wraps where an empty tensor's other sizes are huge; nobody steps by it
  for (int32_t d = r->t.ndim; d-- > 0;) {
    r->shape[d] = size[d];
    r->stride[d] = (int64_t)n;
    n *= size[d] > 0 ? (uint64_t)size[d] : 1;
  }
  r->t.data = data;
}

static void set_number(cg_result *r, const cg_view *v) {
  if (v->kind == CG_V_FLOAT) memcpy(&r->number, &v->f, sizeof v->f);
  else if (v->kind == CG_V_BOOL) *(uint8_t *)&r->number = v->i != 0;
  else r->number = v->i;
  describe(r, NULL, &r->number);
}

static cierge_status *check_user(const cierge_context *c, uint32_t i) {
  const cg_result *r = &c->result[i];
  if (!r->has_user || cg_same_sizes(r->user.shape, r->shape, (uint32_t)r->t.ndim)) return NULL;
  char want[1024], have[1024];
  uint8_t dtype = c->p->plan->fn[0]->value[c->p->plan->fn[0]->result[i]].dtype;
  cg_type_text(want, sizeof want, dtype, (uint32_t)r->t.ndim, r->shape, NULL);
  cg_type_text(have, sizeof have, dtype, (uint32_t)r->t.ndim, r->user.shape, NULL);
  return cg_status_format(CIERGE_BAD_INPUT, "output_%u is %s, the memory for it is %s", i, want, have);
}

// A result that says only now what it is.
static cierge_status *settle_late(cg_result *r, const cg_slot *s) {
  size_t rank = (size_t)s->rank;
  r->none = s->dtype < 0;
  if (r->none) return NULL;
  if (!cg_buffer_need(&r->geometry, 2 * rank * sizeof(int64_t))) return cg_no_memory();
  r->shape = r->geometry.at, r->stride = r->shape + rank;
  r->t.shape = r->shape, r->t.strides = r->stride;
  r->t.ndim = s->rank;
  r->t.dtype = (DLDataType){cg_dtypes[s->dtype].dl_code, cg_dtypes[s->dtype].dl_bits, 1};
  describe(r, s->size, s->data);
  return NULL;
}

// Value v of main, as the user will see it, where it can stay.
static cierge_status *settle(cg_frame *f, uint32_t v, cg_result *r) {
  cg_view view;
  r->taken = false;
  if (f->fn->plan->value[v].kind == CG_V_LATE) return settle_late(r, &f->slot[v]);
  if (is_own(f, v)) {
    cierge_status *st = f->fn->plan->value[v].storage == CG_ST_ALIAS ? cg_resize(f, v) : NULL;
    if (!st) describe(r, f->slot[v].size, cg_data(f, v));
    return st;
  }
  cierge_status *st = cg_view_of(f, v, &view);
  if (st || view.kind == CG_V_NONE) return st;
  if (view.kind != CG_V_TENSOR) {
    set_number(r, &view);
    return NULL;
  }
  if (!cg_buffer_need(&r->copy, view.bytes)) return cg_no_memory();
  if (view.bytes) memcpy(r->copy.at, view.data, view.bytes);
  describe(r, view.size, r->copy.at);
  return NULL;
}

// First everything is out of the inputs' memory, then the caller's memory is written to: the two may overlap.
cierge_status *cg_outputs(cierge_context *c) {
  const cg_plan_fn *plan = c->p->plan->fn[0];
  for (uint32_t i = 0; i < plan->n_results; i++) {
    cierge_status *st = settle(&c->frame[0], plan->result[i], &c->result[i]);
    if (!st) st = check_user(c, i);
    if (st) return st;
  }
  for (uint32_t i = 0; i < c->p->plan->n_reshaped; i++) {
    cierge_status *st = settle(&c->frame[0], c->p->plan->reshaped[i].value, &c->reshaped[i]);
    if (st) return st;
  }
  for (uint32_t i = 0; i < plan->n_results; i++) {
    cg_result *r = &c->result[i];
    const cg_plan_value *v = &plan->value[plan->result[i]];
    if (!r->has_user || v->kind == CG_V_NONE || !r->user.data) continue; // no data: it is empty
    cg_copy_strided((char *)r->user.data + r->user.byte_offset, r->user.strides, r->t.data, NULL, r->shape, v->rank, cg_dtypes[v->dtype].size);
  }
  return NULL;
}

// ---------------------------------------------------------------- the API

static cierge_status *check_index(const cierge_context *c, size_t i, const char *who) {
  if (i < c->p->plan->fn[0]->n_results) return NULL;
  return cg_status_format(CIERGE_USAGE, "%s: there is no output %zu, the program has %u", who, i, c->p->plan->fn[0]->n_results);
}

static cierge_status *check_done(const cierge_context *c, size_t i, const char *who) {
  cierge_status *st = check_index(c, i, who);
  if (st) return st;
  if (!c->ran) return cg_status_format(CIERGE_USAGE, "%s: there are no outputs: no call went well since the last that failed", who);
  return c->result[i].taken ? cg_status_format(CIERGE_USAGE, "%s: output %zu was taken", who, i) : NULL;
}

static cierge_status *set(cierge_context *c, size_t i, const DLTensor *t) {
  cierge_status *st = check_index(c, i, "cierge_output_set");
  if (st) return st;
  cg_result *r = &c->result[i];
  const cierge_spec *spec = &c->p->output[i];
  if (t && spec->kind == CIERGE_KIND_NONE) return cg_status_format(CIERGE_USAGE, "cierge_output_set: %s is None", spec->name);
  if (t && spec->rank < 0) return cg_status_format(CIERGE_USAGE, "cierge_output_set: what %s is only each call tells, so the context gives its memory", spec->name);
  if (t) st = cg_check_tensor("memory for", spec, t);
  for (int d = 0; !st && t && t->strides && d < t->ndim; d++)
    if (t->shape[d] > 1 && !t->strides[d]) st = cg_status_format(CIERGE_BAD_INPUT, "memory for %s: a stride is 0", spec->name);
  if (st) return st;
  r->has_user = t != NULL;
  if (t) r->user = *t;
  return NULL;
}

cierge_status *cierge_output_set(cierge_context *c, size_t i, const DLTensor *t) {
  cierge_status *st = cg_enter(c, "cierge_output_set");
  if (st) return st;
  st = set(c, i, t);
  cg_leave(c);
  return st;
}

static bool is_none(const cierge_context *c, size_t i) { return c->p->output[i].kind == CIERGE_KIND_NONE || c->result[i].none; }

static cierge_status *get(const cierge_context *c, size_t i, const DLTensor **t) {
  cierge_status *st = check_done(c, i, "cierge_output_get");
  if (st || is_none(c, i)) return st;
  *t = c->result[i].has_user ? &c->result[i].user : &c->result[i].t;
  return NULL;
}

cierge_status *cierge_output_get(cierge_context *c, size_t i, const DLTensor **t) {
  if (!t) return cg_status_new(CIERGE_USAGE, "cierge_output_get: t is NULL");
  *t = NULL;
  cierge_status *st = cg_enter(c, "cierge_output_get");
  if (st) return st;
  st = get(c, i, t);
  cg_leave(c);
  return st;
}

static cierge_status *get_mutated(const cierge_context *c, size_t k, const DLTensor **t) {
  const cierge_program *p = c->p;
  if (k >= p->n_mutated) return cg_status_format(CIERGE_USAGE, "cierge_mutated_get: there is no mutated input %zu, the program has %u", k, p->n_mutated);
  if (!c->ran) return cg_status_new(CIERGE_USAGE, "cierge_mutated_get: no call went well since the last that failed");
  const cg_mutated *m = &p->mutated[k];
  const cg_given *g = &c->given[m->input];
  if (m->reshaped < p->plan->n_reshaped) *t = &c->reshaped[m->reshaped].t;
  else if (g->set) *t = &g->t;
  else return cg_status_format(CIERGE_USAGE, "cierge_mutated_get: input %s is not set any more", m->spec.name);
  return NULL;
}

cierge_status *cierge_mutated_get(cierge_context *c, size_t k, const DLTensor **t) {
  if (!t) return cg_status_new(CIERGE_USAGE, "cierge_mutated_get: t is NULL");
  *t = NULL;
  cierge_status *st = cg_enter(c, "cierge_mutated_get");
  if (st) return st;
  st = get_mutated(c, k, t);
  cg_leave(c);
  return st;
}

// ---------------------------------------------------------------- taking

typedef struct {
  DLManagedTensorVersioned m;
  const cierge_torch_api_v1 *torch; // of handle
  cierge_torch_tensor handle;       // NULL: data is our own
  int64_t shape_and_strides[];
} owned;

static void delete_owned(DLManagedTensorVersioned *m) {
  owned *o = m->manager_ctx;
  if (o->handle) o->torch->tensor_free(o->handle);
  else cg_heap_free(o->m.dl_tensor.data);
  cg_heap_free(o);
}

// Whether the tensor that LibTorch gave for this output is nobody else's.
static bool sole(const cierge_context *c, size_t i) {
  const cg_frame *f = &c->frame[0];
  uint32_t v = f->fn->plan->result[i], others = 0;
  for (uint32_t k = 0; k < f->fn->plan->n_results; k++) others += f->fn->value[f->fn->plan->result[k]].root == v;
  for (uint32_t k = 0; k < c->p->plan->n_reshaped; k++) others += f->fn->value[c->p->plan->reshaped[k].value].root == v;
  return f->fn->plan->value[v].storage == CG_ST_TORCH && f->slot[v].owned && others == 1 && !c->result[i].has_user;
}

static cierge_status *take(cierge_context *c, size_t i, DLManagedTensorVersioned **t) {
  cierge_status *st = check_done(c, i, "cierge_output_take");
  if (st || is_none(c, i)) return st;
  cg_result *r = &c->result[i];
  size_t rank = (size_t)r->t.ndim;
  owned *o = cg_heap_zalloc(1, sizeof *o + 2 * rank * sizeof(int64_t));
  if (!o) return cg_no_memory();
  o->m = (DLManagedTensorVersioned){.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION}, .manager_ctx = o, .deleter = delete_owned, .dl_tensor = r->t};
  for (size_t d = 0; d < rank; d++) o->shape_and_strides[d] = r->shape[d], o->shape_and_strides[rank + d] = r->stride[d];
  o->m.dl_tensor.shape = o->shape_and_strides;
  o->m.dl_tensor.strides = o->shape_and_strides + rank;
  uint32_t v = c->p->plan->fn[0]->result[i];
  cg_slot *s = &c->frame[0].slot[v];
  if (sole(c, i)) {
    o->torch = c->p->torch;
    o->handle = s->handle;
    s->handle = NULL;
    s->owned = false;
    r->taken = true;
  } else {
    uint64_t bytes;
    cg_tensor_bytes(r->shape, (uint32_t)rank, (r->t.dtype.bits + 7u) / 8, &bytes);
    o->m.dl_tensor.data = cg_heap_aligned(64, bytes);
    if (!o->m.dl_tensor.data) {
      cg_heap_free(o);
      return cg_no_memory();
    }
    if (bytes) memcpy(o->m.dl_tensor.data, r->t.data, bytes);
    o->m.flags = DLPACK_FLAG_BITMASK_IS_COPIED;
  }
  *t = &o->m;
  return NULL;
}

cierge_status *cierge_output_take(cierge_context *c, size_t i, DLManagedTensorVersioned **t) {
  if (!t) return cg_status_new(CIERGE_USAGE, "cierge_output_take: t is NULL");
  *t = NULL;
  cierge_status *st = cg_enter(c, "cierge_output_take");
  if (st) return st;
  st = take(c, i, t);
  cg_leave(c);
  return st;
}
