// What passes may ask of LibTorch: schemas of operators that the table does not know, and result types.
//
// Types come from the C++ Meta kernels, on tensors without data. Where sizes are symbolic the kernel is asked several
// times, with each symbol moved on its own, and a result's size is written as what it follows: a size that an argument
// has, or a sum of integer multiples of symbols. Two more points, away from all others, must agree; a size that follows
// no such rule becomes a symbol of its own, known when the program runs.
#include <string.h>

#include "backend/torch/torch.h"

typedef struct {
  cg_torch face; // first: what passes hold
  cg_pipeline *p;
  const cierge_torch_api_v1 *api;
  const char *why;
} torch;

const cierge_torch_api_v1 *cg_torch_api(cg_torch *face, const char **why) {
  torch *t = face->self;
  if (!t->api && !t->why) {
    cg_failure f;
    t->api = cg_torch_open(t->p->opt->libtorch, &f);
    if (!t->api) t->why = cg_strdup(t->p->s, f.text);
  }
  *why = t->why;
  return t->api;
}

static const char *schema(cg_torch *face, cg_session *s, const char *key) {
  const char *why;
  const cierge_torch_api_v1 *api = cg_torch_api(face, &why);
  char text[16384];
  return api && !api->schema(key, text, sizeof text) ? cg_strdup(s, text) : NULL;
}

// ---------------------------------------------------------------- a program of one call

typedef struct {
  cg_torch_writer w; // first: the callbacks get it
  CG_VEC(cg_value *) inputs;
  const int64_t *symbols; // the point at which sizes are taken
  bool apart;             // floats and bools that appear at run time have other values than elsewhere
  bool bad;               // some size has no value there
} one_call;

static int64_t at_point(one_call *c, const cg_expr *x) {
  int64_t v = 0;
  if (!cg_x_eval(x, c->symbols, &v)) c->bad = true;
  return v;
}

static void write_value(cg_torch_writer *w, cg_value *v) {
  one_call *c = (one_call *)w;
  int i = 0;
  while (i < c->inputs.n && c->inputs.at[i] != v) i++;
  if (i == c->inputs.n) CG_PUSH(w->out.s, &c->inputs, v);
  cg_write_u8(&w->out, CG_TA_REGISTER);
  cg_write_u32(&w->out, (uint32_t)i);
}

static void write_integer(cg_torch_writer *w, const cg_expr *x) {
  cg_write_u8(&w->out, CG_TA_INT);
  cg_write_i64(&w->out, at_point((one_call *)w, x));
}

static cg_str whole_program(cg_session *s, one_call *c, const cg_node *n, int results) {
  c->w.out = cg_str_new(s);
  int clones = cg_torch_write_call(&c->w, n), own = cg_torch_own_results(n, clones);
  cg_str *call = &c->w.out, b = cg_str_new(s);
  uint32_t first = (uint32_t)c->inputs.n;
  cg_write_u32(call, (uint32_t)(own + clones));
  for (int i = 0; i < own + clones; i++) cg_write_u32(call, i < results ? first + (uint32_t)i : CG_TORCH_DROPPED);
  cg_write_u32(call, 0);
  cg_write_u32(call, 0);
  cg_write_u32(&b, CG_TORCH_PROGRAM_VERSION);
  cg_write_u32(&b, first);
  cg_write_u32(&b, first + (uint32_t)results);
  cg_write_u32(&b, 1);
  cg_str_addn(&b, call->at, call->n);
  cg_write_u32(&b, (uint32_t)results);
  for (int i = 0; i < results; i++) cg_write_u32(&b, first + (uint32_t)i);
  return b;
}

static const char *input_value(cg_session *s, one_call *c, const cg_value *v, cierge_torch_value *out) {
  const cg_type *t = &v->type;
  *out = (cierge_torch_value){0};
  switch (t->kind) {
  case CG_T_TENSOR: {
    int64_t *size = CG_NEW_ARRAY(s, int64_t, t->rank ? t->rank : 1), *stride = NULL;
    if (t->stride) stride = CG_NEW_ARRAY(s, int64_t, t->rank ? t->rank : 1);
    for (int i = 0; i < t->rank; i++) {
      size[i] = at_point(c, t->dim[i]);
      if (stride) stride[i] = at_point(c, t->stride[i]);
      if (size[i] < 0 || (stride && stride[i] < 0)) c->bad = true;
    }
    *out = (cierge_torch_value){.dtype = cg_dtypes[t->dtype].c10, .rank = t->rank, .size = size, .stride = stride};
    return NULL;
  }
  case CG_T_INT:
    if (!t->value) return cg_format(s, "%%%s is a number that appears only while the program runs", v->name);
    *out = (cierge_torch_value){.kind = 1, .i = at_point(c, t->value)};
    return NULL;
  case CG_T_FLOAT: *out = (cierge_torch_value){.kind = 2, .f = c->apart ? 3 : 1}; return NULL;
  case CG_T_BOOL: *out = (cierge_torch_value){.kind = 3, .i = !c->apart}; return NULL;
  default: return cg_format(s, "%%%s has no type that a Meta kernel could take", v->name);
  }
}

