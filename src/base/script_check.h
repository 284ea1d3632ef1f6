// Archives of TorchScript before LibTorch is given them. The plugin asks before each load.
#ifndef CG_BASE_SCRIPT_CHECK_H
#define CG_BASE_SCRIPT_CHECK_H
#include <stdbool.h>
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
// Whether bytes are an archive: a ZIP file whose structure, sizes and CRCs are right. LibTorch's own reader takes a flipped bit without
// a word, and believes any size. false: `why` says what is wrong. Threads: any.
bool cg_script_check(const void *bytes, size_t size, char *why, size_t why_size);

// Whether reading it runs nothing but what `may` allows (u, name). LibTorch's reader compiles the classes that pickles name, from the
// archive's source, and calls for its objects
//   - their __setstate__, and what makes objects of classes in C++: asked for as "__setstate__", "torch.classes.NAMESPACE.CLASS";
//   - what default values and constants of classes say: PyTorch writes literals there, and nothing else is let through;
//   - what pickles name: only what PyTorch writes is let through.
// false: `name` is what was not allowed, or "" and `why` says what is wrong.
bool cg_script_runs(const void *bytes, size_t size, bool (*may)(void *u, const char *name), void *u, char *name, size_t name_size,
                    char *why, size_t why_size);
#ifdef __cplusplus
}
#endif
#endif
