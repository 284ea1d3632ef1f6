// Abstract values: what is known, what the text names, and what two of them have in common.
#include <ATen/ops/empty_strided.h>
#include <torch/csrc/jit/ir/constants.h>

#include <cmath>
#include <cstring>

#include "import.h"

namespace cierge::import {

// ---------------------------------------------------------------- texts

namespace {
struct Word { const char *text; int code; };
const Word words[] = {
#define DTYPE(NAME, text, torch, c, size, kind, dl, bits, npy, c10, ex) {text, c10},
#include "ir/dtype.def"
#undef DTYPE
};
} // namespace

const char *dtype_word(at::ScalarType t) {
  for (const Word &w : words)
    if (w.code == (int)t) return w.text;
  return nullptr;
}

int dtype_code(const std::string &word) {
  for (const Word &w : words)
    if (word == w.text) return w.code;
  return -1;
}

std::string quote(const std::string &s) {
  std::string out = "\"";
  for (unsigned char c : s) {
    char hex[8];
    if (c == '"' || c == '\\') out += '\\', out += (char)c;
    else if (c < 32 || c == 127) snprintf(hex, sizeof hex, "\\x%02x", c), out += hex;
    else out += (char)c;
  }
  return out + "\"";
}

static std::string float_text(double f) {
  if (std::isnan(f)) return "nan";
  if (std::isinf(f)) return f < 0 ? "-inf" : "inf";
  char b[40];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(b, sizeof b, "%.*g", digits, f);
    if (strtod(b, nullptr) == f) break;
  }
  return strpbrk(b, ".e") ? b : std::string(b) + ".0";
}

std::string number_text(const IValue &v) {
  if (v.isInt()) return std::to_string(v.toInt());
  if (v.isDouble()) return float_text(v.toDouble());
  if (v.isBool()) return v.toBool() ? "true" : "false";
  if (v.isComplexDouble()) return "complex(" + float_text(v.toComplexDouble().real()) + ", " + float_text(v.toComplexDouble().imag()) + ")";
  return "";
}

std::string type_text(const at::Tensor &t) {
  std::string s = dtype_word(t.scalar_type()), strides;
  s += "[";
  int64_t c = 1;
  bool plain = t.storage_offset() == 0;
  for (int64_t k = t.dim() - 1; k >= 0; k--) {
    plain = plain && (t.size(k) == 1 || t.stride(k) == c || !t.numel());
    c *= t.size(k);
  }
  for (int64_t k = 0; k < t.dim(); k++) {
    s += (k ? ", " : "") + std::to_string(t.size(k));
    strides += (k ? ", " : "") + std::to_string(t.stride(k));
  }
  s += "]";
  if (!plain) s += "{" + strides + (t.storage_offset() ? "; " + std::to_string(t.storage_offset()) : "") + "}";
  return s;
}

std::string dtype_of(const std::string &type) { return type.substr(0, type.find('[')); }

std::vector<std::string> dims_of(const std::string &type) {
  std::vector<std::string> out;
  size_t at = type.find('['), depth = 0;
  if (at == std::string::npos) return out;
  std::string one;
  for (at++; at < type.size(); at++) {
    char c = type[at];
    if (!depth && (c == ',' || c == ']')) {
      if (!one.empty()) out.push_back(one);
      one.clear();
      if (c == ']') break;
      continue;
    }
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (c != ' ' || !one.empty()) one += c;
  }
  return out;
}

// ---------------------------------------------------------------- what is known

A known(IValue v, c10::TypePtr t) {
  auto a = std::make_shared<Abstract>();
  a->kind = Abstract::Known;
  a->jtype = t ? t : v.type();
  a->known = std::move(v);
  return a;
}

A nothing() { return std::make_shared<Abstract>(); }

bool is_int(const A &a, int64_t *out) {
  if (a->kind != Abstract::Known || !a->known.isInt()) return false;
  if (out) *out = a->known.toInt();
  return true;
}

bool is_bool(const A &a, bool *out) {
  if (a->kind != Abstract::Known || !a->known.isBool()) return false;
  if (out) *out = a->known.toBool();
  return true;
}

bool is_none(const A &a) { return a->kind == Abstract::Known && a->known.isNone(); }

bool all_known(const A &a) {
  if (a->kind == Abstract::Known) return !a->known.isObject();
  if (a->kind != Abstract::List && a->kind != Abstract::Tuple && a->kind != Abstract::Dict) return false;
  for (const A &i : a->items)
    if (!all_known(i)) return false;
  return true;
}

