// The values of one function in one context: sizes from symbols, memory for what is late, access to values.
#include <stdio.h>
#include <string.h>

#include "runtime/runtime.h"

// ---------------------------------------------------------------- buffers

bool cg_buffer_need(cg_buffer *b, uint64_t size) {
  if (b->at && b->size >= size) return true;
  void *at = cg_heap_aligned(64, size ? (size_t)size : 1);
  if (!at) return false;
  cg_heap_free(b->at);
  *b = (cg_buffer){at, size};
  return true;
}

void cg_buffer_free(cg_buffer *b) {
  cg_heap_free(b->at);
  *b = (cg_buffer){0};
}

// ---------------------------------------------------------------- making and freeing

static bool make_loops(cg_frame *f, cg_pool *pool) {
  const cg_fn_info *fn = f->fn;
  f->loop = cg_pool_alloc(pool, fn->n_loops, sizeof *f->loop);
  for (uint32_t i = 0; f->loop && i < fn->plan->n_steps; i++) {
    const cg_plan_step *s = &fn->plan->step[i];
    if (!cg_is_loop(s)) continue;
    cg_loop *l = &f->loop[fn->loop_at[i]];
    l->value = cg_pool_alloc(pool, s->n_in, sizeof *l->value);
    l->buffer[0] = cg_pool_alloc(pool, s->n_carried, sizeof *l->buffer[0]);
    l->buffer[1] = cg_pool_alloc(pool, s->n_carried, sizeof *l->buffer[1]);
    l->sizes = cg_pool_alloc(pool, s->n_carried, CG_PLAN_MAX_RANK * sizeof *l->sizes);
    if (!l->value || !l->buffer[0] || !l->buffer[1] || !l->sizes) return false;
  }
  return f->loop != NULL;
}

static void place_constants(cg_frame *f) {
  const cg_plan_fn *plan = f->fn->plan;
  const cierge_program *p = f->c->p;
  for (uint32_t i = 0; i < plan->n_values; i++) {
    const cg_plan_value *v = &plan->value[i];
    cg_slot *s = &f->slot[i];
    s->size = f->sizes + f->fn->value[i].size_at;
    if (v->kind == CG_V_TENSOR && v->storage == CG_ST_CONST) s->data = (void *)(p->weights + v->offset);
    if (v->kind == CG_V_TENSOR && v->storage == CG_ST_STATE) s->data = f->c->state[v->index].at;
    if (v->kind == CG_V_FLOAT && v->storage == CG_ST_CONST) memcpy(&s->f, p->weights + v->offset, 8);
  }
}

cierge_status *cg_frame_init(cg_frame *f, cierge_context *c, const cg_fn_info *fn, bool profile) {
  const cg_plan_fn *plan = fn->plan;
  cg_pool *pool = &c->pool;
  f->c = c;
  f->fn = fn;
  f->slot = cg_pool_alloc(pool, plan->n_values, sizeof *f->slot);
  f->sizes = cg_pool_alloc(pool, fn->n_sizes, sizeof *f->sizes);
  f->params = cg_pool_alloc(pool, fn->n_params, sizeof *f->params);
  f->pointers = cg_pool_alloc(pool, fn->max_operands, sizeof *f->pointers);
  f->torch_value = cg_pool_alloc(pool, fn->n_torch_values, sizeof *f->torch_value);
  f->views = cg_pool_alloc(pool, fn->max_operands, sizeof *f->views);
  f->order = cg_pool_alloc(pool, (size_t)fn->n_planned * 2, sizeof *f->order);
  f->place = cg_pool_alloc(pool, fn->n_planned, sizeof *f->place);
  f->saved = cg_pool_alloc(pool, plan->n_updates, sizeof *f->saved);
  if (profile) {
    f->ns = cg_pool_alloc(pool, plan->n_steps, sizeof *f->ns);
    f->calls = cg_pool_alloc(pool, plan->n_steps, sizeof *f->calls);
    if (!f->ns || !f->calls) return cg_no_memory();
  }
  if (!f->slot || !f->sizes || !f->params || !f->pointers || !f->torch_value || !f->views || !f->order || !f->place || !f->saved ||
      !make_loops(f, pool))
    return cg_no_memory();
  place_constants(f);
  cg_torch_values_make(f);
  return NULL;
}

