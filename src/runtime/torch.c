// Regions that LibTorch runs: made ready at load, run with memory that is lent both ways.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "artifact/torch_program.h"
#include "base/bytes.h"
#include "runtime/runtime.h"

// ---------------------------------------------------------------- the section

// Region `index`, or with index == count only a check of the whole section.
static bool find_region(const uint8_t *data, uint64_t size, uint32_t index, const uint8_t **at, uint64_t *bytes, uint32_t *count) {
  cg_reader r = {data, data + size, false};
  *count = cg_read_count(&r, 8);
  for (uint32_t i = 0; i < *count && !r.bad; i++) {
    uint64_t n = cg_read_u64(&r);
    const uint8_t *p = cg_read_bytes(&r, n);
    if (i == index) *at = p, *bytes = n;
  }
  return !r.bad && r.at == r.end;
}

bool cg_torch_section(const cg_artifact *a, uint32_t *n, cg_failure *f) {
  uint64_t size, bytes;
  const uint8_t *data = cg_artifact_section(a, CG_SECTION_TORCH, &size), *at;
  *n = 0;
  if (!data || find_region(data, size, UINT32_MAX, &at, &bytes, n)) return true;
  f->code = CIERGE_BAD_ARTIFACT;
  snprintf(f->text, sizeof f->text, "section torch is damaged: its regions do not fill it");
  return false;
}

static const uint8_t *region_program(const cierge_program *p, uint32_t index, uint64_t *bytes) {
  uint64_t size;
  uint32_t count;
  const uint8_t *data = cg_artifact_section(&p->file, CG_SECTION_TORCH, &size), *at = NULL;
  *bytes = 0;
  return data && find_region(data, size, index, &at, bytes, &count) ? at : NULL;
}

// ---------------------------------------------------------------- the place of an error

static void skip_arg(cg_reader *r, int depth) {
  uint32_t n;
  uint8_t tag = cg_read_u8(r);
  if (depth > 64) r->bad = true;
  if (r->bad) return;
  switch (tag) {
  case CG_TA_NONE: break;
  case CG_TA_REGISTER: cg_read_u32(r); break;
  case CG_TA_INT: case CG_TA_FLOAT: cg_read_u64(r); break;
  case CG_TA_BOOL: case CG_TA_DTYPE: case CG_TA_LAYOUT: case CG_TA_MEMORY_FORMAT: cg_read_u8(r); break;
  case CG_TA_TEXT: case CG_TA_DEVICE: cg_read_text(r, NULL); break;
  case CG_TA_COMPLEX: cg_read_bytes(r, 16); break;
  case CG_TA_LIST:
    cg_read_u8(r);
    n = cg_read_count(r, 1);
    for (uint32_t i = 0; i < n && !r->bad; i++) skip_arg(r, depth + 1);
    break;
  case CG_TA_STRIDED:
    cg_read_u32(r);
    n = cg_read_count(r, 1);
    for (uint32_t i = 0; i < n && !r->bad; i++) skip_arg(r, depth + 1);
    skip_arg(r, depth + 1);
    break;
  case CG_TA_EXPRESSION: cg_read_bytes(r, 9 * (size_t)cg_read_count(r, 9)); break;
  default: r->bad = true;
  }
}

static void skip_u32s(cg_reader *r) { cg_read_bytes(r, 4 * (size_t)cg_read_count(r, 4)); }

