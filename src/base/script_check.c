// Checks archives of TorchScript before LibTorch reads them.
#include "base/script_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/zip.h"

typedef struct {
  const void *bytes;
  size_t size;
} job;

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && !strcmp(text + n - k, end);
}

static void check(cg_session *s, void *u) {
  const job *j = u;
  cg_file f = {.path = "the archive", .data = j->bytes, .size = j->size};
  cg_zip *z = cg_zip_open(s, &f, CIERGE_BAD_MODEL);
  bool data = false, code = false;
  for (int i = 0; i < cg_zip_count(z); i++) {
    const cg_zip_member *m = cg_zip_at(z, i);
    cg_zip_data(z, m);
    data = data || ends_with(m->name, "/data.pkl");
    code = code || ends_with(m->name, "/constants.pkl");
  }
  if (!data || !code) cg_fail(s, CIERGE_BAD_MODEL, "a ZIP file, but no archive of TorchScript (torch.jit.save writes such)");
}

bool cg_script_check(const void *bytes, size_t size, char *why, size_t why_size) {
  cg_session *s = cg_heap_zalloc(1, sizeof *s);
  if (!s) {
    snprintf(why, why_size, "out of memory");
    return false;
  }
  cg_session_init(s);
  job j = {bytes, size};
  cierge_code code = cg_try(s, check, &j);
  if (code) snprintf(why, why_size, "%s", s->message);
  cg_session_end(s);
  cg_heap_free(s);
  return code == CIERGE_OK;
}
