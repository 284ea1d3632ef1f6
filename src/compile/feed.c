// Which array is which input; outputs back to arrays.
#include "compile/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compile/call.h"

typedef struct {
  DLTensor t;
  cg_array array; // C order, lives in the session
  void *copy;     // what the program writes to; NULL: it only reads
  bool given;
} feed_input;

struct cg_feed {
  cg_session *s;
  const cierge_program *p;
  feed_input *input;
  size_t n;
};

// input_7, and NumPy's arr_7 for an array without a name -> 7; -1: another name
static long numbered(const char *name) {
  size_t prefix = !strncmp(name, "input_", 6) ? 6 : !strncmp(name, "arr_", 4) ? 4 : 0;
  if (!prefix || !name[prefix]) return -1;
  char *end;
  long v = strtol(name + prefix, &end, 10);
  return *end || v < 0 || v > 1000000 ? -1 : v;
}

static long by_name(const cierge_program *p, const char *name) {
  for (size_t i = 0; i < cierge_input_count(p); i++)
    if (!strcmp(cierge_input_spec(p, i)->name, name)) return (long)i;
  return -1;
}

// "x, y, …"
static const char *names(cg_session *s, const cierge_program *p) {
  cg_str o = cg_str_new(s);
  size_t n = cierge_input_count(p), i = 0;
  for (; i < n && o.n < 200; i++) cg_str_addf(&o, "%s%s", i ? ", " : "", cierge_input_spec(p, i)->name);
  if (i < n) cg_str_add(&o, ", …");
  return n ? cg_str_text(&o) : "none";
}

static DLTensor tensor_of(cg_array *a, void *data) {
  const cg_dtype_info *d = &cg_dtypes[a->dtype];
  return (DLTensor){.data = data, .device = {kDLCPU, 0}, .ndim = a->rank, .dtype = {d->dl_code, d->dl_bits, 1}, .shape = a->size};
}

// A recorded constant may be given, if it says the same.
static void check_constant(cg_session *s, const char *file, const cierge_spec *spec, const cg_array *a) {
  char text[64] = "";
  long long i = 0;
  double d = 0; // both copied: in a file numbers lie anywhere
  if (!a->rank && a->dtype == CG_I64) snprintf(text, sizeof text, "%lld", *(long long *)memcpy(&i, a->data, sizeof i));
  if (!a->rank && a->dtype == CG_BOOL) snprintf(text, sizeof text, "%s", *(const uint8_t *)a->data ? "True" : "False");
  if (!a->rank && a->dtype == CG_F64) {
    cg_str b = cg_str_new(s);
    cg_str_add_double(&b, *(double *)memcpy(&d, a->data, sizeof d));
    snprintf(text, sizeof text, "%s", cg_str_text(&b));
  }
  if (strcmp(text, spec->constant))
    cg_fail(s, CIERGE_BAD_INPUT, "%s: input %s is the constant %s of the exported program; the array says %s", file, spec->name, spec->constant,
            *text ? text : "something else");
}

cg_feed *cg_feed_new(cg_session *s, const cierge_program *p, const char *file, const cg_array_vec *arrays) {
  cg_feed *f = CG_NEW(s, cg_feed);
  *f = (cg_feed){s, p, CG_NEW_ARRAY(s, feed_input, cierge_input_count(p) + 1), cierge_input_count(p)};
  int by_number = 0;
  for (int i = 0; i < arrays->n; i++) by_number += numbered(arrays->at[i].name) >= 0 && by_name(p, arrays->at[i].name) < 0;
  if (by_number && by_number != arrays->n)
    cg_fail(s, CIERGE_BAD_INPUT, "%s: arrays are named input_i or by the program's own names, never mixed", file);
  for (int i = 0; i < arrays->n; i++) {
    cg_array *a = &arrays->at[i];
    long k = by_number ? numbered(a->name) : by_name(p, a->name);
    if (k < 0 || (size_t)k >= f->n) cg_fail(s, CIERGE_BAD_INPUT, "%s: the program has no input %s; it has: %s", file, a->name, names(s, p));
    feed_input *in = &f->input[k];
    const cierge_spec *spec = cierge_input_spec(p, (size_t)k);
    if (in->given) cg_fail(s, CIERGE_BAD_INPUT, "%s: input %s is there twice", file, a->name);
    if (spec->constant) {
      check_constant(s, file, spec, a);
      continue;
    }
    in->given = true;
    in->array = *a;
    in->t = tensor_of(&in->array, (void *)a->data);
  }
  for (size_t i = 0; i < f->n; i++)
    if (!f->input[i].given && !cierge_input_spec(p, i)->constant)
      cg_fail(s, CIERGE_BAD_INPUT, "%s: input %s (input_%zu) is missing", file, cierge_input_spec(p, i)->name, i);
  for (size_t k = 0; k < cierge_mutated_count(p); k++) {
    feed_input *in = &f->input[cierge_mutated_input(p, k)];
    in->copy = cg_alloc(s, in->array.bytes ? in->array.bytes : 1);
    in->t.data = in->copy;
  }
  return f;
}

