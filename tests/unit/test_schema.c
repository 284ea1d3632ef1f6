// Schemas: every one of the table is read, found, and its defaults become arguments; then the IR's building and reading.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "artifact/scalar.h"
#include "base/str.h"
#include "ir/ir.h"

static cg_session s;

static int start(void **state) {
  (void)state;
  cg_session_init(&s);
  return 0;
}
static int end(void **state) {
  (void)state;
  cg_session_end(&s);
  return 0;
}

static const cg_schema *find(const char *key) {
  cg_map cache = {0};
  const cg_schema *c = cg_schema_find(&s, &cache, key);
  if (!c) fail_msg("%s is not in the table", key);
  return c;
}

static void read_one(cg_session *session, void *text) { cg_schema_parse(session, text); }

// ---------------------------------------------------------------- the table

static void add_type(cg_str *b, const cg_schema_arg *a) {
  cg_str_add(b, a->type.text);
  if (a->name) cg_str_addf(b, " %s", a->name);
  if (a->default_text) cg_str_addf(b, "=%s", a->default_text);
}

// The schema as PyTorch prints it, from its parts.
static const char *print(const cg_schema *c) {
  cg_str b = cg_str_new(&s);
  cg_str_addf(&b, "%s%s%s(", c->name, *c->overload ? "." : "", c->overload);
  bool star = false;
  for (int i = 0; i < c->nargs; i++) {
    if (i) cg_str_add(&b, ", ");
    if (c->arg[i].keyword_only && !star) cg_str_add(&b, "*, "), star = true;
    add_type(&b, &c->arg[i]);
  }
  if (c->variadic_args) cg_str_add(&b, c->nargs ? ", ..." : "...");
  cg_str_add(&b, ") -> ");
  if (c->variadic_rets) cg_str_add(&b, "...");
  else if (c->nrets != 1) cg_str_add(&b, "(");
  for (int i = 0; i < c->nrets; i++) {
    if (i) cg_str_add(&b, ", ");
    add_type(&b, &c->ret[i]);
  }
  if (c->nrets != 1 && !c->variadic_rets) cg_str_add(&b, ")");
  return cg_str_text(&b);
}

static void squeeze(const char *text, char *out) { // without "(T name)" around a single named result
  const char *arrow = strstr(text, "-> (");
  size_t n = strlen(text);
  strcpy(out, text);
  if (arrow && !strchr(arrow, ',') && text[n - 1] == ')' && arrow[4] != ')') {
    memmove(out + (arrow - text) + 3, arrow + 4, n - (size_t)(arrow - text) - 5);
    out[n - 2] = 0;
  }
}

static void test_whole_table(void **state) {
  (void)state;
  cg_map cache = {0};
  cg_module *m = cg_module_new(&s);
  char want[4096], have[4096];
  assert_true(cg_schema_count() > 3000);
  for (size_t i = 0; i < cg_schema_count(); i++) {
    const char *text = cg_schema_text(i), *paren = strchr(text, '(');
    const cg_schema *c = cg_schema_find(&s, &cache, cg_strndup(&s, text, (size_t)(paren - text)));
    if (!c) fail_msg("not found: %s", text);
    assert_string_equal(c->text, text);
    squeeze(text, want);
    squeeze(print(c), have);
    assert_string_equal(have, want); // nothing was lost in reading
    for (int k = 0; k < c->nargs; k++) {
      const cg_schema_arg *a = &c->arg[k];
      cg_arg d = cg_schema_default(m, a);
      if (!a->default_text || !strcmp(a->default_text, "None")) assert_int_equal(d.kind, CG_A_NONE);
      else assert_int_not_equal(d.kind, CG_A_NONE);
    }
  }
}

