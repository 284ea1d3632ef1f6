// Lowers a region to a program (program.h) and the plan's step that runs it.
//
// The writer runs three times over the region: which inputs it needs, where each register is read last, and for good.
// Sizes known before the step are inputs; sizes that appear while it runs (the rows of nonzero) are read off the tensor
// that shows them, and expressions over those are computed in the program. Where no output has such a size as a
// dimension of its own, it becomes one more output, for whoever speaks of it outside.
#include "backend/torch/lower.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef enum { FIND_INPUTS, FIND_LAST_USES, WRITE } phase;

typedef struct {
  cg_value *value;   // NULL: the integer expr
  const cg_expr *expr;
} input;

// An unbacked symbol that a node of the region gives its value.
typedef struct {
  const cg_symbol *symbol;
  uint32_t reg;
} shown;

CG_VEC_TYPE(symbol_vec, const cg_symbol *);

typedef struct {
  cg_torch_writer w; // first: the callbacks get it
  cg_emitter *e;
  cg_session *s;
  cg_fn *f;
  phase phase;
  CG_VEC(input) inputs;
  CG_VEC(shown) shown;
  symbol_vec needed;         // unbacked symbols that arguments use
  symbol_vec direct;         // unbacked symbols that are a dimension or the value of an output
  CG_VEC(uint32_t) reads;    // registers that the current call reads
  const cg_value *packed;    // the value that the current call reads in C order; NULL: none
  uint32_t packed_register;
  int *last_use;             // [registers]: the call that reads it last; -1: none; INT_MAX: an output
  uint32_t next_register, ncalls, call;
} lowering;

// ---------------------------------------------------------------- registers

static void read_register(lowering *l, uint32_t reg) {
  CG_PUSH(l->s, &l->reads, reg);
  if (l->phase == FIND_LAST_USES && l->last_use[reg] < (int)l->call) l->last_use[reg] = (int)l->call;
}

static uint32_t input_register(lowering *l, cg_value *v, const cg_expr *x) {
  for (int i = 0; i < l->inputs.n; i++)
    if (l->inputs.at[i].value == v && l->inputs.at[i].expr == x) return (uint32_t)i;
  input in = {v, x};
  CG_PUSH(l->s, &l->inputs, in);
  return (uint32_t)l->inputs.n - 1;
}

static uint32_t value_register(lowering *l, cg_value *v) {
  if (v->def && v->def->fn == l->f) return (uint32_t)v->mark;
  return input_register(l, v, NULL);
}

static const shown *find_shown(const lowering *l, const cg_symbol *y) {
  for (int i = 0; i < l->shown.n; i++)
    if (l->shown.at[i].symbol == y) return &l->shown.at[i];
  return NULL;
}

static bool speaks_of_shown(const lowering *l, const cg_expr *x) {
  if (x->kind == CG_X_SYM) return find_shown(l, x->symbol) != NULL;
  for (int i = 0; i < x->nargs; i++)
    if (speaks_of_shown(l, x->arg[i])) return true;
  return false;
}

static uint32_t symbol_register(lowering *l, const cg_expr *x) {
  const shown *d = find_shown(l, x->symbol);
  return d ? d->reg : input_register(l, NULL, x);
}

// ---------------------------------------------------------------- the writer's callbacks

static void write_value(cg_torch_writer *w, cg_value *v) {
  lowering *l = (lowering *)w;
  uint32_t reg = v == l->packed ? l->packed_register : value_register(l, v);
  cg_write_u8(&w->out, CG_TA_REGISTER);
  cg_write_u32(&w->out, reg);
  read_register(l, reg);
}

typedef struct { lowering *l; cg_str *to; uint32_t n; } postfix;

static void write_item(void *u, cg_expr_kind op, const cg_expr *leaf) {
  postfix *p = u;
  int64_t arg = op == CG_X_INT ? leaf->value : op == CG_X_SYM ? symbol_register(p->l, leaf) : 0;
  if (op == CG_X_SYM) read_register(p->l, (uint32_t)arg);
  cg_write_u8(p->to, (uint8_t)op);
  cg_write_i64(p->to, arg);
  p->n++;
}

static void write_integer(cg_torch_writer *w, const cg_expr *x) {
  lowering *l = (lowering *)w;
  if (x->kind == CG_X_INT) {
    cg_write_u8(&w->out, CG_TA_INT);
    cg_write_i64(&w->out, x->value);
  } else if (x->kind == CG_X_SYM || !speaks_of_shown(l, x)) {
    uint32_t reg = x->kind == CG_X_SYM ? symbol_register(l, x) : input_register(l, NULL, x);
    cg_write_u8(&w->out, CG_TA_REGISTER);
    cg_write_u32(&w->out, reg);
    read_register(l, reg);
  } else {
    cg_str items = cg_str_new(l->s);
    postfix made = {.l = l, .to = &items};
    cg_x_postfix(x, write_item, &made);
    cg_write_u8(&w->out, CG_TA_EXPRESSION);
    cg_write_u32(&w->out, made.n);
    cg_str_addn(&w->out, items.at, items.n);
  }
}

