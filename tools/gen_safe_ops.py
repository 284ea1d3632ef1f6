#!/usr/bin/env python3
"""Writes src/artifact/safe_ops.inc: the operators of PyTorch's "aten" that a program may call (src/artifact/unsafe.h).

An operator is in it for what it is:
- PyTorch's own tests call it (OpInfo), or it is one of Core ATen, or PyTorch has a decomposition for it, so that what is
  exported holds it; in-place, out and copying forms go with it;
- or it is the interpreter's own (lists, texts, numbers) and touches no tensor's memory;
- or it is in ALSO: random numbers, forms of these under other names, quantised tensors, each without raw sizes.
It is not in it where it believes what it is given:
- derivatives that take indices, targets or lengths of the call that they differentiate;
- OUT: the reasons stand there.
CHECKED, and others of which plugin/torch/checks.cpp says so, are in it because their arguments are looked at first."""
import fnmatch
import pathlib

import torch

TABLE = pathlib.Path(__file__).resolve().parent.parent / "src/artifact/safe_ops.inc"
BELIEVED = {"indices", "index", "targets", "input_lengths", "target_lengths", "lengths", "offsets", "batch_sizes", "offset2bag", "bag_size", "is_target", "maximum_indices", "argmaxes"}
CHECKED = {"_ctc_loss", "linalg_lu_solve", "linalg_ldl_solve", "lu_unpack", "segment_reduce", "native_batch_norm_backward", "max_pool2d_with_indices_backward",
           "max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
           "embedding_dense_backward"}
OUT = {
    "from_file": "files", "save": "files", "to_here": "processes", "dist_backward": "processes", "owner*": "processes", "is_owner": "processes",
    "confirmed_by_owner": "processes", "local_value": "processes",
    "_sparse_*_unsafe": "indices unseen", "_sparse_*_with_dims*": "indices unseen", "_convert_indices_*": "indices unseen", "_index_put_impl*": "indices unseen",
    "_unsafe_masked_index_put_accumulate_out": "indices unseen", "_nested_*": "raw sizes", "_reshape_alias*": "raw strides", "set_data": "another tensor's memory",
    "_sobol_engine_*": "sizes unseen", "_rowwise_prune": "sizes unseen", "_propagate_xla_data": "another device", "_cufft_*": "another device", "cudnn_*": "another device",
    "_cudnn_*": "another device", "miopen_*": "another device", "mkldnn_*": "opaque tensors", "_mkldnn_*": "opaque tensors", "to_mkldnn*": "opaque tensors",
    "fbgemm_*": "tensors that hold addresses", "_wrapped_*": "tensors that hold addresses", "quantized_*": "tensors that hold addresses",
    "nll_loss*_backward": "classes unseen", "multi*margin_loss_backward": "classes unseen", "_ctc_loss_backward": "lengths unseen",
    "_cholesky_solve_helper*": "shapes unseen", "_logcumsumexp*": "shapes unseen", "_remove_batch_dim": "a tensor of vmap", "_stack*": "an empty list unseen",
    "_new_zeros_with_same_feature_meta*": "shapes unseen", "_thnn_differentiable_*_backward": "shapes unseen", "_scaled_mm_v2*": "shapes unseen",
    "_batch_norm_no_update*": "shapes unseen", "_foreach_copy": "lengths unseen", "_foreach_copy_out": "lengths unseen", "__upsample*": "modes unseen", "__interpolate": "modes unseen",
    "_dyn_quant_*": "shapes unseen", "_transform_bias_rescale_qkv*": "shapes unseen",
    "_saturate_weight_to_fp16": "tensors that hold addresses", "_test_*": "PyTorch's tests of itself", "_batch_norm_impl_index_backward": "a buffer of its forward call",
}
ALSO = """_assert_* _functional_* sym_constrain_* _conj* _neg_view* *_copy copy_ detach_ _foreach_* _fft_c2c _linalg_* _unique _unique2 unique_dim* *_window bernoulli_ binomial
poisson random random_ range normal_functional _masked_softmax _masked_scale _standard_gamma _sample_dirichlet _trilinear _transformer_encoder_layer_fwd
_native_multi_head_attention _fused_sdp_choice _lazy_clone _histogramdd_* _is_all_true _is_any_true _int_mm _pack_padded_sequence _aminmax _add_relu _add_relu_ __lshift__ __rshift__
_cummax_helper _cummin_helper _coalesce _coalesced _coalesced_ _dimI _dimV _nnz _indices _values indices values crow_indices col_indices ccol_indices row_indices is_coalesced dense_dim sparse_dim
_to_dense _to_sparse* sparse_mask dequantize int_repr q_scale q_zero_point q_per_channel_* qscheme quantize_per_tensor quantize_per_tensor_dynamic quantize_per_channel empty_quantized
_empty_affine_quantized _empty_per_channel_affine_quantized _make_per_tensor_quantized_tensor _fake_quantize_* fake_quantize_* _efficientzerotensor _embedding_bag_forward_only embedding_renorm embedding_renorm_
linalg__powsum linalg_matrix_exp _linalg_svd masked_scatter_backward native_norm resize rrelu_with_noise* set slow_conv_* slow_conv3d_forward conv_tbc _slow_conv2d_forward _conv_depthwise2d
_print _pin_memory is_pinned is_set_to _has_same_storage_numel _logcumsumexp _spdiags _weight_int8pack_mm _weight_int4pack_mm_for_cpu
_convert_weight_to_int4pack_for_cpu _fused_adam* _fused_sgd* _fused_adagrad* _resize_output _resize_output_ _compute_linear_combination _grouped_mm
_weight_norm_interface_backward _fw_primal _make_dual _spsolve glu_jvp""".split()


