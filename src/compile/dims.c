// --dim 's0=1..64,hint=8': narrows a symbol's range, of which 's0=2..' and 's0=..8' leave one end, and says its typical value.
// --specialize s0=1,8: sizes that kernels are compiled for besides the general case; a hint of --dim is one of them.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compile/compile.h"

enum { MAX_COMBINATIONS = 16 }; // of specialised sizes: each is one more copy of every kernel that depends on them

typedef struct {
  cg_pipeline *p;
  cg_module *m;
  const char *option, *text; // "--dim", what follows it
} reader;

static int64_t number(const reader *r, const char *text, const char **end) {
  errno = 0;
  char *stop;
  long long v = strtoll(text, &stop, 10);
  if (stop == text || errno || v < 0) cg_fail(r->p->s, CIERGE_USAGE, "%s '%s': a size is expected at '%s'", r->option, r->text, text);
  *end = stop;
  return v;
}

// " (x dim 0)": the first input that has it.
static void add_where(cg_str *b, const cg_module *m, const cg_symbol *y) {
  for (int i = 0; i < m->inputs.n; i++) {
    const cg_value *v = m->inputs.at[i].param;
    for (int d = 0; v && v->type.kind == CG_T_TENSOR && d < v->type.rank; d++) {
      if (v->type.dim[d]->kind != CG_X_SYM || v->type.dim[d]->symbol != y) continue;
      cg_str_addf(b, " (%s dim %d)", m->inputs.at[i].name, d);
      return;
    }
  }
}

// The symbol before '=', and where the rest begins.
static cg_symbol *symbol(const reader *r, const char *example, const char **rest) {
  cg_session *s = r->p->s;
  const char *eq = strchr(r->text, '=');
  if (!eq) cg_fail(s, CIERGE_USAGE, "%s '%s': it reads like %s", r->option, r->text, example);
  const char *name = cg_strndup(s, r->text, (size_t)(eq - r->text));
  cg_symbol *y = cg_symbol_find(&r->m->exprs, name);
  if (!y) {
    cg_str known = cg_str_new(s);
    const cg_map *all = &r->m->exprs.symbols;
    for (int i = 0; i < all->n; i++) {
      cg_str_addf(&known, "%s %s", i ? "," : "", all->entries[i].key);
      add_where(&known, r->m, all->entries[i].value);
    }
    cg_fail(s, CIERGE_USAGE, "%s '%s': the model has no symbolic size '%s'; it has:%s", r->option, r->text, name, all->n ? cg_str_text(&known) : " none");
  }
  *rest = eq + 1;
  return y;
}

static void specialise(const reader *r, const cg_symbol *y, int64_t v) {
  cg_pipeline *p = r->p;
  if (v < y->lo || v > y->hi)
    cg_fail(p->s, CIERGE_USAGE, "%s '%s': %lld is outside the range of %s", r->option, r->text, (long long)v, y->name);
  int i = 0;
  while (i < p->special.n && p->special.at[i].symbol != y) i++;
  if (i == p->special.n) CG_PUSH(p->s, &p->special, ((cg_specialisation){.symbol = y}));
  cg_specialisation *x = &p->special.at[i];
  for (int k = 0; k < x->value.n; k++)
    if (x->value.at[k] == v) return;
  CG_PUSH(p->s, &x->value, v);
  long all = 1;
  for (i = 0; i < p->special.n; i++) all *= p->special.at[i].value.n;
  if (all > MAX_COMBINATIONS)
    cg_fail(p->s, CIERGE_USAGE, "%s '%s': kernels are specialised for at most %d combinations of sizes", r->option, r->text, MAX_COMBINATIONS);
}

static void read_dim(const reader *r) {
  cg_session *s = r->p->s;
  const char *at;
  cg_symbol *y = symbol(r, "s0=1..64,hint=8", &at);
  if (strncmp(at, "hint=", 5)) {
    int64_t lo = y->lo, hi;
    if (strncmp(at, "..", 2)) lo = number(r, at, &at);
    hi = lo;
    if (!strncmp(at, "..", 2)) {
      at += 2;
      hi = *at && *at != ',' ? number(r, at, &at) : y->hi;
    }
    if (lo > hi || lo < y->lo || hi > y->hi)
      cg_fail(s, CIERGE_USAGE, "--dim '%s': the model allows %lld..%lld", r->text, (long long)y->lo, (long long)y->hi);
    cg_symbol_range(y, lo, hi);
    if (y->hint && (y->hint < lo || y->hint > hi)) y->hint = lo;
    if (*at == ',') at++;
  }
  if (!strncmp(at, "hint=", 5)) {
    y->hint = number(r, at + 5, &at);
    specialise(r, y, y->hint);
  }
  if (*at) cg_fail(s, CIERGE_USAGE, "--dim '%s': what is '%s'?", r->text, at);
}

static void read_specialise(const reader *r) {
  const char *at;
  cg_symbol *y = symbol(r, "s0=1,8", &at);
  for (;;) {
    specialise(r, y, number(r, at, &at));
    if (*at != ',') break;
    at++;
  }
  if (*at) cg_fail(r->p->s, CIERGE_USAGE, "--specialize '%s': what is '%s'?", r->text, at);
}

void cg_apply_dims(cg_pipeline *p, cg_module *m) {
  const cg_options *o = p->opt;
  for (int i = 0; i < o->dims.n; i++) read_dim(&(reader){p, m, "--dim", o->dims.at[i]});
  for (int i = 0; i < o->specialize.n; i++) read_specialise(&(reader){p, m, "--specialize", o->specialize.at[i]});
}
