// Inside the plugin: reading a TorchScript program.
//
// The program's graph, inlined, is run once on abstract values: what is known is a constant, what is a tensor or a number is a
// name in the text form, a list or tuple of known length is its items. So lists, tuples, dictionaries, attributes, decided
// branches and counted loops vanish, and each operator that remains becomes an item: a node of the text. Whatever has no place
// in the text (a branch whose outcomes differ in kind, a list of unknown length, a text made at run time) stays an item of
// TorchScript; such items, and what must be with them, become islands: methods of one module that is handed over as bytes.
//
// import.cpp          the C face: an archive in, a text and its tables out
// import_drive.cpp    attempts, until one program or two hold all of it; state
// import_write.cpp    the text of what is left
// import_text.cpp     the words it is made of
// import_value.cpp    abstract values: constants, names, joins, what they are in TorchScript
// import_inputs.cpp   the inputs, as the user says them
// import_eval.cpp     blocks, nodes, trials
// import_control.cpp  branches and loops
// import_state.cpp    attributes; those that change: buffers of the program
// import_island.cpp   what stays TorchScript, gathered
// import_whole.cpp    where that cannot be done: the whole program as one island
//
// An operator belongs to one of two places. One of TorchScript's own (lists, numbers, questions about tensors) is a row of
// import_ops.def, its rule stands in import_numbers.cpp, import_tensors.cpp or import_lists.cpp, and import_ops.cpp asks it. One of
// the dispatcher's becomes a node (import_node.cpp) whose types come from cierge's rules, from PyTorch's Meta kernels
// (import_meta.cpp), or, where sizes are in the data, from the table of import_sizes.cpp.
#ifndef CIERGE_TORCH_IMPORT_H
#define CIERGE_TORCH_IMPORT_H
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "cierge_torch.h"

namespace cierge::import {

using c10::IValue;
using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// ---------------------------------------------------------------- abstract values

struct Abstract;
using A = std::shared_ptr<Abstract>;

struct Abstract {
  enum Kind {
    Known,    // `known`: a constant of the program (an object is known by its place)
    Tensor,   // `ir` names it; "" while only an island can hold it
    Number,   // the same for an int, float or bool
    List, Tuple, Dict, // `items` (and `keys`)
    Opaque,   // anything else: `r` holds it in TorchScript
    Nothing   // what no run ever sees
  } kind = Nothing;
  IValue known;
  std::string ir, type;      // "%12", "f32[s0, 3]"; a tensor of no type is "tensor" in the text, and only islands give such
  c10::TypePtr jtype;        // what TorchScript knows of it
  std::vector<A> items;
  std::vector<IValue> keys;
  A number;                  // Tensor: the number that it was made of (traces count in tensors)
  A element;                 // Opaque list: what its elements are
  at::Tensor meta;           // Tensor of fixed sizes: its geometry
  Value *r = nullptr;        // in the residual graph
  int depth = 0;             // List, Dict: how many open speculations there were when it was made
  std::string attribute;     // the attribute that holds this very container: "encoder.cache"
};

using Values = std::vector<A>;

A known(IValue v, c10::TypePtr t = nullptr);
A nothing();
A by_jit_type(const c10::TypePtr &t);                // of which TorchScript knows this and no more
bool is_int(const A &a, int64_t *out = nullptr);   // known int
bool is_bool(const A &a, bool *out = nullptr);     // known bool
bool is_none(const A &a);
bool all_known(const A &a);                        // no tensor in it, and nothing that appears at run time
IValue to_ivalue(const A &a, const c10::TypePtr &t); // all_known only
bool is_number_type(const c10::TypePtr &t);
bool is_known_number(const A &a);                  // int, float or bool
bool is_number(const A &a);                        // the same, known or not
bool is_container(const A &a);                     // list, tuple or dictionary
bool typed(const A &a);                            // a tensor or number that the text names, of a type that is known
bool crosses(const A &a);                          // may cross the boundary of an island: the same, or a tensor of which only the run knows more
bool sayable(const A &a);                          // may be an operand in the text: it is typed, or a known number

// ---------------------------------------------------------------- items

struct Function;

// One step of the residual program: a node of the text, or TorchScript.
struct Item {
  Node *r = nullptr;                 // in the residual graph; NULL inside sub-graphs
  std::string op, args;              // text: operator and arguments; "": only TorchScript can hold it
  Values results;                    // values that the text names
  Values uses;                       // values that `args` speaks of
  std::vector<std::shared_ptr<Function>> fns; // sub-graphs that `args` speaks of
  std::string place;                 // provenance
  std::string why;                   // op "": why
  bool effect = false;               // asserts, random numbers, state
  bool writes = false;               // in place
  bool mutates = false;              // op "": to lists or dictionaries
  int island = -1;
};
using Items = std::vector<std::unique_ptr<Item>>;

struct Function {
  std::string name;
  Values params, results;
  Items items;
};

// ---------------------------------------------------------------- constants

struct Constant {
  std::string name, kind, type;      // "fc.weight", "param", type with strides
  at::Tensor tensor;
  bool state = false, used = false;
};

// Thrown where the program cannot be imported: the text says why. `again`: a decision was changed, start over.
struct Refused : std::runtime_error { using std::runtime_error::runtime_error; };
struct Again {};
struct Raises { std::string text; A condition; }; // the block ends in an exception

// ---------------------------------------------------------------- the importer

struct Importer {
  Importer(torch::jit::Module m, const cierge_torch_import *i) : module(std::move(m)), in(i) {}

