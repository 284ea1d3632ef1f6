// Tensor expressions as C: one statement for each operation, in the outermost loop that knows its operands.
#include "backend/c/print.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "artifact/scalar.h"
#include "backend/c/kernel_internal.h"
#include "backend/c/prelude.h"
#include "base/half.h"

static bool is_half(cg_dtype t) { return t == CG_F16 || t == CG_BF16; }

const char *cg_kernel_ctype(cg_dtype t) { return cg_dtypes[t].c_type; }
const char *cg_kernel_computed(cg_dtype t) { return t == CG_BOOL ? "bool" : is_half(t) ? "float" : cg_dtypes[t].c_type; }

// ---------------------------------------------------------------- names and depths

static int number(cg_printer *p, const te_expr *e) {
  int k = cg_number_of(p->c->s, &p->numbers, e->id);
  cg_printed none = {.depth = -1, .safe = -1};
  if (k == p->known.n) CG_PUSH(p->c->s, &p->known, none);
  return k;
}

// Until the next expression is met.
static cg_printed *known(cg_printer *p, const te_expr *e) {
  int k = number(p, e);
  return &p->known.at[k];
}

void cg_print_begin(cg_printer *p, cg_sched *c, cg_kernel *k) {
  *p = (cg_printer){.c = c, .k = k, .temp = "t0", .accumulator_depth = 1, .vectors = -1};
  for (int i = 0; i < CG_PRINT_DEPTHS; i++) {
    p->text[i] = cg_str_new(c->s);
    p->indent[i] = i + 1;
    p->leave[i] = i ? "continue" : "return";
  }
}

void cg_print_var(cg_printer *p, const te_expr *var, const char *name, int depth) {
  if (var->kind != TE_VAR) return;
  known(p, var)->var_name = name;
  known(p, var)->var_depth = depth;
}

void cg_print_name(cg_printer *p, const te_expr *e, const char *name) {
  int k = number(p, e);
  if (!p->known.at[k].name) CG_PUSH(p->c->s, &p->scope, k);
  p->known.at[k].name = name;
}

int cg_print_mark(const cg_printer *p) { return p->scope.n; }

void cg_print_forget(cg_printer *p, int mark) {
  while (p->scope.n > mark) p->known.at[p->scope.at[--p->scope.n]].name = NULL;
}

int cg_print_depth(cg_printer *p, const te_expr *e) {
  const cg_printed *x = known(p, e);
  if (x->depth >= 0) return x->depth;
  int d = 0;
  if (e->kind == TE_VAR) d = x->var_depth;
  if (e->kind == TE_SCALAR && e->value->type.kind == CG_T_TENSOR) d = p->accumulator_depth;
  for (int i = 0; i < e->nargs; i++) {
    int k = cg_print_depth(p, e->arg[i]);
    if (k > d) d = k;
  }
  known(p, e)->depth = (signed char)d;
  return d;
}

// ---------------------------------------------------------------- lines

static void add_line(cg_str *b, int indent, const char *line) {
  for (int i = 0; i < indent; i++) cg_str_add(b, "  ");
  cg_str_add(b, line);
  cg_str_addc(b, '\n');
}

void cg_print_line(cg_printer *p, int depth, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *line = cg_vformat(p->c->s, fmt, ap);
  va_end(ap);
  if (p->block) add_line(p->block, p->block_indent, line);
  else add_line(&p->text[depth], p->indent[depth], line);
}

// What is written next is for the loop at that depth: one that becomes vectors, or not.
static void at_depth(cg_printer *p, int depth) {
  if (p->vectors >= 0) p->k->one_by_one = depth != p->vectors;
}

// Declares a variable that holds e, and names e by it.
static const char *define(cg_printer *p, te_expr *e, const char *text) {
  const char *name = cg_kernel_local(p->k, p->temp);
  cg_print_line(p, cg_print_depth(p, e), "const %s %s = %s;", cg_kernel_computed(e->dtype), name, text);
  cg_print_name(p, e, name);
  return name;
}

// ---------------------------------------------------------------- numbers

