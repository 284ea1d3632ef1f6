// src/base/zip.c: sound ZIP files are read, all others refused, whatever is wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/zip.h"

typedef struct {
  uint8_t at[1 << 17];
  size_t n;
} buffer;

static void add(buffer *b, int size, uint64_t v) {
  for (int i = 0; i < size; i++) b->at[b->n++] = (uint8_t)(v >> 8 * i);
}
static void add_text(buffer *b, const void *t, size_t n) {
  memcpy(b->at + b->n, t, n);
  b->n += n;
}

typedef struct {
  const char *name;
  const void *packed;
  uint32_t packed_size, size, crc, method, flags;
} zip_part;

static zip_part stored(const char *name, const char *text) {
  uint32_t n = (uint32_t)strlen(text);
  return (zip_part){name, text, n, n, (uint32_t)crc32(0, (const Bytef *)text, n), 0, 0};
}

// A ZIP file of these parts; zip64: with the ZIP64 records and 64-bit sizes in the directory.
static void make_zip(buffer *b, const zip_part *part, int n, bool zip64) {
  uint32_t header[8];
  b->n = 0;
  for (int i = 0; i < n; i++) {
    const zip_part *p = &part[i];
    header[i] = (uint32_t)b->n;
    add(b, 4, 0x04034b50), add(b, 2, 20), add(b, 2, p->flags), add(b, 2, p->method), add(b, 4, 0);
    bool later = p->flags & 8;
    add(b, 4, later ? 0 : p->crc), add(b, 4, later ? 0 : p->packed_size), add(b, 4, later ? 0 : p->size);
    add(b, 2, strlen(p->name)), add(b, 2, 0);
    add_text(b, p->name, strlen(p->name)), add_text(b, p->packed, p->packed_size);
  }
  uint64_t start = b->n;
  for (int i = 0; i < n; i++) {
    const zip_part *p = &part[i];
    add(b, 4, 0x02014b50), add(b, 2, 20), add(b, 2, 20), add(b, 2, p->flags), add(b, 2, p->method), add(b, 4, 0), add(b, 4, p->crc);
    add(b, 4, zip64 ? 0xffffffff : p->packed_size), add(b, 4, zip64 ? 0xffffffff : p->size);
    add(b, 2, strlen(p->name)), add(b, 2, zip64 ? 28 : 0), add(b, 2, 0), add(b, 2, 0), add(b, 2, 0), add(b, 4, 0);
    add(b, 4, zip64 ? 0xffffffff : header[i]);
    add_text(b, p->name, strlen(p->name));
    if (zip64) add(b, 2, 1), add(b, 2, 24), add(b, 8, p->size), add(b, 8, p->packed_size), add(b, 8, header[i]);
  }
  uint64_t end = b->n;
  if (zip64) {
    add(b, 4, 0x06064b50), add(b, 8, 44), add(b, 2, 45), add(b, 2, 45), add(b, 4, 0), add(b, 4, 0);
    add(b, 8, (uint64_t)n), add(b, 8, (uint64_t)n), add(b, 8, end - start), add(b, 8, start);
    add(b, 4, 0x07064b50), add(b, 4, 0), add(b, 8, end), add(b, 4, 1);
  }
  add(b, 4, 0x06054b50), add(b, 4, 0), add(b, 2, zip64 ? 0xffff : (uint64_t)n), add(b, 2, zip64 ? 0xffff : (uint64_t)n);
  add(b, 4, zip64 ? 0xffffffff : end - start), add(b, 4, zip64 ? 0xffffffff : start), add(b, 2, 0);
}

typedef struct {
  const uint8_t *data;
  size_t size;
} some_bytes;

static void read_all(cg_session *s, void *u) {
  some_bytes *b = u;
  cg_file f = {.path = "t.zip", .data = b->data, .size = b->size};
  cg_zip *z = cg_zip_open(s, &f, CIERGE_BAD_MODEL);
  for (int i = 0; i < cg_zip_count(z); i++) cg_zip_data(z, cg_zip_at(z, i));
}

