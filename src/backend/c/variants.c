// Copies of a kernel for sizes that the user named (--specialize, the hints of --dim). The copy is the same text with numbers
// for these symbols, so that the C compiler knows the trip counts; the general function compares and calls it.
#include <ctype.h>
#include <string.h>

#include "backend/c/kernel_internal.h"

static const cg_specialisation *special(const cg_kernel *k, int param) {
  const cg_pipeline *p = k->c->e->pipeline;
  const cg_expr *x = k->param.at[param].value;
  for (int i = 0; x->kind == CG_X_SYM && i < p->special.n; i++)
    if (p->special.at[i].symbol == x->symbol) return &p->special.at[i];
  return NULL;
}

cg_c_variants cg_c_variants_of(const cg_kernel *k) {
  cg_session *s = k->c->s;
  cg_c_variants all = {0};
  int count = 0;
  for (int i = 0; i < k->param.n; i++)
    if (special(k, i)) count = (count ? count : 1) * special(k, i)->value.n;
  for (int number = 0; number < count; number++) {
    cg_c_variant v = {.literal = CG_NEW_ARRAY(s, const char *, k->param.n + 1)};
    cg_str name = cg_str_new(s), test = cg_str_new(s);
    cg_str_add(&name, CG_C_NAME);
    for (int i = 0, rest = number; i < k->param.n; i++) {
      const cg_specialisation *x = special(k, i);
      if (!x) continue;
      long long value = (long long)x->value.at[rest % x->value.n];
      rest /= x->value.n;
      v.literal[i] = cg_format(s, "%lldLL", value);
      cg_str_addf(&name, "_%s_%lld", k->param.at[i].name, value);
      cg_str_addf(&test, "%ss[%d] == %lld", test.n ? " && " : "", i, value);
    }
    v.name = cg_str_text(&name), v.test = cg_str_text(&test);
    CG_PUSH(s, &all, v);
  }
  return all;
}

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

// The text with every word that names a parameter of known value replaced by that.
const char *cg_c_variant_text(const cg_kernel *k, const cg_c_variant *v, const char *text) {
  cg_str b = cg_str_new(k->c->s);
  while (*text) {
    size_t n = 1;
    const char *to = NULL;
    if (in_word(*text)) {
      while (in_word(text[n])) n++;
      for (int i = 0; i < k->param.n && !to; i++)
        if (v->literal[i] && strlen(k->param.at[i].name) == n && !strncmp(k->param.at[i].name, text, n)) to = v->literal[i];
    }
    if (to) cg_str_add(&b, to);
    else cg_str_addn(&b, text, n);
    text += n;
  }
  return cg_str_text(&b);
}
