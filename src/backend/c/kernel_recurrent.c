// Recurrent layers: lstm, gru, rnn_tanh, rnn_relu, all layers and directions in one function.
//
// What a layer's input gives to the gates is one product over all time steps. Then the steps: each unit of work is a block of
// hidden units, whose gates' weights lie side by side, so that the gates are combined while they are in the first cache; the
// threads meet once a step. The number of threads does not change a result: a unit is computed by one of them.
#include <string.h>

#include "backend/c/kernel_gemm.h"

enum { ROWS = 8 }; // of a batch that are done at a time

typedef struct {
  const char *key, *name;
  int gates;
  const char *step;  // from x<q> (what the input gives), y<q> (what the state gives), h, c, bn: sets h, c
} cell;

static const cell cells[] = {
  {"aten::lstm.input", "lstm", 4, "c = SIG(x1 + y1) * c + SIG(x0 + y0) * TANH(x2 + y2);\n            h = SIG(x3 + y3) * TANH(c);"},
  {"aten::gru.input", "gru", 3, "const T fresh = TANH(x2 + SIG(x0 + y0) * (y2 + bn));\n            h = (h - fresh) * SIG(x1 + y1) + fresh;"},
  {"aten::rnn_tanh.input", "rnn_tanh", 1, "h = TANH(x0 + y0);"},
  {"aten::rnn_relu.input", "rnn_relu", 1, "h = x0 + y0 < 0 ? 0 : x0 + y0;"},
};

static const cell *cell_of(const cg_node *n) {
  for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
    if (cg_node_is_op(n, cells[i].key)) return &cells[i];
  return NULL;
}

// ---------------------------------------------------------------- arguments

static bool flag(const cg_node *n, const char *name) {
  double v = 0;
  const cg_arg *a = cg_node_arg(n, name);
  return a && cg_arg_double(a, &v) && v != 0;
}

static int64_t count(const cg_node *n, const char *name) {
  int64_t v = 0;
  cg_arg_int_const(cg_node_arg(n, name), &v);
  return v;
}

static cg_value *parameter(const cg_node *n, int i) { return cg_arg_tensor(cg_arg_list_at(cg_node_arg(n, "params"), i)); }
static cg_value *state(const cg_node *n, int i) { return cg_arg_tensor(cg_arg_list_at(cg_node_arg(n, "hx"), i)); }

static const char *claim(cg_pipeline *p, const cg_node *n) {
  static const char *const literals[] = {"has_biases", "num_layers", "train", "dropout", "bidirectional", "batch_first"};
  const cell *kind = cell_of(n);
  const cg_value *x = cg_arg_tensor(cg_node_arg(n, "input"));
  double v;
  if (!kind || !x || x->type.rank != 3) return "an input that is not of rank 3";
  cg_dtype t = x->type.dtype;
  if (!cg_is_float(t)) return cg_format(p->s, "dtype %s", cg_dtypes[t].text);
  for (size_t i = 0; i < sizeof literals / sizeof *literals; i++)
    if (!cg_arg_double(cg_node_arg(n, literals[i]), &v)) return cg_format(p->s, "%s is not a literal", literals[i]);
  if (flag(n, "train") && flag(n, "dropout")) return "dropout between layers";
  int64_t layers = count(n, "num_layers"), directions = 1 + flag(n, "bidirectional"), each = flag(n, "has_biases") ? 4 : 2;
  if (layers < 1 || cg_arg_list_len(cg_node_arg(n, "params")) != layers * directions * each) return "weights of another form (proj_size)";
  for (int i = 0; i < cg_arg_list_len(cg_node_arg(n, "hx")); i++) {
    const cg_value *h = state(n, i);
    if (!h || h->type.rank != 3 || h->type.dtype != t || !cg_x_is_int(h->type.dim[2]) || !h->type.dim[2]->value) return "a state of another form";
  }
  if (!cg_x_is_int(x->type.dim[2])) return "an input whose width is not fixed";
  const cg_expr *hidden = state(n, 0)->type.dim[2];
  for (int i = 0; i < layers * directions * each; i++) {
    const cg_value *w = parameter(n, i);
    if (!w || !w->constant || w->constant->mutated || !w->constant->data) return "weights that are not constants";
    if (w->type.dtype != t || !cg_type_is_static(&w->type) || w->type.dim[0]->value != kind->gates * hidden->value) return "weights of another form";
    for (int d = 0; w->type.stride && d < w->type.rank; d++)
      if (!cg_x_is_int(w->type.stride[d])) return "weights whose strides are not known";
  }
  return NULL;
}

