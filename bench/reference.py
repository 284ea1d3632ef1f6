"""What must come out of a model, what goes in, and how much work it is: in a process of its own, once a model.

    reference.py MODEL FOLDER
writes eager's results (f32.npz), the same in float64 (f64.npz) and the inputs as raw arrays (input_0.bin, …; inputs.json says what they
are), and prints the work as JSON: {"flops", "bytes"}. Floating point operations are those of products, convolutions and attention as
torch.utils.flop_counter counts them; bytes are the least that must move: weights once (of embeddings the rows looked up), inputs, outputs."""
import json
import pathlib
import sys

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import models


def work(model, inputs):
    rows = []
    tables = [m for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
    hooks = [m.register_forward_pre_hook(lambda m, a: rows.append(a[0].numel() * m.weight.shape[1] * m.weight.element_size())) for m in tables]
    # Plain formulas: what oneDNN's LSTM and the CPU's own attention kernel do, the counter does not know.
    with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        results = model(*inputs)
    for h in hooks:
        h.remove()
    looked_up = {m.weight.data_ptr() for m in tables}
    tied = {p.data_ptr() for m in model.modules() if m not in tables for p in m.parameters(recurse=False)}
    whole = {t.data_ptr(): t.nbytes for t in [*model.parameters(), *model.buffers()] if t.data_ptr() in tied or t.data_ptr() not in looked_up}
    moved = sum(whole.values()) + sum(rows) + sum(t.nbytes for t in [*inputs, *tree_leaves(results)])
    return results, {"flops": counter.get_total_flops(), "bytes": moved}


def main(name, folder):
    torch.set_grad_enabled(False)
    folder = pathlib.Path(folder)
    model, inputs = models.build(name)
    for i, x in enumerate(inputs):
        x.numpy().tofile(folder / f"input_{i}.bin")
    (folder / "inputs.json").write_text(json.dumps([[str(x.numpy().dtype), list(x.shape)] for x in inputs]))
    save = lambda file, results: np.savez(folder / file, *[t.numpy() for t in tree_leaves(results)])
    _, found = work(model, inputs)
    save("f32.npz", model(*inputs))
    model = model.double()
    save("f64.npz", model(*[t.double() if t.is_floating_point() else t for t in inputs]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
