// What stays TorchScript, gathered: items that no text can hold, and what must be with them, become methods of one module.
//
// Items that hand each other what cannot cross a boundary (lists, texts, optional values) belong together; so does whatever lies
// on a way from a group back into it. Groups between which nothing else happens are made one.
#include <torch/csrc/jit/api/compilation_unit.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "aliases.h"
#include "import.h"

namespace cierge::import {

namespace {

std::string attribute_name(const std::string &key) {
  std::string s = "state_";
  for (char c : key) s += isalnum((unsigned char)c) ? c : '_';
  return s;
}

struct Islands {
  Importer &im;
  Function &f;
  int n = 0;
  std::vector<Item *> item;
  std::vector<bool> live;
  std::vector<int> group;                        // -1: none; names are those of the first items
  std::unordered_map<const Value *, int> gives;  // residual values: which item gives them
  std::unordered_map<const Value *, A> abstract; // and what they are
  std::unordered_map<std::string, int> maker;    // names of the text
  std::vector<std::set<int>> needs;              // items that must come before
  std::vector<std::vector<Value *>> outside;     // values of the residual program that an item's node reads

  Islands(Importer &i, Function &fn) : im(i), f(fn) {
    n = (int)f.items.size();
    group.assign((size_t)n, -1);
    live.assign((size_t)n, false);
    needs.resize((size_t)n);
    outside.resize((size_t)n);
    for (int k = 0; k < n; k++) {
      item.push_back(f.items[(size_t)k].get());
      for (const A &r : item.back()->results) {
        if (!r->ir.empty()) maker[r->ir] = k;
        if (r->r) gives[r->r] = k, abstract[r->r] = r;
      }
      if (item.back()->r)
        for (Value *v : item.back()->r->outputs()) gives.emplace(v, k);
    }
    for (const auto &b : im.bridges) abstract[b.first] = b.second;
    for (int k = 0; k < n; k++)
      if (item[(size_t)k]->r) gather(item[(size_t)k]->r, &outside[(size_t)k]);
  }

  void gather(Node *r, std::vector<Value *> *out) {
    std::set<Value *> seen;
    each_input(r, [&](Value *v) {
      if (v->node()->owningBlock() == im.residual->block() || v->node() == im.residual->block()->param_node())
        if (seen.insert(v).second) out->push_back(v);
    });
  }

  // Which item gives v (through lists and the like); f: item, v. Items that give nothing by name are looked through.
  void sources(Value *v, int self, const std::function<void(int, Value *)> &f2) {
    auto g = gives.find(v);
    if (g != gives.end() && g->second != self) return f2(g->second, v);
    auto b = im.bridges.find(v);
    if (b != im.bridges.end()) {
      auto m = maker.find(b->second->ir);
      if (m != maker.end()) f2(m->second, v);
      return;
    }
    if (v->node() == im.residual->block()->param_node()) return;
    for (Value *i : v->node()->inputs()) sources(i, self, f2);
  }

  bool crosses_here(Value *v) {
    auto a = abstract.find(v);
    return a != abstract.end() && typed(a->second); // others stay with who makes them, whatever they are
  }

  void find_needs() {
    for (int k = 0; k < n; k++) {
      auto &mine = needs[(size_t)k];
      mine.clear();
      if (item[(size_t)k]->r && (item[(size_t)k]->op.empty() || group[(size_t)k] >= 0))
        for (Value *v : outside[(size_t)k]) sources(v, k, [&](int from, Value *) { mine.insert(from); });
      if (!item[(size_t)k]->op.empty())
        for (const A &u : item[(size_t)k]->uses)
          each_name(u, [&](const std::string &s) {
            auto m = maker.find(s);
            if (m != maker.end()) mine.insert(m->second);
          });
    }
  }

