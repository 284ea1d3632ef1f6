// Branches, loops and calls: arguments go to the callee's frame by reference, results come back as copies, because a frame
// is used again by the next call of its function.
#include <string.h>

#include "runtime/runtime.h"

// Sets the callee's parameters; plans it anew where a size, or a number that sizes depend on, is another than last time.
static cierge_status *enter(cg_frame *g, const cg_view *arg) {
  const cg_plan_fn *plan = g->fn->plan;
  bool same = g->shaped;
  for (uint32_t i = 0; i < plan->n_params; i++) {
    uint32_t v = plan->param[i];
    cg_slot *s = &g->slot[v];
    const cg_plan_value *x = &plan->value[v];
    if (x->kind == CG_V_TENSOR) {
      if (same && !cg_same_sizes(s->size, arg[i].size, x->rank)) same = false;
      if (x->rank) memmove(s->size, arg[i].size, x->rank * sizeof *s->size);
      s->bytes = arg[i].bytes;
      s->data = arg[i].data;
      s->handle = arg[i].handle;
      s->owned = false;
    } else if (x->kind != CG_V_NONE) {
      int64_t before = s->i;
      cg_scalar_set(g, v, &(cg_scalar){.kind = arg[i].kind == CG_V_FLOAT ? CG_SC_FLOAT : CG_SC_INT, .i = arg[i].i, .f = arg[i].f});
      if (s->i != before && g->fn->shaping[v]) same = false;
    }
  }
  return same ? NULL : cg_frame_shape(g);
}

// Runs function `fn` and leaves its results in its frame.
static cierge_status *call(cg_frame *f, uint32_t fn, const cg_view *arg) {
  cg_frame *g = &f->c->frame[fn];
  cg_frame_drop_tensors(g);
  cierge_status *st = enter(g, arg);
  if (!st) st = cg_run_steps(g);
  return st;
}

// After its results were read: state takes its new values, LibTorch's tensors go.
static cierge_status *leave(cg_frame *f, uint32_t fn) {
  cg_frame *g = &f->c->frame[fn];
  cierge_status *st = g->fn->plan->n_updates ? cg_save_updates(g) : NULL;
  if (!st && g->fn->plan->n_updates) st = cg_write_updates(g);
  cg_frame_drop_tensors(g);
  return st;
}

static cierge_status *views(cg_frame *f, const uint32_t *value, uint32_t n, cg_view *out) {
  for (uint32_t i = 0; i < n; i++) {
    cierge_status *st = cg_view_of(f, value[i], &out[i]);
    if (st) return st;
  }
  return NULL;
}

// ---------------------------------------------------------------- results

static void store_number(cg_frame *f, uint32_t v, const cg_view *from) {
  cg_scalar_set(f, v, &(cg_scalar){.kind = from->kind == CG_V_FLOAT ? CG_SC_FLOAT : CG_SC_INT, .i = from->i, .f = from->f});
}

static cierge_status *store_tensor(cg_frame *f, const cg_plan_step *s, uint32_t i, const cg_view *from) {
  uint32_t v = s->out[i];
  cierge_status *st = cg_resize(f, v);
  if (!st && !cg_same_sizes(f->slot[v].size, from->size, from->rank))
    st = cg_step_error(f, s->site, CIERGE_RUN_ERROR, "a branch or loop gave a result of another shape than the program was compiled for");
  if (!st) st = cg_ensure(f, v);
  if (!st && from->bytes) memcpy(cg_data(f, v), from->data, from->bytes);
  return st;
}

// The first n results. Numbers and sizes first: the sizes of the others may depend on them.
static cierge_status *store(cg_frame *f, const cg_plan_step *s, const cg_view *from, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    if (from[i].kind == CG_V_TENSOR) cg_bind_sizes(f, s, i, from[i].size);
    else if (from[i].kind != CG_V_NONE) store_number(f, s->out[i], &from[i]);
  }
  for (uint32_t i = 0; i < n; i++) {
    cierge_status *st = from[i].kind == CG_V_TENSOR ? store_tensor(f, s, i, &from[i]) : NULL;
    if (st) return st;
  }
  return NULL;
}

static cierge_status *call_and_store(cg_frame *f, const cg_plan_step *s, uint32_t fn, const cg_view *arg) {
  const cg_plan_fn *callee = f->c->p->plan->fn[fn];
  cierge_status *st = call(f, fn, arg);
  if (!st) st = views(&f->c->frame[fn], callee->result, callee->n_results, f->views + s->n_in);
  if (!st) st = store(f, s, f->views + s->n_in, s->n_out);
  return st ? st : leave(f, fn);
}

static bool truth(const cg_view *v) { return v->kind == CG_V_TENSOR ? v->bytes && *(const uint8_t *)v->data : v->i != 0; }

cierge_status *cg_run_if(cg_frame *f, const cg_plan_step *s) {
  cierge_status *st = views(f, s->in, s->n_in, f->views);
  return st ? st : call_and_store(f, s, s->fn[truth(&f->views[0]) ? 0 : 1], f->views + 1);
}

cierge_status *cg_run_call(cg_frame *f, const cg_plan_step *s) {
  cierge_status *st = views(f, s->in, s->n_in, f->views);
  return st ? st : call_and_store(f, s, s->fn[0], f->views);
}

// ---------------------------------------------------------------- loops

static cierge_status *goes_on(cg_frame *f, const cg_plan_step *s, const cg_loop *l, bool *yes) {
  cg_frame *g = &f->c->frame[s->fn[0]];
  cg_view v;
  cierge_status *st = call(f, s->fn[0], l->value);
  if (!st) st = cg_view_of(g, g->fn->plan->result[0], &v);
  if (st) return st;
  *yes = truth(&v);
  return leave(f, s->fn[0]);
}

