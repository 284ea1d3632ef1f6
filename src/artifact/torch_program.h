// A torch region's program: what the compiler writes (backend/torch/lower.c), the plugin reads (plugin/torch/) and the runtime
// looks into for the place of an error.
// A byte stream (base/bytes.h):
//   u32 version = 2
//   u32 n_inputs                    region inputs are registers 0 … n_inputs-1
//   u32 n_registers                 all registers; results of calls follow the inputs
//   u32 n_calls, then for each call
//     text op ("aten::add"), text overload ("Tensor", "" default)
//     u32 n_args, then for each argument a tagged value (below)
//     u32 n_mutated, u32[] argument indices that are cloned before the call; the clones become results behind the schema's own
//     u32 n_results, u32[] registers ("0xffffffff": dropped)
//     u32 site                      plan site index for messages
//     A call of a script: op is "script:" and its number in the plan, overload the method. The first argument, a bool, says whether
//     items of lists that it returns are results of their own, as those of tuples always are; the method's arguments follow.
//     u32 n_free, u32[] registers that nobody reads after this call
//   u32 n_outputs, u32[] registers
// Tagged value: u8 tag, then
//   0 none | 1 register u32 | 2 int i64 | 3 float f64 | 4 bool u8 | 5 text | 6 dtype u8 (c10 code) | 7 layout u8 (c10)
//   8 device text | 9 memory format u8 (c10) | 10 list: u8 item kind hint, u32 n, n tagged values | 11 complex f64 f64
//   12 a register with its recorded strides: u32 register, u32 rank, rank tagged ints, tagged int storage offset
//      (for stride-sensitive operators: the tensor is copied into that layout first)
//   13 an integer expression: u32 n, n items { u8 cg_expr_kind, i64 } in postfix order, where SYM's number is a register
//      (sizes that appear only while the region runs)
// The item kind hint of a list is a cg_schema_kind, so that an empty list gets the type its schema asks for.
#ifndef CG_ARTIFACT_TORCH_PROGRAM_H
#define CG_ARTIFACT_TORCH_PROGRAM_H
#define CG_TORCH_PROGRAM_VERSION 2u
#define CG_TORCH_SCRIPT "script:"
enum { CG_TA_NONE, CG_TA_REGISTER, CG_TA_INT, CG_TA_FLOAT, CG_TA_BOOL, CG_TA_TEXT, CG_TA_DTYPE, CG_TA_LAYOUT, CG_TA_DEVICE,
       CG_TA_MEMORY_FORMAT, CG_TA_LIST, CG_TA_COMPLEX, CG_TA_STRIDED, CG_TA_EXPRESSION };
#define CG_TORCH_DROPPED 0xffffffffu
#endif