// ---------------------------------------------------------------- packing

typedef struct {
  cg_kernel *k;
  cg_session *s;
  const cg_node *n;
  const cell *kind;
  cg_tile tile;
  int64_t hidden, blocks; // blocks of tile.nr hidden units
  bool biases;
} writer;

static size_t panels_bytes(const writer *w, const cg_tile *t, int64_t depth) {
  return (size_t)(w->blocks * w->kind->gates * depth * t->nr) * cg_dtypes[t->kept].size;
}

// w[gates * hidden][depth] (or a vector: depth 1) as panels [block][gate][depth][nr] of t->kept, into zeroed memory of panels_bytes.
static void panels(writer *w, const cg_tile *t, const cg_value *value, int64_t depth, char *to) {
  cg_kernel_input in = cg_kernel_peek(w->k, (cg_value *)value);
  size_t size = cg_dtypes[t->kept].size;
  int64_t nr = t->nr;
  for (int64_t block = 0; block < w->blocks; block++)
    for (int64_t gate = 0; gate < w->kind->gates; gate++)
      for (int64_t j = 0; j < nr && block * nr + j < w->hidden; j++)
        for (int64_t i = 0; i < depth; i++) {
          int64_t at[2] = {gate * w->hidden + block * nr + j, i};
          cg_tile_convert(t, in.dtype, cg_kernel_constant_at(&in, at), to + (size_t)(((block * w->kind->gates + gate) * depth + i) * nr + j) * size);
        }
}

static const char *packed(writer *w, cg_value *v, int64_t depth) {
  cg_tile t = cg_tile_keep(&w->tile, v->type.dtype);
  size_t bytes = panels_bytes(w, &t, depth);
  char *data = cg_kernel_spare(w->k, bytes);
  panels(w, &t, v, depth, data);
  return cg_kernel_constant(w->k, cg_format(w->s, "%s_packed", v->constant->name), t.kept, 1, (int64_t[]){(int64_t)(bytes / cg_dtypes[t.kept].size)}, data, bytes);
}

static double number(const writer *w, const char *at) {
  float f;
  double d;
  if (w->tile.dtype == CG_F64) memcpy(&d, at, sizeof d);
  else memcpy(&f, at, sizeof f), d = (double)f;
  return d;
}

// Both biases as one, but for gru's last gate, where the state's own comes inside a product: *inner.
static const char *bias(writer *w, int first, const char **inner) {
  size_t size = cg_dtypes[w->tile.dtype].size, bytes = panels_bytes(w, &w->tile, 1);
  *inner = "NULL";
  if (!w->biases) return "NULL";
  cg_value *b = parameter(w->n, first), *b2 = parameter(w->n, first + 1);
  char *sum = cg_alloc(w->s, bytes), *other = cg_alloc(w->s, bytes);
  panels(w, &w->tile, b, 1, sum), panels(w, &w->tile, b2, 1, other);
  int64_t all = (int64_t)(bytes / size), nr = w->tile.nr, q = w->kind->gates;
  bool split = q == 3;
  char *own = cg_alloc(w->s, (size_t)(w->blocks * nr) * size);
  for (int64_t i = 0; i < all; i++) {
    char *x = sum + (size_t)i * size, *y = other + (size_t)i * size;
    if (split && i / nr % q == 2) memcpy(own + (size_t)(i / (nr * q) * nr + i % nr) * size, y, size);
    else if (size == 8) { double v = number(w, x) + number(w, y); memcpy(x, &v, size); }
    else { float v = (float)number(w, x) + (float)number(w, y); memcpy(x, &v, size); }
  }
  if (split)
    *inner = cg_kernel_constant(w->k, cg_format(w->s, "%s_inner", b2->constant->name), w->tile.dtype, 1, (int64_t[]){w->blocks * nr}, own, (size_t)(w->blocks * nr) * size);
  return cg_kernel_constant(w->k, cg_format(w->s, "%s_sum", b->constant->name), w->tile.dtype, 1, (int64_t[]){all}, sum, bytes);
}

// ---------------------------------------------------------------- one layer in one direction, as a function

