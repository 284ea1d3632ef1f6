// How the loops of a pass are written: in pieces where comparisons cut them, in blocks, over lanes, several places at a time, in registers,
// once for arguments that are near and once for those that are far.
#include "backend/c/pass_loops.h"

#include <string.h>

#include "backend/c/prelude.h"

enum { HELD_BODY = 1500 }; // bytes: longer bodies are not held in registers
enum { HELD_LINES = 5 };   // without half precision
enum { HELD_BLOCKS = 4 };  // blocks of CG_SUM_BLOCK are one where each of some dozens of accumulators adds a part of it

void cg_indent(cg_str *b, int n) {
  for (int i = 0; i < n; i++) cg_str_add(b, "  ");
}

void cg_pass_declare(cg_pass_loops *q, cg_str *out, int in) {
  for (int i = 0; i < q->red.n; i++) {
    cg_reduction *r = &q->red.at[i];
    cg_indent(out, in);
    if (q->l->lanes) {
      cg_str_addf(out, "%s %s[%d] __attribute__((aligned(64)));\n", cg_reduction_type(r), r->acc, CG_LANES);
      cg_indent(out, in);
      cg_str_addf(out, "for (int64_t j = 0; j < %d; j++) %s[j] = %s;\n", CG_LANES, r->acc, cg_reduction_initial(r));
      if (r->at) cg_indent(out, in), cg_str_addf(out, "%s %s[%d] __attribute__((aligned(64))) = {0};\n", cg_reduction_place_type(r), r->at, CG_LANES);
      continue;
    }
    cg_str_addf(out, "%s %s = %s;\n", cg_reduction_type(r), r->acc, cg_reduction_initial(r));
    if (r->nan) cg_indent(out, in), cg_str_addf(out, "int %s = 0;\n", r->nan);
    if (r->at) cg_indent(out, in), cg_str_addf(out, "int64_t %s = 0;\n", r->at);
  }
}

static const char *copy(const cg_map *own, const char *name, int i) { return ((const char *const *)cg_map_get(own, name))[i]; }

// own: the names of copies, where there are some.
static void clauses(cg_pass_loops *q, cg_str *out, int copies, const cg_map *own) {
  static const char *const op[] = {[TE_SUM] = "+", [TE_PROD] = "*", [TE_AMAX] = "max", [TE_AMIN] = "min", [TE_ANY] = "|", [TE_ALL] = "&",
                                   [TE_ARGMAX] = "max", [TE_ARGMIN] = "min"}; // keyed
  for (int i = 0; i < q->red.n && !q->l->lanes; i++) {
    cg_reduction *r = &q->red.at[i];
    te_combine c = r->x->compute->combine;
    for (int k = 0; copies > 1 && k < copies; k++) {
      cg_str_addf(out, " reduction(%s:%s)", op[c], copy(own, r->part, k));
      if (r->ordered) cg_str_addf(out, " reduction(|:%s)", copy(own, r->nan, k));
    }
    if (copies > 1) continue;
    cg_str_addf(out, " reduction(%s:%s)", op[c], r->part);
    if (r->nan) cg_str_addf(out, " reduction(|:%s)", r->nan);
  }
}

// The range of inner loop i.
static void range(cg_pass_loops *q, int i, const char **lo, const char **hi) {
  cg_loops *l = q->l;
  *lo = "0", *hi = cg_kernel_size(l->k, l->inner.at[i].extent);
  if (i) return;
  if (l->direct) *lo = "begin", *hi = "end";
  if (l->chunked || l->split) *lo = "lo", *hi = "hi";
}

static void parts(cg_pass_loops *q, cg_str *out, int in, bool open) {
  for (int i = 0; i < q->red.n; i++) {
    cg_reduction *r = &q->red.at[i];
    if (r->part == r->acc) continue;
    cg_indent(out, in);
    if (q->l->lanes && open) cg_str_addf(out, "%s %s[%d] __attribute__((aligned(64))) = {0};\n", cg_reduction_part_type(r), r->part, CG_LANES);
    else if (q->l->lanes) cg_str_addf(out, "for (int64_t j = 0; j < %d; j++) %s[j] += %s[j];\n", CG_LANES, r->acc, r->part);
    else if (open) cg_str_addf(out, "%s %s = 0;\n", cg_reduction_part_type(r), r->part);
    else cg_str_addf(out, "%s += %s;\n", r->acc, r->part);
  }
}

