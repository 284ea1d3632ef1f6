"""`make bench`: ten model families, cierge beside the engines that a user might pick instead, on this machine.

Engines are timed in rounds that go round all of them (rounds.py), and every result is compared with eager PyTorch's and with a run
in float64. Then come what part of a model is native (native.py), the start of a process (start.py), sizes nobody tuned for, and
programs with symbolic sizes (dynamic.py).
results.json keeps every time; report.py makes README.md and the plots of it. It is written after each measurement, and models that are
measured again replace what is there, so that a part can be repeated.
    --models a,b   --engines a,b   --threads 2,1   --rounds N   --parts rounds,native,start,sizes,dynamic   --out FOLDER
    --report       nothing is measured: the page is made again"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import limits
import report
import rounds
import start

HERE = pathlib.Path(__file__).resolve().parent
ENGINES = ["eager", "torchscript", "inductor", "aoti", "onnxruntime", "openvino", "iree", "cierge"]
QUICK = ["eager", "torchscript", "onnxruntime", "openvino", "cierge"]  # to compile: those for the further sizes
PARTS = "rounds,native,start,sizes,dynamic"


def names(table):
    """The keys of a table of models.py, which only workers import: it brings PyTorch."""
    body = (HERE / "models.py").read_text().split(f"\n{table} = {{\n")[1].split("\n}\n")[0]
    return [line.split('"')[1] for line in body.splitlines() if line.startswith('    "')]


def say(text):
    print(text, flush=True)


def summary(rows):
    return "  " + "  ".join(f"{e} {statistics.median(r['ms']):.4g}" for e, r in rows.items() if "ms" in r)


def commit():
    """Which one the compiler and runtime are of."""
    git = lambda *words: subprocess.run(["git", *words, "--", "include", "plugin", "python", "src"], cwd=HERE.parent, capture_output=True, text=True)
    return (git("log", "-1", "--format=%h").stdout.strip() or "unknown") + ("" if git("diff", "--quiet", "HEAD").returncode == 0 else ", changed")


class Results:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "results.json"
        self.r = json.loads(self.file.read_text()) if self.file.exists() else {"versions": {}, "work": {}, "threads": {}, "start": {}, "sizes": {}, "dynamic": {}}
        self.r.setdefault("native", {})
        self.r.setdefault("commits", {})

    def keep(self):
        tables = [(t["models"], "FAMILIES") for t in self.r["threads"].values()] + [(self.r["native"], "FAMILIES"), (self.r["start"], "FAMILIES"), (self.r["sizes"], "SIZES"), (self.r["dynamic"], "DYNAMIC")]
        for table, order in tables:  # whatever was measured last
            table.update((name, table.pop(name)) for name in names(order) if name in table)
        for model in [*(m for t in self.r["threads"].values() for m in t["models"].values()), *self.r["sizes"].values()]:
            for engine, row in model["rows"].items():
                if version := row.pop("version", None):
                    self.r["versions"][engine] = version
        self.file.write_text(json.dumps(self.r, separators=(",", ":")).replace('"rows":', '\n"rows":').replace('"limits":', '\n"limits":') + "\n")
        report.write(self.r, self.folder)


def script(file, name, *more):
    """What a program of this folder, in a process of its own, prints of a model."""
    p = subprocess.run([sys.executable, HERE / file, name, *more], cwd=HERE, capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"{name}: {p.stderr}")
    return json.loads(p.stdout.splitlines()[-1])


def measure(a, results):
    r = results.r
    threads, parts, engines = a.threads.split(","), a.parts.split(","), a.engines.split(",")
    most = max(threads, key=int)
    asked = [e for e in ENGINES if e in engines or e in r.get("engines", [])]
    r.update(date=time.strftime("%Y-%m-%d"), cpu=limits.cpu(), engines=asked, sizes_threads=most)
    models, now = a.models.split(",") if a.models else names("FAMILIES"), commit()
    for part in parts:
        before = r["commits"].get(part, []) if a.models else []
        r["commits"][part] = [c for c in before if c != now] + [now]
    fits = lambda name: name.split(",")[0] in models

    def compare(name, engines, threads, folder):
        say(f"{name}, {threads} threads")
        rows, busy = rounds.one(name, engines, int(threads), a.rounds, folder, say)
        say(summary(rows) + f"  (others: {busy:.2f} cores)")
        return {"others": round(busy, 3), "rows": rows}

    for name in models if {"rounds", "start"} & set(parts) else []:
        with tempfile.TemporaryDirectory() as folder:
            r["work"][name] = rounds.reference(name, folder)
            for t in threads if "rounds" in parts else []:
                found = r["threads"].setdefault(t, {"limits": {}, "models": {}})
                found["limits"] = limits.rates(int(t), found["limits"])
                found["models"][name] = compare(name, engines, t, folder)
                results.keep()
            if "start" in parts:
                if "rounds" not in parts:
                    compare(name, [e for e in QUICK if e in engines], most, folder)
                r["start"][name] = start.measure(folder, most)
                results.keep()
    for name in models if "native" in parts else []:
        say(f"{name}, native share")
        r["native"][name] = script("native.py", name)
        results.keep()
    for name in filter(fits, names("SIZES")) if "sizes" in parts else []:
        with tempfile.TemporaryDirectory() as folder:
            rounds.reference(name, folder)
            r["sizes"][name] = compare(name, [e for e in QUICK if e in engines], most, folder)
            results.keep()
    for name in filter(fits, names("DYNAMIC")) if "dynamic" in parts else []:
        say(f"{name}, symbolic sizes")
        r["dynamic"][name] = script("dynamic.py", name, most, str(a.rounds))
        results.keep()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", default="")
    p.add_argument("--engines", default=",".join(ENGINES))
    p.add_argument("--threads", default="2,1")
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--parts", default=PARTS)
    p.add_argument("--out", default=str(HERE / "results"))
    p.add_argument("--report", action="store_true")
    a = p.parse_args()
    results = Results(a.out)
    if not a.report:
        measure(a, results)
    report.write(results.r, results.folder)
    print((results.folder / "README.md").read_text())


if __name__ == "__main__":
    main()
