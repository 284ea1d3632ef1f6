// Reads a program, whatever its origin, into one module.
#ifndef CG_FRONTEND_FRONTEND_H
#define CG_FRONTEND_FRONTEND_H
#include "base/zip.h"
#include "pass/pass.h"
// By content and name: .pt2 (zip with models/*.json), .pt (zip with constants.pkl), .cir (text, weights beside it in .safetensors or
// `weights`).
// entry: which model of a .pt2 with several; NULL: the only one.
cg_module *cg_frontend_read(cg_pipeline *p, const char *path, const char *entry, const char *weights);
cg_module *cg_frontend_pt2(cg_pipeline *p, const char *path, const char *entry);
cg_module *cg_frontend_text(cg_pipeline *p, const char *path, const char *weights);
// A text in memory; path: where it would lie, for messages and for what lies beside it.
cg_module *cg_frontend_parse(cg_pipeline *p, const char *path, const char *text, size_t size, const char *weights);
// A TorchScript archive. Its inputs' types come from the options.
cg_module *cg_frontend_pt(cg_pipeline *p, const char *path, const cg_file *f);
bool cg_frontend_is_pt(const cg_zip *z);
// Each node becomes an origin of its own, for reports.
void cg_number_origins(cg_module *m);
#endif
