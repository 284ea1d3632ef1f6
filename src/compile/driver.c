// From a model to an artifact, on one screen.
#include <string.h>

#include "artifact/artifact.h"
#include "backend/host.h"
#include "backend/torch/torch.h"
#include "base/clock.h"
#include "compile/report.h"
#include "frontend/frontend.h"
#include "ir/text.h"
#include "pass/cost.h"
#include "runtime/runtime.h"

static const char *base_name(const char *path) {
  const char *slash = path ? strrchr(path, '/') : NULL;
  return slash ? slash + 1 : path ? path : "";
}

// What the caller's tensor for this parameter is after a call, where it has another shape; NULL: what it holds then.
static cg_value *reshaped(const cg_module *m, const cg_value *param, bool *written) {
  const cg_update_vec *all = &m->main->update;
  const cg_value *holds = param;
  cg_value *is = NULL;
  *written = false;
  for (int i = 0; i < all->n; i++) {
    if (all->at[i].target != param) continue;
    if (all->at[i].kind == CG_UPDATE_RESHAPE) is = all->at[i].value;
    else holds = all->at[i].value, *written = true;
  }
  return is == holds ? NULL : is;
}

static void inputs(cg_emitter *e) {
  cg_plan *plan = e->plan;
  cg_module *m = e->m;
  plan->n_inputs = (uint32_t)m->inputs.n;
  plan->input = CG_NEW_ARRAY(e->s, cg_plan_input, m->inputs.n ? m->inputs.n : 1);
  plan->reshaped = CG_NEW_ARRAY(e->s, cg_plan_reshape, m->inputs.n ? m->inputs.n : 1);
  for (int i = 0; i < m->inputs.n; i++) {
    const cg_input *in = &m->inputs.at[i];
    cg_plan_input *out = &plan->input[i];
    *out = (cg_plan_input){.name = in->name, .param = -1, .constant = ""};
    if (in->param) {
      static const uint8_t kinds[] = {[CG_T_TENSOR] = CIERGE_KIND_TENSOR, [CG_T_INT] = CIERGE_KIND_INT,
                                      [CG_T_FLOAT] = CIERGE_KIND_FLOAT, [CG_T_BOOL] = CIERGE_KIND_BOOL};
      cg_type_kind k = in->param->type.kind;
      if (k < CG_T_TENSOR || k > CG_T_BOOL) cg_fail(e->s, CIERGE_BAD_MODEL, "input %s has a type that no caller can give", in->name);
      out->kind = kinds[k];
      const cg_expr *x = in->param->type.value;
      if (k == CG_T_INT && x && x->kind == CG_X_SYM) out->ranged = true, out->lo = x->symbol->lo, out->hi = x->symbol->hi;
      out->param = in->param->index;
      out->dtype = k == CG_T_TENSOR ? (uint8_t)in->param->type.dtype : k == CG_T_INT ? CG_I64 : k == CG_T_FLOAT ? CG_F64 : CG_BOOL;
      cg_value *is = reshaped(m, in->param, &out->mutated);
      if (is) plan->reshaped[plan->n_reshaped++] = (cg_plan_reshape){(uint32_t)i, (uint32_t)cg_emit_value(e, is)};
      continue;
    }
    const cg_arg *c = &in->constant;
    cg_str text = cg_str_new(e->s);
    switch (c->kind) {
    case CG_A_INT:
      out->kind = CIERGE_KIND_INT, out->dtype = CG_I64, out->constant_int = c->i->value;
      cg_str_addf(&text, "%lld", (long long)c->i->value);
      break;
    case CG_A_FLOAT:
      out->kind = CIERGE_KIND_FLOAT, out->dtype = CG_F64, out->constant_float = c->f;
      cg_str_add_double(&text, c->f);
      break;
    case CG_A_BOOL:
      out->kind = CIERGE_KIND_BOOL, out->dtype = CG_BOOL, out->constant_int = c->b;
      cg_str_add(&text, c->b ? "True" : "False");
      break;
    case CG_A_NONE:
      out->kind = CIERGE_KIND_NONE;
      cg_str_add(&text, "None");
      break;
    default:
      out->kind = CIERGE_KIND_STRING;
      cg_print_arg(&text, c);
    }
    out->constant_kind = out->kind;
    out->constant = cg_str_text(&text);
  }
}

