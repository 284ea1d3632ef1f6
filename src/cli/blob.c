// cierge blob: what a text program says of an archive of TorchScript, and the archive where the program looks for it.
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/script_check.h"
#include "cli/args.h"

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

void cg_cmd_blob(cg_session *s, int argc, char **argv) {
  const char *folder = NULL;
  const cg_cli_option table[] = {{"directory", "PROGRAM.blobs", "copy the archives into this folder, where PROGRAM.cir looks for them", .text = &folder, .letter = 'd'}};
  const cg_words *words = cg_cli_read(s, argc, argv, table, 1, NULL, 1, INT_MAX);
  if (!words) return;
  if (folder && mkdir(folder, 0777) && errno != EEXIST) cg_fail(s, CIERGE_IO, "%s: %s", folder, strerror(errno));
  for (int i = 0; i < words->n; i++) add(s, folder, words->at[i]);
}
