// Nodes of a graph: operator, arguments, results, and where in the user's program they come from.
#include <stdlib.h>
#include <string.h>

#include "frontend/pt2.h"
#include "ir/verify.h"

// ---------------------------------------------------------------- Names

void cg_pt2_define(cg_pt2_graph *g, const cg_json *at, const char *name, cg_value *v) {
  if (*name >= '0' && *name <= '9') cg_json_fail(at, CIERGE_BAD_MODEL, "the name '%s' begins with a digit", name); // the compiler's own do
  if (!cg_map_set(g->r->s, &g->values, name, v)) cg_json_fail(at, CIERGE_BAD_MODEL, "two values are called '%s'", name);
}

cg_value *cg_pt2_value(cg_pt2_graph *g, const cg_json *at, const char *name) {
  cg_value *v = cg_map_get(&g->values, name);
  if (v) return v;
  const char *object = cg_map_get(&g->r->objects, name);
  if (object) cg_json_fail(at, CIERGE_MISSING, "'%s' is an object of class '%.200s', and cierge has no objects of Python or TorchBind classes", name, object);
  cg_json_fail(at, CIERGE_BAD_MODEL, "there is no value '%s' before this", name);
}

// ---------------------------------------------------------------- Where a node comes from

static bool of_pytorch(const char *file, size_t n) {
  static const char *const inside[] = {"/site-packages/torch/", "/dist-packages/torch/"};
  const char *text = file;
  if (n && *file == '<') return true; // "<eval_with_key>.5": code that tracing made
  if (n > 6 && !strncmp(file, "torch/", 6)) return true;
  for (int i = 0; i < 2; i++) {
    const char *p = strstr(text, inside[i]);
    if (p && p < file + n) return true;
  }
  return false;
}

// The innermost frame of a Python stack trace that is not PyTorch's own: File "/x/model.py", line 412, in forward
static cg_span user_line(cg_session *s, const char *trace) {
  cg_span at = {0};
  for (const char *p = trace; (p = strstr(p, "File \"")); p++) {
    const char *file = p + 6, *end = strchr(file, '"'), *newline = strchr(file, '\n');
    if (!end) break;
    if ((newline && newline < end) || strncmp(end, "\", line ", 8)) continue;
    size_t n = (size_t)(end - file);
    if (n > 4096 || of_pytorch(file, n)) continue;
    long line = strtol(end + 8, NULL, 10);
    if (line < 1 || line > INT32_MAX) continue;
    at = (cg_span){.file = cg_strndup(s, file, n), .line = (int)line};
  }
  return at;
}

// nn_module_stack is "key,path,class" joined by ';', the innermost last.
static const char *module_path(cg_session *s, const char *stack) {
  const char *last = strrchr(stack, ';');
  last = last ? last + 1 : stack;
  const char *from = strchr(last, ','), *to = strrchr(last, ',');
  if (!from || from == to || strstr(last, "_empty_nn_module_stack")) return "";
  return cg_strndup(s, from + 1, (size_t)(to - from - 1));
}

void cg_pt2_set_origin(cg_pt2_graph *g, const cg_json *node, cg_node *n) {
  cg_session *s = g->r->s;
  cg_json name, metadata, text;
  if (cg_json_find(node, "name", &name)) n->name = cg_json_text(&name);
  else n->name = n->nresults ? n->result[0]->name : "";
  n->module_path = "";
  if (cg_json_find(node, "metadata", &metadata)) {
    if (cg_json_find(&metadata, "stack_trace", &text)) n->at = user_line(s, cg_json_text(&text));
    if (cg_json_find(&metadata, "nn_module_stack", &text)) n->module_path = module_path(s, cg_json_text(&text));
  }
  cg_origin o = {.key = n->schema->key, .name = n->name, .at = n->at, .module_path = n->module_path};
  CG_PUSH(s, &g->r->m->origins, o);
  n->origin = g->r->m->origins.n;
}

