// Inside the plugin: modules of TorchScript that programs call (torchop).
//
// A script is loaded once, its parameters and constants folded into its methods. What remains in the module is what its
// methods change: each instance has a copy of that, and of nothing else. Methods run in TorchScript's interpreter, on graphs
// made ready at load: no profiling, no compilation in a first call, no setting of the process is touched.
#ifndef CIERGE_TORCH_SCRIPT_H
#define CIERGE_TORCH_SCRIPT_H
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/interpreter.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "reader.h"
#include "region.h"

namespace cierge {

struct Method {
  std::shared_ptr<torch::jit::Graph> graph; // inlined; its first input is the module
  torch::jit::Code code;
  std::vector<c10::TypePtr> args, returns;  // without the module; tuples of returns opened
  bool stateful = false, draws = false, effect = false;
  std::vector<unsigned char> writes, keeps; // [args] keeps: an attribute may hold it afterwards
  std::vector<unsigned char> shares;        // [returns][args + returns]
  std::vector<std::optional<c10::IValue>> defaults; // [args]
  std::vector<std::string> ops, arg_type, return_type;
  std::vector<const char *> op_names, arg_type_names, return_type_names;
};

// What a call of a program's gives an argument of a method.
struct ScriptArg {
  Arg plain;                         // unless `list` or `tuple`
  c10::TypePtr list;                 // a list of such
  bool tuple = false;
  std::vector<ScriptArg> items;
};

struct ScriptCall {
  uint32_t script;                   // number
  bool open_lists;                   // the items of lists that it returns are results of their own
  const Method *method;
  std::vector<ScriptArg> args;
  std::string key;                   // "script:0.forward", for messages
};

} // namespace cierge

struct cierge_torch_script {
  torch::jit::Module module;
  std::mutex lock;                   // of methods
  std::map<std::string, std::unique_ptr<cierge::Method>> methods;
};

struct cierge_torch_instance {
  const cierge_torch_script &script;
  c10::intrusive_ptr<c10::ivalue::Object> object;
};

namespace cierge {

// All of these throw.

std::unique_ptr<cierge_torch_script> load_script(const void *bytes, size_t size, const char *const *allow, int n_allow);
const Method &method_of(cierge_torch_script &s, const std::string &name);
c10::intrusive_ptr<c10::ivalue::Object> fresh_state(const cierge_torch_script &s);

// The arguments of a call of "script:NUMBER" as a program holds them: whether lists are opened, then the method's.
std::shared_ptr<ScriptCall> read_script_call(Reader &r, const std::string &name, const std::string &method);
bool with_autograd(const ScriptCall &c); // some operator of its has its only kernel at an Autograd key
bool is_script_call(const std::string &name);
// The module and its arguments onto the stack; then the call, which leaves its results there.
void script_arguments(const ScriptCall &c, const cierge_torch_run &run, std::vector<c10::IValue> &stack);
void call_script(const ScriptCall &c, std::vector<c10::IValue> &stack);

} // namespace cierge
#endif
