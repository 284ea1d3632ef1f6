// A kernel while it is being written: pointers, sizes, text (kernel.c). Templates see kernel.h only.
#ifndef CG_BACKEND_C_KERNEL_INTERNAL_H
#define CG_BACKEND_C_KERNEL_INTERNAL_H
#include "backend/c/print.h"

typedef struct {
  int plan;               // plan value
  const char *name, *ctype;
  bool output;
  int base;               // plan is the place `start` in this plan value
  const cg_expr *start;   // in elements; NULL: plan is the value itself
} cg_kernel_pointer;

// From where on a kernel loads a value: its pointer points there, and kernels that differ by that alone are one.
typedef struct {
  const cg_value *value;
  const cg_expr *start;   // in elements; NULL: the beginning
} cg_kernel_start;

typedef struct {
  const cg_expr *value;   // passed as s[i]
  const char *name;
} cg_kernel_param;

struct cg_kernel {
  cg_sched *c;
  cg_group *g;
  const cg_node *node;      // the template's node, or NULL
  cg_str body, before;
  CG_VEC(cg_kernel_pointer) pointer;
  CG_VEC(cg_kernel_param) param;
  CG_VEC(cg_kernel_start) start;
  const char *note;
  CG_VEC(cg_choice) choice; // made so far
  double cost;
  bool one_by_one;          // half precision is converted number by number: no loop that becomes vectors is being written
  cg_map names;             // what cg_kernel_local gave: names, and by stem the number that comes next
};

// What one compilation has written so far, in e->state.
typedef struct {
  const char *name, *text;
  cg_str comment;
} cg_c_function;

typedef struct {
  CG_VEC(cg_c_function) function; // by kernel index - first
  CG_VEC(int) kernel;
  cg_map by_text;                 // hash of the text with the name left out -> number + 1 of the function: equal kernels are one
  cg_map shared;                  // key -> cg_str *: text that kernels share
  cg_map made;                    // content -> bytes of a constant that cg_kernel_constant was given
  void *spare;                    // [spare_size] cg_kernel_spare
  size_t spare_size;
  unsigned extras;                // of the target that some kernel uses
} cg_c_state;

#define CG_C_NAME "k__NAME"  // stands for the function's name until it is known

// One copy of a kernel for sizes that are known (variants.c).
typedef struct {
  const char *name, *test;  // of the function; in C, over s
  const char **literal;     // by parameter; NULL: as in the general function
} cg_c_variant;

CG_VEC_TYPE(cg_c_variants, cg_c_variant);
cg_c_variants cg_c_variants_of(const cg_kernel *k);
const char *cg_c_variant_text(const cg_kernel *k, const cg_c_variant *v, const char *text);

cg_kernel *cg_kernel_open(cg_sched *c, cg_group *g, const cg_node *n);
// Writes the function (or finds an equal one) and appends the step that calls it.
void cg_kernel_close(cg_kernel *k);
// The C name of the pointer to a plan value.
const char *cg_kernel_point(cg_kernel *k, int plan, cg_dtype t, bool output);
// The same for what lies in v from element `start` on.
const char *cg_kernel_point_at(cg_kernel *k, cg_value *v, const cg_expr *start, cg_dtype t);
// Whether `start` may be a place of its own: known, and within v whatever the sizes.
bool cg_kernel_starts_at(const cg_value *v, const cg_expr *start);
const char *cg_kernel_point_as(cg_kernel *k, int plan, const char *ctype, bool output);
// Pointers and sizes as parameters of a static function, and as what is passed.
void cg_kernel_parameters(cg_kernel *k, cg_str *declared, cg_str *passed);
const char *cg_c_bare(cg_session *s, const char *text); // without brackets around all of it
// The prelude's function for "from", "to" or "round" half precision.
const char *cg_kernel_half(cg_kernel *k, const char *how, cg_dtype t);
const char *cg_kernel_site_of(cg_kernel *k, const cg_node *n);
cg_c_state *cg_c_state_of(cg_emitter *e);
const char *cg_c_target(cg_session *s, const char *level, unsigned extras); // "x86-64-v4+vnni"
void cg_choices_made(cg_kernel *k, int kernel); // choose.c: by the kernel that is done, and has that index
void cg_c_finish(cg_emitter *e); // compile.c
extern const cg_backend cg_backend_c;
#endif
