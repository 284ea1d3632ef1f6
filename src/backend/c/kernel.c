// Writing one kernel: its pointers and sizes, its function around the body, and the step that calls it.
// Also what templates may ask for (kernel.h).
#include <ctype.h>
#include <string.h>

#include "base/hash.h"
#include "ir/text.h"
#include "backend/c/kernel_internal.h"
#include "backend/c/prelude.h"

// ---------------------------------------------------------------- names

// Declared in one place each, where a kernel's functions begin, or in a block of their own.
static const char *const fixed[] = {"p", "s", "threads", "detail", "err", "n", "team", "work", "t", "thread", "begin", "end",
                                    "w", "pieces", "row", "lo", "hi", "j", "x", "first", "run"};

const char *cg_kernel_local(cg_kernel *k, const char *name) {
  cg_session *s = k->c->s;
  if (cg_map_set(s, &k->names, name, NULL)) return name;
  size_t stem = strlen(name);
  while (stem && isdigit((unsigned char)name[stem - 1])) stem--;
  const char *key = cg_format(s, "%.*s#", (int)stem, name), *given;
  intptr_t next = (intptr_t)cg_map_get(&k->names, key);
  do given = cg_format(s, "%.*s%lld", (int)stem, name, (long long)next++);
  while (!cg_map_set(s, &k->names, given, NULL));
  cg_map_set(s, &k->names, key, (void *)next);
  return given;
}

// ---------------------------------------------------------------- pointers, sizes

const char *cg_kernel_point_as(cg_kernel *k, int plan, const char *ctype, bool output) {
  for (int i = 0; i < k->pointer.n; i++)
    if (k->pointer.at[i].plan == plan && !strcmp(k->pointer.at[i].ctype, ctype)) return k->pointer.at[i].name;
  cg_kernel_pointer p = {.plan = plan, .name = cg_kernel_local(k, output ? "out0" : "in0"), .ctype = ctype, .output = output};
  CG_PUSH(k->c->s, &k->pointer, p);
  return p.name;
}

const char *cg_kernel_point(cg_kernel *k, int plan, cg_dtype t, bool output) {
  return cg_kernel_point_as(k, plan, cg_kernel_ctype(t), output);
}

bool cg_kernel_starts_at(const cg_value *v, const cg_expr *start) {
  if (v->constant || !cg_x_is_int(start) || start->value <= 0) return false;
  int64_t n = 1;
  for (int d = 0; d < v->type.rank; d++)
    if (!cg_x_is_int(v->type.dim[d]) || __builtin_mul_overflow(n, v->type.dim[d]->value, &n)) return false;
  return start->value <= n;
}

const char *cg_kernel_point_at(cg_kernel *k, cg_value *v, const cg_expr *start, cg_dtype t) {
  cg_sched *c = k->c;
  int base = cg_c_plan_value(c, v);
  if (cg_x_is(start, 0)) return cg_kernel_point(k, base, t, false);
  for (int i = 0; i < k->pointer.n; i++)
    if (k->pointer.at[i].start == start && k->pointer.at[i].base == base) return k->pointer.at[i].name;
  const char *name = cg_kernel_point(k, cg_emit_place(c->e, t, base, cg_x_mul(&c->m->exprs, start, cg_x_int(&c->m->exprs, cg_dtypes[t].size))), t, false);
  k->pointer.at[k->pointer.n - 1].base = base, k->pointer.at[k->pointer.n - 1].start = start;
  return name;
}

// A symbol's name as a C identifier.
static const char *c_name(cg_session *s, const char *name) {
  bool plain = (name[0] == 's' || name[0] == 'u') && name[1] && strspn(name + 1, "0123456789") == strlen(name + 1);
  if (plain) return name;
  char *out = cg_format(s, "n_%s", name);
  for (char *p = out; *p; p++)
    if (!isalnum((unsigned char)*p)) *p = '_';
  return out;
}

