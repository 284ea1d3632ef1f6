// Decodes a plan. Whatever the bytes say, what comes out can be used without a further look at indices: every one is
// checked against its table, every count against the bytes that are left, every constant against the weights section.
// (What the steps do with it, in what order, is checked by runtime/check.c.)
#include <stdarg.h>
#include <stdio.h>

#include "artifact/artifact.h"
#include "artifact/scalar.h"
#include "base/bytes.h"
#include "base/pool.h"
#include "ir/dtype.h"

typedef struct {
  cg_plan plan; // first: what the caller gets
  cg_pool pool;
} owner;

typedef struct {
  cg_reader r;
  cg_pool *pool;
  cg_plan *p;
  const uint8_t *start;
  uint64_t weights_size;
  cg_failure *f;
  bool failed;
} decoder;

// The first failure is the one that is told.
__attribute__((format(printf, 2, 3))) static bool bad(decoder *d, const char *fmt, ...) {
  if (d->failed) return false;
  d->failed = true;
  d->f->code = CIERGE_BAD_ARTIFACT;
  int n = snprintf(d->f->text, sizeof d->f->text, "section plan, offset %zu: ", (size_t)(d->r.at - d->start));
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(d->f->text + n, sizeof d->f->text - (size_t)n, fmt, ap);
  va_end(ap);
  return false;
}

static bool fine(decoder *d) { return d->r.bad ? bad(d, "a table or text is cut off") : !d->failed; }

static void *array(decoder *d, size_t count, size_t size) {
  void *p = cg_pool_alloc(d->pool, count ? count : 1, size);
  if (!p && !d->failed) {
    d->failed = true;
    *d->f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
  }
  return p;
}
#define ARRAY(d, T, n) ((T *)array((d), (n), sizeof(T)))

static const char *text(decoder *d) { return cg_read_text(&d->r, NULL); }

static uint32_t *u32s(decoder *d, uint32_t *n) {
  *n = cg_read_count(&d->r, 4);
  uint32_t *at = ARRAY(d, uint32_t, *n);
  for (uint32_t i = 0; at && i < *n; i++) at[i] = cg_read_u32(&d->r);
  return at;
}

static bool below(decoder *d, const uint32_t *at, uint32_t n, uint32_t limit, const char *what) {
  for (uint32_t i = 0; i < n; i++)
    if (at[i] >= limit) return bad(d, "%s %u of %u", what, at[i], limit);
  return true;
}

// ---------------------------------------------------------------- expressions

static bool read_expr(decoder *d, cg_plan_expr *x, uint32_t n_values) {
  x->n = cg_read_count(&d->r, 1);
  if (!(x->item = ARRAY(d, cg_plan_expr_item, x->n))) return false;
  int depth = 0;
  for (uint32_t i = 0; i < x->n; i++) {
    cg_plan_expr_item *t = &x->item[i];
    t->op = (cg_expr_kind)cg_read_u8(&d->r);
    if ((int)t->op >= CG_X_COUNT) return bad(d, "operator %d in an expression", (int)t->op);
    if (t->op <= CG_X_SYM) t->arg = cg_read_i64(&d->r);
    if (t->op == CG_X_SYM && (t->arg < 0 || t->arg >= n_values)) return bad(d, "value %lld of %u in an expression", (long long)t->arg, n_values);
    depth += 1 - cg_x_operands(t->op);
    if (depth < 1 || depth > CG_PLAN_MAX_STACK) return bad(d, "an expression's operands do not add up");
  }
  return depth == 1 || bad(d, "an expression's operands do not add up");
}

static bool is_literal(const cg_plan_expr *x) { return x->n == 1 && x->item[0].op == CG_X_INT; }

static bool check_expr(decoder *d, const cg_plan_fn *f, const cg_plan_expr *x) {
  for (uint32_t i = 0; i < x->n; i++) {
    if (x->item[i].op != CG_X_SYM) continue;
    const cg_plan_value *v = &f->value[x->item[i].arg];
    if ((v->kind != CG_V_INT && v->kind != CG_V_BOOL) || v->expr >= 0) return bad(d, "function %s: an expression uses value %lld, which is no plain integer", f->name, (long long)x->item[i].arg);
  }
  return true;
}

// ---------------------------------------------------------------- values

