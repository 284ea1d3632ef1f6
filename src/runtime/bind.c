// The user's inputs: what is lent is checked when it is set; when the program runs, symbols are solved from the sizes.
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "runtime/runtime.h"

// ---------------------------------------------------------------- which size says what a symbol is

// factor * symbol + offset, while walking over an expression.
typedef struct {
  int64_t factor, offset, symbol; // symbol -1: none
  bool linear;
} line;

static line combine(cg_expr_kind op, line a, line b) {
  line r = {.symbol = a.symbol >= 0 ? a.symbol : b.symbol, .linear = a.linear && b.linear};
  if (op == CG_X_ADD) {
    if (a.symbol >= 0 && b.symbol >= 0 && a.symbol != b.symbol) r.linear = false;
    if (__builtin_add_overflow(a.factor, b.factor, &r.factor) || __builtin_add_overflow(a.offset, b.offset, &r.offset)) r.linear = false;
  } else if (op == CG_X_MUL && (a.symbol < 0 || b.symbol < 0)) {
    int64_t by = a.symbol < 0 ? a.offset : b.offset;
    line x = a.symbol < 0 ? b : a;
    if (__builtin_mul_overflow(x.factor, by, &r.factor) || __builtin_mul_overflow(x.offset, by, &r.offset)) r.linear = false;
  } else {
    r.linear = false;
  }
  return r;
}

static line line_of(const cg_plan_expr *x) {
  line st[CG_PLAN_MAX_STACK], *top = st;
  for (uint32_t i = 0; i < x->n; i++) {
    const cg_plan_expr_item *t = &x->item[i];
    if (t->op == CG_X_INT) *top++ = (line){0, t->arg, -1, true};
    else if (t->op == CG_X_SYM) *top++ = (line){1, 0, t->arg, true};
    else if (t->op == CG_X_NOT) top[-1].linear = false;
    else if (t->op == CG_X_WHERE) top -= 2, top[-1].linear = false;
    else top--, top[-1] = combine(t->op, top[-1], top[0]);
  }
  return st[0];
}

static bool solve_from(const cg_plan_fn *f, uint32_t symbol, uint32_t param, cg_solution *out, bool plain) {
  const cg_plan_value *v = &f->value[f->param[param]];
  for (uint32_t d = 0; v->kind == CG_V_TENSOR && d < v->rank; d++) {
    line l = line_of(&f->expr[v->dim[d]]);
    if (!l.linear || l.symbol != symbol || !l.factor || (plain && (l.factor != 1 || l.offset))) continue;
    *out = (cg_solution){param, d, l.factor, l.offset};
    return true;
  }
  return false;
}

bool cg_solutions_make(cierge_program *p, cg_failure *f) {
  const cg_plan *plan = p->plan;
  p->solution = cg_pool_alloc(&p->pool, plan->n_symbols, sizeof *p->solution);
  if (!p->solution) {
    *f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
    return false;
  }
  for (uint32_t i = 0; i < plan->n_symbols; i++) {
    bool found = false;
    for (int plain = 1; plain >= 0 && !found; plain--)
      for (uint32_t k = 0; k < plan->fn[0]->n_params && !found; k++)
        found = solve_from(plan->fn[0], plan->symbol[i].value, k, &p->solution[i], plain);
    if (found) continue;
    f->code = CIERGE_BAD_ARTIFACT;
    snprintf(f->text, sizeof f->text, "section plan: no input's size says what %.200s is", plan->symbol[i].name);
    return false;
  }
  return true;
}

// ---------------------------------------------------------------- setting an input

static void found_text(char *buf, size_t n, const DLTensor *t) {
  int d = t->dtype.lanes == 1 ? cg_dtype_by_dlpack(t->dtype.code, t->dtype.bits) : -1;
  if (d >= 0 && t->ndim >= 0 && t->ndim <= CG_PLAN_MAX_RANK && (t->shape || !t->ndim)) cg_type_text(buf, n, (uint8_t)d, (uint32_t)t->ndim, t->shape, NULL);
  else snprintf(buf, n, "DLPack type %d of %d bits and %d lanes, rank %d", t->dtype.code, t->dtype.bits, t->dtype.lanes, t->ndim);
}

static cierge_status *refuse(const char *what, const cierge_spec *spec, const DLTensor *t, const char *more) {
  char expected[1024], found[1024];
  int d = cg_dtype_by_torch_name(spec->dtype);
  cg_type_text(expected, sizeof expected, (uint8_t)d, (uint32_t)spec->rank, NULL, spec->dims);
  found_text(found, sizeof found, t);
  return cg_status_format(CIERGE_BAD_INPUT, "%s %s: expected %s%s, found %s", what, spec->name, expected, more, found);
}

