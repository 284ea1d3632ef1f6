// How far arrays are from others that are held to be right.
#ifndef CG_ARRAYS_COMPARE_H
#define CG_ARRAYS_COMPARE_H
#include "arrays/arrays.h"

// |a - right| ÷ |right| in the Euclidean norm, for dtypes that are no floats the share of elements that differ; 0: the same, or nearly;
// infinite: another dtype or shape, or a NaN or infinity at one of the two alone.
double cg_array_distance(const cg_array *a, const cg_array *right);
#endif