// The file is a heap copy of exact size, so that reading past its end shows.
static void expect_zip(const buffer *b, size_t n, cierge_code code, const char *says) {
  cg_session s;
  cg_session_init(&s);
  uint8_t *copy = malloc(n ? n : 1);
  memcpy(copy, b->at, n);
  assert_int_equal(cg_try(&s, read_all, &(some_bytes){copy, n}), code);
  if (says && !strstr(s.message, says)) fail_msg("expected '%s' in: %s", says, s.message);
  free(copy);
  cg_session_end(&s);
}

static buffer b;

static void refuse(const zip_part *part, int n, const char *says) {
  make_zip(&b, part, n, false);
  expect_zip(&b, b.n, CIERGE_BAD_MODEL, says);
}

static uint32_t deflate_raw(uint8_t *out, uint32_t room, const uint8_t *in, uint32_t n) {
  z_stream st = {0};
  deflateInit2(&st, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
  st.next_in = (Bytef *)in, st.avail_in = n, st.next_out = out, st.avail_out = room;
  assert_int_equal(deflate(&st, Z_FINISH), Z_STREAM_END);
  deflateEnd(&st);
  return room - st.avail_out;
}

static void test_zip_reads(void **state) {
  (void)state;
  static uint8_t zeros[3 << 20], packed[1 << 14];
  uint32_t n = deflate_raw(packed, sizeof packed, zeros, sizeof zeros);
  zip_part part[4] = {stored("a/one", "first"), stored("two", ""), stored("three", "unchecked"),
                      {"zeros", packed, n, sizeof zeros, (uint32_t)crc32(0, zeros, sizeof zeros), 8, 8}};
  part[2].crc = 0; // not computed
  for (int zip64 = 0; zip64 < 2; zip64++) {
    make_zip(&b, part, 4, zip64);
    cg_session s;
    cg_session_init(&s);
    cg_file f = {.path = "t.zip", .data = b.at, .size = b.n};
    cg_zip *z = cg_zip_open(&s, &f, CIERGE_BAD_MODEL);
    assert_int_equal(cg_zip_count(z), 4);
    const cg_zip_member *m = cg_zip_find(z, "a/one");
    assert_non_null(m);
    assert_int_equal(m->size, 5);
    assert_memory_equal(cg_zip_data(z, m), "first", 5);
    assert_ptr_equal(cg_zip_data(z, m), b.at + m->offset);
    m = cg_zip_find(z, "zeros");
    assert_memory_equal(cg_zip_data(z, m), zeros, sizeof zeros);
    assert_ptr_equal(cg_zip_data(z, m), cg_zip_data_unchecked(z, m));
    assert_null(cg_zip_find(z, "four"));
    assert_memory_equal(cg_zip_data(z, cg_zip_at(z, 2)), "unchecked", 9);
    cg_session_end(&s);
    for (size_t cut = 0; cut < b.n; cut++) expect_zip(&b, cut, CIERGE_BAD_MODEL, NULL); // every truncation
  }
  make_zip(&b, NULL, 0, false);
  expect_zip(&b, b.n, CIERGE_OK, NULL);
}

static void test_zip_refuses(void **state) {
  (void)state;
  zip_part p[2] = {stored("a", "text"), stored("b", "more")};
  p[1].name = "a";
  refuse(p, 2, "\"a\" at byte 117: there are two members");
  p[1].name = "b";
  p[0].crc ^= 1;
  refuse(p, 2, "\"a\" at byte 31: its content does not have the CRC-32");
  p[0] = stored("a", "text");
  p[0].method = 14;
  refuse(p, 2, "method 14");
  p[0].method = 0, p[0].flags = 1;
  refuse(p, 2, "encrypted");
  p[0].flags = 0, p[0].size = 5;
  refuse(p, 2, "two sizes differ");
  p[0].size = p[0].packed_size = 400;
  p[0] = (zip_part){"a", "\x03\x00", 2, 0xfffffff0, 0, 8, 0};
  refuse(p, 1, "cannot inflate to the size");
  p[0].size = 1;
  refuse(p, 1, "compressed data is damaged");
  p[0].size = 0;
  make_zip(&b, p, 1, false);
  expect_zip(&b, b.n, CIERGE_OK, NULL);
  p[0] = (zip_part){"a", "\x03\x00junk", 6, 0, 0, 8, 0};
  refuse(p, 1, "compressed data is damaged");
  expect_zip(&(buffer){.at = "no zip file at all, but some text"}, 30, CIERGE_BAD_MODEL, "no end-of-directory record");
}

// One field changed in an otherwise sound file.
static void test_zip_disagreements(void **state) {
  (void)state;
  zip_part p[2] = {stored("a", "text"), stored("b", "more")};
  static const struct {
    size_t at; // 0: first local header, 70: first directory entry, 164: end record
    uint8_t value;
    const char *says;
  } change[] = {
      {0, 0, "no member header"},
      {30, 'x', "another name"},
      {18, 9, "another size"},
      {14, 9, "another CRC"},
      {8, 8, "another method"},
      {70, 0, "no directory entry"},
      {70 + 42, 35, "another name"},
      {117 + 42, 0, "another name"},
      {164 + 10, 1, "several disks"},
      {164 + 12, 1, "does not end where"},
      {164 + 16, 69, "does not end where"},
      {164 + 20, 1, "no end-of-directory record"},
  };
  for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
    make_zip(&b, p, 2, false);
    assert_int_equal(b.n, 186);
    b.at[change[i].at] = change[i].value;
    expect_zip(&b, b.n, CIERGE_BAD_MODEL, change[i].says);
  }
  // the first member's data may not reach into the second
  make_zip(&b, p, 2, false);
  b.at[18] = b.at[22] = b.at[70 + 20] = b.at[70 + 24] = 5;
  expect_zip(&b, b.n, CIERGE_BAD_MODEL, "overlaps");
  // bytes before the first member
  make_zip(&b, p, 1, false);
  buffer *c = malloc(sizeof *c);
  c->n = 0;
  add(c, 1, 'x'), add_text(c, b.at, b.n);
  expect_zip(c, c->n, CIERGE_BAD_MODEL, "does not end where");
  free(c);
}

