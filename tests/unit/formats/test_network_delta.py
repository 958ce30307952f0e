"""What is added to a weight is what AUTOMATIC1111's own code adds, and what the papers say."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from pivotal.errors import FormatError
from pivotal.formats.network_delta import alpha_of, bias_delta, kind_of, low_rank, rank_of, weight_delta


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Values between -1 and 1 that need no generator, so that every version of torch has the same."""
    return torch.cos(torch.arange(math.prod(shape), dtype=torch.float64) * 0.7 + seed).float().reshape(shape)


LINEAR, CONV, NORM, EIGHT = (36, 24), (16, 8, 3, 3), (36,), (32, 24)
A = torch.tensor

# name -> kind, the weight's shape, the parts; and what the Lora extension of AUTOMATIC1111 1.10.1 made of them: the sum of
# the difference, and the sum of the difference times `numbers` (its network_*.py run by hand, with einops 0.4.1).
CASES = {
    "lora": ("lora", LINEAR, {"lora_up.weight": numbers(36, 4), "lora_down.weight": numbers(4, 24, seed=1), "alpha": A(3.0)}),
    "lora without alpha": ("lora", LINEAR, {"lora_up.weight": numbers(36, 4), "lora_down.weight": numbers(4, 24, seed=1)}),
    "lora with scale": ("lora", LINEAR, {"lora_up.weight": numbers(36, 4), "lora_down.weight": numbers(4, 24, seed=1),
                                         "alpha": A(3.0), "scale": A(0.3)}),
    "lora with bias": ("lora", LINEAR, {"lora_up.weight": numbers(36, 4), "lora_down.weight": numbers(4, 24, seed=1),
                                        "alpha": A(3.0), "bias": numbers(36, 24, seed=3)}),
    "lora of a 1 x 1 convolution": ("lora", (36, 24, 1, 1), {
        "lora_up.weight": numbers(36, 4, 1, 1), "lora_down.weight": numbers(4, 24, 1, 1, seed=1), "alpha": A(3.0)}),
    "locon": ("lora", CONV, {"lora_up.weight": numbers(16, 4, 1, 1), "lora_down.weight": numbers(4, 8, 3, 3, seed=1),
                             "alpha": A(3.0)}),
    "locon with a middle": ("lora", CONV, {
        "lora_up.weight": numbers(16, 4, 1, 1), "lora_mid.weight": numbers(4, 4, 3, 3, seed=2),
        "lora_down.weight": numbers(4, 8, 1, 1, seed=1), "alpha": A(3.0)}),
    "dora": ("lora", LINEAR, {"lora_up.weight": numbers(36, 4), "lora_down.weight": numbers(4, 24, seed=1), "alpha": A(3.0),
                              "dora_scale": numbers(1, 24, seed=4).abs()}),
    "dora of a convolution": ("lora", CONV, {
        "lora_up.weight": numbers(16, 4, 1, 1), "lora_down.weight": numbers(4, 8, 3, 3, seed=1), "alpha": A(3.0),
        "dora_scale": numbers(1, 8, 1, 1, seed=4).abs()}),
    "loha": ("loha", LINEAR, {"hada_w1_a": numbers(36, 4), "hada_w1_b": numbers(4, 24, seed=1),
                              "hada_w2_a": numbers(36, 4, seed=2), "hada_w2_b": numbers(4, 24, seed=3), "alpha": A(3.0)}),
    "loha of a convolution": ("loha", CONV, {
        "hada_w1_a": numbers(16, 4), "hada_w1_b": numbers(4, 72, seed=1), "hada_w2_a": numbers(16, 4, seed=2),
        "hada_w2_b": numbers(4, 72, seed=3), "alpha": A(3.0)}),
    "loha with cores": ("loha", CONV, {
        "hada_t1": numbers(4, 4, 3, 3, seed=5), "hada_t2": numbers(4, 4, 3, 3, seed=6), "hada_w1_a": numbers(4, 16),
        "hada_w1_b": numbers(4, 8, seed=1), "hada_w2_a": numbers(4, 16, seed=2), "hada_w2_b": numbers(4, 8, seed=3),
        "alpha": A(3.0)}),
    "lokr of whole factors": ("lokr", LINEAR, {"lokr_w1": numbers(4, 4), "lokr_w2": numbers(9, 6, seed=1), "alpha": A(3.0)}),
    "lokr with a split second": ("lokr", LINEAR, {
        "lokr_w1": numbers(4, 4), "lokr_w2_a": numbers(9, 2, seed=1), "lokr_w2_b": numbers(2, 6, seed=2), "alpha": A(3.0)}),
    "lokr with both split": ("lokr", LINEAR, {
        "lokr_w1_a": numbers(4, 2), "lokr_w1_b": numbers(2, 4, seed=1), "lokr_w2_a": numbers(9, 3, seed=2),
        "lokr_w2_b": numbers(3, 6, seed=3), "alpha": A(3.0)}),
    "lokr of a convolution": ("lokr", CONV, {
        "lokr_w1": numbers(4, 2), "lokr_w2_a": numbers(4, 2, seed=1), "lokr_w2_b": numbers(2, 36, seed=2), "alpha": A(3.0)}),
    "lokr of a whole kernel": ("lokr", CONV, {"lokr_w1": numbers(4, 2), "lokr_w2": numbers(4, 4, 3, 3, seed=1),
                                              "alpha": A(3.0)}),
    "lokr with a core": ("lokr", CONV, {
        "lokr_w1": numbers(4, 2), "lokr_t2": numbers(2, 2, 3, 3, seed=1), "lokr_w2_a": numbers(2, 4, seed=2),
        "lokr_w2_b": numbers(2, 4, seed=3), "alpha": A(3.0)}),
    "ia3 on outputs": ("ia3", LINEAR, {"weight": numbers(36), "on_input": A(False)}),
    "ia3 on inputs": ("ia3", LINEAR, {"weight": numbers(24), "on_input": A(True)}),
    "glora": ("glora", LINEAR, {"a1.weight": numbers(3, 24), "a2.weight": numbers(24, 3, seed=1),
                                "b1.weight": numbers(3, 24, seed=2), "b2.weight": numbers(36, 3, seed=3), "alpha": A(2.0)}),
    "full": ("full", CONV, {"diff": numbers(16, 8, 3, 3), "diff_b": numbers(16)}),
    "norm": ("norm", NORM, {"w_norm": numbers(36), "b_norm": numbers(36, seed=1)}),
    "oft": ("oft", LINEAR, {"oft_blocks": numbers(4, 9, 9) * 0.1}),
    "oft with a limit": ("oft", LINEAR, {"oft_blocks": numbers(4, 9, 9) * 0.1, "alpha": A(0.01)}),
    "oft with a factor": ("oft", LINEAR, {"oft_blocks": numbers(4, 9, 9) * 0.1, "alpha": A(0.0), "rescale": numbers(36, 1)}),
    "oft of rotations": ("oft", LINEAR, {"oft_diag": numbers(4, 9, 9) * 0.1}),
    "boft": ("boft", EIGHT, {"oft_blocks": numbers(3, 8, 4, 4) * 0.1, "alpha": A(0.0)}),
    "boft of a convolution": ("boft", CONV, {"oft_blocks": numbers(2, 4, 4, 4) * 0.1, "alpha": A(0.01),
                                             "rescale": numbers(16, 1, 1, 1)}),
}
HOST = {
    "lora": (-0.01566176, 8.280089),
    "lora without alpha": (-0.02088247, 11.04012),
    "lora with scale": (-0.006264825, 3.312036),
    "lora with bias": (-1.517496, -312.8939),
    "lora of a 1 x 1 convolution": (-0.01566176, 8.280089),
    "locon": (0.1034181, 23.00624),
    "locon with a middle": (0.008864921, -4.102253),
    "dora": (-0.8328901, -279.2801),
    "dora of a convolution": (-0.3120717, -417.395),
    "loha": (16.75703, 0.05512458),
    "loha of a convolution": (762.7336, 2.763835),
    "loha with cores": (146.9378, 0.223692),
    "lokr of whole factors": (-0.1059888, -7.009087),
    "lokr with a split second": (0.07713199, -0.06193475),
    "lokr with both split": (-0.005518363, -5.117319),
    "lokr of a convolution": (-0.01462753, 57.72794),
    "lokr of a whole kernel": (-0.2082847, -90.14655),
    "lokr with a core": (0.0045417, 1.570497),
    "ia3 on outputs": (1.043868, 0.743365),
    "ia3 on inputs": (8.981658, -7.260938),
    "glora": (-0.09173653, 197.3762),
    "full": (1.919267, 576.0767),
    "norm": (0.09318905, 18.04206),
    "oft": (-1.628049, -0.4634894),
    "oft with a limit": (-0.3457009, -0.02470818),
    "oft with a factor": (0.03007259, -325.368),
    "oft of rotations": (-0.8122443, -325.4381),
    "boft": (-1.092993, -1.028168),
    "boft of a convolution": (0.06465433, -461.108),
}


