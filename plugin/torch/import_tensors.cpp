// Rules of import_ops.def: questions about tensors that their types answer, and numbers out of tensors and into them.
#include "import_ops.h"

namespace cierge::import {

A Importer::size_of(const A &x, int64_t dim) {
  auto dims = dims_of(x->type);
  if (!wrap_dim(&dim, dims.size())) throw Raises{"Dimension out of range", nullptr};
  int64_t v;
  if (fixed_size(dims[(size_t)dim], &v)) return known(v);
  return call("aten.sym_size.int", x->ir + ", " + std::to_string(dim), {x});
}

at::ScalarType dtype_at(const A &a) { return (at::ScalarType)dtype_code(dtype_of(a->type)); }

namespace rules {

bool device(Op &o) { return o.answers(c10::Device(at::kCPU)); }
bool layout(Op &o) { return o.answers((int64_t)at::kStrided); }
bool same_tensor(Op &o) { return o.passes(o.in[0]); }

bool dtype(Op &o) { return o.answers((int64_t)dtype_at(o.in[0])); }
bool element_size(Op &o) { return o.answers((int64_t)c10::elementSize(dtype_at(o.in[0]))); }
bool is_floating(Op &o) { return o.answers(c10::isFloatingType(dtype_at(o.in[0]))); }
bool is_complex(Op &o) { return o.answers(c10::isComplexType(dtype_at(o.in[0]))); }

bool is_signed(Op &o) {
  at::ScalarType t = dtype_at(o.in[0]);
  return o.answers(t != at::kByte && t != at::kBool && t != at::kUInt16 && t != at::kUInt32 && t != at::kUInt64);
}

bool rank(Op &o) { return o.answers((int64_t)dims_of(o.in[0]->type).size()); }

bool size(Op &o) {
  int64_t d;
  if (o.in.size() == 2) return is_int(o.in[1], &d) && o.gives(o.im.size_of(o.in[0], d));
  Values all;
  for (size_t k = 0; k < dims_of(o.in[0]->type).size(); k++) all.push_back(o.im.size_of(o.in[0], (int64_t)k));
  return o.gives(Abstract::List, all);
}

bool tensor_len(Op &o) {
  if (dims_of(o.in[0]->type).empty()) throw Raises{"len() of a 0-d tensor", nullptr};
  return o.gives(o.im.size_of(o.in[0], 0));
}

bool numel(Op &o) {
  const A &x = o.in[0];
  return x->meta.defined() ? o.answers(x->meta.numel()) : o.gives(o.im.call("aten.sym_numel", x->ir, {x}));
}

// How a tensor lies in memory, where its sizes are open: TorchScript answers, of the tensor itself. What crosses to a piece of it lies in
// order, so that an input may be asked there, and for all else the program is one piece.
static bool ask_torchscript(Op &o) {
  const Values &inputs = o.im.main.params;
  if (std::find(inputs.begin(), inputs.end(), o.in[0]) == inputs.end()) o.im.in_one = "TorchScript asks how a tensor of open sizes lies in memory";
  return false;
}

bool is_contiguous(Op &o) {
  const at::Tensor &meta = o.in[0]->meta;
  int64_t format = (int64_t)at::MemoryFormat::Contiguous;
  if (o.in.size() > 1) is_int(o.in[1], &format);
  return meta.defined() ? o.answers(meta.is_contiguous((at::MemoryFormat)format)) : ask_torchscript(o);
}

bool stride(Op &o) {
  const at::Tensor &meta = o.in[0]->meta;
  int64_t d;
  if (!meta.defined()) return ask_torchscript(o);
  if (o.in.size() == 2) return is_int(o.in[1], &d) && o.answers(meta.stride(d));
  Values all;
  for (int64_t s : meta.strides()) all.push_back(known(s));
  return o.gives(Abstract::List, all);
}

bool storage_offset(Op &o) { return o.in[0]->meta.defined() ? o.answers(o.in[0]->meta.storage_offset()) : ask_torchscript(o); }

// The overloads of aten::to that only TorchScript has.
bool to(Op &o) {
  const A &x = o.in[0];
  const torch::jit::Operator *op = o.n->maybeOperator();
  std::string overload = op ? op->schema().overload_name() : "";
  if (overload != "prim_Device" && overload != "prim_dtype" && overload != "prim_other") return false;
  const A &want = o.in[overload == "prim_Device" ? 2 : 1];
  bool copy;
  if (!is_bool(o.in.back(), &copy)) return false;
  if (overload == "prim_other" || is_none(want)) return copy ? o.gives(o.im.call("aten.clone", x->ir, {x})) : o.passes(x);
  int64_t code;
  std::string word = is_int(want, &code) ? dtype_argument((at::ScalarType)code) : "";
  if (word.empty() || x->ir.empty()) return false;
  return o.gives(o.im.call("aten.to.dtype", x->ir + ", " + word + ", false, " + (copy ? "true" : "false"), {x}));
}

bool item(Op &o) {
  const A &x = o.in[0];
  if (x->ir.empty() || c10::isComplexType(dtype_at(x))) return false;
  A v = o.im.call("aten._local_scalar_dense", x->ir, {x});
  std::string want = o.as, have = bare(v->type);
  if (want.empty() || want == have) return o.gives(v);
  if (want == "int") v = o.im.number_op(have == "float" ? "math.trunc" : "torch.sym_int", {v});
  else if (want == "float") v = o.im.number_op("torch.sym_float", {v});
  else v = o.im.number_op("_operator.ne", {v, have == "float" ? known(0.0) : known((int64_t)0)});
  return o.gives(v);
}

bool copy_number(Op &o) {
  const A &x = o.in[0], &v = o.in[1];
  if (!is_number(v)) return false;
  A y = o.im.named(x->type);
  auto item = std::make_unique<Item>();
  item->op = "aten.fill_.Scalar", item->args = x->ir + ", " + spelled(v), item->uses = {x}, item->writes = true, item->results = {y};
  if (v->kind == Abstract::Number) item->uses.push_back(v);
  o.im.add(std::move(item));
  return o.gives(y);
}

} // namespace rules

} // namespace cierge::import