  void find_live() {
    std::vector<int> todo;
    auto want = [&](int k) {
      if (!live[(size_t)k]) live[(size_t)k] = true, todo.push_back(k);
    };
    for (int k = 0; k < n; k++)
      if (item[(size_t)k]->effect || item[(size_t)k]->writes || item[(size_t)k]->mutates) want(k);
    for (const A &r : f.results) {
      each_name(r, [&](const std::string &s) {
        auto m = maker.find(s);
        if (m != maker.end()) want(m->second);
      });
      if (r->r && gives.count(r->r)) want(gives[r->r]);
    }
    while (!todo.empty()) {
      int k = todo.back();
      todo.pop_back();
      for (int d : needs[(size_t)k]) want(d);
    }
  }

  bool is_script(int k) const { return live[(size_t)k] && item[(size_t)k]->op.empty() && item[(size_t)k]->r; }

  // What item k reads or gives: through nodes that are no items, as the copy of what it was given, which it writes to and gives.
  std::vector<Value *> seen_by(int k) const {
    std::vector<Value *> out;
    std::set<Value *> met;
    std::function<void(Value *)> look = [&](Value *v) {
      if (!met.insert(v).second) return;
      out.push_back(v);
      auto g = gives.find(v);
      if ((g != gives.end() && g->second != k) || im.bridges.count(v) || v->node() == im.residual->block()->param_node()) return;
      for (Value *i : v->node()->inputs()) look(i);
    };
    for (Value *v : item[(size_t)k]->r->outputs())
      if (met.insert(v).second) out.push_back(v);
    for (Value *v : outside[(size_t)k]) look(v);
    return out;
  }

  // f(w, k): w writes to a list or dictionary, and k may see it. Only TorchScript holds such a one.
  void each_mutation(const std::function<void(int, int)> &f2) {
    bool any = false;
    for (int k = 0; k < n; k++) any = any || item[(size_t)k]->mutates;
    if (!any) return;
    const Aliases db(im.residual);
    for (int w = 0; w < n; w++)
      for (int k = 0; k < n && is_script(w) && item[(size_t)w]->mutates; k++) {
        if (k == w || !is_script(k)) continue;
        if (db.writes_to(item[(size_t)w]->r, seen_by(k))) f2(w, k);
      }
  }

  // Effects keep their order, and writes theirs with whoever may see them.
  void find_order() {
    int last = -1;
    for (int k = 0; k < n; k++) {
      if (!live[(size_t)k] || !item[(size_t)k]->effect) continue;
      if (last >= 0) needs[(size_t)k].insert(last);
      last = k;
    }
    each_mutation([&](int w, int k) { needs[(size_t)std::max(w, k)].insert(std::min(w, k)); });
    bool any = false;
    for (int k = 0; k < n; k++) any = any || (live[(size_t)k] && item[(size_t)k]->writes);
    if (!any) return;
    const Aliases db(im.residual);
    for (int w = 0; w < n; w++) {
      if (!live[(size_t)w] || !item[(size_t)w]->writes) continue;
      for (int k = 0; k < n; k++) {
        if (k == w || !live[(size_t)k]) continue;
        bool meets = !item[(size_t)w]->r || !item[(size_t)k]->r;
        if (!meets && !db.writes_to(item[(size_t)w]->r, seen_by(k))) continue;
        if (k < w) needs[(size_t)w].insert(k);
        else needs[(size_t)k].insert(w);
      }
    }
  }

  void unite(int a, int b) {
    if (group[(size_t)a] < 0) group[(size_t)a] = a;
    if (group[(size_t)b] < 0) group[(size_t)b] = b;
    int ga = group[(size_t)a], gb = group[(size_t)b];
    if (ga == gb) return;
    for (int &g : group)
      if (g == std::max(ga, gb)) g = std::min(ga, gb);
  }

  void take(int k, int g) {
    if (!item[(size_t)k]->r) throw Refused("a node has no counterpart in TorchScript");
    if (item[(size_t)k]->writes) throw Refused("a node that writes in place stands between nodes that stay TorchScript");
    if (group[(size_t)k] < 0) group[(size_t)k] = k;
    unite(k, g);
  }

