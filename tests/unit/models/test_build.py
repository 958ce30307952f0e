"""Checkpoints in the original layout become modules that compute what the original code computes, over its memory."""

from __future__ import annotations

import pytest
import torch

import plain_ldm
import tiny
from pivotal.errors import FormatError
from pivotal.models.build import build_model
from pivotal.models.diffusion import Conditioning
from pivotal.models.families import FAMILIES as TABLE
from pivotal.models.families import SD1
from pivotal.models.ldm_layout import detect_family, known_facts

FAMILIES = sorted(tiny.SHAPES)
HEADS = {"sd1": lambda channels: 8, "sd2": lambda channels: channels // 64, "sdxl": lambda channels: channels // 64}
IDS = torch.tensor([[49406, 320, 1125, 539, 2368] + [49407] * 72, [49406, 518] + [49407] * 75])


@pytest.fixture(scope="module", params=FAMILIES)
def built(request):
    tensors = tiny.tiny_tensors(request.param)
    return request.param, tensors, build_model(tensors, tokenizer=None)


def modules_of(model):
    return [model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]


def test_the_family_is_told_from_the_names(built):
    name, tensors, model = built
    assert model.family.name == name
    assert detect_family(tensors).name == name


def test_every_parameter_shares_the_checkpoints_memory(built):
    _, tensors, model = built
    spans = sorted((tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * 4) for tensor in tensors.values())
    parameters = [parameter for module in modules_of(model) for parameter in module.parameters()]
    assert len(parameters) > 100
    for parameter in parameters:
        assert any(start <= parameter.data_ptr() < end for start, end in spans)


def test_a_model_is_frozen_whole_and_in_evaluation_mode(built):
    _, _, model = built
    for module in modules_of(model):
        assert not module.training
        assert all(not parameter.requires_grad for parameter in module.parameters())
        assert all(not tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])


def test_the_unet_equals_the_original_code(built):
    name, tensors, model = built
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert not model.is_inpainting
    _compare(name, model, tensors, noisy, noisy)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_inpainting_unet_equals_the_original_code_and_shares_its_memory(name):
    """ldm's order: noisy latents, mask, latents of the masked image (DiffusionWrapper, "hybrid")."""
    tensors = tiny.tiny_tensors(name, inputs=9)
    model = build_model(tensors, tokenizer=None)
    inputs = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(1))
    assert model.is_inpainting
    assert model.unet.conv_in.weight.data_ptr() == tensors["model.diffusion_model.input_blocks.0.0.weight"].data_ptr()
    _compare(name, model, tensors, inputs[:, :4], inputs, inpainting=inputs[:, 4:])


def _compare(name, model, tensors, noisy, inputs, **more):
    generator = torch.Generator().manual_seed(2)
    context, timesteps = torch.randn(2, 77, sum(model.widths), generator=generator), torch.tensor([3, 907])
    pooled, sizes, added = None, None, None
    if name == "sdxl":
        pooled, sizes = torch.randn(2, 48, generator=generator), torch.tensor([[64.0, 96, 8, 0, 64, 64]] * 2)
        added = torch.cat([pooled, plain_ldm.sinusoids(sizes.flatten(), 256).reshape(2, -1)], dim=1)
    plain = plain_ldm.unet(plain_ldm.under(tensors, "model.diffusion_model."), inputs, timesteps, context, HEADS[name], added)
    found = model.predict(noisy, timesteps, Conditioning(context, pooled), sizes, **more)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


def test_the_masked_input_is_the_mask_and_the_image_without_what_is_masked():
    tensors = tiny.tiny_tensors("sd1", inputs=9)
    model = build_model(tensors, tokenizer=None)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:40, 8:64] = 1
    found = model.encode_masked(pixels, mask)
    grey = pixels.clone()
    grey[..., 16:40, 8:64] = 0
    expected = plain_ldm.encode_mean(plain_ldm.under(tensors, "first_stage_model."), grey) * 0.18215
    torch.testing.assert_close(found[:, 1:], expected, rtol=1e-4, atol=1e-4)
    assert found[0, 0].sum() == 3 * 7
    assert found[0, 0, 2:5, 1:].min() == 1


