// cierge: compile PyTorch programs to one file, and run that file from C.
//
// Two libraries implement this header:
//   libcierge_rt.so  the runtime: "Programs", "Contexts" below. No compiler inside.
//   libcierge.so     the same and the compiler: "Compiling" as well.
//
// Ownership  Opaque handles come from a `_new`/`_load` function and are released by the matching `_free`,
//            which takes NULL. A program lives until it and all its contexts are freed, in whichever order.
// Errors     A function that can fail returns NULL on success, or a status that the caller frees with
//            cierge_status_free(). Nothing aborts, prints or throws. After a failed call every handle is
//            still usable and still to be freed.
// Threads    A program is immutable and may be shared. A context belongs to one thread at a time; use one
//            context for each thread. A call on a context that another call is still using gives CIERGE_USAGE
//            and changes nothing; cierge_context_free must not overlap another call on it.
//            Statuses belong to whoever got them.
// Tensors    are DLPack's DLTensor on the CPU: any strides (in elements; NULL: C order), byte_offset and alignment.
//            Numbers (int, float, bool) travel as 0-dimensional int64, float64, bool tensors.
#ifndef CIERGE_CIERGE_H
#define CIERGE_CIERGE_H

#include <stddef.h>
#include <stdint.h>

#include "dlpack/dlpack.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CIERGE_CHECK __attribute__((warn_unused_result))
#define CIERGE_API __attribute__((visibility("default")))
#else
#define CIERGE_CHECK
#define CIERGE_API
#endif

#define CIERGE_VERSION "0.1.0"
#define CIERGE_VERSION_MAJOR 0
#define CIERGE_VERSION_MINOR 1
#define CIERGE_VERSION_PATCH 0

// ---------------------------------------------------------------- Status

// name, exit code of the command line program, text
#define CIERGE_CODE_MAP(XX)                                                        \
  XX(OK, 0, "ok")                                                                  \
  XX(INTERNAL, 1, "a bug in cierge")                                               \
  XX(USAGE, 2, "wrong use of the API or command line")                             \
  XX(BAD_MODEL, 3, "the model cannot be read")                                     \
  XX(BAD_ARTIFACT, 3, "the artifact is damaged or not an artifact")                \
  XX(BAD_INPUT, 3, "an input does not fit")                                        \
  XX(RUN_ERROR, 3, "the program raised an error, as PyTorch would")                \
  XX(MISSING, 4, "something needed is missing here")                               \
  XX(IO, 4, "a file cannot be read or written")                                    \
  XX(NO_MEMORY, 4, "out of memory")                                                \
  XX(REFUSED, 5, "refused by a rule that the user set")

typedef enum {
#define XX(name, exit_code, text) CIERGE_##name,
  CIERGE_CODE_MAP(XX)
#undef XX
  CIERGE_CODE_COUNT
} cierge_code;

typedef struct cierge_status cierge_status;

CIERGE_API cierge_code cierge_status_code(const cierge_status *s);       // NULL: CIERGE_OK
CIERGE_API const char *cierge_status_message(const cierge_status *s);    // first line: what and where; "" for NULL
CIERGE_API int cierge_status_exit_code(const cierge_status *s);          // what the CLI would exit with
CIERGE_API void cierge_status_free(cierge_status *s);
CIERGE_API const char *cierge_version(void);                             // CIERGE_VERSION of the library

// ---------------------------------------------------------------- Programs

typedef struct cierge_program cierge_program;

typedef struct {
  size_t size;         // sizeof(cierge_load_options); later versions append fields
  const char *libtorch; // folder of LibTorch; NULL: CIERGE_LIBTORCH, then the places that doc/c-api.md lists. "none": absent
  int lazy;            // 1: weights are mapped without verifying their checksum
  const char *const *torch_libraries; // paths of custom operator libraries, native code; NULL-terminated, may be NULL
  // Operators that touch files, sockets, other processes or Python, which a program may call here all the same: "aten::save",
  // or a namespace, "c10d::". NULL-terminated; NULL: none.
  const char *const *allow_unsafe_ops;
} cierge_load_options;

