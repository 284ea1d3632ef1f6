// From a group to its C function: which loops there are, how they are shared among threads.
#include "backend/c/loops.h"

#include <string.h>

// ---------------------------------------------------------------- which dims can be one loop

// Dims d and d + 1 are one loop if every access moves through them as through one dim of dim[d] * dim[d + 1] elements.
typedef struct {
  cg_sched *c;
  cg_group *g;
  cg_kernel *k;
  bool *joined;    // [rank]: d with d + 1
} merging;

// v is loaded from `start` on; NULL: nobody knows.
static void note_start(cg_kernel *k, const cg_value *v, const cg_expr *start) {
  for (int i = 0; i < k->start.n; i++) {
    cg_kernel_start *s = &k->start.at[i];
    if (s->value != v) continue;
    if (!start || (s->start && start->value < s->start->value)) s->start = start;
    return;
  }
  cg_kernel_start s = {v, start};
  CG_PUSH(k->c->s, &k->start, s);
}

static const cg_expr *coefficient(const te_sum *s, const te_expr *var) {
  for (int i = 0; i < s->n; i++)
    if (s->atom[i] == var) return s->coef[i];
  return NULL;
}

static void access(merging *m, const te_sum *s) {
  for (int d = 0; d + 1 < m->g->rank; d++) {
    const cg_expr *a = coefficient(s, m->g->at[d]), *b = coefficient(s, m->g->at[d + 1]);
    if (!a && !b) continue;
    if (!a || !b || a != cg_x_mul(&m->c->m->exprs, b, m->g->dim[d + 1])) m->joined[d] = false;
  }
}

static void look(merging *m, te_expr *e);

static void look_at_offset(merging *m, const cg_value *v, te_expr *offset) {
  te_sum s;
  bool sum = te_sum_of(m->c->t, offset, &s);
  note_start(m->k, v, sum && cg_kernel_starts_at(v, s.constant) ? s.constant : NULL);
  if (!sum) {
    memset(m->joined, 0, (size_t)m->g->rank);
    return;
  }
  access(m, &s);
  for (int i = 0; i < s.n; i++)
    if (s.atom[i]->kind != TE_VAR) look(m, s.atom[i]);
}

// A dim that is compared with a number can be the first one of a loop of several: i < n is i * d + j < n * d.
static bool compared(merging *m, const te_expr *e) {
  te_sum s;
  if ((e->kind != TE_LT && e->kind != TE_LE) || !te_sum_of(m->c->t, te_op(m->c->t, TE_SUB, e->arg[0], e->arg[1]), &s) || s.n != 1) return false;
  for (int d = 0; d < m->g->rank; d++) {
    if (m->g->at[d] != s.atom[0] || !(cg_x_is(s.coef[0], 1) || cg_x_is(s.coef[0], -1))) continue;
    if (d) m->joined[d - 1] = false;
    return true;
  }
  return false;
}

static void look(merging *m, te_expr *e) {
  if (!cg_c_first(m->c, e) || compared(m, e)) return;
  if (e->kind == TE_VAR) { // needed by itself
    for (int d = 0; d < m->g->rank; d++)
      if (m->g->at[d] == e) m->joined[d] = false, m->joined[d ? d - 1 : 0] = false;
    return;
  }
  if (e->kind == TE_LOAD) {
    look_at_offset(m, e->value, cg_c_offset(m->c, e->value, e->arg));
    return;
  }
  for (int i = 0; i < e->nargs; i++) look(m, e->arg[i]);
}

static bool empty(const cg_group *g) {
  for (int d = 0; d < g->rank; d++)
    if (cg_x_is(g->dim[d], 0)) return true;
  return false;
}

// A dim of 1 place at most (x[:1] of an open size) stays a loop of its own: joined with another, its place would be a constant.
static bool may_join(const cg_group *g, int d) {
  int64_t lo, hi;
  cg_x_range(g->dim[d], &lo, &hi);
  return hi > 1;
}

