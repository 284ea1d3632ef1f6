// PyTorch's type promotion (torch.result_type, c10::promoteTypes) and broadcasting.
#include "ops/op.h"
#include "ops/rule.h"

// ---------------------------------------------------------------- dtypes

static int float_size(cg_dtype t) { return t == CG_F64 || t == CG_C128 ? 3 : t == CG_F32 || t == CG_C64 ? 2 : 1; }
static cg_dtype float_of(int size, bool complex_) {
  if (complex_) return size == 3 ? CG_C128 : size == 2 ? CG_C64 : CG_C32;
  return size == 3 ? CG_F64 : size == 2 ? CG_F32 : CG_F16;
}

static cg_dtype promote_floats(cg_dtype a, cg_dtype b) {
  bool complex_ = cg_is_complex(a) || cg_is_complex(b);
  if (cg_r_half(a) && cg_r_half(b)) return CG_F32; // f16 with bf16
  int size = float_size(a) > float_size(b) ? float_size(a) : float_size(b);
  if (complex_ && size == 1 && (a == CG_BF16 || b == CG_BF16)) size = 2;
  return float_of(size, complex_);
}

static cg_dtype promote_integers(cg_dtype a, cg_dtype b) {
  if (a == CG_BOOL) return b;
  if (b == CG_BOOL) return a;
  bool ua = a == CG_U8 || a == CG_U16 || a == CG_U32 || a == CG_U64, ub = b == CG_U8 || b == CG_U16 || b == CG_U32 || b == CG_U64;
  int sa = cg_dtypes[a].size, sb = cg_dtypes[b].size;
  if (ua == ub) return sa >= sb ? a : b;
  cg_dtype i = ua ? b : a, u = ua ? a : b; // signed, unsigned
  if (cg_dtypes[i].size > cg_dtypes[u].size) return i;
  return u == CG_U8 ? CG_I16 : CG_I64; // PyTorch refuses the larger ones
}

cg_dtype cg_promote_types(cg_dtype a, cg_dtype b) {
  if (a == b) return a;
  bool ia = cg_is_integral(a), ib = cg_is_integral(b);
  if (ia && ib) return promote_integers(a, b);
  return ia ? b : ib ? a : promote_floats(a, b);
}

static int join(int a, int b) { return a < 0 ? b : b < 0 ? a : (int)cg_promote_types((cg_dtype)a, (cg_dtype)b); }

// A category of operands over one of lower priority: its dtype decides, unless it is of a lower kind.
static int combine(int higher, int lower) {
  if (higher < 0) return lower;
  if (lower < 0 || cg_is_complex((cg_dtype)higher)) return higher;
  if (cg_is_float((cg_dtype)higher)) {
    if (!cg_is_complex((cg_dtype)lower)) return higher;
    return higher == CG_BF16 ? CG_C64 : (int)float_of(float_size((cg_dtype)higher), true);
  }
  if (higher == CG_BOOL || cg_is_float((cg_dtype)lower) || cg_is_complex((cg_dtype)lower)) return join(higher, lower);
  return higher;
}

void cg_promote_add(cg_promotion *p, const cg_arg *a) {
  switch (a->kind) {
  case CG_A_INT: p->number_state = join(p->number_state, CG_I64); return;
  case CG_A_BOOL: p->number_state = join(p->number_state, CG_BOOL); return;
  case CG_A_FLOAT: p->number_state = join(p->number_state, CG_F32); return;
  case CG_A_COMPLEX: p->number_state = join(p->number_state, CG_C64); return;
  case CG_A_VALUE: break;
  default: return;
  }
  const cg_type *t = &a->value->type;
  switch (t->kind) {
  case CG_T_INT: p->number_state = join(p->number_state, CG_I64); return;
  case CG_T_BOOL: p->number_state = join(p->number_state, CG_BOOL); return;
  case CG_T_FLOAT: p->number_state = join(p->number_state, CG_F32); return;
  case CG_T_TENSOR: {
    int *state = t->rank ? &p->dim_state : &p->zero_state;
    *state = join(*state, (int)t->dtype);
    return;
  }
  default: return;
  }
}

int cg_promote_result(const cg_promotion *p) { return combine(p->dim_state, combine(p->zero_state, p->number_state)); }

// ---------------------------------------------------------------- shapes

// The size of a dim where `a` meets `b`. NULL: they cannot be equal.
static const cg_expr *meet(const cg_expr *a, const cg_expr *b) {
  if (a == b || cg_x_is(b, 1)) return a;
  if (cg_x_is(a, 1)) return b;
  if (cg_x_is_int(a) && cg_x_is_int(b)) return NULL;
  return cg_x_is_int(b) ? b : a; // not both known: they must be equal, and the one that is fixed says more
}

const char *cg_broadcast(cg_module *m, const cg_node *n, cg_type *into, const cg_type *with) {
  int rank = into->rank > with->rank ? into->rank : with->rank;
  const cg_expr **dim = cg_r_new_dims(m, rank);
  for (int i = 0; i < rank; i++) {
    int a = i - (rank - into->rank), b = i - (rank - with->rank);
    dim[i] = a < 0 ? with->dim[b] : b < 0 ? into->dim[a] : meet(into->dim[a], with->dim[b]);
    if (!dim[i])
      return cg_r_why(m, "shapes %s and %s do not broadcast at dimension %d", cg_r_shape(m, into->rank, into->dim),
                      cg_r_shape(m, with->rank, with->dim), i);
    if (a >= 0 && b >= 0 && !cg_x_is(into->dim[a], 1) && !cg_x_is(with->dim[b], 1)) CG_RULE(cg_r_equal(m, n, into->dim[a], with->dim[b]));
  }
  into->rank = rank;
  into->dim = dim;
  return NULL;
}
