// Operators of the dispatcher as nodes of the text: found, their arguments spelled, their results typed.
#include <algorithm>
#include <sstream>

#include "import_node.h"

namespace cierge::import {

// ---------------------------------------------------------------- nodes by name

A Importer::call(const std::string &op, const std::string &args, const Values &uses) {
  std::string ir = fresh(), type = feed(ir + " = " + op + "(" + args + ")").at(0);
  A out = of_type(ir, type);
  if (out->kind == Abstract::Known) return out; // what sizes say needs no node
  auto item = std::make_unique<Item>();
  item->op = op, item->args = args, item->uses = uses, item->results = {out};
  add(std::move(item));
  return out;
}

// ---------------------------------------------------------------- arguments

namespace {

bool is_arithmetic(Node *n) { return n->kind() == c10::aten::add || n->kind() == c10::aten::sub || n->kind() == c10::aten::mul || n->kind() == c10::aten::div; }

// What an argument reads like, by the type that the operator wants; false: a text cannot say it.
bool argument(Importer &im, Node *n, const c10::TypePtr &want, const A &a, std::string *out, Values *uses) {
  c10::TypePtr t = want;
  if (auto o = t->cast<c10::OptionalType>()) t = o->getElementType();
  auto says = [&](const std::string &s) { return *out += s, !s.empty(); };
  switch (a->kind) {
  case Abstract::Tensor: {
    if (is_arithmetic(n) && a->attribute == "literal" && a->known.isTensor() && a->known.toTensor().dim() == 0 &&
        (a->known.toTensor().scalar_type() == at::kDouble || a->known.toTensor().scalar_type() == at::kLong))
      return says(number_text(IValue(a->known.toTensor().item()))); // a trace's number: it promotes as one, in PyTorch's executor too
    A x = a->ir.empty() && a->number ? im.as_tensor(a) : a;
    if (x->ir.empty() || x->type.empty()) return false;
    if (t->kind() != c10::TypeKind::TensorType) return false;
    uses->push_back(x);
    return says(x->ir);
  }
  case Abstract::Number:
    if (a->ir.empty() || !(is_number_type(t) || t->kind() == c10::TypeKind::SymIntType)) return false;
    if (t->kind() == c10::TypeKind::FloatType && a->jtype->kind() != c10::TypeKind::FloatType) return false;
    uses->push_back(a);
    return says(a->ir);
  case Abstract::List: {
    auto l = t->cast<c10::ListType>();
    if (!l) return false;
    *out += "[";
    for (size_t i = 0; i < a->items.size(); i++) {
      if (i) *out += ", ";
      if (!argument(im, n, l->getElementType(), a->items[i], out, uses)) return false;
    }
    return says("]");
  }
  case Abstract::Known: break;
  default: return false;
  }
  const IValue &v = a->known;
  if (v.isNone()) return says("none");
  switch (t->kind()) {
  case c10::TypeKind::ScalarTypeType: return v.isInt() && says(dtype_argument((at::ScalarType)v.toInt()));
  case c10::TypeKind::LayoutType: return v.isInt() && v.toInt() == (int64_t)at::kStrided && says("layout(\"strided\")");
  case c10::TypeKind::MemoryFormatType: return v.isInt() && says("memory_format(" + std::to_string(v.toInt()) + ")");
  case c10::TypeKind::DeviceObjType: return says("device(\"cpu\")");
  case c10::TypeKind::StringType: return v.isString() && says(quote(v.toStringRef()));
  case c10::TypeKind::FloatType: return is_known_number(a) && says(number_text(v.toScalar().toDouble()));
  case c10::TypeKind::IntType:
  case c10::TypeKind::SymIntType: return (v.isInt() || v.isBool()) && says(number_text(v.toScalar().toLong()));
  case c10::TypeKind::BoolType: return v.isBool() && says(number_text(v));
  case c10::TypeKind::NumberType: return says(number_text(v));
  default: return false;
  }
}

// ---------------------------------------------------------------- names

// What TorchScript calls otherwise than the dispatcher does.
const struct {
  const char *name, *overload;       // NULL: any
  const char *is_name, *is_overload; // NULL: the same
  size_t n_args;                     // 0: all; else what follows are settings of backends
} other_names[] = {
    {nullptr, "hacked_twin", nullptr, "", 0},
    {nullptr, "Tensor_hacked_twin", nullptr, "Tensor", 0},
    {"aten::mT", "a", nullptr, "", 0},
    {"aten::mH", "a", nullptr, "", 0},
    {"aten::numpy_T", "a", nullptr, "", 0},
    {"aten::matrix_H", "a", nullptr, "", 0},
    {"aten::copy_", "Tensor", nullptr, "", 0},
    {"aten::_convolution", nullptr, "aten::convolution", "", 9},
};

// ---------------------------------------------------------------- one call, step by step

struct Call {
  Importer &im;
  Node *n;
  std::string *why;                  // it is no node
  Values *known_types;
  Values args, uses;
  std::string name, key, text;       // "aten::add", "aten::add.Tensor", "%1, %2"
  std::optional<c10::OperatorHandle> op;
  bool meta = false;                 // the Meta kernel said what follows
  std::vector<at::Tensor> given;     // geometry by result, lists opened; undefined: not known
  std::vector<int64_t> lengths;      // by output; -1: no list
  std::vector<std::string> ir, types; // by result
  bool by_rule = false;              // cierge's rules gave the types: the last line that was fed is this node
  bool reshaped = false;             // it gave its first operand another shape

