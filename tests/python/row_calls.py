"""The operator table's native rows as calls: for each key arguments in which a size is n, every tensor of the row's dtype unless it says otherwise.

Rows that take tensors and numbers alone (as their schemas in PyTorch say) need no line here: made_from_schema() gives theirs. The
others stand in CALLS, by overload. bench/operators.py names the rows that are in neither."""
import itertools
import json

import torch
from torch.utils import _pytree as pytree

WORDS = {torch.float64: "f64", torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.int64: "i64", torch.int32: "i32", torch.int16: "i16",
         torch.int8: "i8", torch.uint8: "u8", torch.bool: "bool"}  # what C kernels compute with: no row claims another dtype
RAISES = RuntimeError, IndexError, TypeError, ValueError, NotImplementedError  # PyTorch's refusals
FIRST_ONLY = {"_embedding_bag", "_embedding_bag_forward_only", "embedding_bag", "embedding_bag.padding_idx", "max_pool2d_with_indices", "max_pool3d_with_indices",
              "_scaled_dot_product_flash_attention_for_cpu"}  # native where nobody reads the other results


class Size(str):
    """A size or an index that depends on n: as Python evaluates it, and as the text form spells it."""

    def at(self, n):
        return eval(self, {"n": n})

    def text(self, symbol):
        return self.replace("n", symbol)


class X:
    """A tensor of the row's dtype, or of a given one; below: of indices in 0 … below - 1; rows: of numbers that are not negative, sorted."""

    def __init__(self, *shape, dtype=None, below=None, sorted=False, positive=False):
        self.shape, self.dtype, self.below, self.sorted, self.positive = shape, dtype, below, sorted, positive


class Made:
    """A tensor that the program makes by another row."""

    def __init__(self, row, *args):
        self.row, self.args = row, args


def operator(name):
    base, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, base), overload or "default")


def size(d, n):
    return Size(d).at(n) if isinstance(d, str) else d


