// Operators of the dispatcher as nodes of the text.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>

#include "import.h"
#include "region.h"

namespace cierge::import {

namespace {

bool is_arithmetic(Node *n) { return n->kind() == c10::aten::add || n->kind() == c10::aten::sub || n->kind() == c10::aten::mul || n->kind() == c10::aten::div; }

// What an argument reads like, by the type that the operator wants; false: a text cannot say it.
bool argument(Importer &im, Node *n, const c10::TypePtr &want, const A &a, std::string *out, Values *uses) {
  c10::TypePtr t = want;
  if (auto o = t->cast<c10::OptionalType>()) t = o->getElementType();
  switch (a->kind) {
  case Abstract::Tensor: {
    if (n && is_arithmetic(n) && a->attribute == "literal" && a->known.isTensor() && a->known.toTensor().dim() == 0 &&
        (a->known.toTensor().scalar_type() == at::kDouble || a->known.toTensor().scalar_type() == at::kLong))
      return *out += number_text(IValue(a->known.toTensor().item())), true; // a trace's number: it promotes as one, in PyTorch's executor too
    A x = a->ir.empty() && a->number ? im.as_tensor(a) : a;
    if (x->ir.empty() || x->type.empty()) return false;
    if (t->kind() != c10::TypeKind::TensorType) return false;
    *out += x->ir;
    uses->push_back(x);
    return true;
  }
  case Abstract::Number:
    if (a->ir.empty() || !(is_number_type(t) || t->kind() == c10::TypeKind::SymIntType)) return false;
    if (t->kind() == c10::TypeKind::FloatType && a->jtype->kind() != c10::TypeKind::FloatType) return false;
    *out += a->ir;
    uses->push_back(a);
    return true;
  case Abstract::List: {
    auto l = t->cast<c10::ListType>();
    if (!l) return false;
    *out += "[";
    for (size_t i = 0; i < a->items.size(); i++) {
      if (i) *out += ", ";
      if (!argument(im, n, l->getElementType(), a->items[i], out, uses)) return false;
    }
    *out += "]";
    return true;
  }
  case Abstract::Known: break;
  default: return false;
  }
  const IValue &v = a->known;
  if (v.isNone()) return *out += "none", true;
  switch (t->kind()) {
  case c10::TypeKind::ScalarTypeType: {
    const char *w = v.isInt() ? dtype_word((at::ScalarType)v.toInt()) : nullptr;
    if (!w) return false;
    *out += w[0] == 'u' ? "uint" + std::string(w + 1) : std::string(w);
    return true;
  }
  case c10::TypeKind::LayoutType:
    if (!v.isInt() || v.toInt() != (int64_t)at::kStrided) return false;
    return *out += "layout(\"strided\")", true;
  case c10::TypeKind::MemoryFormatType:
    if (!v.isInt()) return false;
    return *out += "memory_format(" + std::to_string(v.toInt()) + ")", true;
  case c10::TypeKind::DeviceObjType: return *out += "device(\"cpu\")", true;
  case c10::TypeKind::StringType:
    if (!v.isString()) return false;
    return *out += quote(v.toStringRef()), true;
  case c10::TypeKind::FloatType:
    if (v.isInt() || v.isBool()) return *out += number_text((double)(v.isInt() ? v.toInt() : v.toBool())), true;
    if (!v.isDouble()) return false;
    return *out += number_text(v), true;
  case c10::TypeKind::IntType:
  case c10::TypeKind::SymIntType:
    if (v.isBool()) return *out += std::to_string((int)v.toBool()), true;
    if (!v.isInt()) return false;
    return *out += number_text(v), true;
  case c10::TypeKind::BoolType:
    if (!v.isBool()) return false;
    return *out += number_text(v), true;
  case c10::TypeKind::NumberType: {
    std::string s = number_text(v);
    return *out += s, !s.empty();
  }
  default: return false;
  }
}

// ---------------------------------------------------------------- geometry

// The same argument as PyTorch's Meta kernels take it; false: it is not known well enough.
bool meta_value(const c10::TypePtr &want, const A &a, IValue *out) {
  c10::TypePtr t = want;
  if (auto o = t->cast<c10::OptionalType>()) t = o->getElementType();
  if (a->kind == Abstract::Tensor) {
    if (!a->meta.defined()) return false;
    *out = a->meta.detach(); // t_() and the like change it
    return true;
  }
  if (a->kind == Abstract::Known) {
    *out = a->known;
    if (t->kind() == c10::TypeKind::FloatType && a->known.isInt()) *out = (double)a->known.toInt();
    return true;
  }
  if (a->kind != Abstract::List) return false;
  auto l = t->cast<c10::ListType>();
  if (!l) return false;
  c10::TypePtr e = l->getElementType();
  if (e->kind() == c10::TypeKind::SymIntType) e = c10::IntType::get();
  c10::impl::GenericList list(e);
  for (const A &i : a->items) {
    IValue v;
    if (!meta_value(e, i, &v)) return false;
    list.push_back(v);
  }
  *out = list;
  return true;
}

// Result types by the Meta kernel; false: it has none, or it failed.
bool run_meta(const c10::OperatorHandle &op, const Values &args, torch::jit::Stack *stack) {
  if (!has_meta_kernel(op)) return false;
  const auto &schema = op.schema();
  for (size_t i = 0; i < args.size(); i++) {
    IValue v;
    if (!meta_value(schema.arguments()[i].real_type(), args[i], &v)) return false;
    if (schema.arguments()[i].name() == "device") v = c10::Device(at::kMeta);
    stack->push_back(v);
  }
  try {
    at::NoGradGuard no_grad;
    at::AutoDispatchBelowADInplaceOrView below;
    op.callBoxed(*stack);
    return true;
  } catch (const std::exception &) {
    return false;
  }
}

enum Agreement { Agree, Raises_, Differ };

// Whether PyTorch finds the types that the rules found, whatever the symbols' values are: at two samples.
Agreement probe(Importer &im, const c10::OperatorHandle &op, const Values &args, const std::vector<std::string> &types) {
  Agreement worst = Agree;
  for (int sample = 0; sample < 2; sample++) {
    Values given;
    for (const A &a : args) {
      A x = im.sampled(a, sample);
      if (!x) return worst;
      given.push_back(x);
    }
    torch::jit::Stack stack;
    for (size_t i = 0; i < given.size(); i++) {
      IValue v;
      if (!meta_value(op.schema().arguments()[i].real_type(), given[i], &v)) return worst; // not known well enough
    }
    if (!has_meta_kernel(op)) return worst;
    if (!run_meta(op, given, &stack)) {
      worst = std::max(worst, Raises_);
      continue;
    }
    std::vector<at::Tensor> out;
    for (const IValue &v : stack)
      if (v.isTensor()) out.push_back(v.toTensor());
      else if (v.isTensorList())
        for (const at::Tensor &t : v.toTensorVector()) out.push_back(t);
    for (size_t k = 0; k < out.size() && k < types.size(); k++) {
      if (types[k].find('[') == std::string::npos || !out[k].defined() || out[k].layout() != at::kStrided) continue;
      A want = im.sampled(im.tensor("", types[k]), sample);
      if (want && want->meta.defined() && want->meta.sizes() != out[k].sizes()) return Differ;
    }
  }
  return worst;
}

// How many tensors an operator gives whose result is a list; -1: not known.
int64_t list_length(const std::string &name, const c10::FunctionSchema &schema, const Values &args) {
  auto arg = [&](const char *what) -> A {
    for (size_t i = 0; i < args.size(); i++)
      if (schema.arguments()[i].name() == what) return args[i];
    return nullptr;
  };
  auto size = [&]() -> int64_t {
    A x = args[0], d = arg("dim");
    int64_t dim = 0;
    if (!x || x->kind != Abstract::Tensor || x->type.empty() || (d && !is_int(d, &dim))) return -1;
    auto dims = dims_of(x->type);
    if (dim < 0) dim += (int64_t)dims.size();
    if (dim < 0 || dim >= (int64_t)dims.size()) return -1;
    char *end;
    int64_t v = strtoll(dims[(size_t)dim].c_str(), &end, 10);
    return *end ? -1 : v;
  };
  int64_t k, n = size();
  if (name == "aten::unbind") return n;
  if (name == "aten::split" || name == "aten::unsafe_split") {
    A s = args[1];
    if (s->kind == Abstract::List) return (int64_t)s->items.size();
    return n < 0 || !is_int(s, &k) || k <= 0 ? -1 : std::max<int64_t>(1, (n + k - 1) / k);
  }
  if (name == "aten::chunk" || name == "aten::unsafe_chunk") {
    if (n < 0 || !is_int(args[1], &k) || k <= 0) return -1;
    int64_t each = (n + k - 1) / k;
    return each ? (n + each - 1) / each : k;
  }
  if (name == "aten::split_with_sizes" || name == "aten::unsafe_split_with_sizes") return args[1]->kind == Abstract::List ? (int64_t)args[1]->items.size() : -1;
  if (name == "aten::tensor_split" || name == "aten::hsplit" || name == "aten::vsplit" || name == "aten::dsplit") {
    if (args[1]->kind == Abstract::List) return (int64_t)args[1]->items.size() + 1;
    return is_int(args[1], &k) ? k : -1;
  }
  if (name == "aten::where" || name == "aten::nonzero_numpy") return args[0]->kind == Abstract::Tensor && !args[0]->type.empty() ? std::max<int64_t>(1, (int64_t)dims_of(args[0]->type).size()) : -1;
  if (!args.empty() && args[0]->kind == Abstract::List && args[0]->jtype && args[0]->jtype->kind() == c10::TypeKind::ListType)
    return (int64_t)args[0]->items.size(); // meshgrid, broadcast_tensors, atleast_1d, _foreach_…
  return -1;
}

// ---------------------------------------------------------------- sizes that data decides

std::string some_size(Importer &im) {
  bool ok;
  return dims_of(im.join_types("i64[1]", "i64[2]", &ok)).at(0);
}

std::string spell(const std::string &dtype, const std::vector<std::string> &dims) {
  std::string s = dtype + "[";
  for (size_t k = 0; k < dims.size(); k++) s += (k ? ", " : "") + dims[k];
  return s + "]";
}

// x[mask], x[mask, i], x[:, mask]: each mask stands for as many indices as it has dimensions, all of one length.
std::vector<std::string> masked(Importer &im, const A &x, const A &indices) {
  auto dims = dims_of(x->type), out = dims;
  size_t at = 0, first = 0, last = 0, n = 0;
  bool any = false, apart = false;
  std::vector<std::string> kept;
  for (const A &i : indices->items) {
    if (is_none(i)) {
      at++;
      continue;
    }
    if (i->kind != Abstract::Tensor || i->type.empty()) return {};
    size_t rank = dims_of(i->type).size();
    bool mask = dtype_of(i->type) == "bool" || dtype_of(i->type) == "u8";
    if (!mask && rank > 1) return {};
    any = any || mask;
    if (n && at != last) apart = true;
    if (!n) first = at;
    at += mask ? rank : 1;
    last = at, n++;
    if (at > dims.size()) return {};
    for (size_t k = at - (mask ? rank : 1); k < at; k++) out[k] = "";
  }
  if (!any) return {};
  for (size_t k = 0; k < out.size(); k++) {
    if (!apart && k == first) kept.push_back(some_size(im));
    if (!out[k].empty()) kept.push_back(out[k]);
  }
  if (apart) kept.insert(kept.begin(), some_size(im));
  else if (first >= out.size()) kept.push_back(some_size(im));
  return {spell(dtype_of(x->type), kept)};
}

// Sizes made of numbers that appear at run time.
std::vector<std::string> types_by_numbers(Importer &im, const std::string &key, const c10::FunctionSchema &schema, const Values &args) {
  bool any = false;
  for (const A &a : args) {
    any = any || a->kind == Abstract::Number;
    for (const A &i : a->items) any = any || i->kind == Abstract::Number;
  }
  if (!any) return {};
  int64_t dim, length;
  auto arg = [&](const char *name) -> A {
    for (size_t k = 0; k < args.size(); k++)
      if (schema.arguments()[k].name() == name) return args[k];
    return nullptr;
  };
  bool tensor = args[0]->kind == Abstract::Tensor && !args[0]->type.empty();
  std::vector<std::string> dims = tensor ? dims_of(args[0]->type) : std::vector<std::string>();
  std::string dtype = tensor ? dtype_of(args[0]->type) : "f32";
  A d = arg("dim"), size = arg("size"), word = arg("dtype");
  if (!tensor && word && is_int(word, &dim)) dtype = dtype_word((at::ScalarType)dim) ? dtype_word((at::ScalarType)dim) : "";
  if (tensor && d && is_int(d, &dim)) {
    if (dim < 0) dim += (int64_t)dims.size();
    if (dim < 0 || dim >= (int64_t)dims.size()) return {};
    if (key == "aten::select.int") return dims.erase(dims.begin() + dim), std::vector<std::string>{spell(dtype, dims)};
    if (key == "aten::slice.Tensor") dims[(size_t)dim] = some_size(im);
    else if (key == "aten::narrow") dims[(size_t)dim] = is_int(arg("length"), &length) ? std::to_string(length) : some_size(im);
    else return {};
    return {spell(dtype, dims)};
  }
  static const std::set<std::string> sized = {"aten::zeros", "aten::ones", "aten::empty.memory_format", "aten::full", "aten::rand", "aten::randn", "aten::new_zeros", "aten::new_ones",
                                              "aten::new_full", "aten::new_empty", "aten::expand", "aten::view", "aten::reshape", "aten::_unsafe_view"};
  if (sized.count(key)) {
    if (key == "aten::reshape") size = arg("shape");
    if (!size || size->kind != Abstract::List || dtype.empty()) return {};
    if (key == "aten::full" && is_none(word)) {
      const A &fill = args[1];
      c10::TypeKind k = fill->jtype->kind();
      dtype = k == c10::TypeKind::IntType ? "i64" : k == c10::TypeKind::BoolType ? "bool" : "f32";
    }
    std::vector<std::string> out;
    size_t lead = size->items.size() - dims.size();
    for (size_t k = 0; k < size->items.size(); k++) {
      const A &i = size->items[k];
      bool of_dim = key == "aten::expand" && k >= lead;
      if (!is_int(i, &length)) {
        std::string n;
        if (i->kind == Abstract::Number && i->type.size() > 5 && i->type.rfind("int(", 0) == 0) n = i->type.substr(4, i->type.size() - 5);
        out.push_back(n.empty() ? some_size(im) : n);
      } else out.push_back(length >= 0 ? std::to_string(length) : of_dim ? dims[k - lead] : some_size(im));
    }
    return {spell(dtype, out)};
  }
  if (key.rfind("aten::arange", 0) == 0) {
    if (is_none(word)) {
      dtype = "i64";
      for (size_t k = 0; k < args.size() && schema.arguments()[k].name() != "dtype"; k++)
        if (args[k]->jtype && args[k]->jtype->kind() == c10::TypeKind::FloatType) dtype = "f32";
    }
    return {spell(dtype, {some_size(im)})};
  }
  return {};
}

// Types of the operators whose results' sizes are in the data; empty: none of these.
std::vector<std::string> types_by_data(Importer &im, const std::string &key, const Values &args, int64_t count) {
  if (args.empty() || args[0]->kind != Abstract::Tensor || args[0]->type.empty()) return {};
  const A &x = args[0];
  auto dims = dims_of(x->type);
  std::string dtype = dtype_of(x->type), rank = std::to_string(dims.size());
  auto flag = [&](size_t k) {
    bool v = false;
    return k < args.size() && is_bool(args[k], &v) && v;
  };
  if (key == "aten::nonzero" || key == "aten::argwhere") return {"i64[" + some_size(im) + ", " + rank + "]"};
  if (key == "aten::where" || key == "aten::nonzero_numpy") {
    std::string n = some_size(im);
    return std::vector<std::string>((size_t)count, "i64[" + n + "]");
  }
  if (key == "aten::one_hot") return dims.push_back(some_size(im)), std::vector<std::string>{spell(dtype, dims)};
  if (key == "aten::masked_select") return {dtype + "[" + some_size(im) + "]"};
  if ((key == "aten::index.Tensor" || key == "aten::_unsafe_index.Tensor") && args[1]->kind == Abstract::List) return masked(im, x, args[1]);
  bool unique = key == "aten::_unique2" || key == "aten::_unique", consecutive = key == "aten::unique_consecutive";
  int64_t dim;
  if (unique || (consecutive && is_none(args[3]))) {
    std::string n = some_size(im);
    bool inverse = consecutive ? flag(1) : flag(2), counts = consecutive ? flag(2) : flag(3);
    std::vector<std::string> all = {dtype + "[" + n + "]", inverse ? spell("i64", dims) : "i64[0]", counts ? "i64[" + n + "]" : "i64[0]"};
    all.resize((size_t)count);
    return all;
  }
  bool by_dim = key == "aten::unique_dim" || key == "aten::unique_dim_consecutive" || consecutive;
  if (by_dim && is_int(args[consecutive ? 3 : 1], &dim)) {
    if (dim < 0) dim += (int64_t)dims.size();
    if (dim < 0 || dim >= (int64_t)dims.size()) return {};
    std::string n = some_size(im), old = dims[(size_t)dim];
    dims[(size_t)dim] = n;
    size_t first = key == "aten::unique_dim" ? 3 : consecutive ? 1 : 2;
    return {spell(dtype, dims), flag(first) ? "i64[" + old + "]" : "i64[0]", flag(first + 1) ? "i64[" + n + "]" : "i64[0]"};
  }
  if (key == "aten::bincount") {
    bool weighted = args[1]->kind == Abstract::Tensor;
    return {(weighted ? (dtype_of(args[1]->type) == "f32" ? "f32[" : "f64[") : "i64[") + some_size(im) + "]"};
  }
  if (key == "aten::repeat_interleave.Tensor") return {dtype + "[" + some_size(im) + "]"};
  if (key == "aten::repeat_interleave.self_Tensor") {
    if (is_none(args[2])) return {dtype + "[" + some_size(im) + "]"};
    if (!is_int(args[2], &dim)) return {};
    if (dim < 0) dim += (int64_t)dims.size();
    if (dim < 0 || dim >= (int64_t)dims.size()) return {};
    dims[(size_t)dim] = some_size(im);
    return {spell(dtype, dims)};
  }
  return {};
}

std::string plain(const std::string &type) { return type.substr(0, type.find('{')); }

// The type that the recorded geometry says, if it is the same one.
bool same_type(const std::string &type, const at::Tensor &meta) {
  return meta.defined() && meta.layout() == at::kStrided && !meta.is_quantized() && dtype_word(meta.scalar_type()) && plain(type_text(meta)) == type;
}

} // namespace

A Importer::call(const std::string &op, const std::string &args, const Values &uses) {
  std::string ir = fresh(), type = feed(ir + " = " + op + "(" + args + ")").at(0);
  A out = of_type(ir, type);
  if (out->kind == Abstract::Known) return out; // what sizes say needs no node
  auto item = std::make_unique<Item>();
  item->op = op, item->args = args, item->uses = uses, item->results = {out};
  add(std::move(item));
  return out;
}

A Importer::sampled(const A &a, int sample) {
  if (a->kind == Abstract::Known) return a;
  if (a->kind == Abstract::List) {
    auto out = std::make_shared<Abstract>(*a);
    for (A &i : out->items)
      if (!(i = sampled(i, sample))) return nullptr;
    return out;
  }
  bool number = a->kind == Abstract::Number && a->type.find('(') != std::string::npos;
  if ((!number && a->kind != Abstract::Tensor) || a->type.empty()) return nullptr;
  char out[16384] = "";
  if (in->at(in->self, a->type.c_str(), sample, out, sizeof out)) return nullptr;
  return of_type("", out);
}

// "%a 0 = 3", "%a 0 = %b 1": an assertion of the program, once.
void Importer::assume(const std::string &line, const Values &uses) {
  if (!assumed.insert(line).second) return;
  std::istringstream words(line);
  std::string x, eq, y;
  int dim, other;
  words >> x >> dim >> eq >> y;
  auto size = [&](const std::string &name, int d) -> A {
    for (const A &u : uses)
      if (u->ir == name) return call("aten.sym_size.int", name + ", " + std::to_string(d), {u});
    return nullptr;
  };
  A a = size(x, dim), b = y[0] == '%' && words >> other ? size(y, other) : known((int64_t)strtoll(y.c_str(), nullptr, 10));
  if (!a || !b) return;
  auto spell = [](const A &v) { return v->kind == Abstract::Known ? number_text(v->known) : v->ir; };
  A same = call("_operator.eq", spell(a) + ", " + spell(b), {a, b});
  auto item = std::make_unique<Item>();
  item->op = "aten._assert_scalar", item->uses = {same}, item->effect = true;
  item->args = (same->kind == Abstract::Known ? number_text(same->known) : same->ir) + ", " +
               quote("sizes of tensors that meet differ (the compiler takes a size that it does not know as no 1 that PyTorch would stretch)");
  add(std::move(item));
}

bool Importer::dispatch(Node *n, std::string *why, Values *known_types) {
  const torch::jit::Operator *jit_op = n->maybeOperator();
  if (!jit_op) return *why = std::string(n->kind().toQualString()) + " is no operator of the dispatcher", false;
  std::string name = jit_op->schema().name(), overload = jit_op->schema().overload_name();
  if (overload == "hacked_twin") overload = "";
  else if (overload == "Tensor_hacked_twin") overload = "Tensor";
  else if (overload == "a" && (name == "aten::mT" || name == "aten::mH" || name == "aten::numpy_T" || name == "aten::matrix_H")) overload = "";
  else if (name == "aten::copy_" && overload == "Tensor") overload = "";
  Values args, uses;
  for (Value *v : n->inputs()) args.push_back(get(v));
  if (name == "aten::_convolution" && args.size() > 9) { // what traces call it; the rest are settings of backends
    name = "aten::convolution", overload = "";
    args.resize(9);
  }
  std::string key = name + (overload.empty() ? "" : "." + overload);
  auto op = find_operator(key.c_str());
  if (!op) return *why = key + " is an operator of TorchScript only", false;
  const auto &schema = op->schema();
  if (args.size() != schema.arguments().size()) return *why = key + " has other arguments here", false;
  std::string text;
  for (size_t i = 0; i < args.size(); i++) {
    const auto &a = schema.arguments()[i];
    if (is_none(args[i]) && a.kwarg_only()) continue;
    if (!text.empty()) text += ", ";
    if (a.kwarg_only()) text += a.name() + "=";
    if (!argument(*this, n, a.real_type(), args[i], &text, &uses)) return *why = key + ": its argument " + a.name() + " has no place in a graph of tensors", false;
  }
  // Geometry first: it says how many results there are, and in-place views change it.
  torch::jit::Stack stack;
  bool meta = run_meta(*op, args, &stack);
  std::vector<at::Tensor> given;
  int64_t count = 0;
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < schema.returns().size(); i++) {
    const auto &t = schema.returns()[i].type();
    if (t->kind() == c10::TypeKind::ListType) {
      if (t->cast<c10::ListType>()->getElementType()->kind() != c10::TypeKind::TensorType) return *why = key + " gives a list that is none of tensors", false;
      int64_t k = meta && stack[i].isTensorList() ? (int64_t)stack[i].toTensorList().size() : list_length(name, schema, args);
      if (k < 0) return *why = key + ": how many tensors it gives appears at run time", false;
      lengths.push_back(k), count += k;
      for (int64_t j = 0; j < k; j++) given.push_back(meta && stack[i].isTensorList() ? stack[i].toTensorList().get((size_t)j) : at::Tensor());
    } else {
      auto k = t->kind();
      if (k != c10::TypeKind::TensorType && !is_number_type(t) && k != c10::TypeKind::SymIntType) return *why = key + " gives what is no tensor and no number", false;
      lengths.push_back(-1), count++;
      given.push_back(meta && i < stack.size() && stack[i].isTensor() ? stack[i].toTensor() : at::Tensor());
    }
  }
  std::string spelled = quote(key);
  if (name.rfind("aten::", 0) == 0) {
    spelled = "aten." + key.substr(6);
  } else if (schemas.insert(key).second) {
    std::ostringstream s;
    s << schema;
    schema_lines += "schema " + quote(s.str()) + "\n";
    feed("schema " + quote(s.str()));
  }
  // Sizes of the operands that appear at run time: what the rules take for granted of them is made sure of.
  bool open_sizes = false;
  std::function<void(const A &)> look = [&](const A &a) {
    open_sizes |= (a->kind == Abstract::Tensor || a->kind == Abstract::Number) && !a->meta.defined();
    for (const A &i : a->items) look(i);
  };
  for (const A &a : args) look(a);
  // Types: what an in-place operator gives is what it was given; else the rules', else the Meta kernel's.
  auto item = std::make_unique<Item>();
  item->op = spelled, item->args = text, item->uses = uses;
  item->effect = op->hasTag(at::Tag::nondeterministic_seeded) || (schema.returns().empty() && !schema.is_mutable());
  item->writes = schema.is_mutable();
  std::vector<std::string> ir, types;
  std::string names;
  for (int64_t k = 0; k < count; k++) ir.push_back(fresh()), names += (k ? ", " : "") + ir.back();
  bool in_place = false, reshaped = false, by_rule = false; // by_rule: the last line that was fed is this node
  auto guard = [&]() -> bool {
    char out[16384] = "";
    if (!by_rule || in->guards(in->self, out, sizeof out)) return false;
    std::istringstream lines(out);
    for (std::string line; std::getline(lines, line);) assume(line, uses);
    return true;
  };
  in_place = schema.returns().size() == 1 && schema.returns()[0].alias_info() && schema.returns()[0].alias_info()->isWrite() && args[0]->kind == Abstract::Tensor && count == 1 &&
                  schema.arguments()[0].alias_info() && schema.arguments()[0].alias_info()->isWrite();
  if (in_place) {
    reshaped = meta && given[0].defined() && plain(type_text(given[0])) != args[0]->type;
    types = {reshaped ? plain(type_text(given[0])) : args[0]->type};
    feed("value " + ir[0] + ": " + types[0]);
  } else {
    try {
      types = feed((count ? names + " = " : "") + spelled + "(" + text + ")");
      by_rule = true;
    } catch (const std::runtime_error &e) {
      auto by_data = types_by_data(*this, key, args, count);
      if (by_data.empty()) by_data = types_by_numbers(*this, key, schema, args);
      bool all = meta && by_data.empty();
      for (int64_t k = 0; k < count; k++) all = all && given[(size_t)k].defined() && given[(size_t)k].layout() == at::kStrided && dtype_word(given[(size_t)k].scalar_type()) && !given[(size_t)k].is_quantized();
      if (!all && by_data.empty()) return *why = key + ": " + e.what(), false;
      ir.clear();
      for (int64_t k = 0; k < count; k++) {
        ir.push_back(fresh());
        types.push_back(all ? plain(type_text(given[(size_t)k])) : by_data[(size_t)k]);
        feed("value " + ir.back() + ": " + types.back());
      }
    }
  }
  if (open_sizes && !guard()) {
    Agreement a = probe(*this, *op, args, types);
    if (a != Agree) {
      *why = key + ": sizes that appear at run time decide over its result's";
      for (int64_t k = 0; a == Raises_ && lengths.size() == (size_t)count && k < count; k++) known_types->push_back(of_type("", types[(size_t)k]));
      return false;
    }
  }
  Values out;
  for (int64_t k = 0; k < count; k++) {
    A x = of_type(ir[(size_t)k], types[(size_t)k]);
    if (x->kind == Abstract::Tensor && same_type(x->type, given[(size_t)k])) x->meta = given[(size_t)k];
    else if (x->kind == Abstract::Tensor) x->meta = at::Tensor(x->meta);
    A named_one = x;
    if (x->kind == Abstract::Known) named_one = std::make_shared<Abstract>(*x), named_one->ir = ir[(size_t)k], named_one->type = types[(size_t)k];
    item->results.push_back(named_one);
    out.push_back(x);
  }
  if (reshaped) // it is another tensor from here on, under whatever name
    for (auto &e : env)
      if (e.second == args[0]) e.second = out[0];
  bool all = count > 0 && !item->effect && !item->writes;
  for (const A &x : out) all = all && x->kind == Abstract::Known;
  Node *r = nullptr;
  if (!all && at_top()) {
    try {
      r = clone(n);
    } catch (const Refused &) {
    }
    item->r = r;
  }
  if (!all) add(std::move(item));
  size_t next = 0;
  for (size_t i = 0; i < n->outputs().size(); i++) {
    if (lengths[i] < 0) {
      if (r && !out[next]->r && out[next]->kind != Abstract::Known) out[next]->r = r->output(i);
      set(n->output(i), out[next++]);
      continue;
    }
    auto list = std::make_shared<Abstract>();
    list->kind = Abstract::List, list->jtype = n->output(i)->type(), list->depth = open;
    Node *unpack = nullptr;
    if (r) {
      unpack = residual->insertNode(residual->create(c10::prim::ListUnpack, {r->output(i)}, (size_t)lengths[i]));
      for (Value *v : unpack->outputs()) v->setType(c10::TensorType::get());
    }
    for (int64_t k = 0; k < lengths[i]; k++, next++) {
      if (unpack) out[next]->r = unpack->output((size_t)k);
      list->items.push_back(out[next]);
    }
    set(n->output(i), list);
  }
  return true;
}

} // namespace cierge::import
