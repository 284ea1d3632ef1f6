"""Holds the cost model (src/pass/cost.h) to measurements: what it estimates, what it chooses, and what that takes.

    check_costs.py [--only WORD,WORD] [--rounds N] [--out FILE]

A program is compiled all native, all in LibTorch and as the model chooses, and the three are called in turn:
CPU time of one thread, of which other work on the machine takes little, the least of the rounds.
*estimate ÷ measured* says how far off the model is on either side. Where LibTorch has to take part at all, a choice
is wrong if its program is slower than --no-cost-drop's or than all of it in LibTorch by more than 5 %. A choice that is the same
program as --no-cost-drop's is not measured again.

Programs: products and convolutions of many sizes, of few rows and large weights above all; a one-token step of a
decoder whose cache stands in LibTorch; architectures.py's models, small, two times, each time with another operator
left to LibTorch."""
import argparse
import json
import os
import pathlib
import sys
import tempfile
import time
import warnings

import torch
from torch import nn

import architectures

ROOT = pathlib.Path(__file__).resolve().parent.parent
OFF, SLOWER = 2, 1.05  # times
FORCED = "aten.softmax", "aten.layer_norm", "aten.mean", "aten.gelu", "aten.relu", "aten.silu", "aten.cat"
MODELS = """Bert Albert Deberta Llama Gemma2 Mamba Bloom ViTForImageClassification SwinModel ConvNextModel ResNetModel
MobileNetV2Model LevitModel Wav2Vec2 HifiGan T5 Whisper""".split()


