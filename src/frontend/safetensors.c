// .safetensors: u64 header length, a JSON header of dtype, shape and data_offsets, the bytes without a gap.
// Source: the format's README (huggingface/safetensors).
#include "frontend/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "frontend/json.h"

static const struct {
  const char *name;
  cg_dtype dtype;
} dtypes[] = {
    {"BOOL", CG_BOOL}, {"U8", CG_U8}, {"I8", CG_I8}, {"I16", CG_I16}, {"U16", CG_U16}, {"I32", CG_I32}, {"U32", CG_U32},
    {"I64", CG_I64}, {"U64", CG_U64}, {"F16", CG_F16}, {"BF16", CG_BF16}, {"F32", CG_F32}, {"F64", CG_F64},
    {"F8_E4M3", CG_F8E4M3FN}, {"F8_E5M2", CG_F8E5M2}, {"C64", CG_C64},
};
enum { MAX_HEADER = 100 << 20 }; // the format's own limit

static cg_dtype dtype(const cg_json *j) {
  const char *name = cg_json_text(j);
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
    if (!strcmp(dtypes[i].name, name)) return dtypes[i].dtype;
  cg_json_fail(j, CIERGE_BAD_MODEL, "PyTorch has no dtype '%.40s'", name);
}

static cg_safetensor *one(cg_session *s, const cg_json *entry, const uint8_t *data, uint64_t size) {
  cg_safetensor *t = CG_NEW(s, cg_safetensor);
  cg_json type = cg_json_get(entry, "dtype"), shape = cg_json_get(entry, "shape"), offsets = cg_json_get(entry, "data_offsets"), item;
  t->name = cg_strdup(s, entry->key);
  t->dtype = dtype(&type);
  t->bytes = cg_dtypes[t->dtype].size;
  if (cg_json_count(&shape) > CG_MAX_RANK) cg_json_fail(&shape, CIERGE_BAD_MODEL, "more than %d dimensions", CG_MAX_RANK);
  bool empty = false;
  uint64_t numel = cg_dtypes[t->dtype].size;
  for (cg_json_iter it = cg_json_items(&shape); cg_json_next(&it, &item);) {
    int64_t n = t->size[t->rank++] = cg_json_int_in(&item, 0, INT64_MAX);
    empty |= n == 0;
    if (n && __builtin_mul_overflow(numel, (uint64_t)n, &numel)) cg_json_fail(&shape, CIERGE_BAD_MODEL, "the tensor is too large");
  }
  t->bytes = empty ? 0 : numel;
  if (cg_json_count(&offsets) != 2) cg_json_fail(&offsets, CIERGE_BAD_MODEL, "data_offsets has two numbers");
  uint64_t at[2] = {0};
  int k = 0;
  for (cg_json_iter it = cg_json_items(&offsets); cg_json_next(&it, &item);) at[k++] = (uint64_t)cg_json_int_in(&item, 0, INT64_MAX);
  if (at[0] > at[1] || at[1] > size) cg_json_fail(&offsets, CIERGE_BAD_MODEL, "the data lies outside the file");
  if (at[1] - at[0] != t->bytes) cg_json_fail(&offsets, CIERGE_BAD_MODEL, "%llu bytes do not fit dtype and shape, which need %llu",
                                              (unsigned long long)(at[1] - at[0]), (unsigned long long)t->bytes);
  t->data = data + at[0];
  return t;
}

static int by_place(const void *a, const void *b) {
  const cg_safetensor *x = *(cg_safetensor *const *)a, *y = *(cg_safetensor *const *)b;
  if (x->data != y->data) return x->data < y->data ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static void check_gaps(cg_session *s, const char *path, const cg_map *all, const uint8_t *data, uint64_t size) {
  cg_safetensor **t = CG_NEW_ARRAY(s, cg_safetensor *, (size_t)all->n);
  for (int i = 0; i < all->n; i++) t[i] = all->entries[i].value;
  if (all->n) qsort(t, (size_t)all->n, sizeof *t, by_place);
  const uint8_t *at = data;
  for (int i = 0; i < all->n; at += t[i++]->bytes)
    if (t[i]->data != at) cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = path}, "tensor '%.200s' overlaps with another one, or there is a gap before it", t[i]->name);
  if ((uint64_t)(at - data) != size) cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = path}, "there are bytes behind the last tensor");
}

cg_map cg_safetensors_read(cg_session *s, const char *path) {
  cg_file f = cg_file_map(s, path);
  uint64_t n = 0;
  for (size_t i = 0; i < 8 && f.size >= 8; i++) n |= (uint64_t)f.data[i] << (8 * i);
  if (f.size < 8 || n > f.size - 8 || n > MAX_HEADER)
    cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = path}, "not a safetensors file: its header does not fit in it");
  cg_json_source *source = CG_NEW(s, cg_json_source);
  *source = (cg_json_source){s, path, NULL};
  cg_json root = cg_json_read(source, f.data + 8, n), entry;
  const uint8_t *data = f.data + 8 + n;
  cg_map all = {0};
  for (cg_json_iter it = cg_json_members(&root); cg_json_next(&it, &entry);) {
    if (!strcmp(entry.key, "__metadata__")) continue;
    if (!cg_map_set(s, &all, entry.key, one(s, &entry, data, f.size - 8 - n))) cg_json_fail(&entry, CIERGE_BAD_MODEL, "there are two tensors of this name");
  }
  check_gaps(s, path, &all, data, f.size - 8 - n);
  return all;
}