// The innermost loop from lo to hi over `body`, which is for `copies` places at a time.
static void innermost(cg_pass_loops *q, cg_str *out, int in, const char *name, const char *lo, const char *hi, const char *body, int copies,
                      const cg_map *own) {
  if (!*body) return; // rows alone
  if (q->unrolled) cg_str_addf(out, "#pragma GCC unroll %d\n", CG_UNROLLED);
  else if (q->simd) {
    cg_str_add(out, "#pragma omp simd");
    clauses(q, out, copies, own);
    cg_str_addc(out, '\n');
  }
  cg_indent(out, in);
  cg_str_addf(out, "for (int64_t %s = %s; %s < %s; %s++) {\n%s", name, lo, name, hi, name, body);
  cg_indent(out, in);
  cg_str_add(out, "}\n");
}

// One piece of it, with what comparisons come to there.
static void piece(cg_pass_loops *q, cg_str *out, int in, int i, const char *name, const char *lo, const char *hi, const char *body) {
  const cg_cuts *c = &q->cuts;
  const int64_t at = i ? c->at[i - 1] : c->at[0] - 1;
  if (c->from) {
    cg_indent(out, in++);
    cg_str_add(out, "{\n");
  }
  for (int k = 0; k < c->ncompared; k++) {
    cg_indent(out, in);
    cg_str_addf(out, "const bool %s = %d;\n", c->compared[k].name, at >= c->compared[k].first && at < c->compared[k].end);
  }
  innermost(q, out, in, name, lo, hi, body, 1, NULL);
  if (!c->from) return;
  cg_indent(out, --in);
  cg_str_add(out, "}\n");
}

// What comparisons come to where the loop stays whole.
const char *cg_pass_compared(cg_pass_loops *q, const char *name, const char *body) {
  cg_session *s = q->l->c->s;
  cg_str out = cg_str_new(s);
  for (int k = 0; k < q->cuts.ncompared; k++) {
    const cg_compared *x = &q->cuts.compared[k];
    const char *first = x->first == INT64_MIN ? NULL : cg_format(s, "%s >= %s + %lld", name, q->from, (long long)x->first);
    const char *end = x->end == INT64_MAX ? NULL : cg_format(s, "%s < %s + %lld", name, q->from, (long long)x->end);
    cg_indent(&out, q->l->p.indent[q->l->deepest]);
    cg_str_addf(&out, "const bool %s = %s%s%s;\n", x->name, first ? first : "", first && end ? " && " : "", end ? end : "");
  }
  cg_str_add(&out, body);
  return cg_str_text(&out);
}

// The innermost loop, cut: each piece ends at the loop's end or at a number that bounds its index.
static void in_pieces(cg_pass_loops *q, cg_str *out, int in, const char *name, const char *lo, const char *hi, const char *body) {
  cg_loops *l = q->l;
  bool whole = !q->cuts.from && !strcmp(lo, "0") && cg_x_is_int(l->inner.at[l->inner.n - 1].extent);
  const char *from = lo;
  for (int i = 0; i < q->cuts.n; i++) {
    const char *at = cg_format(l->c->s, "%lld", (long long)q->cuts.at[i]), *to = at, *next = at;
    if (q->cuts.from) at = q->cuts.at[i] ? cg_format(l->c->s, "(%s + %s)", q->from, at) : q->from;
    if (!whole) {
      to = cg_kernel_local(l->k, "cut"), next = cg_kernel_local(l->k, "cut");
      cg_indent(out, in);
      cg_str_addf(out, "const int64_t %s = %s < %s ? %s : %s, %s = %s > %s ? %s : %s;\n", to, hi, at, hi, at, next, from, at, from, at);
    }
    piece(q, out, in, i, name, from, to, body);
    from = next;
  }
  piece(q, out, in, q->cuts.n, name, from, hi, body);
}

