// The text of what is left of a program: nodes that something needs, and the constants that they speak of.
#include "import.h"

namespace cierge::import {

namespace {

struct Writer {
  std::set<std::string> live; // values that something needs
  std::string out;

  void need(const Function &f) {
    for (const A &r : f.results) each_name(r, [&](const std::string &s) { live.insert(s); });
    for (size_t k = f.items.size(); k-- > 0;) {
      const Item &i = *f.items[k];
      bool wanted = i.effect || i.writes;
      for (const A &r : i.results) wanted = wanted || live.count(r->ir);
      if (!wanted) continue;
      for (const A &u : i.uses) each_name(u, [&](const std::string &s) { live.insert(s); });
      for (const auto &sub : i.fns) need(*sub);
    }
  }
  static std::string type_of(const A &a) {
    if (a->kind == Abstract::Tensor && a->meta.defined() && a->meta.layout() == at::kStrided && dtype_word(a->meta.scalar_type())) {
      std::string t = type_text(a->meta);
      if (plain_type(t) == a->type) return t;
    }
    return a->type.empty() ? "tensor" : a->type;
  }
  static std::string result(const A &a) {
    std::string s = is_none(a) ? "none" : spelled(a);
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
      out += (i->results.empty() ? "" : " = ") + i->op + "(" + i->args + ")" + i->place + (i->why.empty() ? "" : " why_not=" + quote(i->why)) + "\n";
      for (const auto &s : i->fns) subs.push_back(s.get());
    }
    out += updates;
    if (!f.results.empty()) out += "  return ";
    for (size_t k = 0; k < f.results.size(); k++) out += (k ? ", " : "") + result(f.results[k]);
    out += "\n}\n\n";
    for (const Function *s : subs) function(*s, "");
  }
};

} // namespace

void write(Importer &im, Program *p, const std::string &updates, const Values &updated) {
  Writer w{{}, ""};
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

} // namespace cierge::import
