// cierge blob: what a text program says of an archive of TorchScript, and the archive where the program looks for it.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/script_check.h"
#include "cli/cli.h"

typedef struct {
  const char *folder;
  char **path;
  int n;
} job;

static void add(cg_session *s, const char *folder, const char *path) {
  char why[512];
  cg_file f = cg_file_map(s, path);
  if (!cg_script_check(f.data, f.size, why, sizeof why)) cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = path}, "%s", why);
  cg_hash h = cg_hash_of(f.data, f.size);
  if (folder) {
    cg_writer *w = cg_writer_open(s, cg_format(s, "%s/%s.pt", folder, h.text));
    cg_writer_add(w, f.data, f.size);
    cg_writer_commit(w);
  }
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  char *word = cg_strndup(s, name, strcspn(name, "."));
  for (char *p = word; *p; p++)
    if (!isalnum((unsigned char)*p)) *p = '_';
  cg_print(stdout, "blob @%s = \"%s\" size %zu\n", *word ? word : "_", h.text, f.size);
}

static void run(cg_session *s, void *u) {
  const job *j = u;
  if (j->folder && mkdir(j->folder, 0777) && errno != EEXIST) cg_fail(s, CIERGE_IO, "%s: %s", j->folder, strerror(errno));
  for (int i = 0; i < j->n; i++) add(s, j->folder, j->path[i]);
}

int cg_cmd_blob(int argc, char **argv) {
  job j = {.path = argv + 1, .n = argc - 1};
  if (argc > 2 && !strcmp(argv[1], "-d")) j = (job){argv[2], argv + 3, argc - 3};
  if (!j.n || *j.path[0] == '-') return cg_usage(argv[0], "archives of TorchScript are expected");
  return cg_in_session(run, &j);
}
