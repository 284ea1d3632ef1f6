// The pipeline: one pass a file, all listed in one table (pass.c) in the order they run.
// A pass maps a module to a module, in place, and throws where it cannot go on.
#ifndef CG_PASS_PASS_H
#define CG_PASS_PASS_H
#include "ir/ir.h"

typedef struct cg_backend cg_backend;
typedef struct cg_torch cg_torch;
typedef struct cg_pipeline cg_pipeline;
typedef struct cg_emitter cg_emitter;
struct cierge_torch_import;
struct cierge_torch_imported;

// A backend claims nodes and turns a lifted region into steps of the plan. Passes see only this table of functions.
struct cg_backend {
  const char *name;                // "c", "torch"
  // Whether n can run here: NULL, or the reason why not ("no native kernel for aten::foo", "dtype complex64").
  const char *(*claim)(cg_pipeline *p, const cg_node *n);
  // Turns region f (its nodes are all this backend's) into steps: the emitter knows the plan values of f's
  // parameters, and takes those of its results.
  void (*lower)(cg_emitter *e, cg_fn *f);
  // After all regions: kernels are compiled, programs closed, sections added.
  void (*finish)(cg_emitter *e);
  const struct cg_cost *cost;      // what nodes take here (pass/cost.h); NULL: unknown, and its claims always stand
  // When f was lifted: its mode and why (cg_fn). NULL: there is one way to run it.
  void (*settle)(cg_pipeline *p, cg_fn *f);
};

CG_VEC_TYPE(cg_text_vec, const char *);

typedef enum { CG_PRECISION_F32, CG_PRECISION_BF16, CG_PRECISION_INT8_DYNAMIC, CG_PRECISION_INT4_WEIGHT } cg_precision;
enum { CG_PRECISIONS = CG_PRECISION_INT4_WEIGHT + 1 };
extern const char *const cg_precision_names[CG_PRECISIONS]; // of --precision

// A kernel of a compilation that could have been computed in n ways.
typedef struct {
  const char *problem, *kind; // what is computed; what there is to choose
  const char *const *names;   // [n] of the ways; static
  int n, predicted, taken, kernel;
  bool known;                 // it was measured before
} cg_choice;

// What `--tune` (cli/tune.c) measures with; its texts live in s.
typedef struct cg_tuning {
  cg_session *s;
  cg_map best;                // problem -> name of the way that was fastest
  const char *kind;           // choices of this kind that are not in it take `way`, others as predicted; NULL: all do
  int way;
  CG_VEC(cg_choice) made;     // by the compilation
  cg_text_vec said;           // a line for each problem that was measured, for the user
} cg_tuning;

// What the user asked for; read by passes and backends, filled by compile/options.c.
typedef struct {
  const char *target;              // resolved: "x86-64-v2" … "x86-64-v4"
  unsigned extras;                 // what it has besides: bits by cg_cpu_extra (runtime/cpu.h)
  bool require_native, no_cost_drop, verify;
  const cg_backend *const *backends; // in the order of preference, NULL-terminated
  bool native;                     // some backend besides LibTorch is among them
  cg_text_vec torch_libraries;
  bool bundle;            // the artifact carries them
  cg_text_vec allow_unsafe; // operators of artifact/unsafe.h
  cg_text_vec script_inputs, output_types; // of TorchScript: 'x=f32[s0,3]', 'f32[s0]'
  const char *inputs;     // example arrays, for types of TorchScript and for whoever calls the program
  cg_text_vec op_types;   // 'ns::op=(f32[s0,4]) -> (f32[s0])'
  cg_text_vec dims;       // 's0=1..64,hint=8'
  cg_text_vec specialize; // 's0=1,8'
  cg_text_vec torch_ops, torch_modules; // always LibTorch: operators, and modules by their path
  // What `cierge study` varies, and no user's option: how many of the model's nodes go to LibTorch, its first ones or spread evenly over
  // it, and whether each of LibTorch's nodes is a region of its own.
  struct { int nodes; bool front, alone; } offload;
  int min_region;         // native islands of fewer nodes stay in LibTorch; 0: the cost model decides
  const char *dump_after;          // pass name
  bool time_passes;
  const char *emit;                // "ir", "c" or NULL
  const char *report;
  const char *libtorch;            // --libtorch
  const char *torch_mode;          // "ops", "script"; NULL: ops
  const char *blobs;               // --blobs
  const char *cc;                  // the C compiler for kernels
  cg_precision precision;          // of constant weights in products
  bool fuse_f32;                   // half precision rounds only what is stored
  cg_tuning *tuning;               // NULL: every kernel as predicted
  void (*progress)(const char *text); // told what is being done; NULL: nobody is
} cg_options;

