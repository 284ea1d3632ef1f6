// TorchScript programs (.pt, as torch.jit.save writes them): the plugin reads them into the text form, and gives the bytes that
// a text cannot hold.
#include "frontend/pt.h"

#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/zip.h"
#include "frontend/frontend.h"
#include "ir/text.h"

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && !strcmp(text + n - k, end);
}

bool cg_frontend_is_pt(const cg_zip *z) {
  for (int i = 0; i < cg_zip_count(z); i++)
    if (ends_with(cg_zip_at(z, i)->name, "/constants.pkl")) return true;
  return false;
}

// Storages by name; several constants may lie in one.
static void attach(cg_module *m, const cierge_torch_imported *r) {
  for (int i = 0; i < r->n_constants; i++) {
    cg_constant *c = cg_map_get(&m->constant_by_name, r->constant[i].name);
    if (!c) continue;
    c->data = r->constant[i].data ? r->constant[i].data : (const uint8_t *)"";
    c->size = r->constant[i].size;
  }
  for (int i = 0; i < r->n_blobs; i++) cg_blob_find(m, r->blob[i].name)->data = r->blob[i].data;
}

cg_module *cg_frontend_pt(cg_pipeline *p, const char *path, const cg_file *f) {
  cg_session *s = p->s;
  cg_span at = {.file = path};
  if (!p->torch) cg_fail_at(s, CIERGE_MISSING, at, "a TorchScript program is read by LibTorch, which is not here: --libtorch DIR or CIERGE_LIBTORCH says where it is");
  cg_pt_inputs inputs = cg_pt_read_inputs(p);
  cierge_torch_import in = {.bytes = f->data, .size = f->size, .input = inputs.at, .n_inputs = inputs.n,
                            .output_type = p->opt->output_types.at, .n_output_types = p->opt->output_types.n,
                            .allow = p->opt->allow_unsafe.at, .n_allow = p->opt->allow_unsafe.n};
  cg_pt_types types = {.p = p, .inputs = &inputs};
  cg_pt_types_connect(&types, &in);
  cierge_torch_imported r;
  cierge_code code;
  const char *why = p->torch->import_script(p->torch, s, &in, &r, &code);
  if (why) cg_fail_at(s, code, at, "%s", why);
  cg_str text = cg_str_new(s);
  cg_str_add(&text, "module source=");
  cg_str_add_quoted(&text, path, strlen(path));
  cg_str_add(&text, " producer=\"TorchScript\"\n");
  cg_pt_symbols(&types, &text);
  for (int i = 0; i < r.n_blobs; i++)
    cg_str_addf(&text, "blob @%s = \"%s\" size %llu\n", r.blob[i].name, cg_hash_of(r.blob[i].data, r.blob[i].size).text, (unsigned long long)r.blob[i].size);
  cg_str_add(&text, r.text);
  cg_module *m = cg_parse_module(s, cg_format(s, "%s (as text)", path), cg_str_text(&text), text.n);
  m->source = path;
  attach(m, &r);
  cg_pt_lay_out(m);
  cg_number_origins(m);
  return m;
}
