// Sums of products by letters: einsum, tensordot. Operands meet two at a time, from the left, as PyTorch has them meet: letters of
// both that nobody needs afterwards are the depth of a matrix product, those that somebody needs its batch, all others rows and
// columns. The type rule and the decomposition read the equation the same way.
#include <ctype.h>
#include <string.h>

#include "ops/rules.h"

enum { LETTERS = 'z' + 1, LABELS = LETTERS + CG_MAX_RANK, MAX_TERMS = 16 }; // a label is a letter, or LETTERS + place in the ellipsis, from its end

typedef struct {
  int n;
  int label[CG_MAX_RANK];
} term;

typedef struct {
  int terms;
  term term[MAX_TERMS], out;
  const cg_expr *size[LABELS]; // NULL: no such label
} equation;

// ---------------------------------------------------------------- reading

static bool push(term *t, int label) {
  if (t->n >= CG_MAX_RANK) return false;
  t->label[t->n++] = label;
  return true;
}

static int where(const term *t, int label) { // -1: nowhere
  for (int i = 0; i < t->n; i++)
    if (t->label[i] == label) return i;
  return -1;
}

static bool has(const term *t, int label) { return where(t, label) >= 0; }

static bool push_ellipsis(term *t, int rank) {
  for (int k = rank; k-- > 0;)
    if (!push(t, LETTERS + k)) return false;
  return true;
}

// Letters up to a comma, an arrow or the end; an ellipsis is of `rank` dimensions, or where rank < 0 of what `of` has left.
static const char *read_term(const char *p, term *t, int rank, int of, bool *ok) {
  int letters = 0;
  bool dots = false;
  for (const char *q = p; *q && *q != ',' && *q != '-'; q++) letters += isalpha((unsigned char)*q) != 0;
  if (rank < 0) rank = of - letters;
  for (; *p && *p != ',' && *p != '-'; p++) {
    if (*p == ' ') continue;
    if (isalpha((unsigned char)*p)) *ok = *ok && push(t, *p);
    else if (!strncmp(p, "...", 3) && !dots && rank >= 0) *ok = *ok && push_ellipsis(t, rank), p += 2, dots = true;
    else *ok = false;
  }
  return p;
}

// A label's size: of a tensor that does not have 1 there. false: two differ.
static bool note_sizes(equation *q, const term *t, const cg_type *x) {
  for (int i = 0; i < t->n; i++) {
    const cg_expr **size = &q->size[t->label[i]];
    if (!*size || cg_x_is(*size, 1)) *size = x->dim[i];
    else if (*size != x->dim[i] && !cg_x_is(x->dim[i], 1)) return false;
  }
  return true;
}

// Without an arrow: the ellipsis, then letters that stand once in all of the equation, in their order.
static bool implied(equation *q, const char *text, int ellipsis) {
  int count[LETTERS] = {0};
  for (const char *p = text; *p; p++)
    if (isalpha((unsigned char)*p)) count[(unsigned char)*p]++;
  bool ok = push_ellipsis(&q->out, ellipsis);
  for (int c = 'A'; c < LETTERS; c++)
    if (count[c] == 1) ok = ok && push(&q->out, c);
  return ok;
}

static const char *read(cg_module *m, const char *text, int count, cg_value *const *x, equation *q) {
  const char *p = text;
  int ellipsis = 0;
  bool ok = count > 0 && count <= MAX_TERMS;
  memset(q, 0, sizeof *q);
  for (int i = 0; i < count && ok; i++) {
    if (!x[i] || x[i]->type.kind != CG_T_TENSOR) return "einsum(): tensors are expected";
    p = read_term(p, &q->term[i], -1, x[i]->type.rank, &ok);
    int dots = 0;
    for (int k = 0; k < q->term[i].n; k++) dots += q->term[i].label[k] >= LETTERS;
    if (dots > ellipsis) ellipsis = dots;
    ok = ok && q->term[i].n == x[i]->type.rank && (i == count - 1 ? *p != ',' : *p++ == ',');
    if (ok && !note_sizes(q, &q->term[i], &x[i]->type)) return cg_r_why(m, "einsum(): \"%s\": a letter stands for two sizes", text);
  }
  q->terms = count;
  if (ok && !*p) ok = implied(q, text, ellipsis);
  else if (ok) ok = p[0] == '-' && p[1] == '>' && !*read_term(p + 2, &q->out, ellipsis, 0, &ok);
  for (int i = 0; i < q->out.n && ok; i++) {
    ok = q->size[q->out.label[i]] != NULL;
    for (int k = 0; k < i; k++) ok = ok && q->out.label[k] != q->out.label[i];
  }
  return ok ? NULL : cg_r_why(m, "einsum(): \"%s\" does not fit the tensors", text);
}