// In how many parts the innermost loop is taken, one vector of each at a time. *even: nothing is left over.
static int copies_of(cg_pass_loops *q, bool *even) {
  cg_loops *l = q->l;
  int n = l->inner.n, lanes = cg_kernel_vector_bytes(l->k) / 4;
  if (!q->simd || q->unrolled || l->lanes || !n) return 1;
  for (int i = 0; i < q->red.n; i++)
    if (!q->red.at[i].ordered && (q->red.at[i].x->compute->combine != TE_SUM || strcmp(cg_reduction_part_type(&q->red.at[i]), "float"))) return 1;
  int copies = cg_c_interleave_copies(l->c->s, cg_str_text(&l->p.text[1 + n]), cg_kernel_vector_bytes(l->k));
  const cg_expr *extent = l->inner.at[n - 1].extent;
  *even = cg_x_is_int(extent) && (n > 1 || !(l->direct || l->chunked || l->split));
  int64_t run = q->blocked ? CG_SUM_BLOCK : *even ? extent->value : cg_x_hint(extent);
  while (copies > 1 && run < copies * lanes) copies /= 2;
  *even = *even && copies > 1 && run % (copies * lanes) == 0 && extent->value % run == 0; // run > 0 then
  return copies;
}

static void interleaved(cg_pass_loops *q, cg_str *out, int in, const char *name, const char *lo, const char *hi, const char *body, int copies, bool even) {
  cg_session *s = q->l->c->s;
  cg_kernel *k = q->l->k;
  int lanes = cg_kernel_vector_bytes(k) / 4;
  cg_map own = {0};
  const char *part = cg_kernel_local(k, "part"), *at = cg_kernel_local(k, "at"), *const *place = cg_c_copies(k, &own, name, copies);
  cg_indent(out, in);
  if (even) cg_str_addf(out, "const int64_t %s = (%s - %s) / %d; // %d parts, a vector of each at a time\n", part, hi, lo, copies, copies);
  else
    cg_str_addf(out, "const int64_t %s = (%s - %s) / %d * %d; // %d parts, a vector of each at a time; then the rest\n", part, hi, lo,
                copies * lanes, lanes, copies);
  for (int i = 0; i < q->red.n; i++) {
    const cg_reduction *r = &q->red.at[i];
    const char *const *sum = cg_c_copies(k, &own, r->part, copies), *const *nan = r->ordered ? cg_c_copies(k, &own, r->nan, copies) : NULL;
    cg_indent(out, in);
    cg_str_addf(out, "%s ", cg_reduction_part_type(r));
    for (int c = 0; c < copies; c++) cg_str_addf(out, "%s%s = %s", c ? ", " : "", sum[c], cg_reduction_initial(r));
    for (int c = 0; c < copies && nan; c++) cg_str_addf(out, "%s%s = 0", c ? ", " : ";\n    int ", nan[c]);
    cg_str_add(out, ";\n");
  }
  cg_str places = cg_str_new(s);
  cg_indent(&places, in + 1);
  cg_str_addf(&places, "const int64_t %s = %s + %s", place[0], lo, at);
  for (int c = 1; c < copies; c++) cg_str_addf(&places, ", %s = %s + %s", place[c], place[c - 1], part);
  cg_str_addf(&places, ";\n%s", cg_c_interleave(k, body, copies, &own));
  innermost(q, out, in, at, "0", part, cg_str_text(&places), copies, &own);
  for (int i = 0; i < q->red.n; i++) {
    const cg_reduction *r = &q->red.at[i];
    for (int c = 0; c < copies && r->ordered; c++) {
      const char *x = copy(&own, r->part, c);
      cg_indent(out, in);
      cg_str_addf(out, "%s = %s %s %s ? %s : %s, %s |= %s;\n", r->part, x, r->x->compute->combine == TE_AMAX ? ">" : "<", r->part, x, r->part,
                  r->nan, copy(&own, r->nan, c));
    }
    if (r->ordered) continue;
    cg_indent(out, in);
    cg_str_addf(out, "%s += %s", r->part, copy(&own, r->part, 0));
    for (int c = 1; c < copies; c++) cg_str_addf(out, " + %s", copy(&own, r->part, c));
    cg_str_add(out, ";\n");
  }
  if (!even) innermost(q, out, in, name, cg_format(s, "%s + %d * %s", lo, copies, part), hi, body, 1, NULL);
}

