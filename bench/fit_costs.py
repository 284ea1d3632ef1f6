#!/usr/bin/env python3
"""Measures what nodes, regions and crossing tensors take, and fits the cost model's numbers (src/pass/cost_numbers.def).

Each number comes from text programs that `cierge explain --measure` runs (medians of its rounds, the least of `--repeat`):
- a kind of operator on a backend: chains of it of two lengths; the difference is what one more node takes. Several sizes;
  node, byte and work (cost.h) are fitted to them by least squares of relative errors, none below 0.
- a region and its tensors: relu in one backend, neg in the other by turns, with one to six tensors side by side; a region's
  time over the number of its tensors is a line.
- what a fused kernel takes for a byte that it reads or stores: relu; what putting a view in order takes: a
  transposed matrix that leaves one backend for the other, against one that is not transposed.
- what a byte of weights takes that comes from memory: a row times a matrix larger than any cache.
One thread: the ratio between native code and LibTorch is much the same with more, and other work on the machine disturbs less.

    bench/fit_costs.py            prints the table
    bench/fit_costs.py --write    writes it
    bench/fit_costs.py --only PRODUCT,stream    measures these; the others stay what they are
bench/check_costs.py holds the result to measurements of whole programs.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import struct
import subprocess
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
CIERGE = pathlib.Path(os.environ.get("BUILD", ROOT / "build")) / "cierge"
TABLE = ROOT / "src/pass/cost_numbers.def"
WORK = tempfile.TemporaryDirectory()
DIR = pathlib.Path(WORK.name)
rng = np.random.default_rng(0)


def save_weights(path, arrays):
    head, at = {}, 0
    for name, a in arrays.items():
        head[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(a.tobytes() for a in arrays.values()))


def measure(text, inputs, *options, weights=None, repeat=1, rounds=60):
    """The report's regions, each with the least of its times."""
    (DIR / "p.cir").write_text(text)
    np.savez(DIR / "in.npz", **inputs)
    words = [CIERGE, "explain", DIR / "p.cir", "--measure", "--inputs", DIR / "in.npz", "--json", "--threads", "1", "--rounds", str(rounds), "--no-cost-drop", *options]
    if weights:
        save_weights(DIR / "p.safetensors", weights)
        words += ["--weights", DIR / "p.safetensors"]
    best = None
    for _ in range(repeat):
        r = subprocess.run(words, text=True, capture_output=True)
        if r.returncode:
            raise SystemExit(r.stderr + text)
        regions = json.loads(r.stdout)["regions"]
        if best:
            for a, b in zip(best, regions):
                a["measured_us"] = min(a["measured_us"], b["measured_us"])
        else:
            best = regions
    return best


def ns(regions, backend):
    return sum(r["measured_us"] for r in regions if r["backend"] == backend) * 1e3