class Call:
    """One call of a row in one dtype."""

    def __init__(self, row, call, dtype):
        self.row, self.op, self.dtype = row, operator(row), dtype
        call = pytree.tree_map(lambda a: dtype if isinstance(a, str) and a == "row" else a, list(call), is_leaf=lambda a: isinstance(a, (X, Size)))
        self.args, self.kwargs = (call[:-1], call[-1]) if call and isinstance(call[-1], dict) else (call, {})
        self.leaves, self.spec = pytree.tree_flatten((list(self.args), self.kwargs))
        self.x = [a for a in self.leaves if isinstance(a, X)]

    def eager(self, tensors, n, dtype=None, op=None):
        """PyTorch's results. dtype: computed in it; op: by another operator."""
        of = iter(tensors)
        wide = lambda t: t.to(dtype) if dtype and t.is_floating_point() else t  # noqa: E731
        at = lambda a: a.at(n) if isinstance(a, Size) else operator(a.row)(*map(at, a.args)) if isinstance(a, Made) else a  # noqa: E731
        leaves = [wide(next(of)) if isinstance(a, X) else at(a) for a in self.leaves]
        if dtype:
            leaves = [dtype if isinstance(a, torch.dtype) and a.is_floating_point else a for a in leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        out = (op or self.op)(*args, **kwargs)
        return list(out) if isinstance(out, (tuple, list)) else [out] if isinstance(out, torch.Tensor) else []

    def text(self, tensor, size_text, name):
        """What comes before it in the text form, and its arguments: tensor(k, x, before) names its k-th, size_text(a) spells a Size; name:
        of what other rows make, before their number."""
        before, numbers = [], itertools.count()

        def literal(a):
            if isinstance(a, (list, tuple)):
                return "[" + ", ".join(map(literal, a)) + "]"
            if isinstance(a, X):
                return tensor(next(numbers), a, before)
            if isinstance(a, Made):
                before.append(f"  {name}{len(before)} = aten.{a.row}({', '.join(map(literal, a.args))})")
                return f"{name}{len(before) - 1}"
            if isinstance(a, Size):
                return size_text(a)
            if isinstance(a, bool) or a is None:
                return str(a).lower()
            if isinstance(a, str):
                return json.dumps(a)
            if isinstance(a, torch.dtype):
                return str(a)[6:]
            return f'device("{a}")' if isinstance(a, torch.device) else repr(a)

        return before, ", ".join([literal(a) for a in self.args] + [f"{k}={literal(a)}" for k, a in self.kwargs.items()])


def index(*shape, below):
    return X(*shape, dtype=torch.int64, below=below)


def mask(*shape):
    return X(*shape, dtype=torch.bool)


N = Size("n")
CALLS = {}


def calls(keys, *of):
    """of: tuples of arguments; a dict at the end is what goes by name."""
    for k in keys.split():
        assert k not in CALLS, k
        CALLS[k] = of


F32 = torch.float32
one_dim = [(X("n"), 0), (X(3, "n"), 1, True), (X("n", 3), 0)]
lists = [(X("n"), [0]), (X(3, "n"), [-1], True), (X(2, "n", 3), [0, 2])]
calls("all.dim any.dim max.dim min.dim median.dim nanmedian.dim prod.dim_int", *one_dim)
calls("mode", *[(x, d) for x, d, *_ in one_dim])
calls("mean.dim sum.dim_IntList logsumexp amax amin nansum nanmean all.dims any.dims", *lists)
calls("count_nonzero.dim_IntList", *[(x, d) for x, d, *_ in lists])
calls("var.dim std.dim var_mean.dim std_mean.dim", *[(x, d, u, k) for (x, d, *_), u, k in zip(lists, (True, False, True), (False, True, True))])
calls("var.correction std.correction var_mean.correction std_mean.correction", (X("n"),), (X(3, "n"), [1], {"correction": 2}), (X(3, "n"), [0], {"correction": 0, "keepdim": True}))
calls("argmax argmin", (X("n"),), (X(3, "n"), 1, True), (X("n", 3), 0))
calls("aminmax", (X("n"),), (X(3, "n"), {"dim": 1}))
calls("linalg_vector_norm", *[(X(3, "n"), p, [1]) for p in (2, 1, 0, 3.5, float("inf"), float("-inf"))], (X("n"),))
calls("norm.Scalar", *[(X(3, "n"), p) for p in (2, 1, 0, 3, float("inf"))])
calls("norm.ScalarOpt_dim", *[(X(3, "n"), p, [1], True) for p in (None, 2, 1, float("-inf"))])
calls("norm.ScalarOpt_dtype", (X(3, "n"), 2, {"dtype": torch.float32}), (X(3, "n"), 1, {"dtype": torch.float64}))
calls("norm.ScalarOpt_dim_dtype", (X(3, "n"), 2, [1], False, {"dtype": torch.float32}))
calls("cummax cummin cumsum cumprod logcumsumexp", (X("n"), 0), (X(3, "n"), 1), (X("n", 3), 0))
calls("sort", (X("n"),), (X(3, "n"), 0, True), (X("n", 3), 0))
calls("argsort", (X("n"),), (X("n", 3), 0, True))
calls("argsort.stable sort.stable", (X("n"), {"stable": True}), (X("n", 3), {"stable": True, "dim": 0, "descending": True}))
calls("topk", (X(3, "n"), Size("n"), 1), (X("n", 5), 2, 1, False))
calls("kthvalue", (X("n"), 1), (X("n", 5), 3, 1, True))
calls("searchsorted.Tensor", (X("n", sorted=True), X(9)), (X(3, "n", sorted=True), X(3, 5), {"right": True, "out_int32": True}))
calls("bucketize.Tensor", (X(9), X("n", sorted=True)), (X("n"), X(5, sorted=True), {"right": True}))
calls("softmax.int log_softmax.int _safe_softmax", (X("n"), 0), (X(3, "n"), 1), (X("n", 3), 0))
calls("_softmax _log_softmax", (X("n"), 0, False), (X(3, "n"), -1, False), (X("n", 3), 0, False))
calls("layer_norm rms_norm", (X(3, "n"), [Size("n")]), (X("n", 7), [7], X(7)))
calls("native_layer_norm", (X(3, "n"), [Size("n")], X("n"), X("n"), 1e-5), (X("n", 7), [7], None, None, 1e-3))
calls("group_norm", (X(2, 4, "n"), 2), (X("n", 4, 3), 4, X(4), X(4)))
calls("native_group_norm", (X(2, 4, "n"), X(4), X(4), 2, 4, N, 2, 1e-5))
calls("batch_norm", (X("n", 3, 5), X(3), X(3), X(3), X(3, positive=True), False, 0.1, 1e-5, False), (X(2, 3, "n"), None, None, None, None, True, 0.1, 1e-5, False))
calls("native_batch_norm", (X("n", 3, 5), X(3), X(3), X(3), X(3, positive=True), False, 0.1, 1e-5), (X(2, 3, "n"), None, None, None, None, True, 0.1, 1e-5))
calls("_native_batch_norm_legit", (X("n", 3), X(3), X(3), X(3), X(3, positive=True), False, 0.1, 1e-5))
calls("_native_batch_norm_legit_no_training", (X("n", 3, 5), X(3), X(3), X(3), X(3, positive=True), 0.1, 1e-5))
calls("instance_norm", (X(2, 3, "n"), X(3), X(3), None, None, True, 0.1, 1e-5, False))
calls("_weight_norm", (X(3, "n"), X(3, 1)), (X("n", 3), X(1, 3), 1))
calls("glu", (X(3, Size("2*n")),), (X(4, "n"), 0))
calls("dropout alpha_dropout feature_dropout feature_alpha_dropout", (X("n", 3, 2), 0.5, False))
calls("native_dropout", (X("n"), 0.5, False))

calls("mm", (X("n", 7), X(7, 5)), (X(3, "n"), X("n", 5)))
calls("matmul", (X("n", 7), X(7, 5)), (X(2, 3, "n"), X("n", 5)), (X("n"), X("n")), (X(2, 5, 4), X(2, 4, "n")))
calls("bmm", (X(2, "n", 7), X(2, 7, 5)), (X("n", 3, 4), X("n", 4, 2)), (X(2, 3, "n"), X(2, "n", 5)))
calls("baddbmm", (X(2, "n", 5), X(2, "n", 7), X(2, 7, 5)), (X(5), X(2, 3, "n"), X(2, "n", 5), {"beta": 2, "alpha": 3}), (X(5), X(2, 3, "n"), X(2, "n", 5), {"beta": 0}))
calls("addmm", (X(5), X("n", 7), X(7, 5)), (X(3, 5), X(3, "n"), X("n", 5), {"beta": 2, "alpha": 3}), (X(3, 5), X(3, "n"), X("n", 5), {"beta": 0}))
calls("addmv", (X("n"), X("n", 7), X(7)), (X(3), X(3, "n"), X("n"), {"beta": 0, "alpha": 2}))
calls("mv", (X("n", 7), X(7)), (X(3, "n"), X("n")))
calls("dot", (X("n"), X("n")))
calls("linear", (X("n", 7), X(5, 7), X(5)), (X(3, "n"), X(5, "n")))
calls("outer ger", (X("n"), X(5)), (X(3), X("n")))
calls("tensordot", (X(3, "n"), X("n", 4), [1], [0]), (X(2, 3, "n"), X(3, 2, 4), [0, 1], [1, 0]))
calls("einsum", ("ij,jk->ik", [X(3, "n"), X("n", 4)]), ("i,j->ij", [X("n"), X(4)]), ("ij->j", [X(3, "n")]), ("bij,bj->bi", [X(2, "n", 3), X(2, 3)]))
attention = [(X(1, 2, "n", 8), X(1, 2, 5, 8), X(1, 2, 5, 8)), (X(1, 2, 4, 8), X(1, 2, "n", 8), X(1, 2, "n", 8)), (X(1, 2, "n", 8), X(1, 2, "n", 8), X(1, 2, "n", 8), {"is_causal": True})]
calls("scaled_dot_product_attention", *attention, (X(1, 2, 4, 8), X(1, 2, "n", 8), X(1, 2, "n", 8), mask(4, "n")))
calls("_scaled_dot_product_flash_attention_for_cpu", *attention)

calls("conv1d", (X(2, 3, "n"), X(4, 3, 3), X(4), [1], [1]), (X("n", 2, 9), X(4, 1, 2), None, [2], [0], [2], 2))
calls("conv2d", (X(2, 3, "n", 5), X(4, 3, 3, 3), X(4), [1, 1], [1, 1]), (X("n", 4, 6, 5), X(4, 1, 3, 3), None, [2, 1], [1, 0], [1, 1], 4))
calls("conv3d", (X(1, 2, "n", 4, 3), X(3, 2, 3, 2, 1), X(3), [1, 1, 1], [1, 0, 0]))
calls("conv1d.padding", (X(2, 3, "n"), X(4, 3, 3), X(4), [1], "same"))
calls("_convolution_mode", (X(2, 3, "n", 5), X(4, 3, 3, 3), None, [1, 1], "same", [1, 1], 1))
calls("conv2d.padding", (X(2, 3, "n", 5), X(4, 3, 3, 3), None, [1, 1], "same"))
calls("conv3d.padding", (X(1, 2, "n", 4, 3), X(3, 2, 3, 2, 1), X(3), [1, 1, 1], "same"))
calls("conv_transpose1d", (X(2, 3, "n"), X(3, 4, 3), X(4), [2], [1], [1]))
calls("conv_transpose2d.input", (X(2, 3, "n", 4), X(3, 4, 3, 2), X(4), [2, 1], [1, 0]))
calls("conv_transpose3d.input", (X(1, 2, "n", 3, 2), X(2, 3, 2, 2, 2)))
calls("convolution", (X(2, 3, "n", 5), X(4, 3, 3, 3), X(4), [1, 1], [1, 1], [1, 1], False, [0, 0], 1), (X(2, 4, "n"), X(4, 3, 2), None, [2], [0], [1], True, [1], 2))

calls("embedding", (X(5, 3), index("n", below=5)), (X("n", 3), index(4, below=N)))
bags = lambda: Made("arange.start_step", 0, Size("2*n"), 2)  # noqa: E731
calls("embedding_bag _embedding_bag _embedding_bag_forward_only", *[(X(5, 3), index(Size("2*n"), below=5), bags(), False, mode) for mode in (0, 1, 2)])
calls("embedding_bag.padding_idx", (X(5, 3), index(Size("2*n"), below=5), bags(), False, 0, False, None, False, None))
calls("one_hot", (index("n", below=5), 5))
calls("gather", (X("n"), 0, index(4, below=N)), (X(5, "n"), 0, index(2, "n", below=5)))
calls("take", (X("n"), index(4, below=N)), (X(2, 3), index("n", below=6)))
calls("index_select", (X("n", 2), 0, index(4, below=N)), (X(3, 5), 1, index("n", below=5)))
calls("index.Tensor _unsafe_index.Tensor", (X("n", 2), [index(4, below=N)]), (X(5, 3), [None, index("n", below=3)]), (X(5, 3), [index("n", below=5), index("n", below=3)]))
calls("index_put _unsafe_index_put", (X("n", 2), [index(1, below=N)], X(1, 2)), (X(5), [index("n", below=5)], X("n"), True))
calls("index_add", (X(5, 2), 0, index("n", below=5), X("n", 2)), (X("n", 2), 0, index("n", below=N), X("n", 2), {"alpha": 2}), (X("n"), 0, index("n", below=N), X("n")))
calls("index_copy", (X("n", 2), 0, index(1, below=N), X(1, 2)))
calls("index_fill.int_Scalar", (X("n", 2), 0, index(3, below=N), 2))
calls("index_fill.int_Tensor", (X("n", 2), 0, index(3, below=N), X()))
calls("index_reduce", *[(X(5, 2), 0, index("n", below=5), X("n", 2), r) for r in ("prod", "amax", "amin")], (X(5), 0, index("n", below=5), X("n"), "amax", {"include_self": False}),
      (X("n", 2), 0, index("n", below=N), X("n", 2), "mean"))
calls("scatter.src", (X("n", 2), 0, index(1, 2, below=N), X(1, 2)))
calls("scatter_add", (X(5, 2), 0, index("n", 2, below=5), X("n", 2)), (X("n"), 0, index(4, below=N), X(4)))
calls("scatter.value", (X("n", 2), 0, index(3, 2, below=N), 2))
calls("scatter.reduce", *[(X(5, 2), 0, index("n", 2, below=5), X("n", 2), {"reduce": r}) for r in ("add", "multiply")])
calls("scatter.value_reduce", *[(X(5, 2), 0, index("n", 2, below=5), 2, {"reduce": r}) for r in ("add", "multiply")])
calls("scatter_reduce.two", *[(X(5, 2), 0, index("n", 2, below=5), X("n", 2), r) for r in ("sum", "prod", "amax", "amin")],
      *[(X(5, 2), 0, index("n", 2, below=5), X("n", 2), r, {"include_self": False}) for r in ("sum", "amax")],
      *[(X("n", 2), 0, index("n", 2, below=N), X("n", 2), "mean", {"include_self": i}) for i in (True, False)])
calls("masked_scatter", (X("n"), mask("n"), X("n")))
calls("put", (X("n"), index(1, below=N), X(1)), (X(5), index("n", below=5), X("n"), True))

calls("view view_copy _unsafe_view reshape", (X("n", 6), [Size("2*n"), 3]), (X(3, "n"), [Size("3*n")]))
calls("_reshape_alias", (X("n", 6), [Size("2*n"), 3], [3, 1]))
calls("view_as reshape_as", (X("n", 6), X(2, "n", 3)))
calls("expand_as", (X("n"), X(3, "n")))
calls("flatten.using_ints ravel", (X("n", 2, 3),))
calls("unflatten.int", (X(3, Size("2*n")), 1, [2, N]))
calls("expand expand_copy broadcast_to", (X("n", 1), [Size("n"), 3]), (X("n"), [2, Size("n")]))
calls("broadcast_tensors", ([X("n", 1), X(3)],))
calls("repeat tile", (X("n"), [2]), (X("n", 2), [1, 3]), (X("n"), [2, 2]))
calls("repeat_interleave.self_int", (X("n"), 3), (X(2, "n"), 2, 1))
calls("permute permute_copy", (X("n", 2, 3), [2, 0, 1]))
calls("transpose.int transpose_copy.int swapaxes swapdims movedim.int moveaxis.int", (X("n", 3), 0, 1))
calls("movedim.intlist moveaxis.intlist", (X("n", 2, 3), [0, 1], [2, 0]))
calls("t t_copy adjoint mH mT matrix_H numpy_T", (X("n", 3),))
calls("squeeze squeeze_copy", (X("n", 1, 3),))
calls("squeeze.dim squeeze_copy.dim", (X("n", 1), 1), (X("n", 2), 1))
calls("squeeze.dims squeeze_copy.dims", (X(1, "n", 1), [0, 2]))
calls("unsqueeze unsqueeze_copy", (X("n", 3), 1), (X("n"), -1))
calls("select.int select_copy.int", (X("n", 3), 1, 2), (X(3, "n"), 0, -1))
calls("select_scatter", (X("n", 3), X("n"), 1, 2))
calls("slice.Tensor slice_copy.Tensor", (X("n", 7), 1, 1, 6, 2), (X("n"), 0, 3, None), (X("n"), 0, -5, -1), (X("n", 2), 0, 1, 5, 3))
calls("slice_scatter", (X("n", 7), X("n", 3), 1, 1, 6, 2), (X("n", 7), X("n", 5), 1, 2))
calls("narrow narrow_copy", (X("n", 7), 1, 2, 3), (X("n"), 0, 0, N))
calls("chunk unsafe_chunk", (X("n", 7), 3, 1))
calls("split.Tensor split_copy.Tensor unsafe_split.Tensor", (X("n", 7), 3, 1))
calls("split.sizes split_with_sizes split_with_sizes_copy unsafe_split_with_sizes", (X("n", 7), [3, 0, 4], 1))
calls("tensor_split.sections", (X("n", 7), 3, 1))
calls("tensor_split.indices", (X("n", 7), [2, 5], 1))
calls("hsplit.int", (X("n", 6), 3))
calls("hsplit.array", (X("n", 6), [2, 3]))
calls("vsplit.int", (X(6, "n"), 3))
calls("vsplit.array", (X(6, "n"), [2, 3]))
calls("dsplit.int", (X("n", 2, 6), 3))
calls("dsplit.array", (X("n", 2, 6), [2, 3]))
calls("unbind.int unbind_copy.int", (X(3, "n"),), (X("n", 2), 1))
calls("cat concat concatenate", ([X("n", 3), X(2, 3), X("n", 3)], 0), ([X("n", 3), X("n", 2)], 1))
calls("stack", ([X("n", 3), X("n", 3)], 1), ([X("n"), X("n")],))
calls("hstack column_stack dstack row_stack vstack", ([X("n"), X("n")],), ([X("n", 3), X("n", 3)],))
calls("meshgrid", ([X("n"), X(3)],))
calls("meshgrid.indexing", ([X("n"), X(3)], {"indexing": "xy"}))
calls("flip", (X("n"), [0]), (X("n", 3), [0, 1]))
calls("fliplr flipud rot90", (X("n", 3),))
calls("roll", (X("n"), [2]), (X("n", 3), [1, -2], [0, 1]))
calls("diagonal diagonal_copy linalg_diagonal", (X("n", 3),))
calls("diagonal_scatter", (X(3, "n", 3), X("n", 3), 0, 0, 2))
calls("diag_embed", (X("n"),), (X(2, "n"), 1))
calls("trace", (X("n", "n"),))
calls("tril triu", (X("n", 3), 1), (X(3, "n"), -1))
calls("unfold unfold_copy", (X("n", 7), 1, 3, 2))
calls("diff", (X("n", 5), 1, 1), (X("n"),), (X("n", 5), 2, 1))
calls("as_strided as_strided_copy", (X("n", 6), [N, 2], [6, 3], 1))
calls("as_strided_scatter", (X("n", 6), X("n", 2), [N, 2], [6, 3], 1))
calls("channel_shuffle native_channel_shuffle", (X("n", 6, 2, 2), 3))
calls("pixel_shuffle", (X("n", 8, 3, 2), 2))
calls("pixel_unshuffle", (X("n", 2, 4, 6), 2))
calls("constant_pad_nd", (X("n", 3), [1, 2], 2), (X("n"), [2, 1]), (X("n", 5), [-1, 1, 0, 2], -1))
calls("pad", (X("n", 3), [1, 2]), (X(2, "n", 5), [2, 1], "reflect"), (X(2, "n", 5), [2, 1], "replicate"), (X(2, "n", 5), [2, 1], "circular"))
calls("reflection_pad1d replication_pad1d", (X(2, "n", 5), [2, 1]))
calls("reflection_pad2d replication_pad2d", (X("n", 2, 4, 5), [2, 1, 1, 2]))
calls("reflection_pad3d replication_pad3d", (X("n", 2, 3, 4, 5), [2, 1, 1, 2, 1, 1]))
calls("im2col", (X("n", 2, 5, 6), [2, 3], [1, 1], [1, 0], [1, 2]))
calls("col2im", (X("n", 12, 16), [5, 4], [2, 3], [1, 1], [0, 1], [1, 1]))

calls("avg_pool1d", (X(2, 3, "n"), [3], [2], [1]), (X("n", 7), [2]))
calls("avg_pool2d", (X(2, "n", 5, 6), [3, 2], [2, 1], [1, 0]), (X("n", 5, 6), [2, 2], [2, 2], [1, 1], True, False))
calls("avg_pool3d", (X("n", 3, 4, 5), [2, 2, 2]))
calls("max_pool1d", (X(2, 3, "n"), [3], [2], [1]), (X("n", 7), [2]))
calls("max_pool2d max_pool2d_with_indices", (X(2, "n", 5, 6), [3, 2], [2, 1], [1, 0]), (X("n", 5, 6), [2, 2], [2, 2], [1, 1], [1, 1], True))
calls("max_pool3d max_pool3d_with_indices", (X("n", 3, 4, 5), [2, 2, 2]))
calls("adaptive_avg_pool1d", (X("n", 2, 7), [3]))
calls("adaptive_avg_pool2d _adaptive_avg_pool2d", (X("n", 2, 7, 5), [3, 2]))
calls("adaptive_avg_pool3d _adaptive_avg_pool3d", (X("n", 2, 4, 5, 3), [3, 2, 1]))
calls("upsample_nearest1d _upsample_nearest_exact1d", (X(2, "n", 5), [8]), (X(2, "n", 5), [5]))
calls("upsample_nearest2d _upsample_nearest_exact2d", (X(2, "n", 5, 4), [8, 7]), (X(2, "n", 5, 4), [5, 4]))
calls("upsample_nearest3d _upsample_nearest_exact3d", (X(1, "n", 3, 5, 4), [4, 8, 3]), (X(1, "n", 3, 5, 4), [3, 5, 4]))
calls("upsample_nearest1d.vec _upsample_nearest_exact1d.vec", (X(2, "n", 5), None, [2.0]))
calls("upsample_nearest2d.vec _upsample_nearest_exact2d.vec", (X(2, "n", 5, 4), None, [2.0, 1.5]))
calls("upsample_nearest3d.vec _upsample_nearest_exact3d.vec", (X(1, "n", 3, 5, 4), None, [2.0, 1.0, 0.5]))
calls("upsample_linear1d", (X(2, "n", 5), [8], False), (X(2, "n", 5), [5], False), (X(2, "n", 5), [5], True))
calls("upsample_bilinear2d upsample_bicubic2d", (X(2, "n", 5, 4), [8, 7], False), (X(2, "n", 5, 4), [5, 4], False), (X(2, "n", 5, 4), [5, 4], True), (X(2, "n", 5, 4), [5, 7], True))
calls("upsample_trilinear3d", (X(1, "n", 3, 5, 4), [4, 8, 3], False), (X(1, "n", 3, 5, 4), [3, 5, 4], False), (X(1, "n", 3, 5, 4), [3, 5, 4], True))
calls("upsample_linear1d.vec", (X(2, "n", 5), None, False, [2.0]), (X(2, "n", 5), None, False, [1.0]))
calls("upsample_bilinear2d.vec upsample_bicubic2d.vec", (X(2, "n", 5, 4), None, False, [2.0, 1.5]), (X(2, "n", 5, 4), None, False, [1.0, 1.0]))
calls("upsample_trilinear3d.vec", (X(1, "n", 3, 5, 4), None, False, [2.0, 1.0, 0.5]), (X(1, "n", 3, 5, 4), None, False, [1.0, 1.0, 1.0]))

calls("zeros ones", ([Size("n"), 3],), ([N], {"dtype": "row"}))
calls("full", ([N, 3], 2), ([N], 1, {"dtype": "row"}))
calls("new_zeros new_ones", (X(2), [N, 3]))
calls("new_full", (X(2), [N, 3], 2))
calls("new_empty", (X(2), [N, 3]))
calls("new_empty_strided", (X(2), [N, 3], [3, 1]))
calls("full_like", (X("n"), 2))
calls("empty.memory_format", ([N, 3], {"dtype": "row"}))
calls("empty_permuted", ([N, 3], [1, 0], {"dtype": "row"}))
calls("empty_strided", ([N, 3], [3, 1], {"dtype": "row"}))
calls("eye", (N, {"dtype": "row"}))
calls("eye.m", (N, 3, {"dtype": "row"}))
calls("arange", (N, {"dtype": "row"}), (N,), (7.5, {"dtype": "row"}))
calls("arange.start", (-3, N, {"dtype": "row"}))
calls("arange.start_step", (1, N, 3, {"dtype": "row"}), (0.5, 2.0, 0.25, {"dtype": "row"}), (9, -4, -2, {"dtype": "row"}))
calls("linspace", *[(-2, 5.5, k, {"dtype": "row"}) for k in (0, 1, 7, 64, 1000)])
calls("scalar_tensor", (2.5, {"dtype": "row"}), (3,))
calls("to.dtype", *[(X("n"), t) for t in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)])
calls("_to_copy", (X("n"), {"dtype": torch.float32}), (X("n"), {"dtype": torch.int16}))
calls("to.device", (X("n"), torch.device("cpu"), torch.float16))
calls("to.dtype_layout", (X("n"), {"dtype": torch.bfloat16}))
calls("to.other type_as", (X("n"), X(1, dtype=torch.float16)), (X("n"), X(1, dtype=torch.int32)))
calls("copy", (X("n"), X("n", dtype=F32)), (X("n", 3), X(3)))
calls("fill.Tensor", (X("n"), X()))
calls("_assert_tensor_metadata", (X("n"),))

