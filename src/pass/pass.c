// The pipeline's table, in the order the passes run.
#include "pass/pass.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "pass/declare.h"

const char *const cg_precision_names[CG_PRECISIONS] = {"f32", "bf16", "int8-dynamic", "int4-weight"};

const cg_pass cg_passes[] = {
    {"safety", cg_pass_safety, "operators that reach beyond tensors are refused"},
    {"scripts", cg_pass_scripts, "what torchop's scripts write to and keep is asked of LibTorch"},
    {"functionalise", cg_pass_functionalise, "in-place operators and views become values, mutations become updates"},
    {"infer", cg_pass_infer, "every result gets a type; what the model records is checked", true},
    {"fold", cg_pass_fold, "known sizes and scalars become literals, views of constants become constants", true},
    {"simplify", cg_pass_simplify, "identities, common subexpressions and dead code go", true},
    {"constants", cg_pass_constants, "what depends on constants alone is computed and becomes a constant", true},
    {"fold-norm", cg_pass_fold_norm, "normalisations behind convolutions and linear layers become part of their weights", true},
    {"decompose", cg_pass_decompose, "composite operators become what backends know", true},
    {"fold", cg_pass_fold, "the same, over what decomposition made", true},
    {"simplify", cg_pass_simplify, "the same, over what decomposition made", true},
    {"constants", cg_pass_constants, "the same, over what decomposition made", true},
    {"partition", cg_pass_partition, "nodes are claimed, regions lifted to functions", true},
};
const int cg_pass_count = sizeof cg_passes / sizeof *cg_passes;

void cg_took(const cg_options *o, uint64_t start, const char *what) {
  if (o->time_passes) fprintf(stderr, "%8.2f ms  %s\n", (double)(cg_now() - start) / 1e6, what);
}

void cg_tell(const cg_options *o, cg_session *s, const char *fmt, ...) {
  if (!o->progress) return;
  va_list ap;
  va_start(ap, fmt);
  o->progress(cg_vformat(s, fmt, ap));
  va_end(ap);
}

void cg_passes_run(cg_pipeline *p, cg_module *m) {
  cg_check_declared(p);
  for (int i = 0; i < cg_pass_count; i++) {
    uint64_t start = cg_now();
    cg_tell(p->opt, p->s, "pass %d of %d: %s", i + 1, cg_pass_count, cg_passes[i].name);
    cg_passes[i].run(p, m);
    cg_took(p->opt, start, cg_passes[i].name);
    if (p->opt->verify) cg_verify(m, cg_passes[i].name, cg_passes[i].typed);
    if (p->opt->dump_after && !strcmp(p->opt->dump_after, cg_passes[i].name)) {
      cg_str text = cg_str_new(p->s);
      cg_print_module(&text, m);
      fputs(cg_str_text(&text), stderr);
    }
  }
}
