"""A tiny Qwen2.5-VL with a tokenizer, a processor and a chat template, and what transformers answers about pictures of several sizes.

    python test/reference/make_qwen_vl_chat_fixture.py

Writes test/fixtures/parity/qwen2_5_vl_chat: the model's files, weights.json (seeded.py) and chat.json: questions, pictures of test/fixtures/image,
the processor's input_ids, 24 greedy tokens and the first ones of 3 beams; and verify.safetensors, the first question's stages. Needs torch,
transformers and pillow.
"""

import json

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import parity

NAME, NEW, BEAMS = "qwen2_5_vl_chat", 24, 8
FIXTURES = parity.OUT.parent
MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
# As published ones do: a system turn of its own, pictures counted, and numbered where that is asked for.
TEMPLATE = """{% set seen = namespace(pictures=0) %}{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You look at pictures.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' or 'image' in part %}{% set seen.pictures = seen.pictures + 1 %}{% if add_vision_id %}Picture {{ seen.pictures }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
QUESTIONS = [("What is in the picture?", ["rgb-61x43.png"]), ("How many are there?", []), ("Which one is larger?", ["rgb-23x31.png", "edges-30x20.png"]),
             ("Is it long?", ["grey.png"])]
SETTINGS = dict(patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=192, max_pixels=1500)


class Processor(Qwen2_5_VLProcessor):
    """Without videos, whose processor wants torchvision."""

    def check_argument_for_proper_class(self, name, given):
        return None


folder = parity.OUT / NAME
folder.mkdir(exist_ok=True)
tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FIXTURES / "tokenizers" / "gpt2" / "tokenizer.json"), eos_token="</s>", pad_token="<pad>")
tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
processor = Processor(Qwen2VLImageProcessorPil(**SETTINGS), tokenizer, None, chat_template=TEMPLATE)
ids = dict(zip(("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id"), tokenizer.convert_tokens_to_ids(MARKS[2:])))

torch.manual_seed(11)
text = dict(vocab_size=len(tokenizer), hidden_size=40, intermediate_size=50, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
            rope_parameters=dict(rope_type="default", rope_theta=5000.0, mrope_section=[1, 2, 2]), pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"))
vision = dict(depth=2, hidden_size=24, num_heads=3, intermediate_size=30, out_hidden_size=40, patch_size=4, spatial_merge_size=2, temporal_patch_size=2, window_size=16,
              fullatt_block_indexes=[1])
model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids))
parity.randomise(model)
model = parity.reseeded(model, NAME)
parity.plain_generation(model)
# Kept from ending too early as mmtrt keeps it.
model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")


def write_stages(question, picture, inputs, tokens):
    """What mmtrt verify compares; of each layer the last two rows."""
    model.model.rope_deltas = None
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
        projector = model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output[0]
    layers = {f"layer_{i}": x[0, -2:] for i, x in enumerate(out.hidden_states[1:-1])}
    stages = dict(input_ids=inputs["input_ids"][0].int(), pixel_values=inputs["pixel_values"], image_grid_thw=inputs["image_grid_thw"].int(), projector=projector, **layers,
                  logits=out.logits[0, -1], tokens=tokens.int())
    save_file({name: x.contiguous() for name, x in stages.items()}, folder / "verify.safetensors", dict(image=f"../../image/{picture}", question=question))


def generated(inputs, count, **how):
    model.model.rope_deltas = None
    with torch.no_grad():
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=count, min_new_tokens=count, **how)
    return tokens[0, inputs["input_ids"].shape[1]:]


items = []
for question, pictures in QUESTIONS:
    content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": question}]
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": content}], chat_template=TEMPLATE, add_generation_prompt=True, tokenize=False)
    images = [Image.open(FIXTURES / "image" / name).convert("RGB") for name in pictures]
    inputs = processor(text=prompt, images=images or None, return_tensors="pt")
    tokens = generated(inputs, NEW)
    if not items:
        write_stages(question, pictures[0], inputs, tokens)
    beams = generated(inputs, BEAMS, num_beams=3)
    items.append(dict(question=question, images=pictures, input_ids=inputs["input_ids"][0].tolist(), tokens=tokens.tolist(), beams=beams.tolist()))
    print(question, inputs.get("image_grid_thw"), len(items[-1]["input_ids"]), len(set(items[-1]["tokens"])))

tokenizer.save_pretrained(folder)
for unused in folder.glob("chat_template*"):
    unused.unlink()
(folder / "chat_template.jinja").write_text(TEMPLATE)
(folder / "preprocessor_config.json").write_text(json.dumps(dict(image_processor_type="Qwen2VLImageProcessor", **SETTINGS)) + "\n")
(folder / "chat.json").write_text("[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]\n")
