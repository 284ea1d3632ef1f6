// Prints a module in the text form that doc/ir.md specifies; text_parse.c reads it back.
#include <string.h>

#include "ir/text_internal.h"

// ---------------------------------------------------------------- words

static void add_quoted(cg_str *b, const char *text) { cg_str_add_quoted(b, text, strlen(text)); }

// %name, @name, or name with quotes where it has other letters. sigil 0: none.
static void add_name(cg_str *b, char sigil, const char *name) {
  if (sigil) cg_str_addc(b, sigil);
  if (!name) name = "";
  const char *p = name;
  while (cg_text_name_char(*p)) p++;
  if (*p || p == name) add_quoted(b, name);
  else cg_str_add(b, name);
}

static void add_value(cg_str *b, const cg_value *v) {
  if (v) add_name(b, v->constant ? '@' : '%', v->constant ? v->constant->name : v->name);
  else cg_str_add(b, "%\"\"");
}

static bool is_spelling(const char *p) { // word(.word)*, not a number
  if (*p >= '0' && *p <= '9') return false;
  for (; *p; p++)
    if (*p == '.' ? !cg_text_word_char(p[1]) : !cg_text_word_char(*p)) return false;
  return true;
}

static void add_operator(cg_str *b, const cg_module *m, const char *key) {
  const char *colons = strstr(key, "::");
  const char *text = key;
  bool plain = true;
  if (colons) {
    plain = colons > key && !memchr(key, '.', (size_t)(colons - key));
    text = cg_format(b->s, "%.*s.%s", (int)(colons - key), key, colons + 2);
    if (m && cg_map_has(&m->schemas, text)) plain = false; // another operator is spelled like that
    if (plain && cg_schema_find(b->s, &(cg_map){0}, text)) plain = false;
  }
  if (plain && *text && is_spelling(text) && !cg_text_is_keyword(text)) cg_str_add(b, text);
  else add_quoted(b, key);
}

// ---------------------------------------------------------------- types

void cg_print_type_short(cg_str *b, const cg_type *t) {
  if (t->kind != CG_T_TENSOR) return cg_print_type(b, t);
  cg_str_addf(b, "%s[", cg_dtypes[t->dtype].text);
  for (int i = 0; i < t->rank; i++) {
    if (i) cg_str_add(b, ", ");
    cg_x_print_short(b, t->dim[i]);
  }
  cg_str_addc(b, ']');
}

static void add_exprs(cg_str *b, int n, const cg_expr *const *e) {
  for (int i = 0; i < n; i++) {
    if (i) cg_str_add(b, ", ");
    cg_x_print(b, e[i]);
  }
}

static void add_tensor_type(cg_str *b, const cg_type *t, bool strides) {
  cg_str_add(b, cg_dtypes[t->dtype].text);
  cg_str_addc(b, '[');
  add_exprs(b, t->rank, t->dim);
  cg_str_addc(b, ']');
  bool stride = t->stride && t->rank, offset = t->offset && !cg_x_is(t->offset, 0);
  if (!strides || (!stride && !offset)) return;
  cg_str_addc(b, '{');
  if (stride) add_exprs(b, t->rank, t->stride);
  if (offset) {
    cg_str_add(b, "; ");
    cg_x_print(b, t->offset);
  }
  cg_str_addc(b, '}');
}

static void add_type(cg_str *b, const cg_type *t, bool strides) {
  static const char *const word[] = {[CG_T_UNKNOWN] = "?", [CG_T_INT] = "int", [CG_T_FLOAT] = "float", [CG_T_BOOL] = "bool",
                                     [CG_T_STR] = "str", [CG_T_NONE] = "none", [CG_T_OTHER] = "other", [CG_T_LATE] = "tensor"};
  if (t->kind == CG_T_TENSOR) {
    add_tensor_type(b, t, strides);
    return;
  }
  cg_str_add(b, word[t->kind]);
  if (t->kind == CG_T_OTHER && t->note) {
    cg_str_addc(b, '(');
    add_quoted(b, t->note);
    cg_str_addc(b, ')');
  }
  if ((t->kind == CG_T_INT || t->kind == CG_T_BOOL) && t->value) {
    cg_str_addc(b, '(');
    cg_x_print(b, t->value);
    cg_str_addc(b, ')');
  }
}