void cg_torch_call_at(const cierge_program *p, uint32_t region, int op, char *name, size_t size, uint32_t *site) {
  uint64_t bytes;
  const uint8_t *at = region_program(p, region, &bytes);
  if (size) snprintf(name, size, "operator %d", op);
  if (!at || op < 0) return;
  cg_reader r = {at, at + bytes, false};
  for (int i = 0; i < 3; i++) cg_read_u32(&r);
  uint32_t calls = cg_read_u32(&r);
  for (uint32_t i = 0; i < calls && !r.bad; i++) {
    const char *key = cg_read_text(&r, NULL);
    const char *overload = cg_read_text(&r, NULL);
    uint32_t n = cg_read_count(&r, 1);
    for (uint32_t k = 0; k < n && !r.bad; k++) skip_arg(&r, 0);
    skip_u32s(&r);
    skip_u32s(&r);
    uint32_t found = cg_read_u32(&r);
    skip_u32s(&r);
    if (i != (uint32_t)op || r.bad) continue;
    bool script = !strncmp(key, CG_TORCH_SCRIPT, sizeof CG_TORCH_SCRIPT - 1); // its method stands where overloads do
    if (size && *key) snprintf(name, size, "%s%s%s", script ? "torchop" : key, *overload ? "." : "", overload);
    if (found && found < p->plan->n_sites) *site = found;
    return;
  }
}

// The site of call number `call`; `otherwise` where the program does not say.
static uint32_t site_of_call(const cierge_program *p, uint32_t region, int call, uint32_t otherwise) {
  cg_torch_call_at(p, region, call, NULL, 0, &otherwise);
  return otherwise;
}

// ---------------------------------------------------------------- load

// Compares as many parts as the bound has: 2.13.1 is within a bound of 2.13.
static int compare_versions(const char *have, const char *bound) {
  for (;;) {
    char *h, *b;
    unsigned long x = strtoul(have, &h, 10), y = strtoul(bound, &b, 10);
    if (b == bound) return 0;
    if (h == have) return -1;
    if (x != y) return x < y ? -1 : 1;
    if (*b != '.') return 0;
    have = *h == '.' ? h + 1 : h;
    bound = b + 1;
  }
}

static bool check_version(const cierge_program *p, cg_failure *f) {
  const cg_plan *plan = p->plan;
  const char *have = p->torch->version;
  bool old = *plan->torch_min && compare_versions(have, plan->torch_min) < 0, new = *plan->torch_max && compare_versions(have, plan->torch_max) > 0;
  if (!old && !new) return true;
  f->code = CIERGE_MISSING;
  snprintf(f->text, sizeof f->text, "the artifact needs LibTorch %.32s%s%.32s, here is %.64s", *plan->torch_min ? plan->torch_min : "of any version",
           *plan->torch_max ? " to " : " or newer", plan->torch_max, have);
  return false;
}

// What a value is in every call.
static cierge_torch_value described(const cg_plan_value *x, const int64_t *size) {
  static const int kinds[] = {[CG_V_TENSOR] = 0, [CG_V_INT] = 1, [CG_V_FLOAT] = 2, [CG_V_BOOL] = 3, [CG_V_NONE] = 4, [CG_V_LATE] = 0};
  cierge_torch_value t = {.kind = kinds[x->kind]};
  if (x->kind == CG_V_TENSOR) t.dtype = cg_dtypes[x->dtype].c10, t.rank = (int)x->rank, t.size = size;
  return t;
}

// What is known of a region's inputs before any call: types, sizes that are numbers, and weights.
static bool describe_inputs(cierge_program *p, const cg_plan_fn *fn, const cg_plan_step *s, cierge_torch_value *in) {
  for (uint32_t i = 0; i < s->n_in; i++) {
    const cg_plan_value *x = &fn->value[s->in[i]];
    int64_t *size = cg_pool_alloc(&p->pool, x->rank, sizeof *size);
    if (!size) return false;
    for (uint32_t d = 0; d < x->rank; d++) {
      const cg_plan_expr *n = &fn->expr[x->dim[d]];
      size[d] = n->n == 1 && n->item[0].op == CG_X_INT ? n->item[0].arg : -1;
    }
    in[i] = described(x, size);
    if (x->kind == CG_V_TENSOR && x->storage == CG_ST_CONST) in[i].data = (void *)(p->weights + x->offset), in[i].stride = x->stride;
  }
  return true;
}

