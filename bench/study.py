"""What regions of LibTorch cost: `cierge study` of three models, beside eager PyTorch and frozen TorchScript (doc/overhead.md).

    python bench/study.py            tables here, JSON, pages and plots in build/study
    python bench/study.py --write    the plots into doc/ as well

minilm: the sentence encoder of `make run` on 64 tokens, any batch and length in the program. resnet: 26 convolutions with
bottlenecks on a 224x224 image. tiny: 200 operators on 32x64 elements. Eager PyTorch and TorchScript are timed in this process in turn
with the native program, and drawn as multiples of its time. One thread unless --threads says otherwise."""
import argparse
import json
import os
import pathlib
import subprocess

import torch_regions as t  # finds the packages, and has the rounds
import numpy as np
import torch
import cierge

NAMES = "input_ids", "attention_mask"


def minilm():
    import model
    encoder = model.load()
    traced, inputs = t.minilm()
    return encoder, traced, dict(zip(NAMES, inputs)), lambda path: model.export(encoder, path)


def exported(build):
    module, inputs = build()
    return module, module, {f"input_{i}": x for i, x in enumerate(inputs)}, lambda path: torch.export.save(torch.export.export(module, inputs, strict=False), path)


MODELS = {"minilm": minilm, "resnet": lambda: exported(t.resnet), "tiny": lambda: exported(t.tiny)}


def study(name, a, out):
    eager, traced, inputs, save = MODELS[name]()
    path, arrays, artifact = out / f"{name}.pt2", out / f"{name}.npz", out / f"{name}.cierge"
    save(path)
    np.savez(arrays, **{k: v.numpy() for k, v in inputs.items()})
    cierge.compile(path, output=artifact)
    context = cierge.load(artifact).context(threads=a.threads)
    for i, x in enumerate(inputs.values()):
        context.set_input(i, x)
    xs = tuple(inputs.values())
    frozen = t.frozen(traced, xs)
    functions = {"native": context.call, "eager PyTorch": lambda: eager(*xs), "frozen TorchScript": lambda: frozen(*xs)}
    times = t.rounds(functions, t.calls_for(context.call), a.rounds)
    beside = []
    for other in list(functions)[1:]:
        m, lo, hi = t.ratio(times, other, "native")
        beside.append(f"{other}={m:.4f}")
        print(f"{name}: {other} / native {m:.3f} [{lo:.3f}, {hi:.3f}]", flush=True)
    exe = pathlib.Path(os.environ["CIERGE_LIB_DIR"]) / "cierge"
    subprocess.run([exe, "study", path, "--inputs", arrays, "--threads", str(a.threads), "--rounds", str(a.rounds), "--points", str(a.points), "--beside", ",".join(beside),
                    "--json", out / f"{name}.json", "--html", out / f"{name}.html", "--svg", out / f"{name}.svg"], check=True)
    if a.write:
        (t.ROOT / "doc" / f"overhead-{name}.svg").write_text((out / f"{name}.svg").read_text())
    return json.loads((out / f"{name}.json").read_text())


def summary(name, y):
    native = y["points"][0]["us"]
    whole = {p["mode"]: p["us"] for p in y["points"] if p["kind"] == "whole"}
    for f in y["fit"]:
        costs = " | ".join(f"{f[k + '_us']:.2f} ± {f[k + '_us_error']:.2f}" if f[k + "_us_error"] else "0" for k in ("node", "region", "tensor"))
        yield f"| {name} | {f['mode']} | {native:.0f} | {whole[f['mode']]:.0f} | {costs} | {f.get('boundary_us', 0):.2f} | {f['r2']:.3f} | {f['residual_us']:.1f} |"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*", default=list(MODELS))
    p.add_argument("--write", action="store_true")
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--points", type=int, default=8)
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    out = t.ROOT / "build" / "study"
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(a.threads)
    rows = ["| model | mode | native, µs | whole in LibTorch, µs | a node, µs | a region, µs | a tensor, µs | one region more, µs | R² | residual, µs |", "|---" * 10 + "|"]
    with torch.no_grad():
        for name in a.models:
            rows += summary(name, study(name, a, out))
    print("\n".join(rows))
    print("load average " + " ".join(f"{x:.1f}" for x in os.getloadavg()) + f" on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