static int script_number(cg_torch_writer *w, const cg_node *n) { return cg_emit_script(((lowering *)w)->e, n); }

// ---------------------------------------------------------------- calls

static int compare_u32(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static void write_frees(lowering *l) {
  if (l->phase != WRITE) {
    cg_write_u32(&l->w.out, 0);
    return;
  }
  cg_str b = cg_str_new(l->s);
  uint32_t n = 0;
  if (l->reads.n) qsort(l->reads.at, (size_t)l->reads.n, sizeof(uint32_t), compare_u32);
  for (int i = 0; i < l->reads.n; i++) {
    uint32_t r = l->reads.at[i];
    if ((i && r == l->reads.at[i - 1]) || l->last_use[r] != (int)l->call) continue;
    cg_write_u32(&b, r);
    n++;
  }
  cg_write_u32(&l->w.out, n);
  if (n) cg_str_addn(&l->w.out, b.at, b.n);
}

static void begin_call(lowering *l) {
  l->call = l->ncalls++;
  l->reads.n = 0;
}

static void write_result(lowering *l, uint32_t reg) {
  bool dropped = l->phase == WRITE && l->last_use[reg] < 0;
  cg_write_u32(&l->w.out, dropped ? CG_TORCH_DROPPED : reg);
}

// A call that the region's nodes do not have, of v and a number, for n: its result's register.
static uint32_t write_helper_call(lowering *l, const cg_node *n, const char *op, const char *overload, cg_value *v, uint8_t tag, int64_t number) {
  begin_call(l);
  cg_str *b = &l->w.out;
  cg_write_text(b, op);
  cg_write_text(b, overload);
  cg_write_u32(b, 2);
  write_value(&l->w, v);
  cg_write_u8(b, tag);
  if (tag == CG_TA_MEMORY_FORMAT) cg_write_u8(b, (uint8_t)number);
  else cg_write_i64(b, number);
  cg_write_u32(b, 0);
  cg_write_u32(b, 1);
  uint32_t reg = l->next_register++;
  write_result(l, reg);
  cg_write_u32(b, (uint32_t)cg_emit_site(l->e, n));
  write_frees(l);
  return reg;
}

static uint32_t write_size_call(lowering *l, const cg_node *n, cg_value *v, int d) {
  return write_helper_call(l, n, "aten::sym_size", "int", v, CG_TA_INT, d);
}

// What takes bits for those of another type wants neighbours side by side, and the copy that saw to it may be gone.
static void pack_bits(lowering *l, const cg_node *n) {
  static const char *const views[] = {"aten::view.dtype", "aten::view_copy.dtype", "aten::view_as_complex", "aten::view_as_complex_copy"};
  cg_value *v = n->nargs ? cg_arg_tensor(&n->arg[0]) : NULL;
  bool is_view = false;
  for (size_t i = 0; i < sizeof views / sizeof *views && v; i++) is_view = is_view || cg_node_is_op(n, views[i]);
  if (!is_view) return;
  l->packed_register = write_helper_call(l, n, "aten::contiguous", "", v, CG_TA_MEMORY_FORMAT, 0);
  l->packed = v;
}

static bool is_unbacked(const cg_expr *x) { return x && x->kind == CG_X_SYM && x->symbol->unbacked; }

static bool is_input(const lowering *l, const cg_expr *x) {
  for (int i = 0; i < l->inputs.n; i++)
    if (!l->inputs.at[i].value && cg_x_has_symbol(l->inputs.at[i].expr, x->symbol)) return true;
  return false;
}

static bool in_type(const cg_type *t, const cg_symbol *y) {
  if (t->kind == CG_T_TENSOR)
    for (int i = 0; i < t->rank; i++)
      if (cg_x_has_symbol(t->dim[i], y)) return true;
  return t->value && cg_x_has_symbol(t->value, y);
}

static bool known_outside(const lowering *l, const cg_expr *x) {
  for (int i = 0; i < l->f->param.n; i++)
    if (in_type(&l->f->param.at[i]->type, x->symbol)) return true;
  return is_input(l, x);
}

static bool has(const symbol_vec *v, const cg_symbol *y) {
  for (int i = 0; i < v->n; i++)
    if (v->at[i] == y) return true;
  return false;
}

// Unbacked symbols that n's results show first: a register for each that is asked for.
static void show_symbols(lowering *l, const cg_node *n) {
  for (int i = 0; i < n->nresults; i++) {
    cg_value *v = n->result[i];
    if (is_unbacked(v->type.value) && !known_outside(l, v->type.value) && !find_shown(l, v->type.value->symbol)) {
      shown d = {v->type.value->symbol, (uint32_t)v->mark};
      CG_PUSH(l->s, &l->shown, d);
    }
    for (int k = 0; v->type.kind == CG_T_TENSOR && k < v->type.rank; k++) {
      const cg_expr *x = v->type.dim[k];
      if (!is_unbacked(x) || known_outside(l, x) || find_shown(l, x->symbol)) continue;
      if (has(&l->direct, x->symbol) && !has(&l->needed, x->symbol)) continue;
      shown d = {x->symbol, write_size_call(l, n, v, k)};
      CG_PUSH(l->s, &l->shown, d);
    }
  }
}

static void write_node(lowering *l, const cg_node *n) {
  pack_bits(l, n);
  begin_call(l);
  cg_str *b = &l->w.out;
  int clones = cg_torch_write_call(&l->w, n), own = cg_torch_own_results(n, clones);
  l->packed = NULL;
  cg_write_u32(b, (uint32_t)(own + clones));
  for (int i = 0; i < own + clones; i++) {
    if (i >= n->nresults) {
      cg_write_u32(b, CG_TORCH_DROPPED);
      continue;
    }
    n->result[i]->mark = (int)l->next_register++;
    write_result(l, (uint32_t)n->result[i]->mark);
  }
  cg_write_u32(b, (uint32_t)cg_emit_site(l->e, n));
  write_frees(l);
  show_symbols(l, n);
}

static void run_phase(lowering *l, phase p) {
  l->phase = p;
  l->w.out = cg_str_new(l->s);
  l->shown.n = 0;
  l->ncalls = 0;
  l->next_register = (uint32_t)l->inputs.n;
  for (cg_node *n = l->f->first; n; n = n->next) write_node(l, n);
}

// ---------------------------------------------------------------- what arguments speak of

static void need_symbols(lowering *l, const cg_expr *x) {
  if (is_unbacked(x) && !has(&l->needed, x->symbol)) CG_PUSH(l->s, &l->needed, (const cg_symbol *)x->symbol);
  for (int i = 0; i < x->nargs; i++) need_symbols(l, x->arg[i]);
}

static void direct_symbols(lowering *l, const cg_type *t) {
  if (is_unbacked(t->value)) CG_PUSH(l->s, &l->direct, (const cg_symbol *)t->value->symbol);
  for (int i = 0; t->kind == CG_T_TENSOR && i < t->rank; i++)
    if (is_unbacked(t->dim[i])) CG_PUSH(l->s, &l->direct, (const cg_symbol *)t->dim[i]->symbol);
}

static void need_arg(lowering *l, const cg_arg *a) {
  if (a->kind == CG_A_INT) need_symbols(l, a->i);
  else if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) need_arg(l, &a->list.at[i]);
  else if (a->kind == CG_A_VALUE && a->value->type.kind == CG_T_TENSOR && a->value->type.stride) {
    for (int i = 0; i < a->value->type.rank; i++) need_symbols(l, a->value->type.stride[i]);
    if (a->value->type.offset) need_symbols(l, a->value->type.offset);
  }
}

