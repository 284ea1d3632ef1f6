// Operators of TorchScript that are none of the dispatcher's: numbers, lists, tuples, dictionaries, texts, and questions about
// tensors that their types answer.
#include <ATen/Functions.h>
#include <torch/csrc/jit/runtime/operator.h>

#include "import.h"

namespace cierge::import {

namespace {

using c10::TypeKind;

// Number operators: TorchScript's name, cierge's.
const std::map<std::string, std::string> number_ops = {
    {"aten::add", "_operator.add"},       {"aten::sub", "_operator.sub"},     {"aten::mul", "_operator.mul"},   {"aten::div", "_operator.truediv"},
    {"aten::floordiv", "_operator.floordiv"}, {"aten::remainder", "_operator.mod"}, {"aten::pow", "_operator.pow"}, {"aten::neg", "_operator.neg"},
    {"aten::eq", "_operator.eq"},         {"aten::ne", "_operator.ne"},       {"aten::lt", "_operator.lt"},     {"aten::le", "_operator.le"},
    {"aten::gt", "_operator.gt"},         {"aten::ge", "_operator.ge"},       {"aten::__and__", "_operator.and_"}, {"aten::__or__", "_operator.or_"},
    {"aten::__xor__", "_operator.ne"},    {"aten::__not__", "torch.sym_not"}, {"aten::__lshift__", "_operator.lshift"}, {"aten::__rshift__", "_operator.rshift"},
    {"aten::floor", "math.floor"},        {"aten::ceil", "math.ceil"},        {"aten::Int", "torch.sym_int"},   {"aten::Float", "torch.sym_float"},
    {"aten::sqrt", "torch._sym_sqrt"},    {"prim::max", "torch.sym_max"},     {"prim::min", "torch.sym_min"},   {"aten::FloatImplicit", "torch.sym_float"}};

bool numeric(const A &a) {
  return a->kind == Abstract::Number || (a->kind == Abstract::Known && (a->known.isInt() || a->known.isDouble() || a->known.isBool()));
}

std::string spelled(const A &a) { return a->kind == Abstract::Known ? number_text(a->known) : a->ir; }

at::ScalarType dtype(const A &a) { return (at::ScalarType)dtype_code(dtype_of(a->type)); }

// A number that a tensor is made of: a trace's sizes, and its literals.
A number_in(const A &a) {
  if (a->kind == Abstract::Tensor && a->number) return a->number;
  if (a->kind == Abstract::Tensor && a->known.isTensor() && a->attribute == "literal" && a->known.toTensor().dim() == 0 && a->known.toTensor().scalar_type() == at::kLong)
    return known(a->known.toTensor().item<int64_t>());
  return nullptr;
}

A counted(const A &number, int depth) {
  auto t = std::make_shared<Abstract>();
  t->kind = Abstract::Tensor;
  t->jtype = c10::TensorType::get();
  t->number = number;
  t->depth = depth;
  c10::TypeKind k = number->jtype ? number->jtype->kind() : TypeKind::IntType;
  t->type = k == TypeKind::FloatType ? "f64[]" : k == TypeKind::BoolType ? "bool[]" : "i64[]";
  return t;
}

bool index_in(const A &list, const A &index, size_t *out) {
  int64_t k;
  if (!is_int(index, &k)) return false;
  int64_t n = (int64_t)list->items.size();
  if (k < 0) k += n;
  if (k < 0 || k >= n) throw Raises{"list index out of range", nullptr};
  *out = (size_t)k;
  return true;
}

int64_t key_at(const A &dict, const IValue &key) {
  for (size_t i = 0; i < dict->keys.size(); i++)
    if (dict->keys[i] == key) return (int64_t)i;
  return -1;
}

A copy_of(const A &a, int depth) {
  auto out = std::make_shared<Abstract>(*a);
  out->depth = depth, out->r = nullptr, out->attribute = "";
  return out;
}

} // namespace

int Importer::rank_of(const A &x) { return x->kind == Abstract::Tensor && !x->type.empty() ? (int)dims_of(x->type).size() : -1; }

// The result, whose counterpart in TorchScript is n's.
static void give(Importer &im, Node *n, const A &a) {
  if (im.at_top() && !a->r && crosses(a) && !im.items->empty()) {
    Item *last = im.items->back().get();
    for (const A &x : last->results)
      if (x == a && !last->r) {
        try {
          last->r = im.clone(n);
          a->r = last->r->output();
        } catch (const Refused &) {
        }
      }
  }
  im.set(n->output(), a);
}

A Importer::number_op(const std::string &op, const Values &args) {
  std::string text;
  for (size_t i = 0; i < args.size(); i++) text += (i ? ", " : "") + spelled(args[i]);
  Values uses;
  for (const A &a : args)
    if (a->kind == Abstract::Number) uses.push_back(a);
  return call(op, text, uses);
}

A Importer::size_of(const A &x, int64_t dim) {
  auto dims = dims_of(x->type);
  if (dim < 0) dim += (int64_t)dims.size();
  if (dim < 0 || dim >= (int64_t)dims.size()) throw Raises{"Dimension out of range", nullptr};
  char *end;
  int64_t v = strtoll(dims[(size_t)dim].c_str(), &end, 10);
  if (!*end) return known(v);
  return call("aten.sym_size.int", x->ir + ", " + std::to_string(dim), {x});
}

A Importer::as_tensor(const A &a) {
  if (!a->ir.empty()) return a;
  if (a->number->kind == Abstract::Known) {
    A t = constant_tensor(at::scalar_tensor(a->number->known.toScalar(), at::ScalarType(dtype(a))), "", "const");
    return t;
  }
  A t = call("aten.scalar_tensor", spelled(a->number) + ", dtype=" + dtype_of(a->type), {a->number});
  if (a->depth == open) a->ir = t->ir;
  return t;
}

// ---------------------------------------------------------------- by kind of operator

namespace {

struct Special {
  Importer &im;
  Node *n;
  std::string name;
  Values in;

