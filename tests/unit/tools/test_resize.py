"""A resized network is the nearest one of its rank."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import tiny_model, write_tiny
from tests.unit.tools.made import CONV, SHAPES, TO_K, deltas, lora, random, write_network

from pivotal.config.build import build
from pivotal.errors import FormatError, OptionError
from pivotal.formats.network_delta import alpha_of, rank_of, weight_delta
from pivotal.formats.network_file import read_network
from pivotal.tools.low_rank import ALL, Difference, chosen_rank, spectrum_of
from pivotal.tools.resize import resize
from pivotal.tools.settings import Resize

CPU = torch.device("cpu")


def run(tmp_path, source, **options):
    report = resize(build(Resize, {"source": str(source), "target": str(tmp_path / "out"), "precision": "fp32", **options}))
    return report, tmp_path / "out.safetensors"


def nearest(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    """Eckart and Young's, in doubles."""
    left, values, right = torch.linalg.svd(matrix.double().flatten(1), full_matrices=False)
    return (left[:, :rank] * values[:rank] @ right[:rank]).reshape(matrix.shape).float()


def test_every_layer_is_the_nearest_of_the_rank_asked_for(tmp_path):
    source = write_network(tmp_path / "in.safetensors", words={"word": (random(2, 768),)}, metadata={"ss_v2": "False"})
    report, out = run(tmp_path, source, rank=4)
    before, after = deltas(source), deltas(out)
    for key in SHAPES:
        torch.testing.assert_close(after[key], nearest(before[key], 4), rtol=1e-3, atol=1e-3)
    file = read_network(out)
    assert {rank_of(parts) for parts in file.layers.values()} == {4}
    assert {alpha_of(parts) for parts in file.layers.values()} == {2}, "alpha / rank stays as whoever trains on knows it"
    assert torch.equal(file.embeddings["word"][0], random(2, 768))
    assert file.metadata["ss_network_dim"] == "4" and file.metadata["ss_network_alpha"] == "2"
    assert file.metadata["ss_output_name"] == "out" and file.metadata["ss_training_comment"] == "fixed resize of in"
    assert report.files == (out,) and "rank 4" in report.text


def test_a_rank_that_is_no_smaller_changes_nothing(tmp_path):
    source = write_network(tmp_path / "in.safetensors")
    _, out = run(tmp_path, source, rank=64)
    before, after = deltas(source), deltas(out)
    for key in SHAPES:
        torch.testing.assert_close(after[key], before[key], rtol=1e-4, atol=1e-4)
    assert {rank_of(parts) for parts in read_network(out).layers.values()} == {6}, "it has no more directions than that"


def test_convolutions_may_have_a_rank_of_their_own(tmp_path):
    _, out = run(tmp_path, write_network(tmp_path / "in.safetensors"), rank=5, conv_rank=2)
    layers = read_network(out).layers
    assert rank_of(layers[CONV]) == 2 and rank_of(layers[TO_K]) == 5
    assert layers[CONV]["lora_down.weight"].shape == (2, 8, 3, 3) and layers[CONV]["lora_up.weight"].shape == (16, 2, 1, 1)


VALUES = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0])


@pytest.mark.parametrize(("method", "amount", "most", "rank"), [
    ("fixed", 0, 3, 3), ("fixed", 0, 9, 5),
    ("sv_ratio", 3.0, 9, 2), ("sv_ratio", 8.1, 9, 5), ("sv_ratio", 8.1, 4, 4), ("sv_ratio", 1.5, 9, 1),
    ("sv_cumulative", 0.75, 9, 2), ("sv_cumulative", 0.76, 9, 3), ("sv_cumulative", 1.0, 9, 5), ("sv_cumulative", 0.1, 9, 1),
    ("sv_fro", 0.9, 9, 2), ("sv_fro", 0.98, 9, 3), ("sv_fro", 0.99, 9, 4), ("sv_fro", 1.0, 9, 5)])
def test_the_rank_follows_from_the_singular_values(method, amount, most, rank):
    """8 + 4 + 2 + 1 + 1 = 16; of 86 = 64 + 16 + 4 + 1 + 1 the parts are .863, .964, .988, .994, 1 of the norm."""
    assert chosen_rank(VALUES, method, amount, most) == rank


def test_a_dynamic_rank_differs_from_layer_to_layer(tmp_path):
    steep = {"lora_up.weight": torch.linalg.qr(random(48, 6))[0] * torch.tensor([9.0, 3.0, 1.0, 0.1, 0.01, 0.001]),
             "lora_down.weight": torch.linalg.qr(random(768, 6))[0].t(), "alpha": torch.tensor(6.0)}
    source = write_network(tmp_path / "in.safetensors", {TO_K: steep, CONV: lora(SHAPES[CONV], 6, 6)})
    report, out = run(tmp_path, source, rank=32, method="sv_ratio", amount=10)
    layers = read_network(out).layers
    assert rank_of(layers[TO_K]) == 3 and rank_of(layers[CONV]) == 6 and "ranks from 3 to 6" in report.text
    assert read_network(out).metadata["ss_network_dim"] == "Dynamic"


