"""Rounds: every engine holds its model ready in a process of its own, and calls go round all of them in turn, so that whatever the
machine does meanwhile hits all alike. Rounds during which other programs kept the processors busy are made again, to a limit: the
quietest ones are kept, whatever their times are."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"
PYTHON = str(PEERS if PEERS.exists() else sys.executable)
BURST_MS, MOST_CALLS = 30, 500  # of an engine in a round
QUIET, PATIENCE_S = 0.1, 30    # cores that others may use in a quiet round; for how long rounds are made again to find such


class Worker:
    def __init__(self, engine, model, threads, folder):
        self.engine = engine
        self.log = open(f"{folder}/{engine}.log", "w")
        self.p = subprocess.Popen([PYTHON, HERE / "worker.py", engine, model, str(threads), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=self.log, text=True, cwd=HERE)
        line = self.p.stdout.readline()
        self.ready = json.loads(line) if line else {"error": "the process ended"}

    def ask(self, words):
        print(words, file=self.p.stdin, flush=True)
        line = self.p.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.engine} ended")
        return json.loads(line)

    def burst(self, ms):
        """The median call of some, after one that finds the caches full of what others left there."""
        return statistics.median(self.ask(f"run {1 + max(1, min(MOST_CALLS, int(BURST_MS / max(ms, 1e-3))))}")[1:])

    def close(self):
        self.log.close()
        try:
            self.p.stdin.close()
            self.p.wait(20)
        except Exception:
            self.p.kill()


def reference(model, folder):
    """Results, inputs and amount of work: see reference.py."""
    return json.loads(subprocess.run([sys.executable, "-W", "ignore", HERE / "reference.py", model, folder], cwd=HERE, check=True, capture_output=True, text=True).stdout)


def error(found, exact, ulps=0):
    """The largest difference of each output, at least so many units in the last place of its largest element."""
    got, want = np.load(found), np.load(exact)
    worst = []
    for a, b in zip(got.files, want.files, strict=True):
        x, y = got[a].astype(np.float64), want[b].astype(np.float64)
        if x.shape != y.shape:
            raise ValueError(f"{found}: a result of shape {x.shape}, not {y.shape}")
        away = np.abs(x - y).max(initial=0)
        worst.append(max(float(np.nan_to_num(away, nan=1e30, posinf=1e30)), ulps * 2.0**-23 * float(np.abs(y).max(initial=0))))
    return worst


def others(workers, since=None):
    """How many cores were busy with something else since: what /proc says of the machine, less what it says of us."""
    tick = os.sysconf("SC_CLK_TCK")
    field = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    busy = sum(field) - field[3] - field[4]  # without idle and waiting for disks
    for p in [os.getpid()] + [w.p.pid for w in workers]:
        busy -= sum(map(int, open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[11:13]))
    now = time.monotonic(), busy / tick
    return now if since is None else max(0.0, (now[1] - since[1]) / (now[0] - since[0]))


def one(model, engines, threads, rounds, folder, say):
    """Rows by engine, and how many cores others kept busy in the rounds that count. The folder keeps what engines compiled."""
    workers, taken = [], []
    for e in engines:
        workers.append(Worker(e, model, threads, folder))
        if "error" in workers[-1].ready:
            say(f"  {e}: {workers[-1].ready['error']}")
    alive = [w for w in workers if "error" not in w.ready]
    try:
        usual = {w: statistics.median(w.ask("run 3")) for w in alive}
        until = time.monotonic() + PATIENCE_S
        while len(taken) < rounds or time.monotonic() < until and sum(busy <= QUIET for busy, _ in taken) < rounds:
            before, first = others(alive), len(taken) % len(alive)
            times = {w: w.burst(usual[w]) for w in alive[first:] + alive[:first]}
            taken.append((others(alive, before), times))
        kept = sorted(taken, key=lambda t: t[0])[:rounds]
        kept = [t for t in taken if t in kept]  # in the order in which they were
        allowed = error(f"{folder}/f32.npz", f"{folder}/f64.npz", ulps=4)
        rows = {}
        for w in workers:
            if w not in alive:
                rows[w.engine] = {"error": w.ready["error"]}
                continue
            w.ask("result")
            wrong = error(f"{folder}/{w.engine}.npz", f"{folder}/f64.npz")
            eagers = error(f"{folder}/{w.engine}.npz", f"{folder}/f32.npz")
            rows[w.engine] = {"ms": [float(f"{times[w]:.5g}") for _, times in kept], **w.ready, "from_f64": max(wrong), "from_eager": max(eagers),
                              "of_eagers_error": max(x / y if y else 1e30 * (x > 0) for x, y in zip(wrong, allowed))}
    finally:
        for w in workers:
            w.close()
    return rows, statistics.median(busy for busy, _ in kept)
