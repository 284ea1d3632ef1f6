// What is known of a function before it runs, found in one walk over its steps: that every value is made before it is
// read, and once; that operands have the types their step asks for; which values have sizes that only steps reveal
// ("late"); how long each value must keep its memory.
#include <stdarg.h>
#include <stdio.h>

#include "runtime/runtime.h"

typedef struct {
  cg_fn_info *info;
  const cg_plan *plan;
  const cg_plan_fn *fn;
  bool *made; // [n_values]
  cg_failure *f;
} checker;

__attribute__((format(printf, 2, 3))) static bool bad(checker *k, const char *fmt, ...) {
  k->f->code = CIERGE_BAD_ARTIFACT;
  int n = snprintf(k->f->text, sizeof k->f->text, "section plan: function %.200s: ", k->fn->name);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(k->f->text + n, sizeof k->f->text - (size_t)n, fmt, ap);
  va_end(ap);
  return false;
}

static bool no_memory(cg_failure *f) {
  *f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
  return false;
}

static const cg_plan_value *value(const checker *k, uint32_t v) { return &k->fn->value[v]; }
static bool is_scalar(const cg_plan_value *v) { return v->kind == CG_V_INT || v->kind == CG_V_FLOAT || v->kind == CG_V_BOOL; }
static bool has_expr(const cg_plan_value *v) { return (v->kind == CG_V_INT || v->kind == CG_V_BOOL) && v->expr >= 0; }

// ---------------------------------------------------------------- before the steps

static void made_at_entry(checker *k) {
  const cg_plan_fn *fn = k->fn;
  for (uint32_t i = 0; i < fn->n_values; i++) {
    const cg_plan_value *v = &fn->value[i];
    if (v->kind == CG_V_TENSOR) k->made[i] = v->storage == CG_ST_CONST || v->storage == CG_ST_STATE || v->storage == CG_ST_PARAM;
    else k->made[i] = v->kind == CG_V_NONE || has_expr(v) || (v->kind == CG_V_FLOAT && v->storage == CG_ST_CONST);
  }
  for (uint32_t i = 0; i < fn->n_params; i++) k->made[fn->param[i]] = true;
  if (fn == k->plan->fn[0])
    for (uint32_t i = 0; i < k->plan->n_symbols; i++) k->made[k->plan->symbol[i].value] = true;
}

static void find_late(checker *k) {
  const cg_plan_fn *fn = k->fn;
  cg_fn_info *info = k->info;
  for (uint32_t i = 0; i < fn->n_exprs; i++)
    for (uint32_t j = 0; j < fn->expr[i].n; j++)
      if (fn->expr[i].item[j].op == CG_X_SYM && !k->made[fn->expr[i].item[j].arg]) info->late_expr[i] = true;
  for (uint32_t i = 0; i < fn->n_values; i++) {
    const cg_plan_value *v = &fn->value[i];
    bool late = has_expr(v) ? info->late_expr[v->expr] : is_scalar(v) && !k->made[i];
    if (v->kind == CG_V_TENSOR) {
      for (uint32_t d = 0; d < v->rank; d++) late |= info->late_expr[v->dim[d]];
      if (v->storage == CG_ST_ALIAS) late |= info->value[v->of].late || (v->offset_expr >= 0 && info->late_expr[v->offset_expr]);
    }
    info->value[i].late = late;
  }
  for (uint32_t i = 0; i < fn->n_exprs; i++)
    for (uint32_t j = 0; j < fn->expr[i].n && !info->late_expr[i]; j++)
      if (fn->expr[i].item[j].op == CG_X_SYM) info->shaping[fn->expr[i].item[j].arg] = true;
}

static bool strided(const cg_plan_fn *fn, const cg_plan_value *v) {
  if (!v->stride) return false;
  int64_t size[CG_PLAN_MAX_RANK];
  for (uint32_t d = 0; d < v->rank; d++) size[d] = fn->expr[v->dim[d]].item[0].arg;
  return !cg_is_c_order(size, v->stride, v->rank);
}

