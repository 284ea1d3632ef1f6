// Matrix products: linear, mm, addmm, bmm, baddbmm, matmul, mv, dot of integers. All are read as
//   result[z…, m…, n] = beta * add + alpha * sum over k of A[z…, m…, k] * B[z…, k, n]
// by strides over the result's dimensions, and computed by the tile (kernel_gemm.h).
#include <string.h>

#include "backend/c/kernel_low.h"

// ---------------------------------------------------------------- what the node means

typedef struct {
  cg_value *v;
  int dim[CG_MAX_RANK]; // for each dimension of the result: the operand's dimension, -1 none
  int depth;            // the operand's dimension that is summed over
} operand;

typedef struct {
  cg_value *a_value, *b_value, *add;
  const cg_arg *alpha, *beta; // NULL: 1
  operand a, b;
  int rank, nz;               // dimensions of the result; the first nz are batches, then those of A alone, then n
  bool column;                // there is no n: B is a vector
} product;

static bool is(const cg_node *n, const char *key) { return cg_node_is_op(n, key); }

// Which arguments are A, B and what is added. false: not a product.
static bool read_arguments(const cg_node *n, product *p) {
  *p = (product){0};
  const char *a = "self", *b = "mat2", *add = NULL;
  if (is(n, "aten::linear")) a = "input", b = "weight", add = "bias";
  else if (is(n, "aten::addmm")) a = "mat1", add = "self";
  else if (is(n, "aten::baddbmm")) a = "batch1", b = "batch2", add = "self";
  else if (is(n, "aten::addmv")) a = "mat", b = "vec", add = "self";
  else if (is(n, "aten::matmul")) b = "other";
  else if (is(n, "aten::mv")) b = "vec";
  else if (is(n, "aten::dot")) b = "tensor";
  else if (is(n, "aten::vdot")) b = "other";
  else if (!is(n, "aten::mm") && !is(n, "aten::bmm")) return false;
  p->a_value = cg_arg_tensor(cg_node_arg(n, a)), p->b_value = cg_arg_tensor(cg_node_arg(n, b));
  p->add = add ? cg_arg_tensor(cg_node_arg(n, add)) : NULL;
  p->alpha = cg_node_arg(n, "alpha"), p->beta = cg_node_arg(n, "beta");
  return p->a_value && p->b_value;
}

// Lines the operands' dimensions up with the result's.
static void read_dims(const cg_node *n, product *p) {
  int ra = p->a_value->type.rank, rb = p->b_value->type.rank, r = n->result[0]->type.rank;
  p->a.v = p->a_value, p->b.v = p->b_value, p->rank = r;
  bool transposed = is(n, "aten::linear");
  for (int d = 0; d < r; d++) p->a.dim[d] = p->b.dim[d] = -1;
  p->a.depth = ra - 1;
  p->b.depth = rb == 1 ? 0 : transposed ? rb - 1 : rb - 2;
  int at = r; // from the end: n, m, batches
  p->column = rb == 1;
  if (rb > 1) p->b.dim[--at] = transposed ? rb - 2 : rb - 1;
  if (ra > 1) p->a.dim[--at] = ra - 2;
  int za = ra - 2, zb = rb - 2; // batches that are left
  for (int d = at - 1; d >= 0; d--) {
    if (za > 0) p->a.dim[d] = --za;
    if (zb > 0) p->b.dim[d] = --zb;
  }
  // Leading dimensions that B lacks belong to the rows.
  p->nz = at;
  while (p->nz > 0 && (p->b.dim[p->nz - 1] < 0 || cg_x_is(p->b_value->type.dim[p->b.dim[p->nz - 1]], 1))) p->nz--;
  if (p->nz) p->nz = at;
}

