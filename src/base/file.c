// Files: mapped for reading; written to a temporary file that takes the target's name when it is complete.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// ---------------------------------------------------------------- Reading

typedef struct {
  void *at;
  size_t size;
} mapping;

static void unmap(void *p) {
  mapping *m = p;
  if (m->at) munmap(m->at, m->size);
}

// What an open file maps to; the reason in *why where it does not (then NULL).
static const uint8_t *map_fd(int fd, struct stat *of, mapping *m, const char **why, cierge_code *code) {
  *code = CIERGE_IO;
  if (fstat(fd, of)) return *why = strerror(errno), NULL;
  if (!S_ISREG(of->st_mode)) {
    *code = CIERGE_BAD_INPUT;
    return *why = S_ISDIR(of->st_mode) ? "is a directory" : "is not a regular file", NULL;
  }
  if (of->st_size == 0) return (const uint8_t *)"";
  if ((uintmax_t)of->st_size > SIZE_MAX / 2) return *why = "is too large", NULL;
  void *at = mmap(NULL, (size_t)of->st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (at == MAP_FAILED) return *why = strerror(errno), NULL;
  *m = (mapping){at, (size_t)of->st_size};
  return at;
}

struct cg_file_note {
  dev_t device;
  ino_t number;
  const char *path;
  cg_file_note *next;
};

static void keep(cg_session *s, const struct stat *st, const char *path) {
  cg_file_note *n = CG_NEW(s, cg_file_note);
  *n = (cg_file_note){st->st_dev, st->st_ino, cg_strdup(s, path), s->files};
  s->files = n;
}

void cg_file_keep(cg_session *s, const char *path) {
  struct stat st;
  if (!stat(path, &st)) keep(s, &st, path);
}

cg_file cg_file_map(cg_session *s, const char *path) {
  cg_file f = {.path = cg_strdup(s, path)};
  mapping *m = CG_NEW(s, mapping);
  cg_defer(s, unmap, m);
  // O_NONBLOCK: opening a pipe that nobody writes to must not hang
  int fd;
  do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) cg_fail(s, CIERGE_IO, "%s: %s", path, strerror(errno));
  const char *why = NULL;
  cierge_code code;
  struct stat st;
  f.data = map_fd(fd, &st, m, &why, &code);
  f.size = m->size;
  close(fd);
  if (!f.data) cg_fail(s, code, "%s: %s", path, why);
  keep(s, &st, path);
  return f;
}

// ---------------------------------------------------------------- Writing

enum { BUFFER = 256 << 10 };

struct cg_writer {
  cg_session *s;
  char *path, *temporary;
  int fd;        // -1: closed
  bool exists;   // the temporary file
  uint64_t size; // with what is in the buffer
  size_t used;
  uint8_t *buffer; // [BUFFER]
};

static void abandon(void *p) {
  cg_writer *w = p;
  if (w->fd >= 0) close(w->fd);
  if (w->exists) unlink(w->temporary);
  w->fd = -1;
  w->exists = false;
}

_Noreturn static void fail(cg_writer *w, const char *what) {
  int e = errno;
  abandon(w);
  cg_fail(w->s, CIERGE_IO, "%s: %s: %s", w->path, what, strerror(e));
}

// The file that `path` leads to: renaming onto a link would replace the link.
static char *target(cg_session *s, const char *path) {
  struct stat st; // asked first: /dev/stderr may lead to a pipe, which has no path
  bool is = !stat(path, &st);
  if (is && !S_ISREG(st.st_mode)) cg_fail(s, CIERGE_IO, "%s: %s", path, S_ISDIR(st.st_mode) ? "is a directory" : "is not a regular file");
  if (is)
    for (const cg_file_note *n = s->files; n; n = n->next)
      if (n->device == st.st_dev && n->number == st.st_ino) cg_fail(s, CIERGE_USAGE, "%s is the same file as %s, which would be lost", path, n->path);
  char *real = realpath(path, NULL);
  if (!real) return cg_strdup(s, path);
  cg_defer(s, free, real);
  return real;
}

static char *folder(cg_session *s, const char *path) {
  const char *slash = strrchr(path, '/');
  return !slash ? cg_strdup(s, ".") : slash == path ? cg_strdup(s, "/") : cg_strndup(s, path, (size_t)(slash - path));
}

cg_writer *cg_writer_open(cg_session *s, const char *path) {
  cg_writer *w = CG_NEW(s, cg_writer);
  *w = (cg_writer){.s = s, .fd = -1};
  w->buffer = cg_alloc(s, BUFFER);
  w->path = target(s, path);
  cg_defer(s, abandon, w);
  const char *dir = folder(s, w->path);
  for (int i = 0; w->fd < 0; i++) {
    w->temporary = cg_format(s, "%s/.cierge-%ld-%d.tmp", dir, (long)getpid(), i);
    w->fd = open(w->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (w->fd < 0 && (i > 1000 || (errno != EEXIST && errno != EINTR))) fail(w, "cannot make a temporary file beside it");
  }
  w->exists = true;
  return w;
}

static void write_all(cg_writer *w, const uint8_t *p, size_t n, int64_t at) {
  while (n) {
    ssize_t k = at < 0 ? write(w->fd, p, n) : pwrite(w->fd, p, n, (off_t)at);
    if (k < 0 && errno == EINTR) continue;
    if (k == 0) errno = ENOSPC;
    if (k <= 0) fail(w, "cannot be written");
    p += k;
    n -= (size_t)k;
    if (at >= 0) at += k;
  }
}

static void flush(cg_writer *w) {
  write_all(w, w->buffer, w->used, -1);
  w->used = 0;
}

static void must_be_open(cg_writer *w) {
  if (w->fd < 0) cg_fail(w->s, CIERGE_INTERNAL, "%s: written to after it was closed", w->path);
}

void cg_writer_add(cg_writer *w, const void *data, size_t size) {
  must_be_open(w);
  if (size > BUFFER - w->used) flush(w);
  if (size > BUFFER) {
    write_all(w, data, size, -1);
  } else if (size) {
    memcpy(w->buffer + w->used, data, size);
    w->used += size;
  }
  w->size += size;
}

uint64_t cg_writer_size(const cg_writer *w) { return w->size; }

void cg_writer_patch(cg_writer *w, uint64_t offset, const void *data, size_t size) {
  must_be_open(w);
  if (size > w->size || offset > w->size - size)
    cg_fail(w->s, CIERGE_INTERNAL, "%s: %zu bytes at %llu patched, %llu written", w->path, size, (unsigned long long)offset,
            (unsigned long long)w->size);
  flush(w);
  write_all(w, data, size, (int64_t)offset);
}

// So that the new name survives a crash of the machine; file systems that cannot do this for a folder say EINVAL.
static void sync_folder(cg_writer *w) {
  int fd = open(folder(w->s, w->path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return; // a folder that may be written to but not read
  int failed;
  do failed = fsync(fd);
  while (failed && errno == EINTR);
  int e = errno;
  close(fd);
  errno = e;
  if (failed && e != EINVAL && e != ENOTSUP) fail(w, "its folder cannot be synced");
}

void cg_writer_commit(cg_writer *w) {
  must_be_open(w);
  flush(w);
  int failed;
  do failed = fsync(w->fd);
  while (failed && errno == EINTR);
  if (failed && errno != EINVAL && errno != ENOTSUP) fail(w, "cannot be synced");
  int fd = w->fd;
  w->fd = -1;
  if (close(fd) && errno != EINTR) fail(w, "cannot be closed");
  if (rename(w->temporary, w->path)) fail(w, "cannot be replaced");
  w->exists = false;
  sync_folder(w);
}
