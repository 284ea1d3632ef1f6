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

static void *open_memory(const void *object, uint64_t size) {
  int fd = memfd_create("cierge-kernels", MFD_CLOEXEC);
  if (fd < 0) return NULL;
  char path[256];
  fd_path(path, fd);
  void *h = write_all(fd, object, size) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  close(fd);
  return h;
}

static void *open_temporary(const void *object, uint64_t size, cg_failure *f) {
  const char *dir = getenv("TMPDIR");
  char path[4096];
  int n = snprintf(path, sizeof path, "%s/cierge-XXXXXX", dir && *dir ? dir : "/tmp");
  int fd = n > 0 && (size_t)n < sizeof path ? mkstemp(path) : -1;
  if (fd < 0) {
    snprintf(f->text, sizeof f->text, "kernels cannot be loaded: no temporary file in %.512s: %s", dir && *dir ? dir : "/tmp", strerror(errno));
    return NULL;
  }
  void *h = NULL;
  if (!write_all(fd, object, size)) snprintf(f->text, sizeof f->text, "kernels cannot be loaded: %.512s: %s", path, strerror(errno));
  else if (!(h = dlopen(path, RTLD_NOW | RTLD_LOCAL))) {
    const char *why = dlerror();
    snprintf(f->text, sizeof f->text, "kernels cannot be loaded: %.700s", why ? why : "no reason is known");
  }
  unlink(path);
  close(fd);
  return h;
}

void *cg_kernels_open(const void *object, uint64_t size, cg_failure *f) {
  f->code = CIERGE_MISSING;
  void *h = getenv("CIERGE_NO_MEMFD") ? NULL : open_memory(object, size);
  if (!h) h = open_temporary(object, size, f);
  if (h) pin_openmp();
  return h;
}