static void emit_layer(writer *w, const cg_tile *t) {
  const cell *kind = w->kind;
  const char *T = t->ctype, *W = cg_kernel_ctype(t->kept), *N = cg_dtypes[t->kept].text, *product = cg_tile_stream(w->k, t, t->nr, false).call;
  bool d = w->tile.dtype == CG_F64;
  cg_str *o = cg_kernel_shared(w->k, cg_format(w->s, "recurrent_%s_%s", kind->name, N));
  cg_kernel_prelude(w->k, d ? "cg_sigmoid" : "cg_sigmoidf");
  if (!d) cg_kernel_prelude(w->k, "cg_tanhf");
  if (!o) return;
  int q = kind->gates, nr = w->tile.nr;
  bool has_c = q == 4, has_bn = q == 3;
  cg_str_addf(o,
              "// One %s layer in one direction. Row (t, b) of x, g and out is t * row_t + b * row_b. wx, wh: panels [block][gate][depth][%d].\n"
              "static void layer_%s_%s(int threads, int64_t steps, int64_t batch, int64_t width, int64_t hidden, int64_t row_t, int64_t row_b,\n"
              "    const %s *x, const %s *wx, const %s *bias, const %s *inner, const %s *wh, const %s *h0, const %s *c0,\n"
              "    %s *restrict g, %s *restrict state, %s *restrict out, int64_t ldo, %s *hn, %s *cn, int backward) {\n"
              "  enum { NR = %d, GATES = %d, ROWS = %d };\n"
              "  const int64_t blocks = (hidden + NR - 1) / NR, ldg = blocks * GATES * NR, rows = steps * batch;\n"
              "  // What the input gives to the gates, for all steps\n"
              "  const int64_t parts = (rows + 95) / 96;\n"
              "  #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && rows * ldg * width > 300000)\n"
              "  for (int64_t unit = 0; unit < parts * blocks * GATES; unit++) {\n"
              "    const int64_t part = unit %% parts, panel = unit / parts, r0 = part * 96, r1 = r0 + 96 < rows ? r0 + 96 : rows;\n"
              "    %s *c = g + r0 * ldg + panel * NR;\n"
              "    for (int64_t r = 0; r < r1 - r0; r++)\n"
              "      for (int j = 0; j < NR; j++) c[r * ldg + j] = bias ? bias[panel * NR + j] : 0;\n"
              "    for (int64_t k0 = 0; k0 < width; k0 += %d) {\n"
              "      const int64_t k = width - k0 < %d ? width - k0 : %d;\n"
              "      %s(r1 - r0, k, x + r0 * width + k0, width, wx + (panel * width + k0) * NR, c, ldg, 1);\n"
              "    }\n"
              "  }\n",
              kind->name, nr, kind->name, N, T, W, T, T, W, T, T, T, T, T, T, T, nr, q, ROWS, T, t->kc, t->kc, t->kc, product);
  cg_str_addf(o,
              "  // The steps; the state of even and odd ones lies in turn in state and behind it\n"
              "  %s *c_now = state + 2 * batch * hidden;\n"
              "  for (int64_t i = 0; i < batch * hidden; i++) state[i] = h0[i]%s;\n"
              "  const int64_t groups = (batch + ROWS - 1) / ROWS;\n"
              "  (void)c_now, (void)c0, (void)cn, (void)inner;\n"
              "  const int64_t team = threads > 1 && batch * ldg * hidden > 60000 ? threads : 1;\n"
              "  for (int64_t step = 0; step < steps; step++) {\n"
              "    const int64_t t = backward ? steps - 1 - step : step;\n"
              "    const %s *before = state + step %% 2 * batch * hidden;\n"
              "    %s *after = state + (step + 1) %% 2 * batch * hidden;\n"
              "    // Each thread has its own blocks and goes through them to and fro: the weights it used last are still in its cache.\n"
              "    #pragma omp parallel for schedule(static) num_threads(team) if (team > 1)\n"
              "    for (int64_t thread = 0; thread < team; thread++) {\n"
              "      const int64_t all = blocks * groups, first = cg_share(all, thread, team, 1), last = cg_share(all, thread + 1, team, 1) - 1;\n"
              "      for (int64_t i = first; i <= last; i++) {\n"
              "        const int64_t unit = step %% 2 ? first + last - i : i;\n"
              "        const int64_t block = unit / groups, b0 = unit %% groups * ROWS, n = batch - b0 < ROWS ? batch - b0 : ROWS;\n"
              "        const int64_t u0 = block * NR, units = hidden - u0 < NR ? hidden - u0 : NR;\n"
              "        %s y[ROWS * GATES * NR] __attribute__((aligned(64)));\n"
              "        for (int q = 0; q < GATES; q++)\n"
              "          %s(n, hidden, before + b0 * hidden, hidden, wh + (block * GATES + q) * hidden * NR, y + q * NR, GATES * NR, 0);\n"
              "        for (int64_t r = 0; r < n; r++) {\n"
              "          const int64_t row = t * row_t + (b0 + r) * row_b, at = (b0 + r) * hidden + u0;\n"
              "          const %s *gx = g + row * ldg + block * GATES * NR, *gy = y + r * GATES * NR;\n"
              "          %s *to = out + row * ldo + u0;\n"
              "          #pragma omp simd\n"
              "          for (int64_t j = 0; j < units; j++) {\n",
              T, has_c ? ", c_now[i] = c0[i]" : "", T, T, T, product, T, T);
  for (int i = 0; i < q; i++) cg_str_addf(o, "            const %s x%d = gx[%d * NR + j], y%d = gy[%d * NR + j];\n", T, i, i, i, i);
  if (q != 1) cg_str_addf(o, "            %s h = before[at + j];\n            (void)h;\n", T);
  else cg_str_addf(o, "            %s h;\n", T);
  if (has_c) cg_str_addf(o, "            %s c = c_now[at + j];\n", T);
  if (has_bn) cg_str_addf(o, "            const %s bn = inner ? inner[u0 + j] : 0;\n", T);
  cg_str step = cg_str_new(w->s);
  for (const char *p = kind->step; *p;) { // the cell's formula, in this type
    if (!strncmp(p, "SIG(", 4)) cg_str_add(&step, d ? "cg_sigmoid(" : "cg_sigmoidf("), p += 4;
    else if (!strncmp(p, "TANH(", 5)) cg_str_add(&step, d ? "tanh(" : "cg_tanhf("), p += 5;
    else if (!strncmp(p, "const T ", 8)) cg_str_addf(&step, "const %s ", T), p += 8;
    else cg_str_addc(&step, *p++);
  }
  cg_str_addf(o, "            {\n              %s\n            }\n", cg_str_text(&step));
  cg_str_addf(o,
              "%s            after[at + j] = h;\n"
              "            to[j] = h;\n"
              "          }\n        }\n      }\n    }\n  }\n"
              "  if (hn)\n"
              "    for (int64_t i = 0; i < batch * hidden; i++) hn[i] = state[steps %% 2 * batch * hidden + i];\n",
              has_c ? "          c_now[at + j] = c;\n" : "");
  if (has_c) cg_str_add(o, "  if (cn)\n    for (int64_t i = 0; i < batch * hidden; i++) cn[i] = c_now[i];\n");
  cg_str_add(o, "}\n");
}

