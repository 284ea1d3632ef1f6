"""The cases: PyTorch's own OpInfo table, as exported programs.

For each operator up to three samples in float32 and one each in int64 and bfloat16, and one of its in-place form; where
they are asked for, one in each other dtype that OpInfo lists for it. A case is what PyTorch exports,
saves, reloads and runs; what fails there is listed by name and not counted. Everything that a case needs is cached by
content: programs in both dialects, inputs, PyTorch's results (of the reloaded program), and those of a float64 run.

Each is a TorchScript program as well, from torch.jit.trace (dialect `s`): what PyTorch traces, saves, reloads and runs.
"""
import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import warnings

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as pytree

warnings.filterwarnings("ignore")
HARNESS = "3"  # part of the cache's key: change it when cases are made differently
DTYPES = ((torch.float32, 3), (torch.int64, 1), (torch.bfloat16, 1))
UNINITIALISED = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"}


IN_PLACE = ".in_place"


def case_ids(dtypes="usual"):
    """dtypes: usual (DTYPES), others, all"""
    out, usual = [], [t for t, _ in DTYPES]
    for op in op_db:
        name = op.name + (f".{op.variant_test_name}" if op.variant_test_name else "")
        others = sorted((t for t in op.supported_dtypes("cpu") if t not in usual), key=str)
        for dtype, count in [*(DTYPES if dtypes != "others" else ()), *((t, 1) for t in others if dtypes != "usual")]:
            if dtype in op.supported_dtypes("cpu"):
                out += [f"{name}/{str(dtype)[6:]}/{k}" for k in range(count)]
                if op.inplace_variant and dtype in usual:
                    out.append(f"{name}{IN_PLACE}/{str(dtype)[6:]}/0")
    return out


_ops = {op.name + (f".{op.variant_test_name}" if op.variant_test_name else ""): op for op in op_db}


class Program(torch.nn.Module):
    """Calls an operator with some leaves of its arguments taken from forward's inputs, the rest fixed."""

    def __init__(self, fn, leaves, spec, where):
        super().__init__()
        self.fn, self.leaves, self.spec, self.where = fn, leaves, spec, where

    def forward(self, *tensors):
        leaves = list(self.leaves)
        for i, t in zip(self.where, tensors):
            leaves[i] = t
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return self.fn(*args, **kwargs)


def build(case):
    """(module, inputs) of a case, or None where the operator has fewer samples."""
    name, dtype, k = case.rsplit("/", 2)
    op, dtype = _ops[name.removesuffix(IN_PLACE)], getattr(torch, dtype)
    torch.manual_seed(int(hashlib.sha256(case.encode()).hexdigest()[:8], 16))
    samples = iter(op.sample_inputs("cpu", dtype, requires_grad=False))
    sample = next(itertools.islice(samples, int(k), None), None)
    if hasattr(samples, "close"):
        samples.close()  # before tracing begins: a generator that ends inside it would be traced
    if sample is None:
        return None
    leaves, spec = pytree.tree_flatten(((sample.input, *sample.args), sample.kwargs))
    where = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]
    inputs = tuple(leaves[i].detach().clone(memory_format=torch.preserve_format) for i in where)
    fixed = [None if i in set(where) else x for i, x in enumerate(leaves)]
    return Program(op.inplace_variant if name.endswith(IN_PLACE) else op.op, fixed, spec, where).eval(), inputs


def _wide(x):
    if isinstance(x, torch.Tensor) and x.is_floating_point():
        return x.double()
    if isinstance(x, torch.Tensor) and x.dtype in (torch.complex64, torch.complex32):
        return x.to(torch.complex128)
    return x


def _plain(leaves):
    return [x.detach().resolve_conj().resolve_neg() if isinstance(x, torch.Tensor) and x.layout == torch.strided else x for x in leaves]


def prepare(case, cache, dialects="tf"):
    """(folder, {dialect: "ok" | "none" | reason}): t.pt2, f.pt2 and io.pt, s.pt and s-io.pt; made if they are not there."""
    status = {}
    if set(dialects) & set("tf"):
        folder, made = _prepare(case, cache, "meta.json", _export)
        status.update(t=made, f=made)
    if "s" in dialects:
        folder, status["s"] = _prepare(case, cache, "s.json", _trace)
    return folder, status


def _prepare(case, cache, file, make):
    key = hashlib.sha256(f"{HARNESS} {torch.__version__} {case}".encode()).hexdigest()[:24]
    folder = pathlib.Path(cache) / key[:2] / key
    meta = folder / file
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:  # several runs share the cache
        fcntl.flock(lock, fcntl.LOCK_EX)
        if meta.exists():
            return folder, json.loads(meta.read_text())["status"]
        try:
            built = build(case)
            if built is None:
                status = "none"
            elif any(x.layout != torch.strided for x in built[1]):
                status = "inputs that are not strided tensors"
            else:
                status = make(*built, folder)
        except Exception as e:  # PyTorch cannot make this program: not a case
            status = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"[:300]
        meta.with_suffix(".new").write_text(json.dumps({"case": case, "status": status}))
        os.replace(meta.with_suffix(".new"), meta)
        return folder, status


def _run(program, inputs):
    torch.manual_seed(0)
    copies = [x.clone(memory_format=torch.preserve_format) for x in inputs]
    try:
        return {"out": _plain(pytree.tree_leaves(program(*copies), is_leaf=lambda x: x is None)), "mutated": copies, "error": None}
    except NameError:  # the text that PyTorch makes of the program does not run
        raise
    except Exception as e:
        return {"out": None, "mutated": None, "error": str(e)[:300]}


def _export(module, inputs, folder):
    with torch.no_grad():
        program = torch.export.export(module, inputs, strict=False)
        torch.export.save(program, folder / "t.pt2")
        torch.export.save(program.run_decompositions(), folder / "f.pt2")
        record = {"inputs": inputs}
        for dialect in "tf":
            reloaded = torch.export.load(folder / f"{dialect}.pt2").module()
            record[dialect] = _run(reloaded, inputs)
        record["wide"], record["wide_mutated"] = _wide_results(module, inputs)
    torch.save(record, folder / "io.pt")
    return _outputs_fit(record["t"], record["f"])


def _wide_results(module, inputs):
    wide_module = Program(module.fn, [_wide(x) for x in module.leaves], module.spec, module.where)
    wide = _run(wide_module, [_wide(x) for x in inputs])
    return wide["out"], wide["mutated"]


def _outputs_fit(*results):
    for r in results:
        for x in r["out"] or []:
            if isinstance(x, torch.Tensor) and x.layout != torch.strided:
                return "outputs that are not strided tensors"
            if isinstance(x, str):
                return "an output that is a text"
    return "ok"


def _trace(module, inputs, folder):
    with torch.no_grad():
        torch.jit.trace(module, tuple(x.clone(memory_format=torch.preserve_format) for x in inputs), check_trace=False, strict=False).save(str(folder / "s.pt"))
        program = torch.jit.load(str(folder / "s.pt"))
        names = [a.name for a in program.forward.schema.arguments[1:]]
        record = {"inputs": inputs, "names": names, "s": _run(program, inputs)}
        record["wide"], record["wide_mutated"] = _wide_results(module, inputs)
    torch.save(record, folder / "s-io.pt")
    return _outputs_fit(record["s"]) if record["s"]["out"] != [] else "no outputs"
