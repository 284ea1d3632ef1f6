// What a group computes inside its outer loop: passes over the inner loops, and what is done between them.
//
// Reductions of level 0 are done in the first pass, those that need their results in the next one, and so on. What a
// later pass needs again is computed again if that is cheap, else kept in a row of scratch, or read back from the result (keep.c).
//
// Sums in f32 are taken in blocks of CG_SUM_BLOCK in vector lanes, and block totals in f64: the error does not grow
// with the length (as it does not with pairwise summation).
#include "backend/c/pass_loops.h"

#include <string.h>

#include "backend/c/prelude.h"

// ---------------------------------------------------------------- rows of scratch

static const cg_expr *inner_count(cg_loops *l) {
  const cg_expr *n = cg_x_int(&l->c->m->exprs, l->lanes ? CG_LANES : 1);
  for (int i = 0; i < l->inner.n; i++) n = cg_x_mul(&l->c->m->exprs, n, l->inner.at[i].extent);
  return n;
}

// Place in a row of scratch: the inner loops' indices in C order, then the lane.
static const char *row_place(cg_loops *l) {
  cg_session *s = l->c->s;
  const char *at = "";
  for (int i = 0; i < l->inner.n; i++)
    at = i ? cg_format(s, "(%s) * %s + %s", at, cg_kernel_size(l->k, l->inner.at[i].extent), l->inner.at[i].name) : l->inner.at[i].name;
  return l->lanes ? cg_format(s, "(%s) * %d + j - lo", at, CG_LANES) : at;
}

static const char *row_of(cg_loops *l, cg_dtype t) {
  const cg_expr *n = inner_count(l);
  const char *name = cg_kernel_local(l->k, "row0"), *ctype = cg_kernel_computed(t);
  if (cg_x_is_int(n) && n->value <= CG_STACK_ROW) {
    cg_print_line(&l->p, 0, "%s %s[%lld] __attribute__((aligned(64)));", ctype, name, (long long)(n->value ? n->value : 1));
    return name;
  }
  cg_dtype stored = t == CG_F16 || t == CG_BF16 ? CG_F32 : t == CG_BOOL ? CG_U8 : t;
  const cg_expr *all = cg_x_mul(&l->c->m->exprs, n, cg_x_int(&l->c->m->exprs, CG_KERNEL_MAX_THREADS));
  const char *scratch = cg_kernel_scratch(l->k, stored, all);
  cg_print_line(&l->p, 0, "%s *restrict %s = %s + thread * %s;", cg_kernel_ctype(stored), name, scratch, cg_kernel_size(l->k, n));
  l->threads_scratch = true;
  return name;
}

// ---------------------------------------------------------------- one pass

// Whether f32 sums of this group need blocks: not where every innermost run is short, and there is only one.
static bool short_run(const cg_loops *l) {
  if (l->inner.n != 1) return l->inner.n == 0;
  const cg_expr *n = l->inner.at[0].extent;
  return cg_x_is_int(n) && n->value <= CG_SUM_BLOCK;
}

static void add_reduction(cg_pass_loops *q, cg_info *x) {
  cg_session *s = q->l->c->s;
  te_compute *k = x->compute;
  cg_reduction r = {.x = x, .is_float = cg_is_float(k->accumulate)};
  r.acc = r.part = cg_kernel_local(q->l->k, "a0");
  r.value = cg_kernel_local(q->l->k, cg_format(s, "v%s", r.acc));
  bool extreme = k->combine == TE_AMAX || k->combine == TE_AMIN;
  if (extreme && r.is_float) r.nan = cg_kernel_local(q->l->k, cg_format(s, "nan%s", r.acc));
  r.keyed = !q->l->lanes && cg_reduction_keyed(&r);
  if (cg_finds_place(k->combine) && !r.keyed) r.at = cg_kernel_local(q->l->k, cg_format(s, "at%s", r.acc));
  r.ordered = r.is_float && k->accumulate != CG_F64 && !q->l->lanes && extreme;
  if (r.ordered || r.keyed) r.key = cg_kernel_local(q->l->k, cg_format(s, "o%s", r.acc));
  bool f32 = r.is_float && k->accumulate != CG_F64;
  if (k->combine == TE_SUM && f32 && !short_run(q->l)) {
    r.wide = true;
    if (!q->l->lanes || q->l->inner.n == 1) r.part = cg_kernel_local(q->l->k, "b0");
    const cg_expr *n = q->l->inner.at[q->l->inner.n - 1].extent;
    if (!q->l->lanes && !(cg_x_is_int(n) && n->value <= CG_SUM_BLOCK)) q->blocked = true;
  }
  if (r.at && !q->l->lanes) q->simd = false;
  CG_PUSH(s, &q->red, r);
}