static const char *claim(cg_pipeline *pipeline, const cg_node *n) {
  product p;
  if (!read_arguments(n, &p)) return "no native matrix product of this form";
  cg_dtype t = n->result[0]->type.dtype;
  if (!cg_tile_takes(t)) return cg_format(pipeline->s, "no native matrix product of %s", cg_dtypes[t].torch_name);
  if (p.a_value->type.dtype != t || p.b_value->type.dtype != t || (p.add && p.add->type.dtype != t)) return "operands of different dtypes";
  if (p.a_value->type.rank < 1 || p.b_value->type.rank < 1) return "a 0-dim operand";
  if (is(n, "aten::linear") && p.b_value->type.rank != 2 && p.b_value->type.rank != 1) return "a weight of this rank";
  return NULL;
}

// ---------------------------------------------------------------- texts

typedef struct {
  cg_kernel *k;
  cg_session *s;
  cg_module *m;
  const cg_node *n;
  product p;
  cg_tile tile;
  cg_kernel_input a, b, add;
  const cg_type *out;
  const cg_expr *rows, *cols, *depth, *batches;
  const char *index[CG_MAX_RANK]; // "i0" …: C names of the result's indices
  // How A and B are read: pointer text at (z, row 0, depth 0), strides in elements as C text
  const char *a_name, *a_row, *b_name;
  bool a_packed, b_packed, b_direct;
  bool stream;                    // B is packed for cg_tile_stream
  cg_low low;                     // how B is kept if in fewer bits
} writer;

static const cg_expr *one(writer *w) { return cg_x_int(&w->m->exprs, 1); }
static const char *size(writer *w, const cg_expr *e) { return cg_kernel_size(w->k, e); }

static const cg_expr *stride_along(writer *w, const cg_kernel_input *in, const operand *o, int d) {
  const cg_expr *zero = cg_x_int(&w->m->exprs, 0);
  if (o->dim[d] < 0 || cg_x_is(in->dim[o->dim[d]], 1)) return zero; // absent or broadcast
  return in->stride[o->dim[d]];
}

// "offset + i0 * s0 + …" over the result's dimensions from..to-1.
static const char *offset_text(writer *w, const cg_kernel_input *in, const operand *o, int from, int to, bool with_offset) {
  cg_str t = cg_str_new(w->s);
  if (with_offset && !cg_x_is(in->offset, 0)) cg_str_add(&t, size(w, in->offset));
  for (int d = from; d < to; d++) {
    const cg_expr *stride = stride_along(w, in, o, d);
    if (cg_x_is(stride, 0)) continue;
    if (t.n) cg_str_add(&t, " + ");
    cg_str_add(&t, w->index[d]);
    if (!cg_x_is(stride, 1)) cg_str_addf(&t, " * (%s)", size(w, stride));
  }
  if (!t.n) cg_str_add(&t, "0");
  return cg_str_text(&t);
}

// The one stride between rows of A, if there is one.
static const cg_expr *row_stride(writer *w) {
  int last = w->p.rank - 1 - !w->p.column;
  if (last < w->p.nz) return cg_x_int(&w->m->exprs, 0); // one row
  const cg_expr *s = NULL, *inner = one(w);
  for (int d = last; d >= w->p.nz; d--) {
    if (cg_x_is(w->out->dim[d], 1)) continue;
    const cg_expr *mine = stride_along(w, &w->a, &w->p.a, d);
    if (!s) s = mine;
    else if (mine != cg_x_mul(&w->m->exprs, s, inner)) return NULL;
    inner = cg_x_mul(&w->m->exprs, inner, w->out->dim[d]);
  }
  return s ? s : cg_x_int(&w->m->exprs, 0);
}

// `int64_t i2 = row % 5; …` for result dimensions from..to-1 of the linear index `of`.
static void split_index(writer *w, cg_str *o, int indent, const char *of, int from, int to) {
  if (to <= from) return;
  const char *rest = of;
  for (int d = to - 1; d > from; d--) {
    const char *n = size(w, w->out->dim[d]);
    cg_str_addf(o, "%*sconst int64_t %s = %s %% (%s), rest%d = %s / (%s);\n", indent, "", w->index[d], rest, n, d, rest, n);
    rest = cg_format(w->s, "rest%d", d);
  }
  cg_str_addf(o, "%*sconst int64_t %s = %s;\n", indent, "", w->index[from], rest);
}

