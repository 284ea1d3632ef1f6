// Reads a TorchScript program: the C face's import_script. Loads the archive, runs its graph on abstract values.
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/import.h>

#include "base/script_check.h"
#include "import.h"
#include "import_face.h"
#include "region.h"
#include "unsafe.h"

namespace cierge::import {

namespace {

void refuse_calls(Block *b) {
  for (Node *n : b->nodes()) {
    if (n->kind() == c10::prim::CallMethod || n->kind() == c10::prim::CallFunction)
      throw Refused("the program calls what cannot be looked into (" + std::string(n->kind().toQualString()) + ")");
    for (Block *s : n->blocks()) refuse_calls(s);
  }
}

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
  auto optional = x->kind == Abstract::Opaque && x->jtype ? x->jtype->cast<c10::OptionalType>() : nullptr;
  if (optional && optional->getElementType()->kind() == c10::TypeKind::TensorType) { // the run tells whether it is one
    x->kind = Abstract::Tensor;
    x->ir = im.fresh();
  }
  out->push_back(x);
}

} // namespace

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
    std::string open; // numbers that only a call tells: shapes that follow from them are not known either
    for (size_t k = 1; k < graph->inputs().size(); k++)
      if (inputs[k - 1]->kind == Abstract::Number) open += (open.empty() ? "" : ", ") + graph->inputs()[k]->debugNameBase();
    throw Refused("the program raises an exception for inputs of these types: " + r.text + (now ? place_of(now) : "") +
                  (open.empty() ? "" : "; any number is taken for " + open + " here: give the value that the program is to be compiled for (--input NAME=VALUE)"));
  }
  Values out;
  for (const A &a : outputs_of(graph->block())) flatten(*this, a, &out);
  return out;
}

namespace {

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
  auto r = std::make_unique<Result>();
  r->program = import_program(module, in);
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