// Maps and checks an artifact. options may be NULL.
// CIERGE_BAD_ARTIFACT: damaged; CIERGE_MISSING: this machine lacks what the artifact needs (CPU features, LibTorch …).
CIERGE_CHECK CIERGE_API cierge_status *cierge_load(const char *path, const cierge_load_options *options,
                                                   cierge_program **out);
CIERGE_API void cierge_program_free(cierge_program *p);

typedef enum { CIERGE_KIND_TENSOR, CIERGE_KIND_INT, CIERGE_KIND_FLOAT, CIERGE_KIND_BOOL, CIERGE_KIND_NONE,
               CIERGE_KIND_STRING } cierge_kind;

// What a program takes or gives at one position. Lives as long as the program. Of an output whose dtype and shape only each call
// tells (LibTorch makes it), dtype is NULL and rank -1: the tensor of cierge_output_get says them, *t is NULL where it is None.
typedef struct {
  const char *name;        // argument name of the model; outputs: "output_0", …; mutated inputs: the input's name
  cierge_kind kind;
  const char *dtype;       // torch's name: "float32", "bfloat16", …; NULL for none and strings
  DLDataType dl_dtype;
  int rank;
  const int64_t *sizes;    // [rank], -1: symbolic
  const char *const *dims; // [rank], as text: "3", "s0", "2*s0 + 1"
  const char *constant;    // inputs: the recorded value as text if this input is a constant of the export; else NULL
} cierge_spec;

CIERGE_API size_t cierge_input_count(const cierge_program *p);
CIERGE_API size_t cierge_output_count(const cierge_program *p);
CIERGE_API const cierge_spec *cierge_input_spec(const cierge_program *p, size_t i);  // NULL: no such input
CIERGE_API const cierge_spec *cierge_output_spec(const cierge_program *p, size_t i);
// Inputs that the program writes to, or gives another shape (x.t_()): how many, which input the k-th one is, and what that is after a
// call (NULL: no such one). Its memory keeps its layout: another shape is another view of it, which cierge_mutated_get gives.
CIERGE_API size_t cierge_mutated_count(const cierge_program *p);
CIERGE_API size_t cierge_mutated_input(const cierge_program *p, size_t k);
CIERGE_API const cierge_spec *cierge_mutated_spec(const cierge_program *p, size_t k);
// 1: calls leave something in their context that later ones read, as buffers that the model writes to. 0: contexts are alike, and any of them will do.
CIERGE_API int cierge_has_state(const cierge_program *p);

// ---------------------------------------------------------------- Contexts

typedef struct cierge_context cierge_context;

typedef struct {
  size_t size;   // sizeof(cierge_context_options)
  int threads;   // 0: as many as there are processors. The context's own, made by the first call that needs them; the caller's is one of them
  int profile;   // 1: time every step, for cierge_profile_text; 2: also note when, for cierge_profile_trace
} cierge_context_options;

CIERGE_CHECK CIERGE_API cierge_status *cierge_context_new(const cierge_program *p, const cierge_context_options *options,
                                                          cierge_context **out);
CIERGE_API void cierge_context_free(cierge_context *c);

enum { CIERGE_READ_ONLY = 1 }; // this input must not be written to: a program that mutates it refuses the call

