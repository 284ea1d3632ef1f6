// Shape guards: conditions on input sizes that held when the model was exported and that PyTorch checks at every call,
// as Python text over the inputs' paths: "(L['d']['k'][0].size()[1] % 4) == 0". They become asserts at the program's start.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "frontend/pt2.h"

typedef struct {
  cg_pt2_graph *g;
  cg_map paths; // "['d']['k'][0]" -> cg_input *
  int next;     // flat input that the next leaf is
} inputs;

// ---------------------------------------------------------------- The inputs' paths

static void leaf(inputs *in, const char *path) {
  cg_module *m = in->g->r->m;
  if (in->next < m->inputs.n) cg_map_set(m->s, &in->paths, path, &m->inputs.at[in->next]);
  in->next++;
}

// A node's context is JSON in a text: of a dictionary its keys; of a dataclass [its fields, those that are None]; of a named tuple
// the "fields" of an object.
static bool context_names(const cg_json *spec, const char *type, const char **form, cg_json *names) {
  cg_json context, all, first;
  *form = "%s.%s";
  if (!cg_json_find(spec, "context", &context) || !yyjson_is_str(context.v)) return false;
  const char *text = cg_json_text(&context);
  if (*text != '[' && *text != '{') return false; // in a form of its own
  all = cg_json_read(spec->source, (const uint8_t *)text, strlen(text));
  if (!strcmp(type, "builtins.dict") || !strcmp(type, "collections.OrderedDict")) {
    *form = "%s['%s']", *names = all;
    return true;
  }
  if (yyjson_is_obj(all.v)) return cg_json_find(&all, "fields", names) && yyjson_is_arr(names->v);
  if (!yyjson_is_arr(all.v)) return false;
  cg_json_iter it = cg_json_items(&all);
  if (!cg_json_next(&it, &first) || !yyjson_is_arr(first.v)) return false;
  *names = first;
  return true;
}

// A node of a pytree's specification. Containers of other types keep their leaves' places, and their paths are unknown.
static void walk(inputs *in, const cg_json *spec, const char *path, int depth) {
  cg_json type, children, child;
  if (depth > CG_PT2_MAX_NESTING) cg_json_fail(spec, CIERGE_BAD_MODEL, "the inputs are nested more than %d deep", CG_PT2_MAX_NESTING);
  if (!cg_json_find(spec, "type", &type)) {
    if (path) leaf(in, path);
    else in->next++;
    return;
  }
  const char *t = cg_json_text(&type), *form;
  cg_session *s = in->g->r->s;
  bool list = !strcmp(t, "builtins.tuple") || !strcmp(t, "builtins.list");
  cg_json names, name;
  bool named = !list && context_names(spec, t, &form, &names);
  cg_json_iter each = {0};
  if (named) each = cg_json_items(&names);
  children = cg_json_get(spec, "children_spec");
  int i = 0;
  for (cg_json_iter it = cg_json_items(&children); cg_json_next(&it, &child); i++) {
    const char *down = NULL;
    if (path && list) down = cg_format(s, "%s[%d]", path, i);
    else if (named && cg_json_next(&each, &name) && path && yyjson_is_str(name.v)) down = cg_format(s, form, path, cg_json_text(&name));
    walk(in, &child, down, depth + 1);
  }
}

// The positional arguments by the names that forward() gives them; "args_0" is what *args has first.
static void positional(inputs *in, const cg_json *spec, const cg_json *signature) {
  cg_session *s = in->g->r->s;
  cg_json children = cg_json_get(spec, "children_spec"), child, names, name;
  bool named = cg_json_find(signature, "forward_arg_names", &names);
  cg_json_iter it = {0};
  if (named) it = cg_json_items(&names);
  for (cg_json_iter c = cg_json_items(&children); cg_json_next(&c, &child);) {
    const char *path = NULL;
    if (named && cg_json_next(&it, &name)) path = cg_format(s, "['%s']", cg_json_text(&name));
    int first = in->next;
    walk(in, &child, path, 0);
    const char *digits = path ? strrchr(path, '_') : NULL;
    char *end;
    long k = digits ? strtol(digits + 1, &end, 10) : 0;
    if (!digits || end == digits + 1 || strcmp(end, "']")) continue;
    in->next = first;
    walk(in, &child, cg_format(s, "%.*s'][%ld]", (int)(digits - path), path, k), 0);
  }
}