cierge_status *cg_check_tensor(const char *what, const cierge_spec *spec, const DLTensor *t) {
  if (t->device.device_type != kDLCPU) return cg_status_format(CIERGE_BAD_INPUT, "%s %s: the tensor is not on the CPU", what, spec->name);
  if (t->dtype.code != spec->dl_dtype.code || t->dtype.bits != spec->dl_dtype.bits || t->dtype.lanes != 1 || t->ndim != spec->rank || (t->ndim && !t->shape))
    return refuse(what, spec, t, "");
  uint64_t bytes;
  for (int d = 0; d < t->ndim; d++)
    if (t->shape[d] < 0 || (spec->sizes[d] >= 0 && spec->sizes[d] != t->shape[d])) return refuse(what, spec, t, "");
  if (!cg_tensor_bytes(t->shape, (uint32_t)t->ndim, (t->dtype.bits + 7u) / 8, &bytes)) return refuse(what, spec, t, "");
  if (bytes && !t->data) return cg_status_format(CIERGE_BAD_INPUT, "%s %s: the tensor has no data", what, spec->name);
  return NULL;
}

// Elements that share memory cannot all take a new value.
static bool writable(const DLTensor *t) {
  for (int d = 0; t->strides && d < t->ndim; d++)
    if (t->shape[d] > 1 && !t->strides[d]) return false;
  return true;
}

// A recorded constant may be given if it says the same.
static cierge_status *check_constant(const cg_plan_input *in, const cierge_spec *spec, const DLTensor *t) {
  bool same = false;
  if (in->constant_kind == CIERGE_KIND_INT || in->constant_kind == CIERGE_KIND_FLOAT || in->constant_kind == CIERGE_KIND_BOOL) {
    cierge_status *st = cg_check_tensor("input", spec, t);
    if (st) return st;
    cg_scalar n;
    cg_read_number(in->dtype, (const char *)t->data + t->byte_offset, &n);
    double c = in->constant_float;
    same = in->constant_kind == CIERGE_KIND_FLOAT ? n.f == c || (n.f != n.f && c != c) : n.i == in->constant_int;
  }
  return same ? NULL : cg_status_format(CIERGE_BAD_INPUT, "input %s is the constant %s of the exported program; something else was given", spec->name, in->constant);
}

static cierge_status *set(cierge_context *c, size_t i, const DLTensor *t, uint32_t flags) {
  const cg_plan *plan = c->p->plan;
  if (i >= plan->n_inputs) return cg_status_format(CIERGE_USAGE, "cierge_input_set: there is no input %zu, the program has %u", i, plan->n_inputs);
  if (flags & ~(uint32_t)CIERGE_READ_ONLY) return cg_status_format(CIERGE_USAGE, "cierge_input_set: flags %#x are not known", flags);
  const cg_plan_input *in = &plan->input[i];
  const cierge_spec *spec = &c->p->input[i];
  cg_given *g = &c->given[i];
  c->bound = false;
  if (!t) {
    g->set = false;
    return NULL;
  }
  if (in->param < 0) return check_constant(in, spec, t);
  cierge_status *st = cg_check_tensor("input", spec, t);
  if (st) return st;
  if (in->mutated && flags & CIERGE_READ_ONLY) return cg_status_format(CIERGE_BAD_INPUT, "input %s is read-only, and the program writes to it", spec->name);
  if (in->mutated && !writable(t)) return cg_status_format(CIERGE_BAD_INPUT, "input %s has a stride of 0, and the program writes to it", spec->name);
  g->set = true;
  g->t = *t;
  return NULL;
}

cierge_status *cierge_input_set(cierge_context *c, size_t i, const DLTensor *t, uint32_t flags) {
  cierge_status *st = cg_enter(c, "cierge_input_set");
  if (st) return st;
  st = set(c, i, t, flags);
  cg_leave(c);
  return st;
}

// ---------------------------------------------------------------- a call

// The first input from *i on that is a parameter of the program: its value, of which *v is the number. NULL: none is left.
static const cg_plan_value *param_from(const cierge_context *c, uint32_t *i, uint32_t *v) {
  const cg_plan *plan = c->p->plan;
  const cg_plan_fn *f = plan->fn[0];
  while (*i < plan->n_inputs && plan->input[*i].param < 0) ++*i;
  if (*i == plan->n_inputs) return NULL;
  *v = f->param[plan->input[*i].param];
  return &f->value[*v];
}

static void range_text(char *buf, size_t n, int64_t lo, int64_t hi) {
  if (hi == INT64_MAX) snprintf(buf, n, "at least %lld", (long long)lo);
  else snprintf(buf, n, "from %lld to %lld", (long long)lo, (long long)hi);
}

