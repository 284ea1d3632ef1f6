// Libraries of custom operators: looked at before they are opened, known by their content's hash.
//
// Opening one runs its code and registers its operators for the life of the process, so nothing is opened that the artifact
// will not be content with. It wants, for each custom operator, the very library it was compiled with: named by the caller,
// carried in the artifact (--bundle), or open in the process already.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/elf.h"
#include "runtime/runtime.h"

// What this process opened, or found open.
typedef struct opened {
  struct opened *next;
  cg_hash hash;
  char path[];
} opened;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static opened *all_opened; // under lock; grows only

static bool remember(const char *path, const cg_hash *hash, cg_failure *f) {
  size_t n = strlen(path) + 1;
  opened *o = cg_heap_alloc(sizeof *o + n);
  if (!o) {
    *f = (cg_failure){CIERGE_NO_MEMORY, "out of memory"};
    return false;
  }
  o->hash = *hash;
  memcpy(o->path, path, n);
  pthread_mutex_lock(&lock);
  o->next = all_opened;
  all_opened = o;
  pthread_mutex_unlock(&lock);
  return true;
}

// The one of that hash, or where hash is NULL of that path; NULL: none.
static const opened *recall(const char *hash, const char *path) {
  pthread_mutex_lock(&lock);
  const opened *o = all_opened;
  while (o && (hash ? strcmp(o->hash.text, hash) : strcmp(o->path, path))) o = o->next;
  pthread_mutex_unlock(&lock);
  return o;
}

// ---------------------------------------------------------------- a library's bytes

typedef struct {
  const uint8_t *data;
  size_t size;
} bytes;

static bool map(const char *path, bytes *out, cg_failure *f) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return cg_failed(f, CIERGE_MISSING, "the operator library %.256s cannot be opened: %s", path, strerror(errno));
  bool ok = !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0;
  void *at = ok ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  close(fd);
  if (at == MAP_FAILED) return cg_failed(f, CIERGE_MISSING, "the operator library %.256s cannot be read: %s", path, ok ? strerror(errno) : "it is no regular file, or empty");
  *out = (bytes){at, (size_t)st.st_size};
  return true;
}

static void unmap(bytes *b) { munmap((void *)(uintptr_t)b->data, b->size); }

static bool open_here(const char *library) {
  void *h = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  if (h) dlclose(h);
  return h != NULL;
}

// Whether it can be opened here at all. What needs Python is for a process that is Python.
static bool check(const char *path, const bytes *b, cg_failure *f) {
  char text[256];
  cg_elf_wants w;
  const char *why = cg_elf_read(b->data, b->size, &w, text, sizeof text);
  if (why) return cg_failed(f, CIERGE_MISSING, "the operator library %.256s cannot be loaded: %s", path, why);
  bool python = dlsym(RTLD_DEFAULT, "Py_IsInitialized") != NULL;
  if ((!w.python_library || (python && open_here(w.python_library))) && (!w.python_symbol || python)) return true;
  return cg_failed(f, CIERGE_MISSING, "the operator library %.256s needs Python, which is not in this process (%s%.60s%s%s%.60s): link it with -ltorch -ltorch_cpu -lc10 and without "
                    "libtorch_python, which PyTorch's extension builder adds, and register its operators with TORCH_LIBRARY, not with PYBIND11_MODULE", path,
                 w.python_library ? "it is linked with " : "", w.python_library ? w.python_library : "", w.python_library && w.python_symbol ? ", and " : "",
                 w.python_symbol ? "it calls " : "", w.python_symbol ? w.python_symbol : "");
}

bool cg_library_load(const cierge_torch_api_v1 *api, const char *path, cg_hash *hash, cg_failure *f) {
  bytes b;
  if (!map(path, &b, f)) return false;
  bool ok = check(path, &b, f);
  if (ok) *hash = cg_hash_of(b.data, b.size);
  unmap(&b);
  if (!ok) return false;
  char text[700] = "";
  cierge_torch_error e = {text, sizeof text};
  if (api->load_library(path, &e)) return cg_failed(f, CIERGE_MISSING, "the operator library %.256s cannot be loaded: %s", path, text);
  return recall(NULL, path) || remember(path, hash, f);
}

const char *cg_library_hash(const char *path) {
  const opened *o = recall(NULL, path);
  return o ? o->hash.text : NULL;
}

// ---------------------------------------------------------------- carried in the artifact

bool cg_library_section(const cierge_program *p, uint32_t i, const char **name, const uint8_t **data, uint64_t *size) {
  uint64_t whole;
  const uint8_t *at = cg_artifact_section(&p->file, CG_SECTION_LIBRARIES, &whole);
  cg_reader r = {at, at ? at + whole : NULL, at == NULL};
  uint32_t n = cg_read_count(&r, 13);
  for (uint32_t k = 0; k < n && !r.bad; k++) {
    *name = cg_read_text(&r, NULL);
    *size = cg_read_u64(&r);
    *data = cg_read_bytes(&r, *size);
    if (k == i && !r.bad) return true;
  }
  return false;
}

static void *open_library(void *api, const char *path, char *why, size_t n) {
  cierge_torch_error e = {why, n};
  return ((const cierge_torch_api_v1 *)api)->load_library(path, &e) ? NULL : api;
}

