"""Programs whose meaning is easily lost: indices that do not wrap, random draws, sizes that only memory tells, wrong records."""
from common import SCRATCH, cli, close, compile, export, main, np, torch

F = torch.nn.functional


class Call(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *x):
        return self.f(*x)


def run(artifact, inputs, *options):
    """(exit code and texts, outputs)"""
    given, got = SCRATCH / "given.npz", SCRATCH / "got.npz"
    np.savez(given, **inputs)
    r = cli("run", artifact, "--inputs", given, "--outputs", got, *options)
    return r, list(dict(np.load(got)).values()) if not r.returncode else None


def indexed(name, f, wraps):
    """A negative index: PyTorch's answer where it wraps, an error in both where it does not."""
    x, i = torch.randn(3, 4), torch.tensor([1, 0, 2])
    artifact, _ = compile(export(Call(f), (x, i), name), "--require-native")
    for index in (i, torch.tensor([0, -1, 2])):
        try:
            want = f(x, index)
        except (IndexError, RuntimeError):
            want = None
        assert (want is None) == (not wraps and bool((index < 0).any())), f"{name}: PyTorch changed"
        r, got = run(artifact, {"x_0": x, "x_1": index})
        assert (r.returncode != 0) == (want is None), f"{name}: {r.stdout}{r.stderr}"
        if want is not None:
            close(got[0], want)


def test_negative_indices():
    row = torch.zeros(3, 4)
    indexed("take", lambda x, i: x.take(i), True)
    indexed("index", lambda x, i: x[i], True)
    indexed("index_put", lambda x, i: x.index_put((i,), row), True)
    indexed("index_fill", lambda x, i: x.index_fill(0, i, 2.0), True)
    indexed("put", lambda x, i: x.put(i, row[0, :3]), True)
    indexed("gather", lambda x, i: x.gather(0, i[None]), False)
    indexed("index_select", lambda x, i: x.index_select(0, i), False)
    indexed("embedding", lambda x, i: F.embedding(i, x), False)
    indexed("scatter", lambda x, i: x.scatter(0, i[None], row), False)
    indexed("index_add", lambda x, i: x.index_add(0, i, row), False)
    indexed("index_copy", lambda x, i: x.index_copy(0, i, row), False)


def test_equal_draws_are_not_merged():
    def twice(q):
        return F.scaled_dot_product_attention(q, q, q, dropout_p=0.5), F.scaled_dot_product_attention(q, q, q, dropout_p=0.5), \
            F.dropout(q, 0.5, True), F.dropout(q, 0.5, True)
    q = torch.ones(1, 2, 8, 4)
    artifact, _ = compile(export(Call(twice), (q,), "draws"))
    r, got = run(artifact, {"x_0": q}, "--seed", "7")
    assert not r.returncode, r.stderr
    torch.manual_seed(7)
    for a, b in zip(got, twice(q)):
        close(a, b)
    assert (got[0] != got[1]).any() and (got[2] != got[3]).any()


def test_tensor_split_at_indices():
    x, i = torch.randn(4, 8), torch.tensor([2, 5])
    for functional in (False, True):
        artifact, _ = compile(export(Call(lambda x, i: torch.tensor_split(x, i, dim=1)), (x, i), "split", functional=functional))
        for at in (i, torch.tensor([0, 7])):
            r, got = run(artifact, {"x_0": x, "x_1": at})
            assert not r.returncode, r.stderr
            for a, b in zip(got, torch.tensor_split(x, at, dim=1)):
                close(a, b)


def test_running_statistics_keep_their_dtype():
    x, mean, var = torch.randn(2, 3, 4).bfloat16(), torch.zeros(3).bfloat16(), torch.ones(3).bfloat16()

    def norm(x, mean, var):
        mean, var = mean.clone(), var.clone()
        y = F.batch_norm(x, mean, var, training=True)
        return y.float(), mean.float(), var.float()
    artifact, _ = compile(export(Call(norm), (x, mean, var), "statistics", functional=True))
    import cierge
    for a, b in zip(cierge.load(artifact).context().run(x, mean, var), norm(x, mean, var)):
        close(torch.from_dlpack(a), b)


main(globals())
