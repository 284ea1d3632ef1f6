// Inside the plugin: programs that would reach beyond tensors (artifact/unsafe.h) are refused before any of them runs.
#ifndef CIERGE_TORCH_UNSAFE_H
#define CIERGE_TORCH_UNSAFE_H
#include <torch/csrc/jit/api/module.h>

#include <stdexcept>
#include <string>

namespace cierge {

// Leaves the plugin as CIERGE_TORCH_UNSAFE.
struct Unsafe : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What the user allowed: names of operators or namespaces.
struct Allowed {
  const char *const *name = nullptr;
  int n = 0;
};

// Each throws Unsafe.
void refuse_unsafe(const std::string &op, Allowed allowed);
// An archive of TorchScript, whose structure was checked, before torch::jit::load: loading runs the __setstate__ of its classes.
void refuse_unsafe_archive(const void *bytes, size_t size, Allowed allowed);
// After loading: every method of the module, and whatever its graphs call; its tensors lie inside their memory (std::runtime_error).
void refuse_unsafe_module(const torch::jit::Module &m, Allowed allowed);

} // namespace cierge
#endif
