"""Models as Python has them: what is written for the compiler, and which tree of tensors goes in and comes out. Needs torch."""
import collections
import copy
import functools
import itertools
import pathlib
import re
import types
import re

import torch
from torch.utils import _pytree


class Trees:
    """How the leaves of a call's arguments and of its results hang together, as torch.export noted it."""

    def __init__(self, spec):
        self.__setstate__((spec.in_spec, spec.out_spec))

    def __getstate__(self):
        return self.given, self.result

    def __setstate__(self, state):
        self.given, self.result = state
        self._open, self._build = _opener(self.given), _builder(self.result)

    def flatten(self, args, kwargs, inputs):
        leaves = []
        if self._open((args, kwargs), leaves):
            return leaves
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
        return self._build(iter(leaves))


_LEAVES = frozenset((torch.Tensor, torch.nn.Parameter, int, float, bool, str, type(None)))


def _opener(tree):
    """A function of a tree and a list: whether it is built like this one of tuples, lists and dictionaries; its leaves are added to
    the list, in microseconds. Whatever else it is, _pytree tells."""
    kind, keys, items = tree.type, tree.context, [_opener(inner) for inner in tree.children()]
    n, flat = len(items), all(inner.is_leaf() for inner in tree.children())

    def opened(x, out):
        if type(x) is not kind:
            return False
        if kind is dict:
            if list(x) != keys:
                return False
            x = x.values()
        elif len(x) != n:
            return False
        if flat:
            out.extend(x)
            return _LEAVES.issuperset(map(type, x))
        return all(inner(item, out) for item, inner in zip(x, items))

    def leaf(x, out):
        out.append(x)
        return type(x) in _LEAVES
    return leaf if tree.is_leaf() else opened if kind in (tuple, list, dict) else lambda x, out: False


def _builder(tree):
    """A function of an iterator over leaves, which builds the tree."""
    if tree.is_leaf():
        return next
    items = [_builder(inner) for inner in tree.children()]
    flat = all(build is next for build in items)
    if tree.type is tuple and flat:
        n = len(items)
        return lambda leaves: tuple(itertools.islice(leaves, n))
    if tree.type in (tuple, list):
        kind = tree.type
        return lambda leaves: kind([build(leaves) for build in items])
    if tree.type is dict:
        return lambda leaves: {key: build(leaves) for key, build in zip(tree.context, items)}
    return lambda leaves: _pytree.tree_unflatten(list(itertools.islice(leaves, tree.num_leaves)), tree)


class ScriptTrees:
    """The same of a TorchScript program: its arguments by name, and its results as its schema has them."""

    def __init__(self, arguments):
        self.names = [a.name for a in arguments]
        self.defaults = {a.name: a.default_value for a in arguments if a.has_default_value()}
        self.result = None

    def bind(self, args, kwargs):
        if len(args) > len(self.names):
            raise TypeError(f"the program takes {len(self.names)} arguments, {len(args)} are given")
        unknown = [k for k in kwargs if k not in self.names[len(args):]]
        if unknown:
            raise TypeError(f"the program takes no argument {unknown[0]!r} besides those that are given: it takes {', '.join(self.names)}")
        return {**dict(zip(self.names, args)), **kwargs}

    def flatten(self, args, kwargs, inputs):
        if not kwargs and len(args) == len(inputs) and _LEAVES.issuperset(map(type, args)) and [spec.name for spec in inputs] == self.names:
            return args
        given, leaves = self.bind(args, kwargs), {}
        for name, x in {**self.defaults, **given}.items():
            here = _leaves(name, x, {})
            known = [spec.name for spec in inputs if spec.name.split(".")[0] == name]
            if name in given and known != list(here) and not (name in self.defaults and _alike(x, self.defaults[name])):
                raise TypeError(f"argument {name} is not built as the one that the program was compiled for; its inputs: {', '.join(map(repr, inputs))}")
            leaves.update(here)
        for spec in inputs:
            if spec.name not in leaves and not spec.constant:
                raise TypeError(f"input {spec.name} is missing; the program's inputs: {', '.join(map(repr, inputs))}")
        return [leaves.get(spec.name) for spec in inputs]

    def unflatten(self, leaves):
        if self.result == _ALL:
            return leaves
        rest = iter(leaves)
        return _built(self.result, rest)


