"""Programs whose meaning is easily lost: indices that do not wrap, random draws, sizes that only memory tells, wrong records."""
from common import cli, close, compile, export, main, np, run_native, torch, SCRATCH

F = torch.nn.functional


class Call(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *x):
        return self.f(*x)


def arrays(inputs):
    return {f"args_{i}": x for i, x in enumerate(inputs)}


def inspect(artifact):
    return cli("inspect", artifact, check=0).stdout


def run_with_torch(artifact, *options, **inputs):
    given, got = SCRATCH / "given.npz", SCRATCH / "got.npz"
    np.savez(given, **inputs)
    cli("run", artifact, "--inputs", given, "--outputs", got, *options, check=0)
    return list(dict(np.load(got)).values())


def indexed(f, wraps, name):
    """f(x, i) at a negative index: PyTorch's answer where it wraps, an error in both where it does not."""
    x, i = torch.randn(3, 4), torch.tensor([1, 0, 2])
    artifact, _ = compile(export(Call(f), (x, i), name), "--require-native")
    names = sorted(arrays((x, i)))
    given, got = SCRATCH / "given.npz", SCRATCH / "got.npz"
    for index in (i, torch.tensor([0, -1, 2])):
        np.savez(given, x_0=x, x_1=index)
        r = cli("run", artifact, "--inputs", given, "--outputs", got)
        try:
            want = f(x, index)
        except (IndexError, RuntimeError):
            want = None
        assert (want is None) == (not wraps and bool((index < 0).any())), f"{name}: PyTorch changed"
        assert (r.returncode != 0) == (want is None), f"{name}: {r.stdout}{r.stderr}"
        if want is None:
            assert "index -1" in r.stderr or "-1" in r.stderr, r.stderr
        else:
            close(next(iter(np.load(got).values())), want)
