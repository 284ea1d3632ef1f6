// Looks for operators that reach beyond tensors, in names, in archives, in graphs.
#include "unsafe.h"

#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>

#include <malloc.h>

#include <cstdio>
#include <functional>
#include <unordered_set>

#include "artifact/unsafe.h"

namespace cierge {
namespace {

using namespace torch::jit;

[[noreturn]] void refuse(const char *name, const char *what) {
  char text[512];
  snprintf(text, sizeof text, CG_UNSAFE_TEXT, name, what, name);
  throw Unsafe(text);
}

// ---------------------------------------------------------------- archives

struct Archive_bytes : caffe2::serialize::ReadAdapterInterface {
  const char *at;
  size_t n;
  Archive_bytes(const void *bytes, size_t size) : at((const char *)bytes), n(size) {}
  size_t size() const override { return n; }
  size_t read(uint64_t pos, void *buf, size_t want, const char *) const override {
    if (pos >= n) return 0;
    want = std::min(want, (size_t)(n - pos));
    memcpy(buf, at + pos, want);
    return want;
  }
};

bool ends_with(const std::string &s, const char *tail) {
  size_t k = strlen(tail);
  return s.size() >= k && !s.compare(s.size() - k, k, tail);
}

bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

bool has_word(const std::string &text, const std::string &word) {
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    size_t end = at + word.size();
    if ((!at || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return true;
  }
  return false;
}

// The word by which source text names a row of the table: "save", "c10d"; "" for what no text can name.
std::string word_of(const char *row) {
  std::string s = row;
  if (ends_with(s, "::")) return s.substr(0, s.size() - 2);
  size_t colons = s.find("::");
  return colons == std::string::npos ? "" : s.substr(colons + 2);
}

} // namespace

void refuse_unsafe(const std::string &op, Allowed allowed) {
  const char *what = cg_unsafe_op(op.c_str());
  if (what && !cg_unsafe_allowed(op.c_str(), allowed.name, allowed.n)) refuse(op.c_str(), what);
}

void refuse_unsafe_archive(const void *bytes, size_t size, Allowed allowed) {
  caffe2::serialize::PyTorchStreamReader reader(std::make_shared<Archive_bytes>(bytes, size));
  if (reader.hasRecord("model.json")) throw std::runtime_error("this TorchScript archive was written by a PyTorch older than 1.4; save it again with a newer one");
  std::string code, pickles;
  for (const std::string &name : reader.getAllRecords()) {
    bool is_code = ends_with(name, ".py");
    if (!is_code && !ends_with(name, ".pkl")) continue;
    auto [data, n] = reader.getRecord(name);
    (is_code ? code : pickles).append((const char *)data.get(), n);
    (is_code ? code : pickles).push_back('\n');
  }
  bool runs = has_word(code, "__setstate__"); // the only code that loading calls
  for (const auto &row : cg_unsafe_ops) {
    bool is_class = row.name[strlen(row.name) - 1] == '.';
    std::string word = is_class ? std::string(row.name, strlen(row.name) - 1) : word_of(row.name);
    bool found = is_class ? pickles.find(word) != std::string::npos : runs && has_word(code, word);
    if (found && !cg_unsafe_allowed(row.name, allowed.name, allowed.n)) refuse(row.name, is_class ? row.what : (std::string(row.what) + ", perhaps when the file is read").c_str());
  }
}

// ---------------------------------------------------------------- graphs

namespace {

struct Walk {
  Allowed allowed;
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
      if (bound != std::string::npos) refuse_unsafe(name.substr(bound), allowed);
    }
    for (Function *f : c->methods()) functions.push_back(f);
    for (Function *f : c->getForwardHooks()) functions.push_back(f);
    for (Function *f : c->getForwardPreHooks()) functions.push_back(f);
  }
  if (auto f = t->cast<c10::FunctionType>()) functions.push_back(f->function());
  for (const c10::TypePtr &inner : t->containedTypes()) type(inner);
}

// An archive says of a storage how many elements it has, apart from its bytes, and LibTorch believes it: tensors then reach
// beyond what was allocated.
void Walk::tensor(const at::Tensor &t) {
  if (!t.defined()) return;
  if (t.layout() == at::kSparse) return tensor(t._indices()), tensor(t._values());
  if (!t.has_storage() || !t.is_cpu() || !seen.insert(t.storage().unsafeGetStorageImpl()).second) return;
  void *at = t.storage().mutable_data();
  if (t.storage().nbytes() > malloc_usable_size(at))
    throw std::runtime_error("a tensor has a storage of " + std::to_string(t.storage().nbytes()) + " bytes, of which the archive holds fewer");
}

// Attributes that are declared as an interface hold objects of classes that no type names.
void Walk::object(const c10::IValue &v) {
  if (v.isTensor()) {
    tensor(v.toTensor());
  } else if (v.isObject()) {
    if (!seen.insert(v.toObject().get()).second) return;
    type(v.type());
    for (const c10::IValue &slot : v.toObject()->slots()) object(slot);
  } else if (v.isTuple()) {
    for (const c10::IValue &x : v.toTuple()->elements()) object(x);
  } else if (v.isList() && !v.isIntList() && !v.isDoubleList() && !v.isBoolList()) {
    for (const c10::IValue &x : v.toListRef()) object(x);
  } else if (v.isGenericDict()) {
    for (const auto &x : v.toGenericDict()) object(x.value());
  }
}

void Walk::node(Node *n) {
  refuse_unsafe(n->kind().toQualString(), allowed);
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
  Walk w{allowed, {}, {}};
  w.object(m._ivalue());
  for (Function *f : m._ivalue()->compilation_unit()->get_functions()) w.functions.push_back(f);
  w.all();
}

} // namespace cierge
