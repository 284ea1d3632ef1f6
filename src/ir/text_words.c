// The vocabulary of the text form: words, spellings of operators and dtypes.
#include <string.h>

#include "ir/text_internal.h"

const char *const cg_text_memory_format[] = {"contiguous", "preserve", "channels_last", "channels_last_3d"};

static bool one_of(const char *word, const char *const *words) {
  for (; *words; words++)
    if (!strcmp(word, *words)) return true;
  return false;
}

const char *cg_text_dtype(cg_dtype t) {
  if ((unsigned)t >= CG_DTYPE_COUNT) return "?";
  return cg_dtypes[t].text[0] == 'u' ? cg_dtypes[t].torch_name : cg_dtypes[t].text;
}

int cg_text_dtype_find(const char *word) {
  int t = word[0] == 'u' ? -1 : cg_dtype_by_text(word);
  return t >= 0 ? t : cg_dtype_by_torch_name(word);
}

bool cg_text_is_reserved(const char *word) {
  static const char *const words[] = {"none", "true", "false", "inf", "nan", "fn", "complex", "layout", "device", "memory_format",
                                      "max", "min", "where", "eq", "ne", "lt", "le", "and", "or", "not", NULL};
  return one_of(word, words) || cg_text_dtype_find(word) >= 0;
}

bool cg_text_is_keyword(const char *word) {
  static const char *const words[] = {"return", "update", "reshape", "name", "loc", "in", "from", "why_not", NULL};
  return one_of(word, words);
}

// A dispatcher operator's "::" is written as a dot. Whatever is known with dots alone goes first.
const cg_schema *cg_text_schema(cg_module *m, const char *spelling) {
  const cg_schema *c = cg_schema_find(m->s, &m->schemas, spelling);
  const char *dot = strchr(spelling, '.');
  if (c || !dot || strstr(spelling, "::")) return c;
  return cg_schema_find(m->s, &m->schemas, cg_format(m->s, "%.*s::%s", (int)(dot - spelling), spelling, dot + 1));
}

uint64_t cg_text_storage_size(const cg_type *t) {
  if (t->kind != CG_T_TENSOR) return 0;
  uint64_t last = 0, step = 1; // the last element's place
  if (t->offset && (!cg_x_is_int(t->offset) || t->offset->value < 0)) return 0;
  if (t->offset) last = (uint64_t)t->offset->value;
  for (int i = t->rank - 1; i >= 0; i--) {
    const cg_expr *st = t->stride ? t->stride[i] : NULL;
    if (!cg_x_is_int(t->dim[i]) || t->dim[i]->value <= 0 || (st && (!cg_x_is_int(st) || st->value < 0))) return 0;
    uint64_t d = (uint64_t)t->dim[i]->value, by = st ? (uint64_t)st->value : step, more;
    if (__builtin_mul_overflow(d - 1, by, &more) || __builtin_add_overflow(last, more, &last)) return 0;
    if (__builtin_mul_overflow(step, d, &step)) return 0;
  }
  uint64_t size;
  return __builtin_mul_overflow(last + 1, cg_dtypes[t->dtype].size, &size) ? 0 : size;
}
