// Opens LibTorch and then the plugin, once in a process.
//
// LibTorch's libraries are opened by absolute path (or found where somebody, say Python's `import torch`, has them open
// already); the plugin asks for them by soname and so gets exactly those. libgomp is left to the loader, which gives
// LibTorch the one that is in the process, if there is one: two OpenMP runtimes would fight over the processors.
#include "runtime/torch_plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const cierge_torch_api_v1 *opened; // under lock; never closed: operators and tensors refer to it

// LibTorch, if somebody (`import torch`, say) has it open: a process can have only one, wherever it lies.
static void *already_open(void) { return dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD); }

static bool join(char *out, const char *folder, const char *rest) {
  int n = snprintf(out, PATH_SIZE, "%s/%s", folder, rest);
  return n > 0 && n < PATH_SIZE;
}

// The file in `folder`, which may be PyTorch's package (its libraries are in lib/) or a folder of libraries.
static bool find(const char *folder, const char *name, char *out) {
  char rest[64];
  snprintf(rest, sizeof rest, "lib/%s", name);
  if (join(out, folder, rest) && !access(out, R_OK)) return true;
  return join(out, folder, name) && !access(out, R_OK);
}

// The folder of the plugin; the first place, where it is in none.
static bool plugin_folder(char *out) {
  const char *dir = getenv("CIERGE_PLUGIN_DIR");
  if (dir && *dir) return snprintf(out, PATH_SIZE, "%s", dir) < PATH_SIZE;
  Dl_info here;
  char self[PATH_SIZE], file[PATH_SIZE];
  if (!dladdr((const void *)&lock, &here) || !here.dli_fname) return false;
  if (!realpath(strchr(here.dli_fname, '/') ? here.dli_fname : "/proc/self/exe", self)) return false; // a program that was found by PATH
  *strrchr(self, '/') = 0;
  // Seen from the library or program that this is in: a build folder or Python's package; where `make install` puts libraries, and programs.
  static const char *const places[] = {".", "cierge", "../lib/cierge", "../cierge"};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    if (join(out, self, places[i]) && join(file, out, "libcierge_torch.so") && !access(file, R_OK)) return true;
  return snprintf(out, PATH_SIZE, "%s", self) < PATH_SIZE;
}

// A folder that may hold LibTorch: where its name comes from is part of what a failure says.
typedef struct {
  char folder[PATH_SIZE];
  const char *origin;
} place;

static void name_place(place *p, const char *folder, const char *origin) {
  snprintf(p->folder, sizeof p->folder, "%s", folder);
  p->origin = origin;
}

// The line that `make` wrote beside the plugin.
static bool recorded(place *p, const char *plugin) {
  char path[PATH_SIZE], line[PATH_SIZE] = "";
  FILE *f = join(path, plugin, "libcierge_torch.path") ? fopen(path, "re") : NULL;
  if (!f) return false;
  if (!fgets(line, sizeof line, f)) *line = 0;
  fclose(f);
  line[strcspn(line, "\n")] = 0;
  name_place(p, line, "the place recorded at build time");
  return *line;
}

// What somebody said, and who; NULL: nobody did.
static const char *named(const char *folder, const char **who) {
  const char *env = getenv("CIERGE_LIBTORCH");
  if (folder && *folder) return *who = "--libtorch", folder;
  if (env && *env) return *who = "CIERGE_LIBTORCH", env;
  return NULL;
}

static bool says_none(const char *folder, cg_failure *f) {
  const char *who, *name = named(folder, &who);
  if (!name || strcmp(name, "none")) return false;
  cg_failed(f, CIERGE_MISSING, "LibTorch is needed, but %s says none", who);
  return true;
}

// Where LibTorch lies.
static bool look(const char *folder, place *p, cg_failure *f) {
  const char *who, *name = named(folder, &who);
  char plugin[PATH_SIZE], package[PATH_SIZE], file[PATH_SIZE];
  *p = (place){"", ""};
  if (name) name_place(p, name, who);
  else if (plugin_folder(plugin) && !recorded(p, plugin) && join(package, plugin, "../torch") && find(package, "libtorch_cpu.so", file))
    name_place(p, package, "the package beside cierge's"); // both in one environment of Python's
  if (!*p->folder) cg_failed(f, CIERGE_MISSING, "LibTorch is needed and was not found: neither --libtorch nor CIERGE_LIBTORCH is given, no place was recorded at build time, and no package torch lies beside the plugin");
  else if (!find(p->folder, "libtorch_cpu.so", file))
    cg_failed(f, CIERGE_MISSING, "LibTorch is needed and was not found: %s is %s, which holds neither lib/libtorch_cpu.so nor libtorch_cpu.so", p->origin, p->folder);
  else return true;
  return false;
}

