// Files: mapped for reading, written atomically.
#ifndef CG_BASE_FILE_H
#define CG_BASE_FILE_H
#include "base/session.h"

typedef struct {
  const char *path;
  const uint8_t *data; // mapped read-only, lives as long as the session
  size_t size;
} cg_file;

// Maps a file (CIERGE_IO if it cannot be opened, CIERGE_BAD_INPUT if it is no regular file).
cg_file cg_file_map(cg_session *s, const char *path);

// From here on the session does not write over this file.
void cg_file_keep(cg_session *s, const char *path);

// Atomic write: a temporary file beside `path`, written in pieces, then fsync and rename on commit.
// A file that the session has mapped or keeps is not written over (CIERGE_USAGE), by whatever name it is called.
// If the session ends before the commit, the temporary file is removed and `path` is what it was.
typedef struct cg_writer cg_writer;
cg_writer *cg_writer_open(cg_session *s, const char *path);
void cg_writer_add(cg_writer *w, const void *data, size_t size);
uint64_t cg_writer_size(const cg_writer *w);
void cg_writer_patch(cg_writer *w, uint64_t offset, const void *data, size_t size); // overwrites what was written
void cg_writer_commit(cg_writer *w);
#endif
