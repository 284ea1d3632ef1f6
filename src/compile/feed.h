// Between arrays in files and a context: which array is which input, and outputs back to arrays.
#ifndef CG_COMPILE_FEED_H
#define CG_COMPILE_FEED_H
#include "arrays/arrays.h"

typedef struct cg_feed cg_feed;
// Matches arrays with the program's inputs: all named input_i (or arr_i, as NumPy does), or all by the program's own names. Throws BAD_INPUT for a
// missing, extra or double array, and for a constant that differs from the recorded one.
cg_feed *cg_feed_new(cg_session *s, const cierge_program *p, const char *file, const cg_array_vec *arrays);
cg_feed *cg_feed_or_zeros(cg_session *s, const cierge_program *p, const char *file); // file NULL: zeros, symbolic sizes are 2
const char *cg_feed_text(const cg_feed *f); // "x f32[2, 3], y i64[]"
void cg_feed_set(cg_feed *f, cierge_context *c); // fresh copies of what the program writes to
// Appends copies of output_i and mutated_NAME of the last call, names prefixed.
void cg_feed_collect(cg_feed *f, cierge_context *c, const char *prefix, cg_array_vec *out);
#endif
