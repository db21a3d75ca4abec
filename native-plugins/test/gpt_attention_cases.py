"""Calls of GptAttention at odd sizes, what they must give in float64, and how far off a result is."""

from dataclasses import dataclass, field, replace

import torch

CONTINUOUS, STATIC, PAGED = 0, 1, 2
HALF, BF16, INT8, FP8 = torch.float16, torch.bfloat16, torch.int8, torch.float8_e4m3fn


@dataclass(frozen=True)
class Case:
    """One call. `past` is a length for each sequence; continuous caches take the longest, and what is missing is padding."""

    past: tuple = (0, 0)
    seq: int = 19
    heads: int = 4
    kv_heads: int = 2
    dim: int = 64
    dtype: torch.dtype = BF16
    cache: int = CONTINUOUS
    codes: object = None
    # Elements of a head that are rotated; None: no cos and sin.
    rotated: object = -1
    window: int = 0
    # New tokens of each sequence that are padding, on the side given.
    padding: tuple = ()
    side: str = "right"
    bias: bool = False
    beams: bool = False
    block: int = 16
    capacity: int = 0
    growing: bool = False

    def __str__(self):
        name = {HALF: "fp16", BF16: "bf16", INT8: "int8", FP8: "fp8", None: ""}
        parts = [f"{self.heads}/{self.kv_heads}x{self.dim}", name[self.dtype] + ("+" + name[self.codes] if self.codes else "")]
        parts += [("continuous", "static", f"paged{self.block}")[self.cache], f"past{list(self.past)}", f"new{self.seq}"]
        parts += [f"window{self.window}"] * (self.window > 0) + [f"pad{list(self.padding)}{self.side}"] * bool(self.padding)
        parts += [word for word in ("bias", "beams", "growing") if getattr(self, word)]
        return " ".join(parts + ([f"rotated{self.rotated}"] if self.rotated != -1 else []))