  A list(Values items, const c10::TypePtr &t) {
    auto a = std::make_shared<Abstract>();
    a->kind = Abstract::List, a->items = std::move(items), a->jtype = t, a->depth = im.open;
    return a;
  }
  bool done(const A &a) {
    give(im, n, a);
    return true;
  }
  bool is(const char *s) const { return name == s; }

  // Everything is known: PyTorch's own function answers.
  bool fold() {
    if (n->outputs().size() != 1 || n->hasSideEffects() || !n->maybeOperator() || n->kind().is_attr()) return false;
    const auto &schema = n->getOperator().schema();
    if (schema.is_mutable() || schema.is_vararg()) {
      if (!is("aten::format")) return false;
    }
    for (const A &a : in)
      if (!all_known(a)) return false;
    bool makes_tensor = n->output()->type()->kind() == TypeKind::TensorType;
    if (makes_tensor && !is("aten::tensor") && !is("aten::as_tensor")) return false;
    if (auto l = n->output()->type()->cast<c10::ListType>())
      if (l->getElementType()->kind() == TypeKind::TensorType) return false;
    if (n->output()->type()->kind() == TypeKind::ClassType) return false;
    torch::jit::Stack stack;
    for (size_t i = 0; i < in.size(); i++) {
      stack.push_back(to_ivalue(in[i], n->input(i)->type()));
    }
    try {
      if (schema.is_vararg()) stack.emplace_back((int64_t)in.size());
      n->getOperation()(stack);
    } catch (const std::exception &e) {
      std::string what = e.what();
      throw Raises{what.substr(0, what.find('\n')), nullptr};
    }
    if (!makes_tensor) {
      A v = im.from_ivalue(stack.at(0), n->output()->type());
      if (v->kind == Abstract::List || v->kind == Abstract::Dict) v->jtype = n->output()->type();
      return done(v);
    }
    at::Tensor t = stack.at(0).toTensor();
    A c = im.constant_tensor(t, "", "const"); // a new one in each call
    if (c->ir.empty()) return false;
    return done(im.call("aten.clone", c->ir, {c}));
  }

  // ---------------------------------------------------------------- numbers
  bool numbers() {
    if (n->outputs().size() != 1 || in.empty() || !is_number_type(n->output()->type())) return false;
    auto f = number_ops.find(name);
    if (f == number_ops.end() && !is("aten::Bool") && !is("prim::abs") && !is("aten::ScalarImplicit") && !is("aten::IntImplicit")) return false;
    for (const A &a : in)
      if (!numeric(a) || spelled(a).empty()) return false;
    A out;
    if (is("aten::Bool")) out = in[0]->jtype->kind() == TypeKind::BoolType ? in[0] : im.number_op("_operator.ne", {in[0], in[0]->jtype->kind() == TypeKind::FloatType ? known(0.0) : known((int64_t)0)});
    else if (is("prim::abs")) out = im.number_op("torch.sym_max", {in[0], im.number_op("_operator.neg", {in[0]})});
    else if (f == number_ops.end()) out = in[0];
    else if (is("aten::Int") && in[0]->jtype->kind() == TypeKind::FloatType) out = im.number_op("math.trunc", in);
    else if (is("aten::Int") && in[0]->jtype->kind() == TypeKind::IntType) out = in[0];
    else if (is("aten::__xor__") && n->output()->type()->kind() != TypeKind::BoolType) return false;
    else if (is("aten::add") && in.size() != 2) return false;
    else out = im.number_op(f->second, in);
    if (n->output()->type()->kind() == TypeKind::FloatType && out->kind == Abstract::Number && out->type.rfind("float", 0) != 0) out = im.number_op("torch.sym_float", {out});
    if (n->output()->type()->kind() == TypeKind::FloatType && is_int(out)) out = known((double)out->known.toInt());
    if (n->output()->type()->kind() == TypeKind::BoolType && is_int(out)) out = known(out->known.toInt() != 0);
    return done(out);
  }

