"""Pages of rendered text and the markdown they stand for: data for the small Nougat.

A page has a rule above and below its text, a title perhaps, then paragraphs of one line
and list items, with words in bold here and there; around it lies a margin of any width.
The rules are as wide as the page, so that cropping the margin always leaves the same
scale. Same seed, same page (with the same release of Pillow, whose own font this is).
"""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

WORDS = """amber basin cedar delta ember field grain harbor island jungle kettle lemon
market needle ocean planet quartz river silver timber umbrella valley window yellow
zebra anchor bridge candle dragon engine forest garden hammer insect jacket lantern
mirror number orange pencil rocket signal table violet winter bottle copper meadow""".split()

WIDTH = 224
FONT_SIZE, TITLE_SIZE = 11, 15
LINE_HEIGHT, TITLE_HEIGHT = 15, 19
SIDE, RULE = 4, 5
MAX_LINES = 5


@dataclass(frozen=True)
class Line:
    """Kind is "title", "text" or "item"; each word with whether it is bold."""

    kind: str
    words: tuple[tuple[str, bool], ...]

    @property
    def markdown(self) -> str:
        words = " ".join(f"**{word}**" if bold else word for word, bold in self.words)
        return {"title": "# ", "text": "", "item": "* "}[self.kind] + words


def sample_page(seed: int, held_out: bool = False) -> tuple[Line, ...]:
    rng = random.Random(f"{'held-out page' if held_out else 'page'}-{seed}")
    lines = [_sample_line("title", rng)] if rng.random() < 0.6 else []
    for _ in range(rng.randint(1, MAX_LINES - 1 - len(lines)) if lines else rng.randint(2, MAX_LINES - 1)):
        lines.append(_sample_line("item" if rng.random() < 0.4 else "text", rng))
    return tuple(lines)


def _sample_line(kind: str, rng: random.Random) -> Line:
    if kind == "title":
        return Line(kind, tuple((word.capitalize(), False) for word in rng.sample(WORDS, rng.randint(1, 2))))
    bold = rng.random() < 0.4
    count = rng.randint(1, 4)
    words = rng.choices(WORDS, k=count)
    chosen = rng.randrange(count) if bold else -1
    return Line(kind, tuple((word, index == chosen) for index, word in enumerate(words)))


def markdown(lines: tuple[Line, ...]) -> str:
    """Blocks apart by an empty line; the items of a list are one block."""
    text = ""
    for before, line in zip((None, *lines), lines):
        if before:
            text += "\n" if before.kind == line.kind == "item" else "\n\n"
        text += line.markdown
    return text


def draw_page(lines: tuple[Line, ...], seed: int) -> Image.Image:
    rng = random.Random(f"draw-{seed}")
    scale = rng.uniform(1.0, 1.6)
    ink, paper = rng.randint(0, 50), rng.randint(232, 255)
    height = 2 * RULE + sum(TITLE_HEIGHT if line.kind == "title" else LINE_HEIGHT for line in lines)
    left, top, right, bottom = (rng.randint(3, 40) for _ in range(4))
    size = (left + round(WIDTH * scale) + right, top + round(height * scale) + bottom)
    image = Image.new("RGB", size, (paper, paper, paper))
    pen = ImageDraw.Draw(image)
    rule = max(1, round(scale))
    box = (left, top, left + round(WIDTH * scale) - 1, top + round(height * scale) - 1)
    pen.rectangle((box[0], box[1], box[2], box[1] + rule - 1), fill=(ink,) * 3)
    pen.rectangle((box[0], box[3] - rule + 1, box[2], box[3]), fill=(ink,) * 3)
    y = RULE * scale
    for line in lines:
        _draw_line(pen, line, (left + SIDE * scale, top + y), scale, (ink,) * 3)
        y += (TITLE_HEIGHT if line.kind == "title" else LINE_HEIGHT) * scale
    return image


def _draw_line(pen: ImageDraw.ImageDraw, line: Line, at: tuple[float, float], scale: float, ink) -> None:
    x, y = at
    font = ImageFont.load_default((TITLE_SIZE if line.kind == "title" else FONT_SIZE) * scale)
    if line.kind == "item":
        radius = 1.6 * scale
        middle = y + LINE_HEIGHT * scale * 0.5
        pen.ellipse((x + 3 * scale, middle - radius, x + 3 * scale + 2 * radius, middle + radius), fill=ink)
        x += 12 * scale
    for word, bold in line.words:
        # The font has no bold face: drawn twice, a little apart, it looks like one.
        for shift in (0, max(1, round(0.7 * scale))) if bold else (0,):
            pen.text((x + shift, y), word, font=font, fill=ink)
        x += font.getlength(word + " ") + (scale if bold else 0)
