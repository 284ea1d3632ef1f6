// Custom operators that write to their arguments, as the functional dialect has them:
//   auto_functionalized_v2(op, k=2, _x_base_index=0, _x_slice_dim=0, …, _all_bases=[a]) -> (what op returns, a after it)
//   auto_functionalized(op, x=a, k=2) -> (what op returns, a after it)
// This is op run on views of clones of the bases: so it is read as that, and functionalise.c makes values of it again.
#include <string.h>

#include "frontend/pt2.h"
#include "ir/verify.h"

typedef struct {
  cg_pt2_graph *g;
  const cg_json *node;
  cg_map given;        // keyword -> cg_json *, its argument
  cg_value **base;     // clones
  int nbases;
} reader;

static cg_value *call(reader *r, const char *key, int nargs, const cg_arg *arg) {
  return cg_node_like(r->g->fn, NULL, NULL, key, nargs, arg, 1)->result[0];
}

static cg_value *clone(reader *r, cg_value *v) {
  cg_value *c = call(r, "aten::clone", 1, (cg_arg[]){cg_a_value(v)});
  c->type = v->type;
  return c;
}

static const cg_json *find(reader *r, const char *prefix, const char *what) {
  return cg_map_get(&r->given, cg_format(r->g->r->s, "_%s%s", prefix, what));
}

static cg_arg read_arg(reader *r, const char *prefix, const char *what) {
  const cg_json *j = find(r, prefix, what);
  if (!j) cg_json_fail(r->node, CIERGE_BAD_MODEL, "argument '_%s%s' is missing", prefix, what);
  return cg_pt2_arg(r->g, j);
}

// The view of a base that an argument was, by the keywords that begin with its name.
static cg_arg view(reader *r, const char *name) {
  cg_arg index = read_arg(r, name, "_base_index");
  int64_t i;
  if (index.kind == CG_A_NONE) return index;
  if (!cg_arg_int_const(&index, &i) || i < 0 || i >= r->nbases) cg_json_fail(r->node, CIERGE_BAD_MODEL, "'_%s_base_index' names no base", name);
  cg_arg base = cg_a_value(r->base[i]);
  if (find(r, name, "_slice_dim"))
    return cg_a_value(call(r, "aten::slice.Tensor", 4, (cg_arg[]){base, read_arg(r, name, "_slice_dim"), read_arg(r, name, "_slice_start"),
                                                                  read_arg(r, name, "_slice_end")}));
  if (find(r, name, "_size"))
    return cg_a_value(call(r, "aten::as_strided", 4, (cg_arg[]){base, read_arg(r, name, "_size"), read_arg(r, name, "_stride"),
                                                                read_arg(r, name, "_storage_offset")}));
  return base;
}

static cg_arg views(reader *r, const char *name) { // of a list argument
  cg_arg length = read_arg(r, name, "_length");
  int64_t n;
  if (length.kind == CG_A_NONE) return length;
  if (!cg_arg_int_const(&length, &n) || n < 0 || n > r->given.n) cg_json_fail(r->node, CIERGE_BAD_MODEL, "'_%s_length' is no length", name);
  cg_arg_vec v = {0};
  for (int64_t i = 0; i < n; i++) {
    cg_arg a = view(r, cg_format(r->g->r->s, "%s_%d", name, (int)i));
    CG_PUSH(r->g->r->s, &v, a);
  }
  return cg_a_list(r->g->r->m, v.n, v.at);
}

// ---------------------------------------------------------------- Arguments

static void add_base(reader *r, cg_value *v) {
  cg_value **more = CG_NEW_ARRAY(r->g->r->s, cg_value *, (size_t)r->nbases + 1);
  if (r->nbases) memcpy(more, r->base, (size_t)r->nbases * sizeof *more);
  r->base = more;
  r->base[r->nbases++] = clone(r, v);
}

