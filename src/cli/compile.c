// cierge compile, explain, inspect, verify, ops.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "compile/compile.h"
#include "ops/op.h"

static void help(const char *command) {
  printf("cierge %s: its options are\n", command);
  for (int i = 0; i < cg_option_count; i++) {
    const cg_option_row *r = &cg_option_rows[i];
    printf("  --%s%s%s\n        %s\n", r->name, r->argument ? " " : "", r->argument ? r->argument : "", r->help);
  }
}

static int parse_with(const struct option *long_options, int argc, char **argv, cierge_options *o, const char **out) {
  opterr = 0;
  int index, c;
  while ((c = getopt_long(argc, argv, "o:h", long_options, &index)) != -1) {
    if (c == 'h') return help(argv[0]), 0;
    if (c == '?') return cg_usage(argv[0], "what is '%s'?", argv[optind - 1]);
    if (c == 'o') *out = optarg;
    else {
      cierge_status *s = cierge_options_add(o, long_options[index].name, optarg);
      if (s) return cg_finish(s);
    }
  }
  return -1;
}

// Fills options and *out (-o), leaves the operands from optind on. A code >= 0 ends the command.
static int parse(int argc, char **argv, cierge_options *o, const char **out) {
  struct option *long_options = calloc((size_t)cg_option_count + 3, sizeof *long_options);
  if (!long_options) return cg_usage(argv[0], "out of memory");
  for (int i = 0; i < cg_option_count; i++) long_options[i] = (struct option){cg_option_rows[i].name, !!cg_option_rows[i].argument, NULL, 0};
  long_options[cg_option_count] = (struct option){"help", 0, NULL, 'h'};
  long_options[cg_option_count + 1] = (struct option){"output", 1, NULL, 'o'};
  int code = parse_with(long_options, argc, argv, o, out);
  free(long_options);
  return code;
}

int cg_cmd_compile(int argc, char **argv) {
  cierge_options *o;
  const char *out = NULL;
  cierge_status *s = cierge_options_new(&o);
  if (s) return cg_finish(s);
  int code = parse(argc, argv, o, &out);
  if (code < 0 && optind + 1 != argc) code = cg_usage(argv[0], "one MODEL is expected");
  if (code < 0 && !out) code = cg_usage(argv[0], "-o OUT.cierge is missing");
  if (code < 0) code = cg_finish(cierge_compile(argv[optind], out, o));
  cierge_options_free(o);
  return code;
}

int cg_cmd_explain(int argc, char **argv) {
  cierge_options *o;
  const char *out = NULL;
  char *text = NULL;
  cierge_status *s = cierge_options_new(&o);
  if (s) return cg_finish(s);
  int code = parse(argc, argv, o, &out);
  if (code < 0 && optind + 1 != argc) code = cg_usage(argv[0], "one MODEL is expected");
  if (code < 0) code = cg_finish(cierge_explain(argv[optind], o, &text));
  if (text) fputs(text, stdout);
  cierge_text_free(text);
  cierge_options_free(o);
  return code;
}

static bool is_model(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot && (!strcmp(dot, ".pt2") || !strcmp(dot, ".cir"));
}

int cg_cmd_inspect(int argc, char **argv) {
  if (argc == 2 && is_model(argv[1])) return cg_cmd_explain(argc, argv);
  if (argc != 2) return cg_usage(argv[0], "one artifact or model is expected");
  char *text = NULL;
  int code = cg_finish(cierge_inspect(argv[1], &text));
  if (text) fputs(text, stdout);
  cierge_text_free(text);
  return code;
}

int cg_cmd_verify(int argc, char **argv) {
  if (argc != 2) return cg_usage(argv[0], "one artifact is expected");
  int code = cg_finish(cierge_verify(argv[1]));
  if (!code) printf("%s: all checksums hold\n", argv[1]);
  return code;
}

int cg_cmd_ops(int argc, char **argv) {
  if (argc != 1) return cg_usage(argv[0], "it takes no arguments");
  static const struct { unsigned trait; const char *name; } traits[] = {
      {CG_OP_POINTWISE, "pointwise"}, {CG_OP_REDUCTION, "reduction"}, {CG_OP_VIEW, "view"}, {CG_OP_ANCHOR, "anchor"},
      {CG_OP_RANDOM, "random"}, {CG_OP_EFFECT, "effect"}, {CG_OP_STRIDE_SENSITIVE, "stride-sensitive"}, {CG_OP_COMPOSITE, "composite"}};
  for (size_t i = 0; i < cg_op_count(); i++) {
    const cg_op *op = cg_op_at(i);
    bool native = op->lower || op->decompose || op->body_float || op->body_int || op->body_bool;
    printf("%-52s %s %s", op->key, native ? "native" : "typed ", op->infer ? "rule" : "    ");
    for (size_t k = 0; k < sizeof traits / sizeof *traits; k++)
      if (op->traits & traits[k].trait) printf(" %s", traits[k].name);
    putchar('\n');
  }
  return 0;
}