static bool make_region(cierge_program *p, const cg_plan_fn *fn, const cg_plan_step *s, cg_failure *f) {
  const cg_plan_region *r = &p->plan->region[s->kernel];
  if (p->region[s->kernel]) {
    f->code = CIERGE_BAD_ARTIFACT;
    snprintf(f->text, sizeof f->text, "section plan: two steps run region %.128s", r->name);
    return false;
  }
  char text[700] = "";
  cierge_torch_error e = {text, sizeof text};
  uint64_t bytes;
  const uint8_t *at = region_program(p, s->kernel, &bytes);
  cierge_torch_value *in = cg_pool_alloc(&p->pool, s->n_in, sizeof *in);
  if (!in || !describe_inputs(p, fn, s, in)) {
    *f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
    return false;
  }
  cierge_torch_region_options o = {.mode = r->mode, .inputs = in, .n_in = (int)s->n_in, .scripts = p->script,
                                   .n_scripts = (int)p->plan->n_scripts, .allow = p->allow, .n_allow = p->n_allow};
  int rc = at ? p->torch->region_new(at, bytes, &o, &p->region[s->kernel], &e) : -1;
  if (!rc) return true;
  p->region[s->kernel] = NULL;
  f->code = rc == CIERGE_TORCH_UNSAFE ? CIERGE_BAD_ARTIFACT : CIERGE_MISSING;
  snprintf(f->text, sizeof f->text, "LibTorch cannot run region %.128s: %s", r->name, text);
  return false;
}

static bool make_regions(cierge_program *p, cg_failure *f) {
  p->region = cg_pool_alloc(&p->pool, p->plan->n_regions, sizeof *p->region);
  if (!p->region) {
    *f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
    return false;
  }
  for (uint32_t i = 0; i < p->plan->n_fns; i++)
    for (uint32_t k = 0; k < p->plan->fn[i]->n_steps; k++)
      if (p->plan->fn[i]->step[k].kind == CG_STEP_TORCH && !make_region(p, p->plan->fn[i], &p->plan->fn[i]->step[k], f)) return false;
  return true;
}

bool cg_torch_load(cierge_program *p, const cierge_load_options *o, cg_failure *f) {
  if (!p->plan->n_regions) return true;
  p->allow = o->allow_unsafe_ops;
  while (p->allow && p->allow[p->n_allow]) p->n_allow++;
  p->torch = cg_torch_open(o->libtorch, f);
  return p->torch && check_version(p, f) && cg_libraries_load(p, o, f) && cg_scripts_load(p, f) && make_regions(p, f);
}

void cg_torch_unload(cierge_program *p) {
  for (uint32_t i = 0; p->region && i < p->plan->n_regions; i++)
    if (p->region[i]) p->torch->region_free(p->region[i]);
  cg_scripts_unload(p);
}

// ---------------------------------------------------------------- a context

cierge_status *cg_torch_runs_make(cierge_context *c) {
  const cierge_program *p = c->p;
  cierge_status *st = cg_instances_make(c);
  if (st) return st;
  c->torch_run = cg_pool_alloc(&c->pool, p->plan->n_regions, sizeof *c->torch_run);
  if (!c->torch_run) return cg_no_memory();
  for (uint32_t i = 0; i < p->plan->n_regions; i++) {
    char text[700] = "";
    cierge_torch_error e = {text, sizeof text};
    if (!p->region[i]) continue;
    if (!p->torch->run_new(p->region[i], c->instance, &c->torch_run[i], &e)) {
      if (c->trace) p->torch->run_watch(c->torch_run[i], cg_trace_op, c->trace);
      continue;
    }
    c->torch_run[i] = NULL;
    return cg_status_format(CIERGE_MISSING, "LibTorch cannot run region %.128s: %s", p->plan->region[i].name, text);
  }
  return NULL;
}

