// Reads a program, whatever its origin: told apart by its first bytes, then by its name.
#include "frontend/frontend.h"

#include <string.h>

#include "base/file.h"

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && !strcmp(text + n - k, end);
}

static bool starts_with(const cg_file *f, const char *bytes, size_t n) { return f->size >= n && !memcmp(f->data, bytes, n); }

cg_module *cg_frontend_read(cg_pipeline *p, const char *path, const char *entry, const char *weights) {
  cg_file f = cg_file_map(p->s, path);
  if (starts_with(&f, "PK", 2) && !ends_with(path, ".pt2") && cg_frontend_is_pt(cg_zip_open(p->s, &f, CIERGE_BAD_MODEL))) return cg_frontend_pt(p, path, &f);
  if (starts_with(&f, "PK", 2) || ends_with(path, ".pt2")) return cg_frontend_pt2(p, path, entry);
  if (ends_with(path, ".cir")) return cg_frontend_text(p, path, weights);
  cg_fail_at(p->s, CIERGE_BAD_MODEL, (cg_span){.file = path}, "%s",
             starts_with(&f, "\x80", 1) ? "a Python pickle, which cierge does not run: export the model with torch.export"
                                        : "neither a .pt2 of torch.export, nor a .pt of torch.jit.save, nor a program in the text form (.cir)");
}
