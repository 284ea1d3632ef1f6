// What torch.export records of values: sizes as expressions, tensors' types, ranges of symbols.
#include <string.h>

#include "frontend/pt2.h"

enum { STRIDED = 7, MAX_NAME = 4096 };

const char *cg_pt2_name(const cg_json *j) {
  const char *name = cg_json_text(j);
  size_t n = strlen(name);
  if (!n || n > MAX_NAME) cg_json_fail(j, CIERGE_BAD_MODEL, "a name is empty or too long");
  for (const char *p = name; *p; p++) // what FX makes of a Python name
    if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '_' || *p == '.' || (*p & 0x80)))
      cg_json_fail(j, CIERGE_BAD_MODEL, "a name holds the character '%c'", *p >= ' ' && *p < 127 ? *p : '?');
  return name;
}

// ---------------------------------------------------------------- Symbols

static void range(cg_pt2 *r, const cg_json *entry) {
  cg_symbol *y = cg_py_symbol(r->m, entry->key);
  if (!y) return; // of a float symbol, or of an expression: says nothing that sizes need
  cg_json min, max;
  int64_t lo = cg_json_find(entry, "min_val", &min) ? cg_json_int(&min) : INT64_MIN;
  cg_symbol_range(y, lo, cg_json_find(entry, "max_val", &max) ? cg_json_int(&max) : INT64_MAX);
  if (y->lo > y->hi) cg_json_fail(entry, CIERGE_BAD_MODEL, "the range of %s is empty", y->name);
}

void cg_pt2_ranges(cg_pt2 *r) {
  cg_json ranges = cg_json_get(r->program, "range_constraints"), entry;
  for (cg_json_iter it = cg_json_members(&ranges); cg_json_next(&it, &entry);) range(r, &entry);
}

// The lower bound of a tensor's size that torch.export chose itself: it traces with sizes of 2 and more, so that 0 and 1 need no case of
// their own. No program checks it, and one that the user asks for (min=2) is recorded alike.
enum { SPECIALISED = 2 };

static void widen(cg_pt2 *r, const cg_json *size) {
  cg_json u = cg_json_union(size), text;
  if (!cg_json_is(&u, "as_expr")) return;
  text = cg_json_get(&u, "expr_str");
  const char *name = cg_json_text(&text);
  if (strncmp(name, "Symbol('", 8)) return;
  cg_symbol *y = cg_symbol_find(&r->m->exprs, cg_strndup(r->s, name + 8, strcspn(name + 8, "'")));
  if (y && !y->unbacked && y->lo == SPECIALISED) cg_symbol_range(y, 0, y->hi);
}

void cg_pt2_widen_ranges(cg_pt2 *r, const cg_json *graph) {
  cg_json inputs = cg_json_get(graph, "inputs"), tensors = cg_json_get(graph, "tensor_values"), input, meta, size;
  for (cg_json_iter it = cg_json_items(&inputs); cg_json_next(&it, &input);) {
    cg_json u = cg_json_union(&input);
    if (!cg_json_is(&u, "as_tensor")) continue;
    cg_json name = cg_json_get(&u, "name");
    if (!cg_json_find(&tensors, cg_json_text(&name), &meta)) continue; // said where its type is read
    cg_json sizes = cg_json_get(&meta, "sizes");
    for (cg_json_iter d = cg_json_items(&sizes); cg_json_next(&d, &size);) widen(r, &size);
  }
}

cg_py_expr cg_pt2_expr(cg_pt2 *r, const char *text) {
  cg_py_expr *x = cg_map_get(&r->exprs, text);
  if (!x) {
    x = CG_NEW(r->s, cg_py_expr);
    *x = cg_py_read(&r->py, text);
    cg_map_set(r->s, &r->exprs, text, x);
  }
  return *x;
}

