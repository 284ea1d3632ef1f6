// Inside the plugin: a region as it is kept after its program was read.
//
// program.cpp  bytes -> region: operators looked up, whatever is no register boxed by the schema's types
// run.cpp      inputs lent, calls made through the dispatcher, outputs handed over
// api.cpp      the C face: errors, schemas, types by Meta kernels
#ifndef CIERGE_TORCH_REGION_H
#define CIERGE_TORCH_REGION_H
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <string>
#include <vector>

#include "artifact/plan.h"
#include "cierge_torch.h"

namespace cierge {

// What the schema wants an argument to be; registers are converted to it in each call.
enum class Want : uint8_t { As_is, Tensor, Int, Float, Bool, Scalar };

enum class List : uint8_t { Tensors, Optional_tensors, Ints, Floats, Bools, Scalars };

struct Arg {
  enum Kind : uint8_t { Constant, Register, Items, Strided, Expression } kind = Constant;
  bool last_use = false;           // Register: nobody reads it after this argument, so it is moved
  Want want = Want::As_is;
  List list = List::Tensors;       // Items
  uint32_t reg = 0;                // Register, Strided
  c10::IValue constant;            // Constant
  std::vector<Arg> items;          // Items; Strided: the strides, then the storage offset
  std::vector<cg_plan_expr_item> expression; // SYM: a register
};

struct Call {
  c10::OperatorHandle op;
  std::vector<Arg> args;
  std::vector<uint32_t> mutated, results, frees;
  explicit Call(c10::OperatorHandle o) : op(o) {}
};

} // namespace cierge

struct cierge_torch_region {
  uint32_t n_inputs = 0, n_registers = 0;
  size_t max_args = 0;
  bool with_autograd = false;      // some operator has its only kernel at an Autograd key
  std::vector<cierge::Call> calls;
  std::vector<uint32_t> outputs;
};

namespace cierge {

// Throws std::exception with a text. on_meta: devices become `meta`, for types.
cierge_torch_region *read_program(const void *data, size_t size, bool on_meta);

// An operator of "ns::name.overload"; empty: unknown.
std::optional<c10::OperatorHandle> find_operator(const char *key);
// A kernel that can take CPU tensors / Meta tensors.
bool has_cpu_kernel(const c10::OperatorHandle &op);
bool has_meta_kernel(const c10::OperatorHandle &op);
bool only_autograd_kernel(const c10::OperatorHandle &op);

// Throws. The calls of r over its inputs; registers come back whole. *failed is the index of the call that threw, -1: none.
using Registers = c10::SmallVector<c10::IValue, 24>;
void run_calls(const cierge_torch_region &r, Registers &registers, int *failed);
void run_region(const cierge_torch_region &r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads,
                int *failed);
int infer_types(const cierge_torch_region &r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int max_out);

} // namespace cierge
#endif
