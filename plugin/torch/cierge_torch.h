// The C face of libcierge_torch.so. Nobody else includes PyTorch; no C++ type and no exception crosses it.
//
// The plugin is opened with dlopen after LibTorch's own libraries; its one symbol is cierge_torch_api().
// Errors  Functions return 0 on success; else the buffer holds a text (LibTorch's message, first line, no backtrace).
// Threads Everything may be called from any thread; a region may be run by several threads at once, each with its own
//         cierge_torch_run, which no two use at the same time.
#ifndef CIERGE_TORCH_H
#define CIERGE_TORCH_H
#include <stddef.h>
#include <stdint.h>

#include "cierge_torch_import.h"
#ifdef __cplusplus
extern "C" {
#endif

#define CIERGE_TORCH_ABI 5
#define CIERGE_TORCH_UNSAFE (-2) // instead of another failure: the program would reach beyond tensors, which nobody allowed

typedef struct cierge_torch_region cierge_torch_region;
typedef struct cierge_torch_run cierge_torch_run; // a region in one context: tensors and memory that it keeps between calls
typedef void *cierge_torch_tensor; // a c10::TensorImpl with a reference of its own

typedef struct { char *text; size_t size; } cierge_torch_error;

// One value that crosses the boundary.
typedef struct {
  int kind;                    // 0 tensor, 1 int, 2 float, 3 bool, 4 none
  // tensors
  // in: use this tensor (not consumed); NULL: wrap `data`. out: owned by the caller, free with tensor_free; before the call what the
  // region's last run gave here, whose memory may be used again (consumed), or NULL
  cierge_torch_tensor handle;
  void *data;                  // in: lent memory, C order unless `stride`; out: where the result lies, C order
  int dtype;                   // c10 code
  int rank;
  const int64_t *size;         // in: [rank]; out: points into the tensor, valid while it lives
  const int64_t *stride;       // in: NULL: C order
  // numbers
  int64_t i;
  double f;
} cierge_torch_value;

// A module of TorchScript as an archive holds it, its constants folded into its methods; and what changes of it, in one context.
typedef struct cierge_torch_script cierge_torch_script;
typedef struct cierge_torch_instance cierge_torch_instance;

// What the graph of a method says, without running it. Arrays live as long as the script.
typedef struct {
  int stateful;                // it reads or changes attributes of the module that change
  int draws, effect;           // random numbers; whatever else must happen (it may raise, print, change the module)
  int n_args, n_required;      // arguments from n_required on have defaults
  const char *const *arg_type; // [n_args] as TorchScript writes it: "Tensor", "Optional[Tensor]", "List[int]"
  const unsigned char *writes; // [n_args] 1: it may write to what this argument holds
  int n_returns;               // tuples opened
  const char *const *return_type; // [n_returns]
  const unsigned char *shares; // [n_returns][n_args + n_returns] 1: it may share memory with that argument, with that return
  int n_ops;
  const char *const *op;       // operators of libraries besides PyTorch: "ns::name.overload"
} cierge_torch_script_info;

// How a region is made.
typedef struct {
  const char *mode;            // "ops": calls one by one; "script": one TorchScript graph, optimised with the constants in it
  // [n_in] what is known of the inputs before any call: kind, dtype, rank, size (-1: unknown). Tensors with `data` are constants:
  // their memory outlives the region, region_run never gets them. NULL: nothing is known.
  const cierge_torch_value *inputs;
  int n_in;
  cierge_torch_script *const *scripts; // [n_scripts] that the program's script calls name by number; they outlive the region
  int n_scripts;
  const char *const *allow;    // [n_allow] operators of artifact/unsafe.h that may be called
  int n_allow;
} cierge_torch_region_options;

typedef struct {
  uint32_t abi;                // CIERGE_TORCH_ABI
  const char *version;         // "2.13.0"
  // Schema text of "ns::name.overload"; 0 found, 1 unknown. Written into buf (truncated texts give 1).
  int (*schema)(const char *key, char *buf, size_t size);
  // Whether a kernel exists for the CPU / a C++ Meta kernel exists (decided from the dispatch table, without calling): 1 or 0.
  int (*has_cpu)(const char *key);
  int (*has_meta)(const char *key);
  // Types of a call's results by Meta kernels. `program` is a region of one call (backend/torch/program.h), inputs carry
  // types only. Results: out[k].dtype, rank, size (valid while handle lives). Returns how many, or -1 and an error.
  int (*infer)(const void *program, size_t size, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int max_out,
               cierge_torch_error *e);
  int (*load_library)(const char *path, cierge_torch_error *e); // a custom operator library
  // Where an operator comes from: "python FILE:LINE", the path that load_library was given; "" where nobody knows.
  void (*origin)(const char *key, char *buf, size_t size);
  // A region from its program: operators are looked up, non-tensor arguments boxed, constants wrapped, graphs optimised, now.
  int (*region_new)(const void *program, size_t size, const cierge_torch_region_options *o, cierge_torch_region **out,
                    cierge_torch_error *e);
  void (*region_free)(cierge_torch_region *r); // after its runs
  // instances: one for each of the region's scripts; they outlive the run.
  int (*run_new)(cierge_torch_region *r, cierge_torch_instance *const *instances, cierge_torch_run **out, cierge_torch_error *e);
  void (*run_free)(cierge_torch_run *run);
  // Runs it. in[n_in] and out[n_out] are in the program's order; entries of constants are not looked at. threads: for PyTorch's
  // own parallelism. failed_call: on failure the index of the call that failed, -1: unknown (for the message's place).
  int (*region_run)(cierge_torch_run *run, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads,
                    int *failed_call, cierge_torch_error *e);
  void (*tensor_free)(cierge_torch_tensor t);
  void (*seed)(uint64_t seed);
  // A script from the bytes of its archive, which are not needed afterwards. They may be anybody's: structure, sizes and CRCs are
  // checked before LibTorch reads them. Operators that touch files, sockets, processes or Python are refused, unless their name
  // is among allow[n_allow].
  int (*script_load)(const void *bytes, size_t size, const char *const *allow, int n_allow, cierge_torch_script **out, cierge_torch_error *e);
  void (*script_free)(cierge_torch_script *s); // after its instances, and regions that use it
  int (*script_info)(cierge_torch_script *s, const char *method, cierge_torch_script_info *out, cierge_torch_error *e);
  int (*script_instance)(cierge_torch_script *s, cierge_torch_instance **out, cierge_torch_error *e); // in the archive's state
  void (*instance_free)(cierge_torch_instance *i);
  int (*instance_reset)(cierge_torch_instance *i, cierge_torch_error *e); // back to the archive's state
  // From now on tells `done` of each operator that the run calls, when it is done. Mode "ops": op is NULL, and call its number in
  // the program. Mode "script", whose optimised graph has operators of its own: op names it as long as the run lives. ns, of CLOCK_MONOTONIC.
  void (*run_watch)(cierge_torch_run *run, void (*done)(void *u, int call, const char *op, uint64_t start, uint64_t ns), void *u);
  // A program of TorchScript as a text. Refuses what script_load refuses.
  int (*import_script)(const cierge_torch_import *in, cierge_torch_imported *out, cierge_torch_error *e);
  void (*import_free)(cierge_torch_imported *x);
} cierge_torch_api_v1;

__attribute__((visibility("default"))) const cierge_torch_api_v1 *cierge_torch_api(void);

#ifdef __cplusplus
}
#endif
#endif
