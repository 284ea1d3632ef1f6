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

static const char *extended(inputs *in, const char *path, const char *key, int index) {
  cg_session *s = in->g->r->s;
  if (!path) return NULL;
  return key ? cg_format(s, "%s['%s']", path, key) : cg_format(s, "%s[%d]", path, index);
}

// A node of a pytree's specification. Containers of other types keep their leaves' places, and their paths are unknown.
static void walk(inputs *in, const cg_json *spec, const char *path, int depth) {
  cg_json type, context, children, child;
  if (depth > CG_PT2_MAX_NESTING) cg_json_fail(spec, CIERGE_BAD_MODEL, "the inputs are nested more than %d deep", CG_PT2_MAX_NESTING);
  if (!cg_json_find(spec, "type", &type)) {
    if (path) leaf(in, path);
    else in->next++;
    return;
  }
  const char *t = cg_json_text(&type);
  bool list = !strcmp(t, "builtins.tuple") || !strcmp(t, "builtins.list"), dict = !strcmp(t, "builtins.dict") || !strcmp(t, "collections.OrderedDict");
  cg_json keys = {0}, key;
  cg_json_iter names = {0};
  if (dict && cg_json_find(spec, "context", &context)) {
    const char *text = cg_json_text(&context);
    keys = cg_json_read(spec->source, (const uint8_t *)text, strlen(text));
    names = cg_json_items(&keys);
  } else {
    dict = false;
  }
  children = cg_json_get(spec, "children_spec");
  int i = 0;
  for (cg_json_iter it = cg_json_items(&children); cg_json_next(&it, &child); i++) {
    const char *down = NULL;
    if (dict && cg_json_next(&names, &key)) down = yyjson_is_str(key.v) ? extended(in, path, cg_json_text(&key), 0) : NULL;
    else if (list) down = extended(in, path, NULL, i);
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
    if (!digits || in->next != first + 1 || first >= in->g->r->m->inputs.n) continue;
    char *end;
    long k = strtol(digits + 1, &end, 10);
    if (end > digits + 1 && !strcmp(end, "']"))
      cg_map_set(s, &in->paths, cg_format(s, "%.*s'][%ld]", (int)(digits - path), path, k), &in->g->r->m->inputs.at[first]);
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

// L['d']['k'][0].size()[1], .stride()[1], .storage_offset(), or the number itself.
static bool source(void *u, const char **at, cg_py_expr *out) {
  inputs *in = u;
  cg_module *m = in->g->r->m;
  const char *path = *at + 1, *p = path; // behind the L
  while (*p == '[') {
    p += strcspn(p, "]");
    if (!*p) return false;
    p++;
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
