"""The tokenizer the small models share: Llama's kind of BPE, over our few words.

Like Llama's it marks spaces with "▁", falls back to bytes for what it never saw (so
any user text encodes), and begins every text with `<s>`. Image and padding tokens come
last, as in the published LLaVA checkpoints.
"""

import json
import random
from collections.abc import Iterator, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from .questions import all_questions
from .scenes import sample_scene

IMAGE_TOKEN = "<image>"
BYTES = [f"<0x{value:02X}>" for value in range(256)]


def build_tokenizer(
    prompts: Sequence[str],
    pieces: int = 200,
    scenes: int = 2000,
    chat_template: str | None = None,
) -> PreTrainedTokenizerFast:
    """Trains `pieces` merged tokens on the questions of some scenes and the `prompts`."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    head = ["<unk>", "<s>", "</s>", *BYTES]
    # The trainer adds all of these as special tokens; only the first three may stay so.
    trainer = trainers.BpeTrainer(vocab_size=len(head) + pieces, special_tokens=head, show_progress=False)
    tokenizer.train_from_iterator(_corpus(prompts, scenes), trainer)
    tokenizer = _with_plain_bytes(tokenizer)
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>", "</s>", IMAGE_TOKEN, "<pad>")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        chat_template=chat_template,
    )


def _corpus(prompts: Sequence[str], scenes: int) -> Iterator[str]:
    yield from prompts
    for seed in range(scenes):
        for question in all_questions(sample_scene(seed), random.Random(seed)):
            yield question.text
            yield question.answer


def _with_plain_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """Rebuilds the tokenizer without its added tokens.

    Byte tokens must be ordinary vocabulary: as added tokens they would match the
    literal text "<0x0A>" and be dropped from what the model says.
    """
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(state))
