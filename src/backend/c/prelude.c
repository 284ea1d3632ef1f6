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
  {"cg_fma", "static inline double cg_fma(double a, double b, double c) {\n"
             "#ifdef __FMA__\n  return __builtin_fma(a, b, c);\n#else\n  return a * b + c;\n#endif\n}\n", true},
  // One number of half precision, where no loop becomes vectors.
  {"cg_one_from_f16", "static inline float cg_one_from_f16(uint16_t h) {\n#ifdef __F16C__\n"
                      "  typedef short halves __attribute__((vector_size(16)));\n"
                      "  return __builtin_ia32_vcvtph2ps((halves){(short)h})[0];\n#else\n  return cg_from_f16(h);\n#endif\n}\n", true},
  {"cg_one_to_f16", "static inline uint16_t cg_one_to_f16(float x) {\n#ifdef __F16C__\n"
                    "  typedef float floats __attribute__((vector_size(16)));\n"
                    "  return (uint16_t)__builtin_ia32_vcvtps2ph((floats){x}, 0)[0];\n#else\n  return cg_to_f16(x);\n#endif\n}\n", true},
  {"cg_one_round_f16", "static inline float cg_one_round_f16(float x) { return cg_one_from_f16(cg_one_to_f16(x)); }\n", true},
  // n floats of half precision, by the processor's conversions where it has them, eight or sixteen at a time; n are at most what a block holds.
  {"cg_floats_of_f16", "static inline void cg_floats_of_f16(float *restrict to, const uint16_t *restrict from, int64_t n) {\n"
                       "  int64_t i = 0;\n#ifdef __AVX512F__\n"
                       "  typedef short more __attribute__((vector_size(32)));\n  typedef float wide __attribute__((vector_size(64)));\n"
                       "  for (; i + 16 <= n; i += 16) {\n    more h;\n    __builtin_memcpy(&h, from + i, 32);\n"
                       "    const wide f = __builtin_ia32_vcvtph2ps512_mask(h, (wide){0}, -1, 4);\n    __builtin_memcpy(to + i, &f, 64);\n  }\n#endif\n"
                       "#ifdef __F16C__\n"
                       "  typedef short halves __attribute__((vector_size(16)));\n  typedef float floats __attribute__((vector_size(32)));\n"
                       "  for (; i + 8 <= n; i += 8) {\n    halves h;\n    __builtin_memcpy(&h, from + i, 16);\n"
                       "    const floats f = __builtin_ia32_vcvtph2ps256(h);\n    __builtin_memcpy(to + i, &f, 32);\n  }\n#endif\n"
                       "  for (; i < n; i++) to[i] = cg_one_from_f16(from[i]);\n}\n", true},
  {"cg_f16_of_floats", "static inline void cg_f16_of_floats(uint16_t *restrict to, const float *restrict from, int64_t n) {\n"
                       "  int64_t i = 0;\n#ifdef __AVX512F__\n"
                       "  typedef short more __attribute__((vector_size(32)));\n  typedef float wide __attribute__((vector_size(64)));\n"
                       "  for (; i + 16 <= n; i += 16) {\n    wide f;\n    __builtin_memcpy(&f, from + i, 64);\n"
                       "    const more h = (more)__builtin_ia32_vcvtps2ph512_mask(f, 0, (more){0}, -1);\n    __builtin_memcpy(to + i, &h, 32);\n  }\n#endif\n"
                       "#ifdef __F16C__\n"
                       "  typedef short halves __attribute__((vector_size(16)));\n  typedef float floats __attribute__((vector_size(32)));\n"
                       "  for (; i + 8 <= n; i += 8) {\n    floats f;\n    __builtin_memcpy(&f, from + i, 32);\n"
                       "    const halves h = (halves)__builtin_ia32_vcvtps2ph256(f, 0);\n    __builtin_memcpy(to + i, &h, 16);\n  }\n#endif\n"
                       "  for (; i < n; i++) to[i] = cg_one_to_f16(from[i]);\n}\n", true},
#define BLOCK(name, to_type, from_type, convert) \
  {#name, "static inline void " #name "(" #to_type " *restrict to, const " #from_type " *restrict from, int64_t n) {\n" \
          "#pragma omp simd\n  for (int64_t i = 0; i < n; i++) to[i] = " #convert "(from[i]);\n}\n", true},
  BLOCK(cg_floats_of_bf16, float, uint16_t, cg_from_bf16)
  BLOCK(cg_bf16_of_floats, uint16_t, float, cg_to_bf16)
  BLOCK(cg_bf16_cut_of_floats, uint16_t, float, cg_cut_bf16)
#undef BLOCK
#define PRELUDE(name, ...) {#name, #__VA_ARGS__, false},
#include "backend/c/prelude.def"
#include "backend/c/math.def"
#include "backend/c/rows.def"
#include "ops/helpers.def"
#undef PRELUDE
};
enum { COUNT = sizeof functions / sizeof *functions };

// Integer functions, one for each type: `T` is the type, `cg_NAME_T` its name. Errors are raised and give 0.
typedef struct {
  const char *name, *text;
} typed;

