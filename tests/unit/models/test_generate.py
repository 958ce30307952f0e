"""Images are drawn deterministically, follow the prompt, and emphasis is A1111's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny
from pivotal.models.diffusion import Conditioning
from pivotal.models.emphasis import chunk_weights, emphasised
from pivotal.models.generate import GenerateSettings, conditioning_for, decode, generate, negative_for
from pivotal.models.samplers import SAMPLERS, make_scheduler
from pivotal.models.schedule import overridden
from pivotal.prompts.chunks import Chunk, tokenize_caption

SMALL = {"width": 32, "height": 40, "steps": 3, "cfg_scale": 3.0}


@pytest.fixture(scope="module")
def sd1():
    return tiny.tiny_model("sd1")


def pixels(images):
    return np.stack([np.asarray(image) for image in images])


def draw(model, prompt="a red circle", negative="", vectors=None, **changes):
    settings = GenerateSettings(**(SMALL | changes))
    return pixels(generate(model, conditioning_for(model, prompt, vectors), conditioning_for(model, negative), settings))


@pytest.mark.parametrize("family", sorted(tiny.SHAPES))
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_the_same_settings_draw_the_same_image(family, sampler):
    model = tiny.tiny_model(family)
    first = draw(model, sampler=sampler)
    assert first.shape == (1, 40, 32, 3)
    assert first.std() > 1
    assert np.array_equal(first, draw(model, sampler=sampler))
    assert not np.array_equal(first, draw(model, sampler=sampler, seed=2))
    assert not np.array_equal(first, draw(model, "a blue square", sampler=sampler))


@pytest.mark.parametrize("sampler", ["Euler", "Euler a"])
def test_an_image_of_a_batch_is_the_one_of_its_own_seed(sd1, sampler):
    batch = draw(sd1, sampler=sampler, seed=5, batch=2)
    alone = draw(sd1, sampler=sampler, seed=6)
    assert np.abs(batch[1].astype(int) - alone[0]).max() <= 1  # a batch may round otherwise


def test_a_long_prompt_and_a_short_negative_act_as_if_each_were_alone(sd1):
    long, short = conditioning_for(sd1, "word " * 100), conditioning_for(sd1, "bad")
    twice = Conditioning(short.hidden.repeat(1, 2, 1))
    assert long.hidden.shape[1] == 154
    settings = GenerateSettings(**SMALL)
    assert np.array_equal(pixels(generate(sd1, long, short, settings)), pixels(generate(sd1, long, twice, settings)))
    latents, times = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([500])
    once = sd1.predict(latents, times, short)
    torch.testing.assert_close(sd1.predict(latents, times, twice), once, rtol=1e-4, atol=1e-5)


def test_steps_are_told_and_a_stop_gives_no_image(sd1):
    seen = []
    conditioning = conditioning_for(sd1, "a")
    settings = GenerateSettings(**SMALL)
    assert len(generate(sd1, conditioning, conditioning, settings, lambda done, of: seen.append((done, of)))) == 1
    assert seen == [(1, 3), (2, 3), (3, 3)]
    stopped = []
    assert generate(sd1, conditioning, conditioning, settings, lambda done, of: stopped.append(done),
                    should_stop=lambda: True) == []
    assert stopped == [1]


@pytest.mark.parametrize("family", sorted(tiny.SHAPES))
def test_an_inpainting_model_draws_as_if_everything_were_masked(family):
    """DDIM in one step, by hand, with the mask of ones and the latents of a grey image."""
    model = tiny.tiny_model(family, inputs=9)
    conditioning = conditioning_for(model, "a red circle")
    settings = GenerateSettings(32, 32, steps=1, sampler="DDIM", cfg_scale=1.0, seed=3)
    noisy = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    told = model.encode_masked(torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32))
    assert told[:, 0].min() == 1
    with torch.no_grad():
        sizes = torch.tensor([[32.0, 32, 0, 0, 32, 32]])
        noise = model.predict(noisy, torch.tensor([1]), conditioning, sizes, told)
        alpha, first = model.alphas_cumprod[1], model.alphas_cumprod[0]
        clean = (noisy - (1 - alpha).sqrt() * noise) / alpha.sqrt()
        expected = decode(model, first.sqrt() * clean + (1 - first).sqrt() * noise)
    difference = pixels(generate(model, conditioning, conditioning, settings)).astype(int) - pixels(expected)
    assert np.abs(difference).max() <= 1
    assert not model.unet._forward_pre_hooks


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_schedule_that_ends_in_noise_can_be_sampled(sampler):
    model = overridden(tiny.tiny_model("sd1"), prediction="v", zero_terminal_snr=True)
    assert draw(model, sampler=sampler).std() > 1


def test_guidance_follows_the_formula(sd1):
    """DDIM in one step from t = 1, by hand: x0 of the guided noise (Ho and Salimans 2022, arXiv:2207.12598, eq. 6)."""
    prompt, negative = conditioning_for(sd1, "a red circle"), conditioning_for(sd1, "blue")
    settings = GenerateSettings(32, 32, steps=1, sampler="DDIM", cfg_scale=4.0, seed=3)
    noisy = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    time = torch.tensor([1])
    with torch.no_grad():
        with_prompt, without = sd1.predict(noisy, time, prompt), sd1.predict(noisy, time, negative)
        noise = without + 4.0 * (with_prompt - without)
        alpha, first = sd1.alphas_cumprod[1], sd1.alphas_cumprod[0]
        clean = (noisy - (1 - alpha).sqrt() * noise) / alpha.sqrt()
        expected = decode(sd1, first.sqrt() * clean + (1 - first).sqrt() * noise)
    difference = pixels(generate(sd1, prompt, negative, settings)).astype(int) - pixels(expected)
    assert np.abs(difference).max() <= 1


def test_velocity_models_are_sampled_as_such():
    assert make_scheduler("Euler", torch.linspace(0.99, 0.01, 1000), "v").config.prediction_type == "v_prediction"


def test_schedulers_have_the_models_own_schedule(sd1):
    for name in SAMPLERS:
        scheduler = make_scheduler(name, sd1.alphas_cumprod, "epsilon")
        torch.testing.assert_close(scheduler.alphas_cumprod, sd1.alphas_cumprod, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="DPM"):
        make_scheduler("Heun", sd1.alphas_cumprod, "epsilon")


def test_an_empty_negative_prompt_is_zeros_for_sdxl_and_a_prompt_for_the_others():
    """sgm's force_zero_embeddings, which AUTOMATIC1111 asks for (sd_models_xl.py, get_learned_conditioning)."""
    model = tiny.tiny_model("sdxl")
    empty, some = negative_for(model, ""), negative_for(model, "blue")
    assert (empty.hidden.shape, empty.pooled.shape) == (some.hidden.shape, some.pooled.shape)
    assert not empty.hidden.any()
    assert not empty.pooled.any()
    assert torch.equal(some.hidden, conditioning_for(model, "blue").hidden)
    older = tiny.tiny_model("sd2")
    assert torch.equal(negative_for(older, "").hidden, conditioning_for(older, "").hidden)


