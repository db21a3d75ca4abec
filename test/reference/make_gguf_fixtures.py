"""GGUF and Meta checkpoints of a tiny LLaMA, and every block type, as gguf-py (llama.cpp's own package) reads them.

    python test/reference/make_gguf_fixtures.py

Writes test/fixtures/formats/: types.gguf with types.safetensors (what gguf-py dequantizes, float16), llama.gguf and meta/
with llama/ (the same model saved by transformers), spm.gguf, llama31.gguf, and tokens.json (texts with the ids of the original tokenizers).
"""
import json, pathlib, shutil

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "formats"
Q = gguf.GGMLQuantizationType
TEXTS = ["Hello, world! 12345", "I'm  there\n\n tabs\t x2", "Ünïcode 漢字 😀 end", "<|im_start|>user\nhi<|im_end|>", "  leading", ""]
CORPUS = ["the cat sat on the mat", "Hello, world! I'm here, you're there", "numbers 12345 and 67890", "ünïcode words", "  spaces  and\ttabs\n\n"] * 4


def block_types():
    rng = np.random.default_rng(5)
    writer = gguf.GGUFWriter(OUT / "types.gguf", "test")
    expected = {}
    for kind in (Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q4_K, Q.Q5_K, Q.Q6_K):
        size, width = gguf.GGML_QUANT_SIZES[kind]
        shape = (3, 512)
        if kind in (Q.Q4_K, Q.Q5_K, Q.Q6_K):
            # gguf-py does not pack these: any bits are a valid block when its float16 scales are finite.
            raw = rng.integers(0, 256, (3, 512 // size * width), dtype=np.uint8)
            blocks = raw.reshape(-1, width)
            scales = rng.normal(0, 0.01, (len(blocks), 2)).astype(np.float16).view(np.uint8)
            if kind == Q.Q6_K:
                blocks[:, 208:210] = scales[:, :2]
            else:
                blocks[:, 0:4] = scales
        else:
            raw = gguf.quants.quantize(rng.normal(0, 0.5, shape).astype(np.float32), kind)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
        values = torch.from_numpy(gguf.quants.dequantize(raw, kind))
        expected[kind.name] = values.to({Q.F32: torch.float32, Q.BF16: torch.bfloat16}.get(kind, torch.float16))
    finish(writer)
    save_file(expected, OUT / "types.safetensors")


def byte_level(special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def add_vocabulary(writer, tokenizer, special):
    model = json.loads(tokenizer.to_str())["model"]
    by_id = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(by_id)
    writer.add_token_types([3 if t in special else 1 for t in by_id])
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in model["merges"]])
    return len(by_id)


def permute(w, heads):
    """As llama.cpp's convert_hf_to_gguf.py: two halves of a head -> neighbouring rows."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}
META_NAMES = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
}


def rename(name, layers, embed, norm, head, prefix):
    for hf, other in {"model.embed_tokens": embed, "model.norm": norm, "lm_head": head}.items():
        if name == hf + ".weight":
            return other + ".weight"
    _, _, layer, rest = name.split(".", 3)
    return f"{prefix}.{layer}.{layers[rest.removesuffix('.weight')]}.weight"


def tiny_llama(vocab):
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        max_position_embeddings=96, rms_norm_eps=1e-5, rope_theta=50000.0, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
    )
    return config, LlamaForCausalLM(config).half()


def write_llama_gguf(config, state, tokenizer, special):
    writer = gguf.GGUFWriter(OUT / "llama.gguf", "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(50000.0)
    writer.add_rope_dimension_count(8)
    add_vocabulary(writer, tokenizer, special)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    for name, value in state.items():
        w = value.numpy()
        other = rename(name, GGUF_NAMES, "token_embd", "output_norm", "output", "blk")
        if "attn_q" in other:
            w = permute(w, config.num_attention_heads)
        if "attn_k" in other:
            w = permute(w, config.num_key_value_heads)
        writer.add_tensor(other, np.ascontiguousarray(w))
    finish(writer)


def write_meta(config, state):
    """Two files, cut as Meta's model-parallel code cuts LLaMA 2: rows, but columns of wo, w2 and the embedding."""
    folder = OUT / "meta"
    folder.mkdir(exist_ok=True)
    params = {"dim": 48, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2, "norm_eps": 1e-5, "rope_theta": 50000.0, "vocab_size": -1,
              "multiple_of": 16, "ffn_dim_multiplier": 0.625}
    (folder / "params.json").write_text(json.dumps(params))
    for rank in range(2):
        part = {}
        for name, value in state.items():
            other = rename(name, META_NAMES, "tok_embeddings", "norm", "output", "layers")
            w = value.numpy()
            if ".wq." in other or ".wk." in other:
                w = permute(w, config.num_attention_heads if ".wq." in other else config.num_key_value_heads)
            axis = None if w.ndim == 1 else 1 if any(k in other for k in (".wo.", ".w2.", "tok_emb")) else 0
            w = w if axis is None else np.split(w, 2, axis)[rank]
            part[other] = torch.from_numpy(np.ascontiguousarray(w))
        part["rope.freqs"] = torch.ones(4)
        torch.save(part, folder / f"consolidated.{rank:02d}.pth")


def write_spm():
    """A SentencePiece-like vocabulary: scores instead of merges. tokenizers' BPE with byte fallback is the reference."""
    words = ["▁the", "▁cat", "▁", "he", "th", "the", "at", "ca", "cat", "▁c", "▁t", "▁th", "ll", "el", "lo", "ello", "llo", "▁hello", "hello"]
    letters = sorted(set("".join(CORPUS).replace(" ", "")) - set("üïÜ\n\t"))
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [w for w in words] + [c for c in letters if c not in words]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    scores = [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)]
    writer = gguf.GGUFWriter(OUT / "spm.gguf", "llama")
    for add, value in ((writer.add_block_count, 1), (writer.add_context_length, 16), (writer.add_embedding_length, 4),
                       (writer.add_feed_forward_length, 4), (writer.add_head_count, 2), (writer.add_layer_norm_rms_eps, 1e-6)):
        add(value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_scores(scores)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for name in ("token_embd", "blk.0.attn_q", "blk.0.attn_k"):
        writer.add_tensor(name + ".weight", np.zeros((len(tokens) if name == "token_embd" else 4, 4), np.float16))
    finish(writer)
    ids = {t: i for i, t in enumerate(tokens)}
    return [[1, *sentencepiece(text, ids, scores)] for text in TEXTS]


def write_llama31():
    """LLaMA 3.1's scaling as llama.cpp stores it: what each rotary frequency is divided by, from transformers' own rule."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192, "rope_theta": 500000.0}
    config = LlamaConfig(hidden_size=64, num_attention_heads=1, rope_parameters=scaling, max_position_embeddings=131072)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1.0 / 500000.0 ** (torch.arange(0, 64, 2).float() / 64)
    writer = gguf.GGUFWriter(OUT / "llama31.gguf", "llama")
    for add, value in ((writer.add_block_count, 1), (writer.add_context_length, 131072), (writer.add_embedding_length, 64),
                       (writer.add_feed_forward_length, 4), (writer.add_head_count, 1), (writer.add_layer_norm_rms_eps, 1e-5),
                       (writer.add_rope_freq_base, 500000.0), (writer.add_eos_token_id, 2), (writer.add_eot_token_id, 5)):
        add(value)
    for name, shape in (("token_embd", (7, 64)), ("blk.0.attn_q", (64, 64))):
        writer.add_tensor(name + ".weight", np.zeros(shape, np.float16))
    writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy().astype(np.float32))
    finish(writer)


def sentencepiece(text, ids, scores):
    """SentencePiece's own rule, step by step: join the neighbours whose joined token has the best score, leftmost first."""
    if text == "":
        return []
    parts = list("▁" + text.replace(" ", "▁"))
    while True:
        best = None
        for i in range(len(parts) - 1):
            token = parts[i] + parts[i + 1]
            if token in ids and ids[token] >= 259 and (best is None or scores[ids[token]] > best[0]):
                best = (scores[ids[token]], i)
        if best is None:
            break
        i = best[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [t for p in parts for t in ([ids[p]] if p in ids else [3 + b for b in p.encode()])]


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    block_types()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_level(special)
    config, model = tiny_llama(tokenizer.get_vocab_size())
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    folder = OUT / "llama"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    write_llama_gguf(config, state, tokenizer, special)
    write_meta(config, state)
    write_llama31()
    tokens = {"texts": TEXTS, "byte_level": [tokenizer.encode(t).ids for t in TEXTS], "spm": write_spm()}
    (OUT / "tokens.json").write_text(json.dumps(tokens) + "\n")


main()
