// State that nobody reads any more is written where it lies: a kernel's result that is to be the state's new value becomes the state's
// own memory, and nothing is copied at the end of the call. A cache of thousands of rows then takes the time of the one row that is new.
//
// That needs all of: one kernel makes the value, and either begins it as a copy of the state or cannot fail half way; every other step
// that reads the old value comes before that kernel, and keeps no pointer to it; no output, other update or other function reads it.
#include <math.h>
#include <string.h>

#include "compile/compile.h"

typedef struct {
  cg_emitter *e;
  const cg_plan_fn *f;
} view;

// The value whose memory v is; *all: from its beginning.
static uint32_t root(const cg_plan_fn *f, uint32_t v, bool *all) {
  *all = true;
  for (; f->value[v].kind == CG_V_TENSOR && f->value[v].storage == CG_ST_ALIAS; v = f->value[v].of) *all &= f->value[v].offset_expr < 0;
  return v;
}

static bool lies_in(const cg_plan_fn *f, uint32_t v, uint32_t memory) {
  bool all;
  return f->value[v].kind == CG_V_TENSOR && root(f, v, &all) == memory;
}

// Bytes of a tensor of fixed sizes in C order; -1: it is none.
static int64_t bytes(const cg_plan_fn *f, const cg_plan_value *v) {
  int64_t n = (int64_t)cg_dtypes[v->dtype].size, stride = 1;
  for (uint32_t d = v->rank; d-- > 0;) {
    const cg_plan_expr *x = &f->expr[v->dim[d]];
    if (x->n != 1 || x->item[0].op != CG_E_INT || __builtin_mul_overflow(n, x->item[0].arg, &n)) return -1;
    if (v->stride && x->item[0].arg != 1 && v->stride[d] != stride) return -1;
    stride *= x->item[0].arg;
  }
  return n;
}

// The one step that writes to `memory`, a kernel; -1: there is none such.
static int64_t writer(const cg_plan_fn *f, uint32_t memory) {
  int64_t found = -1;
  for (uint32_t i = 0; i < f->n_steps; i++)
    for (uint32_t k = 0; k < f->step[i].n_out; k++) {
      if (!lies_in(f, f->step[i].out[k], memory)) continue;
      if (found >= 0 || f->step[i].kind != CG_STEP_KERNEL || f->step[i].out[k] != memory) return -1;
      found = i;
    }
  return found;
}

// Whether the kernel that makes `value` may write it over `state`. *of: its operand that is the state, which it begins as a copy of;
// -1: none is, and the kernel cannot fail.
static bool may_lie_over(const view *x, uint32_t value, uint32_t state, int64_t *of) {
  bool sure = false, all;
  *of = -1;
  for (int i = 0; i < x->e->over.n; i++) {
    const cg_emit_place_over *o = &x->e->over.at[i];
    if (o->fn != x->f || o->value != value) continue;
    if (o->of < 0) sure = true;
    else if (root(x->f, (uint32_t)o->of, &all) == state && all) *of = o->of;
  }
  return sure || *of >= 0;
}

// Whether step i reads `state` in a way that is over when it ends.
static bool read_by(const cg_plan_fn *f, uint32_t i, uint32_t state, int64_t but, bool *harmless) {
  const cg_plan_step *s = &f->step[i];
  bool reads = false;
  for (uint32_t k = 0; k < s->n_in; k++) reads |= (int64_t)s->in[k] != but && lies_in(f, s->in[k], state);
  *harmless = s->kind == CG_STEP_KERNEL || s->kind == CG_STEP_COPY || s->kind == CG_STEP_ITEM || s->kind == CG_STEP_ASSERT;
  return reads;
}

