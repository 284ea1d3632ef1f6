// The IR: a module of functions over typed values. ATen is the vocabulary: a node is an operator with a schema.
//
// Everything lives in the session's arena. Lists of nodes are doubly linked; values know their defining node.
// `parse(print(m)) == m` for every module (ir/text.h).
#ifndef CG_IR_IR_H
#define CG_IR_IR_H
#include "base/map.h"
#include "base/session.h"
#include "base/vec.h"
#include "ir/dtype.h"
#include "ir/expr.h"
#include "ir/schema.h"

typedef struct cg_node cg_node;
typedef struct cg_value cg_value;
typedef struct cg_fn cg_fn;
typedef struct cg_module cg_module;

// ---------------------------------------------------------------- Types

// LATE: a tensor (or None, where an operator may give one) whose dtype, rank and sizes only the run knows. LibTorch's regions make such
// values, pass them on and take them; @main may return them. Nobody else knows what to do with one.
typedef enum { CG_T_UNKNOWN, CG_T_TENSOR, CG_T_INT, CG_T_FLOAT, CG_T_BOOL, CG_T_STR, CG_T_NONE, CG_T_OTHER, CG_T_LATE } cg_type_kind;

#define CG_MAX_RANK 64

typedef struct {
  cg_type_kind kind;
  cg_dtype dtype;              // TENSOR
  int rank;
  const cg_expr **dim;         // TENSOR: [rank]
  const cg_expr **stride;      // TENSOR: [rank] as PyTorch has it; NULL: C order. Only stride-sensitive operators care.
  const cg_expr *offset;       // TENSOR: storage offset; NULL: 0
  const cg_expr *value;        // INT, BOOL: what it is, where known; NULL: not
  const char *note;            // OTHER: what it is ("sparse_csr", "quantized", class name)
} cg_type;

// ---------------------------------------------------------------- Values

// Bytes of a constant: parameter, buffer or lifted tensor.
typedef struct cg_constant {
  const char *name;            // fully qualified: "encoder.layer.0.weight"
  cg_type type;                // strides and offset describe `data`
  const uint8_t *data;         // whole storage; NULL: not there (text without weights)
  uint64_t size;               // of the storage, bytes
  enum { CG_CONST_PARAM, CG_CONST_BUFFER, CG_CONST_TENSOR } kind;
  bool mutated;                // state: some function updates it
  cg_value *value;             // the one value that stands for it in the functions
} cg_constant;

struct cg_value {
  const char *name;            // without '%'; unique in its function; constants: the constant's name
  cg_type type;
  cg_node *def;                // NULL: parameter or constant
  int index;                   // which result of def, or which parameter
  cg_constant *constant;       // not NULL: @name
  void *data;                  // scratch of the pass that is running
  int mark;                    // scratch
};

// What is known of a method of a blob's module (pass/script.c asks LibTorch, which reads its graph and runs nothing).
typedef struct cg_script {
  const char *method;
  bool stateful;               // it reads or changes attributes that some method of the module changes
  bool draws, effect;          // random numbers; anything else that must happen (it may raise, print, change its module)
  int nargs;
  bool *writes;                // [nargs] it may write to this argument, or to something in it
  int nreturns;                // tuples opened
  bool *shares;                // [nreturns][nargs + nreturns] that may share memory with this argument, with this return
  int nops;
  const char **op;             // operators besides PyTorch's own that it uses
} cg_script;

// Bytes that a program carries: an archive as torch.jit.save writes it, known by its content.
typedef struct cg_blob {
  const char *name;            // without '@'; no constant has it
  const char *hash;            // base/hash.h
  const uint8_t *data;         // NULL: not there (text without its bytes)
  uint64_t size;
  CG_VEC(cg_script) scripts;   // the methods that somebody asked for
  void *loaded;                // by whom they were asked: backend/torch/script.c
} cg_blob;

// ---------------------------------------------------------------- Arguments

