// Inside the plugin: the bytes of a program, and values as it holds them (program.cpp reads them).
#ifndef CIERGE_TORCH_READER_H
#define CIERGE_TORCH_READER_H
#include <ATen/core/jit_type.h>

#include <string>
#include <vector>

#include "artifact/torch_program.h"
#include "base/bytes.h"
#include "region.h"

namespace cierge {

struct Tagged {
  uint8_t tag = CG_TA_NONE;
  int64_t i = 0;               // INT, BOOL, DTYPE, LAYOUT, MEMORY_FORMAT, REGISTER
  double f = 0, im = 0;        // FLOAT, COMPLEX
  std::string text;            // TEXT, DEVICE
  std::vector<Tagged> items;   // LIST; STRIDED: strides, then the offset
  std::vector<cg_plan_expr_item> expression;
};

struct Reader {
  cg_reader bytes;
  uint32_t n_inputs = 0, n_registers = 0;
  std::vector<bool> defined;   // which registers hold something at this point of the program
  bool on_meta = false;
  const cierge_torch_region_options *options = nullptr;

  uint32_t reg() {
    uint32_t r = cg_read_u32(&bytes);
    if (!bytes.bad && r >= n_registers) bytes.bad = true;
    return bytes.bad ? 0 : r;
  }
  uint32_t used() {
    uint32_t r = reg();
    if (!bytes.bad && !defined[r]) bytes.bad = true;
    return r;
  }
};

[[noreturn]] void refuse(const std::string &text);
Tagged read_tagged(Reader &r, int depth);
Want want_of(const c10::Type &t);

} // namespace cierge
#endif