static void test_find(void **state) {
  (void)state;
  cg_map cache = {0};
  assert_ptr_equal(cg_schema_find(&s, &cache, "aten::relu"), cg_schema_find(&s, &cache, "aten::relu"));
  assert_string_equal(cg_schema_find(&s, &cache, "aten::relu.default")->key, "aten::relu");
  assert_null(cg_schema_find(&s, &cache, "aten::rel"));
  assert_null(cg_schema_find(&s, &cache, "aten::relu.defaul"));
  assert_null(cg_schema_find(&s, &cache, "aten::relu(Tensor self) -> Tensor"));
  assert_null(cg_schema_find(&s, &cache, ""));
  assert_null(cg_schema_find(&s, &cache, ".default"));
  assert_null(cg_schema_find(&s, &cache, "zzz::zzz"));
  const cg_schema *mine = cg_schema_parse(&s, "my::op(Tensor x) -> Tensor");
  cg_map_set(&s, &cache, mine->key, (void *)mine);
  assert_ptr_equal(cg_schema_find(&s, &cache, "my::op"), mine);
  assert_ptr_equal(cg_schema_find(&s, &cache, "my::op.default"), mine);
#define XX(name, key, n) assert_int_equal(find(key)->nargs, n); assert_int_equal(find(key)->nrets, 1);
  CG_SCALAR_OPS(XX)
#undef XX
}

static void test_fields(void **state) {
  (void)state;
  const cg_schema *c = find("aten::add.Tensor");
  assert_string_equal(c->ns, "aten");
  assert_string_equal(c->name, "aten::add");
  assert_string_equal(c->overload, "Tensor");
  assert_string_equal(c->key, "aten::add.Tensor");
  assert_false(c->mutates || c->is_view || c->variadic_args || c->variadic_rets);
  assert_int_equal(cg_schema_arg_index(c, "alpha"), 2);
  assert_int_equal(cg_schema_arg_index(c, "beta"), -1);
  assert_true(c->arg[2].keyword_only && !c->arg[1].keyword_only);
  assert_int_equal(c->arg[2].type.kind, CG_S_SCALAR);
  assert_string_equal(c->arg[2].default_text, "1");

  c = find("aten::add_.Tensor");
  assert_true(c->mutates && !c->is_view);
  assert_true(c->arg[0].alias_write && !c->arg[0].is_out && c->arg[0].alias_set == 'a' && c->ret[0].alias_set == 'a');
  c = find("aten::add.out");
  assert_true(c->mutates && c->arg[3].is_out);
  c = find("aten::split.Tensor");
  assert_true(c->is_view && c->ret[0].type.list && c->arg[0].alias_set == 'a' && !c->arg[0].alias_write);
  c = find("aten::index.Tensor");
  assert_true(c->arg[1].type.list && c->arg[1].type.item_optional && !c->arg[1].type.optional);
  c = find("aten::_foreach_add_.Scalar");
  assert_true(c->arg[0].type.kind == CG_S_TENSOR && c->arg[0].type.list && c->arg[0].alias_write && c->nrets == 0);
  c = find("aten::conv2d");
  assert_true(c->arg[2].type.optional && !c->arg[2].type.list);
  assert_true(c->arg[3].type.list && c->arg[3].type.list_size == 2 && c->arg[3].type.symbolic && c->arg[3].type.kind == CG_S_INT);
  assert_string_equal(c->arg[3].type.text, "SymInt[2]");
  c = find("aten::mean.dim");
  assert_true(c->arg[1].type.list_optional && c->arg[1].type.optional && c->arg[1].type.list_size == 1 && !c->arg[1].type.item_optional);
  c = find("aten::topk");
  assert_int_equal(c->nrets, 2);
  assert_string_equal(c->ret[1].name, "indices");
  c = find("aten::native_batch_norm");
  assert_true(c->nrets == 3 && !c->ret[0].name);
  c = find("higher_order.cond");
  assert_true(c->variadic_rets && c->arg[0].type.kind == CG_S_ANY && c->arg[1].type.kind == CG_S_GRAPH);
  assert_string_equal(c->ns, "higher_order");
  assert_string_equal(c->overload, "");
  c = find("torchop");
  assert_true(c->variadic_args && c->variadic_rets && c->nargs == 2 && c->arg[0].keyword_only && c->arg[0].type.kind == CG_S_BLOB);
}

