// The user's rules (steer.h). A node is known by its operator and by the one that the model had in its place.
#include "pass/steer.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

// "aten.add.Tensor", "aten::add.Tensor": this overload; "aten.add": all of them; "aten.sum.default": the one without a name.
static bool is_op(cg_session *s, const char *rule, const char *key) {
  const char *colons = strstr(rule, "::"), *dot = colons ? NULL : strchr(rule, '.');
  if (dot) rule = cg_format(s, "%.*s::%s", (int)(dot - rule), rule, dot + 1), colons = strstr(rule, "::");
  size_t n = strlen(rule);
  if (colons && strchr(colons, '.')) {
    if (n > 8 && !strcmp(rule + n - 8, ".default")) n -= 8;
    return !strncmp(key, rule, n) && !key[n];
  }
  return !strncmp(key, rule, n) && (!key[n] || key[n] == '.');
}

// A pattern names a module and all that is in it.
static bool is_in(cg_session *s, const char *pattern, const char *path) {
  if (!path || !*path) return false;
  for (const char *end = path; end; end = *end ? strchrnul(end + 1, '.') : NULL)
    if ((!*end || *end == '.') && !fnmatch(pattern, cg_strndup(s, path, (size_t)(end - path)), 0)) return true;
  return false;
}

static const char *op_rule(const cg_pipeline *p, const char *key) {
  for (int i = 0; i < p->opt->torch_ops.n; i++)
    if (is_op(p->s, p->opt->torch_ops.at[i], key)) return p->opt->torch_ops.at[i];
  return NULL;
}

static const char *module_rule(const cg_pipeline *p, const char *path) {
  for (int i = 0; i < p->opt->torch_modules.n; i++)
    if (is_in(p->s, p->opt->torch_modules.at[i], path)) return p->opt->torch_modules.at[i];
  return NULL;
}

// As many nodes as asked for, about: multiples of the golden ratio are spread evenly wherever one stops, and more of them keep the
// earlier ones.
static bool is_offloaded(const cg_pipeline *p, const cg_node *n) {
  if (!p->opt->offload.nodes || !n->origin) return false;
  double i = n->origin - 1, share = p->opt->offload.nodes / (double)n->fn->module->origins.n;
  return p->opt->offload.front ? i < p->opt->offload.nodes : fmod(i * 0.6180339887498949, 1) < share;
}

const char *cg_steer_rule(const cg_pipeline *p, const cg_node *n) {
  if (n->schema && is_offloaded(p, n)) return "the study offloads it";
  if (!n->schema || (!p->opt->torch_ops.n && !p->opt->torch_modules.n)) return NULL;
  const cg_module *m = n->fn->module;
  const char *rule = op_rule(p, n->schema->key);
  if (!rule && n->origin) rule = op_rule(p, m->origins.at[n->origin - 1].key);
  if (rule) return cg_format(p->s, "the user's rule (--torch-ops %s)", rule);
  rule = module_rule(p, n->module_path);
  return rule ? cg_format(p->s, "the user's rule (--torch-modules %s)", rule) : NULL;
}

static bool met(cg_session *s, const cg_module *m, const char *rule, bool module) {
  for (int i = 0; i < m->origins.n; i++) {
    const cg_origin *o = &m->origins.at[i];
    if (module ? is_in(s, rule, o->module_path) : is_op(s, rule, o->key)) return true;
  }
  for (int k = 0; k < m->fns.n; k++)
    for (const cg_node *n = m->fns.at[k]->first; n; n = n->next)
      if (n->schema && (module ? is_in(s, rule, n->module_path) : is_op(s, rule, n->schema->key))) return true;
  return false;
}

void cg_steer_check(cg_pipeline *p, const cg_module *m) {
  for (int module = 0; module < 2; module++) {
    const cg_text_vec *rules = module ? &p->opt->torch_modules : &p->opt->torch_ops;
    for (int i = 0; i < rules->n; i++) {
      if (met(p->s, m, rules->at[i], module)) continue;
      const char *note = cg_format(p->s, "--torch-%s %s: no node of the model is %s", module ? "modules" : "ops", rules->at[i], module ? "in such a module" : "one");
      CG_PUSH(p->s, &p->notes, note);
    }
  }
}