static void merge_dims(cg_loops *l) {
  cg_sched *c = l->c;
  cg_group *g = l->g;
  if (empty(g)) return;
  merging m = {c, g, l->k, CG_NEW_ARRAY(c->s, bool, g->rank + 1)};
  for (int d = 0; d + 1 < g->rank; d++) m.joined[d] = g->reduced[d] == g->reduced[d + 1] && may_join(g, d) && may_join(g, d + 1);
  cg_c_begin(c);
  for (int i = 0; i < g->member.n; i++) {
    cg_info *x = g->member.at[i];
    if (x->element) look(&m, x->element);
    if (x->final) look(&m, x->final);
  }
  for (int i = 0; i < g->member.n; i++) {
    cg_info *x = g->member.at[i];
    if (!x->stored) continue;
    te_sum s;
    te_expr *offset = cg_c_offset(c, x->value, x->idx);
    if (te_sum_of(c->t, offset, &s)) access(&m, &s);
  }
  for (int d = 0, e; d < g->rank; d = e) {
    for (e = d + 1; e < g->rank && m.joined[e - 1]; e++) {}
    if (e == d + 1) continue;
    const cg_expr *n = g->dim[d];
    for (int i = d + 1; i < e; i++) n = cg_x_mul(&c->m->exprs, n, g->dim[i]);
    te_unflat(c->t, te_new_var(c->t, n), e - d, g->dim + d, g->at + d);
  }
}

// The distinct loop variables behind the group's dims, in order.
static void collect_loops(cg_loops *l) {
  cg_group *g = l->g;
  for (int d = 0; d < g->rank; d++) {
    te_expr *v = g->at[d];
    while (v->kind != TE_VAR) v = v->arg[0]; // w // n, w % n
    bool seen = false;
    for (int i = 0; i < l->outer.n; i++) seen |= l->outer.at[i].var == v;
    for (int i = 0; i < l->inner.n; i++) seen |= l->inner.at[i].var == v;
    if (seen) continue;
    cg_loop loop = {v, te_var_extent(l->c->t, v->var), NULL, g->reduced[d]};
    if (loop.reduced) CG_PUSH(l->c->s, &l->inner, loop);
    else CG_PUSH(l->c->s, &l->outer, loop);
  }
}

// ---------------------------------------------------------------- which loop runs innermost

typedef struct {
  cg_sched *c;
  const te_expr *inner, *outer;
  int by_inner, by_outer, far_outer; // loads that move by one element with the innermost loop, the last outer loop
  int across;                        // by one with the outer, by more with the inner
} contiguity;

static void weigh(contiguity *w, te_expr *e) {
  if (!cg_c_first(w->c, e)) return;
  te_sum s;
  if (e->kind == TE_LOAD && te_sum_of(w->c->t, cg_c_offset(w->c, e->value, e->arg), &s)) {
    const cg_expr *a = coefficient(&s, w->inner), *b = coefficient(&s, w->outer);
    w->by_inner += a && cg_x_is(a, 1) && te_uses_var(e, w->outer->var); // else it is the same for all lanes
    w->by_outer += b && cg_x_is(b, 1);
    w->across += a && b && cg_x_is(b, 1) && !cg_x_is(a, 1);
    w->far_outer += b && !(cg_x_is_int(b) && b->value <= 4);
  }
  for (int i = 0; i < e->nargs; i++) weigh(w, e->arg[i]);
}

// Whether something lies in memory along the last outer loop, and is read along the inner one.
static bool wants_tiles(cg_loops *l) {
  const cg_loop *in = &l->inner.at[0], *out = &l->outer.at[l->outer.n - 1];
  contiguity w = {.c = l->c, .inner = in->var, .outer = out->var};
  if (cg_x_hint(in->extent) < 2 * CG_TILE || cg_x_hint(out->extent) < 4) return false;
  cg_c_begin(l->c);
  for (int i = 0; i < l->g->member.n; i++)
    if (l->g->member.at[i]->final) weigh(&w, l->g->member.at[i]->final);
  return w.across > 0;
}

