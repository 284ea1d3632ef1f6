"""The measured numbers as a page: tables of results.json, and one plot for each number of threads."""
import pathlib
import statistics

import plot
import start
import stats

OURS = ("cierge", "cierge_torch")
OFF = 4  # an engine's error in units of eager's above which its time is marked
NATIVE = 0.95  # of the time in eager: the least that is not marked
PROCESS = 20e6  # bytes for code, the stack, inputs and outputs


def number(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, r)) + " |" for r in [head, ["---"] * len(head), *rows])


def best_peer(rows):
    """The fastest engine beside cierge whose results are right; None where there is none."""
    peers = [e for e, r in rows.items() if e not in OURS and "ms" in r and r["of_eagers_error"] <= OFF]
    return min(peers, key=lambda e: statistics.median(rows[e]["ms"]), default=None)


def times(models, engines):
    """Medians with spreads, cierge beside the best of the others."""
    lines, gains = [], []
    for name, m in models.items():
        rows, cells = m["rows"], []
        for e in engines:
            r = rows.get(e, {})
            cells.append(f"{number(statistics.median(r['ms']))} ±{100 * stats.spread(r['ms']):.0f} %{' ✗' if r['of_eagers_error'] > OFF else ''}" if "ms" in r else "–" if r else "")
        best = best_peer(rows)
        if best and "ms" in rows.get("cierge", {}):
            gains.append(stats.ratio(rows[best]["ms"], rows["cierge"]["ms"]))
            cells += [best, "**{:.2f}** ({:.2f} … {:.2f})".format(*gains[-1])]
        else:
            cells += [best or "–", "–"]
        lines.append([name, *cells, f"{m['others']:.2f}"])
    text = table(["model", *engines, "best peer", "best peer ÷ cierge", "others"], lines)
    if gains:
        text += (f"\n\nGeometric mean of best peer ÷ cierge: {stats.geometric_mean([g[0] for g in gains]):.2f}, {stats.geometric_mean([min(g[0], 2) for g in gains]):.2f} with none counted "
                 f"above 2. cierge is faster than the best peer, by the whole interval, on {sum(g[1] > 1 for g in gains)} of {len(gains)}; slower on {sum(g[2] < 1 for g in gains)}.")
    return text


def errors(models, engines):
    return table(["model", *engines], [[name, *(f"{r['from_f64']:.0e}, {r['from_eager']:.0e} ({r['of_eagers_error']:.1f})" if "ms" in (r := m["rows"].get(e, {})) else "–" for e in engines)]
                                       for name, m in models.items()])


def at_limits(models, work, limits):
    lines = []
    for name, m in models.items():
        if name not in work:
            continue
        compute, memory = work[name]["flops"] / limits["fma_gflops"] / 1e6, work[name]["bytes"] / limits["read_gb_s"] / 1e6
        least, best = max(compute, memory), best_peer(m["rows"])
        part = lambda e: f"{100 * least / statistics.median(m['rows'][e]['ms']):.0f} %" if e and "ms" in m["rows"].get(e, {}) else "–"
        lines.append([name, f"{work[name]['flops'] / 1e9:.3g}", f"{work[name]['bytes'] / 1e6:.3g}", "multiply-adds" if compute > memory else "memory", number(least), part("cierge"), part(best), best or "–"])
    return table(["model", "GFLOP", "MB", "bound by", "least ms", "cierge", "best peer", "which"], lines)


def native(found):
    """What part of each model's nodes is native, by number and by their time in eager; what is not, the costliest first."""
    lines = []
    for name, m in found.items():
        by = {}
        for _, op, ms in m["left"]:
            by[op] = by.get(op, 0) + ms
        part = m["native_ms"] / m["eager_ms"]
        left = ", ".join(f"{op} {100 * ms / m['eager_ms']:.1f} %" for op, ms in sorted(by.items(), key=lambda x: -x[1])[:5])
        lines.append([name, m["nodes"], m["native"], f"{100 * m['native'] / m['nodes']:.1f} %", f"{100 * part:.1f} %{'' if part >= NATIVE else ' ✗'}", left])
    return table(["model", "nodes", "native", "by number", "by eager time", "stays in LibTorch"], lines)


def starts(found):
    cell = lambda rows, e: number(statistics.median(rows[e]["start_ms"])) if e in rows else "–"
    return table(["model", *start.ENGINES], [[name, *(cell(rows, e) for e in start.ENGINES)] for name, rows in found.items()])


def memory(found):
    """What processes hold, and what cierge's may: its weights, 1.2 times the least that its values need at once, and some for the process."""
    lines = []
    for name, rows in found.items():
        planned = rows.get("planned")
        most = planned and planned["weights"] + 1.2 * planned["bound"] + PROCESS
        cell = lambda e: number(rows[e]["held_kb"] / 1e3) + (" ✗" if most and e in start.C and rows[e]["held_kb"] * 1024 > most else "") if e in rows else "–"
        lines.append([name, *map(cell, start.ENGINES), *(number(x / 1e6) if planned else "–" for x in (planned and (*planned.values(), most) or [0] * 4))])
    return table(["model", *start.ENGINES, "its weights", "its arena", "least arena", "limit"], lines)


