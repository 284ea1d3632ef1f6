// What an artifact holds, as text: inputs, outputs, symbols, regions, needs, memory, sizes.
#include <inttypes.h>
#include <string.h>

#include "runtime/runtime.h"

enum { MAX_TYPE = 400 }; // bytes of a type's sizes; what follows is left out

static void type(cg_text *t, const cierge_spec *s) {
  if (s->constant) cg_text_add(t, "constant %s", s->constant);
  else if (s->kind == CIERGE_KIND_NONE) cg_text_add(t, "None");
  else if (s->kind != CIERGE_KIND_TENSOR) cg_text_add(t, "%s", s->kind == CIERGE_KIND_INT ? "int" : s->kind == CIERGE_KIND_FLOAT ? "float" : "bool");
  else if (s->rank < 0) cg_text_add(t, "tensor, of a dtype and shape that each call tells");
  else {
    cg_text_add(t, "%s[", s->dtype);
    size_t start = t->n;
    for (int d = 0; d < s->rank; d++) {
      bool long_already = t->n - start > MAX_TYPE;
      cg_text_add(t, "%s%s", d ? ", " : "", long_already ? "…" : s->dims[d]);
      if (long_already) break;
    }
    cg_text_add(t, "]");
  }
}

static void signature(cg_text *t, const cierge_program *p) {
  cg_text_add(t, "inputs\n");
  for (uint32_t i = 0, m = 0; i < p->plan->n_inputs; i++) {
    cg_text_add(t, "  %s: ", p->input[i].name);
    type(t, &p->input[i]);
    if (p->plan->input[i].mutated) cg_text_add(t, ", written to");
    if (m < p->n_mutated && p->mutated[m].input == i && p->mutated[m++].reshaped < p->plan->n_reshaped) {
      cg_text_add(t, ", afterwards ");
      type(t, &p->mutated[m - 1].spec);
    }
    cg_text_add(t, "\n");
  }
  cg_text_add(t, "outputs\n");
  for (size_t i = 0; i < cierge_output_count(p); i++) {
    cg_text_add(t, "  %s: ", p->output[i].name);
    type(t, &p->output[i]);
    cg_text_add(t, "\n");
  }
  if (p->plan->n_symbols) cg_text_add(t, "sizes\n");
  for (uint32_t i = 0; i < p->plan->n_symbols; i++) {
    const cg_plan_symbol *y = &p->plan->symbol[i];
    cg_text_add(t, "  %s: %" PRId64, y->name, y->lo);
    if (y->hi == INT64_MAX) cg_text_add(t, " or more\n");
    else cg_text_add(t, "..%" PRId64 "\n", y->hi);
  }
  if (p->plan->n_states) cg_text_add(t, "state: %u buffers\n", p->plan->n_states);
}

static void parts(cg_text *t, const cierge_program *p) {
  const cg_plan *plan = p->plan;
  cg_text_add(t, "nodes: %u, of which native %u, LibTorch %u, numbers and control %u\n", plan->nodes_total, plan->nodes_native, plan->nodes_torch,
              plan->nodes_scalar);
  cg_text_add(t, "native kernels: %u\n", plan->n_kernels);
  for (uint32_t i = 0; i < plan->n_kernels; i++) cg_text_add(t, "  %s\n", plan->kernel[i].note);
  cg_text_add(t, "LibTorch regions: %u\n", plan->n_regions);
  for (uint32_t i = 0; i < plan->n_regions; i++)
    cg_text_add(t, "  %s: %u nodes, mode %s\n", plan->region[i].name, plan->region[i].n_nodes, plan->region[i].mode);
}

static void scripts(cg_text *t, const cierge_program *program) {
  const cg_plan *p = program->plan;
  if (p->n_scripts) cg_text_add(t, "scripts\n");
  for (uint32_t i = 0; i < p->n_scripts; i++) {
    const cg_plan_script *s = &p->script[i];
    uint64_t size;
    cg_script_bytes(program, i, &size);
    cg_text_add(t, "  %s, %s, %" PRIu64 " bytes:", s->name, s->hash, size);
    for (uint32_t k = 0; k < s->n_methods; k++) cg_text_add(t, "%s %s%s", k ? "," : "", s->method[k].name, s->method[k].stateful ? " (keeps state)" : "");
    cg_text_add(t, "\n");
  }
}

// Branches and loops, and how many steps their functions have.
static void control(cg_text *t, const cg_plan *p) {
  bool any = false;
  for (uint32_t i = 0; i < p->n_fns; i++)
    for (uint32_t k = 0; k < p->fn[i]->n_steps; k++) {
      const cg_plan_step *s = &p->fn[i]->step[k];
      int n = cg_plan_callees(s->kind);
      if (!n) continue;
      cg_text_add(t, "%s  %s %s:", any ? "" : "control\n", s->site < p->n_sites ? p->site[s->site].op : "", s->site < p->n_sites ? p->site[s->site].node : "");
      for (int j = 0; j < n; j++) cg_text_add(t, "%s %s (%u steps)", j ? "," : "", p->fn[s->fn[j]]->name, p->fn[s->fn[j]]->n_steps);
      if (s->n_carried) cg_text_add(t, ", carries %u", s->n_carried);
      if (s->n_scanned) cg_text_add(t, ", goes over %u", s->n_scanned);
      cg_text_add(t, "\n");
      any = true;
    }
}

