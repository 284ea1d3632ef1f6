// cierge run: arrays in, arrays out.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays/arrays.h"
#include "cli/args.h"
#include "compile/call.h"
#include "compile/feed.h"

typedef struct {
  const char *artifact, *inputs, *outputs, *libtorch, *seed, *profile, *reset_between, *lazy, *sequence;
  cg_words files, libraries, unsafe; // of --sequence; NULL-terminated, those two
  int threads, repeat;
} run_args;

// Those of one argument, "aten::save,c10d::".
static cg_words names_of(cg_session *s, const cg_words *given) {
  cg_words out = {0};
  for (int i = 0; i < given->n; i++)
    for (char *save, *name = strtok_r(cg_strdup(s, given->at[i]), ",", &save); name; name = strtok_r(NULL, ",", &save)) CG_PUSH(s, &out, (const char *)name);
  CG_PUSH(s, &out, NULL);
  return out;
}

static bool parse(cg_session *s, int argc, char **argv, run_args *a) {
  cg_words unsafe = {0};
  const cg_cli_option table[] = {
      {"inputs", "FILE.npz|FILE.safetensors", "arrays by the arguments' names, or input_0, input_1, …", .text = &a->inputs},
      {"outputs", "FILE.npz|FILE.safetensors", "where to write output_0, … and mutated_NAME; without it they are listed", .text = &a->outputs},
      {"threads", "N", "threads (all processors)", .number = &a->threads},
      {"repeat", "N", "calls, each on fresh copies of the inputs; state is carried on", .number = &a->repeat},
      {"sequence", NULL, "the files behind it are inputs of one call each; their outputs are 0.output_0, …", .text = &a->sequence},
      {"reset-between", NULL, "state begins anew before each call", .text = &a->reset_between},
      {"seed", "N", "of LibTorch's generator, before the first call", .text = &a->seed},
      {"profile", "TRACE.json", "write a trace of what ran when (Perfetto reads it), and print where the time went", .text = &a->profile},
      {"lazy", NULL, "map the weights without checking their checksum", .text = &a->lazy},
      {"libtorch", "DIR", "where LibTorch is", .text = &a->libtorch},
      {"torch-library", "LIB.so…", "a library of custom operators", .words = &a->libraries},
      {"allow-unsafe-ops", "NAME,…", "operators that reach beyond tensors, which may be called all the same (aten::save, c10d::)", .words = &unsafe}};
  a->repeat = 1;
  const cg_words *words = cg_cli_read(s, argc, argv, table, sizeof table / sizeof *table, NULL, 1, INT_MAX);
  if (!words) return false;
  a->artifact = words->at[0];
  for (int i = 1; i < words->n; i++) CG_PUSH(s, &a->files, words->at[i]);
  if (a->files.n && !a->sequence) cg_fail(s, CIERGE_USAGE, "run: what is '%s'?", a->files.at[0]);
  if (a->sequence && a->inputs) cg_fail(s, CIERGE_USAGE, "run: --inputs and --sequence exclude each other");
  CG_PUSH(s, &a->libraries, NULL);
  a->unsafe = names_of(s, &unsafe);
  return true;
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
  for (int i = 0; i < a->repeat; i++) {
    if (i && a->reset_between) cg_check(s, cierge_reset(c));
    cg_feed_set(feed, c);
    cg_check(s, cierge_run(c));
  }
  cg_feed_collect(feed, c, prefix, out);
}

void cg_cmd_run(cg_session *s, int argc, char **argv) {
  run_args a = {0};
  if (!parse(s, argc, argv, &a)) return;
  cierge_load_options lo = {.size = sizeof lo, .libtorch = a.libtorch, .lazy = a.lazy != NULL, .torch_libraries = a.libraries.at, .allow_unsafe_ops = a.unsafe.at};
  cierge_program *p;
  cg_check(s, cierge_load(a.artifact, &lo, &p));
  cg_defer(s, drop_program, p);
  cierge_context_options co = {.size = sizeof co, .threads = a.threads, .profile = a.profile ? 2 : 0};
  cierge_context *c;
  cg_check(s, cierge_context_new(p, &co, &c));
  cg_defer(s, drop_context, c);
  if (a.seed) seed(s, c, a.seed);
  cg_array_vec out = {0};
  if (!a.files.n) calls(s, p, c, &a, a.inputs, "", &out);
  for (int i = 0; i < a.files.n; i++) {
    if (i && a.reset_between) cg_check(s, cierge_reset(c));
    calls(s, p, c, &a, a.files.at[i], cg_format(s, "%d.", i), &out);
  }
  if (a.profile) cg_profile_write(s, c, a.profile);
  if (a.outputs) cg_arrays_write(s, a.outputs, &out);
  for (int i = 0; !a.outputs && i < out.n; i++) cg_print(stdout, "%s: %s\n", out.at[i].name, cg_array_type(s, &out.at[i]));
}
