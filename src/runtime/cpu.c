// What this processor can do, against what an artifact was built for: the levels of the x86-64 psABI.
#include <cpuid.h>
#include <stdio.h>
#include <string.h>

#include "runtime/cpu.h"

const char *const cg_cpu_levels[CG_CPU_LEVELS] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"}; // levels 2, 3, 4
const char *const cg_cpu_extras[CG_CPU_EXTRAS] = {[CG_CPU_VNNI] = "vnni", [CG_CPU_BF16] = "bf16"};

// Registers of cpuid and xgetbv that targets speak of.
enum { LEAF1_ECX, LEAF7_EBX, LEAF7_ECX, EXT1_ECX, LEAF7_1_EAX, LEAF7_EDX };
enum { LAST = CG_CPU_LEVELS + 1, EXTRA }; // the last level; EXTRA + x: the extra x

typedef struct {
  const char *name;
  int level, word;
  unsigned bit;
} feature;

static const feature features[] = {
    {"SSE3", 2, LEAF1_ECX, 0}, {"SSSE3", 2, LEAF1_ECX, 9}, {"CMPXCHG16B", 2, LEAF1_ECX, 13}, {"SSE4.1", 2, LEAF1_ECX, 19}, {"SSE4.2", 2, LEAF1_ECX, 20},
    {"POPCNT", 2, LEAF1_ECX, 23}, {"LAHF", 2, EXT1_ECX, 0},
    {"FMA", 3, LEAF1_ECX, 12}, {"MOVBE", 3, LEAF1_ECX, 22}, {"OSXSAVE", 3, LEAF1_ECX, 27}, {"AVX", 3, LEAF1_ECX, 28}, {"F16C", 3, LEAF1_ECX, 29},
    {"LZCNT", 3, EXT1_ECX, 5}, {"BMI1", 3, LEAF7_EBX, 3}, {"AVX2", 3, LEAF7_EBX, 5}, {"BMI2", 3, LEAF7_EBX, 8},
    {"AVX512F", 4, LEAF7_EBX, 16}, {"AVX512DQ", 4, LEAF7_EBX, 17}, {"AVX512CD", 4, LEAF7_EBX, 28}, {"AVX512BW", 4, LEAF7_EBX, 30}, {"AVX512VL", 4, LEAF7_EBX, 31},
    {"AVX512VNNI", EXTRA + CG_CPU_VNNI, LEAF7_ECX, 11}, {"AVX512BF16", EXTRA + CG_CPU_BF16, LEAF7_1_EAX, 5},
};

static uint64_t enabled_state(uint32_t leaf1_ecx) {
  if (!(leaf1_ecx >> 27 & 1)) return 0; // OSXSAVE
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t)hi << 32 | lo;
}

cg_cpu cg_cpu_here(void) {
  cg_cpu c = {0};
  uint32_t a, b, x, d;
  if (__get_cpuid(1, &a, &b, &x, &d)) c.word[LEAF1_ECX] = x;
  if (__get_cpuid_count(7, 0, &a, &b, &x, &d)) c.word[LEAF7_EBX] = b, c.word[LEAF7_ECX] = x, c.word[LEAF7_EDX] = d;
  else a = 0;
  if (a && __get_cpuid_count(7, 1, &a, &b, &x, &d)) c.word[LEAF7_1_EAX] = a;
  if (__get_cpuid(0x80000001, &a, &b, &x, &d)) c.word[EXT1_ECX] = x;
  c.xcr0 = enabled_state(c.word[LEAF1_ECX]);
  return c;
}

void cg_cpu_name(char name[CG_CPU_NAME]) {
  uint32_t r[12] = {0}, a = 0, b, x, d;
  for (uint32_t i = 0; i < 3; i++)
    if (!__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3])) break;
  __get_cpuid(1, &a, &b, &x, &d); // family, model, stepping
  snprintf(name, CG_CPU_NAME, "%.48s %08x", (const char *)r, a);
  for (char *p = name; *p; p++)
    if (*p == '/') *p = ' ';
}

static void add(char *out, size_t n, const char *what) {
  size_t at = strlen(out);
  if (at < n) snprintf(out + at, n - at, "%s%s", at ? ", " : "", what);
}

static bool has(const cg_cpu *c, const feature *f) { return c->word[f->word] >> f->bit & 1; }

// 0: no such level.
static int level_of(const char *name, size_t n) {
  if (n == strlen("x86-64") && !memcmp(name, "x86-64", n)) return 1;
  for (int i = 0; i < CG_CPU_LEVELS; i++)
    if (strlen(cg_cpu_levels[i]) == n && !memcmp(cg_cpu_levels[i], name, n)) return i + 2;
  return 0;
}

cg_cpu_target cg_cpu_parse(const char *target) {
  const cg_cpu_target none = {0};
  size_t n = strcspn(target, "+");
  int level = level_of(target, n);
  if (!level || (target[n] && level < LAST)) return none;
  cg_cpu_target t = {.level = level > 1 ? cg_cpu_levels[level - 2] : "x86-64"};
  for (target += n; *target; target += n) {
    n = strcspn(++target, "+");
    unsigned before = t.extras;
    for (int x = 0; x < CG_CPU_EXTRAS; x++)
      if (strlen(cg_cpu_extras[x]) == n && !memcmp(cg_cpu_extras[x], target, n)) t.extras |= 1u << x;
    if (t.extras == before) return none;
  }
  return t;
}

bool cg_cpu_lacks(const cg_cpu *c, const char *target, char *missing, size_t n) {
  *missing = 0;
  cg_cpu_target t = cg_cpu_parse(target);
  if (!t.level) {
    snprintf(missing, n, "a processor of that kind");
    return true;
  }
  int level = level_of(t.level, strlen(t.level));
  for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
    const feature *f = &features[i];
    bool asked = f->level < EXTRA ? f->level <= level : t.extras >> (f->level - EXTRA) & 1;
    if (asked && !has(c, f)) add(missing, n, f->name);
  }
  if (level >= 3 && (c->xcr0 & 0x6) != 0x6) add(missing, n, "the operating system's support of AVX registers");
  if (level >= 4 && (c->xcr0 & 0xe0) != 0xe0) add(missing, n, "the operating system's support of AVX-512 registers");
  return *missing;
}

// Processors with AMX (Intel's, since Sapphire Rapids) have AVX512-BF16 at half the speed of as many multiplications in f32.
static bool slow(const cg_cpu *c, int extra) { return extra == CG_CPU_BF16 && c->word[LEAF7_EDX] >> 22 & 1; }

cg_cpu_target cg_cpu_best(const cg_cpu *c) {
  char missing[512];
  int i = CG_CPU_LEVELS - 1;
  while (i && cg_cpu_lacks(c, cg_cpu_levels[i], missing, sizeof missing)) i--;
  cg_cpu_target t = {.level = cg_cpu_levels[i]};
  for (size_t k = 0; k < sizeof features / sizeof *features && i == CG_CPU_LEVELS - 1; k++) {
    int x = features[k].level - EXTRA;
    if (x >= 0 && has(c, &features[k]) && !slow(c, x)) t.extras |= 1u << x;
  }
  return t;
}

bool cg_cpu_fits(const char *target, cg_failure *f) {
  if (!*target) return true;
  char missing[512];
  cg_cpu here = cg_cpu_here();
  if (!cg_cpu_lacks(&here, target, missing, sizeof missing)) return true;
  f->code = CIERGE_MISSING;
  snprintf(f->text, sizeof f->text, "the artifact was built for %.64s; this machine lacks %s: compile the model with --target for this machine", target, missing);
  return false;
}
