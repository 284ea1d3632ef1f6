// Loads modules of TorchScript, and reads in their methods' graphs what the compiler wants to know.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/passes/peephole.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <functional>
#include <istream>
#include <set>
#include <streambuf>

#include "aliases.h"
#include "base/script_check.h"
#include "script.h"
#include "unsafe.h"

namespace cierge {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// ---------------------------------------------------------------- from memory

struct Bytes : std::streambuf {
  Bytes(const void *at, size_t n) {
    char *p = (char *)at;
    setg(p, p, p + n);
  }
  pos_type seekoff(off_type off, std::ios_base::seekdir from, std::ios_base::openmode) override {
    char *base = from == std::ios_base::beg ? eback() : from == std::ios_base::cur ? gptr() : egptr();
    if (off < eback() - base || off > egptr() - base) return pos_type(off_type(-1));
    setg(eback(), base + off, egptr());
    return pos_type(gptr() - eback());
  }
  pos_type seekpos(pos_type pos, std::ios_base::openmode mode) override { return seekoff(off_type(pos), std::ios_base::beg, mode); }
};

torch::jit::Module parse(const void *bytes, size_t size) {
  Bytes memory(bytes, size);
  std::istream in(&memory);
  return torch::jit::load(in, at::kCPU, false);
}

// ---------------------------------------------------------------- operators

void each_node(Block *b, const std::function<void(Node *)> &f) {
  for (Node *n : b->nodes()) {
    f(n);
    for (Block *inner : n->blocks()) each_node(inner, f);
  }
}

std::string key_of(const Node *n) {
  const c10::FunctionSchema *s = n->maybeSchema();
  std::string name = n->kind().toQualString();
  return s && !s->overload_name().empty() ? name + "." + s->overload_name() : name;
}

// ---------------------------------------------------------------- what a graph says

bool is_false(const Node *n, const char *name) {
  const c10::FunctionSchema *s = n->maybeSchema();
  std::optional<int> at = s ? s->argumentIndexWithName(name) : std::nullopt;
  if (!at || (size_t)*at >= n->inputs().size()) return false;
  auto v = torch::jit::toIValue(n->input((size_t)*at));
  return v && ((v->isBool() && !v->toBool()) || (v->isDouble() && v->toDouble() == 0));
}

bool draws(const Node *n) {
  const c10::FunctionSchema *s = n->maybeSchema();
  if (!s || is_false(n, "train") || is_false(n, "training") || is_false(n, "dropout_p")) return false;
  auto op = c10::Dispatcher::singleton().findSchema({s->name(), s->overload_name()});
  return n->isNondeterministic() || (op && op->hasTag(at::Tag::nondeterministic_seeded));
}

bool is_library_op(const Node *n) {
  static const std::set<std::string> pytorch = {"aten", "prim", "prims", "quantized", "_quantized", "sparse", "mkldnn", "mkldnn_prepacked", "onednn", "prepacked",
                                                "xnnpack", "profiler", "inductor", "static_runtime", "cuda", "attr", "inference"};
  return n->maybeSchema() && !pytorch.count(n->kind().ns().toUnqualString());
}

void open_tuples(const c10::TypePtr &t, std::vector<c10::TypePtr> &out) {
  if (t->kind() != c10::TypeKind::TupleType) out.push_back(t);
  else
    for (const c10::TypePtr &inner : t->containedTypes()) open_tuples(inner, out);
}

bool may_write(const Aliases &db, Graph &g, Value *v) {
  if (db.has_writers(v)) return true;
  if (v->type()->kind() == c10::TypeKind::TensorType || v->type()->containedTypes().empty()) return false;
  bool written = false; // a list's or tuple's items are told apart from nothing
  each_node(g.block(), [&](Node *n) {
    for (Value *in : n->inputs())
      written = written || (db.writes(n) && db.may_meet(in, v));
  });
  return written;
}

bool may_keep(const Aliases &db, Graph &g, Value *v) {
  bool kept = false;
  each_node(g.block(), [&](Node *n) { kept = kept || (n->kind() == c10::prim::SetAttr && db.may_meet(n->input(1), v)); });
  return kept;
}

// Which arguments, and which of all returns (tuples opened), a return may share memory with.
void shared_with(const Aliases &db, Graph &g, Value *returned, const std::vector<Value *> &all, std::vector<unsigned char> &out) {
  for (size_t k = 1; k < g.inputs().size(); k++) out.push_back(db.may_meet(returned, g.inputs()[k]));
  for (Value *v : all) out.push_back(db.may_meet(returned, v));
}

void open_values(Value *v, std::vector<Value *> &out) { // what tuples were made of, where that is known
  if (v->type()->kind() != c10::TypeKind::TupleType) {
    out.push_back(v);
    return;
  }
  if (v->node()->kind() == c10::prim::TupleConstruct) {
    for (Value *in : v->node()->inputs()) open_values(in, out);
    return;
  }
  std::vector<c10::TypePtr> types;
  open_tuples(v->type(), types);
  out.insert(out.end(), types.size(), v);
}

void read_graph(Method &m) {
  Graph &g = *m.graph;
  const Aliases db(m.graph);
  std::set<std::string> ops;
  each_node(g.block(), [&](Node *n) {
    m.draws = m.draws || draws(n);
    m.effect = m.effect || n->hasSideEffects();
    if (n->kind() == c10::prim::SetAttr) m.stateful = true;
    if (n->kind() == c10::prim::GetAttr && n->output()->type()->kind() != c10::TypeKind::ClassType) m.stateful = true;
    if (is_library_op(n)) ops.insert(key_of(n));
  });
  m.ops.assign(ops.begin(), ops.end());
  for (size_t k = 1; k < g.inputs().size(); k++) {
    m.args.push_back(g.inputs()[k]->type());
    m.writes.push_back(may_write(db, g, g.inputs()[k]));
    m.keeps.push_back(may_keep(db, g, g.inputs()[k]));
  }
  std::vector<Value *> values;
  for (Value *v : g.outputs()) {
    open_tuples(v->type(), m.returns);
    open_values(v, values);
  }
  for (Value *v : values) shared_with(db, g, v, values, m.shares);
  if (g.outputs().size() == 1 && m.returns[0]->kind() == c10::TypeKind::NoneType) m.returns.clear(), m.shares.clear(); // it returns nothing
}

void name(const std::vector<std::string> &from, std::vector<const char *> &to) {
  for (const std::string &s : from) to.push_back(s.c_str());
}

std::unique_ptr<Method> make_method(const torch::jit::Module &module, const std::string &name_of) {
  auto found = module.find_method(name_of);
  if (!found) throw std::runtime_error("it has no method " + name_of);
  auto m = std::make_unique<Method>();
  m->graph = found->graph()->copy();
  torch::jit::Inline(*m->graph);
  torch::jit::PeepholeOptimize(m->graph);
  const auto &declared = found->function().getSchema().arguments();
  for (size_t k = 1; k < declared.size(); k++) m->defaults.push_back(declared[k].default_value());
  read_graph(*m);
  for (const c10::TypePtr &t : m->args) m->arg_type.push_back(t->repr_str());
  for (const c10::TypePtr &t : m->returns) m->return_type.push_back(t->repr_str());
  name(m->ops, m->op_names), name(m->arg_type, m->arg_type_names), name(m->return_type, m->return_type_names);
  auto ready = m->graph->copy();
  torch::jit::runRequiredPasses(ready);
  m->code = torch::jit::Code(ready, name_of);
  return m;
}

// Whatever no method changes becomes a constant of the methods. A module that cannot be frozen is used as it is.
torch::jit::Module frozen(const torch::jit::Module &m) {
  std::vector<std::string> methods;
  for (const torch::jit::Method &x : m.get_methods())
    if (x.name().compare(0, 2, "__")) methods.push_back(x.name());
  try {
    return torch::jit::freeze_module(m, methods);
  } catch (const std::exception &) {
    return m;
  }
}

} // namespace

std::unique_ptr<cierge_torch_script> load_script(const void *bytes, size_t size, const char *const *allow, int n_allow) {
  char text[512];
  if (!cg_script_check(bytes, size, text, sizeof text)) throw std::runtime_error(text);
  refuse_unsafe_archive(bytes, size, {allow, n_allow});
  torch::jit::Module m = parse(bytes, size);
  refuse_unsafe_module(m, {allow, n_allow});
  auto s = std::make_unique<cierge_torch_script>();
  s->module = frozen(m);
  return s;
}

const Method &method_of(cierge_torch_script &s, const std::string &name) {
  std::lock_guard<std::mutex> guard(s.lock);
  std::unique_ptr<Method> &m = s.methods[name];
  if (!m) {
    try {
      m = make_method(s.module, name);
    } catch (...) {
      s.methods.erase(name);
      throw;
    }
  }
  return *m;
}

c10::intrusive_ptr<c10::ivalue::Object> fresh_state(const cierge_torch_script &s) { return s.module._ivalue()->deepcopy(); }

} // namespace cierge
