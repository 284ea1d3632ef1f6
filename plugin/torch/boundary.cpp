// What crosses a region's boundary: memory is lent both ways, by tensors that are kept from call to call.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <stdexcept>
#include <utility>

#include "region.h"

namespace cierge {
namespace {

using c10::IValue;

at::ScalarType dtype_of(const cierge_torch_value &v) {
  if (v.dtype < 0 || v.dtype >= (int)c10::ScalarType::NumOptions) fail("no such dtype: " + std::to_string(v.dtype));
  return (at::ScalarType)v.dtype;
}

} // namespace

at::Tensor tensor_of(cierge_torch_tensor handle, bool taken) {
  using Pointer = c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  auto *impl = (c10::TensorImpl *)handle;
  return at::Tensor(taken ? Pointer::reclaim(impl) : Pointer::reclaim_copy(impl));
}

namespace {

// ---------------------------------------------------------------- lending

// Of memory that is somebody else's. That a storage has this deleter says that it is lent.
void lent_memory(void *) {}

bool is_lent(const at::Tensor &t) { return t.storage().data_ptr().get_deleter() == &lent_memory; }

c10::DataPtr pointer(void *data) { return c10::DataPtr(data, nullptr, &lent_memory, c10::Device(at::kCPU)); }

// Bytes from the first element to behind the last.
size_t extent(const cierge_torch_value &v, at::ScalarType t) {
  size_t bytes = c10::elementSize(t), n = 1;
  for (int k = 0; k < v.rank; k++) {
    if (v.size[k] < 0) fail("an input has a negative size");
    if (!v.size[k]) return 0;
    if (v.stride && v.stride[k] < 0) fail("an input has a negative stride");
    n = v.stride ? n + (size_t)(v.size[k] - 1) * (size_t)v.stride[k] : n * (size_t)v.size[k];
  }
  return n * bytes;
}

// What from_blob does, without its detours: a storage that frees nothing, and a tensor over it.
at::Tensor wrap(const cierge_torch_value &v) {
  at::ScalarType t = dtype_of(v);
  c10::IntArrayRef size(v.size, (size_t)v.rank);
  size_t bytes = extent(v, t);
  if (!bytes) return at::empty(size, t);
  if (!v.data) fail("an input has no memory");
  auto impl = c10::make_intrusive<c10::TensorImpl>(c10::Storage(c10::Storage::use_byte_size_t(), bytes, pointer(v.data), nullptr, false),
                                                   c10::DispatchKeySet(c10::DispatchKey::CPU), c10::scalarTypeToTypeMeta(t));
  if (v.stride) impl->set_sizes_and_strides(size, c10::IntArrayRef(v.stride, (size_t)v.rank));
  else impl->set_sizes_contiguous(size);
  return at::Tensor(std::move(impl));
}

// PyTorch's kernels take alignment for granted.
bool misaligned(const cierge_torch_value &v) { return (uintptr_t)v.data % std::min<size_t>(c10::elementSize(dtype_of(v)), 8); }

// Handles are in C order (settle), so sizes say all.
bool same_type(const Lent &l, const cierge_torch_value &v) {
  if (l.last.kind != v.kind || (l.last.handle != nullptr) != (v.handle != nullptr)) return false;
  if (v.kind) return l.last.i == v.i && !memcmp(&l.last.f, &v.f, sizeof v.f);
  if (l.last.dtype != v.dtype || l.last.rank != v.rank || l.last.stride != v.stride) return false;
  for (int k = 0; k < v.rank; k++)
    if (l.size[(size_t)k] != v.size[k]) return false;
  return true;
}

void remember(Lent &l, const cierge_torch_value &v) {
  l.last = v;
  l.size.clear();
  if (!v.kind) l.size.assign(v.size, v.size + v.rank);
}

void tensor_input(Lent &l, IValue &x, const cierge_torch_value &v, bool same) {
  if (v.handle) {
    x = tensor_of(v.handle, false);
  } else if (misaligned(v)) {
    x = wrap(v).clone();
    l.kept = false;
  } else if (!same || !l.kept) {
    x = wrap(v);
    l.kept = true;
  } else if (l.last.data != v.data) {
    if (x.toTensor().numel()) x.toTensor().storage().unsafeGetStorageImpl()->set_data_ptr_noswap(pointer(v.data));
  }
  l.last.data = v.data;
}

} // namespace

void take_constants(cierge_torch_region &r, const cierge_torch_region_options &o) {
  r.constants.resize(r.n_inputs);
  r.constant.assign(r.n_inputs, false);
  if (!o.inputs) return;
  if (o.n_in != (int)r.n_inputs) fail("the region takes " + std::to_string(r.n_inputs) + " inputs, not " + std::to_string(o.n_in));
  for (uint32_t k = 0; k < r.n_inputs; k++) {
    const cierge_torch_value &v = o.inputs[k];
    if (v.kind || !v.data) continue;
    at::Tensor t = wrap(v);
    r.constants[k] = misaligned(v) ? t.clone() : t;
    r.constant[k] = true;
  }
}

void take_inputs(cierge_torch_run &run, const cierge_torch_value *in, int n_in) {
  const cierge_torch_region &r = run.region;
  if (n_in != (int)r.n_inputs) fail("the region takes " + std::to_string(r.n_inputs) + " inputs, not " + std::to_string(n_in));
  for (uint32_t k = 0; k < r.n_inputs; k++) {
    if (r.constant[k]) continue;
    const cierge_torch_value &v = in[k];
    Lent &l = run.lent[k];
    bool same = same_type(l, v);
    if (!same) {
      run.changed = true;
      remember(l, v);
    }
    IValue &x = run.registers[k];
    switch (v.kind) {
    case 0:
      if (!same || !l.kept || l.last.data != v.data || v.handle) tensor_input(l, x, v, same);
      break;
    case 1: x = v.i; break;
    case 2: x = v.f; break;
    case 3: x = v.i != 0; break;
    case 4: x = IValue(); break;
    default: fail("no such kind of input: " + std::to_string(v.kind));
    }
  }
}

// Nothing in PyTorch's own operators keeps its inputs; custom operators and scripts with a state may.
void end_loans(cierge_torch_run &run) {
  for (size_t k = 0; k < run.lent.size(); k++) {
    Lent &l = run.lent[k];
    IValue &x = run.registers[k];
    if (!l.kept) {
      if (!run.region.constant[k] && x.isTensor()) x = IValue();
      continue;
    }
    const at::Tensor &t = x.toTensor();
    if (t.use_count() == 1 && t.storage().use_count() == 1) continue;
    if (is_lent(t)) {
      c10::StorageImpl *s = t.storage().unsafeGetStorageImpl();
      c10::DataPtr own = c10::GetAllocator(at::kCPU)->allocate(s->nbytes());
      memcpy(own.get(), s->data(), s->nbytes());
      s->set_data_ptr_noswap(std::move(own));
    }
    x = IValue();
    l.kept = false;
  }
}

// ---------------------------------------------------------------- giving back

namespace {

struct Memory {
  const char *begin, *end;
};

Memory memory_of(const at::Tensor &t) {
  const char *p = (const char *)t.const_data_ptr();
  return {p, p + (size_t)t.numel() * t.element_size()};
}

bool overlap(const Memory &a, const Memory &b) { return a.begin < b.end && b.begin < a.end; }

// Memory of inputs, and of the outputs so far.
void taken_memory(const cierge_torch_run &run, c10::SmallVectorImpl<Memory> &taken) {
  for (size_t k = 0; k < run.lent.size(); k++)
    if (run.lent[k].kept && run.registers[k].toTensor().numel()) {
      const c10::StorageImpl *s = run.registers[k].toTensor().storage().unsafeGetStorageImpl();
      taken.push_back({(const char *)s->data(), (const char *)s->data() + s->nbytes()});
    }
}

// A plain tensor in C order that shares memory with no lent input, no constant and no other output.
at::Tensor settle(at::Tensor t, const c10::SmallVectorImpl<Memory> &taken) {
  if (t.layout() != at::kStrided || t.is_quantized() || t.is_nested()) fail("a sparse, quantised or nested tensor cannot leave its region");
  if (!t.device().is_cpu()) fail("a result lies on the device " + t.device().str());
  if (t.is_conj()) t = t.resolve_conj();
  if (t.is_neg()) t = t.resolve_neg();
  if (t._is_zerotensor()) t = at::zeros(t.sizes(), t.options());
  if (!t.is_contiguous()) t = t.contiguous();
  if (!t.numel()) return t;
  Memory m = memory_of(t);
  bool shared = is_lent(t);
  for (const Memory &l : taken) shared = shared || overlap(m, l);
  return shared ? t.clone(at::MemoryFormat::Contiguous) : t;
}

void number(const IValue &v, cierge_torch_value *out) {
  *out = {};
  if (v.isInt()) out->kind = 1, out->i = v.toInt();
  else if (v.isDouble()) out->kind = 2, out->f = v.toDouble();
  else if (v.isBool()) out->kind = 3, out->i = v.toBool();
  else if (v.isNone()) out->kind = 4;
  else fail("a result of kind " + v.tagKind() + " cannot leave its region");
}

void describe(const at::Tensor &t, cierge_torch_tensor handle, cierge_torch_value *out) {
  *out = {};
  out->dtype = (int)t.scalar_type();
  out->rank = (int)t.dim();
  out->size = t.sizes().data();
  out->handle = handle;
}

void describe(at::Tensor t, cierge_torch_value *out) {
  describe(t, t.unsafeGetTensorImpl(), out);
  t.unsafeReleaseTensorImpl();
}

void release(cierge_torch_value *out, int n) {
  for (int k = 0; k < n; k++) {
    if (out[k].kind == 0 && out[k].handle) tensor_of(out[k].handle, true);
    out[k] = {};
  }
}

// Hands over what `tensor` makes of each output; nothing where one fails.
template <class F> int give(cierge_torch_run &run, cierge_torch_value *out, F tensor) {
  int done = 0;
  try {
    for (uint32_t o : run.region.outputs) {
      const IValue &v = run.registers[o];
      if (!v.isTensor()) number(v, &out[done]);
      else if (!v.toTensor().defined()) out[done] = {}, out[done].kind = 4;
      else tensor(v.toTensor(), &out[done]);
      done++;
    }
  } catch (...) {
    release(out, done);
    throw;
  }
  return done;
}

} // namespace

// The only result, of which it is known that its memory is its own (reuse.cpp).
static bool give_own(cierge_torch_run &run, cierge_torch_value *out) {
  if (run.region.outputs.size() != 1 || run.register_kind[run.region.outputs[0]] < 0) return false;
  const at::Tensor &t = run.registers[run.region.outputs[0]].toTensor();
  if (!t.is_contiguous()) return false;
  if (run.back[0] == t.unsafeGetTensorImpl()) describe(t, std::exchange(run.back[0], nullptr), out);
  else describe(t, out);
  out->data = t.mutable_data_ptr();
  return true;
}

void give_outputs(cierge_torch_run &run, cierge_torch_value *out) {
  if (give_own(run, out)) return;
  c10::SmallVector<Memory, 16> taken;
  taken_memory(run, taken);
  give(run, out, [&](const at::Tensor &from, cierge_torch_value *to) {
    at::Tensor t = settle(from, taken);
    void *data = t.mutable_data_ptr();
    if (run.region.outputs.size() > 1 && t.numel()) taken.push_back(memory_of(t));
    describe(std::move(t), to);
    to->data = data;
  });
}

int give_types(cierge_torch_run &run, cierge_torch_value *out, int max_out) {
  if ((int)run.region.outputs.size() > max_out) fail("more results than there is room for");
  return give(run, out, [](const at::Tensor &t, cierge_torch_value *to) {
    if (t.layout() != at::kStrided || t.is_quantized()) fail("a result is sparse or quantised");
    describe(t, to);
  });
}

} // namespace cierge
