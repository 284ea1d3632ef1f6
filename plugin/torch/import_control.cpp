// Branches and loops on abstract values.
#include "import.h"

namespace cierge::import {

// ---------------------------------------------------------------- branches

// Values that f's items use and none of them gives.
static void free_values(const Function &f, std::set<std::string> inside, Values *out, std::set<std::string> *seen) {
  for (const A &p : f.params) inside.insert(p->ir);
  auto use = [&](const A &a) {
    std::function<void(const A &)> one = [&](const A &x) {
      for (const A &i : x->items) one(i);
      if (x->ir.empty() || x->ir[0] != '%' || inside.count(x->ir)) return;
      if (seen->insert(x->ir).second) out->push_back(x);
    };
    one(a);
  };
  for (const auto &i : f.items) {
    for (const A &u : i->uses) use(u);
    for (const auto &sub : i->fns) free_values(*sub, inside, out, seen);
    for (const A &r : i->results) inside.insert(r->ir);
  }
  for (const A &r : f.results) use(r);
}

static std::string operand_list(const Values &v) {
  std::string s = "[";
  for (size_t i = 0; i < v.size(); i++) s += (i ? ", " : "") + spelled(v[i]);
  return s + "]";
}

// The results that a control node has to give: leaves that are not the same in both.
static void leaves(const A &a, const A &b, const A &joined, Values *yes, Values *no, Values *out, bool *fits) {
  if (joined == a || joined == b) return;
  if (is_container(joined)) {
    for (size_t i = 0; i < joined->items.size(); i++)
      leaves(a->kind == Abstract::Nothing ? b->items[i] : a->items[i], b->kind == Abstract::Nothing ? a->items[i] : b->items[i], joined->items[i], yes, no, out, fits);
    return;
  }
  if (joined->kind == Abstract::Known) return; // the same constant
  if ((joined->kind != Abstract::Tensor && joined->kind != Abstract::Number) || joined->type.empty() || !sayable(a) || !sayable(b)) {
    *fits = false;
    return;
  }
  yes->push_back(a), no->push_back(b), out->push_back(joined);
}

Item *Importer::cond_item(const A &condition, Trial &yes, Trial &no, const Values &joined, Values *out) {
  std::string id = std::to_string(counter++);
  yes.fn->name = "then_" + id, no.fn->name = "else_" + id;
  Values captured;
  std::set<std::string> seen;
  free_values(*yes.fn, {}, &captured, &seen);
  free_values(*no.fn, {}, &captured, &seen);
  yes.fn->params = no.fn->params = captured;
  auto item = std::make_unique<Item>();
  item->op = "higher_order.cond";
  item->args = condition->ir + ", fn @" + yes.fn->name + ", fn @" + no.fn->name + ", " + operand_list(captured);
  item->uses = captured;
  item->uses.push_back(condition);
  item->fns = {yes.fn, no.fn};
  item->effect = yes.effect || no.effect;
  for (const A &j : joined) {
    A v = named(j->type);
    if (v->kind == Abstract::Known) v = named(bare(j->type));
    item->results.push_back(v);
    out->push_back(v);
  }
  return add(std::move(item));
}

void Importer::assertion(const A &condition, bool wanted, const std::string &text) {
  auto item = std::make_unique<Item>();
  item->effect = true;
  if (!condition->ir.empty()) {
    A c = wanted ? condition : number_op("torch.sym_not", {condition});
    if (c->kind == Abstract::Known) { // decided by the sizes after all
      if (c->known.toBool()) return;
      throw Raises{text, nullptr};
    }
    item->op = "aten._assert_scalar";
    item->args = c->ir + ", " + quote(text.empty() ? "the program raises an exception" : text);
    item->uses = {c};
  } else {
    item->why = "the condition of an exception is computed there";
  }
  if (at_top()) {
    Node *r = residual->insertNode(residual->create(c10::prim::If, {materialise(condition)}, 0));
    Block *b[2] = {r->addBlock(), r->addBlock()};
    torch::jit::WithInsertPoint at(b[wanted]->return_node());
    Value *message = residual->insertConstant(IValue(text)), *type = residual->insertConstant(IValue(std::string("builtins.RuntimeError")));
    residual->insertNode(residual->create(c10::prim::RaiseException, {message, type}, 0));
    item->r = r;
  }
  add(std::move(item));
}

void Importer::branch(Node *n) {
  A condition = get(n->input());
  bool decided;
  if (is_bool(condition, &decided)) {
    Block *b = n->blocks()[decided ? 0 : 1];
    block_nodes(b);
    Values v = outputs_of(b);
    for (size_t i = 0; i < v.size(); i++) set(n->output(i), v[i]);
    return;
  }
  Trial yes = attempt(n->blocks()[0]), no = attempt(n->blocks()[1]);
  if (yes.raises && no.raises) throw Raises{yes.text, nullptr};
  if (yes.raises || no.raises) {
    assertion(condition, no.raises, yes.raises ? yes.text : no.text);
    Block *b = n->blocks()[yes.raises ? 1 : 0];
    block_nodes(b);
    Values v = outputs_of(b);
    for (size_t i = 0; i < v.size(); i++) set(n->output(i), v[i]);
    return;
  }
  // What comes out: the block's results, containers that were written to, state.
  std::vector<std::pair<A, A>> pairs;
  for (size_t i = 0; i < yes.fn->results.size(); i++) pairs.emplace_back(yes.fn->results[i], no.fn->results[i]);
  std::vector<A> containers;
  std::string why = !yes.why.empty() ? yes.why : no.why;
  auto content = [](Trial &t, const A &c) {
    for (auto &w : t.written)
      if (w.first == c) return w.second;
    return std::make_shared<Abstract>(*c);
  };
  for (Trial *t : {&yes, &no})
    for (auto &w : t->written)
      if (std::find(containers.begin(), containers.end(), w.first) == containers.end()) containers.push_back(w.first);
  for (const A &c : containers) {
    A a = content(yes, c), b = content(no, c);
    if (a->kind != b->kind || a->items.size() != b->items.size() || a->keys != b->keys) why = "a list or dictionary has another length in each branch";
    pairs.emplace_back(a, b);
  }
  std::vector<std::string> changed;
  for (const auto &s : yes.state)
    if (no.state[s.first] != s.second || current_state[s.first] != s.second) changed.push_back(s.first), pairs.emplace_back(s.second, no.state[s.first]);
  Values joined, a, b, need, made;
  bool fits = true;
  for (auto &p : pairs) {
    bool exact = true;
    joined.push_back(join(p.first, p.second, &exact));
    leaves(p.first, p.second, joined.back(), &a, &b, &need, &fits);
  }
  if (yes.writes || no.writes) why = "a branch writes in place";
  if (!fits && why.empty()) why = "the branches give values of different kinds";
  if (condition->ir.empty() && why.empty()) why = "the condition is computed there";
  if (!why.empty()) {
    for (const A &c : containers) escape(c);
    if (at_top() && !changed.empty()) {
      opaque_state.insert(changed[0]);
      throw Again();
    }
    Values types(joined.begin(), joined.begin() + (long)n->outputs().size());
    opaque(n, why, types);
    for (size_t i = 0; i < changed.size(); i++) current_state[changed[i]] = joined[joined.size() - changed.size() + i];
    return;
  }
  bool plain = containers.empty() && changed.empty(); // else it has no counterpart in TorchScript
  Node *r = nullptr;
  if (!need.empty() || yes.effect || no.effect) {
    yes.fn->results = a, no.fn->results = b;
    Item *item = cond_item(condition, yes, no, need, &made);
    if (at_top() && plain) item->r = r = clone(n);
  }
  // Leaves become the values that the node gives.
  size_t next = 0;
  std::function<A(const A &, const A &, const A &)> settle = [&](const A &x, const A &y, const A &j) -> A {
    if (j == x || j == y || j->kind == Abstract::Known) return j;
    if (is_container(j)) {
      auto out = std::make_shared<Abstract>(*j);
      for (size_t i = 0; i < j->items.size(); i++)
        out->items[i] = settle(x->kind == Abstract::Nothing ? y->items[i] : x->items[i], y->kind == Abstract::Nothing ? x->items[i] : y->items[i], j->items[i]);
      return out;
    }
    return made[next++];
  };
  for (size_t i = 0; i < pairs.size(); i++) {
    A v = settle(pairs[i].first, pairs[i].second, joined[i]);
    if (i < n->outputs().size()) {
      if (r && v->kind != Abstract::Known && !is_container(v) && !v->r) v->r = r->output(i);
      set(n->output(i), v);
    } else if (i < n->outputs().size() + containers.size()) {
      const A &c = containers[i - n->outputs().size()];
      touch(c);
      c->items = v->items, c->keys = v->keys;
    } else {
      current_state[changed[i - n->outputs().size() - containers.size()]] = v;
    }
  }
}

// ---------------------------------------------------------------- loops

enum { MAX_ROUNDS = 65536, MAX_UNROLLED_ITEMS = 4096 };

// Round by round, while everything that decides is known. In a trial first: it may turn out otherwise on the way.
bool Importer::unroll(Node *n) {
  int64_t trips;
  bool go;
  if (!is_int(get(n->input(0)), &trips) || !is_bool(get(n->input(1)), &go)) return false;
  Block *b = n->blocks()[0];
  Values carried;
  for (size_t i = 2; i < n->inputs().size(); i++) carried.push_back(get(n->input(i)));
  bool known_all = true;
  auto rounds = [&] {
    Values v = carried;
    bool again = go;
    size_t first = items->size();
    for (int64_t i = 0; i < trips && again; i++) {
      if (i >= MAX_ROUNDS || items->size() - first > MAX_UNROLLED_ITEMS) {
        known_all = false;
        return v;
      }
      set(b->inputs()[0], known(i));
      for (size_t k = 0; k < v.size(); k++) set(b->inputs()[k + 1], v[k]);
      block_nodes(b);
      Values out = outputs_of(b);
      if (!is_bool(out[0], &again)) {
        known_all = false;
        return v;
      }
      v.assign(out.begin() + 1, out.end());
    }
    return v;
  };
  bool counted = b->outputs()[0]->node()->kind() == c10::prim::Constant || (b->outputs()[0] == n->input(1));
  if (!counted || trips > 64) {
    Trial t;
    Items trial, *outer = items;
    auto state_was = current_state;
    Mark to = mark();
    Node *was = now;
    items = &trial;
    open++;
    auto leave = [&] {
      undo(to);
      open--;
      items = outer, now = was, current_state = state_was;
    };
    try {
      rounds();
    } catch (const Raises &) {
    } catch (...) {
      leave();
      throw;
    }
    leave();
    if (!known_all) return false;
  }
  Values v = rounds();
  for (size_t k = 0; k < v.size(); k++) set(n->output(k), v[k]);
  return true;
}

namespace {

// A loop that is not unrolled.
struct Loop {
  Importer &im;
  Node *n;
  Block *body;
  A trips, go;
  Values start;              // what it carries: before the first round,
  Values entry;              // and in a round, after the round's number
  Importer::Trial round;
  std::string why;           // only TorchScript can hold it

