// Inside the runtime: what a loaded program and a context hold.
//
//   program.c  load: the artifact opened, the plan decoded and checked, kernels and regions made ready
//   check.c    what is known of each function before it runs: definition before use, types, lifetimes
//   kernels.c  the shared object of kernels; cpu.c what this processor can do; torch.c regions; script.c modules of TorchScript
//   spec.c     inputs and outputs as the user sees them
//   context.c  contexts: frames, state, reset
//   frame.c    a function's values; sizes from symbols; memory.c the plan of the arena
//   bind.c     the user's inputs; symbols solved from their sizes
//   exec.c     the steps; control.c if, while, calls; team.c the threads that kernels share their work among
//   output.c   results leave; update.c state and mutated inputs take their new values; tensor.c strided copies
//   inspect.c, profile.c, trace.c  texts
#ifndef CG_RUNTIME_RUNTIME_H
#define CG_RUNTIME_RUNTIME_H
#include <stdatomic.h>
#include "artifact/scalar.h"
#include "base/clock.h"
#include "base/pool.h"
#include "ir/dtype.h"
#include "runtime/cpu.h"
#include "runtime/status.h"
#include "runtime/team.h"
#include "runtime/torch_plugin.h"

// ---------------------------------------------------------------- a function, before it runs (check.c)

typedef struct {
  bool late;            // depends on what steps compute: scalars by their value, tensors by their size (or an alias's place)
  bool strided;         // CONST, STATE: not in C order
  uint32_t root;        // ALIAS: the value whose memory it is in the end; else the value itself
  uint32_t first, last; // roots in the arena, TORCH roots: first step that writes, last step that reads; n_steps: until the call's end
  uint32_t size_at;     // where its sizes are in the frame's
} cg_value_info;

typedef struct {
  const cg_plan_fn *plan;
  cg_value_info *value;
  bool *late_expr;      // [n_exprs]
  bool *shaping;        // [n_values] scalars that early expressions use
  uint32_t *param_at;   // [n_steps] where a kernel's parameters are in the frame's
  uint32_t *loop_at;    // [n_steps] WHILE, SCAN: number of its loop
  uint32_t *torch_at;   // [n_steps] TORCH: where its operands are in the frame's
  uint32_t *release_at; // [n_steps + 2] where the TORCH values that step k reads last start in `release`; [n_steps]: those that stay
  uint32_t *release;
  uint32_t n_sizes, n_params, n_loops, n_torch_values, n_planned, max_operands;
} cg_fn_info;

static inline bool cg_is_loop(const cg_plan_step *s) { return s->kind == CG_STEP_WHILE || s->kind == CG_STEP_SCAN; }
// [n_fns] from a pool; the compiler asks too, before it writes an artifact. NULL: f->text says why not.
cg_fn_info *cg_plan_check(const cg_plan *plan, cg_pool *pool, cg_failure *f);

// ---------------------------------------------------------------- a program

// An input that the caller finds changed after a call.
typedef struct {
  uint32_t input, reshaped; // reshaped: number of its row in the plan's table; n_reshaped: it keeps its shape
  cierge_spec spec;         // as what
} cg_mutated;

// How a symbol is found: size of dimension `dim` of parameter `param` is factor * symbol + offset.
typedef struct {
  uint32_t param, dim;
  int64_t factor, offset;
} cg_solution;

struct cierge_program {
  atomic_uint contexts;        // that are alive: the program goes with the last of them and its owner
  cg_pool pool;
  cg_artifact file;
  cg_plan *plan;
  const uint8_t *weights;
  uint64_t weights_size;
  cg_fn_info *fn;              // [n_fns]
  cg_solution *solution;       // [n_symbols]
  void *kernels;               // dlopen's handle
  cg_kernel_fn *kernel;        // [n_kernels]
  const cierge_torch_api_v1 *torch;
  const char *const *allow;    // [n_allow] the caller's --allow-unsafe-ops: valid while the program is loaded
  int n_allow;
  cierge_torch_region **region; // [n_regions]
  cierge_torch_script **script; // [n_scripts]
  cierge_spec *input, *output;
  cg_mutated *mutated;
  uint32_t n_mutated;
  const cg_plan_value **state; // [n_states] a value of that state; NULL: nobody speaks of it
};

