// Opens a .pt2 archive: finds its folder, its models and who wrote them, refuses what it is not, and reads the chosen one.
#include "frontend/pt2.h"

#include <string.h>

enum { SCHEMA_MAJOR = 8 };

_Noreturn static void refuse(const cg_pt2 *r, cierge_code code, const char *why) { cg_fail_at(r->s, code, (cg_span){.file = r->path}, "%s", why); }

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && !strcmp(text + n - k, end);
}

static const char *small_text(cg_pt2 *r, const char *name) {
  const cg_zip_member *m = cg_zip_find(r->zip, name);
  if (!m) return NULL;
  if (m->size > 256) refuse(r, CIERGE_BAD_MODEL, cg_format(r->s, "%s is too long", name));
  return cg_strndup(r->s, (const char *)cg_zip_data(r->zip, m), m->size);
}

// ---------------------------------------------------------------- What kind of archive

// Before torch 2.7, export wrote a plain ZIP of pickles around serialized_exported_program.json.
static void refuse_oldest(cg_pt2 *r) {
  const cg_zip_member *m = cg_zip_find(r->zip, "serialized_exported_program.json");
  if (!m) return;
  const char *by = "2.6 or before";
  cg_json_source source = {r->s, r->path, m->name};
  cg_json root = cg_json_read(&source, cg_zip_text(r->zip, m), m->size), version;
  if (cg_json_find(&root, "torch_version", &version)) by = cg_json_text(&version);
  refuse(r, CIERGE_BAD_MODEL, cg_format(r->s, "an older layout of .pt2, written by torch %.100s: load and save it with torch 2.13", by));
}

static void find_root(cg_pt2 *r) {
  r->root = NULL;
  for (int i = 0; i < cg_zip_count(r->zip); i++) {
    const char *name = cg_zip_at(r->zip, i)->name;
    if (!ends_with(name, "archive_format")) continue;
    const char *slash = strchr(name, '/');
    if (slash ? strcmp(slash, "/archive_format") : strcmp(name, "archive_format")) continue;
    if (r->root) refuse(r, CIERGE_BAD_MODEL, "two .pt2 archives in one file");
    r->root = cg_strndup(r->s, name, slash ? (size_t)(slash + 1 - name) : 0);
  }
  if (r->root) return;
  refuse_oldest(r);
  for (int i = 0; i < cg_zip_count(r->zip); i++)
    if (ends_with(cg_zip_at(r->zip, i)->name, "/constants.pkl"))
      refuse(r, CIERGE_BAD_MODEL, "a TorchScript archive (torch.jit.save), not a .pt2: export the model with torch.export");
  for (int i = 0; i < cg_zip_count(r->zip); i++) {
    const char *name = cg_zip_at(r->zip, i)->name;
    if (ends_with(name, "/data.pkl")) refuse(r, CIERGE_BAD_MODEL, "a pickle of torch.save, not a .pt2: export the model with torch.export");
  }
  refuse(r, CIERGE_BAD_MODEL, "a ZIP file, but no .pt2: it has no archive_format");
}

static void check_archive(cg_pt2 *r) {
  const char *format = small_text(r, cg_pt2_member(r, "archive_format", "")), *order = small_text(r, cg_pt2_member(r, "byteorder", ""));
  const char *version = small_text(r, cg_pt2_member(r, "archive_version", ""));
  if (!format || strcmp(format, "pt2")) refuse(r, CIERGE_BAD_MODEL, cg_format(r->s, "the archive's format is '%.40s', not 'pt2'", format ? format : ""));
  if (!version || strcmp(version, "0")) refuse(r, CIERGE_BAD_MODEL, cg_format(r->s, "the archive's version is '%.40s', and cierge reads version 0", version ? version : ""));
  if (order && strcmp(order, "little")) refuse(r, CIERGE_BAD_MODEL, cg_format(r->s, "its byte order is '%.40s', and cierge reads little-endian files", order));
}

// ---------------------------------------------------------------- Which model

