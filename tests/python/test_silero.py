"""silero-vad as it is published: a TorchScript program with branches, dictionaries and state, fed with audio piece by piece."""
import importlib.util
import pathlib

import torch
from common import SCRATCH, cli, main

import cierge

MODEL = pathlib.Path(importlib.util.find_spec("silero_vad").submodule_search_locations[0]) / "data" / "silero_vad.jit"


def audio(rate, pieces):
    """Tones that come and go, in noise."""
    n = 512 if rate == 16000 else 256
    t = torch.arange(n * pieces) / rate
    tones = sum(torch.sin(2 * torch.pi * f * t) for f in (140, 280, 420, 700)) * (torch.sin(t * 9) > 0) * 0.15
    return (tones + torch.randn(n * pieces) * 0.02).split(n)


def compile_for(rate):
    out = SCRATCH / f"silero-{rate}.cierge"
    n = 512 if rate == 16000 else 256
    cli("compile", MODEL, "-o", out, "--input", f"x=f32[1, {n}]", "--input", f"sr={rate}", "--require-native", check=0)
    return cierge.load(out)


def test_streams():
    torch.manual_seed(0)
    judge = torch.jit.load(str(MODEL)).eval()
    for rate in (16000, 8000):
        program = compile_for(rate)
        context, other = program.context(threads=1), program.context(threads=1)
        for _ in range(2):  # the second stream begins as the first one did
            judge.reset_states()
            context.reset()
            seen = []
            for piece in audio(rate, 24):
                x = piece.reshape(1, -1)
                with torch.no_grad():
                    want = judge(x, rate)
                got = torch.from_dlpack(context.run(x)[0])
                torch.testing.assert_close(got, want)
                torch.from_dlpack(other.run(torch.zeros_like(x))[0])  # another stream beside it changes nothing
                seen.append(float(want))
            assert max(seen) - min(seen) > 0.01, seen  # the state is of consequence


def test_wrong_pieces_are_refused():
    r = cli("compile", MODEL, "-o", SCRATCH / "none.cierge", "--input", "x=f32[1, 600]", "--input", "sr=16000", check=3)
    assert "Provided number of samples is 600" in r.stderr, r.stderr
    r = cli("compile", MODEL, "-o", SCRATCH / "none.cierge", "--input", "x=f32[1, 512]", "--input", "sr=11025")
    assert r.returncode == 3, r.stderr


def test_what_only_the_call_tells_is_named():
    r = cli("compile", MODEL, "-o", SCRATCH / "none.cierge", "--input", "x=f32[1, 512]", "--input", "sr=int", check=3)
    assert "any number is taken for sr here" in r.stderr, r.stderr
    r = cli("explain", MODEL, "--input", "x=f32[s0, 512]", "--input", "sr=16000", check=0)
    assert "the attribute _last_batch_size changes its kind" in r.stdout and "no native kernel for torchop" not in r.stdout, r.stdout


if __name__ == "__main__":
    main(globals())
