// What a command line may say: tables, from which it is read, from which --help is printed, and among whose names a misspelled one is looked for.
#ifndef CG_CLI_ARGS_H
#define CG_CLI_ARGS_H
#include "base/vec.h"
#include "cli/cli.h"

CG_VEC_TYPE(cg_words, const char *);

// A command: main.c has the table of them.
typedef struct {
  const char *name, *takes;     // what it takes besides options: "OUT.cierge"
  const char *purpose, *example; // for --help
  void (*run)(cg_session *s, int argc, char **argv); // argv[0] is its name
} cg_command;
const cg_command *cg_command_of(const char *name); // NULL: there is none

// An option of a command. One of text, number and words says where it goes.
typedef struct {
  const char *name, *argument;  // argument NULL: a flag, whose text becomes ""
  const char *help;
  const char **text;
  int *number;                  // 1 to 1000000
  cg_words *words;              // may be given repeatedly
  char letter;                  // its short form: -o; 0: none
} cg_cli_option;

// Reads argv into the options, and into o (NULL: takes none) those of compiling; gives the words that are no options, at least `least`
// and at most `most`. Throws CIERGE_USAGE. NULL: --help was asked for and has been printed.
const cg_words *cg_cli_read(cg_session *s, int argc, char **argv, const cg_cli_option *table, int n, cierge_options *o, int least, int most);

// Options of compiling, which go with the session.
cierge_options *cg_cli_options(cg_session *s);

// The best of n names for one that is none of them, for a text: "; did you mean NAME?"; "" where none is near.
const char *cg_cli_near(cg_session *s, const char *word, const char *const *names, int n);
#endif
