// Opens an artifact: maps the file and believes nothing in it before its hash was checked (doc/artifact.md).
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact/artifact.h"

#define XXH_INLINE_ALL
#include "xxhash/xxhash.h"

bool cg_failed(cg_failure *f, int code, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(f->text, sizeof f->text, fmt, ap);
  va_end(ap);
  f->code = code;
  return false;
}

// ---------------------------------------------------------------- the file

static bool map_fd(cg_artifact *a, int fd, cg_failure *f) {
  struct stat st;
  if (fstat(fd, &st)) return cg_failed(f, CIERGE_IO, "%s: %s", a->path, strerror(errno));
  if (!S_ISREG(st.st_mode)) return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: not a regular file", a->path);
  if (st.st_size < (off_t)sizeof(cg_format_header))
    return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: not an artifact of cierge: %lld bytes are less than a header", a->path, (long long)st.st_size);
  if ((uintmax_t)st.st_size > SIZE_MAX / 2) return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: too large for this machine", a->path);
  void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (at == MAP_FAILED) return cg_failed(f, CIERGE_IO, "%s: %s", a->path, strerror(errno));
  a->base = at;
  a->size = (uint64_t)st.st_size;
  return true;
}

static bool map(cg_artifact *a, cg_failure *f) {
  int fd; // O_NONBLOCK: opening a pipe that nobody writes to must not hang
  do fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) return cg_failed(f, CIERGE_IO, "%s: %s", a->path, strerror(errno));
  bool ok = map_fd(a, fd, f);
  close(fd);
  return ok;
}

// ---------------------------------------------------------------- header and table

static bool check_header(const cg_artifact *a, cg_format_header *h, cg_failure *f) {
  memcpy(h, a->base, sizeof *h);
  if (memcmp(h->magic, CG_FORMAT_MAGIC, sizeof h->magic))
    return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: not an artifact of cierge (offset 0 does not say CIERGE)", a->path);
  if (h->version != CG_FORMAT_VERSION)
    return cg_failed(f, CIERGE_BAD_ARTIFACT,
                "%s: its format version is %u: it was made by %s cierge, or it is damaged (offset 8); this cierge, %s, reads version %u: compile the model again",
                a->path, h->version, h->version > CG_FORMAT_VERSION ? "a newer" : "an older", CIERGE_VERSION, CG_FORMAT_VERSION);
  if (h->file_size != a->size)
    return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: header, offset 16: the file should have %llu bytes and has %llu: it is damaged or was cut off", a->path,
                (unsigned long long)h->file_size, (unsigned long long)a->size);
  uint64_t room = (a->size - sizeof *h) / sizeof(cg_format_section);
  if (!h->n_sections || h->n_sections > CG_FORMAT_MAX_SECTIONS || h->n_sections > room)
    return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: header, offset 12: damaged: %u sections", a->path, h->n_sections);
  uint64_t hash = h->hash;
  h->hash = 0;
  XXH3_state_t x;
  XXH3_64bits_reset(&x);
  XXH3_64bits_update(&x, h, sizeof *h);
  XXH3_64bits_update(&x, a->base + sizeof *h, h->n_sections * sizeof(cg_format_section));
  if (XXH3_64bits_digest(&x) != hash)
    return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: header, offset 0: damaged: header and section table do not have the recorded hash", a->path);
  return true;
}

static bool gap_is_zero(const cg_artifact *a, uint64_t from, uint64_t to, const char *before, cg_failure *f) {
  for (uint64_t i = from; i < to; i++)
    if (a->base[i]) return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: section %s: the padding before it is damaged, offset %llu", a->path, before, (unsigned long long)i);
  return true;
}

static bool check_kind(const cg_artifact *a, uint32_t i, cg_failure *f) {
  const char *kind = a->section[i].kind;
  size_t n = strnlen(kind, sizeof a->section[i].kind);
  bool bad = !n || n == sizeof a->section[i].kind;
  for (size_t k = 0; k < sizeof a->section[i].kind; k++) bad |= k < n ? kind[k] < 'a' || kind[k] > 'z' : kind[k] != 0;
  if (bad) return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: section table: section %u has no name", a->path, i);
  for (uint32_t k = 0; k < i; k++)
    if (!strcmp(a->section[k].kind, kind)) return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: section table: %s is there twice", a->path, kind);
  return true;
}

static bool check_table(const cg_artifact *a, cg_failure *f) {
  uint64_t end = sizeof(cg_format_header) + a->n_sections * sizeof(cg_format_section);
  for (uint32_t i = 0; i < a->n_sections; i++) {
    if (!check_kind(a, i, f)) return false;
    const cg_format_section *s = &a->section[i];
    uint64_t align = strcmp(s->kind, CG_SECTION_WEIGHTS) ? 64 : 4096;
    if (s->offset > a->size || s->size > a->size - s->offset)
      return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: section %s lies beyond the end of the file, offset %llu", a->path, s->kind, (unsigned long long)s->offset);
    if (s->offset < end || s->offset % align || s->offset - end >= align)
      return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: section %s is out of place, offset %llu", a->path, s->kind, (unsigned long long)s->offset);
    if (!gap_is_zero(a, end, s->offset, s->kind, f)) return false;
    end = s->offset + s->size;
  }
  if (end != a->size) return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: there are bytes behind the last section, offset %llu", a->path, (unsigned long long)end);
  return true;
}

static bool check_hashes(const cg_artifact *a, bool check_weights, cg_failure *f) {
  for (uint32_t i = 0; i < a->n_sections; i++) {
    const cg_format_section *s = &a->section[i];
    if (!check_weights && !strcmp(s->kind, CG_SECTION_WEIGHTS)) continue;
    if (XXH3_64bits(a->base + s->offset, s->size) != s->hash)
      return cg_failed(f, CIERGE_BAD_ARTIFACT, "%s: section %s is damaged, offset %llu, %llu bytes: it does not have the recorded hash", a->path, s->kind,
                  (unsigned long long)s->offset, (unsigned long long)s->size);
  }
  return true;
}

static bool check(cg_artifact *a, bool check_weights, cg_failure *f) {
  cg_format_header h;
  if (!check_header(a, &h, f)) return false;
  a->section = (cg_format_section *)(a->base + sizeof h);
  a->n_sections = h.n_sections;
  return check_table(a, f) && check_hashes(a, check_weights, f);
}

bool cg_artifact_open(cg_artifact *a, const char *path, bool check_weights, cg_failure *f) {
  *a = (cg_artifact){.path = path};
  if (map(a, f) && check(a, check_weights, f)) return true;
  cg_artifact_close(a);
  return false;
}

void cg_artifact_close(cg_artifact *a) {
  if (a->base) munmap((void *)a->base, a->size);
  *a = (cg_artifact){0};
}

const uint8_t *cg_artifact_section(const cg_artifact *a, const char *kind, uint64_t *size) {
  for (uint32_t i = 0; i < a->n_sections; i++) {
    if (strcmp(a->section[i].kind, kind)) continue;
    *size = a->section[i].size;
    return a->base + a->section[i].offset;
  }
  *size = 0;
  return NULL;
}
