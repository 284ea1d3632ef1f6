// Which values of a TorchScript graph may share memory. PyTorch's own analysis takes it that a loop runs at least once: what a loop gives
// is then never what it began with. So a copy of the graph is asked, whose loops may also leave what they had.
#ifndef CIERGE_TORCH_ALIASES_H
#define CIERGE_TORCH_ALIASES_H
#include <torch/csrc/jit/ir/alias_analysis.h>

#include <unordered_map>
#include <vector>

namespace cierge {

class Aliases {
 public:
  explicit Aliases(const std::shared_ptr<torch::jit::Graph> &graph) : copy(graph->copy()) {
    pair(graph->block(), copy->block());
    loops_may_not_run(copy->block());
    db = std::make_unique<torch::jit::AliasDb>(copy);
  }
  bool may_meet(Value *a, Value *b) const { return db->mayContainAlias(of(a), of(b)); }
  bool has_writers(Value *v) const { return db->hasWriters(of(v)); }
  bool writes(Node *n) const { return db->isMutable(node_of.at(n)); }
  bool writes_to(Node *n, const std::vector<Value *> &any) const {
    torch::jit::ValueSet seen;
    for (Value *v : any) seen.insert(of(v));
    return db->writesToAlias(node_of.at(n), seen);
  }

 private:
  using Block = torch::jit::Block;
  using Node = torch::jit::Node;
  using Value = torch::jit::Value;

  std::shared_ptr<torch::jit::Graph> copy;
  std::unique_ptr<torch::jit::AliasDb> db;
  std::unordered_map<Value *, Value *> value_of;
  std::unordered_map<Node *, Node *> node_of;

  Value *of(Value *v) const { return value_of.at(v); }

  void pair(Block *from, Block *to) { // a copy has the same nodes in the same order
    for (size_t i = 0; i < from->inputs().size(); i++) value_of[from->inputs()[i]] = to->inputs()[i];
    auto k = to->nodes().begin();
    for (Node *n : from->nodes()) {
      Node *same = *k;
      ++k;
      node_of[n] = same;
      for (size_t i = 0; i < n->outputs().size(); i++) value_of[n->output(i)] = same->output(i);
      for (size_t i = 0; i < n->blocks().size(); i++) pair(n->blocks()[i], same->blocks()[i]);
    }
  }

  void loops_may_not_run(Block *b) {
    for (Node *n : b->nodes()) {
      for (Block *inner : n->blocks()) loops_may_not_run(inner);
      if (n->kind() != c10::prim::Loop) continue;
      Block *body = n->blocks()[0];
      for (size_t k = 1; k < body->outputs().size(); k++) { // if again: what the round made; else: what it began with
        Node *either = copy->create(c10::prim::If, {body->outputs()[0]}, 1);
        either->insertBefore(body->return_node());
        either->addBlock()->registerOutput(body->outputs()[k]);
        either->addBlock()->registerOutput(body->inputs()[k]);
        either->output()->setType(body->inputs()[k]->type());
        body->replaceOutput(k, either->output());
      }
    }
  }
};

} // namespace cierge
#endif
