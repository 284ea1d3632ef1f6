// Reads a TorchScript program: the C face's import_script. Loads the archive, runs the graph on abstract values, writes the text.
#include <ATen/Functions.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/import.h>

#include <sstream>

#include "import.h"
extern "C" {
#include "base/script_check.h"
}
#include "import_face.h"
#include "region.h"
#include "unsafe.h"

namespace cierge::import {

namespace {

// ---------------------------------------------------------------- what may not run

void refuse_calls(Block *b) {
  for (Node *n : b->nodes()) {
    if (n->kind() == c10::prim::CallMethod || n->kind() == c10::prim::CallFunction)
      throw Refused("the program calls what cannot be looked into (" + std::string(n->kind().toQualString()) + ")");
    for (Block *s : n->blocks()) refuse_calls(s);
  }
}

// ---------------------------------------------------------------- the text

struct Writer {
  Importer &im;
  std::set<std::string> live; // values that something needs
  std::string out;

  static void names(const A &a, const std::function<void(const std::string &)> &f) {
    if (!a->ir.empty()) f(a->ir);
    for (const A &i : a->items) names(i, f);
  }
  void need(const Function &f) {
    for (const A &r : f.results) names(r, [&](const std::string &s) { live.insert(s); });
    for (size_t k = f.items.size(); k-- > 0;) {
      const Item &i = *f.items[k];
      bool wanted = i.effect || i.writes;
      for (const A &r : i.results) wanted = wanted || live.count(r->ir);
      if (!wanted) continue;
      for (const A &u : i.uses) names(u, [&](const std::string &s) { live.insert(s); });
      for (const auto &sub : i.fns) need(*sub);
    }
  }
  static std::string type_of(const A &a) {
    if (a->kind == Abstract::Tensor && a->meta.defined() && a->meta.layout() == at::kStrided && dtype_word(a->meta.scalar_type())) {
      std::string t = type_text(a->meta);
      if (t.substr(0, t.find('{')) == a->type) return t;
    }
    return a->type.empty() ? "?" : a->type;
  }
  static std::string spell(const A &a) {
    if (!a->ir.empty()) return a->ir;
    if (is_none(a)) return "none";
    std::string s = a->kind == Abstract::Known ? number_text(a->known) : "";
    if (s.empty()) throw Refused("an output is neither a tensor nor a number");
    return s;
  }
  void function(const Function &f, const std::string &updates) {
    out += "fn @" + f.name + "(";
    for (size_t k = 0; k < f.params.size(); k++) out += (k ? ", " : "") + f.params[k]->ir + ": " + f.params[k]->type;
    out += ") {\n";
    std::vector<const Function *> subs;
    for (const auto &i : f.items) {
      bool wanted = i->effect || i->writes;
      for (const A &r : i->results) wanted = wanted || live.count(r->ir);
      if (!wanted) continue;
      out += "  ";
      for (size_t k = 0; k < i->results.size(); k++) out += (k ? ", " : "") + i->results[k]->ir + ": " + type_of(i->results[k]);
      out += (i->results.empty() ? "" : " = ") + i->op + "(" + i->args + ")" + i->place + "\n";
      for (const auto &s : i->fns) subs.push_back(s.get());
    }
    out += updates;
    if (!f.results.empty()) out += "  return ";
    for (size_t k = 0; k < f.results.size(); k++) out += (k ? ", " : "") + spell(f.results[k]);
    out += "\n}\n\n";
    for (const Function *s : subs) function(*s, "");
  }
};

void flatten(Importer &im, const A &a, Values *out) {
  if (a->kind == Abstract::List || a->kind == Abstract::Tuple || a->kind == Abstract::Dict) {
    for (const A &i : a->items) flatten(im, i, out);
    return;
  }
  A x = a->kind == Abstract::Tensor && a->ir.empty() && a->number ? im.as_tensor(a) : a;
  if ((x->kind == Abstract::Tensor || x->kind == Abstract::Opaque) && x->type.empty() && out->size() < (size_t)im.in->n_output_types && *im.in->output_type[out->size()]) {
    x->kind = Abstract::Tensor;
    x->type = im.in->output_type[out->size()];
    x->ir = im.fresh();
    im.feed("value " + x->ir + ": " + x->type);
  }
  out->push_back(x);
}

} // namespace

// ---------------------------------------------------------------- the importer

Importer::Importer(torch::jit::Module m, const cierge_torch_import *i) : module(std::move(m)), in(i) {}

static void find_state(Importer &im) {
  std::map<Value *, c10::intrusive_ptr<c10::ivalue::Object>> objects;
  objects[im.graph->inputs()[0]] = im.module._ivalue();
  im.path_of[im.module._ivalue().get()] = "";
  std::function<void(Block *)> walk = [&](Block *b) {
    for (Node *n : b->nodes()) {
      for (Block *s : n->blocks()) walk(s);
      bool reads = n->kind() == c10::prim::GetAttr;
      if (!reads && n->kind() != c10::prim::SetAttr) continue;
      auto o = objects.find(n->input(0));
      if (o == objects.end()) continue;
      std::string path = im.path_of[o->second.get()], name = n->s(c10::attr::name), key = path.empty() ? name : path + "." + name;
      if (!reads) {
        im.state.insert(key);
        continue;
      }
      IValue v = o->second->getAttr(name);
      if (!v.isObject()) continue;
      im.path_of.emplace(v.toObject().get(), key);
      objects[n->output()] = v.toObject();
    }
  };
  walk(im.graph->block());
}

void Importer::prepare() {
  auto method = module.find_method("forward");
  if (!method) throw Refused("the program has no method forward");
  graph = method->graph()->copy();
  torch::jit::Inline(*graph);
  refuse_calls(graph->block());
  residual = std::make_shared<Graph>();
  residual->addInput("self")->setType(module.type());
  torch::jit::WithInsertPoint at(residual->block());
  residual->insertConstant(IValue(false)); // constants go before it
  residual->setInsertPoint(residual->block());
}

Values Importer::run(const Values &inputs) {
  env.clear();
  attributes.clear();
  size_t k = 0;
  for (Value *v : graph->inputs()) set(v, k == 0 ? known(IValue(module._ivalue())) : inputs[k - 1]), k++;
  torch::jit::WithInsertPoint at(residual->block());
  try {
    block_nodes(graph->block());
  } catch (const Raises &r) {
    throw Refused("the program raises an exception for inputs of these types: " + r.text + (now ? place_of(now) : ""));
  }
  Values out;
  for (const A &a : outputs_of(graph->block())) flatten(*this, a, &out);
  return out;
}

// ---------------------------------------------------------------- driving

namespace {

struct Program {
  std::string text;
  std::vector<Constant> constants;
  std::string blob;
};

bool same(const Importer::Entry &a, const Importer::Entry &b) {
  if (a.fixed != b.fixed) return false;
  return a.fixed ? a.value.type()->kind() == b.value.type()->kind() && !a.value.isTensor() && a.value == b.value : a.type == b.type;
}

std::string type_of(const Importer::Entry &e) {
  if (!e.fixed) return e.type;
  if (e.value.isTensor() && e.value.toTensor().defined() && dtype_word(e.value.toTensor().scalar_type())) return type_text(e.value.toTensor()).substr(0, type_text(e.value.toTensor()).find('{'));
  return e.value.isInt() ? "int" : e.value.isDouble() ? "float" : e.value.isBool() ? "bool" : "";
}

// What holds either; false: no buffer can.
bool join(const Importer::Entry &a, const Importer::Entry &b, Importer::Entry *out) {
  *out = a;
  if (same(a, b)) return true;
  out->fixed = false;
  out->type = type_of(a);
  return !out->type.empty() && out->type == type_of(b);
}

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
    find_state(*im);
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
      std::string type = e.type == "int" ? "i64[]" : e.type == "float" ? "f64[]" : e.type == "bool" ? "bool[]" : e.type;
      if (v.isTensor() && v.toTensor().defined() && dtype_word(v.toTensor().scalar_type()) && type_text(v.toTensor()) == type) t = v.toTensor().clone();
      else {
        std::vector<int64_t> size;
        for (const std::string &d : dims_of(type)) size.push_back(std::stoll(d));
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

  static std::string word_of(const Importer::Entry &e) { return e.type == "int" ? "i64" : e.type == "float" ? "f64" : "bool"; }

  // The values that the buffers get, as tensors.
  Values kept(Importer &im, const Importer::Entries &entry) {
    Values out;
    for (const auto &[key, e] : entry) {
      if (e.fixed) continue;
      A a = im.current_state[key];
      if (e.type.find('[') == std::string::npos) {
        std::string s = a->kind == Abstract::Known ? number_text(a->known) : a->ir;
        a = im.call("aten.scalar_tensor", s + ", dtype=" + word_of(e), a->kind == Abstract::Known ? Values{} : Values{a});
      }
      out.push_back(a);
    }
    return out;
  }

  // Where the pieces cannot be told apart the whole program stays TorchScript: better than none.
  void islands(Importer &im, Function &f, const Values &inputs, Program *p) {
    bool any = false;
    for (const auto &i : f.items) any = any || i->op.empty();
    if (!any) return;
    try {
      im.islands(f, &p->blob);
    } catch (const Refused &why) {
      bool again = false;
      for (const std::string &key : state) again = opaque_state.insert(key).second || again;
      if (again) {
        im.opaque_state = opaque_state;
        throw Again();
      }
      for (const A &r : f.results)
        if (r->kind != Abstract::Known && !((r->kind == Abstract::Tensor || r->kind == Abstract::Number) && !r->type.empty())) throw;
      im.whole(f, inputs, &p->blob);
    }
  }

  void write(Importer &im, Program *p, const std::string &updates, const Values &updated) {
    Writer w{im, {}, ""};
    for (const A &u : updated) w.live.insert(u->ir);
    w.need(im.main);
    w.function(im.main, updates);
    std::string head = im.schema_lines;
    for (Constant &c : im.constants) {
      if (c.type.empty()) continue;
      std::string ref = "@" + quote(c.name);
      c.used = c.state || w.out.find(ref) != std::string::npos;
      if (!c.used) continue;
      head += c.kind + " " + ref + ": " + c.type + (c.state ? " state" : "") + " size " + std::to_string(c.tensor.storage().nbytes()) + "\n";
    }
    p->text = head + im.input_lines + w.out;
    p->constants = im.constants;
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
        if (!e.fixed) operands.push_back(im.tensor("@" + quote(buffers[key]), e.type.find('[') == std::string::npos ? word_of(e) + "[]" : e.type));
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
        std::string ta = a->kind == Abstract::Known ? std::string(a->known.isInt() ? "int" : a->known.isDouble() ? "float" : "bool") : a->type, tb = b->kind == Abstract::Known ? ta : b->type;
        std::string t = ta == tb ? ta : im.join_types(ta, tb, &ok);
        if (!ok || t.empty()) return std::nullopt;
        A v = im.named(t.find('[') == std::string::npos ? t.substr(0, t.find('(')) : t);
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

struct Bytes : std::streambuf {
  Bytes(const void *p, size_t n) { setg((char *)p, (char *)p, (char *)p + n); }
  pos_type seekoff(off_type off, std::ios_base::seekdir dir, std::ios_base::openmode) override {
    char *base = dir == std::ios_base::beg ? eback() : dir == std::ios_base::cur ? gptr() : egptr();
    if (base + off < eback() || base + off > egptr()) return pos_type(off_type(-1));
    setg(eback(), base + off, egptr());
    return pos_type(gptr() - eback());
  }
  pos_type seekpos(pos_type p, std::ios_base::openmode m) override { return seekoff(off_type(p), std::ios_base::beg, m); }
};

struct Result {
  Program program;
  std::vector<cierge_torch_bytes> constants, blobs;
};

} // namespace

} // namespace cierge::import

namespace cierge {

using namespace import;

void import_script(const cierge_torch_import *in, cierge_torch_imported *out) {
  char why[512];
  if (!cg_script_check(in->bytes, in->size, why, sizeof why)) throw Refused(why);
  Allowed allowed{in->allow, in->n_allow};
  refuse_unsafe_archive(in->bytes, in->size, allowed);
  Bytes bytes(in->bytes, in->size);
  std::istream stream(&bytes);
  at::NoGradGuard no_grad;
  torch::jit::Module module = torch::jit::load(stream, c10::Device(at::kCPU));
  refuse_unsafe_module(module, allowed);
  Driver d{module, in, {}, {}, {}};
  auto r = std::make_unique<Result>();
  r->program = d.drive();
  for (const Constant &c : r->program.constants)
    if (c.used) r->constants.push_back({c.name.c_str(), c.tensor.storage().data(), c.tensor.storage().nbytes()});
  if (!r->program.blob.empty()) r->blobs.push_back({"islands", r->program.blob.data(), r->program.blob.size()});
  *out = {r->program.text.c_str(), r->constants.data(), (int)r->constants.size(), r->blobs.data(), (int)r->blobs.size(), nullptr};
  out->self = r.release();
}

void import_free(cierge_torch_imported *x) {
  delete (Result *)x->self;
  *x = {};
}

} // namespace cierge
