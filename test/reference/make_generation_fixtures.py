"""What transformers' generate() answers on the models of test/fixtures/parity, for test/parity/runtime-generate.test.ts.

    python test/reference/make_generation_fixtures.py

Needs torch and transformers. Writes test/fixtures/generation.json: cases of beam search, repetition penalty and end tokens,
one prompt and three of different length; and what its logits warpers leave of given scores.
"""

import json
import pathlib

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, LlavaForConditionalGeneration
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
CASES = [
    dict(num_beams=4, max_new_tokens=24),
    dict(num_beams=4, max_new_tokens=24, eos=3),
    dict(num_beams=3, max_new_tokens=40, eos=9, length_penalty=2.0),
    dict(num_beams=3, max_new_tokens=40, eos=9, length_penalty=-1.0),
    dict(num_beams=5, max_new_tokens=30, eos=6, early_stopping=True),
    dict(num_beams=2, max_new_tokens=20, eos=4, repetition_penalty=1.3),
    dict(num_beams=1, max_new_tokens=40, repetition_penalty=1.5),
    dict(num_beams=1, max_new_tokens=40, eos=12),
    dict(num_beams=1, max_new_tokens=40, eos=12, min_new_tokens=17),
    dict(num_beams=4, max_new_tokens=1),
    dict(num_beams=1, max_new_tokens=40, no_repeat_ngram_size=2),
    dict(num_beams=3, max_new_tokens=24, no_repeat_ngram_size=3),
]


def load(name):
    folder = FIXTURES / "parity" / name
    config = AutoConfig.from_pretrained(folder)
    cls = LlavaForConditionalGeneration if config.model_type == "llava" else AutoModelForCausalLM
    model = cls.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    return model, load_file(folder / "reference.safetensors")


def answer(model, reference, batch, case, likely):
    """`eos=n`: the n tokens that the model likes best count as end tokens, so that answers end at different lengths."""
    options = {k: v for k, v in case.items() if k != "eos"}
    eos = likely[: case["eos"]] if "eos" in case else None
    ids, mask = reference[f"{batch}.input_ids"].long(), reference[f"{batch}.attention_mask"].long()
    # Hugging Face counts padding as seen and penalises it too, so these prompts go one by one.
    alone = "repetition_penalty" in case or "no_repeat_ngram_size" in case
    rows = [slice(i, i + 1) for i in range(len(ids))] if alone else [slice(0, len(ids))]
    answers = []
    for part in rows:
        skip = int((1 - mask[part]).sum()) if alone else 0
        images = {"pixel_values": reference["pixel_values"][: len(ids)][part]} if "pixel_values" in reference else {}
        out = model.generate(input_ids=ids[part, skip:], attention_mask=mask[part, skip:], do_sample=False, eos_token_id=eos,
                             pad_token_id=0, use_cache=True, **images, **options)
        for row in out[:, ids.shape[1] - skip:].tolist():
            end = next((i + 1 for i, token in enumerate(row) if eos and token in eos), len(row))
            answers.append(row[:end])
    return {"batch": batch, "options": options, "eos": eos or [], "answers": answers}


def generation(name):
    model, reference = load(name)
    # Frequent in the greedy answers, rarest first.
    seen = reference["b3.tokens"].flatten().tolist()
    likely = sorted(set(seen), key=lambda token: (seen.count(token), token))
    with torch.no_grad():
        return [answer(model, reference, batch, case, likely) for case in CASES for batch in ("b1", "b3")]


def warpers():
    torch.manual_seed(11)
    cases = []
    for size, temperature, top_k, top_p in [(19, 1.0, 5, 0.0), (19, 0.7, 0, 0.9), (131, 1.7, 40, 0.5), (7, 1.0, 0, 1.0), (131, 0.3, 3, 0.99), (5, 2.0, 50, 0.1)]:
        scores = torch.randn(1, size) * 3
        scores[0, 3] = scores[0, 2]
        warped = scores
        if temperature != 1.0:
            warped = TemperatureLogitsWarper(temperature)(None, warped)
        if top_k > 0:
            warped = TopKLogitsWarper(top_k)(None, warped)
        if 0 < top_p < 1:
            warped = TopPLogitsWarper(top_p)(None, warped)
        cases.append({"temperature": temperature, "top_k": top_k, "top_p": top_p, "scores": scores[0].tolist(), "probabilities": warped.softmax(-1)[0].tolist()})
    return cases


def main():
    models = {name: generation(name) for name in ["llama_gqa", "llama_tied_bias", "llava_mqa", "llava_full"]}
    (FIXTURES / "generation.json").write_text(json.dumps({"models": models, "warpers": warpers()}) + "\n")
    for name, cases in models.items():
        print(name, [sorted({len(a) for a in case["answers"]}) for case in cases])


main()