// ---------------------------------------------------------------- operands

// Whether B is one matrix, expanded: then the batches are rows too.
static bool batches_share_b(writer *w) {
  for (int d = 0; d < w->p.nz; d++)
    if (!cg_x_is(stride_along(w, &w->b, &w->p.b, d), 0)) return false;
  return true;
}

// A constant B, packed now: (batches, panels, depth, nr).
static const char *pack_constant(writer *w) {
  const cg_kernel_input *b = &w->b;
  int64_t depth = w->depth->value, cols = w->cols->value, each = cg_tile_packed(&w->tile, depth, cols), batches = 1;
  int64_t idx[CG_MAX_RANK] = {0}, at[CG_MAX_RANK] = {0};
  for (int d = 0; d < w->p.nz; d++) batches *= w->out->dim[d]->value;
  size_t element = cg_dtypes[w->tile.kept].size, bytes = (size_t)(batches * each) * element;
  char *data = cg_kernel_spare(w->k, bytes);
  int n_dim = w->p.b.dim[w->p.rank - 1];
  for (int64_t z = 0; z < batches; z++) {
    int64_t rest = z;
    for (int d = w->p.nz - 1; d >= 0; d--) at[d] = rest % w->out->dim[d]->value, rest /= w->out->dim[d]->value;
    for (int d = 0; d < w->p.nz; d++)
      if (w->p.b.dim[d] >= 0) idx[w->p.b.dim[d]] = cg_x_is(b->dim[w->p.b.dim[d]], 1) ? 0 : at[d];
    cg_tile_pack(&w->tile, b->dtype, cg_kernel_constant_at(b, idx), b->stride[w->p.b.depth]->value, b->stride[n_dim]->value, depth, cols,
                 data + (size_t)(z * each) * element);
  }
  if (w->low.format) {
    cg_low_pack(w->k, &w->low, &w->tile, b->constant->name, depth, cols, (const float *)data);
    return NULL;
  }
  const char *name = cg_format(w->s, "%s_packed", b->constant->name);
  return cg_kernel_constant(w->k, name, w->tile.kept, 1, (int64_t[]){batches * each}, data, bytes);
}

static bool constant_b(writer *w) {
  if (!w->b.constant || w->p.column || !cg_x_is_int(w->depth) || !cg_x_is_int(w->cols)) return false;
  for (int d = 0; d < w->p.nz; d++)
    if (!cg_x_is_int(w->out->dim[d])) return false;
  for (int d = 0; d < w->b.rank; d++)
    if (!cg_x_is_int(w->b.stride[d])) return false;
  // A batch that repeats one matrix many times is not worth storing so often.
  for (int d = 0; d < w->p.nz; d++)
    if (cg_x_is(stride_along(w, &w->b, &w->p.b, d), 0) && !cg_x_is(w->out->dim[d], 1)) return false;
  return true;
}

