// Growable arrays: a doubled copy in the arena.
#include "base/vec.h"

#include <limits.h>
#include <string.h>

void *cg_vec_grow(cg_session *s, void *at, int n, int *cap, size_t size) {
  if (*cap > INT_MAX / 2) cg_fail(s, CIERGE_NO_MEMORY, "out of memory: a list of more than %d items", *cap);
  int more = *cap ? *cap * 2 : 8;
  void *p = cg_alloc_array(s, (size_t)more, size);
  if (n) memcpy(p, at, (size_t)n * size);
  *cap = more;
  return p;
}