// Opens the carried library of that hash; false with f->code 0: there is none.
static bool open_carried(const cierge_program *p, const char *hash, cg_failure *f) {
  const char *name;
  const uint8_t *data;
  uint64_t size;
  f->code = CIERGE_OK;
  for (uint32_t i = 0; cg_library_section(p, i, &name, &data, &size); i++) {
    cg_hash h = cg_hash_of(data, size);
    if (strcmp(h.text, hash)) continue;
    bytes b = {data, size};
    char what[128];
    snprintf(what, sizeof what, "the operator library %.64s that the artifact carries", name);
    return check(name, &b, f) && cg_open_bytes(what, data, size, open_library, (void *)(uintptr_t)p->torch, f) && remember(name, &h, f);
  }
  return false;
}

// ---------------------------------------------------------------- what a program wants

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

typedef struct {
  const char *name;
  char path[4096];
} search;

static int is_it(struct dl_phdr_info *info, size_t size, void *u) {
  (void)size;
  search *s = u;
  if (strcmp(base_name(info->dlpi_name), s->name)) return 0;
  snprintf(s->path, sizeof s->path, "%s", info->dlpi_name);
  return 1;
}

// A library that somebody else opened, say Python's torch.ops.load_library: it is known by its file's name.
static bool found_open(const cg_plan_custom *c, cg_failure *f) {
  search s = {.name = c->library};
  bytes b;
  if (!dl_iterate_phdr(is_it, &s)) return true;
  if (!map(s.path, &b, f)) return false;
  cg_hash h = cg_hash_of(b.data, b.size);
  unmap(&b);
  return recall(h.text, NULL) || remember(s.path, &h, f);
}

static bool another(const cg_plan_custom *c, const char *path, const char *hash, cg_failure *f) {
  return cg_failed(f, CIERGE_MISSING, "the operator %.128s: %.256s is another library (%.32s) than the %.64s (%.32s) that the artifact was compiled with: name that one (--torch-library), "
                    "or compile the program again", c->op, path, hash, c->library, c->hash);
}

static bool registered(const cierge_program *p, const char *op) {
  char schema[16384];
  return !p->torch->schema(op, schema, sizeof schema);
}

// An operator that no library of a known content defined: of Python's, or of a library that was open where the artifact was compiled.
static bool ready_by_name(const cierge_program *p, const cg_plan_custom *c, cg_failure *f) {
  if (registered(p, c->op)) return true;
  if (!strcmp(c->library, CG_PYTHON_LIBRARY))
    return cg_failed(f, CIERGE_MISSING, "the artifact needs the operator %.128s, which is written in Python and not registered in this process: run the artifact from Python (import cierge), "
                      "after importing what defines the operator, or register it in C++ (TORCH_LIBRARY) and compile again", c->op);
  return cg_failed(f, CIERGE_MISSING, "the artifact needs the operator %.200s, which LibTorch here does not have%s%.200s: name the library that defines it (--torch-library)",
                 c->op, *c->library ? "; it was compiled with " : "", c->library);
}

static bool ready(const cierge_program *p, const cg_plan_custom *c, cg_failure *f) {
  char origin[4096];
  if (!*c->hash) return ready_by_name(p, c, f);
  if (!recall(c->hash, NULL) && !found_open(c, f)) return false;
  if (!recall(c->hash, NULL) && !registered(p, c->op)) {
    if (open_carried(p, c->hash, f)) return ready(p, c, f);
    if (f->code) return false;
    return cg_failed(f, CIERGE_MISSING, "the artifact needs the operator %.128s of the library %.128s (content %.32s): name it (--torch-library), or compile with --bundle, and the artifact "
                      "carries it", c->op, c->library, c->hash);
  }
  if (!registered(p, c->op)) return cg_failed(f, CIERGE_MISSING, "the operator library %.128s is loaded and does not define %.128s", c->library, c->op);
  p->torch->origin(c->op, origin, sizeof origin);
  const opened *by = recall(NULL, origin);
  if (by && strcmp(by->hash.text, c->hash)) return another(c, by->path, by->hash.text, f);
  if (recall(c->hash, NULL)) return true;
  return cg_failed(f, CIERGE_MISSING, "the operator %.128s is registered in this process already%s%.128s, and not by the library %.64s (content %.32s) that the artifact was compiled with", c->op,
                 *origin ? ", by " : "", origin, c->library, c->hash);
}

// Refused before anything of it is opened: a library of the right name and another content.
static bool fits(const cierge_program *p, const char *path, cg_failure *f) {
  bytes b;
  if (!map(path, &b, f)) return false;
  cg_hash h = cg_hash_of(b.data, b.size);
  bool ok = true;
  for (uint32_t i = 0; i < p->plan->n_custom && ok; i++) {
    const cg_plan_custom *c = &p->plan->custom[i];
    if (*c->hash && !strcmp(c->library, base_name(path)) && strcmp(c->hash, h.text)) ok = another(c, path, h.text, f);
  }
  ok = ok && check(path, &b, f);
  unmap(&b);
  return ok;
}

bool cg_libraries_load(const cierge_program *p, const cierge_load_options *o, cg_failure *f) {
  cg_hash hash;
  for (const char *const *l = o->torch_libraries; l && *l; l++)
    if (!fits(p, *l, f) || !cg_library_load(p->torch, *l, &hash, f)) return false;
  for (uint32_t i = 0; i < p->plan->n_custom; i++)
    if (!ready(p, &p->plan->custom[i], f)) return false;
  return true;
}