IValue to_ivalue(const A &a, const c10::TypePtr &t) {
  if (a->kind == Abstract::Known) return a->known;
  c10::TypePtr type = t ? t : a->jtype;
  if (auto o = type->cast<c10::OptionalType>()) type = o->getElementType();
  if (a->kind == Abstract::Tuple) {
    std::vector<IValue> v;
    auto tuple = type->cast<c10::TupleType>();
    for (size_t i = 0; i < a->items.size(); i++) v.push_back(to_ivalue(a->items[i], tuple ? tuple->elements()[i] : nullptr));
    return tuple && tuple->schema() ? IValue(c10::ivalue::Tuple::createNamed(std::move(v), tuple)) : IValue(c10::ivalue::Tuple::create(std::move(v)));
  }
  if (a->kind == Abstract::Dict) {
    auto d = type->cast<c10::DictType>();
    if (!d) d = a->jtype->expect<c10::DictType>();
    c10::impl::GenericDict out(d->getKeyType(), d->getValueType());
    for (size_t i = 0; i < a->items.size(); i++) out.insert(a->keys[i], to_ivalue(a->items[i], d->getValueType()));
    return out;
  }
  auto l = type->cast<c10::ListType>();
  if (!l) l = a->jtype->expect<c10::ListType>();
  c10::impl::GenericList out(l->getElementType());
  for (const A &i : a->items) out.push_back(to_ivalue(i, l->getElementType()));
  return out;
}

bool is_number_type(const c10::TypePtr &t) {
  return t && (t->kind() == c10::TypeKind::IntType || t->kind() == c10::TypeKind::FloatType || t->kind() == c10::TypeKind::BoolType ||
               t->kind() == c10::TypeKind::NumberType);
}

bool crosses(const A &a) { return (a->kind == Abstract::Tensor || a->kind == Abstract::Number) && !a->ir.empty() && !a->type.empty(); }

// ---------------------------------------------------------------- what the text names

std::vector<std::string> Importer::feed(const std::string &line) {
  char out[65536] = "";
  if (in->feed(in->self, line.c_str(), out, sizeof out)) throw std::runtime_error(out);
  std::vector<std::string> types;
  for (const char *p = out, *end; *p; p = end + 1) {
    if (!(end = strchr(p, '\n'))) break;
    types.emplace_back(p, end);
  }
  return types;
}

std::string Importer::join_types(const std::string &a, const std::string &b, bool *ok) {
  char out[16384] = "";
  *ok = !in->join(in->self, a.c_str(), b.c_str(), out, sizeof out);
  return *ok ? out : "";
}

A Importer::tensor(const std::string &ir, const std::string &type, c10::TypePtr t) {
  auto a = std::make_shared<Abstract>();
  a->kind = Abstract::Tensor;
  a->ir = ir, a->type = type;
  a->jtype = t ? t : c10::TensorType::get();
  if (type.empty() || type.find("[") == std::string::npos) return a;
  int code = dtype_code(dtype_of(type));
  std::vector<int64_t> size, stride;
  for (const std::string &d : dims_of(type)) {
    char *end;
    size.push_back(strtoll(d.c_str(), &end, 10));
    if (*end || d.empty()) return a;
  }
  if (code < 0 || type.find('{') != std::string::npos) return a;
  stride.resize(size.size(), 1);
  for (size_t k = size.size(); k-- > 1;) stride[k - 1] = stride[k] * std::max<int64_t>(size[k], 1);
  a->meta = at::empty_strided(size, stride, at::TensorOptions((at::ScalarType)code).device(at::kMeta));
  return a;
}

A Importer::of_type(const std::string &ir, const std::string &type) {
  if (type.find('[') != std::string::npos) return tensor(ir, type);
  if (type == "none") return known(IValue());
  auto a = std::make_shared<Abstract>();
  a->kind = Abstract::Number;
  a->ir = ir, a->type = type;
  std::string word = type.substr(0, type.find('('));
  if (word == "int") a->jtype = c10::IntType::get();
  else if (word == "float") a->jtype = c10::FloatType::get();
  else if (word == "bool") a->jtype = c10::BoolType::get();
  else throw std::runtime_error("a value of type " + type);
  if (word.size() == type.size()) return a;
  std::string inner = type.substr(word.size() + 1, type.size() - word.size() - 2);
  char *end;
  int64_t v = strtoll(inner.c_str(), &end, 10);
  if (*end || inner.empty()) return a;
  return word == "bool" ? known(v != 0) : known(v);
}

A Importer::named(const std::string &type) {
  std::string ir = fresh();
  feed("value " + ir + ": " + type);
  A a = of_type(ir, type);
  return a;
}