def test_the_vae_equals_the_original_code():
    tensors = tiny.tiny_tensors("sd1")
    model = build_model(tensors, tokenizer=None)
    vae = plain_ldm.under(tensors, "first_stage_model.")
    pixels = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1
    mean = model.vae.encode(pixels).latent_dist.mean
    torch.testing.assert_close(mean, plain_ldm.encode_mean(vae, pixels), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.vae.decode(mean).sample, plain_ldm.decode(vae, mean), rtol=1e-4, atol=1e-4)


def test_a_clip_equals_the_original_code():
    tensors = tiny.tiny_tensors("sd1")
    module = build_model(tensors, tokenizer=None).text_encoders[0].module
    plain = plain_ldm.clip(plain_ldm.under(tensors, "cond_stage_model.transformer.text_model."), IDS, heads=1)
    for found, expected in zip(module(IDS, output_hidden_states=True).hidden_states, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "prefix"), [("sd2", "cond_stage_model.model."), ("sdxl", "conditioner.embedders.1.model.")])
def test_an_open_clip_equals_the_original_code(family, prefix):
    tensors = tiny.tiny_tensors(family)
    module = build_model(tensors, tokenizer=None).text_encoders[-1].module
    ids = IDS.clone()
    ids[0, 6:], ids[1, 3:] = 0, 0  # OpenCLIP pads with 0
    states, pooled = plain_ldm.open_clip(plain_ldm.under(tensors, prefix), ids, heads=1)
    output = module(ids, output_hidden_states=True)
    for found, expected in zip(output.hidden_states, states, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if family == "sdxl":
        torch.testing.assert_close(output.text_embeds, pooled, rtol=1e-4, atol=1e-4)


def test_live_parameters_of_a_host_are_not_touched():
    tensors = {name: torch.nn.Parameter(tensor) for name, tensor in tiny.tiny_tensors("sd1").items()}
    model = build_model(tensors, tokenizer=None)
    assert all(tensor.requires_grad for tensor in tensors.values())
    mine = {id(parameter) for module in modules_of(model) for parameter in module.parameters()}
    assert mine.isdisjoint(id(tensor) for tensor in tensors.values())


@pytest.mark.parametrize("name", ["model.diffusion_model.middle_block.1.norm.weight", "first_stage_model.quant_conv.bias",
                                  "cond_stage_model.transformer.text_model.final_layer_norm.bias",
                                  "model.diffusion_model.time_embed.0.weight"])
def test_a_missing_tensor_is_named(name):
    tensors = tiny.tiny_tensors("sd1")
    del tensors[name]
    with pytest.raises(FormatError, match=r"missing|incomplete|no tensor"):
        build_model(tensors, tokenizer=None)


@pytest.mark.parametrize("name", ["model.diffusion_model.extra.weight", "first_stage_model.decoder.extra.weight",
                                  "cond_stage_model.transformer.text_model.extra.weight"])
def test_an_unknown_tensor_is_named(name):
    tensors = tiny.tiny_tensors("sd1") | {name: torch.zeros(3)}
    with pytest.raises(FormatError, match=r"unknown: .*extra\.weight"):
        build_model(tensors, tokenizer=None)


def test_tensors_of_no_part_are_left_alone():
    tensors = tiny.tiny_tensors("sd1") | {"betas": torch.zeros(1000), "model_ema.decay": torch.zeros(()),
                                          "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)}
    assert build_model(tensors, tokenizer=None).family.name == "sd1"


@pytest.mark.parametrize(("inputs", "said"), [(5, "takes 5 channels, as depth models do"),
                                              (8, "takes 8 channels, as models that edit"), (6, "takes 6 channels; only")])
def test_unets_with_other_inputs_are_refused_in_words(inputs, said):
    with pytest.raises(FormatError, match=said):
        build_model(tiny.tiny_tensors("sd1", inputs=inputs), tokenizer=None)


def test_relatives_that_bear_the_familys_names_are_refused_in_words():
    small = {name: tensor for name, tensor in tiny.tiny_tensors("sdxl").items() if ".middle_block.1." not in name}
    with pytest.raises(FormatError, match="SSD-1B"):
        build_model(small, tokenizer=None)
    unclip = tiny.tiny_tensors("sd2") | {"model.diffusion_model.label_emb.0.0.weight": torch.zeros(8, 8)}
    with pytest.raises(FormatError, match="unCLIP"):
        build_model(unclip, tokenizer=None)


@pytest.mark.parametrize(("names", "word"), [
    (["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"], "LoRA"),
    (["emb_params"], "embedding"),
    (["clip_l", "clip_g"], "embedding"),
    (["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"], "Stable Diffusion 3"),
    (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
    (["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], "Flux"),
    (["encoder.down.0.block.0.conv1.weight", "decoder.up.0.block.0.conv1.weight"], "VAE"),
    (["down_blocks.0.resnets.0.conv1.weight"], "diffusers"),
    (["control_model.input_blocks.0.0.weight"], "ControlNet"),
    (["model.diffusion_model.out.2.weight"], "text encoder"),
    (["model.diffusion_model.out.2.weight", "conditioner.embedders.0.model.ln_final.weight"], "refiner"),
    (["x"], "no tensor under"),
    ([], "no tensor under"),
])
def test_what_is_no_checkpoint_is_told_by_name(names, word):
    with pytest.raises(FormatError, match=word):
        detect_family(names)


@pytest.mark.parametrize(("family", "tensors", "metadata", "config", "expected"), [
    ("sd1", {}, {}, {}, "epsilon"),
    ("sd1", {"v_pred": torch.zeros(0)}, {}, {}, "v"),
    ("sdxl", {}, {"modelspec.prediction_type": "v"}, {}, "v"),
    ("sd2", {}, {}, {}, "v"),
    ("sd2", {"global_step": torch.tensor(875000)}, {}, {}, "epsilon"),
    ("sd2", {}, {"modelspec.prediction_type": "epsilon"}, {}, "epsilon"),
    ("sd2", {}, {"modelspec.prediction_type": "epsilon"}, {"model": {"params": {"parameterization": "v"}}}, "v"),
    ("sd2", {}, {}, {"model": {"params": {"linear_start": 0.00085, "parameterization": "eps"}}}, "epsilon"),
])
def test_the_prediction_type_is_what_the_best_informed_says(family, tensors, metadata, config, expected):
    assert known_facts(TABLE[family], tensors, metadata, config).prediction == expected


def test_resolution_and_heads_are_read_where_they_are_written():
    config = {"model": {"params": {"unet_config": {"params": {"num_heads": 4, "num_head_channels": -1}}}}}
    facts = known_facts(SD1, {}, {"modelspec.resolution": "64x96"}, config)
    assert (facts.resolution, facts.heads, facts.head_width) == (96, 4, None)
    assert known_facts(SD1, {}, {}, {"model": {"params": {"image_size": 8}}}).resolution == 64
    model = build_model(tiny.tiny_tensors("sd1"), tokenizer=None, facts=facts)
    assert model.resolution == 96
    assert model.unet.config.attention_head_dim == 4


def test_a_remark_in_the_file_makes_the_schedule_end_in_noise():
    tensors = tiny.tiny_tensors("sd1") | {"ztsnr": torch.zeros(0), "v_pred": torch.zeros(0)}
    model = build_model(tensors, tokenizer=None)
    assert model.prediction == "v"
    assert model.alphas_cumprod[-1] < 1e-7
    host = torch.linspace(0.999, 0.0047, 1000)
    assert torch.equal(build_model(tensors, tokenizer=None, alphas_cumprod=host).alphas_cumprod, host)
