// Finds attention that a model writes out, so that its scores are never stored: matmul(softmax(f(matmul(q, k^T))), v), where f scales,
// and then adds or fills by masks. By now softmax is maximum, difference, exponential, sum and quotient (ops/decompose_softmax.c), and
// the functional dialect has views between batched and plain products.
//
// Half precision stays as it is: there each node rounds, and the kernel would not.
#include "backend/c/attention.h"

#include <string.h>

#include "ops/rules.h"
#include "pass/pass.h"

enum { WIDEST = 1024 };

typedef struct {
  cg_fn *f;
  cg_value *q, *kt, *v;         // operands of the products, kt as (depth, keys)
  const cg_type *scores;
  double scale;
  int n;
  cg_scores_step kind[CG_SCORES_STEPS];
  cg_value *mask[CG_SCORES_STEPS];
  double fill[CG_SCORES_STEPS];
} match;

static cg_node *made_by(const cg_value *v, const char *key) { return v && v->def && cg_node_is_op(v->def, key) ? v->def : NULL; }

static bool is_view(const cg_node *n) { return cg_node_is_op(n, "aten::view") || cg_node_is_op(n, "aten::reshape") || cg_node_is_op(n, "aten::_unsafe_view"); }

static bool is_product(const cg_node *n) { return cg_node_is_op(n, "aten::matmul") || cg_node_is_op(n, "aten::bmm") || cg_node_is_op(n, "aten::mm"); }

// What v is a view of that leaves the last two dimensions alone; NULL: of nothing.
static cg_value *below_view(const cg_value *v) {
  cg_value *x = v->def && is_view(v->def) ? cg_self(v->def) : NULL;
  int a = x ? x->type.rank : 0, b = v->type.rank;
  return a >= 2 && b >= 2 && x->type.dim[a - 1] == v->type.dim[b - 1] && x->type.dim[a - 2] == v->type.dim[b - 2] ? x : NULL;
}

// The number that a literal, or a tensor made of one, is.
static bool number(const cg_arg *a, double *out) {
  const cg_value *v = cg_arg_tensor(a);
  if (!v) return cg_arg_double(a, out);
  const cg_node *n = v->def;
  if (v->type.rank || !n) return false;
  if (cg_node_is_op(n, "aten::scalar_tensor")) return cg_arg_double(cg_node_arg(n, "s"), out);
  return cg_node_is_op(n, "aten::full") && cg_arg_double(cg_node_arg(n, "fill_value"), out);
}

static bool same_dims(const cg_type *a, const cg_type *b) {
  if (a->rank != b->rank || a->dtype != b->dtype) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i]) return false;
  return true;
}

// Dimensions of x that are those of `of`, or 1; aligned at the end.
static bool broadcasts(const cg_type *x, const cg_type *of) {
  if (x->rank > of->rank) return false;
  for (int i = 0; i < x->rank; i++)
    if (!cg_x_is(x->dim[i], 1) && x->dim[i] != of->dim[of->rank - x->rank + i]) return false;
  return true;
}

// ---------------------------------------------------------------- scores

static cg_value *step(match *m, cg_scores_step kind, const cg_arg *scores, cg_value *mask, double fill) {
  cg_value *s = cg_arg_tensor(scores);
  bool fits = s && mask && m->n < CG_SCORES_STEPS && broadcasts(&mask->type, m->scores) && same_dims(&s->type, m->scores);
  if (!fits || mask->type.dtype != (kind == CG_SCORES_ADD ? m->scores->dtype : CG_BOOL)) return NULL;
  m->kind[m->n] = kind, m->mask[m->n] = mask, m->fill[m->n++] = fill;
  return s;
}

// Takes the last step of what made the scores x, if it is one; what they were before it.
static cg_value *masked(match *m, const cg_node *n) {
  double by = 1;
  const cg_arg *a = n->arg;
  if (cg_node_is_op(n, "aten::add.Tensor") && n->nargs == 3 && cg_arg_double(&a[2], &by) && by == 1) {
    int at = cg_arg_tensor(&a[0]) && same_dims(&cg_arg_tensor(&a[0])->type, m->scores) && cg_arg_tensor(&a[0])->mark == 1 ? 0 : 1;
    return step(m, CG_SCORES_ADD, &a[at], cg_arg_tensor(&a[!at]), 0);
  }
  if (cg_node_is_op(n, "aten::masked_fill.Scalar") || cg_node_is_op(n, "aten::masked_fill.Tensor"))
    return number(&a[2], &by) ? step(m, CG_SCORES_FILL, &a[0], cg_arg_tensor(&a[1]), by) : NULL;
  if (cg_node_is_op(n, "aten::where.self") || cg_node_is_op(n, "aten::where.ScalarOther") || cg_node_is_op(n, "aten::where.ScalarSelf")) {
    if (number(&a[1], &by)) return step(m, CG_SCORES_FILL, &a[2], cg_arg_tensor(&a[0]), by);
    if (number(&a[2], &by)) return step(m, CG_SCORES_KEEP, &a[1], cg_arg_tensor(&a[0]), by);
  }
  return NULL;
}

