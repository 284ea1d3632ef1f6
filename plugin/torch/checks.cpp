// Operators whose kernels believe numbers in their tensors: looked at in front of them, whoever calls them (those that only so are safe: CHECKED in tools/gen_safe_ops.py).
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

// NULL: it is none.
const at::Tensor *tensor(const c10::OperatorHandle &op, const Stack &stack, const char *name) {
  const IValue &v = argument(op, stack, name);
  return v.isTensor() && v.toTensor().defined() ? &v.toTensor() : nullptr;
}

// Every number of an argument, a tensor or a list, lies in low … end - 1.
void within(const c10::OperatorHandle &op, const Stack &stack, const char *name, int64_t low, int64_t end) {
  const IValue &v = argument(op, stack, name);
  if (v.isIntList()) {
    for (int64_t x : v.toIntVector())
      if (x < low || x >= end) outside(name, low, end);
  }
  const at::Tensor *t = tensor(op, stack, name);
  if (!t || !t->is_cpu() || t->layout() != at::kStrided || !at::isIntegralType(t->scalar_type(), false) || !t->numel()) return;
  auto [least, most] = t->aminmax();
  if (least.item<int64_t>() < low || most.item<int64_t>() >= end) outside(name, low, end);
}

int64_t size(const c10::OperatorHandle &op, const Stack &stack, const char *name, int64_t dim) {
  const at::Tensor *t = tensor(op, stack, name);
  return t && t->dim() >= (dim < 0 ? -dim : dim + 1) ? t->size(dim) : 0;
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
  const IValue &axis = argument(op, stack, "axis"), &unsafe = argument(op, stack, "unsafe");
  const at::Tensor *lengths = tensor(op, stack, "lengths");
  if (unsafe.isBool() && unsafe.toBool()) throw std::runtime_error("segment_reduce without its checks, which programs may not do");
  int64_t n = size(op, stack, "data", axis.isInt() ? axis.toInt() : 0);
  within(op, stack, "lengths", 0, n + 1);
  within(op, stack, "offsets", 0, n + 1);
  if (lengths && lengths->dim() && lengths->numel() && lengths->sum(-1).max().item<int64_t>() > n) outside("lengths", 0, n + 1);
}

void shaped(bool ok, const char *what) {
  if (!ok) throw std::invalid_argument(what);
}

// Dimensions as the kernels take them: counted from the first, each once.
void dimensions(const c10::OperatorHandle &op, const Stack &stack) {
  const at::Tensor *self = tensor(op, stack, "self");
  std::vector<bool> seen(self ? (size_t)self->dim() : 0);
  for (int64_t d : argument(op, stack, "dim").toIntVector()) {
    shaped(d >= 0 && (size_t)d < seen.size() && !seen[(size_t)d], "dim holds a dimension twice, or one that is not there");
    seen[(size_t)d] = true;
  }
}

// What there is a number of for each channel has as many as there are channels.
void channels(const c10::OperatorHandle &op, const Stack &stack) {
  const at::Tensor *input = tensor(op, stack, "input"), *grad = tensor(op, stack, "grad_out");
  shaped(input && input->dim() >= 2, "batch normalisation of fewer than two dimensions");
  bool backward = op.schema().argumentIndexWithName("grad_out").has_value();
  const IValue &training = argument(op, stack, backward ? "train" : "training");
  bool trains = training.isBool() && training.toBool();
  auto each = [&](const char *name, bool needed) {
    const at::Tensor *t = tensor(op, stack, name);
    shaped(t ? t->dim() == 1 && t->size(0) == input->size(1) : !needed, "batch normalisation with numbers for other channels than its input has");
  };
  for (const char *name : {"weight", "bias"}) each(name, false);
  for (const char *name : {"running_mean", "running_var"}) each(name, !trains);
  shaped(!backward || (grad && grad->sizes() == input->sizes()), "a derivative of batch normalisation for another shape");
  if (backward && trains)
    for (const char *name : {"save_mean", "save_invstd"}) each(name, true);
}

// Where in its plane the largest number of each window lay, as the call that is differentiated said; -1: nowhere.
void places(const c10::OperatorHandle &op, const Stack &stack) {
  const at::Tensor *self = tensor(op, stack, "self"), *grad = tensor(op, stack, "grad_output"), *indices = tensor(op, stack, "indices");
  int64_t spatial = op.schema().name().find("3d") == std::string::npos ? 2 : 3, plane = 1;
  shaped(self && grad && indices && self->dim() > spatial && grad->sizes() == indices->sizes() && grad->dim() == self->dim(), "a derivative of pooling for another shape");
  shaped(grad->sizes().slice(0, (size_t)(grad->dim() - spatial)) == self->sizes().slice(0, (size_t)(self->dim() - spatial)), "a derivative of pooling for other planes");
  for (int64_t d = 1; d <= spatial; d++) plane *= self->size(-d);
  within(op, stack, "indices", -1, plane);
}