static const char *lane(const cg_loops *l) { return l->lanes ? "[j - lo]" : ""; }

static void update(cg_pass_loops *q, const cg_reduction *r) {
  cg_loops *l = q->l;
  cg_printer *p = &l->p;
  te_compute *k = r->x->compute;
  const char *x = cg_print_expr(p, r->x->element), *in = lane(l), *a = r->part;
  int d = l->deepest;
  switch (k->combine) {
  case TE_SUM: cg_print_line(p, d, "%s%s += %s;", a, in, x); return;
  case TE_PROD: cg_print_line(p, d, "%s%s *= %s;", a, in, x); return;
  case TE_ANY: cg_print_line(p, d, "%s%s |= %s;", a, in, x); return;
  case TE_ALL: cg_print_line(p, d, "%s%s &= %s;", a, in, x); return;
  case TE_AMAX:
  case TE_AMIN: {
    const char *op = k->combine == TE_AMAX ? ">" : "<";
    if (r->ordered) {
      cg_print_line(p, d, "const int32_t %s = cg_order(%s);", r->key, x);
      cg_print_line(p, d, "%s = %s %s %s ? %s : %s;", a, r->key, op, a, r->key, a);
      cg_print_line(p, d, "%s |= %s != %s;", r->nan, x, x);
      return;
    }
    if (r->is_float && l->lanes) cg_print_line(p, d, "%s%s = (%s %s %s%s) | (%s != %s) ? %s : %s%s;", a, in, x, op, a, in, x, x, x, a, in);
    else cg_print_line(p, d, "%s%s = %s %s %s%s ? %s : %s%s;", a, in, x, op, a, in, x, a, in);
    if (r->is_float && !l->lanes) cg_print_line(p, d, "%s |= %s != %s;", r->nan, x, x);
    return;
  }
  case TE_ARGMAX:
  case TE_ARGMIN: {
    const char *at = cg_print_expr(p, te_flat(l->c->t, k->nreduce, k->extent, r->x->ridx));
    const char *op = k->combine == TE_ARGMAX ? ">" : "<";
    if (r->keyed) {
      cg_print_line(p, d, "const int64_t %s = %s;", r->key, cg_reduction_key(l->c->s, r, x, cg_c_bare(l->c->s, at)));
      cg_print_line(p, d, "%s = %s %s %s ? %s : %s;", a, r->key, op, a, r->key, a);
      return;
    }
    if (l->lanes) {
      const char *is = cg_kernel_local(l->k, "better"), *nan = r->is_float ? cg_format(l->c->s, " | ((%s != %s) & (%s%s == %s%s))", x, x, a, in, a, in) : "";
      cg_print_line(p, d, "const bool %s = (%s %s %s%s)%s;", is, x, op, a, in, nan);
      cg_print_line(p, d, "%s%s = %s ? %s : %s%s;", a, in, is, x, a, in);
      cg_print_line(p, d, "%s%s = %s ? (%s)(%s) : %s%s;", r->at, in, is, cg_reduction_place_type(r), cg_c_bare(l->c->s, at), r->at, in);
      return;
    }
    cg_print_line(p, d, "if (%s %s %s%s) {", x, op, a, r->is_float ? cg_format(l->c->s, " || (%s != %s && %s == %s)", x, x, a, a) : "");
    cg_print_line(p, d, "  %s = %s;", a, x);
    cg_print_line(p, d, "  %s = %s;", r->at, at);
    cg_print_line(p, d, "}");
    return;
  }
  }
}

static void clear_text(cg_loops *l, int from) {
  for (int d = from; d < CG_PRINT_DEPTHS; d++) l->p.text[d] = cg_str_new(l->c->s);
}

