// What this processor can do, against what an artifact was built for: the levels of the x86-64 psABI.
#include <cpuid.h>
#include <stdio.h>
#include <string.h>

#include "runtime/cpu.h"

const char *const cg_cpu_targets[CG_CPU_TARGETS] = {"x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4+vnni"}; // levels 2, 3 …

// Registers of cpuid and xgetbv that the levels speak of.
enum { LEAF1_ECX, LEAF7_EBX, LEAF7_ECX, EXT1_ECX, WORDS };

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
    {"AVX512VNNI", 5, LEAF7_ECX, 11},
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
  if (__get_cpuid_count(7, 0, &a, &b, &x, &d)) c.word[LEAF7_EBX] = b, c.word[LEAF7_ECX] = x;
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

bool cg_cpu_lacks(const cg_cpu *c, const char *target, char *missing, size_t n) {
  *missing = 0;
  int level = CG_CPU_TARGETS + 1;
  while (level > 1 && strcmp(target, cg_cpu_targets[level - 2])) level--;
  if (level == 1 && strcmp(target, "x86-64")) {
    snprintf(missing, n, "a processor of that kind");
    return true;
  }
  for (size_t i = 0; i < sizeof features / sizeof *features; i++)
    if (features[i].level <= level && !(c->word[features[i].word] >> features[i].bit & 1)) add(missing, n, features[i].name);
  if (level >= 3 && (c->xcr0 & 0x6) != 0x6) add(missing, n, "the operating system's support of AVX registers");
  if (level >= 4 && (c->xcr0 & 0xe0) != 0xe0) add(missing, n, "the operating system's support of AVX-512 registers");
  return *missing;
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