  Call(Importer &importer, Node *node, std::string *reason, Values *types_anyway) : im(importer), n(node), why(reason), known_types(types_anyway) {}

  const c10::FunctionSchema &schema() const { return op->schema(); }
  bool no(const std::string &text) { return *why = text, false; }

  bool find() {
    const torch::jit::Operator *jit_op = n->maybeOperator();
    if (!jit_op) return no(std::string(n->kind().toQualString()) + " is no operator of the dispatcher");
    for (Value *v : n->inputs()) args.push_back(im.get(v));
    name = jit_op->schema().name();
    std::string overload = jit_op->schema().overload_name();
    for (const auto &o : other_names) {
      if ((o.name && name != o.name) || (o.overload && overload != o.overload) || args.size() < o.n_args) continue;
      if (o.is_name) name = o.is_name;
      overload = o.is_overload;
      if (o.n_args) args.resize(o.n_args);
      break;
    }
    key = name + (overload.empty() ? "" : "." + overload);
    op = find_operator(key.c_str());
    if (!op) return no(key + " is an operator of TorchScript only");
    return args.size() == schema().arguments().size() || no(key + " has other arguments here");
  }

  bool spell_arguments() {
    for (size_t i = 0; i < args.size(); i++) {
      const auto &a = schema().arguments()[i];
      if (is_none(args[i]) && a.kwarg_only()) continue;
      if (!text.empty()) text += ", ";
      if (a.kwarg_only()) text += a.name() + "=";
      if (!argument(im, n, a.real_type(), args[i], &text, &uses)) return no(key + ": its argument " + a.name() + " has no place in a graph of tensors");
    }
    return true;
  }

  // How many results there are, and what PyTorch says of them.
  bool geometry() {
    torch::jit::Stack stack;
    meta = run_meta(*op, args, &stack);
    for (size_t i = 0; i < schema().returns().size(); i++) {
      const auto &t = schema().returns()[i].type();
      IValue v = meta && i < stack.size() ? stack[i] : IValue();
      if (auto l = t->cast<c10::ListType>()) {
        if (l->getElementType()->kind() != c10::TypeKind::TensorType) return no(key + " gives a list that is none of tensors");
        int64_t k = v.isTensorList() ? (int64_t)v.toTensorList().size() : list_length(name, schema(), args);
        if (k < 0) return no(key + ": how many tensors it gives appears at run time");
        lengths.push_back(k);
        for (int64_t j = 0; j < k; j++) given.push_back(v.isTensorList() ? v.toTensorList().get((size_t)j) : at::Tensor());
      } else {
        if (t->kind() != c10::TypeKind::TensorType && !is_number_type(t) && t->kind() != c10::TypeKind::SymIntType) return no(key + " gives what is no tensor and no number");
        lengths.push_back(-1);
        given.push_back(v.isTensor() ? v.toTensor() : at::Tensor());
      }
    }
    return true;
  }