static bool lay_out(checker *k) {
  for (uint32_t i = 0; i < k->fn->n_values; i++) {
    const cg_plan_value *v = value(k, i);
    cg_value_info *x = &k->info->value[i];
    *x = (cg_value_info){.late = x->late, .root = i, .first = UINT32_MAX, .size_at = k->info->n_sizes};
    if (v->kind != CG_V_TENSOR) continue;
    k->info->n_sizes += v->rank;
    if (v->storage == CG_ST_ALIAS) x->root = k->info->value[v->of].root;
    if (v->storage == CG_ST_CONST || v->storage == CG_ST_STATE) x->strided = strided(k->fn, v);
    if (v->storage == CG_ST_PARAM && x->late) return bad(k, "the size of parameter %s is not known from the start", v->name);
    if (v->storage == CG_ST_ALIAS && k->info->value[x->root].strided) return bad(k, "value %u is a part of a constant that is not in C order", i);
    if (v->storage == CG_ST_ARENA && !x->late) k->info->n_planned++;
  }
  return true;
}

// ---------------------------------------------------------------- reading and making values

static bool read_expr(checker *k, uint32_t e) {
  const cg_plan_expr *x = &k->fn->expr[e];
  for (uint32_t i = 0; i < x->n; i++)
    if (x->item[i].op == CG_X_SYM && !k->made[x->item[i].arg]) return bad(k, "value %lld is used before it has one", (long long)x->item[i].arg);
  return true;
}

static bool read_sizes(checker *k, uint32_t i) {
  const cg_plan_value *v = value(k, i);
  if (!k->info->value[i].late) return true;
  for (uint32_t d = 0; d < v->rank; d++)
    if (!read_expr(k, v->dim[d])) return false;
  return v->storage != CG_ST_ALIAS || v->offset_expr < 0 || read_expr(k, (uint32_t)v->offset_expr);
}

// Value i is read by `step`; n_steps: after all of them.
static bool read(checker *k, uint32_t i, uint32_t step) {
  const cg_plan_value *v = value(k, i);
  if (has_expr(v)) return read_expr(k, (uint32_t)v->expr);
  if (v->kind == CG_V_TENSOR && v->storage == CG_ST_ALIAS && !read_sizes(k, i)) return false;
  uint32_t at = i;
  while (!k->made[at] && value(k, at)->kind == CG_V_TENSOR && value(k, at)->storage == CG_ST_ALIAS) at = value(k, at)->of;
  if (!k->made[at]) return bad(k, "value %u %s is used before it is made", i, v->name);
  cg_value_info *root = &k->info->value[k->info->value[i].root];
  if (root->last < step) root->last = step;
  return true;
}

// In main, a state or an input that the program writes to, or a part of it: a kernel may write it where it lies.
static bool is_in_place(const checker *k, uint32_t i) {
  const cg_plan_value *v = value(k, i), *root = value(k, k->info->value[i].root);
  if (k->fn != k->plan->fn[0] || v->kind != CG_V_TENSOR || v->storage != CG_ST_ALIAS) return false;
  return root->storage == CG_ST_STATE || (root->storage == CG_ST_PARAM && k->plan->input_of[root->index]->mutated);
}

static bool write(checker *k, uint32_t i, uint32_t step) {
  const cg_plan_value *v = value(k, i);
  if (v->kind == CG_V_NONE) return true;
  if (is_scalar(v)) {
    if (k->made[i]) return bad(k, "value %u %s is made twice", i, v->name);
    k->made[i] = true;
    return true;
  }
  uint32_t root = k->info->value[i].root;
  if (is_in_place(k, i)) return read_sizes(k, i);
  if (value(k, root)->storage != CG_ST_ARENA && value(k, root)->storage != CG_ST_TORCH) return bad(k, "step %u writes to value %u %s", step, i, v->name);
  if (!read_sizes(k, i) || !read_sizes(k, root)) return false;
  k->made[i] = k->made[root] = true;
  cg_value_info *r = &k->info->value[root];
  if (r->first > step) r->first = step;
  if (r->last < step) r->last = step;
  return true;
}

// ---------------------------------------------------------------- the kinds of steps

static bool counts(checker *k, const cg_plan_step *s, uint32_t in, uint32_t out) {
  return (s->n_in == in && s->n_out == out) || bad(k, "a step of kind %d has %u operands and %u results", (int)s->kind, s->n_in, s->n_out);
}

static bool same_type(const cg_plan_value *a, const cg_plan_value *b) {
  if (is_scalar(a) && is_scalar(b)) return true;
  return a->kind == b->kind && (a->kind != CG_V_TENSOR || (a->dtype == b->dtype && a->rank == b->rank));
}

// Whether a has the type of b's elements along its first dimension.
static bool stack_of(const cg_plan_value *a, const cg_plan_value *b) {
  if (a->kind == CG_V_NONE) return b->kind == CG_V_NONE;
  return a->kind == CG_V_TENSOR && b->kind == CG_V_TENSOR && a->dtype == b->dtype && a->rank == b->rank + 1;
}