// `--time-passes`: what a step of the compilation took that began at `start`, by cg_now.
void cg_took(const cg_options *o, uint64_t start, const char *what);
// Says what is being done, if somebody wants to know; the text lives in s.
void cg_tell(const cg_options *o, cg_session *s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// What a pass may ask of LibTorch; NULL in cg_pipeline where it is not to be had. Implemented in backend/torch.
struct cg_torch {
  void *self;
  const cg_options *opt;
  // Schema text of an operator that the table does not know (custom operators); NULL: LibTorch does not know it either.
  const char *(*schema)(cg_torch *t, cg_session *s, const char *key);
  // Result types by C++ Meta kernels. NULL on success, else the reason.
  const char *(*infer)(cg_torch *t, cg_module *m, cg_node *n);
  // Adds what is known of a torchop's method to its blob. NULL on success, else why it cannot be called like this.
  const char *(*script)(cg_torch *t, cg_module *m, const cg_node *n);
  // Reads a TorchScript archive (plugin/torch/cierge_torch_import.h); what it gives lives as long as the session. NULL on success,
  // else why not; *code: what kind of failure.
  const char *(*import_script)(cg_torch *t, cg_session *s, const struct cierge_torch_import *in, struct cierge_torch_imported *out, cierge_code *code);
};

// Sizes that native kernels are compiled for besides the general case: from --specialize and the hints of --dim.
typedef struct {
  const cg_symbol *symbol;
  CG_VEC(int64_t) value;
} cg_specialisation;

// What a value of --min-region gives: native, LibTorch.
typedef struct {
  int n, regions[2], nodes[2];
  double ns;
} cg_min_region;
enum { CG_MIN_REGIONS = 8 };

struct cg_pipeline {
  cg_session *s;
  cg_options *opt;
  cg_torch *torch;
  // Runs a program that was made of constants and of nodes over them: m's main, whose parameter i is in[i]. out[i]: where the bytes of its
  // result i go, in C order. Throws in m's session: a node raises an error, or has no native kernel. NULL: nobody can run programs here.
  void (*evaluate)(cg_pipeline *p, cg_module *m, const cg_constant *const *in, void *const *out);
  const cg_backend *host;          // claims scalars, asserts and control flow: they stay between the regions
  CG_VEC(cg_specialisation) special;
  // Partitioning's findings, for the report
  bool mixed;                      // some nodes need LibTorch, and some do not
  cg_min_region min_region[CG_MIN_REGIONS]; // where `mixed`
  cg_text_vec notes;               // what the user should be told whatever happens
};

typedef struct {
  const char *name;
  void (*run)(cg_pipeline *p, cg_module *m);
  const char *what; // one line for `--time-passes` and the docs
  bool typed;       // behind it every value has a type
} cg_pass;

extern const cg_pass cg_passes[];
extern const int cg_pass_count;
// Runs all of them; dumps after the one that is asked for; verifies in between when opt->verify.
void cg_passes_run(cg_pipeline *p, cg_module *m);

void cg_pass_safety(cg_pipeline *p, cg_module *m);        // operators that reach beyond tensors are refused
void cg_pass_scripts(cg_pipeline *p, cg_module *m);       // what torchop's scripts write to and keep is asked of LibTorch
void cg_pass_functionalise(cg_pipeline *p, cg_module *m); // in-place operators and views become values
void cg_pass_infer(cg_pipeline *p, cg_module *m);         // every result gets a type; recorded types are checked
void cg_pass_decompose(cg_pipeline *p, cg_module *m);     // composites into what backends know
void cg_pass_simplify(cg_pipeline *p, cg_module *m);      // identities, dead code, common subexpressions
void cg_remove_dead(cg_fn *f);                            // nodes that nobody reads
void cg_pass_fold(cg_pipeline *p, cg_module *m);          // sizes and scalars that are known; constants
void cg_pass_constants(cg_pipeline *p, cg_module *m);     // what depends on constants alone is computed now
void cg_pass_fold_norm(cg_pipeline *p, cg_module *m);     // normalisations behind convolutions and linear layers go into their weights
void cg_pass_partition(cg_pipeline *p, cg_module *m);     // claims nodes, makes convex regions, lifts them to functions
#endif
