"""Captions, questions and answers about a scene.

A question is asked only where it has one answer, and each answer has one wording, so
"exact match" measures whether the model sees, not how it phrases things. Questions
come in a few wordings; which one is asked follows from the random source given.
"""

import random
from dataclasses import dataclass

from .scenes import COLOURS, KINDS, MAX_SHAPES, Scene, Shape

NUMBERS = ("zero", "one", "two", "three", "four")
assert len(NUMBERS) == MAX_SHAPES + 1

# The caption question; the first wording is the canonical one.
DESCRIBE = ("Describe the image.", "What is in the image?", "Describe this picture.")
SIDES = {
    "left of": lambda other, shape: other.column < shape.column,
    "right of": lambda other, shape: other.column > shape.column,
    "above": lambda other, shape: other.row < shape.row,
    "below": lambda other, shape: other.row > shape.row,
}


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str


def with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def caption(scene: Scene) -> str:
    """Says where two shapes lie; of more it lists the shapes in reading order."""
    names = [with_article(shape.name) for shape in scene.shapes]
    if len(names) == 2:
        return f"{names[0]} {_relation(*scene.shapes)} {names[1]}"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _relation(first: Shape, second: Shape) -> str:
    """Where `first` lies; shapes come in reading order, so it is never below."""
    if first.row == second.row:
        return "left of"
    if first.column == second.column:
        return "above"
    return f"above and {'left' if first.column < second.column else 'right'} of"


def all_questions(scene: Scene, rng: random.Random) -> list[Question]:
    """Every question that has one answer in this scene; yes and no come equally often."""
    return [
        Question("caption", rng.choice(DESCRIBE), caption(scene)),
        *_attribute_questions(scene, rng),
        *_count_questions(scene, rng),
        *_side_questions(scene, rng),
        *_presence_questions(scene, rng),
        *_position_questions(scene, rng),
    ]


def _attribute_questions(scene: Scene, rng: random.Random) -> list[Question]:
    """The colour of the only circle; the shape of the only red thing."""
    questions = []
    for shape in scene.shapes:
        if sum(other.kind == shape.kind for other in scene.shapes) == 1:
            word = rng.choice(("colour", "color"))
            questions.append(Question("colour", f"What {word} is the {shape.kind}?", shape.colour))
        if sum(other.colour == shape.colour for other in scene.shapes) == 1:
            word = rng.choice(("What", "Which"))
            questions.append(Question("shape", f"{word} shape is {shape.colour}?", shape.kind))
    return questions


def _count_questions(scene: Scene, rng: random.Random) -> list[Question]:
    """How many in all, of a colour, of a kind; the last two with zero among the answers."""
    noun = rng.choice(("shapes", "objects"))
    colour = _one_present_or_any(rng, [shape.colour for shape in scene.shapes], list(COLOURS))
    kind = _one_present_or_any(rng, [shape.kind for shape in scene.shapes], list(KINDS))
    plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return [
        Question("count", f"How many {noun} are there?", NUMBERS[len(scene.shapes)]),
        Question(
            "count",
            f"How many {colour} shapes are there?",
            NUMBERS[sum(shape.colour == colour for shape in scene.shapes)],
        ),
        Question(
            "count",
            f"How many {plural} are there?",
            NUMBERS[sum(shape.kind == kind for shape in scene.shapes)],
        ),
    ]


def _one_present_or_any(rng: random.Random, present: list[str], every: list[str]) -> str:
    return rng.choice(present if rng.random() < 0.7 else every)


def _side_questions(scene: Scene, rng: random.Random) -> list[Question]:
    """What lies on one side of a shape.

    Asked where nothing does, or where just one shape does and is in line with it; one
    that lies aslant might or might not count as "left of" to a reader.
    """
    found, empty = [], []
    for shape in scene.shapes:
        for side, lies in SIDES.items():
            others = [other for other in scene.shapes if lies(other, shape)]
            text = f"What is {side} the {shape.name}?"
            if not others:
                empty.append(Question("side", text, "nothing"))
            elif len(others) == 1 and (others[0].row == shape.row or others[0].column == shape.column):
                found.append(Question("side", text, with_article(others[0].name)))
    # "nothing" fits far more often than anything else; it must not become the safe guess.
    return found + rng.sample(empty, min(len(empty), max(1, len(found) // 2)))


def _presence_questions(scene: Scene, rng: random.Random) -> list[Question]:
    """Is there a red circle? Half the absent ones mix a colour and a kind that are there."""
    names = {shape.name for shape in scene.shapes}
    mixed = {f"{a.colour} {b.kind}" for a in scene.shapes for b in scene.shapes} - names
    every = {f"{colour} {kind}" for colour in COLOURS for kind in KINDS} - names
    absent = sorted(mixed if mixed and rng.random() < 0.5 else every)
    return [
        Question("presence", f"Is there {with_article(name)}?", answer)
        for name, answer in ((rng.choice(sorted(names)), "yes"), (rng.choice(absent), "no"))
    ]


def _position_questions(scene: Scene, rng: random.Random) -> list[Question]:
    """Is this shape above that one? Asked only of shapes in different rows (or columns)."""
    if len(scene.shapes) < 2:
        return []
    first, second = rng.sample(scene.shapes, 2)
    return [
        Question(
            "position",
            f"Is the {first.name} {side} the {second.name}?",
            "yes" if SIDES[side](first, second) else "no",
        )
        for side, differs in (
            (rng.choice(("above", "below")), first.row != second.row),
            (rng.choice(("left of", "right of")), first.column != second.column),
        )
        if differs
    ]
