// In-place operators and views become values: after this pass no value changes, and what the program did to its buffers
// and inputs is said in its functions' updates. (alias.c follows the memory, inverse.c writes back through views.)
//
// An in-place operator becomes its functional form where that means the same (add_ -> add, cast back to the tensor's own
// dtype). All others keep their node: LibTorch runs it on clones of what it writes to, and the clones are further results,
// behind the schema's own, in the order of the arguments. So do random ones, whose draws must stay PyTorch's.
#include <string.h>

#include "ir/control.h"
#include "ops/op.h"
#include "pass/alias.h"

typedef struct {
  cg_aliasing c;
  cg_fn *fn;
  cg_pipeline *p;
  cg_module *m;
} ctx;

static bool is(const cg_node *n, const char *key) { return !strcmp(n->schema->key, key); }

static bool one_of(const char *name, const char *const *names) {
  for (; *names; names++)
    if (!strcmp(*names, name)) return true;
  return false;
}

// ---------------------------------------------------------------- What a node writes to

static bool true_flag(const cg_node *n, const char *name) {
  const cg_arg *a = cg_node_arg(n, name);
  return a && (a->kind != CG_A_BOOL || a->b);
}

// Operators that update running statistics when they train, and whose schemas do not say so.
static bool updates_statistics(const cg_node *n) {
  static const char *const names[] = {"aten::batch_norm", "aten::native_batch_norm", "aten::_batch_norm_impl_index", "aten::cudnn_batch_norm",
                                      "aten::miopen_batch_norm", "aten::instance_norm", NULL};
  return one_of(n->schema->name, names) && (true_flag(n, "training") || true_flag(n, "use_input_stats"));
}

bool cg_node_writes(const cg_node *n, int i) {
  if (cg_node_is_torchop(n)) return cg_script_writes(n, i);
  if (i >= n->schema->nargs || n->arg[i].kind == CG_A_NONE) return false;
  const cg_schema_arg *a = &n->schema->arg[i];
  if (a->alias_write || a->is_out) return true;
  return (!strcmp(a->name, "running_mean") || !strcmp(a->name, "running_var")) && updates_statistics(n);
}

static bool writes(const cg_node *n) {
  for (int i = 0; n->schema && i < n->nargs; i++)
    if (cg_node_writes(n, i)) return true;
  return false;
}

// ---------------------------------------------------------------- Names and values

static bool is_tensor(const cg_value *v) { return cg_type_may_be_tensor(&v->type); }

static bool is_param(const cg_fn *f, const cg_value *v) {
  for (int i = 0; i < f->param.n; i++)
    if (f->param.at[i] == v) return true;
  return false;
}

static void refresh(ctx *x, cg_arg *a, cg_node *before) {
  if (a->kind == CG_A_VALUE && is_tensor(a->value)) a->value = cg_alias_now(&x->c, cg_name_of(&x->c, a->value)->is, before);
  if (a->kind == CG_A_LIST)
    for (int i = 0; i < a->list.n; i++) refresh(x, &a->list.at[i], before);
}

// What each written argument names, before the arguments are replaced by what they hold: one entry for each tensor.
typedef struct {
  int arg, item; // item -1: not in a list
  cg_name *name;
} target;
CG_VEC_TYPE(target_vec, target);

static void add_target(ctx *x, target_vec *v, int arg, int item, const cg_arg *a) {
  if (a->kind != CG_A_VALUE) return;
  target t = {arg, item, cg_name_of(&x->c, a->value)};
  CG_PUSH(x->m->s, v, t);
}

static target_vec targets_of(ctx *x, const cg_node *n) {
  target_vec v = {0};
  for (int i = 0; i < n->nargs; i++) {
    if (!cg_node_writes(n, i)) continue;
    if (n->arg[i].kind != CG_A_LIST) add_target(x, &v, i, -1, &n->arg[i]);
    else for (int k = 0; k < n->arg[i].list.n; k++) add_target(x, &v, i, k, &n->arg[i].list.at[k]);
  }
  return v;
}