// Names of what was computed in inner loops end with them.
static void forget_inner(cg_loops *l) {
  cg_printer *p = &l->p;
  int n = 0;
  for (int i = 0; i < p->scope.n; i++) {
    int k = p->scope.at[i];
    if (p->known.at[k].depth >= 2) p->known.at[k].name = NULL;
    else p->scope.at[n++] = k;
  }
  p->scope.n = n;
}

static void flush_outer(cg_loops *l) {
  cg_str_add(&l->out, cg_str_text(&l->p.text[1]));
  l->p.text[1] = cg_str_new(l->c->s);
}

// ---------------------------------------------------------------- between passes

static void store(cg_loops *l, cg_info *x, int depth) {
  cg_dtype t = x->value->type.dtype;
  te_expr *place = cg_c_offset(l->c, x->value, x->idx), *bits = te_bits(l->c->t, x->final);
  const bool half = (t == CG_F16 || t == CG_BF16) && !bits;
  const char *in_row = half ? cg_print_stored_in_row(&l->p, t, cg_kernel_point(l->k, x->plan, t, true), place, x->final) : NULL;
  if (in_row) {
    if (*in_row) cg_print_line(&l->p, depth, "%s", in_row);
    return;
  }
  const char *text = bits ? cg_print_expr(&l->p, bits) : cg_print_stored(&l->p, x->final, t, depth);
  const char *at = cg_print_expr(&l->p, place);
  cg_print_line(&l->p, depth, "%s[%s] = %s;", cg_kernel_point(l->k, x->plan, t, true), cg_c_bare(l->c->s, at), text);
}

// A reduction is complete: its value gets a name.
static void complete(cg_loops *l, const cg_reduction *r) {
  te_compute *k = r->x->compute;
  cg_session *s = l->c->s;
  bool place = cg_finds_place(k->combine);
  te_expr *acc = te_accumulator(l->c->t, r->x->value, place ? CG_I64 : k->accumulate);
  const char *name = r->acc;
  if (place) name = cg_format(s, "%s%s", cg_reduction_place(s, r), lane(l));
  else if (r->wide) name = cg_format(s, "(float)%s%s", r->acc, lane(l));
  else if (r->is_float && k->combine >= TE_AMAX && k->combine <= TE_AMIN && !l->lanes)
    name = cg_reduction_extreme(s, r);
  else name = cg_format(s, "%s%s", r->acc, lane(l));
  int d = l->lanes ? l->deepest : 1;
  cg_print_line(&l->p, d, "const %s %s = %s;", place ? "int64_t" : cg_kernel_computed(k->accumulate), r->value, name);
  cg_print_name(&l->p, acc, r->value);
}

// What earlier passes and rows left in arrays.
static void know_kept(cg_loops *l) {
  for (int i = 0; i < l->kept.n; i++) cg_print_name(&l->p, l->kept.at[i].e, l->kept.at[i].name);
}

static bool read_again(const cg_loops *l, int level) { return level < l->levels; }

// After the pass of this level (-1: before the first): values of the rows.
static void rows(cg_loops *l, const cg_reductions *red, int level, int in) {
  if (l->lanes) {
    clear_text(l, 2);
    know_kept(l);
  }
  for (int i = 0; red && i < red->n; i++) complete(l, &red->at[i]);
  cg_str arrays = cg_str_new(l->c->s);
  bool any = red && red->n;
  for (int i = 0; i < l->g->member.n; i++) {
    cg_info *x = l->g->member.at[i];
    bool mine = (x->member == CG_MEMBER_REDUCE && x->level == level) || (x->member == CG_MEMBER_ROW && x->level == level + 1);
    if (!mine) continue;
    if (x->stored) store(l, x, l->lanes ? l->deepest : 1), any = true;
    if (!l->lanes || !read_again(l, level + 1)) continue;
    const char *array = cg_kernel_local(l->k, "r0");
    cg_str_addf(&arrays, "    %s %s[%d] __attribute__((aligned(64)));\n", cg_kernel_computed(x->value->type.dtype), array, CG_LANES);
    cg_print_line(&l->p, l->deepest, "%s[j - lo] = %s;", array, cg_print_expr(&l->p, x->final));
    cg_kept kept = {x->final, cg_format(l->c->s, "%s[j - lo]", array)};
    CG_PUSH(l->c->s, &l->kept, kept);
    any = true;
  }
  if (!l->lanes || !any) return;
  flush_outer(l);
  cg_str_add(&l->out, cg_str_text(&arrays));
  cg_str_add(&l->out, "#pragma omp simd\n");
  cg_indent(&l->out, in);
  cg_str_add(&l->out, "for (int64_t j = lo; j < hi; j++) {\n");
  cg_str_add(&l->out, cg_str_text(&l->p.text[l->deepest]));
  cg_indent(&l->out, in);
  cg_str_add(&l->out, "}\n");
  forget_inner(l);
}