static void symbols(cg_emitter *e, const cg_emitted_fn *f) {
  cg_plan *plan = e->plan;
  cg_emit_scope *scope = f->scope;
  e->fn = plan->fn[f->index], e->scope = scope;
  plan->symbol = CG_NEW_ARRAY(e->s, cg_plan_symbol, scope->wanted.n ? scope->wanted.n : 1);
  for (int i = 0; i < scope->wanted.n; i++) {
    const cg_symbol *y = scope->wanted.at[i];
    if (y->unbacked) cg_fail(e->s, CIERGE_BAD_MODEL, "the size %s is used, and no node gives it a value", y->name);
    plan->symbol[plan->n_symbols++] = (cg_plan_symbol){(uint32_t)cg_emit_symbol(e, y), y->name, y->lo, y->hi, cg_cost_typical(y)};
  }
}

static void emit(cg_emitter *e) {
  cg_session *s = e->s;
  uint64_t start = cg_now();
  e->plan = CG_NEW(s, cg_plan);
  e->kernel_source = cg_str_new(s);
  *e->plan = (cg_plan){.target = "", .producer = "cierge " CIERGE_VERSION, .torch_min = "", .torch_max = "", .report = "",
                       .model = base_name(e->m->source)};
  cg_emit_site(e, &(cg_node){0}); // site 0: nowhere
  cg_emit_find_over(e);
  cg_emitted_fn f = cg_emit_fn(e, e->m->main);
  if (e->plan->fn[f.index]->n_results > CG_PLAN_MAX_RESULTS)
    cg_fail(s, CIERGE_BAD_MODEL, "%u results, more than the %d that a program may have", e->plan->fn[f.index]->n_results, CG_PLAN_MAX_RESULTS);
  symbols(e, &f);
  cg_emit_keep_words(e, e->plan->fn[f.index]);
  inputs(e);
  cg_took(e->pipeline->opt, start, "kernels");
  start = cg_now();
  for (int i = 0; cg_backends[i]; i++)
    if (cg_backends[i]->finish) cg_backends[i]->finish(e);
  cg_took(e->pipeline->opt, start, "C compiler");
}

static void emit_report(cg_emitter *e, const cg_report *r) {
  cg_report_counts(r, e->plan);
  cg_report_estimates(r, e);
  cg_str text = cg_str_new(e->s);
  cg_report_json(&text, r, false);
  e->plan->report = cg_str_text(&text);
}

static cg_pipeline *pipeline(cg_session *s, cierge_options *o) {
  cg_pipeline *p = CG_NEW(s, cg_pipeline);
  *p = (cg_pipeline){.s = s, .opt = &o->opt, .host = &cg_backend_host, .evaluate = cg_evaluate};
  p->torch = cg_torch_connect(p);
  return p;
}

static cg_module *read_model(cg_pipeline *p, const cierge_options *o, const cg_model *model) {
  if (model->text) return cg_frontend_parse(p, model->path, model->text, model->size, o->weights);
  return cg_frontend_read(p, model->path, o->entry, o->weights);
}

cg_compilation cg_compile_model(cg_session *s, cierge_options *o, const cg_model *model, bool analyse_only) {
  cg_pipeline *p = pipeline(s, o);
  cg_tell(&o->opt, s, "reading the model");
  uint64_t start = cg_now();
  cg_module *m = read_model(p, o, model);
  cg_took(&o->opt, start, "read");
  return cg_compile_module(p, m, analyse_only);
}

// What the user cannot see in their own tensors.
static void note_reshaped(cg_pipeline *p, const cg_module *m) {
  for (int i = 0; i < m->inputs.n; i++) {
    bool written;
    const cg_value *is = m->inputs.at[i].param ? reshaped(m, m->inputs.at[i].param, &written) : NULL;
    if (!is) continue;
    cg_str type = cg_str_new(p->s);
    cg_type plain = is->type;
    plain.stride = NULL, plain.offset = NULL;
    cg_print_type(&type, &plain);
    CG_PUSH(p->s, &p->notes, cg_format(p->s, "input %s is %s after a call: cierge_mutated_get gives it", m->inputs.at[i].name, cg_str_text(&type)));
  }
}