// Rows of half precision become floats before a block of the innermost loop, at most `most` long, and floats rows after it.
static void rows_of_block(cg_pass_loops *q, cg_str *out, int in, const char *lo, const char *count, int most, bool after) {
  for (int i = 0; i < q->l->p.row.n; i++) {
    const cg_print_row *r = &q->l->p.row.at[i];
    if (!after && !r->direct) cg_indent(out, in), cg_str_addf(out, "float %s[%d] __attribute__((aligned(64)));\n", r->name, most);
    if (r->stored != after) continue;
    cg_indent(out, in);
    if (after) cg_str_addf(out, "%s(%s + %s, %s, %s);\n", r->convert, r->memory, lo, r->name, count);
    else cg_str_addf(out, "%s(%s, %s + %s, %s);\n", r->convert, r->name, r->memory, lo, count);
  }
}

static bool is_double(const cg_reduction *r) { return !strcmp(cg_reduction_part_type(r), "double"); }
static bool multiplies(const cg_reduction *r) { return r->x->compute->combine == TE_PROD; }
static bool sums(const cg_reduction *r) { // or products
  return (r->x->compute->combine == TE_SUM || multiplies(r)) && (is_double(r) || !strcmp(cg_reduction_part_type(r), "float"));
}

// How many places to hold in registers: vectors enough that additions need not wait for each other. What is computed at length gains
// nothing, and without half precision only long loops that do little else than add.
int cg_pass_held(const cg_pass_loops *q, const char *body) {
  const cg_loops *l = q->l;
  int lanes = cg_kernel_vector_bytes(l->k) / 4, n = (q->red.n ? 4 : 2) * lanes;
  if (!q->simd || q->unrolled || q->near || q->cuts.n || l->lanes || !l->inner.n || lanes < 8 || !(l->p.row.n || q->red.n) || strlen(body) > HELD_BODY) return 0;
  bool wide = false;
  for (int i = 0; i < q->red.n; i++) {
    if (!sums(&q->red.at[i]) && !q->red.at[i].ordered) return 0;
    wide |= is_double(&q->red.at[i]);
  }
  if (wide) lanes /= 2, n /= 2;
  const int64_t run = cg_x_hint(l->inner.at[l->inner.n - 1].extent);
  if (!l->p.row.n && (run < CG_SUM_BLOCK || cg_c_lines(body) > HELD_LINES)) return 0;
  while (n > lanes && n > run) n /= 2;
  return n;
}

const char *cg_c_deeper(cg_session *s, const char *body) {
  cg_str out = cg_str_new(s);
  for (const char *line = body; *line;) {
    size_t n = strcspn(line, "\n");
    n += line[n] == '\n';
    if (*line != '#') cg_str_add(&out, "  ");
    cg_str_addn(&out, line, n);
    line += n;
  }
  return cg_str_text(&out);
}

