// The inputs of a TorchScript program, as the user says them: types, values, or the program's own defaults.
#include "import.h"

namespace cierge::import {

namespace {

std::string trim(const std::string &s) {
  size_t a = s.find_first_not_of(" \t"), b = s.find_last_not_of(" \t");
  return a == std::string::npos ? "" : s.substr(a, b - a + 1);
}

// "[a, b[c, d]]" -> a, b[c, d]
std::vector<std::string> items_of(const std::string &s) {
  std::vector<std::string> out;
  std::string one;
  int depth = 0;
  for (size_t i = 1; i + 1 < s.size(); i++) {
    depth += s[i] == '[' || s[i] == '(' || s[i] == '{' ? 1 : s[i] == ']' || s[i] == ')' || s[i] == '}' ? -1 : 0;
    if (s[i] == ',' && !depth) out.push_back(trim(one)), one.clear();
    else one += s[i];
  }
  if (!trim(one).empty()) out.push_back(trim(one));
  return out;
}

std::string safe_name(std::string s) {
  for (char &c : s)
    if (!isalnum((unsigned char)c) && c != '_' && c != '.' && c != '$') c = '_';
  return s;
}

struct Inputs {
  Importer &im;
  std::map<std::string, std::string> given; // by name
  std::set<std::string> used;
  int index = 0;
  std::string lines;
  Values params;

  const std::string *find(const std::string &name) {
    for (const std::string &n : {name, "input_" + std::to_string(index)}) {
      auto f = given.find(n);
      if (f == given.end()) continue;
      used.insert(n);
      return &f->second;
    }
    return nullptr;
  }

  A constant(const std::string &name, const std::string &text, IValue v) {
    im.input_lines += "input " + quote(name) + " = " + text + "\n";
    index++;
    return known(std::move(v));
  }

  A leaf(const std::string &name, const c10::TypePtr &type, std::string text) {
    c10::TypePtr t = type;
    if (auto o = t->cast<c10::OptionalType>()) t = o->getElementType();
    auto kind = t->kind();
    bool number = is_number_type(t);
    if (size_t eq = text.find("] = "); eq != std::string::npos) text = number ? text.substr(eq + 4) : text.substr(0, eq + 1); // an example's value
    auto wrong = [&](const char *what) { throw Refused("input " + name + " is " + type->repr_str() + " in the program: '" + text + "' is " + what); };
    if (text == "none" || text == "None") {
      if (type->kind() != c10::TypeKind::OptionalType && type->kind() != c10::TypeKind::NoneType) wrong("no value of it");
      return constant(name, "none", IValue());
    }
    if (text == "true" || text == "false" || text == "True" || text == "False") {
      bool v = tolower(text[0]) == 't';
      if (kind != c10::TypeKind::BoolType) wrong("a bool");
      return constant(name, v ? "true" : "false", v);
    }
    if (!text.empty() && text[0] == '"') {
      if (kind != c10::TypeKind::StringType || text.size() < 2 || text.back() != '"') wrong("a text");
      std::string s = text.substr(1, text.size() - 2);
      return constant(name, quote(s), s);
    }
    char *end;
    double d = strtod(text.c_str(), &end);
    if (!text.empty() && !*end) {
      if (kind == c10::TypeKind::FloatType) return constant(name, number_text(d), d);
      if (kind != c10::TypeKind::IntType || text.find_first_of(".eE") != std::string::npos) wrong("a number");
      int64_t v = strtoll(text.c_str(), nullptr, 10);
      return constant(name, std::to_string(v), v);
    }
    bool tensor = text.find('[') != std::string::npos;
    if (tensor && kind != c10::TypeKind::TensorType) wrong("a tensor");
    if (!tensor && kind == c10::TypeKind::TensorType) wrong("no tensor");
    if (!tensor && !((text == "int" && kind == c10::TypeKind::IntType) || (text == "float" && kind == c10::TypeKind::FloatType) || (text == "bool" && kind == c10::TypeKind::BoolType)))
      wrong("no type that the program takes");
    std::string ir = "%" + safe_name(name);
    std::vector<std::string> types;
    try {
      if (text == "int") { // sizes may be made of it
        std::string symbol = "n_" + safe_name(name);
        for (char &c : symbol)
          if (c == '.' || c == '$') c = '_';
        im.feed("sym " + symbol + " = -1000000000000..1000000000000");
        text = "int(" + symbol + ")";
      }
      types = im.feed("value " + ir + ": " + text);
    } catch (const std::runtime_error &e) {
      throw Refused("input " + name + ": " + e.what());
    }
    A a = im.of_type(ir, types.at(0));
    if (a->kind == Abstract::Known) throw Refused("input " + name + ": '" + text + "' is no type");
    im.input_lines += "input " + quote(name) + " = " + ir + "\n";
    index++;
    params.push_back(a);
    return a;
  }

