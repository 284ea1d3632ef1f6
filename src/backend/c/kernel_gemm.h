// The register tile: every matrix product, convolution and attention kernel is made of it.
#ifndef CG_BACKEND_C_KERNEL_GEMM_H
#define CG_BACKEND_C_KERNEL_GEMM_H
#include "backend/c/units.h"

// C[rows][nr] (+)= A[rows][k] * B[k][nr], with all of C in registers. A is row-major with any row stride; B is a panel whose
// rows lie ldb apart (packed: nr, or nr/2 where at most nr/2 columns are left).
typedef struct {
  cg_dtype dtype;    // computed in: f32 (also for f16, bf16), f64, or an integer type
  cg_dtype kept;     // what panels that are packed at compile time are kept in: dtype, or half precision
  const char *ctype; // "float"
  const char *name;  // "f32": the functions are tile_f32, block_f32, copy_f32 …
  int lanes;         // of a vector; 1: plain loops
  int mr, nr;        // rows and columns of a tile
  int step;          // what the width of a packed panel is a multiple of: the last panel may be narrower than nr
  int mc, kc;        // most rows and depth that are done at a time, for the caches
} cg_tile;

// How vectors of a tile are spelt, as intrinsics.
typedef struct {
  const char *type, *set, *load, *store, *zero, *add, *mul, *max, *fma; // fma NULL: multiply, then add
} cg_vector;
const cg_vector *cg_tile_vector(const cg_tile *t); // of a tile with more than one lane
void cg_vector_fma(cg_str *o, const cg_vector *v, const char *name); // the function `name`(a, b, c) = a * b + c

// Writes the functions for elements stored as `stored` into the object, once:
//   block_T(rows, narrow, k, a, lda, b, ldb, c, ldc, add)   any number of rows, by tiles of at most mr
//   copy_S(rows, cols, src, row_stride, col_stride, dst, ld) dst[rows][ld] := src as T, columns from `cols` to ld zeroed
//   place_S(rows, cols, src, row_stride, col_stride, dst, width, ld) the same up to column `width` of rows that lie ld apart
//   dot_T(k, a, b)
cg_tile cg_tile_get(cg_kernel *k, cg_dtype stored);
// The tile for weights that are `weights` in the model: half precision stays so where the target makes it wide fast.
cg_tile cg_tile_keep(const cg_tile *t, cg_dtype weights);
// Products with packed weights that come from memory: panels as wide as registers allow, and what follows is fetched meanwhile.
// The tile with its panels, for packing and for the loops around it:
cg_tile cg_tile_wide(cg_kernel *k, const cg_tile *t, int64_t cols);
// The function for one panel of a product of `cols` columns, where `width` is the panel's columns and NR the tile's:
//   call(rows, k, a, lda, b, c, ldc, add): c[rows][width] (+)= a[rows][k] * b
//   call(rows, runs, n, at, ld, from, b, c, ldc, add): `at`: the depth in `runs` pieces of n; row r of piece i is at at[i * ld + r] + from
typedef struct { const char *call, *packed; } cg_stream; // C expressions: the function, and the width of the panel as packed
cg_stream cg_tile_stream(cg_kernel *k, const cg_tile *t, int64_t cols, bool at);
// What is `whole` for a panel as wide as the tile's and `rest` for the narrower last one, as a C expression; NULL: there is none of these.
const char *cg_tile_by_width(cg_session *s, const char *whole, const char *rest);
const char *cg_tile_copy(cg_kernel *k, cg_dtype stored); // name of that copy function
const char *cg_tile_place(cg_kernel *k, cg_dtype stored);
bool cg_tile_takes(cg_dtype stored);                     // whether there is a tile for it
// Vector functions for softmax rows: row_max_T(x, n), row_exp_T(x, n, max) -> sum; n a multiple of the vector's lanes.
void cg_tile_softmax(cg_kernel *k, const cg_tile *t);

// Elements of B[depth][n] as packed panels [n/nr][depth][nr]; the last is nr/2 wide where that is enough.
int64_t cg_tile_packed(const cg_tile *t, int64_t depth, int64_t n);
// Packs at compile time, into elements of t->kept: element (i, j) of B is src[i*stride_k + j*stride_n], stored as `from`.
void cg_tile_pack(const cg_tile *t, cg_dtype from, const void *src, int64_t stride_k, int64_t stride_n, int64_t depth, int64_t n, void *dst);
// One element of a constant as t->kept.
void cg_tile_convert(const cg_tile *t, cg_dtype from, const void *src, void *dst);
#endif