// The innermost loop, so many places at a time that all of them stay in registers: arrays of that length, which the C compiler keeps
// there. Reductions have an accumulator for each place.
static void in_registers(cg_pass_loops *q, cg_str *out, int in, const char *name, const char *lo, const char *hi, const char *body) {
  cg_session *s = q->l->c->s;
  cg_kernel *k = q->l->k;
  const char *at = cg_kernel_local(k, "at"), *c = q->l->p.row_start ? q->l->p.row_start : cg_kernel_local(k, "c0"), *n = cg_format(s, "%d", q->held);
  cg_map own = {0};
  body = cg_c_deeper(s, body);
  for (int i = 0; i < q->red.n; i++) {
    const cg_reduction *r = &q->red.at[i];
    const char *of[] = {r->part, r->ordered ? r->nan : NULL};
    for (int j = 0; j < 2 && of[j]; j++) {
      const char *const *one = cg_c_copies(k, &own, of[j], 1);
      cg_indent(out, in);
      cg_str_addf(out, "%s %s[%s];\n", j ? "int" : cg_reduction_part_type(r), *one, n);
      cg_indent(out, in);
      cg_str_addf(out, "for (int %s = 0; %s < %s; %s++) %s[%s] = %s;\n", at, at, n, at, *one, at, j ? "0" : cg_reduction_initial(r));
      cg_map_set(s, &own, of[j], cg_memdup(s, (const char *[]){cg_format(s, "%s[%s]", *one, at)}, sizeof(char *)));
    }
  }
  cg_indent(out, in);
  cg_str_addf(out, "int64_t %s = %s;\n", c, lo);
  cg_indent(out, in);
  cg_str_addf(out, "for (; %s + %s <= %s; %s += %s) {\n", c, n, hi, c, n);
  rows_of_block(q, out, in + 1, c, n, q->held, false);
  if (*body) {
    cg_str_add(out, "#pragma omp simd\n");
    cg_indent(out, in + 1);
    cg_str_addf(out, "for (int %s = 0; %s < %s; %s++) {\n", at, at, n, at);
    cg_indent(out, in + 2);
    cg_str_addf(out, "const int64_t %s = %s + %s;\n%s", name, c, at, cg_c_renamed(s, body, 0, &own));
    cg_indent(out, in + 1);
    cg_str_add(out, "}\n");
  }
  rows_of_block(q, out, in + 1, c, n, q->held, true);
  cg_indent(out, in);
  cg_str_add(out, "}\n");
  if (q->red.n) {
    cg_str_add(out, "#pragma omp simd");
    clauses(q, out, 1, NULL);
    cg_str_addc(out, '\n');
    cg_indent(out, in);
    cg_str_addf(out, "for (int %s = 0; %s < %s; %s++) {\n", at, at, n, at);
    for (int i = 0; i < q->red.n; i++) {
      const cg_reduction *r = &q->red.at[i];
      const char *x = copy(&own, r->part, 0);
      cg_indent(out, in + 1);
      if (!r->ordered) cg_str_addf(out, "%s %s= %s;\n", r->part, multiplies(r) ? "*" : "+", x);
      else
        cg_str_addf(out, "%s = %s %s %s ? %s : %s, %s |= %s;\n", r->part, x, r->x->compute->combine == TE_AMAX ? ">" : "<", r->part, x, r->part,
                    r->nan, copy(&own, r->nan, 0));
    }
    cg_indent(out, in);
    cg_str_add(out, "}\n");
  }
  const cg_expr *extent = q->l->inner.at[q->l->inner.n - 1].extent;
  const bool whole = !q->blocked && !strcmp(lo, "0") && cg_x_is_int(extent);
  if (whole && extent->value % q->held == 0) return;
  cg_indent(out, in);
  cg_str_addf(out, "if (%s < %s) {\n", c, hi);
  const char *rest = cg_format(s, "%s - %s", hi, c);
  rows_of_block(q, out, in + 1, c, rest, q->held, false);
  innermost(q, out, in + 1, name, c, hi, body, 1, NULL);
  rows_of_block(q, out, in + 1, c, rest, q->held, true);
  cg_indent(out, in);
  cg_str_add(out, "}\n");
}

// The body with NAME_near for each NAME that the prelude has both of, and a note for arguments that are far; NULL: it has none.
const char *cg_near_body(cg_session *s, const char *body, const char *far) {
  cg_str out = cg_str_new(s), notes = cg_str_new(s);
  bool any = false;
  for (const char *p = body; *p;) {
    size_t n = 0;
    while (p[n] == '_' || (p[n] >= 'a' && p[n] <= 'z') || (p[n] >= 'A' && p[n] <= 'Z') || (p[n] >= '0' && p[n] <= '9')) n++;
    const char *name = n > 3 && p[n] == '(' && !strncmp(p, "cg_", 3) ? cg_strndup(s, p, n) : NULL;
    const char *near = name ? cg_format(s, "%s_near", name) : NULL;
    if (near && (cg_prelude_computes(near, "float") || cg_prelude_computes(near, "double"))) {
      const char *end = p + n;
      for (int depth = 0; *end && (depth += (*end == '(') - (*end == ')')) > 0;) end++;
      cg_str_addf(&notes, "    %s |= %s_far%s);\n", far, name, cg_strndup(s, p + n, (size_t)(end - p) - n));
      cg_str_add(&out, near);
      any = true;
    } else cg_str_addn(&out, p, n ? n : 1);
    p += n ? n : 1;
    if (p[-1] != '\n') continue;
    cg_str_add(&out, cg_str_text(&notes));
    notes = cg_str_new(s);
  }
  return any ? cg_str_text(&out) : NULL;
}

