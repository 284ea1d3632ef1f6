// Inside the reading of TorchScript programs (.pt).
//
// pt.c         the archive, handed to the plugin; the text that comes back, read
// pt_inputs.c  what the user says of the inputs: --inputs, --input
// pt_types.c   types for the plugin, line by line
// pt_strides.c strides where sizes are open
#ifndef CG_FRONTEND_PT_H
#define CG_FRONTEND_PT_H
#include "../plugin/torch/cierge_torch_import.h"
#include "ir/text_parser.h"
#include "pass/pass.h"

typedef CG_VEC(cierge_torch_import_input) cg_pt_inputs;
// Types by example (opt->inputs), then what opt->script_inputs says. Throws.
cg_pt_inputs cg_pt_read_inputs(cg_pipeline *p);

// The lines that the plugin gave, as a function that grows; nothing throws through the plugin.
typedef struct {
  cg_pipeline *p;
  const cg_pt_inputs *inputs;
  cg_text_parser *lines;
  const char *text;      // of the call that runs
  const char *other;
  int sample;
  cg_str answer;
} cg_pt_types;
void cg_pt_types_connect(cg_pt_types *t, cierge_torch_import *in);
// `sym` lines of all symbols that there are.
void cg_pt_symbols(const cg_pt_types *t, cg_str *b);
// Strides of what the text says none of.
void cg_pt_lay_out(cg_module *m);
#endif
