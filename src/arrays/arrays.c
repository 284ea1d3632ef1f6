// Which format a file of arrays has, and what all of them need.
#include "arrays/arrays.h"

#include <string.h>

static bool ends_with(const char *path, const char *tail) {
  size_t n = strlen(path), k = strlen(tail);
  return n >= k && !strcmp(path + n - k, tail);
}

cg_array_vec cg_arrays_read(cg_session *s, const char *path) {
  if (ends_with(path, ".npz")) return cg_npz_read(s, path);
  if (ends_with(path, ".safetensors")) return cg_safetensors_read(s, path, CIERGE_BAD_INPUT);
  cg_fail(s, CIERGE_USAGE, "%s: arrays are read from .npz or .safetensors", path);
}

void cg_arrays_write(cg_session *s, const char *path, const cg_array_vec *arrays) {
  if (ends_with(path, ".npz")) cg_npz_write(s, path, arrays);
  else if (ends_with(path, ".safetensors")) cg_safetensors_write(s, path, arrays);
  else cg_fail(s, CIERGE_USAGE, "%s: arrays are written to .npz or .safetensors", path);
}

bool cg_array_fits(const cg_array *a, uint64_t *bytes) {
  bool empty = false;
  *bytes = cg_dtypes[a->dtype].size;
  for (int i = 0; i < a->rank; i++) {
    if (!a->size[i]) empty = true;
    else if (__builtin_mul_overflow(*bytes, (uint64_t)a->size[i], bytes) || *bytes > INT64_MAX) return false;
  }
  if (empty) *bytes = 0;
  return true;
}

uint64_t cg_array_bytes(cg_session *s, const char *file, const cg_array *a) {
  uint64_t bytes;
  if (!cg_array_fits(a, &bytes)) cg_fail(s, CIERGE_BAD_INPUT, "%s: array %s is too large", file, a->name);
  return bytes;
}

const char *cg_array_type(cg_session *s, const cg_array *a) {
  cg_str o = cg_str_new(s);
  cg_str_addf(&o, "%s[", cg_dtypes[a->dtype].text);
  for (int k = 0; k < a->rank; k++) cg_str_addf(&o, "%s%lld", k ? ", " : "", (long long)a->size[k]);
  cg_str_add(&o, "]");
  return cg_str_text(&o);
}
