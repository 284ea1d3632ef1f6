// Reads a region's program (backend/torch/program.h). The bytes may be anybody's: every index and count is checked, and
// what is boxed follows the operator's schema, so that no kernel meets an argument of another type than it declares.
#include <ATen/ScalarOps.h>
#include <ATen/core/jit_type.h>

#include <memory>
#include <stdexcept>

#include "backend/torch/program.h"
#include "base/bytes.h"
#include "script.h"

namespace cierge {

void refuse(const std::string &text) { throw std::runtime_error(text); }

// ---------------------------------------------------------------- tagged values

static std::vector<cg_plan_expr_item> read_expression(Reader &r) {
  uint32_t n = cg_read_count(&r.bytes, 9);
  std::vector<cg_plan_expr_item> out;
  int depth = 0;
  for (uint32_t k = 0; k < n; k++) {
    uint8_t op = cg_read_u8(&r.bytes);
    int64_t arg = cg_read_i64(&r.bytes);
    if (op >= CG_X_COUNT) r.bytes.bad = true;
    if (r.bytes.bad) return out;
    if (op == CG_X_SYM && (arg < 0 || arg >= r.n_registers || !r.defined[arg])) r.bytes.bad = true;
    int takes = cg_x_operands((cg_expr_kind)op);
    if (depth < takes) r.bytes.bad = true;
    depth += 1 - takes;
    out.push_back({(cg_expr_kind)op, arg});
  }
  if (depth != 1) r.bytes.bad = true;
  return out;
}

Tagged read_tagged(Reader &r, int depth) {
  Tagged v;
  v.tag = cg_read_u8(&r.bytes);
  switch (v.tag) {
  case CG_TA_NONE: break;
  case CG_TA_REGISTER: v.i = r.used(); break;
  case CG_TA_INT: v.i = cg_read_i64(&r.bytes); break;
  case CG_TA_FLOAT: v.f = cg_read_f64(&r.bytes); break;
  case CG_TA_BOOL: v.i = cg_read_u8(&r.bytes) != 0; break;
  case CG_TA_DTYPE:
  case CG_TA_LAYOUT:
  case CG_TA_MEMORY_FORMAT: v.i = cg_read_u8(&r.bytes); break;
  case CG_TA_TEXT:
  case CG_TA_DEVICE: v.text = cg_read_text(&r.bytes, nullptr); break;
  case CG_TA_COMPLEX: v.f = cg_read_f64(&r.bytes), v.im = cg_read_f64(&r.bytes); break;
  case CG_TA_EXPRESSION: v.expression = read_expression(r); break;
  case CG_TA_LIST:
  case CG_TA_STRIDED: {
    if (depth > 2) r.bytes.bad = true;
    uint32_t n;
    if (v.tag == CG_TA_LIST) {
      cg_read_u8(&r.bytes); // the item kind: the schema says it too
      n = cg_read_count(&r.bytes, 1);
    } else {
      v.i = r.used();
      n = cg_read_count(&r.bytes, 1);
      if (n > CG_PLAN_MAX_RANK) r.bytes.bad = true;
      n++;
    }
    for (uint32_t k = 0; k < n && !r.bytes.bad; k++) v.items.push_back(read_tagged(r, depth + 1));
    break;
  }
  default: r.bytes.bad = true;
  }
  if (r.bytes.bad) refuse("a torch region's program is damaged");
  return v;
}

// ---------------------------------------------------------------- boxing

namespace {

struct Place { // for messages
  const c10::FunctionSchema &schema;
  const c10::Argument &arg;
  std::string text() const { return schema.name() + (schema.overload_name().empty() ? "" : "." + schema.overload_name()) + ": argument " + arg.name(); }
};

[[noreturn]] void misfit(const Place &p) { refuse(p.text() + " cannot be given the value that the program holds for it (it is a " + p.arg.real_type()->str() + ")"); }

Arg constant(c10::IValue v) {
  Arg a;
  a.constant = std::move(v);
  return a;
}

bool is_number(const Tagged &v) { return v.tag == CG_TA_INT || v.tag == CG_TA_FLOAT || v.tag == CG_TA_BOOL || v.tag == CG_TA_COMPLEX; }

c10::Scalar scalar_of(const Tagged &v) {
  if (v.tag == CG_TA_INT) return c10::Scalar(v.i);
  if (v.tag == CG_TA_BOOL) return c10::Scalar(v.i != 0);
  if (v.tag == CG_TA_COMPLEX) return c10::Scalar(c10::complex<double>(v.f, v.im));
  return c10::Scalar(v.f);
}

} // namespace

Want want_of(const c10::Type &t) {
  switch (t.kind()) {
  case c10::TypeKind::TensorType: return Want::Tensor;
  case c10::TypeKind::SymIntType:
  case c10::TypeKind::IntType: return Want::Int;
  case c10::TypeKind::FloatType: return Want::Float;
  case c10::TypeKind::BoolType: return Want::Bool;
  case c10::TypeKind::NumberType: return Want::Scalar;
  default: return Want::As_is;
  }
}

namespace {

c10::IValue box_device(const Reader &r, const Tagged &v) {
  c10::Device d(v.text);
  if (d.type() != c10::DeviceType::CPU && d.type() != c10::DeviceType::Meta)
    refuse("the program asks for the device '" + v.text + "'; regions run on the CPU");
  return r.on_meta ? c10::Device(c10::DeviceType::Meta) : d;
}

Arg box(Reader &r, const Tagged &v, const c10::Type &type, const Place &p, int fixed);

template <class T, class F> c10::IValue constant_list(const std::vector<Arg> &items, F get) {
  c10::List<T> list;
  list.reserve(items.size());
  for (const Arg &a : items) list.push_back(get(a.constant));
  return list;
}

Arg box_list(Reader &r, const Tagged &v, const c10::Type &element, const Place &p, int fixed) {
  Arg out;
  bool optional = element.kind() == c10::TypeKind::OptionalType;
  const c10::Type &inner = optional ? *element.castRaw<c10::OptionalType>()->getElementType() : element;
  std::vector<Tagged> many;
  if (v.tag != CG_TA_LIST) many.assign(fixed > 0 ? (size_t)fixed : 1, v); // int[2] x=1
  const std::vector<Tagged> &from = v.tag == CG_TA_LIST ? v.items : many;
  bool fixed_now = true;
  for (const Tagged &t : from) {
    out.items.push_back(box(r, t, element, p, 0));
    fixed_now = fixed_now && out.items.back().kind == Arg::Constant;
  }
  auto &items = out.items;
  switch (inner.kind()) {
  case c10::TypeKind::TensorType: out.list = optional ? List::Optional_tensors : List::Tensors; break;
  case c10::TypeKind::SymIntType:
  case c10::TypeKind::IntType:
    out.list = List::Ints;
    if (fixed_now) return constant(constant_list<int64_t>(items, [](const c10::IValue &x) { return x.toInt(); }));
    break;
  case c10::TypeKind::FloatType:
    out.list = List::Floats;
    if (fixed_now) return constant(constant_list<double>(items, [](const c10::IValue &x) { return x.toDouble(); }));
    break;
  case c10::TypeKind::BoolType:
    out.list = List::Bools;
    if (fixed_now) return constant(constant_list<bool>(items, [](const c10::IValue &x) { return x.toBool(); }));
    break;
  case c10::TypeKind::NumberType: out.list = List::Scalars; break;
  case c10::TypeKind::StringType:
    if (fixed_now) return constant(constant_list<std::string>(items, [](const c10::IValue &x) { return x.toStringRef(); }));
    misfit(p);
  default: misfit(p);
  }
  if (optional && out.list != List::Optional_tensors) misfit(p);
  out.kind = Arg::Items; // lists of tensors and Scalars are built in each call, even when nothing changes
  return out;
}

Arg box(Reader &r, const Tagged &v, const c10::Type &type, const Place &p, int fixed) {
  if (type.kind() == c10::TypeKind::OptionalType) {
    if (v.tag == CG_TA_NONE) return constant(c10::IValue());
    return box(r, v, *type.castRaw<c10::OptionalType>()->getElementType(), p, fixed);
  }
  if (type.kind() == c10::TypeKind::ListType && v.tag != CG_TA_NONE)
    return box_list(r, v, *type.castRaw<c10::ListType>()->getElementType(), p, fixed);
  Arg out;
  out.want = want_of(type);
  if (v.tag == CG_TA_REGISTER || v.tag == CG_TA_STRIDED || v.tag == CG_TA_EXPRESSION) {
    if (v.tag == CG_TA_STRIDED ? out.want != Want::Tensor : out.want == Want::As_is) misfit(p);
    out.kind = v.tag == CG_TA_REGISTER ? Arg::Register : v.tag == CG_TA_STRIDED ? Arg::Strided : Arg::Expression;
    out.reg = (uint32_t)v.i;
    out.expression = v.expression;
    for (const Tagged &t : v.items) out.items.push_back(box(r, t, *c10::IntType::get(), p, 0));
    return out;
  }
  switch (type.kind()) {
  case c10::TypeKind::TensorType:
    if (v.tag == CG_TA_NONE) return constant(at::Tensor());
    if (is_number(v)) { // a Python number where the schema says Tensor: takes no part in type promotion beyond its kind
      at::Tensor t = c10::scalar_to_tensor(scalar_of(v));
      t.unsafeGetTensorImpl()->set_wrapped_number(true);
      return constant(t);
    }
    break;
  case c10::TypeKind::SymIntType:
  case c10::TypeKind::IntType:
  case c10::TypeKind::ScalarTypeType:
  case c10::TypeKind::LayoutType:
  case c10::TypeKind::MemoryFormatType:
    if (v.tag == CG_TA_DTYPE && v.i >= (int64_t)c10::ScalarType::NumOptions) break;
    if (v.tag == CG_TA_INT || v.tag == CG_TA_BOOL || v.tag == CG_TA_DTYPE || v.tag == CG_TA_LAYOUT || v.tag == CG_TA_MEMORY_FORMAT)
      return constant(v.i);
    break;
  case c10::TypeKind::FloatType:
    if (v.tag == CG_TA_FLOAT) return constant(v.f);
    if (v.tag == CG_TA_INT || v.tag == CG_TA_BOOL) return constant((double)v.i);
    break;
  case c10::TypeKind::BoolType:
    if (v.tag == CG_TA_BOOL || v.tag == CG_TA_INT) return constant(v.i != 0);
    break;
  case c10::TypeKind::NumberType:
    if (is_number(v)) return constant(c10::IValue(scalar_of(v)));
    break;
  case c10::TypeKind::ComplexType:
    if (is_number(v)) return constant(c10::IValue(scalar_of(v).toComplexDouble()));
    break;
  case c10::TypeKind::StringType:
    if (v.tag == CG_TA_TEXT) return constant(v.text);
    break;
  case c10::TypeKind::DeviceObjType:
    if (v.tag == CG_TA_DEVICE || v.tag == CG_TA_TEXT) return constant(box_device(r, v));
    break;
  default: break;
  }
  misfit(p);
}

// A factory function with no device given makes its tensor on the CPU, where types only are wanted: on `meta` then.
void factories_on_meta(const c10::FunctionSchema &schema, Call &c) {
  for (const c10::Argument &a : schema.arguments())
    if (a.type()->isSubtypeOf(*c10::OptionalType::ofTensor()) || a.type()->isSubtypeOf(*c10::ListType::ofTensors())) return;
  for (size_t k = 0; k < c.args.size(); k++)
    if (schema.arguments()[k].name() == "device" && c.args[k].kind == Arg::Constant && c.args[k].constant.isNone())
      c.args[k].constant = c10::Device(c10::DeviceType::Meta);
}

// ---------------------------------------------------------------- calls

void read_rest(Reader &r, Call &c, uint32_t n) {
  uint32_t mutated = cg_read_count(&r.bytes, 4);
  for (uint32_t k = 0; k < mutated; k++) {
    uint32_t m = cg_read_u32(&r.bytes);
    if (m >= n) r.bytes.bad = true;
    c.mutated.push_back(m);
  }
  uint32_t results = cg_read_count(&r.bytes, 4);
  for (uint32_t k = 0; k < results; k++) {
    uint32_t d = cg_read_u32(&r.bytes);
    if (d != CG_TORCH_DROPPED && (d < r.n_inputs || d >= r.n_registers || r.defined[d])) r.bytes.bad = true;
    if (!r.bytes.bad && d != CG_TORCH_DROPPED) r.defined[d] = true;
    c.results.push_back(d);
  }
  cg_read_u32(&r.bytes); // the site: the caller's
  uint32_t frees = cg_read_count(&r.bytes, 4);
  for (uint32_t k = 0; k < frees && !r.bytes.bad; k++) c.frees.push_back(r.used());
  for (uint32_t f : c.frees) r.defined[f] = false;
  if (r.bytes.bad) refuse("a torch region's program is damaged");
}

Call read_call(Reader &r) {
  std::string name = cg_read_text(&r.bytes, nullptr), overload = cg_read_text(&r.bytes, nullptr);
  if (r.bytes.bad) refuse("a torch region's program is damaged");
  std::string key = overload.empty() ? name : name + "." + overload;
  if (is_script_call(name)) {
    Call c(*c10::Dispatcher::singleton().findSchema({"aten::detach", ""})); // any: it is not called
    c.script = read_script_call(r, name, overload);
    read_rest(r, c, (uint32_t)c.script->args.size() + 1);
    return c;
  }
  if (!r.on_meta) refuse_unsafe(name, r.options ? Allowed{r.options->allow, r.options->n_allow} : Allowed{});
  auto op = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!op) refuse("LibTorch has no operator " + key + " (a library of custom operators may be missing)");
  const c10::FunctionSchema &schema = op->schema();
  Call c(*op);
  uint32_t n = cg_read_count(&r.bytes, 1);
  if (n != schema.arguments().size())
    refuse(key + ": the program gives " + std::to_string(n) + " arguments, LibTorch's schema has " + std::to_string(schema.arguments().size()));
  for (uint32_t k = 0; k < n; k++) {
    const c10::Argument &a = schema.arguments()[k];
    Tagged v = read_tagged(r, 0);
    c.args.push_back(box(r, v, *a.real_type(), {schema, a}, a.N().value_or(0)));
  }
  if (r.on_meta) factories_on_meta(schema, c);
  read_rest(r, c, n);
  return c;
}

} // namespace