void embedded(const c10::OperatorHandle &op, const Stack &stack) {
  const IValue &n = argument(op, stack, "num_weights");
  within(op, stack, "indices", 0, n.isInt() ? n.toInt() : 0);
}

// The flash kernel divides by its numbers of heads and of blocks.
void attention(const c10::OperatorHandle &op, const Stack &stack) {
  for (const char *name : {"query", "key"})
    for (int64_t dim : {1, 2}) shaped(size(op, stack, name, dim) > 0, "attention without heads, queries or keys");
}

void rows(const c10::OperatorHandle &op, const Stack &stack) {
  const at::Tensor *self = tensor(op, stack, "self");
  shaped(self && self->dim() == 2, "distances of rows of what is no matrix");
}

// A packed sequence: how many sequences go on at each step, and weights for all layers.
void packed(const c10::OperatorHandle &op, const Stack &stack) {
  const at::Tensor *data = tensor(op, stack, "data"), *sizes = tensor(op, stack, "batch_sizes");
  shaped(data && data->dim() == 2 && sizes && sizes->dim() == 1 && sizes->numel() && sizes->scalar_type() == at::kLong && sizes->is_cpu(), "no packed sequence");
  at::Tensor contiguous = sizes->contiguous();
  const int64_t *n = contiguous.const_data_ptr<int64_t>();
  int64_t sum = 0;
  for (int64_t i = 0; i < contiguous.numel(); i++) {
    shaped(n[i] > 0 && (!i || n[i] <= n[i - 1]) && n[i] <= data->size(0) - sum, "batch_sizes are no packed sequence's");
    sum += n[i];
  }
  shaped(sum == data->size(0), "batch_sizes are no packed sequence's");
  auto whole = [&](const char *name) { const IValue &v = argument(op, stack, name); return v.isInt() ? v.toInt() : v.isBool() ? (int64_t)v.toBool() : 0; };
  int64_t layers = whole("num_layers"), each = (whole("has_biases") ? 4 : 2) * (whole("bidirectional") ? 2 : 1), given = (int64_t)argument(op, stack, "params").toTensorVector().size();
  shaped(layers > 0 && (given % layers == 0) && given / layers >= each, "fewer weights than layers need");
}

} // namespace

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericWrapper, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, TESTING_ONLY_GenericWrapper, m) {
  for (const char *name : {"_ctc_loss", "_ctc_loss.Tensor"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<ctc>>());
  m.impl("segment_reduce", torch::CppFunction::makeFromBoxedFunction<&checked<segments>>());
  for (const char *name : {"_fft_c2c", "_fft_r2c", "_fft_c2r", "_fft_c2c.out", "_fft_r2c.out", "_fft_c2r.out"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<dimensions>>());
  for (const char *name : {"native_batch_norm", "native_batch_norm.out", "_native_batch_norm_legit", "_native_batch_norm_legit.out", "_native_batch_norm_legit.no_stats", "_native_batch_norm_legit.no_stats_out",
                           "_native_batch_norm_legit_no_training", "_batch_norm_with_update", "native_batch_norm_backward"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<channels>>());
  for (const char *name : {"_pdist_forward", "_pdist_forward.out"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<rows>>());
  for (const char *name : {"max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward",
                           "fractional_max_pool2d_backward", "fractional_max_pool3d_backward"})
    for (const char *overload : {"", ".grad_input"}) m.impl((std::string(name) + overload).c_str(), torch::CppFunction::makeFromBoxedFunction<&checked<places>>());
  for (const char *name : {"embedding_dense_backward", "embedding_dense_backward.out"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<embedded>>());
  m.impl("_scaled_dot_product_flash_attention_for_cpu", torch::CppFunction::makeFromBoxedFunction<&checked<attention>>());
  for (const char *name : {"lstm.data", "gru.data", "rnn_tanh.data", "rnn_relu.data"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<packed>>());
  for (const char *name : {"linalg_lu_solve", "linalg_ldl_solve", "lu_unpack"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&checked<pivots>>());
}

} // namespace cierge::checks