void cg_print_type(cg_str *b, const cg_type *t) { add_type(b, t, true); }

static void add_typed(cg_str *b, const cg_value *v) {
  add_value(b, v);
  if (v->type.kind == CG_T_UNKNOWN) return;
  cg_str_add(b, ": ");
  cg_print_type(b, &v->type);
}

// ---------------------------------------------------------------- arguments

static void add_word_of(cg_str *b, const char *what, const char *text, size_t n) {
  cg_str_addf(b, "%s(", what);
  cg_str_add_quoted(b, text, n);
  cg_str_addc(b, ')');
}

void cg_print_arg(cg_str *b, const cg_arg *a) {
  switch (a->kind) {
  case CG_A_NONE: cg_str_add(b, "none"); return;
  case CG_A_VALUE: add_value(b, a->value); return;
  case CG_A_INT: cg_x_print(b, a->i); return;
  case CG_A_FLOAT: cg_str_add_double(b, a->f); return;
  case CG_A_BOOL: cg_str_add(b, a->b ? "true" : "false"); return;
  case CG_A_COMPLEX:
    cg_str_add(b, "complex(");
    cg_str_add_double(b, a->complex_[0]);
    cg_str_add(b, ", ");
    cg_str_add_double(b, a->complex_[1]);
    cg_str_addc(b, ')');
    return;
  case CG_A_STR: cg_str_add_quoted(b, a->str.text, a->str.n); return;
  case CG_A_DTYPE: cg_str_add(b, cg_text_dtype(a->dtype)); return;
  case CG_A_LAYOUT: add_word_of(b, "layout", a->str.text, a->str.n); return;
  case CG_A_DEVICE: add_word_of(b, "device", a->str.text, a->str.n); return;
  case CG_A_MEMORY_FORMAT:
    if (a->memory_format >= 0 && a->memory_format < CG_TEXT_MEMORY_FORMATS)
      cg_str_addf(b, "memory_format(%s)", cg_text_memory_format[a->memory_format]);
    else cg_str_addf(b, "memory_format(%d)", a->memory_format);
    return;
  case CG_A_LIST:
    cg_str_addc(b, '[');
    for (int i = 0; i < a->list.n; i++) {
      if (i) cg_str_add(b, ", ");
      cg_print_arg(b, &a->list.at[i]);
    }
    cg_str_addc(b, ']');
    return;
  case CG_A_FN:
    cg_str_add(b, "fn ");
    add_name(b, '@', a->fn->name);
    return;
  case CG_A_BLOB: add_name(b, '@', a->blob->name); return;
  }
}

static bool same_number(double a, double b) {
  return (a != a && b != b) || !memcmp(&a, &b, sizeof a);
}

static bool same_arg(const cg_arg *a, const cg_arg *b) {
  if (a->kind != b->kind) return false;
  switch (a->kind) {
  case CG_A_NONE: return true;
  case CG_A_VALUE: return a->value == b->value;
  case CG_A_INT: return a->i == b->i;
  case CG_A_FLOAT: return same_number(a->f, b->f);
  case CG_A_BOOL: return a->b == b->b;
  case CG_A_COMPLEX: return same_number(a->complex_[0], b->complex_[0]) && same_number(a->complex_[1], b->complex_[1]);
  case CG_A_STR:
  case CG_A_LAYOUT:
  case CG_A_DEVICE: return a->str.n == b->str.n && (!a->str.n || !memcmp(a->str.text, b->str.text, a->str.n));
  case CG_A_DTYPE: return a->dtype == b->dtype;
  case CG_A_MEMORY_FORMAT: return a->memory_format == b->memory_format;
  case CG_A_FN: return a->fn == b->fn;
  case CG_A_BLOB: return a->blob == b->blob;
  case CG_A_LIST: break;
  }
  if (a->list.n != b->list.n) return false;
  for (int i = 0; i < a->list.n; i++)
    if (!same_arg(&a->list.at[i], &b->list.at[i])) return false;
  return true;
}

