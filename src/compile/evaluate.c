// Runs a program of constants while the model that it is part of is compiled: through the compiler and the runtime, as any program.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compile/compile.h"

static void remove_file(void *path) { unlink(path); }
static void drop_program(void *p) { cierge_program_free(p); }
static void drop_context(void *c) { cierge_context_free(c); }

static const char *temporary(cg_session *s) {
  const char *base = getenv("TMPDIR");
  char *path = cg_format(s, "%s/cierge-constants-XXXXXX", base && *base ? base : "/tmp");
  int fd = mkstemp(path);
  if (fd < 0) cg_fail(s, CIERGE_IO, "no temporary file can be made as %s", path);
  close(fd);
  cg_defer(s, remove_file, path);
  return path;
}

static void check(cg_session *s, cierge_status *status) {
  if (!status) return;
  char text[1000];
  cierge_code code = cierge_status_code(status);
  strncpy(text, cierge_status_message(status), sizeof text - 1)[sizeof text - 1] = 0;
  cierge_status_free(status);
  cg_fail(s, code, "%s", text);
}

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
  check(s, cierge_input_set(c, i, &t, CIERGE_READ_ONLY));
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
  const char *path = temporary(s);
  cg_write_artifact(&c, path);
  cierge_program *program = NULL;
  cierge_context *context = NULL;
  check(s, cierge_load(path, NULL, &program));
  cg_defer(s, drop_program, program);
  check(s, cierge_context_new(program, &(cierge_context_options){.size = sizeof(cierge_context_options), .threads = 1}, &context));
  cg_defer(s, drop_context, context);
  for (int i = 0; i < m->inputs.n; i++) lend(s, context, (size_t)i, in[i]);
  check(s, cierge_run(context));
  for (int i = 0; i < m->main->result.n; i++) {
    const DLTensor *t;
    check(s, cierge_output_get(context, (size_t)i, &t));
    size_t n = (size_t)t->dtype.bits / 8;
    for (int d = 0; d < t->ndim; d++) n *= (size_t)t->shape[d];
    if (n) memcpy(out[i], (const char *)t->data + t->byte_offset, n);
  }
}