void *cg_kernels_open(const void *object, uint64_t size, cg_failure *f);        // kernels.c
// Gives `open` the path of a file of these bytes, which nobody else sees and which is gone afterwards; what `open` gives, NULL: *f
// says of `what` why not.
void *cg_open_bytes(const char *what, const void *bytes, uint64_t size, void *(*open)(void *u, const char *path, char *why, size_t n), void *u,
                    cg_failure *f);
bool cg_libraries_load(const cierge_program *p, const cierge_load_options *o, cg_failure *f); // library.c: custom operators
// Carried library number i; false: there are not as many.
bool cg_library_section(const cierge_program *p, uint32_t i, const char **name, const uint8_t **data, uint64_t *size);
bool cg_torch_load(cierge_program *p, const cierge_load_options *o, cg_failure *f); // torch.c
void cg_torch_unload(cierge_program *p);
cierge_status *cg_torch_runs_make(cierge_context *c);
void cg_torch_runs_free(cierge_context *c);
// script.c. Whether the blobs are those that the plan speaks of.
bool cg_scripts_check(const cierge_program *p, cg_failure *f);
const uint8_t *cg_script_bytes(const cierge_program *p, uint32_t script, uint64_t *size);
bool cg_scripts_load(cierge_program *p, cg_failure *f);
void cg_scripts_unload(cierge_program *p);
cierge_status *cg_instances_make(cierge_context *c);
cierge_status *cg_instances_reset(cierge_context *c);
void cg_instances_free(cierge_context *c);
bool cg_specs_make(cierge_program *p, cg_failure *f);                           // spec.c
bool cg_solutions_make(cierge_program *p, cg_failure *f);                       // bind.c
// Opens path, decodes and checks its plan; the parts of cierge_load that run nothing.
cierge_status *cg_program_open(const char *path, bool check_weights, cierge_program **out);
// The number of regions in section torch, 0 where there is none; false: it is damaged.
bool cg_torch_section(const cg_artifact *a, uint32_t *n, cg_failure *f);

// ---------------------------------------------------------------- a context

typedef struct {
  void *at;
  uint64_t size;
} cg_buffer; // grows, never shrinks

bool cg_buffer_need(cg_buffer *b, uint64_t size); // 64-byte aligned; content is lost; false: no memory
void cg_buffer_free(cg_buffer *b);

// A value of a frame.
typedef struct {
  void *data;                  // tensors, ALIAS excepted: the first element
  int64_t *size;               // [rank]
  uint64_t bytes;              // in C order
  cierge_torch_tensor handle;  // the tensor that owns data
  bool owned;                  // handle is this frame's to free
  int64_t i;                   // INT, BOOL; ALIAS: its byte offset
  double f;                    // FLOAT
  int dtype, rank;             // LATE: the tensor's that is there (dtype -1: it is None); size points into it
  cg_buffer own;               // memory of late values and of C-order copies
} cg_slot;

// A value on its way from one frame to another.
typedef struct {
  cg_plan_value_kind kind;
  uint8_t dtype;
  uint32_t rank;
  void *data;
  const int64_t *size;
  uint64_t bytes;
  cierge_torch_tensor handle;  // borrowed
  int64_t i;
  double f;
} cg_view;

typedef struct {
  cg_view *value;              // [n_in] what the next iteration gets
  cg_buffer *buffer[2];        // [n_carried] each
  int64_t *sizes;              // [n_carried * CG_PLAN_MAX_RANK]
} cg_loop;

typedef struct cg_frame {
  cierge_context *c;
  const cg_fn_info *fn;
  cg_slot *slot;               // [n_values]
  int64_t *sizes, *params;
  void **pointers;             // [max_operands] a kernel's
  cierge_torch_value *torch_value; // [n_torch_values] operands of regions: what stays the same is written once
  cg_view *views;              // [max_operands]
  cg_loop *loop;
  bool shaped;                 // sizes, arena and params fit the parameters
  bool plan_only;              // the arena is planned, and no memory taken for it
  cg_buffer arena;
  uint64_t arena_used, arena_bound; // planned bytes, and the least that any plan needs
  uint32_t *order;             // [n_planned] scratch of the planner
  uint64_t *place;             // [n_planned]
  uint64_t *ns, *calls;        // [n_steps] profile; NULL: off
  cg_buffer *saved;            // [n_updates] copies of values that an update may overwrite
} cg_frame;

