// Option tune: kernels that can be computed in several ways are measured, in this model and on this processor.
//
// A kind of choice at a time, the model is compiled once for each way; all these programs are called in turn, and each kernel's steps
// are timed; a choice of a whole region (its layout) by all kernels of it. What was fastest is kept by what is computed
// (backend/c/choose.c), in a file of the cache folder for this processor, which later compilations with --tune read first. A compilation
// without --tune reads nothing of it.
#include "compile/tune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/c/cache.h"
#include "compile/call.h"
#include "compile/feed.h"
#include "runtime/cpu.h"
#include "runtime/runtime.h"

enum { ROUNDS = 15 };
static const double WORTH = 0.97; // of the predicted way's time

typedef CG_VEC(cg_choice) choices;

typedef struct {
  int way;
  choices made;
  cierge_context *c;
  cg_feed *feed;
  double *least; // [n_kernels] ns of a call
} candidate;

typedef struct {
  cierge_options *o;
  const cg_model *model;
  const char *out;
} job;

static void compile(cg_session *s, void *u) {
  job *j = u;
  cg_compile_to(s, j->o, j->model, j->out);
}

static choices compiled(cg_session *s, job *j) {
  cg_tuning *t = j->o->opt.tuning;
  memset(&t->made, 0, sizeof t->made);
  cg_apart(s, compile, j);
  choices made = {0};
  for (int i = 0; i < t->made.n; i++) CG_PUSH(s, &made, t->made.at[i]);
  return made;
}

static candidate candidate_new(cg_session *s, cierge_options *o, const cg_model *model, const char *kind, int way) {
  job j = {o, model, cg_temporary(s, "tune")};
  candidate x = {.way = way};
  o->opt.tuning->kind = kind, o->opt.tuning->way = way;
  x.made = compiled(s, &j);
  cierge_program *p;
  cg_open_artifact(s, &o->opt, j.out, 0, true, &p, &x.c);
  unlink(j.out); // it is mapped
  x.feed = cg_feed_or_zeros(s, p, o->opt.inputs);
  x.least = CG_NEW_ARRAY(s, double, p->plan->n_kernels + 1);
  for (uint32_t i = 0; i < p->plan->n_kernels; i++) x.least[i] = INFINITY;
  return x;
}

// ---------------------------------------------------------------- time

static void by_kernel(const cierge_context *c, double *ns) {
  const cg_plan *p = c->p->plan;
  memset(ns, 0, p->n_kernels * sizeof *ns);
  for (uint32_t i = 0; i < p->n_fns; i++)
    for (uint32_t k = 0; k < p->fn[i]->n_steps; k++)
      if (p->fn[i]->step[k].kind == CG_STEP_KERNEL) ns[p->fn[i]->step[k].kernel] += (double)c->frame[i].ns[k];
}

static void call(cg_session *s, candidate *x) {
  uint32_t n = x->c->p->plan->n_kernels;
  double *before = CG_NEW_ARRAY(s, double, n + 1), *after = CG_NEW_ARRAY(s, double, n + 1);
  for (int i = 0; i < 2; i++) { // the first warms the caches
    by_kernel(x->c, before);
    cg_feed_set(x->feed, x->c);
    cg_check(s, cierge_run(x->c));
  }
  by_kernel(x->c, after);
  for (uint32_t i = 0; i < n; i++) x->least[i] = fmin(x->least[i], after[i] - before[i]);
}

// All kernels of x that solve the problem this way, together; infinite: none does.
static double time_of(const candidate *x, const char *problem, int way) {
  double ns = INFINITY;
  for (int i = 0; i < x->made.n; i++) {
    const cg_choice *c = &x->made.at[i];
    if (strcmp(c->problem, problem) || c->taken != way) continue;
    bool again = false; // equal kernels are one function
    for (int k = 0; k < i; k++) again |= x->made.at[k].kernel == c->kernel && !strcmp(x->made.at[k].problem, problem);
    if (!again) ns = (isinf(ns) ? 0 : ns) + x->least[c->kernel];
  }
  return ns;
}

// ---------------------------------------------------------------- what was measured before

