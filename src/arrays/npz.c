// .npz: a zip of .npy files. Dtypes that NumPy lacks travel as raw bits; the array `__cierge_dtypes__` then holds a
// JSON text of array name to torch's dtype name.
#include <string.h>
#include <yyjson/yyjson.h>
#include <zlib.h>

#include "base/bytes_writer.h"
#include "base/file.h"
#include "base/zip.h"
#include "arrays/arrays.h"

#define DTYPES "__cierge_dtypes__"

static void apply_dtypes(cg_session *s, const char *path, const char *json, cg_array_vec *arrays) {
  yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
  yyjson_val *root = yyjson_doc_get_root(doc);
  if (!yyjson_is_obj(root)) {
    yyjson_doc_free(doc);
    cg_fail(s, CIERGE_BAD_INPUT, "%s: " DTYPES " is not a JSON object", path);
  }
  const char *wrong = NULL;
  for (int i = 0; i < arrays->n && !wrong; i++) {
    cg_array *a = &arrays->at[i];
    const char *name = yyjson_get_str(yyjson_obj_get(root, a->name));
    if (!name) continue;
    int t = cg_dtype_by_torch_name(name);
    if (t < 0 || cg_dtypes[t].size != cg_dtypes[a->dtype].size) wrong = a->name;
    else a->dtype = (cg_dtype)t;
  }
  yyjson_doc_free(doc);
  if (wrong) cg_fail(s, CIERGE_BAD_INPUT, "%s: " DTYPES " gives array %s a dtype that does not exist or has another size", path, wrong);
}

cg_array_vec cg_npz_read(cg_session *s, const char *path) {
  cg_file file = cg_file_map(s, path);
  cg_zip *zip = cg_zip_open(s, &file, CIERGE_BAD_INPUT);
  cg_array_vec out = {0};
  const char *dtypes = NULL;
  for (int i = 0; i < cg_zip_count(zip); i++) {
    const cg_zip_member *m = cg_zip_at(zip, i);
    size_t n = strlen(m->name);
    if (n < 5 || strcmp(m->name + n - 4, ".npy")) cg_fail(s, CIERGE_BAD_INPUT, "%s: %s is not a .npy array", path, m->name);
    const char *name = cg_strndup(s, m->name, n - 4), *text;
    cg_array a = cg_npy_parse(s, path, name, cg_zip_data(zip, m), m->size, &text);
    if (text && strcmp(name, DTYPES)) cg_fail(s, CIERGE_BAD_INPUT, "%s: array %s is a text; only tensors are inputs", path, name);
    if (text) dtypes = text;
    else CG_PUSH(s, &out, a);
  }
  if (dtypes) apply_dtypes(s, path, dtypes, &out);
  return out;
}

// ---------------------------------------------------------------- writing: stored members, ZIP64 where a size needs it

typedef struct {
  cg_writer *w;
  cg_str central;
  uint32_t count;
} zip_out;

static void put16(cg_str *b, unsigned v) {
  cg_str_addc(b, (char)(v & 255));
  cg_str_addc(b, (char)(v >> 8 & 255));
}

static uint32_t crc(uint32_t c, const void *data, uint64_t size) {
  for (uint64_t at = 0; at < size;) {
    uInt n = size - at > 1u << 30 ? 1u << 30 : (uInt)(size - at);
    c = (uint32_t)crc32(c, (const Bytef *)data + at, n);
    at += n;
  }
  return c;
}

static void entry(cg_str *b, bool central, const char *name, uint32_t sum, uint64_t size, uint64_t offset) {
  uint16_t extra = central ? 28 : 20;
  cg_write_u32(b, central ? 0x02014b50 : 0x04034b50);
  if (central) put16(b, 45);
  put16(b, 45);      // needs ZIP64
  put16(b, 0x800);   // names are UTF-8
  put16(b, 0);       // stored
  put16(b, 0), put16(b, 0x21); // 1980-01-01: the same bytes every time
  cg_write_u32(b, sum);
  cg_write_u32(b, 0xffffffffu), cg_write_u32(b, 0xffffffffu);
  put16(b, (unsigned)strlen(name));
  put16(b, extra);
  if (central) {
    put16(b, 0), put16(b, 0), put16(b, 0);
    cg_write_u32(b, 0);
    cg_write_u32(b, 0xffffffffu);
  }
  cg_str_add(b, name);
  put16(b, 1), put16(b, extra - 4u); // the ZIP64 field
  cg_write_u64(b, size), cg_write_u64(b, size);
  if (central) cg_write_u64(b, offset);
}

