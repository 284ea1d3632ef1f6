// Checked access to JSON (yyjson reads it; no recursion there).
#include "frontend/json.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/str.h"

static void *heap_alloc(void *ctx, size_t size) { return (void)ctx, cg_heap_alloc(size); }
static void *heap_realloc(void *ctx, void *p, size_t old, size_t size) { return (void)ctx, (void)old, cg_heap_realloc(p, size); }
static void heap_free(void *ctx, void *p) { (void)ctx, cg_heap_free(p); }

static void close_document(void *doc) { yyjson_doc_free(doc); }

// Readers differ in which of two members of one name counts: none does here.
static void refuse_twins(const cg_json_source *source, yyjson_doc *doc) {
  yyjson_val *v = yyjson_doc_get_root(doc);
  for (size_t i = 0, n = yyjson_doc_get_val_count(doc); i < n; i++, v++) { // one after another, whatever is nested in what
    if (!yyjson_is_obj(v)) continue;
    size_t members = yyjson_obj_size(v), k = 0;
    cg_map seen = {0};
    const char *few[8];
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it)); k++) {
      const char *name = yyjson_get_str(key);
      bool twice = members > 8 && !cg_map_set(source->s, &seen, name, "");
      for (size_t j = 0; members <= 8 && j < k; j++) twice |= !strcmp(few[j], name);
      if (twice)
        cg_fail_at(source->s, CIERGE_BAD_MODEL, (cg_span){.file = source->file}, "%s%sthe member \"%.200s\" stands twice in one object",
                   source->member ? source->member : "", source->member ? ": " : "", name);
      if (members <= 8) few[k] = name;
    }
  }
}

cg_json cg_json_read(const cg_json_source *source, const uint8_t *text, size_t size) {
  const yyjson_alc alc = {heap_alloc, heap_realloc, heap_free, NULL};
  yyjson_read_err e;
  // the text is not written to without YYJSON_READ_INSITU; Python writes NaN and Infinity
  yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text, size, YYJSON_READ_ALLOW_INF_AND_NAN, &alc, &e);
  if (!doc) {
    if (e.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) cg_fail(source->s, CIERGE_NO_MEMORY, "out of memory: reading %s", source->file);
    cg_fail_at(source->s, CIERGE_BAD_MODEL, (cg_span){.file = source->file}, "%s%sat byte %zu: not JSON: %s",
               source->member ? source->member : "", source->member ? " " : "", e.pos, e.msg);
  }
  cg_defer(source->s, close_document, doc);
  refuse_twins(source, doc);
  return (cg_json){.source = source, .v = yyjson_doc_get_root(doc)};
}

// ---------------------------------------------------------------- Errors

// "graph.nodes[3].inputs[0]"; the middle of a path that is very deep is left out.
static void path(cg_str *b, const cg_json *j) {
  const cg_json *chain[64];
  int n = 0;
  bool cut = false;
  for (; j->up; j = j->up) {
    if (n < 64) chain[n++] = j;
    else cut = true;
  }
  if (cut) cg_str_add(b, "…");
  for (int i = n - 1; i >= 0; i--) {
    if (!chain[i]->key) cg_str_addf(b, "[%zu]", chain[i]->index);
    else cg_str_addf(b, "%s%.200s", b->n ? "." : "", chain[i]->key);
  }
}

void cg_json_fail(const cg_json *at, cierge_code code, const char *fmt, ...) {
  const cg_json_source *o = at->source;
  cg_str where = cg_str_new(o->s);
  path(&where, at);
  va_list ap;
  va_start(ap, fmt);
  const char *text = cg_vformat(o->s, fmt, ap);
  va_end(ap);
  const char *p = cg_str_text(&where);
  cg_fail_at(o->s, code, (cg_span){.file = o->file}, "%s%s%s%s%s", o->member ? o->member : "", o->member ? ": " : "", p, *p ? ": " : "", text);
}

_Noreturn static void unexpected(const cg_json *j, const char *expected) {
  cg_json_fail(j, CIERGE_BAD_MODEL, "expected %s, found %s", expected, j->v ? yyjson_get_type_desc(j->v) : "nothing");
}

// ---------------------------------------------------------------- Access

bool cg_json_find(const cg_json *object, const char *key, cg_json *out) {
  if (!yyjson_is_obj(object->v)) unexpected(object, "an object");
  *out = (cg_json){.source = object->source, .up = object, .key = key, .v = yyjson_obj_get(object->v, key)};
  return out->v && !yyjson_is_null(out->v);
}