typedef enum {
  CG_A_NONE, CG_A_VALUE, CG_A_INT, CG_A_FLOAT, CG_A_BOOL, CG_A_COMPLEX, CG_A_STR, CG_A_DTYPE, CG_A_LAYOUT, CG_A_DEVICE,
  CG_A_MEMORY_FORMAT, CG_A_LIST, CG_A_FN, CG_A_BLOB
} cg_arg_kind;

typedef struct cg_arg cg_arg;
struct cg_arg {
  cg_arg_kind kind;
  union {
    cg_value *value;           // VALUE
    const cg_expr *i;          // INT: literal or symbolic
    double f;                  // FLOAT
    bool b;                    // BOOL
    double complex_[2];        // COMPLEX
    struct { const char *text; size_t n; } str; // STR, DEVICE ("cpu"), LAYOUT ("strided")
    cg_dtype dtype;            // DTYPE
    int memory_format;         // c10's: 0 contiguous, 1 preserve, 2 channels_last, 3 channels_last_3d
    struct { cg_arg *at; int n; } list; // LIST
    cg_fn *fn;                 // FN: a sub-graph
    cg_blob *blob;             // BLOB
  };
};

// ---------------------------------------------------------------- Nodes

struct cg_node {
  const cg_schema *schema;     // NULL for a call
  const struct cg_op *op;      // what the compiler knows of it beyond the schema (ops/op.h); NULL: only the schema
  cg_fn *callee;               // a call of a lifted region
  cg_arg *arg;                 // dispatcher ops: all of them, in the schema's order, defaults filled in
  int nargs;
  cg_value **result;
  int nresults;
  cg_span at;                  // the user's own line
  const char *module_path;     // "encoder.layer.0.attention", "" unknown
  const char *name;            // as the model's file calls it
  int origin;                  // index + 1 into module->origins of the imported node it came from; 0: made by the compiler
  cg_fn *fn;                   // where it is
  cg_node *prev, *next;
  // Partitioning's decision
  const struct cg_backend *backend; // NULL: not decided
  const char *why_not;         // why the backends that were asked first did not take it; NULL: the first one did
  int order;                   // position, set by cg_fn_number
  int mark;                    // scratch
  void *data;                  // scratch
};

// ---------------------------------------------------------------- Functions, modules

// RESHAPE: the tensor that the caller gave as this parameter of main has another shape after the call, and is `value` then. What it shares
// its memory with does not see that: what is written there is an INPUT of its own, in the parameter's shape.
typedef struct {
  enum { CG_UPDATE_STATE, CG_UPDATE_INPUT, CG_UPDATE_RESHAPE } kind;
  cg_value *target;            // a constant's value, or a parameter
  cg_value *value;             // what it holds, or is, after the call
} cg_update;

CG_VEC_TYPE(cg_value_vec, cg_value *);
CG_VEC_TYPE(cg_arg_vec, cg_arg);
CG_VEC_TYPE(cg_update_vec, cg_update);
CG_VEC_TYPE(cg_fn_vec, cg_fn *);
CG_VEC_TYPE(cg_constant_vec, cg_constant *);
CG_VEC_TYPE(cg_blob_vec, cg_blob *);

struct cg_fn {
  const char *name;            // without '@'
  cg_module *module;
  cg_value_vec param;
  cg_node *first, *last;
  cg_arg_vec result;           // values, literals or none
  cg_update_vec update;        // mutations, functionalised: "update @buf = %v", "reshape %x = %v"
  const char *backend;         // a lifted region: "c", "torch"; NULL otherwise
  const char *mode;            // "ops", "script"; NULL otherwise
  const char *mode_why;        // for the report; NULL: unknown
  int nnodes;
};

// A user-visible input of main: the i-th user input of the model's signature, constants included.
typedef struct {
  const char *name;
  cg_value *param;             // NULL: a constant of the export (below), None or a string
  cg_arg constant;
} cg_input;

