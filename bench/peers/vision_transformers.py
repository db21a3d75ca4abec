"""LLaVA's visual encoder in transformers, in turns: a line of JSON in, a line of JSON out.

usage: vision_transformers.py MODEL_DIR THREADS
  {"encode": images}  that many images through CLIP and the projector; the milliseconds
"""

import json
import sys
import time

import torch
from transformers import LlavaForConditionalGeneration

torch.set_num_threads(int(sys.argv[2]))
model = LlavaForConditionalGeneration.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
size = model.config.vision_config.image_size
print(json.dumps({"ready": True, "size": size}), flush=True)
for line in sys.stdin:
    count = json.loads(line)["encode"]
    pixels = torch.linspace(-1, 1, count * 3 * size * size).reshape(count, 3, size, size)
    began = time.perf_counter()
    with torch.inference_mode():
        features = model.get_image_features(pixel_values=pixels)
    print(json.dumps({"ms": (time.perf_counter() - began) * 1000}), flush=True)
