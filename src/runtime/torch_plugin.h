// Finding LibTorch and opening the plugin (runtime side; the compiler uses it too).
#ifndef CG_RUNTIME_TORCH_PLUGIN_H
#define CG_RUNTIME_TORCH_PLUGIN_H
#include "artifact/artifact.h"
#include "base/hash.h"
#include "../plugin/torch/cierge_torch.h"

// The plugin's face, opened at most once in a process: `folder` (--libtorch) or CIERGE_LIBTORCH, then the places of doc/c-api.md;
// "none" means absent. NULL: *f (CIERGE_MISSING) names what was searched and what went wrong.
const cierge_torch_api_v1 *cg_torch_open(const char *folder, cg_failure *f);
// Whether LibTorch's files are where they should be; opens nothing. false: *f as above.
bool cg_torch_present(const char *folder, cg_failure *f);
// Checks a library of custom operators and then opens it; *hash: of its content. false: *f says why not. (library.c)
bool cg_library_load(const cierge_torch_api_v1 *api, const char *path, cg_hash *hash, cg_failure *f);
// The content's hash of a library that was loaded by that path, for the life of the process; NULL: none was.
const char *cg_library_hash(const char *path);
#endif
