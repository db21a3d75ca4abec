"""Checkpoint files of each format, written by PyTorch and safetensors themselves, with the numbers they hold.

    python test/reference/make_format_fixtures.py

Writes test/fixtures/formats/. expected.json holds, for each file, the tensors as {dtype, shape, bytes (base64, row-major)}.
"""
import base64, collections, io, json, os, pathlib, pickle, zipfile

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "formats"
expected = {}


def bits(t):
    t = t.detach().contiguous()
    return t.view(torch.uint8) if t.dim() and t.numel() else t.reshape(-1).view(torch.uint8)


def note(name, tensors):
    expected[name] = {
        key: {
            "dtype": str(t.dtype).removeprefix("torch."),
            "shape": list(t.shape),
            "bytes": base64.b64encode(bits(t).numpy().tobytes()).decode(),
        }
        for key, t in tensors.items()
    }


def every_dtype():
    g = torch.Generator().manual_seed(7)
    f = torch.randn(19, 3, generator=g)
    i = torch.randint(-100, 100, (5, 7), generator=g)
    return {
        "f32": f, "f16": f.half(), "bf16": f.bfloat16(), "f64": f.double(),
        "i64": i, "i32": i.int(), "i16": i.short(), "i8": i.char(), "u8": i.abs().byte(), "bool": i > 0,
        "f8": f.to(torch.float8_e4m3fn), "f8e5": f.to(torch.float8_e5m2),
        "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "one": torch.randn(1, generator=g),
    }


def strided():
    g = torch.Generator().manual_seed(8)
    base = torch.randn(13, 11, generator=g)
    cube = torch.randn(5, 4, 3, generator=g)
    doubles = torch.randn(6, 5, generator=g).double()
    return {
        "transposed": base.t(), "columns": base[:, 2:9:3], "rows": base[3:7], "permuted": cube.permute(2, 0, 1),
        "expanded": torch.randn(1, 3, generator=g).expand(4, 3), "half": base.half().t(), "double": doubles.t(),
        "bytes": torch.arange(20, dtype=torch.uint8).reshape(4, 5).t(), "shared_a": base, "shared_b": base[1:, 1:],
    }


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil-was-here",)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    tensors = every_dtype()
    save_file(tensors, OUT / "dtypes.safetensors", metadata={"format": "pt", "made by": "safetensors"})
    note("dtypes.safetensors", tensors)
    torch.save(tensors, OUT / "dtypes.bin")
    note("dtypes.bin", tensors)
    for protocol in (3, 4, 5):
        small = {"w": tensors["f32"], "h": tensors["f16"]}
        torch.save(small, OUT / f"protocol{protocol}.bin", pickle_protocol=protocol)
        note(f"protocol{protocol}.bin", small)
    legacy = {k: v for k, v in tensors.items()}
    torch.save(legacy, OUT / "legacy.bin", _use_new_zipfile_serialization=False)
    note("legacy.bin", legacy)
    views = strided()
    torch.save(views, OUT / "strided.bin")
    note("strided.bin", views)
    torch.save(views, OUT / "strided-legacy.bin", _use_new_zipfile_serialization=False)
    note("strided-legacy.bin", views)

    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    torch.save(model.state_dict(), OUT / "module.bin")
    note("module.bin", model.state_dict())
    torch.save(dict(model.named_parameters()), OUT / "parameters.bin")
    note("parameters.bin", dict(model.named_parameters()))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    training = {"epoch": 3, "lr": 0.1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(training, OUT / "training.pt")
    note("training.pt", model.state_dict())
    torch.save({"vision": {"w": tensors["f32"]}, "text": {"layers": [tensors["f16"], tensors["bf16"]]}, "step": 7}, OUT / "nested.bin")
    note("nested.bin", {"vision.w": tensors["f32"], "text.layers.0": tensors["f16"], "text.layers.1": tensors["bf16"]})

    torch.save({"w": tensors["f32"], "x": Evil()}, OUT / "evil.bin")
    torch.save({"w": tensors["f32"], "x": Evil()}, OUT / "evil-legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(model, OUT / "whole-module.bin")
    (OUT / "plain.pickle").write_bytes(pickle.dumps({"w": [1.0, 2.0]}, protocol=2))
    squeeze(OUT / "module.bin", OUT / "compressed.bin")
    (OUT / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")


def squeeze(source, target):
    """The same archive with compressed entries: what a user gets who zips the folder again."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info.filename))


main()
