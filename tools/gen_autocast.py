#!/usr/bin/env python3
"""Writes src/pass/autocast_aten.inc: what torch.autocast('cpu') does to the arguments of ATen operators, observed.

Every operator that has a kernel for autocast is called under it with arguments that fit its schema; the casts that come
before anything else tell which of PyTorch's three rules it follows. Then PyTorch's own table of operator samples finds the
operators without such a kernel that call one inside (einsum calls bmm): their casts cannot be made from outside.

    .venv/bin/python tools/gen_autocast.py > src/pass/autocast_aten.inc
"""
import warnings

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

warnings.filterwarnings("ignore")
HALF = torch.bfloat16


class Stop(Exception):
    pass


class Casts(TorchDispatchMode):
    """Notes casts of whole tensors; with stop, ends the call at the first other operator."""

    def __init__(self, stop):
        super().__init__()
        self.stop, self.seen = stop, []

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if f is torch.ops.aten._to_copy.default and kwargs.get("dtype"):
            self.seen.append((args[0], kwargs["dtype"]))
        elif self.stop:
            raise Stop
        return f(*args, **kwargs)


def autocast_kernels():
    for s in torch._C._jit_get_all_schemas():
        k = s.name + ("." + s.overload_name if s.overload_name else "")
        if s.name.startswith("aten::") and torch._C._dispatch_has_kernel(k) and torch._C._dispatch_has_kernel_for_dispatch_key(k, "AutocastCPU"):
            yield k, s


def argument(a, tensors):
    """A value of the argument's type; tensors come from an iterator."""
    kind = str(a.type)
    if kind in ("Tensor", "Optional[Tensor]"):
        return next(tensors)
    if kind in ("List[Tensor]", "List[Optional[Tensor]]"):
        return [next(tensors), next(tensors)]
    plain = {"int": 1, "float": 0.5, "bool": False, "str": "none", "number": 1, "Scalar": 1}
    if kind.startswith("Optional["):
        return None
    if kind.startswith("List["):
        return [plain[kind[5:-1]]] * 2
    return plain[kind]


def casts_of(k, s, dtypes):
    """The dtype that each tensor argument is cast to under autocast, None where it is left."""
    made = []

    def tensors():
        while True:
            made.append(torch.ones(2, 2, dtype=dtypes[len(made) % len(dtypes)]))
            yield made[-1]

    name, _, overload = k.removeprefix("aten::").partition(".")
    op = getattr(getattr(torch.ops.aten, name), overload or "default")
    source = tensors()
    args, kwargs = [], {}
    for a in s.arguments:
        value = argument(a, source)
        if a.kwarg_only:
            kwargs[a.name] = value
        else:
            args.append(value)
    mode = Casts(stop=True)
    with torch.autocast("cpu", HALF), torch.no_grad(), mode:
        try:
            op(*args, **kwargs)
        except Exception:  # the arguments make no sense to it; the casts came first
            pass
    return [next((d for t, d in mode.seen if t is m), None) for m in made]


def rule_of(k, s):
    single, half, mixed = (casts_of(k, s, d) for d in ((torch.float32,), (HALF,), (HALF, torch.float32)))
    if all(d == HALF for d in single):  # what it does afterwards is its own
        return "LOWER"
    if all(d == torch.float32 for d in half) and not any(d and d.is_floating_point for d in single):
        return "SINGLE"
    if not any(single) and not any(half) and all(d == (torch.float32 if i % 2 == 0 else None) for i, d in enumerate(mixed)):
        return "WIDEST"
    return "INSIDE"  # a rule of its own


def casts_inside(target, args, kwargs, dtype):
    """Whether autocast adds casts to a call whose f32 tensors are given in another dtype."""
    args, kwargs = tree_map(lambda x: x.to(dtype) if isinstance(x, torch.Tensor) and x.dtype == torch.float32 else x, (args, kwargs))
    seen = []
    for on in (False, True):
        mode = Casts(stop=False)
        try:
            with torch.autocast("cpu", HALF, enabled=on), torch.no_grad(), mode:
                target(*args, **kwargs)
        except Exception:
            pass
        seen.append(sum(t.is_floating_point() and d.is_floating_point for t, d in mode.seen))
    return seen[1] > seen[0]


class CallsInside(torch.fx.Interpreter):
    """Runs a graph and finds operators that are cast inside: {key: {f32, bf16}}."""

    def __init__(self, graph, known, found):
        super().__init__(graph)
        self.known, self.found = known, found

    def call_function(self, target, args, kwargs):
        if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten" and target.name() not in self.known:
            for dtype in (torch.float32, HALF):
                if casts_inside(target, args, kwargs, dtype):
                    self.found.setdefault(target.name(), set()).add(dtype)
        return super().call_function(target, args, kwargs)


def search(f, args, known, found):
    leaves = [x for x in tree_leaves(args) if isinstance(x, torch.Tensor)]
    if not any(x.is_floating_point() for x in leaves):
        return
    try:
        with torch.no_grad():
            graph = make_fx(f, pre_dispatch=True)(*args)
            CallsInside(graph, known, found).run(*args)
    except Exception:  # a sample that make_fx does not trace
        pass


def main():
    rules = {k: rule_of(k, s) for k, s in autocast_kernels()}
    inside = {}
    for info in op_db:
        if not info.supports_dtype(torch.float32, "cpu"):
            continue
        try:
            samples = list(info.sample_inputs("cpu", torch.float32))[:4]
        except Exception:
            continue
        for sample in samples:
            search(lambda x, *a, info=info, kw=sample.kwargs: info.op(x, *a, **kw), (sample.input, *sample.args), rules, inside)
    x, c = torch.randn(2, 3, 4), torch.randn(2, 4)
    for cell in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
        search(cell(4, 5).eval().__call__, (x,), rules, inside)
        search(cell(4, 5, bidirectional=True, num_layers=2).eval().__call__, (x,), rules, inside)
    search(torch.nn.RNN(4, 5, nonlinearity="relu").eval().__call__, (x,), rules, inside)
    for cell in (torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell):
        search(cell(4, 5).eval().__call__, (c,), rules, inside)
    search(torch.nn.RNNCell(4, 5, nonlinearity="relu").eval().__call__, (c,), rules, inside)
    for f, n in ((torch.chain_matmul, 3), (torch.ops.aten.linalg_matmul, 2), (torch.inner, 2), (torch.ops.aten.nll_loss_nd, 0)):
        search(f, [torch.randn(3, 3) for _ in range(n)] if n else [torch.randn(3, 4), torch.tensor([0, 1, 3])], rules, inside)
    rules |= {k: "INSIDE" if len(d) == 2 else "INSIDE_SINGLE" if torch.float32 in d else "INSIDE_HALF" for k, d in inside.items()}
    print(f"// Written by tools/gen_autocast.py from PyTorch {torch.__version__.split('+')[0]}. Sorted by key.")
    for k, rule in sorted(rules.items()):
        print(f'{{"{k}", {rule}}},')


if __name__ == "__main__":
    main()
