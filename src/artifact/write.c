// Writes the file: sections first, then the header and the table that speak of them (doc/artifact.md).
#include <string.h>

#include "artifact/artifact.h"

#define XXH_INLINE_ALL
#include "xxhash/xxhash.h"

static const uint8_t zeros[4096];

static void pad(cg_session *s, cg_writer *w, uint64_t align) {
  if (!align || align > sizeof zeros || align & (align - 1)) cg_fail(s, CIERGE_INTERNAL, "a section cannot be aligned to %llu bytes", (unsigned long long)align);
  uint64_t over = cg_writer_size(w) & (align - 1);
  if (over) cg_writer_add(w, zeros, (size_t)(align - over));
}

static void add(cg_writer *w, XXH3_state_t *h, const void *data, uint64_t size) {
  XXH3_64bits_update(h, data, size);
  cg_writer_add(w, data, size);
}

static void add_zeros(cg_writer *w, XXH3_state_t *h, uint64_t n) {
  for (; n > sizeof zeros; n -= sizeof zeros) add(w, h, zeros, sizeof zeros);
  add(w, h, zeros, n);
}

// From where each piece lies: no second copy of the weights is ever made. Gives the hash.
static uint64_t add_part(cg_writer *w, const cg_artifact_part *p) {
  XXH3_state_t h;
  uint64_t at = 0;
  XXH3_64bits_reset(&h);
  if (p->data) add(w, &h, p->data, at = p->size);
  for (int i = 0; i < p->n_pieces; at = p->piece[i].offset + p->piece[i].size, i++) {
    add_zeros(w, &h, p->piece[i].offset - at);
    add(w, &h, p->piece[i].data, p->piece[i].size);
  }
  add_zeros(w, &h, p->size - at);
  return XXH3_64bits_digest(&h);
}

void cg_artifact_write(cg_session *s, const char *path, int n, const cg_artifact_part *part) {
  if (n < 1 || n > CG_FORMAT_MAX_SECTIONS) cg_fail(s, CIERGE_INTERNAL, "an artifact of %d sections", n);
  cg_format_header head = {.version = CG_FORMAT_VERSION, .n_sections = (uint32_t)n};
  memcpy(head.magic, CG_FORMAT_MAGIC, sizeof head.magic);
  size_t table_size = (size_t)n * sizeof(cg_format_section);
  cg_format_section *table = CG_NEW_ARRAY(s, cg_format_section, n);
  cg_writer *w = cg_writer_open(s, path);
  cg_writer_add(w, &head, sizeof head);
  cg_writer_add(w, table, table_size);
  for (int i = 0; i < n; i++) {
    pad(s, w, part[i].align);
    strncpy(table[i].kind, part[i].kind, sizeof table[i].kind);
    table[i].offset = cg_writer_size(w);
    table[i].size = part[i].size;
    table[i].hash = add_part(w, &part[i]);
  }
  head.file_size = cg_writer_size(w);
  XXH3_state_t h;
  XXH3_64bits_reset(&h);
  XXH3_64bits_update(&h, &head, sizeof head);
  XXH3_64bits_update(&h, table, table_size);
  head.hash = XXH3_64bits_digest(&h);
  cg_writer_patch(w, 0, &head, sizeof head);
  cg_writer_patch(w, sizeof head, table, table_size);
  cg_writer_commit(w);
}
