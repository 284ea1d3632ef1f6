// Sessions: an arena of zeroed blocks, errors that jump to the innermost catcher, and cleanups for what is not memory.
// The jump is the pattern of Lua's luaD_throw: a chain of jmp_bufs on the C stack.
#include "base/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#ifdef __SANITIZE_ADDRESS__
#define EACH_ALONE true // what lies beyond one piece is then nobody's, and ASan sees who touches it
#else
#define EACH_ALONE false
#endif
enum { ALIGN = 16, FIRST_BLOCK = 32 << 10, LAST_BLOCK = 1 << 20 };

struct cg_arena_block {
  cg_arena_block *next;
  size_t used, size;
  size_t pad;
  // the memory follows, ALIGN-aligned
};
_Static_assert(sizeof(cg_arena_block) % ALIGN == 0, "memory behind the header must be aligned");

struct cg_cleanup {
  cg_cleanup *next;
  void (*f)(void *);
  void *p;
};

void cg_session_init(cg_session *s) { memset(s, 0, sizeof *s); }

void cg_session_end(cg_session *s) {
  while (s->cleanups) {
    cg_cleanup *c = s->cleanups;
    s->cleanups = c->next;
    c->f(c->p);
  }
  while (s->blocks) {
    cg_arena_block *b = s->blocks;
    s->blocks = b->next;
    cg_heap_free(b);
  }
}

// ---------------------------------------------------------------- Errors

_Noreturn static void throw(cg_session *s) {
  if (!s->catcher) {
    fprintf(stderr, "cierge: an error that nobody catches: %s\n", s->message);
    exit(1);
  }
  longjmp(*s->catcher, 1);
}

// The text is made aside first: its arguments may point into the session's own message.
static void set_message(cg_session *s, cierge_code code, cg_span at, const char *fmt, va_list ap) {
  char text[sizeof s->message];
  int n = 0;
  if (at.file) n = snprintf(text, sizeof text, "%s:", at.file);
  if (n >= 0 && n < (int)sizeof text && at.line > 0) n += snprintf(text + n, sizeof text - (size_t)n, "%d:", at.line);
  if (n >= 0 && n < (int)sizeof text && at.line > 0 && at.col > 0)
    n += snprintf(text + n, sizeof text - (size_t)n, "%d:", at.col);
  if (n > 0 && n < (int)sizeof text) n += snprintf(text + n, sizeof text - (size_t)n, " ");
  if (n >= 0 && n < (int)sizeof text) vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
  s->code = code == CIERGE_OK ? CIERGE_INTERNAL : code;
  memcpy(s->message, text, sizeof text);
}

void cg_fail(cg_session *s, cierge_code code, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  set_message(s, code, (cg_span){0}, fmt, ap);
  va_end(ap);
  throw(s);
}

void cg_fail_at(cg_session *s, cierge_code code, cg_span at, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  set_message(s, code, at, fmt, ap);
  va_end(ap);
  throw(s);
}

void cg_rethrow(cg_session *s) { throw(s); }

cierge_code cg_try(cg_session *s, void (*f)(cg_session *, void *), void *arg) {
  jmp_buf here;
  jmp_buf *outer = s->catcher;
  if (setjmp(here)) {
    s->catcher = outer;
    return s->code;
  }
  s->catcher = &here;
  f(s, arg);
  s->catcher = outer;
  return CIERGE_OK;
}

// ---------------------------------------------------------------- Memory

// A new block with room for `size` bytes. What is larger than a block gets one of its own, behind the current
// one, which stays in use.
static cg_arena_block *add_block(cg_session *s, size_t size) {
  size_t room = FIRST_BLOCK;
  if (EACH_ALONE) room = size;
  else if (s->blocks) room = s->blocks->size < LAST_BLOCK / 2 ? s->blocks->size * 2 : LAST_BLOCK;
  bool own = s->blocks && size > room / 4 && !EACH_ALONE;
  if (own || room < size) room = size;
  cg_arena_block *b = cg_heap_zalloc(1, sizeof *b + room);
  if (!b) return NULL;
  b->size = room;
  if (own) {
    b->next = s->blocks->next;
    s->blocks->next = b;
  } else {
    b->next = s->blocks;
    s->blocks = b;
  }
  return b;
}

// NULL where there is no memory.
static void *take(cg_session *s, size_t size) {
  if (size > SIZE_MAX / 2) return NULL;
  size = size ? (size + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
  cg_arena_block *b = s->blocks;
  if (!b || EACH_ALONE || b->size - b->used < size) b = add_block(s, size);
  if (!b) return NULL;
  void *p = (char *)(b + 1) + b->used;
  b->used += size;
  return p;
}

void *cg_alloc(cg_session *s, size_t size) {
  void *p = take(s, size);
  if (!p) cg_fail(s, CIERGE_NO_MEMORY, "out of memory: %zu bytes more were asked for", size);
  return p;
}

void *cg_alloc_array(cg_session *s, size_t count, size_t size) {
  if (size && count > SIZE_MAX / size) cg_fail(s, CIERGE_NO_MEMORY, "out of memory: %zu items of %zu bytes", count, size);
  return cg_alloc(s, count * size);
}

void *cg_memdup(cg_session *s, const void *p, size_t size) {
  void *q = cg_alloc(s, size);
  if (size) memcpy(q, p, size);
  return q;
}

char *cg_strndup(cg_session *s, const char *p, size_t n) {
  char *q = cg_alloc_array(s, n + 1, 1);
  if (n) memcpy(q, p, n);
  return q;
}

char *cg_strdup(cg_session *s, const char *p) { return cg_strndup(s, p, strlen(p)); }

char *cg_vformat(cg_session *s, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, again);
  va_end(again);
  if (n < 0) cg_fail(s, CIERGE_INTERNAL, "a text cannot be formatted: %s", fmt);
  char *p = cg_alloc(s, (size_t)n + 1);
  vsnprintf(p, (size_t)n + 1, fmt, ap);
  return p;
}

char *cg_format(cg_session *s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *p = cg_vformat(s, fmt, ap);
  va_end(ap);
  return p;
}

void cg_defer(cg_session *s, void (*f)(void *), void *p) {
  cg_cleanup *c = take(s, sizeof *c);
  if (!c) { // p must not be lost
    f(p);
    cg_fail(s, CIERGE_NO_MEMORY, "out of memory: %zu bytes more were asked for", sizeof *c);
  }
  *c = (cg_cleanup){.next = s->cleanups, .f = f, .p = p};
  s->cleanups = c;
}