  void seed() {
    for (int k = 0; k < n; k++)
      if (is_script(k)) group[(size_t)k] = k;
    each_mutation([&](int w, int k) { unite(w, k); });
    for (bool changed = true; changed;) {
      changed = false;
      for (int k = 0; k < n; k++) {
        if (group[(size_t)k] < 0 || !item[(size_t)k]->r) continue;
        for (Value *v : outside[(size_t)k])
          sources(v, k, [&](int from, Value *given) {
            if (crosses_here(given) || group[(size_t)from] == group[(size_t)k]) return;
            if (item[(size_t)from]->writes) throw Refused("a node writes in place to what only TorchScript holds");
            unite(from, k);
            changed = true;
          });
      }
    }
  }

  // Items between two of a group are taken in.
  bool close(int g) {
    std::vector<bool> after((size_t)n), before((size_t)n);
    auto in = [&](int k) { return group[(size_t)k] == g; };
    // Order is no order of places: repeated until nothing changes.
    for (bool changed = true; changed;) {
      changed = false;
      for (int k = 0; k < n; k++) {
        if (!live[(size_t)k]) continue;
        for (int d : needs[(size_t)k]) {
          if ((in(d) || after[(size_t)d]) && !after[(size_t)k]) {
            after[(size_t)k] = true, changed = true;
          }
          if ((in(k) || before[(size_t)k]) && !before[(size_t)d]) {
            before[(size_t)d] = true, changed = true;
          }
          // another group is one place
        }
      }
      for (int k = 0; k < n; k++)
        for (int j = 0; j < n; j++) {
          if (group[(size_t)k] < 0 || group[(size_t)k] == g || group[(size_t)j] != group[(size_t)k]) continue;
          if (after[(size_t)k] && !after[(size_t)j]) after[(size_t)j] = true, changed = true;
          if (before[(size_t)k] && !before[(size_t)j]) before[(size_t)j] = true, changed = true;
        }
    }
    bool any = false;
    for (int k = 0; k < n; k++)
      if (live[(size_t)k] && after[(size_t)k] && before[(size_t)k] && !in(k)) {
        take(k, g), any = true;
        g = group[(size_t)k];
      }
    return any;
  }

  void close_all() {
    for (bool changed = true; changed;) {
      changed = false;
      std::set<int> all(group.begin(), group.end());
      for (int g : all)
        if (g >= 0 && std::find(group.begin(), group.end(), g) != group.end() && close(g)) {
          find_needs_again();
          changed = true;
          break;
        }
    }
  }

  void find_needs_again() {
    find_needs();
    find_live();
    find_order();
  }

  // Two groups with nothing between them are one.
  void merge() {
    for (bool changed = true; changed;) {
      changed = false;
      std::set<int> all(group.begin(), group.end());
      all.erase(-1);
      for (int a : all)
        for (int b : all) {
          if (a >= b || changed) continue;
          auto was = group;
          unite(a, b);
          int size = (int)std::count_if(group.begin(), group.end(), [](int x) { return x >= 0; });
          try {
            auto live_was = live;
            close(std::min(a, b));
            if ((int)std::count_if(group.begin(), group.end(), [](int x) { return x >= 0; }) == size) {
              changed = true;
              break;
            }
          } catch (const Refused &) {
          }
          group = was;
        }
    }
  }

  // ---------------------------------------------------------------- methods

  struct Method {
    std::shared_ptr<Graph> g = std::make_shared<Graph>();
    std::unordered_map<const Value *, Value *> map;
    Values inputs, outputs;
    bool effect = false;
    std::set<int> members, made;
  };