// Results that are a written argument itself: Tensor(a!).
static void name_written_results(const cg_node *n, const target_vec *t) {
  for (int r = 0; r < n->nresults; r++) {
    int item;
    const cg_schema_arg *ret = cg_node_ret(n, r, &item);
    if (!ret || !ret->alias_write) continue;
    for (int i = 0; i < t->n; i++)
      if (n->schema->arg[t->at[i].arg].alias_set == ret->alias_set && (item < 0 || t->at[i].item == item)) n->result[r]->data = t->at[i].name;
  }
}

// Results of a node that writes nothing: views, or memory of their own.
static void name_results(ctx *x, cg_node *n, cg_alias **arg_alias) {
  for (int r = 0; r < n->nresults; r++) {
    if (!is_tensor(n->result[r]) || n->result[r]->data) continue;
    int arg, item;
    cg_sharing how = cg_node_shares(n, r, &arg, &item);
    const cg_expr *copied = how == CG_NO_ALIAS && arg_alias[r] ? cg_node_copies_if(n, cg_arg_tensor(item < 0 ? &n->arg[arg] : cg_arg_list_at(&n->arg[arg], item))) : NULL;
    if (copied) cg_alias_copied_if(&x->c, arg_alias[r], cg_name_of(&x->c, n->result[r])->is, n, copied);
    cg_alias *parent = how == CG_NO_ALIAS ? NULL : arg_alias[r];
    if (!parent) continue;
    cg_alias *a = how == CG_SAME ? cg_alias_same(&x->c, parent, n->result[r]) : cg_alias_view(&x->c, parent, n, arg, item, r, n->result[r]);
    a->uncertain = how == CG_MAYBE_ALIAS;
    cg_name_set(&x->c, n->result[r], a);
  }
}

// The tensors that n's results may be views of, taken before n's arguments are replaced: [nresults]. A result that is an argument itself
// gets its name.
static cg_alias **parents_of(ctx *x, const cg_node *n) {
  cg_alias **out = CG_NEW_ARRAY(x->m->s, cg_alias *, (size_t)n->nresults);
  for (int r = 0; r < n->nresults; r++) {
    int arg, item;
    if (!is_tensor(n->result[r])) continue;
    cg_sharing how = cg_node_shares(n, r, &arg, &item);
    if (arg < 0 || arg >= n->nargs) continue;
    const cg_arg *a = item < 0 ? &n->arg[arg] : &n->arg[arg].list.at[item];
    if (a->kind != CG_A_VALUE || (how == CG_NO_ALIAS && !cg_node_copies_if(n, a->value))) continue;
    cg_name *name = cg_name_of(&x->c, a->value);
    out[r] = name->is;
    if (how == CG_SELF) n->result[r]->data = name;
  }
  return out;
}

// What a branch or TorchScript gives may be what it was given; and its results the same tensor of a sub-graph's. The pairs that may meet,
// taken before n's arguments are replaced.
typedef struct {
  cg_alias *a, *b;
} meeting;
CG_VEC_TYPE(meeting_vec, meeting);

static meeting_vec meetings_of(ctx *x, cg_node *n) {
  meeting_vec out = {0};
  cg_map inside = {0}; // by the tensor's address: the first result that may be it
  for (int r = 0; r < n->nresults; r++) {
    if (!is_tensor(n->result[r])) continue;
    cg_value_vec over = cg_node_lies_over(n, r);
    for (int i = 0; i < over.n; i++) {
      cg_value *v = over.at[i];
      bool outer = v->constant || (v->def ? v->def->fn == x->fn : is_param(x->fn, v));
      const char *key = cg_format(x->m->s, "%p", (void *)v);
      cg_value *met = outer ? v : cg_map_get(&inside, key);
      if (met) CG_PUSH(x->m->s, &out, ((meeting){cg_name_of(&x->c, n->result[r])->is, cg_name_of(&x->c, met)->is}));
      else cg_map_set(x->m->s, &inside, key, n->result[r]);
    }
  }
  return out;
}

