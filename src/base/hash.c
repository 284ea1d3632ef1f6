// Content hashes as texts.
#include "base/hash.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include "xxhash/xxhash.h"

cg_hash cg_hash_of(const void *data, size_t size) {
  XXH128_hash_t h = XXH3_128bits(data, size);
  cg_hash out;
  snprintf(out.text, sizeof out.text, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
  return out;
}

bool cg_hash_is(const char *text) { return strlen(text) == CG_HASH_DIGITS && strspn(text, "0123456789abcdef") == CG_HASH_DIGITS; }
