// LibTorch as a backend: it takes whatever is an operator of PyTorch's dispatcher.
#include <string.h>

#include "artifact/scalar.h"
#include "backend/torch/lower.h"
#include "ops/op.h"
#include "pass/cost.h"

// ---------------------------------------------------------------- claims

static const char *unfit_arg(cg_session *s, const cg_arg *a, const char *name) {
  if (a->kind == CG_A_FN) return "it has sub-graphs";
  if (a->kind == CG_A_LIST) {
    const char *why = NULL;
    for (int i = 0; i < a->list.n && !why; i++) why = unfit_arg(s, &a->list.at[i], name);
    return why;
  }
  if (a->kind != CG_A_VALUE) return NULL;
  const cg_value *v = a->value;
  if (v->type.kind == CG_T_STR || v->type.kind == CG_T_UNKNOWN) return cg_format(s, "its argument %s has a type that cannot be given to LibTorch", name);
  if (v->type.kind == CG_T_OTHER && !v->def)
    return cg_format(s, "its argument %s (%s) comes from outside, and such values can only live inside a region", name,
                     v->type.note ? v->type.note : "of an unknown kind");
  return NULL;
}

static const char *unfit_schema(cg_session *s, const cg_node *n) {
  const cg_schema *c = n->schema;
  if (c->variadic_args || n->nargs != c->nargs) return "it takes any number of arguments";
  for (int i = 0; i < c->nargs; i++) {
    cg_schema_kind k = c->arg[i].type.kind;
    bool given = n->arg[i].kind != CG_A_NONE;
    if (given && (k == CG_S_GRAPH || k == CG_S_ANY || k == CG_S_OTHER || k == CG_S_GENERATOR))
      return cg_format(s, "its argument %s is a %s, which no program can hold", c->arg[i].name, c->arg[i].type.text);
    const char *why = unfit_arg(s, &n->arg[i], c->arg[i].name);
    if (why) return why;
  }
  for (int i = 0; i < c->nrets; i++)
    if (c->ret[i].type.kind == CG_S_STR || c->ret[i].type.kind == CG_S_GRAPH || c->ret[i].type.kind == CG_S_ANY)
      return cg_format(s, "it gives a %s", c->ret[i].type.text);
  return NULL;
}

static const char *unfit_script(cg_session *s, const cg_node *n) {
  const char *why = NULL;
  for (int i = CG_TORCHOP_INPUTS; i < n->nargs && !why; i++) why = unfit_arg(s, &n->arg[i], cg_format(s, "%d", i - CG_TORCHOP_INPUTS));
  return why;
}

// as_strided reads storage, of which a region gets only what its input's elements are. Inputs in C order hold all of it
// (LibTorch refuses to read beyond); of others it must be known that they leave no gaps and that the window lies inside.
static bool dense_extent(const cg_type *t, int64_t *begin, int64_t *end) {
  int64_t extent = 1;
  bool used[CG_MAX_RANK] = {false};
  for (int i = 0; i < t->rank; i++)
    if (!cg_x_is_int(t->dim[i]) || (t->stride && !cg_x_is_int(t->stride[i]))) return false;
  if (t->offset && !cg_x_is_int(t->offset)) return false;
  for (int k = 0; k < t->rank; k++) {
    int at = t->stride ? -1 : t->rank - 1 - k;
    for (int i = 0; t->stride && at < 0 && i < t->rank; i++)
      if (!used[i] && (t->dim[i]->value == 1 || t->stride[i]->value == extent)) at = i;
    if (at < 0) return false;
    used[at] = true;
    extent *= t->dim[at]->value;
  }
  *begin = t->offset ? t->offset->value : 0;
  *end = *begin + extent;
  return true;
}

static const char *unfit_strides(const cg_node *n) {
  if (strncmp(n->schema->name, "aten::as_strided", 16)) return NULL;
  const cg_value *x = cg_arg_tensor(&n->arg[0]);
  const cg_arg *size = cg_node_arg(n, "size"), *stride = cg_node_arg(n, "stride"), *offset = cg_node_arg(n, "storage_offset");
  if (!x || x->type.kind != CG_T_TENSOR || !size || !stride) return NULL;
  const char *why = "it reads memory beyond its input's elements, or may";
  if (!x->type.stride && (!x->type.offset || cg_x_is(x->type.offset, 0))) return NULL;
  int64_t begin, end, from, last;
  if (!dense_extent(&x->type, &begin, &end)) return why;
  from = begin;
  if (offset && offset->kind != CG_A_NONE && !cg_arg_int_const(offset, &from)) return why;
  last = from;
  for (int i = 0; i < cg_arg_list_len(size); i++) {
    int64_t d, st;
    if (i >= cg_arg_list_len(stride) || !cg_arg_int_const(cg_arg_list_at(size, i), &d) || !cg_arg_int_const(cg_arg_list_at(stride, i), &st))
      return why;
    if (!d) return NULL;
    last += (d - 1) * st;
  }
  return from >= begin && last < end ? NULL : why;
}

static const char *claim(cg_pipeline *p, const cg_node *n) {
  const cg_schema *c = n->schema;
  if (cg_node_is_torchop(n)) return unfit_script(p->s, n);
  if (!c || !strstr(c->name, "::") || cg_scalar_find(c->key) >= 0) return "it is no operator of PyTorch's dispatcher";
  if (n->op && n->op->traits & CG_OP_CONTROL) return "it is control flow";
  const char *why = unfit_schema(p->s, n);
  if (!why) why = unfit_strides(n);
  if (why || !p->torch || !strncmp(c->name, "aten::", 6)) return why;
  const cierge_torch_api_v1 *api = cg_torch_api(p->torch, &why);
  if (!api) return NULL; // taken on trust: the run will say what is missing
  if (api->has_cpu(c->key)) return NULL;
  return "it has no kernel in C++: where it is defined in Python, decompose it (run_decompositions()) or run the program from Python";
}

// ---------------------------------------------------------------- what the artifact needs

static void need_custom_of_script(cg_emitter *e, const cg_node *n) {
  const cg_script *s = cg_node_script(n);
  for (int i = 0; s && i < s->nops; i++) cg_torch_need(e, &(cg_schema){.key = s->op[i], .name = s->op[i], .text = s->op[i]});
}

// The programs speak of operators by their schemas, which PyTorch keeps between versions far better than its C++; what
// ties a plugin to one version is checked where it is opened.
static void finish(cg_emitter *e) {
  if (!e->plan->n_regions) return;
  e->plan->torch_min = "2.10";
  for (int i = 0; i < e->m->fns.n; i++) {
    const cg_fn *f = e->m->fns.at[i];
    if (!f->backend || strcmp(f->backend, "torch")) continue;
    for (const cg_node *n = f->first; n; n = n->next)
      if (cg_node_is_torchop(n)) need_custom_of_script(e, n);
      else if (n->schema) cg_torch_need(e, n->schema);
  }
}

const cg_backend cg_backend_torch = {"torch", claim, cg_torch_lower, finish, &cg_cost_torch, cg_torch_choose_mode};
