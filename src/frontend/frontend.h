// Reads a program, whatever its origin, into one module.
#ifndef CG_FRONTEND_FRONTEND_H
#define CG_FRONTEND_FRONTEND_H
#include "pass/pass.h"
// By content and name: .pt2 (zip with models/*.json), .cir (text, weights beside it in .safetensors or `weights`).
// entry: which model of a .pt2 with several; NULL: the only one.
cg_module *cg_frontend_read(cg_pipeline *p, const char *path, const char *entry, const char *weights);
cg_module *cg_frontend_pt2(cg_pipeline *p, const char *path, const char *entry);
cg_module *cg_frontend_text(cg_pipeline *p, const char *path, const char *weights);
// A text in memory; path: where it would lie, for messages and for what lies beside it.
cg_module *cg_frontend_parse(cg_pipeline *p, const char *path, const char *text, size_t size, const char *weights);
#endif