// A block of the innermost loop for arguments that are near; where some are not, once more for all of them.
static void near_or_far(cg_pass_loops *q, cg_str *out, int in, const char *name, const char *lo, const char *hi, const char *body) {
  cg_indent(out, in);
  cg_str_addf(out, "int %s = 0;\n#pragma omp simd reduction(|:%s)\n", q->far, q->far);
  cg_indent(out, in);
  cg_str_addf(out, "for (int64_t %s = %s; %s < %s; %s++) {\n%s", name, lo, name, hi, name, q->near);
  cg_indent(out, in);
  cg_str_add(out, "}\n");
  cg_indent(out, in++);
  cg_str_addf(out, "if (%s) {\n", q->far);
  innermost(q, out, in, name, lo, hi, body, 1, NULL);
  cg_indent(out, --in);
  cg_str_add(out, "}\n");
}

static void block_loop(cg_str *out, int in, const char *c, const char *to, const char *lo, const char *hi, int block) {
  cg_indent(out, in);
  cg_str_addf(out, "for (int64_t %s = %s; %s < %s; %s += %d) {\n", c, lo, c, hi, c, block);
  cg_indent(out, in + 1);
  cg_str_addf(out, "const int64_t %s = %s + %d < %s ? %s + %d : %s;\n", to, c, block, hi, c, block, hi);
}

enum { LANE_BLOCK = 64 }; // rows that lanes add up in f32

static bool adds_parts(const cg_pass_loops *q) {
  bool any = false;
  for (int i = 0; i < q->red.n; i++) any |= q->red.at[i].part != q->red.at[i].acc;
  return any;
}

enum { ROWS_TOGETHER = 4, TOGETHER_LINES = 6 };

// Rows that lanes put together, some at a time: an accumulator is read and written once for all of them. `from`, the first row, becomes
// the first of those that are left. What is computed at length, or not in plain statements, stays as it is.
static void rows_together(cg_pass_loops *q, cg_str *out, int in, const char **from, const char *hi) {
  cg_loops *l = q->l;
  cg_session *s = l->c->s;
  const int n = l->inner.n;
  cg_str rows = cg_str_new(s), places = cg_str_new(s), all = cg_str_new(s);
  const char *row = cg_str_text(&l->p.text[1 + n]), *body = cg_str_text(&l->p.text[2 + n]);
  int lines = cg_c_lines(body);
  for (int i = 0; i < l->p.row.n; i++) lines += l->p.row.at[i].stored ? TOGETHER_LINES : 0;
  for (int i = 0; i < q->red.n; i++) lines += q->red.at[i].at ? TOGETHER_LINES : 0; // what depends on a comparison twice becomes a branch
  if (!q->red.n || cg_x_hint(l->inner.at[n - 1].extent) < ROWS_TOGETHER || lines > TOGETHER_LINES || !cg_c_plain_statements(row) || !cg_c_plain_statements(body)) return;
  cg_map own = {0};
  const char *c = cg_kernel_local(l->k, "c0"), *const *place = cg_c_copies(l->k, &own, l->inner.at[n - 1].name, ROWS_TOGETHER);
  for (int i = 0; i < l->p.row.n; i++) if (!l->p.row.at[i].direct) cg_c_copies(l->k, &own, l->p.row.at[i].name, ROWS_TOGETHER);
  cg_str_add(&rows, row);
  rows_of_block(q, &rows, in + 1, "lo", "hi - lo", CG_LANES, false);
  cg_indent(&places, in + 1);
  cg_str_add(&places, "const int64_t ");
  for (int i = 0; i < ROWS_TOGETHER; i++) cg_str_addf(&places, i ? ", %s = %s + %d" : "%s = %s", place[i], c, i);
  cg_indent(out, in);
  cg_str_addf(out, "int64_t %s = %s;\n", c, *from);
  cg_indent(out, in);
  cg_str_addf(out, "for (; %s + %d <= %s; %s += %d) {\n%s;\n", c, ROWS_TOGETHER, hi, c, ROWS_TOGETHER, cg_str_text(&places));
  cg_str_add(out, cg_c_interleave(l->k, cg_str_text(&rows), ROWS_TOGETHER, &own));
  cg_c_copy_defined(l->k, body, ROWS_TOGETHER, &own);
  for (int i = 0; i < ROWS_TOGETHER; i++) cg_str_add(&all, cg_c_renamed(s, body, i, &own)); // one after the other, as they go into an accumulator
  innermost(q, out, in + 1, "j", "lo", "hi", cg_str_text(&all), 1, NULL);
  cg_indent(out, in);
  cg_str_add(out, "}\n");
  *from = c;
}

