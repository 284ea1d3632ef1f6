// What this processor can do, against what an artifact was built for.
#ifndef CG_RUNTIME_CPU_H
#define CG_RUNTIME_CPU_H
#include "artifact/artifact.h"

typedef struct {
  uint32_t word[4]; // registers of cpuid
  uint64_t xcr0;    // register state that the operating system saves
} cg_cpu;

cg_cpu cg_cpu_here(void);
enum { CG_CPU_NAME = 80 };
void cg_cpu_name(char name[CG_CPU_NAME]); // of this one: "Intel(R) Xeon(R) Processor 000806f8"
// What artifacts are built for, each with all that the one before it has.
enum { CG_CPU_TARGETS = 4 };
extern const char *const cg_cpu_targets[CG_CPU_TARGETS]; // "x86-64-v2" … "x86-64-v4+vnni"
// Whether c lacks something that "x86-64-v3" needs; its names into `missing`.
bool cg_cpu_lacks(const cg_cpu *c, const char *target, char *missing, size_t n);
// The same for this machine. false: *f (CIERGE_MISSING) says what is lacking.
bool cg_cpu_fits(const char *target, cg_failure *f);
#endif