def test_emphasis_multiplies_and_restores_the_mean():
    model = tiny.tiny_model("sdxl")
    plain, found = conditioning_for(model, "a red circle"), conditioning_for(model, "a (red:1.5) circle")
    weights = torch.ones(77)
    weights[2] = 1.5  # begin, a, red
    parts = []
    for part in plain.hidden[0].split(list(model.widths), dim=-1):
        weighted = part * weights[:, None]
        parts.append(weighted * (part.mean() / weighted.mean()))
    torch.testing.assert_close(found.hidden[0], torch.cat(parts, dim=-1), rtol=1e-4, atol=1e-5)
    assert torch.equal(found.pooled, plain.pooled)
    assert torch.equal(conditioning_for(model, "(red:1.5)", emphasis=False).hidden.isfinite().all(), torch.tensor(True))


def test_emphasis_of_a_mean_of_zero_stays_finite():
    hidden = torch.tensor([[[1.0, -1.0], [2.0, -2.0]]])
    assert emphasised(hidden, torch.tensor([[1.0, 2.0]])).tolist() == [[[1.0, -1.0], [4.0, -4.0]]]


def test_a_weighted_caption_is_heard_as_the_same_prompt_is_also_beside_others_in_a_batch():
    model = tiny.tiny_model("sdxl")
    vectors = {"zkword": tuple(torch.ones(2, width) for width in model.widths)}
    caption, other = "a (zkword:1.5) [circle]", "a zkword" + " word" * 80
    prompts = [tokenize_caption(text, model.tokenizer, {"zkword": 2}, emphasis=True) for text in (caption, other)]
    told = model.encode_prompts(prompts, vectors)
    alone = conditioning_for(model, caption, vectors)
    assert len(prompts[1].chunks) == 2 and not torch.equal(alone.hidden, conditioning_for(
        model, caption, vectors, emphasis=False).hidden)
    torch.testing.assert_close(told.hidden[:1, :77], alone.hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(told.hidden[1:], conditioning_for(model, other, vectors).hidden, rtol=1e-4, atol=1e-5)


def test_weights_stand_between_begin_and_end():
    weights = chunk_weights(Chunk((5, 6), (1.2, 0.9), ()))
    assert weights.shape == (77,)
    assert weights[:4].tolist() == pytest.approx([1, 1.2, 0.9, 1])


@pytest.mark.parametrize("family", sorted(tiny.SHAPES))
def test_an_embedding_changes_the_image_and_leaves_no_trace(family):
    model = tiny.tiny_model(family)
    vectors = {"zkword": tuple(torch.randn(2, width, generator=torch.Generator().manual_seed(4)) for width in model.widths)}
    before = draw(model, "a zkword")
    assert not np.array_equal(before, draw(model, "a zkword", vectors=vectors))
    assert np.array_equal(before, draw(model, "a zkword"))
    assert not model.text_encoders[0].table._forward_hooks


def test_an_embedding_of_the_words_own_vectors_changes_nothing(sd1):
    """Two vectors that are the token table's rows of "red circle" are those words."""
    ids = sd1.tokenizer("red circle", add_special_tokens=False)["input_ids"]
    rows = sd1.text_encoders[0].table.weight[ids]
    found = conditioning_for(sd1, "a zkword", {"zkword": (rows,)})
    assert torch.equal(found.hidden, conditioning_for(sd1, "a red circle").hidden)


def test_clip_skip_takes_an_earlier_layer(sd1):
    one, two = (conditioning_for(sd1, "a red circle", clip_skip=skip).hidden for skip in (1, 2))
    module = sd1.text_encoders[0].module
    inner = getattr(module, "text_model", module)
    ids = torch.tensor([[49406, *sd1.tokenizer("a red circle", add_special_tokens=False)["input_ids"], *[49407] * 73]])
    states = module(ids, output_hidden_states=True).hidden_states
    assert torch.equal(one, inner.final_layer_norm(states[-1]))
    assert torch.equal(two, inner.final_layer_norm(states[-2]))
