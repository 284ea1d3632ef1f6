// From attempts to a program: where one finds out what has to be known before it, all starts over. Programs whose first call is
// unlike the later ones become two.
#include <ATen/Functions.h>

#include "import.h"

namespace cierge::import {

namespace {

bool same(const Importer::Entry &a, const Importer::Entry &b) {
  if (a.fixed != b.fixed) return false;
  return a.fixed ? a.value.type()->kind() == b.value.type()->kind() && !a.value.isTensor() && a.value == b.value : a.type == b.type;
}

std::string type_of(const Importer::Entry &e) {
  if (!e.fixed) return e.type;
  if (e.value.isTensor() && e.value.toTensor().defined() && dtype_word(e.value.toTensor().scalar_type())) return plain_type(type_text(e.value.toTensor()));
  const char *word = number_word(e.value.type());
  return word ? word : "";
}

// What holds either; false: no buffer can.
bool join(const Importer::Entry &a, const Importer::Entry &b, Importer::Entry *out) {
  *out = a;
  if (same(a, b)) return true;
  out->fixed = false;
  out->type = type_of(a);
  return !out->type.empty() && out->type == type_of(b);
}

// Of the buffer that holds it: a number's is a tensor of one.
std::string buffer_type(const Importer::Entry &e) { return is_tensor_text(e.type) ? e.type : dtype_of_number(e.type) + "[]"; }

struct Driver {
  torch::jit::Module module;
  const cierge_torch_import *in;
  std::set<std::string> state, opaque_state;
  std::map<std::string, A> opaque_type;

  std::unique_ptr<Importer> fresh(Values *inputs) {
    in->reset(in->self);
    auto im = std::make_unique<Importer>(module, in);
    im->state = state, im->opaque_state = opaque_state, im->opaque_type = opaque_type;
    im->prepare();
    im->find_state();
    im->items = &im->main.items;
    im->main.name = "main";
    *inputs = im->read_inputs();
    return im;
  }

  void remember(const Importer &im) { state = im.state, opaque_state = im.opaque_state, opaque_type = im.opaque_type; }

  // f(importer, inputs, buffers): one import. What it found out is remembered where it has to start over.
  template <class F> auto with_importer(const Importer::Entries &entry, F f) {
    Values inputs;
    auto im = fresh(&inputs);
    std::map<std::string, std::string> buffers;
    try {
      declare(*im, entry, &buffers);
      return f(*im, inputs, buffers);
    } catch (const Again &) {
      remember(*im);
      throw;
    }
  }

  // One run on abstract values: what it leaves in the attributes.
  Importer::Entries probe(const Importer::Entries &entry, std::set<std::string> *bad) {
    return with_importer(entry, [&](Importer &im, const Values &inputs, std::map<std::string, std::string> &buffers) {
      im.begin(entry, &buffers);
      im.run(inputs);
      auto end = im.end_of(bad);
      remember(im);
      return end;
    });
  }

  // Buffers for what entries are not fixed.
  void declare(Importer &im, const Importer::Entries &entry, std::map<std::string, std::string> *buffers) {
    auto first = im.initial();
    for (const auto &[key, e] : entry) {
      if (e.fixed) continue;
      const IValue &v = first[key].value;
      at::Tensor t;
      std::string type = buffer_type(e);
      if (v.isTensor() && v.toTensor().defined() && dtype_word(v.toTensor().scalar_type()) && type_text(v.toTensor()) == type) t = v.toTensor().clone();
      else {
        std::vector<int64_t> size;
        for (const std::string &d : dims_of(type)) fixed_size(d, &size.emplace_back());
        t = at::zeros(size, at::TensorOptions((at::ScalarType)dtype_code(dtype_of(type))));
        if (type_of(first[key]) == e.type && !v.isTensor()) t.fill_(v.toScalar());
      }
      (*buffers)[key] = buffer(im, key, type, t);
    }
  }

  std::string buffer(Importer &im, const std::string &key, const std::string &type, const at::Tensor &t) {
    Constant c;
    c.name = key;
    for (int k = 0; im.constant_names.count(c.name); k++) c.name = key + ".state" + std::to_string(k);
    im.constant_names.insert(c.name);
    c.kind = "buffer", c.type = type, c.tensor = t, c.state = true;
    im.feed("buffer @" + quote(c.name) + ": " + type + " state");
    im.constants.push_back(c);
    return c.name;
  }