// "NAME" of ROOT/models/NAME.json; NULL: another member.
static const char *model_name(const cg_pt2 *r, const char *member) {
  size_t root = strlen(r->root);
  if (strncmp(member, r->root, root) || strncmp(member + root, "models/", 7) || !ends_with(member, ".json")) return NULL;
  const char *name = member + root + 7;
  size_t n = strlen(name) - 5;
  return n ? cg_strndup(r->s, name, n) : NULL;
}

_Noreturn static void no_model(const cg_pt2 *r) {
  const char *aoti = cg_pt2_member(r, "data/aotinductor/", "");
  for (int i = 0; i < cg_zip_count(r->zip); i++)
    if (!strncmp(cg_zip_at(r->zip, i)->name, aoti, strlen(aoti)))
      refuse(r, CIERGE_BAD_MODEL, "an AOTInductor package (compiled code, no graph): give cierge what torch.export.save wrote");
  refuse(r, CIERGE_BAD_MODEL, "the archive holds no model: it has no models/*.json");
}

static void choose_model(cg_pt2 *r, const char *entry) {
  cg_str names = cg_str_new(r->s);
  int n = 0;
  for (int i = 0; i < cg_zip_count(r->zip); i++) {
    const char *name = model_name(r, cg_zip_at(r->zip, i)->name);
    if (!name) continue;
    cg_str_addf(&names, "%s%.200s", n++ ? ", " : "", name);
    if (!entry || !strcmp(entry, name)) r->model = name;
  }
  if (!n) no_model(r);
  if (!r->model) cg_fail_at(r->s, CIERGE_USAGE, (cg_span){.file = r->path}, "there is no model '%.200s' in it: it has %.3000s", entry, cg_str_text(&names));
  if (!entry && n > 1) cg_fail_at(r->s, CIERGE_USAGE, (cg_span){.file = r->path}, "it has several models: choose one with --entry: %.3000s", cg_str_text(&names));
}

static void read_program(cg_pt2 *r) {
  const char *name = cg_pt2_member(r, "models/%s.json", r->model);
  const cg_zip_member *m = cg_zip_find(r->zip, name);
  cg_json_source *source = CG_NEW(r->s, cg_json_source);
  *source = (cg_json_source){r->s, r->path, name};
  r->program = CG_NEW(r->s, cg_json);
  *r->program = cg_json_read(source, cg_zip_text(r->zip, m), m->size);
  cg_expr_pool_limit(&r->m->exprs, m->size);
  cg_json torch, version = cg_json_get(r->program, "schema_version"), major = cg_json_get(&version, "major");
  r->torch = cg_json_find(r->program, "torch_version", &torch) ? cg_format(r->s, "%.100s", cg_json_text(&torch)) : "of an unknown version";
  if (cg_json_int(&major) != SCHEMA_MAJOR)
    cg_json_fail(&version, CIERGE_BAD_MODEL, "the model has schema version %lld, written by torch %s, and cierge reads version %d: export it again, with torch 2.13",
                 (long long)cg_json_int(&major), r->torch, SCHEMA_MAJOR);
}

// ---------------------------------------------------------------- The module

cg_module *cg_frontend_pt2(cg_pipeline *p, const char *path, const char *entry) {
  cg_session *s = p->s;
  cg_pt2 *r = CG_NEW(s, cg_pt2);
  *r = (cg_pt2){.p = p, .s = s, .path = path, .m = cg_module_new(s)};
  cg_file file = cg_file_map(s, path);
  r->zip = cg_zip_open(s, &file, CIERGE_BAD_MODEL);
  r->py.m = r->m;
  find_root(r);
  check_archive(r);
  choose_model(r, entry);
  read_program(r);
  r->m->source = path;
  r->m->producer = cg_format(s, "torch %s", r->torch);
  cg_pt2_ranges(r);
  cg_pt2_read_payloads(r);
  cg_json module = cg_json_get(r->program, "graph_module"), graph = cg_json_get(&module, "graph");
  cg_pt2_widen_ranges(r, &graph);
  cg_pt2_graph *g = CG_NEW(s, cg_pt2_graph);
  cg_pt2_graph_open(g, r, cg_fn_new(r->m, "main"), 0, &graph);
  cg_pt2_signature_inputs(g);
  cg_pt2_guards(g);
  cg_pt2_graph_nodes(g);
  cg_pt2_signature_outputs(g);
  return r->m;
}
