// Writes to places that indices name: scatter, index_add, index_copy, index_fill, index_reduce, index_put, put, masked_scatter, and
// their reductions. The result begins as a copy of self; then every index is followed in order, so the last of several writes
// to one place stays. Work is shared between threads along dimensions that are not indexed: the order at a place is always the same.
#include <string.h>

#include "backend/c/attention.h"
#include "backend/c/kernel_rows.h"

enum { BLOCK = 256, COPY_BLOCK = 16384 };

// What is done at the places: a look at the index alone, the neutral element, the value, the mean of what came there, a look at what is
// there now.
typedef enum { CHECK, CLEAR, WRITE, DIVIDE, LOOK } visit;
typedef enum { SET, ADD, MUL, AMAX, AMIN, MEAN } combine;

// One indexed dimension of the result.
typedef struct {
  int dim;
  cg_kernel_input in;
  const char *at;      // where its index lies, over the names below
  bool inner;          // it depends on dimensions behind the first that is indexed
} indexed;

typedef struct {
  cg_kernel *k;
  cg_session *s;
  cg_module *m;
  const cg_node *n;
  cg_str *o;
  cg_dtype t;
  const char *out;
  int rank;
  const cg_expr **dim;                                   // [rank] of the result
  int nspace;                                            // loops over the index tensors
  const cg_expr *space[CG_MAX_RANK];
  const char *p[CG_MAX_RANK];                            // "p0" …
  int nindexed;
  indexed ix[CG_MAX_RANK];
  const char *name[CG_MAX_RANK];                         // of each dimension: "i2", or "t2" where it is indexed
  bool is_indexed[CG_MAX_RANK], wraps;                   // wraps: negative indices count from the end
  const cg_expr *bound[CG_MAX_RANK];                     // how far loops over dimensions that are not indexed go
  const char *value;                                     // C text of what is written, in the computation type
  const char *from;                                      // the pointer that it is read from; NULL: a number
  const char *copied;                                    // the same as it is stored, NULL: value must be converted
  combine how;
  bool include_self;
  const char *wild;                                      // LOOK: the word that is set
  const char *count;                                     // MEAN: how many came to each place, or to each index of the dimension
  const char *last;                                      // and then which of them is the last one
} writer;

static bool is(const cg_node *n, const char *key) { return cg_node_is_op(n, key); }
static bool starts(const cg_node *n, const char *text) { return !strncmp(n->schema->key, text, strlen(text)); }
static cg_value *tensor(const cg_node *n, const char *name) { return cg_arg_tensor(cg_node_arg(n, name)); }
static bool puts_by_tensors(const cg_node *n) { return is(n, "aten::index_put") || is(n, "aten::_unsafe_index_put"); }
static bool along_dim(const cg_node *n) { return starts(n, "aten::index_") && !puts_by_tensors(n); } // indices of one dim alone

static cg_value *source(const cg_node *n) {
  static const char *const names[] = {"src", "source", "values"};
  for (int i = 0; i < 3; i++)
    if (tensor(n, names[i])) return tensor(n, names[i]);
  return NULL;
}

static bool flag(const cg_node *n, const char *name, bool otherwise) {
  double v;
  return cg_arg_double(cg_node_arg(n, name), &v) ? v != 0 : otherwise;
}

// false: a reduction that is not known.
static bool read_combine(const cg_node *n, combine *how) {
  static const struct { const char *name; combine how; } names[] = {{"sum", ADD}, {"add", ADD}, {"prod", MUL}, {"multiply", MUL}, {"amax", AMAX}, {"amin", AMIN}, {"mean", MEAN}};
  const cg_arg *reduce = cg_node_arg(n, "reduce");
  *how = is(n, "aten::scatter_add") || is(n, "aten::index_add") || flag(n, "accumulate", false) ? ADD : SET;
  if (!reduce) return true;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (reduce->kind == CG_A_STR && !strcmp(reduce->str.text, names[i].name)) return *how = names[i].how, true;
  return false;
}

// ---------------------------------------------------------------- claims

static int rank_of(const cg_value *v) { return v->type.rank ? v->type.rank : 1; }
static bool integers(const cg_value *v) { return v && (v->type.dtype == CG_I64 || v->type.dtype == CG_I32); }