  std::string spelled_operator() {
    if (name.rfind("aten::", 0) == 0) return "aten." + key.substr(6);
    if (im.schemas.insert(key).second) {
      std::ostringstream s;
      s << schema();
      im.schema_lines += "schema " + quote(s.str()) + "\n";
      im.feed("schema " + quote(s.str()));
    }
    return quote(key);
  }

  bool in_place() {
    auto writes = [](const c10::Argument &a) { return a.alias_info() && a.alias_info()->isWrite(); };
    return schema().returns().size() == 1 && given.size() == 1 && args[0]->kind == Abstract::Tensor && writes(schema().returns()[0]) && writes(schema().arguments()[0]);
  }

  // aten::t_ -> "aten.t", the view that it makes of its operand; "": it makes none.
  std::string view_form() {
    if (!op->hasTag(at::Tag::inplace_view) || name.rfind("aten::", 0) != 0 || name.back() != '_') return "";
    for (const std::string &overload : {schema().overload_name(), std::string("int")}) { // transpose_ -> transpose.int
      std::string form = name.substr(0, name.size() - 1) + (overload.empty() ? "" : "." + overload);
      auto f = find_operator(form.c_str());
      if (f && f->schema().returns().size() == 1 && f->schema().returns()[0].alias_info()) return "aten." + form.substr(6);
    }
    return "";
  }

  // What an in-place operator gives is what it was given, but for the shape where it makes another view of it.
  void find_type_in_place() {
    std::string view = view_form();
    if (!view.empty()) {
      try {
        types = im.feed(ir[0] + " = " + view + "(" + text + ")");
        by_rule = true;
      } catch (const std::runtime_error &) {
        ir[0] = im.fresh();
      }
    }
    if (!by_rule) {
      types = {meta && given[0].defined() ? plain_type(type_text(given[0])) : args[0]->type};
      im.feed("value " + ir[0] + ": " + types[0]);
    }
    reshaped = types[0] != args[0]->type;
  }

  // The rules' types, else what the data tell, else the Meta kernel's.
  bool find_types(const std::string &spelled) {
    std::string names;
    for (size_t k = 0; k < given.size(); k++) ir.push_back(im.fresh()), names += (k ? ", " : "") + ir.back();
    if (in_place()) {
      find_type_in_place();
      return true;
    }
    try {
      types = im.feed((names.empty() ? "" : names + " = ") + spelled + "(" + text + ")");
      return by_rule = true;
    } catch (const std::runtime_error &e) {
      types = run_time_types(im, key, schema(), args, (int64_t)given.size());
      if (types.size() != given.size()) {
        if (!meta || !std::all_of(given.begin(), given.end(), has_text)) return no(key + ": " + e.what());
        types.clear();
        for (const at::Tensor &t : given) types.push_back(plain_type(type_text(t)));
      }
    }
    for (size_t k = 0; k < ir.size(); k++) im.feed("value " + (ir[k] = im.fresh()) + ": " + types[k]);
    return true;
  }

  // Sizes of the operands that appear at run time: what the rules took for granted of them is made sure of.
  bool sizes_hold() {
    bool open = false;
    std::function<void(const A &)> look = [&](const A &a) {
      open |= (a->kind == Abstract::Tensor || a->kind == Abstract::Number) && !a->meta.defined();
      for (const A &i : a->items) look(i);
    };
    for (const A &a : args) look(a);
    if (!open) return true;
    char out[16384] = "";
    if (by_rule && !im.in->guards(im.in->self, out, sizeof out)) {
      std::istringstream lines(out);
      for (std::string line; std::getline(lines, line);) im.assume(line, uses);
      return true;
    }
    Agreement a = agreement(im, *op, args, types);
    // What raises where a size is 1 has a size below zero there, or a check of its own: in LibTorch's kernel as in the native one.
    if (by_rule && (a == Untold || a == RaisesAtOne)) return true;
    if (a != Agree && a != Differ && lengths.size() == types.size())
      for (const std::string &t : types) known_types->push_back(im.of_type("", t));
    return a == Agree || no(key + ": sizes that appear at run time decide over its result's");
  }

