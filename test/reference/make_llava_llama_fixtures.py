"""Tiny random VILA and original-layout LLaVA models and what transformers' parts compute for them.

    python test/reference/make_llava_llama_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE; parity.py says what is in there, and image placeholders are -200. VILA: config.json with
llm/, vision_tower/, mm_projector/. LLaVA: config.json and model.safetensors, with the tower in clip/, which mm_vision_tower
names. Needs torch and transformers. The language models and towers are transformers' own; what lies between them is
written out here, since neither project's code is at hand.
"""

import json
import sys

import parity
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

PLACEHOLDER = -200
IMAGES = {"b1": (1,), "b3": (2, 1, 3)}


def text(**changes):
    base = dict(hidden_size=32, intermediate_size=42, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=79,
                max_position_embeddings=256, rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return LlamaConfig(**{**base, **changes})


def clip(**changes):
    return CLIPVisionConfig(**{**dict(hidden_size=28, intermediate_size=38, num_hidden_layers=3, num_attention_heads=4, image_size=20, patch_size=5, projection_dim=12), **changes})


def siglip(**changes):
    return SiglipVisionConfig(**{**dict(hidden_size=24, intermediate_size=38, num_hidden_layers=3, num_attention_heads=3, image_size=25, patch_size=5), **changes})


class Fold(nn.Module):
    """VILA's downsampling of a square grid: rows and columns filled up with zeros to even numbers, then every 2 x 2 patches
    become one row. Its code folds the second axis of the grid, swaps the axes, folds again and does not swap back, so rows
    come out column by column."""

    def forward(self, x):
        batch, rows, width = x.shape
        side = int(rows**0.5)
        grid = nn.functional.pad(x.view(batch, side, side, width), (0, 0, 0, side % 2, 0, side % 2))
        half = grid.shape[1] // 2
        out = torch.empty(batch, half * half, 4 * width)
        for column in range(half):
            for line in range(half):
                four = [grid[:, 2 * line + a, 2 * column + b] for a in (0, 1) for b in (0, 1)]
                out[:, column * half + line] = torch.cat(four, dim=-1)
        return out


def projector(kind, vision, hidden):
    width = vision.hidden_size
    if kind == "linear":
        return nn.Linear(width, hidden)
    if kind == "mlp_downsample":
        return nn.Sequential(Fold(), nn.LayerNorm(4 * width), nn.Linear(4 * width, hidden), nn.GELU(), nn.Linear(hidden, hidden))
    layers = [nn.Linear(width, hidden)]
    for _ in range(int(kind[3]) - 1):
        layers += [nn.GELU(), nn.Linear(hidden, hidden)]
    return nn.Sequential(*layers)


class Model(nn.Module):
    def __init__(self, llm, vision, kind, feature, layer):
        super().__init__()
        self.llm = LlamaForCausalLM(llm)
        self.tower = (CLIPVisionModel if isinstance(vision, CLIPVisionConfig) else SiglipVisionModel)(vision)
        self.between = projector(kind, vision, llm.hidden_size)
        self.feature, self.layer, self.config = feature, layer, llm

    def features(self, pixels):
        seen = self.tower(pixel_values=pixels, output_hidden_states=True).hidden_states[self.layer]
        return self.between(seen[:, 1:] if self.feature == "patch" else seen)

    def embeds(self, ids, pixels):
        out = self.llm.get_input_embeddings()(ids.clamp(min=0))
        out[ids == PLACEHOLDER] = self.features(pixels).flatten(0, 1)
        return out


CASES = {
    "vila_linear": dict(llm=text(), vision=clip(), kind="linear", feature="patch", layer=-2),
    "vila_downsample": dict(llm=text(num_key_value_heads=4, tie_word_embeddings=True), vision=siglip(), kind="mlp_downsample", feature="cls_patch", layer=-2),
    "vila_mlp": dict(llm=text(hidden_size=24, vocab_size=67), vision=clip(image_size=24, patch_size=6), kind="mlp3x_gelu", feature="cls_patch", layer=-1),
    "llava_original": dict(llm=text(), vision=clip(hidden_act="gelu"), kind="mlp2x_gelu", feature="patch", layer=-2),
    "llava_original_linear": dict(llm=text(num_attention_heads=2, num_key_value_heads=1), vision=clip(num_hidden_layers=4), kind="linear", feature="patch", layer=-3),
}


def prompts(vocab, images, rows):
    lines = []
    for length, count in zip(parity.LENGTHS, images):
        words = torch.randint(3, vocab - 1, (length,)).tolist()
        line = words[:2]
        for _ in range(count):
            line += [PLACEHOLDER] * rows + words[2:3]
        lines.append(line + words[3:])
    width = max(map(len, lines))
    ids = torch.tensor([[0] * (width - len(line)) + line for line in lines])
    mask = torch.tensor([[0] * (width - len(line)) + [1] * len(line) for line in lines])
    return ids, mask


@torch.no_grad()
def answer(model, ids, mask, pixels):
    embeds = model.embeds(ids, pixels)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model.llm(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).logits[:, -1]
    tokens = model.llm.generate(inputs_embeds=embeds, attention_mask=mask, do_sample=False, max_new_tokens=parity.NEW_TOKENS, min_new_tokens=parity.NEW_TOKENS)
    return logits, tokens[:, -parity.NEW_TOKENS:]


def record(model, pixels, rows):
    out = {}
    halves = {str(dtype).split(".")[1]: parity.rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag, images in IMAGES.items():
        ids, mask = prompts(model.config.vocab_size, images, rows)
        seen = pixels[: sum(images)]
        out[f"{tag}.images"] = torch.tensor(images, dtype=torch.int32)
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        out[f"{tag}.logits"], tokens = answer(model, ids, mask, seen)
        out[f"{tag}.tokens"] = tokens.int()
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = answer(half, ids, mask, seen)[0]
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())))
    return out