// ---------------------------------------------------------------- the step

static void check_boundary(lowering *l) {
  for (int i = 0; i < l->f->result.n; i++) {
    const cg_arg *a = &l->f->result.at[i];
    if (a->kind != CG_A_VALUE) cg_fail(l->s, CIERGE_INTERNAL, "@%s: a region's result is no value", l->f->name);
    const cg_type *t = &a->value->type;
    if (t->kind == CG_T_OTHER || t->kind == CG_T_STR)
      cg_fail_at(l->s, CIERGE_BAD_MODEL, a->value->def ? a->value->def->at : (cg_span){0},
                 "%%%s (%s) would have to leave LibTorch's region @%s: %s values can only live inside one", a->value->name,
                 a->value->def && a->value->def->schema ? a->value->def->schema->key : "an input", l->f->name, t->note ? t->note : "such");
  }
}

// Integers of the plan that get their value from a dimension of an output.
static void bind_symbols(lowering *l, cg_plan_step *step) {
  CG_VEC(cg_plan_bind) binds = {0};
  symbol_vec seen = {0};
  for (int i = 0; i < l->f->result.n; i++) {
    const cg_type *t = &l->f->result.at[i].value->type;
    for (int d = 0; t->kind == CG_T_TENSOR && d < t->rank; d++) {
      const cg_expr *x = t->dim[d];
      if (!is_unbacked(x) || known_outside(l, x) || has(&seen, x->symbol)) continue;
      CG_PUSH(l->s, &seen, (const cg_symbol *)x->symbol);
      cg_plan_bind b = {(uint32_t)i, (uint32_t)d, (uint32_t)cg_emit_symbol(l->e, x->symbol)};
      if (!cg_emit_is_set(l->e->fn, b.symbol)) CG_PUSH(l->s, &binds, b);
    }
  }
  step->bind = binds.at, step->n_bind = (uint32_t)binds.n;
}

