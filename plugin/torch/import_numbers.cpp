// Rules of import_ops.def: numbers, and the tensors that traces count in.
#include <ATen/Functions.h>

#include "import_ops.h"

namespace cierge::import {

using c10::TypeKind;

A Importer::number_op(const std::string &op, const Values &args) {
  std::string text;
  Values uses;
  for (const A &a : args) {
    text += (text.empty() ? "" : ", ") + spelled(a);
    if (a->kind == Abstract::Number) uses.push_back(a);
  }
  return call(op, text, uses);
}

A Importer::as_tensor(const A &a) {
  if (!a->ir.empty()) return a;
  if (a->number->kind == Abstract::Known) return constant_tensor(at::scalar_tensor(a->number->known.toScalar(), dtype_at(a)), "", "const");
  A t = call("aten.scalar_tensor", spelled(a->number) + ", dtype=" + dtype_of(a->type), {a->number});
  if (a->depth == open) a->ir = t->ir;
  return t;
}

// A trace's sizes, and its literals.
A number_in(const A &a) {
  if (a->kind != Abstract::Tensor || a->number) return a->kind == Abstract::Tensor ? a->number : nullptr;
  if (a->attribute != "literal" || !a->known.isTensor() || a->known.toTensor().dim() || a->known.toTensor().scalar_type() != at::kLong) return nullptr;
  return known(a->known.toTensor().item<int64_t>());
}

A counted_tensor(const A &number, const std::string &dtype, int depth) {
  auto t = std::make_shared<Abstract>();
  t->kind = Abstract::Tensor;
  t->jtype = c10::TensorType::get();
  t->number = number;
  t->depth = depth;
  t->type = dtype + "[]";
  return t;
}

namespace {

A tensor_with(const A &number, int depth) {
  const char *word = number->jtype ? number_word(number->jtype) : nullptr;
  return counted_tensor(number, dtype_of_number(word ? word : "int"), depth);
}

bool all_numbers(const Op &o) {
  if (o.n->outputs().size() != 1 || !is_number_type(o.n->output()->type())) return false;
  for (const A &a : o.in)
    if (!is_number(a) || spelled(a).empty()) return false;
  return true;
}

// A number, of the type that TorchScript says.
bool gives_number(Op &o, A v) {
  if (o.result() == TypeKind::FloatType) {
    if (v->kind == Abstract::Number && bare(v->type) != "float") v = o.im.number_op("torch.sym_float", {v});
    if (is_int(v)) v = known((double)v->known.toInt());
  }
  if (o.result() == TypeKind::BoolType && is_int(v)) v = known(v->known.toInt() != 0);
  return o.gives(v);
}

} // namespace

namespace rules {

bool number(Op &o) {
  if (!all_numbers(o) || o.in.size() > 2) return false; // aten::add of numbers may have three: alpha
  return gives_number(o, o.im.number_op(o.as, o.in));
}

bool number_xor(Op &o) { return o.result() == TypeKind::BoolType && number(o); }

bool number_same(Op &o) { return all_numbers(o) && gives_number(o, o.in[0]); }

bool number_abs(Op &o) { return all_numbers(o) && gives_number(o, o.im.number_op("torch.sym_max", {o.in[0], o.im.number_op("_operator.neg", {o.in[0]})})); }

bool number_int(Op &o) {
  if (!all_numbers(o)) return false;
  TypeKind k = o.in[0]->jtype->kind();
  return k == TypeKind::IntType ? number_same(o) : gives_number(o, o.im.number_op(k == TypeKind::FloatType ? "math.trunc" : o.as, o.in));
}

bool number_bool(Op &o) {
  if (!all_numbers(o)) return false;
  TypeKind k = o.in[0]->jtype->kind();
  return k == TypeKind::BoolType ? number_same(o) : gives_number(o, o.im.number_op(o.as, {o.in[0], k == TypeKind::FloatType ? known(0.0) : known((int64_t)0)}));
}

// torch.tensor(n), torch.tensor([n, m])
bool tensor_of(Op &o) {
  const A &x = o.in[0];
  int64_t code;
  if (x->kind == Abstract::Tensor)
    return o.n->kind() == c10::aten::as_tensor && (is_none(o.in[1]) || (is_int(o.in[1], &code) && code == dtype_code(dtype_of(x->type)))) && o.passes(x);
  auto scalar = [&](const A &a) -> A {
    if (!is_number(a)) return nullptr;
    TypeKind k = a->jtype->kind();
    std::string word = is_int(o.in[1], &code) ? dtype_argument((at::ScalarType)code) : k == TypeKind::FloatType ? "f32" : k == TypeKind::BoolType ? "bool" : "i64";
    return word.empty() ? nullptr : o.im.call("aten.scalar_tensor", spelled(a) + ", dtype=" + word, a->kind == Abstract::Number ? Values{a} : Values{});
  };
  if (x->kind != Abstract::List) {
    A t = scalar(x);
    return t && o.gives(t);
  }
  std::string text;
  Values uses;
  for (const A &i : x->items) {
    A t = i->kind == Abstract::Tensor && i->type.find("[]") != std::string::npos && !i->ir.empty() ? i : scalar(i);
    if (!t) return false;
    text += (text.empty() ? "" : ", ") + t->ir;
    uses.push_back(t);
  }
  return !uses.empty() && o.gives(o.im.call("aten.stack", "[" + text + "]", uses));
}

// ---------------------------------------------------------------- sizes that a trace keeps in tensors

bool count(Op &o) { return o.passes(tensor_with(o.in[0], o.im.open)); }

bool counted_number(Op &o) { return o.gives(number_in(o.in[0])); }

bool counted_float(Op &o) {
  A a = number_in(o.in[0]);
  return o.gives(a->kind == Abstract::Known ? known(a->known.toScalar().toDouble()) : o.im.number_op("torch.sym_float", {a}));
}

bool counted_same(Op &o) { return o.in[0]->number && o.passes(o.in[0]); }

bool counted_to(Op &o) {
  int64_t code;
  return o.in.size() > 1 && is_int(o.in[1], &code) && code == dtype_code(dtype_of(o.in[0]->type)) && counted_same(o);
}

bool counted(Op &o) {
  if (!o.in[0]->number || o.in[0]->type != "i64[]") return false;
  Values args = {o.in[0]->number};
  if (o.in.size() > 1) {
    A b = o.in[1]->kind == Abstract::Tensor ? number_in(o.in[1]) : is_number(o.in[1]) ? o.in[1] : nullptr;
    if (!b || (b->kind == Abstract::Known ? !b->known.isInt() : b->jtype->kind() != TypeKind::IntType)) return false;
    args.push_back(b);
  }
  int64_t alpha;
  if (o.in.size() > 2 && !(is_int(o.in[2], &alpha) && alpha == 1)) return false;
  if (args[0]->kind == Abstract::Known && args.back()->kind == Abstract::Known) return false;
  return o.passes(tensor_with(o.im.number_op(o.as, args), o.im.open));
}

} // namespace rules

} // namespace cierge::import
