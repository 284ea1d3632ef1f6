// Calls of scripts in a region's program: arguments made to fit the method, results opened, errors in one line.
#include "script.h"

#include <ATen/Functions.h>
#include <torch/csrc/jit/runtime/jit_exception.h>

#include <cstring>

namespace cierge {
namespace {

using c10::IValue;
using Registers = std::vector<IValue>;

// ---------------------------------------------------------------- at load

ScriptArg fixed(IValue v) {
  ScriptArg a;
  a.plain.constant = std::move(v);
  return a;
}

ScriptArg reference(const Tagged &v, Want want) {
  ScriptArg a;
  a.plain.kind = v.tag == CG_TA_EXPRESSION ? Arg::Expression : Arg::Register;
  a.plain.want = want;
  a.plain.reg = (uint32_t)v.i;
  a.plain.expression = v.expression;
  return a;
}

// A value's own type, where the method takes anything.
c10::TypePtr natural(const Tagged &v) {
  switch (v.tag) {
  case CG_TA_FLOAT: return c10::FloatType::get();
  case CG_TA_BOOL: return c10::BoolType::get();
  case CG_TA_TEXT: return c10::StringType::get();
  case CG_TA_DEVICE: return c10::DeviceObjType::get();
  case CG_TA_LIST: return c10::ListType::create(v.items.empty() ? c10::TensorType::get() : natural(v.items[0]));
  case CG_TA_REGISTER: return c10::TensorType::get();
  default: return c10::IntType::get();
  }
}

[[noreturn]] void misfit(const std::string &place, const c10::Type &type) {
  refuse(place + " cannot be given the value that the program holds for it (it is a " + type.repr_str() + ")");
}

ScriptArg box(const Tagged &v, const c10::TypePtr &type, const std::string &place);

ScriptArg box_items(const Tagged &v, const c10::TypePtr &type, const std::string &place) {
  ScriptArg a;
  a.tuple = type->kind() == c10::TypeKind::TupleType;
  auto inner = type->containedTypes();
  if (!a.tuple) a.list = inner[0];
  else if (inner.size() != v.items.size()) misfit(place, *type);
  for (size_t k = 0; k < v.items.size(); k++) a.items.push_back(box(v.items[k], inner[a.tuple ? k : 0], place));
  return a;
}

ScriptArg box(const Tagged &v, const c10::TypePtr &type, const std::string &place) {
  if (type->kind() == c10::TypeKind::OptionalType) {
    if (v.tag == CG_TA_NONE) return fixed(IValue());
    return box(v, type->castRaw<c10::OptionalType>()->getElementType(), place);
  }
  if (type->kind() == c10::TypeKind::AnyType) {
    if (v.tag == CG_TA_REGISTER) return reference(v, Want::As_is);
    return v.tag == CG_TA_NONE ? fixed(IValue()) : box(v, natural(v), place);
  }
  if (v.tag == CG_TA_REGISTER || v.tag == CG_TA_EXPRESSION) return reference(v, want_of(*type));
  if (v.tag == CG_TA_LIST && (type->kind() == c10::TypeKind::ListType || type->kind() == c10::TypeKind::TupleType)) return box_items(v, type, place);
  bool integer = v.tag == CG_TA_INT || v.tag == CG_TA_DTYPE || v.tag == CG_TA_LAYOUT || v.tag == CG_TA_MEMORY_FORMAT;
  switch (type->kind()) {
  case c10::TypeKind::NoneType:
    if (v.tag == CG_TA_NONE) return fixed(IValue());
    break;
  case c10::TypeKind::TensorType: // as Tensor(3) of a script's: a number becomes a tensor
    if (v.tag == CG_TA_INT) return fixed(at::scalar_tensor(v.i, at::kLong));
    if (v.tag == CG_TA_BOOL) return fixed(at::scalar_tensor(v.i != 0, at::kBool));
    if (v.tag == CG_TA_FLOAT) return fixed(at::scalar_tensor(v.f, at::kFloat));
    break;
  case c10::TypeKind::IntType:
    if (integer || v.tag == CG_TA_BOOL) return fixed(v.i);
    break;
  case c10::TypeKind::FloatType:
    if (v.tag == CG_TA_FLOAT) return fixed(v.f);
    if (v.tag == CG_TA_INT) return fixed((double)v.i);
    break;
  case c10::TypeKind::BoolType:
    if (v.tag == CG_TA_BOOL) return fixed(v.i != 0);
    break;
  case c10::TypeKind::NumberType:
    if (v.tag == CG_TA_FLOAT) return fixed(v.f);
    if (v.tag == CG_TA_INT) return fixed(v.i);
    if (v.tag == CG_TA_BOOL) return fixed(v.i != 0);
    break;
  case c10::TypeKind::ComplexType:
    if (v.tag == CG_TA_COMPLEX) return fixed(c10::complex<double>(v.f, v.im));
    break;
  case c10::TypeKind::StringType:
    if (v.tag == CG_TA_TEXT || v.tag == CG_TA_DEVICE) return fixed(v.text);
    break;
  case c10::TypeKind::DeviceObjType:
    if (v.tag == CG_TA_TEXT || v.tag == CG_TA_DEVICE) return fixed(c10::Device(v.text));
    break;
  default: break;
  }
  misfit(place, *type);
}

} // namespace

bool is_script_call(const std::string &name) { return !name.compare(0, strlen(CG_TORCH_SCRIPT), CG_TORCH_SCRIPT); }

std::shared_ptr<ScriptCall> read_script_call(Reader &r, const std::string &name, const std::string &method) {
  const cierge_torch_region_options *o = r.options;
  char *end;
  unsigned long number = strtoul(name.c_str() + strlen(CG_TORCH_SCRIPT), &end, 10);
  if (*end || !o || number >= (unsigned long)o->n_scripts || !o->scripts[number]) refuse("the program calls " + name + ", which the artifact does not hold");
  auto c = std::make_shared<ScriptCall>();
  c->script = (uint32_t)number;
  c->key = name + "." + method;
  c->method = &method_of(*o->scripts[number], method);
  uint32_t n = cg_read_count(&r.bytes, 1), declared = (uint32_t)c->method->args.size();
  if (!n || n - 1 > declared) refuse(c->key + ": the program gives " + std::to_string((int)n - 1) + " arguments, the method takes " + std::to_string(declared));
  c->open_lists = read_tagged(r, 0).i != 0;
  for (uint32_t k = 0; k < declared; k++) {
    const std::string place = c->key + ": argument " + std::to_string(k);
    if (k + 1 < n) c->args.push_back(box(read_tagged(r, 0), c->method->args[k], place));
    else if (c->method->defaults[k]) c->args.push_back(fixed(*c->method->defaults[k]));
    else refuse(place + " is missing");
  }
  return c;
}

bool with_autograd(const ScriptCall &c) {
  for (const std::string &key : c.method->ops) {
    auto op = find_operator(key.c_str());
    if (op && only_autograd_kernel(*op)) return true;
  }
  return false;
}

// ---------------------------------------------------------------- in a call

namespace {

IValue evaluate(const ScriptArg &a, const Registers &regs) {
  if (a.list) {
    c10::impl::GenericList l(a.list);
    l.reserve(a.items.size());
    for (const ScriptArg &i : a.items) l.push_back(evaluate(i, regs));
    return l;
  }
  if (a.tuple) {
    std::vector<IValue> items;
    for (const ScriptArg &i : a.items) items.push_back(evaluate(i, regs));
    return c10::ivalue::Tuple::create(std::move(items));
  }
  return value_of(a.plain, regs);
}

void open(IValue v, bool lists, std::vector<IValue> &out) {
  if (v.isTuple()) {
    for (const IValue &i : v.toTupleRef().elements()) open(i, lists, out);
  } else if (lists && v.isList()) {
    c10::List<IValue> l = v.toList();
    for (size_t k = 0; k < l.size(); k++) open(l.get(k), lists, out);
  } else {
    out.push_back(std::move(v));
  }
}

// "Traceback of TorchScript …\n  File …\nRuntimeError: text\nmore": the text, its first line, and the exception's class if that says something.
std::string useful_line(const char *what) {
  std::string text = what, line;
  size_t at = text.rfind("\nRuntimeError: ");
  if (at != std::string::npos) line = text.substr(at + 15);
  else line = text;
  while (!line.empty() && line[0] == '\n') line.erase(0, 1);
  return line.substr(0, line.find('\n'));
}

} // namespace

void script_arguments(const ScriptCall &c, const cierge_torch_run &run, Registers &stack) {
  stack.push_back(run.instances[c.script]->object);
  for (size_t k = 0; k < c.args.size(); k++) {
    IValue v = evaluate(c.args[k], run.registers);
    stack.push_back(c.method->keeps[k] ? v.deepcopy() : std::move(v)); // what it is lent, or a constant, is not to be kept
  }
}

void call_script(const ScriptCall &c, Registers &stack) {
  try {
    torch::jit::InterpreterState(c.method->code).run(stack);
  } catch (const torch::jit::JITException &e) {
    std::string kind = e.getPythonClassName().value_or(""), text = e.getOriginalMsg().value_or(useful_line(e.what()));
    throw std::runtime_error(kind.empty() ? text : kind + ": " + text);
  } catch (const c10::Error &e) {
    throw std::runtime_error(useful_line(e.what_without_backtrace()));
  } catch (const std::runtime_error &e) {
    throw std::runtime_error(useful_line(e.what()));
  }
  std::vector<IValue> results;
  if (c.method->returns.empty()) stack.clear();
  for (IValue &v : stack) open(std::move(v), c.open_lists, results);
  stack.clear();
  for (IValue &v : results) // what the module keeps, or has as a constant, stays its own
    if (v.isTensor() && v.toTensor().defined() && v.toTensor().has_storage() &&
        (v.toTensor().use_count() > 1 || v.toTensor().storage().use_count() > 1))
      v = v.toTensor().clone();
  stack = std::move(results);
}

} // namespace cierge