// ---------------------------------------------------------------- nodes

static bool is_default(const cg_node *n, int i) {
  const cg_schema_arg *a = &n->schema->arg[i];
  if (!a->default_text || !n->fn) return false;
  cg_arg d = cg_schema_default(n->fn->module, a);
  return same_arg(&d, &n->arg[i]);
}

// Written without its name, if all before it are: tensors, values of control operators, all of what is no dispatcher operator.
static bool goes_by_place(const cg_node *n, int i, bool more) {
  const cg_schema_arg *a = &n->schema->arg[i];
  if (a->keyword_only) return false;
  if (more) return true;
  if (is_default(n, i)) return false;
  return !strstr(n->schema->key, "::") || a->type.kind == CG_S_TENSOR || a->type.kind == CG_S_GRAPH || a->type.kind == CG_S_ANY;
}

static void add_arguments(cg_str *b, const cg_node *n) {
  int declared = n->schema ? n->schema->nargs : 0, places = 0, count = 0;
  if (declared > n->nargs) declared = n->nargs;
  bool more = n->nargs > declared;
  while (places < declared && goes_by_place(n, places, more)) places++;
  cg_str_addc(b, '(');
  for (int i = 0; i < n->nargs; i++) {
    if (i == places) i = declared;
    if (i >= n->nargs) break;
    if (count++) cg_str_add(b, ", ");
    cg_print_arg(b, &n->arg[i]);
  }
  for (int i = places; i < declared; i++) {
    if (is_default(n, i)) continue;
    if (count++) cg_str_add(b, ", ");
    cg_str_addf(b, "%s=", n->schema->arg[i].name);
    cg_print_arg(b, &n->arg[i]);
  }
  cg_str_addc(b, ')');
}

static void add_place(cg_str *b, cg_span at) {
  cg_str_add(b, " loc(");
  if (at.file) add_quoted(b, at.file);
  if (at.file && at.line > 0) cg_str_addf(b, ":%d", at.line);
  if (at.file && at.line > 0 && at.col > 0) cg_str_addf(b, ":%d", at.col);
  cg_str_addc(b, ')');
}

static bool same_text(const char *a, const char *b) { return !strcmp(a ? a : "", b ? b : ""); }
static bool same_place(cg_span a, cg_span b) {
  return same_text(a.file, b.file) && (!a.file || (a.line == b.line && a.col == b.col));
}

// Where a node comes from; what its origin says already is left out.
static void add_provenance(cg_str *b, const cg_node *n) {
  const cg_module *m = n->fn ? n->fn->module : NULL;
  cg_origin from = {0};
  if (m && n->origin > 0 && n->origin <= m->origins.n) from = m->origins.at[n->origin - 1];
  if (n->origin) cg_str_addf(b, " from %d", n->origin);
  if (n->name ? !from.name || strcmp(n->name, from.name) : from.name != NULL) {
    cg_str_add(b, " name=");
    if (n->name) add_quoted(b, n->name);
    else cg_str_add(b, "none");
  }
  if (!same_place(n->at, from.at)) add_place(b, n->at);
  if (!same_text(n->module_path, from.module_path)) {
    cg_str_add(b, " in ");
    add_quoted(b, n->module_path ? n->module_path : "");
  }
  if (n->why_not) {
    cg_str_add(b, " why_not=");
    add_quoted(b, n->why_not);
  }
}

