// The one door to the heap, with a switch that makes a chosen allocation fail.
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

// Until cg_heap_fail_at() is called once, an allocation pays one relaxed load for the switch.
static atomic_bool watched;
static atomic_long count, fail_at;
static atomic_bool fail_onwards;

static bool refused(void) {
  if (!atomic_load_explicit(&watched, memory_order_relaxed)) return false;
  long n = atomic_fetch_add(&count, 1) + 1, at = atomic_load(&fail_at);
  return at > 0 && (n == at || (n > at && atomic_load(&fail_onwards)));
}

void *cg_heap_alloc(size_t size) { return refused() ? NULL : malloc(size ? size : 1); }

void *cg_heap_zalloc(size_t number, size_t size) {
  if (refused()) return NULL;
  return number && size ? calloc(number, size) : calloc(1, 1);
}

void *cg_heap_realloc(void *p, size_t size) { return refused() ? NULL : realloc(p, size ? size : 1); }

void *cg_heap_aligned(size_t align, size_t size) {
  if (refused()) return NULL;
  void *p = NULL;
  if (align < sizeof(void *)) align = sizeof(void *);
  return posix_memalign(&p, align, size ? size : 1) ? NULL : p;
}

void cg_heap_free(void *p) { free(p); }

void cg_heap_fail_at(long n, int onwards) {
  atomic_store(&fail_at, n);
  atomic_store(&fail_onwards, onwards != 0);
  atomic_store(&count, 0);
  atomic_store(&watched, true);
}

long cg_heap_count(void) { return atomic_load(&count); }
