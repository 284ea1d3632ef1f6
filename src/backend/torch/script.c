// What LibTorch says of a torchop's method. The archive is loaded once; it goes when the compilation ends.
#include <string.h>

#include "backend/torch/torch.h"

typedef struct {
  const cierge_torch_api_v1 *api;
  cierge_torch_script *script;
} loaded;

static void let_go(void *p) {
  loaded *l = p;
  if (l->script) l->api->script_free(l->script);
}

static const char *load(const cierge_torch_api_v1 *api, cg_session *s, cg_blob *b, const cg_text_vec *allow) {
  char text[1024] = "";
  cierge_torch_error e = {text, sizeof text};
  loaded *l = CG_NEW(s, loaded);
  l->api = api;
  cg_defer(s, let_go, l);
  if (api->script_load(b->data, b->size, allow->at, allow->n, &l->script, &e)) return cg_strdup(s, text);
  b->loaded = l;
  return NULL;
}

static void describe(cg_session *s, const cierge_torch_script_info *i, cg_script *out) {
  out->stateful = i->stateful, out->draws = i->draws, out->effect = i->effect;
  out->nargs = i->n_args, out->nreturns = i->n_returns, out->nops = i->n_ops;
  out->writes = CG_NEW_ARRAY(s, bool, (size_t)i->n_args + 1);
  for (int k = 0; k < i->n_args; k++) out->writes[k] = i->writes[k];
  int pairs = i->n_returns * (i->n_args + i->n_returns);
  out->shares = CG_NEW_ARRAY(s, bool, (size_t)pairs + 1);
  for (int k = 0; k < pairs; k++) out->shares[k] = i->shares[k];
  out->op = CG_NEW_ARRAY(s, const char *, (size_t)i->n_ops + 1);
  for (int k = 0; k < i->n_ops; k++) out->op[k] = cg_strdup(s, i->op[k]);
}

// How many inputs and results a node may have. Lists that a method returns may be any number of results.
static const char *check_counts(cg_session *s, const cierge_torch_script_info *i, const cg_node *n) {
  int given = n->nargs - CG_TORCHOP_INPUTS, lists = 0;
  const char *method = n->arg[1].str.text;
  if (given < i->n_required || given > i->n_args)
    return cg_format(s, "its method %s takes %s%d inputs, not %d", method, i->n_required < i->n_args ? "up to " : "", i->n_args, given);
  for (int k = 0; k < i->n_returns; k++) lists += !strncmp(i->return_type[k], "List[", 5);
  if (lists ? n->nresults < i->n_returns - lists : n->nresults != i->n_returns)
    return cg_format(s, "its method %s gives %s%d results, not %d", method, lists ? "at least " : "", i->n_returns - lists, n->nresults);
  return NULL;
}

static bool among(const char *type, const char *const *words) {
  for (; *words; words++)
    if (strstr(type, *words)) return true;
  return false;
}

// Whether an argument can be made to fit; types are told by their outermost words. What is no tensor, number or text is left to the load.
static bool takes(const char *type, const cg_arg *a) {
  static const char *const none[] = {"Optional[", "NoneType", "Any", NULL}, *const list[] = {"List[", "Tuple[", "Any", NULL},
                    *const text[] = {"str", "Device", "device", "Any", NULL}, *const no_number[] = {"List[", "Tuple[", "Dict(", "Dict[", "str", "Device", "device", NULL};
  switch (a->kind) {
  case CG_A_NONE: return among(type, none);
  case CG_A_LIST: return among(type, list);
  case CG_A_STR: return among(type, text);
  case CG_A_VALUE: return a->value->type.kind == CG_T_OTHER || a->value->type.kind == CG_T_UNKNOWN || a->value->type.kind == CG_T_LATE || !among(type, no_number);
  default: return !among(type, no_number);
  }
}

static const char *check_arguments(cg_session *s, const cierge_torch_script_info *i, const cg_node *n) {
  for (int k = 0; k + CG_TORCHOP_INPUTS < n->nargs; k++)
    if (!takes(i->arg_type[k], &n->arg[k + CG_TORCHOP_INPUTS]))
      return cg_format(s, "input %d of its method %s is a %s, and cannot be what it is given here", k, n->arg[1].str.text, i->arg_type[k]);
  return NULL;
}

const char *cg_torch_script(cg_torch *face, cg_module *m, const cg_node *n) {
  cg_blob *b = n->arg[0].blob;
  const char *why = NULL, *method = n->arg[1].str.text;
  const cierge_torch_api_v1 *api = cg_torch_api(face, &why);
  if (!api) cg_fail_at(m->s, CIERGE_MISSING, n->at, "%s", why);
  if (!b->loaded && (why = load(api, m->s, b, &face->opt->allow_unsafe))) return why;
  char text[1024] = "";
  cierge_torch_error e = {text, sizeof text};
  cierge_torch_script_info info;
  if (api->script_info(((loaded *)b->loaded)->script, method, &info, &e)) return cg_strdup(m->s, text);
  if ((why = check_counts(m->s, &info, n)) || (why = check_arguments(m->s, &info, n)) || cg_node_script(n)) return why;
  cg_script one = {.method = method};
  describe(m->s, &info, &one);
  CG_PUSH(m->s, &b->scripts, one);
  return NULL;
}
