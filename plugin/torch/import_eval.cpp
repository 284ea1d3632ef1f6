// Runs the program on abstract values: blocks, nodes, trials, and what stays TorchScript on the way.
#include <torch/csrc/jit/frontend/source_range.h>
#include <torch/csrc/jit/ir/constants.h>

#include "aliases.h"
#include "import.h"

namespace cierge::import {

// ---------------------------------------------------------------- names and places

A Importer::get(const Value *v) {
  auto f = env.find(v);
  if (f == env.end()) throw Refused("a value of the program is used before it is there: %" + v->debugName());
  return f->second;
}

void Importer::set(const Value *v, A a) {
  if (a->kind != Abstract::Nothing && !a->jtype) a->jtype = v->type();
  env[v] = std::move(a);
}

std::string Importer::place_of(Node *n) {
  std::string out, path;
  torch::jit::SourceRange range = n->sourceRange();
  if (range.source())
    if (auto made = range.source()->findSourceRangeThatGenerated(range)) range = *made;
  if (auto at = range.file_line_col()) {
    auto [file, line, col] = *at;
    if (!file.empty() && line > 0) out = " loc(" + quote(file) + ":" + std::to_string(line) + ")";
  }
  if (auto stack = n->callstack())
    for (const auto &entry : (*stack)->vec()) {
      const auto &m = std::get<2>(entry);
      if (!m) continue;
      std::string name = m->instance_name();
      if (name.rfind("self.", 0) == 0) name = name.substr(5);
      if (name.empty() || name == "self" || name == "INSTANCE_NAME_UNKNOWN" || name == "SELF") continue;
      path += (path.empty() ? "" : ".") + name;
    }
  return path.empty() ? out : out + " in " + quote(path);
}

// ---------------------------------------------------------------- items

Item *Importer::add(std::unique_ptr<Item> item) {
  if (item->place.empty() && now) item->place = place_of(now);
  items->push_back(std::move(item));
  return items->back().get();
}

void each_input(Node *n, const std::function<void(Value *)> &f) {
  std::function<void(Block *)> walk = [&](Block *b) {
    for (Node *k : b->nodes()) {
      for (Value *v : k->inputs()) f(v);
      for (Block *sub : k->blocks()) walk(sub);
    }
    for (Value *v : b->outputs()) f(v);
  };
  for (Value *v : n->inputs()) f(v);
  for (Block *b : n->blocks()) walk(b);
}

// A value that no run sees. A tuple is one all the same: what takes it apart may stand where it is not known whether it is seen.
static Value *unseen(Graph &g, const c10::TypePtr &t) {
  auto tuple = t->cast<c10::TupleType>();
  if (!tuple) return g.insertNode(g.createUninitialized(t))->output();
  std::vector<Value *> v;
  for (const auto &e : tuple->elements()) v.push_back(unseen(g, e));
  return g.insertNode(tuple->schema() ? g.createTuple(v, tuple) : g.createTuple(v))->output();
}

// n in the residual graph, over what its inputs are there. Attributes that never change are constants in it.
Node *Importer::clone(Node *n) {
  std::unordered_map<Value *, Value *> map;
  Node *constants_at = *residual->block()->nodes().begin();
  auto outer = [&](Value *v) -> Value * {
    auto f = map.find(v);
    if (f != map.end()) return f->second;
    A a = get(v);
    if (a->kind == Abstract::Known && a->known.isObject()) return nullptr;
    if (a->kind == Abstract::Nothing) {
      torch::jit::WithInsertPoint at(constants_at);
      return map[v] = unseen(*residual, v->type());
    }
    return map[v] = materialise(a);
  };
  std::map<Value *, A> objects; // of inside
  std::function<A(Value *)> object = [&](Value *v) -> A {
    auto f = objects.find(v);
    if (f != objects.end()) return f->second;
    auto e = env.find(v);
    return e == env.end() ? nullptr : e->second;
  };
  // Values of inside, defined by walking in order; anything else is of outside.
  std::set<Value *> inside;
  std::function<void(Block *)> gather = [&](Block *b) {
    for (Value *v : b->inputs()) inside.insert(v);
    for (Node *k : b->nodes()) {
      for (Value *v : k->outputs()) inside.insert(v);
      for (Block *s : k->blocks()) gather(s);
    }
  };
  for (Block *b : n->blocks()) gather(b);
  std::function<void(Block *, Block *)> copy_block;
  std::function<Node *(Node *)> copy = [&](Node *k) -> Node * {
    auto mapped = [&](Value *v) {
      auto f = map.find(v);
      if (f != map.end()) return f->second;
      Value *r = inside.count(v) ? nullptr : outer(v);
      if (!r) throw Refused("an object is used as a value (" + std::string(k->kind().toQualString()) + ")");
      return r;
    };
    if (k->kind() == c10::prim::Uninitialized) return (map[k->output()] = unseen(*residual, k->output()->type()))->node();
    Node *c = residual->create(k->kind(), 0);
    c->copyAttributes(*k);
    c->copyMetadata(k);
    for (Value *v : k->inputs()) c->addInput(mapped(v));
    for (Value *v : k->outputs()) {
      Value *o = c->addOutput();
      o->setType(v->type());
      map[v] = o;
    }
    residual->insertNode(c);
    for (Block *b : k->blocks()) copy_block(b, c->addBlock());
    return c;
  };
  copy_block = [&](Block *from, Block *to) {
    for (Value *v : from->inputs()) {
      Value *o = to->addInput();
      o->setType(v->type());
      map[v] = o;
    }
    torch::jit::WithInsertPoint at(to->return_node());
    for (Node *k : from->nodes()) {
      bool reads = k->kind() == c10::prim::GetAttr, changes = k->kind() == c10::prim::SetAttr;
      A o = reads || changes ? object(k->input(0)) : nullptr;
      if (!o || o->kind != Abstract::Known || !o->known.isObject()) {
        copy(k);
        continue;
      }
      std::string name = k->s(c10::attr::name), key = path_of[o->known.toObject().get()];
      key += (key.empty() ? "" : ".") + name;
      if (state.count(key) && !opaque_state.count(key)) {
        opaque_state.insert(key);
        throw Again();
      }
      if (changes) {
        Value *v = map.count(k->input(1)) ? map[k->input(1)] : outer(k->input(1));
        residual->insertNode(residual->createSetAttr(residual->inputs()[0], key, v));
        continue;
      }
      IValue value = o->known.toObject()->getAttr(name);
      if (opaque_state.count(key)) {
        Node *g = residual->create(c10::prim::GetAttr, {residual->inputs()[0]}, 1);
        g->s_(c10::attr::name, key);
        g->output()->setType(k->output()->type());
        residual->insertNode(g);
        map[k->output()] = g->output();
      } else if (value.isObject()) {
        path_of[value.toObject().get()] = key;
        objects[k->output()] = known(value);
      } else {
        map[k->output()] = materialise(from_ivalue(value, k->output()->type(), key));
      }
    }
    for (Value *v : from->outputs()) {
      auto f = map.find(v);
      Value *r = f != map.end() ? f->second : outer(v);
      if (!r) throw Refused("an object is the result of a branch");
      to->registerOutput(r);
    }
  };
  return copy(n);
}

// ---------------------------------------------------------------- what stays TorchScript

// v of the residual graph as an abstract value of the same kind as `type`.
A Importer::wrap(Value *v, const A &type) {
  A t = type;
  auto unpacked = [&](c10::Symbol op) {
    auto out = std::make_shared<Abstract>(*t);
    out->depth = open, out->r = nullptr;
    Node *u = v ? residual->insertNode(residual->create(op, {v}, t->items.size())) : nullptr;
    for (size_t i = 0; i < t->items.size(); i++) {
      if (u) u->output(i)->setType(t->items[i]->kind == Abstract::Nothing ? c10::TensorType::get() : t->items[i]->jtype);
      out->items[i] = wrap(u ? u->output(i) : nullptr, t->items[i]);
    }
    auto item = std::make_unique<Item>();
    item->r = u;
    item->why = "a list or tuple is taken apart";
    for (const A &x : out->items) item->results.push_back(x);
    if (u) add(std::move(item));
    return out;
  };
  if (t->kind == Abstract::Tuple) return unpacked(c10::prim::TupleUnpack);
  if (t->kind == Abstract::List && !t->items.empty()) return unpacked(c10::prim::ListUnpack);
  A out;
  if ((t->kind == Abstract::Tensor || t->kind == Abstract::Number) && !t->type.empty()) {
    out = named(t->type);
    if (out->kind == Abstract::Known) out = named(bare(t->type));
    out->r = v;
    return out;
  }
  out = std::make_shared<Abstract>();
  out->r = v;
  out->jtype = t->jtype;
  out->kind = t->kind == Abstract::Tensor ? Abstract::Tensor : Abstract::Opaque;
  out->element = t->element;
  if (v && out->kind == Abstract::Tensor) out->ir = fresh();
  if (t->kind == Abstract::List || t->kind == Abstract::Dict) {
    A e = element_of(t);
    if (e->kind != Abstract::Nothing) out->element = e;
  }
  return out;
}

A by_jit_type(const c10::TypePtr &t) {
  auto a = std::make_shared<Abstract>();
  a->jtype = t;
  a->kind = Abstract::Opaque;
  if (t->kind() == c10::TypeKind::TensorType) a->kind = Abstract::Tensor;
  if (const char *word = number_word(t)) a->kind = Abstract::Number, a->type = word;
  if (auto tuple = t->cast<c10::TupleType>()) {
    a->kind = Abstract::Tuple;
    for (const auto &e : tuple->elements()) a->items.push_back(by_jit_type(e));
  }
  return a;
}

// Whether n, or what it holds, writes to an argument of a kind.
static bool writes_to(Node *n, const std::function<bool(const c10::TypePtr &)> &kind) {
  if (auto *schema = n->maybeSchema())
    for (size_t i = 0; i < schema->arguments().size() && i < n->inputs().size(); i++) {
      const auto *alias = schema->arguments()[i].alias_info();
      if (alias && alias->isWrite() && kind(n->input(i)->type())) return true;
    }
  for (Block *b : n->blocks())
    for (Node *i : b->nodes())
      if (writes_to(i, kind)) return true;
  return false;
}

static bool has_effect(Node *n) {
  if (n->hasSideEffects() || n->kind() == c10::prim::SetAttr) return true;
  for (Block *b : n->blocks())
    for (Node *i : b->nodes())
      if (has_effect(i)) return true;
  return false;
}

static bool is_tensor(const c10::TypePtr &t) { return t->kind() == c10::TypeKind::TensorType; }

// Tensors of outside that r writes to are copied before; afterwards the text writes them back.
std::vector<std::pair<Value *, A>> Importer::write_copies(Node *r) {
  std::vector<std::pair<Value *, A>> out;
  if (!writes_to(r, is_tensor)) return out;
  const Aliases db(residual);
  std::set<Value *> seen;
  std::function<bool(Node *)> within = [&](Node *k) {
    for (; k; k = k->owningBlock() ? k->owningBlock()->owningNode() : nullptr)
      if (k == r) return true;
    return false;
  };
  std::vector<Value *> read;
  each_input(r, [&](Value *v) {
    if (!within(v->node()) && v->type()->kind() == c10::TypeKind::TensorType && seen.insert(v).second) read.push_back(v);
  });
  for (Value *v : read) {
    if (!db.writes_to(r, {v})) continue;
    for (Value *other : read) // each would be written to as a copy of its own
      if (other != v && db.may_meet(v, other)) in_one = "TorchScript writes in place to a tensor that it has under two names";
    A a;
    for (const auto &i : *items)
      for (const A &x : i->results)
        if (x->r == v) a = x;
    for (const auto &b : bridges)
      if (b.first == v) a = b.second;
    if (!a || !typed(a)) {
      in_one = "TorchScript writes in place to a tensor of unknown type";
      continue;
    }
    Node *c = residual->create(c10::aten::clone, {v, none_value()}, 1);
    c->insertBefore(r);
    for (const auto &use : std::vector<torch::jit::Use>(v->uses().begin(), v->uses().end()))
      if (within(use.user)) use.user->replaceInput(use.offset, c->output());
    std::function<void(Block *)> results = [&](Block *b) {
      for (size_t i = 0; i < b->outputs().size(); i++)
        if (b->outputs()[i] == v) b->replaceOutput(i, c->output());
      for (Node *k : b->nodes())
        for (Block *s : k->blocks()) results(s);
    };
    for (Block *b : r->blocks()) results(b);
    A after = named(a->type);
    after->r = c->output();
    out.emplace_back(v, after);
    auto item = std::make_unique<Item>();
    item->r = residual->insertNode(residual->create(c10::aten::copy_, {v, c->output(), materialise(known(false))}, 1));
    item->r->output()->setType(c10::TensorType::get());
    item->op = "aten.copy_", item->args = a->ir + ", " + after->ir, item->uses = {a, after}, item->writes = true;
    A result = named(a->type);
    item->results = {result};
    pending.push_back(std::move(item));
  }
  return out;
}

Value *Importer::none_value() {
  torch::jit::WithInsertPoint at(*residual->block()->nodes().begin());
  return residual->insertConstant(IValue());
}

// x.t_() and the like; x.detach_() changes no shape.
static bool reshapes(Node *n) {
  const auto *schema = n->maybeSchema();
  if (!schema || schema->name() == "aten::detach_") return false;
  auto op = c10::Dispatcher::singleton().findOp({schema->name(), schema->overload_name()});
  return op && op->hasTag(at::Tag::inplace_view);
}

// The first node in the branches or the loop n that changes the shape of a tensor of outside; NULL: none does.
static Node *reshapes_outside(Node *n) {
  std::function<Node *(Node *)> find = [&](Node *k) -> Node * {
    for (Block *b : k->blocks())
      for (Node *i : b->nodes()) {
        Node *holder = reshapes(i) ? i->input(0)->node() : n;
        while (holder && holder != n) holder = holder->owningBlock() ? holder->owningBlock()->owningNode() : nullptr;
        Node *found = holder ? find(i) : i;
        if (found) return found;
      }
    return nullptr;
  };
  return find(n);
}

void Importer::opaque(Node *n, const std::string &why, Values types) {
  if (Node *k = at_top() ? reshapes_outside(n) : nullptr)
    throw Refused(std::string(k->kind().toQualString()) + " changes the shape of a tensor in a branch or loop, so what shape it has afterwards is not known" + place_of(k));
  // Containers that it writes to are TorchScript's from here on.
  if (auto *schema = n->maybeSchema())
    for (size_t i = 0; i < n->inputs().size() && i < schema->arguments().size(); i++) {
      const auto *alias = schema->arguments()[i].alias_info();
      A a = get(n->input(i));
      if (alias && alias->isWrite() && (a->kind == Abstract::List || a->kind == Abstract::Dict)) escape(a);
    }
  Node *r = at_top() ? clone(n) : nullptr;
  std::vector<std::pair<Value *, A>> written = r ? write_copies(r) : std::vector<std::pair<Value *, A>>();
  auto item = std::make_unique<Item>();
  item->r = r;
  item->why = why;
  item->effect = has_effect(n);
  item->mutates = writes_to(n, [](const c10::TypePtr &t) { return !is_tensor(t); });
  Item *made = add(std::move(item));
  for (auto &w : written) made->results.push_back(w.second);
  for (size_t i = 0; i < n->outputs().size(); i++) {
    A t = i < types.size() && types[i] && types[i]->kind != Abstract::Nothing ? types[i] : by_jit_type(n->output(i)->type());
    if (!t->jtype) t->jtype = n->output(i)->type();
    A out = wrap(r ? r->output(i) : nullptr, t);
    made->results.push_back(out);
    set(n->output(i), out);
  }
  for (auto &i : pending) add(std::move(i));
  pending.clear();
}

// ---------------------------------------------------------------- trials

Importer::Trial Importer::attempt(Block *b, const std::function<void()> &before) {
  Trial t;
  t.fn = std::make_shared<Function>();
  Items *outer = items;
  Node *was = now;
  auto state_was = current_state;
  Mark to = mark();
  items = &t.fn->items;
  open++;
  auto leave = [&] {
    items = outer;
    now = was;
    t.state = current_state;
    current_state = state_was;
    std::set<Abstract *> seen;
    for (size_t i = to.journal; i < journal.size(); i++)
      if (journal[i].container->depth < open && seen.insert(journal[i].container.get()).second)
        t.written.emplace_back(journal[i].container, std::make_shared<Abstract>(*journal[i].container));
    undo(to);
    open--;
    for (const auto &w : t.written) // one level further out they are written to as well
      if (w.first->depth < open) journal.push_back({w.first, w.first->items, w.first->keys});
  };
  try {
    if (before) before();
    block_nodes(b);
    t.fn->results = outputs_of(b);
  } catch (const Raises &r) {
    t.raises = true;
    t.text = r.text;
  } catch (...) {
    leave();
    throw;
  }
  leave();
  for (const auto &i : t.fn->items) {
    if (i->op.empty() && t.why.empty()) t.why = i->why.empty() ? "it holds what only TorchScript can" : i->why;
    t.writes |= i->writes;
    t.effect |= i->effect;
  }
  return t;
}

void Importer::block_nodes(Block *b) {
  for (Node *n : b->nodes()) node(n);
}

Values Importer::outputs_of(Block *b) {
  Values v;
  for (Value *o : b->outputs()) v.push_back(get(o));
  return v;
}

// ---------------------------------------------------------------- nodes

void Importer::node(Node *n) {
  now = n;
  switch (n->kind()) {
  case c10::prim::Constant:
    if (n->output()->type()->kind() == c10::TypeKind::NoneType || !n->hasAttribute(c10::attr::value)) return set(n->output(), known(IValue(), n->output()->type()));
    {
      A a = from_ivalue(*torch::jit::toIValue(n->output()), n->output()->type());
      if (a->kind == Abstract::Tensor) a->attribute = "literal";
      return set(n->output(), a);
    }
  case c10::prim::GetAttr: return get_attribute(n);
  case c10::prim::SetAttr: return set_attribute(n);
  case c10::prim::If: return branch(n);
  case c10::prim::Loop: return loop(n);
  case c10::prim::Uninitialized: return set(n->output(), nothing());
  case c10::prim::CreateObject: return set(n->output(), container(Abstract::Dict, {}, n->output()->type()));
  default: break;
  }
  if (special(n)) return;
  std::string why;
  Values types;
  if (dispatch(n, &why, &types)) return;
  opaque(n, why, types);
}

} // namespace cierge::import
