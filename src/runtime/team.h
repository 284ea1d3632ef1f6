// The threads of a context: what kernels share their work among.
//
// Kernels say by OpenMP's directives what may run side by side; the compiler makes functions of that, and calls that are answered
// here (the kernels' head, backend/c/compile.c, leads them to cg_team_calls). Unlike an OpenMP runtime's, a caller never waits
// for a thread that has not begun: what nobody has taken it does itself. So a processor that is busy with something else costs what it
// would have computed, and nothing more; and a child after fork() works, alone.
#ifndef CG_RUNTIME_TEAM_H
#define CG_RUNTIME_TEAM_H

typedef struct cg_team cg_team;

// Starts no thread yet; NULL: no memory. `openmp`: where the process has an OpenMP runtime whose threads work too (LibTorch's), they
// do all of it: two teams would fight over the processors.
cg_team *cg_team_new(int threads, int openmp);
void cg_team_free(cg_team *t); // NULL is fine; no call may be under way
// Kernels that this thread calls from now on use t (NULL: none). Gives what they used before.
cg_team *cg_team_use(cg_team *t);

#define CG_TEAM_SYMBOL "cg_team_v1" // of kernels: a pointer to what they call, set when they are loaded
typedef struct {
  // work(data) once for each of `threads` numbers, side by side where there are threads for it; back when all are done.
  void (*run)(void (*work)(void *data), void *data, unsigned threads);
  int (*number)(void); // inside work: which one this is,
  int (*count)(void);  // and of how many
} cg_team_calls_v1;
extern const cg_team_calls_v1 cg_team_calls;
#endif