// ---------------------------------------------------------------- Results

static void add_result(cg_pt2_graph *g, const char *kind, const char *name, cg_pt2_result_vec *out) {
  cg_pt2_result r = {kind, name};
  CG_PUSH(g->r->s, out, r);
}

static void one_output(cg_pt2_graph *g, const cg_json *output, cg_pt2_result_vec *out) {
  static const char *const numbers[] = {"as_sym_int", "as_sym_float", "as_sym_bool"};
  cg_json u = cg_json_union(output), name, item;
  if (cg_json_is(&u, "as_tensor")) {
    name = cg_json_get(&u, "name");
    add_result(g, "as_tensor", cg_pt2_name(&name), out);
  } else if (cg_json_is(&u, "as_tensors")) { // a list: one result for each item
    for (cg_json_iter it = cg_json_items(&u); cg_json_next(&it, &item);) {
      name = cg_json_get(&item, "name");
      add_result(g, "as_tensor", cg_pt2_name(&name), out);
    }
  } else if (cg_json_is(&u, "as_none")) {
    add_result(g, "as_none", NULL, out);
  } else {
    for (int i = 0; i < 3; i++) {
      if (!cg_json_is(&u, numbers[i])) continue;
      cg_json n = cg_json_union(&u);
      if (!cg_json_is(&n, "as_name")) cg_json_fail(&n, CIERGE_BAD_MODEL, "a result has no name");
      add_result(g, numbers[i], cg_pt2_name(&n), out);
      return;
    }
    cg_json_fail(&u, CIERGE_MISSING, "cierge does not read results of the kind '%.40s'", u.key);
  }
}

cg_pt2_result_vec cg_pt2_outputs(cg_pt2_graph *g, const cg_json *node) {
  cg_pt2_result_vec out = {0};
  cg_json outputs = cg_json_get(node, "outputs"), item;
  for (cg_json_iter it = cg_json_items(&outputs); cg_json_next(&it, &item);) one_output(g, &item, &out);
  return out;
}

void cg_pt2_define_result(cg_pt2_graph *g, const cg_json *node, const cg_pt2_result *r, cg_value *v) {
  if (!r->name) {
    v->type = cg_scalar_type(CG_T_NONE);
    return;
  }
  if (strcmp(r->kind, "as_tensor") || cg_map_get(&g->tensor, r->name)) v->type = cg_pt2_type_of(g, node, r->kind, r->name); // else not recorded
  cg_value_rename(g->r->m, v, r->name);
  cg_pt2_define(g, node, v->name, v);
}

// ---------------------------------------------------------------- Nodes

typedef CG_VEC(cg_arg) args;

// with_effects(token, op, …) runs op after what made the token, and gives a new one. Nodes keep their order here, so
// tokens are empty tensors that nothing needs.
static bool has_effects(const cg_json *node) {
  cg_json target = cg_json_get(node, "target");
  return !strcmp(cg_json_text(&target), "torch.ops.higher_order.with_effects");
}

static const cg_schema *effect_schema(cg_pt2_graph *g, const cg_json *node) {
  cg_json inputs = cg_json_get(node, "inputs"), item;
  cg_json_iter it = cg_json_items(&inputs);
  if (!cg_json_next(&it, &item) || !cg_json_next(&it, &item)) cg_json_fail(node, CIERGE_BAD_MODEL, "it names no operator");
  cg_json arg = cg_json_get(&item, "arg"), u = cg_json_union(&arg);
  if (!cg_json_is(&u, "as_operator")) cg_json_fail(&u, CIERGE_MISSING, "the operator with effects is none that cierge knows");
  return cg_pt2_schema_of(g, &u, NULL);
}

