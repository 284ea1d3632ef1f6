// Hand-made plans for tests: values, expressions and steps are appended to the current function, then written as an artifact
// whose kernels are C text, compiled here.
#ifndef CG_TESTS_PLAN_BUILDER_H
#define CG_TESTS_PLAN_BUILDER_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "artifact/artifact.h"
#include "artifact/scalar.h"
#include "base/hash.h"
#include "base/vec.h"
#include "ir/dtype.h"

typedef struct {
  cg_session *s;
  cg_plan plan;
  cg_plan_fn *fn; // the current one
  cg_str weights, regions; // regions: what section torch holds behind its count
  cg_str blobs;            // the same of section blobs
  uint32_t n_blobs;
  const char *source; // of kernels; NULL: none
  const char *object; // instead of what `source` compiles to
  int trim;           // bytes that are cut off the plan; negative: added to it
} builder;

#define B_APPEND(b, at, n) ((at) = b_grow((b), (at), (n), sizeof *(at)), &(at)[(n)++])
static inline void *b_grow(builder *b, void *at, uint32_t n, size_t size) {
  void *p = cg_alloc_array(b->s, n + 1, size);
  if (n) memcpy(p, at, n * size);
  return p;
}

static inline uint32_t b_fn(builder *b, const char *name) {
  cg_plan_fn *f = CG_NEW(b->s, cg_plan_fn);
  f->name = name;
  *B_APPEND(b, b->plan.fn, b->plan.n_fns) = f;
  b->fn = f;
  return b->plan.n_fns - 1;
}

static inline void b_begin(builder *b, cg_session *s) {
  *b = (builder){.s = s, .weights = cg_str_new(s), .regions = cg_str_new(s), .blobs = cg_str_new(s)};
  b->plan = (cg_plan){.target = "", .producer = "test", .model = "test", .torch_min = "", .torch_max = "", .report = ""};
  *B_APPEND(b, b->plan.site, b->plan.n_sites) = (cg_plan_site){"", "", "", 0, ""};
  b_fn(b, "main");
}

static inline uint32_t b_site(builder *b, const char *op, const char *node, const char *file, uint32_t line) {
  *B_APPEND(b, b->plan.site, b->plan.n_sites) = (cg_plan_site){op, node, file, line, ""};
  return b->plan.n_sites - 1;
}

static inline uint32_t b_expr(builder *b, uint32_t n, const cg_plan_expr_item *item) {
  cg_plan_expr *x = B_APPEND(b, b->fn->expr, b->fn->n_exprs);
  *x = (cg_plan_expr){cg_memdup(b->s, item, n * sizeof *item), n};
  return b->fn->n_exprs - 1;
}
static inline uint32_t b_num(builder *b, int64_t v) { return b_expr(b, 1, (cg_plan_expr_item[]){{CG_X_INT, v}}); }
static inline uint32_t b_sym(builder *b, uint32_t value) { return b_expr(b, 1, (cg_plan_expr_item[]){{CG_X_SYM, value}}); }
static inline uint32_t b_times(builder *b, int64_t k, uint32_t value) {
  return b_expr(b, 3, (cg_plan_expr_item[]){{CG_X_INT, k}, {CG_X_SYM, value}, {CG_X_MUL, 0}});
}

static inline uint32_t b_value(builder *b, cg_plan_value v) {
  if (!v.name) v.name = "";
  *B_APPEND(b, b->fn->value, b->fn->n_values) = v;
  return b->fn->n_values - 1;
}
static inline uint32_t b_scalar(builder *b, cg_plan_value_kind kind, const char *name) {
  uint8_t dtype = kind == CG_V_INT ? CG_I64 : kind == CG_V_FLOAT ? CG_F64 : CG_BOOL;
  return b_value(b, (cg_plan_value){.kind = kind, .dtype = dtype, .offset_expr = -1, .expr = -1, .name = name});
}
static inline uint32_t b_int_expr(builder *b, uint32_t expr) {
  return b_value(b, (cg_plan_value){.kind = CG_V_INT, .dtype = CG_I64, .offset_expr = -1, .expr = (int32_t)expr});
}
// dims: expression indices
static inline uint32_t b_tensor(builder *b, const char *name, cg_dtype dtype, cg_plan_storage storage, uint32_t rank, const uint32_t *dim) {
  return b_value(b, (cg_plan_value){.kind = CG_V_TENSOR, .dtype = (uint8_t)dtype, .storage = (uint8_t)storage, .rank = rank, .name = name,
                                    .dim = cg_memdup(b->s, dim, rank * sizeof *dim), .offset_expr = -1, .expr = -1});
}
static inline uint32_t b_constant(builder *b, const char *name, cg_dtype dtype, cg_plan_storage storage, uint32_t rank, const uint32_t *dim,
                                  const void *data, size_t size) {
  while (b->weights.n % 64) cg_str_addc(&b->weights, 0);
  uint32_t v = b_tensor(b, name, dtype, storage, rank, dim);
  b->fn->value[v].offset = b->weights.n;
  b->fn->value[v].size = size;
  cg_str_addn(&b->weights, data, size);
  return v;
}
static inline uint32_t b_state(builder *b, const char *name, cg_dtype dtype, uint32_t rank, const uint32_t *dim, const void *data, size_t size) {
  uint32_t v = b_constant(b, name, dtype, CG_ST_STATE, rank, dim, data, size);
  b->fn->value[v].index = b->plan.n_states++;
  return v;
}
static inline uint32_t b_alias(builder *b, uint32_t of, cg_dtype dtype, uint32_t rank, const uint32_t *dim, int32_t offset) {
  uint32_t v = b_tensor(b, "part", dtype, CG_ST_ALIAS, rank, dim);
  b->fn->value[v].of = of;
  b->fn->value[v].offset_expr = offset;
  return v;
}

