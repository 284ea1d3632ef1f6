// The schema that a node's target names: ATen's and cierge's own table, LibTorch's registry, or, where there is no
// LibTorch to ask, what the node itself says of a custom operator.
#include <string.h>

#include "frontend/pt2.h"

// "torch.ops.aten.add.Tensor" -> "aten::add.Tensor"; "torch.ops.higher_order.cond" -> "higher_order.cond"; others stay.
static const char *key_of(cg_pt2_graph *g, const cg_json *target) {
  const char *t = cg_json_text(target);
  if (strncmp(t, "torch.ops.", 10)) return t;
  t += 10;
  if (!strncmp(t, "higher_order.", 13)) return t;
  const char *dot = strchr(t, '.');
  if (!dot || dot == t || !dot[1]) cg_json_fail(target, CIERGE_BAD_MODEL, "'%.200s' names no operator", t);
  size_t n = strlen(t);
  if (n > 8 && !strcmp(t + n - 8, ".default")) n -= 8;
  return cg_format(g->r->s, "%.*s::%.*s", (int)(dot - t), t, (int)(n - (size_t)(dot + 1 - t)), dot + 1);
}

// ---------------------------------------------------------------- From the node

static const struct {
  const char *tag, *type;
} kinds[] = {
    {"as_tensor", "Tensor"}, {"as_tensors", "Tensor[]"}, {"as_int", "SymInt"}, {"as_ints", "SymInt[]"}, {"as_sym_int", "SymInt"},
    {"as_sym_ints", "SymInt[]"}, {"as_float", "float"}, {"as_floats", "float[]"}, {"as_sym_float", "float"}, {"as_bool", "bool"},
    {"as_bools", "bool[]"}, {"as_sym_bool", "bool"}, {"as_string", "str"}, {"as_strings", "str[]"}, {"as_scalar_type", "ScalarType"},
    {"as_layout", "Layout"}, {"as_device", "Device"}, {"as_memory_format", "MemoryFormat"}, {"as_optional_tensors", "Tensor?[]"},
    {"as_optional_tensor", "Tensor?"}, {"as_none", "Tensor?"}, {"as_sym_floats", "float[]"}, {"as_sym_bools", "bool[]"},
};

static const char *type_of(const cg_json *argument) {
  cg_json u = cg_json_union(argument);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (cg_json_is(&u, kinds[i].tag)) return kinds[i].type;
  cg_json_fail(&u, CIERGE_MISSING, "the schema of this operator is needed to read an argument of the kind '%.40s', and LibTorch is not here", u.key);
}

static bool plain_word(const char *w) {
  if (!*w || (*w >= '0' && *w <= '9')) return false;
  for (; *w; w++)
    if (!((*w >= 'a' && *w <= 'z') || (*w >= 'A' && *w <= 'Z') || (*w >= '0' && *w <= '9') || *w == '_')) return false;
  return true;
}

static bool plain_key(const char *key) {
  const char *colons = strstr(key, "::");
  if (!colons || colons == key || !colons[2]) return false;
  for (const char *p = key; *p; p++)
    if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '_' || *p == '.' || *p == ':')) return false;
  return true;
}

// Names and kinds of what this node was given and gives. It says nothing of mutation, nor of arguments left out.
static const cg_schema *from_node(cg_pt2_graph *g, const cg_json *node, const char *key) {
  cg_json inputs = cg_json_get(node, "inputs"), outputs = cg_json_get(node, "outputs"), item;
  if (!plain_key(key)) cg_json_fail(node, CIERGE_BAD_MODEL, "'%.200s' names no operator", key);
  cg_str text = cg_str_new(g->r->s);
  cg_str_addf(&text, "%s(", key);
  int n = 0;
  bool star = false;
  for (cg_json_iter it = cg_json_items(&inputs); cg_json_next(&it, &item); n++) {
    cg_json name = cg_json_get(&item, "name"), arg = cg_json_get(&item, "arg"), kind;
    const char *word = cg_json_text(&name);
    if (!plain_word(word)) cg_json_fail(&name, CIERGE_BAD_MODEL, "an argument of a custom operator has no name");
    bool keyword = cg_json_find(&item, "kind", &kind) && cg_json_int(&kind) == 2;
    cg_str_addf(&text, "%s%s%s %s", n ? ", " : "", keyword && !star ? "*, " : "", type_of(&arg), word);
    star |= keyword;
  }
  cg_str_add(&text, ") -> (");
  n = 0;
  for (cg_json_iter it = cg_json_items(&outputs); cg_json_next(&it, &item); n++) cg_str_addf(&text, "%s%s", n ? ", " : "", type_of(&item));
  cg_str_addc(&text, ')');
  return cg_schema_parse(g->r->s, cg_str_text(&text));
}