// The first result is the new token; an operator that returns nothing has one None besides.
static void take_token(cg_pt2_graph *g, const cg_json *node, const cg_schema *c, cg_pt2_result_vec *out) {
  cg_json inputs = cg_json_get(node, "inputs"), item;
  cg_json_iter it = cg_json_items(&inputs);
  cg_json_next(&it, &item);
  cg_json arg = cg_json_get(&item, "arg");
  cg_arg token = cg_pt2_arg(g, &arg);
  if (token.kind != CG_A_VALUE || !out->n || !out->at[0].name) cg_json_fail(node, CIERGE_BAD_MODEL, "it takes or gives no token");
  cg_pt2_define(g, node, out->at[0].name, token.value);
  out->at++, out->n--, out->cap--;
  if (!c->nrets && out->n == 1 && !out->at[0].name) out->n = 0;
}

// Arguments by the schema's names; those without a name by position, as control operators have them. The first `skip` are
// somebody else's.
static void read_args(cg_pt2_graph *g, const cg_json *node, const cg_schema *c, int skip, args *out, bool *given) {
  cg_session *s = g->r->s;
  bool scalar = !strstr(c->key, "::") && strncmp(c->key, "higher_order.", 13);
  cg_json inputs = cg_json_get(node, "inputs"), target = cg_json_get(node, "target"), item;
  int position = -skip;
  for (int i = 0; i < c->nargs; i++) CG_PUSH(s, out, cg_a_none());
  for (cg_json_iter it = cg_json_items(&inputs); cg_json_next(&it, &item); position++) {
    if (position < 0) continue;
    cg_json name = cg_json_get(&item, "name"), arg = cg_json_get(&item, "arg");
    const char *given_as = cg_json_text(&name), *word = cg_pt2_prim_arg(s, cg_json_text(&target), given_as);
    if (*given_as && !*word) continue;
    int i = scalar || !*word ? position : cg_schema_arg_index(c, word);
    if (i < 0) cg_json_fail(&name, CIERGE_BAD_MODEL, "there is no argument '%.100s': %s", word, c->text);
    if (i >= c->nargs && !c->variadic_args) cg_json_fail(&item, CIERGE_BAD_MODEL, "too many arguments: %s", c->text);
    if (i >= c->nargs) {
      cg_arg a = cg_pt2_arg(g, &arg);
      CG_PUSH(s, out, a);
    } else {
      if (given[i]) cg_json_fail(&name, CIERGE_BAD_MODEL, "argument '%s' is given twice", c->arg[i].name);
      given[i] = true;
      out->at[i] = cg_pt2_schema_arg(g, &arg, &c->arg[i]);
    }
  }
}

static void import_node(cg_pt2_graph *g, const cg_json *node) {
  cg_module *m = g->r->m;
  if (cg_pt2_auto_functionalized(g, node)) return;
  bool effects = has_effects(node);
  const cg_schema *c = effects ? effect_schema(g, node) : cg_pt2_schema(g, node);
  bool *given = CG_NEW_ARRAY(m->s, bool, (size_t)c->nargs);
  args a = {0};
  read_args(g, node, c, effects ? 2 : 0, &a, given);
  for (int i = 0; i < c->nargs; i++) {
    if (given[i]) continue;
    const cg_schema_arg *of = &c->arg[i];
    if (!of->default_text && !of->type.optional) cg_json_fail(node, CIERGE_BAD_MODEL, "argument '%s' is missing: %s", of->name, c->text);
    a.at[i] = cg_schema_default(m, of);
  }
  cg_pt2_result_vec out = cg_pt2_outputs(g, node);
  if (effects) take_token(g, node, c, &out);
  if (!cg_results_fit(c, out.n)) cg_json_fail(node, CIERGE_BAD_MODEL, "it has %d results: %s", out.n, c->text);
  cg_node *n = cg_node_new(g->fn, NULL, c, a.n, out.n);
  if (a.n) memcpy(n->arg, a.at, (size_t)a.n * sizeof *n->arg);
  for (int i = 0; i < out.n; i++) cg_pt2_define_result(g, node, &out.at[i], n->result[i]);
  cg_pt2_set_origin(g, node, n);
}