static void meet(ctx *x, const meeting_vec *m, const cg_node *by) {
  for (int i = 0; i < m->n; i++) cg_alias_may_meet(&x->c, m->at[i].a, m->at[i].b, by);
}

// ---------------------------------------------------------------- Functional forms

// "aten::add_.Tensor" -> "aten::add.Tensor", "aten::__iand__.Tensor" -> "aten::__and__.Tensor"; NULL: no in-place name.
static const char *functional_key(ctx *x, const cg_schema *c) {
  size_t n = strlen(c->name);
  const char *dot = *c->overload ? "." : "", *inner = strstr(c->name, "::__i");
  if (n > 2 && inner && !strcmp(c->name + n - 2, "__"))
    return cg_format(x->m->s, "%.*s::__%s%s%s", (int)(inner - c->name), c->name, inner + 5, dot, c->overload);
  if (n < 2 || c->name[n - 1] != '_' || c->name[n - 2] == '_') return NULL;
  return cg_format(x->m->s, "%.*s%s%s", (int)n - 1, c->name, dot, c->overload);
}

static const cg_schema *functional_form(ctx *x, const cg_node *n) {
  const cg_schema *c = n->schema, *f;
  const char *key = functional_key(x, c);
  if (!key) return NULL;
  f = cg_schema_find(x->m->s, &x->m->schemas, key);
  if (!f && !*c->overload) f = cg_schema_find(x->m->s, &x->m->schemas, cg_format(x->m->s, "%s.int", key)); // transpose_ -> transpose.int
  if (!f && !strcmp(c->overload, "Tensor")) // floor_divide_.Tensor -> floor_divide
    f = cg_schema_find(x->m->s, &x->m->schemas, cg_strndup(x->m->s, key, strlen(key) - strlen(".Tensor")));
  if (!f) return NULL;
  if (f->mutates || f->nrets != 1 || f->nargs != c->nargs || f->ret[0].type.kind != CG_S_TENSOR || f->ret[0].type.list) return NULL;
  for (int i = 0; i < c->nargs; i++)
    if (strcmp(f->arg[i].name, c->arg[i].name) || f->arg[i].type.kind != c->arg[i].type.kind || (i && c->arg[i].alias_write)) return NULL;
  return c->nargs && c->arg[0].alias_write ? f : NULL;
}

// The dtype that the functional form gives; -1: it cannot be told without running it.
static int functional_dtype(ctx *x, cg_node *f, const cg_type *self) {
  static const char *const predicates[] = {"aten::eq", "aten::ne", "aten::lt", "aten::le", "aten::gt", "aten::ge", "aten::less", "aten::less_equal",
                                           "aten::greater", "aten::greater_equal", "aten::not_equal", "aten::logical_and", "aten::logical_or",
                                           "aten::logical_xor", "aten::logical_not", NULL};
  cg_type *t = &f->result[0]->type;
  if (f->op && f->op->infer && !f->op->infer(x->m, f) && t->kind == CG_T_TENSOR) return t->rank == self->rank ? (int)t->dtype : -1;
  if (x->p->torch && !x->p->torch->infer(x->p->torch, x->m, f) && t->kind == CG_T_TENSOR) return t->rank == self->rank ? (int)t->dtype : -1;
  if (one_of(f->schema->name, predicates)) return CG_BOOL;
  if (!cg_is_float(self->dtype)) return -1; // integers may become wider (cumsum) or floats
  for (int i = 0; i < f->nargs; i++) { // no promotion where all is one dtype
    const cg_value *v = cg_arg_tensor(&f->arg[i]);
    if (v && v->type.dtype != self->dtype) return -1;
  }
  return (int)self->dtype;
}

static cg_value *with_type(cg_node *n, const cg_type *t) {
  n->result[0]->type = *t;
  return n->result[0];
}