static const char *integer(cg_session *s, int64_t v, cg_dtype t) {
  if (v == INT64_MIN) return "INT64_MIN";
  const char *suffix = t == CG_I64 && (v > INT32_MAX || v < -INT32_MAX) ? "LL" : "";
  if (v == INT32_MIN) return "(-2147483647 - 1)";
  return cg_format(s, v < 0 ? "(%lld%s)" : "%lld%s", (long long)v, suffix);
}

const char *cg_print_number(cg_session *s, double v, cg_dtype t) {
  if (!cg_is_float(t)) return integer(s, cg_int_of_double(v), t);
  bool f32 = t != CG_F64;
  if (isnan(v)) return f32 ? "NAN" : "(double)NAN";
  if (isinf(v)) return v > 0 ? f32 ? "INFINITY" : "(double)INFINITY" : f32 ? "(-INFINITY)" : "(-(double)INFINITY)";
  cg_str b = cg_str_new(s);
  if (f32) {
    char text[40];
    float f = (float)v;
    if (isinf(f)) return f > 0 ? "INFINITY" : "(-INFINITY)";
    for (int digits = 1; digits <= 9; digits++) {
      snprintf(text, sizeof text, "%.*g", digits, (double)f);
      if (strtof(text, NULL) == f) break;
    }
    cg_str_add(&b, text);
    if (!strpbrk(text, ".e")) cg_str_add(&b, ".0");
    cg_str_add(&b, "f");
  } else {
    cg_str_add_double(&b, v);
    if (!strpbrk(cg_str_text(&b), ".e")) cg_str_add(&b, ".0");
  }
  return v < 0 || signbit(v) ? cg_format(s, "(%s)", cg_str_text(&b)) : cg_str_text(&b);
}

// ---------------------------------------------------------------- operator bodies

// The type a body computes in: its result's; a bool result of numbers: the numbers'.
cg_dtype cg_print_body_type(const te_expr *e) {
  if (e->dtype != CG_BOOL) return e->dtype;
  for (int i = 0; i < e->nargs; i++)
    if (e->arg[i]->dtype != CG_BOOL) return e->arg[i]->dtype;
  return CG_BOOL;
}

// cierge's own function where the prelude has one of this type, else the C library's.
const char *cg_print_function(cg_session *s, const char *name, cg_dtype t) {
  const char *suffix = is_half(t) || t == CG_F32 ? "f" : t == CG_F64 ? "" : cg_format(s, "_%s", cg_dtypes[t].text);
  const char *own = cg_format(s, "cg_%s%s", name, suffix);
  if (cg_prelude_computes(own, cg_kernel_computed(t))) return own;
  return cg_is_float(t) && cg_prelude_library(name) ? cg_format(s, "%s%s", name, suffix) : NULL;
}

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_'; }

static void body_word(cg_printer *p, const te_expr *e, const char *word, bool dollar, const char *const *arg, cg_str *out) {
  cg_session *s = p->c->s;
  cg_dtype t = cg_print_body_type(e);
  if (dollar) {
    if (isdigit((unsigned char)word[0])) cg_str_addf(out, "%s%s", word, cg_is_float(t) && t != CG_F64 ? "f" : "");
    else {
      const char *f = cg_print_function(s, word, t);
      if (!f) cg_fail(s, CIERGE_INTERNAL, "no C function %s for %s", word, cg_dtypes[t].text);
      cg_str_add(out, f);
    }
    return;
  }
  if (!strcmp(word, "err")) p->checks = true;
  if (!strcmp(word, "site")) word = e->node ? cg_kernel_site_of(p->k, e->node) : "0";
  if (!strcmp(word, "T")) {
    cg_str_add(out, cg_kernel_computed(t));
    return;
  }
  for (int i = 0; i < e->nargs; i++)
    if (!strcmp(word, e->names[i])) {
      cg_str_add(out, arg[i]);
      return;
    }
  cg_str_add(out, word);
}

