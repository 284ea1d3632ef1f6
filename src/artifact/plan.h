// The plan: what a compiled program does, step by step, over numbered values. The compiler fills it
// (backend/, compile/), artifact/plan_write.c stores it, artifact/plan_read.c reads it back checking every index,
// the runtime executes it. It knows nothing of the IR.
//
// A plan function has values (tensors and scalars) and steps. Sizes are expressions over integer values of the
// same function: a symbol is just an INT value, bound from an input's dimension or by a step.
#ifndef CG_ARTIFACT_PLAN_H
#define CG_ARTIFACT_PLAN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/size_op.h"

#define CG_PLAN_MAX_RANK 64
#define CG_PLAN_MAX_DEPTH 32 // nesting of control flow

#define CG_PLAN_MAX_THREADS 64 // that a kernel is called with
#define CG_PLAN_MAX_STACK 1024 // of an expression
#define CG_PLAN_MAX_PARTS 64 // nesting of aliases; the compiler makes a few
#define CG_PLAN_MAX_RESULTS 65536 // of main: a few bytes in a file are a description in memory

// Postfix programs over int64 (base/size_op.h). SYM pushes the INT or BOOL value `arg` of the function, one without an expression of its own.
typedef struct { cg_expr_kind op; int64_t arg; } cg_plan_expr_item;
typedef struct { cg_plan_expr_item *item; uint32_t n; } cg_plan_expr; // n == 1 && INT: a literal

typedef enum {
  CG_V_TENSOR, CG_V_INT, CG_V_FLOAT, CG_V_BOOL, CG_V_NONE,
  CG_V_LATE, // a tensor of LibTorch's, or None, whose dtype, rank and sizes only the call tells: TORCH steps give and take it, main returns it
  CG_V_COUNT
} cg_plan_value_kind;

typedef enum {
  CG_ST_ARENA,    // planned memory of the call, C order; lives from its first step to its last
  CG_ST_CONST,    // in the weights section, at `offset` bytes, strides as given: kernels and LibTorch read it as it lies there
  CG_ST_STATE,    // a mutable buffer of the context, initialised from the weights section at `offset`, strides as given
  CG_ST_PARAM,    // the function's parameter number `index`, C order (the runtime copies what is not)
  CG_ST_ALIAS,    // C-order memory of value `of`, from byte offset expression `offset_expr`
  CG_ST_TORCH,    // made by a TORCH step: memory belongs to the tensor that came back, C order
} cg_plan_storage;

typedef struct {
  cg_plan_value_kind kind;
  uint8_t dtype;           // cg_dtype
  uint8_t storage;         // cg_plan_storage, tensors only
  uint32_t rank;
  uint32_t *dim;           // [rank] expression indices
  int64_t *stride;         // CONST, STATE: [rank] in elements, NULL: C order; else NULL
  uint64_t offset, size;   // CONST, STATE: bytes in the weights section (size: of the storage used)
  uint32_t index;          // PARAM; STATE: number of the state slot (shared by all functions)
  uint32_t of;             // ALIAS
  int32_t offset_expr;     // ALIAS: expression index, -1: 0
  int32_t expr;            // INT, BOOL whose value is an expression (evaluated whenever its symbols are known);
                           // -1: a parameter, a symbol, or set by one step
  const char *name;        // for messages and profiles; may be ""
} cg_plan_value;
// A FLOAT value with storage CONST is a literal: its 8 bytes lie in the weights section at `offset`.

typedef enum {
  CG_STEP_KERNEL,   // kernel(outputs, inputs, params)
  CG_STEP_TORCH,    // run torch region
  CG_STEP_SCALAR,   // scalar operator on scalars
  CG_STEP_ITEM,     // out[0] scalar := the one element of tensor in[0]
  CG_STEP_FILL,     // out[0] 0-dim tensor := scalar in[0]
  CG_STEP_COPY,     // out[0] := in[0], same type and shape, both C order
  CG_STEP_ASSERT,   // in[0] (bool/int scalar) must be true, else RUN_ERROR with text
  CG_STEP_IF,       // in[0] ? fn[0](in[1…]) : fn[1](in[1…]) -> out
  CG_STEP_WHILE,    // carried = in; while fn[0](carried, extra) carried = fn[1](carried, extra) -> out; n_carried says how many
  CG_STEP_CALL,     // fn[0](in…) -> out
  CG_STEP_SCAN,     // in: n_carried values, n_scanned tensors of one length, others; for each i: carried, y = fn[0](carried, scanned[i], others);
                    // out: carried, then each y of all iterations along a new first dimension. No iteration: an error, as in PyTorch
  CG_STEP_COUNT
} cg_plan_step_kind;

// Scalar operators: the closed table, shared by the compiler's constant folding and the runtime (artifact/scalar.h).
typedef struct {
  uint32_t out, dim, symbol; // after a TORCH, IF, WHILE, SCAN or CALL step: integer value `symbol` := size of output `out` in dimension `dim`
} cg_plan_bind;

typedef struct {
  cg_plan_step_kind kind;
  uint32_t *in, n_in;
  uint32_t *out, n_out;
  uint32_t *param, n_param;  // KERNEL: expression indices, passed as int64 array
  uint32_t kernel;           // KERNEL: index into plan->kernel; TORCH: region index; SCALAR: cg_scalar_op
  uint32_t fn[2];            // IF, WHILE, SCAN, CALL: cg_plan_callees says how many
  uint32_t n_carried;        // WHILE, SCAN
  uint32_t n_scanned;        // SCAN
  cg_plan_bind *bind;        // TORCH, IF, WHILE, SCAN, CALL
  uint32_t n_bind;
  uint32_t site;             // for messages: index into plan->site
  const char *text;          // ASSERT: message
  // Filled by the compiler for the report: estimated cost.
  double estimate_ns;
} cg_plan_step;