// The body's results become the carried values: copied to the side that the body did not read from, so a swap is one.
static cierge_status *carry(cg_frame *f, const cg_plan_step *s, uint32_t body, cg_loop *l, int side) {
  cg_frame *g = &f->c->frame[body];
  for (uint32_t i = 0; i < s->n_carried; i++) {
    cg_view *to = &l->value[i], from;
    cierge_status *st = cg_view_of(g, g->fn->plan->result[i], &from);
    if (st) return st;
    if (from.kind == CG_V_TENSOR) {
      cg_buffer *b = &l->buffer[side][i];
      int64_t *size = l->sizes + (size_t)i * CG_PLAN_MAX_RANK;
      if (!cg_buffer_need(b, from.bytes)) return cg_no_memory();
      if (from.bytes) memcpy(b->at, from.data, from.bytes);
      if (from.rank) memmove(size, from.size, from.rank * sizeof *size);
      from.data = b->at;
      from.size = size;
      from.handle = NULL;
    }
    *to = from;
  }
  return leave(f, body);
}

cierge_status *cg_run_while(cg_frame *f, const cg_plan_step *s, uint32_t loop) {
  cg_loop *l = &f->loop[loop];
  cierge_status *st = views(f, s->in, s->n_in, l->value);
  for (int side = 0; !st; side = !side) {
    bool more;
    st = goes_on(f, s, l, &more);
    if (st || !more) break;
    st = call(f, s->fn[1], l->value);
    if (!st) st = carry(f, s, s->fn[1], l, side);
  }
  return st ? st : store(f, s, l->value, s->n_carried);
}

// ---------------------------------------------------------------- scans

// How many iterations: the length of all that is scanned.
static cierge_status *length_of(cg_frame *f, const cg_plan_step *s, int64_t *n) {
  const cg_view *x = &f->views[s->n_carried];
  *n = x[0].size[0];
  for (uint32_t i = 1; i < s->n_scanned; i++)
    if (x[i].size[0] != *n) return cg_step_error(f, s->site, CIERGE_RUN_ERROR, "the tensors to go over differ in length");
  return *n ? NULL : cg_step_error(f, s->site, CIERGE_RUN_ERROR, "there are no elements to go over, which PyTorch refuses as well");
}

static void slice(const cg_view *whole, int64_t n, int64_t i, cg_view *out) {
  *out = *whole;
  out->rank--;
  out->size++;
  out->bytes = whole->bytes / (uint64_t)n;
  out->data = out->bytes ? (char *)whole->data + (uint64_t)i * out->bytes : whole->data;
  out->handle = NULL;
}

// Sizes of the results, known after the first iteration; memory for what is stacked.
static cierge_status *make_room(cg_frame *f, const cg_plan_step *s, int64_t n) {
  const cg_view *y = f->views + s->n_in;
  int64_t size[CG_PLAN_MAX_RANK + 1];
  for (uint32_t i = 0; i < s->n_out; i++) {
    size[0] = n;
    if (y[i].kind != CG_V_TENSOR) continue;
    if (y[i].rank) memcpy(size + 1, y[i].size, y[i].rank * sizeof *size);
    cg_bind_sizes(f, s, i, i < s->n_carried ? y[i].size : size);
  }
  for (uint32_t i = s->n_carried; i < s->n_out; i++) {
    cierge_status *st = y[i].kind == CG_V_TENSOR ? cg_resize(f, s->out[i]) : NULL;
    if (!st && y[i].kind == CG_V_TENSOR) st = cg_ensure(f, s->out[i]);
    if (st) return st;
  }
  return NULL;
}

// What iteration k gave for each stacked result goes to its place.
static cierge_status *stack(cg_frame *f, const cg_plan_step *s, int64_t n, int64_t k) {
  const cg_plan_fn *body = f->c->p->plan->fn[s->fn[0]];
  cg_view *y = f->views + s->n_in;
  cierge_status *st = views(&f->c->frame[s->fn[0]], body->result, body->n_results, y);
  if (!st && !k) st = make_room(f, s, n);
  for (uint32_t i = s->n_carried; i < s->n_out && !st; i++) {
    if (y[i].kind != CG_V_TENSOR) continue;
    const int64_t *size = f->slot[s->out[i]].size;
    if (size[0] != n || !cg_same_sizes(size + 1, y[i].size, y[i].rank))
      st = cg_step_error(f, s->site, CIERGE_RUN_ERROR, "an iteration gave a result of another shape than the program was compiled for");
    else if (y[i].bytes)
      memcpy((char *)cg_data(f, s->out[i]) + (uint64_t)k * y[i].bytes, y[i].data, y[i].bytes);
  }
  return st;
}

cierge_status *cg_run_scan(cg_frame *f, const cg_plan_step *s, uint32_t loop) {
  cg_loop *l = &f->loop[loop];
  int64_t n = 0;
  cierge_status *st = views(f, s->in, s->n_in, f->views);
  if (!st) st = length_of(f, s, &n);
  if (st) return st;
  memcpy(l->value, f->views, s->n_in * sizeof *l->value);
  for (int64_t k = 0; k < n && !st; k++) {
    for (uint32_t i = s->n_carried; i < s->n_carried + s->n_scanned; i++) slice(&f->views[i], n, k, &l->value[i]);
    st = call(f, s->fn[0], l->value);
    if (!st) st = stack(f, s, n, k);
    if (!st) st = carry(f, s, s->fn[0], l, (int)(k & 1));
  }
  return st ? st : store(f, s, l->value, s->n_carried);
}
