"""Our files in other programs' readers: diffusers' loaders do with a file what the trained network did."""

from __future__ import annotations

import copy
from contextlib import ExitStack

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers, _maybe_map_sgm_blocks_to_diffusers
from diffusers.utils import USE_PEFT_BACKEND
from safetensors.torch import load, load_file

import tiny
from pivotal.config.sections.network import Blocks, Network, Targets
from pivotal.formats.embedding_file import embedding_bytes
from pivotal.formats.network_file import network_bytes
from pivotal.networks.choose import choose_layers
from pivotal.networks.network import Network as Trained

FAMILIES = ("sd1", "sd2", "sdxl")


def trained(model, *, convolutions=True):
    """Networks on the UNet and all text encoders, with values as after some training."""
    options = Network(method="lora", rank=4, alpha=3.0, conv_rank=2 if convolutions else None, conv_alpha=1.0)
    chosen = choose_layers(model, options, Targets(text_encoder_1=True, text_encoder_2=True), Blocks())
    networks = []
    for part, layers in chosen.items():
        network = Trained(part, "lora", layers, torch.Generator().manual_seed(1))
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
        networks.append(network)
    return networks


def file_of(networks, **embeddings):
    layers = {key: parts for network in networks for key, parts in network.file_tensors().items()}
    return network_bytes(layers, embeddings, {"ss_output_name": "x"}, "fp32")


def pipeline_of(model):
    texts = [encoder.module for encoder in model.text_encoders]
    scheduler = DDIMScheduler()
    first, second = (copy.deepcopy(tiny.tokenizer()) for _ in range(2))  # a loader adds its words to them
    if model.family.size_ids:
        return StableDiffusionXLPipeline(model.vae, *texts, first, second, model.unet, scheduler)
    return StableDiffusionPipeline(model.vae, texts[0], first, model.unet, scheduler, None, None,
                                   requires_safety_checker=False)


@torch.no_grad()
def answers(model):
    """What the UNet and the text encoders say to fixed inputs."""
    generator = torch.Generator().manual_seed(5)
    noisy = torch.randn(1, 4, 16, 16, generator=generator)
    conditioning = model.encode_prompts([tiny.tokenized("a red circle")])
    ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
    return conditioning.hidden, model.predict(noisy, torch.tensor([300]), conditioning, ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_finds_a_place_for_every_key(family):
    model = tiny.usual_model(family)
    tensors = load(file_of(trained(model)))
    pairs = len([key for key in tensors if key.endswith("lora_down.weight")])
    if family == "sdxl":
        tensors = _maybe_map_sgm_blocks_to_diffusers(tensors, model.unet.config)
    converted, alphas = _convert_non_diffusers_lora_to_diffusers(tensors)
    converted = converted if isinstance(converted, dict) else dict(converted)
    assert len(converted) == 2 * pairs and len(alphas) == pairs
    known = {f"unet.{name}" for name, _ in model.unet.named_modules()}
    places = {key.split(".lora")[0].split(".processor")[0] for key in converted if key.startswith("unet.")}
    assert len(places) > 20
    assert not {place for place in places if place.replace(".to_out_lora", ".to_out.0") not in known
                and not place.endswith(("attn1", "attn2"))}


@pytest.mark.skipif(not USE_PEFT_BACKEND, reason="diffusers loads no LoRA with a transformers this old (it needs 4.34)")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_loaded_by_diffusers_answers_as_the_trained_one(tmp_path, family):
    model = tiny.usual_model(family)
    networks = trained(model)
    plain = answers(model)
    path = tmp_path / "x.safetensors"
    path.write_bytes(file_of(networks))
    with ExitStack() as attached:
        for network in networks:
            attached.enter_context(network.attached())
        ours = answers(model)
    other = tiny.usual_model(family)
    pipeline = pipeline_of(other)
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name)
    theirs = answers(other)
    for before, mine, read in zip(plain, ours, theirs, strict=True):
        effect = (mine - before).norm()
        assert effect > 0.05 * before.norm()
        assert (mine - read).norm() < 1e-3 * effect


@pytest.mark.parametrize("family", FAMILIES)
def test_an_embedding_loaded_by_diffusers_is_the_trained_one(tmp_path, family):
    model = tiny.tiny_model(family)
    vectors = [torch.randn(2, width, generator=torch.Generator().manual_seed(width)) for width in model.widths]
    path = tmp_path / "zkteal.safetensors"
    path.write_bytes(embedding_bytes(vectors, {}))
    pipeline = pipeline_of(model)
    if family == "sdxl":
        for name, encoder, words in (("clip_l", pipeline.text_encoder, pipeline.tokenizer),
                                     ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2)):
            pipeline.load_textual_inversion(load_file(path)[name], token="zkteal", text_encoder=encoder, tokenizer=words)
    else:
        pipeline.load_textual_inversion(str(path), token="zkteal")
    for encoder, wanted in zip(model.text_encoders, vectors, strict=True):
        assert torch.equal(encoder.module.get_input_embeddings().weight[-2:], wanted)
