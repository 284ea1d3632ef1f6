// Arguments of nodes: torch.export's tagged unions become cg_arg, made to fit the operator's schema.
#include <string.h>

#include "frontend/pt2.h"
#include "ir/verify.h"

static cg_arg none(void) { return cg_a_none(); }

static cg_arg text_arg(cg_pt2_graph *g, cg_arg_kind kind, const char *text) {
  cg_arg a = cg_a_str(g->r->m, text);
  a.kind = kind;
  return a;
}

// ---------------------------------------------------------------- One value

static cg_arg tensor(cg_pt2_graph *g, const cg_json *j) { // TensorArgument
  cg_json name = cg_json_get(j, "name");
  return cg_a_value(cg_pt2_value(g, &name, cg_pt2_name(&name)));
}

// A named number: what it is computed from, where that is known before the program runs; else the value.
static cg_arg named(cg_pt2_graph *g, const cg_json *u, const char *kind) {
  const char *name = cg_pt2_name(u);
  cg_value *v = cg_map_get(&g->values, name);
  cg_type t = v ? v->type : cg_pt2_type_of(g, u, kind, name);
  if (t.kind == CG_T_INT && t.value && !cg_x_has_unbacked(t.value)) return cg_a_expr(t.value);
  if (t.kind == CG_T_BOOL && t.value && cg_x_is_int(t.value)) return cg_a_bool(t.value->value != 0);
  if (v) return cg_a_value(v);
  if (t.value && t.kind == CG_T_INT) return cg_a_expr(t.value);
  cg_json_fail(u, CIERGE_BAD_MODEL, "there is no value '%s' in this graph", name);
}

static cg_arg sym(cg_pt2_graph *g, const cg_json *j, const char *kind, const char *literal) { // SymIntArgument …
  cg_json u = cg_json_union(j);
  if (cg_json_is(&u, "as_name")) return named(g, &u, kind);
  if (!cg_json_is(&u, literal)) cg_json_fail(&u, CIERGE_BAD_MODEL, "expected as_name or %s", literal);
  if (!strcmp(literal, "as_int")) return cg_a_int(g->r->m, cg_json_int(&u));
  return !strcmp(literal, "as_float") ? cg_a_float(cg_json_double(&u)) : cg_a_bool(cg_json_bool(&u));
}

static cg_arg sym_int(cg_pt2_graph *g, const cg_json *j) { return sym(g, j, "as_sym_int", "as_int"); }
static cg_arg sym_float(cg_pt2_graph *g, const cg_json *j) { return sym(g, j, "as_sym_float", "as_float"); }
static cg_arg sym_bool(cg_pt2_graph *g, const cg_json *j) { return sym(g, j, "as_sym_bool", "as_bool"); }
static cg_arg integer(cg_pt2_graph *g, const cg_json *j) { return cg_a_int(g->r->m, cg_json_int(j)); }
static cg_arg floating(cg_pt2_graph *g, const cg_json *j) { return (void)g, cg_a_float(cg_json_double(j)); }
static cg_arg boolean(cg_pt2_graph *g, const cg_json *j) { return (void)g, cg_a_bool(cg_json_bool(j)); }
static cg_arg string(cg_pt2_graph *g, const cg_json *j) { return cg_a_str(g->r->m, cg_json_text(j)); }
static cg_arg nothing(cg_pt2_graph *g, const cg_json *j) { return (void)g, (void)j, none(); }

static cg_arg optional_tensor(cg_pt2_graph *g, const cg_json *j) {
  cg_json u = cg_json_union(j);
  if (cg_json_is(&u, "as_none")) return none();
  if (!cg_json_is(&u, "as_tensor")) cg_json_fail(&u, CIERGE_BAD_MODEL, "expected as_tensor or as_none");
  return tensor(g, &u);
}

static cg_arg dtype(cg_pt2_graph *g, const cg_json *j) {
  int code = (int)cg_json_int_in(j, 0, 1000), t = cg_dtype_by_export_code(code);
  (void)g;
  if (t < 0) cg_json_fail(j, CIERGE_MISSING, "cierge does not have the dtype that torch.export numbers %d", code);
  return cg_a_dtype((cg_dtype)t);
}

static cg_arg memory_format(cg_pt2_graph *g, const cg_json *j) {
  static const int c10[] = {-1, 0, 2, 3, 1}; // by torch.export's number
  int64_t code = cg_json_int_in(j, 1, 4);
  (void)g;
  return (cg_arg){.kind = CG_A_MEMORY_FORMAT, .memory_format = c10[code]};
}