# What a chain's link is: (kind, its text from %a to %b, types of the other inputs, weights, elements' shape, bytes of all it moves, work)
def links():
    f32 = "f32[{}]".format
    for n in (64, 1024, 16384, 65536):
        t = f32(n)
        yield "POINTWISE", f"%b: {t} = aten.add.Tensor(%a, %y)", {"y": (n,)}, {}, (n,), 12 * n, n
        yield "FUNCTION", f"%b: {t} = aten.sigmoid(%a)", {}, {}, (n,), 8 * n, n
        yield "LIBM", f"%b: {t} = aten.sin(%a)", {}, {}, (n,), 8 * n, n
    for r, c in ((4, 16), (32, 128), (120, 120), (250, 250)):
        yield "REDUCTION", f"%r: f32[{r}, 1] = aten.sum.dim_IntList(%a, [1], true)\n  %b: f32[{r}, {c}] = aten.add.Tensor(%a, %r)", {}, {}, (r, c), 4 * r * c + 4 * r, r * c
        yield "OTHER", f"%b: f32[{r}, {c}] = aten.cumsum(%a, 1)", {}, {}, (r, c), 8 * r * c, r * c
    yield "VIEW", "%r: f32[8, 8] = aten.t(%a)\n  %b: f32[8, 8] = aten.neg(%r)", {}, {}, (8, 8), 512, 64
    for m, k in ((1, 64), (1, 256), (4, 256), (16, 64), (16, 256), (64, 256), (128, 256)):
        yield "PRODUCT", f"%b: f32[{m}, {k}] = aten.mm(%a, @w)", {}, {"w": (k, k)}, (m, k), 8 * m * k + 4 * k * k, m * k * k
    for c, s, k in ((4, 8, 3), (16, 16, 3), (16, 28, 3), (32, 28, 3), (64, 28, 3), (64, 14, 1), (128, 28, 1)):
        pad = f"[{k // 2}, {k // 2}]"
        yield ("CONV", f"%b: f32[1, {c}, {s}, {s}] = aten.conv2d(%a, @w, none, [1, 1], {pad})", {}, {"w": (c, c, k, k)}, (1, c, s, s),
               8 * c * s * s + 4 * k * k * c * c, k * k * c * c * s * s)
    for h, length in ((1, 8), (4, 32), (8, 64), (8, 128)):
        yield ("ATTENTION", f"%b: f32[1, {h}, {length}, 64] = aten.scaled_dot_product_attention(%a, %k, %k)", {"k": (1, h, length, 64)}, {}, (1, h, length, 64),
               4 * 256 * h * length, 2 * h * length * length * 64)
    for n in (8, 32, 64, 96):
        yield "LINALG", f"%b: f32[{n}, {n}] = aten.linalg_inv(%a)", {}, {}, (n, n), 8 * n * n, n ** 3


def chain(link, length, extra, weights, shape):
    dims = ", ".join(map(str, shape))
    params = ", ".join([f"%x: f32[{dims}]"] + [f"%{k}: f32[{', '.join(map(str, v))}]" for k, v in extra.items()])
    consts = "".join(f"const @{k}: f32[{', '.join(map(str, v))}]\n" for k, v in weights.items())
    out, last = [], "%x"
    for i in range(length):
        out.append(link.replace("%b", f"%b{i}").replace("%r", f"%r{i}").replace("%a", last))
        last = f"%b{i}"
    return f"{consts}fn @main({params}) -> f32[{dims}] {{\n  " + "\n  ".join(out) + f"\n  return {last}\n}}\n"


def array(shape, square=False):
    a = rng.uniform(0.1, 0.9, shape).astype(np.float32) / (shape[-1] if len(shape) > 1 else 1)
    return a + np.eye(shape[0], dtype=np.float32) if square else a


def one_link(backend, kind, link, extra, weights, shape, repeat):
    lengths = (4, 24) if np.prod(shape) < 5000 else (2, 6)
    inputs = {k: array(v) for k, v in {"x": shape, **extra}.items()}
    if kind == "LINALG":
        inputs["x"] = array(shape, True)
    w = {k: array(v) for k, v in weights.items()} or None
    took = [ns(measure(chain(link, n, extra, weights, shape), inputs, "--backends", backend, weights=w, repeat=repeat), backend) for n in lengths]
    return max(0.0, (took[1] - took[0]) / (lengths[1] - lengths[0]))


def fit(features, times):
    """Least squares of relative errors with no number below 0: the best over all sets of features in use."""
    a, best = np.array(features) / np.array(times)[:, None], None
    for used in range(1, 1 << a.shape[1]):
        cols = [i for i in range(a.shape[1]) if used >> i & 1]
        x, *_ = np.linalg.lstsq(a[:, cols], np.ones(len(times)), rcond=None)
        if (x < 0).any():
            continue
        error = float(((a[:, cols] @ x - 1) ** 2).sum())
        if best is None or error < best[0] - 1e-12:
            full = np.zeros(a.shape[1])
            full[cols] = x
            best = error, full
    return best[1], (best[0] / len(times)) ** 0.5


