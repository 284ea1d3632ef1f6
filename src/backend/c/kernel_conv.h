// A convolution while its kernel is written: what the node means, and who writes which kind.
#ifndef CG_BACKEND_C_KERNEL_CONV_H
#define CG_BACKEND_C_KERNEL_CONV_H
#include "backend/c/kernel_gemm.h"

enum { CG_CONV_SPATIAL = 3 };

typedef struct {
  cg_kernel *k;
  cg_session *s;
  cg_module *m;
  const cg_node *n;
  cg_tile tile;                                                              // as it keeps the weight
  cg_kernel_input x, w, bias;
  bool has_bias, transposed, batched, depthwise;
  int ns;                                                                    // spatial dimensions
  int64_t stride[CG_CONV_SPATIAL], pad[CG_CONV_SPATIAL], dilation[CG_CONV_SPATIAL], kernel[CG_CONV_SPATIAL], groups, taps;
  int64_t oc, ic;                                                            // of one group
  const cg_expr *in[CG_CONV_SPATIAL], *out[CG_CONV_SPATIAL], *batch;
  const char *in_text[CG_CONV_SPATIAL], *out_text[CG_CONV_SPATIAL];
  const char *index[CG_CONV_SPATIAL + 2];                                    // of the result, as C names
  bool to_last;                                                              // the result lies channels-last in memory
} cg_conv;

// The stride of the input along: the samples (0 without them), the channels, spatial dimension d; C texts.
const char *cg_conv_sample_stride(cg_conv *w);
const char *cg_conv_channel_stride(cg_conv *w);
const char *cg_conv_stride(cg_conv *w, int d);
const char *cg_conv_product(cg_conv *w, const char *const *dim, int n); // "a * b", "1"
// Adds the bias and stores `acc` at index[…].
void cg_conv_store(cg_conv *w, cg_str *o, int indent, const char *acc);
// `const int64_t i0 = …` for positions 0 … n-1 of `names` from the linear index `of` over the sizes dim[n].
void cg_conv_split(cg_conv *w, cg_str *o, int indent, const char *of, const char *const *names, const char *const *dim, int n);

// One channel each, several results for it: kernel_conv_depthwise.c. The channels innermost, or the pixels.
void cg_conv_depthwise_last(cg_conv *w, cg_str *o);
bool cg_conv_depthwise_fits(cg_conv *w); // the second
void cg_conv_depthwise(cg_conv *w, cg_str *o);
// Everything else, as products over the channels of each tap: kernel_conv_product.c.
void cg_conv_product_kernel(cg_conv *w, cg_str *o);

// One tap, the pixels innermost in input and result: kernel_conv_planes.c.
bool cg_conv_planes_fits(const cg_conv *w);
bool cg_conv_planes_pays(const cg_conv *w); // of those that fit: predicted
void cg_conv_planes(cg_conv *w, cg_str *o);

// 3x3, stride 1, many channels: kernel_conv_winograd.c.
bool cg_conv_winograd_fits(const cg_conv *w);
bool cg_conv_winograd_pays(const cg_conv *w); // of those that fit: predicted
void cg_conv_winograd(cg_conv *w, cg_str *o);

// One residue of the result's positions modulo the stride of a transposed convolution, and the taps that reach it;
// an ordinary convolution has one phase, with all taps.
typedef struct {
  int64_t start[CG_CONV_SPATIAL]; // first position in each dimension
  int64_t first, taps;            // among cg_conv_phases.tap
} cg_conv_phase;

// Position j of a phase reads the input at j * step + offset of the tap, and is element start + j * out_step of the result.
typedef struct {
  int64_t count, step[CG_CONV_SPATIAL], out_step[CG_CONV_SPATIAL];
  cg_conv_phase *phase;           // [count]
  int64_t *tap;                   // [taps] in the order of the phases: which tap of the weight
  int64_t (*offset)[CG_CONV_SPATIAL]; // [taps]
} cg_conv_phases;

cg_conv_phases cg_conv_phases_of(const cg_conv *w);
bool cg_conv_weight_constant(const cg_conv *w); // known now, its strides too
// The weight as packed panels for the tile: (group, phase, panel, tap, ic, nr); C name of the pointer to elements of tile.kept. Packed now
// where it is constant.
const char *cg_conv_pack(cg_conv *w, const cg_conv_phases *p, cg_str *o);
// The same as (tap, channel).
const char *cg_conv_pack_depthwise(cg_conv *w, cg_str *o);
#endif