// Bytes of a constant: within its size, which is within the weights.
static bool check_constant(decoder *d, const cg_plan_fn *f, const cg_plan_value *v) {
  uint64_t es = cg_dtypes[v->dtype].size, end = 1, step = 1, part;
  if (v->offset > d->weights_size || v->size > d->weights_size - v->offset || v->offset % (es < 8 ? es : 8))
    return bad(d, "constant %s lies outside the weights (offset %llu, %llu bytes)", v->name, (unsigned long long)v->offset, (unsigned long long)v->size);
  bool over = false, empty = false;
  for (uint32_t i = v->rank; i-- > 0;) {
    const cg_plan_expr *x = &f->expr[v->dim[i]];
    if (!is_literal(x) || x->item[0].arg < 0) return bad(d, "constant %s has a size that is no number", v->name);
    uint64_t n = (uint64_t)x->item[0].arg, stride = v->stride ? (uint64_t)v->stride[i] : step;
    if (v->stride && v->stride[i] < 0) return bad(d, "constant %s has a negative stride", v->name);
    if (!n) empty = true;
    else over |= __builtin_mul_overflow(n - 1, stride, &part) || __builtin_add_overflow(end, part, &end);
    if (n) over |= __builtin_mul_overflow(step, n, &step);
  }
  over |= __builtin_mul_overflow(end, es, &end);
  // Expanded dimensions count as well: a copy in C order has `step` elements.
  over |= __builtin_mul_overflow(step, es, &step) || step > INT64_MAX;
  return (!over && end <= v->size) || empty || bad(d, "constant %s is larger than its %llu bytes", v->name, (unsigned long long)v->size);
}

static bool read_tensor(decoder *d, cg_plan_value *v) {
  v->dtype = cg_read_u8(&d->r);
  v->storage = cg_read_u8(&d->r);
  v->rank = cg_read_u8(&d->r);
  if (v->dtype >= CG_DTYPE_COUNT) return bad(d, "dtype %d", v->dtype);
  if (v->rank > CG_PLAN_MAX_RANK) return bad(d, "rank %u", v->rank);
  if (!(v->dim = ARRAY(d, uint32_t, v->rank))) return false;
  for (uint32_t i = 0; i < v->rank; i++) v->dim[i] = cg_read_u32(&d->r);
  switch (v->storage) {
  case CG_ST_CONST: case CG_ST_STATE:
    if (cg_read_u8(&d->r)) {
      if (!(v->stride = ARRAY(d, int64_t, v->rank))) return false;
      for (uint32_t i = 0; i < v->rank; i++) v->stride[i] = cg_read_i64(&d->r);
    }
    v->offset = cg_read_u64(&d->r);
    v->size = cg_read_u64(&d->r);
    if (v->storage == CG_ST_STATE) v->index = cg_read_u32(&d->r);
    return true;
  case CG_ST_PARAM: v->index = cg_read_u32(&d->r); return true;
  case CG_ST_ALIAS:
    v->of = cg_read_u32(&d->r);
    v->offset_expr = (int32_t)cg_read_u32(&d->r);
    return true;
  case CG_ST_ARENA: case CG_ST_TORCH: return true;
  default: return bad(d, "storage %d", v->storage);
  }
}

static bool read_value(decoder *d, cg_plan_value *v) {
  *v = (cg_plan_value){.offset_expr = -1, .expr = -1};
  uint8_t kind = cg_read_u8(&d->r);
  v->name = text(d);
  if (kind >= CG_V_COUNT) return bad(d, "kind %d of value", kind);
  v->kind = (cg_plan_value_kind)kind;
  switch (v->kind) {
  case CG_V_TENSOR: return read_tensor(d, v);
  case CG_V_INT: case CG_V_BOOL:
    v->dtype = v->kind == CG_V_INT ? CG_I64 : CG_BOOL;
    v->expr = (int32_t)cg_read_u32(&d->r);
    return true;
  case CG_V_FLOAT:
    v->dtype = CG_F64;
    if (!cg_read_u8(&d->r)) return true;
    v->storage = CG_ST_CONST, v->size = 8;
    v->offset = cg_read_u64(&d->r);
    return true;
  case CG_V_LATE: v->storage = CG_ST_TORCH; return true;
  case CG_V_NONE: case CG_V_COUNT: break;
  }
  return true;
}