# What results are built of: None for a tensor, a number or None, else (kind, names, items).
_ALL = ("list", None, None)  # of as many items as there are outputs


def _by_type(t, example):
    """As the type says; where it leaves open how many items there are, as an example has them."""
    kind = t.kind()
    inner = t.getElementType().kind() if kind in ("ListType", "OptionalType") else None
    if kind == "TupleType" and t.annotation_str.startswith("Tuple["):
        return "tuple", None, [_by_type(e, lambda k=k: example()[k]) for k, e in enumerate(t.elements())]
    if kind in _OPEN or kind == "OptionalType" and inner in _OPEN:
        return _by_value(example())
    return None


_OPEN = ("TupleType", "ListType", "DictType")


def _by_value(x):
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return "named", (type(x).__name__, *x._fields), [_by_value(v) for v in x]
    if isinstance(x, dict):
        return "dict", tuple(x), [_by_value(v) for v in x.values()]
    return (type(x).__name__, None, [_by_value(v) for v in x]) if isinstance(x, (list, tuple)) else None


def _built(form, leaves):
    if form is None:
        return next(leaves)
    kind, names, items = form
    items = [_built(f, leaves) for f in items]
    if kind == "named":
        return collections.namedtuple(names[0], names[1:])(*items)
    return dict(zip(names, items)) if kind == "dict" else tuple(items) if kind == "tuple" else items


def _leaves(name, x, out):
    """Tensors and numbers by the names of inputs: those of a list's items are name.0, name.1 …, those of a dictionary's name.key."""
    if not isinstance(x, (list, tuple, dict)):
        out[name] = x
        return out
    for k, item in x.items() if isinstance(x, dict) else enumerate(x):
        _leaves(f"{name}.{k}", item, out)
    return out


def _alike(x, y):
    if isinstance(x, (list, tuple)):
        return isinstance(y, (list, tuple)) and len(x) == len(y) and all(map(_alike, x, y))
    return type(x) is type(y) and not isinstance(x, torch.Tensor) and x == y


def _types(given):
    """Option `input` of a TorchScript program: the types of its arguments, by their names."""
    def word(x):
        if isinstance(x, torch.Tensor):
            name = str(x.dtype).split(".")[1]
            kind = {"bfloat16": "bf16", "bool": "bool"}.get(name) or name.replace("complex", "c").replace("uint", "u").replace("int", "i").replace("float", "f")
            return f"{kind}[{', '.join(map(str, x.shape))}]"
        if isinstance(x, (list, tuple)):
            return f"[{', '.join(map(word, x))}]"
        if isinstance(x, dict) and all(re.fullmatch(r"[\w-]+", str(k)) for k in x):
            return f"{{{', '.join(f'{k}: {word(v)}' for k, v in x.items())}}}"
        if x is None:
            return "none"
        if isinstance(x, str):
            return f'"{x}"'
        if type(x) in (bool, int, float):
            return type(x).__name__
        raise TypeError(f"an argument of a TorchScript program is a tensor, a number, a text, None, a list of them or a dictionary with plain words or whole numbers for keys, "
                        f"not this {type(x).__name__}: give compile() the module as it was before torch.jit, for torch.export takes all dictionaries and registered classes")
    return [f"{name}={word(x)}" for name, x in given.items()]


def _copied(x):
    if isinstance(x, dict):
        return {k: _copied(v) for k, v in x.items()}
    return x.detach().clone() if isinstance(x, torch.Tensor) else type(x)(map(_copied, x)) if type(x) in (list, tuple) else x


def _script(model, args, kwargs, path, options):
    torch.jit.save(model, str(path))
    alone = isinstance(model, torch.jit.ScriptFunction)
    schema = model.schema if alone else model.forward.schema
    trees = ScriptTrees(schema.arguments if alone else schema.arguments[1:])
    given, result = trees.bind(args, kwargs), schema.returns[0].type
    types = _types(given)
    if types and "input" not in options and "inputs" not in options:
        options["input"] = types

    @functools.cache
    def example():  # from a copy, whose state and random numbers are nobody else's
        missing = [name for name in trees.names if name not in given and name not in trees.defaults]
        if missing:
            raise TypeError(f"what results of type {result.annotation_str} are built of is seen in an example call: give args as well, not the types alone (missing: {', '.join(missing)})")
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return torch.jit.load(str(path))(**{k: _copied(v) for k, v in given.items()})
    trees.result = _ALL if result.kind() == "ListType" and result.getElementType().kind() not in _OPEN else _by_type(result, example)
    return path, trees