// The file's name, and the entry's key.
static const char *entry_of(cg_session *s) {
  char name[CG_CPU_NAME];
  cg_cpu_name(name);
  return cg_format(s, "tune %s.txt", name);
}

// A line is "problem<tab>name of the fastest way". What is known already stays.
static void read_known(cg_session *s, cg_tuning *t, const char *entry) {
  const void *text;
  size_t size;
  if (!cg_cache_get(s, entry, entry, &text, &size)) return;
  const char *p = text, *end = p + size;
  for (const char *line; p < end; p = line + 1) {
    line = memchr(p, '\n', (size_t)(end - p));
    if (!line) break;
    const char *tab = memchr(p, '\t', (size_t)(line - p));
    const char *problem = tab ? cg_strndup(s, p, (size_t)(tab - p)) : NULL;
    if (tab && !cg_map_has(&t->best, problem)) cg_map_set(s, &t->best, problem, cg_strndup(s, tab + 1, (size_t)(line - tab - 1)));
  }
}

// With what others have found meanwhile.
static void write_known(cg_session *s, cg_tuning *t, const char *entry) {
  read_known(s, t, entry);
  cg_str b = cg_str_new(s);
  for (int i = 0; i < t->best.n; i++) cg_str_addf(&b, "%s\t%s\n", t->best.entries[i].key, (const char *)t->best.entries[i].value);
  cg_cache_put(s, entry, entry, cg_str_text(&b), b.n);
}

// ---------------------------------------------------------------- all of it

static void decide(cg_session *s, cg_tuning *t, const choices *open, const candidate *x) {
  for (int i = 0; i < open->n; i++) {
    const cg_choice *c = &open->at[i];
    if (cg_map_has(&t->best, c->problem)) continue;
    double predicted = time_of(&x[c->predicted], c->problem, c->predicted), least = WORTH * predicted;
    int best = c->predicted;
    for (int w = 0; w < c->n; w++) {
      double ns = time_of(&x[w], c->problem, w);
      if (ns < least) best = w, least = ns;
    }
    const char *said = cg_format(s, "%s: %s%s", c->problem, c->names[best], best == c->predicted ? ", as predicted" : cg_format(s, ", %.2f of what was predicted", least / predicted));
    CG_PUSH(s, &t->said, said);
    cg_map_set(s, &t->best, c->problem, (void *)c->names[best]);
  }
}

// The choices of one kind that nothing is known of yet.
static choices next_open(cg_session *s, const choices *predicted) {
  choices open = {0};
  for (int i = 0; i < predicted->n; i++) {
    const cg_choice *c = &predicted->at[i];
    if (!c->known && (!open.n || !strcmp(c->kind, open.at[0].kind))) CG_PUSH(s, &open, *c);
  }
  return open;
}

void cg_tune(cg_session *s, cierge_options *o, const cg_model *model) {
  cg_tuning *t = CG_NEW(s, cg_tuning);
  *t = (cg_tuning){.s = s};
  const char *entry = entry_of(s);
  read_known(s, t, entry);
  o->opt.tuning = t;
  cierge_options *quiet = cg_memdup(s, o, sizeof *o); // of what is compiled to be measured nobody is told
  quiet->tune = false;
  quiet->opt.report = quiet->opt.emit = quiet->opt.dump_after = NULL, quiet->opt.time_passes = false;
  job j = {quiet, model, cg_temporary(s, "tune")};
  for (;;) {
    t->kind = NULL;
    choices predicted = compiled(s, &j), open = next_open(s, &predicted); // what was decided last may have opened other choices
    if (!open.n) break;
    int n = 0;
    for (int i = 0; i < open.n; i++)
      if (open.at[i].n > n) n = open.at[i].n;
    candidate *x = CG_NEW_ARRAY(s, candidate, n);
    for (int w = 0; w < n; w++) x[w] = candidate_new(s, quiet, model, open.at[0].kind, w);
    for (int r = 0; r < ROUNDS; r++)
      for (int w = 0; w < n; w++) call(s, &x[(w + r) % n]);
    decide(s, t, &open, x);
    write_known(s, t, entry);
  }
}
