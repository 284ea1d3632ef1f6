// The cost model: how long a node, a region and a crossing tensor take, estimated from shapes and fitted numbers.
//
// An estimate is a sum of products: per node, per byte that moves, per unit of work, by kind of operator. What a product or a
// convolution reads of weights that no cache holds takes no less than memory takes to give it, however few rows meet them. The
// numbers are in cost_numbers.def, fitted to measurements by bench/fit_costs.py; nothing is measured while compiling, so that the same
// program gives the same choice. Symbolic sizes count at their hint, else at 64 where their range allows it.
#ifndef CG_PASS_COST_H
#define CG_PASS_COST_H
#include "pass/pass.h"

// Kinds of operators that cost alike, told apart by traits and by the schema's argument names.
typedef enum {
  CG_COST_VIEW,      // places change, data stays
  CG_COST_TURN,      // a view in another order: LibTorch's next operator pays for it, a kernel where it leaves (restride)
  CG_COST_POINTWISE, // arithmetic on elements
  CG_COST_FUNCTION,  // pointwise with exp, erf, … in it, which native code has for vectors
  CG_COST_LIBM,      // pointwise with sin, atan, … in it, which it has one by one
  CG_COST_REDUCTION, // work: elements read
  CG_COST_PRODUCT,   // work: multiply-adds
  CG_COST_CONV,      // work: multiply-adds
  CG_COST_ATTENTION, // work: multiply-adds
  CG_COST_LINALG,    // LibTorch's alone; work: elements times the last size
  CG_COST_OTHER,     // gathers, joins, scans, sorts, and all that only LibTorch has
  CG_COST_KINDS
} cg_cost_kind;

// A backend's numbers, ns each (struct cg_backend points to them).
typedef struct cg_cost {
  double region;   // to enter and leave a region
  double tensor;   // for each tensor that goes in or comes out
  double byte;     // for each byte of those: what a fused kernel reads and stores
  double restride; // for each byte of a turned view that leaves: it is put in order
  double stream;   // for each byte of weights that comes from memory in each call
  struct { double node, byte, work; } kind[CG_COST_KINDS]; // work: elements of the result, unless the kind says otherwise
} cg_cost;

extern const cg_cost cg_cost_native, cg_cost_torch;

cg_cost_kind cg_cost_kind_of(const cg_node *n);
int64_t cg_cost_typical(const cg_symbol *y); // its hint, or a size that its range allows
double cg_cost_bytes(const cg_module *m, const cg_type *t); // 0 for what is no tensor
// What n takes on b; 0 for a backend without numbers.
double cg_cost_node_ns(const cg_node *n, const cg_backend *b);
// v goes into (or, `out`, comes out of) a region of b. Constants are there already: 0.
double cg_cost_crossing_ns(const cg_module *m, const cg_value *v, const cg_backend *b, bool out);
#endif
