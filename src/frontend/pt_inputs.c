// What the user says of a TorchScript program's inputs: --inputs names a file of example arrays, of which the dtypes and shapes
// count, and the values of ints, floats and bools; --input says a type or a value, and is heard last.
#include <string.h>

#include "arrays/arrays.h"
#include "frontend/pt.h"

static void say(cg_session *s, cg_pt_inputs *v, const char *name, const char *text) {
  for (int i = 0; i < v->n; i++)
    if (!strcmp(v->at[i].name, name)) {
      v->at[i].text = text;
      return;
    }
  CG_PUSH(s, v, ((cierge_torch_import_input){name, text}));
}

// "f32[2, 3]"; a single number is its value too: "i64[] = 16000".
static const char *text_of(cg_session *s, const cg_array *a) {
  cg_str b = cg_str_new(s);
  cg_str_add(&b, cg_array_type(s, a));
  if (a->rank) return cg_str_text(&b);
  int64_t i;
  double d;
  if (a->dtype == CG_I64) memcpy(&i, a->data, sizeof i), cg_str_addf(&b, " = %lld", (long long)i);
  if (a->dtype == CG_F64) memcpy(&d, a->data, sizeof d), cg_str_add(&b, " = "), cg_str_add_double(&b, d);
  if (a->dtype == CG_BOOL) cg_str_add(&b, *(const uint8_t *)a->data ? " = true" : " = false");
  return cg_str_text(&b);
}

// ---------------------------------------------------------------- all of it

cg_pt_inputs cg_pt_read_inputs(cg_pipeline *p) {
  cg_session *s = p->s;
  cg_pt_inputs v = {0};
  cg_array_vec arrays = {0};
  if (p->opt->inputs) arrays = cg_arrays_read(s, p->opt->inputs);
  for (int i = 0; i < arrays.n; i++) say(s, &v, arrays.at[i].name, text_of(s, &arrays.at[i]));
  for (int i = 0; i < p->opt->script_inputs.n; i++) {
    const char *text = p->opt->script_inputs.at[i], *eq = strchr(text, '=');
    if (!eq || eq == text || !eq[1]) cg_fail(s, CIERGE_USAGE, "--input '%s': it reads like 'x=f32[s0,3]' or 'rate=16000'", text);
    say(s, &v, cg_strndup(s, text, (size_t)(eq - text)), eq + 1);
  }
  return v;
}