static cg_array_vec zeros(cg_session *s, const cierge_program *p) {
  cg_array_vec out = {0};
  for (size_t i = 0; i < cierge_input_count(p); i++) {
    const cierge_spec *spec = cierge_input_spec(p, i);
    if (spec->constant) continue;
    cg_array a = {.name = spec->name, .dtype = (cg_dtype)cg_dtype_by_torch_name(spec->dtype), .rank = spec->rank};
    for (int k = 0; k < spec->rank; k++) a.size[k] = spec->sizes[k] < 0 ? 2 : spec->sizes[k];
    a.bytes = cg_array_bytes(s, "inputs", &a);
    a.data = cg_alloc(s, a.bytes ? a.bytes : 1);
    CG_PUSH(s, &out, a);
  }
  return out;
}

cg_feed *cg_feed_or_zeros(cg_session *s, const cierge_program *p, const char *file) {
  cg_array_vec arrays = file ? cg_arrays_read(s, file) : zeros(s, p);
  return cg_feed_new(s, p, file ? file : "zeros", &arrays);
}

const char *cg_feed_text(const cg_feed *f) {
  cg_str o = cg_str_new(f->s);
  for (size_t i = 0; i < f->n; i++)
    if (f->input[i].given) cg_str_addf(&o, "%s%s %s", o.n ? ", " : "", cierge_input_spec(f->p, i)->name, cg_array_type(f->s, &f->input[i].array));
  return o.n ? cg_str_text(&o) : "none";
}

void cg_feed_set(cg_feed *f, cierge_context *c) {
  for (size_t i = 0; i < f->n; i++) {
    feed_input *in = &f->input[i];
    if (in->copy && in->array.bytes) memcpy(in->copy, in->array.data, in->array.bytes);
    if (in->given) cg_check(f->s, cierge_input_set(c, i, &in->t, in->copy ? 0 : CIERGE_READ_ONLY));
  }
}

static cg_array array_of(cg_session *s, const char *name, const DLTensor *t) {
  cg_array a = {.name = name, .rank = t->ndim};
  int d = cg_dtype_by_dlpack(t->dtype.code, t->dtype.bits);
  a.dtype = (cg_dtype)(d < 0 ? CG_U8 : d);
  for (int i = 0; i < t->ndim; i++) a.size[i] = t->shape[i];
  a.bytes = cg_array_bytes(s, "output", &a);
  a.data = a.bytes ? cg_memdup(s, (const char *)t->data + t->byte_offset, a.bytes) : cg_alloc(s, 1);
  return a;
}

void cg_feed_collect(cg_feed *f, cierge_context *c, const char *prefix, cg_array_vec *out) {
  for (size_t i = 0; i < cierge_output_count(f->p); i++) {
    const DLTensor *t;
    cg_check(f->s, cierge_output_get(c, i, &t));
    if (!t) continue;
    cg_array a = array_of(f->s, cg_format(f->s, "%soutput_%zu", prefix, i), t);
    CG_PUSH(f->s, out, a);
  }
  for (size_t k = 0; k < cierge_mutated_count(f->p); k++) {
    const DLTensor *t;
    cg_check(f->s, cierge_mutated_get(c, k, &t));
    cg_array a = array_of(f->s, cg_format(f->s, "%smutated_%s", prefix, cierge_mutated_spec(f->p, k)->name), t);
    CG_PUSH(f->s, out, a);
  }
}