static inline int cg_plan_callees(cg_plan_step_kind kind) {
  return kind == CG_STEP_IF || kind == CG_STEP_WHILE ? 2 : kind == CG_STEP_CALL || kind == CG_STEP_SCAN ? 1 : 0;
}

typedef struct { uint32_t target, value; } cg_plan_update; // STATE or PARAM value := value, at the end of the call

typedef struct {
  const char *name;
  cg_plan_value *value; uint32_t n_values;
  cg_plan_expr *expr; uint32_t n_exprs;
  cg_plan_step *step; uint32_t n_steps;
  uint32_t *param, n_params;     // value indices
  uint32_t *result, n_results;   // value indices (literals are EXPR/number values; None: a NONE value)
  cg_plan_update *update; uint32_t n_updates;
} cg_plan_fn;

// Integer values that are symbols of main: bound from input dimensions by solving, checked against their range.
typedef struct {
  uint32_t value;          // index of the INT value in main
  const char *name;
  int64_t lo, hi;
  int64_t hint;            // a typical value, for who wants sizes without a call
} cg_plan_symbol;

typedef struct {
  const char *name;        // what the user calls it
  uint8_t kind;            // cierge_kind
  int32_t param;           // index into main's params; -1: a constant, None or string of the export
  uint8_t dtype;
  const char *constant;    // recorded constant as text ("3", "0.5", "True", "None", "'abc'"); "" none
  uint8_t constant_kind;   // cierge_kind of it
  int64_t constant_int;    // INT, BOOL
  double constant_float;   // FLOAT
  bool ranged;             // INT that is a symbol of the model: lo..hi, which the model was exported for
  int64_t lo, hi;
  bool mutated;            // its memory is written to
} cg_plan_input;

typedef struct { uint32_t input, value; } cg_plan_reshape; // the caller's tensor is `value` of main, a tensor, at the end of the call

typedef struct {
  const char *op;          // "aten::embedding"
  const char *node;        // the node's name in the model
  const char *file; uint32_t line; // the user's own line; "" 0 unknown
  const char *module_path;
} cg_plan_site;

typedef struct {
  const char *symbol;      // in the kernel object
  const char *note;        // "linear+gelu f32[s0*s1, 1536]" for profiles
} cg_plan_kernel;

typedef struct {
  const char *mode;        // "ops", "script"
  uint32_t n_nodes;
  const char *name;        // "torch_0"
} cg_plan_region;

typedef struct {
  const char *op, *schema; // a custom operator that the program needs
  const char *library;     // the file that defines it, without folders; CG_PYTHON_LIBRARY where Python does
  const char *hash;        // of the library's content; "" where that is not known
} cg_plan_custom;
#define CG_PYTHON_LIBRARY "Python"

typedef struct {
  const char *name;
  bool stateful;           // it keeps something from call to call
} cg_plan_method;

// A TorchScript module that regions call. Two of the same bytes have a state each.
typedef struct {
  const char *name;        // as the program calls it
  const char *hash;        // of its bytes (base/hash.h)
  uint32_t blob;           // where they are in section blobs
  cg_plan_method *method; uint32_t n_methods;
} cg_plan_script;

typedef struct cg_plan {
  cg_plan_fn **fn; uint32_t n_fns;  // fn[0] is main
  cg_plan_symbol *symbol; uint32_t n_symbols;
  cg_plan_input *input; uint32_t n_inputs;
  cg_plan_input **input_of;      // [n_params of main], set by reading it
  cg_plan_reshape *reshaped; uint32_t n_reshaped; // by input, rising
  cg_plan_site *site; uint32_t n_sites;
  cg_plan_kernel *kernel; uint32_t n_kernels;
  cg_plan_region *region; uint32_t n_regions;
  cg_plan_custom *custom; uint32_t n_custom;
  cg_plan_script *script; uint32_t n_scripts;
  uint32_t n_states;
  const char *target;      // "x86-64-v3"; "" when there are no kernels
  const char *producer;    // "cierge 0.1.0"
  const char *model;       // file name of the source, without folders
  const char *torch_min, *torch_max; // version range LibTorch must be in; "" when not needed
  // For `inspect` and reports
  uint32_t nodes_total, nodes_native, nodes_torch, nodes_scalar;
  const char *report;      // JSON text of the compile report
} cg_plan;

// Every generated kernel has this signature. p: outputs, then inputs; a scalar input is a pointer to an int64_t (INT, BOOL) or a
// double (FLOAT). s: params. threads >= 1.
// 0: done. Otherwise a cg_kernel_error; detail[0..1] then hold the offending index and the size, detail[2] which site (a plan site index).
typedef int (*cg_kernel_fn)(void *const *p, const int64_t *s, int threads, int64_t *detail);
enum { CG_KERNEL_OK = 0, CG_KERNEL_INDEX = 1, CG_KERNEL_DIV_ZERO = 2, CG_KERNEL_NO_MEMORY = 3, CG_KERNEL_DIV_OVERFLOW = 4 };
#endif