static cg_arg cloned(reader *r, cg_arg a) { // v1: the argument is the base
  if (a.kind == CG_A_VALUE) {
    add_base(r, a.value);
    return cg_a_value(r->base[r->nbases - 1]);
  }
  for (int i = 0; a.kind == CG_A_LIST && i < a.list.n; i++) a.list.at[i] = cloned(r, a.list.at[i]);
  return a;
}

static cg_arg one_arg(reader *r, const cg_schema_arg *of, bool v2) {
  const cg_json *j = cg_map_get(&r->given, of->name);
  if (of->alias_write && v2) return of->type.list ? views(r, of->name) : view(r, of->name);
  if (!j) {
    if (!of->default_text && !of->type.optional) cg_json_fail(r->node, CIERGE_BAD_MODEL, "argument '%s' is missing", of->name);
    return cg_schema_default(r->g->r->m, of);
  }
  cg_arg a = cg_pt2_schema_arg(r->g, j, of);
  return of->alias_write ? cloned(r, a) : a;
}

static const cg_schema *read_given(reader *r, bool v2) {
  cg_json inputs = cg_json_get(r->node, "inputs"), item;
  const cg_schema *c = NULL;
  cg_json *kept = CG_NEW(r->g->r->s, cg_json);
  *kept = inputs;
  for (cg_json_iter it = cg_json_items(kept); cg_json_next(&it, &item);) {
    cg_json name = cg_json_get(&item, "name"), arg = cg_json_get(&item, "arg"), *copy = CG_NEW(r->g->r->s, cg_json);
    const char *word = cg_json_text(&name);
    *copy = arg;
    copy->up = kept; // what stands between is gone when it is read
    if (!*word) {
      cg_json op = cg_json_union(&arg);
      if (c || !cg_json_is(&op, "as_operator")) cg_json_fail(&arg, CIERGE_MISSING, "the first argument is no operator");
      c = cg_pt2_schema_of(r->g, &op, NULL);
    } else if (!strcmp(word, "_all_bases") && v2) {
      cg_arg bases = cg_pt2_arg(r->g, &arg);
      for (int i = 0; i < cg_arg_list_len(&bases); i++) {
        const cg_arg *b = cg_arg_list_at(&bases, i);
        if (b->kind != CG_A_VALUE) cg_json_fail(&arg, CIERGE_BAD_MODEL, "a base is no tensor");
        add_base(r, b->value);
      }
    } else {
      cg_map_set(r->g->r->s, &r->given, word, copy);
    }
  }
  if (!c) cg_json_fail(r->node, CIERGE_BAD_MODEL, "it names no operator");
  return c;
}

// ---------------------------------------------------------------- The node

static void type_view(cg_module *m, cg_node *n, const cg_json *node) { // slices of bases have no recorded type
  if (n->nresults != 1 || n->result[0]->type.kind != CG_T_UNKNOWN || cg_node_is_op(n, "aten::clone")) return;
  const cg_type *from = &n->arg[0].value->type;
  cg_expr_pool *p = &m->exprs;
  cg_type t = *from;
  if (from->kind != CG_T_TENSOR) return;
  if (cg_node_is_op(n, "aten::slice.Tensor")) {
    int64_t dim;
    const cg_expr *a, *b;
    if (!cg_arg_int_const(&n->arg[1], &dim) || dim < 0 || dim >= t.rank || !cg_arg_int(&n->arg[2], &a) || !cg_arg_int(&n->arg[3], &b))
      cg_json_fail(node, CIERGE_BAD_MODEL, "the slice of a base is of unknown size");
    const cg_expr *end = cg_x_op(p, CG_X_MIN, 2, (const cg_expr *[]){b, t.dim[dim]}), *step = cg_x_int(p, 1);
    t.dim = CG_NEW_ARRAY(m->s, const cg_expr *, (size_t)t.rank);
    t.stride = CG_NEW_ARRAY(m->s, const cg_expr *, (size_t)t.rank);
    for (int i = t.rank - 1; i >= 0; i--) {
      t.dim[i] = i == dim ? cg_x_sub(p, end, a) : from->dim[i];
      t.stride[i] = from->stride ? from->stride[i] : step;
      step = cg_x_mul(p, step, from->dim[i]);
    }
    t.offset = cg_x_add(p, from->offset ? from->offset : cg_x_int(p, 0), cg_x_mul(p, a, t.stride[dim]));
  } else {
    int rank = cg_arg_list_len(&n->arg[1]);
    if (rank > CG_MAX_RANK || cg_arg_list_len(&n->arg[2]) != rank) cg_json_fail(node, CIERGE_BAD_MODEL, "the view of a base has no sensible geometry");
    t = cg_tensor_type(from->dtype, rank, CG_NEW_ARRAY(m->s, const cg_expr *, (size_t)rank));
    t.stride = CG_NEW_ARRAY(m->s, const cg_expr *, (size_t)rank);
    for (int i = 0; i < rank; i++)
      if (!cg_arg_int(cg_arg_list_at(&n->arg[1], i), &t.dim[i]) || !cg_arg_int(cg_arg_list_at(&n->arg[2], i), &t.stride[i]))
        cg_json_fail(node, CIERGE_BAD_MODEL, "the view of a base is of unknown size");
    if (!cg_arg_int(&n->arg[3], &t.offset)) t.offset = NULL;
  }
  n->result[0]->type = t;
}

