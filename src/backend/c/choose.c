// Kernels that can be computed in several ways: which one is taken. Predicted, or what `--tune` measured (cli/tune.c).
#include <string.h>

#include "backend/c/kernel_internal.h"
#include "ir/text.h"

static void add_type(cg_str *b, const cg_type *t) {
  if (t->kind != CG_T_TENSOR) {
    cg_print_type(b, t);
    return;
  }
  cg_str_addf(b, "%s[", cg_dtypes[t->dtype].text);
  for (int i = 0; i < t->rank; i++) cg_str_addf(b, "%s%lld%s", i ? "," : "", (long long)cg_x_hint(t->dim[i]), cg_x_is_int(t->dim[i]) ? "" : "?");
  cg_str_addc(b, ']');
}

// What is computed, on which target, with what types, whatever the model's names are: "x86-64-v4 panels aten::linear(f32[1,768], …)".
static const char *problem(cg_kernel *k, const char *kind) {
  const cg_options *opt = cg_kernel_emitter(k)->pipeline->opt;
  cg_str b = cg_str_new(cg_kernel_session(k));
  cg_str_addf(&b, "%s %s %s %s(", cg_c_target(b.s, opt->target, opt->extras), cg_precision_names[opt->precision], kind, k->node->op->key);
  for (int i = 0; i < k->node->nargs; i++) {
    const cg_arg *a = &k->node->arg[i];
    if (i) cg_str_add(&b, ", ");
    if (a->kind == CG_A_VALUE) add_type(&b, &a->value->type);
    else cg_print_arg(&b, a);
  }
  cg_str_addc(&b, ')');
  return cg_str_text(&b);
}

int cg_kernel_choose(cg_kernel *k, const char *kind, int n, const char *const *names, int predicted) {
  cg_tuning *t = cg_kernel_emitter(k)->pipeline->opt->tuning;
  int taken = predicted;
  if (t) {
    cg_choice c = {.problem = cg_strdup(t->s, problem(k, kind)), .kind = kind, .names = names, .n = n, .predicted = predicted};
    const char *best = cg_map_get(&t->best, c.problem);
    for (int i = 0; best && i < n; i++)
      if (!strcmp(names[i], best)) taken = i;
    if (!best && t->kind && !strcmp(t->kind, kind) && t->way < n) taken = t->way;
    c.taken = taken, c.known = best != NULL;
    CG_PUSH(t->s, &k->choice, c);
  }
  cg_kernel_note(k, names[taken]);
  return taken;
}

void cg_choices_made(cg_kernel *k, int kernel) {
  cg_tuning *t = cg_kernel_emitter(k)->pipeline->opt->tuning;
  for (int i = 0; i < k->choice.n; i++) {
    k->choice.at[i].kernel = kernel;
    CG_PUSH(t->s, &t->made, k->choice.at[i]);
  }
}
