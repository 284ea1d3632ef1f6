"""The main job, end to end: a real PyTorch model becomes one file that a C program runs.

Exports the sentence encoder, compiles it, embeds sentences from a C program without LibTorch, compares with PyTorch and
times both in turn in one process.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
sys.path.insert(0, str(ROOT / "python"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

import cierge  # noqa: E402
import model as minilm  # noqa: E402

SENTENCES = [
    "A man is playing a guitar on stage.",
    "Someone performs music with a guitar.",
    "The stock market fell sharply on Monday.",
    "Shares dropped as investors sold.",
    "A cat sleeps on the warm windowsill.",
]


def latency(program, encoder, batch, length, threads, rounds=30):
    """Median milliseconds of (cierge, eager), interleaved."""
    ids = torch.randint(0, 30000, (batch, length))
    mask = torch.ones_like(ids)
    context = program.context(threads)
    context.set_input(0, ids)
    context.set_input(1, mask)
    mine, theirs = [], []
    with torch.no_grad():
        for i in range(rounds + 5):
            a = time.perf_counter()
            context.call()
            b = time.perf_counter()
            encoder(ids, mask)
            c = time.perf_counter()
            if i >= 5:
                mine.append(b - a), theirs.append(c - b)
    return statistics.median(mine) * 1e3, statistics.median(theirs) * 1e3


def measured(pt2, work):
    """Where the time of a call goes, batch 8 of 128 tokens: the report of `cierge explain --measure`."""
    ids = np.random.default_rng(0).integers(0, 30000, (8, 128))
    np.savez(work / "inputs.npz", input_0=ids, input_1=np.ones_like(ids))
    command = [BUILD / "cierge", "explain", pt2, "--measure", "--inputs", work / "inputs.npz", "--json"]
    return json.loads(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)["measured"]


def main():
    work = BUILD / "minilm"
    work.mkdir(parents=True, exist_ok=True)
    pt2, artifact, report = work / "minilm.pt2", work / "minilm.cierge", work / "report.json"
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)

    print("1. export   all-MiniLM-L6-v2 with torch.export, any batch and length")
    encoder = minilm.load()
    minilm.export(encoder, pt2)
    print("2. compile  cierge compile minilm.pt2 -o minilm.cierge")
    start = time.perf_counter()
    subprocess.run([BUILD / "cierge", "compile", pt2, "-o", artifact, "--report", report], check=True)
    compile_s = time.perf_counter() - start

    print("3. run      a C program embeds sentences, with no LibTorch to be found\n")
    tokens = minilm.tokenizer()(SENTENCES)["input_ids"]
    (work / "tokens.txt").write_text("\n".join(" ".join(map(str, t)) for t in tokens) + "\n")
    command = [BUILD / "examples" / "embed", artifact, work / "tokens.txt", work / "embeddings.f32"]
    out = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, env={**os.environ, "CIERGE_LIBTORCH": "none"}).stdout
    *rows, times = out.strip().splitlines()
    for row, sentence in zip(rows, SENTENCES):
        print(f"  {row}   {sentence}")

    got = torch.from_numpy(np.fromfile(work / "embeddings.f32", dtype=np.float32).reshape(len(SENTENCES), -1))
    with torch.no_grad():
        want = torch.cat([encoder(torch.tensor([t]), torch.ones(1, len(t), dtype=torch.int64)) for t in tokens])
    difference = float((got - want).abs().max())

    nodes = json.loads(report.read_text())
    n, regions = nodes["nodes"], [r["backend"] for r in nodes["regions"]]
    program = cierge.load(artifact)
    print("\nsummary")
    print(f"  nodes        {n['native'] + n['folded'] + n['host']} of {n['total']} native ({n['folded']} of them folded away at compile time), {n['torch']} left in LibTorch")
    m = measured(pt2, work)
    share = [f"{100 * m[k] / m['call_us']:.1f} %" for k in ("native_us", "torch_us", "host_us")]
    print(f"  regions      {regions.count('c')} native, {regions.count('torch')} in LibTorch")
    print(f"  time         {share[0]} native, {share[1]} in LibTorch, {share[2]} the host and the call (measured, batch 8, 128 tokens)")
    print(f"  difference   {difference:.2g} at most from PyTorch (each sentence alone, unpadded)")
    for batch, length in ((1, 16), (1, 128), (8, 16), (8, 128)):
        mine, eager = latency(program, encoder, batch, length, threads)
        print(f"  latency      batch {batch}, {length:3} tokens: {mine:7.2f} ms, eager PyTorch {eager:7.2f} ms: {mine / eager:.2f} of its time ({threads} threads)")
    print(f"  file         {artifact.stat().st_size / 1e6:.1f} MB, compiled in {compile_s:.1f} s")
    print(f"  start        {times}")
    if difference > 1e-4:
        sys.exit("the embeddings differ from PyTorch's")


if __name__ == "__main__":
    main()