// A node as it was imported: reports count and name these, whatever passes made of them.
typedef struct {
  const char *key;             // "aten::layer_norm"
  const char *name;
  cg_span at;
  const char *module_path;
} cg_origin;

struct cg_module {
  cg_session *s;
  cg_expr_pool exprs;
  cg_map schemas;              // key -> cg_schema*: cache, and custom operators
  cg_fn_vec fns;               // main and whatever it calls
  cg_fn *main;
  cg_constant_vec constants;
  cg_map constant_by_name;
  cg_map fn_by_name;
  cg_blob_vec blobs;
  CG_VEC(cg_input) inputs;     // user inputs of main, in order
  CG_VEC(cg_origin) origins;
  const char *source;          // the file it came from
  const char *producer;        // "torch 2.13.0+cpu"
  int next_id;                 // for cg_fresh_name
  int next_unbacked;           // for cg_unbacked_new: what is below is taken
  cg_node *newest;             // made last: the names that its results were given since are kept clear of
};

// ---------------------------------------------------------------- Building (ir/build.c)

cg_module *cg_module_new(cg_session *s);
cg_fn *cg_fn_new(cg_module *m, const char *name); // a name that is taken gets a number; "main" becomes m->main
cg_fn *cg_fn_find(const cg_module *m, const char *name);
cg_value *cg_param_new(cg_fn *f, const char *name, cg_type type);
// Two constants of one name: CIERGE_BAD_MODEL.
cg_constant *cg_constant_new(cg_module *m, const char *name, cg_type type, const uint8_t *data, uint64_t size);
// The hash is of `data`; `data` NULL: bytes of this hash are to be found elsewhere. A name that a constant or blob has: CIERGE_BAD_MODEL.
cg_blob *cg_blob_new(cg_module *m, const char *name, const char *hash, const uint8_t *data, uint64_t size);
cg_blob *cg_blob_find(const cg_module *m, const char *name); // NULL: none
// A node before `before` (NULL: at the end), with room for the schema's arguments (all NONE) and nresults results of unknown type.
cg_node *cg_node_new(cg_fn *f, cg_node *before, const cg_schema *schema, int nargs, int nresults);
// The same by key, arguments given; copies `at`, `module_path` from `like` (may be NULL). Missing arguments get the schema's defaults.
cg_node *cg_node_like(cg_fn *f, cg_node *before, const cg_node *like, const char *key, int nargs, const cg_arg *arg, int nresults);
// Arguments from..nargs-1 get the schema's defaults (NONE where there is no default).
void cg_node_fill_defaults(cg_node *n, int from);
cg_arg cg_schema_default(cg_module *m, const cg_schema_arg *a); // ir/defaults.c; a text that does not read: CIERGE_BAD_MODEL
void cg_node_remove(cg_node *n);   // unlinks; its results must be unused
void cg_node_move(cg_node *n, cg_node *before);
// "STEM_12", or "12" for an empty stem. Clear of all parameters', constants' and functions' names, and of the names of
// results if they are set before the next node is made (later renames go through cg_value_rename).
const char *cg_fresh_name(cg_module *m, const char *stem);
void cg_value_rename(cg_module *m, cg_value *v, const char *name);
void cg_replace_uses(cg_fn *f, cg_value *from, cg_value *to); // in arguments, results and updates of f: a walk over all of it
// The same for many, in the one walk of a pass from f->first on (ir/replace.c): begin; each node that the walk comes to gets what was
// noted for its arguments, what comes to stand for its results is noted; end. Meanwhile value->data is theirs.
void cg_replace_begin(cg_fn *f);
void cg_replace_in(cg_node *n);
void cg_replace(cg_module *m, cg_value *v, cg_arg by); // a value, or a literal; it may be replaced itself later on
void cg_replace_end(cg_fn *f);
int cg_fn_number(cg_fn *f);        // sets node->order; gives the count