  torch::jit::Module module;
  const cierge_torch_import *in;
  std::shared_ptr<Graph> graph;      // forward, inlined
  std::shared_ptr<Graph> residual;   // what remains of it, as TorchScript
  Items *items = nullptr;            // where items go now
  Function main;
  std::vector<std::shared_ptr<Function>> functions;
  std::vector<Constant> constants;
  std::unordered_map<const void *, size_t> constant_of; // TensorImpl -> constants
  std::vector<at::Tensor> kept;      // their identity is in constant_of
  std::set<std::string> constant_names, schemas;
  std::string schema_lines, input_lines;
  Items pending;                     // to follow the item that is being made
  int counter = 0, open = 0;         // names; speculations that are open
  std::unordered_map<const void *, std::string> path_of; // objects of the module tree
  std::map<std::string, A> attributes; // those that were read
  std::map<std::string, A> opaque_type; // what opaque state may be
  std::unordered_map<Value *, A> bridges; // inputs of the residual graph: values that only the text computes
  Node *now = nullptr;               // the node that is being read, for places

  // attributes that change: by "path.name"
  std::set<std::string> state, opaque_state;
  std::map<std::string, A> current_state;
  bool reshapes_input = false;       // an input has another shape at the end
  std::string in_one;                // why the pieces cannot be told apart; empty: they can

  // undone where a speculation fails
  struct Undo { A container; std::vector<A> items; std::vector<IValue> keys; };
  std::vector<Undo> journal;
  std::vector<std::pair<const Value *, A>> renamed; // by reshape(): names and what they stood for

  using Env = std::unordered_map<const Value *, A>;
  Env env;

  // import_value.cpp
  std::string fresh() { return "%" + std::to_string(counter++); }
  std::vector<std::string> feed(const std::string &line); // types of the results; throws std::runtime_error
  std::string join_types(const std::string &a, const std::string &b, bool *ok);
  std::string some_size();           // one more that appears at run time
  A tensor(const std::string &ir, const std::string &type, c10::TypePtr t = nullptr);
  A of_type(const std::string &ir, const std::string &type); // tensor, number, known number or none
  A named(const std::string &type);  // a value that an item outside the text gives
  A container(Abstract::Kind kind, Values items, const c10::TypePtr &t);
  A constant_tensor(const at::Tensor &t, const std::string &name, const std::string &kind);
  A from_ivalue(const IValue &v, const c10::TypePtr &t, const std::string &path = "", const std::string &kind = "const");
  A element_of(const A &list);                 // what all its elements are; Nothing: it has none, or who knows
  A join(const A &a, const A &b, bool *exact); // a value that is one of both; Nothing joins with everything
  Value *materialise(const A &a);              // in the residual graph
  Value *bridge(const A &a);
  void escape(const A &a);                     // a container that TorchScript will write to
  void touch(const A &a);                      // before a container is written to
  struct Mark { size_t journal, renamed; };
  Mark mark() const { return {journal.size(), renamed.size()}; }
  void undo(const Mark &mark);

  // A block, run on trial: nothing outside it changes.
  struct Trial {
    std::shared_ptr<Function> fn;
    bool raises = false;
    std::string text;                                  // raises: what it says
    std::vector<std::pair<A, A>> written;              // containers of outside, and what they would hold
    std::map<std::string, A> state;
    std::string why;                                   // the first item that the text cannot hold; "": none
    bool writes = false, effect = false;
  };

  // import_inputs.cpp
  Values read_inputs();                        // one for each argument of forward; those that are no constants are main's parameters

  // import.cpp
  void prepare();                              // inlines, refuses what must not run
  Values run(const Values &inputs);            // results of the graph

