"""Tiny random T5, BART, mBART, Nougat and BLIP-2-T5 models of odd geometry and what transformers computes for them.

    python test/reference/make_encoder_decoder_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE/{config.json, model.safetensors, reference.safetensors}; the reference holds
    b1.* for one prompt, b3.* for three of different length, right-padded (or for as many images):
        input_ids, attention_mask int32 [batch, seq]                       not for Nougat
        encoder_output [batch, encoder_seq, hidden]                        not for Nougat: see visual
        logits float32 [batch, vocab] after the start token
        tokens int32 [batch, 32] greedy, beams int32 [batch, 11] of 3 beams; the start token left out
        logits_float16, logits_bfloat16: the same from rounded weights
    pixel_values [3, 3, H, W] and visual [3, N, hidden] for Nougat and BLIP-2
Needs torch and transformers.
"""

import sys

import parity
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    Blip2Config,
    Blip2ForConditionalGeneration,
    DonutSwinConfig,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

LENGTHS = (7, 19, 3)
# transformers 5.17 sizes the decoder's cache by the encoder's layers, so decoders here have no more of them.


def t5(cls=T5ForConditionalGeneration, config=T5Config, **changes):
    base = dict(vocab_size=107, d_model=40, d_kv=9, d_ff=52, num_layers=3, num_decoder_layers=2, num_heads=5, relative_attention_num_buckets=12,
                relative_attention_max_distance=17, decoder_start_token_id=0)
    return cls(config(**{**base, **changes}))


def bart(cls, config, **changes):
    base = dict(vocab_size=97, d_model=36, encoder_layers=3, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=4, encoder_ffn_dim=44,
                decoder_ffn_dim=52, max_position_embeddings=61, forced_eos_token_id=None, decoder_start_token_id=2)
    return cls(config(**{**base, **changes}))


def blip2(vision=None, **changes):
    text = t5(num_decoder_layers=None, num_layers=2, decoder_start_token_id=0, **changes).config.to_dict()
    seen = dict(hidden_size=30, intermediate_size=46, num_hidden_layers=2, num_attention_heads=5, image_size=26, patch_size=6, layer_norm_eps=1e-6)
    queries = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=38, vocab_size=40)
    config = Blip2Config(text_config=text, vision_config={**seen, **(vision or {})}, qformer_config=queries, num_query_tokens=5, image_token_index=text["vocab_size"] - 1)
    return Blip2ForConditionalGeneration(config)


def nougat(swin, **changes):
    decoder = dict(vocab_size=89, d_model=swin["embed_dim"] * 2 ** (len(swin["depths"]) - 1), decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=44,
                   encoder_layers=3, encoder_ffn_dim=8, encoder_attention_heads=4, max_position_embeddings=53, scale_embedding=True, add_final_layer_norm=True,
                   is_encoder_decoder=False, is_decoder=True, add_cross_attention=True, forced_eos_token_id=None)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(DonutSwinConfig(**swin), MBartConfig(**{**decoder, **changes}))
    config.decoder_start_token_id, config.pad_token_id = 0, 1
    return VisionEncoderDecoderModel(config)


CASES = {
    "t5_plain": lambda: t5(),
    "t5_gated": lambda: t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False, d_model=32, d_kv=16, num_heads=3, num_decoder_layers=None,
                           relative_attention_num_buckets=8, relative_attention_max_distance=32, vocab_size=91),
    "t5_multilingual_gated": lambda: t5(MT5ForConditionalGeneration, MT5Config, feed_forward_proj="gated-gelu", d_model=28, d_kv=12, d_ff=36, num_heads=5,
                                        vocab_size=79),
    "bart_post": lambda: bart(BartForConditionalGeneration, BartConfig),
    "bart_scaled": lambda: bart(BartForConditionalGeneration, BartConfig, scale_embedding=True, activation_function="relu", d_model=40,
                                encoder_attention_heads=5, decoder_attention_heads=5, vocab_size=83),
    "mbart_pre": lambda: bart(MBartForConditionalGeneration, MBartConfig, scale_embedding=True),
    "mbart_forced": lambda: bart(MBartForConditionalGeneration, MBartConfig, d_model=28, encoder_attention_heads=7, decoder_attention_heads=2),
    "blip2t5_plain": lambda: blip2(d_model=28, d_kv=8, d_ff=36, num_heads=3, vocab_size=83),
    # The exact gelu, as Salesforce published BLIP-2's FLAN-T5; elsewhere gated-gelu is the tanh form.
    "blip2t5_gated": lambda: blip2(d_model=20, d_kv=10, d_ff=28, num_heads=3, vocab_size=71, feed_forward_proj="gated-gelu", dense_act_fn="gelu",
                                   tie_word_embeddings=False, vision=dict(image_size=21, patch_size=7, num_attention_heads=3)),
    # 14 × 11 patches of 4, the second half filled by padding; windows of 3: padded grids, shifts, odd merges.
    "nougat_odd": lambda: nougat(dict(image_size=[55, 42], patch_size=4, embed_dim=8, depths=[2, 2, 1], num_heads=[2, 2, 4], window_size=3)),
    # One window spans the last stage's smaller side: it is not shifted.
    "nougat_wide": lambda: nougat(dict(image_size=[48, 80], patch_size=4, embed_dim=12, depths=[2, 3], num_heads=[3, 4], window_size=6, mlp_ratio=2.5,
                                       qkv_bias=False), vocab_size=71, decoder_layers=3),
}
FORCED = {"mbart_forced": (11, 2)}