// Chooses how A and B are read and writes what prepares them: everything that must be packed is, before the product starts.
static void prepare(writer *w, cg_str *o) {
  cg_expr_pool *x = &w->m->exprs;
  const char *T = w->tile.ctype;
  bool same = w->a.dtype == w->tile.dtype;
  const cg_expr *lda = row_stride(w);
  if (same && lda && cg_x_is(w->a.stride[w->p.a.depth], 1)) w->a_name = w->a.name, w->a_row = size(w, lda);
  else {
    w->a_packed = true;
    w->a_name = cg_kernel_scratch(w->k, w->tile.dtype, cg_x_mul(x, w->batches, cg_x_mul(x, w->rows, w->depth)));
    w->a_row = "depth";
  }
  if (!w->b_packed) { // not a constant
    // B in place where its rows are contiguous and few rows of A would pay for packing it; its last, narrower panel is packed all the same.
    static const char *const ways[] = {"B packed first", "B in place"};
    w->b_direct = same && cg_x_is(w->b.stride[w->p.b.dim[w->p.rank - 1]], 1) && cg_kernel_choose(w->k, "operand", 2, ways, cg_x_hint(w->rows) <= 96);
    const cg_expr *nr = cg_x_int(x, w->tile.nr), *width;
    if (w->b_direct) width = cg_x_is_int(w->cols) && w->cols->value % w->tile.nr == 0 ? NULL : nr;
    else width = cg_x_mul(x, nr, cg_x_floordiv(x, cg_x_add(x, w->cols, cg_x_int(x, w->tile.nr - 1)), nr));
    w->b_name = width ? cg_kernel_scratch(w->k, w->tile.dtype, cg_x_mul(x, w->batches, cg_x_mul(x, width, w->depth))) : NULL;
  }
  if (w->a_packed) {
    cg_str_addf(o, "  // A as rows of %s\n", T);
    cg_str_add(o, "  #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && batches * rows * depth > 100000)\n");
    cg_str_add(o, "  for (int64_t at = 0; at < batches * rows; at++) {\n    const int64_t z = at / rows, row = at % rows;\n    (void)z, (void)row;\n");
    split_index(w, o, 4, "z", 0, w->p.nz);
    split_index(w, o, 4, "row", w->p.nz, w->p.rank - !w->p.column);
    for (int d = 0; d < w->p.rank - !w->p.column; d++) cg_str_addf(o, "    (void)%s;\n", w->index[d]);
    cg_str_addf(o, "    %s(1, depth, %s + %s, 0, %s, %s + at * depth, depth);\n  }\n", cg_tile_copy(w->k, w->a.dtype), w->a.name,
                offset_text(w, &w->a, &w->p.a, 0, w->p.rank - !w->p.column, true), size(w, w->a.stride[w->p.a.depth]), w->a_name);
  }
  if (w->low.format)
    cg_low_prepare(w->k, &w->low, w->rows, w->depth, w->a_packed ? w->a_name : cg_format(w->s, "%s + %s", w->a_name, offset_text(w, &w->a, &w->p.a, 0, 0, true)), w->a_row, o);
  if (w->b_name && !w->b_packed) {
    cg_str_addf(o, "  // B%s as panels (panel, depth, %d)\n", w->b_direct ? "'s last columns" : "", w->tile.nr);
    cg_str_addf(o, "  const int64_t packed = %s;\n", w->b_direct ? "cols % NR ? 1 : 0" : "panels");
    cg_str_add(o, "  #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && batches * packed * depth > 10000)\n");
    cg_str_addf(o, "  for (int64_t at = 0; at < batches * packed; at++) {\n    const int64_t z = at / packed, n0 = (%s) * NR;\n    (void)z;\n",
                w->b_direct ? "panels - 1" : "at % packed");
    split_index(w, o, 4, "z", 0, w->p.nz);
    for (int d = 0; d < w->p.nz; d++) cg_str_addf(o, "    (void)%s;\n", w->index[d]);
    cg_str_add(o, "    const int64_t width = cols - n0 < NR ? cols - n0 : NR;\n");
    const char *n_stride = size(w, w->b.stride[w->p.b.dim[w->p.rank - 1]]);
    cg_str_addf(o, "    %s(depth, width, %s + %s + n0 * (%s), %s, %s, %s + at * depth * NR, width <= NR / 2 ? NR / 2 : NR);\n  }\n",
                cg_tile_copy(w->k, w->b.dtype), w->b.name, offset_text(w, &w->b, &w->p.b, 0, w->p.nz, true), n_stride,
                size(w, w->b.stride[w->p.b.depth]), n_stride, w->b_name);
  }
}

// ---------------------------------------------------------------- the loops