@pytest.mark.parametrize("name", CASES)
def test_the_difference_is_the_one_that_the_host_makes(name):
    kind, shape, parts = CASES[name]
    delta = weight_delta(parts, numbers(*shape, seed=7))
    assert kind_of(parts) == kind and delta.shape == shape and delta.dtype == torch.float32
    found = (float(delta.double().sum()), float((delta.double() * numbers(*shape).double()).sum()))
    assert found == pytest.approx(HOST[name], rel=2e-5, abs=2e-4)


def test_a_low_rank_path_equals_its_difference_applied():
    _, shape, parts = CASES["locon"]
    down, up, scale = low_rank(parts)
    image = numbers(2, 8, 6, 6, seed=9)
    path = functional.conv2d(functional.conv2d(image, down, padding=1), up) * scale
    assert scale == 0.75
    torch.testing.assert_close(path, functional.conv2d(image, weight_delta(parts, torch.zeros(shape)), padding=1))


def test_a_middle_is_three_convolutions_in_a_row():
    _, shape, parts = CASES["locon with a middle"]
    image = numbers(2, 8, 6, 6, seed=9)
    inner = functional.conv2d(functional.conv2d(image, parts["lora_down.weight"]), parts["lora_mid.weight"], padding=1)
    path = functional.conv2d(inner, parts["lora_up.weight"]) * 0.75
    delta = weight_delta(parts, torch.zeros(shape))
    torch.testing.assert_close(path, functional.conv2d(image, delta, padding=1), rtol=1e-4, atol=1e-4)
    assert low_rank(parts) is None, "two convolutions do not make it"