// Few rows: this piece's totals go to memory; `finish` puts them together.
static void store_pieces(cg_loops *l, const cg_reductions *red);

enum { LONG_ROW = 64 };    // elements: shorter loops are not cut where rows differ
enum { SHORT_ROW = 16 };   // elements: shorter rows of half precision are not worth a block, shorter loops no cut
enum { LONG_BODY = 4000 }; // bytes: longer bodies are not repeated for each piece of a loop

static void one_pass(cg_loops *l, int level, const cg_keeps *keeps) {
  cg_session *s = l->c->s;
  cg_pass_loops ps = {.l = l, .simd = l->inner.n + l->lanes > 0};
  int base = l->direct ? 1 : 2;
  clear_text(l, 2);
  know_kept(l);
  for (int i = 0; i < l->g->member.n; i++)
    if (l->g->member.at[i]->member == CG_MEMBER_REDUCE && l->g->member.at[i]->level == level) add_reduction(&ps, l->g->member.at[i]);
  for (int d = 2; d < CG_PRINT_DEPTHS; d++) l->p.indent[d] = base + d - 1 + (d == l->deepest && ps.blocked);
  l->p.indent[1] = base;
  const cg_loop *last = l->lanes ? &l->lane : l->inner.n ? &l->inner.at[l->inner.n - 1] : NULL;
  l->p.row_var = last && last->var->kind == TE_VAR && cg_x_hint(last->extent) >= SHORT_ROW ? last->var : NULL;
  l->p.row_start = l->lanes ? "lo" : NULL;
  l->p.row.n = l->p.gathered.n = 0;
  ps.unrolled = ps.simd && cg_c_unrolls(l, level);
  if (last && !ps.unrolled && last->var->kind == TE_VAR && cg_c_one_by_one(l, level, last->var)) ps.simd = false;
  if (ps.unrolled) l->p.row_var = NULL;
  l->p.vectors = ps.simd && !ps.unrolled ? l->deepest : CG_PRINT_DEPTHS;
  bool cuts = last && !l->lanes && !ps.unrolled && !ps.red.n;
  for (int i = 0; cuts && i < l->g->member.n; i++) {
    const cg_info *x = l->g->member.at[i];
    if (x->member == CG_MEMBER_FULL && x->stored && x->level == level) cg_c_cuts(l, x->final, last, &ps.cuts);
  }
  for (int i = 0; cuts && !ps.cuts.n && i < l->g->member.n && ps.simd && cg_x_hint(last->extent) >= LONG_ROW; i++) {
    const cg_info *x = l->g->member.at[i];
    if (x->member == CG_MEMBER_FULL && x->stored && x->level == level) cg_c_cuts_by_row(l, x->final, last, &ps.cuts);
  }
  if (ps.cuts.n > CG_MOST_CUTS && ps.cuts.from) ps.cuts = (cg_cuts){0};
  l->p.bf16_rows = ps.simd && !ps.unrolled && !ps.red.n && !l->lanes && !ps.cuts.n && cg_kernel_vector_bytes(l->k) >= 32 && !cg_c_calls(l, level);
  if (ps.cuts.from) ps.from = cg_print_expr(&l->p, ps.cuts.from);
  for (int i = 0; i < ps.cuts.ncompared; i++) cg_print_name(&l->p, ps.cuts.compared[i].e, ps.cuts.compared[i].name);
  for (int i = 0; i < l->g->member.n; i++) {
    cg_info *x = l->g->member.at[i];
    if (x->member == CG_MEMBER_FULL && x->stored && x->level == level) store(l, x, l->deepest);
  }
  for (int i = 0; i < ps.red.n; i++) update(&ps, &ps.red.at[i]);
  for (int i = 0; i < keeps->n; i++) {
    cg_kept kept = {.e = keeps->at[i].e};
    if (keeps->at[i].pass != level) continue;
    cg_info *x = cg_c_full_result(l, kept.e);
    if (x) {
      const char *at = cg_print_expr(&l->p, cg_c_offset(l->c, x->value, x->idx));
      kept.name = cg_format(s, "(%s)", cg_kernel_load(l->k, x->value->type.dtype, cg_kernel_point(l->k, x->plan, x->value->type.dtype, true), at));
    } else {
      const char *row = row_of(l, kept.e->dtype), *at = row_place(l);
      cg_print_line(&l->p, l->deepest, "%s[%s] = %s;", row, at, cg_print_expr(&l->p, kept.e));
      kept.name = cg_format(s, "%s[%s]", row, at);
    }
    CG_PUSH(s, &l->kept, kept);
  }
  l->p.row_var = NULL;
  const char *body = cg_str_text(&l->p.text[l->deepest]);
  if (!cuts || ps.cuts.n > CG_MOST_CUTS || strlen(body) > LONG_BODY || (!cg_x_is_int(last->extent) && cg_x_hint(last->extent) < SHORT_ROW)) ps.cuts.n = 0;
  if (strstr(body, "cg_raise")) ps.simd = ps.unrolled = false;
  if (ps.unrolled && strlen(body) * (size_t)last->extent->value > CG_UNROLLED * LONG_BODY) ps.unrolled = false;
  if (ps.simd && !ps.unrolled && !ps.red.n && cg_kernel_vector_bytes(l->k) >= 32 && l->deepest > 1) {
    ps.far = cg_kernel_local(l->k, "far");
    ps.near = cg_near_body(s, body, ps.far);
  }
  if (ps.cuts.ncompared && (!ps.cuts.n || ps.near)) {
    ps.cuts.n = 0;
    body = cg_pass_compared(&ps, last->name, body);
    l->p.text[l->deepest] = cg_str_new(s);
    cg_str_add(&l->p.text[l->deepest], body);
    if (ps.near) ps.near = cg_near_body(s, body, ps.far);
  }
  ps.held = cg_pass_held(&ps, body);
  if (!l->lanes && ((l->p.row.n && !ps.held) || ps.near)) ps.blocked = true; // lanes are few
  if (l->deepest > 1) {
    flush_outer(l);
    cg_pass_declare(&ps, &l->out, base);
    cg_pass_write(&ps, &l->out, base);
  } else { // no inner loop at all: one element
    cg_str updates = l->p.text[1];
    cg_str declared = cg_str_new(s);
    cg_pass_declare(&ps, &declared, base);
    cg_str_add(&l->out, cg_str_text(&declared));
    cg_str_add(&l->out, cg_str_text(&updates));
    l->p.text[1] = cg_str_new(s);
  }
  forget_inner(l);
  if (l->split) store_pieces(l, &ps.red);
  else rows(l, &ps.red, level, base);
}

