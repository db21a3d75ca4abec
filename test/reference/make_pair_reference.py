"""Records what transformers computes at each stage of an encoder-decoder: T5, BART, mBART, BLIP-2 with T5, Nougat.

    python test/reference/make_pair_reference.py MODEL --text T --output F              T5, BART, mBART
    python test/reference/make_pair_reference.py MODEL --image I --output F             Nougat
    python test/reference/make_pair_reference.py MODEL --image I --ids 5,6,7 --output F BLIP-2 (or --text, with a tokenizer)

`mmtrt verify` compares an engine's stages with these, to say which one went wrong. All arrays are float32, from the model
run in float32 on the CPU, ids int32:

    pixel_values       [1, 3, H, W]
    stage_{k}          [patches, width]   a Swin's stages, before their patches are merged
    vision             [N, width]         what the image encoder gives
    qformer, projector [queries, width]
    input_ids          [T]                what the encoder reads, with one image token per feature; not Nougat's
    encoder_embeds     [T, hidden]        what its first layer takes
    encoder_layer_{k}  [T, hidden]
    encoder_output     [T, hidden]        after the final norm
    cross_key_{k}, cross_value_{k} [heads, T, head_dim] of decoder layer k
    decoder_input_ids  [n]                the start token and what the model answers next
    inputs_embeds      [n, hidden]        what the decoder's first layer takes
    layer_{k}          [n, hidden]
    logits             [vocabulary]       after the last of them
    tokens             [<= new tokens]    greedy answer, up to and with the end token; a first token is forced where
                                          generation_config.json says so, a last one is not
    tokens_free        [new tokens]       greedy without stopping at it

The metadata says what was asked: image (relative to the file), question, and the transformers version.
"""

import argparse
import os
from pathlib import Path

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    Blip2ForConditionalGeneration,
    BlipImageProcessorPil,
    NougatImageProcessorPil,
    VisionEncoderDecoderModel,
)

FORCED_STEPS = 5


class Stages:
    """Catches tensors on their way through modules, the first time they pass."""

    def __init__(self):
        self.caught: dict[str, torch.Tensor] = {}

    def catch(self, name, value):
        value = value[0] if isinstance(value, tuple) else value
        self.caught.setdefault(name, value.detach()[0].clone())

    def output(self, module, name, pick=lambda value: value):
        module.register_forward_hook(lambda _m, _i, out: self.catch(name, pick(out)))

    def input(self, module, name):
        module.register_forward_pre_hook(lambda _m, inputs, kw: self.catch(name, inputs[0] if inputs else kw["hidden_states"]), with_kwargs=True)

    def heads(self, module, name, count):
        """A projection [1, T, heads · d] by heads."""
        module.register_forward_hook(lambda _m, _i, out: self.catch(name, out.unflatten(-1, (count, -1)).transpose(1, 2)))

    def t5(self, encoder, decoder):
        self._stack(encoder.block, encoder.final_layer_norm, decoder.block)
        for k, block in enumerate(decoder.block):
            attention = block.layer[1].EncDecAttention
            self.heads(attention.k, f"cross_key_{k}", attention.n_heads)
            self.heads(attention.v, f"cross_value_{k}", attention.n_heads)

    def bart(self, encoder, decoder):
        if encoder is None:
            self._stack([], None, decoder.layers)
        else:
            # BART ends with its last layer, mBART with a norm.
            self._stack(encoder.layers, getattr(encoder, "layer_norm", encoder.layers[-1]), decoder.layers)
        for k, layer in enumerate(decoder.layers):
            self.heads(layer.encoder_attn.k_proj, f"cross_key_{k}", layer.encoder_attn.num_heads)
            self.heads(layer.encoder_attn.v_proj, f"cross_value_{k}", layer.encoder_attn.num_heads)

    def swin(self, encoder):
        for k, stage in enumerate(encoder.encoder.layers):
            self.output(stage, f"stage_{k}", lambda out: out[1])

    def blip2(self, model):
        self.input(model.qformer.layernorm, "queries")
        self.output(model.vision_model, "vision", lambda out: out.last_hidden_state)
        self.output(model.qformer, "qformer", lambda out: out.last_hidden_state)
        self.output(model.language_projection, "projector")

    def _stack(self, encoder_layers, last, decoder_layers):
        for k, layer in enumerate(encoder_layers):
            self.output(layer, f"encoder_layer_{k}")
        if last is not None:
            self.input(encoder_layers[0], "encoder_embeds")
            self.output(last, "encoder_output")
        self.input(decoder_layers[0], "inputs_embeds")
        for k, layer in enumerate(decoder_layers):
            self.output(layer, f"layer_{k}")


