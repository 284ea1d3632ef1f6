// The tool behind tests/golden: runs one step of the compiler over a text program and prints what came out.
//   irtool print FILE            parses, verifies, prints
//   irtool pass NAME … FILE      the same, with these passes in between; --OPTION=VALUE before them is an option of compiling
//   irtool c FILE                the C text of all kernels, for x86-64-v3
// FILE ends where a line begins with "// expect". Messages go to stdout too; the exit code is the CLI's.
// A place that names FILE itself is not printed: goldens would have it on every line.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/host.h"
#include "compile/compile.h"
#include "base/file.h"
#include "base/str.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "pass/pass.h"

typedef struct {
  const char *path;
  char **passes; // run one after the other, the module verified after each
  int npasses;
  bool c;
} job;

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static size_t input_size(cg_file f) {
  static const char mark[] = "// expect";
  const char *text = (const char *)f.data;
  for (size_t i = 0; i + sizeof mark - 1 <= f.size; i++)
    if ((!i || text[i - 1] == '\n') && !memcmp(text + i, mark, sizeof mark - 1)) return i;
  return f.size;
}

static void forget_own_places(cg_module *m, const char *file) {
  if (m->source && !strcmp(m->source, file)) m->source = NULL;
  for (int i = 0; i < m->fns.n; i++)
    for (cg_node *n = m->fns.at[i]->first; n; n = n->next)
      if (n->at.file && !strcmp(n->at.file, file)) n->at = (cg_span){0};
}

// The pass of that name; some run twice in the pipeline, and are the same then.
static void run_pass(cg_session *s, cg_module *m, cg_options *opt, const char *name) {
  cg_pipeline p = {.s = s, .opt = opt, .host = &cg_backend_host};
  for (int i = 0; i < cg_pass_count; i++) {
    if (strcmp(cg_passes[i].name, name)) continue;
    cg_passes[i].run(&p, m);
    cg_verify(m, name, cg_passes[i].typed);
    return;
  }
  cg_fail(s, CIERGE_USAGE, "there is no pass \"%s\"", name);
}

// The text of the kernels, behind the lines that every object begins with.
static void print_c(cg_session *s, cg_module *m) {
  cierge_options o;
  if (cg_options_init(&o) || cg_options_set(&o, "target", "x86-64-v3") || cg_options_set(&o, "emit", "c"))
    cg_fail(s, CIERGE_INTERNAL, "%s", o.s.message);
  cg_pipeline p = {.s = s, .opt = &o.opt, .host = &cg_backend_host};
  cg_compilation c = cg_compile_module(&p, m, false);
  fputs(cg_str_text(&c.e->kernel_source), stdout);
  cg_session_end(&o.s);
}

static void drop_options(void *o) { cg_session_end(&((cierge_options *)o)->s); }

// "name=value", or a flag's name.
static void set_option(cg_session *s, cierge_options *o, const char *word) {
  const char *eq = strchrnul(word, '=');
  if (cg_options_set(o, cg_strndup(s, word, (size_t)(eq - word)), *eq ? eq + 1 : "")) cg_fail(s, CIERGE_USAGE, "%s", o->s.message);
}

static void run(cg_session *s, void *u) {
  job *j = u;
  cg_file f = cg_file_map(s, j->path);
  const char *file = base_name(j->path);
  cg_module *m = cg_parse_module(s, file, (const char *)f.data, input_size(f));
  cg_verify(m, "read", false);
  if (j->c) {
    print_c(s, m);
    return;
  }
  cierge_options *o = CG_NEW(s, cierge_options);
  if (cg_options_init(o)) cg_fail(s, CIERGE_INTERNAL, "%s", o->s.message);
  cg_defer(s, drop_options, o);
  for (int i = 0; i < j->npasses; i++) {
    const char *word = j->passes[i];
    if (strncmp(word, "--", 2)) run_pass(s, m, &o->opt, word);
    else set_option(s, o, word + 2);
  }
  forget_own_places(m, file);
  cg_str b = cg_str_new(s);
  cg_print_module(&b, m);
  fputs(cg_str_text(&b), stdout);
}

int main(int argc, char **argv) {
  bool print = argc == 3 && !strcmp(argv[1], "print"), c = argc == 3 && !strcmp(argv[1], "c");
  if (!print && !c && (argc < 4 || strcmp(argv[1], "pass"))) {
    fprintf(stderr, "usage: irtool print FILE | irtool pass NAME… FILE | irtool c FILE\n");
    return 2;
  }
  static const int exit_codes[] = {
#define XX(name, exit_code, text) exit_code,
      CIERGE_CODE_MAP(XX)
#undef XX
  };
  cg_session s;
  cg_session_init(&s);
  job j = {.path = argv[argc - 1], .passes = argv + 2, .npasses = argc - 3, .c = c};
  cierge_code code = cg_try(&s, run, &j);
  if (code) printf("%s\n", s.message);
  cg_session_end(&s);
  return exit_codes[code];
}
