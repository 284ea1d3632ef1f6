// The scheduler of the C backend: what is stored, and which nodes share a kernel.
//
//   infos    what is known of each value: how it is computed, who reads it
//   roots    values that are worth having (results, reductions, expensive values with several readers);
//            everything else is inlined where it is read
//   groups   roots that are computed in one kernel: one iteration space (dims), some of its dims reduced
//   states   memory of the caller's or the context's that is written where it lies
#ifndef CG_BACKEND_C_SCHEDULE_H
#define CG_BACKEND_C_SCHEDULE_H
#include "backend/c/kernel.h"
#include "ops/te_builder.h"

typedef struct cg_group cg_group;
typedef struct cg_info cg_info;
typedef struct cg_state cg_state;

// How a root lies in its group's iteration space.
typedef enum {
  CG_MEMBER_FULL,   // one element for each point
  CG_MEMBER_ROW,    // one element for each point of the dims that are not reduced
  CG_MEMBER_REDUCE, // a reduction over the reduced dims
  CG_MEMBER_ANCHOR, // what a template computes
} cg_member_kind;

struct cg_info {
  cg_value *value;
  int index;                // in the scheduler's list
  te_compute *compute;
  int k;                    // which result of the node
  int uses;                 // how many nodes read it, results count as one
  bool is_result;           // of the region
  bool view;                // its elements are those of another value, at other places
  bool channels_last;       // dimension 1 is the innermost in memory (layout.c)
  bool root, stored;        // stored: it needs memory
  const cg_value *alias_of; // the same memory as this stored value, from element `alias_offset`
  const cg_expr *alias_offset;
  int plan;                 // plan value, -1: none yet
  // Concatenations (assemble.c)
  cg_info *whole;           // it lies in this one's memory, NULL: in its own
  const cg_expr **stride, *start; // there, in elements
  cg_info **part;           // whose kernels compute it; NULL: its own does
  int nparts;
  // State that is written where it lies (state.c)
  cg_state *state;          // it lies there, NULL: in no state
  int version;              // what the state is after that many writes
  bool writes;              // its kernel makes it of version - 1
  bool rereads;             // and reads, of the state, the very elements that it writes
  // Roots
  cg_group *group;
  cg_member_kind member;
  te_expr **idx;            // [rank] where in the group's loops its element is
  te_expr **ridx;           // reductions: [nreduce]
  te_expr *element;         // reductions: what is reduced
  te_expr *final;           // its value (reductions: of the accumulator)
  int level;                // after how many passes over the inner loops its value is known
  int work;                 // what computing one element costs, with all that is inlined (cg_c_cost)
  int tangled;              // divisions in the places that it reads, with all that is inlined
  // Reductions: the iteration space
  int rank;
  const cg_expr **dim;      // [rank], none of them 1
  bool *reduced;            // [rank]
  int *at, *rat;            // place of each result dim, each reduced extent, in it (-1: size 1)
  int channel, channel_to;  // as in the group that it begins
};

// A write: `made` is the state after it. `piece` is what is written, at strides from `start` on, in elements; NULL: `made` itself, all
// of it, or by a template that begins with what is there.
typedef struct {
  cg_value *made, *piece;
  const cg_expr **stride, *start;
} cg_state_write;

struct cg_group {
  int index;
  int rank;
  const cg_expr **dim;      // [rank] the iteration space, none of them 1
  bool *reduced;            // [rank]
  int work;                 // of its members, together
  bool idle;                // nobody reads what it would store: no kernel
  bool raises;              // it may find an index out of range half way
  cg_info *over;            // the member that rereads; NULL: none does
  bool reduces;             // some member is a reduction (over `reduced`, which may be all size 1)
  te_expr **at;             // [rank] index of each dim, from the loop variables
  int channel, channel_to;  // dims are in the order of memory: this one comes at `channel_to` among the model's; -1: all in order
  const cg_kernel_template *anchor; // not NULL: a template computes result 0 of `node`
  const cg_node *node;
  CG_VEC(cg_info *) member; // in order of the program
};

// A state or mutated input of main, which nobody but this region reads from now on: version 0. Each write makes the next one.
struct cg_state {
  cg_value *target;         // as the region knows it
  cg_info memory;           // whole of what is written to a part of it
  int versions;             // writes
  CG_VEC(cg_state_write) write;
  int last;                 // the last group so far that reads it or writes to it
  bool refused;
};