static cg_value *scaled(match *m, const cg_node *n) {
  double by;
  bool times = cg_node_is_op(n, "aten::mul.Tensor") || cg_node_is_op(n, "aten::mul.Scalar"), over = cg_node_is_op(n, "aten::div.Tensor") || cg_node_is_op(n, "aten::div.Scalar");
  if ((!times && !over) || !number(&n->arg[1], &by) || (over && by == 0)) return NULL;
  m->scale *= times ? by : 1 / by;
  return cg_arg_tensor(&n->arg[0]);
}

// x, which the softmax is of, back to the product.
static cg_node *product_of(match *m, cg_value *x) {
  bool scales = false;
  for (int uses = 2; x && x->def && x->mark == uses; uses = 1) { // the maximum and the difference read x
    if (is_product(x->def)) return x->def;
    cg_value *s = below_view(x);
    if (s && !m->n) m->scores = &s->type;
    if (!s && !scales) s = masked(m, x->def);
    if (!s) {
      s = scaled(m, x->def);
      scales = true;
    }
    x = s;
  }
  return NULL;
}

// ---------------------------------------------------------------- softmax

static bool over_last(const cg_node *n, const cg_type *t) {
  int64_t dim;
  const cg_arg *a = cg_node_arg(n, "dim");
  double keep;
  return cg_arg_list_len(a) == 1 && cg_arg_int_const(cg_arg_list_at(a, 0), &dim) && (dim == -1 || dim == t->rank - 1) && cg_arg_double(cg_node_arg(n, "keepdim"), &keep) && keep;
}

// p = softmax(x) over the last dimension: x; NULL: it is none.
static cg_value *softmax_of(const cg_value *p) {
  cg_node *div = p->mark == 1 ? made_by(p, "aten::div.Tensor") : NULL;
  if (!div) return NULL;
  cg_value *e = cg_arg_tensor(&div->arg[0]);
  cg_node *sum = made_by(cg_arg_tensor(&div->arg[1]), "aten::sum.dim_IntList"), *exp = made_by(e, "aten::exp");
  if (!sum || !exp || e->mark != 2 || sum->result[0]->mark != 1 || cg_self(sum) != e || !over_last(sum, &e->type)) return NULL;
  cg_node *sub = cg_self(exp)->mark == 1 ? made_by(cg_self(exp), "aten::sub.Tensor") : NULL;
  double alpha;
  if (!sub || !cg_arg_double(&sub->arg[2], &alpha) || alpha != 1) return NULL;
  cg_value *x = cg_arg_tensor(&sub->arg[0]);
  cg_node *most = made_by(cg_arg_tensor(&sub->arg[1]), "aten::amax");
  return most && most->result[0]->mark == 1 && cg_self(most) == x && over_last(most, &x->type) ? x : NULL;
}

// ---------------------------------------------------------------- one node

static void count(cg_value *v, void *u) {
  (void)u;
  v->mark++;
}

static cg_value *made(match *m, cg_node *like, const char *key, int nargs, const cg_arg *arg, cg_type type) {
  cg_node *n = cg_node_like(m->f, like, like, key, nargs, arg, 1);
  n->backend = like->backend;
  n->result[0]->type = type;
  cg_node_each_input(n, count, NULL);
  return n->result[0];
}

static cg_value *reshaped(match *m, cg_node *like, cg_value *v, int rank, const cg_expr **dim) {
  cg_arg at[CG_MAX_RANK];
  for (int i = 0; i < rank; i++) at[i] = cg_a_expr(dim[i]);
  return made(m, like, "aten::reshape", 2, (cg_arg[]){cg_a_value(v), cg_a_list(m->f->module, rank, at)}, cg_tensor_type(v->type.dtype, rank, dim));
}

// v with the scores' batch dimensions; NULL: its own are others.
static cg_value *with_batches(match *m, cg_node *like, cg_value *v) {
  int r = m->scores->rank, own = v->type.rank;
  const cg_expr **dim = cg_r_copy_dims(m->f->module, m->scores);
  dim[r - 2] = v->type.dim[own - 2], dim[r - 1] = v->type.dim[own - 1];
  cg_type want = cg_tensor_type(v->type.dtype, r, dim);
  if (own == r) return broadcasts(&v->type, &want) ? v : NULL;
  cg_value *below = below_view(v);
  if (below && same_dims(&below->type, &want)) return below;
  return cg_type_numel(m->f->module, &v->type) == cg_type_numel(m->f->module, &want) ? reshaped(m, like, v, r, dim) : NULL;
}

