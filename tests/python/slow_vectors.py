"""Kernels that call functions are loops of vectors, by the C compiler's own word: each function of one float, alone and behind a bound
(whose value a compiler may compute beforehand, and then branch)."""
import re

from common import ROOT, SCRATCH, TARGETS, cli, main

BOUNDS = {"alone": None, "between": "clamp({}, 0.001, 0.9)", "positive": "relu({})"}
# What is not, by dtype and target: it takes entries of a table by the argument, which only AVX2 does for several at once, or loops.
SCALAR = {("f64", "x86-64-v2"): {"sin", "cos", "tan", "special_sinc", "special_gammaln", "special_psi"}, ("f32", "x86-64-v2"): {"special_sinc"},
          ("f64", "x86-64-v3"): {"special_gammaln", "special_psi"}, ("f64", "x86-64-v4"): {"special_gammaln", "special_psi"}}


def functions():
    """Rows of the operator table of one tensor whose text calls a function, one of each text."""
    rows = re.findall(r'^POINTWISE\w*\("aten::(\w+)", (?:same|promote_float), "([^"]*)"', (ROOT / "src/ops/ops.def").read_text(), re.M)
    of_others = re.compile(r"\b(other|grad\w*|exponent|values|n|target|input|x)\b")
    return sorted({text: name for name, text in rows if re.search(r"[a-z]\w*\$\(", text) and not of_others.search(text)}.values())


def program(names, dtype):
    """Each function behind each bound, of a vector whose length is its own: a kernel each."""
    cases = [(name, bound) for name in names for bound in BOUNDS]
    lines, results = [], []
    for i, (name, bound) in enumerate(cases):
        x = f"%x{i}"
        if BOUNDS[bound]:
            lines.append(f"  %b{i}: {dtype}[{10000 + i}] = aten.{BOUNDS[bound].format(x)}")
            x = f"%b{i}"
        lines.append(f"  %y{i}: {dtype}[{10000 + i}] = aten.{name}({x})")
        results.append(i)
    of = lambda letter: ", ".join(f"%{letter}{i}: {dtype}[{10000 + i}]" for i in results)  # noqa: E731
    types = ", ".join(f"{dtype}[{10000 + i}]" for i in results)
    text = "\n".join([f"fn @main({of('x')}) -> ({types}) {{", *lines, f"  return {', '.join(f'%y{i}' for i in results)}", "}"])
    return cases, text + "\n"


def loops(text, said):
    """By the length of its vectors: whether the compiler made vectors of a kernel's loop."""
    lines, at, length = text.splitlines(), {}, None
    for number, line in enumerate(lines, 1):
        m = re.match(r"//   .* f\d+\[(\d+)\]", line)
        length = int(m[1]) if m else length
        if line.startswith("static void k") and "_part(" in line:
            at[length] = [number, None]
        elif line == "}" and length in at and at[length][1] is None:
            at[length][1] = number
    vectors = {int(n) for n in re.findall(r":(\d+):\d+: optimized: loop vectorized", said)}
    return {n: any(first <= v <= last for v in vectors) for n, (first, last) in at.items()}


def test_functions_are_vectors():
    names = functions()
    assert len(names) > 35, names
    cc = SCRATCH / "cc"
    cc.write_text(f"""#!/bin/sh
for a; do case $a in */kernels*.c) cp "$a" "{SCRATCH}/said.$$.c"; exec gcc "$@" -fopt-info-vec-optimized 2>"{SCRATCH}/said.$$.txt";; esac; done
exec gcc "$@"
""")
    cc.chmod(0o755)
    scalar = []
    for target in TARGETS:
        for dtype in ("f32", "f64"):
            for old in SCRATCH.glob("said.*"):
                old.unlink()
            cases, text = program(names, dtype)
            path = SCRATCH / "functions.cir"
            path.write_text(text)
            cli("compile", path, "-o", SCRATCH / "functions.cierge", "--target", target, "--cc", cc, env={"CIERGE_CACHE": "none"}, check=0)
            found = {}
            for c in SCRATCH.glob("said.*.c"):
                found |= loops(c.read_text(), c.with_suffix(".txt").read_text())
            assert len(found) == len(cases), (len(found), len(cases))
            known = SCALAR.get((dtype, target), set())
            scalar += [f"{name} {bound} {dtype} {target}" for i, (name, bound) in enumerate(cases) if not found[10000 + i] and name not in known]
    assert not scalar, "\n".join(scalar)


main(globals())
