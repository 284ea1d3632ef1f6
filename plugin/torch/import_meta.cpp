// Geometry by PyTorch's own Meta kernels: of one call, or at samples of the symbols that its sizes are made of.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>

#include "import_node.h"

namespace cierge::import {

// An argument as the kernel takes it; false: it is not known well enough.
static bool meta_value(const c10::TypePtr &want, const A &a, IValue *out) {
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
  auto l = t->cast<c10::ListType>();
  if (a->kind != Abstract::List || !l) return false;
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

static bool meta_arguments(const c10::OperatorHandle &op, const Values &args, torch::jit::Stack *stack) {
  if (!has_meta_kernel(op)) return false;
  for (size_t i = 0; i < args.size(); i++) {
    const auto &a = op.schema().arguments()[i];
    if (!meta_value(a.real_type(), args[i], &stack->emplace_back())) return false;
    if (a.name() == "device") stack->back() = c10::Device(at::kMeta);
  }
  return true;
}

static Agreement call_meta(const c10::OperatorHandle &op, torch::jit::Stack *stack) {
  try {
    at::NoGradGuard no_grad;
    at::AutoDispatchBelowADInplaceOrView below;
    op.callBoxed(*stack);
    return Agree;
  } catch (const c10::NotImplementedError &) {
    return Untold;
  } catch (const std::exception &) {
    return Raises_;
  }
}

bool run_meta(const c10::OperatorHandle &op, const Values &args, torch::jit::Stack *stack) {
  return meta_arguments(op, args, stack) && call_meta(op, stack) == Agree;
}

static std::vector<at::Tensor> tensors_in(const torch::jit::Stack &stack) {
  std::vector<at::Tensor> out;
  for (const IValue &v : stack)
    if (v.isTensor()) out.push_back(v.toTensor());
    else if (v.isTensorList())
      for (const at::Tensor &t : v.toTensorVector()) out.push_back(t);
  return out;
}

bool has_text(const at::Tensor &meta) { return meta.defined() && meta.layout() == at::kStrided && !meta.is_quantized() && dtype_word(meta.scalar_type()); }

A Importer::sampled(const A &a, int sample) {
  if (a->kind == Abstract::Known) return a;
  if (a->kind == Abstract::List) {
    auto out = std::make_shared<Abstract>(*a);
    for (A &i : out->items)
      if (!(i = sampled(i, sample))) return nullptr;
    return out;
  }
  bool number = a->kind == Abstract::Number && a->type.size() > bare(a->type).size();
  if ((!number && a->kind != Abstract::Tensor) || a->type.empty()) return nullptr;
  char out[16384] = "";
  if (in->at(in->self, a->type.c_str(), sample, out, sizeof out)) return nullptr;
  return of_type("", out);
}

Agreement agreement(Importer &im, const c10::OperatorHandle &op, const Values &args, const std::vector<std::string> &types) {
  Agreement worst = Agree;
  for (int sample = 0; sample < 2; sample++) {
    Values given;
    for (const A &a : args) {
      given.push_back(im.sampled(a, sample));
      if (!given.back()) return worst;
    }
    torch::jit::Stack stack;
    if (!meta_arguments(op, given, &stack)) return worst;
    if (Agreement a = call_meta(op, &stack)) {
      worst = std::max(worst, a == Raises_ && sample ? RaisesAtOne : a);
      continue;
    }
    auto out = tensors_in(stack);
    for (size_t k = 0; k < out.size() && k < types.size(); k++) {
      if (!is_tensor_text(types[k]) || !out[k].defined() || out[k].layout() != at::kStrided) continue;
      A want = im.sampled(im.tensor("", types[k]), sample);
      if (want && want->meta.defined() && want->meta.sizes() != out[k].sizes()) return Differ;
    }
  }
  return worst;
}

} // namespace cierge::import