// Where a number starts at p: its end (1e-5, 0.5), else p.
static const char *number_end(const char *p) {
  if (!isdigit((unsigned char)*p)) return p;
  const char *q = p;
  while (word_char(*q) || *q == '.' || ((*q == '-' || *q == '+') && (q[-1] == 'e' || q[-1] == 'E') && !(p[0] == '0' && p[1] == 'x'))) q++;
  return q;
}

static const char *body_text(cg_printer *p, te_expr *e) {
  cg_session *s = p->c->s;
  const char **arg = CG_NEW_ARRAY(s, const char *, e->nargs + 1);
  for (int i = 0; i < e->nargs; i++) arg[i] = cg_print_expr(p, e->arg[i]);
  cg_str out = cg_str_new(s);
  for (const char *q = e->text; *q;) {
    const char *end = number_end(q);
    if (end == q)
      while (word_char(*end)) end++;
    if (end == q) {
      cg_str_addc(&out, *q++);
      continue;
    }
    bool dollar = *end == '$';
    body_word(p, e, cg_strndup(s, q, (size_t)(end - q)), dollar, arg, &out);
    q = end + dollar;
  }
  return cg_str_text(&out);
}

// ---------------------------------------------------------------- what may be evaluated although its condition is false

static bool never_traps(const te_expr *e) {
  if (e->kind != TE_BODY || cg_is_float(e->dtype)) return true;
  for (const char *q = e->text; *q; q++)
    if (*q == '/' || *q == '%') return false;
  return !te_may_raise(e);
}

static bool is_safe(cg_printer *p, te_expr *e) {
  if (known(p, e)->safe >= 0) return known(p, e)->safe;
  bool ok = e->kind != TE_INDEX && never_traps(e);
  if (e->kind == TE_LOAD)
    for (int i = 0; i < e->nargs && ok; i++) ok = te_in_range(p->c->t, e->arg[i], e->value->type.dim[i]);
  for (int i = 0; i < e->nargs && ok; i++) ok = is_safe(p, e->arg[i]);
  known(p, e)->safe = ok;
  return ok;
}

// ---------------------------------------------------------------- statements

static const char *branch_text(cg_printer *p, te_expr *e, te_expr *to, const char *name) {
  cg_str block = cg_str_new(p->c->s), *outer = p->block;
  int mark = cg_print_mark(p), indent = p->block_indent;
  if (!outer) p->block_indent = p->indent[cg_print_depth(p, to)];
  p->block = &block;
  p->block_indent++;
  const char *text = cg_print_expr(p, e);
  cg_print_line(p, 0, "%s = %s;", name, text);
  cg_print_forget(p, mark);
  p->block = outer, p->block_indent = indent;
  return cg_str_text(&block);
}

static void raw(cg_printer *p, int depth, const char *text) { cg_str_add(p->block ? p->block : &p->text[depth], text); }

static const char *choose(cg_printer *p, te_expr *e) {
  const char *cond = cg_print_expr(p, e->arg[0]);
  if (is_safe(p, e->arg[1]) && is_safe(p, e->arg[2])) {
    const char *a = cg_print_expr(p, e->arg[1]), *b = cg_print_expr(p, e->arg[2]);
    return define(p, e, cg_format(p->c->s, "%s ? %s : %s", cond, a, b));
  }
  const char *name = cg_kernel_local(p->k, p->temp);
  int d = cg_print_depth(p, e);
  const char *yes = branch_text(p, e->arg[1], e, name), *no = branch_text(p, e->arg[2], e, name);
  cg_print_line(p, d, "%s %s;", cg_kernel_computed(e->dtype), name);
  cg_print_line(p, d, "if (%s) {", cond);
  raw(p, d, yes);
  cg_print_line(p, d, "} else {");
  raw(p, d, no);
  cg_print_line(p, d, "}");
  cg_print_name(p, e, name);
  return name;
}

