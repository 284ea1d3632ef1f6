// The graph signature: which inputs of the graph are parameters, buffers, constants or the user's, and which outputs
// are the user's or what a buffer or an input holds after the call.
#include <string.h>

#include "frontend/pt2.h"
#include "ops/op.h"

static void add_input(cg_pt2_graph *g, const char *name, cg_value *param, cg_arg constant) {
  cg_input in = {.name = name, .param = param, .constant = constant};
  CG_PUSH(g->r->s, &g->r->m->inputs, in);
}

// ---------------------------------------------------------------- Inputs

// The name of graph input `at`, {"as_tensor": {"name": …}} or {"as_sym_int": {"as_name": …}}.
static const char *input_name(const cg_json *u, cg_json *where) {
  bool number = cg_json_is(u, "as_sym_int") || cg_json_is(u, "as_sym_float") || cg_json_is(u, "as_sym_bool");
  if (!number && !cg_json_is(u, "as_tensor")) cg_json_fail(u, CIERGE_MISSING, "cierge does not read inputs of the kind '%.40s'", u->key);
  *where = cg_json_get(u, number ? "as_name" : "name");
  return cg_pt2_name(where);
}

static void same_name(const cg_json *at, const char *a, const char *b) {
  if (strcmp(a, b)) cg_json_fail(at, CIERGE_BAD_MODEL, "the signature calls this input '%s', the graph '%s'", a, b);
}

static void user_input(cg_pt2_graph *g, const cg_json *spec, const cg_json *input) {
  cg_json arg = cg_json_get(spec, "arg"), a = cg_json_union(&arg), u = cg_json_union(input), where, ignored;
  if (cg_json_is(&a, "as_custom_obj")) cg_json_fail(&a, CIERGE_MISSING, "an input is an object of a Python or TorchBind class, which cierge does not have");
  const char *name = input_name(&u, &where);
  same_name(&a, input_name(&a, &ignored), name);
  cg_type t = cg_pt2_type_of(g, &where, u.key, name);
  if (t.kind == CG_T_OTHER) cg_json_fail(&where, CIERGE_MISSING, "input '%s' has the layout %s: inputs are strided", name, t.note);
  cg_value *v = cg_param_new(g->fn, name, t);
  cg_pt2_define(g, &where, name, v);
  add_input(g, v->name, v, cg_a_none());
}

static void constant_input(cg_pt2_graph *g, const cg_json *spec) {
  cg_json name = cg_json_get(spec, "name"), value = cg_json_get(spec, "value"), u = cg_json_union(&value);
  cg_arg a = cg_a_none();
  if (cg_json_is(&u, "as_int")) a = cg_a_int(g->r->m, cg_json_int(&u));
  else if (cg_json_is(&u, "as_float")) a = cg_a_float(cg_json_double(&u));
  else if (cg_json_is(&u, "as_string")) a = cg_a_str(g->r->m, cg_json_text(&u));
  else if (cg_json_is(&u, "as_bool")) a = cg_a_bool(cg_json_bool(&u));
  else if (!cg_json_is(&u, "as_none")) cg_json_fail(&u, CIERGE_MISSING, "cierge does not read constants of the kind '%.40s'", u.key);
  add_input(g, cg_pt2_name(&name), NULL, a);
}

// A parameter, buffer or constant: its name in the graph stands for the stored tensor.
static void stored(cg_pt2_graph *g, const cg_json *spec, const cg_json *input, const char *key, int kind) {
  cg_json name = cg_json_get(spec, key), u = cg_json_union(input), arg = cg_json_get(spec, "arg"), arg_name = cg_json_get(&arg, "name"), where;
  const char *fqn = cg_pt2_name(&name), *word = input_name(&u, &where);
  same_name(&arg_name, cg_pt2_name(&arg_name), word);
  cg_value *v = cg_pt2_constant(g->r, spec, fqn, kind);
  cg_type t = cg_pt2_type_of(g, &where, "as_tensor", word);
  if (!cg_type_equal(&t, &v->type)) cg_json_fail(spec, CIERGE_BAD_MODEL, "'%s' is stored with another type than the graph has", fqn);
  cg_pt2_define(g, &where, word, v);
}