// The loops around what was printed.
void cg_pass_write(cg_pass_loops *q, cg_str *out, int in) {
  cg_loops *l = q->l;
  int n = l->inner.n, total = n + l->lanes;
  int closing = 0;
  const bool in_parts = l->lanes && adds_parts(q);
  for (int i = 0; i < total; i++) {
    const char *lo, *hi, *name = i < n ? l->inner.at[i].name : "j", *body = cg_str_text(&l->p.text[2 + i]);
    if (i < n) range(q, i, &lo, &hi);
    else lo = "lo", hi = "hi";
    if (i < total - 1) {
      if (in_parts && i == n - 1) { // rows of lanes, some at a time
        const char *c = cg_kernel_local(l->k, "c0"), *to = cg_kernel_local(l->k, "c1");
        block_loop(out, in++, c, to, lo, hi, LANE_BLOCK);
        parts(q, out, in, true);
        lo = c, hi = to;
      }
      if (l->lanes && i == n - 1) rows_together(q, out, in, &lo, hi);
      cg_indent(out, in++);
      cg_str_addf(out, "for (int64_t %s = %s; %s < %s; %s++) {\n%s", name, lo, name, hi, name, body);
      closing++;
      continue;
    }
    if (q->blocked) {
      const char *c = l->p.row_start && !q->held ? l->p.row_start : cg_kernel_local(l->k, "c0"), *to = cg_kernel_local(l->k, "c1");
      block_loop(out, in++, c, to, lo, hi, q->held ? HELD_BLOCKS * CG_SUM_BLOCK : CG_SUM_BLOCK);
      lo = c, hi = to;
    }
    const char *count = cg_format(l->c->s, "%s - %s", hi, lo);
    int most = q->blocked ? CG_SUM_BLOCK : CG_LANES;
    if (!q->held) rows_of_block(q, out, in, lo, count, most, false);
    if (!l->lanes) parts(q, out, in, true);
    bool even = false;
    int copies = q->near || q->cuts.n || q->held ? 1 : copies_of(q, &even);
    if (q->held) in_registers(q, out, in, name, lo, hi, body);
    else if (q->near) near_or_far(q, out, in, name, lo, hi, body);
    else if (q->cuts.n) in_pieces(q, out, in, name, lo, hi, body);
    else if (copies > 1) interleaved(q, out, in, name, lo, hi, body, copies, even);
    else innermost(q, out, in, name, lo, hi, body, 1, NULL);
    if (!l->lanes) parts(q, out, in, false);
    if (!q->held) rows_of_block(q, out, in, lo, count, most, true);
    if (q->blocked) cg_indent(out, --in), cg_str_add(out, "}\n");
  }
  for (; closing; closing--) {
    cg_indent(out, --in);
    cg_str_add(out, "}\n");
  }
  if (!in_parts) return;
  parts(q, out, in, false);
  cg_indent(out, --in);
  cg_str_add(out, "}\n");
}
