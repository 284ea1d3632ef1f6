// The command line program: one function for each command, which throws what goes wrong, and what they share.
#ifndef CG_CLI_CLI_H
#define CG_CLI_CLI_H
#include <stdio.h>

#include "base/session.h"
#include "cierge/cierge.h"

void cg_cmd_compile(cg_session *s, int argc, char **argv);
void cg_cmd_run(cg_session *s, int argc, char **argv);
void cg_cmd_verify(cg_session *s, int argc, char **argv);
void cg_cmd_inspect(cg_session *s, int argc, char **argv);
void cg_cmd_explain(cg_session *s, int argc, char **argv);
void cg_cmd_bench(cg_session *s, int argc, char **argv);
void cg_cmd_study(cg_session *s, int argc, char **argv);
void cg_cmd_ops(cg_session *s, int argc, char **argv);
void cg_cmd_blob(cg_session *s, int argc, char **argv);

// progress.c: says what is being done, where stderr is a terminal; NULL: nothing any more, whatever is printed next begins a line.
void cg_progress(const char *text);

void cg_profile_write(cg_session *s, cierge_context *c, const char *path); // profile.c: of a context with profile 2

// printf for what people read: control characters of a file's names and texts are shown, not sent to the terminal.
void cg_print(FILE *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