typedef struct {
  bool set, read_only;
  DLTensor t;
  cg_buffer staging;           // its copy in C order, where it is not or not aligned
} cg_given;

typedef struct {
  bool has_user, done, taken, none; // none: a LATE output is None this time
  DLTensor user, t;
  int64_t *shape, *stride;     // [rank]
  cg_buffer geometry;          // LATE: both
  int64_t number;              // scalars: 8 bytes of whatever they are
  cg_buffer copy;
} cg_result;

// Something that took time: a call, a step of it, an operator in a step's region.
typedef struct {
  uint32_t fn, step;           // step CG_WHOLE_CALL: all of the call
  int32_t op;                  // its number in the region; -1: the step itself
  const char *name;            // of an operator that the region's program does not have; else NULL
  uint64_t start, ns, bytes_in, bytes_out;
} cg_event;
enum { CG_WHOLE_CALL = UINT32_MAX };

typedef struct {               // in the order in which they began
  cg_event *at;
  size_t n, cap;
  uint64_t dropped;
  uint32_t fn, step;           // that began last
  bool failed;                 // there was no memory for one
} cg_trace;

struct cierge_context {
  const cierge_program *p;
  cg_pool pool;
  int threads;
  cg_team *team;               // that kernels use
  cg_frame *frame;             // [n_fns]: calls cannot recurse, so a function needs one
  cg_buffer *state;            // [n_states]
  cierge_torch_run **torch_run; // [n_regions]
  cierge_torch_instance **instance; // [n_scripts] their state
  cg_given *given;             // [n_inputs]
  cg_result *result;           // [n_results of main]
  cg_result *reshaped;         // [n_reshaped]
  cg_trace *trace;             // NULL: off
  bool bound;                  // inputs are as they were in the last call, but for their sizes
  bool ran;                    // the last call went well
  atomic_flag in_use;          // a function of the API is at work on it
};

// What every function of the API does first and last with its context: CIERGE_USAGE where another one is at work on it.
cierge_status *cg_enter(const cierge_context *c, const char *who);
void cg_leave(const cierge_context *c);
// The same around a function that makes a text of a context.
cierge_status *cg_look(const cierge_context *c, char **text, const char *who, cierge_status *(*look)(const cierge_context *, char **));

// As many as a kernel is called with.
static inline int cg_kernel_threads(const cierge_context *c) { return c->threads < CG_PLAN_MAX_THREADS ? c->threads : CG_PLAN_MAX_THREADS; }

cierge_status *cg_frame_init(cg_frame *f, cierge_context *c, const cg_fn_info *fn, bool profile);
void cg_frame_free(cg_frame *f);
void cg_release(cg_frame *f, uint32_t from, uint32_t to); // tensors of LibTorch that steps from <= k < to read last
void cg_frame_drop_tensors(cg_frame *f);
// Sizes of all early values from the scalars that are set; the arena planned anew where a size changed.
cierge_status *cg_frame_shape(cg_frame *f);
cierge_status *cg_arena_plan(cg_frame *f); // memory.c
#ifdef __SANITIZE_ADDRESS__
void cg_arena_watch(const cg_frame *f, uint32_t step); // memory.c; from now on only values that live in this step are accessible
#else
static inline void cg_arena_watch(const cg_frame *f, uint32_t step) { (void)f, (void)step; }
#endif
// An expression's value.
bool cg_eval(const cg_frame *f, uint32_t expr, int64_t *out);
// Of late tensors: sizes, and for aliases their place. Others: nothing to do.
cierge_status *cg_resize_late(cg_frame *f, uint32_t v);
static inline cierge_status *cg_resize(cg_frame *f, uint32_t v) { return f->fn->value[v].late ? cg_resize_late(f, v) : NULL; }
// Memory for a late ARENA value whose sizes are known.
cierge_status *cg_ensure(cg_frame *f, uint32_t v);
// Where it lies, aliases resolved.
static inline void *cg_data(const cg_frame *f, uint32_t v) {
  int64_t offset = 0;
  while (f->fn->plan->value[v].storage == CG_ST_ALIAS) {
    offset += f->slot[v].i;
    v = f->fn->plan->value[v].of;
  }
  return offset ? (char *)f->slot[v].data + offset : f->slot[v].data;
}
// INT and BOOL values, late expressions evaluated.
cierge_status *cg_integer(cg_frame *f, uint32_t v, int64_t *out);
// Any value, in C order.
cierge_status *cg_view_of(cg_frame *f, uint32_t v, cg_view *out);
cierge_status *cg_scalar_of(cg_frame *f, uint32_t v, cg_scalar *out);
void cg_scalar_set(cg_frame *f, uint32_t v, const cg_scalar *s); // converts to v's kind
static inline bool cg_same_sizes(const int64_t *a, const int64_t *b, uint32_t rank) {
  for (uint32_t d = 0; d < rank; d++)
    if (a[d] != b[d]) return false;
  return true;
}

