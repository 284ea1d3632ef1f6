// Which tensors of a function share memory, and how each is made from the storage they share: what functionalise.c keeps
// while it walks the nodes. A storage has a value that stands for what it holds now; a tensor is a chain of views from there.
// (The idea is FunctionalTensorWrapper's in ATen: generations, and views that are replayed when they are used again.)
#ifndef CG_PASS_ALIAS_H
#define CG_PASS_ALIAS_H
#include "base/vec.h"
#include "pass/pass.h"

typedef struct cg_storage cg_storage;
typedef struct cg_alias cg_alias;

// Memory that a storage may be, or lie over, by what the control node gives.
typedef struct {
  cg_storage *storage;
  const cg_node *by;
  const cg_expr *apart_if; // where this holds, they are not. NULL: nobody knows
} cg_kin;
CG_VEC_TYPE(cg_kin_vec, cg_kin);

// A write that did not reach a storage where `kin.apart_if` holds: the program asserts it before the storage is used again.
typedef struct {
  cg_kin kin;
  const cg_node *write;
} cg_doubt;
CG_VEC_TYPE(cg_doubt_vec, cg_doubt);

struct cg_storage {
  cg_alias *whole;          // the tensor that the storage was made with
  int generation;           // goes up with each write
  const cg_node *written;   // the last node that wrote to it, NULL: none
  const cg_node *unclear;   // a write of which nobody can say whether it reached this storage
  const cg_node *unclear_by; // the control node or view of which that depends
  cg_kin_vec kin;
  cg_doubt_vec doubts;
  int step;                 // scratch of functionalise.c
};

// A tensor. Its geometry never changes; `now` is the value that holds its elements, as of `generation`.
struct cg_alias {
  cg_storage *storage;
  cg_alias *parent;         // NULL: the whole storage
  cg_node *view;            // made `parent` into it; NULL: the same tensor under another name
  int arg, item;            // where `view` takes the parent: argument, item of a list (-1: no list)
  int result;               // which of its results it is
  bool uncertain;           // whether it shares memory with its parent cannot be told
  cg_type type;
  cg_value *now;
  int generation;
};

// What a program's value stands for: the same tensor may have several names (x, and what x.add_() returned), and in-place
// views (t_) give a name another geometry.
typedef struct {
  cg_alias *is;
  const char *reshaped; // the last operator that changed its shape in place; NULL: none
  cg_span at;           // and where
  bool moved;           // one of them changed the order of its elements, or how many they are
} cg_name;

typedef struct {
  cg_pipeline *p;
  cg_module *m;
  cg_fn *fn;
} cg_aliasing;

cg_name *cg_name_of(cg_aliasing *c, cg_value *v);   // made on first use: a tensor with memory of its own
cg_name *cg_name_set(cg_aliasing *c, cg_value *v, cg_alias *a);
cg_alias *cg_alias_view(cg_aliasing *c, cg_alias *parent, cg_node *view, int arg, int item, int result, cg_value *v);
cg_alias *cg_alias_same(cg_aliasing *c, cg_alias *parent, cg_value *v); // shares memory and geometry
// a and b may share memory, by what `by` gives. Whoever may share memory with the one may with the other.
void cg_alias_may_meet(cg_aliasing *c, cg_alias *a, cg_alias *b, const cg_node *by);
// b is a copy of a where `holds`.
void cg_alias_copied_if(cg_aliasing *c, cg_alias *a, cg_alias *b, const cg_node *by, const cg_expr *holds);
// The value of a at node `before` (NULL: the end); views are replayed there if something was written since.
cg_value *cg_alias_now(cg_aliasing *c, cg_alias *a, cg_node *before);
// `value` was written to a: the storage and whatever else lies over it follow. `by` made it, new nodes go before `before`.
void cg_alias_write(cg_aliasing *c, cg_alias *a, cg_value *value, const cg_node *by, cg_node *before);
// What the parent holds after `value` was written to its view a; NULL: no inverse is known (inverse.c).
cg_value *cg_view_inverse(cg_aliasing *c, const cg_alias *a, cg_value *parent, cg_value *value, const cg_node *by, cg_node *before);

// Whether elements of the view a share memory (unfold, expand). The tensor above it into which it can be written by its recorded
// geometry alone, NULL: none; and what that one holds then, NULL: the geometry does not tell.
bool cg_view_overlaps(const cg_alias *a);
cg_alias *cg_view_base(cg_aliasing *c, const cg_alias *a);
cg_value *cg_view_into(cg_aliasing *c, const cg_alias *a, const cg_alias *base, cg_value *held, cg_value *value, const cg_node *by,
                       cg_node *before);

// CG_SAME: another tensor over the same elements; CG_SELF: the argument itself is given back.
typedef enum { CG_NO_ALIAS, CG_ALIAS, CG_SAME, CG_SELF, CG_MAYBE_ALIAS } cg_sharing;
// How result i of a node that writes nothing shares memory: with which argument (and item of its list, -1: none). alias_rules.c
cg_sharing cg_node_shares(const cg_node *n, int result, int *arg, int *item);
// Where it is no view of `from` by the hints of sizes: on what that depends; NULL: on nothing.
const cg_expr *cg_node_copies_if(const cg_node *n, const cg_value *from);
// The schema's result that the node's result i belongs to (lists count as their items), and which item of it; NULL: behind them.
const cg_schema_arg *cg_node_ret(const cg_node *n, int result, int *item);

// Whether a node writes to argument i, by its schema or, as batch_norm does when it trains, without a word there. functionalise.c
bool cg_node_writes(const cg_node *n, int i);

// alias_control.c: what result r of a control node or a torchop may lie over: operands of it, constants, tensors that its sub-graphs
// make, other results.
cg_value_vec cg_node_lies_over(const cg_node *n, int r);
// Sub-graphs that speak of a constant get it as an operand.
void cg_hand_over_state(cg_module *m, cg_value *constant);
bool cg_sub_graphs_speak_of(const cg_module *m, cg_value *constant);
// shared_state.c: marks the values of constants that main writes to, through whatever views, by a node or an update.
void cg_mark_written(cg_module *m);
// Buffers that lie over one storage, and one of them is written to, become views of one.
void cg_share_state(cg_module *m);
// resize.c: what resize_, resize_as_ and set_ do to `self` (and take from their second argument, source, NULL: it has none);
// false: n is none of them, or what it does is not known at compile time.
bool cg_change_memory(cg_aliasing *c, cg_node *n, cg_name *self, cg_name *source);
// inline.c: graphs wrapped by no_grad() and the like become part of their function.
void cg_inline_wrappers(cg_module *m);
// autocast.c: makes the casts in f and its sub-graphs that torch.autocast('cpu', lower) makes.
void cg_autocast(cg_module *m, cg_fn *f, cg_dtype lower);
#endif
