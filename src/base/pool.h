// Memory that is freed all at once, for code that returns failures instead of throwing (see base/session.h for the other).
// Header only, so that the runtime can have it without the compiler's base.
#ifndef CG_BASE_POOL_H
#define CG_BASE_POOL_H
#include <string.h>

#include "base/alloc.h"

typedef struct cg_pool_block {
  struct cg_pool_block *next;
  size_t used, size; // bytes behind this header
} cg_pool_block;

typedef struct {
  cg_pool_block *block;
} cg_pool;

enum { CG_POOL_HEAD = (sizeof(cg_pool_block) + 15) & ~15u, CG_POOL_BLOCK = 16 << 10 };

static inline cg_pool_block *cg_pool_grow(cg_pool *p, size_t need) {
  size_t size = need > CG_POOL_BLOCK ? need : CG_POOL_BLOCK;
  cg_pool_block *b = (cg_pool_block *)cg_heap_alloc(CG_POOL_HEAD + size);
  if (!b) return NULL;
  *b = (cg_pool_block){p->block, 0, size};
  return p->block = b;
}

// count * size zeroed bytes, 16-byte aligned. NULL: there are none, or the product does not fit.
static inline void *cg_pool_alloc(cg_pool *p, size_t count, size_t size) {
  size_t n;
  if (__builtin_mul_overflow(count, size, &n) || n > SIZE_MAX / 2) return NULL;
  n = (n + 15) & ~(size_t)15;
  cg_pool_block *b = p->block;
  if ((!b || b->size - b->used < n) && !(b = cg_pool_grow(p, n))) return NULL;
  void *at = (char *)b + CG_POOL_HEAD + b->used;
  b->used += n;
  return memset(at, 0, n);
}

static inline void cg_pool_free(cg_pool *p) {
  while (p->block) {
    cg_pool_block *b = p->block;
    p->block = b->next;
    cg_heap_free(b);
  }
}
#endif