  // Sizes that a trace keeps in tensors.
  bool traced() {
    if (is("prim::NumToTensor")) {
      if (!numeric(in[0])) return false;
      A t = counted(in[0], im.open);
      if (in[0]->r) im.materialise(in[0]);
      im.set(n->output(), t);
      return true;
    }
    if (in.empty() || in[0]->kind != Abstract::Tensor) return false;
    A a = number_in(in[0]);
    if (!a) return false;
    if (is("aten::Int") || is("aten::IntImplicit") || is("aten::ScalarImplicit") || is("aten::item")) return done(a);
    if ((is("aten::Float") || is("aten::FloatImplicit")) && numeric(a)) return done(a->kind == Abstract::Known ? known(a->known.toScalar().toDouble()) : im.number_op("torch.sym_float", {a}));
    if (!in[0]->number) return false;
    if (is("aten::detach") || is("aten::clone")) return im.set(n->output(), in[0]), true;
    if (is("aten::to") && in.size() > 1) {
      int64_t code;
      if (is_int(in[1], &code) && code == dtype_code(dtype_of(in[0]->type))) return im.set(n->output(), in[0]), true;
      return false;
    }
    static const std::map<std::string, std::string> ops = {{"aten::add", "_operator.add"}, {"aten::sub", "_operator.sub"}, {"aten::mul", "_operator.mul"},
                                                           {"aten::floor_divide", "_operator.floordiv"}, {"aten::remainder", "_operator.mod"}, {"aten::neg", "_operator.neg"}};
    auto f = ops.find(name);
    if (f == ops.end() || in[0]->type != "i64[]") return false;
    Values args = {a};
    if (in.size() > 1) {
      A b = in[1]->kind == Abstract::Tensor ? number_in(in[1]) : numeric(in[1]) ? in[1] : nullptr;
      if (!b || (b->kind == Abstract::Known && !b->known.isInt()) || (b->kind == Abstract::Number && b->jtype->kind() != TypeKind::IntType)) return false;
      args.push_back(b);
    }
    int64_t alpha;
    if (in.size() > 2 && !(is_int(in[2], &alpha) && alpha == 1)) return false;
    A v;
    if (args[0]->kind == Abstract::Known && args.back()->kind == Abstract::Known) return false;
    v = im.number_op(f->second, args);
    im.set(n->output(), counted(v, im.open));
    return true;
  }

