"""Tokenizers of the other kinds: GPT-2's and OPT's byte-level BPE, T5's unigram pieces.

Trained on our few words. Each carries the special tokens of its family, at the ids that
the published checkpoints give them, and `<image>` after all else.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from .vocabulary import IMAGE_TOKEN

# Low enough that a whole word always wins over its letters.
LETTER_SCORE = -14.0
PRINTABLE = [chr(code) for code in range(32, 127)]


def byte_level(corpus: Iterable[str], pieces: int, special: list[str], bos: str | None, eos: str | None) -> Tokenizer:
    """Byte-level BPE with `pieces` merges; texts begin with `bos` and end with `eos`, if given."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 256 + pieces,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    _surround(tokenizer, bos, eos)
    return tokenizer


def unigram(corpus: Iterable[str], pieces: int, special: list[str], unknown: str, eos: str) -> Tokenizer:
    """Unigram pieces: the commonest words, and all of printable ASCII; texts end with `eos`.

    Scores are log-likelihoods, as trained ones are. So few words need no training, whose
    outcome here is mostly single letters.
    """
    counts = Counter(word for text in corpus for word in re.findall(r"[A-Za-z]+|[^A-Za-z ]", text))
    words = [(word, count) for word, count in counts.most_common(pieces) if word.isalpha()]
    total = sum(counts.values())
    vocabulary = [(token, 0.0) for token in special]
    vocabulary += [(f"▁{word}", math.log(count / total)) for word, count in words]
    vocabulary += [(character, LETTER_SCORE) for character in ["▁", *PRINTABLE] if character != " "]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=special.index(unknown), byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("\n", " "), normalizers.Strip(left=True, right=True)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    _surround(tokenizer, None, eos)
    return tokenizer


def _surround(tokenizer: Tokenizer, bos: str | None, eos: str | None) -> None:
    if bos or eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(part for part in (bos, "$A", eos) if part),
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in {bos, eos} if token],
        )


def as_fast(tokenizer: Tokenizer, image: bool = True, **settings) -> PreTrainedTokenizerFast:
    """Adds `<image>`, as an added token alone: Blip2Processor wants no `image_token` setting."""
    if image:
        tokenizer.add_special_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, clean_up_tokenization_spaces=False, **settings
    )
