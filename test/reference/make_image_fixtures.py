"""Fixtures of test/unit/runtime/image: what Pillow decodes and resizes, and what Hugging Face's image processors give.

    python test/reference/make_image_fixtures.py [--torchvision DIR]

Needs pillow, numpy, transformers, torch. torchvision (in DIR, if it is not installed) makes the `fast` column; its compiled
operators are not needed, so a wheel built for another torch will do.
"""

import argparse, base64, json, struct, sys, warnings, zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "image"
FILTERS = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
rng = np.random.default_rng(20240607)


def b64(array):
    """Deflated bytes of the array in C order."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()


def noise(height, width, channels=3, high=256, dtype=np.uint8):
    return rng.integers(0, high, (height, width, channels) if channels > 1 else (height, width)).astype(dtype)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_by_hand(name, width, height, depth, color, row_bytes, extra=b""):
    """PNG forms that Pillow reads and does not write."""
    rows = b"".join(b"\0" + rng.bytes(row_bytes) for _ in range(height))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (HERE / name).write_bytes(b"\x89PNG\r\n\x1a\n" + header + extra + body)


def write_inputs():
    width, height = 19, 7
    rgb, rgba, grey = noise(height, width), noise(height, width, 4), noise(height, width, 1)
    palette = Image.fromarray(noise(height, width)).quantize(13)
    turned = Image.Exif()
    turned[0x112] = 6
    save = lambda name, image, **options: image.save(HERE / name, **options)
    save("rgba.png", Image.fromarray(rgba))
    save("grey.png", Image.fromarray(grey))
    save("grey-alpha.png", Image.fromarray(noise(height, width, 2), "LA"))
    save("bilevel.png", Image.fromarray(grey).convert("1"))
    save("palette.png", palette)
    save("palette-alpha.png", palette, transparency=bytes([0, 10, 200, 255, 3]))
    save("transparent-colour.png", Image.fromarray(rgb), transparency=(1, 2, 3))
    save("grey16.png", Image.fromarray(noise(height, width, 1, 600, np.uint16)))
    save("cmyk.jpg", Image.fromarray(noise(height, width, 4), "CMYK"), quality=90)
    save("exif-turned.jpg", Image.fromarray(rgb), quality=90, exif=turned)
    save("grey.jpg", Image.fromarray(grey), quality=90)
    save("progressive.jpg", Image.fromarray(noise(41, 67)), quality=60, progressive=True)
    save("lossy.webp", Image.fromarray(rgb), quality=70)
    save("palette.gif", palette)
    save("rgb.tif", Image.fromarray(rgb))
    png_by_hand("rgb16.png", width, height, 16, 2, width * 6)
    png_by_hand("rgba16.png", width, height, 16, 6, width * 8)
    png_by_hand("grey2.png", width, height, 2, 0, 5)
    png_by_hand("gamma.png", width, height, 8, 2, width * 3, chunk(b"gAMA", struct.pack(">I", 30000)))
    for w, h in [(1, 1), (19, 7), (989, 3), (3, 989), (23, 31), (61, 43)]:
        save(f"rgb-{w}x{h}.png", Image.fromarray(noise(h, w)))
    # Hard edges drive the sums of bicubic and Lanczos below 0 and above 255.
    save("edges-30x20.png", Image.fromarray(noise(20, 30, 3, 2) * 255))


def decode_cases():
    return [{"file": f.name, "size": Image.open(f).size, "rgb": b64(Image.open(f).convert("RGB"))} for f in sorted(HERE.iterdir()) if f.suffix != ".json"]


def resize_cases():
    targets = {
        "rgb-1x1.png": [(1, 1), (5, 3)],
        "rgb-19x7.png": [(19, 7), (7, 19), (1, 1), (41, 2), (19, 3), (8, 7)],
        "rgb-989x3.png": [(14, 14), (988, 1), (5, 29)],
        "rgb-3x989.png": [(14, 14), (2, 61)],
        "rgb-61x43.png": [(14, 14), (60, 42), (17, 67)],
        "edges-30x20.png": [(13, 9), (47, 31)],
    }
    for file, sizes in targets.items():
        image = Image.open(HERE / file).convert("RGB")
        for size in sizes:
            for code, name in enumerate(FILTERS):
                yield {"file": file, "size": size, "filter": name, "rgb": b64(image.resize(size, code))}


CONFIGS = {
    "clip": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 14}, "crop_size": {"height": 14, "width": 14}},
    "crop smaller, odd": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 15}, "crop_size": {"height": 10, "width": 13}},
    "crop larger than the picture": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 9}, "crop_size": {"height": 14, "width": 12}},
    "no resize, crop larger": {"image_processor_type": "CLIPImageProcessor", "do_resize": False, "crop_size": 21},
    "square, bilinear, no crop": {"image_processor_type": "CLIPImageProcessor", "size": {"height": 11, "width": 13}, "resample": 2, "do_center_crop": False},
    "int sizes": {"image_processor_type": "CLIPImageProcessor", "size": 12, "crop_size": 8},
    "not normalized": {"image_processor_type": "CLIPImageProcessor", "size": 12, "crop_size": 12, "do_normalize": False},
    "neither rescaled nor normalized": {"image_processor_type": "CLIPImageProcessor", "size": 12, "crop_size": 12, "do_rescale": False, "do_normalize": False},
    "own mean and factor": {"image_processor_type": "CLIPImageProcessor", "size": 12, "crop_size": 12, "rescale_factor": 0.0078, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.7, 0.8, 0.9]},
    "llava padded to a square": {"image_processor_type": "LlavaImageProcessor", "size": {"shortest_edge": 14}, "crop_size": {"height": 14, "width": 14}, "do_pad": True},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 14, "width": 14}},
}
PICTURES = ["rgb-1x1.png", "rgb-19x7.png", "rgb-3x989.png", "rgb-989x3.png", "rgb-23x31.png", "rgb-61x43.png"]


def process_cases(fast):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    pil = {"CLIPImageProcessor": CLIPImageProcessorPil, "LlavaImageProcessor": LlavaImageProcessorPil, "SiglipImageProcessor": SiglipImageProcessorPil}
    for name, config in CONFIGS.items():
        for file in PICTURES:
            image = Image.open(HERE / file).convert("RGB")
            kind = config["image_processor_type"]
            rest = {k: v for k, v in config.items() if k != "image_processor_type"}
            values = np.asarray(pil[kind](**rest)(image)["pixel_values"][0])
            case = {"name": name, "file": file, "config": config, "shape": values.shape, "pil": b64(values.astype(np.float32))}
            if fast:
                # Before rescaling and normalizing, where a step is 1.
                plain = fast[kind](**{**rest, "do_rescale": False, "do_normalize": False})
                case["fast"] = b64(np.asarray(plain(image)["pixel_values"][0]).astype(np.uint8))
            yield case


def fast_processors(directory):
    if directory is None:
        return None
    import torch

    sys.path.insert(0, directory)
    library = torch.library.Library("torchvision", "DEF")
    for name in ["nms", "qnms"]:
        library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    from transformers import CLIPImageProcessor, LlavaImageProcessor, SiglipImageProcessor

    return {p.__name__: p for p in [CLIPImageProcessor, LlavaImageProcessor, SiglipImageProcessor]}


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("--torchvision")
    fast = fast_processors(parser.parse_args().torchvision)
    HERE.mkdir(parents=True, exist_ok=True)
    write_inputs()
    for name, cases in [("decode", decode_cases()), ("resize", list(resize_cases())), ("process", list(process_cases(fast)))]:
        text = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
        (HERE / f"{name}.json").write_text(text)
        print(name, len(cases), "cases", len(text), "bytes")


main()