// The accumulator with what is added to it, as C text; `acc` is the name of the sum.
static const char *finished(writer *w) {
  cg_dtype t = w->out->dtype;
  const char *c = w->tile.ctype, *sum = "acc";
  double one_ = 0, beta = 1;
  if (w->p.alpha && !(cg_arg_double(w->p.alpha, &one_) && one_ == 1)) sum = cg_format(w->s, "%s * acc", cg_kernel_scalar(w->k, w->p.alpha, w->tile.dtype));
  if (!w->p.add || (w->p.beta && cg_arg_double(w->p.beta, &beta) && beta == 0)) return sum;
  // `add` broadcasts against the result.
  cg_str at = cg_str_new(w->s);
  if (!cg_x_is(w->add.offset, 0)) cg_str_add(&at, size(w, w->add.offset));
  for (int d = 0; d < w->add.rank; d++) {
    if (cg_x_is(w->add.dim[d], 1) || cg_x_is(w->add.stride[d], 0)) continue;
    if (at.n) cg_str_add(&at, " + ");
    cg_str_addf(&at, "%s * (%s)", w->index[w->p.rank - w->add.rank + d], size(w, w->add.stride[d]));
  }
  const char *x = cg_kernel_load(w->k, t, w->add.name, at.n ? cg_str_text(&at) : "0");
  if (w->p.beta && !(cg_arg_double(w->p.beta, &beta) && beta == 1)) x = cg_format(w->s, "(%s)(%s * %s)", c, cg_kernel_scalar(w->k, w->p.beta, w->tile.dtype), x);
  return cg_format(w->s, "%s + %s", x, sum);
}

// Stores one finished element; the result's indices are in scope.
static void store(writer *w, cg_str *o, int indent, const char *acc) {
  cg_str_addf(o, "%*sconst %s acc = %s;\n", indent, "", w->tile.ctype, acc);
  const char *f = finished(w);
  if (strcmp(f, "acc")) {
    cg_str_addf(o, "%*sconst %s sum = (%s)(%s);\n", indent, "", w->tile.ctype, w->tile.ctype, f);
    f = "sum";
  }
  cg_kernel_store(w->k, o, indent, 0, f, w->index);
}

// B is a vector: one dot product for each row.
static void emit_column(writer *w, cg_str *o) {
  cg_expr_pool *x = &w->m->exprs;
  const char *b = w->b.name, *offset = offset_text(w, &w->b, &w->p.b, 0, 0, true);
  if (w->b.dtype != w->tile.dtype || !cg_x_is(w->b.stride[w->p.b.depth], 1)) {
    w->b_name = cg_kernel_scratch(w->k, w->tile.dtype, w->depth);
    cg_str_addf(o, "  %s(1, depth, %s + %s, 0, %s, %s, depth);\n", cg_tile_copy(w->k, w->b.dtype), b, offset, size(w, w->b.stride[w->p.b.depth]), w->b_name);
    b = w->b_name, offset = "0";
  }
  bool copy = w->a.dtype != w->tile.dtype || !cg_x_is(w->a.stride[w->p.a.depth], 1);
  const char *a = w->a.name;
  const char *scratch = copy ? cg_kernel_scratch(w->k, w->tile.dtype, cg_x_mul(x, w->rows, w->depth)) : NULL;
  cg_tile_units(o, "rows", "rows * depth", "");
  split_index(w, o, 6, "unit", 0, w->p.rank);
  const char *at = cg_format(w->s, "%s + %s", a, offset_text(w, &w->a, &w->p.a, 0, w->p.rank, true));
  if (copy) {
    cg_str_addf(o, "      %s(1, depth, %s, 0, %s, %s + unit * depth, depth);\n", cg_tile_copy(w->k, w->a.dtype), at, size(w, w->a.stride[w->p.a.depth]), scratch);
    at = cg_format(w->s, "%s + unit * depth", scratch);
  }
  store(w, o, 6, cg_format(w->s, "dot_%s(depth, %s, %s + %s)", w->tile.name, at, b, offset));
  cg_tile_units_end(o);
}