def compiling(models, engines):
    shown = [e for e in engines if e != "eager"]
    cell = lambda r: (number(r["compile_s"]) + (f" s, {number(r['bytes'] / 1e6)} MB" if r["bytes"] else " s")) if "ms" in r else "–"
    return table(["model", *shown], [[name, *(cell(m["rows"].get(e, {})) for e in shown)] for name, m in models.items()])


def symbolic(found):
    lines = []
    for name, sizes in found.items():
        for k, r in enumerate(sizes):
            middle, low, high = stats.ratio(r["symbolic"], r["fixed"])
            lines.append([name, " × ".join(map(str, r["size"])), "hint" if not k else "", number(statistics.median(r["fixed"])), number(statistics.median(r["symbolic"])),
                          f"**{middle:.2f}** ({low:.2f} … {high:.2f})"])
    return table(["model", "size", "", "one size, ms", "any size, ms", "any ÷ one"], lines)


def versions_of(r):
    of = {}
    for e in r["engines"]:
        if e in r["versions"]:
            of.setdefault(r["versions"][e], []).append(e)
    return ", ".join(f"{'/'.join(engines)} {v}" for v, engines in of.items())


def load_of(models, threads, cores):
    """A word on what other programs did meanwhile."""
    busy = statistics.median(m["others"] for m in models.values())
    text = f"Meanwhile other programs kept {busy:.1f} cores busy (the median; by model in the last column)"
    return text + (f": with {threads} of {cores} cores asked for, they and the engines were in each other's way, and these times say little." if busy + threads > cores + 0.2 else ".")


def rounds_of(r):
    found = [len(row["ms"]) for t in r["threads"].values() for m in t["models"].values() for row in m["rows"].values() if "ms" in row] or [0]
    return map(str, sorted({min(found), max(found)}))


def commits_of(r):
    """Which of cierge's commits measured what: "abc" or "abc (rounds, native), abd (sizes)"."""
    parts = {}
    for part, commits in r["commits"].items():
        parts.setdefault(", ".join(commits), []).append(part)
    return "; ".join(commits + f" ({', '.join(of)})" * (len(parts) > 1) for commits, of in parts.items())


def text(r):
    cpu, engines = r["cpu"], r["engines"]
    plural = lambda t: f"{t} thread{'s' if int(t) > 1 else ''}"
    out = ["# Results of `make bench`", "Written by `bench/run.py` from `results.json`; [the columns are explained here](../README.md).",
           f"{r['date']}, cierge at commit {commits_of(r)}. {cpu['name']} ({cpu['model']}; {', '.join(cpu['has'])}), {cpu['cores']} cores, {cpu['system']}. "
           f"Batch 1 and f32 unless said otherwise, {' to '.join(rounds_of(r))} interleaved rounds. {versions_of(r)}."]
    most = max(r["threads"], key=int, default=None)
    for t, found in r["threads"].items():
        limits = found["limits"]
        out += [f"## {plural(t)}", f"![time of a call](threads{t}.svg)", "Milliseconds a call:", times(found["models"], engines), load_of(found["models"], int(t), cpu["cores"]),
                f"The machine, {plural(t)}: {limits['fma_gflops']:.0f} GFLOP/s of multiply-adds in registers, {limits['sgemm_gflops']:.0f} by PyTorch's sgemm; memory {limits['read_gb_s']:.1f} GB/s read, "
                f"{limits['copy_gb_s']:.1f} GB/s copied. What part of that is reached:", at_limits(found["models"], r["work"], limits)]
    if most:
        models = r["threads"][most]["models"]
        out += ["## Results", f"Largest difference from float64, from eager, and the former in units of eager's own (✗ above {OFF}), {plural(most)}:", errors(models, engines),
                "## Compiling", "From the module in Python to the first result, and the size of what is kept for later:", compiling(models, engines)]
        failed = {f"{e}, {name}: {row['error']}" for name, m in models.items() for e, row in m["rows"].items() if "error" in row}
        if failed:
            out.append("What did not compile:\n\n" + "\n".join(f"- `{f}`" for f in sorted(failed)))
    if r.get("native"):
        out += ["## Native", f"Of the nodes of the exported graph, without views, those that need no LibTorch (✗ below {100 * NATIVE:.0f} % of the time):", native(r["native"])]
    if r["start"]:
        out += ["## Starting", "From the start of a process to its first result less a warm call, ms:", starts(r["start"]),
                f"The most memory that process holds (VmHWM, mapped files included), MB; ✗: above the limit of weights + 1.2 × the least arena + {PROCESS / 1e6:.0f}:", memory(r["start"])]
    if r["sizes"]:
        out += ["## Sizes nobody tuned for", f"Milliseconds a call, {plural(r['sizes_threads'])}:", times(r["sizes"], [e for e in engines if any(e in m["rows"] for m in r["sizes"].values())]),
                load_of(r["sizes"], int(r["sizes_threads"]), cpu["cores"])]
    if r["dynamic"]:
        out += ["## Symbolic sizes", f"One program for any size, with a hint, against a program for each size, both cierge's, {plural(r['sizes_threads'])}:", symbolic(r["dynamic"])]
    return "\n\n".join(out) + "\n"


def write(r, folder):
    folder = pathlib.Path(folder)
    for t, found in r["threads"].items():
        (folder / f"threads{t}.svg").write_text(plot.svg({name: m["rows"] for name, m in found["models"].items()}, f"{r['cpu']['name']}, {t} thread{'s' if int(t) > 1 else ''}, {r['date']}"))
    (folder / "README.md").write_text(text(r))
