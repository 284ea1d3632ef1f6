// Asks the rules of import_ops.def; those of values, types and effects are here.
#include <ATen/Functions.h>
#include <torch/csrc/jit/runtime/operator.h>

#include "import_ops.h"

namespace cierge::import {

using c10::TypeKind;

// ---------------------------------------------------------------- the table

namespace {

enum First { Always, Any, Number, Tensor, Typed, Counted, List, Dict, Opaque };

struct Row {
  const char *op;
  First first;
  bool (*rule)(Op &);
  const char *as;
};

const Row rows[] = {
#define OP(name, first, rule, as) {name, first, rules::rule, as},
#include "import_ops.def"
#undef OP
};

bool holds(First first, const A &a) {
  switch (first) {
  case Always:
  case Any: return true;
  case Number: return is_number(a);
  case Tensor: return a->kind == Abstract::Tensor;
  case Typed: return a->kind == Abstract::Tensor && !a->type.empty() && (!a->ir.empty() || a->number);
  case Counted: return number_in(a) != nullptr;
  case List: return a->kind == Abstract::List;
  case Dict: return a->kind == Abstract::Dict && !(a->jtype && a->jtype->kind() == TypeKind::ClassType); // that one is an object of the program's own
  case Opaque: return a->kind == Abstract::Opaque;
  }
  return false;
}

const std::vector<const Row *> &rows_of(const std::string &op) {
  static const auto all = [] {
    std::unordered_map<std::string, std::vector<const Row *>> out;
    for (const Row &r : rows) out[r.op].push_back(&r);
    return out;
  }();
  static const std::vector<const Row *> none;
  auto f = all.find(op);
  return f == all.end() ? none : f->second;
}

// PyTorch's own function, called now; what it raises the program raises.
IValue called(Node *n, torch::jit::Stack stack) {
  try {
    n->getOperation()(stack);
  } catch (const std::exception &e) {
    std::string what = e.what();
    throw Raises{what.substr(0, what.find('\n')), nullptr};
  }
  return stack.at(0);
}

// Numbers in tensors, all of them known (a trace's sizes, its literals): PyTorch computes with them in their own dtype. Of literals
// alone only what hands them on, as torch.tensor(2.0) leaves it: what is computed of constants is the compiler's to fold.
bool fold_counted(Op &o) {
  if (o.n->outputs().size() != 1 || o.n->hasSideEffects() || o.n->isNondeterministic() || !o.n->maybeOperator()) return false;
  const auto &schema = o.n->getOperator().schema();
  if (schema.is_mutable() || schema.is_vararg() || o.name().rfind("aten::", 0)) return false;
  torch::jit::Stack stack;
  bool counted = o.name() == "aten::to" || o.name() == "aten::detach", tensor = false;
  for (size_t i = 0; i < o.in.size(); i++) {
    const A &a = o.in[i];
    tensor = tensor || a->kind == Abstract::Tensor;
    if (a->kind == Abstract::Tensor && a->number && a->number->kind == Abstract::Known) {
      counted = true;
      stack.emplace_back(at::scalar_tensor(a->number->known.toScalar(), dtype_at(a)));
    } else if (a->kind == Abstract::Tensor && a->attribute == "literal" && a->known.isTensor() && !a->known.toTensor().dim()) {
      stack.emplace_back(a->known.toTensor().clone());
    } else if (all_known(a)) {
      stack.push_back(to_ivalue(a, o.n->input(i)->type()));
    } else return false;
  }
  if (!counted || !tensor || (o.result() != TypeKind::TensorType && !is_number_type(o.n->output()->type()))) return false;
  IValue v = called(o.n, std::move(stack));
  if (!v.isTensor()) return o.answers(v);
  const at::Tensor &t = v.toTensor();
  if (t.dim() || t.layout() != at::kStrided || c10::isComplexType(t.scalar_type()) || !dtype_word(t.scalar_type())) return false;
  c10::Scalar number = t.item();
  return o.passes(counted_tensor(known(IValue(number)), dtype_word(t.scalar_type()), o.im.open));
}

// Everything is known: PyTorch's own function answers.
bool fold(Op &o) {
  Node *n = o.n;
  if (n->outputs().size() != 1 || n->hasSideEffects() || !n->maybeOperator() || n->kind().is_attr()) return false;
  const auto &schema = n->getOperator().schema();
  std::string name = o.name();
  if ((schema.is_mutable() || schema.is_vararg()) && name != "aten::format") return false;
  for (const A &a : o.in)
    if (!all_known(a)) return false;
  bool makes_tensor = o.result() == TypeKind::TensorType;
  if (makes_tensor && name != "aten::tensor" && name != "aten::as_tensor") return false;
  if (auto l = n->output()->type()->cast<c10::ListType>())
    if (l->getElementType()->kind() == TypeKind::TensorType) return false;
  if (o.result() == TypeKind::ClassType) return false;
  torch::jit::Stack stack;
  for (size_t i = 0; i < o.in.size(); i++) stack.push_back(to_ivalue(o.in[i], n->input(i)->type()));
  if (schema.is_vararg()) stack.emplace_back((int64_t)o.in.size());
  IValue result = called(n, std::move(stack));
  if (!makes_tensor) {
    A v = o.im.from_ivalue(result, n->output()->type());
    if (v->kind == Abstract::List || v->kind == Abstract::Dict) v->jtype = n->output()->type();
    return o.gives(v);
  }
  A c = o.im.constant_tensor(result.toTensor(), "", "const"); // a new one in each call
  return !c->ir.empty() && o.gives(o.im.call("aten.clone", c->ir, {c}));
}

} // namespace

bool Op::gives(const A &a) {
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
  return passes(a);
}

bool Importer::special(Node *n) {
  Op o{*this, n, {}};
  for (Value *v : n->inputs()) o.in.push_back(get(v));
  for (const A &a : o.in)
    if (a->kind == Abstract::Nothing && n->kind() != c10::prim::TupleConstruct) { // no run comes here with it
      for (Value *out : n->outputs()) set(out, nothing());
      return true;
    }
  const auto &mine = rows_of(o.name());
  auto ask = [&](bool always) {
    for (const Row *r : mine) {
      if ((r->first == Always) != always || (!always && (o.in.empty() || !holds(r->first, o.in[0])))) continue;
      o.as = r->as;
      if (r->rule(o)) return true;
    }
    return false;
  };
  return ask(true) || fold(o) || fold_counted(o) || ask(false);
}

// ---------------------------------------------------------------- values, types, effects

namespace rules {

bool yes(Op &o) { return o.answers(true); }
bool no(Op &o) { return o.answers(false); }

bool is_none_or_not(Op &o) {
  auto what = [](const A &a) { return is_none(a) ? 1 : a->kind == Abstract::Opaque ? -1 : 0; };
  int a = what(o.in[0]), b = what(o.in[1]);
  if (a < 0 || b < 0 || (!a && !b)) return false;
  return o.answers((a == b) == !o.as);
}

bool is_instance(Op &o) {
  const A &a = o.in[0];
  c10::TypePtr have = a->kind == Abstract::Known ? c10::TypePtr(a->known.type()) : a->kind == Abstract::Opaque || a->kind == Abstract::Nothing ? nullptr : a->jtype;
  if (!have) return false;
  bool any = false;
  for (const auto &t : o.n->tys(c10::attr::types)) any = any || have->isSubtypeOf(*t);
  return o.answers(any);
}

bool unwrap(Op &o) {
  if (is_none(o.in[0])) throw Raises{"Unwrapping null optional", nullptr};
  if (o.in[0]->kind == Abstract::Opaque) return o.im.opaque(o.n, "an optional value is opened", {o.in[0]->element}), true;
  return o.passes(o.in[0]);
}

bool raise(Op &o) {
  auto text = [](const A &a) { return a->kind == Abstract::Known && a->known.isString() ? a->known.toStringRef() : ""; };
  if (o.in[0]->kind == Abstract::Known && o.in[0]->known.isString()) throw Raises{text(o.in[0]), nullptr};
  for (Value *part : o.n->input(0)->node()->inputs()) // the constant text that the message is made of
    if (A a = o.im.get(part); a->kind == Abstract::Known && a->known.isString()) throw Raises{text(a), nullptr};
  throw Raises{"the program raises an exception", nullptr};
}

bool no_effect(Op &o) {
  for (Value *v : o.n->outputs()) o.im.set(v, known(IValue()));
  return true;
}

// no_grad and its like: nothing is recorded anyway.
bool grad_mode(Op &o) {
  auto c = o.n->input(0)->type()->cast<c10::ClassType>();
  if (!c || c->name()->qualifiedName().find("grad_mode") == std::string::npos) return false;
  for (Value *v : o.n->outputs()) o.im.set(v, nothing());
  return true;
}

} // namespace rules

} // namespace cierge::import
