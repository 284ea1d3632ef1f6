"""Architectures of `transformers`, small and with random weights: each is exported, compiled, run, and gives PyTorch's result, natively."""
import json

import torch
import transformers as t

import common
from common import SCRATCH
import cierge

t.logging.set_verbosity_error()
SMALL = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=211, max_position_embeddings=128)
DECODER = dict(SMALL, num_key_value_heads=2, head_dim=16, use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2)
VISION = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, image_size=64, patch_size=16)
STAGES = dict(hidden_sizes=[16, 32], depths=[1, 1])
SPEECH = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, conv_dim=(32, 32), conv_stride=(5, 2), conv_kernel=(10, 3),
              num_feat_extract_layers=2, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
PAIR = dict(d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, vocab_size=211)

ENCODERS = """Bert Roberta Electra Camembert XLMRoberta Ernie MegatronBert RemBert Nystromformer ConvBert MPNet LayoutLM Data2VecText RoFormer MobileBert Deberta
DebertaV2 Albert Splinter IBert NomicBert""".split()
DECODERS = """Llama Mistral Qwen2 Qwen3 Gemma Gemma2 Phi Phi3 StableLm Olmo Olmo2 Cohere Granite Starcoder2 GPTNeoX Falcon Persimmon Nemotron Glm Helium SmolLM3
Ernie4_5 Lfm2 Exaone4 Arcee BitNet Apertus DiffLlama Mamba RecurrentGemma Rwkv Bamba Bloom OPT Mpt XGLM GPTBigCode CTRL OpenAIGPT BioGpt""".split()
IMAGES = {  # model class: what its configuration gets, side of the image
    "ViTForImageClassification": (VISION, 64), "DeiTForImageClassification": (VISION, 64), "BeitForImageClassification": (VISION, 64),
    "Dinov2Model": (dict(VISION, patch_size=14, image_size=56), 56), "SiglipVisionModel": (VISION, 64), "CLIPVisionModel": (VISION, 64),
    "SwinModel": (dict(image_size=64, patch_size=4, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4), 64),
    "Swinv2Model": (dict(image_size=64, patch_size=4, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4), 64),
    "ConvNextModel": (dict(STAGES, num_stages=2), 64), "ConvNextV2Model": (dict(STAGES, num_stages=2), 64), "ResNetModel": (dict(STAGES, embedding_size=16), 64),
    "RegNetModel": (dict(STAGES, embedding_size=16, groups_width=8), 64), "MobileNetV1Model": (dict(depth_multiplier=0.25), 64),
    "MobileNetV2Model": (dict(depth_multiplier=0.35), 64), "MobileViTModel": (dict(image_size=64), 64), "MobileViTV2Model": (dict(image_size=64), 64),
    "BitModel": (dict(STAGES, embedding_size=16, num_groups=4), 64), "PoolFormerModel": (dict(STAGES, num_encoder_blocks=2, patch_sizes=[7, 3], strides=[4, 2], padding=[2, 1]), 64),
    "SegformerForSemanticSegmentation": (dict(STAGES, num_encoder_blocks=2, sr_ratios=[4, 2], patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2],
                                              mlp_ratios=[2, 2], decoder_hidden_size=32), 64),
    "LevitModel": (dict(image_size=64, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 3, 4], depths=[1, 1, 1]), 64),
    "PvtModel": (dict(image_size=64, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]), 64),
    "FocalNetModel": (dict(image_size=64, embed_dim=16, depths=[1, 1]), 64), "YolosForObjectDetection": (dict(VISION, image_size=[64, 64]), 64),
    "SwiftFormerModel": (dict(embed_dims=[16, 16, 32, 32], depths=[1, 1, 1, 1]), 64),
}


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


def ids(n=24, batch=2):
    return torch.randint(3, 200, (batch, n), generator=torch.Generator().manual_seed(0))


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def check(name, make, inputs):
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        want = model(*inputs)
        if want.abs().max() < 1e-20:  # weights so small that nothing is left at the end
            for p in model.parameters():
                if p.dim() > 1:
                    torch.nn.init.kaiming_normal_(p)
            want = model(*inputs)
    report, artifact = SCRATCH / "zoo.json", SCRATCH / "zoo.cierge"
    cierge.compile(common.export(model, inputs, "zoo"), artifact, report=str(report))
    nodes = json.load(open(report))["nodes"]
    got = torch.from_dlpack(cierge.load(artifact).context(threads=2).run(*inputs)[0])
    assert want.abs().max() > 1e-20, f"{name}: nothing is left to compare"
    error = ((got - want).abs().max() / want.abs().max()).item()
    assert error < 2e-5, f"{name}: {error:.1e} of the largest element off"
    assert not nodes["torch"], f"{name}: {nodes['torch']} of {nodes['total']} nodes in LibTorch"


def test_encoders():
    for name in ENCODERS:
        config, model = of(name, "Model")
        check(name, lambda: Picked(model(config(**SMALL))), (ids(),))


def test_decoders():
    for name in DECODERS:
        config = getattr(t, f"{name}Config")
        model = getattr(t, f"{name}ForCausalLM", None) or getattr(t, f"{name}LMHeadModel")
        options = DECODER if name != "Falcon" else SMALL  # its width of heads cannot be given
        check(name, lambda: Picked(model(config(**options))), (ids(),))


def test_images():
    for name, (options, side) in IMAGES.items():
        config = getattr(t, name[: max(name.find(end) for end in ("For", "Model"))] + "Config")
        check(name, lambda: Picked(getattr(t, name)(config(**options))), (random(1, 3, side, side),))


def test_sound():
    for name in ("Wav2Vec2", "Hubert"):
        config, model = of(name, "Model")
        check(name, lambda: Picked(model(config(**SPEECH))), (random(1, 2000),))
    check("HifiGan", lambda: Picked(t.SpeechT5HifiGan(t.SpeechT5HifiGanConfig(model_in_dim=20, upsample_initial_channel=32, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8]))), (random(30, 20),))
    dac = t.DacConfig(encoder_hidden_size=8, downsampling_ratios=[2, 4], decoder_hidden_size=32, upsampling_ratios=[4, 2])
    check("Dac", lambda: Picked(t.DacModel(dac), lambda m, x: m(x).audio_values), (random(1, 1, 512),))


def test_pairs():
    call = lambda m, a, b: m(a, decoder_input_ids=b, use_cache=False).last_hidden_state  # noqa: E731
    check("T5", lambda: Picked(t.T5Model(t.T5Config(d_model=64, d_ff=128, num_layers=2, num_heads=4, d_kv=16, vocab_size=211)), call), (ids(), ids(8)))
    check("Bart", lambda: Picked(t.BartModel(t.BartConfig(**PAIR, max_position_embeddings=64)), call), (ids(), ids(8)))
    whisper = t.WhisperConfig(**PAIR, max_source_positions=50, max_target_positions=32, num_mel_bins=20, pad_token_id=0, decoder_start_token_id=1)
    check("Whisper", lambda: Picked(t.WhisperModel(whisper), call), (random(1, 20, 100), ids(8, 1)))
    clip = t.CLIPConfig(text_config=dict(SMALL), vision_config=dict(VISION), projection_dim=32)
    check("CLIP", lambda: Picked(t.CLIPModel(clip), lambda m, a, b: m(input_ids=a, pixel_values=b).logits_per_image), (ids(8), random(1, 3, 64, 64)))
    check("Transformer", lambda: Picked(torch.nn.Transformer(32, 4, 2, 2, 64, batch_first=True)), (random(2, 9, 32), random(2, 5, 32)))


if __name__ == "__main__":
    common.main(globals())