// `value` as a parameter; it is one already, or is called by `name` or what comes next.
static const char *param(cg_kernel *k, const cg_expr *value, const char *name) {
  for (int i = 0; i < k->param.n; i++)
    if (k->param.at[i].value == value) return k->param.at[i].name;
  cg_kernel_param p = {value, cg_kernel_local(k, name)};
  CG_PUSH(k->c->s, &k->param, p);
  return p.name;
}

static const char *infix(cg_kernel *k, const cg_expr *e, const char *op) {
  cg_str b = cg_str_new(k->c->s);
  cg_str_addc(&b, '(');
  for (int i = 0; i < e->nargs; i++) {
    const cg_expr *a = e->arg[i];
    if (i && e->kind == CG_X_ADD && cg_x_is_int(a) && a->value < 0 && a->value > INT64_MIN) {
      cg_str_addf(&b, " - %lld", (long long)-a->value);
      continue;
    }
    if (i) cg_str_addf(&b, " %s ", op);
    cg_str_add(&b, cg_kernel_size(k, a));
  }
  cg_str_addc(&b, ')');
  return cg_str_text(&b);
}

static const char *call(cg_kernel *k, const cg_expr *e, const char *function) {
  const char *text = cg_kernel_size(k, e->arg[0]);
  for (int i = 1; i < e->nargs; i++) text = cg_format(k->c->s, "%s(%s, %s)", function, text, cg_kernel_size(k, e->arg[i]));
  return text;
}

const char *cg_kernel_size(cg_kernel *k, const cg_expr *e) {
  cg_session *s = k->c->s;
  switch (e->kind) {
  case CG_X_INT:
    if (e->value == INT64_MIN) return "INT64_MIN";
    return cg_format(s, e->value < 0 ? "(%lld%s)" : "%lld%s", (long long)e->value, e->value > INT32_MAX || e->value < -INT32_MAX ? "LL" : "");
  case CG_X_SYM: return param(k, e, c_name(s, e->symbol->name));
  case CG_X_ADD: return infix(k, e, "+");
  case CG_X_MUL: return infix(k, e, "*");
  case CG_X_EQ: return infix(k, e, "==");
  case CG_X_NE: return infix(k, e, "!=");
  case CG_X_LT: return infix(k, e, "<");
  case CG_X_LE: return infix(k, e, "<=");
  case CG_X_AND: return infix(k, e, "&");
  case CG_X_OR: return infix(k, e, "|");
  case CG_X_NOT: return cg_format(s, "(!%s)", cg_kernel_size(k, e->arg[0]));
  case CG_X_FLOORDIV: return call(k, e, "cg_idiv");
  case CG_X_MOD: return call(k, e, "cg_imod");
  case CG_X_SCALE: return call(k, e, "cg_iscale");
  case CG_X_MAX: return call(k, e, "cg_imax");
  case CG_X_MIN: return call(k, e, "cg_imin");
  case CG_X_WHERE:
    return cg_format(s, "(%s ? %s : %s)", cg_kernel_size(k, e->arg[0]), cg_kernel_size(k, e->arg[1]), cg_kernel_size(k, e->arg[2]));
  }
  return "0";
}

// The place for errors travels as a parameter, so that kernels of equal text stay equal.
const char *cg_kernel_site_of(cg_kernel *k, const cg_node *n) {
  return param(k, cg_x_int(&k->c->m->exprs, cg_emit_site(k->c->e, n)), "site0");
}

const char *cg_kernel_scalar(cg_kernel *k, const cg_arg *a, cg_dtype t) {
  cg_session *s = k->c->s;
  const char *ctype = cg_kernel_computed(t);
  double d;
  const cg_expr *i;
  if (a->kind != CG_A_VALUE && a->kind != CG_A_INT && cg_arg_double(a, &d)) return cg_print_number(s, d, t);
  if (cg_arg_int(a, &i)) return cg_x_is_int(i) && cg_is_float(t) ? cg_print_number(s, (double)i->value, t) : cg_format(s, "(%s)%s", ctype, cg_kernel_size(k, i));
  if (a->kind != CG_A_VALUE) cg_fail(s, CIERGE_INTERNAL, "a kernel asked for an argument that is no number");
  bool real = a->value->type.kind == CG_T_FLOAT;
  const char *at = cg_kernel_point_as(k, cg_emit_value(k->c->e, a->value), real ? "double" : "int64_t", false);
  return cg_print_cast(s, cg_format(s, "(*%s)", at), real ? CG_F64 : CG_I64, t);
}

