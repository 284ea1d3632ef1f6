// What no program may do without the user's word (--allow-unsafe-ops): touch files, sockets, other processes or Python, reach beyond
// its tensors, run code while it is read. One table for the compiler, the runtime and the plugin.
//
// It says what is allowed. Of the operators that come with PyTorch, those are allowed that its own tests call or its exports hold, and
// that neither take raw strides nor skip checks (tools/gen_safe_ops.py, which writes safe_ops.inc). Whatever else PyTorch has, or will
// have, is refused. Operators of other namespaces come from libraries that the user named.
#ifndef CG_ARTIFACT_UNSAFE_H
#define CG_ARTIFACT_UNSAFE_H
#include <stdbool.h>
#ifdef __cplusplus
extern "C" {
#endif

// What is wrong with an operator ("aten::save", no overload), a class ("torch.classes.NAMESPACE.NAME") or "__setstate__"; NULL: nothing.
const char *cg_unsafe_op(const char *name);

// Whether the user allowed it: one of allow[n] is its name, or its namespace with "::" (of classes: ".") behind.
bool cg_unsafe_allowed(const char *name, const char *const *allow, int n);

// Whether a user may speak of it: what would be refused, or a namespace that holds such.
bool cg_unsafe_name(const char *name);

// Arguments: "OPERATOR WHAT-IT-DOES" of each that a program has, and their names, with commas between them; "it", or "them".
#define CG_UNSAFE_TEXT "%s, which programs may not do; --allow-unsafe-ops %s allows %s"
#ifdef __cplusplus
}
#endif
#endif