// SymExpr: the expression's text and its value in the example that was exported.
static cg_py_expr sym_expr(cg_pt2 *r, const cg_json *j) {
  cg_json text = cg_json_get(j, "expr_str"), hint;
  cg_py_expr x = cg_pt2_expr(r, cg_json_text(&text));
  if (x.kind == CG_PY_INT && x.num->kind == CG_X_SYM && cg_json_find(j, "hint", &hint)) {
    cg_json h = cg_json_union(&hint);
    cg_symbol *y = x.num->symbol;
    if (cg_json_is(&h, "as_int")) {
      int64_t v = cg_json_int(&h);
      if (v >= y->lo && v <= y->hi) y->hint = v;
    }
  }
  return x;
}

const cg_expr *cg_pt2_sym_int(cg_pt2 *r, const cg_json *j) {
  cg_json u = cg_json_union(j);
  if (cg_json_is(&u, "as_int")) return cg_x_int(&r->m->exprs, cg_json_int(&u));
  if (!cg_json_is(&u, "as_expr")) cg_json_fail(&u, CIERGE_BAD_MODEL, "a size is as_int or as_expr");
  cg_py_expr x = sym_expr(r, &u);
  const char *why = NULL;
  const cg_expr *e = cg_py_integer(&r->py, &x, &why);
  if (!e) {
    cg_json text = cg_json_get(&u, "expr_str");
    cg_json_fail(&u, CIERGE_BAD_MODEL, "a size is '%.400s', which cierge has no expression for: %s", cg_json_text(&text), why);
  }
  return e;
}

// ---------------------------------------------------------------- Tensors

static const cg_expr **sizes(cg_pt2 *r, const cg_json *list, int n) {
  const cg_expr **e = CG_NEW_ARRAY(r->s, const cg_expr *, (size_t)n);
  cg_json item;
  int i = 0;
  for (cg_json_iter it = cg_json_items(list); cg_json_next(&it, &item);) e[i++] = cg_pt2_sym_int(r, &item);
  return e;
}

// C order, as PyTorch computes it: products of sizes, or of max(1, size). A size of 1 may have any stride.
static bool c_order(cg_pt2 *r, const cg_type *t, const cg_expr *const *stride) {
  cg_expr_pool *pool = &r->m->exprs;
  const cg_expr *one = cg_x_int(pool, 1), *plain = one, *clamped = one;
  for (int i = 0; i < t->rank; i++)
    if (cg_x_is(t->dim[i], 0)) return true;
  for (int i = t->rank - 1; i >= 0; i--) {
    if (!cg_x_is(t->dim[i], 1) && stride[i] != plain && stride[i] != clamped) return false;
    plain = cg_x_mul(pool, plain, t->dim[i]);
    clamped = cg_x_mul(pool, clamped, cg_x_op(pool, CG_X_MAX, 2, (const cg_expr *[]){t->dim[i], one}));
  }
  return true;
}

static const char *const layouts[] = {"unknown", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "mkldnn", "strided"};

static void on_cpu(const cg_json *meta) {
  cg_json device = cg_json_get(meta, "device"), type = cg_json_get(&device, "type");
  const char *t = cg_json_text(&type);
  if (strcmp(t, "cpu"))
    cg_json_fail(&device, CIERGE_MISSING, "a tensor is on device '%.40s', and cierge runs on the CPU: export the model there", t);
}