// ---------------------------------------------------------------- elements in memory

const char *cg_c_bare(cg_session *s, const char *text) {
  size_t n = strlen(text), i = 0;
  if (text[0] != '(') return text;
  for (int depth = 0; i < n; i++) { // the bracket at the start must close at the end: (a)*(b) stays
    depth += text[i] == '(' ? 1 : text[i] == ')' ? -1 : 0;
    if (!depth) break;
  }
  return i == n - 1 ? cg_strndup(s, text + 1, n - 2) : text;
}

const char *cg_kernel_load(cg_kernel *k, cg_dtype t, const char *name, const char *index) {
  index = cg_c_bare(k->c->s, index);
  if (t == CG_BOOL) return cg_format(k->c->s, "%s[%s] != 0", name, index);
  if (t == CG_F16 || t == CG_BF16) return cg_format(k->c->s, "%s(%s[%s])", cg_kernel_half(k, "from", t), name, index);
  return cg_format(k->c->s, "%s[%s]", name, index);
}

const char *cg_kernel_convert(cg_kernel *k, cg_dtype t, const char *text) {
  if (t == CG_F16 || t == CG_BF16) return cg_format(k->c->s, "%s(%s)", cg_kernel_half(k, "to", t), text);
  return text;
}

const char *cg_kernel_half(cg_kernel *k, const char *how, cg_dtype t) {
  return cg_format(k->c->s, k->one_by_one && t == CG_F16 ? "cg_one_%s_%s" : "cg_%s_%s", how, cg_dtypes[t].text);
}

void cg_kernel_one_by_one(cg_kernel *k) { k->one_by_one = true; }

// ---------------------------------------------------------------- what templates ask for

static cg_expr_pool *pool(cg_kernel *k) { return &k->c->m->exprs; }

// Gives where in the base the argument begins, if its pointer shall point there.
static const cg_expr *describe(cg_kernel *k, cg_kernel_input *in, cg_value *base, te_expr *offset, te_expr **var) {
  in->offset = cg_x_int(pool(k), 0);
  for (int i = 0; i < in->rank; i++) in->stride[i] = in->offset;
  te_sum s;
  if (!te_sum_of(k->c->t, offset, &s)) cg_fail(k->c->s, CIERGE_INTERNAL, "an argument of a template is read at too complicated a place");
  in->offset = s.constant;
  for (int i = 0; i < s.n; i++) {
    int d = 0;
    while (d < in->rank && var[d] != s.atom[i]) d++;
    if (d == in->rank) cg_fail(k->c->s, CIERGE_INTERNAL, "an argument of a template is not read through strides");
    in->stride[d] = s.coef[i];
  }
  const cg_constant *c = base->constant;
  in->constant = c && !c->mutated && c->data ? c : NULL;
  const cg_expr *start = cg_x_int(pool(k), 0);
  if (cg_kernel_starts_at(base, in->offset)) start = in->offset, in->offset = cg_x_int(pool(k), 0);
  te_expr *flat = te_flat(k->c->t, in->rank, in->dim, var);
  in->contiguous = flat == te_op(k->c->t, TE_SUB, offset, te_size(k->c->t, start));
  return start;
}

