// The C face of reading TorchScript: from the bytes of an archive to a program in the text form (doc/ir.md), with tables of
// what a text cannot hold. Types are the caller's affair: each line is given to it as soon as it is known.
#ifndef CIERGE_TORCH_IMPORT_FACE_H
#define CIERGE_TORCH_IMPORT_FACE_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

// What the user says of an input: "f32[s0, 3]", "int", "16000", "none", "\"text\"", "[f32[2], f32[2]]", "{a: f32[2]}".
typedef struct { const char *name, *text; } cierge_torch_import_input;

typedef struct cierge_torch_import {
  const void *bytes;           // the archive
  size_t size;
  const char *const *allow;    // [n_allow] operators that would be refused
  int n_allow;
  const cierge_torch_import_input *input;
  int n_inputs;
  const char *const *output_type; // [n_output_types] of the flattened outputs, where nothing else tells
  int n_output_types;
  // The typing of texts. Each gives 0 and a text in `out`, or another value and in `out` why not; none throws.
  void *self;
  // A declaration (sym, param, buffer, const, schema), a value ("value %3: f32[2]"), or a node whose results have no types yet.
  // Gives the types of what it names, each ended by a line end.
  int (*feed)(void *self, const char *line, char *out, size_t size);
  // What is of type a or of type b: sizes in which they differ become unbacked symbols.
  int (*join)(void *self, const char *a, const char *b, char *out, size_t size);
  // What the types of the last node's results took for granted, where its rule says so: "%a 0 = 3", "%a 0 = %b 1" (a size of one
  // is another one's), each ended by a line end. Another value: the rule does not say.
  int (*guards)(void *self, char *out, size_t size);
  // A type with numbers for its symbols: sample 0, numbers that fit nothing else; sample 1, ones. Symbols keep to their ranges.
  int (*at)(void *self, const char *type, int sample, char *out, size_t size);
  void (*reset)(void *self);   // forgets all lines
} cierge_torch_import;

typedef struct { const char *name; const void *data; uint64_t size; } cierge_torch_bytes;

// Owns everything it names; `self` is for import_free.
typedef struct cierge_torch_imported {
  const char *text;            // without `module` and `sym` lines
  const cierge_torch_bytes *constant; // storages of the text's constants
  int n_constants;
  const cierge_torch_bytes *blob;
  int n_blobs;
  void *self;
} cierge_torch_imported;

#ifdef __cplusplus
}
#endif
#endif