static inline uint32_t b_param(builder *b, uint32_t v) {
  *B_APPEND(b, b->fn->param, b->fn->n_params) = v;
  if (b->fn->value[v].kind == CG_V_TENSOR) {
    b->fn->value[v].storage = CG_ST_PARAM;
    b->fn->value[v].index = b->fn->n_params - 1;
  }
  return v;
}
// A parameter of main and the user's input that it is.
static inline uint32_t b_input(builder *b, uint32_t v) {
  static const uint8_t kinds[] = {[CG_V_TENSOR] = CIERGE_KIND_TENSOR, [CG_V_INT] = CIERGE_KIND_INT, [CG_V_FLOAT] = CIERGE_KIND_FLOAT, [CG_V_BOOL] = CIERGE_KIND_BOOL};
  b_param(b, v);
  const cg_plan_value *x = &b->fn->value[v];
  *B_APPEND(b, b->plan.input, b->plan.n_inputs) =
      (cg_plan_input){.name = x->name, .kind = kinds[x->kind], .param = (int32_t)b->fn->n_params - 1, .dtype = x->dtype, .constant = ""};
  return v;
}
static inline uint32_t b_symbol(builder *b, const char *name, int64_t lo, int64_t hi) {
  uint32_t v = b_scalar(b, CG_V_INT, name);
  *B_APPEND(b, b->plan.symbol, b->plan.n_symbols) = (cg_plan_symbol){v, name, lo, hi, lo};
  return v;
}
static inline void b_result(builder *b, uint32_t v) { *B_APPEND(b, b->fn->result, b->fn->n_results) = v; }
static inline void b_update(builder *b, uint32_t target, uint32_t value) {
  *B_APPEND(b, b->fn->update, b->fn->n_updates) = (cg_plan_update){target, value};
  for (uint32_t i = 0; i < b->plan.n_inputs; i++)
    if (b->fn->value[target].storage == CG_ST_PARAM && b->plan.input[i].param == (int32_t)b->fn->value[target].index) b->plan.input[i].mutated = true;
}

// In the order of the inputs.
static inline void b_reshape(builder *b, uint32_t input, uint32_t value) { *B_APPEND(b, b->plan.reshaped, b->plan.n_reshaped) = (cg_plan_reshape){input, value}; }

#define B_LIST(...) (sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)), (uint32_t[]){__VA_ARGS__}
static inline cg_plan_step *b_step(builder *b, cg_plan_step_kind kind, uint32_t n_in, const uint32_t *in, uint32_t n_out, const uint32_t *out) {
  cg_plan_step *s = B_APPEND(b, b->fn->step, b->fn->n_steps);
  *s = (cg_plan_step){.kind = kind, .n_in = n_in, .n_out = n_out, .text = ""};
  s->in = cg_memdup(b->s, in, n_in * sizeof *in);
  s->out = cg_memdup(b->s, out, n_out * sizeof *out);
  return s;
}
// kernel by its C name; params: expression indices
static inline cg_plan_step *b_kernel(builder *b, const char *symbol, uint32_t n_in, const uint32_t *in, uint32_t n_out, const uint32_t *out,
                                     uint32_t n_param, const uint32_t *param) {
  cg_plan_step *s = b_step(b, CG_STEP_KERNEL, n_in, in, n_out, out);
  uint32_t k = 0;
  while (k < b->plan.n_kernels && strcmp(b->plan.kernel[k].symbol, symbol)) k++;
  if (k == b->plan.n_kernels) *B_APPEND(b, b->plan.kernel, b->plan.n_kernels) = (cg_plan_kernel){symbol, symbol};
  s->kernel = k;
  s->param = cg_memdup(b->s, param, n_param * sizeof *param);
  s->n_param = n_param;
  return s;
}