def load(folder):
    config = AutoConfig.from_pretrained(folder)
    stages, kind = Stages(), config.model_type
    eager = dict(dtype=torch.float32, attn_implementation="eager")
    if kind == "vision-encoder-decoder":
        model = VisionEncoderDecoderModel.from_pretrained(folder, dtype=torch.float32).float().eval()
        stages.swin(model.encoder)
        stages.bart(None, model.decoder.model.decoder)
    elif kind == "blip-2":
        model = Blip2ForConditionalGeneration.from_pretrained(folder, **eager).float().eval()
        stages.blip2(model)
        stages.t5(model.language_model.encoder, model.language_model.decoder)
    else:
        model = AutoModelForSeq2SeqLM.from_pretrained(folder, **eager).float().eval()
        (stages.t5 if kind == "t5" else stages.bart)(model.get_encoder(), model.get_decoder())
    return model, stages


def inputs_of(model, folder, image, text, ids):
    given, features = {}, 0
    if image is not None:
        kind = NougatImageProcessorPil if model.config.model_type == "vision-encoder-decoder" else BlipImageProcessorPil
        given["pixel_values"] = kind.from_pretrained(folder)(Image.open(image).convert("RGB"), return_tensors="pt").pixel_values
        features = getattr(model.config, "num_query_tokens", 0)
    if text is not None:
        ids = AutoTokenizer.from_pretrained(folder)(text).input_ids
    if ids is not None:
        front = [model.config.image_token_index] * features if features else []
        given["input_ids"] = torch.tensor([front + list(ids)])
        given["attention_mask"] = torch.ones_like(given["input_ids"])
    return given


@torch.no_grad()
def make_reference(folder, output, image=None, text=None, ids=None, new_tokens=24):
    """Writes one reference file."""
    model, stages = load(folder)
    given = inputs_of(model, folder, image, text, ids)
    settings = model.generation_config
    settings.forced_eos_token_id, settings.no_repeat_ngram_size, settings.min_length = None, None, 0
    first = settings.forced_bos_token_id
    start = settings.decoder_start_token_id
    if start is None:
        start = model.config.get_text_config().decoder_start_token_id
    end = settings.eos_token_id if settings.eos_token_id is not None else getattr(model.config.get_text_config(), "eos_token_id", None)
    free = greedy(model, given, [start], first, new_tokens)
    known = [start, *free[: FORCED_STEPS - 1]]
    stages.caught.clear()
    logits = model(**given, decoder_input_ids=torch.tensor([known]), use_cache=False).logits[0, -1]
    ended = free.index(end) + 1 if end in free else new_tokens
    found = {name: value for name, value in stages.caught.items() if name != "queries"}
    if "stage_0" in found:
        found["vision"] = model.encoder(given["pixel_values"]).last_hidden_state[0]
    arrays = {key: value[0].int() for key, value in given.items() if key == "input_ids"}
    arrays |= {key: value for key, value in given.items() if key == "pixel_values"}
    arrays |= {**found, "decoder_input_ids": ints(known), "logits": logits, "tokens": ints(free[:ended]), "tokens_free": ints(free)}
    about = {"transformers": transformers.__version__}
    about |= {} if image is None else {"image": os.path.relpath(image, Path(output).parent)}
    about |= {} if text is None else {"question": text}
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous().clone() for name, value in arrays.items()}, output, about)
    print(f"{output}: {sorted(arrays)} {len(set(free))} distinct tokens")


def ints(values):
    return torch.tensor(values, dtype=torch.int32)


def greedy(model, given, known, first, count):
    """Pays no heed to the end token; without a cache, so that nothing is shared with what is checked."""
    tokens = []
    while len(tokens) < count:
        logits = model(**given, decoder_input_ids=torch.tensor([[*known, *tokens]]), use_cache=False).logits[0, -1]
        tokens.append(first if first is not None and not tokens else logits.argmax().item())
    return tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--text", help="through the model's tokenizer")
    parser.add_argument("--ids", help="token ids instead, as 5,6,7")
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    ids = None if options.ids is None else [int(one) for one in options.ids.split(",")]
    make_reference(options.model, options.output, options.image, options.text, ids, options.new_tokens)


if __name__ == "__main__":
    main()