void cg_torch_runs_free(cierge_context *c) {
  for (uint32_t i = 0; c->torch_run && i < c->p->plan->n_regions; i++)
    if (c->torch_run[i]) c->p->torch->run_free(c->torch_run[i]);
  cg_instances_free(c);
}

// ---------------------------------------------------------------- a step

static bool is_constant(const cg_plan_value *v) { return v->kind == CG_V_TENSOR && v->storage == CG_ST_CONST; }

void cg_torch_values_make(cg_frame *f) {
  const cg_plan_fn *plan = f->fn->plan;
  for (uint32_t i = 0; i < plan->n_steps; i++) {
    const cg_plan_step *s = &plan->step[i];
    for (uint32_t k = 0; s->kind == CG_STEP_TORCH && k < s->n_in; k++) {
      cierge_torch_value *t = &f->torch_value[f->fn->torch_at[i] + k];
      *t = described(&plan->value[s->in[k]], f->slot[s->in[k]].size);
      if (f->fn->value[s->in[k]].strided) t->stride = plan->value[s->in[k]].stride;
    }
  }
}

// Today's value.
static cierge_status *lend(cg_frame *f, uint32_t v, cierge_torch_value *t) {
  const cg_plan_value *x = &f->fn->plan->value[v];
  cierge_status *st = NULL;
  switch (x->kind) {
  case CG_V_TENSOR:
    if ((st = cg_resize(f, v))) break;
    t->handle = x->storage == CG_ST_ALIAS ? NULL : f->slot[v].handle;
    t->data = cg_data(f, v);
    break;
  case CG_V_INT: case CG_V_BOOL: st = cg_integer(f, v, &t->i); break;
  case CG_V_FLOAT: t->f = f->slot[v].f; break;
  case CG_V_LATE: {
    const cg_slot *s = &f->slot[v];
    bool none = s->dtype < 0;
    *t = (cierge_torch_value){.kind = none ? 4 : 0, .handle = s->handle, .data = s->data, .dtype = none ? 0 : cg_dtypes[s->dtype].c10, .rank = s->rank, .size = s->size};
    break;
  }
  case CG_V_NONE: case CG_V_COUNT: break;
  }
  return st;
}

static cierge_status *misfit(cg_frame *f, const cg_plan_step *s, uint32_t i, const char *what) {
  char text[256];
  snprintf(text, sizeof text, "LibTorch gave result %u of the region with another %s than the program was compiled for", i, what);
  return cg_step_error(f, s->site, CIERGE_RUN_ERROR, text);
}

static bool number_of(const cierge_torch_value *t, cg_scalar *out) {
  static const int kinds[] = {[1] = CG_SC_INT, [2] = CG_SC_FLOAT, [3] = CG_SC_BOOL};
  if (t->kind < 1 || t->kind > 3) return false;
  *out = (cg_scalar){.i = t->i, .f = t->f};
  out->kind = kinds[t->kind];
  return true;
}

// A tensor that came back: its handle is the slot's from now on, whatever is wrong with it.
static void keep(cg_frame *f, uint32_t v, cierge_torch_value *t) {
  cg_slot *s = &f->slot[v];
  s->handle = t->handle;
  s->owned = true;
  s->data = t->data;
  t->handle = NULL;
}

// A tensor of whatever type, or None.
static cierge_status *take_late(cg_frame *f, const cg_plan_step *s, uint32_t i, cierge_torch_value *t) {
  cg_slot *to = &f->slot[s->out[i]];
  to->dtype = -1, to->rank = 0, to->bytes = 0;
  if (t->kind == 4) return NULL;
  if (t->kind || !t->handle) return misfit(f, s, i, "kind");
  int dtype = cg_dtype_by_c10_code(t->dtype);
  if (dtype < 0) {
    char text[128];
    snprintf(text, sizeof text, "LibTorch gave result %u of the region a dtype that cierge lacks (c10 code %d)", i, t->dtype);
    return cg_step_error(f, s->site, CIERGE_RUN_ERROR, text);
  }
  to->dtype = dtype, to->rank = t->rank;
  to->size = (int64_t *)t->size; // the tensor's own: read only
  keep(f, s->out[i], t);
  cg_tensor_bytes(to->size, (uint32_t)to->rank, cg_dtypes[dtype].size, &to->bytes);
  return NULL;
}