  Value *value(Method &m, Value *v) {
    auto f2 = m.map.find(v);
    if (f2 != m.map.end()) return f2->second;
    if (v == im.residual->inputs()[0]) return m.map[v] = m.g->inputs()[0];
    auto g = gives.find(v);
    bool own = g != gives.end() && m.members.count(g->second);
    if (!own || im.bridges.count(v)) {
      auto a = abstract.find(v);
      if (a != abstract.end() && crosses(a->second) && (im.bridges.count(v) || g != gives.end())) {
        for (size_t k = 0; k < m.inputs.size(); k++)
          if (m.inputs[k]->ir == a->second->ir) return m.map[v] = m.g->inputs()[k + 1];
        m.inputs.push_back(a->second);
        Value *x = m.g->addInput("x" + std::to_string(m.inputs.size() - 1));
        x->setType(a->second->kind == Abstract::Tensor ? c10::TypePtr(c10::TensorType::get()) : a->second->jtype);
        return m.map[v] = x;
      }
    }
    if (v->node() == im.residual->block()->param_node()) throw Refused("a value is not at hand in TorchScript");
    if (g != gives.end() && item[(size_t)g->second]->r == v->node()) throw Refused("values cross where they cannot");
    copy(m, v->node());
    return m.map.at(v);
  }

  void copy(Method &m, Node *k) {
    std::vector<Value *> first;
    gather(k, &first);
    for (Value *v : first) value(m, v);
    Node *c = m.g->createClone(k, [&](Value *v) { return value(m, v); });
    m.g->insertNode(c);
    for (size_t i = 0; i < k->outputs().size(); i++) m.map[k->output(i)] = c->output(i);
  }

  static void name_attributes(Block *b, Value *self) {
    for (Node *k : b->nodes()) {
      bool attribute = k->kind() == c10::prim::GetAttr || k->kind() == c10::prim::SetAttr;
      if (attribute && k->input(0) == self) k->s_(c10::attr::name, attribute_name(k->s(c10::attr::name)));
      for (Block *s : k->blocks()) name_attributes(s, self);
    }
  }

  // Values of group g that others read.
  Values read_outside(const std::set<int> &members) {
    std::set<std::string> wanted;
    auto want = [&](const std::string &s) { wanted.insert(s); };
    for (const A &r : f.results) each_name(r, want);
    for (int k = 0; k < n; k++) {
      if (!live[(size_t)k] || members.count(k)) continue;
      if (group[(size_t)k] < 0)
        for (const A &u : item[(size_t)k]->uses) each_name(u, want);
      else
        for (Value *v : outside[(size_t)k])
          sources(v, k, [&](int, Value *given) {
            auto a = abstract.find(given);
            if (a != abstract.end()) want(a->second->ir);
          });
    }
    Values out;
    for (int k : members)
      for (const A &r : item[(size_t)k]->results)
        if (!r->ir.empty() && wanted.count(r->ir)) out.push_back(r);
    return out;
  }

  void make(std::string *blob) {
    auto unit = std::make_shared<torch::jit::CompilationUnit>();
    torch::jit::Module module(c10::QualifiedName("__torch__.Islands"), unit);
    std::map<int, std::set<int>> groups;
    for (int k = 0; k < n; k++)
      if (live[(size_t)k] && group[(size_t)k] >= 0) groups[group[(size_t)k]].insert(k);
    for (const std::string &key : im.opaque_state) {
      std::string attribute;
      auto holder = holder_of(im.module, key, &attribute);
      module.register_attribute(attribute_name(key), holder->type()->getAttribute(attribute), holder->getAttr(attribute));
    }
    std::vector<std::unique_ptr<Item>> call((size_t)n);
    int number = 0;
    for (const auto &[g, members] : groups) {
      Method m;
      m.members = members;
      Value *self = m.g->addInput("self");
      self->setType(module.type());
      auto made = std::make_unique<Item>();
      for (int k : members) {
        if (item[(size_t)k]->r) copy(m, item[(size_t)k]->r);
        made->effect = made->effect || item[(size_t)k]->effect;
        if (made->place.empty()) made->place = item[(size_t)k]->place;
        if (made->why.empty()) made->why = item[(size_t)k]->why;
      }
      m.outputs = read_outside(members);
      std::vector<Value *> out;
      for (const A &o : m.outputs) {
        if (!crosses(o)) throw Refused("a result of unknown type leaves TorchScript" + made->place);
        out.push_back(value(m, o->r));
      }
      if (out.size() == 1) m.g->registerOutput(out[0]);
      else if (out.empty()) m.g->registerOutput(m.g->insertConstant(IValue()));
      else m.g->registerOutput(m.g->insertNode(m.g->createTuple(out))->output());
      name_attributes(m.g->block(), self);
      std::string name = "island_" + std::to_string(number++);
      auto *fn = unit->create_function(c10::QualifiedName(*module.type()->name(), name), m.g);
      module.type()->addMethod(fn);
      made->op = "torchop";
      for (const A &a : m.inputs) made->args += a->ir + ", ";
      made->args += "script=@islands, method=" + quote(name);
      made->uses = m.inputs;
      made->results = m.outputs;
      call[(size_t)g] = std::move(made);
    }
    std::ostringstream bytes;
    module.save(bytes);
    *blob = bytes.str();
    arrange(groups, call);
  }

