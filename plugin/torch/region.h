// Inside the plugin: a region as it is kept after its program was read, and what one context keeps of it between calls.
//
// program.cpp   bytes -> region: operators looked up, whatever is no register boxed by the schema's types
// boundary.cpp  inputs lent, outputs handed over
// run.cpp       calls made through the dispatcher
// reuse.cpp     results written into memory that an earlier call made
// jit.cpp       mode "script": the calls as one TorchScript graph
// script.cpp    calls of TorchScript modules; script_load.cpp loads them
// api.cpp       the C face: errors, schemas, types by Meta kernels
#ifndef CIERGE_TORCH_REGION_H
#define CIERGE_TORCH_REGION_H
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "artifact/plan.h"
#include "cierge_torch.h"
#include "unsafe.h"

namespace cierge {

[[noreturn]] inline void fail(const std::string &text) { throw std::runtime_error(text); }

// What the schema wants an argument to be; registers are converted to it in each call.
enum class Want : uint8_t { As_is, Tensor, Int, Float, Bool, Scalar };

enum class List : uint8_t { Tensors, Optional_tensors, Ints, Floats, Bools, Scalars };

struct Arg {
  enum Kind : uint8_t { Constant, Register, Items, Strided, Expression } kind = Constant;
  Want want = Want::As_is;
  List list = List::Tensors;       // Items
  uint32_t reg = 0;                // Register, Strided
  c10::IValue constant;            // Constant
  std::vector<Arg> items;          // Items; Strided: the strides, then the storage offset
  std::vector<cg_plan_expr_item> expression; // SYM: a register
};

// Signatures of most calls of most programs, which are made without boxing their arguments.
using Unary = c10::TypedOperatorHandle<at::Tensor &(const at::Tensor &, at::Tensor &)>;
using Binary = c10::TypedOperatorHandle<at::Tensor &(const at::Tensor &, const at::Tensor &, at::Tensor &)>;
using InPlace = c10::TypedOperatorHandle<at::Tensor &(at::Tensor &)>;
using Scaled = c10::TypedOperatorHandle<at::Tensor &(const at::Tensor &, const at::Tensor &, const at::Scalar &, at::Tensor &)>;

// Other forms of an operator, whose result goes where one says (reuse.cpp).
struct Forms {
  std::optional<c10::OperatorHandle> out;      // one more argument, last, takes the result
  std::optional<c10::OperatorHandle> in_place; // the first argument takes it
  std::optional<Unary> unary;                  // `out` again
  std::optional<Binary> binary;
  std::optional<Scaled> scaled;
  std::optional<c10::Scalar> scale;            // scaled's number, where it is always the same
  std::optional<InPlace> over;                 // `in_place` again
  bool elementwise = false;
  bool own = false;                // the result stays in its register, and the next call writes there
  std::vector<uint32_t> dying;     // registers that the result may overwrite: read here last, element by element
  bool any() const { return out || in_place; }
};

struct ScriptCall; // script.h

struct Call {
  c10::OperatorHandle op;
  std::vector<Arg> args;
  std::vector<uint32_t> mutated, results, frees;
  bool steady = false;             // the types of its results follow from those of the region's inputs
  Forms forms;
  std::shared_ptr<ScriptCall> script; // not NULL: a script's method is called, and op and args are not looked at
  explicit Call(c10::OperatorHandle o) : op(o) {}
};

struct Script; // jit.cpp

} // namespace cierge

struct cierge_torch_region {
  uint32_t n_inputs = 0, n_registers = 0, n_scripts = 0;
  size_t max_args = 0;
  bool with_autograd = false;      // some operator has its only kernel at an Autograd key
  bool reuses = false;             // some call has other forms
  std::vector<cierge::Call> calls;
  std::vector<uint32_t> outputs;
  std::vector<c10::IValue> constants;   // [n_inputs] None: no constant
  std::vector<char> constant;           // [n_inputs] whether
  std::vector<uint32_t> left;           // registers that hold something at the end, constants aside
  std::vector<char> own;                // [n_registers] whether of `left`: the call that makes it has forms.own
  std::shared_ptr<cierge::Script> script; // NULL: calls are made one by one
};

