// cierge COMMAND …: the table of commands.
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/c/cc.h"
#include "cli/args.h"

static const cg_command commands[] = {
    {"compile", "MODEL -o OUT.cierge [options]", "compiles a model (.pt2 of torch.export, .pt of TorchScript, .cir) into one file",
     "cierge compile model.pt2 -o model.cierge --dim 's0=1..64'", cg_cmd_compile},
    {"run", "OUT.cierge [options]", "runs a compiled model on arrays, and writes or lists what it gives",
     "cierge run model.cierge --inputs in.npz --outputs out.npz", cg_cmd_run},
    {"verify", "OUT.cierge", "checks every byte of a compiled model against its checksums", "cierge verify model.cierge", cg_cmd_verify},
    {"inspect", "OUT.cierge|MODEL", "says what a compiled model, or a model, holds, takes and gives", "cierge inspect model.cierge", cg_cmd_inspect},
    {"explain", "MODEL [options]", "says which nodes are native, which stay in LibTorch, why, from which line of the model, and what that costs",
     "cierge explain model.pt2 --measure --inputs in.npz", cg_cmd_explain},
    {"bench", "OUT.cierge [options]", "times a compiled model, alone or in turn with the model in LibTorch", "cierge bench model.cierge --inputs in.npz --against torch:model.pt2", cg_cmd_bench},
    {"study", "MODEL --inputs FILE [options]", "measures what regions of LibTorch cost in a model: growing sets of its nodes are left to it",
     "cierge study model.pt2 --inputs in.npz --html study.html", cg_cmd_study},
    {"blob", "SCRIPT.pt… [options]", "prints the lines by which a text program names archives of TorchScript", "cierge blob -d program.blobs script.pt", cg_cmd_blob},
    {"ops", "", "lists the operators that the compiler knows, and how", "cierge ops", cg_cmd_ops},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

const cg_command *cg_command_of(const char *name) {
  for (int i = 0; i < COMMANDS; i++)
    if (!strcmp(commands[i].name, name)) return &commands[i];
  return NULL;
}

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
  for (int i = 0; i < COMMANDS; i++) cg_print(out, "  cierge %s%s%s\n        %s\n", commands[i].name, *commands[i].takes ? " " : "", commands[i].takes, commands[i].purpose);
  cg_print(out, "\ncierge COMMAND --help says more.\n");
}

typedef struct {
  int argc;
  char **argv;
} line;

static void run_command(cg_session *s, void *u) {
  line *l = u;
  const cg_command *c = cg_command_of(l->argv[0]);
  if (c) {
    c->run(s, l->argc, l->argv);
    return;
  }
  const char *names[COMMANDS];
  for (int i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
  cg_fail(s, CIERGE_USAGE, "there is no command '%s'%s (cierge --help lists them)", l->argv[0], cg_cli_near(s, l->argv[0], names, COMMANDS));
}

static int run(int argc, char **argv) {
  static const int exit_codes[] = {
#define XX(name, exit_code, text) exit_code,
      CIERGE_CODE_MAP(XX)
#undef XX
  };
  const char *first = argc > 1 ? argv[1] : "";
  bool help = !strcmp(first, "help") || !strcmp(first, "--help") || !strcmp(first, "-h");
  if (argc < 2 || (help && argc == 2)) {
    usage(argc < 2 ? stderr : stdout);
    return argc < 2 ? 2 : 0;
  }
  if (!strcmp(first, "--version")) {
    cg_print(stdout, "cierge %s\n", CIERGE_VERSION);
    return 0;
  }
  char *asked[] = {argv[argc > 2 ? 2 : 1], "--help", NULL}; // cierge help COMMAND
  line l = help ? (line){2, asked} : (line){argc - 1, argv + 1};
  cg_session s;
  cg_session_init(&s);
  int code = 0;
  if (cg_try(&s, run_command, &l) != CIERGE_OK) {
    cg_progress(NULL);
    cg_print(stderr, "cierge: %s\n", s.message);
    code = exit_codes[s.code];
  }
  cg_session_end(&s);
  return code;
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
