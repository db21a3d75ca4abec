"""What the scripts that make parity fixtures share: weights, prompts, answers, files.

A fixture is test/fixtures/parity/CASE/{config.json, weights.json, reference.safetensors}, and model.safetensors made of
weights.json (seeded.py); the reference holds
    b1.* for one prompt, b3.* for three prompts of different length, left-padded:
        input_ids, attention_mask int32 [batch, seq]; logits float32 [batch, vocab] of the last position;
        tokens int32 [batch, 32] greedy; logits_float16, logits_bfloat16: the same from rounded weights
    pixel_values [3, 3, H, W] and visual [3, N, hidden] where the model sees
"""

import copy
import pathlib

import torch
from safetensors.torch import save_file

import seeded

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "parity"
NEW_TOKENS = 32
LENGTHS = (5, 9, 3)  # prompt lengths of the batch of three, image placeholders not counted
# Added to a fixture's seed where another gave answers of two or three different tokens.
SEEDS = {"gpt2_inner": 6, "gpt2_usual": 3, "opt_pre": 8, "opt_proj": 4, "blip2_opt": 7, "blip2_sparse": 6, "llava_siglip_edge": 6, "mbart_pre": 1}


def randomise(model):
    """Weights large enough that attention is far from uniform and greedy tokens vary, norms around one; all of them float16 values."""
    for name, p in model.named_parameters():
        # Conv1D keeps [in, out]: its fan-in is the first axis.
        fan = p.shape[0] if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else p[0].numel() if p.dim() > 1 else 1
        if p.dim() > 1 and "embed" not in name and "wte" not in name and "wpe" not in name:
            torch.nn.init.normal_(p, std=fan**-0.5 * 1.25)
        elif p.dim() > 1:
            torch.nn.init.normal_(p, std=p.shape[-1] ** -0.5 * 1.25)
        elif ("norm" in name or ".ln_" in name) and name.endswith("weight"):
            torch.nn.init.uniform_(p, 0.5, 1.5)
        else:
            torch.nn.init.normal_(p, std=0.1)
        p.data = p.data.half().float()


def plain_generation(model):
    """No end token, so that all tokens come."""
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0


def prompts(vocab, lengths, image_token=None, features=0, front=False):
    """Random word ids, left-padded; `features` image placeholders in front or after the second word."""
    width = max(lengths) + features
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        words = torch.randint(3, vocab - 1, (length,))
        at = 0 if front else 2
        line = torch.cat([words[:at], torch.full((features,), image_token), words[at:]]) if features else words
        ids[row, width - len(line):] = line
        mask[row, width - len(line):] = 1
    return ids, mask


def answer(model, ids, mask, **extra):
    # Position 0 under the padding too: transformers counts them so only where it generates.
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        given = {"position_ids": positions} if model.config.model_type not in ("opt", "blip-2") else {}
        logits = model(input_ids=ids, attention_mask=mask, **given, **extra).logits[:, -1]
        tokens = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, **extra)
    return logits, tokens[:, -NEW_TOKENS:]


def rounded(model, dtype):
    other = copy.deepcopy(model)
    for p in other.parameters():
        p.data = p.data.to(dtype).float()
    return other


def record(model, vocab, pixels=None, **placement):
    """The reference's tensors for one prompt and for three."""
    out = {}
    halves = {str(dtype).split(".")[1]: rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag, lengths in (("b1", LENGTHS[:1]), ("b3", LENGTHS)):
        ids, mask = prompts(vocab, lengths, **placement)
        extra = {} if pixels is None else {"pixel_values": pixels[: len(lengths)]}
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        # A copy, because dynamic rope scaling remembers the longest sequence it has seen.
        logits, tokens = answer(copy.deepcopy(model), ids, mask, **extra)
        out[f"{tag}.logits"], out[f"{tag}.tokens"] = logits, tokens.int()
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = answer(copy.deepcopy(half), ids, mask, **extra)[0]
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())))
    return out


def reseeded(model, name):
    """The model with weights of a seed in the place of its own, tensor by tensor as large, and its folder with config.json and weights.json."""
    folder = OUT / name
    model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    seeded.reseed_alike(folder, sum(name.encode()) + SEEDS.get(name, 0))
    return type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation=model.config._attn_implementation).eval()


def write_reference(folder, reference):
    save_file({k: v.contiguous().clone() for k, v in reference.items()}, folder / "reference.safetensors")
    sizes = {f.name: f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file()}
    print(folder.name, sizes)
    assert max(sizes.values()) <= 200_000, "fixtures stay at 200 kB a file"
