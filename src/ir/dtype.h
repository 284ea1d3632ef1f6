// PyTorch's element types; everything known of each is one row of dtype.def.
#ifndef CG_IR_DTYPE_H
#define CG_IR_DTYPE_H
#include <stdbool.h>
#include <stdint.h>

typedef enum { CG_BOOLEAN, CG_INTEGER, CG_FLOAT, CG_COMPLEX } cg_dtype_kind;

typedef enum {
#define DTYPE(NAME, ...) CG_##NAME,
#include "ir/dtype.def"
#undef DTYPE
  CG_DTYPE_COUNT
} cg_dtype;

typedef struct {
  const char *text, *torch_name, *c_type;
  uint8_t size;
  cg_dtype_kind kind;
  uint8_t dl_code, dl_bits;
  const char *npy;
  uint8_t c10, export_code;
} cg_dtype_info;

extern const cg_dtype_info cg_dtypes[CG_DTYPE_COUNT];

// These give -1 where there is no such dtype.
int cg_dtype_by_text(const char *text);
int cg_dtype_by_torch_name(const char *name);
int cg_dtype_by_export_code(int code);
int cg_dtype_by_c10_code(int code);
int cg_dtype_by_dlpack(int code, int bits);

static inline bool cg_is_float(cg_dtype t) { return cg_dtypes[t].kind == CG_FLOAT; }
static inline bool cg_is_complex(cg_dtype t) { return cg_dtypes[t].kind == CG_COMPLEX; }
static inline bool cg_is_integral(cg_dtype t) { return cg_dtypes[t].kind <= CG_INTEGER; } // bool included
#endif
