// The loops of a group: which there are, and what is computed in them (loops.c, passes.c).
#ifndef CG_BACKEND_C_LOOPS_H
#define CG_BACKEND_C_LOOPS_H
#include "backend/c/kernel_internal.h"

typedef struct {
  te_expr *var;
  const cg_expr *extent;
  const char *name;
  bool reduced;
} cg_loop;

// Something that is known in a later pass under a name: a row of scratch, a result read back, a reduction of lanes.
typedef struct {
  te_expr *e;
  const char *name;
} cg_kept;

// outer loops (flattened into one, shared among threads) { pass 0: inner loops; pass 1: inner loops; … }
// With lanes, the last outer loop runs innermost in blocks, and reductions keep one accumulator for each lane of the block.
typedef struct cg_loops {
  cg_sched *c;
  cg_group *g;
  cg_kernel *k;
  cg_printer p;
  CG_VEC(cg_loop) outer, inner;
  cg_loop lane;               // lanes: the loop that runs innermost
  bool lanes;
  bool direct;                // no outer loop: the (one) inner loop itself is shared among threads
  bool chunked;               // the inner loop is shared too, in pieces
  bool tiled;                 // a piece after the other for all rows: what lies along the rows in memory is read while it is near
  bool split;                 // few rows: reductions are done in pieces, then put together
  int deepest;                // printer depth of the innermost loop
  int levels;                 // passes
  CG_VEC(cg_kept) kept;
  cg_str out;                 // body of the outer loop
  bool threads_scratch;       // uses scratch memory by thread
  double cost;                // of one point
} cg_loops;

// Where a loop is cut: at numbers, or at places beside one that outer loops know (`from`). Of the comparisons with that one each piece
// says how they come out, under their names.
enum { CG_MOST_CUTS = 3, CG_MOST_COMPARED = 4 };
typedef struct {
  te_expr *e;
  const char *name;
  int64_t first, end; // it holds from `first` to before `end`
} cg_compared;
typedef struct {
  int n; // more than CG_MOST_CUTS: too many
  int64_t at[CG_MOST_CUTS + 1]; // in order
  te_expr *from; // NULL: 0
  int ncompared;
  cg_compared compared[CG_MOST_COMPARED];
} cg_cuts;

enum { CG_LANES = 64, CG_CHUNK = 4096, CG_TILE = 32, CG_SUM_BLOCK = 512, CG_SPLIT = 8192 };
enum { CG_LONGEST_GATHERED = 1024 }; // elements of a row that becomes floats before a loop reads it here and there
enum { CG_UNROLLED = 16, CG_STACK_ROW = 4096 }; // places that are written out, elements of an array on the stack, at most

void cg_c_make_loops(cg_loops *l);   // from the group's dims: merged where memory allows
void cg_c_passes(cg_loops *l);       // fills l->out
const char *cg_c_deeper(cg_session *s, const char *text); // indented by one more
// keep.c: what is kept from the pass that computed it first.
typedef struct {
  te_expr *e;
  int pass;
} cg_keep;
typedef CG_VEC(cg_keep) cg_keeps;
cg_keeps cg_c_keep(cg_loops *l);
// places.c: whether each place of the innermost loop is written out: where they are too few for vectors, or few and computed with.
bool cg_c_unrolls(cg_loops *l, int level);
bool cg_c_calls(cg_loops *l, int level);    // whether they are computed by functions of the prelude
bool cg_c_one_by_one(cg_loops *l, int level, const te_expr *var); // whether it is no loop of vectors: f16 is read where none lies
void cg_c_columns(cg_loops *l); // what every row of the loops would compute again becomes a table, before them
// Adds where comparisons in e cut the loop (cuts.c).
void cg_c_cuts(cg_loops *l, const te_expr *e, const cg_loop *loop, cg_cuts *c);
void cg_c_cuts_by_row(cg_loops *l, const te_expr *e, const cg_loop *loop, cg_cuts *c); // where they compare it with what outer loops know
cg_info *cg_c_full_result(const cg_loops *l, const te_expr *e); // the stored result that e is the value of; NULL: none
// interleave.c: how many places of a loop are best computed at a time, by the text of its body and the width of vectors; 1: one by one.
int cg_c_interleave_copies(cg_session *s, const char *body, int vector_bytes);
int cg_c_lines(const char *body);
bool cg_c_plain_statements(const char *body); // whether it is none but such as copies can be made of
// A name's copies, x_0, x_1, …, which `own` has from now on.
const char *const *cg_c_copies(cg_kernel *k, cg_map *own, const char *name, int copies);
void cg_c_copy_defined(cg_kernel *k, const char *body, int copies, cg_map *own); // names for copies of what the body defines
const char *cg_c_renamed(cg_session *s, const char *body, int copy, const cg_map *own); // one of the copies
// The body for that many, statement by statement: each copy has its own of what is in `own`, and of what the body defines.
const char *cg_c_interleave(cg_kernel *k, const char *body, int copies, cg_map *own);
#endif
