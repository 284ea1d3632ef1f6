"""Compiling takes time and memory in proportion to the program, whatever its shape: four times the nodes, less than six times of both.
Beside the mapped model it holds one form of the weights."""
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[2] / "bench")]
import compile_time
from common import SCRATCH, main

FEW, MANY = 1500, 6000


def ratios(shape):
    """Of the processor's time and of memory; the least of some tries: a machine that does something else only adds to it."""
    few, many = (compile_time.write(shape, n, SCRATCH) for n in (FEW, MANY))
    least = {}
    for _ in range(12):
        for n, model in (FEW, few), (MANY, many):
            r = compile_time.measured(model, SCRATCH, compile_time.stub(SCRATCH))
            least[n] = min(least.get(n, (9e9, 9e9))[0], r["user"]), min(least.get(n, (9e9, 9e9))[1], r["mb"])
        time, memory = least[MANY][0] / least[FEW][0], least[MANY][1] / least[FEW][1]
        if time < 6 and memory < 6:
            break
    return time, memory


def test_growth():
    for shape in compile_time.SHAPES:
        time, memory = ratios(shape)
        assert time < 6 and memory < 6, f"{shape}: {MANY // FEW} times the nodes take {time:.1f} times the time and {memory:.1f} times the memory"


def weights(n, size):
    """n products with weights of their own; megabytes of them."""
    lines = [f"param @w{i}: f32[{size}, {size}]" for i in range(n)] + [f"fn @main(%x: f32[4, {size}]) -> f32[4, {size}] {{"]
    lines += [f"  %{i}: f32[4, {size}] = aten.linear({f'%{i - 1}' if i else '%x'}, @w{i})" for i in range(n)]
    return compile_time.save(SCRATCH / f"weights{n}.cir", [*lines, f"  return %{n - 1}", "}"]), n * size * size * 4 / 2**20


def test_weights_are_held_once():
    (few, _), (many, mb) = weights(1, 16), weights(8, 2048)
    without, held = (compile_time.measured(m, SCRATCH, compile_time.stub(SCRATCH))["mb"] for m in (few, many))
    assert held - without < 2.3 * mb, f"compiling {mb:.0f} MB of weights holds {held - without:.0f} MB, those of the mapped model among them"


def test_weights_read_often_are_packed_once():
    n, size = 16, 1024
    lines = [f"param @w: f32[{size}, {size}]", f"fn @main(%x: f32[4, {size}]) -> f32[4, {size}] {{"]
    lines += [f"  %{i}: f32[4, {size}] = aten.linear({f'%{i - 1}' if i else '%x'}, @w)" for i in range(n)]
    model = compile_time.save(SCRATCH / "often.cir", [*lines, f"  return %{n - 1}", "}"])
    (few, _), mb = weights(1, 16), size * size * 4 / 2**20
    without, held = (compile_time.measured(m, SCRATCH, compile_time.stub(SCRATCH))["mb"] for m in (few, model))
    kept = (SCRATCH / "out.cierge").stat().st_size / 2**20
    assert kept < 1.1 * mb and held - without < 4 * mb, f"{n} products of {mb:.0f} MB of weights: {kept:.0f} MB in the artifact, {held - without:.0f} MB held"


if __name__ == "__main__":
    main(globals())
