// cierge explain: where every node would go, why, and what it costs; --measure runs the program and says what it took.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays/arrays.h"
#include "cli/args.h"
#include "cli/measure.h"
#include "compile/feed.h"
#include "compile/report.h"
#include "yyjson/yyjson.h"

typedef struct {
  cierge_options *o;
  const char *model, *measure, *json, *html;
  int rounds, threads;
} explain_args;

// ---------------------------------------------------------------- measuring

typedef struct {
  cg_session *s;
  cierge_context *c;
  const cg_emitter *e;
  int rounds;
  double *before, *total; // [spans] ns of all calls so far, before this one; the same now
  double **ns;            // [spans + 1][rounds]; the last: the whole call
} meter;

static void drop_document(void *d) { yyjson_doc_free(d); }

// Sums the profile's steps over the steps that each region became.
static void read_profile(meter *m) {
  char *text;
  cg_check(m->s, cierge_profile_json(m->c, &text));
  yyjson_doc *d = yyjson_read(text, strlen(text), 0);
  cierge_text_free(text);
  if (!d) cg_fail(m->s, CIERGE_INTERNAL, "explain: the profile does not read");
  yyjson_val *fns = yyjson_obj_get(yyjson_doc_get_root(d), "functions");
  for (int i = 0; i < m->e->spans.n; i++) {
    const cg_emit_span *x = &m->e->spans.at[i];
    yyjson_val *steps = yyjson_obj_get(yyjson_arr_get(fns, x->fn), "steps");
    m->total[i] = 0;
    for (uint32_t k = x->first; k < x->last; k++) m->total[i] += (double)yyjson_get_uint(yyjson_obj_get(yyjson_arr_get(steps, k), "ns"));
  }
  drop_document(d);
}

static void run_rounds(meter *m, cg_feed *feed) {
  int n = m->e->spans.n;
  enum { WARM = 3 };
  for (int i = -WARM; i < m->rounds; i++) {
    memcpy(m->before, m->total, (size_t)n * sizeof *m->before);
    cg_feed_set(feed, m->c);
    uint64_t start = cg_now();
    cg_check(m->s, cierge_run(m->c));
    double took = (double)(cg_now() - start);
    read_profile(m);
    for (int k = 0; i >= 0 && k < n; k++) m->ns[k][i] = m->total[k] - m->before[k];
    if (i >= 0) m->ns[n][i] = took;
  }
}

static void measure(cg_session *s, const explain_args *a, const char *artifact, const cg_emitter *e, cg_report *r) {
  const cg_options *opt = &a->o->opt;
  meter m = {.s = s, .e = e, .rounds = a->rounds ? a->rounds : 20};
  cierge_program *p;
  cg_open_artifact(s, opt, artifact, a->threads, true, &p, &m.c);
  cg_array_vec arrays = {0};
  if (opt->inputs) arrays = cg_arrays_read(s, opt->inputs);
  cg_feed *feed = cg_feed_new(s, p, opt->inputs ? opt->inputs : "no --inputs", &arrays);
  int n = e->spans.n;
  m.before = CG_NEW_ARRAY(s, double, n + 1), m.total = CG_NEW_ARRAY(s, double, n + 1), m.ns = CG_NEW_ARRAY(s, double *, n + 1);
  for (int i = 0; i <= n; i++) m.ns[i] = CG_NEW_ARRAY(s, double, m.rounds);
  run_rounds(&m, feed);
  r->measured = true, r->rounds = m.rounds;
  r->call_ns = cg_median(m.ns[n], m.rounds);
  for (int i = 0; i < n; i++) {
    cg_report_region *x = cg_report_region_of(r, e->spans.at[i].region);
    if (!x) continue;
    x->measured_ns = cg_median(m.ns[i], m.rounds);
    *(x->torch ? &r->measured_torch_ns : &r->measured_native_ns) += x->measured_ns;
  }
}

// ---------------------------------------------------------------- the command

static void explain(cg_session *s, const explain_args *a) {
  const char *out = a->measure ? cg_temporary(s, "explain") : NULL, *slash = strrchr(a->model, '/');
  const cg_model model = {.path = a->model};
  cg_compilation c = out ? cg_compile_to(s, a->o, &model, out) : cg_compile_model(s, a->o, &model, true);
  c.report->model = slash ? slash + 1 : a->model;
  if (out) measure(s, a, out, c.e, c.report);
  cg_str b = cg_str_new(s), json = cg_str_new(s), html = cg_str_new(s);
  if (a->json || a->o->opt.report) cg_report_json(&json, c.report, true);
  if (a->o->opt.report) cg_save_text(s, a->o->opt.report, cg_str_text(&json));
  if (a->html) {
    cg_report_html(&html, c.report);
    cg_save_text(s, a->html, cg_str_text(&html));
  }
  cg_report_text(&b, c.report);
  cg_print(stdout, "%s", a->json ? cg_str_text(&json) : cg_str_text(&b));
}

void cg_cmd_explain(cg_session *s, int argc, char **argv) {
  explain_args a = {.o = cg_cli_options(s)};
  const cg_cli_option table[] = {{"measure", NULL, "compile, run and time it; --inputs gives the arrays", .text = &a.measure},
                                 {"rounds", "N", "calls that --measure takes the medians of (20)", .number = &a.rounds},
                                 {"threads", "N", "threads for --measure (all processors)", .number = &a.threads},
                                 {"json", NULL, "print the report as JSON", .text = &a.json},
                                 {"html", "OUT.html", "write it as one page with the graph drawn", .text = &a.html}};
  const cg_words *words = cg_cli_read(s, argc, argv, table, sizeof table / sizeof *table, a.o, 1, 1);
  if (!words) return;
  if ((a.rounds || a.threads) && !a.measure) cg_fail(s, CIERGE_USAGE, "explain: --rounds and --threads are for --measure");
  a.model = words->at[0];
  explain(s, &a);
}