// ---------------------------------------------------------------- all of them

// An argument in what is computed in.
static const char *operand(writer *w, const cg_kernel_input *in, cg_str *o) {
  if (in->dtype == w->tile.dtype) return in->name;
  cg_expr_pool *pool = &cg_kernel_module(w->k)->exprs;
  const cg_expr *n = cg_x_mul(pool, in->dim[0], cg_x_mul(pool, in->dim[1], in->dim[2]));
  const char *to = cg_kernel_scratch(w->k, w->tile.dtype, n), *size = cg_kernel_size(w->k, n);
  cg_str_addf(o, "  %s(1, %s, %s, 0, 1, %s, %s);\n", cg_tile_copy(w->k, in->dtype), size, in->name, to, size);
  return to;
}

// Where result i is made, NULL: nobody reads it; and what follows when it is complete: it is rounded.
static const char *result(writer *w, int i, const cg_expr *n, cg_str *after) {
  if (i >= w->n->nresults || !cg_kernel_result_used(w->k, i)) return NULL;
  const char *to = cg_kernel_output(w->k, i);
  cg_dtype t = w->n->result[i]->type.dtype;
  if (t == w->tile.dtype) return to;
  const char *from = cg_kernel_scratch(w->k, w->tile.dtype, n);
  cg_str_addf(after, "  #pragma omp simd\n  for (int64_t i = 0; i < %s; i++) %s[i] = %s;\n", cg_kernel_size(w->k, n), to, cg_kernel_convert(w->k, t, cg_format(w->s, "%s[i]", from)));
  return from;
}