static uint32_t add_region(lowering *l, cg_str program) {
  cg_plan *p = l->e->plan;
  cg_plan_region *r = CG_NEW_ARRAY(l->s, cg_plan_region, p->n_regions + 1);
  if (p->n_regions) memcpy(r, p->region, p->n_regions * sizeof *r);
  r[p->n_regions] = (cg_plan_region){l->f->mode ? l->f->mode : "ops", (uint32_t)l->f->nnodes, l->f->name};
  p->region = r;
  CG_PUSH(l->s, &l->e->torch_programs, program);
  return p->n_regions++;
}

// Sizes that only the region knows: outputs of their own.
static bool is_extra(const lowering *l, const shown *d) { return !has(&l->direct, d->symbol); }

static cg_str whole_program(lowering *l) {
  cg_str b = cg_str_new(l->s);
  cg_write_u32(&b, CG_TORCH_PROGRAM_VERSION);
  cg_write_u32(&b, (uint32_t)l->inputs.n);
  cg_write_u32(&b, l->next_register);
  cg_write_u32(&b, l->ncalls);
  if (l->w.out.n) cg_str_addn(&b, l->w.out.at, l->w.out.n);
  uint32_t extra = 0;
  for (int i = 0; i < l->shown.n; i++) extra += is_extra(l, &l->shown.at[i]);
  cg_write_u32(&b, (uint32_t)l->f->result.n + extra);
  for (int i = 0; i < l->f->result.n; i++) cg_write_u32(&b, value_register(l, l->f->result.at[i].value));
  for (int i = 0; i < l->shown.n; i++)
    if (is_extra(l, &l->shown.at[i])) cg_write_u32(&b, l->shown.at[i].reg);
  return b;
}

static void emit_step(lowering *l, cg_str program) {
  cg_emitter *e = l->e;
  uint32_t *in = CG_NEW_ARRAY(l->s, uint32_t, l->inputs.n ? l->inputs.n : 1), n_out = 0;
  uint32_t *out = CG_NEW_ARRAY(l->s, uint32_t, l->f->result.n + l->shown.n + 1);
  for (int i = 0; i < l->inputs.n; i++) {
    const input *x = &l->inputs.at[i];
    in[i] = (uint32_t)(x->value ? cg_emit_value(e, x->value) : cg_emit_int(e, x->expr));
  }
  for (int i = 0; i < l->f->result.n; i++) {
    cg_value *v = l->f->result.at[i].value;
    out[n_out] = (uint32_t)cg_emit_result(e, v);
    if (v->type.kind == CG_T_TENSOR) e->fn->value[out[n_out]].storage = CG_ST_TORCH;
    n_out++;
  }
  for (int i = 0; i < l->shown.n; i++)
    if (is_extra(l, &l->shown.at[i])) out[n_out++] = (uint32_t)cg_emit_symbol(e, l->shown.at[i].symbol);
  cg_plan_step whole = {0};
  bind_symbols(l, &whole);
  cg_plan_step *step = cg_emit_step(e, CG_STEP_TORCH, l->f->first);
  step->in = in, step->n_in = (uint32_t)l->inputs.n;
  step->out = out, step->n_out = n_out;
  step->bind = whole.bind, step->n_bind = whole.n_bind;
  step->kernel = add_region(l, program);
}

void cg_torch_lower(cg_emitter *e, cg_fn *f) {
  lowering l = {.w = {.value = write_value, .integer = write_integer, .script = script_number}, .e = e, .s = e->s, .f = f};
  check_boundary(&l);
  for (cg_node *n = f->first; n; n = n->next)
    for (int i = 0; i < n->nargs; i++) need_arg(&l, &n->arg[i]);
  for (int i = 0; i < f->result.n; i++) direct_symbols(&l, &f->result.at[i].value->type);
  run_phase(&l, FIND_INPUTS);
  for (int i = 0; i < f->result.n; i++) value_register(&l, f->result.at[i].value); // an input that is a result as well
  run_phase(&l, FIND_INPUTS); // registers behind all inputs now
  l.last_use = CG_NEW_ARRAY(l.s, int, l.next_register + 1);
  for (uint32_t i = 0; i < l.next_register; i++) l.last_use[i] = -1;
  run_phase(&l, FIND_LAST_USES);
  for (int i = 0; i < f->result.n; i++) l.last_use[value_register(&l, f->result.at[i].value)] = INT_MAX;
  for (int i = 0; i < l.shown.n; i++) l.last_use[l.shown.at[i].reg] = INT_MAX;
  run_phase(&l, WRITE);
  emit_step(&l, whole_program(&l));
}
