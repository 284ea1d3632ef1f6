"""One program with symbolic sizes against programs for one size each, all of cierge, in one process and in turn.

    dynamic.py FAMILY THREADS ROUNDS
Prints JSON: for the hint's size and others, {"size", "symbolic": [ms], "fixed": [ms]}; a round's time is the median of some calls."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")
import torch

import models
from start import BUILD, ROOT

os.environ["CIERGE_LIB_DIR"] = str(BUILD)
sys.path.insert(0, str(ROOT / "python"))
import cierge

LONGEST = 4  # a symbolic size may be so many times the hint


def compiled(module, inputs, path, dims=None, sizes=()):
    """The artifact; dims: by input, which of its dimensions is which size. The hint is what the inputs have."""
    options = []
    if dims:
        symbols = [torch.export.Dim(f"n{k}", min=1, max=LONGEST * n) for k, n in enumerate(sizes)]
        exported = torch.export.export(module, inputs, dynamic_shapes=tuple({d: symbols[k] for d, k in at.items()} for at in dims), strict=False)
        users = [n for n in exported.graph.nodes if n.op == "placeholder"][-len(inputs):]
        names = {k: str(user.meta["val"].shape[d]) for user, at in zip(users, dims) for d, k in at.items()}
        options = [f"--dim={names[k]}=1..{LONGEST * n},hint={n}" for k, n in enumerate(sizes)]
    else:
        exported = torch.export.export(module, inputs, strict=False)
    torch.export.save(exported, path.with_suffix(".pt2"))
    subprocess.run([BUILD / "cierge", "compile", path.with_suffix(".pt2"), "-o", path, *options], check=True, stdout=sys.stderr)
    return cierge.load(path)


def timed(context, calls):
    times = []
    for _ in range(calls + 1):  # the first finds caches full of what others left there
        t = time.perf_counter()
        context.call()
        times.append((time.perf_counter() - t) * 1e3)
    return statistics.median(times[1:])


def main(family, threads, rounds):
    torch.set_grad_enabled(False)
    module, _ = models.build(family)
    example, dims, hint, more = models.DYNAMIC[family]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        symbolic = compiled(module, example(*hint), folder / "symbolic.cierge", dims, hint)
        found = []
        for k, size in enumerate([hint, *more]):
            inputs = example(*size)
            pair = [p.context(threads) for p in (symbolic, compiled(module, inputs, folder / f"fixed{k}.cierge"))]
            results = [[torch.from_dlpack(t) for t in c.run(*inputs)] for c in pair]
            torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)
            calls = max(1, min(20, int(40 / max(timed(pair[0], 2), 1e-3))))
            times = [[], []]
            for r in range(rounds):
                for i in ((0, 1) if r % 2 else (1, 0)):
                    times[i].append(float(f"{timed(pair[i], calls):.5g}"))
            found.append({"size": list(size), "symbolic": times[0], "fixed": times[1]})
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
