// What is being done, in one line of a terminal that the next text replaces. Elsewhere nothing is said.
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"

static bool shown;

void cg_progress(const char *text) {
  if (!isatty(2) || (!text && !shown)) return;
  fprintf(stderr, text ? "\rcierge: %-70.70s" : "\r%78s\r", text ? text : "");
  shown = text != NULL;
}