static bool arguments(checker *k, const cg_plan_step *s, uint32_t skip, uint32_t fn) {
  const cg_plan_fn *g = k->plan->fn[fn];
  if (g->n_params != s->n_in - skip) return bad(k, "function %s takes %u arguments, not %u", g->name, g->n_params, s->n_in - skip);
  for (uint32_t i = 0; i < g->n_params; i++)
    if (!same_type(value(k, s->in[skip + i]), &g->value[g->param[i]])) return bad(k, "argument %u of function %s has another type", i, g->name);
  return true;
}

static bool results(checker *k, const cg_plan_step *s, uint32_t fn) {
  const cg_plan_fn *g = k->plan->fn[fn];
  if (g->n_results != s->n_out) return bad(k, "function %s gives %u results, not %u", g->name, g->n_results, s->n_out);
  for (uint32_t i = 0; i < s->n_out; i++)
    if (!same_type(value(k, s->out[i]), &g->value[g->result[i]])) return bad(k, "result %u of function %s has another type", i, g->name);
  return true;
}

static bool is_condition(const cg_plan_value *v) { return v->kind == CG_V_BOOL || v->kind == CG_V_INT || (v->kind == CG_V_TENSOR && v->dtype == CG_BOOL); }

static bool check_while(checker *k, const cg_plan_step *s) {
  const cg_plan_fn *test = k->plan->fn[s->fn[0]], *body = k->plan->fn[s->fn[1]];
  if (s->n_carried > s->n_in || !counts(k, s, s->n_in, s->n_carried)) return bad(k, "a loop carries %u values of %u", s->n_carried, s->n_in);
  if (!arguments(k, s, 0, s->fn[0]) || !arguments(k, s, 0, s->fn[1]) || !results(k, s, s->fn[1])) return false;
  if (test->n_results != 1 || !is_condition(&test->value[test->result[0]])) return bad(k, "function %s is no condition", test->name);
  for (uint32_t i = 0; i < s->n_carried; i++)
    if (!same_type(&body->value[body->result[i]], &body->value[body->param[i]]) || !same_type(value(k, s->in[i]), value(k, s->out[i])))
      return bad(k, "carried value %u of function %s changes its type", i, body->name);
  return true;
}

static bool check_scan(checker *k, const cg_plan_step *s) {
  const cg_plan_fn *body = k->plan->fn[s->fn[0]];
  uint64_t slices = s->n_carried, others = slices + s->n_scanned;
  if (!s->n_scanned || others > s->n_in || slices > s->n_out) return bad(k, "a scan carries %u values and goes over %u of %u", s->n_carried, s->n_scanned, s->n_in);
  if (body->n_params != s->n_in || body->n_results != s->n_out) return bad(k, "function %s is no body of its scan", body->name);
  for (uint32_t i = 0; i < s->n_in; i++) {
    const cg_plan_value *have = value(k, s->in[i]), *want = &body->value[body->param[i]];
    if (i >= slices && i < others ? !stack_of(have, want) || have->kind != CG_V_TENSOR : !same_type(have, want))
      return bad(k, "argument %u of function %s has another type", i, body->name);
  }
  for (uint32_t i = 0; i < s->n_out; i++) {
    const cg_plan_value *have = value(k, s->out[i]), *given = &body->value[body->result[i]];
    if (i >= slices ? !stack_of(have, given) : !same_type(have, given) || !same_type(given, &body->value[body->param[i]]))
      return bad(k, "result %u of function %s has another type", i, body->name);
  }
  return true;
}

static bool is_arena(const checker *k, uint32_t i) { return value(k, i)->kind == CG_V_TENSOR && value(k, k->info->value[i].root)->storage == CG_ST_ARENA; }

static bool has_number(uint8_t dtype) { return dtype != CG_F16 && dtype != CG_BF16 && cg_dtypes[dtype].c_type; }