static const char *index_check(cg_printer *p, te_expr *e) {
  const char *i = cg_print_expr(p, e->arg[0]), *size = cg_print_expr(p, e->arg[1]);
  const char *name = cg_kernel_local(p->k, p->temp);
  int d = cg_print_depth(p, e);
  if (e->integer) cg_print_line(p, d, "const int64_t %s = %s < 0 ? %s + %s : %s;", name, i, i, size, i);
  else cg_print_line(p, d, "const int64_t %s = %s;", name, i);
  const char *site = e->node ? cg_kernel_site_of(p->k, e->node) : "0";
  cg_print_line(p, d, "if ((uint64_t)%s >= (uint64_t)%s) {", name, size);
  cg_print_line(p, d, "  cg_raise(err, CG_KERNEL_INDEX, %s, %s, %s);", i, size, site);
  cg_print_line(p, d, "  %s;", p->leave[d]);
  cg_print_line(p, d, "}");
  p->checks = true;
  cg_print_name(p, e, name);
  return name;
}

// C leaves undefined what a float that does not fit becomes: functions of the prelude say it. Bytes wrap by way of 64 bits, other narrow
// integers by way of 32, as in PyTorch.
const char *cg_print_cast(cg_session *s, const char *text, cg_dtype from, cg_dtype to) {
  if (to == CG_BOOL) return cg_format(s, "%s != 0", text);
  const char *ctype = cg_kernel_computed(to);
  if (!cg_is_float(from) || !cg_is_integral(to)) return cg_format(s, "(%s)%s", ctype, text);
  const char *whole = cg_format(s, "cg_%s_of_%s(%s)", cg_dtypes[to].size == 8 || to == CG_U8 ? "i64" : "i32", from == CG_F64 ? "f64" : "f32", text);
  return to == CG_I32 || to == CG_I64 ? whole : cg_format(s, "(%s)%s", ctype, whole);
}

// Whether e is an index that 32 bits hold, of which vectors make numbers.
bool cg_print_narrow(cg_printer *p, te_expr *e) {
  const cg_expr *least, *most;
  if (e->dtype != CG_I64 || e->kind == TE_LOAD || e->kind == TE_BODY || e->kind == TE_CAST) return false;
  te_bounds(p->c->t, e, &least, &most);
  return least && most && cg_x_is_int(least) && cg_x_is_int(most) && least->value >= INT32_MIN && most->value <= INT32_MAX;
}

static const char *cast(cg_printer *p, te_expr *e) {
  const char *x = cg_print_expr(p, e->arg[0]);
  if (cg_is_float(e->dtype) && cg_print_depth(p, e) && cg_print_narrow(p, e->arg[0])) x = cg_format(p->c->s, "(int32_t)%s", x);
  cg_dtype from = e->arg[0]->dtype, to = e->dtype;
  if (is_half(from) && to == CG_F32) return x; // held as f32 already
  return define(p, e, cg_print_cast(p->c->s, x, from, to));
}

// Where the row begins in which the innermost loop moves through memory `name` by `at`, but for the loop's variable; NULL: in none.
static const char *row_memory(cg_printer *p, const char *name, te_expr *at) {
  te_sum sum;
  bool moves = false;
  if (!p->row_var || p->block || !te_sum_of(p->c->t, at, &sum)) return NULL;
  for (int i = 0; i < sum.n; i++) {
    if (sum.atom[i] == p->row_var) moves = cg_x_is(sum.coef[i], 1);
    else if (te_uses_var(sum.atom[i], p->row_var->var)) return NULL;
  }
  te_expr *rest = moves ? te_op(p->c->t, TE_SUB, at, p->row_var) : NULL;
  return moves && !te_uses_var(rest, p->row_var->var) ? cg_format(p->c->s, "%s + %s", name, cg_print_expr(p, rest)) : NULL;
}

static bool has_rows(const cg_printer *p, cg_dtype t) { return t == CG_F16 || (t == CG_BF16 && p->bf16_rows); }