  // The values that the buffers get, as tensors.
  Values kept(Importer &im, const Importer::Entries &entry) {
    Values out;
    for (const auto &[key, e] : entry) {
      if (e.fixed) continue;
      const A &a = im.current_state[key];
      out.push_back(is_tensor_text(e.type) ? a : im.call("aten.scalar_tensor", spelled(a) + ", dtype=" + dtype_of_number(e.type), a->kind == Abstract::Known ? Values{} : Values{a}));
    }
    return out;
  }

  // Where the pieces cannot be told apart the whole program stays TorchScript: better than none.
  void islands(Importer &im, Function &f, const Values &inputs, Program *p) {
    bool any = false;
    for (const auto &i : f.items) any = any || i->op.empty();
    if (!any && im.in_one.empty()) return;
    try {
      im.islands(f, &p->blob);
    } catch (const Refused &why) {
      bool again = false;
      for (const std::string &key : state) again = opaque_state.insert(key).second || again;
      if (again) {
        im.opaque_state = opaque_state;
        throw Again();
      }
      if (im.reshapes_input) throw; // one call could not tell the new shape
      for (const A &r : f.results)
        if (r->kind != Abstract::Known && r->kind != Abstract::Tensor && (r->kind != Abstract::Number || r->type.empty())) throw;
      im.whole(f, inputs, &p->blob);
    }
  }

  Program one_program(const Importer::Entries &entry) {
    return with_importer(entry, [&](Importer &im, const Values &inputs, std::map<std::string, std::string> &buffers) {
      Program p;
      im.begin(entry, &buffers);
      im.main.results = im.run(inputs);
      Values values = kept(im, entry);
      size_t own = im.main.results.size();
      im.main.results.insert(im.main.results.end(), values.begin(), values.end());
      islands(im, im.main, inputs, &p);
      im.main.results.resize(own);
      std::string updates;
      size_t k = 0;
      for (const auto &[key, e] : entry)
        if (!e.fixed) updates += "  update @" + quote(buffers[key]) + " = " + values[k++]->ir + "\n";
      write(im, &p, updates, values);
      return p;
    });
  }

  // The first call and the later ones.
  std::optional<Program> two_programs(const Importer::Entries &later) {
    return with_importer(later, [&](Importer &im, const Values &inputs, std::map<std::string, std::string> &buffers) -> std::optional<Program> {
      Program p;
      Function first, rest;
      first.name = "first_call", rest.name = "later_call";
      std::string mode = buffer(im, "call", "bool[]", at::zeros({}, at::kBool));
      im.items = &first.items;
      im.begin(im.initial(), &buffers);
      first.results = im.run(inputs);
      for (const A &a : kept(im, later)) first.results.push_back(a);
      im.items = &rest.items;
      im.begin(later, &buffers);
      rest.results = im.run(inputs);
      for (const A &a : kept(im, later)) rest.results.push_back(a);
      for (Function *f : {&first, &rest})
        for (const auto &i : f->items)
          if (i->op.empty() || i->writes) return std::nullopt;
      if (first.results.size() != rest.results.size()) return std::nullopt;
      im.items = &im.main.items;
      im.now = nullptr;
      Values operands = im.main.params;
      for (const auto &[key, e] : later)
        if (!e.fixed) operands.push_back(im.tensor("@" + quote(buffers[key]), buffer_type(e)));
      // State is handed over: sub-graphs write to nothing.
      std::map<std::string, std::string> renamed;
      std::string list;
      for (size_t k = 0; k < operands.size(); k++) {
        list += (k ? ", " : "") + operands[k]->ir;
        if (operands[k]->ir[0] == '@') {
          auto param = std::make_shared<Abstract>(*operands[k]);
          param->ir = im.fresh();
          im.feed("value " + param->ir + ": " + param->type);
          renamed[operands[k]->ir] = param->ir;
          first.params.push_back(param), rest.params.push_back(param);
        } else first.params.push_back(operands[k]), rest.params.push_back(operands[k]);
      }
      rename(rest, renamed);
      rename(first, renamed);
      A flag = im.call("aten._local_scalar_dense", "@" + quote(mode), {im.tensor("@" + quote(mode), "bool[]")});
      auto item = std::make_unique<Item>();
      item->fns = {std::make_shared<Function>(std::move(rest)), std::make_shared<Function>(std::move(first))};
      item->op = "higher_order.cond";
      item->args = flag->ir + ", fn @later_call, fn @first_call, [" + list + "]";
      item->uses = operands;
      item->uses.push_back(flag);
      item->effect = true;
      Values results;
      for (size_t k = 0; k < item->fns[0]->results.size(); k++) {
        const A &a = item->fns[0]->results[k], &b = item->fns[1]->results[k];
        bool ok = a->kind == b->kind && a->kind != Abstract::Opaque;
        if (ok && is_none(a)) {
          results.push_back(a);
          continue;
        }
        std::string ta = a->kind == Abstract::Known ? std::string(is_known_number(a) ? number_word(a->known.type()) : "") : a->type, tb = b->kind == Abstract::Known ? ta : b->type;
        std::string t = ta == tb ? ta : im.join_types(ta, tb, &ok);
        if (!ok || t.empty()) return std::nullopt;
        A v = im.named(bare(t));
        item->results.push_back(v);
        results.push_back(v);
      }
      for (const auto &f : item->fns) std::erase_if(f->results, is_none);
      im.main.items.push_back(std::move(item));
      std::string updates = "  update @" + quote(mode) + " = %now\n";
      auto now = std::make_unique<Item>();
      A on = im.tensor("%now", "bool[]");
      now->op = "aten.full", now->args = "[], true, dtype=bool", now->results = {on};
      im.main.items.push_back(std::move(now));
      Values updated = {on};
      size_t own = results.size();
      for (const auto &e : later) own -= !e.second.fixed;
      size_t k = own;
      for (const auto &[key, e] : later)
        if (!e.fixed) updated.push_back(results[k]), updates += "  update @" + quote(buffers[key]) + " = " + results[k++]->ir + "\n";
      results.resize(own);
      im.main.results = results;
      write(im, &p, updates, updated);
      return p;
    });
  }

