"""The loss of hand-made batches on a tiny model: masks, weights, and what the model answered before the run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pivotal.config.sections.loss import Loss
from pivotal.config.sections.mask import Mask
from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.jobs.trainees import Attached
from pivotal.models.layers import UNET, layers_of
from pivotal.networks.network import Network
from pivotal.networks.settings import LayerSettings
from pivotal.prompts.chunks import tokenize_caption
from pivotal.training.batch import Batch
from pivotal.training.batch_loss import Losses
from pivotal.training.denoise import Denoiser, Untrained, without_padding
from pivotal.training.part import Part
from pivotal.training.seeds import generator
from pivotal.training.settings import Settings
from tiny import tiny_model, tokenizer

COUNT = 3


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def model(request):
    return tiny_model(request.param)


def batch(model, **more):
    prompts = [tokenize_caption(text, tokenizer(), {"zkteal": 2}) for text in ("a zkteal", "zkteal zkteal", "a cat")]
    return Batch(torch.randn(COUNT, 4, 8, 8, generator=generator(1, "latents")), prompts,
                 torch.tensor([[64, 64, 0, 0, 64, 64]] * COUNT, dtype=torch.float32), **more)


class Trained:
    """An embedding and a network on the UNet, moved away from their beginnings, and the model without them."""

    def __init__(self, model, **settings):
        start = [torch.randn(2, width, generator=generator(1, "start")) * 0.05 for width in model.widths]
        self.embedding = TrainedEmbedding("zkteal", start)
        chosen = [(layer, LayerSettings(rank=2, alpha=2.0)) for layer in layers_of(model)
                  if layer.part == UNET and "attn2" in layer.path and isinstance(layer.module, torch.nn.Linear)]
        self.network = Network(UNET, "lora", chosen, generator(1, "network"))
        self.attached = Attached([self.network])
        self.untrained = Untrained({"zkteal": tuple(start)}, self.attached.lifted)
        with torch.no_grad():
            for index, parameter in enumerate([*self.embedding.parameters(), *self.network.parameters()]):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(2, "moved", index)))
        parts = [Part(self.embedding, 1.0), Part(self.network, 1.0)]
        denoiser = Denoiser(model, parts, torch.float32, self.untrained)
        self.losses = Losses(denoiser, Settings(1, 10, 1, torch.float32, **settings))

    def __enter__(self):
        self.attached.__enter__()
        return self

    def __exit__(self, *error):
        self.attached.__exit__(*error)


def test_without_masks_and_weights_a_loss_is_the_plain_mean(model):
    with Trained(model) as trained:
        plain = trained.losses.of(batch(model), 12)
        ones = batch(model, weights=torch.ones(COUNT), prior=torch.zeros(COUNT, dtype=torch.bool),
                     masks=torch.zeros(COUNT, 1, 8, 8))
        assert torch.equal(trained.losses.of(ones, 12).value, plain.value)  # masks are off
        assert torch.equal(plain.value, plain.errors.mean())
    white = Mask(source="files", unmasked_probability=0, normalize=True)
    with Trained(model, mask=white) as trained:
        masked = trained.losses.of(batch(model, masks=torch.ones(COUNT, 1, 8, 8)), 12)
        assert masked.value.item() == pytest.approx(plain.value.item(), rel=1e-6)


def test_weights_multiply_each_images_loss(model):
    weights = torch.tensor([0.0, 2.0, 0.5])
    with Trained(model, loss=Loss(kind="l1", weighting="p2", gamma=1)) as trained:
        plain = trained.losses.of(batch(model), 12)
        weighed = trained.losses.of(batch(model, weights=weights), 12)
        assert torch.equal(weighed.errors, plain.errors)
        alone = [trained.losses.of(batch(model, weights=torch.eye(COUNT)[index]), 12).value for index in range(COUNT)]
        expected = sum(weight * value for weight, value in zip(weights, alone, strict=True))
        assert weighed.value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_outside_a_mask_nothing_is_learned(model, monkeypatch):
    """The gradient of the prediction itself is zero where the mask is black, and only there."""
    masks = (torch.rand(COUNT, 1, 8, 8, generator=generator(4, "m")) > 0.5).float()
    with Trained(model, mask=Mask(source="files", unmasked_probability=0, unmasked_weight=0)) as trained:
        predicted = []
        answer = trained.losses.denoiser.predict

        def kept(*arguments):
            predicted.append(answer(*arguments))
            predicted[0].retain_grad()
            return predicted[0]

        monkeypatch.setattr(trained.losses.denoiser, "predict", kept)
        trained.losses.of(batch(model, masks=masks), 12).value.backward()
        changed = predicted[0].grad != 0
        assert torch.equal(changed.any(dim=1, keepdim=True), masks.bool())


@torch.no_grad()
def test_a_prior_is_what_the_model_answered_before_the_run_bit_for_bit(model):
    one = batch(model)
    noisy, timesteps = torch.randn(COUNT, 4, 8, 8, generator=generator(5, "noisy")), torch.tensor([10, 500, 900])
    rows = torch.tensor([True, False, True])
    trained = Trained(model)
    prompts = [tokenize_caption(text, tokenizer(), {"zkteal": 2}) for text in ("a zkteal", "zkteal zkteal", "a cat")]
    told = model.encode_prompts(prompts, trained.untrained.vectors)
    told = replace(told, hidden=told.hidden[rows], pooled=None if told.pooled is None else told.pooled[rows])
    before = model.predict(noisy[rows], timesteps[rows], told, one.size_ids[rows])
    with trained:
        answer = trained.losses.denoiser.without(one, rows, noisy, timesteps)
        assert torch.equal(answer, before)
        assert not torch.allclose(trained.losses.denoiser.predict(one, noisy, timesteps)[rows], before, atol=1e-4)
        assert torch.equal(trained.losses.denoiser.without(one, rows, noisy, timesteps), before)  # and it is taken off again


def test_prior_rows_learn_to_stay_and_others_what_their_image_shows(model):
    with Trained(model) as trained:
        plain = trained.losses.of(batch(model), 12).errors
        kept = trained.losses.of(batch(model, prior=torch.tensor([True, False, True])), 12).errors
        assert kept[1] == plain[1] and kept[0] != plain[0] and kept[2] != plain[2]
    trained = Trained(model)
    with torch.no_grad():  # nothing is learned yet: a prior's error is zero
        for parameter in trained.network.parameters():
            parameter.zero_()
        for value, start in zip(trained.embedding.values, trained.untrained.vectors["zkteal"], strict=True):
            value.copy_(start)
    with trained:
        assert trained.losses.of(batch(model, prior=torch.ones(COUNT, dtype=torch.bool)), 12).errors.max() < 1e-10


@pytest.mark.parametrize("normalize", [False, True])
def test_masked_prior_preservation_is_its_formula(model, normalize, monkeypatch):
    mask = Mask(source="files", unmasked_probability=0, unmasked_weight=0.1, normalize=normalize, prior_weight=0.6)
    masks = torch.rand(COUNT, 1, 8, 8, generator=generator(6, "m"))
    masks[1] = 1  # all white: nothing to preserve
    with Trained(model, mask=mask) as trained:
        seen = {}

        def watch(name, answer):
            def spy(*arguments):
                seen[name], seen[name + " arguments"] = answer(*arguments).detach(), arguments
                return seen[name]
            monkeypatch.setattr(trained.losses.denoiser, name, spy)

        for name in ("predict", "without"):
            watch(name, getattr(trained.losses.denoiser, name))
        found = trained.losses.of(batch(model, masks=masks), 12).errors
        monkeypatch.undo()
    assert seen["without arguments"][1].tolist() == [True, False, True]
    noisy, timesteps = seen["predict arguments"][1:]
    alpha = model.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    wanted = (noisy - alpha.sqrt() * batch(model).latents) / (1 - alpha).sqrt()
    before = torch.zeros_like(wanted)
    before[[0, 2]] = seen["without"]
    for row in range(COUNT):
        weight = masks[row].clamp_min(0.1)
        kept, held = (seen["predict"][row] - wanted[row]).square(), (seen["predict"][row] - before[row]).square()
        expected = (kept * weight).mean() / (weight.mean() if normalize else 1)
        if row != 1:
            expected = expected + 0.6 * (held * (1 - weight)).mean() / ((1 - weight).mean() if normalize else 1)
        assert found[row].item() == pytest.approx(expected.item(), rel=1e-3)


def test_captions_without_padding_are_what_the_encoders_say_of_their_tokens_alone(model):
    """Encoded by transformers itself, without any padding."""
    prompts = [tokenize_caption(text, tokenizer(), {}) for text in ("a red cat on a table", "a cat")]
    told = model.encode_prompts(prompts)
    cut = without_padding(told, prompts)
    assert cut.hidden.shape == (2, 6 + 2, told.hidden.shape[2]) and cut.pooled is told.pooled
    first = model.text_encoders[0]
    begin, end = tokenizer().bos_token_id, tokenizer().eos_token_id
    with torch.no_grad():
        answer = first.module(torch.tensor([[begin, *prompts[0].chunks[0].ids, end]]), output_hidden_states=True)
    expected = answer.hidden_states[-2] if model.family.name == "sdxl" else answer.last_hidden_state
    torch.testing.assert_close(cut.hidden[:1, :, :expected.shape[2]], expected, rtol=1e-4, atol=1e-5)
    longer = [tokenize_caption("word " * 90, tokenizer(), {}), prompts[1]]
    assert without_padding(model.encode_prompts(longer), longer).hidden.shape[1] == 2 * 77


def test_padding_changes_what_is_learned_only_where_it_is_off(model):
    parts, made = [], batch(model)
    noisy, timesteps = torch.randn(COUNT, 4, 8, 8, generator=generator(2, "n")), torch.tensor([10, 500, 900])
    made = replace(made, prompts=[tokenize_caption(text, tokenizer(), {}) for text in ("a dog", "a red cat", "a cat")])
    with torch.no_grad():
        padded, cut = (Denoiser(model, parts, torch.float32, pads=pads).predict(made, noisy, timesteps) for pads in (True, False))
        alone = model.predict(noisy, timesteps, without_padding(model.encode_prompts(made.prompts), made.prompts),
                              made.size_ids)
    assert torch.equal(cut, alone) and not torch.allclose(padded, cut, atol=1e-4)
