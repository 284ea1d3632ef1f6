"""The sentence encoder: fully native in both dialects, padded batches give the unpadded embeddings, and no call slower
than eager PyTorch's (medians of interleaved rounds; the limit is met if the lower 95 % bound of the ratio meets it)."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))
import common  # noqa: E402
import torch  # noqa: E402
import model as minilm  # noqa: E402

import cierge  # noqa: E402

torch.set_num_threads(2)
encoder = minilm.load()
artifacts = {}
for functional in (False, True):
    path = common.SCRATCH / f"minilm{functional}.pt2"
    minilm.export(encoder, path, functional)
    artifacts[functional] = common.compile(path, "--require-native", env={"CIERGE_LIBTORCH": "none"})[0]


def test_padded_batch_gives_the_unpadded_embeddings():
    sentences = ["A man is playing a guitar.", "Shares fell.", "The weather is lovely today, is it not?"]
    tokens = minilm.tokenizer()(sentences)["input_ids"]
    longest = max(map(len, tokens))
    ids = torch.tensor([t + [0] * (longest - len(t)) for t in tokens])
    mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in tokens])
    with torch.no_grad():
        want = torch.cat([encoder(torch.tensor([t]), torch.ones(1, len(t), dtype=torch.int64)) for t in tokens])
    for artifact in artifacts.values():
        got = common.run_native(artifact, input_ids=ids.numpy(), attention_mask=mask.numpy())["output_0"]
        torch.testing.assert_close(torch.as_tensor(got), want, atol=2e-6, rtol=1e-4)


def ratio(context, batch, length, rounds=41):
    ids = torch.randint(0, 30000, (batch, length))
    mask = torch.ones_like(ids)
    context.set_input(0, ids)
    context.set_input(1, mask)
    out = []
    with torch.no_grad():
        for i in range(rounds + 4):
            a = time.perf_counter()
            context.call()
            b = time.perf_counter()
            want = encoder(ids, mask)
            c = time.perf_counter()
            if i >= 4:
                out.append((b - a) / (c - b))
    common.close(torch.from_dlpack(context.output(0)), want)
    out.sort()
    low = int(rounds / 2 - 0.98 * rounds ** 0.5)
    return out[low], out[rounds // 2]


def test_not_slower_than_eager():
    for functional, artifact in artifacts.items():
        context = cierge.load(artifact).context(2)
        for batch, length in ((1, 16), (1, 128), (8, 16), (8, 128)):
            def slower():
                low, median = ratio(context, batch, length)
                print(f"{'functional' if functional else 'training'} dialect, batch {batch}, length {length}: {median:.2f} of eager's time (lower bound {low:.2f})")
                return low > 1.0 and (batch, length, low, median)
            common.holds(slower)


if __name__ == "__main__":
    common.main(globals())
