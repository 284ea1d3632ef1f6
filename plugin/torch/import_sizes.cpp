// Sizes that only the data or numbers tell: operators whose results' types neither cierge's rules nor Meta kernels know, a row each.
#include <algorithm>

#include "import_node.h"
#include "import_ops.h"

namespace cierge::import {

namespace {

using Types = std::vector<std::string>;

// A call, and what its first operand is.
struct Question {
  Importer &im;
  const c10::FunctionSchema &schema;
  const Values &args;
  int64_t count;             // results
  bool tensor = false;       // the first operand is one, and its type is known
  std::string dtype;         // its
  std::vector<std::string> dims;

  Question(Importer &importer, const c10::FunctionSchema &its, const Values &operands, int64_t results) : im(importer), schema(its), args(operands), count(results) {
    tensor = !args.empty() && args[0]->kind == Abstract::Tensor && !args[0]->type.empty();
    if (tensor) dtype = dtype_of(args[0]->type), dims = dims_of(args[0]->type);
  }
  A arg(const char *name) const { // NULL: there is none
    for (size_t i = 0; i < args.size(); i++)
      if (schema.arguments()[i].name() == name) return args[i];
    return nullptr;
  }
  bool flag(size_t k) const {
    bool v = false;
    return k < args.size() && is_bool(args[k], &v) && v;
  }
  bool dim(const A &a, int64_t *out) const { return a && is_int(a, out) && wrap_dim(out, dims.size()); }
  Types along(int64_t d, const std::string &size) const { // the first operand with another size there
    auto out = dims;
    out[(size_t)d] = size;
    return {type_text(dtype, out)};
  }
};

// ---------------------------------------------------------------- sizes that are in the data

Types indices(Question &c) { return {"i64[" + c.im.some_size() + ", " + std::to_string(c.dims.size()) + "]"}; }

Types indices_by_dim(Question &c) { return Types((size_t)c.count, "i64[" + c.im.some_size() + "]"); }

Types selected(Question &c) { return {c.dtype + "[" + c.im.some_size() + "]"}; }

Types one_hot(Question &c) {
  c.dims.push_back(c.im.some_size());
  return {type_text(c.dtype, c.dims)};
}

// x[mask], x[mask, i], x[:, mask]: each mask stands for as many indices as it has dimensions, all of one length.
Types masked(Question &c) {
  if (c.args[1]->kind != Abstract::List) return {};
  auto out = c.dims;
  size_t at = 0, first = 0, last = 0, n = 0;
  bool any = false, apart = false;
  for (const A &i : c.args[1]->items) {
    if (is_none(i)) {
      at++;
      continue;
    }
    if (i->kind != Abstract::Tensor || i->type.empty()) return {};
    size_t rank = dims_of(i->type).size();
    bool mask = dtype_of(i->type) == "bool" || dtype_of(i->type) == "u8";
    if (!mask && rank > 1) return {};
    any = any || mask;
    if (n && at != last) apart = true;
    if (!n) first = at;
    at += mask ? rank : 1;
    last = at, n++;
    if (at > out.size()) return {};
    for (size_t k = at - (mask ? rank : 1); k < at; k++) out[k] = "";
  }
  if (!any) return {};
  std::vector<std::string> kept;
  for (size_t k = 0; k < out.size(); k++) {
    if (!apart && k == first) kept.push_back(c.im.some_size());
    if (!out[k].empty()) kept.push_back(out[k]);
  }
  if (apart) kept.insert(kept.begin(), c.im.some_size());
  else if (first >= out.size()) kept.push_back(c.im.some_size());
  return {type_text(c.dtype, kept)};
}

// The values, where each is found again, how often each is there: empty where that is not asked for.
Types unique(Question &c, bool inverse, bool counts) {
  std::string n = c.im.some_size();
  Types all = {c.dtype + "[" + n + "]", inverse ? type_text("i64", c.dims) : "i64[0]", counts ? "i64[" + n + "]" : "i64[0]"};
  all.resize((size_t)c.count);
  return all;
}
Types unique(Question &c) { return unique(c, c.flag(2), c.flag(3)); }

Types unique_along(Question &c, const A &a, size_t first_flag) {
  int64_t d;
  if (!c.dim(a, &d)) return {};
  std::string n = c.im.some_size(), old = c.dims[(size_t)d];
  return {c.along(d, n)[0], c.flag(first_flag) ? "i64[" + old + "]" : "i64[0]", c.flag(first_flag + 1) ? "i64[" + n + "]" : "i64[0]"};
}
Types unique_dim(Question &c) { return unique_along(c, c.args[1], 3); }
Types unique_dim_consecutive(Question &c) { return unique_along(c, c.args[1], 2); }
Types unique_consecutive(Question &c) { return is_none(c.args[3]) ? unique(c, c.flag(1), c.flag(2)) : unique_along(c, c.args[3], 1); }

Types bincount(Question &c) {
  bool weighted = c.args[1]->kind == Abstract::Tensor;
  return {(weighted ? (dtype_of(c.args[1]->type) == "f32" ? "f32[" : "f64[") : "i64[") + c.im.some_size() + "]"};
}

// The histogram, and the edges along each dimension: numbers of bins, or the edges themselves.
Types histogram(Question &c) {
  Types all = {""};
  std::vector<std::string> bins;
  for (int64_t k = 0; k + 1 < c.count; k++) {
    const A &b = c.args[1]->kind == Abstract::List ? c.args[1]->items.at((size_t)k) : c.args[1];
    int64_t edges;
    if (b->kind == Abstract::Tensor) {
      auto dims = dims_of(b->type);
      if (dims.size() != 1 || !fixed_size(dims[0], &edges)) return {};
    } else if (is_int(b, &edges)) edges++;
    else return {};
    bins.push_back(std::to_string(edges - 1));
    all.push_back(c.dtype + "[" + std::to_string(edges) + "]");
  }
  all[0] = type_text(c.dtype, bins);
  return all;
}

// A segment of the dimension for each length, or between each two offsets.
Types segments(Question &c) {
  A lengths = c.arg("lengths"), by = is_none(lengths) ? c.arg("offsets") : lengths;
  int64_t axis, n;
  if (by->kind != Abstract::Tensor || by->type.empty() || !c.dim(c.arg("axis"), &axis)) return {};
  auto out = dims_of(by->type);
  if (out.empty()) return {};
  if (by != lengths) {
    if (!fixed_size(out.back(), &n)) return {};
    out.back() = std::to_string(n - 1);
  }
  out.insert(out.end(), c.dims.begin() + axis + 1, c.dims.end());
  return {type_text(c.dtype, out)};
}

Types repeated(Question &c) {
  int64_t d;
  if (is_none(c.args[2])) return selected(c);
  return c.dim(c.args[2], &d) ? c.along(d, c.im.some_size()) : Types();
}

// A row of the weight's width for each bag; what else it gives (which bag an index is in, how many there are, which was the greatest) is
// as long as a mode and a padding index make it.
Types bags(Question &c) {
  const A &indices = c.args[1], &offsets = c.args[2];
  int64_t n, mode = -1;
  if (c.dims.size() != 2 || offsets->kind != Abstract::Tensor || indices->kind != Abstract::Tensor || offsets->type.empty() || !is_int(c.arg("mode"), &mode)) return {};
  auto out = dims_of(offsets->type);
  std::string index = dtype_of(offsets->type);
  if (out.size() != 1 || dtype_of(indices->type) != index) return {};
  if (c.flag(7)) { // the last offset is the end
    if (!fixed_size(out[0], &n)) return {};
    out[0] = std::to_string(n - 1);
  }
  out.push_back(c.dims[1]);
  std::string some = index + "[" + c.im.some_size() + "]", more = index + "[" + c.im.some_size() + ", " + c.im.some_size() + "]";
  return {type_text(c.dtype, out), some, some, mode == 2 ? more : some};
}

// Pieces whose ends a tensor tells.
Types pieces(Question &c) {
  int64_t d;
  if (!c.dim(c.arg("dim"), &d)) return {};
  Types out;
  for (int64_t k = 0; k < c.count; k++) out.push_back(c.along(d, c.im.some_size())[0]);
  return out;
}

// A batch of sequences without what lies behind their ends, and how many of them are as long as that.
Types packed(Question &c) {
  if (c.dims.size() < 2) return {};
  std::vector<std::string> steps(c.dims.begin() + 1, c.dims.end());
  steps[0] = c.im.some_size();
  return {type_text(c.dtype, steps), "i64[" + c.im.some_size() + "]"};
}

Types padded(Question &c) {
  const A &sizes = c.arg("batch_sizes");
  int64_t total;
  if (c.dims.empty() || sizes->kind != Abstract::Tensor || dims_of(sizes->type).size() != 1 || !is_int(c.arg("total_length"), &total)) return {};
  std::string batch = c.im.some_size(), steps = total > 0 ? std::to_string(total) : dims_of(sizes->type)[0];
  c.dims[0] = c.flag(2) ? batch : steps;
  c.dims.insert(c.dims.begin() + 1, c.flag(2) ? steps : batch);
  return {type_text(c.dtype, c.dims), "i64[" + batch + "]"};
}

// ---------------------------------------------------------------- sizes made of numbers

Types select(Question &c) {
  int64_t d;
  if (!c.dim(c.arg("dim"), &d)) return {};
  c.dims.erase(c.dims.begin() + d);
  return {type_text(c.dtype, c.dims)};
}

Types slice(Question &c) {
  int64_t d;
  return c.dim(c.arg("dim"), &d) ? c.along(d, c.im.some_size()) : Types();
}

Types narrow(Question &c) {
  int64_t d, length;
  if (!c.dim(c.arg("dim"), &d)) return {};
  return c.along(d, is_int(c.arg("length"), &length) ? std::to_string(length) : c.im.some_size());
}

// `kept`: what a size of -1 stands for, from the last dimension on.
std::vector<std::string> sizes(Question &c, const A &size, const std::vector<std::string> &kept = {}) {
  std::vector<std::string> out;
  size_t lead = size->items.size() - kept.size();
  for (size_t k = 0; k < size->items.size(); k++) {
    const A &i = size->items[k];
    int64_t n;
    if (is_int(i, &n)) {
      out.push_back(n >= 0 ? std::to_string(n) : !kept.empty() && k >= lead ? kept[k - lead] : c.im.some_size());
    } else {
      bool expression = i->kind == Abstract::Number && i->type.rfind("int(", 0) == 0;
      out.push_back(expression ? i->type.substr(4, i->type.size() - 5) : c.im.some_size());
    }
  }
  return out;
}

Types of_size(Question &c, const A &size, const std::string &dtype, const std::vector<std::string> &kept = {}) {
  if (!size || size->kind != Abstract::List || dtype.empty()) return {};
  return {type_text(dtype, sizes(c, size, kept))};
}

Types filled(Question &c, const char *otherwise) { // of the dtype that is said
  int64_t code;
  A word = c.arg("dtype");
  const char *said = word && is_int(word, &code) ? dtype_word((at::ScalarType)code) : c.tensor ? c.dtype.c_str() : otherwise;
  return of_size(c, c.arg("size"), said ? said : "");
}
Types filled(Question &c) { return filled(c, "f32"); }
Types full(Question &c) {
  c10::TypeKind k = c.args[1]->jtype->kind();
  return filled(c, k == c10::TypeKind::IntType ? "i64" : k == c10::TypeKind::BoolType ? "bool" : "f32");
}

Types expand(Question &c) { return of_size(c, c.arg("size"), c.dtype, c.dims); }
Types view(Question &c) { return of_size(c, c.arg("size"), c.dtype); }
Types reshape(Question &c) { return of_size(c, c.arg("shape"), c.dtype); }

// The last dimensions, of another size.
Types resized(Question &c) {
  A size = c.arg("output_size");
  if (!c.tensor || size->kind != Abstract::List || size->items.size() > c.dims.size()) return {};
  auto last = sizes(c, size);
  std::copy(last.begin(), last.end(), c.dims.end() - (long)last.size());
  return {type_text(c.dtype, c.dims)};
}

Types resized_with_places(Question &c) {
  Types out = resized(c);
  if (!out.empty()) out.push_back(type_text("i64", c.dims));
  return out;
}

Types arange(Question &c) {
  int64_t code;
  std::string dtype = "i64";
  if (is_int(c.arg("dtype"), &code)) dtype = dtype_word((at::ScalarType)code) ? dtype_word((at::ScalarType)code) : "";
  else
    for (size_t k = 0; k < c.args.size() && c.schema.arguments()[k].name() != "dtype"; k++)
      if (c.args[k]->jtype && c.args[k]->jtype->kind() == c10::TypeKind::FloatType) dtype = "f32";
  return dtype.empty() ? Types() : Types{dtype + "[" + c.im.some_size() + "]"};
}

// ---------------------------------------------------------------- the table

enum From { Data, Numbers };

const struct Rule {
  const char *op;
  From from; // Data: of a tensor; Numbers: where a number that appears at run time is among the operands
  Types (*types)(Question &);
} questions[] = {
    {"aten::nonzero", Data, indices},
    {"aten::argwhere", Data, indices},
    {"aten::where", Data, indices_by_dim},
    {"aten::nonzero_numpy", Data, indices_by_dim},
    {"aten::masked_select", Data, selected},
    {"aten::index.Tensor", Data, masked},
    {"aten::_unsafe_index.Tensor", Data, masked},
    {"aten::_unique", Data, unique},
    {"aten::_unique2", Data, unique},
    {"aten::unique_consecutive", Data, unique_consecutive},
    {"aten::unique_dim", Data, unique_dim},
    {"aten::unique_dim_consecutive", Data, unique_dim_consecutive},
    {"aten::bincount", Data, bincount},
    {"aten::histogramdd", Data, histogram},
    {"aten::histogramdd.int_bins", Data, histogram},
    {"aten::histogramdd.TensorList_bins", Data, histogram},
    {"aten::one_hot", Data, one_hot},
    {"aten::repeat_interleave.Tensor", Data, selected},
    {"aten::repeat_interleave.self_Tensor", Data, repeated},
    {"aten::segment_reduce", Data, segments},
    {"aten::embedding_bag", Data, bags},
    {"aten::embedding_bag.padding_idx", Data, bags},
    {"aten::tensor_split.tensor_indices_or_sections", Data, pieces},
    {"aten::_pack_padded_sequence", Data, packed},
    {"aten::_pad_packed_sequence", Data, padded},
    {"aten::select.int", Numbers, select},
    {"aten::slice.Tensor", Numbers, slice},
    {"aten::narrow", Numbers, narrow},
    {"aten::expand", Numbers, expand},
    {"aten::view", Numbers, view},
    {"aten::reshape", Numbers, reshape},
    {"aten::_unsafe_view", Numbers, view},
    {"aten::zeros", Numbers, filled},
    {"aten::ones", Numbers, filled},
    {"aten::rand", Numbers, filled},
    {"aten::randn", Numbers, filled},
    {"aten::empty.memory_format", Numbers, filled},
    {"aten::full", Numbers, full},
    {"aten::new_zeros", Numbers, filled},
    {"aten::new_ones", Numbers, filled},
    {"aten::new_full", Numbers, filled},
    {"aten::new_empty", Numbers, filled},
    {"aten::adaptive_avg_pool1d", Numbers, resized},
    {"aten::adaptive_avg_pool2d", Numbers, resized},
    {"aten::adaptive_avg_pool3d", Numbers, resized},
    {"aten::adaptive_max_pool1d", Numbers, resized_with_places},
    {"aten::adaptive_max_pool2d", Numbers, resized_with_places},
    {"aten::adaptive_max_pool3d", Numbers, resized_with_places},
    {"aten::arange", Numbers, arange},
    {"aten::arange.start", Numbers, arange},
    {"aten::arange.start_step", Numbers, arange},
};

} // namespace

std::vector<std::string> run_time_types(Importer &im, const std::string &op, const c10::FunctionSchema &schema, const Values &args, int64_t count) {
  Question c(im, schema, args, count);
  bool numbers = false;
  for (const A &a : args) {
    numbers = numbers || a->kind == Abstract::Number;
    for (const A &i : a->items) numbers = numbers || i->kind == Abstract::Number;
  }
  if (numbers && (op.rfind("aten::upsample_", 0) == 0 || op.rfind("aten::_upsample_", 0) == 0)) return resized(c); // in all their spellings
  for (const Rule &r : questions)
    if (op == r.op && (r.from == Data ? c.tensor : numbers)) return r.types(c);
  return {};
}

// ---------------------------------------------------------------- lists

int64_t list_length(const std::string &name, const c10::FunctionSchema &schema, const Values &args) {
  bool listed = args.size() > 1 && args[1]->kind == Abstract::List;
  int64_t k, n, each, d = 0;
  auto of = [&](std::initializer_list<const char *> names) { return std::find(names.begin(), names.end(), name) != names.end(); };
  auto along = [&] { // the first operand's size there; -1: not known
    A x = args[0];
    for (size_t i = 0; i < args.size(); i++)
      if (schema.arguments()[i].name() == "dim" && !is_int(args[i], &d)) return false;
    if (x->kind != Abstract::Tensor || x->type.empty()) return false;
    auto dims = dims_of(x->type);
    return wrap_dim(&d, dims.size()) && fixed_size(dims[(size_t)d], &n);
  };
  if (of({"aten::split_with_sizes", "aten::unsafe_split_with_sizes"})) return listed ? (int64_t)args[1]->items.size() : -1;
  if (of({"aten::split", "aten::unsafe_split"})) {
    if (listed) return (int64_t)args[1]->items.size();
    return along() && is_int(args[1], &each) && each > 0 ? std::max<int64_t>(1, (n + each - 1) / each) : -1;
  }
  if (of({"aten::chunk", "aten::unsafe_chunk"})) {
    if (!along() || !is_int(args[1], &k) || k <= 0) return -1;
    each = (n + k - 1) / k;
    return each ? (n + each - 1) / each : k;
  }
  if (of({"aten::tensor_split"}) && args[1]->kind == Abstract::Tensor) { // one behind each index, or as many as the tensor says
    auto dims = dims_of(args[1]->type);
    if (args[1]->type.empty() || (!dims.empty() && !fixed_size(dims[0], &k))) return -1;
    if (!dims.empty()) return k + 1;
    A number = number_in(args[1]);
    return number && is_int(number, &k) ? k : -1;
  }
  if (of({"aten::tensor_split", "aten::hsplit", "aten::vsplit", "aten::dsplit"})) return listed ? (int64_t)args[1]->items.size() + 1 : is_int(args[1], &k) ? k : -1;
  if (of({"aten::histogramdd"})) { // one for each dimension of its points
    if (listed) return (int64_t)args[1]->items.size();
    auto dims = dims_of(args[0]->type);
    return !dims.empty() && fixed_size(dims.back(), &n) ? n : -1;
  }
  if (of({"aten::unbind"})) return along() ? n : -1;
  if (of({"aten::where", "aten::nonzero_numpy"}))
    return args[0]->kind == Abstract::Tensor && !args[0]->type.empty() ? std::max<int64_t>(1, (int64_t)dims_of(args[0]->type).size()) : -1;
  bool of_list = !args.empty() && args[0]->kind == Abstract::List && args[0]->jtype && args[0]->jtype->kind() == c10::TypeKind::ListType;
  return of_list ? (int64_t)args[0]->items.size() : -1; // meshgrid, broadcast_tensors, atleast_1d, _foreach_…
}

} // namespace cierge::import