static bool wants_lanes(cg_loops *l) {
  if (!l->g->reduces || !l->outer.n || !l->inner.n) return false;
  cg_loop *in = &l->inner.at[l->inner.n - 1], *out = &l->outer.at[l->outer.n - 1];
  contiguity w = {.c = l->c, .inner = in->var, .outer = out->var};
  cg_c_begin(l->c);
  double rows = (double)cg_x_hint(out->extent), inner = 1;
  for (int i = 0; i < l->inner.n; i++) inner *= (double)cg_x_hint(l->inner.at[i].extent);
  for (int i = 0; i < l->g->member.n; i++) {
    cg_info *x = l->g->member.at[i];
    if (x->element) weigh(&w, x->element);
    else if (x->final) weigh(&w, x->final);
  }
  if (w.by_outer > w.by_inner) return rows >= 4;
  return inner <= 64 && cg_x_hint(in->extent) <= 8 && rows >= 16 && !w.far_outer && w.by_inner <= 0;
}

static void name_loops(cg_loops *l) {
  for (int i = 0; i < l->outer.n; i++) l->outer.at[i].name = cg_kernel_local(l->k, "i0");
  for (int i = 0; i < l->inner.n; i++) l->inner.at[i].name = cg_kernel_local(l->k, "i0");
  if (l->lanes) l->lane.name = "j";
}

static double count(const cg_loop *at, int n) {
  double c = 1;
  for (int i = 0; i < n; i++) c *= (double)cg_x_hint(at[i].extent);
  return c;
}

void cg_c_make_loops(cg_loops *l) {
  cg_sched *c = l->c;
  cg_c_place_members(c, l->g);
  merge_dims(l);
  cg_c_place_members(c, l->g);
  collect_loops(l);
  if (!l->g->reduces && l->outer.n) { // no reductions: the last loop is the inner one
    cg_loop last = l->outer.at[--l->outer.n];
    CG_PUSH(c->s, &l->inner, last);
    l->direct = !l->outer.n;
    l->tiled = !l->direct && wants_tiles(l);
    l->chunked = l->tiled || (!l->direct && count(l->outer.at, l->outer.n) < 64 && count(l->inner.at, 1) > CG_CHUNK);
  } else if ((l->lanes = wants_lanes(l))) {
    l->lane = l->outer.at[--l->outer.n];
  }
  double rows = count(l->outer.at, l->outer.n);
  l->split = l->g->reduces && !l->lanes && l->inner.n == 1 && rows < 16 && count(l->inner.at, 1) > CG_SPLIT;
  for (int i = 0; i < l->g->member.n; i++) {
    cg_info *x = l->g->member.at[i];
    if (x->member == CG_MEMBER_FULL || (x->member == CG_MEMBER_REDUCE && (x->level || x->compute->combine >= TE_ARGMAX))) l->split = false;
  }
  name_loops(l);
}

// ---------------------------------------------------------------- the function

static const char *product_text(cg_loops *l, const cg_loop *at, int n) {
  const cg_expr *e = cg_x_int(&l->c->m->exprs, 1);
  for (int i = 0; i < n; i++) e = cg_x_mul(&l->c->m->exprs, e, at[i].extent);
  return cg_kernel_size(l->k, e);
}

// The indices of the outer loops from the flat one, the last one's too if nothing counts it.
static void decode(cg_loops *l, cg_str *out, const char *flat, bool last) {
  const char *rest = flat;
  for (int i = 0; i < l->outer.n - !last; i++) {
    const char *below = product_text(l, l->outer.at + i + 1, l->outer.n - i - 1);
    const char *name = l->outer.at[i].name;
    if (i == l->outer.n - 1) {
      if (strcmp(name, rest)) cg_str_addf(out, "    const int64_t %s = %s%s%s;\n", name, rest, i ? " % " : "", i ? cg_kernel_size(l->k, l->outer.at[i].extent) : "");
    } else if (!i) cg_str_addf(out, "    const int64_t %s = %s / %s;\n", name, rest, below);
    else cg_str_addf(out, "    const int64_t %s = %s / %s %% %s;\n", name, rest, below, cg_kernel_size(l->k, l->outer.at[i].extent));
  }
}

static int piece_of(const cg_loops *l) { return l->lanes ? CG_LANES : l->split ? CG_SPLIT : l->tiled ? CG_TILE : CG_CHUNK; }

