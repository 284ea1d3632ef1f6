// Little-endian byte streams: what plans and torch programs are stored in.
// The reader never reads past its end: past it, every read gives 0 and `bad` stays set.
// Header only, valid C and C++ (the torch plugin reads programs with it).
#ifndef CG_BASE_BYTES_H
#define CG_BASE_BYTES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  const uint8_t *at, *end;
  bool bad;
} cg_reader;

static inline const void *cg_read_bytes(cg_reader *r, size_t n) {
  if (r->bad || (size_t)(r->end - r->at) < n) {
    r->bad = true;
    return NULL;
  }
  const uint8_t *p = r->at;
  r->at += n;
  return p;
}
static inline uint8_t cg_read_u8(cg_reader *r) {
  const uint8_t *p = (const uint8_t *)cg_read_bytes(r, 1);
  return p ? *p : 0;
}
static inline uint32_t cg_read_u32(cg_reader *r) {
  uint32_t v = 0;
  const void *p = cg_read_bytes(r, 4);
  if (p) memcpy(&v, p, 4);
  return v;
}
static inline uint64_t cg_read_u64(cg_reader *r) {
  uint64_t v = 0;
  const void *p = cg_read_bytes(r, 8);
  if (p) memcpy(&v, p, 8);
  return v;
}
static inline int64_t cg_read_i64(cg_reader *r) { return (int64_t)cg_read_u64(r); }
static inline double cg_read_f64(cg_reader *r) {
  uint64_t v = cg_read_u64(r);
  double d;
  memcpy(&d, &v, 8);
  return d;
}
// A count of things that take at least `min` bytes each: refused (bad) when that many cannot follow.
static inline uint32_t cg_read_count(cg_reader *r, size_t min) {
  uint32_t n = cg_read_u32(r);
  if (!r->bad && min && n > (size_t)(r->end - r->at) / min) r->bad = true;
  return r->bad ? 0 : n;
}
// A text: u32 length, bytes, one NUL that is not counted. Gives a pointer into the stream ("" when bad).
static inline const char *cg_read_text(cg_reader *r, uint32_t *length) {
  uint32_t n = cg_read_count(r, 1);
  const char *p = (const char *)cg_read_bytes(r, (size_t)n + 1);
  if (p && (p[n] != 0 || memchr(p, 0, n))) {
    r->bad = true;
    p = NULL;
  }
  if (length) *length = p ? n : 0;
  return p ? p : "";
}
#endif
