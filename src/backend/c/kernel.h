// How a kernel template (kernel_*.c: matmul, convolution, attention, sort …) writes its C function.
//
// The scheduler decides what is stored, opens a cg_kernel for the node and calls the template's emit(). The template
// writes the body of the function only; the head (pointers, sizes, comments) is made from what it asked for.
// It never stores results itself: it hands each finished accumulator to cg_kernel_store(), which writes the epilogue
// (pointwise consumers at the same place: bias, gelu, residual, scale) and the stores.
#ifndef CG_BACKEND_C_KERNEL_H
#define CG_BACKEND_C_KERNEL_H
#include "backend/backend.h"
#include "ops/op.h"
#include "runtime/cpu.h"

typedef struct cg_kernel cg_kernel;

typedef struct cg_kernel_template {
  const char *name;            // what te_compute.kernel says
  // NULL: this node fits; else why not. Called when nodes are claimed: looks at types and arguments only. No function: all that the
  // operator's lowering sends here fit.
  const char *(*claim)(cg_pipeline *p, const cg_node *n);
  bool strided;                // reads its inputs through strides: views of stored values need not be made contiguous
  bool epilogue;               // calls cg_kernel_store for every element of result 0, each once, so pointwise consumers can be fused.
                               // false: it may still use cg_kernel_store to store, but nothing is fused
  void (*emit)(cg_kernel *k, const cg_node *n);
  bool over;                   // result 0 begins as `self`: where cg_kernel_over says so, it is written where that lies
} cg_kernel_template;

extern const cg_kernel_template *const cg_kernel_templates[]; // NULL-terminated; kernel_table.c
const cg_kernel_template *cg_kernel_template_find(const char *name);

// Whether a convolution reads this operand best with its channels innermost in memory; NULL: whether it writes its result so best.
bool cg_conv_channels_last(const cg_node *n, const cg_value *operand);

// Operand i of a cat or stack; NULL: an empty one of one dimension, which joins anything. And along which dimension, -1: not known.
cg_value *cg_join_piece(const cg_node *n, int i);
int cg_join_dim(const cg_node *n);

// A tensor argument as the function reads it: element [i…] is name[offset + sum of i*stride].
typedef struct {
  cg_value *value;             // the argument
  cg_dtype dtype;
  int rank;
  const cg_expr **dim;         // [rank]
  const cg_expr **stride;      // [rank], in elements; 0 where the argument is an expanded view
  const cg_expr *offset;       // in elements
  bool contiguous;             // C order and offset 0
  const char *name;            // the C pointer: `const float *restrict in0`; f16 and bf16 are uint16_t, bool is uint8_t
  const cg_constant *constant; // not NULL: bytes known at compile time (static strides), may be packed with cg_kernel_constant.
                               // NULL for constants that the program updates.
} cg_kernel_input;

// Makes the argument's pointer available in the function. v must be a tensor argument of the node.
cg_kernel_input cg_kernel_read(cg_kernel *k, cg_value *v);
// The same description without the pointer (name is NULL): to look at an argument first. A constant that is only looked at and
// packed does not go into the artifact itself.
cg_kernel_input cg_kernel_peek(cg_kernel *k, cg_value *v);
// Element [i…] of storage `data` of a constant at compile time, as bytes: where it starts.
const void *cg_kernel_constant_at(const cg_kernel_input *in, const int64_t *idx);
// A constant made now (packed weights): the C name of a `const ctype *restrict` pointer to it, 64-byte aligned.
const char *cg_kernel_constant(cg_kernel *k, const char *name, cg_dtype t, int rank, const int64_t *dim, const void *data, size_t size);
// Zeroed memory of the compiler's for what becomes a constant, or is on its way to one: until a new constant keeps it, the next who asks
// gets it again.
void *cg_kernel_spare(cg_kernel *k, size_t size);
// Scratch memory from the plan, 64-byte aligned, uninitialised; lives for this step: name of a `ctype *restrict` pointer.
// rank 1, `count` elements; may be symbolic. To have one piece for each thread pass count = pieces * cg_kernel_threads().
const char *cg_kernel_scratch(cg_kernel *k, cg_dtype t, const cg_expr *count);
// The most threads a kernel may be called with, for scratch (a fixed bound; the function gets `threads`).
#define CG_KERNEL_MAX_THREADS 64

