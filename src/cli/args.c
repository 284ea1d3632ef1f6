#include "cli/args.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "compile/call.h"
#include "compile/compile.h"

// ---------------------------------------------------------------- names that are nearly right

// How many letters to change, add, leave out or swap (optimal string alignment: Wagner and Fischer 1974, Lowrance and Wagner 1975).
static int distance(cg_session *s, const char *a, const char *b) {
  int na = (int)strlen(a), nb = (int)strlen(b), width = nb + 1;
  int *d = CG_NEW_ARRAY(s, int, (na + 1) * width);
  for (int i = 0; i <= na; i++)
    for (int j = 0; j <= nb; j++) {
      int *at = &d[i * width + j];
      if (!i || !j) {
        *at = i + j;
        continue;
      }
      *at = d[(i - 1) * width + j - 1] + (a[i - 1] != b[j - 1]);
      if (d[(i - 1) * width + j] + 1 < *at) *at = d[(i - 1) * width + j] + 1;
      if (d[i * width + j - 1] + 1 < *at) *at = d[i * width + j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[(i - 2) * width + j - 2] + 1 < *at) *at = d[(i - 2) * width + j - 2] + 1;
    }
  return d[na * width + nb];
}

const char *cg_cli_near(cg_session *s, const char *word, const char *const *names, int n) {
  enum { LONGEST = 64 };
  const char *best = NULL;
  int least = strlen(word) < LONGEST ? 1 + (int)strlen(word) / 4 : -1; // letters that may be wrong
  for (int i = 0; i < n; i++) {
    int d = strlen(names[i]) < LONGEST && least >= 0 ? distance(s, word, names[i]) : LONGEST;
    if (d <= least) best = names[i], least = d - 1;
  }
  return best ? cg_format(s, "; did you mean %s?", best) : "";
}

// ---------------------------------------------------------------- help

static void print_option(const char *name, const char *argument, char letter, const char *help) {
  cg_print(stdout, "  --%s%s%s", name, argument ? " " : "", argument ? argument : "");
  if (letter) cg_print(stdout, ", -%c%s%s", letter, argument ? " " : "", argument ? argument : "");
  cg_print(stdout, "\n        %s\n", help);
}

static void print_help(const cg_command *c, const cg_cli_option *table, int n, bool compiles) {
  cg_print(stdout, "cierge %s: %s\n\nusage:   cierge %s %s\nexample: %s\n", c->name, c->purpose, c->name, c->takes, c->example);
  if (n || compiles) cg_print(stdout, "\n");
  for (int i = 0; i < n; i++) print_option(table[i].name, table[i].argument, table[i].letter, table[i].help);
  if (n && compiles) cg_print(stdout, "\noptions of compiling:\n");
  for (int i = 0; compiles && i < cg_option_count; i++) print_option(cg_option_rows[i].name, cg_option_rows[i].argument, 0, cg_option_rows[i].help);
}

// ---------------------------------------------------------------- reading

typedef struct {
  cg_session *s;
  const cg_command *command;
  const cg_cli_option *table;
  int n;
  cierge_options *o;
} reader;

_Noreturn static void wrong(const reader *r, const char *why) {
  cg_fail(r->s, CIERGE_USAGE, "%s: %s\nusage: cierge %s%s%s (--help says more)", r->command->name, why, r->command->name, *r->command->takes ? " " : "", r->command->takes);
}

static void take(const reader *r, const cg_cli_option *x, const char *value) {
  if (x->text) *x->text = x->argument ? value : "";
  if (x->words) CG_PUSH(r->s, x->words, value);
  if (!x->number) return;
  char *end;
  errno = 0;
  long v = strtol(value, &end, 10);
  if (errno || end == value || *end || v < 1 || v > 1000000) wrong(r, cg_format(r->s, "--%s takes a number above 0, not '%s'", x->name, value));
  *x->number = (int)v;
}

// Without its dashes and its value.
static const char *bare(cg_session *s, const char *word) {
  word += strspn(word, "-");
  return cg_strndup(s, word, strcspn(word, "="));
}

_Noreturn static void unknown(const reader *r, const char *word) {
  int n = r->n + (r->o ? cg_option_count : 0);
  const char **names = CG_NEW_ARRAY(r->s, const char *, n + 1);
  for (int i = 0; i < n; i++) names[i] = cg_format(r->s, "--%s", i < r->n ? r->table[i].name : cg_option_rows[i - r->n].name);
  wrong(r, cg_format(r->s, "there is no option '%s'%s", word, cg_cli_near(r->s, cg_format(r->s, "--%s", bare(r->s, word)), names, n)));
}

const cg_words *cg_cli_read(cg_session *s, int argc, char **argv, const cg_cli_option *table, int n, cierge_options *o, int least, int most) {
  reader r = {s, cg_command_of(argv[0]), table, n, o};
  int all = n + (o ? cg_option_count : 0), count = 0;
  struct option *options = CG_NEW_ARRAY(s, struct option, all + 2);
  for (int i = 0; i < all; i++) {
    const char *argument = i < n ? table[i].argument : cg_option_rows[i - n].argument;
    options[count++] = (struct option){i < n ? table[i].name : cg_option_rows[i - n].name, argument != NULL, NULL, 0};
  }
  options[count] = (struct option){"help", 0, NULL, 'h'};
  cg_str letters = cg_str_new(s);
  cg_str_add(&letters, "-:h"); // words in their order; a missing argument is told from an unknown option
  for (int i = 0; i < n; i++)
    if (table[i].letter) cg_str_addf(&letters, "%c%s", table[i].letter, table[i].argument ? ":" : "");
  cg_words *words = CG_NEW(s, cg_words);
  opterr = 0, optind = 1;
  for (int c, index; (c = getopt_long(argc, argv, cg_str_text(&letters), options, &index)) != -1;) {
    for (int i = 0; c && c != 1 && i < n; i++)
      if (table[i].letter == c) index = i, c = 0;
    if (c == 'h') return print_help(r.command, table, n, o), NULL;
    if (c == 1) CG_PUSH(s, words, (const char *)optarg);
    else if (c == ':') wrong(&r, cg_format(s, "%s needs an argument", argv[optind - 1]));
    else if (c) unknown(&r, argv[optind - 1]);
    else if (index < n) take(&r, &table[index], optarg);
    else cg_check(s, cierge_options_add(o, options[index].name, optarg));
  }
  for (; optind < argc; optind++) CG_PUSH(s, words, (const char *)argv[optind]); // after "--"
  if (words->n > most) wrong(&r, cg_format(s, "what is '%s'?", words->at[most]));
  if (words->n < least) wrong(&r, cg_format(s, "%.*s is expected", (int)strcspn(r.command->takes, " "), r.command->takes));
  return words;
}