  // In an order in which all is there when it is needed, otherwise as it was.
  void arrange(const std::map<int, std::set<int>> &groups, std::vector<std::unique_ptr<Item>> &call) {
    std::vector<bool> done((size_t)n);
    Items out;
    auto ready = [&](int k) {
      for (int d : needs[(size_t)k])
        if (!done[(size_t)d] && d != k && (group[(size_t)d] < 0 || group[(size_t)d] != group[(size_t)k])) return false;
      return true;
    };
    for (bool changed = true; changed;) {
      changed = false;
      for (int k = 0; k < n && !changed; k++) {
        if (done[(size_t)k] || !live[(size_t)k]) continue;
        if (group[(size_t)k] < 0) {
          if (!ready(k)) continue;
          done[(size_t)k] = changed = true;
          out.push_back(std::move(f.items[(size_t)k]));
          continue;
        }
        const auto &members = groups.at(group[(size_t)k]);
        if (!std::all_of(members.begin(), members.end(), ready)) continue;
        for (int j : members) done[(size_t)j] = true;
        changed = true;
        out.push_back(std::move(call[(size_t)group[(size_t)k]]));
      }
    }
    for (int k = 0; k < n; k++)
      if (live[(size_t)k] && !done[(size_t)k]) throw Refused("nodes that stay TorchScript cannot be put in an order");
    f.items = std::move(out);
  }
};

// What to return instead of an output of that type.
std::string instead_of(const c10::TypePtr &t) {
  c10::TypePtr own = t;
  if (auto o = t ? t->cast<c10::OptionalType>() : nullptr) own = o->getElementType();
  if (own && own->cast<c10::ListType>()) return ", and how many items it has is not known here: return them in one tensor (torch.stack, torch.cat), or each by itself";
  if (own && own->cast<c10::DictType>()) return ", and its keys are not known here: return the tensors in a tuple";
  return "";
}

} // namespace

void Importer::islands(Function &f, std::string *blob) {
  for (size_t k = 0; k < f.results.size(); k++) {
    const A &r = f.results[k];
    if (r->kind == Abstract::Known || crosses(r)) continue;
    std::string why;
    for (const auto &i : f.items)
      if (i->op.empty() && why.empty()) why = ": " + i->why + i->place;
    throw Refused("output " + std::to_string(k) + " (" + (r->jtype ? r->jtype->repr_str() : "of an unknown kind") + ") is neither a tensor nor a number" + instead_of(r->jtype) + why);
  }
  if (!in_one.empty()) throw Refused(in_one);
  Islands x(*this, f);
  x.find_needs();
  x.find_live();
  x.find_order();
  x.seed();
  x.find_needs_again();
  x.close_all();
  x.merge();
  x.find_needs_again();
  x.make(blob);
}

} // namespace cierge::import
