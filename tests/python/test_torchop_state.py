"""torchop: what scripts keep from call to call, what they write to, what they raise, and in which order; judged by PyTorch."""
from common import SCRATCH, cli, close, compile, main, torch
from test_torchop import Pure, all_close, outputs, program, run, script, text_of

import cierge

Tensor = torch.Tensor


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.n = 0
        self.register_buffer("last", torch.zeros(3))
        self.register_buffer("sum", torch.zeros(3))
        self.weight = torch.nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor):
        self.n += 1
        self.sum.add_(x)
        before = self.last
        self.last = x
        return self.sum * self.weight + self.n, before, self.sum

    @torch.jit.export
    def count(self):
        return self.n


STATE = """fn @main(%x: f32[3]) {
  %0: f32[3], %1: f32[3], %2: f32[3] = torchop(%x, script=@m)
  %3: f32[3] = aten.relu(%0)
  %n: int = torchop(script=@m, method="count")
  return %0, %1, %2, %3, %n
}"""


def test_state_belongs_to_the_context():
    torch.manual_seed(0)
    module = Counter()
    artifact = program("state", STATE, m=module)
    assert "keeps state" in cierge.inspect(str(artifact))
    p = cierge.load(artifact)
    one, two = p.context(), p.context()

    def check(context, model, x):
        with torch.no_grad():
            y, before, total = model(x)
        x = x.clone()
        got = run(context, x)
        all_close(got[:4], [y, before, total.clone(), torch.relu(y)])
        assert got[4].item() == model.n
        x.fill_(float("nan"))  # the caller's memory is its own again
        return got

    import copy
    with torch.no_grad():
        a, b = (torch.jit.script(copy.deepcopy(module)).eval() for _ in range(2))
    kept = check(one, a, torch.randn(3))
    kept_sum = kept[2].clone()
    for _ in range(4):
        check(one, a, torch.randn(3))
    close(kept[2], kept_sum)
    check(two, b, torch.randn(3))
    check(one, a, torch.randn(3))
    one.reset()
    with torch.no_grad():
        fresh = torch.jit.script(copy.deepcopy(module)).eval()
    check(one, fresh, torch.randn(3))
    check(two, b, torch.randn(3))


def test_modules_of_the_same_bytes_have_a_state_each():
    text = """fn @main(%x: f32[3]) {
  %0: f32[3], %1: f32[3], %2: f32[3] = torchop(%x, script=@a)
  %3: f32[3], %4: f32[3], %5: f32[3] = torchop(%x, script=@a)
  %6: f32[3], %7: f32[3], %8: f32[3] = torchop(%x, script=@b)
  return %2, %5, %8
}"""
    module = Counter()
    path = SCRATCH / "same.cir"
    line = cli("blob", "-d", SCRATCH / "same.blobs", script(module, "a"), check=0).stdout
    path.write_text(line + line.replace("@a", "@b") + text)
    artifact, _ = compile(path, "--verify")
    x = torch.rand(3)
    all_close(outputs(artifact, x), [x, x + x, x])
    assert artifact.read_bytes().count(b"constants.pkl") == path.parent.joinpath("a.pt").read_bytes().count(b"constants.pkl")


class Keeper(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(3))

    def forward(self, x: Tensor):
        self.kept = x

    @torch.jit.export
    def change(self):
        self.kept.add_(1)
        return self.kept


def test_what_a_script_keeps_is_its_own():
    text = """const @w: f32[3]
fn @main(%x: f32[3]) {
  torchop(@w, script=@m)
  %0: f32[3] = torchop(script=@m, method="change")
  torchop(%x, script=@m)
  %1: f32[3] = torchop(script=@m, method="change")
  %2: f32[3] = aten.add.Tensor(%x, @w)
  return %0, %1, %2
}"""
    weights = SCRATCH / "keeper.safetensors"
    w, x = torch.rand(3), torch.rand(3)
    header = b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    weights.write_bytes(len(header).to_bytes(8, "little") + header + w.numpy().tobytes())
    for options in ((), ("--backends", "torch")):
        c = cierge.load(program("keeper", text, *options, m=Keeper())).context()
        for _ in range(2):
            given = x.clone()
            all_close(run(c, given), [w + 1, x + 1, x + w])
            close(given, x)


