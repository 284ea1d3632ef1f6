"""How much of a model runs natively: of its nodes, and of the time that they take in eager PyTorch.

    native.py MODEL
counts call nodes of the exported graph without sizes, asserts, what picks a result of several, and views: nodes whose result lies in an
argument that they do not write to. Each is timed by an interpreter of that graph, the median of RUNS on one thread; `cierge explain` says where it ends.
Prints JSON: {"nodes", "native", "eager_ms", "native_ms", "left": [[name, operator, ms]]}."""
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")
import torch
from torch.utils._pytree import tree_leaves

import models
from start import BUILD

RUNS = 7


class Timed(torch.fx.Interpreter):
    """Runs a graph node by node: seconds by name, and the names of views."""

    def __init__(self, module, seconds, views):
        super().__init__(module)
        self.seconds, self.views = seconds, views

    def run_node(self, n):
        if not isinstance(n.target, torch._ops.OpOverload):
            if isinstance(n.target, torch._ops.HigherOrderOperator):
                raise ValueError(f"{n.name}: graphs within the graph are not timed")
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        start = time.perf_counter()
        result = n.target(*args, **kwargs)
        self.seconds.setdefault(n.name, []).append(time.perf_counter() - start)
        memory = lambda values: {t.untyped_storage().data_ptr() for t in tree_leaves(values) if isinstance(t, torch.Tensor)}
        if not n.target._schema.is_mutable and memory(result) and memory(result) <= memory((args, kwargs)):
            self.views.add(n.name)
        return result


def counted(n):
    return n.op == "call_function" and isinstance(n.target, torch._ops.OpOverload) and not n.name.startswith(("sym_", "_assert"))


def flat_inputs(program, inputs):
    """What the graph's placeholders take: weights by name, the user's in order."""
    left = iter(tree_leaves(inputs))
    held = {**program.state_dict, **program.constants}
    return [held[s.target] if s.target is not None else next(left) for s in program.graph_signature.input_specs]


def explained(program):
    """By name: where each node ended."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.pt2")
        torch.export.save(program, path)
        p = subprocess.run([BUILD / "cierge", "explain", path, "--json"], check=True, capture_output=True, text=True)
    return {n["name"]: n["place"] for n in json.loads(p.stdout)["imported"]}


def main(name):
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model, inputs = models.build(name)
    program = torch.export.export(model, inputs)
    place, seconds, views = explained(program), {}, set()
    feed = flat_inputs(program, inputs)
    for _ in range(RUNS + 1):
        Timed(program.graph_module, seconds, views).run(*feed)
    nodes = [n for n in program.graph.nodes if counted(n) and n.name not in views]
    ms = {n.name: 1e3 * statistics.median(seconds[n.name][1:]) for n in nodes}  # the first run finds nothing in the caches
    left = [n for n in nodes if place[n.name] == "torch"]
    print(json.dumps({"nodes": len(nodes), "native": len(nodes) - len(left), "eager_ms": sum(ms.values()), "native_ms": sum(ms.values()) - sum(ms[n.name] for n in left),
                      "left": [[n.name, str(n.target), ms[n.name]] for n in left]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
