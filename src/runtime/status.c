// Statuses: a code and a text.
#include "runtime/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct cierge_status {
  cierge_code code;
  char message[];
};

// What is returned when there is no memory for a status; never freed.
static const struct {
  cierge_code code;
  char message[16];
} out_of_memory = {CIERGE_NO_MEMORY, "out of memory"};

cierge_status *cg_no_memory(void) { return (cierge_status *)&out_of_memory; }

cierge_status *cg_status_new(cierge_code code, const char *message) {
  size_t n = strlen(message) + 1;
  cierge_status *s = cg_heap_alloc(sizeof *s + n);
  if (!s) return cg_no_memory();
  s->code = code;
  memcpy(s->message, message, n);
  return s;
}

cierge_status *cg_status_format(cierge_code code, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  cierge_status *s = n < 0 ? NULL : cg_heap_alloc(sizeof *s + (size_t)n + 1);
  if (!s) return cg_no_memory();
  s->code = code;
  va_start(ap, fmt);
  vsnprintf(s->message, (size_t)n + 1, fmt, ap);
  va_end(ap);
  return s;
}

cierge_status *cg_status_of(const cg_failure *f) { return cg_status_new((cierge_code)f->code, f->text); }

cierge_code cierge_status_code(const cierge_status *s) { return s ? s->code : CIERGE_OK; }

const char *cierge_status_message(const cierge_status *s) { return s ? s->message : ""; }

int cierge_status_exit_code(const cierge_status *s) {
  static const int codes[CIERGE_CODE_COUNT] = {
#define XX(name, exit_code, text) exit_code,
      CIERGE_CODE_MAP(XX)
#undef XX
  };
  return codes[cierge_status_code(s)];
}

void cierge_status_free(cierge_status *s) {
  if (s != (const void *)&out_of_memory) cg_heap_free(s);
}

const char *cierge_version(void) { return CIERGE_VERSION; }

void cierge_text_free(char *text) { cg_heap_free(text); }
