// The plan of the arena: where each value of known size lies, so that values that live at the same time do not overlap.
//
// Greedy by size: the largest value first, each into the smallest gap that holds it between the values placed before that
// live when it does, else behind them (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
// 2020, "greedy by size" with best fit). The bound is the most that is alive in one step: no plan can be smaller.
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

#ifdef __SANITIZE_ADDRESS__
enum { GAP = 64 }; // between values, so that a step past the end of one is seen
#else
enum { GAP = 0 };
#endif

static uint64_t padded(uint64_t bytes) { return ((bytes + 63) & ~(uint64_t)63) + GAP; }

static const cg_value_info *info(const cg_frame *f, uint32_t v) { return &f->fn->value[v]; }

static bool together(const cg_value_info *a, const cg_value_info *b) { return a->first <= b->last && b->first <= a->last; }

// Larger ones first; of two equals the one that lives first.
static bool before(const cg_frame *f, uint32_t a, uint32_t b) {
  uint64_t x = f->slot[a].bytes, y = f->slot[b].bytes;
  if (x != y) return x > y;
  return info(f, a)->first != info(f, b)->first ? info(f, a)->first < info(f, b)->first : a < b;
}

// Heap sort: no memory, no recursion, no surprise.
static void sift(const cg_frame *f, uint32_t *at, uint32_t i, uint32_t n) {
  for (;;) {
    uint32_t last = i, l = 2 * i + 1;
    for (uint32_t k = l; k < n && k < l + 2; k++)
      if (before(f, at[last], at[k])) last = k;
    if (last == i) return;
    uint32_t t = at[i];
    at[i] = at[last];
    at[last] = t;
    i = last;
  }
}

static void sort(const cg_frame *f, uint32_t *at, uint32_t n) {
  for (uint32_t i = n / 2; i-- > 0;) sift(f, at, i, n);
  for (uint32_t i = n; i-- > 1;) {
    uint32_t t = at[0];
    at[0] = at[i];
    at[i] = t;
    sift(f, at, 0, i);
  }
}

// `placed` is in order of address. Gives where a value of `need` bytes goes.
static uint64_t best_gap(const cg_frame *f, const uint32_t *placed, const uint64_t *place, uint32_t n, uint32_t v, uint64_t need) {
  uint64_t end = 0, best = UINT64_MAX, best_size = UINT64_MAX;
  for (uint32_t i = 0; i < n; i++) {
    if (!together(info(f, placed[i]), info(f, v))) continue;
    if (place[i] > end && place[i] - end >= need && place[i] - end < best_size) best = end, best_size = place[i] - end;
    uint64_t behind = place[i] + padded(f->slot[placed[i]].bytes);
    if (behind > end) end = behind;
  }
  return best != UINT64_MAX ? best : end;
}

static uint64_t lower_bound(const cg_frame *f, const uint32_t *value, uint32_t n) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < n; i++) { // the most is alive where some value begins
    uint32_t step = info(f, value[i])->first;
    uint64_t sum = 0;
    for (uint32_t k = 0; k < n; k++)
      if (info(f, value[k])->first <= step && step <= info(f, value[k])->last) sum += padded(f->slot[value[k]].bytes);
    if (sum > most) most = sum;
  }
  return most;
}

static bool is_planned(const cg_frame *f, uint32_t i) {
  const cg_plan_value *v = &f->fn->plan->value[i];
  return v->kind == CG_V_TENSOR && v->storage == CG_ST_ARENA && !info(f, i)->late && info(f, i)->first != UINT32_MAX;
}

static uint32_t planned_values(const cg_frame *f, uint32_t *out, uint64_t *total) {
  const cg_plan_fn *plan = f->fn->plan;
  uint32_t n = 0;
  *total = 0;
  for (uint32_t i = 0; i < plan->n_values; i++) {
    if (!is_planned(f, i)) continue;
    if (__builtin_add_overflow(*total, padded(f->slot[i].bytes), total)) *total = UINT64_MAX / 2;
    out[n++] = i;
  }
  return n;
}

cierge_status *cg_arena_plan(cg_frame *f) {
  uint32_t *order = f->order, *placed = f->order + f->fn->n_planned;
  uint64_t *place = f->place, total, used = 0;
  uint32_t n = planned_values(f, order, &total);
  if (total >= INT64_MAX) return cg_status_new(CIERGE_NO_MEMORY, "out of memory: the intermediate values of this call are too large for any machine");
  sort(f, order, n);
  for (uint32_t i = 0; i < n; i++) {
    uint64_t need = padded(f->slot[order[i]].bytes), at = best_gap(f, placed, place, i, order[i], need);
    uint32_t k = i;
    for (; k > 0 && place[k - 1] > at; k--) place[k] = place[k - 1], placed[k] = placed[k - 1];
    place[k] = at;
    placed[k] = order[i];
    if (at + need > used) used = at + need;
  }
  f->arena_used = used;
  f->arena_bound = f->ns || f->plan_only ? lower_bound(f, order, n) : 0; // only who measures or asks wants to know
  if (f->plan_only) return NULL;
  if (!cg_buffer_need(&f->arena, used)) return cg_no_memory();
  for (uint32_t i = 0; i < n; i++) f->slot[placed[i]].data = (char *)f->arena.at + place[i];
  return NULL;
}

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
// The arena is one allocation, so ASan is told by hand which parts of it a step may touch.
void cg_arena_watch(const cg_frame *f, uint32_t step) {
  ASAN_POISON_MEMORY_REGION(f->arena.at, f->arena.size);
  for (uint32_t i = 0; i < f->fn->plan->n_values; i++)
    if (is_planned(f, i) && info(f, i)->first <= step && step <= info(f, i)->last) ASAN_UNPOISON_MEMORY_REGION(f->slot[i].data, f->slot[i].bytes);
}
#endif
