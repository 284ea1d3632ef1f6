// Runs a region: lends the inputs, makes the calls through the dispatcher, hands the outputs over.
//
// Calls are made below autograd and without gradients, on plain tensors: nothing is recorded, no version is counted,
// and operators of every kind (composite, custom, registered from Python) find the kernel they find in PyTorch.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/zeros.h>

#include <stdexcept>

#include "region.h"

namespace cierge {
namespace {

using c10::IValue;

[[noreturn]] void fail(const std::string &text) { throw std::runtime_error(text); }

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

int64_t floor_divide(int64_t a, int64_t b, bool modulo) {
  if (!b) fail("a size is divided by zero");
  if (b == -1 && a == INT64_MIN) fail("a size does not fit into 64 bits");
  int64_t q = a / b, m = a % b;
  if (m && (m < 0) != (b < 0)) q--, m += b;
  return modulo ? m : q;
}

int64_t evaluate(const std::vector<cg_plan_expr_item> &x, const Registers &regs) {
  std::vector<int64_t> st;
  auto pop = [&] { int64_t v = st.back(); st.pop_back(); return v; };
  for (const auto &i : x) {
    int64_t b = 0, a = 0, r = 0;
    bool over = false;
    if (i.op == CG_E_INT) { st.push_back(i.arg); continue; }
    if (i.op == CG_E_SYM) { st.push_back(regs[(size_t)i.arg].toInt()); continue; }
    b = pop();
    if (i.op == CG_E_NOT) { st.push_back(!b); continue; }
    a = pop();
    switch (i.op) {
    case CG_E_ADD: over = __builtin_add_overflow(a, b, &r); break;
    case CG_E_MUL: over = __builtin_mul_overflow(a, b, &r); break;
    case CG_E_FLOORDIV: r = floor_divide(a, b, false); break;
    case CG_E_MOD: r = floor_divide(a, b, true); break;
    case CG_E_MAX: r = std::max(a, b); break;
    case CG_E_MIN: r = std::min(a, b); break;
    case CG_E_EQ: r = a == b; break;
    case CG_E_NE: r = a != b; break;
    case CG_E_LT: r = a < b; break;
    case CG_E_LE: r = a <= b; break;
    case CG_E_AND: r = a && b; break;
    case CG_E_OR: r = a || b; break;
    case CG_E_WHERE: r = pop() ? a : b; break;
    default: fail("a size is computed in an unknown way");
    }
    if (over) fail("a size does not fit into 64 bits");
    st.push_back(r);
  }
  return st.back();
}

IValue value_of(const Arg &a, Registers &regs);

// The tensor copied into the layout that the model had it in. Memory between its elements is not defined.
at::Tensor restride(const Arg &a, Registers &regs) {
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

IValue list_of(const Arg &a, Registers &regs) {
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

IValue value_of(const Arg &a, Registers &regs) {
  switch (a.kind) {
  case Arg::Constant: return a.constant;
  case Arg::Register: {
    IValue &r = regs[a.reg];
    if (fits(r, a.want)) return a.last_use ? std::move(r) : r;
    return convert(r, a.want);
  }
  case Arg::Items: return list_of(a, regs);
  case Arg::Strided: return restride(a, regs);
  default: return convert(IValue(evaluate(a.expression, regs)), a.want);
  }
}

// ---------------------------------------------------------------- calls

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

void keep(const Call &c, size_t &at, IValue v, Registers &regs) {
  if (at < c.results.size() && c.results[at] != 0xffffffffu) regs[c.results[at]] = std::move(v);
  at++;
}

void make_call(const Call &c, torch::jit::Stack &stack, Registers &regs) {
  stack.clear();
  for (const Arg &a : c.args) stack.push_back(value_of(a, regs));
  std::vector<IValue> clones;
  for (uint32_t m : c.mutated) clone_mutated(stack[m], clones);
  c.op.callBoxed(stack);
  size_t at = 0;
  for (IValue &v : stack) {
    if (v.isTensorList()) {
      for (const at::Tensor &t : v.toTensorList()) keep(c, at, t, regs);
    } else if (v.isList()) {
      for (const IValue &i : v.toListRef()) keep(c, at, i, regs);
    } else {
      keep(c, at, std::move(v), regs);
    }
  }
  for (IValue &v : clones) keep(c, at, std::move(v), regs);
  if (at != c.results.size())
    fail(c.op.schema().name() + " gave " + std::to_string(at) + " results, the program expects " + std::to_string(c.results.size()));
  for (uint32_t f : c.frees) regs[f] = IValue();
}

// ---------------------------------------------------------------- the boundary

struct Lent {
  const char *begin, *end;
};
using Lents = c10::SmallVector<Lent, 16>;

at::ScalarType dtype_of(const cierge_torch_value &v) {
  if (v.dtype < 0 || v.dtype >= (int)c10::ScalarType::NumOptions) fail("no such dtype: " + std::to_string(v.dtype));
  return (at::ScalarType)v.dtype;
}

at::Tensor lend(const cierge_torch_value &v, Lents &lents) {
  at::ScalarType t = dtype_of(v);
  c10::IntArrayRef size(v.size, (size_t)v.rank);
  size_t bytes = c10::elementSize(t), extent = bytes;
  int64_t numel = c10::multiply_integers(size);
  if (!numel) return at::empty(size, t);
  if (!v.data) fail("an input has no memory");
  if (v.stride) {
    for (int k = 0; k < v.rank; k++) {
      if (v.stride[k] < 0) fail("an input has a negative stride");
      extent += (size_t)(v.size[k] - 1) * (size_t)v.stride[k] * bytes;
    }
  } else extent = (size_t)numel * bytes;
  // What from_blob does, without its detours: a storage that frees nothing, and a tensor over it.
  auto impl = c10::make_intrusive<c10::TensorImpl>(
      c10::Storage(c10::Storage::use_byte_size_t(), extent, c10::DataPtr(v.data, c10::Device(at::kCPU)), nullptr, false),
      c10::DispatchKeySet(c10::DispatchKey::CPU), c10::scalarTypeToTypeMeta(t));
  if (v.stride) impl->set_sizes_and_strides(size, c10::IntArrayRef(v.stride, (size_t)v.rank));
  else impl->set_sizes_contiguous(size);
  at::Tensor x(std::move(impl));
  if ((uintptr_t)v.data % std::min<size_t>(bytes, 8)) return x.clone(); // PyTorch's kernels take alignment for granted
  lents.push_back({(const char *)v.data, (const char *)v.data + extent});
  return x;
}

IValue input(const cierge_torch_value &v, Lents &lents) {
  switch (v.kind) {
  case 0: return v.handle ? IValue(*(at::Tensor *)v.handle) : IValue(lend(v, lents));
  case 1: return v.i;
  case 2: return v.f;
  case 3: return v.i != 0;
  case 4: return IValue();
  default: fail("no such kind of input: " + std::to_string(v.kind));
  }
}

Lent memory_of(const at::Tensor &t) {
  const char *p = (const char *)t.const_data_ptr();
  return {p, p + (size_t)t.numel() * t.element_size()};
}

bool overlap(const Lent &a, const Lent &b) { return a.begin < b.end && b.begin < a.end; }

// A plain tensor in C order that shares memory with no lent input and no other output.
at::Tensor settle(at::Tensor t, const Lents &taken) {
  if (t.layout() != at::kStrided || t.is_quantized() || t.is_nested()) fail("a sparse, quantised or nested tensor cannot leave its region");
  if (!t.device().is_cpu()) fail("a result lies on the device " + t.device().str());
  if (t.is_conj()) t = t.resolve_conj();
  if (t.is_neg()) t = t.resolve_neg();
  if (t._is_zerotensor()) t = at::zeros(t.sizes(), t.options());
  if (!t.is_contiguous()) t = t.contiguous();
  if (!t.numel()) return t;
  Lent m = memory_of(t);
  for (const Lent &l : taken)
    if (overlap(m, l)) return t.clone(at::MemoryFormat::Contiguous);
  return t;
}

void output_number(const IValue &v, cierge_torch_value *out) {
  *out = {};
  if (v.isInt()) out->kind = 1, out->i = v.toInt();
  else if (v.isDouble()) out->kind = 2, out->f = v.toDouble();
  else if (v.isBool()) out->kind = 3, out->i = v.toBool();
  else if (v.isNone()) out->kind = 4;
  else fail("a result of kind " + v.tagKind() + " cannot leave its region");
}

void describe(const at::Tensor &t, cierge_torch_value *out) {
  *out = {};
  out->dtype = (int)t.scalar_type();
  out->rank = (int)t.dim();
  at::Tensor *handle = new at::Tensor(t);
  out->handle = handle;
  out->size = handle->sizes().data();
}

void release(cierge_torch_value *out, int n) {
  for (int k = 0; k < n; k++) {
    if (out[k].kind == 0) delete (at::Tensor *)out[k].handle;
    out[k] = {};
  }
}

void outputs(const cierge_torch_region &r, Registers &regs, Lents &taken, cierge_torch_value *out) {
  int done = 0;
  try {
    for (uint32_t o : r.outputs) {
      const IValue &v = regs[o];
      if (!v.isTensor()) output_number(v, &out[done]);
      else if (!v.toTensor().defined()) out[done] = {}, out[done].kind = 4;
      else {
        at::Tensor t = settle(v.toTensor(), taken);
        describe(t, &out[done]);
        out[done].data = t.mutable_data_ptr();
        if (r.outputs.size() > 1 && t.numel()) taken.push_back(memory_of(t));
      }
      done++;
    }
  } catch (...) {
    release(out, done);
    throw;
  }
}

// Below autograd, unless an operator's only kernel is there; never with the caller's autocast.
struct Guards {
  at::NoGradGuard no_grad;
  c10::impl::ExcludeDispatchKeyGuard excluded;
  explicit Guards(bool with_autograd)
      : excluded(with_autograd ? c10::autocast_dispatch_keyset : c10::autocast_dispatch_keyset | c10::autograd_dispatch_keyset_with_ADInplaceOrView) {}
};

void check_counts(const cierge_torch_region &r, int n_in) {
  if (n_in != (int)r.n_inputs) fail("the region takes " + std::to_string(r.n_inputs) + " inputs, not " + std::to_string(n_in));
}

} // namespace

void run_calls(const cierge_torch_region &r, Registers &regs, int *failed) {
  torch::jit::Stack stack;
  stack.reserve(r.max_args + 4);
  for (size_t k = 0; k < r.calls.size(); k++) {
    *failed = (int)k;
    make_call(r.calls[k], stack, regs);
  }
  *failed = -1;
}

void run_region(const cierge_torch_region &r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int n_out, int threads,
                int *failed) {
  check_counts(r, n_in);
  if (n_out != (int)r.outputs.size()) fail("the region gives " + std::to_string(r.outputs.size()) + " outputs, not " + std::to_string(n_out));
  // The count of threads belongs to OpenMP's calling thread (and to MKL): it is changed only where it differs, and stays.
  if (threads > 0 && at::get_num_threads() != threads) at::set_num_threads(threads);
  Guards guards(r.with_autograd);
  Registers regs(r.n_registers);
  Lents taken;
  for (int k = 0; k < n_in; k++) regs[(size_t)k] = input(in[k], taken);
  run_calls(r, regs, failed);
  outputs(r, regs, taken, out);
}

int infer_types(const cierge_torch_region &r, const cierge_torch_value *in, int n_in, cierge_torch_value *out, int max_out) {
  check_counts(r, n_in);
  if ((int)r.outputs.size() > max_out) fail("more results than there is room for");
  Guards guards(r.with_autograd);
  Registers regs(r.n_registers);
  Lents none;
  for (int k = 0; k < n_in; k++) {
    const cierge_torch_value &v = in[k];
    if (v.kind || v.handle) {
      regs[(size_t)k] = input(v, none);
      continue;
    }
    auto options = at::TensorOptions(dtype_of(v)).device(at::kMeta);
    c10::IntArrayRef size(v.size, (size_t)v.rank);
    regs[(size_t)k] = v.stride ? at::empty_strided(size, c10::IntArrayRef(v.stride, (size_t)v.rank), options) : at::empty(size, options);
  }
  int failed;
  run_calls(r, regs, &failed);
  int done = 0;
  try {
    for (uint32_t o : r.outputs) {
      const IValue &v = regs[o];
      if (!v.isTensor()) output_number(v, &out[done]);
      else if (!v.toTensor().defined()) out[done] = {}, out[done].kind = 4;
      else if (v.toTensor().layout() != at::kStrided || v.toTensor().is_quantized()) fail("a result is sparse or quantised");
      else describe(v.toTensor(), &out[done]);
      done++;
    }
  } catch (...) {
    release(out, done);
    throw;
  }
  return done;
}

} // namespace cierge
