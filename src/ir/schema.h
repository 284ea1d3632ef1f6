// Operator schemas in PyTorch's own notation, e.g.
//   aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor
//   aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)
// Every node has one: dispatcher ops from PyTorch, scalar and control ops from cierge's own small table.
#ifndef CG_IR_SCHEMA_H
#define CG_IR_SCHEMA_H
#include "base/session.h"
#include "base/map.h"

typedef enum {
  CG_S_TENSOR, CG_S_INT, CG_S_FLOAT, CG_S_BOOL, CG_S_SCALAR, // Scalar: int, float, bool or complex
  CG_S_STR, CG_S_DTYPE, CG_S_LAYOUT, CG_S_DEVICE, CG_S_MEMORY_FORMAT, CG_S_GENERATOR,
  CG_S_GRAPH,   // a sub-graph of a control node
  CG_S_BLOB,    // bytes that the program carries: torchop's script
  CG_S_ANY,     // whatever value: control nodes and torchop
  CG_S_OTHER,   // Storage, Stream, QScheme, classes …: text only
} cg_schema_kind;

typedef struct {
  cg_schema_kind kind;
  bool optional;       // T?, T[]?: the argument may be None
  bool list;           // T[] (a list of lists is OTHER)
  bool item_optional;  // T?[]
  bool list_optional;  // T[]? (optional is set as well)
  int list_size;       // T[2]: 2, else 0
  bool symbolic;       // SymInt …
  const char *text;    // as written: "SymInt[2]?"
} cg_schema_type;

typedef struct {
  const char *name;
  cg_schema_type type;
  const char *default_text; // NULL: none
  bool keyword_only;
  char alias_set;           // 'a' in Tensor(a!), 0: none; '*' for a wildcard
  bool alias_write;         // '!'
  bool is_out;              // an out= argument: keyword-only and written to
} cg_schema_arg;

typedef struct cg_schema {
  const char *text;     // whole
  const char *ns;       // "aten"
  const char *name;     // "aten::add"
  const char *overload; // "Tensor", "" for default
  const char *key;      // "aten::add.Tensor", "aten::relu" when the overload is the default
  cg_schema_arg *arg;
  int nargs;
  cg_schema_arg *ret;   // names may be NULL
  int nrets;
  bool variadic_args;   // "...": more arguments than declared may follow (torchop, control nodes)
  bool variadic_rets;
  bool mutates;         // some argument has alias_write
  bool is_view;         // some result has an alias set that no '!' goes with
} cg_schema;

// Keys: "ns::name" or "ns::name.overload" for the dispatcher's operators (custom ones too); dots only for cierge's own
// ("_operator.add", "higher_order.cond") or neither ("torchop"). Where "..." stands among the arguments, a node's
// declared arguments come first, then the others: torchop's script and method are arguments 0 and 1, its inputs 2 and up.

// Parses a schema text; fails the session with CIERGE_BAD_MODEL naming the column where it does not read.
const cg_schema *cg_schema_parse(cg_session *s, const char *text);
// The table of ATen (generated: schema_aten.inc) and of cierge's scalar and control ops (ops/); parsed lazily, cached in `cache`.
// NULL: not known. key as above; "aten::relu.default" is taken too.
const cg_schema *cg_schema_find(cg_session *s, cg_map *cache, const char *key);
// The schemas that are built in, by number: 0 … cg_schema_count()-1.
size_t cg_schema_count(void);
const char *cg_schema_text(size_t i);
// Whether the operator may draw random numbers: PyTorch's tag (generated: random_aten.inc), or it takes a generator.
bool cg_schema_may_draw(const cg_schema *c);
int cg_schema_arg_index(const cg_schema *c, const char *name); // -1: none
#endif