// ---------------------------------------------------------------- asking

typedef struct {
  int kind, dtype, rank; // kind as in cierge_torch_value
  int64_t *dim;
} answer;

static const char *ask(torch *t, const cg_node *n, const int64_t *symbols, bool apart, answer *out) {
  cg_session *s = t->p->s;
  one_call c = {.w = {.value = write_value, .integer = write_integer}, .symbols = symbols, .apart = apart};
  cg_str program = whole_program(s, &c, n, n->nresults);
  program = whole_program(s, &c, n, n->nresults); // again: registers lie behind all inputs now
  cierge_torch_value *in = CG_NEW_ARRAY(s, cierge_torch_value, c.inputs.n + 1);
  cierge_torch_value *res = CG_NEW_ARRAY(s, cierge_torch_value, n->nresults + 1);
  for (int i = 0; i < c.inputs.n; i++) {
    const char *why = input_value(s, &c, c.inputs.at[i], &in[i]);
    if (why) return why;
  }
  if (c.bad) return "some size has no value at the sizes tried";
  char text[1024] = "";
  cierge_torch_error error = {text, sizeof text};
  int count = t->api->infer(program.at, program.n, in, c.inputs.n, res, n->nresults, &error);
  if (count < 0) return cg_format(s, "its Meta kernel says: %s", text);
  for (int i = 0; i < count; i++) {
    out[i] = (answer){res[i].kind, res[i].dtype, res[i].rank, NULL};
    if (!res[i].kind && res[i].rank) out[i].dim = cg_memdup(s, res[i].size, (size_t)res[i].rank * sizeof(int64_t));
    if (!res[i].kind) t->api->tensor_free(res[i].handle);
  }
  return NULL;
}

// ---------------------------------------------------------------- from points to expressions

CG_VEC_TYPE(expr_vec, const cg_expr *);

typedef struct {
  torch *t;
  cg_module *m;
  cg_node *n;
  CG_VEC(cg_symbol *) symbols;
  expr_vec sizes;      // what arguments speak of: candidates
  bool numbers;        // floats or bools that appear at run time are among the arguments
  int points;
  int64_t **point;     // [points][symbol index]: 0 the base, then one for each symbol moved, then two more; the base, other `numbers`
  answer **answer;     // [points][results]
} question;

static void add_expr(question *q, const cg_expr *x) {
  if (!x) return;
  if (x->kind == CG_X_SYM) {
    int i = 0;
    while (i < q->symbols.n && q->symbols.at[i] != x->symbol) i++;
    if (i == q->symbols.n) CG_PUSH(q->m->s, &q->symbols, x->symbol);
  }
  for (int i = 0; i < x->nargs; i++) add_expr(q, x->arg[i]);
}

static void add_size(question *q, const cg_expr *x) {
  add_expr(q, x);
  for (int i = 0; i < q->sizes.n; i++)
    if (q->sizes.at[i] == x) return;
  CG_PUSH(q->m->s, &q->sizes, x);
}

static void add_arg(question *q, const cg_arg *a) {
  if (a->kind == CG_A_INT) add_size(q, a->i);
  if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) add_arg(q, &a->list.at[i]);
  if (a->kind != CG_A_VALUE) return;
  const cg_type *t = &a->value->type;
  if (t->value) add_size(q, t->value);
  q->numbers |= t->kind == CG_T_FLOAT || t->kind == CG_T_BOOL;
  if (t->kind != CG_T_TENSOR) return;
  for (int i = 0; i < t->rank; i++) {
    add_size(q, t->dim[i]);
    if (t->stride) add_expr(q, t->stride[i]);
  }
  if (t->rank > 1) add_size(q, cg_type_numel(q->m, t));
  add_expr(q, t->offset);
}

// Distinct values that are no usual sizes, inside each symbol's range.
static int64_t pick(const cg_symbol *y, int k, int move) {
  static const int64_t base[] = {12, 20, 28, 44, 52, 68, 76, 92};
  int64_t v = base[k % 8] + 96 * (k / 8) + move;
  if (v < y->lo) v = y->lo + move;
  if (v > y->hi) v = y->hi - move;
  return v < y->lo ? y->lo : v;
}

static void choose_points(question *q) {
  int total = q->m->exprs.symbols.n, n = q->symbols.n;
  q->points = (n ? n + 3 : 1) + q->numbers;
  q->point = CG_NEW_ARRAY(q->m->s, int64_t *, q->points);
  q->answer = CG_NEW_ARRAY(q->m->s, answer *, q->points);
  for (int p = 0; p < q->points; p++) {
    q->point[p] = CG_NEW_ARRAY(q->m->s, int64_t, total + 1);
    q->answer[p] = CG_NEW_ARRAY(q->m->s, answer, q->n->nresults + 1);
    for (int k = 0; k < n; k++) {
      int move = p == k + 1 ? 4 : p == n + 1 ? 3 + 2 * k : p == n + 2 ? 8 + k : 0;
      q->point[p][q->symbols.at[k]->index] = pick(q->symbols.at[k], k, move);
    }
  }
}

