"""Architectures of `transformers` with random weights, from BERT and Llama to Mamba, Swin, Whisper and DAC.

As a program it times each of them, medium-sized, beside eager PyTorch in one process and in turn, and compares the results; it writes
a table into bench/results/architectures.md. tests/python/slow_transformers.py compiles the same ones, small.
    architectures.py [--only NAME,NAME] [--threads 1,2] [--rounds N] [--out FILE]"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
import warnings

import torch
import transformers as t

ROOT = pathlib.Path(__file__).resolve().parent.parent
t.logging.set_verbosity_error()

ENCODERS = """Bert Roberta Electra Camembert XLMRoberta Ernie MegatronBert RemBert Nystromformer ConvBert MPNet LayoutLM Data2VecText RoFormer MobileBert Deberta
DebertaV2 Albert Splinter IBert NomicBert""".split()
DECODERS = """Llama Mistral Qwen2 Qwen3 Gemma Gemma2 Phi Phi3 StableLm Olmo Olmo2 Cohere Granite Starcoder2 GPTNeoX Falcon Persimmon Nemotron Glm Helium SmolLM3
Ernie4_5 Lfm2 Exaone4 Arcee BitNet Apertus DiffLlama Mamba RecurrentGemma Rwkv Bamba Bloom OPT Mpt XGLM GPTBigCode CTRL OpenAIGPT BioGpt""".split()


class Picked(torch.nn.Module):
    """The model as a function of tensors that gives one."""
    def __init__(self, model, call=None):
        super().__init__()
        self.model, self.call = model, call or (lambda m, *x: m(*x))

    def forward(self, *x):
        o = self.call(self.model, *x)
        return o if isinstance(o, torch.Tensor) else o[0]


def of(name, kind):
    return getattr(t, f"{name}Config"), getattr(t, f"{name}{kind}")


def ids(n, batch):
    return torch.randint(3, 200, (batch, n), generator=torch.Generator().manual_seed(0))


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Size:
    """What the configurations have in common. small: for tests; else as large as an engine needs to show what it can."""
    def __init__(self, small):
        self.small = small
        width, heads, self.tokens, self.batch = (64, 4, 24, 2) if small else (256, 4, 128, 1)
        layers = dict(hidden_size=width, num_hidden_layers=2, num_attention_heads=heads, intermediate_size=(2 if small else 4) * width)
        self.text = dict(layers, vocab_size=211 if small else 2000, max_position_embeddings=128 if small else 512)
        self.decoder = dict(self.text, num_key_value_heads=2, head_dim=width // heads, use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2)
        self.side = 64 if small else 224
        self.vision = dict(layers, image_size=self.side, patch_size=16)
        self.stages = dict(hidden_sizes=[16, 32], depths=[1, 1]) if small else dict(hidden_sizes=[64, 128], depths=[2, 2])
        self.stem = self.stages["hidden_sizes"][0]
        self.speech = dict(layers, conv_dim=(width // 2, width // 2), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=16,
                           num_conv_pos_embedding_groups=4)
        self.pair = dict(d_model=width, encoder_layers=2, decoder_layers=2, encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=2 * width,
                         decoder_ffn_dim=2 * width, vocab_size=211)
        self.width = width


def encoders(s):
    for name in ENCODERS:
        config, model = of(name, "Model")
        yield name, lambda: Picked(model(config(**s.text))), (ids(s.tokens, s.batch),)


def decoders(s):
    for name in DECODERS:
        config = getattr(t, f"{name}Config")
        model = getattr(t, f"{name}ForCausalLM", None) or getattr(t, f"{name}LMHeadModel")
        options = s.decoder if name != "Falcon" else s.text  # its width of heads cannot be given
        yield name, lambda: Picked(model(config(**options))), (ids(s.tokens, s.batch),)


def images(s):
    side = dict(image_size=s.side)
    swin = dict(side, patch_size=4, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4 if s.small else 7)
    configurations = {
        "ViTForImageClassification": s.vision, "DeiTForImageClassification": s.vision, "BeitForImageClassification": s.vision,
        "Dinov2Model": dict(s.vision, patch_size=14, image_size=s.side // 14 * 14), "SiglipVisionModel": s.vision, "CLIPVisionModel": s.vision,
        "SwinModel": swin, "Swinv2Model": swin, "ConvNextModel": dict(s.stages, num_stages=2), "ConvNextV2Model": dict(s.stages, num_stages=2),
        "ResNetModel": dict(s.stages, embedding_size=s.stem), "RegNetModel": dict(s.stages, embedding_size=s.stem, groups_width=8),
        "MobileNetV1Model": dict(depth_multiplier=0.25), "MobileNetV2Model": dict(depth_multiplier=0.35), "MobileViTModel": side, "MobileViTV2Model": side,
        "BitModel": dict(s.stages, embedding_size=s.stem, num_groups=4), "PoolFormerModel": dict(s.stages, num_encoder_blocks=2, patch_sizes=[7, 3], strides=[4, 2], padding=[2, 1]),
        "SegformerForSemanticSegmentation": dict(s.stages, num_encoder_blocks=2, sr_ratios=[4, 2], patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2],
                                                 mlp_ratios=[2, 2], decoder_hidden_size=32),
        "LevitModel": dict(side, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 3, 4], depths=[1, 1, 1]),
        "PvtModel": dict(side, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]),
        "FocalNetModel": dict(side, embed_dim=16, depths=[1, 1]), "YolosForObjectDetection": dict(s.vision, image_size=[s.side, s.side]),
        "SwiftFormerModel": dict(embed_dims=[16, 16, 32, 32], depths=[1, 1, 1, 1]),
    }
    for name, options in configurations.items():
        config = getattr(t, name[: max(name.find(end) for end in ("For", "Model"))] + "Config")
        side = options["image_size"] if name == "Dinov2Model" else s.side
        yield name, lambda: Picked(getattr(t, name)(config(**options))), (random(1, 3, side, side),)


def sound(s):
    length = 2000 if s.small else 16000
    for name in ("Wav2Vec2", "Hubert"):
        config, model = of(name, "Model")
        yield name, lambda: Picked(model(config(**s.speech))), (random(1, length),)
    vocoder = t.SpeechT5HifiGanConfig(model_in_dim=20, upsample_initial_channel=32 if s.small else 128, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8])
    yield "HifiGan", lambda: Picked(t.SpeechT5HifiGan(vocoder)), (random(30, 20),)
    dac = t.DacConfig(encoder_hidden_size=8, downsampling_ratios=[2, 4], decoder_hidden_size=32, upsampling_ratios=[4, 2])
    yield "Dac", lambda: Picked(t.DacModel(dac), lambda m, x: m(x).audio_values), (random(1, 1, 512 if s.small else 4096),)


def pairs(s):
    call = lambda m, a, b: m(a, decoder_input_ids=b, use_cache=False).last_hidden_state  # noqa: E731
    long, short = ids(s.tokens, s.batch), ids(s.tokens // 3, s.batch)
    width, layers = s.width, dict(num_layers=2, num_heads=4, d_kv=s.width // 4, vocab_size=211)
    yield "T5", lambda: Picked(t.T5Model(t.T5Config(d_model=width, d_ff=2 * width, **layers)), call), (long, short)
    yield "Bart", lambda: Picked(t.BartModel(t.BartConfig(**s.pair, max_position_embeddings=256)), call), (long, short)
    whisper = t.WhisperConfig(**s.pair, max_source_positions=50, max_target_positions=64, num_mel_bins=20, pad_token_id=0, decoder_start_token_id=1)
    yield "Whisper", lambda: Picked(t.WhisperModel(whisper), call), (random(1, 20, 100), ids(s.tokens // 3, 1))
    clip = t.CLIPConfig(text_config=dict(s.text), vision_config=dict(s.vision), projection_dim=32)
    both = lambda m, a, b: m(input_ids=a, pixel_values=b).logits_per_image  # noqa: E731
    yield "CLIP", lambda: Picked(t.CLIPModel(clip), both), (ids(8, 2), random(1, 3, s.side, s.side))
    heads = 4
    yield "Transformer", lambda: Picked(torch.nn.Transformer(width // 2, heads, 2, 2, width, batch_first=True)), (random(2, s.tokens // 2, width // 2), random(2, 5, width // 2))


KINDS = {"encoders": encoders, "decoders": decoders, "images": images, "sound": sound, "pairs": pairs}


def built(make, inputs):
    """The model and its result, which is not nothing."""
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        want = model(*inputs)
        if want.abs().max() < 1e-20:  # weights so small that nothing is left at the end
            for p in model.parameters():
                if p.dim() > 1:
                    torch.nn.init.kaiming_normal_(p)
            want = model(*inputs)
    return model, want


# ---------------------------------------------------------------- timing


def interleaved(rounds, *calls):
    """Milliseconds of each call, a list of rounds."""
    times = [[] for _ in calls]
    for r in range(rounds):
        for k, call in list(enumerate(calls))[:: 1 if r % 2 else -1]:
            call()
            n, start = 0, time.perf_counter()
            while n < 2 or time.perf_counter() - start < 0.03:
                call()
                n += 1
            times[k].append((time.perf_counter() - start) / n * 1e3)
    return times


def measured(cierge, make, inputs, threads, rounds, folder):
    model, want = built(make, inputs)
    with torch.no_grad():
        torch.export.save(torch.export.export(model, inputs, strict=False), folder / "model.pt2")
        start = time.perf_counter()
        cierge.compile(folder / "model.pt2", output=folder / "model.cierge", report=str(folder / "report.json"))
        row = {"compile": time.perf_counter() - start, "nodes": json.loads((folder / "report.json").read_text())["nodes"], "threads": {}}
        program = cierge.load(folder / "model.cierge")
        for n in threads:
            torch.set_num_threads(n)
            context = program.context(threads=n)
            got = torch.from_dlpack(context.run(*inputs)[0])
            row["error"] = ((got - want).abs().max() / want.abs().max()).item()
            row["threads"][n] = interleaved(rounds, lambda: model(*inputs), context.call)
    return row


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="")
    p.add_argument("--threads", default="2,1")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--out", default=str(ROOT / "bench/results/architectures.md"))
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    os.environ.setdefault("CIERGE_LIB_DIR", str(ROOT / "build"))
    sys.path.insert(0, str(ROOT / "python"))
    import cierge

    import limits
    import stats
    threads, only = [int(n) for n in a.threads.split(",")], set(filter(None, a.only.split(",")))
    head = ["model", "nodes", "in LibTorch", "compile, s", *[f"{c}, {n} thread{'s' * (n > 1)}" for n in threads for c in ("eager, ms", "eager ÷ cierge")], "largest difference"]
    lines, ratios = [" | ".join(head), " | ".join(["---"] * len(head))], {n: [] for n in threads}
    for kind in KINDS.values():
        for name, make, inputs in kind(Size(False)):
            if only and name not in only:
                continue
            with tempfile.TemporaryDirectory() as folder:
                r = measured(cierge, make, inputs, threads, a.rounds, pathlib.Path(folder))
            cells = [name, str(r["nodes"]["total"]), str(r["nodes"]["torch"]), f"{r['compile']:.1f}"]
            for n in threads:
                middle, low, high = stats.ratio(*r["threads"][n])
                ratios[n].append(middle)
                cells += [f"{statistics.median(r['threads'][n][0]):.3g}", f"{middle:.2f} [{low:.2f}, {high:.2f}]"]
            lines.append(" | ".join([*cells, f"{r['error']:.1e}"]))
            print(lines[-1], flush=True)
    said = [f"{n} thread{'s' * (n > 1)}: geometric mean {stats.geometric_mean(v):.2f}, least {min(v):.2f}, over {len(v)} models" for n, v in ratios.items()]
    cpu = limits.cpu()
    text = ["# Architectures of transformers beside eager PyTorch", "", f"`bench/architectures.py` on {cpu['cores']} cores, {cpu['name']} ({', '.join(cpu['has'])}): medium-sized, "
            "random weights, one process, in turn. Time of eager PyTorch ÷ cierge's: the median of the rounds' ratios and its 95 % interval. The difference is in units of "
            "the largest element.", "",
            *[f"- {s}" for s in said], "", *[f"| {line} |" for line in lines], ""]
    pathlib.Path(a.out).write_text("\n".join(text))
    print("\n".join(said))


if __name__ == "__main__":
    main()
