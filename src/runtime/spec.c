// Inputs and outputs as the user sees them: names, types, sizes as text.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "runtime/runtime.h"

// ---------------------------------------------------------------- a text that grows

void cg_text_add(cg_text *t, const char *fmt, ...) {
  va_list ap;
  if (t->failed) return;
  va_start(ap, fmt);
  int n = vsnprintf(t->at ? t->at + t->n : NULL, t->cap - t->n, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  if (t->n + (size_t)n + 1 > t->cap) {
    size_t cap = 2 * t->cap + (size_t)n + 64;
    char *at = cg_heap_realloc(t->at, cap);
    if (!at) {
      t->failed = true;
      return;
    }
    t->at = at;
    t->cap = cap;
    va_start(ap, fmt);
    vsnprintf(t->at + t->n, t->cap - t->n, fmt, ap);
    va_end(ap);
  }
  t->n += (size_t)n;
}

cierge_status *cg_text_give(cg_text *t, char **out) {
  cg_text_add(t, "%s", "");
  if (!t->failed) {
    *out = t->at;
    return NULL;
  }
  cg_heap_free(t->at);
  *t = (cg_text){0};
  return cg_no_memory();
}

// ---------------------------------------------------------------- expressions

enum {
  MAX_PRINTED = 256, // items; longer ones are not for people
  MAX_TEXT = 255,    // bytes of what is kept, for the same reason
};

static const struct {
  const char *text;
  int level; // 0: a function, 1: sums, 2: products
} operators[CG_X_COUNT] = {
    [CG_X_ADD] = {" + ", 1}, [CG_X_MUL] = {"*", 2}, [CG_X_FLOORDIV] = {"//", 2}, [CG_X_MOD] = {"%", 2}, [CG_X_MAX] = {"max", 0}, [CG_X_MIN] = {"min", 0},
    [CG_X_EQ] = {"eq", 0}, [CG_X_NE] = {"ne", 0}, [CG_X_LT] = {"lt", 0}, [CG_X_LE] = {"le", 0}, [CG_X_AND] = {"and", 0}, [CG_X_OR] = {"or", 0},
    [CG_X_NOT] = {"not", 0}, [CG_X_WHERE] = {"where", 0}, [CG_X_SCALE] = {"scale", 0}};

// Where the operand that ends before item `end` starts.
static uint32_t start_of(const cg_plan_expr *x, uint32_t end) {
  int need = 1;
  while (need) {
    cg_expr_kind op = x->item[--end].op;
    need += cg_x_operands(op) - 1;
  }
  return end;
}

static void print_double(cg_text *t, int64_t bits) {
  double v;
  char text[CG_DOUBLE_TEXT];
  memcpy(&v, &bits, sizeof v);
  cg_double_text(v, text);
  cg_text_add(t, "%s", text);
}

static void print(cg_text *t, const cg_plan_fn *f, const cg_plan_expr *x, uint32_t end, int level) {
  const cg_plan_expr_item *i = &x->item[end - 1];
  if (i->op == CG_X_INT) {
    cg_text_add(t, "%" PRId64, i->arg);
    return;
  }
  if (i->op == CG_X_SYM) {
    const char *name = f->value[i->arg].name;
    if (*name) cg_text_add(t, "%.64s", name);
    else cg_text_add(t, "v%" PRId64, i->arg);
    return;
  }
  int own = operators[i->op].level, n = cg_x_operands(i->op);
  uint32_t ends[3], at = end - 1;
  for (int k = n; k-- > 0; at = start_of(x, at)) ends[k] = at;
  if (!own) cg_text_add(t, "%s", operators[i->op].text);
  bool brackets = !own || own < level;
  if (brackets) cg_text_add(t, "(");
  for (int k = 0; k < n; k++) {
    const cg_plan_expr_item *last = &x->item[ends[k] - 1];
    if (k && i->op == CG_X_ADD && last->op == CG_X_INT && last->arg < 0 && last->arg != INT64_MIN) {
      cg_text_add(t, " - %" PRId64, -last->arg);
      continue;
    }
    if (k) cg_text_add(t, "%s", own ? operators[i->op].text : ", ");
    if (k && i->op == CG_X_SCALE && last->op == CG_X_INT) print_double(t, last->arg);
    else print(t, f, x, ends[k], own ? own + (k > 0) : 0);
  }
  if (brackets) cg_text_add(t, ")");
}

void cg_expr_text(cg_text *t, const cg_plan_fn *f, const cg_plan_expr *x) {
  if (x->n > MAX_PRINTED) cg_text_add(t, "?");
  else print(t, f, x, x->n, 0);
}

// ---------------------------------------------------------------- specs

static const char *pooled(cg_pool *pool, cg_text *t) {
  size_t n = t->n + 1;
  char *copy = t->failed ? NULL : cg_pool_alloc(pool, n, 1);
  if (copy && t->at) memcpy(copy, t->at, n);
  cg_heap_free(t->at);
  *t = (cg_text){0};
  return copy;
}

static const char *dim_text(cg_pool *pool, const cg_plan_fn *f, const cg_plan_expr *x) {
  cg_text t = {0};
  cg_expr_text(&t, f, x);
  if (!t.failed && t.n > MAX_TEXT) memcpy(t.at, "?", 2), t.n = 1;
  return pooled(pool, &t);
}

static bool set_dtype(cierge_spec *s, uint8_t dtype) {
  s->dtype = cg_dtypes[dtype].torch_name;
  s->dl_dtype = (DLDataType){cg_dtypes[dtype].dl_code, cg_dtypes[dtype].dl_bits, 1};
  return true;
}

// What values of main share: the text of a size, and the sizes of a value, are made once, however often an artifact names them.
typedef struct {
  const char **text;           // [n_exprs]
  const cierge_spec **as;      // [n_values] a spec of that value
} shared;

static bool set_sizes(cierge_program *p, cierge_spec *s, const cg_plan_value *v, shared *done) {
  const cg_plan_fn *f = p->plan->fn[0];
  int64_t *sizes = cg_pool_alloc(&p->pool, v->rank, sizeof *sizes);
  const char **dims = cg_pool_alloc(&p->pool, v->rank, sizeof *dims);
  if (!sizes || !dims) return false;
  for (uint32_t d = 0; d < v->rank; d++) {
    const cg_plan_expr *x = &f->expr[v->dim[d]];
    sizes[d] = x->n == 1 && x->item[0].op == CG_X_INT ? x->item[0].arg : -1;
    const char **text = &done->text[v->dim[d]];
    if (!*text && !(*text = dim_text(&p->pool, f, x))) return false;
    dims[d] = *text;
  }
  s->sizes = sizes;
  s->dims = dims;
  return true;
}

static bool set_value(cierge_program *p, cierge_spec *s, uint32_t index, shared *done) {
  static const cierge_kind kinds[] = {[CG_V_TENSOR] = CIERGE_KIND_TENSOR, [CG_V_INT] = CIERGE_KIND_INT, [CG_V_FLOAT] = CIERGE_KIND_FLOAT,
                                      [CG_V_BOOL] = CIERGE_KIND_BOOL, [CG_V_NONE] = CIERGE_KIND_NONE, [CG_V_LATE] = CIERGE_KIND_TENSOR};
  const cg_plan_value *v = &p->plan->fn[0]->value[index];
  s->kind = kinds[v->kind];
  if (v->kind == CG_V_NONE) return true;
  if (v->kind == CG_V_LATE) {
    s->rank = -1;
    return true;
  }
  set_dtype(s, v->dtype);
  if (v->kind != CG_V_TENSOR) return true;
  s->rank = (int)v->rank;
  const cierge_spec **same = &done->as[index];
  if (!*same) {
    *same = s;
    return set_sizes(p, s, v, done);
  }
  s->sizes = (*same)->sizes;
  s->dims = (*same)->dims;
  return true;
}

static bool input_spec(cierge_program *p, uint32_t i, shared *done) {
  const cg_plan_input *in = &p->plan->input[i];
  cierge_spec *s = &p->input[i];
  s->name = in->name;
  if (in->param >= 0) return set_value(p, s, p->plan->fn[0]->param[in->param], done);
  s->kind = (cierge_kind)in->constant_kind;
  s->constant = in->constant;
  return s->kind >= CIERGE_KIND_NONE || set_dtype(s, in->dtype);
}

static bool output_spec(cierge_program *p, uint32_t i, shared *done) {
  cg_text name = {0};
  cg_text_add(&name, "output_%u", i);
  cierge_spec *s = &p->output[i];
  s->name = pooled(&p->pool, &name);
  return s->name && set_value(p, s, p->plan->fn[0]->result[i], done);
}

static bool make(cierge_program *p, shared *done) {
  const cg_plan *plan = p->plan;
  p->input = cg_pool_alloc(&p->pool, plan->n_inputs, sizeof *p->input);
  p->output = cg_pool_alloc(&p->pool, plan->fn[0]->n_results, sizeof *p->output);
  p->mutated = cg_pool_alloc(&p->pool, plan->n_inputs, sizeof *p->mutated);
  if (!p->input || !p->output || !p->mutated) return false;
  for (uint32_t i = 0, r = 0; i < plan->n_inputs; i++) {
    if (!input_spec(p, i, done)) return false;
    bool reshaped = r < plan->n_reshaped && plan->reshaped[r].input == i;
    if (!plan->input[i].mutated && !reshaped) continue;
    cg_mutated *m = &p->mutated[p->n_mutated++];
    *m = (cg_mutated){i, reshaped ? r : plan->n_reshaped, p->input[i]};
    if (reshaped && !set_value(p, &m->spec, plan->reshaped[r++].value, done)) return false;
  }
  for (uint32_t i = 0; i < plan->fn[0]->n_results; i++)
    if (!output_spec(p, i, done)) return false;
  return true;
}

bool cg_specs_make(cierge_program *p, cg_failure *f) {
  const cg_plan_fn *main_fn = p->plan->fn[0];
  shared done = {cg_heap_zalloc(main_fn->n_exprs + 1, sizeof *done.text), cg_heap_zalloc(main_fn->n_values + 1, sizeof *done.as)};
  bool ok = done.text && done.as && make(p, &done);
  cg_heap_free(done.text);
  cg_heap_free(done.as);
  if (ok) return true;
  *f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
  return false;
}

size_t cierge_input_count(const cierge_program *p) { return p ? p->plan->n_inputs : 0; }
size_t cierge_output_count(const cierge_program *p) { return p ? p->plan->fn[0]->n_results : 0; }
const cierge_spec *cierge_input_spec(const cierge_program *p, size_t i) { return i < cierge_input_count(p) ? &p->input[i] : NULL; }
const cierge_spec *cierge_output_spec(const cierge_program *p, size_t i) { return i < cierge_output_count(p) ? &p->output[i] : NULL; }
size_t cierge_mutated_count(const cierge_program *p) { return p ? p->n_mutated : 0; }
size_t cierge_mutated_input(const cierge_program *p, size_t k) { return k < cierge_mutated_count(p) ? p->mutated[k].input : SIZE_MAX; }
const cierge_spec *cierge_mutated_spec(const cierge_program *p, size_t k) { return k < cierge_mutated_count(p) ? &p->mutated[k].spec : NULL; }
int cierge_has_state(const cierge_program *p) { return p && p->plan->n_states; }
