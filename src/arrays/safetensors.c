// .safetensors: u64 header length, a JSON header of dtype, shape and data_offsets, the bytes.
// Source: the format's README (huggingface/safetensors).
#include <stdlib.h>
#include <string.h>
#include <yyjson/yyjson.h>

#include "base/bytes_writer.h"
#include "base/file.h"
#include "base/map.h"
#include "arrays/arrays.h"

static const struct { const char *name; cg_dtype dtype; } names[] = {
    {"BOOL", CG_BOOL}, {"U8", CG_U8}, {"I8", CG_I8}, {"I16", CG_I16}, {"U16", CG_U16}, {"I32", CG_I32}, {"U32", CG_U32},
    {"I64", CG_I64}, {"U64", CG_U64}, {"F16", CG_F16}, {"BF16", CG_BF16}, {"F32", CG_F32}, {"F64", CG_F64},
    {"F8_E4M3", CG_F8E4M3FN}, {"F8_E5M2", CG_F8E5M2}, {"C64", CG_C64}, {"C128", CG_C128},
};
enum { NAMES = sizeof names / sizeof *names };
static const uint64_t max_header = 100 << 20; // the format's own limit

static void close_doc(void *doc) { yyjson_doc_free(doc); }

// The bytes of a file, and what errors say of it.
typedef struct {
  cg_session *s;
  cierge_code code;
  const char *path;
  const uint8_t *data;
  uint64_t size;
} reader;

_Noreturn static void bad(const reader *r, const char *name, const char *what) { cg_fail(r->s, r->code, "%s: %.200s: %s", r->path, name, what); }

static cg_array one(const reader *r, const char *name, yyjson_val *v) {
  cg_array a = {.name = cg_strdup(r->s, name)};
  const char *dtype = yyjson_get_str(yyjson_obj_get(v, "dtype"));
  yyjson_val *shape = yyjson_obj_get(v, "shape"), *at = yyjson_obj_get(v, "data_offsets"), *d;
  if (!dtype || !yyjson_is_arr(shape) || yyjson_arr_size(at) != 2) bad(r, name, "it lacks dtype, shape or two data_offsets");
  int t = -1;
  for (int i = 0; i < NAMES; i++)
    if (!strcmp(names[i].name, dtype)) t = (int)names[i].dtype;
  if (t < 0) bad(r, name, cg_format(r->s, "PyTorch has no dtype '%.40s'", dtype));
  a.dtype = (cg_dtype)t;
  if (yyjson_arr_size(shape) > CG_ARRAY_MAX_RANK) bad(r, name, "more than 64 dimensions");
  size_t i, n;
  yyjson_arr_foreach(shape, i, n, d) {
    if (!yyjson_is_uint(d) || yyjson_get_uint(d) > INT64_MAX) bad(r, name, "a size is not a number");
    a.size[a.rank++] = (int64_t)yyjson_get_uint(d);
  }
  if (!cg_array_fits(&a, &a.bytes)) bad(r, name, "it is too large");
  yyjson_val *from = yyjson_arr_get(at, 0), *to = yyjson_arr_get(at, 1);
  uint64_t lo = yyjson_get_uint(from), hi = yyjson_get_uint(to);
  if (!yyjson_is_uint(from) || !yyjson_is_uint(to) || lo > hi || hi > r->size) bad(r, name, "its data lies outside the file");
  if (hi - lo != a.bytes)
    bad(r, name, cg_format(r->s, "%llu bytes do not fit its dtype and shape, which need %llu", (unsigned long long)(hi - lo), (unsigned long long)a.bytes));
  a.data = r->data + lo;
  return a;
}

static int by_place(const void *a, const void *b) {
  const cg_array *x = *(const cg_array *const *)a, *y = *(const cg_array *const *)b;
  if (x->data != y->data) return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

// The format's README: the arrays fill the file, one behind the other.
static void check_gaps(const reader *r, const cg_array_vec *all) {
  const cg_array **a = CG_NEW_ARRAY(r->s, const cg_array *, (size_t)all->n);
  for (int i = 0; i < all->n; i++) a[i] = &all->at[i];
  if (all->n) qsort(a, (size_t)all->n, sizeof *a, by_place);
  const uint8_t *at = r->data;
  for (int i = 0; i < all->n; at += a[i++]->bytes)
    if (a[i]->data != at) bad(r, a[i]->name, "it overlaps with another one, or there is a gap before it");
  if ((uint64_t)(at - r->data) != r->size) cg_fail(r->s, r->code, "%s: there are bytes behind the last tensor", r->path);
}

cg_array_vec cg_safetensors_read(cg_session *s, const char *path, cierge_code code) {
  cg_file f = cg_file_map(s, path);
  uint64_t n = 0;
  if (f.size >= 8) memcpy(&n, f.data, 8);
  if (f.size < 8 || n > f.size - 8 || n > max_header) cg_fail(s, code, "%s: not a safetensors file: its header does not fit in it", path);
  yyjson_read_err why = {0};
  yyjson_doc *doc = yyjson_read_opts((char *)f.data + 8, n, 0, NULL, &why); // flags 0: the text stays as it is
  if (!doc) cg_fail(s, code, "%s: its header is not JSON: at byte %zu: %s", path, why.pos, why.msg);
  cg_defer(s, close_doc, doc);
  yyjson_val *root = yyjson_doc_get_root(doc), *key, *v;
  if (!yyjson_is_obj(root)) cg_fail(s, code, "%s: not a safetensors file: its header is not a JSON object", path);
  reader r = {s, code, path, f.data + 8 + n, f.size - 8 - n};
  cg_array_vec out = {0};
  cg_map seen = {0};
  size_t i, count;
  yyjson_obj_foreach(root, i, count, key, v) {
    const char *name = yyjson_get_str(key);
    if (!strcmp(name, "__metadata__")) continue;
    if (strlen(name) != yyjson_get_len(key)) bad(&r, name, "its name holds a byte of zero");
    cg_array a = one(&r, name, v);
    if (!cg_map_set(s, &seen, a.name, (void *)a.name)) bad(&r, name, "there are two tensors of this name");
    CG_PUSH(s, &out, a);
  }
  check_gaps(&r, &out);
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
