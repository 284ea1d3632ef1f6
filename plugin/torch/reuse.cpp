// Results written into memory that an earlier call made.
//
// While the inputs keep their types, so does every result that follows from them. In the first call of that kind each
// result is noted with its type; from then on a call whose operator can write into given memory (add.out, relu_) gets
// some: of an argument that dies with it, where the result may overwrite it element by element, else of a tensor of that
// type that nobody uses any more. Reference counts say who uses what, of a tensor and of its storage: views, inputs,
// constants and results that are held outside are never written to.
#include "region.h"

namespace cierge {
namespace {

using c10::IValue;

// ---------------------------------------------------------------- at load: other forms of operators

bool is_tensor_type(const c10::Argument &a) { return a.type()->kind() == c10::TypeKind::TensorType; }

bool writes_its_arguments(const c10::FunctionSchema &s) {
  for (const c10::Argument &a : s.arguments())
    if (a.alias_info()) return true;
  return false;
}

// Operators that make one new tensor of their arguments alone.
bool makes_one_tensor(const c10::FunctionSchema &s) {
  return s.returns().size() == 1 && is_tensor_type(s.returns()[0]) && !s.returns()[0].alias_info() && !writes_its_arguments(s);
}

std::optional<c10::OperatorHandle> kernel_here(const std::string &name, const std::string &overload) {
  auto op = c10::Dispatcher::singleton().findSchema({name, overload});
  return op && op->hasKernelForDispatchKey(c10::DispatchKey::CPU) ? op : std::nullopt;
}

bool same_arguments(const c10::FunctionSchema &a, const c10::FunctionSchema &b, size_t n) {
  for (size_t k = 0; k < n; k++)
    if (a.arguments()[k].name() != b.arguments()[k].name() || *a.arguments()[k].real_type() != *b.arguments()[k].real_type()) return false;
  return true;
}

// f.out(args…, *, Tensor(a!) out) -> Tensor(a!), by whatever overload name.
std::optional<c10::OperatorHandle> out_form(const c10::FunctionSchema &s) {
  const std::string &o = s.overload_name();
  for (const std::string &overload : {std::string("out"), o + "_out"}) {
    auto op = kernel_here(s.name(), overload);
    if (!op) continue;
    const c10::FunctionSchema &t = op->schema();
    size_t n = s.arguments().size();
    if (t.arguments().size() == n + 1 && t.arguments()[n].is_out() && is_tensor_type(t.arguments()[n]) && t.returns().size() == 1 && same_arguments(s, t, n))
      return op;
  }
  return std::nullopt;
}

// f_(Tensor(a!) self, args…) -> Tensor(a!)
std::optional<c10::OperatorHandle> in_place_form(const c10::FunctionSchema &s) {
  auto op = kernel_here(s.name() + "_", s.overload_name());
  if (!op || s.arguments().empty() || !is_tensor_type(s.arguments()[0])) return std::nullopt;
  const c10::FunctionSchema &t = op->schema();
  return t.arguments().size() == s.arguments().size() && same_arguments(s, t, s.arguments().size()) && t.returns().size() == 1 ? op : std::nullopt;
}

template <class F> std::optional<c10::TypedOperatorHandle<F>> typed(const c10::OperatorHandle &op) {
  return op.typed<F>(); // checks the signature where the kernel told it
}

// Without boxing: Tensor…, Scalar?, Tensor out; the one tensor that an operator in place has.
void find_signature(Forms &f, const c10::FunctionSchema &s) {
  std::string kinds;
  for (const c10::Argument &a : s.arguments()) {
    c10::TypeKind k = a.real_type()->kind();
    kinds += k == c10::TypeKind::TensorType ? 'T' : k == c10::TypeKind::NumberType ? 'S' : '?';
  }
  if (f.in_place) {
    if (kinds == "T") f.over = typed<at::Tensor &(at::Tensor &)>(*f.in_place);
    return;
  }
  if (kinds == "TT") f.unary = typed<at::Tensor &(const at::Tensor &, at::Tensor &)>(*f.out);
  if (kinds == "TTT") f.binary = typed<at::Tensor &(const at::Tensor &, const at::Tensor &, at::Tensor &)>(*f.out);
  if (kinds == "TTST") f.scaled = typed<at::Tensor &(const at::Tensor &, const at::Tensor &, const at::Scalar &, at::Tensor &)>(*f.out);
}

bool in_lists(const Arg &a, uint32_t reg) {
  for (const Arg &i : a.items)
    if ((i.kind == Arg::Register && i.reg == reg) || in_lists(i, reg)) return true;
  return a.kind == Arg::Strided && a.reg == reg;
}

void find_dying(Call &c) {
  for (uint32_t f : c.frees) {
    bool direct = false, hidden = false;
    for (const Arg &a : c.args) {
      direct = direct || (a.kind == Arg::Register && a.reg == f && a.want == Want::Tensor);
      hidden = hidden || in_lists(a, f);
    }
    if (direct && !hidden) c.forms.dying.push_back(f);
  }
}

// ---------------------------------------------------------------- at load: whose results follow from the inputs' types

bool reads(const Arg &a, const std::vector<bool> &set) {
  if ((a.kind == Arg::Register || a.kind == Arg::Strided) && set[a.reg]) return true;
  for (const auto &x : a.expression)
    if (x.op == CG_X_SYM && set[(size_t)x.arg]) return true;
  for (const Arg &i : a.items)
    if (reads(i, set)) return true;
  return false;
}

bool depends_on_data(const c10::OperatorHandle &op) {
  const c10::FunctionSchema &s = op.schema();
  if (s.name().compare(0, 6, "aten::") || op.hasTag(at::Tag::data_dependent_output) || op.hasTag(at::Tag::dynamic_output_shape)) return true;
  if (!s.name().compare(0, 10, "aten::sym_")) return false;
  for (const c10::Argument &a : s.returns())
    if (!is_tensor_type(a) && !a.type()->isSubtypeOf(*c10::ListType::ofTensors())) return true;
  return false;
}

void find_steady(cierge_torch_region &r) {
  std::vector<bool> unsteady(r.n_registers, false);
  for (Call &c : r.calls) {
    c.steady = !c.script && !depends_on_data(c.op);
    for (const Arg &a : c.args) c.steady = c.steady && !reads(a, unsteady);
    for (uint32_t x : c.results)
      if (x != 0xffffffffu) unsteady[x] = !c.steady;
  }
}

// Results that leave the region, and that no argument's memory can take.
void find_own(cierge_torch_region &r) {
  r.own.assign(r.n_registers, false);
  for (Call &c : r.calls) {
    if (!c.forms.out || !c.forms.dying.empty()) continue;
    c.forms.own = std::find(r.left.begin(), r.left.end(), c.results[0]) != r.left.end();
    r.own[c.results[0]] = c.forms.own;
  }
}

} // namespace

void find_forms(cierge_torch_region &r) {
  find_steady(r);
  if (r.with_autograd) return;
  for (Call &c : r.calls) {
    const c10::FunctionSchema &s = c.op.schema();
    if (!c.steady || !c.mutated.empty() || c.results.size() != 1 || c.results[0] == 0xffffffffu || !makes_one_tensor(s) ||
        c.op.hasTag(at::Tag::nondeterministic_seeded))
      continue;
    bool pointwise = c.op.hasTag(at::Tag::pointwise);
    c.forms.out = out_form(s);
    if (pointwise) find_dying(c);
    if (c.forms.out) c.forms.elementwise = pointwise;
    else if (pointwise) c.forms.in_place = in_place_form(s);
    if (c.forms.any()) find_signature(c.forms, (c.forms.out ? c.forms.out : c.forms.in_place)->schema());
    if (c.forms.scaled && c.args[2].kind == Arg::Constant) c.forms.scale = c.args[2].constant.toScalar();
    r.reuses = r.reuses || c.forms.any();
  }
  find_own(r);
}

// ---------------------------------------------------------------- in a call

namespace {

constexpr c10::DispatchKeySet here(c10::DispatchKey::CPU);

// A dense tensor of the CPU and nothing more: no lazy conjugate, no subclass.
bool is_plain(const at::Tensor &t) {
  return t.key_set() - c10::autograd_dispatch_keyset_with_ADInplaceOrView - c10::autocast_dispatch_keyset == here;
}

bool plain_arguments(const Arg &a, const std::vector<IValue> &regs) {
  if (a.kind == Arg::Strided) return false;
  const IValue *v = a.kind == Arg::Constant ? &a.constant : a.kind == Arg::Register ? &regs[a.reg] : nullptr;
  if (v && v->isTensor() && v->toTensor().defined() && !is_plain(v->toTensor())) return false;
  for (const Arg &i : a.items)
    if (!plain_arguments(i, regs)) return false;
  return true;
}

bool is_number(const at::Tensor &t) { return t.unsafeGetTensorImpl()->is_wrapped_number(); }

bool is_sole(const at::Tensor &t) { return t.use_count() == 1 && t.storage().use_count() == 1; }

// Memory of its own, all of it used: it can hold another result of the same type.
bool is_whole(const at::Tensor &t) {
  return is_plain(t) && t.numel() && is_sole(t) && !t.storage_offset() && t.is_non_overlapping_and_dense() &&
         t.storage().nbytes() == (size_t)t.numel() * t.element_size() && !is_number(t);
}

bool is_of(const at::Tensor &t, const Kind &k) { return t.scalar_type() == k.dtype && t.sizes() == k.size && t.strides() == k.stride; }

int32_t kind_of(cierge_torch_run &run, const at::Tensor &t) {
  for (size_t k = 0; k < run.kinds.size(); k++)
    if (is_of(t, run.kinds[k])) return (int32_t)k;
  run.kinds.push_back({t.scalar_type(), t.sizes().vec(), t.strides().vec(), 0, 0, 0, {}});
  return (int32_t)run.kinds.size() - 1;
}

// The argument as it lies in its register; NULL: it must be converted.
const at::Tensor *tensor_at(const Arg &a, const std::vector<IValue> &regs) {
  const IValue &v = a.kind == Arg::Constant ? a.constant : regs[a.reg];
  return (a.kind == Arg::Constant || a.kind == Arg::Register) && v.isTensor() ? &v.toTensor() : nullptr;
}

// PyTorch converts a number to the other operand's type in each call, into a tensor: once is enough. Beside float32 only; types of
// less precision compute with the number as it was.
void note_number(cierge_torch_run &run, size_t k) {
  const Call &c = run.region.calls[k];
  if (!c.forms.elementwise || (!c.forms.binary && !c.forms.scaled)) return;
  for (size_t i = 0; i < 2; i++) {
    if (c.args[i].kind != Arg::Constant || c.args[1 - i].kind != Arg::Register) continue;
    const at::Tensor *x = tensor_at(c.args[i], run.registers), *other = tensor_at(c.args[1 - i], run.registers);
    if (!x || !is_number(*x) || x->is_complex() || !other || is_number(*other) || other->scalar_type() != at::kFloat) continue;
    run.number[k] = x->to(at::kFloat);
    run.number[k].unsafeGetTensorImpl()->set_wrapped_number(true);
  }
}

bool call_direct(const cierge_torch_run &run, size_t k, at::Tensor &to) {
  const Call &c = run.region.calls[k];
  const Forms &f = c.forms;
  if (f.over) return f.over->redispatch(here, to), true;
  if (!f.unary && !f.binary && !f.scaled) return false;
  const at::Tensor *a = tensor_at(c.args[0], run.registers), *b = f.unary ? a : tensor_at(c.args[1], run.registers);
  if (!a || !b) return false;
  if (run.number[k].defined()) (c.args[0].kind == Arg::Constant ? a : b) = &run.number[k];
  if (f.unary) f.unary->redispatch(here, *a, to);
  else if (f.binary) f.binary->redispatch(here, *a, *b, to);
  else if (f.scale) f.scaled->redispatch(here, *a, *b, *f.scale, to);
  else return false;
  return true;
}

void call_boxed(cierge_torch_run &run, const Call &c, const at::Tensor &to) {
  run.stack.clear();
  for (const Arg &a : c.args) run.stack.push_back(value_of(a, run.registers));
  if (c.forms.out) {
    run.stack.push_back(to);
    c.forms.out->redispatchBoxed(here, &run.stack);
  } else {
    c.forms.in_place->redispatchBoxed(here, &run.stack);
  }
  run.stack.clear();
}

// The register whose tensor the result may take over; -1: none.
int64_t heir_of(const cierge_torch_run &run, const Call &c, int32_t kind) {
  for (uint32_t reg : c.forms.dying) {
    const IValue &v = run.registers[reg];
    if (run.register_kind[reg] != kind || !v.isTensor() || !is_sole(v.toTensor()) || !is_of(v.toTensor(), run.kinds[(size_t)kind])) continue;
    if (c.forms.out || (c.args[0].kind == Arg::Register && c.args[0].reg == reg)) return reg;
  }
  return -1;
}

} // namespace

bool call_into_kept(cierge_torch_run &run, size_t k) {
  const Call &c = run.region.calls[k];
  int32_t kind = run.call_kind[k];
  if (kind < 0 || !c.forms.any()) return false;
  if (c.forms.own) {
    IValue &v = run.registers[c.results[0]]; // None: somebody has it still (begin_reuse)
    if (!v.isTensor()) return false;
    if (!call_direct(run, k, v.toTensor())) call_boxed(run, c, v.toTensor());
    return true;
  }
  int64_t heir = heir_of(run, c, kind);
  at::Tensor kept;
  if (heir < 0) {
    Kind &x = run.kinds[(size_t)kind];
    if (!c.forms.out) return false;
    if (x.free.empty()) {
      x.wished = std::min(x.wished + 1, x.users);
      return false;
    }
    kept = std::move(x.free.back());
    x.free.pop_back();
    x.away++;
  }
  at::Tensor &to = heir < 0 ? kept : run.registers[(size_t)heir].toTensor();
  if (!call_direct(run, k, to)) call_boxed(run, c, to);
  uint32_t result = c.results[0];
  if (heir < 0) run.registers[result] = std::move(kept);
  else run.registers[result] = std::move(run.registers[(size_t)heir]), run.registers[(size_t)heir] = IValue();
  run.register_kind[result] = kind;
  return true;
}

void note_result(cierge_torch_run &run, size_t k) {
  const Call &c = run.region.calls[k];
  int32_t &kind = run.call_kind[k];
  for (uint32_t x : c.results)
    if (x != 0xffffffffu) run.register_kind[x] = NO_KIND;
  if (!c.steady || kind == NO_KIND || c.results.size() != 1 || c.results[0] == 0xffffffffu) return;
  const IValue &v = run.registers[c.results[0]];
  if (kind == NOT_SEEN) {
    kind = NO_KIND;
    if (!v.isTensor() || !v.toTensor().defined() || !is_whole(v.toTensor())) return;
    for (const Arg &a : c.args)
      if (c.forms.any() && !plain_arguments(a, run.registers)) return;
    kind = kind_of(run, v.toTensor());
    note_number(run, k);
    if (c.forms.out) run.kinds[(size_t)kind].users++;
  }
  run.register_kind[c.results[0]] = kind;
}

// Kept is no more than calls asked for: what else is freed is for whoever allocates next.
static void keep(Kind &k, at::Tensor &t) {
  if ((!k.away && !k.wished) || !is_sole(t)) return;
  if (k.away) k.away--;
  else k.wished--;
  k.free.push_back(std::move(t));
}

void let_go(cierge_torch_run &run, uint32_t reg) {
  IValue &v = run.registers[reg];
  int32_t kind = run.register_kind[reg];
  if (kind >= 0 && v.isTensor()) keep(run.kinds[(size_t)kind], v.toTensor());
  v = IValue();
}

void drop(cierge_torch_tensor &handle) {
  if (handle) tensor_of(handle, true);
  handle = nullptr;
}

// Whether nobody has the tensor but its register, and whoever gave it back.
static bool is_back(const cierge_torch_run &run, uint32_t reg) {
  if (run.register_kind[reg] < 0 || !run.registers[reg].isTensor()) return false;
  const at::Tensor &t = run.registers[reg].toTensor();
  size_t users = 1;
  for (cierge_torch_tensor h : run.back) users += h == t.unsafeGetTensorImpl();
  return t.use_count() == users && t.storage().use_count() == 1;
}

void begin_reuse(cierge_torch_run &run) {
  const cierge_torch_region &r = run.region;
  if (!run.changed) {
    for (uint32_t reg : r.left)
      if (r.own[reg] && !is_back(run, reg)) run.registers[reg] = IValue();
    for (size_t k = 0; k < r.outputs.size(); k++)
      if (!r.own[r.outputs[k]] || !run.registers[r.outputs[k]].isTensor()) drop(run.back[k]);
    for (uint32_t reg : r.left)
      if (!r.own[reg]) let_go(run, reg);
    return;
  }
  run.changed = false; // other types: nothing that is known holds
  for (cierge_torch_tensor &h : run.back) drop(h);
  for (uint32_t reg : run.region.left) run.registers[reg] = IValue();
  run.kinds.clear();
  std::fill(run.number.begin(), run.number.end(), at::Tensor());
  std::fill(run.call_kind.begin(), run.call_kind.end(), NOT_SEEN);
  std::fill(run.register_kind.begin(), run.register_kind.end(), NO_KIND);
}

bool stays(const cierge_torch_run &run, uint32_t reg) {
  int32_t kind = run.register_kind[reg];
  return kind >= 0 && run.kinds[(size_t)kind].users;
}

} // namespace cierge