  // ---------------------------------------------------------------- questions about tensors
  bool questions() {
    if (in.empty() || in[0]->kind != Abstract::Tensor) return false;
    const A &x = in[0];
    if (is("prim::requires_grad") || is("prim::is_cuda") || is("prim::is_sparse") || is("prim::is_quantized") || is("prim::is_mkldnn") || is("prim::is_xla") || is("prim::is_mps") ||
        is("prim::is_nested") || is("prim::is_meta") || is("prim::is_xpu") || is("prim::is_ipu") || is("prim::is_vulkan") || is("prim::is_sparse_csr") || is("prim::is_mtia") || is("prim::is_maia"))
      return done(known(false));
    if (is("prim::is_cpu")) return done(known(true));
    if (is("prim::device") || is("aten::device")) return done(known(c10::Device(at::kCPU)));
    if (is("prim::layout")) return done(known((int64_t)at::kStrided));
    if (is("prim::data") || is("aten::cpu") || is("aten::cuda") || is("aten::requires_grad_")) return im.set(n->output(), x), true;
    if (x->type.empty() || (x->ir.empty() && !x->number)) return false;
    int64_t d, rank = im.rank_of(x);
    at::ScalarType t = dtype(x);
    if (is("prim::dtype")) return done(known((int64_t)t));
    if (is("prim::itemsize") || is("aten::element_size")) return done(known((int64_t)c10::elementSize(t)));
    if (is("aten::is_floating_point")) return done(known(c10::isFloatingType(t)));
    if (is("aten::is_complex")) return done(known(c10::isComplexType(t)));
    if (is("aten::is_signed")) return done(known(t != at::kByte && t != at::kBool && t != at::kUInt16 && t != at::kUInt32 && t != at::kUInt64));
    if (is("aten::dim")) return done(known(rank));
    if (is("aten::size") || is("prim::shape")) {
      if (in.size() == 2 && is_int(in[1], &d)) return done(im.size_of(x, d));
      if (in.size() == 2) return false;
      Values v;
      for (int64_t k = 0; k < rank; k++) v.push_back(im.size_of(x, k));
      return im.set(n->output(), list(v, n->output()->type())), true;
    }
    if (is("aten::sym_size") && in.size() == 2 && is_int(in[1], &d)) return done(im.size_of(x, d));
    if (is("aten::len")) {
      if (!rank) throw Raises{"len() of a 0-d tensor", nullptr};
      return done(im.size_of(x, 0));
    }
    if (is("aten::numel")) {
      if (x->meta.defined()) return done(known(x->meta.numel()));
      return done(im.call("aten.sym_numel", x->ir, {x}));
    }
    if (is("aten::is_contiguous") && x->meta.defined()) return done(known(in.size() > 1 && is_int(in[1], &d) ? x->meta.is_contiguous((at::MemoryFormat)d) : x->meta.is_contiguous()));
    if (is("aten::stride") && x->meta.defined()) {
      if (in.size() == 2 && is_int(in[1], &d)) return done(known(x->meta.stride(d)));
      if (in.size() == 2) return false;
      Values v;
      for (int64_t s : x->meta.strides()) v.push_back(known(s));
      return im.set(n->output(), list(v, n->output()->type())), true;
    }
    if (is("aten::storage_offset") && x->meta.defined()) return done(known(x->meta.storage_offset()));
    if (is("aten::to") && n->maybeOperator()) {
      std::string o = n->getOperator().schema().overload_name();
      if (o != "prim_Device" && o != "prim_dtype" && o != "prim_other") return false;
      size_t at = o == "prim_Device" ? 2 : 1;
      bool copy;
      if (!is_bool(in.back(), &copy)) return false;
      if (o == "prim_other" || is_none(in[at])) {
        if (!copy) return im.set(n->output(), x), true;
        return done(im.call("aten.clone", x->ir, {x}));
      }
      int64_t code;
      const char *w = is_int(in[at], &code) ? dtype_word((at::ScalarType)code) : nullptr;
      if (!w || x->ir.empty()) return false;
      std::string word = w[0] == 'u' ? "uint" + std::string(w + 1) : w;
      return done(im.call("aten.to.dtype", x->ir + ", " + word + ", false, " + (copy ? "true" : "false"), {x}));
    }
    bool to_int = is("aten::Int") || is("aten::IntImplicit"), to_float = is("aten::Float") || is("aten::FloatImplicit"), to_bool = is("aten::Bool") || is("aten::is_nonzero");
    if (to_int || to_float || to_bool || is("aten::item") || is("aten::ScalarImplicit")) {
      if (c10::isComplexType(t) || x->ir.empty()) return false;
      A v = im.call("aten._local_scalar_dense", x->ir, {x});
      if (to_int && v->type == "float") v = im.number_op("math.trunc", {v});
      else if (to_int && v->type == "bool") v = im.number_op("torch.sym_int", {v});
      else if (to_float && v->type != "float") v = im.number_op("torch.sym_float", {v});
      else if (to_bool && v->type == "int") v = im.number_op("_operator.ne", {v, known((int64_t)0)});
      else if (to_bool && v->type == "float") v = im.number_op("_operator.ne", {v, known(0.0)});
      return done(v);
    }
    if (is("aten::copy_") && numeric(in[1])) {
      auto item = std::make_unique<Item>();
      std::string r = im.fresh();
      im.feed("value " + r + ": " + x->type);
      A y = im.tensor(r, x->type);
      item->op = "aten.fill_.Scalar", item->args = x->ir + ", " + spelled(in[1]), item->uses = {x}, item->writes = true, item->results = {y};
      if (in[1]->kind == Abstract::Number) item->uses.push_back(in[1]);
      im.add(std::move(item));
      return done(y);
    }
    return false;
  }

