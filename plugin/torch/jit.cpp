// Mode "script": a region's calls as one TorchScript graph, run by its interpreter as it stands.
//
// None of PyTorch's graph passes sees it, nor does the profiling executor: those for frozen graphs give wrong values in
// silence (doc/overhead.md), and nobody mends them.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <stdexcept>

#include "script.h"

namespace cierge {

struct Script {
  std::shared_ptr<torch::jit::Graph> graph;
  torch::jit::Code code;
};

namespace {

using c10::IValue;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

struct Builder {
  const cierge_torch_region &r;
  Graph &graph;
  std::vector<Value *> value; // by register

  Value *constant(const IValue &v) {
    bool none = v.isNone() || (v.isTensor() && !v.toTensor().defined());
    return graph.insertConstant(none ? IValue() : v);
  }

  Value *list(const Arg &a, const c10::TypePtr &type) {
    c10::TypePtr element = type->castRaw<c10::ListType>()->getElementType();
    std::vector<Value *> items;
    for (const Arg &i : a.items) items.push_back(argument(i, element));
    Node *n = graph.insertNode(graph.createList(element, items));
    return n->output();
  }

  Value *argument(const Arg &a, c10::TypePtr type) {
    if (a.kind == Arg::Constant) return constant(a.constant);
    if (type->kind() == c10::TypeKind::OptionalType) type = type->castRaw<c10::OptionalType>()->getElementType();
    if (a.kind == Arg::Register) return value[a.reg];
    if (a.kind == Arg::Items) return list(a, type);
    fail("a graph cannot hold strides, nor sizes that are computed while it runs");
  }
};

c10::TypePtr type_of(const cierge_torch_value &v) {
  switch (v.kind) {
  case 0: return c10::TensorType::create((at::ScalarType)v.dtype, c10::Device(at::kCPU), (size_t)v.rank, false);
  case 1: return c10::IntType::get();
  case 2: return c10::FloatType::get();
  case 3: return c10::BoolType::get();
  default: return c10::NoneType::get();
  }
}

void add_inputs(Builder &b, const cierge_torch_region_options &o) {
  if (!o.inputs) fail("a graph needs to know the types of its inputs");
  for (uint32_t k = 0; k < b.r.n_inputs; k++)
    if (!b.r.constant[k]) b.value[k] = b.graph.addInput()->setType(type_of(o.inputs[k]));
  for (uint32_t k = 0; k < b.r.n_inputs; k++)
    if (b.r.constant[k]) b.value[k] = b.graph.insertConstant(b.r.constants[k]);
}

// ---------------------------------------------------------------- nodes

std::string key_of(const c10::OperatorName &n) { return n.name + (n.overload_name.empty() ? "" : "." + n.overload_name); }

// The interpreter's messages quote the source of what failed: the number of the call.
torch::jit::SourceRange place(size_t call) {
  std::string text = "[call " + std::to_string(call) + "]";
  size_t n = text.size();
  return {std::make_shared<torch::jit::Source>(std::move(text)), 0, n};
}

// What the node gives, a list among it opened: it is as long as `count` results in all make it.
std::vector<Value *> opened(Builder &b, Node *n, size_t count) {
  auto is_list = [](const Value *v) { return v->type()->kind() == c10::TypeKind::ListType; };
  size_t lists = (size_t)std::count_if(n->outputs().begin(), n->outputs().end(), is_list), single = n->outputs().size() - lists;
  if (lists > 1 || (lists && count < single)) fail(n->kind().toQualString() + std::string(" gives lists whose lengths a graph cannot tell"));
  std::vector<Value *> all;
  for (Value *v : n->outputs()) {
    if (!is_list(v)) {
      all.push_back(v);
      continue;
    }
    Node *unpack = b.graph.insertNode(b.graph.createListUnpack(v, count - single));
    all.insert(all.end(), unpack->outputs().begin(), unpack->outputs().end());
  }
  return all;
}

void add_call(Builder &b, size_t k) {
  const Call &c = b.r.calls[k];
  if (c.script) fail("a graph of a region cannot hold a script's call");
  if (!c.mutated.empty()) fail("a graph cannot hold " + key_of(c.op.operator_name()) + ": it writes to its arguments");
  const c10::FunctionSchema &schema = c.op.schema();
  std::vector<Value *> inputs;
  for (size_t i = 0; i < c.args.size(); i++) inputs.push_back(b.argument(c.args[i], schema.arguments()[i].type()));
  Node *n = b.graph.insertNode(b.graph.create(c10::Symbol::fromQualString(schema.name()), inputs, schema.returns().size()));
  n->setSourceRange(place(k));
  for (size_t i = 0; i < schema.returns().size(); i++) n->outputs()[i]->setType(schema.returns()[i].type());
  const torch::jit::Operator *found = n->maybeOperator();
  if (found && found->schema().operator_name() != c.op.operator_name()) { // f(None) fits several: which None it is tells
    for (size_t i = 0; i < inputs.size(); i++)
      if (inputs[i]->type()->kind() == c10::TypeKind::NoneType) inputs[i]->setType(schema.arguments()[i].type());
    found = n->maybeOperator();
  }
  if (!found || found->schema().operator_name() != c.op.operator_name())
    fail("TorchScript takes " + key_of(c.op.operator_name()) + " for " + (found ? key_of(found->schema().operator_name()) : "no operator at all"));
  std::vector<Value *> results = opened(b, n, c.results.size());
  for (size_t i = 0; i < c.results.size() && i < results.size(); i++)
    if (c.results[i] != 0xffffffffu) b.value[c.results[i]] = results[i];
}

} // namespace

void make_script(cierge_torch_region &r, const cierge_torch_region_options &o) {
  at::NoGradGuard no_grad;
  auto graph = std::make_shared<Graph>();
  Builder b{r, *graph, std::vector<Value *>(r.n_registers, nullptr)};
  add_inputs(b, o);
  for (size_t k = 0; k < r.calls.size(); k++) add_call(b, k);
  for (uint32_t out : r.outputs) graph->registerOutput(b.value[out]);
  r.script = std::make_shared<Script>(Script{graph, torch::jit::Code(graph, "region")});
  r.reuses = false;
}

// ---------------------------------------------------------------- running

namespace {

// The interpreter wraps what an operator threw: a trace, which quotes the call, and then "RuntimeError: " and the message.
[[noreturn]] void unwrap(const std::string &text, int *failed) {
  static const char quote[] = "[call ", kind[] = "RuntimeError: ";
  size_t message = text.find(kind), at = text.rfind(quote, message);
  if (at != std::string::npos) *failed = atoi(text.c_str() + at + sizeof quote - 1);
  fail(message == std::string::npos ? text : text.substr(message + sizeof kind - 1));
}

} // namespace

void run_script(cierge_torch_run &run, int *failed) {
  const cierge_torch_region &r = run.region;
  std::vector<IValue> &stack = run.stack;
  stack.clear();
  for (uint32_t k = 0; k < r.n_inputs; k++)
    if (!r.constant[k]) stack.push_back(run.registers[k]);
  try {
    std::optional<Watching> watching;
    if (run.watch) watching.emplace(run);
    torch::jit::InterpreterState(r.script->code).run(stack);
  } catch (const std::exception &e) {
    unwrap(e.what(), failed);
  }
  for (size_t k = 0; k < r.outputs.size(); k++)
    if (r.outputs[k] >= r.n_inputs) run.registers[r.outputs[k]] = stack[k]; // a register may be several outputs
}

} // namespace cierge
