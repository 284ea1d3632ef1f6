// Operators for the tests: without a Meta kernel, and such as fail in every way.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

at::Tensor only_cpu(const at::Tensor &x) { return x.sum(-1); }

at::Tensor fail(const at::Tensor &x, c10::string_view how) {
  TORCH_CHECK(how != "check", "a check of PyTorch's failed");
  TORCH_INTERNAL_ASSERT(how != "assert", "an assertion of PyTorch's failed");
  if (how == "std") throw std::runtime_error("a std::exception came");
  if (how == "int") throw 42;
  if (how == "text") throw "a text, not an exception";
  if (how == "out_of_range") return x.select(0, std::vector<int64_t>{}.at(3));
  if (how == "bad_alloc") throw std::bad_alloc();
  if (how == "no_message") throw std::runtime_error("");
  return x + 1;
}

at::Tensor fail_meta(const at::Tensor &x, c10::string_view) { return at::empty_symint(x.sym_sizes(), x.options()); }

} // namespace

TORCH_LIBRARY(testops, m) {
  m.def("only_cpu(Tensor x) -> Tensor");
  m.def("fail(Tensor x, str how) -> Tensor");
}
TORCH_LIBRARY_IMPL(testops, CPU, m) {
  m.impl("only_cpu", &only_cpu);
  m.impl("fail", &fail);
}
TORCH_LIBRARY_IMPL(testops, Meta, m) { m.impl("fail", &fail_meta); }