// ---------------------------------------------------------------- Finding it

_Noreturn static void only_python(const cg_json *target, const char *key) {
  cg_json_fail(target, CIERGE_MISSING, "'%.200s' exists only in Python: decompose it before saving (ep.run_decompositions())", key);
}

_Noreturn static void unregistered(const cg_json *target, const char *key) {
  cg_json_fail(target, CIERGE_MISSING,
               "no library here registers '%.200s': name the one that does (--torch-library); if it exists only in Python, decompose it before saving (ep.run_decompositions()), or compile and run from Python (import cierge), where it is registered",
               key);
}

_Noreturn static void unknown(const cg_json *target, const char *key) {
  cg_json_fail(target, CIERGE_MISSING,
               "the schema of '%.200s' is needed: LibTorch must be here (--libtorch), with the library that registers the operator (--torch-library)", key);
}

// In the training dialect an operator may write to its arguments, which only its schema says; in the functional one it
// does not. Every node must have the same arguments, as nobody knows the defaults of those that are left out.
static const cg_schema *guess(cg_pt2_graph *g, const cg_json *target, const cg_json *node, const char *key) {
  cg_json verifiers, item;
  bool functional = cg_json_find(g->r->program, "verifiers", &verifiers);
  if (functional)
    for (cg_json_iter it = cg_json_items(&verifiers); cg_json_next(&it, &item);) functional = functional && strcmp(cg_json_text(&item), "TRAINING");
  if (!node || !functional) unknown(target, key);
  const cg_schema *c = from_node(g, node, key);
  const char *before = cg_map_get(&g->r->guessed, key);
  if (before && strcmp(before, c->text)) unknown(target, key);
  if (before) return cg_map_get(&g->r->m->schemas, key);
  cg_map_set(g->r->s, &g->r->guessed, key, (void *)(uintptr_t)c->text);
  cg_map_set(g->r->s, &g->r->m->schemas, key, (void *)(uintptr_t)c);
  return c;
}

const cg_schema *cg_pt2_schema_of(cg_pt2_graph *g, const cg_json *target, const cg_json *node) {
  const char *prim = cg_pt2_prim(cg_json_text(target)), *key = prim ? prim : key_of(g, target);
  if (strlen(key) > 1000) cg_json_fail(target, CIERGE_BAD_MODEL, "the operator's name is too long");
  const cg_schema *c = cg_map_has(&g->r->guessed, key) ? NULL : cg_schema_find(g->r->s, &g->r->m->schemas, key);
  if (c) return c;
  if (!strncmp(key, "higher_order.", 13)) cg_json_fail(target, CIERGE_MISSING, "cierge does not have the control operator '%.200s'", key);
  if (!strstr(key, "::") || !strncmp(key, "prims::", 7)) only_python(target, key);
  cg_torch *torch = g->r->p->torch;
  const char *text = torch ? torch->schema(torch, g->r->s, key) : NULL;
  if (torch && !text) unregistered(target, key);
  if (text) {
    c = cg_schema_parse(g->r->s, text);
    cg_map_set(g->r->s, &g->r->m->schemas, key, (void *)(uintptr_t)c);
    return c;
  }
  if (!strncmp(key, "aten::", 6))
    cg_json_fail(target, CIERGE_MISSING, "'%.200s' is not among the operators of the PyTorch that cierge was made for (torch %s wrote this model)", key, g->r->torch);
  return guess(g, target, node, key);
}

const cg_schema *cg_pt2_schema(cg_pt2_graph *g, const cg_json *node) {
  cg_json target = cg_json_get(node, "target");
  return cg_pt2_schema_of(g, &target, node);
}