bool cg_torch_present(const char *folder, cg_failure *f) {
  place p;
  return !says_none(folder, f) && (already_open() || look(folder, &p, f));
}

static const char *last_error(void) {
  const char *e = dlerror();
  return e ? e : "no reason is known";
}

static void *open_libtorch(const char *folder, cg_failure *f) {
  void *h = already_open();
  place p;
  if (h || !look(folder, &p, f)) return h;
  static const char *const names[] = {"libc10.so", "libtorch_cpu.so"};
  for (int i = 0; i < 2; i++) {
    char path[PATH_SIZE], absolute[PATH_SIZE];
    if (!find(p.folder, names[i], path) || !realpath(path, absolute)) {
      cg_failed(f, CIERGE_MISSING, "LibTorch in %s lacks %s", p.folder, names[i]);
      return NULL;
    }
    h = dlopen(absolute, RTLD_NOW | RTLD_LOCAL);
    if (!h) {
      cg_failed(f, CIERGE_MISSING, "LibTorch cannot be opened: %s", last_error());
      return NULL;
    }
  }
  return h;
}

// The version that is open, as 0xMMmm; 0: it does not say.
static unsigned libtorch_version(void *libtorch) {
  uint64_t (*abi_version)(void) = NULL;
  *(void **)&abi_version = dlsym(libtorch, "aoti_torch_abi_version");
  return abi_version ? (unsigned)(abi_version() >> 48) : 0;
}

static bool version_fits(void *libtorch, const char *built_for, cg_failure *f) {
  unsigned have = libtorch_version(libtorch), major = 0, minor = 0;
  if (!have || sscanf(built_for, "%u.%u", &major, &minor) != 2 || have == (major << 8 | minor)) return true;
  cg_failed(f, CIERGE_MISSING, "the plugin was built for LibTorch %u.%u, here is %u.%u", major, minor, have >> 8, have & 255);
  return false;
}

static const cierge_torch_api_v1 *open_plugin(void *libtorch, cg_failure *f) {
  char beside[PATH_SIZE], path[PATH_SIZE];
  if (!plugin_folder(beside) || !join(path, beside, "libcierge_torch.so")) {
    cg_failed(f, CIERGE_MISSING, "the place of libcierge_torch.so is not known; CIERGE_PLUGIN_DIR may name it");
    return NULL;
  }
  if (access(path, R_OK)) {
    cg_failed(f, CIERGE_MISSING, "the LibTorch plugin was not found: %s (CIERGE_PLUGIN_DIR may name another folder)", path);
    return NULL;
  }
  void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!h) {
    cg_failed(f, CIERGE_MISSING, "the LibTorch plugin cannot be opened: %s", last_error());
    return NULL;
  }
  const cierge_torch_api_v1 *(*get)(void) = NULL;
  *(void **)&get = dlsym(h, "cierge_torch_api");
  const cierge_torch_api_v1 *api = get ? get() : NULL;
  if (!api || api->abi != CIERGE_TORCH_ABI) {
    cg_failed(f, CIERGE_MISSING, "%s is of another version of cierge (its interface is %u, this one needs %d)", path, api ? api->abi : 0, CIERGE_TORCH_ABI);
    return NULL;
  }
  return version_fits(libtorch, api->version, f) ? api : NULL;
}

const cierge_torch_api_v1 *cg_torch_open(const char *folder, cg_failure *f) {
  if (says_none(folder, f)) return NULL;
  pthread_mutex_lock(&lock);
  if (!opened) {
    void *h = open_libtorch(folder, f);
    if (h) opened = open_plugin(h, f);
  }
  const cierge_torch_api_v1 *api = opened;
  pthread_mutex_unlock(&lock);
  return api;
}