  // torch.tensor(n), torch.tensor([n, m])
  bool made_of_numbers() {
    if (!is("aten::tensor") && !is("aten::as_tensor")) return false;
    if (in[0]->kind == Abstract::Tensor) {
      int64_t c;
      if (is("aten::as_tensor") && (is_none(in[1]) || (is_int(in[1], &c) && c == dtype_code(dtype_of(in[0]->type))))) return im.set(n->output(), in[0]), true;
      return false;
    }
    auto scalar = [&](const A &a) -> A {
      if (!numeric(a)) return nullptr;
      TypeKind k = a->jtype->kind();
      std::string word = k == TypeKind::FloatType ? "f32" : k == TypeKind::BoolType ? "bool" : "i64";
      int64_t code;
      if (is_int(in[1], &code)) {
        if (!dtype_word((at::ScalarType)code)) return nullptr;
        word = dtype_word((at::ScalarType)code);
        if (word[0] == 'u') word = "uint" + word.substr(1);
      }
      return im.call("aten.scalar_tensor", spelled(a) + ", dtype=" + word, a->kind == Abstract::Number ? Values{a} : Values{});
    };
    if (in[0]->kind != Abstract::List) {
      A t = scalar(in[0]);
      return t ? done(t) : false;
    }
    std::string text;
    Values uses;
    for (const A &i : in[0]->items) {
      A t = i->kind == Abstract::Tensor && i->type.find("[]") != std::string::npos && !i->ir.empty() ? i : scalar(i);
      if (!t) return false;
      text += (text.empty() ? "" : ", ") + t->ir;
      uses.push_back(t);
    }
    if (uses.empty()) return false;
    return done(im.call("aten.stack", "[" + text + "]", uses));
  }

  // ---------------------------------------------------------------- lists, tuples, dictionaries
  bool structure() {
    switch (n->kind()) {
    case c10::prim::ListConstruct: return im.set(n->output(), list(in, n->output()->type())), true;
    case c10::prim::TupleConstruct: {
      A a = list(in, n->output()->type());
      a->kind = Abstract::Tuple;
      return im.set(n->output(), a), true;
    }
    case c10::prim::DictConstruct: {
      A a = list({}, n->output()->type());
      a->kind = Abstract::Dict;
      for (size_t i = 0; i + 1 < in.size(); i += 2) {
        if (in[i]->kind != Abstract::Known || in[i]->known.isTensor()) return false;
        int64_t k = key_at(a, in[i]->known);
        if (k >= 0) a->items[(size_t)k] = in[i + 1];
        else a->keys.push_back(in[i]->known), a->items.push_back(in[i + 1]);
      }
      return im.set(n->output(), a), true;
    }
    case c10::prim::ListUnpack:
    case c10::prim::TupleUnpack:
      if (in[0]->kind != Abstract::List && in[0]->kind != Abstract::Tuple) return false;
      if (in[0]->items.size() != n->outputs().size())
        throw Raises{"Expected " + std::to_string(n->outputs().size()) + " elements in a list but found " + std::to_string(in[0]->items.size()), nullptr};
      for (size_t i = 0; i < in[0]->items.size(); i++) im.set(n->output(i), in[0]->items[i]);
      return true;
    case c10::prim::TupleIndex: {
      size_t k;
      if (in[0]->kind != Abstract::Tuple || !index_in(in[0], in[1], &k)) return false;
      return im.set(n->output(), in[0]->items[k]), true;
    }
    case c10::prim::TupleSlice: {
      if (in[0]->kind != Abstract::Tuple) return false;
      A a = list(Values(in[0]->items.begin() + n->i(c10::attr::beg), in[0]->items.begin() + n->i(c10::attr::end)), n->output()->type());
      a->kind = Abstract::Tuple;
      return im.set(n->output(), a), true;
    }
    case c10::prim::unchecked_cast:
    case c10::prim::unchecked_unwrap_optional: return unwrap();
    case c10::prim::RaiseException: {
      std::string text = in[0]->kind == Abstract::Known && in[0]->known.isString() ? in[0]->known.toStringRef() : message(n->input(0));
      throw Raises{text, nullptr};
    }
    default: return false;
    }
  }

  // The constant text that a message is made of.
  std::string message(Value *v) {
    Node *d = v->node();
    if (d->inputs().size())
      for (Value *i : d->inputs()) {
        A a = im.get(i);
        if (a->kind == Abstract::Known && a->known.isString()) return a->known.toStringRef();
      }
    return "the program raises an exception";
  }

  bool unwrap() {
    if (is_none(in[0])) throw Raises{"Unwrapping null optional", nullptr};
    if (in[0]->kind == Abstract::Opaque) return im.opaque(n, "an optional value is opened", {in[0]->element}), true;
    return im.set(n->output(), in[0]), true;
  }