static cg_value *cast(ctx *x, cg_node *n, cg_value *v, const cg_type *t) {
  return with_type(cg_node_like(x->fn, n, n, "aten::_to_copy", 2, (cg_arg[]){cg_a_value(v), cg_a_dtype(t->dtype)}, 1), t);
}

// PyTorch does not cast a result into a tensor of a lower kind: the operator stays, and raises. Source: c10::canCast.
static bool can_cast(cg_dtype from, cg_dtype to) {
  if (cg_is_complex(from)) return cg_is_complex(to);
  if (cg_is_float(from)) return !cg_is_integral(to);
  return from == CG_BOOL || to != CG_BOOL;
}

// Whether nothing may be known of v before the run: its dtype would decide over the result's.
static void find_late(cg_value *v, void *u) {
  bool nobody_says = v->type.kind == CG_T_UNKNOWN && v->def && !(v->def->op && v->def->op->infer);
  if (v->type.kind == CG_T_LATE || nobody_says) *(bool *)u = true;
}

static cg_value *call_functional(ctx *x, cg_node *n, const cg_schema *c, const cg_type *self) {
  bool late = false;
  cg_node_each_input(n, find_late, &late);
  if (late) return NULL;
  cg_node *f = cg_node_like(x->fn, n, n, c->key, n->nargs, n->arg, 1);
  int dtype = functional_dtype(x, f, self);
  if (dtype < 0 || !can_cast((cg_dtype)dtype, self->dtype)) {
    cg_node_remove(f);
    return NULL;
  }
  cg_type t = *self;
  t.dtype = (cg_dtype)dtype;
  return t.dtype == self->dtype ? with_type(f, self) : cast(x, n, with_type(f, &t), self);
}

// What self holds after self.copy_(src): src in self's dtype, shape and layout.
static cg_value *copied(ctx *x, cg_node *n, cg_value *src, const cg_type *self) {
  if (src->type.kind != CG_T_TENSOR) return NULL;
  cg_value *v = src;
  cg_type t = src->type;
  t.dtype = self->dtype;
  t.stride = NULL, t.offset = NULL;
  if (src->type.dtype != self->dtype) v = cast(x, n, v, &t);
  if (!cg_type_equal(&t, self)) {
    cg_arg_vec size = {0};
    for (int i = 0; i < self->rank; i++) CG_PUSH(x->m->s, &size, cg_a_expr(self->dim[i]));
    return with_type(cg_node_like(x->fn, n, n, "aten::expand", 2, (cg_arg[]){cg_a_value(v), cg_a_list(x->m, size.n, size.at)}, 1), self);
  }
  return with_type(cg_node_like(x->fn, n, n, "aten::clone", 1, (cg_arg[]){cg_a_value(v)}, 1), self);
}

static cg_value *functional(ctx *x, cg_node *n) {
  cg_value *self = n->nargs && cg_node_writes(n, 0) ? cg_arg_tensor(&n->arg[0]) : NULL;
  if (!self || self->type.kind != CG_T_TENSOR || cg_node_draws(n)) return NULL;
  const cg_type *t = &self->type;
  if (is(n, "aten::zero_")) return with_type(cg_node_like(x->fn, n, n, "aten::zeros_like", 1, n->arg, 1), t);
  if (is(n, "aten::fill_.Scalar")) return with_type(cg_node_like(x->fn, n, n, "aten::full_like", 2, n->arg, 1), t);
  if (is(n, "aten::copy_") || is(n, "aten::fill_.Tensor")) {
    cg_value *src = cg_arg_tensor(&n->arg[1]);
    if (src) return copied(x, n, src, t);
    if (n->arg[1].kind != CG_A_VALUE) return with_type(cg_node_like(x->fn, n, n, "aten::full_like", 2, n->arg, 1), t);
  }
  const cg_schema *f = functional_form(x, n);
  return f ? call_functional(x, n, f, t) : NULL;
}