static void custom_object(cg_pt2_graph *g, const cg_json *spec) { // an error only where a node uses it
  cg_json arg = cg_json_get(spec, "arg"), name = cg_json_get(&arg, "name"), class_name = cg_json_get(&arg, "class_fqn");
  cg_map_set(g->r->s, &g->r->objects, cg_pt2_name(&name), (void *)(uintptr_t)cg_json_text(&class_name));
}

// Tokens put operators with side effects in order; here they are empty tensors (pt2_graph.c).
static void token(cg_pt2_graph *g, const cg_json *input) {
  cg_json u = cg_json_union(input), where;
  const char *word = input_name(&u, &where);
  cg_module *m = g->r->m;
  cg_arg none = cg_a_int(m, 0);
  cg_value *v = cg_node_like(g->fn, NULL, NULL, "aten::zeros", 1, (cg_arg[]){cg_a_list(m, 1, &none)}, 1)->result[0];
  v->type = cg_pt2_type_of(g, &where, "as_tensor", word);
  cg_pt2_define(g, &where, word, v);
}

static void one_input(cg_pt2_graph *g, const cg_json *spec, const cg_json *input) {
  cg_json u = cg_json_union(spec);
  if (cg_json_is(&u, "user_input")) user_input(g, &u, input);
  else if (cg_json_is(&u, "constant_input")) constant_input(g, &u);
  else if (cg_json_is(&u, "parameter")) stored(g, &u, input, "parameter_name", CG_CONST_PARAM);
  else if (cg_json_is(&u, "buffer")) stored(g, &u, input, "buffer_name", CG_CONST_BUFFER);
  else if (cg_json_is(&u, "tensor_constant")) stored(g, &u, input, "tensor_constant_name", CG_CONST_TENSOR);
  else if (cg_json_is(&u, "custom_obj")) custom_object(g, &u);
  else if (cg_json_is(&u, "token")) token(g, input);
  else cg_json_fail(&u, CIERGE_BAD_MODEL, "there is no input of the kind '%.40s'", u.key);
}

void cg_pt2_signature_inputs(cg_pt2_graph *g) {
  cg_json module = cg_json_get(g->r->program, "graph_module"), signature = cg_json_get(&module, "signature");
  cg_json specs = cg_json_get(&signature, "input_specs"), inputs = cg_json_get(&g->json, "inputs"), spec, input;
  if (cg_json_count(&specs) != cg_json_count(&inputs))
    cg_json_fail(&specs, CIERGE_BAD_MODEL, "the signature has %d inputs, the graph %d", cg_json_count(&specs), cg_json_count(&inputs));
  cg_json_iter a = cg_json_items(&specs), b = cg_json_items(&inputs);
  while (cg_json_next(&a, &spec) && cg_json_next(&b, &input)) one_input(g, &spec, &input);
}

// ---------------------------------------------------------------- Outputs

// What `target` holds after the call is `v`, converted and broadcast as by target.copy_(v).
static cg_value *copied(cg_pt2_graph *g, const cg_json *at, cg_value *target, cg_value *v) {
  if (cg_type_equal(&target->type, &v->type)) return v;
  cg_node *n = cg_node_like(g->fn, NULL, NULL, "aten::copy", 2, (cg_arg[]){cg_a_value(target), cg_a_value(v)}, 1);
  const char *why = n->op->infer(g->r->m, n);
  if (why) cg_json_fail(at, CIERGE_BAD_MODEL, "'%s' cannot hold what it is updated with: %s", target->name, why);
  return n->result[0];
}

static void add_update(cg_pt2_graph *g, const cg_json *at, cg_value *target, const cg_arg *value) {
  if (value->kind != CG_A_VALUE || value->value->type.kind != CG_T_TENSOR || target->type.kind != CG_T_TENSOR)
    cg_json_fail(at, CIERGE_BAD_MODEL, "'%s' is updated with something of another kind", target->name);
  cg_value *v = copied(g, at, target, value->value);
  cg_update u = {.kind = target->constant ? CG_UPDATE_STATE : CG_UPDATE_INPUT, .target = target, .value = v};
  if (target->constant) target->constant->mutated = true;
  CG_PUSH(g->r->s, &g->fn->update, u);
}

