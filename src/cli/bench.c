// cierge bench: how long a call takes; --against torch:MODEL.pt2 runs the same model whole in LibTorch, in turn with it.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays/compare.h"
#include "cli/args.h"
#include "cli/measure.h"
#include "compile/feed.h"

enum { WARM = 3 };  // rounds before those that count
#define APART 0.5   // ÷ the size of the results: further off than rounding, weights of few bits among it, can bring two programs of one model

typedef struct {
  const char *artifact, *inputs, *against, *libtorch;
  int threads, rounds;
} bench_args;

typedef struct {
  const char *name, *path;
  cierge_program *p;
  cierge_context *c;
  cg_feed *feed;
  double *ms; // [rounds]
} contender;

static void drop(void *u) {
  contender *x = u;
  cierge_context_free(x->c);
  cierge_program_free(x->p);
}

static contender *load(cg_session *s, const bench_args *a, const char *name, const char *path, const char *model) {
  contender *x = CG_NEW(s, contender);
  x->name = name, x->path = model;
  cg_defer(s, drop, x);
  cierge_load_options lo = {.size = sizeof lo, .libtorch = a->libtorch};
  cg_check(s, cierge_load(path, &lo, &x->p));
  cierge_context_options co = {.size = sizeof co, .threads = a->threads};
  cg_check(s, cierge_context_new(x->p, &co, &x->c));
  x->feed = cg_feed_or_zeros(s, x->p, a->inputs);
  x->ms = CG_NEW_ARRAY(s, double, a->rounds);
  return x;
}

// The model whole in LibTorch, as an artifact of its own.
static const char *whole_in_torch(cg_session *s, const bench_args *a, const char *model) {
  const char *kept = cg_temporary(s, "bench");
  cierge_options *o;
  cg_check(s, cierge_options_new(&o));
  cierge_status *status = cierge_options_add(o, "backends", "torch");
  if (!status && a->libtorch) status = cierge_options_add(o, "libtorch", a->libtorch);
  if (!status) status = cierge_compile(model, kept, o);
  cierge_options_free(o);
  cg_check(s, status);
  return kept;
}

// One call from the beginning, as every contender is asked for it.
static cg_array_vec results(cg_session *s, const contender *x) {
  cg_array_vec out = {0};
  cg_check(s, cierge_seed(x->c, 0));
  cg_feed_set(x->feed, x->c);
  cg_check(s, cierge_run(x->c));
  cg_feed_collect(x->feed, x->c, "", &out);
  cg_check(s, cierge_reset(x->c));
  return out;
}

// Times say something where both compute the same.
static void compare(cg_session *s, const contender *x, const contender *right) {
  cg_array_vec a = results(s, x), b = results(s, right);
  double most = 0;
  if (a.n != b.n) cg_fail(s, CIERGE_REFUSED, "bench: %s gives %d results, %s %d: they are not one model", x->path, a.n, right->path, b.n);
  for (int i = 0; i < a.n; i++) {
    double d = cg_array_distance(&a.at[i], &b.at[i]);
    const char *name = a.at[i].name, *type = cg_array_type(s, &a.at[i]), *other = cg_array_type(s, &b.at[i]);
    if (strcmp(type, other)) cg_fail(s, CIERGE_REFUSED, "bench: %s of %s is %s, of %s %s: they are not one model", name, x->path, type, right->path, other);
    if (!(d <= APART)) cg_fail(s, CIERGE_REFUSED, "bench: %s of %s and of %s differ by %.1f times its size: they are not one model", name, x->path, right->path, d);
    if (d > most) most = d;
  }
  cg_print(stdout, "results    differ by at most %.1e of their size\n", most);
}

// The 95 % interval of the median of n sorted numbers: places low and n - 1 - low.
static int interval(int n) {
  int low = (int)floor(n / 2.0 - 0.98 * sqrt(n));
  return low < 0 ? 0 : low;
}

static void report(const contender *x, int n) {
  double middle = cg_median(x->ms, n);
  int low = interval(n);
  cg_print(stdout, "%-10s median %9.4f ms   95 %% interval %9.4f … %9.4f   least %9.4f   (%d calls)\n", x->name, middle, x->ms[low], x->ms[n - 1 - low], x->ms[0], n);
}

static void bench(cg_session *s, const bench_args *a) {
  contender *all[2] = {load(s, a, "cierge", a->artifact, a->artifact), NULL};
  int n = 1;
  if (a->against) {
    if (strncmp(a->against, "torch:", 6)) cg_fail(s, CIERGE_USAGE, "bench: --against takes torch:MODEL.pt2, not '%s'", a->against);
    all[n++] = load(s, a, "torch", whole_in_torch(s, a, a->against + 6), a->against + 6);
  }
  cg_print(stdout, "inputs     %s%s; threads: %s\n", cg_feed_text(all[0]->feed), a->inputs ? "" : " (zeros, made up)", a->threads ? cg_format(s, "%d", a->threads) : "all processors");
  if (n == 2) compare(s, all[0], all[1]);
  double *ratio = CG_NEW_ARRAY(s, double, a->rounds);
  for (int i = -WARM; i < a->rounds; i++) {
    for (int k = 0; k < n; k++) {
      cg_feed_set(all[k]->feed, all[k]->c);
      uint64_t start = cg_now();
      cg_check(s, cierge_run(all[k]->c));
      if (i >= 0) all[k]->ms[i] = (double)(cg_now() - start) / 1e6;
    }
    if (i >= 0 && n == 2) ratio[i] = all[0]->ms[i] / all[1]->ms[i];
  }
  for (int k = 0; k < n; k++) report(all[k], a->rounds);
  if (n < 2) return;
  double middle = cg_median(ratio, a->rounds);
  int low = interval(a->rounds), high = a->rounds - 1 - low;
  cg_print(stdout, "ratio      median %.3f   95 %% interval %.3f … %.3f   (cierge's time in units of LibTorch's, round by round)\n", middle, ratio[low], ratio[high]);
}

void cg_cmd_bench(cg_session *s, int argc, char **argv) {
  bench_args a = {.rounds = 30};
  const cg_cli_option table[] = {{"inputs", "FILE.npz|FILE.safetensors", "what to call it with (zeros, of typical sizes)", .text = &a.inputs},
                                 {"against", "torch:MODEL.pt2", "the model, whole in LibTorch, in turn with it", .text = &a.against},
                                 {"threads", "N", "threads (all processors)", .number = &a.threads},
                                 {"rounds", "N", "calls that are timed (30)", .number = &a.rounds},
                                 {"libtorch", "DIR", "where LibTorch is", .text = &a.libtorch}};
  const cg_words *words = cg_cli_read(s, argc, argv, table, sizeof table / sizeof *table, NULL, 1, 1);
  if (!words) return;
  a.artifact = words->at[0];
  bench(s, &a);
}