void cg_print_node(cg_str *b, const cg_node *n) {
  for (int i = 0; i < n->nresults; i++) {
    if (i) cg_str_add(b, ", ");
    add_typed(b, n->result[i]);
  }
  if (n->nresults) cg_str_add(b, " = ");
  if (n->schema) add_operator(b, n->fn ? n->fn->module : NULL, n->schema->key);
  else add_name(b, '@', n->callee ? n->callee->name : NULL);
  add_arguments(b, n);
  add_provenance(b, n);
}

// ---------------------------------------------------------------- functions

static void add_type_of_arg(cg_str *b, const cg_arg *a) {
  static const char *const word[] = {[CG_A_NONE] = "none", [CG_A_INT] = "int", [CG_A_FLOAT] = "float", [CG_A_BOOL] = "bool",
                                     [CG_A_STR] = "str", [CG_A_FN] = NULL};
  if (a->kind == CG_A_VALUE) {
    add_type(b, &a->value->type, false);
  } else if (a->kind == CG_A_LIST) {
    cg_str_addc(b, '[');
    for (int i = 0; i < a->list.n; i++) {
      if (i) cg_str_add(b, ", ");
      add_type_of_arg(b, &a->list.at[i]);
    }
    cg_str_addc(b, ']');
  } else {
    cg_str_add(b, word[a->kind] ? word[a->kind] : "?");
  }
}

static void add_signature(cg_str *b, const cg_fn *f) {
  cg_str_add(b, "fn ");
  add_name(b, '@', f->name);
  cg_str_addc(b, '(');
  for (int i = 0; i < f->param.n; i++) {
    if (i) cg_str_add(b, ", ");
    add_typed(b, f->param.at[i]);
  }
  cg_str_add(b, ") -> ");
  if (f->result.n != 1) cg_str_addc(b, '(');
  for (int i = 0; i < f->result.n; i++) {
    if (i) cg_str_add(b, ", ");
    add_type_of_arg(b, &f->result.at[i]);
  }
  if (f->result.n != 1) cg_str_addc(b, ')');
  if (f->backend) cg_str_add(b, " backend="), add_quoted(b, f->backend);
  if (f->mode) cg_str_add(b, " mode="), add_quoted(b, f->mode);
}

void cg_print_fn(cg_str *b, const cg_fn *f) {
  add_signature(b, f);
  cg_str_add(b, " {\n");
  for (const cg_node *n = f->first; n; n = n->next) {
    cg_str_add(b, "  ");
    cg_print_node(b, n);
    cg_str_addc(b, '\n');
  }
  for (int i = 0; i < f->update.n; i++) {
    cg_str_add(b, f->update.at[i].kind == CG_UPDATE_RESHAPE ? "  reshape " : "  update ");
    add_value(b, f->update.at[i].target);
    cg_str_add(b, " = ");
    add_value(b, f->update.at[i].value);
    cg_str_addc(b, '\n');
  }
  cg_str_add(b, "  return");
  for (int i = 0; i < f->result.n; i++) {
    cg_str_add(b, i ? ", " : " ");
    cg_print_arg(b, &f->result.at[i]);
  }
  cg_str_add(b, "\n}\n");
}

// ---------------------------------------------------------------- modules

static void add_symbol(cg_str *b, const cg_symbol *y) {
  cg_str_addf(b, "sym %s = %lld..", y->name, (long long)y->lo);
  if (y->hi != INT64_MAX) cg_str_addf(b, "%lld", (long long)y->hi);
  if (y->hint) cg_str_addf(b, " hint %lld", (long long)y->hint);
  if (y->unbacked != (y->name[0] == 'u')) cg_str_add(b, y->unbacked ? " unbacked" : " backed");
  cg_str_addc(b, '\n');
}

