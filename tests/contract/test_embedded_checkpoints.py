"""What lies in the models folder is listed, loaded, or refused in a sentence."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel

import tiny
from pivotal.errors import FormatError, HostError
from pivotal.hosts.embedded.checkpoints import CheckpointFile, describe, list_checkpoints, load
from pivotal.hosts.embedded.host import EmbeddedHost

CPU = torch.device("cpu")


def file_of(path):
    return CheckpointFile(path.stem, path)


def predicted(model):
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    hidden = torch.randn(1, 77, sum(model.widths), generator=torch.Generator().manual_seed(2))
    added = {"text_embeds": torch.ones(1, 48), "time_ids": torch.ones(1, 6)} if model.family.size_ids else None
    return model.unet(latents, 500, hidden, added_cond_kwargs=added).sample


def test_half_precision_is_widened_on_the_cpu_and_nothing_else_changes(tmp_path):
    model = load(file_of(tiny.write_tiny(tmp_path / "a.safetensors", dtype=torch.float16)), None, CPU)
    assert model.dtype == torch.float32
    assert next(model.vae.parameters()).dtype == torch.float32
    halves = tiny.tiny_tensors("sd1", dtype=torch.float16)
    weight = model.unet.conv_in.weight
    assert torch.equal(weight, halves["model.diffusion_model.input_blocks.0.0.weight"].float())


def test_the_yaml_beside_a_checkpoint_is_read(tmp_path):
    path = tiny.write_tiny(tmp_path / "a.safetensors", "sd2")
    assert load(file_of(path), None, CPU).prediction == "v"
    path.with_suffix(".yaml").write_text("model: {params: {parameterization: eps, unet_config: {params: {num_heads: 4}}}}")
    model = load(file_of(path), None, CPU)
    assert model.prediction == "epsilon"
    assert model.unet.config.attention_head_dim == 4
    path.with_suffix(".yaml").write_text("{")
    with pytest.raises(FormatError, match="yaml"):
        load(file_of(path), None, CPU)


@pytest.mark.parametrize("family", sorted(tiny.SHAPES))
def test_an_inpainting_checkpoint_is_loaded_as_one(tmp_path, family):
    file = file_of(tiny.write_tiny(tmp_path / "a.safetensors", family, inputs=9))
    assert (describe(file).family.name, describe(file).blocks) == (family, 4)
    assert load(file, None, CPU).is_inpainting
    with pytest.raises(FormatError, match=r"b\.safetensors: its UNet takes 8 channels"):
        load(file_of(tiny.write_tiny(tmp_path / "b.safetensors", family, inputs=8)), None, CPU)


def test_a_remark_in_a_checkpoint_makes_its_schedule_end_in_noise(tmp_path):
    tensors = tiny.tiny_tensors("sd1") | {"ztsnr": torch.zeros(0), "v_pred": torch.zeros(0)}
    save_file(tensors, str(tmp_path / "a.safetensors"))
    model = load(file_of(tmp_path / "a.safetensors"), None, CPU)
    assert (model.prediction, model.alphas_cumprod[-1].item()) == ("v", pytest.approx(4.8973451890853435e-08))


def lora(path):
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1, 1)}, str(path))


def incomplete(path):
    tensors = tiny.tiny_tensors("sd1")
    del tensors["model.diffusion_model.middle_block.1.norm.weight"]
    save_file(tensors, str(path))


@pytest.mark.parametrize(("write", "words"), [
    (tiny.write_truncated, "cut off"),
    (lambda path: path.write_bytes(b""), "cut off|damaged"),
    (lambda path: path.write_text("<html>not found</html>" * 9), "cut off|damaged"),
    (lora, "LoRA"),
    (incomplete, "missing"),
])
def test_what_cannot_be_loaded_is_told_in_a_sentence_with_its_name(tmp_path, write, words):
    path = tmp_path / "bad.safetensors"
    write(path)
    with pytest.raises(FormatError, match=words) as caught:
        load(file_of(path), None, CPU)
    assert "bad.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_refused(tmp_path):
    (tmp_path / "old.ckpt").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"convert it to \.safetensors"):
        describe(file_of(tmp_path / "old.ckpt"))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(HostError, match="is not there"):
        load(file_of(tmp_path / "gone.safetensors"), None, CPU)
    with pytest.raises(HostError, match="is not there"):
        EmbeddedHost(tmp_path, checkpoint=tmp_path / "gone.safetensors")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(HostError, match="cannot be made"):
        EmbeddedHost(tmp_path / "data")


def test_the_list_has_subfolders_the_given_one_first_and_the_toy_last(tmp_path):
    models = tmp_path / "models"
    for name in ("b.safetensors", "deep/a.safetensors", "old.ckpt", "notes.txt"):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_bytes(b"")
    for folder in ("whole/model_index.json", "whole/unet/x.safetensors", "given/model_index.json"):
        path = (tmp_path if folder.startswith("given") else models) / folder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (tmp_path / "toy.safetensors").write_bytes(b"")
    found = list_checkpoints(models, tmp_path / "toy.safetensors", tmp_path / "given")
    assert list(found) == ["given", "b", "deep/a", "old", "whole", "toy"]
    assert found["whole"].path == models / "whole"


def test_a_host_without_any_checkpoint_says_where_to_put_one(tmp_path):
    host = EmbeddedHost(tmp_path, toy=tmp_path / "none")
    assert host.checkpoint() is None
    assert list(host.checkpoints()) == []
    with pytest.raises(HostError, match=r"models.Stable-diffusion"):
        host.prompt_context()


def test_a_broken_checkpoint_leaves_the_host_usable(tmp_path):
    models = tmp_path / "models" / "Stable-diffusion"
    models.mkdir(parents=True)
    tiny.write_truncated(models / "a.safetensors")
    tiny.write_tiny(models / "b.safetensors")
    host = EmbeddedHost(tmp_path, device="cpu", toy=tmp_path / "none")
    assert host.checkpoint() is None
    with pytest.raises(HostError, match="cut off"):
        host.prompt_context()
    assert host.select("b").family.name == "sd1"
    assert host.checkpoint().name == "b"


def save_as_diffusers(family, folder, inputs=4):
    """As diffusers saves a model; its SD 2 leaves the last text layer out, which nothing uses."""
    model = tiny.tiny_model(family, inputs=inputs)
    kind = {"sdxl": "StableDiffusionXLPipeline"}.get(family, "StableDiffusionPipeline")
    model.unet.save_pretrained(folder / "unet")
    model.vae.save_pretrained(folder / "vae")
    for name, encoder in zip(("text_encoder", "text_encoder_2"), model.text_encoders, strict=False):
        module = encoder.module
        if family == "sd2":
            config = type(module.config).from_dict(module.config.to_dict() | {"num_hidden_layers": 2})
            module = CLIPTextModel(config)
            kept = {key: tensor for key, tensor in encoder.module.state_dict().items() if "layers.2." not in key}
            module.load_state_dict(kept, strict=False)  # transformers 4.30 counts the positions' numbers, too
        module.save_pretrained(folder / name)
    (folder / "scheduler").mkdir()
    prediction = "v_prediction" if family == "sd2" else "epsilon"
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": prediction}))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    return model


@pytest.mark.parametrize("family", sorted(tiny.SHAPES))
def test_a_diffusers_folder_is_the_same_model(tmp_path, family):
    folder = tmp_path / "whole"
    expected = save_as_diffusers(family, folder)
    file = CheckpointFile("whole", folder)
    assert describe(file).family.name == family
    assert describe(file).widths == expected.widths
    model = load(file, tiny.tokenizer(), CPU)
    assert (model.family.name, model.prediction, model.resolution) == (family, expected.prediction, 64)
    torch.testing.assert_close(predicted(model), predicted(expected))
    prompt = [tiny.tokenized("a red circle")]
    torch.testing.assert_close(model.encode_prompts(prompt).hidden, expected.encode_prompts(prompt).hidden)


def test_a_diffusers_folder_for_inpainting_and_with_a_rescaled_schedule_is_known(tmp_path):
    folder = tmp_path / "whole"
    expected = save_as_diffusers("sd1", folder, inputs=9)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionInpaintPipeline"}))
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"rescale_betas_zero_snr": True}))
    file = CheckpointFile("whole", folder)
    assert describe(file).blocks == 4
    model = load(file, None, CPU)
    assert model.is_inpainting
    assert torch.equal(model.unet.conv_in.weight, expected.unet.conv_in.weight)
    assert model.alphas_cumprod[-1] < 1e-7
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"in_channels": 8}))
    with pytest.raises(FormatError, match="takes 8 channels"):
        describe(file)


def test_an_incomplete_diffusers_folder_is_told(tmp_path):
    folder = tmp_path / "whole"
    save_as_diffusers("sd1", folder)
    for path in (folder / "unet").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(FormatError, match="whole cannot be loaded"):
        load(CheckpointFile("whole", folder), None, CPU)
    (folder / "text_encoder" / "config.json").unlink()
    with pytest.raises(FormatError, match=r"text_encoder/config\.json"):
        describe(CheckpointFile("whole", folder))
