"""The untrained small Nougat: a Donut-Swin encoder and an mBART decoder.

Windows of 5 fit no stage's grid (24 x 56, 12 x 28, 6 x 14), so every stage pads; one
stage has an odd number of layers. The published ones' windows always fit.
"""

from pathlib import Path

import torch
from transformers import (
    DonutSwinConfig,
    GenerationConfig,
    MBartConfig,
    NougatImageProcessorPil,
    NougatProcessor,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from .byte_vocabulary import as_fast, byte_level
from .family import set_half, tidy_tokenizer_config
from .pages import WIDTH, markdown, sample_page

HEIGHT = 96
MAX_TOKENS = 48
NAME = "nougat-shapes"


def build_processor() -> NougatProcessor:
    corpus = (markdown(sample_page(seed)) for seed in range(3000))
    tokenizer = byte_level(corpus, 380, ["<s>", "<pad>", "</s>", "<unk>"], bos="<s>", eos="</s>")
    fast = as_fast(
        tokenizer, image=False, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    return NougatProcessor(NougatImageProcessorPil(size={"height": HEIGHT, "width": WIDTH}), fast)


def build_model(tokens: int) -> VisionEncoderDecoderModel:
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    encoder = DonutSwinConfig(
        image_size=[HEIGHT, WIDTH],
        patch_size=4,
        embed_dim=40,
        depths=[1, 3, 2],
        num_heads=[2, 4, 5],
        window_size=5,
        mlp_ratio=2.0,
        drop_path_rate=0.0,
        hidden_dropout_prob=0.0,
        initializer_range=0.04,
    )
    decoder = MBartConfig(
        is_decoder=True,
        is_encoder_decoder=False,
        add_cross_attention=True,
        vocab_size=(tokens + 15) // 8 * 8,
        d_model=160,
        decoder_layers=3,
        decoder_attention_heads=4,
        decoder_ffn_dim=336,
        max_position_embeddings=MAX_TOKENS + 8,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        scale_embedding=True,
        add_final_layer_norm=True,
        init_std=0.04,
        tie_word_embeddings=False,
        forced_eos_token_id=None,
        decoder_start_token_id=0,
        **special,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = 0
    config.pad_token_id, config.eos_token_id = 1, 2
    config.tie_word_embeddings = False
    model = VisionEncoderDecoderModel(config=config)
    model.generation_config = GenerationConfig(do_sample=False, decoder_start_token_id=0, **special)
    return model


def save(model: VisionEncoderDecoderModel, processor: NougatProcessor, folder: Path) -> None:
    set_half(model.config.encoder, model.config.decoder)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    tidy_tokenizer_config(folder)


def text_logits(model, pixels, ids, learned) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, targets and rows of the tokens to learn; ids [pages, length] begin with `<s>`."""
    encoded = model.encoder(pixels).last_hidden_state
    hidden = model.decoder.model(
        input_ids=ids[:, :-1], encoder_hidden_states=encoded, use_cache=False
    ).last_hidden_state
    wanted = learned[:, 1:]
    return model.decoder.lm_head(hidden[wanted]).float(), ids[:, 1:][wanted], wanted.nonzero()[:, 0]