def test_a_kronecker_product_is_blocks_of_its_second_factor():
    _, _, parts = CASES["lokr with a split second"]
    delta = weight_delta(parts, torch.zeros(36, 24))
    second = parts["lokr_w2_a"] @ parts["lokr_w2_b"] * 3 / 2
    for row in range(4):
        for column in range(4):
            block = delta[9 * row:9 * row + 9, 6 * column:6 * column + 6]
            torch.testing.assert_close(block, parts["lokr_w1"][row, column] * second)


@pytest.mark.parametrize("name", ["oft", "oft with a limit", "boft"])
def test_rotations_keep_every_angle_between_columns(name):
    _, shape, parts = CASES[name]
    weight = numbers(*shape, seed=7)
    changed = weight + weight_delta(parts, weight)
    assert (changed - weight).abs().max() > 1e-3
    torch.testing.assert_close(changed.t() @ changed, weight.t() @ weight, rtol=1e-4, atol=1e-4)


def test_dora_gives_every_input_the_length_that_the_file_says():
    _, shape, parts = CASES["dora"]
    weight = numbers(*shape, seed=7)
    changed = weight + weight_delta(parts, weight)
    torch.testing.assert_close(changed.norm(dim=0), parts["dora_scale"].flatten())


def test_a_scale_per_output_is_taken_as_it_was_trained_only_when_asked():
    weight = numbers(6, 4, seed=7)
    parts = {"lora_up.weight": numbers(6, 2), "lora_down.weight": numbers(2, 4, seed=1),
             "dora_scale": torch.arange(1.0, 7)[:, None]}
    trained = weight + weight_delta(parts, weight, as_trained=True)
    torch.testing.assert_close(trained.norm(dim=1), torch.arange(1.0, 7))
    assert not torch.allclose(weight + weight_delta(parts, weight), trained), "the host divides by norms per input"
    per_input = parts | {"dora_scale": torch.arange(1.0, 5)[None]}
    torch.testing.assert_close(weight_delta(per_input, weight, as_trained=True), weight_delta(per_input, weight))


@pytest.mark.parametrize(("name", "rank", "alpha"), [
    ("lora", 4, 3), ("lora without alpha", 4, 4), ("loha with cores", 4, 3), ("lokr of whole factors", None, 3),
    ("lokr with both split", 3, 3), ("full", None, None), ("ia3 on inputs", None, None)])
def test_rank_and_alpha_are_read_off_the_parts(name, rank, alpha):
    parts = CASES[name][2]
    assert (rank_of(parts), alpha_of(parts)) == (rank, alpha)


def test_only_whole_differences_and_norms_change_a_bias():
    biases = {name: bias_delta(parts, torch.zeros(shape)) for name, (_, shape, parts) in CASES.items()}
    assert {name for name, bias in biases.items() if bias is not None} == {"full", "norm"}
    torch.testing.assert_close(biases["norm"], numbers(36, seed=1))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_halves_are_multiplied_in_full_precision(half):
    parts = {key: tensor.to(half) for key, tensor in CASES["lora"][2].items()}
    exact = parts["lora_up.weight"].double() @ parts["lora_down.weight"].double() * 0.75
    torch.testing.assert_close(weight_delta(parts, torch.zeros(LINEAR, dtype=half)), exact.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("parts", "shape", "said"), [
    ({"lora_up.weight": torch.ones(3, 2)}, (3, 4), "lora_up.weight is not what any known method trains"),
    ({"lora_up.weight": torch.ones(3, 2), "lora_down.weight": torch.ones(3, 4)}, (3, 4), "do not fit a weight of (3, 4)"),
    ({"lora_up.weight": torch.ones(3, 2), "lora_down.weight": torch.ones(2, 5)}, (3, 4), "(3, 2)"),
    ({"diff": torch.ones(5)}, (3, 4), "(5,) of a weight that is (3, 4)"),
    ({"oft_blocks": torch.ones(4, 9, 9)}, (35, 4), "do not fit a weight of (35, 4)"),
    ({"a1.weight": torch.ones(1, 4), "a2.weight": torch.ones(4, 1), "b1.weight": torch.ones(1, 4),
      "b2.weight": torch.ones(3, 1), "alpha": torch.tensor(1.0)}, (3, 4, 1, 1), "GLoRA of a convolution")])
def test_parts_that_do_not_fit_are_named_with_their_shapes(parts, shape, said):
    with pytest.raises(FormatError) as error:
        weight_delta(parts, torch.zeros(shape))
    assert said in str(error.value)
