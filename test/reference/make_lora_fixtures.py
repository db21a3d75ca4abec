"""Random LoRA adapters for tiny decoders, saved by PEFT, and the logits of the models that PEFT merges them into.

    python test/reference/make_lora_fixtures.py [CASE ...]

Writes test/fixtures/lora/CASE: first/ (safetensors; ranks 3, 8 and 1 by patterns, every linear layer) and second/ (.bin; rslora,
some layers). reference.safetensors holds, for the three left-padded prompts of test/fixtures/parity/CASE, `first` and `second`:
float32 [3, vocab], logits of the last position with the adapter merged. Cases of TABLES have tables/ too: an adapter that brings both word
tables whole (modules_to_save), with its reference.safetensors (`logits`) in it. Needs torch, transformers and peft.
"""

import json
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import parity

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "lora"

LLAMA = dict(every=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], some=["q_proj", "v_proj", "down_proj"], wide="o_proj", narrow=r"layers\.0\..*q_proj")
CASES = {
    "llama_gqa": LLAMA,
    "qwen2_mqa": LLAMA,
    "opt_pre": dict(every=["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"], some=["k_proj", "fc1"], wide="fc2", narrow=r"layers\.0\..*v_proj"),
    "gpt2_usual": dict(every=["c_attn", "c_proj", "c_fc"], some=["c_attn", "c_fc"], wide="c_fc", narrow=r"h\.0\.attn\.c_attn"),
}


TABLES = {"llama_gqa": dict(r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head", "embed_tokens"])}


def adapters(case):
    conv1d = case.startswith("gpt2")
    about = CASES[case]
    yield "first", True, LoraConfig(
        r=3, lora_alpha=5, target_modules=about["every"], rank_pattern={about["narrow"]: 1, about["wide"]: 8}, alpha_pattern={about["wide"]: 12}, fan_in_fan_out=conv1d
    )
    yield "second", False, LoraConfig(
        r=8, lora_alpha=4, use_rslora=True, target_modules=about["some"], layers_to_transform=[0, 2], fan_in_fan_out=conv1d
    )


def logits(model, ids, mask):
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    given = {} if model.config.model_type == "opt" else {"position_ids": positions}
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, **given).logits[:, -1]


def randomised(load, config, seed):
    torch.manual_seed(seed)
    model = get_peft_model(load(), config)
    for key, value in model.named_parameters():
        if "lora_" in key:
            torch.nn.init.normal_(value, std=0.3 if "lora_A" in key else 0.15)
        elif "modules_to_save" in key:
            torch.nn.init.normal_(value, std=value.shape[-1] ** -0.5 * 1.25)
    return model


def save(model, folder, case, safe=True):
    model.save_pretrained(folder, safe_serialization=safe)
    (folder / "README.md").unlink(missing_ok=True)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = case
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def write_tables(case, load, ids, mask):
    folder = OUT / case / "tables"
    save(randomised(load, LoraConfig(**TABLES[case]), len(case)), folder, case)
    merged = PeftModel.from_pretrained(load(), folder).merge_and_unload()
    assert merged.lm_head.weight.data_ptr() != merged.model.embed_tokens.weight.data_ptr()
    save_file({"logits": logits(merged, ids, mask).contiguous()}, folder / "reference.safetensors")


def write(case):
    base, folder = parity.OUT / case, OUT / case
    known = load_file(base / "reference.safetensors")
    ids, mask = known["b3.input_ids"].long(), known["b3.attention_mask"].long()
    load = lambda: AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    plain = logits(load(), ids, mask)
    assert (plain - known["b3.logits"]).abs().max() < 1e-4
    reference = {}
    for name, safe, config in adapters(case):
        save(randomised(load, config, len(case) + len(name)), folder / name, case, safe)
        merged = PeftModel.from_pretrained(load(), folder / name).merge_and_unload()
        reference[name] = logits(merged, ids, mask).contiguous()
        print(case, name, "moves logits by", (reference[name] - plain).abs().max().item())
    save_file(reference, folder / "reference.safetensors")
    if case in TABLES:
        write_tables(case, load, ids, mask)


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        write(case)
