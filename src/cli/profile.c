// cierge run --profile: the trace into a file, and on stderr what took most of the time in it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "compile/call.h"
#include "compile/compile.h"
#include "yyjson/yyjson.h"

enum { ROWS = 20 };

typedef struct {
  const char *kind, *name, *source;
  double us;
  long calls;
} row;

static void drop_document(void *d) { yyjson_doc_free(d); }
static void drop_text(void *t) { cierge_text_free(t); }

static const char *text_of(yyjson_val *o, const char *name) {
  const char *t = yyjson_get_str(yyjson_obj_get(o, name));
  return t ? t : "";
}

static int costliest_first(const void *a, const void *b) {
  const row *x = *(row *const *)a, *y = *(row *const *)b;
  return x->us != y->us ? (x->us < y->us) - (x->us > y->us) : strcmp(x->name, y->name);
}

static void table(cg_session *s, const char *trace) {
  yyjson_doc *d = yyjson_read(trace, strlen(trace), 0);
  if (!d) cg_fail(s, CIERGE_INTERNAL, "run: the trace does not read");
  cg_defer(s, drop_document, d);
  cg_map rows = {0};
  CG_VEC(row *) all = {0};
  double total = 0;
  size_t i, n;
  yyjson_val *e;
  yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(d), "traceEvents"), i, n, e) {
    const char *kind = text_of(e, "cat"), *name = text_of(e, "name"), *source = text_of(yyjson_obj_get(e, "args"), "source");
    double us = yyjson_get_num(yyjson_obj_get(e, "dur"));
    if (!strcmp(kind, "call")) total += us;
    if (strcmp(kind, "kernel") && strcmp(kind, "torch") && strcmp(kind, "op")) continue;
    const char *key = cg_format(s, "%s\n%s\n%s", kind, name, source);
    row *r = cg_map_get(&rows, key);
    if (!r) {
      r = CG_NEW(s, row);
      *r = (row){kind, name, source, 0, 0};
      cg_map_set(s, &rows, key, r);
      CG_PUSH(s, &all, r);
    }
    r->us += us, r->calls++;
  }
  if (all.n) qsort(all.at, (size_t)all.n, sizeof *all.at, costliest_first);
  cg_print(stderr, "%12s %8s %12s %7s  kernels, LibTorch's regions and (once more) the operators called in these\n", "us", "calls", "us a call", "share");
  for (int k = 0; k < all.n && k < ROWS; k++) {
    const row *r = all.at[k];
    cg_print(stderr, "%12.1f %8ld %12.3f %5.1f %%  %-6s %s  %s\n", r->us, r->calls, r->us / (double)r->calls, total > 0 ? 100 * r->us / total : 0, r->kind, r->name, r->source);
  }
  if (all.n > ROWS) cg_print(stderr, "%d more are in the trace\n", all.n - ROWS);
  long dropped = (long)yyjson_get_int(yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(d), "otherData"), "dropped"));
  if (dropped) cg_print(stderr, "cierge: note: the trace holds the first million events; %ld more are not in it\n", dropped);
}

void cg_profile_write(cg_session *s, cierge_context *c, const char *path) {
  char *trace;
  cg_check(s, cierge_profile_trace(c, &trace));
  cg_defer(s, drop_text, trace);
  cg_save_text(s, path, trace);
  table(s, trace);
}
