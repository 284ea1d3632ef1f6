// What the files of pt2*.c share. The flow: pt2.c opens the archive and chooses the model; pt2_weights.c makes its
// constants; pt2_signature.c its inputs and outputs; pt2_graph.c its nodes, pt2_args.c their arguments; pt2_guards.c its checks.
#ifndef CG_FRONTEND_PT2_H
#define CG_FRONTEND_PT2_H
#include "base/zip.h"
#include "frontend/frontend.h"
#include "frontend/json.h"
#include "frontend/python_expr.h"

enum { CG_PT2_MAX_NESTING = 32 }; // of graphs in graphs

// One .pt2 file being read.
typedef struct {
  cg_pipeline *p;
  cg_session *s;
  cg_module *m;
  cg_zip *zip;
  const char *path;   // of the file
  const char *root;   // folder inside the archive, with its '/'; may be ""
  const char *model;  // chosen entry
  const char *torch;  // the version that wrote it
  cg_json *program;   // root of models/MODEL.json
  cg_map payloads[2]; // weights, constants: name -> cg_pt2_payload *
  cg_map storages;    // path_name -> cg_pt2_storage *
  cg_py_reader py;
  cg_map exprs;       // text -> cg_py_expr *
  cg_map objects;     // inputs that are custom objects: name -> class name
  cg_map guessed;     // operators whose schema was made from a node: key -> its text
} cg_pt2;

// One graph being read: main or a sub-graph.
typedef struct cg_pt2_graph {
  cg_pt2 *r;
  cg_fn *fn;
  int depth;
  cg_json json, tensors, ints, bools, floats; // the last four: {name: …} objects
  cg_map tensor, sym_int, sym_bool, sym_float; // name -> yyjson_val *
  cg_map values;                               // name -> cg_value *
} cg_pt2_graph;

// pt2_types.c
cg_py_expr cg_pt2_expr(cg_pt2 *r, const char *text);                // remembered by text
const cg_expr *cg_pt2_sym_int(cg_pt2 *r, const cg_json *j);         // SymInt of a size; throws if it has no expression
cg_type cg_pt2_tensor_type(cg_pt2 *r, const cg_json *meta);         // TensorMeta
cg_type cg_pt2_type_of(cg_pt2_graph *g, const cg_json *at, const char *kind, const char *name); // kind: "as_tensor", "as_sym_int" …
const char *cg_pt2_name(const cg_json *j);                          // a value's name, checked
void cg_pt2_ranges(cg_pt2 *r);                                      // range_constraints
void cg_pt2_widen_ranges(cg_pt2 *r, const cg_json *graph);          // of the sizes of the graph's inputs: 0 and 1 as well

// pt2_weights.c
void cg_pt2_read_payloads(cg_pt2 *r);
cg_value *cg_pt2_constant(cg_pt2 *r, const cg_json *at, const char *name, int kind); // CG_CONST_*; made on first use
const char *cg_pt2_member(const cg_pt2 *r, const char *fmt, const char *what);       // name in the archive: root + fmt with %s

// pt2_graph.c
void cg_pt2_graph_open(cg_pt2_graph *g, cg_pt2 *r, cg_fn *fn, int depth, const cg_json *graph);
void cg_pt2_graph_nodes(cg_pt2_graph *g);
typedef struct {
  const char *kind, *name;  // "as_tensor", "as_sym_int" …; name NULL: a result that is None
} cg_pt2_result;
CG_VEC_TYPE(cg_pt2_result_vec, cg_pt2_result);
cg_pt2_result_vec cg_pt2_outputs(cg_pt2_graph *g, const cg_json *node); // flat: a list is its items
void cg_pt2_define_result(cg_pt2_graph *g, const cg_json *node, const cg_pt2_result *r, cg_value *v);
void cg_pt2_set_origin(cg_pt2_graph *g, const cg_json *node, cg_node *n);
cg_fn *cg_pt2_subgraph(cg_pt2_graph *outer, const cg_json *argument); // GraphArgument
void cg_pt2_define(cg_pt2_graph *g, const cg_json *at, const char *name, cg_value *v);
cg_value *cg_pt2_value(cg_pt2_graph *g, const cg_json *at, const char *name);

// pt2_args.c
cg_arg cg_pt2_arg(cg_pt2_graph *g, const cg_json *argument);
// The same, made to fit the schema's argument.
cg_arg cg_pt2_schema_arg(cg_pt2_graph *g, const cg_json *argument, const cg_schema_arg *a);

// pt2_schema.c: the schema of a node's target; throws where there is none.
const cg_schema *cg_pt2_schema(cg_pt2_graph *g, const cg_json *node);

const cg_schema *cg_pt2_schema_of(cg_pt2_graph *g, const cg_json *target, const cg_json *node); // node NULL: nothing to guess from

// pt2_prims.c: the ATen operator that stands for torch._prims' one, NULL: none; what the argument `name` of that is called in ATen,
// "": it says nothing here. Of other targets: NULL, name.
const char *cg_pt2_prim(const char *target);
const char *cg_pt2_prim_arg(cg_session *s, const char *target, const char *name);
// pt2_auto.c: reads the node if it is an auto_functionalized one.
bool cg_pt2_auto_functionalized(cg_pt2_graph *g, const cg_json *node);

// pt2_signature.c
void cg_pt2_signature_inputs(cg_pt2_graph *g);
void cg_pt2_signature_outputs(cg_pt2_graph *g);

// pt2_guards.c
void cg_pt2_guards(cg_pt2_graph *g);
#endif