  Loop(Importer &importer, Node *node) : im(importer), n(node), body(node->blocks()[0]), trips(im.get(node->input(0))), go(im.get(node->input(1))) {
    for (size_t i = 2; i < n->inputs().size(); i++) start.push_back(im.get(n->input(i)));
  }

  const A &after(size_t k) const { return round.fn->results[k + 1]; } // what a round leaves; result 0: whether it wants another

  // A value that a round may begin with, knowing no more than `a` does.
  A fresh(const A &a) {
    A g = is_known_number(a) ? by_jit_type(a->known.type()) : a;
    if (g->kind != Abstract::Tensor && g->kind != Abstract::Number) return g;
    A v = g->type.empty() ? std::make_shared<Abstract>(*g) : im.named(bare(g->type));
    v->r = nullptr;
    if (g->type.empty()) v->ir = "";
    return v;
  }

  // Whether what a round leaves is what it began with; `both`: what they have in common.
  bool stable(const A &before, const A &left, A *both) {
    bool exact = true;
    A j = *both = im.join(before, left, &exact);
    if (is_container(j)) return j->kind == before->kind && exact;
    if (j == before) return true;
    if (j->kind != before->kind) return false;
    if (j->kind == Abstract::Tensor) return j->type.empty() ? before->type.empty() : alike(j->type, before->type);
    return j->kind == Abstract::Number || j->kind == Abstract::Opaque;
  }

