"""Lists for the UNet's blocks."""

from __future__ import annotations

import math
import re

import pytest

import tiny
from pivotal.models.layers import block_names, input_blocks, layers_of
from pivotal.networks.blocks import block_values, place_of


def test_a_list_gives_each_block_its_number_and_the_middle_one_to_its_three_places():
    values = block_values(", ".join(str(number) for number in range(25)), 12)
    assert values == [*range(12), 12, 12, 12, *range(13, 25)]
    assert block_values(" ".join(str(number) for number in range(19)), 9) == [*range(9), 9, 9, 9, *range(10, 19)]


def test_kohyas_longer_lists_of_sdxl_are_taken_with_their_own_middle():
    assert block_values(",".join(map(str, range(21))), 9) == list(range(21))
    assert block_values(",".join(map(str, range(23))), 9) == list(range(1, 22))


def test_words_are_kohyas_courses():
    # kohya: cosine is sin(pi / 2 x i / (n - 1)) read backwards, sine forwards.
    sine = [math.sin(math.pi / 2 * place / 11) for place in range(12)]
    assert block_values("cosine / 0.5 / sine+0.1", 12) == pytest.approx(
        [*reversed(sine), 0.5, 0.5, 0.5, *(value + 0.1 for value in sine)])
    assert block_values("linear", 3) == [0, 0.5, 1, 1, 1, 1, 0, 0.5, 1]
    assert block_values("zeros/1/reverse_linear", 3) == [0, 0, 0, 1, 1, 1, 1, 0.5, 0]


@pytest.mark.parametrize(("text", "inputs", "words"), [
    ("1,1,1", 12, "expected 25 numbers (IN00 to IN11, M00, OUT00 to OUT11), got 3"),
    (",".join("1" * 25), 9, "expected 19 numbers (IN00 to IN08, M00, OUT00 to OUT08), got 25"),
    ("1,1/1/1,1", 12, "expected 12 numbers for down, got 2"), ("1/1", 12, "got 2 groups"),
    ("sinus", 12, "'sinus' is none of sine"), ("1,x,1", 12, "expected a number, got 'x'"),
    ("1,-2", 12, "from 0 on, got '-2'"), ("1,nan", 12, "from 0 on, got 'nan'"), ("cosine+z", 12, "expected a number, got 'z'")])
def test_what_cannot_be_read_is_refused_with_the_right_length(text, inputs, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        block_values(text, inputs)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_layer_within_the_blocks_has_a_place_and_every_place_is_used(family):
    model = tiny.tiny_model(family)
    inputs = input_blocks(model)
    places = {place_of(layer, inputs) for layer in layers_of(model) if layer.part == "unet" and layer.block is not None}
    assert places == set(range(2 * inputs + 3))
    assert len(block_names(inputs)) == 2 * inputs + 1


def test_places_are_those_of_the_original_code():
    model = tiny.tiny_model("sdxl")
    inputs = input_blocks(model)
    for layer in layers_of(model):
        name = next((key for key in (layer.key, *layer.aliases) if "_blocks_" in key and "down_blocks" not in key
                     and "up_blocks" not in key), "")
        number = int(name.split("_blocks_")[1].split("_")[0]) if name else None
        if "input_blocks" in name:
            assert place_of(layer, inputs) == number
        elif "output_blocks" in name:
            assert place_of(layer, inputs) == inputs + 3 + number
