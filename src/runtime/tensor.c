// Strided copies, sizes in bytes, single elements, types as text.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/runtime.h"

bool cg_is_c_order(const int64_t *size, const int64_t *stride, uint32_t rank) {
  if (!stride) return true;
  for (uint32_t d = 0; d < rank; d++)
    if (!size[d]) return true;
  int64_t n = 1;
  for (uint32_t d = rank; d-- > 0;) {
    if (size[d] != 1 && stride[d] != n) return false;
    n *= size[d];
  }
  return true;
}

bool cg_tensor_bytes(const int64_t *size, uint32_t rank, uint32_t es, uint64_t *bytes) {
  int64_t n = es;
  bool empty = false, over = false;
  for (uint32_t d = 0; d < rank; d++) {
    if (size[d] < 0) return false;
    if (!size[d]) empty = true;
    else over |= __builtin_mul_overflow(n, size[d], &n);
  }
  *bytes = empty ? 0 : (uint64_t)n;
  return empty || (!over && n < INT64_MAX / 2);
}

// ---------------------------------------------------------------- copies

// One loop of the copy: how often, and how far both sides step, in bytes.
typedef struct {
  int64_t n, to, from;
} loop;

// Loops without those of size 1; neighbours that step as one are one. The innermost comes last.
static uint32_t make_loops(loop *out, const int64_t *to_stride, const int64_t *from_stride, const int64_t *size, uint32_t rank, int64_t es) {
  uint32_t n = 0;
  int64_t dense = 1;
  loop reversed[CG_PLAN_MAX_RANK];
  for (uint32_t d = rank; d-- > 0; dense *= size[d]) {
    if (size[d] == 1) continue; // its stride may be anything
    loop l = {size[d], (to_stride ? to_stride[d] : dense) * es, (from_stride ? from_stride[d] : dense) * es};
    loop *in = n ? &reversed[n - 1] : NULL;
    if (in && l.to == in->to * in->n && l.from == in->from * in->n) in->n *= l.n;
    else reversed[n++] = l;
  }
  for (uint32_t i = 0; i < n; i++) out[i] = reversed[n - 1 - i];
  return n;
}

static void copy_row(char *to, const char *from, loop l, uint32_t es) {
  switch (es) { // memcpy of a constant size is one move, whatever the alignment
  case 1: for (int64_t i = 0; i < l.n; i++) to[i * l.to] = from[i * l.from]; break;
  case 2: for (int64_t i = 0; i < l.n; i++) memcpy(to + i * l.to, from + i * l.from, 2); break;
  case 4: for (int64_t i = 0; i < l.n; i++) memcpy(to + i * l.to, from + i * l.from, 4); break;
  case 8: for (int64_t i = 0; i < l.n; i++) memcpy(to + i * l.to, from + i * l.from, 8); break;
  default: for (int64_t i = 0; i < l.n; i++) memcpy(to + i * l.to, from + i * l.from, es);
  }
}

static void copy_loops(char *to, const char *from, const loop *l, uint32_t n, uint32_t es) {
  if (n == 1) {
    if (l->to == es && l->from == es) memcpy(to, from, (size_t)l->n * es);
    else copy_row(to, from, *l, es);
    return;
  }
  for (int64_t i = 0; i < l->n; i++) copy_loops(to + i * l->to, from + i * l->from, l + 1, n - 1, es);
}

void cg_copy_strided(void *to, const int64_t *to_stride, const void *from, const int64_t *from_stride, const int64_t *size, uint32_t rank,
                     uint32_t es) {
  for (uint32_t d = 0; d < rank; d++)
    if (!size[d]) return;
  loop l[CG_PLAN_MAX_RANK];
  uint32_t n = make_loops(l, to_stride, from_stride, size, rank, es);
  if (n) copy_loops(to, from, l, n, es);
  else memcpy(to, from, es);
}

// ---------------------------------------------------------------- elements

bool cg_read_number(uint8_t dtype, const void *p, cg_scalar *out) {
  *out = (cg_scalar){.kind = CG_SC_INT};
  union { int8_t i8; uint8_t u8; int16_t i16; uint16_t u16; int32_t i32; uint32_t u32; int64_t i64; uint64_t u64; float f; double d; } x;
  memcpy(&x, p, cg_dtypes[dtype].size <= sizeof x ? cg_dtypes[dtype].size : 0);
  switch (dtype) {
  case CG_BOOL: out->kind = CG_SC_BOOL, out->i = x.u8 != 0; return true;
  case CG_U8: out->i = x.u8; return true;
  case CG_I8: out->i = x.i8; return true;
  case CG_I16: out->i = x.i16; return true;
  case CG_U16: out->i = x.u16; return true;
  case CG_I32: out->i = x.i32; return true;
  case CG_U32: out->i = x.u32; return true;
  case CG_I64: out->i = x.i64; return true;
  case CG_U64: out->i = x.i64; return true;
  case CG_F32: out->kind = CG_SC_FLOAT, out->f = x.f; return true;
  case CG_F64: out->kind = CG_SC_FLOAT, out->f = x.d; return true;
  default: return false;
  }
}

bool cg_write_number(uint8_t dtype, const cg_scalar *s, void *p) {
  bool real = s->kind == CG_SC_FLOAT;
  int64_t i = real ? cg_int_of_double(s->f) : s->i;
  float f = real ? (float)s->f : (float)s->i;
  double d = real ? s->f : (double)s->i;
  switch (dtype) {
  case CG_BOOL: *(uint8_t *)p = real ? s->f != 0 : s->i != 0; return true;
  case CG_F32: memcpy(p, &f, sizeof f); return true;
  case CG_F64: memcpy(p, &d, sizeof d); return true;
  case CG_U8: case CG_I8: case CG_I16: case CG_U16: case CG_I32: case CG_U32: case CG_I64: case CG_U64:
    memcpy(p, &i, cg_dtypes[dtype].size); // little-endian: the low bytes come first
    return true;
  default: return false;
  }
}

// ---------------------------------------------------------------- text

void cg_type_text(char *buf, size_t n, uint8_t dtype, uint32_t rank, const int64_t *size, const char *const *dims) {
  size_t at = (size_t)snprintf(buf, n, "%s[", cg_dtypes[dtype].torch_name);
  for (uint32_t d = 0; d < rank && at < n; d++) {
    const char *comma = d ? ", " : "";
    at += (size_t)(dims ? snprintf(buf + at, n - at, "%s%s", comma, dims[d]) : snprintf(buf + at, n - at, "%s%" PRId64, comma, size[d]));
  }
  if (at < n) snprintf(buf + at, n - at, "]");
}
