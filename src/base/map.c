// A hash map from text: FNV-1a, open addressing, at most half full; entries in the order of insertion.
#include "base/map.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

static uint64_t hash(const char *key) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *key; key++) h = (h ^ (unsigned char)*key) * 0x100000001b3u;
  return h ^ h >> 32;
}

// The slot that holds key, or the free one where it belongs. The map has slots.
static int *find(const cg_map *m, const char *key) {
  size_t mask = (size_t)m->nslots - 1;
  for (size_t i = hash(key) & mask;; i = (i + 1) & mask)
    if (!m->slots[i] || !strcmp(m->entries[m->slots[i] - 1].key, key)) return &m->slots[i];
}

void *cg_map_get(const cg_map *m, const char *key) {
  int slot = m->nslots ? *find(m, key) : 0;
  return slot ? m->entries[slot - 1].value : NULL;
}

bool cg_map_has(const cg_map *m, const char *key) { return m->nslots && *find(m, key); }

static void grow(cg_session *s, cg_map *m) {
  if (m->nslots > INT_MAX / 2) cg_fail(s, CIERGE_NO_MEMORY, "out of memory: a map of %d entries", m->n);
  int nslots = m->nslots ? m->nslots * 2 : 16;
  int *slots = CG_NEW_ARRAY(s, int, (size_t)nslots);
  cg_map_entry *entries = CG_NEW_ARRAY(s, cg_map_entry, (size_t)nslots / 2);
  if (m->n) memcpy(entries, m->entries, (size_t)m->n * sizeof *entries);
  m->slots = slots;
  m->nslots = nslots;
  m->entries = entries;
  m->cap = nslots / 2;
  for (int i = 0; i < m->n; i++) *find(m, entries[i].key) = i + 1;
}

bool cg_map_set(cg_session *s, cg_map *m, const char *key, void *value) {
  int *slot = m->nslots ? find(m, key) : NULL;
  if (slot && *slot) {
    m->entries[*slot - 1].value = value;
    return false;
  }
  const char *copy = cg_strdup(s, key);
  if (m->n == m->cap) {
    grow(s, m);
    slot = find(m, key);
  }
  m->entries[m->n] = (cg_map_entry){copy, value};
  *slot = ++m->n;
  return true;
}

// ---------------------------------------------------------------- numbers for keys

static int *slot_of(const cg_numbering *m, int key) {
  uint64_t h = (uint64_t)(unsigned)key * 0x9e3779b97f4a7c15u;
  size_t mask = (size_t)m->nslots - 1;
  for (size_t i = (h ^ h >> 32) & mask;; i = (i + 1) & mask)
    if (!m->slots[i] || m->key[m->slots[i] - 1] == key) return &m->slots[i];
}

int cg_number_of(cg_session *s, cg_numbering *m, int key) {
  if (2 * m->n >= m->nslots) {
    if (m->nslots > INT_MAX / 2) cg_fail(s, CIERGE_NO_MEMORY, "out of memory: %d numbers", m->n);
    int nslots = m->nslots ? m->nslots * 2 : 32, *old = m->key;
    m->key = CG_NEW_ARRAY(s, int, (size_t)nslots / 2 + 1);
    if (m->n) memcpy(m->key, old, (size_t)m->n * sizeof *old);
    m->slots = CG_NEW_ARRAY(s, int, (size_t)nslots);
    m->nslots = nslots;
    for (int i = 0; i < m->n; i++) *slot_of(m, m->key[i]) = i + 1;
  }
  int *slot = slot_of(m, key);
  if (!*slot) m->key[m->n] = key, *slot = ++m->n;
  return *slot - 1;
}
