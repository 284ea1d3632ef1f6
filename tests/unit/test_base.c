// src/base: sessions and errors, memory that runs out, texts, maps, files, ZIP files.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <dirent.h>
#include <unistd.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/bytes_writer.h"
#include "base/file.h"
#include "base/map.h"
#include "base/session.h"
#include "base/str.h"
#include "base/vec.h"
#include "base/zip.h"

static char folder[256];

static const char *in_folder(const char *name) {
  static char path[8][600];
  static int turn;
  turn = (turn + 1) % 8;
  snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
  return path[turn];
}

static void put(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  fclose(f);
}

static int files_in_folder(void) {
  int n = 0;
  DIR *d = opendir(folder);
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.' || strstr(e->d_name, ".tmp");
  closedir(d);
  return n;
}

// ---------------------------------------------------------------- sessions

static void fail_here(cg_session *s, void *u) {
  (void)u;
  cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){"m.cir", 3, 14}, "what is %s?", "this");
}

static void fail_outside(cg_session *s, void *u) {
  assert_int_equal(cg_try(s, fail_here, u), CIERGE_BAD_MODEL);
  cg_fail(s, CIERGE_MISSING, "wrapped: %s", s->message); // the message is its own argument
}

static void succeed(cg_session *s, void *u) { *(int *)u = cg_try(s, fail_here, NULL); }

static void long_message(cg_session *s, void *u) { cg_fail(s, CIERGE_IO, "%s", (char *)u); }

static void test_errors(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  assert_int_equal(cg_try(&s, fail_here, NULL), CIERGE_BAD_MODEL);
  assert_string_equal(s.message, "m.cir:3:14: what is this?");
  assert_int_equal(cg_try(&s, fail_outside, NULL), CIERGE_MISSING);
  assert_string_equal(s.message, "wrapped: m.cir:3:14: what is this?");
  int inner = -1;
  assert_int_equal(cg_try(&s, succeed, &inner), CIERGE_OK);
  assert_int_equal(inner, CIERGE_BAD_MODEL);
  assert_null(s.catcher);
  char *text = malloc(10000);
  memset(text, 'x', 9999);
  text[9999] = 0;
  assert_int_equal(cg_try(&s, long_message, text), CIERGE_IO);
  assert_int_equal(strlen(s.message), sizeof s.message - 1);
  free(text);
  cg_session_end(&s);
}

static char order[8];
static void note(void *p) { strcat(order, p); }

static void test_cleanups_run_backwards(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  order[0] = 0;
  cg_defer(&s, note, "a");
  cg_defer(&s, note, "b");
  cg_defer(&s, note, "c");
  cg_session_end(&s);
  assert_string_equal(order, "cba");
}

static void test_arena(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  for (size_t size = 0; size < 200000; size = size * 2 + 1) {
    unsigned char *p = cg_alloc(&s, size);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < size; i++) assert_int_equal(p[i], 0);
    memset(p, 0xff, size);
  }
  assert_string_equal(cg_format(&s, "%d-%s", 7, "x"), "7-x");
  assert_string_equal(cg_strndup(&s, "abcdef", 3), "abc");
  CG_VEC(int) v = {0};
  for (int i = 0; i < 1000; i++) CG_PUSH(&s, &v, i);
  for (int i = 0; i < 1000; i++) assert_int_equal(v.at[i], i);
  cg_session_end(&s);
}

static void too_much(cg_session *s, void *u) { cg_alloc_array(s, SIZE_MAX / 4, (size_t)(uintptr_t)u); }
static void all_of_it(cg_session *s, void *u) {
  (void)u;
  cg_alloc(s, SIZE_MAX);
}

static void deferred(cg_session *s, void *u) {
  (void)u;
  cg_heap_fail_at(1, 1);
  for (int i = 0; i < 100000; i++) cg_defer(s, note, "");
}

static void test_memory_runs_out(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  assert_int_equal(cg_try(&s, too_much, (void *)8), CIERGE_NO_MEMORY);
  assert_int_equal(cg_try(&s, all_of_it, NULL), CIERGE_NO_MEMORY);
  order[0] = 0;
  assert_int_equal(cg_try(&s, deferred, NULL), CIERGE_NO_MEMORY);
  assert_int_equal(cg_heap_count(), 1); // the throw allocates nothing
  cg_heap_fail_at(0, 0);
  cg_session_end(&s);
}

static void test_failing_heap(void **state) {
  (void)state;
  cg_heap_fail_at(2, 0);
  void *a = cg_heap_alloc(8), *b = cg_heap_zalloc(1, 8), *c = cg_heap_aligned(64, 100);
  assert_non_null(a);
  assert_null(b);
  assert_non_null(c);
  assert_int_equal((uintptr_t)c % 64, 0);
  assert_int_equal(cg_heap_count(), 3);
  cg_heap_fail_at(1, 1);
  assert_null(cg_heap_realloc(a, 100)); // a stays
  assert_null(cg_heap_alloc(1));
  cg_heap_fail_at(0, 0);
  assert_non_null(a = cg_heap_realloc(a, 100));
  assert_int_equal(cg_heap_count(), 1);
  cg_heap_free(a);
  cg_heap_free(c);
  cg_heap_free(NULL);
}