// A region of one call of `op` on its first input; results: how many.
static inline cg_plan_step *b_torch(builder *b, const char *op, uint32_t site, uint32_t n_in, const uint32_t *in, uint32_t n_out, const uint32_t *out) {
  cg_str p = cg_str_new(b->s);
  uint32_t head[] = {1, n_in, n_in + n_out, 1};
  for (int i = 0; i < 4; i++) cg_write_u32(&p, head[i]);
  cg_write_text(&p, op);
  cg_write_text(&p, "");
  cg_write_u32(&p, 1);
  cg_write_u8(&p, 1); // an argument: register 0
  cg_write_u32(&p, 0);
  cg_write_u32(&p, 0);
  cg_write_u32(&p, n_out);
  for (uint32_t i = 0; i < n_out; i++) cg_write_u32(&p, n_in + i);
  cg_write_u32(&p, site);
  cg_write_u32(&p, 0);
  cg_write_u32(&p, n_out);
  for (uint32_t i = 0; i < n_out; i++) cg_write_u32(&p, n_in + i);
  cg_write_u64(&b->regions, p.n);
  cg_str_addn(&b->regions, p.at, p.n);
  cg_plan_step *s = b_step(b, CG_STEP_TORCH, n_in, in, n_out, out);
  s->kernel = b->plan.n_regions;
  *B_APPEND(b, b->plan.region, b->plan.n_regions) = (cg_plan_region){"ops", 1, "torch_0"};
  return s;
}

static inline const void *b_compile(builder *b, const char *folder, size_t *size) {
  char *c = cg_format(b->s, "%s/kernels.c", folder), *so = cg_format(b->s, "%s/kernels.so", folder);
  FILE *f = fopen(c, "w");
  if (!f) cg_fail(b->s, CIERGE_IO, "%s", c);
  fprintf(f, "#include <stdint.h>\n#include <math.h>\n%s", b->source);
  fclose(f);
  if (system(cg_format(b->s, "cc -O1 -shared -fPIC -o %s %s", so, c))) cg_fail(b->s, CIERGE_INTERNAL, "cc failed");
  cg_file object = cg_file_map(b->s, so);
  *size = object.size;
  return object.data;
}

// A script with one method, and its bytes.
static inline cg_plan_script *b_script(builder *b, const char *name, const char *bytes) {
  cg_hash h = cg_hash_of(bytes, strlen(bytes));
  cg_plan_script *s = B_APPEND(b, b->plan.script, b->plan.n_scripts);
  *s = (cg_plan_script){.name = name, .hash = cg_strdup(b->s, h.text), .blob = b->n_blobs++, .n_methods = 1};
  s->method = CG_NEW(b->s, cg_plan_method);
  *s->method = (cg_plan_method){"forward", true};
  cg_write_u64(&b->blobs, strlen(bytes));
  cg_str_add(&b->blobs, bytes);
  return s;
}

static inline void b_write(builder *b, const char *path, const char *folder) {
  cg_str plan = cg_str_new(b->s);
  cg_artifact_part part[5];
  cg_str torch = cg_str_new(b->s), blobs = cg_str_new(b->s);
  int n = 0;
  size_t size = 0;
  cg_plan_write(&plan, &b->plan);
  for (int i = b->trim; i < 0; i++) cg_str_addc(&plan, 0);
  if (b->trim > 0) plan.n -= (size_t)b->trim;
  part[n++] = (cg_artifact_part){CG_SECTION_PLAN, plan.at, plan.n, 64};
  if (b->source || b->object) {
    const void *object = b->object;
    if (object) size = strlen(object);
    else object = b_compile(b, folder, &size);
    part[n++] = (cg_artifact_part){CG_SECTION_KERNELS, object, size, 64};
  }
  if (b->regions.n) {
    cg_write_u32(&torch, b->plan.n_regions);
    cg_str_addn(&torch, b->regions.at, b->regions.n);
    part[n++] = (cg_artifact_part){CG_SECTION_TORCH, torch.at, torch.n, 64};
  }
  if (b->blobs.n) {
    cg_write_u32(&blobs, b->n_blobs);
    cg_str_addn(&blobs, b->blobs.at, b->blobs.n);
    part[n++] = (cg_artifact_part){CG_SECTION_BLOBS, blobs.at, blobs.n, 64};
  }
  if (b->weights.n) part[n++] = (cg_artifact_part){CG_SECTION_WEIGHTS, b->weights.at, b->weights.n, 4096};
  cg_artifact_write(b->s, path, n, part);
}
#endif
