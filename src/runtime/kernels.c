// Opens the shared object of kernels from memory: an anonymous file where the system has that (memfd), else a private
// temporary file that is unlinked as soon as it is open.
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/runtime.h"

static bool write_all(int fd, const uint8_t *at, uint64_t n) {
  while (n) {
    ssize_t k = write(fd, at, n > 1 << 30 ? 1 << 30 : (size_t)n);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return false;
    at += k;
    n -= (uint64_t)k;
  }
  return true;
}

// The kernels bring the OpenMP runtime with them, and its threads stay when the kernels go: it must not be unloaded under
// them, so the first artifact that brings it pins it for the life of the process.
static void pin_openmp(void) {
  static const char *const names[] = {"libgomp.so.1", "libomp.so", "libomp.so.5", "libiomp5.so"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) dlopen(names[i], RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

// The loader takes two libraries of one path for one library, and numbers of file descriptors come again. So every path is
// spelled in its own way: a count, bit by bit, as "//" or "/./", which mean the same to everybody else.
static void fd_path(char *out, int fd) {
  static atomic_ulong counter;
  unsigned long n = atomic_fetch_add(&counter, 1);
  char *p = out + sprintf(out, "/proc/self/fd");
  for (; n; n >>= 1) p += sprintf(p, n & 1 ? "/." : "/");
  sprintf(p, "/%d", fd);
}

typedef void *opener(void *u, const char *path, char *why, size_t n);

static void *open_memory(const void *object, uint64_t size, opener *open, void *u, char *why, size_t n) {
  int fd = memfd_create("cierge", MFD_CLOEXEC);
  if (fd < 0) return NULL;
  char path[256];
  fd_path(path, fd);
  void *h = write_all(fd, object, size) ? open(u, path, why, n) : NULL;
  close(fd);
  return h;
}

static void *open_temporary(const char *what, const void *object, uint64_t size, opener *open, void *u, cg_failure *f) {
  const char *dir = getenv("TMPDIR");
  char path[4096], why[700] = "no reason is known";
  int n = snprintf(path, sizeof path, "%s/cierge-XXXXXX", dir && *dir ? dir : "/tmp");
  int fd = n > 0 && (size_t)n < sizeof path ? mkstemp(path) : -1;
  if (fd < 0) {
    snprintf(f->text, sizeof f->text, "%s cannot be loaded: no temporary file in %.512s: %s", what, dir && *dir ? dir : "/tmp", strerror(errno));
    return NULL;
  }
  void *h = NULL;
  if (!write_all(fd, object, size)) snprintf(f->text, sizeof f->text, "%s cannot be loaded: %.512s: %s", what, path, strerror(errno));
  else if (!(h = open(u, path, why, sizeof why))) snprintf(f->text, sizeof f->text, "%s cannot be loaded: %.700s", what, why);
  unlink(path);
  close(fd);
  return h;
}

void *cg_open_bytes(const char *what, const void *bytes, uint64_t size, opener *open, void *u, cg_failure *f) {
  char why[700];
  f->code = CIERGE_MISSING;
  void *h = getenv("CIERGE_NO_MEMFD") ? NULL : open_memory(bytes, size, open, u, why, sizeof why);
  return h ? h : open_temporary(what, bytes, size, open, u, f);
}

static void *open_object(void *u, const char *path, char *why, size_t n) {
  (void)u;
  void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const char *text = h ? NULL : dlerror();
  if (text) snprintf(why, n, "%s", text);
  return h;
}

void *cg_kernels_open(const void *object, uint64_t size, cg_failure *f) {
  void *h = cg_open_bytes("kernels", object, size, open_object, NULL, f);
  if (h) pin_openmp();
  return h;
}