static bool check_types(checker *k, const cg_plan_step *s) {
  for (uint32_t i = 0; i < s->n_out; i++) {
    const cg_plan_value *v = value(k, s->out[i]);
    if (v->kind == CG_V_LATE && s->kind != CG_STEP_TORCH) return bad(k, "value %u %s has no memory of its kind of step", s->out[i], v->name);
    if (v->kind != CG_V_TENSOR) continue;
    bool fits = s->kind == CG_STEP_TORCH ? v->storage == CG_ST_TORCH : is_arena(k, s->out[i]) || (s->kind == CG_STEP_KERNEL && is_in_place(k, s->out[i]));
    if (!fits) return bad(k, "value %u %s has no memory of its kind of step", s->out[i], v->name);
  }
  for (uint32_t i = 0; i < s->n_in; i++)
    if (value(k, s->in[i])->kind == CG_V_LATE && s->kind != CG_STEP_TORCH)
      return bad(k, "a step of kind %d takes value %u %s, of which only LibTorch knows what it is", (int)s->kind, s->in[i], value(k, s->in[i])->name);
  switch (s->kind) {
  case CG_STEP_KERNEL:
    for (uint32_t i = 0; i < s->n_out; i++)
      if (value(k, s->out[i])->kind != CG_V_TENSOR) return bad(k, "a kernel's result is no tensor");
    return true;
  case CG_STEP_SCALAR:
    if (!counts(k, s, (uint32_t)cg_scalar_table[s->kernel].nargs, 1)) return false;
    for (uint32_t i = 0; i < s->n_in; i++)
      if (!is_scalar(value(k, s->in[i]))) return bad(k, "an operand of %s is no number", cg_scalar_table[s->kernel].key);
    return is_scalar(value(k, s->out[0])) || bad(k, "the result of %s is no number", cg_scalar_table[s->kernel].key);
  case CG_STEP_ITEM:
    return counts(k, s, 1, 1) && ((value(k, s->in[0])->kind == CG_V_TENSOR && has_number(value(k, s->in[0])->dtype) && is_scalar(value(k, s->out[0]))) ||
                                  bad(k, "item() of something else than a tensor of numbers"));
  case CG_STEP_FILL:
    return counts(k, s, 1, 1) && ((is_scalar(value(k, s->in[0])) && value(k, s->out[0])->kind == CG_V_TENSOR && !value(k, s->out[0])->rank && has_number(value(k, s->out[0])->dtype)) ||
                                  bad(k, "a step fills what is no 0-dimensional tensor of numbers"));
  case CG_STEP_COPY:
    return counts(k, s, 1, 1) && ((value(k, s->in[0])->kind == CG_V_TENSOR && same_type(value(k, s->in[0]), value(k, s->out[0]))) || bad(k, "a copy between types"));
  case CG_STEP_ASSERT: return counts(k, s, 1, 0) && (is_condition(value(k, s->in[0])) || bad(k, "an assertion of no condition"));
  case CG_STEP_IF:
    if (!s->n_in || !is_condition(value(k, s->in[0]))) return bad(k, "a branch without a condition");
    return arguments(k, s, 1, s->fn[0]) && arguments(k, s, 1, s->fn[1]) && results(k, s, s->fn[0]) && results(k, s, s->fn[1]);
  case CG_STEP_WHILE: return check_while(k, s);
  case CG_STEP_SCAN: return check_scan(k, s);
  case CG_STEP_CALL: return arguments(k, s, 0, s->fn[0]) && results(k, s, s->fn[0]);
  case CG_STEP_TORCH: case CG_STEP_COUNT: break;
  }
  return true;
}

// A size that a step both gives as a result and shows as a dimension.
static bool is_bound(const cg_plan_step *s, uint32_t v) {
  for (uint32_t i = 0; i < s->n_bind; i++)
    if (s->bind[i].symbol == v) return true;
  return false;
}

static bool check_step(checker *k, uint32_t index) {
  const cg_plan_step *s = &k->fn->step[index];
  cg_fn_info *info = k->info;
  if (!check_types(k, s)) return false;
  if (s->n_in + s->n_out > info->max_operands) info->max_operands = s->n_in + s->n_out;
  info->param_at[index] = info->n_params;
  info->torch_at[index] = info->n_torch_values;
  if (cg_is_loop(s)) info->loop_at[index] = info->n_loops++;
  if (s->kind == CG_STEP_KERNEL) info->n_params += s->n_param;
  if (s->kind == CG_STEP_TORCH) info->n_torch_values += s->n_in + s->n_out;
  for (uint32_t i = 0; i < s->n_param; i++)
    if (!read_expr(k, s->param[i])) return false;
  for (uint32_t i = 0; i < s->n_in; i++) {
    if (s->kind == CG_STEP_KERNEL && is_arena(k, s->in[i]) && !k->made[info->value[s->in[i]].root] && !write(k, s->in[i], index)) return false; // scratch
    if (!read(k, s->in[i], index)) return false;
  }
  for (uint32_t i = 0; i < s->n_bind; i++) {
    if (s->kind == CG_STEP_KERNEL) return bad(k, "a kernel binds a size");
    if (!write(k, s->bind[i].symbol, index)) return false;
  }
  for (uint32_t i = 0; i < s->n_out; i++) // numbers first: the sizes of the others may need them
    if (value(k, s->out[i])->kind != CG_V_TENSOR && !is_bound(s, s->out[i]) && !write(k, s->out[i], index)) return false;
  for (uint32_t i = 0; i < s->n_out; i++)
    if (value(k, s->out[i])->kind == CG_V_TENSOR && !write(k, s->out[i], index)) return false;
  return true;
}