class Step(nn.Module):
    """A decoder's layers on one token: products of one row, and a cache that is written to and attended to."""
    def __init__(self, width, layers, heads=4, length=128):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(layers))
        self.register_buffer("cache", torch.randn(layers, 2, heads, length, width // heads))

    def forward(self, x, at):
        for k, (qkv, up, down) in enumerate(zip(self.qkv, self.up, self.down)):
            q, key, value = (t.view(1, self.heads, 1, -1) for t in qkv(self.norm(x)).chunk(3, -1))
            keys = self.cache[k, 0].index_copy(1, at, key[0])
            values = self.cache[k, 1].index_copy(1, at, value[0])
            y = (q[0] @ keys.transpose(1, 2)).softmax(-1) @ values
            x = x + y.reshape(1, -1)
            x = x + down(nn.functional.silu(up(self.norm(x))))
        return x


class Repeated(nn.Module):
    def __init__(self, make, n=4):
        super().__init__()
        self.layers = nn.Sequential(*(make() for _ in range(n)))

    def forward(self, x):
        return self.layers(x)


def layers():
    """Name, module, inputs; nothing is left to choose: these hold the estimates alone."""
    sizes = (64, 1), (256, 1), (256, 16), (256, 128), (768, 1), (768, 4), (768, 64), (2048, 1), (2048, 16)
    for k, rows in sizes:
        yield f"4 linear {k}, {rows} rows", Repeated(lambda k=k: nn.Linear(k, k)), (torch.rand(rows, k),)
    for c, side, k in ((16, 56, 3), (64, 28, 3), (256, 7, 3), (512, 7, 3), (64, 28, 1), (512, 7, 1)):
        make = lambda c=c, k=k: nn.Conv2d(c, c, k, padding=k // 2)  # noqa: E731
        yield f"4 convolutions {c}x{side}x{side}, {k}x{k}", Repeated(make), (torch.rand(1, c, side, side),)


def programs():
    """Name, module, inputs, operator that LibTorch gets or None."""
    for name, model, inputs in layers():
        yield name, model, inputs, None
    for width, n in ((256, 4), (1024, 4)):
        inputs = torch.rand(1, width), torch.tensor([5])
        yield f"step of {n} layers, width {width}", Step(width, n), inputs, "aten.index_copy"
    for kind in architectures.KINDS.values():
        for name, make, inputs in kind(architectures.Size(True)):
            if name in MODELS:
                model, _ = architectures.built(make, inputs)
                yield name, model, inputs, FORCED


def compiled(cierge, path, name, **options):
    out, report = path.with_suffix(f".{name}.cierge"), path.with_suffix(f".{name}.json")
    cierge.compile(path, output=out, report=str(report), **options)
    return cierge.load(out), json.loads(report.read_text())


def estimate(report):
    """ms of a program without its boundaries' inside: what its regions take and what crosses."""
    return sum(r["estimate_us"] + r["boundary_us"] for r in report["regions"]) / 1e3


def places(report):
    """Which region each node lies in."""
    return [(n["id"], n.get("region")) for n in report["graph"]]


def timed(contexts, rounds):
    """ms by name."""
    best = dict.fromkeys(contexts, float("inf"))
    for c in contexts.values():
        c.call()
    start = time.thread_time()
    next(iter(contexts.values())).call()
    n = max(1, int(0.005 / max(time.thread_time() - start, 1e-6)))
    for _ in range(rounds):
        for name, c in contexts.items():
            start = time.thread_time()
            for _ in range(n):
                c.call()
            best[name] = min(best[name], (time.thread_time() - start) / n * 1e3)
    return best


def exported(path, model, inputs):
    """Saves the program; gives which operators of FORCED it has."""
    with torch.no_grad():
        program = torch.export.export(model.eval(), inputs, strict=False)
    torch.export.save(program, path)
    has = {str(n.target) for n in program.graph.nodes}
    return [op for op in FORCED if any(name.startswith(op + ".") for name in has)]


def checked(cierge, path, inputs, forced, rounds):
    """{name: (estimate, measured)} of native, torch and, where there is a choice, chosen; nodes left to LibTorch."""
    rule = {"torch_ops": forced} if forced else {}
    programs = {"native": compiled(cierge, path, "native", no_cost_drop=True, **rule),
                "torch": compiled(cierge, path, "torch", backends="torch")}
    if forced:
        chosen = compiled(cierge, path, "chosen", **rule)
        if places(chosen[1]) != places(programs["native"][1]):
            programs["chosen"] = chosen
    contexts = {name: p.context(threads=1) for name, (p, _) in programs.items()}
    for c in contexts.values():
        for i, x in enumerate(inputs):
            c.set_input(i, x)
    times = timed(contexts, rounds)
    rows = {name: (estimate(r), times[name]) for name, (_, r) in programs.items()}
    return rows, {name: r["nodes"]["torch"] for name, (_, r) in programs.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="", help="words, one of which a program's name has")
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--out", help="a file for the table, as bench/results/costs.md")
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    os.environ.setdefault("CIERGE_LIB_DIR", str(ROOT / "build"))
    sys.path.insert(0, str(ROOT / "python"))
    torch.set_num_threads(1)
    import cierge

    words, lines, wrong, off = [w for w in a.only.split(",") if w], [], 0, 0
    head = ("| program | in LibTorch | native, ms | estimate ÷ measured | LibTorch, ms | estimate ÷ measured "
            "| chosen, ms (nodes in LibTorch) | ÷ the better |")
    print(head, "|---" * 8 + "|", sep="\n")
    for name, model, inputs, forced in programs():
        if words and not any(w in name for w in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.pt2"
            has = exported(path, model, inputs)
            ops = has[:2] if forced == FORCED else (forced,)
            rows_of = {op: checked(cierge, path, inputs, op, a.rounds) for op in ops}
        for op, (rows, left) in rows_of.items():
            cells = [name, f"{op} ({left['native']})" if op else "-"]
            for kind in ("native", "torch"):
                guess, took = rows[kind]
                cells += [f"{took:.3g}", f"{guess / took:.2f}"]
                off += not 1 / OFF < guess / took < OFF
            if op:
                took = rows.get("chosen", rows["native"])[1]
                ratio = took / min(rows["native"][1], rows["torch"][1])
                wrong += ratio > SLOWER
                cells += [f"{took:.3g} ({left['chosen']})" if "chosen" in rows else "the same", f"{ratio:.2f}"]
            lines.append("| " + " | ".join(cells + [""] * (8 - len(cells))) + " |")
            print(lines[-1], flush=True)
    said = (f"{len(lines)} programs: {off} of {2 * len(lines)} estimates off by more than {OFF} times, "
            f"{wrong} choices slower than the better by more than 5 %")
    print(said)
    if a.out:
        import limits
        cpu = limits.cpu()
        where = f"`bench/check_costs.py` on {cpu['name']} ({', '.join(cpu['has'])})"
        text = ["# The cost model beside measurements", "", f"{where}: CPU time of one thread, the least of {a.rounds} "
                f"rounds in turn. {said}.", "", head, "|---" * 8 + "|", *lines, ""]
        pathlib.Path(a.out).write_text("\n".join(text))


if __name__ == "__main__":
    main()
