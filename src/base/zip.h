// A strict reader of ZIP files (.pt2, .npz) over a mapped file. What two readers could understand in two ways is refused:
// the central directory rules, every local header must say the same, members must not overlap nor share a name.
//
// Read: ZIP and ZIP64; stored and deflated members. Refused: encryption, several disks, other methods, bytes before the
// first or behind the last record. Errors are thrown with the code given at opening, naming file, member and offset.
// No memory is asked for on a header's word: what a deflated member holds is counted before it is allocated.
// Limits: CG_ZIP_MAX_MEMBERS, CG_ZIP_MAX_NAME, and CG_ZIP_MAX_INFLATED more than 4 times the file for all that is inflated; CG_ZIP_MAX_TEXT more
// than that for a text.
#ifndef CG_BASE_ZIP_H
#define CG_BASE_ZIP_H
#include "base/file.h"

enum { CG_ZIP_MAX_MEMBERS = 1 << 20, CG_ZIP_MAX_NAME = 4096, CG_ZIP_MAX_INFLATED = 1 << 30, CG_ZIP_MAX_TEXT = 16 << 20 };

typedef struct cg_zip cg_zip;

typedef struct {
  const char *name; // as it is in the file, no NUL inside
  uint64_t header;  // offset of its local header
  uint64_t offset;  // of its data
  uint64_t packed;  // bytes in the file
  uint64_t size;    // bytes of content
  uint32_t crc;
  bool deflated;
} cg_zip_member;

// Reads and checks the directory and all local headers. `file` is copied.
cg_zip *cg_zip_open(cg_session *s, const cg_file *file, cierge_code code);
int cg_zip_count(const cg_zip *z);
const cg_zip_member *cg_zip_at(const cg_zip *z, int i); // in the directory's order
const cg_zip_member *cg_zip_find(const cg_zip *z, const char *name); // NULL: absent
// The member's content, `size` bytes: in the mapping if it is stored (at any alignment), else inflated, once.
// Its CRC-32 is checked the first time; 0 on a stored member means "not computed" (PyTorch may write that).
const uint8_t *cg_zip_data(cg_zip *z, const cg_zip_member *m);
// The same of what is going to be parsed, which takes a multiple of its length: little may not inflate to much.
const uint8_t *cg_zip_text(cg_zip *z, const cg_zip_member *m);
// The same, without looking at a stored member's bytes.
const uint8_t *cg_zip_data_unchecked(cg_zip *z, const cg_zip_member *m);
#endif
