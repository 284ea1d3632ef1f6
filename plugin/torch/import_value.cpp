// Abstract values: what is known, what the text names, and what two of them have in common.
#include <ATen/ops/empty_strided.h>
#include <torch/csrc/jit/ir/constants.h>

#include <cstring>

#include "import.h"

namespace cierge::import {

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
  if (!is_container(a)) return false;
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
  return t && (number_word(t) || t->kind() == c10::TypeKind::NumberType);
}

bool is_known_number(const A &a) { return a->kind == Abstract::Known && (a->known.isInt() || a->known.isDouble() || a->known.isBool()); }

bool is_number(const A &a) { return a->kind == Abstract::Number || is_known_number(a); }

bool is_container(const A &a) { return a->kind == Abstract::List || a->kind == Abstract::Tuple || a->kind == Abstract::Dict; }

bool typed(const A &a) { return (a->kind == Abstract::Tensor || a->kind == Abstract::Number) && !a->ir.empty() && !a->type.empty(); }

bool crosses(const A &a) { return typed(a) || (a->kind == Abstract::Tensor && !a->ir.empty()); }

bool sayable(const A &a) { return is_known_number(a) || typed(a); }

// ---------------------------------------------------------------- what the text names

void each_name(const A &a, const std::function<void(const std::string &)> &f) {
  if (!a->ir.empty()) f(a->ir);
  for (const A &i : a->items) each_name(i, f);
}

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

std::string Importer::some_size() {
  bool ok;
  return dims_of(join_types("i64[1]", "i64[2]", &ok)).at(0);
}

A Importer::tensor(const std::string &ir, const std::string &type, c10::TypePtr t) {
  auto a = std::make_shared<Abstract>();
  a->kind = Abstract::Tensor;
  a->ir = ir, a->type = type;
  a->jtype = t ? t : c10::TensorType::get();
  if (!is_tensor_text(type)) return a;
  int code = dtype_code(dtype_of(type));
  std::vector<int64_t> size, stride;
  for (const std::string &d : dims_of(type))
    if (!fixed_size(d, &size.emplace_back())) return a;
  if (code < 0 || type.find('{') != std::string::npos) return a;
  stride.resize(size.size(), 1);
  for (size_t k = size.size(); k-- > 1;) stride[k - 1] = stride[k] * std::max<int64_t>(size[k], 1);
  a->meta = at::empty_strided(size, stride, at::TensorOptions((at::ScalarType)code).device(at::kMeta));
  return a;
}

A Importer::of_type(const std::string &ir, const std::string &type) {
  if (is_tensor_text(type)) return tensor(ir, type);
  if (type == "none") return known(IValue());
  auto a = std::make_shared<Abstract>();
  a->kind = Abstract::Number;
  a->ir = ir, a->type = type;
  std::string word = bare(type);
  if (!(a->jtype = number_type(word))) throw std::runtime_error("a value of type " + type);
  int64_t v;
  if (word.size() == type.size() || !fixed_size(type.substr(word.size() + 1, type.size() - word.size() - 2), &v)) return a;
  return word == "bool" ? known(v != 0) : known(v);
}

A Importer::container(Abstract::Kind kind, Values items, const c10::TypePtr &t) {
  auto a = std::make_shared<Abstract>();
  a->kind = kind, a->items = std::move(items), a->jtype = t, a->depth = open;
  return a;
}

A Importer::named(const std::string &type) {
  std::string ir = fresh();
  feed("value " + ir + ": " + type);
  return of_type(ir, type);
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
  A a = tensor(c.type.empty() ? "" : "@" + quote(c.name), plain_type(c.type));
  a->known = t;
  if (!c.type.empty()) a->meta = at::empty_strided(t.sizes(), t.strides(), t.options().device(at::kMeta));
  return a;
}

A Importer::from_ivalue(const IValue &v, const c10::TypePtr &t, const std::string &path, const std::string &kind) {
  if (v.isTensor()) return v.toTensor().defined() ? constant_tensor(v.toTensor(), path, kind) : known(IValue(), t);
  if (!v.isList() && !v.isTuple() && !v.isGenericDict()) return known(v, t ? t : v.type());
  A a = container(v.isList() ? Abstract::List : v.isTuple() ? Abstract::Tuple : Abstract::Dict, {}, v.type());
  auto item = [&](const IValue &i) { a->items.push_back(from_ivalue(i, nullptr, path.empty() ? "" : path + "." + std::to_string(a->items.size()), kind)); };
  if (v.isList())
    for (const IValue &i : v.toListRef()) item(i);
  else if (v.isTuple())
    for (const IValue &i : v.toTupleRef().elements()) item(i);
  else
    for (const auto &e : v.toGenericDict()) a->keys.push_back(e.key()), item(e.value());
  return a;
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
  if (a->kind == b->kind && is_container(a)) {
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
  *exact = false; // it takes a value of its own
  auto word = [](const A &x) { return is_number(x) ? number_word(x->kind == Abstract::Known ? x->known.type() : x->jtype) : nullptr; };
  if (const char *w = word(a); w && w == word(b)) {
    auto out = by_jit_type(number_type(w));
    if (a->kind == Abstract::Number && b->kind == Abstract::Number && a->type == b->type) out->type = a->type;
    return out;
  }
  if (a->kind == Abstract::Tensor && b->kind == Abstract::Tensor) {
    bool ok = !a->type.empty() && !b->type.empty();
    std::string t = ok ? join_types(a->type, b->type, &ok) : "";
    return tensor("", ok ? t : "");
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
  if (a->kind == Abstract::Tensor && a->ir.empty() && a->number && at_top())
    if (A t = as_tensor(a); t->known.isTensor()) return a->r = materialise(t);
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

void Importer::undo(const Mark &to) {
  for (; renamed.size() > to.renamed; renamed.pop_back()) env[renamed.back().first] = renamed.back().second;
  while (journal.size() > to.journal) {
    Undo u = std::move(journal.back());
    journal.pop_back();
    if (u.container->kind == Abstract::Opaque && !u.container->r) u.container->kind = u.container->jtype->cast<c10::DictType>() ? Abstract::Dict : Abstract::List;
    u.container->items = u.items;
    u.container->keys = u.keys;
  }
}

} // namespace cierge::import