// How many pieces of work there are; empty outer loops: 1.
static const char *items(cg_loops *l) {
  if (l->direct) return cg_kernel_size(l->k, l->inner.at[0].extent);
  const char *rows = product_text(l, l->outer.at, l->outer.n);
  const char *n = l->lanes ? cg_kernel_size(l->k, l->lane.extent) : cg_kernel_size(l->k, l->inner.n ? l->inner.at[0].extent : cg_x_int(&l->c->m->exprs, 1));
  int piece = piece_of(l);
  if (!l->lanes && !l->chunked && !l->split) return rows;
  return cg_format(l->c->s, "%s * ((%s + %d) / %d)", rows, n, piece - 1, piece);
}

// Loops over all the rows from begin to end: the last outer index is counted, what stands before it is found once for a run of them.
static void counted(cg_loops *l, cg_str *out) {
  const cg_loop *last = &l->outer.at[l->outer.n - 1];
  const char *n = cg_kernel_size(l->k, last->extent);
  cg_str_addf(out, "  for (int64_t w = begin, run; w < end; w += run) {\n    const int64_t first = w %% %s;\n", n);
  cg_str_addf(out, "    run = end - w < %s - first ? end - w : %s - first;\n", n, n);
  decode(l, out, "w", false);
  cg_str_addf(out, "    for (int64_t %s = first; %s < first + run; %s++) {\n", last->name, last->name, last->name);
}

static const char *part_text(cg_loops *l) {
  cg_session *s = l->c->s;
  cg_str b = cg_str_new(s), declared = cg_str_new(s), passed = cg_str_new(s), head = cg_str_new(s);
  bool loop = !l->direct && l->inner.n + l->outer.n + l->lanes > 0, pieces = l->lanes || l->chunked || l->split;
  const bool count = loop && !pieces && l->outer.n > 1;
  if (count) counted(l, &head);
  else if (loop) {
    const char *flat = l->outer.n == 1 && !pieces ? l->outer.at[0].name : "w";
    cg_str_addf(&head, "  for (int64_t %s = begin; %s < end; %s++) {\n", flat, flat, flat);
    if (pieces) {
      int piece = piece_of(l);
      const char *n = cg_kernel_size(l->k, l->lanes ? l->lane.extent : l->inner.at[0].extent);
      if (l->tiled) cg_str_addf(&head, "    const int64_t rows = %s;\n", product_text(l, l->outer.at, l->outer.n));
      else cg_str_addf(&head, "    const int64_t pieces = (%s + %d) / %d;\n", n, piece - 1, piece);
      cg_str_addf(&head, "    const int64_t lo = w %s * %d, hi = lo + %d < %s ? lo + %d : %s;\n", l->tiled ? "/ rows" : "% pieces", piece, piece, n, piece, n);
      if (l->outer.n) cg_str_addf(&head, "    const int64_t row = w %s;\n", l->tiled ? "% rows" : "/ pieces");
      flat = "row";
    }
    decode(l, &head, flat, true);
  }
  cg_kernel_parameters(l->k, &declared, &passed);
  cg_str_addf(&b, "static void %s_part(%s, int64_t begin, int64_t end", CG_C_NAME, cg_str_text(&declared));
  if (l->p.checks) cg_str_add(&b, ", int64_t *restrict err");
  if (l->threads_scratch) cg_str_add(&b, ", int64_t thread");
  cg_str_add(&b, ") {\n");
  if (!loop && !l->direct) cg_str_add(&b, "  (void)begin, (void)end;\n");
  for (int i = 0; i < l->k->param.n; i++) cg_str_addf(&b, "  (void)%s;\n", l->k->param.at[i].name);
  cg_str_add(&b, cg_str_text(&l->p.text[0]));
  cg_str_add(&b, cg_str_text(&head));
  cg_str_add(&b, count ? cg_c_deeper(s, cg_str_text(&l->out)) : cg_str_text(&l->out));
  if (count) cg_str_add(&b, "    }\n");
  if (loop) cg_str_add(&b, "  }\n");
  cg_str_add(&b, "}\n");
  return cg_str_text(&b);
}

