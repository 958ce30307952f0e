"""Captions for images that have none: sentences around the placeholder."""

from __future__ import annotations

import re

FILEWORDS = "[filewords]"
SLOT = re.compile(r"\[name\]|\{\}|\[filewords\]")

OBJECT = (
    "a photo of [name]",
    "a sharp photo of [name]",
    "[name], seen from the front",
    "[name] by itself on a plain ground",
    "one [name] in the middle of the picture",
    "a picture with [name] in it",
    "[name] filling the whole frame",
    "this is what [name] looks like",
    "a detailed view of [name]",
    "[name] in daylight",
    "[name] in soft light",
    "a snapshot of [name]",
    "[name], close up",
    "[name] from a little further away",
    "a clean picture of [name]",
    "an old photo of [name]",
    "[name] photographed indoors",
    "[name] photographed outdoors",
    "a small [name]",
    "a large [name]",
    "my own [name]",
    "a drawing of [name]",
    "a good look at [name]",
    "a dim picture of [name]",
)

STYLE = (
    "a picture in the style of [name]",
    "drawn as [name] would draw it",
    "a landscape in the style of [name]",
    "a portrait in the style of [name]",
    "an everyday scene, in the manner of [name]",
    "artwork that looks like [name]",
    "the look of [name]",
    "a still life in the style of [name]",
    "a small study in the style of [name]",
    "a large work in the style of [name]",
    "bright colours in the style of [name]",
    "dark colours in the style of [name]",
    "a building in the manner of [name]",
    "an animal in the manner of [name]",
    "people in the manner of [name]",
    "a quick sketch in the style of [name]",
    "a finished picture in the style of [name]",
    "one more picture made like [name]",
    "the brushwork of [name]",
    "an abstract picture in the style of [name]",
    "a night scene in the style of [name]",
    "a detail from a picture in the style of [name]",
    "a typical example of [name]",
    "an illustration, [name]",
)


def fill_template(template: str, *, name: str, filewords: str) -> str:
    """`template` with ``[name]`` and ``{}`` replaced by `name` and ``[filewords]`` by the image's own words.

    What is put in is not searched again, so a file may be called ``[name]``.
    """
    return SLOT.sub(lambda found: filewords if found[0] == FILEWORDS else name, template)