  // What a round begins with: what the loop began with, or what a round left.
  void settle() {
    Values types = start;
    for (int k = 0;; k++) {
      if (k == 12) throw Refused("a loop's values change their types from round to round" + im.place_of(n));
      entry.clear();
      round = im.attempt(body, [&] {
        entry.push_back(im.named("int"));
        for (const A &t : types) entry.push_back(fresh(t));
        for (size_t i = 0; i < entry.size(); i++) im.set(body->inputs()[i], entry[i]);
      });
      if (!round.written.empty()) { // TorchScript's from here on
        for (auto &w : round.written) im.escape(w.first);
        why = "a loop writes to a list or dictionary";
        continue;
      }
      if (round.raises) throw Refused("a loop raises in each of its rounds: " + round.text + im.place_of(n));
      bool all = true;
      for (size_t i = 0; i < types.size(); i++) {
        A both;
        if (!stable(entry[i + 1], after(i), &both)) all = false, types[i] = both;
      }
      if (all) return;
    }
  }

  // As a while_loop: all that is carried is a tensor or a number of one type.
  void judge() {
    for (const auto &s : round.state)
      if (im.current_state[s.first] != s.second) {
        if (im.at_top()) {
          im.opaque_state.insert(s.first);
          throw Again();
        }
        why = "a loop changes an attribute";
      }
    if (why.empty()) why = round.why;
    if (why.empty() && round.writes) why = "a loop writes in place";
    if (why.empty() && (!sayable(trips) || !sayable(go) || !sayable(round.fn->results[0]))) why = "a loop's condition is computed there";
    for (size_t k = 0; why.empty() && k < start.size(); k++) {
      const A &e = entry[k + 1];
      if (!typed(e) || !sayable(start[k]) || !sayable(after(k))) why = "a loop carries what is no tensor and no number";
      else if (e->kind == Abstract::Tensor && (start[k]->type != e->type || after(k)->type != e->type)) why = "a loop carries a tensor of changing size";
    }
  }