static bool nobody_reads(const view *x, uint32_t state, int64_t from, int64_t of, const cg_plan_update *mine) {
  const cg_plan_fn *f = x->f;
  bool harmless;
  for (uint32_t i = 0; i < f->n_steps; i++)
    if (read_by(f, i, state, i == from ? of : -1, &harmless) && (i >= from || !harmless)) return false;
  for (uint32_t i = 0; i < f->n_results; i++)
    if (lies_in(f, f->result[i], state)) return false;
  for (uint32_t i = 0; i < f->n_updates; i++)
    if (&f->update[i] != mine && (lies_in(f, f->update[i].value, state) || f->update[i].target == state)) return false;
  for (uint32_t k = 0; k < x->e->plan->n_fns; k++) {
    const cg_plan_fn *g = x->e->plan->fn[k];
    for (uint32_t i = 0; g != f && i < g->n_values; i++)
      if (g->value[i].kind == CG_V_TENSOR && g->value[i].storage == CG_ST_STATE && g->value[i].index == f->value[state].index) return false;
  }
  return true;
}

// ---------------------------------------------------------------- what may be among its elements

static double element(const cg_constant *c, uint64_t i) {
  float f = 0;
  double d = 0;
  uint16_t h;
  const uint8_t *p = c->data + i * cg_dtypes[c->type.dtype].size;
  switch (c->type.dtype) {
  case CG_F64: memcpy(&d, p, 8); return d;
  case CG_F32: memcpy(&f, p, 4); return f;
  case CG_F16: memcpy(&h, p, 2); return (h & 0x7C00) == 0x7C00 ? INFINITY : 0; // 65504 is the largest
  case CG_BF16: {
    memcpy(&h, p, 2);
    uint32_t bits = (uint32_t)h << 16;
    memcpy(&f, &bits, 4);
    return f;
  }
  default: return 0;
  }
}

static bool may_be_wild(const cg_constant *c) {
  for (uint64_t i = 0; c->data && i < c->size / cg_dtypes[c->type.dtype].size; i++)
    if (!(fabs(element(c, i)) <= CG_EMIT_TAME)) return true;
  return false;
}

// A word of state that says so, kept by the kernel that writes to the state; all who asked for it get it.
static void keep_word(const view *x, uint32_t state, uint32_t made, const cg_constant *c) {
  cg_emitter *e = x->e;
  cg_plan_fn *f = (cg_plan_fn *)(uintptr_t)x->f;
  bool kept = false, all;
  for (int i = 0; i < e->wild.n; i++) kept |= e->wild.at[i].fn == f && e->wild.at[i].writes && e->wild.at[i].of == made;
  if (!kept) return;
  int64_t *word = CG_NEW(e->s, int64_t);
  *word = may_be_wild(c);
  int made_now = cg_emit_constant(e, "", CG_I64, 0, NULL, word, sizeof *word);
  cg_plan_value slot = f->value[made_now];
  slot.storage = CG_ST_STATE, slot.index = e->plan->n_states++;
  for (int i = 0; i < e->wild.n; i++)
    if (e->wild.at[i].fn == f && root(f, e->wild.at[i].of, &all) == state) f->value[e->wild.at[i].flag] = slot;
}

// ---------------------------------------------------------------- one update

static void place(const view *x, const cg_plan_update *u, const cg_constant *c) {
  const cg_plan_fn *f = x->f;
  bool all;
  uint32_t state = u->target, made = root(f, u->value, &all);
  int64_t of, size = bytes(f, &f->value[state]), from = writer(f, made);
  if (f->value[state].storage != CG_ST_STATE || f->value[made].storage != CG_ST_ARENA || !all || made < state) return;
  if (size < 0 || bytes(f, &f->value[made]) != size || from < 0) return;
  if (!may_lie_over(x, made, state, &of) || !nobody_reads(x, state, from, of, u)) return;
  f->value[made].storage = CG_ST_ALIAS;
  f->value[made].of = state;
  f->value[made].offset_expr = -1;
  if (of >= 0) keep_word(x, state, made, c);
}

void cg_emit_in_place(cg_emitter *e, cg_plan_fn *f) {
  view x = {e, f};
  for (uint32_t i = 0; i < f->n_updates; i++) place(&x, &f->update[i], e->m->main->update.at[i].target->constant);
}