static cg_arg layout(cg_pt2_graph *g, const cg_json *j) {
  static const char *const names[] = {"", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn", "strided"};
  return text_arg(g, CG_A_LAYOUT, names[cg_json_int_in(j, 1, 7)]);
}

static cg_arg device(cg_pt2_graph *g, const cg_json *j) {
  cg_json type = cg_json_get(j, "type");
  const char *t = cg_json_text(&type);
  if (!strcmp(t, "cpu")) return text_arg(g, CG_A_DEVICE, "cpu"); // there is one
  if (!strcmp(t, "meta")) return text_arg(g, CG_A_DEVICE, "meta");
  cg_json_fail(j, CIERGE_MISSING, "device '%.40s' is asked for, and cierge runs on the CPU: export the model there", t);
}

static cg_arg complex_number(cg_pt2_graph *g, const cg_json *j) {
  cg_json re = cg_json_get(j, "real"), im = cg_json_get(j, "imag");
  (void)g;
  return (cg_arg){.kind = CG_A_COMPLEX, .complex_ = {cg_json_double(&re), cg_json_double(&im)}};
}

static cg_arg graph(cg_pt2_graph *g, const cg_json *j) { return (cg_arg){.kind = CG_A_FN, .fn = cg_pt2_subgraph(g, j)}; }

static cg_arg custom_object(cg_pt2_graph *g, const cg_json *j) {
  cg_json class_name = cg_json_get(j, "class_fqn");
  (void)g;
  cg_json_fail(j, CIERGE_MISSING, "an object of class '%.200s' is used, and cierge has no objects of Python or TorchBind classes",
               cg_json_text(&class_name));
}

static cg_arg operator_name(cg_pt2_graph *g, const cg_json *j) { return cg_a_str(g->r->m, cg_json_text(j)); }

// ---------------------------------------------------------------- Lists

typedef cg_arg (*reader)(cg_pt2_graph *g, const cg_json *j);

static cg_arg list(cg_pt2_graph *g, const cg_json *j, reader one) {
  cg_arg_vec v = {0};
  cg_json item;
  for (cg_json_iter it = cg_json_items(j); cg_json_next(&it, &item);) {
    cg_arg a = one(g, &item);
    CG_PUSH(g->r->s, &v, a);
  }
  return cg_a_list(g->r->m, v.n, v.at);
}

static cg_arg tensors(cg_pt2_graph *g, const cg_json *j) { return list(g, j, tensor); }
static cg_arg integers(cg_pt2_graph *g, const cg_json *j) { return list(g, j, integer); }
static cg_arg floats(cg_pt2_graph *g, const cg_json *j) { return list(g, j, floating); }

static const struct {
  const char *tag;
  reader one;
  bool list;
} readers[] = {
    {"as_none", nothing, false}, {"as_tensor", tensor, false}, {"as_tensors", tensor, true}, {"as_int", integer, false},
    {"as_ints", integer, true}, {"as_float", floating, false}, {"as_floats", floating, true}, {"as_string", string, false},
    {"as_strings", string, true}, {"as_sym_int", sym_int, false}, {"as_sym_ints", sym_int, true}, {"as_scalar_type", dtype, false},
    {"as_memory_format", memory_format, false}, {"as_layout", layout, false}, {"as_device", device, false}, {"as_bool", boolean, false},
    {"as_bools", boolean, true}, {"as_sym_bool", sym_bool, false}, {"as_sym_bools", sym_bool, true}, {"as_graph", graph, false},
    {"as_optional_tensors", optional_tensor, true}, {"as_custom_obj", custom_object, false}, {"as_operator", operator_name, false},
    {"as_sym_float", sym_float, false}, {"as_sym_floats", sym_float, true}, {"as_optional_tensor", optional_tensor, false},
    {"as_complex", complex_number, false}, {"as_nested_tensors", tensors, true}, {"as_int_lists", integers, true},
    {"as_float_lists", floats, true},
};

cg_arg cg_pt2_arg(cg_pt2_graph *g, const cg_json *argument) {
  cg_json u = cg_json_union(argument);
  for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
    if (cg_json_is(&u, readers[i].tag)) return readers[i].list ? list(g, &u, readers[i].one) : readers[i].one(g, &u);
  cg_json_fail(&u, CIERGE_MISSING, "cierge does not read arguments of the kind '%.40s'", u.key);
}

// ---------------------------------------------------------------- Fitting

static void to_float(cg_arg *a) {
  double v;
  if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) to_float(&a->list.at[i]);
  else if ((a->kind == CG_A_INT || a->kind == CG_A_BOOL) && cg_arg_double(a, &v)) *a = cg_a_float(v);
}

cg_arg cg_pt2_schema_arg(cg_pt2_graph *g, const cg_json *argument, const cg_schema_arg *of) {
  cg_arg a = cg_pt2_arg(g, argument);
  const cg_schema_type *t = &of->type;
  if (t->kind == CG_S_FLOAT) to_float(&a);
  if (t->list && a.kind != CG_A_LIST && a.kind != CG_A_NONE && t->kind != CG_S_ANY && t->kind != CG_S_OTHER) { // int[2] takes 1
    int n = t->list_size ? t->list_size : 1;
    cg_arg one = a;
    a = cg_a_list(g->r->m, 0, NULL);
    a.list.at = CG_NEW_ARRAY(g->r->s, cg_arg, (size_t)n);
    a.list.n = n;
    for (int i = 0; i < n; i++) a.list.at[i] = one;
  }
  const char *misfit = cg_arg_misfit(g->r->s, of, &a);
  if (misfit) cg_json_fail(argument, CIERGE_BAD_MODEL, "the argument does not fit: %s", misfit);
  return a;
}