cg_compilation cg_compile_module(cg_pipeline *p, cg_module *m, bool analyse_only) {
  cg_session *s = p->s;
  cg_apply_dims(p, m);
  cg_passes_run(p, m);
  note_reshaped(p, m);
  cg_compilation c = {.m = m, .pipeline = p};
  if (!analyse_only) {
    c.e = CG_NEW(s, cg_emitter);
    *c.e = (cg_emitter){.s = s, .pipeline = p, .m = m};
    cg_tell(p->opt, s, "making kernels and packing weights");
    emit(c.e);
  }
  uint64_t start = cg_now();
  c.report = CG_NEW(s, cg_report);
  *c.report = cg_report_make(p, m, base_name(m->source));
  if (c.e) emit_report(c.e, c.report);
  cg_took(p->opt, start, "report");
  return c;
}

// ---------------------------------------------------------------- the file

static cg_artifact_part weights_part(cg_emitter *e) {
  cg_artifact_piece *piece = CG_NEW_ARRAY(e->s, cg_artifact_piece, e->weights.n);
  for (int i = 0; i < e->weights.n; i++) piece[i] = (cg_artifact_piece){e->weights.at[i].data, e->weights.at[i].size, e->weights.at[i].offset};
  return (cg_artifact_part){CG_SECTION_WEIGHTS, NULL, e->weights_size, 4096, piece, e->weights.n};
}

static void torch_section(cg_emitter *e, cg_str *b) {
  cg_write_u32(b, (uint32_t)e->torch_programs.n);
  for (int i = 0; i < e->torch_programs.n; i++) {
    cg_write_u64(b, e->torch_programs.at[i].n);
    cg_str_addn(b, e->torch_programs.at[i].at, e->torch_programs.at[i].n);
  }
}

// The plan as the runtime will read it: what would be refused when it is loaded is no artifact.
static void check_plan(const cg_emitter *e, const cg_str *bytes) {
  cg_failure f = {0};
  cg_pool pool = {0};
  cg_plan *plan = cg_plan_read((const uint8_t *)bytes->at, bytes->n, e->weights_size, (uint32_t)e->torch_programs.n, &f);
  bool good = plan && cg_plan_check(plan, &pool, &f);
  cg_pool_free(&pool);
  cg_plan_free(plan);
  if (!good) cg_fail(e->s, f.code == CIERGE_NO_MEMORY ? CIERGE_NO_MEMORY : CIERGE_INTERNAL, "the plan that was made of the model does not hold: %s", f.text);
}

void cg_write_artifact(cg_compilation *c, const char *path) {
  cg_emitter *e = c->e;
  uint64_t start = cg_now();
  cg_artifact_part part[7];
  int n = 0;
  cg_str plan = cg_str_new(e->s), torch = cg_str_new(e->s), blobs = cg_str_new(e->s), libraries = cg_str_new(e->s);
  cg_plan_write(&plan, e->plan);
  check_plan(e, &plan);
  part[n++] = (cg_artifact_part){CG_SECTION_PLAN, plan.at, plan.n, 64, NULL, 0};
  if (e->kernel_object_size) part[n++] = (cg_artifact_part){CG_SECTION_KERNELS, e->kernel_object, e->kernel_object_size, 64, NULL, 0};
  if (e->torch_programs.n) {
    torch_section(e, &torch);
    part[n++] = (cg_artifact_part){CG_SECTION_TORCH, torch.at, torch.n, 64, NULL, 0};
  }
  if (e->blobs.n) {
    cg_blobs_section(e, &blobs);
    part[n++] = (cg_artifact_part){CG_SECTION_BLOBS, blobs.at, blobs.n, 64, NULL, 0};
  }
  if (e->libraries.n) {
    cg_torch_libraries_section(e, &libraries);
    part[n++] = (cg_artifact_part){CG_SECTION_LIBRARIES, libraries.at, libraries.n, 64, NULL, 0};
  }
  if (e->weights_size) part[n++] = weights_part(e);
  cg_artifact_write(e->s, path, n, part);
  cg_took(e->pipeline->opt, start, "write");
}
