// JSON values that know where they are, so that every error says the file, the member and the path inside it.
// A value points at the one it was taken from (`up`), which must live as long as it does.
// All of these throw CIERGE_BAD_MODEL where the value is not what the name says.
#ifndef CG_FRONTEND_JSON_H
#define CG_FRONTEND_JSON_H
#include <yyjson/yyjson.h>

#include "base/session.h"

typedef struct {
  cg_session *s;
  const char *file, *member; // member: "models/model.json", or NULL
} cg_json_source;

typedef struct cg_json cg_json;
struct cg_json {
  const cg_json_source *source;
  const cg_json *up; // NULL: the root
  const char *key;   // in an object; NULL: item `index` of an array
  size_t index;
  yyjson_val *v;
};

// `source` must live as long as the values.
cg_json cg_json_read(const cg_json_source *source, const uint8_t *text, size_t size);

_Noreturn void cg_json_fail(const cg_json *at, cierge_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

cg_json cg_json_get(const cg_json *object, const char *key);              // must be there
bool cg_json_find(const cg_json *object, const char *key, cg_json *out);  // false: absent or null
// The one member of a tagged union, {"as_int": 3}.
cg_json cg_json_union(const cg_json *object);
bool cg_json_is(const cg_json *member, const char *key);

bool cg_json_is_null(const cg_json *j);
const char *cg_json_text(const cg_json *j);  // no NUL inside; lives as long as the session
int64_t cg_json_int(const cg_json *j);
int64_t cg_json_int_in(const cg_json *j, int64_t lo, int64_t hi);
double cg_json_double(const cg_json *j);     // "Infinity", "-Infinity", "NaN" as well
bool cg_json_bool(const cg_json *j);
int cg_json_count(const cg_json *array);

// for (cg_json_iter it = cg_json_items(&array); cg_json_next(&it, &item);)
typedef struct {
  const cg_json *of;
  bool object;
  yyjson_arr_iter items;
  yyjson_obj_iter members;
} cg_json_iter;
cg_json_iter cg_json_items(const cg_json *array);
cg_json_iter cg_json_members(const cg_json *object); // item.key is the member's name
bool cg_json_next(cg_json_iter *it, cg_json *item);
#endif
