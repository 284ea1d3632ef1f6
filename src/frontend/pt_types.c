// Types for the import of TorchScript: its lines come as they are made, and are typed as the infer pass would: by native rules,
// Meta kernels, or what the user declares.
#include <stdio.h>
#include <string.h>

#include "frontend/pt.h"
#include "ir/text.h"
#include "ops/op.h"
#include "pass/declare.h"

static bool all_known(const cg_node *n) {
  for (int i = 0; i < n->nresults; i++)
    if (n->result[i]->type.kind == CG_T_UNKNOWN) return false;
  return true;
}

static void infer(cg_pipeline *p, cg_module *m, cg_node *n) {
  const char *why = n->op && n->op->infer ? n->op->infer(m, n) : NULL;
  if (why) cg_fail(p->s, CIERGE_BAD_MODEL, "%s", why);
  if (all_known(n)) return;
  why = p->torch->infer(p->torch, m, n);
  if (all_known(n) || cg_declared_type(p, m, n)) return;
  cg_fail(p->s, CIERGE_BAD_MODEL, "no type is known of its results (%s)", why ? why : "no Meta kernel");
}

static void add_type(cg_pt_types *t, const cg_type *type) {
  cg_type plain = *type;
  plain.stride = NULL, plain.offset = NULL;
  cg_print_type(&t->answer, &plain);
  cg_str_addc(&t->answer, '\n');
}

// A number that appears at run time is a symbol: sizes may be made of it.
static void name_number(cg_module *m, cg_type *t) {
  if (t->kind != CG_T_INT || t->value) return;
  t->value = cg_unbacked_new(m);
  cg_symbol_range(t->value->symbol, INT64_MIN / 4, INT64_MAX / 4);
}

static void feed(cg_session *s, void *u) {
  (void)s;
  cg_pt_types *t = u;
  cg_fn *f = t->lines->fn;
  cg_node *last = f->last;
  int params = f->param.n;
  cg_text_feed(t->lines, t->text);
  for (; params < f->param.n; params++) add_type(t, &f->param.at[params]->type);
  if (f->last == last) return;
  infer(t->p, t->lines->m, f->last);
  for (int i = 0; i < f->last->nresults; i++) {
    if (cg_node_is_op(f->last, "aten::_local_scalar_dense")) name_number(t->lines->m, &f->last->result[i]->type);
    add_type(t, &f->last->result[i]->type);
  }
}

// ---------------------------------------------------------------- one type or the other

static void join(cg_session *s, void *u) {
  cg_pt_types *t = u;
  cg_module *m = t->lines->m;
  cg_span at = {.file = "the imported program"};
  cg_type a = cg_parse_type(m, t->text, at), b = cg_parse_type(m, t->other, at);
  if (a.kind != b.kind || (a.kind == CG_T_TENSOR && (a.dtype != b.dtype || a.rank != b.rank)))
    cg_fail(s, CIERGE_BAD_MODEL, "%s and %s are different kinds of types", t->text, t->other);
  if (a.kind == CG_T_TENSOR) {
    cg_type j = cg_tensor_type(a.dtype, a.rank, CG_NEW_ARRAY(s, const cg_expr *, a.rank ? a.rank : 1));
    for (int i = 0; i < a.rank; i++) j.dim[i] = a.dim[i] == b.dim[i] ? a.dim[i] : cg_unbacked_new(m);
    a = j;
  } else if (a.value != b.value) {
    a.value = NULL;
  }
  cg_print_type(&t->answer, &a);
}

// ---------------------------------------------------------------- what was taken for granted

// Sizes that meet in a pointwise operator are taken as equal where one of them is unknown: PyTorch would stretch a 1.
static void guards(cg_session *s, void *u) {
  cg_pt_types *t = u;
  const cg_node *n = t->lines->fn->last;
  if (!n || !n->op || !(n->op->traits & CG_OP_POINTWISE) || n->nresults != 1) cg_fail(s, CIERGE_BAD_MODEL, "%s", "");
  const cg_type *y = &n->result[0]->type;
  for (int d = 0; y->kind == CG_T_TENSOR && d < y->rank; d++) {
    const cg_value *like = NULL; // whose size it is
    int like_dim = 0;
    for (int pass = 0; pass < 2; pass++)
      for (int i = 0; i < n->nargs; i++) {
        const cg_value *x = cg_arg_tensor(&n->arg[i]);
        if (!x || x->type.kind != CG_T_TENSOR) continue;
        int k = d - (y->rank - x->type.rank);
        if (k < 0 || cg_x_is(x->type.dim[k], 1)) continue;
        if (x->type.dim[k] == y->dim[d]) like = x, like_dim = k;
        else if (pass && cg_x_is_int(y->dim[d])) cg_str_addf(&t->answer, "%%%s %d = %lld\n", x->name, k, (long long)y->dim[d]->value);
        else if (pass && like) cg_str_addf(&t->answer, "%%%s %d = %%%s %d\n", x->name, k, like->name, like_dim);
      }
  }
}

