// Artifacts whose hashes are right whatever is in them: the plan is read, and run with kernels that only touch what they are given.
#include <dlfcn.h>

#include "artifact/format.h"
#include "fuzz.h"
#include "runtime/runtime.h"

#define XXH_INLINE_ALL
#include "xxhash/xxhash.h"

// ---------------------------------------------------------------- kernels

static int kernel(void *const *p, const int64_t *s, int threads, int64_t *detail) {
  (void)p, (void)s, (void)threads, (void)detail;
  return 0;
}
static char handle;

void *__wrap_cg_kernels_open(const void *object, uint64_t size, cg_failure *f);
void *__wrap_cg_kernels_open(const void *object, uint64_t size, cg_failure *f) {
  (void)object, (void)size, (void)f;
  return &handle;
}
int __wrap_dlclose(void *h);
int __real_dlclose(void *h);
int __wrap_dlclose(void *h) { return h == &handle ? 0 : __real_dlclose(h); }
void *__real_dlsym(void *h, const char *name);
void *__wrap_dlsym(void *h, const char *name);
void *__wrap_dlsym(void *h, const char *name) {
  if (h != &handle) return __real_dlsym(h, name);
  void *f = NULL;
  if (strcmp(name, CG_TEAM_SYMBOL)) *(cg_kernel_fn *)&f = kernel;
  return f;
}

// ---------------------------------------------------------------- a call

enum { MAX_BYTES = 1 << 20, MAX_INPUTS = 64 };

// A tensor as the program says it takes: symbols are 3. false: too large for here.
static bool tensor_of(const cierge_spec *spec, DLTensor *t, int64_t *shape) {
  uint64_t bytes = (spec->dl_dtype.bits * spec->dl_dtype.lanes + 7) / 8;
  *t = (DLTensor){.device = {kDLCPU, 0}, .ndim = spec->rank, .dtype = spec->dl_dtype, .shape = shape};
  for (int i = 0; i < spec->rank; i++) {
    shape[i] = spec->sizes[i] < 0 ? 3 : spec->sizes[i];
    if (shape[i] > MAX_BYTES || (bytes *= (uint64_t)shape[i]) > MAX_BYTES) return false;
  }
  t->data = calloc(bytes + 8, 1); // a number is 8 bytes
  return t->data != NULL;
}

// Loops end when the kernels say so, and these do not.
static bool loops(const cg_plan *plan) {
  for (uint32_t i = 0; i < plan->n_fns; i++)
    for (uint32_t k = 0; k < plan->fn[i]->n_steps; k++)
      if (plan->fn[i]->step[k].kind == CG_STEP_WHILE) return true;
  return false;
}

static void call(const cierge_program *p) {
  cierge_context *c = NULL;
  cierge_status_free(cierge_context_new(p, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = 1, .profile = 1}, &c));
  size_t n = cierge_input_count(p);
  if (!c || n > MAX_INPUTS) return cierge_context_free(c);
  DLTensor t[MAX_INPUTS] = {0};
  int64_t shape[MAX_INPUTS][CG_PLAN_MAX_RANK];
  bool ok = true;
  for (size_t i = 0; i < n && ok; i++) {
    const cierge_spec *spec = cierge_input_spec(p, i);
    if (spec->constant || spec->kind == CIERGE_KIND_NONE || spec->kind == CIERGE_KIND_STRING) continue;
    ok = tensor_of(spec, &t[i], shape[i]);
    if (ok) cierge_status_free(cierge_input_set(c, i, &t[i], 0));
  }
  for (int again = 0; ok && again < 2; again++) cierge_status_free(cierge_run(c));
  for (size_t i = 0; ok && i < cierge_output_count(p); i++) {
    const DLTensor *out = NULL;
    cierge_status_free(cierge_output_get(c, i, &out));
  }
  for (size_t k = 0; ok && k < cierge_mutated_count(p); k++) {
    const DLTensor *now = NULL;
    cierge_status_free(cierge_mutated_get(c, k, &now));
  }
  char *text = NULL;
  cierge_status_free(cierge_profile_text(c, &text));
  cierge_text_free(text);
  cierge_context_free(c);
  for (size_t i = 0; i < n; i++) free(t[i].data);
}

// ---------------------------------------------------------------- hashes

static void hash(uint8_t *at, size_t size) {
  cg_format_header h;
  if (size < sizeof h) return;
  memcpy(&h, at, sizeof h);
  memcpy(h.magic, CG_FORMAT_MAGIC, sizeof h.magic);
  h.version = CG_FORMAT_VERSION;
  h.file_size = size;
  h.hash = 0;
  if (h.n_sections <= CG_FORMAT_MAX_SECTIONS && (size - sizeof h) / sizeof(cg_format_section) >= h.n_sections)
    for (uint32_t i = 0; i < h.n_sections; i++) {
      cg_format_section s;
      uint8_t *row = at + sizeof h + i * sizeof s;
      memcpy(&s, row, sizeof s);
      if (s.offset <= size && s.size <= size - s.offset) s.hash = XXH3_64bits(at + s.offset, s.size);
      memcpy(row, &s, sizeof s);
    }
  memcpy(at, &h, sizeof h);
  size_t table = sizeof h + (size_t)h.n_sections * sizeof(cg_format_section);
  h.hash = XXH3_64bits(at, table < size ? table : size);
  memcpy(at, &h, sizeof h);
}

static void load(cg_session *s, void *u) {
  const char *path = ((fuzz_input *)u)->path;
  (void)s;
  cierge_program *p = NULL;
  cierge_status_free(cierge_load(path, &(cierge_load_options){.size = sizeof(cierge_load_options), .libtorch = "none"}, &p));
  if (p && !loops(p->plan)) call(p);
  cierge_program_free(p);
  char *text = NULL;
  cierge_status_free(cierge_inspect(path, &text));
  cierge_text_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size + 1);
  if (!copy) abort();
  if (size) memcpy(copy, data, size);
  hash(copy, size);
  fuzz_try_file(load, &(fuzz_input){.data = copy, .size = size});
  free(copy);
  return 0;
}