// tensordot as an equation: the pairs of dimensions have labels of `self`.
static const char *read_pairs(cg_module *m, const cg_node *n, cg_value **x, equation *q) {
  memset(q, 0, sizeof *q);
  q->terms = 2;
  x[0] = cg_r_tensor(n, "self"), x[1] = cg_r_tensor(n, "other");
  const cg_arg *a = cg_node_arg(n, "dims_self"), *b = cg_node_arg(n, "dims_other");
  if (!x[0] || !x[1] || !a || !b || a->kind != CG_A_LIST || b->kind != CG_A_LIST || a->list.n != b->list.n) return "tensordot(): as many dimensions of either tensor are expected";
  int pair[CG_MAX_RANK], of[CG_MAX_RANK];
  for (int i = 0; i < x[0]->type.rank; i++) pair[i] = 0, push(&q->term[0], i);
  for (int i = 0; i < x[1]->type.rank; i++) of[i] = -1;
  for (int i = 0; i < a->list.n; i++) {
    int d, e;
    CG_RULE(cg_r_dim(m, &a->list.at[i], x[0]->type.rank, &d));
    CG_RULE(cg_r_dim(m, &b->list.at[i], x[1]->type.rank, &e));
    if (x[0]->type.rank <= d || x[1]->type.rank <= e || pair[d] || of[e] >= 0) return "tensordot(): a dimension stands twice";
    pair[d] = 1, of[e] = d;
  }
  for (int i = 0; i < x[0]->type.rank; i++)
    if (!pair[i]) push(&q->out, i);
  for (int i = 0; i < x[1]->type.rank; i++) {
    push(&q->term[1], of[i] >= 0 ? of[i] : CG_MAX_RANK + i);
    if (of[i] < 0 && !push(&q->out, CG_MAX_RANK + i)) return "tensordot(): too many dimensions";
  }
  return note_sizes(q, &q->term[0], &x[0]->type) && note_sizes(q, &q->term[1], &x[1]->type) ? NULL : "tensordot(): sizes differ";
}

static void set_type(cg_module *m, cg_node *n, cg_value *const *x, const equation *q) {
  const cg_expr **dim = cg_r_new_dims(m, q->out.n);
  for (int i = 0; i < q->out.n; i++) dim[i] = q->size[q->out.label[i]];
  cg_r_set(n, 0, x[0]->type.dtype, q->out.n, dim);
}

const char *cg_infer_tensordot(cg_module *m, cg_node *n) {
  cg_value *x[2];
  equation q;
  CG_RULE(read_pairs(m, n, x, &q));
  set_type(m, n, x, &q);
  return NULL;
}

// Sums of small integers, but not their products, are int64 to PyTorch: which of them an equation is made of it says itself.
const char *cg_infer_einsum(cg_module *m, cg_node *n) {
  cg_value **x;
  equation q;
  int count = cg_r_tensors(m, n, "tensors", &x);
  CG_RULE(read(m, cg_r_text(n, "equation"), count, x, &q));
  cg_dtype t = x[0]->type.dtype;
  if ((cg_is_integral(t) && t != CG_I64) || t == CG_BOOL) return NULL;
  set_type(m, n, x, &q);
  return NULL;
}

// ---------------------------------------------------------------- products

typedef struct {
  cg_rewrite *r;
  cg_value *v;
  term t;
} part;

