// The cache of what was compiled and measured. An entry is its content, its key, and a line of END bytes.
#include "backend/c/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/str.h"

// "\n", the hash of what stands before, a space, the key's size, a newline.
enum { END = 1 + CG_HASH_DIGITS + 1 + 16 + 1 };

static void end_line(char line[END + 1], const void *data, size_t size, size_t key_size) {
  snprintf(line, END + 1, "\n%s %016llx\n", cg_hash_of(data, size).text, (unsigned long long)key_size);
}

// ---------------------------------------------------------------- whose it is

static void drop(void *p) {
  int *fd = p;
  if (*fd >= 0) close(*fd);
}

// Opens a file in `in`; the session closes it. Links are not followed. -1: it cannot be opened.
static int at(cg_session *s, int in, const char *name, int flags) {
  int *fd = CG_NEW(s, int);
  *fd = -1;
  cg_defer(s, drop, fd);
  return *fd = openat(in, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static bool ours(int fd, mode_t kind, off_t *size) {
  struct stat st;
  if (fstat(fd, &st) || (st.st_mode & S_IFMT) != kind) return false;
  *size = st.st_size;
  return (st.st_uid == geteuid() || !st.st_uid) && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

static const char *place(cg_session *s) {
  const char *dir = getenv("CIERGE_CACHE"), *home = getenv("HOME");
  if (dir) return *dir && strcmp(dir, "none") ? dir : NULL;
  if (!home || !*home) return NULL;
  const char *up = cg_format(s, "%s/.cache", home);
  mkdir(up, 0700);
  return cg_format(s, "%s/cierge", up);
}

// Everything is opened relative to this, so that it stays the folder that was looked at. -1: there is none that may be used.
static int folder(cg_session *s) {
  const char *given = place(s);
  if (!given) return -1;
  char *dir = cg_strdup(s, given);
  for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/';) dir[--n] = 0; // behind a slash a link would be followed
  if (mkdir(dir, 0700) && errno != EEXIST) return -1;
  int fd = at(s, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
  off_t size;
  return fd >= 0 && ours(fd, S_IFDIR, &size) ? fd : -1;
}

// ---------------------------------------------------------------- entries

static bool read_at(int fd, void *to, size_t size, off_t from) {
  for (size_t done = 0; done < size;) {
    ssize_t n = pread(fd, (uint8_t *)to + done, size - done, from + (off_t)done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += (size_t)n;
  }
  return true;
}

static bool write_to(int fd, const void *data, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t n = write(fd, (const uint8_t *)data + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += (size_t)n;
  }
  return true;
}

bool cg_cache_get(cg_session *s, const char *name, const char *key, const void **data, size_t *size) {
  int in = folder(s), fd = in >= 0 ? at(s, in, name, O_RDONLY | O_NONBLOCK) : -1;
  size_t key_size = strlen(key), more = key_size + END;
  off_t all;
  if (fd < 0 || !ours(fd, S_IFREG, &all) || all < (off_t)more) return false;
  char end[END + 1], *its_key = cg_alloc(s, key_size + 1);
  if (!read_at(fd, its_key, key_size, all - (off_t)more) || memcmp(its_key, key, key_size)) return false;
  char *content = cg_alloc(s, (size_t)all);
  if (!read_at(fd, content, (size_t)all, 0)) return false;
  end_line(end, content, (size_t)all - END, key_size);
  if (memcmp(content + all - END, end, END)) return false;
  *data = content, *size = (size_t)all - more;
  return true;
}

void cg_cache_put(cg_session *s, const char *name, const char *key, const void *data, size_t size) {
  int in = folder(s);
  if (in < 0) return;
  cg_str b = cg_str_new(s);
  cg_str_addn(&b, data, size);
  cg_str_add(&b, key);
  char end[END + 1];
  end_line(end, b.at, b.n, strlen(key));
  cg_str_addn(&b, end, END);
  uint64_t word = cg_now(); // no number of a process: those come again, and what a killed one left would be in the way
  if (getrandom(&word, sizeof word, GRND_NONBLOCK) < 0) word ^= (uint64_t)getpid() << 32;
  const char *temporary = cg_format(s, "%s.%016llx", name, (unsigned long long)word);
  int fd = at(s, in, temporary, O_WRONLY | O_CREAT | O_EXCL);
  if (fd < 0) return;
  bool good = write_to(fd, b.at, b.n) && !fsync(fd); // before it has its name, all of it is on the disk
  if (!good || renameat(in, temporary, in, name)) unlinkat(in, temporary, 0);
}
