// The emitter: turns IR values into numbered plan values while backends append steps (backend/backend.h).
#include <string.h>

#include "backend/backend.h"
#include "compile/compile.h"

// Arrays of the plan grow by doubling: when the count is a power of two (or 0), the array is full.
static void *grow(cg_session *s, void *at, uint32_t n, size_t size) {
  if (n && (n & (n - 1))) return at;
  void *p = cg_alloc_array(s, n ? 2 * (size_t)n : 1, size);
  if (n) memcpy(p, at, n * size);
  return p;
}
#define APPEND(s, at, n) ((at) = grow((s), (at), (n), sizeof *(at)), &(at)[(n)++])

uint32_t cg_emit_new_plan_fn(cg_emitter *e, const char *name) {
  cg_plan_fn *f = CG_NEW(e->s, cg_plan_fn);
  f->name = name;
  *APPEND(e->s, e->plan->fn, e->plan->n_fns) = f;
  return e->plan->n_fns - 1;
}

// ---------------------------------------------------------------- values of the current function

// Open addressing from a pointer (an IR value or an expression) to a plan index.
static int *find(cg_session *s, cg_emit_map *map, const void *key) {
  if (map->n * 2 >= map->cap) {
    cg_emit_map old = *map;
    map->cap = old.cap ? 2 * old.cap : 64;
    map->key = CG_NEW_ARRAY(s, const void *, map->cap);
    map->index = CG_NEW_ARRAY(s, int, map->cap);
    map->n = 0;
    for (int i = 0; i < old.cap; i++)
      if (old.key[i]) *find(s, map, old.key[i]) = old.index[i];
  }
  size_t h = (size_t)key;
  for (size_t i = (h ^ h >> 17) * 0x9E3779B97F4A7C15u >> 20;; i++) {
    size_t k = i % (size_t)map->cap;
    if (map->key[k] == key) return &map->index[k];
    if (map->key[k]) continue;
    map->key[k] = key;
    map->index[k] = -1;
    map->n++;
    return &map->index[k];
  }
}

void cg_emit_bind(cg_emitter *e, const cg_value *v, int index) { *find(e->s, &e->scope->values, v) = index; }

static cg_plan_value *add_value(cg_emitter *e, int *index) {
  cg_plan_value *v = APPEND(e->s, e->fn->value, e->fn->n_values);
  *index = (int)e->fn->n_values - 1;
  *v = (cg_plan_value){.offset_expr = -1, .expr = -1, .name = ""};
  return v;
}

static void set_type(cg_emitter *e, int index, const cg_type *t, const char *name) {
  uint32_t *dim = NULL;
  if (t->kind == CG_T_TENSOR) {
    dim = CG_NEW_ARRAY(e->s, uint32_t, t->rank ? t->rank : 1);
    for (int i = 0; i < t->rank; i++) dim[i] = (uint32_t)cg_emit_expr(e, t->dim[i]); // may add values: look up v after
  }
  cg_plan_value *v = &e->fn->value[index];
  v->name = name ? name : "";
  switch (t->kind) {
  case CG_T_TENSOR:
    v->kind = CG_V_TENSOR, v->dtype = (uint8_t)t->dtype, v->rank = (uint32_t)t->rank, v->dim = dim;
    break;
  case CG_T_INT: v->kind = CG_V_INT, v->dtype = CG_I64; break;
  case CG_T_FLOAT: v->kind = CG_V_FLOAT, v->dtype = CG_F64; break;
  case CG_T_BOOL: v->kind = CG_V_BOOL, v->dtype = CG_BOOL; break;
  case CG_T_NONE: v->kind = CG_V_NONE; break;
  case CG_T_LATE: v->kind = CG_V_LATE; break;
  default: cg_fail(e->s, CIERGE_BAD_MODEL, "%%%s has no type that can cross a region's boundary%s%s", name, t->note ? ": " : "", t->note ? t->note : "");
  }
}

static int new_value(cg_emitter *e, const cg_type *t, const char *name, cg_plan_storage storage) {
  int i;
  add_value(e, &i);
  set_type(e, i, t, name);
  e->fn->value[i].storage = (uint8_t)(t->kind == CG_T_LATE ? CG_ST_TORCH : storage);
  return i;
}

int cg_emit_result(cg_emitter *e, cg_value *v) {
  int i = new_value(e, &v->type, v->name, CG_ST_ARENA);
  cg_emit_bind(e, v, i);
  // An unbacked symbol gets its value by this step: the symbol and the result are one value. That of a bool is `u0 == 1`.
  const cg_expr *x = v->type.value;
  if (x && v->type.kind == CG_T_BOOL && x->kind == CG_X_EQ) x = cg_x_is(x->arg[1], 1) ? x->arg[0] : cg_x_is(x->arg[0], 1) ? x->arg[1] : x;
  if (x && x->kind == CG_X_SYM && x->symbol->unbacked && (v->type.kind == CG_T_INT || v->type.kind == CG_T_BOOL)) {
    int *have = find(e->s, &e->scope->symbols, x->symbol);
    if (*have < 0) *have = i;
  }
  return i;
}

