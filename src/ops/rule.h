// What type rules, lowerings and decompositions share: reading arguments, sizes and shapes. Inside ops/ only.
#ifndef CG_OPS_RULE_H
#define CG_OPS_RULE_H
#include "ops/op.h"

// A rule's early return: the arguments do not fit, or (cg_r_unknown) cannot be told from here.
#define CG_RULE(call)             \
  do {                            \
    const char *why_ = (call);    \
    if (why_) return why_;        \
  } while (0)

// ---------------------------------------------------------------- sizes

static inline const cg_expr *cg_xi(cg_module *m, int64_t v) { return cg_x_int(&m->exprs, v); }
static inline const cg_expr *cg_xadd(cg_module *m, const cg_expr *a, const cg_expr *b) { return cg_x_add(&m->exprs, a, b); }
static inline const cg_expr *cg_xsub(cg_module *m, const cg_expr *a, const cg_expr *b) { return cg_x_sub(&m->exprs, a, b); }
static inline const cg_expr *cg_xmul(cg_module *m, const cg_expr *a, const cg_expr *b) { return cg_x_mul(&m->exprs, a, b); }
static inline const cg_expr *cg_xdiv(cg_module *m, const cg_expr *a, const cg_expr *b) { return cg_x_floordiv(&m->exprs, a, b); }
const cg_expr *cg_xmin(cg_module *m, const cg_expr *a, const cg_expr *b);
const cg_expr *cg_xmax(cg_module *m, const cg_expr *a, const cg_expr *b);
bool cg_x_at_least(cg_module *m, const cg_expr *a, const cg_expr *b); // a >= b, provably
const cg_expr *cg_x_product(cg_module *m, int n, const cg_expr *const *dim);

// ---------------------------------------------------------------- arguments

cg_value *cg_r_tensor(const cg_node *n, const char *name);      // NULL: absent, None, no tensor
const cg_type *cg_r_type(const cg_node *n, const char *name);   // its type
static inline cg_value *cg_self(const cg_node *n) { return cg_arg_tensor(&n->arg[0]); } // the first argument; NULL: no tensor
const char *cg_r_self(const cg_node *n, const cg_type **x);     // the type of the first argument, or why there is none
bool cg_r_bool(const cg_node *n, const char *name, bool otherwise);
bool cg_r_is_none(const cg_node *n, const char *name);          // absent or None
const char *cg_r_text(const cg_node *n, const char *name);      // "" where there is none
cg_dtype cg_r_dtype(const cg_node *n, cg_dtype otherwise);      // argument `dtype`
bool cg_r_int(const cg_node *n, const char *name, const cg_expr **out);
int64_t cg_r_int_or(const cg_node *n, const char *name, int64_t otherwise);
double cg_r_double_or(const cg_node *n, const char *name, double otherwise);
// Items of a list of sizes; one number stands for all `n` of them, an empty list for `otherwise`.
// NULL: done; else the reason ("… is not a known size").
const char *cg_r_sizes(cg_module *m, const cg_node *n, const char *name, int count, const cg_expr **out);
const char *cg_r_ints(cg_module *m, const cg_node *n, const char *name, int count, int64_t otherwise, int64_t *out);
// One dim, wrapped into 0 … rank-1 (a 0-dim tensor has dim 0 too).
const char *cg_r_dim(cg_module *m, const cg_arg *a, int rank, int *out);
const char *cg_r_dim_of(cg_module *m, const cg_node *n, const char *name, int rank, int *out);
// A list of dims as flags [rank]; an absent or empty one gives `all`.
const char *cg_r_dims_of(cg_module *m, const cg_node *n, const char *name, int rank, bool all, bool *out);
// Tensors of a list argument, in order; items that are none are NULL.
int cg_r_tensors(cg_module *m, const cg_node *n, const char *name, cg_value ***out);

// What every native form of attention needs of a node; NULL, or why it cannot be native.
typedef struct {
  cg_value *query, *key, *value, *mask; // mask: NULL where there is none
  bool causal;
} cg_attention;
const char *cg_r_attention(const cg_node *n, cg_attention *a);
bool cg_r_heads_shared(const cg_node *n); // several heads of the query may share one of key and value

const char *cg_r_pad_mode(const cg_node *n); // of any padding: "constant", "reflect", "replicate", "circular"

// ---------------------------------------------------------------- conditions

// What an operator needs of sizes, `a` compared with `b` (EQ, NE, LE or LT): NULL where it holds or only the run can tell, which then
// asserts it before n; else the reason why it never holds. what: "equal sizes", say.
const char *cg_r_require(cg_module *m, const cg_node *n, cg_expr_kind is, const cg_expr *a, const cg_expr *b, const char *what);
const char *cg_r_equal(cg_module *m, const cg_node *n, const cg_expr *a, const cg_expr *b); // sizes that must be equal
// x must broadcast to these sizes.
const char *cg_r_stretches(cg_module *m, const cg_node *n, const cg_type *x, int rank, const cg_expr *const *dim);
const char *cg_r_not_empty(cg_module *m, const cg_node *n, const cg_expr *size);            // a size that must not be 0
const char *cg_r_divides(cg_module *m, const cg_node *n, const cg_expr *size, int64_t by);  // a size that must be a multiple

