// cierge compile, inspect, verify, ops; and the options of compiling, for whoever takes them.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "compile/report.h"
#include "ops/op.h"

static void help(const char *command, int n, const cg_cli_option *more) {
  cg_print(stdout, "cierge %s: its options are\n", command);
  for (int i = 0; i < n; i++) cg_print(stdout, "  --%s%s%s\n        %s\n", more[i].name, more[i].argument ? " " : "", more[i].argument ? more[i].argument : "", more[i].help);
  for (int i = 0; i < cg_option_count; i++) {
    const cg_option_row *r = &cg_option_rows[i];
    cg_print(stdout, "  --%s%s%s\n        %s\n", r->name, r->argument ? " " : "", r->argument ? r->argument : "", r->help);
  }
}

static int parse_with(const struct option *all, int argc, char **argv, cierge_options *o, int n, const cg_cli_option *more) {
  opterr = 0;
  int index, c;
  while ((c = getopt_long(argc, argv, "o:h", all, &index)) != -1) {
    if (c == 'o')
      for (index = 0; index < n && strcmp(more[index].name, "output");) index++;
    if (c == 'h') return help(argv[0], n, more), 0;
    if (c == '?' || (c == 'o' && index == n)) return cg_usage(argv[0], "what is '%s'?", argv[optind - 1]);
    if (index < n) *more[index].value = more[index].argument ? optarg : "";
    else {
      cierge_status *s = cierge_options_add(o, all[index].name, optarg);
      if (s) return cg_finish(s);
    }
  }
  return optind + 1 == argc ? -1 : cg_usage(argv[0], "one MODEL is expected");
}

int cg_compile_args(int argc, char **argv, cierge_options *o, int n, const cg_cli_option *more) {
  struct option *all = calloc((size_t)(cg_option_count + n) + 2, sizeof *all);
  if (!all) return cg_print(stderr, "cierge: out of memory\n"), 4;
  int count = 0;
  for (int i = 0; i < n; i++) all[count++] = (struct option){more[i].name, !!more[i].argument, NULL, 0};
  for (int i = 0; i < cg_option_count; i++) all[count++] = (struct option){cg_option_rows[i].name, !!cg_option_rows[i].argument, NULL, 0};
  all[count] = (struct option){"help", 0, NULL, 'h'};
  int code = parse_with(all, argc, argv, o, n, more);
  free(all);
  return code;
}

typedef struct {
  cierge_options *o;
  cg_model model;
  const char *out;
} job;

// As cierge_compile, and it says on stderr what stays in LibTorch.
static void compile(cg_session *s, void *u) {
  job *j = u;
  j->o->opt.progress = cg_progress;
  cg_compilation c = cg_compile_to(s, j->o, &j->model, j->out);
  cg_progress(NULL);
  const cg_tuning *tuning = c.pipeline->opt->tuning;
  for (int i = 0; tuning && i < tuning->said.n; i++) cg_print(stderr, "cierge: tune: %s\n", tuning->said.at[i]);
  const char *summary = cg_report_summary(c.report);
  if (*summary) cg_print(stderr, "cierge: note: %s%s\n", summary, c.report->torch ? "; `cierge explain` says which and why" : "");
  for (int i = 0; i < c.pipeline->notes.n; i++) cg_print(stderr, "cierge: note: %s\n", c.pipeline->notes.at[i]);
}

int cg_cmd_compile(int argc, char **argv) {
  job j = {0};
  const cg_cli_option more[] = {{"output", "OUT.cierge", &j.out, "(-o) the artifact to write"}};
  cierge_status *s = cierge_options_new(&j.o);
  if (s) return cg_finish(s);
  int code = cg_compile_args(argc, argv, j.o, 1, more);
  if (code < 0 && !j.out) code = cg_usage(argv[0], "-o OUT.cierge is missing");
  if (code < 0) {
    j.model.path = argv[optind];
    code = cg_in_session(compile, &j);
  }
  cierge_options_free(j.o);
  return code;
}

static bool is_model(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot && (!strcmp(dot, ".pt2") || !strcmp(dot, ".pt") || !strcmp(dot, ".cir"));
}

int cg_cmd_inspect(int argc, char **argv) {
  if (argc == 2 && is_model(argv[1])) return cg_cmd_explain(argc, argv);
  if (argc != 2) return cg_usage(argv[0], "one artifact or model is expected");
  char *text = NULL;
  int code = cg_finish(cierge_inspect(argv[1], &text));
  if (text) cg_print(stdout, "%s", text);
  cierge_text_free(text);
  return code;
}

int cg_cmd_verify(int argc, char **argv) {
  if (argc != 2) return cg_usage(argv[0], "one artifact is expected");
  int code = cg_finish(cierge_verify(argv[1]));
  if (!code) cg_print(stdout, "%s: all checksums hold\n", argv[1]);
  return code;
}

int cg_cmd_ops(int argc, char **argv) {
  if (argc != 1) return cg_usage(argv[0], "it takes no arguments");
  static const struct { unsigned trait; const char *name; } traits[] = {
      {CG_OP_POINTWISE, "pointwise"}, {CG_OP_REDUCTION, "reduction"}, {CG_OP_VIEW, "view"}, {CG_OP_ANCHOR, "anchor"},
      {CG_OP_RANDOM, "random"}, {CG_OP_EFFECT, "effect"}, {CG_OP_STRIDE_SENSITIVE, "stride-sensitive"}, {CG_OP_COMPOSITE, "composite"},
      {CG_OP_OPAQUE, "opaque"}};
  for (size_t i = 0; i < cg_op_count(); i++) {
    const cg_op *op = cg_op_at(i);
    bool native = op->lower || op->decompose || op->body_float || op->body_int || op->body_bool;
    cg_print(stdout, "%-52s %s %s", op->key, native ? "native" : "typed ", op->infer ? "rule" : "    ");
    for (size_t k = 0; k < sizeof traits / sizeof *traits; k++)
      if (op->traits & traits[k].trait) cg_print(stdout, " %s", traits[k].name);
    putchar('\n');
  }
  return 0;
}