def save_folders(folder, model, case):
    """VILA's layout; its projector is a transformers model whose only module is called `layers`."""
    model.llm.save_pretrained(folder / "llm")
    (folder / "llm" / "generation_config.json").unlink()
    model.tower.save_pretrained(folder / "vision_tower")
    (folder / "mm_projector").mkdir(exist_ok=True)
    save_file({f"layers.{k}": v.contiguous() for k, v in model.between.state_dict().items()}, folder / "mm_projector" / "model.safetensors")
    config = {"_name_or_path": "./mm_projector", "architectures": ["MultimodalProjector"], "mm_projector_type": case["kind"], "model_type": "v2l_projector", "torch_dtype": "float16"}
    (folder / "mm_projector" / "config.json").write_text(json.dumps(config, indent=2))
    root = {
        "_name_or_path": "./vlm", "architectures": ["LlavaLlamaModel"], "drop_path_rate": 0.0, "hidden_size": case["llm"].hidden_size, "image_aspect_ratio": "resize",
        "interpolate_mode": "linear", "llm_cfg": {"_name_or_path": "./llm"}, "mm_hidden_size": case["vision"].hidden_size, "mm_projector_cfg": config, "mm_projector_lr": None,
        "mm_use_im_patch_token": False, "mm_use_im_start_end": False, "mm_vision_select_feature": case["feature"], "mm_vision_select_layer": case["layer"],
        "model_dtype": "torch.float16", "model_type": "llava_llama", "num_video_frames": 8, "resume_path": "./vlm", "s2": False, "s2_max_split_size": 336,
        "s2_scales": "336,672,1008", "transformers_version": "4.36.2", "tune_language_model": True, "tune_mm_projector": True, "tune_vision_tower": True,
        "vision_resolution": -1, "vision_tower_cfg": {"_name_or_path": "./vision_tower"},
    }
    (folder / "config.json").write_text(json.dumps(root, indent=2))


def save_flat(folder, model, case):
    """LLaVA's layout; the tower is the image half of a whole CLIP, as openai publishes it."""
    tensors = {**model.llm.state_dict(), **{f"model.mm_projector.{k}": v for k, v in model.between.state_dict().items()}}
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    config = {
        **json.loads(model.llm.config.to_json_string()), "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava_llama", "torch_dtype": "float16",
        "freeze_mm_mlp_adapter": False, "image_aspect_ratio": "pad", "mm_hidden_size": case["vision"].hidden_size, "mm_projector_type": case["kind"],
        "mm_use_im_patch_token": False, "mm_use_im_start_end": False, "mm_vision_select_feature": case["feature"], "mm_vision_select_layer": case["layer"],
        "mm_vision_tower": "clip", "tune_mm_mlp_adapter": False, "use_mm_proj": True,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    whole = CLIPModel(CLIPConfig(vision_config=case["vision"].to_dict(), projection_dim=12,
                                 text_config=dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9, max_position_embeddings=5)))
    whole.vision_model.load_state_dict(model.tower.state_dict() if "embeddings.class_embedding" in model.tower.state_dict() else model.tower.vision_model.state_dict())
    whole.half().save_pretrained(folder / "clip")


def make(name, case):
    torch.manual_seed(sum(name.encode()))
    model = Model(**case).float().eval()
    parity.randomise(model)
    model.llm.tie_weights()
    parity.plain_generation(model.llm)
    size = case["vision"].image_size
    pixels = torch.randn(sum(IMAGES["b3"]), 3, size, size)
    with torch.no_grad():
        visual = model.features(pixels)
    reference = {"pixel_values": pixels, "visual": visual, **record(model, pixels, visual.shape[1])}
    folder = parity.OUT / name
    folder.mkdir(exist_ok=True)
    model.half()
    (save_folders if name.startswith("vila") else save_flat)(folder, model, case)
    parity.write_reference(folder, reference)


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])