calls("div.Tensor_mode divide.Tensor_mode", *[(X("n"), X("n"), {"rounding_mode": m}) for m in (None, "floor", "trunc")])
calls("div.Scalar_mode divide.Scalar_mode", *[(X("n"), v, {"rounding_mode": m}) for m in (None, "floor", "trunc") for v in (3, -2)], (X("n"), 0.7, {"rounding_mode": "floor"}))
calls("round.decimals", *[(X("n"), {"decimals": d}) for d in (0, 2, -1)])
calls("leaky_relu_backward", (X("n"), X("n"), 0.1, False))
calls("gelu", (X("n"),), (X("n"), {"approximate": "tanh"}))
calls("prelu _prelu_kernel", (X("n", 3), X(3)), (X("n"), X(1)))
calls("clamp clip", (X("n"), -1, 1), (X("n"), 1, -1), (X("n"), None, 0), (X("n"), 2), (X("n"), -0.5, 2.5))
calls("clamp.Tensor clip.Tensor", (X("n"), X("n"), X("n")), (X("n"), X(1)), (X("n"), None, X("n")))
calls("hardtanh", (X("n"),), (X("n"), -2, 3))
calls("nan_to_num", (X("n"),), (X("n"), 1.5, 2.0, -3.0))
calls("isclose", (X("n"), X("n")), (X("n"), X("n"), 0.5, 0.1, True))
calls("logit special_logit", (X("n"),), (X("n"), 0.1))
calls("celu", (X("n"),), (X("n"), 0.5))
calls("elu", (X("n"),), (X("n"), 0.5, 2, 3))
calls("softplus", (X("n"),), (X("n"), 0.5, 3))
calls("threshold", (X("n"), 1, -7))
calls("threshold_backward", (X("n"), X("n"), 1))
calls("hardtanh_backward", (X("n"), X("n"), -1, 2))
calls("masked_fill.Scalar", (X("n"), mask("n"), 2))
calls("masked_fill.Tensor", (X("n"), mask("n"), X()))
calls("where.self", (mask("n"), X("n"), X("n")), (mask("n"), X(), X("n")))
calls("where.Scalar", (mask("n"), 1, 2.5))
calls("where.ScalarOther", (mask("n"), X("n"), 2), (mask("n"), X("n"), 2.5))
calls("where.ScalarSelf", (mask("n"), 2, X("n")))
calls("lerp.Scalar", *[(X("n"), X("n"), w) for w in (0.3, 0.5, 1.0)])
calls("addcmul addcdiv", (X("n"), X("n"), X("n")), (X("n"), X("n"), X("n"), {"value": 2}))
calls("add.Tensor sub.Tensor subtract.Tensor rsub.Tensor", (X("n"), X("n")), (X("n"), X("n"), {"alpha": 3}), (X(3, 1), X("n")), (X("n"), X()))
calls("huber_loss smooth_l1_loss", (X("n"), X("n")), (X("n"), X("n"), 0, 0.5), (X("n"), X("n"), 2))
calls("l1_loss mse_loss", (X("n"), X("n")), (X("n"), X("n"), 0), (X("n"), X("n"), 2))

