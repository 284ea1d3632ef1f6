"""What `--precision` gains and costs: `python bench/precision.py [--threads N] [--rounds N] [MODEL…]` prints the table of doc/precision.md.

    decode     8 pairs of linear layers, 768 to 3072 and back, one row: what a language model does for each token
    bert, gpt2 of bench/models.py: 128 and 64 tokens, random weights

Each program is called in turn with the others and with eager PyTorch, round after round; times are medians. Errors are against eager
PyTorch: the largest, as a share of the largest output, and the cosine between all outputs."""
import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "bench")]
os.environ.setdefault("CIERGE_LIB_DIR", str(ROOT / "build"))

import torch  # noqa: E402
from torch import nn  # noqa: E402

import cierge  # noqa: E402
import models  # noqa: E402

PRECISIONS = "f32", "bf16", "int8-dynamic", "int4-weight"


def decode():
    torch.manual_seed(0)
    return nn.Sequential(*[x for _ in range(8) for x in (nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768))]).eval(), (torch.randn(1, 768),)


def measure(name, folder, a):
    model, inputs = decode() if name == "decode" else models.build(name)
    path, programs = folder / "m.pt2", {}
    torch.export.save(torch.export.export(model, inputs), path)
    for p in PRECISIONS:
        artifact = folder / f"{p}.cierge"
        cierge.compile(path, artifact, precision=p)
        context = cierge.load(artifact).context(threads=a.threads)
        for i, x in enumerate(inputs):
            context.set_input(i, x)
        programs[p] = context, artifact.stat().st_size / 1e6
    calls = {p: context.call for p, (context, _) in programs.items()} | {"eager": lambda: model(*inputs)}
    times = {p: [] for p in calls}
    for r in range(a.rounds + 1):
        for p, call in calls.items():
            start = time.perf_counter()
            call()
            if r:
                times[p].append(time.perf_counter() - start)
    want = torch.utils._pytree.tree_leaves(model(*inputs))[0].double().flatten()
    for p, (context, size) in programs.items():
        got = torch.from_dlpack(context.output(0)).double().flatten()
        ratios = [statistics.median(x / y for x, y in zip(times[other], times[p])) for other in ("f32", "eager")]
        error, cosine = ((got - want).abs().max() / want.abs().max()).item(), torch.cosine_similarity(got, want, 0).item()
        print(f"| {name} | {p} | {size:.0f} MB | {statistics.median(times[p]) * 1e3:.3g} ms | {ratios[0]:.2f} | {ratios[1]:.2f} | {error:.1e} | {cosine:.6f} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*", default=["decode", "bert", "gpt2"])
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=20)
    a = p.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(a.threads)
    print("| model | precision | artifact | a call | f32 ÷ it | eager ÷ it | largest error | cosine |\n" + "|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name in a.models:
            measure(name, pathlib.Path(folder), a)


if __name__ == "__main__":
    main()
