"""The tiny LLaMA that finds a pass key in filler text: trained on a CPU, for the tests of long contexts.

    python test/reference/make_passkey_model.py --output DIR [--seconds 600]
    python test/reference/make_passkey_model.py --reference DIR

The first writes config.json, model.safetensors (float16), tokenizer.json, tokenizer_config.json and generation_config.json; the
second expected_hf.json beside them: what transformers answers in float32, scaled and not, where it finds the key and where not.
The text is that of `mmtrt eval passkey` (src/runtime/passkey/prompt.ts), whose sentences are repeated here;
test/parity/passkey.test.ts fails where they part. Needs torch, transformers and tokenizers; one core is enough.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

INTRO = "A pass key is hidden in this long text. Find it and remember it, for the last line asks for it."
FILLER = [
    "Rain fell on the old roof.",
    "A dog slept beside the door.",
    "The road went over the hill.",
    "Tea was made and the cups were filled.",
    "Night came and the lamps were lit.",
]
NEEDLE = "The pass key is {key}. Remember it: {key} is the pass key."
QUESTION = "What is the pass key? The pass key is"

TRAINED = 512  # tokens, answer included
SHORTEST = 80
BOS, EOS = 0, 1
IGNORED = -100


def text_of(sentences: int, before: int, key: str) -> str:
    """The prompt with `sentences` sentences of filler, the key after the first `before` of them."""
    filler = [FILLER[i % len(FILLER)] for i in range(sentences)]
    body = [*filler[:before], NEEDLE.format(key=key), *filler[before:]]
    return f"{INTRO}\n{' '.join(body)}\n{QUESTION}"


def build_tokenizer() -> Tokenizer:
    """Byte-level BPE in which every word here is a token, and numbers are read two digits at a time."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(r"\d{1,2}"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1000, min_frequency=1, special_tokens=["<s>", "</s>"], show_progress=False)
    numbers = [f"{i:02d}" for i in range(100)]
    tokenizer.train_from_iterator([text_of(5, 2, "11223"), *numbers], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return tokenizer


class Texts:
    """Random prompts with their answers, of any length in tokens."""

    def __init__(self, tokenizer: Tokenizer, seed: int):
        self.tokenizer, self.random = tokenizer, random.Random(seed)
        self.cycle = len(tokenizer.encode(text_of(10, 0, "12345")).ids) - len(tokenizer.encode(text_of(5, 0, "12345")).ids)
        self.least = len(tokenizer.encode(text_of(0, 0, "12345")).ids)

    def row(self, length: int, depth: float | None = None) -> tuple[list[int], list[int]]:
        """Token ids of at most `length`, and those of them that are to be predicted."""
        key = str(self.random.randint(10_000, 99_999))
        answer = self.tokenizer.encode(f" {key}.", add_special_tokens=False).ids + [EOS]
        sentences = self.sentences(length, len(answer))
        before = self.random.randint(0, sentences) if depth is None else round(depth * sentences)
        prompt = self.tokenizer.encode(text_of(sentences, before, key)).ids
        return prompt, answer

    def sentences(self, length: int, answer: int) -> int:
        """Of filler, in a text of at most `length` tokens with its answer."""
        return max(0, (length - self.least - answer) * len(FILLER) // self.cycle)

    def batch(self, length: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """ids, and weights of the loss of predicting each: answers whole, the rest of the text a little."""
        made = [self.row(length) for _ in range(rows)]
        width = max(len(prompt) + len(answer) for prompt, answer in made)
        ids = torch.full((rows, width), EOS)
        weights = torch.zeros(rows, width)
        for i, (prompt, answer) in enumerate(made):
            ids[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            weights[i, 1 : len(prompt)] = 0.1 / len(prompt)
            weights[i, len(prompt) : len(prompt) + len(answer)] = 1 / len(answer)
        return ids, weights


@torch.no_grad()
def found(model: LlamaForCausalLM, texts: Texts, length: int, rows: int) -> float:
    """Part of the keys whose every token is the likeliest, at depths spread evenly."""
    hits = 0
    for i in range(rows):
        prompt, answer = texts.row(length, i / max(1, rows - 1))
        logits = model(torch.tensor([prompt + answer])).logits[0]
        hits += logits[len(prompt) - 1 : -1].argmax(-1).tolist() == answer
    return hits / rows


def train(model: LlamaForCausalLM, texts: Texts, seconds: float, rate: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    started, step, longest, recent = time.process_time(), 0, float(SHORTEST), 3.0
    while (progress := (time.process_time() - started) / seconds) < 1:
        # Longer texts as soon as shorter ones are read: finding a key is learnt where steps are cheap.
        length = int(longest if step % 2 else texts.random.uniform(SHORTEST, longest))
        ids, weights = texts.batch(length, max(4, 2560 // length))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * min(1, 2 * (1 - progress))
        logits = model(ids[:, :-1]).logits
        losses = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
        loss = (losses * weights[:, 1:]).sum(1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent = 0.95 * recent + 0.05 * loss.item()
        if recent < 0.1 and longest < TRAINED:
            longest, recent = min(TRAINED, longest * 1.3), 0.3
        if step % 100 == 0:
            print(f"{time.process_time() - started:5.0f} s step {step} longest {longest:.0f} loss {recent:.4f}", flush=True)
        step += 1


# What stretches the model, as config.json says it; the lengths are those that each is asked at.
SCALINGS = {
    "none": ({"rope_type": "default"}, (199, 512, 1024)),
    "linear": ({"rope_type": "linear", "factor": 2.0}, (512, 1024)),
    "dynamic": ({"rope_type": "dynamic", "factor": 4.0}, (512, 1024, 2048)),
    "yarn": ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": TRAINED}, (512, 1024, 2048)),
}


@torch.no_grad()
def reference(folder: Path) -> None:
    """Greedy answers of transformers in float32, right or wrong, and whether the key is in them."""
    tokenizer, keys, out = Tokenizer.from_file(str(folder / "tokenizer.json")), random.Random(7), {}
    texts = Texts(tokenizer, 0)
    for name, (scaling, lengths) in SCALINGS.items():
        theta = LlamaConfig.from_pretrained(folder).rope_parameters["rope_theta"]
        answers = []
        for length in lengths:
            for depth in (0.0, 0.3, 0.6, 1.0):
                # A model of its own for each: dynamic scaling remembers the longest text.
                config = LlamaConfig.from_pretrained(folder, rope_parameters={**scaling, "rope_theta": theta})
                model = LlamaForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()
                key = str(keys.randint(10_000, 99_999))
                sentences = texts.sentences(length, 6)
                ids = tokenizer.encode(text_of(sentences, math.floor(depth * sentences + 0.5), key)).ids
                got = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, max_new_tokens=6, pad_token_id=EOS)
                text = tokenizer.decode(got[0, len(ids):].tolist())
                answers.append({"length": length, "sentences": sentences, "depth": depth, "key": key, "prompt_tokens": len(ids), "text": text, "found": key in text})
        out[name] = {"scaling": scaling, "answers": answers}
        print(name, {length: sum(one["found"] for one in answers if one["length"] == length) for length in lengths}, "of 4")
    lines = [f'  "{name}": {{\n    "scaling": {json.dumps(one["scaling"])},\n    "answers": [\n'
             + ",\n".join(f"      {json.dumps(answer)}" for answer in one["answers"]) + "\n    ]\n  }" for name, one in out.items()]
    (folder / "expected_hf.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--output", type=Path)
    which.add_argument("--reference", type=Path)
    parser.add_argument("--seconds", type=float, default=600, help="of processor time")
    parser.add_argument("--rate", type=float, default=3e-3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.reference:
        reference(options.reference)
        return
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=TRAINED, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=BOS, eos_token_id=EOS, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )
    model = LlamaForCausalLM(config)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, vocabulary {config.vocab_size}")
    train(model, Texts(tokenizer, 0), options.seconds, options.rate)
    model.half().float().eval()
    for length in (128, 256, 384, 512, 768, 1024, 1536, 2048):
        print(f"length {length}: found {found(model, Texts(tokenizer, 1000), length, 40):.3f}", flush=True)
    model.half().save_pretrained(options.output)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=TRAINED,
                                   clean_up_tokenization_spaces=False)
    fast.save_pretrained(options.output)


if __name__ == "__main__":
    main()