// Names that the text can hold, and no two alike.
A Importer::constant_tensor(const at::Tensor &t, const std::string &name, const std::string &kind) {
  const void *id = t.unsafeGetTensorImpl();
  auto found = constant_of.find(id);
  if (found == constant_of.end()) {
    bool plain = t.layout() == at::kStrided && !t.is_quantized() && dtype_word(t.scalar_type()) && t.device().is_cpu() && !t.is_conj() && !t.is_neg() && t.dim() <= 64;
    Constant c;
    c.name = name.empty() ? "constant" : name;
    for (int k = 0; constant_names.count(c.name); k++) c.name = (name.empty() ? "constant" : name) + "." + std::to_string(k);
    constant_names.insert(c.name);
    c.kind = kind;
    c.tensor = t;
    if (plain) {
      c.type = type_text(t);
      uint64_t size = t.storage().nbytes();
      feed(c.kind + " @" + quote(c.name) + ": " + c.type + " size " + std::to_string(size));
    }
    kept.push_back(t);
    found = constant_of.emplace(id, constants.size()).first;
    constants.push_back(c);
  }
  Constant &c = constants[found->second];
  A a = tensor(c.type.empty() ? "" : "@" + quote(c.name), c.type.empty() ? "" : c.type.substr(0, c.type.find('{')));
  a->known = t;
  if (!c.type.empty()) a->meta = at::empty_strided(t.sizes(), t.strides(), t.options().device(at::kMeta));
  return a;
}

A Importer::from_ivalue(const IValue &v, const c10::TypePtr &t, const std::string &path, const std::string &kind) {
  if (v.isTensor()) {
    if (!v.toTensor().defined()) return known(IValue(), t);
    return constant_tensor(v.toTensor(), path, kind);
  }
  auto a = std::make_shared<Abstract>();
  a->jtype = t ? t : v.type();
  a->depth = open;
  if (v.isList()) {
    a->kind = Abstract::List;
    a->jtype = v.type();
    int k = 0;
    for (const IValue &i : v.toListRef()) a->items.push_back(from_ivalue(i, nullptr, path.empty() ? "" : path + "." + std::to_string(k++), kind));
    return a;
  }
  if (v.isTuple()) {
    a->kind = Abstract::Tuple;
    a->jtype = v.type();
    int k = 0;
    for (const IValue &i : v.toTupleRef().elements()) a->items.push_back(from_ivalue(i, nullptr, path.empty() ? "" : path + "." + std::to_string(k++), kind));
    return a;
  }
  if (v.isGenericDict()) {
    a->kind = Abstract::Dict;
    a->jtype = v.type();
    for (const auto &e : v.toGenericDict()) {
      a->keys.push_back(e.key());
      a->items.push_back(from_ivalue(e.value(), nullptr, path.empty() ? "" : path + "." + std::to_string(a->keys.size() - 1), kind));
    }
    return a;
  }
  return known(v, t ? t : v.type());
}

// ---------------------------------------------------------------- joining

A Importer::element_of(const A &list) {
  if (list->kind == Abstract::Opaque) return list->element ? list->element : nothing();
  bool exact = true;
  A e = nothing();
  for (const A &i : list->items) e = join(e, i, &exact);
  return e;
}

A Importer::join(const A &a, const A &b, bool *exact) {
  if (a == b || b->kind == Abstract::Nothing) return a;
  if (a->kind == Abstract::Nothing) return b;
  if (a->kind == b->kind && (a->kind == Abstract::List || a->kind == Abstract::Tuple || a->kind == Abstract::Dict)) {
    bool same = a->items.size() == b->items.size() && a->keys.size() == b->keys.size();
    for (size_t i = 0; same && i < a->keys.size(); i++) same = a->keys[i] == b->keys[i];
    if (same) {
      auto out = std::make_shared<Abstract>(*a);
      out->r = nullptr, out->depth = open;
      for (size_t i = 0; i < a->items.size(); i++) {
        out->items[i] = join(a->items[i], b->items[i], exact);
        if (out->items[i]->kind == Abstract::Opaque) *exact = false;
      }
      return out;
    }
  }
  if (all_known(a) && all_known(b) && a->kind == b->kind && a->kind == Abstract::Known && a->known.type()->kind() == b->known.type()->kind()) {
    if (!a->known.isList() && a->known == b->known) return a;
  }
  auto number = [](const A &x) { return x->kind == Abstract::Number || (x->kind == Abstract::Known && !number_text(x->known).empty() && !x->known.isComplexDouble()); };
  *exact = false; // it takes a value of its own
  if (number(a) && number(b) && a->jtype->kind() == b->jtype->kind()) {
    auto out = std::make_shared<Abstract>();
    out->kind = Abstract::Number;
    out->jtype = a->jtype;
    out->type = a->jtype->kind() == c10::TypeKind::IntType ? "int" : a->jtype->kind() == c10::TypeKind::FloatType ? "float" : "bool";
    if (a->kind == Abstract::Number && b->kind == Abstract::Number && a->type == b->type) out->type = a->type;
    return out;
  }
  if (a->kind == Abstract::Tensor && b->kind == Abstract::Tensor) {
    bool ok = !a->type.empty() && !b->type.empty();
    std::string t = ok ? join_types(a->type, b->type, &ok) : "";
    A out = tensor("", ok ? t : "");
    return out;
  }
  auto out = std::make_shared<Abstract>();
  out->kind = Abstract::Opaque;
  out->jtype = a->jtype;
  auto container = [](const A &x) {
    return x->kind == Abstract::List || x->kind == Abstract::Dict ||
           (x->kind == Abstract::Opaque && x->jtype && (x->jtype->kind() == c10::TypeKind::ListType || x->jtype->kind() == c10::TypeKind::DictType));
  };
  if (container(a) && container(b)) {
    A e = join(element_of(a), element_of(b), exact);
    if (e->kind != Abstract::Nothing) out->element = e;
  }
  if (is_none(a) || is_none(b)) {
    const A &other = is_none(a) ? b : a;
    out->jtype = c10::OptionalType::create(other->jtype);
    out->element = other->kind == Abstract::Opaque ? other->element : other;
  }
  return out;
}

