// Inside the plugin: checks in front of operators whose kernels have none (checks.cpp).
#ifndef CIERGE_TORCH_CHECKS_H
#define CIERGE_TORCH_CHECKS_H
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace cierge {

constexpr c10::DispatchKey CHECKS = c10::DispatchKey::TESTING_ONLY_GenericWrapper;

// While one lives, this thread's calls are checked.
struct Checking {
  c10::impl::IncludeDispatchKeyGuard included{CHECKS};
};

} // namespace cierge
#endif