  static void rename(Function &f, const std::map<std::string, std::string> &names) {
    if (names.empty()) return;
    auto change = [&](std::string &s) {
      for (const auto &[from, to] : names)
        for (size_t at = 0; (at = s.find(from, at)) != std::string::npos; at += to.size()) s.replace(at, from.size(), to);
    };
    std::set<Abstract *> done;
    std::function<void(const A &)> value = [&](const A &a) {
      if (done.insert(a.get()).second) change(a->ir);
      for (const A &i : a->items) value(i);
    };
    for (const auto &i : f.items) {
      change(i->args);
      for (const A &u : i->uses) value(u);
      for (const auto &s : i->fns) throw_if_state(*s, names);
    }
    for (const A &r : f.results) value(r);
  }
  static void throw_if_state(const Function &f, const std::map<std::string, std::string> &names) {
    for (const auto &i : f.items)
      for (const auto &[from, to] : names)
        if (i->args.find(from) != std::string::npos) throw Refused("state is read in a branch");
  }

  Program drive() {
    for (int round = 0; round < 64; round++) {
      try {
        return attempt();
      } catch (const Again &) {
      }
    }
    throw Refused("the program's state changes its types from call to call");
  }

  Program attempt() {
    Importer::Entries init;
    {
      Values inputs;
      auto im = fresh(&inputs);
      state = im->state;
      init = im->initial();
    }
    if (init.empty()) return one_program(init);
    std::set<std::string> bad;
    auto end = probe(init, &bad);
    auto give_up = [&]() {
      for (const std::string &k : bad) opaque_state.insert(k);
      throw Again();
    };
    if (!bad.empty()) give_up();
    // One program for all calls, where one set of types does.
    Importer::Entries entry;
    bool one = true;
    for (const auto &[key, e] : init) one = join(e, end[key], &entry[key]) && one;
    if (one)
      for (int round = 0;; round++) {
        auto next = probe(entry, &bad);
        bool stable = true;
        for (auto &[key, e] : entry) {
          Importer::Entry j;
          one = join(e, next[key], &j) && one;
          stable = stable && same(j, e);
          e = j;
        }
        if (!one || !bad.empty()) break;
        if (stable) return one_program(entry);
        if (round > 8) break;
      }
    // Another one for the first call.
    bad.clear();
    entry = end;
    for (int round = 0;; round++) {
      auto next = probe(entry, &bad);
      bool stable = true;
      for (auto &[key, e] : entry) {
        Importer::Entry j;
        if (!join(e, next[key], &j)) bad.insert(key);
        stable = stable && same(j, e);
        e = j;
      }
      if (!bad.empty() || round > 8) break;
      if (!stable) continue;
      if (auto p = two_programs(entry)) return *p;
      for (const auto &e : entry) bad.insert(e.first);
      break;
    }
    give_up();
    return {};
  }
};

} // namespace

Program import_program(const torch::jit::Module &module, const cierge_torch_import *in) { return Driver{module, in, {}, {}, {}}.drive(); }

} // namespace cierge::import