// ---------------------------------------------------------------- Writes

// batch_norm that trains has a form that gives the new statistics.
static bool train_batch_norm(ctx *x, cg_node *n, const target_vec *t) {
  if (!is(n, "aten::batch_norm") || t->n != 2 || !true_flag(n, "training")) return false;
  cg_value *mean = cg_arg_tensor(&n->arg[3]), *var = cg_arg_tensor(&n->arg[4]);
  if (!mean || !var || mean->type.kind != CG_T_TENSOR || var->type.kind != CG_T_TENSOR || n->arg[5].kind != CG_A_BOOL) return false;
  cg_node *f = cg_node_like(x->fn, n, n, "aten::_native_batch_norm_legit_functional", 8, n->arg, 5);
  f->result[0]->type = n->result[0]->type;
  cg_type saved = mean->type;
  saved.stride = NULL, saved.offset = NULL;
  const cg_type *in = cg_arg_tensor(&n->arg[0]) ? &cg_arg_tensor(&n->arg[0])->type : &saved;
  saved.dtype = in->dtype == CG_F64 ? CG_F64 : CG_F32; // statistics are kept in what sums are accumulated in
  f->result[1]->type = f->result[2]->type = saved;
  f->result[3]->type = mean->type;
  f->result[4]->type = var->type;
  cg_alias_write(&x->c, t->at[0].name->is, f->result[3], n, n);
  cg_alias_write(&x->c, t->at[1].name->is, f->result[4], n, n);
  n->result[0]->data = cg_name_of(&x->c, f->result[0]);
  return true;
}

// as_strided speaks of the whole storage, so it is taken from there.
static void from_the_whole(ctx *x, cg_node *n, cg_alias **parent) {
  cg_alias *a = is(n, "aten::as_strided") ? *parent : NULL;
  if (!a || !a->parent || a->type.kind != CG_T_TENSOR || a->storage->whole->type.kind != CG_T_TENSOR) return;
  if (a->type.dtype != a->storage->whole->type.dtype || a->uncertain) return;
  if (n->arg[3].kind == CG_A_NONE) n->arg[3] = a->type.offset ? cg_a_expr(a->type.offset) : cg_a_int(x->m, 0);
  *parent = a->storage->whole;
  n->arg[0] = cg_a_value(cg_alias_now(&x->c, *parent, n));
}

// In-place operators that change a tensor's geometry, not its elements: x.t_() makes x name a view of what it was.
static bool in_place_view(ctx *x, cg_node *n, const target_vec *t) {
  static const char *const ones[] = {"aten::unsqueeze_", "aten::squeeze_", NULL};
  if (t->n != 1) return false;
  cg_name *name = t->at[0].name;
  if (is(n, "aten::detach_") || is(n, "aten::requires_grad_")) return true;
  const cg_schema *f = functional_form(x, n);
  if (!f || !f->is_view) return false;
  cg_alias *parent = name->is;
  cg_node *v = cg_node_like(x->fn, n, n, f->key, n->nargs, n->arg, 1);
  v->result[0]->type = n->result[0]->type;
  from_the_whole(x, v, &parent);
  name->is = cg_alias_view(&x->c, parent, v, 0, -1, 0, v->result[0]);
  name->reshaped = cg_node_text(x->m->s, n), name->at = n->at;
  name->moved |= !one_of(n->schema->name, ones);
  return true;
}

static void refuse(ctx *x, const cg_node *n) {
  static const char *const names[] = {"aten::resize_", "aten::resize_as_", "aten::set_", "aten::set_data", "aten::rename_", "aten::_resize_output_",
                                      "aten::resize_as_sparse_", "aten::swap_", NULL};
  if (one_of(n->schema->name, names))
    cg_fail_at(x->m->s, CIERGE_BAD_MODEL, n->at, "%s changes the memory under a tensor, which cierge does not do", cg_node_text(x->m->s, n));
}