// The schemas in use that the built-in table does not have just so.
static int add_schemas(cg_str *b, const cg_module *m) {
  cg_map seen = {0}, table = {0};
  int count = 0;
  for (int i = 0; i < m->fns.n; i++)
    for (const cg_node *n = m->fns.at[i]->first; n; n = n->next) {
      if (!n->schema || !cg_map_set(m->s, &seen, n->schema->key, (void *)n->schema)) continue;
      const cg_schema *known = cg_schema_find(m->s, &table, n->schema->key);
      if (known && !strcmp(known->text, n->schema->text)) continue;
      cg_str_add(b, "schema ");
      add_quoted(b, n->schema->text);
      cg_str_addc(b, '\n');
      count++;
    }
  return count;
}

static void add_origin(cg_str *b, const cg_origin *o, int number) {
  cg_str_addf(b, "origin %d = ", number);
  add_quoted(b, o->key ? o->key : "");
  if (o->name) cg_str_add(b, " name="), add_quoted(b, o->name);
  if (o->at.file) add_place(b, o->at);
  if (o->module_path && *o->module_path) cg_str_add(b, " in "), add_quoted(b, o->module_path);
  cg_str_addc(b, '\n');
}

static void add_constant(cg_str *b, const cg_constant *c) {
  static const char *const word[] = {[CG_CONST_PARAM] = "param ", [CG_CONST_BUFFER] = "buffer ", [CG_CONST_TENSOR] = "const "};
  cg_str_add(b, word[c->kind]);
  add_name(b, '@', c->name);
  cg_str_add(b, ": ");
  cg_print_type(b, &c->type);
  if (c->mutated) cg_str_add(b, " state");
  if (c->size != cg_text_storage_size(&c->type)) cg_str_addf(b, " size %llu", (unsigned long long)c->size);
  cg_str_addc(b, '\n');
}

static void add_blob(cg_str *b, const cg_blob *blob) {
  cg_str_add(b, "blob ");
  add_name(b, '@', blob->name);
  cg_str_add(b, " = ");
  add_quoted(b, blob->hash);
  cg_str_addf(b, " size %llu\n", (unsigned long long)blob->size);
}

// Whether the user's inputs are just main's parameters: the text need not say it.
static bool inputs_are_params(const cg_module *m) {
  int n = m->main ? m->main->param.n : 0;
  if (m->inputs.n != n) return false;
  for (int i = 0; i < n; i++) {
    const cg_input *in = &m->inputs.at[i];
    if (in->param != m->main->param.at[i] || !same_text(in->name, in->param->name)) return false;
  }
  return true;
}

static int add_inputs(cg_str *b, const cg_module *m) {
  if (inputs_are_params(m)) return 0;
  for (int i = 0; i < m->inputs.n; i++) {
    const cg_input *in = &m->inputs.at[i];
    cg_str_add(b, "input ");
    add_name(b, 0, in->name);
    cg_str_add(b, " = ");
    if (in->param) add_value(b, in->param);
    else cg_print_arg(b, &in->constant);
    cg_str_addc(b, '\n');
  }
  return m->inputs.n;
}

void cg_print_module(cg_str *b, const cg_module *m) {
  size_t start = b->n;
  if (m->source || m->producer) cg_str_add(b, "module");
  if (m->source) cg_str_add(b, " source="), add_quoted(b, m->source);
  if (m->producer) cg_str_add(b, " producer="), add_quoted(b, m->producer);
  if (m->source || m->producer) cg_str_addc(b, '\n');
  for (int i = 0; i < m->exprs.symbols.n; i++) add_symbol(b, m->exprs.symbols.entries[i].value);
  add_schemas(b, m);
  for (int i = 0; i < m->origins.n; i++) add_origin(b, &m->origins.at[i], i + 1);
  for (int i = 0; i < m->constants.n; i++) add_constant(b, m->constants.at[i]);
  for (int i = 0; i < m->blobs.n; i++) add_blob(b, m->blobs.at[i]);
  add_inputs(b, m);
  for (int i = 0; i < m->fns.n; i++) {
    if (b->n > start) cg_str_addc(b, '\n');
    cg_print_fn(b, m->fns.at[i]);
  }
}
