// Runs a function's steps, one after the other.
#include <stdio.h>
#include <string.h>

#include "runtime/runtime.h"

// "model.py:12: aten::embedding (node embedding_3): text", as far as the place is known.
cierge_status *cg_step_error(const cg_frame *f, uint32_t site, cierge_code code, const char *text) {
  const cg_plan *p = f->c->p->plan;
  static const cg_plan_site nowhere = {"", "", "", 0, ""};
  const cg_plan_site *s = site < p->n_sites ? &p->site[site] : &nowhere;
  char line[16] = "";
  if (s->line) snprintf(line, sizeof line, ":%u", s->line);
  bool op = *s->op, node = *s->node;
  return cg_status_format(code, "%s%s%s%s%s%s%s%s%s", s->file, *s->file ? line : "", *s->file ? ": " : "", s->op, node ? (op ? " (node " : "node ") : "", s->node,
                          node && op ? ")" : "", op || node ? ": " : "", text);
}

void cg_bind_sizes(cg_frame *f, const cg_plan_step *s, uint32_t out, const int64_t *size) {
  for (uint32_t i = 0; i < s->n_bind; i++)
    if (s->bind[i].out == out) f->slot[s->bind[i].symbol].i = size[s->bind[i].dim];
}

// ---------------------------------------------------------------- kernels

static cierge_status *kernel_error(const cg_frame *f, const cg_plan_step *s, int code, const int64_t *detail) {
  char text[160];
  uint32_t site = detail[2] >= 0 && detail[2] < f->c->p->plan->n_sites ? (uint32_t)detail[2] : s->site;
  switch (code) {
  case CG_KERNEL_INDEX:
    snprintf(text, sizeof text, "index %lld is out of range for a dimension of size %lld", (long long)detail[0], (long long)detail[1]);
    break;
  case CG_KERNEL_DIV_ZERO: snprintf(text, sizeof text, "integer division by zero"); break;
  case CG_KERNEL_DIV_OVERFLOW: snprintf(text, sizeof text, "the quotient of an integer division does not fit"); break;
  case CG_KERNEL_NO_MEMORY: return cg_step_error(f, site, CIERGE_NO_MEMORY, "out of memory");
  default: snprintf(text, sizeof text, "the kernel failed with code %d", code);
  }
  return cg_step_error(f, site, CIERGE_RUN_ERROR, text);
}

// The address of an operand; scalars are passed by the address of their number.
static cierge_status *operand(cg_frame *f, uint32_t v, bool out, void **p) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  cierge_status *st = NULL;
  int64_t n;
  if (x->kind == CG_V_TENSOR) {
    if (f->fn->value[v].late && (out || x->storage == CG_ST_ALIAS)) {
      st = cg_resize(f, v); // of what it is a part of, too
      if (!st && out) st = cg_ensure(f, v);
    }
    *p = st ? NULL : cg_data(f, v);
  } else if (x->kind == CG_V_FLOAT) {
    *p = &f->slot[v].f;
  } else {
    if (x->kind != CG_V_NONE) st = cg_integer(f, v, &n);
    *p = x->kind == CG_V_NONE ? NULL : (void *)&f->slot[v].i;
  }
  return st;
}

// Scratch is named among the inputs, and nobody wrote it before.
static bool is_scratch(const cg_frame *f, uint32_t v, uint32_t step) { return f->fn->value[f->fn->value[v].root].first == step; }

static cierge_status *run_kernel(cg_frame *f, const cg_plan_step *s, uint32_t step) {
  void **p = f->pointers;
  int64_t *param = f->params + f->fn->param_at[step], detail[4] = {0, 0, s->site, 0};
  for (uint32_t i = 0; i < s->n_param; i++)
    if (f->fn->late_expr[s->param[i]] && !cg_eval(f, s->param[i], &param[i]))
      return cg_step_error(f, s->site, CIERGE_RUN_ERROR, "a size is too large or divides by zero");
  for (uint32_t i = 0; i < s->n_out; i++) {
    cierge_status *st = operand(f, s->out[i], true, &p[i]);
    if (st) return st;
  }
  for (uint32_t i = 0; i < s->n_in; i++) {
    cierge_status *st = operand(f, s->in[i], is_scratch(f, s->in[i], step), &p[s->n_out + i]);
    if (st) return st;
  }
  int code = f->c->p->kernel[s->kernel](p, param, cg_kernel_threads(f->c), detail);
  return code ? kernel_error(f, s, code, detail) : NULL;
}

// ---------------------------------------------------------------- small steps