// The node stays and runs on clones, which become its last results.
static void run_on_clones(ctx *x, cg_node *n, const target_vec *t) {
  int own = n->nresults;
  cg_value **result = CG_NEW_ARRAY(x->m->s, cg_value *, (size_t)(own + t->n));
  memcpy(result, n->result, (size_t)own * sizeof *result);
  for (int i = 0; i < t->n; i++) {
    cg_value *v = CG_NEW(x->m->s, cg_value);
    *v = (cg_value){.name = cg_fresh_name(x->m, ""), .type = t->at[i].name->is->type, .def = n, .index = own + i};
    result[own + i] = v;
  }
  n->result = result;
  n->nresults = own + t->n;
  cg_node *next = n->next; // what is written back comes one after the other
  for (int i = 0; i < t->n; i++) cg_alias_write(&x->c, t->at[i].name->is, result[own + i], n, next);
}

static void write_node(ctx *x, cg_node *n);

// An operator that goes along lists (_foreach_add_, _fused_sgd_) writes to one tensor after the other, and those behind see what was
// written. Whether it matters: an item that it writes to lies over the storage of another one, or of a tensor beside the lists.
static bool steps_meet(ctx *x, const cg_node *n) {
  bool meet = false;
  for (int pass = 0; pass < 3; pass++) // what is written; what else is read; forgotten
    for (int i = 0; i < n->nargs; i++) {
      const cg_arg *a = &n->arg[i];
      if (pass == 0 && !cg_node_writes(n, i)) continue;
      for (int k = 0, count = cg_arg_list_len(a); k < count; k++) {
        cg_value *v = cg_arg_tensor(cg_arg_list_at(a, k));
        cg_storage *st = v ? cg_name_of(&x->c, v)->is->storage : NULL;
        int step = a->kind == CG_A_LIST ? k + 1 : -1;
        if (!st) continue;
        meet |= st->step && pass < 2 && st->step != step;
        if (pass != 1) st->step = pass ? 0 : step;
      }
    }
  return meet;
}

// The argument for step k of `steps`.
static cg_arg arg_of_step(ctx *x, cg_node *n, int i, int k, int steps) {
  cg_arg a = n->arg[i];
  if (a.kind == CG_A_LIST) return a.list.n == steps ? cg_a_list(x->m, 1, &a.list.at[k]) : a;
  if (strcmp(n->schema->arg[i].name, "scalars") || a.kind != CG_A_VALUE) return a;
  cg_arg part[] = {a, cg_a_int(x->m, 0), cg_a_int(x->m, k), cg_a_int(x->m, k + 1), cg_a_int(x->m, 1)}; // a tensor with a number a step
  return cg_a_value(cg_node_like(x->fn, n, n, "aten::slice.Tensor", 5, part, 1)->result[0]);
}

static cg_arg copy_now(ctx *x, cg_node *n, cg_arg a) {
  cg_type t = a.value->type;
  t.stride = NULL, t.offset = NULL;
  refresh(x, &a, n);
  return cg_a_value(with_type(cg_node_like(x->fn, n, n, "aten::clone", 1, &a, 1), &t));
}

static bool step_by_step(ctx *x, cg_node *n) {
  static const char *const numbers[] = {"scalars", "lr", NULL};
  int steps = n->nargs && n->arg[0].kind == CG_A_LIST && cg_node_writes(n, 0) ? n->arg[0].list.n : 0;
  if (steps < 2 || n->nresults || !steps_meet(x, n)) return false;
  for (int i = 0; i < n->nargs; i++) { // lists that do not fit are PyTorch's to refuse; numbers are read in front
    const cg_arg *a = &n->arg[i];
    if (a->kind == CG_A_LIST && a->list.n && a->list.n != steps) return false;
    if (a->kind == CG_A_VALUE && one_of(n->schema->arg[i].name, numbers)) n->arg[i] = copy_now(x, n, n->arg[i]);
  }
  for (int k = 0; k < steps; k++) {
    cg_arg *arg = CG_NEW_ARRAY(x->m->s, cg_arg, (size_t)n->nargs);
    for (int i = 0; i < n->nargs; i++) arg[i] = arg_of_step(x, n, i, k, steps);
    write_node(x, cg_node_like(x->fn, n, n, n->schema->key, n->nargs, arg, 0));
  }
  cg_node_remove(n);
  return true;
}