static cg_kernel_input look(cg_kernel *k, cg_value *v, bool point) {
  cg_sched *c = k->c;
  cg_kernel_input in = {.value = v, .dtype = v->type.dtype, .rank = v->type.rank, .dim = v->type.dim};
  in.stride = CG_NEW_ARRAY(c->s, const cg_expr *, in.rank + 1);
  te_expr **var = te_new_vars(c->t, in.rank, v->type.dim);
  cg_info *x = cg_c_info(v);
  cg_value *base = v;
  te_expr **idx = var;
  if (x && !x->root && !x->alias_of) {
    cg_group *g = c->current;
    cg_c_enter(c, NULL);
    te_expr *e = te_at(c->t, v, var);
    cg_c_enter(c, g);
    if (e->kind != TE_LOAD) cg_fail(c->s, CIERGE_INTERNAL, "an argument of a template was not stored: %%%s", v->name);
    base = e->value, idx = e->arg;
  }
  const cg_expr *start = describe(k, &in, base, cg_c_offset(c, base, idx), var);
  if (point) in.name = cg_kernel_point_at(k, base, start, v->type.dtype);
  return in;
}

cg_kernel_input cg_kernel_read(cg_kernel *k, cg_value *v) { return look(k, v, true); }
cg_kernel_input cg_kernel_peek(cg_kernel *k, cg_value *v) { return look(k, v, false); }

const void *cg_kernel_constant_at(const cg_kernel_input *in, const int64_t *idx) {
  int64_t at = in->offset->value + (in->constant->type.offset ? in->constant->type.offset->value : 0);
  for (int i = 0; i < in->rank; i++) at += idx[i] * in->stride[i]->value;
  return in->constant->data + at * cg_dtypes[in->dtype].size;
}

// What several kernels pack alike is kept once: a weight that many products read, the steps of an unrolled net for instance.
const char *cg_kernel_constant(cg_kernel *k, const char *name, cg_dtype t, int rank, const int64_t *dim, const void *data, size_t size) {
  cg_session *s = k->c->s;
  cg_c_state *state = cg_c_state_of(k->c->e);
  const char *content = cg_format(s, "%s %zu", cg_hash_of(data, size).text, size);
  const void *have = cg_map_get(&state->made, content);
  if (have && !memcmp(have, data, size)) data = have;
  else {
    cg_map_set(s, &state->made, content, (void *)data);
    if (data == state->spare) state->spare = NULL;
  }
  return cg_kernel_point(k, cg_emit_constant(k->c->e, name, t, rank, dim, data, size), t, false);
}

void *cg_kernel_spare(cg_kernel *k, size_t size) {
  cg_c_state *state = cg_c_state_of(k->c->e);
  if (state->spare && size <= state->spare_size) return memset(state->spare, 0, size);
  return state->spare = cg_alloc(k->c->s, state->spare_size = size ? size : 1);
}

const char *cg_kernel_scratch(cg_kernel *k, cg_dtype t, const cg_expr *count) {
  const cg_expr **dim = cg_memdup(k->c->s, &count, sizeof count);
  return cg_kernel_point(k, cg_emit_temp(k->c->e, t, 1, dim), t, true);
}

const char *cg_kernel_output(cg_kernel *k, int i) {
  cg_value *v = k->node->result[i];
  cg_info *x = cg_c_info(v);
  return cg_kernel_point(k, cg_c_plan_result(k->c, x), v->type.dtype, true); // the template writes it, even if nobody reads it
}

bool cg_kernel_over(const cg_kernel *k) { return cg_c_info(k->node->result[0])->writes; }

const char *cg_kernel_wild(cg_kernel *k, const char *name, bool writes) {
  cg_emitter *e = k->c->e;
  cg_arg none = cg_a_none();
  cg_emit_wild x = {.fn = e->fn, .flag = (uint32_t)cg_emit_arg(e, &none), .writes = writes};
  for (int i = 0; i < k->pointer.n; i++)
    if (!strcmp(k->pointer.at[i].name, name)) x.of = (uint32_t)k->pointer.at[i].plan;
  CG_PUSH(e->s, &e->wild, x);
  return cg_kernel_point_as(k, (int)x.flag, "int64_t", false);
}

bool cg_kernel_result_used(const cg_kernel *k, int i) { return cg_c_info(k->node->result[i])->uses > 0; }