static bool check_value(decoder *d, const cg_plan_fn *f, uint32_t i, uint8_t *depth) {
  const cg_plan_value *v = &f->value[i];
  if (v->expr < -1 || v->expr >= (int64_t)f->n_exprs) return bad(d, "function %s: expression %d of %u", f->name, v->expr, f->n_exprs);
  if (v->kind == CG_V_FLOAT && v->storage == CG_ST_CONST && (v->offset > d->weights_size || d->weights_size - v->offset < 8))
    return bad(d, "function %s: a number lies outside the weights", f->name);
  if (v->kind != CG_V_TENSOR) return true;
  if (!below(d, v->dim, v->rank, f->n_exprs, "expression")) return false;
  switch (v->storage) {
  case CG_ST_STATE:
    if (v->index >= d->p->n_states) return bad(d, "state %u of %u", v->index, d->p->n_states);
    return check_constant(d, f, v);
  case CG_ST_CONST: return check_constant(d, f, v);
  case CG_ST_PARAM:
    return (v->index < f->n_params && f->param[v->index] == i) || bad(d, "function %s: value %u is no parameter", f->name, i);
  case CG_ST_ALIAS:
    if (v->of >= i || f->value[v->of].kind != CG_V_TENSOR) return bad(d, "function %s: value %u is a part of value %u", f->name, i, v->of);
    depth[i] = depth[v->of] + 1;
    if (depth[i] > CG_PLAN_MAX_PARTS) return bad(d, "function %s: value %u is a part of a part, more than %d deep", f->name, i, CG_PLAN_MAX_PARTS);
    return (v->offset_expr >= -1 && v->offset_expr < (int64_t)f->n_exprs) || bad(d, "function %s: expression %d of %u", f->name, v->offset_expr, f->n_exprs);
  default: return true;
  }
}

// ---------------------------------------------------------------- steps

static bool read_step(decoder *d, cg_plan_step *s) {
  uint8_t kind = cg_read_u8(&d->r);
  if (kind >= CG_STEP_COUNT) return bad(d, "kind %d of step", kind);
  s->kind = (cg_plan_step_kind)kind;
  if (!(s->in = u32s(d, &s->n_in)) || !(s->out = u32s(d, &s->n_out)) || !(s->param = u32s(d, &s->n_param))) return false;
  s->kernel = cg_read_u32(&d->r);
  s->fn[0] = cg_read_u32(&d->r);
  s->fn[1] = cg_read_u32(&d->r);
  s->n_carried = cg_read_u32(&d->r);
  s->n_scanned = cg_read_u32(&d->r);
  s->n_bind = cg_read_count(&d->r, 12);
  if (!(s->bind = ARRAY(d, cg_plan_bind, s->n_bind))) return false;
  for (uint32_t i = 0; i < s->n_bind; i++) {
    s->bind[i].out = cg_read_u32(&d->r);
    s->bind[i].dim = cg_read_u32(&d->r);
    s->bind[i].symbol = cg_read_u32(&d->r);
  }
  s->site = cg_read_u32(&d->r);
  s->text = text(d);
  s->estimate_ns = cg_read_f64(&d->r);
  return true;
}

static bool check_table_index(decoder *d, const cg_plan_step *s) {
  const cg_plan *p = d->p;
  if (s->kind == CG_STEP_KERNEL && s->kernel >= p->n_kernels) return bad(d, "kernel %u of %u", s->kernel, p->n_kernels);
  if (s->kind == CG_STEP_TORCH && s->kernel >= p->n_regions) return bad(d, "region %u of %u", s->kernel, p->n_regions);
  if (s->kind == CG_STEP_SCALAR && s->kernel >= CG_SCALAR_OP_COUNT) return bad(d, "scalar operator %u", s->kernel);
  return s->site < p->n_sites || !s->site || bad(d, "site %u of %u", s->site, p->n_sites);
}

