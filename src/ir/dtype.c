// The table of element types, and ways to find a row.
#include "ir/dtype.h"

#include <string.h>

#include "cierge/dlpack/dlpack.h"

const cg_dtype_info cg_dtypes[CG_DTYPE_COUNT] = {
#define DTYPE(NAME, ...) [CG_##NAME] = {__VA_ARGS__},
#include "ir/dtype.def"
#undef DTYPE
};

int cg_dtype_by_text(const char *text) {
  for (int i = 0; i < CG_DTYPE_COUNT; i++)
    if (!strcmp(cg_dtypes[i].text, text)) return i;
  return -1;
}

int cg_dtype_by_torch_name(const char *name) {
  for (int i = 0; i < CG_DTYPE_COUNT; i++)
    if (!strcmp(cg_dtypes[i].torch_name, name)) return i;
  return -1;
}

int cg_dtype_by_export_code(int code) {
  for (int i = 0; i < CG_DTYPE_COUNT; i++)
    if (cg_dtypes[i].export_code == code) return i;
  return -1;
}

int cg_dtype_by_c10_code(int code) {
  for (int i = 0; i < CG_DTYPE_COUNT; i++)
    if (cg_dtypes[i].c10 == code) return i;
  return -1;
}

int cg_dtype_by_dlpack(int code, int bits) {
  for (int i = 0; i < CG_DTYPE_COUNT; i++)
    if (cg_dtypes[i].dl_code == code && cg_dtypes[i].dl_bits == bits) return i;
  return -1;
}