int cg_emit_temp(cg_emitter *e, cg_dtype t, int rank, const cg_expr **dim) {
  cg_type type = cg_tensor_type(t, rank, dim);
  return new_value(e, &type, "", CG_ST_ARENA);
}

static int new_alias(cg_emitter *e, const cg_type *t, const char *name, int of, const cg_expr *offset) {
  int x = offset && !cg_x_is(offset, 0) ? cg_emit_expr(e, offset) : -1;
  int i = new_value(e, t, name, CG_ST_ALIAS);
  e->fn->value[i].of = (uint32_t)of;
  e->fn->value[i].offset_expr = x;
  return i;
}

int cg_emit_alias(cg_emitter *e, cg_value *v, int of, const cg_expr *offset) {
  int i = new_alias(e, &v->type, v->name, of, offset);
  cg_emit_bind(e, v, i);
  return i;
}

int cg_emit_place(cg_emitter *e, cg_dtype t, int of, const cg_expr *offset) {
  const cg_expr *none = cg_x_int(&e->m->exprs, 0);
  cg_type type = cg_tensor_type(t, 1, &none);
  return new_alias(e, &type, "", of, offset);
}

// ---------------------------------------------------------------- constants

// Where bytes lie in the weights section; the same storage is kept once.
static uint64_t place(cg_emitter *e, const void *data, uint64_t size) {
  if (!size) return 0;
  int *newest = find(e->s, &e->placed, data);
  for (int i = *newest; i >= 0; i = e->weights.at[i].other)
    if (e->weights.at[i].size == size) return e->weights.at[i].offset;
  uint64_t at = (e->weights_size + 63) & ~(uint64_t)63;
  cg_emit_weight w = {data, size, at, *newest};
  *newest = e->weights.n;
  CG_PUSH(e->s, &e->weights, w);
  e->weights_size = at + size;
  return at;
}

static int emit_constant(cg_emitter *e, const cg_constant *c) {
  if (!c->data && c->size)
    cg_fail(e->s, CIERGE_BAD_MODEL, "the weights of @%s are not here", c->name);
  int i = new_value(e, &c->type, c->name, c->mutated ? CG_ST_STATE : CG_ST_CONST);
  cg_plan_value *v = &e->fn->value[i];
  uint64_t skip = 0, es = cg_dtypes[c->type.dtype].size;
  if (c->type.offset) skip = (uint64_t)c->type.offset->value * es;
  v->offset = place(e, c->data, c->size) + skip;
  v->size = c->size - skip;
  if (c->type.stride) {
    v->stride = CG_NEW_ARRAY(e->s, int64_t, c->type.rank ? c->type.rank : 1);
    for (int k = 0; k < c->type.rank; k++) v->stride[k] = c->type.stride[k]->value;
  }
  if (c->mutated) {
    int *slot = find(e->s, &e->states, c);
    if (*slot < 0) *slot = (int)e->plan->n_states++;
    v->index = (uint32_t)*slot;
  }
  return i;
}

int cg_emit_constant(cg_emitter *e, const char *name, cg_dtype t, int rank, const int64_t *dim, const void *data, size_t size) {
  const cg_expr **d = CG_NEW_ARRAY(e->s, const cg_expr *, rank ? rank : 1);
  for (int i = 0; i < rank; i++) d[i] = cg_x_int(&e->m->exprs, dim[i]);
  cg_type type = cg_tensor_type(t, rank, d);
  int i = new_value(e, &type, name, CG_ST_CONST);
  e->fn->value[i].offset = place(e, data, size);
  e->fn->value[i].size = size;
  return i;
}

// ---------------------------------------------------------------- values that are known without a step

int cg_emit_value(cg_emitter *e, cg_value *v) {
  int *have = find(e->s, &e->scope->values, v);
  if (*have >= 0) return *have;
  int i;
  if (v->constant) i = emit_constant(e, v->constant);
  else if (v->type.kind == CG_T_INT && v->type.value) i = cg_emit_int(e, v->type.value);
  else cg_fail(e->s, CIERGE_INTERNAL, "%%%s is used before any step made it", v->name);
  cg_emit_bind(e, v, i);
  return i;
}

// The INT value that holds a symbol. Who gives it its value (an input's size, a step, a caller) is settled at the end.
static int symbol_value(cg_emitter *e, const cg_symbol *y) {
  int *have = find(e->s, &e->scope->symbols, y);
  if (*have >= 0) return *have;
  int i;
  cg_plan_value *v = add_value(e, &i);
  v->kind = CG_V_INT, v->dtype = CG_I64, v->name = y->name;
  *find(e->s, &e->scope->symbols, y) = i;
  CG_PUSH(e->s, &e->scope->wanted, y);
  return i;
}