// convert: the prelude's function, of floats where it stores.
static const char *in_row(cg_printer *p, cg_dtype t, const char *name, te_expr *at, const char *convert, bool stored) {
  cg_session *s = p->c->s;
  const char *memory = has_rows(p, t) ? row_memory(p, name, at) : NULL;
  if (!memory) return NULL;
  const char *var = known(p, p->row_var)->var_name;
  for (int i = 0; i < p->row.n; i++)
    if (!stored && !p->row.at[i].stored && !strcmp(p->row.at[i].memory, memory))
      return cg_format(s, "%s[%s - %s]", p->row.at[i].name, var, p->row_start);
  if (!p->row_start) p->row_start = cg_kernel_local(p->k, "c0");
  cg_print_row row = {cg_kernel_local(p->k, "h"), memory, convert, stored, false};
  CG_PUSH(s, &p->row, row);
  return cg_format(s, "%s[%s - %s]", row.name, var, p->row_start);
}

const char *cg_print_in_row(cg_printer *p, cg_dtype t, const char *name, te_expr *at) {
  return in_row(p, t, name, at, cg_format(p->c->s, "cg_floats_of_%s", cg_dtypes[t].text), false);
}

// Of a row that the innermost loop reads here and there: all of it becomes floats before that loop.
static const char *gathered(cg_printer *p, te_expr *e, const char *name, te_expr *place) {
  cg_session *s = p->c->s;
  te_expr *at = p->row_var && !p->row_start && !p->block ? cg_c_gathered(p->c, e, p->row_var) : NULL, *rest = at ? te_op(p->c->t, TE_SUB, place, at) : NULL;
  if (!at || te_uses_var(rest, p->row_var->var)) return NULL;
  const char *memory = cg_format(s, "%s + %s", name, cg_print_expr(p, rest)), *block = NULL;
  for (int i = 0; i < p->gathered.n; i++)
    if (!strcmp(p->gathered.at[i].memory, memory)) block = p->gathered.at[i].name;
  if (!block) {
    const int64_t n = e->value->type.dim[e->nargs - 1]->value;
    const int d = cg_print_depth(p, rest);
    block = cg_kernel_local(p->k, "h");
    cg_print_line(p, d, "float %s[%lld] __attribute__((aligned(64)));", block, (long long)n);
    cg_print_line(p, d, "cg_floats_of_%s(%s, %s, %lld);", cg_dtypes[e->dtype].text, block, memory, (long long)n);
    cg_print_row row = {.name = block, .memory = memory};
    CG_PUSH(s, &p->gathered, row);
  }
  return cg_format(s, "%s[%s]", block, cg_c_bare(s, cg_print_expr(p, at)));
}

// Of a state, at the place that is written now: through the pointer by which it is written.
static const char *load_again(cg_printer *p, te_expr *e) {
  const cg_info *x = p->k->g->over;
  int version;
  if (!x || cg_c_state_of_value(e->value, &version) != x->state || version >= x->version) return NULL;
  const char *at = cg_print_expr(p, cg_c_offset(p->c, x->value, x->idx));
  return cg_kernel_load(p->k, e->dtype, cg_kernel_point(p->k, x->plan, x->value->type.dtype, true), at);
}

// The memory that e loads, as a pointer, and the place in it.
static te_expr *read_at(cg_printer *p, te_expr *e, const char **name) {
  const cg_expr *start = cg_x_int(&p->c->m->exprs, 0);
  for (int i = 0; i < p->k->start.n; i++)
    if (p->k->start.at[i].value == e->value && p->k->start.at[i].start) start = p->k->start.at[i].start;
  *name = cg_kernel_point_at(p->k, e->value, start, e->value->type.dtype);
  return te_op(p->c->t, TE_SUB, cg_c_offset(p->c, e->value, e->arg), te_size(p->c->t, start));
}

static const char *load(cg_printer *p, te_expr *e) {
  const char *again = load_again(p, e);
  if (again) return define(p, e, again);
  const char *name;
  te_expr *place = read_at(p, e, &name);
  const char *row = cg_print_in_row(p, e->dtype, name, place);
  if (row) return define(p, e, row);
  if ((row = gathered(p, e, name, place))) return define(p, e, row);
  const char *at = cg_print_expr(p, place);
  at_depth(p, cg_print_depth(p, e));
  return define(p, e, cg_kernel_load(p->k, e->dtype, name, at));
}

