// Running, while something is compiled, what was compiled before.
#include "compile/call.h"

#include <stdlib.h>
#include <unistd.h>

static void drop_program(void *p) { cierge_program_free(p); }
static void drop_context(void *c) { cierge_context_free(c); }
static void drop_file(void *path) { unlink(path); }

void cg_check(cg_session *s, cierge_status *status) {
  if (!status) return;
  cierge_code code = cierge_status_code(status);
  char *text = cg_strdup(s, cierge_status_message(status));
  cierge_status_free(status);
  cg_fail(s, code, "%s", text);
}

void cg_apart(cg_session *s, void (*f)(cg_session *, void *), void *u) {
  cg_session *own = CG_NEW(s, cg_session);
  cg_session_init(own);
  cierge_code code = cg_try(own, f, u);
  const char *message = cg_strdup(s, own->message);
  cg_session_end(own);
  if (code) cg_fail(s, code, "%s", message);
}

const char *cg_temporary(cg_session *s, const char *what) {
  const char *folder = getenv("TMPDIR");
  char *path = cg_format(s, "%s/cierge-%s-XXXXXX", folder && *folder ? folder : "/tmp", what);
  int fd = mkstemp(path);
  if (fd < 0) cg_fail(s, CIERGE_IO, "no temporary file can be made as %s", path);
  close(fd);
  cg_defer(s, drop_file, path);
  return path;
}

void cg_open_artifact(cg_session *s, const cg_options *opt, const char *path, int threads, bool profile, cierge_program **p, cierge_context **c) {
  cg_text_vec libraries = {0};
  for (int i = 0; i < opt->torch_libraries.n; i++) CG_PUSH(s, &libraries, opt->torch_libraries.at[i]);
  CG_PUSH(s, &libraries, NULL);
  cg_text_vec allowed = {0};
  for (int i = 0; i < opt->allow_unsafe.n; i++) CG_PUSH(s, &allowed, opt->allow_unsafe.at[i]);
  CG_PUSH(s, &allowed, NULL);
  cierge_load_options lo = {.size = sizeof lo, .libtorch = opt->libtorch, .torch_libraries = libraries.at, .allow_unsafe_ops = allowed.at};
  cg_check(s, cierge_load(path, &lo, p));
  cg_defer(s, drop_program, *p);
  cierge_context_options co = {.size = sizeof co, .threads = threads, .profile = profile};
  cg_check(s, cierge_context_new(*p, &co, c));
  cg_defer(s, drop_context, *c);
}