  // import_eval.cpp
  void block_nodes(Block *b);
  void node(Node *n);
  Values outputs_of(Block *b);
  A get(const Value *v);
  void set(const Value *v, A a);
  void opaque(Node *n, const std::string &why, Values types = {});
  Trial attempt(Block *b, const std::function<void()> &before = {});
  void assertion(const A &condition, bool wanted, const std::string &text);
  std::vector<std::pair<Value *, A>> write_copies(Node *r);
  Value *none_value();
  A wrap(Value *v, const A &type);
  Item *cond_item(const A &condition, Trial &yes, Trial &no, const Values &joined, Values *out);
  Node *clone(Node *n);                        // into the residual graph, captured values materialised
  Item *add(std::unique_ptr<Item> item);
  std::string place_of(Node *n);
  bool at_top() const { return open == 0; }

  // import_control.cpp
  void branch(Node *n);
  void loop(Node *n);
  bool unroll(Node *n);

  bool special(Node *n);                       // import_ops.cpp; false: not one of these
  A number_op(const std::string &op, const Values &args); // import_numbers.cpp
  A as_tensor(const A &a);                     // of a number that a tensor is made of
  A size_of(const A &x, int64_t dim);          // import_tensors.cpp

  // import_node.cpp
  bool dispatch(Node *n, std::string *why, Values *types); // types: what is known of the results where it is not taken
  void reshape(const A &was, const A &now);
  std::set<std::string> assumed;
  void assume(const std::string &line, const Values &uses);
  A call(const std::string &op, const std::string &args, const Values &uses); // a node of one result

  // import_meta.cpp
  A sampled(const A &a, int sample);           // with numbers for its symbols; NULL: it has no such

  // import_island.cpp: what is TorchScript only becomes torchop nodes of one blob. Throws Refused where that cannot be done.
  void islands(Function &f, std::string *blob);
  void whole(Function &f, const Values &inputs, std::string *blob); // import_whole.cpp: all of it as one node

  // import_state.cpp
  void find_state();
  void get_attribute(Node *n);
  void set_attribute(Node *n);
  void opaque_attribute(const std::string &key, const A &first, const A &v); // throws Again where that widens what is known of it
  struct Entry { bool fixed = true; IValue value; std::string type; }; // what an attribute holds at the beginning of a call
  using Entries = std::map<std::string, Entry>;
  Entries initial();
  void begin(const Entries &e, std::map<std::string, std::string> *buffers); // sets current_state
  Entries end_of(std::set<std::string> *bad);
};

void each_name(const A &a, const std::function<void(const std::string &)> &f); // of a and its items
void each_input(Node *n, const std::function<void(Value *)> &f); // of n and of what its blocks hold
// The object that holds the attribute "encoder.cache", and the attribute's own name.
c10::intrusive_ptr<c10::ivalue::Object> holder_of(const torch::jit::Module &m, const std::string &key, std::string *name);

// ---------------------------------------------------------------- programs

struct Program {
  std::string text;
  std::vector<Constant> constants;
  std::string blob;
};

Program import_program(const torch::jit::Module &module, const cierge_torch_import *in); // import_drive.cpp
// import_write.cpp: im.main as text. updates: its lines that write state, with the values of `updated`.
void write(Importer &im, Program *p, const std::string &updates, const Values &updated);

// ---------------------------------------------------------------- words of the text form (import_text.cpp)

std::string quote(const std::string &s);
const char *dtype_word(at::ScalarType t);      // NULL: cierge has no such dtype
std::string dtype_argument(at::ScalarType t);  // as arguments say it, "uint8"; "": cierge has no such dtype
int dtype_code(const std::string &word);       // -1: none
std::string number_text(const IValue &v);      // "": none
std::string spelled(const A &a);               // as an operand: the number, or the name; "": neither
const char *number_word(const c10::TypePtr &t); // "int", "float", "bool"; NULL: another type
c10::TypePtr number_type(const std::string &word);
std::string dtype_of_number(const std::string &word); // of the tensor that holds one
std::string bare(const std::string &type);     // a number's without its value: "int(s0)" -> "int"
bool is_tensor_text(const std::string &type);
std::string type_text(const at::Tensor &t);    // with strides where they are not C order
std::string type_text(const std::string &dtype, const std::vector<std::string> &dims);
std::string plain_type(const std::string &type); // without strides
std::string dtype_of(const std::string &type);
std::vector<std::string> dims_of(const std::string &type);
bool fixed_size(const std::string &dim, int64_t *out); // false: a symbol, or an expression
bool wrap_dim(int64_t *dim, size_t rank);      // counted from the end where it is negative; false: there is none such
bool alike(const std::string &wider, const std::string &type); // but for sizes that were fresh in `type`

} // namespace cierge::import
#endif
