// A .pt2's weights and constants: raw storages in the archive, used where they lie, and views over them.
#include <string.h>

#include "frontend/pt2.h"

// Several tensors may lie over one storage (tied or sliced weights): it is found once, by its path.
typedef struct {
  const uint8_t *data;
  uint64_t size;
} storage;

typedef struct {
  cg_json json;     // PayloadMeta
  const char *folder;
} payload;

const char *cg_pt2_member(const cg_pt2 *r, const char *fmt, const char *what) {
  cg_str b = cg_str_new(r->s);
  cg_str_add(&b, r->root);
  for (const char *p = fmt; *p; p++) {
    if (*p == '%') cg_str_add(&b, what), p++;
    else cg_str_addc(&b, *p);
  }
  return cg_str_text(&b);
}

static void read_config(cg_pt2 *r, cg_map *into, const char *fmt, const char *folder) {
  const char *name = cg_pt2_member(r, fmt, r->model);
  const cg_zip_member *member = cg_zip_find(r->zip, name);
  if (!member)
    cg_fail_at(r->s, CIERGE_BAD_MODEL, (cg_span){.file = r->path}, "the archive has no %s (it was written by torch %s)", name, r->torch);
  cg_json_source *source = CG_NEW(r->s, cg_json_source);
  *source = (cg_json_source){r->s, r->path, name};
  cg_json *root = CG_NEW(r->s, cg_json), *config = CG_NEW(r->s, cg_json), entry;
  *root = cg_json_read(source, cg_zip_text(r->zip, member), member->size);
  *config = cg_json_get(root, "config");
  for (cg_json_iter it = cg_json_members(config); cg_json_next(&it, &entry);) {
    payload *p = CG_NEW(r->s, payload);
    *p = (payload){.json = entry, .folder = folder};
    p->json.up = config;
    cg_map_set(r->s, into, entry.key, p);
  }
}

void cg_pt2_read_payloads(cg_pt2 *r) {
  const char *pickled[] = {"data/weights/%s.pt", "data/constants/%s.pt"};
  for (int i = 0; i < 2; i++)
    if (cg_zip_find(r->zip, cg_pt2_member(r, pickled[i], r->model)))
      cg_fail_at(r->s, CIERGE_BAD_MODEL, (cg_span){.file = r->path},
                 "its weights are pickled (%s), an older layout of .pt2 that torch %s wrote: load and save it with torch 2.13",
                 cg_pt2_member(r, pickled[i], r->model), r->torch);
  read_config(r, &r->payloads[0], "data/weights/%s_weights_config.json", "data/weights/");
  read_config(r, &r->payloads[1], "data/constants/%s_constants_config.json", "data/constants/");
}

static const storage *find_storage(cg_pt2 *r, const payload *p) {
  cg_json path = cg_json_get(&p->json, "path_name");
  const char *name = cg_format(r->s, "%s%s%s", r->root, p->folder, cg_json_text(&path));
  storage *st = cg_map_get(&r->storages, name);
  if (st) return st;
  const cg_zip_member *member = cg_zip_find(r->zip, name);
  if (!member) cg_json_fail(&path, CIERGE_BAD_MODEL, "the archive has no %.400s", name);
  st = CG_NEW(r->s, storage);
  *st = (storage){cg_zip_data(r->zip, member), member->size};
  cg_map_set(r->s, &r->storages, name, st);
  return st;
}

// Elements from the start of the storage to the last one that the tensor reaches; false: more than 64 bits hold.
static bool extent(const cg_type *t, uint64_t *out) {
  uint64_t last = t->offset ? (uint64_t)t->offset->value : 0, c = 1, step;
  *out = 0;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i]->value == 0) return true;
  for (int i = t->rank - 1; i >= 0; i--) {
    uint64_t n = (uint64_t)t->dim[i]->value, stride = t->stride ? (uint64_t)t->stride[i]->value : c;
    if (__builtin_mul_overflow(n - 1, stride, &step) || __builtin_add_overflow(last, step, &last) || __builtin_mul_overflow(c, n, &c)) return false;
  }
  return !__builtin_add_overflow(last, 1, out);
}

static void check_geometry(const cg_json *meta, const cg_type *t, uint64_t bytes) {
  bool fixed = !t->offset || (cg_x_is_int(t->offset) && t->offset->value >= 0);
  for (int i = 0; i < t->rank; i++)
    fixed = fixed && cg_x_is_int(t->dim[i]) && t->dim[i]->value >= 0 && (!t->stride || (cg_x_is_int(t->stride[i]) && t->stride[i]->value >= 0));
  if (!fixed) cg_json_fail(meta, CIERGE_BAD_MODEL, "a stored tensor has a symbolic or negative size, stride or offset");
  uint64_t n;
  if (!extent(t, &n) || __builtin_mul_overflow(n, (uint64_t)cg_dtypes[t->dtype].size, &n) || n > bytes)
    cg_json_fail(meta, CIERGE_BAD_MODEL, "the tensor reaches beyond its storage of %llu bytes", (unsigned long long)bytes);
}

cg_value *cg_pt2_constant(cg_pt2 *r, const cg_json *at, const char *name, int kind) {
  cg_constant *c = cg_map_get(&r->m->constant_by_name, name);
  if (c) return c->value;
  const payload *p = cg_map_get(&r->payloads[0], name);
  if (!p) p = cg_map_get(&r->payloads[1], name);
  if (!p) cg_json_fail(at, CIERGE_BAD_MODEL, "the archive holds no tensor '%s'", name);
  cg_json pickled = cg_json_get(&p->json, "use_pickle"), meta;
  if (cg_json_bool(&pickled))
    cg_json_fail(&p->json, CIERGE_MISSING, "this tensor is stored as a Python pickle (a tensor subclass, or a quantized or sparse tensor), "
                                           "which cierge does not read: export a model of plain tensors");
  meta = cg_json_get(&p->json, "tensor_meta");
  cg_type t = cg_pt2_tensor_type(r, &meta);
  if (t.kind != CG_T_TENSOR) cg_json_fail(&meta, CIERGE_MISSING, "this tensor has the layout %s, and cierge stores strided ones", t.note);
  const storage *st = find_storage(r, p);
  check_geometry(&meta, &t, st->size);
  c = cg_constant_new(r->m, name, t, st->data, st->size);
  c->kind = kind == CG_CONST_PARAM ? CG_CONST_PARAM : kind == CG_CONST_BUFFER ? CG_CONST_BUFFER : CG_CONST_TENSOR;
  return c->value;
}