  A compute(Function &f, const std::string &op, const A &a, const A &b, const std::string &type) {
    auto item = std::make_unique<Item>();
    A out = im.named(type);
    item->op = op, item->args = spelled(a) + ", " + spelled(b), item->uses = {a, b}, item->results = {out};
    f.items.push_back(std::move(item));
    return out;
  }

  void as_node() {
    std::string id = std::to_string(im.counter++);
    auto test = std::make_shared<Function>(), rounds = round.fn;
    test->name = "test_" + id, rounds->name = "round_" + id;
    A on = im.named("bool"); // whether the next round is wanted
    rounds->params = entry;
    rounds->params.insert(rounds->params.begin() + 1, on);
    Values captured;
    std::set<std::string> seen;
    free_values(*rounds, {}, &captured, &seen);
    if (trips->kind == Abstract::Number && seen.insert(trips->ir).second) captured.push_back(trips);
    rounds->params.insert(rounds->params.end(), captured.begin(), captured.end());
    rounds->results.insert(rounds->results.begin(), compute(*rounds, "_operator.add", entry[0], known((int64_t)1), "int"));
    test->params = rounds->params;
    test->results = {compute(*test, "_operator.and_", compute(*test, "_operator.lt", entry[0], trips, "bool"), on, "bool")};
    auto item = std::make_unique<Item>();
    Values first = {known((int64_t)0), go};
    first.insert(first.end(), start.begin(), start.end());
    item->op = "higher_order.while_loop";
    item->args = "fn @" + test->name + ", fn @" + rounds->name + ", " + operand_list(first) + ", " + operand_list(captured);
    item->uses = first;
    item->uses.insert(item->uses.end(), captured.begin(), captured.end());
    item->fns = {test, rounds};
    item->effect = round.effect;
    item->results = {im.named("int"), im.named("bool")};
    if (im.at_top()) item->r = im.clone(n);
    for (size_t k = 0; k < start.size(); k++) {
      A v = im.named(entry[k + 1]->type);
      if (item->r) v->r = item->r->output(k);
      item->results.push_back(v);
      im.set(n->output(k), v);
    }
    im.add(std::move(item));
  }
};

} // namespace

void Importer::loop(Node *n) {
  if (unroll(n)) return;
  Loop l(*this, n);
  l.settle();
  l.judge();
  if (l.why.empty()) l.as_node();
  else opaque(n, l.why, Values(l.entry.begin() + 1, l.entry.end()));
}

} // namespace cierge::import