  A list(const std::string &name, const c10::TypePtr &type, const std::function<A(size_t, const c10::TypePtr &)> &item, size_t n) {
    auto a = std::make_shared<Abstract>();
    a->jtype = type;
    auto tuple = type->cast<c10::TupleType>();
    auto l = type->cast<c10::ListType>();
    if (tuple && tuple->elements().size() != n) throw Refused("input " + name + " is " + type->repr_str() + ": " + std::to_string(n) + " values are given");
    a->kind = tuple ? Abstract::Tuple : Abstract::List;
    for (size_t k = 0; k < n; k++) a->items.push_back(item(k, tuple ? tuple->elements()[k] : l->getElementType()));
    return a;
  }

  // "{a: f32[2], b: f32[3]}"
  A dictionary(const std::string &name, const c10::DictTypePtr &type, const std::string &text) {
    auto a = std::make_shared<Abstract>();
    a->kind = Abstract::Dict;
    a->jtype = type;
    for (const std::string &part : items_of(text)) {
      size_t colon = part.find(':');
      std::string key = trim(part.substr(0, colon)), value = colon == std::string::npos ? "" : trim(part.substr(colon + 1));
      char *end = nullptr;
      int64_t number = strtoll(key.c_str(), &end, 10);
      bool texts = type->getKeyType()->kind() == c10::TypeKind::StringType, numbers = type->getKeyType()->kind() == c10::TypeKind::IntType;
      if (key.empty() || value.empty() || !(texts || (numbers && !*end)))
        throw Refused("input " + name + " is " + type->repr_str() + ": '" + part + "' does not read like 'key: f32[2]', with keys that are texts or whole numbers");
      IValue k = texts ? IValue(key) : IValue(number);
      if (std::find(a->keys.begin(), a->keys.end(), k) != a->keys.end()) throw Refused("input " + name + ": the key " + key + " is given twice");
      a->keys.push_back(k);
      a->items.push_back(one(name + "." + key, type->getValueType(), std::nullopt, &value));
    }
    return a;
  }

  A one(const std::string &name, const c10::TypePtr &type, const std::optional<IValue> &otherwise, const std::string *text) {
    c10::TypePtr t = type;
    if (auto o = t->cast<c10::OptionalType>()) t = o->getElementType();
    bool several = t->kind() == c10::TypeKind::ListType || t->kind() == c10::TypeKind::TupleType;
    if (!text) text = find(name);
    auto dict = t->cast<c10::DictType>();
    if (dict && text && !text->empty() && (*text)[0] == '{') return dictionary(name, dict, *text);
    if (several && text && !text->empty() && (*text)[0] == '[') {
      auto parts = items_of(*text);
      return list(name, t, [&](size_t k, const c10::TypePtr &e) { return one(name + "." + std::to_string(k), e, std::nullopt, &parts[k]); }, parts.size());
    }
    if (several && !text) {
      size_t n = 0;
      if (t->kind() == c10::TypeKind::TupleType) n = t->expect<c10::TupleType>()->elements().size();
      else
        while (given.count(name + "." + std::to_string(n)) || given.count("input_" + std::to_string(index + (int)n))) n++;
      if (n && !(otherwise && t->kind() == c10::TypeKind::TupleType))
        return list(name, t, [&](size_t k, const c10::TypePtr &e) { return one(name + "." + std::to_string(k), e, std::nullopt, nullptr); }, n);
    }
    if (text) return leaf(name, type, *text);
    if (otherwise) {
      A a = im.from_ivalue(*otherwise, type, name);
      std::string s = a->kind == Abstract::Known ? number_text(a->known) : "";
      if (is_none(a)) s = "none";
      else if (a->kind == Abstract::Known && a->known.isString()) s = quote(a->known.toStringRef());
      if (!s.empty()) return constant(name, s, a->known);
      return a; // a list of defaults: no input
    }
    throw Refused("the type of input " + name + " (" + type->repr_str() + ") is not known: give example arrays with --inputs FILE, or say it, --input '" + name +
                  (type->kind() == c10::TypeKind::TensorType ? "=f32[…]'" : is_number_type(t) ? "=int' or a value, '" + name + "=3'" : dict ? "={key: f32[…]}'" : "=…'"));
  }
};

} // namespace

Values Importer::read_inputs() {
  Values out;
  Inputs all{*this, {}, {}, 0, "", {}};
  for (int k = 0; k < in->n_inputs; k++) all.given[in->input[k].name] = trim(in->input[k].text);
  const auto &args = module.get_method("forward").function().getSchema().arguments();
  std::set<std::string> names;
  std::string listed;
  for (size_t k = 1; k < args.size(); k++) names.insert(args[k].name()), listed += (k > 1 ? ", " : "") + args[k].name();
  auto no_input = [&](const std::string &name) { throw Refused("the program has no input " + name + ": it takes " + (listed.empty() ? "none" : listed)); };
  for (const auto &g : all.given)
    if (!names.count(g.first.substr(0, g.first.find('.'))) && g.first.rfind("input_", 0)) no_input(g.first);
  for (size_t k = 1; k < args.size(); k++) out.push_back(all.one(args[k].name(), args[k].type(), args[k].default_value(), nullptr));
  for (const auto &g : all.given)
    if (!all.used.count(g.first) && g.first.find('.') == std::string::npos) no_input(g.first);
  main.params = all.params;
  return out;
}

} // namespace cierge::import