static void test_errors(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } bad[] = {
      {"", "column 1: expected an operator's name"},
      {"aten::f", "column 8: expected '('"},
      {"aten::f(Tensor) -> Tensor", "column 15: expected the argument's name"},
      {"aten::f(Tensor x -> Tensor", "column 18: expected ')'"},
      {"aten::f(Tensor x, Tensor x) -> Tensor", "expected another name: there is a 'x' already"},
      {"aten::f(Tensor x) Tensor", "column 19: expected '->'"},
      {"aten::f(Tensor x) -> ", "expected a type"},
      {"aten::f(Tensor x) -> (Tensor", "expected ')'"},
      {"aten::f(Tensor x) -> Tensor y z", "column 31: expected the end"},
      {"aten::f(Tensor(#) x) -> Tensor", "an alias set"},
      {"aten::f(Tensor(a x) -> Tensor", NULL},
      {"aten::f(int[x] y) -> Tensor", "expected ']'"},
      {"aten::f(int[99999999999] y) -> Tensor", "a list size"},
      {"aten::f(int y=) -> Tensor", "a default value"},
      {"aten::f(str y=\"abc) -> Tensor", "expected ')'"},
      {"aten::f(Dict(str, Tensor x) -> Tensor", NULL},
      {"aten::f(((((((", "a closing bracket"},
      {"aten::f(Tensor? ?x) -> ()", NULL},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    cierge_code code = cg_try(&s, read_one, (void *)bad[i].text);
    if (code != CIERGE_BAD_MODEL) fail_msg("read: %s", bad[i].text);
    if (bad[i].says && !strstr(s.message, bad[i].says)) fail_msg("expected '%s' in: %s", bad[i].says, s.message);
  }
  // every prefix of a schema is refused or read, never read past its end
  const char *whole = "my::f.o(Tensor(a! -> *)[] x, int[2]? y=[1, 2], *, str z=\"a,\\\"b\", ...) -> (Tensor(a) p, ...)";
  for (size_t n = 0; n <= strlen(whole); n++) {
    cierge_code code = cg_try(&s, read_one, cg_strndup(&s, whole, n));
    assert_int_equal(code, n == strlen(whole) ? CIERGE_OK : CIERGE_BAD_MODEL);
  }
}

// ---------------------------------------------------------------- defaults

static cg_arg default_of(cg_module *m, const char *type_and_default) {
  const cg_schema *c = cg_schema_parse(&s, cg_format(&s, "t::t(%s) -> ()", type_and_default));
  return cg_schema_default(m, &c->arg[0]);
}

static void read_default(cg_session *session, void *text) { (void)session, default_of(cg_module_new(&s), text); }

