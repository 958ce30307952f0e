"""The shipped toy checkpoint: its layout, and whether it draws what it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pivotal.toy import measure, text, vae
from pivotal.toy.captions import training_pair
from pivotal.toy.judge import judge

pytestmark = pytest.mark.once

CHECKPOINT = Path(__file__).resolve().parents[2] / "extension" / "assets" / "toy.safetensors"


@pytest.fixture(scope="module")
def pipeline():
    return measure.load_pipeline(CHECKPOINT)


@pytest.fixture(scope="module")
def shapes() -> dict[str, list[int]]:
    with safe_open(CHECKPOINT, "pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}


def test_the_file_is_small_and_in_ldm_layout(shapes):
    assert CHECKPOINT.stat().st_size <= 48e6
    starts = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model.")
    for start in starts:
        assert any(name.startswith(start) for name in shapes)
    assert {name for name in shapes if not name.startswith(starts)} >= {"betas", "alphas_cumprod"}
    assert shapes["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"][0] == 49408


def test_every_normed_width_suits_32_groups(shapes):
    norms = [
        shape[0]
        for name, shape in shapes.items()
        if name.startswith(("model.", "first_stage"))
        and len(shape) == 1
        and name.endswith(("norm.weight", "norm_out.weight"))
        or name.endswith(("in_layers.0.weight", "out_layers.0.weight", "norm1.weight", "norm2.weight"))
        and "transformer_blocks" not in name
        and "text_model" not in name
    ]
    assert len(norms) > 40
    assert all(width % 32 == 0 and width >= 64 for width in norms)


def test_the_tokenizer_gives_clips_ids():
    # Ids of OpenAI's tokenizer for SD1, as printed in transformers' own tests of openai/clip-vit-large-patch14.
    assert text.token_ids(["a photo of a cat"])[0, :7].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_the_encoder_is_the_linear_map_it_claims_to_be(pipeline):
    rng = np.random.default_rng(31)
    pixels = vae.pixels_of([training_pair(rng)[0] for _ in range(16)])
    with torch.no_grad():
        encoded = pipeline.vae.encode(pixels).latent_dist.mean * vae.SCALE
    torch.testing.assert_close(encoded, vae.scaled_latents(pixels), atol=0.03, rtol=0.01)


def test_scaled_latents_have_unit_std(pipeline):
    rng = np.random.default_rng(32)
    latents = vae.scaled_latents(vae.pixels_of([training_pair(rng)[0] for _ in range(400)]))
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=0.1, rtol=0)


def test_reconstructions_keep_colour_and_shape(pipeline):
    rng = np.random.default_rng(33)
    scenes = [training_pair(rng)[0] for _ in range(40)]
    with torch.no_grad():
        images = pipeline.vae.decode(vae.scaled_latents(vae.pixels_of(scenes)) / vae.SCALE).sample
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    hits = [judge(image).shape == scene.shape for image, scene in zip(pixels, scenes, strict=True)]
    assert np.mean(hits) >= 0.95


@pytest.mark.parametrize(("count", "steps"), [(32, 10), pytest.param(200, 20, marks=pytest.mark.slow)])
def test_the_checkpoint_draws_what_it_is_asked_for(pipeline, count, steps):
    asked = measure.questions(count, seed=34)
    with torch.autocast("cpu", torch.bfloat16):
        images = measure.draw(pipeline, [question.prompt for question in asked], guidance=4.0, steps=steps, seed=35)
    got = measure.score(asked, images)
    assert got.colour >= 0.90, got
    assert got.background >= 0.90, got
    assert got.shape >= 0.80, got