enum { SERIAL_WORK = 40000 }; // additions: less than this is not worth waking threads for

static void dispatch(cg_loops *l) {
  cg_session *s = l->c->s;
  cg_str declared = cg_str_new(s), passed = cg_str_new(s), *b = &l->k->body;
  const char *n = items(l);
  double inside = l->direct ? 1 : l->chunked ? piece_of(l) : l->split ? CG_SPLIT : count(l->inner.at, l->inner.n) * (l->lanes ? CG_LANES : 1);
  double each = l->cost * inside + 1;
  cg_kernel_parameters(l->k, &declared, &passed);
  const char *extra = cg_format(s, "%s", l->p.checks ? ", err" : "");
  if (l->p.checks) cg_str_add(b, "  int64_t err[4] = {0};\n");
  cg_str_addf(b, "  const int64_t n = %s;\n", n);
  double least = SERIAL_WORK / each;
  cg_str_addf(b, "  if (threads < 2 || n < %lld) {\n", (long long)(least < 2 ? 2 : least));
  cg_str_addf(b, "    %s_part(%s, 0, n%s%s);\n", CG_C_NAME, cg_str_text(&passed), extra, l->threads_scratch ? ", 0" : "");
  cg_str_add(b, "  } else {\n");
  cg_str_addf(b, "    const int64_t team = threads < %d ? threads : %d;\n    cg_work work[team];\n    cg_work_shared(work, n, team, %d);\n", CG_KERNEL_MAX_THREADS, CG_KERNEL_MAX_THREADS,
              l->direct ? 64 : 1);
  cg_str_add(b, "    #pragma omp parallel num_threads(team)\n    {\n      const int64_t t = omp_get_thread_num();\n");
  cg_str_add(b, "      for (int64_t begin, end; cg_work_taken(work, team, t, &begin, &end);)\n");
  cg_str_addf(b, "        %s_part(%s, begin, end%s%s);\n    }\n  }\n", CG_C_NAME, cg_str_text(&passed), extra, l->threads_scratch ? ", t" : "");
  if (l->split) cg_str_addf(b, "  %s_finish(%s%s);\n", CG_C_NAME, cg_str_text(&passed), extra);
  if (l->p.checks) cg_str_add(b, "  if (err[0]) return cg_raised(err, detail);\n");
  l->k->cost = each * count(l->outer.at, l->outer.n) * (l->lanes ? count(&l->lane, 1) / CG_LANES : 1) * 0.1;
}

static double point_cost(cg_loops *l) {
  double cost = 0;
  cg_c_begin(l->c);
  for (int i = 0; i < l->g->member.n; i++) {
    cg_info *x = l->g->member.at[i];
    if (x->element) cost += cg_c_cost(l->c, x->element);
    else if (x->final && x->stored) cost += cg_c_cost(l->c, x->final) + 1;
  }
  return cost;
}

void cg_c_emit_group(cg_sched *c, cg_group *g) {
  cg_loops *l = CG_NEW(c->s, cg_loops);
  *l = (cg_loops){.c = c, .g = g, .out = cg_str_new(c->s)};
  l->k = cg_kernel_open(c, g, NULL);
  cg_c_make_loops(l);
  for (int i = 0; i < g->member.n; i++) {
    cg_info *x = g->member.at[i];
    if (x->stored) cg_c_plan_result(c, x);
  }
  if (empty(g) && !g->reduces) { // nothing to compute: only the results' names
    for (int i = 0; i < g->member.n; i++)
      if (g->member.at[i]->stored) cg_kernel_point(l->k, g->member.at[i]->plan, g->member.at[i]->value->type.dtype, true);
    cg_kernel_close(l->k);
    return;
  }
  l->cost = point_cost(l);
  cg_print_begin(&l->p, c, l->k);
  cg_c_passes(l);
  const char *part = part_text(l); // asks for the last sizes: before the parameters are passed
  dispatch(l);
  part = part_text(l);
  cg_str text = cg_str_new(c->s);
  cg_str_add(&text, part);
  cg_str_add(&text, cg_str_text(&l->k->before));
  l->k->before = text;
  cg_kernel_close(l->k);
}
