// cierge study: what regions of LibTorch cost: growing sets of a model's nodes go there, as one region each and merged, in both modes.
//
// Every program is compiled, loaded and kept; a round goes round all of them in turn. A program's turn is one call that warms the
// caches, then the calls that count, whose median is the round's time. What else the machine does slows a round, not one program: a
// latency is the native program's median times the median of the rounds' ratios to it.
#include "cli/study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "compile/report.h"
#include "runtime/runtime.h"

const char *const cg_study_kinds[CG_STUDY_KINDS] = {"native", "whole", "alone", "merged", "front"};

typedef struct {
  cierge_options *o;
  const char *model, *beside, *json, *html, *svg;
  int points, rounds, threads;
} study_args;

// ---------------------------------------------------------------- one program

typedef struct {
  cierge_options *o;
  const char *model, *out;
  cg_study_point *x;
  int total;
} job;

static void compile(cg_session *s, void *u) {
  job *j = u;
  cg_compilation c = cg_compile_to(s, j->o, &(cg_model){.path = j->model}, j->out);
  j->total = (int)c.report->total;
  for (int i = 0; i < c.report->region.n; i++) {
    const cg_fn *f = c.report->region.at[i].fn;
    if (!c.report->region.at[i].torch) continue;
    j->x->regions++, j->x->nodes += f->nnodes, j->x->tensors += f->param.n + f->result.n;
  }
}

static int add_point(cg_session *s, const study_args *a, cg_study *y, const cg_array_vec *arrays, cg_study_kind kind, const char *mode, int asked) {
  cg_study_point x = {.kind = kind, .mode = mode, .asked = asked};
  cg_options was = a->o->opt, *opt = &a->o->opt;
  job j = {a->o, a->model, cg_temporary(s, "study"), &x, 0};
  opt->report = opt->emit = opt->dump_after = NULL, opt->time_passes = false;
  opt->no_cost_drop = true;
  if (*mode) opt->torch_mode = mode;
  if (kind == CG_STUDY_WHOLE) cg_check(s, cierge_options_add(a->o, "backends", "torch"));
  if (kind >= CG_STUDY_ALONE) opt->offload.nodes = asked, opt->offload.alone = kind == CG_STUDY_ALONE, opt->offload.front = kind == CG_STUDY_FRONT;
  cg_apart(s, compile, &j);
  *opt = was;
  cierge_program *p;
  cg_open_artifact(s, opt, j.out, y->threads, false, &p, &x.c);
  unlink(j.out); // it is mapped
  x.feed = cg_feed_new(s, p, opt->inputs ? opt->inputs : "no --inputs", arrays);
  x.ns = CG_NEW_ARRAY(s, double, y->rounds);
  CG_PUSH(s, &y->point, x);
  return j.total;
}

static void add_points(cg_session *s, const study_args *a, cg_study *y) {
  static const char *const modes[] = {"ops", "script"};
  int points = a->points;
  cg_array_vec arrays = {0};
  if (a->o->opt.inputs) arrays = cg_arrays_read(s, a->o->opt.inputs);
  y->total = add_point(s, a, y, &arrays, CG_STUDY_NATIVE, "", 0);
  if (!y->total) cg_fail(s, CIERGE_BAD_INPUT, "study: %s has no nodes", a->model);
  if (points > y->total) points = y->total;
  for (int m = 0; m < 2; m++) {
    if (a->o->opt.torch_mode && strcmp(a->o->opt.torch_mode, modes[m])) continue;
    add_point(s, a, y, &arrays, CG_STUDY_WHOLE, modes[m], y->total);
    for (int i = 1; i <= points; i++) {
      int asked = (int)((long)y->total * i / points);
      cg_progress(cg_format(s, "study: %s, %d of %d nodes", modes[m], asked, y->total));
      add_point(s, a, y, &arrays, CG_STUDY_ALONE, modes[m], asked);
      add_point(s, a, y, &arrays, CG_STUDY_MERGED, modes[m], asked);
      if (i < points) add_point(s, a, y, &arrays, CG_STUDY_FRONT, modes[m], asked); // all of them: as MERGED
    }
  }
  cg_progress(NULL);
}

// ---------------------------------------------------------------- results compared

static double difference(const cg_array *a, const cg_array *b) {
  double most = 0, worst = 0;
  if (a->dtype != b->dtype || a->bytes != b->bytes) return INFINITY;
  uint32_t size = cg_dtypes[a->dtype].size;
  for (uint64_t at = 0; at + size <= a->bytes; at += size) {
    cg_scalar x, y;
    const void *p = (const char *)a->data + at, *q = (const char *)b->data + at;
    if (!memcmp(p, q, size) && a->dtype != CG_F32 && a->dtype != CG_F64) continue;
    if (!cg_read_number(a->dtype, p, &x) || !cg_read_number(b->dtype, q, &y) || y.kind != CG_SC_FLOAT) return INFINITY;
    if (x.f == y.f || (isnan(x.f) && isnan(y.f))) {
      if (isfinite(y.f)) most = fmax(most, fabs(y.f));
      continue;
    }
    if (!isfinite(x.f) || !isfinite(y.f)) return INFINITY;
    worst = fmax(worst, fabs(x.f - y.f)), most = fmax(most, fabs(y.f));
  }
  return worst > 0 ? worst / fmax(most, 1e-30) : 0;
}