def boundaries(repeat):
    """Lines of a region's time over its tensors: (region, tensor) of each backend, node costs taken off by the caller."""
    out = {"c": [], "torch": []}
    for m in (1, 2, 4, 6):
        lines, last = [], [f"%x{i}" for i in range(m)]
        for step in range(8):
            op = "aten.relu" if step % 2 == 0 else "aten.neg"
            lines += [f"%t{step}_{i}: f32[64] = {op}({last[i]})" for i in range(m)]
            last = [f"%t{step}_{i}" for i in range(m)]
        params = ", ".join(f"%x{i}: f32[64]" for i in range(m))
        kinds = ", ".join(["f32[64]"] * m)
        text = f"fn @main({params}) -> ({kinds}) {{\n  " + "\n  ".join(lines) + f"\n  return {', '.join(last)}\n}}\n"
        regions = measure(text, {f"x{i}": array((64,)) for i in range(m)}, "--torch-ops", "aten.neg", repeat=repeat, rounds=200)
        for b in out:
            out[b].append((m, np.mean([r["measured_us"] * 1e3 for r in regions if r["backend"] == b][1:-1] or [0])))
    return {b: np.polyfit([m for m, _ in at], [t for _, t in at], 1) for b, at in out.items()}


def leaving(backend, view, repeat):
    """ns for a byte of a big matrix that one backend hands to the other, transposed or not."""
    n, ops = 1000, ("relu", "neg") if backend == "c" else ("neg", "relu")
    last = "%c" if view else "%a"
    turn = f"  %c: f32[{n}, {n}] = aten.{'t' if backend == 'c' else 'transpose.int'}(%a{'' if backend == 'c' else ', 0, 1'})\n" if view else ""
    text = f"fn @main(%x: f32[{n}, {n}]) -> f32[{n}, {n}] {{\n  %a: f32[{n}, {n}] = aten.{ops[0]}(%x)\n{turn}  %d: f32[{n}, {n}] = aten.{ops[1]}({last})\n  return %d\n}}\n"
    regions = measure(text, {"x": array((n, n))}, "--torch-ops", "aten.neg,aten.transpose", repeat=repeat)
    return sum(r["measured_us"] for r in regions) * 1e3 / (4 * n * n)


def kernel_byte(repeat):
    """Of the sizes of links(): LibTorch's operators, whose bytes are fitted to those, and a kernel are to pay alike for memory."""
    features, times = [], []
    for n in (64, 1024, 16384, 65536):
        text = f"fn @main(%x: f32[{n}]) -> f32[{n}] {{\n  %b: f32[{n}] = aten.relu(%x)\n  return %b\n}}\n"
        features.append([1, 8 * n])
        times.append(ns(measure(text, {"x": array((n,))}, "--backends", "c", repeat=repeat), "c"))
    return fit(features, times)[0][1]


def stream(backend, repeat):
    k = 4096
    return one_link(backend, "PRODUCT", f"%b: f32[1, {k}] = aten.mm(%a, @w)", {}, {"w": (k, k)}, (1, k), repeat) / (4 * k * k)


def boundary_numbers(rows, names, repeat):
    lines = boundaries(repeat)
    for b in names:
        slope, offset = lines[b]
        node = rows[b, "POINTWISE"][0] + (rows[b, "POINTWISE"][1] * 8 * 64 if b == "torch" else rows[b, "POINTWISE"][2] * 64)
        rows[b, "tensor"] = max(0.0, (slope - node) / 2)
        rows[b, "region"] = max(0.0, offset)
        rows[b, "byte"] = kernel_byte(repeat) if b == "c" else 0.0
        turned = max(0.0, leaving(b, True, repeat) - leaving(b, False, repeat))
        rows[b, "restride"] = turned if b == "c" else 0.0
        rows[b, "TURN"] = [0.0 if b == "c" else rows[b, "VIEW"][0], 0.0 if b == "c" else turned, 0.0]  # LibTorch's next operator pays, wherever it is


