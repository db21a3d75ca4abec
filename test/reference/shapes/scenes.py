"""Pictures of coloured shapes, drawn from a seed.

A scene is one to four shapes on a 3 x 3 grid that fills the central square of the
picture. Two shapes in one grid row or column stay visibly in line, so "left of" and
"above" always have one answer, and a centre crop never cuts a shape off.

Everything is deterministic: the same seed gives the same scene and the same pixels.
"""

import colorsys
import math
import random
import zlib
from dataclasses import dataclass

from PIL import Image, ImageDraw

GRID = 3
MAX_SHAPES = 4
KINDS = ("circle", "square", "triangle", "star", "cross")
COLOURS = {
    "red": (214, 38, 44),
    "green": (38, 158, 60),
    "blue": (40, 84, 214),
    "yellow": (240, 206, 32),
    "purple": (136, 52, 168),
    "orange": (242, 132, 28),
}

# One pair of objects in this many is kept out of the training scenes.
HELD_OUT_ONE_IN = 10
# Shapes are drawn this many times larger and averaged down: smooth edges, no font or
# graphics library needed. Larger canvases get less, they need it less.
SUPERSAMPLED_SIDE = 320


@dataclass(frozen=True)
class Shape:
    """One coloured shape; positions and radius are in units of the grid cell."""

    kind: str
    colour: str
    row: int
    column: int
    dx: float
    dy: float
    radius: float
    angle: float
    rgb: tuple[int, int, int]
    outlined: bool

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """The shapes in reading order, and the canvas they lie on."""

    shapes: tuple[Shape, ...]
    width: int
    height: int
    # Top and bottom colour of the background; equal ones make it plain.
    background: tuple[tuple[int, int, int], tuple[int, int, int]]


def is_held_out(first: str, second: str) -> bool:
    """Whether this pair of object names ("red circle", ...) is kept out of training.

    The hash runs over names, not indices, so that a new colour or kind added to the
    lists above leaves the fate of every existing pair as it was. Pairs of one kind all
    stay: a small model counts "how many stars" from the pairs of stars it has seen.
    """
    if first.split()[1] == second.split()[1]:
        return False
    return zlib.crc32(" ".join(sorted((first, second))).encode()) % HELD_OUT_ONE_IN == 0


def held_out_pairs(shapes: tuple[Shape, ...]) -> int:
    """How many pairs of the scene's objects are kept out of training."""
    return sum(is_held_out(a.name, b.name) for i, a in enumerate(shapes) for b in shapes[:i])


def sample_scene(seed: int, held_out: bool = False) -> Scene:
    """Draws a training scene, or a held-out one: its seeds and its pairs are disjoint.

    A training scene holds no held-out pair. A held-out scene of two or more shapes
    holds at least one, so no training picture ever had its combination.
    """
    rng = random.Random(f"{'held-out' if held_out else 'train'}-{seed}")
    count = rng.choices((1, 2, 3, 4), weights=(1, 3, 3, 3))[0]
    while True:
        shapes = _sample_shapes(rng, count)
        if held_out_pairs(shapes) > 0 if held_out and count > 1 else held_out_pairs(shapes) == 0:
            break
    width, height = _sample_canvas(rng)
    return Scene(shapes, width, height, _sample_background(rng))


def _sample_shapes(rng: random.Random, count: int) -> tuple[Shape, ...]:
    # No two objects share both colour and kind, so "the red circle" names one of them.
    objects = rng.sample([(colour, kind) for colour in COLOURS for kind in KINDS], count)
    if rng.random() < 0.25:  # often enough, several of one colour or of one kind
        colour = rng.choice(list(COLOURS))
        objects = [(colour, kind) for kind in rng.sample(KINDS, count)]
    elif rng.random() < 0.25:
        kind = rng.choice(KINDS)
        objects = [(colour, kind) for colour in rng.sample(list(COLOURS), count)]
    shapes = [_sample_shape(rng, *object_, *cell) for object_, cell in zip(objects, _sample_cells(rng, count))]
    return tuple(sorted(shapes, key=lambda shape: (shape.row, shape.column)))


def _sample_cells(rng: random.Random, count: int) -> list[tuple[int, int]]:
    """Picks grid cells; half the time the first two are in line, as most questions need."""
    cells = [(row, column) for row in range(GRID) for column in range(GRID)]
    first = rng.choice(cells)
    rest = [cell for cell in cells if cell != first]
    if count > 1 and rng.random() < 0.5:
        in_line = [cell for cell in rest if (cell[0] == first[0]) != (cell[1] == first[1])]
        second = rng.choice(in_line)
        rest.remove(second)
        return [first, second, *rng.sample(rest, count - 2)]
    return [first, *rng.sample(rest, count - 1)]


