// The one door to the heap for cierge's own code, so that tests can make any allocation fail.
#ifndef CG_BASE_ALLOC_H
#define CG_BASE_ALLOC_H
#include <stddef.h>
#include <stdint.h>

// As malloc, calloc, realloc, free. cg_heap_realloc leaves p alone when it returns NULL.
void *cg_heap_alloc(size_t size);
void *cg_heap_zalloc(size_t count, size_t size);
void *cg_heap_realloc(void *p, size_t size);
void *cg_heap_aligned(size_t align, size_t size);
void cg_heap_free(void *p);

// Tests only: the n-th allocation from now (1-based) fails, and if `onwards` all after it too; 0 switches it off.
void cg_heap_fail_at(long n, int onwards);
long cg_heap_count(void); // allocations since cg_heap_fail_at was last called
#endif