  bool none_or_not() {
    bool same = is("aten::__is__"), differs = is("aten::__isnot__");
    if (!same && !differs) return false;
    auto what = [](const A &a) { return is_none(a) ? 1 : a->kind == Abstract::Opaque ? -1 : 0; };
    int a = what(in[0]), b = what(in[1]);
    if (a < 0 || b < 0 || (!a && !b)) return false;
    return done(known((a == b) == same));
  }

  bool is_instance() {
    if (n->kind() != c10::prim::isinstance) return false;
    c10::TypePtr have = in[0]->kind == Abstract::Known ? c10::TypePtr(in[0]->known.type()) : in[0]->kind == Abstract::Opaque || in[0]->kind == Abstract::Nothing ? nullptr : in[0]->jtype;
    if (!have) return false;
    bool yes = false;
    for (const auto &t : n->tys(c10::attr::types)) yes = yes || have->isSubtypeOf(*t);
    return done(known(yes));
  }

  // Before a container is written to: an attribute's is TorchScript's from here on.
  void written(const A &container) {
    if (!container->attribute.empty()) {
      im.state.insert(container->attribute);
      im.opaque_state.insert(container->attribute);
      throw Again();
    }
    im.touch(container);
  }

  bool lists() {
    if (in.empty() || in[0]->kind != Abstract::List) return false;
    const A &l = in[0];
    size_t k;
    int64_t v;
    auto changed = [&] { written(l); };
    if (is("aten::len")) return done(known((int64_t)l->items.size()));
    if (is("aten::__getitem__") && index_in(l, in[1], &k)) return im.set(n->output(), l->items[k]), true;
    if (is("aten::_set_item") && index_in(l, in[1], &k)) return changed(), l->items[k] = in[2], im.set(n->output(), l), true;
    if (is("aten::append")) return changed(), l->items.push_back(in[1]), n->outputs().size() ? im.set(n->output(), l) : void(), true;
    if ((is("aten::extend") || is("aten::add_")) && in[1]->kind == Abstract::List) {
      Values more = in[1]->items;
      changed();
      l->items.insert(l->items.end(), more.begin(), more.end());
      if (n->outputs().size()) im.set(n->output(), l);
      return true;
    }
    if (is("aten::insert") && is_int(in[1], &v)) {
      changed();
      int64_t size = (int64_t)l->items.size();
      if (v < 0) v = std::max<int64_t>(0, v + size);
      l->items.insert(l->items.begin() + std::min(v, size), in[2]);
      return true;
    }
    if (is("aten::pop")) {
      A at = in.size() > 1 ? in[1] : known((int64_t)-1);
      if (!index_in(l, at, &k)) return false;
      changed();
      A x = l->items[k];
      l->items.erase(l->items.begin() + (long)k);
      return im.set(n->output(), x), true;
    }
    if (is("aten::Delete") && index_in(l, in[1], &k)) return changed(), l->items.erase(l->items.begin() + (long)k), true;
    if (is("aten::clear")) return changed(), l->items.clear(), true;
    if (is("aten::reverse")) return changed(), std::reverse(l->items.begin(), l->items.end()), true;
    if (is("aten::list") || is("aten::copy")) return im.set(n->output(), copy_of(l, im.open)), true;
    if (is("aten::add") && in[1]->kind == Abstract::List) {
      A out = copy_of(l, im.open);
      out->items.insert(out->items.end(), in[1]->items.begin(), in[1]->items.end());
      return im.set(n->output(), out), true;
    }
    if (is("aten::mul") && is_int(in[1], &v)) {
      A out = copy_of(l, im.open);
      out->items.clear();
      for (int64_t i = 0; i < v && v < 65536; i++) out->items.insert(out->items.end(), l->items.begin(), l->items.end());
      return im.set(n->output(), out), true;
    }
    if (is("aten::slice")) return slice(l);
    if (is("aten::__contains__") && in.size() == 2 && numeric(in[1])) {
      A any = known(false);
      for (const A &i : l->items) {
        if (!numeric(i)) return false;
        A same = i->kind == Abstract::Known && in[1]->kind == Abstract::Known ? known(i->known == in[1]->known) : im.number_op("_operator.eq", {in[1], i});
        any = either(any, same, "_operator.or_", true);
      }
      return done(any);
    }
    if ((is("aten::eq") || is("aten::ne")) && in[1]->kind == Abstract::List) {
      A all = known(l->items.size() == in[1]->items.size());
      for (size_t i = 0; i < l->items.size() && i < in[1]->items.size(); i++) {
        const A &x = l->items[i], &y = in[1]->items[i];
        if (!numeric(x) || !numeric(y)) return false;
        A same = x->kind == Abstract::Known && y->kind == Abstract::Known ? known(x->known == y->known) : im.number_op("_operator.eq", {x, y});
        all = either(all, same, "_operator.and_", false);
      }
      if (is("aten::ne")) all = all->kind == Abstract::Known ? known(!all->known.toBool()) : im.number_op("torch.sym_not", {all});
      return done(all);
    }
    if ((is("prim::min") || is("prim::max")) && in.size() == 1 && !l->items.empty()) {
      A out = l->items[0];
      for (const A &i : l->items) {
        if (!numeric(i)) return false;
        if (i != out) out = im.number_op(is("prim::min") ? "torch.sym_min" : "torch.sym_max", {out, i});
      }
      return done(out);
    }
    if (is("aten::sum") && !l->items.empty() && is_number_type(n->output()->type())) {
      A out = l->items[0];
      for (size_t i = 0; i < l->items.size(); i++)
        if (!numeric(l->items[i])) return false;
      for (size_t i = 1; i < l->items.size(); i++) out = im.number_op("_operator.add", {out, l->items[i]});
      return done(out);
    }
    return false;
  }