def _sample_shape(rng: random.Random, colour: str, kind: str, row: int, column: int) -> Shape:
    radius = rng.uniform(0.32, 0.45)
    slack = min(0.1, 0.5 - radius)  # keeps the shape inside its cell
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in COLOURS[colour]))
    lightness *= rng.uniform(0.9, 1.1)
    rgb = tuple(
        max(0, min(255, round(channel * 255) + rng.randint(-6, 6)))
        for channel in colorsys.hls_to_rgb(hue, min(1.0, lightness), saturation)
    )
    return Shape(
        kind=kind,
        colour=colour,
        row=row,
        column=column,
        dx=rng.uniform(-slack, slack),
        dy=rng.uniform(-slack, slack),
        radius=radius,
        angle=rng.uniform(-15, 15),
        rgb=rgb,
        outlined=rng.random() < 0.4,
    )


def _sample_canvas(rng: random.Random) -> tuple[int, int]:
    """Sizes and aspects vary so that a model sees what resize and centre crop do."""
    short = rng.randint(60, 160)
    long = round(short * rng.uniform(1.0, 1.6)) if rng.random() < 0.75 else short
    return (long, short) if rng.random() < 0.5 else (short, long)


def _sample_background(rng: random.Random) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    low, high = (226, 255) if rng.random() < 0.7 else (8, 52)
    top = tuple(rng.randint(low, high) for _ in range(3))
    bottom = tuple(rng.randint(low, high) for _ in range(3)) if rng.random() < 0.3 else top
    return top, bottom


def draw(scene: Scene) -> Image.Image:
    """Draws the scene as an RGB image."""
    short = min(scene.width, scene.height)
    scale = max(2, round(SUPERSAMPLED_SIDE / short))
    width, height, side = scene.width * scale, scene.height * scale, short * scale
    image = _background(scene.background, width, height)
    pen = ImageDraw.Draw(image)
    cell = side / GRID
    for shape in scene.shapes:
        centre = (
            (width - side) / 2 + (shape.column + 0.5 + shape.dx) * cell,
            (height - side) / 2 + (shape.row + 0.5 + shape.dy) * cell,
        )
        if shape.outlined:
            _draw_shape(pen, shape, centre, shape.radius * cell, tuple(channel // 3 for channel in shape.rgb))
            _draw_shape(pen, shape, centre, shape.radius * cell * 0.86, shape.rgb)
        else:
            _draw_shape(pen, shape, centre, shape.radius * cell, shape.rgb)
    return image.reduce(scale)


def _background(colours: tuple[tuple[int, int, int], tuple[int, int, int]], width: int, height: int) -> Image.Image:
    top, bottom = colours
    if top == bottom:
        return Image.new("RGB", (width, height), top)
    ramp = Image.linear_gradient("L").resize((width, height))
    return Image.composite(Image.new("RGB", ramp.size, bottom), Image.new("RGB", ramp.size, top), ramp)


def _draw_shape(
    pen: ImageDraw.ImageDraw,
    shape: Shape,
    centre: tuple[float, float],
    radius: float,
    fill: tuple[int, ...],
) -> None:
    x, y = centre
    if shape.kind == "circle":
        # A little smaller than the others' circumscribed circle: equal to the eye.
        pen.ellipse((x - radius * 0.9, y - radius * 0.9, x + radius * 0.9, y + radius * 0.9), fill=fill)
        return
    turn = math.radians(shape.angle)
    points = [
        (x + radius * length * math.sin(angle + turn), y - radius * length * math.cos(angle + turn))
        for length, angle in _outline(shape.kind)
    ]
    pen.polygon(points, fill=fill)


def _outline(kind: str) -> list[tuple[float, float]]:
    """The polygon's corners as (distance, clockwise angle from straight up)."""
    if kind == "square":
        return [(1.12, math.pi / 4 + math.pi / 2 * i) for i in range(4)]
    if kind == "triangle":
        return [(1.0, 2 * math.pi / 3 * i) for i in range(3)]
    if kind == "star":
        return [(1.0 if i % 2 == 0 else 0.42, math.pi / 5 * i) for i in range(10)]
    if kind == "cross":
        arm = 0.3  # half an arm's width
        corner = (math.hypot(arm, arm), math.pi / 4)
        tip, lean = math.hypot(arm, 1.0), math.atan2(arm, 1.0)
        quarter = [(tip, -lean), (tip, lean), corner]
        return [(length, angle + math.pi / 2 * i) for i in range(4) for length, angle in quarter]
    raise ValueError(f"no outline for shape kind '{kind}'")