static bool check_step(decoder *d, const cg_plan_fn *f, uint32_t fn_index, const cg_plan_step *s) {
  if (!below(d, s->in, s->n_in, f->n_values, "value") || !below(d, s->out, s->n_out, f->n_values, "value") ||
      !below(d, s->param, s->n_param, f->n_exprs, "expression") || !check_table_index(d, s))
    return false;
  int fns = cg_plan_callees(s->kind);
  for (int i = 0; i < fns; i++) // callees come behind their callers, so calls cannot go round in circles
    if (s->fn[i] >= d->p->n_fns || s->fn[i] <= fn_index) return bad(d, "function %s calls function %u of %u", f->name, s->fn[i], d->p->n_fns);
  for (uint32_t i = 0; i < s->n_bind; i++) {
    const cg_plan_bind *b = &s->bind[i];
    if (b->out >= s->n_out || b->symbol >= f->n_values || f->value[b->symbol].kind != CG_V_INT || f->value[b->symbol].expr >= 0 ||
        f->value[s->out[b->out]].kind != CG_V_TENSOR || b->dim >= f->value[s->out[b->out]].rank)
      return bad(d, "function %s: a step binds a size that is not there", f->name);
  }
  return true;
}

// ---------------------------------------------------------------- functions

static bool read_fn(decoder *d, cg_plan_fn *f) {
  f->name = text(d);
  f->n_values = cg_read_count(&d->r, 6);
  f->n_exprs = cg_read_count(&d->r, 5);
  f->n_steps = cg_read_count(&d->r, 54);
  f->n_updates = cg_read_count(&d->r, 8);
  if (!fine(d)) return false;
  if (!(f->expr = ARRAY(d, cg_plan_expr, f->n_exprs))) return false;
  for (uint32_t i = 0; i < f->n_exprs; i++)
    if (!read_expr(d, &f->expr[i], f->n_values)) return fine(d) && false;
  if (!(f->value = ARRAY(d, cg_plan_value, f->n_values))) return false;
  for (uint32_t i = 0; i < f->n_values; i++)
    if (!read_value(d, &f->value[i])) return fine(d) && false;
  if (!(f->step = ARRAY(d, cg_plan_step, f->n_steps))) return false;
  for (uint32_t i = 0; i < f->n_steps; i++)
    if (!read_step(d, &f->step[i])) return fine(d) && false;
  if (!(f->param = u32s(d, &f->n_params)) || !(f->result = u32s(d, &f->n_results))) return false;
  if (!(f->update = ARRAY(d, cg_plan_update, f->n_updates))) return false;
  for (uint32_t i = 0; i < f->n_updates; i++) {
    f->update[i].target = cg_read_u32(&d->r);
    f->update[i].value = cg_read_u32(&d->r);
  }
  return fine(d);
}

static bool check_params(decoder *d, const cg_plan_fn *f) {
  if (!below(d, f->param, f->n_params, f->n_values, "value") || !below(d, f->result, f->n_results, f->n_values, "value")) return false;
  for (uint32_t i = 0; i < f->n_params; i++) {
    const cg_plan_value *v = &f->value[f->param[i]];
    bool fits = v->kind == CG_V_TENSOR ? v->storage == CG_ST_PARAM && v->index == i : v->kind == CG_V_FLOAT ? v->storage != CG_ST_CONST : v->expr < 0;
    if (!fits || v->kind == CG_V_LATE) return bad(d, "function %s: parameter %u is none", f->name, i);
  }
  return true;
}

static bool check_updates(decoder *d, const cg_plan_fn *f, bool is_main) {
  for (uint32_t i = 0; i < f->n_updates; i++) {
    const cg_plan_update *u = &f->update[i];
    if (u->target >= f->n_values || u->value >= f->n_values) return bad(d, "function %s: an update of value %u of %u", f->name, u->target, f->n_values);
    const cg_plan_value *t = &f->value[u->target], *v = &f->value[u->value];
    bool place = t->storage == CG_ST_STATE || (t->storage == CG_ST_PARAM && is_main);
    if (t->kind != CG_V_TENSOR || v->kind != CG_V_TENSOR || !place || t->dtype != v->dtype || t->rank != v->rank)
      return bad(d, "function %s: value %u cannot be updated by value %u", f->name, u->target, u->value);
  }
  return true;
}

