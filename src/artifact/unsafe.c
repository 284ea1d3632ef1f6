// What no program may do without the user's word: the table.
#include "artifact/unsafe.h"

#include <stddef.h>
#include <string.h>

// Sorted names of "aten".
static const char *const safe_aten[] = {
#include "artifact/safe_ops.inc"
};

// What TorchScript's interpreter does itself, as its source may say it.
static const char *const safe_prim[] = {
    "BroadcastSizes", "CallFunction", "CallMethod", "ChunkSizes", "Closure", "Constant", "ConstantChunk", "CreateObject", "DictConstruct", "Enter",
    "EnumName", "EnumValue", "Exit", "Function", "GetAttr", "HasAttr", "If", "IfThenElse", "ListConstruct", "ListUnpack",
    "Loop", "ModuleContainerIndex", "NumToTensor", "Param", "Print", "RaiseException", "ReductionSizes", "Return", "SetAttr", "StringIndex",
    "TupleConstruct", "TupleIndex", "TupleSlice", "TupleUnpack", "Uninitialized", "VarConcat", "VarStack", "abs", "awaitable", "awaitable_nowait",
    "awaitable_wait", "data", "device", "dtype", "fork", "grad", "id", "index", "is_cpu", "is_cuda",
    "is_ipu", "is_maia", "is_meta", "is_mkldnn", "is_mps", "is_mtia", "is_nested", "is_quantized", "is_sparse", "is_sparse_csr",
    "is_vulkan", "is_xla", "is_xpu", "isinstance", "itemsize", "layout", "max", "min", "name", "nbytes",
    "rangelist", "requires_grad", "tolist", "type", "unchecked_cast", "unchecked_unwrap_optional",
};

static const char files[] = "touches files", processes[] = "talks to other processes", python[] = "calls Python", runs[] = "runs code while the archive is read",
                  memory[] = "may reach beyond the memory of its tensors";

// PyTorch's own namespaces, and what is said of their operators that are not in the lists; first what is said of some alone. With "::"
// at its end a namespace, with "." classes of one.
static const struct {
  const char *name, *what;
} rows[] = {
    {"__setstate__", runs},
    {"aten::from_file", "maps a file"},
    {"aten::save", "writes a file"},
    {"aten::to_here", processes},
    {"aten::dist_backward", processes},
    {"prim::rpc_async", processes},
    {"prim::rpc_sync", processes},
    {"prim::rpc_remote", processes},
    {"prim::PythonOp", python},
    {"prim::IgnoredPythonOp", python},
    {"prim::CallPythonFunction", python},
    {"aten::", memory},
    {"prim::", memory},
    {"_c10d_functional::", processes},
    {"_c10d_functional_autograd::", processes},
    {"_dtensor::", processes},
    {"_native::", memory},
    {"_quantized::", memory},
    {"_test::", memory},
    {"c10d::", processes},
    {"c10d_functional::", processes},
    {"cuda::", memory},
    {"debugprims::", files},
    {"export::", memory},
    {"image::read_file", files},
    {"image::write_file", files},
    {"inductor::", memory},
    {"mkl::", memory},
    {"mkldnn::", memory},
    {"mkldnn_prepacked::", memory},
    {"onednn::", memory},
    {"onnx::", memory},
    {"prepacked::", memory},
    {"profiler::", files},
    {"quantization::", memory},
    {"quantized::", memory},
    {"rpc::", processes},
    {"sparse::", memory},
    {"static_runtime::", memory},
    {"symm_mem::", processes},
    {"tensorexpr::", memory},
    {"video_reader::", files},
    {"xnnpack::", memory},
    {"torch.classes._nnapi.", runs},
    {"torch.classes.aoti.", "loads libraries"},
    {"torch.classes.backends.", "loads libraries"},
    {"torch.classes.c10d.", processes},
    {"torch.classes.cuda.", runs},
    {"torch.classes.dist_c10d.", processes},
    {"torch.classes.dist_rpc.", processes},
    {"torch.classes.metal.", runs},
    {"torch.classes.mkldnn.", runs},
    {"torch.classes.profiler.", files},
    {"torch.classes.profiling.", files},
    {"torch.classes.quantized.", runs},
    {"torch.classes.rnn.", runs},
    {"torch.classes.sparse.", runs},
    {"torch.classes.static_runtime.", runs},
    {"torch.classes.tensorexpr.", runs},
    {"torch.classes.vulkan.", runs},
    {"torch.classes.xnnpack.", runs},
};
enum { ROWS = sizeof rows / sizeof *rows };

static bool is_row(const char *row, const char *name) {
  size_t n = strlen(row);
  return row[n - 1] == ':' || row[n - 1] == '.' ? !strncmp(name, row, n) : !strcmp(name, row);
}

static bool among(const char *const *list, size_t n, const char *name) {
  for (size_t low = 0; low < n;) {
    size_t middle = low + (n - low) / 2;
    int order = strcmp(name, list[middle]);
    if (!order) return true;
    if (order < 0) n = middle;
    else low = middle + 1;
  }
  return false;
}

const char *cg_unsafe_op(const char *name) {
  if (!strncmp(name, "aten::", 6) && among(safe_aten, sizeof safe_aten / sizeof *safe_aten, name + 6)) return NULL;
  if (!strncmp(name, "prim::", 6) && among(safe_prim, sizeof safe_prim / sizeof *safe_prim, name + 6)) return NULL;
  for (size_t i = 0; i < ROWS; i++)
    if (is_row(rows[i].name, name)) return rows[i].what;
  return NULL;
}

bool cg_unsafe_allowed(const char *name, const char *const *allow, int n) {
  for (int i = 0; i < n; i++)
    if (*allow[i] && is_row(allow[i], name)) return true;
  return false;
}

bool cg_unsafe_name(const char *name) {
  size_t n = strlen(name);
  if (n > 2 && (name[n - 1] == ':' || name[n - 1] == '.'))
    for (size_t i = 0; i < ROWS; i++)
      if (!strncmp(rows[i].name, name, n)) return true;
  return cg_unsafe_op(name) != NULL;
}