static const char *claim_indices(const cg_node *n) {
  const cg_arg *list = cg_node_arg(n, "indices");
  int used = 0;
  for (int i = 0; i < cg_arg_list_len(list); i++) {
    const cg_arg *a = cg_arg_list_at(list, i);
    if (a->kind == CG_A_NONE) continue;
    if (!integers(cg_arg_tensor(a))) return "indexing by a mask";
    used++;
  }
  if (!used) return "indexing by nothing";
  return cg_arg_list_len(list) > tensor(n, "self")->type.rank ? "too many indices" : NULL;
}

static const char *claim(cg_pipeline *p, const cg_node *n) {
  const cg_value *self = tensor(n, "self"), *index = tensor(n, "index"), *from = source(n);
  combine how;
  if (!self || !cg_type_equal(&self->type, &n->result[0]->type)) return "a result unlike self";
  cg_dtype t = self->type.dtype;
  if (from && from->type.dtype != t) return "source and self of different dtypes";
  if (!read_combine(n, &how)) return cg_format(p->s, "%s: a reduction that is not known", n->schema->name);
  if (t == CG_BOOL && how != SET && how != ADD) return cg_format(p->s, "no native bool kernel for %s", n->schema->key);
  if (puts_by_tensors(n)) return claim_indices(n);
  if (!integers(index)) return "indices of this dtype";
  int dim = cg_rows_dim(n, "dim", rank_of(self));
  if (dim < 0) return "a dimension that is not known";
  if (along_dim(n)) {
    if (index->type.rank > 1) return "an index that is no vector";
    return from && rank_of(from) != rank_of(self) ? "a source of another rank" : NULL;
  }
  if (rank_of(index) != rank_of(self) || (from && rank_of(from) != rank_of(self))) return "an index of another rank";
  return NULL;
}

// ---------------------------------------------------------------- what the node means

static const char *place_name(writer *w, const char *stem, int i) { return cg_format(w->s, "%s%d", stem, i); }

static void index_dim(writer *w, int dim, const cg_kernel_input *in) {
  w->is_indexed[dim] = true;
  w->name[dim] = place_name(w, "t", dim);
  w->ix[w->nindexed++] = (indexed){.dim = dim, .in = *in};
}

static void set_value(writer *w, const cg_kernel_input *in, const char *const *index) {
  const char *at = cg_rows_at(w->k, in, index);
  w->value = cg_kernel_load(w->k, in->dtype, in->name, at), w->from = in->name;
  w->copied = in->dtype == w->t ? cg_format(w->s, "%s[%s]", in->name, at) : NULL;
}

static void set_number(writer *w) {
  const cg_arg *a = cg_node_arg(w->n, "value");
  cg_value *v = cg_arg_tensor(a);
  if (v) {
    cg_kernel_input in = cg_rows_read(w->k, v);
    set_value(w, &in, (const char *[]){"0"});
    w->value = cg_rows_cast(w->k, w->value, in.dtype, w->t);
  } else w->value = cg_kernel_scalar(w->k, a, w->t);
}

// scatter: one index for each element; index_…: one for each slice. Both have the source's places.
static void read_scatter(writer *w) {
  cg_kernel_input index = cg_rows_read(w->k, tensor(w->n, "index"));
  int dim = cg_rows_dim(w->n, "dim", w->rank);
  const char *at[CG_MAX_RANK];
  bool slices = along_dim(w->n);
  index_dim(w, dim, &index);
  w->wraps = starts(w->n, "aten::index_fill");
  w->nspace = 1, w->space[0] = index.dim[slices ? 0 : dim];
  for (int d = 0; d < w->rank; d++) {
    at[d] = d == dim ? w->p[0] : w->name[d];
    if (!slices) w->bound[d] = index.dim[d];
  }
  w->ix[0].at = slices ? cg_rows_at(w->k, &index, &w->p[0]) : cg_rows_at(w->k, &index, at);
  for (int d = dim + 1; d < w->rank && !slices; d++) w->ix[0].inner |= !cg_x_is(index.stride[d], 0) && !cg_x_is(index.dim[d], 1);
  cg_value *from = source(w->n);
  if (!from) {
    set_number(w);
    return;
  }
  cg_kernel_input in = cg_rows_read(w->k, from);
  set_value(w, &in, at);
  const cg_arg *alpha = cg_node_arg(w->n, "alpha");
  double factor;
  if (alpha && !(cg_arg_double(alpha, &factor) && factor == 1)) w->value = cg_format(w->s, "%s * %s", cg_kernel_scalar(w->k, alpha, w->t), w->value);
}