#define DIVISOR "  if (b == 0) {\n    cg_raise(err, CG_KERNEL_DIV_ZERO, a, b, site);\n    return 0;\n  }\n"
static const typed typed_functions[] = {
  {"truncdiv", "static inline T NAME(T a, T b, int64_t *err, int64_t site) {\n" DIVISOR
               "  if (b == (T)-1 && (T)-1 < 0) {\n    if (sizeof(T) >= 4 && a && (T)(0 - a) == a) cg_raise(err, CG_KERNEL_DIV_OVERFLOW, a, b, site);\n"
               "    return (T)(0 - a);\n  }\n  return (T)(a / b);\n}\n"},
  // As in PyTorch, the least number by -1 wraps; truncdiv's, of 32 bits and more, ends PyTorch's process and is an error here.
  {"floordiv", "static inline T NAME(T a, T b, int64_t *err, int64_t site) {\n" DIVISOR
               "  if (b == (T)-1 && (T)-1 < 0) return (T)(0 - (uint64_t)a);\n"
               "  return (T)(a / b - (a % b != 0 && (a < 0) != (b < 0)));\n}\n"},
  {"remainder", "static inline T NAME(T a, T b, int64_t *err, int64_t site) {\n" DIVISOR
                "  if (b == (T)-1 && (T)-1 < 0) return 0;\n  const T r = (T)(a % b);\n  return r != 0 && (r < 0) != (b < 0) ? (T)(r + b) : r;\n}\n"},
  {"fmod", "static inline T NAME(T a, T b, int64_t *err, int64_t site) {\n" DIVISOR
           "  return b == (T)-1 && (T)-1 < 0 ? 0 : (T)(a % b);\n}\n"},
  {"ipow", "static inline T NAME(T a, T b) {\n  if (b < 0) return a == 1 ? 1 : a == (T)-1 ? (b % 2 ? (T)-1 : 1) : 0;\n"
           "  T r = 1;\n  for (; b; b = (T)(b / 2), a = (T)(a * a))\n    if (b % 2) r = (T)(r * a);\n  return r;\n}\n"},
  {"abs", "static inline T NAME(T a) { return a < 0 ? (T)(0 - a) : a; }\n"},
};
enum { TYPED = sizeof typed_functions / sizeof *typed_functions };
static const struct { const char *suffix, *ctype; } types[] = {{"u8", "uint8_t"}, {"i8", "int8_t"}, {"i16", "int16_t"}, {"i32", "int32_t"}, {"i64", "int64_t"}};
enum { TYPES = sizeof types / sizeof *types };

// Of the C library, by their names for double.
static const char *const library[] = {"cbrt", "ceil", "copysign", "fabs", "floor", "fmax", "fmin", "fmod", "ldexp", "lgamma", "nearbyint", "nextafter",
  "round", "sqrt", "tgamma", "trunc", NULL};

bool cg_prelude_library(const char *name) {
  for (int i = 0; library[i]; i++)
    if (!strcmp(library[i], name)) return true;
  return false;
}

static bool typed_name(const char *name, int i, int t) {
  size_t n = strlen(typed_functions[i].name);
  return !strncmp(name, "cg_", 3) && !strncmp(name + 3, typed_functions[i].name, n) && name[3 + n] == '_' && !strcmp(name + 4 + n, types[t].suffix);
}

// "… CTYPE NAME(CTYPE …" begins the function's text.
static bool is_of(const char *text, const char *name, const char *ctype) {
  const char *at = strstr(text, name), *argument = at ? at + strlen(name) : NULL;
  size_t n = strlen(ctype);
  return at && at >= text + n + 1 && at[-1] == ' ' && !strncmp(at - n - 1, ctype, n) && *argument == '(' && !strncmp(argument + 1, ctype, n) &&
         argument[1 + n] == ' ';
}

bool cg_prelude_computes(const char *name, const char *ctype) {
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(functions[i].name, name) && is_of(functions[i].text, name, ctype)) return true;
  for (int i = 0; i < TYPED; i++)
    for (int t = 0; t < TYPES; t++)
      if (typed_name(name, i, t) && !strcmp(types[t].ctype, ctype)) return true;
  return false;
}

const char *cg_prelude_name(cg_session *s, int i) {
  if (i < COUNT) return functions[i].name;
  i -= COUNT;
  return i < TYPED * TYPES ? cg_format(s, "cg_%s_%s", typed_functions[i / TYPES].name, types[i % TYPES].suffix) : NULL;
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
  static const char inlined[] = "static inline "; // of numbers; a call that is left keeps its loop from being vectorised
  const char *text = functions[i].text, *rest = text + sizeof inlined - 1;
  bool number = !strncmp(text, inlined, sizeof inlined - 1) && (!strncmp(rest, "float ", 6) || !strncmp(rest, "double ", 7));
  if (functions[i].verbatim) cg_str_add(out, text);
  else add_lines(out, number ? cg_format(out->s, "%s__attribute__((always_inline)) %s", inlined, rest) : text);
}

static void add_typed(cg_str *out, int i, int t, const char *name) {
  for (const char *p = typed_functions[i].text; *p; p++) {
    bool word = p > typed_functions[i].text && (isalnum((unsigned char)p[-1]) || p[-1] == '_');
    if (!word && !strncmp(p, "NAME", 4)) cg_str_add(out, name), p += 3;
    else if (!word && *p == 'T' && !(isalnum((unsigned char)p[1]) || p[1] == '_')) cg_str_add(out, types[t].ctype);
    else cg_str_addc(out, *p);
  }
}

void cg_prelude_for(cg_str *out, const char *source) {
  bool done[COUNT] = {false};
  for (int i = 0; i < COUNT; i++)
    if (calls(source, functions[i].name)) add(out, i, done);
  for (int i = 0; i < TYPED; i++)
    for (int t = 0; t < TYPES; t++) {
      const char *name = cg_format(out->s, "cg_%s_%s", typed_functions[i].name, types[t].suffix);
      if (!calls(source, name)) continue;
      if (strstr(typed_functions[i].text, "cg_raise"))
        for (int k = 0; k < COUNT; k++)
          if (!strcmp(functions[k].name, "cg_raise")) add(out, k, done);
      add_typed(out, i, t, name);
    }
}