void cg_release(cg_frame *f, uint32_t from, uint32_t to) {
  for (uint32_t i = f->fn->release_at[from]; i < f->fn->release_at[to]; i++) {
    cg_slot *s = &f->slot[f->fn->release[i]];
    if (s->handle && s->owned) f->c->p->torch->tensor_free(s->handle);
    s->handle = NULL;
    s->owned = false;
  }
}

void cg_frame_drop_tensors(cg_frame *f) {
  if (f->c && f->c->p->torch) cg_release(f, 0, f->fn->plan->n_steps + 1);
}

void cg_frame_free(cg_frame *f) {
  if (!f->fn) return;
  if (f->slot) {
    cg_frame_drop_tensors(f);
    for (uint32_t i = 0; i < f->fn->plan->n_values; i++) cg_buffer_free(&f->slot[i].own);
  }
  for (uint32_t i = 0; f->loop && i < f->fn->plan->n_steps; i++) {
    const cg_plan_step *s = &f->fn->plan->step[i];
    if (!cg_is_loop(s)) continue;
    cg_loop *l = &f->loop[f->fn->loop_at[i]];
    for (int side = 0; side < 2; side++)
      for (uint32_t k = 0; l->buffer[side] && k < s->n_carried; k++) cg_buffer_free(&l->buffer[side][k]);
  }
  for (uint32_t i = 0; f->saved && i < f->fn->plan->n_updates; i++) cg_buffer_free(&f->saved[i]);
  cg_buffer_free(&f->arena);
}

// ---------------------------------------------------------------- expressions

bool cg_eval(const cg_frame *f, uint32_t expr, int64_t *out) {
  const cg_plan_expr *x = &f->fn->plan->expr[expr];
  int64_t st[CG_PLAN_MAX_STACK], *top = st; // top: behind the last
  for (uint32_t i = 0; i < x->n; i++) {
    const cg_plan_expr_item *t = &x->item[i];
    if (t->op == CG_X_INT) *top++ = t->arg;
    else if (t->op == CG_X_SYM) *top++ = f->slot[t->arg].i;
    else if (t->op == CG_X_NOT) top[-1] = !top[-1];
    else if (t->op == CG_X_WHERE) {
      top -= 2;
      top[-1] = top[-1] ? top[0] : top[1];
    } else {
      top--;
      if (!cg_x_apply(t->op, top[-1], top[0], &top[-1])) return false;
    }
  }
  *out = st[0];
  return true;
}

// What the program says of sizes comes first: "expects a size that is not 0", at its place.
static cierge_status *broken_assert(const cg_frame *f) {
  const cg_plan_fn *plan = f->fn->plan;
  for (uint32_t i = 0; i < plan->n_steps; i++) {
    const cg_plan_step *s = &plan->step[i];
    if (s->kind != CG_STEP_ASSERT || f->fn->value[s->in[0]].late) continue;
    int64_t holds;
    int32_t e = plan->value[s->in[0]].expr;
    if (e >= 0 && cg_eval(f, (uint32_t)e, &holds) && !holds) return cg_step_error(f, s->site, CIERGE_RUN_ERROR, s->text);
  }
  return NULL;
}