  Values results(Item *item) {
    Values out;
    for (size_t k = 0; k < ir.size(); k++) {
      A x = im.of_type(ir[k], types[k]), called = x;
      if (x->kind == Abstract::Tensor && has_text(given[k]) && plain_type(type_text(given[k])) == x->type) x->meta = given[k];
      if (x->kind == Abstract::Known) called = std::make_shared<Abstract>(*x), called->ir = ir[k], called->type = types[k];
      item->results.push_back(called);
      out.push_back(x);
    }
    return out;
  }

  // The node's outputs, lists of results as lists. r: its counterpart in TorchScript, or NULL.
  void set_outputs(const Values &out, Node *r) {
    size_t next = 0;
    for (size_t i = 0; i < n->outputs().size(); i++) {
      if (lengths[i] < 0) {
        if (r && !out[next]->r && out[next]->kind != Abstract::Known) out[next]->r = r->output(i);
        im.set(n->output(i), out[next++]);
        continue;
      }
      A list = im.container(Abstract::List, Values(out.begin() + (long)next, out.begin() + (long)next + lengths[i]), n->output(i)->type());
      next += (size_t)lengths[i];
      if (r) {
        Node *unpack = im.residual->insertNode(im.residual->create(c10::prim::ListUnpack, {r->output(i)}, list->items.size()));
        for (size_t k = 0; k < list->items.size(); k++) (list->items[k]->r = unpack->output(k))->setType(c10::TensorType::get());
      }
      im.set(n->output(i), list);
    }
  }
};

} // namespace

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
  A same = call("_operator.eq", spelled(a) + ", " + spelled(b), {a, b});
  auto item = std::make_unique<Item>();
  item->op = "aten._assert_scalar", item->uses = {same}, item->effect = true;
  item->args = spelled(same) + ", " +
               quote("sizes of tensors that meet differ (the compiler takes a size that it does not know as no 1 that PyTorch would stretch)");
  add(std::move(item));
}

// A tensor got another shape: from here on it is `now` under whatever name, and in whatever holds it.
void Importer::reshape(const A &was, const A &now) {
  for (const A &p : main.params) reshapes_input = reshapes_input || p->ir == was->ir;
  std::set<const Abstract *> seen;
  std::function<void(A &)> replace = [&](A &a) {
    if (!is_container(a) || !seen.insert(a.get()).second) return;
    bool held = std::find(a->items.begin(), a->items.end(), was) != a->items.end();
    if (held) touch(a);
    for (A &i : a->items)
      if (i == was) i = now;
      else replace(i);
  };
  for (auto &e : env) {
    if (e.second != was) replace(e.second);
    else renamed.push_back({e.first, was}), e.second = now;
  }
}

bool Importer::dispatch(Node *n, std::string *why, Values *known_types) {
  Call c(*this, n, why, known_types);
  if (!c.find() || !c.spell_arguments() || !c.geometry()) return false;
  auto item = std::make_unique<Item>();
  item->op = c.spelled_operator(), item->args = c.text, item->uses = c.uses;
  item->effect = c.op->hasTag(at::Tag::nondeterministic_seeded) || (c.schema().returns().empty() && !c.schema().is_mutable());
  item->writes = c.schema().is_mutable();
  if (!c.find_types(item->op) || !c.sizes_hold()) return false;
  Values out = c.results(item.get());
  if (c.reshaped) reshape(c.args[0], out[0]);
  bool decided = !out.empty() && !item->effect && !item->writes && std::all_of(out.begin(), out.end(), [](const A &x) { return x->kind == Abstract::Known; });
  if (!decided) {
    if (at_top()) {
      try {
        item->r = clone(n);
      } catch (const Refused &) {
      }
    }
    Node *r = item->r;
    add(std::move(item));
    c.set_outputs(out, r);
  } else c.set_outputs(out, nullptr);
  return true;
}

} // namespace cierge::import
