// Attributes that change: buffers of the program, read at the beginning of a call and written at its end.
//
// Where an attribute is of one type always, one program does. Where the first call begins with something else (an empty tensor,
// None, a flag), the first call is a program of its own, and a number that says which call it is chooses between the two.
#include "import.h"

namespace cierge::import {

c10::intrusive_ptr<c10::ivalue::Object> holder_of(const torch::jit::Module &m, const std::string &key, std::string *name) {
  auto o = m._ivalue();
  std::string rest = key;
  for (size_t dot; (dot = rest.find('.')) != std::string::npos; rest = rest.substr(dot + 1)) o = o->getAttr(rest.substr(0, dot)).toObject();
  *name = rest;
  return o;
}

// Attributes that the program sets, wherever it does.
void Importer::find_state() {
  std::map<Value *, c10::intrusive_ptr<c10::ivalue::Object>> objects;
  objects[graph->inputs()[0]] = module._ivalue();
  path_of[module._ivalue().get()] = "";
  std::function<void(Block *)> walk = [&](Block *b) {
    for (Node *n : b->nodes()) {
      for (Block *s : n->blocks()) walk(s);
      bool reads = n->kind() == c10::prim::GetAttr;
      if (!reads && n->kind() != c10::prim::SetAttr) continue;
      auto o = objects.find(n->input(0));
      if (o == objects.end()) continue;
      std::string path = path_of[o->second.get()], name = n->s(c10::attr::name), key = path.empty() ? name : path + "." + name;
      if (!reads) {
        state.insert(key);
        continue;
      }
      IValue v = o->second->getAttr(name);
      if (!v.isObject()) continue;
      path_of.emplace(v.toObject().get(), key);
      objects[n->output()] = v.toObject();
    }
  };
  walk(graph->block());
}

Importer::Entries Importer::initial() {
  Entries out;
  for (const std::string &key : state) {
    if (opaque_state.count(key)) continue;
    std::string name;
    auto holder = holder_of(module, key, &name);
    out[key].value = holder->getAttr(name);
  }
  return out;
}

// The values with which a call begins, and the nodes that read them.
void Importer::begin(const Entries &entries, std::map<std::string, std::string> *buffers) {
  current_state.clear();
  for (const auto &[key, e] : entries) {
    if (e.fixed) {
      current_state[key] = from_ivalue(e.value, nullptr, key, "buffer");
      continue;
    }
    const std::string &buffer = (*buffers)[key];
    if (is_tensor_text(e.type)) {
      current_state[key] = tensor("@" + quote(buffer), e.type);
      continue;
    }
    current_state[key] = call("aten._local_scalar_dense", "@" + quote(buffer), {tensor("@" + quote(buffer), dtype_of_number(e.type) + "[]")});
  }
}

// What the attributes hold at the end; `bad`: those that no buffer can hold.
Importer::Entries Importer::end_of(std::set<std::string> *bad) {
  Entries out;
  for (const auto &[key, a] : current_state) {
    Entry &e = out[key];
    if (a->kind == Abstract::Known && !a->known.isObject()) {
      e.value = a->known;
      continue;
    }
    e.fixed = false;
    if (a->kind == Abstract::Tensor && a->known.isTensor() && !a->type.empty()) { // a constant: its type is what counts
      e.type = a->type;
      continue;
    }
    bool fits = (a->kind == Abstract::Tensor || a->kind == Abstract::Number) && !a->type.empty();
    e.type = bare(a->type);
    int64_t size;
    for (const std::string &d : dims_of(e.type)) fits = fits && fixed_size(d, &size);
    if (!fits) bad->insert(key);
  }
  return out;
}

// ---------------------------------------------------------------- attributes

static std::string key_of(Importer &im, const A &object, const std::string &name) {
  const std::string &path = im.path_of[object->known.toObject().get()];
  return path.empty() ? name : path + "." + name;
}

void Importer::get_attribute(Node *n) {
  A o = get(n->input());
  std::string name = n->s(c10::attr::name);
  if (o->kind == Abstract::Dict) { // an object of the program's own
    for (size_t i = 0; i < o->keys.size(); i++)
      if (o->keys[i].toStringRef() == name) return set(n->output(), o->items[i]);
    throw Refused("the attribute " + name + " is read before it is set" + place_of(n));
  }
  if (o->kind != Abstract::Known || !o->known.isObject()) return opaque(n, "an attribute of an object that appears at run time");
  std::string key = key_of(*this, o, name);
  if (opaque_state.count(key)) {
    Node *r = nullptr;
    if (at_top()) {
      r = residual->insertNode(residual->create(c10::prim::GetAttr, {residual->inputs()[0]}, 1));
      r->s_(c10::attr::name, key);
      r->output()->setType(n->output()->type());
    }
    auto item = std::make_unique<Item>();
    item->r = r, item->why = "the attribute " + key + " changes its kind", item->effect = true;
    Item *made = add(std::move(item));
    A t = opaque_type.count(key) ? opaque_type[key] : from_ivalue(o->known.toObject()->getAttr(name), n->output()->type());
    if (t->kind == Abstract::Known && !number_text(t->known).empty()) t = by_jit_type(n->output()->type());
    else if (t->kind == Abstract::List || t->kind == Abstract::Opaque) { // its length may change
      A e = std::make_shared<Abstract>();
      e->kind = Abstract::Opaque, e->jtype = n->output()->type();
      A el = element_of(t);
      if (el->kind != Abstract::Nothing) e->element = el;
      t = e;
    } else if (t->kind != Abstract::Tensor) t = by_jit_type(n->output()->type());
    A v = wrap(r ? r->output() : nullptr, t);
    v->attribute = key;
    made->results = {v};
    return set(n->output(), v);
  }
  if (state.count(key)) return set(n->output(), current_state[key]);
  A &cached = attributes[key];
  if (!cached) {
    IValue v = o->known.toObject()->getAttr(name);
    if (v.isObject()) path_of.emplace(v.toObject().get(), key);
    auto type = o->known.toObject()->type();
    bool parameter = false, buffer = false;
    if (auto slot = type->findAttributeSlot(name)) parameter = type->is_parameter(*slot), buffer = type->is_buffer(*slot);
    int was = open;
    open = 0; // it is there from the beginning
    cached = from_ivalue(v, n->output()->type(), key, parameter ? "param" : buffer ? "buffer" : "const");
    open = was;
    if (cached->kind == Abstract::List || cached->kind == Abstract::Dict) cached->attribute = key, cached->depth = -1;
  }
  set(n->output(), cached);
}

// Whether b says no more than a: fresh sizes are alike.
static bool as_known(const A &a, const A &b) {
  if (a == b) return true;
  if (!a || !b || a->kind != b->kind) return false;
  if (a->kind == Abstract::Opaque) return as_known(a->element, b->element);
  if (a->type == b->type || a->kind != Abstract::Tensor || a->type.empty() || b->type.empty()) return a->type == b->type;
  return alike(b->type, a->type);
}

// The first value, or what was found before, and one more that it may hold.
void Importer::opaque_attribute(const std::string &key, const A &first, const A &v) {
  A had = opaque_type.count(key) ? opaque_type[key] : first;
  bool exact = true;
  A j = join(had, v, &exact);
  if (as_known(had, j)) return;
  opaque_type[key] = j;
  throw Again();
}

void Importer::set_attribute(Node *n) {
  A o = get(n->input(0)), v = get(n->input(1));
  std::string name = n->s(c10::attr::name);
  if (o->kind == Abstract::Dict) {
    touch(o);
    for (size_t i = 0; i < o->keys.size(); i++)
      if (o->keys[i].toStringRef() == name) {
        o->items[i] = v;
        return;
      }
    o->keys.emplace_back(name);
    o->items.push_back(v);
    return;
  }
  if (o->kind != Abstract::Known || !o->known.isObject()) return opaque(n, "an attribute of an object that appears at run time");
  std::string key = key_of(*this, o, name);
  if (!opaque_state.count(key)) {
    current_state[key] = v;
    return;
  }
  opaque_attribute(key, from_ivalue(o->known.toObject()->getAttr(name), nullptr), v);
  auto item = std::make_unique<Item>();
  item->why = "the attribute " + key + " changes its kind", item->effect = true;
  if (at_top()) item->r = residual->insertNode(residual->createSetAttr(residual->inputs()[0], key, materialise(v)));
  add(std::move(item));
}

} // namespace cierge::import
