// Words of the text form: dtypes, numbers, types and their sizes, written and read.
#include "base/number.h"
#include "import.h"

namespace cierge::import {

namespace {
struct Word { const char *text; int code; };
const Word words[] = {
#define DTYPE(NAME, text, torch, c, size, kind, dl, bits, npy, c10, ex) {text, c10},
#include "ir/dtype.def"
#undef DTYPE
};
} // namespace

const char *dtype_word(at::ScalarType t) {
  for (const Word &w : words)
    if (w.code == (int)t) return w.text;
  return nullptr;
}

std::string dtype_argument(at::ScalarType t) {
  const char *w = dtype_word(t);
  return !w ? "" : w[0] == 'u' ? "uint" + std::string(w + 1) : w;
}

int dtype_code(const std::string &word) {
  for (const Word &w : words)
    if (word == w.text) return w.code;
  return -1;
}

std::string quote(const std::string &s) {
  std::string out = "\"";
  for (unsigned char c : s) {
    char hex[8];
    if (c == '"' || c == '\\') out += '\\', out += (char)c;
    else if (c < 32 || c == 127) snprintf(hex, sizeof hex, "\\x%02x", c), out += hex;
    else out += (char)c;
  }
  return out + "\"";
}

// ---------------------------------------------------------------- numbers

static std::string float_text(double v) {
  char text[CG_DOUBLE_TEXT];
  cg_double_text(v, text);
  return text;
}

std::string number_text(const IValue &v) {
  if (v.isInt()) return std::to_string(v.toInt());
  if (v.isDouble()) return float_text(v.toDouble());
  if (v.isBool()) return v.toBool() ? "true" : "false";
  if (v.isComplexDouble()) return "complex(" + float_text(v.toComplexDouble().real()) + ", " + float_text(v.toComplexDouble().imag()) + ")";
  return "";
}

std::string spelled(const A &a) { return a->kind == Abstract::Known ? number_text(a->known) : a->ir; }

const char *number_word(const c10::TypePtr &t) {
  switch (t->kind()) {
  case c10::TypeKind::IntType: return "int";
  case c10::TypeKind::FloatType: return "float";
  case c10::TypeKind::BoolType: return "bool";
  default: return nullptr;
  }
}

c10::TypePtr number_type(const std::string &word) {
  if (word == "int") return c10::IntType::get();
  if (word == "float") return c10::FloatType::get();
  return word == "bool" ? c10::TypePtr(c10::BoolType::get()) : nullptr;
}

std::string dtype_of_number(const std::string &word) { return word == "int" ? "i64" : word == "float" ? "f64" : "bool"; }

std::string bare(const std::string &type) { return is_tensor_text(type) ? type : type.substr(0, type.find('(')); }

// ---------------------------------------------------------------- types of tensors

bool is_tensor_text(const std::string &type) { return type.find('[') != std::string::npos; }

std::string type_text(const std::string &dtype, const std::vector<std::string> &dims) {
  std::string s = dtype + "[";
  for (size_t k = 0; k < dims.size(); k++) s += (k ? ", " : "") + dims[k];
  return s + "]";
}

std::string type_text(const at::Tensor &t) {
  std::vector<std::string> size;
  std::string strides;
  int64_t c = 1;
  bool plain = t.storage_offset() == 0;
  for (int64_t k = t.dim() - 1; k >= 0; k--) {
    plain = plain && (t.size(k) == 1 || t.stride(k) == c || !t.numel());
    c *= t.size(k);
  }
  for (int64_t k = 0; k < t.dim(); k++) {
    size.push_back(std::to_string(t.size(k)));
    strides += (k ? ", " : "") + std::to_string(t.stride(k));
  }
  std::string s = type_text(dtype_word(t.scalar_type()), size);
  if (!plain) s += "{" + strides + (t.storage_offset() ? "; " + std::to_string(t.storage_offset()) : "") + "}";
  return s;
}

std::string plain_type(const std::string &type) { return type.substr(0, type.find('{')); }

std::string dtype_of(const std::string &type) { return type.substr(0, type.find('[')); }

std::vector<std::string> dims_of(const std::string &type) {
  std::vector<std::string> out;
  size_t at = type.find('['), depth = 0;
  if (at == std::string::npos) return out;
  std::string one;
  for (at++; at < type.size(); at++) {
    char c = type[at];
    if (!depth && (c == ',' || c == ']')) {
      if (!one.empty()) out.push_back(one);
      one.clear();
      if (c == ']') break;
      continue;
    }
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (c != ' ' || !one.empty()) one += c;
  }
  return out;
}

bool fixed_size(const std::string &dim, int64_t *out) {
  char *end;
  *out = strtoll(dim.c_str(), &end, 10);
  return !*end && !dim.empty();
}

bool wrap_dim(int64_t *dim, size_t rank) {
  if (*dim < 0) *dim += (int64_t)rank;
  return *dim >= 0 && *dim < (int64_t)rank;
}

bool alike(const std::string &wider, const std::string &type) {
  auto x = dims_of(wider), y = dims_of(type);
  if (dtype_of(wider) != dtype_of(type) || x.size() != y.size()) return false;
  for (size_t d = 0; d < x.size(); d++)
    if (x[d] != y[d] && y[d][0] != 'u') return false;
  return true;
}

} // namespace cierge::import
