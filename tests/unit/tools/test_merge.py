"""Merged networks add up."""

from __future__ import annotations

import pytest
import torch
from tests.unit.tools.made import CONV, SHAPES, TEXT, TO_K, deltas, lora, random, write_network

from pivotal.config.build import build
from pivotal.errors import FormatError, OptionError
from pivotal.formats.network_delta import rank_of
from pivotal.formats.network_file import read_network
from pivotal.tools.merge import merge
from pivotal.tools.settings import Merge


def run(tmp_path, *sources, **options):
    settings = {"sources": list(sources), "target": str(tmp_path / "out"), "precision": "fp32", **options}
    merge(build(Merge, settings))
    return tmp_path / "out.safetensors"


def test_concatenated_networks_are_their_exact_weighted_sum(tmp_path):
    a = write_network(tmp_path / "a.safetensors", rank=3, alpha=1, words={"one": (random(1, 768),)})
    b = write_network(tmp_path / "b.safetensors", rank=5, alpha=2, seed=9, words={"two": (random(2, 768),)})
    out = run(tmp_path, f"{a}=0.7", f"{b}=-0.3")
    first, second, both = deltas(a), deltas(b), deltas(out)
    for key in SHAPES:
        torch.testing.assert_close(both[key], 0.7 * first[key] - 0.3 * second[key], rtol=1e-4, atol=1e-5)
    file = read_network(out)
    assert {rank_of(parts) for parts in file.layers.values()} == {8} and set(file.embeddings) == {"one", "two"}
    assert file.metadata["ss_training_comment"] == "merged from 0.7 x a + -0.3 x b"


def test_a_layer_of_one_file_only_is_kept_at_its_weight(tmp_path):
    a = write_network(tmp_path / "a.safetensors", {TO_K: lora(SHAPES[TO_K], 2, 2)})
    b = write_network(tmp_path / "b.safetensors", {CONV: lora(SHAPES[CONV], 2, 2)})
    out = deltas(run(tmp_path, f"{a}", f"{b}=0.5"))
    torch.testing.assert_close(out[TO_K], deltas(a)[TO_K])
    torch.testing.assert_close(out[CONV], deltas(b)[CONV] * 0.5)


def test_by_svd_the_sum_is_the_nearest_of_the_rank(tmp_path):
    a, b = write_network(tmp_path / "a.safetensors"), write_network(tmp_path / "b.safetensors", seed=4)
    out = run(tmp_path, f"{a}=1", f"{b}=1", how="svd", rank=4)
    matrix = (deltas(a)[TO_K] + deltas(b)[TO_K]).double()
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(deltas(out)[TO_K].double(), left[:, :4] * values[:4] @ right[:4], rtol=1e-3, atol=1e-3)
    assert rank_of(read_network(out).layers[TO_K]) == 4


def test_other_methods_are_merged_by_svd_only(tmp_path):
    loha = {"hada_w1_a": random(48, 2), "hada_w1_b": random(2, 768), "hada_w2_a": random(48, 2), "hada_w2_b": random(2, 768)}
    a = write_network(tmp_path / "a.safetensors", {TO_K: loha})
    b = write_network(tmp_path / "b.safetensors", {TO_K: lora(SHAPES[TO_K], 2, 2)})
    with pytest.raises(FormatError, match=f"{TO_K} is no plain LoRA.*set how to svd"):
        run(tmp_path, str(a), str(b))
    out = run(tmp_path, str(a), str(b), how="svd", rank=6)
    torch.testing.assert_close(deltas(out)[TO_K], deltas(a)[TO_K] + deltas(b)[TO_K], rtol=1e-3, atol=1e-3)


def test_layers_under_the_names_of_diffusers_and_of_sgm_are_one(tmp_path):
    diffusers = "lora_unet_up_blocks_0_upsamplers_0_conv"
    sgm = "lora_unet_output_blocks_2_2_conv"
    cross = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {sgm: (16, 8, 3, 3), "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k": (8, 2048)}
    a = write_network(tmp_path / "a.safetensors", {diffusers: lora((16, 8, 3, 3), 2, 2), cross: lora((8, 2048), 1, 1)})
    b = write_network(tmp_path / "b.safetensors", {sgm: lora((16, 8, 3, 3), 2, 2, seed=3)})
    out = run(tmp_path, str(a), str(b))
    file = read_network(out)
    assert set(file.layers) == set(shapes) and rank_of(file.layers[sgm]) == 4
    sizes = {diffusers: (16, 8, 3, 3), cross: (8, 2048)} | shapes
    torch.testing.assert_close(deltas(out, sizes)[sgm], deltas(a, sizes)[diffusers] + deltas(b, sizes)[sgm])
    assert file.metadata["ss_base_model_version"].startswith("sdxl_"), "or A1111 takes it for SD 1 and hides its card"


@pytest.mark.parametrize(("change", "said"), [
    ({"words": {"same": (random(1, 768),)}}, "both bundle an embedding same"),
    ({"layers": {TO_K: lora((48, 1024), 2, 2)}}, "different families"),
    ({"layers": {TEXT: lora((32, 40), 2, 2)}}, f"{TEXT} is")])
def test_what_does_not_fit_together_is_named(tmp_path, change, said):
    a = write_network(tmp_path / "a.safetensors", words={"same": (random(2, 768),)})
    b = write_network(tmp_path / "b.safetensors", **change)
    with pytest.raises(FormatError) as error:
        run(tmp_path, str(a), str(b))
    assert said in str(error.value) and not (tmp_path / "out.safetensors").exists()


def test_the_same_embedding_in_both_is_no_quarrel(tmp_path):
    words = {"same": (random(2, 768),)}
    a, b = (write_network(tmp_path / name, words=words) for name in ("a.safetensors", "b.safetensors"))
    assert set(read_network(run(tmp_path, str(a), str(b))).embeddings) == {"same"}


@pytest.mark.parametrize(("sources", "said"), [
    ([], "two networks or more, got 0"), (["a"], "got 1"), (["a=1", "b=x"], "expected a number after =, got 'x'")])
def test_bad_sources_are_named(sources, said):
    with pytest.raises(OptionError) as error:
        merge(build(Merge, {"sources": sources, "target": "x"}))
    assert said in error.value.problems["sources"]