// Numbers first: sizes may depend on them. *same is cleared where the last call's sizes are not this call's.
static cierge_status *take_numbers(cierge_context *c, bool *same) {
  cg_frame *f = &c->frame[0];
  const cg_plan_value *x;
  for (uint32_t i = 0, v; (x = param_from(c, &i, &v)); i++) {
    const cg_plan_input *in = &c->p->plan->input[i];
    const cg_given *g = &c->given[i];
    if (!g->set) return cg_status_format(CIERGE_BAD_INPUT, "input %s is missing", in->name);
    if (x->kind == CG_V_TENSOR) {
      if (*same && !cg_same_sizes(f->slot[v].size, g->t.shape, x->rank)) *same = false;
      continue;
    }
    cg_scalar n;
    int64_t before = f->slot[v].i;
    cg_read_number(x->dtype, (const char *)g->t.data + g->t.byte_offset, &n);
    if (in->ranged && (n.i < in->lo || n.i > in->hi)) {
      char range[64];
      range_text(range, sizeof range, in->lo, in->hi);
      return cg_status_format(CIERGE_BAD_INPUT, "input %s is expected to be %s, found %lld", in->name, range, (long long)n.i);
    }
    cg_scalar_set(f, v, &n);
    if (f->slot[v].i != before && f->fn->shaping[v]) *same = false;
  }
  return NULL;
}

static cierge_status *solve(cierge_context *c) {
  const cg_plan *plan = c->p->plan;
  for (uint32_t i = 0; i < plan->n_symbols; i++) {
    const cg_solution *s = &c->p->solution[i];
    const cg_plan_symbol *y = &plan->symbol[i];
    uint32_t k = (uint32_t)(plan->input_of[s->param] - plan->input);
    const char *name = plan->input[k].name;
    int64_t size = c->given[k].t.shape[s->dim], rest, n;
    const char *dim = c->p->input[k].dims[s->dim];
    if (__builtin_sub_overflow(size, s->offset, &rest) || (s->factor == -1 && rest == INT64_MIN) || rest % s->factor)
      return cg_status_format(CIERGE_BAD_INPUT, "input %s: size of dimension %u is expected to be %s, found %lld", name, s->dim, dim, (long long)size);
    n = rest / s->factor;
    if (n < y->lo || n > y->hi) {
      char range[64];
      range_text(range, sizeof range, y->lo, y->hi);
      return cg_status_format(CIERGE_BAD_INPUT, "input %s: size of dimension %u is expected to be %s with %s %s, found %lld", name, s->dim, dim, y->name,
                              range, (long long)size);
    }
    c->frame[0].slot[y->value].i = n;
  }
  return NULL;
}

// "with s0 = 3, s1 = 8": what the other inputs say.
static cierge_status *mismatch(const cierge_context *c, uint32_t i) {
  const cg_plan *plan = c->p->plan;
  char with[256] = "";
  size_t at = 0;
  for (uint32_t k = 0; k < plan->n_symbols && at < sizeof with; k++)
    at += (size_t)snprintf(with + at, sizeof with - at, "%s%s = %lld", k ? ", " : " with ", plan->symbol[k].name, (long long)c->frame[0].slot[plan->symbol[k].value].i);
  return refuse("input", &c->p->input[i], &c->given[i].t, with);
}

static cierge_status *take_sizes(cierge_context *c) {
  cg_frame *f = &c->frame[0];
  const cg_plan_value *x;
  for (uint32_t i = 0, v; (x = param_from(c, &i, &v)); i++)
    for (uint32_t d = 0; x->kind == CG_V_TENSOR && d < x->rank; d++) {
      int64_t n;
      if (!cg_eval(f, x->dim[d], &n) || n != c->given[i].t.shape[d]) return mismatch(c, i);
      f->slot[v].size[d] = n;
    }
  return NULL;
}

static uint64_t nothing; // where empty tensors without data lie

// Where tensor t lies: bytes *low up to *high.
static void extent(const DLTensor *t, uint32_t es, uintptr_t *low, uintptr_t *high) {
  int64_t last = 0, size = 1;
  for (int32_t d = t->ndim; d-- > 0; size *= t->shape[d]) last += (t->shape[d] - 1) * (t->strides ? t->strides[d] : size);
  *low = (uintptr_t)t->data + t->byte_offset;
  *high = t->data && size ? *low + ((uintptr_t)last + 1) * es : *low;
}

