// cierge compile, inspect, verify, ops.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "compile/call.h"
#include "compile/report.h"
#include "ops/op.h"

static void drop_options(void *o) { cierge_options_free(o); }

cierge_options *cg_cli_options(cg_session *s) {
  cierge_options *o;
  cg_check(s, cierge_options_new(&o));
  cg_defer(s, drop_options, o);
  return o;
}

// As cierge_compile, and it says on stderr what stays in LibTorch.
void cg_cmd_compile(cg_session *s, int argc, char **argv) {
  const char *out = NULL;
  cierge_options *o = cg_cli_options(s);
  const cg_cli_option table[] = {{"output", "OUT.cierge", "the file to write", .text = &out, .letter = 'o'}};
  const cg_words *words = cg_cli_read(s, argc, argv, table, 1, o, 1, 1);
  if (!words) return;
  if (!out) cg_fail(s, CIERGE_USAGE, "compile: -o OUT.cierge is missing");
  o->opt.progress = cg_progress;
  const cg_model model = {.path = words->at[0]};
  cg_compilation c = cg_compile_to(s, o, &model, out);
  cg_progress(NULL);
  const cg_tuning *tuning = c.pipeline->opt->tuning;
  for (int i = 0; tuning && i < tuning->said.n; i++) cg_print(stderr, "cierge: tune: %s\n", tuning->said.at[i]);
  const char *summary = cg_report_summary(c.report);
  if (*summary) cg_print(stderr, "cierge: note: %s%s\n", summary, c.report->torch ? "; `cierge explain` says which and why" : "");
  for (int i = 0; i < c.pipeline->notes.n; i++) cg_print(stderr, "cierge: note: %s\n", c.pipeline->notes.at[i]);
}

static bool is_model(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot && (!strcmp(dot, ".pt2") || !strcmp(dot, ".pt") || !strcmp(dot, ".cir"));
}

void cg_cmd_inspect(cg_session *s, int argc, char **argv) {
  const cg_words *words = cg_cli_read(s, argc, argv, NULL, 0, NULL, 1, 1);
  if (!words) return;
  if (is_model(words->at[0])) {
    cg_cmd_explain(s, 2, (char *[]){argv[0], (char *)words->at[0], NULL});
    return;
  }
  char *text;
  cg_check(s, cierge_inspect(words->at[0], &text));
  cg_print(stdout, "%s", text);
  cierge_text_free(text);
}

void cg_cmd_verify(cg_session *s, int argc, char **argv) {
  const cg_words *words = cg_cli_read(s, argc, argv, NULL, 0, NULL, 1, 1);
  if (!words) return;
  cg_check(s, cierge_verify(words->at[0]));
  cg_print(stdout, "%s: all checksums hold\n", words->at[0]);
}

void cg_cmd_ops(cg_session *s, int argc, char **argv) {
  if (!cg_cli_read(s, argc, argv, NULL, 0, NULL, 0, 0)) return;
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
}
