// cierge COMMAND …: the table of commands.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *usage;
} commands[] = {
    {"compile", cg_cmd_compile,
     "MODEL -o OUT.cierge [options: see cierge compile --help]   MODEL: .pt2 or .cir"},
    {"run", cg_cmd_run,
     "OUT.cierge [--inputs in.npz|in.safetensors] [--outputs out.npz|out.safetensors] [--threads N] [--repeat N]\n"
     "      [--reset-between] [--sequence a.npz b.npz …] [--seed S] [--profile TRACE.json] [--lazy] [--libtorch DIR] [--torch-library LIB.so]…"},
    {"verify", cg_cmd_verify, "OUT.cierge"},
    {"inspect", cg_cmd_inspect, "OUT.cierge|MODEL"},
    {"explain", cg_cmd_explain, "MODEL [--measure --inputs in.npz] [--json] [--html OUT.html] [options of compile: see cierge explain --help]"},
    {"bench", cg_cmd_bench, "OUT.cierge [--inputs in.npz] [--against torch:MODEL.pt2] [--threads N] [--rounds N]"},
    {"study", cg_cmd_study,
     "MODEL --inputs in.npz [--points N] [--rounds N] [--json OUT.json] [--html OUT.html] [--svg OUT.svg] [options of compile: see cierge study --help]"},
    {"blob", cg_cmd_blob, "[-d PROGRAM.blobs] SCRIPT.pt…   the line of a text program for an archive of TorchScript; copies it there"},
    {"ops", cg_cmd_ops, ""},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *out) {
  fputs("cierge " CIERGE_VERSION ": compiles PyTorch programs to one file that a C program runs\n\n", out);
  for (int i = 0; i < COMMANDS; i++) fprintf(out, "  cierge %s %s\n", commands[i].name, commands[i].usage);
}

int cg_usage(const char *command, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "cierge: %s: ", command);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  va_end(ap);
  for (int i = 0; i < COMMANDS; i++)
    if (!strcmp(commands[i].name, command)) fprintf(stderr, "usage: cierge %s %s\n", command, commands[i].usage);
  return 2;
}

int cg_finish(cierge_status *status) {
  if (!status) return 0;
  fprintf(stderr, "cierge: %s\n", cierge_status_message(status));
  int code = cierge_status_exit_code(status);
  cierge_status_free(status);
  return code;
}

void cg_check(cg_session *s, cierge_status *status) {
  if (!status) return;
  cierge_code code = cierge_status_code(status);
  char *text = cg_strdup(s, cierge_status_message(status));
  cierge_status_free(status);
  cg_fail(s, code, "%s", text);
}

void cg_apart(cg_session *s, void (*f)(cg_session *, void *), void *u) {
  cg_session *own = CG_NEW(s, cg_session);
  cg_session_init(own);
  cierge_code code = cg_try(own, f, u);
  const char *message = cg_strdup(s, own->message);
  cg_session_end(own);
  if (code) cg_fail(s, code, "%s", message);
}

int cg_in_session(void (*f)(cg_session *, void *), void *u) {
  static const int exit_codes[] = {
#define XX(name, exit_code, text) exit_code,
      CIERGE_CODE_MAP(XX)
#undef XX
  };
  cg_session s;
  cg_session_init(&s);
  int code = 0;
  if (cg_try(&s, f, u) != CIERGE_OK) {
    cg_progress(NULL);
    fprintf(stderr, "cierge: %s\n", s.message);
    code = exit_codes[s.code];
  }
  cg_session_end(&s);
  return code;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    usage(stderr);
    return 2;
  }
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    usage(stdout);
    return 0;
  }
  if (!strcmp(argv[1], "--version")) {
    puts("cierge " CIERGE_VERSION);
    return 0;
  }
  for (int i = 0; i < COMMANDS; i++)
    if (!strcmp(commands[i].name, argv[1])) return commands[i].run(argc - 1, argv + 1);
  fprintf(stderr, "cierge: there is no command '%s'\n", argv[1]);
  usage(stderr);
  return 2;
}