void cg_pt2_graph_nodes(cg_pt2_graph *g) {
  cg_json nodes = cg_json_get(&g->json, "nodes"), node;
  for (cg_json_iter it = cg_json_items(&nodes); cg_json_next(&it, &node);) import_node(g, &node);
}

// ---------------------------------------------------------------- Graphs

static void index_values(cg_pt2_graph *g, const char *key, cg_json *object, cg_map *by_name) {
  cg_json entry;
  if (!cg_json_find(&g->json, key, object)) return; // older minors have no sym_float_values
  for (cg_json_iter it = cg_json_members(object); cg_json_next(&it, &entry);)
    cg_map_set(g->r->s, by_name, entry.key, entry.v);
}

void cg_pt2_graph_open(cg_pt2_graph *g, cg_pt2 *r, cg_fn *fn, int depth, const cg_json *graph) {
  *g = (cg_pt2_graph){.r = r, .fn = fn, .depth = depth, .json = *graph};
  index_values(g, "tensor_values", &g->tensors, &g->tensor);
  index_values(g, "sym_int_values", &g->ints, &g->sym_int);
  index_values(g, "sym_bool_values", &g->bools, &g->sym_bool);
  index_values(g, "sym_float_values", &g->floats, &g->sym_float);
}

// A sub-graph's inputs are its parameters; one that is a plain literal keeps its place, and nothing can name it.
static void subgraph_input(cg_pt2_graph *g, const cg_json *input) {
  static const struct { const char *tag; cg_type_kind kind; } literals[] = {
      {"as_int", CG_T_INT}, {"as_float", CG_T_FLOAT}, {"as_bool", CG_T_BOOL}, {"as_none", CG_T_NONE}, {"as_string", CG_T_STR}};
  cg_json u = cg_json_union(input), name;
  for (int i = 0; i < 5; i++)
    if (cg_json_is(&u, literals[i].tag)) {
      cg_param_new(g->fn, cg_fresh_name(g->r->m, ""), cg_scalar_type(literals[i].kind));
      return;
    }
  if (cg_json_is(&u, "as_tensor")) name = cg_json_get(&u, "name");
  else if (cg_json_is(&u, "as_sym_int") || cg_json_is(&u, "as_sym_float") || cg_json_is(&u, "as_sym_bool")) name = cg_json_get(&u, "as_name");
  else cg_json_fail(&u, CIERGE_MISSING, "cierge does not read inputs of the kind '%.40s'", u.key);
  const char *word = cg_pt2_name(&name);
  cg_pt2_define(g, &name, word, cg_param_new(g->fn, word, cg_pt2_type_of(g, &name, u.key, word)));
}

cg_fn *cg_pt2_subgraph(cg_pt2_graph *outer, const cg_json *argument) {
  cg_json name = cg_json_get(argument, "name"), graph = cg_json_get(argument, "graph"), inputs, outputs, item;
  if (outer->depth >= CG_PT2_MAX_NESTING) cg_json_fail(argument, CIERGE_BAD_MODEL, "graphs are nested more than %d deep", CG_PT2_MAX_NESTING);
  cg_pt2_graph *g = CG_NEW(outer->r->s, cg_pt2_graph);
  const char *word = cg_pt2_name(&name);
  cg_fn *fn = cg_fn_new(outer->r->m, !strcmp(word, "main") ? "main_graph" : word);
  cg_pt2_graph_open(g, outer->r, fn, outer->depth + 1, &graph);
  inputs = cg_json_get(&g->json, "inputs");
  for (cg_json_iter it = cg_json_items(&inputs); cg_json_next(&it, &item);) subgraph_input(g, &item);
  cg_pt2_graph_nodes(g);
  outputs = cg_json_get(&g->json, "outputs");
  for (cg_json_iter it = cg_json_items(&outputs); cg_json_next(&it, &item);) {
    cg_arg a = cg_pt2_arg(g, &item);
    CG_PUSH(outer->r->s, &fn->result, a);
  }
  return fn;
}
