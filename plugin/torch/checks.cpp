// Operators whose kernels believe numbers in their tensors: looked at in front of them, whoever calls them (CHECKED in tools/gen_safe_ops.py).
//
// They are reached through the dispatcher from regions, graphs and other operators alike, so that is where the checks stand: under a
// dispatch key that nothing else uses, and that is set while this thread is inside the plugin (checks.h).
#include "checks.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace cierge::checks {
namespace {

using c10::IValue;
using torch::jit::Stack;

const IValue &argument(const c10::OperatorHandle &op, const Stack &stack, const char *name) {
  static const IValue none;
  std::optional<int> at = op.schema().argumentIndexWithName(name);
  return at ? stack[stack.size() - op.schema().arguments().size() + (size_t)*at] : none;
}

[[noreturn]] void outside(const char *name, int64_t low, int64_t end) {
  throw std::out_of_range(std::string(name) + " holds a number outside " + std::to_string(low) + " to " + std::to_string(end - 1));
}

// Every number of an argument, a tensor or a list, lies in low … end - 1.
void within(const c10::OperatorHandle &op, const Stack &stack, const char *name, int64_t low, int64_t end) {
  const IValue &v = argument(op, stack, name);
  if (v.isIntList()) {
    for (int64_t x : v.toIntVector())
      if (x < low || x >= end) outside(name, low, end);
  }
  if (!v.isTensor() || !v.toTensor().defined()) return;
  const at::Tensor &t = v.toTensor();
  if (!t.is_cpu() || t.layout() != at::kStrided || !at::isIntegralType(t.scalar_type(), false) || !t.numel()) return;
  auto [least, most] = t.aminmax();
  if (least.item<int64_t>() < low || most.item<int64_t>() >= end) outside(name, low, end);
}

int64_t size(const c10::OperatorHandle &op, const Stack &stack, const char *name, int64_t dim) {
  const IValue &v = argument(op, stack, name);
  if (!v.isTensor() || !v.toTensor().defined() || v.toTensor().dim() < (dim < 0 ? -dim : dim + 1)) return 0;
  return v.toTensor().size(dim);
}

using Check = void (*)(const c10::OperatorHandle &op, const Stack &stack);

template <Check check> void checked(const c10::OperatorHandle &op, c10::DispatchKeySet keys, Stack *stack) {
  check(op, *stack);
  op.redispatchBoxed(keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, CHECKS), stack);
}

void ctc(const c10::OperatorHandle &op, const Stack &stack) {
  within(op, stack, "targets", 0, size(op, stack, "log_probs", -1));
  within(op, stack, "input_lengths", 0, size(op, stack, "log_probs", 0) + 1);
  within(op, stack, "target_lengths", 0, INT64_MAX);
}

void pivots(const c10::OperatorHandle &op, const Stack &stack) {
  const char *matrix = op.schema().argumentIndexWithName("LD") ? "LD" : op.schema().argumentIndexWithName("LU_data") ? "LU_data" : "LU";
  int64_t n = size(op, stack, matrix, -2);
  const char *name = op.schema().argumentIndexWithName("LU_pivots") ? "LU_pivots" : "pivots";
  within(op, stack, name, *matrix == 'L' && matrix[1] == 'D' ? -n : 1, n + 1);
}

void segments(const c10::OperatorHandle &op, const Stack &stack) {
  const IValue &axis = argument(op, stack, "axis"), &unsafe = argument(op, stack, "unsafe"), &lengths = argument(op, stack, "lengths");
  if (unsafe.isBool() && unsafe.toBool()) throw std::runtime_error("segment_reduce without its checks, which programs may not do");
  int64_t n = size(op, stack, "data", axis.isInt() ? axis.toInt() : 0);
  within(op, stack, "lengths", 0, n + 1);
  within(op, stack, "offsets", 0, n + 1);
  if (lengths.isTensor() && lengths.toTensor().dim() && lengths.toTensor().numel() && lengths.toTensor().sum(-1).max().item<int64_t>() > n) outside("lengths", 0, n + 1);
}

} // namespace

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericWrapper, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, TESTING_ONLY_GenericWrapper, m) {
  for (const char *name : {"_ctc_loss", "_ctc_loss.Tensor"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<ctc>>());
  m.impl("segment_reduce", torch::CppFunction::makeFromBoxedFunction<&checked<segments>>());
  for (const char *name : {"linalg_lu_solve", "linalg_ldl_solve", "lu_unpack"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<pivots>>());
}

} // namespace cierge::checks