def written(model, args, kwargs, dynamic_shapes, folder, options):
    """Writes what the compiler reads into the folder: (path, trees)."""
    if isinstance(model, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        if dynamic_shapes is not None:
            raise TypeError("a TorchScript program's open sizes are said by input=[\"x=f32[s0, 3]\"]")
        return _script(model, args, kwargs, pathlib.Path(folder, "model.pt"), options)
    if not isinstance(model, (torch.nn.Module, torch.export.ExportedProgram)):
        if not callable(model):
            raise TypeError(f"a model is a torch.nn.Module, an ExportedProgram, what torch.jit gives, a function, or the path of a file, not a {type(model).__name__}")
        model = _of_function(model)
    if isinstance(model, torch.nn.Module):
        with torch.no_grad():
            model = torch.export.export(model, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False)
    elif args or kwargs or dynamic_shapes is not None:
        raise TypeError("an exported program has its arguments: args, kwargs and dynamic_shapes are for modules")
    if _transforms(model):  # of the training dialect
        model = model.run_decompositions()
        if _transforms(model):
            raise TypeError(f"{', '.join(_transforms(model))}: functions of Python, which run_decompositions() leaves in the program, and which no file can hold")
    path = pathlib.Path(folder, "model.pt2")
    torch.export.save(_with_plain_trees(model), str(path))
    return path, Trees(model.call_spec)


def _transforms(program):
    """What torch.func has left as functions of Python: the levels of vmap, jvp and their like."""
    graphs = [m.graph for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    found = (n.target for g in graphs for n in g.nodes if n.op == "call_function" and isinstance(n.target, types.FunctionType))
    return sorted({f"{f.__module__}.{f.__name__}" for f in found if f.__module__.startswith("torch._functorch.")})


def _of_function(f):
    """A module of that forward, and of the module whose method it is, for its parameters' sake."""
    module = torch.nn.Module()
    owner = getattr(f, "__self__", None)
    if isinstance(owner, torch.nn.Module):
        module.owner = owner
        module.train(owner.training)
    module.forward = f
    return module


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
    places = {path: f"['flat_args'][{i}]" for path, i in _places(program.call_spec.in_spec, program.module_call_graph[0].signature.forward_arg_names or [])}
    plain._guards_code = [_SOURCE.sub(lambda m: "L" + (places.get(m[1]) or places.get(_behind_first(m[1])) or m[1]), g) for g in program._guards_code or []]
    return plain


_SOURCE = re.compile(r"\bL((?:\[(?:'[^']*'|\d+)\]|\.\w+(?![\w(]))+)")  # of a guard: L['x'][0].a, in front of .size()


def _behind_first(path):
    """What **kwargs holds is an argument."""
    return path[path.index("]") + 1:]


def _fields(context):
    """Of a named tuple's or a dataclass's node."""
    if hasattr(context, "_fields"):
        return context._fields
    return context[0] if isinstance(context, (tuple, list)) and context and isinstance(context[0], (tuple, list)) else ()


def _places(spec, names):
    """(path as guards write it, which leaf it is) of the arguments, by their specification."""
    of_args, of_kwargs = (spec.children() + [None, None])[:2]
    count = 0

    def walk(spec, path):
        nonlocal count
        if spec.is_leaf():
            if path is not None:
                yield path, count
            count += 1
            return
        keys = spec.context if spec.type in (dict, collections.OrderedDict) else None
        fields = _fields(spec.context)
        for i, child in enumerate(spec.children()):
            if path is None:
                yield from walk(child, None)
            elif spec.type in (tuple, list):
                yield from walk(child, f"{path}[{i}]")
            elif keys is not None:
                yield from walk(child, f"{path}[{keys[i]!r}]")
            else:
                yield from walk(child, f"{path}.{fields[i]}" if i < len(fields) else None)

    for i, child in enumerate(of_args.children() if of_args else []):
        name, first = names[i] if i < len(names) else None, count
        yield from walk(child, None if name is None else f"[{name!r}]")
        m = re.fullmatch(r"(.+)_(\d+)", name or "")
        if m:  # of *args
            count = first
            yield from walk(child, f"[{m[1]!r}][{m[2]}]")
    if of_kwargs:
        yield from walk(of_kwargs, "")
