"""torch.onnx's dynamo exporter on a decoder without a cache: dynamo_export.py MODEL_DIR OUTPUT_DIR."""

import os
import sys

import torch
from transformers import AutoModelForCausalLM


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        return self.model(input_ids=input_ids, use_cache=False).logits


model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float16).eval()
os.makedirs(sys.argv[2])
ids = torch.arange(16).reshape(1, 16)
dims = {"input_ids": {1: torch.export.Dim("seq", min=2, max=2048)}}
torch.onnx.export(Logits(model), (ids,), f"{sys.argv[2]}/model.onnx", dynamo=True, dynamic_shapes=dims, external_data=True)
