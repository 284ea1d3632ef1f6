// Writing an artifact (compiler side) and opening one (runtime side).
#ifndef CG_ARTIFACT_ARTIFACT_H
#define CG_ARTIFACT_ARTIFACT_H
#include "artifact/format.h"
#include "artifact/plan.h"
#include "base/bytes_writer.h"
#include "base/file.h"

// ---------------------------------------------------------------- writing

// The plan as bytes.
void cg_plan_write(cg_str *b, const cg_plan *p);

typedef struct {
  const void *data;
  uint64_t size, offset;   // where it lies in its section; between two there are zeros
} cg_artifact_piece;

typedef struct {
  const char *kind;
  const void *data;        // NULL: it is `pieces`
  uint64_t size, align;
  const cg_artifact_piece *piece; // in order
  int n_pieces;
} cg_artifact_part;
// Writes the whole file atomically.
void cg_artifact_write(cg_session *s, const char *path, int n, const cg_artifact_part *part);

// ---------------------------------------------------------------- opening (no session: returns messages)

typedef struct {
  const uint8_t *base; // the mapping
  uint64_t size;
  const char *path;
  cg_format_section *section; // in the mapping
  uint32_t n_sections;
} cg_artifact;

// A failure: code and message. Fixed size, so that running out of memory can be said too.
typedef struct {
  int code; // cierge_code
  char text[1024];
} cg_failure;
__attribute__((format(printf, 3, 4))) bool cg_failed(cg_failure *f, int code, const char *fmt, ...); // fills it; always false

// Maps the file; checks header, table, gaps and the hashes of all sections (weights only if check_weights).
// false: *f says what is wrong and where (section name and offset).
bool cg_artifact_open(cg_artifact *a, const char *path, bool check_weights, cg_failure *f);
void cg_artifact_close(cg_artifact *a);
const uint8_t *cg_artifact_section(const cg_artifact *a, const char *kind, uint64_t *size); // NULL: absent

// Decodes a plan, checking every index, count and text. The result points into `data` and into one allocation
// that cg_plan_free releases. NULL: *f says what is wrong.
cg_plan *cg_plan_read(const uint8_t *data, uint64_t size, uint64_t weights_size, uint32_t torch_regions, cg_failure *f);
void cg_plan_free(cg_plan *p);
#endif