// ---------------------------------------------------------------- texts and maps

static void check_double(cg_session *s, double v, const char *expected) {
  cg_str b = cg_str_new(s);
  cg_str_add_double(&b, v);
  assert_string_equal(cg_str_text(&b), expected);
}

static void test_doubles(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  setlocale(LC_ALL, "de_DE.UTF-8"); // where it is installed: the point must stay a point
  check_double(&s, 1, "1.0");
  check_double(&s, -0.0, "-0.0");
  check_double(&s, 0.1, "0.1");
  check_double(&s, 1e-5, "1e-05");
  check_double(&s, 1e22, "1e+22");
  check_double(&s, 1.0 / 3, "0.3333333333333333");
  check_double(&s, 5e-324, "5e-324");
  check_double(&s, INFINITY, "inf");
  check_double(&s, -INFINITY, "-inf");
  check_double(&s, NAN, "nan");
  uint64_t x = 88172645463325252u;
  for (int i = 0; i < 2000; i++) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    double v;
    memcpy(&v, &x, 8);
    if (!isfinite(v)) continue;
    cg_str b = cg_str_new(&s);
    cg_str_add_double(&b, v);
    char *end;
    double w = cg_strtod(cg_str_text(&b), &end);
    assert_int_equal(*end, 0);
    assert_memory_equal(&v, &w, 8);
  }
  setlocale(LC_ALL, "C");
  cg_session_end(&s);
}

static void test_quoted(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  cg_str b = cg_str_new(&s);
  assert_string_equal(cg_str_text(&b), "");
  const char text[] = "a\"\\\n\t\r\0\x7f\xc3\xa9\xc3.\xed\xa0\x80";
  cg_str_add_quoted(&b, text, sizeof text - 1);
  assert_string_equal(cg_str_text(&b), "\"a\\\"\\\\\\n\\t\\r\\x00\\x7f\xc3\xa9\\xc3.\\xed\\xa0\\x80\"");
  cg_str c = cg_str_new(&s);
  for (int i = 0; i < 1000; i++) cg_str_addf(&c, "%03d", i);
  assert_int_equal(c.n, 3000);
  assert_memory_equal(c.at + 2997, "999", 4);
  cg_session_end(&s);
}

static void test_map(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  cg_map m = {0};
  assert_null(cg_map_get(&m, "x"));
  char key[16];
  for (int i = 0; i < 5000; i++) {
    snprintf(key, sizeof key, "k%d", i);
    assert_true(cg_map_set(&s, &m, key, (void *)(uintptr_t)(i + 1)));
  }
  assert_false(cg_map_set(&s, &m, "k7", NULL));
  assert_true(cg_map_has(&m, "k7"));
  assert_null(cg_map_get(&m, "k7"));
  assert_false(cg_map_has(&m, "k5000"));
  for (int i = 8; i < 5000; i++) {
    snprintf(key, sizeof key, "k%d", i);
    assert_int_equal((uintptr_t)cg_map_get(&m, key), i + 1);
    assert_string_equal(m.entries[i].key, key);
  }
  assert_int_equal(m.n, 5000);
  cg_session_end(&s);
}

static void test_bytes(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  cg_str b = cg_str_new(&s);
  cg_write_u8(&b, 200);
  cg_write_i64(&b, -5);
  cg_write_text(&b, "name");
  cg_write_f64(&b, 0.25);
  cg_reader r = {(const uint8_t *)b.at, (const uint8_t *)b.at + b.n, false};
  assert_int_equal(cg_read_u8(&r), 200);
  assert_int_equal(cg_read_i64(&r), -5);
  assert_string_equal(cg_read_text(&r, NULL), "name");
  assert_true(cg_read_f64(&r) == 0.25);
  assert_false(r.bad);
  assert_int_equal(cg_read_u32(&r), 0);
  assert_true(r.bad);
  cg_session_end(&s);
}

// ---------------------------------------------------------------- files

static void map_path(cg_session *s, void *path) { cg_file_map(s, path); }

