// Reads .safetensors files: names, dtypes, shapes, and where the bytes lie in the mapping.
#ifndef CG_FRONTEND_SAFETENSORS_H
#define CG_FRONTEND_SAFETENSORS_H
#include "base/file.h"
#include "base/map.h"
#include "ir/ir.h"

typedef struct {
  const char *name;
  cg_dtype dtype;
  int rank;
  int64_t size[CG_MAX_RANK];
  const uint8_t *data; // in the mapping, C order
  uint64_t bytes;
} cg_safetensor;

// Tensors by name: cg_safetensor *. Checks what the format's README demands: sizes that fit, no overlap, no gap.
cg_map cg_safetensors_read(cg_session *s, const char *path);
#endif