static void needs(cg_text *t, const cierge_program *p) {
  const cg_plan *plan = p->plan;
  cg_text_add(t, "needs\n");
  if (plan->n_kernels) cg_text_add(t, "  processor: %s\n", *plan->target ? plan->target : "x86-64");
  if (plan->n_regions) {
    cg_text_add(t, "  LibTorch: %s", *plan->torch_min ? plan->torch_min : "any version");
    cg_text_add(t, "%s%s\n", *plan->torch_max ? " to " : *plan->torch_min ? " or newer" : "", plan->torch_max);
  } else {
    cg_text_add(t, "  LibTorch: no\n");
  }
  for (uint32_t i = 0; i < plan->n_custom; i++) {
    const cg_plan_custom *c = &plan->custom[i];
    cg_text_add(t, "  operator %s%s%s%s%s\n", c->op, *c->library ? " from " : "", c->library, *c->hash ? ", content " : "", c->hash);
  }
  const char *name;
  const uint8_t *data;
  uint64_t size;
  for (uint32_t i = 0; cg_library_section(p, i, &name, &data, &size); i++) cg_text_add(t, "  library %s is carried, %" PRIu64 " bytes\n", name, size);
}

// The arena of a call with every symbol at its hint, numbers that the user gives as near to 1 as they may be.
static cierge_status *plan_arena(cierge_context *c, cg_frame *f) {
  const cg_plan *plan = c->p->plan;
  const cg_plan_fn *fn = plan->fn[0];
  c->state = cg_pool_alloc(&c->pool, plan->n_states, sizeof *c->state);
  if (!c->state) return cg_no_memory();
  cierge_status *st = cg_frame_init(f, c, &c->p->fn[0], true);
  if (st) return st;
  f->plan_only = true;
  for (uint32_t i = 0; i < plan->n_inputs; i++) {
    const cg_plan_input *in = &plan->input[i];
    if (in->ranged && in->param >= 0) f->slot[fn->param[in->param]].i = in->lo > 1 ? in->lo : in->hi < 1 ? in->hi : 1;
  }
  for (uint32_t i = 0; i < plan->n_symbols; i++) f->slot[plan->symbol[i].value].i = plan->symbol[i].hint;
  for (uint32_t i = 0; i < fn->n_params; i++) {
    const cg_plan_value *v = &fn->value[fn->param[i]];
    for (uint32_t d = 0; v->kind == CG_V_TENSOR && d < v->rank; d++) // what cannot be computed is said when the frame is shaped
      if (!cg_eval(f, v->dim[d], &f->slot[fn->param[i]].size[d])) f->slot[fn->param[i]].size[d] = 0;
  }
  return cg_frame_shape(f);
}

static void memory(cg_text *t, const cierge_program *p) {
  const cg_plan *plan = p->plan;
  cierge_context c = {.p = p};
  cg_frame f = {0};
  uint32_t late = 0;
  cierge_status *st = plan_arena(&c, &f);
  cg_text_add(t, "memory\n  weights: %" PRIu64 " bytes\n  arena: ", p->weights_size);
  if (!st) cg_text_add(t, "%" PRIu64 " bytes, at least %" PRIu64 " are needed at once", f.arena_used, f.arena_bound);
  else cg_text_add(t, "unknown, %s", cierge_status_message(st));
  for (uint32_t i = 0; i < plan->n_symbols; i++) cg_text_add(t, "%s %s = %" PRId64, i ? "," : ", with", plan->symbol[i].name, plan->symbol[i].hint);
  cg_text_add(t, "\n");
  for (uint32_t i = 0; i < plan->fn[0]->n_values; i++)
    late += plan->fn[0]->value[i].kind == CG_V_TENSOR && plan->fn[0]->value[i].storage == CG_ST_ARENA && p->fn[0].value[i].late;
  if (late) cg_text_add(t, "  not in it: %u values whose sizes only a call tells\n", late);
  if (plan->n_fns > 1) cg_text_add(t, "  not in it: what branches and loops compute\n");
  if (plan->n_regions) cg_text_add(t, "  not in it: what LibTorch allocates\n");
  cg_frame_free(&f);
  cg_pool_free(&c.pool);
  cierge_status_free(st);
}

static void sections(cg_text *t, const cierge_program *p) {
  cg_text_add(t, "sections\n");
  for (uint32_t i = 0; i < p->file.n_sections; i++) {
    const cg_format_section *s = &p->file.section[i];
    cg_text_add(t, "  %-8s %12" PRIu64 " bytes at %" PRIu64 "\n", s->kind, s->size, s->offset);
  }
  cg_text_add(t, "  whole file %10" PRIu64 " bytes\n", p->file.size);
}

cierge_status *cierge_inspect(const char *path, char **text) {
  if (!path || !text) return cg_status_new(CIERGE_USAGE, "cierge_inspect: an argument is NULL");
  *text = NULL;
  cierge_program *p;
  cierge_status *st = cg_program_open(path, false, &p);
  if (st) return st;
  cg_text t = {0};
  cg_text_add(&t, "%s, format %u, made by %s from %s\n", path, CG_FORMAT_VERSION, p->plan->producer, *p->plan->model ? p->plan->model : "a model");
  signature(&t, p);
  parts(&t, p);
  scripts(&t, p);
  control(&t, p->plan);
  needs(&t, p);
  memory(&t, p);
  sections(&t, p);
  cierge_program_free(p);
  return cg_text_give(&t, text);
}
