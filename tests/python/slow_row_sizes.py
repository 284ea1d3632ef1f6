"""Sizes that do not fit: every native row that takes two tensors or more, each dim of which has a symbol of its own. Where one is not what
the operator needs, the call fails, or gives what PyTorch gives. `python tests/python/slow_row_sizes.py KEY…` tries some rows.

The calls are those of the row test (row_calls.py), in float32. Where a row is native with some fixed sizes alone, its dims have symbols
one after the other."""
import sys

import torch
from row_calls import CALLS, RAISES, WORDS, Call, X, made_from_schema, operator, size
from row_units import FIRST_COMPARED, data, quick_compiler
from common import SCRATCH
from rows import NOT_EMPTY, NOT_TRIED, native_rows

import cierge

N = 4
NO_VALUES = ("empty", "new_empty")


class Unit(Call):
    """A call whose tensors' dims are symbols: all of them, or one alone."""

    def __init__(self, row, call, name, only=None):
        super().__init__(row, call, torch.float32)
        self.call, self.name = call, name
        self.shapes = [[size(d, N) for d in x.shape] for x in self.x]
        self.places = [(k, d) for k, s in enumerate(self.shapes) for d in range(len(s)) if s[d] != 1 and only in (None, (k, d))]
        self.given = self.tensors(self.shapes)
        self.returned = None

    def each(self):
        units = [Unit(self.row, self.call, f"{self.name}_{k}_{d}", (k, d)) for k, d in self.places]
        return [u for u in units if u.fits()]

    def tensors(self, shapes):
        g = torch.Generator().manual_seed(len(self.row))
        return [data(X(*s, dtype=x.dtype, below=x.below, sorted=x.sorted, positive=x.positive), self.dtype, N, "normal", g) for x, s in zip(self.x, shapes)]

    def result(self, given):
        """PyTorch's results, or None where it raises."""
        try:
            out = self.eager([t.clone() for t in given], N)
        except RAISES:
            return None
        return out[:1] if self.row in FIRST_COMPARED else out

    def symbol(self, k, d):
        return f"s_{self.name}_{k}_{d}"

    def parameters(self):
        dims = [[self.symbol(k, d) if (k, d) in self.places else str(n) for d, n in enumerate(s)] for k, s in enumerate(self.shapes)]
        return [f"%{self.name}_{k}: {WORDS[x.dtype or self.dtype]}[{', '.join(dims[k])}]" for k, x in enumerate(self.x)]

    def symbols(self):
        return [f"sym {self.symbol(k, d)} = 0.. hint {self.shapes[k][d]}" for k, d in self.places]

    def lines(self):
        before, args = self.text(lambda k, x, before: f"%{self.name}_{k}", lambda a: str(a.at(N)), f"%{self.name}_m")
        results = ", ".join(f"%{self.name}_r{k}: ?" for k in range(self.all_results))
        return before + [f"  {results} = aten.{self.row}({args})"]

    def fits(self):
        """Whether PyTorch takes it as it is: how many results it has."""
        try:
            self.all_results = len(self.eager([t.clone() for t in self.given], N))
        except RAISES:
            return False
        self.returned = min(self.all_results, 1) if self.row in FIRST_COMPARED else self.all_results
        return bool(self.returned)

    def misfits(self):
        for k, d in self.places:
            n = self.shapes[k][d]
            for other in sorted({n + 1, max(n - 1, 0), 1, 2 * n, 0} - {n, 0 if self.row in NOT_EMPTY else n}):
                shapes = [list(s) for s in self.shapes]
                shapes[k][d] = other
                yield f"tensor {k} of {shapes[k]}, not {self.shapes[k]}", self.tensors(shapes)


def compiled(units):
    """A context, or why there is none: not all of it is native."""
    lines = [s for u in units for s in u.symbols()]
    lines += [f"fn @main({', '.join(p for u in units for p in u.parameters())}) {{"] + [t for u in units for t in u.lines()]
    lines += [f"  return {', '.join(f'%{u.name}_r{k}' for u in units for k in range(u.returned))}", "}"]
    out = SCRATCH / "sizes.cierge"
    try:
        cierge.compile_text("\n".join(lines) + "\n", out, require_native=True, cc=quick_compiler(0))
    except cierge.Error as e:
        return str(e)
    return cierge.load(out).context(threads=1)


def call(context, units, given):
    """Results of each unit, or the error."""
    try:
        out = iter(context.run(*[t for u in units for t in given[u]]))
    except cierge.Error as e:
        return str(e)
    return {u: [torch.from_dlpack(next(out)).clone() for _ in range(u.returned)] for u in units}


def same(got, want):
    return len(got) == len(want) and all(g.shape == w.shape and g.dtype == w.dtype and torch.allclose(g.double(), w.double(), 1e-3, 1e-3, equal_nan=True)
                                         for g, w in zip(got, want))


class Tried:
    def __init__(self):
        self.failures, self.left, self.refused, self.right = [], [], 0, 0  # left: to LibTorch

    def units(self, units):
        if not units:
            return
        context, usual = compiled(units), {u: u.given for u in units}
        whole = context if isinstance(context, str) else call(context, units, usual)
        if isinstance(whole, str) and len(units) > 1:
            self.units(units[:len(units) // 2])
            return self.units(units[len(units) // 2:])
        if isinstance(whole, str):
            (u,) = units
            if context is not whole:
                self.failures.append(f"{u.row} of {u.shapes}, as it should be: {whole}")
            elif len(u.places) > 1:
                self.units(u.each())
            else:
                self.left.append((u, whole))
            return
        for u in units:
            for text, given in u.misfits():
                got = call(context, units, {**usual, u: given})
                if isinstance(got, str):
                    self.refused += 1
                    continue
                want = u.result(given)
                if want is None and not any(t.numel() for t in got[u]):
                    self.right += 1  # nothing, of nothing
                elif want is None:
                    self.failures.append(f"{u.row} of {u.shapes}: {text}: PyTorch raises")
                elif not u.row.startswith(NO_VALUES) and not same(got[u], want):
                    self.failures.append(f"{u.row} of {u.shapes}: {text}: {[list(t.shape) for t in got[u]]}, PyTorch gives {[list(t.shape) for t in want]}")
                else:
                    self.right += 1


def units_of(rows, names):
    for i, row in enumerate(names):
        calls = CALLS.get(row) or made_from_schema(operator(row)._schema, not rows[row] & {"pointwise"}) or []
        for k, c in enumerate(calls):
            u = Unit(row, c, f"u{i}_{k}")
            if u.places and u.fits():
                yield u


def main():
    rows = native_rows()
    names = sys.argv[1:] or [n for i, n in enumerate(sorted(set(rows) - set(NOT_TRIED))) if i % 6 == 0 or "pointwise" not in rows[n]]  # those have one rule
    tried, units = Tried(), list(units_of(rows, names))
    for k in range(0, len(units), 24):
        tried.units(units[k:k + 24])
    for text in tried.failures:
        print(f"FAILED {text}")
    print(f"{len(units)} calls, {tried.right} right, {tried.refused} refused, {len(tried.left)} left to LibTorch")
    print(f"{tried.right + tried.refused} passed, {len(tried.failures)} failed")
    sys.exit(bool(tried.failures))


if __name__ == "__main__":
    main()