  // a op b, where one that is `absorbing` decides.
  A either(const A &a, const A &b, const char *op, bool absorbing) {
    bool v;
    if (is_bool(a, &v)) return v == absorbing ? a : b;
    if (is_bool(b, &v)) return v == absorbing ? b : a;
    return im.number_op(op, {a, b});
  }

  bool slice(const A &l) {
    int64_t size = (int64_t)l->items.size(), from = 0, to = size, step = 1;
    if (in.size() > 1 && !is_none(in[1]) && !is_int(in[1], &from)) return false;
    if (in.size() > 2 && !is_none(in[2]) && !is_int(in[2], &to)) return false;
    if (in.size() > 3 && !is_int(in[3], &step)) return false;
    if (step <= 0) return false;
    if (from < 0) from = std::max<int64_t>(0, from + size);
    if (to < 0) to += size;
    A out = copy_of(l, im.open);
    out->items.clear();
    for (int64_t i = from; i < std::min(to, size); i += step) out->items.push_back(l->items[(size_t)i]);
    return im.set(n->output(), out), true;
  }

  bool dictionaries() {
    if (in.empty() || in[0]->kind != Abstract::Dict) return false;
    const A &d = in[0];
    if (d->jtype && d->jtype->kind() == TypeKind::ClassType) return false;
    auto changed = [&] { written(d); };
    if (is("aten::len")) return done(known((int64_t)d->items.size()));
    if (is("aten::values")) return im.set(n->output(), list(d->items, n->output()->type())), true;
    if (is("aten::keys")) {
      Values v;
      for (const IValue &k : d->keys) v.push_back(known(k));
      return im.set(n->output(), list(v, n->output()->type())), true;
    }
    if (is("aten::items")) {
      Values v;
      for (size_t i = 0; i < d->items.size(); i++) {
        A t = list({known(d->keys[i]), d->items[i]}, n->output()->type()->expect<c10::ListType>()->getElementType());
        t->kind = Abstract::Tuple;
        v.push_back(t);
      }
      return im.set(n->output(), list(v, n->output()->type())), true;
    }
    if (is("aten::copy") || (is("aten::dict") && in.size() == 1)) return im.set(n->output(), copy_of(d, im.open)), true;
    if (is("aten::clear")) return changed(), d->items.clear(), d->keys.clear(), true;
    if (is("aten::update") && in[1]->kind == Abstract::Dict) {
      changed();
      for (size_t i = 0; i < in[1]->items.size(); i++) put(d, in[1]->keys[i], in[1]->items[i]);
      return true;
    }
    if (in.size() < 2 || in[1]->kind != Abstract::Known) return false;
    const IValue &key = in[1]->known;
    int64_t k = key_at(d, key);
    if (is("aten::__contains__")) return done(known(k >= 0));
    if (is("aten::__getitem__")) {
      if (k < 0) throw Raises{"KeyError", nullptr};
      return im.set(n->output(), d->items[(size_t)k]), true;
    }
    if (is("aten::get")) return im.set(n->output(), k >= 0 ? d->items[(size_t)k] : in.size() > 2 ? in[2] : known(IValue())), true;
    if (is("aten::_set_item")) return changed(), put(d, key, in[2]), true;
    if (is("aten::setdefault")) {
      if (k < 0) changed(), put(d, key, in[2]), k = (int64_t)d->items.size() - 1;
      return im.set(n->output(), d->items[(size_t)k]), true;
    }
    if (is("aten::pop") || is("aten::Delete")) {
      if (k < 0 && in.size() > 2) return im.set(n->output(), in[2]), true;
      if (k < 0) throw Raises{"KeyError", nullptr};
      changed();
      A x = d->items[(size_t)k];
      d->items.erase(d->items.begin() + k), d->keys.erase(d->keys.begin() + k);
      if (n->outputs().size()) im.set(n->output(), x);
      return true;
    }
    return false;
  }

