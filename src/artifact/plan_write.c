// The plan as bytes (doc/artifact.md), field by field in the order that plan_read.c reads them.
#include "artifact/artifact.h"

static void write_u32s(cg_str *b, const uint32_t *at, uint32_t n) {
  cg_write_u32(b, n);
  for (uint32_t i = 0; i < n; i++) cg_write_u32(b, at[i]);
}

static void write_tensor(cg_str *b, const cg_plan_value *v) {
  cg_write_u8(b, v->dtype);
  cg_write_u8(b, v->storage);
  cg_write_u8(b, (uint8_t)v->rank);
  for (uint32_t i = 0; i < v->rank; i++) cg_write_u32(b, v->dim[i]);
  switch ((cg_plan_storage)v->storage) {
  case CG_ST_CONST: case CG_ST_STATE:
    cg_write_u8(b, v->stride != NULL);
    for (uint32_t i = 0; v->stride && i < v->rank; i++) cg_write_i64(b, v->stride[i]);
    cg_write_u64(b, v->offset);
    cg_write_u64(b, v->size);
    if (v->storage == CG_ST_STATE) cg_write_u32(b, v->index);
    break;
  case CG_ST_PARAM: cg_write_u32(b, v->index); break;
  case CG_ST_ALIAS:
    cg_write_u32(b, v->of);
    cg_write_u32(b, (uint32_t)v->offset_expr);
    break;
  case CG_ST_ARENA: case CG_ST_TORCH: break;
  }
}

static void write_value(cg_str *b, const cg_plan_value *v) {
  cg_write_u8(b, (uint8_t)v->kind);
  cg_write_text(b, v->name);
  switch (v->kind) {
  case CG_V_TENSOR: write_tensor(b, v); break;
  case CG_V_INT: case CG_V_BOOL: cg_write_u32(b, (uint32_t)v->expr); break;
  case CG_V_FLOAT:
    cg_write_u8(b, v->storage == CG_ST_CONST);
    if (v->storage == CG_ST_CONST) cg_write_u64(b, v->offset);
    break;
  case CG_V_NONE: case CG_V_LATE: case CG_V_COUNT: break;
  }
}

static void write_expr(cg_str *b, const cg_plan_expr *x) {
  cg_write_u32(b, x->n);
  for (uint32_t i = 0; i < x->n; i++) {
    cg_write_u8(b, (uint8_t)x->item[i].op);
    if (x->item[i].op <= CG_X_SYM) cg_write_i64(b, x->item[i].arg);
  }
}

static void write_step(cg_str *b, const cg_plan_step *s) {
  cg_write_u8(b, (uint8_t)s->kind);
  write_u32s(b, s->in, s->n_in);
  write_u32s(b, s->out, s->n_out);
  write_u32s(b, s->param, s->n_param);
  cg_write_u32(b, s->kernel);
  cg_write_u32(b, s->fn[0]);
  cg_write_u32(b, s->fn[1]);
  cg_write_u32(b, s->n_carried);
  cg_write_u32(b, s->n_scanned);
  cg_write_u32(b, s->n_bind);
  for (uint32_t i = 0; i < s->n_bind; i++) {
    cg_write_u32(b, s->bind[i].out);
    cg_write_u32(b, s->bind[i].dim);
    cg_write_u32(b, s->bind[i].symbol);
  }
  cg_write_u32(b, s->site);
  cg_write_text(b, s->text);
  cg_write_f64(b, s->estimate_ns);
}

static void write_fn(cg_str *b, const cg_plan_fn *f) {
  cg_write_text(b, f->name);
  cg_write_u32(b, f->n_values);
  cg_write_u32(b, f->n_exprs);
  cg_write_u32(b, f->n_steps);
  cg_write_u32(b, f->n_updates);
  for (uint32_t i = 0; i < f->n_exprs; i++) write_expr(b, &f->expr[i]);
  for (uint32_t i = 0; i < f->n_values; i++) write_value(b, &f->value[i]);
  for (uint32_t i = 0; i < f->n_steps; i++) write_step(b, &f->step[i]);
  write_u32s(b, f->param, f->n_params);
  write_u32s(b, f->result, f->n_results);
  for (uint32_t i = 0; i < f->n_updates; i++) {
    cg_write_u32(b, f->update[i].target);
    cg_write_u32(b, f->update[i].value);
  }
}

