// Options of a compilation: one table (options.def), read by the C API and the command line alike.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "artifact/unsafe.h"
#include "compile/compile.h"
#include "runtime/cpu.h"

static void set_torch_ops(cierge_options *o, const char *v) {
  for (const char *end; *v; v = *end ? end + 1 : end) {
    end = strchrnul(v, ',');
    const char *name = cg_strndup(&o->s, v, (size_t)(end - v));
    if (!strstr(name, "::") && !strchr(name, '.')) cg_fail(&o->s, CIERGE_USAGE, "--torch-ops: '%s' is no operator name (aten.add.Tensor)", name);
    CG_PUSH(&o->s, &o->opt.torch_ops, name);
  }
}

static void set_allow_unsafe(cierge_options *o, const char *v) {
  for (const char *end; *v; v = *end ? end + 1 : end) {
    end = strchrnul(v, ',');
    const char *name = cg_strndup(&o->s, v, (size_t)(end - v));
    if (!cg_unsafe_name(name)) cg_fail(&o->s, CIERGE_USAGE, "--allow-unsafe-ops: '%s' is no operator that would be refused (aten::save), and no namespace of such (c10d::)", name);
    CG_PUSH(&o->s, &o->opt.allow_unsafe, name);
  }
}

static void set_min_region(cierge_options *o, const char *v) {
  char *end;
  long n = strtol(v, &end, 10);
  if (end == v || *end || n < 1 || n > 1000000) cg_fail(&o->s, CIERGE_USAGE, "--min-region takes a number above 0, not '%s'", v);
  o->opt.min_region = (int)n;
}

static void set_torch_mode(cierge_options *o, const char *v) {
  if (strcmp(v, "auto") && strcmp(v, "ops") && strcmp(v, "script")) cg_fail(&o->s, CIERGE_USAGE, "--torch-mode '%s': it is auto, ops or script", v);
  o->opt.torch_mode = strcmp(v, "auto") ? cg_strdup(&o->s, v) : NULL;
}

static void set_precision(cierge_options *o, const char *v) {
  for (int i = 0; i < CG_PRECISIONS; i++)
    if (!strcmp(v, cg_precision_names[i])) {
      o->opt.precision = (cg_precision)i;
      return;
    }
  cg_fail(&o->s, CIERGE_USAGE, "--precision '%s': it is f32, bf16, int8-dynamic or int4-weight", v);
}

static void set_fuse_precision(cierge_options *o, const char *v) {
  if (strcmp(v, "f32") && strcmp(v, "exact")) cg_fail(&o->s, CIERGE_USAGE, "--fuse-precision '%s': it is f32 or exact", v);
  o->opt.fuse_f32 = !strcmp(v, "f32");
}

static void set_backends(cierge_options *o, const char *v) {
  const cg_backend **list = CG_NEW_ARRAY(&o->s, const cg_backend *, strlen(v) / 2 + 2);
  int n = 0;
  o->opt.native = false;
  for (const char *end; *v; v = *end ? end + 1 : end) {
    end = strchrnul(v, ',');
    const char *name = cg_strndup(&o->s, v, (size_t)(end - v));
    const cg_backend *b = cg_backend_find(name);
    if (!b) cg_fail(&o->s, CIERGE_USAGE, "--backends: there is no backend '%s'", name);
    list[n++] = b;
    if (strcmp(name, "torch")) o->opt.native = true;
  }
  if (!n) cg_fail(&o->s, CIERGE_USAGE, "--backends: none given");
  o->opt.backends = list;
}

static void set_target(cierge_options *o, const char *v) {
  cg_cpu here = cg_cpu_here();
  cg_cpu_target t = strcmp(v, "native") ? cg_cpu_parse(v) : cg_cpu_best(&here);
  if (!t.level || !strcmp(t.level, "x86-64"))
    cg_fail(&o->s, CIERGE_USAGE, "--target '%s': it is native, x86-64-v2, x86-64-v3 or x86-64-v4, which +vnni and +bf16 may follow", v);
  o->opt.target = t.level, o->opt.extras = t.extras;
}

static void set_emit(cierge_options *o, const char *v) {
  if (strcmp(v, "ir") && strcmp(v, "c")) cg_fail(&o->s, CIERGE_USAGE, "--emit '%s': it is ir or c", v);
  o->opt.emit = cg_strdup(&o->s, v);
}

static void set_dump_after(cierge_options *o, const char *v) {
  for (int i = 0; i < cg_pass_count; i++)
    if (!strcmp(cg_passes[i].name, v)) {
      o->opt.dump_after = cg_passes[i].name;
      return;
    }
  cg_fail(&o->s, CIERGE_USAGE, "--dump-after '%s': there is no such pass", v);
}

// ---------------------------------------------------------------- the table

typedef enum { FLAG_OF, TEXT_OF, LIST_OF, SET_BY } how;

typedef struct {
  how how;
  size_t at;                                          // the field in cierge_options
  void (*set)(cierge_options *o, const char *value);  // SET_BY
} action;

#define FLAG(field) {FLAG_OF, offsetof(cierge_options, field), NULL}
#define TEXT(field) {TEXT_OF, offsetof(cierge_options, field), NULL}
#define LIST(field) {LIST_OF, offsetof(cierge_options, field), NULL}
#define SET(function) {SET_BY, 0, function}
#define OPTION(name, argument, action, help) action,
static const action actions[] = {
#include "compile/options.def"
};
#undef OPTION
#define OPTION(name, argument, action, help) {name, argument, help},
const cg_option_row cg_option_rows[] = {
#include "compile/options.def"
};
#undef OPTION
const int cg_option_count = sizeof cg_option_rows / sizeof *cg_option_rows;

static void act(cierge_options *o, const action *a, const char *value) {
  void *field = (char *)o + a->at;
  switch (a->how) {
  case FLAG_OF: *(bool *)field = true; break;
  case TEXT_OF: *(const char **)field = cg_strdup(&o->s, value); break;
  case LIST_OF: CG_PUSH(&o->s, (cg_text_vec *)field, (const char *)cg_strdup(&o->s, value)); break;
  case SET_BY: a->set(o, value); break;
  }
}

typedef struct {
  cierge_options *o;
  const char *name, *value;
} setting;

static void apply(cg_session *s, void *u) {
  setting *x = u;
  for (int i = 0; i < cg_option_count; i++)
    if (!strcmp(cg_option_rows[i].name, x->name)) {
      act(x->o, &actions[i], x->value ? x->value : "");
      return;
    }
  cg_fail(s, CIERGE_USAGE, "there is no option '%s'", x->name);
}

cierge_code cg_options_set(cierge_options *o, const char *name, const char *value) {
  setting x = {o, name, value};
  return cg_try(&o->s, apply, &x);
}

static void defaults(cg_session *s, void *u) {
  (void)s;
  cierge_options *o = u;
  set_target(o, "native");
  set_backends(o, "c,torch");
  const char *cc = getenv("CIERGE_CC");
  o->opt.cc = cc && *cc ? cg_strdup(&o->s, cc) : "cc";
}

cierge_code cg_options_init(cierge_options *o) {
  memset(o, 0, sizeof *o);
  cg_session_init(&o->s);
  return cg_try(&o->s, defaults, o);
}