// ---------------------------------------------------------------- the residual graph

// An input of the residual graph: the text computes it.
Value *Importer::bridge(const A &a) {
  if (a->kind == Abstract::Tensor && a->ir.empty() && a->number && at_top()) as_tensor(a);
  if (!crosses(a)) throw Refused("a value of unknown type is computed outside TorchScript");
  Value *v = residual->addInput();
  v->setType(a->kind == Abstract::Tensor ? c10::TypePtr(c10::TensorType::get()) : a->jtype);
  bridges[v] = a;
  return a->r = v;
}

Value *Importer::materialise(const A &a) {
  if (a->r) return a->r;
  Graph &g = *residual;
  switch (a->kind) {
  case Abstract::Known:
  case Abstract::Tensor: {
    if (a->kind == Abstract::Tensor && !a->known.isTensor()) return bridge(a);
    torch::jit::WithInsertPoint at(*g.block()->nodes().begin());
    auto v = torch::jit::tryInsertConstant(g, a->known.isTensor() ? IValue(a->known.toTensor().detach()) : a->known);
    if (!v) throw Refused("a constant of type " + a->known.type()->repr_str() + " cannot be kept");
    if (a->kind == Abstract::Known && a->known.isNone()) (*v)->setType(c10::NoneType::get());
    return a->r = *v;
  }
  case Abstract::Number: return bridge(a);
  case Abstract::List:
  case Abstract::Tuple: {
    std::vector<Value *> v;
    for (const A &i : a->items) v.push_back(materialise(i));
    Node *n;
    if (a->kind == Abstract::List) {
      auto t = a->jtype->cast<c10::ListType>();
      n = g.createList(t ? t->getElementType() : v.empty() ? c10::TensorType::get() : v[0]->type(), v);
    } else {
      auto t = a->jtype->cast<c10::TupleType>();
      n = t && t->schema() ? g.createTuple(v, t) : g.createTuple(v);
    }
    g.insertNode(n);
    return n->output(); // a list of its own each time: nobody writes to it
  }
  case Abstract::Dict: {
    auto t = a->jtype->expect<c10::DictType>();
    std::vector<Value *> k, v;
    for (size_t i = 0; i < a->items.size(); i++) k.push_back(materialise(known(a->keys[i]))), v.push_back(materialise(a->items[i]));
    Node *n = g.createDict(t->getKeyType(), t->getValueType(), k, v);
    g.insertNode(n);
    return n->output();
  }
  default: throw Refused("a value is not at hand in TorchScript");
  }
}

void Importer::escape(const A &a) {
  if (a->kind != Abstract::List && a->kind != Abstract::Dict) {
    for (const A &i : a->items) escape(i);
    return;
  }
  for (const A &i : a->items) escape(i);
  touch(a);
  Value *v = at_top() ? materialise(a) : nullptr;
  A e = element_of(a);
  a->kind = Abstract::Opaque;
  a->element = e->kind == Abstract::Nothing ? nullptr : e;
  a->items.clear(), a->keys.clear();
  a->r = v;
  if (!v) return;
  auto item = std::make_unique<Item>();
  item->r = v->node(), item->results = {a};
  item->why = "TorchScript writes to a list or dictionary";
  add(std::move(item));
}

void Importer::touch(const A &a) {
  if (a->depth < open) journal.push_back({a, a->items, a->keys});
}

void Importer::undo(size_t to) {
  while (journal.size() > to) {
    Undo u = std::move(journal.back());
    journal.pop_back();
    if (u.container->kind == Abstract::Opaque && !u.container->r) u.container->kind = u.container->jtype->cast<c10::DictType>() ? Abstract::Dict : Abstract::List;
    u.container->items = u.items;
    u.container->keys = u.keys;
  }
}

} // namespace cierge::import
