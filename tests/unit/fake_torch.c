// LibTorch's plugin, played by a small library. A region is one call on one f32 input x:
//   double: 2 * x. half: the first half of 2 * x, so its size appears only then. fail: an error where x[0] > 100, else 2 * x.
//   kind, type, rank: 2 * x, said to be a number, f64, of rank 2. none: None. dtype: 2 * x, of a dtype that nobody has. new: no such
//   region can be made.
// It counts living tensors, and inputs that came as tensors. FAKE_ABI, FAKE_VERSION: another interface, another version.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin/torch/cierge_torch.h"
#include "base/bytes.h"

#ifndef FAKE_ABI
#define FAKE_ABI CIERGE_TORCH_ABI
#endif
#ifndef FAKE_VERSION
#define FAKE_VERSION "2.13.1"
#endif
#define OUT __attribute__((visibility("default")))
OUT int live, shared;

typedef struct {
  int64_t size[2];
  float *data;
} tensor;
struct cierge_torch_region {
  char op[32];
};
struct cierge_torch_run {
  const cierge_torch_region *r;
};
static bool is(const cierge_torch_region *r, const char *op) { return !strcmp(r->op, op); }

static int schema(const char *key, char *buf, size_t size) {
  snprintf(buf, size, "%s", key);
  return strncmp(key, "aten::", 6) != 0;
}

static int region_new(const void *program, size_t size, const cierge_torch_region_options *o, cierge_torch_region **out, cierge_torch_error *e) {
  (void)o;
  cg_reader r = {program, (const uint8_t *)program + size, 0};
  for (int i = 0; i < 4; i++) cg_read_u32(&r);
  const char *op = cg_read_text(&r, NULL);
  if (!strcmp(op, "aten::new")) return snprintf(e->text, e->size, "no kernel for %s", op);
  *out = calloc(1, sizeof **out);
  snprintf((*out)->op, sizeof (*out)->op, "%s", op + 6);
  return 0;
}
static void region_free(cierge_torch_region *r) { free(r); }

static int run_new(cierge_torch_region *r, cierge_torch_instance *const *instances, cierge_torch_run **out, cierge_torch_error *e) {
  (void)e, (void)instances;
  *out = malloc(sizeof **out);
  (*out)->r = r;
  return 0;
}
static void run_free(cierge_torch_run *run) { free(run); }

static void tensor_free(cierge_torch_tensor t) {
  free(((tensor *)t)->data);
  free(t);
  live--;
}

static int region_run(cierge_torch_run *run, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads, int *failed_call,
                      cierge_torch_error *e) {
  (void)n_in, (void)threads;
  for (int k = 0; k < n_out; k++) {
    if (out[k].handle) tensor_free(out[k].handle);
    out[k].handle = NULL;
  }
  const cierge_torch_region *r = run->r;
  *failed_call = 0;
  int64_t n = in[0].size[0];
  const float *x = in[0].handle ? ((tensor *)in[0].handle)->data : in[0].data;
  shared += in[0].handle != NULL;
  if (is(r, "fail") && x[0] > 100) return snprintf(e->text, e->size, "it is too much");
  if (is(r, "half")) n /= 2;
  tensor *t = malloc(sizeof *t);
  *t = (tensor){{n, 1}, malloc((size_t)n * 4 + 4)};
  live++;
  for (int64_t i = 0; i < n; i++) t->data[i] = 2 * x[i];
  *out = (cierge_torch_value){.handle = t, .data = t->data, .dtype = is(r, "dtype") ? 99 : is(r, "type") ? 7 : 6, .rank = is(r, "rank") ? 2 : 1, .size = t->size};
  if (is(r, "kind") || is(r, "none")) {
    tensor_free(t);
    *out = (cierge_torch_value){.kind = is(r, "kind") ? 1 : 4, .i = 5};
  }
  return 0;
}

static void seed(uint64_t s) { (void)s; }

static int load_library(const char *path, cierge_torch_error *e) {
  snprintf(e->text, e->size, "%s is no library", path);
  return 1;
}

OUT const cierge_torch_api_v1 *cierge_torch_api(void) {
  static const cierge_torch_api_v1 api = {.abi = FAKE_ABI, .version = FAKE_VERSION, .schema = schema, .load_library = load_library,
    .region_new = region_new, .region_free = region_free, .run_new = run_new, .run_free = run_free, .region_run = region_run, .tensor_free = tensor_free, .seed = seed};
  return &api;
}