static bool agrees(const question *q, const cg_expr *x, int result, int d) {
  for (int p = 0; p < q->points; p++) {
    int64_t v;
    if (!cg_x_eval(x, q->point[p], &v) || v != q->answer[p][result].dim[d]) return false;
  }
  return true;
}

static const cg_expr *sum_of_multiples(question *q, int result, int d) {
  cg_expr_pool *pool = &q->m->exprs;
  int64_t base = q->answer[0][result].dim[d], constant = base;
  const cg_expr *sum = cg_x_int(pool, 0);
  for (int k = 0; k < q->symbols.n; k++) {
    const cg_symbol *y = q->symbols.at[k];
    int64_t at = q->point[0][y->index], by = q->point[k + 1][y->index] - at, change = q->answer[k + 1][result].dim[d] - base;
    if (!by) continue; // a symbol that can be one size only
    if (change % by) return NULL;
    sum = cg_x_add(pool, sum, cg_x_mul(pool, cg_x_int(pool, change / by), y->expr));
    constant -= change / by * at;
  }
  return cg_x_add(pool, sum, cg_x_int(pool, constant));
}

static const cg_expr *size_of(question *q, int result, int d) {
  int64_t base = q->answer[0][result].dim[d];
  const cg_expr *x = cg_x_int(&q->m->exprs, base);
  if (agrees(q, x, result, d)) return x;
  for (int i = 0; i < q->sizes.n; i++)
    if (agrees(q, q->sizes.at[i], result, d)) return q->sizes.at[i];
  x = sum_of_multiples(q, result, d);
  return x && agrees(q, x, result, d) ? x : cg_unbacked_new(q->m);
}

static const char *set_type(question *q, int k) {
  const answer *a = &q->answer[0][k];
  for (int p = 1; p < q->points; p++)
    if (q->answer[p][k].kind != a->kind || q->answer[p][k].dtype != a->dtype || q->answer[p][k].rank != a->rank)
      return "its Meta kernel gives another type at another size";
  static const cg_type_kind kinds[] = {CG_T_TENSOR, CG_T_INT, CG_T_FLOAT, CG_T_BOOL, CG_T_NONE};
  cg_type *t = &q->n->result[k]->type;
  if (a->kind) {
    *t = cg_scalar_type(kinds[a->kind]);
    return NULL;
  }
  int dtype = cg_dtype_by_c10_code(a->dtype);
  if (dtype < 0) return cg_format(q->m->s, "its result has a dtype that cierge lacks (c10 code %d)", a->dtype);
  const cg_expr **dim = CG_NEW_ARRAY(q->m->s, const cg_expr *, a->rank ? a->rank : 1);
  for (int d = 0; d < a->rank; d++) dim[d] = size_of(q, k, d);
  *t = cg_tensor_type((cg_dtype)dtype, a->rank, dim);
  return NULL;
}

static const char *infer(cg_torch *face, cg_module *m, cg_node *n) {
  torch *t = face->self;
  const char *why;
  if (cg_node_is_torchop(n)) return "LibTorch does not tell them without running it";
  if (!cg_torch_api(face, &why)) return why;
  if (!t->api->has_meta(n->schema->key)) return "it has no Meta kernel in C++";
  question q = {.t = t, .m = m, .n = n};
  for (int i = 0; i < n->nargs; i++) {
    if (n->arg[i].kind == CG_A_FN) return "it has sub-graphs";
    add_arg(&q, &n->arg[i]);
  }
  choose_points(&q);
  for (int p = 0; p < q.points; p++) {
    bool apart = q.numbers && p == q.points - 1;
    if (!(why = ask(t, n, q.point[p], apart, q.answer[p]))) continue;
    if (!apart) return why;
    q.points--; // it takes no such numbers: a probability, say
  }
  for (int k = 0; k < n->nresults; k++)
    if ((why = set_type(&q, k))) return why;
  return NULL;
}

// ---------------------------------------------------------------- connecting

static void load_libraries(torch *t) {
  cg_pipeline *p = t->p;
  const char *why;
  const cierge_torch_api_v1 *api = cg_torch_api(&t->face, &why);
  if (!api) cg_fail(p->s, CIERGE_MISSING, "%s", why);
  for (int i = 0; i < p->opt->torch_libraries.n; i++) {
    cg_failure f;
    cg_hash hash;
    if (!cg_library_load(api, p->opt->torch_libraries.at[i], &hash, &f)) cg_fail(p->s, (cierge_code)f.code, "%s", f.text);
  }
}

cg_torch *cg_torch_connect(cg_pipeline *p) {
  cg_failure f;
  bool wanted = (p->opt->libtorch && strcmp(p->opt->libtorch, "none")) || p->opt->torch_libraries.n;
  if (!cg_torch_present(p->opt->libtorch, &f)) {
    if (wanted) cg_fail(p->s, CIERGE_MISSING, "%s", f.text);
    return NULL;
  }
  torch *t = CG_NEW(p->s, torch);
  t->p = p;
  t->face = (cg_torch){.self = t, .opt = p->opt, .schema = schema, .infer = infer, .script = cg_torch_script, .import_script = cg_torch_import};
  if (p->opt->torch_libraries.n) load_libraries(t);
  return &t->face;
}