// Lends input i to the next calls. The DLTensor struct is copied; its shape, strides and data must stay valid
// until the input is set again or the context is freed. NULL: none / the recorded constant.
// Type, rank and fixed sizes are checked here, symbolic sizes in cierge_run.
CIERGE_CHECK CIERGE_API cierge_status *cierge_input_set(cierge_context *c, size_t i, const DLTensor *t, uint32_t flags);
// The caller's memory for output i, with the exact type and shape (any strides). NULL: the context provides it.
CIERGE_CHECK CIERGE_API cierge_status *cierge_output_set(cierge_context *c, size_t i, const DLTensor *t);
// Runs the program once. It writes to mutated inputs, which are the caller's tensors and share no element with another input
// (CIERGE_BAD_INPUT), and to the context's state; one that fails may have.
CIERGE_CHECK CIERGE_API cierge_status *cierge_run(cierge_context *c);
// Output i of the last call, borrowed until the next call or the context's end. *t is NULL for a None output.
CIERGE_CHECK CIERGE_API cierge_status *cierge_output_get(cierge_context *c, size_t i, const DLTensor **t);
// As above, but transfers it: the caller owns it and calls its deleter.
CIERGE_CHECK CIERGE_API cierge_status *cierge_output_take(cierge_context *c, size_t i, DLManagedTensorVersioned **t);
// What the k-th mutated input is after the last call. With the shape that it was given: the caller's own tensor, as it is set; CIERGE_USAGE
// where it is not set any more. With another one: a tensor of the context's in C order, which holds what the caller's would as that
// view. Both are borrowed until the next call, until that input is set again, or the context's end.
CIERGE_CHECK CIERGE_API cierge_status *cierge_mutated_get(cierge_context *c, size_t k, const DLTensor **t);
// State (mutated buffers) back to what the artifact holds.
CIERGE_CHECK CIERGE_API cierge_status *cierge_reset(cierge_context *c);
// Seeds LibTorch's generator, which random operators use. Nothing to do for programs without LibTorch.
CIERGE_CHECK CIERGE_API cierge_status *cierge_seed(cierge_context *c, uint64_t seed);

// ---------------------------------------------------------------- Looking inside

// Texts are malloc'ed: free them with cierge_text_free.
CIERGE_CHECK CIERGE_API cierge_status *cierge_inspect(const char *path, char **text); // an artifact
// Checks every section's checksum, weights included.
CIERGE_CHECK CIERGE_API cierge_status *cierge_verify(const char *path);
// Where the time of the calls so far went, step by step, and what memory the context plans with. Needs options.profile.
CIERGE_CHECK CIERGE_API cierge_status *cierge_profile_text(const cierge_context *c, char **text);
// The same as JSON: {"functions": [{"name", "steps": [{"kind", "name", "op", "file", "line", "calls", "ns", "estimate_ns"}]}]}, every step
// in the order they run; ns: of all calls so far, a step of control flow with what it called.
CIERGE_CHECK CIERGE_API cierge_status *cierge_profile_json(const cierge_context *c, char **text);
// What happened when, as a Chrome trace (Perfetto reads it): calls, in them their steps, in LibTorch's regions the single operators.
// With the model's source lines and the bytes that steps read and write. A million events are kept. Needs options.profile 2.
CIERGE_CHECK CIERGE_API cierge_status *cierge_profile_trace(const cierge_context *c, char **text);
CIERGE_API void cierge_text_free(char *text);

// ---------------------------------------------------------------- Compiling (libcierge.so only)

typedef struct cierge_options cierge_options;

// Options have the names and texts of the command line's: ("target", "x86-64-v3"), ("require-native", ""), …
// Repeatable ones may be added repeatedly. CIERGE_USAGE: no such option, or its value does not read.
CIERGE_CHECK CIERGE_API cierge_status *cierge_options_new(cierge_options **out);
CIERGE_CHECK CIERGE_API cierge_status *cierge_options_add(cierge_options *o, const char *name, const char *value);
CIERGE_API void cierge_options_free(cierge_options *o);

// Compiles a .pt2 or .cir file into an artifact, written atomically. options may be NULL.
CIERGE_CHECK CIERGE_API cierge_status *cierge_compile(const char *model, const char *out_path,
                                                      const cierge_options *options);
// The same for a program in the text form (doc/ir.md) in memory, `size` bytes. path (NULL: "program.cir") is where it would lie: for
// messages, and for the weights and blobs beside it, unless the options `weights` and `blobs` say where those are.
CIERGE_CHECK CIERGE_API cierge_status *cierge_compile_text(const char *text, size_t size, const char *path, const char *out_path,
                                                           const cierge_options *options);
// What would be native, what not, and why, without compiling (the text of `cierge explain`).
CIERGE_CHECK CIERGE_API cierge_status *cierge_explain(const char *model, const cierge_options *options, char **text);

#ifdef __cplusplus
}
#endif
#endif
