// Runs a region: makes its calls through the dispatcher.
//
// Calls are made below autograd and without gradients, on plain tensors: nothing is recorded, no version is counted,
// and operators of every kind (composite, custom, registered from Python) find the kernel they find in PyTorch.
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/AutogradState.h>

#include <stdexcept>
#include <utility>

#include "base/size_op.h"
#include "script.h"

namespace cierge {
namespace {

using c10::IValue;
using Registers = std::vector<IValue>;

// ---------------------------------------------------------------- arguments

at::Tensor wrapped(const IValue &v) {
  at::Tensor t = at::empty({}, v.isInt() ? at::kLong : v.isBool() ? at::kBool : v.isComplexDouble() ? at::kComplexDouble : at::kDouble);
  t.fill_(v.toScalar());
  t.unsafeGetTensorImpl()->set_wrapped_number(true);
  return t;
}

// What a register holds, as the schema wants it.
IValue convert(IValue v, Want want) {
  if (want != Want::Tensor && want != Want::As_is && v.isTensor()) { // a number that came as a tensor of one element
    c10::Scalar s = v.toTensor().item();
    v = want == Want::Float ? IValue(s.toDouble()) : want == Want::Int ? IValue(s.toLong()) : want == Want::Bool ? IValue(s.toBool()) : IValue(s);
  }
  switch (want) {
  case Want::Tensor: return v.isScalar() ? IValue(wrapped(v)) : v;
  case Want::Float: return v.isInt() ? IValue((double)v.toInt()) : v.isBool() ? IValue((double)v.toBool()) : v;
  case Want::Int: return v.isBool() ? IValue((int64_t)v.toBool()) : v;
  case Want::Bool: return v.isInt() ? IValue(v.toInt() != 0) : v;
  default: return v;
  }
}

bool fits(const IValue &v, Want want) {
  switch (want) {
  case Want::Tensor: return v.isTensor();
  case Want::Float: return v.isDouble();
  case Want::Int: return v.isInt();
  case Want::Bool: return v.isBool();
  case Want::Scalar: return v.isScalar();
  default: return true;
  }
}

int64_t evaluate(const std::vector<cg_plan_expr_item> &x, const Registers &regs) {
  std::vector<int64_t> st;
  auto pop = [&] { int64_t v = st.back(); st.pop_back(); return v; };
  for (const auto &i : x) {
    int64_t b = 0, a = 0, r = 0;
    if (i.op == CG_X_INT) { st.push_back(i.arg); continue; }
    if (i.op == CG_X_SYM) { st.push_back(regs[(size_t)i.arg].toInt()); continue; }
    b = pop();
    if (i.op == CG_X_NOT) { st.push_back(!b); continue; }
    a = pop();
    if (i.op == CG_X_WHERE) r = pop() ? a : b;
    else if (!b && (i.op == CG_X_FLOORDIV || i.op == CG_X_MOD)) fail("a size is divided by zero");
    else if (!cg_x_apply(i.op, a, b, &r)) fail("a size does not fit into 64 bits");
    st.push_back(r);
  }
  return st.back();
}

// The tensor copied into the layout that the model had it in. Memory between its elements is not defined.
at::Tensor restride(const Arg &a, const Registers &regs) {
  at::Tensor from = convert(regs[a.reg], Want::Tensor).toTensor();
  size_t rank = a.items.size() - 1;
  if (from.dim() != (int64_t)rank) fail("a tensor of " + std::to_string(from.dim()) + " dimensions is to get " + std::to_string(rank) + " strides");
  std::vector<int64_t> stride;
  for (size_t k = 0; k < rank; k++) stride.push_back(value_of(a.items[k], regs).toInt());
  int64_t offset = value_of(a.items[rank], regs).toInt(), extent = offset + 1, over;
  for (size_t k = 0; k < rank; k++) {
    int64_t n = from.size((int64_t)k);
    if (stride[k] < 0 || offset < 0) fail("strides and offsets cannot be negative");
    if (n > 1 && (__builtin_mul_overflow(n - 1, stride[k], &over) || __builtin_add_overflow(extent, over, &extent)))
      fail("strides do not fit into 64 bits");
  }
  if (!from.numel()) extent = offset;
  at::Tensor to = at::empty({extent}, from.options()).as_strided(from.sizes(), stride, offset), target = to;
  for (size_t k = 0; k < rank; k++)
    if (!stride[k] && from.size((int64_t)k) > 1) { // expanded: its elements are one
      target = target.narrow((int64_t)k, 0, 1);
      from = from.narrow((int64_t)k, 0, 1);
    }
  target.copy_(from);
  return to;
}

IValue list_of(const Arg &a, const Registers &regs) {
  switch (a.list) {
  case List::Tensors: {
    c10::List<at::Tensor> l;
    l.reserve(a.items.size());
    for (const Arg &i : a.items) l.push_back(value_of(i, regs).toTensor());
    return l;
  }
  case List::Optional_tensors: {
    c10::List<std::optional<at::Tensor>> l;
    l.reserve(a.items.size());
    for (const Arg &i : a.items) {
      IValue v = value_of(i, regs);
      l.push_back(v.isTensor() && v.toTensor().defined() ? std::optional<at::Tensor>(v.toTensor()) : std::nullopt);
    }
    return l;
  }
  case List::Ints: {
    c10::List<int64_t> l;
    l.reserve(a.items.size());
    for (const Arg &i : a.items) l.push_back(value_of(i, regs).toInt());
    return l;
  }
  case List::Floats: {
    c10::List<double> l;
    for (const Arg &i : a.items) l.push_back(value_of(i, regs).toDouble());
    return l;
  }
  case List::Bools: {
    c10::List<bool> l;
    for (const Arg &i : a.items) l.push_back(value_of(i, regs).toBool());
    return l;
  }
  default: {
    c10::impl::GenericList l(c10::NumberType::get());
    for (const Arg &i : a.items) l.push_back(value_of(i, regs));
    return l;
  }
  }
}

} // namespace

IValue value_of(const Arg &a, const Registers &regs) {
  switch (a.kind) {
  case Arg::Constant: return a.constant;
  case Arg::Register: return fits(regs[a.reg], a.want) ? regs[a.reg] : convert(regs[a.reg], a.want);
  case Arg::Items: return list_of(a, regs);
  case Arg::Strided: return restride(a, regs);
  default: return convert(IValue(evaluate(a.expression, regs)), a.want);
  }
}

// ---------------------------------------------------------------- calls

namespace {

// What the call may write to is copied first; the copies are results.
void clone_mutated(IValue &v, std::vector<IValue> &clones) {
  if (v.isTensor() && v.toTensor().defined()) v = v.toTensor().clone();
  else if (v.isTensorList()) {
    c10::List<at::Tensor> copies;
    for (const at::Tensor &t : v.toTensorList()) copies.push_back(t.clone());
    v = copies;
    for (const at::Tensor &t : copies) clones.emplace_back(t);
    return;
  }
  clones.push_back(v);
}

// A register holds numbers as they are: what PyTorch would conjugate or negate later is done now, so that it does not matter which of
// a program's copies, which would have done it, are left out, and no view of bits meets it.
void keep(const Call &c, size_t &at, IValue v, Registers &regs) {
  if (at < c.results.size() && c.results[at] != 0xffffffffu) {
    if (v.isTensor() && v.toTensor().defined()) {
      const at::Tensor &t = v.toTensor();
      if (t.is_conj() || t.is_neg()) v = t.resolve_conj().resolve_neg();
    }
    regs[c.results[at]] = std::move(v);
  }
  at++;
}

void make_call(const Call &c, cierge_torch_run &run) {
  std::vector<IValue> &stack = run.stack;
  Registers &regs = run.registers;
  stack.clear();
  if (c.script) script_arguments(*c.script, run, stack);
  for (const Arg &a : c.args) stack.push_back(value_of(a, regs));
  std::vector<IValue> clones;
  for (uint32_t m : c.mutated) clone_mutated(stack[m], clones);
  if (c.script) call_script(*c.script, stack);
  else c.op.callBoxed(stack);
  size_t at = 0;
  for (IValue &v : stack) {
    if (c.script) { // opened already
      keep(c, at, std::move(v), regs);
    } else if (v.isTensorList()) {
      for (const at::Tensor &t : v.toTensorList()) keep(c, at, t, regs);
    } else if (v.isList()) {
      for (const IValue &i : v.toListRef()) keep(c, at, i, regs);
    } else {
      keep(c, at, std::move(v), regs);
    }
  }
  stack.clear();
  for (IValue &v : clones) keep(c, at, std::move(v), regs);
  if (at != c.results.size())
    fail((c.script ? c.script->key : c.op.schema().name()) + " gave " + std::to_string(at) + " results, the program expects " + std::to_string(c.results.size()));
}

// Below autograd, unless an operator's only kernel is there; never with the caller's autocast.
class Guards {
  struct Entered {
    c10::AutogradState &autograd = c10::AutogradState::get_tls_state(); // as NoGradGuard, which looks for it four times
    bool grad_mode = autograd.get_grad_mode();
    c10::impl::ExcludeDispatchKeyGuard excluded;
    explicit Entered(bool with_autograd)
        : excluded(with_autograd ? c10::autocast_dispatch_keyset : c10::autocast_dispatch_keyset | c10::autograd_dispatch_keyset_with_ADInplaceOrView) {
      autograd.set_grad_mode(false);
    }
    ~Entered() { autograd.set_grad_mode(grad_mode); }
  };
  bool with_autograd;
  std::optional<Entered> entered;

public:
  explicit Guards(const cierge_torch_region &r) : with_autograd(r.with_autograd) {}
  void enter() {
    if (!entered) entered.emplace(with_autograd);
  }
};

// An elementwise kernel that is called where it is (Forms) sees neither autograd nor autocast, and calls no other operator.
void run_calls(cierge_torch_run &run, Guards &guards, int *failed) {
  const cierge_torch_region &r = run.region;
  for (size_t k = 0; k < r.calls.size(); k++) {
    const Call &c = r.calls[k];
    *failed = (int)k;
    uint64_t start = run.watch ? now() : 0;
    if (!c.forms.elementwise) guards.enter();
    if (!r.reuses || !call_into_kept(run, k)) {
      guards.enter();
      make_call(c, run);
      if (r.reuses) note_result(run, k);
    }
    for (uint32_t f : c.frees) let_go(run, f);
    if (run.watch) run.watch(run.watcher, (int)k, nullptr, start, now() - start);
  }
  *failed = -1;
}

// All registers but those of constants, of lent inputs and of results that may be used again: after a call, whatever became of it.
struct Clearing {
  cierge_torch_run &run;
  bool done = false;
  ~Clearing() {
    const cierge_torch_region &r = run.region;
    run.stack.clear();
    for (cierge_torch_tensor &h : run.back) drop(h);
    if (done)
      for (uint32_t reg : r.left) {
        if (!stays(run, reg)) run.registers[reg] = IValue();
      }
    else {
      for (size_t k = r.n_inputs; k < run.registers.size(); k++) run.registers[k] = IValue();
      run.changed = true; // what was noted of this call is not whole
    }
    try {
      end_loans(run);
    } catch (...) {
      for (size_t k = 0; k < r.n_inputs; k++)
        if (!r.constant[k]) run.lent[k] = Lent(), run.registers[k] = IValue();
    }
  }
};

} // namespace

void run_region(cierge_torch_run &run, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads, int *failed) {
  const cierge_torch_region &r = run.region;
  if (n_out != (int)r.outputs.size()) fail("the region gives " + std::to_string(r.outputs.size()) + " outputs, not " + std::to_string(n_out));
  // The count of threads belongs to OpenMP's calling thread (and to MKL): it is changed only where it differs, and stays.
  if (threads > 0 && at::get_num_threads() != threads) at::set_num_threads(threads);
  Guards guards(r);
  if (r.script) guards.enter();
  for (int k = 0; k < n_out; k++) {
    run.back[(size_t)k] = std::exchange(out[k].handle, nullptr);
    if (!r.reuses) drop(run.back[(size_t)k]);
  }
  Clearing clearing{run};
  take_inputs(run, in, n_in);
  if (r.script) run_script(run, failed);
  else {
    if (r.reuses) begin_reuse(run);
    run_calls(run, guards, failed);
  }
  give_outputs(run, out);
  clearing.done = true;
}

int infer_types(const cierge_torch_region &r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int max_out) {
  if (n_in != (int)r.n_inputs) fail("the region takes " + std::to_string(r.n_inputs) + " inputs, not " + std::to_string(n_in));
  Guards guards(r);
  guards.enter();
  cierge_torch_run run(r);
  for (int k = 0; k < n_in; k++) {
    const cierge_torch_value &v = in[k];
    IValue &x = run.registers[(size_t)k];
    if (v.kind == 0 && v.handle) x = tensor_of(v.handle, false);
    else if (v.kind == 1) x = v.i;
    else if (v.kind == 2) x = v.f;
    else if (v.kind == 3) x = v.i != 0;
    if (v.kind || v.handle) continue;
    if (v.dtype < 0 || v.dtype >= (int)c10::ScalarType::NumOptions) fail("no such dtype: " + std::to_string(v.dtype));
    auto options = at::TensorOptions((at::ScalarType)v.dtype).device(at::kMeta);
    c10::IntArrayRef size(v.size, (size_t)v.rank);
    x = v.stride ? at::empty_strided(size, c10::IntArrayRef(v.stride, (size_t)v.rank), options) : at::empty(size, options);
  }
  int failed;
  run_calls(run, guards, &failed);
  return give_types(run, out, max_out);
}

} // namespace cierge

cierge_torch_run::cierge_torch_run(const cierge_torch_region &r)
    : region(r), registers(r.n_registers), lent(r.n_inputs), call_kind(r.calls.size(), cierge::NOT_SEEN), number(r.calls.size()),
      register_kind(r.n_registers, cierge::NO_KIND), back(r.outputs.size()) {
  stack.reserve(r.max_args + 4);
  for (size_t k = 0; k < r.constants.size(); k++) registers[k] = r.constants[k];
}