static bool check_fn(decoder *d, uint32_t index) {
  const cg_plan_fn *f = d->p->fn[index];
  uint8_t *depth = ARRAY(d, uint8_t, f->n_values); // of parts of parts
  if (!depth || !check_params(d, f)) return false;
  for (uint32_t i = 0; i < f->n_values; i++)
    if (!check_value(d, f, i, depth)) return false;
  for (uint32_t i = 0; i < f->n_exprs; i++)
    if (!check_expr(d, f, &f->expr[i])) return false;
  for (uint32_t i = 0; i < f->n_steps; i++)
    if (!check_step(d, f, index, &f->step[i])) return false;
  return check_updates(d, f, index == 0);
}

static bool read_fns(decoder *d) {
  cg_plan *p = d->p;
  p->n_fns = cg_read_count(&d->r, 29);
  if (!fine(d)) return false;
  if (!p->n_fns) return bad(d, "there is no function");
  if (!(p->fn = ARRAY(d, cg_plan_fn *, p->n_fns))) return false;
  for (uint32_t i = 0; i < p->n_fns; i++)
    if (!(p->fn[i] = ARRAY(d, cg_plan_fn, 1)) || !read_fn(d, p->fn[i])) return false;
  for (uint32_t i = 0; i < p->n_fns; i++)
    if (!check_fn(d, i)) return false;
  return true;
}

// Callees have higher numbers, so one sweep from the end knows how deep calls go.
static bool check_depth(decoder *d) {
  cg_plan *p = d->p;
  uint32_t *depth = ARRAY(d, uint32_t, p->n_fns);
  if (!depth) return false;
  for (uint32_t i = p->n_fns; i-- > 0;) {
    for (uint32_t k = 0; k < p->fn[i]->n_steps; k++) {
      const cg_plan_step *s = &p->fn[i]->step[k];
      int fns = cg_plan_callees(s->kind);
      for (int j = 0; j < fns; j++)
        if (depth[s->fn[j]] + 1 > depth[i]) depth[i] = depth[s->fn[j]] + 1;
    }
    if (depth[i] > CG_PLAN_MAX_DEPTH) return bad(d, "functions are nested more than %d deep", CG_PLAN_MAX_DEPTH);
  }
  return true;
}

// ---------------------------------------------------------------- tables

static bool read_symbols(decoder *d) {
  cg_plan *p = d->p;
  p->n_symbols = cg_read_count(&d->r, 33);
  if (!(p->symbol = ARRAY(d, cg_plan_symbol, p->n_symbols))) return false;
  for (uint32_t i = 0; i < p->n_symbols; i++) {
    cg_plan_symbol *y = &p->symbol[i];
    y->value = cg_read_u32(&d->r);
    y->name = text(d);
    y->lo = cg_read_i64(&d->r);
    y->hi = cg_read_i64(&d->r);
    y->hint = cg_read_i64(&d->r);
    if (y->lo > y->hi) return bad(d, "symbol %s has an empty range", y->name);
    if (y->hint < y->lo || y->hint > y->hi) return bad(d, "symbol %s has a typical value outside its range", y->name);
  }
  return fine(d);
}

static bool read_inputs(decoder *d) {
  cg_plan *p = d->p;
  p->n_inputs = cg_read_count(&d->r, 50);
  if (!(p->input = ARRAY(d, cg_plan_input, p->n_inputs))) return false;
  for (uint32_t i = 0; i < p->n_inputs; i++) {
    cg_plan_input *in = &p->input[i];
    in->name = text(d);
    in->kind = cg_read_u8(&d->r);
    in->param = (int32_t)cg_read_u32(&d->r);
    in->dtype = cg_read_u8(&d->r);
    in->constant = text(d);
    in->constant_kind = cg_read_u8(&d->r);
    in->constant_int = cg_read_i64(&d->r);
    in->constant_float = cg_read_f64(&d->r);
    in->mutated = cg_read_u8(&d->r) != 0;
    in->ranged = cg_read_u8(&d->r) != 0;
    in->lo = cg_read_i64(&d->r);
    in->hi = cg_read_i64(&d->r);
    if (in->kind > CIERGE_KIND_STRING || in->constant_kind > CIERGE_KIND_STRING || in->dtype >= CG_DTYPE_COUNT) return bad(d, "input %s has no known kind", in->name);
  }
  return fine(d);
}

