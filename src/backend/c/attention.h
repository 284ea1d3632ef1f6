// Attention that a model writes out (matmul, softmax, matmul) as one node of the region.
#ifndef CG_BACKEND_C_ATTENTION_H
#define CG_BACKEND_C_ATTENTION_H
#include "ops/te.h"

// What happens to scaled scores before the softmax, step by step: `kinds` of the node.
typedef enum {
  CG_SCORES_ADD,  // a tensor is added (of booleans: -inf where it is false)
  CG_SCORES_FILL, // where a mask holds they become a number
  CG_SCORES_KEEP, // where it does not
} cg_scores_step;
enum { CG_SCORES_STEPS = 4 };

// Replaces in f what writes attention out by cierge::attention nodes:
//   attention(Tensor query, Tensor key, Tensor value, float scale, Tensor[] masks, int[] kinds, float[] fills) -> Tensor
// Rows that are masked altogether give what the written form gives: NaN.
void cg_c_find_attention(cg_fn *f);
// heads.c: attention nodes of f read key and value heads that are repeated for grouped queries where they lie.
void cg_c_share_heads(cg_fn *f);
// A te_resolver: element idx of a view as an element of `below`.
te_expr *cg_c_at_below(te *t, cg_value *v, te_expr **idx, void *below);
cg_value *cg_c_viewed(const cg_value *v); // what v is a view of; NULL: it is none
// What v is a view of, and that, to the last of its dtype in its region.
cg_value *cg_c_behind(cg_value *v);
// Whether an attention node reads v as its keys or values, and whether a kernel that writes rows into a tensor made v.
bool cg_c_attended(const cg_value *v);
bool cg_c_rows_written(const cg_value *v);
#endif
