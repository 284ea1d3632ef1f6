// What api.cpp calls of the import.
#ifndef CIERGE_TORCH_IMPORT_CALLS_H
#define CIERGE_TORCH_IMPORT_CALLS_H
#include "cierge_torch.h"
namespace cierge {
void import_script(const cierge_torch_import *in, cierge_torch_imported *out); // throws
void import_free(cierge_torch_imported *x);
} // namespace cierge
#endif
