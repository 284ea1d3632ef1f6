// Custom operators: the artifact records which library defines each, by its content's hash, and may carry it (--bundle).
#include <string.h>

#include "backend/torch/lower.h"

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static bool holds(const cg_file *f, const char *word, size_t n) { return memmem(f->data, f->size, word, n) != NULL; }

// Whether a library that was open before anybody looked defines "ns::name": it holds both words, the name as a definition has it.
static bool speaks_of(cg_session *s, const cg_file *f, const char *op) {
  const char *colons = strstr(op, "::");
  if (!colons) return false;
  size_t n = strlen(colons + 2);
  char *name = cg_format(s, "%s(", colons + 2);
  return holds(f, op, (size_t)(colons - op)) && (holds(f, name, n + 1) || (name[n] = 0, holds(f, name, n + 1)));
}

static void carry(cg_emitter *e, const char *name, const cg_file *f) {
  for (int i = 0; i < e->libraries.n; i++)
    if (e->libraries.at[i].size == f->size && !memcmp(e->libraries.at[i].data, f->data, f->size)) return;
  cg_emit_library l = {name, f->data, f->size};
  CG_PUSH(e->s, &e->libraries, l);
}

static void find_library(cg_emitter *e, const cg_schema *c, cg_plan_custom *out) {
  const cg_text_vec *named = &e->pipeline->opt->torch_libraries;
  const char *why, *known;
  char origin[4096] = "";
  const cierge_torch_api_v1 *api = e->pipeline->torch ? cg_torch_api(e->pipeline->torch, &why) : NULL;
  if (api) api->origin(c->key, origin, sizeof origin);
  if (!strncmp(origin, "python ", 7)) {
    out->library = CG_PYTHON_LIBRARY;
    return;
  }
  known = *origin ? cg_library_hash(origin) : NULL;
  if (known) out->library = cg_strdup(e->s, base_name(origin)), out->hash = known;
  for (int i = 0; i < named->n; i++) {
    cg_file f = cg_file_map(e->s, named->at[i]);
    cg_hash h = cg_hash_of(f.data, f.size);
    if (known ? strcmp(h.text, known) != 0 : !speaks_of(e->s, &f, c->name)) continue;
    out->library = base_name(named->at[i]), out->hash = cg_strdup(e->s, h.text);
    if (e->pipeline->opt->bundle) carry(e, out->library, &f);
    return;
  }
}

void cg_torch_need(cg_emitter *e, const cg_schema *c) {
  cg_plan *p = e->plan;
  if (!strncmp(c->name, "aten::", 6)) return;
  for (uint32_t i = 0; i < p->n_custom; i++)
    if (!strcmp(p->custom[i].op, c->key)) return;
  cg_plan_custom *all = CG_NEW_ARRAY(e->s, cg_plan_custom, p->n_custom + 1);
  if (p->n_custom) memcpy(all, p->custom, p->n_custom * sizeof *all);
  all[p->n_custom] = (cg_plan_custom){.op = c->key, .schema = c->text, .library = "", .hash = ""};
  find_library(e, c, &all[p->n_custom++]);
  p->custom = all;
}

void cg_torch_libraries_section(cg_emitter *e, cg_str *b) {
  cg_write_u32(b, (uint32_t)e->libraries.n);
  for (int i = 0; i < e->libraries.n; i++) {
    const cg_emit_library *l = &e->libraries.at[i];
    cg_write_text(b, l->name);
    cg_write_u64(b, l->size);
    cg_str_addn(b, l->data, l->size);
  }
}