static const char *scalar(cg_printer *p, te_expr *e) {
  if (e->value->type.kind == CG_T_TENSOR) cg_fail(p->c->s, CIERGE_INTERNAL, "printer: an accumulator is read before it is known");
  const char *ctype = e->value->type.kind == CG_T_FLOAT ? "double" : "int64_t";
  int plan = cg_emit_value(p->c->e, e->value);
  return define(p, e, cg_format(p->c->s, "*%s", cg_kernel_point_as(p->k, plan, ctype, false)));
}

static const char *binary(cg_printer *p, te_expr *e, const char *op) {
  const char *a = cg_print_expr(p, e->arg[0]), *b = cg_print_expr(p, e->arg[1]);
  if (e->kind == TE_MUL) return cg_format(p->c->s, "%s * %s", a, b); // a factor is in brackets already if it is a sum
  return cg_format(p->c->s, "(%s %s %s)", a, op, b);
}

// a + b - c, without parentheses around what is a sum already.
static const char *sum(cg_printer *p, te_expr *e) {
  const char *a = cg_print_expr(p, e->arg[0]);
  size_t n = strlen(a);
  if (e->arg[0]->kind == TE_ADD && a[0] == '(') a = cg_strndup(p->c->s, a + 1, n - 2);
  te_expr *b = e->arg[1];
  if (b->kind == TE_SIZE && cg_x_is_int(b->size) && b->size->value < 0 && b->size->value > INT64_MIN)
    return cg_format(p->c->s, "(%s - %lld)", a, (long long)-b->size->value);
  return cg_format(p->c->s, "(%s + %s)", a, cg_print_expr(p, b));
}

static bool nonneg(cg_printer *p, te_expr *e) {
  const cg_expr *lo, *hi;
  te_bounds(p->c->t, e, &lo, &hi);
  int64_t a, b;
  if (!lo) return false;
  cg_x_range(lo, &a, &b);
  return a >= 0;
}

// Python's // and %: C's where nothing is negative.
static const char *division(cg_printer *p, te_expr *e) {
  bool plain = nonneg(p, e->arg[0]) && nonneg(p, e->arg[1]), div = e->kind == TE_FLOORDIV;
  const char *a = cg_print_expr(p, e->arg[0]), *b = cg_print_expr(p, e->arg[1]);
  if (plain && !div && te_below_twice(p->c->t, e)) return define(p, e, cg_format(p->c->s, "%s < %s ? %s : %s - %s", a, b, a, a, b));
  if (plain) return define(p, e, cg_format(p->c->s, "%s %s %s", a, div ? "/" : "%", b));
  return define(p, e, cg_format(p->c->s, "%s(%s, %s)", div ? "cg_idiv" : "cg_imod", a, b));
}

static const char *extreme(cg_printer *p, te_expr *e) {
  const char *a = cg_print_expr(p, e->arg[0]), *b = cg_print_expr(p, e->arg[1]);
  return define(p, e, cg_format(p->c->s, "%s %s %s ? %s : %s", a, e->kind == TE_MIN ? "<" : ">", b, a, b));
}

