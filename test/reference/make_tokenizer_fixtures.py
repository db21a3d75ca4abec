"""Small tokenizers of the usual kinds, and what transformers makes of texts with them, for test/unit/runtime/text.

    python test/reference/make_tokenizer_fixtures.py

Needs tokenizers and transformers. Writes test/fixtures/tokenizers/NAME/{tokenizer.json, tokenizer_config.json, cases.json}.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "tokenizers"

CORPUS = [
    "USER: What colour is the circle left of the blue square? ASSISTANT: The circle is red.",
    "There are three green triangles and 12 yellow stars in the picture, aren't there?",
    "    def f(x):\n        return x ** 2  # comment\n\n\n\tprint(f(41))",
    "Größe, façade, naïve, Ærø, Ελληνικά, русский язык, 中文字符, 日本語, 한국어, العربية, हिन्दी",
    "I'm, you're, we've, they'll, it's, he'd; DON'T SHOUT! 3.14159 1,000,000 2024-06-07",
    "The quick brown fox jumps over the lazy dog. The dog sleeps, the fox runs away.",
] * 3

TEXTS = [
    "",
    " ",
    "   ",
    "a",
    "Hello world",
    " Hello  world ",
    "What colour is the circle?",
    "USER: <image>\nWhat colour is the circle? ASSISTANT:",
    "<image><image> two pictures",
    "before<image>after",
    "<s>already begun</s>",
    "line one\nline two\n\n\nline five\ttab\r\nwindows",
    "I'm sure they'll say it's DON'T.",
    "12345678901234567890 3.14 1,000",
    "Größe façade naïve e\u0301 Ærø",
    "Ελληνικά русский 中文字符 日本語 한국어 العربية हिन्दी",
    "emoji 😀 👩‍👩‍👧‍👦 🇩🇪 done",
    "zero\u200bwidth\u00a0nbsp\u3000ideographic",
    "\U0001d54f\U0001d550 math",
    "    def f(x):\n        return x",
    "▁literal ▁▁ underscore",
    "a" * 200,
    "!!!??...,,,;;;",
    "mixed123abc456",
    "tab\tand\x00nul",
]

TEMPLATE = "{% for message in messages %}{% if message['role'] == 'user' %}USER: {{ message['content'] }} {% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
LISTS = """{{ bos_token }}{% for message in messages %}{{ message.role | upper }}: {% for part in message.content if part.type == 'image' %}<image>
{% endfor %}{% for part in message.content | selectattr('type', 'equalto', 'text') %}{{ part.text }}{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"""


def train(tokenizer, size, **options):
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, **options)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken("<image>", special=True, normalized=False), AddedToken("<pad>", special=True, normalized=False)])
    return tokenizer


def begin(tokenizer):
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


def gpt2():
    """Byte-level BPE without a begin token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return train(tokenizer, 420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def llama3():
    """Byte-level BPE with Llama 3's split pattern and a begin token; merges are ignored for whole words."""
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return begin(train(tokenizer, 420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))


def with_bytes(tokenizer, size):
    """Adds Llama's byte tokens, so that nothing is unknown."""
    train(tokenizer, size)
    state = json.loads(tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for byte in range(256):
        vocab.setdefault(f"<0x{byte:02X}>", len(vocab) + len(state["added_tokens"]))
    state["model"].update(vocab=vocab, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    return Tokenizer.from_str(json.dumps(state))


LLAMA_DECODER = lambda: decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def llama_legacy():
    """Llama 2 as first converted: spaces become ▁ in the normalizer, no pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=True)  # for training only
    tokenizer = with_bytes(tokenizer, 420)
    tokenizer.pre_tokenizer = None
    tokenizer.decoder = LLAMA_DECODER()
    return begin(tokenizer)


def llama_metaspace():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer = with_bytes(tokenizer, 420)
    tokenizer.decoder = LLAMA_DECODER()
    return begin(tokenizer)


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>", "<pad>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken("<image>", special=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    return tokenizer


def bare_config(folder):
    """PreTrainedTokenizerFast is what every transformers since 4 opens as tokenizer.json says it."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=1, ensure_ascii=False))


def main():
    kinds = {"gpt2": (gpt2, TEMPLATE), "llama3": (llama3, None), "llama-legacy": (llama_legacy, TEMPLATE), "llama-metaspace": (llama_metaspace, LISTS), "unigram": (unigram, None)}
    for name, (make, template) in kinds.items():
        folder = HERE / name
        fast = PreTrainedTokenizerFast(tokenizer_object=make(), bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
        fast.chat_template = template
        fast.save_pretrained(folder)
        bare_config(folder)
        fast = AutoTokenizer.from_pretrained(folder)
        cases = []
        for text in TEXTS:
            ids = fast(text)["input_ids"]
            cases.append({"text": text, "ids": ids, "plain": fast(text, add_special_tokens=False)["input_ids"],
                          "decoded": fast.decode(ids, skip_special_tokens=True), "special": fast.decode(ids, skip_special_tokens=False)})
        chats = []
        if template:
            parts = [{"type": "image"}, {"type": "text", "text": "How many stars?"}]
            content = parts if template == LISTS else "How many stars?"
            messages = [{"role": "user", "content": content}]
            chats.append({"messages": messages, "text": fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)})
        (folder / "cases.json").write_text(json.dumps({"cases": cases, "chats": chats}, indent=0) + "\n")
        print(name, len(fast), sum(f.stat().st_size for f in folder.iterdir()), "bytes")


main()
