// The whole program as one call of one method, which takes the inputs' leaves and gives the outputs' ones.
#include <torch/csrc/jit/api/compilation_unit.h>

#include <sstream>

#include "import.h"

namespace cierge::import {

void Importer::whole(Function &f, const Values &inputs, std::string *blob) {
  torch::jit::Module copy = module.clone();
  auto g = graph->copy();
  g->inputs()[0]->setType(copy.type());
  Values given;
  std::vector<Value *> added;
  {
    torch::jit::WithInsertPoint at(*g->block()->nodes().begin());
    std::function<Value *(const A &)> build = [&](const A &a) -> Value * {
      if (a->kind == Abstract::Known) return g->insertConstant(a->known);
      if (a->kind == Abstract::List || a->kind == Abstract::Tuple) {
        std::vector<Value *> v;
        for (const A &i : a->items) v.push_back(build(i));
        Node *n = a->kind == Abstract::Tuple ? g->createTuple(v) : g->createList(a->jtype->expect<c10::ListType>()->getElementType(), v);
        return g->insertNode(n)->output();
      }
      if (a->kind == Abstract::Dict) {
        std::vector<Value *> keys, v;
        for (const IValue &k : a->keys) keys.push_back(g->insertConstant(k));
        for (const A &i : a->items) v.push_back(build(i));
        auto t = a->jtype->expect<c10::DictType>();
        return g->insertNode(g->createDict(t->getKeyType(), t->getValueType(), keys, v))->output();
      }
      if (!crosses(a)) throw Refused("an input is neither a tensor nor a number");
      given.push_back(a);
      Value *v = g->addInput("in_" + std::to_string(given.size() - 1));
      v->setType(a->kind == Abstract::Tensor ? c10::TypePtr(c10::TensorType::get()) : a->jtype);
      return v;
    };
    size_t own = inputs.size();
    for (size_t k = 0; k < own; k++) {
      Value *old = g->inputs()[k + 1];
      Value *v = build(inputs[k]);
      old->replaceAllUsesWith(v);
    }
    for (size_t k = own; k-- > 0;) g->eraseInput(k + 1);
  }
  std::vector<Value *> out;
  Values results;
  {
    torch::jit::WithInsertPoint at(g->return_node());
    size_t next = 0;
    std::function<void(Value *, const A &)> open_up = [&](Value *v, const A &a) {
      if (a->kind == Abstract::List || a->kind == Abstract::Tuple) {
        Node *u = g->insertNode(g->create(a->kind == Abstract::List ? c10::prim::ListUnpack : c10::prim::TupleUnpack, {v}, a->items.size()));
        for (size_t k = 0; k < a->items.size(); k++) {
          u->output(k)->setType(a->items[k]->jtype ? a->items[k]->jtype : c10::TensorType::get());
          open_up(u->output(k), a->items[k]);
        }
        return;
      }
      if (a->kind == Abstract::Dict) {
        for (size_t k = 0; k < a->items.size(); k++) open_up(g->insert(c10::aten::__getitem__, {v, a->keys[k]}), a->items[k]);
        return;
      }
      A r = f.results.at(next++);
      if (r->kind == Abstract::Known && (is_none(r) || !spelled(r).empty())) return;
      if (r->kind != Abstract::Tensor && (r->kind != Abstract::Number || r->type.empty())) throw Refused("an output is neither a tensor nor a number");
      A x = std::make_shared<Abstract>(*r);
      x->ir = fresh();
      out.push_back(v);
      results.push_back(x);
      f.results[next - 1] = x;
    };
    Values top = outputs_of(graph->block());
    for (size_t k = 0; k < g->outputs().size(); k++) open_up(g->outputs()[k], top[k]);
    while (!g->outputs().empty()) g->eraseOutput(0);
    if (out.size() == 1) g->registerOutput(out[0]);
    else if (out.empty()) g->registerOutput(g->insertConstant(IValue()));
    else g->registerOutput(g->insertNode(g->createTuple(out))->output());
  }
  auto unit = copy._ivalue()->compilation_unit();
  copy.type()->addMethod(unit->create_function(c10::QualifiedName(*copy.type()->name(), "island_0"), g));
  std::ostringstream bytes;
  copy.save(bytes);
  *blob = bytes.str();
  auto item = std::make_unique<Item>();
  item->op = "torchop";
  for (const A &a : given) item->args += a->ir + ", ";
  item->args += "script=@islands, method=\"island_0\"";
  item->uses = given, item->results = results, item->effect = true;
  f.items.clear();
  f.items.push_back(std::move(item));
}

} // namespace cierge::import
