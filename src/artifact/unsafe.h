// Operators that reach beyond tensors: files, sockets, other processes, Python. One table for the compiler, the runtime and the
// plugin; none of them lets such an operator through without the user's word (--allow-unsafe-ops). Valid C and C++.
#ifndef CG_ARTIFACT_UNSAFE_H
#define CG_ARTIFACT_UNSAFE_H
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

// name: an operator of any overload; with "::" at its end a namespace, with "." at its end classes of that namespace.
static const struct {
  const char *name, *what;
} cg_unsafe_ops[] = {
    {"aten::from_file", "maps a file"},
    {"aten::save", "writes a file"},
    {"debugprims::", "reads files"},
    {"image::read_file", "reads a file"},
    {"image::write_file", "writes a file"},
    {"video_reader::", "reads files"},
    {"c10d::", "talks to other processes"},
    {"c10d_functional::", "talks to other processes"},
    {"_c10d_functional::", "talks to other processes"},
    {"_c10d_functional_autograd::", "talks to other processes"},
    {"_dtensor::", "talks to other processes"},
    {"symm_mem::", "shares memory with other processes"},
    {"torch.classes.dist_c10d.", "talks to other processes"},
    {"torch.classes.dist_rpc.", "talks to other processes"},
    {"torch.classes.aoti.", "loads libraries"},
    {"rpc::", "calls other processes"},
    {"prim::rpc_async", "calls other processes"},
    {"prim::rpc_sync", "calls other processes"},
    {"prim::rpc_remote", "calls other processes"},
    {"aten::to_here", "calls other processes"},
    {"aten::dist_backward", "calls other processes"},
    {"prim::PythonOp", "calls Python"},
    {"prim::IgnoredPythonOp", "calls Python"},
    {"prim::CallPythonFunction", "calls Python"},
};

static inline bool cg_unsafe_is(const char *row, const char *name) {
  size_t n = strlen(row);
  return row[n - 1] == ':' || row[n - 1] == '.' ? !strncmp(name, row, n) : !strcmp(name, row);
}

// What the operator `name` ("aten::save", no overload) does; NULL: nothing of the kind.
static inline const char *cg_unsafe_op(const char *name) {
  for (size_t i = 0; i < sizeof cg_unsafe_ops / sizeof *cg_unsafe_ops; i++)
    if (cg_unsafe_is(cg_unsafe_ops[i].name, name)) return cg_unsafe_ops[i].what;
  return NULL;
}

// Whether the user allowed it: one of allow[n] is its name, or its namespace with "::" behind.
static inline bool cg_unsafe_allowed(const char *name, const char *const *allow, int n) {
  for (int i = 0; i < n; i++)
    if (*allow[i] && cg_unsafe_is(allow[i], name)) return true;
  return false;
}

// Whether a user may speak of it: an operator that would be refused, or a namespace that holds one.
static inline bool cg_unsafe_name(const char *name) {
  size_t n = strlen(name);
  for (size_t i = 0; i < sizeof cg_unsafe_ops / sizeof *cg_unsafe_ops; i++)
    if (cg_unsafe_is(cg_unsafe_ops[i].name, name) || (n > 2 && name[n - 1] == ':' && !strncmp(cg_unsafe_ops[i].name, name, n))) return true;
  return false;
}

// Arguments: operator, what it does, operator.
#define CG_UNSAFE_TEXT "%s %s, which programs may not do; --allow-unsafe-ops %s allows it"
#endif
