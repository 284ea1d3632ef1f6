// Reads ZIP files (PKWARE's APPNOTE.TXT 6.3), strictly.
#include "base/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/str.h"

typedef struct {
  const uint8_t *data; // NULL: not asked for yet
  bool checked;
} content;

struct cg_zip {
  cg_session *s;
  cg_file file;
  cierge_code code;
  cg_zip_member *member; // [n]
  content *content;      // [n]
  int n;
  cg_map by_name;
  uint64_t inflated; // bytes so far
};

static uint32_t u16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }
static uint64_t u64(const uint8_t *p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

_Noreturn static void fail(const cg_zip *z, uint64_t offset, const char *why) {
  cg_fail_at(z->s, z->code, (cg_span){.file = z->file.path}, "not a ZIP file that can be read: at byte %llu: %s",
             (unsigned long long)offset, why);
}

_Noreturn static void fail_member(const cg_zip *z, const char *name, uint64_t offset, const char *why) {
  cg_str b = cg_str_new(z->s);
  cg_str_add_quoted(&b, name, strlen(name));
  cg_fail_at(z->s, z->code, (cg_span){.file = z->file.path}, "ZIP member %s at byte %llu: %s", cg_str_text(&b),
             (unsigned long long)offset, why);
}

// n bytes at offset, or the error that they are not there.
static const uint8_t *bytes(const cg_zip *z, uint64_t offset, uint64_t n, const char *what) {
  if (n > z->file.size || offset > z->file.size - n) fail(z, offset, cg_format(z->s, "the file ends inside %s", what));
  return z->file.data + offset;
}

// ---------------------------------------------------------------- Where the directory is

enum { END = 22, END64 = 56, LOCATOR = 20, CENTRAL = 46, LOCAL = 30 };

typedef struct {
  uint64_t offset, size, count;
} directory;

// The end record: the last one whose comment reaches exactly to the end of the file.
static uint64_t find_end(const cg_zip *z) {
  uint64_t size = z->file.size;
  for (uint64_t back = END; back <= size && back <= END + 0xffff; back++) {
    const uint8_t *p = z->file.data + (size - back);
    if (u32(p) == 0x06054b50 && u16(p + 20) == back - END) return size - back;
  }
  fail(z, 0, "there is no end-of-directory record");
}

// A field of the end record: all ones, or what the ZIP64 record says.
static bool agrees(uint64_t narrow, uint64_t wide, uint64_t ones) { return narrow == ones || narrow == wide; }

// With a ZIP64 record, *end becomes its offset.
static void read_end64(const cg_zip *z, const uint8_t *e, uint64_t *end, directory *d) {
  uint64_t locator = *end - LOCATOR;
  const uint8_t *l = z->file.data + locator;
  uint64_t at = u64(l + 8);
  if (u32(l + 4) || u32(l + 16) > 1) fail(z, locator, "it is split over several disks");
  if (at > locator || locator - at < END64) fail(z, locator, "the ZIP64 record is not where the locator says");
  const uint8_t *r = z->file.data + at;
  if (u32(r) != 0x06064b50 || u64(r + 4) != locator - at - 12) fail(z, at, "the ZIP64 end-of-directory record is damaged");
  if (u32(r + 16) || u32(r + 20) || u64(r + 24) != u64(r + 32)) fail(z, at, "it is split over several disks");
  *d = (directory){.offset = u64(r + 48), .size = u64(r + 40), .count = u64(r + 32)};
  if (!agrees(u16(e + 10), d->count, 0xffff) || !agrees(u32(e + 12), d->size, 0xffffffff) ||
      !agrees(u32(e + 16), d->offset, 0xffffffff))
    fail(z, *end, "the two end-of-directory records do not agree");
  *end = at;
}

static directory find_directory(const cg_zip *z) {
  uint64_t end = find_end(z);
  const uint8_t *e = z->file.data + end;
  directory d = {.offset = u32(e + 16), .size = u32(e + 12), .count = u16(e + 10)};
  if ((u16(e + 4) && u16(e + 4) != 0xffff) || (u16(e + 6) && u16(e + 6) != 0xffff) || u16(e + 8) != u16(e + 10))
    fail(z, end, "it is split over several disks");
  if (end >= LOCATOR && u32(e - LOCATOR) == 0x07064b50) read_end64(z, e, &end, &d);
  if (d.size > end || d.offset != end - d.size) fail(z, end, "the directory does not end where its end record begins");
  if (d.count > CG_ZIP_MAX_MEMBERS) fail(z, end, cg_format(z->s, "it has more than %d members", CG_ZIP_MAX_MEMBERS));
  if (d.count > d.size / CENTRAL) fail(z, end, "the directory is too small for its members");
  return d;
}

// ---------------------------------------------------------------- Members

// Replaces the sizes that are all ones by those in the ZIP64 field of the extra data, in this order. NULL, or what is wrong.
static const char *widen(const uint8_t *extra, uint64_t n, uint64_t *const *field, int nfields) {
  while (n >= 4) {
    uint64_t id = u16(extra), size = u16(extra + 2);
    if (size > n - 4) return "its extra data is damaged";
    if (id == 1) {
      const uint8_t *p = extra + 4, *end = p + size;
      for (int i = 0; i < nfields; i++) {
        if (*field[i] != 0xffffffff) continue;
        if (end - p < 8) return "its ZIP64 data is too short";
        *field[i] = u64(p);
        p += 8;
      }
      return NULL;
    }
    extra += 4 + size;
    n -= 4 + size;
  }
  return NULL; // all ones then means just that, and cannot fit
}

// The local header must say what the directory says, except that with flag bit 3 sizes and CRC may stand behind the data.
static void check_local(const cg_zip *z, cg_zip_member *m, uint32_t flags, uint32_t method) {
  const uint8_t *h = bytes(z, m->header, LOCAL, "a member's header");
  if (u32(h) != 0x04034b50) fail_member(z, m->name, m->header, "there is no member header");
  uint64_t name_size = u16(h + 26), extra_size = u16(h + 28), size = u32(h + 22), packed = u32(h + 18);
  const uint8_t *name = bytes(z, m->header + LOCAL, name_size + extra_size, "a member's header");
  if (name_size != strlen(m->name) || memcmp(name, m->name, name_size))
    fail_member(z, m->name, m->header, "its header gives another name");
  const char *why = widen(name + name_size, extra_size, (uint64_t *[]){&size, &packed}, 2);
  if (why) fail_member(z, m->name, m->header, why);
  bool later = flags & 8, empty = later && !size && !packed, unset = later && size == 0xffffffff && packed == 0xffffffff;
  if (!empty && !unset && (size != m->size || packed != m->packed))
    fail_member(z, m->name, m->header, "its header gives another size");
  if (u16(h + 6) != flags || u16(h + 8) != method) fail_member(z, m->name, m->header, "its header gives another method or other flags");
  if (u32(h + 14) != m->crc && !(later && !u32(h + 14))) fail_member(z, m->name, m->header, "its header gives another CRC");
  m->offset = m->header + LOCAL + name_size + extra_size;
  bytes(z, m->offset, m->packed, "a member's data");
}

// Reads the directory's entry at *at, which is moved behind it.
static void read_member(cg_zip *z, uint64_t *at, uint64_t end, int index) {
  if (end - *at < CENTRAL) fail(z, *at, "the directory ends inside an entry");
  const uint8_t *p = z->file.data + *at;
  if (u32(p) != 0x02014b50) fail(z, *at, "there is no directory entry");
  uint32_t flags = u16(p + 8), method = u16(p + 10), name_size = u16(p + 28), extra_size = u16(p + 30), comment = u16(p + 32);
  if (end - *at < (uint64_t)CENTRAL + name_size + extra_size + comment) fail(z, *at, "the directory ends inside an entry");
  char name[CG_ZIP_MAX_NAME + 1];
  if (!name_size || name_size > CG_ZIP_MAX_NAME || memchr(p + CENTRAL, 0, name_size))
    fail(z, *at, "a member's name is empty, too long or holds a NUL");
  memcpy(name, p + CENTRAL, name_size);
  name[name_size] = 0;
  if (!cg_map_set(z->s, &z->by_name, name, &z->member[index])) fail_member(z, name, *at, "there are two members of this name");

  cg_zip_member *m = &z->member[index];
  *m = (cg_zip_member){.name = z->by_name.entries[index].key, .header = u32(p + 42), .packed = u32(p + 20), .size = u32(p + 24),
                       .crc = u32(p + 16), .deflated = method == 8};
  const char *why = widen(p + CENTRAL + name_size, extra_size, (uint64_t *[]){&m->size, &m->packed, &m->header}, 3);
  if (why) fail_member(z, name, *at, why);
  if (flags & (1 | 1 << 6 | 1 << 13)) fail_member(z, name, *at, "it is encrypted");
  if (flags & 1 << 5) fail_member(z, name, *at, "it is a patch");
  if (method != 0 && method != 8) fail_member(z, name, *at, cg_format(z->s, "it is compressed by method %u, not deflate", method));
  if (u16(p + 34) && u16(p + 34) != 0xffff) fail_member(z, name, *at, "it is on another disk");
  if (!m->deflated && m->size != m->packed) fail_member(z, name, *at, "it is stored, but its two sizes differ");
  // a bit of the attributes makes others take a member for a folder (bit 4, as DOS has it), and its data for nobody's
  if (m->size && (u32(p + 38) & 0x10 || name[name_size - 1] == '/')) fail_member(z, name, *at, "it says that it is a folder, and has content");
  // deflate codes at most 258 bytes in 2 bits
  if (m->deflated && m->size / 1032 > m->packed) fail_member(z, name, *at, "it cannot inflate to the size it states");
  check_local(z, m, flags, method);
  *at += (uint64_t)CENTRAL + name_size + extra_size + comment;
}

static int by_header(const void *a, const void *b) {
  const cg_zip_member *x = *(const cg_zip_member *const *)a, *y = *(const cg_zip_member *const *)b;
  return x->header < y->header ? -1 : x->header > y->header;
}

static void check_overlap(const cg_zip *z, uint64_t limit) {
  const cg_zip_member **m = CG_NEW_ARRAY(z->s, const cg_zip_member *, (size_t)z->n);
  for (int i = 0; i < z->n; i++) m[i] = &z->member[i];
  if (z->n) qsort(m, (size_t)z->n, sizeof *m, by_header);
  if (z->n ? m[0]->header != 0 : limit != 0) fail(z, 0, "there are bytes before the first member");
  for (int i = 0; i < z->n; i++)
    if (m[i]->offset + m[i]->packed > (i + 1 < z->n ? m[i + 1]->header : limit))
      fail_member(z, m[i]->name, m[i]->header, "it overlaps with what follows");
}

cg_zip *cg_zip_open(cg_session *s, const cg_file *file, cierge_code code) {
  cg_zip *z = CG_NEW(s, cg_zip);
  *z = (cg_zip){.s = s, .file = *file, .code = code};
  directory d = find_directory(z);
  z->n = (int)d.count;
  z->member = CG_NEW_ARRAY(s, cg_zip_member, d.count);
  z->content = CG_NEW_ARRAY(s, content, d.count);
  uint64_t at = d.offset, end = d.offset + d.size;
  for (int i = 0; i < z->n; i++) read_member(z, &at, end, i);
  if (at != end) fail(z, at, "there is more in the directory than its members");
  check_overlap(z, d.offset);
  return z;
}

int cg_zip_count(const cg_zip *z) { return z->n; }
const cg_zip_member *cg_zip_at(const cg_zip *z, int i) { return &z->member[i]; }
const cg_zip_member *cg_zip_find(const cg_zip *z, const char *name) { return cg_map_get(&z->by_name, name); }

// ---------------------------------------------------------------- Contents

static voidpf zlib_alloc(voidpf u, uInt n, uInt size) {
  (void)u;
  return cg_heap_alloc((size_t)n * size);
}
static void zlib_free(voidpf u, voidpf p) {
  (void)u;
  cg_heap_free(p);
}

typedef enum { INFLATED, NO_MEMORY, DAMAGED } outcome;

// Inflates all of m into out (size bytes), or, with out NULL, only sees whether that is what comes out.
static outcome inflate_member(const cg_zip *z, const cg_zip_member *m, uint8_t *out) {
  enum { PIECE = 1 << 15, MOST = 1 << 30 };
  uint8_t scrap[PIECE];
  z_stream st = {.zalloc = zlib_alloc, .zfree = zlib_free};
  if (inflateInit2(&st, -15) != Z_OK) return NO_MEMORY;
  uint64_t in_left = m->packed, made = 0;
  st.next_in = (Bytef *)(uintptr_t)(z->file.data + m->offset);
  int r = Z_OK;
  while (r == Z_OK) {
    uint64_t room = m->size - made;
    uInt in = in_left < MOST ? (uInt)in_left : MOST, most = !out ? PIECE : room < MOST ? (uInt)room : MOST;
    // one byte of scrap shows a stream that holds more than it should
    st.next_out = out && room ? out + made : scrap;
    st.avail_out = out && !room ? 1 : most;
    st.avail_in = in;
    uInt offered = st.avail_out;
    r = inflate(&st, Z_NO_FLUSH);
    in_left -= in - st.avail_in;
    made += offered - st.avail_out;
    if (made > m->size) break;
  }
  inflateEnd(&st);
  if (r == Z_MEM_ERROR) return NO_MEMORY;
  return r == Z_STREAM_END && made == m->size && !in_left ? INFLATED : DAMAGED;
}

static const uint8_t *inflate_to_memory(cg_zip *z, const cg_zip_member *m) {
  if (m->size > 4 * (uint64_t)z->file.size + CG_ZIP_MAX_INFLATED - z->inflated)
    fail_member(z, m->name, m->header, "too much would have to be inflated");
  // what looks small in the file must prove its size first
  outcome o = m->size > 4 * m->packed + (1 << 20) ? inflate_member(z, m, NULL) : INFLATED;
  uint8_t *out = NULL;
  if (o == INFLATED) {
    out = cg_alloc(z->s, m->size);
    z->inflated += m->size;
    o = inflate_member(z, m, out);
  }
  if (o == NO_MEMORY) cg_fail(z->s, CIERGE_NO_MEMORY, "out of memory: %s cannot be inflated", z->file.path);
  if (o == DAMAGED) fail_member(z, m->name, m->offset, "its compressed data is damaged, or has another size than stated");
  return out;
}

const uint8_t *cg_zip_text(cg_zip *z, const cg_zip_member *m) {
  if (m->deflated && m->size > CG_ZIP_MAX_TEXT + 4 * (uint64_t)z->file.size) fail_member(z, m->name, m->header, "it is a text, and would inflate to much more than the file");
  return cg_zip_data(z, m);
}

const uint8_t *cg_zip_data_unchecked(cg_zip *z, const cg_zip_member *m) {
  return m->deflated ? cg_zip_data(z, m) : z->file.data + m->offset;
}

const uint8_t *cg_zip_data(cg_zip *z, const cg_zip_member *m) {
  content *c = &z->content[m - z->member];
  if (c->checked) return c->data;
  if (!c->data) c->data = m->deflated ? inflate_to_memory(z, m) : z->file.data + m->offset;
  if ((m->crc || m->deflated) && crc32_z(0, c->data, m->size) != m->crc)
    fail_member(z, m->name, m->offset, "its content does not have the CRC-32 that it states: the file is damaged");
  c->checked = true;
  return c->data;
}