void cg_emit_bind_symbol(cg_emitter *e, const cg_symbol *y, int index) { *find(e->s, &e->scope->symbols, y) = index; }

int cg_emit_symbol(cg_emitter *e, const cg_symbol *y) { return symbol_value(e, y); }

typedef CG_VEC(cg_plan_expr_item) item_vec;
// Operations in all size expressions of a plan, which holds each as a list: a million, and 64 for each value.
enum { MOST_ITEMS = 1 << 20, ITEMS_A_VALUE = 64 };

typedef struct { cg_emitter *e; item_vec items; } postfix;

static void add_item(void *u, cg_expr_kind op, const cg_expr *leaf) {
  postfix *p = u;
  cg_plan_expr_item item = {op, op == CG_X_INT ? leaf->value : op == CG_X_SYM ? symbol_value(p->e, leaf->symbol) : 0};
  CG_PUSH(p->e->s, &p->items, item);
}

int cg_emit_expr(cg_emitter *e, const cg_expr *x) {
  int *have = find(e->s, &e->scope->exprs, x);
  if (*have >= 0) return *have;
  postfix made = {.e = e};
  cg_x_postfix(x, add_item, &made);
  e->n_items += (uint64_t)made.items.n;
  if (e->n_items > MOST_ITEMS + ITEMS_A_VALUE * (uint64_t)e->fn->n_values)
    cg_fail(e->s, CIERGE_BAD_MODEL, "the sizes of the program's tensors are too long as expressions: %llu operations", (unsigned long long)e->n_items);
  cg_plan_expr *p = APPEND(e->s, e->fn->expr, e->fn->n_exprs);
  p->item = made.items.at, p->n = (uint32_t)made.items.n;
  int i = (int)e->fn->n_exprs - 1;
  *find(e->s, &e->scope->exprs, x) = i;
  return i;
}

int cg_emit_int(cg_emitter *e, const cg_expr *x) {
  if (x->kind == CG_X_SYM) return symbol_value(e, x->symbol);
  int *have = find(e->s, &e->scope->ints, x);
  if (*have >= 0) return *have;
  int xi = cg_emit_expr(e, x), i;
  cg_plan_value *v = add_value(e, &i);
  v->kind = CG_V_INT, v->dtype = CG_I64, v->expr = xi;
  *find(e->s, &e->scope->ints, x) = i;
  return i;
}

// A literal argument as a plan value. Floats and bools become 0-dim constants in disguise: an expression cannot hold a double.
int cg_emit_arg(cg_emitter *e, const cg_arg *a) {
  int i;
  switch (a->kind) {
  case CG_A_VALUE: return cg_emit_value(e, a->value);
  case CG_A_INT: return cg_emit_int(e, a->i);
  case CG_A_BOOL: {
    int x = cg_emit_expr(e, cg_x_int(&e->m->exprs, a->b));
    cg_plan_value *v = add_value(e, &i);
    v->kind = CG_V_BOOL, v->dtype = CG_BOOL, v->expr = x;
    return i;
  }
  case CG_A_FLOAT: {
    double *d = CG_NEW(e->s, double);
    *d = a->f;
    uint64_t at = place(e, d, sizeof *d);
    cg_plan_value *v = add_value(e, &i);
    v->kind = CG_V_FLOAT, v->dtype = CG_F64, v->storage = CG_ST_CONST, v->offset = at, v->size = sizeof *d;
    return i;
  }
  case CG_A_NONE:
    add_value(e, &i)->kind = CG_V_NONE;
    return i;
  default: cg_fail(e->s, CIERGE_BAD_MODEL, "a value of this kind cannot be an output or cross into a sub-graph");
  }
}

// ---------------------------------------------------------------- steps, sites

cg_plan_step *cg_emit_step(cg_emitter *e, cg_plan_step_kind kind, const cg_node *n) {
  uint32_t site = n ? (uint32_t)cg_emit_site(e, n) : 0;
  cg_plan_step *s = APPEND(e->s, e->fn->step, e->fn->n_steps);
  *s = (cg_plan_step){.kind = kind, .site = site, .text = ""};
  return s;
}

int cg_emit_site(cg_emitter *e, const cg_node *n) {
  cg_plan_site x = {.op = n->schema ? n->schema->key : "call", .node = n->name ? n->name : "", .file = n->at.file ? n->at.file : "",
                    .line = n->at.line > 0 ? (uint32_t)n->at.line : 0, .module_path = n->module_path ? n->module_path : ""};
  int *have = find(e->s, &e->sites, n);
  if (*have >= 0) return *have;
  *APPEND(e->s, e->plan->site, e->plan->n_sites) = x;
  int i = (int)e->plan->n_sites - 1;
  *find(e->s, &e->sites, n) = i;
  return i;
}
