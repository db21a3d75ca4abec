"""The untrained small BLIP-2, on OPT and on gated T5.

No width equals another's (vision, Q-Former, text), nor any size the published one's. As
with the published OPT checkpoints, an answer ends with a line break, not with `</s>`.
Both see alike, so the one on T5 can start from the tower and Q-Former of the other.
"""

from pathlib import Path

import torch
from torch import nn
from safetensors.torch import load_file
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessorPil,
    GenerationConfig,
    OPTConfig,
    T5Config,
)

from .byte_vocabulary import as_fast, byte_level, unigram
from .family import Family, Row, corpus, decode_with_prefix, set_half, tidy_tokenizer_config
from .pool import SQUARE_SIDE
from .vocabulary import IMAGE_TOKEN

PATCH_SIZE = 12
QUERIES = 9
PROMPT = "Question: {question} Answer:"
EMBEDDING_STD = 0.3


class Blip2(Family):
    cut = "square"
    image_side = SQUARE_SIDE

    def _build(self, text) -> None:
        vision = Blip2VisionConfig(
            image_size=SQUARE_SIDE,
            patch_size=PATCH_SIZE,
            hidden_size=96,
            intermediate_size=248,
            num_hidden_layers=4,
            num_attention_heads=3,
            initializer_range=0.05,  # the default, 1e-10, is for weights to be loaded
        )
        qformer = Blip2QFormerConfig(
            hidden_size=120,
            intermediate_size=208,
            num_hidden_layers=4,
            num_attention_heads=5,
            cross_attention_frequency=2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            vocab_size=32,  # unused: this Q-Former reads no text
            max_position_embeddings=16,
            initializer_range=0.05,
        )
        config = Blip2Config(
            vision_config=vision,
            qformer_config=qformer,
            text_config=text,
            num_query_tokens=QUERIES,
            image_text_hidden_size=24,
            image_token_index=self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
            tie_word_embeddings=False,
        )
        self.model = Blip2ForConditionalGeneration(config)
        with torch.no_grad():
            # Published ones start from zeros and load; equal queries would stay equal.
            self.model.query_tokens.normal_(0.0, 0.5)
        image_processor = BlipImageProcessorPil(size={"height": SQUARE_SIDE, "width": SQUARE_SIDE})
        self.image_mean, self.image_std = image_processor.image_mean, image_processor.image_std
        self.processor = Blip2Processor(image_processor, self.tokenizer, num_query_tokens=QUERIES)

    def features(self, pixels: torch.Tensor, questions: int) -> torch.Tensor:
        """[images * questions, QUERIES, hidden]"""
        return self.model.get_image_features(pixels).pooler_output.repeat_interleave(questions, 0)

    def inherit(self, folder: Path) -> None:
        seen = {name: value for name, value in load_file(folder / "model.safetensors").items() if self.inherited(name)}
        missing, unexpected = self.model.load_state_dict(seen, strict=False)
        assert not unexpected and not any(map(self.inherited, missing)), (missing, unexpected)

    def inherited(self, name: str) -> bool:
        return not name.startswith("language_")

    def save(self, folder: Path) -> None:
        config = self.model.config
        set_half(config.text_config, config.vision_config, config.qformer_config)
        for module in self.model.modules():
            module._keep_in_fp32_modules = None
        self.model.half().save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.processor.image_processor.save_pretrained(folder)
        tidy_tokenizer_config(folder)


class Blip2Opt(Blip2):
    name = "blip2-opt-shapes"
    length = 40
    rate = 1.2e-3

    def __init__(self) -> None:
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        tokenizer = byte_level(corpus(["Question:", " Answer:"]), 200, special, bos="</s>", eos=None)
        self.tokenizer = as_fast(
            tokenizer, bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>", padding_side="left"
        )
        (self.end,) = tokenizer.encode("\n", add_special_tokens=False).ids
        text = OPTConfig(
            vocab_size=472,
            hidden_size=144,
            word_embed_proj_dim=144,
            ffn_dim=400,
            num_hidden_layers=4,
            num_attention_heads=6,
            max_position_embeddings=120,
            dropout=0.0,
            attention_dropout=0.0,
            init_std=0.05,
            bos_token_id=2,
            eos_token_id=self.end,
            pad_token_id=1,
            tie_word_embeddings=True,
        )
        assert len(self.tokenizer) <= text.vocab_size
        self._build(text)
        special_ids = {"bos_token_id": 2, "eos_token_id": self.end, "pad_token_id": 1}
        self.model.generation_config = GenerationConfig(do_sample=False, **special_ids)
        self.model.language_model.generation_config = GenerationConfig(do_sample=False, **special_ids)

    def rows(self, question: str, answer: str) -> list[Row]:
        asked = self.tokenizer(PROMPT.format(question=question))["input_ids"]
        given = self.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"] + [self.end]
        return [(asked + given, [False] * len(asked) + [True] * len(given))]

    def answer_logits(self, pixels, ids, learned):
        text = self.model.language_model
        prefix = self.features(pixels, ids[0].shape[1])
        return [
            decode_with_prefix(
                text.model.decoder,
                text.get_input_embeddings(),
                text.lm_head,
                [prefix],
                ids[0].flatten(0, 1),
                learned[0].flatten(0, 1),
            )
        ]


