// Operators that change the memory under a tensor, where what that means is known at compile time: x.set_(y) makes x a name
// of y; x.resize_() to no more elements makes it a view of what it was, to more moves it to larger memory.
#include <string.h>

#include "ops/op.h"
#include "pass/alias.h"

// Whether some other tensor of the function lies over a's memory.
static bool shared(const cg_fn *f, const cg_alias *a) {
  for (const cg_node *n = f->first; n; n = n->next)
    for (int i = 0; i < n->nresults; i++) {
      const cg_name *other = n->result[i]->data;
      if (other && other->is != a && other->is->storage == a->storage) return true;
    }
  return false;
}

static cg_value *typed(cg_node *n, const cg_type *like, int rank, const cg_expr **dim) {
  n->result[0]->type = cg_tensor_type(like->dtype, rank, dim);
  return n->result[0];
}

static cg_arg sizes(cg_module *m, const cg_type *t) {
  cg_arg_vec v = {0};
  for (int i = 0; i < t->rank; i++) CG_PUSH(m->s, &v, cg_a_expr(t->dim[i]));
  return cg_a_list(m, v.n, v.at);
}

static const cg_expr **one(cg_module *m, int64_t n) {
  const cg_expr **dim = CG_NEW(m->s, const cg_expr *);
  *dim = cg_x_int(&m->exprs, n);
  return dim;
}

static cg_alias *view(cg_aliasing *c, cg_alias *a, cg_node *v) { return cg_alias_view(c, a, v, 0, -1, 0, v->result[0]); }

static bool resize(cg_aliasing *c, cg_node *n, cg_name *self, const cg_type *to) {
  cg_module *m = c->m;
  const cg_type *from = &self->is->type;
  if (from->kind != CG_T_TENSOR || to->kind != CG_T_TENSOR || from->dtype != to->dtype) return false;
  if (cg_type_equal(from, to)) return true;
  if (!self->is->now->def || self->is->parent || !cg_type_is_static(from) || !cg_type_is_static(to) || !cg_type_is_contiguous(c->fn->module, from))
    return false;
  int64_t have = cg_type_numel(m, from)->value, need = cg_type_numel(m, to)->value;
  cg_arg shape = sizes(m, to), flat = cg_a_list(m, 1, (cg_arg[]){cg_a_int(m, have)});
  if (need > have && shared(c->fn, self->is)) return false;
  cg_node *x = cg_node_like(c->fn, n, n, "aten::view", 2, (cg_arg[]){n->arg[0], flat}, 1);
  typed(x, from, 1, one(m, have));
  if (need > have) { // the new elements hold whatever is there
    cg_node *more = cg_node_like(c->fn, n, n, "aten::empty.memory_format", 2, (cg_arg[]){cg_a_list(m, 1, (cg_arg[]){cg_a_int(m, need - have)}), cg_a_dtype(from->dtype)}, 1);
    typed(more, from, 1, one(m, need - have));
    cg_arg parts = cg_a_list(m, 2, (cg_arg[]){cg_a_value(x->result[0]), cg_a_value(more->result[0])});
    x = cg_node_like(c->fn, n, n, "aten::cat", 1, &parts, 1);
    self->is = cg_name_of(c, typed(x, from, 1, one(m, need)))->is;
  } else {
    self->is = view(c, self->is, x);
    x = cg_node_like(c->fn, n, n, "aten::slice.Tensor", 4, (cg_arg[]){cg_a_value(x->result[0]), cg_a_int(m, 0), cg_a_int(m, 0), cg_a_int(m, need)}, 1);
    typed(x, from, 1, one(m, need));
    self->is = view(c, self->is, x);
  }
  x = cg_node_like(c->fn, n, n, "aten::view", 2, (cg_arg[]){cg_a_value(x->result[0]), shape}, 1);
  typed(x, from, to->rank, to->dim);
  self->is = view(c, self->is, x);
  return true;
}

bool cg_change_memory(cg_aliasing *c, cg_node *n, cg_name *self, cg_name *source) {
  const char *key = n->schema->key;
  if (!strcmp(key, "aten::resize_")) { // its sizes, literal or not, are those of its result
    return n->nresults == 1 && n->arg[2].kind == CG_A_NONE && resize(c, n, self, &n->result[0]->type);
  }
  if (!strcmp(key, "aten::resize_as_")) return n->arg[2].kind == CG_A_NONE && source && resize(c, n, self, &source->is->type);
  if (strcmp(key, "aten::set_.source_Tensor") || !source || !self->is->now->def || source->is->type.dtype != self->is->type.dtype) return false;
  self->is = source->is;
  return true;
}
