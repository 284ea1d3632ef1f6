// The prelude: functions generated code may call, as text. prelude.def holds them as C, once.
#include "backend/c/prelude.h"

#include <ctype.h>
#include <string.h>

typedef struct {
  const char *name, *text;
  bool verbatim; // has its own lines (preprocessor)
} function;

static const function functions[] = {
  {"cg_madd", "// a * b + c: fused where the target has it.\n"
              "static inline float cg_madd(float a, float b, float c) {\n"
              "#ifdef __FMA__\n  return __builtin_fmaf(a, b, c);\n#else\n  return a * b + c;\n#endif\n}\n", true},
  {"cg_from_f16", "static inline float cg_from_f16(uint16_t h) {\n"
                  "#if defined __F16C__ && defined __FLT16_MAX__\n"
                  "  _Float16 x;\n  __builtin_memcpy(&x, &h, 2);\n  return (float)x;\n#else\n"
                  "  uint32_t u = (uint32_t)(h & 0x7fff) << 13;\n"
                  "  float x = cg_float(u) * 0x1p112f;\n"
                  "  uint32_t r = (h & 0x7c00) == 0x7c00 ? u | 0x7f800000u : cg_bits(x);\n"
                  "  return cg_float(r | (uint32_t)(h & 0x8000) << 16);\n#endif\n}\n", true},
  {"cg_to_f16", "static inline uint16_t cg_to_f16(float x) {\n"
                "#if defined __F16C__ && defined __FLT16_MAX__\n"
                "  _Float16 y = (_Float16)x;\n  uint16_t h;\n  __builtin_memcpy(&h, &y, 2);\n  return h;\n#else\n"
                "  uint32_t u = cg_bits(x) & 0x7fffffffu, sign = cg_bits(x) >> 16 & 0x8000;\n"
                "  uint32_t small = cg_bits(cg_float(u) + 0.5f) - 0x3f000000u;\n"
                "  uint32_t normal = (u + 0xc8000fffu + (u >> 13 & 1)) >> 13;\n"
                "  uint32_t r = u > 0x7f800000u ? 0x7e00 : u >= 0x477ff000u ? 0x7c00 : u < 0x38800000u ? small : normal;\n"
                "  return (uint16_t)(r | sign);\n#endif\n}\n", true},
#define PRELUDE(name, ...) {#name, #__VA_ARGS__, false},
#include "backend/c/prelude.def"
#undef PRELUDE
};
enum { COUNT = sizeof functions / sizeof *functions };

bool cg_prelude_has(const char *name) {
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(functions[i].name, name)) return true;
  return false;
}

static bool calls(const char *text, const char *name) {
  size_t n = strlen(name);
  for (const char *p = text; (p = strstr(p, name)); p += n) {
    bool starts = p == text || !(isalnum((unsigned char)p[-1]) || p[-1] == '_');
    if (starts && !(isalnum((unsigned char)p[n]) || p[n] == '_')) return true;
  }
  return false;
}

// One line of preprocessed text, broken where statements and blocks end.
static void add_lines(cg_str *out, const char *text) {
  int indent = 0, parens = 0;
  for (const char *p = text; *p; p++) {
    if (*p == '(') parens++;
    if (*p == ')') parens--;
    if (*p == '}' && indent) indent--;
    cg_str_addc(out, *p);
    bool ends = !parens && (*p == ';' || *p == '{' || *p == '}');
    if (*p == '{') indent++;
    if (!ends) continue;
    cg_str_addc(out, '\n');
    while (p[1] == ' ') p++;
    if (!p[1]) break;
    for (int i = 0; i < indent - (p[1] == '}'); i++) cg_str_add(out, "  ");
  }
}

// Functions are written after what they call.
static void add(cg_str *out, int i, bool *done) {
  if (done[i]) return;
  done[i] = true;
  for (int k = 0; k < COUNT; k++)
    if (k != i && calls(functions[i].text, functions[k].name)) add(out, k, done);
  if (functions[i].verbatim) cg_str_add(out, functions[i].text);
  else add_lines(out, functions[i].text);
}

void cg_prelude_for(cg_str *out, const char *source) {
  bool done[COUNT] = {false};
  for (int i = 0; i < COUNT; i++)
    if (calls(source, functions[i].name)) add(out, i, done);
}