static void write_input(cg_str *b, const cg_plan_input *in) {
  cg_write_text(b, in->name);
  cg_write_u8(b, in->kind);
  cg_write_u32(b, (uint32_t)in->param);
  cg_write_u8(b, in->dtype);
  cg_write_text(b, in->constant);
  cg_write_u8(b, in->constant_kind);
  cg_write_i64(b, in->constant_int);
  cg_write_f64(b, in->constant_float);
  cg_write_u8(b, in->mutated);
  cg_write_u8(b, in->ranged);
  cg_write_i64(b, in->lo);
  cg_write_i64(b, in->hi);
}

static void write_tables(cg_str *b, const cg_plan *p) {
  cg_write_u32(b, p->n_symbols);
  for (uint32_t i = 0; i < p->n_symbols; i++) {
    cg_write_u32(b, p->symbol[i].value);
    cg_write_text(b, p->symbol[i].name);
    cg_write_i64(b, p->symbol[i].lo);
    cg_write_i64(b, p->symbol[i].hi);
    cg_write_i64(b, p->symbol[i].hint);
  }
  cg_write_u32(b, p->n_inputs);
  for (uint32_t i = 0; i < p->n_inputs; i++) write_input(b, &p->input[i]);
  cg_write_u32(b, p->n_sites);
  for (uint32_t i = 0; i < p->n_sites; i++) {
    const cg_plan_site *s = &p->site[i];
    cg_write_text(b, s->op);
    cg_write_text(b, s->node);
    cg_write_text(b, s->file);
    cg_write_u32(b, s->line);
    cg_write_text(b, s->module_path);
  }
  cg_write_u32(b, p->n_kernels);
  for (uint32_t i = 0; i < p->n_kernels; i++) {
    cg_write_text(b, p->kernel[i].symbol);
    cg_write_text(b, p->kernel[i].note);
  }
  cg_write_u32(b, p->n_regions);
  for (uint32_t i = 0; i < p->n_regions; i++) {
    cg_write_text(b, p->region[i].mode);
    cg_write_u32(b, p->region[i].n_nodes);
    cg_write_text(b, p->region[i].name);
  }
  cg_write_u32(b, p->n_custom);
  for (uint32_t i = 0; i < p->n_custom; i++) {
    cg_write_text(b, p->custom[i].op);
    cg_write_text(b, p->custom[i].schema);
    cg_write_text(b, p->custom[i].library);
    cg_write_text(b, p->custom[i].hash);
  }
  cg_write_u32(b, p->n_scripts);
  for (uint32_t i = 0; i < p->n_scripts; i++) {
    const cg_plan_script *s = &p->script[i];
    cg_write_text(b, s->name);
    cg_write_text(b, s->hash);
    cg_write_u32(b, s->blob);
    cg_write_u32(b, s->n_methods);
    for (uint32_t k = 0; k < s->n_methods; k++) {
      cg_write_text(b, s->method[k].name);
      cg_write_u8(b, s->method[k].stateful);
    }
  }
}

void cg_plan_write(cg_str *b, const cg_plan *p) {
  cg_write_text(b, p->producer);
  cg_write_text(b, p->model);
  cg_write_text(b, p->target);
  cg_write_text(b, p->torch_min);
  cg_write_text(b, p->torch_max);
  cg_write_u32(b, p->n_states);
  cg_write_u32(b, p->nodes_total);
  cg_write_u32(b, p->nodes_native);
  cg_write_u32(b, p->nodes_torch);
  cg_write_u32(b, p->nodes_scalar);
  write_tables(b, p);
  cg_write_u32(b, p->n_fns);
  for (uint32_t i = 0; i < p->n_fns; i++) write_fn(b, p->fn[i]);
  cg_write_u32(b, p->n_reshaped);
  for (uint32_t i = 0; i < p->n_reshaped; i++) {
    cg_write_u32(b, p->reshaped[i].input);
    cg_write_u32(b, p->reshaped[i].value);
  }
  cg_write_text(b, p->report);
}
