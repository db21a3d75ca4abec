"""Tiny random LLaVA-NeXT and LLaVA-OneVision models of odd geometry and what transformers computes for pictures of several sizes.

    python test/reference/make_anyres_model_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE; parity.py says what is in there. Beside it `sizes` int32 [images, 2], heights and widths of all images; `bN.images` how many
of them each prompt has, from the first one on; pixel_values [tiles, 3, H, W], their tiles one after the other, noise and not pictures; `bN.visual` [rows, hidden].
Needs torch and transformers.
"""

import copy
import sys

import parity
import torch
from transformers import (CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaOnevisionConfig,
                          LlavaOnevisionForConditionalGeneration, MistralConfig, Qwen2Config, SiglipVisionConfig)
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
TEXT = dict(hidden_size=36, intermediate_size=46, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, vocab_size=83, max_position_embeddings=256, **IDS)
TOWER = dict(hidden_size=24, intermediate_size=38, num_hidden_layers=3, num_attention_heads=3)
SQUARE = lambda n, tile: [[tile * r, tile * c] for r in range(1, n + 1) for c in range(1, n + 1)]


def config(kind, text, tower, grids, **changes):
    return kind(text_config=text.to_dict(), vision_config=tower.to_dict(), image_token_index=82, image_grid_pinpoints=grids, tie_word_embeddings=False, **changes)


# Config, sizes of the images, how many each prompt of b1 and b3 has.
CASES = {
    "llava_next_mistral": (config(LlavaNextConfig, MistralConfig(**TEXT, sliding_window=None), CLIPVisionConfig(**TOWER, image_size=15, patch_size=5),
                                  [[15, 30], [30, 15], [30, 30], [45, 15]]), [(19, 50), (50, 19), (31, 23)], (1,), (2, 0, 1)),
    "llava_next_siglip": (config(LlavaNextConfig, LlamaConfig(**{**TEXT, "num_key_value_heads": 6}), SiglipVisionConfig(**TOWER, image_size=12, patch_size=3),
                                 [[12, 24], [24, 24]], vision_feature_select_strategy="full", vision_feature_layer=-1, projector_hidden_act="relu"),
                          [(3, 41), (24, 23)], (1,), (1, 1, 0)),
    "onevision_qwen2": (config(LlavaOnevisionConfig, Qwen2Config(**TEXT), SiglipVisionConfig(**TOWER, image_size=12, patch_size=4), SQUARE(3, 12),
                               vision_aspect_ratio="anyres_max_2"), [(61, 62), (19, 50), (7, 11), (50, 9)], (1,), (1, 2, 1)),
    "onevision_odd": (config(LlavaOnevisionConfig, Qwen2Config(**{**TEXT, "num_key_value_heads": 1, "tie_word_embeddings": True}), SiglipVisionConfig(**TOWER, image_size=17, patch_size=5),
                             SQUARE(2, 17), vision_feature_layer=-2, multimodal_projector_bias=False), [(40, 21), (18, 17)], (1,), (1, 0, 1)),
}


def tiles_of(config, sizes, together):
    """Tiles of each image; several of a OneVision prompt are one each."""
    several = [count > 1 for count in together for _ in range(count)] if config.model_type == "llava_onevision" else [False] * len(sizes)
    return [1 if beside else image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size) for size, beside in zip(sizes, several)]


def seen_by(model, pixels, sizes, together):
    """What the model is called with for the first images, and the features it makes of them."""
    tiles = tiles_of(model.config, sizes, together)
    out, start = [], 0
    for count in tiles:
        out.append(torch.cat([pixels[start:start + count], torch.zeros(max(tiles) - count, *pixels.shape[1:])]))
        start += count
    given = dict(pixel_values=torch.stack(out), image_sizes=torch.tensor(sizes))
    if model.config.model_type == "llava_onevision":
        given["batch_num_images"] = torch.tensor([count for count in together if count > 0])
    with torch.no_grad():
        return given, model.get_image_features(**given).pooler_output, start


def prompts(features, together, lengths):
    rows, image = [], 0
    for length, count in zip(lengths, together):
        words = torch.randint(3, 81, (length,)).tolist()
        seen = [token for one in features[image:image + count] for token in [82] * len(one) + [5]]
        rows.append(words[:2] + seen + words[2:])
        image += count
    width = max(map(len, rows))
    return (torch.tensor([[0] * (width - len(row)) + row for row in rows]), torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]))


def make(name, config, sizes, *batches):
    torch.manual_seed(sum(name.encode()))
    kind = LlavaOnevisionForConditionalGeneration if config.model_type == "llava_onevision" else LlavaNextForConditionalGeneration
    model = kind(config).float().eval()
    parity.randomise(model)
    model = parity.reseeded(model, name)
    parity.plain_generation(model)
    edge = config.vision_config.image_size
    # More than a batch of its own has, where images of others' prompts are whole.
    pixels = torch.randn(sum(tiles_of(config, sizes, [1] * len(sizes))), 3, edge, edge).half().float()
    out = {"pixel_values": pixels, "sizes": torch.tensor(sizes, dtype=torch.int32)}
    halves = {str(dtype).split(".")[1]: parity.rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag, together in zip(("b1", "b3"), batches):
        seen, features, used = seen_by(model, pixels, sizes[: sum(together)], together)
        ids, mask = prompts(features, together, parity.LENGTHS)
        print("  ", tag, [len(one) for one in features], tuple(ids.shape))
        out[f"{tag}.images"], out[f"{tag}.visual"] = torch.tensor(together, dtype=torch.int32), torch.cat(features)
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        out[f"{tag}.logits"], tokens = parity.answer(model, ids, mask, **seen)
        out[f"{tag}.tokens"] = tokens.int()
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = parity.answer(copy.deepcopy(half), ids, mask, **seen)[0]
    out["pixel_values"] = pixels[:max(used, sum(tiles_of(config, sizes[:1], (1,))))]
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())))
    parity.write_reference(parity.OUT / name, out)


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        make(case, *CASES[case])
