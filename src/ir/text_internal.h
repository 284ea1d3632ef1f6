// What the printer and the parser of the text form share.
#ifndef CG_IR_TEXT_INTERNAL_H
#define CG_IR_TEXT_INTERNAL_H
#include "ir/text.h"

enum { CG_TEXT_MEMORY_FORMATS = 4 };
extern const char *const cg_text_memory_format[CG_TEXT_MEMORY_FORMATS];

// Letters that a name after % or @ may have without quotes.
static inline bool cg_text_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '$';
}
static inline bool cg_text_word_char(char c) { return cg_text_name_char(c) && c != '.' && c != '$'; }

// The word for a dtype as an argument: "f32"; PyTorch's name for u8 … u64, which could be symbols.
const char *cg_text_dtype(cg_dtype t);
int cg_text_dtype_find(const char *word); // -1: none
// Words that can be no symbol's name, as they begin something else in an argument.
bool cg_text_is_reserved(const char *word);
// Words that begin what may follow a node, or a statement: no operator is written like that.
bool cg_text_is_keyword(const char *word);
// The schema of an operator as the text spells it ("aten.add.Tensor", "_operator.add"); NULL: not known.
const cg_schema *cg_text_schema(cg_module *m, const char *spelling);
// Bytes of storage that a constant of this type needs; 0: cannot be told.
uint64_t cg_text_storage_size(const cg_type *t);
#endif
