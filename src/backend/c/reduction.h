// A reduction in generated code: its accumulator.
#ifndef CG_BACKEND_C_REDUCTION_H
#define CG_BACKEND_C_REDUCTION_H
#include "backend/c/loops.h"

typedef struct {
  cg_info *x;
  const char *acc, *part; // names; part: of one block, acc where there are none
  const char *nan, *at;   // names: whether there was a NaN (maxima and minima); the place (argmax, argmin)
  const char *key, *value; // names: an element as an integer of the same order; the result
  bool is_float, wide;    // wide: the accumulator is f64 and parts are f32
  bool ordered;           // a maximum or minimum of f32 by integers of the same order (cg_order)
  bool keyed;             // argmax, argmin of 32 bits by integers of 64: an element's order above, below it how early its place is
} cg_reduction;

bool cg_finds_place(te_combine c);                       // argmax, argmin
const char *cg_reduction_initial(const cg_reduction *r); // what the accumulator starts with, as C text
const char *cg_reduction_type(const cg_reduction *r);    // C types: of the accumulator,
const char *cg_reduction_part_type(const cg_reduction *r); // and of a part
const char *cg_reduction_place_type(const cg_reduction *r); // of places in lanes: as wide as they need
bool cg_reduction_keyed(const cg_reduction *r);             // whether it may be, where there are no lanes
const char *cg_reduction_key(cg_session *s, const cg_reduction *r, const char *element, const char *place);
const char *cg_reduction_place(cg_session *s, const cg_reduction *r);
const char *cg_reduction_extreme(cg_session *s, const cg_reduction *r); // the maximum or minimum that the accumulator stands for
// Few rows: the type that a piece is stored as, and the loop over one row of the pieces in `from` that leaves the total in the accumulator.
cg_dtype cg_reduction_piece_type(const cg_reduction *r);
void cg_reduction_combine_pieces(const cg_reduction *r, const char *from, cg_str *out);
#endif