static void test_zip_damage(void **state) { // whatever byte changes: read or refused, nothing else
  (void)state;
  static uint8_t packed[256];
  const char *text = "some text, some text, some more text";
  uint32_t n = deflate_raw(packed, sizeof packed, (const uint8_t *)text, (uint32_t)strlen(text));
  zip_part p[2] = {stored("a", "text"), {"b", packed, n, (uint32_t)strlen(text), (uint32_t)crc32(0, (const Bytef *)text, (uInt)strlen(text)), 8, 0}};
  for (int zip64 = 0; zip64 < 2; zip64++) {
    make_zip(&b, p, 2, zip64);
    for (size_t at = 0; at < b.n; at++) {
      for (int v = 0; v < 8; v++) {
        uint8_t old = b.at[at];
        b.at[at] ^= (uint8_t)(1 << v);
        cg_session s;
        cg_session_init(&s);
        cierge_code code = cg_try(&s, read_all, &(some_bytes){b.at, b.n});
        assert_true(code == CIERGE_OK || code == CIERGE_BAD_MODEL);
        cg_session_end(&s);
        b.at[at] = old;
      }
    }
  }
}

static void test_zip_memory(void **state) {
  (void)state;
  static uint8_t packed[256];
  uint32_t n = deflate_raw(packed, sizeof packed, (const uint8_t *)"aaaaaaaaaaaaaaaaaaaaaaaa", 24);
  zip_part p = {"b", packed, n, 24, (uint32_t)crc32(0, (const Bytef *)"aaaaaaaaaaaaaaaaaaaaaaaa", 24), 8, 0};
  make_zip(&b, &p, 1, false);
  for (long k = 1, failed = 1; failed; k++) {
    cg_session s;
    cg_session_init(&s);
    cg_heap_fail_at(k, 0);
    cierge_code code = cg_try(&s, read_all, &(some_bytes){b.at, b.n});
    failed = code != CIERGE_OK;
    assert_true(!failed || code == CIERGE_NO_MEMORY);
    cg_heap_fail_at(0, 0);
    cg_session_end(&s);
    assert_true(k < 100 && (k > 1 || failed));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_zip_reads), cmocka_unit_test(test_zip_refuses), cmocka_unit_test(test_zip_disagreements),
      cmocka_unit_test(test_zip_damage), cmocka_unit_test(test_zip_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
