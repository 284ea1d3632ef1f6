// Products whose constant weights are kept in fewer bits, as --precision says, other than those that are kept in 16 bits by their tile.
#ifndef CG_BACKEND_C_KERNEL_LOW_H
#define CG_BACKEND_C_KERNEL_LOW_H
#include "backend/c/kernel_gemm.h"

typedef enum { CG_LOW_NONE, CG_LOW_DOT, CG_LOW_INT8, CG_LOW_INT4 } cg_low_format;

typedef struct {
  cg_low_format format;         // NONE: as the tile keeps them; DOT: bf16, AVX512-BF16 multiplies pairs
  int64_t group;                // rows of B that are done at a time, and share a scale
  int64_t unit;                 // rows of B that lie together in memory, column by column
  const char *weights, *scales, *sums; // C names: [panels][depth / unit][width][unit]; [panels][groups][width]; a column's sum times 128
  const char *rows, *row_scales; // int8-dynamic, bf16: A in as many bits [rows][depth / unit][unit]; int8-dynamic: a scale for each row
} cg_low;

const char *cg_low_name(const cg_low *l, const cg_tile *t); // for notes: "f32", "bf16", "int8-dynamic" …
// How the weights of a product of so many rows and that depth, with results of type `out`, are kept; by the tile if in 16 bits or more.
cg_low cg_low_choose(cg_kernel *k, cg_tile *t, cg_dtype out, const cg_expr *rows, int64_t depth);
// `panels`: B as cg_tile_pack leaves it.
void cg_low_pack(cg_kernel *k, cg_low *l, const cg_tile *t, const char *name, int64_t depth, int64_t cols, const float *panels);
// What precedes the product: A's rows in fewer bits. Row r of A is at a + r * row.
void cg_low_prepare(cg_kernel *k, cg_low *l, const cg_expr *rows, const cg_expr *depth, const char *a, const char *row, cg_str *o);
// The product of the rows m0 … m0 + height - 1 with a panel of `width` columns from n0 on, into c[height][NR]. Row m0 of A is at `a`.
void cg_low_block(cg_kernel *k, const cg_low *l, const cg_tile *t, int64_t depth, int64_t cols, const char *row, cg_str *o);
#endif