bool cg_kernel_channels_last(const cg_kernel *k) {
  for (int i = 0; i < k->g->member.n; i++)
    if (k->g->member.at[i]->stored) return k->g->member.at[i]->channels_last;
  return false;
}

cg_str *cg_kernel_body(cg_kernel *k) { return &k->body; }
cg_str *cg_kernel_before(cg_kernel *k) { return &k->before; }
const char *cg_kernel_name(cg_kernel *k) { (void)k; return CG_C_NAME; }

cg_str *cg_kernel_shared(cg_kernel *k, const char *key) {
  cg_c_state *st = cg_c_state_of(k->c->e);
  if (cg_map_has(&st->shared, key)) return NULL;
  cg_str *text = CG_NEW(k->c->s, cg_str);
  *text = cg_str_new(k->c->s);
  cg_map_set(k->c->s, &st->shared, cg_strdup(k->c->s, key), text);
  return text;
}

void cg_kernel_prelude(cg_kernel *k, const char *function) { (void)k, (void)function; } // found in the text by its name
cg_session *cg_kernel_session(cg_kernel *k) { return k->c->s; }
cg_module *cg_kernel_module(cg_kernel *k) { return k->c->m; }
cg_emitter *cg_kernel_emitter(cg_kernel *k) { return k->c->e; }
const char *cg_kernel_target(cg_kernel *k) { return k->c->e->pipeline->opt->target; }
void cg_kernel_note(cg_kernel *k, const char *note) { k->note = k->note ? cg_format(k->c->s, "%s, %s", k->note, note) : note; }
void cg_kernel_cost(cg_kernel *k, double ns) { k->cost = ns; }

bool cg_kernel_has(cg_kernel *k, cg_cpu_extra x) { return cg_kernel_emitter(k)->pipeline->opt->extras >> x & 1; }
void cg_kernel_needs(cg_kernel *k, cg_cpu_extra x) { cg_c_state_of(cg_kernel_emitter(k))->extras |= 1u << x; }

const char *cg_c_target(cg_session *s, const char *level, unsigned extras) {
  cg_str t = cg_str_new(s);
  cg_str_add(&t, level);
  for (int x = 0; x < CG_CPU_EXTRAS; x++)
    if (extras >> x & 1) cg_str_addf(&t, "+%s", cg_cpu_extras[x]);
  return cg_str_text(&t);
}

int cg_kernel_vector_bytes(cg_kernel *k) {
  const char *t = cg_kernel_target(k);
  return !t ? 16 : strstr(t, "v4") ? 64 : strstr(t, "v3") ? 32 : 16;
}

int cg_kernel_site(cg_kernel *k) { return cg_emit_site(k->c->e, k->node); }

static void store_member(cg_printer *p, cg_info *x) {
  cg_value *v = x->value;
  const char *text = cg_print_stored(p, x->final, v->type.dtype, 0);
  const char *at = cg_print_expr(p, cg_c_offset(p->c, v, x->idx));
  cg_print_line(p, 0, "%s[%s] = %s;", cg_kernel_point(p->k, x->plan, v->type.dtype, true), cg_c_bare(p->c->s, at), text);
}

void cg_kernel_store(cg_kernel *k, cg_str *out, int indent, int i, const char *acc, const char *const *idx) {
  cg_sched *c = k->c;
  cg_info *x = cg_c_info(k->node->result[i]);
  cg_printer *p = CG_NEW(c->s, cg_printer);
  cg_print_begin(p, c, k);
  p->block = out, p->block_indent = indent;
  p->accumulator_depth = 0;
  p->temp = "e0";
  cg_info own = *x;
  if (i) { // by itself, at the places of its own shape
    own.idx = te_new_vars(c->t, x->value->type.rank, x->value->type.dim);
    cg_dtype t = x->value->type.dtype;
    own.final = te_cast(c->t, te_accumulator(c->t, x->value, t == CG_F16 || t == CG_BF16 ? CG_F32 : t), t);
  }
  for (int d = 0; d < x->value->type.rank; d++) cg_print_var(p, own.idx[d], idx[d], 0);
  cg_dtype t = x->value->type.dtype;
  te_expr *a = te_accumulator(c->t, x->value, t == CG_F16 || t == CG_BF16 ? CG_F32 : t);
  const char *name = cg_kernel_local(k, p->temp);
  cg_print_line(p, 0, "const %s %s = %s;", cg_kernel_computed(t), name, acc);
  cg_print_name(p, a, name);
  if (i) {
    if (x->stored) store_member(p, &own);
    return;
  }
  for (int m = 0; m < k->g->member.n; m++) {
    cg_info *y = k->g->member.at[m];
    if (y->stored && (y->member != CG_MEMBER_ANCHOR || y == x)) store_member(p, y);
  }
}

