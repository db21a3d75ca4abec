"""A tiny LLaVA-OneVision with a tokenizer, a processor and a chat template, and what transformers answers about pictures of several sizes.

    python test/reference/make_onevision_chat_fixture.py

Writes test/fixtures/parity/onevision_chat: the model's files, weights.json (seeded.py) and chat.json: questions, pictures of
test/fixtures/image, the processor's input_ids and 24 greedy tokens; and verify.safetensors, the first question's stages. Two pictures of one question are
square tiles. Needs torch, transformers and pillow.
"""

import json

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast, Qwen2Config, SiglipVisionConfig
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

import parity

NAME, TILE, SIDE, NEW, MOST = "onevision_chat", 12, 3, 24, "anyres_max_2"
FIXTURES = parity.OUT.parent
GRIDS = [[TILE * r, TILE * c] for r in (1, 2, 3) for c in (1, 2, 3)]
TEMPLATE = """{% for message in messages %}<|im_start|>{{ message['role'] }} {% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}
{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
QUESTIONS = [("What is in the picture?", ["rgb-61x43.png"]), ("How many are there?", []), ("Which one is larger?", ["rgb-23x31.png", "rgb-3x989.png"])]

folder = parity.OUT / NAME
folder.mkdir(exist_ok=True)
tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FIXTURES / "tokenizers" / "gpt2" / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="<pad>")
tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
settings = dict(size=dict(height=TILE, width=TILE), image_grid_pinpoints=GRIDS)
pictures = LlavaOnevisionImageProcessorPil(**settings)
image_token = tokenizer.convert_tokens_to_ids("<image>")

torch.manual_seed(7)
text = Qwen2Config(vocab_size=len(tokenizer), hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
                   max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
vision = SiglipVisionConfig(hidden_size=21, intermediate_size=34, num_hidden_layers=2, num_attention_heads=3, image_size=TILE, patch_size=TILE // SIDE)
model = LlavaOnevisionForConditionalGeneration(LlavaOnevisionConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), image_token_index=image_token,
                                                                    video_token_index=image_token + 1, image_grid_pinpoints=GRIDS, vision_aspect_ratio=MOST))
parity.randomise(model)
model = parity.reseeded(model, NAME)
parity.plain_generation(model)


class Processor(LlavaOnevisionProcessor):
    """The processor's own count of placeholders; videos, whose part needs torchvision, are left out."""

    def __init__(self):
        self.image_processor, self.num_image_tokens, self.vision_feature_select_strategy = pictures, SIDE**2, "full"
        self.image_token, self.vision_aspect_ratio = "<image>", MOST


def prepared(question, names):
    content = [{"type": "image"} for _ in names] + [{"type": "text", "text": question}]
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": content}], chat_template=TEMPLATE, add_generation_prompt=True, tokenize=False)
    if not names:
        return dict(tokenizer(prompt, add_special_tokens=False, return_tensors="pt"))
    images = [Image.open(FIXTURES / "image" / name).convert("RGB") for name in names]
    seen = pictures([images], return_tensors="pt")
    first, *rest = prompt.split("<image>")
    prompt = first + "".join(Processor().replace_image_token(seen, i) + part for i, part in enumerate(rest))
    return {**tokenizer(prompt, add_special_tokens=False, return_tensors="pt"), **seen}


def write_stages(question, picture, inputs, tokens):
    """What mmtrt verify compares; of each layer the last two rows."""
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
    layers = {f"layer_{i}": x[0, -2:] for i, x in enumerate(out.hidden_states[1:-1])}
    stages = dict(input_ids=inputs["input_ids"][0].int(), pixel_values=inputs["pixel_values"][0], image_sizes=inputs["image_sizes"].int(),
                  inputs_embeds=out.hidden_states[0][0], **layers, logits=out.logits[0, -1], tokens=tokens.int())
    save_file({name: x.contiguous() for name, x in stages.items()}, folder / "verify.safetensors", dict(image=f"../../image/{picture}", question=question))


items = []
for question, names in QUESTIONS:
    inputs = prepared(question, names)
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=NEW, min_new_tokens=NEW)[0, inputs["input_ids"].shape[1]:]
    if not items:
        write_stages(question, names[0], inputs, tokens)
    items.append(dict(question=question, images=names, input_ids=inputs["input_ids"][0].tolist(), tokens=tokens.tolist()))
    print(question, len(items[-1]["input_ids"]), len(set(items[-1]["tokens"])))

tokenizer.save_pretrained(folder)
for unused in folder.glob("chat_template*"):
    unused.unlink()
(folder / "chat_template.jinja").write_text(TEMPLATE)
(folder / "preprocessor_config.json").write_text(json.dumps(dict(image_processor_type="LlavaOnevisionImageProcessor", **settings, do_pad=True)) + "\n")
processor = dict(processor_class="LlavaOnevisionProcessor", num_image_tokens=SIDE**2, vision_aspect_ratio=MOST, vision_feature_select_strategy="full")
(folder / "processor_config.json").write_text(json.dumps(processor) + "\n")
(folder / "chat.json").write_text("[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]\n")
