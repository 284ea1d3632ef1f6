// Runs a program of constants while the model that it is part of is compiled: through the compiler and the runtime, as any program.
#include <string.h>

#include "compile/call.h"

static void lend(cg_session *s, cierge_context *c, size_t i, const cg_constant *k) {
  const cg_dtype_info *d = &cg_dtypes[k->type.dtype];
  int rank = k->type.rank;
  int64_t *size = CG_NEW_ARRAY(s, int64_t, rank + 1), *stride = k->type.stride ? CG_NEW_ARRAY(s, int64_t, rank + 1) : NULL;
  for (int j = 0; j < rank; j++) {
    size[j] = k->type.dim[j]->value;
    if (stride) stride[j] = k->type.stride[j]->value;
  }
  uint64_t offset = k->type.offset ? (uint64_t)k->type.offset->value * d->size : 0;
  DLTensor t = {.data = (void *)k->data, .device = {kDLCPU, 0}, .ndim = rank, .dtype = {d->dl_code, d->dl_bits, 1}, .shape = size, .strides = stride,
                .byte_offset = offset};
  cg_check(s, cierge_input_set(c, i, &t, CIERGE_READ_ONLY));
}

// The kernels are for any x86-64 of 2009 or later, whatever the model's target, and run on one thread: the bytes do not depend on who compiles.
void cg_evaluate(cg_pipeline *p, cg_module *m, const cg_constant *const *in, void *const *out) {
  cg_session *s = m->s;
  cg_options *o = cg_memdup(s, p->opt, sizeof *o);
  const cg_options plain = {.target = "x86-64-v2", .cc = p->opt->cc, .fuse_f32 = p->opt->fuse_f32, .verify = p->opt->verify, .native = true,
                            .backends = (const cg_backend *const[]){cg_backend_find("c"), NULL}, .libtorch = "none"};
  *o = plain;
  cg_pipeline *q = CG_NEW(s, cg_pipeline);
  *q = (cg_pipeline){.s = s, .opt = o, .host = p->host};
  cg_compilation c = cg_compile_module(q, m, false);
  const char *path = cg_temporary(s, "constants");
  cg_write_artifact(&c, path);
  cierge_program *program;
  cierge_context *context;
  cg_open_artifact(s, o, path, 1, false, &program, &context);
  for (int i = 0; i < m->inputs.n; i++) lend(s, context, (size_t)i, in[i]);
  cg_check(s, cierge_run(context));
  for (int i = 0; i < m->main->result.n; i++) {
    const DLTensor *t;
    cg_check(s, cierge_output_get(context, (size_t)i, &t));
    size_t n = (size_t)t->dtype.bits / 8;
    for (int d = 0; d < t->ndim; d++) n *= (size_t)t->shape[d];
    if (n) memcpy(out[i], (const char *)t->data + t->byte_offset, n);
  }
}
