// NumPy's .npy format, versions 1 to 3.
// Source: numpy.lib.format (the format's documentation there).
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "arrays/arrays.h"

typedef struct {
  cg_session *s;
  const char *file, *name, *at; // at: in a NUL-terminated copy of the header
  char descr[32];
  bool fortran, has_descr, has_order, has_shape;
  cg_array a;
} header;

static _Noreturn void bad(header *h, const char *what) {
  cg_fail(h->s, CIERGE_BAD_INPUT, "%s: array %s: %s", h->file, h->name, what);
}

static void skip(header *h) {
  while (isspace((unsigned char)*h->at)) h->at++;
}

static bool take(header *h, char c) {
  skip(h);
  if (*h->at != c) return false;
  h->at++;
  return true;
}

static void quoted(header *h, char *out, size_t size) {
  skip(h);
  char q = *h->at;
  if (q != '\'' && q != '"') bad(h, "its header is not a dictionary of descr, fortran_order and shape");
  h->at++;
  size_t n = 0;
  while (*h->at && *h->at != q && n + 1 < size) out[n++] = *h->at++;
  if (*h->at != q) bad(h, "a text in its header does not end, or is too long (structured types are not read)");
  h->at++;
  out[n] = 0;
}

static void shape(header *h) {
  if (!take(h, '(')) bad(h, "shape is not a tuple");
  while (!take(h, ')')) {
    if (h->a.rank == CG_ARRAY_MAX_RANK) bad(h, "it has more than 64 dimensions");
    skip(h);
    char *end;
    errno = 0;
    long long v = strtoll(h->at, &end, 10);
    if (end == h->at || errno || v < 0) bad(h, "shape holds something that is no size");
    h->at = end;
    h->a.size[h->a.rank++] = v;
    take(h, ',');
  }
}

static void parse_header(header *h) {
  if (!take(h, '{')) bad(h, "its header is not a dictionary");
  while (!take(h, '}')) {
    char key[32];
    quoted(h, key, sizeof key);
    if (!take(h, ':')) bad(h, "its header lacks a ':'");
    skip(h);
    if (!strcmp(key, "descr")) quoted(h, h->descr, sizeof h->descr), h->has_descr = true;
    else if (!strcmp(key, "fortran_order")) {
      h->fortran = !strncmp(h->at, "True", 4);
      if (!h->fortran && strncmp(h->at, "False", 5)) bad(h, "fortran_order is neither True nor False");
      h->at += h->fortran ? 4 : 5;
      h->has_order = true;
    } else if (!strcmp(key, "shape")) shape(h), h->has_shape = true;
    else bad(h, "its header has an unknown key");
    take(h, ',');
  }
  if (!h->has_descr || !h->has_order || !h->has_shape) bad(h, "its header lacks descr, fortran_order or shape");
}

// The dtype with this descr, whatever its endianness; -1: NumPy type that has no counterpart.
static int dtype_of(const char *descr) {
  for (int i = 0; i < CG_DTYPE_COUNT; i++) {
    const char *d = cg_dtypes[i].npy;
    if (d && !strcmp(d + 1, descr + 1) && strchr("<>|=", descr[0])) return i;
  }
  return -1;
}

static void swap_bytes(uint8_t *p, uint64_t bytes, size_t item) {
  for (uint64_t i = 0; i + item <= bytes; i += item)
    for (size_t a = 0, b = item - 1; a < b; a++, b--) {
      uint8_t t = p[i + a];
      p[i + a] = p[i + b];
      p[i + b] = t;
    }
}

static void *c_order(cg_session *s, const cg_array *a, const uint8_t *from) {
  size_t es = cg_dtypes[a->dtype].size;
  uint8_t *to = cg_alloc(s, a->bytes ? a->bytes : 1);
  int64_t stride[CG_ARRAY_MAX_RANK], index[CG_ARRAY_MAX_RANK] = {0}, step = (int64_t)es;
  for (int i = 0; i < a->rank; i++) stride[i] = step, step *= a->size[i];
  for (uint64_t n = 0; n < a->bytes; n += es) {
    int64_t at = 0;
    for (int i = 0; i < a->rank; i++) at += index[i] * stride[i];
    memcpy(to + n, from + at, es);
    for (int i = a->rank - 1; i >= 0 && ++index[i] == a->size[i]; i--) index[i] = 0;
  }
  return to;
}