static cierge_status *size_error(const cg_frame *f, uint32_t v) {
  const cg_plan_fn *plan = f->fn->plan;
  const cg_plan *p = f->c->p->plan;
  cierge_status *st = broken_assert(f);
  if (st) return st;
  char text[400];
  int at = snprintf(text, sizeof text, "the size of %s%.100s is negative, too large or divides by zero", *plan->value[v].name ? "value " : "a value", plan->value[v].name);
  for (uint32_t k = 0; f == f->c->frame && k < p->n_symbols && at < (int)sizeof text; k++)
    at += snprintf(text + at, sizeof text - (size_t)at, "%s%.40s = %lld", k ? ", " : ", with ", p->symbol[k].name, (long long)f->slot[p->symbol[k].value].i);
  for (uint32_t i = 0; i < plan->n_steps; i++)
    for (uint32_t k = 0; k < plan->step[i].n_out; k++)
      if (plan->step[i].out[k] == v) return cg_step_error(f, plan->step[i].site, CIERGE_RUN_ERROR, text);
  return cg_status_new(CIERGE_RUN_ERROR, text);
}

// ---------------------------------------------------------------- sizes

// Sizes and bytes of tensor v; aliases: their place, within what they are a part of.
static cierge_status *size_up(cg_frame *f, uint32_t v, bool *changed) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  cg_slot *s = &f->slot[v];
  for (uint32_t d = 0; d < x->rank; d++) {
    int64_t n;
    if (!cg_eval(f, x->dim[d], &n)) return size_error(f, v);
    if (n != s->size[d]) *changed = true;
    s->size[d] = n;
  }
  if (!cg_tensor_bytes(s->size, x->rank, cg_dtypes[x->dtype].size, &s->bytes)) return size_error(f, v);
  if (x->storage != CG_ST_ALIAS) return NULL;
  s->i = 0;
  if (x->offset_expr >= 0 && !cg_eval(f, (uint32_t)x->offset_expr, &s->i)) return size_error(f, v);
  uint64_t whole = f->slot[x->of].bytes;
  if (!s->bytes && s->i > 0 && (uint64_t)s->i > whole) s->i = (int64_t)whole; // nothing lies there: x[1:, 1:] of one row starts behind it
  if (s->i < 0 || s->bytes > whole || (uint64_t)s->i > whole - s->bytes)
    return cg_status_format(CIERGE_INTERNAL, "value %u (%s) lies outside the value that it is a part of", v, x->name);
  return NULL;
}

// Parameters have their callers' sizes; they must be what the function expects.
static cierge_status *check_param(cg_frame *f, uint32_t v) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  cg_slot *s = &f->slot[v];
  for (uint32_t d = 0; d < x->rank; d++) {
    int64_t n;
    if (!cg_eval(f, x->dim[d], &n)) return size_error(f, v);
    if (n != s->size[d])
      return cg_status_format(CIERGE_RUN_ERROR, "%s: size of dimension %u is %lld, the program needs %lld", *x->name ? x->name : "an argument", d,
                              (long long)s->size[d], (long long)n);
  }
  return cg_tensor_bytes(s->size, x->rank, cg_dtypes[x->dtype].size, &s->bytes) ? NULL : size_error(f, v);
}

static cierge_status *early_params(cg_frame *f) {
  const cg_plan_fn *plan = f->fn->plan;
  for (uint32_t i = 0; i < plan->n_steps; i++) {
    const cg_plan_step *s = &plan->step[i];
    if (s->kind != CG_STEP_KERNEL) continue;
    for (uint32_t k = 0; k < s->n_param; k++)
      if (!f->fn->late_expr[s->param[k]] && !cg_eval(f, s->param[k], &f->params[f->fn->param_at[i] + k]))
        return cg_step_error(f, s->site, CIERGE_RUN_ERROR, "a size is too large or divides by zero");
  }
  return NULL;
}

cierge_status *cg_frame_shape(cg_frame *f) {
  const cg_plan_fn *plan = f->fn->plan;
  bool changed = !f->shaped;
  f->shaped = false;
  for (uint32_t i = 0; i < plan->n_values; i++) {
    const cg_plan_value *v = &plan->value[i];
    if (f->fn->value[i].late) continue;
    cierge_status *st = NULL;
    if (v->kind == CG_V_TENSOR) st = v->storage == CG_ST_PARAM ? check_param(f, i) : size_up(f, i, &changed);
    else if ((v->kind == CG_V_INT || v->kind == CG_V_BOOL) && v->expr >= 0 && !cg_eval(f, (uint32_t)v->expr, &f->slot[i].i)) st = size_error(f, i);
    if (st) return st;
  }
  cierge_status *st = early_params(f);
  if (!st && changed) st = cg_arena_plan(f);
  f->shaped = !st;
  return st;
}

