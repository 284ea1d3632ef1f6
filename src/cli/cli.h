// The command line program: one function for each command, and what they share.
#ifndef CG_CLI_CLI_H
#define CG_CLI_CLI_H
#include <stdio.h>

#include "base/session.h"
#include "cierge/cierge.h"

// argv[0] is the command's name. Returns the exit code.
int cg_cmd_compile(int argc, char **argv);
int cg_cmd_run(int argc, char **argv);
int cg_cmd_verify(int argc, char **argv);
int cg_cmd_inspect(int argc, char **argv);
int cg_cmd_explain(int argc, char **argv);
int cg_cmd_bench(int argc, char **argv);
int cg_cmd_study(int argc, char **argv);
int cg_cmd_ops(int argc, char **argv);
int cg_cmd_blob(int argc, char **argv);

// An option of the command line beside those of compiling. argument NULL: a flag, whose *value becomes "".
typedef struct {
  const char *name, *argument;
  const char **value;
  const char *help;
} cg_cli_option;
// Fills the options and the values of `more`; the MODEL is argv[optind]. A code >= 0 ends the command. "output" is also -o.
int cg_compile_args(int argc, char **argv, cierge_options *o, int n, const cg_cli_option *more);

// progress.c: says what is being done, where stderr is a terminal; NULL: nothing any more, whatever is printed next begins a line.
void cg_progress(const char *text);

void cg_profile_write(cg_session *s, cierge_context *c, const char *path); // profile.c: of a context with profile 2

// printf for what people read: control characters of a file's names and texts are shown, not sent to the terminal.
void cg_print(FILE *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// "cierge: message" on stderr; gives the exit code and frees the status (NULL: 0).
int cg_finish(cierge_status *status);
int cg_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Runs f(s, u) in a session of its own; prints what it throws and gives the exit code.
int cg_in_session(void (*f)(cg_session *, void *), void *u);
#endif
