// Growable arrays in a session's arena: CG_VEC(T) v = {0}; CG_PUSH(s, &v, x); v.at[i], v.n.
#ifndef CG_BASE_VEC_H
#define CG_BASE_VEC_H
#include "base/session.h"

#define CG_VEC(T)  \
  struct {         \
    T *at;         \
    int n, cap;    \
  }
// Declares a named vector type, for use in headers.
#define CG_VEC_TYPE(NAME, T) typedef CG_VEC(T) NAME

void *cg_vec_grow(cg_session *s, void *at, int n, int *cap, size_t size);
#define CG_PUSH(s, v, x)                                                                             \
  ((v)->n == (v)->cap ? (void)((v)->at = cg_vec_grow((s), (v)->at, (v)->n, &(v)->cap, sizeof *(v)->at)) : (void)0, \
   (void)((v)->at[(v)->n++] = (x)))
#endif