static cierge_status *run_scalar(cg_frame *f, const cg_plan_step *s) {
  cg_scalar arg[3], out;
  for (uint32_t i = 0; i < s->n_in; i++) {
    cierge_status *st = cg_scalar_of(f, s->in[i], &arg[i]);
    if (st) return st;
  }
  const char *why = cg_scalar_eval((cg_scalar_op)s->kernel, arg, &out);
  if (why) return cg_step_error(f, s->site, CIERGE_RUN_ERROR, why);
  cg_scalar_set(f, s->out[0], &out);
  return NULL;
}

static cierge_status *run_item(cg_frame *f, const cg_plan_step *s) {
  cg_view v;
  cg_scalar n;
  cierge_status *st = cg_view_of(f, s->in[0], &v);
  if (st) return st;
  if (v.bytes != cg_dtypes[v.dtype].size) return cg_step_error(f, s->site, CIERGE_RUN_ERROR, "item() of a tensor that has not exactly one element");
  cg_read_number(v.dtype, v.data, &n);
  cg_scalar_set(f, s->out[0], &n);
  return NULL;
}

static cierge_status *run_fill(cg_frame *f, const cg_plan_step *s) {
  cg_scalar n;
  void *to;
  cierge_status *st = cg_scalar_of(f, s->in[0], &n);
  if (!st) st = operand(f, s->out[0], true, &to);
  if (!st) cg_write_number(f->fn->plan->value[s->out[0]].dtype, &n, to);
  return st;
}

static cierge_status *run_copy(cg_frame *f, const cg_plan_step *s) {
  cg_view v;
  void *to;
  cierge_status *st = cg_view_of(f, s->in[0], &v);
  if (!st) st = operand(f, s->out[0], true, &to);
  if (st) return st;
  if (f->slot[s->out[0]].bytes != v.bytes) return cg_step_error(f, s->site, CIERGE_INTERNAL, "a copy between different sizes");
  if (v.bytes) memmove(to, v.data, v.bytes);
  return NULL;
}

static cierge_status *run_assert(cg_frame *f, const cg_plan_step *s) {
  cg_view v;
  cierge_status *st = cg_view_of(f, s->in[0], &v);
  if (st) return st;
  bool holds = v.kind == CG_V_TENSOR ? v.bytes == 1 && *(const uint8_t *)v.data : v.i != 0;
  return holds ? NULL : cg_step_error(f, s->site, CIERGE_RUN_ERROR, s->text);
}

// ---------------------------------------------------------------- the loop

static cierge_status *run_step(cg_frame *f, const cg_plan_step *s, uint32_t i) {
  switch (s->kind) {
  case CG_STEP_KERNEL: return run_kernel(f, s, i);
  case CG_STEP_TORCH: return cg_run_torch(f, s, f->torch_value + f->fn->torch_at[i]);
  case CG_STEP_SCALAR: return run_scalar(f, s);
  case CG_STEP_ITEM: return run_item(f, s);
  case CG_STEP_FILL: return run_fill(f, s);
  case CG_STEP_COPY: return run_copy(f, s);
  case CG_STEP_ASSERT: return run_assert(f, s);
  case CG_STEP_IF: return cg_run_if(f, s);
  case CG_STEP_WHILE: return cg_run_while(f, s, f->fn->loop_at[i]);
  case CG_STEP_SCAN: return cg_run_scan(f, s, f->fn->loop_at[i]);
  case CG_STEP_CALL: return cg_run_call(f, s);
  case CG_STEP_COUNT: break;
  }
  return cg_status_new(CIERGE_INTERNAL, "no such step");
}

static cierge_status *time_step(cg_frame *f, const cg_plan_step *s, uint32_t i) {
  cg_trace *t = f->c->trace;
  uint64_t start = cg_now();
  size_t event = t ? cg_trace_begin(t, (uint32_t)(f - f->c->frame), i, start) : 0;
  cierge_status *st = run_step(f, s, i);
  uint64_t end = cg_now();
  f->ns[i] += end - start, f->calls[i]++;
  cierge_status *lost = t ? cg_trace_end(t, event, f, end) : NULL;
  if (!st) return lost;
  cierge_status_free(lost);
  return st;
}

cierge_status *cg_run_steps(cg_frame *f) {
  const cg_plan_fn *plan = f->fn->plan;
  for (uint32_t i = 0; i < plan->n_steps; i++) {
    cg_arena_watch(f, i);
    cierge_status *st = f->ns ? time_step(f, &plan->step[i], i) : run_step(f, &plan->step[i], i);
    if (st) return st;
    if (f->fn->release_at[i] < f->fn->release_at[i + 1]) cg_release(f, i, i + 1);
  }
  cg_arena_watch(f, plan->n_steps);
  return NULL;
}