// b, its row length and the products of one block of rows with one panel.
static void emit_stream(writer *w, cg_str *o) {
  cg_stream stream = cg_tile_stream(w->k, &w->tile, w->cols->value, false);
  cg_str_addf(o,
              "      const %s *b = %s + z * %lld + n0 * depth; // (depth, ldb)\n"
              "      const int64_t ldb = %s;\n"
              "      for (int64_t step = 0; step < steps; step++) {\n"
              "        const int64_t k0 = step * depth / steps, k1 = (step + 1) * depth / steps;\n"
              "        %s(height, k1 - k0, a + k0, %s, b + k0 * ldb, c, NR, step > 0);\n"
              "      }\n",
              cg_kernel_ctype(w->tile.kept), w->b_name, (long long)cg_tile_packed(&w->tile, w->depth->value, w->cols->value), stream.packed, stream.call, w->a_row);
}

static void emit_block(writer *w, cg_str *o) {
  const char *T = w->tile.ctype, *ldb = "      const int64_t ldb = narrow ? NR / 2 : NR;\n";
  cg_str_add(o, "      const int narrow = width <= NR / 2;\n");
  if (w->b_packed) cg_str_addf(o, "      const %s *b = %s + z * %lld + n0 * depth;\n%s", T, w->b_name, (long long)cg_tile_packed(&w->tile, w->depth->value, w->cols->value), ldb);
  else if (w->b_direct) {
    cg_str_addf(o, "      const %s *b = %s + %s + n0;\n      int64_t ldb = %s;\n", T, w->b.name, offset_text(w, &w->b, &w->p.b, 0, w->p.nz, true),
                size(w, w->b.stride[w->p.b.depth]));
    if (w->b_name) cg_str_addf(o, "      if (width < NR) b = %s + z * depth * NR, ldb = narrow ? NR / 2 : NR;\n", w->b_name);
  } else cg_str_addf(o, "      const %s *b = %s + (z * panels + panel) * depth * NR;\n%s", T, w->b_name, ldb);
  cg_str_addf(o,
              "      for (int64_t step = 0; step < steps; step++) {\n"
              "        const int64_t k0 = step * depth / steps, k1 = (step + 1) * depth / steps;\n"
              "        block_%s(height, narrow, k1 - k0, a + k0, %s, b + k0 * ldb, ldb, c, NR, step > 0);\n"
              "      }\n",
              w->tile.name, w->a_row);
}

static void emit_blocks(writer *w, cg_str *o) {
  int last = w->p.rank - 1;
  const char *T = w->tile.ctype;
  int64_t kc = w->tile.kc, mc = w->tile.mc;
  // Where B is not streamed, A's block stays in the second-level cache: about 1 MB.
  int64_t depth = cg_x_hint(w->depth), most = (1 << 20) / cg_dtypes[w->tile.dtype].size / (depth > 0 ? depth : 1);
  while (!w->stream && mc > 4 * w->tile.mr && mc > most) mc -= w->tile.mr;
  if (w->stream && cg_x_is_int(w->rows) && w->rows->value < mc) mc = w->rows->value;
  cg_str_addf(o, "  enum { NR = %d };\n", w->tile.nr);
  cg_str_addf(o, "  const int64_t panels = (cols + NR - 1) / NR, blocks = (rows + %lld) / %lld;\n", (long long)mc - 1, (long long)mc);
  prepare(w, o);
  if (!w->low.format)
    cg_str_addf(o, "  const int64_t steps = depth > %lld ? (depth + %lld) / %lld : 1; // the depth in pieces for the cache\n", (long long)kc, (long long)kc - 1, (long long)kc);
  cg_tile_units(o, "batches * blocks * panels", "batches * rows * cols * depth",
                cg_format(w->s, "    %s c[%lld * NR] __attribute__((aligned(64))); // (rows of a block, NR)\n", T, (long long)mc));
  bool even = cg_x_is_int(w->cols) && w->cols->value % w->tile.nr == 0;
  cg_str_addf(o, "      const int64_t z = unit / (blocks * panels), block = unit / panels %% blocks, panel = unit %% panels;\n"
                 "      const int64_t m0 = block * rows / blocks, height = (block + 1) * rows / blocks - m0;\n"
                 "      const int64_t n0 = panel * NR, width = %s;\n"
                 "      (void)z;\n",
              even ? "NR" : "cols - n0 < NR ? cols - n0 : NR");
  split_index(w, o, 6, "z", 0, w->p.nz);
  for (int d = 0; d < w->p.nz; d++) cg_str_addf(o, "      (void)%s;\n", w->index[d]);
  if (w->a_packed) cg_str_addf(o, "      const %s *a = %s + (z * rows + m0) * depth;\n", T, w->a_name);
  else cg_str_addf(o, "      const %s *a = %s + %s + m0 * (%s);\n", T, w->a_name, offset_text(w, &w->a, &w->p.a, 0, w->p.nz, true), w->a_row);
  if (w->low.format) cg_low_block(w->k, &w->low, &w->tile, w->depth->value, w->cols->value, w->a_row, o);
  else if (w->stream) emit_stream(w, o);
  else emit_block(w, o);
  cg_str_add(o, "      for (int64_t i = 0; i < height; i++) {\n");
  split_index(w, o, 8, "(m0 + i)", w->p.nz, last);
  for (int d = w->p.nz; d < last; d++) cg_str_addf(o, "        (void)%s;\n", w->index[d]);
  cg_str_addf(o, "        #pragma omp simd\n        for (int64_t j = 0; j < width; j++) {\n          const int64_t %s = n0 + j;\n", w->index[last]);
  store(w, o, 10, "c[i * NR + j]");
  cg_str_add(o, "        }\n      }\n");
  cg_tile_units_end(o);
}