static void test_defaults(void **state) {
  (void)state;
  cg_module *m = cg_module_new(&s);
  int64_t i;
  cg_arg a;
  assert_int_equal(default_of(m, "Tensor? x=None").kind, CG_A_NONE);
  assert_int_equal(default_of(m, "int[2]? x").kind, CG_A_NONE);
  assert_true(cg_arg_int_const((a = default_of(m, "SymInt x=-100"), &a), &i) && i == -100);
  assert_true(cg_arg_int_const((a = default_of(m, "int x=9223372036854775807"), &a), &i) && i == INT64_MAX);
  assert_true(cg_arg_int_const((a = default_of(m, "int reduction=Mean"), &a), &i) && i == 1);
  a = default_of(m, "float p=2");
  assert_true(a.kind == CG_A_FLOAT && a.f == 2);
  a = default_of(m, "float p=1.0000000000000001e-05");
  assert_true(a.kind == CG_A_FLOAT && a.f == 1e-5);
  assert_true(isinf(default_of(m, "float? x=-inf").f) && isnan(default_of(m, "float? x=nan").f));
  assert_int_equal(default_of(m, "Scalar x=1").kind, CG_A_INT);
  a = default_of(m, "Scalar x=0.125");
  assert_true(a.kind == CG_A_FLOAT && a.f == 0.125);
  assert_int_equal(default_of(m, "Scalar x=True").kind, CG_A_BOOL);
  assert_true(default_of(m, "bool x=True").b && !default_of(m, "bool x=False").b);
  a = default_of(m, "str x=\"a\\\"\\'\\\\\\n\\101,)\"");
  assert_string_equal(a.str.text, "a\"'\\\nA,)");
  assert_int_equal(default_of(m, "ScalarType? x=4").dtype, CG_I64);
  assert_int_equal(default_of(m, "ScalarType x=long").dtype, CG_I64);
  assert_int_equal(default_of(m, "ScalarType x=torch.bfloat16").dtype, CG_BF16);
  assert_int_equal(default_of(m, "MemoryFormat x=contiguous_format").memory_format, 0);
  assert_int_equal(default_of(m, "MemoryFormat? x=2").memory_format, 2);
  assert_string_equal(default_of(m, "Layout x=strided").str.text, "strided");
  assert_string_equal(default_of(m, "Device x=\"cpu\"").str.text, "cpu");
  a = default_of(m, "int[2] x=1");
  assert_true(a.kind == CG_A_LIST && a.list.n == 2 && cg_arg_int_const(&a.list.at[1], &i) && i == 1);
  a = default_of(m, "int[] x=[0, -1, 3]");
  assert_true(a.list.n == 3 && cg_arg_int_const(&a.list.at[1], &i) && i == -1);
  a = default_of(m, "Scalar?[] x=[None, 1.5]");
  assert_true(a.list.n == 2 && a.list.at[0].kind == CG_A_NONE && a.list.at[1].f == 1.5);
  a = default_of(m, "str[] x=[\"a,]\", \"b\"]");
  assert_int_equal(a.list.n, 2);
  assert_string_equal(a.list.at[0].str.text, "a,]");
  assert_int_equal(default_of(m, "int[]? x=[]").list.n, 0);
  static const char *const bad[] = {"int x=one", "int x=[1]", "float x=1.5.2", "bool x=1", "str x=abc", "str x=\"a\\\"",
                                    "ScalarType x=99", "ScalarType x=flot", "MemoryFormat x=9", "Layout x=dense", "int[] x=[1,,2]",
                                    "int[] x=[1, two]", "int x=99999999999999999999", "Scalar x=2j"};
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
    if (cg_try(&s, read_default, (void *)bad[k]) != CIERGE_BAD_MODEL) fail_msg("read: %s", bad[k]);
}

// ---------------------------------------------------------------- building and reading

static void unknown_op(cg_session *session, void *f) { (void)session, cg_node_like(f, NULL, NULL, "aten::no_such", 0, NULL, 1); }
static void too_few(cg_session *session, void *f) { (void)session, cg_node_like(f, NULL, NULL, "aten::relu", 0, NULL, 1); }
static void too_many(cg_session *session, void *f) {
  (void)session;
  cg_arg a[2] = {cg_a_none(), cg_a_none()};
  cg_node_like(f, NULL, NULL, "aten::relu", 2, a, 1);
}
static void same_constant(cg_session *session, void *m) { (void)session, cg_constant_new(m, "w", cg_scalar_type(CG_T_UNKNOWN), NULL, 0); }