static void member(cg_session *s, zip_out *z, const char *name, const void *head, size_t head_size, const void *data, uint64_t size) {
  uint32_t sum = crc(crc(0, head, head_size), data, size);
  uint64_t offset = cg_writer_size(z->w);
  cg_str local = cg_str_new(s);
  entry(&local, false, name, sum, head_size + size, offset);
  cg_writer_add(z->w, local.at, local.n);
  cg_writer_add(z->w, head, head_size);
  cg_writer_add(z->w, data, size);
  entry(&z->central, true, name, sum, head_size + size, offset);
  z->count++;
}

static void finish(cg_session *s, zip_out *z) {
  uint64_t start = cg_writer_size(z->w), size = z->central.n;
  cg_str b = cg_str_new(s);
  if (!z->count) { // NumPy knows an empty archive by its first bytes
    cg_write_u32(&b, 0x06054b50);
    for (int i = 0; i < 9; i++) put16(&b, 0);
    cg_writer_add(z->w, b.at, b.n);
    cg_writer_commit(z->w);
    return;
  }
  cg_write_u32(&b, 0x06064b50), cg_write_u64(&b, 44), put16(&b, 45), put16(&b, 45);
  cg_write_u32(&b, 0), cg_write_u32(&b, 0), cg_write_u64(&b, z->count), cg_write_u64(&b, z->count);
  cg_write_u64(&b, size), cg_write_u64(&b, start);
  cg_write_u32(&b, 0x07064b50), cg_write_u32(&b, 0), cg_write_u64(&b, start + size), cg_write_u32(&b, 1);
  cg_write_u32(&b, 0x06054b50), put16(&b, 0), put16(&b, 0), put16(&b, 0xffff), put16(&b, 0xffff);
  cg_write_u32(&b, 0xffffffffu), cg_write_u32(&b, 0xffffffffu), put16(&b, 0);
  if (size) cg_writer_add(z->w, z->central.at, z->central.n);
  cg_writer_add(z->w, b.at, b.n);
  cg_writer_commit(z->w);
}

// The JSON text as a 0-dim array of UTF-32, as numpy.array(text) is saved.
static void dtypes_member(cg_session *s, zip_out *z, const char *json) {
  cg_str data = cg_str_new(s), d = cg_str_new(s), head = cg_str_new(s);
  for (const char *p = json; *p; p++) cg_write_u32(&data, (unsigned char)*p);
  cg_str_addf(&d, "{'descr': '<U%zu', 'fortran_order': False, 'shape': (), }", strlen(json));
  while ((10 + d.n + 1) % 64) cg_str_addc(&d, ' ');
  cg_str_addc(&d, '\n');
  cg_str_addn(&head, "\x93NUMPY\x01\x00", 8);
  put16(&head, (unsigned)d.n);
  cg_str_addn(&head, d.at, d.n);
  member(s, z, DTYPES ".npy", head.at, head.n, data.at, data.n);
}

void cg_npz_write(cg_session *s, const char *path, const cg_array_vec *arrays) {
  zip_out z = {.w = cg_writer_open(s, path), .central = cg_str_new(s)};
  cg_str json = cg_str_new(s);
  for (int i = 0; i < arrays->n; i++) {
    const cg_array *a = &arrays->at[i];
    const void *head;
    size_t head_size;
    cg_npy_header(s, a, &head, &head_size);
    member(s, &z, cg_format(s, "%s.npy", a->name), head, head_size, a->data, a->bytes);
    if (!cg_dtypes[a->dtype].npy) cg_str_addf(&json, "%s\"%s\": \"%s\"", json.n ? ", " : "", a->name, cg_dtypes[a->dtype].torch_name);
  }
  if (json.n) dtypes_member(s, &z, cg_format(s, "{%s}", cg_str_text(&json)));
  finish(s, &z);
}