// TorchScript that writes to x writes to a clone, which it gives and which is copied back (plugin/torch/import_eval.cpp): whatever else
// of its results may be that clone may be x.
static bool is_script_copy(const cg_node *n, const cg_value *from) { return is(n, "aten::copy_") && from->def && cg_node_is_torchop(from->def); }

static void write_node(ctx *x, cg_node *n) {
  if (step_by_step(x, n)) return;
  target_vec t = targets_of(x, n);
  cg_value *second = n->nargs > 1 ? cg_arg_tensor(&n->arg[1]) : NULL;
  cg_name *source = second ? cg_name_of(&x->c, second) : NULL;
  meeting_vec met = meetings_of(x, n);
  for (int i = 0; i < n->nargs; i++) refresh(x, &n->arg[i], n);
  name_written_results(n, &t);
  cg_value *v;
  if (in_place_view(x, n, &t) || (t.n == 1 && cg_change_memory(&x->c, n, t.at[0].name, source)) || train_batch_norm(x, n, &t)) {
    cg_node_remove(n);
    return;
  }
  refuse(x, n);
  if (t.n == 1 && (v = functional(x, n))) {
    cg_alias_write(&x->c, t.at[0].name->is, v, n, n);
    if (source && is_script_copy(n, second)) cg_alias_may_meet(&x->c, t.at[0].name->is, source->is, second->def);
    cg_node_remove(n);
    if (n->nresults == 1) cg_value_rename(x->m, v, n->result[0]->name);
  } else {
    run_on_clones(x, n, &t);
    meet(x, &met, n);
  }
}

// ---------------------------------------------------------------- Everything else

static void read_node(ctx *x, cg_node *n) {
  meeting_vec met = meetings_of(x, n);
  meet(x, &met, n);
  cg_alias **parent = n->schema ? parents_of(x, n) : NULL;
  for (int i = 0; i < n->nargs; i++) refresh(x, &n->arg[i], n);
  if (!parent) return;
  if (n->nresults == 1) from_the_whole(x, n, parent);
  name_results(x, n, parent);
}

static void set_update(ctx *x, cg_update u) {
  cg_fn *f = x->fn;
  if (u.target->constant) u.target->constant->mutated = true;
  for (int i = 0; i < f->update.n; i++)
    if (f->update.at[i].target == u.target && f->update.at[i].kind == u.kind) {
      f->update.at[i].value = u.value;
      return;
    }
  CG_PUSH(x->m->s, &f->update, u);
}

// The caller's tensor has another shape at the end, if it did not get dimensions of size 1 and lost them again.
static void finish_shape(ctx *x, cg_value *v, const cg_name *name) {
  if (!name->reshaped || (!name->moved && cg_type_equal(&name->is->type, &v->type))) return;
  if (v->constant) cg_fail_at(x->m->s, CIERGE_BAD_MODEL, name->at, "%s changes the shape of '%s', whose shape as state is fixed", name->reshaped, v->name);
  if (x->fn != x->m->main)
    cg_fail_at(x->m->s, CIERGE_BAD_MODEL, name->at, "%s in a sub-graph changes the shape of '%s', a value of the program around it", name->reshaped, v->name);
  set_update(x, (cg_update){CG_UPDATE_RESHAPE, v, cg_alias_now(&x->c, name->is, NULL)});
}