static void test_nodes(void **state) {
  (void)state;
  cg_module *m = cg_module_new(&s);
  cg_fn *f = cg_fn_new(m, "main");
  assert_ptr_equal(m->main, f);
  assert_string_not_equal(cg_fn_new(m, "main")->name, "main");
  const cg_expr *dim[] = {cg_x_sym(&m->exprs, "s0"), cg_x_int(&m->exprs, 3)};
  cg_type t = cg_tensor_type(CG_F32, 2, dim), u = cg_tensor_type(CG_F32, 2, (const cg_expr *[]){cg_x_int(&m->exprs, 3), dim[0]});
  assert_true(cg_type_equal(&t, &t) && !cg_type_equal(&t, &u) && !cg_type_is_static(&t));
  assert_ptr_equal(cg_type_numel(m, &t), cg_type_numel(m, &u));
  cg_value *x = cg_param_new(f, "x", t);
  cg_constant *w = cg_constant_new(m, "w", t, NULL, 0);
  assert_ptr_equal(cg_map_get(&m->constant_by_name, "w"), w);
  assert_int_equal(cg_try(&s, same_constant, m), CIERGE_BAD_MODEL);

  cg_node like = {.at = {"a.py", 7, 0}, .module_path = "layer", .name = "n", .origin = 3};
  cg_arg args[2] = {cg_a_value(x), cg_a_value(w->value)};
  cg_node *add = cg_node_like(f, NULL, &like, "aten::add.Tensor", 2, args, 1);
  int64_t alpha = 0;
  assert_true(add->nargs == 3 && cg_arg_int_const(cg_node_arg(add, "alpha"), &alpha) && alpha == 1);
  assert_true(add->at.line == 7 && add->origin == 3 && cg_node_is_op(add, "aten::add.Tensor"));
  assert_null(cg_node_arg(add, "beta"));
  assert_int_equal(cg_try(&s, unknown_op, f), CIERGE_INTERNAL);
  assert_int_equal(cg_try(&s, too_few, f), CIERGE_INTERNAL);
  assert_int_equal(cg_try(&s, too_many, f), CIERGE_INTERNAL);

  cg_value *sum = add->result[0];
  cg_arg list[3] = {cg_a_value(sum), cg_a_none(), cg_a_value(sum)};
  cg_arg cat_args[1] = {cg_a_list(m, 3, list)};
  cg_node *cat = cg_node_like(f, NULL, NULL, "aten::cat", 1, cat_args, 1);
  cg_node *relu = cg_node_like(f, cat, NULL, "aten::relu", 1, (cg_arg[]){cg_a_value(sum)}, 1);
  assert_true(f->first == add && add->next == relu && relu->next == cat && f->last == cat && cat->prev == relu && f->nnodes == 3);
  assert_int_equal(cg_fn_number(f), 3);
  assert_int_equal(cat->order, 2);
  CG_PUSH(&s, &f->result, cg_a_value(sum));
  CG_PUSH(&s, &f->update, ((cg_update){CG_UPDATE_STATE, w->value, relu->result[0]}));
  cg_fn_count_uses(f);
  assert_true(sum->mark == 4 && x->mark == 1 && w->value->mark == 1 && relu->result[0]->mark == 1 && cat->result[0]->mark == 0);
  cg_fn_count_uses(f);
  assert_int_equal(sum->mark, 4);
  cg_replace_uses(f, sum, x);
  cg_replace_uses(f, relu->result[0], x);
  cg_fn_count_uses(f);
  assert_true(sum->mark == 0 && x->mark == 6);

  cg_node_move(add, NULL);
  assert_true(f->first == relu && f->last == add && add->prev == cat && !add->next);
  cg_node_move(add, relu);
  assert_true(f->first == add && f->last == cat);
  cg_node_remove(relu);
  assert_true(add->next == cat && cat->prev == add && f->nnodes == 2);
  cg_node_remove(cat);
  cg_node_remove(add);
  assert_true(!f->first && !f->last && !f->nnodes);
}