// Without the dimensions that are 1 where the label is more, and without those of labels that `drop` has, summed up.
static void squeeze(part *x, const term *drop) {
  int sum[CG_MAX_RANK], n = 0;
  for (int i = x->t.n; i-- > 0;) {
    int label = x->t.label[i];
    bool one = cg_x_is(x->v->type.dim[i], 1);
    if (!one || !has(drop, label)) continue;
    x->v = cg_make(x->r, "aten::select.int", 3, cg_av(x->v), cg_a_int(x->r->m, i), cg_a_int(x->r->m, 0));
    memmove(&x->t.label[i], &x->t.label[i + 1], (size_t)(x->t.n - i - 1) * sizeof *x->t.label);
    x->t.n--;
  }
  term left = {0};
  for (int i = 0; i < x->t.n; i++)
    if (has(drop, x->t.label[i])) sum[n++] = i;
    else push(&left, x->t.label[i]);
  if (n) x->v = cg_make(x->r, "aten::sum.dim_IntList", 2, cg_av(x->v), cg_make_ints(x->r, n, sum));
  x->t = left;
}

// The part with its dimensions in the order of `order`, which has them all.
static cg_value *ordered(part *x, const term *order) {
  int dim[CG_MAX_RANK];
  bool same = true;
  for (int i = 0; i < order->n; i++) dim[i] = where(&x->t, order->label[i]), same = same && dim[i] == i;
  return same ? x->v : cg_make(x->r, "aten::permute", 2, cg_av(x->v), cg_make_ints(x->r, order->n, dim));
}

static term joined(const term *a, const term *b, const term *c) {
  term t = *a;
  for (int i = 0; i < b->n; i++) push(&t, b->label[i]);
  for (int i = 0; i < c->n; i++) push(&t, c->label[i]);
  return t;
}

static const cg_expr *size_of(const part *x, const term *t) {
  const cg_expr *dim[CG_MAX_RANK];
  for (int i = 0; i < t->n; i++) dim[i] = x->v->type.dim[where(&x->t, t->label[i])];
  return cg_x_product(x->r->m, t->n, dim);
}

// As [batch, rows, columns]; [rows, columns] where there is no batch.
static cg_value *matrix(part *x, const term *batch, const term *rows, const term *columns) {
  term order = joined(batch, rows, columns);
  const cg_expr *dim[] = {size_of(x, batch), size_of(x, rows), size_of(x, columns)};
  cg_value *v = ordered(x, &order);
  return batch->n ? cg_make_reshape(x->r, v, 3, dim) : cg_make_reshape(x->r, v, 2, dim + 1);
}

// Drops what x has of size 1 beside something larger, and what it has alone and nobody needs afterwards.
static void drop_idle(part *x, const part *beside, const term *later) {
  term drop = {0};
  for (int i = 0; i < x->t.n; i++) {
    int label = x->t.label[i], other = where(&beside->t, label);
    if (other < 0 ? !has(later, label) : cg_x_is(x->v->type.dim[i], 1) && !cg_x_is(beside->v->type.dim[other], 1)) push(&drop, label);
  }
  squeeze(x, &drop);
}

// `later` has the labels that are needed afterwards.
static part product(part *a, part *b, const term *later) {
  term batch = {0}, depth = {0}, rows = {0}, columns = {0}, none = {0};
  drop_idle(a, b, later);
  drop_idle(b, a, later);
  drop_idle(a, b, later); // b may have had 1 there
  for (int i = 0; i < a->t.n; i++) push(!has(&b->t, a->t.label[i]) ? &rows : has(later, a->t.label[i]) ? &batch : &depth, a->t.label[i]);
  for (int i = 0; i < b->t.n; i++)
    if (!has(&a->t, b->t.label[i])) push(&columns, b->t.label[i]);
  part out = {a->r, a->v, joined(&batch, &rows, &columns)};
  const cg_expr *dim[CG_MAX_RANK];
  if (batch.n + rows.n + columns.n > CG_MAX_RANK || batch.n + depth.n + columns.n > CG_MAX_RANK) {
    a->r->failed = true;
    return out;
  }
  if (depth.n) {
    cg_value *x = matrix(a, &batch, &rows, &depth), *y = matrix(b, &batch, &depth, &columns);
    out.v = cg_make(a->r, batch.n ? "aten::bmm" : "aten::mm", 2, cg_av(x), cg_av(y));
    for (int i = 0; i < out.t.n; i++) {
      int at = where(&a->t, out.t.label[i]);
      dim[i] = at < 0 ? b->v->type.dim[where(&b->t, out.t.label[i])] : a->v->type.dim[at];
    }
    out.v = cg_make_reshape(a->r, out.v, out.t.n, dim);
    return out;
  }
  term order = joined(&batch, &rows, &none);
  cg_value *x = ordered(a, &order), *y;
  order = joined(&batch, &columns, &none);
  y = ordered(b, &order);
  for (int i = 0; i < columns.n; i++) x = cg_make(a->r, "aten::unsqueeze", 2, cg_av(x), cg_a_int(a->r->m, -1));
  for (int i = 0; i < rows.n; i++) y = cg_make(a->r, "aten::unsqueeze", 2, cg_av(y), cg_a_int(a->r->m, batch.n));
  out.v = cg_make(a->r, "aten::mul.Tensor", 2, cg_av(x), cg_av(y));
  return out;
}

