"""One-token steps of a Llama of SmolLM2's shape over static caches (`transformers`, random weights), short and long, in one process and in turn.
What a step takes should follow what is in the cache, not how long it is.
    cache.py [--capacities 128,4096] [--filled 100] [--layers 4] [--threads 2] [--rounds 31] [--precision int4-weight] [--out FILE]"""
import argparse
import pathlib
import statistics
import sys
import tempfile
import time
import warnings

import torch
import transformers as t
from transformers.integrations.executorch import TorchExportableModuleWithStaticCache

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
t.logging.set_verbosity_error()


def step(capacity, layers):
    """The module that takes one token and its place."""
    torch.manual_seed(0)
    config = t.LlamaConfig(hidden_size=576, num_hidden_layers=layers, num_attention_heads=9, num_key_value_heads=3, head_dim=64, intermediate_size=1536, vocab_size=1000,
                           max_position_embeddings=max(capacity, 128), use_cache=True, tie_word_embeddings=True)
    model = t.LlamaForCausalLM(config).eval()
    model.generation_config = t.GenerationConfig(use_cache=True, cache_implementation="static",
                                                 cache_config={"batch_size": 1, "max_cache_len": capacity, "device": "cpu"})
    return TorchExportableModuleWithStaticCache(model, batch_size=1, max_cache_len=capacity)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--capacities", default="128,4096")
    p.add_argument("--filled", type=int, default=100)
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=31)
    p.add_argument("--precision", default="int4-weight")
    p.add_argument("--out")
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    import cierge

    import stats
    capacities, contexts, token = [int(n) for n in a.capacities.split(",")], {}, torch.tensor([[5]])
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for n in capacities:
            path, artifact = pathlib.Path(folder) / "step.pt2", pathlib.Path(folder) / f"{n}.cierge"
            torch.export.save(torch.export.export(step(n, a.layers), (token,), {"cache_position": torch.tensor([3])}, strict=False), path)
            cierge.compile(path, output=artifact, precision=a.precision, require_native=True)
            contexts[n] = cierge.load(artifact).context(threads=a.threads)
            for i in range(a.filled + 1):
                contexts[n].run(token, torch.tensor([i]))
    times = {n: [] for n in capacities}
    for r in range(a.rounds):
        for n in capacities[:: 1 if r % 2 else -1]:
            start = time.perf_counter()
            for _ in range(4):
                contexts[n].call()
            times[n].append((time.perf_counter() - start) / 4 * 1e3)
    lines = ["| places | step, ms | ÷ the shortest |", "|---|---|---|"]
    for n in capacities:
        middle, low, high = stats.ratio(times[n], times[capacities[0]])
        lines.append(f"| {n} | {statistics.median(times[n]):.3f} | {middle:.2f} [{low:.2f}, {high:.2f}] |")
    text = "\n".join([f"{a.layers} layers, {a.filled} places filled, {a.threads} threads, {a.precision}:", "", *lines, ""])
    print(text)
    if a.out:
        pathlib.Path(a.out).write_text(text)


if __name__ == "__main__":
    main()
