"""Tiny random GPT-2 models with a picture in front of the text, and what transformers' parts compute for them.

    python test/reference/make_gpt2_multimodal_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE (docs/guide/gpt2-multimodal.md describes the layout); parity.py says what the reference
holds, and image placeholders are -200. Needs torch and transformers.
"""

import json
import sys

import parity
import torch
import seeded
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel, Blip2VisionConfig, Blip2VisionModel, CLIPVisionConfig, CLIPVisionModel, GPT2Config, GPT2LMHeadModel

PLACEHOLDER = -200


def gpt2(**changes):
    return GPT2Config(**{**dict(n_embd=32, n_layer=2, n_head=4, vocab_size=83, n_positions=97, bos_token_id=1, eos_token_id=2, pad_token_id=0), **changes})


class WithClip(nn.Module):
    """A CLIP layer's rows without the class token, two products with GELU between."""

    def __init__(self):
        super().__init__()
        self.config = gpt2()
        self.vision = CLIPVisionConfig(hidden_size=28, intermediate_size=36, num_hidden_layers=3, num_attention_heads=4, image_size=23, patch_size=7, projection_dim=8)
        self.llm, self.tower = GPT2LMHeadModel(self.config), CLIPVisionModel(self.vision)
        self.linear_1, self.linear_2 = nn.Linear(28, 32), nn.Linear(32, 32)

    def features(self, pixels):
        seen = self.tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        return self.linear_2(nn.functional.gelu(self.linear_1(seen)))

    def tensors(self):
        tower = {k.removeprefix("vision_model."): v for k, v in self.tower.state_dict().items()}
        return {f"vision_tower.vision_model.{k}": v for k, v in tower.items()}

    def keys(self):
        return {"vision_config": self.vision.to_dict(), "mm_projector_type": "mlp2x_gelu", "vision_feature_layer": -2, "vision_feature_select_strategy": "default"}


class WithQueries(nn.Module):
    """BLIP-2's tower and Q-Former, one product."""

    def __init__(self):
        super().__init__()
        self.config = gpt2(n_embd=30, n_head=3, activation_function="gelu", n_inner=41)
        self.vision = Blip2VisionConfig(hidden_size=24, intermediate_size=34, num_hidden_layers=2, num_attention_heads=3, image_size=20, patch_size=6)
        self.queries = Blip2QFormerConfig(hidden_size=20, num_hidden_layers=3, num_attention_heads=2, intermediate_size=26, vocab_size=9, encoder_hidden_size=24)
        self.llm, self.tower, self.qformer = GPT2LMHeadModel(self.config), Blip2VisionModel(self.vision), Blip2QFormerModel(self.queries)
        self.query_tokens, self.linear_1 = nn.Parameter(torch.zeros(1, 5, 20)), nn.Linear(20, 30)

    def features(self, pixels):
        seen = self.tower(pixel_values=pixels).last_hidden_state
        return self.linear_1(self.qformer(query_embeds=self.query_tokens.expand(len(pixels), -1, -1), encoder_hidden_states=seen).last_hidden_state)

    def tensors(self):
        return {**{f"vision_model.{k}": v for k, v in self.tower.state_dict().items()}, **{f"qformer.{k}": v for k, v in self.qformer.state_dict().items()},
                "query_tokens": self.query_tokens.data}

    def keys(self):
        return {"vision_config": self.vision.to_dict(), "qformer_config": self.queries.to_dict(), "num_query_tokens": 5, "mm_projector_type": "linear"}


CASES = {"gpt2mm_clip": WithClip, "gpt2mm_queries": WithQueries}


@torch.no_grad()
def answer(model, ids, mask, pixels):
    embeds = model.llm.get_input_embeddings()(ids.clamp(min=0))
    embeds[ids == PLACEHOLDER] = model.features(pixels).flatten(0, 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model.llm(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).logits[:, -1]
    tokens = model.llm.generate(inputs_embeds=embeds, attention_mask=mask, do_sample=False, max_new_tokens=parity.NEW_TOKENS, min_new_tokens=parity.NEW_TOKENS)
    return logits, tokens[:, -parity.NEW_TOKENS:]


def make(name, build):
    torch.manual_seed(sum(name.encode()))
    model = build().float().eval()
    parity.randomise(model)
    model.llm.tie_weights()
    save(parity.OUT / name, model.half())
    seeded.reseed_alike(parity.OUT / name, sum(name.encode()))
    tensors = stored(model.float())
    for key, value in load_file(parity.OUT / name / "model.safetensors").items():
        tensors[key].copy_(value)
    parity.plain_generation(model.llm)
    size = model.vision.image_size
    pixels = torch.randn(3, 3, size, size)
    with torch.no_grad():
        visual = model.features(pixels)
    out = {"pixel_values": pixels, "visual": visual}
    halves = {str(dtype).split(".")[1]: parity.rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag, lengths in (("b1", parity.LENGTHS[:1]), ("b3", parity.LENGTHS)):
        ids, mask = parity.prompts(model.config.vocab_size, lengths, image_token=PLACEHOLDER, features=visual.shape[1], front=True)
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        out[f"{tag}.logits"], tokens = answer(model, ids, mask, pixels[: len(lengths)])
        out[f"{tag}.tokens"] = tokens.int()
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = answer(half, ids, mask, pixels[: len(lengths)])[0]
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())))
    parity.write_reference(parity.OUT / name, out)


def stored(model):
    """The model's own tensors by their names in the file."""
    # lm_head is the word table, and transformers stores one of the two.
    language = {f"language_model.{k}": v for k, v in model.llm.state_dict().items() if k != "lm_head.weight"}
    between = {f"multi_modal_projector.{k}": v for k, v in model.state_dict().items() if k.startswith("linear_")}
    return {**language, **between, **model.tensors()}


def save(folder, model):
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in stored(model).items()}, folder / "model.safetensors", {"format": "pt"})
    config = {"architectures": ["GPT2MultimodalForConditionalGeneration"], "model_type": "gpt2_multimodal", "torch_dtype": "float16", "text_config": model.config.to_dict(), **model.keys()}
    (folder / "config.json").write_text(json.dumps(config, indent=2))


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])