cierge_status *cg_resize_late(cg_frame *f, uint32_t v) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  if (x->kind != CG_V_TENSOR) return NULL;
  bool changed;
  if (x->storage == CG_ST_ALIAS) { // what it is a part of may be late as well
    cierge_status *st = cg_resize(f, x->of);
    if (st) return st;
  }
  return size_up(f, v, &changed);
}

cierge_status *cg_ensure(cg_frame *f, uint32_t v) {
  uint32_t root = f->fn->value[v].root;
  cg_slot *s = &f->slot[root];
  if (!f->fn->value[root].late || f->fn->plan->value[root].storage != CG_ST_ARENA) return NULL;
  if (!cg_buffer_need(&s->own, s->bytes)) return cg_no_memory();
  s->data = s->own.at;
  return NULL;
}

// ---------------------------------------------------------------- access

cierge_status *cg_integer(cg_frame *f, uint32_t v, int64_t *out) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  if (x->expr >= 0 && f->fn->value[v].late && !cg_eval(f, (uint32_t)x->expr, &f->slot[v].i)) return size_error(f, v);
  *out = f->slot[v].i;
  return NULL;
}

cierge_status *cg_scalar_of(cg_frame *f, uint32_t v, cg_scalar *out) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  *out = (cg_scalar){.kind = x->kind == CG_V_FLOAT ? CG_SC_FLOAT : x->kind == CG_V_BOOL ? CG_SC_BOOL : CG_SC_INT, .f = f->slot[v].f};
  return x->kind == CG_V_FLOAT ? NULL : cg_integer(f, v, &out->i);
}

void cg_scalar_set(cg_frame *f, uint32_t v, const cg_scalar *s) {
  cg_slot *slot = &f->slot[v];
  bool real = s->kind == CG_SC_FLOAT;
  switch (f->fn->plan->value[v].kind) {
  case CG_V_FLOAT: slot->f = real ? s->f : (double)s->i; break;
  case CG_V_BOOL: slot->i = real ? s->f != 0 : s->i != 0; break;
  case CG_V_INT: slot->i = real ? cg_int_of_double(s->f) : s->i; break;
  default: break;
  }
}

// A constant or state that is not in C order, copied into it.
static void *in_c_order(cg_frame *f, uint32_t v) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  cg_slot *s = &f->slot[v];
  if (x->storage == CG_ST_CONST && s->own.at) return s->own.at; // it does not change
  if (!cg_buffer_need(&s->own, s->bytes)) return NULL;
  cg_copy_strided(s->own.at, NULL, s->data, x->stride, s->size, x->rank, cg_dtypes[x->dtype].size);
  return s->own.at;
}

cierge_status *cg_view_of(cg_frame *f, uint32_t v, cg_view *out) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  cg_slot *s = &f->slot[v];
  *out = (cg_view){.kind = x->kind, .dtype = x->dtype, .rank = x->rank};
  if (x->kind == CG_V_INT || x->kind == CG_V_BOOL) return cg_integer(f, v, &out->i);
  if (x->kind == CG_V_FLOAT) out->f = s->f;
  if (x->kind != CG_V_TENSOR) return NULL;
  if (x->storage == CG_ST_ALIAS) {
    cierge_status *st = cg_resize(f, v);
    if (st) return st;
  }
  out->data = f->fn->value[v].strided ? in_c_order(f, v) : cg_data(f, v);
  out->size = s->size;
  out->bytes = s->bytes;
  out->handle = x->storage == CG_ST_ALIAS ? NULL : s->handle;
  return out->data || !out->bytes ? NULL : cg_no_memory();
}