static bool read_sites(decoder *d) {
  cg_plan *p = d->p;
  p->n_sites = cg_read_count(&d->r, 24);
  if (!(p->site = ARRAY(d, cg_plan_site, p->n_sites))) return false;
  for (uint32_t i = 0; i < p->n_sites; i++) {
    cg_plan_site *s = &p->site[i];
    s->op = text(d);
    s->node = text(d);
    s->file = text(d);
    s->line = cg_read_u32(&d->r);
    s->module_path = text(d);
  }
  return fine(d);
}

static bool read_kernels(decoder *d) {
  cg_plan *p = d->p;
  p->n_kernels = cg_read_count(&d->r, 10);
  if (!(p->kernel = ARRAY(d, cg_plan_kernel, p->n_kernels))) return false;
  for (uint32_t i = 0; i < p->n_kernels; i++) {
    p->kernel[i].symbol = text(d);
    p->kernel[i].note = text(d);
  }
  return fine(d);
}

static bool read_regions(decoder *d, uint32_t expected) {
  cg_plan *p = d->p;
  p->n_regions = cg_read_count(&d->r, 14);
  if (!(p->region = ARRAY(d, cg_plan_region, p->n_regions))) return false;
  for (uint32_t i = 0; i < p->n_regions; i++) {
    p->region[i].mode = text(d);
    p->region[i].n_nodes = cg_read_u32(&d->r);
    p->region[i].name = text(d);
  }
  if (!fine(d)) return false;
  return p->n_regions == expected || bad(d, "%u regions, section torch has %u", p->n_regions, expected);
}

static bool read_custom(decoder *d) {
  cg_plan *p = d->p;
  p->n_custom = cg_read_count(&d->r, 20);
  if (!(p->custom = ARRAY(d, cg_plan_custom, p->n_custom))) return false;
  for (uint32_t i = 0; i < p->n_custom; i++) {
    p->custom[i].op = text(d);
    p->custom[i].schema = text(d);
    p->custom[i].library = text(d);
    p->custom[i].hash = text(d);
  }
  return fine(d);
}

static bool read_scripts(decoder *d) {
  cg_plan *p = d->p;
  p->n_scripts = cg_read_count(&d->r, 18);
  if (!(p->script = ARRAY(d, cg_plan_script, p->n_scripts))) return false;
  for (uint32_t i = 0; i < p->n_scripts; i++) {
    cg_plan_script *s = &p->script[i];
    s->name = text(d);
    s->hash = text(d);
    s->blob = cg_read_u32(&d->r);
    s->n_methods = cg_read_count(&d->r, 6);
    if (!(s->method = ARRAY(d, cg_plan_method, s->n_methods))) return false;
    for (uint32_t k = 0; k < s->n_methods; k++) {
      s->method[k].name = text(d);
      s->method[k].stateful = cg_read_u8(&d->r) != 0;
    }
  }
  return fine(d);
}

static bool read_reshaped(decoder *d) {
  cg_plan *p = d->p;
  p->n_reshaped = cg_read_count(&d->r, 8);
  if (!(p->reshaped = ARRAY(d, cg_plan_reshape, p->n_reshaped))) return false;
  for (uint32_t i = 0; i < p->n_reshaped; i++) {
    p->reshaped[i].input = cg_read_u32(&d->r);
    p->reshaped[i].value = cg_read_u32(&d->r);
  }
  return fine(d);
}

// Each is a tensor input once, and a tensor of its dtype at the end.
static bool check_reshaped(decoder *d) {
  const cg_plan *p = d->p;
  const cg_plan_fn *f = p->fn[0];
  for (uint32_t i = 0; i < p->n_reshaped; i++) {
    const cg_plan_reshape *r = &p->reshaped[i];
    if (r->input >= p->n_inputs || r->value >= f->n_values) return bad(d, "input %u of %u becomes value %u of %u", r->input, p->n_inputs, r->value, f->n_values);
    if (i && r->input <= p->reshaped[i - 1].input) return bad(d, "input %u is reshaped behind input %u", r->input, p->reshaped[i - 1].input);
    const cg_plan_input *in = &p->input[r->input];
    const cg_plan_value *v = &f->value[r->value];
    if (in->param < 0 || in->kind != CIERGE_KIND_TENSOR || v->kind != CG_V_TENSOR || v->dtype != in->dtype)
      return bad(d, "input %u cannot become value %u", r->input, r->value);
  }
  return true;
}

