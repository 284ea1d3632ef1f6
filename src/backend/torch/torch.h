// LibTorch as the compiler sees it: what passes may ask (meta.c), and how programs are written (write.c).
#ifndef CG_BACKEND_TORCH_TORCH_H
#define CG_BACKEND_TORCH_TORCH_H
#include "backend/torch/program.h"
#include "base/bytes_writer.h"
#include "pass/pass.h"
#include "runtime/torch_plugin.h"

// NULL where LibTorch is not to be had. It is opened by the first question that needs it, and at once where the user names
// custom operator libraries. Throws CIERGE_MISSING where --libtorch or a library is wrong.
cg_torch *cg_torch_connect(cg_pipeline *p);
// The plugin's face; NULL: *why says why not.
const cierge_torch_api_v1 *cg_torch_api(cg_torch *t, const char **why);

// cg_torch's `script` (script.c).
const char *cg_torch_script(cg_torch *t, cg_module *m, const cg_node *n);

// cg_torch's `import_script` (import.c).
const char *cg_torch_import(cg_torch *t, cg_session *s, const cierge_torch_import *in, cierge_torch_imported *out, cierge_code *code);

// Writes the calls of a program. How values and integers are written is the caller's: as registers, or as numbers.
typedef struct cg_torch_writer cg_torch_writer;
struct cg_torch_writer {
  cg_str out;
  void (*value)(cg_torch_writer *w, cg_value *v);             // a tagged value
  void (*integer)(cg_torch_writer *w, const cg_expr *x);      // a tagged value
  int (*script)(cg_torch_writer *w, const cg_node *n);        // the number of a torchop's script
};
// Operator, arguments and mutated arguments of a call; the caller goes on with the results. Gives the number of clones
// that come as results behind the schema's own.
int cg_torch_write_call(cg_torch_writer *w, const cg_node *n);
// Whether the call writes to argument i, which is copied first.
bool cg_torch_mutates(const cg_node *n, int i);
// Whether the argument is copied into the layout that the model had it in.
bool cg_torch_restrides(const cg_node *n, const cg_arg *a);
// How many of n's results are the schema's own.
int cg_torch_own_results(const cg_node *n, int clones);
// Section "libs": what --bundle carries (custom.c).
void cg_torch_libraries_section(cg_emitter *e, cg_str *b);
#endif