static cg_value *transposed(match *m, cg_node *like, cg_value *v) {
  cg_module *mod = m->f->module;
  int r = v->type.rank;
  const cg_expr **dim = cg_r_copy_dims(mod, &v->type);
  dim[r - 1] = v->type.dim[r - 2], dim[r - 2] = v->type.dim[r - 1];
  return made(m, like, "aten::transpose.int", 3, (cg_arg[]){cg_a_value(v), cg_a_int(mod, r - 2), cg_a_int(mod, r - 1)}, cg_tensor_type(v->type.dtype, r, dim));
}

static const char *as_kernel(te *t, const cg_node *n, te_compute *out) {
  (void)t, (void)n;
  out->kind = TE_KERNEL;
  out->kernel = "attention";
  return NULL;
}

static const cg_op written_out = {.key = "cierge::attention", .traits = CG_OP_ANCHOR, .lower = as_kernel};

static void know_schema(cg_module *m) {
  static const char text[] = "cierge::attention(Tensor query, Tensor key, Tensor value, float scale, Tensor[] masks, int[] kinds, float[] fills) -> Tensor";
  if (!cg_map_has(&m->schemas, written_out.key)) cg_map_set(m->s, &m->schemas, written_out.key, (void *)cg_schema_parse(m->s, text));
}

static bool rewrite(match *m, cg_node *last) {
  cg_module *mod = m->f->module;
  cg_type out = last->result[0]->type;
  int r = m->scores->rank;
  cg_value *q = with_batches(m, last, m->q), *kt = with_batches(m, last, m->kt), *v = with_batches(m, last, m->v);
  if (!q || !kt || !v || !broadcasts(&(cg_type){.rank = r - 2, .dim = m->scores->dim}, &(cg_type){.rank = r - 2, .dim = q->type.dim})) return false;
  cg_arg masks[CG_SCORES_STEPS], kinds[CG_SCORES_STEPS], fills[CG_SCORES_STEPS];
  for (int i = 0; i < m->n; i++) { // they were found from the last to the first
    int k = m->n - 1 - i;
    masks[k] = cg_a_value(m->mask[i]), kinds[k] = cg_a_int(mod, m->kind[i]), fills[k] = cg_a_float(m->fill[i]);
  }
  const cg_expr **dim = cg_r_copy_dims(mod, m->scores);
  dim[r - 1] = v->type.dim[r - 1];
  know_schema(mod);
  cg_arg arg[] = {cg_a_value(q), cg_a_value(transposed(m, last, kt)), cg_a_value(v), cg_a_float(m->scale), cg_a_list(mod, m->n, masks), cg_a_list(mod, m->n, kinds),
                  cg_a_list(mod, m->n, fills)};
  cg_value *result = made(m, last, written_out.key, 7, arg, cg_tensor_type(out.dtype, r, dim));
  result->def->op = &written_out;
  if (out.rank != r) result = reshaped(m, last, result, out.rank, out.dim);
  result->mark = last->result[0]->mark, last->result[0]->mark = 0;
  cg_replace(mod, last->result[0], cg_a_value(result));
  return true;
}

static bool fixed(const cg_expr *width) { return cg_x_is_int(width) && width->value > 0 && width->value <= WIDEST; }

static bool find(cg_fn *f, cg_node *last) {
  match m = {.f = f, .scale = 1};
  if (!is_product(last)) return false;
  cg_value *p = cg_self(last), *x;
  m.v = cg_arg_tensor(&last->arg[1]);
  if (!m.v || m.v->type.rank < 2 || p->type.rank < 2 || p->mark != 1) return false;
  for (cg_value *below; p->mark == 1 && (below = below_view(p));) p = below;
  if (!(x = softmax_of(p)) || (x->type.dtype != CG_F32 && x->type.dtype != CG_F64)) return false;
  m.scores = &x->type;
  cg_node *first = product_of(&m, x);
  if (!first) return false;
  m.q = cg_self(first), m.kt = cg_arg_tensor(&first->arg[1]);
  if (m.q->type.rank < 2 || m.kt->type.rank < 2) return false;
  return fixed(m.q->type.dim[m.q->type.rank - 1]) && fixed(m.v->type.dim[m.v->type.rank - 1]) && rewrite(&m, last);
}

void cg_c_find_attention(cg_fn *f) {
  bool any = false;
  cg_fn_count_uses(f);
  cg_replace_begin(f);
  for (cg_node *n = f->first; n; n = n->next) {
    cg_replace_in(n);
    any |= find(f, n);
  }
  cg_replace_end(f);
  if (any) cg_remove_dead(f);
}
