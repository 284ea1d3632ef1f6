"""What `--precision` gains and costs: `python bench/precision.py [--threads N] [--rounds N] [--target T] [--precisions P,…] [MODEL…]` prints the table of doc/precision.md.

    decode     8 pairs of linear layers, 768 to 3072 and back, one row: what a language model does for each token
    bert, gpt2 of bench/models.py: 128 and 64 tokens, random weights

Each program is called in turn with the others and with eager PyTorch, round after round; times are medians. Errors are against eager
PyTorch: the largest, as a share of the largest output, and the cosine between all outputs."""
import argparse
import pathlib
import statistics

import torch_regions as t  # finds the packages, and has the rounds
import cierge
import models
import stats
import torch
from torch import nn

PRECISIONS = "f32", "bf16", "int8-dynamic", "int4-weight"


def decode():
    torch.manual_seed(0)
    return nn.Sequential(*[x for _ in range(8) for x in (nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768))]).eval(), (torch.randn(1, 768),)


def measure(name, folder, a):
    model, inputs = decode() if name == "decode" else models.build(name)
    path, contexts, size = folder / "m.pt2", {}, {}
    torch.export.save(torch.export.export(model, inputs), path)
    for p in a.precisions:
        artifact = folder / f"{p}.cierge"
        cierge.compile(path, output=artifact, precision=p, target=a.target)
        contexts[p], size[p] = cierge.load(artifact).context(threads=a.threads), artifact.stat().st_size / 1e6
        for i, x in enumerate(inputs):
            contexts[p].set_input(i, x)
    times = t.rounds({p: c.call for p, c in contexts.items()} | {"eager": lambda: model(*inputs)}, 1, a.rounds)
    want = torch.utils._pytree.tree_leaves(model(*inputs))[0].double().flatten()
    for p, context in contexts.items():
        got = torch.from_dlpack(context.output(0)).double().flatten()
        of_f32, of_eager = (stats.ratio(times[other], times[p])[0] for other in ("f32", "eager"))
        error, cosine = ((got - want).abs().max() / want.abs().max()).item(), torch.cosine_similarity(got, want, 0).item()
        print(f"| {name} | {p} | {size[p]:.0f} MB | {statistics.median(times[p]) * 1e3:.3g} ms | {of_f32:.2f} | {of_eager:.2f} | {error:.1e} | {cosine:.6f} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*", default=["decode", "bert", "gpt2"])
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--target", default="native")
    p.add_argument("--precisions", type=lambda s: s.split(","), default=PRECISIONS)
    a = p.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(a.threads)
    print("| model | precision | artifact | a call | f32 ÷ it | eager ÷ it | largest error | cosine |\n" + "|---" * 8 + "|")
    for name in a.models:
        measure(name, pathlib.Path(t.FOLDER.name), a)


if __name__ == "__main__":
    main()