// self[indices] = values: the index tensors broadcast together; their common shape stands where they do, or in front.
static void read_put(writer *w) {
  const cg_arg *list = cg_node_arg(w->n, "indices");
  int first = -1, last = -1;
  for (int d = 0; d < cg_arg_list_len(list); d++) {
    cg_value *v = cg_arg_tensor(cg_arg_list_at(list, d));
    if (!v) continue;
    cg_kernel_input in = cg_rows_read(w->k, v);
    index_dim(w, d, &in);
    first = first < 0 ? d : first, last = d;
    if (v->type.rank > w->nspace) w->nspace = v->type.rank;
  }
  w->wraps = true;
  for (int i = 0; i < w->nspace; i++) w->space[i] = cg_x_int(&w->m->exprs, 1);
  for (int i = 0; i < w->nindexed; i++) {
    const cg_kernel_input *in = &w->ix[i].in;
    int off = w->nspace - in->rank;
    if (off < 0) continue; // a 0-dim index
    for (int d = 0; d < in->rank; d++)
      if (!cg_x_is(in->dim[d], 1)) w->space[off + d] = in->dim[d];
  }
  for (int i = 0; i < w->nindexed; i++) {
    int off = w->nspace - w->ix[i].in.rank;
    w->ix[i].at = cg_rows_at(w->k, &w->ix[i].in, off < 0 ? (const char *[]){"0"} : &w->p[off]);
  }
  const char *at[2 * CG_MAX_RANK];
  int r = 0, from = last - first + 1 == w->nindexed ? first : 0;
  for (int d = 0; d <= w->rank; d++) {
    if (d == from)
      for (int i = 0; i < w->nspace; i++) at[r++] = w->p[i];
    if (d < w->rank && !w->is_indexed[d]) at[r++] = w->name[d];
  }
  cg_kernel_input in = cg_rows_read(w->k, source(w->n));
  set_value(w, &in, r < in.rank ? (const char *[]){"0"} : at + r - in.rank);
}

// ---------------------------------------------------------------- text

static void copy_self(writer *w) {
  cg_kernel_input in = cg_rows_read(w->k, tensor(w->n, "self"));
  const char *count = cg_kernel_size(w->k, cg_rows_product(w->k, w->rank, w->dim, NULL));
  cg_str_add(w->o, "  {\n");
  if (in.contiguous && cg_type_equal(&in.value->type, &w->n->result[0]->type)) {
    cg_rows_open(w->o, cg_format(w->s, "(%s + %d) / %d", count, COPY_BLOCK - 1, COPY_BLOCK), cg_format(w->s, "%s / 4", count), "");
    cg_str_addf(w->o, "      const int64_t from = unit * %d, to = from + %d < %s ? from + %d : %s;\n", COPY_BLOCK, COPY_BLOCK, count, COPY_BLOCK, count);
    cg_str_addf(w->o, "      for (int64_t i = from; i < to; i++) %s[i] = %s[i];\n", w->out, in.name);
  } else {
    bool lead[CG_MAX_RANK];
    const char *at[CG_MAX_RANK];
    int last = w->rank - 1;
    for (int d = 0; d < w->rank; d++) lead[d] = d != last, at[d] = place_name(w, "i", d);
    cg_rows_open(w->o, cg_kernel_size(w->k, cg_rows_product(w->k, w->rank, w->dim, lead)), count, "");
    cg_rows_decode(w->k, w->o, 6, "unit", w->rank, w->dim, lead, at);
    cg_str_addf(w->o, "      for (int64_t i%d = 0; i%d < %s; i%d++) %s[%s] = %s[%s];\n", last, last, cg_kernel_size(w->k, w->dim[last]), last, w->out,
                cg_rows_place(w->k, w->rank, w->dim, at), in.name, cg_rows_at(w->k, &in, at + w->rank - in.rank));
  }
  cg_rows_close(w->o);
  cg_str_add(w->o, "  }\n");
}

