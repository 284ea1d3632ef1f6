// An operator as its rules see it, and the rules of import_ops.def.
#ifndef CIERGE_TORCH_IMPORT_OPS_H
#define CIERGE_TORCH_IMPORT_OPS_H
#include "import.h"

namespace cierge::import {

struct Op {
  Importer &im;
  Node *n;
  Values in;                 // operands
  const char *as = nullptr;  // of the row that is asked

  // The result. Each gives true, as a rule does that answers.
  bool gives(const A &a);    // a new value, made for n: its counterpart in TorchScript is n's
  bool gives(Abstract::Kind kind, Values items) { return passes(im.container(kind, std::move(items), n->output()->type())); }
  bool passes(const A &a) { return im.set(n->output(), a), true; } // a value that is there
  bool answers(IValue v) { return gives(known(std::move(v))); }

  std::string name() const { return n->kind().toQualString(); }
  c10::TypeKind result() const { return n->output()->type()->kind(); }
};

namespace rules {
#define OP(name, first, rule, as) bool rule(Op &);
#include "import_ops.def"
#undef OP
} // namespace rules

at::ScalarType dtype_at(const A &tensor);
A number_in(const A &tensor); // that it is made of; NULL: none
A counted_tensor(const A &number, const std::string &dtype, int depth); // one that a number is made into

} // namespace cierge::import
#endif