def cases():
    every = []
    add = lambda *new: every.extend(new)
    for dtype in (HALF, BF16):
        for dim in (64, 80, 96, 128, 256):
            base = Case(dim=dim, dtype=dtype)
            add(replace(base, seq=19), replace(base, seq=989, heads=3, kv_heads=1, past=(0,)), replace(base, past=(70, 70), seq=130))
            add(replace(base, past=(989, 989), seq=1, heads=12, kv_heads=4), replace(base, past=(0,), seq=1, heads=1, kv_heads=1))
            fixed = replace(base, cache=STATIC, past=(0, 1, 17, 500), capacity=640)
            add(fixed, replace(fixed, seq=1, heads=8, kv_heads=1), replace(fixed, seq=140))
            paged = replace(base, cache=PAGED, past=(0, 63, 500), block=32)
            add(paged, replace(paged, seq=1), replace(paged, seq=200, block=128))
            for codes in (INT8, FP8):
                add(replace(base, codes=codes, past=(70, 70), seq=133), replace(fixed, codes=codes, seq=1), replace(paged, codes=codes, seq=19))
                add(replace(base, codes=codes, past=(300,), seq=1, heads=9, kv_heads=3))
    for dtype in (HALF, BF16):
        for side in ("left", "right"):
            for seq, past in ((1, 150), (19, 0), (150, 0), (150, 70)):
                padding = (0, 0, 0) if seq == 1 else (0, seq // 2, seq - 1)
                lengths = (past, past // 2, 1) if past else (0, 0, 0)
                for dim in (64, 128):
                    add(Case(past=lengths, seq=seq, dim=dim, dtype=dtype, padding=padding, side=side))
    for window in (1, 7, 100, 700):
        add(Case(past=(500, 500), seq=1, window=window), Case(past=(90, 90), seq=300, window=window, dim=128))
        add(Case(cache=STATIC, past=(5, 400), seq=64, window=window, capacity=500), Case(cache=PAGED, past=(5, 900), seq=1, window=window))
    for dim in (64, 128):
        add(Case(bias=True, dim=dim, past=(40, 40), seq=77), Case(bias=True, dim=dim, past=(333, 333), seq=1, heads=12, kv_heads=1))
        add(Case(bias=True, dim=dim, cache=STATIC, past=(3, 90), seq=30, capacity=150, dtype=HALF))
        add(Case(beams=True, dim=dim, cache=STATIC, past=(200, 200, 200, 200), seq=1, capacity=256))
        add(Case(beams=True, dim=dim, cache=STATIC, past=(99, 99, 99), seq=5, capacity=128, codes=INT8))
        add(Case(rotated=None, dim=dim, past=(9, 9), seq=40), Case(rotated=32, dim=dim, past=(9, 9), seq=40), Case(rotated=None, dim=dim, seq=1))
        add(Case(growing=True, dim=dim, past=(900,), seq=1, heads=1, kv_heads=1), Case(growing=True, dim=dim, seq=600, past=(0,), heads=1, kv_heads=1))
    for block in (16, 64, 128):
        add(Case(cache=PAGED, block=block, past=(989, 1, 64, 700), seq=1, heads=16, kv_heads=4, dim=128))
    # Two tokens more than the cache has room for: what fits is written, nothing else is touched.
    add(Case(cache=STATIC, past=(60, 30), seq=6, capacity=64), Case(cache=STATIC, past=(64,), seq=1, capacity=64))
    add(Case(cache=STATIC, past=(32000, 1, 989, 7), seq=1, heads=32, kv_heads=8, dim=128, capacity=32768))
    add(Case(seq=2048, past=(0,), heads=8, kv_heads=2, dim=128), Case(seq=1000, past=(3000,), heads=8, kv_heads=8, dim=128, dtype=HALF))
    return every


@dataclass
class Call:
    """Tensors of a case: `inputs` and `outputs` as the plugin takes them, and what the reference needs."""

    case: Case
    inputs: list
    outputs: list
    attributes: dict
    past: list
    # bool [batch, columns]: what a mask shows.
    tokens: torch.Tensor
    # The new queries, keys and values as the cache and the scores take them, float64 [batch, heads, seq, dim].
    fresh: tuple
    extra: dict = field(default_factory=dict)


def rotate(x, cos, sin):
    """x float64 [batch, heads, seq, dim], tables [batch, seq, r]."""
    r = cos.shape[-1]
    a, b, rest = x[..., :r], x[..., r : 2 * r], x[..., 2 * r :]
    cos, sin = cos.double().unsqueeze(1), sin.double().unsqueeze(1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


def encode(x, codes, scale):
    if codes is None:
        return x
    scaled = x.float() / scale
    return scaled.round().clamp(-128, 127).to(INT8) if codes is INT8 else scaled.clamp(-448, 448).to(FP8)


def poison(cache):
    """NaN, or the largest code of a type that has none."""
    if cache.dtype in (INT8, FP8):
        cache.view(torch.int8).fill_(127)
    else:
        cache.fill_(float("nan"))


def make(case, device):
    b, s, h, kh, d = len(case.past), case.seq, case.heads, case.kv_heads, case.dim
    qkv = torch.randn(b, s, (h + 2 * kh) * d, device=device).to(case.dtype)
    if case.growing:
        ramp = torch.arange(s, device=device).reshape(1, s, 1) / s
        qkv[..., : h * d], qkv[..., h * d : (h + kh) * d] = 1, (ramp * 4).to(case.dtype)
    split = qkv.double().split([h * d, kh * d, kh * d], -1)
    q, k, v = (x.reshape(b, s, -1, d).transpose(1, 2) for x in split)
    cos = sin = None
    if case.rotated is not None:
        half = (d if case.rotated == -1 else case.rotated) // 2
        angles = torch.rand(b, s, half, device=device) * 6.3 * (0 if case.growing else 1)
        cos, sin = angles.cos().to(case.dtype), angles.sin().to(case.dtype)
        q, k = (rotate(x, cos, sin).to(case.dtype).double() for x in (q, k))
    scale = torch.tensor([0.031 if case.codes is INT8 else 0.017], device=device) if case.codes else None
    stored = case.codes or case.dtype
    code = lambda x: encode(x.to(case.dtype), case.codes, scale)
    longest = max(case.past)
    continuous = case.cache == CONTINUOUS
    old = torch.randn(2, b, kh, longest, d, device=device)
    if case.growing:
        old[0] = torch.arange(longest, device=device).reshape(-1, 1) / max(longest, 1) * 4
    old = code(old).contiguous()
    tokens = torch.ones(b, longest + s, dtype=torch.bool, device=device)
    if continuous:
        for row, n in enumerate(case.past):
            tokens[row, : longest - n] = False
            if case.padding and case.padding[row]:
                n = case.padding[row]
                tokens[row, longest : longest + n] = False if case.side == "left" else True
                if case.side == "right":
                    tokens[row, longest + s - n :] = False
            for x in (old[0, row], old[1, row]):
                x.view(torch.int8 if x.element_size() == 1 else torch.int16)[:, ~tokens[row, :longest]] = 127 if x.element_size() == 1 else 0x7FFF
    tensors, outputs, extra = place(case, old, stored, device)
    bias = None
    if case.bias:
        width = {CONTINUOUS: longest + s, STATIC: case.capacity, PAGED: 0}[case.cache]
        bias = (torch.randn(1, h, s, width, device=device) * 2).to(case.dtype)
    mask = tokens.int() if continuous and (case.padding or not bool(tokens.all())) else None
    if continuous and mask is None and s % 2:
        mask = tokens.int()
    lengths = None if continuous else torch.tensor(case.past, dtype=torch.int32, device=device)
    inputs = [qkv, lengths, *tensors, mask, cos, sin, scale, extra.get("table"), extra.get("beams"), bias]
    y = torch.full((b, s, h * d), float("nan"), dtype=case.dtype, device=device)
    attributes = {"num_heads": h, "num_kv_heads": kh, "scale": d**-0.5, "window": case.window, "cache": case.cache}
    past = [longest] * b if continuous else list(case.past)
    extra |= {"scale": scale, "bias": bias, "old": old, "fresh_codes": (code(k), code(v))}
    return Call(case, inputs, [y, *outputs], attributes, past, tokens, (q, k, v), extra)


def place(case, old, stored, device):
    """Past keys and values as the cache holds them, everything else poisoned; the outputs, in place or new."""
    b, kh, longest, d = old.shape[1:]
    if case.cache == CONTINUOUS:
        present = [torch.empty(b, kh, longest + case.seq, d, dtype=stored, device=device) for _ in range(2)]
        for x in present:
            poison(x)
        return [old[0], old[1]], present, {}
    extra = {}
    if case.cache == STATIC:
        caches = [torch.empty(b, kh, case.capacity, d, dtype=stored, device=device) for _ in range(2)]
        for part, x in enumerate(caches):
            poison(x)
            for row, n in enumerate(case.past):
                x[row, :, :n] = old[part, row, :, :n]
        if case.beams:
            extra["beams"] = torch.randint(0, b, (b, case.capacity), dtype=torch.int32, device=device)
        return caches, caches, extra
    most = -(-(longest + case.seq) // case.block)
    pool = [torch.empty(b * most + 3, kh, case.block, d, dtype=stored, device=device) for _ in range(2)]
    order = torch.randperm(b * most + 2, device=device)[: b * most] + 1
    table = order.to(torch.int32).reshape(b, most)
    for part, x in enumerate(pool):
        poison(x)
        for row, n in enumerate(case.past):
            for first in range(0, n, case.block):
                count = min(case.block, n - first)
                x[table[row, first // case.block], :, :count] = old[part, row, :, first : first + count]
    for row, n in enumerate(case.past):
        table[row, -(-(n + case.seq) // case.block) :] = 0
    return pool, pool, {"table": table.contiguous()}


def columns(call, part, row):
    """A sequence's keys or values after the call, [kv_heads, columns, dim] as stored, each from its own cache."""
    case, n = call.case, call.past[row] + call.case.seq
    cache = call.outputs[1 + part]
    if case.cache == PAGED:
        blocks = cache[call.extra["table"][row].long()]
        return blocks.transpose(0, 1).reshape(case.kv_heads, -1, case.dim)[:, :n]
    return cache[row, :, :n]


def seen_by(call, row):
    """bool [seq, columns]."""
    case, past, device = call.case, call.past[row], call.tokens.device
    own = torch.arange(case.seq, device=device).unsqueeze(1) + past
    column = torch.arange(past + case.seq, device=device).unsqueeze(0)
    seen = (column <= own) & ((column > own - case.window) if case.window else torch.ones_like(column <= own))
    if case.cache == CONTINUOUS:
        seen &= call.tokens[row].unsqueeze(0) | (column == own)
    return seen


def reference(call):
    """float64 [batch, seq, heads · dim] over the cache that the call left."""
    case, q = call.case, call.fresh[0]
    factor = 1.0 if case.codes is None else float(call.extra["scale"])
    rows = []
    for row in range(len(case.past)):
        keys, values = (columns(call, part, row).double() * factor for part in range(2))
        if case.beams:
            count = call.past[row]
            source = call.extra["beams"][row, :count].long()
            at = torch.arange(count, device=source.device)
            for part, x in enumerate((keys, values)):
                x[:, :count] = call.outputs[1 + part][source, :, at].transpose(0, 1).double() * factor
        seen = seen_by(call, row)[:, : keys.shape[1]]
        group = case.heads // case.kv_heads
        usable = seen.any(0).reshape(1, -1, 1)
        keys, values = (torch.where(usable, x, 0.0).repeat_interleave(group, 0) for x in (keys, values))
        scores = q[row] @ keys.transpose(1, 2) * call.attributes["scale"]
        if call.extra["bias"] is not None:
            scores = scores + call.extra["bias"][0, :, :, : scores.shape[-1]].double()
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        rows.append((weights @ values).transpose(0, 1).reshape(case.seq, -1))
    return torch.stack(rows)


def cache_error(call):
    """What is wrong with the cache after the call, in words; None: nothing."""
    case = call.case
    for part, word in enumerate(("keys", "values")):
        for row, n in enumerate(call.past):
            got = columns(call, part, row)
            fits = got.shape[1] - n
            fresh = call.extra["fresh_codes"][part][row, :, :fits]
            old = call.extra["old"][part, row, :, :n]
            bits = lambda x: x.contiguous().view(torch.int8 if x.element_size() == 1 else torch.int16).int()
            if not torch.equal(bits(got[:, :n]), bits(old)):
                return f"past {word} of sequence {row} changed"
            off = (got[:, n:].double() - fresh.double()).abs()
            # A product fused with its sum may round the other way, by a step; values are copied, codes of them are the same.
            step = {None: torch.finfo(case.dtype).eps * fresh.double().abs() + 1e-6, INT8: 1.0, FP8: fresh.double().abs() / 7 + 2**-9}
            if off.numel() and not bool((off <= (step[case.codes] if part == 0 else 0.0)).all()):
                return f"new {word} of sequence {row} are off by up to {float(off.max())}"
        if case.cache == STATIC:
            for row, n in enumerate(call.past):
                rest = call.outputs[1 + part][row, :, n + case.seq :]
                untouched = bool((rest == 127).all()) if case.codes is INT8 else bool(rest.float().isnan().all())
                if not untouched:
                    return f"{word} past the end of sequence {row} were written"
    return None


def compare(call):
    """(cosine, largest error in steps of the output's dtype at its row's largest element, what is wrong with the cache)."""
    case, got = call.case, call.outputs[0]
    want = reference(call)
    for row, past in enumerate(call.past):
        # Queries that a full cache had no room for have no result of meaning.
        room = (case.capacity if case.cache == STATIC else past + case.seq) - past
        if room < case.seq:
            want[row, max(room, 0) :] = got[row, max(room, 0) :].double()
    if not bool(torch.isfinite(got).all()):
        return 0.0, float("inf"), "an element of y was not written, or is not finite"
    g, w = got.double().reshape(-1, case.dim), want.reshape(-1, case.dim)
    norm = g.norm() * w.norm()
    cosine = 1.0 if float(norm) == 0 else float((g * w).sum() / norm)
    unit = torch.finfo(got.dtype).eps * w.abs().amax(-1, keepdim=True).clamp(min=1e-6)
    return cosine, float(((g - w).abs() / unit).max()), cache_error(call)