def schemas():
    """Of all operators of aten: name -> their schemas; those of the dispatcher alone."""
    all_of_them = {}
    for s in torch._C._jit_get_all_schemas():
        if s.name.startswith("aten::"):
            all_of_them.setdefault(s.name[6:], []).append(s)
    return all_of_them, {n[6:].partition(".")[0] for n in torch._C._dispatch_get_all_op_names() if n.startswith("aten::")}


def tested():
    from torch.testing._internal.common_methods_invocations import op_db
    for op in op_db:
        yield from filter(None, (op.name, op.name.rpartition(".")[2], op.name.replace(".", "_"), op.aten_name, op.aten_backward_name, *(a.name for a in op.aliases)))
        yield from filter(None, (getattr(v, "__name__", None) for v in (op.method_variant, op.inplace_variant, op.op)))


def exported(names):
    import torch._decomp as decomposed
    for n in names:
        for overload in getattr(torch.ops.aten, n).overloads() if hasattr(torch.ops.aten, n) else ():
            if torch.Tag.core in getattr(getattr(torch.ops.aten, n), overload).tags:
                yield n
    for op in (*decomposed.decomposition_table, *decomposed.core_aten_decompositions()):
        name = op.name() if hasattr(op, "name") else str(op)
        if name.startswith("aten::"):
            yield name[6:].partition(".")[0]


def like(name, patterns):
    return any(fnmatch.fnmatchcase(name, p) for p in patterns)


def main():
    schema, dispatcher = schemas()
    known = set(tested()) | set(exported(dispatcher))
    composite = {n[6:].partition(".")[0] for n in torch._C._dispatch_get_all_op_names()
                 if n.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(n, "CompositeImplicitAutograd")}
    base = (known | composite) & set(schema)
    base |= {n for n in schema if like(n, ALSO)}
    base |= {n for n in schema for form in ("_", "_out") if n.endswith(form) and n[:-len(form)] in base}
    base |= set(schema) - dispatcher  # the interpreter's own
    believes = {n for n in base if n.endswith("_backward") and any(a.name in BELIEVED and "Tensor" in str(a.type) for s in schema[n] for a in s.arguments)}
    safe = sorted(((base - believes) | CHECKED) - {n for n in base if like(n, OUT)})
    lines = [f"// Written by tools/gen_safe_ops.py from PyTorch {torch.__version__.partition('+')[0]}: {len(safe)} names."]
    for n in safe:
        if len(lines) > 1 and len(lines[-1]) + len(n) < 105:
            lines[-1] += f' "{n}",'
        else:
            lines.append(f'"{n}",')
    TABLE.write_text("\n".join(lines) + "\n")
    print(f"{len(safe)} of {len(schema)} names; derivatives that believe: {' '.join(sorted(believes))}")


if __name__ == "__main__":
    main()
