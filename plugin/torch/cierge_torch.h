// The C face of libcierge_torch.so. Nobody else includes PyTorch; no C++ type and no exception crosses it.
//
// The plugin is opened with dlopen after LibTorch's own libraries; its one symbol is cierge_torch_api().
// Errors  Functions return 0 on success; else the buffer holds a text (LibTorch's message, first line, no backtrace).
// Threads Everything may be called from any thread; a region may be run by several threads at once, each with its own
//         cierge_torch_run.
#ifndef CIERGE_TORCH_H
#define CIERGE_TORCH_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define CIERGE_TORCH_ABI 1

typedef struct cierge_torch_region cierge_torch_region;
typedef void *cierge_torch_tensor; // an at::Tensor of its own

typedef struct { char *text; size_t size; } cierge_torch_error;

// One value that crosses the boundary.
typedef struct {
  int kind;                    // 0 tensor, 1 int, 2 float, 3 bool, 4 none
  // tensors
  cierge_torch_tensor handle;  // in: use this tensor (not consumed); NULL: wrap `data`. out: owned by the caller, free with tensor_free
  void *data;                  // in: lent memory, C order unless `stride`; out: where the result lies, C order
  int dtype;                   // c10 code
  int rank;
  const int64_t *size;         // in: [rank]; out: points into the tensor, valid while it lives
  const int64_t *stride;       // in: NULL: C order
  // numbers
  int64_t i;
  double f;
} cierge_torch_value;

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
  // A region from its program: operators are looked up, non-tensor arguments boxed, now.
  int (*region_new)(const void *program, size_t size, cierge_torch_region **out, cierge_torch_error *e);
  void (*region_free)(cierge_torch_region *r);
  // Runs it. in[n_in] and out[n_out] are in the program's order. threads: for PyTorch's own parallelism.
  // failed_call: on failure the index of the call that failed (for the message's place).
  int (*region_run)(cierge_torch_region *r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads,
                    int *failed_call, cierge_torch_error *e);
  void (*tensor_free)(cierge_torch_tensor t);
  void (*seed)(uint64_t seed);
} cierge_torch_api_v1;

__attribute__((visibility("default"))) const cierge_torch_api_v1 *cierge_torch_api(void);

#ifdef __cplusplus
}
#endif
#endif