static void stored_mutation(cg_pt2_graph *g, const cg_json *u, const char *key, const cg_arg *value) {
  cg_json name = cg_json_get(u, key);
  cg_constant *c = cg_map_get(&g->r->m->constant_by_name, cg_json_text(&name));
  if (!c) cg_json_fail(&name, CIERGE_BAD_MODEL, "there is no '%.200s' among the inputs", cg_json_text(&name));
  add_update(g, u, c->value, value);
}

static void input_mutation(cg_pt2_graph *g, const cg_json *u, const cg_arg *value) {
  cg_json name = cg_json_get(u, "user_input_name");
  cg_value *v = cg_pt2_value(g, &name, cg_pt2_name(&name));
  if (v->def || v->constant) cg_json_fail(&name, CIERGE_BAD_MODEL, "'%s' is no input", v->name);
  add_update(g, u, v, value);
}

static void one_output(cg_pt2_graph *g, const cg_json *spec, const cg_json *output) {
  cg_json u = cg_json_union(spec);
  if (cg_json_is(&u, "token")) return;
  cg_arg a = cg_pt2_arg(g, output);
  if (a.kind == CG_A_LIST || a.kind == CG_A_FN) cg_json_fail(output, CIERGE_BAD_MODEL, "an output is a list");
  if (cg_json_is(&u, "user_output")) {
    bool given = a.kind == CG_A_VALUE || a.kind == CG_A_INT || a.kind == CG_A_FLOAT || a.kind == CG_A_BOOL || a.kind == CG_A_NONE;
    if (!given)
      cg_json_fail(output, CIERGE_BAD_MODEL, "output %d is %s: a tensor, a number or None can be one; leave it out of what the model returns", g->fn->result.n,
                   a.kind == CG_A_STR ? cg_format(g->r->s, "the text '%.100s'", a.str.text) : "a constant of another kind");
    CG_PUSH(g->r->s, &g->fn->result, a);
  }
  else if (cg_json_is(&u, "buffer_mutation")) stored_mutation(g, &u, "buffer_name", &a);
  else if (cg_json_is(&u, "parameter_mutation")) stored_mutation(g, &u, "parameter_name", &a);
  else if (cg_json_is(&u, "user_input_mutation")) input_mutation(g, &u, &a);
  else if (cg_json_is(&u, "loss_output") || cg_json_is(&u, "gradient_to_parameter") || cg_json_is(&u, "gradient_to_user_input"))
    cg_json_fail(&u, CIERGE_MISSING, "the model is a joint graph of forward and backward, which cierge does not run: export the forward one");
  else cg_json_fail(&u, CIERGE_BAD_MODEL, "there is no output of the kind '%.40s'", u.key);
}

// An output that an update copies is what the last of those updates leaves there, as the exported program has it.
static void return_the_copies(cg_fn *f) {
  for (int i = 0; i < f->result.n; i++) {
    cg_arg *a = &f->result.at[i];
    for (int k = f->update.n - 1; k >= 0 && a->kind == CG_A_VALUE; k--) {
      const cg_node *n = f->update.at[k].value->def;
      if (!n || n->origin || !cg_node_is_op(n, "aten::copy") || n->arg[1].value != a->value) continue;
      a->value = n->result[0];
      break;
    }
  }
}

void cg_pt2_signature_outputs(cg_pt2_graph *g) {
  cg_json module = cg_json_get(g->r->program, "graph_module"), signature = cg_json_get(&module, "signature");
  cg_json specs = cg_json_get(&signature, "output_specs"), outputs = cg_json_get(&g->json, "outputs"), spec, output;
  if (cg_json_count(&specs) != cg_json_count(&outputs))
    cg_json_fail(&specs, CIERGE_BAD_MODEL, "the signature has %d outputs, the graph %d", cg_json_count(&specs), cg_json_count(&outputs));
  cg_json_iter a = cg_json_items(&specs), b = cg_json_items(&outputs);
  while (cg_json_next(&a, &spec) && cg_json_next(&b, &output)) one_output(g, &spec, &output);
  return_the_copies(g->fn);
}