// ---------------------------------------------------------------- results

const cg_expr **cg_r_new_dims(cg_module *m, int rank);
const cg_expr **cg_r_copy_dims(cg_module *m, const cg_type *t);
void cg_r_set(cg_node *n, int k, cg_dtype dtype, int rank, const cg_expr **dim);
void cg_r_set_like(cg_node *n, int k, const cg_type *t, cg_dtype dtype);
const char *cg_r_why(cg_module *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// "(2, 3)" for messages
const char *cg_r_shape(cg_module *m, int rank, const cg_expr *const *dim);
// Default dtype for what floating operators make of integers.
static inline cg_dtype cg_r_float(cg_dtype t) { return cg_is_integral(t) ? CG_F32 : t; }
// The complex dtype of a real one's width, and the real one of a complex one's.
static inline cg_dtype cg_r_complex(cg_dtype t) { return t == CG_F64 || t == CG_C128 ? CG_C128 : t == CG_F16 || t == CG_C32 ? CG_C32 : CG_C64; }
static inline cg_dtype cg_r_real(cg_dtype t) { return t == CG_C128 ? CG_F64 : t == CG_C64 ? CG_F32 : t == CG_C32 ? CG_F16 : t; }
// What sums accumulate in, and composites compute in.
static inline cg_dtype cg_r_wide(cg_dtype t) { return t == CG_F16 || t == CG_BF16 ? CG_F32 : t; }
static inline bool cg_r_half(cg_dtype t) { return t == CG_F16 || t == CG_BF16; }
static inline bool cg_r_plain_float(cg_dtype t) { return t == CG_F32 || t == CG_F64 || cg_r_half(t); }

// ---------------------------------------------------------------- lowering

// What a lowering returns for a MAP of this element.
static inline const char *te_map(te_compute *out, te_expr *(*element)(te *, const cg_node *, int, te_expr **)) {
  out->kind = TE_MAP;
  out->element = element;
  return NULL;
}
// Element of a pointwise node by one C expression over its arguments' names, computed in `computed`.
te_expr *cg_lower_text(te *t, const cg_node *n, te_expr **idx, cg_dtype computed, const char *text);
static inline te_expr *te_add(te *t, te_expr *a, te_expr *b) { return te_op(t, TE_ADD, a, b); }
static inline te_expr *te_sub(te *t, te_expr *a, te_expr *b) { return te_op(t, TE_SUB, a, b); }
static inline te_expr *te_mul(te *t, te_expr *a, te_expr *b) { return te_op(t, TE_MUL, a, b); }

// ---------------------------------------------------------------- decomposing

// Makes the nodes that replace `of`. If one of them cannot be made, all that was made goes again.
typedef struct {
  cg_module *m;
  cg_node *of, *mark; // mark: what was before `of`
  bool failed;
} cg_rewrite;

cg_rewrite cg_rewrite_begin(cg_module *m, cg_node *n);
// A node with one result (or the k-th of several), its type inferred. Arguments are `cg_arg`s.
cg_value *cg_make(cg_rewrite *r, const char *key, int nargs, ...);
cg_node *cg_make_node(cg_rewrite *r, const char *key, int nresults, int nargs, const cg_arg *arg);
cg_value *cg_make_cast(cg_rewrite *r, cg_value *v, cg_dtype t);    // v itself where it is of that dtype
cg_value *cg_make_reshape(cg_rewrite *r, cg_value *v, int rank, const cg_expr *const *dim);
cg_arg cg_make_ints(cg_rewrite *r, int n, const int *v);           // a list argument
cg_arg cg_make_sizes(cg_rewrite *r, int n, const cg_expr *const *v);
// Ends: result k of `of` becomes v[k] (NULL: it has no uses). Removes `of`. false: nothing was changed.
bool cg_rewrite_end(cg_rewrite *r, int nresults, cg_value *const *v);
static inline bool cg_rewrite_by(cg_rewrite *r, cg_value *v) { return cg_rewrite_end(r, 1, &v); }
bool cg_result_used(const cg_node *n, int k); // by those behind n, as far as they are counted in value->mark

static inline cg_arg cg_av(cg_value *v) { return v ? cg_a_value(v) : cg_a_none(); }
// What a window makes of a dimension (ceil_mode aside); pad2: both sides'.
const cg_expr *cg_r_conv_size(cg_module *m, const cg_expr *in, const cg_expr *kernel, int64_t stride, const cg_expr *pad2, int64_t dilation);
// Pooling and windows as columns: the window along each spatial dimension (first … first + spatial - 1). NULL, or why it does not read.
typedef struct { int spatial, first; int64_t k[3], s[3], p[3], d[3]; } cg_window;
const char *cg_r_window(cg_module *m, const cg_node *n, cg_window *w);
// Resizing: the scale that the node gives for spatial dimension i of `spatial`, in either of its spellings; 0: none.
double cg_r_scale(const cg_node *n, int i, int spatial);
#endif
