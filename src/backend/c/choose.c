// Kernels that can be computed in several ways: which one is taken. Predicted, or what `--tune` measured (cli/tune.c).
#include <string.h>

#include "backend/c/kernel_internal.h"
#include "base/hash.h"
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

// "x86-64-v4 f32 panels "
static cg_str problem_of(cg_emitter *e, const char *kind) {
  const cg_options *opt = e->pipeline->opt;
  cg_str b = cg_str_new(e->s);
  cg_str_addf(&b, "%s %s %s ", cg_c_target(e->s, opt->target, opt->extras), cg_precision_names[opt->precision], kind);
  return b;
}

// What is computed, on which target, with what types, whatever the model's names are: "x86-64-v4 f32 panels aten::linear(f32[1,768], …)".
static const char *problem(cg_kernel *k, const char *kind) {
  cg_str b = problem_of(cg_kernel_emitter(k), kind);
  cg_str_addf(&b, "%s(", k->node->op->key);
  for (int i = 0; i < k->node->nargs; i++) {
    const cg_arg *a = &k->node->arg[i];
    if (i) cg_str_add(&b, ", ");
    if (a->kind == CG_A_VALUE) add_type(&b, &a->value->type);
    else cg_print_arg(&b, a);
  }
  cg_str_addc(&b, ')');
  return cg_str_text(&b);
}

static cg_choice choose(cg_tuning *t, const char *problem, const char *kind, int n, const char *const *names, int predicted) {
  cg_choice c = {.problem = cg_strdup(t->s, problem), .kind = kind, .names = names, .n = n, .predicted = predicted, .taken = predicted};
  const char *best = cg_map_get(&t->best, c.problem);
  for (int i = 0; best && i < n; i++)
    if (!strcmp(names[i], best)) c.taken = i;
  if (!best && t->kind && !strcmp(t->kind, kind) && t->way < n) c.taken = t->way;
  c.known = best != NULL;
  return c;
}

int cg_kernel_choose(cg_kernel *k, const char *kind, int n, const char *const *names, int predicted) {
  cg_tuning *t = cg_kernel_emitter(k)->pipeline->opt->tuning;
  int taken = predicted;
  if (t) {
    cg_choice c = choose(t, problem(k, kind), kind, n, names, predicted);
    CG_PUSH(t->s, &k->choice, c);
    taken = c.taken;
  }
  cg_kernel_note(k, names[taken]);
  return taken;
}

// The choice is one of all kernels of the region: what they take together is compared.
int cg_region_choose(cg_sched *c, const char *kind, int n, const char *const *names, int predicted) {
  cg_tuning *t = c->e->pipeline->opt->tuning;
  if (!t) return predicted;
  cg_str text = cg_str_new(c->s), b = problem_of(c->e, kind);
  cg_print_fn(&text, c->f);
  cg_str_addf(&b, "region %s", cg_hash_of(text.at, text.n).text);
  c->choice = CG_NEW(c->s, cg_choice);
  *c->choice = choose(t, cg_str_text(&b), kind, n, names, predicted);
  return c->choice->taken;
}

static void made(cg_tuning *t, cg_choice c, int kernel) {
  c.kernel = kernel;
  CG_PUSH(t->s, &t->made, c);
}

void cg_choices_made(cg_kernel *k, int kernel) {
  cg_tuning *t = cg_kernel_emitter(k)->pipeline->opt->tuning;
  if (k->c->choice) made(t, *k->c->choice, kernel); // first: others follow from it
  for (int i = 0; i < k->choice.n; i++) made(t, k->choice.at[i], kernel);
}