// ---------------------------------------------------------------- the function

cg_kernel *cg_kernel_open(cg_sched *c, cg_group *g, const cg_node *n) {
  cg_kernel *k = CG_NEW(c->s, cg_kernel);
  *k = (cg_kernel){.c = c, .g = g, .node = n, .body = cg_str_new(c->s), .before = cg_str_new(c->s)};
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) cg_kernel_local(k, fixed[i]);
  return k;
}

void cg_kernel_parameters(cg_kernel *k, cg_str *declared, cg_str *passed) {
  for (int i = 0; i < k->pointer.n; i++) {
    cg_kernel_pointer *p = &k->pointer.at[i];
    cg_str_addf(declared, "%s%s%s *restrict %s", i ? ", " : "", p->output ? "" : "const ", p->ctype, p->name);
    cg_str_addf(passed, "%s%s", i ? ", " : "", p->name);
  }
  for (int i = 0; i < k->param.n; i++) {
    bool first = !i && !k->pointer.n;
    cg_str_addf(declared, "%sint64_t %s", first ? "" : ", ", k->param.at[i].name);
    cg_str_addf(passed, "%s%s", first ? "" : ", ", k->param.at[i].name);
  }
}

static void add_replaced(cg_str *out, const char *text, const char *from, const char *to) {
  for (const char *p; (p = strstr(text, from)); text = p + strlen(from)) {
    cg_str_addn(out, text, (size_t)(p - text));
    cg_str_add(out, to);
  }
  cg_str_add(out, text);
}

static bool uses_word(const char *text, const char *word) {
  size_t n = strlen(word);
  for (const char *p = text; (p = strstr(p, word)); p += n)
    if ((p == text || !(isalnum((unsigned char)p[-1]) || p[-1] == '_')) && !(isalnum((unsigned char)p[n]) || p[n] == '_')) return true;
  return false;
}

// The function; v: its copy for known sizes. dispatch: what the general one does first.
static void add_function_text(cg_kernel *k, cg_str *b, const cg_c_variant *v, const char *dispatch) {
  const char *body = cg_str_text(&k->body);
  cg_str before = cg_str_new(k->c->s), own = cg_str_new(k->c->s);
  add_replaced(&before, cg_str_text(&k->before), CG_C_NAME, v ? v->name : CG_C_NAME);
  add_replaced(&own, v ? cg_c_variant_text(k, v, body) : body, CG_C_NAME, v ? v->name : CG_C_NAME);
  cg_str_add(b, cg_str_text(&before));
  cg_str_addf(b, "%sint %s(void *const *pointers, const int64_t *s, int threads, int64_t *detail) {\n%s", v ? "static " : "__attribute__((visibility(\"default\"))) ",
              v ? v->name : CG_C_NAME, dispatch);
  int at = 0;
  for (int out = 1; out >= 0; out--) // outputs come first
    for (int i = 0; i < k->pointer.n; i++) {
      cg_kernel_pointer *p = &k->pointer.at[i];
      if (p->output == (bool)out) cg_str_addf(b, "  %s%s *restrict %s = pointers[%d];\n", out ? "" : "const ", p->ctype, p->name, at++);
    }
  bool any = *dispatch;
  for (int i = 0; i < k->param.n; i++)
    if (!v || !v->literal[i]) cg_str_addf(b, "  const int64_t %s = s[%d];\n", k->param.at[i].name, i), any = true;
  if (!any) cg_str_add(b, "  (void)s;\n");
  if (!uses_word(body, "threads")) cg_str_add(b, "  (void)threads;\n");
  if (!uses_word(body, "detail")) cg_str_add(b, "  (void)detail;\n");
  cg_str_add(b, cg_str_text(&own));
  cg_str_add(b, "  return CG_KERNEL_OK;\n}\n");
}