cg_type cg_tensor_type(cg_dtype t, int rank, const cg_expr **dim);
cg_type cg_scalar_type(cg_type_kind k);
bool cg_type_has_unbacked(const cg_type *t); // a tensor with a size that appears at run time
bool cg_type_equal(const cg_type *a, const cg_type *b); // strides left out
static inline bool cg_type_may_be_tensor(const cg_type *t) { // whatever it turns out to be
  return t->kind == CG_T_TENSOR || t->kind == CG_T_LATE || t->kind == CG_T_UNKNOWN || t->kind == CG_T_OTHER;
}
bool cg_type_is_c_order(cg_module *m, const cg_type *t); // from wherever it begins; a size of 1 may have any stride
bool cg_type_is_contiguous(cg_module *m, const cg_type *t); // the same from its memory's first element
const cg_expr *cg_type_numel(cg_module *m, const cg_type *t);
const cg_expr *cg_unbacked_new(cg_module *m); // u0, u1, …: a size that appears at run time
bool cg_type_is_static(const cg_type *t);

static inline cg_arg cg_a_none(void) { return (cg_arg){.kind = CG_A_NONE}; }
static inline cg_arg cg_a_value(cg_value *v) { return (cg_arg){.kind = CG_A_VALUE, .value = v}; }
static inline cg_arg cg_a_expr(const cg_expr *e) { return (cg_arg){.kind = CG_A_INT, .i = e}; }
static inline cg_arg cg_a_float(double f) { return (cg_arg){.kind = CG_A_FLOAT, .f = f}; }
static inline cg_arg cg_a_bool(bool b) { return (cg_arg){.kind = CG_A_BOOL, .b = b}; }
static inline cg_arg cg_a_blob(cg_blob *b) { return (cg_arg){.kind = CG_A_BLOB, .blob = b}; }
static inline cg_arg cg_a_dtype(cg_dtype t) { return (cg_arg){.kind = CG_A_DTYPE, .dtype = t}; }
cg_arg cg_a_int(cg_module *m, int64_t v);
cg_arg cg_a_list(cg_module *m, int n, const cg_arg *at);
cg_arg cg_a_str(cg_module *m, const char *text);

// ---------------------------------------------------------------- Reading (ir/query.c)

// Calls f for every value that an argument holds, lists included.
void cg_arg_each_value(const cg_arg *a, void (*f)(cg_value *, void *), void *u);
void cg_node_each_input(const cg_node *n, void (*f)(cg_value *, void *), void *u);
cg_value *cg_node_late_input(const cg_node *n); // a tensor among its arguments of which nothing is known before the run; NULL: none
// "aten::mm (node mm_3)" for messages; a node without name is told by its place: "aten::mm (node 2 of @main)". In the session's arena.
const char *cg_node_text(cg_session *s, const cg_node *n);
// Argument by the schema's name; NULL: no such argument.
const cg_arg *cg_node_arg(const cg_node *n, const char *name);
cg_value *cg_arg_tensor(const cg_arg *a);              // NULL: no tensor value
// Literal int (or an INT value whose expression is known): true and *out.
bool cg_arg_int(const cg_arg *a, const cg_expr **out);
bool cg_arg_int_const(const cg_arg *a, int64_t *out);
bool cg_arg_double(const cg_arg *a, double *out);      // literal int, float or bool
int cg_arg_list_len(const cg_arg *a);                  // a non-list counts as 1, NONE as 0
const cg_arg *cg_arg_list_at(const cg_arg *a, int i);
// Uses: how many arguments, results and updates of its function hold each value; fills value->mark.
void cg_fn_count_uses(cg_fn *f);
bool cg_node_is_op(const cg_node *n, const char *key); // "aten::relu"
enum { CG_TORCHOP_INPUTS = 2 };    // a torchop's script and method come first, then its inputs
bool cg_node_is_torchop(const cg_node *n);
// What is known of the method that a torchop runs; NULL: nothing.
const cg_script *cg_node_script(const cg_node *n);
// Whether a torchop may write to its argument i; where nothing is known of its method it may write to all tensors.
bool cg_script_writes(const cg_node *n, int i);
#endif