// Each program's first call, which also says how many calls a round is to have: 2 ms of them, 25 at most.
static void first_calls(cg_session *s, cg_study *y) {
  cg_array_vec want = {0};
  for (int i = 0; i < y->point.n; i++) {
    cg_study_point *x = &y->point.at[i];
    double least = INFINITY;
    cg_array_vec got = {0};
    for (int k = 0; k < 4; k++) {
      cg_feed_set(x->feed, x->c);
      uint64_t start = cg_now();
      cg_check(s, cierge_run(x->c));
      least = fmin(least, (double)(cg_now() - start));
      if (!k) cg_feed_collect(x->feed, x->c, "", i ? &got : &want);
      if (!k) cg_check(s, cierge_reset(x->c));
    }
    x->calls = (int)fmin(25, fmax(1, 2e6 / least));
    for (int k = 0; k < got.n; k++) x->difference = fmax(x->difference, k < want.n ? difference(&got.at[k], &want.at[k]) : INFINITY);
    if (i && got.n != want.n) x->difference = INFINITY;
  }
}

// ---------------------------------------------------------------- time

static double turn(cg_session *s, cg_study_point *x) {
  double ns[25];
  for (int i = -1; i < x->calls; i++) {
    cg_feed_set(x->feed, x->c);
    uint64_t start = cg_now();
    cg_check(s, cierge_run(x->c));
    if (i >= 0) ns[i] = (double)(cg_now() - start);
  }
  return cg_median(ns, x->calls);
}

static void run_rounds(cg_session *s, cg_study *y) {
  int n = y->point.n;
  for (int r = 0; r < y->rounds; r++)
    for (int i = 0; i < n; i++) {
      cg_study_point *x = &y->point.at[(i + r) % n];
      x->ns[r] = turn(s, x);
    }
  double *ratio = CG_NEW_ARRAY(s, double, y->rounds);
  cg_study_point *native = &y->point.at[0];
  memcpy(ratio, native->ns, (size_t)y->rounds * sizeof *ratio);
  native->of_native = 1, native->median = cg_median(ratio, y->rounds);
  native->low = ratio[y->rounds / 4], native->high = ratio[3 * y->rounds / 4];
  for (int i = 1; i < n; i++) {
    cg_study_point *x = &y->point.at[i];
    for (int r = 0; r < y->rounds; r++) ratio[r] = x->ns[r] / native->ns[r];
    x->of_native = cg_median(ratio, y->rounds), x->median = x->of_native * native->median;
    x->low = ratio[y->rounds / 4] * native->median, x->high = ratio[3 * y->rounds / 4] * native->median;
  }
}

// ---------------------------------------------------------------- the command

static void read_lines(cg_session *s, const char *text, cg_study *y) {
  for (const char *end; text && *text; text = *end ? end + 1 : end) {
    end = strchrnul(text, ',');
    char *item = cg_strndup(s, text, (size_t)(end - text)), *equals = strrchr(item, '='), *rest = "";
    double v = equals ? cg_strtod(equals + 1, &rest) : 0;
    if (!equals || equals == item || !equals[1] || *rest || !(v > 0) || !isfinite(v)) cg_fail(s, CIERGE_USAGE, "study: --beside takes NAME=TIMES, not '%s'", item);
    *equals = 0;
    CG_PUSH(s, &y->line, ((cg_study_line){item, v}));
  }
}

static void study(cg_session *s, const study_args *a) {
  const char *slash = strrchr(a->model, '/');
  cg_study y = {.model = slash ? slash + 1 : a->model, .rounds = a->rounds, .threads = a->threads};
  read_lines(s, a->beside, &y);
  add_points(s, a, &y);
  first_calls(s, &y);
  run_rounds(s, &y);
  for (int m = 0; m < 2; m++) {
    cg_study_fit f = cg_study_fit_of(&y, m ? "script" : "ops");
    if (f.points > 1) CG_PUSH(s, &y.fit, f);
  }
  cg_str text = cg_str_new(s);
  cg_study_table(&text, &y);
  cg_print(stdout, "%s", cg_str_text(&text));
  const struct { const char *path; void (*write)(cg_str *, const cg_study *); } files[] = {{a->json, cg_study_json}, {a->html, cg_study_html}, {a->svg, cg_study_svg}};
  for (int i = 0; i < 3; i++) {
    cg_str b = cg_str_new(s);
    if (!files[i].path) continue;
    files[i].write(&b, &y);
    cg_save_text(s, files[i].path, cg_str_text(&b));
  }
}

void cg_cmd_study(cg_session *s, int argc, char **argv) {
  study_args a = {.o = cg_cli_options(s), .points = 8, .rounds = 15};
  const cg_cli_option table[] = {{"points", "N", "sizes of the sets of nodes, evenly up to all of them (8)", .number = &a.points},
                                 {"rounds", "N", "rounds that the medians are of (15)", .number = &a.rounds},
                                 {"threads", "N", "threads (all processors)", .number = &a.threads},
                                 {"beside", "NAME=TIMES,…", "lines to draw too, in multiples of the native program's time ('eager PyTorch=1.4')", .text = &a.beside},
                                 {"json", "OUT.json", "write all of it as JSON", .text = &a.json},
                                 {"html", "OUT.html", "write a page with the plot and the tables", .text = &a.html},
                                 {"svg", "OUT.svg", "write the plot", .text = &a.svg}};
  const cg_words *words = cg_cli_read(s, argc, argv, table, sizeof table / sizeof *table, a.o, 1, 1);
  if (!words) return;
  a.model = words->at[0];
  study(s, &a);
}
