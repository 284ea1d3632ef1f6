// cierge run: arrays in, arrays out.
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays/arrays.h"
#include "cli/cli.h"
#include "compile/call.h"
#include "compile/feed.h"

typedef struct {
  const char *artifact, *inputs, *outputs, *libtorch, *seed, *profile;
  CG_VEC(const char *) sequence, libraries, unsafe;
  long threads, repeat;
  bool reset_between, lazy;
} run_args;

static long count(cg_session *s, const char *name, const char *text) {
  char *end;
  errno = 0;
  long v = strtol(text, &end, 10);
  if (errno || end == text || *end || v < 1 || v > 1000000000) cg_fail(s, CIERGE_USAGE, "run: --%s takes a number above 0, not '%s'", name, text);
  return v;
}

static void unsafe_names(cg_session *s, run_args *a, char *names) {
  for (char *save, *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) CG_PUSH(s, &a->unsafe, (const char *)name);
}

static void parse(cg_session *s, int argc, char **argv, run_args *a) {
  static const struct option options[] = {{"inputs", 1, 0, 'i'}, {"outputs", 1, 0, 'o'}, {"threads", 1, 0, 't'}, {"repeat", 1, 0, 'r'},
                                          {"sequence", 0, 0, 's'}, {"seed", 1, 0, 'S'}, {"reset-between", 0, 0, 'R'}, {"lazy", 0, 0, 'l'},
                                          {"libtorch", 1, 0, 'L'}, {"torch-library", 1, 0, 'T'}, {"allow-unsafe-ops", 1, 0, 'U'}, {"profile", 1, 0, 'P'}, {0, 0, 0, 0}};
  opterr = 0;
  bool sequence = false;
  a->repeat = 1;
  for (int c; (c = getopt_long(argc, argv, "-", options, NULL)) != -1;) {
    switch (c) {
    case 1:
      if (!a->artifact) a->artifact = optarg;
      else if (sequence) CG_PUSH(s, &a->sequence, (const char *)optarg);
      else cg_fail(s, CIERGE_USAGE, "run: what is '%s'?", optarg);
      break;
    case 'i': a->inputs = optarg; break;
    case 'o': a->outputs = optarg; break;
    case 't': a->threads = count(s, "threads", optarg); break;
    case 'r': a->repeat = count(s, "repeat", optarg); break;
    case 's': sequence = true; break;
    case 'S': a->seed = optarg; break;
    case 'R': a->reset_between = true; break;
    case 'l': a->lazy = true; break;
    case 'L': a->libtorch = optarg; break;
    case 'P': a->profile = optarg; break;
    case 'U': unsafe_names(s, a, optarg); break;
    case 'T': CG_PUSH(s, &a->libraries, (const char *)optarg); break;
    default: cg_fail(s, CIERGE_USAGE, "run: what is '%s'?", argv[optind - 1]);
    }
  }
  if (!a->artifact) cg_fail(s, CIERGE_USAGE, "run: which artifact?");
  if (sequence && a->inputs) cg_fail(s, CIERGE_USAGE, "run: --inputs and --sequence exclude each other");
}

static void drop_program(void *p) { cierge_program_free(p); }
static void drop_context(void *p) { cierge_context_free(p); }

static void seed(cg_session *s, cierge_context *c, const char *text) {
  char *end;
  errno = 0;
  unsigned long long v = strtoull(text, &end, 10);
  if (errno || end == text || *end) cg_fail(s, CIERGE_USAGE, "run: --seed takes a number, not '%s'", text);
  cg_check(s, cierge_seed(c, v));
}

// One file of inputs, `repeat` calls on fresh copies of it; the last outputs go to `out`, named with `prefix`.
static void calls(cg_session *s, cierge_program *p, cierge_context *c, const run_args *a, const char *inputs, const char *prefix, cg_array_vec *out) {
  cg_array_vec arrays = {0};
  if (inputs) arrays = cg_arrays_read(s, inputs);
  cg_feed *feed = cg_feed_new(s, p, inputs ? inputs : "no inputs", &arrays);
  for (long i = 0; i < a->repeat; i++) {
    if (i && a->reset_between) cg_check(s, cierge_reset(c));
    cg_feed_set(feed, c);
    cg_check(s, cierge_run(c));
  }
  cg_feed_collect(feed, c, prefix, out);
}

// One line each.
static void print_arrays(const cg_array_vec *arrays) {
  for (int i = 0; i < arrays->n; i++) {
    const cg_array *a = &arrays->at[i];
    cg_print(stdout, "%s: %s[", a->name, cg_dtypes[a->dtype].text);
    for (int k = 0; k < a->rank; k++) cg_print(stdout, "%s%lld", k ? ", " : "", (long long)a->size[k]);
    cg_print(stdout, "]\n");
  }
}

static void run(cg_session *s, void *u) {
  char ***av = u;
  int argc = 0;
  while ((*av)[argc]) argc++;
  run_args a = {0};
  parse(s, argc, *av, &a);
  CG_PUSH(s, &a.libraries, NULL);
  CG_PUSH(s, &a.unsafe, NULL);
  cierge_load_options lo = {.size = sizeof lo, .libtorch = a.libtorch, .lazy = a.lazy, .torch_libraries = a.libraries.at, .allow_unsafe_ops = a.unsafe.at};
  cierge_program *p;
  cg_check(s, cierge_load(a.artifact, &lo, &p));
  cg_defer(s, drop_program, p);
  cierge_context_options co = {.size = sizeof co, .threads = (int)a.threads, .profile = a.profile ? 2 : 0};
  cierge_context *c;
  cg_check(s, cierge_context_new(p, &co, &c));
  cg_defer(s, drop_context, c);
  if (a.seed) seed(s, c, a.seed);
  cg_array_vec out = {0};
  if (!a.sequence.n) calls(s, p, c, &a, a.inputs, "", &out);
  for (int i = 0; i < a.sequence.n; i++) {
    if (i && a.reset_between) cg_check(s, cierge_reset(c));
    calls(s, p, c, &a, a.sequence.at[i], cg_format(s, "%d.", i), &out);
  }
  if (a.profile) cg_profile_write(s, c, a.profile);
  if (a.outputs) cg_arrays_write(s, a.outputs, &out);
  else print_arrays(&out);
}

int cg_cmd_run(int argc, char **argv) {
  (void)argc;
  return cg_in_session(run, &argv);
}
