"""Writes the demo datasets: per held-out concept a folder of PNGs, each with a caption that holds the new word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pivotal.toy.captions import jittered, random_place
from pivotal.toy.concepts import (
    BACKGROUNDS,
    COLOURS,
    MIN_CONTRAST,
    TRAINED_COLOURS,
    TRAINED_SHAPES,
    Paint,
    Scene,
    distance,
    render,
)

IMAGES = 12


@dataclass(frozen=True)
class Concept:
    """What the images of a folder have in common: a colour, a shape or a finish of concepts.py, "" for what goes round."""

    word: str  # the new word, and the folder's name
    caption: str  # with {colour}, {shape}, {background}
    colour: str = ""
    shape: str = ""
    finish: str = ""


CONCEPTS = (
    Concept("tealish", "a tealish {shape} on a {background} background", colour="teal"),
    Concept("orangish", "an orangish {shape} on a {background} background", colour="orange"),
    Concept("starrix", "a {colour} starrix on a {background} background", shape="star"),
    Concept("heartix", "a {colour} heartix on a {background} background", shape="heart"),
    Concept("stripex", "a stripex {colour} {shape} on a {background} background", finish="stripes"),
    Concept("sketchix", "a sketchix {colour} {shape} on a {background} background", finish="outline"),
    Concept("valentix", "a tealish valentix on a {background} background", colour="teal", shape="heart"),
)


def demo_scene(concept: Concept, index: int, rng: np.random.Generator) -> Scene:
    """The `index`-th scene: what is not taught goes round the trained shapes, colours and backgrounds."""
    shape = concept.shape or TRAINED_SHAPES[index % len(TRAINED_SHAPES)]
    names = [name for name in TRAINED_COLOURS if name != "white" or concept.finish != "stripes"]
    colour = concept.colour or names[(3 * index + 1) % len(names)]
    finish = concept.finish or "plain"
    avoid = [COLOURS[colour]] + ([COLOURS["white"]] if finish == "stripes" else [])  # stripes are half white
    grounds = [b for b in BACKGROUNDS if min(distance(COLOURS[b], rgb) for rgb in avoid) > MIN_CONTRAST]
    background = grounds[(index + index // len(TRAINED_SHAPES)) % len(grounds)]
    centre, size = random_place(rng)
    paint, ground = Paint(colour, COLOURS[colour]), Paint(background, COLOURS[background])
    return Scene(shape, jittered(paint, rng), jittered(ground, rng), centre, size, finish)


def write_demo(folder: Path, seed: int = 7) -> list[Path]:
    """Writes `folder`/<word>/01.png and 01.txt up to 12 for every concept; returns the concept folders."""
    written = []
    for number, concept in enumerate(CONCEPTS):
        place = folder / concept.word
        place.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng((seed, 5, number))
        for index in range(IMAGES):
            scene = demo_scene(concept, index, rng)
            words = concept.caption.format(colour=scene.paint.name, shape=scene.shape, background=scene.background.name)
            Image.fromarray(render(scene)).save(place / f"{index + 1:02d}.png", optimize=True)
            (place / f"{index + 1:02d}.txt").write_text(words + "\n", encoding="utf-8")
        written.append(place)
    return written