// <U (UTF-32) or |S: the text, ASCII and UTF-8.
static const char *text_of(header *h, const uint8_t *data, size_t size) {
  size_t width = strtoul(h->descr + 2, NULL, 10);
  if (h->a.rank) bad(h, "arrays of texts are not read");
  cg_str b = cg_str_new(h->s);
  if (h->descr[1] == 'S') {
    if (width > size) bad(h, "its data is cut off");
    cg_str_addn(&b, (const char *)data, strnlen((const char *)data, width));
    return cg_str_text(&b);
  }
  if (width > size / 4) bad(h, "its data is cut off");
  for (size_t i = 0; i < width; i++) {
    uint32_t c;
    memcpy(&c, data + 4 * i, 4);
    if (h->descr[0] == '>') c = __builtin_bswap32(c);
    if (!c) break;
    if (c < 0x80) cg_str_addc(&b, (char)c);
    else if (c < 0x800) cg_str_addf(&b, "%c%c", 0xC0 | c >> 6, 0x80 | (c & 63));
    else cg_str_addf(&b, "%c%c%c", 0xE0 | (c >> 12 & 15), 0x80 | (c >> 6 & 63), 0x80 | (c & 63));
  }
  return cg_str_text(&b);
}

cg_array cg_npy_parse(cg_session *s, const char *file, const char *name, const uint8_t *data, size_t size, const char **text) {
  header h = {.s = s, .file = file, .name = name, .a = {.name = name}};
  if (size < 10 || memcmp(data, "\x93NUMPY", 6)) bad(&h, "it does not begin like a .npy file");
  size_t start = data[6] == 1 ? 10 : 12, length = data[8] | (size_t)data[9] << 8;
  if (data[6] < 1 || data[6] > 3) bad(&h, "its .npy version is not 1, 2 or 3");
  if (start == 12 && size >= 12) length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
  if (size < start || length > size - start) bad(&h, "its header is cut off");
  h.at = cg_strndup(s, (const char *)data + start, length);
  parse_header(&h);
  data += start + length, size -= start + length;
  if (text) *text = NULL;
  if (text && (h.descr[1] == 'U' || h.descr[1] == 'S')) {
    *text = text_of(&h, data, size);
    return h.a;
  }
  int t = dtype_of(h.descr);
  if (t < 0) cg_fail(s, CIERGE_BAD_INPUT, "%s: array %s: torch has no dtype for NumPy's '%s'", file, name, h.descr);
  h.a.dtype = (cg_dtype)t;
  h.a.bytes = cg_array_bytes(s, file, &h.a);
  if (h.a.bytes > size) bad(&h, "its data is cut off");
  if (h.a.bytes < size) bad(&h, "bytes follow its data");
  h.a.data = data;
  if (h.fortran && h.a.rank > 1) h.a.data = c_order(s, &h.a, data);
  if (h.descr[0] == '>' && cg_dtypes[t].size > 1) {
    uint8_t *copy = cg_memdup(s, h.a.data, h.a.bytes);
    size_t item = cg_is_complex(h.a.dtype) ? cg_dtypes[t].size / 2u : cg_dtypes[t].size;
    swap_bytes(copy, h.a.bytes, item);
    h.a.data = copy;
  }
  return h.a;
}

// ---------------------------------------------------------------- writing

// Dtypes that NumPy lacks travel as raw bits.
static const char *descr_of(cg_dtype t) {
  if (cg_dtypes[t].npy) return cg_dtypes[t].npy;
  return cg_dtypes[t].size == 1 ? "|u1" : cg_dtypes[t].size == 2 ? "<u2" : "<u4";
}

void cg_npy_header(cg_session *s, const cg_array *a, const void **header, size_t *size) {
  cg_str d = cg_str_new(s), b = cg_str_new(s);
  cg_str_addf(&d, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(a->dtype));
  for (int i = 0; i < a->rank; i++) cg_str_addf(&d, "%lld%s", (long long)a->size[i], a->rank == 1 ? "," : i + 1 < a->rank ? ", " : "");
  cg_str_add(&d, "), }");
  while ((10 + d.n + 1) % 64) cg_str_addc(&d, ' ');
  cg_str_addc(&d, '\n');
  cg_str_addn(&b, "\x93NUMPY\x01\x00", 8);
  cg_str_addc(&b, (char)(d.n & 255));
  cg_str_addc(&b, (char)(d.n >> 8));
  cg_str_addn(&b, d.at, d.n);
  *header = b.at, *size = b.n;
}