// Whether b is to be the rows: a constant is packed for a product where it is the columns; else what the result has first is rows.
static bool turned(const part *a, const part *b, const term *out) {
  bool fixed = a->v->constant != NULL;
  if (fixed != (b->v->constant != NULL)) return fixed;
  for (int i = 0; i < out->n; i++)
    if (has(&a->t, out->label[i]) != has(&b->t, out->label[i])) return has(&b->t, out->label[i]);
  return false;
}

// A tensor of the equation; a letter that stands twice in it is a diagonal.
static part part_of(cg_rewrite *r, const equation *q, cg_value *const *x, int i) {
  part p = {r, x[i], q->term[i]};
  for (int k = 1; k < p.t.n; k++) {
    int first = where(&p.t, p.t.label[k]), label = p.t.label[k];
    if (first == k) continue;
    p.v = cg_make(r, "aten::diagonal", 4, cg_av(p.v), cg_a_int(r->m, 0), cg_a_int(r->m, first), cg_a_int(r->m, k));
    term left = {0};
    for (int j = 0; j < p.t.n; j++)
      if (j != first && j != k) push(&left, p.t.label[j]);
    push(&left, label);
    p.t = left;
    k = 0;
  }
  return p;
}

static bool decompose(cg_module *m, cg_node *n, const equation *q, cg_value *const *x) {
  for (int i = 0; i < q->terms; i++)
    if (!cg_r_plain_float(x[i]->type.dtype) || x[i]->type.dtype != x[0]->type.dtype) return false;
  cg_rewrite r = cg_rewrite_begin(m, n);
  part a = part_of(&r, q, x, 0);
  for (int i = 1; i < q->terms && !r.failed; i++) {
    part b = part_of(&r, q, x, i);
    term later = q->out;
    for (int k = i + 1; k < q->terms; k++)
      for (int j = 0; j < q->term[k].n; j++)
        if (!has(&later, q->term[k].label[j]) && !push(&later, q->term[k].label[j])) return r.failed = true, cg_rewrite_by(&r, a.v);
    a = turned(&a, &b, &q->out) ? product(&b, &a, &later) : product(&a, &b, &later);
  }
  if (q->terms == 1) {
    term drop = {0};
    for (int i = 0; i < a.t.n; i++)
      if (!has(&q->out, a.t.label[i])) push(&drop, a.t.label[i]);
    squeeze(&a, &drop);
  }
  return cg_rewrite_by(&r, r.failed ? a.v : ordered(&a, &q->out));
}

bool cg_decompose_einsum(cg_module *m, cg_node *n) {
  cg_value **x;
  equation q;
  int count = cg_r_tensors(m, n, "tensors", &x);
  return !read(m, cg_r_text(n, "equation"), count, x, &q) && decompose(m, n, &q, x);
}

bool cg_decompose_tensordot(cg_module *m, cg_node *n) {
  cg_value *x[2];
  equation q;
  return !read_pairs(m, n, x, &q) && decompose(m, n, &q, x);
}
