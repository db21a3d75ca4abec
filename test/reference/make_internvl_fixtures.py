"""Tiny random InternVL models of odd geometry and what transformers computes for them.

    python test/reference/make_internvl_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE; parity.py says what is in there. A picture of the reference is a tile: the first prompt of each
batch has an image of several, in the batch of three the second has none. Needs torch and transformers.
"""

import copy
import sys

import parity
import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration, LlamaConfig, Qwen2Config
from transformers.models.internvl.configuration_internvl import InternVLVisionConfig

IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
TILES = {"b1": (3,), "b3": (4, 0, 1)}


def vision(**changes):
    base = dict(hidden_size=24, intermediate_size=38, num_hidden_layers=3, num_attention_heads=3, image_size=[28, 28], patch_size=[7, 7])
    return InternVLVisionConfig(**{**base, **changes})


def internvl(text, tower, **changes):
    return InternVLConfig(text_config=text.to_dict(), vision_config=tower.to_dict(), image_token_id=text.vocab_size - 1, tie_word_embeddings=False, **changes)


CASES = {
    "internvl_qwen2": internvl(Qwen2Config(hidden_size=36, intermediate_size=46, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, vocab_size=83,
                                           max_position_embeddings=128, **IDS), vision()),
    # As the 6B tower is: RMS norms, norms of queries and keys, no shared sizes; 4 x 4 patches a feature.
    "internvl_rms": internvl(LlamaConfig(hidden_size=30, intermediate_size=44, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=5, head_dim=6, vocab_size=71,
                                         max_position_embeddings=128, **IDS),
                             vision(hidden_size=30, num_attention_heads=5, image_size=[40, 40], patch_size=[5, 5], norm_type="rms_norm", use_qk_norm=True, attention_bias=True),
                             downsample_ratio=0.25, vision_feature_layer=-2),
}


def prompts(config, features, tiles):
    rows = []
    for length, count in zip(parity.LENGTHS, tiles):
        words = torch.randint(3, config.text_config.vocab_size - 1, (length,)).tolist()
        rows.append(words[:2] + [config.image_token_id] * (features * count) + words[2:])
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    model = InternVLForConditionalGeneration(config).float().eval()
    parity.randomise(model)
    model = parity.reseeded(model, name)
    parity.plain_generation(model)
    size = config.vision_config.image_size[0]
    pixels = torch.randn(sum(TILES["b3"]), 3, size, size)
    strategy = dict(vision_feature_layer=config.vision_feature_layer, vision_feature_select_strategy=config.vision_feature_select_strategy)
    with torch.no_grad():
        visual = model.get_image_features(pixel_values=pixels, **strategy).pooler_output
    out = {"pixel_values": pixels, "visual": visual}
    halves = {str(dtype).split(".")[1]: parity.rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag, tiles in TILES.items():
        ids, mask = prompts(config, visual.shape[1], tiles)
        seen = dict(pixel_values=pixels[: sum(tiles)], **strategy)
        out[f"{tag}.images"] = torch.tensor(tiles, dtype=torch.int32)
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        out[f"{tag}.logits"], tokens = parity.answer(model, ids, mask, **seen)
        out[f"{tag}.tokens"] = tokens.int()
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = parity.answer(copy.deepcopy(half), ids, mask, **seen)[0]
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())))
    parity.write_reference(parity.OUT / name, out)


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])
