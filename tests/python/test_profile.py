"""`cierge run --profile`: the trace's events, how they nest, what they say; the table beside it."""
import json
import re

import common
from common import SCRATCH, cli, main, np, torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(32, 32)

    def forward(self, x):
        y = torch.relu(self.line(x)) + x
        s = torch.linalg.svdvals(torch.sin(y))
        return torch.softmax(y, -1), s * 2


torch.manual_seed(0)
X = torch.randn(32, 32)
PATH = common.export(Model().eval(), (X,), "profiled")
ARRAYS = SCRATCH / "profiled.npz"
np.savez(ARRAYS, input_0=X.numpy())


def trace(path, *options, calls=3, arrays=ARRAYS):
    artifact, out = path.with_suffix(".cierge"), SCRATCH / "trace.json"
    cli("compile", path, "-o", artifact, *options, check=0)
    err = cli("run", artifact, "--inputs", arrays, "--repeat", calls, "--profile", out, check=0).stderr
    t = json.loads(out.read_text())
    return [e for e in t["traceEvents"] if e["ph"] == "X"], t, err


def parents(events):
    """Each event's parent; an event that begins in another one must end in it."""
    open_, out = [], []
    for e in events:
        start, end = round(e["ts"] * 1000), round((e["ts"] + e["dur"]) * 1000)
        while open_ and open_[-1][1] <= start and not (open_[-1][0] == start and open_[-1][1] >= end):
            open_.pop()
        assert not open_ or (open_[-1][0] <= start and end <= open_[-1][1]), (e, open_[-1])
        out.append(open_[-1][2] if open_ else None)
        open_.append((start, end, e))
    return out


def test_events_nest_and_count():
    for mode in ("ops", "script"):
        events, whole, err = trace(PATH, "--torch-ops", "aten.sin", "--torch-mode", mode)
        assert whole["otherData"]["dropped"] == 0
        by = {}
        for e, p in zip(events, parents(events)):
            assert e["pid"] == 1 and e["tid"] == 1 and e["dur"] >= 0 and e["ts"] >= 0
            by.setdefault(e["cat"], []).append(e)
            want = {"call": None, "op": "torch"}.get(e["cat"], "call")
            assert (p and p["cat"]) == want, (e, p)
        assert len(by["call"]) == 3 and [e["name"] for e in by["call"]] == ["call 1", "call 2", "call 3"]
        assert len(by["torch"]) == 3 and {e["args"]["mode"] for e in by["torch"]} == {mode}
        kernels = [e["name"] for e in by["kernel"]]
        assert len(kernels) % 3 == 0 and kernels[:len(kernels) // 3] * 3 == kernels, kernels
        ops = [e["name"] for e in by.get("op", [])]
        assert ops == ["aten::sin", "aten::linalg_svdvals"] * 3, ops  # those that they call are not in it
        for k, e in enumerate(by["call"], 1):
            inside = [x["dur"] for x in events if x["args"]["call"] == k and x["cat"] not in ("call", "op")]
            assert 0 < sum(inside) <= e["dur"] + 1e-6 * len(inside), (sum(inside), e)
        for e in by["torch"]:
            inside = [x["dur"] for x in by.get("op", []) if x["args"]["call"] == e["args"]["call"]]
            assert sum(inside) <= e["dur"]
            assert e["args"]["bytes_in"] == 32 * 32 * 4 and e["args"]["bytes_out"] == 32 * 4 and e["args"]["region"].startswith("torch"), e
        for name in set(kernels + ops):
            assert name in err, (name, err)


def test_kernel_events_are_steps_times_calls():
    artifact = PATH.with_suffix(".cierge")
    events, _, _ = trace(PATH, "--torch-ops", "aten.sin", calls=4)
    steps = int(re.search(r"native kernels: (\d+)", cli("inspect", artifact, check=0).stdout)[1])
    assert steps and sum(e["cat"] == "kernel" for e in events) == 4 * steps, steps


def test_places_are_the_models():
    events, _, _ = trace(PATH, "--torch-ops", "aten.sin", calls=1)
    lines = open(__file__).read().splitlines()
    for e in events:
        if e["cat"] != "op":
            continue
        file, line = e["args"]["source"].rsplit(":", 1)
        assert file.endswith("test_profile.py") and "linalg.svdvals" in lines[int(line) - 1], e
    assert any(e["args"].get("module") == "line" for e in events if e["cat"] == "kernel"), events


def test_loops_nest():
    class Loop(torch.nn.Module):
        def forward(self, x):
            return torch.while_loop(lambda i, x: i < 5, lambda i, x: (i + 1, torch.linalg.svdvals(x.reshape(2, 4)).sum() + x * 0.5), (torch.tensor(0), x))[1]

    path = common.export(Loop(), (torch.randn(8),), "loop")
    arrays = SCRATCH / "loop.npz"
    np.savez(arrays, input_0=np.ones(8, np.float32))
    events, _, _ = trace(path, calls=2, arrays=arrays)
    above = parents(events)
    loops = [e for e in events if e["cat"] == "while"]
    assert len(loops) == 2 and sum(e["cat"] == "torch" for e in events) == 10
    assert all(p["cat"] == "while" for e, p in zip(events, above) if e["cat"] == "torch")


def test_a_failed_call_leaves_no_trace():
    out = SCRATCH / "none.json"
    cli("compile", PATH, "-o", PATH.with_suffix(".cierge"), check=0)
    cli("run", PATH.with_suffix(".cierge"), "--inputs", ARRAYS, "--profile", "/no/where.json", check=4)
    bad = SCRATCH / "bad.npz"
    np.savez(bad, input_0=np.ones((3, 3), np.float32))
    cli("run", PATH.with_suffix(".cierge"), "--inputs", bad, "--profile", out, check=3)
    assert not out.exists()


if __name__ == "__main__":
    main(globals())