// ---------------------------------------------------------------- few rows

static void store_pieces(cg_loops *l, const cg_reductions *all) {
  cg_session *s = l->c->s;
  cg_reductions copy = {0}, *red = &copy;
  for (int i = 0; i < all->n; i++) CG_PUSH(s, red, all->at[i]);
  cg_expr_pool *pool = &l->c->m->exprs;
  const cg_expr *n = l->inner.at[0].extent, *pieces = cg_x_floordiv(pool, cg_x_add(pool, n, cg_x_int(pool, CG_SPLIT - 1)), cg_x_int(pool, CG_SPLIT));
  const cg_expr *items = pieces;
  for (int i = 0; i < l->outer.n; i++) items = cg_x_mul(pool, items, l->outer.at[i].extent);
  cg_printer *p = &l->p;
  cg_str finish = cg_str_new(s);
  for (int i = 0; i < red->n; i++) {
    const cg_reduction *r = &red->at[i];
    const char *to = cg_kernel_scratch(l->k, cg_reduction_piece_type(r), items);
    const char *v = r->acc;
    if (r->is_float && (r->x->compute->combine == TE_AMAX || r->x->compute->combine == TE_AMIN)) v = cg_reduction_extreme(s, r);
    cg_print_line(p, 1, "%s[w] = %s;", to, v);
    red->at[i].ordered = false; // pieces are plain numbers, NaN among them
    cg_reduction_combine_pieces(r, to, &finish);
  }
  flush_outer(l);
  // The second function: one row after another. NaN was put into the pieces, so accumulators hold it.
  cg_print_forget(p, 0);
  for (int i = 0; i < red->n; i++) {
    cg_reduction r = red->at[i];
    te_compute *k = r.x->compute;
    te_expr *acc = te_accumulator(l->c->t, r.x->value, k->accumulate);
    cg_print_line(p, 1, "const %s %s = %s;", cg_kernel_computed(k->accumulate), r.value, r.acc);
    cg_print_name(p, acc, r.value);
  }
  cg_str outer0 = p->text[0];
  p->text[0] = cg_str_new(s);
  for (int i = 0; i < l->g->member.n; i++)
    if (l->g->member.at[i]->stored) store(l, l->g->member.at[i], 1);
  cg_str declared = cg_str_new(s), passed = cg_str_new(s);
  cg_kernel_size(l->k, items);
  cg_kernel_parameters(l->k, &declared, &passed);
  cg_str *b = &l->k->before;
  cg_str_addf(b, "static void %s_finish(%s%s) {\n", CG_C_NAME, cg_str_text(&declared), p->checks ? ", int64_t *restrict err" : "");
  for (int i = 0; i < l->k->param.n; i++) cg_str_addf(b, "  (void)%s;\n", l->k->param.at[i].name);
  if (p->checks) cg_str_add(b, "  (void)err;\n");
  cg_str_add(b, cg_str_text(&p->text[0]));
  const cg_expr *rows = cg_x_int(pool, 1);
  for (int i = 0; i < l->outer.n; i++) rows = cg_x_mul(pool, rows, l->outer.at[i].extent);
  cg_str_addf(b, "  const int64_t pieces = %s;\n", cg_kernel_size(l->k, pieces));
  cg_str_addf(b, "  for (int64_t row = 0; row < %s; row++) {\n", cg_kernel_size(l->k, rows));
  const char *rest = "row";
  for (int i = 0; i < l->outer.n; i++) {
    const cg_expr *below = cg_x_int(pool, 1);
    for (int d = i + 1; d < l->outer.n; d++) below = cg_x_mul(pool, below, l->outer.at[d].extent);
    cg_str_addf(b, "    const int64_t %s = %s / %s %% %s;\n", l->outer.at[i].name, rest, cg_kernel_size(l->k, below), cg_kernel_size(l->k, l->outer.at[i].extent));
    cg_str_addf(b, "    (void)%s;\n", l->outer.at[i].name);
  }
  cg_str_add(b, cg_str_text(&finish));
  cg_str_add(b, cg_str_text(&p->text[1]));
  cg_str_add(b, "  }\n}\n");
  p->text[1] = cg_str_new(s);
  p->text[0] = outer0;
}