class Writer(torch.nn.Module):
    def forward(self, x: Tensor, y: Tensor):
        x.mul_(2)
        return x + y


def test_a_script_that_writes_to_its_input():
    text = """fn @main(%x: f32[3], %y: f32[3]) -> (f32[3], f32[3]) {
  %a: f32[3] = aten.add.Tensor(%x, 1)
  %0: f32[3] = torchop(%a, %y, script=@m)
  %1: f32[3] = torchop(%x, %a, script=@m)
  %2: f32[3] = aten.sub.Tensor(%1, %a)
  return %0, %2
}"""
    artifact = program("writer", text, m=Writer())
    x, y = torch.randn(3), torch.randn(3)
    mine = x.clone()
    a = mine + 1
    m = Writer()
    first = m(a, y).clone()
    second = m(mine, a) - a
    given = x.clone()
    all_close(outputs(artifact, given, y), [first, second])
    close(given, mine)  # and the caller's tensor as well


class Raiser(torch.nn.Module):
    def forward(self, x: Tensor, n: int):
        if n > 2:
            raise ValueError("n is too big: " + str(n))
        if n == 2:
            return x @ x
        assert n >= 0, "n is negative"
        return x + n


def test_errors_of_scripts():
    text = 'fn @main(%x: f32[3], %n: int) {\n  %u: f32[3] = torchop(%x, %n, script=@m) name="first"\n  %0: f32[3] = torchop(%x, 1, script=@m)\n  return %0, %u\n}'
    artifact = program("raiser", text, m=Raiser())
    c = cierge.load(artifact).context()
    x = torch.randn(3)
    for n, says in [(0, None), (3, "n is too big: 3"), (2, "result 0 of the region"), (-1, "n is negative"), (1, None)]:
        try:
            all_close(run(c, x, n), [x + 1, x + n])
            got = None
        except cierge.Error as e:
            got = str(e)
            assert e.exit_code == 3, got
        assert (got is None) == (says is None) and (not got or says in got), (n, got)
        if got:
            assert "first" in got and "raiser.cir" in got and "Traceback" not in got and "interpreter" not in got, got
    bad = program("bad_shapes", "sym s0 = 1..\nfn @main(%x: f32[s0]) -> f32[] {\n  %0: f32[] = torchop(%x, script=@m)\n  return %0\n}", m=Dot())
    try:
        outputs(bad, torch.randn(4))
        raise AssertionError("it ran")
    except cierge.Error as e:
        assert "inconsistent" in str(e) or "size" in str(e), e


class Dot(torch.nn.Module):
    def forward(self, x: Tensor):
        return x.dot(torch.ones(3))


class Draws(torch.nn.Module):
    def forward(self, x: Tensor):
        return torch.rand_like(x)


def test_random_scripts_keep_their_order():
    text = """fn @main(%x: f32[3]) {
  %0: f32[3] = torchop(%x, script=@m)
  %1: f32[3] = aten.rand_like(%x)
  %2: f32[3] = torchop(%x, script=@m)
  return %2, %1, %0
}"""
    c = cierge.load(program("draws", text, m=Draws())).context()
    c.seed(5)
    x = torch.zeros(3)
    got = run(c, x)
    torch.manual_seed(5)
    want = [torch.rand_like(x) for _ in range(3)]
    all_close(got, want[::-1])


def test_pure_scripts():
    """Unused ones go; a script is never merged with another call of it."""
    text = "fn @main(%x: f32[3]) {\n" + "".join(f"  %{k}: f32[3] = torchop(%x, script=@m)\n" for k in range(3)) + "  return %0, %1\n}"
    r = cli("compile", text_of(text, "pure", m=Pure()), "-o", SCRATCH / "pure.cierge", "--emit", "ir", check=0)
    assert r.stdout.count("torchop(") == 2, r.stdout


if __name__ == "__main__":
    main(globals())