static int64_t sample(const cg_symbol *y, int which) {
  static const int primes[] = {7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67};
  int64_t v = which ? 1 : primes[y->index % 16] + 68 * (y->index / 16);
  return v < y->lo ? y->lo : v > y->hi ? y->hi : v;
}

static void at_sample(cg_session *s, void *u) {
  cg_pt_types *t = u;
  cg_module *m = t->lines->m;
  cg_type x = cg_parse_type(m, t->text, (cg_span){.file = "the imported program"});
  int n = m->exprs.symbols.n;
  int64_t *values = CG_NEW_ARRAY(s, int64_t, n ? n : 1);
  for (int i = 0; i < n; i++) {
    const cg_symbol *y = m->exprs.symbols.entries[i].value;
    values[y->index] = sample(y, t->sample);
  }
  int64_t v;
  for (int i = 0; x.kind == CG_T_TENSOR && i < x.rank; i++) {
    if (!cg_x_eval(x.dim[i], values, &v) || v < 0) cg_fail(s, CIERGE_BAD_MODEL, "%s", "");
    x.dim[i] = cg_x_int(&m->exprs, v);
  }
  if (x.kind == CG_T_INT && x.value && cg_x_eval(x.value, values, &v)) x.value = cg_x_int(&m->exprs, v);
  x.stride = NULL, x.offset = NULL;
  cg_print_type(&t->answer, &x);
}

// ---------------------------------------------------------------- the plugin's side

// Runs f; gives its answer, or what it threw (without the line that it quotes).
static int answer(cg_pt_types *t, void (*f)(cg_session *, void *), char *out, size_t size) {
  cg_session *s = t->p->s;
  t->answer = cg_str_new(s);
  bool bad = cg_try(s, f, t) != CIERGE_OK;
  const char *text = bad ? s->message : cg_str_text(&t->answer);
  int n = snprintf(out, size, "%s", text);
  if (bad) out[strcspn(out, "\n")] = 0;
  return bad || n < 0 || (size_t)n >= size;
}

static int feed_line(void *self, const char *line, char *out, size_t size) {
  cg_pt_types *t = self;
  t->text = line;
  return answer(t, feed, out, size);
}

static int join_types(void *self, const char *a, const char *b, char *out, size_t size) {
  cg_pt_types *t = self;
  t->text = a, t->other = b;
  return answer(t, join, out, size);
}

static int guards_of_last(void *self, char *out, size_t size) { return answer(self, guards, out, size); }

static int type_at(void *self, const char *type, int which, char *out, size_t size) {
  cg_pt_types *t = self;
  t->text = type, t->sample = which;
  return answer(t, at_sample, out, size);
}

// The words in a type's brackets that are symbols, declared.
static void declare(cg_text_parser *p, const char *text) {
  cg_session *s = p->s;
  int depth = 0;
  for (const char *at = text; *at;) {
    size_t n = 0;
    while (cg_text_word_char(at[n])) n++;
    depth += *at == '[' ? 1 : *at == ']' ? -1 : 0;
    if (!n) {
      at++;
      continue;
    }
    const char *word = cg_strndup(s, at, n);
    bool symbol = depth && !(*at >= '0' && *at <= '9') && at[n] != '[' && at[n] != '(' && !cg_text_is_reserved(word);
    if (symbol && !cg_symbol_find(&p->m->exprs, word)) cg_text_feed(p, cg_format(s, "sym %s = 0..", word));
    at += n;
  }
}

static void begin(cg_session *s, void *u) {
  cg_pt_types *t = u;
  cg_text_parser *p = t->lines = CG_NEW(s, cg_text_parser);
  *p = (cg_text_parser){.s = s, .m = cg_module_new(s), .make_unbacked = true};
  p->fn = cg_fn_new(p->m, "main");
  for (int i = 0; i < t->inputs->n; i++)
    if (t->inputs->at[i].text[0] != '"') declare(p, t->inputs->at[i].text);
}

static void reset(void *self) {
  cg_pt_types *t = self;
  char none[8];
  (void)answer(t, begin, none, sizeof none);
}

void cg_pt_types_connect(cg_pt_types *t, cierge_torch_import *in) {
  begin(t->p->s, t);
  in->self = t;
  in->feed = feed_line, in->join = join_types, in->guards = guards_of_last, in->at = type_at, in->reset = reset;
}

void cg_pt_symbols(const cg_pt_types *t, cg_str *b) {
  const cg_map *all = &t->lines->m->exprs.symbols;
  for (int i = 0; i < all->n; i++) {
    const cg_symbol *y = all->entries[i].value;
    cg_str_addf(b, "sym %s = %lld..", y->name, (long long)y->lo);
    if (y->hi != INT64_MAX) cg_str_addf(b, "%lld", (long long)y->hi);
    cg_str_addf(b, " %s\n", y->unbacked ? "unbacked" : "backed");
  }
}