// ---------------------------------------------------------------- all of it

void cg_c_passes(cg_loops *l) {
  cg_printer *p = &l->p;
  for (int i = 0; i < l->outer.n; i++) cg_print_var(p, l->outer.at[i].var, l->outer.at[i].name, 1);
  for (int i = 0; i < l->inner.n; i++) cg_print_var(p, l->inner.at[i].var, l->inner.at[i].name, 2 + i);
  l->deepest = 1 + l->inner.n + l->lanes;
  if (l->lanes) {
    cg_print_var(p, l->lane.var, "j", l->deepest);
    p->accumulator_depth = l->deepest;
  }
  if (!l->outer.n && !l->inner.n && !l->lanes) p->leave[1] = "return";
  l->levels = 0;
  for (int i = 0; i < l->g->member.n; i++) {
    cg_info *x = l->g->member.at[i];
    bool inside = x->member == CG_MEMBER_REDUCE || (x->member == CG_MEMBER_FULL && x->stored);
    if (inside && x->level >= l->levels) l->levels = x->level + 1;
  }
  cg_keeps keeps = cg_c_keep(l);
  p->vectors = l->lanes ? l->deepest : CG_PRINT_DEPTHS;
  p->indent[1] = 2;
  for (int d = 2; d < CG_PRINT_DEPTHS; d++) p->indent[d] = d + 1;
  if (!l->split) rows(l, NULL, -1, 2);
  if (!cg_c_unrolls(l, 0)) cg_c_columns(l);
  for (int level = 0; level < l->levels; level++) one_pass(l, level, &keeps);
  flush_outer(l);
}