// Marks the bytes of t's elements in `mark`, which begins at `low`; or, where `look` is, whether one of them is marked.
static bool visit(const DLTensor *t, uint32_t es, uintptr_t low, char *mark, bool look) {
  int64_t at[CG_PLAN_MAX_RANK] = {0}, stride[CG_PLAN_MAX_RANK], size = 1;
  for (int32_t d = t->ndim; d-- > 0; size *= t->shape[d]) stride[d] = t->strides ? t->strides[d] : size;
  char *p = mark + ((uintptr_t)t->data + t->byte_offset - low);
  for (int32_t d = 0; d >= 0;) {
    if (look && memchr(p, 1, es)) return true;
    if (!look) memset(p, 1, es);
    for (d = t->ndim - 1; d >= 0; d--) {
      p += stride[d] * es;
      if (++at[d] < t->shape[d]) break;
      p -= at[d] * stride[d] * es, at[d] = 0;
    }
  }
  return false;
}

// Whether elements of input i, which the program writes to, are elements of another as well: PyTorch's program would read there what was
// written. *beside: another lies between them, so that it may be written to before it is read.
static cierge_status *look_for_shared(const cierge_context *c, uint32_t i, bool *beside) {
  const cg_plan *plan = c->p->plan;
  uintptr_t low, high, from, to;
  uint32_t es = cg_dtypes[plan->input[i].dtype].size;
  extent(&c->given[i].t, es, &low, &high);
  *beside = false;
  for (uint32_t k = 0; k < plan->n_inputs; k++) {
    if (k == i || plan->input[k].param < 0 || plan->fn[0]->value[plan->fn[0]->param[plan->input[k].param]].kind != CG_V_TENSOR) continue;
    uint32_t its = cg_dtypes[plan->input[k].dtype].size;
    extent(&c->given[k].t, its, &from, &to);
    if (low == high || from == to || from >= high || low >= to) continue; // nothing of one lies in the other
    uintptr_t first = low < from ? low : from, last = high > to ? high : to;
    cg_buffer mark = {0};
    if (!cg_buffer_need(&mark, last - first)) return cg_no_memory();
    memset(mark.at, 0, last - first);
    visit(&c->given[i].t, es, first, mark.at, false);
    bool shared = visit(&c->given[k].t, its, first, mark.at, true);
    cg_buffer_free(&mark);
    if (shared)
      return cg_status_format(CIERGE_BAD_INPUT, "inputs %s and %s share memory, and the program writes to %s: give a copy of one of them", plan->input[i].name,
                              plan->input[k].name, plan->input[i].name);
    *beside = true;
  }
  return NULL;
}

// Memory in C order is used in place, other memory is copied.
// Sets c->bound where nothing but sizes can be another at the next call: no numbers, no strides.
static cierge_status *take_data(cierge_context *c) {
  cg_frame *f = &c->frame[0];
  const cg_plan_value *x;
  bool bound = true;
  for (uint32_t i = 0, v; (x = param_from(c, &i, &v)); i++) {
    bound = bound && x->kind == CG_V_TENSOR && !c->given[i].t.strides;
    if (x->kind != CG_V_TENSOR) continue;
    cg_given *g = &c->given[i];
    cg_slot *s = &f->slot[v];
    uint32_t es = cg_dtypes[x->dtype].size;
    s->data = g->t.data ? (char *)g->t.data + g->t.byte_offset : (char *)&nothing;
    bool beside = false;
    cierge_status *st = c->p->plan->input[i].mutated ? look_for_shared(c, i, &beside) : NULL;
    if (st) return st;
    if (cg_is_c_order(s->size, g->t.strides, x->rank) && !((uintptr_t)s->data & ((es < 8 ? es : 8) - 1)) && !beside) continue;
    if (!cg_buffer_need(&g->staging, s->bytes)) return cg_no_memory();
    bound = false;
    cg_copy_strided(g->staging.at, NULL, s->data, g->t.strides, s->size, x->rank, es);
    s->data = g->staging.at;
  }
  c->bound = bound;
  return NULL;
}

static bool sizes_are_as_before(const cierge_context *c) {
  const cg_plan *plan = c->p->plan;
  for (uint32_t i = 0; i < plan->n_inputs; i++) {
    if (plan->input[i].param < 0) continue;
    uint32_t v = plan->fn[0]->param[plan->input[i].param];
    if (!cg_same_sizes(c->frame[0].slot[v].size, c->given[i].t.shape, plan->fn[0]->value[v].rank)) return false;
  }
  return true;
}

cierge_status *cg_bind_inputs(cierge_context *c) {
  cg_frame *f = &c->frame[0];
  if (c->bound && f->shaped && sizes_are_as_before(c)) return NULL;
  bool same = f->shaped;
  cierge_status *st = take_numbers(c, &same);
  if (st) {
    f->shaped = false; // some numbers are new already
    return st;
  }
  if (!same) {
    f->shaped = false;
    st = solve(c);
    if (!st) st = take_sizes(c);
    if (!st) st = cg_frame_shape(f);
  }
  return st ? st : take_data(c);
}
