"""Compiling takes time and memory in proportion to the program, whatever its shape: four times the nodes, less than six times of both."""
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


if __name__ == "__main__":
    main(globals())
