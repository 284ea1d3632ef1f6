// cierge COMMAND …: the table of commands.
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/c/cc.h"
#include "cli/cli.h"

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *usage;
} commands[] = {
    {"compile", cg_cmd_compile,
     "MODEL -o OUT.cierge [options: see cierge compile --help]   MODEL: .pt2, .pt or .cir"},
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

// Of a file's text, what would steer the terminal stands as \x1b. Also the control characters that UTF-8 has above ASCII.
static void put(FILE *to, const char *text) {
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    bool high = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
    if (high) fprintf(to, "\\x%02x\\x%02x", p[0], p[1]), p++;
    else if ((*p < 32 && *p != '\n' && *p != '\t') || *p == 127) fprintf(to, "\\x%02x", *p);
    else putc(*p, to);
  }
}

static void print_list(FILE *to, const char *fmt, va_list ap) {
  char *text;
  if (vasprintf(&text, fmt, ap) < 0) return;
  put(to, text);
  free(text);
}

void cg_print(FILE *to, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  print_list(to, fmt, ap);
  va_end(ap);
}

static void usage(FILE *out) {
  cg_print(out, "cierge " CIERGE_VERSION ": compiles PyTorch programs to one file that a C program runs\n\n");
  for (int i = 0; i < COMMANDS; i++) cg_print(out, "  cierge %s %s\n", commands[i].name, commands[i].usage);
}

int cg_usage(const char *command, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  cg_print(stderr, "cierge: %s: ", command);
  print_list(stderr, fmt, ap);
  putc('\n', stderr);
  va_end(ap);
  for (int i = 0; i < COMMANDS; i++)
    if (!strcmp(commands[i].name, command)) cg_print(stderr, "usage: cierge %s %s\n", command, commands[i].usage);
  return 2;
}

int cg_finish(cierge_status *status) {
  if (!status) return 0;
  cg_print(stderr, "cierge: %s\n", cierge_status_message(status));
  int code = cierge_status_exit_code(status);
  cierge_status_free(status);
  return code;
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
    cg_print(stderr, "cierge: %s\n", s.message);
    code = exit_codes[s.code];
  }
  cg_session_end(&s);
  return code;
}

static int run(int argc, char **argv) {
  if (argc < 2) {
    usage(stderr);
    return 2;
  }
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    usage(stdout);
    return 0;
  }
  if (!strcmp(argv[1], "--version")) {
    cg_print(stdout, "cierge %s\n", CIERGE_VERSION);
    return 0;
  }
  for (int i = 0; i < COMMANDS; i++)
    if (!strcmp(commands[i].name, argv[1])) return commands[i].run(argc - 1, argv + 1);
  cg_print(stderr, "cierge: there is no command '%s'\n", argv[1]);
  usage(stderr);
  return 2;
}

// A signal that would end the program ends its C compilers first, and their files.
static volatile sig_atomic_t ended_by;

static void end(int sig) {
  if (cg_cc_stop()) {
    ended_by = sig;
    return;
  }
  signal(sig, SIG_DFL);
  raise(sig);
}

static void heed(int sig) {
  if (signal(sig, end) == SIG_IGN) signal(sig, SIG_IGN); // nohup
}

int main(int argc, char **argv) {
  heed(SIGHUP), heed(SIGINT), heed(SIGTERM);
  int code = run(argc, argv);
  if (ended_by) {
    signal(ended_by, SIG_DFL);
    raise(ended_by);
  }
  errno = 0;
  if (!fflush(stdout) && !ferror(stdout)) return code;
  cg_print(stderr, "cierge: standard output cannot be written%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
  return code ? code : 4;
}
