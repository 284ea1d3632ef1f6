// --dim 's0=1..64,hint=8': narrows a symbol's range and says its typical value.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compile/compile.h"

static int64_t number(cg_session *s, const char *text, const char **end, const char *whole) {
  errno = 0;
  char *stop;
  long long v = strtoll(text, &stop, 10);
  if (stop == text || errno || v < 0) cg_fail(s, CIERGE_USAGE, "--dim '%s': a size is expected at '%s'", whole, text);
  *end = stop;
  return v;
}

static void apply(cg_module *m, const char *text) {
  cg_session *s = m->s;
  const char *eq = strchr(text, '='), *at;
  if (!eq) cg_fail(s, CIERGE_USAGE, "--dim '%s': it reads like s0=1..64,hint=8", text);
  const char *name = cg_strndup(s, text, (size_t)(eq - text));
  cg_symbol *y = cg_symbol_find(&m->exprs, name);
  if (!y) {
    cg_str known = cg_str_new(s);
    for (int i = 0; i < m->exprs.symbols.n; i++) cg_str_addf(&known, " %s", m->exprs.symbols.entries[i].key);
    cg_fail(s, CIERGE_USAGE, "--dim '%s': the model has no symbolic size '%s'; it has:%s", text, name,
            m->exprs.symbols.n ? cg_str_text(&known) : " none");
  }
  at = eq + 1;
  if (strncmp(at, "hint=", 5)) {
    int64_t lo = number(s, at, &at, text), hi = lo;
    if (!strncmp(at, "..", 2)) hi = number(s, at + 2, &at, text);
    if (lo > hi || lo < y->lo || hi > y->hi)
      cg_fail(s, CIERGE_USAGE, "--dim '%s': the model allows %lld..%lld", text, (long long)y->lo, (long long)y->hi);
    y->lo = lo, y->hi = hi;
    if (y->hint && (y->hint < lo || y->hint > hi)) y->hint = lo;
    if (*at == ',') at++;
  }
  if (!strncmp(at, "hint=", 5)) y->hint = number(s, at + 5, &at, text);
  if (*at) cg_fail(s, CIERGE_USAGE, "--dim '%s': what is '%s'?", text, at);
}

void cg_apply_dims(cg_module *m, const cg_options *o) {
  for (int i = 0; i < o->dims.n; i++) apply(m, o->dims.at[i]);
}