cg_json cg_json_get(const cg_json *object, const char *key) {
  cg_json j;
  if (!cg_json_find(object, key, &j) && !j.v) cg_json_fail(object, CIERGE_BAD_MODEL, "'%s' is missing", key);
  return j;
}

static const char *checked_text(const cg_json *where, yyjson_val *v) {
  const char *p = yyjson_get_str(v);
  if (strlen(p) != yyjson_get_len(v)) cg_json_fail(where, CIERGE_BAD_MODEL, "a text holds a NUL");
  return p;
}

cg_json cg_json_union(const cg_json *object) {
  if (!yyjson_is_obj(object->v)) unexpected(object, "an object with one member");
  if (yyjson_obj_size(object->v) != 1) cg_json_fail(object, CIERGE_BAD_MODEL, "expected one member, found %zu", yyjson_obj_size(object->v));
  yyjson_obj_iter it = yyjson_obj_iter_with(object->v);
  yyjson_val *key = yyjson_obj_iter_next(&it);
  return (cg_json){.source = object->source, .up = object, .key = checked_text(object, key), .v = yyjson_obj_iter_get_val(key)};
}

bool cg_json_is(const cg_json *member, const char *key) { return member->key && !strcmp(member->key, key); }
bool cg_json_is_null(const cg_json *j) { return yyjson_is_null(j->v); }

const char *cg_json_text(const cg_json *j) {
  if (!yyjson_is_str(j->v)) unexpected(j, "a text");
  return checked_text(j, j->v);
}

int64_t cg_json_int(const cg_json *j) { return cg_json_int_in(j, INT64_MIN, INT64_MAX); }

int64_t cg_json_int_in(const cg_json *j, int64_t lo, int64_t hi) {
  if (!yyjson_is_int(j->v)) unexpected(j, "an integer");
  if (yyjson_is_uint(j->v) && yyjson_get_uint(j->v) > INT64_MAX)
    cg_json_fail(j, CIERGE_BAD_MODEL, "%llu does not fit into a signed integer of 64 bits", (unsigned long long)yyjson_get_uint(j->v));
  int64_t v = yyjson_get_sint(j->v);
  if (v < lo || v > hi) cg_json_fail(j, CIERGE_BAD_MODEL, "%lld is not between %lld and %lld", (long long)v, (long long)lo, (long long)hi);
  return v;
}

double cg_json_double(const cg_json *j) {
  if (yyjson_is_str(j->v)) {
    const char *t = cg_json_text(j);
    if (!strcmp(t, "Infinity")) return INFINITY;
    if (!strcmp(t, "-Infinity")) return -INFINITY;
    if (!strcmp(t, "NaN")) return NAN;
  }
  if (!yyjson_is_num(j->v)) unexpected(j, "a number");
  return yyjson_get_num(j->v);
}

bool cg_json_bool(const cg_json *j) {
  if (!yyjson_is_bool(j->v)) unexpected(j, "true or false");
  return yyjson_get_bool(j->v);
}

int cg_json_count(const cg_json *array) {
  if (!yyjson_is_arr(array->v)) unexpected(array, "an array");
  size_t n = yyjson_arr_size(array->v);
  if (n > INT32_MAX / 2) cg_json_fail(array, CIERGE_BAD_MODEL, "the array is too long");
  return (int)n;
}

cg_json_iter cg_json_items(const cg_json *array) {
  cg_json_count(array);
  return (cg_json_iter){.of = array, .items = yyjson_arr_iter_with(array->v)};
}

cg_json_iter cg_json_members(const cg_json *object) {
  if (!yyjson_is_obj(object->v)) unexpected(object, "an object");
  return (cg_json_iter){.of = object, .object = true, .members = yyjson_obj_iter_with(object->v)};
}

bool cg_json_next(cg_json_iter *it, cg_json *item) {
  *item = (cg_json){.source = it->of->source, .up = it->of};
  if (!it->object) {
    item->index = it->items.idx;
    item->v = yyjson_arr_iter_next(&it->items);
    return item->v;
  }
  yyjson_val *key = yyjson_obj_iter_next(&it->members);
  if (!key) return false;
  item->key = checked_text(it->of, key);
  item->v = yyjson_obj_iter_get_val(key);
  return true;
}
