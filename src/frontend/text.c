// Programs in the text form: m.cir, its weights from a safetensors file, m.safetensors unless another one is named, and its blobs,
// each from a file HASH.pt in the folder m.blobs unless another one is named.
#include <string.h>

#include "arrays/arrays.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/map.h"
#include "frontend/frontend.h"
#include "ir/text.h"

static const char *type_text(cg_session *s, const cg_type *t) {
  cg_str b = cg_str_new(s);
  cg_print_type(&b, t);
  return cg_str_text(&b);
}

static bool same_type(const cg_type *t, const cg_array *w) {
  if (t->kind != CG_T_TENSOR || t->dtype != w->dtype || t->rank != w->rank) return false;
  for (int i = 0; i < t->rank; i++)
    if (!cg_x_is(t->dim[i], w->size[i])) return false;
  return true;
}

// The file holds C order from its first byte; a constant that the text gives strides has them over its whole storage.
static void attach(cg_session *s, const char *path, cg_constant *c, const cg_array *w) {
  const cg_expr *dim[CG_MAX_RANK];
  cg_expr_pool pool;
  cg_expr_pool_init(&pool, s);
  for (int i = 0; i < w->rank; i++) dim[i] = cg_x_int(&pool, w->size[i]);
  cg_type stored = cg_tensor_type(w->dtype, w->rank, dim);
  if (!same_type(&c->type, w))
    cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = path}, "'%s' is %s there, and %s in the program", c->name, type_text(s, &stored), type_text(s, &c->type));
  if (c->type.stride || c->type.offset)
    cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = path}, "'%s' has strides in the program (%s), which a safetensors file cannot give it", c->name, type_text(s, &c->type));
  c->data = w->data;
  c->size = w->bytes;
}

static const char *beside(cg_session *s, const char *path, const char *ending) {
  size_t n = strlen(path);
  if (n > 4 && !strcmp(path + n - 4, ".cir")) n -= 4;
  return cg_format(s, "%.*s.%s", (int)n, path, ending);
}

static void read_blobs(cg_module *m, const char *folder) {
  cg_session *s = m->s;
  for (int i = 0; i < m->blobs.n; i++) {
    cg_blob *b = m->blobs.at[i];
    if (b->data) continue;
    cg_file f = cg_file_map(s, cg_format(s, "%s/%s.pt", folder, b->hash));
    if (f.size != b->size)
      cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = f.path}, "it has %llu bytes, and the program says that @%s has %llu", (unsigned long long)f.size, b->name,
                 (unsigned long long)b->size);
    cg_hash h = cg_hash_of(f.data, f.size);
    if (strcmp(h.text, b->hash)) cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = f.path}, "its content has the hash %s: it is not @%s, or damaged", h.text, b->name);
    b->data = f.data;
  }
}

// Reports count imported nodes: in a text that was written by hand these are its own.
void cg_number_origins(cg_module *m) {
  for (int k = 0; k < m->fns.n; k++)
    for (cg_node *n = m->fns.at[k]->first; n; n = n->next) {
      if (!n->schema) continue;
      CG_PUSH(m->s, &m->origins, ((cg_origin){n->schema->key, n->name, n->at, n->module_path}));
      n->origin = m->origins.n;
    }
}

cg_module *cg_frontend_text(cg_pipeline *p, const char *path, const char *weights) {
  cg_file f = cg_file_map(p->s, path);
  return cg_frontend_parse(p, path, (const char *)f.data, f.size, weights);
}

cg_module *cg_frontend_parse(cg_pipeline *p, const char *path, const char *text, size_t size, const char *weights) {
  cg_session *s = p->s;
  cg_module *m = cg_parse_module(s, path, text, size);
  if (!m->source) m->source = path;
  if (!m->origins.n) cg_number_origins(m);
  read_blobs(m, p->opt->blobs ? p->opt->blobs : beside(s, path, "blobs"));
  bool wanted = false;
  for (int i = 0; i < m->constants.n; i++) wanted |= !m->constants.at[i]->data;
  if (!wanted) return m;
  const char *from = weights ? weights : beside(s, path, "safetensors");
  cg_array_vec arrays = cg_safetensors_read(s, from, CIERGE_BAD_MODEL);
  cg_map all = {0};
  for (int i = 0; i < arrays.n; i++) cg_map_set(s, &all, arrays.at[i].name, &arrays.at[i]);
  for (int i = 0; i < m->constants.n; i++) {
    cg_constant *c = m->constants.at[i];
    if (c->data) continue;
    const cg_array *w = cg_map_get(&all, c->name);
    if (!w) cg_fail_at(s, CIERGE_BAD_MODEL, (cg_span){.file = from}, "there is no tensor '%s', which %s needs", c->name, path);
    attach(s, from, c, w);
  }
  return m;
}