cells = lambda gates: (X("n", 3), X("n", 4), X(4 * gates, 3), X(4 * gates, 4), X(4 * gates), X(4 * gates))  # noqa: E731
calls("rnn_tanh_cell rnn_relu_cell", cells(1))
calls("gru_cell", cells(3))
calls("lstm_cell", (X("n", 3), [X("n", 4), X("n", 4)], X(16, 3), X(16, 4), X(16), X(16)))
layer = lambda gates: [X(4 * gates, 3), X(4 * gates, 4), X(4 * gates), X(4 * gates)]  # noqa: E731
calls("rnn_tanh.input rnn_relu.input", (X("n", 2, 3), X(1, 2, 4), layer(1), True, 1, 0.0, False, False, False))
calls("gru.input", (X("n", 2, 3), X(1, 2, 4), layer(3), True, 1, 0.0, False, False, False), (X(2, 5, 3), X(1, 2, 4), layer(3), True, 1, 0.0, False, False, True))
calls("lstm.input", (X("n", 2, 3), [X(1, 2, 4), X(1, 2, 4)], layer(4), True, 1, 0.0, False, False, False))


def made_from_schema(schema, reduces):
    """Calls of an operator that takes tensors and numbers alone; None: it takes more."""
    given = [a for a in schema.arguments if not a.has_default_value()]
    if not given or any(str(a.type) not in ("Tensor", "number") for a in given):
        return None
    tensors = sum(str(a.type) == "Tensor" for a in given)
    if reduces and tensors == 1:
        shapes = [[(N,)], [(3, N)], [(N, 3)]]
    else:
        shapes = [[(N,)] * tensors]
        if tensors == 2:
            shapes += [[(3, 1), (N,)], [(N,), ()], [(), (N,)]]
    numbers = [2, -3, 0.7] if tensors < len(given) else [None]
    out = []
    for s, v in itertools.product(shapes, numbers):
        s = iter(s)
        out.append(tuple(X(*next(s)) if str(a.type) == "Tensor" else v for a in given))
    return out