static cierge_status *take(cg_frame *f, const cg_plan_step *s, uint32_t i, cierge_torch_value *t) {
  uint32_t v = s->out[i];
  const cg_plan_value *x = &f->fn->plan->value[v];
  if (x->kind == CG_V_TENSOR) {
    if (t->kind || !t->handle) return misfit(f, s, i, "kind");
    if (t->dtype != cg_dtypes[x->dtype].c10) return misfit(f, s, i, "dtype");
    if ((uint32_t)t->rank != x->rank) return misfit(f, s, i, "rank");
    keep(f, v, t);
    cg_bind_sizes(f, s, i, t->size);
    return NULL;
  }
  if (x->kind == CG_V_LATE) return take_late(f, s, i, t);
  cg_scalar n;
  if (x->kind == CG_V_NONE) return t->kind == 4 ? NULL : misfit(f, s, i, "kind");
  if (!number_of(t, &n)) return misfit(f, s, i, "kind");
  cg_scalar_set(f, v, &n);
  return NULL;
}

static cierge_status *check_sizes(cg_frame *f, const cg_plan_step *s, uint32_t i, const cierge_torch_value *t) {
  uint32_t v = s->out[i];
  if (f->fn->plan->value[v].kind != CG_V_TENSOR) return NULL;
  cierge_status *st = cg_resize(f, v);
  if (st) return st;
  const cg_plan_value *x = &f->fn->plan->value[v];
  if (cg_same_sizes(f->slot[v].size, t->size, x->rank)) return NULL;
  char text[1024], got[400], want[400];
  cg_type_text(got, sizeof got, x->dtype, x->rank, t->size, NULL);
  cg_type_text(want, sizeof want, x->dtype, x->rank, f->slot[v].size, NULL);
  snprintf(text, sizeof text, "LibTorch gave result %u of the region with another shape than the program was compiled for: %s, not %s", i, got, want);
  return cg_step_error(f, s->site, CIERGE_RUN_ERROR, text);
}

cierge_status *cg_run_torch(cg_frame *f, const cg_plan_step *s, cierge_torch_value *in) {
  const cierge_program *p = f->c->p;
  cierge_torch_value *out = in + s->n_in;
  for (uint32_t i = 0; i < s->n_in; i++) {
    if (is_constant(&f->fn->plan->value[s->in[i]])) continue; // the region has it
    cierge_status *st = lend(f, s->in[i], &in[i]);
    if (st) return st;
  }
  for (uint32_t i = 0; i < s->n_out; i++) { // LibTorch may write into what it gave last time
    cg_slot *x = &f->slot[s->out[i]];
    out[i].handle = x->owned ? x->handle : NULL;
    x->handle = NULL;
    x->owned = false;
  }
  char text[2048];
  text[0] = 0;
  cierge_torch_error e = {text, sizeof text};
  int call = -1;
  cierge_status *st = NULL;
  if (p->torch->region_run(f->c->torch_run[s->kernel], in, (int)s->n_in, out, (int)s->n_out, f->c->threads, &call, &e))
    st = cg_step_error(f, site_of_call(p, s->kernel, call, s->site), CIERGE_RUN_ERROR, text);
  for (uint32_t i = 0; i < s->n_out && !st; i++) st = take(f, s, i, &out[i]);
  for (uint32_t i = 0; i < s->n_out && !st; i++) st = check_sizes(f, s, i, &out[i]);
  for (uint32_t i = 0; st && i < s->n_out; i++)
    if (!out[i].kind && out[i].handle) p->torch->tensor_free(out[i].handle);
  return st;
}