cg_type cg_pt2_tensor_type(cg_pt2 *r, const cg_json *meta) {
  cg_json dtype = cg_json_get(meta, "dtype"), dims = cg_json_get(meta, "sizes"), layout = cg_json_get(meta, "layout"), strides, offset;
  int code = (int)cg_json_int_in(&dtype, 0, 1000), t = cg_dtype_by_export_code(code);
  if (t < 0) cg_json_fail(&dtype, CIERGE_MISSING, "cierge does not have the dtype that torch.export numbers %d%s", code, code == 33 ? " (float8_e8m0fnu)" : "");
  int rank = cg_json_count(&dims);
  if (rank > CG_MAX_RANK) cg_json_fail(&dims, CIERGE_BAD_MODEL, "more than %d dimensions", CG_MAX_RANK);
  on_cpu(meta);
  cg_type type = cg_tensor_type((cg_dtype)t, rank, sizes(r, &dims, rank));
  int l = (int)cg_json_int_in(&layout, 0, STRIDED);
  if (l != STRIDED) return (cg_type){.kind = CG_T_OTHER, .note = layouts[l]};
  if (cg_json_find(meta, "strides", &strides)) {
    if (cg_json_count(&strides) != rank) cg_json_fail(&strides, CIERGE_BAD_MODEL, "%d strides for %d sizes", cg_json_count(&strides), rank);
    const cg_expr **st = sizes(r, &strides, rank);
    if (!c_order(r, &type, st)) type.stride = st;
  }
  if (cg_json_find(meta, "storage_offset", &offset)) {
    const cg_expr *e = cg_pt2_sym_int(r, &offset);
    if (!cg_x_is(e, 0)) type.offset = e;
  }
  return type;
}

// ---------------------------------------------------------------- Values of a graph

static cg_json recorded(const cg_json *object, const cg_map *by_name, const cg_json *at, const char *name, const char *what) {
  yyjson_val *v = cg_map_get(by_name, name);
  if (!v) cg_json_fail(at, CIERGE_BAD_MODEL, "%s says nothing of '%s'", what, name);
  return (cg_json){.source = at->source, .up = object, .key = name, .v = v};
}

static bool names_unbacked(const cg_json *sym_expr) {
  cg_json text = cg_json_get(sym_expr, "expr_str");
  return strstr(cg_json_text(&text), "Symbol('u") != NULL;
}

static cg_type scalar(cg_pt2 *r, const cg_json *j, cg_type_kind kind, const char *literal) {
  cg_type t = cg_scalar_type(kind);
  cg_json u = cg_json_union(j);
  if (cg_json_is(&u, literal)) {
    if (kind == CG_T_INT) t.value = cg_x_int(&r->m->exprs, cg_json_int(&u));
    if (kind == CG_T_BOOL) t.value = cg_x_int(&r->m->exprs, cg_json_bool(&u));
  } else if (cg_json_is(&u, "as_expr")) {
    cg_py_expr x = sym_expr(r, &u);
    const char *why;
    if (kind == CG_T_INT) t.value = cg_py_integer(&r->py, &x, &why);
    // A condition on what only the run knows must be seen by the run, even if the symbol's range says it holds:
    // the range is there because the program asserts it. `u0 == 1` is the bool that u0 was made for: what item() gives.
    if (kind == CG_T_BOOL && x.kind == CG_PY_BOOL && (!names_unbacked(&u) || x.num->kind == CG_X_EQ)) t.value = x.num;
  } else {
    cg_json_fail(&u, CIERGE_BAD_MODEL, "expected as_expr or %s", literal);
  }
  return t;
}

cg_type cg_pt2_type_of(cg_pt2_graph *g, const cg_json *at, const char *kind, const char *name) {
  cg_json j;
  if (!strcmp(kind, "as_tensor")) {
    j = recorded(&g->tensors, &g->tensor, at, name, "tensor_values");
    return cg_pt2_tensor_type(g->r, &j);
  }
  if (!strcmp(kind, "as_sym_int")) {
    j = recorded(&g->ints, &g->sym_int, at, name, "sym_int_values");
    return scalar(g->r, &j, CG_T_INT, "as_int");
  }
  if (!strcmp(kind, "as_sym_bool")) {
    j = recorded(&g->bools, &g->sym_bool, at, name, "sym_bool_values");
    return scalar(g->r, &j, CG_T_BOOL, "as_bool");
  }
  j = recorded(&g->floats, &g->sym_float, at, name, "sym_float_values");
  return scalar(g->r, &j, CG_T_FLOAT, "as_float");
}
