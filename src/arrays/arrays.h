// Named arrays in files: what `cierge run` reads and writes (.npz, .safetensors).
#ifndef CG_ARRAYS_H
#define CG_ARRAYS_H
#include "base/session.h"
#include "base/vec.h"
#include "base/str.h"
#include "ir/dtype.h"

#define CG_ARRAY_MAX_RANK 64

typedef struct {
  const char *name;
  cg_dtype dtype;
  int rank;
  int64_t size[CG_ARRAY_MAX_RANK];
  const void *data; // C order, this machine's byte order
  uint64_t bytes;
} cg_array;

CG_VEC_TYPE(cg_array_vec, cg_array);

// By the file's ending. Errors name file and array.
cg_array_vec cg_arrays_read(cg_session *s, const char *path);
void cg_arrays_write(cg_session *s, const char *path, const cg_array_vec *arrays);

// One .npy file in memory (npy.c): versions 1 to 3, both orders, both endiannesses. raw_dtype >= 0: bits of that dtype.
// A text array (<U, |S) gives *text instead and dtype CG_U8.
cg_array cg_npy_parse(cg_session *s, const char *file, const char *name, const uint8_t *data, size_t size, const char **text);
// The header that goes before the array's bytes, padded to 64.
void cg_npy_header(cg_session *s, const cg_array *a, const void **header, size_t *size);

cg_array_vec cg_npz_read(cg_session *s, const char *path);
void cg_npz_write(cg_session *s, const char *path, const cg_array_vec *arrays);
// Checks what the format's README demands: sizes that fit, no overlap, no gap, no name twice. code: what it throws where they do not.
cg_array_vec cg_safetensors_read(cg_session *s, const char *path, cierge_code code);
void cg_safetensors_write(cg_session *s, const char *path, const cg_array_vec *arrays);

// size[0] * … * element size; false: more than there can be.
bool cg_array_fits(const cg_array *a, uint64_t *bytes);
uint64_t cg_array_bytes(cg_session *s, const char *file, const cg_array *a); // the same; throws CIERGE_BAD_INPUT
const char *cg_array_type(cg_session *s, const cg_array *a); // "f32[2, 3]"
#endif