static void test_map_file(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  put(in_folder("full"), "hello", 5);
  put(in_folder("empty"), "", 0);
  cg_file f = cg_file_map(&s, in_folder("full"));
  assert_int_equal(f.size, 5);
  assert_memory_equal(f.data, "hello", 5);
  f = cg_file_map(&s, in_folder("empty"));
  assert_int_equal(f.size, 0);
  assert_non_null(f.data);
  assert_int_equal(cg_try(&s, map_path, (void *)in_folder("absent")), CIERGE_IO);
  assert_non_null(strstr(s.message, "absent: No such file"));
  assert_int_equal(cg_try(&s, map_path, folder), CIERGE_BAD_INPUT);
  assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
  assert_int_equal(cg_try(&s, map_path, (void *)in_folder("pipe")), CIERGE_BAD_INPUT); // does not hang
  cg_session_end(&s);
  unlink(in_folder("full"));
  unlink(in_folder("empty"));
  unlink(in_folder("pipe"));
}

static void expect_content(const char *path, const char *text) {
  cg_session s;
  cg_session_init(&s);
  cg_file f = cg_file_map(&s, path);
  assert_int_equal(f.size, strlen(text));
  assert_memory_equal(f.data, text, f.size);
  cg_session_end(&s);
}

static void patch_behind(cg_session *s, void *u) {
  (void)s;
  cg_writer_patch(u, 3, "abc", 3);
}
static void open_writer(cg_session *s, void *path) { cg_writer_open(s, path); }

static void test_writer(void **state) {
  (void)state;
  const char *path = in_folder("out");
  put(path, "before", 6);
  cg_session s;
  cg_session_init(&s);
  cg_writer *w = cg_writer_open(&s, path);
  cg_writer_add(w, "0000", 4);
  cg_writer_patch(w, 1, "ab", 2);
  cg_writer_add(w, "5", 1);
  assert_int_equal(cg_writer_size(w), 5);
  assert_int_equal(cg_try(&s, patch_behind, w), CIERGE_INTERNAL);
  expect_content(path, "before");
  cg_writer_commit(w);
  expect_content(path, "0ab05");
  cg_session_end(&s);

  cg_session_init(&s);
  w = cg_writer_open(&s, path); // never committed
  cg_writer_add(w, "x", 1);
  assert_int_equal(files_in_folder(), 2);
  cg_session_end(&s);
  assert_int_equal(files_in_folder(), 1);
  expect_content(path, "0ab05");

  cg_session_init(&s);
  assert_int_equal(symlink("out", in_folder("link")), 0);
  cg_writer_commit(cg_writer_open(&s, in_folder("link"))); // goes where the link leads
  expect_content(path, "");
  struct stat st;
  assert_int_equal(lstat(in_folder("link"), &st), 0);
  assert_true(S_ISLNK(st.st_mode));
  assert_int_equal(cg_try(&s, open_writer, "/dev/null"), CIERGE_IO);
  assert_int_equal(cg_try(&s, open_writer, folder), CIERGE_IO);
  assert_int_equal(cg_try(&s, open_writer, (void *)in_folder("no/such")), CIERGE_IO);
  cg_session_end(&s);
  unlink(in_folder("link"));
  unlink(path);
  assert_int_equal(files_in_folder(), 0);
}

static void test_large_write(void **state) {
  (void)state;
  cg_session s;
  cg_session_init(&s);
  const char *path = in_folder("large");
  cg_writer *w = cg_writer_open(&s, path);
  uint8_t *big = cg_alloc(&s, 1 << 20);
  for (int i = 0; i < 1 << 20; i++) big[i] = (uint8_t)(i * 7 >> 3);
  cg_writer_add(w, big, 100);
  cg_writer_add(w, big, 1 << 20);
  for (int i = 0; i < 5000; i++) cg_writer_add(w, big + i, 100);
  cg_writer_patch(w, 90, "0123456789", 10);
  cg_writer_commit(w);
  cg_file f = cg_file_map(&s, path);
  assert_int_equal(f.size, 100 + (1 << 20) + 500000);
  assert_memory_equal(f.data + 90, "0123456789", 10);
  assert_memory_equal(f.data + 100, big, 1 << 20);
  assert_memory_equal(f.data + f.size - 100, big + 4999, 100);
  cg_session_end(&s);
  unlink(path);
}

// ---------------------------------------------------------------- ZIP files

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
      cmocka_unit_test(test_errors), cmocka_unit_test(test_cleanups_run_backwards), cmocka_unit_test(test_arena),
      cmocka_unit_test(test_memory_runs_out), cmocka_unit_test(test_failing_heap), cmocka_unit_test(test_doubles),
      cmocka_unit_test(test_quoted), cmocka_unit_test(test_map), cmocka_unit_test(test_bytes),
      cmocka_unit_test(test_map_file), cmocka_unit_test(test_writer), cmocka_unit_test(test_large_write),
      cmocka_unit_test(test_zip_reads), cmocka_unit_test(test_zip_refuses), cmocka_unit_test(test_zip_disagreements),
      cmocka_unit_test(test_zip_damage), cmocka_unit_test(test_zip_memory),
  };
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/cierge-test-XXXXXX", base ? base : P_tmpdir);
  if (!mkdtemp(folder)) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rmdir(folder);
  return failed;
}
