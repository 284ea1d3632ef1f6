// .safetensors: u64 header length, a JSON header of dtype, shape and data_offsets, the bytes.
// Source: the format's README (huggingface/safetensors).
#include <string.h>
#include <yyjson/yyjson.h>

#include "base/bytes_writer.h"
#include "base/file.h"
#include "arrays/arrays.h"

static const struct { const char *name; cg_dtype dtype; } names[] = {
    {"BOOL", CG_BOOL}, {"U8", CG_U8}, {"I8", CG_I8}, {"I16", CG_I16}, {"U16", CG_U16}, {"I32", CG_I32}, {"U32", CG_U32},
    {"I64", CG_I64}, {"U64", CG_U64}, {"F16", CG_F16}, {"BF16", CG_BF16}, {"F32", CG_F32}, {"F64", CG_F64},
    {"F8_E4M3", CG_F8E4M3FN}, {"F8_E5M2", CG_F8E5M2}, {"C64", CG_C64}, {"C128", CG_C128},
};
enum { NAMES = sizeof names / sizeof *names };
static const uint64_t max_header = 100 << 20; // the format's own limit

static void close_doc(void *doc) { yyjson_doc_free(doc); }

static cg_array one(cg_session *s, const char *path, const char *name, yyjson_val *v, const uint8_t *data, uint64_t size) {
  cg_array a = {.name = cg_strdup(s, name)};
  const char *dtype = yyjson_get_str(yyjson_obj_get(v, "dtype"));
  yyjson_val *shape = yyjson_obj_get(v, "shape"), *at = yyjson_obj_get(v, "data_offsets");
  if (!dtype || !yyjson_is_arr(shape) || yyjson_arr_size(at) != 2)
    cg_fail(s, CIERGE_BAD_INPUT, "%s: %s lacks dtype, shape or data_offsets", path, name);
  int t = -1;
  for (int i = 0; i < NAMES; i++)
    if (!strcmp(names[i].name, dtype)) t = (int)names[i].dtype;
  if (t < 0) cg_fail(s, CIERGE_BAD_INPUT, "%s: %s has dtype %s, which torch lacks", path, name, dtype);
  a.dtype = (cg_dtype)t;
  size_t i, n;
  yyjson_val *d;
  if (yyjson_arr_size(shape) > CG_ARRAY_MAX_RANK) cg_fail(s, CIERGE_BAD_INPUT, "%s: %s has more than 64 dimensions", path, name);
  yyjson_arr_foreach(shape, i, n, d) {
    if (!yyjson_is_uint(d) || yyjson_get_uint(d) > INT64_MAX) cg_fail(s, CIERGE_BAD_INPUT, "%s: %s: a size is not a number", path, name);
    a.size[a.rank++] = (int64_t)yyjson_get_uint(d);
  }
  a.bytes = cg_array_bytes(s, path, &a);
  yyjson_val *from = yyjson_arr_get(at, 0), *to = yyjson_arr_get(at, 1);
  uint64_t lo = yyjson_get_uint(from), hi = yyjson_get_uint(to);
  if (!yyjson_is_uint(from) || !yyjson_is_uint(to) || lo > hi || hi > size || hi - lo != a.bytes)
    cg_fail(s, CIERGE_BAD_INPUT, "%s: %s: its data_offsets do not fit its shape or the file", path, name);
  a.data = data + lo;
  return a;
}

cg_array_vec cg_safetensors_read_arrays(cg_session *s, const char *path) {
  cg_file f = cg_file_map(s, path);
  uint64_t n = 0;
  if (f.size >= 8) memcpy(&n, f.data, 8);
  if (f.size < 8 || n > f.size - 8 || n > max_header) cg_fail(s, CIERGE_BAD_INPUT, "%s: not a safetensors file: its header does not fit it", path);
  yyjson_doc *doc = yyjson_read((const char *)f.data + 8, n, 0);
  yyjson_val *root = yyjson_doc_get_root(doc), *key, *v;
  if (doc) cg_defer(s, close_doc, doc);
  if (!yyjson_is_obj(root)) cg_fail(s, CIERGE_BAD_INPUT, "%s: not a safetensors file: its header is not a JSON object", path);
  cg_array_vec out = {0};
  size_t i, count;
  yyjson_obj_foreach(root, i, count, key, v) {
    if (!strcmp(yyjson_get_str(key), "__metadata__")) continue;
    cg_array a = one(s, path, yyjson_get_str(key), v, f.data + 8 + n, f.size - 8 - n);
    CG_PUSH(s, &out, a);
  }
  return out;
}

void cg_safetensors_write(cg_session *s, const char *path, const cg_array_vec *arrays) {
  cg_str h = cg_str_new(s);
  uint64_t at = 0;
  cg_str_addc(&h, '{');
  for (int i = 0; i < arrays->n; i++) {
    const cg_array *a = &arrays->at[i];
    const char *dtype = NULL;
    for (int k = 0; k < NAMES; k++)
      if (names[k].dtype == a->dtype) dtype = names[k].name;
    if (!dtype) cg_fail(s, CIERGE_BAD_INPUT, "%s: safetensors has no dtype for %s (%s)", path, cg_dtypes[a->dtype].torch_name, a->name);
    cg_str_addf(&h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", a->name, dtype);
    for (int k = 0; k < a->rank; k++) cg_str_addf(&h, "%s%lld", k ? "," : "", (long long)a->size[k]);
    cg_str_addf(&h, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)(at + a->bytes));
    at += a->bytes;
  }
  cg_str_addc(&h, '}');
  while (h.n % 8) cg_str_addc(&h, ' ');
  cg_writer *w = cg_writer_open(s, path);
  uint64_t n = h.n;
  cg_writer_add(w, &n, 8);
  cg_writer_add(w, h.at, h.n);
  for (int i = 0; i < arrays->n; i++)
    if (arrays->at[i].bytes) cg_writer_add(w, arrays->at[i].data, arrays->at[i].bytes);
  cg_writer_commit(w);
}