namespace cierge {

// An input as it was last time. Its tensor stays in its register, and gets new memory when the memory is another.
struct Lent {
  cierge_torch_value last = {};
  std::vector<int64_t> size;
  bool kept = false;               // the register holds a tensor over last.data
  Lent() { last.kind = -1; }
};

// Results that look the same: what one of them used can be used by another.
struct Kind {
  at::ScalarType dtype;
  std::vector<int64_t> size, stride;
  int users = 0;                   // calls that can write into such memory
  int away = 0, wished = 0;        // tensors that were free and are in use, and that were asked for in vain
  std::vector<at::Tensor> free;
};

enum : int32_t { NOT_SEEN = -2, NO_KIND = -1 };

} // namespace cierge

struct cierge_torch_run {
  const cierge_torch_region &region;
  std::vector<c10::IValue> registers;
  std::vector<c10::IValue> stack;
  std::vector<cierge::Lent> lent;      // [n_inputs]
  bool changed = true;                 // inputs have other types than in the last call
  std::vector<cierge::Kind> kinds;
  std::vector<int32_t> call_kind;      // [calls] of its result
  std::vector<at::Tensor> number;      // [calls] its constant argument that is a number, in the type that it computes in
  std::vector<int32_t> register_kind;  // [n_registers]
  std::vector<cierge_torch_tensor> back; // [outputs] given last time and given back: a reference of each; NULL between calls
  std::vector<cierge_torch_instance *> instances; // by the script's number
  void (*watch)(void *u, int call, const char *op, uint64_t start, uint64_t ns) = nullptr; // told of each call; NULL: nobody
  void *watcher = nullptr;
  std::set<std::string> watched;       // names that it was told
  explicit cierge_torch_run(const cierge_torch_region &r);
};

namespace cierge {

// All of these throw std::exception with a text.

// on_meta: devices become `meta`, for types; what no Meta kernel can do needs no permission then.
std::unique_ptr<cierge_torch_region> read_program(const void *data, size_t size, bool on_meta, const cierge_torch_region_options *o = nullptr);

// An operator of "ns::name.overload"; empty: unknown.
std::optional<c10::OperatorHandle> find_operator(const char *key);
// A kernel that can take CPU tensors / Meta tensors.
bool has_cpu_kernel(const c10::OperatorHandle &op);
bool has_meta_kernel(const c10::OperatorHandle &op);
bool only_autograd_kernel(const c10::OperatorHandle &op);

// boundary.cpp
// A handle is the reference count's pointer itself. taken: the handle ends here.
at::Tensor tensor_of(cierge_torch_tensor handle, bool taken);
void take_constants(cierge_torch_region &r, const cierge_torch_region_options &o);
// The inputs into registers; run.changed says whether any has another type than last time.
void take_inputs(cierge_torch_run &run, const cierge_torch_value *in, int n_in);
void give_outputs(cierge_torch_run &run, cierge_torch_value *out);
int give_types(cierge_torch_run &run, cierge_torch_value *out, int max_out);
// After a call: whoever still holds a lent tensor gets memory of its own.
void end_loans(cierge_torch_run &run);

// run.cpp
void run_region(cierge_torch_run &run, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads, int *failed);
int infer_types(const cierge_torch_region &r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int max_out);
c10::IValue value_of(const Arg &a, const std::vector<c10::IValue> &registers);

// watch.cpp
uint64_t now(); // ns
// While it lives, run.watch is told of the operators that this thread calls through the dispatcher, but of none that another calls.
struct Watching {
  explicit Watching(cierge_torch_run &run);
  ~Watching();
  uint64_t handle = 0;
};

// reuse.cpp
void find_forms(cierge_torch_region &r);
bool call_into_kept(cierge_torch_run &run, size_t k); // false: there is no memory to be had, nothing was done
void note_result(cierge_torch_run &run, size_t k);    // after a call that made its result anew
void let_go(cierge_torch_run &run, uint32_t reg);     // nobody reads it any more
void begin_reuse(cierge_torch_run &run);
void drop(cierge_torch_tensor &handle);               // one reference
bool stays(const cierge_torch_run &run, uint32_t reg); // between calls: if nobody holds it at the next one, it is written to again

// jit.cpp
void make_script(cierge_torch_region &r, const cierge_torch_region_options &o);
void run_script(cierge_torch_run &run, int *failed);

} // namespace cierge
#endif