// Every parameter of main is one user input, of the same type; symbols are integers of main.
static bool check_main(decoder *d) {
  cg_plan *p = d->p;
  const cg_plan_fn *f = p->fn[0];
  static const uint8_t kinds[] = {[CG_V_TENSOR] = CIERGE_KIND_TENSOR, [CG_V_INT] = CIERGE_KIND_INT, [CG_V_FLOAT] = CIERGE_KIND_FLOAT,
                                  [CG_V_BOOL] = CIERGE_KIND_BOOL, [CG_V_NONE] = CIERGE_KIND_NONE};
  cg_plan_input **given = p->input_of = ARRAY(d, cg_plan_input *, f->n_params);
  if (!given) return false;
  if (f->n_results > CG_PLAN_MAX_RESULTS) return bad(d, "%u results, more than %d", f->n_results, CG_PLAN_MAX_RESULTS);
  for (uint32_t i = 0; i < p->n_inputs; i++) {
    cg_plan_input *in = &p->input[i];
    if (in->param == -1) continue;
    if (in->param < 0 || (uint32_t)in->param >= f->n_params || given[in->param]) return bad(d, "input %s is parameter %d of %u", in->name, in->param, f->n_params);
    given[in->param] = in;
    const cg_plan_value *v = &f->value[f->param[in->param]];
    if (kinds[v->kind] != in->kind || v->dtype != in->dtype) return bad(d, "input %s is not of its parameter's type", in->name);
  }
  for (uint32_t i = 0; i < f->n_params; i++)
    if (!given[i]) return bad(d, "parameter %u of main is no input", i);
  for (uint32_t i = 0; i < f->n_updates; i++) { // who writes to an input says so
    const cg_plan_value *t = &f->value[f->update[i].target];
    if (t->storage == CG_ST_PARAM && !given[t->index]->mutated) return bad(d, "input %u is written to and does not say so", t->index);
  }
  for (uint32_t i = 0; i < p->n_symbols; i++) {
    uint32_t v = p->symbol[i].value;
    if (v >= f->n_values || f->value[v].kind != CG_V_INT || f->value[v].expr >= 0) return bad(d, "symbol %s is no integer of main", p->symbol[i].name);
  }
  return true;
}

static bool read_plan(decoder *d, uint32_t torch_regions) {
  cg_plan *p = d->p;
  p->producer = text(d);
  p->model = text(d);
  p->target = text(d);
  p->torch_min = text(d);
  p->torch_max = text(d);
  p->n_states = cg_read_u32(&d->r);
  p->nodes_total = cg_read_u32(&d->r);
  p->nodes_native = cg_read_u32(&d->r);
  p->nodes_torch = cg_read_u32(&d->r);
  p->nodes_scalar = cg_read_u32(&d->r);
  if (!fine(d)) return false;
  if (p->n_states > (size_t)(d->r.end - d->r.at)) return bad(d, "%u states", p->n_states);
  bool ok = read_symbols(d) && read_inputs(d) && read_sites(d) && read_kernels(d) && read_regions(d, torch_regions) && read_custom(d) && read_scripts(d) && read_fns(d) && read_reshaped(d);
  if (!ok) return fine(d) && false;
  p->report = text(d);
  if (!fine(d)) return false;
  if (d->r.at != d->r.end) return bad(d, "there are bytes behind the plan");
  return check_main(d) && check_reshaped(d) && check_depth(d);
}

cg_plan *cg_plan_read(const uint8_t *data, uint64_t size, uint64_t weights_size, uint32_t torch_regions, cg_failure *f) {
  owner *o = cg_heap_zalloc(1, sizeof *o);
  if (!o) {
    *f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
    return NULL;
  }
  decoder d = {.r = {data, data + size, false}, .pool = &o->pool, .p = &o->plan, .start = data, .weights_size = weights_size, .f = f};
  if (read_plan(&d, torch_regions)) return &o->plan;
  cg_plan_free(&o->plan);
  return NULL;
}

void cg_plan_free(cg_plan *p) {
  if (!p) return;
  owner *o = (owner *)p;
  cg_pool_free(&o->pool);
  cg_heap_free(o);
}