  static void put(const A &d, const IValue &key, const A &v) {
    int64_t k = key_at(d, key);
    if (k >= 0) d->items[(size_t)k] = v;
    else d->keys.push_back(key), d->items.push_back(v);
  }

  // A list of unknown length: its elements are alike, and tensors made of all of them have a size that appears at run time.
  bool opaque_lists() {
    if (in.empty() || in[0]->kind != Abstract::Opaque) return false;
    auto types = [&](Values t) {
      im.opaque(n, name + " of a list of unknown length", std::move(t));
      return true;
    };
    if ((is("aten::append") || is("aten::_set_item") || is("aten::insert")) && in[0]->jtype && in[0]->jtype->kind() == TypeKind::ListType) {
      const A &x = in.back();
      bool exact = true;
      in[0]->element = in[0]->element ? im.join(in[0]->element, x, &exact) : x;
      if (in[0]->element->ir.empty() && in[0]->element->kind == Abstract::Number && in[0]->element->type.empty()) in[0]->element = nullptr;
      if (!in[0]->attribute.empty()) im.opaque_attribute(in[0]->attribute, in[0], in[0]);
      im.opaque(n, name + " of a list of unknown length");
      if (n->outputs().size()) im.get(n->output())->element = in[0]->element;
      return true;
    }
    if (is("aten::_set_item")) { // dictionary
      bool exact = true;
      in[0]->element = in[0]->element ? im.join(in[0]->element, in[2], &exact) : in[2];
      im.opaque(n, "a dictionary of unknown keys");
      return true;
    }
    const A &e = in[0]->element;
    if (!e) return false;
    if (is("aten::__getitem__") || is("aten::pop")) return types({e});
    if (is("aten::slice") || is("aten::list") || is("aten::copy") || is("aten::values")) {
      im.opaque(n, name + " of a list of unknown length");
      im.get(n->output())->element = e;
      return true;
    }
    if ((is("aten::stack") || is("aten::cat")) && e->kind == Abstract::Tensor && !e->type.empty()) {
      int64_t d;
      if (!is_int(in[1], &d)) return false;
      auto dims = dims_of(e->type);
      int64_t rank = (int64_t)dims.size() + (is("aten::stack") ? 1 : 0);
      if (d < 0) d += rank;
      if (d < 0 || d >= rank) return false;
      auto spell = [&](const char *size) {
        auto all = dims;
        if (is("aten::stack")) all.insert(all.begin() + d, size);
        else all[(size_t)d] = size;
        std::string s = dtype_of(e->type) + "[";
        for (size_t i = 0; i < all.size(); i++) s += (i ? ", " : "") + all[i];
        return s + "]";
      };
      bool ok;
      std::string t = im.join_types(spell("1"), spell("2"), &ok);
      if (ok) return types({im.tensor("", t)});
    }
    return false;
  }

  bool effects() {
    if (is("aten::warn") || is("aten::set_grad_enabled") || is("aten::manual_seed")) {
      if (is("aten::manual_seed")) return false;
      for (Value *o : n->outputs()) im.set(o, known(IValue()));
      return true;
    }
    if (is("aten::is_grad_enabled")) return done(known(false));
    if (is("prim::Enter") || is("prim::Exit")) { // no_grad and its like: nothing is recorded anyway
      auto c = n->input(0)->type()->cast<c10::ClassType>();
      if (!c || c->name()->qualifiedName().find("grad_mode") == std::string::npos) return false;
      for (Value *o : n->outputs()) im.set(o, nothing());
      return true;
    }
    return false;
  }
};

} // namespace

bool Importer::special(Node *n) {
  Special s{*this, n, n->kind().toQualString(), {}};
  for (Value *v : n->inputs()) s.in.push_back(get(v));
  for (const A &a : s.in)
    if (a->kind == Abstract::Nothing && n->kind() != c10::prim::TupleConstruct) { // no run comes here with it
      for (Value *o : n->outputs()) set(o, nothing());
      return true;
    }
  return s.structure() || s.effects() || s.none_or_not() || s.is_instance() || s.fold() || s.traced() || s.numbers() || s.questions() || s.made_of_numbers() || s.lists() ||
         s.dictionaries() || s.opaque_lists();
}

} // namespace cierge::import
