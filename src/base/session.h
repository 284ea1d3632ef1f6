// A session owns everything one compilation allocates and is where its errors land.
//
// Compile-time code (frontend, passes, backends) never returns an error: it calls cg_fail(), which
// records status, place and message in the session and jumps to the innermost CG_TRY (the pattern of
// Lua's luaD_throw). All memory of that code comes from the session's arena, and what is not memory
// (mappings, file descriptors, children) is registered with cg_defer(), so a jump loses nothing.
// The runtime does not use sessions: it returns status objects (runtime/).
#ifndef CG_BASE_SESSION_H
#define CG_BASE_SESSION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cierge/cierge.h"

// A place in a text or a model: file, 1-based line and column (0: unknown).
typedef struct {
  const char *file;
  int line, col;
} cg_span;

typedef struct cg_arena_block cg_arena_block;
typedef struct cg_cleanup cg_cleanup;
typedef struct cg_file_note cg_file_note;

typedef struct cg_session {
  cg_arena_block *blocks;
  cg_cleanup *cleanups;
  cg_file_note *files;   // that are mapped: nobody writes over them (base/file.c)
  jmp_buf *catcher;      // innermost CG_TRY
  cierge_code code;      // of the error that was thrown last
  char message[4096];    // "FILE:LINE:COL: text" (the place is left out where unknown), detail lines below
} cg_session;

void cg_session_init(cg_session *s);
// Runs the cleanups (last registered first) and frees all memory.
void cg_session_end(cg_session *s);

// Throws. The place comes first in the message.
_Noreturn void cg_fail(cg_session *s, cierge_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void cg_fail_at(cg_session *s, cierge_code code, cg_span at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
_Noreturn void cg_rethrow(cg_session *s);

// cg_try(s, f, arg): calls f(s, arg) and returns CIERGE_OK, or the code that it threw.
cierge_code cg_try(cg_session *s, void (*f)(cg_session *, void *), void *arg);

// Memory from the arena: 16-byte aligned, zeroed, never NULL (throws CIERGE_NO_MEMORY), freed with the session.
void *cg_alloc(cg_session *s, size_t size);
void *cg_alloc_array(cg_session *s, size_t count, size_t size); // count * size, checked
void *cg_memdup(cg_session *s, const void *p, size_t size);
char *cg_strdup(cg_session *s, const char *p);
char *cg_strndup(cg_session *s, const char *p, size_t n);
char *cg_format(cg_session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *cg_vformat(cg_session *s, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
#define CG_NEW(s, T) ((T *)cg_alloc((s), sizeof(T)))
#define CG_NEW_ARRAY(s, T, n) ((T *)cg_alloc_array((s), (n), sizeof(T)))

// f(p) runs when the session ends (at once, before the throw, if there is no memory to note it).
void cg_defer(cg_session *s, void (*f)(void *), void *p);

#endif
