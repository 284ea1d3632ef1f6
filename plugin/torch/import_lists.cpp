// Rules of import_ops.def: lists, tuples and dictionaries. Those of known length are taken apart; of the others, which stay in
// TorchScript, it is known what their elements have in common.
#include <algorithm>

#include "import_ops.h"

namespace cierge::import {

using c10::TypeKind;

namespace {

// Where `index` points to; false: that is not known.
bool place_in(const A &list, const A &index, size_t *out) {
  int64_t k;
  if (!is_int(index, &k)) return false;
  if (!wrap_dim(&k, list->items.size())) throw Raises{"list index out of range", nullptr};
  *out = (size_t)k;
  return true;
}

int64_t key_at(const A &dict, const IValue &key) {
  for (size_t i = 0; i < dict->keys.size(); i++)
    if (dict->keys[i] == key) return (int64_t)i;
  return -1;
}

void put(const A &dict, const IValue &key, const A &v) {
  int64_t k = key_at(dict, key);
  if (k >= 0) dict->items[(size_t)k] = v;
  else dict->keys.push_back(key), dict->items.push_back(v);
}

A copy_of(const Op &o, const A &a) {
  auto out = std::make_shared<Abstract>(*a);
  out->depth = o.im.open, out->r = nullptr, out->attribute = "";
  return out;
}

// Before a container is written to: an attribute's is TorchScript's from here on.
void change(Op &o) {
  const A &a = o.in[0];
  if (!a->attribute.empty()) {
    o.im.state.insert(a->attribute);
    o.im.opaque_state.insert(a->attribute);
    throw Again();
  }
  o.im.touch(a);
}

// After it: some of these operators give the container back.
bool changed(Op &o) { return o.n->outputs().empty() || o.passes(o.in[0]); }

// a op b, where one that is `absorbing` decides.
A either(Importer &im, const A &a, const A &b, const char *op, bool absorbing) {
  bool v;
  if (is_bool(a, &v)) return v == absorbing ? a : b;
  if (is_bool(b, &v)) return v == absorbing ? b : a;
  return im.number_op(op, {a, b});
}

A equal(Importer &im, const A &a, const A &b) {
  return a->kind == Abstract::Known && b->kind == Abstract::Known ? known(a->known == b->known) : im.number_op("_operator.eq", {a, b});
}

} // namespace

namespace rules {

// ---------------------------------------------------------------- made and taken apart

bool make_list(Op &o) { return o.gives(Abstract::List, o.in); }

bool make_tuple(Op &o) { return o.gives(Abstract::Tuple, o.in); }

bool make_dict(Op &o) {
  A d = o.im.container(Abstract::Dict, {}, o.n->output()->type());
  for (size_t i = 0; i + 1 < o.in.size(); i += 2) {
    if (o.in[i]->kind != Abstract::Known || o.in[i]->known.isTensor()) return false;
    put(d, o.in[i]->known, o.in[i + 1]);
  }
  return o.passes(d);
}

bool unpack(Op &o) {
  const A &a = o.in[0];
  if (a->kind != Abstract::List && a->kind != Abstract::Tuple) return false;
  if (a->items.size() != o.n->outputs().size())
    throw Raises{"Expected " + std::to_string(o.n->outputs().size()) + " elements in a list but found " + std::to_string(a->items.size()), nullptr};
  for (size_t i = 0; i < a->items.size(); i++) o.im.set(o.n->output(i), a->items[i]);
  return true;
}

bool tuple_index(Op &o) {
  size_t k;
  return o.in[0]->kind == Abstract::Tuple && place_in(o.in[0], o.in[1], &k) && o.passes(o.in[0]->items[k]);
}

bool tuple_slice(Op &o) {
  auto all = o.in[0]->items.begin();
  return o.in[0]->kind == Abstract::Tuple && o.gives(Abstract::Tuple, Values(all + o.n->i(c10::attr::beg), all + o.n->i(c10::attr::end)));
}

// ---------------------------------------------------------------- lists and dictionaries

bool length(Op &o) { return o.answers((int64_t)o.in[0]->items.size()); }

bool copy(Op &o) { return o.in.size() == 1 && o.passes(copy_of(o, o.in[0])); }

bool clear(Op &o) { return change(o), o.in[0]->items.clear(), o.in[0]->keys.clear(), changed(o); }

// ---------------------------------------------------------------- lists

bool list_get(Op &o) {
  size_t k;
  return place_in(o.in[0], o.in[1], &k) && o.passes(o.in[0]->items[k]);
}

bool list_set(Op &o) {
  size_t k;
  return place_in(o.in[0], o.in[1], &k) && (change(o), o.in[0]->items[k] = o.in[2], changed(o));
}

bool list_append(Op &o) { return change(o), o.in[0]->items.push_back(o.in[1]), changed(o); }

bool list_extend(Op &o) {
  if (o.in[1]->kind != Abstract::List) return false;
  Values more = o.in[1]->items;
  change(o);
  o.in[0]->items.insert(o.in[0]->items.end(), more.begin(), more.end());
  return changed(o);
}

bool list_insert(Op &o) {
  int64_t at, size = (int64_t)o.in[0]->items.size();
  if (!is_int(o.in[1], &at)) return false;
  change(o);
  if (at < 0) at = std::max<int64_t>(0, at + size);
  o.in[0]->items.insert(o.in[0]->items.begin() + std::min(at, size), o.in[2]);
  return changed(o);
}

bool list_pop(Op &o) {
  size_t k;
  if (!place_in(o.in[0], o.in.size() > 1 ? o.in[1] : known((int64_t)-1), &k)) return false;
  change(o);
  A x = o.in[0]->items[k];
  o.in[0]->items.erase(o.in[0]->items.begin() + (long)k);
  return o.n->outputs().empty() || o.passes(x);
}

bool list_reverse(Op &o) { return change(o), std::reverse(o.in[0]->items.begin(), o.in[0]->items.end()), changed(o); }

bool list_add(Op &o) {
  if (o.in[1]->kind != Abstract::List) return false;
  A out = copy_of(o, o.in[0]);
  out->items.insert(out->items.end(), o.in[1]->items.begin(), o.in[1]->items.end());
  return o.passes(out);
}

constexpr int64_t LONGEST = 65536; // longer ones stay in TorchScript

bool list_mul(Op &o) {
  int64_t times;
  if (!is_int(o.in[1], &times) || times > LONGEST / (int64_t)std::max<size_t>(1, o.in[0]->items.size())) return false;
  A out = copy_of(o, o.in[0]);
  out->items.clear();
  for (int64_t i = 0; i < times; i++) out->items.insert(out->items.end(), o.in[0]->items.begin(), o.in[0]->items.end());
  return o.passes(out);
}

bool list_slice(Op &o) {
  int64_t size = (int64_t)o.in[0]->items.size(), from = 0, to = size, step = 1;
  auto bound = [&](size_t k, int64_t *v) { return o.in.size() <= k || is_none(o.in[k]) || is_int(o.in[k], v); };
  if (!bound(1, &from) || !bound(2, &to) || !bound(3, &step) || step <= 0) return false;
  if (from < 0) from = std::max<int64_t>(0, from + size);
  if (to < 0) to += size;
  A out = copy_of(o, o.in[0]);
  out->items.clear();
  for (int64_t i = from; i < std::min(to, size); i += step) out->items.push_back(o.in[0]->items[(size_t)i]);
  return o.passes(out);
}

bool list_contains(Op &o) {
  if (o.in.size() != 2 || !is_number(o.in[1])) return false;
  A any = known(false);
  for (const A &i : o.in[0]->items) {
    if (!is_number(i)) return false;
    any = either(o.im, any, equal(o.im, o.in[1], i), "_operator.or_", true);
  }
  return o.gives(any);
}

bool list_equal(Op &o) {
  if (o.in[1]->kind != Abstract::List) return false;
  const Values &x = o.in[0]->items, &y = o.in[1]->items;
  A all = known(x.size() == y.size());
  for (size_t i = 0; i < x.size() && i < y.size(); i++) {
    if (!is_number(x[i]) || !is_number(y[i])) return false;
    all = either(o.im, all, equal(o.im, x[i], y[i]), "_operator.and_", false);
  }
  if (o.as) all = all->kind == Abstract::Known ? known(!all->known.toBool()) : o.im.number_op(o.as, {all});
  return o.gives(all);
}

bool list_reduce(Op &o) {
  const Values &items = o.in[0]->items;
  if (o.in.size() != 1 || items.empty() || !is_number_type(o.n->output()->type()) || !std::all_of(items.begin(), items.end(), is_number)) return false;
  A out = items[0];
  for (size_t i = 1; i < items.size(); i++) out = o.im.number_op(o.as, {out, items[i]});
  return o.gives(out);
}

// ---------------------------------------------------------------- dictionaries

// Where the key is; -1: nowhere. false: it is not known.
static bool find_key(const Op &o, int64_t *k) {
  if (o.in.size() < 2 || o.in[1]->kind != Abstract::Known) return false;
  *k = key_at(o.in[0], o.in[1]->known);
  return true;
}

bool dict_values(Op &o) { return o.gives(Abstract::List, o.in[0]->items); }

bool dict_keys(Op &o) {
  Values all;
  for (const IValue &k : o.in[0]->keys) all.push_back(known(k));
  return o.gives(Abstract::List, all);
}

bool dict_items(Op &o) {
  Values all;
  auto type = o.n->output()->type()->expect<c10::ListType>()->getElementType();
  for (size_t i = 0; i < o.in[0]->items.size(); i++) all.push_back(o.im.container(Abstract::Tuple, {known(o.in[0]->keys[i]), o.in[0]->items[i]}, type));
  return o.gives(Abstract::List, all);
}

bool dict_update(Op &o) {
  if (o.in[1]->kind != Abstract::Dict) return false;
  change(o);
  for (size_t i = 0; i < o.in[1]->items.size(); i++) put(o.in[0], o.in[1]->keys[i], o.in[1]->items[i]);
  return true;
}

bool dict_contains(Op &o) {
  int64_t k;
  return find_key(o, &k) && o.answers(k >= 0);
}

bool dict_get(Op &o) {
  int64_t k;
  if (!find_key(o, &k)) return false;
  if (k >= 0) return o.passes(o.in[0]->items[(size_t)k]);
  if (o.as) throw Raises{o.as, nullptr};
  return o.passes(o.in.size() > 2 ? o.in[2] : known(IValue()));
}

bool dict_set(Op &o) {
  int64_t k;
  return find_key(o, &k) && (change(o), put(o.in[0], o.in[1]->known, o.in[2]), true);
}

bool dict_setdefault(Op &o) {
  int64_t k;
  if (!find_key(o, &k)) return false;
  if (k < 0) change(o), put(o.in[0], o.in[1]->known, o.in[2]);
  return o.passes(k < 0 ? o.in[2] : o.in[0]->items[(size_t)k]);
}

bool dict_pop(Op &o) {
  int64_t k;
  if (!find_key(o, &k)) return false;
  if (k < 0 && o.in.size() > 2) return o.passes(o.in[2]);
  if (k < 0) throw Raises{"KeyError", nullptr};
  change(o);
  A d = o.in[0], x = d->items[(size_t)k];
  d->items.erase(d->items.begin() + k), d->keys.erase(d->keys.begin() + k);
  return o.n->outputs().empty() || o.passes(x);
}

// ---------------------------------------------------------------- of unknown length

static void stays(Op &o, Values types = {}) { o.im.opaque(o.n, o.name() + " of a list of unknown length", std::move(types)); }

static void widen(Op &o, const A &x) {
  bool exact = true;
  A &e = o.in[0]->element;
  e = e ? o.im.join(e, x, &exact) : x;
}

bool some_list_write(Op &o) {
  const A &l = o.in[0];
  if (!l->jtype || l->jtype->kind() != TypeKind::ListType) return false;
  widen(o, o.in.back());
  if (l->element->ir.empty() && l->element->kind == Abstract::Number && l->element->type.empty()) l->element = nullptr;
  if (!l->attribute.empty()) o.im.opaque_attribute(l->attribute, l, l);
  stays(o);
  if (o.n->outputs().size()) o.im.get(o.n->output())->element = l->element;
  return true;
}

bool some_dict_write(Op &o) {
  widen(o, o.in[2]);
  o.im.opaque(o.n, "a dictionary of unknown keys");
  return true;
}

bool some_element(Op &o) { return o.in[0]->element && (stays(o, {o.in[0]->element}), true); }

bool some_list(Op &o) {
  if (!o.in[0]->element) return false;
  stays(o);
  o.im.get(o.n->output())->element = o.in[0]->element;
  return true;
}

// Of tensors that are alike: one whose size along the dimension appears at run time.
bool some_joined(Op &o) {
  const A &e = o.in[0]->element;
  int64_t d;
  if (!e || e->kind != Abstract::Tensor || e->type.empty() || !is_int(o.in[1], &d)) return false;
  auto dims = dims_of(e->type);
  if (o.n->kind() == c10::aten::stack) dims.emplace_back();
  if (!wrap_dim(&d, dims.size())) return false;
  if (o.n->kind() == c10::aten::stack) std::rotate(dims.begin() + d, dims.end() - 1, dims.end());
  dims[(size_t)d] = o.im.some_size();
  return stays(o, {o.im.tensor("", type_text(dtype_of(e->type), dims))}), true;
}

} // namespace rules

} // namespace cierge::import
