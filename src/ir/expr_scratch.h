// Memory of arithmetic on symbolic integers: it lives until the operation that took it has interned its result. A stack of blocks,
// kept for the next operation.
#ifndef CG_IR_EXPR_SCRATCH_H
#define CG_IR_EXPR_SCRATCH_H
#include "ir/expr.h"

struct cg_expr_scratch {
  struct cg_expr_scratch *next;
  size_t size;
  char at[]; // aligned as the session's memory is
};

enum { CG_X_SCRATCH = 64 << 10 }; // bytes taken at a time

static inline void *cg_x_scratch(cg_expr_pool *p, size_t count, size_t size) {
  size_t bytes = (count * size + 15) / 16 * 16; // counts are of terms in memory: no overflow
  struct cg_expr_scratch *b = p->scratch_at;
  if (b && p->scratch_used + bytes <= b->size) {
    p->scratch_used += bytes;
    return b->at + p->scratch_used - bytes;
  }
  struct cg_expr_scratch **next = b ? &b->next : &p->scratch;
  if (!*next || (*next)->size < bytes) {
    struct cg_expr_scratch *more = cg_alloc(p->s, sizeof *more + (bytes < CG_X_SCRATCH ? CG_X_SCRATCH : bytes));
    more->size = bytes < CG_X_SCRATCH ? CG_X_SCRATCH : bytes;
    more->next = *next;
    *next = more;
  }
  p->scratch_at = *next;
  p->scratch_used = bytes;
  return p->scratch_at->at;
}
#define SCRATCH(p, T, n) ((T *)cg_x_scratch((p), (size_t)(n), sizeof(T)))

// What is taken between the two is given back.
typedef struct {
  struct cg_expr_scratch *at;
  size_t used;
} cg_x_mark;
static inline cg_x_mark cg_x_scratch_begin(const cg_expr_pool *p) { return (cg_x_mark){p->scratch_at, p->scratch_used}; }
static inline void cg_x_scratch_end(cg_expr_pool *p, cg_x_mark m) { p->scratch_at = m.at, p->scratch_used = m.used; }
#endif