typedef struct cg_sched {
  cg_session *s;
  cg_emitter *e;
  cg_module *m;
  cg_fn *f;
  te *t;
  CG_VEC(cg_group *) group;
  CG_VEC(cg_info *) info;
  CG_VEC(cg_state *) state;
  cg_choice *choice;        // made for the region, with --tune; NULL: none
  cg_group *current;        // whose loops expressions are being written for; NULL: none
  cg_info *joining;         // a root that is tried in `current`
  bool misfit;              // something was read in `current` at a place where it is not known
  cg_value *first_read;     // the first value that was read, and where
  te_expr **first_idx;
  bool tracing;
  int *seen, seen_n, stamp; // by expression id: seen[id] == stamp
} cg_sched;

const char *cg_c_claim(cg_pipeline *p, const cg_node *n); // NULL, or why n cannot run here (pointwise.c)
const char *cg_c_compute(te *t, const cg_node *n, te_compute *out); // how n is computed; NULL or why it cannot be (pointwise.c)
te_expr *cg_c_resolve(te *t, cg_value *v, te_expr **idx, void *sched);
cg_info *cg_c_info(const cg_value *v);        // NULL: a parameter or constant

// Element idx of v as a LOAD of what lies behind the views that are not stored themselves.
te_expr *cg_c_through_views(cg_sched *c, cg_value *v, te_expr **idx);
void cg_c_infos(cg_sched *c);                 // infos.c
void cg_c_layout(cg_sched *c);                // layout.c: sets channels_last
// One of n ways to compute the region: `predicted`, or with --tune the one that was fastest (choose.c).
int cg_region_choose(cg_sched *c, const char *kind, int n, const char *const *names, int predicted);
// The dimensions of a value in the order of memory, outermost first.
int cg_c_memory_order(const cg_value *v, int k);
void cg_c_roots(cg_sched *c);                 // roots.c
void cg_c_assemble(cg_sched *c);              // assemble.c
void cg_c_groups(cg_sched *c);                // groups.c
// state.c: finds what may be written where it lies (before infos); tells infos; sees, when all roots are known, whether it may.
void cg_c_find_states(cg_sched *c);
void cg_c_note_states(cg_sched *c);
void cg_c_prove_states(cg_sched *c);
// The state that v is a version of, and which one; NULL: of none.
cg_state *cg_c_state_of_value(const cg_value *v, int *version);
// Enters g (NULL: leaves): expressions are now in its loops.
void cg_c_enter(cg_sched *c, cg_group *g);
// idx and final of every member anew, from g->at.
void cg_c_place_members(cg_sched *c, cg_group *g);
void cg_c_emit_group(cg_sched *c, cg_group *g);    // loops.c
void cg_c_emit_template(cg_sched *c, cg_group *g); // kernel.c

// The plan value that holds v: its own, or an alias made now.
int cg_c_plan_value(cg_sched *c, cg_value *v);
// The plan value that x's kernel is about to store it in.
int cg_c_plan_result(cg_sched *c, cg_info *x);
// Strides in which a stored value lies (constants and pieces of a concatenation may be strided), in elements.
const cg_expr *cg_c_stride(cg_sched *c, const cg_value *v, int dim);
// Where in a short row of half precision the loop over var reads, here and there; NULL: `load` is none of that.
te_expr *cg_c_gathered(cg_sched *c, te_expr *load, const te_expr *var);
te_expr *cg_c_offset(cg_sched *c, const cg_value *v, te_expr *const *idx); // place of an element in v's memory, in elements

// How much is inlined in one value, and computed in one kernel, at most (cg_c_cost): the C compiler's time grows faster than a function.
// PLACE: divisions in one value's places (tangled): simplifying them takes longer the more there are. VIEWS: one of another, which are read through.
enum { CG_WORK_VALUE = 128, CG_WORK_KERNEL = 512, CG_WORK_PLACE = 64, CG_WORK_VIEWS = 64 };

// Walks over expressions without repeating any: begin, then true the first time an expression is met.
void cg_c_begin(cg_sched *c);
bool cg_c_first(cg_sched *c, const te_expr *e);
typedef struct {
  CG_VEC(cg_info *) roots;          // of this region
  CG_VEC(const cg_value *) values;  // everything loaded
  bool index_check;
  int work;
} cg_reads;
cg_reads cg_c_reads_alone(cg_sched *c, cg_info *x); // by itself, in no group (groups.c)
void cg_c_template_reads(cg_sched *c, cg_value *v, cg_reads *r); // what a template reads of argument v: the stored values behind it
// What computing an expression costs, without what was met since cg_c_begin: 1 is an add.
int cg_c_cost(cg_sched *c, const te_expr *e);
int cg_c_own_cost(const te_expr *e);                // without its arguments'
bool cg_c_indexes(const te_expr *e);                // its arguments are places, which are cheap, or shared
double cg_c_numel_hint(int rank, const cg_expr *const *dim);
#endif