static void emit(cg_kernel *k, const cg_node *n) {
  writer w = {.k = k, .s = cg_kernel_session(k), .m = cg_kernel_module(k), .n = n, .out = &n->result[0]->type};
  cg_expr_pool *x = &w.m->exprs;
  read_arguments(n, &w.p);
  read_dims(n, &w.p);
  w.tile = cg_tile_get(k, w.out->dtype);
  w.a = cg_kernel_read(k, w.p.a_value);
  w.b = cg_kernel_peek(k, w.p.b_value);
  if (w.p.add) w.add = cg_kernel_read(k, w.p.add);
  if (batches_share_b(&w)) w.p.nz = 0;
  for (int d = 0; d < w.p.rank; d++) w.index[d] = cg_format(w.s, "i%d", d);
  int after = w.p.rank - !w.p.column;
  w.rows = one(&w), w.batches = one(&w), w.cols = w.p.column ? one(&w) : w.out->dim[w.p.rank - 1];
  w.depth = w.a.dim[w.p.a.depth];
  for (int d = 0; d < w.p.nz; d++) w.batches = cg_x_mul(x, w.batches, w.out->dim[d]);
  for (int d = w.p.nz; d < after; d++) w.rows = cg_x_mul(x, w.rows, w.out->dim[d]);
  if (constant_b(&w)) {
    w.b_packed = true, w.stream = w.tile.lanes > 1;
    if (w.stream) w.tile = cg_tile_wide(k, &w.tile, w.cols->value);
    if (w.p.nz) w.tile = cg_tile_keep(&w.tile, w.b.dtype);
    else w.low = cg_low_choose(k, &w.tile, w.out->dtype, w.rows, w.depth->value);
    w.b_name = pack_constant(&w);
  }
  else w.b = cg_kernel_read(k, w.p.b_value);
  if (cg_x_is(w.rows, 0) || cg_x_is(w.cols, 0) || cg_x_is(w.batches, 0)) return; // nothing to compute
  cg_str *o = cg_kernel_body(k);
  cg_str_addf(o, "  const int64_t rows = %s, depth = %s;\n", size(&w, w.rows), size(&w, w.depth));
  if (!w.p.column) cg_str_addf(o, "  const int64_t cols = %s, batches = %s;\n", size(&w, w.cols), size(&w, w.batches));
  if (w.b_packed) cg_kernel_note(k, cg_format(w.s, "weights %s", cg_low_name(&w.low, &w.tile)));
  if (w.p.column) emit_column(&w, o);
  else emit_blocks(&w, o);
}

const cg_kernel_template cg_kernel_matmul = {"matmul", claim, true, true, emit};
