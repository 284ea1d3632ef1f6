// Turns the default of a schema's argument, a text as PyTorch prints it ("None", "[0, 1]", "1.", "\"linear\""), into an argument.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ir/ir.h"

typedef struct {
  cg_module *m;
  const cg_schema_arg *of;
} reader;

_Noreturn static void fail(const reader *r, const char *text) {
  cg_fail(r->m->s, CIERGE_BAD_MODEL, "operator schema: '%s %s=%s': the default '%s' does not read", r->of->type.text,
          r->of->name ? r->of->name : "", r->of->default_text, text);
}

static int by_name(const char *const *names, int n, const char *text) {
  for (int i = 0; i < n; i++)
    if (!strcmp(names[i], text)) return i;
  return -1;
}

// A whole decimal number.
static bool integer(const char *text, int64_t *out) {
  char *end;
  errno = 0;
  long long v = strtoll(text, &end, 10);
  if (end == text || *end || errno) return false;
  *out = v;
  return true;
}

// Numbers stand for the c10 enumerations, whose names may be written as well.
static int enumerated(const char *const *names, int n, const char *text) {
  int64_t v;
  if (integer(text, &v)) return v >= 0 && v < n ? (int)v : -1;
  const char *dot = strncmp(text, "torch.", 6) ? text : text + 6;
  return by_name(names, n, dot);
}