// The signature of the whole module is the first entry of the module call graph; its in_spec is JSON in a text:
// [1, a tuple of the positional arguments and the keyword arguments].
static void find_paths(inputs *in) {
  cg_json module = cg_json_get(in->g->r->program, "graph_module"), calls, call, signature, text;
  calls = cg_json_get(&module, "module_call_graph");
  cg_json_iter it = cg_json_items(&calls);
  if (!cg_json_next(&it, &call) || !cg_json_find(&call, "signature", &signature) || !cg_json_find(&signature, "in_spec", &text)) return;
  const char *spec = cg_json_text(&text);
  cg_json root = cg_json_read(text.source, (const uint8_t *)spec, strlen(spec)), version, tree, part;
  it = cg_json_items(&root);
  if (!cg_json_next(&it, &version) || !cg_json_next(&it, &tree)) return;
  cg_json children = cg_json_get(&tree, "children_spec");
  it = cg_json_items(&children);
  if (cg_json_next(&it, &part)) positional(in, &part, &signature);
  if (cg_json_next(&it, &part)) walk(in, &part, "", 0);
}

// ---------------------------------------------------------------- What a guard names

// L['d']['k'][0].a.size()[1], .stride()[1], .storage_offset(), or the number itself.
static bool source(void *u, const char **at, cg_py_expr *out) {
  inputs *in = u;
  cg_module *m = in->g->r->m;
  const char *path = *at + 1, *p = path; // behind the L
  for (size_t n; *p == '[' || *p == '.'; p += n) {
    n = *p == '[' ? strcspn(p, "]") + 1 : 1 + strspn(p + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    if (*p == '[' && !p[n - 1]) return false;
    if (*p == '.' && p[n] == '(') break; // .size()
  }
  const char *key = cg_strndup(m->s, path, (size_t)(p - path));
  const cg_input *input = cg_map_get(&in->paths, key);
  int flat, used = 0, dim;
  if (!input && sscanf(key, "['flat_args'][%d]%n", &flat, &used) == 1 && used == (int)strlen(key) && flat >= 0 && flat < m->inputs.n)
    input = &m->inputs.at[flat];
  if (!input || !input->param) return false;
  const cg_type *t = &input->param->type;
  *out = (cg_py_expr){.kind = CG_PY_INT};
  if (t->kind != CG_T_TENSOR) {
    *at = p;
    return (out->num = t->value) != NULL && t->kind == CG_T_INT;
  }
  if (!strncmp(p, ".storage_offset()", 17)) {
    out->num = t->offset ? t->offset : cg_x_int(&m->exprs, 0);
    *at = p + 17;
    return true;
  }
  bool stride = !strncmp(p, ".stride()[", 10);
  if (!stride && strncmp(p, ".size()[", 8)) return false;
  char *end;
  dim = (int)strtol(p + (stride ? 10 : 8), &end, 10);
  if (*end != ']' || dim < 0 || dim >= t->rank) return false;
  *at = end + 1;
  if (!stride) out->num = t->dim[dim];
  else if (t->stride) out->num = t->stride[dim];
  else {
    out->num = cg_x_int(&m->exprs, 1);
    for (int i = dim + 1; i < t->rank; i++) out->num = cg_x_mul(&m->exprs, out->num, t->dim[i]);
  }
  return true;
}

static void guard(inputs *in, const cg_json *j) {
  cg_module *m = in->g->r->m;
  const char *text = cg_json_text(j);
  cg_py_reader r = {m, source, in};
  cg_py_expr x = cg_py_read(&r, text);
  if (x.kind != CG_PY_BOOL)
    cg_json_fail(j, CIERGE_BAD_MODEL, "the model holds only if '%.400s', which cierge cannot check: %s", text, x.why ? x.why : "it is no condition");
  if (cg_x_is(x.num, 1)) return;
  cg_arg arg[2] = {cg_a_expr(x.num), cg_a_str(m, cg_format(m->s, "Guard failed: %s", text))};
  cg_node_like(in->g->fn, NULL, NULL, "aten::_assert_scalar", 2, arg, 0)->name = "guard";
}

void cg_pt2_guards(cg_pt2_graph *g) {
  cg_json guards, item;
  if (!cg_json_find(g->r->program, "guards_code", &guards) || !cg_json_count(&guards)) return;
  inputs in = {.g = g};
  find_paths(&in);
  for (cg_json_iter it = cg_json_items(&guards); cg_json_next(&it, &item);) guard(&in, &item);
}
