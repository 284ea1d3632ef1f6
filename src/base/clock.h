// The clock that durations are measured by.
#ifndef CG_BASE_CLOCK_H
#define CG_BASE_CLOCK_H
#include <stdint.h>
#include <time.h>

// Nanoseconds since some moment, the same for all threads of the machine; never goes back.
static inline uint64_t cg_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
#endif