// `const int64_t t0 = …`, checked: what lies outside is noted and passed over.
static void read_index(writer *w, int indent, const char *name, const char *text, const char *size) {
  cg_str_addf(w->o, "%*sconst int64_t %s_given = %s, %s = %s", indent, "", name, text, name, name);
  if (w->wraps) cg_str_addf(w->o, "_given < 0 ? %s_given + %s : %s_given;\n", name, size, name);
  else cg_str_add(w->o, "_given;\n");
  cg_str_addf(w->o, "%*sif (%s < 0 || %s >= %s) {\n%*s  cg_raise(err, CG_KERNEL_INDEX, %s_given, %s, %d);\n%*s  continue;\n%*s}\n", indent, "", name, name, size, indent, "",
              name, size, cg_kernel_site(w->k), indent, "", indent, "");
}

// Written where self lies: not before all indices were looked at.
static void check_indices(writer *w) {
  const char *numel = cg_kernel_size(w->k, cg_rows_product(w->k, w->rank, w->dim, NULL)), *at[CG_MAX_RANK];
  for (int d = 0; d < CG_MAX_RANK; d++) at[d] = place_name(w, "c", d);
  cg_str_addf(w->o, "  if (%s > 0) {\n", numel);
  for (int i = 0; i < w->nindexed; i++) {
    const indexed *x = &w->ix[i];
    int loops = cg_rows_loops(w->k, w->o, 4, x->in.rank, x->in.dim, NULL, at), indent = 4 + 2 * loops;
    read_index(w, indent, w->name[x->dim], cg_format(w->s, "%s[%s]", x->in.name, cg_rows_at(w->k, &x->in, at)), cg_kernel_size(w->k, w->dim[x->dim]));
    cg_rows_loops_close(w->o, 4, loops);
  }
  cg_str_add(w->o, "    if (err[0]) return cg_raised(err, detail);\n  }\n");
}

static void read_place(writer *w, int indent, const indexed *x) {
  read_index(w, indent, w->name[x->dim], cg_format(w->s, "%s[%s]", x->in.name, x->at), cg_kernel_size(w->k, w->dim[x->dim]));
}

static void read_indices(writer *w, int indent, bool inner) {
  for (int i = 0; i < w->nindexed; i++)
    if (w->ix[i].inner == inner) read_place(w, indent, &w->ix[i]);
}

static const char *combined(writer *w, const char *old) {
  const char *v = w->value;
  bool f = cg_is_float(w->t);
  switch (w->how) {
  case ADD:
  case MEAN: return cg_format(w->s, w->t == CG_BOOL ? "%s | (%s)" : "%s + %s", old, v);
  case MUL: return cg_format(w->s, "%s * (%s)", old, v);
  case AMAX: return cg_format(w->s, f ? "new != new || %s < new ? new : %s" : "%s < new ? new : %s", old, old);
  case AMIN: return cg_format(w->s, f ? "new != new || new < %s ? new : %s" : "new < %s ? new : %s", old, old);
  case SET: break;
  }
  return v;
}

static const char *neutral(writer *w) {
  static const struct { cg_dtype t; const char *least, *most; } ends[] = {{CG_U8, "0", "255"}, {CG_I8, "-128", "127"}, {CG_I16, "-32768", "32767"},
                                                                          {CG_I32, "INT32_MIN", "INT32_MAX"}, {CG_I64, "INT64_MIN", "INT64_MAX"}};
  bool most = w->how == AMIN;
  if (w->how == MUL) return "1";
  if (w->how != AMAX && w->how != AMIN) return "0";
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (ends[i].t == w->t) return most ? ends[i].most : ends[i].least;
  return most ? "INFINITY" : "-INFINITY";
}