@pytest.mark.parametrize("parts", [
    {"hada_w1_a": random(16, 2), "hada_w1_b": random(2, 72), "hada_w2_a": random(16, 2), "hada_w2_b": random(2, 72)},
    {"hada_t1": random(2, 2, 3, 3), "hada_t2": random(2, 2, 3, 3), "hada_w1_a": random(2, 16), "hada_w1_b": random(2, 8),
     "hada_w2_a": random(2, 16), "hada_w2_b": random(2, 8)},
    {"lokr_w1": random(4, 2), "lokr_w2": random(4, 4, 3, 3), "alpha": torch.tensor(1.0)},
    {"lokr_w1": random(4, 2), "lokr_w2_a": random(4, 2), "lokr_w2_b": random(2, 36), "alpha": torch.tensor(1.0)},
    {"lokr_w1": random(4, 2), "lokr_t2": random(2, 2, 3, 3), "lokr_w2_a": random(2, 4), "lokr_w2_b": random(2, 4)},
    {"lora_up.weight": random(16, 3, 1, 1), "lora_mid.weight": random(3, 3, 3, 3), "lora_down.weight": random(3, 8, 1, 1)},
    {"diff": random(16, 8, 3, 3)}])
def test_other_methods_become_a_lora(tmp_path, parts):
    source = write_network(tmp_path / "in.safetensors", {CONV: parts})
    _, out = run(tmp_path, source, rank=16)  # all there is
    torch.testing.assert_close(deltas(out)[CONV], deltas(source)[CONV], rtol=1e-3, atol=1e-3)
    assert read_network(out).layers[CONV]["lora_down.weight"].dim() == 4


def test_dora_needs_the_checkpoint_and_becomes_what_the_host_adds(tmp_path):
    model = tiny_model("sd1")
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    weight = model.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight
    parts = lora(weight.shape, 2, 1) | {"dora_scale": 1.1 * weight.norm(dim=0, keepdim=True)}
    source = write_network(tmp_path / "in.safetensors", {key: parts})
    with pytest.raises(FormatError, match=rf"{key} is DoRA.*give their checkpoint"):
        run(tmp_path, source, rank=64)
    checkpoint = write_tiny(tmp_path / "base.safetensors", dtype=torch.float32)
    _, out = run(tmp_path, source, rank=64, checkpoint=str(checkpoint))
    found = weight_delta(read_network(out).layers[key], weight)
    torch.testing.assert_close(found, weight_delta(parts, weight), rtol=1e-3, atol=1e-3)


def test_the_randomized_decomposition_is_as_near_as_the_exact_one():
    matrix = random(900, 1000) * 0.01 + random(900, 8) @ random(8, 1000)
    made = spectrum_of(Difference(matrix, None, (900, 1000)), 12, CPU)
    exact = torch.linalg.svdvals(matrix.double())
    torch.testing.assert_close(made.values[:8].double(), exact[:8], rtol=1e-4, atol=0)
    left = (matrix - made.left * made.values @ made.right).double().square().sum().sqrt()
    assert left < 1.01 * exact[12:].square().sum().sqrt()
    again = spectrum_of(Difference(matrix, None, (900, 1000)), 12, CPU)
    assert torch.equal(made.left, again.left)


def test_factors_are_decomposed_as_their_product_is():
    up, down = random(40, 5), random(5, 60)
    made = spectrum_of(Difference(up, down, (40, 60)), ALL, CPU)
    torch.testing.assert_close(made.values, torch.linalg.svdvals(up @ down)[:5], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made.left * made.values @ made.right, up @ down, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("options", "key"), [
    ({"rank": 0}, "rank"), ({"rank": "x"}, "rank"), ({"method": "sv_ratio"}, "amount"), ({"amount": 0.5}, "amount"),
    ({"method": "sv_fro", "amount": 1.5}, "amount"), ({"method": "sv_ratio", "amount": 0.5}, "amount"), ({"ranks": 3}, "ranks")])
def test_bad_settings_are_named(options, key):
    with pytest.raises(OptionError) as error:
        build(Resize, {"source": "a", "target": "b", **options})
    assert list(error.value.problems) == [key]


def test_nothing_is_overwritten_unless_asked(tmp_path):
    source = write_network(tmp_path / "in.safetensors")
    before = source.read_bytes()
    with pytest.raises(FormatError, match="exists, and nothing was written"):
        resize(Resize(str(source), str(source), rank=2))
    assert source.read_bytes() == before
    resize(Resize(str(source), str(source), rank=2, replace=True))
    assert rank_of(read_network(source).layers[TO_K]) == 2


def test_norms_pass_through_and_a_bias_is_refused(tmp_path):
    norm = {"w_norm": random(8), "b_norm": random(8)}
    source = write_network(tmp_path / "a.safetensors", {"lora_unet_norm": norm, TO_K: lora((48, 768), 4, 4)})
    _, out = run(tmp_path, source, rank=2)
    assert torch.equal(read_network(out).layers["lora_unet_norm"]["w_norm"], norm["w_norm"])
    source = write_network(tmp_path / "b.safetensors", {TO_K: {"diff": random(3, 4), "diff_b": random(3)}})
    with pytest.raises(FormatError, match="biases included"):
        resize(Resize(str(source), str(tmp_path / "c")))