def inputs(vocab, lengths, image_token=0, features=0):
    """Random ids behind `features` placeholders, padded on the right."""
    ids = torch.full((len(lengths), max(lengths) + features), 1)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :features] = image_token
        ids[row, features:features + length] = torch.randint(3, vocab - 1, (length,))
        mask[row, :features + length] = 1
    return dict(input_ids=ids, attention_mask=mask)


def answer(model, given):
    start = model.generation_config.decoder_start_token_id
    batch = next(iter(given.values())).shape[0]
    with torch.no_grad():
        out = model(**given, decoder_input_ids=torch.full((batch, 1), start))
        tokens = model.generate(**given, do_sample=False, num_beams=1, max_new_tokens=parity.NEW_TOKENS, min_new_tokens=parity.NEW_TOKENS)
    return getattr(out, "language_model_outputs", out), tokens[:, -parity.NEW_TOKENS:]


def make(name):
    torch.manual_seed(sum(name.encode()))
    model = CASES[name]().float().eval()
    parity.randomise(model)
    for key, p in model.named_parameters():
        # T5 does not divide scores by √d: its weights are that much smaller.
        if key.endswith(("Attention.q.weight", "EncDecAttention.q.weight")):
            p.data = (p.data * model.config.get_text_config().d_kv ** -0.5).half().float()
        # Blocks that outweigh the token they start from, or a tied head repeats it for ever.
        if key.endswith(("out_proj.weight", "fc2.weight", ".o.weight", "wo.weight")):
            p.data = (p.data * (1 if name.startswith("bart") else 3)).half().float()
        # Positions that matter, for answers that go on changing.
        if "embed_positions" in key:
            p.data = (torch.randn_like(p) * ({"bart_scaled": 9, "bart_post": 3, "mbart_pre": 3}.get(name, 1))).half().float()
        if "relative_" in key:
            p.data = torch.randn_like(p).half().float()
    model.tie_weights()
    if name.endswith("_gated"):
        text = getattr(model, "language_model", model)
        text.lm_head.weight = torch.nn.Parameter(torch.randn_like(text.lm_head.weight).mul(0.2).half().float())
    is_blip2, is_nougat = name.startswith("blip2"), name.startswith("nougat")
    # Swin's tables of indices are stored too, and come from no seed.
    if not is_nougat:
        model = parity.reseeded(model, name)
    settings = model.generation_config
    settings.eos_token_id, settings.pad_token_id = None, 1
    settings.forced_bos_token_id, settings.forced_eos_token_id = FORCED.get(name, (None, None))
    config = model.config
    settings.decoder_start_token_id = 0 if is_blip2 else config.decoder_start_token_id
    if is_blip2:
        parity.plain_generation(model.language_model)
        model.language_model.generation_config.decoder_start_token_id = 0
    out, placement = {}, {}
    if is_nougat or is_blip2:
        pixels = torch.randn(3, 3, *(config.encoder.image_size if is_nougat else [config.vision_config.image_size] * 2))
        with torch.no_grad():
            visual = model.encoder(pixels).last_hidden_state if is_nougat else model.get_image_features(pixel_values=pixels).pooler_output
        visual = visual if torch.is_tensor(visual) else torch.stack(list(visual))
        out["pixel_values"], out["visual"] = pixels, visual
    if is_blip2:
        placement = dict(image_token=config.image_token_index, features=visual.shape[1])
    halves = {str(dtype).split(".")[1]: parity.rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag, lengths in (("b1", LENGTHS[:1]), ("b3", LENGTHS)):
        given = {} if is_nougat else inputs(config.get_text_config().vocab_size, lengths, **placement)
        shown = dict(pixel_values=pixels[: len(lengths)]) if is_nougat or is_blip2 else {}
        out.update({f"{tag}.{key}": value.int() for key, value in given.items()})
        given = {**given, **shown}
        result, tokens = answer(model, given)
        if not is_nougat:
            out[f"{tag}.encoder_output"] = result.encoder_last_hidden_state
        with torch.no_grad():
            best = model.generate(**given, do_sample=False, num_beams=3, max_new_tokens=11, min_new_tokens=11)
        out[f"{tag}.beams"] = best[:, -11:].int()
        out[f"{tag}.logits"], out[f"{tag}.tokens"] = result.logits[:, -1], tokens.int()
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = answer(half, given)[0].logits[:, -1]
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())), tuple(out["b3.tokens"].shape))
    folder = parity.OUT / name
    if is_nougat:
        model.half().save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
    parity.write_reference(folder, out)
    if settings.forced_bos_token_id is not None:
        settings.save_pretrained(folder)


for case in sys.argv[1:] or CASES:
    make(case)
