"""Tiny random T5, BART and mBART with tokenizers of their kinds, and what transformers answers to text.

    python test/reference/make_text_pair_fixtures.py [CASE ...]

Writes test/fixtures/text/CASE: a whole Hugging Face directory, and answers.json with the settings of each request in the
words of `mmtrt run`, the prompt's ids, the answer's ids (start token left out, end token kept) and its text. The stages of
the first text are in verify.safetensors (make_pair_reference.py). Needs torch, transformers and tokenizers.
"""

import json
import pathlib
import sys

import make_pair_reference
import parity
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "text"
CORPUS = [
    "translate English to German: The house is wonderful, and the garden too.",
    "summarize: the quick brown fox jumps over the lazy dog; the dog sleeps, the fox runs away.",
    "Ångström measured light. 12 of 989 plates were kept, aren't they here?",
    "UN Chief Says There Is No Military Solution in Syria",
] * 4
TEXTS = [
    "translate English to German: The house is wonderful.",
    "the fox",
    "summarize: 12 plates of light were kept in the garden, and 989 ran away; the lazy dog sleeps too.",
    # Letters the tokenizers never saw.
    "Größe – 漢字?",
]


def unigram(special, template):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=96, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return finish(tokenizer, template)


def byte_level(special, template):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return finish(tokenizer, template)


def finish(tokenizer, template):
    used = [word for word in template.split() if word.startswith(("<", "en_"))]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[(word, tokenizer.token_to_id(word)) for word in used])
    return tokenizer


def t5():
    tokenizer = unigram(["<pad>", "</s>", "<unk>"], "$A </s>")
    config = T5Config(vocab_size=tokenizer.get_vocab_size() + 5, d_model=40, d_kv=9, d_ff=52, num_layers=3, num_decoder_layers=2, num_heads=5,
                      relative_attention_num_buckets=12, relative_attention_max_distance=17, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config), tokenizer, {}


def bart():
    tokenizer = byte_level(["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>")
    config = BartConfig(vocab_size=tokenizer.get_vocab_size(), d_model=36, encoder_layers=3, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=4,
                        encoder_ffn_dim=44, decoder_ffn_dim=52, max_position_embeddings=120, forced_eos_token_id=2, decoder_start_token_id=2)
    # What bart-large-cnn asks for, shorter.
    return BartForConditionalGeneration(config), tokenizer, dict(forced_bos_token_id=0, forced_eos_token_id=2, num_beams=4, length_penalty=2.0, no_repeat_ngram_size=3,
                                                                 early_stopping=True, min_length=9, max_length=40)


def mbart():
    tokenizer = unigram(["<s>", "<pad>", "</s>", "<unk>", "en_XX", "ro_RO"], "$A </s> en_XX")
    config = MBartConfig(vocab_size=tokenizer.get_vocab_size() + 3, d_model=28, encoder_layers=2, decoder_layers=2, encoder_attention_heads=7, decoder_attention_heads=2,
                         encoder_ffn_dim=44, decoder_ffn_dim=52, max_position_embeddings=120, scale_embedding=True, decoder_start_token_id=2, forced_eos_token_id=2)
    return MBartForConditionalGeneration(config), tokenizer, dict(forced_bos_token_id=tokenizer.token_to_id("ro_RO"), forced_eos_token_id=2, num_beams=5, max_length=200)


CASES = {"t5_words": t5, "bart_words": bart, "mbart_words": mbart}
END = {"t5_words": (1, -3), "bart_words": (2, 1.6), "mbart_words": (2, 1.6)}
# In force; what generation_config.json says otherwise is switched off in each request.
GREEDY = dict(num_beams=1, length_penalty=1.0, early_stopping=False, no_repeat_ngram_size=0, min_new_tokens=0, repetition_penalty=1.0, max_new_tokens=24)
REQUESTS = [
    {},
    dict(no_repeat_ngram_size=2),
    dict(no_repeat_ngram_size=1, repetition_penalty=1.3, max_new_tokens=17),
    dict(num_beams=4, length_penalty=2.0, no_repeat_ngram_size=3, early_stopping=True, min_new_tokens=8),
    dict(num_beams=3, length_penalty=-0.5),
    dict(num_beams=2, length_penalty=0.0, early_stopping=True, max_new_tokens=9),
]


def make(name):
    torch.manual_seed(sum(name.encode()))
    model, tokenizer, asked = CASES[name]()
    model = model.float().eval()
    parity.randomise(model)
    for key, p in model.named_parameters():
        if key.endswith(("Attention.q.weight", "EncDecAttention.q.weight")):
            p.data = (p.data * model.config.d_kv**-0.5).half().float()
        if key.endswith(("out_proj.weight", "fc2.weight", ".o.weight", "wo.weight")):
            p.data = (p.data * (1 if "bart" in name else 3)).half().float()
        if "embed_positions" in key or "relative_" in key:
            p.data = (torch.randn_like(p) * (1 if name.startswith("t5") else 3)).half().float()
        # An end token that comes now and then.
        if key.endswith(("shared.weight", "embed_tokens.weight")):
            row, factor = END[name]
            p.data[row] = (p.data[row] * factor).half().float()
    model.tie_weights()
    special = dict(unk_token="<unk>", pad_token="<pad>", eos_token="</s>", **({} if name.startswith("t5") else {"bos_token": "<s>"}))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, clean_up_tokenization_spaces=False)
    settings = model.generation_config
    settings.update(**asked)
    settings.decoder_start_token_id, settings.eos_token_id = model.config.decoder_start_token_id, fast.eos_token_id
    folder = OUT / name
    model.half().save_pretrained(folder)
    fast.save_pretrained(folder)
    model = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    # It would hold beside min_new_tokens.
    model.generation_config.min_length = 0
    answers = [answer(model, fast, text, request) for request in REQUESTS for text in TEXTS]
    ends = sum(one["tokens"][-1] == fast.eos_token_id for one in answers)
    print(name, len(answers), "answers,", ends, "ended; distinct", len({str(one["tokens"]) for one in answers}))
    (folder / "answers.json").write_text("[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in answers) + "\n]\n")
    make_pair_reference.make_reference(folder, folder / "verify.safetensors", text=TEXTS[0], new_tokens=24)
    sizes = {f.name: f.stat().st_size for f in sorted(folder.iterdir())}
    print(sizes)
    assert max(sizes.values()) <= 200_000


def answer(model, tokenizer, text, request):
    given = {**GREEDY, **request}
    ids = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        tokens = model.generate(input_ids=ids.input_ids, attention_mask=ids.attention_mask, do_sample=False, **given)[0, 1:].tolist()
    end = tokenizer.eos_token_id
    # What follows the first end token is padding.
    tokens = tokens[: tokens.index(end) + 1] if end in tokens else tokens
    return {"text": text, "options": given, "ids": ids.input_ids[0].tolist(), "tokens": tokens, "answer": tokenizer.decode(tokens, skip_special_tokens=True)}


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        make(case)