static const char *function_text(cg_kernel *k) {
  cg_str b = cg_str_new(k->c->s), dispatch = cg_str_new(k->c->s);
  cg_c_variants all = cg_c_variants_of(k);
  for (int i = 0; i < all.n; i++) {
    add_function_text(k, &b, &all.at[i], "");
    cg_str_addf(&dispatch, "  if (%s) return %s(pointers, s, threads, detail);\n", all.at[i].test, all.at[i].name);
  }
  add_function_text(k, &b, NULL, cg_str_text(&dispatch));
  return cg_str_text(&b);
}

static const char *op_name(const cg_node *n) {
  const char *name = n->schema ? n->schema->name : "call", *colon = strstr(name, "::");
  return colon ? colon + 2 : name;
}

// "linear_gelu": the operators in it, up to a few.
static const char *kernel_stem(cg_kernel *k, const char *sep) {
  cg_str b = cg_str_new(k->c->s);
  const cg_node *last = NULL;
  int n = 0;
  for (int i = 0; i < k->g->member.n; i++) {
    const cg_node *node = k->g->member.at[i]->compute->node;
    if (node == last) continue;
    last = node;
    if (n++ == 5) break;
    cg_str_addf(&b, "%s%s", n > 1 ? sep : "", op_name(node));
  }
  return cg_str_text(&b);
}

// Which nodes it computes, for the reader. The names are the model's: nothing in them ends the line, nor joins the next one to it
// (a backslash, or the trigraph that means one).
static void add_comment(cg_kernel *k, cg_str *b) {
  for (int i = 0; i < k->g->member.n; i++) {
    cg_info *x = k->g->member.at[i];
    const cg_node *n = x->compute->node;
    cg_str line = cg_str_new(k->c->s);
    cg_str_addf(&line, "%%%s = %s ", x->value->name, op_name(n));
    cg_print_type_short(&line, &x->value->type);
    if (!x->stored) cg_str_add(&line, ", not stored");
    if (n->module_path && *n->module_path) cg_str_addf(&line, "  in %s", n->module_path);
    cg_str_add(b, "//   ");
    for (size_t j = 0; j < line.n; j++) cg_str_addc(b, iscntrl((unsigned char)line.at[j]) || strchr("\\?", line.at[j]) ? '_' : line.at[j]);
    cg_str_addc(b, '\n');
  }
}

cg_c_state *cg_c_state_of(cg_emitter *e) {
  int slot = 0;
  while (cg_backends[slot] && cg_backends[slot] != &cg_backend_c) slot++;
  if (!e->state[slot]) e->state[slot] = CG_NEW(e->s, cg_c_state);
  return e->state[slot];
}

static int plan_kernel(cg_emitter *e, const char *symbol, const char *note) {
  cg_plan *p = e->plan;
  if (!(p->n_kernels & (p->n_kernels - 1))) {
    cg_plan_kernel *grown = CG_NEW_ARRAY(e->s, cg_plan_kernel, p->n_kernels ? 2 * (size_t)p->n_kernels : 1);
    if (p->n_kernels) memcpy(grown, p->kernel, p->n_kernels * sizeof *grown);
    p->kernel = grown;
  }
  p->kernel[p->n_kernels] = (cg_plan_kernel){symbol, note};
  return (int)p->n_kernels++;
}

