"""An extracted LoRA turns the base checkpoint into the tuned one."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from tests.tiny import tiny_tensors, tokenizer, write_tiny, write_truncated

from pivotal.config.build import build
from pivotal.errors import FormatError
from pivotal.formats.network_delta import rank_of, weight_delta
from pivotal.formats.network_file import family_of_network, read_network
from pivotal.models.build import build_model
from pivotal.models.layers import layers_of
from pivotal.tools.extract import extract
from pivotal.tools.settings import Extract


def changed(family: str) -> dict[str, torch.Tensor]:
    """A checkpoint whose every matrix differs by a difference of rank 2."""
    made = {}
    for name, tensor in tiny_tensors(family).items():
        made[name] = tensor
        if tensor.dim() >= 2 and name.endswith(("weight", "in_proj_weight", "text_projection")) and "embedding" not in name:
            flat = tensor.flatten(1)
            generator = torch.Generator().manual_seed(len(name))
            left = torch.randn(flat.shape[0], 2, generator=generator)
            made[name] = tensor + 0.1 * (left @ torch.randn(2, flat.shape[1], generator=generator)).reshape(tensor.shape)
    return made


def run(tmp_path, family="sd1", **options):
    base = write_tiny(tmp_path / "base.safetensors", family, dtype=torch.float32)
    tuned = tmp_path / "tuned.safetensors"
    safetensors.torch.save_file(changed(family), str(tuned))
    settings = {"base": str(base), "tuned": str(tuned), "target": str(tmp_path / "out"), "precision": "fp32", **options}
    return extract(build(Extract, settings)), tmp_path / "out.safetensors"


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_base_and_lora_together_are_the_tuned_checkpoint(tmp_path, family):
    report, out = run(tmp_path, family, rank=2, conv_rank=2)
    file = read_network(out)
    before = layers_of(build_model(tiny_tensors(family), tokenizer=tokenizer()))
    after = {layer.key: layer for layer in layers_of(build_model(changed(family), tokenizer=tokenizer()))}
    matrices = [layer for layer in before if layer.module.weight.dim() >= 2]
    assert set(file.layers) == {layer.key for layer in matrices} and len(matrices) > 30
    for layer in matrices:
        weight = layer.module.weight
        made = weight + weight_delta(file.layers[layer.key], weight)
        # q, k and v of an OpenCLIP are rows of one matrix, each of rank 2 for itself.
        torch.testing.assert_close(made, after[layer.key].module.weight.detach(), rtol=1e-3, atol=2e-3)
    assert f"{len(matrices)} layers with rank 2" in report.text
    expected = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}[family]
    assert file.metadata["ss_base_model_version"] == expected and family_of_network(file) in (family, None)


def test_convolutions_and_text_encoders_are_left_out_on_request(tmp_path):
    _, out = run(tmp_path, rank=4, conv_rank=0, text_encoders=False)
    layers = read_network(out).layers
    assert layers and not any(key.startswith("lora_te") for key in layers)
    assert all(parts["lora_down.weight"].flatten(2).shape[2:] in ((), (1,)) for parts in layers.values()
               if parts["lora_down.weight"].dim() == 4)
    assert {rank_of(parts) for parts in layers.values()} == {4}


def test_equal_checkpoints_have_nothing_to_extract(tmp_path):
    base = write_tiny(tmp_path / "a.safetensors")
    same = write_tiny(tmp_path / "b.safetensors")
    with pytest.raises(FormatError, match="nothing to extract"):
        extract(Extract(str(base), str(same), str(tmp_path / "out")))
    assert not (tmp_path / "out.safetensors").exists()


def test_checkpoints_of_two_families_cannot_be_compared(tmp_path):
    a, b = write_tiny(tmp_path / "a.safetensors", "sd1"), write_tiny(tmp_path / "b.safetensors", "sd2")
    with pytest.raises(FormatError, match=r"a\.safetensors is Stable Diffusion 1\.x, b\.safetensors is Stable Diffusion 2\.x"):
        extract(Extract(str(a), str(b), str(tmp_path / "out")))


def test_what_is_no_checkpoint_is_named(tmp_path):
    good = write_tiny(tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match="cut.safetensors"):
        extract(Extract(str(good), str(write_truncated(tmp_path / "cut.safetensors")), str(tmp_path / "out")))
    lora = tmp_path / "lora.safetensors"
    safetensors.torch.save_file({"lora_unet_x.lora_up.weight": torch.ones(2, 2)}, str(lora))
    with pytest.raises(FormatError, match=r"lora\.safetensors: it is a LoRA"):
        extract(Extract(str(good), str(lora), str(tmp_path / "out")))
    with pytest.raises(FormatError, match=r"absent.*give a checkpoint"):
        extract(Extract(str(tmp_path / "absent"), str(good), str(tmp_path / "out")))