// A sum becomes a mean, once; whole numbers are rounded down.
static void divide(writer *w, int indent, const char *to) {
  const char *n = cg_format(w->s, "%s[%s]", w->count, w->last ? w->name[w->ix[0].dim] : "to");
  const char *old = cg_kernel_load(w->k, w->t, w->out, "to"), *T = cg_kernel_computed(w->t);
  const char *mean = cg_is_float(w->t) ? cg_format(w->s, "%s / (%s)%s", old, T, n) : cg_format(w->s, "(%s)cg_idiv(%s, %s)", T, old, n);
  const char *once = w->last ? cg_format(w->s, " && %s[%s] == p0", w->last, w->name[w->ix[0].dim]) : "";
  cg_str_addf(w->o, "%*sif (%s > 1%s) %s = %s%s;\n", indent, "", n, once, to, cg_kernel_convert(w->k, w->t, mean),
              w->last ? "" : cg_format(w->s, ", %s = 1", n));
}

// What is done at out[to].
static void write_element(writer *w, int indent, visit how) {
  const char *place = cg_rows_place(w->k, w->rank, w->dim, w->name), *to = cg_format(w->s, "%s[to]", w->out);
  cg_str_addf(w->o, "%*sconst int64_t to = %s;\n", indent, "", place);
  if (how == LOOK) {
    cg_str_addf(w->o, "%*sif (!(fabs(%s) <= %g)) *(int64_t *)(uintptr_t)%s = 1;\n", indent, "", cg_kernel_load(w->k, w->t, w->out, "to"), CG_EMIT_TAME, w->wild);
    return;
  }
  if (how == CLEAR) {
    if (!w->include_self) cg_str_addf(w->o, "%*s%s = %s;\n", indent, "", to, cg_kernel_convert(w->k, w->t, neutral(w)));
    if (w->count && !w->last) cg_str_addf(w->o, "%*s%s[to] = %d;\n", indent, "", w->count, w->include_self);
    return;
  }
  if (how == DIVIDE) {
    divide(w, indent, to);
    return;
  }
  if (w->how == SET && w->copied) {
    cg_str_addf(w->o, "%*s%s = %s;\n", indent, "", to, w->copied);
    return;
  }
  if (w->how == AMAX || w->how == AMIN) cg_str_addf(w->o, "%*sconst %s new = %s;\n", indent, "", cg_kernel_computed(w->t), w->value);
  const char *old = cg_format(w->s, "(%s)", cg_kernel_load(w->k, w->t, w->out, "to"));
  cg_str_addf(w->o, "%*s%s = %s;\n", indent, "", to, cg_kernel_convert(w->k, w->t, combined(w, old)));
  if (w->count && !w->last) cg_str_addf(w->o, "%*s%s[to]++;\n", indent, "", w->count);
}

// Follows all indices once.
static void follow(writer *w, visit how) {
  int last = w->rank - 1, from = w->rank;
  bool lead[CG_MAX_RANK] = {0}, middle[CG_MAX_RANK] = {0}, split = !w->is_indexed[last];
  for (int d = w->rank - 1; d >= 0; d--)
    if (w->is_indexed[d]) from = d;
  for (int d = 0; d < w->rank; d++) lead[d] = d < from, middle[d] = d > from && !w->is_indexed[d] && d != last;
  const char *rows = cg_kernel_size(w->k, cg_rows_product(w->k, w->rank, w->bound, lead)), *width = split ? cg_kernel_size(w->k, w->bound[last]) : "1";
  const cg_expr *work = cg_rows_product(w->k, w->nspace, w->space, NULL);
  for (int d = 0; d < w->rank; d++)
    if (!w->is_indexed[d]) work = cg_x_mul(&w->m->exprs, work, w->bound[d]);
  cg_str_addf(w->o, "  {\n  const int64_t blocks = (%s + %d) / %d;\n", width, BLOCK - 1, BLOCK);
  cg_rows_open(w->o, cg_format(w->s, "%s * blocks", rows), cg_format(w->s, "2 * %s", cg_kernel_size(w->k, work)), "");
  cg_str_addf(w->o, "      const int64_t row = unit / blocks;\n      (void)row;\n");
  if (split) cg_str_addf(w->o, "      const int64_t from = unit %% blocks * %d, until = from + %d < %s ? from + %d : %s;\n", BLOCK, BLOCK, width, BLOCK, width);
  cg_rows_decode(w->k, w->o, 6, "row", w->rank, w->bound, lead, w->name);
  int indent = 6, loops = cg_rows_loops(w->k, w->o, indent, w->nspace, w->space, NULL, w->p);
  read_indices(w, indent + 2 * loops, false);
  loops += cg_rows_loops(w->k, w->o, indent + 2 * loops, w->rank, w->bound, middle, w->name);
  if (split) cg_str_addf(w->o, "%*sfor (int64_t %s = from; %s < until; %s++) {\n", indent + 2 * loops++, "", w->name[last], w->name[last], w->name[last]);
  read_indices(w, indent + 2 * loops, true);
  write_element(w, indent + 2 * loops, how);
  cg_rows_loops_close(w->o, indent, loops);
  cg_rows_close(w->o);
  cg_str_add(w->o, "  }\n");
}

