"""How compiling grows with the program: each step's time over 10^2 … 10^5 nodes, of nine shapes.

    python bench/compile_time.py [--shapes chain,tree,…] [--sizes 100,1000,…] [--compiler-up-to N] [--out bench/results/compile_time.md]

Programs are written as text (.cir), so that nothing but cierge is measured. Above --compiler-up-to nodes a stub stands for the C compiler.
"""
import argparse
import array
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(os.environ.get("CIERGE_ROOT", pathlib.Path(__file__).resolve().parents[1]))


# ---------------------------------------------------------------- programs of n nodes

def chain(n):
    """One elementwise step after another."""
    lines, last = ["fn @main(%x: f32[100]) -> f32[100] {"], "%x"
    for i in range(n):
        op = f"relu({last})" if i % 7 == 6 else f"add.Tensor({last}, {0.5 if i % 4 < 2 else -0.5})" if i % 2 else f"mul.Tensor({last}, 1.0001)"
        lines.append(f"  %{i}: f32[100] = aten.{op}")
        last = f"%{i}"
    return lines + [f"  return {last}", "}"]


def tree(n):
    """Sums over rows, added two by two."""
    lines, level, k = ["fn @main(%x: f32[64, 16]) -> f32[64] {"], [], 0
    for i in range(max(2, n // 3)):
        lines += [f"  %{k}: f32[64, 16] = aten.mul.Tensor(%x, {i + 1}.5)", f"  %{k + 1}: f32[64] = aten.sum.dim_IntList(%{k}, [1])"]
        level.append(f"%{k + 1}")
        k += 2
    while len(level) > 1:
        pairs, odd = list(zip(level[::2], level[1::2])), level[len(level) // 2 * 2:]
        lines += [f"  %{k + i}: f32[64] = aten.add.Tensor({a}, {b})" for i, (a, b) in enumerate(pairs)]
        level = [f"%{k + i}" for i in range(len(pairs))] + odd
        k += len(pairs)
    return lines + [f"  return {level[0]}", "}"]


def unrolled(n):
    """The steps of a recurrent net."""
    t = max(1, n // 5)
    lines = ["param @w: f32[16, 16]", "param @u: f32[16, 16]", "param @b: f32[16]", f"fn @main(%x: f32[{t}, 2, 16], %h: f32[2, 16]) -> f32[2, 16] {{"]
    for i in range(t):
        h = f"%e{i - 1}" if i else "%h"
        lines += [f"  %a{i}: f32[2, 16] = aten.select.int(%x, 0, {i})", f"  %b{i}: f32[2, 16] = aten.linear(%a{i}, @w, @b)", f"  %c{i}: f32[2, 16] = aten.linear({h}, @u)",
                  f"  %d{i}: f32[2, 16] = aten.add.Tensor(%b{i}, %c{i})", f"  %e{i}: f32[2, 16] = aten.tanh(%d{i})"]
    return lines + [f"  return %e{t - 1}", "}"]


def wide(n):
    """Branches that do not know of each other, joined at the end."""
    t = max(2, n // 3)
    lines = [f"fn @main(%x: f32[32]) -> f32[{32 * t}] {{"]
    for i in range(t):
        lines += [f"  %a{i}: f32[32] = aten.add.Tensor(%x, {i}.25)", f"  %b{i}: f32[32] = aten.sigmoid(%a{i})", f"  %c{i}: f32[32] = aten.mul.Tensor(%b{i}, %x)"]
    return lines + [f"  %y: f32[{32 * t}] = aten.cat([{', '.join(f'%c{i}' for i in range(t))}])", "  return %y", "}"]


def layers(n):
    """Normalise, two products, add: each with weights of its own, one of them read through a transposition."""
    t = max(1, n // 6)
    lines = [f"param @{k}{i}: f32[{s}]" for i in range(t) for k, s in (("g", 16), ("s", 16), ("w", "32, 16"), ("b", 32), ("v", "16, 32"), ("c", 16))]
    lines.append("fn @main(%x: f32[4, 16]) -> f32[4, 16] {")
    for i in range(t):
        x = f"%y{i - 1}" if i else "%x"
        lines += [f"  %n{i}: f32[4, 16] = aten.layer_norm({x}, [16], @g{i}, @s{i})", f"  %p{i}: f32[4, 32] = aten.linear(%n{i}, @w{i}, @b{i})", f"  %q{i}: f32[4, 32] = aten.gelu(%p{i})",
                  f"  %t{i}: f32[32, 16] = aten.t(@v{i})", f"  %r{i}: f32[4, 16] = aten.addmm(@c{i}, %q{i}, %t{i})", f"  %y{i}: f32[4, 16] = aten.add.Tensor({x}, %r{i})"]
    return lines + [f"  return %y{t - 1}", "}"]


def pointers(n):
    """Lists of places read at the places that they hold."""
    lines = ["fn @main(%x: i64[100]) -> i64[100] {"]
    lines += [f"  %{i}: i64[100] = aten.index.Tensor({f'%{i - 1}' if i else '%x'}, [{f'%{i - 1}' if i else '%x'}])" for i in range(n)]
    return lines + [f"  return %{n - 1}", "}"]


def turned(n):
    """Dimensions exchanged and cut anew, so that no step undoes another."""
    t, lines = max(1, n // 2), ["fn @main(%x: f32[2, 3, 4]) -> f32[2, 3, 4] {"]
    for i in range(t):
        lines += [f"  %p{i}: f32[4, 2, 3] = aten.permute({f'%r{i - 1}' if i else '%x'}, [2, 0, 1])", f"  %r{i}: f32[2, 3, 4] = aten.reshape(%p{i}, [2, 3, 4])"]
    return lines + [f"  return %r{t - 1}", "}"]


def pieces(n):
    """Single elements of a vector, joined the other way round."""
    lines = [f"fn @main(%x: f32[{n}]) -> f32[{n}] {{"]
    lines += [f"  %{i}: f32[1] = aten.slice.Tensor(%x, 0, {n - 1 - i}, {n - i})" for i in range(n)]
    return lines + [f"  %y: f32[{n}] = aten.cat([{', '.join(f'%{i}' for i in range(n))}])", "  return %y", "}"]


def mixed(n):
    """Nine elementwise steps, then one that only LibTorch has."""
    lines = ["fn @main(%x: f32[100000]) -> f32[100000] {"]
    for i in range(n):
        last = f"%{i - 1}" if i else "%x"
        lines.append(f"  %{i}: f32[100000] = aten." + (f"special_bessel_y1({last})" if i % 10 == 9 else f"tanh({last})"))
    return lines + [f"  return %{n - 1}", "}"]


SHAPES = {f.__name__: f for f in (chain, tree, unrolled, wide, layers, pointers, turned, pieces, mixed)}


def save(path, lines):
    """Writes a program, and numbers for its parameters."""
    path.write_text("\n".join(lines) + "\n")
    header, at = {}, 0
    for line in lines:
        m = re.match(r"param @(\w+): f32\[([0-9, ]+)\]", line)
        if m:
            sizes = [int(d) for d in m[2].split(",")]
            header[m[1]] = {"dtype": "F32", "shape": sizes, "data_offsets": [at, at + 4 * math.prod(sizes)]}
            at += 4 * math.prod(sizes)
    if header:
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        data = array.array("f", ((i * 7919 % 101 - 50) / 400 for i in range(101))) * (at // 404 + 1)
        path.with_suffix(".safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data.tobytes()[:at])
    return path


def write(shape, n, folder):
    return save(folder / f"{shape}{n}.cir", SHAPES[shape](n))


def stub(folder):
    """What stands for the C compiler where it is not what is measured: gives a library of nothing."""
    nothing, path = folder / "nothing.so", folder / "cc"
    if not path.exists():
        (folder / "nothing.c").write_text("int nothing;\n")
        subprocess.run(["cc", "-shared", "-fPIC", "-s", "-Wl,--build-id=none", "-o", nothing, folder / "nothing.c"], check=True)
        path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo stub\nwhile [ $# -gt 0 ]; do [ "$1" = -o ] && cp {nothing} "$2"; shift; done\nexit 0\n')
        path.chmod(0o755)
    return path


# Runs its arguments; what they used comes last on stderr. A process counts the memory of the one that started it as its own, so that
# one is small.
USED = """import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(pid, 0)
print("USED", os.waitstatus_to_exitcode(status), used.ru_utime, used.ru_maxrss, file=sys.stderr)
"""


def measured(model, folder, cc=None):
    """Milliseconds by step, in order; seconds from beginning to end, and of the processor in cierge's own code; MB at most."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        command = [ROOT / "build/cierge", "compile", model, "-o", folder / "out.cierge", "--time-passes", *(["--cc", cc] if cc else [])]
        start = time.monotonic()
        p = subprocess.run([sys.executable, "-IS", "-c", USED, *map(str, command)], stderr=subprocess.PIPE, env=dict(os.environ, CIERGE_CACHE=cache), text=True)
        wall = time.monotonic() - start
    said, _, used = p.stderr.rpartition("USED ")
    code, user, kilobytes = used.split()
    if int(code):
        raise RuntimeError(f"{model}: exit code {code}: {said}")
    steps = {}
    for ms, name in re.findall(r"^ *([0-9.]+) ms  (.+)$", said, re.M):
        steps[name + ", again" if name in steps else name] = float(ms)
    return {"steps": steps, "wall": wall, "user": float(user), "mb": int(kilobytes) / 1024}


# ---------------------------------------------------------------- the table

def growth(times, sizes):
    """The exponent between the two largest sizes; None: too short to tell."""
    return math.log(times[-1] / times[-2]) / math.log(sizes[-1] / sizes[-2]) if len(times) > 1 and times[-2] >= 5 else None


def table(shape, sizes, runs):
    rows = [f"### {shape}: {SHAPES[shape].__doc__}", "", "| step, ms | " + " | ".join(f"{n:,}" for n in sizes) + f" | µs a node at {sizes[-1]:,} | growth |", "|---" * (len(sizes) + 3) + "|"]
    for step in runs[0]["steps"]:
        t = [r["steps"].get(step, 0) for r in runs]
        e = growth(t, sizes)
        rows.append(f"| {step} | " + " | ".join(f"{x:.1f}" for x in t) + f" | {1e3 * t[-1] / sizes[-1]:.2f} | {'' if e is None else f'n^{e:.2f}'} |")
    rows.append("| all, s | " + " | ".join(f"{r['wall']:.2f}" for r in runs) + " | | |")
    rows.append("| memory, MB | " + " | ".join(f"{r['mb']:.0f}" for r in runs) + " | | |")
    return "\n".join(rows) + "\n"


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--shapes", default=",".join(SHAPES))
    a.add_argument("--sizes", default="100,1000,10000,100000")
    a.add_argument("--compiler-up-to", type=int, default=100000)
    a.add_argument("--out", type=pathlib.Path)
    o = a.parse_args()
    sizes = [int(n) for n in o.sizes.split(",")]
    text = f"# Compile time\n\n`python bench/{pathlib.Path(__file__).name} --compiler-up-to {o.compiler_up_to}`, {os.cpu_count()} processors, cold caches; the C compiler's time is that of all processors together"
    text += f"; above {o.compiler_up_to:,} nodes a stub stands for it.\n\n" if sizes[-1] > o.compiler_up_to else ".\n\n"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for shape in o.shapes.split(","):
            runs = []
            for n in sizes:
                runs.append(measured(write(shape, n, folder), folder, stub(folder) if n > o.compiler_up_to else None))
                print(shape, n, f"{runs[-1]['wall']:.2f} s", file=sys.stderr)
            text += table(shape, sizes, runs) + "\n"
    print(text)
    if o.out:
        o.out.write_text(text.rstrip() + "\n")


if __name__ == "__main__":
    main()
