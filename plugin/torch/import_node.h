// What making a node asks of the files beside it: geometry by PyTorch's Meta kernels, and sizes that are in the data.
#ifndef CIERGE_TORCH_IMPORT_NODE_H
#define CIERGE_TORCH_IMPORT_NODE_H
#include "import.h"
#include "region.h"

namespace cierge::import {

// import_meta.cpp: the results of the Meta kernel; false: it has none, it failed, or the arguments are not known well enough.
bool run_meta(const c10::OperatorHandle &op, const Values &args, torch::jit::Stack *stack);
bool has_text(const at::Tensor &meta);         // its type can be written
// Whether PyTorch finds these types too, whatever the symbols' values are: at two samples, the second one of ones, where a kernel of
// three or a mean of several has nothing to do and raises. Untold: some operator below has no Meta kernel in C++ (convolutions).
enum Agreement { Agree, Untold, RaisesAtOne, Raises_, Differ };
Agreement agreement(Importer &im, const c10::OperatorHandle &op, const Values &args, const std::vector<std::string> &types);

// import_sizes.cpp: how many tensors the list has that an operator gives; -1: not known.
int64_t list_length(const std::string &name, const c10::FunctionSchema &schema, const Values &args);
// Types of `count` results whose sizes are in the data, or made of numbers that appear at run time; empty: none of these.
std::vector<std::string> run_time_types(Importer &im, const std::string &op, const c10::FunctionSchema &schema, const Values &args, int64_t count);

} // namespace cierge::import
#endif