static writer begin(cg_kernel *k, const cg_node *n) {
  writer w = {.k = k, .s = cg_kernel_session(k), .m = cg_kernel_module(k), .n = n, .o = cg_kernel_body(k), .t = n->result[0]->type.dtype};
  const cg_type *t = &n->result[0]->type;
  const cg_expr *one = cg_x_int(&w.m->exprs, 1);
  w.rank = t->rank ? t->rank : 1;
  w.dim = t->rank ? t->dim : cg_memdup(w.s, &one, sizeof one);
  w.out = cg_kernel_output(k, 0);
  for (int d = 0; d < CG_MAX_RANK; d++) w.p[d] = place_name(&w, "p", d);
  for (int d = 0; d < w.rank; d++) w.name[d] = place_name(&w, "i", d), w.bound[d] = w.dim[d];
  return w;
}

// How many come to a place: counted at the place, or before all, where whole slices go to the indices of one dimension.
static void begin_mean(writer *w) {
  if (!along_dim(w->n)) {
    w->count = cg_kernel_scratch(w->k, CG_I64, cg_rows_product(w->k, w->rank, w->dim, NULL));
    return;
  }
  const indexed *x = &w->ix[0];
  const char *size = cg_kernel_size(w->k, w->dim[x->dim]), *name = w->name[x->dim];
  w->count = cg_kernel_scratch(w->k, CG_I64, w->dim[x->dim]), w->last = cg_kernel_scratch(w->k, CG_I64, w->dim[x->dim]);
  cg_str_addf(w->o, "  for (int64_t i = 0; i < %s; i++) %s[i] = %d;\n", size, w->count, w->include_self);
  int loops = cg_rows_loops(w->k, w->o, 2, 1, w->space, NULL, w->p);
  read_place(w, 4, x);
  cg_str_addf(w->o, "    %s[%s]++, %s[%s] = p0;\n", w->count, name, w->last, name);
  cg_rows_loops_close(w->o, 2, loops);
}

static void look(writer *w, void (*all)(writer *, visit)) {
  w->wild = cg_kernel_wild(w->k, w->out, true);
  cg_str_addf(w->o, "  if (%s)\n", w->wild);
  all(w, LOOK);
}

static bool is_looked_at(const writer *w) { return cg_kernel_over(w->k) && cg_is_float(w->t) && cg_c_attended(w->n->result[0]); }

static void emit(cg_kernel *k, const cg_node *n) {
  cg_kernel_one_by_one(k);
  writer w = begin(k, n);
  read_combine(n, &w.how);
  w.include_self = flag(n, "include_self", true);
  if (puts_by_tensors(n)) read_put(&w);
  else read_scatter(&w);
  bool over = cg_kernel_over(k);
  cg_str_add(w.o, "  int64_t err[4] = {0};\n");
  if (over) check_indices(&w);
  else copy_self(&w);
  if (w.how == MEAN) begin_mean(&w);
  if (w.how == MEAN ? !w.include_self || !w.last : !w.include_self && w.how != SET) follow(&w, CLEAR);
  follow(&w, WRITE);
  if (w.how == MEAN) follow(&w, DIVIDE);
  cg_str_add(w.o, "  if (err[0]) return cg_raised(err, detail);\n");
  if (is_looked_at(&w)) look(&w, follow);
}

const cg_kernel_template cg_kernel_scatter = {"scatter", claim, true, false, emit, .over = true};

// ---------------------------------------------------------------- put, masked_scatter: places in C order, sources one after the other