const char *cg_print_expr(cg_printer *p, te_expr *e) {
  cg_session *s = p->c->s;
  if (known(p, e)->name) return known(p, e)->name;
  switch (e->kind) {
  case TE_VAR:
    if (!known(p, e)->var_name) cg_fail(s, CIERGE_INTERNAL, "printer: a loop variable of another kernel");
    return known(p, e)->var_name;
  case TE_SIZE: return cg_kernel_size(p->k, e->size);
  case TE_CONST: return cg_is_float(e->dtype) ? cg_print_number(s, e->number, e->dtype) : integer(s, e->integer, e->dtype);
  case TE_SCALAR: return scalar(p, e);
  case TE_LOAD: return load(p, e);
  case TE_BODY: {
    const char *text = body_text(p, e);
    return define(p, e, text);
  }
  case TE_CAST: return cast(p, e);
  case TE_ROUND: {
    if (p->c->e->pipeline->opt->fuse_f32) return cg_print_expr(p, e->arg[0]);
    if (e->arg[0]->kind == TE_CONST) {
      const float x = (float)e->arg[0]->number; // a function's result would hide from the C compiler what is computed with it
      return cg_print_number(s, e->dtype == CG_F16 ? cg_float_of_f16(cg_f16_of_float(x)) : cg_float_of_bf16(cg_bf16_of_float(x)), CG_F32);
    }
    const char *x = cg_print_expr(p, e->arg[0]);
    at_depth(p, cg_print_depth(p, e));
    return define(p, e, cg_format(s, "%s(%s)", cg_kernel_half(p->k, "round", e->dtype), x));
  }
  case TE_SELECT: return choose(p, e);
  case TE_ADD: return sum(p, e);
  case TE_SUB: return binary(p, e, "-");
  case TE_MUL: return binary(p, e, "*");
  case TE_FLOORDIV:
  case TE_MOD: return division(p, e);
  case TE_MIN:
  case TE_MAX: return extreme(p, e);
  case TE_LT: return define(p, e, binary(p, e, "<"));
  case TE_LE: return define(p, e, binary(p, e, "<="));
  case TE_EQ: return define(p, e, binary(p, e, "=="));
  case TE_AND: return define(p, e, binary(p, e, "&"));
  case TE_OR: return define(p, e, binary(p, e, "|"));
  case TE_NOT: return define(p, e, cg_format(s, "!%s", cg_print_expr(p, e->arg[0])));
  case TE_INDEX: return index_check(p, e);
  case TE_CHECKED: cg_print_expr(p, e->arg[1]); return cg_print_expr(p, e->arg[0]);
  }
  cg_fail(s, CIERGE_INTERNAL, "printer: an expression of an unknown kind");
}

// What is rounded once, when it is stored as t.
static te_expr *unrounded(cg_printer *p, te_expr *e, cg_dtype t) {
  return is_half(t) && e->kind == TE_ROUND && e->dtype == t && !known(p, e)->name ? e->arg[0] : e;
}

// Whether e's value, as it is computed, is one of t's numbers.
static bool exact(cg_printer *p, const te_expr *e, cg_dtype t) {
  if (e->dtype != t || p->c->e->pipeline->opt->fuse_f32) return false;
  return e->kind == TE_LOAD || e->kind == TE_BODY || (e->kind == TE_ROUND && known(p, e)->name);
}

const char *cg_print_stored_in_row(cg_printer *p, cg_dtype t, const char *name, te_expr *at, te_expr *e) {
  cg_session *s = p->c->s;
  const bool cut = t == CG_BF16 && exact(p, e, t);
  const char *convert = cut ? "cg_bf16_cut_of_floats" : cg_format(s, "cg_%s_of_floats", cg_dtypes[t].text), *read;
  te_expr *x = unrounded(p, e, t);
  if (has_rows(p, t) && x->kind == TE_LOAD && x->dtype == CG_F32 && !known(p, x)->name && !p->row_start && !p->k->g->over) {
    te_expr *place = read_at(p, x, &read);
    const char *from = row_memory(p, read, place), *memory = from ? row_memory(p, name, at) : NULL;
    if (memory) {
      p->row_start = cg_kernel_local(p->k, "c0");
      cg_print_row row = {cg_format(s, "%s + %s", from, p->row_start), memory, convert, true, true};
      CG_PUSH(s, &p->row, row);
      return "";
    }
  }
  const char *text = cg_print_expr(p, x), *row = in_row(p, t, name, at, convert, true);
  return row ? cg_format(s, "%s = %s;", row, text) : NULL;
}

const char *cg_print_stored(cg_printer *p, te_expr *e, cg_dtype t, int depth) {
  if (t == CG_BF16 && exact(p, e, t)) return cg_format(p->c->s, "cg_cut_bf16(%s)", cg_print_expr(p, e));
  const char *text = cg_print_expr(p, unrounded(p, e, t));
  at_depth(p, depth);
  return cg_kernel_convert(p->k, t, text);
}
