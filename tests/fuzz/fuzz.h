// What the fuzz targets share. Each target is one function, LLVMFuzzerTestOneInput, linked with libFuzzer or with replay.c.
// A target calls what reads untrusted bytes; an error is a right answer, a report of a sanitizer is not.
#ifndef CG_TESTS_FUZZ_H
#define CG_TESTS_FUZZ_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Memory that cannot be had is NULL, as it is for users.
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void) { return "allocator_may_return_null=1:max_allocation_size_mb=1024"; }

typedef struct {
  const uint8_t *data;
  size_t size;
  char path[64]; // of a file with these bytes, where the target asked for one
} fuzz_input;

// f in a session of its own, whatever it throws.
static inline void fuzz_try(void (*f)(cg_session *, void *), fuzz_input *in) {
  cg_session s;
  cg_session_init(&s);
  cg_try(&s, f, in);
  cg_session_end(&s);
}

// The same where these bytes are a file, which has no name.
static inline void fuzz_try_file(void (*f)(cg_session *, void *), fuzz_input *in) {
  int fd = memfd_create("fuzz", 0);
  if (fd < 0 || write(fd, in->data, in->size) != (ssize_t)in->size) abort();
  snprintf(in->path, sizeof in->path, "/proc/self/fd/%d", fd);
  fuzz_try(f, in);
  close(fd);
}

// Reads all of what a reader gave.
static inline void fuzz_touch(const void *p, uint64_t n) {
  volatile uint8_t sum = 0;
  for (uint64_t i = 0; i < n; i++) sum ^= ((const uint8_t *)p)[i];
}

// ---------------------------------------------------------------- archives

// Fuzzers do not find CRCs. So an archive is given as text, "=== NAME\n" before each member's bytes, and packed here.
typedef struct {
  uint8_t *at;
  size_t n;
} fuzz_bytes;

static inline void fuzz_add(fuzz_bytes *b, const void *p, size_t n) {
  b->at = realloc(b->at, b->n + n + 1);
  if (!b->at) abort();
  if (n) memcpy(b->at + b->n, p, n);
  b->n += n;
}

static inline void fuzz_number(fuzz_bytes *b, uint32_t v, size_t bytes) { fuzz_add(b, &v, bytes); }

static inline void fuzz_header(fuzz_bytes *b, uint32_t crc, size_t size, size_t name) {
  fuzz_number(b, 0, 2), fuzz_number(b, 0, 2), fuzz_number(b, 0, 4); // flags, method, time
  fuzz_number(b, crc, 4), fuzz_number(b, (uint32_t)size, 4), fuzz_number(b, (uint32_t)size, 4);
  fuzz_number(b, (uint32_t)name, 2), fuzz_number(b, 0, 2);
}

static inline fuzz_bytes fuzz_zip(const uint8_t *data, size_t size) {
  static const char mark[] = "=== ";
  fuzz_bytes zip = {0}, directory = {0};
  const uint8_t *at = data, *end = data + size;
  uint32_t n = 0;
  while (end - at >= 4 && !memcmp(at, mark, 4)) {
    const uint8_t *name = at + 4, *line = memchr(name, '\n', (size_t)(end - name));
    if (!line || line - name > 4096) break;
    const uint8_t *body = line + 1, *next = body;
    while (next < end && !(next[0] == '\n' && end - next > 4 && !memcmp(next + 1, mark, 4))) next++;
    size_t bytes = (size_t)(next - body), length = (size_t)(line - name);
    uint32_t crc = (uint32_t)crc32(0, body, (uInt)bytes), offset = (uint32_t)zip.n;
    fuzz_number(&zip, 0x04034b50, 4), fuzz_number(&zip, 20, 2);
    fuzz_header(&zip, crc, bytes, length);
    fuzz_add(&zip, name, length);
    fuzz_add(&zip, body, bytes);
    fuzz_number(&directory, 0x02014b50, 4), fuzz_number(&directory, 20, 2), fuzz_number(&directory, 20, 2);
    fuzz_header(&directory, crc, bytes, length);
    fuzz_number(&directory, 0, 2), fuzz_number(&directory, 0, 4), fuzz_number(&directory, 0, 4), fuzz_number(&directory, offset, 4);
    fuzz_add(&directory, name, length);
    n++;
    at = next + (next < end);
  }
  uint32_t start = (uint32_t)zip.n;
  fuzz_add(&zip, directory.at, directory.n);
  fuzz_number(&zip, 0x06054b50, 4), fuzz_number(&zip, 0, 4), fuzz_number(&zip, n, 2), fuzz_number(&zip, n, 2);
  fuzz_number(&zip, (uint32_t)directory.n, 4), fuzz_number(&zip, start, 4), fuzz_number(&zip, 0, 2);
  free(directory.at);
  return zip;
}

static inline void fuzz_try_archive(void (*f)(cg_session *, void *), const uint8_t *data, size_t size) {
  fuzz_bytes zip = fuzz_zip(data, size);
  fuzz_try_file(f, &(fuzz_input){.data = zip.at, .size = zip.n});
  free(zip.at);
}
#endif
