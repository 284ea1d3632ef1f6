// The writing side of base/bytes.h, into a cg_str.
#ifndef CG_BASE_BYTES_WRITER_H
#define CG_BASE_BYTES_WRITER_H
#include <string.h>
#include "base/str.h"

static inline void cg_write_u8(cg_str *b, uint8_t v) { cg_str_addn(b, (const char *)&v, 1); }
static inline void cg_write_u32(cg_str *b, uint32_t v) { cg_str_addn(b, (const char *)&v, 4); }
static inline void cg_write_u64(cg_str *b, uint64_t v) { cg_str_addn(b, (const char *)&v, 8); }
static inline void cg_write_i64(cg_str *b, int64_t v) { cg_write_u64(b, (uint64_t)v); }
static inline void cg_write_f64(cg_str *b, double v) {
  uint64_t u;
  memcpy(&u, &v, 8);
  cg_write_u64(b, u);
}
static inline void cg_write_text(cg_str *b, const char *t) {
  uint32_t n = t ? (uint32_t)strlen(t) : 0;
  cg_write_u32(b, n);
  cg_str_addn(b, t ? t : "", (size_t)n + 1);
}
#endif