class Blip2T5(Blip2):
    name = "blip2-t5-shapes"
    rate = 1.5e-3
    # Question and answer each get their share of a row: they go to different stacks.
    asked_length = 30
    length = asked_length + 26

    def __init__(self) -> None:
        special = ["<pad>", "</s>", "<unk>"]
        tokenizer = unigram(corpus(["Question:", "Answer:"]), 210, special, unknown="<unk>", eos="</s>")
        self.tokenizer = as_fast(tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
        text = T5Config(
            vocab_size=168,
            d_model=112,
            d_kv=24,
            d_ff=192,
            # The other way round transformers itself makes too small a cache.
            num_layers=4,
            num_decoder_layers=2,
            num_heads=6,
            relative_attention_num_buckets=20,
            relative_attention_max_distance=40,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
            eos_token_id=1,
            pad_token_id=0,
        )
        assert len(self.tokenizer) <= text.vocab_size
        self._build(text)
        special_ids = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
        self.model.generation_config = GenerationConfig(do_sample=False, **special_ids)
        self.model.language_model.generation_config = GenerationConfig(do_sample=False, **special_ids)
        self._untie()
        with torch.no_grad():
            # T5's own start suits tied embeddings and far wider layers.
            self.model.language_model.shared.weight.normal_(0.0, EMBEDDING_STD)
            self.model.language_model.lm_head.weight.normal_(0.0, 0.05)
            # The Q-Former ends with a norm: this makes its features as large as embeddings.
            projection = self.model.language_projection
            projection.weight.normal_(0.0, EMBEDDING_STD * projection.in_features**-0.5)

    def _untie(self) -> None:
        """Flan's head is a table of its own; transformers 5 makes it one with the words' unless a file holds both."""
        text = self.model.language_model
        text.lm_head.weight = nn.Parameter(text.lm_head.weight.detach().clone())

    def load(self, folder: Path) -> None:
        super().load(folder)
        self._untie()

    def rate_share(self, name: str) -> float:
        """T5 does not divide scores by sqrt(d_kv): its queries are that much smaller, and so must steps be."""
        return self.model.config.text_config.d_kv**-0.5 if name.endswith("Attention.q.weight") else 1.0

    def rows(self, question: str, answer: str) -> list[Row]:
        asked = self.tokenizer(PROMPT.format(question=question))["input_ids"]
        given = self.tokenizer(answer)["input_ids"]
        assert len(asked) <= self.asked_length, question
        asked = asked + [0] * (self.asked_length - len(asked))
        return [(asked + given, [False] * len(asked) + [True] * len(given))]

    def answer_logits(self, pixels, ids, learned):
        text = self.model.language_model
        prefix = self.features(pixels, ids[0].shape[1])
        asked, given = ids[0].flatten(0, 1).split([self.asked_length, self.length - self.asked_length], dim=1)
        wanted = learned[0].flatten(0, 1)[:, self.asked_length :]
        embeds = text.shared(asked)
        mask = torch.cat([torch.ones_like(asked[:, :QUERIES]), (asked != 0).long()], dim=1)
        embeds = torch.cat([prefix.to(embeds.dtype), embeds], dim=1)
        encoded = text.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        shifted = nn.functional.pad(given[:, :-1], (1, 0))
        hidden = text.decoder(
            input_ids=shifted, encoder_hidden_states=encoded, encoder_attention_mask=mask, use_cache=False
        ).last_hidden_state
        return [(text.lm_head(hidden[wanted]).float(), given[wanted], wanted.nonzero()[:, 0])]
