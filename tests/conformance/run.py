"""make conformance: every case through cierge's C API, judged by PyTorch's own results.

    python tests/conformance/run.py [--mode auto|mixed|native|torch|v3|v2] [--torch-mode auto|ops|script] [--threads N] [--tune] [--calls N]
                                    [--dialects tfs] [--dtypes usual|others|all] [--every N] [--only SUBSTRING] [--out FILE]

Two worker processes run many cases each; a crash or a hang (60 s) loses one case. SHARD=i/n takes every n-th case.
Prints passed / refused / wrong / crashed and the native share; the result file (one line a case) is kept in the
repository, so that a regression shows in review.
"""
import argparse
import collections
import json
import os
import pathlib
import queue
import select
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 60


class Worker:
    def __init__(self, arguments):
        self.arguments, self.process = arguments, None

    def start(self):
        env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
        self.process = subprocess.Popen([sys.executable, str(HERE / "worker.py"), *self.arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
        self.buffer = b""

    def line(self, limit):
        """The next line; None: none came in time; "" at the end."""
        end = time.time() + limit
        fd = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            if not select.select([fd], [], [], max(0, end - time.time()))[0]:
                return None
            data = os.read(fd, 65536)
            if not data:
                return ""
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def case(self, case, dialects):
        """The results of one case, whatever happens to the process."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.process.stdin.write(case.encode() + b"\n")
        self.process.stdin.flush()
        results, at = [], "prepare"
        while True:
            line = self.line(LIMIT_S * (3 if at == "prepare" else 1))
            if not line:  # dead or over time
                hung = line is None
                if hung:
                    self.process.kill()
                code = self.process.wait()
                self.process = None
                detail = f"over {LIMIT_S} s" if hung else f"ended with {code}"
                if at == "prepare":  # PyTorch itself went down while exporting: not a case
                    return [{"case": case, "dialect": d, "result": "not exported", "detail": detail, "native": None} for d in dialects]
                results.append({"case": case, "dialect": at, "result": "crashed", "detail": detail, "native": None})
                rest = dialects[dialects.index(at) + 1:]
                return results + (self.rest(case, rest) if rest else [])
            record = json.loads(line)
            if "done" in record:
                return results
            if "start" in record:
                at = record["dialect"]
            else:
                results.append(record)

    def rest(self, case, dialects):
        other = Worker([*self.arguments, "--dialects", dialects])
        try:
            return other.case(case, dialects)
        finally:
            if other.process:
                other.process.kill()


def run(cases, arguments, dialects, jobs):
    todo, done, lock = queue.Queue(), [], threading.Lock()
    for c in cases:
        todo.put(c)
    start = time.time()

    def loop():
        worker = Worker(arguments)
        while True:
            try:
                case = todo.get_nowait()
            except queue.Empty:
                break
            results = worker.case(case, dialects)
            with lock:
                done.extend(results)
                if sys.stderr.isatty() or len(done) % 200 < len(results):
                    print(f"{len(done)} of {len(cases) * len(dialects)}, {time.time() - start:.0f} s", file=sys.stderr)
        if worker.process:
            worker.process.kill()

    threads = [threading.Thread(target=loop) for _ in range(jobs)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return sorted(done, key=lambda r: (r["case"], r["dialect"]))


def summary(results):
    lines = []
    for dialect, name in (("t", "training dialect"), ("f", "functional dialect"), ("s", "TorchScript")):
        counted = [r for r in results if r["dialect"] == dialect and r["result"] not in ("none", "not exported")]
        if not counted:
            continue
        n = collections.Counter(r["result"] for r in counted)
        f32 = [r for r in counted if "/float32/" in r["case"]]
        native = sum(r["result"] == "passed" and bool(r["native"]) for r in f32)
        lines.append(f"{name}: {len(counted)} cases: {n['passed']} passed ({100 * n['passed'] / len(counted):.1f} %), {n['refused']} refused, "
                     f"{n['wrong']} wrong, {n['crashed']} crashed; fully native {native} of {len(f32)} float32 cases ({100 * native / max(1, len(f32)):.1f} %)")
    missing = sum(r["result"] == "not exported" for r in results)
    lines.append(f"not counted: {missing} that PyTorch itself cannot export or trace, save, reload and run")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mode", default="auto", choices=["auto", "mixed", "native", "torch", "v3", "v2"])
    p.add_argument("--torch-mode", default="auto", choices=["auto", "ops", "script"])
    p.add_argument("--calls", type=int, default=1, help="calls on fresh copies, of which the last one is judged (models with state: one)")
    p.add_argument("--threads", type=int, default=1, help="that a program runs with")
    p.add_argument("--tune", action="store_true", help="compile with --tune, each case by the command line")
    p.add_argument("--dialects", default="tf", help="of torch.export: t(raining), f(unctional); s: TorchScript")
    p.add_argument("--dtypes", default="usual", choices=["usual", "others", "all"], help="usual: float32, bfloat16, int64; all: whatever OpInfo lists for an operator")
    p.add_argument("--every", type=int, default=1, help="only every N-th case")
    p.add_argument("--only", help="only cases whose name contains this")
    p.add_argument("--out", help="result file")
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--cache", default=str(HERE.parents[1] / ".cache" / "conformance"))
    a = p.parse_args()
    sys.path.insert(0, str(HERE))
    from cases import case_ids

    ids = [c for c in case_ids(a.dtypes) if not a.only or a.only in c][::a.every]
    if os.environ.get("SHARD"):
        i, n = map(int, os.environ["SHARD"].split("/"))
        ids = ids[i::n]
    results = run(ids, ["--mode", a.mode, "--torch-mode", a.torch_mode, "--calls", str(a.calls), "--threads", str(a.threads),
                        *["--tune"] * a.tune, "--dialects", a.dialects, "--cache", a.cache], a.dialects, a.jobs)
    if a.out:
        with open(a.out, "w") as f:
            for r in results:
                if r["result"] != "none":
                    f.write(f"{r['case']}\t{r['dialect']}\t{r['result']}\t{'native' if r['native'] else 'torch' if r['native'] is False else '-'}\t{r['detail'] if r['result'] != 'passed' else ''}\n")
    for r in results:
        if r["result"] in ("wrong", "crashed"):
            print(f"{r['result']}: {r['case']} ({r['dialect']}): {r['detail']}")
    print(summary(results))
    bad = sum(r["result"] in ("wrong", "crashed") for r in results)
    passed = sum(r["result"] == "passed" for r in results)
    print(f"{passed} passed, {bad} failed")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