cierge_status *cg_bind_inputs(cierge_context *c);  // bind.c
// Device, type, rank and fixed sizes of what the user gives for input or output (`what`) spec.
cierge_status *cg_check_tensor(const char *what, const cierge_spec *spec, const DLTensor *t);
cierge_status *cg_run_steps(cg_frame *f);          // exec.c
cierge_status *cg_step_error(const cg_frame *f, uint32_t site, cierge_code code, const char *text);
void cg_bind_sizes(cg_frame *f, const cg_plan_step *s, uint32_t out, const int64_t *size);
void cg_torch_values_make(cg_frame *f);            // torch.c
cierge_status *cg_run_torch(cg_frame *f, const cg_plan_step *s, cierge_torch_value *in); // in: its inputs', then its outputs'
cierge_status *cg_run_if(cg_frame *f, const cg_plan_step *s);    // control.c
cierge_status *cg_run_while(cg_frame *f, const cg_plan_step *s, uint32_t loop);
cierge_status *cg_run_scan(cg_frame *f, const cg_plan_step *s, uint32_t loop);
cierge_status *cg_run_call(cg_frame *f, const cg_plan_step *s);
// trace.c
size_t cg_trace_begin(cg_trace *t, uint32_t fn, uint32_t step, uint64_t now);
cierge_status *cg_trace_end(cg_trace *t, size_t event, const cg_frame *f, uint64_t now); // f: the step's; NULL: a call
void cg_trace_op(void *trace, int op, const char *name, uint64_t start, uint64_t ns);
// The name and the site of operator number `op` of a region; both are left where the program does not say.
void cg_torch_call_at(const cierge_program *p, uint32_t region, int op, char *name, size_t size, uint32_t *site); // torch.c
extern const char *const cg_step_kinds[CG_STEP_COUNT]; // profile.c
const char *cg_step_name(const cierge_context *c, const cg_plan_step *s);
// At the end of a function: state (and, of main, inputs) take their new values.
cierge_status *cg_save_updates(cg_frame *f);       // update.c: values that an update may overwrite are copied first
cierge_status *cg_write_updates(cg_frame *f);
cierge_status *cg_outputs(cierge_context *c);      // output.c: the outputs of main

// ---------------------------------------------------------------- tensor.c

// Copies rank-dimensional elements of `es` bytes; strides in elements, NULL: C order.
void cg_copy_strided(void *to, const int64_t *to_stride, const void *from, const int64_t *from_stride, const int64_t *size, uint32_t rank,
                     uint32_t es);
bool cg_is_c_order(const int64_t *size, const int64_t *stride, uint32_t rank); // NULL stride: yes
// Elements, then bytes; false: negative size or overflow.
bool cg_tensor_bytes(const int64_t *size, uint32_t rank, uint32_t es, uint64_t *bytes);
bool cg_read_number(uint8_t dtype, const void *p, cg_scalar *out); // one element; false: no number of ours
bool cg_write_number(uint8_t dtype, const cg_scalar *s, void *p);
void cg_type_text(char *buf, size_t n, uint8_t dtype, uint32_t rank, const int64_t *size, const char *const *dims);

// ---------------------------------------------------------------- a text that grows on the heap

typedef struct {
  char *at;
  size_t n, cap;
  bool failed;
} cg_text;
void cg_text_add(cg_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cg_text_quoted(cg_text *t, const char *text);   // profile.c; as JSON
cierge_status *cg_text_give(cg_text *t, char **out); // hands it over, or CIERGE_NO_MEMORY
// A dimension as text: "3", "s0", "2*s0 + 1". The symbols' names are those of the values.
void cg_expr_text(cg_text *t, const cg_plan_fn *f, const cg_plan_expr *x);
#endif
