"""`make bench`: ten model families, cierge beside the engines that a user might pick instead, on this machine.

Every engine runs in a process of its own and holds its model ready; rounds go round all of them in turn, so that whatever the
machine does meanwhile hits all alike. Results are compared with eager PyTorch's, and with a run in float64. Only ratios
within one run mean anything; the table names the CPU. Options:
    --models a,b   --engines a,b   --threads 1,2   --rounds N   --out FOLDER"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
ENGINES = ["eager", "torchscript", "inductor", "aoti", "onnxruntime", "openvino", "iree", "cierge"]
OURS = ("cierge", "cierge_torch")


class Worker:
    def __init__(self, engine, model, threads, folder):
        self.engine = engine
        python = PYTHON if PYTHON.exists() else sys.executable
        self.log = open(f"{folder}/{engine}.log", "w")
        self.p = subprocess.Popen([python, HERE / "worker.py", engine, model, str(threads), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=self.log, text=True, cwd=HERE)
        self.times = []
        line = self.p.stdout.readline()
        self.ready = json.loads(line) if line else {"error": "the process ended"}

    def ask(self, words):
        print(words, file=self.p.stdin, flush=True)
        line = self.p.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.engine} ended")
        return json.loads(line)

    def close(self):
        try:
            self.p.stdin.close()
            self.p.wait(20)
        except Exception:
            self.p.kill()


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown"


def truth(model, folder):
    """Eager's result, and the same in float64."""
    code = ("import sys, numpy as np, torch, models\n"
            "from torch.utils._pytree import tree_leaves\n"
            "torch.set_grad_enabled(False)\n"
            "m, x = models.build(sys.argv[1])\n"
            "save = lambda f, r: np.savez(f, *[t.numpy() for t in tree_leaves(r)])\n"
            "save(sys.argv[2] + '/f32.npz', m(*x))\n"
            "m = m.double()\n"
            "save(sys.argv[2] + '/f64.npz', m(*[t.double() if t.is_floating_point() else t for t in x]))\n")
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, model, folder], cwd=HERE, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def error(path, wanted):
    got, want = np.load(path), np.load(wanted)
    worst = 0.0
    for a, b in zip(got.files, want.files):
        worst = max(worst, float(np.abs(got[a].astype(np.float64) - want[b].astype(np.float64)).max(initial=0)))
    return worst


def one(model, engines, threads, rounds, say):
    with tempfile.TemporaryDirectory() as folder:
        truth(model, folder)
        workers = []
        for e in engines:
            os.makedirs(f"{folder}/{e}", exist_ok=True)
            w = Worker(e, model, threads, f"{folder}/{e}")
            if "error" in w.ready:
                say(f"  {e}: {w.ready['error']}")
            workers.append(w)
        alive = [w for w in workers if "error" not in w.ready]
        first = {w.engine: statistics.median(w.ask("run 3")) for w in alive}
        for r in range(rounds):
            for w in alive[r % len(alive):] + alive[:r % len(alive)]:
                w.times.append(min(w.ask(f"run {max(1, min(20, int(20 / max(first[w.engine], 1e-3))))}")))
        rows = {}
        reference = None
        for w in workers:
            if w not in alive:
                rows[w.engine] = {"error": w.ready["error"]}
                continue
            w.ask("result")
            path = f"{folder}/{w.engine}/{w.engine}.npz"
            rows[w.engine] = {"ms": statistics.median(w.times), "low": min(w.times), "high": max(w.times), "ready_s": w.ready["ready"],
                              "version": w.ready["version"], "error_f64": error(path, f"{folder}/f64.npz"), "times": w.times}
            if w.engine == "eager":
                reference = w.times
        for e, row in rows.items():
            if reference and "times" in row:
                ratios = sorted(a / b for a, b in zip(row["times"], reference))
                row["of_eager"] = statistics.median(ratios)
        for w in workers:
            w.close()
        return rows


def machine(threads):
    """What this machine can do: sgemm's rate and memory bandwidth, by PyTorch."""
    code = ("import torch, time, sys\n"
            "torch.set_num_threads(int(sys.argv[1]))\n"
            "a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)\n"
            "def best(f, n=20):\n"
            "    t = []\n"
            "    for _ in range(n):\n"
            "        s = time.perf_counter(); f(); t.append(time.perf_counter() - s)\n"
            "    return min(t)\n"
            "c = torch.empty(1024, 1024)\n"
            "print(2 * 1024 ** 3 / best(lambda: torch.mm(a, b, out=c)) / 1e9)\n"
            "x, y = torch.randn(1 << 26), torch.empty(1 << 26)\n"
            "print(2 * x.numel() * 4 / best(lambda: y.copy_(x), 8) / 1e9)\n")
    r = subprocess.run([sys.executable, "-c", code, str(threads)], capture_output=True, text=True, check=True).stdout.split()
    return {"sgemm_gflops": float(r[0]), "copy_gb_s": float(r[1])}


def table(all_rows, engines):
    lines = ["| model | " + " | ".join(engines) + " | best peer ÷ cierge |", "|---" * (len(engines) + 2) + "|"]
    gains = []
    for model, rows in all_rows.items():
        cells = []
        for e in engines:
            r = rows.get(e, {})
            cells.append(f"{r['ms']:.3g}" if "ms" in r and r["ms"] < 100 else f"{r['ms']:.0f}" if "ms" in r else "–")
        peers = [rows[e]["ms"] for e in engines if e not in OURS and e != "eager" and "ms" in rows.get(e, {})]
        gain = "–"
        if peers and "ms" in rows.get("cierge", {}):
            value = min(peers) / rows["cierge"]["ms"]
            gains.append(value)
            gain = f"{value:.2f}"
        lines.append(f"| {model} | " + " | ".join(cells) + f" | {gain} |")
    if gains:
        mean = float(np.exp(np.mean([np.log(min(g, 2.0)) for g in gains])))
        lines.append(f"\nGeometric mean of the last column, none counted above 2: {mean:.2f}. At or above 1: {sum(g >= 1 for g in gains)} of {len(gains)}.")
    return "\n".join(lines)


def main():
    names = [line.split('"')[1] for line in open(HERE / "models.py") if line.startswith('    "') and "(lambda:" in line]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", default=",".join(names))
    p.add_argument("--engines", default=",".join(ENGINES))
    p.add_argument("--threads", default="2,1")
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--out", default=str(HERE / "results"))
    a = p.parse_args()
    out = pathlib.Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    engines = a.engines.split(",")
    text = [f"# Benchmark\n\n{cpu()}, {os.cpu_count()} cores; medians of {a.rounds} interleaved rounds, milliseconds, fp32, {time.strftime('%Y-%m-%d')}.\n"]
    for threads in map(int, a.threads.split(",")):
        limits = machine(threads)
        rows = {}
        for model in a.models.split(","):
            print(f"{model}, {threads} threads", flush=True)
            rows[model] = one(model, engines, threads, a.rounds, lambda s: print(s, flush=True))
            print("  " + "  ".join(f"{e} {r['ms']:.4g}" for e, r in rows[model].items() if "ms" in r), flush=True)
        text.append(f"\n## {threads} thread{'s' if threads > 1 else ''}\n\nsgemm {limits['sgemm_gflops']:.0f} GFLOP/s, copy {limits['copy_gb_s']:.1f} GB/s.\n\n{table(rows, engines)}\n")
        (out / f"threads{threads}.json").write_text(json.dumps({"cpu": cpu(), "limits": limits, "rows": rows}, indent=1))
    (out / "README.md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
