"""A tiny Idefics3 with a tokenizer, a processor and a chat template, and what transformers answers about pictures of several sizes.

    python test/reference/make_idefics3_chat_fixture.py

Writes test/fixtures/parity/idefics3_chat: the model's files, weights.json (seeded.py) and chat.json: questions, pictures of
test/fixtures/image, the processor's input_ids and 24 greedy tokens; and verify.safetensors, the first question's stages. Needs torch, transformers and pillow.
"""

import json

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig, PreTrainedTokenizerFast
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

import parity

NAME, TILE, LONGEST, NEW = "idefics3_chat", 18, 54, 24
FIXTURES = parity.OUT.parent
TEMPLATE = """<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %} {{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"""
QUESTIONS = [("What is in the picture?", ["rgb-61x43.png"]), ("How many are there?", []), ("Which one is larger?", ["rgb-23x31.png", "rgb-3x989.png"])]

folder = parity.OUT / NAME
folder.mkdir(exist_ok=True)
tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FIXTURES / "tokenizers" / "gpt2" / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="<pad>")
markers = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<|im_start|>", *(f"<row_{r}_col_{c}>" for r in (1, 2, 3) for c in (1, 2, 3))]
tokenizer.add_special_tokens({"additional_special_tokens": markers})
settings = dict(size={"longest_edge": LONGEST}, max_image_size={"longest_edge": TILE})
processor = Idefics3Processor(Idefics3ImageProcessorPil(**settings), tokenizer, image_seq_len=4, chat_template=TEMPLATE)
image_token = tokenizer.convert_tokens_to_ids("<image>")

torch.manual_seed(7)
text = LlamaConfig(vocab_size=len(tokenizer), hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=10,
                   max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
vision = dict(hidden_size=21, intermediate_size=34, num_hidden_layers=2, num_attention_heads=3, image_size=TILE, patch_size=3)
model = Idefics3ForConditionalGeneration(Idefics3Config(text_config=text, vision_config=vision, image_token_id=image_token, scale_factor=3, pad_token_id=tokenizer.pad_token_id))
parity.randomise(model)
model = parity.reseeded(model, NAME)
parity.plain_generation(model)



def write_stages(question, picture, inputs, tokens):
    """What mmtrt verify compares; of each layer the last two rows."""
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
        projector = model.model.get_image_features(inputs["pixel_values"], inputs["pixel_attention_mask"]).pooler_output
    layers = {f"layer_{i}": x[0, -2:] for i, x in enumerate(out.hidden_states[1:-1])}
    stages = dict(input_ids=inputs["input_ids"][0].int(), pixel_values=inputs["pixel_values"][0], projector=projector, **layers, logits=out.logits[0, -1], tokens=tokens.int())
    save_file({name: x.contiguous() for name, x in stages.items()}, folder / "verify.safetensors", dict(image=f"../../image/{picture}", question=question))


items = []
for question, pictures in QUESTIONS:
    content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.open(FIXTURES / "image" / name).convert("RGB") for name in pictures]
    inputs = processor(text=prompt, images=[images] if images else None, return_tensors="pt")
    with torch.no_grad():
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=NEW, min_new_tokens=NEW)[0, inputs["input_ids"].shape[1]:]
    if not items:
        write_stages(question, pictures[0], inputs, tokens)
    items.append(dict(question=question, images=pictures, input_ids=inputs["input_ids"][0].tolist(), tokens=tokens.tolist()))
    print(question, len(items[-1]["input_ids"]), len(set(items[-1]["tokens"])))

tokenizer.save_pretrained(folder)
for unused in folder.glob("chat_template*"):
    unused.unlink()
(folder / "chat_template.jinja").write_text(TEMPLATE)
image = dict(image_processor_type="Idefics3ImageProcessor", **settings, resample=1, do_image_splitting=True, do_pad=True)
(folder / "preprocessor_config.json").write_text(json.dumps(image) + "\n")
(folder / "processor_config.json").write_text(json.dumps(dict(processor_class="Idefics3Processor", image_seq_len=4)) + "\n")
(folder / "chat.json").write_text("[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]\n")
