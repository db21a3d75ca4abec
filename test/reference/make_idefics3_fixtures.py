"""Tiny Idefics3 and SmolVLM models and what transformers computes for images of several tiles.

    python test/reference/make_idefics3_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE as parity.py says. pixel_values holds tiles [tiles, 3, H, W], and b1.images, b3.images how many of
them each prompt has: the second prompt of three has none, the last two images. Needs torch and transformers.
"""

import copy
import json
import sys

import torch
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration

import parity

# Grids whose positions transformers' buckets of fractions leave as they are: of 19 or 25 patches an edge they depend on the CPU.
CASES = {
    "idefics3_gqa": (Idefics3ForConditionalGeneration, Idefics3Config,
                     dict(hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=10),
                     dict(hidden_size=21, intermediate_size=34, num_hidden_layers=3, num_attention_heads=3, image_size=18, patch_size=3),
                     dict(scale_factor=3, tie_word_embeddings=False)),
    "smolvlm_tied": (SmolVLMForConditionalGeneration, SmolVLMConfig,
                     dict(hidden_size=40, intermediate_size=54, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=1),
                     dict(hidden_size=24, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, image_size=12, patch_size=3, hidden_act="gelu"),
                     dict(scale_factor=2, tie_word_embeddings=True)),
}
# The other case has none: a tower's own size then, four along the longest edge.
PROCESSORS = {
    "idefics3_gqa": {"image_processor_type": "Idefics3ImageProcessor", "size": {"longest_edge": 54}, "max_image_size": {"longest_edge": 18},
                     "resample": 1, "do_pad": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
}
IMAGE_TOKEN, VOCAB = 130, 131
TILES = {"b1": [[5]], "b3": [[5], [], [1, 3]]}
WORDS = {"b1": [5], "b3": [5, 9, 3]}


def prompts(tag, features):
    """Words, and after the second one the images: a marker before the features of each tile, one after the last."""
    lines = []
    for length, images in zip(WORDS[tag], TILES[tag]):
        words = torch.randint(3, IMAGE_TOKEN, (length,)).tolist()
        placed = []
        for tiles in images:
            for tile in range(tiles):
                placed += [3 + tile] + [IMAGE_TOKEN] * features
            placed += [3]
        lines.append(words[:2] + placed + words[2:])
    width = max(map(len, lines))
    ids, mask = torch.zeros(len(lines), width, dtype=torch.long), torch.zeros(len(lines), width, dtype=torch.long)
    for row, line in enumerate(lines):
        ids[row, width - len(line):] = torch.tensor(line)
        mask[row, width - len(line):] = 1
    return ids, mask


def padded(tiles, tag):
    """[batch, most tiles, 3, H, W]: tiles that are all zeros are not there."""
    counts = [sum(images) for images in TILES[tag]]
    out = torch.zeros(len(counts), max(counts), *tiles.shape[1:])
    start = 0
    for row, count in enumerate(counts):
        out[row, :count] = tiles[start:start + count]
        start += count
    return out


def make(name):
    cls, config_cls, text, vision, rest = CASES[name]
    torch.manual_seed(sum(name.encode()))
    text_config = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2, **text)
    model = cls(config_cls(text_config=text_config, vision_config=vision, image_token_id=IMAGE_TOKEN, pad_token_id=0, **rest))
    parity.randomise(model)
    model.tie_weights()
    model = parity.reseeded(model, name)
    parity.plain_generation(model)
    most = max(sum(sum(images) for images in rows) for rows in TILES.values())
    tiles = torch.randn(most, 3, vision["image_size"], vision["image_size"])
    with torch.no_grad():
        visual = model.model.get_image_features(tiles[:, None]).pooler_output
    out = {"pixel_values": tiles, "visual": visual}
    halves = {str(dtype).split(".")[1]: parity.rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag in TILES:
        ids, mask = prompts(tag, visual.shape[1])
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        out[f"{tag}.images"] = torch.tensor([sum(images) for images in TILES[tag]], dtype=torch.int32)
        pixels = padded(tiles, tag)
        logits, tokens = parity.answer(copy.deepcopy(model), ids, mask, pixel_values=pixels)
        out[f"{tag}.logits"], out[f"{tag}.tokens"] = logits, tokens.int()
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = parity.answer(copy.deepcopy(half), ids, mask, pixel_values=pixels)[0]
    if name in PROCESSORS:
        (parity.OUT / name / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[name]) + "\n")
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())))
    parity.write_reference(parity.OUT / name, out)


for case in sys.argv[1:] or CASES:
    make(case)
