"""What reading a file may cost: memory within 16 MiB and 8 times the file, beside what cierge takes for an empty one; time that grows
as the file does. Each kind of thing that a file can hold is made to grow."""
import json
import resource
import subprocess
import sys
import zipfile

import common
from common import CIERGE, SCRATCH, main, torch

MIB = 1 << 20


def cost(path, command="explain"):
    """Exit code, message, seconds of processor time, bytes at the most."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = ("import resource, subprocess, sys; p = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120);"
               "sys.stderr.buffer.write(p.stderr); print(p.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)")
    p = subprocess.run([sys.executable, "-S", "-c", program, str(CIERGE), command, str(path), *(["-o", str(SCRATCH / "cost.cierge")] if command == "compile" else [])], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, memory = map(int, p.stdout.split())
    assert code in (0, 3), (code, p.stderr[-500:])
    return code, p.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, memory


def text(name, body):
    path = SCRATCH / f"{name}.cir"
    path.write_text(body)
    return path


BASE = None


def bounded(name, body, want=(0, 3)):
    global BASE
    if BASE is None:
        BASE = cost(text("empty", "fn @main(%x: f32[2]) -> f32[2] {\n  return %x\n}\n"))[3]
    path = text(name, body)
    code, message, seconds, memory = cost(path)
    assert code in want, (name, code, message[-300:])
    allowed = BASE + 16 * MIB + 8 * path.stat().st_size
    assert memory <= allowed, (name, f"{memory >> 20} MiB for a file of {path.stat().st_size} bytes")
    return code, message, seconds


def program(sizes, nodes=""):
    return f"sym s0 = 1..1000000000000\nsym s1 = 1..100000\nsym s2 = 0..7\nfn @main(%x0: f32[{sizes}]) {{\n{nodes}  return %x0\n}}\n"


def nested_cats(n):
    nodes = "".join(f"  %y{i} = aten.slice.Tensor(%x{i}, dim=0, start=0, end={3 ** (i + 1)})\n  %x{i + 1} = aten.cat([%x{i}, %y{i}], dim=0)\n"
                    for i in range(n))
    return f"sym s0 = 1..1000000000000\nfn @main(%x0: f32[s0]) {{\n{nodes}  return %x{n}\n}}\n"


def test_sizes_that_nest():
    """x = cat([x, x[:3**i]]) again and again: each size holds the last one twice."""
    assert bounded("cats_8", nested_cats(8))[0] == 0
    for n in (16, 24, 39):
        code, message, _ = bounded(f"cats_{n}", nested_cats(n))
        assert code == 3 and "a size expression has more than" in message, message


def test_an_expression_that_nests():
    for op in ("max({0}, {1})", "({0} + {1})//2", "where(lt({0}, 9), {0}, {1})"):
        e = "s0"
        for i in range(14):
            e = op.format(e, f"s1%{i + 2}")
            if len(e) > 100000:
                break
        bounded("nested", program(e))


def test_long_sums_and_products():
    bounded("sum", program(" + ".join(f"s{i % 3}%{i + 2}" for i in range(3000))), want=(3,))
    bounded("sum_900", program(" + ".join(f"s{i % 3}%{i + 2}" for i in range(900))))
    bounded("max_900", program("max(" + ", ".join(f"s{i % 3}%{i + 2} + {i}" for i in range(900)) + ")"))
    bounded("product", program("*".join(f"(s{i % 3} + {i})" for i in range(300))))


def test_many_great_expressions():
    """Each is allowed, all of them together are more than a file of this length may ask for."""
    great = "*".join(f"(s0%{i + 2} + s1%{i + 3})" for i in range(9))
    nodes = "".join(f"  %x{k + 1}: f32[{great.replace('%2', f'%{k + 50}')}] = aten.relu(%x0)\n" for k in range(400))
    code, message, _ = bounded("many", program("s0", nodes), want=(3,))
    assert "take more memory than a file of this length" in message, message


def test_a_maximum_of_many_sums():
    """As Python writes it in a .pt2."""
    path = common.export(common.module(lambda x: x + 1), (torch.randn(3, 4),), "maximum", (({0: torch.export.Dim("n", max=64)},),))
    for terms in (500, 4000):
        text = "Max(" + ", ".join(f"Add(Integer({i}), Symbol('s{i % 50}', integer=True))" for i in range(terms)) + ")"
        great = SCRATCH / f"maximum_{terms}.pt2"
        with zipfile.ZipFile(path) as a, zipfile.ZipFile(great, "w", zipfile.ZIP_DEFLATED) as b:
            for name in a.namelist():
                data = a.read(name)
                if name.endswith("models/model.json"):
                    model = json.loads(data)
                    value = list(model["graph_module"]["graph"]["tensor_values"].values())[0]
                    value["sizes"][0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}
                    data = json.dumps(model)
                b.writestr(name, data)
        code, _, seconds, memory = cost(great)
        assert memory < 64 * MIB and seconds < 20, (terms, memory >> 20, seconds)


def test_many_of_one_kind():
    """A schema's parameters, functions, views of views; more results than an artifact has room for."""
    relu = "fn @main(%x: f32[2]) -> f32[2] {\n  %y = aten.relu(%x)\n  return %y\n}\n"
    views = "".join(f"  %y{i + 1} = aten.view(%y{i}, [{'2' if i % 2 else '1, 2'}])\n" for i in range(10000))
    for name, body in (("parameters", f'schema "my::f({", ".join(f"Tensor a{i}" for i in range(40000))}) -> Tensor"\n{relu}'),
                       ("functions", "".join(f"fn @f{i}(%x: f32[2]) -> f32[2] {{\n  return %x\n}}\n" for i in range(20000)) + relu),
                       ("views", f"fn @main(%y0: f32[2]) -> f32[2] {{\n{views}  %z = aten.relu(%y10000)\n  return %z\n}}\n")):
        code, message, seconds, _ = cost(text(name, body), "compile")
        assert code == 0 and seconds < 3, (name, code, seconds, message)
    n = 70000
    great = text("results", f"fn @main(%x: f32[2]) -> ({', '.join(['f32[2]'] * n)}) {{\n  return {', '.join(['%x'] * n)}\n}}\n")
    code, message, _, _ = cost(great, "compile")
    assert code == 3 and f"{n} results, more than" in message, message


def test_a_text_that_inflates():
    """What a .pt2 says in JSON may be deflated, but a small file holds no great text: up to 16 MiB and 4 times the file."""
    path = common.export(common.module(lambda x: x + 1), (torch.randn(3, 4),), "deflated")
    for pad, want in ((b" " * (8 * MIB), 0), (b" " * (40 * MIB), 3), (b"0," * (20 * MIB) + b"0", 3)):
        great = SCRATCH / "inflates.pt2"
        with zipfile.ZipFile(path) as a, zipfile.ZipFile(great, "w", zipfile.ZIP_DEFLATED) as b:
            for name in a.namelist():
                data = a.read(name)
                b.writestr(name, data[:-1] + b',"more":[' + pad + b"]}" if name.endswith("models/model.json") else data)
        code, message, _, memory = cost(great)
        assert code == want and memory < 64 * MIB, (len(pad), code, memory >> 20, message)
        assert not want or "would inflate to much more than the file" in message, message


if __name__ == "__main__":
    main(globals())
