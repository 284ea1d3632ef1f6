// Content hashes as texts: XXH3-128, 32 hexadecimal digits. They find damage and name content, and are no proof against malice.
#ifndef CG_BASE_HASH_H
#define CG_BASE_HASH_H
#include <stdbool.h>
#include <stddef.h>

enum { CG_HASH_DIGITS = 32 };
typedef struct { char text[CG_HASH_DIGITS + 1]; } cg_hash;
cg_hash cg_hash_of(const void *data, size_t size);
bool cg_hash_is(const char *text); // 32 digits of 0-9 and a-f
#endif