static const char *const layouts[] = {"strided", "sparse_coo", "sparse_csr", "_mkldnn", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged"};
static const char *const formats[] = {"contiguous_format", "preserve_format", "channels_last", "channels_last_3d"};
static const char *const reductions[] = {"None", "Mean", "Sum"}; // at::Reduction, as native_functions.yaml writes it

static int dtype(const char *text) {
  static const char *const names[] = {"float", "double", "half", "int", "long", "short", "bool", "cfloat", "cdouble"};
  static const cg_dtype types[] = {CG_F32, CG_F64, CG_F16, CG_I32, CG_I64, CG_I16, CG_BOOL, CG_C64, CG_C128};
  int64_t code;
  if (integer(text, &code)) return code >= 0 && code < 256 ? cg_dtype_by_c10_code((int)code) : -1;
  if (!strncmp(text, "torch.", 6)) text += 6;
  int i = by_name(names, sizeof names / sizeof *names, text);
  return i >= 0 ? (int)types[i] : cg_dtype_by_torch_name(text);
}

static int hex(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The escapes that c10 prints: \" \' \\ \n …, \ooo; and \xHH.
static char escaped(const char **at) {
  const char *p = *at;
  static const char from[] = "ntrabfv", to[] = "\n\t\r\a\b\f\v";
  if (*p >= '0' && *p <= '7') {
    int v = 0, n = 0;
    while (n < 3 && p[n] >= '0' && p[n] <= '7') v = v * 8 + p[n++] - '0';
    *at = p + n;
    return (char)v;
  }
  if (*p == 'x' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
    *at = p + 3;
    return (char)(hex(p[1]) * 16 + hex(p[2]));
  }
  const char *f = *p ? strchr(from, *p) : NULL;
  *at = p + 1;
  return f ? to[f - from] : *p;
}

static cg_arg quoted(const reader *r, const char *text) {
  size_t n = strlen(text);
  if (n < 2 || (*text != '"' && *text != '\'') || text[n - 1] != *text) fail(r, text);
  cg_str b = cg_str_new(r->m->s);
  for (const char *p = text + 1, *end = text + n - 1; p < end;) {
    if (*p != '\\') {
      cg_str_addc(&b, *p++);
    } else {
      p++;
      if (p >= end) fail(r, text);
      cg_str_addc(&b, escaped(&p));
    }
  }
  cg_arg a = {.kind = CG_A_STR};
  a.str.text = cg_str_text(&b);
  a.str.n = b.n;
  return a;
}

static cg_arg plain_text(const reader *r, cg_arg_kind kind, const char *text) {
  cg_arg a = *text == '"' || *text == '\'' ? quoted(r, text) : cg_a_str(r->m, text);
  a.kind = kind;
  return a;
}

static cg_arg number(const reader *r, const char *text, bool as_float) {
  int64_t i;
  char *end;
  if (!as_float && integer(text, &i)) return cg_a_int(r->m, i);
  double f = cg_strtod(text, &end);
  if (end == text || *end) fail(r, text);
  return cg_a_float(f);
}

static cg_arg int_item(const reader *r, const char *text) {
  int64_t i;
  int e = by_name(reductions, 3, text);
  if (e >= 0) i = e;
  else if (!integer(text, &i)) fail(r, text);
  return cg_a_int(r->m, i);
}

static cg_arg item(const reader *r, cg_schema_kind kind, const char *text) {
  int e;
  bool is_true = !strcmp(text, "True"), is_bool = is_true || !strcmp(text, "False");
  switch (kind) {
  case CG_S_INT: return int_item(r, text);
  case CG_S_FLOAT: return number(r, text, true);
  case CG_S_BOOL:
    if (!is_bool) fail(r, text);
    return cg_a_bool(is_true);
  case CG_S_STR: return quoted(r, text);
  case CG_S_DTYPE:
    if ((e = dtype(text)) < 0) fail(r, text);
    return cg_a_dtype((cg_dtype)e);
  case CG_S_LAYOUT:
    if ((e = enumerated(layouts, 8, text)) < 0) fail(r, text);
    return plain_text(r, CG_A_LAYOUT, layouts[e]);
  case CG_S_MEMORY_FORMAT:
    if ((e = enumerated(formats, 4, text)) < 0) fail(r, text);
    return (cg_arg){.kind = CG_A_MEMORY_FORMAT, .memory_format = e};
  case CG_S_DEVICE: return plain_text(r, CG_A_DEVICE, text);
  default: // Scalar, Any and what has no literals of its own
    if (is_bool) return cg_a_bool(is_true);
    if (*text == '"' || *text == '\'') return quoted(r, text);
    return number(r, text, false);
  }
}

// "[a, b]": the items, which hold no brackets of their own.
static cg_arg list(const reader *r, cg_schema_kind kind, const char *text) {
  cg_session *s = r->m->s;
  cg_arg_vec v = {0};
  const char *p = text + 1, *end = text + strlen(text) - 1;
  if (end < p || *end != ']') fail(r, text);
  while (p < end) {
    p += strspn(p, " ");
    const char *start = p;
    for (char quote = 0; p < end && (quote || *p != ','); p++) {
      if (quote && *p == '\\') p++;
      else if (quote) quote = *p == quote ? 0 : quote;
      else if (*p == '"' || *p == '\'') quote = *p;
    }
    if (p > end) fail(r, text);
    size_t n = (size_t)(p - start);
    while (n && start[n - 1] == ' ') n--;
    if (!n && p >= end && !v.n) break; // "[ ]"
    const char *one = cg_strndup(s, start, n);
    CG_PUSH(s, &v, !strcmp(one, "None") && r->of->type.item_optional ? cg_a_none() : item(r, kind, one));
    p++;
  }
  return cg_a_list(r->m, v.n, v.at);
}

cg_arg cg_schema_default(cg_module *m, const cg_schema_arg *a) {
  reader r = {m, a};
  const char *text = a->default_text;
  const cg_schema_type *t = &a->type;
  if (!text || (!strcmp(text, "None") && (t->optional || t->kind != CG_S_INT))) return cg_a_none();
  if (*text == '[') {
    if (!t->list && t->kind != CG_S_ANY) fail(&r, text);
    return list(&r, t->kind, text);
  }
  cg_arg one = item(&r, t->kind, text);
  if (!t->list) return one;
  cg_arg_vec v = {0}; // int[2] stride=1
  for (int i = 0; i < (t->list_size ? t->list_size : 1); i++) CG_PUSH(m->s, &v, one);
  return cg_a_list(m, v.n, v.at);
}