def kept(rows, names):
    """The numbers that are there, for what is not measured."""
    for line in TABLE.read_text().splitlines():
        found = re.match(r"NUMBER\((?:kind\[CG_COST_(\w+)\]\.)?(\w+), (.*), (.*)\)", line)
        for b, number in zip(names, found.groups()[2:] if found else ()):
            kind, field = found[1], found[2]
            if kind:
                rows.setdefault((b, kind), [0, 0, 0])[("node", "byte", "work").index(field)] = float(number)
            else:
                rows[b, field] = float(number)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--write", action="store_true")
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--only", default="")
    a = p.parse_args()
    rows, names, only = {}, ("c", "torch"), set(filter(None, a.only.split(",")))
    kept(rows, names)
    samples = {b: {} for b in names}
    for kind, link, extra, weights, shape, moved, work in links():
        for b in names if not only or kind in only else ():
            if (kind, b) in (("LINALG", "c"), ("VIEW", "c")):
                continue
            samples[b].setdefault(kind, []).append((shape, moved, work, one_link(b, kind, link, extra, weights, shape, a.repeat)))
    for b in names:
        for kind, at in samples[b].items():
            times = [t for *_, t in at]
            if kind in ("REDUCTION", "VIEW"):  # its link has arithmetic, too
                node, byte, each = rows[b, "POINTWISE"]
                times = [max(t - node - byte * 8 * w - each * w, t * 0.2) for t, (_, _, w, _) in zip(times, at)]
            # views of LibTorch move nothing; fused arithmetic moves nothing by itself
            columns = {"VIEW": (1, 0, 0), "POINTWISE": (1, b == "torch", b == "c"), "FUNCTION": (1, 0, 1), "LIBM": (1, 0, 1)}.get(kind, (1, 1, 1))
            features = [[columns[0], columns[1] * m, columns[2] * w] for _, m, w, _ in at]
            rows[b, kind], error = fit(features, [max(t, 0.1) for t in times])
            print(f"// {b:5} {kind:9} " + "  ".join(f"{'x'.join(map(str, s))}: {t / 1e3:.2f}" for (s, *_), t in zip(at, times)) + f" us   off by {100 * error:.0f} %", flush=True)
    if not only or "boundary" in only:
        boundary_numbers(rows, names, a.repeat)
    for b in names if not only or "stream" in only else ():
        rows[b, "stream"] = stream(b, a.repeat)
    text = ["// The cost model's numbers in ns, fitted by bench/fit_costs.py, which says how and writes this file.",
            *(line for line in TABLE.read_text().splitlines() if only and line.startswith("// Measured")),
            f"// Measured with one thread on {platform.machine()} ({model_name()}){': ' + a.only if only else ''}.",
            "// NUMBER(what, native, LibTorch): fields of cg_cost (pass/cost.h)"]
    for name in ("region", "tensor", "byte", "restride", "stream"):
        text.append(f"NUMBER({name}, {rows['c', name]:.3g}, {rows['torch', name]:.3g})")
    for kind in ("VIEW", "POINTWISE", "FUNCTION", "LIBM", "REDUCTION", "PRODUCT", "CONV", "ATTENTION", "LINALG", "OTHER"):
        for i, field in enumerate(("node", "byte", "work")):
            pair = [rows.get((b, kind), (0, 0, 0))[i] for b in names]
            if any(pair):
                text.append(f"NUMBER(kind[CG_COST_{kind}].{field}, {pair[0]:.3g}, {pair[1]:.3g})")
    print("\n".join(text))
    if a.write:
        TABLE.write_text("\n".join(text) + "\n")


def model_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown"


if __name__ == "__main__":
    main()