std::unique_ptr<cierge_torch_region> read_program(const void *data, size_t size, bool on_meta, const cierge_torch_region_options *o) {
  Reader r;
  r.options = o;
  const uint8_t *at = (const uint8_t *)data;
  r.bytes = {at, at + size, false};
  r.on_meta = on_meta;
  uint32_t version = cg_read_u32(&r.bytes);
  if (r.bytes.bad || version != CG_TORCH_PROGRAM_VERSION)
    refuse("a torch region's program has version " + std::to_string(version) + "; this plugin reads version " + std::to_string(CG_TORCH_PROGRAM_VERSION));
  auto region = std::make_unique<cierge_torch_region>();
  region->n_scripts = o ? (uint32_t)o->n_scripts : 0;
  region->n_inputs = cg_read_u32(&r.bytes);
  region->n_registers = r.n_registers = cg_read_u32(&r.bytes);
  // A register costs a byte of the program at least, except inputs that nobody reads.
  if (r.bytes.bad || region->n_inputs > region->n_registers || region->n_registers > (1u << 24))
    refuse("a torch region's program is damaged");
  r.defined.assign(r.n_registers, false);
  r.n_inputs = region->n_inputs;
  for (uint32_t k = 0; k < region->n_inputs; k++) r.defined[k] = true;
  uint32_t n = cg_read_count(&r.bytes, 16);
  for (uint32_t k = 0; k < n; k++) {
    region->calls.push_back(read_call(r));
    Call &c = region->calls.back();
    region->max_args = std::max(region->max_args, c.args.size());
    if (c.script ? with_autograd(*c.script) : only_autograd_kernel(c.op)) region->with_autograd = true;
  }
  uint32_t outputs = cg_read_count(&r.bytes, 4);
  for (uint32_t k = 0; k < outputs; k++) region->outputs.push_back(r.used());
  if (r.bytes.bad || r.bytes.at != r.bytes.end) refuse("a torch region's program is damaged");
  for (uint32_t k = 0; k < r.n_registers; k++)
    if (r.defined[k]) region->left.push_back(k);
  return region;
}