static const char *claim_serial(cg_pipeline *p, const cg_node *n) {
  const cg_value *self = tensor(n, "self"), *index = tensor(n, "index"), *mask = tensor(n, "mask"), *from = source(n);
  (void)p;
  if (!self || !from || self->type.dtype != n->result[0]->type.dtype) return "a result unlike self";
  if (from->type.dtype != self->type.dtype) return "source and self of different dtypes";
  if (mask) return mask->type.dtype == CG_BOOL ? NULL : "a mask of this kind";
  return integers(index) ? NULL : "indices of this dtype";
}

// Element number `taken` of the source, in C order.
static void take(writer *w, int indent) {
  cg_kernel_input in = cg_rows_read(w->k, source(w->n));
  const char *at[CG_MAX_RANK];
  bool every[CG_MAX_RANK];
  for (int d = 0; d < in.rank; d++) at[d] = place_name(w, "j", d), every[d] = true;
  cg_rows_decode(w->k, w->o, indent, "taken", in.rank, in.dim, every, at);
  set_value(w, &in, at);
}

static void follow_put(writer *w, visit how) {
  const cg_kernel_input *index = &w->ix[0].in;
  cg_str_add(w->o, "  {\n    int64_t next = 0;\n");
  int loops = cg_rows_loops(w->k, w->o, 4, index->rank, index->dim, NULL, w->p), indent = 4 + 2 * loops;
  cg_str_addf(w->o, "%*sconst int64_t taken = next++;\n%*s(void)taken;\n", indent, "", indent, "");
  read_place(w, indent, &w->ix[0]);
  if (how == WRITE) take(w, indent);
  if (how != CHECK) write_element(w, indent, how);
  cg_rows_loops_close(w->o, 4, loops);
  cg_str_add(w->o, "  }\n");
}

static void follow_mask(writer *w, visit how) {
  const cg_kernel_input *mask = &w->ix[0].in;
  const char *size = cg_kernel_size(w->k, cg_type_numel(w->m, &source(w->n)->type));
  cg_str_add(w->o, "  {\n    int64_t next = 0;\n");
  int loops = cg_rows_loops(w->k, w->o, 4, w->rank, w->dim, NULL, w->name), indent = 4 + 2 * loops;
  cg_str_addf(w->o, "%*sif (!%s[%s]) continue;\n", indent, "", mask->name, w->ix[0].at);
  read_index(w, indent, "taken", "next++", size);
  if (how == WRITE) take(w, indent);
  if (how != CHECK) write_element(w, indent, how);
  cg_rows_loops_close(w->o, 4, loops);
  cg_str_add(w->o, "  }\n");
}

// The result as one dimension, of which each index names a place.
static void read_flat(writer *w) {
  const cg_expr *numel = cg_rows_product(w->k, w->rank, w->dim, NULL);
  cg_kernel_input in = cg_rows_read(w->k, tensor(w->n, "index"));
  w->rank = 1, w->dim = cg_memdup(w->s, &numel, sizeof numel);
  index_dim(w, 0, &in);
  w->ix[0].at = cg_rows_at(w->k, &in, w->p);
  w->wraps = true, w->how = flag(w->n, "accumulate", false) ? ADD : SET;
}

static void emit_serial(cg_kernel *k, const cg_node *n) {
  writer w = begin(k, n);
  bool puts = is(n, "aten::put");
  void (*all)(writer *, visit) = puts ? follow_put : follow_mask;
  cg_str_add(w.o, "  int64_t err[4] = {0};\n");
  if (!cg_kernel_over(k)) copy_self(&w);
  if (puts) read_flat(&w);
  else {
    cg_kernel_input mask = cg_rows_read(k, tensor(n, "mask"));
    w.ix[0] = (indexed){.in = mask, .at = cg_rows_at(k, &mask, w.name + w.rank - mask.rank)};
  }
  if (cg_kernel_over(k)) {
    all(&w, CHECK);
    cg_str_add(w.o, "  if (err[0]) return cg_raised(err, detail);\n");
  }
  all(&w, WRITE);
  cg_str_add(w.o, "  if (err[0]) return cg_raised(err, detail);\n");
  if (is_looked_at(&w)) look(&w, all);
}

const cg_kernel_template cg_kernel_scatter_serial = {"scatter_serial", claim_serial, true, false, emit_serial, .over = true};