static int add_function(cg_emitter *e, cg_c_function f, const char *note) {
  cg_c_state *state = cg_c_state_of(e);
  int index = plan_kernel(e, f.name, note);
  CG_PUSH(e->s, &state->function, f);
  CG_PUSH(e->s, &state->kernel, index);
  return index;
}

int cg_emit_kernel(cg_emitter *e, const char *symbol, const char *note, const char *text) {
  return add_function(e, (cg_c_function){.name = symbol, .text = text, .comment = cg_str_new(e->s)}, note);
}

// The kernel with this text: one that was written before, or a new one.
static int function(cg_kernel *k, const char *text) {
  cg_emitter *e = k->c->e;
  cg_c_state *state = cg_c_state_of(e);
  cg_hash hash = cg_hash_of(text, strlen(text));
  int same = (int)(intptr_t)cg_map_get(&state->by_text, hash.text) - 1;
  if (same >= 0) {
    cg_str_add(&state->function.at[same].comment, "// and for\n");
    add_comment(k, &state->function.at[same].comment);
    return state->kernel.at[same];
  }
  cg_map_set(e->s, &state->by_text, hash.text, (void *)(intptr_t)(state->function.n + 1));
  const char *stem = kernel_stem(k, "_");
  cg_c_function f = {.name = cg_format(e->s, "k%d_%s", (int)e->plan->n_kernels, stem), .comment = cg_str_new(e->s)};
  for (char *p = (char *)f.name; *p; p++)
    if (!isalnum((unsigned char)*p)) *p = '_';
  add_comment(k, &f.comment);
  cg_str named = cg_str_new(e->s);
  add_replaced(&named, text, CG_C_NAME, f.name);
  f.text = cg_str_text(&named);
  cg_str note = cg_str_new(e->s);
  cg_str_addf(&note, "%s ", kernel_stem(k, "+"));
  cg_print_type_short(&note, &k->g->member.at[k->g->member.n - 1]->value->type);
  if (k->note) cg_str_addf(&note, ", %s", k->note);
  return add_function(e, f, cg_str_text(&note));
}

void cg_kernel_close(cg_kernel *k) {
  cg_emitter *e = k->c->e;
  int kernel = function(k, function_text(k));
  cg_choices_made(k, kernel);
  uint32_t *in = CG_NEW_ARRAY(e->s, uint32_t, k->pointer.n + 1), *out = CG_NEW_ARRAY(e->s, uint32_t, k->pointer.n + 1);
  uint32_t *par = CG_NEW_ARRAY(e->s, uint32_t, k->param.n + 1), n_in = 0, n_out = 0;
  for (int i = 0; i < k->pointer.n; i++) {
    if (k->pointer.at[i].output) out[n_out++] = (uint32_t)k->pointer.at[i].plan;
    else in[n_in++] = (uint32_t)k->pointer.at[i].plan;
  }
  for (int i = 0; i < k->param.n; i++) par[i] = (uint32_t)cg_emit_expr(e, k->param.at[i].value);
  cg_plan_step *step = cg_emit_step(e, CG_STEP_KERNEL, k->g->member.at[0]->compute->node);
  step->in = in, step->n_in = n_in;
  step->out = out, step->n_out = n_out;
  step->param = par, step->n_param = (uint32_t)k->param.n;
  step->kernel = (uint32_t)kernel;
  step->estimate_ns = k->cost;
}

void cg_c_emit_template(cg_sched *c, cg_group *g) {
  cg_c_place_members(c, g);
  cg_kernel *k = cg_kernel_open(c, g, g->node);
  for (int i = 0; i < g->member.n; i++) {
    cg_info *x = g->member.at[i];
    if (x->stored) cg_c_plan_result(c, x);
  }
  g->anchor->emit(k, g->node);
  for (int i = 0; i < g->member.n; i++) { // an empty result is written by nobody, and is still this kernel's
    cg_info *x = g->member.at[i];
    if (x->stored) cg_kernel_point(k, x->plan, x->value->type.dtype, true);
  }
  cg_kernel_close(k);
}
