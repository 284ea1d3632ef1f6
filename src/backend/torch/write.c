// Writes one call of a torch program from a node (program.h).
#include <string.h>

#include "backend/torch/torch.h"
#include "ops/op.h"

// c10's codes of layouts, by position.
static const char *const layouts[] = {"strided", "sparse_coo", "sparse_csr", "mkldnn", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged"};

static uint8_t layout_code(cg_session *s, const cg_arg *a) {
  const char *text = a->str.text;
  if (!strncmp(text, "torch.", 6)) text += 6;
  for (uint8_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
    if (!strcmp(layouts[i], text)) return i;
  cg_fail(s, CIERGE_BAD_MODEL, "there is no layout '%s'", a->str.text);
}

// ---------------------------------------------------------------- layouts that the result depends on

static void write_strided(cg_torch_writer *w, const cg_node *n, cg_value *v) {
  cg_str whole = w->out;
  w->out = cg_str_new(whole.s); // the register comes tagged: take its number
  w->value(w, v);
  cg_str tagged = w->out;
  w->out = whole;
  cg_write_u8(&w->out, CG_TA_STRIDED);
  cg_str_addn(&w->out, tagged.at + 1, 4);
  const cg_type *t = &v->type;
  cg_write_u32(&w->out, (uint32_t)t->rank);
  for (int i = 0; i < t->rank; i++) {
    if (t->stride) w->integer(w, t->stride[i]);
    else { // C order from an offset
      cg_expr_pool *pool = &n->fn->module->exprs;
      const cg_expr *x = cg_x_int(pool, 1);
      for (int k = t->rank - 1; k > i; k--) x = cg_x_mul(pool, x, t->dim[k]);
      w->integer(w, x);
    }
  }
  if (t->offset) w->integer(w, t->offset);
  else cg_write_u8(&w->out, CG_TA_INT), cg_write_i64(&w->out, 0);
}

// sym_storage_offset and sym_stride of memory that they define the layout symbols of: LibTorch's tensor tells.
static bool layout_asked(const cg_node *n, const cg_type *t) {
  const cg_type *r = n->nresults == 1 ? &n->result[0]->type : NULL;
  if (!r || !r->value || r->value->kind != CG_X_SYM || !r->value->symbol->unbacked) return false;
  bool asked = t->offset && cg_x_has_symbol(t->offset, r->value->symbol);
  for (int i = 0; t->stride && i < t->rank; i++) asked = asked || cg_x_has_symbol(t->stride[i], r->value->symbol);
  return asked;
}

bool cg_torch_restrides(const cg_node *n, const cg_arg *a) {
  if (a->kind != CG_A_VALUE || !n->op || !(n->op->traits & CG_OP_STRIDE_SENSITIVE)) return false;
  const cg_type *t = &a->value->type;
  return t->kind == CG_T_TENSOR && !cg_type_is_contiguous(n->fn->module, t) && !layout_asked(n, t);
}

// ---------------------------------------------------------------- arguments

static void write_arg(cg_torch_writer *w, const cg_node *n, const cg_arg *a, cg_schema_kind kind) {
  cg_str *b = &w->out;
  switch (a->kind) {
  case CG_A_NONE: cg_write_u8(b, CG_TA_NONE); break;
  case CG_A_VALUE:
    if (cg_torch_restrides(n, a)) write_strided(w, n, a->value);
    else w->value(w, a->value);
    break;
  case CG_A_INT: w->integer(w, a->i); break;
  case CG_A_FLOAT: cg_write_u8(b, CG_TA_FLOAT), cg_write_f64(b, a->f); break;
  case CG_A_BOOL: cg_write_u8(b, CG_TA_BOOL), cg_write_u8(b, a->b); break;
  case CG_A_COMPLEX: cg_write_u8(b, CG_TA_COMPLEX), cg_write_f64(b, a->complex_[0]), cg_write_f64(b, a->complex_[1]); break;
  case CG_A_STR: cg_write_u8(b, CG_TA_TEXT), cg_write_text(b, a->str.text); break;
  case CG_A_DEVICE: cg_write_u8(b, CG_TA_DEVICE), cg_write_text(b, a->str.text); break;
  case CG_A_LAYOUT: cg_write_u8(b, CG_TA_LAYOUT), cg_write_u8(b, layout_code(b->s, a)); break;
  case CG_A_DTYPE: cg_write_u8(b, CG_TA_DTYPE), cg_write_u8(b, cg_dtypes[a->dtype].c10); break;
  case CG_A_MEMORY_FORMAT: cg_write_u8(b, CG_TA_MEMORY_FORMAT), cg_write_u8(b, (uint8_t)a->memory_format); break;
  case CG_A_LIST:
    cg_write_u8(b, CG_TA_LIST);
    cg_write_u8(b, (uint8_t)kind);
    cg_write_u32(b, (uint32_t)a->list.n);
    for (int i = 0; i < a->list.n; i++) write_arg(w, n, &a->list.at[i], kind);
    break;
  case CG_A_BLOB: cg_fail_at(b->s, CIERGE_INTERNAL, n->at, "%s: a blob is no argument of an operator", n->schema->key);
  case CG_A_FN: cg_fail_at(b->s, CIERGE_INTERNAL, n->at, "%s: a sub-graph cannot be given to LibTorch", n->schema->key);
  }
}

// ---------------------------------------------------------------- mutation

// batch_norm and its kin update their running statistics when training, and their schemas do not say so.
static bool secretly_mutated(const cg_node *n, const cg_schema_arg *a) {
  static const char *const names[] = {"aten::batch_norm", "aten::native_batch_norm", "aten::_batch_norm_impl_index",
                                      "aten::cudnn_batch_norm", "aten::miopen_batch_norm", "aten::instance_norm"};
  static const char *const flags[] = {"training", "use_input_stats"};
  if (strcmp(a->name, "running_mean") && strcmp(a->name, "running_var")) return false;
  bool listed = false;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) listed = listed || !strcmp(n->schema->name, names[i]);
  for (int i = 0; i < 2; i++) {
    const cg_arg *f = cg_node_arg(n, flags[i]);
    if (f && f->kind == CG_A_BOOL && !f->b) return false;
  }
  return listed;
}

bool cg_torch_mutates(const cg_node *n, int i) {
  if (cg_node_is_torchop(n)) return cg_script_writes(n, i);
  if (i >= n->schema->nargs || n->arg[i].kind == CG_A_NONE) return false;
  const cg_schema_arg *a = &n->schema->arg[i];
  return a->alias_write || a->is_out || secretly_mutated(n, a);
}

static int write_mutated(cg_str *b, const cg_node *n, int before) {
  int count = 0, clones = 0;
  for (int i = 0; i < n->nargs; i++) count += cg_torch_mutates(n, i);
  cg_write_u32(b, (uint32_t)count);
  for (int i = 0; i < n->nargs; i++) {
    if (!cg_torch_mutates(n, i)) continue;
    cg_write_u32(b, (uint32_t)(i - before));
    clones += n->arg[i].kind == CG_A_LIST ? n->arg[i].list.n : 1;
  }
  return clones;
}

// The method's lists stay whole where the program speaks of one.
static bool opens_lists(const cg_node *n) {
  for (int i = 0; i < n->nresults; i++)
    if (n->result[i]->type.kind == CG_T_OTHER) return false;
  return true;
}

static int write_script_call(cg_torch_writer *w, const cg_node *n) {
  cg_str *b = &w->out;
  enum { FLAGS = 1 }; // arguments before the method's
  cg_write_text(b, cg_format(b->s, CG_TORCH_SCRIPT "%d", w->script(w, n)));
  cg_write_text(b, n->arg[1].str.text);
  cg_write_u32(b, (uint32_t)(n->nargs - CG_TORCHOP_INPUTS + FLAGS));
  cg_write_u8(b, CG_TA_BOOL), cg_write_u8(b, opens_lists(n));
  for (int i = CG_TORCHOP_INPUTS; i < n->nargs; i++) write_arg(w, n, &n->arg[i], CG_S_ANY);
  return write_mutated(b, n, CG_TORCHOP_INPUTS - FLAGS);
}

int cg_torch_write_call(cg_torch_writer *w, const cg_node *n) {
  cg_str *b = &w->out;
  if (cg_node_is_torchop(n)) return write_script_call(w, n);
  // Values are C order to the compiler, whatever strides they have in LibTorch: copies before a view may be gone.
  bool view = cg_node_is_op(n, "aten::view") || cg_node_is_op(n, "aten::_unsafe_view");
  cg_write_text(b, view ? "aten::reshape" : n->schema->name);
  cg_write_text(b, n->schema->overload);
  cg_write_u32(b, (uint32_t)n->nargs);
  for (int i = 0; i < n->nargs; i++) write_arg(w, n, &n->arg[i], i < n->schema->nargs ? n->schema->arg[i].type.kind : CG_S_ANY);
  return write_mutated(b, n, 0);
}

int cg_torch_own_results(const cg_node *n, int clones) {
  const cg_schema *c = n->schema;
  if (c->variadic_rets) return n->nresults > clones ? n->nresults - clones : 0;
  for (int i = 0; i < c->nrets; i++)
    if (c->ret[i].type.list) return n->nresults > clones && c->mutates ? n->nresults - clones : n->nresults;
  return c->nrets;
}
