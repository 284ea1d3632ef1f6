// The file: a header, a section table, sections. Little-endian. doc/artifact.md says it in words.
//
//   0   char  magic[8] = "CIERGE\r\n"
//   8   u32   version (CG_FORMAT_VERSION), u32 section count
//   16  u64   file size, u64 hash of the header with this field 0 and of the whole section table (XXH3-64)
//   32  sections: { char kind[8]; u64 offset, size, hash; }
// Sections lie in the order of the table, each at a multiple of its alignment (weights: 4096, others: 64),
// without overlap; the gaps between are zero and checked.
#ifndef CG_ARTIFACT_FORMAT_H
#define CG_ARTIFACT_FORMAT_H
#include <stdint.h>

#define CG_FORMAT_MAGIC "CIERGE\r\n"
#define CG_FORMAT_VERSION 5u
#define CG_FORMAT_MAX_SECTIONS 64

#define CG_SECTION_PLAN "plan"       // plan_write.c
#define CG_SECTION_KERNELS "kernels" // an ELF shared object; absent when no kernel is needed
#define CG_SECTION_WEIGHTS "weights" // constants, each 64-byte aligned
#define CG_SECTION_TORCH "torch"     // u32 count, then for each region: u64 size, bytes (backend/torch/program.h)
#define CG_SECTION_BLOBS "blobs"     // bytes that scripts are made of: u32 count, then for each: u64 size, bytes
#define CG_SECTION_LIBRARIES "libs"   // libraries of custom operators: u32 count, then for each: text name, u64 size, bytes
#define CG_SECTION_SOURCE "source"   // generated C, for `--emit c` and debugging; optional

typedef struct {
  char magic[8];
  uint32_t version, n_sections;
  uint64_t file_size, hash;
} cg_format_header;

typedef struct {
  char kind[8];
  uint64_t offset, size, hash;
} cg_format_section;
#endif
