// What this processor can do, against what an artifact was built for.
#ifndef CG_RUNTIME_CPU_H
#define CG_RUNTIME_CPU_H
#include "artifact/artifact.h"

typedef struct {
  uint32_t word[6]; // registers of cpuid
  uint64_t xcr0;    // register state that the operating system saves
} cg_cpu;

cg_cpu cg_cpu_here(void);
enum { CG_CPU_NAME = 80 };
void cg_cpu_name(char name[CG_CPU_NAME]); // of this one: "Intel(R) Xeon(R) Processor 000806f8"
// What artifacts are built for: a level, which has all that the one before it has, and extras of the last one: "x86-64-v4+vnni+bf16".
enum { CG_CPU_LEVELS = 3 };
extern const char *const cg_cpu_levels[CG_CPU_LEVELS]; // "x86-64-v2" …
typedef enum { CG_CPU_VNNI, CG_CPU_BF16, CG_CPU_EXTRAS } cg_cpu_extra;
extern const char *const cg_cpu_extras[CG_CPU_EXTRAS]; // "vnni", "bf16": of AVX-512
typedef struct {
  const char *level;   // NULL: there is no such target
  unsigned extras;     // a bit for each
} cg_cpu_target;
cg_cpu_target cg_cpu_parse(const char *target);
// All that c has and is worth using.
cg_cpu_target cg_cpu_best(const cg_cpu *c);
// Whether c lacks something that "x86-64-v3" needs; its names into `missing`.
bool cg_cpu_lacks(const cg_cpu *c, const char *target, char *missing, size_t n);
// The same for this machine. false: *f (CIERGE_MISSING) says what is lacking.
bool cg_cpu_fits(const char *target, cg_failure *f);
#endif
