// A backend claims nodes and turns a lifted region into steps of the plan.
// What a backend is: struct cg_backend in pass/pass.h. The table of all of them (backend.c) is the one place that names them.
#ifndef CG_BACKEND_BACKEND_H
#define CG_BACKEND_BACKEND_H
#include "artifact/plan.h"
#include "pass/pass.h"

extern const cg_backend *const cg_backends[]; // NULL-terminated
const cg_backend *cg_backend_find(const char *name); // NULL: none of that name

// ---------------------------------------------------------------- What backends emit into (compile/emit.c)

// From a pointer to an index.
typedef struct {
  const void **key;
  int *index, n, cap;
} cg_emit_map;

// What is known in the plan function that is being filled.
typedef struct {
  cg_emit_map values, symbols, exprs, ints;
  CG_VEC(const cg_symbol *) wanted; // symbols that must come from outside
} cg_emit_scope;

typedef struct {
  const void *data;
  uint64_t size, offset;           // offset in the weights section
  int other;                       // another one that begins at `data`, -1: none
} cg_emit_weight;

// A library of custom operators that the artifact carries.
typedef struct {
  const char *name;
  const void *data;
  size_t size;
} cg_emit_library;

// Result `result` of a region of main is the new value of `target`, a state or an input (as main knows it: `in_main`), whose old value
// nobody reads after the region: it may be written where that lies.
typedef struct {
  const cg_fn *region;
  int result;
  cg_value *target, *in_main;
} cg_emit_over;

// Operand `flag` of some kernel, None as it is made: where the memory of `of` is a state's that is written in place, a word that says
// whether it may hold elements that are NaN or beyond CG_EMIT_TAME in size. writes: the kernel that writes the state, and keeps the word.
typedef struct {
  const cg_plan_fn *fn;
  uint32_t flag, of;
  bool writes;
} cg_emit_wild;
#define CG_EMIT_TAME 1e15 // products of two such numbers, and sums of thousands of them, are finite in f32

// The steps first … last - 1 of plan->fn[fn], which a region became.
typedef struct {
  uint32_t fn, first, last;
  const cg_fn *region;
} cg_emit_span;

struct cg_emitter {
  cg_session *s;
  cg_pipeline *pipeline;
  cg_module *m;
  cg_plan *plan;
  cg_plan_fn *fn;                  // the plan function that is being filled
  cg_emit_scope *scope;
  cg_emit_map states, sites, placed; // placed: the newest weight that begins at these bytes
  CG_VEC(cg_emit_span) spans;
  CG_VEC(cg_emit_over) over;
  CG_VEC(cg_emit_wild) wild;
  void *state[8];                  // one slot for each backend, by its index in cg_backends
  CG_VEC(cg_emit_weight) weights;
  uint64_t weights_size;
  uint64_t n_items;                // of all size expressions
  // Sections that backends fill
  CG_VEC(cg_str) torch_programs;   // by region index
  CG_VEC(const cg_blob *) blobs;   // of plan->script, each content once
  CG_VEC(cg_emit_library) libraries;
  cg_str kernel_source;            // C text of all kernels
  const void *kernel_object;       // the shared object they became
  size_t kernel_object_size;
};

// The plan value (index) that holds v in the current function; made on first use: constants become CONST values,
// literals of known value EXPR values. Throws CIERGE_INTERNAL for a value nobody produced yet.
int cg_emit_value(cg_emitter *e, cg_value *v);
// A new plan value for v, produced by the step that is being built. tensor results: storage ARENA, C order.
int cg_emit_result(cg_emitter *e, cg_value *v);
// A temporary of the given type (packed weights' outputs, scratch rows).
int cg_emit_temp(cg_emitter *e, cg_dtype t, int rank, const cg_expr **dim);
// v is the same memory as plan value `of`, C order, from byte offset `offset` (an expression, NULL: 0).
int cg_emit_alias(cg_emitter *e, cg_value *v, int of, const cg_expr *offset);
// The memory of plan value `of` from byte `offset` on, for kernels that know what lies there. offset <= its size, always.
int cg_emit_place(cg_emitter *e, cg_dtype t, int of, const cg_expr *offset);
// A constant made at compile time (packed weights). data is copied into the artifact, 64-byte aligned; same bytes once.
int cg_emit_constant(cg_emitter *e, const char *name, cg_dtype t, int rank, const int64_t *dim, const void *data, size_t size);
int cg_emit_expr(cg_emitter *e, const cg_expr *x);         // index of an expression in the plan
int cg_emit_int(cg_emitter *e, const cg_expr *x);          // the INT plan value that is x
int cg_emit_symbol(cg_emitter *e, const cg_symbol *y);     // the INT plan value of a symbol
int cg_emit_arg(cg_emitter *e, const cg_arg *a);           // a value, or a literal as a plan value
void cg_emit_bind(cg_emitter *e, const cg_value *v, int index); // v is plan value `index` from now on
// Step pointers stay valid until the next cg_emit_step; plan values until the next one is made.
cg_plan_step *cg_emit_step(cg_emitter *e, cg_plan_step_kind kind, const cg_node *n); // appended to the current function
int cg_emit_script(cg_emitter *e, const cg_node *n);       // index of the script that a torchop calls, in plan->script
int cg_emit_site(cg_emitter *e, const cg_node *n);         // index of a place for run-time messages
// A C function for the artifact's kernel object, which is compiled when all regions are lowered (backend/c/compile.c): its index in
// plan->kernel. text: file-scope C that defines `symbol`, a cg_kernel_fn of default visibility, clear of all other names;
// <math.h>, <stdbool.h>, <stdint.h> and the CG_KERNEL_ codes are there. note: what profiles call it.
int cg_emit_kernel(cg_emitter *e, const char *symbol, const char *note, const char *text);

// ---------------------------------------------------------------- functions (compile/emit_fn.c)

typedef struct {
  uint32_t index;       // in plan->fn
  cg_emit_scope *scope; // for adding parameters afterwards
} cg_emitted_fn;

uint32_t cg_emit_new_plan_fn(cg_emitter *e, const char *name);
void cg_emit_bind_symbol(cg_emitter *e, const cg_symbol *y, int index);
// Whether a parameter or a step so far gives this number its value.
bool cg_emit_is_set(const cg_plan_fn *f, uint32_t value);
// Emits f and the regions that it calls as a new function of the plan.
cg_emitted_fn cg_emit_fn(cg_emitter *e, cg_fn *f);
// compile/in_place.c. Fills e->over, before main is emitted.
void cg_emit_find_over(cg_emitter *e);
// Whether something that is still to be read may lie in the target's memory.
bool cg_emit_lent(cg_emitter *e, const cg_emit_over *o);
// Gives words for e->wild. f: main, when all of it is there.
void cg_emit_keep_words(cg_emitter *e, cg_plan_fn *f);
// The symbols that any of these functions needs from outside become further parameters of all of them, in one order.
// Gives how many, and the caller's values for them.
int cg_emit_share_symbols(cg_emitter *e, const cg_emitted_fn *fn, int nfns, int **values);
#endif