static void define(reader *r, cg_node *n) {
  cg_pt2_result_vec out = cg_pt2_outputs(r->g, r->node);
  int own = n->nresults, skip = own ? own : 1; // an operator that returns nothing has one None
  if (out.n != skip + r->nbases) cg_json_fail(r->node, CIERGE_BAD_MODEL, "it has %d results, not %d", out.n, skip + r->nbases);
  for (int i = 0; i < own; i++) cg_pt2_define_result(r->g, r->node, &out.at[i], n->result[i]);
  for (int i = 0; i < r->nbases; i++) {
    const cg_pt2_result *o = &out.at[skip + i];
    if (o->name) cg_pt2_define(r->g, r->node, o->name, r->base[i]);
  }
}

bool cg_pt2_auto_functionalized(cg_pt2_graph *g, const cg_json *node) {
  cg_json target = cg_json_get(node, "target");
  const char *name = cg_json_text(&target);
  bool v2 = !strcmp(name, "torch.ops.higher_order.auto_functionalized_v2");
  if (!v2 && strcmp(name, "torch.ops.higher_order.auto_functionalized")) return false;
  cg_module *m = g->r->m;
  cg_node *before = g->fn->last;
  reader r = {.g = g, .node = node};
  const cg_schema *c = read_given(&r, v2);
  cg_arg_vec a = {0};
  for (int i = 0; i < c->nargs; i++) {
    cg_arg one = one_arg(&r, &c->arg[i], v2);
    CG_PUSH(m->s, &a, one);
  }
  for (int i = 0; i < c->nrets; i++)
    if (c->ret[i].type.list) cg_json_fail(node, CIERGE_MISSING, "an operator that writes to its arguments and returns a list: %s", c->text);
  cg_node *n = cg_node_new(g->fn, NULL, c, a.n, c->nrets);
  if (a.n) memcpy(n->arg, a.at, (size_t)a.n * sizeof *n->arg);
  for (cg_node *k = before ? before->next : g->fn->first; k != n; k = k->next) type_view(m, k, node);
  for (int i = 0; i < a.n; i++) {
    const char *misfit = cg_arg_misfit(m->s, &c->arg[i], &n->arg[i]);
    if (misfit) cg_json_fail(node, CIERGE_BAD_MODEL, "the argument does not fit: %s", misfit);
  }
  define(&r, n);
  cg_pt2_set_origin(g, node, n);
  for (cg_node *k = before ? before->next : g->fn->first; k != n; k = k->next)
    k->at = n->at, k->module_path = n->module_path, k->name = n->name, k->origin = n->origin;
  return true;
}
