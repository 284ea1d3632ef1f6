// An operator of one's own: registered in C++, so that it runs where there is no Python.
//   make build/examples/libmyops.so
//   myops::shift_split(Tensor x, int[] by, float scale=1) -> (Tensor, Tensor)
// Two results and a list of ints. The Meta function says what the results look like, without data: cierge asks it for their types.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <tuple>

namespace {

// x + by[i % n] * scale over the last dimension, and the first column of each row as int64.
std::tuple<at::Tensor, at::Tensor> shift_split(const at::Tensor &x, at::IntArrayRef by, double scale) {
  TORCH_CHECK(!by.empty(), "shift_split wants at least one shift");
  TORCH_CHECK(x.dim() == 2, "shift_split wants a matrix");
  at::Tensor in = x.contiguous(), out = at::empty_like(in), first = at::empty({x.size(0)}, x.options().dtype(at::kLong));
  const float *from = in.const_data_ptr<float>();
  float *to = out.mutable_data_ptr<float>();
  for (int64_t r = 0; r < in.size(0); r++) {
    for (int64_t c = 0; c < in.size(1); c++) to[r * in.size(1) + c] = from[r * in.size(1) + c] + float(double(by[c % by.size()]) * scale);
    first.mutable_data_ptr<int64_t>()[r] = int64_t(from[r * in.size(1)]);
  }
  return {out, first};
}

std::tuple<at::Tensor, at::Tensor> shift_split_meta(const at::Tensor &x, at::IntArrayRef, double) {
  return {at::empty_symint(x.sym_sizes(), x.options()), at::empty_symint({x.sym_size(0)}, x.options().dtype(at::kLong))};
}

} // namespace

TORCH_LIBRARY(myops, m) { m.def("shift_split(Tensor x, int[] by, float scale=1.) -> (Tensor, Tensor)"); }
TORCH_LIBRARY_IMPL(myops, CPU, m) { m.impl("shift_split", &shift_split); }
TORCH_LIBRARY_IMPL(myops, Meta, m) { m.impl("shift_split", &shift_split_meta); }
