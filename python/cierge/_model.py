"""Models as Python has them: what is written for the compiler, and which tree of tensors goes in and comes out. Needs torch."""
import copy
import pathlib

import torch
from torch.utils import _pytree


class Trees:
    """How the leaves of a call's arguments and of its results hang together, as torch.export noted it."""

    def __init__(self, spec):
        self.given, self.result = spec.in_spec, spec.out_spec

    def flatten(self, args, kwargs):
        names = self.given.children()[1].context if self.given.num_children else []
        unknown, missing = [k for k in kwargs if k not in names], [k for k in names if k not in kwargs]
        if unknown or missing:
            words = [f"{' and '.join(map(repr, keys))} {what}" for keys, what in ((unknown, "was not given when it was exported"), (missing, "is missing")) if keys]
            raise TypeError(f"keyword arguments: {'; '.join(words)}")
        leaves, tree = _pytree.tree_flatten((args, {k: kwargs[k] for k in names}))
        if tree != self.given:
            raise TypeError(f"the arguments are not built as those that the model was exported with:\n  given    {tree}\n  exported {self.given}")
        return leaves

    def unflatten(self, leaves):
        return _pytree.tree_unflatten(leaves, self.result)


def _types(args, given):
    """Option `input` of a TorchScript program: the types of its arguments, by their places."""
    def word(x):
        if isinstance(x, torch.Tensor):
            name = str(x.dtype).split(".")[1]
            kind = {"bfloat16": "bf16", "bool": "bool"}.get(name) or name.replace("complex", "c").replace("uint", "u").replace("int", "i").replace("float", "f")
            return f"{kind}[{', '.join(map(str, x.shape))}]"
        if isinstance(x, (list, tuple)):
            return f"[{', '.join(map(word, x))}]"
        if x is None:
            return "none"
        if type(x) in (bool, int, float):
            return type(x).__name__
        raise TypeError(f"an argument of a TorchScript program is a tensor, a number, None or a list of them, not a {type(x).__name__}")
    if len(args) > len(given):
        raise TypeError(f"the program takes {len(given)} arguments, {len(args)} are given")
    return [f"{name}={word(x)}" for name, x in zip(given, args)]


def written(model, args, kwargs, dynamic_shapes, folder, options):
    """Writes what the compiler reads into the folder: (path, Trees or None)."""
    if isinstance(model, torch.jit.ScriptModule):
        if dynamic_shapes is not None:
            raise TypeError("a TorchScript program's open sizes are said by input=[\"x=f32[s0, 3]\"]")
        path = pathlib.Path(folder, "model.pt")
        torch.jit.save(model, str(path))
        names = [a.name for a in model.forward.schema.arguments[1:]]
        unknown = [k for k in kwargs if k not in names[len(args):]]
        if unknown:
            raise TypeError(f"the program takes no argument {unknown[0]!r} besides those that are given: it takes {', '.join(names)}")
        types = _types(args, names) + _types(tuple(kwargs.values()), list(kwargs))
        if types and "input" not in options and "inputs" not in options:
            options["input"] = types
        return path, None
    if isinstance(model, torch.nn.Module):
        with torch.no_grad():
            model = torch.export.export(model, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False)
    elif args or kwargs or dynamic_shapes is not None:
        raise TypeError("an exported program has its arguments: args, kwargs and dynamic_shapes are for modules")
    path = pathlib.Path(folder, "model.pt2")
    torch.export.save(_with_plain_trees(model), str(path))
    return path, Trees(model.call_spec)


def _with_plain_trees(program):
    """The program as one of tuples: a file cannot name every class that arguments and results are built of, and need not, for the
    trees stay here."""
    entry = copy.copy(program.module_call_graph[0])
    entry.signature = copy.copy(entry.signature)
    leaves = lambda spec: tuple(range(spec.num_leaves))  # noqa: E731
    entry.signature.in_spec = _pytree.tree_flatten((leaves(entry.signature.in_spec), {}))[1]
    entry.signature.out_spec = _pytree.tree_flatten(leaves(entry.signature.out_spec))[1]
    plain = copy.copy(program)
    plain._module_call_graph = [entry]
    return plain
