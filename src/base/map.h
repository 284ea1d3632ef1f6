// A hash map from text to pointer, in a session's arena; keeps its keys (copied) in the order of insertion.
#ifndef CG_BASE_MAP_H
#define CG_BASE_MAP_H
#include "base/session.h"

typedef struct {
  const char *key;
  void *value;
} cg_map_entry;

typedef struct {
  cg_map_entry *entries; // [n], insertion order
  int n, cap;
  int *slots; // [nslots], index + 1 into entries, 0: free
  int nslots;
} cg_map;

void *cg_map_get(const cg_map *m, const char *key); // NULL: absent
bool cg_map_has(const cg_map *m, const char *key);
// Sets or replaces; true if the key was new.
bool cg_map_set(cg_session *s, cg_map *m, const char *key, void *value);

// Numbers 0, 1, 2, … for keys, in the order in which they are first asked for: arrays of what few of many keys need.
typedef struct {
  int *key;   // [n], by number
  int *slots; // [nslots], number + 1, 0: free
  int n, nslots;
} cg_numbering;

int cg_number_of(cg_session *s, cg_numbering *m, int key);
#endif