// C text of an integer expression: a literal, or arithmetic over symbols (`s0`), which become parameters of the function.
const char *cg_kernel_size(cg_kernel *k, const cg_expr *e);
// C text of a scalar argument (a literal or a scalar value of the graph) as a number of type t.
const char *cg_kernel_scalar(cg_kernel *k, const cg_arg *a, cg_dtype t);
// Result i as a raw pointer: only for templates with epilogue == false (`float *restrict out0`).
const char *cg_kernel_output(cg_kernel *k, int i);
bool cg_kernel_result_used(const cg_kernel *k, int i); // whether anybody reads result i
// Whether result 0 lies where the node's `self` does, which it begins as a copy of: then nothing is to be copied, and nothing written
// unless all of it will be.
bool cg_kernel_over(const cg_kernel *k);
// Name of a `const int64_t *`: whether the state that pointer `name` points to may hold elements that are NaN or beyond CG_EMIT_TAME in
// size; NULL: not known. writes: this kernel writes to that state, and to the word (through a cast) when it wrote such an element.
const char *cg_kernel_wild(cg_kernel *k, const char *name, bool writes);

// Whether result 0, or what the epilogue makes of it, lies with dimension 1 innermost in memory.
bool cg_kernel_channels_last(const cg_kernel *k);

// The text of the body. Inside, these are in scope: threads, detail, and what was asked for above.
// The function returns CG_KERNEL_OK at its end unless the body returns before.
cg_str *cg_kernel_body(cg_kernel *k);
// File-scope text that goes before the function (static helpers; name them after cg_kernel_name).
cg_str *cg_kernel_before(cg_kernel *k);
const char *cg_kernel_name(cg_kernel *k);     // "k3_linear_gelu": unique in the object
// A name for a local variable, which nothing else in the kernel has: `name` itself, or the next free one by number ("part", "part1";
// "t0", "t1"). Names that a fragment of text declares come from here, unless it is in a block of its own that declares each once.
const char *cg_kernel_local(cg_kernel *k, const char *name);
// Statements that take C expression `acc` (of the computation type: float for f16, bf16 and f32; else the dtype's C type) as element
// idx[0…rank-1] (C expressions of type int64_t) of result `i`, apply the epilogue and store. Straight-line code of simple assignments,
// so a loop around it with idx[last] as induction variable vectorises. Write it inside its own { } block.
void cg_kernel_store(cg_kernel *k, cg_str *out, int indent, int i, const char *acc, const char *const *idx);
// C text that reads element `index` (C text) of pointer `name` of dtype t in its computation type: `cg_bf16_f32(in0[i])`, `in0[i]`.
const char *cg_kernel_load(cg_kernel *k, cg_dtype t, const char *name, const char *index);
// C text of value `text` (computation type) converted to what is stored for dtype t.
const char *cg_kernel_convert(cg_kernel *k, cg_dtype t, const char *text);
// From now on what is read and stored is in no loop that could become vectors: half precision is converted number by number.
void cg_kernel_one_by_one(cg_kernel *k);
// The C type elements are stored in / computed in.
const char *cg_kernel_ctype(cg_dtype t);
const char *cg_kernel_computed(cg_dtype t);
// File-scope text that many kernels share (register tiles): written once in an object. Where to write it the first time that
// `key` is asked for, NULL after that. It precedes every kernel's own text.
cg_str *cg_kernel_shared(cg_kernel *k, const char *key);
// Asks for a function of the prelude by name ("cg_expf"): its text (and what it needs) goes to the top of the file.
void cg_kernel_prelude(cg_kernel *k, const char *function);

cg_session *cg_kernel_session(cg_kernel *k);
cg_module *cg_kernel_module(cg_kernel *k);
cg_emitter *cg_kernel_emitter(cg_kernel *k);
const char *cg_kernel_target(cg_kernel *k);   // "x86-64-v3"
bool cg_kernel_has(cg_kernel *k, cg_cpu_extra x);   // whether the target has it
void cg_kernel_needs(cg_kernel *k, cg_cpu_extra x); // the kernel uses it: the artifact needs it
int cg_kernel_vector_bytes(cg_kernel *k);     // 16, 32 or 64: widest vector of the target
// The index of the node's place for errors (detail[2]).
int cg_kernel_site(cg_kernel *k);
// One of n ways to compute what the node means: `predicted`, or with --tune the one that was fastest here. Its name goes into the note; names are static.
int cg_kernel_choose(cg_kernel *k, const char *kind, int n, const char *const *names, int predicted);
// What the template chose, for `inspect` and profiles: stands behind "linear f32[128, 1536]", and behind earlier notes.
void cg_kernel_note(cg_kernel *k, const char *note);
void cg_kernel_cost(cg_kernel *k, double ns); // estimate, for the report
#endif
