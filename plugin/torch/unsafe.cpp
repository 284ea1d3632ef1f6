// Looks for operators that reach beyond tensors, in names, in archives, in graphs.
#include "unsafe.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>

#include <malloc.h>

#include <cstdio>
#include <cstring>
#include <unordered_set>

#include "artifact/unsafe.h"
#include "base/script_check.h"

namespace cierge {
namespace {

using namespace torch::jit;

// What was found that is not allowed: each name once, where it stands first.
struct Found {
  Allowed allowed;
  std::unordered_set<std::string> seen;
  std::string what, names;

  void add(const std::string &name, const char *does, const std::string &place) {
    if (!does || cg_unsafe_allowed(name.c_str(), allowed.name, allowed.n) || !seen.insert(name).second) return;
    const char *comma = seen.size() > 1 ? "," : "";
    what += comma + std::string(*comma ? " " : "") + place + name + " " + does;
    names += comma + name;
  }

  void refuse() const {
    const char *format = CG_UNSAFE_TEXT, *which = seen.size() > 1 ? "them" : "it";
    if (seen.empty()) return;
    std::string text(what.size() + names.size() + strlen(format) + strlen(which), 0);
    text.resize((size_t)snprintf(text.data(), text.size(), format, what.c_str(), names.c_str(), which));
    throw Unsafe(text);
  }
};

} // namespace

void refuse_unsafe(const std::string &op, Allowed allowed) {
  Found found{allowed, {}, {}, {}};
  found.add(op, cg_unsafe_op(op.c_str()), "");
  found.refuse();
}

void refuse_unsafe_archive(const void *bytes, size_t size, Allowed allowed) {
  char name[256], why[512];
  Found found{allowed, {}, {}, {}};
  auto note = [](void *u, const char *name) {
    ((Found *)u)->add(name, cg_unsafe_op(name), "");
    return true;
  };
  bool whole = cg_script_runs(bytes, size, note, &found, name, sizeof name, why, sizeof why);
  found.refuse();
  if (!whole) throw std::runtime_error(why);
}

// ---------------------------------------------------------------- graphs

namespace {

struct Walk {
  Found found;
  std::unordered_set<const void *> seen; // types, functions, objects
  std::vector<Function *> functions;     // still to be read
  void type(const c10::TypePtr &t);
  void object(const c10::IValue &v);
  void tensor(const at::Tensor &t);
  void block(Block *b);
  void node(Node *n);
  void all();
};

void Walk::type(const c10::TypePtr &t) {
  if (!seen.insert(t.get()).second) return;
  if (auto c = t->cast<c10::ClassType>()) {
    if (c->name()) {
      std::string name = c->name()->qualifiedName();
      size_t bound = name.find("torch.classes.");
      if (bound != std::string::npos) found.add(name.substr(bound), cg_unsafe_op(name.c_str() + bound), "");
    }
    for (Function *f : c->methods()) functions.push_back(f);
    for (Function *f : c->getForwardHooks()) functions.push_back(f);
    for (Function *f : c->getForwardPreHooks()) functions.push_back(f);
  }
  if (auto f = t->cast<c10::FunctionType>()) functions.push_back(f->function());
  for (const c10::TypePtr &inner : t->containedTypes()) type(inner);
}

// An archive says of a storage how many elements it has, apart from its bytes, and of a tensor where in its storage its elements lie;
// LibTorch believes both: tensors then reach beyond what was allocated. Indices of sparse tensors and scales by channel likewise.
void Walk::tensor(const at::Tensor &t) {
  if (!t.defined()) return;
  if (t.layout() == at::kSparse) {
    tensor(t._indices()), tensor(t._values());
    at::_validate_sparse_coo_tensor_args(t._indices(), t._values(), t.sizes());
    return;
  }
  if (t.layout() == at::kSparseCsr) {
    tensor(t.crow_indices()), tensor(t.col_indices()), tensor(t.values());
    at::_validate_sparse_csr_tensor_args(t.crow_indices(), t.col_indices(), t.values(), t.sizes());
    return;
  }
  if (t.layout() != at::kStrided) throw std::runtime_error("a tensor has a layout that is not read from archives: " + std::string(toString(t.layout())));
  if (!t.has_storage() || !t.is_cpu()) return;
  if (t.is_quantized() && t.qscheme() != at::kPerTensorAffine) {
    tensor(t.q_per_channel_scales()), tensor(t.q_per_channel_zero_points());
    int64_t axis = t.q_per_channel_axis();
    if (axis < 0 || axis >= t.dim() || t.q_per_channel_scales().numel() != t.size(axis) || t.q_per_channel_zero_points().numel() != t.size(axis))
      throw std::runtime_error("a quantised tensor has another number of scales than channels");
  }
  const size_t bytes = t.storage().nbytes();
  if (seen.insert(t.storage().unsafeGetStorageImpl()).second && bytes > malloc_usable_size(t.storage().mutable_data()))
    throw std::runtime_error("a tensor has a storage of " + std::to_string(bytes) + " bytes, of which the archive holds fewer");
  uint64_t last = (uint64_t)t.storage_offset();
  bool beyond = t.storage_offset() < 0;
  for (int64_t i = 0; i < t.dim(); i++) {
    uint64_t more;
    beyond |= t.size(i) < 0 || (t.size(i) && (t.stride(i) < 0 || __builtin_mul_overflow((uint64_t)t.size(i) - 1, (uint64_t)t.stride(i), &more) || __builtin_add_overflow(last, more, &last)));
    if (t.size(i) == 0 && !beyond) return; // of no elements
  }
  if (beyond || last >= bytes / t.element_size()) throw std::runtime_error("a tensor reaches beyond its storage of " + std::to_string(bytes) + " bytes");
}

// Whether a value is what its type says. An archive may put any object where another class is declared, and the interpreter finds
// attributes by number; it looks itself whether a value is an object, a tensor or a number.
bool fits(const c10::IValue &v, const c10::TypePtr &t) {
  if (auto o = t->cast<c10::OptionalType>()) return v.isNone() || fits(v, o->getElementType());
  if (t->kind() == c10::TypeKind::AnyType || t->kind() == c10::TypeKind::UnionType) return true;
  if (v.isObject()) return v.type()->isSubtypeOf(*t);
  if (v.isTuple()) {
    const auto &items = v.toTupleRef().elements();
    auto types = t->cast<c10::TupleType>();
    if (!types || types->elements().size() != items.size()) return false;
    for (size_t i = 0; i < items.size(); i++)
      if (!fits(items[i], types->elements()[i])) return false;
  }
  if (v.isList()) {
    auto list = t->cast<c10::ListType>();
    if (list && list->getElementType()->containedTypes().empty() && list->getElementType()->kind() != c10::TypeKind::ClassType) return true;
    for (const c10::IValue &x : v.toListRef())
      if (!list || !fits(x, list->getElementType())) return false;
  }
  if (v.isGenericDict()) {
    auto dict = t->cast<c10::DictType>();
    for (const auto &x : v.toGenericDict())
      if (!dict || !fits(x.value(), dict->getValueType())) return false;
  }
  return true;
}

// Attributes that are declared as an interface hold objects of classes that no type names.
void Walk::object(const c10::IValue &v) {
  if (v.isTensor()) {
    tensor(v.toTensor());
  } else if (v.isObject()) {
    if (!seen.insert(v.toObject().get()).second) return;
    type(v.type());
    const auto &slots = v.toObject()->slots();
    auto c = v.toObject()->type();
    for (size_t i = 0; i < slots.size(); i++) {
      if (i < c->numAttributes() && !fits(slots[i], c->getAttribute(i)))
        throw std::runtime_error("attribute " + c->getAttributeName(i) + " is a " + slots[i].type()->repr_str() + ", where " + c->getAttribute(i)->repr_str() + " is declared");
      object(slots[i]);
    }
  } else if (v.isTuple()) {
    for (const c10::IValue &x : v.toTuple()->elements()) object(x);
  } else if (v.isList() && !v.isIntList() && !v.isDoubleList() && !v.isBoolList()) {
    for (const c10::IValue &x : v.toListRef()) object(x);
  } else if (v.isGenericDict()) {
    for (const auto &x : v.toGenericDict()) object(x.key()), object(x.value());
  }
}

bool has_class(const c10::TypePtr &t) {
  if (t->kind() == c10::TypeKind::ClassType || t->kind() == c10::TypeKind::InterfaceType) return true;
  for (const c10::TypePtr &inner : t->containedTypes())
    if (has_class(inner)) return true;
  return false;
}

// Without a look at the value; what PyTorch's own compiler found out about None is all that can be believed of objects.
bool believes(Node *n) {
  if (n->kind() != c10::prim::unchecked_cast || !has_class(n->output()->type())) return false;
  auto o = n->input()->type()->cast<c10::OptionalType>();
  return !n->input()->type()->isSubtypeOf(*n->output()->type()) && !(o && o->getElementType()->isSubtypeOf(*n->output()->type()));
}

// As the model's source has it, where the archive says.
std::string place_of(Node *n) {
  SourceRange range = n->sourceRange();
  if (range.source())
    if (auto made = range.source()->findSourceRangeThatGenerated(range)) range = *made;
  auto at = range.file_line_col();
  if (!at || std::get<0>(*at).empty()) return "";
  return std::get<0>(*at) + ":" + std::to_string(std::get<1>(*at)) + ": ";
}

void Walk::node(Node *n) {
  const std::string name = n->kind().toQualString();
  found.add(name, cg_unsafe_op(name.c_str()), place_of(n));
  if (believes(n)) found.add(name, "takes a value for an object unseen", place_of(n));
  for (Value *v : n->outputs()) type(v->type());
  for (Symbol name : n->attributeNames()) {
    if (n->kindOf(name) == AttributeKind::g) block(n->g(name)->block());
    if (n->kindOf(name) == AttributeKind::gs)
      for (const auto &g : n->gs(name)) block(g->block());
    if (n->kindOf(name) == AttributeKind::t) tensor(n->t(name));
    if (n->kindOf(name) == AttributeKind::ts)
      for (const at::Tensor &t : n->ts(name)) tensor(t);
    if (n->kindOf(name) == AttributeKind::ival) object(n->ival(name));
  }
  for (Block *b : n->blocks()) block(b);
}

void Walk::block(Block *b) {
  for (Value *v : b->inputs()) type(v->type());
  for (Node *n : b->nodes()) node(n);
}

void Walk::all() {
  while (!functions.empty()) {
    Function *f = functions.back();
    functions.pop_back();
    if (!seen.insert(f).second) continue;
    f->ensure_defined();
    if (GraphFunction *g = tryToGraphFunction(*f)) block(g->graph()->block());
  }
}

} // namespace

void refuse_unsafe_module(const Module &m, Allowed allowed) {
  Walk w{{allowed, {}, {}, {}}, {}, {}};
  w.object(m._ivalue());
  for (Function *f : m._ivalue()->compilation_unit()->get_functions()) w.functions.push_back(f);
  w.all();
  w.found.refuse();
}

} // namespace cierge