static void test_names(void **state) {
  (void)state;
  cg_module *m = cg_module_new(&s);
  cg_fn *f = cg_fn_new(m, "main");
  const cg_schema *relu = cg_schema_find(&s, &m->schemas, "aten::relu");
  cg_param_new(f, "3", cg_scalar_type(CG_T_INT));
  cg_map seen = {0};
  cg_map_set(&s, &seen, "3", NULL);
  for (int i = 0; i < 50; i++) {
    cg_node *n = cg_node_new(f, NULL, relu, 1, 2);
    if (i % 7 == 3) n->result[1]->name = cg_format(&s, "%d", i * 10); // as a parser does
    for (int k = 0; k < 2; k++)
      if (!cg_map_set(&s, &seen, n->result[k]->name, n)) fail_msg("%s twice", n->result[k]->name);
    if (i == 20) cg_node_remove(n);
  }
  cg_module *other = cg_module_new(&s);
  cg_constant_new(other, "w_0", cg_scalar_type(CG_T_INT), NULL, 0);
  assert_string_equal(cg_fresh_name(other, "w"), "w_1");
  assert_string_equal(cg_fresh_name(other, ""), "2");
}

static void test_arguments(void **state) {
  (void)state;
  cg_module *m = cg_module_new(&s);
  double d;
  int64_t i;
  const cg_expr *e;
  cg_value n = {.type = {.kind = CG_T_INT, .value = cg_x_sym(&m->exprs, "s0")}}, unknown = {.type = {.kind = CG_T_INT}};
  cg_arg a = cg_a_value(&n), b = cg_a_value(&unknown), c = cg_a_int(m, 5), f = cg_a_float(0.5), t = cg_a_bool(true), none = cg_a_none();
  assert_true(cg_arg_int(&a, &e) && e == n.type.value);
  assert_false(cg_arg_int(&b, &e) || cg_arg_int_const(&a, &i) || cg_arg_int(&f, &e) || cg_arg_int(NULL, &e));
  assert_true(cg_arg_int_const(&c, &i) && i == 5 && cg_arg_double(&c, &d) && d == 5);
  assert_true(cg_arg_double(&f, &d) && d == 0.5 && cg_arg_double(&t, &d) && d == 1);
  assert_false(cg_arg_double(&none, &d) || cg_arg_double(&a, &d));
  cg_arg l = cg_a_list(m, 2, (cg_arg[]){c, f});
  assert_true(cg_arg_list_len(&l) == 2 && cg_arg_list_len(&c) == 1 && cg_arg_list_len(&none) == 0);
  assert_true(cg_arg_list_at(&l, 1)->f == 0.5 && cg_arg_list_at(&c, 0) == &c);
  assert_null(cg_arg_tensor(&a));
}

static void test_dtypes(void **state) {
  (void)state;
  for (int t = 0; t < CG_DTYPE_COUNT; t++) {
    assert_int_equal(cg_dtype_by_text(cg_dtypes[t].text), t);
    assert_int_equal(cg_dtype_by_torch_name(cg_dtypes[t].torch_name), t);
    assert_int_equal(cg_dtype_by_export_code(cg_dtypes[t].export_code), t);
    assert_int_equal(cg_dtype_by_c10_code(cg_dtypes[t].c10), t);
    assert_int_equal(cg_dtype_by_dlpack(cg_dtypes[t].dl_code, cg_dtypes[t].dl_bits), t);
  }
  assert_int_equal(cg_dtype_by_text("f31"), -1);
  assert_int_equal(cg_dtype_by_torch_name(""), -1);
  assert_int_equal(cg_dtype_by_c10_code(12), -1);
  assert_int_equal(cg_dtype_by_dlpack(0, 4), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_whole_table, start, end), cmocka_unit_test_setup_teardown(test_find, start, end),
      cmocka_unit_test_setup_teardown(test_fields, start, end),      cmocka_unit_test_setup_teardown(test_errors, start, end),
      cmocka_unit_test_setup_teardown(test_defaults, start, end),    cmocka_unit_test_setup_teardown(test_nodes, start, end),
      cmocka_unit_test_setup_teardown(test_names, start, end),       cmocka_unit_test_setup_teardown(test_arguments, start, end),
      cmocka_unit_test(test_dtypes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
