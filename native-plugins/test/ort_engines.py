"""Engine directories, prompts and right answers for test_ort_decoders.py, from the small trained LLaVA. CPU only:

    python native-plugins/test/ort_engines.py OUTPUT_DIR [--mmtrt "node bin/mmtrt.js"]

Needs torch, transformers, safetensors, numpy, pillow, and mmtrt to convert and build. The model's heads have 48 channels, for which
there is no kernel: they are widened to 64 with zeros, which changes no number (see `widen`).
"""

import argparse
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "test/fixtures/models/llava-shapes"
WIDE = 64
PLUGINS = ["gpt_attention", "weight_only_quant_matmul", "rmsnorm", "lookup"]
INT4 = ["--use_weight_only", "--weight_only_precision", "int4"]
CALIBRATION = ["--calib_dataset", str(ROOT / "test/fixtures/quantize/llava-shapes.jsonl")]
# name: (dtype of the graph, flags of convert, flags of build). No bfloat16: build widens it for ONNX Runtime, whose CPU kernels lack it.
ENGINES = {
    "float32": ("float32", [], []),
    "fp16_continuous": ("float16", [], ["--kv_cache_type", "continuous"]),
    "fp16_static": ("float16", [], ["--kv_cache_type", "static"]),
    "fp16_paged": ("float16", [], ["--kv_cache_type", "paged", "--tokens_per_block", "32"]),
    "fp16_lora": ("float16", [], ["--kv_cache_type", "static", "--lora_plugin", "float16"]),
    "int8_static": ("float16", ["--use_weight_only"], ["--kv_cache_type", "static"]),
    "int8_paged": ("float16", ["--use_weight_only"], ["--kv_cache_type", "paged", "--tokens_per_block", "64"]),
    "int4_g64_static": ("float16", [*INT4, "--group_size", "64"], ["--kv_cache_type", "static"]),
    "int4_static": ("float16", INT4, ["--kv_cache_type", "static"]),
    "int8kv_static": ("float16", ["--int8_kv_cache", *CALIBRATION], ["--kv_cache_type", "static"]),
    "int8kv_paged": ("float16", ["--int8_kv_cache", *CALIBRATION], ["--kv_cache_type", "paged", "--tokens_per_block", "32"]),
}


def widen(output):
    """The model with heads of WIDE channels.

    Channels i and i + 24 are rotated together by angle p · θ^(−i / 24): they move to i and i + 32, and θ becomes θ^(64 / 48), so that
    pair i turns as before. The new channels are zeros. Scores are divided by √64 in place of √48, which queries make up for.
    """
    shutil.copytree(MODEL, output, ignore=shutil.ignore_patterns("heldout", "*.png", "reference.safetensors"))
    config = json.loads((output / "config.json").read_text())
    text = config["text_config"]
    narrow, half, wide = text["head_dim"], text["head_dim"] // 2, WIDE // 2
    places = torch.cat([torch.arange(half), torch.arange(half) + wide])
    weights = load_file(output / "model.safetensors")
    for name, weight in weights.items():
        part = name.split(".")[-2] if name.startswith("language_model.") else ""
        if part in ("q_proj", "k_proj", "v_proj"):
            heads = weight.float().reshape(-1, narrow, weight.shape[-1])
            made = torch.zeros(heads.shape[0], WIDE, weight.shape[-1])
            made[:, places] = heads * ((WIDE / narrow) ** 0.5 if part == "q_proj" else 1.0)
            weights[name] = made.reshape(-1, weight.shape[-1]).half()
        elif part == "o_proj":
            heads = weight.reshape(weight.shape[0], -1, narrow)
            made = torch.zeros(weight.shape[0], heads.shape[1], WIDE, dtype=weight.dtype)
            made[..., places] = heads
            weights[name] = made.reshape(weight.shape[0], -1)
    text["head_dim"] = WIDE
    text["rope_parameters"]["rope_theta"] **= WIDE / narrow
    (output / "config.json").write_text(json.dumps(config, indent=2))
    save_file(weights, output / "model.safetensors", metadata={"format": "pt"})


def prompts(model_dir):
    """Every held-out question: ids as the decoder takes them, its picture, the answer, and transformers' first logits in float32."""
    processor = AutoProcessor.from_pretrained(model_dir)
    model = LlavaForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32).eval()
    config = model.config
    vocab, image_id = config.text_config.vocab_size, config.image_token_id
    from PIL import Image

    rows, pixels, logits = [], {}, []
    for answer in json.loads((MODEL / "heldout/expected_hf.json").read_text())["answers"]:
        image = Image.open(MODEL / "heldout" / answer["image"])
        content = [{"type": "image"}, {"type": "text", "text": answer["question"]}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        given = processor(images=image, text=text, return_tensors="pt")
        pixels[answer["image"]] = given["pixel_values"][0].numpy()
        with torch.no_grad():
            logits.append(model(**given).logits[0, -1].numpy())
        ids = given["input_ids"][0].clone()
        ids[ids == image_id] = vocab + torch.arange(int((ids == image_id).sum()))
        rows.append({"image": answer["image"], "ids": ids.tolist(), "tokens": answer["tokens"], "text": answer["text"]})
    return rows, pixels, np.stack(logits)


def build(mmtrt, output, model_dir):
    def run(*argv):
        subprocess.run([*mmtrt, *map(str, argv), "--quiet"], cwd=ROOT, check=True)

    converted = {}
    for name, (dtype, convert, flags) in ENGINES.items():
        key = (dtype, *convert)
        if key not in converted:
            converted[key] = output / f"checkpoint_{len(converted)}"
            run("convert", model_dir, "--output_dir", converted[key], "--dtype", dtype, *convert)
        plugins = [] if dtype == "float32" else [word for plugin in PLUGINS for word in (f"--{plugin}_plugin", dtype)]
        limits = ["--max_batch_size", "8", "--max_input_len", "160", "--max_seq_len", "200", "--compute_dtype", dtype]
        run("build", "--checkpoint_dir", converted[key], "--output_dir", output / name, "--copy_weights", *limits, *plugins, *flags)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--mmtrt", default="node bin/mmtrt.js")
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    model_dir = options.output / "model"
    widen(model_dir)
    build(shlex.split(options.mmtrt), options.output.resolve(), model_dir.resolve())
    rows, pixels, logits = prompts(model_dir)
    np.savez_compressed(options.output / "prompts.npz", logits=logits.astype(np.float32), **pixels)
    (options.output / "prompts.json").write_text(json.dumps(rows))
    for left in options.output.glob("checkpoint_*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    print(f"{len(ENGINES)} engine directories, {len(rows)} questions in {options.output}")


if __name__ == "__main__":
    main()
