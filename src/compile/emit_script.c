// The scripts that regions call: entries of the plan, and the section that holds their bytes, each content once.
#include <string.h>

#include "base/bytes_writer.h"
#include "compile/compile.h"

// The blob's number in the section.
static uint32_t place_of(cg_emitter *e, const cg_blob *b) {
  for (int i = 0; i < e->blobs.n; i++)
    if (!strcmp(e->blobs.at[i]->hash, b->hash)) return (uint32_t)i;
  CG_PUSH(e->s, &e->blobs, b);
  return (uint32_t)e->blobs.n - 1;
}

static int number_of(cg_emitter *e, const cg_blob *b) {
  cg_plan *p = e->plan;
  for (uint32_t i = 0; i < p->n_scripts; i++)
    if (!strcmp(p->script[i].name, b->name)) return (int)i;
  cg_plan_script *all = CG_NEW_ARRAY(e->s, cg_plan_script, p->n_scripts + 1);
  if (p->n_scripts) memcpy(all, p->script, p->n_scripts * sizeof *all);
  all[p->n_scripts] = (cg_plan_script){.name = b->name, .hash = b->hash, .blob = place_of(e, b)};
  p->script = all;
  return (int)p->n_scripts++;
}

static void add_method(cg_emitter *e, cg_plan_script *s, const char *name, bool stateful) {
  for (uint32_t i = 0; i < s->n_methods; i++)
    if (!strcmp(s->method[i].name, name)) return;
  cg_plan_method *all = CG_NEW_ARRAY(e->s, cg_plan_method, s->n_methods + 1);
  if (s->n_methods) memcpy(all, s->method, s->n_methods * sizeof *all);
  all[s->n_methods++] = (cg_plan_method){name, stateful};
  s->method = all;
}

int cg_emit_script(cg_emitter *e, const cg_node *n) {
  int i = number_of(e, n->arg[0].blob);
  const cg_script *s = cg_node_script(n);
  add_method(e, &e->plan->script[i], n->arg[1].str.text, !s || s->stateful);
  return i;
}

void cg_blobs_section(cg_emitter *e, cg_str *b) {
  cg_write_u32(b, (uint32_t)e->blobs.n);
  for (int i = 0; i < e->blobs.n; i++) {
    cg_write_u64(b, e->blobs.at[i]->size);
    cg_str_addn(b, (const char *)e->blobs.at[i]->data, e->blobs.at[i]->size);
  }
}