static void emit(cg_kernel *k, const cg_node *n) {
  writer w = {.k = k, .s = cg_kernel_session(k), .n = n, .kind = cell_of(n), .biases = flag(n, "has_biases")};
  cg_expr_pool *pool = &cg_kernel_module(k)->exprs;
  cg_kernel_input x = cg_kernel_read(k, cg_arg_tensor(cg_node_arg(n, "input"))), h0 = cg_kernel_read(k, state(n, 0)), c0 = {0};
  bool lstm = w.kind->gates == 4, batch_first = flag(n, "batch_first");
  if (lstm) c0 = cg_kernel_read(k, state(n, 1));
  w.tile = cg_tile_get(k, x.dtype);
  w.hidden = h0.dim[2]->value, w.blocks = (w.hidden + w.tile.nr - 1) / w.tile.nr;
  cg_tile kept = cg_tile_keep(&w.tile, x.dtype);
  emit_layer(&w, &kept);
  if (kept.kept != kept.dtype) cg_kernel_note(k, cg_format(w.s, "weights %s", cg_dtypes[kept.kept].text));

  int64_t layers = count(n, "num_layers"), directions = 1 + flag(n, "bidirectional"), each = w.biases ? 4 : 2;
  const cg_expr *steps = x.dim[batch_first], *batch = x.dim[!batch_first], *rows = cg_x_mul(pool, steps, batch);
  const cg_expr *hidden = cg_x_int(pool, w.hidden), *wide = cg_x_int(pool, w.hidden * directions);
  const char *gates = cg_kernel_scratch(k, w.tile.dtype, cg_x_mul(pool, rows, cg_x_int(pool, w.blocks * w.kind->gates * w.tile.nr)));
  const char *held = cg_kernel_scratch(k, w.tile.dtype, cg_x_mul(pool, cg_x_int(pool, 3), cg_x_mul(pool, batch, hidden)));
  const cg_expr *all = cg_x_mul(pool, rows, wide), *last = cg_x_mul(pool, cg_x_int(pool, layers * directions), cg_x_mul(pool, batch, hidden));
  cg_str *o = cg_kernel_body(k), after = cg_str_new(w.s);
  const char *out = result(&w, 0, all, &after), *hn = result(&w, 1, last, &after), *cn = lstm ? result(&w, 2, last, &after) : NULL, *between[2] = {NULL, NULL};
  if (!out) out = cg_kernel_scratch(k, w.tile.dtype, all);
  if (layers > 1) between[0] = cg_kernel_scratch(k, w.tile.dtype, all);
  if (layers > 2) between[1] = cg_kernel_scratch(k, w.tile.dtype, all);
  const char *in = operand(&w, &x, o), *h = operand(&w, &h0, o), *c = lstm ? operand(&w, &c0, o) : NULL;

  cg_str_addf(o, "  const int64_t steps = %s, batch = %s, one = batch * %lld; // one: elements of a layer's state\n", cg_kernel_size(k, steps), cg_kernel_size(k, batch),
              (long long)w.hidden);
  cg_str_addf(o, "  const int64_t row_t = %s, row_b = %s;\n  (void)one;\n", batch_first ? "1" : "batch", batch_first ? "steps" : "1");
  for (int64_t l = 0; l < layers; l++)
    for (int64_t d = 0; d < directions; d++) {
      int64_t i = l * directions + d, width = l ? w.hidden * directions : x.dim[2]->value;
      int first = (int)(i * each);
      const char *inner, *sum = bias(&w, first + 2, &inner), *wx = packed(&w, parameter(n, first), width), *wh = packed(&w, parameter(n, first + 1), w.hidden);
      const char *from = l ? between[(l - 1) % 2] : in, *to = l + 1 < layers ? between[l % 2] : out;
      const char *at = cg_format(w.s, "%lld * one", (long long)i);
      cg_str_addf(o, "  layer_%s_%s(threads, steps, batch, %lld, %lld, row_t, row_b, %s, %s, %s, %s, %s,\n    %s + %s, %s, %s, %s, %s + %lld, %lld, %s, %s, %d);\n",
                  w.kind->name, cg_dtypes[kept.kept].text, (long long)width, (long long)w.hidden, from, wx, sum, inner, wh, h, at,
                  lstm ? cg_format(w.s, "%s + %s", c, at) : "NULL", gates, held, to, (long long)(d * w.hidden), (long long)(w.hidden * directions),
                  hn ? cg_format(w.s, "%s + %s", hn, at) : "NULL", cn ? cg_format(w.s, "%s + %s", cn, at) : "NULL", (int)d);
    }
  cg_str_add(o, cg_str_text(&after));
}

const cg_kernel_template cg_kernel_recurrent = {"recurrent", claim, false, false, emit};