static bool walk(checker *k) {
  const cg_plan_fn *fn = k->fn;
  for (uint32_t i = 0; i < fn->n_steps; i++)
    if (!check_step(k, i)) return false;
  for (uint32_t i = 0; i < fn->n_results; i++)
    if (value(k, fn->result[i])->kind == CG_V_LATE && fn != k->plan->fn[0])
      return bad(k, "result %u is a value of which only LibTorch knows what it is", i);
    else if (!read(k, fn->result[i], fn->n_steps)) return false;
  for (uint32_t i = 0; i < fn->n_updates; i++)
    if (!read(k, fn->update[i].value, fn->n_steps)) return false;
  for (uint32_t i = 0; fn == k->plan->fn[0] && i < k->plan->n_reshaped; i++)
    if (!read(k, k->plan->reshaped[i].value, fn->n_steps)) return false;
  return true;
}

// ---------------------------------------------------------------- when LibTorch's tensors can go

static bool releases(cg_fn_info *info, cg_pool *pool, cg_failure *f) {
  const cg_plan_fn *fn = info->plan;
  info->release_at = cg_pool_alloc(pool, (size_t)fn->n_steps + 2, sizeof *info->release_at);
  if (!info->release_at) return no_memory(f);
  uint32_t *at = info->release_at, n = 0;
  for (int pass = 0; pass < 2; pass++) {
    if (pass && !(info->release = cg_pool_alloc(pool, n + 1, sizeof *info->release))) return no_memory(f);
    for (uint32_t i = 0; i < fn->n_values; i++) {
      const cg_value_info *x = &info->value[i];
      if (fn->value[i].kind != CG_V_LATE && (fn->value[i].kind != CG_V_TENSOR || fn->value[i].storage != CG_ST_TORCH)) continue;
      uint32_t last = x->first == UINT32_MAX || x->last > fn->n_steps ? fn->n_steps : x->last;
      if (pass) info->release[--at[last + 1]] = i;
      else at[last + 1]++, n++;
    }
    for (uint32_t i = 0; i <= fn->n_steps && !pass; i++) at[i + 1] += at[i]; // at[k + 1]: the end of step k's
  }
  // the second pass left the start of step k's list in at[k + 1]
  for (uint32_t i = 0; i <= fn->n_steps; i++) at[i] = at[i + 1];
  at[fn->n_steps + 1] = n;
  return true;
}

static bool check_fn(cg_fn_info *info, const cg_plan *plan, uint32_t fn, cg_pool *pool, cg_failure *f) {
  checker k = {.info = info, .plan = plan, .fn = plan->fn[fn], .f = f};
  info->plan = k.fn;
  info->value = cg_pool_alloc(pool, k.fn->n_values, sizeof *info->value);
  info->late_expr = cg_pool_alloc(pool, k.fn->n_exprs, sizeof *info->late_expr);
  info->shaping = cg_pool_alloc(pool, k.fn->n_values, sizeof *info->shaping);
  info->param_at = cg_pool_alloc(pool, k.fn->n_steps, sizeof *info->param_at);
  info->loop_at = cg_pool_alloc(pool, k.fn->n_steps, sizeof *info->loop_at);
  info->torch_at = cg_pool_alloc(pool, k.fn->n_steps, sizeof *info->torch_at);
  k.made = cg_pool_alloc(pool, k.fn->n_values, sizeof *k.made);
  if (!info->value || !info->late_expr || !info->shaping || !info->param_at || !info->loop_at || !info->torch_at || !k.made) return no_memory(f);
  made_at_entry(&k);
  find_late(&k);
  return lay_out(&k) && walk(&k) && releases(info, pool, f);
}

cg_fn_info *cg_plan_check(const cg_plan *plan, cg_pool *pool, cg_failure *f) {
  cg_fn_info *info = cg_pool_alloc(pool, plan->n_fns, sizeof *info);
  if (!info) no_memory(f);
  for (uint32_t i = 0; info && i < plan->n_fns; i++)
    if (!check_fn(&info[i], plan, i, pool, f)) return NULL;
  return info;
}
