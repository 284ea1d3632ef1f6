// src/base/file.c: files mapped for reading, written atomically.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

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
  int end[2];
  char to[40];
  const char *to_pipe = in_folder("pipe");
  assert_int_equal(pipe(end), 0);
  snprintf(to, sizeof to, "/proc/self/fd/%d", end[1]);
  assert_int_equal(symlink(to, to_pipe), 0);
  assert_int_equal(cg_try(&s, open_writer, (void *)to_pipe), CIERGE_IO); // as /dev/stderr may be
  unlink(to_pipe);
  close(end[0]), close(end[1]);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_map_file), cmocka_unit_test(test_writer), cmocka_unit_test(test_large_write),
  };
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/cierge-test-XXXXXX", base ? base : P_tmpdir);
  if (!mkdtemp(folder)) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rmdir(folder);
  return failed;
}