// ---------------------------------------------------------------- the dispatch table

std::optional<c10::OperatorHandle> find_operator(const char *key) {
  const char *colons = strstr(key, "::");
  if (!colons) return std::nullopt;
  const char *dot = strchr(colons, '.');
  std::string name = dot ? std::string(key, (size_t)(dot - key)) : std::string(key), overload = dot ? dot + 1 : "";
  if (overload == "default") overload = "";
  return c10::Dispatcher::singleton().findSchema({name, overload});
}

static bool has_any(const c10::OperatorHandle &op, std::initializer_list<c10::DispatchKey> keys) {
  for (c10::DispatchKey k : keys)
    if (op.hasKernelForDispatchKey(k)) return true;
  return false;
}

using K = c10::DispatchKey;

bool has_cpu_kernel(const c10::OperatorHandle &op) {
  return has_any(op, {K::CPU, K::CompositeExplicitAutograd, K::CompositeImplicitAutograd, K::CompositeExplicitAutogradNonFunctional,
                      K::QuantizedCPU, K::SparseCPU, K::SparseCsrCPU, K::MkldnnCPU, K::NestedTensorCPU, K::BackendSelect,
                      K::AutogradCPU, K::Autograd}); // Autograd alone: an operator that is one autograd function
}

bool has_meta_kernel(const c10::OperatorHandle &op) {
  return has_any(op, {K::Meta, K::CompositeExplicitAutograd, K::CompositeImplicitAutograd, K::CompositeExplicitAutogradNonFunctional});
}

bool only_autograd_kernel(const c10::OperatorHandle &op) {
  return has_any(op, {K::Autograd, K::AutogradCPU}) &&
         !has_any(op, {K::CPU, K::CompositeExplicitAutograd, K::CompositeImplicitAutograd, K::CompositeExplicitAutogradNonFunctional,
                       K::QuantizedCPU, K::SparseCPU, K::SparseCsrCPU, K::MkldnnCPU, K::NestedTensorCPU, K::BackendSelect});
}

} // namespace cierge