// What a parameter or constant holds at the end, if it was written to.
static void finish_content(ctx *x, cg_value *v, const cg_name *name) {
  cg_storage *st = name->is->storage;
  const cg_node *w = st->unclear ? st->unclear : st->written;
  if (st->doubts.n) cg_alias_now(&x->c, st->whole, NULL); // who calls sees what it holds
  if (!w || st->whole->type.kind == CG_T_UNKNOWN) return;
  if (x->fn != x->m->main)
    cg_fail_at(x->m->s, CIERGE_BAD_MODEL, w->at, "%s in a sub-graph writes to '%s', a value of the program around it", cg_node_text(x->m->s, w), v->name);
  if (v->constant && cg_sub_graphs_speak_of(x->m, v))
    cg_fail_at(x->m->s, CIERGE_BAD_MODEL, w->at, "%s may write to '%s', which a branch or loop reads by itself: write clone() for what a branch or loop gives", cg_node_text(x->m->s, w), v->name);
  set_update(x, (cg_update){v->constant ? CG_UPDATE_STATE : CG_UPDATE_INPUT, v, cg_alias_now(&x->c, st->whole, NULL)});
}

static void finish_outer(ctx *x, cg_value *v) {
  if (!v->data) return;
  finish_content(x, v, v->data);
  finish_shape(x, v, v->data);
}

static void check_shared(const cg_module *m, const cg_value *target) {
  const cg_constant *c = target->constant;
  for (int i = 0; c->data && i < m->constants.n; i++) {
    const cg_constant *d = m->constants.at[i];
    if (d != c && d->data == c->data && d->size && d->value->data)
      cg_fail(m->s, CIERGE_BAD_MODEL, "'%s' is written to and shares its memory with '%s': cierge keeps state in memory of its own", c->name, d->name);
  }
}

static void run(ctx *x) {
  cg_fn *f = x->fn;
  for (int i = 0; i < x->m->constants.n; i++) x->m->constants.at[i]->value->data = NULL;
  for (int i = 0; i < f->param.n; i++) f->param.at[i]->data = NULL;
  for (cg_node *n = f->first; n; n = n->next)
    for (int i = 0; i < n->nresults; i++) n->result[i]->data = NULL;
  for (cg_node *n = f->first, *next; n; n = next) {
    next = n->next;
    if (writes(n)) write_node(x, n);
    else read_node(x, n);
  }
  for (int i = 0; i < f->result.n; i++) refresh(x, &f->result.at[i], NULL);
  for (int i = 0; i < f->update.n; i++) {
    cg_arg a = cg_a_value(f->update.at[i].value);
    refresh(x, &a, NULL);
    f->update.at[i].value = a.value;
  }
  for (int i = 0; i < x->m->constants.n; i++) finish_outer(x, x->m->constants.at[i]->value);
  for (int i = 0; i < f->param.n; i++) finish_outer(x, f->param.at[i]);
  for (int i = 0; i < f->update.n; i++)
    if (f->update.at[i].kind == CG_UPDATE_STATE) check_shared(x->m, f->update.at[i].target);
}

static bool needed(const cg_fn *f) {
  for (const cg_node *n = f->first; n; n = n->next)
    if (n->schema && (writes(n) || is(n, "aten::as_strided"))) return true;
  return f->update.n > 0;
}

static void hand_over_state(cg_module *m) {
  bool control = false;
  for (const cg_node *n = m->main->first; n; n = n->next) control |= cg_is_control(n);
  if (!control) return;
  cg_mark_written(m);
  for (int i = 0; i < m->constants.n; i++)
    if (m->constants.at[i]->value->mark) cg_hand_over_state(m, m->constants.at[i]->value);
}

void cg_pass_functionalise(cg_pipeline *p, cg_module *m) {
  cg_inline_wrappers(m);
  cg_share_state(m);
  hand_over_state(m);
  for (int i = 0; i < m->fns.n; i++) {
    cg_fn *f = m->fns.at[i];
    if (!needed(f)) continue;
    ctx x = {.c = {p, m, f}, .fn = f, .p = p, .m = m};
    run(&x);
  }
}
